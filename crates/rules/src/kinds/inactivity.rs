//! How long an account may rest.

use std::borrow::Cow;

use kernel::{Span, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::effect::{RuleError, figure};
use crate::rule::{Kind, Words};
use crate::{Deadline, Effect, Fact, Finding, Rule, Scene, Track, is_default};

use super::{Note, days_fault};

/// Days without activity after which the account ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Inactivity {
    /// How many days.
    pub days: u32,
    /// What counts as activity.
    #[serde(default, skip_serializing_if = "is_default")]
    pub activity: ActivityKind,
    /// Which days count.
    #[serde(default, skip_serializing_if = "is_default")]
    pub count: DayCount,
    /// So many days before the end the trader is warned.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warn_days: Option<u32>,
}

/// What counts as activity.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActivityKind {
    /// Opening a position.
    #[default]
    Open,
    /// Closing a position.
    Close,
    /// Placing an order.
    Order,
    /// Any of them.
    Any,
}

/// Which days count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DayCount {
    /// All, of 24 hours each.
    #[default]
    Calendar,
    /// Not Saturdays and Sundays (UTC).
    Weekdays,
}

impl DayCount {
    /// So many days after an instant.
    pub(super) fn after(self, at: Timestamp, days: u32) -> Result<Timestamp, RuleError> {
        let one = Span::from_days(1)?;
        match self {
            Self::Calendar => Ok(at.after(Span::from_days(days)?)?),
            Self::Weekdays => {
                let (mut at, mut left) = (at, days);
                while left > 0 {
                    at = at.after(one)?;
                    if !at.is_weekend() {
                        left = left.saturating_sub(1);
                    }
                }
                Ok(at)
            }
        }
    }

    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Calendar => "days",
            Self::Weekdays => "weekdays",
        }
    }
}

impl Inactivity {
    fn last(&self, track: &Track) -> Timestamp {
        let activity = &track.activity;
        match self.activity {
            ActivityKind::Open => activity.open,
            ActivityKind::Close => activity.close,
            ActivityKind::Order => activity.order,
            ActivityKind::Any => activity.order.max(activity.open).max(activity.close),
        }
    }

    fn end(&self, track: &Track) -> Result<Timestamp, RuleError> {
        self.count.after(self.last(track), self.days)
    }

    /// When the trader is warned, unless that has been done.
    fn warning(&self, index: usize, track: &Track) -> Result<Option<Timestamp>, RuleError> {
        let Some(before) = self.warn_days else { return Ok(None) };
        let at = self.count.after(self.last(track), self.days.saturating_sub(before))?;
        let done = matches!(track.notes.get(&index), Some(Note::Acted(acted)) if *acted >= at);
        Ok((!done).then_some(at))
    }
}

impl Kind for Inactivity {
    fn faults(&self, fault: &mut dyn FnMut(&str, String)) {
        days_fault("days", self.days, fault);
        if self.warn_days.is_some_and(|days| days == 0 || days >= self.days) {
            fault("warn_days", "must be at least 1 and less than the days".to_owned());
        }
    }

    fn sentence(&self, _: &Words) -> String {
        let what = match self.activity {
            ActivityKind::Open => "opening a position",
            ActivityKind::Close => "closing a position",
            ActivityKind::Order => "placing an order",
            ActivityKind::Any => "trading",
        };
        let warned =
            self.warn_days.map_or(String::new(), |days| format!(" You are warned {days} days before."));
        format!("The account ends after {} {} without {what}.{warned}", self.days, self.count.words())
    }

    fn deadlines(&self, index: usize, _: &Scene<'_>, track: &Track) -> Result<Vec<Deadline>, RuleError> {
        let deadline = |at, effect| Deadline { rule: index, kind: Cow::Borrowed("inactivity"), at, effect };
        let mut deadlines = vec![deadline(self.end(track)?, Effect::Expire)];
        deadlines.extend(self.warning(index, track)?.map(|at| deadline(at, Effect::Warn)));
        Ok(deadlines)
    }

    fn notice(
        &self,
        index: usize,
        scene: &Scene<'_>,
        track: &mut Track,
        fact: &Fact,
    ) -> Result<Vec<Finding>, RuleError> {
        if !matches!(fact, Fact::Time) {
            return Ok(Vec::new());
        }
        let (last, end) = (self.last(track), self.end(track)?);
        let effect = if end <= scene.at {
            Effect::Expire
        } else if self.warning(index, track)?.is_some_and(|at| at <= scene.at) {
            track.notes.insert(index, Note::Acted(scene.at));
            Effect::Warn
        } else {
            return Ok(Vec::new());
        };
        let figures = vec![figure("last_activity", last), figure("deadline", end)];
        Ok(vec![Rule::finding(index, "inactivity", effect, figures)])
    }
}

#[cfg(test)]
mod tests {
    use crate::example::{holds, refused};

    #[test]
    fn the_account_ends_when_the_days_are_over_and_not_before() {
        holds(
            r#"
            [[example]]
            id = "thirty days"
            program.rules = [{ kind = "inactivity", days = 30, warn_days = 7 }]
            step = [
              { trade = [{ profit = "1" }], expect = { inactivity.deadline = "2026-01-28T00:00:00Z" } },
              { at = "2026-01-28", expect = { verdict = "warning", inactivity.deadline = "2026-02-04T00:00:00Z" } },
              { at = "2026-02-03T23:59:59Z", expect = { verdict = "ok" } },
              { at = "2026-02-04", expect = { verdict = "expiry", account.status = "expired", rule = "inactivity" } },
            ]
            [[example]]
            id = "what counts as activity"
            program.rules = [{ kind = "inactivity", days = 10, activity = "close" }, { kind = "inactivity", days = 20, activity = "order" }, { kind = "inactivity", days = 30, activity = "any" }]
            step = [
              { at = "2026-01-08", open = [{ position = "a" }], expect = { inactivity.deadline = "2026-01-15T00:00:00Z", "inactivity#3".deadline = "2026-02-07T00:00:00Z" } },
              { at = "2026-01-09", close = [{ position = "a", profit = "0" }], expect = { inactivity.deadline = "2026-01-19T00:00:00Z" } },
              { at = "2026-01-10", order = true, expect = { "inactivity#2".deadline = "2026-01-30T00:00:00Z", "inactivity#3".deadline = "2026-02-09T00:00:00Z" } },
            ]
            [[example]]
            id = "weekdays"
            start = "2026-01-08T12:00:00Z"
            program.rules = [{ kind = "inactivity", days = 3, count = "weekdays" }]
            step = [{ expect = { inactivity.deadline = "2026-01-13T12:00:00Z" } }]
            "#,
        );
        assert_eq!(refused("kind = 'inactivity'\ndays = 0\nwarn_days = 1"), ["days", "warn_days"]);
    }
}
