//! Durable orders over HTTP beside pgbench on the same server. Run it with `cargo xtask bench orders`, which starts that
//! server and says where it is; prints one JSON object.
//!
//! An order here is a command of a trader that is filled at the market: it opens 0.01 lots of EURUSD, and the next one of
//! the same account closes them, so that no account ever holds more than one position. It counts when its answer with a
//! status of success has arrived; the platform gives that only after the commit. At the end the fills in the database are
//! counted: there must be one for every order acknowledged.
//!
//! The client runs on one thread and speaks just enough HTTP/1.1, because it shares the machine with what it measures.
#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value that has no such field gives null, and takes a new one"
)]

mod load;

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use clap::Parser;
use kernel::SeededRng;
use serde::Deserialize;
use serde_json::{Value, json};
use sqlx::Connection as _;

use load::{Answer, Connection, Request, now, percentile, pgbench, server_settings, thousandths};

/// The figures at the top of the result are those at this concurrency.
const HEADLINE: usize = 32;
/// Registrations from one address before the next takes over: the platform counts them by address.
const REGISTRATIONS_OF_ADDRESS: usize = 50;
/// Both sides run this long before anything counts.
const WARM_UP: Duration = Duration::from_secs(3);
/// Its limits are so tight that whoever stakes everything ends at one of the next quotes.
const BRIEF_PROGRAM: &str = "sprint-25k";
/// At half load so long at least, so that prices get somewhere.
const HALF_LOAD: Duration = Duration::from_secs(20);
/// How long what the platform counts may take to be stored.
const COUNTED_AFTER: Duration = Duration::from_secs(6);
/// Every pair of orders loses the spread and the commission: this program leaves room for more losing trades than any run makes.
const PROGRAM: &str = "two-step-100k";

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
    /// Accounts, each with a trader and a session of its own.
    #[arg(long, default_value_t = 64)]
    accounts: usize,
    /// Accounts that stake everything at half load, for the time from a quote to the durable verdict that it caused.
    #[arg(long, default_value_t = 100)]
    stakes: usize,
    /// In place of everything else: three times what was done at the last concurrency is asked for from so many connections,
    /// one account each.
    #[arg(long)]
    overload: bool,
    /// Of the simulated market and of the pace at half load.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The program pgbench.
    #[arg(long)]
    pgbench: PathBuf,
    /// An empty directory for the platform.
    #[arg(long)]
    data_dir: PathBuf,
    /// An empty database for the platform.
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
    let most = args.concurrency.iter().copied().max().context("--concurrency names none")?;
    ensure!(
        !args.concurrency.contains(&0) && most <= args.accounts,
        "a concurrency is from 1 to the number of accounts"
    );
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(measure(&args))?;
    let mut text = serde_json::to_string_pretty(&result)?;
    text.push('\n');
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}

