//! The roles of one process wired together: HTTP, the shards and their quotes, whoever carries messages and does chores.
//! Alone, a process has its own sequencer and streams in its memory; beside others it asks and follows through streams that
//! all share.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use analytics::{Analytics, Projection};
use anyhow::Context as _;
use app::cache::Cache;
use app::catalogue::Catalogue;
use app::disputes::{Disputes, Holder, Thresholds};
use app::events::{Consumer, MessageStore as _};
use app::finance::Finance;
use app::identity::{Cost, Identity};
use app::jobs::JobHandler;
use app::kyc::{Kyc, SandboxVerifier};
use app::latency::Meter;
use app::ledger::Ledger;
use app::market::MarketHub;
use app::notifications::{BounceKey, MAIL_QUEUE, Mailbox, Mailer, Notifications};
use app::operations::Operations;
use app::overrides::Overrides;
use app::payments::checkouts::Checkouts;
use app::payments::following::{self, Following};
use app::payments::notices::{Intake, Notices};
use app::payouts::{AtDesk, Certificates, Payouts};
use app::privacy::{Homes, KeyStore, Privacy, Vault};
use app::purchases::Purchases;
use app::receipts::{Issuer, Stored};
use app::reconciliation::Reconciliation;
use app::refunds::Refunds;
use app::releases::Releases;
use app::streams::Streams;
use app::trading::{
    Desk, Follower, LeaseStore as _, Owner, Queues, QuoteLog as _, Remote, Sequencer, ShardSettings,
    ShardStore as _, Shards, SharedQuoteLog,
};
use app::webhooks::{self, Deliverer, UrlPolicy, Webhooks};
use app::what_if::WhatIf;
use audit::SigningKey;
use audit::note::{NoteSigner, Signs};
use engine::Instruments;
use kernel::{Clock, FirmId, OwnerId, Rng, Timestamp};
use providers::archive::Archive;
use providers::copies::{Credentials, Means, Place};
use providers::mail::{Smtp, SmtpSettings};
use providers::quote_log::{DiskQuoteLog, Keeper, Retention};
use providers::webhooks::WebhookClient;
use serve::door::{Peer, serve};
use serve::edges::{Edges, behind};
use store::{Replicas, Store};
use streams::{MemoryCache, MemoryStreams};
use telemetry::metrics::Counted;
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use web::notices::Inbox;
use web::ops::Figures;
use web::{Firms, Parts, Web};
use workers::archivist::{Archivist, archiving};
use workers::consume::{self, Taking};
use workers::leader::Leader;
use workers::metrics::{TimedConsumer, TimedHandler, Watch};
use workers::notifications::{self, Forget, Notifier, SendMail, forgetting};
use workers::payments::MoneyKeeper;
use workers::reconciliation::{self, Reconciler};
use workers::relay::{self, Relay};
use workers::runner::{Runner, RunnerSettings};
use workers::schedules::{self, Schedules};
use workers::sealer::{self, Sealer};
use workers::upkeep::{self, Remover};
use workers::verifier::{self, Health, LogVerifier, PartitionMaker, making_partitions};
use workers::webhooks::{Deliver, WebhookTaker};

