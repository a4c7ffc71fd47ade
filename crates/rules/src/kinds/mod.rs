//! The kinds of rules, one file each.

mod calendar_limit;
mod consistency;
mod daily_cap;
mod daily_loss;
mod flat_by;
mod inactivity;
mod lot_range;
mod lot_step;
mod max_loss;
mod max_size;
mod min_profitable_days;
mod min_trading_days;
mod news_window;
mod open_loss;
mod profit_target;
mod risk_at_stop;
mod risk_per_idea;
mod short_holds;
mod stop_required;

use kernel::{Amount, Timestamp};
use serde::{Deserialize, Serialize};

pub use calendar_limit::CalendarLimit;
pub use consistency::{Against, Consistency, Portion, ShareLimit};
pub use daily_cap::DailyCap;
pub use daily_loss::{DailyLoss, Reference};
pub use flat_by::{EarlyClose, FlatBy, Weekday};
pub use inactivity::{ActivityKind, DayCount, Inactivity};
pub use lot_range::{Around, LotNotes, LotRange};
pub use lot_step::{LotStep, Predecessor, StepNotes};
pub use max_loss::{Jump, LockAt, LockLevel, MaxLoss, Trail};
pub use max_size::{MaxSize, Per, ReadAt, SizeStep};
pub use min_profitable_days::{Basis, MinProfitableDays};
pub use min_trading_days::{Counts, MinTradingDays, SizedTrade};
pub use news_window::{Ends, LONGEST_WINDOW, NewsAction, NewsWindow};
pub use open_loss::{LossBase, OpenLoss, OpenLossPer};
pub use profit_target::{ProfitTarget, TargetOf};
pub use risk_at_stop::RiskAtStop;
pub use risk_per_idea::{Idea, Ideas, RiskPerIdea};
pub use short_holds::{Hold, HoldShare, Holds, Judged, ShareOf, ShortHolds};
pub use stop_required::StopRequired;

use crate::effect::RuleError;
use crate::{Phase, Rule, Track};

/// What one rule remembers for itself in a [`Track`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Note {
    /// Sizes of trades.
    Lots(LotNotes),
    /// The last size.
    Step(StepNotes),
    /// Groups of trades.
    Ideas(Ideas),
    /// Days on which a trade counted.
    Days(std::collections::BTreeSet<kernel::TradingDay>),
    /// Results by how long trades were held.
    Holds(Holds),
    /// The last instant at which the rule acted by itself.
    Acted(Timestamp),
    /// Positions it has spoken about.
    Spoken(std::collections::BTreeSet<u32>),
}

/// Locks floors whose trigger has been reached; true if one was.
pub(crate) fn lock_reached(
    phase: &Phase,
    track: &mut Track,
    at: Timestamp,
    balance: Amount,
    equity: Option<Amount>,
) -> Result<bool, RuleError> {
    let mut locked = false;
    for (index, rule) in phase.rules.iter().enumerate() {
        if let Rule::MaxLoss(rule) = rule {
            locked |= rule.lock_if_reached(index, track, at, balance, equity)?;
        }
    }
    Ok(locked)
}

/// The equity at or above which a lock may be reached.
pub(crate) fn lock_alarm(
    phase: &Phase,
    track: &Track,
    at: Timestamp,
) -> Result<Option<kernel::Amount>, RuleError> {
    let mut lowest: Option<kernel::Amount> = None;
    for (index, rule) in phase.rules.iter().enumerate() {
        if let Rule::MaxLoss(rule) = rule
            && let Some(level) = rule.lock_alarm(index, track, at)?
        {
            lowest = Some(lowest.map_or(level, |lowest| lowest.min(level)));
        }
    }
    Ok(lowest)
}

/// Locks floors that a payout locks.
pub(crate) fn lock_on_payout(phase: &Phase, track: &mut Track, at: Timestamp) -> Result<(), RuleError> {
    for (index, rule) in phase.rules.iter().enumerate() {
        if let Rule::MaxLoss(rule) = rule {
            rule.lock_on_payout(index, track, at)?;
        }
    }
    Ok(())
}

/// Tells of a count of days that cannot be meant.
fn days_fault(field: &str, days: u32, fault: &mut dyn FnMut(&str, String)) {
    if !(1..=3_650).contains(&days) {
        fault(field, "must be from 1 to 3650".to_owned());
    }
}

/// Tells of an effect that a rule of this kind cannot have.
fn effect_fault(effect: crate::Effect, allowed: &[crate::Effect], fault: &mut dyn FnMut(&str, String)) {
    if !allowed.contains(&effect) {
        let words: Vec<_> = allowed.iter().map(|effect| format!("{effect:?}").to_lowercase()).collect();
        fault("effect", format!("must be one of {}", words.join(", ")));
    }
}

/// ", you are warned at 50% and 80% of it" for a limit with warnings.
fn warn_words(warn_at: &[kernel::Percent]) -> String {
    let shares: Vec<_> = warn_at.iter().map(|share| format!("{share}%")).collect();
    match shares.split_last() {
        None => String::new(),
        Some((last, [])) => format!(" You are warned at {last} of it."),
        Some((last, others)) => format!(" You are warned at {} and {last} of it.", others.join(", ")),
    }
}

/// Tells of shares of a limit at which nobody can be warned.
fn warn_fault(warn_at: &[kernel::Percent], fault: &mut dyn FnMut(&str, String)) {
    let inside = |share: &kernel::Percent| share.millionths() > 0 && *share < kernel::Percent::WHOLE;
    if !warn_at.iter().all(inside) {
        fault("warn_at", "must be shares of the limit above 0 and below 100 per cent".to_owned());
    }
}
