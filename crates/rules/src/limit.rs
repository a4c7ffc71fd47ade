use kernel::{Amount, Currency, Overflow, Percent, Rounding};
use serde::{Deserialize, Serialize};

/// How much may be lost or must be earned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

    /// For sentences: "5% of the initial balance (5000.00 USD)", "2000.00 USD", "5% of the day's starting value".
    pub fn words(self, initial: Amount, currency: Currency, reference: &str) -> String {
        match self {
            Self::Amount(amount) => format!("{} {currency}", amount.text(currency)),
            Self::PercentOfInitial(percent) => match initial.share(percent, Rounding::Floor) {
                Ok(amount) => {
                    format!("{percent}% of the initial balance ({} {currency})", amount.text(currency))
                }
                Err(Overflow) => format!("{percent}% of the initial balance"),
            },
            Self::PercentOfReference(percent) => format!("{percent}% of {reference}"),
        }
    }

    pub(crate) fn is_sensible(self) -> bool {
        match self {
            Self::Amount(amount) => amount > Amount::ZERO,
            Self::PercentOfInitial(percent) | Self::PercentOfReference(percent) => {
                percent.millionths() > 0 && percent <= Percent::WHOLE
            }
        }
    }
}
