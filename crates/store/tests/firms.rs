//! No firm sees or touches another's rows, and no role does what is not its work.
#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, clippy::panic, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};

use crate::common::{Story, story};
use app::catalogue::CatalogueStore;
use app::identity::IdentityStore;
use app::notifications::{Group, Note, NotificationStore as _, SECRET_BYTES, Secret};
use app::overrides::OverrideStore;
use app::purchases::PurchaseStore;
use app::releases::ReleaseStore;
use app::webhooks::WebhookStore as _;
use app::{Actor, AppError, Role};
use engine::{Key, Ticket};
use kernel::FirmId;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, Row};
use store::Store;
use store::read::{self, Orders, Viewer};
use testkit::World;

/// What belongs to the installation and to no firm.
const INSTALLATION: [&str; 22] = [
    "audit_archives",
    "audit_checkpoints",
    "audit_cosignatures",
    "audit_dropped",
    "audit_drops",
    "audit_hashes",
    "audit_keys",
    "audit_marks",
    "audit_nodes",
    "audit_state",
    "consumer_groups",
    "installation",
    "lease_seekers",
    "leases",
    "refused_quotes",
    "relay",
    "schedule_firings",
    "schedules",
    "schema_version",
    "shard_owners",
    "shards",
    "standing_quotes",
];

/// Two firms that live in one shard, with a row in every table each.
async fn two_firms() -> (World, Story, Story) {
    let world = World::new().await;
    let one = story(&world, "one", 0).await;
    let two = story(&world, "two", 0).await;
    (world, one, two)
}

async fn firm_tables(connection: &mut PgConnection) -> Vec<String> {
    let rows = sqlx::query_scalar(
        "select c.relname::text from pg_class c
         where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'm', 'f')
           and not c.relispartition and c.relname <> '_sqlx_migrations' order by 1",
    );
    let mut tables: Vec<String> = rows.fetch_all(connection).await.unwrap();
    let before = tables.len();
    tables.retain(|table| !INSTALLATION.contains(&table.as_str()));
    assert_eq!(before - tables.len(), INSTALLATION.len());
    tables
}

/// The SQLSTATE of a refusal.
async fn refused(connection: &mut PgConnection, sql: &str) -> String {
    match connection.execute(AssertSqlSafe(sql.to_owned())).await {
        Ok(done) => panic!("{sql}: touched {} rows", done.rows_affected()),
        Err(sqlx::Error::Database(error)) => error.code().unwrap_or_default().into_owned(),
        Err(other) => panic!("{sql}: {other}"),
    }
}

async fn count(connection: &mut PgConnection, sql: &str) -> Result<i64, String> {
    match sqlx::query_scalar(AssertSqlSafe(sql.to_owned())).fetch_one(connection).await {
        Ok(count) => Ok(count),
        Err(sqlx::Error::Database(error)) => Err(error.code().unwrap_or_default().into_owned()),
        Err(other) => panic!("{sql}: {other}"),
    }
}

async fn enter(connection: &mut PgConnection, firm: &str) {
    sqlx::query("select set_config('tradesense.firm', $1, false)")
        .bind(firm)
        .execute(connection)
        .await
        .unwrap();
}

