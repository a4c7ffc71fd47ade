//! Which quotes enter. A refused quote is recorded with its reason by whoever asked, never silently dropped.

use kernel::{Price, Span, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Instruments, Quote};

/// A jump of either side beyond one part in this many needs confirming. The largest step of real gold around
/// a payroll release is one part in 230.
const JUMP: i64 = 33;
/// Quotes in a row near each other, away from the last accepted, that make a jump real.
const CONFIRMATIONS: u8 = 3;
/// After a silence this long any level is accepted: a market reopens where it likes.
const REOPENS_AFTER: Span = Span::from_seconds(1_800);
/// How far ahead of ours a source's clock may be.
const AHEAD: Span = Span::from_seconds(10);

/// Why a quote was refused, in the order in which it is tested.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, thiserror::Error,
)]
#[serde(rename_all = "snake_case")]
pub enum GateRefusal {
    /// A side at or below zero.
    #[error("a side is not positive")]
    NotPositive,
    /// A side outside the instrument's prices.
    #[error("a side is outside the prices the instrument can have")]
    OutOfRange,
    /// The bid above the ask.
    #[error("the bid is above the ask")]
    Crossed,
    /// Dated in the future.
    #[error("dated ahead of the platform's clock")]
    Future,
    /// So old when it came that nobody may trade on it.
    #[error("too old when it came")]
    Stale,
    /// Made before the last accepted one.
    #[error("older than the last quote")]
    Older,
    /// The last accepted one, again.
    #[error("the same as the last quote")]
    Duplicate,
    /// A jump that no further quote has confirmed.
    #[error("an unconfirmed jump")]
    Outlier,
}

impl GateRefusal {
    /// The word in rows and reports.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotPositive => "not_positive",
            Self::OutOfRange => "out_of_range",
            Self::Crossed => "crossed",
            Self::Future => "future",
            Self::Stale => "stale",
            Self::Older => "older",
            Self::Duplicate => "duplicate",
            Self::Outlier => "outlier",
        }
    }
}

/// What the gate remembers of each instrument.
#[derive(Debug, Clone)]
pub struct Gate {
    seen: Vec<Seen>,
}

#[derive(Debug, Clone)]
struct Seen {
    lowest: Price,
    highest: Price,
    stale_after: Span,
    last: Option<Quote>,
    /// The last unconfirmed jump and how many quotes have agreed with it.
    doubted: Option<(Quote, u8)>,
}

impl Gate {
    /// A gate that has seen nothing.
    pub fn new(instruments: &Instruments) -> Self {
        let seen = instruments.iter().map(|(_, instrument)| Seen {
            lowest: instrument.price_min,
            highest: instrument.price_max,
            stale_after: instrument.stale_after,
            last: None,
            doubted: None,
        });
        Self { seen: seen.collect() }
    }

    /// Remembers a quote that was let in before: after a restart the first quote is measured like any other.
    pub fn remember(&mut self, quote: &Quote) {
        if let Some(seen) = self.seen.get_mut(usize::from(quote.instrument.0)) {
            seen.last = Some(*quote);
        }
    }

    /// Lets a quote in that came at `now`, or says why not.
    pub fn check(&mut self, quote: &Quote, now: Timestamp) -> Result<(), GateRefusal> {
        let seen = self.seen.get_mut(usize::from(quote.instrument.0)).ok_or(GateRefusal::OutOfRange)?;
        if quote.bid.0 <= 0 || quote.ask.0 <= 0 {
            return Err(GateRefusal::NotPositive);
        }
        if quote.bid.min(quote.ask) < seen.lowest || quote.bid.max(quote.ask) > seen.highest {
            return Err(GateRefusal::OutOfRange);
        }
        if quote.bid > quote.ask {
            return Err(GateRefusal::Crossed);
        }
        if quote.source_time.since(now).is_ok_and(|ahead| ahead > AHEAD) {
            return Err(GateRefusal::Future);
        }
        if now.since(quote.source_time).is_ok_and(|age| age > seen.stale_after) {
            return Err(GateRefusal::Stale);
        }
        if let Some(last) = &seen.last {
            if quote.source_time < last.source_time {
                return Err(GateRefusal::Older);
            }
            if quote == last {
                return Err(GateRefusal::Duplicate);
            }
            if !silent_since(last.source_time, quote.source_time) && far(last, quote) {
                let agreed = match &seen.doubted {
                    Some((doubted, agreed)) if !far(doubted, quote) => agreed.saturating_add(1),
                    _ => 1,
                };
                if agreed < CONFIRMATIONS {
                    seen.doubted = Some((*quote, agreed));
                    return Err(GateRefusal::Outlier);
                }
            }
        }
        seen.doubted = None;
        seen.last = Some(*quote);
        Ok(())
    }
}

