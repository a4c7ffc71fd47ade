//! From the outbox to the groups, over a real database: every message once, whatever is lost on the way.
#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "a test that cannot go on stops, and one that measures says what"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use app::AppError;
use app::events::{Backlog, Consumer, Message, MessageStore as _, PARTS, stream};
use app::operations::Operations;
use app::streams::Streams;
use async_trait::async_trait;
use kernel::{FirmId, OwnerId};
use sqlx::{PgConnection, Row as _};
use store::Store;
use streams::{MemoryStreams, RedisStreams};
use testkit::{TestRedis, TestSentinels, World};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use workers::consume::{self, Taking};
use workers::leader::Leader;
use workers::relay::{self, Relay};

const GROUP: &str = "watchers";
/// Another group.
const OTHERS: &str = "laggards";

/// Takes messages and remembers in which order.
struct Watcher {
    group: &'static str,
    store: Arc<Store>,
    taken: Mutex<Vec<Message>>,
    /// Cannot take these.
    poison: Mutex<BTreeSet<i64>>,
    /// While true it takes what it was given and never comes to the end.
    stuck: watch::Sender<bool>,
}

#[async_trait]
impl Consumer for Watcher {
    fn group(&self) -> &'static str {
        self.group
    }

    async fn take(&self, firm: FirmId, messages: &[Message]) -> Result<(), AppError> {
        let mut tx = self.store.begin(firm).await?;
        let ids: Vec<i64> = messages.iter().map(|message| message.id).collect();
        let new = tx.take_messages(self.group, &ids).await?;
        self.stuck.subscribe().wait_for(|stuck| !stuck).await.unwrap();
        if new.iter().any(|id| self.poison.lock().unwrap().contains(id)) {
            let source = "it is poison".into();
            return Err(AppError::Bug { doing: "swallowing", source });
        }
        let _ = tx.commit().await?;
        let new = messages.iter().filter(|message| new.contains(&message.id)).cloned();
        self.taken.lock().unwrap().extend(new);
        Ok(())
    }
}

impl Watcher {
    fn new(store: &Arc<Store>) -> Arc<Self> {
        Self::of(GROUP, store)
    }

    fn of(group: &'static str, store: &Arc<Store>) -> Arc<Self> {
        Arc::new(Self {
            group,
            store: Arc::clone(store),
            taken: Mutex::default(),
            poison: Mutex::default(),
            stuck: watch::Sender::new(false),
        })
    }

    fn ids(&self) -> Vec<i64> {
        let mut ids: Vec<i64> = self.taken.lock().unwrap().iter().map(|message| message.id).collect();
        ids.sort_unstable();
        ids
    }

    async fn wait_for(&self, ids: &[i64]) {
        eventually(async || self.ids().len() >= ids.len()).await;
        assert_eq!(self.ids(), ids, "each once");
        let mut last = BTreeMap::new();
        for message in &*self.taken.lock().unwrap() {
            let before = last.insert(message.aggregate.clone(), message.id);
            assert!(before.is_none_or(|before| before < message.id), "{} out of order", message.aggregate);
        }
    }
}

/// A process with the relay and groups.
struct Process {
    tasks: Vec<JoinHandle<()>>,
    leader: JoinHandle<()>,
    stop: watch::Sender<bool>,
    stop_leading: watch::Sender<bool>,
}

impl Process {
    fn start(name: &str, world: &World, streams: &Arc<dyn Streams>, watcher: &Arc<Watcher>) -> Self {
        Self::of(name, world, streams, std::slice::from_ref(watcher))
    }

