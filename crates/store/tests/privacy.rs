//! Who people are is sealed, found again by an index, and gone once their key is destroyed, in every copy of the database.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::common::{Story, story};
use app::identity::{Cost, Identity, IdentityStore as _, Password, Registration};
use app::notifications::{Note, NotificationStore as _};
use app::privacy::{Homes, KeyStore as _, Privacy, State, Subject, pseudonym, read_archive, replay};
use app::upkeep::{Upkeep, UpkeepStore as _};
use app::{AppError, Context, Role};
use audit::SigningKey;
use kernel::{Clock as _, Span};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, Executor, PgConnection};
use store::{Settings, Store, read};
use testkit::{PASSWORD, TestDatabase, World, vault_over};

/// Tables whose rows about somebody go, columns that are emptied, and tables of the archive, as the registry says.
#[derive(serde::Deserialize)]
struct Registry {
    table: Vec<Table>,
}

#[derive(serde::Deserialize)]
struct Table {
    name: String,
    person: String,
    erasure: String,
    export: bool,
    #[serde(default)]
    secret: Vec<String>,
    #[serde(default)]
    personal: Vec<String>,
    #[serde(default)]
    pseudonymous: Vec<String>,
    #[serde(default)]
    financial: Vec<String>,
    #[serde(default)]
    operational: Vec<String>,
    #[serde(default)]
    emptied: Vec<String>,
    #[serde(default)]
    sealed: Vec<String>,
}

fn registry() -> Vec<Table> {
    let text = include_str!("../../../docs/compliance/data.toml");
    toml::from_str::<Registry>(text).unwrap().table
}

fn cost() -> Cost {
    Cost { memory: 64, passes: 1, lanes: 1 }
}

fn privacy_over(world: &World, store: &Arc<Store>) -> Privacy {
    let identity = Arc::new(Identity::new(store.clone(), world.clock.clone(), world.rng.clone(), 2, cost()));
    let key = Arc::new(SigningKey::from_secret(&[7; 32]));
    Privacy::new(store.clone(), identity, world.keys.clone(), world.clock.clone(), key)
}

fn privacy(world: &World) -> Privacy {
    privacy_over(world, &world.store)
}

/// Another process over another database, with the keys of this one.
async fn connected(world: &World, database: &TestDatabase) -> Arc<Store> {
    let settings = Settings {
        url: database.login_url().await,
        instruments: testkit::instruments(),
        app_connections: 3,
        engine_connections: 1,
        worker_connections: 1,
        vault: vault_over(world.keys.clone()),
    };
    Arc::new(Store::connect(&settings).await.unwrap())
}

#[expect(clippy::needless_pass_by_value, reason = "what a test has in hand")]
fn code(error: AppError) -> &'static str {
    let AppError::Refused { code, .. } = error else { panic!("{error:?}") };
    code
}

async fn run(connection: &mut PgConnection, sql: impl Into<String>) {
    let sql = sql.into();
    if let Err(error) = connection.execute(AssertSqlSafe(sql.clone())).await {
        panic!("{sql}: {error}");
    }
}

async fn count(connection: &mut PgConnection, sql: impl Into<String>) -> i64 {
    let sql = format!("select count(*) from {}", sql.into());
    sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(connection).await.unwrap()
}

/// Of every table, as a sum over the text of its rows: any change shows.
async fn contents(connection: &mut PgConnection, tables: &[&str]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for table in tables {
        let sql = format!(
            "select md5(coalesce(string_agg(row::text, ';' order by row::text), '')) from {table} row"
        );
        let sum: String = sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut *connection).await.unwrap();
        found.insert((*table).to_owned(), sum);
    }
    found
}

/// What the amounts of a person are in.
const RECORDS: [&str; 12] = [
    "accounts",
    "account_overrides",
    "balance_entries",
    "challenges",
    "fills",
    "journal",
    "orders",
    "positions",
    "purchases",
    "receipts",
    "trading_days",
    "verdicts",
];

