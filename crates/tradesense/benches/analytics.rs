//! Boards over HTTP beside PostgreSQL's window function over the same rows on the same machine. Run it with
//! `cargo xtask bench analytics`, which starts the server and says where it is; prints one JSON object.
//!
//! Accounts are written straight into the trading tables, with what a third of them realised over forty days; everything else
//! is the product: the read rows are made by `Store::rebuild_some`, the boards loaded by `analytics::follow_once`, and asked
//! over one connection and over several. Every rank that was asked for is compared with the window function's.
#![expect(
    clippy::indexing_slicing,
    reason = "a JSON value that has no such field gives null, and takes a new one"
)]

use std::collections::BTreeMap;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use analytics::{Analytics, Parts};
use anyhow::{Context as _, ensure};
use app::Role;
use app::catalogue::Catalogue;
use app::identity::{Cost, Identity, Password, Registration};
use clap::Parser;
use kernel::{AccountId, Clock, FirmId, RequestId, SeededRng};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, Row as _};
use store::{NewFirm, Replicas, Settings, Store};
use streams::MemoryCache;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tradesense::system::SystemClock;

const PASSWORD: &str = "a quiet street in May";
/// Accounts counted in one transaction.
const CHUNK: i64 = 500;

#[derive(Debug, Parser)]
struct Args {
    /// Accounts on the board.
    #[arg(long, default_value_t = 1_000_000)]
    accounts: i64,
    /// Seconds of every run over HTTP.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Connections of the second run.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Times that the window function is asked for the rank of somebody.
    #[arg(long, default_value_t = 10)]
    windows: usize,
    /// Closed positions of the account that has very many.
    #[arg(long, default_value_t = 100_000)]
    positions: i64,
    /// Of whom is asked.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// An empty database, as its owner.
    #[arg(long, env = "TRADESENSE_BENCH_DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// Given by `cargo bench`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    ensure!(args.accounts > 0 && args.seconds > 0 && args.windows > 0, "everything is at least 1");
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(measure(&args))?;
    let mut text = serde_json::to_string_pretty(&result)?;
    text.push('\n');
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}

