//! Many accounts: opened, trading, owned again after a restart, and all of them ended by one tick, each exactly once. How
//! many is small unless it is given:
//! `SCALE_ACCOUNTS=100000 SCALE_SHARDS=2 cargo test --release -p tradesense --test scale -- --nocapture` prints the figures
//! of docs/PERFORMANCE.md as one JSON object.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on stops")]
#![expect(clippy::disallowed_methods, reason = "measures, and is told how much from outside")]
#![expect(clippy::arithmetic_side_effects, reason = "tests")]

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use app::AppError;
use app::latency::Meter;
use app::market::MarketHub;
use app::receipts::Stored;
use app::trading::{
    Desk, IncomingQuote, LeaseStore as _, Origin, Owner, Queues, Sequencer, ShardSettings, SharedQuoteLog,
};
use engine::{Act, Command, Key, OrderKind, Place};
use kernel::{AccountId, Clock, OwnerId, Price, Quantity, Side, Span, Symbol};
use providers::quote_log::DiskQuoteLog;
use serde_json::json;
use sqlx::Row as _;
use testkit::{World, instruments, program};

/// Accounts of an ordinary test run.
const ACCOUNTS: usize = 400;
/// Commands in flight.
const IN_FLIGHT: usize = 1_024;

struct Scene {
    world: World,
    queues: Queues,
    log: SharedQuoteLog,
    sequencer: Sequencer,
    level: i64,
}

impl Scene {
    async fn new(shards: i16) -> (Self, tempfile::TempDir) {
        let world = World::new().await;
        let shards = world.store.shards(shards).await.unwrap();
        let clock: Arc<dyn Clock> = world.clock.clone();
        let queues = Queues::new(shards, &clock);
        let directory = tempfile::tempdir().unwrap();
        let log: SharedQuoteLog =
            Arc::new(Mutex::new(Box::new(DiskQuoteLog::open(directory.path()).unwrap())));
        let hub = Arc::new(MarketHub::new(instruments()));
        let sequencer = Sequencer::new(instruments(), world.clock.clone(), log.clone(), 0, &queues, hub);
        (Self { world, queues, log, sequencer, level: 110_000 }, directory)
    }

    fn owner(&self) -> Owner {
        let settings = ShardSettings {
            owner: OwnerId::derived(&[b"scale"]),
            instruments: instruments(),
            clock: self.world.clock.clone(),
            store: self.world.store.clone(),
            log: self.log.clone(),
            log_follows: false,
            stored: Stored::default(),
            meter: Meter::default(),
        };
        Owner::new(settings, self.world.store.clone(), self.queues.clone())
    }

    /// A quote a tenth of a second after the last one.
    async fn quote(&mut self, moved: i64) {
        self.level += moved;
        self.world.clock.advance(Span::from_millis(100));
        let quote = IncomingQuote {
            source: "test".into(),
            symbol: Symbol::parse("EURUSD").unwrap(),
            bid: Price(self.level),
            ask: Price(self.level + 2),
            source_time: self.world.clock.now(),
        };
        self.sequencer.accept(&[quote]).await.unwrap();
    }

    /// So many paid challenges of one trader.
    async fn buy(&self, count: usize) -> Vec<Command> {
        let firm = self.world.firm("one").await;
        let trader = self.world.person(firm, "trader@one.example").await;
        self.world.publish(firm, "two-step", program("one")).await;
        let first = self.world.challenge(firm, &trader, "two-step").await;
        // The same again, many times. Without looking up what each belongs to: it is the first one's.
        sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
            "set session_replication_role = replica;
             create temporary table copies as select gen_random_uuid() as purchase, gen_random_uuid() as challenge
             from generate_series(2, {count});
             insert into purchases select (jsonb_populate_record(first_one, jsonb_build_object(
                 'id', copies.purchase, 'root_id', copies.purchase, 'idempotency_key', copies.purchase))).*
             from purchases first_one, copies;
             insert into challenges select (jsonb_populate_record(first_one, jsonb_build_object(
                 'id', copies.challenge, 'purchase_id', copies.purchase))).*
             from challenges first_one, copies;
             analyze purchases; analyze challenges;"
        )))
        .execute(&mut self.world.database.superuser().await)
        .await
        .unwrap();
        let unopened = self.world.purchases.unopened(i64::try_from(count).unwrap()).await.unwrap();
        assert_eq!(unopened.len(), count);
        assert!(unopened.iter().any(|unopened| unopened.challenge == first.challenge));
        unopened.iter().map(|unopened| unopened.command().unwrap()).collect()
    }

    async fn count(&self, sql: &str) -> i64 {
        let row = sqlx::query(sqlx::AssertSqlSafe(sql.to_owned()));
        row.fetch_one(&mut self.world.database.superuser().await).await.unwrap().get(0)
    }
}