async fn measure(args: &Args) -> anyhow::Result<Value> {
    let platform = Platform::start(args)?;
    let mut accounts = Vec::with_capacity(args.accounts);
    for number in 0..args.accounts {
        accounts.push(Account::open(platform.address, number, args.seed, PROGRAM).await?);
    }
    let mut stakes = Vec::with_capacity(args.stakes);
    for number in args.accounts..args.accounts.saturating_add(args.stakes) {
        stakes.push(Account::open(platform.address, number, args.seed, BRIEF_PROGRAM).await?);
    }
    wait_for_market(platform.address).await?;

    let mut acknowledged = 0_usize;
    let warm_up = closed_loop(platform.address, &mut accounts, args.accounts.min(HEADLINE), WARM_UP).await?;
    acknowledged = acknowledged.saturating_add(warm_up.latencies.len());
    pgbench(&args.pgbench, &args.pgbench_url, args.accounts.min(HEADLINE), WARM_UP.as_secs())?;

    if args.overload {
        return overload(args, platform.address, &mut accounts).await;
    }
    let mut rows: Vec<Row> = args.concurrency.iter().map(|concurrency| Row::new(*concurrency)).collect();
    let run = Duration::from_secs(args.seconds);
    for _ in 0..args.rounds {
        for row in &mut rows {
            let ours = closed_loop(platform.address, &mut accounts, row.concurrency, run).await?;
            acknowledged = acknowledged.saturating_add(ours.latencies.len());
            row.seconds = row.seconds.saturating_add(args.seconds);
            row.ours.add(ours);
            let theirs = pgbench(&args.pgbench, &args.pgbench_url, row.concurrency, args.seconds)?;
            row.pgbench_millitps.push(theirs);
        }
    }
    let headline = rows.iter().find(|row| row.concurrency == HEADLINE).or(rows.last());
    let headline = headline.context("nothing was measured")?;
    let half = headline.orders_per_kilosecond().div_euclid(2);
    let (paced, all_in) = tokio::join!(
        paced(platform.address, &mut accounts, half, run.max(HALF_LOAD), args.seed),
        stake(platform.address, &stakes)
    );
    let (mut paced, ()) = (paced?, all_in?);
    acknowledged = acknowledged.saturating_add(paced.latencies.len());
    let mut verdicts = verdicts(platform.address, &stakes).await?;
    let stored = stored_fills(&args.platform_url).await?;
    ensure!(
        stored >= acknowledged,
        "{acknowledged} orders were acknowledged, but only {stored} fills are stored"
    );

    let mut result = headline.json()?;
    result["p99_ms_at_half_load"] = thousandths(percentile(&mut paced.latencies, 99))?;
    result["half_load"] = json!({
        "orders_per_second": thousandths(half)?,
        "connections": args.accounts,
        "p50_ms": thousandths(percentile(&mut paced.latencies, 50))?,
        "p99_ms": result["p99_ms_at_half_load"],
        "max_ms": thousandths(percentile(&mut paced.latencies, 100))?,
        "refused": paced.refused,
    });
    result["verdicts_at_half_load"] = json!({
        "stakes": args.stakes,
        "verdicts": verdicts.len(),
        "quote_to_durable_p50_ms": thousandths(percentile(&mut verdicts, 50))?,
        "quote_to_durable_p99_ms": thousandths(percentile(&mut verdicts, 99))?,
        "quote_to_durable_max_ms": thousandths(percentile(&mut verdicts, 100))?,
    });
    result["rows"] = rows.iter().map(Row::json).collect::<anyhow::Result<_>>()?;
    result["acknowledged"] = json!(acknowledged);
    result["stored"] = json!(stored);
    result["conditions"] = json!({
        "order": "opens or closes 0.01 lots of EURUSD at the market, alternating in each account",
        "accounts": args.accounts,
        "seconds": args.seconds,
        "rounds": args.rounds,
        "seed": args.seed,
        "pgbench": "simple-update (-N), scale 10, -M prepared, 2 threads",
        "processors": std::thread::available_parallelism().map_or(0, std::num::NonZeroUsize::get),
        "server": server_settings(&args.pgbench_url).await?,
    });
    Ok(result)
}

