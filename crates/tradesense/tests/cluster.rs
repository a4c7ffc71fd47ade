//! An installation of several processes under load, in which one after the other is killed, paused, restarted or made to
//! forget: a client that keeps a journal of its own of what was acknowledged finds all of it, once, and nothing else.
//!
//! `CLUSTER_ROUNDS=200 cargo test --release -p tradesense --test cluster -- --nocapture` prints how long it took until the next
//! order was acknowledged after each fault; `CLUSTER_FAULTS=KillEngine,KillRedis` takes only these.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test that cannot go on stops"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use app::events::MessageStore as _;
use common::client::{
    all_tickets, buy, cancel, client, gamble, get, place, publish, sign_in, verdicts, wait_for_market,
};
use common::cluster::Cluster;
use kernel::{Clock as _, SeededRng};
use sqlx::Connection as _;
use testkit::{Disk, Faults};
use tradesense::system::SystemClock;

/// Rounds of an ordinary test run: each fault once.
const ROUNDS: usize = FAULTS.len();
/// Orders in flight at a time, each on an account of its own.
const HANDS: usize = 4;
/// Accounts that stake everything in each round.
const GAMBLERS: usize = 2;
/// A retry after so long without an answer has failed.
const LONGEST_OUTAGE: Duration = Duration::from_mins(1);

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
    KillApi,
    KillEngine,
    KillWorker,
    KillAnalytics,
    /// For longer than any lease.
    PauseEngine,
    /// One after the other, by SIGTERM, and started again.
    RollingRestart,
    KillRedis,
    FlushRedis,
    /// It takes nothing more.
    FillRedis,
    KillPostgres,
    /// To the database and to Redis: 200 ms each way.
    SlowLinks,
    /// One piece in twenty lost, one in a hundred the last of its connection.
    LossyLinks,
    /// One after the other, for two seconds each.
    CutLinks,
    /// No table of the database can grow.
    FullTables,
    /// The database cannot write its log, ends, and is started again once there is room.
    FullWal,
    FullRedisDisk,
    /// No quote can be logged.
    FullMembersDisk,
    /// The time of day of every member, an hour ahead and back again.
    ClocksAhead,
    /// An hour behind and back again.
    ClocksBehind,
    /// A day ahead and back again.
    EngineClockAhead,
}

const FAULTS: [Fault; 20] = [
    Fault::KillEngine,
    Fault::KillApi,
    Fault::KillWorker,
    Fault::KillAnalytics,
    Fault::KillRedis,
    Fault::FlushRedis,
    Fault::FillRedis,
    Fault::PauseEngine,
    Fault::SlowLinks,
    Fault::LossyLinks,
    Fault::CutLinks,
    Fault::KillPostgres,
    Fault::FullTables,
    Fault::FullWal,
    Fault::FullRedisDisk,
    Fault::FullMembersDisk,
    Fault::ClocksAhead,
    Fault::ClocksBehind,
    Fault::EngineClockAhead,
    Fault::RollingRestart,
];

impl Fault {
    /// Whether this machine can do it.
    fn is_possible(self, cluster: &Cluster) -> bool {
        match self {
            Self::FullTables | Self::FullWal | Self::FullRedisDisk | Self::FullMembersDisk => {
                cluster.disks.is_some()
            }
            Self::ClocksAhead | Self::ClocksBehind | Self::EngineClockAhead => cluster.has_clocks(),
            Self::KillApi
            | Self::KillEngine
            | Self::KillWorker
            | Self::KillAnalytics
            | Self::PauseEngine
            | Self::RollingRestart
            | Self::KillRedis
            | Self::FlushRedis
            | Self::FillRedis
            | Self::KillPostgres
            | Self::SlowLinks
            | Self::LossyLinks
            | Self::CutLinks => true,
        }
    }
}

/// A trader who never gives up: every order is sent again under its key until somebody answers.
struct Hand {
    http: reqwest::Client,
    bases: Vec<String>,
    account: String,
    name: usize,
    stop: Arc<AtomicBool>,
    acknowledged: Arc<Mutex<Vec<(usize, Instant)>>>,
}

impl Hand {
    /// Gives the ticket of every key.
    async fn trade(self) -> BTreeMap<String, u64> {
        let mut tickets = BTreeMap::new();
        for number in 0.. {
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
            let key = format!("h{}-{number}", self.name);
            let ticket = self.insist(&key).await;
            assert_eq!(tickets.insert(key, ticket), None);
            self.acknowledged.lock().unwrap().push((self.name, now()));
            self.take_back(ticket).await;
        }
        tickets
    }

