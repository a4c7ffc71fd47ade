//! What the operator's machines ask: whether the role lives, and its figures. On a port of its own, which is not for the
//! world.

use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use http::header;

use crate::Analytics;
use crate::calendar::seconds_since;

/// What is counted since the start.
#[derive(Debug, Default)]
pub(crate) struct Counted {
    loads: AtomicU64,
    followed: AtomicU64,
    kept_answers: AtomicU64,
    made_answers: AtomicU64,
}

impl Counted {
    pub(crate) fn loaded(&self) {
        self.loads.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn followed(&self, rows: usize) {
        self.followed.fetch_add(u64::try_from(rows).unwrap_or_default(), Ordering::Relaxed);
    }

    pub(crate) fn answered(&self, kept: bool) {
        let count = if kept { &self.kept_answers } else { &self.made_answers };
        count.fetch_add(1, Ordering::Relaxed);
    }
}

/// The operator's server.
pub fn router(analytics: Analytics) -> Router {
    Router::new()
        .route("/health/live", axum::routing::get(|| async { "live\n" }))
        .route("/health/ready", axum::routing::get(crate::ready))
        .route("/metrics", axum::routing::get(metrics))
        .with_state(analytics)
}

/// The figures in Prometheus' text format, version 0.0.4; also for a process that serves several roles on one port.
pub fn figures(analytics: &Analytics) -> String {
    let mut text = String::new();
    let mut figure = |name: &str, kind: &str, help: &str, samples: &[(String, String)]| {
        // A string takes everything.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            let _ = writeln!(text, "{name}{labels} {value}");
        }
    };
    let one = |value: String| [(String::new(), value)];
    if let Some(fresh) = analytics.fresh() {
        let lag = seconds_since(fresh.found_at, fresh.as_of).to_string();
        figure(
            "tradesense_analytics_lag_seconds",
            "gauge",
            "Age of the oldest message that the read rows lack.",
            &one(lag),
        );
        figure(
            "tradesense_analytics_lag_messages",
            "gauge",
            "Messages that the read rows lack, counted up to 10000.",
            &one(fresh.count.to_string()),
        );
        figure(
            "tradesense_analytics_newest_message",
            "gauge",
            "Number of the newest message written.",
            &one(fresh.newest.to_string()),
        );
        let age = seconds_since(analytics.clock.now(), fresh.found_at).to_string();
        figure(
            "tradesense_analytics_followed_seconds_ago",
            "gauge",
            "Since the boards were brought up to date.",
            &one(age),
        );
    }
    let (bytes, accounts) = analytics.memory();
    figure("tradesense_analytics_accounts", "gauge", "Accounts on the boards.", &one(accounts.to_string()));
    figure("tradesense_analytics_board_bytes", "gauge", "Memory of the boards.", &one(bytes.to_string()));
    let counted = analytics.counted();
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed).to_string();
    figure(
        "tradesense_analytics_loads_total",
        "counter",
        "Boards of a firm loaded anew.",
        &one(read(&counted.loads)),
    );
    figure(
        "tradesense_analytics_followed_rows_total",
        "counter",
        "Changed scores put onto the boards.",
        &one(read(&counted.followed)),
    );
    figure(
        "tradesense_analytics_answers_total",
        "counter",
        "Statistics by where they came from.",
        &[
            ("{from=\"cache\"}".to_owned(), read(&counted.kept_answers)),
            ("{from=\"tables\"}".to_owned(), read(&counted.made_answers)),
        ],
    );
    let (replicas, primary) = analytics.replicas.served();
    figure(
        "tradesense_analytics_reads_total",
        "counter",
        "Reads by the server that answered.",
        &[
            ("{server=\"replica\"}".to_owned(), replicas.to_string()),
            ("{server=\"primary\"}".to_owned(), primary.to_string()),
        ],
    );
    let health: Vec<(String, String)> = analytics
        .replicas
        .health()
        .into_iter()
        .map(|(name, health)| (format!("{{replica=\"{name}\",state=\"{}\"}}", health.word()), "1".to_owned()))
        .collect();
    figure("tradesense_analytics_replica", "gauge", "How a replica was seen last.", &health);
    text
}

async fn metrics(State(analytics): State<Analytics>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], figures(&analytics))
}
