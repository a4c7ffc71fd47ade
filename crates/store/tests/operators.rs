//! What a firm's people change: what is on sale, and the calendar of releases.
#![expect(clippy::unwrap_used, reason = "tests")]

use crate::common::story;
use app::AppError;
use app::catalogue::{CatalogueStore as _, Source};
use app::releases::{NewRelease, ReleaseStore as _};
use kernel::{Currency, Money, Span, Timestamp};
use sqlx::Executor as _;
use testkit::{World, program};

fn release(name: &str, at: &str) -> NewRelease {
    NewRelease {
        name: name.to_owned(),
        at: Timestamp::parse(at).unwrap(),
        currencies: Vec::new(),
        symbols: vec!["EURUSD".to_owned()],
    }
}

#[tokio::test]
async fn accounts_that_ask_are_found_until_they_know_the_newest_calendar() {
    let world = World::new().await;
    let told = story(&world, "one", 0).await;
    let (store, firm) = (&world.store, told.firm);
    // The story's accounts of the first phase have no such rule; that of the second has.
    let behind = async || {
        let behind = store.behind(10).await.unwrap();
        behind.into_iter().map(|it| (it.firm, it.account, it.active)).collect::<Vec<_>>()
    };
    let missing = vec![(firm, told.decided, true)];
    assert_eq!(behind().await, missing);
    let first = store.calendar(firm).await.unwrap().unwrap();
    assert_eq!((first.revision, first.events.len()), (1, 1));
    store.told(firm, first.revision, &[told.decided]).await.unwrap();
    assert!(behind().await.is_empty());

    let risk = world.risk(firm, "risk2@one.example").await;
    let context = world.context_of(firm, &risk);
    let added = world.releases.add(&context, release("Rates", "2026-01-08T13:15:00Z")).await.unwrap();
    assert_eq!(behind().await, missing);
    let second = store.calendar(firm).await.unwrap().unwrap();
    assert_eq!((second.revision, second.events.len()), (2, 2));
    assert_ne!(second.key, first.key);
    store.told(firm, second.revision, &[told.decided]).await.unwrap();
    // Somebody slow, who still tells the first one, takes nothing back.
    store.told(firm, first.revision, &[told.decided]).await.unwrap();
    assert!(behind().await.is_empty());

    // What changes nothing has no number.
    world.releases.add(&context, release("Rates", "2026-01-08T13:15:00Z")).await.unwrap();
    let other = world.releases.add(
        &context,
        NewRelease { currencies: vec!["EUR".to_owned()], ..release("Rates", "2026-01-08T13:15:00Z") },
    );
    assert!(matches!(other.await, Err(AppError::Refused { code: "conflict", .. })));
    assert_eq!(store.calendar(firm).await.unwrap().unwrap(), second);
    // A number means the same whenever it is read.
    world.clock.advance(Span::from_days(30).unwrap());
    assert_eq!(store.calendar(firm).await.unwrap().unwrap(), second);
    let removed = world.releases.remove(&context, added.id).await;
    assert!(matches!(removed, Err(AppError::NotFound(_))), "it has been");
    assert!(world.releases.list(firm).await.unwrap().is_empty(), "nothing is to come");

    // The calendar is as long as what can be carried.
    let start = Timestamp::parse("2026-03-01T10:00:00Z").unwrap();
    for day in 0..200 {
        let at = start.after(Span::from_days(day).unwrap()).unwrap();
        world
            .releases
            .add(&context, NewRelease { at, ..release("Daily", "2026-03-01T10:00:00Z") })
            .await
            .unwrap();
    }
    let full = world.releases.add(&context, release("One more", "2026-03-01T10:00:00Z")).await;
    assert!(matches!(full, Err(AppError::Refused { code: "conflict", .. })));

    // An account that has ended needs none.
    let mut superuser = world.database.superuser().await;
    superuser.execute("update accounts set status = 'expired', closed_at = now()").await.unwrap();
    assert_eq!(behind().await, [(firm, told.decided, false)]);
    store.forget(firm, &[told.decided]).await.unwrap();
    assert!(behind().await.is_empty());
}

#[tokio::test]
async fn of_two_editors_at_once_one_publishes() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let risk = world.risk(firm, "risk@one.example").await;
    let context = world.context_of(firm, &risk);
    let fee = Money::parse("490", Currency::parse("USD").unwrap()).unwrap();
    let publish = async |leverage: u32, started_from: Option<&str>| {
        let mut program = program("Two steps");
        program.terms.leverage = leverage;
        let source = Source::Json(program.canonical_json().unwrap());
        let published =
            world.catalogue.publish(&context, "two-step".to_owned(), &source, (fee, 1), started_from).await;
        match published {
            Ok(offer) => Ok(offer.version.to_string()),
            Err(AppError::Refused { code, .. }) => Err(code),
            Err(other) => panic!("{other}"),
        }
    };
    let (one, two) = tokio::join!(publish(10, None), publish(20, None));
    let first = one.clone().or(two.clone()).unwrap();
    assert_eq!([&one, &two].map(|it| it.is_ok()).iter().filter(|ok| **ok).count(), 1);
    assert!(
        one.is_err_and(|code| code == "program_changed") || two.is_err_and(|code| code == "program_changed")
    );
    let (one, two) = tokio::join!(publish(30, Some(&first)), publish(40, Some(&first)));
    assert_eq!([&one, &two].map(|it| it.is_ok()).iter().filter(|ok| **ok).count(), 1);
    let published = world.store.publications(firm, "two-step").await.unwrap();
    assert_eq!(published.len(), 2);
    assert_eq!(published.last().unwrap().version.to_string(), first);

    let trader = world.person(firm, "trader@one.example").await;
    let source = Source::Json(program("Two steps").canonical_json().unwrap());
    let context = world.context_of(firm, &trader);
    let refused = world.catalogue.publish(&context, "mine".to_owned(), &source, (fee, 1), None).await;
    assert!(matches!(refused, Err(AppError::Forbidden)));
}

#[tokio::test]
async fn what_was_there_before_the_migration_is_taken_over() {
    let world = World::new().await;
    let told = story(&world, "one", 0).await;
    let mut newer = program("one");
    newer.terms.leverage = 50;
    world.publish(told.firm, "two-step", newer).await;
    let before = world.store.publications(told.firm, "two-step").await.unwrap();
    assert_eq!(before.len(), 2);

    let mut superuser = world.database.superuser().await;
    let undo = "drop table program_publications, calendars, account_calendars;
                drop function tradesense_asks_for_calendar";
    superuser.execute(undo).await.unwrap();
    superuser.execute(include_str!("../migrations/0007_operators.sql")).await.unwrap();
    assert_eq!(world.store.publications(told.firm, "two-step").await.unwrap(), before);
    let asks: Vec<(String, i64)> = sqlx::query_as("select account_id::text, revision from account_calendars")
        .fetch_all(&mut superuser)
        .await
        .unwrap();
    assert_eq!(asks, [(told.decided.to_string(), 0)]);

    // Where the audit log was put away, what was sold says what was on sale.
    superuser.execute("set session_replication_role = replica; delete from audit_entries").await.unwrap();
    superuser.execute("set session_replication_role = origin").await.unwrap();
    superuser.execute(undo).await.unwrap();
    superuser.execute(include_str!("../migrations/0007_operators.sql")).await.unwrap();
    let found = world.store.publications(told.firm, "two-step").await.unwrap();
    let versions =
        |of: &[app::catalogue::Published]| of.iter().map(|it| it.version.clone()).collect::<Vec<_>>();
    assert_eq!(versions(&found), versions(&before));
}
