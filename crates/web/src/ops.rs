//! What the operator's machines ask: whether the platform lives, and its figures. On a port of its own, which is not for
//! the world.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use app::AppError;
use app::events::{Backlog, MessageStore as _};
use app::latency::{Example, Histogram, Received, Until};
use app::operations::Queue;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use kernel::{Span, Timestamp};
use store::{Business, Machinery, Store};
use telemetry::metrics::{Exemplar, Format, Page, Seconds, write_process};
use tokio::sync::Mutex;

use crate::Web;

/// Upper ends of the buckets that are shown, in microseconds.
const BOUNDS: [u64; 15] = [
    10, 50, 100, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 30_000, 50_000, 100_000, 250_000, 1_000_000,
    10_000_000,
];

/// The business is counted at most this often, by one process.
const BUSINESS_COUNTED_FOR: Span = Span::from_seconds(60);
/// What waits is counted at most this often, however often somebody asks.
const COUNTED_FOR: Span = Span::from_seconds(5);
/// Whoever asks waits so long for the counting; less than Prometheus waits for the answer.
const LONGEST_COUNT: Duration = Duration::from_secs(8);

/// How large the quote log is, as whoever keeps it small last saw it.
#[derive(Debug, Default)]
pub struct LogSize(OnceLock<[AtomicU64; 2]>);

impl LogSize {
    /// Says it anew.
    pub fn set(&self, bytes: u64, segments: u64) {
        let [known_bytes, known_segments] = self.0.get_or_init(Default::default);
        known_bytes.store(bytes, Ordering::Relaxed);
        known_segments.store(segments, Ordering::Relaxed);
    }

    /// Bytes and segments, once somebody has looked.
    fn get(&self) -> Option<(u64, u64)> {
        let [bytes, segments] = self.0.get()?;
        Some((bytes.load(Ordering::Relaxed), segments.load(Ordering::Relaxed)))
    }
}

/// What the database says about the whole platform, whoever's it is.
struct Counted {
    groups: Vec<Backlog>,
    queues: Vec<Queue>,
    relay_lag: i64,
    machinery: Machinery,
}

/// When something was counted last; nothing came of it if the database did not answer.
type Last<T> = Option<(Timestamp, Option<T>)>;

/// Figures of somebody else in this process, written onto a page.
pub type Figures = Arc<dyn Fn(&mut Page) + Send + Sync>;

/// Whether this process is the one that counts the business at the moment.
pub type Counts = Arc<dyn Fn() -> bool + Send + Sync>;

#[derive(Clone)]
struct Ops {
    web: Web,
    others: Arc<[Figures]>,
    counts_business: Counts,
    last: Arc<Mutex<Last<Counted>>>,
    last_business: Arc<Mutex<Last<Business>>>,
}

/// The operator's server; it tells the figures of others behind its own.
pub fn router(web: Web, others: Vec<Figures>, counts_business: Counts) -> Router {
    Router::new()
        .route("/health/live", axum::routing::get(|| async { "live\n" }))
        .route("/health/ready", axum::routing::get(ready))
        .route("/metrics", axum::routing::get(metrics))
        .with_state(Ops {
            web,
            others: others.into(),
            counts_business,
            last: Arc::default(),
            last_business: Arc::default(),
        })
}

