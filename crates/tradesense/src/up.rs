//! `tradesense up`: everything in one process on embedded defaults.

use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use app::identity::Cost;
use app::privacy::KeyStore;
use clap::Args;
use embedded::{Binaries, Postgres, Purpose};
use ipnet::IpNet;
use kernel::{Clock, Rng, Span, Timestamp};
use providers::copies::Place;
use serve::edges::Edges;
use store::Store;
use tokio::task::JoinHandle;

use crate::mail::MailArgs;
use crate::market::{self, MarketSettings};
use crate::payments::PaymentArgs;
use crate::platform::{Platform, Settings};
use crate::privacy::{self, RegionArgs};
use crate::role::{self, Part};
use crate::system::{SystemClock, SystemRng};
use crate::{bots, demo, instruments, keys};

/// How far into the recording a first start begins: in the shipped one at 12:25 UTC, five minutes before the payrolls.
/// What comes before is shown as the charts' past.
const PAST_SHOWN: Span = Span::from_seconds(1_797);

/// Settings of `tradesense up`.
#[derive(Debug, Clone, Args)]
#[expect(clippy::struct_excessive_bools, reason = "the flags of a command line")]
pub struct Up {
    /// Where everything is kept.
    #[arg(long, env = "TRADESENSE_DATA_DIR", default_value = "data")]
    data_dir: PathBuf,
    /// Where copies of the audit log go, beside the data if not said; better on another machine, or in
    /// `s3://BUCKET/PREFIX?region=..`.
    #[arg(long, env = "TRADESENSE_AUDIT_COPIES")]
    audit_copies: Option<Place>,
    /// The port to listen on; 0 takes a free one.
    #[arg(long, env = "TRADESENSE_PORT", default_value_t = 8000)]
    port: u16,
    /// The port for boards and statistics; 0 takes a free one.
    #[arg(long, env = "TRADESENSE_ANALYTICS_PORT", default_value_t = 8001)]
    analytics_port: u16,
    #[command(flatten)]
    region: RegionArgs,
    #[command(flatten)]
    mail: MailArgs,
    #[command(flatten)]
    payments: PaymentArgs,
    /// The port for health and metrics; 0 takes a free one.
    #[arg(long, env = "TRADESENSE_OPS_PORT", default_value_t = 8009)]
    ops_port: u16,
    /// The address to listen on.
    #[arg(long, env = "TRADESENSE_HOST", default_value = "127.0.0.1")]
    host: IpAddr,
    /// Networks of the proxies before this process, such as `10.7.0.0/16`: they are believed who asks (the last address of
    /// `X-Forwarded-For`), and nobody else is.
    #[arg(long, env = "TRADESENSE_EDGES", value_delimiter = ',')]
    edges: Vec<IpNet>,
    /// Forget all earlier data first.
    #[arg(long)]
    fresh: bool,
    /// An own PostgreSQL database in place of a private server.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// A directory of recorded ticks (`SOURCE/SYMBOL/YYYYMMDD_quote.zip`) in place of the shipped ones.
    #[arg(long, env = "TRADESENSE_TICKS")]
    ticks: Option<PathBuf>,
    /// Simulate every instrument.
    #[arg(long)]
    simulate: bool,
    /// Recorded seconds per second.
    #[arg(long, default_value = "1")]
    speed: NonZeroU32,
    /// Seed of the simulators and of the bots.
    #[arg(long, default_value_t = 20_140_502)]
    seed: u64,
    /// Shards of a new installation, each with accounts of its own and its own writer; later starts go by what it has.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(i16).range(1..=256))]
    shards: i16,
    /// What this process does; the others need the same database and the same Redis.
    #[arg(long, value_delimiter = ',', default_values_t = [Part::Api, Part::Engine, Part::Worker, Part::Analytics])]
    roles: Vec<Part>,
    /// A Redis server through which several processes work as one; this one is alone without.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    redis_url: Option<String>,
    /// Where another process runs on this data directory, wait and take over the moment it ends.
    #[arg(long)]
    standby: bool,
    /// Without the bots that trade beside you.
    #[arg(long)]
    no_bots: bool,
}

/// A database as its owner reaches it, and the private server behind it, if there is one.
pub(crate) struct Database {
    pub url: String,
    pub server: Option<Postgres>,
}

