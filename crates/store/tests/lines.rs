//! What a line to a shard promises, whoever owns the shard: asked of the queues of one process and of streams between
//! several, over the real store.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "a test that cannot go on stops"
)]

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use app::AppError;
use app::latency::Meter;
use app::market::MarketHub;
use app::receipts::Stored;
use app::streams::Streams;
use app::trading::{
    Desk, Follower, IncomingQuote, LeaseStore as _, LineError, Origin, Owner, Queues, Remote, Sequencer,
    ShardSettings, Shards, SharedQuoteLog, Submitted,
};
use engine::{Act, Command, Done, Key, OrderKind, Place};
use kernel::{AccountId, Clock, OwnerId, Price, Quantity, RequestId, Side, Span, Symbol};
use sqlx::Row as _;
use store::Store;
use streams::RedisStreams;
use testkit::trading::{Fate, Gate, MemoryLog};
use testkit::{TestRedis, World, instruments, program};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How the shards are reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    /// The queues of one process.
    Queues,
    /// Streams, as between processes: each owner has queues and a quote log of its own.
    Streams,
}

struct Wired {
    world: World,
    gate: Arc<Gate<Store>>,
    log: SharedQuoteLog,
    queues: Queues,
    desk: Desk,
    accounts: Vec<AccountId>,
    shards: i16,
    streams: Option<Arc<dyn Streams>>,
    /// What the other process would run.
    others: Vec<JoinHandle<()>>,
    stop: watch::Sender<bool>,
    redis: Option<TestRedis>,
    /// How many quotes there were.
    quotes: AtomicU64,
}

impl Wired {
    /// So many shards and accounts, which are open.
    async fn new(by: By, shards: i16, accounts: usize) -> (Self, Owner) {
        let world = World::new().await;
        let firm = world.firm("one").await;
        let trader = world.person(firm, "trader@one.example").await;
        world.publish(firm, "two-step", program("one")).await;
        assert_eq!(world.store.shards(shards).await.unwrap(), shards);
        let clock: Arc<dyn Clock> = world.clock.clone();
        let queues = Queues::new(shards, &clock);
        let mut wired = Self {
            gate: Arc::new(Gate::new(world.store.clone())),
            log: MemoryLog::shared(),
            desk: queues.desk(),
            queues,
            world,
            accounts: Vec::new(),
            shards,
            streams: None,
            others: Vec::new(),
            stop: watch::Sender::new(false),
            redis: None,
            quotes: AtomicU64::new(0),
        };
        if by == By::Streams {
            let redis = TestRedis::start();
            let streams: Arc<dyn Streams> = Arc::new(RedisStreams::connect(&redis.url()).await.unwrap());
            let remote = Remote::new(Arc::clone(&streams), clock, id("web"), shards);
            wired.desk = remote.desk();
            wired.others.push(tokio::spawn(remote.run(wired.stop.subscribe())));
            (wired.streams, wired.redis) = (Some(streams), Some(redis));
        }
        let mut owner = wired.owner("first");
        owner.round().await.unwrap();
        wired.quote().await;
        for _ in 0..accounts {
            let unopened = wired.world.challenge(firm, &trader, "two-step").await;
            let command = unopened.command().unwrap();
            wired.accounts.push(command.account);
            assert_eq!(wired.desk.submit(command, Origin::PLATFORM).await.unwrap().outcome, Ok(Done::Opened));
        }
        (wired, owner)
    }