async fn ready(State(Ops { web, .. }): State<Ops>) -> Response {
    match crate::readiness(&web).await {
        Ok(()) => "ready\n".into_response(),
        Err(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", problem.detail())).into_response(),
    }
}

/// As `OpenMetrics` for whoever takes it, else as the text format.
async fn metrics(State(ops): State<Ops>, headers: HeaderMap) -> impl IntoResponse {
    let Ops { web, others, counts_business, last, last_business } = ops;
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let format = Format::accepted(accept);
    let mut page = Page::new(format);
    page.gauge("tradesense_build_info", "Which program this is.")
        .sample(&[("version", env!("CARGO_PKG_VERSION"))], 1);
    write_process(&mut page);
    web.metrics.write(&mut page);
    write_latencies(&mut page, &web);
    write_pools(&mut page, &web.store);
    let now = web.clock.now();
    write_market(&mut page, &web, now);
    if let Some((bytes, segments)) = web.quote_log.get() {
        page.gauge("tradesense_quote_log_bytes", "Size of the quote log on this machine.").sample(&[], bytes);
        page.gauge("tradesense_quote_log_segments", "Files of the quote log on this machine.")
            .sample(&[], segments);
    }
    // Held while counting, so that those who ask at once wait for one count.
    let mut last = last.lock().await;
    if last.as_ref().is_none_or(|(at, _)| is_old(*at, now, COUNTED_FOR)) {
        *last = Some((now, count(&web.store, now).await));
    }
    let told = if let Some((_, Some(counted))) = &*last {
        write_counted(&mut page, counted, now);
        1
    } else {
        0
    };
    drop(last);
    page.gauge("tradesense_database_answers", "Whether the database answered the last time it was counted.")
        .sample(&[], told);
    if counts_business() {
        let mut last = last_business.lock().await;
        if last.as_ref().is_none_or(|(at, _)| is_old(*at, now, BUSINESS_COUNTED_FOR)) {
            *last = Some((now, timed("the business", web.store.business()).await));
        }
        if let Some((at, Some(business))) = &*last {
            write_business(&mut page, business, *at);
        }
    }
    for figures in others.iter() {
        figures(&mut page);
    }
    ([(header::CONTENT_TYPE, format.content_type())], page.finish())
}

/// A clock that was set back makes a count old too.
fn is_old(at: Timestamp, now: Timestamp, longest: Span) -> bool {
    now.since(at).map_or(true, |age| age >= longest || age < Span::ZERO)
}

/// Figures of this process are told also when the database does not answer.
async fn count(store: &Store, now: Timestamp) -> Option<Counted> {
    timed("what waits", async {
        let groups = store.backlogs().await?;
        let queues = store.all_queues(now).await?;
        let relay_lag = store.relay_lag().await?;
        let machinery = store.machinery().await?;
        Ok(Counted { groups, queues, relay_lag, machinery })
    })
    .await
}

async fn timed<T>(what: &'static str, counting: impl Future<Output = Result<T, AppError>>) -> Option<T> {
    match tokio::time::timeout(LONGEST_COUNT, counting).await {
        Ok(Ok(counted)) => Some(counted),
        Ok(Err(error)) => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, what, "something could not be counted; its figures are left out");
            None
        }
        Err(_) => {
            tracing::warn!(what, "counting took too long; its figures are left out");
            None
        }
    }
}

fn write_counted(page: &mut Page, counted: &Counted, now: Timestamp) {
    let Counted { groups, queues, relay_lag, machinery } = counted;
    let mut of_groups = |name, help, figure: &dyn Fn(&Backlog) -> String| {
        let mut family = page.gauge(name, help);
        for group in groups {
            family.sample(&[("group", &group.group)], figure(group));
        }
    };
    let waiting = |group: &Backlog| group.waiting.to_string();
    of_groups("tradesense_stream_backlog", "Messages that a group has neither taken nor given up.", &waiting);
    let oldest = |group: &Backlog| age(group.oldest, now).to_string();
    of_groups("tradesense_stream_oldest_age_seconds", "Age of the oldest of these.", &oldest);
    let failing = |group: &Backlog| group.failing.to_string();
    of_groups("tradesense_messages_failing", "Messages that failed and are tried again.", &failing);
    let dead = |group: &Backlog| group.dead.to_string();
    of_groups("tradesense_messages_dead", "Messages that were given up.", &dead);

    page.gauge("tradesense_outbox_known_lag", "Ids of messages that the relay does not know yet.")
        .sample(&[], relay_lag);

    let mut jobs = page.gauge("tradesense_jobs", "Jobs that are not over, and those that were given up.");
    for queue in queues {
        let states = [("waiting", queue.waiting), ("running", queue.running), ("dead", queue.dead)];
        for (state, number) in states {
            jobs.sample(&[("queue", &queue.name), ("state", state)], number);
        }
    }
    let mut oldest = page
        .gauge("tradesense_jobs_oldest_age_seconds", "For how long the longest waiting job has been due.");
    for queue in queues {
        oldest.sample(&[("queue", &queue.name)], age(queue.oldest, now));
    }
    write_machinery(page, machinery);
}

