//! What the operator's machines ask: whether the platform lives, and its figures. On a port of its own, which is not for
//! the world.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use app::AppError;
use app::events::{Backlog, MessageStore as _};
use app::latency::{Histogram, Received, Until};
use app::operations::Queue;
use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use kernel::{Span, Timestamp};
use store::Store;
use tokio::sync::Mutex;

use crate::Web;

/// Upper ends of the buckets that are shown, in microseconds.
const BOUNDS: [u64; 15] = [
    10, 50, 100, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 30_000, 50_000, 100_000, 250_000, 1_000_000,
    10_000_000,
];

/// The database is counted at most this often, however often somebody asks.
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
}

/// When the database was counted last; nothing came of it if it did not answer.
type Last = Option<(Timestamp, Option<Counted>)>;

/// Figures of somebody else in this process, in Prometheus' text format.
pub type Figures = Arc<dyn Fn() -> String + Send + Sync>;

#[derive(Clone)]
struct Ops {
    web: Web,
    others: Arc<[Figures]>,
    last: Arc<Mutex<Last>>,
}

/// The operator's server; it tells the figures of others behind its own.
pub fn router(web: Web, others: Vec<Figures>) -> Router {
    Router::new()
        .route("/health/live", axum::routing::get(|| async { "live\n" }))
        .route("/health/ready", axum::routing::get(ready))
        .route("/metrics", axum::routing::get(metrics))
        .with_state(Ops { web, others: others.into(), last: Arc::default() })
}

async fn ready(State(Ops { web, .. }): State<Ops>) -> Response {
    match crate::readiness(&web).await {
        Ok(()) => "ready\n".into_response(),
        Err(problem) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", problem.detail())).into_response(),
    }
}

/// Prometheus' text format, version 0.0.4.
async fn metrics(State(Ops { web, others, last }): State<Ops>) -> impl IntoResponse {
    let mut text = String::new();
    head(&mut text, "tradesense_build_info", "Which program this is.");
    line(&mut text, format_args!("tradesense_build_info{{version=\"{}\"}} 1", env!("CARGO_PKG_VERSION")));
    write_latencies(&mut text, &web);
    if let Some((bytes, segments)) = web.quote_log.get() {
        head(&mut text, "tradesense_quote_log_bytes", "Size of the quote log on this machine.");
        line(&mut text, format_args!("tradesense_quote_log_bytes {bytes}"));
        head(&mut text, "tradesense_quote_log_segments", "Files of the quote log on this machine.");
        line(&mut text, format_args!("tradesense_quote_log_segments {segments}"));
    }
    // Held while counting, so that those who ask at once wait for one count.
    let mut last = last.lock().await;
    let now = web.clock.now();
    if last.as_ref().is_none_or(|(at, _)| is_old(*at, now)) {
        *last = Some((now, count(&web.store, now).await));
    }
    if let Some((_, Some(counted))) = &*last {
        write_counted(&mut text, counted, now);
    }
    text.extend(others.iter().map(|figures| figures()));
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
}

/// A clock that was set back makes a count old too.
fn is_old(at: Timestamp, now: Timestamp) -> bool {
    now.since(at).map_or(true, |age| age >= COUNTED_FOR || age < Span::ZERO)
}

/// Figures of this process are told also when the database does not answer.
async fn count(store: &Store, now: Timestamp) -> Option<Counted> {
    let counting = async {
        let groups = store.backlogs().await?;
        let queues = store.all_queues(now).await?;
        let relay_lag = store.relay_lag().await?;
        Ok::<_, AppError>(Counted { groups, queues, relay_lag })
    };
    match tokio::time::timeout(LONGEST_COUNT, counting).await {
        Ok(Ok(counted)) => Some(counted),
        Ok(Err(error)) => {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "what waits could not be counted; its figures are left out");
            None
        }
        Err(_) => {
            tracing::warn!("counting what waits took too long; its figures are left out");
            None
        }
    }
}

