//! `tradesense api|engine|worker`: one role of an installation whose processes share a database and a Redis server.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use anyhow::Context as _;
use app::identity::Cost;
use clap::{Args, ValueEnum};
use ipnet::IpNet;
use kernel::{Clock as _, OwnerId, Rng, Timestamp};
use providers::copies::Place;
use serve::edges::Edges;
use store::Store;
use streams::{RedisCache, RedisStreams};

use crate::listening::Listening;
use crate::mail::MailArgs;
use crate::market::MarketSettings;
use crate::payments::PaymentArgs;
use crate::platform::{Platform, Roles, Settings, Shared};
use crate::privacy::RegionArgs;
use crate::rotation::{self, Secrets};
use crate::secret_files::Named;
use crate::system::{SystemClock, SystemRng};
use crate::{instruments, keys, up};

/// A part of what there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// HTTP for people and programs.
    Api,
    /// Shards and their quotes.
    Engine,
    /// Messages, jobs and chores.
    Worker,
    /// Boards, statistics and counters.
    Analytics,
}

impl std::fmt::Display for Part {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Self::Api => "api",
            Self::Engine => "engine",
            Self::Worker => "worker",
            Self::Analytics => "analytics",
        })
    }
}

/// The roles of some parts.
pub fn roles(parts: &[Part]) -> Roles {
    let has = |part| parts.contains(&part);
    Roles {
        api: has(Part::Api),
        engine: has(Part::Engine),
        worker: has(Part::Worker),
        analytics: has(Part::Analytics),
    }
}

/// Settings of one process among several.
#[derive(Debug, Clone, Args)]
pub struct Role {
    /// The database, under the login of the platform (`tradesense migrate --login-password`).
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// The Redis server: `redis://`, `rediss://`, `redis+cluster://HOST,HOST` or `redis+sentinel://HOST,HOST/MASTER`.
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    redis_url: String,
    /// Another Redis server for what is only kept for a while, such as answers of the analytics role; it may evict anything.
    #[arg(long, env = "TRADESENSE_CACHE_URL", hide_env_values = true)]
    cache_url: Option<String>,
    /// Where this process keeps its copy of the quote log; no other process uses it.
    #[arg(long, env = "TRADESENSE_DATA_DIR", default_value = "data")]
    data_dir: PathBuf,
    /// Where the keys lie that sign receipts and the audit log, and the keys of people; the same for all processes.
    #[arg(long, env = "TRADESENSE_KEYS_DIR")]
    keys_dir: PathBuf,
    /// Where copies of the audit log go, that the database's owner cannot write: a folder that all workers share, or
    /// `s3://BUCKET/PREFIX?region=..` with Object Lock (`docs/guides/audit.md`).
    #[arg(long, env = "TRADESENSE_AUDIT_COPIES")]
    audit_copies: Option<Place>,
    /// The address to listen on.
    #[arg(long, env = "TRADESENSE_HOST", default_value = "127.0.0.1")]
    host: IpAddr,
    /// Networks of the proxies before this process, such as `10.7.0.0/16`: they are believed who asks (the last address of
    /// `X-Forwarded-For`), and nobody else is.
    #[arg(long, env = "TRADESENSE_EDGES", value_delimiter = ',')]
    edges: Vec<IpNet>,
    /// The port of the API; 0 takes a free one.
    #[arg(long, env = "TRADESENSE_PORT", default_value_t = 8000)]
    port: u16,
    /// The port for boards and statistics; 0 takes a free one.
    #[arg(long, env = "TRADESENSE_ANALYTICS_PORT", default_value_t = 8001)]
    analytics_port: u16,
    /// The port for health and metrics; 0 takes a free one.
    #[arg(long, env = "TRADESENSE_OPS_PORT", default_value_t = 8009)]
    ops_port: u16,
    /// Replicas of the database, under the same login, which the analytics role reads.
    #[arg(long, env = "TRADESENSE_REPLICA_URLS", hide_env_values = true, value_delimiter = ',')]
    replica_urls: Vec<String>,
    #[command(flatten)]
    region: RegionArgs,
    #[command(flatten)]
    mail: MailArgs,
    #[command(flatten)]
    payments: PaymentArgs,
    /// Connections to the database for use cases and screens.
    #[arg(long, default_value_t = 16)]
    connections: u32,
    /// Shards of a new installation; later starts go by what it has.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i16).range(1..=256))]
    shards: i16,
    /// Serve what only a demonstration may: the sandbox's payment page, cookies without TLS.
    #[arg(long)]
    demo: bool,
    /// A directory of recorded ticks in place of the shipped ones.
    #[arg(long, env = "TRADESENSE_TICKS")]
    ticks: Option<PathBuf>,
    /// Simulate every instrument.
    #[arg(long)]
    simulate: bool,
    /// Only read all settings and secrets, ask the database and Redis, and end: with 0 if this role would start.
    #[arg(long)]
    only_check: bool,
    /// Recorded seconds per second.
    #[arg(long, default_value = "1")]
    speed: NonZeroU32,
    /// Seed of the simulators.
    #[arg(long, default_value_t = 20_140_502)]
    seed: u64,
}

