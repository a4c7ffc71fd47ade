//! What the rules of a phase say about a track: floors, objectives, deadlines, figures.

use std::borrow::Cow;

use kernel::{Amount, Overflow, Percent, Rounding, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::effect::{Figure, Figured, RuleError, figure};
use crate::kinds::ProfitTarget;
use crate::{Effect, Moment, Opening, Phase, Rule, Scene, Track, is_default};

/// When a value has crossed a floor. Firms differ, so it is a setting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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

/// Which value of an account is tested against a floor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Tested {
    /// The equity at every price: open positions, commission and all.
    #[default]
    Equity,
    /// The balance: closed results only.
    Balance,
    /// The lower of the two at every price.
    LowerOf,
    /// The balance at the reset only.
    DayEndBalance,
}

impl Tested {
    /// For sentences: the subject that is tested.
    pub(crate) const fn words(self) -> &'static str {
        match self {
            Self::Equity => "open positions count, and equity",
            Self::Balance => "only closed results count, and a balance",
            Self::LowerOf => "open positions count, and equity or a balance",
            Self::DayEndBalance => "only the balance at the reset counts, and one",
        }
    }
}

/// What an account is worth at an instant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Worth {
    /// Closed results.
    pub balance: Amount,
    /// Open ones included.
    pub equity: Amount,
    /// Whether the instant is a reset.
    pub at_reset: bool,
}

/// Where a rule fires on the way down, or, for a cap, on the way up, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Floor {
    /// The rule's place in its phase.
    pub rule: usize,
    /// The rule's kind, such as `daily_loss`.
    pub kind: Cow<'static, str>,
    /// The floor itself.
    pub amount: Amount,
    /// When it is crossed; mirrored for a cap.
    pub comparison: Comparison,
    /// Whether it caps from above.
    #[serde(default, skip_serializing_if = "is_default")]
    pub cap: bool,
    /// What is tested against it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tests: Tested,
    /// What happens when it is crossed.
    pub effect: Effect,
    /// What it is measured from, for instance `("balance at the reset", 100000)`.
    pub reference_name: Cow<'static, str>,
    /// The value measured from.
    pub reference: Amount,
    /// The loss, for a cap the profit, allowed from there.
    pub limit: Amount,
    /// The lock that holds the floor in place of reference − limit, if it does.
    pub locked_at: Option<Amount>,
    /// For a warning: the share of the limit that is used up here.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub used: Option<Percent>,
}

impl Floor {
    /// What is left of a worth before it fires; negative once crossed.
    pub fn room(&self, worth: Worth) -> Result<Amount, Overflow> {
        let value = self.value(worth);
        if self.cap { self.amount.minus(value) } else { value.minus(self.amount) }
    }

    fn value(&self, worth: Worth) -> Amount {
        match self.tests {
            Tested::Equity => worth.equity,
            Tested::Balance | Tested::DayEndBalance => worth.balance,
            Tested::LowerOf => worth.balance.min(worth.equity),
        }
    }

    fn is_crossed(&self, worth: Worth) -> bool {
        if self.tests == Tested::DayEndBalance && !worth.at_reset {
            return false;
        }
        let value = self.value(worth);
        if self.cap {
            self.comparison.crossed(self.amount, value)
        } else {
            self.comparison.crossed(value, self.amount)
        }
    }

    /// What is remembered when it was told of and must not be told of again on the same day.
    pub fn told(&self) -> Option<(usize, Percent)> {
        let spoken = matches!(self.effect, Effect::Warn | Effect::Flag);
        spoken.then_some((self.rule, self.used.unwrap_or(Percent::WHOLE)))
    }

    /// What crossing it means.
    pub fn finding(&self, worth: Worth) -> Result<crate::Finding, Overflow> {
        let name = if self.cap { "cap" } else { "floor" };
        let mut figures = vec![
            figure(name, self.amount),
            figure("reference", self.reference),
            figure("limit", self.limit),
            figure("value", self.value(worth)),
            figure("room", self.room(worth)?),
        ];
        figures.extend(self.used.map(|used| figure("used", used)));
        Ok(crate::Finding {
            rule: self.rule,
            kind: self.kind.clone(),
            effect: self.effect,
            trade: None,
            figures,
        })
    }

