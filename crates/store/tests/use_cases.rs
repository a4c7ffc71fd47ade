//! Registering, buying and reading over the real store.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use crate::common::{Owner, story};
use app::AppError;
use app::events::MessageStore as _;
use app::identity::{Cost, Identity, Password, Registration, Token};
use app::purchases::PurchaseState;
use app::trading::{ShardError, ShardStore as _};
use engine::{Key, Status};
use kernel::{Amount, Span};
use sha2::{Digest as _, Sha256};
use sqlx::{AssertSqlSafe, Row};
use store::read::{self, ChallengeState, Orders, Viewer};
use testkit::{PASSWORD, World, program};

fn code<T: std::fmt::Debug>(result: Result<T, AppError>) -> &'static str {
    match result {
        Err(AppError::Refused { code, .. }) => code,
        other => panic!("expected a refusal: {other:?}"),
    }
}

fn registration(email: &str) -> Registration {
    Registration {
        email: email.to_owned(),
        password: Password::new(PASSWORD),
        display_name: "Ada".to_owned(),
        region: None,
    }
}

async fn audit(world: &World) -> Vec<String> {
    let mut connection = world.database.superuser().await;
    sqlx::query_scalar("select action from audit_entries order by id")
        .fetch_all(&mut connection)
        .await
        .unwrap()
}

#[tokio::test]
async fn a_person_registers_once_and_comes_back() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let context = world.context(firm);
    let (person, token) =
        world.identity.register(&context, registration("Ada@Example.org "), "::1").await.unwrap();
    assert_eq!((person.email.as_str(), person.display_name.as_str()), ("ada@example.org", "Ada"));
    assert_eq!(world.identity.who(firm, token.reveal()).await.unwrap().unwrap(), person);

    assert_eq!(
        code(world.identity.register(&context, registration("ADA@example.org"), "::1").await),
        "email_taken"
    );
    let other = world.firm("two").await;
    let elsewhere =
        world.identity.register(&world.context(other), registration("ada@example.org"), "::1").await;
    assert_ne!(elsewhere.unwrap().0.id, person.id, "another firm knows nothing of her");

    let sign_in = async |email: &str, password: &str| {
        world.identity.sign_in(&context, email, Password::new(password), "::1").await
    };
    assert_eq!(code(sign_in("ada@example.org", "not her password at all").await), "wrong_credentials");
    assert_eq!(code(sign_in("nobody@example.org", PASSWORD).await), "wrong_credentials");
    let (again, second) = sign_in(" ADA@example.org", PASSWORD).await.unwrap();
    assert_eq!(again, person);
    world.identity.sign_out(&context, second.reveal()).await.unwrap();
    world.identity.sign_out(&context, second.reveal()).await.unwrap();
    assert!(world.identity.who(firm, second.reveal()).await.unwrap().is_none());
    assert!(
        world.identity.who(firm, token.reveal()).await.unwrap().is_some(),
        "the other browser stays signed in"
    );
    assert!(world.identity.who(firm, "").await.unwrap().is_none());
    assert_eq!(
        audit(&world).await,
        [
            "identity.register",
            "identity.sign_in",
            "identity.register",
            "identity.sign_in",
            "identity.sign_in",
            "identity.sign_out"
        ]
    );
    let mut connection = world.database.superuser().await;
    let row = sqlx::query("select password_hash, (select string_agg(encode(token_hash, 'hex'), ' ') from sessions) as tokens from people limit 1")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert!(row.get::<&str, _>("password_hash").starts_with("$argon2id$v=19$"));
    assert!(!row.get::<&str, _>("tokens").contains(token.reveal()));
}

#[tokio::test]
async fn guessing_is_stopped() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let person = world.person(firm, "ada@example.org").await;
    let context = world.context(firm);
    // What is no email is no attempt, however long.
    for _ in 0..20 {
        let text = "a".repeat(60_000);
        let guess = world.identity.sign_in(&context, &text, Password::new("guess"), "::1").await;
        assert_eq!(code(guess), "wrong_credentials");
    }
    for _ in 0..10 {
        let guess = world.identity.sign_in(&context, &person.email, Password::new("guess"), "::1").await;
        assert_eq!(code(guess), "wrong_credentials");
    }
    let right = || world.identity.sign_in(&context, &person.email, Password::new(PASSWORD), "::1");
    assert_eq!(code(right().await), "too_many_requests");
    world.clock.advance(Span::from_seconds(900));
    right().await.unwrap();
}