    /// Somebody who may own shards.
    fn owner(&mut self, name: &str) -> Owner {
        let mut settings = ShardSettings {
            owner: id(name),
            instruments: instruments(),
            clock: self.world.clock.clone(),
            store: self.gate.clone(),
            log: self.log.clone(),
            log_follows: false,
            stored: Stored::default(),
            meter: Meter::default(),
        };
        let Some(streams) = self.streams.clone() else {
            return Owner::new(settings, self.world.store.clone(), self.queues.clone());
        };
        let clock: Arc<dyn Clock> = self.world.clock.clone();
        let (log, queues) = (MemoryLog::shared(), Queues::of_some(self.shards, &clock));
        (settings.log, settings.log_follows) = (log.clone(), true);
        let shards = Shards { log, queues: queues.clone(), first_needed: 1 };
        let hub = Arc::new(MarketHub::new(instruments()));
        let follower = Follower::new(Arc::clone(&streams), hub, Some(shards));
        self.others.push(tokio::spawn(follower.run(self.stop.subscribe())));
        Owner::new(settings, self.world.store.clone(), queues).answering(streams)
    }

    /// A price for what is ordered, for every shard.
    async fn quote(&self) {
        let hub = Arc::new(MarketHub::new(instruments()));
        let (clock, log) = (self.world.clock.clone(), self.log.clone());
        let last = self.quotes.fetch_add(1, Ordering::Relaxed);
        let mut sequencer = match &self.streams {
            None => Sequencer::new(instruments(), clock.clone(), log, last, &self.queues, hub),
            Some(streams) => {
                let fed = (Arc::clone(streams), 1);
                Sequencer::feeding(instruments(), clock.clone(), &log, last, &hub, fed)
            }
        };
        let quote = IncomingQuote {
            source: "test".into(),
            symbol: Symbol::parse("EURUSD").unwrap(),
            bid: Price(110_000),
            ask: Price(110_002),
            source_time: clock.now(),
        };
        sequencer.accept(&[quote]).await.unwrap();
    }

    /// Everything that can run has run.
    async fn quiet(&self) {
        match &self.streams {
            None => {
                for _ in 0..10_000 {
                    tokio::task::yield_now().await;
                }
            }
            Some(_) => tokio::time::sleep(Duration::from_millis(500)).await,
        }
    }

    fn submit(&self, account: AccountId, key: &str) -> JoinHandle<Result<Submitted, AppError>> {
        let (desk, command) = (self.desk.clone(), order(account, key));
        tokio::spawn(async move { desk.submit(command, Origin::PLATFORM).await })
    }

    /// The lease of every shard is another's all of a sudden.
    async fn steal(&self, name: &str) {
        sqlx::query("update shards set owner_id = $1")
            .bind(id(name).uuid())
            .execute(&mut self.world.database.superuser().await)
            .await
            .unwrap();
    }

    async fn orders(&self, account: AccountId) -> i64 {
        let row = sqlx::query("select count(*) from orders where account_id = $1").bind(account.uuid());
        row.fetch_one(&mut self.world.database.superuser().await).await.unwrap().get(0)
    }

    /// Changes an account's realised result: an order at the market costs a commission.
    async fn trade(&self, account: AccountId, key: &str) {
        let mut command = order(account, key);
        let Act::Place(place) = &mut command.act else { unreachable!() };
        place.kind = OrderKind::Market;
        let origin = Origin { request: Some(RequestId::derived(&[key.as_bytes()])), ..Origin::PLATFORM };
        self.desk.submit(command, origin).await.unwrap().outcome.unwrap();
    }

    /// A second later, with a quote of then.
    async fn a_second_passes(&self) {
        self.world.clock.advance(Span::from_seconds(1));
        self.quote().await;
    }

    /// How often the world was told that an account's realised result has changed.
    async fn told(&self, account: AccountId) -> i64 {
        let row =
            sqlx::query("select count(*) from outbox where topic = 'account.traded' and aggregate = $1")
                .bind(format!("account:{account}"));
        row.fetch_one(&mut self.world.database.superuser().await).await.unwrap().get(0)
    }

