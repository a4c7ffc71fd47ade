//! Messages and jobs per second and how long each waits, beside pgbench and bare appends to Redis on the same servers. Prints one
//! JSON object. `cargo xtask bench events [SECONDS] [--held SECONDS]` starts what it needs and runs it.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement ends where it cannot go on")]
#![expect(clippy::arithmetic_side_effects, reason = "counts and durations of a run")]

mod jobs;
mod messages;

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use kernel::{Clock, FirmId, Timestamp};
use serde_json::{Value, json};
use store::{NewFirm, Settings, Store};
use testkit::TestDatabase;

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
    /// Transactions a second of pgbench (simple-update, scale 10, prepared), by 1 and by 16 at once.
    fn pgbench(&self) -> Value {
        let run = |arguments: &[&str]| {
            let program = std::env::var_os("TRADESENSE_BENCH_PGBENCH").unwrap_or_else(|| "pgbench".into());
            let mut command = Command::new(program);
            let ran = command.args(arguments).arg(self.database.url()).output().unwrap();
            assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
            String::from_utf8(ran.stdout).unwrap()
        };
        run(&["--initialize", "--quiet", "--scale", "10"]);
        let seconds = self.seconds.to_string();
        let rate = |clients: &str, threads: &str| {
            let measured =
                ["--no-vacuum", "--skip-some-updates", "--protocol", "prepared", "--time", &seconds];
            let told = run(&[&measured[..], &["--client", clients, "--jobs", threads]].concat());
            let rate = told
                .lines()
                .find_map(|line| line.strip_prefix("tps = ")?.split('.').next()?.parse::<u64>().ok());
            rate.unwrap()
        };
        json!({ "by_1_per_s": rate("1", "1"), "by_16_per_s": rate("16", "2") })
    }

    fn length(&self) -> Duration {
        Duration::from_secs(self.seconds)
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
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |text: &String| text.parse().ok();
    let seconds = arguments.first().and_then(number).unwrap_or(5);
    let held = arguments.iter().position(|argument| argument == "--held");
    let held = held.and_then(|place| arguments.get(place + 1)).and_then(number).unwrap_or_default();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("{}", runtime.block_on(measure(seconds, Duration::from_secs(held))));
}

async fn measure(seconds: u64, held: Duration) -> Value {
    let bench = Bench::new(seconds).await;
    let pgbench = bench.pgbench();
    drop(bench);
    let messages = messages::measure(seconds).await;
    let jobs = jobs::measure(seconds, held).await;
    json!({ "bench": "events", "seconds": seconds, "pgbench": pgbench, "messages": messages, "jobs": jobs })
}