/// What becomes of three times as many orders as can be done, and how soon one is done as before once that is over.
async fn overload(args: &Args, platform: SocketAddr, accounts: &mut Vec<Account>) -> anyhow::Result<Value> {
    let run = Duration::from_secs(args.seconds);
    let mut row = Row::new(args.concurrency.last().copied().unwrap_or(HEADLINE));
    row.ours = closed_loop(platform, accounts, row.concurrency, run).await?;
    row.seconds = args.seconds;
    let mut before = row.ours.latencies.clone();
    let asked = row.orders_per_kilosecond().saturating_mul(3);
    let connections = accounts.len();
    let mut flood = flood(platform, accounts, asked, run).await?;
    let over = now();
    let mut http = Connection::open(platform, Ipv4Addr::LOCALHOST).await?;
    let normal = Duration::from_micros(percentile(&mut before, 99));
    let account = accounts.first_mut().context("nobody trades")?;
    let mut recovered = over;
    // Ten in a row as quick as before.
    let mut quick = 0_usize;
    while quick < 10 {
        let sent = now();
        let acknowledged = account.trade(&mut http).await?;
        recovered = now();
        quick = if acknowledged && recovered.duration_since(sent) <= normal {
            quick.saturating_add(1)
        } else {
            0
        };
        ensure!(recovered.duration_since(over) < Duration::from_mins(1), "it does not recover");
    }
    let accepted = u64::try_from(flood.latencies.len())?;
    Ok(json!({
        "capacity_per_second": thousandths(row.orders_per_kilosecond())?,
        "capacity_p99_ms": thousandths(percentile(&mut before, 99))?,
        "connections": connections,
        "asked_per_second": accepted.saturating_add(flood.refused).checked_div(args.seconds),
        "accepted_per_second": accepted.checked_div(args.seconds),
        "refused_per_second": flood.refused.checked_div(args.seconds),
        "accepted_p50_ms": thousandths(percentile(&mut flood.latencies, 50))?,
        "accepted_p99_ms": thousandths(percentile(&mut flood.latencies, 99))?,
        "accepted_max_ms": thousandths(percentile(&mut flood.latencies, 100))?,
        "recovered_after_ms": u64::try_from(recovered.duration_since(over).as_millis())?,
    }))
}

/// The result at one concurrency.
struct Row {
    concurrency: usize,
    seconds: u64,
    ours: Answers,
    pgbench_millitps: Vec<u64>,
}

impl Row {
    fn new(concurrency: usize) -> Self {
        Self { concurrency, seconds: 0, ours: Answers::default(), pgbench_millitps: Vec::new() }
    }

    fn orders_per_kilosecond(&self) -> u64 {
        let orders = u64::try_from(self.ours.latencies.len()).unwrap_or(u64::MAX);
        orders.saturating_mul(1_000).checked_div(self.seconds).unwrap_or_default()
    }

    fn json(&self) -> anyhow::Result<Value> {
        let ours = self.orders_per_kilosecond();
        let rounds = u64::try_from(self.pgbench_millitps.len())?;
        let theirs = self.pgbench_millitps.iter().sum::<u64>().checked_div(rounds).unwrap_or_default();
        let ratio = ours.saturating_mul(1_000).checked_div(theirs).unwrap_or_default();
        let mut latencies = self.ours.latencies.clone();
        Ok(json!({
            "concurrency": self.concurrency,
            "orders_per_second": thousandths(ours)?,
            "pgbench_tps": thousandths(theirs)?,
            "ratio": thousandths(ratio)?,
            "p50_ms": thousandths(percentile(&mut latencies, 50))?,
            "p99_ms": thousandths(percentile(&mut latencies, 99))?,
            "max_ms": thousandths(percentile(&mut latencies, 100))?,
            "refused": self.ours.refused,
        }))
    }
}

/// `tradesense up` without bots on a simulated market.
struct Platform {
    child: Child,
    address: SocketAddr,
}

impl Platform {
    fn start(args: &Args) -> anyhow::Result<Self> {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tradesense"))
            .args([
                "up",
                "--no-bots",
                "--simulate",
                "--port",
                "0",
                "--seed",
                &args.seed.to_string(),
                "--data-dir",
            ])
            .arg(&args.data_dir)
            .env("DATABASE_URL", &args.platform_url)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("starting the platform")?;
        let out = child.stdout.take();
        let mut platform = Self { child, address: SocketAddr::from(([127, 0, 0, 1], 0)) };
        let lines = BufReader::new(out.context("reading what the platform says")?).lines();
        let address = lines
            .map_while(Result::ok)
            .find_map(|line| line.split_once(" at http://").map(|(_, address)| address.to_owned()));
        platform.address = address.context("the platform did not start")?.parse()?;
        Ok(platform)
    }
}