/// Runs until told to stop.
pub fn run(up: &Up) -> anyhow::Result<()> {
    let postgres_dir = up.data_dir.join("postgres");
    std::fs::create_dir_all(&up.data_dir).with_context(|| format!("making {}", up.data_dir.display()))?;
    let occupied = occupy(&up.data_dir, up.standby)?;
    if up.fresh {
        forget(up, &postgres_dir)?;
    }
    let database = match &up.database_url {
        Some(url) => Database { url: url.clone(), server: None },
        None => start_postgres(&postgres_dir)?,
    };
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let ran = runtime.block_on(serve(up, &database.url));
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    if let Some(server) = database.server {
        server.stop().context("stopping the private PostgreSQL")?;
    }
    // Closing is not enough: a process that is just being started holds a copy until it becomes its program.
    occupied.unlock().context("letting go of the data directory")?;
    ran
}

/// Locks a data directory as long as the file is open: one process at a time runs on it. Whoever stands by waits for the
/// one that does, however that ends.
pub(crate) fn occupy(data_dir: &Path, standby: bool) -> anyhow::Result<File> {
    let path = data_dir.join("running");
    let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) if standby => {
            say("Another process runs on this data directory. Standing by.\n")?;
            file.lock().with_context(|| format!("locking {}", path.display()))?;
            Ok(file)
        }
        Err(TryLockError::WouldBlock) => anyhow::bail!(
            "another process runs on {}: stop it first, or wait for its end with --standby",
            data_dir.display()
        ),
        Err(TryLockError::Error(error)) => Err(error).with_context(|| format!("locking {}", path.display())),
    }
}

fn forget(up: &Up, postgres_dir: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(
        up.database_url.is_none(),
        "--fresh does not empty a database of yours; empty it yourself"
    );
    Postgres::erase(postgres_dir).context("removing the private PostgreSQL")?;
    for name in ["quotes", "quotes-archive", "audit-copies", "logins.json", "market-began", keys::PEOPLE_DIR]
    {
        let path = up.data_dir.join(name);
        let removed =
            if path.is_dir() { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        match removed {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("removing {}", path.display())),
        }
    }
    Ok(())
}

/// Starts the private server of a directory.
pub(crate) fn start_postgres(dir: &Path) -> anyhow::Result<Database> {
    let path = std::env::var_os("PATH");
    let project = std::env::current_dir().context("finding the current directory")?;
    let binaries = Binaries::search(path.as_deref(), &[project]);
    let settings = embedded::Settings::new(dir, Purpose::Kept, binaries);
    let server = Postgres::start(&settings).context("starting a private PostgreSQL")?;
    Ok(Database { url: server.url("postgres"), server: Some(server) })
}

/// What runs until told to stop.
struct Running {
    platform: Platform,
    /// Of a process that is alone; others take turns.
    feed: Option<JoinHandle<Result<(), app::AppError>>>,
    bots: Vec<JoinHandle<()>>,
}

async fn serve(up: &Up, url: &str) -> anyhow::Result<()> {
    let mut stop = std::pin::pin!(role::stop_signal()?);
    let started = tokio::select! {
        started = start(up, url) => started?,
        () = &mut stop => return Ok(()),
    };
    let Running { platform, mut feed, bots } = started;
    let ended = tokio::select! {
        () = &mut stop => Ok(()),
        ended = ended(&mut feed) => ended,
    };
    role::end_at_second_signal();
    platform.begin_stop();
    if let Some(feed) = feed {
        feed.abort();
    }
    for bot in &bots {
        bot.abort();
    }
    platform.stop().await?;
    ended
}

