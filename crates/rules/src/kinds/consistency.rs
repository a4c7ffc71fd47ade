//! How much of the profit one day, or one trade, may bring.

use std::borrow::Cow;

use kernel::{Amount, Overflow, Percent, Rounding};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::effect::{Figure, Figured, RuleError, figure};
use crate::floor::profit_target;
use crate::limit::Since;
use crate::rule::{Kind, Words};
use crate::{Limit, Objective, Scene, Track, is_default};

/// The best day, or trade, against a share of a whole. Not holding it is no breach: one trades on, or waits for the
/// payout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Consistency {
    /// What is compared.
    #[serde(default, skip_serializing_if = "is_default")]
    pub best: Portion,
    /// The largest share of the whole.
    pub share: Percent,
    /// The whole.
    pub of: Against,
    /// Whether exactly the share holds.
    #[serde(default, skip_serializing_if = "is_default")]
    pub allowed: ShareLimit,
    /// From when on days count.
    #[serde(default, skip_serializing_if = "is_default")]
    pub since: Since,
}

/// What is compared with the whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Portion {
    /// The closed results of the best day.
    #[default]
    Day,
    /// The result of the best position.
    Trade,
}

/// The whole that a share is taken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Against {
    /// All closed results, losing days included.
    Profit,
    /// The results of the days that earned.
    PositiveDays,
    /// The profit target of the phase.
    ProfitTarget,
    /// A fixed profit.
    Fixed(Limit),
}

/// Whether exactly the share holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ShareLimit {
    /// The share itself holds.
    #[default]
    AtMost,
    /// Only below the share.
    Below,
}

struct Measured {
    best: Amount,
    total: Amount,
    whole: Amount,
}

impl Consistency {
    fn measured(&self, scene: &Scene<'_>, track: &Track) -> Result<Measured, RuleError> {
        let (mut best, mut total, mut positive) = (Amount::ZERO, Amount::ZERO, Amount::ZERO);
        for day in track.days_since(self.since, scene.equity)? {
            best = best.max(match self.best {
                Portion::Day => day.profit,
                Portion::Trade => day.best_trade,
            });
            total = total.plus(day.profit)?;
            positive = positive.plus(day.profit.max(Amount::ZERO))?;
        }
        let whole = match self.of {
            Against::Profit => total,
            Against::PositiveDays => positive,
            Against::ProfitTarget => {
                profit_target(scene.phase).map_or(Ok(Amount::ZERO), |target| target.profit(track.initial))?
            }
            Against::Fixed(limit) => limit.amount(track.initial, track.initial)?,
        };
        Ok(Measured { best, total, whole })
    }

    /// Compared as a product, so that no quotient is rounded.
    fn holds(&self, best: Amount, whole: Amount) -> Result<bool, Overflow> {
        let left =
            i128::from(best.micros()).checked_mul(i128::from(Percent::WHOLE.millionths())).ok_or(Overflow)?;
        let right =
            i128::from(whole.micros()).checked_mul(i128::from(self.share.millionths())).ok_or(Overflow)?;
        Ok(match self.allowed {
            ShareLimit::AtMost => left <= right,
            ShareLimit::Below => left < right || (best == Amount::ZERO && whole == Amount::ZERO),
        })
    }
}

impl Kind for Consistency {
    fn faults(&self, fault: &mut dyn FnMut(&str, String)) {
        if self.share.millionths() <= 0 || self.share > Percent::WHOLE {
            fault("share", "must be above 0 and at most 100 per cent".to_owned());
        }
        if let Against::Fixed(limit) = self.of {
            limit.faults("of.fixed", fault);
        }
    }

    fn sentence(&self, words: &Words) -> String {
        let best = match self.best {
            Portion::Day => "day",
            Portion::Trade => "trade",
        };
        let whole = match self.of {
            Against::Profit => "all closed profit".to_owned(),
            Against::PositiveDays => "the profit of all days that earned".to_owned(),
            Against::ProfitTarget => "the profit target".to_owned(),
            Against::Fixed(limit) => limit.words(words, "initial balance"),
        };
        let at_most = match self.allowed {
            ShareLimit::AtMost => "at most",
            ShareLimit::Below => "less than",
        };
        let share = self.share;
        let since = self.since.words();
        format!(
            "Your best {best} may bring {at_most} {share}% of {whole}{since}; until then you go on, it is no breach."
        )
    }

