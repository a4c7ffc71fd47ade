//! The roles wired together in one process: shards, sequencer, HTTP, the opener of paid challenges, and the teller of
//! calendars.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::Context as _;
use app::catalogue::Catalogue;
use app::identity::{Cost, Identity};
use app::latency::Meter;
use app::market::MarketHub;
use app::notifications::{Mailbox, Notifications};
use app::overrides::Overrides;
use app::purchases::Purchases;
use app::receipts::{Issuer, Stored};
use app::releases::Releases;
use app::trading::{
    Desk, LeaseStore as _, Origin, Owner, Queues, QuoteLog, Sequencer, ShardSettings, ShardStore as _,
};
use app::webhooks::{UrlPolicy, Webhooks};
use app::what_if::WhatIf;
use audit::SigningKey;
use axum::serve::ListenerExt as _;
use engine::Instruments;
use kernel::{Clock, FirmId, OwnerId, Rng};
use providers::archive::Archive;
use providers::quote_log::{DiskQuoteLog, Keeper, Retention};
use store::Store;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use web::{Firms, Parts, Web};

/// Paid challenges without an account are looked for this often, beside the call when one is paid.
const OPENER_PERIOD: Duration = Duration::from_secs(2);
/// Accounts that know an old calendar are looked for this often, beside the call when one changes.
const TELLER_PERIOD: Duration = Duration::from_secs(2);
/// Verdicts without a receipt are looked for this often, beside the call when one is stored.
const RECEIPT_PERIOD: Duration = Duration::from_secs(5);
/// The quote log is archived and kept small this often.
const KEEPER_PERIOD: Duration = Duration::from_mins(1);
/// Challenges opened in one go.
const MOST_TO_OPEN: i64 = 500;

/// What a platform is built from.
#[derive(Clone)]
pub struct Settings {
    /// PostgreSQL, migrated.
    pub database_url: String,
    /// Connections for use cases and screens.
    pub app_connections: u32,
    /// The table.
    pub instruments: Arc<Instruments>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub rng: Arc<dyn Rng>,
    /// Where the quote log lies.
    pub quotes: PathBuf,
    /// Where closed segments of the quote log are archived.
    pub archive: PathBuf,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Where the operator's machines ask, if they do.
    pub listen_ops: Option<SocketAddr>,
    /// The firm for host names that no firm has; none on an installation that serves several.
    pub otherwise: Option<FirmId>,
    /// Whether to serve what only a demonstration may.
    pub demo: bool,
    /// Who owns shards here: always the same for one data directory.
    pub owner: OwnerId,
    /// Shards of a new installation; later starts go by what it has.
    pub shards: i16,
    /// How hard passwords are hashed.
    pub password_cost: Cost,
    /// Signs receipts.
    pub receipt_key: Arc<SigningKey>,
}

/// A running platform.
pub struct Platform {
    /// Where it listens.
    pub address: SocketAddr,
    /// To the shards.
    pub desk: Desk,
    /// Quotes and candles.
    pub hub: Arc<MarketHub>,
    /// Identity, catalogue, purchases for those who act inside the process.
    pub web: Web,
    sequencer: Option<Sequencer>,
    stopping: watch::Sender<bool>,
    stop_owning: watch::Sender<bool>,
    stop_counting: watch::Sender<bool>,
    owner: JoinHandle<()>,
    counter: JoinHandle<()>,
    server: JoinHandle<std::io::Result<()>>,
    opener: JoinHandle<()>,
    teller: JoinHandle<()>,
    issuer: JoinHandle<()>,
    keeper: JoinHandle<()>,
}

