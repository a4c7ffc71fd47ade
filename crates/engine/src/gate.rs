//! Which quotes enter. A refused quote is recorded with its reason by whoever asked, never silently dropped.

use kernel::{Price, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{Instruments, Quote};

/// A jump of the middle price beyond one part in this many needs confirming. The largest step of real gold around
/// a payroll release is one part in 230.
const JUMP: i64 = 33;
/// Quotes in a row near each other, away from the last accepted, that make a jump real.
const CONFIRMATIONS: u8 = 3;
/// After a silence this long any level is accepted: a market reopens where it likes.
const REOPENS_AFTER: kernel::Span = kernel::Span::from_seconds(1_800);

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
            Self::Older => "older",
            Self::Duplicate => "duplicate",
            Self::Outlier => "outlier",
        }
    }
}

/// What the gate remembers of each instrument.
#[derive(Debug, Clone)]
pub struct Gate {
    range: Vec<(Price, Price)>,
    last: Vec<Option<Quote>>,
    doubted: Vec<Option<(Price, u8)>>,
}

impl Gate {
    /// A gate that has seen nothing.
    pub fn new(instruments: &Instruments) -> Self {
        let range = instruments.iter().map(|(_, it)| (it.price_min, it.price_max)).collect();
        Self { range, last: vec![None; instruments.len()], doubted: vec![None; instruments.len()] }
    }

    /// Lets a quote in or says why not.
    pub fn check(&mut self, quote: &Quote) -> Result<(), GateRefusal> {
        let place = usize::from(quote.instrument.0);
        let (Some((lowest, highest)), Some(last), Some(doubted)) =
            (self.range.get(place), self.last.get_mut(place), self.doubted.get_mut(place))
        else {
            return Err(GateRefusal::OutOfRange);
        };
        if quote.bid.0 <= 0 || quote.ask.0 <= 0 {
            return Err(GateRefusal::NotPositive);
        }
        if quote.bid.min(quote.ask) < *lowest || quote.bid.max(quote.ask) > *highest {
            return Err(GateRefusal::OutOfRange);
        }
        if quote.bid > quote.ask {
            return Err(GateRefusal::Crossed);
        }
        if let Some(last) = last {
            if quote.source_time < last.source_time {
                return Err(GateRefusal::Older);
            }
            if quote == last {
                return Err(GateRefusal::Duplicate);
            }
            let reopened = silent_since(last.source_time, quote.source_time);
            if !reopened && far(last.bid, quote.bid) {
                let seen = match *doubted {
                    Some((near, seen)) if !far(near, quote.bid) => seen.saturating_add(1),
                    _ => 1,
                };
                if seen < CONFIRMATIONS {
                    *doubted = Some((quote.bid, seen));
                    return Err(GateRefusal::Outlier);
                }
            }
        }
        *doubted = None;
        *last = Some(*quote);
        Ok(())
    }
}

fn silent_since(last: Timestamp, now: Timestamp) -> bool {
    now.since(last).is_ok_and(|silence| silence > REOPENS_AFTER)
}

/// Whether two prices are further apart than the jump that needs confirming.
fn far(from: Price, to: Price) -> bool {
    let distance = to.0.abs_diff(from.0);
    distance.saturating_mul(JUMP.unsigned_abs()) > from.0.unsigned_abs()
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
        Gate { range: vec![(Price(1_000), Price(10_000_000))], last: vec![None], doubted: vec![None] }
    }

    #[test]
    fn each_fault_has_its_word() {
        let mut gate = gate();
        gate.check(&quote(100_000, 100_010, 10)).unwrap();
        for (bad, why) in [
            (quote(0, 10, 11), GateRefusal::NotPositive),
            (quote(-5, 10, 11), GateRefusal::NotPositive),
            (quote(100_000, 10_000_001, 11), GateRefusal::OutOfRange),
            (quote(999, 100_000, 11), GateRefusal::OutOfRange),
            (quote(100_011, 100_010, 11), GateRefusal::Crossed),
            (quote(100_001, 100_011, 9), GateRefusal::Older),
            (quote(100_000, 100_010, 10), GateRefusal::Duplicate),
            (quote(120_000, 120_010, 11), GateRefusal::Outlier),
        ] {
            assert_eq!(gate.check(&bad), Err(why));
        }
        gate.check(&quote(100_000, 100_000, 10)).unwrap();
        gate.check(&quote(100_000, 100_010, 12)).unwrap();
    }

    #[test]
    fn a_jump_is_believed_once_confirmed_and_after_a_silence() {
        let mut gate = gate();
        gate.check(&quote(100_000, 100_010, 10)).unwrap();
        assert!(gate.check(&quote(110_000, 110_010, 11)).is_err());
        assert!(gate.check(&quote(110_010, 110_020, 12)).is_err());
        gate.check(&quote(110_020, 110_030, 13)).unwrap();
        assert!(gate.check(&quote(90_000, 90_010, 14)).is_err());
        gate.check(&quote(110_020, 110_031, 15)).unwrap();
        assert!(gate.check(&quote(90_000, 90_010, 16)).is_err(), "a good quote between resets the count");
        gate.check(&quote(90_000, 90_010, 16 + 1_801)).unwrap();
    }
}