/// Submits commands, many at a time, and waits until all are durable; commands per second.
async fn submit(desk: &Desk, commands: Vec<Command>) -> u128 {
    let count = commands.len();
    let started = Instant::now();
    let next = Arc::new(Mutex::new(commands.into_iter()));
    let hands: Vec<_> = (0..IN_FLIGHT)
        .map(|_| {
            let (desk, next) = (desk.clone(), next.clone());
            tokio::spawn(async move {
                loop {
                    let Some(command) = next.lock().unwrap().next() else { return };
                    desk.submit(command, Origin::PLATFORM).await.unwrap().outcome.unwrap();
                }
            })
        })
        .collect();
    for hand in hands {
        hand.await.unwrap();
    }
    u128::try_from(count).unwrap() * 1_000 / started.elapsed().as_millis().max(1)
}

/// A view of each account, as of a commit. A shard that is busy for longer than a client waits is asked again.
async fn views(desk: &Desk, accounts: &BTreeMap<i16, AccountId>) -> Vec<Arc<engine::View>> {
    let mut views = Vec::new();
    for account in accounts.values() {
        let view = loop {
            match desk.view(*account).await {
                Ok(view) => break view.unwrap(),
                Err(AppError::Unavailable { .. }) => {}
                Err(error) => panic!("{error}"),
            }
        };
        views.push(view);
    }
    views
}

fn order(account: AccountId, key: &str) -> Command {
    let place = Place {
        symbol: Symbol::parse("EURUSD").unwrap(),
        side: Side::Buy,
        kind: OrderKind::Market,
        quantity: Quantity(1_000),
        stop_loss: None,
        take_profit: None,
    };
    Command { account, key: Key::parse(key).unwrap(), act: Act::Place(place) }
}

#[tokio::test(flavor = "multi_thread")]
async fn many_accounts_trade_restart_and_end_in_one_tick() {
    let accounts = std::env::var("SCALE_ACCOUNTS").map_or(ACCOUNTS, |text| text.parse().unwrap());
    let shards = std::env::var("SCALE_SHARDS").map_or(2, |text| text.parse().unwrap());
    let (mut scene, _directory) = Scene::new(shards).await;
    let desk = scene.queues.desk();
    let mut owner = scene.owner();
    owner.round().await.unwrap();
    scene.quote(0).await;
    let opens = scene.buy(accounts).await;
    let ids: Vec<AccountId> = opens.iter().map(|command| command.account).collect();
    let opened = submit(&desk, opens).await;
    let ordered = submit(&desk, ids.iter().map(|id| order(*id, "first")).collect()).await;
    for number in 0..100 {
        scene.quote(if number % 2 == 0 { 3 } else { -3 }).await;
    }
    // One of each shard: whatever a shard says it says after what it has decided before.
    let samples: BTreeMap<i16, AccountId> = ids.iter().map(|id| (id.shard(shards), *id)).collect();
    views(&desk, &samples).await;

    // It ends with nothing undone, and another begins.
    owner.leave().await.unwrap();
    let started = Instant::now();
    let mut owner = scene.owner();
    owner.round().await.unwrap();
    views(&desk, &samples).await;
    let restart = started.elapsed();

    // 5.2 % of 100,000 at 10 lots: beyond the daily limit.
    let started = Instant::now();
    scene.quote(-520).await;
    // A view is as of a commit: of the one that holds all verdicts of its shard.
    let views = views(&desk, &samples).await;
    let durable = started.elapsed();
    assert!(views.iter().all(|view| view.account.status == engine::Status::Breached));
    let all = i64::try_from(accounts).unwrap();
    assert_eq!(scene.count("select count(*) from verdicts where kind = 'breach'").await, all);
    assert_eq!(
        scene.count("select count(distinct account_id) from verdicts where kind = 'breach'").await,
        all
    );
    assert_eq!(scene.count("select count(*) from accounts where status = 'breached'").await, all);
    assert_eq!(scene.count("select count(*) from positions where closed_at is null").await, 0);
    owner.leave().await.unwrap();
    assert_eq!(scene.world.store.faults().await.unwrap(), []);
    println!(
        "{:#}",
        json!({
            "accounts": accounts,
            "shards": shards,
            "opened_per_second": u64::try_from(opened).unwrap(),
            "orders_per_second": u64::try_from(ordered).unwrap(),
            "restart_ms": u64::try_from(restart.as_millis()).unwrap(),
            "all_breach_durable_ms": u64::try_from(durable.as_millis()).unwrap(),
        })
    );
}