#[tokio::test]
async fn trying_which_emails_are_registered_is_stopped() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    world.person(firm, "ada@example.org").await;
    let context = world.context(firm);
    let register = async |email: &str| {
        world.identity.register(&context, registration(email), "192.0.2.1").await.map(|_| ())
    };
    for _ in 0..10 {
        assert_eq!(code(register("ada@example.org").await), "email_taken");
    }
    assert_eq!(code(register("ada@example.org").await), "too_many_requests");
    for number in 0..50 {
        register(&format!("{number}@example.org")).await.unwrap();
    }
    assert_eq!(code(register("bob@example.org").await), "too_many_requests");
}

#[tokio::test]
async fn a_session_lives_from_its_use_but_not_for_ever() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let (_, token) =
        world.identity.register(&world.context(firm), registration("ada@example.org"), "::1").await.unwrap();
    let who = async || world.identity.who(firm, token.reveal()).await.unwrap();
    let day = |days| world.clock.advance(Span::from_days(days).unwrap());
    for _ in 0..2 {
        day(13);
        assert!(who().await.is_some(), "used within 14 days");
    }
    day(4);
    assert!(who().await.is_none(), "30 days after signing in");
    let context = world.context(firm);
    let (_, idle) =
        world.identity.sign_in(&context, "ada@example.org", Password::new(PASSWORD), "::1").await.unwrap();
    day(14);
    assert!(world.identity.who(firm, idle.reveal()).await.unwrap().is_none(), "14 days without use");
}

#[tokio::test]
async fn a_purchase_is_made_once_for_a_key_and_paid_once() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let ada = world.person(firm, "ada@example.org").await;
    world.publish(firm, "two-step", program("Two steps")).await;
    let context = world.context_of(firm, &ada);
    let offer = world.catalogue.get(firm, "two-step").await.unwrap();
    let version = offer.version.as_str();
    let key = Key::parse("first").unwrap();
    let buy = |version: &str| {
        let version = version.to_owned();
        let (world, context, key) = (&world, &context, &key);
        async move { world.purchases.create(context, key, "two-step", &version).await }
    };
    // Two at once make one.
    let (one, two) = tokio::join!(buy(version), buy(version));
    let bought = one.unwrap();
    assert_eq!(two.unwrap(), bought);
    assert_eq!((bought.fee.to_string().as_str(), bought.program_name.as_str()), ("490.00 USD", "Two steps"));

    let mut newer = program("Two steps");
    newer.terms.leverage = 50;
    world.publish(firm, "two-step", newer).await;
    assert_eq!(buy(version).await.unwrap(), bought, "a retry is not a new purchase of the old version");
    let changed = world.catalogue.get(firm, "two-step").await.unwrap();
    assert_eq!(code(buy(changed.version.as_str()).await), "idempotency_key_reused");
    let stale = world.purchases.create(&context, &Key::parse("second").unwrap(), "two-step", version).await;
    assert_eq!(code(stale), "program_changed");
    let unknown = world.purchases.create(&context, &Key::parse("third").unwrap(), "nothing", version).await;
    assert!(matches!(unknown, Err(AppError::NotFound("program"))));
    let nobody = world.purchases.create(&world.context(firm), &key, "two-step", version).await;
    assert!(matches!(nobody, Err(AppError::Unauthenticated)));

    assert!(world.purchases.unopened(10).await.unwrap().is_empty());
    let (one, two) = tokio::join!(
        world.purchases.capture(&context, bought.id),
        world.purchases.capture(&context, bought.id)
    );
    let paid = one.unwrap();
    assert_eq!(paid.state, PurchaseState::Captured);
    assert_eq!(two.unwrap(), paid);
    assert_eq!(world.purchases.get(&context, bought.id).await.unwrap(), paid);
    assert_eq!(code(world.purchases.decline(&context, bought.id).await), "conflict");
    assert_eq!(code(world.purchases.cancel(&context, bought.id).await), "conflict");
    let unopened = world.purchases.unopened(10).await.unwrap();
    assert_eq!(unopened.iter().map(|it| it.challenge).collect::<Vec<_>>(), [paid.challenge.unwrap()]);
    let actions = audit(&world).await;
    let captures = actions.iter().filter(|action| *action == "purchase.capture").count();
    assert_eq!((captures, actions.iter().filter(|action| *action == "purchase.create").count()), (1, 1));

    let key = Key::parse("fourth").unwrap();
    let other = world.purchases.create(&context, &key, "two-step", changed.version.as_str()).await.unwrap();
    assert_eq!(world.purchases.decline(&context, other.id).await.unwrap().state, PurchaseState::Failed);
    // Money that comes late is money.
    assert_eq!(world.purchases.capture(&context, other.id).await.unwrap().state, PurchaseState::Captured);
    assert_eq!(world.purchases.list(&context, None, 10).await.unwrap().len(), 2);
}

