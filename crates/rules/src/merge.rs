//! Several accounts that become one.

use kernel::{Amount, Overflow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the balance of the new account is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Merge {
    /// The sum of the balances, at most the largest size among the accounts.
    SumCappedAtLargest,
    /// The sum of the balances.
    Sum,
    /// The largest balance.
    Largest,
}

/// An account that is merged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Merged {
    /// What it was opened with.
    pub size: Amount,
    /// Its balance.
    pub balance: Amount,
}

impl Merge {
    /// The balance that the new account opens with.
    pub fn start_balance(self, accounts: &[Merged]) -> Result<Amount, Overflow> {
        let mut sum = Amount::ZERO;
        for account in accounts {
            sum = sum.plus(account.balance)?;
        }
        let size = accounts.iter().map(|account| account.size).max().unwrap_or_default();
        let largest = accounts.iter().map(|account| account.balance).max().unwrap_or_default();
        Ok(match self {
            Self::SumCappedAtLargest => sum.min(size),
            Self::Sum => sum,
            Self::Largest => largest,
        })
    }

    /// What it means.
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::SumCappedAtLargest => {
                "Merged accounts become one with the sum of their balances, at most the largest size among them."
            }
            Self::Sum => "Merged accounts become one with the sum of their balances.",
            Self::Largest => "Merged accounts become one with the largest of their balances.",
        }
    }
}
