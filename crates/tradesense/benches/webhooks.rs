//! Webhooks of a provider, verified, stored and acknowledged, beside pgbench on the same server. Run it with `cargo xtask bench
//! webhooks`, which starts that server and says where it is; prints one JSON object.
//!
//! A webhook here is an event of Stripe's, signed by its secret, with a name that no other has. It counts when its answer with a
//! status of success has arrived; the inbox gives that only after the commit. At the end the rows in the database are counted:
//! there must be one for every event acknowledged.
//!
//! The listener runs as in the product, in this process on threads of its own; the client runs on one thread and speaks just
//! enough HTTP/1.1, because it shares the machine with what it measures.
#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value that has no such field gives null, and takes a new one"
)]

mod load;

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context as _, ensure};
use app::payments::Providers;
use app::payments::notices::Intake;
use app::payments::port::Mode;
use clap::Parser;
use kernel::{Clock as _, Rng as _, SeededRng};
use load::{Connection, Request, now, percentile, pgbench, server_settings, thousandths};
use providers::payments::stripe::{Stripe, StripeSettings, StripeWebhooks};
use providers::payments::{Limits, Tools};
use serde_json::{Value, json};
use sqlx::Connection as _;
use store::Store;
use testkit::payments::stripe;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tradesense::system::SystemClock;

/// The figures at the top of the result are those at this concurrency.
const HEADLINE: usize = 32;
/// Both sides run this long before anything counts.
const WARM_UP: Duration = Duration::from_secs(3);
/// What Stripe sends beside the object: real events of a payment have some 3,000 bytes.
const FILLER: usize = 2_500;

#[derive(Debug, Parser)]
struct Args {
    /// How many at once, one connection each.
    #[arg(long, value_delimiter = ',', default_value = "1,8,32,64")]
    concurrency: Vec<usize>,
    /// Seconds of every run.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Times that ours and pgbench's are run at every concurrency.
    #[arg(long, default_value_t = 1)]
    rounds: u64,
    /// The program pgbench.
    #[arg(long)]
    pgbench: PathBuf,
    /// Not needed; given to every measurement of this kind.
    #[arg(long, hide = true)]
    data_dir: Option<PathBuf>,
    /// An empty database for the inbox.
    #[arg(long, env = "TRADESENSE_BENCH_PLATFORM_URL", hide_env_values = true)]
    platform_url: String,
    /// A database of the same server that pgbench has initialised.
    #[arg(long, env = "TRADESENSE_BENCH_PGBENCH_URL", hide_env_values = true)]
    pgbench_url: String,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    ensure!(args.seconds > 0 && args.rounds > 0, "--seconds and --rounds are at least 1");
    ensure!(!args.concurrency.contains(&0), "a concurrency is at least 1");
    let serving = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let (stop, stopping) = watch::channel(false);
    let to = serving.block_on(listen(&args, stopping))?;
    let client = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = client.block_on(measure(&args, to))?;
    stop.send_replace(true);
    serving.shutdown_timeout(Duration::from_secs(2));
    let mut text = serde_json::to_string_pretty(&result)?;
    text.push('\n');
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}

/// The listener of webhooks over a migrated database with one firm.
async fn listen(args: &Args, stopping: watch::Receiver<bool>) -> anyhow::Result<SocketAddr> {
    Store::migrate(&args.platform_url).await?;
    let new = store::NewFirm { slug: "bench".to_owned(), name: "Bench".to_owned(), domains: Vec::new() };
    let firm = Store::ensure_firm(&args.platform_url, &new, SystemClock.now()).await?;
    let store = Store::connect(&store::Settings {
        url: Store::ensure_login(&args.platform_url, "bench-password-of-a-private-server").await?,
        instruments: Arc::new(tradesense::instruments::shipped()?),
        app_connections: 4,
        engine_connections: 1,
        worker_connections: 1,
        vault: testkit::vault(),
    })
    .await?;
    let tools = Tools {
        clock: Arc::new(SystemClock),
        rng: Arc::new(SeededRng::new(1)),
        roots: rustls::RootCertStore::empty(),
        limits: Limits::default(),
    };
    let settings = StripeSettings {
        mode: Mode::Test,
        key: stripe::KEY.to_owned(),
        address: Some("http://127.0.0.1:9".to_owned()),
    };
    let webhooks = StripeWebhooks::new(Mode::Test, vec![stripe::SECRET.to_owned()])?;
    let (intake, writing) = Intake::new(Arc::new(store), stopping.clone());
    tokio::spawn(writing);
    let router = web::notices::router(web::notices::Inbox {
        metrics: Arc::default(),
        intake,
        providers: Providers::default().with(
            firm,
            Arc::new(Stripe::new(settings, tools)?),
            Arc::new(webhooks),
        ),
        firms: Arc::new(BTreeMap::from([("bench".to_owned(), firm)])),
        clock: Arc::new(SystemClock),
        stopping,
    });
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    Ok(address)
}

