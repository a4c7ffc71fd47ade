//! How much must be earned to pass.

use std::borrow::Cow;

use kernel::{Amount, Overflow};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::effect::{Figure, Figured, RuleError, figure};
use crate::limit::Reached;
use crate::rule::{Kind, Words};
use crate::{Limit, Objective, Scene, Track, is_default};

/// The target is `initial balance + limit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ProfitTarget {
    /// Profit over the initial balance.
    pub limit: Limit,
    /// Whether every position must be closed. With one open the answer is "not yet", never "failed".
    pub flat: bool,
    /// Whether no order may be working either.
    #[serde(default, skip_serializing_if = "is_default")]
    pub no_orders: bool,
    /// What must show the profit.
    #[serde(default, skip_serializing_if = "is_default")]
    pub of: TargetOf,
    /// Whether the target itself passes.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reached: Reached,
}

/// What must show the profit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TargetOf {
    /// The balance: profit counts once it is closed.
    #[default]
    Balance,
    /// The equity: open profit counts.
    Equity,
}

impl ProfitTarget {
    /// The profit asked for.
    pub fn profit(&self, initial: Amount) -> Result<Amount, Overflow> {
        self.limit.amount(initial, initial)
    }
}

impl Kind for ProfitTarget {
    fn limit(&self) -> Option<Limit> {
        Some(self.limit)
    }

    fn faults(&self, fault: &mut dyn FnMut(&str, String)) {
        self.limit.faults("limit", fault);
    }

    fn sentence(&self, words: &Words) -> String {
        let flat = match (self.flat, self.no_orders) {
            (true, true) => " with no position open and no order working",
            (true, false) => " with no position open",
            (false, true) => " with no order working",
            (false, false) => "",
        };
        let profit = match self.of {
            TargetOf::Balance => "closed profit",
            TargetOf::Equity => "profit, open positions included,",
        };
        let more = if self.reached == Reached::Above { "more than " } else { "" };
        format!("To pass, earn {more}{} in {profit}{flat}.", self.limit.words(words, "initial balance"))
            .replace(",.", ".")
    }

    fn objective(
        &self,
        index: usize,
        scene: &Scene<'_>,
        track: &Track,
    ) -> Result<Option<Objective>, RuleError> {
        let target = track.initial.plus(self.profit(track.initial)?)?;
        let current = match self.of {
            TargetOf::Balance => scene.balance,
            TargetOf::Equity => scene.equity,
        };
        Ok(Some(Objective {
            rule: index,
            kind: Cow::Borrowed("profit_target"),
            target: Figure::Amount(target),
            current: Figure::Amount(current),
            met: self.reached.reached(current, target),
        }))
    }

    fn figures(&self, _: usize, _: &Scene<'_>, track: &Track) -> Result<Vec<Figured>, RuleError> {
        Ok(vec![figure("profit", self.profit(track.initial)?)])
    }
}

#[cfg(test)]
mod tests {
    use crate::example::holds;

    #[test]
    fn the_target_itself_passes_and_nothing_open_or_working_is_left() {
        holds(
            r#"
            [program]
            rules = [{ kind = "profit_target", limit = { percent_of_initial = "5" }, flat = true, no_orders = true }]
            [[example]]
            id = "flat"
            step = [
              { balance = "104999.99", expect = { verdict = "ok", profit_target.met = false } },
              { balance = "105000", floating = "-1", expect = { verdict = "ok", profit_target.met = true } },
              { working_orders = 1, floating = "0", expect = { verdict = "not_yet" } },
              { working_orders = 0, floating = "0", expect = { verdict = "passed" } },
            ]
            [[example]]
            id = "a position open"
            step = [
              { open = [{ position = "a" }], closed = "5000", expect = { verdict = "not_yet" } },
              { close = [{ position = "a", profit = "0" }], expect = { verdict = "passed", account.status = "passed" } },
            ]
            [[example]]
            id = "by equity, more than the target, with positions open"
            program.rules = [{ kind = "profit_target", limit = { percent_of_initial = "5" }, flat = false, of = "equity", reached = "above" }]
            step = [
              { equity = "105000", expect = { verdict = "ok" } },
              { equity = "105000.01", expect = { verdict = "passed" } },
            ]
            [[example]]
            id = "an open loss eats what the balance shows"
            program.rules = [{ kind = "profit_target", limit = { percent_of_initial = "5" }, flat = false }]
            step = [
              { balance = "105000", floating = "-1", expect = { profit_target.met = true, verdict = "ok" } },
              { floating = "0", expect = { verdict = "passed" } },
            ]
            [[example]]
            id = "losses come first"
            program.rules = [
              { kind = "profit_target", limit = { percent_of_initial = "5" }, flat = true },
              { kind = "daily_cap", reference = "balance", limit = { percent_of_initial = "4" }, breach = "at_or_below", effect = "soft" },
            ]
            step = [{ balance = "106000", expect = { violations = 0, verdict = "passed", account.locked = true } }]
            "#,
        );
    }
}