impl Platform {
    /// Starts everything; returns once it listens.
    pub async fn start(settings: Settings) -> anyhow::Result<Self> {
        let listener = TcpListener::bind(settings.listen)
            .await
            .with_context(|| format!("listening on {}", settings.listen))?;
        let address = listener.local_addr().context("reading the address listened on")?;
        let store = Store::connect(&store::Settings {
            url: settings.database_url.clone(),
            instruments: Arc::clone(&settings.instruments),
            app_connections: settings.app_connections,
            // One for each shard; for the leases; for judging a history again; for whoever asks whether the database
            // answers.
            engine_connections: u32::from(settings.shards.unsigned_abs()).saturating_add(3),
            worker_connections: 4,
        })
        .await
        .context("connecting to the database")?;
        let store = Arc::new(store);
        let archive = Archive::new(&settings.archive);
        let log = DiskQuoteLog::open(&settings.quotes).context("opening the quote log")?;
        let hub = Arc::new(MarketHub::new(Arc::clone(&settings.instruments)));
        let recent = log.last().map_or(1, |last| last.position.saturating_sub(CANDLE_MEMORY));
        for quote in log.read(recent).map_err(anyhow::Error::from_boxed).context("reading the quote log")? {
            hub.take(&[quote.map_err(anyhow::Error::from_boxed).context("reading the quote log")?]);
        }
        let log: app::trading::SharedQuoteLog = Arc::new(Mutex::new(Box::new(log)));
        let (stored, meter) = (Stored::default(), Meter::default());
        let shards = store.shards(settings.shards).await.context("reading the shards")?;
        let queues = Queues::new(shards, &settings.clock);
        let desk = queues.desk();
        let owning = ShardSettings {
            owner: settings.owner,
            instruments: Arc::clone(&settings.instruments),
            clock: Arc::clone(&settings.clock),
            store: store.clone(),
            log: Arc::clone(&log),
            stored: stored.clone(),
            meter: meter.clone(),
        };
        let owner = Owner::new(owning, store.clone(), queues.clone());
        let by_host = store.domains().await.context("reading the firms' host names")?.into_iter().collect();
        let committed = store.quote_position().await.context("reading the shards")?;
        let sequencer = Sequencer::new(
            Arc::clone(&settings.instruments),
            Arc::clone(&settings.clock),
            log,
            committed,
            &queues,
            Arc::clone(&hub),
        );
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let (stopping, stop) = watch::channel(false);
        let (clock, rng) = (&settings.clock, &settings.rng);
        let web = Web::new(Parts {
            identity: Arc::new(Identity::new(
                store.clone(),
                Arc::clone(clock),
                Arc::clone(rng),
                workers,
                settings.password_cost,
            )),
            catalogue: Arc::new(Catalogue::new(
                store.clone(),
                Arc::clone(&settings.instruments),
                Arc::clone(clock),
            )),
            purchases: Arc::new(Purchases::new(
                store.clone(),
                store.clone(),
                Arc::clone(clock),
                Arc::clone(rng),
            )),
            what_if: Arc::new(WhatIf::new(
                store.clone(),
                crate::replay::archived_quotes_in(archive.clone(), settings.quotes.clone()),
                Arc::clone(&settings.instruments),
            )),
            desk: desk.clone(),
            overrides: Arc::new(Overrides::new(store.clone(), desk.clone())),
            releases: Arc::new(Releases::new(
                store.clone(),
                Arc::clone(&settings.instruments),
                Arc::clone(clock),
                Arc::clone(rng),
            )),
            notifications: Arc::new(Notifications::new(
                store.clone(),
                Arc::clone(clock),
                Arc::clone(rng),
                None,
            )),
            webhooks: Arc::new(Webhooks::new(
                store.clone(),
                Arc::clone(clock),
                Arc::clone(rng),
                UrlPolicy { loopback: settings.demo, ..UrlPolicy::default() },
            )),
            mailbox: settings.demo.then(|| Arc::new(Mailbox::new(Arc::clone(clock)))),
            hub: Arc::clone(&hub),
            meter,
            store: Arc::clone(&store),
            clock: Arc::clone(clock),
            rng: Arc::clone(rng),
            receipt_key: settings.receipt_key.public(),
            firms: Arc::new(Firms { by_host, otherwise: settings.otherwise }),
            demo: settings.demo,
            secure_cookies: !settings.demo,
            purchase_paid: Arc::new(Notify::new()),
            calendar_changed: Arc::new(Notify::new()),
            stopping: stop,
        });
        let service = web::router(web.clone()).into_make_service_with_connect_info::<SocketAddr>();
        let server = tokio::spawn(serve(listener, service, web.stopping.clone()));
        if let Some(ops) = settings.listen_ops {
            let listener =
                TcpListener::bind(ops).await.with_context(|| format!("listening on {ops} for operators"))?;
            let service = web::ops::router(web.clone()).into_make_service_with_connect_info::<SocketAddr>();
            // Ends with the process: it is asked to the very last.
            tokio::spawn(serve(listener, service, web.stopping.clone()));
        }
        let opener = tokio::spawn(open_paid_challenges(web.clone()));
        let teller = tokio::spawn(tell_calendars(web.clone()));
        let (stop_owning, stopped_owning) = watch::channel(false);
        let (stop_counting, counting) = watch::channel(false);
        let owner = tokio::spawn(owner.run(stopped_owning));
        let keeper = Keeper::new(&settings.quotes, Some(archive), Retention::default());
        let keeper =
            tokio::spawn(keep_quotes(keeper, store.clone(), Arc::clone(clock), web.stopping.clone()));
        let issuer = Issuer { store, key: settings.receipt_key, clock: Arc::clone(clock), stored };
        let issuer = tokio::spawn(issue_receipts(issuer, web.stopping.clone()));
        let counter = tokio::spawn(store_latencies(web.meter.clone(), Arc::clone(&web.store), counting));
        let sequencer = Some(sequencer);
        Ok(Self {
            address,
            desk,
            hub,
            web,
            sequencer,
            stopping,
            stop_owning,
            stop_counting,
            owner,
            counter,
            server,
            opener,
            teller,
            issuer,
            keeper,
        })
    }