use crate::chores;
use crate::feeding::{self, Feeder};
use crate::listening::Listening;
use crate::market::MarketSettings;
use crate::payments::Payments;
use crate::probe::Probe;

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
    /// The sockets that were handed on, and are to be.
    pub listening: Arc<Listening>,
    /// What this process tells operators of itself besides.
    pub figures: Vec<Figures>,
    /// Where to listen; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The edges before this process, which say who asks.
    pub edges: Edges,
    /// Where the operator's machines ask, if they do.
    pub listen_ops: Option<SocketAddr>,
    /// The firm for host names that no firm has; none on an installation that serves several.
    pub otherwise: Option<FirmId>,
    /// Whether to serve what only a demonstration may.
    pub demo: bool,
    /// What this process does.
    pub roles: Roles,
    /// Where boards and statistics are served, if they are.
    pub listen_analytics: SocketAddr,
    /// Replicas of the database, read by the analytics role.
    pub replicas: Vec<String>,
    /// Sends mail. Without it a demonstration keeps mails in its mailbox, and anybody else sends none.
    pub smtp: Option<SmtpSettings>,
    /// Who may report mails that came back.
    pub bounces: Option<BounceKey>,
    /// Where people reach this installation, for links in mails.
    pub public_url: String,
    /// Which providers of money the firms have.
    pub payments: Payments,
    /// Where these tell what happened, if the API hears it.
    pub listen_webhooks: Option<SocketAddr>,
    /// How it works beside other processes; none if it is alone.
    pub shared: Option<Shared>,
    /// Who owns shards here: always the same for one data directory.
    pub owner: OwnerId,
    /// Shards of a new installation; later starts go by what it has.
    pub shards: i16,
    /// How hard passwords are hashed.
    pub password_cost: Cost,
    /// Signs receipts.
    pub receipt_key: Arc<SigningKey>,
    /// Sign the audit log, in the order in which they take over.
    pub audit_signers: Arc<Vec<NoteSigner>>,
    /// Where copies of the audit log go.
    pub audit_copies: Place,
    /// Under which people's data is sealed.
    pub people_keys: Arc<dyn KeyStore>,
    /// Where the rows of people may lie.
    pub homes: Homes,
}

/// What a process does of all there is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "each role is there or not")]
pub struct Roles {
    /// Serves people and programs over HTTP.
    pub api: bool,
    /// Owns shards and, if it is its turn, feeds quotes.
    pub engine: bool,
    /// Relays messages, takes them, does jobs and chores.
    pub worker: bool,
    /// Serves boards, statistics and counters, and keeps their rows.
    pub analytics: bool,
}

impl Roles {
    /// Everything.
    pub const ALL: Self = Self { api: true, engine: true, worker: true, analytics: true };
}

/// What processes of one installation share beside the database.
#[derive(Clone)]
pub struct Shared {
    /// Through which they speak.
    pub streams: Arc<dyn Streams>,
    /// What they keep for each other.
    pub cache: Arc<dyn Cache>,
    /// Where whoever feeds has quotes from.
    pub market: MarketSettings,
    /// When the market began, so that each goes on where the last one was.
    pub market_began: Timestamp,
}

/// A running platform.
pub struct Platform {
    /// Where it listens, if it serves the API.
    pub address: Option<SocketAddr>,
    /// Where the operator's machines ask, if they do.
    pub ops_address: Option<SocketAddr>,
    /// Where boards and statistics are served, if they are.
    pub analytics_address: Option<SocketAddr>,
    /// Where providers of money tell what happened, if it is heard here.
    pub webhooks_address: Option<SocketAddr>,
    /// To the shards.
    pub desk: Desk,
    /// Quotes and candles.
    pub hub: Arc<MarketHub>,
    /// Identity, catalogue, purchases for those who act inside the process.
    pub web: Web,
    sequencer: Option<Sequencer>,
    /// Stopped one after the other: who asks and who is asked by the world, the shards, whoever serves these.
    stages: [Stage; 3],
}

/// Tasks that end together.
struct Stage {
    stop: watch::Sender<bool>,
    tasks: Vec<(&'static str, JoinHandle<anyhow::Result<()>>)>,
}

impl Stage {
    fn new() -> Self {
        Self { stop: watch::Sender::new(false), tasks: Vec::new() }
    }

    fn stopping(&self) -> watch::Receiver<bool> {
        self.stop.subscribe()
    }

    fn run(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.push((
            name,
            tokio::spawn(async {
                task.await;
                Ok(())
            }),
        ));
    }