#[tokio::test]
async fn publishing_twice_changes_nothing() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    for _ in 0..2 {
        world.publish(firm, "two-step", program("Two steps")).await;
    }
    assert_eq!(audit(&world).await, ["program.publish"]);
    let offers = world.catalogue.list(firm).await.unwrap();
    assert_eq!(offers.len(), 1);
    let phases = app::catalogue::phases(&offers.first().unwrap().program);
    let daily = phases.first().unwrap().rules.first().unwrap();
    assert!(daily.sentence.contains("5,000.00 USD"), "{}", daily.sentence);
    assert_eq!(daily.limit.unwrap().amount, Some(Amount::parse("5000").unwrap()));
}

#[tokio::test]
async fn screens_show_what_happened() {
    let world = World::new().await;
    let told = story(&world, "one", 0).await;
    let (store, firm, viewer) = (&*world.store, told.firm, Viewer::Owner(told.trader.id));

    let account = read::account(store, firm, viewer, told.passed).await.unwrap().unwrap();
    assert_eq!((account.status, account.phase, account.person), (Status::Passed, 0, told.trader.id));
    assert!(account.closed_at.is_some() && account.balance > account.initial);
    assert_eq!(account.number().len(), 8);

    let challenges = read::challenges(store, firm, told.trader.id).await.unwrap();
    let states: Vec<_> =
        challenges.iter().map(|challenge| (challenge.state(), challenge.accounts.len())).collect();
    assert!(
        states.contains(&(ChallengeState::Failed, 1)) && states.contains(&(ChallengeState::Running, 2)),
        "{states:?}"
    );

    // Page by page is all at once.
    let all = read::fills(store, firm, viewer, told.passed, None, 100).await.unwrap();
    assert!(all.next.is_none());
    let (mut paged, mut cursor) = (Vec::new(), None);
    loop {
        let page = read::fills(store, firm, viewer, told.passed, cursor.as_deref(), 1).await.unwrap();
        assert_eq!(page.items.len(), 1);
        paged.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(paged, all.items);
    let (mut paged, mut cursor) = (Vec::new(), None);
    loop {
        let page =
            read::closed_positions(store, firm, viewer, told.passed, cursor.as_deref(), 1).await.unwrap();
        paged.extend(page.items);
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let closed = read::closed_positions(store, firm, viewer, told.passed, None, 100).await.unwrap().items;
    assert_eq!((closed.len(), &paged), (2, &closed));
    for bad in ["x", "1.", "1.x", "-1"] {
        let refused = read::closed_positions(store, firm, viewer, told.passed, Some(bad), 1).await;
        assert!(matches!(refused, Err(AppError::Invalid(_))), "{bad}");
    }
    let orders = read::orders(store, firm, viewer, told.passed, Orders::All, None, 100).await.unwrap().items;
    for order in &orders {
        let found = read::order(store, firm, viewer, told.passed, order.ticket).await.unwrap().unwrap();
        assert_eq!(&found, order);
    }
    for position in &closed {
        let found = read::position(store, firm, viewer, told.passed, position.ticket).await.unwrap().unwrap();
        assert_eq!(&found, position);
    }

    let verdicts = read::verdicts(store, firm, viewer, told.breached).await.unwrap();
    let receipt = read::receipt(store, firm, viewer, told.breached, 1).await.unwrap().unwrap();
    assert_eq!(verdicts, std::slice::from_ref(&receipt.verdict));
    assert_eq!(receipt.verdict.verdict.rule, "daily_loss");
    assert_eq!(receipt.account.status, Status::Breached);
    assert!(receipt.verdict.decided_at > receipt.verdict.at);
    assert!(read::receipt(store, firm, viewer, told.breached, 2).await.unwrap().is_none());

    let board = read::leaderboard(store, firm, "two-step", 0, 10).await.unwrap();
    let lines: Vec<_> = board.iter().map(|line| (line.rank, line.account, line.trades)).collect();
    assert_eq!(lines, [(1, told.passed, 2), (2, told.breached, 1)]);
    let best = board.first().unwrap();
    assert_eq!(best.profit, account.balance.minus(account.initial).unwrap());
    assert_eq!(best.percent().unwrap(), "13.45");

    let mut owner = Owner::take(&world, 0).await;
    let next = owner.engine.accounts().find(|account| account.phase == 1).unwrap().id;
    owner.quote("EURUSD", 112_700, 112_702);
    owner.buy(next, "EURUSD", 1).unwrap();
    let _proof = owner.commit().await.unwrap();
    let held = owner.engine.account(next).unwrap().positions.values().next().unwrap();
    let open = read::position(store, firm, viewer, next, held.ticket).await.unwrap();
    assert_eq!(open.as_ref(), Some(held));
    assert!(read::closed_positions(store, firm, viewer, next, None, 9).await.unwrap().items.is_empty());
    let stranger = Viewer::Owner(world.person(firm, "stranger@one.example").await.id);
    assert!(read::position(store, firm, stranger, next, held.ticket).await.unwrap().is_none());
    world.store.ready().await.unwrap();
}

#[tokio::test]
async fn equal_results_share_a_rank_and_keep_their_order() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    world.publish(firm, "two-step", program("Two steps")).await;
    let mut owner = Owner::take(&world, 0).await;
    owner.quote("EURUSD", 110_000, 110_002);
    let mut accounts = Vec::new();
    for name in ["ada", "bob", "cem"] {
        let person = world.person(firm, &format!("{name}@example.org")).await;
        let challenge = world.challenge(firm, &person, "two-step").await;
        accounts.push(owner.open(&challenge).await);
    }
    let (Some(&ada), Some(&bob), Some(&cem)) = (accounts.first(), accounts.get(1), accounts.get(2)) else {
        panic!()
    };
    owner.buy(ada, "EURUSD", 1).unwrap();
    let ticket = *owner.engine.account(ada).unwrap().positions.keys().next().unwrap();
    owner.close(ada, ticket).unwrap();
    let _proof = owner.commit().await.unwrap();
    let board = async |most| {
        let lines = read::leaderboard(&world.store, firm, "two-step", 0, most).await.unwrap();
        lines.into_iter().map(|line| (line.rank, line.account, line.trader)).collect::<Vec<_>>()
    };
    let all = [(1, bob, "bob".to_owned()), (1, cem, "cem".to_owned()), (3, ada, "ada".to_owned())];
    assert_eq!(board(50).await, all);
    assert_eq!(board(1).await, all.get(..1).unwrap());
    assert!(read::leaderboard(&world.store, firm, "two-step", 1, 50).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_receipt_that_other_hands_changed_is_not_shown() {
    let world = World::new().await;
    let story = story(&world, "one", 0).await;
    let mut connection = world.database.superuser().await;
    sqlx::query("alter table verdicts disable trigger user").execute(&mut connection).await.unwrap();
    let altered = "replace(evidence, '\"breach\"', '\"pass\"')";
    let alter = format!("update verdicts set evidence = {altered} where kind = 'breach'");
    let viewer = Viewer::Owner(story.trader.id);
    let inconsistent = async || {
        let refused = read::receipt(&world.store, story.firm, viewer, story.breached, 1).await;
        let Err(AppError::Bug { source, .. }) = refused else { panic!("{refused:?}") };
        assert!(source.to_string().contains("verdicts"), "{source}");
    };
    sqlx::query(AssertSqlSafe(alter)).execute(&mut connection).await.unwrap();
    inconsistent().await;
    // An evidence is that of one account at one time, even if the digest was made to fit.
    let fit =
        "update verdicts set at = at + interval '1 second', digest = sha256(convert_to(evidence, 'UTF8'))";
    sqlx::query(fit).execute(&mut connection).await.unwrap();
    inconsistent().await;
}

/// What an older or newer program wrote: the same meaning, other bytes.
fn otherwise_written(program: &rules::Program) -> (String, String) {
    let value: serde_json::Value = serde_json::from_str(&program.canonical_json().unwrap()).unwrap();
    // Fields in the order of the alphabet, on lines.
    let text = serde_json::to_string_pretty(&value).unwrap();
    let version = hex::encode(Sha256::digest(&text));
    assert_ne!(version, program.version().unwrap().as_str());
    (text, version)
}

#[tokio::test]
async fn a_version_is_its_stored_text_and_not_what_it_would_be_written_as_today() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let program = program("Two steps");
    world.publish(firm, "two-step", program.clone()).await;
    let (text, version) = otherwise_written(&program);
    let spaced = format!("{text} ");
    let mut owner = world.database.superuser().await;
    let insert = "insert into program_versions (firm_id, version, body, name, currency, created_at)
                  values ($1, $2, $3, $4, 'USD', now())";
    let rows = [
        (version.as_str(), text.as_str(), "Two steps", None),
        (version.as_str(), spaced.as_str(), "Two steps", Some("program_versions_hash")),
        (version.as_str(), text.as_str(), "Three steps", Some("program_versions_body_says")),
    ];
    for (version, body, name, refused) in rows.into_iter().rev() {
        let row = sqlx::query(insert).bind(firm.uuid()).bind(version).bind(body).bind(name);
        match (row.execute(&mut owner).await, refused) {
            (Ok(_), None) => {}
            (Err(error), Some(constraint)) => {
                assert_eq!(error.as_database_error().unwrap().constraint(), Some(constraint));
            }
            (done, _) => panic!("{done:?}"),
        }
    }
    sqlx::query("update programs set version = $1").bind(&version).execute(&mut owner).await.unwrap();
    let offer = world.catalogue.get(firm, "two-step").await.unwrap();
    assert_eq!((offer.version.as_str(), &*offer.program), (version.as_str(), &program));
    let kept = world.store.program(&offer.version).await.unwrap().unwrap();
    assert_eq!(*kept, program);
    let person = world.person(firm, "ada@example.org").await;
    let context = world.context_of(firm, &person);
    let key = Key::parse("first").unwrap();
    let bought = world.purchases.create(&context, &key, "two-step", &version).await.unwrap();
    assert_eq!(bought.program_name, "Two steps");

    // Other hands change a digit.
    for sql in [
        "alter table program_versions disable trigger user",
        "alter table program_versions drop constraint program_versions_hash",
        "update program_versions set body = replace(body, '100000', '100001')",
    ] {
        sqlx::query(sql).execute(&mut owner).await.unwrap();
    }
    let refused = world.store.program(&offer.version).await.unwrap_err();
    assert!(matches!(refused, ShardError::Inconsistent { table: "program_versions", .. }), "{refused}");
}

#[tokio::test]
async fn a_password_that_was_lost_is_set_anew_and_ends_every_session() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let context = world.context(firm);
    let (ada, token) =
        world.identity.register(&context, registration("ada@example.org"), "::1").await.unwrap();
    let new = "another quiet street";
    let set =
        |password: &str| world.identity.set_password(&context, "Ada@example.org", Password::new(password));
    assert!(!set(PASSWORD).await.unwrap(), "it is hers already");
    assert!(world.identity.who(firm, token.reveal()).await.unwrap().is_some());
    assert!(matches!(set("short").await, Err(AppError::Invalid(_))));
    assert!(set(new).await.unwrap());
    assert!(world.identity.who(firm, token.reveal()).await.unwrap().is_none());
    let sign_in = async |password: &str| {
        world.identity.sign_in(&context, &ada.email, Password::new(password), "::1").await
    };
    assert_eq!(code(sign_in(PASSWORD).await), "wrong_credentials");
    assert_eq!(sign_in(new).await.unwrap().0, ada);
    let actions = ["identity.register", "identity.sign_in", "identity.set_password", "identity.sign_in"];
    assert_eq!(audit(&world).await, actions);
    let nobody = world.identity.set_password(&context, "bob@example.org", Password::new(new)).await;
    assert!(matches!(nobody, Err(AppError::NotFound("person"))));
}

#[tokio::test]
async fn what_ends_a_session_counts_at_once_here_and_within_a_second_elsewhere() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let context = world.context(firm);
    // Another process on the same database.
    let elsewhere = Identity::new(
        world.store.clone(),
        world.clock.clone(),
        world.rng.clone(),
        1,
        Cost { memory: 64, passes: 1, lanes: 1 },
    );
    let (ada, first) =
        world.identity.register(&context, registration("ada@example.org"), "::1").await.unwrap();
    let password = || Password::new(PASSWORD);
    let (_, second) = world.identity.sign_in(&context, "ada@example.org", password(), "::1").await.unwrap();
    let here = async |token: &Token| world.identity.who(firm, token.reveal()).await.unwrap();
    let there = async |token: &Token| elsewhere.who(firm, token.reveal()).await.unwrap();
    let second_later = || world.clock.advance(Span::from_seconds(1));
    for token in [&first, &second] {
        assert_eq!((here(token).await, there(token).await), (Some(ada.clone()), Some(ada.clone())));
    }

    elsewhere.sign_out(&context, first.reveal()).await.unwrap();
    assert_eq!(there(&first).await, None, "signed out there, at once");
    second_later();
    assert_eq!(here(&first).await, None, "and here after a second");
    assert!(here(&second).await.is_some() && there(&second).await.is_some(), "the other browser stays");

    let set = world.identity.set_password(&context, "ada@example.org", Password::new("another quiet street"));
    assert!(set.await.unwrap());
    assert_eq!(here(&second).await, None, "a new password ends every session here, at once");
    second_later();
    assert_eq!(there(&second).await, None, "and there after a second");

    let other = world.firm("two").await;
    let (_, third) = world
        .identity
        .sign_in(&context, "ada@example.org", Password::new("another quiet street"), "::1")
        .await
        .unwrap();
    assert!(here(&third).await.is_some());
    assert_eq!(
        world.identity.who(other, third.reveal()).await.unwrap(),
        None,
        "no session of another firm's"
    );
}

