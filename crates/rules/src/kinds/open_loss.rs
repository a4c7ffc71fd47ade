//! How far open positions may be under water.

use std::collections::BTreeSet;

use kernel::{Amount, Percent, Rounding};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::effect::{Figured, RuleError, figure};
use crate::limit::Reached;
use crate::program::MOST_INITIAL_BALANCE;
use crate::rule::{Kind, Words};
use crate::{Effect, Fact, Finding, OpenLevel, Rule, Scene, Track, is_default};

use super::{Note, effect_fault};

/// The open loss of one position, or of all together, against a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenLoss {
    /// Whether each position counts alone.
    pub per: OpenLossPer,
    /// The largest open loss.
    pub limit: LossBase,
    /// Whether the limit itself is too much.
    #[serde(default, skip_serializing_if = "is_default")]
    pub breach: Reached,
    /// What happens: `hard`, `soft`, `close`, `flag` or `warn`.
    pub effect: Effect,
}

/// What an open loss is added up over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OpenLossPer {
    /// Each position.
    Trade,
    /// All open positions.
    Account,
}

/// What an open loss is measured by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LossBase {
    /// A fixed amount.
    Amount(Amount),
    /// A share of the initial balance.
    PercentOfInitial(Percent),
    /// A share of the profit that stood when the day began; without a profit the rule rests.
    PercentOfDayStartProfit(Percent),
}

impl OpenLoss {
    fn limit(&self, track: &Track) -> Result<Option<Amount>, RuleError> {
        Ok(match self.limit {
            LossBase::Amount(amount) => Some(amount),
            LossBase::PercentOfInitial(percent) => Some(track.initial.share(percent, Rounding::Floor)?),
            LossBase::PercentOfDayStartProfit(percent) => {
                let profit = track.day_start_balance.minus(track.initial)?;
                if profit > Amount::ZERO { Some(profit.share(percent, Rounding::Floor)?) } else { None }
            }
        })
    }
}

impl Kind for OpenLoss {
    fn faults(&self, fault: &mut dyn FnMut(&str, String)) {
        let sensible = match self.limit {
            LossBase::Amount(amount) => amount > Amount::ZERO && amount <= MOST_INITIAL_BALANCE,
            LossBase::PercentOfInitial(percent) | LossBase::PercentOfDayStartProfit(percent) => {
                percent.millionths() > 0 && percent <= Percent::WHOLE
            }
        };
        if !sensible {
            let say = "must be above 0, a share at most 100 per cent, an amount at most 1000000000";
            fault("limit", say.to_owned());
        }
        let allowed = [Effect::Hard, Effect::Soft, Effect::Close, Effect::Flag, Effect::Warn];
        effect_fault(self.effect, &allowed, fault);
    }

    fn sentence(&self, words: &Words) -> String {
        let who = match self.per {
            OpenLossPer::Trade => "one position",
            OpenLossPer::Account => "all positions together",
        };
        let limit = match self.limit {
            LossBase::Amount(amount) => words.amount(amount),
            LossBase::PercentOfInitial(percent) => format!("{percent}% of the initial balance"),
            LossBase::PercentOfDayStartProfit(percent) => {
                format!("{percent}% of the profit that stood when the day began")
            }
        };
        let than = self.breach.words();
        format!("If the open loss of {who} is {than} {limit}, {}.", self.effect.words())
    }

    fn notice(
        &self,
        index: usize,
        _: &Scene<'_>,
        track: &mut Track,
        fact: &Fact,
    ) -> Result<Vec<Finding>, RuleError> {
        let Fact::Floating(floating) = fact else { return Ok(Vec::new()) };
        let Some(limit) = self.limit(track)? else { return Ok(Vec::new()) };
        let mut spoken = match track.notes.remove(&index) {
            Some(Note::Spoken(spoken)) => spoken,
            _ => BTreeSet::new(),
        };
        spoken.retain(|trade| floating.iter().any(|(open, _)| open == trade));
        let mut found = Vec::new();
        let exceeds = |loss: Amount| loss > Amount::ZERO && self.breach.reached(loss, limit);
        let finding = |trade: Option<u32>, loss: Amount| {
            let figures = vec![figure("loss", loss), figure("limit", limit)];
            Finding { trade, ..Rule::finding(index, "open_loss", self.effect, figures) }
        };
        match self.per {
            OpenLossPer::Trade => {
                for (trade, profit) in floating {
                    let loss = profit.negated()?;
                    if exceeds(loss) && spoken.insert(*trade) {
                        found.push(finding(Some(*trade), loss));
                    }
                }
            }
            // Once spoken about, it is silent until none of the positions of then is open.
            OpenLossPer::Account => {
                let mut sum = Amount::ZERO;
                for (_, profit) in floating {
                    sum = sum.plus(*profit)?;
                }
                let loss = sum.negated()?;
                if exceeds(loss) && spoken.is_empty() {
                    spoken.extend(floating.iter().map(|(trade, _)| *trade));
                    found.push(finding(None, loss));
                }
            }
        }
        if !spoken.is_empty() {
            track.notes.insert(index, Note::Spoken(spoken));
        }
        Ok(found)
    }