    async fn end(&mut self) -> anyhow::Result<()> {
        self.stop.send_replace(true);
        for (name, task) in &mut self.tasks {
            task.await
                .with_context(|| format!("stopping {name}"))?
                .with_context(|| format!("running {name}"))?;
        }
        Ok(())
    }
}

impl Platform {
    /// Starts everything; returns once it listens.
    pub async fn start(settings: Settings) -> anyhow::Result<Self> {
        let Roles { api: api_role, engine, worker, analytics } = settings.roles;
        let (clock, rng) = (&settings.clock, &settings.rng);
        let mut stages = [Stage::new(), Stage::new(), Stage::new()];
        let [world, owning, serving] = &mut stages;

        let listener = if api_role {
            let listening = settings.listening.bind(settings.listen).await;
            Some(listening.with_context(|| format!("listening on {}", settings.listen))?)
        } else {
            None
        };
        let address = listener.as_ref().map(TcpListener::local_addr).transpose();
        let address = address.context("reading the address listened on")?;
        let unsealed = Store::has_unsealed_people(&settings.database_url).await;
        anyhow::ensure!(
            !unsealed.context("looking at the people")?,
            "there are people in clear in the database: seal them first, by `tradesense migrate --keys-dir`"
        );
        let store = Store::connect(&store::Settings {
            url: settings.database_url.clone(),
            instruments: Arc::clone(&settings.instruments),
            app_connections: settings.app_connections,
            // One for each shard that may be owned here; for the leases; for judging a history again; for whoever asks
            // whether the database answers.
            engine_connections: if engine {
                u32::from(settings.shards.unsigned_abs()).saturating_add(3)
            } else {
                3
            },
            worker_connections: if worker { 10 } else { 2 },
            vault: Vault::new(Arc::clone(&settings.people_keys), Arc::clone(rng)),
        })
        .await
        .context("connecting to the database")?;
        let store = Arc::new(store);
        let region = store.region().await.context("reading the region of the installation")?;
        let here = settings.homes.here.as_ref().map(|region| region.as_str().to_owned());
        anyhow::ensure!(
            region == here,
            "the database keeps people of the region {}, and this process was told {}: see --region",
            region.as_deref().unwrap_or("(none)"),
            here.as_deref().unwrap_or("(none)")
        );
        let streams = match &settings.shared {
            Some(shared) => Arc::clone(&shared.streams),
            None => Arc::new(MemoryStreams::new()),
        };

        let names = leases(settings.roles, settings.shared.is_some());
        let leader = Leader::new(store.clone(), settings.owner, names);

        // Quotes: the log, what is shown of it, and whoever writes it.
        let log = DiskQuoteLog::open(&settings.quotes).context("opening the quote log")?;
        let hub = Arc::new(MarketHub::new(Arc::clone(&settings.instruments)));
        show_log(&log, &hub)?;
        let log: SharedQuoteLog = Arc::new(Mutex::new(Box::new(log)));
        let shards = store.shards(settings.shards).await.context("reading the shards")?;
        let queues = match &settings.shared {
            None => Queues::new(shards, clock),
            Some(_) if engine => Queues::of_some(shards, clock),
            // A copy of the log for judging a history again, and no shard.
            Some(_) => Queues::of_some(0, clock),
        };
        let (desk, sequencer) = match &settings.shared {
            None => {
                let committed = store.quote_position().await.context("reading the shards")?;
                let (instruments, clock) = (Arc::clone(&settings.instruments), Arc::clone(clock));
                let (log, hub) = (Arc::clone(&log), Arc::clone(&hub));
                (queues.desk(), Some(Sequencer::new(instruments, clock, log, committed, &queues, hub)))
            }
            Some(shared) => {
                let remote = Remote::new(Arc::clone(&streams), Arc::clone(clock), settings.owner, shards);
                let desk = remote.desk();
                serving.run("the lines to the shards", remote.run(serving.stopping()));
                let first_needed = store.first_needed_quote().await.context("reading the shards")?;
                let copy = Shards { log: Arc::clone(&log), queues: queues.clone(), first_needed };
                let follower = Follower::new(Arc::clone(&streams), Arc::clone(&hub), Some(copy));
                if engine {
                    let feeder = Feeder {
                        shared: shared.clone(),
                        instruments: Arc::clone(&settings.instruments),
                        clock: Arc::clone(clock),
                        store: Arc::clone(&store),
                        log: Arc::clone(&log),
                        hub: Arc::clone(&hub),
                        place: follower.place(),
                    };
                    world.run("the feeder of quotes", feeder.run(leader.leads(), world.stopping()));
                }
                serving.run("the follower of quotes", follower.run(serving.stopping()));
                (desk, None)
            }
        };
        let (stored, meter) = (Stored::default(), Meter::default());
        let metrics: Arc<Counted> = Arc::default();
        let watch = Watch { counted: Arc::clone(&metrics), clock: Arc::clone(clock) };
        let by_host = store.domains().await.context("reading the firms' host names")?.into_iter().collect();
        let threads = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let identity =
            Identity::new(store.clone(), Arc::clone(clock), Arc::clone(rng), threads, settings.password_cost);
        let identity = Arc::new(identity.at_home(settings.homes.clone()));
        let privacy = Arc::new(Privacy::new(
            store.clone(),
            Arc::clone(&identity),
            Arc::clone(&settings.people_keys),
            Arc::clone(clock),
            Arc::clone(&settings.receipt_key),
        ));
        // Before anybody is answered: the database may have come back from a backup.
        let again = privacy.replay().await.context("telling the database who was erased")?;
        if again > 0 {
            tracing::warn!(people = again, "people were erased again whom the database still told of");
        }
        let by_slug = store.firms_by_slug().await.context("reading the firms")?;
        let providers = settings.payments.providers(&by_slug, clock, rng)?;
        let purchases =
            Arc::new(Purchases::new(store.clone(), store.clone(), Arc::clone(clock), Arc::clone(rng)));
        let checkouts = Arc::new(Checkouts::new(
            store.clone(),
            Arc::clone(&purchases),
            providers.clone(),
            Arc::clone(clock),
            Arc::clone(rng),
        ));
        let refunds =
            Arc::new(Refunds::new(store.clone(), providers.clone(), Arc::clone(clock), Arc::clone(rng)));
        let disputes = Arc::new(Disputes::new(
            store.clone(),
            store.clone(),
            providers.clone(),
            Thresholds::default(),
            Arc::clone(clock),
        ));
        let web = Web::new(Parts {
            identity,
            privacy,
            catalogue: Arc::new(Catalogue::new(
                store.clone(),
                Arc::clone(&settings.instruments),
                Arc::clone(clock),
            )),
            purchases,
            checkouts,
            notices: Arc::new(Notices::new(store.clone())),
            public_url: settings.public_url.trim_end_matches('/').to_owned(),
            refunds,
            disputes,
            payouts: Arc::new(Payouts::new(
                store.clone(),
                Arc::new(AtDesk::new(desk.clone(), store.clone())),
                providers.clone(),
                Arc::clone(clock),
                Arc::clone(rng),
            )),
            certificates: Arc::new(Certificates::new(store.clone(), Arc::clone(clock), Arc::clone(rng))),
            kyc: Arc::new(Kyc::new(
                store.clone(),
                Arc::new(SandboxVerifier::default()),
                Arc::clone(clock),
                Arc::clone(rng),
            )),
            what_if: Arc::new(WhatIf::new(
                store.clone(),
                crate::replay::archived_quotes_in(Archive::new(&settings.archive), settings.quotes.clone()),
                Arc::clone(&settings.instruments),
            )),
            ledger: Arc::new(Ledger::new(store.clone(), Arc::clone(clock))),
            finance: Arc::new(Finance::new(store.clone())),
            reconciliation: Arc::new(
                Reconciliation::new(store.clone(), providers.clone(), Arc::clone(clock), Arc::clone(rng))
                    .with_payouts(store.clone()),
            ),
            desk: desk.clone(),
            overrides: Arc::new(Overrides::new(store.clone(), desk.clone())),
            releases: Arc::new(Releases::new(
                store.clone(),
                Arc::clone(&settings.instruments),
                Arc::clone(clock),
                Arc::clone(rng),
            )),
            operations: Arc::new(Operations::new(store.clone(), Arc::clone(clock))),
            notifications: Arc::new(Notifications::new(
                store.clone(),
                Arc::clone(clock),
                Arc::clone(rng),
                settings.bounces,
            )),
            webhooks: Arc::new(Webhooks::new(
                store.clone(),
                Arc::clone(clock),
                Arc::clone(rng),
                url_policy(settings.demo),
            )),
            mailbox: settings.demo.then(|| Arc::new(Mailbox::new(Arc::clone(clock)))),
            hub: Arc::clone(&hub),
            meter: meter.clone(),
            quote_log: web::ops::LogSize::default(),
            store: Arc::clone(&store),
            metrics: Arc::clone(&metrics),
            clock: Arc::clone(clock),
            rng: Arc::clone(rng),
            receipt_key: settings.receipt_key.public(),
            firms: Arc::new(Firms { by_host, otherwise: settings.otherwise }),
            demo: settings.demo,
            secure_cookies: !settings.demo,
            purchase_paid: Arc::new(Notify::new()),
            calendar_changed: Arc::new(Notify::new()),
            stopping: world.stopping(),
        });
        let (mut ops_address, mut ops_listener) = (None, None);
        let mut figures = settings.figures.clone();
        if let Some(ops) = settings.listen_ops {
            let listener = settings
                .listening
                .bind(ops)
                .await
                .with_context(|| format!("listening on {ops} for operators"))?;
            ops_address =
                Some(listener.local_addr().context("reading the address listened on for operators")?);
            ops_listener = Some(listener);
        }
        if engine {
            let owner = Owner::new(
                ShardSettings {
                    owner: settings.owner,
                    instruments: Arc::clone(&settings.instruments),
                    clock: Arc::clone(clock),
                    store: store.clone(),
                    log,
                    log_follows: settings.shared.is_some(),
                    stored: stored.clone(),
                    meter: meter.clone(),
                },
                store.clone(),
                queues,
            );
            let owner = match &settings.shared {
                Some(_) => owner.answering(Arc::clone(&streams)),
                None => owner,
            };
            owning.run("the shards", owner.run(owning.stopping()));
            let counter = chores::store_latencies(meter, Arc::clone(&store), serving.stopping());
            serving.run("the counter of latencies", counter);
            let issuer = Issuer {
                store: store.clone(),
                key: Arc::clone(&settings.receipt_key),
                clock: Arc::clone(clock),
                stored,
            };
            serving.run("the issuer of receipts", chores::issue_receipts(issuer, serving.stopping()));
        }
        let keeper =
            Keeper::new(&settings.quotes, Some(Archive::new(&settings.archive)), Retention::default());
        let keeper = chores::keep_quotes(keeper, web.clone(), serving.stopping());
        serving.run("the keeper of the quote log", keeper);
        let mut consumers: Vec<Arc<dyn Consumer>> = Vec::new();
        if worker {
            world.run("the opener", chores::open_paid_challenges(web.clone()));
            world.run("the teller of calendars", chores::tell_calendars(web.clone()));
            let money = MoneyKeeper {
                following: Arc::new(Following::new(
                    store.clone(),
                    following::Parts {
                        providers: providers.clone(),
                        checkouts: Arc::clone(&web.checkouts),
                        refunds: Arc::clone(&web.refunds),
                        disputes: Arc::clone(&web.disputes),
                        payouts: Arc::clone(&web.payouts),
                    },
                    Arc::clone(clock),
                    Arc::clone(rng),
                )),
                checkouts: Arc::clone(&web.checkouts),
                refunds: Arc::clone(&web.refunds),
                disputes: Arc::clone(&web.disputes),
                holder: Arc::new(Holder::new(
                    store.clone(),
                    desk.clone(),
                    Arc::clone(clock),
                    Arc::clone(rng),
                )),
                payouts: Arc::clone(&web.payouts),
                kyc: Arc::clone(&web.kyc),
                purchases: Arc::clone(&web.purchases),
                ledger: Arc::clone(&web.ledger),
                firms: by_slug.values().copied().collect(),
                purchase_paid: Arc::clone(&web.purchase_paid),
            };
            world.run("the follower of payments", money.clone().follow(world.stopping()));
            world.run("the keeper of money", money.keep(world.stopping()));
            let mailer: Arc<dyn Mailer> = match (&settings.smtp, &web.mailbox) {
                (Some(smtp), _) => {
                    Arc::new(Smtp::new(smtp, Arc::clone(clock)).context("setting up the mail server")?)
                }
                (None, Some(mailbox)) => mailbox.clone(),
                (None, None) => anyhow::bail!("a worker needs a mail server (--smtp-url), or --demo"),
            };
            let client = WebhookClient::new(url_policy(settings.demo), Arc::clone(clock));
            let deliverer = Deliverer::new(
                store.clone(),
                Arc::new(client.context("setting up the calls of webhooks")?),
                Arc::clone(clock),
                Arc::clone(rng),
            );
            let notifications = Arc::clone(&web.notifications);
            let public_url = settings.public_url.clone();
            let (mails, clocks) = (store.clone(), Arc::clone(clock));
            let send = SendMail::new(mails, Arc::clone(&notifications), mailer, clocks, public_url);
            let forget = Forget { notifications, webhooks: Arc::clone(&web.webhooks) };
            let remover = Remover { store: store.clone(), clock: Arc::clone(clock) };
            let partitions = PartitionMaker { store: store.clone() };
            let health = Arc::new(Health::default());
            let signers = Arc::clone(&settings.audit_signers);
            let means = Means {
                credentials: Credentials::from_env(),
                clock: Arc::clone(clock),
                rng: Arc::clone(rng),
            };
            let copies = settings.audit_copies.writer(means).await.context("copying the audit log")?;
            let key = signers.first().context("the audit log has no key")?.public(Signs::Text);
            let archivist = Archivist {
                store: store.clone(),
                copies: Arc::clone(&copies),
                key: key.clone(),
                health: Arc::clone(&health),
                part: app::auditing::PART,
            };
            let reconciler = Reconciler {
                reconciliation: Arc::clone(&web.reconciliation),
                firms: by_slug.values().copied().collect(),
                clock: Arc::clone(clock),
                rng: Arc::clone(rng),
            };
            world.run("the comparisons of the books", reconciler.clone().carry_on(world.stopping()));
            let handlers: Vec<Arc<dyn JobHandler>> = vec![
                Arc::new(remover),
                Arc::new(send),
                Arc::new(Deliver::new(deliverer)),
                Arc::new(forget),
                Arc::new(partitions),
                Arc::new(archivist),
                Arc::new(reconciler),
            ];
            let handlers = handlers.into_iter().map(|handler| -> Arc<dyn JobHandler> {
                Arc::new(TimedHandler::new(handler, watch.clone()))
            });
            let handlers = handlers.collect();
            consumers.push(Arc::new(Notifier::new(store.clone(), Arc::clone(clock))));
            consumers.push(Arc::new(WebhookTaker::new(store.clone(), Arc::clone(clock))));
            let runner = Runner::new(
                store.clone(),
                Arc::clone(clock),
                // This process alone: what an earlier one of the same name still holds is not its own.
                OwnerId::random(clock.now(), &**rng),
                RunnerSettings::default(),
                vec![
                    (upkeep::QUEUE.to_owned(), 1),
                    (MAIL_QUEUE.to_owned(), 8),
                    (webhooks::QUEUE.to_owned(), 16),
                    (reconciliation::QUEUE.to_owned(), 1),
                ],
                handlers,
            );
            world.run("the jobs", Arc::new(runner).run(world.stopping()));
            let mut platform = schedules::platform().context("reading the platform's schedules")?;
            platform.push(forgetting().context("reading the platform's schedules")?);
            platform.push(making_partitions().context("reading the platform's schedules")?);
            platform.push(archiving().context("reading the platform's schedules")?);
            platform.push(reconciliation::comparing().context("reading the platform's schedules")?);
            let schedules = Schedules::new(store.clone(), Arc::clone(clock), platform);
            world.run("the schedules", schedules.run(leader.leads(), world.stopping()));
            let relay = Relay { store: store.clone(), streams: Arc::clone(&streams) };
            world.run("the relay", relay.run(leader.leads(), world.stopping()));
            let sealer = Sealer {
                store: store.clone(),
                copies: Arc::clone(&copies),
                signers,
                clock: Arc::clone(clock),
                health: Arc::clone(&health),
            };
            // What the shards write last is sealed too.
            serving.run("the sealer of the audit log", sealer.run(leader.leads(), serving.stopping()));
            let (store, clock) = (store.clone(), Arc::clone(clock));
            let verifier = LogVerifier { store, copies, key, clock, health: Arc::clone(&health) };
            world.run("the verifier of the audit log", verifier.run(leader.leads(), world.stopping()));
            let clock = Arc::clone(&settings.clock);
            figures.push(Arc::new(move |page| health.write(clock.now(), page)));
        }
        let mut api = web::router(web.clone());
        let mut analytics_address = None;
        if analytics {
            let doing = || format!("listening on {}", settings.listen_analytics);
            let listener = settings.listening.bind(settings.listen_analytics).await.with_context(doing)?;
            analytics_address = Some(listener.local_addr().context("reading the address listened on")?);
            let cache: Arc<dyn Cache> = match &settings.shared {
                Some(shared) => Arc::clone(&shared.cache),
                None => Arc::new(MemoryCache::new(Arc::clone(clock))),
            };
            let projected = Arc::new(Notify::new());
            let replicas = Replicas::new(Arc::clone(&store), &settings.replicas, 8, Arc::clone(clock));
            let parts = analytics::Parts {
                identity: Arc::clone(&web.identity),
                catalogue: Arc::clone(&web.catalogue),
                store: Arc::clone(&store),
                replicas: Arc::new(replicas.context("reaching the replicas")?),
                cache: Arc::clone(&cache),
                firms: Arc::clone(&web.firms),
                metrics: Arc::clone(&metrics),
                clock: Arc::clone(clock),
                rng: Arc::clone(rng),
                projected: Arc::clone(&projected),
                stopping: world.stopping(),
            };
            let boards = Analytics::new(parts);
            let router = analytics::router(boards.clone());
            // Browsers find everything at one address, as behind a proxy that serves both roles.
            api = serve::beside(api, analytics::PREFIX, router.clone());
            let service = behind(router, &settings.edges).into_make_service_with_connect_info::<Peer>();
            let (first, stopping) = (boards.clone(), world.stopping());
            let server = tokio::spawn(async move {
                // Whoever asks meanwhile waits at the door.
                if let Err(error) = analytics::follow_once(&first).await {
                    tracing::warn!(error = %app::with_causes(&error), "the boards could not be brought up to date");
                }
                serve(listener, service, stopping).await
            });
            world.tasks.push(("the server of analytics", tokio::spawn(async move { Ok(server.await??) })));
            world.run("the boards", analytics::follow(boards.clone(), world.stopping()));
            world.run("the builder of boards", analytics::build(boards.clone(), world.stopping()));
            world.run("the watch over replicas", analytics::watch_replicas(boards.clone(), world.stopping()));
            figures.push(Arc::new(move |page| analytics::ops::write(&boards, page)));
            consumers.push(Arc::new(Projection::new(Arc::clone(&store), cache, projected)));
        }
        if let Some(listener) = listener {
            let service = behind(api, &settings.edges).into_make_service_with_connect_info::<Peer>();
            let server = tokio::spawn(serve(listener, service, world.stopping()));
            world.tasks.push(("the server", tokio::spawn(async move { Ok(server.await??) })));
        }
        if let Some(listener) = ops_listener {
            let leads = leader.leads();
            let counts_business = move || leads.borrow().contains_key(schedules::LEASE);
            let router = web::ops::router(web.clone(), figures, Arc::new(counts_business));
            let service = router.into_make_service_with_connect_info::<Peer>();
            // Ends with the process: it is asked to the very last.
            tokio::spawn(serve(listener, service, serving.stopping()));
        }
        let mut webhooks_address = None;
        if let (true, Some(listen)) = (api_role, settings.listen_webhooks) {
            let doing = || format!("listening on {listen} for providers of money");
            let listener = settings.listening.bind(listen).await.with_context(doing)?;
            webhooks_address = Some(listener.local_addr().with_context(doing)?);
            let (intake, writing) = Intake::new(store.clone(), serving.stopping());
            serving.run("the inbox of providers", writing);
            let router = web::notices::router(Inbox {
                intake,
                providers,
                firms: Arc::new(by_slug),
                clock: Arc::clone(clock),
                metrics: Arc::clone(&metrics),
                stopping: world.stopping(),
            });
            let service = router.into_make_service_with_connect_info::<Peer>();
            let server = tokio::spawn(serve(listener, service, world.stopping()));
            world.tasks.push(("the server for providers", tokio::spawn(async move { Ok(server.await??) })));
        }
        let probe = Probe { store: Arc::clone(&store), streams: Arc::clone(&streams), watch: watch.clone() };
        world.run("the probe", probe.run(settings.shared.is_some(), world.stopping()));
        for consumer in consumers {
            let tells = consumer.group() == notifications::GROUP;
            let consumer: Arc<dyn Consumer> = Arc::new(TimedConsumer::new(consumer, watch.clone(), tells));
            store.join(consumer.group(), consumer.passes_over()).await.context("joining the messages")?;
            let (streams, store, owner) = (Arc::clone(&streams), store.clone(), settings.owner);
            let taking = Taking { streams, store, owner };
            world.run(consumer.group(), taking.run(consumer, leader.leads(), world.stopping()));
        }
        serving.run("the leases", leader.run(serving.stopping()));
        Ok(Self {
            address,
            ops_address,
            analytics_address,
            webhooks_address,
            desk,
            hub,
            web,
            sequencer,
            stages,
        })
    }