    async fn until_told(&self, account: AccountId, times: i64) {
        for _ in 0..1_000 {
            if self.told(account).await == times {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("told {} times, not {times}", self.told(account).await);
    }
}

fn id(name: &str) -> OwnerId {
    OwnerId::derived(&[name.as_bytes()])
}

/// An order far below any price.
fn order(account: AccountId, key: &str) -> Command {
    let place = Place {
        symbol: Symbol::parse("EURUSD").unwrap(),
        side: Side::Buy,
        kind: OrderKind::Limit(Price(50_000)),
        quantity: Quantity(1),
        stop_loss: None,
        take_profit: None,
    };
    Command { account, key: Key::parse(key).unwrap(), act: Act::Place(place) }
}

fn is(error: &AppError, expected: LineError) -> bool {
    matches!(error, AppError::Unavailable { source, .. } if source.downcast_ref() == Some(&expected))
}

macro_rules! asked_of_both {
    ($($question:ident),* $(,)?) => {
        mod by_queues {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $question() {
                super::$question(super::By::Queues).await;
            })*
        }
        mod by_streams {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $question() {
                super::$question(super::By::Streams).await;
            })*
        }
    };
}

asked_of_both!(
    nobody_is_answered_before_the_commit_and_the_shard_decides_on_meanwhile,
    too_much_at_once_is_refused_and_takes_no_effect,
    a_retry_gets_the_first_answer,
    what_failed_to_commit_is_not_answered_and_leaves_nothing,
    who_was_deposed_writes_nothing_more_and_whoever_follows_takes_on_what_waits,
    shards_move_between_owners_while_orders_go_on,
    a_lease_that_ran_out_is_anybodys,
    a_changed_result_is_told_at_once_and_what_follows_within_a_second_at_its_end,
);

async fn nobody_is_answered_before_the_commit_and_the_shard_decides_on_meanwhile(by: By) {
    let (wired, _owner) = Wired::new(by, 1, 1).await;
    let account = wired.accounts[0];
    let before = wired.gate.passed().len();
    wired.gate.close();
    let first = wired.submit(account, "first");
    wired.gate.waiting(1).await;
    let rest: Vec<_> = (0..20).map(|number| wired.submit(account, &format!("next-{number}"))).collect();
    let seen = wired.desk.clone();
    let view = tokio::spawn(async move { seen.view(account).await });
    // The one commit still waits.
    wired.quiet().await;
    assert!(!first.is_finished() && rest.iter().all(|order| !order.is_finished()) && !view.is_finished());
    assert_eq!(wired.orders(account).await, 0);
    wired.gate.open();
    assert!(!first.await.unwrap().unwrap().repeated);
    let mut tickets = BTreeSet::new();
    for order in rest {
        tickets.insert(format!("{:?}", order.await.unwrap().unwrap().outcome.unwrap()));
    }
    assert_eq!(tickets.len(), 20);
    let view = view.await.unwrap().unwrap().unwrap();
    assert_eq!(i64::try_from(view.account.orders.len()).unwrap(), wired.orders(account).await);
    let passed = wired.gate.passed();
    let batches: Vec<usize> = passed[before..].iter().map(|passed| passed.commands).collect();
    assert_eq!(batches, [1, 20], "what came during the first commit went with the second");
}

async fn too_much_at_once_is_refused_and_takes_no_effect(by: By) {
    let (wired, _owner) = Wired::new(by, 1, 1).await;
    let account = wired.accounts[0];
    wired.gate.close();
    let first = wired.submit(account, "first");
    wired.gate.waiting(1).await;
    let orders: Vec<_> = (0..7_000).map(|number| wired.submit(account, &format!("n-{number}"))).collect();
    let (mut done, mut placed, mut full) = (0, 0, 0);
    // However slowly they come: the one commit waits until somebody is told something, and that can only be a refusal.
    while !orders.iter().any(JoinHandle::is_finished) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    wired.gate.open();
    for order in orders {
        match order.await.unwrap() {
            Ok(answered) => {
                done += 1;
                // No account may have more than so many orders waiting.
                placed += i64::from(answered.outcome.is_ok());
            }
            Err(error) if is(&error, LineError::Full) => full += 1,
            Err(error) => panic!("{error}"),
        }
    }
    first.await.unwrap().unwrap();
    assert!(full > 0 && done >= 4_096, "{done} done, {full} refused");
    assert_eq!(wired.orders(account).await, placed + 1, "what was refused took no effect");
}