#[tokio::test]
async fn every_table_carries_its_firm_and_its_fence() {
    let world = World::new().await;
    let mut connection = world.database.superuser().await;
    for table in firm_tables(&mut connection).await {
        let row = sqlx::query(
            "select c.relrowsecurity as enabled, c.relforcerowsecurity as forced,
                    (select count(*) from pg_policy where polrelid = c.oid) as policies,
                    exists (select from pg_constraint k join pg_attribute a on a.attrelid = c.oid and a.attnum = any (k.conkey)
                            where k.conrelid = c.oid and k.contype = 'p' and a.attname = 'firm_id') as keyed
             from pg_class c where c.oid = ($1::text)::regclass",
        )
        .bind(&table)
        .fetch_one(&mut connection)
        .await
        .unwrap();
        assert!(
            row.get::<bool, _>("enabled") && row.get::<bool, _>("forced"),
            "{table} has no row-level security"
        );
        assert!(row.get::<i64, _>("policies") > 0, "{table} has no policy");
        assert!(row.get::<bool, _>("keyed"), "the primary key of {table} does not hold the firm");
    }
    let crossing: Vec<String> = sqlx::query_scalar(
        "select k.conname::text from pg_constraint k
         join pg_attribute far on far.attrelid = k.confrelid and far.attname = 'firm_id'
         join pg_attribute near on near.attrelid = k.conrelid and near.attname = 'firm_id'
         where k.contype = 'f'
           and not exists (select from generate_subscripts(k.conkey, 1) place
                           where k.conkey[place] = near.attnum and k.confkey[place] = far.attnum)",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(crossing, Vec::<String>::new(), "a row could point into another firm");
}

#[tokio::test]
async fn every_view_shows_what_its_reader_may_see() {
    let world = World::new().await;
    let mut connection = world.database.superuser().await;
    let open: Vec<String> = sqlx::query_scalar(
        "select relname::text from pg_class
         where relnamespace = 'public'::regnamespace and relkind = 'v'
           and not coalesce('security_invoker=true' = any (reloptions), false)",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(open, Vec::<String>::new());
}

#[tokio::test]
async fn every_constraint_has_a_name_of_its_own() {
    let world = World::new().await;
    let mut connection = world.database.superuser().await;
    let unnamed: Vec<String> = sqlx::query_scalar(
        "select k.conname::text from pg_constraint k join pg_class c on c.oid = k.conrelid
         where k.connamespace = 'public'::regnamespace and c.relname <> '_sqlx_migrations'
           and (k.conname ~ '_(pkey|fkey|check|not_null|excl)[0-9]*$' or (k.contype = 'u' and k.conname ~ '_key[0-9]*$'))",
    )
    .fetch_all(&mut connection)
    .await
    .unwrap();
    assert_eq!(unnamed, Vec::<String>::new());
}

#[tokio::test]
async fn no_role_of_a_firm_reaches_another_in_any_table() {
    let (world, one, two) = two_firms().await;
    let mut owner = world.database.superuser().await;
    let tables = firm_tables(&mut owner).await;
    let mut app = world.database.role("tradesense_app").await;
    let columns: BTreeMap<String, String> = sqlx::query_as(
        "select table_name::text, min(column_name::text) from information_schema.columns
         where table_schema = 'public' and column_name <> 'firm_id' group by 1",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap()
    .into_iter()
    .collect();
    for table in tables {
        let theirs = format!("select count(*) from {table} where firm_id = '{}'", two.firm);
        let ours = format!("select count(*) from {table} where firm_id = '{}'", one.firm);
        for sql in [&theirs, &ours] {
            assert!(count(&mut owner, sql).await.unwrap() > 0, "the story leaves {table} empty");
        }

        enter(&mut app, "").await;
        for sql in [&theirs, &ours] {
            let seen = count(&mut app, sql).await;
            assert!(
                matches!(seen.as_ref().map_err(String::as_str), Ok(0) | Err("42501")),
                "{table} shows rows to no firm: {seen:?}"
            );
        }
        enter(&mut app, &one.firm.to_string()).await;
        let seen = count(&mut app, &theirs).await;
        assert!(
            matches!(seen.as_ref().map_err(String::as_str), Ok(0) | Err("42501")),
            "{table} shows rows of another firm: {seen:?}"
        );
        let seen = count(&mut app, &ours).await;
        assert!(
            matches!(seen.as_ref().map_err(String::as_str), Ok(1..) | Err("42501")),
            "{table} hides its own rows: {seen:?}"
        );

        let column = columns.get(&table).unwrap();
        for change in [
            format!("update {table} set {column} = {column} where firm_id = '{}'", two.firm),
            format!("delete from {table} where firm_id = '{}'", two.firm),
        ] {
            match app.execute(AssertSqlSafe(change.clone())).await {
                Ok(done) => assert_eq!(done.rows_affected(), 0, "{change}"),
                Err(sqlx::Error::Database(error)) => {
                    assert_eq!(error.code().as_deref(), Some("42501"), "{change}");
                }
                Err(other) => panic!("{change}: {other}"),
            }
        }
        let row: String = sqlx::query_scalar(AssertSqlSafe(format!(
            "select to_jsonb(row)::text from {table} row where firm_id = '{}' limit 1",
            two.firm
        )))
        .fetch_one(&mut owner)
        .await
        .unwrap();
        let smuggled = format!(
            "insert into {table} overriding system value select * from jsonb_populate_record(null::{table}, '{}')",
            row.replace('\'', "''")
        );
        assert_eq!(refused(&mut app, &smuggled).await, "42501", "{table} takes a row of another firm");
    }
}

#[tokio::test]
async fn no_reader_shows_what_is_not_the_viewers() {
    let (world, one, two) = two_firms().await;
    let store = &*world.store;
    let stranger = world.person(one.firm, "stranger@one.example").await;
    let position = Ticket(2);

    let owner = Viewer::Owner(one.trader.id);
    let looks = [
        ("the owner", one.firm, owner, true),
        ("staff of the firm", one.firm, Viewer::Staff, true),
        ("another trader of the firm", one.firm, Viewer::Owner(stranger.id), false),
        ("staff of another firm", two.firm, Viewer::Staff, false),
        ("a trader of another firm", two.firm, Viewer::Owner(two.trader.id), false),
        ("the owner through another firm", two.firm, owner, false),
    ];
    for (who, firm, viewer, sees) in looks {
        let id = one.passed;
        let found = [
            ("account", read::account(store, firm, viewer, id).await.unwrap().is_some()),
            (
                "closed_positions",
                !read::closed_positions(store, firm, viewer, id, None, 9).await.unwrap().items.is_empty(),
            ),
            ("position", read::position(store, firm, viewer, id, position).await.unwrap().is_some()),
            (
                "orders",
                !read::orders(store, firm, viewer, id, Orders::All, None, 9).await.unwrap().items.is_empty(),
            ),
            ("order", read::order(store, firm, viewer, id, Ticket(1)).await.unwrap().is_some()),
            ("fills", !read::fills(store, firm, viewer, id, None, 9).await.unwrap().items.is_empty()),
            ("entries", !read::entries(store, firm, viewer, id, None, 9).await.unwrap().items.is_empty()),
            ("verdicts", !read::verdicts(store, firm, viewer, id).await.unwrap().is_empty()),
            ("latencies", !read::latencies(store, firm, viewer, id).await.unwrap().is_empty()),
            ("receipt", read::receipt(store, firm, viewer, id, 1).await.unwrap().is_some()),
            ("receipt_document", read::receipt_document(store, firm, viewer, id, 1).await.unwrap().is_some()),
        ];
        for (reader, found) in found {
            assert_eq!(found, sees, "{reader} for {who}");
        }
        let working = read::orders(store, firm, viewer, id, Orders::Working, None, 9).await.unwrap();
        assert!(working.items.is_empty(), "a passed account has no working order");
    }
    for (person, firm, account, owns) in [
        (one.trader.id, one.firm, one.passed, true),
        (stranger.id, one.firm, one.passed, false),
        (one.trader.id, two.firm, one.passed, false),
        (one.trader.id, one.firm, two.passed, false),
    ] {
        let found = read::account(store, firm, Viewer::Owner(person), account).await.unwrap();
        assert_eq!(found.is_some(), owns);
        assert_eq!(
            !read::challenges(store, firm, person).await.unwrap().is_empty(),
            person == one.trader.id && firm == one.firm
        );
    }
    // Asked twice: what is remembered is as strict.
    for _ in 0..2 {
        let whose = |firm, account| read::owner(store, firm, account);
        assert_eq!(whose(one.firm, one.passed).await.unwrap().map(|owner| owner.person), Some(one.trader.id));
        assert!(whose(two.firm, one.passed).await.unwrap().is_none());
        assert!(whose(one.firm, two.passed).await.unwrap().is_none());
    }
    let board = read::leaderboard(store, one.firm, "two-step", 0, 50).await.unwrap();
    assert!(board.iter().all(|line| line.person == one.trader.id) && board.len() == 2);

    let tested: BTreeSet<&str> = [
        "account",
        "challenges",
        "closed_positions",
        "entries",
        "fills",
        "latencies",
        "leaderboard",
        "order",
        "orders",
        "owner",
        "position",
        "receipt",
        "receipt_document",
        "verdicts",
    ]
    .into();
    let source = include_str!("../src/read.rs");
    let readers: BTreeSet<&str> =
        source.split("pub async fn ").skip(1).filter_map(|rest| rest.split('(').next()).collect();
    assert_eq!(readers, tested, "a reader without its case here");
}

#[tokio::test]
async fn no_port_gives_out_another_firms_rows() {
    let (world, one, two) = two_firms().await;
    let store = &*world.store;
    assert_eq!(world.identity.who(one.firm, &one.token).await.unwrap().unwrap(), one.trader);
    assert!(world.identity.who(two.firm, &one.token).await.unwrap().is_none());
    assert!(store.credentials(two.firm, &one.trader.email).await.unwrap().is_none());
    let bought = store.purchases(one.firm, one.trader.id, None, 10).await.unwrap();
    assert_eq!(bought.len(), 2);
    assert!(store.purchases(two.firm, one.trader.id, None, 10).await.unwrap().is_empty());
    for purchase in bought {
        assert!(store.purchase(two.firm, purchase.id).await.unwrap().is_none());
        let stranger = world.person(one.firm, "stranger@one.example").await;
        let context = world.context_of(one.firm, &stranger);
        assert!(matches!(
            world.purchases.get(&context, purchase.id).await,
            Err(AppError::NotFound("purchase"))
        ));
        let context = world.context_of(two.firm, &two.trader);
        assert!(matches!(
            world.purchases.capture(&context, purchase.id).await,
            Err(AppError::NotFound("purchase"))
        ));
    }
    let key = Key::parse("anything").unwrap();
    assert!(store.by_key(two.firm, one.trader.id, &key).await.unwrap().is_none());
    let nowhere = FirmId::derived(&[b"nowhere"]);
    assert!(store.offers(nowhere).await.unwrap().is_empty());
    assert!(store.offer(nowhere, "two-step").await.unwrap().is_none());
    assert!(store.firm(nowhere).await.unwrap().is_none());
    assert_eq!(store.firm(one.firm).await.unwrap().unwrap().slug, "one");
    let domains = [("one.example".to_owned(), one.firm), ("two.example".to_owned(), two.firm)];
    assert_eq!(store.domains().await.unwrap(), domains);
    let ours = store.offer(one.firm, "two-step").await.unwrap().unwrap();
    let theirs = store.offer(two.firm, "two-step").await.unwrap().unwrap();
    assert_ne!(ours.version, theirs.version);
    assert!(store.publications(nowhere, "two-step").await.unwrap().is_empty());
    assert_eq!(store.publications(one.firm, "two-step").await.unwrap().len(), 1);
    assert!(store.kept(one.firm, &ours.version).await.unwrap().is_some());
    assert!(store.kept(one.firm, &theirs.version).await.unwrap().is_none());
    assert!(store.owned(two.firm, one.passed).await.unwrap().is_none());
    let decided = one.decided;
    assert_eq!(store.overrides(one.firm, decided).await.unwrap().len(), 1);
    assert!(store.overrides(two.firm, decided).await.unwrap().is_empty());
    let always = kernel::Timestamp::EPOCH;
    let release = store.releases(one.firm, always).await.unwrap().pop().unwrap();
    let context = world.context_of(two.firm, &world.risk(two.firm, "risk@two.example").await);
    assert!(world.releases.remove(&context, release.id).await.is_err());
    assert!(store.releases(nowhere, always).await.unwrap().is_empty());
    assert!(store.calendar(nowhere).await.unwrap().is_none());
    // Notes, choices, secrets, webhooks.
    let (ours, theirs) = (one.trader.id, two.trader.id);
    assert_eq!(store.notifications(one.firm, ours, None, 9).await.unwrap().len(), 1);
    assert!(store.notifications(two.firm, ours, None, 9).await.unwrap().is_empty());
    assert!(store.notifications(one.firm, theirs, None, 9).await.unwrap().is_empty());
    assert_eq!(store.unread(two.firm, ours, 9).await.unwrap(), 0);
    let note = store.notifications(one.firm, ours, None, 1).await.unwrap().pop().unwrap();
    assert!(!store.mark_read(two.firm, ours, note.id, always).await.unwrap());
    assert!(!store.mark_read(one.firm, theirs, note.id, always).await.unwrap());
    assert_eq!(store.preferences(one.firm, ours).await.unwrap().len(), 1);
    assert!(store.preferences(two.firm, ours).await.unwrap().is_empty());
    assert!(!store.no_more_mail(two.firm, ours, Group::Payouts).await.unwrap());
    let fresh = Secret([9; SECRET_BYTES]);
    assert_eq!(store.firm_secret(one.firm, "test", fresh, always).await.unwrap(), Secret([1; SECRET_BYTES]));
    let mail =
        Note { person: ours, mail_once: None, id: note.id, kind: note.kind, at: note.at, told: note.told }
            .mail();
    assert!(store.queued_mail(one.firm, mail).await.unwrap().is_some());
    assert!(store.queued_mail(two.firm, mail).await.unwrap().is_none());
    let endpoint = store.endpoints(one.firm).await.unwrap().pop().unwrap();
    assert!(store.endpoint(two.firm, endpoint.id).await.unwrap().is_none());
    let delivery = store.deliveries(one.firm, endpoint.id, None, None, 9).await.unwrap().pop().unwrap();
    assert!(store.deliveries(two.firm, endpoint.id, None, None, 9).await.unwrap().is_empty());
    assert!(store.delivery(one.firm, endpoint.id, delivery.id).await.unwrap().is_some());
    assert!(store.delivery(two.firm, endpoint.id, delivery.id).await.unwrap().is_none());
    assert!(store.due_delivery(two.firm, endpoint.id, delivery.id, 2, always).await.unwrap().is_none());
    assert_eq!(
        Viewer::of(&Actor { person: one.trader.id, roles: vec![Role::Trader] }),
        Viewer::Owner(one.trader.id)
    );
    assert_eq!(Viewer::of(&Actor { person: one.trader.id, roles: vec![Role::Risk] }), Viewer::Staff);
}

#[tokio::test]
async fn a_transaction_forgets_its_firm_when_it_ends() {
    let (world, one, _) = two_firms().await;
    let mut app = world.database.role("tradesense_app").await;
    let mut tx = app.begin().await.unwrap();
    sqlx::query("select set_config('tradesense.firm', $1, true)")
        .bind(one.firm.to_string())
        .execute(&mut *tx)
        .await
        .unwrap();
    assert_eq!(count(&mut tx, "select count(*) from firms").await, Ok(1));
    tx.commit().await.unwrap();
    assert_eq!(count(&mut app, "select count(*) from firms").await, Ok(0));
}

#[tokio::test]
async fn the_login_of_a_platform_can_do_nothing_but_take_its_roles() {
    let world = World::new().await;
    let one = story(&world, "one", 0).await;
    let url = world.database.login_url().await;
    assert_eq!(world.database.login_url().await, url, "the second start finds the login of the first");
    let mut login = PgConnection::connect(&url).await.unwrap();
    for role in ["app", "engine", "worker", "sealer", "auditor"] {
        let set = format!("set role tradesense_{role}");
        sqlx::query(AssertSqlSafe(set)).execute(&mut login).await.unwrap();
    }
    sqlx::query("set role tradesense_app").execute(&mut login).await.unwrap();
    enter(&mut login, &one.firm.to_string()).await;
    assert_eq!(count(&mut login, "select count(*) from people").await, Ok(7));

    sqlx::query("reset role").execute(&mut login).await.unwrap();
    for sql in [
        "select count(*) from people",
        "select count(*) from sessions",
        "select count(*) from accounts",
        "select count(*) from audit_entries",
        "set role tradesense_audit",
        "set role postgres",
        "create table mine (id int)",
        "create role another",
        "create database another",
        "alter table people disable row level security",
        "copy people to program 'true'",
    ] {
        assert_eq!(refused(&mut login, sql).await, "42501", "{sql}");
    }

    // Another password is the password from then on, and a login that was made stronger is weakened again.
    let mut owner = world.database.superuser().await;
    let name: String = sqlx::query_scalar("select current_user::text").fetch_one(&mut login).await.unwrap();
    sqlx::query(AssertSqlSafe(format!("alter role {name} superuser"))).execute(&mut owner).await.unwrap();
    let other = "sl/ash@and: 100% 'quo\"ted'";
    let changed = Store::ensure_login(&world.database.url(), other).await.unwrap();
    assert!(PgConnection::connect(&url).await.is_err());
    let mut login = PgConnection::connect(&changed).await.unwrap();
    assert_eq!(refused(&mut login, "select count(*) from people").await, "42501");
    // The server never sees it: what it keeps was made here, of passwords in every script, as clients make it.
    let kept = "select rolpassword from pg_authid where rolname = $1";
    let kept: String = sqlx::query_scalar(kept).bind(&name).fetch_one(&mut owner).await.unwrap();
    assert!(kept.starts_with("SCRAM-SHA-256$4096:"), "{kept}");
    let of_letters =
        Store::ensure_login(&world.database.url(), "gr\u{fc}\u{df}e \u{fb01}n \u{2168}").await.unwrap();
    PgConnection::connect(&of_letters).await.unwrap();
    // Two starts at once.
    let at_once = tokio::join!(world.database.login_url(), world.database.login_url());
    assert_eq!(at_once, (url.clone(), url));

    // A login may have a name that was known before; the owner's own is refused.
    let named = format!("{name}_named");
    let known = Store::ensure_login_named(&world.database.url(), Some(&named), "open").await.unwrap();
    let mut login = PgConnection::connect(&known).await.unwrap();
    let who: String = sqlx::query_scalar("select current_user::text").fetch_one(&mut login).await.unwrap();
    assert_eq!(who, named);
    assert_eq!(refused(&mut login, "select count(*) from people").await, "42501");
    let own: String = sqlx::query_scalar("select current_user::text").fetch_one(&mut owner).await.unwrap();
    assert!(Store::ensure_login_named(&world.database.url(), Some(&own), "open").await.is_err());
}

#[tokio::test]
async fn every_role_does_its_own_work_only() {
    let (world, one, _) = two_firms().await;
    let denied = "42501";
    let mut app = world.database.role("tradesense_app").await;
    enter(&mut app, &one.firm.to_string()).await;
    for sql in [
        "update audit_entries set action = 'x'",
        "delete from audit_entries",
        "truncate audit_entries",
        "select count(*) from audit_entries",
        "select count(*) from journal",
        "delete from journal",
        "select count(*) from shards",
        "update accounts set balance_micros = 0",
        "insert into verdicts select * from verdicts",
        "delete from people",
        "update people set email = 'x@y.zz'",
        "update people set email_index = null",
        "update people set display_name = 'x'",
        "update people set roles = '{admin}'",
        "update people set region = 'us'",
        "update people set erased_at = null",
        "update erasures set at = now()",
        "update installation set region = 'us'",
        "update purchases set fee_minor = 0",
        "update ledger_transfers set amount_minor = 1",
        "delete from ledger_entries",
        "truncate ledger_holds",
        "insert into ledger_transfers (transaction) values ('1')",
        "update purchase_events set amount_minor = 1",
        "update coupons set most_uses = 1000000",
        "delete from coupon_claims",
        "insert into firms values (gen_random_uuid(), 'x', 'x', now())",
        "select secret from webhook_secrets",
        "update webhook_secrets set secret = secret",
        "update webhook_deliveries set body = ''",
        "update webhook_attempts set status = 200",
        "delete from webhook_attempts",
        "delete from notifications",
        "update notifications set told = ''",
        "update firm_secrets set secret = secret",
        "create table mine (id int)",
    ] {
        assert_eq!(refused(&mut app, sql).await, denied, "{sql}");
    }
    let mut engine = world.database.role("tradesense_engine").await;
    for sql in [
        "select count(*) from people",
        "select count(*) from sessions",
        "select count(*) from purchases",
        "select person_id from challenges",
        "update challenges set version = version",
        "select count(*) from audit_entries",
        "update journal set seq = 0",
        "delete from fills",
        "update program_versions set body = '{}'",
        "delete from accounts",
    ] {
        assert_eq!(refused(&mut engine, sql).await, denied, "{sql}");
    }
    let mut audit = world.database.role("tradesense_audit").await;
    for what in ["audit_entries", "journal", "verdicts"] {
        assert!(count(&mut audit, &format!("select count(*) from {what}")).await.unwrap() > 0, "{what}");
    }
    let by_action = "select count(distinct action) from audit_log
                     where action in ('identity.sign_in', 'command.place', 'command.open', 'verdict.breach', 'verdict.pass')";
    assert_eq!(count(&mut audit, by_action).await, Ok(5), "what every kind of row tells");
    for sql in [
        "insert into audit_entries default values",
        "select count(*) from people",
        "delete from audit_entries",
    ] {
        assert_eq!(refused(&mut audit, sql).await, denied, "{sql}");
    }
    // Even whoever owns the tables does not rewrite history by accident.
    let mut owner = world.database.superuser().await;
    for table in [
        "audit_entries",
        "journal",
        "fills",
        "balance_entries",
        "trading_days",
        "verdicts",
        "program_versions",
        "program_publications",
        "account_overrides",
        "erasures",
        "audit_leaves",
        "audit_nodes",
        "audit_checkpoints",
        "audit_cosignatures",
        "audit_keys",
        "ledger_entries",
        "ledger_transfers",
        "ledger_holds",
        "ledger_hold_ends",
        "ledger_snapshots",
        "ledger_snapshot_lines",
        "purchase_events",
    ] {
        let column = match table {
            "audit_nodes" => "place",
            "audit_keys" => "number",
            "audit_checkpoints" | "audit_cosignatures" => "size",
            _ => "firm_id",
        };
        for sql in [
            format!("update {table} set {column} = {column}"),
            format!("delete from {table}"),
            format!("truncate {table} cascade"),
        ] {
            assert_eq!(refused(&mut owner, &sql).await, "23001", "{sql}");
        }
    }
}
