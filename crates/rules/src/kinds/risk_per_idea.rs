//! What one trade idea may lose: several trades in one instrument that overlap or follow each other closely.

use std::collections::BTreeSet;

use kernel::{Amount, Overflow, Side, Span, Symbol, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::effect::{Figured, RuleError, figure};
use crate::limit::{Limit, Reached};
use crate::rule::{Kind, Words};
use crate::{Effect, Fact, Finding, OpenLevel, Opening, Rule, Scene, Track, is_default};

use super::{Note, effect_fault};

/// The loss of an idea, closed and open together, against a limit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RiskPerIdea {
    /// The largest loss.
    pub limit: Limit,
    /// Whether the limit itself is too much.
    pub breach: Reached,
    /// A trade joins an idea that ended less than so many minutes before it; 0 joins only what overlaps.
    pub gap_minutes: u32,
    /// Whether buys and sells are ideas of their own.
    #[serde(default, skip_serializing_if = "is_default")]
    pub by_side: bool,
    /// Whether only closed losses count.
    #[serde(default, skip_serializing_if = "is_default")]
    pub closed_only: bool,
    /// What happens: `flag`, `deduct`, `warn`, `close`, `soft` or `hard`. It stands also if the idea recovers.
    pub effect: Effect,
}

/// A group of trades.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Idea {
    /// Their instrument.
    pub symbol: Symbol,
    /// Their side, where sides are kept apart.
    pub side: Option<Side>,
    /// Those that are open.
    pub open: BTreeSet<u32>,
    /// When the last one closed.
    pub ended_at: Option<Timestamp>,
    /// What the closed ones and closed parts brought.
    pub realised: Amount,
    /// Whether it has been found already.
    pub found: bool,
}

/// What is remembered of the ideas of an account.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Ideas {
    /// How many there have been.
    pub count: u32,
    /// The largest loss that one of them ever showed.
    pub worst: Amount,
    /// Those that a trade can still join, and the last one.
    pub recent: Vec<Idea>,
}

impl RiskPerIdea {
    fn join(&self, ideas: &mut Ideas, at: Timestamp, opening: &Opening) -> Result<(), Overflow> {
        let side = self.by_side.then_some(opening.side);
        let gap = Span::from_minutes(self.gap_minutes)?;
        let near = |idea: &Idea| {
            !idea.open.is_empty()
                || idea.ended_at.is_some_and(|ended| {
                    at.since(ended).is_ok_and(|since| since < gap || since == Span::ZERO)
                })
        };
        ideas.recent.retain(near);
        if let Some(idea) =
            ideas.recent.iter_mut().find(|idea| idea.symbol == opening.symbol && idea.side == side)
        {
            idea.open.insert(opening.trade);
            idea.realised = idea.realised.minus(opening.cost)?;
        } else {
            ideas.count = ideas.count.saturating_add(1);
            ideas.recent.push(Idea {
                symbol: opening.symbol.clone(),
                side,
                open: BTreeSet::from([opening.trade]),
                ended_at: None,
                realised: opening.cost.negated()?,
                found: false,
            });
        }
        Ok(())
    }

    fn judge(
        &self,
        index: usize,
        idea: &mut Idea,
        worst: &mut Amount,
        limit: Amount,
        floating: Amount,
    ) -> Result<Option<Finding>, Overflow> {
        let loss = idea.realised.plus(floating)?.negated()?;
        *worst = (*worst).max(loss);
        if idea.found || loss <= Amount::ZERO || !self.breach.reached(loss, limit) {
            return Ok(None);
        }
        idea.found = true;
        let figures = vec![figure("idea_loss", loss), figure("limit", limit)];
        let mut finding = Rule::finding(index, "risk_per_idea", self.effect, figures);
        finding.trade = idea.open.first().copied();
        Ok(Some(finding))
    }
}

impl Kind for RiskPerIdea {
    fn limit(&self) -> Option<Limit> {
        Some(self.limit)
    }

    fn faults(&self, fault: &mut dyn FnMut(&str, String)) {
        self.limit.faults("limit", fault);
        if self.gap_minutes > 10_080 {
            fault("gap_minutes", "must be at most 10080, a week".to_owned());
        }
        let allowed = [Effect::Flag, Effect::Deduct, Effect::Warn, Effect::Close, Effect::Soft, Effect::Hard];
        effect_fault(self.effect, &allowed, fault);
    }

