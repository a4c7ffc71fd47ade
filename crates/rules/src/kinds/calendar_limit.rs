//! How long a phase may take.

use std::borrow::Cow;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::effect::{RuleError, figure};
use crate::rule::{Kind, Words};
use crate::{Deadline, Effect, Fact, Finding, Rule, Scene, Track, is_default};

use super::{DayCount, days_fault};

/// Days from the opening of the account within which the phase must be passed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CalendarLimit {
    /// How many days.
    pub days: u32,
    /// Which days count.
    #[serde(default, skip_serializing_if = "is_default")]
    pub count: DayCount,
}

impl Kind for CalendarLimit {
    fn faults(&self, fault: &mut dyn FnMut(&str, String)) {
        days_fault("days", self.days, fault);
    }

    fn sentence(&self, _: &Words) -> String {
        let days = match self.count {
            DayCount::Calendar => "calendar days",
            DayCount::Weekdays => "weekdays",
        };
        format!("The phase must be passed within {} {days}.", self.days)
    }

    fn deadlines(&self, index: usize, _: &Scene<'_>, track: &Track) -> Result<Vec<Deadline>, RuleError> {
        let at = self.count.after(track.opened_at, self.days)?;
        Ok(vec![Deadline { rule: index, kind: Cow::Borrowed("calendar_limit"), at, effect: Effect::Expire }])
    }

    fn notice(
        &self,
        index: usize,
        scene: &Scene<'_>,
        track: &mut Track,
        fact: &Fact,
    ) -> Result<Vec<Finding>, RuleError> {
        let end = self.count.after(track.opened_at, self.days)?;
        if !matches!(fact, Fact::Time) || end > scene.at {
            return Ok(Vec::new());
        }
        let figures = vec![figure("opened_at", track.opened_at), figure("deadline", end)];
        Ok(vec![Rule::finding(index, "calendar_limit", Effect::Expire, figures)])
    }
}

#[cfg(test)]
mod tests {
    use crate::example::{holds, refused};

    #[test]
    fn a_phase_that_is_not_passed_in_time_ends_without_a_breach() {
        holds(
            r#"
            [program]
            rules = [{ kind = "profit_target", limit = { amount = "1000" }, flat = true }, { kind = "calendar_limit", days = 7 }]
            [[example]]
            id = "too late"
            step = [
              { at = "2026-01-11T23:59:59Z", closed = "999", expect = { verdict = "ok", calendar_limit.deadline = "2026-01-12T00:00:00Z" } },
              { at = "2026-01-12", closed = "1", expect = { verdict = "expiry", rule = "calendar_limit" } },
            ]
            [[example]]
            id = "in time"
            step = [
              { at = "2026-01-11T23:59:59Z", closed = "1000", expect = { verdict = "passed" } },
              { at = "2026-02-12", expect = { account.status = "passed" } },
            ]
            [[example]]
            id = "weekdays"
            program.rules = [{ kind = "calendar_limit", days = 7, count = "weekdays" }]
            step = [{ expect = { calendar_limit.deadline = "2026-01-14T00:00:00Z" } }]
            "#,
        );
        assert_eq!(refused("kind = 'calendar_limit'\ndays = 3651"), ["days"]);
    }
}
