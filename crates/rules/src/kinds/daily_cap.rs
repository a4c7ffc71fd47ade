//! How far one trading day may go, down and up.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::effect::RuleError;
use crate::rule::{Kind, Words};
use crate::{Comparison, Effect, Floor, Limit, Tested, Track};

use super::daily_loss::Reference;
use super::effect_fault;

/// Bounds on both sides of `reference ± limit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DailyCap {
    /// What the day is measured from.
    pub reference: Reference,
    /// How far it may go from there, either way.
    pub limit: Limit,
    /// Whether touching a bound reaches it.
    pub breach: Comparison,
    /// What happens: `soft` or `pause`.
    pub effect: Effect,
}

impl Kind for DailyCap {
    fn limit(&self) -> Option<Limit> {
        Some(self.limit)
    }

    fn faults(&self, fault: &mut dyn FnMut(&str, String)) {
        self.limit.faults("limit", fault);
        if self.reference == Reference::DayPeakEquity {
            fault(
                "reference",
                "must stand for the whole day: balance, equity, higher_of or peak_at_reset".to_owned(),
            );
        }
        effect_fault(self.effect, &[Effect::Soft, Effect::Pause], fault);
    }

    fn sentence(&self, words: &Words) -> String {
        let limit = self.limit.words_from(words, self.reference.words());
        let at = match self.breach {
            Comparison::AtOrBelow => "at",
            Comparison::Below => "beyond",
        };
        format!("A trading day ends early {at} a loss or a profit of {limit}: {}.", self.effect.words())
    }

    fn floors(&self, index: usize, track: &Track) -> Result<Vec<Floor>, RuleError> {
        let reference = self.reference.value(track);
        let limit = self.limit.amount(track.initial, reference)?;
        let floor = Floor {
            rule: index,
            kind: Cow::Borrowed("daily_cap"),
            amount: reference.minus(limit)?,
            comparison: self.breach,
            cap: false,
            tests: Tested::Equity,
            effect: self.effect,
            reference_name: Cow::Borrowed(self.reference.words()),
            reference,
            limit,
            locked_at: None,
            used: None,
        };
        let cap = Floor { amount: reference.plus(limit)?, cap: true, ..floor.clone() };
        Ok(vec![floor, cap])
    }

    fn effect(&self) -> Effect {
        self.effect
    }
}

#[cfg(test)]
mod tests {
    use crate::example::{holds, refused};

    #[test]
    fn either_side_ends_the_day_at_the_bound_or_beyond_it() {
        for (breach, at) in [("below", "ok"), ("at_or_below", "soft_breach")] {
            for (bound, beyond) in [("97000", "96999.99"), ("103000", "103000.01")] {
                holds(&format!(
                    "[[example]]\nid = 'cap'\nprogram.rules = [{{ kind = 'daily_cap', reference = 'equity', limit = {{ \
                     percent_of_initial = '3' }}, breach = '{breach}', effect = 'soft' }}]\nstep = [{{ equity = '{bound}', expect = {{ \
                     verdict = '{at}' }} }}]\n[[example]]\nid = 'beyond'\nprogram.rules = [{{ kind = 'daily_cap', reference = \
                     'equity', limit = {{ percent_of_initial = '3' }}, breach = '{breach}', effect = 'soft' }}]\nstep = [{{ equity = \
                     '{beyond}', expect = {{ verdict = 'soft_breach', rule = 'daily_cap' }} }}]"
                ));
            }
        }
    }

    #[test]
    fn a_reference_that_moves_within_the_day_has_no_upper_bound() {
        let rule = "kind = 'daily_cap'\nreference = 'day_peak_equity'\nlimit = { amount = '1' }\nbreach = 'below'\neffect = 'hard'";
        assert_eq!(refused(rule), ["reference", "effect"]);
    }
}
