//! The largest size.

use std::collections::BTreeMap;

use kernel::{Amount, Lots, Overflow, Percent, Rounding, Symbol, divide};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::effect::{Figured, RuleError, figure};
use crate::rule::{Kind, Words};
use crate::{Effect, Fact, Finding, Moment, Opening, Rule, Scene, Track, is_default};

use super::effect_fault;

/// Sizes up to a number of lots or contracts that may grow with the profit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaxSize {
    /// What is added up.
    pub per: Per,
    /// The largest size by profit over the initial balance; the first step begins at 0 and holds for a loss, too.
    pub steps: Vec<SizeStep>,
    /// When the profit is read.
    #[serde(default, skip_serializing_if = "is_default")]
    pub read: ReadAt,
    /// What one lot of an instrument counts, in per cent of a full one: a micro contract may count 10.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub weights: BTreeMap<Symbol, Percent>,
    /// What happens: `refuse`, `flag`, `deduct`, `warn`, `soft` or `hard`.
    pub effect: Effect,
}

/// A size from a profit on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SizeStep {
    /// The profit over the initial balance from which on it holds, that profit included.
    pub from_profit: Amount,
    /// The largest size.
    pub lots: Lots,
}

/// What is added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Per {
    /// Nothing: each order alone.
    Order,
    /// All open positions of an instrument.
    Symbol,
    /// All open positions.
    Account,
}

/// When the profit is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ReadAt {
    /// At every order.
    #[default]
    Always,
    /// At the reset: the size holds for the whole day.
    DayStart,
}

impl MaxSize {
    fn profit(&self, scene: &Scene<'_>, track: &Track) -> Result<Amount, Overflow> {
        match self.read {
            ReadAt::Always => scene.balance.minus(track.initial),
            ReadAt::DayStart => track.day_start_balance.minus(track.initial),
        }
    }

    fn allowed(&self, profit: Amount) -> Lots {
        let reached = self.steps.iter().rev().find(|step| profit >= step.from_profit);
        reached.or(self.steps.first()).map_or(Lots::ZERO, |step| step.lots)
    }

    fn counted(&self, symbol: &Symbol, lots: Lots) -> Result<Lots, Overflow> {
        self.weights.get(symbol).map_or(Ok(lots), |weight| {
            let product =
                i128::from(lots.millionths()).checked_mul(i128::from(weight.millionths())).ok_or(Overflow)?;
            Lots::from_wide(divide(product, i128::from(Percent::WHOLE.millionths()), Rounding::Ceiling)?)
        })
    }

    /// What is open already, the position itself left out.
    fn size(&self, track: &Track, opening: &Opening) -> Result<Lots, Overflow> {
        let mut size = self.counted(&opening.symbol, opening.lots)?;
        for (ticket, trade) in &track.open {
            let counts = match self.per {
                Per::Order => false,
                Per::Symbol => trade.symbol == opening.symbol,
                Per::Account => true,
            };
            if counts && *ticket != opening.trade {
                size = size.plus(self.counted(&trade.symbol, trade.lots)?)?;
            }
        }
        Ok(size)
    }

    fn excess(
        &self,
        scene: &Scene<'_>,
        track: &Track,
        opening: &Opening,
    ) -> Result<Option<Vec<Figured>>, RuleError> {
        let allowed = self.allowed(self.profit(scene, track)?);
        let size = self.size(track, opening)?;
        Ok((size > allowed).then(|| vec![figure("size", size), figure("allowed", allowed)]))
    }
}

const MOST_WEIGHT: Percent = Percent::from_whole(100_000);

impl Kind for MaxSize {
    fn faults(&self, fault: &mut dyn FnMut(&str, String)) {
        if self.steps.is_empty() {
            fault("steps", "give at least one size".to_owned());
        }
        if self.steps.iter().any(|step| step.lots <= Lots::ZERO) {
            fault("steps", "every size must be above 0".to_owned());
        }
        let from_start = self.steps.first().is_none_or(|step| step.from_profit == Amount::ZERO);
        if !from_start || !self.steps.is_sorted_by(|left, right| left.from_profit < right.from_profit) {
            fault(
                "steps",
                "must begin with from_profit = \"0\" and be in the order of their profits".to_owned(),
            );
        }
        if self.weights.values().any(|weight| weight.millionths() <= 0 || *weight > MOST_WEIGHT) {
            fault("weights", "every weight must be above 0 and at most 100000 per cent".to_owned());
        }
        let allowed =
            [Effect::Refuse, Effect::Flag, Effect::Deduct, Effect::Warn, Effect::Soft, Effect::Hard];
        effect_fault(self.effect, &allowed, fault);
    }

