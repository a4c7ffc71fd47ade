//! The market as screens see it: the latest quotes and the candles, kept in memory and rebuilt from the quote log.

use std::collections::VecDeque;
use std::sync::{Arc, PoisonError, RwLock};

use engine::{InstrumentId, Instruments};
use kernel::{Price, Symbol, Timestamp};
use tokio::sync::watch;

use crate::trading::LoggedQuote;

/// The lengths of candles, in seconds, with their words.
pub const INTERVALS: [(&str, i64); 4] = [("5s", 5), ("1m", 60), ("5m", 300), ("15m", 900)];
/// Candles kept for each instrument and length.
pub const MOST_CANDLES: usize = 1_000;

/// The bid over one interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candle {
    /// Its start, in seconds since the epoch.
    pub time: i64,
    /// First bid.
    pub open: Price,
    /// Highest bid.
    pub high: Price,
    /// Lowest bid.
    pub low: Price,
    /// Last bid.
    pub close: Price,
}

/// The latest quotes and candles of every instrument.
#[derive(Debug)]
pub struct MarketHub {
    instruments: Arc<Instruments>,
    latest: RwLock<Vec<Seen>>,
    changes: watch::Sender<u64>,
}

#[derive(Debug, Clone, Default)]
struct Seen {
    quote: Option<LoggedQuote>,
    candles: [VecDeque<Candle>; INTERVALS.len()],
}

impl MarketHub {
    /// A hub that has seen nothing.
    pub fn new(instruments: Arc<Instruments>) -> Self {
        let latest = RwLock::new(vec![Seen::default(); instruments.len()]);
        Self { instruments, latest, changes: watch::Sender::new(0) }
    }

    /// The table.
    pub fn instruments(&self) -> &Arc<Instruments> {
        &self.instruments
    }

    /// Takes notice of accepted quotes.
    pub fn take(&self, quotes: &[LoggedQuote]) {
        self.draw(quotes, true);
        if let Some(last) = quotes.last() {
            self.changes.send_replace(last.position);
        }
    }

    /// Draws candles of quotes that nobody can trade on: of the time before the market began here.
    pub fn show_past(&self, quotes: &[LoggedQuote]) {
        self.draw(quotes, false);
    }

    fn draw(&self, quotes: &[LoggedQuote], current: bool) {
        let mut latest = self.latest.write().unwrap_or_else(PoisonError::into_inner);
        for quote in quotes {
            let place = self.instruments.find(&quote.symbol).map(|id| usize::from(id.0));
            let Some(seen) = place.and_then(|place| latest.get_mut(place)) else { continue };
            for (candles, (_, seconds)) in seen.candles.iter_mut().zip(INTERVALS) {
                add(candles, quote, seconds);
            }
            if current {
                seen.quote = Some(quote.clone());
            }
        }
    }

    /// Changes with every accepted quote.
    pub fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// The latest quote of each instrument that has one, by symbol.
    pub fn quotes(&self) -> Vec<(InstrumentId, LoggedQuote)> {
        let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        let places = (0_u16..).map(InstrumentId).zip(latest.iter());
        places.filter_map(|(id, seen)| seen.quote.clone().map(|quote| (id, quote))).collect()
    }

    /// Whether a quote is too old to trade on.
    pub fn is_stale(&self, id: InstrumentId, quote: &LoggedQuote, now: Timestamp) -> bool {
        let limit = self.instruments.get(id).map(|instrument| instrument.stale_after);
        match (now.since(quote.received_at), limit) {
            (Ok(age), Ok(limit)) => age > limit,
            _ => true,
        }
    }

    /// The newest candles of an instrument, oldest first; `None` for an unknown symbol or interval.
    pub fn candles(&self, symbol: &Symbol, interval: &str, limit: usize) -> Option<Vec<Candle>> {
        let place = usize::from(self.instruments.find(symbol)?.0);
        let length = INTERVALS.iter().position(|(word, _)| *word == interval)?;
        let latest = self.latest.read().unwrap_or_else(PoisonError::into_inner);
        let candles = latest.get(place)?.candles.get(length)?;
        Some(candles.iter().skip(candles.len().saturating_sub(limit)).copied().collect())
    }
}

fn add(candles: &mut VecDeque<Candle>, quote: &LoggedQuote, seconds: i64) {
    let length = seconds.saturating_mul(1_000_000);
    let Some(number) = quote.received_at.micros().checked_div_euclid(length) else { return };
    let time = number.saturating_mul(seconds);
    let bid = quote.bid;
    match candles.back_mut() {
        Some(last) if last.time == time => {
            last.high = last.high.max(bid);
            last.low = last.low.min(bid);
            last.close = bid;
        }
        _ => {
            candles.push_back(Candle { time, open: bid, high: bid, low: bid, close: bid });
            if candles.len() > MOST_CANDLES {
                candles.pop_front();
            }
        }
    }
}