    /// The one who takes quotes where this process is alone; there is one, for whoever asks first.
    pub fn take_sequencer(&mut self) -> Option<Sequencer> {
        self.sequencer.take()
    }

    /// Tells everybody who watches [`Web::stopping`] to stop.
    pub fn begin_stop(&self) {
        let [world, ..] = &self.stages;
        world.stop.send_replace(true);
    }

    /// Answers what was asked, writes what was decided, and ends. Whoever does not end by itself within
    /// [`LONGEST_STOP`] is ended: what was committed is safe, and nobody was told anything else.
    pub async fn stop(self) -> anyhow::Result<()> {
        let Self { desk, web, sequencer, hub, mut stages, .. } = self;
        drop((desk, web, sequencer, hub));
        let ended = tokio::time::timeout(LONGEST_STOP, async {
            for stage in &mut stages {
                stage.end().await?;
            }
            Ok(())
        });
        if let Ok(ended) = ended.await {
            return ended;
        }
        for (_, task) in stages.iter().flat_map(|stage| &stage.tasks) {
            task.abort();
        }
        anyhow::bail!("the platform did not stop within {} s and was ended", LONGEST_STOP.as_secs())
    }
}

/// What a process of these roles leads when it is its turn. All is asked for at once.
fn leases(roles: Roles, shared: bool) -> Vec<String> {
    let mut names = Vec::new();
    if roles.engine && shared {
        names.push(feeding::LEASE.to_owned());
    }
    if roles.worker {
        names.extend([relay::LEASE, schedules::LEASE, sealer::LEASE, verifier::LEASE].map(str::to_owned));
        names.extend(consume::leases(notifications::GROUP));
        names.extend(consume::leases(workers::webhooks::GROUP));
    }
    if roles.analytics {
        names.extend(consume::leases(store::analytics::GROUP));
    }
    names
}

/// Where webhooks may lead: a demonstration's to this machine too.
fn url_policy(demo: bool) -> UrlPolicy {
    UrlPolicy { loopback: demo, ..UrlPolicy::default() }
}

/// Shows the end of the log to the screens.
fn show_log(log: &DiskQuoteLog, hub: &MarketHub) -> anyhow::Result<()> {
    let recent = log.last().map_or(1, |last| last.position.saturating_sub(CANDLE_MEMORY));
    for quote in log.read(recent).map_err(anyhow::Error::from_boxed).context("reading the quote log")? {
        hub.take(&[quote.map_err(anyhow::Error::from_boxed).context("reading the quote log")?]);
    }
    Ok(())
}

/// How long a stop may take.
const LONGEST_STOP: Duration = Duration::from_secs(15);

/// Quotes read again at a start, for the candles.
const CANDLE_MEMORY: u64 = 300_000;
