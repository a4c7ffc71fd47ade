//! What the rules of a phase say about a track: floors, objectives, deadlines.

use std::borrow::Cow;

use kernel::{Amount, Overflow, Timestamp};
use serde::{Deserialize, Serialize};

use crate::{
    Phase, Rule, Track, calendar_limit, daily_loss, inactivity, max_loss, min_trading_days, profit_target,
};

/// When a value has crossed a floor. Firms differ, so it is a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// Touching the floor is safe.
    Below,
    /// Touching the floor breaches.
    AtOrBelow,
}

impl Comparison {
    /// Whether `value` has crossed `floor`.
    pub fn crossed(self, value: Amount, floor: Amount) -> bool {
        match self {
            Self::Below => value < floor,
            Self::AtOrBelow => value <= floor,
        }
    }

    /// For sentences.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Below => "below",
            Self::AtOrBelow => "at or below",
        }
    }
}

/// The equity below or at which a loss rule ends the account, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// The rule's place in its phase.
    pub rule: usize,
    /// The rule's kind, such as `daily_loss`.
    pub kind: Cow<'static, str>,
    /// The floor itself.
    pub amount: Amount,
    /// When it is crossed.
    pub comparison: Comparison,
    /// What it is measured from, for instance `("balance at the reset", 100000)`.
    pub reference_name: Cow<'static, str>,
    /// The value measured from.
    pub reference: Amount,
    /// The loss allowed from there.
    pub limit: Amount,
    /// The lock that holds the floor in place of reference − limit, if it does.
    pub locked_at: Option<Amount>,
}

impl Floor {
    /// Equity above the floor; negative once crossed.
    pub fn room(&self, equity: Amount) -> Result<Amount, Overflow> {
        equity.minus(self.amount)
    }
}

/// A condition of passing, with its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objective {
    /// The rule's place in its phase.
    pub rule: usize,
    /// The rule's kind.
    pub kind: Cow<'static, str>,
    /// The value to reach.
    pub target: Reach,
    /// The value now.
    pub current: Reach,
    /// Whether it holds now.
    pub met: bool,
}

/// A value of an objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reach {
    /// Money.
    Amount(Amount),
    /// Days.
    Days(u32),
}

/// An instant at which a rule ends the account by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    /// The rule's place in its phase.
    pub rule: usize,
    /// The rule's kind.
    pub kind: Cow<'static, str>,
    /// The instant; the account has ended when it is reached.
    pub at: Timestamp,
}

/// All floors of a phase, in the order of its rules. A loss of everything ends any account, so the last is the
/// one that no program writes: equity at or below zero.
pub fn floors(phase: &Phase, track: &Track) -> Result<Vec<Floor>, Overflow> {
    let mut floors = Vec::new();
    for (index, rule) in phase.rules.iter().enumerate() {
        match rule {
            Rule::DailyLoss(rule) => floors.push(daily_loss::floor(rule, index, track)?),
            Rule::MaxLoss(rule) => floors.push(max_loss::floor(rule, index, track)?),
            Rule::ProfitTarget(_)
            | Rule::MinTradingDays(_)
            | Rule::Inactivity(_)
            | Rule::CalendarLimit(_) => {}
        }
    }
    floors.push(Floor {
        rule: phase.rules.len(),
        kind: Cow::Borrowed("ruin"),
        amount: Amount::ZERO,
        comparison: Comparison::AtOrBelow,
        reference_name: Cow::Borrowed("initial balance"),
        reference: track.initial,
        limit: track.initial,
        locked_at: None,
    });
    Ok(floors)
}

/// The floor that an equity has crossed. Of several the highest is the cause: it was crossed first on the way
/// down; at equal height the one named first in the program.
pub fn breached(floors: &[Floor], equity: Amount) -> Option<&Floor> {
    floors
        .iter()
        .filter(|floor| floor.comparison.crossed(equity, floor.amount))
        .reduce(|highest, floor| if floor.amount > highest.amount { floor } else { highest })
}

/// What passing the phase needs, each with its number. Empty for a phase that cannot be passed, such as a funded
/// one.
pub fn objectives(phase: &Phase, track: &Track, balance: Amount) -> Result<Vec<Objective>, Overflow> {
    let mut objectives = Vec::new();
    for (index, rule) in phase.rules.iter().enumerate() {
        match rule {
            Rule::ProfitTarget(rule) => {
                objectives.push(profit_target::objective(rule, index, track, balance)?);
            }
            Rule::MinTradingDays(rule) => objectives.push(min_trading_days::objective(rule, index, track)),
            Rule::DailyLoss(_) | Rule::MaxLoss(_) | Rule::Inactivity(_) | Rule::CalendarLimit(_) => {}
        }
    }
    Ok(objectives)
}

/// Whether the phase is passed: it has a profit target, every objective holds, and the account is flat. Where the
/// target lets positions stay open, their loss must not eat what the balance shows: equity has to reach the target
/// too. Ask only after the floors.
pub fn passed(phase: &Phase, objectives: &[Objective], flat: bool, equity: Amount) -> bool {
    let target = phase.rules.iter().find_map(|rule| match rule {
        Rule::ProfitTarget(target) => Some(target),
        Rule::DailyLoss(_)
        | Rule::MaxLoss(_)
        | Rule::MinTradingDays(_)
        | Rule::Inactivity(_)
        | Rule::CalendarLimit(_) => None,
    });
    let held = |objective: &Objective| match objective.target {
        Reach::Amount(amount) => objective.met && equity >= amount,
        Reach::Days(_) => objective.met,
    };
    target.is_some_and(|target| (flat || !target.flat) && objectives.iter().all(held))
}

/// When rules end the account if nothing changes, earliest first.
pub fn deadlines(phase: &Phase, track: &Track) -> Result<Vec<Deadline>, Overflow> {
    let mut deadlines = Vec::new();
    for (index, rule) in phase.rules.iter().enumerate() {
        match rule {
            Rule::Inactivity(rule) => deadlines.push(inactivity::deadline(rule, index, track)?),
            Rule::CalendarLimit(rule) => deadlines.push(calendar_limit::deadline(rule, index, track)?),
            Rule::DailyLoss(_) | Rule::MaxLoss(_) | Rule::ProfitTarget(_) | Rule::MinTradingDays(_) => {}
        }
    }
    deadlines.sort_by_key(|deadline| (deadline.at, deadline.rule));
    Ok(deadlines)
}