async fn board(store: &Store, of: &Story) -> BTreeSet<String> {
    let lines = read::leaderboard(store, of.firm, "two-step", 0, 50).await.unwrap();
    let live = store::analytics::names(store, of.firm, &[of.trader.id]).await.unwrap();
    lines.into_iter().map(|line| line.trader).chain(live.into_values()).collect()
}

/// That a database tells nothing of somebody: no clear text anywhere, and no row or column that the registry lets go.
async fn tells_nothing_of(database: &TestDatabase, story: &Story) {
    let dump = database.dump();
    let index = story.trader.email.clone();
    for clear in [&story.trader.email, &index, &hex::encode(Sha256::digest(&story.trader.email))] {
        assert!(!dump.contains(clear.as_str()), "{clear} stands in the database");
    }
    let mut owner = database.superuser().await;
    let person = story.trader.id;
    for Table { name, person: by, erasure, emptied, .. } in registry() {
        match erasure.as_str() {
            "removed" if by == "person" => {
                let rows = count(&mut owner, format!("{name} where person_id = '{person}'")).await;
                assert_eq!(rows, 0, "{name} tells of somebody who was erased");
            }
            "emptied" => {
                for column in emptied {
                    let whose = if name == "people" { "id" } else { "person_id" };
                    let told = format!("{name} where {whose} = '{person}' and {column} is not null");
                    assert_eq!(count(&mut owner, told).await, 0, "{name}.{column}");
                }
            }
            _ => {}
        }
    }
    let mails = format!("mail_suppressions where address_hash not in ('\\x{}')", "07".repeat(32));
    assert_eq!(count(&mut owner, mails).await, 0);
    let jobs = "jobs where kind = 'mail.send' and not exists (select from mails where id::text = payload->>'mail') \
                and payload <> '{}'";
    assert_eq!(count(&mut owner, jobs).await, 0, "a job sends a mail to somebody who was erased");
}

#[tokio::test]
async fn nobody_s_name_or_address_stands_in_the_database() {
    let world = World::new().await;
    let story = story(&world, "one", 0).await;
    let dump = world.database.dump();
    assert!(dump.contains(&story.trader.id.to_string()), "the dump is one of this database");
    let subject =
        privacy(&world).find(&support(&world, &story).await, "TRADER@one.example", Some("A call")).await;
    assert_eq!(subject.unwrap().known, Some((story.trader.email.clone(), story.trader.display_name.clone())));
    for address in ["trader", "risk", "gone"] {
        let address = format!("{address}@one.example");
        assert!(!dump.contains(&address), "{address} stands in the database");
        let hash = hex::encode(Sha256::digest(&address));
        assert!(!dump.contains(&hash), "the bare hash of {address} stands in the database");
    }
    let mut owner = world.database.superuser().await;
    assert_eq!(count(&mut owner, "people where email is not null or display_name is not null").await, 0);
}

async fn support(world: &World, story: &Story) -> Context {
    let registration = Registration {
        email: "help@one.example".to_owned(),
        password: Password::new(PASSWORD),
        display_name: "Help".to_owned(),
        region: None,
    };
    let roles = vec![Role::Support];
    let person = world.identity.ensure_person(&world.context(story.firm), registration, roles).await.unwrap();
    world.context_of(story.firm, &person)
}

#[tokio::test]
async fn a_sealed_name_in_another_row_or_column_is_no_name() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let (ann, bob) =
        (world.person(firm, "ann@one.example").await, world.person(firm, "bob@one.example").await);
    let mut owner = world.database.superuser().await;
    let moved = format!(
        "update people set name_sealed = (select name_sealed from people where id = '{}') where id = '{}'",
        bob.id, ann.id
    );
    run(&mut owner, moved).await;
    let names = store::analytics::names(&world.store, firm, &[ann.id, bob.id]).await.unwrap();
    assert_eq!(names[&ann.id], pseudonym(firm, ann.id));
    assert_eq!(names[&bob.id], "bob");
    assert!(world.store.credentials(firm, &ann.email).await.is_err());
    run(&mut owner, "update people set email_sealed = name_sealed").await;
    assert!(world.store.credentials(firm, &bob.email).await.is_err());
}

