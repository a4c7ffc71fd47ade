//! What a shard commits is what the next owner finds.
#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]

use crate::common::{Owner, market, refused_take_over, story, take_over};
use app::trading::{Changed, Decided, HistoryStore, ShardError, ShardStore};
use engine::{
    Act, Change, Command, Done, EntryKind, Event, InstrumentId, Key, Order, OrderKind, OrderState, Place,
    Position, Refusal, Status, Ticket, What,
};
use kernel::{AccountId, Amount, Price, Quantity, SeededRng, Side, Span, Symbol, Timestamp};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, Row};
use testkit::{World, program};

#[tokio::test]
async fn the_next_owner_continues_with_the_same_state() {
    let world = World::new().await;
    let story = story(&world, "one", 0).await;
    let mut first = Owner::take(&world, 0).await;
    assert_eq!(first.engine.account(story.passed).unwrap().status, Status::Passed);
    assert_eq!(first.engine.account(story.breached).unwrap().status, Status::Breached);
    assert_eq!(first.engine.accounts().count(), 3, "the passed one has a successor");
    assert_eq!(first.epoch, 2);

    let next = first.engine.accounts().find(|account| account.phase == 1).unwrap().id;
    first.quote("EURUSD", 121_300, 121_302);
    first.buy(next, "EURUSD", 1).unwrap();
    let _proof = first.commit().await.unwrap();
    let second = Owner::take(&world, 0).await;
    assert_eq!(second.engine.state_hash().unwrap(), first.engine.state_hash().unwrap());
    assert_eq!((second.seq, second.position), (first.seq, first.position));
}

/// Many small histories: after every batch the stored state is the live one.
#[tokio::test]
async fn any_history_is_found_again() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let trader = world.person(firm, "trader@one.example").await;
    world.publish(firm, "two-step", program("Two steps")).await;
    let rng = SeededRng::new(7);
    let mut live = Owner::take(&world, 3).await;
    live.quote("EURUSD", 110_000, 110_002);
    live.quote("USDJPY", 150_000, 150_010);
    live.quote("XAUUSD", 200_000, 200_020);
    let mut accounts = Vec::new();
    for _ in 0..4 {
        let challenge = world.challenge(firm, &trader, "two-step").await;
        accounts.push(live.open(&challenge).await);
    }
    let mut euro = 110_000;
    for _ in 0..40 {
        for _ in 0..rng.between(1, 12) {
            let account = accounts[usize::try_from(rng.between(0, 3)).unwrap()];
            let held = live.engine.account(account).unwrap().clone();
            let position = held.positions.keys().next().copied().unwrap_or(Ticket(999));
            let order = held.orders.keys().next().copied().unwrap_or(Ticket(999));
            // Refusals are answers too, and are kept like any other.
            let _answer = match rng.between(0, 10) {
                0 | 1 => live.act(account, market("EURUSD", Side::Buy, rng.between(1, 4))),
                2 => live.act(account, market("USDJPY", Side::Sell, rng.between(0, 2))),
                3 => live.act(account, resting(rng.between(100_000, 109_000))),
                4 => live.act(account, Act::Close { position, quantity: Some(Quantity(100)) }),
                5 => live.act(account, Act::Close { position, quantity: None }),
                6 => live.act(account, Act::Cancel { order }),
                7 => live.act(
                    account,
                    Act::ChangePosition {
                        position,
                        stop_loss: Change::Set(Price(90_000)),
                        take_profit: Change::Remove,
                    },
                ),
                8 => live.act(account, Act::Hold { held: rng.between(0, 2) == 0 }),
                9 => {
                    live.wait(Span::from_seconds(i32::try_from(rng.between(60, 30_000)).unwrap()));
                    live.clock();
                    continue;
                }
                _ => {
                    euro += rng.between(-400, 400);
                    live.quote("EURUSD", euro, euro + 2);
                    continue;
                }
            };
            live.quote("XAUUSD", 200_000, 200_020);
        }
        let _proof = live.commit().await.unwrap();
        let hash = live.engine.state_hash().unwrap();
        let next = Owner::take(&world, 3).await;
        assert_eq!(next.engine.state_hash().unwrap(), hash);
        live.epoch = next.epoch;
    }
    let journal = world.store.journal(3, 1, 10_000).await.unwrap();
    assert_eq!(i64::try_from(journal.len()).unwrap(), live.seq);
    assert!(journal.iter().zip(1..).all(|(entry, seq)| entry.seq == seq));
}