/// The next event's number: none has another's name.
static NUMBER: AtomicU64 = AtomicU64::new(1);

async fn tell(http: &mut Connection) -> anyhow::Result<bool> {
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let created = SystemClock.now().micros().div_euclid(1_000_000);
    let body = format!(
        r#"{{"id":"evt_{number:024}","object":"event","api_version":"2026-10-28","created":{created},"livemode":false,"type":"payment_intent.succeeded","data":{{"object":{{"id":"pi_{number:024}","object":"payment_intent","amount":49900,"currency":"usd","description":"{}"}}}}}}"#,
        "x".repeat(FILLER)
    );
    let signed = stripe::sign(body.clone().into_bytes(), created, &[stripe::SECRET]);
    let signature = signed.header("stripe-signature");
    let request = Request {
        method: "POST",
        path: "/webhooks/bench/stripe",
        headers: &[("Stripe-Signature", &signature), ("Content-Type", "application/json")],
        body: &body,
    };
    let answer = http.ask(&request).await?;
    ensure!(matches!(answer.status, 200 | 503), "status {}", answer.status);
    Ok(answer.status == 200)
}

/// What came of a run.
#[derive(Default)]
struct Run {
    latencies: Vec<u64>,
    refused: u64,
}

impl Run {
    fn count(&mut self, kept: bool, took: Duration) {
        if kept {
            self.latencies.push(u64::try_from(took.as_micros()).unwrap_or(u64::MAX));
        } else {
            self.refused = self.refused.saturating_add(1);
        }
    }
}

/// Every connection tells the next event when the last was answered, or with a pace, at its own even one: so many in a thousand
/// seconds together, latency counting from when it was to be told.
async fn run(to: SocketAddr, connections: usize, length: Duration, pace: Option<u64>) -> anyhow::Result<Run> {
    let chance = SeededRng::new(1);
    let apart = match pace {
        None => None,
        Some(pace) => {
            let whole = u64::try_from(connections)?.saturating_mul(1_000_000_000);
            Some(whole.checked_div(pace).context("the load to halve is nothing")?)
        }
    };
    let mut tellers = Vec::with_capacity(connections);
    for _ in 0..connections {
        let mut http = Connection::open(to, Ipv4Addr::LOCALHOST).await?;
        let mut first = [0_u8; 8];
        chance.fill(&mut first);
        tellers.push(async move {
            let mut told = Run::default();
            let started = now();
            let mut due = Duration::from_micros(
                u64::from_be_bytes(first).checked_rem(apart.unwrap_or(1)).unwrap_or_default(),
            );
            loop {
                let sent = match apart {
                    None => now().duration_since(started),
                    Some(apart) => {
                        tokio::time::sleep(due.saturating_sub(now().duration_since(started))).await;
                        let was_due = due;
                        due = due.saturating_add(Duration::from_micros(apart));
                        was_due
                    }
                };
                if sent > length {
                    return anyhow::Ok(told);
                }
                let kept = tell(&mut http).await?;
                told.count(kept, now().duration_since(started).saturating_sub(sent));
            }
        });
    }
    let mut all = Run::default();
    let mut tasks = tokio::task::JoinSet::new();
    for teller in tellers {
        tasks.spawn(teller);
    }
    while let Some(told) = tasks.join_next().await {
        let told = told??;
        all.latencies.extend(told.latencies);
        all.refused = all.refused.saturating_add(told.refused);
    }
    Ok(all)
}