#[tokio::test]
async fn people_from_before_are_sealed_once_with_their_mails() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let ann = world.person(firm, "ann@one.example").await;
    let mut owner = world.database.superuser().await;
    // As it was before: the row in clear, bare hashes of addresses.
    let bare = hex::encode(Sha256::digest("ann@one.example"));
    for sql in [
        "update people set email = 'ann@one.example', display_name = 'ann', email_index = null, email_sealed = null, \
                           name_sealed = null"
            .to_owned(),
        format!(
            "insert into mails (firm_id, id, person_id, kind, at, told, state, address_hash, settled_at)
             values ('{firm}', gen_random_uuid(), '{}', 'purchase_paid', now(), '{{}}', 'sent', '\\x{bare}', now())",
            ann.id
        ),
        format!("insert into mail_suppressions values ('{firm}', '\\x{bare}', 'complaint', now())"),
        format!("insert into mail_suppressions values ('{firm}', sha256('nobody@one.example'), 'complaint', now())"),
    ] {
        run(&mut owner, sql).await;
    }
    let (url, login) = (world.database.url(), world.database.login_url().await);
    assert!(Store::has_unsealed_people(&login).await.unwrap());
    let vault = vault_over(world.keys.clone());
    assert_eq!(Store::seal_people(&url, &vault).await.unwrap(), 1);
    assert_eq!(Store::seal_people(&url, &vault).await.unwrap(), 0);
    assert!(!Store::has_unsealed_people(&login).await.unwrap());
    let dump = world.database.dump();
    assert!(!dump.contains("ann@one.example") && !dump.contains(&bare));
    let password = Password::new(PASSWORD);
    let (found, _) =
        world.identity.sign_in(&world.context(firm), "Ann@one.example", password, "::1").await.unwrap();
    assert_eq!(found, ann);
    // The address still takes no mail; that of nobody is forgotten.
    assert_eq!(count(&mut owner, "mail_suppressions join people on address_hash = email_index").await, 1);
    assert_eq!(count(&mut owner, "mails join people on address_hash = email_index").await, 1);
    assert_eq!(count(&mut owner, "mail_suppressions").await, 1);
}

#[tokio::test]
async fn an_erased_person_is_gone_and_what_they_did_stays() {
    let world = World::new().await;
    let story = story(&world, "one", 0).await;
    let privacy = privacy(&world);
    let context = world.context_of(story.firm, &story.trader);
    let mut owner = world.database.superuser().await;
    let before = contents(&mut owner, &RECORDS).await;
    let entries = count(&mut owner, "audit_entries").await;
    assert_eq!(board(&world.store, &story).await, ["trader".to_owned()].into());

    let email = &story.trader.email;
    let wrong = privacy.erase_own(&context, email, Password::new("not my password"), "::1").await;
    assert_eq!(code(wrong.unwrap_err()), "wrong_credentials");
    // Another's email is no proof either.
    let other = privacy.erase_own(&context, "risk@one.example", Password::new(PASSWORD), "::1").await;
    assert_eq!(code(other.unwrap_err()), "wrong_credentials");
    assert_eq!(count(&mut owner, "audit_entries").await, entries);
    privacy.erase_own(&context, email, Password::new(PASSWORD), "::1").await.unwrap();

    tells_nothing_of(&world.database, &story).await;
    assert_eq!(contents(&mut owner, &RECORDS).await, before, "amounts and records stay");
    assert_eq!(count(&mut owner, "audit_entries").await, entries + 1, "and the log says that it was done");
    assert_eq!(board(&world.store, &story).await, [pseudonym(story.firm, story.trader.id)].into());
    assert!(world.store.credentials(story.firm, email).await.unwrap().is_none());
    assert!(world.store.session(story.firm, &Sha256::digest(&story.token).into()).await.unwrap().is_none());
    let again =
        world.identity.sign_in(&world.context(story.firm), email, Password::new(PASSWORD), "::1").await;
    assert_eq!(code(again.unwrap_err()), "wrong_credentials");
    // Once is enough, and the address may be anybody's again.
    let admin = world.context_of(story.firm, &world.admin(story.firm, "boss").await);
    privacy.erase_other(&admin, story.trader.id, Some("Asked by letter")).await.unwrap();
    assert_eq!(count(&mut owner, "erasures").await, 2, "one of them is the story's");
    let new = world.person(story.firm, email).await;
    assert_ne!(new.id, story.trader.id);
}