    /// The point on the way to this floor at which a share of its limit is used up.
    fn warning(&self, used: Percent) -> Result<Self, Overflow> {
        let way = self.limit.share(used, Rounding::Floor)?;
        let start = if self.cap { self.amount.minus(self.limit)? } else { self.amount.plus(self.limit)? };
        let amount = if self.cap { start.plus(way)? } else { start.minus(way)? };
        let comparison = Comparison::AtOrBelow;
        Ok(Self { amount, comparison, effect: Effect::Warn, used: Some(used), ..self.clone() })
    }
}

/// A condition of passing or of a payout, with its number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Objective {
    /// The rule's place in its phase, or the condition's place in its payout policy.
    pub rule: usize,
    /// The rule's kind.
    pub kind: Cow<'static, str>,
    /// The value to reach, or, for a ceiling, not to pass.
    pub target: Figure,
    /// The value now.
    pub current: Figure,
    /// Whether it holds now.
    pub met: bool,
}

/// An instant at which a rule acts by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deadline {
    /// The rule's place in its phase.
    pub rule: usize,
    /// The rule's kind.
    pub kind: Cow<'static, str>,
    /// The instant; the rule has acted when it is reached.
    pub at: Timestamp,
    /// What it then does.
    pub effect: Effect,
}

/// The kind of the floor that no program writes: equity at or below zero.
pub const RUIN: &str = "ruin";

/// All floors of a phase, in the order of its rules, each after its warnings. A loss of everything ends any account, so
/// the last is the one that no program writes: equity at or below zero. A floor that holds the account back is silent
/// while it is held back as hard already, and a warning is given once a day.
pub fn floors(phase: &Phase, track: &Track) -> Result<Vec<Floor>, RuleError> {
    let mut floors = Vec::new();
    for (index, rule) in phase.rules.iter().enumerate() {
        let rule = rule.answers();
        for floor in rule.floors(index, track)? {
            let told = track.warned.contains(&(index, Percent::WHOLE));
            let soft = matches!(floor.effect, Effect::Pause | Effect::Soft);
            let held = track.held_back.is_some_and(|held| floor.effect <= held.effect);
            if (soft && held) || (floor.effect == Effect::Flag && told) {
                continue;
            }
            for used in rule.warnings() {
                if !track.warned.contains(&(index, *used)) {
                    floors.push(floor.warning(*used)?);
                }
            }
            floors.push(floor);
        }
    }
    floors.push(Floor {
        rule: phase.rules.len(),
        kind: Cow::Borrowed(RUIN),
        amount: Amount::ZERO,
        comparison: Comparison::AtOrBelow,
        cap: false,
        tests: Tested::Equity,
        effect: Effect::Hard,
        reference_name: Cow::Borrowed("initial balance"),
        reference: track.initial,
        limit: track.initial,
        locked_at: None,
        used: None,
    });
    Ok(floors)
}

/// The floor that a worth has crossed. Of several the one with the hardest effect speaks; among these the highest is
/// the cause, for it was crossed first on the way down; at equal height the one named first in the program. A cap, on
/// the way up, comes after every floor of the same effect.
pub fn breached(floors: &[Floor], worth: Worth) -> Option<&Floor> {
    let weight = |floor: &Floor| (floor.effect, !floor.cap, floor.amount);
    floors
        .iter()
        .filter(|floor| floor.is_crossed(worth))
        .reduce(|cause, floor| if weight(floor) > weight(cause) { floor } else { cause })
}

/// What passing the phase needs, each with its number. Empty for a phase that asks for nothing.
pub fn objectives(scene: &Scene<'_>, track: &Track) -> Result<Vec<Objective>, RuleError> {
    let mut objectives = Vec::new();
    for (index, rule) in scene.phase.rules.iter().enumerate() {
        objectives.extend(rule.answers().objective(index, scene, track)?);
    }
    Ok(objectives)
}