fn per_kilosecond(count: usize, seconds: u64) -> u64 {
    let count = u64::try_from(count).unwrap_or(u64::MAX);
    count.saturating_mul(1_000).checked_div(seconds).unwrap_or_default()
}

async fn measure(args: &Args, to: SocketAddr) -> anyhow::Result<Value> {
    let program = args.pgbench.as_path();
    let mut acknowledged = run(to, HEADLINE, WARM_UP, None).await?.latencies.len();
    pgbench(program, &args.pgbench_url, HEADLINE, WARM_UP.as_secs())?;
    let length = Duration::from_secs(args.seconds);
    let mut rows: BTreeMap<usize, (Run, Vec<u64>)> = BTreeMap::new();
    for _ in 0..args.rounds {
        for concurrency in &args.concurrency {
            let ours = run(to, *concurrency, length, None).await?;
            acknowledged = acknowledged.saturating_add(ours.latencies.len());
            let theirs = pgbench(program, &args.pgbench_url, *concurrency, args.seconds)?;
            let (all, tps) = rows.entry(*concurrency).or_default();
            all.latencies.extend(ours.latencies);
            all.refused = all.refused.saturating_add(ours.refused);
            tps.push(theirs);
        }
    }
    let seconds = args.seconds.saturating_mul(args.rounds);
    let mut shown: BTreeMap<usize, Value> = BTreeMap::new();
    for (concurrency, (ours, theirs)) in &mut rows {
        let told = per_kilosecond(ours.latencies.len(), seconds);
        let tps = theirs.iter().sum::<u64>().checked_div(args.rounds).unwrap_or_default();
        let ratio = told.saturating_mul(1_000).checked_div(tps).unwrap_or_default();
        let row = json!({
            "concurrency": concurrency,
            "webhooks_per_second": thousandths(told)?,
            "pgbench_tps": thousandths(tps)?,
            "ratio": thousandths(ratio)?,
            "p50_ms": thousandths(percentile(&mut ours.latencies, 50))?,
            "p99_ms": thousandths(percentile(&mut ours.latencies, 99))?,
            "max_ms": thousandths(percentile(&mut ours.latencies, 100))?,
            "refused": ours.refused,
        });
        shown.insert(*concurrency, row);
    }
    let (headline, _) = rows.get(&HEADLINE).or(rows.values().next_back()).context("nothing was measured")?;
    let half = per_kilosecond(headline.latencies.len(), seconds).div_euclid(2);
    let mut paced = run(to, HEADLINE, length, Some(half)).await?;
    acknowledged = acknowledged.saturating_add(paced.latencies.len());
    let mut database = sqlx::PgConnection::connect(&args.platform_url).await?;
    let stored: i64 =
        sqlx::query_scalar("select count(*) from provider_notices").fetch_one(&mut database).await?;
    let stored = usize::try_from(stored)?;
    ensure!(stored >= acknowledged, "{acknowledged} were acknowledged, but only {stored} are stored");
    let mut result = shown.get(&HEADLINE).or(shown.values().next_back()).cloned().unwrap_or_default();
    result["p99_ms"] = thousandths(percentile(&mut paced.latencies, 99))?;
    result["half_load"] = json!({
        "webhooks_per_second": thousandths(half)?,
        "p50_ms": thousandths(percentile(&mut paced.latencies, 50))?,
        "p99_ms": result["p99_ms"],
        "max_ms": thousandths(percentile(&mut paced.latencies, 100))?,
        "refused": paced.refused,
    });
    result["rows"] = shown.into_values().collect();
    result["acknowledged"] = json!(acknowledged);
    result["stored"] = json!(stored);
    result["conditions"] = json!({
        "webhook": "a signed event of Stripe's of 2.8 kB, each with a name of its own; stored with its bytes, waiting to be followed",
        "seconds": args.seconds,
        "rounds": args.rounds,
        "pgbench": "simple-update (-N), scale 10, -M prepared, 2 threads",
        "processors": std::thread::available_parallelism().map_or(0, std::num::NonZeroUsize::get),
        "server": server_settings(&args.pgbench_url).await?,
    });
    Ok(result)
}