fn write_machinery(page: &mut Page, machinery: &Machinery) {
    page.gauge("tradesense_database_bytes", "Size of the database.").sample(&[], machinery.database_bytes);
    let mut tables = page.gauge("tradesense_table_bytes", "Size of the largest tables with their indexes.");
    for (name, bytes) in &machinery.tables {
        tables.sample(&[("table", name)], bytes);
    }
    let (open, most) = machinery.connections;
    page.gauge("tradesense_database_connections", "Connections to the database server, whoever's.")
        .sample(&[], open);
    page.gauge("tradesense_database_connections_max", "The most it takes.").sample(&[], most);
    let (commits, rollbacks) = machinery.transactions;
    page.counter("tradesense_database_transactions_total", "Transactions of the database by how they ended.")
        .sample(&[("outcome", "committed")], commits)
        .sample(&[("outcome", "rolled_back")], rollbacks);
    let (owned, shards) = machinery.shards;
    page.gauge("tradesense_shards", "Shards of the installation, by whether somebody owns them.")
        .sample(&[("state", "owned")], owned)
        .sample(&[("state", "free")], shards.saturating_sub(owned));
    let silence = Seconds(u64::try_from(machinery.shard_silence).unwrap_or_default());
    page.gauge(
        "tradesense_shard_silence_seconds",
        "Since the shard that is furthest behind has written something.",
    )
    .sample(&[], silence);
    let mut leases = page.gauge("tradesense_lease_held", "Whether somebody holds a lease.");
    for (name, held) in &machinery.leases {
        leases.sample(&[("lease", name)], u8::from(*held));
    }
}

fn write_business(page: &mut Page, business: &Business, at: Timestamp) {
    let at = Seconds(u64::try_from(at.micros()).unwrap_or_default());
    page.gauge(
        "tradesense_business_counted_timestamp_seconds",
        "When the figures of the business were counted.",
    )
    .sample(&[], at);
    page.gauge("tradesense_firms", "Firms.").sample(&[], business.firms);
    if let Some(began) = business.began {
        page.gauge("tradesense_installed_timestamp_seconds", "When the first firm was made.")
            .sample(&[], Seconds(u64::try_from(began.micros()).unwrap_or_default()));
    }
    let mut purchases = page.gauge("tradesense_purchases", "Purchases of all firms by state.");
    for (state, count) in &business.purchases {
        purchases.sample(&[("state", state)], count);
    }
    let mut accounts = page.gauge("tradesense_accounts", "Accounts of all firms by status.");
    for (status, count) in &business.accounts {
        accounts.sample(&[("status", status)], count);
    }
    let (waiting, oldest) = business.unopened;
    page.gauge("tradesense_challenges_unopened", "Paid challenges whose account is not open yet.")
        .sample(&[], waiting);
    page.gauge("tradesense_challenges_unopened_oldest_age_seconds", "Since the oldest of these was paid.")
        .sample(&[], Seconds(u64::try_from(oldest).unwrap_or_default()));
    if !business.books.is_empty() {
        let mut books = page.counter(
            "tradesense_ledger_amount_minor_total",
            "What was posted in the books of all firms, in minor units, by the kind of account, side and currency.",
        );
        for ((account, currency), (debits, credits)) in &business.books {
            for (side, amount) in [("debit", debits), ("credit", credits)] {
                books.sample(&[("account", account), ("side", side), ("currency", currency)], amount);
            }
        }
    }
    let mut days = page
        .gauge("tradesense_business_events", "What the counters of the business show, by what and currency.");
    for ((what, currency), (count, _)) in &business.counters {
        days.sample(&[("what", what), ("currency", currency)], count);
    }
    let mut paid = page.gauge(
        "tradesense_business_amount",
        "Amounts of the same: purchases in minor units, payouts in millionths of the currency's unit.",
    );
    for ((what, currency), (_, amount)) in &business.counters {
        paid.sample(&[("what", what), ("currency", currency)], amount);
    }
}