async fn a_retry_gets_the_first_answer(by: By) {
    let (wired, _owner) = Wired::new(by, 1, 1).await;
    let account = wired.accounts[0];
    let (left, right) = (wired.submit(account, "same"), wired.submit(account, "same"));
    let (left, right) = (left.await.unwrap().unwrap(), right.await.unwrap().unwrap());
    assert_eq!(left.outcome, right.outcome);
    assert!(left.repeated != right.repeated);
    assert_eq!(wired.orders(account).await, 1);
}

async fn what_failed_to_commit_is_not_answered_and_leaves_nothing(by: By) {
    let (wired, _owner) = Wired::new(by, 1, 1).await;
    let account = wired.accounts[0];
    wired.gate.fail_next();
    let failed = wired.submit(account, "tried").await.unwrap().unwrap_err();
    assert!(is(&failed, LineError::Gone), "{failed}");
    assert_eq!(wired.orders(account).await, 0);
    let again = wired.submit(account, "tried").await.unwrap().unwrap();
    assert!(!again.repeated);
    assert_eq!(wired.orders(account).await, 1);
}

async fn who_was_deposed_writes_nothing_more_and_whoever_follows_takes_on_what_waits(by: By) {
    let (mut wired, mut first) = Wired::new(by, 1, 1).await;
    let account = wired.accounts[0];
    wired.gate.close();
    let unanswered = wired.submit(account, "unanswered");
    wired.gate.waiting(1).await;
    let waits = wired.submit(account, "waits");
    wired.steal("second").await;
    // The first finds out; what it had decided is lost, and nobody was told otherwise.
    first.round().await.unwrap();
    assert!(first.held().is_empty());
    let unanswered = match by {
        By::Queues => {
            let error = unanswered.await.unwrap().unwrap_err();
            assert!(is(&error, LineError::Gone), "{error}");
            None
        }
        // The stream still has the question.
        By::Streams => Some(unanswered),
    };
    let mut second = wired.owner("second");
    second.round().await.unwrap();
    assert_eq!(second.held(), [0]);
    let late = wired.submit(account, "late");
    wired.gate.waiting(2).await;
    wired.gate.open();
    let late = late.await.unwrap().unwrap().outcome;
    if let Some(unanswered) = unanswered {
        // The second takes on what the first has not answered, in its order.
        let ticket = |number| Ok(Done::Order(engine::Ticket(number)));
        assert_eq!(unanswered.await.unwrap().unwrap().outcome, ticket(1));
        assert_eq!((waits.await.unwrap().unwrap().outcome, late), (ticket(2), ticket(3)));
        assert!(wired.submit(account, "unanswered").await.unwrap().unwrap().repeated);
        assert_eq!(wired.orders(account).await, 3);
    } else {
        assert_eq!(late, Ok(Done::Order(engine::Ticket(1))));
        // Taken from the queue by the first before it went: unknown to its sender, and not there.
        assert!(is(&waits.await.unwrap().unwrap_err(), LineError::Gone));
        let again = wired.submit(account, "unanswered").await.unwrap().unwrap();
        assert!(!again.repeated, "it had not been written");
        assert_eq!(wired.orders(account).await, 2);
    }
    let passed = wired.gate.passed_with(Fate::Deposed).await;
    let deposed: Vec<_> = passed.iter().filter(|passed| passed.fate == Fate::Deposed).collect();
    assert_eq!(deposed.len(), 1, "the write of the deposed owner was refused");
    assert!(
        passed.iter().all(|other| other.fate != Fate::Stored
            || other.epoch != deposed[0].epoch
            || other.commands <= 1)
    );
}