    async fn insist(&self, key: &str) -> u64 {
        let began = now();
        for base in self.bases.iter().cycle() {
            match place(&self.http, base, &self.account, key).await {
                Some((201, order)) => return order["ticket"].as_u64().unwrap(),
                // The database may be gone in the middle of reading the session.
                Some((500, _)) | None => tokio::time::sleep(Duration::from_millis(20)).await,
                Some((status, problem)) => panic!("{key}: {status} {problem}"),
            }
            assert!(began.elapsed() < LONGEST_OUTAGE, "{key} was never answered");
        }
        unreachable!()
    }

    async fn take_back(&self, ticket: u64) {
        let began = now();
        for base in self.bases.iter().cycle() {
            match cancel(&self.http, base, &self.account, ticket).await {
                Some(500) | None => tokio::time::sleep(Duration::from_millis(20)).await,
                Some(_) => return,
            }
            assert!(began.elapsed() < LONGEST_OUTAGE, "the order {ticket} was never taken back");
        }
    }
}

/// How long a trader waited for an answer at the longest, from a moment on until now.
fn longest_silence(acknowledged: &[(usize, Instant)], name: usize, since: Instant) -> Duration {
    let of_this = acknowledged.iter().filter(|(of, at)| *of == name && *at >= since).map(|(_, at)| *at);
    let times: Vec<Instant> = std::iter::once(since).chain(of_this).chain([now()]).collect();
    times.windows(2).map(|pair| pair[1].duration_since(pair[0])).max().unwrap()
}