fn resting(price: i64) -> Act {
    Act::Place(Place {
        symbol: Symbol::parse("EURUSD").unwrap(),
        side: Side::Buy,
        kind: OrderKind::Limit(Price(price)),
        quantity: Quantity(100),
        stop_loss: None,
        take_profit: Some(Price(price + 5_000)),
    })
}

#[tokio::test]
async fn a_deposed_owner_writes_nothing_more() {
    let world = World::new().await;
    let story = story(&world, "one", 0).await;
    let mut old = Owner::take(&world, 0).await;
    let new = Owner::take(&world, 0).await;
    let before = new.engine.state_hash().unwrap();
    old.quote("EURUSD", 120_000, 120_002);
    let next = old.engine.accounts().find(|account| account.phase == 1).unwrap().id;
    old.buy(next, "EURUSD", 1).unwrap();
    assert!(matches!(old.commit().await, Err(ShardError::Deposed)));
    assert_eq!(Owner::take(&world, 0).await.engine.state_hash().unwrap(), before);
    assert_ne!(next, story.passed);
}

#[tokio::test]
async fn a_batch_is_written_once_and_in_its_place() {
    let world = World::new().await;
    let _story = story(&world, "one", 0).await;
    let mut owner = Owner::take(&world, 0).await;
    owner.quote("EURUSD", 121_300, 121_302);
    let next = owner.engine.accounts().find(|account| account.phase == 1).unwrap().id;
    owner.buy(next, "EURUSD", 1).unwrap();
    let batch = owner.batch();
    let _proof = world.store.commit(&batch).await.unwrap();
    assert!(matches!(world.store.commit(&batch).await, Err(ShardError::Deposed)), "the same batch again");
}

#[tokio::test]
async fn a_key_names_one_command_for_48_hours() {
    let world = World::new().await;
    let _story = story(&world, "one", 0).await;
    let mut owner = Owner::take(&world, 0).await;
    let account = owner.engine.accounts().find(|account| account.phase == 1).unwrap().id;
    let key = Key::parse("once").unwrap();
    let place = |lots| Command { account, key: key.clone(), act: market("EURUSD", Side::Buy, lots) };
    owner.quote("EURUSD", 121_300, 121_302);
    let first = owner.command(place(1), None);
    let _proof = owner.commit().await.unwrap();

    let mut owner = Owner::take(&world, 0).await;
    assert_eq!(owner.command(place(1), None), first, "a new owner gives the first answer");
    assert_eq!(owner.command(place(2), None), Err(Refusal::KeyReused));
    assert!(owner.journal.is_empty());

    // Two days and a newer command later it is forgotten, and may name another.
    let mut owner = Owner::take(&world, 0).await;
    owner.wait(Span::from_days(3).unwrap());
    owner.clock();
    owner.quote("EURUSD", 121_300, 121_302);
    owner.buy(account, "EURUSD", 1).unwrap();
    let Ok(Done::Order(ticket)) = first else { panic!("{first:?}") };
    let again = owner.command(place(1), None);
    assert!(matches!(again, Ok(Done::Order(newer)) if newer > ticket), "{again:?}");
    let _proof = owner.commit().await.unwrap();
    let hash = owner.engine.state_hash().unwrap();
    assert_eq!(Owner::take(&world, 0).await.engine.state_hash().unwrap(), hash);
}

