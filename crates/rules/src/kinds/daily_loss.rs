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
