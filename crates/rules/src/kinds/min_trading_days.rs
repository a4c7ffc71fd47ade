//! On how many days one must trade.

use std::borrow::Cow;
use std::collections::BTreeSet;

use kernel::{Amount, TradingDay};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::effect::{Figure, Figured, RuleError, figure};
use crate::limit::{Limit, Reached, Since};
use crate::rule::{Kind, Words};
use crate::track::Day;
use crate::{Fact, Finding, Objective, Scene, Track, is_default};

use super::{Note, days_fault};

/// How many days, and what makes a day count.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MinTradingDays {
    /// How many days.
    pub days: u32,
    /// What makes a day count.
    #[serde(default, skip_serializing_if = "is_default")]
    pub counts: Counts,
    /// Whether Saturdays and Sundays do not count.
    #[serde(default, skip_serializing_if = "is_default")]
    pub weekdays_only: bool,
    /// From when on days count.
    #[serde(default, skip_serializing_if = "is_default")]
    pub since: Since,
}

/// What makes a day count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Counts {
    /// A position is opened; one held over several days counts once, on the day it was opened.
    #[default]
    OpensPosition,
    /// A position is open at any time of the day, the days of opening and closing included.
    PositionHeld,
    /// A position is opened that has since closed; one held over several days counts once, on the day it was opened.
    OpenAndClose,
    /// The equity moves at least so far over the day, up or down.
    DayChange(Limit),
    /// A position of at least this size closes with at least this result, up or down.
    SizedTrade(SizedTrade),
}

/// A trade that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SizedTrade {
    /// The least worth of the position when it opened.
    pub size: Limit,
    /// The least result, gain or loss.
    pub result: Limit,
    /// Whether the result itself counts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reached: Reached,
}

impl MinTradingDays {
    fn counted(&self, index: usize, scene: &Scene<'_>, track: &Track) -> Result<Vec<TradingDay>, RuleError> {
        let mut counted = Vec::new();
        for day in track.days_since(self.since, scene.equity)? {
            let counts = match self.counts {
                Counts::OpensPosition => day.opened > 0,
                Counts::PositionHeld => day.held,
                Counts::OpenAndClose => day.completed > 0,
                Counts::DayChange(least) => {
                    let least = least.amount(track.initial, track.initial)?;
                    size(day.change)? >= least
                }
                Counts::SizedTrade(_) => noted(track, index).is_some_and(|days| days.contains(&day.day)),
            };
            if counts && !(self.weekdays_only && day.day.is_weekend()) {
                counted.push(day.day);
            }
        }
        Ok(counted)
    }
}

fn noted(track: &Track, index: usize) -> Option<&BTreeSet<TradingDay>> {
    match track.notes.get(&index) {
        Some(Note::Days(days)) => Some(days),
        _ => None,
    }
}

fn size(amount: Amount) -> Result<Amount, RuleError> {
    if amount.is_negative() { Ok(amount.negated()?) } else { Ok(amount) }
}

impl Kind for MinTradingDays {
    fn faults(&self, fault: &mut dyn FnMut(&str, String)) {
        days_fault("days", self.days, fault);
        match self.counts {
            Counts::OpensPosition | Counts::PositionHeld | Counts::OpenAndClose => {}
            Counts::DayChange(least) => least.faults("counts.day_change", fault),
            Counts::SizedTrade(trade) => {
                trade.size.faults("counts.sized_trade.size", fault);
                trade.result.faults("counts.sized_trade.result", fault);
            }
        }
    }

    fn sentence(&self, words: &Words) -> String {
        let days = match self.days {
            1 => "at least one trading day".to_owned(),
            days => format!("at least {days} different trading days"),
        };
        let since = self.since.words();
        let week = if self.weekdays_only { ", Saturdays and Sundays left out" } else { "" };
        let what = match self.counts {
            Counts::OpensPosition => format!("open a position on {days}"),
            Counts::PositionHeld => format!("hold a position on {days}"),
            Counts::OpenAndClose => format!("open a position on {days} and close it, then or later"),
            Counts::DayChange(least) => {
                format!("move the equity by at least {} on {days}", least.words(words, "initial balance"))
            }
            Counts::SizedTrade(trade) => format!(
                "on {days} close a position worth at least {} with a gain or a loss of {} {}",
                trade.size.words(words, "initial balance"),
                trade.reached.words(),
                trade.result.words(words, "initial balance")
            ),
        };
        format!("You must {what}{since}{week}.")
    }

    fn objective(
        &self,
        index: usize,
        scene: &Scene<'_>,
        track: &Track,
    ) -> Result<Option<Objective>, RuleError> {
        let days = u32::try_from(self.counted(index, scene, track)?.len()).unwrap_or(u32::MAX);
        Ok(Some(Objective {
            rule: index,
            kind: Cow::Borrowed("min_trading_days"),
            target: Figure::Count(self.days),
            current: Figure::Count(days),
            met: days >= self.days,
        }))
    }