    fn of(name: &str, world: &World, streams: &Arc<dyn Streams>, watchers: &[Arc<Watcher>]) -> Self {
        let owner = OwnerId::derived(&[name.as_bytes()]);
        let of_groups = watchers.iter().flat_map(|watcher| consume::leases(watcher.group));
        let names = of_groups.chain([relay::LEASE.to_owned()]).collect();
        let leader = Leader::new(world.store.clone(), owner, names);
        let leads = leader.leads();
        let (stop, stopping) = watch::channel(false);
        let (stop_leading, stopping_leading) = watch::channel(false);
        let relay = Relay { store: world.store.clone(), streams: Arc::clone(streams) };
        let taking = Taking { streams: Arc::clone(streams), store: world.store.clone(), owner };
        let mut tasks = vec![tokio::spawn(relay.run(leads.clone(), stopping.clone()))];
        for watcher in watchers {
            tasks.push(tokio::spawn(taking.clone().run(watcher.clone(), leads.clone(), stopping.clone())));
        }
        Self { tasks, leader: tokio::spawn(leader.run(stopping_leading)), stop, stop_leading }
    }

    async fn stop(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.stop_leading.send_replace(true);
        self.leader.await.unwrap();
    }
}

struct Told {
    world: World,
    firm: FirmId,
    connection: PgConnection,
}

impl Told {
    async fn new() -> Self {
        let world = World::new().await;
        let firm = world.firm("one").await;
        let connection = world.database.superuser().await;
        world.store.join(GROUP, &[]).await.unwrap();
        Self { world, firm, connection }
    }

    async fn tell(&mut self, aggregate: &str) -> i64 {
        tell(&mut self.connection, self.firm, aggregate).await
    }