/// Why a role ended.
#[derive(Debug)]
pub enum Ended {
    /// It was told to.
    Told,
    /// Other secrets lie there, and it is to start again with them and these sockets.
    ForSecrets(Vec<OwnedFd>),
}

/// Runs a role until told to stop, or until other secrets lie in the files that they came from.
pub fn run(part: Part, role: &Role, named: &BTreeMap<PathBuf, Named>) -> anyhow::Result<Ended> {
    if role.only_check {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.context("starting the runtime")?.block_on(check(part, role))?;
        return Ok(Ended::Told);
    }
    std::fs::create_dir_all(&role.data_dir).with_context(|| format!("making {}", role.data_dir.display()))?;
    let occupied = up::occupy(&role.data_dir, false)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let ran = runtime.block_on(serve(part, role, named));
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    // Closing is not enough: a process that is just being started holds a copy until it becomes its program.
    occupied.unlock().context("letting go of the data directory")?;
    ran
}

async fn serve(part: Part, role: &Role, named: &BTreeMap<PathBuf, Named>) -> anyhow::Result<Ended> {
    let mut stop = std::pin::pin!(stop_signal()?);
    let listening = Arc::new(Listening::handed_on()?);
    let refused = Arc::new(AtomicBool::new(false));
    let secrets = || secrets(role, named);
    // What is changed while this process starts is other than what it has read.
    let known = secrets().in_use(named);
    let starting = async {
        let mut settings = settings(part, role).await?;
        settings.listening = Arc::clone(&listening);
        settings.figures.push(secrets().figures(Arc::clone(&refused)));
        Platform::start(settings).await
    };
    let platform = tokio::select! {
        started = starting => started?,
        () = &mut stop => return Ok(Ended::Told),
    };
    let good = tokio::select! {
        () = &mut stop => None,
        good = rotation::changed(known, secrets, refused, &SystemRng) => Some(good),
    };
    let Some(good) = good else {
        end_at_second_signal();
        return platform.stop().await.map(|()| Ended::Told);
    };
    if let Err(error) = platform.stop().await {
        tracing::error!(error = %format!("{error:#}"), "this process did not stop well before it starts again");
    }
    // Whoever told it to stop meanwhile is heard now, when everybody who was in has been answered.
    tokio::select! {
        biased;
        () = stop => Ok(Ended::Told),
        () = rotation::still_good(good, secrets) => Ok(Ended::ForSecrets(listening.hand_on())),
    }
}

/// The files that hold this role's secrets: those that variables name, the keys, and those of providers of money.
fn secrets(role: &Role, named: &BTreeMap<PathBuf, Named>) -> Secrets {
    let mut passing: BTreeMap<PathBuf, String> =
        named.iter().map(|(path, named)| (path.clone(), named.option.clone())).collect();
    for path in role.payments.files() {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned());
        passing.insert(path, name.unwrap_or_default());
    }
    let keys = std::fs::read_dir(&role.keys_dir).into_iter().flatten().flatten().map(|entry| entry.path());
    let keys = keys.filter(|path| path.extension().is_some_and(|end| end == "key" || end == "kek"));
    Secrets { passing, lasting: keys.collect() }
}

/// Whether a role would start.
async fn check(part: Part, role: &Role) -> anyhow::Result<()> {
    let settings = settings(part, role).await?;
    for replica in &settings.replicas {
        Store::check_schema(replica).await.context("looking at a replica's schema")?;
    }
    settings.payments.check(&settings.clock, &settings.rng)
}