async fn measure(args: &Args) -> anyhow::Result<Value> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    Store::migrate(&args.database_url).await?;
    let new = NewFirm { slug: "bench".to_owned(), name: "Bench".to_owned(), domains: Vec::new() };
    let firm = Store::ensure_firm(&args.database_url, &new, clock.now()).await?;
    let login = Store::ensure_login(&args.database_url, "an open secret").await?;
    let settings = Settings {
        url: login,
        instruments: testkit::instruments(),
        app_connections: 8,
        engine_connections: 2,
        worker_connections: 2,
        vault: testkit::vault(),
    };
    let store = Arc::new(Store::connect(&settings).await?);
    let rng = Arc::new(SeededRng::new(args.seed));
    let cost = Cost { memory: 64, passes: 1, lanes: 1 };
    let identity = Arc::new(Identity::new(store.clone(), clock.clone(), rng.clone(), 2, cost));
    let context = app::Context { firm, actor: None, request: RequestId::random(clock.now(), &*rng) };
    let registration = Registration {
        email: "admin@bench.example".to_owned(),
        password: Password::new(PASSWORD),
        display_name: "Admin".to_owned(),
        region: None,
    };
    identity.ensure_person(&context, registration, vec![Role::Admin]).await?;
    let password = Password::new(PASSWORD);
    let (_, session) = identity.sign_in(&context, "admin@bench.example", password, "::1").await?;
    let mut owner = PgConnection::connect(&args.database_url).await?;
    fill(&mut owner, firm, args.accounts).await?;

    let started = now();
    store.begin_rebuild(firm).await?;
    while !store.rebuild_some(firm, CHUNK).await? {}
    let rebuilt = started.elapsed();
    owner.execute("vacuum analyze account_scores, account_results, accounts, challenges").await?;

    let projected = Arc::new(Notify::new());
    let analytics = Analytics::new(Parts {
        identity,
        catalogue: Arc::new(Catalogue::new(store.clone(), testkit::instruments(), clock.clone())),
        replicas: Arc::new(Replicas::new(store.clone(), &[], 1, clock.clone())?),
        store: store.clone(),
        cache: Arc::new(MemoryCache::new(clock.clone())),
        firms: Arc::new(serve::Firms { by_host: BTreeMap::new(), otherwise: Some(firm) }),
        metrics: Arc::default(),
        clock: clock.clone(),
        rng: rng.clone(),
        projected,
        stopping: tokio::sync::watch::Sender::default().subscribe(),
    });
    let started = now();
    analytics::follow_once(&analytics).await?;
    let loaded = started.elapsed();
    let (bytes, accounts) = analytics.memory();
    ensure!(i64::try_from(accounts)? == args.accounts, "{accounts} accounts were loaded");

    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let service =
        analytics::router(analytics.clone()).into_make_service_with_connect_info::<serve::door::Peer>();
    let server = tokio::spawn(async move { axum::serve(listener, service).await });

    let ids: Vec<AccountId> =
        sqlx::query_scalar("select id from accounts order by md5(id::text) limit 20000")
            .fetch_all(&mut owner)
            .await?
            .into_iter()
            .map(AccountId::from_uuid)
            .collect();
    let rank = |number: usize| {
        let id = number.checked_rem(ids.len()).and_then(|index| ids.get(index)).copied();
        let id = id.map(|id| id.to_string()).unwrap_or_default();
        format!("/v1/analytics/accounts/{id}/rank?neighbours=2")
    };
    let top = |_: usize| "/v1/analytics/leaderboard?program=bench&limit=100".to_owned();
    let client = Client { address, cookie: format!("ts_session={}", session.reveal()) };
    let length = Duration::from_secs(args.seconds);
    client.run(1, Duration::from_secs(1), &rank).await?;
    let rank_alone = client.run(1, length, &rank).await?;
    let rank_together = client.run(args.connections, length, &rank).await?;
    let top_alone = client.run(1, length, &top).await?;
    let top_together = client.run(args.connections, length, &top).await?;

    // The same ranks by the window function, over the read rows and over the trading tables themselves.
    let over_rows =
        "select rank from (select account_id, rank() over (order by ppm desc) as rank from account_scores
             where firm_id = $1 and version = 1 and slug = 'bench' and phase = 0 and period = 'all') ranked
         where account_id = $2";
    let over_truth = "select rank from (
             select account.id as account_id,
                    rank() over (order by (account.balance_micros::numeric - account.initial_micros)
                                          / account.initial_micros desc) as rank
             from challenges challenge
             join accounts account on account.firm_id = challenge.firm_id and account.challenge_id = challenge.id
             where challenge.firm_id = $1 and challenge.slug = 'bench' and account.phase = 0) ranked
         where account_id = $2";
    let (mut rows, mut truth) = (Vec::new(), Vec::new());
    for id in ids.iter().take(args.windows) {
        let of_rows = window(&mut owner, over_rows, firm, *id, &mut rows).await?;
        let of_truth = window(&mut owner, over_truth, firm, *id, &mut truth).await?;
        let path = format!("/v1/analytics/accounts/{id}/rank");
        let answer: Value = serde_json::from_slice(&client.connect().await?.get(&path).await?)?;
        let ours = answer["line"]["rank"].as_i64();
        ensure!(ours == Some(of_rows) && of_rows == of_truth, "{id}: {ours:?}, {of_rows} and {of_truth}");
    }
    let mut top_rows = Vec::new();
    for _ in 0..args.windows {
        let started = now();
        let lines = sqlx::query(
            "select account_id, rank() over (order by ppm desc) as rank from account_scores
             where firm_id = $1 and version = 1 and slug = 'bench' and phase = 0 and period = 'all'
             order by 2, opened_at, account_id limit 100",
        )
        .bind(firm.uuid())
        .fetch_all(&mut owner)
        .await?;
        ensure!(lines.len() == 100, "the window function gave {} lines", lines.len());
        top_rows.push(started.elapsed());
    }

    let moved = move_some(&analytics, &mut owner, firm).await?;
    let many = many_positions(&store, &mut owner, firm, args.positions).await?;
    server.abort();
    let windows = percentile(&mut rows, 50).max(1);
    Ok(json!({
        "rank": rank_alone.json(),
        "rank_at_once": rank_together.json(),
        "top_100": top_alone.json(),
        "top_100_at_once": top_together.json(),
        "window_function": {
            "rank_over_read_rows": micros(&mut rows),
            "rank_over_trading_tables": micros(&mut truth),
            "top_100_over_read_rows": micros(&mut top_rows),
        },
        "times_faster_for_a_rank": windows.checked_div(percentile(&mut rank_alone.took.clone(), 50).max(1)),
        "times_faster_for_a_rank_than_over_trading_tables":
            percentile(&mut truth, 50).checked_div(percentile(&mut rank_alone.took.clone(), 50).max(1)),
        "read_rows_made_ms": millis(rebuilt),
        "boards_loaded_ms": millis(loaded),
        "board_bytes": bytes,
        "board_bytes_per_account": bytes.checked_div(accounts),
        "thousand_accounts_moved": moved,
        "account_with_many_positions": many,
        "conditions": {
            "accounts": args.accounts,
            "ranks_compared": args.windows,
            "seconds": args.seconds,
            "connections_at_once": args.connections,
            "processors": std::thread::available_parallelism().map_or(0, std::num::NonZeroUsize::get),
            "server": "one process with the client, HTTP/1.1 over loopback, a session checked for every rank",
        },
    }))
}