/// Buys under a key until somebody sells.
async fn insist_on_buying(http: &reqwest::Client, bases: &[String], program: &str, key: &str) -> String {
    let began = now();
    for base in bases.iter().cycle() {
        if let Some(account) = buy(http, base, program, key).await {
            return account;
        }
        assert!(began.elapsed() < LONGEST_OUTAGE, "{key} was never bought");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    unreachable!()
}

#[expect(clippy::disallowed_methods, reason = "how long it took")]
fn now() -> Instant {
    Instant::now()
}

/// What was said has the form that is published for it.
async fn every_message_has_its_form(store: &store::Store) {
    let (mut after, mut topics) = (0, BTreeSet::new());
    loop {
        let some = store.outbox(after, &[], 1_000).await.unwrap().messages;
        let Some(last) = some.last() else { break };
        after = last.id;
        assert_eq!(some.iter().find_map(app::events::fault), None);
        topics.extend(some.into_iter().map(|message| message.topic));
    }
    for topic in
        ["account.opened", "account.traded", "account.breached", "purchase.paid", "program.published"]
    {
        assert!(topics.contains(topic), "nobody said {topic}");
    }
}

/// Every group has taken every message; none failed for good.
async fn everybody_is_told(cluster: &Cluster) {
    let settings = store::Settings {
        url: cluster.owner_url(),
        instruments: testkit::instruments(),
        app_connections: 1,
        engine_connections: 1,
        worker_connections: 1,
        vault: testkit::vault(),
    };
    let store = store::Store::connect(&settings).await.unwrap();
    let mut backlogs = Vec::new();
    for _ in 0..600 {
        backlogs = store.backlogs().await.unwrap();
        if backlogs.iter().all(|group| (group.waiting, group.failing, group.dead) == (0, 0, 0)) {
            let groups: Vec<&str> = backlogs.iter().map(|backlog| backlog.group.as_str()).collect();
            assert_eq!(groups, ["analytics", "notifications", "webhooks"]);
            return every_message_has_its_form(&store).await;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    panic!("some were never told: {backlogs:?}");
}

async fn kill_and_start(cluster: &mut Cluster, name: &str) {
    let victim = cluster.place(name);
    cluster.kill(victim);
    // Longer than any lease: the others go on without it.
    tokio::time::sleep(Duration::from_secs(6)).await;
    cluster.start_member(victim);
}

async fn on_every_link(cluster: &Cluster, faults: Faults, time: Duration) {
    for link in [&cluster.to_postgres, &cluster.to_redis] {
        link.set(faults);
    }
    tokio::time::sleep(time).await;
    for link in [&cluster.to_postgres, &cluster.to_redis] {
        link.set(Faults::default());
    }
}

async fn strike(cluster: &mut Cluster, fault: Fault, chance: &SeededRng) {
    let one_of = |role: &str| format!("{role}-{}", chance.between(1, 2));
    match fault {
        Fault::KillApi => kill_and_start(cluster, &one_of("api")).await,
        Fault::KillEngine => kill_and_start(cluster, &one_of("engine")).await,
        Fault::KillWorker => kill_and_start(cluster, &one_of("worker")).await,
        Fault::KillAnalytics => kill_and_start(cluster, "analytics-1").await,
        Fault::PauseEngine => {
            let victim = cluster.place(&one_of("engine"));
            cluster.signal(victim, "-STOP");
            tokio::time::sleep(Duration::from_secs(8)).await;
            cluster.signal(victim, "-CONT");
        }
        Fault::RollingRestart => {
            for place in 0..cluster.members.len() {
                assert!(cluster.terminate(place).await, "{} did not end well", cluster.members[place].name);
                cluster.start_member(place);
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        }
        Fault::KillRedis => {
            cluster.redis.kill();
            tokio::time::sleep(Duration::from_millis(300)).await;
            cluster.redis.restart();
        }
        Fault::FlushRedis => cluster.redis.flush(),
        Fault::FillRedis => {
            assert_eq!(cluster.redis.ask(&["config", "set", "maxmemory", "1mb"]), "OK");
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert_eq!(cluster.redis.ask(&["config", "set", "maxmemory", "0"]), "OK");
        }
        Fault::SlowLinks => {
            let slow = Faults { delay: Duration::from_millis(200), ..Faults::default() };
            on_every_link(cluster, slow, Duration::from_secs(6)).await;
        }
        Fault::LossyLinks => {
            let lossy = Faults { lost_in_1000: 50, reset_in_1000: 10, ..Faults::default() };
            on_every_link(cluster, lossy, Duration::from_secs(6)).await;
            assert!(cluster.to_postgres.resets() > 0 && cluster.to_redis.resets() > 0);
        }
        Fault::CutLinks => {
            for link in [&cluster.to_postgres, &cluster.to_redis] {
                link.set(Faults { cut: true, ..Faults::default() });
                tokio::time::sleep(Duration::from_secs(2)).await;
                link.set(Faults::default());
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
        Fault::KillPostgres => cluster.kill_postgres(),
        Fault::FullTables => while_full(&cluster.disks.as_ref().unwrap().tables).await,
        Fault::FullWal => {
            let disk = &cluster.disks.as_ref().unwrap().wal;
            disk.fill();
            use_up_wal(cluster).await;
            tokio::time::sleep(Duration::from_secs(2)).await;
            disk.free();
            cluster.revive_postgres().await;
        }
        Fault::FullRedisDisk => while_full(&cluster.disks.as_ref().unwrap().redis).await,
        Fault::FullMembersDisk => while_full(&cluster.disks.as_ref().unwrap().members).await,
        Fault::ClocksAhead => while_set(cluster, |_| true, 3_600).await,
        Fault::ClocksBehind => while_set(cluster, |_| true, -3_600).await,
        Fault::EngineClockAhead => {
            let victim = one_of("engine");
            while_set(cluster, |name| name == victim, 86_400).await;
        }
    }
}

/// Uses up the files that are left, until the database cannot go on.
async fn use_up_wal(cluster: &Cluster) {
    let mut database = sqlx::PgConnection::connect(&cluster.owner_url()).await.unwrap();
    for _ in 0..400 {
        let switched = sqlx::query("select pg_switch_wal()").execute(&mut database).await;
        if switched.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(25)).await;
    }
    panic!("the database goes on without room for its log");
}

async fn while_full(disk: &Disk) {
    disk.fill();
    tokio::time::sleep(Duration::from_secs(5)).await;
    disk.free();
}

async fn while_set(cluster: &Cluster, of: impl Fn(&str) -> bool, off: i64) {
    let names: Vec<&str> = cluster.members.iter().map(|member| member.name).filter(|name| of(name)).collect();
    for off in [off, 0] {
        for name in &names {
            cluster.set_clock(name, off);
        }
        tokio::time::sleep(Duration::from_secs(3)).await;
        // Set back, an answer goes on with its date until the time of day has come there again.
        for name in names.iter().filter(|_| off > 0) {
            let shown = cluster.time_of_day(name).await.as_second();
            let right = SystemClock.now().micros().div_euclid(1_000_000);
            let set = right.saturating_add(off);
            assert!(shown.abs_diff(set) < 60, "the clock of {name} is at {shown} and not {set}");
        }
    }
}

/// However wrong the clocks were: nothing happened in the future, and no trading day began early.
async fn the_time_was_right(cluster: &Cluster) {
    let mut database = sqlx::PgConnection::connect(&cluster.owner_url()).await.unwrap();
    for (what, sql) in [
        ("journal", "select count(*) from journal where at > clock_timestamp() + interval '5 seconds'"),
        ("verdicts", "select count(*) from verdicts where at > clock_timestamp() + interval '5 seconds'"),
        ("messages", "select count(*) from outbox where at > clock_timestamp() + interval '5 seconds'"),
        ("notes", "select count(*) from notifications where at > clock_timestamp() + interval '5 seconds'"),
        (
            "days",
            "select count(*) from trading_days where started_at > clock_timestamp() + interval '5 seconds'",
        ),
    ] {
        let wrong: i64 = sqlx::query_scalar(sql).fetch_one(&mut database).await.unwrap();
        assert_eq!(wrong, 0, "{what}");
    }
}

#[expect(clippy::disallowed_methods, reason = "how many rounds")]
#[tokio::test(flavor = "multi_thread")]
async fn whatever_dies_nothing_acknowledged_is_lost_or_doubled() {
    let rounds = std::env::var("CLUSTER_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap());
    let only = std::env::var("CLUSTER_FAULTS").unwrap_or_default();
    let wanted = |fault: &Fault| only.is_empty() || only.split(',').any(|name| name == format!("{fault:?}"));
    let mut cluster = Cluster::start().await;
    let (faults, impossible): (Vec<Fault>, Vec<Fault>) =
        FAULTS.into_iter().filter(wanted).partition(|fault| fault.is_possible(&cluster));
    println!("not possible here: {impossible:?}");
    let chance = SeededRng::new(11);
    let bases = cluster.bases();
    publish(&client(), &bases[0], cluster.data()).await;
    let http = client();
    sign_in(&http, &bases[0], cluster.data(), "trader").await;
    let stop = Arc::new(AtomicBool::new(false));
    let acknowledged = Arc::new(Mutex::new(Vec::new()));
    let mut accounts = Vec::new();
    let mut hands = Vec::new();
    for name in 0..HANDS {
        let account = insist_on_buying(&http, &bases, "two-step-100k", &format!("hand-{name}")).await;
        accounts.push(account.clone());
        let (stop, acknowledged) = (Arc::clone(&stop), Arc::clone(&acknowledged));
        let hand = Hand { http: http.clone(), bases: bases.clone(), account, name, stop, acknowledged };
        hands.push(tokio::spawn(hand.trade()));
    }
    let mut gambled = BTreeSet::new();
    let mut recovered: BTreeMap<Fault, Vec<Duration>> = BTreeMap::new();
    for round in 0..rounds {
        let fault = faults[round % faults.len()];
        for number in 0..GAMBLERS {
            let bought = insist_on_buying(&http, &bases, "brief", &format!("r{round}g{number}")).await;
            let wait = Duration::from_millis(u64::try_from(chance.between(0, 300)).unwrap());
            tokio::spawn(gamble(http.clone(), bases[0].clone(), bought.clone(), wait));
            gambled.insert(bought);
        }
        tokio::time::sleep(Duration::from_millis(u64::try_from(chance.between(20, 300)).unwrap())).await;
        let struck = now();
        strike(&mut cluster, fault, &chance).await;
        for base in &bases {
            cluster.wait_until_ready(base).await;
            wait_for_market(&http, base).await;
        }
        // The longest time in which somebody was not answered is the outage.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let longest =
            (0..HANDS).map(|name| longest_silence(&acknowledged.lock().unwrap(), name, struck)).max();
        let longest = longest.unwrap();
        println!("{fault:?}: {} ms", longest.as_millis());
        recovered.entry(fault).or_default().push(longest);
    }
    stop.store(true, Ordering::SeqCst);
    let mut orders = 0;
    for (hand, account) in hands.into_iter().zip(&accounts) {
        let tickets = hand.await.unwrap();
        let stored = all_tickets(&http, &bases[1], account).await;
        let distinct: BTreeSet<u64> = stored.iter().copied().collect();
        let acknowledged: BTreeSet<u64> = tickets.values().copied().collect();
        assert_eq!(stored.len(), distinct.len(), "no order is there twice");
        assert_eq!(acknowledged.len(), tickets.len(), "no two keys share an order");
        assert_eq!(distinct, acknowledged, "what is stored is what was acknowledged, no more and no less");
        orders += tickets.len();
    }
    // What was sent and not answered may still be on its way.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let breached = verdicts(&http, &bases[1], &gambled).await;
    everybody_is_told(&cluster).await;
    let board = format!("{}/v1/analytics/leaderboard?program=brief", cluster.analytics());
    let ranked = get(&http, board).await["of"].as_u64().unwrap();
    assert!(usize::try_from(ranked).unwrap() >= breached, "whoever lost stands on the board");
    the_time_was_right(&cluster).await;
    let faults = store::Store::faults_at(&cluster.owner_url()).await.unwrap();
    assert_eq!(faults, [], "no row contradicts another");
    println!("{rounds} faults, {orders} orders, {breached} of {} brief accounts breached", gambled.len());
    for (fault, mut times) in recovered {
        times.sort_unstable();
        println!(
            "{fault:?}: {} times, longest time without an answer p50 {} ms, max {} ms",
            times.len(),
            times[(times.len() - 1) / 2].as_millis(),
            times.last().unwrap().as_millis()
        );
    }
}
