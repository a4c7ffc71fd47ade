//! Nothing open over night, or over the weekend.

use std::borrow::Cow;
use std::collections::BTreeSet;

use kernel::{LocalTime, TimeError, Timestamp, TradingDay, Zone};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::effect::{RuleError, figure};
use crate::rule::{Kind, Words};
use crate::{Deadline, Effect, Fact, Finding, Rule, Scene, Track};

use super::{Note, effect_fault};

/// Every position is closed by a local time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlatBy {
    /// The zone of the time.
    pub zone: Zone,
    /// The time.
    pub time: LocalTime,
    /// On which days of the week; Friday alone asks for a flat weekend.
    pub weekdays: BTreeSet<Weekday>,
    /// Days on which another time holds, such as the early close before a holiday.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub early: Vec<EarlyClose>,
    /// What happens to what is still open: `close`, `flag`, `warn`, `soft` or `hard`.
    pub effect: Effect,
}

/// A day on which another time holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct EarlyClose {
    /// The date in the zone.
    pub date: TradingDay,
    /// The time.
    pub time: LocalTime,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "the names say it")]
pub enum Weekday {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Weekday {
    /// Reads `Mon` or `mon`.
    pub fn parse(text: &str) -> Option<Self> {
        Some(match text.to_ascii_lowercase().as_str() {
            "mon" => Self::Mon,
            "tue" => Self::Tue,
            "wed" => Self::Wed,
            "thu" => Self::Thu,
            "fri" => Self::Fri,
            "sat" => Self::Sat,
            "sun" => Self::Sun,
            _ => return None,
        })
    }

    /// The day of the week of a date.
    pub fn of(day: TradingDay) -> Self {
        match day.weekday() {
            0 => Self::Mon,
            1 => Self::Tue,
            2 => Self::Wed,
            3 => Self::Thu,
            4 => Self::Fri,
            5 => Self::Sat,
            _ => Self::Sun,
        }
    }

    /// Its number from Monday, 0, to Sunday, 6.
    pub const fn number(self) -> u8 {
        match self {
            Self::Mon => 0,
            Self::Tue => 1,
            Self::Wed => 2,
            Self::Thu => 3,
            Self::Fri => 4,
            Self::Sat => 5,
            Self::Sun => 6,
        }
    }

    const fn words(self) -> &'static str {
        match self {
            Self::Mon => "Monday",
            Self::Tue => "Tuesday",
            Self::Wed => "Wednesday",
            Self::Thu => "Thursday",
            Self::Fri => "Friday",
            Self::Sat => "Saturday",
            Self::Sun => "Sunday",
        }
    }
}

impl FlatBy {
    /// The first cut-off strictly after an instant.
    fn next(&self, after: Timestamp) -> Result<Timestamp, TimeError> {
        let weekdays: Vec<_> = self.weekdays.iter().map(|weekday| weekday.number()).collect();
        let mut next = self.zone.next_weekly(after, self.time, &weekdays)?;
        // The usual time does not hold on a day that has another.
        while self.replaced(next)? {
            next = self.zone.next_weekly(next, self.time, &weekdays)?;
        }
        for early in &self.early {
            let at = self.zone.at(early.date, early.time)?;
            if after < at && at < next {
                next = at;
            }
        }
        Ok(next)
    }