#[tokio::test]
async fn ended_sessions_do_not_pile_up() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let ada = world.person(firm, "ada@example.org").await;
    let context = world.context(firm);
    let sign_in = async || {
        world.identity.sign_in(&context, &ada.email, Password::new(PASSWORD), "::1").await.unwrap().1
    };
    for _ in 0..3 {
        sign_in().await;
    }
    world.clock.advance(Span::from_days(13).unwrap());
    let living = sign_in().await;
    world.clock.advance(Span::from_days(1).unwrap());
    sign_in().await;
    let mut connection = world.database.superuser().await;
    let sessions: i64 =
        sqlx::query_scalar("select count(*) from sessions").fetch_one(&mut connection).await.unwrap();
    assert_eq!(sessions, 2);
    assert_eq!(world.identity.who(firm, living.reveal()).await.unwrap(), Some(ada));
}

#[tokio::test]
async fn messages_to_the_world_name_what_they_are_about_in_one_form() {
    let world = World::new().await;
    let told = story(&world, "one", 0).await;
    let mut connection = world.database.superuser().await;
    let odd: Vec<String> =
        sqlx::query_scalar("select aggregate from outbox where aggregate !~ '^((program|provider):[a-z0-9-]+|(purchase|account|release|payout):[0-9a-f-]{36})$'")
            .fetch_all(&mut connection)
            .await
            .unwrap();
    assert_eq!(odd, Vec::<String>::new(), "of {}", told.firm);
    let messages = world.store.outbox(0, &[], 10_000).await.unwrap().messages;
    // The story writes some of its own beside them; what shards say is looked at where real ones run (`cluster.rs`).
    let said = messages.iter().filter(|message| message.topic != "test");
    let faults: Vec<String> = said.filter_map(app::events::fault).collect();
    assert_eq!(faults, Vec::<String>::new());
}

#[tokio::test]
async fn a_lost_database_is_told_from_a_bug() {
    let world = Arc::new(World::new().await);
    world.store.close().await;
    let lost = world.store.firm(kernel::FirmId::derived(&[b"firm"])).await;
    assert!(matches!(lost, Err(AppError::Unavailable { .. })), "{lost:?}");
}