/// The phase's profit target.
pub fn profit_target(phase: &Phase) -> Option<&ProfitTarget> {
    phase
        .rules
        .iter()
        .find_map(|rule| if let Rule::ProfitTarget(target) = rule { Some(target) } else { None })
}

/// Whether the phase has a profit target and it is reached; without it nothing else needs to be looked at.
pub fn target_reached(scene: &Scene<'_>, track: &Track) -> Result<bool, RuleError> {
    for (index, rule) in scene.phase.rules.iter().enumerate() {
        if let Rule::ProfitTarget(_) = rule {
            return Ok(rule.answers().objective(index, scene, track)?.is_some_and(|objective| objective.met));
        }
    }
    Ok(false)
}

/// Whether the phase is passed: it has a profit target, every objective holds, and the account is as flat as the target
/// asks. Where the target lets positions stay open, their loss must not eat what the balance shows: equity has to reach
/// the target too. Ask only after the floors.
pub fn passed(scene: &Scene<'_>, objectives: &[Objective], flat: bool, orders: bool) -> bool {
    let Some(target) = profit_target(scene.phase) else { return false };
    let held = |objective: &Objective| {
        let by_equity = |amount: Amount| target.reached.reached(scene.equity, amount);
        let Figure::Amount(amount) = objective.target else { return objective.met };
        objective.met && (objective.kind != "profit_target" || by_equity(amount))
    };
    (flat || !target.flat) && (!orders || !target.no_orders) && objectives.iter().all(held)
}

/// When rules act by themselves if nothing changes, earliest first.
pub fn deadlines(scene: &Scene<'_>, track: &Track) -> Result<Vec<Deadline>, RuleError> {
    let mut deadlines = Vec::new();
    for (index, rule) in scene.phase.rules.iter().enumerate() {
        deadlines.extend(rule.answers().deadlines(index, scene, track)?);
    }
    deadlines.sort_by_key(|deadline| (deadline.at, deadline.rule));
    Ok(deadlines)
}

/// What speaks against opening a position: the rule's place, its kind and its numbers.
pub type Objection = (usize, &'static str, Vec<Figured>);

/// What speaks against opening a position, if anything does.
pub fn objection(
    scene: &Scene<'_>,
    track: &Track,
    opening: &Opening,
    moment: Moment,
) -> Result<Option<Objection>, RuleError> {
    for (index, rule) in scene.phase.rules.iter().enumerate() {
        if rule.answers().effect() == Effect::Refuse
            && let Some(figures) = rule.answers().objection(index, scene, track, opening, moment)?
        {
            return Ok(Some((index, rule.kind(), figures)));
        }
    }
    Ok(None)
}

/// Every number of a rule: of its floor and its objective, and its own.
pub fn figures(
    index: usize,
    rule: &Rule,
    scene: &Scene<'_>,
    track: &Track,
) -> Result<Vec<Figured>, RuleError> {
    let mut figures = Vec::new();
    let worth = Worth { balance: scene.balance, equity: scene.equity, at_reset: false };
    for floor in rule.answers().floors(index, track)? {
        let [level, room] = if floor.cap { ["cap", "room_above"] } else { ["floor", "room"] };
        figures.push(figure(level, floor.amount));
        figures.push(figure(room, floor.room(worth)?));
        if !floor.cap {
            figures.push(figure("room_of_balance", scene.balance.minus(floor.amount)?));
            figures.push(figure("reference", floor.reference));
            figures.push(figure("limit", floor.limit));
            figures.push(figure("locked", floor.locked_at.is_some()));
        }
    }
    if let Some(objective) = rule.answers().objective(index, scene, track)? {
        figures.push(Figured { name: Cow::Borrowed("target"), value: objective.target });
        figures.push(Figured { name: Cow::Borrowed("current"), value: objective.current });
        figures.push(figure("met", objective.met));
    }
    if let Some(deadline) = rule.answers().deadlines(index, scene, track)?.into_iter().min_by_key(|at| at.at)
    {
        figures.push(figure("deadline", deadline.at));
    }
    figures.extend(rule.answers().figures(index, scene, track)?);
    Ok(figures)
}