fn write_pools(page: &mut Page, store: &Store) {
    let pools = store.pools();
    let label = "db_client_connection_pool_name";
    let mut count = page.gauge("db_client_connection_count", "Connections of a pool by state.");
    for pool in &pools {
        for (state, connections) in [("used", pool.used), ("idle", pool.idle)] {
            count.sample(&[(label, pool.name), ("db_client_connection_state", state)], connections);
        }
    }
    let mut most = page.gauge("db_client_connection_max", "The most connections of a pool.");
    for pool in &pools {
        most.sample(&[(label, pool.name)], pool.most);
    }
}

/// Of instruments that have ever had a quote.
fn write_market(page: &mut Page, web: &Web, now: Timestamp) {
    let quotes = web.hub.quotes();
    let Some(newest) = quotes.iter().map(|(_, quote)| quote.received_at).max() else { return };
    let stale = quotes.iter().filter(|(id, quote)| web.hub.is_stale(*id, quote, now)).count();
    page.gauge("tradesense_quote_age_seconds", "Age of the newest quote of any instrument in this process.")
        .sample(&[], age(Some(newest), now));
    page.gauge("tradesense_instruments", "Instruments by whether their last quote may be traded on.")
        .sample(&[("state", "fresh")], quotes.len().saturating_sub(stale))
        .sample(&[("state", "stale")], stale);
}

/// Since then; nothing if there is no then, or it is still to come.
fn age(then: Option<Timestamp>, now: Timestamp) -> Seconds {
    let micros = then.and_then(|then| now.since(then).ok()).map_or(0, Span::micros);
    Seconds(u64::try_from(micros).unwrap_or_default())
}

fn write_latencies(page: &mut Page, web: &Web) {
    let latencies = web.meter.read();
    for (until, name, help) in [
        (
            Until::Decided,
            "tradesense_decided_seconds",
            "From receiving a command or the cause of a verdict to the engine's decision.",
        ),
        (
            Until::Durable,
            "tradesense_durable_seconds",
            "From receiving a command or the cause of a verdict to its being durable.",
        ),
    ] {
        let mut family = page.histogram(name, help);
        for received in [Received::Command, Received::Verdict] {
            if let Some((histogram, example)) = latencies.get(&(received, until)) {
                let within = BOUNDS.map(|bound| (bound, Histogram::within(histogram, bound)));
                let example = example.map(|Example { account, took, at }| {
                    let exemplar = Exemplar { name: "account_id", value: account.to_string(), at };
                    (exemplar, u64::try_from(took.micros()).unwrap_or_default())
                });
                let labels = [("received", received.word())];
                family.durations(&labels, &within, (histogram.count(), histogram.sum_us()), example);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    #[test]
    fn a_count_is_old_after_five_seconds_or_when_the_clock_was_set_back() {
        let counted = at("2026-01-01T00:00:10Z");
        assert!(!is_old(counted, at("2026-01-01T00:00:14.999999Z"), COUNTED_FOR));
        assert!(is_old(counted, at("2026-01-01T00:00:15Z"), COUNTED_FOR));
        assert!(is_old(counted, at("2026-01-01T00:00:09Z"), COUNTED_FOR));
    }

    #[test]
    fn ages_are_seconds_and_never_below_nothing() {
        let now = at("2026-01-01T00:01:00.5Z");
        assert_eq!(age(Some(at("2026-01-01T00:00:00Z")), now), Seconds(60_500_000));
        assert_eq!(age(Some(at("2026-01-01T00:02:00Z")), now), Seconds(0));
        assert_eq!(age(None, now), Seconds(0));
    }

    #[test]
    fn a_log_that_nobody_has_looked_at_has_no_size() {
        let size = LogSize::default();
        assert_eq!(size.get(), None);
        size.set(4_096, 2);
        size.set(8_192, 3);
        assert_eq!(size.get(), Some((8_192, 3)));
    }
}