    fn notice(
        &self,
        index: usize,
        _: &Scene<'_>,
        track: &mut Track,
        fact: &Fact,
    ) -> Result<Vec<Finding>, RuleError> {
        if let (Counts::SizedTrade(sized), Fact::Closed(closing)) = (self.counts, fact)
            && closing.whole
            && let Some(trade) = track.open.get(&closing.trade)
        {
            let least_size = sized.size.amount(track.initial, track.initial)?;
            let least_result = sized.result.amount(track.initial, track.initial)?;
            let result = size(trade.profit.plus(closing.profit)?)?;
            if trade.notional >= least_size && sized.reached.reached(result, least_result) {
                let today = track.today.day;
                if let Note::Days(days) =
                    track.notes.entry(index).or_insert_with(|| Note::Days(BTreeSet::new()))
                {
                    days.insert(today);
                }
            }
        }
        Ok(Vec::new())
    }

    fn figures(&self, index: usize, scene: &Scene<'_>, track: &Track) -> Result<Vec<Figured>, RuleError> {
        let days = self.counted(index, scene, track)?;
        Ok(vec![Figured { name: Cow::Borrowed("days"), value: Figure::Days(days) }])
    }
}

/// Names the days that hold something.
pub(super) fn named(days: &[Day], amount: impl Fn(&Day) -> Amount) -> Figure {
    Figure::ByDay(days.iter().map(|day| (day.day, amount(day))).collect())
}

/// A number of days.
pub(super) fn count(name: &'static str, days: usize) -> Figured {
    figure(name, u32::try_from(days).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use crate::example::holds;

    /// Opened on Monday and closed on Thursday, and two trades on Saturday.
    fn week(counts: &str, more: &str, days: &str) -> String {
        format!(
            "[[example]]\nid = 'week'\nprogram.rules = [{{ kind = 'min_trading_days', days = 2, counts = {counts}{more} }}]\nstep = \
             [\n{{ at = 'Mon', open = [{{ position = 'a', price = '100', units = '60' }}] }},\n{{ at = 'Thu', close = [{{ position = \
             'a', profit = '-1000' }}] }},\n{{ at = 'Sat', trade = [{{ profit = '400' }}, {{ profit = '100' }}], expect = {{ \
             min_trading_days.days = {days} }} }}]"
        )
    }

    #[test]
    fn one_week_under_every_definition() {
        for (counts, days) in [
            ("'opens_position'", "['Mon', 'Sat']"),
            ("'open_and_close'", "['Mon', 'Sat']"),
            ("'position_held'", "['Mon', 'Tue', 'Wed', 'Thu', 'Sat']"),
            ("{ day_change = { percent_of_initial = '0.5' } }", "['Thu', 'Sat']"),
            ("{ day_change = { amount = '500.01' } }", "['Thu']"),
            ("{ sized_trade = { size = { amount = '6000' }, result = { amount = '1000' } } }", "['Thu']"),
            (
                "{ sized_trade = { size = { amount = '6000' }, result = { amount = '1000' }, reached = 'above' } }",
                "[]",
            ),
            ("{ sized_trade = { size = { amount = '6000.01' }, result = { amount = '1000' } } }", "[]"),
        ] {
            holds(&week(counts, "", days));
        }
        holds(&week("'opens_position'", ", weekdays_only = true", "['Mon']"));
    }

    #[test]
    fn a_position_that_is_still_open_has_not_been_closed() {
        holds(
            r#"
            [[example]]
            id = "open"
            program.rules = [{ kind = "min_trading_days", days = 1, counts = "open_and_close" }]
            step = [
              { open = [{ position = "a", lots = "2" }], expect = { min_trading_days.current = 0 } },
              { close = [{ position = "a", lots = "1", profit = "10" }], expect = { min_trading_days.current = 0 } },
              { close = [{ position = "a", profit = "10" }], expect = { min_trading_days.current = 1, min_trading_days.met = true } },
            ]
            "#,
        );
    }

    #[test]
    fn days_are_counted_by_their_own_clock() {
        holds(
            r#"
            [[example]]
            id = "one evening, two days of the reset, one of counting"
            start = "2026-01-05T15:00:00Z"
            program.reset = { zone = "America/New_York", time = "17:00" }
            program.counting = { zone = "Etc/UTC", time = "00:00" }
            program.rules = [{ kind = "min_trading_days", days = 2 }]
            step = [
              { at = "2026-01-05T21:59:00Z", trade = [{ profit = "1" }], expect = { clock.day = "2026-01-05" } },
              { at = "2026-01-05T22:01:00Z", trade = [{ profit = "1" }], expect = { clock.day = "2026-01-06", min_trading_days.current = 1 } },
              { at = "2026-01-06T00:00:00Z", trade = [{ profit = "1" }], expect = { clock.day = "2026-01-06", min_trading_days.current = 2 } },
            ]
            "#,
        );
    }
}