#[tokio::test]
async fn the_ends_of_the_integers_survive() {
    let world = World::new().await;
    let story = story(&world, "one", 0).await;
    let mut owner = Owner::take(&world, 0).await;
    let mut batch = owner.batch();
    let mut account = owner.engine.account(story.passed).unwrap().clone();
    account.balance = Amount::from_micros(i64::MIN);
    account.track.peaks.equity = Amount::from_micros(i64::MAX);
    account.next.ticket = u32::MAX;
    let latest = Timestamp::parse("9999-12-29T23:59:59.999999Z").unwrap();
    let earliest = Timestamp::parse("0001-01-01T00:00:00.000001Z").unwrap();
    let position = Position {
        ticket: Ticket(u32::MAX),
        instrument: engine::InstrumentId(0),
        side: Side::Sell,
        quantity: Quantity(i64::MAX),
        opened_quantity: Quantity(i64::MAX),
        open_price: Price(i64::MAX),
        opened_at: earliest,
        stop_loss: Some(Price(1)),
        take_profit: Some(Price(i64::MAX)),
        margin: Amount::from_micros(i64::MAX),
        commission: Amount::from_micros(i64::MIN),
        realised: Amount::from_micros(i64::MIN),
        closed_at: None,
        close_price: None,
        close_reason: None,
    };
    account.positions.insert(position.ticket, position.clone());
    let event = Event { account: account.id, at: latest, what: What::Position(position) };
    batch.events.push(Decided { firm: story.firm, at: latest, request: None, event });
    let stored = Some(owner.engine.account(account.id).unwrap().next);
    batch.accounts = vec![Changed { account: account.clone(), stored }];
    batch.quote_position = u64::try_from(i64::MAX).unwrap();
    let _proof = world.store.commit(&batch).await.unwrap();
    let loaded = take_over(&world, 0).await;
    let found = loaded
        .state
        .accounts
        .into_iter()
        .map(|(account, _)| account)
        .find(|found| found.id == account.id)
        .unwrap();
    assert_eq!(found.balance, account.balance);
    assert_eq!(found.track, account.track);
    assert_eq!(found.next, account.next);
    assert_eq!(found.positions, account.positions);
    assert_eq!(loaded.state.last.position, u64::try_from(i64::MAX).unwrap());

    let too_far = {
        owner.epoch = loaded.epoch;
        owner.batch()
    };
    let too_far = app::trading::Batch { quote_position: u64::MAX, ..too_far };
    assert!(matches!(
        world.store.commit(&too_far).await,
        Err(ShardError::Inconsistent { table: "shards", .. })
    ));
}

#[tokio::test]
async fn a_challenge_waits_for_its_account_until_the_commit_that_opens_it() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let trader = world.person(firm, "trader@one.example").await;
    world.publish(firm, "two-step", program("Two steps")).await;
    let first = world.challenge(firm, &trader, "two-step").await;
    world.clock.advance(Span::from_seconds(1));
    let second = world.challenge(firm, &trader, "two-step").await;
    let unopened = async || world.purchases.unopened(10).await.unwrap();
    assert_eq!(unopened().await, [first.clone(), second.clone()]);
    assert_eq!(world.purchases.unopened(1).await.unwrap(), std::slice::from_ref(&first));

    let mut owner = Owner::take(&world, 0).await;
    owner.open(&first).await;
    assert_eq!(unopened().await.len(), 2, "not before the commit");
    let _proof = owner.commit().await.unwrap();
    assert_eq!(unopened().await, std::slice::from_ref(&second));
    let account = owner.open(&second).await;
    owner.open(&second).await;
    owner.quote("EURUSD", 110_000, 110_002);
    owner.buy(account, "EURUSD", 1).unwrap();
    let _proof = owner.commit().await.unwrap();
    assert!(unopened().await.is_empty());

    // What is open is never looked at again, however many there are.
    let mut engine = world.database.role("tradesense_engine").await;
    sqlx::query("set enable_seqscan = off").execute(&mut engine).await.unwrap();
    let plan: Vec<String> = sqlx::query_scalar(
        "explain select firm_id, id, version from challenges where opened_at is null order by created_at, id limit 500",
    )
    .fetch_all(&mut engine)
    .await
    .unwrap();
    assert!(plan.iter().any(|line| line.contains("challenges_unopened")), "{plan:?}");
}

