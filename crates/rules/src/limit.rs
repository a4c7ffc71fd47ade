use kernel::{Amount, Overflow, Percent, Rounding};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::program::MOST_INITIAL_BALANCE;
use crate::rule::Words;

/// How much may be lost or must be earned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Limit {
    /// A fixed amount in the account's currency.
    Amount(Amount),
    /// A share of the initial balance.
    PercentOfInitial(Percent),
    /// A share of the value the rule measures from (the day's start, the peak).
    PercentOfReference(Percent),
}

impl Limit {
    /// The amount, never more than the share says: rounded down to a micro-unit.
    pub fn amount(self, initial: Amount, reference: Amount) -> Result<Amount, Overflow> {
        match self {
            Self::Amount(amount) => Ok(amount),
            Self::PercentOfInitial(percent) => initial.share(percent, Rounding::Floor),
            Self::PercentOfReference(percent) => reference.share(percent, Rounding::Floor),
        }
    }

    /// For sentences: "5% of the initial balance (5,000.00 USD)", "4% of the balance at the reset", "2,000.00 USD".
    pub(crate) fn words(self, words: &Words, reference: &str) -> String {
        match self {
            Self::Amount(amount) => words.amount(amount),
            Self::PercentOfInitial(percent) => {
                let amount = words.initial.share(percent, Rounding::Floor);
                let amount = amount.map_or_else(|Overflow| String::new(), |amount| words.amount(amount));
                format!("{percent}% of the initial balance ({amount})")
            }
            Self::PercentOfReference(percent) => format!("{percent}% of the {reference}"),
        }
    }

    /// [`Limit::words`] with what it is measured from: "5% of the initial balance (5,000.00 USD), measured from the
    /// balance at the reset".
    pub(crate) fn words_from(self, words: &Words, reference: &str) -> String {
        let text = self.words(words, reference);
        match self {
            Self::PercentOfReference(_) => text,
            Self::PercentOfInitial(_) if reference == "initial balance" => text,
            Self::Amount(_) | Self::PercentOfInitial(_) => format!("{text}, measured from the {reference}"),
        }
    }

    /// Tells of a limit that cannot be meant.
    pub(crate) fn faults(self, field: &str, fault: &mut dyn FnMut(&str, String)) {
        let sensible = match self {
            Self::Amount(amount) => amount > Amount::ZERO && amount <= MOST_INITIAL_BALANCE,
            Self::PercentOfInitial(percent) | Self::PercentOfReference(percent) => {
                percent.millionths() > 0 && percent <= Percent::WHOLE
            }
        };
        if !sensible {
            fault(
                field,
                "must be above 0, a share at most 100 per cent, an amount at most 1000000000".to_owned(),
            );
        }
    }
}

/// A level by its distance from the initial balance, above it or, negative, below.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Offset {
    /// A fixed distance in the account's currency.
    Amount(Amount),
    /// A share of the initial balance.
    PercentOfInitial(Percent),
}

impl Offset {
    /// The level.
    pub fn level(self, initial: Amount) -> Result<Amount, Overflow> {
        match self {
            Self::Amount(amount) => initial.plus(amount),
            Self::PercentOfInitial(percent) => initial.plus(initial.share(percent, Rounding::Floor)?),
        }
    }

    /// For sentences: "98,000.00 USD", "2% below the initial balance (98,000.00 USD)".
    pub(crate) fn words(self, words: &Words) -> String {
        let level =
            self.level(words.initial).map_or_else(|Overflow| String::new(), |level| words.amount(level));
        let percent = match self {
            Self::Amount(_) => return level,
            Self::PercentOfInitial(percent) => percent.to_string(),
        };
        let (percent, side) =
            percent.strip_prefix('-').map_or((percent.as_str(), "above"), |size| (size, "below"));
        format!("{percent}% {side} the initial balance ({level})")
    }

    /// Tells of an offset that cannot be meant.
    pub(crate) fn faults(self, field: &str, fault: &mut dyn FnMut(&str, String)) {
        let sensible = match self {
            Self::Amount(amount) => {
                amount.micros().checked_abs().is_some_and(|size| size <= MOST_INITIAL_BALANCE.micros())
            }
            Self::PercentOfInitial(percent) => {
                percent.millionths().checked_abs().is_some_and(|size| size <= Percent::WHOLE.millionths())
            }
        };
        if !sensible {
            fault(field, "must lie within 100 per cent, or 1000000000, of the initial balance".to_owned());
        }
    }
}

/// When a value that rises has reached a level.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reached {
    /// Touching the level reaches it.
    #[default]
    AtOrAbove,
    /// Only above the level.
    Above,
}

impl Reached {
    /// Whether `value` has reached `level`.
    pub fn reached<T: PartialOrd + Copy>(self, value: T, level: T) -> bool {
        match self {
            Self::AtOrAbove => value >= level,
            Self::Above => value > level,
        }
    }

    /// The first value above zero that has reached a level.
    pub(crate) fn first_above_zero(self, level: Amount) -> Result<Amount, Overflow> {
        let unit = Amount::from_micros(1);
        let first = match self {
            Self::AtOrAbove => level,
            Self::Above => level.plus(unit)?,
        };
        Ok(first.max(unit))
    }

    /// For sentences: "at least" or "more than".
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::AtOrAbove => "at least",
            Self::Above => "more than",
        }
    }
}

/// From when on days and trades count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Since {
    /// The opening of the account.
    #[default]
    Opening,
    /// The last payout; the opening before the first.
    Payout,
}

impl Since {
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Opening => "",
            Self::Payout => " since the last payout",
        }
    }
}
