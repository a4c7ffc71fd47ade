//! How much may be lost within one trading day.

use std::borrow::Cow;

use kernel::{Amount, Currency, Overflow};
use serde::{Deserialize, Serialize};

use crate::{Comparison, Floor, Limit, Track};

/// Settings. Equity (open positions, commission and all) is tested at every quote against
/// `reference at the reset − limit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DailyLoss {
    /// What the day is measured from.
    pub reference: Reference,
    /// How much may be lost from there.
    pub limit: Limit,
    /// Whether touching the floor breaches.
    pub breach: Comparison,
}

/// What a day is measured from. All are taken at the reset instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// The balance: closed results only.
    Balance,
    /// The equity: open positions included.
    Equity,
    /// The higher of the two.
    HigherOf,
}

pub(crate) fn floor(rule: &DailyLoss, index: usize, track: &Track) -> Result<Floor, Overflow> {
    let reference = match rule.reference {
        Reference::Balance => track.day_start_balance,
        Reference::Equity => track.day_start_equity,
        Reference::HigherOf => track.day_start_balance.max(track.day_start_equity),
    };
    let limit = rule.limit.amount(track.initial, reference)?;
    Ok(Floor {
        rule: index,
        kind: Cow::Borrowed("daily_loss"),
        amount: reference.minus(limit)?,
        comparison: rule.breach,
        reference_name: Cow::Borrowed(words(rule.reference)),
        reference,
        limit,
        locked_at: None,
    })
}

const fn words(reference: Reference) -> &'static str {
    match reference {
        Reference::Balance => "balance at the reset",
        Reference::Equity => "equity at the reset",
        Reference::HigherOf => "higher of balance and equity at the reset",
    }
}

pub(crate) fn sentence(rule: &DailyLoss, initial: Amount, currency: Currency) -> String {
    format!(
        "Within one trading day you may lose at most {}; open positions count, and equity {} that level at any price \
         ends the account.",
        rule.limit.words(initial, currency, words(rule.reference)),
        rule.breach.words(),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use kernel::{Percent, ResetClock, Timestamp};

    fn track(balance: &str, equity: &str) -> Track {
        let clock = ResetClock::parse("Europe/Prague", "00:00").unwrap();
        let opened = Timestamp::parse("2026-01-05T10:00:00Z").unwrap();
        let mut track = Track::open(Amount::parse("100000").unwrap(), opened, &clock).unwrap();
        track.reset(&clock, Amount::parse(balance).unwrap(), Amount::parse(equity).unwrap()).unwrap();
        track
    }

    /// One state under six firms' definitions: initial 100k, balance 105k and equity 107k at the reset.
    #[test]
    fn one_state_four_published_floors() {
        let track = track("105000", "107000");
        let five = Percent::parse("5").unwrap();
        let four = Percent::parse("4").unwrap();
        for (reference, limit, published) in [
            (Reference::Balance, Limit::PercentOfReference(five), "99750.00"),
            (Reference::Balance, Limit::PercentOfInitial(five), "100000.00"),
            (Reference::HigherOf, Limit::PercentOfReference(five), "101650.00"),
            (Reference::HigherOf, Limit::PercentOfInitial(four), "103000.00"),
        ] {
            let rule = DailyLoss { reference, limit, breach: Comparison::Below };
            assert_eq!(floor(&rule, 0, &track).unwrap().amount.to_string(), published);
        }
    }

    #[test]
    fn touching_the_floor_is_a_setting() {
        let track = track("100000", "100000");
        let limit = Limit::PercentOfInitial(Percent::parse("5").unwrap());
        let at = Amount::parse("95000").unwrap();
        let below = Amount::parse("94999.999999").unwrap();
        for (breach, at_floor) in [(Comparison::Below, false), (Comparison::AtOrBelow, true)] {
            let rule = DailyLoss { reference: Reference::Equity, limit, breach };
            let floors = [floor(&rule, 0, &track).unwrap()];
            assert_eq!(crate::breached(&floors, at).is_some(), at_floor);
            assert!(crate::breached(&floors, below).is_some());
        }
    }
}