#[tokio::test]
async fn a_legal_hold_and_an_open_payout_refuse_an_erasure() {
    let world = World::new().await;
    let story = story(&world, "one", 0).await;
    let privacy = privacy(&world);
    let trader = story.trader.id;
    let admin = world.context_of(story.firm, &world.admin(story.firm, "boss").await);
    let mut owner = world.database.superuser().await;
    for _ in 0..2 {
        privacy.set_state(&admin, trader, State::Held, true, Some("Case 12")).await.unwrap();
    }
    let context = world.context_of(story.firm, &story.trader);
    for _ in 0..2 {
        let own = privacy.erase_own(&context, &story.trader.email, Password::new(PASSWORD), "::1").await;
        assert_eq!(code(own.unwrap_err()), "legal_hold");
        let by_admin = privacy.erase_other(&admin, trader, Some("Asked by letter")).await;
        assert_eq!(code(by_admin.unwrap_err()), "legal_hold");
    }
    privacy.set_state(&admin, trader, State::Held, false, Some("Case 12 is closed")).await.unwrap();
    let holds =
        "audit_entries where action in ('privacy.hold', 'privacy.release') and purpose like 'Case 12%'";
    assert_eq!(count(&mut owner, holds).await, 2, "each once");

    // A payout whose receipt is not made yet.
    let due = format!(
        "insert into verdicts (firm_id, account_id, number, at, decided_at, kind, rule, phase, evidence, digest)
         values ('{0}', '{1}', 900, now(), now(), 'payout', '', 0, '{{}}', '\\x00');
         insert into receipts_due (firm_id, account_id, number) values ('{0}', '{1}', 900)",
        story.firm, story.passed
    );
    run(&mut owner, due).await;
    let refused = privacy.erase_other(&admin, trader, Some("Asked by letter")).await;
    assert_eq!(code(refused.unwrap_err()), "payout_open");
    run(&mut owner, "delete from receipts_due where number = 900").await;
    // A payout that somebody has not been told of.
    let untold = format!(
        "insert into consumer_groups values ('payments', 0, now());
         insert into outbox (firm_id, at, aggregate, topic, payload) values ('{}', now(), 'account:{}', 'account.paid', '{{}}')",
        story.firm, story.passed
    );
    run(&mut owner, untold).await;
    let refused = privacy.erase_other(&admin, trader, Some("Asked by letter")).await;
    assert_eq!(code(refused.unwrap_err()), "payout_open");
    run(&mut owner, "update consumer_groups set settled_id = 1000000").await;

    let untouched = privacy.subject(&admin, trader, Some("To look")).await.unwrap();
    assert!(
        matches!(untouched, Subject { known: Some(_), erased_at: None, held_at: None, .. }),
        "{untouched:?}"
    );
    assert!(
        world.keys.promised().await.unwrap().iter().all(|erased| erased.person != trader),
        "nobody promised anything"
    );
    privacy.erase_other(&admin, trader, Some("Asked by letter")).await.unwrap();
    tells_nothing_of(&world.database, &story).await;
}

