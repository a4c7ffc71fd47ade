//! Jobs per second, and how long one waits to be begun; and the same jobs, turn by turn, in two databases, in one of which an old
//! snapshot holds the horizon.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use app::jobs::{Job, JobError, JobHandler, JobStore, NewJob};
use async_trait::async_trait;
use kernel::{Clock as _, FirmId, OwnerId};
use serde_json::{Value, json};
use sqlx::Executor;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;
use workers::runner::{Runner, RunnerSettings};

use crate::{Bench, Wall, percentiles, rate};

/// Jobs of one runner at once.
const BOUND: usize = 64;
/// Enqueued one by one, each in a transaction of its own, by so many at once.
const ENQUEUERS: usize = 16;

/// Turns of the two databases.
const PAIRS: usize = 9;

/// Counts, and notes how long each job waited.
#[derive(Default)]
struct Counting {
    done: AtomicUsize,
    waited: Mutex<Vec<i64>>,
}

#[async_trait]
impl JobHandler for Counting {
    fn kind(&self) -> &'static str {
        "bench"
    }

    async fn run(&self, job: &Job) -> Result<(), JobError> {
        if let Some(at) = job.payload.get("at").and_then(Value::as_i64) {
            self.waited.lock().unwrap().push(Wall.now().micros() - at);
        }
        self.done.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

fn job(firm: FirmId) -> NewJob {
    let now = Wall.now();
    NewJob {
        firm: Some(firm),
        queue: "bench",
        kind: "bench",
        payload: json!({ "at": now.micros() }),
        run_at: now,
        priority: 0,
        unique: None,
        most_attempts: 3,
    }
}

impl Bench {
    /// One job a transaction, as a use case enqueues it.
    async fn enqueue_one_by_one(&self) -> u64 {
        let (start, length) = (Instant::now(), self.length());
        let mut all = JoinSet::new();
        for _ in 0..ENQUEUERS {
            let (store, firm) = (self.store.clone(), self.firm);
            all.spawn(async move {
                let mut count = 0;
                while start.elapsed() < length {
                    let mut tx = store.begin(firm).await.unwrap();
                    tx.enqueue(&[job(firm)], Wall.now()).await.unwrap();
                    let _proof = tx.commit().await.unwrap();
                    count += 1;
                }
                count
            });
        }
        let count: usize = all.join_all().await.into_iter().sum();
        rate(count, start.elapsed())
    }

    /// A thousand a transaction.
    async fn enqueue_many(&self, count: usize) -> u64 {
        let start = Instant::now();
        for _ in 0..count / 1_000 {
            let jobs: Vec<NewJob> = (0..1_000).map(|_| job(self.firm)).collect();
            self.store.enqueue(&jobs, Wall.now()).await.unwrap();
        }
        rate(count, start.elapsed())
    }

    fn start(&self, runners: usize, handler: &Arc<Counting>) -> (watch::Sender<bool>, JoinSet<()>) {
        let (stop, stopping) = watch::channel(false);
        let mut all = JoinSet::new();
        for number in 0..runners {
            let owner =
                OwnerId::derived(&[b"bench", &number.to_be_bytes(), &Wall.now().micros().to_be_bytes()]);
            let queues = vec![("bench".to_owned(), BOUND)];
            let handlers: Vec<Arc<dyn JobHandler>> = vec![handler.clone()];
            let settings = RunnerSettings::default();
            let runner = Runner::new(self.store.clone(), Arc::new(Wall), owner, settings, queues, handlers);
            all.spawn(Arc::new(runner).run(stopping.clone()));
        }
        (stop, all)
    }

    /// What waits, done by so many runners; jobs a second until the last is settled.
    async fn drain(&self, runners: usize) -> u64 {
        let mut owner = self.database.superuser().await;
        let waiting = "select count(*) from jobs where state in ('waiting', 'running')";
        let jobs: i64 = sqlx::query_scalar(waiting).fetch_one(&mut owner).await.unwrap();
        let jobs = usize::try_from(jobs).unwrap();
        let handler = Arc::new(Counting::default());
        let start = Instant::now();
        let (stop, running) = self.start(runners, &handler);
        while handler.done.load(Ordering::SeqCst) < jobs {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // Settles what it began.
        stop.send_replace(true);
        running.join_all().await;
        let took = start.elapsed();
        let left: i64 = sqlx::query_scalar(waiting).fetch_one(&mut owner).await.unwrap();
        assert_eq!(left, 0, "every job is done");
        rate(jobs, took)
    }

    /// A steady 200 jobs a second; from the moment before the transaction to the beginning of the work.
    async fn latency(&self) -> Value {
        let handler = Arc::new(Counting::default());
        let (stop, running) = self.start(1, &handler);
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        let jobs = usize::try_from(self.seconds * 200).unwrap();
        let mut enqueuing = JoinSet::new();
        for _ in 0..jobs {
            ticks.tick().await;
            let (store, firm) = (self.store.clone(), self.firm);
            enqueuing.spawn(async move {
                let new = job(firm);
                let mut tx = store.begin(firm).await.unwrap();
                tx.enqueue(&[new], Wall.now()).await.unwrap();
                let _proof = tx.commit().await.unwrap();
            });
        }
        enqueuing.join_all().await;
        while handler.done.load(Ordering::SeqCst) < jobs {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        stop.send_replace(true);
        running.join_all().await;
        let waited = std::mem::take(&mut *handler.waited.lock().unwrap());
        percentiles(waited)
    }
}

/// The rate over all turns together, their middle, and each of them.
fn told(rates: &[u64]) -> Value {
    let mut sorted = rates.to_vec();
    sorted.sort_unstable();
    // Each turn is of as many jobs as the others.
    let times: u64 = rates.iter().map(|rate| 1_000_000_000 / rate.max(&1)).sum();
    let overall = 1_000_000_000 * u64::try_from(rates.len()).unwrap() / times.max(1);
    json!({ "overall": overall, "median": sorted.get(sorted.len() / 2), "all": rates })
}

/// Everything about jobs. The snapshot is held for so long at least.
pub async fn measure(seconds: u64, held_for: Duration) -> Value {
    let (free, held) = (Bench::new(seconds).await, Bench::new(seconds).await);
    let jobs = usize::try_from(seconds * 2_000).unwrap();
    let one_by_one = free.enqueue_one_by_one().await;
    free.drain(4).await;
    let latency = free.latency().await;

    // The horizon is that of a database: the other one goes on as always.
    let began = Instant::now();
    let mut old = held.database.superuser().await;
    old.execute("begin isolation level repeatable read").await.unwrap();
    sqlx::query("select count(*) from firms").fetch_all(&mut old).await.unwrap();
    for _ in 0..8 {
        held.enqueue_many(jobs).await;
        held.drain(4).await;
    }
    let mut enqueued = [Vec::new(), Vec::new()];
    let mut done = [[Vec::new(), Vec::new()], [Vec::new(), Vec::new()]];
    let mut pairs = 0;
    while pairs < PAIRS || began.elapsed() < held_for {
        pairs += 1;
        for (runners, done) in [1, 4].into_iter().zip(&mut done) {
            for ((bench, enqueued), done) in [&free, &held].into_iter().zip(&mut enqueued).zip(done) {
                enqueued.push(bench.enqueue_many(jobs).await);
                done.push(bench.drain(runners).await);
            }
        }
    }
    let held_latency = held.latency().await;
    let bloat: (i64, i64) = sqlx::query_as(
        "select n_dead_tup, pg_total_relation_size('jobs') from pg_stat_user_tables where relname = 'jobs'",
    )
    .fetch_one(&mut held.database.superuser().await)
    .await
    .unwrap();
    let held_seconds = began.elapsed().as_secs();
    old.execute("rollback").await.unwrap();
    let [[free_by_1, held_by_1], [free_by_4, held_by_4]] = &done;
    let [free_enqueued, held_enqueued] = &enqueued;
    json!({
        "jobs_of_a_drain": jobs,
        "enqueued_one_by_one_by_16_per_s": one_by_one,
        "free": {
            "enqueued_in_thousands_per_s": told(free_enqueued),
            "done_by_1_runner_per_s": told(free_by_1),
            "done_by_4_runners_per_s": told(free_by_4),
            "enqueue_to_start": latency,
        },
        "horizon_held": {
            "enqueued_in_thousands_per_s": told(held_enqueued),
            "done_by_1_runner_per_s": told(held_by_1),
            "done_by_4_runners_per_s": told(held_by_4),
            "enqueue_to_start": held_latency,
            "held_seconds": held_seconds,
            "dead_rows": bloat.0,
            "bytes_of_jobs": bloat.1,
        },
    })
}