    fn sentence(&self, words: &Words) -> String {
        let limit = self.limit.words(words, "initial balance");
        let side = if self.by_side { " and direction" } else { "" };
        let gap = match self.gap_minutes {
            0 => "overlap".to_owned(),
            minutes => format!("overlap or lie less than {minutes} minutes apart"),
        };
        let what = if self.closed_only { "closed losses" } else { "closed and open losses" };
        let than = match self.breach {
            Reached::AtOrAbove => "less than",
            Reached::Above => "at most",
        };
        format!(
            "One trade idea may lose {than} {limit}, {what} together; trades in one instrument{side} that {gap} are \
             one idea; otherwise {}.",
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
        let limit = self.limit.amount(track.initial, track.initial)?;
        let concerns = match fact {
            Fact::Opened(_) | Fact::Closed(_) => true,
            Fact::Floating(_) => !self.closed_only,
            Fact::Ordered | Fact::StopMoved { .. } | Fact::Time | Fact::Review => false,
        };
        if !concerns {
            return Ok(Vec::new());
        }
        // Taken out and put back: this may be asked at every price, and nothing is to be copied then.
        let mut ideas = match track.notes.remove(&index) {
            Some(Note::Ideas(ideas)) => ideas,
            _ => Ideas::default(),
        };
        let mut found = Vec::new();
        match fact {
            Fact::Opened(opening) => self.join(&mut ideas, scene.at, opening)?,
            Fact::Closed(closing) => {
                let worst = &mut ideas.worst;
                if let Some(idea) = ideas.recent.iter_mut().find(|idea| idea.open.contains(&closing.trade)) {
                    idea.realised = idea.realised.plus(closing.profit)?;
                    let judged = self.judge(index, idea, worst, limit, Amount::ZERO)?;
                    found.extend(judged.map(|finding| Finding { trade: Some(closing.trade), ..finding }));
                    if closing.whole {
                        idea.open.remove(&closing.trade);
                        idea.ended_at = Some(scene.at);
                    }
                }
            }
            Fact::Floating(floating) => {
                let worst = &mut ideas.worst;
                for idea in ideas.recent.iter_mut().filter(|idea| !idea.open.is_empty()) {
                    let mut sum = Amount::ZERO;
                    for (trade, profit) in floating {
                        if idea.open.contains(trade) {
                            sum = sum.plus(*profit)?;
                        }
                    }
                    found.extend(self.judge(index, idea, worst, limit, sum)?);
                }
            }
            Fact::Ordered | Fact::StopMoved { .. } | Fact::Time | Fact::Review => {}
        }
        track.notes.insert(index, Note::Ideas(ideas));
        Ok(found)
    }

    fn figures(&self, index: usize, _: &Scene<'_>, track: &Track) -> Result<Vec<Figured>, RuleError> {
        let (count, worst) = match track.notes.get(&index) {
            Some(Note::Ideas(ideas)) => (ideas.count, ideas.worst),
            _ => (0, Amount::ZERO),
        };
        Ok(vec![
            figure("limit", self.limit.amount(track.initial, track.initial)?),
            figure("ideas", count),
            figure("idea_loss", worst),
        ])
    }

    fn needs_floating(&self) -> bool {
        !self.closed_only
    }

    fn open_levels(
        &self,
        index: usize,
        track: &Track,
        open: &BTreeSet<u32>,
    ) -> Result<Option<Vec<OpenLevel>>, RuleError> {
        if self.closed_only {
            return Ok(Some(Vec::new()));
        }
        // Being told, it begins to remember.
        let Some(Note::Ideas(ideas)) = track.notes.get(&index) else { return Ok(None) };
        let limit = self.limit.amount(track.initial, track.initial)?;
        let speaks = self.breach.first_above_zero(limit)?;
        // A loss larger than every one before is remembered, whoever shows it.
        let deeper = ideas.worst.plus(Amount::from_micros(1))?;
        let mut levels = Vec::new();
        for idea in ideas.recent.iter().filter(|idea| !idea.open.is_empty()) {
            let loss = if idea.found { deeper } else { deeper.min(speaks) };
            let trades = idea.open.intersection(open).copied().collect();
            levels.push(OpenLevel { trades, low: loss.negated()?.minus(idea.realised)? });
        }
        Ok(Some(levels))
    }

    fn effect(&self) -> Effect {
        self.effect
    }
}

#[cfg(test)]
mod tests {
    use crate::example::holds;

    fn two(gap: &str, settings: &str, second: &str, expect: &str) -> String {
        format!(
            "[[example]]\nid = 'two'\nprogram.rules = [{{ kind = 'risk_per_idea', limit = {{ amount = '200' }}, breach = 'at_or_above', \
             gap_minutes = 60, effect = 'flag'{settings} }}]\nstep = [\n{{ open = [{{ position = 'a', symbol = 'XAUUSD' }}] }},\n{{ after = \
             '1m', close = [{{ position = 'a', profit = '-150' }}] }},\n{{ after = '{gap}', open = [{{ position = 'b', {second} }}] }},\n{{ \
             close = [{{ position = 'b', profit = '-50' }}], expect = {{ {expect} }} }}]"
        )
    }

    #[test]
    fn trades_that_follow_closely_are_one_idea() {
        let one = "risk_per_idea.ideas = 1, risk_per_idea.idea_loss = 200, verdict = 'violation'";
        let apart = "risk_per_idea.ideas = 2, risk_per_idea.idea_loss = 150, verdict = 'ok'";
        let gold = "symbol = 'XAUUSD'";
        holds(&two("59m", "", gold, one));
        holds(&two("3599s", "", gold, one));
        holds(&two("60m", "", gold, apart));
        holds(&two("1m", "", "symbol = 'EURUSD'", apart));
        holds(&two("1m", "", "symbol = 'XAUUSD', side = 'sell'", one));
        holds(&two("1m", ", by_side = true", "symbol = 'XAUUSD', side = 'sell'", apart));
    }

    #[test]
    fn open_losses_count_unless_left_out_and_an_idea_is_found_once() {
        for (closed_only, at, verdict) in
            [(false, "above", "ok"), (false, "at_or_above", "violation"), (true, "at_or_above", "ok")]
        {
            holds(&format!(
                "[[example]]\nid = 'open'\nprogram.rules = [{{ kind = 'risk_per_idea', limit = {{ percent_of_initial = '2' }}, breach = \
                 '{at}', gap_minutes = 0, closed_only = {closed_only}, effect = 'flag' }}]\nstep = [\n{{ open = [{{ position = 'a' }}, {{ \
                 position = 'b' }}], open_profit = {{ a = '-1200', b = '-800' }}, expect = {{ risk_per_idea.limit = 2000, verdict = '{verdict}' \
                 }} }},\n{{ open_profit = {{ a = '900' }}, expect = {{ verdict = 'ok' }} }}]"
            ));
        }
    }
}
