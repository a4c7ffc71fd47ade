//! The figures of the role, for the operator's machines.

use std::sync::atomic::{AtomicU64, Ordering};

use store::Health;
use telemetry::metrics::Page;

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

/// The figures of the role, beside those of whoever serves them.
pub fn write(analytics: &Analytics, page: &mut Page) {
    if let Some(fresh) = analytics.fresh() {
        let lag = seconds_since(fresh.found_at, fresh.as_of);
        page.gauge("tradesense_analytics_lag_seconds", "Age of the oldest message that the read rows lack.")
            .sample(&[], lag);
        page.gauge(
            "tradesense_analytics_lag_messages",
            "Messages that the read rows lack, counted up to 10000.",
        )
        .sample(&[], fresh.count);
        page.gauge("tradesense_analytics_newest_message", "Number of the newest message written.")
            .sample(&[], fresh.newest);
        let age = seconds_since(analytics.clock.now(), fresh.found_at);
        page.gauge("tradesense_analytics_followed_seconds_ago", "Since the boards were brought up to date.")
            .sample(&[], age);
    }
    let (bytes, accounts) = analytics.memory();
    page.gauge("tradesense_analytics_accounts", "Accounts on the boards.").sample(&[], accounts);
    page.gauge("tradesense_analytics_board_bytes", "Memory of the boards.").sample(&[], bytes);
    let counted = analytics.counted();
    let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
    page.counter("tradesense_analytics_loads_total", "Boards of a firm loaded anew.")
        .sample(&[], read(&counted.loads));
    page.counter("tradesense_analytics_followed_rows_total", "Changed scores put onto the boards.")
        .sample(&[], read(&counted.followed));
    page.counter("tradesense_analytics_answers_total", "Statistics by where they came from.")
        .sample(&[("from", "cache")], read(&counted.kept_answers))
        .sample(&[("from", "tables")], read(&counted.made_answers));
    let (replicas, primary) = analytics.replicas.served();
    page.counter("tradesense_analytics_reads_total", "Reads by the server that answered.")
        .sample(&[("server", "replica")], replicas)
        .sample(&[("server", "primary")], primary);
    let health = analytics.replicas.health();
    if !health.is_empty() {
        let mut family = page.gauge("tradesense_analytics_replica", "How a replica was seen last.");
        for (name, health) in &health {
            for state in [Health::Serving, Health::Away, Health::Late, Health::Promoted] {
                let labels = [("replica", name.as_str()), ("state", state.word())];
                family.sample(&labels, u8::from(state == *health));
            }
        }
    }
}
