//! On how many days one must trade to pass.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::floor::Reach;
use crate::{Objective, Track};

/// Settings. A trading day counts when a position is opened in it; a position held over several days counts once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MinTradingDays {
    /// How many days.
    pub days: u32,
}

pub(crate) fn objective(rule: &MinTradingDays, index: usize, track: &Track) -> Objective {
    Objective {
        rule: index,
        kind: Cow::Borrowed("min_trading_days"),
        target: Reach::Days(rule.days),
        current: Reach::Days(track.trading_days),
        met: track.trading_days >= rule.days,
    }
}

pub(crate) fn sentence(rule: &MinTradingDays) -> String {
    match rule.days {
        1 => "To pass, open a position on at least one trading day.".to_owned(),
        days => format!("To pass, open a position on at least {days} different trading days."),
    }
}
