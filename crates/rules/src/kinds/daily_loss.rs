//! How much may be lost within one trading day.

use std::borrow::Cow;

use kernel::{Amount, Percent};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::effect::RuleError;
use crate::rule::{Kind, Words};
use crate::{Comparison, Effect, Floor, Limit, Tested, Track, is_default};

use super::{effect_fault, warn_fault, warn_words};

/// The floor of the day is `reference − limit`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DailyLoss {
    /// What the day is measured from.
    pub reference: Reference,
    /// How much may be lost from there.
    pub limit: Limit,
    /// Whether touching the floor breaches.
    pub breach: Comparison,
    /// What is tested against it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tests: Tested,
    /// What happens: `hard`, `soft`, `pause` or `flag`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub effect: Effect,
    /// Shares of the limit at which the trader is warned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warn_at: Vec<Percent>,
}

/// What a day is measured from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reference {
    /// The balance at the reset: closed results only.
    Balance,
    /// The equity at the reset: open positions included.
    Equity,
    /// The higher of the two at the reset.
    HigherOf,
    /// The highest equity at any price of the day: the floor follows it within the day.
    DayPeakEquity,
    /// The highest value of balance and equity at any reset so far: the floor never falls.
    PeakAtReset,
}

impl Reference {
    pub(super) const fn words(self) -> &'static str {
        match self {
            Self::Balance => "balance at the reset",
            Self::Equity => "equity at the reset",
            Self::HigherOf => "higher of balance and equity at the reset",
            Self::DayPeakEquity => "highest equity of the day",
            Self::PeakAtReset => "highest balance or equity at any reset",
        }
    }

    pub(super) fn value(self, track: &Track) -> Amount {
        match self {
            Self::Balance => track.day_start_balance,
            Self::Equity => track.day_start_equity,
            Self::HigherOf => track.day_start_balance.max(track.day_start_equity),
            Self::DayPeakEquity => track.peaks.day_equity,
            Self::PeakAtReset => track.peaks.day_end_higher,
        }
    }
}

impl Kind for DailyLoss {
    fn limit(&self) -> Option<Limit> {
        Some(self.limit)
    }

    fn faults(&self, fault: &mut dyn FnMut(&str, String)) {
        self.limit.faults("limit", fault);
        let allowed = [Effect::Hard, Effect::Soft, Effect::Pause, Effect::Flag];
        effect_fault(self.effect, &allowed, fault);
        warn_fault(&self.warn_at, fault);
    }

    fn sentence(&self, words: &Words) -> String {
        let limit = self.limit.words_from(words, self.reference.words());
        let level = format!("{} {} that level", self.tests.words(), self.breach.words());
        format!(
            "Within one trading day you may lose at most {limit}; {level} means that {}.{}",
            self.effect.words(),
            warn_words(&self.warn_at)
        )
    }

    fn floors(&self, index: usize, track: &Track) -> Result<Vec<Floor>, RuleError> {
        let reference = self.reference.value(track);
        let limit = self.limit.amount(track.initial, reference)?;
        Ok(vec![Floor {
            rule: index,
            kind: Cow::Borrowed("daily_loss"),
            amount: reference.minus(limit)?,
            comparison: self.breach,
            cap: false,
            tests: self.tests,
            effect: self.effect,
            reference_name: Cow::Borrowed(self.reference.words()),
            reference,
            limit,
            locked_at: None,
            used: None,
        }])
    }

    fn warnings(&self) -> &[Percent] {
        &self.warn_at
    }

    fn needs_peaks(&self) -> bool {
        self.reference == Reference::DayPeakEquity
    }

    fn effect(&self) -> Effect {
        self.effect
    }
}

#[cfg(test)]
mod tests {
    use crate::example::{holds, refused};

    #[test]
    fn one_state_four_published_floors() {
        let state = r#"step = [{ day_start = { balance = "105000", equity = "107000" }, expect = { daily_loss.floor = "#;
        for (reference, limit, floor) in [
            ("balance", "percent_of_reference = '5'", "99750"),
            ("balance", "percent_of_initial = '5'", "100000"),
            ("higher_of", "percent_of_reference = '5'", "101650"),
            ("higher_of", "percent_of_initial = '4'", "103000"),
        ] {
            holds(&format!(
                "[[example]]\nid = 'one state'\nprogram.rules = [{{ kind = 'daily_loss', reference = '{reference}', \
                 limit = {{ {limit} }}, breach = 'below' }}]\n{state}{floor} }} }}]"
            ));
        }
    }

