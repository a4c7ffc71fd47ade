//! Sizes that change by steps.

use kernel::Lots;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::effect::{Figured, RuleError, figure};
use crate::rule::{Kind, Words};
use crate::{Effect, Fact, Finding, Rule, Scene, Track};

use super::{Note, effect_fault};

/// A size differs from another by at most so many lots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LotStep {
    /// The largest difference, itself allowed.
    pub step: Lots,
    /// Which other.
    pub from: Predecessor,
    /// What happens: `flag`, `deduct`, `warn`, `soft` or `hard`.
    pub effect: Effect,
}

/// Which trade a size is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Predecessor {
    /// The one opened before it.
    PreviousTrade,
    /// The first of the account.
    FirstTrade,
}

/// Sizes seen so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepNotes {
    /// The first.
    pub first: Lots,
    /// The last.
    pub last: Lots,
}

impl LotStep {
    fn reference(&self, index: usize, track: &Track) -> Option<Lots> {
        match (track.notes.get(&index), self.from) {
            (Some(Note::Step(notes)), Predecessor::FirstTrade) => Some(notes.first),
            (Some(Note::Step(notes)), Predecessor::PreviousTrade) => Some(notes.last),
            _ => None,
        }
    }
}

impl Kind for LotStep {
    fn faults(&self, fault: &mut dyn FnMut(&str, String)) {
        if self.step < Lots::ZERO {
            fault("step", "must not be negative".to_owned());
        }
        effect_fault(
            self.effect,
            &[Effect::Flag, Effect::Deduct, Effect::Warn, Effect::Soft, Effect::Hard],
            fault,
        );
    }

    fn sentence(&self, _: &Words) -> String {
        let from = match self.from {
            Predecessor::PreviousTrade => "trade before it",
            Predecessor::FirstTrade => "first trade",
        };
        format!(
            "The size of a trade differs by at most {} lots from the {from}; otherwise {}.",
            self.step,
            self.effect.words()
        )
    }

    fn notice(
        &self,
        index: usize,
        _: &Scene<'_>,
        track: &mut Track,
        fact: &Fact,
    ) -> Result<Vec<Finding>, RuleError> {
        let Fact::Opened(opening) = fact else { return Ok(Vec::new()) };
        let lots = opening.lots;
        let mut found = Vec::new();
        if let Some(reference) = self.reference(index, track) {
            let difference = if lots > reference { lots.minus(reference)? } else { reference.minus(lots)? };
            if difference > self.step {
                let figures = vec![
                    figure("lots", lots),
                    figure("reference", reference),
                    figure("difference", difference),
                    figure("step", self.step),
                ];
                let mut finding = Rule::finding(index, "lot_step", self.effect, figures);
                finding.trade = Some(opening.trade);
                found.push(finding);
            }
        }
        let first = match track.notes.get(&index) {
            Some(Note::Step(notes)) => notes.first,
            _ => lots,
        };
        track.notes.insert(index, Note::Step(StepNotes { first, last: lots }));
        Ok(found)
    }

    fn figures(&self, index: usize, _: &Scene<'_>, track: &Track) -> Result<Vec<Figured>, RuleError> {
        Ok(self.reference(index, track).map(|lots| figure("reference", lots)).into_iter().collect())
    }

    fn effect(&self) -> Effect {
        self.effect
    }
}

#[cfg(test)]
mod tests {
    use crate::example::holds;

    #[test]
    fn the_step_itself_is_allowed_and_the_other_trade_is_a_setting() {
        for (from, verdicts) in [
            ("previous_trade", "['ok', 'ok', 'ok', 'violation']"),
            ("first_trade", "['ok', 'ok', 'violation', 'ok']"),
        ] {
            holds(&format!(
                "[[example]]\nid = '{from}'\nprogram.rules = [{{ kind = 'lot_step', step = '1', from = '{from}', effect = 'flag' }}]\n\
                 step = [{{ trade = [{{ lots = '2', profit = '0' }}, {{ lots = '3', profit = '0' }}, {{ lots = '4', profit = '0' }}, {{ lots = \
                 '2.5', profit = '0' }}], expect = {{ verdicts = {verdicts} }} }}]"
            ));
        }
    }

    #[test]
    fn what_a_trade_out_of_step_earns_is_not_paid_out() {
        holds(
            r#"
            [[example]]
            id = "deduct"
            program.payout = { split = "80" }
            program.rules = [{ kind = "lot_step", step = "1", from = "previous_trade", effect = "deduct" }]
            step = [
              { trade = [{ lots = "1", profit = "100" }, { lots = "5", profit = "700" }, { lots = "5", profit = "50" }, { lots = "1", profit = "-30" }], expect = { violations = 2, payout.deducted = 700, payout.profit = 120 } },
              { open = [{ position = "a", lots = "4" }] },
              { close = [{ position = "a", lots = "2", profit = "500" }], expect = { payout.deducted = 1200 } },
              { close = [{ position = "a", profit = "-200" }], expect = { payout.deducted = 1000, payout.profit = 120 } },
            ]
            "#,
        );
    }
}
