//! Jobs in the hands of workers: done side by side, renewed, dropped, given back, taken from the dead.
#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]

use std::collections::BTreeMap;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use app::jobs::{Job, JobError, JobHandler, JobStore, NewJob};
use app::operations::Operations;
use app::operations::{JobState, OperationStore, StoredJob};
use async_trait::async_trait;
use kernel::{Clock as _, FirmId, ManualClock, OwnerId, Span, Timestamp};
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use store::{Settings, Store};
use testkit::{START, World};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use workers::runner::{Runner, RunnerSettings};

/// Short, so that what has to wait for the database's clock does not wait long.
const SETTINGS: RunnerSettings = RunnerSettings {
    lease: Duration::from_millis(1_500),
    poll: Duration::from_millis(20),
    drain: Duration::from_millis(300),
};

/// Asks until it is so, for at most 20 s.
async fn until<F: Future<Output = bool>>(what: &str, mut so: impl FnMut() -> F) {
    let end = tokio::time::Instant::now() + Duration::from_secs(20);
    while !so().await {
        assert!(tokio::time::Instant::now() < end, "{what}: not within 20 s");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Does what the payload says.
#[derive(Default)]
struct Told {
    longest: Option<Span>,
    begun: Mutex<Vec<Value>>,
    ended: Mutex<Vec<Value>>,
    now: AtomicUsize,
    most: AtomicUsize,
}

#[async_trait]
impl JobHandler for Told {
    fn kind(&self) -> &'static str {
        "told"
    }

    fn longest(&self) -> Span {
        self.longest.unwrap_or(Span::from_seconds(60))
    }

    async fn run(&self, job: &Job) -> Result<(), JobError> {
        self.begun.lock().unwrap().push(job.payload.clone());
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        let told = |name: &str| job.payload.get(name);
        let does = told("does").and_then(Value::as_str).unwrap_or("well").to_owned();
        let sleep = told("ms").and_then(Value::as_u64).unwrap_or(1);
        tokio::time::sleep(Duration::from_millis(sleep)).await;
        self.now.fetch_sub(1, Ordering::SeqCst);
        self.ended.lock().unwrap().push(job.payload.clone());
        match does.as_str() {
            "well" => Ok(()),
            "again" => Err(JobError::Again { after: None, source: "not now".into() }),
            "never" => Err(JobError::Never("never so".into())),
            "later" => Err(JobError::Later(Span::from_seconds(5))),
            other => panic!("told to {other}"),
        }
    }
}

struct Works {
    world: World,
    firm: FirmId,
}

impl Works {
    async fn new() -> Self {
        let world = World::new().await;
        let firm = world.firm("one").await;
        Self { world, firm }
    }

    fn job(&self, payload: Value) -> NewJob {
        NewJob {
            firm: Some(self.firm),
            queue: "work",
            kind: "told",
            payload,
            run_at: self.world.clock.now(),
            priority: 0,
            unique: None,
            most_attempts: 3,
        }
    }

    async fn enqueue(&self, payloads: &[Value]) {
        let jobs: Vec<NewJob> = payloads.iter().map(|payload| self.job(payload.clone())).collect();
        self.world.store.enqueue(&jobs, self.world.clock.now()).await.unwrap();
    }

    fn start(&self, bound: usize, handler: Arc<Told>) -> Running {
        let runner = Runner::new(
            self.world.store.clone(),
            self.world.clock.clone(),
            OwnerId::random(self.world.clock.now(), &*self.world.rng),
            SETTINGS,
            vec![("work".to_owned(), bound)],
            vec![handler],
        );
        let (stop, stopping) = watch::channel(false);
        let runner = Arc::new(runner);
        let task = tokio::spawn(Arc::clone(&runner).run(stopping));
        Running { runner, stop, task }
    }

    async fn in_state(&self, state: JobState) -> Vec<StoredJob> {
        self.world.store.jobs(self.firm, state, None, 200).await.unwrap()
    }

    async fn until_in_state(&self, state: JobState, jobs: usize) {
        until(&format!("{jobs} are {}", state.word()), async || self.in_state(state).await.len() == jobs)
            .await;
    }
}

struct Running {
    runner: Arc<Runner>,
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Running {
    async fn stop(self) {
        self.stop.send_replace(true);
        self.task.await.unwrap();
        assert_eq!(self.runner.running(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_does_what_waits_and_no_more_at_once_than_it_may() {
    let works = Works::new().await;
    works.enqueue(&(0..120).map(|number| json!({ "number": number, "ms": 2 })).collect::<Vec<_>>()).await;
    let handler = Arc::new(Told::default());
    let runners = [works.start(4, handler.clone()), works.start(3, handler.clone())];
    works.until_in_state(JobState::Done, 120).await;
    for runner in runners {
        runner.stop().await;
    }
    assert_eq!(handler.begun.lock().unwrap().len(), 120, "each once");
    let most = handler.most.load(Ordering::SeqCst);
    assert!((2..=7).contains(&most), "{most} at once");
}

#[tokio::test(flavor = "multi_thread")]
async fn every_way_to_fail_is_told_to_the_operators() {
    let works = Works::new().await;
    let mut jobs: Vec<NewJob> = ["again", "never", "later", "burst"]
        .map(|does| NewJob { most_attempts: 1, ..works.job(json!({ "does": does })) })
        .into();
    jobs.push(NewJob { most_attempts: 1, ..works.job(json!({ "ms": 60_000 })) });
    jobs.push(NewJob { kind: "unheard", most_attempts: 1, ..works.job(json!({})) });
    works.world.store.enqueue(&jobs, works.world.clock.now()).await.unwrap();
    let longest = Some(Span::from_seconds(1));
    let running = works.start(9, Arc::new(Told { longest, ..Told::default() }));
    works.until_in_state(JobState::Dead, 4).await;
    works.until_in_state(JobState::Waiting, 2).await;
    running.stop().await;
    let mut errors: Vec<String> = works
        .in_state(JobState::Dead)
        .await
        .into_iter()
        .map(|job| job.errors.into_iter().map(|failure| failure.error).collect())
        .collect();
    errors.sort();
    assert_eq!(
        errors,
        ["it took longer than 1 s", "never so", "not now", "the handler panicked: told to burst"]
    );
    for job in works.in_state(JobState::Waiting).await {
        let wait = job.run_at.since(works.world.clock.now()).unwrap();
        let seconds = if job.kind == "told" { 5 } else { 60 };
        assert_eq!((wait, job.errors.len()), (Span::from_seconds(seconds), 0), "{}", job.kind);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_job_keeps_its_lease_and_nobody_else_gets_it() {
    let works = Works::new().await;
    works.enqueue(&[json!({ "ms": 4_000 })]).await;
    let handler = Arc::new(Told::default());
    let runners = [works.start(1, handler.clone()), works.start(1, handler.clone())];
    works.until_in_state(JobState::Done, 1).await;
    for runner in runners {
        runner.stop().await;
    }
    assert_eq!(handler.begun.lock().unwrap().len(), 1, "though it took longer than a lease");
    assert_eq!(works.in_state(JobState::Done).await[0].attempt, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_that_stops_lets_end_what_ends_soon_and_gives_back_the_rest() {
    let works = Works::new().await;
    works
        .enqueue(&[
            json!({ "ms": 150 }),
            json!({ "ms": 60_000 }),
            json!({ "ms": 60_000 }),
            json!({ "ms": 1 }),
        ])
        .await;
    let handler = Arc::new(Told::default());
    let running = works.start(3, handler.clone());
    until("three run", async || handler.begun.lock().unwrap().len() == 3).await;
    running.stop().await;
    assert_eq!(works.in_state(JobState::Done).await.len(), 1, "and nothing new is begun");
    let mut waiting = works.in_state(JobState::Waiting).await;
    waiting.sort_by_key(|job| job.number);
    assert_eq!(waiting.iter().map(|job| job.attempt).collect::<Vec<_>>(), [1, 1, 0]);
    assert!(waiting.iter().all(|job| job.errors.is_empty()), "which costs no attempt");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_job_that_is_cancelled_stops() {
    let works = Works::new().await;
    works.enqueue(&[json!({ "ms": 60_000 })]).await;
    let handler = Arc::new(Told::default());
    let running = works.start(1, handler.clone());
    works.until_in_state(JobState::Running, 1).await;
    let admin = works.world.context_of(works.firm, &works.world.admin(works.firm, "admin").await);
    let operations = Operations::new(works.world.store.clone(), works.world.clock.clone());
    operations.cancel(&admin, works.in_state(JobState::Running).await[0].id).await.unwrap();
    works.until_in_state(JobState::Cancelled, 1).await;
    assert!(handler.ended.lock().unwrap().is_empty());
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_was_away_costs_nothing_that_was_done() {
    let works = Works::new().await;
    works.enqueue(&(0..60).map(|number| json!({ "number": number, "ms": 5 })).collect::<Vec<_>>()).await;
    let handler = Arc::new(Told::default());
    let running = works.start(4, handler.clone());
    for _ in 0..5 {
        tokio::time::sleep(Duration::from_millis(30)).await;
        works.world.database.cut_connections().await;
    }
    until("all are done", async || {
        works.world.store.jobs(works.firm, JobState::Done, None, 200).await.is_ok_and(|jobs| jobs.len() == 60)
    })
    .await;
    running.stop().await;
    let mut begun: BTreeMap<u64, usize> = BTreeMap::new();
    for payload in handler.begun.lock().unwrap().iter() {
        *begun.entry(payload["number"].as_u64().unwrap()).or_default() += 1;
    }
    assert_eq!(begun.len(), 60);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_runner_dropped_anywhere_loses_nothing() {
    let works = Works::new().await;
    works
        .enqueue(&(0..300).map(|number| json!({ "number": number, "ms": number % 7 })).collect::<Vec<_>>())
        .await;
    let handler = Arc::new(Told::default());
    for _ in 0..40 {
        let running = works.start(8, handler.clone());
        let wait = works.world.rng.between(500, 25_000).unsigned_abs();
        tokio::time::sleep(Duration::from_micros(wait)).await;
        running.task.abort();
        drop(running.task.await);
        // As if the leases of the dead had run out, and the pause after that as well.
        let sql =
            "update jobs set leased_until = clock_timestamp() - interval '1 second' where state = 'running'";
        works.world.database.superuser().await.execute(sql).await.unwrap();
        works.world.store.reap(works.world.clock.now()).await.unwrap();
        works.world.clock.advance(Span::from_seconds(7_200));
        // Being killed costs attempts; here nobody gives up.
        let sql = "update jobs set spared = attempt where state = 'waiting'";
        works.world.database.superuser().await.execute(sql).await.unwrap();
    }
    let running = works.start(8, handler.clone());
    until("all are over", async || {
        let sql = "select count(*) from jobs where state = 'done'";
        let done: i64 =
            sqlx::query_scalar(sql).fetch_one(&mut works.world.database.superuser().await).await.unwrap();
        done == 300
    })
    .await;
    running.stop().await;
    let ended: std::collections::BTreeSet<u64> =
        handler.ended.lock().unwrap().iter().map(|payload| payload["number"].as_u64().unwrap()).collect();
    assert_eq!(ended.len(), 300);
}

/// A process of its own that works on the queue until it is killed, and says in a table what it does.
struct Process(Child);

impl Process {
    /// Runs [`the_work_of_another_process`]: the test that it calls turns there when it is told where to work.
    async fn start(works: &Works, name: &str) -> Self {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_worker_killed_in_the_middle_of_a_job_is_replaced", "--nocapture"])
            .env("WORK_LOGIN", works.world.database.login_url().await)
            .env("WORK_OWNER", works.world.database.url())
            .env("WORK_NAME", name)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self(child)
    }

    fn signal(&self, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.0.id().to_string()]).status().unwrap();
        assert!(sent.success());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// Writes down when it begins and ends.
struct Slow {
    owner_url: String,
    name: String,
    takes: Duration,
}

impl Slow {
    async fn say(&self, what: &str) {
        let mut connection = PgConnection::connect(&self.owner_url).await.unwrap();
        sqlx::query("insert into said (who, what) values ($1, $2)")
            .bind(&self.name)
            .bind(what)
            .execute(&mut connection)
            .await
            .unwrap();
    }
}

#[async_trait]
impl JobHandler for Slow {
    fn kind(&self) -> &'static str {
        "told"
    }

    async fn run(&self, _job: &Job) -> Result<(), JobError> {
        self.say("begin").await;
        tokio::time::sleep(self.takes).await;
        self.say("end").await;
        Ok(())
    }
}

fn slow_runner(store: Arc<Store>, clock: Arc<ManualClock>, slow: Slow) -> Arc<Runner> {
    let owner = OwnerId::derived(&[slow.name.as_bytes()]);
    let queues = vec![("work".to_owned(), 1)];
    Arc::new(Runner::new(store, clock, owner, SETTINGS, queues, vec![Arc::new(slow)]))
}

#[expect(clippy::disallowed_methods, reason = "how the parent tells the child")]
fn told(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// What a [`Process`] does, until somebody kills it.
async fn the_work_of_another_process(url: String) {
    let told = |name: &str| told(name).unwrap();
    let settings = Settings {
        url,
        instruments: testkit::instruments(),
        app_connections: 1,
        engine_connections: 1,
        worker_connections: 3,
        vault: testkit::vault(),
    };
    let store = Arc::new(Store::connect(&settings).await.unwrap());
    // An hour ahead of the parent, so that what fails is due again at once.
    let at = Timestamp::parse(START).unwrap().after(Span::from_seconds(3_600)).unwrap();
    let clock = Arc::new(ManualClock::new(at));
    let slow =
        Slow { owner_url: told("WORK_OWNER"), name: told("WORK_NAME"), takes: Duration::from_millis(2_500) };
    let (_stop, stopping) = watch::channel(false);
    slow_runner(store, clock, slow).run(stopping).await;
}

async fn said(works: &Works, who: &str, what: &str) -> bool {
    sqlx::query_scalar("select exists (select from said where who = $1 and what = $2)")
        .bind(who)
        .bind(what)
        .fetch_one(&mut works.world.database.superuser().await)
        .await
        .unwrap()
}

/// A job in the hands of another process.
async fn job_of_another() -> (Works, Process) {
    let works = Works::new().await;
    works.world.database.superuser().await.execute("create table said (who text, what text)").await.unwrap();
    works.enqueue(&[json!({})]).await;
    let other = Process::start(&works, "other").await;
    until("the other process has begun", async || said(&works, "other", "begin").await).await;
    // Its retry waits for the clock of whoever takes it over.
    works.world.clock.advance(Span::from_seconds(7_200));
    (works, other)
}

/// One here that takes as long as it is told to.
fn start_slow(works: &Works, takes: Duration) -> Running {
    let slow = Slow { owner_url: works.world.database.url(), name: "here".to_owned(), takes };
    let runner = slow_runner(works.world.store.clone(), works.world.clock.clone(), slow);
    let (stop, stopping) = watch::channel(false);
    let task = tokio::spawn(Arc::clone(&runner).run(stopping));
    Running { runner, stop, task }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_killed_in_the_middle_of_a_job_is_replaced() {
    if let Some(url) = told("WORK_LOGIN") {
        return the_work_of_another_process(url).await;
    }
    let (works, other) = job_of_another().await;
    other.signal("-KILL");
    let killed = tokio::time::Instant::now();
    let running = start_slow(&works, Duration::ZERO);
    // The pause after the failure is over when the clock has moved on.
    until("somebody else has done it", async || {
        works.world.clock.advance(Span::from_seconds(1));
        works.in_state(JobState::Done).await.len() == 1
    })
    .await;
    println!("done {} ms after the kill, with a lease of {:?}", killed.elapsed().as_millis(), SETTINGS.lease);
    running.stop().await;
    let job = works.in_state(JobState::Done).await.remove(0);
    assert_eq!((job.attempt, job.errors.len()), (2, 1));
    assert_eq!(job.errors[0].error, "the worker died");
    assert!(!said(&works, "other", "end").await && said(&works, "here", "end").await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_was_paused_and_wakes_cannot_end_the_job_of_its_successor() {
    let (works, other) = job_of_another().await;
    other.signal("-STOP");
    let running = start_slow(&works, Duration::from_secs(4));
    until("somebody else has begun", async || {
        works.world.clock.advance(Span::from_seconds(1));
        said(&works, "here", "begin").await
    })
    .await;
    other.signal("-CONT");
    // It either ends its work, whose completion is refused, or learns first that it lost the job.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let job = works.in_state(JobState::Running).await.remove(0);
    assert_eq!(job.attempt, 2, "still its successor's");
    works.until_in_state(JobState::Done, 1).await;
    running.stop().await;
    assert_eq!(works.in_state(JobState::Done).await[0].attempt, 2);
}