#[tokio::test]
async fn a_database_that_came_back_from_a_backup_is_told_who_was_erased_since() {
    let world = World::new().await;
    let story = story(&world, "one", 0).await;
    let yesterday = world.database.dump();
    let privacy = privacy(&world);
    let context = world.context_of(story.firm, &story.trader);
    privacy.erase_own(&context, &story.trader.email, Password::new(PASSWORD), "::1").await.unwrap();

    let restored = TestDatabase::restored(&yesterday).await;
    let mut owner = restored.superuser().await;
    let sealed = format!("people where id = '{}' and email_sealed is not null", story.trader.id);
    assert_eq!(count(&mut owner, sealed).await, 1, "the backup is from before");
    assert!(count(&mut owner, "sessions").await > 0);
    let before = contents(&mut owner, &RECORDS).await;
    let entries = count(&mut owner, "audit_entries").await;

    // Without its key the row is already nobody's, whoever reads it.
    let back = connected(&world, &restored).await;
    assert_eq!(board(&back, &story).await, [pseudonym(story.firm, story.trader.id)].into());
    assert!(back.credentials(story.firm, &story.trader.email).await.unwrap().is_none());
    assert!(back.session(story.firm, &Sha256::digest(&story.token).into()).await.unwrap().is_none());

    // And then it is gone, once.
    assert_eq!(privacy_over(&world, &back).replay().await.unwrap(), 1);
    assert_eq!(privacy_over(&world, &back).replay().await.unwrap(), 0);
    tells_nothing_of(&restored, &story).await;
    assert_eq!(contents(&mut owner, &RECORDS).await, before, "amounts stay");
    assert_eq!(count(&mut owner, "audit_entries").await, entries + 1);
    assert_eq!(count(&mut owner, "audit_entries where action = 'privacy.erase_again'").await, 1);
    assert_eq!(count(&mut owner, "erasures").await, 2, "one of them is the story's");
}

#[tokio::test]
async fn an_erasure_that_was_cut_off_is_finished_and_keys_that_came_back_are_destroyed_again() {
    let world = World::new().await;
    let story = story(&world, "one", 0).await;
    let vault = vault_over(world.keys.clone());
    // Cut off after the promise: the ledger and the key know it, the database does not.
    let at = world.clock.now();
    let erased = app::privacy::Erased { firm: story.firm, person: story.trader.id, at, by: None };
    vault.keys().promise(&erased).await.unwrap();
    assert_eq!(replay(&*world.store, vault.keys(), at).await.unwrap(), 1);
    tells_nothing_of(&world.database, &story).await;
    // The directory of keys came back from a backup of itself: only the database knows.
    let keys = Arc::new(testkit::MemoryKeys::default());
    assert_eq!(replay(&*world.store, &*keys, at).await.unwrap(), 0);
    assert_eq!(vault_over(keys.clone()).keys().promised().await.unwrap().len(), 2);
}