    fn figures(&self, _: usize, _: &Scene<'_>, track: &Track) -> Result<Vec<Figured>, RuleError> {
        Ok(self.limit(track)?.map(|limit| figure("limit", limit)).into_iter().collect())
    }

    fn needs_floating(&self) -> bool {
        true
    }

    fn open_levels(
        &self,
        index: usize,
        track: &Track,
        open: &BTreeSet<u32>,
    ) -> Result<Option<Vec<OpenLevel>>, RuleError> {
        let Some(limit) = self.limit(track)? else { return Ok(Some(Vec::new())) };
        let nothing = BTreeSet::new();
        let spoken = match track.notes.get(&index) {
            None => &nothing,
            Some(Note::Spoken(spoken)) if !spoken.is_empty() && spoken.is_subset(open) => spoken,
            // Positions that are gone are forgotten when it is told next.
            Some(_) => return Ok(None),
        };
        let low = self.breach.first_above_zero(limit)?.negated()?;
        let level = |trades| OpenLevel { trades, low };
        Ok(Some(match self.per {
            OpenLossPer::Trade => {
                open.difference(spoken).map(|trade| level(BTreeSet::from([*trade]))).collect()
            }
            OpenLossPer::Account if spoken.is_empty() => vec![level(open.clone())],
            OpenLossPer::Account => Vec::new(),
        }))
    }

    fn effect(&self) -> Effect {
        self.effect
    }
}

#[cfg(test)]
mod tests {
    use crate::example::holds;

    #[test]
    fn one_position_or_all_together_and_the_limit_itself_as_set() {
        holds(
            r#"
            [[example]]
            id = "each alone"
            program.rules = [{ kind = "open_loss", per = "trade", limit = { amount = "1000" }, breach = "above", effect = "flag" }]
            step = [
              { open = [{ position = "a" }, { position = "b" }], open_profit = { a = "-1000", b = "-1000" }, expect = { violations = 0 } },
              { open_profit = { a = "-1000.01" }, expect = { violations = 1, open_loss.loss = "1000.01" } },
              { open_profit = { a = "-2000" }, expect = { violations = 0 } },
              { open_profit = { b = "-1500" }, expect = { violations = 1 } },
            ]
            [[example]]
            id = "all together"
            program.rules = [{ kind = "open_loss", per = "account", limit = { amount = "1000" }, breach = "at_or_above", effect = "close" }]
            step = [
              { open = [{ position = "a" }, { position = "b" }], open_profit = { a = "-1500", b = "501" }, expect = { verdict = "ok" } },
              { open_profit = { b = "500" }, expect = { verdict = "soft_breach", account.balance = 99000 } },
              { open = [{ position = "c" }], open_profit = { c = "-1000" }, expect = { verdict = "soft_breach", account.balance = 98000 } },
            ]
            [[example]]
            id = "a share of the profit with which the day began"
            program.rules = [{ kind = "open_loss", per = "trade", limit = { percent_of_day_start_profit = "30" }, breach = "above", effect = "flag" }]
            step = [
              { open = [{ position = "a" }], open_profit = { a = "-5000" }, expect = { violations = 0, open_loss.limit = "none" } },
              { open_profit = { a = "0" }, closed = "1000" },
              { reset = true, open_profit = { a = "-300" }, expect = { open_loss.limit = 300, violations = 0 } },
              { open_profit = { a = "-300.01" }, expect = { violations = 1 } },
            ]
            "#,
        );
    }
}