    fn replaced(&self, at: Timestamp) -> Result<bool, TimeError> {
        for early in &self.early {
            if self.zone.at(early.date, self.time)? == at {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn due(&self, index: usize, track: &Track) -> Result<Timestamp, TimeError> {
        let acted = match track.notes.get(&index) {
            Some(Note::Acted(at)) => *at,
            _ => track.opened_at,
        };
        // What was opened after the last cut-off it acted on is judged by the first one after its opening.
        let opened = track.open.values().map(|trade| trade.opened_at).min().unwrap_or(acted);
        self.next(acted.max(opened))
    }
}

impl Kind for FlatBy {
    fn faults(&self, fault: &mut dyn FnMut(&str, String)) {
        if self.weekdays.is_empty() {
            fault("weekdays", "name at least one day".to_owned());
        }
        let allowed = [Effect::Close, Effect::Flag, Effect::Warn, Effect::Soft, Effect::Hard];
        effect_fault(self.effect, &allowed, fault);
    }

    fn sentence(&self, _: &Words) -> String {
        let days: Vec<_> = self.weekdays.iter().map(|weekday| weekday.words()).collect();
        let days = if days.len() == 7 { "every day".to_owned() } else { format!("on {}", days.join(", ")) };
        let early: Vec<_> =
            self.early.iter().map(|early| format!("{} on {}", early.time, early.date)).collect();
        let early = if early.is_empty() { String::new() } else { format!(" ({} instead)", early.join(", ")) };
        format!(
            "Nothing may be open at {} {} {days}{early}; otherwise {}.",
            self.time,
            self.zone.name(),
            self.effect.words()
        )
    }

    fn deadlines(&self, index: usize, _: &Scene<'_>, track: &Track) -> Result<Vec<Deadline>, RuleError> {
        if track.open.is_empty() {
            return Ok(Vec::new());
        }
        let at = self.due(index, track)?;
        Ok(vec![Deadline { rule: index, kind: Cow::Borrowed("flat_by"), at, effect: self.effect }])
    }

    fn notice(
        &self,
        index: usize,
        scene: &Scene<'_>,
        track: &mut Track,
        fact: &Fact,
    ) -> Result<Vec<Finding>, RuleError> {
        if !matches!(fact, Fact::Time) || track.open.is_empty() {
            return Ok(Vec::new());
        }
        let due = self.due(index, track)?;
        if due > scene.at {
            return Ok(Vec::new());
        }
        track.notes.insert(index, Note::Acted(scene.at));
        let figures =
            vec![figure("deadline", due), super::min_trading_days::count("open_positions", track.open.len())];
        let mut finding = Rule::finding(index, "flat_by", self.effect, figures);
        finding.trade = track.open.keys().next().copied();
        Ok(vec![finding])
    }

    fn effect(&self) -> Effect {
        self.effect
    }
}

#[cfg(test)]
mod tests {
    use crate::example::holds;

    #[test]
    fn what_is_open_at_the_time_is_closed_and_an_early_close_takes_the_place_of_the_usual_one() {
        holds(
            r#"
            [[example]]
            id = "Friday"
            program.rules = [{ kind = "flat_by", zone = "America/New_York", time = "15:45", weekdays = ["fri"], effect = "close" }]
            step = [
              { at = "Thu", open = [{ position = "a" }], floating = "-70", expect = { flat_by.deadline = "2026-01-09T20:45:00Z" } },
              { at = "2026-01-09T20:44:59Z", expect = { verdict = "ok" } },
              { at = "2026-01-09T20:45:00Z", expect = { verdict = "soft_breach", account.balance = 99930 } },
              { after = "1m", expect = { flat_by.deadline = "none" } },
              { open = [{ position = "b" }], expect = { verdict = "ok", flat_by.deadline = "2026-01-16T20:45:00Z" } },
            ]
            [[example]]
            id = "early"
            start = "2026-11-26T15:00:00Z"
            program.rules = [{ kind = "flat_by", zone = "America/New_York", time = "15:45", weekdays = ["thu", "fri"], early = [{ date = "2026-11-27", time = "12:45" }], effect = "flag" }]
            step = [
              { open = [{ position = "a" }] },
              { at = "2026-11-26T20:45:00Z", expect = { violations = 1 } },
              { at = "2026-11-27T17:44:00Z", expect = { violations = 0 } },
              { at = "2026-11-27T17:45:00Z", expect = { violations = 1 } },
              { at = "2026-11-28", expect = { violations = 0, flat_by.deadline = "2026-12-03T20:45:00Z" } },
            ]
            "#,
        );
    }

    #[test]
    fn the_time_follows_the_clocks_of_its_zone() {
        holds(
            r#"
            [[example]]
            id = "summer time begins"
            start = "2026-03-06T12:00:00Z"
            program.rules = [{ kind = "flat_by", zone = "America/New_York", time = "15:45", weekdays = ["fri"], effect = "warn" }]
            step = [
              { open = [{ position = "a" }], expect = { flat_by.deadline = "2026-03-06T20:45:00Z" } },
              { at = "2026-03-10", expect = { warnings = 1, flat_by.deadline = "2026-03-13T19:45:00Z" } },
            ]
            "#,
        );
    }
}
