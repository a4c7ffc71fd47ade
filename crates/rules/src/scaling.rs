//! How an account grows.

use std::collections::BTreeMap;

use kernel::{Amount, Overflow, Percent, Rounding, TradingDay};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::effect::{Figured, RuleError, figure};
use crate::program::MOST_INITIAL_BALANCE;
use crate::rule::Words;
use crate::{Clocks, Limit, Scene, Track, is_default};

/// When an account grows, and by how much. Limits in per cent of the initial balance grow with it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scaling {
    /// Months between two steps.
    pub every_months: u32,
    /// The profit since the last step that is asked for.
    pub profit: Limit,
    /// How many of these months must have earned.
    #[serde(default, skip_serializing_if = "is_default")]
    pub profitable_months: u32,
    /// How many payouts must have been made since the last step.
    #[serde(default, skip_serializing_if = "is_default")]
    pub payouts: u32,
    /// The next size.
    pub step: ScalingStep,
    /// The largest size.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most: Option<Amount>,
    /// The trader's share after the first step.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub split: Option<Percent>,
}

/// The next size.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ScalingStep {
    /// A share of the first size is added every time.
    Linear(Percent),
    /// A share of the present size is added every time.
    Compound(Percent),
    /// A share of the first size is added the first time; then every step doubles.
    FirstThenDouble(Percent),
    /// The sizes themselves.
    Table(Vec<Amount>),
}

const MOST_STEP: Percent = Percent::from_whole(1_000);

impl Scaling {
    pub(crate) fn faults(&self, initial: Amount, fault: &mut dyn FnMut(&str, String)) {
        if !(1..=120).contains(&self.every_months) {
            fault("every_months", "must be from 1 to 120".to_owned());
        }
        self.profit.faults("profit", fault);
        if self.profitable_months > self.every_months {
            fault("profitable_months", "must be at most the months between two steps".to_owned());
        }
        let share = |percent: Percent| percent.millionths() > 0 && percent <= MOST_STEP;
        match &self.step {
            ScalingStep::Linear(percent)
            | ScalingStep::Compound(percent)
            | ScalingStep::FirstThenDouble(percent) => {
                if !share(*percent) {
                    fault("step", "must be above 0 and at most 1000 per cent".to_owned());
                }
            }
            ScalingStep::Table(sizes) => {
                let sensible = |size: &Amount| *size > initial && *size <= MOST_INITIAL_BALANCE;
                if sizes.is_empty() || !sizes.is_sorted() || !sizes.iter().all(sensible) {
                    let say = "give at least one size, each above the initial balance and the one before, at most 1000000000";
                    fault("step.table", say.to_owned());
                }
            }
        }
        if self.most.is_some_and(|most| most <= Amount::ZERO || most > MOST_INITIAL_BALANCE) {
            fault("most", "must be above 0 and at most 1000000000".to_owned());
        }
        if self.split.is_some_and(|split| split.millionths() < 0 || split > Percent::WHOLE) {
            fault("split", "must be from 0 to 100 per cent".to_owned());
        }
    }

    /// What it means.
    pub fn sentence(&self, words: &Words) -> String {
        let step = match &self.step {
            ScalingStep::Linear(percent) => format!("by {percent}% of its first size"),
            ScalingStep::Compound(percent) => format!("by {percent}%"),
            ScalingStep::FirstThenDouble(percent) => {
                format!("by {percent}% the first time, then to twice its size")
            }
            ScalingStep::Table(sizes) => {
                let sizes: Vec<_> = sizes.iter().map(|size| words.amount(*size)).collect();
                format!("to {}", sizes.join(", then "))
            }
        };
        let most = self.most.map_or(String::new(), |most| format!(", up to {}", words.amount(most)));
        let months = match self.profitable_months {
            0 => String::new(),
            months => format!(" with {months} months that earned"),
        };
        let payouts = match self.payouts {
            0 => String::new(),
            payouts => format!(" and {payouts} payouts"),
        };
        let split = self.split.map_or(String::new(), |split| format!(" Your share is then {split}%."));
        format!(
            "Every {} months with a profit of at least {}{months}{payouts} the account grows {step}{most}.{split}",
            self.every_months,
            self.profit.words(words, "initial balance")
        )
    }

    /// The size after so many steps from a first size.
    pub fn size_after(&self, first: Amount, steps: u32) -> Result<Amount, Overflow> {
        let mut size = first;
        for step in 0..steps {
            size = match &self.step {
                ScalingStep::Linear(percent) => size.plus(first.share(*percent, Rounding::Floor)?)?,
                ScalingStep::Compound(percent) => size.plus(size.share(*percent, Rounding::Floor)?)?,
                ScalingStep::FirstThenDouble(percent) if step == 0 => {
                    size.plus(first.share(*percent, Rounding::Floor)?)?
                }
                ScalingStep::FirstThenDouble(_) => size.plus(size)?,
                ScalingStep::Table(sizes) => {
                    let place = usize::try_from(step).unwrap_or(usize::MAX);
                    sizes.get(place).or(sizes.last()).copied().unwrap_or(size)
                }
            };
            size = size.min(self.most.unwrap_or(MOST_INITIAL_BALANCE).max(first));
        }
        Ok(size)
    }

    /// The share that holds for an account: the policy's after the first step.
    pub fn split(&self, track: &Track) -> Option<Percent> {
        self.split.filter(|_| !track.scaled.is_empty())
    }