/// Accounts of one program, four to each trader, a third of which have realised something.
async fn fill(owner: &mut PgConnection, firm: FirmId, accounts: i64) -> anyhow::Result<()> {
    // Keys to other tables are not looked at: there is no purchase.
    owner.execute("set session_replication_role = replica").await?;
    owner.execute("insert into shards (id, epoch, seq, quote_position, at, mark_position) values (0, 0, 0, 0, now(), 0)").await?;
    owner.execute("create table bench as select 0 as n, gen_random_uuid() as id, gen_random_uuid() as person, gen_random_uuid() as challenge, 0::bigint as realised, now() as at limit 0").await?;
    sqlx::query(
        "insert into bench
         select n, gen_random_uuid(), md5('trader ' || n / 4)::uuid, gen_random_uuid(),
                case when n % 3 = 0 then (random() * 12000)::bigint * 1000000 - 5000000000 else 0 end,
                now() - random() * interval '40 days'
         from generate_series(1, $1) n",
    )
    .bind(accounts)
    .execute(&mut *owner)
    .await?;
    for sql in [
        "insert into people (firm_id, id, email, display_name, password_hash, roles, created_at)
         select distinct on (person) $1, person, person || '@bench.example', 'Trader ' || n, '', '{trader}', at from bench",
        "insert into challenges (firm_id, id, purchase_id, person_id, slug, version, created_at, opened_at)
         select $1, challenge, challenge, person, 'bench', repeat('0', 64), at, at from bench",
        "insert into accounts (firm_id, id, challenge_id, shard, version, phase, status, currency, initial_micros,
                               balance_micros, track, next_ticket, next_fill, next_entry, next_verdict, opened_at,
                               closed_at, quote_position)
         select $1, id, challenge, 0, repeat('0', 64), 0, 'active', 'USD', 100000000000, 100000000000 + realised, '{}', 1, 1,
                case when realised = 0 then 2 else 3 end, 1, at, null, 0
         from bench",
        "insert into balance_entries (firm_id, account_id, number, at, kind, amount_micros, balance_micros, fill_number)
         select $1, id, 1, at, 'initial', 100000000000, 100000000000, null from bench
         union all
         select $1, id, 2, at, 'profit', realised, 100000000000 + realised, 1 from bench where realised <> 0",
    ] {
        sqlx::query(sql).bind(firm.uuid()).execute(&mut *owner).await.context(sql)?;
    }
    owner.execute("set session_replication_role = origin").await?;
    owner.execute("vacuum analyze people, challenges, accounts, balance_entries").await?;
    Ok(())
}