async fn start(up: &Up, url: &str) -> anyhow::Result<Running> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let rng: Arc<dyn Rng> = Arc::new(SystemRng);
    Store::migrate(url).await.context("bringing the database's schema up to date")?;
    let people_keys: Arc<dyn KeyStore> = Arc::new(keys::people_keys(&up.data_dir)?);
    privacy::prepare(url, Some(&people_keys), &up.region).await?;
    let firm =
        store::NewFirm { slug: demo::FIRM.to_owned(), name: demo::FIRM_NAME.to_owned(), domains: Vec::new() };
    let firm = Store::ensure_firm(url, &firm, clock.now()).await.context("making the firm")?;
    // The platform itself works under a login that may not leave the schema's roles, under a password of its own.
    let login =
        Store::ensure_login(url, &demo::password(&*rng)).await.context("making the platform's login")?;
    let logins = demo::logins(&up.data_dir.join("logins.json"), &*rng)?;
    let instruments = Arc::new(instruments::shipped()?);
    let settings =
        MarketSettings { ticks: up.ticks.clone(), simulate: up.simulate, speed: up.speed, seed: up.seed };
    let now = clock.now();
    let began = market_began(&up.data_dir.join("market-began"), now)?;
    let mut platform = Platform::start(Settings {
        database_url: login,
        app_connections: 16,
        instruments: Arc::clone(&instruments),
        clock: Arc::clone(&clock),
        rng: Arc::clone(&rng),
        quotes: up.data_dir.join("quotes"),
        archive: up.data_dir.join("quotes-archive"),
        listening: Arc::default(),
        figures: Vec::new(),
        listen: SocketAddr::new(up.host, up.port),
        edges: Edges(up.edges.clone()),
        listen_ops: Some(SocketAddr::new(up.host, up.ops_port)),
        otherwise: Some(firm),
        demo: true,
        shards: up.shards,
        roles: role::roles(&up.roles),
        listen_analytics: SocketAddr::new(up.host, up.analytics_port),
        replicas: Vec::new(),
        smtp: up.mail.smtp()?,
        bounces: up.mail.bounce_key()?,
        payments: up.payments.providers(),
        listen_webhooks: up.payments.listen(up.host),
        public_url: up.mail.public_url(|| format!("http://{}:{}", up.host, up.port)),
        shared: match &up.redis_url {
            Some(url) => Some(role::shared(url, None, &settings, began).await?),
            None => None,
        },
        owner: role::owner(&up.data_dir.join("owner"), &*rng)?,
        password_cost: Cost::STANDARD,
        receipt_key: Arc::new(keys::receipt_key(&up.data_dir)?),
        audit_signers: Arc::new(keys::audit_signers(keys::audit_keys(&up.data_dir)?)?),
        audit_copies: (up.audit_copies.clone())
            .unwrap_or_else(|| Place::Folder(up.data_dir.join("audit-copies"))),
        people_keys,
        homes: up.region.homes()?,
    })
    .await?;
    demo::seed(firm, &platform.web.catalogue, &platform.web.identity, &logins, clock.now(), &*rng).await?;
    let latest = platform.hub.quotes();
    let feeds = if latest.is_empty() {
        let mut feeds = market::feeds(&settings, &instruments, &latest, began, earlier(now, PAST_SHOWN))?;
        market::show_past(&mut feeds, &platform.hub, now);
        feeds
    } else {
        market::feeds(&settings, &instruments, &latest, began, now)?
    };
    let feed = platform
        .take_sequencer()
        .map(|sequencer| tokio::spawn(market::run(feeds, sequencer, clock, platform.web.stopping.clone())));
    let bots = if up.no_bots { Vec::new() } else { bots::start(&platform.web, firm, up.seed).await? };
    if let Some(address) = platform.address {
        announce(address, &logins)?;
    }
    Ok(Running { platform, feed, bots })
}

/// How the feed ended; never where others feed in turn.
async fn ended(feed: &mut Option<JoinHandle<Result<(), app::AppError>>>) -> anyhow::Result<()> {
    let Some(feed) = feed else { return std::future::pending().await };
    feed.await.context("running the feeds")?.context("running the feeds")
}

/// When this installation's market began: a little before its first start, and remembered.
fn market_began(file: &Path, now: Timestamp) -> anyhow::Result<Timestamp> {
    match std::fs::read_to_string(file) {
        Ok(text) => Timestamp::parse(text.trim()).with_context(|| format!("reading {}", file.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let began = earlier(now, PAST_SHOWN);
            std::fs::write(file, format!("{began}\n"))
                .with_context(|| format!("writing {}", file.display()))?;
            Ok(began)
        }
        Err(error) => Err(error).with_context(|| format!("reading {}", file.display())),
    }
}

fn earlier(at: Timestamp, by: Span) -> Timestamp {
    Timestamp::from_micros(at.micros().saturating_sub(by.micros()))
}

fn announce(address: SocketAddr, logins: &[demo::Login]) -> anyhow::Result<()> {
    let mut text = format!("\nTradeSense is running at http://{address}\n\n");
    for login in logins {
        let demo::Login { title, email, password, .. } = login;
        text.push_str("  sign in as ");
        text.push_str(
            &[format!("{title:<9}"), format!("{email:<24}"), format!("password  {password}\n")].join(" "),
        );
    }
    text.push_str("\nPayments are a sandbox; prices are recorded or simulated. Ctrl-C stops everything; the data stays.\n");
    say(&text)
}

fn say(text: &str) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).context("writing to the standard output")
}