    fn objective(
        &self,
        index: usize,
        scene: &Scene<'_>,
        track: &Track,
    ) -> Result<Option<Objective>, RuleError> {
        let Measured { best, whole, .. } = self.measured(scene, track)?;
        Ok(Some(Objective {
            rule: index,
            kind: Cow::Borrowed("consistency"),
            target: Figure::Percent(self.share),
            current: Figure::Percent(Percent::of(best.micros(), whole.max(Amount::ZERO).micros())?),
            met: self.holds(best, whole)?,
        }))
    }

    fn figures(&self, _: usize, scene: &Scene<'_>, track: &Track) -> Result<Vec<Figured>, RuleError> {
        let Measured { best, total, whole } = self.measured(scene, track)?;
        let name = match self.best {
            Portion::Day => "best_day",
            Portion::Trade => "best_trade",
        };
        let mut figures = vec![
            figure(name, best),
            figure("whole", whole),
            figure("best_share", Percent::of(best.micros(), whole.max(Amount::ZERO).micros())?),
            figure("largest_day", whole.max(Amount::ZERO).share(self.share, Rounding::Floor)?),
        ];
        // A further day of x keeps to the share s of everything if x <= s (total + x), so x <= s total / (1 - s).
        let rest = self.share.rest()?.millionths();
        if self.of == Against::Profit && rest > 0 && total > Amount::ZERO {
            figures.push(figure("next_day", total.scaled(self.share.millionths(), rest, Rounding::Floor)?));
        }
        Ok(figures)
    }
}

#[cfg(test)]
mod tests {
    use crate::example::{holds, refused};

    #[test]
    fn the_whole_is_a_setting_and_so_is_equality() {
        for (of, share, allowed, met) in [
            ("'positive_days'", "50", "at_most", true),
            ("'positive_days'", "50", "below", false),
            ("'positive_days'", "49.9999", "at_most", false),
            ("'profit'", "50", "at_most", false),
            ("'profit'", "62.5", "at_most", true),
            ("'profit_target'", "50", "at_most", true),
            ("{ fixed = { amount = '1999' } }", "50", "at_most", false),
        ] {
            holds(&format!(
                "[[example]]\nid = 'days'\nprogram.rules = [{{ kind = 'profit_target', limit = {{ amount = '2000' }}, flat = true }}, \
                 {{ kind = 'consistency', share = '{share}', of = {of}, allowed = '{allowed}' }}]\nstep = [{{ day_profits = ['1000', \
                 '-400', '1000'], expect = {{ consistency.best_day = 1000, consistency.met = {met} }} }}]"
            ));
        }
    }

    #[test]
    fn a_target_reached_too_quickly_is_no_breach_and_passes_later() {
        holds(
            r#"
            [[example]]
            id = "later"
            program.rules = [
              { kind = "profit_target", limit = { amount = "3000" }, flat = true },
              { kind = "consistency", share = "50", of = "profit" },
            ]
            step = [
              { day_profits = ["2500", "500"], expect = { verdict = "not_yet", consistency.met = false, profit_target.met = true } },
              { closed = "1999.99", expect = { verdict = "ok" } },
              { closed = "0.01", expect = { verdict = "passed" } },
            ]
            "#,
        );
    }

    #[test]
    fn the_next_day_may_bring_what_still_holds_and_no_cent_more() {
        let example = |next: &str, met: bool| {
            format!(
                "[[example]]\nid = 'next'\nprogram.rules = [{{ kind = 'consistency', share = '30', of = 'profit' }}]\nstep = [{{ \
                 day_profits = ['250', '250', '250', '250'], expect = {{ consistency.next_day = '428.571428' }} }}, {{ closed = '{next}', \
                 expect = {{ consistency.met = {met} }} }}]"
            )
        };
        holds(&example("428.57", true));
        holds(&example("428.58", false));
    }

    #[test]
    fn the_best_trade_is_another_thing_than_the_best_day() {
        holds(
            r#"
            [[example]]
            id = "trade"
            program.rules = [{ kind = "consistency", best = "trade", share = "40", of = "profit" }]
            step = [{ trade = [{ profit = "400" }, { profit = "350" }, { profit = "250" }], expect = { consistency.best_trade = 400, consistency.met = true } }]
            "#,
        );
        assert_eq!(
            refused("kind = 'consistency'\nshare = '0'\nof = { fixed = { amount = '0' } }"),
            ["share", "of.fixed"]
        );
    }
}
