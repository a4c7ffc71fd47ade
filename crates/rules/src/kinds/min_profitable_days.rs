//! On how many days one must earn.

use std::borrow::Cow;

use kernel::Amount;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::effect::{Figure, Figured, RuleError};
use crate::limit::{Limit, Reached, Since};
use crate::rule::{Kind, Words};
use crate::track::Day;
use crate::{Objective, Scene, Track, is_default};

use super::days_fault;
use super::min_trading_days::{count, named};

/// How many days, and how much each must bring.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MinProfitableDays {
    /// How many days; they need not follow each other.
    pub days: u32,
    /// How much a day must bring.
    pub profit: Limit,
    /// What a day brings.
    #[serde(default, skip_serializing_if = "is_default")]
    pub basis: Basis,
    /// Whether exactly that much counts.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reached: Reached,
    /// From when on days count.
    #[serde(default, skip_serializing_if = "is_default")]
    pub since: Since,
}

/// What a day brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// What was closed on it.
    #[default]
    Closed,
    /// How far the equity rose from its start to its end: open profit counts on the day on which it accrues.
    Equity,
    /// What was opened on it, whenever it closed.
    OpenDay,
}

impl Basis {
    pub(super) const fn of(self, day: &Day) -> Amount {
        match self {
            Self::Closed => day.profit,
            Self::Equity => day.change,
            Self::OpenDay => day.booked,
        }
    }
}

impl Kind for MinProfitableDays {
    fn limit(&self) -> Option<Limit> {
        Some(self.profit)
    }

    fn faults(&self, fault: &mut dyn FnMut(&str, String)) {
        days_fault("days", self.days, fault);
        self.profit.faults("profit", fault);
    }

    fn sentence(&self, words: &Words) -> String {
        let profit = self.profit.words(words, "initial balance");
        let what = match self.basis {
            Basis::Closed => "in closed results",
            Basis::Equity => "in equity, open positions included",
            Basis::OpenDay => "from positions opened on that day",
        };
        let since = self.since.words();
        format!(
            "You must earn {} {profit} {what} on at least {} days{since}; they need not follow each other.",
            self.reached.words(),
            self.days
        )
    }

    fn objective(
        &self,
        index: usize,
        scene: &Scene<'_>,
        track: &Track,
    ) -> Result<Option<Objective>, RuleError> {
        let days = u32::try_from(self.counted(scene, track)?.len()).unwrap_or(u32::MAX);
        Ok(Some(Objective {
            rule: index,
            kind: Cow::Borrowed("min_profitable_days"),
            target: Figure::Count(self.days),
            current: Figure::Count(days),
            met: days >= self.days,
        }))
    }

    fn figures(&self, _: usize, scene: &Scene<'_>, track: &Track) -> Result<Vec<Figured>, RuleError> {
        let days = track.days_since(self.since, scene.equity)?;
        let counted = self.counted(scene, track)?;
        Ok(vec![
            count("counted_days", counted.len()),
            Figured { name: Cow::Borrowed("days"), value: Figure::Days(counted) },
            Figured { name: Cow::Borrowed("profit_by_day"), value: named(&days, |day| self.basis.of(day)) },
        ])
    }
}

impl MinProfitableDays {
    fn counted(&self, scene: &Scene<'_>, track: &Track) -> Result<Vec<kernel::TradingDay>, RuleError> {
        let least = self.profit.amount(track.initial, track.initial)?;
        let days = track.days_since(self.since, scene.equity)?;
        let counts = |day: &&Day| self.reached.reached(self.basis.of(day), least);
        Ok(days.iter().filter(counts).map(|day| day.day).collect())
    }
}

#[cfg(test)]
mod tests {
    use crate::example::holds;

    #[test]
    fn open_profit_counts_by_equity_on_the_day_on_which_it_accrues_and_by_opening_day_on_that() {
        let example = |basis: &str, days: &str| {
            format!(
                "[[example]]\nid = '{basis}'\nprogram.rules = [{{ kind = 'min_profitable_days', days = 1, profit = {{ amount = '500' }}, \
                 basis = '{basis}' }}]\nstep = [\n{{ at = 'Mon', open = [{{ position = 'a' }}] }},\n{{ at = 'Tue', open_profit = {{ a = \
                 '500' }} }},\n{{ at = 'Wed', close = [{{ position = 'a', profit = '500' }}], expect = {{ min_profitable_days.days = \
                 {days} }} }}]"
            )
        };
        holds(&example("closed", "['Wed']"));
        holds(&example("equity", "['Tue']"));
        holds(&example("open_day", "['Mon']"));
    }

    #[test]
    fn exactly_the_least_counts_unless_it_must_be_passed() {
        for (reached, days) in [("at_or_above", 1), ("above", 0)] {
            holds(&format!(
                "[[example]]\nid = '{reached}'\nprogram.rules = [{{ kind = 'min_profitable_days', days = 1, profit = {{ \
                 percent_of_initial = '0.5' }}, reached = '{reached}' }}]\nstep = [{{ day_profits = ['500', '499.99'], expect = {{ \
                 min_profitable_days.counted_days = {days} }} }}]"
            ));
        }
    }

    #[test]
    fn a_payout_in_the_middle_of_a_day_starts_the_count_anew() {
        holds(
            r#"
            [[example]]
            id = "anew"
            program.payout = { split = "100", conditions = [{ kind = "min_profitable_days", days = 1, profit = { amount = "100" }, since = "payout" }] }
            program.rules = [{ kind = "min_profitable_days", days = 5, profit = { amount = "100" } }]
            step = [
              { day_profits = ["100"] },
              { closed = "60" },
              { closed = "40", payout = "150", expect = { account.balance = 100050, "min_profitable_days#2".current = 0, min_profitable_days.current = 2 } },
              { closed = "60", expect = { "min_profitable_days#2".current = 0, min_profitable_days.current = 2, payout.missing = "min_profitable_days" } },
              { closed = "40", expect = { "min_profitable_days#2".current = 1, min_profitable_days.current = 2, payout.eligible = true } },
            ]
            "#,
        );
    }
}