#[tokio::test]
async fn the_archive_holds_every_row_about_a_person_and_no_secret() {
    let world = World::new().await;
    let story = story(&world, "one", 0).await;
    let privacy = privacy(&world);
    let archive = privacy.export_own(&world.context_of(story.firm, &story.trader)).await.unwrap();
    let key = SigningKey::from_secret(&[7; 32]).public();
    let read = read_archive(&archive.bytes, Some(&key)).unwrap();
    assert_eq!((read.person, read.firm), (story.trader.id, story.firm));
    let profile: Value = serde_json::from_slice(&read.files["profile.json"]).unwrap();
    assert_eq!(
        (&profile["email"], &profile["display_name"]),
        (&Value::from("trader@one.example"), &"trader".into())
    );

    let mut owner = world.database.superuser().await;
    for table in registry() {
        let name = &table.name;
        let rows = read.files.get(&format!("rows/{name}.json"));
        // Nothing of these is the story's trader's.
        if !table.export || ["erasures", "mail_suppressions", "program_publications"].contains(&name.as_str())
        {
            assert!(rows.is_none(), "{name} is in the archive");
            continue;
        }
        let rows: Vec<Value> =
            serde_json::from_slice(rows.unwrap_or_else(|| panic!("{name} is missing"))).unwrap();
        let columns: BTreeSet<&str> = rows[0].as_object().unwrap().keys().map(String::as_str).collect();
        let secret: BTreeSet<&str> = table.secret.iter().map(String::as_str).collect();
        assert_eq!(columns.intersection(&secret).count(), 0, "{name} gives a secret away");
        let classes = [&table.personal, &table.pseudonymous, &table.financial, &table.operational];
        let mut wanted: BTreeSet<&str> = classes.into_iter().flatten().map(String::as_str).collect();
        // Who they are is in the archive by another way, opened.
        let elsewhere = if name == "people" { table.emptied.as_slice() } else { &[] };
        for column in elsewhere.iter().chain(&table.sealed) {
            wanted.remove(column.as_str());
        }
        if name == "account_overrides" {
            wanted.remove("person_id");
        }
        if name == "identity_checks" {
            wanted.remove("reviewer_id");
        }
        if name == "payouts" {
            wanted.remove("payee_by");
        }
        if name == "refunds" {
            wanted.remove("asked_by");
        }
        assert_eq!(columns, wanted, "{name}");
        if table.person == "person" {
            let stored = count(&mut owner, format!("{name} where person_id = '{}'", story.trader.id)).await;
            assert_eq!(i64::try_from(rows.len()).unwrap(), stored, "{name}");
        }
    }
    assert_eq!(count(&mut owner, "audit_entries where action = 'privacy.export'").await, 1);
    // Nobody else's: the other people of the firm are not in it.
    let all: String = read.files.values().map(|file| String::from_utf8_lossy(file).into_owned()).collect();
    assert!(!all.contains("risk@one.example"));
    for secret in ["$argon2id$", &hex::encode(Sha256::digest(&story.token))] {
        assert!(!all.contains(secret));
    }
}

#[tokio::test]
async fn whoever_looks_at_somebody_says_why_and_it_is_written_before_they_see() {
    let world = World::new().await;
    let story = story(&world, "one", 0).await;
    let privacy = privacy(&world);
    let help = support(&world, &story).await;
    let mut owner = world.database.superuser().await;
    for reason in [None, Some(""), Some("  ")] {
        assert_eq!(
            code(privacy.subject(&help, story.trader.id, reason).await.unwrap_err()),
            "reason_missing"
        );
        assert_eq!(
            code(privacy.find(&help, &story.trader.email, reason).await.unwrap_err()),
            "reason_missing"
        );
    }
    let long = "x".repeat(501);
    assert!(matches!(privacy.subject(&help, story.trader.id, Some(&long)).await, Err(AppError::Invalid(_))));
    assert_eq!(count(&mut owner, "audit_entries where action = 'privacy.read'").await, 0);
    privacy.subject(&help, story.trader.id, Some("Ticket 17")).await.unwrap();
    let written = format!(
        "audit_entries where action = 'privacy.read' and purpose = 'Ticket 17' and object = '{}' and actor_id = '{}'",
        story.trader.id,
        help.actor.as_ref().unwrap().person
    );
    assert_eq!(count(&mut owner, written).await, 1);
    let nobody = privacy.find(&help, "nobody@one.example", Some("A call")).await;
    assert!(matches!(nobody, Err(AppError::NotFound("person"))));
    let written = "audit_entries where action = 'privacy.find' and object = 'nobody' and purpose = 'A call'";
    assert_eq!(count(&mut owner, written).await, 1);
    // Where the entry cannot be written, nothing is shown.
    run(&mut owner, "revoke insert on audit_entries from tradesense_app").await;
    assert!(privacy.subject(&help, story.trader.id, Some("Ticket 17")).await.is_err());
    assert!(privacy.export_other(&help, story.trader.id, Some("Ticket 17")).await.is_err());
    run(&mut owner, "grant insert on audit_entries to tradesense_app").await;

    // Support looks; only whoever runs the firm does more. Nobody looks into another firm.
    let trader = story.trader.id;
    for refused in [
        privacy.export_other(&help, trader, Some("x")).await.map(|_| ()),
        privacy.erase_other(&help, trader, Some("x")).await,
        privacy.set_state(&help, trader, State::Held, true, Some("x")).await,
        privacy.subject(&world.context_of(story.firm, &story.trader), trader, Some("x")).await.map(|_| ()),
    ] {
        assert!(matches!(refused, Err(AppError::Forbidden)), "{refused:?}");
    }
    let elsewhere = world.firm("two").await;
    let boss = world.context_of(elsewhere, &world.admin(elsewhere, "boss").await);
    for refused in [
        privacy.subject(&boss, trader, Some("x")).await.map(|_| ()),
        privacy.find(&boss, &story.trader.email, Some("x")).await.map(|_| ()),
        privacy.export_other(&boss, trader, Some("x")).await.map(|_| ()),
        privacy.erase_other(&boss, trader, Some("x")).await,
        privacy.set_state(&boss, trader, State::Restricted, true, Some("x")).await,
    ] {
        assert!(matches!(refused, Err(AppError::NotFound("person"))), "{refused:?}");
    }
}