    async fn tell_many(&mut self, count: i64) -> Vec<i64> {
        let rows = sqlx::query(
            "insert into outbox (firm_id, at, aggregate, topic, payload)
             select $1, now(), 'account:' || number % 17, 'account.warned', jsonb_build_object('number', number)
             from generate_series(1, $2) number order by number
             returning id",
        )
        .bind(self.firm.uuid())
        .bind(count)
        .fetch_all(&mut self.connection)
        .await
        .unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    async fn backlog(&self) -> Backlog {
        let backlogs = self.world.store.backlogs().await.unwrap();
        backlogs.into_iter().find(|backlog| backlog.group == GROUP).unwrap()
    }

    async fn run(&mut self, sql: &'static str) {
        sqlx::query(sql).execute(&mut self.connection).await.unwrap();
    }
}

async fn tell(connection: &mut PgConnection, firm: FirmId, aggregate: &str) -> i64 {
    sqlx::query_scalar(
        "insert into outbox (firm_id, at, aggregate, topic, payload) values ($1, now(), $2, 'account.warned', '{}') returning id",
    )
    .bind(firm.uuid())
    .bind(aggregate)
    .fetch_one(connection)
    .await
    .unwrap()
}

async fn eventually(mut true_now: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !true_now().await {
        assert!(Instant::now() < deadline, "it has not come true within 30 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn every_message_is_taken_once_also_one_that_comes_to_light_late(streams: Arc<dyn Streams>) {
    let mut told = Told::new().await;
    let watcher = Watcher::new(&told.world.store);
    let process = Process::start("first", &told.world, &streams, &watcher);
    let mut ids = told.tell_many(500).await;
    // Its number is taken now, it shows only later; another one never shows.
    let mut late = told.world.database.superuser().await;
    sqlx::query("begin").execute(&mut late).await.unwrap();
    let hidden = tell(&mut late, told.firm, "account:late").await;
    told.run("begin").await;
    told.tell("account:never").await;
    told.run("rollback").await;
    ids.push(told.tell("account:3").await);
    watcher.wait_for(&ids).await;
    sqlx::query("commit").execute(&mut late).await.unwrap();
    ids.push(hidden);
    ids.sort_unstable();
    watcher.wait_for(&ids).await;
    let last = *ids.last().unwrap();
    let store = told.world.store.clone();
    eventually(async || store.known().await.unwrap() >= last).await;
    assert_eq!(told.backlog().await.waiting, 0);
    process.stop().await;
    // Nothing is left in the streams.
    for part in 0..PARTS {
        assert_eq!(streams.waiting(&stream(part), GROUP).await.unwrap().all(), 0);
    }
    // What was told while nobody listened.
    ids.push(told.tell("account:3").await);
    let process = Process::start("second", &told.world, &streams, &watcher);
    watcher.wait_for(&ids).await;
    process.stop().await;
}

async fn a_message_that_nobody_can_take_stops_nobody_and_is_taken_after_the_fix(streams: Arc<dyn Streams>) {
    let mut told = Told::new().await;
    let watcher = Watcher::new(&told.world.store);
    let before = told.tell("account:1").await;
    let poison = told.tell("account:1").await;
    let after = told.tell("account:1").await;
    watcher.poison.lock().unwrap().insert(poison);
    let process = Process::start("first", &told.world, &streams, &watcher);
    watcher.wait_for(&[before, after]).await;
    let (failing, dead) = (told.backlog().await.failing, told.backlog().await.dead);
    assert_eq!((failing, dead), (1, 0));
    // Its last attempt fails too: it is dead, with every error.
    told.run("update failed_messages set attempts = 11, next_at = now()").await;
    let store = told.world.store.clone();
    eventually(async || store.backlogs().await.unwrap().iter().any(|backlog| backlog.dead == 1)).await;
    let row = sqlx::query("select attempts, errors->0->>'error' as error, jsonb_array_length(errors) as errors from failed_messages")
        .fetch_one(&mut told.connection)
        .await
        .unwrap();
    assert_eq!(row.get::<String, _>("error"), "swallowing failed: it is poison");
    assert!(row.get::<i32, _>("attempts") == 12 && row.get::<i32, _>("errors") >= 2);
    watcher.poison.lock().unwrap().clear();
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!(watcher.ids(), [before, after], "a dead one stays dead by itself");
    let operations = Operations::new(told.world.store.clone(), told.world.clock.clone());
    let admin = told.world.admin(told.firm, "admin").await;
    operations.send_again(&told.world.context_of(told.firm, &admin), GROUP, poison).await.unwrap();
    eventually(async || watcher.ids() == [before, poison, after]).await;
    let Backlog { waiting, failing, dead, .. } = told.backlog().await;
    assert_eq!((waiting, failing, dead), (0, 0, 0));
    process.stop().await;
}

async fn another_process_takes_on_what_one_that_died_was_given(streams: Arc<dyn Streams>) {
    let mut told = Told::new().await;
    let watcher = Watcher::new(&told.world.store);
    let first = Process::start("first", &told.world, &streams, &watcher);
    let mut ids = told.tell_many(100).await;
    watcher.wait_for(&ids).await;
    // It is given some and dies over them.
    watcher.stuck.send_replace(true);
    ids.extend(told.tell_many(100).await);
    let asked = Arc::clone(&streams);
    eventually(async || {
        let mut pending = 0;
        for part in 0..PARTS {
            pending += asked.waiting(&stream(part), GROUP).await.unwrap().pending;
        }
        pending > 0
    })
    .await;
    for task in first.tasks.iter().chain([&first.leader]) {
        task.abort();
    }
    // The runner's own tasks of the parts die with their process; here they are let go without a commit.
    let heir = Watcher::new(&told.world.store);
    let second = Process::start("second", &told.world, &streams, &heir);
    told.world.database.cut_connections().await;
    watcher.stuck.send_replace(false);
    eventually(async || watcher.ids().len() + heir.ids().len() >= ids.len()).await;
    let mut taken = watcher.ids();
    taken.extend(heir.ids());
    taken.sort_unstable();
    assert_eq!(taken, ids, "each once");
    second.stop().await;
}

async fn what_is_settled_is_forgotten_and_still_taken_by_nobody(streams: Arc<dyn Streams>) {
    let mut told = Told::new().await;
    let watcher = Watcher::new(&told.world.store);
    let process = Process::start("first", &told.world, &streams, &watcher);
    let ids = told.tell_many(50).await;
    watcher.wait_for(&ids).await;
    // A minute later, and another one.
    let store = told.world.store.clone();
    for _ in 0..2 {
        told.run("update consumer_groups set settled_at = now() - interval '2 minutes'").await;
        let mut connection = told.world.database.superuser().await;
        eventually(async || {
            let settled = "select settled_at > now() - interval '1 minute' from consumer_groups";
            sqlx::query_scalar(settled).fetch_one(&mut connection).await.unwrap()
        })
        .await;
    }
    let left: i64 =
        sqlx::query_scalar("select count(*) from inbox").fetch_one(&mut told.connection).await.unwrap();
    assert_eq!(left, 0);
    // They come again, all of them.
    let again = store.outbox(0, &[], 1_000).await.unwrap().messages;
    assert_eq!(again.len(), 50);
    for message in &again {
        let part = app::events::part(&message.aggregate);
        streams.append(&stream(part), &[serde_json::to_vec(message).unwrap()]).await.unwrap();
    }
    let mut with_one_more = ids.clone();
    with_one_more.push(told.tell("account:1").await);
    watcher.wait_for(&with_one_more).await;
    process.stop().await;
}

macro_rules! over_both {
    ($($question:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $question() {
                super::$question(std::sync::Arc::new(super::MemoryStreams::new())).await;
            })*
        }
        mod redis {
            $(#[tokio::test]
            async fn $question() {
                let server = super::TestRedis::start();
                super::$question(std::sync::Arc::new(super::RedisStreams::connect(&server.url()).await.unwrap())).await;
            })*
        }
    };
}

over_both!(
    every_message_is_taken_once_also_one_that_comes_to_light_late,
    a_message_that_nobody_can_take_stops_nobody_and_is_taken_after_the_fix,
    another_process_takes_on_what_one_that_died_was_given,
    what_is_settled_is_forgotten_and_still_taken_by_nobody,
);

#[tokio::test]
async fn a_server_that_forgets_loses_no_message() {
    let server = TestRedis::start();
    let streams: Arc<dyn Streams> = Arc::new(RedisStreams::connect(&server.url()).await.unwrap());
    let mut told = Told::new().await;
    let watcher = Watcher::new(&told.world.store);
    let process = Process::start("first", &told.world, &streams, &watcher);
    let mut ids = told.tell_many(100).await;
    watcher.wait_for(&ids).await;
    // Given to the group, and forgotten before it was taken; and more that nobody read yet.
    watcher.stuck.send_replace(true);
    ids.extend(told.tell_many(2_000).await);
    let store = told.world.store.clone();
    let last = *ids.last().unwrap();
    eventually(async || store.known().await.unwrap() >= last).await;
    server.flush();
    watcher.stuck.send_replace(false);
    eventually(async || watcher.ids().len() >= ids.len()).await;
    assert_eq!(watcher.ids(), ids, "each once");
    process.stop().await;
}

#[tokio::test]
async fn a_server_that_dies_and_comes_back_loses_no_message() {
    let mut server = TestRedis::start();
    let streams: Arc<dyn Streams> = Arc::new(RedisStreams::connect(&server.url()).await.unwrap());
    let mut told = Told::new().await;
    let watcher = Watcher::new(&told.world.store);
    let process = Process::start("first", &told.world, &streams, &watcher);
    let mut ids = Vec::new();
    for round in 0..3 {
        ids.extend(told.tell_many(300).await);
        if round == 1 {
            server.kill();
            ids.extend(told.tell_many(300).await);
            server.restart();
        }
    }
    eventually(async || watcher.ids().len() >= ids.len()).await;
    assert_eq!(watcher.ids(), ids, "each once");
    process.stop().await;
}

/// Tells something every two milliseconds, and gives all ids.
struct Load {
    told: Arc<Mutex<Vec<i64>>>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Load {
    async fn start(told: &Told) -> Self {
        let (ids, (stop, mut stopping)) = (Arc::new(Mutex::new(Vec::new())), watch::channel(false));
        let (telling, firm) = (Arc::clone(&ids), told.firm);
        let mut connection = told.world.database.superuser().await;
        let task = tokio::spawn(async move {
            let mut pace = tokio::time::interval(Duration::from_millis(2));
            for number in 0_u64.. {
                tokio::select! {
                    _ = pace.tick() => {}
                    _ = stopping.wait_for(|stop| *stop) => return,
                }
                let id = tell(&mut connection, firm, &format!("account:{}", number % 17)).await;
                telling.lock().unwrap().push(id);
            }
        });
        Self { told: ids, stop, task }
    }

    fn ids(&self) -> Vec<i64> {
        self.told.lock().unwrap().clone()
    }

    fn last(&self) -> i64 {
        self.told.lock().unwrap().last().copied().unwrap_or_default()
    }

    async fn stop(self) -> Vec<i64> {
        self.stop.send_replace(true);
        self.task.await.unwrap();
        Arc::into_inner(self.told).unwrap().into_inner().unwrap()
    }
}

/// Entries that a server's streams were ever given.
fn entries_added(server: &TestRedis) -> u64 {
    let of_part = |part| {
        let all = server.ask(&["xinfo", "stream", &stream(part)]);
        let added = all.lines().skip_while(|line| *line != "entries-added").nth(1).map(str::parse::<u64>);
        added.map_or(0, Result::unwrap)
    };
    (0..PARTS).map(of_part).sum()
}

/// How a primary goes.
#[derive(Clone, Copy, PartialEq)]
enum Loss {
    /// It is killed while its replicas follow well.
    Killed,
    /// It is killed, and the replica that is promoted had lost its link before: messages of a group, which the primary had acknowledged
    /// and the relay had long counted as published, die with it.
    Behind,
    /// It hangs, keeps its connections, and goes on later as if nothing had happened.
    Hangs,
}

/// With it goes a sentinel, the first one that clients ask: it hangs.
async fn the_primary_is_lost_under_load(loss: Loss) {
    let mut all = TestSentinels::start(2);
    let streams: Arc<dyn Streams> = Arc::new(RedisStreams::connect(&all.url()).await.unwrap());
    let told = Told::new().await;
    told.world.store.join(OTHERS, &[]).await.unwrap();
    let watchers = [Watcher::new(&told.world.store), Watcher::of(OTHERS, &told.world.store)];
    let process = Process::of("first", &told.world, &streams, &watchers);
    let load = Load::start(&told).await;
    eventually(async || watchers.iter().all(|watcher| watcher.ids().len() >= 200)).await;
    let store = told.world.store.clone();
    let (behind, good) = (&all.servers[1], &all.servers[2]);
    if loss == Loss::Behind {
        // One group takes its time, and one replica does not get through to the primary any more.
        watchers[1].stuck.send_replace(true);
        assert_eq!(behind.ask(&["config", "set", "masteruser", "nobody", "masterauth", "wrong"]), "OK");
        assert_eq!(behind.ask(&["client", "kill", "type", "master"]), "1");
        eventually(async || behind.says("replication", "master_link_status").as_deref() == Some("down"))
            .await;
        let last = load.last();
        eventually(async || store.known().await.unwrap() > last).await;
        // The one that follows well hangs for a while.
        good.pause();
        eventually(async || (1..3).all(|sentinel| all.down(sentinel, good))).await;
    }
    let added = entries_added(&all.servers[0]);
    all.sentinels[0].pause();
    if loss == Loss::Hangs {
        all.servers[0].pause();
    } else {
        all.servers[0].kill();
    }
    let lost_at = Instant::now();
    let last = load.last();
    let after = |what: &str| println!("{what} after {:.1} s", lost_at.elapsed().as_secs_f64());
    let is_primary = |server: &TestRedis| server.says("replication", "role").as_deref() == Some("master");
    // One that hangs is not asked: it would not answer.
    let answering = if loss == Loss::Behind { 1..2 } else { 1..3 };
    eventually(async || all.servers[answering.clone()].iter().any(is_primary)).await;
    after("a replica is promoted");
    let (behind, good) = (&all.servers[1], &all.servers[2]);
    if loss == Loss::Behind {
        assert!(is_primary(behind));
        // It takes nothing as long as nobody follows it.
        assert!(behind.ask(&["set", "mine", "1"]).contains("NOREPLICAS"));
        let lacking = added - entries_added(behind);
        println!("{lacking} entries that the old one had acknowledged are not in it");
        assert!(lacking > 0, "the replica had everything");
        good.go_on();
        watchers[1].stuck.send_replace(false);
    }
    eventually(async || watchers.iter().any(|watcher| watcher.ids().iter().any(|id| *id > last))).await;
    after("messages flow");
    // While more and more are told, whatever was told before is taken.
    let before: Vec<i64> = load.ids().into_iter().filter(|id| *id <= last).collect();
    let all_before = |watcher: &Watcher| {
        let taken: BTreeSet<i64> = watcher.ids().into_iter().collect();
        before.iter().all(|id| taken.contains(id))
    };
    eventually(async || watchers.iter().all(|watcher| all_before(watcher))).await;
    after("all of before is taken");
    match loss {
        // It comes back, is given nothing, and becomes a replica.
        Loss::Killed => {
            all.servers[0].restart();
            let (old, back_at) = (&all.servers[0], Instant::now());
            let had = entries_added(old);
            while is_primary(old) {
                let (answer, has) = (old.ask(&["set", "mine", "1"]), entries_added(old));
                // Who makes it a replica closes its connections in the same breath: then nothing is answered.
                let cut = answer.is_empty() && !is_primary(old);
                let refused = answer.contains("NOREPLICAS") || answer.contains("READONLY");
                assert!(refused || cut, "{answer}");
                assert!(has == had || !is_primary(old), "somebody writes to it");
                assert!(back_at.elapsed() < Duration::from_secs(30), "nobody tells it who the primary is");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            println!("the old primary follows {:.1} s after it came back", back_at.elapsed().as_secs_f64());
        }
        // What it was asked while it hung it does now, for nobody, until it sees that nobody follows it.
        Loss::Hangs => {
            let old = &all.servers[0];
            old.go_on();
            eventually(async || !old.ask(&["set", "mine", "1"]).contains("OK")).await;
            let had = entries_added(old);
            let more = watchers[0].ids().len() + 500;
            eventually(async || watchers[0].ids().len() >= more).await;
            assert!(entries_added(old) == had || !is_primary(old), "somebody writes to it");
        }
        Loss::Behind => {}
    }
    let ids = load.stop().await;
    eventually(async || watchers.iter().all(|watcher| watcher.ids().len() >= ids.len())).await;
    for watcher in &watchers {
        assert_eq!(watcher.ids(), ids, "{}: each once", watcher.group);
    }
    eventually(async || {
        let backlogs = store.backlogs().await.unwrap();
        backlogs.iter().all(|backlog| (backlog.waiting, backlog.failing, backlog.dead) == (0, 0, 0))
    })
    .await;
    process.stop().await;
    for group in [GROUP, OTHERS] {
        for part in 0..PARTS {
            assert_eq!(streams.waiting(&stream(part), group).await.unwrap().all(), 0, "{group}");
        }
    }
    println!("{} messages, each taken once by {} groups", ids.len(), watchers.len());
}

#[tokio::test]
async fn a_failover_under_load_loses_and_doubles_no_message() {
    the_primary_is_lost_under_load(Loss::Killed).await;
}

#[tokio::test]
async fn what_the_promoted_replica_never_had_comes_again_under_load() {
    the_primary_is_lost_under_load(Loss::Behind).await;
}

#[tokio::test]
async fn a_primary_that_hangs_and_comes_back_takes_no_message_along() {
    the_primary_is_lost_under_load(Loss::Hangs).await;
}
