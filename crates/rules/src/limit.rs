use kernel::{Amount, Currency, Overflow, Percent, Rounding};
use serde::{Deserialize, Serialize};

use crate::program::MOST_INITIAL_BALANCE;

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

    /// For sentences: "5% of the initial balance (5,000.00 USD), measured from the balance at the reset", or "4% of the
    /// balance at the reset" where the share is of what the rule measures from.
    pub(crate) fn words(self, initial: Amount, currency: Currency, reference: &str) -> String {
        match self {
            Self::Amount(amount) => {
                format!("{} {currency}, measured from the {reference}", amount.grouped(currency))
            }
            Self::PercentOfInitial(percent) => {
                let amount = initial.share(percent, Rounding::Floor).map(|amount| amount.grouped(currency));
                let amount =
                    amount.map_or_else(|Overflow| String::new(), |amount| format!(" ({amount} {currency})"));
                let from = if reference == "initial balance" {
                    String::new()
                } else {
                    format!(", measured from the {reference}")
                };
                format!("{percent}% of the initial balance{amount}{from}")
            }
            Self::PercentOfReference(percent) => format!("{percent}% of the {reference}"),
        }
    }

    pub(crate) fn is_sensible(self) -> bool {
        match self {
            Self::Amount(amount) => amount > Amount::ZERO && amount <= MOST_INITIAL_BALANCE,
            Self::PercentOfInitial(percent) | Self::PercentOfReference(percent) => {
                percent.millionths() > 0 && percent <= Percent::WHOLE
            }
        }
    }
}
