//! How much must be earned to pass.

use std::borrow::Cow;

use kernel::{Amount, Currency, Overflow};
use serde::{Deserialize, Serialize};

use crate::floor::Reach;
use crate::{Limit, Objective, Track};

/// Settings. The balance is tested, not the equity: profit counts once it is closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProfitTarget {
    /// Profit over the initial balance.
    pub limit: Limit,
    /// Whether every position must be closed. With one open the answer is "not yet", never "failed".
    pub flat: bool,
}

pub(crate) fn objective(
    rule: &ProfitTarget,
    index: usize,
    track: &Track,
    balance: Amount,
) -> Result<Objective, Overflow> {
    let target = track.initial.plus(rule.limit.amount(track.initial, track.initial)?)?;
    Ok(Objective {
        rule: index,
        kind: Cow::Borrowed("profit_target"),
        target: Reach::Amount(target),
        current: Reach::Amount(balance),
        met: balance >= target,
    })
}

pub(crate) fn sentence(rule: &ProfitTarget, initial: Amount, currency: Currency) -> String {
    let flat = if rule.flat { " with no position open" } else { "" };
    let limit = match rule.limit {
        Limit::Amount(amount) => format!("{} {currency}", amount.grouped(currency)),
        Limit::PercentOfInitial(_) | Limit::PercentOfReference(_) => {
            rule.limit.words(initial, currency, "initial balance")
        }
    };
    format!("To pass, earn {limit} in closed profit{flat}.")
}