#[tokio::test]
async fn every_end_of_an_order_is_taken_and_no_other() {
    let world = World::new().await;
    let story = story(&world, "one", 0).await;
    let mut owner = Owner::take(&world, 0).await;
    let mut batch = owner.batch();
    let done = Some(batch.at);
    let ends = [
        (OrderState::Working, None, None),
        (OrderState::Filled, done, Some(Ticket(2))),
        (OrderState::Cancelled, done, None),
        (OrderState::AccountEnded, done, None),
        (OrderState::NoMargin, done, None),
    ];
    for (number, (state, done_at, position)) in (1_000..).zip(ends) {
        let order = Order {
            ticket: Ticket(number),
            instrument: InstrumentId(0),
            side: Side::Buy,
            kind: OrderKind::Limit(Price(100_000)),
            quantity: Quantity(1),
            stop_loss: None,
            take_profit: None,
            state,
            placed_at: batch.at,
            done_at,
            position,
        };
        let event = Event { account: story.passed, at: batch.at, what: What::Order(order) };
        batch.events.push(Decided { firm: story.firm, at: event.at, request: None, event });
    }
    let _proof = world.store.commit(&batch).await.unwrap();

    let mut connection = world.database.superuser().await;
    for (change, constraint) in [
        ("accounts set initial_micros = 0", "accounts_initial_positive"),
        ("standing_quotes set bid = 0", "standing_quotes_prices_positive"),
    ] {
        let refused = sqlx::query(AssertSqlSafe(format!("update {change}"))).execute(&mut connection).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.as_database_error().unwrap().constraint(), Some(constraint), "{change}");
    }
    let (order, position) =
        ("an order that is neither waiting nor done", "a position that is neither open nor closed");
    for (change, fault) in [
        ("orders set quantity = 0", order),
        ("orders set price = 0 where kind = 'limit'", order),
        ("orders set take_profit = 0", order),
        ("orders set reason = 'whim' where state = 'cancelled'", "a word that is none of its column's"),
        ("orders set side = 'hold'", "a word that is none of its column's"),
        ("orders set reason = 'by_trader' where state = 'working'", order),
        ("orders set reason = null where state = 'rejected'", order),
        ("orders set position_ticket = null where state = 'filled'", order),
        ("orders set position_ticket = 2 where state = 'working'", order),
        ("positions set opened_quantity = 0, quantity = 0", position),
        ("positions set quantity = -1", position),
        ("positions set open_price = 0", position),
        ("positions set close_price = -1", position),
        (
            "positions set close_reason = 'boredom' where closed_at is not null",
            "a word that is none of its column's",
        ),
    ] {
        let mut tx = connection.begin().await.unwrap();
        let changed = sqlx::query(AssertSqlSafe(format!("update {change}"))).execute(&mut *tx).await.unwrap();
        assert!(changed.rows_affected() > 0, "{change}");
        let found = store::faults_in(&mut tx).await.unwrap();
        assert!(found.iter().any(|found| found.say == fault), "{change}: {found:?}");
        tx.rollback().await.unwrap();
    }
}

#[tokio::test]
async fn every_event_has_its_row() {
    let world = World::new().await;
    let story = story(&world, "one", 0).await;
    let mut connection = world.database.superuser().await;
    let sums = sqlx::query(
        "select (select sum(amount_micros)::bigint from balance_entries where account_id = $1) as entries,
                (select balance_micros from accounts where id = $1) as balance,
                (select sum(profit_micros - commission_micros)::bigint from fills where account_id = $1) as fills,
                (select count(*) from balance_entries where account_id = $1 and kind = 'initial') as openings,
                (select count(*) from trading_days where account_id = $1) as days,
                (select count(*) from orders where account_id = $1) as orders,
                (select count(*) from orders where account_id = $1 and state = 'cancelled' and reason = 'account_ended')
                    as cancelled",
    )
    .bind(story.passed.uuid())
    .fetch_one(&mut connection)
    .await
    .unwrap();
    let number = |name: &str| sums.get::<i64, _>(name);
    assert_eq!(number("entries"), number("balance"));
    assert_eq!(number("fills") + Amount::parse("100000").unwrap().micros(), number("balance"));
    assert_eq!((number("openings"), number("days"), number("orders"), number("cancelled")), (1, 1, 3, 1));
    assert_eq!(EntryKind::Initial.word(), "initial");
}