    /// The one who takes quotes; there is one, for whoever asks first.
    pub fn take_sequencer(&mut self) -> Option<Sequencer> {
        self.sequencer.take()
    }

    /// Tells everybody who watches [`Web::stopping`] to stop.
    pub fn begin_stop(&self) {
        self.stopping.send_replace(true);
    }

    /// Answers what was asked, writes what was decided, and ends. Whoever does not end by itself within
    /// [`LONGEST_STOP`] is ended: what was committed is safe, and nobody was told anything else.
    pub async fn stop(self) -> anyhow::Result<()> {
        self.begin_stop();
        let Self {
            desk,
            web,
            sequencer,
            hub,
            mut server,
            mut opener,
            mut teller,
            mut owner,
            mut issuer,
            mut keeper,
            mut counter,
            stop_owning,
            stop_counting,
            ..
        } = self;
        drop((desk, web, sequencer, hub));
        let ended = tokio::time::timeout(LONGEST_STOP, async {
            (&mut server).await.context("stopping the server")?.context("serving")?;
            (&mut opener).await.context("stopping the opener")?;
            (&mut teller).await.context("stopping the teller of calendars")?;
            // Whoever could ask has ended.
            stop_owning.send_replace(true);
            (&mut owner).await.context("stopping the shards")?;
            stop_counting.send_replace(true);
            (&mut counter).await.context("stopping the counter of latencies")?;
            (&mut keeper).await.context("stopping the keeper of the quote log")?;
            (&mut issuer).await.context("stopping the issuer of receipts")
        });
        if let Ok(ended) = ended.await {
            return ended;
        }
        let tasks = [&opener, &teller, &owner, &issuer, &keeper, &counter].map(JoinHandle::abort_handle);
        for task in tasks.into_iter().chain([server.abort_handle()]) {
            task.abort();
        }
        anyhow::bail!("the platform did not stop within {} s and was ended", LONGEST_STOP.as_secs())
    }
}

/// How long a stop may take.
const LONGEST_STOP: Duration = Duration::from_secs(15);