fn silent_since(last: Timestamp, now: Timestamp) -> bool {
    now.since(last).is_ok_and(|silence| silence > REOPENS_AFTER)
}

/// Whether either side of two quotes is further apart than the jump that needs confirming.
fn far(from: &Quote, to: &Quote) -> bool {
    [(from.bid, to.bid), (from.ask, to.ask)].into_iter().any(|(from, to)| {
        let distance = to.0.abs_diff(from.0);
        distance.saturating_mul(JUMP.unsigned_abs()) > from.0.unsigned_abs()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::InstrumentId;

    fn quote(bid: i64, ask: i64, seconds: i64) -> Quote {
        Quote {
            instrument: InstrumentId(0),
            bid: Price(bid),
            ask: Price(ask),
            source_time: Timestamp::from_micros(seconds.checked_mul(1_000_000).unwrap()),
        }
    }

    fn gate() -> Gate {
        let (lowest, highest) = (Price(1_000), Price(10_000_000));
        Gate {
            seen: vec![Seen {
                lowest,
                highest,
                stale_after: Span::from_seconds(60),
                last: None,
                doubted: None,
            }],
        }
    }

    /// Comes when it was made.
    fn check(gate: &mut Gate, quote: &Quote) -> Result<(), GateRefusal> {
        gate.check(quote, quote.source_time)
    }

    #[test]
    fn each_fault_has_its_word() {
        let mut gate = gate();
        check(&mut gate, &quote(100_000, 100_010, 10)).unwrap();
        for (bad, why) in [
            (quote(0, 10, 11), GateRefusal::NotPositive),
            (quote(-5, 10, 11), GateRefusal::NotPositive),
            (quote(100_000, 10_000_001, 11), GateRefusal::OutOfRange),
            (quote(999, 100_000, 11), GateRefusal::OutOfRange),
            (quote(100_011, 100_010, 11), GateRefusal::Crossed),
            (quote(100_001, 100_011, 9), GateRefusal::Older),
            (quote(100_000, 100_010, 10), GateRefusal::Duplicate),
            (quote(120_000, 120_010, 11), GateRefusal::Outlier),
            (quote(100_000, 300_000, 11), GateRefusal::Outlier),
        ] {
            assert_eq!(check(&mut gate, &bad), Err(why));
        }
        let late = quote(100_001, 100_011, 12);
        assert_eq!(gate.check(&late, quote(0, 0, 73).source_time), Err(GateRefusal::Stale));
        assert_eq!(gate.check(&late, quote(0, 0, 1).source_time), Err(GateRefusal::Future));
        check(&mut gate, &quote(100_000, 100_000, 10)).unwrap();
        check(&mut gate, &quote(100_000, 100_010, 12)).unwrap();
    }

    #[test]
    fn a_jump_is_believed_once_confirmed_and_after_a_silence() {
        let mut gate = gate();
        gate.remember(&quote(100_000, 100_010, 10));
        assert!(check(&mut gate, &quote(110_000, 110_010, 11)).is_err(), "the first after a restart as well");
        assert!(check(&mut gate, &quote(110_010, 110_020, 12)).is_err());
        check(&mut gate, &quote(110_020, 110_030, 13)).unwrap();
        assert!(check(&mut gate, &quote(90_000, 90_010, 14)).is_err());
        check(&mut gate, &quote(110_020, 110_031, 15)).unwrap();
        assert!(
            check(&mut gate, &quote(90_000, 90_010, 16)).is_err(),
            "a good quote between resets the count"
        );
        check(&mut gate, &quote(90_000, 90_010, 16 + 1_801)).unwrap();
    }
}