async fn shards_move_between_owners_while_orders_go_on(by: By) {
    const SHARDS: i16 = 4;
    const ORDERS: usize = 60;
    let (mut wired, mut first) = Wired::new(by, SHARDS, 12).await;
    let shards: BTreeSet<i16> = wired.accounts.iter().map(|account| account.shard(SHARDS)).collect();
    assert!(shards.len() > 1, "the accounts lie in several shards");
    assert_eq!(first.held(), [0, 1, 2, 3]);
    let traders: Vec<_> = (wired.accounts.iter().copied())
        .map(|account| {
            let desk = wired.desk.clone();
            tokio::spawn(async move {
                for number in 0..ORDERS {
                    let command = order(account, &format!("order-{number}"));
                    desk.submit(command, Origin::PLATFORM).await.unwrap().outcome.unwrap();
                }
            })
        })
        .collect();
    let mut second = wired.owner("second");
    // The second comes: nothing is free yet. The first gives up what is beyond its share, and the second takes it.
    second.round().await.unwrap();
    assert!(second.held().is_empty());
    first.round().await.unwrap();
    second.round().await.unwrap();
    assert_eq!((first.held(), second.held()), (vec![0, 1], vec![2, 3]));
    first.leave().await.unwrap();
    second.round().await.unwrap();
    assert_eq!(second.held(), [0, 1, 2, 3]);
    for trader in traders {
        trader.await.unwrap();
    }
    for account in &wired.accounts {
        assert_eq!(wired.orders(*account).await, i64::try_from(ORDERS).unwrap(), "each order once");
    }
    assert!(wired.gate.passed().iter().all(|passed| passed.fate == Fate::Stored));
}

async fn a_lease_that_ran_out_is_anybodys(by: By) {
    let (mut wired, mut first) = Wired::new(by, 2, 1).await;
    let mut second = wired.owner("second");
    second.round().await.unwrap();
    assert!(second.held().is_empty(), "all are leased");
    let mut connection = wired.world.database.superuser().await;
    sqlx::query("update shards set leased_until = '-infinity'").execute(&mut connection).await.unwrap();
    sqlx::query("update shard_owners set seen_until = '-infinity'").execute(&mut connection).await.unwrap();
    second.round().await.unwrap();
    assert_eq!(second.held(), [0, 1], "the other was not seen in time");
    first.round().await.unwrap();
    assert!(first.held().is_empty());
    assert!(!wired.submit(wired.accounts[0], "after").await.unwrap().unwrap().repeated);
}

async fn a_changed_result_is_told_at_once_and_what_follows_within_a_second_at_its_end(by: By) {
    let (mut wired, mut first) = Wired::new(by, 1, 2).await;
    let [busy, other] = [wired.accounts[0], wired.accounts[1]];
    assert_eq!((wired.told(busy).await, wired.told(other).await), (0, 0));
    wired.trade(busy, "first").await;
    assert_eq!((wired.told(busy).await, wired.told(other).await), (1, 0));
    for key in ["second", "third", "fourth"] {
        wired.trade(busy, key).await;
    }
    wired.trade(other, "first").await;
    assert_eq!((wired.told(busy).await, wired.told(other).await), (1, 1), "each account has its own second");
    wired.a_second_passes().await;
    wired.until_told(busy, 2).await;
    // Whoever owes a message when it ends leaves it to the next owner.
    wired.trade(busy, "fifth").await;
    assert_eq!((wired.told(busy).await, wired.told(other).await), (2, 1));
    wired.steal("second").await;
    first.round().await.unwrap();
    let mut second = wired.owner("second");
    second.round().await.unwrap();
    wired.a_second_passes().await;
    wired.until_told(busy, 3).await;
    wired.trade(busy, "last").await;
    wired.a_second_passes().await;
    wired.quiet().await;
    assert_eq!((wired.told(busy).await, wired.told(other).await), (4, 1), "once told, nothing is owed");
}
