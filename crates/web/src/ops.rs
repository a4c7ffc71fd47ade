//! What the operator's machines ask: whether the platform lives, and its figures. On a port of its own, which is not for
//! the world.

use std::fmt::Write as _;

use app::latency::{Histogram, Received, Until};
use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use http::header;

use crate::Web;

/// Upper ends of the buckets that are shown, in microseconds.
const BOUNDS: [u64; 15] = [
    10, 50, 100, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 30_000, 50_000, 100_000, 250_000, 1_000_000,
    10_000_000,
];

/// The operator's server.
pub fn router(web: Web) -> Router {
    Router::new()
        .route("/health/live", axum::routing::get(|| async { "live\n" }))
        .route("/health/ready", axum::routing::get(crate::ready))
        .route("/metrics", axum::routing::get(metrics))
        .with_state(web)
}

/// Prometheus' text format, version 0.0.4.
async fn metrics(State(web): State<Web>) -> impl IntoResponse {
    let mut text = String::new();
    let latencies = web.meter.read();
    for (until, help) in [
        (Until::Decided, "From receiving a command or the cause of a verdict to the engine's decision."),
        (Until::Durable, "From receiving a command or the cause of a verdict to its being durable."),
    ] {
        let name = format!("tradesense_{}_seconds", until.word());
        line(&mut text, format_args!("# HELP {name} {help}\n# TYPE {name} histogram"));
        for received in [Received::Command, Received::Verdict] {
            if let Some(histogram) = latencies.get(&(received, until)) {
                write_histogram(&mut text, &name, received, histogram);
            }
        }
    }
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text)
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