    fn sentence(&self, words: &Words) -> String {
        let per = match self.per {
            Per::Order => "An order",
            Per::Symbol => "All positions in one instrument",
            Per::Account => "All open positions together",
        };
        let steps = self.steps.iter().map(|step| {
            if step.from_profit == Amount::ZERO {
                format!("{} lots", step.lots)
            } else {
                format!("{} lots from {} of profit", step.lots, words.amount(step.from_profit))
            }
        });
        let steps: Vec<_> = steps.collect();
        let read = match self.read {
            ReadAt::Always => "",
            ReadAt::DayStart => ", read at the reset",
        };
        let weights: Vec<_> =
            self.weights.iter().map(|(symbol, weight)| format!("{symbol} {weight}%")).collect();
        let weights = if weights.is_empty() {
            String::new()
        } else {
            format!(" A lot counts less or more: {}.", weights.join(", "))
        };
        format!(
            "{per} may have at most {}{read}; beyond it {}.{weights}",
            steps.join(", "),
            self.effect.words()
        )
    }

    fn notice(
        &self,
        index: usize,
        scene: &Scene<'_>,
        track: &mut Track,
        fact: &Fact,
    ) -> Result<Vec<Finding>, RuleError> {
        let Fact::Opened(opening) = fact else { return Ok(Vec::new()) };
        let excess = self.excess(scene, track, opening)?;
        Ok(excess
            .map(|figures| {
                let mut finding = Rule::finding(index, "max_size", self.effect.after_the_fact(), figures);
                finding.trade = Some(opening.trade);
                finding
            })
            .into_iter()
            .collect())
    }

    fn objection(
        &self,
        _: usize,
        scene: &Scene<'_>,
        track: &Track,
        opening: &Opening,
        _: Moment,
    ) -> Result<Option<Vec<Figured>>, RuleError> {
        self.excess(scene, track, opening)
    }

    fn figures(&self, _: usize, scene: &Scene<'_>, track: &Track) -> Result<Vec<Figured>, RuleError> {
        let profit = self.profit(scene, track)?;
        let mut figures = vec![figure("allowed", self.allowed(profit))];
        if let Some(next) = self.steps.iter().find(|step| step.from_profit > profit.max(Amount::ZERO)) {
            figures.push(figure("next_allowed", next.lots));
            figures.push(figure("next_from", track.initial.plus(next.from_profit)?));
        }
        Ok(figures)
    }

    fn effect(&self) -> Effect {
        self.effect
    }
}

#[cfg(test)]
mod tests {
    use crate::example::{holds, refused};

    #[test]
    fn sizes_add_up_as_set_and_a_micro_counts_a_tenth() {
        for (per, second, other) in
            [("order", "ok", "ok"), ("symbol", "refused", "ok"), ("account", "refused", "refused")]
        {
            holds(&format!(
                "[[example]]\nid = '{per}'\nprogram.rules = [{{ kind = 'max_size', per = '{per}', steps = [{{ from_profit = '0', lots = \
                 '2' }}], weights = {{ MES = '10' }}, effect = 'refuse' }}]\nstep = [\n{{ open = [{{ position = 'a', symbol = 'ES', lots = '2' \
                 }}], expect = {{ verdict = 'ok' }} }},\n{{ open = [{{ position = 'b', symbol = 'ES', lots = '0.01' }}], expect = {{ verdict = \
                 '{second}' }} }},\n{{ open = [{{ position = 'c', symbol = 'MES', lots = '20' }}], expect = {{ verdict = '{other}' }} }},\n{{ \
                 open = [{{ position = 'd', symbol = 'MES', lots = '20.1' }}], expect = {{ verdict = 'refused', max_size.allowed = 2 }} }}]"
            ));
        }
    }

    #[test]
    fn the_profit_is_read_at_once_or_at_the_reset_and_its_step_included() {
        for (read, now) in [("always", 3), ("day_start", 2)] {
            holds(&format!(
                "[[example]]\nid = '{read}'\nprogram.rules = [{{ kind = 'max_size', per = 'account', steps = [{{ from_profit = '0', lots = \
                 '2' }}, {{ from_profit = '1500', lots = '3' }}], read = '{read}', effect = 'refuse' }}]\nstep = [\n{{ closed = '-100', \
                 expect = {{ max_size.allowed = 2, max_size.next_from = 101500, max_size.next_allowed = 3 }} }},\n{{ closed = '1599.99', expect \
                 = {{ max_size.allowed = 2 }} }},\n{{ closed = '0.01', expect = {{ max_size.allowed = {now} }} }},\n{{ reset = true, expect \
                 = {{ max_size.allowed = 3 }} }}]"
            ));
        }
        let rule = "kind = 'max_size'\nper = 'order'\neffect = 'refuse'\nsteps = [{ from_profit = '5', lots = '0' }]\nweights = { ES = '0' }";
        assert_eq!(refused(rule), ["steps", "steps", "weights"]);
    }
}
