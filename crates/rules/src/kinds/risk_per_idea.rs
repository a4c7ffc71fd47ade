//! What one trade idea may lose: several trades in one instrument that overlap or follow each other closely.

use std::collections::BTreeSet;

use kernel::{Amount, Overflow, Side, Span, Symbol, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::effect::{Figured, RuleError, figure};
use crate::limit::{Limit, Reached};
use crate::rule::{Kind, Words};
use crate::{Effect, Fact, Finding, Rule, Scene, Track, is_default};

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

impl RiskPerIdea {
    fn ideas<'a>(track: &'a mut Track, index: usize) -> Option<&'a mut Vec<Idea>> {
        match track.notes.entry(index).or_insert_with(|| Note::Ideas(Vec::new())) {
            Note::Ideas(ideas) => Some(ideas),
            _ => None,
        }
    }

    fn join(
        &self,
        ideas: &mut Vec<Idea>,
        at: Timestamp,
        symbol: &Symbol,
        side: Side,
        trade: u32,
        cost: Amount,
    ) -> Result<(), Overflow> {
        let side = self.by_side.then_some(side);
        let gap = Span::from_minutes(self.gap_minutes)?;
        let near = |idea: &Idea| {
            !idea.open.is_empty()
                || idea.ended_at.is_some_and(|ended| {
                    at.since(ended).is_ok_and(|since| since < gap || since == Span::ZERO)
                })
        };
        // What no trade can join any more is forgotten, apart from the last one, which screens show.
        let last = ideas.len().saturating_sub(1);
        let mut place = 0_usize;
        ideas.retain(|idea| {
            let keep = near(idea) || place == last;
            place = place.saturating_add(1);
            keep
        });
        if let Some(idea) =
            ideas.iter_mut().find(|idea| idea.symbol == *symbol && idea.side == side && near(idea))
        {
            idea.open.insert(trade);
            idea.realised = idea.realised.minus(cost)?;
        } else {
            ideas.push(Idea {
                symbol: symbol.clone(),
                side,
                open: BTreeSet::from([trade]),
                ended_at: None,
                realised: cost.negated()?,
                found: false,
            });
        }
        Ok(())
    }

    fn judge(
        &self,
        index: usize,
        idea: &mut Idea,
        limit: Amount,
        floating: Amount,
    ) -> Result<Option<Finding>, Overflow> {
        let loss = idea.realised.plus(floating)?.negated()?;
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
        let Some(ideas) = Self::ideas(track, index) else { return Ok(Vec::new()) };
        let mut found = Vec::new();
        match fact {
            Fact::Opened(opening) => {
                self.join(ideas, scene.at, &opening.symbol, opening.side, opening.trade, opening.cost)?;
            }
            Fact::Closed(closing) => {
                if let Some(idea) = ideas.iter_mut().find(|idea| idea.open.contains(&closing.trade)) {
                    idea.realised = idea.realised.plus(closing.profit)?;
                    found.extend(self.judge(index, idea, limit, Amount::ZERO)?.map(|mut finding| {
                        finding.trade = Some(closing.trade);
                        finding
                    }));
                    if closing.whole {
                        idea.open.remove(&closing.trade);
                        idea.ended_at = Some(scene.at);
                    }
                }
            }
            Fact::Floating(floating) if !self.closed_only => {
                for idea in ideas.iter_mut().filter(|idea| !idea.open.is_empty()) {
                    let mut sum = Amount::ZERO;
                    for (trade, profit) in floating {
                        if idea.open.contains(trade) {
                            sum = sum.plus(*profit)?;
                        }
                    }
                    found.extend(self.judge(index, idea, limit, sum)?);
                }
            }
            Fact::Floating(_) | Fact::Ordered | Fact::StopMoved { .. } | Fact::Time | Fact::Review => {}
        }
        Ok(found)
    }

    fn figures(&self, index: usize, _: &Scene<'_>, track: &Track) -> Result<Vec<Figured>, RuleError> {
        let mut figures = vec![figure("limit", self.limit.amount(track.initial, track.initial)?)];
        if let Some(Note::Ideas(ideas)) = track.notes.get(&index) {
            figures.push(super::min_trading_days::count("ideas", ideas.len()));
            let mut worst = Amount::ZERO;
            for idea in ideas {
                worst = worst.max(idea.realised.negated()?);
            }
            figures.push(figure("idea_loss", worst));
        }
        Ok(figures)
    }

    fn needs_floating(&self) -> bool {
        !self.closed_only
    }

    fn effect(&self) -> Effect {
        self.effect
    }
}
