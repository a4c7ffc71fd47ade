//! How much may be lost in all.

use std::borrow::Cow;

use kernel::{Amount, Currency, Overflow};
use serde::{Deserialize, Serialize};

use crate::{Comparison, Floor, Limit, Track};

/// Settings. Equity is tested at every quote against `reference − limit`, or against the lock once that is lower.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MaxLoss {
    /// What the floor is measured from and whether it follows.
    pub trail: Trail,
    /// How much may be lost from there.
    pub limit: Limit,
    /// Where the floor stops rising.
    #[serde(default)]
    pub lock: Lock,
    /// Whether touching the floor breaches.
    pub breach: Comparison,
}

/// What the floor follows. It never falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Trail {
    /// Nothing: the initial balance for good.
    Static,
    /// The highest balance at any reset.
    EndOfDayBalance,
    /// The highest equity at any quote.
    IntradayEquity,
}

/// Where a trailing floor stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Lock {
    /// Nowhere.
    #[default]
    None,
    /// At the initial balance.
    AtInitial,
}

pub(crate) fn floor(rule: &MaxLoss, index: usize, track: &Track) -> Result<Floor, Overflow> {
    let reference = match rule.trail {
        Trail::Static => track.initial,
        Trail::EndOfDayBalance => track.peak_day_end_balance,
        Trail::IntradayEquity => track.peak_equity,
    };
    let limit = rule.limit.amount(track.initial, reference)?;
    let trailing = reference.minus(limit)?;
    let locked_at = match rule.lock {
        Lock::AtInitial if trailing >= track.initial => Some(track.initial),
        Lock::AtInitial | Lock::None => None,
    };
    Ok(Floor {
        rule: index,
        kind: Cow::Borrowed("max_loss"),
        amount: locked_at.unwrap_or(trailing),
        comparison: rule.breach,
        reference_name: Cow::Borrowed(words(rule.trail)),
        reference,
        limit,
        locked_at,
    })
}

const fn words(trail: Trail) -> &'static str {
    match trail {
        Trail::Static => "initial balance",
        Trail::EndOfDayBalance => "highest balance at any reset",
        Trail::IntradayEquity => "highest equity at any price",
    }
}

pub(crate) fn sentence(rule: &MaxLoss, initial: Amount, currency: Currency) -> String {
    let limit = rule.limit.words(initial, currency, words(rule.trail));
    let lock = match rule.lock {
        Lock::None => "",
        Lock::AtInitial => " The level rises with it and stops for good at the initial balance.",
    };
    let follows = match (rule.trail, rule.lock) {
        (Trail::Static, _) | (_, Lock::AtInitial) => "",
        (_, Lock::None) => " The level rises with it and never falls.",
    };
    format!(
        "In all you may lose at most {limit}; open positions count, and equity {} that level at any price ends the \
         account.{lock}{follows}",
        rule.breach.words(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel::{Percent, ResetClock, Timestamp};
    use proptest::prelude::*;

    fn clock() -> ResetClock {
        ResetClock::parse("America/New_York", "17:00").unwrap()
    }

    fn amount(text: &str) -> Amount {
        Amount::parse(text).unwrap()
    }

    fn opened(initial: &str) -> Track {
        Track::open(amount(initial), Timestamp::parse("2026-01-05T10:00:00Z").unwrap(), &clock()).unwrap()
    }

    fn rule(trail: Trail, limit: &str, lock: Lock) -> MaxLoss {
        MaxLoss { trail, limit: Limit::Amount(amount(limit)), lock, breach: Comparison::Below }
    }

    #[test]
    fn static_stays() {
        let mut track = opened("100000");
        track.observe(amount("120000"));
        track.reset(&clock(), amount("115000"), amount("120000")).unwrap();
        let limit = Limit::PercentOfInitial(Percent::parse("10").unwrap());
        let rule = MaxLoss { trail: Trail::Static, limit, lock: Lock::None, breach: Comparison::Below };
        assert_eq!(floor(&rule, 0, &track).unwrap().amount, amount("90000"));
    }

    #[test]
    fn end_of_day_trail_moves_at_the_reset_only_and_locks_at_the_start() {
        let rule = rule(Trail::EndOfDayBalance, "2000", Lock::AtInitial);
        let mut track = opened("50000");
        track.observe(amount("53000"));
        assert_eq!(floor(&rule, 0, &track).unwrap().amount, amount("48000"), "open profit moves nothing");
        for (balance, expected, locked) in [
            ("50500", "48500", false),
            ("50100", "48500", false),
            ("52000", "50000", true),
            ("60000", "50000", true),
        ] {
            track.reset(&clock(), amount(balance), amount(balance)).unwrap();
            let floor = floor(&rule, 0, &track).unwrap();
            assert_eq!(floor.amount, amount(expected), "{balance}");
            assert_eq!(floor.locked_at.is_some(), locked, "{balance}");
        }
    }

    #[test]
    fn intraday_trail_follows_open_profit() {
        let rule = rule(Trail::IntradayEquity, "2500", Lock::None);
        let mut track = opened("50000");
        for (equity, expected) in [("50875", "48375"), ("50100", "48375"), ("53500", "51000")] {
            track.observe(amount(equity));
            assert_eq!(floor(&rule, 0, &track).unwrap().amount, amount(expected));
        }
    }

    proptest! {
        #[test]
        fn a_trailing_floor_never_falls(
            trail in prop_oneof![Just(Trail::EndOfDayBalance), Just(Trail::IntradayEquity)],
            lock in prop_oneof![Just(Lock::None), Just(Lock::AtInitial)],
            percent in prop::bool::ANY,
            path in prop::collection::vec((0_i64..200_000_000_000, prop::bool::ANY), 1..60),
        ) {
            let limit = if percent {
                Limit::PercentOfReference(Percent::parse("4").unwrap())
            } else {
                Limit::Amount(amount("4000"))
            };
            let rule = MaxLoss { trail, limit, lock, breach: Comparison::Below };
            let mut track = opened("100000");
            let mut before = floor(&rule, 0, &track).unwrap().amount;
            for (equity, ends_day) in path {
                let equity = Amount::from_micros(equity);
                track.observe(equity);
                if ends_day {
                    track.reset(&clock(), equity, equity).unwrap();
                }
                let now = floor(&rule, 0, &track).unwrap().amount;
                prop_assert!(now >= before);
                before = now;
            }
        }
    }
}