/// The rank of an account by the window function, and how long it took.
async fn window(
    owner: &mut PgConnection,
    sql: &'static str,
    firm: FirmId,
    account: AccountId,
    took: &mut Vec<Duration>,
) -> anyhow::Result<i64> {
    let started = now();
    let row = sqlx::query(sql).bind(firm.uuid()).bind(account.uuid()).fetch_one(owner).await?;
    took.push(started.elapsed());
    Ok(row.get("rank"))
}

/// A thousand accounts realise something: how long until the rows and until the boards know.
async fn move_some(analytics: &Analytics, owner: &mut PgConnection, firm: FirmId) -> anyhow::Result<Value> {
    let some: Vec<uuid::Uuid> = sqlx::query_scalar(
        "with moved as (select firm_id, id, next_entry from accounts order by id limit 1000),
              entered as (insert into balance_entries
                          select firm_id, id, next_entry, now(), 'profit', 12345678, 0, 1 from moved)
         update accounts set next_entry = accounts.next_entry + 1 from moved where accounts.id = moved.id returning accounts.id",
    )
    .fetch_all(&mut *owner)
    .await?;
    let accounts: Vec<AccountId> = some.into_iter().map(AccountId::from_uuid).collect();
    let started = now();
    let mut tx = analytics.store.begin(firm).await?;
    tx.project(&accounts, &[], None).await?;
    let _proof = tx.commit().await?;
    let written = started.elapsed();
    analytics::follow_once(analytics).await?;
    Ok(json!({ "rows_written_ms": millis(written), "on_the_boards_ms": millis(started.elapsed()) }))
}

/// An account with very many closed positions: counted from nothing, and counted on by one more.
async fn many_positions(
    store: &Store,
    owner: &mut PgConnection,
    firm: FirmId,
    positions: i64,
) -> anyhow::Result<Value> {
    let id: uuid::Uuid =
        sqlx::query_scalar("select id from accounts order by id desc limit 1").fetch_one(&mut *owner).await?;
    for sql in [
        "insert into positions (firm_id, account_id, ticket, symbol, side, quantity, opened_quantity, open_price, opened_at,
                                margin_micros, commission_micros, realised_micros, closed_at, close_price, close_reason)
         select firm_id, id, n, 'EURUSD', 'buy', 0, 1, 110000, now(), 0, 0, n, now(), 110001, 'close'
         from accounts, generate_series(1, $2) n where id = $1",
        "insert into fills (firm_id, account_id, number, at, position_ticket, symbol, side, quantity, price, profit_micros,
                            commission_micros, reason, quote_position)
         select firm_id, id, n, now(), n, 'EURUSD', 'sell', 1, 110001, n, 0, 'close', 0
         from accounts, generate_series(1, $2) n where id = $1",
        "insert into balance_entries (firm_id, account_id, number, at, kind, amount_micros, balance_micros, fill_number)
         select firm_id, id, n + 10, now() - n * interval '30 seconds', 'profit', n, 0, n
         from accounts, generate_series(1, $2) n where id = $1",
    ] {
        sqlx::query(sql).bind(id).bind(positions).execute(&mut *owner).await.context(sql)?;
    }
    owner
        .execute(AssertSqlSafe(format!(
            "update accounts set next_fill = {positions} + 1, next_entry = {positions} + 11 where id = '{id}'"
        )))
        .await?;
    owner.execute("vacuum analyze positions, fills, balance_entries").await?;
    let mut took = Vec::new();
    for round in 0..2_i64 {
        if round == 1 {
            let last = positions.saturating_add(1);
            for sql in [
                "insert into positions select firm_id, account_id, $2, symbol, side, quantity, opened_quantity, open_price,
                        opened_at, stop_loss, take_profit, margin_micros, commission_micros, realised_micros, closed_at,
                        close_price, close_reason from positions where account_id = $1 and ticket = 1",
                "insert into fills select firm_id, account_id, $2, at, $2, order_ticket, symbol, side, quantity, price,
                        profit_micros, commission_micros, reason, quote_position from fills
                 where account_id = $1 and number = 1",
                "update accounts set next_fill = $2 + 1 where id = $1",
            ] {
                sqlx::query(sql).bind(id).bind(last).execute(&mut *owner).await.context(sql)?;
            }
        }
        let started = now();
        let mut tx = store.begin(firm).await?;
        tx.project(&[AccountId::from_uuid(id)], &[], None).await?;
        let _proof = tx.commit().await?;
        took.push(millis(started.elapsed()));
    }
    Ok(json!({ "positions": positions, "from_nothing_ms": took.first(), "one_more_ms": took.get(1) }))
}

