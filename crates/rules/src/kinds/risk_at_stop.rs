//! What may be lost at the stop loss.

use kernel::Amount;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::effect::{Figured, RuleError, figure};
use crate::limit::{Limit, Reached};
use crate::rule::{Kind, Words};
use crate::{Effect, Fact, Finding, Moment, Opening, Rule, Scene, Track};

use super::effect_fault;

/// `(entry − stop) × units` of each position against a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RiskAtStop {
    /// The largest loss at the stop loss.
    pub limit: Limit,
    /// Whether the limit itself is too much.
    pub breach: Reached,
    /// Whether a position without a stop loss may be opened; a rule may ask for one later.
    pub without_stop: bool,
    /// What happens: `refuse`, `flag`, `deduct`, `warn`, `soft` or `hard`.
    pub effect: Effect,
}

impl RiskAtStop {
    fn excess(
        &self,
        track: &Track,
        risk: Option<Amount>,
        notional: Amount,
    ) -> Result<Option<Vec<Figured>>, RuleError> {
        let limit = self.limit.amount(track.initial, track.initial)?;
        let too_much = risk.map_or(!self.without_stop, |risk| self.breach.reached(risk, limit));
        let figures = || {
            let mut figures = vec![figure("limit", limit), figure("position_value", notional)];
            figures.extend(risk.map(|risk| figure("risk", risk)));
            figures
        };
        Ok(too_much.then(figures))
    }
}

impl Kind for RiskAtStop {
    fn limit(&self) -> Option<Limit> {
        Some(self.limit)
    }

    fn faults(&self, fault: &mut dyn FnMut(&str, String)) {
        self.limit.faults("limit", fault);
        let allowed =
            [Effect::Refuse, Effect::Flag, Effect::Deduct, Effect::Warn, Effect::Soft, Effect::Hard];
        effect_fault(self.effect, &allowed, fault);
    }

    fn sentence(&self, words: &Words) -> String {
        let limit = self.limit.words(words, "initial balance");
        let than = match self.breach {
            Reached::AtOrAbove => "less than",
            Reached::Above => "at most",
        };
        let stop = if self.without_stop { "" } else { " and every position must have one from the start" };
        format!(
            "At its stop loss a position may lose {than} {limit}{stop}; otherwise {}.",
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
        let (trade, risk, notional) = match fact {
            Fact::Opened(opening) => (opening.trade, opening.risk, opening.notional),
            Fact::StopMoved { trade, risk: Some(risk) } => {
                (*trade, Some(*risk), track.open.get(trade).map_or(Amount::ZERO, |trade| trade.notional))
            }
            Fact::Ordered
            | Fact::StopMoved { risk: None, .. }
            | Fact::Closed(_)
            | Fact::Floating(_)
            | Fact::Time
            | Fact::Review => return Ok(Vec::new()),
        };
        let Some(figures) = self.excess(track, risk, notional)? else { return Ok(Vec::new()) };
        let mut finding = Rule::finding(index, "risk_at_stop", self.effect.after_the_fact(), figures);
        finding.trade = Some(trade);
        Ok(vec![finding])
    }

    fn objection(
        &self,
        _: usize,
        _: &Scene<'_>,
        track: &Track,
        opening: &Opening,
        _: Moment,
    ) -> Result<Option<Vec<Figured>>, RuleError> {
        self.excess(track, opening.risk, opening.notional)
    }

    fn figures(&self, _: usize, _: &Scene<'_>, track: &Track) -> Result<Vec<Figured>, RuleError> {
        let mut figures = vec![figure("limit", self.limit.amount(track.initial, track.initial)?)];
        if let Some(trade) = track.open.values().max_by_key(|trade| trade.risk) {
            figures.push(figure("position_value", trade.notional));
            figures.extend(trade.risk.map(|risk| figure("risk", risk)));
        }
        Ok(figures)
    }

    fn effect(&self) -> Effect {
        self.effect
    }
}

#[cfg(test)]
mod tests {
    use crate::example::holds;

    #[test]
    fn exactly_the_limit_is_a_setting_and_so_is_a_position_without_a_stop() {
        for (breach, verdict) in [("above", "ok"), ("at_or_above", "refused")] {
            holds(&format!(
                "[[example]]\nid = '{breach}'\nprogram.rules = [{{ kind = 'risk_at_stop', limit = {{ percent_of_initial = '3' }}, breach = \
                 '{breach}', without_stop = false, effect = 'refuse' }}]\nstep = [\n{{ open = [{{ position = 'a', price = '100', stop = '97', \
                 units = '1000' }}], expect = {{ verdict = '{verdict}', risk_at_stop.risk = 3000, risk_at_stop.position_value = 100000 }} \
                 }},\n{{ open = [{{ position = 'b' }}], expect = {{ verdict = 'refused' }} }}]"
            ));
        }
    }

    #[test]
    fn a_stop_moved_too_far_cannot_be_refused_and_is_recorded() {
        holds(
            r#"
            [[example]]
            id = "moved"
            program.rules = [{ kind = "risk_at_stop", limit = { amount = "300" }, breach = "above", without_stop = true, effect = "refuse" }]
            step = [
              { open = [{ position = "a" }], expect = { verdict = "ok" } },
              { stop = [{ position = "a", risk = "300" }], expect = { verdict = "ok" } },
              { stop = [{ position = "a", risk = "300.01" }], expect = { verdict = "violation" } },
            ]
            "#,
        );
    }
}
