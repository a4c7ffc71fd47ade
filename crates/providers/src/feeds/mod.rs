//! Market data as a stream of [`FeedQuote`]s.
//!
//! A [`Feed`] is pulled: whoever owns it asks when the next quote is due and takes what is due. So one loop can
//! drive any number of feeds, in a thread or in a test, without a timer inside the feed.
//!
//! ```
//! use kernel::{Price, Span, Symbol, Timestamp};
//! use providers::feeds::{Feed, Simulator, SimulatorSettings};
//!
//! let start = Timestamp::parse("2026-03-02T09:00:00Z")?;
//! let mut feed = Simulator::new(
//!     SimulatorSettings {
//!         source: "simulator".into(),
//!         symbol: Symbol::parse("EURUSD")?,
//!         seed: 7,
//!         start_price: Price(108_500),
//!         spread_points: 8,
//!         step_points: 2,
//!         mean_interval: Span::from_millis(250),
//!         gap_one_in: 5_000,
//!     },
//!     start,
//! )?;
//! let mut quotes = Vec::new();
//! feed.take_until(start.after(Span::from_seconds(60))?, &mut quotes);
//! assert_eq!(quotes.first().map(|quote| quote.source_time), Some(start));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod extract;
mod replay;
mod simulator;
pub mod ticks;

use std::sync::Arc;

use kernel::{Price, Symbol, Timestamp};

pub use extract::extract;
pub use replay::{Pace, Recording, ReplayFeed, ReplaySettings, Times};
pub use simulator::{Simulator, SimulatorError, SimulatorSettings};

/// A two-sided price as a source gave it, unjudged: it may be crossed, late or absurd.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeedQuote {
    /// Who quoted, such as `oanda`.
    pub source: Arc<str>,
    /// The instrument.
    pub symbol: Symbol,
    /// What a seller gets, in the instrument's points.
    pub bid: Price,
    /// What a buyer pays, in the instrument's points.
    pub ask: Price,
    /// When the source says it quoted.
    pub source_time: Timestamp,
}

/// The most quotes one call of [`Feed::take_until`] appends. It bounds the work of a call after a long silence
/// and makes a feed without an end usable at full speed.
pub const MOST_AT_ONCE: usize = 4_096;

/// A source of quotes that is pulled.
pub trait Feed: Send {
    /// The platform's instant at which the next quote is due; may lie in the past. `None`: nothing will come
    /// until somebody acts (the feed ended or is paused).
    fn next_due(&self) -> Option<Timestamp>;

    /// Appends the quotes due at or before `now`, in order, at most [`MOST_AT_ONCE`]; after that many,
    /// [`Feed::next_due`] still names an instant that is not after `now`.
    fn take_until(&mut self, now: Timestamp, out: &mut Vec<FeedQuote>);
}