#[tokio::test]
async fn a_hold_is_found_again_with_what_it_took_back() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let trader = world.person(firm, "trader@one.example").await;
    world.publish(firm, "two-step", program("Two steps")).await;
    let mut live = Owner::take(&world, 3).await;
    live.quote("EURUSD", 110_000, 110_002);
    let mut connection = world.database.superuser().await;
    let mut rows = async |account: AccountId| {
        let row = sqlx::query(
            "select held, (select count(*) from orders where account_id = $1 and reason = 'account_held') as orders
             from accounts where id = $1",
        )
        .bind(account.uuid())
        .fetch_one(&mut connection)
        .await
        .unwrap();
        (row.get::<bool, _>("held"), row.get::<i64, _>("orders"))
    };
    let account = live.open(&world.challenge(firm, &trader, "two-step").await).await;
    live.act(account, resting(105_000)).unwrap();
    let _proof = live.commit().await.unwrap();
    live.act(account, Act::Hold { held: true }).unwrap();
    // Opened, held and let go in one batch, and one that is held at once.
    let both = live.open(&world.challenge(firm, &trader, "two-step").await).await;
    live.act(both, Act::Hold { held: true }).unwrap();
    live.act(both, Act::Hold { held: false }).unwrap();
    let new = live.open(&world.challenge(firm, &trader, "two-step").await).await;
    live.act(new, Act::Hold { held: true }).unwrap();
    let _proof = live.commit().await.unwrap();
    assert_eq!([rows(account).await, rows(both).await, rows(new).await], [(true, 1), (false, 0), (true, 0)]);
    let hash = live.engine.state_hash().unwrap();
    let mut next = Owner::take(&world, 3).await;
    assert_eq!(next.engine.state_hash().unwrap(), hash);
    let refused = next.act(account, market("EURUSD", Side::Buy, 1));
    assert_eq!(refused, Err(engine::Refusal::Held));
    next.act(account, Act::Hold { held: false }).unwrap();
    let _proof = next.commit().await.unwrap();
    assert_eq!(rows(account).await, (false, 1));
    assert_eq!(world.store.faults().await.unwrap(), []);
    let found = Owner::take(&world, 3).await;
    assert_eq!(found.engine.state_hash().unwrap(), next.engine.state_hash().unwrap());
}

#[tokio::test]
async fn a_row_that_other_hands_changed_is_named() {
    let world = World::new().await;
    let story = story(&world, "one", 0).await;
    let mut connection = world.database.superuser().await;
    sqlx::query("update positions set symbol = 'GBPUSD' where account_id = $1")
        .bind(story.passed.uuid())
        .execute(&mut connection)
        .await
        .unwrap();
    sqlx::query("update positions set closed_at = null, close_price = null, close_reason = null where account_id = $1")
        .bind(story.passed.uuid())
        .execute(&mut connection)
        .await
        .unwrap();
    let refused = refused_take_over(&world, 0).await;
    assert!(
        matches!(&refused, ShardError::Inconsistent { table: "positions", say } if say.contains("GBPUSD")),
        "{refused}"
    );
}

