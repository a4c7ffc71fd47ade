//! Messages and jobs per second and how long each waits, beside bare commits and bare appends to Redis on the same servers. Prints one
//! JSON object. `cargo xtask bench events` starts what it needs and runs it.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement ends where it cannot go on")]
#![expect(clippy::arithmetic_side_effects, reason = "counts and durations of a run")]

mod jobs;
mod messages;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kernel::{Clock, FirmId, Timestamp};
use serde_json::{Value, json};
use sqlx::{Connection, Executor, PgConnection};
use store::{NewFirm, Settings, Store};
use testkit::TestDatabase;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The real time.
#[derive(Debug)]
struct Wall;

impl Clock for Wall {
    #[expect(clippy::disallowed_methods, reason = "a measurement reads the wall clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
    }
}

/// A platform's store in a database of its own.
struct Bench {
    database: TestDatabase,
    store: Arc<Store>,
    firm: FirmId,
    seconds: u64,
}

/// So many in so long, a second.
fn rate(count: usize, took: Duration) -> u64 {
    u64::try_from(count).unwrap() * 1_000_000 / u64::try_from(took.as_micros()).unwrap().max(1)
}

fn percentiles(mut micros: Vec<i64>) -> Value {
    micros.sort_unstable();
    let at = |percent: usize| micros.get((micros.len().max(1) - 1) * percent / 100).copied();
    json!({ "count": micros.len(), "p50_us": at(50), "p99_us": at(99), "max_us": micros.last() })
}

impl Bench {
    fn length(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// Single-row commits, as pgbench would make them, by so many connections.
    async fn bare_commits(&self, connections: usize) -> u64 {
        let mut owner = self.database.superuser().await;
        owner.execute("create table if not exists bare (id bigint, at timestamptz)").await.unwrap();
        let (start, length) = (Instant::now(), self.length());
        let mut all = JoinSet::new();
        for _ in 0..connections {
            let url = self.database.url();
            all.spawn(async move {
                let mut connection = PgConnection::connect(&url).await.unwrap();
                let mut count = 0;
                while start.elapsed() < length {
                    sqlx::query("insert into bare values ($1, now())")
                        .bind(1_i64)
                        .execute(&mut connection)
                        .await
                        .unwrap();
                    count += 1;
                }
                count
            });
        }
        let count: usize = all.join_all().await.into_iter().sum();
        rate(count, start.elapsed())
    }

    /// A database of its own.
    async fn new(seconds: u64) -> Self {
        let database = TestDatabase::new().await;
        let settings = Settings {
            url: database.login_url().await,
            instruments: testkit::instruments(),
            app_connections: 20,
            engine_connections: 1,
            worker_connections: 16,
            vault: testkit::vault(),
        };
        let store = Arc::new(Store::connect(&settings).await.unwrap());
        let new = NewFirm { slug: "bench".to_owned(), name: "Bench".to_owned(), domains: Vec::new() };
        let firm = Store::ensure_firm(&database.url(), &new, Wall.now()).await.unwrap();
        Self { database, store, firm, seconds }
    }
}

fn main() {
    let seconds = std::env::args().skip(1).find_map(|argument| argument.parse().ok()).unwrap_or(5);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("{}", runtime.block_on(measure(seconds)));
}

async fn measure(seconds: u64) -> Value {
    let bench = Bench::new(seconds).await;
    let commits = json!({ "by_1": bench.bare_commits(1).await, "by_16": bench.bare_commits(16).await });
    drop(bench);
    let messages = messages::measure(seconds).await;
    let jobs = jobs::measure(seconds).await;
    json!({ "bench": "events", "seconds": seconds, "bare_commits_per_s": commits, "messages": messages, "jobs": jobs })
}