/// Quotes read again at a start, for the candles.
const CANDLE_MEMORY: u64 = 300_000;

type Service = axum::extract::connect_info::IntoMakeServiceWithConnectInfo<axum::Router, SocketAddr>;

async fn serve(
    listener: TcpListener,
    service: Service,
    mut stop: watch::Receiver<bool>,
) -> std::io::Result<()> {
    // An answer is small and is waited for.
    let listener = listener.tap_io(|stream| {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its delays");
        }
    });
    axum::serve(listener, service)
        .with_graceful_shutdown(async move {
            // An error means that the platform is gone: stop as well.
            drop(stop.wait_for(|stop| *stop).await);
        })
        .await
}

/// Latencies by account are stored this often.
const LATENCIES_EVERY: Duration = Duration::from_secs(5);

/// Stores latencies by account until there can be no more.
async fn store_latencies(meter: Meter, store: Arc<Store>, mut stop: watch::Receiver<bool>) {
    loop {
        let stopped = tokio::select! {
            () = tokio::time::sleep(LATENCIES_EVERY) => false,
            _ = stop.wait_for(|stop| *stop) => true,
        };
        if let Err(error) = meter.store(&*store).await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "latencies could not be stored; they are kept for later");
        }
        if stopped {
            return;
        }
    }
}

/// Archives the quote log and keeps it small until the platform stops.
async fn keep_quotes(
    mut keeper: Keeper,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    mut stop: watch::Receiver<bool>,
) {
    loop {
        match store.first_needed_quote().await {
            Ok(needed) => {
                let now = clock.now();
                // Waits for the disk.
                let round = tokio::task::spawn_blocking(move || {
                    let kept = keeper.keep(needed, now);
                    (keeper, kept)
                });
                let Ok((back, kept)) = round.await else { return };
                keeper = back;
                if let Err(error) = kept {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(error, "the quote log could not be archived or kept small; trying again");
                }
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "reading which quotes are needed failed; trying again");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(KEEPER_PERIOD) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Makes receipts until the platform stops; what is due then is made by the next start.
async fn issue_receipts(issuer: Issuer, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        () = issuer.run(tokio::time::interval(RECEIPT_PERIOD)) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// Opens the account of every paid challenge that has none. Needs no message: whatever was lost or died halfway is
/// found in the table.
async fn open_paid_challenges(web: Web) {
    let mut stop = web.stopping.clone();
    loop {
        if let Err(error) = open_all(&web).await {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "opening the accounts of paid challenges failed; trying again");
        }
        tokio::select! {
            () = web.purchase_paid.notified() => {}
            () = tokio::time::sleep(OPENER_PERIOD) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

async fn open_all(web: &Web) -> Result<(), app::AppError> {
    for unopened in web.purchases.unopened(MOST_TO_OPEN).await? {
        let challenge = unopened.challenge;
        let submitted = web.desk.submit(unopened.command()?, Origin::PLATFORM).await?;
        match submitted.outcome {
            Ok(_) => {
                tracing::info!(%challenge, "challenge opened");
                web.calendar_changed.notify_one();
            }
            // The others must not wait for this one.
            Err(refusal) => tracing::error!(%challenge, %refusal, "a paid challenge cannot be opened"),
        }
    }
    Ok(())
}

/// Tells every account whose rules ask for it the calendar of its firm. Needs no message: whoever knows an old one, or
/// none because it has just opened, is found in the table.
async fn tell_calendars(web: Web) {
    let mut stop = web.stopping.clone();
    loop {
        let told = match web.releases.tell(&web.desk).await {
            Ok(told) => told,
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "telling accounts of their calendar failed; trying again");
                0
            }
        };
        if *stop.borrow() {
            return;
        }
        // More may wait than a round takes.
        if told >= app::releases::A_ROUND {
            continue;
        }
        tokio::select! {
            () = web.calendar_changed.notified() => {}
            () = tokio::time::sleep(TELLER_PERIOD) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}