#[tokio::test]
async fn an_empty_shard_begins_at_nothing() {
    let world = World::new().await;
    let loaded = take_over(&world, 9).await;
    assert_eq!(
        (loaded.epoch, loaded.seq, loaded.state.last.position, loaded.state.at),
        (1, 0, 0, Timestamp::EPOCH)
    );
    assert!(
        loaded.state.accounts.is_empty()
            && loaded.state.last.standing.is_empty()
            && loaded.state.programs.is_empty()
    );
    assert_eq!(world.store.journal(9, 1, 10).await.unwrap().len(), 0);
    let nobody = rules::VersionHash::parse(&"0".repeat(64)).unwrap();
    assert!(world.store.program(&nobody).await.unwrap().is_none());
    assert_ne!(AccountId::derived(&[b"a"]), AccountId::derived(&[b"b"]));
}

/// Rows that no owner writes, each against the fault it is.
#[tokio::test]
async fn rows_that_contradict_each_other_are_found() {
    let world = World::new().await;
    let story = story(&world, "one", 0).await;
    assert_eq!(world.store.faults().await.unwrap(), []);
    let id = story.passed;
    let cases = [
        (
            "update accounts set balance_micros = balance_micros + 1 where id = $1",
            "a balance that is not that of the last entry",
        ),
        (
            "delete from fills where account_id = $1 and number = 2",
            "fills, entries or verdicts that are not numbered without gaps",
        ),
        ("update fills set quantity = 0 where account_id = $1", "a fill without a size or a price"),
        ("update fills set symbol = 'XAUUSD' where account_id = $1", "a fill of no position"),
        (
            "update fills set order_ticket = 999 where account_id = $1 and order_ticket is not null",
            "a fill of no order",
        ),
        (
            "update balance_entries set fill_number = 999 where account_id = $1 and fill_number is not null",
            "a balance entry of no fill",
        ),
        (
            "update balance_entries set amount_micros = 1 where account_id = $1 and number = 1",
            "a balance entry that does not follow from the one before",
        ),
        (
            "update positions set account_id = gen_random_uuid() where account_id = $1",
            "a position of no account",
        ),
        (
            "update positions set close_reason = null where account_id = $1",
            "a position that is neither open nor closed",
        ),
        ("update orders set account_id = gen_random_uuid() where account_id = $1", "an order of no account"),
        (
            "update orders set reason = 'by_trader', state = 'filled' where account_id = $1",
            "an order that is neither waiting nor done",
        ),
        (
            "update orders set state = 'working', done_at = null where account_id = $1",
            "an open position or a waiting order of an account that has ended",
        ),
        (
            "update verdicts set evidence = evidence || ' ' where account_id = $1",
            "a verdict whose evidence is not what was written",
        ),
        (
            "update verdicts set account_id = gen_random_uuid() where account_id = $1",
            "a verdict of no account",
        ),
        ("delete from receipts where account_id = $1", "a verdict without a receipt, made or due"),
        (
            "update journal set account_id = gen_random_uuid() where account_id = $1",
            "a command of no account",
        ),
        (
            "delete from journal where account_id = $1 and seq = (select min(seq) from journal)",
            "a journal that is not numbered without gaps",
        ),
        (
            "update journal set key = 'same' where account_id = $1",
            "a key that named two commands within 48 hours",
        ),
        (
            "update trading_days set account_id = gen_random_uuid() where account_id = $1",
            "a trading day or a latency of no account",
        ),
    ];
    let mut superuser = world.database.superuser().await;
    for (sql, fault) in cases {
        // As somebody would who owns the database: no trigger and no policy stops them.
        superuser.execute("set session_replication_role = replica").await.unwrap();
        let mut tx = superuser.begin().await.unwrap();
        let changed = sqlx::query(AssertSqlSafe(sql)).bind(id.uuid()).execute(&mut *tx).await.unwrap();
        assert!(changed.rows_affected() > 0, "{sql}");
        let found = store::faults_in(&mut tx).await.unwrap();
        assert!(found.iter().any(|found| found.say == fault && found.rows > 0), "{sql}: {found:?}");
        tx.rollback().await.unwrap();
    }
    assert_eq!(world.store.faults().await.unwrap(), []);
    assert_eq!(store::Store::faults_at(&world.database.url()).await.unwrap(), []);
}