/// Asks over HTTP/1.1.
struct Client {
    address: SocketAddr,
    cookie: String,
}

/// How long the answers took.
struct Answers {
    took: Vec<Duration>,
    length: Duration,
}

impl Client {
    async fn connect(&self) -> anyhow::Result<Connection> {
        let stream = TcpStream::connect(self.address).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, cookie: self.cookie.clone(), received: Vec::new() })
    }

    /// Every connection asks the next when the last was answered.
    async fn run(
        &self,
        connections: usize,
        length: Duration,
        path: &impl Fn(usize) -> String,
    ) -> anyhow::Result<Answers> {
        let mut running = Vec::with_capacity(connections);
        for number in 0..connections {
            let mut connection = self.connect().await?;
            let paths: Vec<String> = (0..5_000_usize)
                .map(|step| path(step.saturating_mul(connections).saturating_add(number)))
                .collect();
            running.push(tokio::spawn(async move {
                let mut took = Vec::new();
                let started = now();
                for path in paths.iter().cycle() {
                    let asked = now();
                    connection.get(path).await?;
                    took.push(asked.elapsed());
                    if started.elapsed() > length {
                        break;
                    }
                }
                anyhow::Ok(took)
            }));
        }
        let mut took = Vec::new();
        for one in running {
            took.extend(one.await??);
        }
        Ok(Answers { took, length })
    }
}

impl Answers {
    fn json(&self) -> Value {
        let answers = u64::try_from(self.took.len()).unwrap_or(u64::MAX);
        let mut figures = micros(&mut self.took.clone());
        figures["per_second"] = json!(answers.checked_div(self.length.as_secs()));
        figures
    }
}

struct Connection {
    stream: TcpStream,
    cookie: String,
    received: Vec<u8>,
}

impl Connection {
    /// The body of an answer with status 200.
    async fn get(&mut self, path: &str) -> anyhow::Result<Vec<u8>> {
        let request =
            format!("GET {path} HTTP/1.1\r\nhost: bench.example\r\ncookie: {}\r\n\r\n", self.cookie);
        self.stream.write_all(request.as_bytes()).await?;
        self.received.clear();
        let (head, length) = loop {
            if let Some(head) = self.received.windows(4).position(|four| four == b"\r\n\r\n") {
                let text =
                    String::from_utf8_lossy(self.received.get(..head).unwrap_or_default()).to_lowercase();
                ensure!(text.starts_with("http/1.1 200"), "{path} was answered with {text}");
                let length = text.lines().find_map(|line| line.strip_prefix("content-length:"));
                break (
                    head.saturating_add(4),
                    length.context("no content-length")?.trim().parse::<usize>()?,
                );
            }
            ensure!(self.stream.read_buf(&mut self.received).await? > 0, "the server hung up");
        };
        let end = head.saturating_add(length);
        while self.received.len() < end {
            ensure!(self.stream.read_buf(&mut self.received).await? > 0, "the server hung up");
        }
        Ok(self.received.get(head..end).unwrap_or_default().to_vec())
    }
}

fn percentile(took: &mut [Duration], percent: usize) -> u64 {
    took.sort_unstable();
    let place = took.len().saturating_mul(percent).checked_div(100).unwrap_or_default();
    let found = took.get(place.min(took.len().saturating_sub(1)));
    found.map_or(0, |took| u64::try_from(took.as_micros()).unwrap_or(u64::MAX))
}

fn micros(took: &mut [Duration]) -> Value {
    json!({ "p50_us": percentile(took, 50), "p99_us": percentile(took, 99), "max_us": percentile(took, 100) })
}

fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]
fn now() -> Instant {
    Instant::now()
}
