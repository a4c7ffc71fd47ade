//! An invented market for any instrument, the same for the same seed.
//!
//! A random walk whose volatility lives: large moves raise it, calm lets it sink, news throw it up. The spread
//! follows the volatility, and now and then the price jumps. Integers only.

use std::sync::Arc;

use kernel::{Price, SeededRng, Span, Symbol, Timestamp};

use super::{Feed, FeedQuote, MOST_AT_ONCE};

/// What to simulate. Prices and sizes are in the instrument's points.
#[derive(Debug, Clone)]
pub struct SimulatorSettings {
    /// The source named on the quotes.
    pub source: Arc<str>,
    /// The instrument.
    pub symbol: Symbol,
    /// Same seed, same market.
    pub seed: u64,
    /// The middle between bid and ask to begin with; at least 10 spreads, at most 10^12 points.
    pub start_price: Price,
    /// The spread of a calm market, from 1.
    pub spread_points: i64,
    /// The usual move from one tick to the next in a calm market; 0 stands still, at most the start price and 10^9.
    pub step_points: i64,
    /// The mean time between ticks, from 1 µs to 1 day; single ones lie evenly between 1 µs and twice the mean.
    pub mean_interval: Span,
    /// One tick in this many jumps by 10 to 40 usual moves; 0 for never.
    pub gap_one_in: u32,
}

/// Settings that no market can have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SimulatorError {
    /// The spread is below one point.
    #[error("the spread of a simulated market is at least one point")]
    Spread,
    /// The start price is not between 10 spreads and 10^12 points.
    #[error("the start price of a simulated market is between 10 spreads and 10^12 points")]
    StartPrice,
    /// The step is negative, above the start price or above 10^9 points.
    #[error("the step of a simulated market is between 0 and its start price, at most 10^9 points")]
    Step,
    /// The interval is not between a microsecond and a day.
    #[error("the mean interval of a simulated market is between a microsecond and a day")]
    Interval,
}

/// The simulated market of one instrument. It has no end.
#[derive(Debug)]
pub struct Simulator {
    settings: SimulatorSettings,
    rng: SeededRng,
    next_at: Timestamp,
    /// In thousandths of a point, so that small moves add up.
    middle: i64,
    /// In thousandths of a calm market's.
    volatility: i64,
}

const CALM: i64 = 1_000;
const WILDEST: i64 = 20_000;
/// One tick in this many is news, which adds five calm volatilities.
const NEWS_ONE_IN: i64 = 2_000;

impl Simulator {
    /// A market whose first tick is at `start`.
    pub fn new(settings: SimulatorSettings, start: Timestamp) -> Result<Self, SimulatorError> {
        let Price(price) = settings.start_price;
        if settings.spread_points < 1 {
            return Err(SimulatorError::Spread);
        }
        if price < settings.spread_points.saturating_mul(10) || price > 1_000_000_000_000 {
            return Err(SimulatorError::StartPrice);
        }
        if !(0..=price.min(1_000_000_000)).contains(&settings.step_points) {
            return Err(SimulatorError::Step);
        }
        if !(1..=86_400_000_000).contains(&settings.mean_interval.micros()) {
            return Err(SimulatorError::Interval);
        }
        Ok(Self {
            rng: SeededRng::new(settings.seed),
            next_at: start,
            middle: price.saturating_mul(1_000),
            volatility: CALM,
            settings,
        })
    }

    fn quote(&self) -> FeedQuote {
        let widened = self.settings.spread_points.saturating_mul(self.volatility.max(CALM)) / CALM;
        let bid = (self.middle / 1_000).saturating_sub(widened / 2).max(1);
        FeedQuote {
            source: Arc::clone(&self.settings.source),
            symbol: self.settings.symbol.clone(),
            bid: Price(bid),
            ask: Price(bid.saturating_add(widened)),
            source_time: self.next_at,
        }
    }

    fn step(&mut self) {
        let roughness = self.bell();
        let swing = self.volatility.saturating_mul(roughness) / 1_000;
        let mut change = self.settings.step_points.saturating_mul(swing);
        // Most of the volatility stays, a little returns to calm, and the size of this move feeds the next ones.
        let kept = self.volatility.saturating_mul(9_800);
        let fed = CALM.saturating_mul(50).saturating_add(swing.saturating_abs().saturating_mul(150));
        let mut volatility = kept.saturating_add(fed) / 10_000;
        if self.rng.between(1, NEWS_ONE_IN) == 1 {
            volatility = volatility.saturating_add(CALM.saturating_mul(5));
        }
        if self.settings.gap_one_in > 0 && self.rng.between(1, i64::from(self.settings.gap_one_in)) == 1 {
            let size = self.settings.step_points.saturating_mul(self.rng.between(10_000, 40_000));
            let up = self.rng.between(0, 1) == 1;
            change = if up { change.saturating_add(size) } else { change.saturating_sub(size) };
        }
        self.volatility = volatility.clamp(CALM / 4, WILDEST);
        self.middle = self.reflected(self.middle.saturating_add(change));
        let longest = self.settings.mean_interval.micros().saturating_mul(2).saturating_sub(1);
        self.next_at =
            Timestamp::from_micros(self.next_at.micros().saturating_add(self.rng.between(1, longest)));
    }

    /// Bell-shaped around 0 in thousandths: four even throws summed, mean size about 920.
    fn bell(&self) -> i64 {
        (0..4).fold(0_i64, |sum, _| sum.saturating_add(self.rng.between(-1_000, 1_000)))
    }

    /// Bounces off a tenth and ten times the start price.
    fn reflected(&self, middle: i64) -> i64 {
        let Price(start) = self.settings.start_price;
        let (lowest, highest) = (start.saturating_mul(100), start.saturating_mul(10_000));
        let bounced = if middle < lowest {
            lowest.saturating_mul(2).saturating_sub(middle)
        } else if middle > highest {
            highest.saturating_mul(2).saturating_sub(middle)
        } else {
            middle
        };
        bounced.clamp(lowest, highest)
    }
}

impl Feed for Simulator {
    fn next_due(&self) -> Option<Timestamp> {
        Some(self.next_at)
    }

    fn take_until(&mut self, now: Timestamp, out: &mut Vec<FeedQuote>) {
        for _ in 0..MOST_AT_ONCE {
            if self.next_at > now {
                return;
            }
            out.push(self.quote());
            self.step();
        }
    }
}
