//! A stop loss that must be there soon after a position opens.

use std::borrow::Cow;

use kernel::{Overflow, Span, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::effect::{RuleError, figure};
use crate::rule::{Kind, Words};
use crate::{Deadline, Effect, Fact, Finding, OpenTrade, Rule, Scene, Track};

use super::effect_fault;

/// Every position has a stop loss within some minutes of its opening, and keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StopRequired {
    /// Minutes after the opening; 0 asks for one from the start.
    pub minutes: u32,
    /// First a warning, and so many minutes to cure it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cure_minutes: Option<u32>,
    /// What happens then: `flag`, `deduct`, `warn`, `close`, `soft` or `hard`.
    pub effect: Effect,
}

impl StopRequired {
    /// When the rule next speaks about a position.
    fn due(&self, index: usize, trade: &OpenTrade) -> Result<Option<(Timestamp, Effect)>, Overflow> {
        let mut spoken = trade.spoken.iter().filter(|(rule, _)| *rule == index).map(|(_, at)| *at);
        let grace = Span::from_minutes(self.minutes)?;
        let first = trade.opened_at.after(grace)?;
        Ok(match (trade.risk, self.cure_minutes, spoken.next(), spoken.next()) {
            (None, None, None, _) => Some((first, self.effect)),
            (None, Some(_), None, _) => Some((first, Effect::Warn)),
            // The cure runs from the warning, whenever the stop was taken away.
            (None, Some(cure), Some(warned), None) => {
                Some((warned.after(Span::from_minutes(cure)?)?, self.effect))
            }
            _ => None,
        })
    }
}

impl Kind for StopRequired {
    fn faults(&self, fault: &mut dyn FnMut(&str, String)) {
        if self.minutes > 1_440 || self.cure_minutes.is_some_and(|minutes| !(1..=1_440).contains(&minutes)) {
            fault("minutes", "must be at most 1440, a day".to_owned());
        }
        let allowed = [Effect::Flag, Effect::Deduct, Effect::Warn, Effect::Close, Effect::Soft, Effect::Hard];
        effect_fault(self.effect, &allowed, fault);
    }

    fn sentence(&self, _: &Words) -> String {
        let within = match self.minutes {
            0 => "from the start".to_owned(),
            minutes => format!("within {minutes} minutes of its opening"),
        };
        let cure = self.cure_minutes.map_or(String::new(), |minutes| {
            format!(" you are warned first and have {minutes} more minutes;")
        });
        format!("Every position must have a stop loss {within};{cure} otherwise {}.", self.effect.words())
    }

    fn deadlines(&self, index: usize, _: &Scene<'_>, track: &Track) -> Result<Vec<Deadline>, RuleError> {
        let mut deadlines = Vec::new();
        for trade in track.open.values() {
            if let Some((at, effect)) = self.due(index, trade)? {
                deadlines.push(Deadline { rule: index, kind: Cow::Borrowed("stop_required"), at, effect });
            }
        }
        Ok(deadlines)
    }

    fn notice(
        &self,
        index: usize,
        scene: &Scene<'_>,
        track: &mut Track,
        fact: &Fact,
    ) -> Result<Vec<Finding>, RuleError> {
        let speaks = matches!(fact, Fact::Time) || (self.minutes == 0 && matches!(fact, Fact::Opened(_)));
        if !speaks {
            return Ok(Vec::new());
        }
        let mut found = Vec::new();
        for (ticket, trade) in &mut track.open {
            if let Some((at, effect)) = self.due(index, trade)?
                && at <= scene.at
            {
                trade.spoken.push((index, scene.at));
                let figures = vec![figure("opened_at", trade.opened_at), figure("deadline", at)];
                let mut finding = Rule::finding(index, "stop_required", effect, figures);
                finding.trade = Some(*ticket);
                found.push(finding);
            }
        }
        Ok(found)
    }

    fn effect(&self) -> Effect {
        self.effect
    }
}

#[cfg(test)]
mod tests {
    use crate::example::holds;

    #[test]
    fn the_time_and_the_cure_run_out_by_themselves() {
        holds(
            r#"
            [[example]]
            id = "in time, and taken away again"
            program.rules = [{ kind = "stop_required", minutes = 3, effect = "close" }]
            step = [
              { open = [{ position = "a" }], expect = { stop_required.deadline = "2026-01-05T00:03:00Z" } },
              { after = "2m", stop = [{ position = "a", risk = "100" }], expect = { stop_required.deadline = "none" } },
              { after = "2h", expect = { verdict = "ok" } },
              { stop = [{ position = "a" }] },
              { after = "1s", expect = { verdict = "soft_breach", rule = "stop_required" } },
            ]
            [[example]]
            id = "warned and cured"
            program.rules = [{ kind = "stop_required", minutes = 5, cure_minutes = 60, effect = "hard" }]
            step = [
              { open = [{ position = "a" }] },
              { after = "5m", expect = { verdict = "warning" } },
              { after = "59m", stop = [{ position = "a", risk = "1" }] },
              { after = "1d", expect = { verdict = "ok" } },
            ]
            [[example]]
            id = "warned and not cured"
            program.rules = [{ kind = "stop_required", minutes = 5, cure_minutes = 60, effect = "hard" }]
            step = [
              { open = [{ position = "a" }] },
              { after = "64m", expect = { verdict = "warning" } },
              { after = "1m", expect = { verdict = "breach" } },
            ]
            [[example]]
            id = "from the start"
            program.rules = [{ kind = "stop_required", minutes = 0, effect = "flag" }]
            step = [
              { open = [{ position = "a", risk = "5" }], expect = { verdict = "ok" } },
              { open = [{ position = "b" }], expect = { verdict = "violation" } },
            ]
            "#,
        );
    }
}