impl Drop for Platform {
    fn drop(&mut self) {
        // It has ended by itself if it cannot be killed; its data is thrown away.
        let _ended = self.child.kill();
        let _ended = self.child.wait();
    }
}

/// Asks as whoever has the cookie, under a key.
async fn ask(
    http: &mut Connection,
    (method, path): (&str, &str),
    cookie: &str,
    key: &str,
    body: &str,
) -> anyhow::Result<Answer> {
    let headers = [("Cookie", cookie), ("Idempotency-Key", key), ("Content-Type", "application/json")];
    http.ask(&Request { method, path, headers: &headers, body }).await
}

/// A trader's account and where its next order stands.
struct Account {
    orders: String,
    positions: String,
    latencies: String,
    cookie: String,
    name: String,
    sent: u64,
    open: Option<u32>,
}

/// The answers of a run.
#[derive(Default)]
struct Answers {
    /// Of every order acknowledged, in microseconds.
    latencies: Vec<u64>,
    refused: u64,
}

impl Answers {
    fn add(&mut self, other: Self) {
        self.latencies.extend(other.latencies);
        self.refused = self.refused.saturating_add(other.refused);
    }
}

#[derive(Deserialize)]
struct Opened {
    position: u32,
}

impl Account {
    /// Registers somebody, buys a challenge and waits for its account.
    async fn open(platform: SocketAddr, number: usize, seed: u64, program: &str) -> anyhow::Result<Self> {
        let from = u8::try_from(number.div_euclid(REGISTRATIONS_OF_ADDRESS)).context("too many accounts")?;
        let mut http = Connection::open(platform, Ipv4Addr::new(127, 0, 0, from.saturating_add(1))).await?;
        let mut cookie = String::new();
        let mut ask = async |method: &str, path: &str, body: &Value| -> anyhow::Result<Value> {
            let body = body.to_string();
            let answer = ask(&mut http, (method, path), &cookie, "buy", &body).await?;
            let said = String::from_utf8_lossy(&answer.body);
            ensure!(answer.status < 400, "{method} {path} was answered with {}: {said}", answer.status);
            if let Some(set) = answer.cookie {
                cookie = set;
            }
            Ok(serde_json::from_str(&said).unwrap_or_default())
        };
        let person = json!({
            "email": format!("trader-{number}@bench.example"),
            "password": "a quiet street in early May!",
            "display_name": format!("Trader {number}"),
        });
        ask("POST", "/v1/auth/register", &person).await?;
        let offer = ask("GET", &format!("/v1/programs/{program}"), &json!({})).await?;
        let wanted = json!({ "program": program, "version": offer["version"] });
        let purchase = ask("POST", "/v1/purchases", &wanted).await?;
        let page = purchase["checkout_url"].as_str().context("a purchase has no page")?;
        ask("POST", &format!("{page}/pay"), &json!({})).await?;
        let id = loop {
            let challenges = ask("GET", "/v1/challenges", &json!({})).await?;
            if let Some(id) = challenges["items"][0]["accounts"][0]["id"].as_str() {
                break id.to_owned();
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        Ok(Self {
            orders: format!("/v1/accounts/{id}/orders"),
            positions: format!("/v1/accounts/{id}/positions"),
            latencies: format!("/v1/accounts/{id}/latencies"),
            cookie,
            name: format!("{seed}-{number}"),
            sent: 0,
            open: None,
        })
    }

    /// Sends the next order and reads its answer: whether it was acknowledged.
    async fn trade(&mut self, http: &mut Connection) -> anyhow::Result<bool> {
        let (path, body) = match self.open {
            None => {
                (self.orders.clone(), r#"{"symbol":"EURUSD","side":"buy","kind":"market","quantity":"0.01"}"#)
            }
            Some(ticket) => (format!("{}/{ticket}/close", self.positions), "{}"),
        };
        let key = format!("{}-{}", self.name, self.sent);
        self.sent = self.sent.saturating_add(1);
        let answer = ask(http, ("POST", &path), &self.cookie, &key, body).await?;
        match answer.status {
            201 => self.open = Some(serde_json::from_slice::<Opened>(&answer.body)?.position),
            200 => self.open = None,
            // The market may pause and the queue be full; everything else is a fault of this measurement.
            409 | 503 => return Ok(false),
            status => bail!("{path} was answered with {status}: {}", String::from_utf8_lossy(&answer.body)),
        }
        Ok(true)
    }
}

/// Stakes everything that these accounts have.
async fn stake(platform: SocketAddr, accounts: &[Account]) -> anyhow::Result<()> {
    let mut http = Connection::open(platform, Ipv4Addr::LOCALHOST).await?;
    for (number, account) in accounts.iter().enumerate() {
        // Whichever way the price goes.
        let side = if number.is_multiple_of(2) { "buy" } else { "sell" };
        let order = json!({ "symbol": "EURUSD", "side": side, "kind": "market", "quantity": "16" });
        let body = &order.to_string();
        let (path, cookie) = (&account.orders, &account.cookie);
        let answer = ask(&mut http, ("POST", path), cookie, "all", body).await?;
        ensure!(answer.status == 201, "{}", String::from_utf8_lossy(&answer.body));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// How long it took from the quote to the durable verdict in each of these accounts that has ended, as the platform counted.
async fn verdicts(platform: SocketAddr, accounts: &[Account]) -> anyhow::Result<Vec<u64>> {
    tokio::time::sleep(COUNTED_AFTER).await;
    let mut http = Connection::open(platform, Ipv4Addr::LOCALHOST).await?;
    let mut took = Vec::new();
    for account in accounts {
        let (path, cookie) = (&account.latencies, &account.cookie);
        let answer = ask(&mut http, ("GET", path), cookie, "", "").await?;
        let days: Value = serde_json::from_slice(&answer.body)?;
        took.extend(days["items"][0]["verdict_durable"]["max_us"].as_u64());
    }
    Ok(took)
}

/// The accounts in as many hands as there are to be.
fn deal(accounts: &mut Vec<Account>, hands: usize) -> Vec<Vec<Account>> {
    let mut dealt: Vec<Vec<Account>> = (0..hands).map(|_| Vec::new()).collect();
    while let Some(account) = accounts.pop() {
        let hand = accounts.len().checked_rem(hands).unwrap_or_default();
        if let Some(hand) = dealt.get_mut(hand) {
            hand.push(account);
        }
    }
    dealt
}

/// Every connection sends its next order when the last was answered.
async fn closed_loop(
    platform: SocketAddr,
    accounts: &mut Vec<Account>,
    concurrency: usize,
    length: Duration,
) -> anyhow::Result<Answers> {
    let mut hands = Vec::with_capacity(concurrency);
    for mut own in deal(accounts, concurrency) {
        let mut http = Connection::open(platform, Ipv4Addr::LOCALHOST).await?;
        hands.push(async move {
            let mut answers = Answers::default();
            let started = now();
            'all: loop {
                for account in &mut own {
                    let sent = now();
                    let acknowledged = account.trade(&mut http).await?;
                    let answered = now();
                    if answered.duration_since(started) > length {
                        break 'all;
                    }
                    answers.count(acknowledged, answered.duration_since(sent));
                }
            }
            anyhow::Ok((own, answers))
        });
    }
    gather(accounts, hands).await
}

/// Every connection, one for each account, sends at its own even pace, so many in a thousand seconds together. Latency
/// counts from when an order was to be sent: one that waits for the answer to the last waits at its own cost.
async fn paced(
    platform: SocketAddr,
    accounts: &mut Vec<Account>,
    orders_per_kilosecond: u64,
    length: Duration,
    seed: u64,
) -> anyhow::Result<Answers> {
    let chance = SeededRng::new(seed);
    let connections = accounts.len();
    let apart = u64::try_from(connections)?.saturating_mul(1_000_000_000);
    let apart = apart.checked_div(orders_per_kilosecond).context("the load to halve is nothing")?;
    let mut hands = Vec::with_capacity(connections);
    for mut own in deal(accounts, connections) {
        let mut http = Connection::open(platform, Ipv4Addr::LOCALHOST).await?;
        let first = u64::try_from(chance.between(0, i64::try_from(apart)?))?;
        hands.push(async move {
            let mut answers = Answers::default();
            let started = now();
            let mut due = Duration::from_micros(first);
            while due < length {
                for account in &mut own {
                    let wait = due.saturating_sub(now().duration_since(started));
                    if !wait.is_zero() {
                        tokio::time::sleep(wait).await;
                    }
                    let acknowledged = account.trade(&mut http).await?;
                    answers.count(acknowledged, now().duration_since(started).saturating_sub(due));
                    due = due.saturating_add(Duration::from_micros(apart));
                }
            }
            anyhow::Ok((own, answers))
        });
    }
    gather(accounts, hands).await
}

/// Every connection asks at its own even pace, or as soon as it was answered if that is later, so many in a thousand seconds
/// together. Latency counts from when an order was sent.
async fn flood(
    platform: SocketAddr,
    accounts: &mut Vec<Account>,
    orders_per_kilosecond: u64,
    length: Duration,
) -> anyhow::Result<Answers> {
    let connections = accounts.len();
    let apart = u64::try_from(connections)?.saturating_mul(1_000_000_000);
    let apart = Duration::from_micros(apart.checked_div(orders_per_kilosecond).unwrap_or_default());
    let mut hands = Vec::with_capacity(connections);
    for mut own in deal(accounts, connections) {
        let mut http = Connection::open(platform, Ipv4Addr::LOCALHOST).await?;
        hands.push(async move {
            let mut answers = Answers::default();
            let started = now();
            let mut due = started;
            while now().duration_since(started) < length {
                for account in &mut own {
                    tokio::time::sleep_until(due.into()).await;
                    let sent = now();
                    let acknowledged = account.trade(&mut http).await?;
                    answers.count(acknowledged, now().duration_since(sent));
                    due = due.checked_add(apart).map_or_else(now, |next| next.max(now()));
                }
            }
            anyhow::Ok((own, answers))
        });
    }
    gather(accounts, hands).await
}

impl Answers {
    fn count(&mut self, acknowledged: bool, latency: Duration) {
        if acknowledged {
            self.latencies.push(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        } else {
            self.refused = self.refused.saturating_add(1);
        }
    }
}

/// Runs all hands at once; the accounts come back.
async fn gather(
    accounts: &mut Vec<Account>,
    hands: Vec<impl Future<Output = anyhow::Result<(Vec<Account>, Answers)>> + Send + 'static>,
) -> anyhow::Result<Answers> {
    let running: Vec<_> = hands.into_iter().map(tokio::spawn).collect();
    let mut all = Answers::default();
    for hand in running {
        let (own, answers) = hand.await??;
        accounts.extend(own);
        all.add(answers);
    }
    Ok(all)
}

async fn wait_for_market(platform: SocketAddr) -> anyhow::Result<()> {
    let mut http = Connection::open(platform, Ipv4Addr::LOCALHOST).await?;
    for _ in 0..1_000 {
        let quotes: Value =
            serde_json::from_slice(&ask(&mut http, ("GET", "/v1/market/quotes"), "", "", "").await?.body)?;
        let fresh = |quote: &Value| quote["symbol"] == "EURUSD" && quote["stale"] == false;
        if quotes["items"].as_array().is_some_and(|quotes| quotes.iter().any(fresh)) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    bail!("EURUSD never had a fresh quote")
}

async fn stored_fills(url: &str) -> anyhow::Result<usize> {
    let mut database = sqlx::PgConnection::connect(url).await.context("connecting to the database")?;
    let fills: i64 = sqlx::query_scalar("select count(*) from fills").fetch_one(&mut database).await?;
    Ok(usize::try_from(fills)?)
}