/// Everything that a role is told, read; the database and Redis have answered.
async fn settings(part: Part, role: &Role) -> anyhow::Result<Settings> {
    Store::check_schema(&role.database_url).await.context("looking at the database's schema")?;
    Store::check_clock(&role.database_url, &SystemClock).await.context("looking at the clock")?;
    let firms = Store::firms(&role.database_url).await.context("reading the firms")?;
    let began = firms.iter().map(|(_, created_at)| *created_at).min().unwrap_or_else(|| SystemClock.now());
    // The only firm answers to every host name.
    let otherwise = if let [(firm, _)] = firms.as_slice() { Some(*firm) } else { None };
    let market = MarketSettings {
        ticks: role.ticks.clone(),
        simulate: role.simulate,
        speed: role.speed,
        seed: role.seed,
    };
    let rng = SystemRng;
    Ok(Settings {
        database_url: role.database_url.clone(),
        app_connections: role.connections,
        instruments: Arc::new(instruments::shipped()?),
        clock: Arc::new(SystemClock),
        rng: Arc::new(rng),
        quotes: role.data_dir.join("quotes"),
        archive: role.data_dir.join("quotes-archive"),
        listen: SocketAddr::new(role.host, role.port),
        edges: Edges(role.edges.clone()),
        listen_ops: Some(SocketAddr::new(role.host, role.ops_port)),
        otherwise,
        demo: role.demo,
        roles: roles(&[part]),
        listen_analytics: SocketAddr::new(role.host, role.analytics_port),
        replicas: role.replica_urls.clone(),
        smtp: role.mail.smtp()?,
        bounces: role.mail.bounce_key()?,
        payments: role.payments.providers(),
        listen_webhooks: role.payments.listen(role.host),
        public_url: role.mail.public_url(|| format!("http://{}:{}", role.host, role.port)),
        shared: Some(shared(&role.redis_url, role.cache_url.as_deref(), &market, began).await?),
        shards: role.shards,
        owner: owner(&role.data_dir.join("owner"), &rng)?,
        password_cost: Cost::STANDARD,
        receipt_key: Arc::new(keys::receipt_key(&role.keys_dir)?),
        audit_signers: Arc::new(keys::audit_signers(keys::audit_keys(&role.keys_dir)?)?),
        audit_copies: (role.audit_copies.clone())
            .unwrap_or_else(|| Place::Folder(role.data_dir.join("audit-copies"))),
        people_keys: Arc::new(keys::people_keys(&role.keys_dir)?),
        homes: role.region.homes()?,
        listening: Arc::default(),
        figures: Vec::new(),
    })
}

/// What is shared through a Redis server.
pub(crate) async fn shared(
    redis_url: &str,
    cache_url: Option<&str>,
    market: &MarketSettings,
    market_began: Timestamp,
) -> anyhow::Result<Shared> {
    // An error means that somebody was here before, with the same one.
    drop(rustls::crypto::ring::default_provider().install_default());
    let streams = RedisStreams::connect(redis_url).await.context("connecting to Redis")?;
    let cache = RedisCache::new(cache_url.unwrap_or(redis_url), Arc::new(SystemClock), Arc::new(SystemRng));
    let cache = Arc::new(cache.context("reaching the cache")?);
    Ok(Shared { streams: Arc::new(streams), cache, market: market.clone(), market_began })
}

/// A second signal ends the process at once.
pub(crate) fn end_at_second_signal() {
    tokio::spawn(async {
        if let Ok(again) = stop_signal() {
            again.await;
            std::process::exit(130);
        }
    });
}

/// Who owns shards here. The same after every start, so that a start need not wait until the leases of the process before
/// it run out: that one has ended, or it would still hold the data directory.
pub(crate) fn owner(file: &Path, rng: &dyn Rng) -> anyhow::Result<OwnerId> {
    match std::fs::read_to_string(file) {
        Ok(text) => text.trim().parse().with_context(|| format!("reading {}", file.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let owner = OwnerId::random(SystemClock.now(), rng);
            std::fs::write(file, format!("{owner}\n"))
                .with_context(|| format!("writing {}", file.display()))?;
            Ok(owner)
        }
        Err(error) => Err(error).with_context(|| format!("reading {}", file.display())),
    }
}

/// Ends at the first SIGINT or SIGTERM.
pub(crate) fn stop_signal() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut interrupt = signal(SignalKind::interrupt()).context("listening for SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
    Ok(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
    })
}