    #[test]
    fn touching_the_floor_is_a_setting() {
        for (breach, verdict) in [("below", "ok"), ("at_or_below", "breach")] {
            holds(&format!(
                "[[example]]\nid = 'touch'\nprogram.rules = [{{ kind = 'daily_loss', reference = 'equity', limit = {{ \
                 percent_of_initial = '5' }}, breach = '{breach}' }}]\nstep = [\n{{ equity = '95000', expect = {{ verdict = \
                 '{verdict}' }} }},\n{{ equity = '94999.999999', expect = {{ verdict = 'breach' }} }}]"
            ));
        }
    }

    #[test]
    fn what_is_tested_is_a_setting() {
        for (tests, equity, balance, at_reset) in [
            ("equity", "breach", "ok", "ok"),
            ("balance", "ok", "breach", "ok"),
            ("lower_of", "breach", "breach", "ok"),
            ("day_end_balance", "ok", "ok", "breach"),
        ] {
            let rule = format!(
                "program.rules = [{{ kind = 'daily_loss', reference = 'balance', limit = {{ amount = '5000' }}, breach = \
                 'below', tests = '{tests}' }}]"
            );
            holds(&format!(
                "[[example]]\nid = 'only the equity is low'\n{rule}\nstep = [{{ equity = '94000', expect = {{ verdict = \
                 '{equity}' }} }}]\n[[example]]\nid = 'only the balance is low'\n{rule}\nstep = [{{ balance = '94000', equity \
                 = '99000', expect = {{ verdict = '{balance}' }} }}]\n"
            ));
            if balance == "ok" && equity == "ok" {
                holds(&format!(
                    "[[example]]\nid = 'low at the reset'\n{rule}\nstep = [{{ balance = '94000', equity = '99000' }}, {{ reset = \
                     true, expect = {{ verdict = '{at_reset}' }} }}]"
                ));
            }
        }
    }

    #[test]
    fn a_soft_breach_closes_and_locks_until_the_reset_and_a_pause_only_locks() {
        holds(
            r#"
            [[example]]
            id = "soft"
            program.rules = [{ kind = "daily_loss", reference = "balance", limit = { amount = "1000" }, breach = "at_or_below", effect = "soft" }]
            step = [
              { open = [{ position = "a" }], open_profit = { a = "-1000" }, expect = { verdict = "soft_breach", account.balance = 99000, account.locked = true } },
              { open = [{ position = "b" }], expect = { verdict = "refused", rule = "daily_loss" } },
              { reset = true, open = [{ position = "c" }], expect = { verdict = "ok", daily_loss.floor = 98000 } },
            ]
            [[example]]
            id = "pause"
            program.rules = [{ kind = "daily_loss", reference = "balance", limit = { amount = "1000" }, breach = "at_or_below", effect = "pause" }]
            step = [
              { open = [{ position = "a" }], open_profit = { a = "-1000" }, expect = { verdict = "soft_breach", account.balance = 100000, account.equity = 99000 } },
              { open = [{ position = "b" }], expect = { verdict = "refused" } },
              { open_profit = { a = "200" }, expect = { account.equity = 100200, verdict = "ok" } },
            ]
            "#,
        );
    }

    #[test]
    fn warnings_come_once_a_day_each() {
        holds(
            r#"
            [[example]]
            id = "warnings"
            program.rules = [{ kind = "daily_loss", reference = "balance", limit = { amount = "5000" }, breach = "below", warn_at = ["50", "80"] }]
            step = [
              { equity = "97500.01", expect = { warnings = 0 } },
              { equity = "97500", expect = { warnings = 1, verdict = "warning" } },
              { equity = "97000", expect = { warnings = 0 } },
              { equity = "96000", expect = { warnings = 1 } },
              { reset = true, equity = "95500", expect = { warnings = 2, verdict = "warning" } },
            ]
            "#,
        );
    }

    #[test]
    fn a_limit_of_nothing_is_refused() {
        let rule = |limit: &str| {
            format!(
                "kind = 'daily_loss'\nreference = 'balance'\nbreach = 'below'\nwarn_at = ['100']\nlimit = {{ {limit} }}"
            )
        };
        assert_eq!(refused(&rule("percent_of_initial = '0'")), ["limit", "warn_at"]);
        assert_eq!(refused(&rule("percent_of_initial = '100.0001'")), ["limit", "warn_at"]);
        assert_eq!(refused(&rule("percent_of_initial = '100'")), ["warn_at"]);
    }
}