fn write_counted(text: &mut String, counted: &Counted, now: Timestamp) {
    let Counted { groups, queues, relay_lag } = counted;
    let mut of_groups = |name: &str, help: &str, figure: &dyn Fn(&Backlog) -> String| {
        head(text, name, help);
        for group in groups {
            let value = figure(group);
            line(text, format_args!("{name}{{group=\"{}\"}} {value}", label(&group.group)));
        }
    };
    let waiting = |group: &Backlog| group.waiting.to_string();
    of_groups("tradesense_stream_backlog", "Messages that a group has neither taken nor given up.", &waiting);
    let oldest = |group: &Backlog| age(group.oldest, now);
    of_groups("tradesense_stream_oldest_age_seconds", "Age of the oldest of these.", &oldest);
    let failing = |group: &Backlog| group.failing.to_string();
    of_groups("tradesense_messages_failing", "Messages that failed and are tried again.", &failing);
    let dead = |group: &Backlog| group.dead.to_string();
    of_groups("tradesense_messages_dead", "Messages that were given up.", &dead);

    head(text, "tradesense_outbox_known_lag", "Ids of messages that the relay does not know yet.");
    line(text, format_args!("tradesense_outbox_known_lag {relay_lag}"));

    head(text, "tradesense_jobs", "Jobs that are not over, and those that were given up.");
    for queue in queues {
        let name = label(&queue.name);
        let states = [("waiting", queue.waiting), ("running", queue.running), ("dead", queue.dead)];
        for (state, jobs) in states {
            line(text, format_args!("tradesense_jobs{{queue=\"{name}\",state=\"{state}\"}} {jobs}"));
        }
    }
    let name = "tradesense_jobs_oldest_age_seconds";
    head(text, name, "For how long the longest waiting job has been due.");
    for queue in queues {
        line(text, format_args!("{name}{{queue=\"{}\"}} {}", label(&queue.name), age(queue.oldest, now)));
    }
}

/// A gauge's first lines.
fn head(text: &mut String, name: &str, help: &str) {
    line(text, format_args!("# HELP {name} {help}\n# TYPE {name} gauge"));
}

/// A label's value as the format wants it.
fn label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// Seconds since then; none if there is no then, or it is still to come.
fn age(then: Option<Timestamp>, now: Timestamp) -> String {
    let micros = then.and_then(|then| now.since(then).ok()).map_or(0, Span::micros);
    seconds(u64::try_from(micros).unwrap_or_default())
}

fn write_latencies(text: &mut String, web: &Web) {
    let latencies = web.meter.read();
    for (until, help) in [
        (Until::Decided, "From receiving a command or the cause of a verdict to the engine's decision."),
        (Until::Durable, "From receiving a command or the cause of a verdict to its being durable."),
    ] {
        let name = format!("tradesense_{}_seconds", until.word());
        line(text, format_args!("# HELP {name} {help}\n# TYPE {name} histogram"));
        for received in [Received::Command, Received::Verdict] {
            if let Some(histogram) = latencies.get(&(received, until)) {
                write_histogram(text, &name, received, histogram);
            }
        }
    }
}

fn write_histogram(text: &mut String, name: &str, received: Received, histogram: &Histogram) {
    let label = format!("received=\"{}\"", received.word());
    for bound in BOUNDS {
        let within = histogram.within(bound);
        line(text, format_args!("{name}_bucket{{{label},le=\"{}\"}} {within}", seconds(bound)));
    }
    let count = histogram.count();
    line(text, format_args!("{name}_bucket{{{label},le=\"+Inf\"}} {count}"));
    line(text, format_args!("{name}_sum{{{label}}} {}", seconds(histogram.sum_us())));
    line(text, format_args!("{name}_count{{{label}}} {count}"));
}

fn line(text: &mut String, content: std::fmt::Arguments<'_>) {
    // A string takes everything.
    let _ = writeln!(text, "{content}");
}

/// Microseconds as seconds with six decimals.
fn seconds(micros: u64) -> String {
    let whole = micros.checked_div(1_000_000).unwrap_or_default();
    format!("{whole}.{:06}", micros.wrapping_rem(1_000_000))
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
        assert!(!is_old(counted, at("2026-01-01T00:00:14.999999Z")));
        assert!(is_old(counted, at("2026-01-01T00:00:15Z")));
        assert!(is_old(counted, at("2026-01-01T00:00:09Z")));
    }

    #[test]
    fn ages_are_seconds_and_never_below_nothing() {
        let now = at("2026-01-01T00:01:00.5Z");
        assert_eq!(age(Some(at("2026-01-01T00:00:00Z")), now), "60.500000");
        assert_eq!(age(Some(at("2026-01-01T00:02:00Z")), now), "0.000000");
        assert_eq!(age(None, now), "0.000000");
    }

    #[test]
    fn a_label_cannot_end_before_its_end() {
        assert_eq!(label("a\"b\\c\nd"), r#"a\"b\\c\nd"#);
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