#[tokio::test]
async fn restricted_data_is_kept_and_not_used() {
    let world = World::new().await;
    let story = story(&world, "one", 0).await;
    let privacy = privacy(&world);
    let admin = world.context_of(story.firm, &world.admin(story.firm, "boss").await);
    let mail = async || {
        let note =
            world.store.notifications(story.firm, story.trader.id, None, 1).await.unwrap().pop().unwrap();
        let note = Note {
            person: story.trader.id,
            mail_once: None,
            id: note.id,
            kind: note.kind,
            at: note.at,
            told: note.told,
        };
        world.store.queued_mail(story.firm, note.mail()).await.unwrap().unwrap().wanted
    };
    assert!(mail().await);
    privacy.set_state(&admin, story.trader.id, State::Restricted, true, Some("A dispute")).await.unwrap();
    assert!(!mail().await, "no mail is sent");
    assert_eq!(board(&world.store, &story).await, [pseudonym(story.firm, story.trader.id)].into());
    privacy.set_state(&admin, story.trader.id, State::Restricted, false, Some("Settled")).await.unwrap();
    assert!(mail().await);
    assert_eq!(board(&world.store, &story).await, ["trader".to_owned()].into());
}

#[tokio::test]
async fn what_has_a_term_is_gone_after_it_and_records_are_not() {
    let world = World::new().await;
    let story = story(&world, "one", 0).await;
    let mut owner = world.database.superuser().await;
    run(
        &mut owner,
        "insert into refused_quotes (shard, at, source, symbol, bid, ask, source_time, reason)
         values (0, '2026-01-05T10:00:00Z', 'test', 'EURUSD', 1, 2, now(), 'jump')",
    )
    .await;
    let before = contents(&mut owner, &RECORDS).await;
    for (upkeep, table, days) in [
        (Upkeep::Sessions, "sessions", 14),
        (Upkeep::RefusedQuotes, "refused_quotes", 90),
        (Upkeep::Measurements, "account_latencies", 400),
    ] {
        let rows = count(&mut owner, table).await;
        assert!(rows > 0, "{table}");
        let days_later = |days| world.clock.now().after(Span::from_days(days).unwrap()).unwrap();
        world.store.keep_up(upkeep, days_later(days - 1)).await.unwrap();
        assert_eq!(count(&mut owner, table).await, rows, "{table} within its term");
        world.store.keep_up(upkeep, days_later(days + 2)).await.unwrap();
        assert_eq!(count(&mut owner, table).await, 0, "{table} after its term");
    }
    world.clock.advance(Span::from_days(399).unwrap());
    let kept = count(&mut owner, "notifications").await + count(&mut owner, "mails").await;
    let notifications = app::notifications::Notifications::new(
        world.store.clone(),
        world.clock.clone(),
        world.rng.clone(),
        None,
    );
    assert_eq!(notifications.forget().await.unwrap(), 0);
    world.clock.advance(Span::from_days(2).unwrap());
    assert_eq!(i64::try_from(notifications.forget().await.unwrap()).unwrap(), kept);
    assert_eq!(contents(&mut owner, &RECORDS).await, before);
    assert_eq!(board(&world.store, &story).await, ["trader".to_owned()].into());
}

