//! Where the equity of an account must not go unseen.

use std::collections::BTreeSet;

use kernel::{Amount, Overflow};

use crate::effect::RuleError;
use crate::kinds::lock_alarm;
use crate::{Comparison, Floor, Phase, Scene, Tested, Track, profit_target};

/// The equities at which a price may make something happen, balance and holdings standing still. Whoever watches prices
/// needs to look at the account only when its equity gets there; a level that is reached already asks for a look at every
/// price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Alarm {
    /// At or below it.
    pub low: Option<Amount>,
    /// At or above it.
    pub high: Option<Amount>,
    /// The highest equity so far, where a rule asks for it, and how far below it something happens: the levels that
    /// follow it rise by no more than it does. No distance if none follows it any more.
    pub peak: Option<(Amount, Option<Amount>)>,
}

/// The alarm of an account in a phase; `floors` are those of [`crate::floors`].
pub fn alarm(scene: &Scene<'_>, track: &Track, floors: &[Floor]) -> Result<Alarm, RuleError> {
    let phase = scene.phase;
    let (mut low, mut high, mut following) = (None, None, None);
    for floor in floors {
        let level = first_crossed(floor)?;
        let follows = follows_peak(phase, floor);
        if follows && matches!(floor.tests, Tested::Balance | Tested::LowerOf) {
            // No price moves the balance, but a new peak may raise the floor to it.
            let gap = scene.balance.minus(level)?;
            lower(&mut high, track.peak().plus(gap)?);
        }
        match floor.tests {
            Tested::Equity | Tested::LowerOf => {}
            Tested::Balance | Tested::DayEndBalance => continue,
        }
        if floor.cap {
            lower(&mut high, level);
        } else if follows {
            higher(&mut following, level);
        } else {
            higher(&mut low, level);
        }
    }
    if let Some(level) = lock_alarm(phase, track, scene.at)? {
        lower(&mut high, level);
    }
    if let Some(target) = profit_target(phase).filter(|target| !target.flat) {
        let level = track.initial.plus(target.profit(track.initial)?)?;
        lower(&mut high, level);
    }
    let peak = phase.needs_peaks().then(|| track.peak());
    let peak = match (peak, following) {
        (Some(peak), Some(level)) => Some((peak, Some(peak.minus(level)?))),
        (Some(peak), None) => Some((peak, None)),
        (None, _) => None,
    };
    Ok(Alarm { low, high, peak })
}

/// Open positions, and how low their results may come together before a rule has something to say or to remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenLevel {
    /// The positions.
    pub trades: BTreeSet<u32>,
    /// At or below it.
    pub low: Amount,
}

/// Where the results of an account's open positions must not go unseen, if there are any. As long as every sum lies above
/// its level, [`Fact::Floating`](crate::Fact::Floating) finds nothing and changes nothing. `None` if a rule must be told at
/// the next price, whatever that is.
pub fn open_levels(
    phase: &Phase,
    track: &Track,
    open: &BTreeSet<u32>,
) -> Result<Option<Vec<OpenLevel>>, RuleError> {
    let mut levels = Vec::new();
    // Conditions of payouts are told of facts like the rules.
    for (index, rule) in phase.rules_and_conditions() {
        match rule.answers().open_levels(index, track, open)? {
            Some(more) => levels.extend(more),
            None => return Ok(None),
        }
    }
    Ok(Some(levels))
}

/// The first equity, on the way down or, for a cap, up, at which a floor is crossed.
fn first_crossed(floor: &Floor) -> Result<Amount, Overflow> {
    let unit = Amount::from_micros(1);
    match (floor.comparison, floor.cap) {
        (Comparison::AtOrBelow, _) => Ok(floor.amount),
        (Comparison::Below, false) => floor.amount.minus(unit),
        (Comparison::Below, true) => floor.amount.plus(unit),
    }
}

/// Whether a floor may rise with the next price.
fn follows_peak(phase: &Phase, floor: &Floor) -> bool {
    let rule = phase.rules.get(floor.rule);
    floor.locked_at.is_none() && rule.is_some_and(|rule| rule.answers().needs_peaks())
}

fn higher(level: &mut Option<Amount>, other: Amount) {
    *level = Some(level.map_or(other, |level| level.max(other)));
}

fn lower(level: &mut Option<Amount>, other: Amount) {
    *level = Some(level.map_or(other, |level| level.min(other)));
}