    /// Its numbers: the next size, from when on, and whether everything it asks for holds.
    pub fn figures(
        &self,
        scene: &Scene<'_>,
        track: &Track,
        clocks: Clocks<'_>,
    ) -> Result<Vec<Figured>, RuleError> {
        let steps = u32::try_from(track.scaled.len()).unwrap_or(u32::MAX);
        let from = track.scaled.last().copied().unwrap_or(track.opened_at);
        let from = clocks.counting.day_of(from)?;
        let due = from.plus_months(self.every_months)?;
        let mut months: BTreeMap<i32, Amount> = BTreeMap::new();
        let mut earned = Amount::ZERO;
        for day in track.days_since_growth(scene.equity)? {
            earned = earned.plus(day.profit)?;
            let month = months.entry(month_of(from, day.day)?).or_default();
            *month = month.plus(day.profit)?;
        }
        let profitable = months.values().filter(|profit| **profit > Amount::ZERO).count();
        let profitable = u32::try_from(profitable).unwrap_or(u32::MAX);
        let mut paid = 0_u32;
        for payout in &track.payouts {
            paid = paid.saturating_add(u32::from(clocks.counting.day_of(payout.at)? >= from));
        }
        let least = self.profit.amount(track.initial, track.initial)?;
        let today = clocks.counting.day_of(scene.at)?;
        let next_size = self.size_after(track.first_size, steps.saturating_add(1))?;
        let eligible = today >= due
            && next_size > track.initial
            && earned >= least
            && profitable >= self.profitable_months
            && paid >= self.payouts
            && scene.balance >= track.initial;
        Ok(vec![
            figure("eligible", eligible),
            figure("due", due),
            figure("profit", earned),
            figure("profit_needed", least),
            figure("profitable_months", profitable),
            figure("payouts", paid),
            figure("steps", steps),
            figure("size", track.initial),
            figure("next_size", next_size),
        ])
    }

    /// Grows an account by one step: the balance grows by the same amount, and so does everything that floors are
    /// measured from. Gives the new balance.
    pub fn grow(&self, scene: &Scene<'_>, track: &mut Track) -> Result<Amount, RuleError> {
        let steps = u32::try_from(track.scaled.len()).unwrap_or(u32::MAX).saturating_add(1);
        let size = self.size_after(track.first_size, steps)?;
        let more = size.minus(track.initial)?;
        track.grow(scene.at, scene.equity, more)?;
        Ok(scene.balance.plus(more)?)
    }
}

/// The number of whole months from a day to another.
fn month_of(from: TradingDay, day: TradingDay) -> Result<i32, RuleError> {
    let mut months = 0_u32;
    while from.plus_months(months.saturating_add(1))? <= day {
        months = months.saturating_add(1);
    }
    Ok(i32::try_from(months).unwrap_or(i32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::example::holds;

    #[test]
    fn sizes_grow_by_the_plan_and_stop_at_the_most() {
        let amount = |text: &str| Amount::parse(text).unwrap();
        let percent = |text: &str| Percent::parse(text).unwrap();
        let plan = |step: ScalingStep, most: Option<&str>| Scaling {
            every_months: 3,
            profit: Limit::PercentOfInitial(percent("10")),
            profitable_months: 0,
            payouts: 0,
            step,
            most: most.map(amount),
            split: None,
        };
        let table = ScalingStep::Table(vec![amount("20000"), amount("50000")]);
        for (plan, sizes) in [
            (
                plan(ScalingStep::Linear(percent("25")), None),
                ["10000.00", "12500.00", "15000.00", "17500.00"],
            ),
            (
                plan(ScalingStep::Compound(percent("50")), None),
                ["10000.00", "15000.00", "22500.00", "33750.00"],
            ),
            (
                plan(ScalingStep::FirstThenDouble(percent("25")), None),
                ["10000.00", "12500.00", "25000.00", "50000.00"],
            ),
            (
                plan(ScalingStep::Compound(percent("100")), Some("35000")),
                ["10000.00", "20000.00", "35000.00", "35000.00"],
            ),
            (plan(table, None), ["10000.00", "20000.00", "50000.00", "50000.00"]),
        ] {
            for (steps, size) in (0_u32..).zip(sizes) {
                assert_eq!(plan.size_after(amount("10000"), steps).unwrap().to_string(), size);
            }
            assert!(plan.size_after(amount("10000"), 400).is_ok(), "no plan outgrows what an account can be");
        }
    }

    #[test]
    fn growing_lifts_everything_by_the_same_amount_and_shares_are_of_the_new_size() {
        holds(
            r#"
            [[example]]
            id = "grown"
            program.rules = [
              { kind = "daily_loss", reference = "balance", limit = { percent_of_initial = "5" }, breach = "below" },
              { kind = "max_loss", trail = "realised_balance", lock = "at_initial", limit = { percent_of_initial = "10" }, breach = "below" },
            ]
            program.scaling = { every_months = 1, profit = { percent_of_initial = "2" }, profitable_months = 1, step = { linear = "50" } }
            step = [
              { at = "2026-01-20", closed = "3000", expect = { scaling.eligible = false, scaling.due = "2026-02-05", max_loss.floor = 93000 } },
              { at = "2026-02-05", expect = { scaling.eligible = true, scaling.profitable_months = 1, scaling.next_size = 150000 } },
              { grow = 1, expect = { account.balance = 153000, daily_loss.limit = 7500, daily_loss.floor = 145500, max_loss.limit = 15000, max_loss.floor = 138000, scaling.eligible = false, scaling.due = "2026-03-05" } },
            ]
            "#,
        );
    }
}