#[tokio::test]
async fn people_of_one_region_are_never_in_the_database_of_another() {
    let (eu, us) = (World::new().await, World::new().await);
    let region = |word: &str| word.parse().unwrap();
    for (world, word) in [(&eu, "eu"), (&us, "us")] {
        assert!(Store::pin_region(&world.database.url(), &region(word)).await.unwrap());
        assert!(Store::pin_region(&world.database.url(), &region(word)).await.unwrap());
        assert_eq!(world.store.region().await.unwrap().as_deref(), Some(word));
    }
    assert!(!Store::pin_region(&us.database.url(), &region("eu")).await.unwrap(), "once and for all");
    let identity = |world: &World, here: &str, other: &str| {
        let others = [(region(other), format!("https://{other}.firm.example"))].into();
        let homes = Homes { here: Some(region(here)), others };
        Identity::new(world.store.clone(), world.clock.clone(), world.rng.clone(), 2, cost()).at_home(homes)
    };
    let (in_eu, in_us) = (identity(&eu, "eu", "us"), identity(&us, "us", "eu"));
    let ann = |region| Registration {
        email: "ann@one.example".to_owned(),
        password: Password::new(PASSWORD),
        display_name: "Ann of Europe".to_owned(),
        region,
    };
    let (firm, _) = (eu.firm("one").await, us.firm("one").await);
    let context = eu.context(firm);
    // Whoever asks at the wrong door is told the right one, and nothing is written.
    let refused = in_us.register(&context, ann(Some(region("eu"))), "::1").await.unwrap_err();
    assert!(refused.to_string().contains("https://eu.firm.example"), "{refused}");
    assert_eq!(code(refused), "wrong_region");
    let (person, _) = in_eu.register(&context, ann(Some(region("eu"))), "::1").await.unwrap();
    let (said_nothing, _) = in_eu
        .register(&context, Registration { email: "bob@one.example".to_owned(), ..ann(None) }, "::1")
        .await
        .unwrap();
    let mut here = eu.database.superuser().await;
    assert_eq!(count(&mut here, "people where region = 'eu'").await, 2);
    let mut there = us.database.superuser().await;
    assert_eq!(count(&mut there, "people").await, 0);
    // Nor by another hand: not even whoever owns the database writes the row there.
    let row: String = sqlx::query_scalar(AssertSqlSafe(format!(
        "select to_jsonb(row)::text from people row where id = '{}'",
        person.id
    )))
    .fetch_one(&mut here)
    .await
    .unwrap();
    let smuggled = format!("insert into people select * from jsonb_populate_record(null::people, '{row}')");
    let error = there.execute(AssertSqlSafe(smuggled)).await.unwrap_err();
    assert_eq!(error.as_database_error().unwrap().constraint(), Some("people_region_here"));
    let dump = us.database.dump();
    for id in [person.id, said_nothing.id] {
        assert!(!dump.contains(&id.to_string()), "a row of {id} is in the other region");
    }
}
