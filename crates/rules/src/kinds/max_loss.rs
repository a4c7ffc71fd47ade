//! How much may be lost in all.

use std::borrow::Cow;

use kernel::{Amount, Overflow, Percent, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::effect::RuleError;
use crate::limit::{Offset, Reached};
use crate::rule::{Kind, Words};
use crate::track::{Lock, Peaks};
use crate::{Comparison, Effect, Floor, Limit, Tested, Track, is_default};

use super::{effect_fault, warn_fault, warn_words};

/// The floor is `what it follows − limit`, until a lock holds it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MaxLoss {
    /// What the floor is measured from and whether it follows.
    pub trail: Trail,
    /// How much may be lost from there.
    pub limit: Limit,
    /// Where the floor stops.
    #[serde(default)]
    pub lock: LockAt,
    /// Whether a payout locks the floor, at the level of the lock (the initial balance if none is set).
    #[serde(default, skip_serializing_if = "is_default")]
    pub lock_on_payout: bool,
    /// Whether touching the floor breaches.
    pub breach: Comparison,
    /// What is tested against it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub tests: Tested,
    /// What happens: `hard`, `soft` or `flag`.
    #[serde(default, skip_serializing_if = "is_default")]
    pub effect: Effect,
    /// Shares of the limit at which the trader is warned.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warn_at: Vec<Percent>,
}

/// What the floor follows. It never falls.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Trail {
    /// Nothing: the initial balance for good.
    Static,
    /// The highest balance at any reset.
    EndOfDayBalance,
    /// The highest value of balance and equity at any reset.
    EndOfDayHigher,
    /// The highest balance at any time: it moves with every closed trade.
    RealisedBalance,
    /// The highest equity at any price.
    IntradayEquity,
    /// The highest value of balance and equity at any time.
    BalanceOrEquity,
}

/// Where a floor stops moving, for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LockAt {
    /// Nowhere.
    #[default]
    None,
    /// At the initial balance: the floor follows until it is there.
    AtInitial,
    /// At this distance from the initial balance: the floor follows until it is there.
    At(Offset),
    /// It jumps to a level when a profit is reached, wherever it was.
    Jump(Jump),
}

/// A floor that jumps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Jump {
    /// The profit over the initial balance that triggers it.
    pub profit: Limit,
    /// What must show that profit: `equity` or `balance`.
    pub of: Tested,
    /// Whether touching it triggers.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reached: Reached,
    /// Where it jumps to.
    pub to: LockLevel,
}

/// Where a floor jumps to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LockLevel {
    /// The initial balance.
    Initial,
    /// A distance from the initial balance.
    InitialPlus(Offset),
    /// So much below the value that triggered it.
    BelowTrigger(Limit),
}

impl Trail {
    const fn words(self) -> &'static str {
        match self {
            Self::Static => "initial balance",
            Self::EndOfDayBalance => "highest balance at any reset",
            Self::EndOfDayHigher => "highest balance or equity at any reset",
            Self::RealisedBalance => "highest balance",
            Self::IntradayEquity => "highest equity at any price",
            Self::BalanceOrEquity => "highest balance or equity",
        }
    }

    fn reference(self, initial: Amount, peaks: &Peaks) -> Amount {
        match self {
            Self::Static => initial,
            Self::EndOfDayBalance => peaks.day_end_balance,
            Self::EndOfDayHigher => peaks.day_end_higher,
            Self::RealisedBalance => peaks.balance,
            Self::IntradayEquity => peaks.equity,
            Self::BalanceOrEquity => peaks.equity.max(peaks.balance),
        }
    }
}

impl MaxLoss {
    fn trailing(&self, initial: Amount, peaks: &Peaks) -> Result<Amount, Overflow> {
        let reference = self.trail.reference(initial, peaks);
        reference.minus(self.limit.amount(initial, reference)?)
    }

    fn lock_level(&self, initial: Amount) -> Result<Amount, Overflow> {
        match self.lock {
            LockAt::At(offset) | LockAt::Jump(Jump { to: LockLevel::InitialPlus(offset), .. }) => {
                offset.level(initial)
            }
            LockAt::None | LockAt::AtInitial | LockAt::Jump(_) => Ok(initial),
        }
    }

    pub(crate) fn lock_if_reached(
        &self,
        index: usize,
        track: &mut Track,
        at: Timestamp,
        balance: Amount,
        equity: Option<Amount>,
    ) -> Result<bool, RuleError> {
        let LockAt::Jump(jump) = self.lock else { return Ok(false) };
        let equity = equity.unwrap_or(balance);
        let value = match jump.of {
            Tested::Equity => equity,
            Tested::LowerOf => balance.min(equity),
            Tested::Balance | Tested::DayEndBalance => balance,
        };
        let initial = track.initial;
        let trigger = initial.plus(jump.profit.amount(initial, initial)?)?;
        if !jump.reached.reached(value, trigger) || track.locks.get(&index).is_some_and(|lock| lock.at < at) {
            return Ok(false);
        }
        let level = match jump.to {
            LockLevel::Initial => initial,
            LockLevel::InitialPlus(offset) => offset.level(initial)?,
            LockLevel::BelowTrigger(limit) => value.minus(limit.amount(initial, value)?)?,
        };
        // A floor never falls, so what it had reached before this instant stays; what it would have reached within the
        // instant does not count, in whatever order it was told.
        let level = level.max(self.trailing(initial, track.peaks_before(at))?);
        let level = track.locks.get(&index).map_or(level, |lock| lock.level.max(level));
        let lock = Lock { at, level };
        Ok(track.locks.insert(index, lock) != Some(lock))
    }

    /// The equity at or above which [`MaxLoss::lock_if_reached`] may do something.
    pub(crate) fn lock_alarm(
        &self,
        index: usize,
        track: &Track,
        at: Timestamp,
    ) -> Result<Option<Amount>, RuleError> {
        let LockAt::Jump(jump) = self.lock else { return Ok(None) };
        let by_price = matches!(jump.of, Tested::Equity | Tested::LowerOf);
        // Within the instant of a lock a higher value still moves it.
        let for_good = track.locks.get(&index).is_some_and(|lock| lock.at < at);
        if !by_price || for_good {
            return Ok(None);
        }
        Ok(Some(track.initial.plus(jump.profit.amount(track.initial, track.initial)?)?))
    }

    pub(crate) fn lock_on_payout(
        &self,
        index: usize,
        track: &mut Track,
        at: Timestamp,
    ) -> Result<(), RuleError> {
        if self.lock_on_payout && !track.locks.contains_key(&index) {
            let level = self.lock_level(track.initial)?.max(self.trailing(track.initial, &track.peaks)?);
            let level = match self.lock {
                LockAt::None | LockAt::Jump(_) => level,
                LockAt::AtInitial | LockAt::At(_) => self.lock_level(track.initial)?,
            };
            track.locks.insert(index, Lock { at, level });
        }
        Ok(())
    }
}

impl Kind for MaxLoss {
    fn limit(&self) -> Option<Limit> {
        Some(self.limit)
    }

    fn faults(&self, fault: &mut dyn FnMut(&str, String)) {
        self.limit.faults("limit", fault);
        effect_fault(self.effect, &[Effect::Hard, Effect::Soft, Effect::Flag], fault);
        warn_fault(&self.warn_at, fault);
        match self.lock {
            LockAt::None | LockAt::AtInitial => {}
            LockAt::At(offset) => offset.faults("lock.at", fault),
            LockAt::Jump(jump) => {
                jump.profit.faults("lock.jump.profit", fault);
                match jump.to {
                    LockLevel::Initial => {}
                    LockLevel::InitialPlus(offset) => offset.faults("lock.jump.to.initial_plus", fault),
                    LockLevel::BelowTrigger(limit) => limit.faults("lock.jump.to.below_trigger", fault),
                }
                if jump.of == Tested::DayEndBalance {
                    fault("lock.jump.of", "must be equity, balance or lower_of".to_owned());
                }
            }
        }
    }

    fn sentence(&self, words: &Words) -> String {
        let limit = self.limit.words_from(words, self.trail.words());
        let level = format!("{} {} that level", self.tests.words(), self.breach.words());
        let follows =
            if self.trail == Trail::Static { "" } else { " The level rises with it and never falls" };
        let lock = match self.lock {
            LockAt::None if follows.is_empty() => String::new(),
            LockAt::None => format!("{follows}."),
            LockAt::AtInitial => {
                " The level rises with it and stops for good at the initial balance.".to_owned()
            }
            LockAt::At(offset) => {
                format!(" The level rises with it and stops for good at {}.", offset.words(words))
            }
            LockAt::Jump(jump) => {
                let to = match jump.to {
                    LockLevel::Initial => "the initial balance".to_owned(),
                    LockLevel::InitialPlus(offset) => offset.words(words),
                    LockLevel::BelowTrigger(limit) => {
                        format!("{} below it", limit.words(words, "value that triggered it"))
                    }
                };
                let of = if jump.of == Tested::Balance { "closed profit" } else { "profit" };
                let than = if jump.reached == Reached::Above { "exceeds" } else { "reaches" };
                let profit = jump.profit.words(words, "initial balance");
                let stop = if follows.is_empty() { String::new() } else { format!("{follows};") };
                format!("{stop} Once {of} {than} {profit}, the level moves to {to} and stays there for good.")
                    .replace("; Once", "; once")
            }
        };
        let paid = match (self.lock_on_payout, self.lock) {
            (false, _) => "",
            (true, LockAt::None) => {
                " A payout locks it at the initial balance, or where it is if that is higher."
            }
            (true, LockAt::AtInitial | LockAt::At(_) | LockAt::Jump(_)) => {
                " A payout locks it there at once."
            }
        };
        format!(
            "In all you may lose at most {limit}; {level} means that {}.{lock}{paid}{}",
            self.effect.words(),
            warn_words(&self.warn_at)
        )
    }

    fn floors(&self, index: usize, track: &Track) -> Result<Vec<Floor>, RuleError> {
        let reference = self.trail.reference(track.initial, &track.peaks);
        let limit = self.limit.amount(track.initial, reference)?;
        let trailing = reference.minus(limit)?;
        let clamp = match self.lock {
            LockAt::None | LockAt::Jump(_) => None,
            LockAt::AtInitial | LockAt::At(_) => Some(self.lock_level(track.initial)?),
        };
        let clamped = clamp.filter(|level| trailing >= *level);
        let locked_at = track.locks.get(&index).map(|lock| lock.level).or(clamped);
        Ok(vec![Floor {
            rule: index,
            kind: Cow::Borrowed("max_loss"),
            amount: locked_at.unwrap_or(trailing),
            comparison: self.breach,
            cap: false,
            tests: self.tests,
            effect: self.effect,
            reference_name: Cow::Borrowed(self.trail.words()),
            reference,
            limit,
            locked_at,
            used: None,
        }])
    }

    fn warnings(&self) -> &[Percent] {
        &self.warn_at
    }

    fn needs_peaks(&self) -> bool {
        let trails = matches!(self.trail, Trail::IntradayEquity | Trail::BalanceOrEquity);
        trails || matches!(self.lock, LockAt::Jump(Jump { of: Tested::Equity | Tested::LowerOf, .. }))
    }

    fn effect(&self) -> Effect {
        self.effect
    }
}

#[cfg(test)]
mod tests {
    use crate::example::{holds, refused};

    fn example(trail: &str, limit: &str, lock: &str, steps: &str) -> String {
        format!(
            "[[example]]\nid = '{trail}'\nprogram.initial_balance = '50000'\nprogram.rules = [{{ kind = 'max_loss', trail = \
             '{trail}', limit = {{ {limit} }}, lock = {lock}, breach = 'below' }}]\nstep = [{steps}]"
        )
    }

    #[test]
    fn each_trail_follows_its_own_value_and_no_other() {
        let steps = |floors: [&str; 4]| {
            let values = [
                "equity = '53000'",
                "balance = '51000'",
                "reset = true",
                "day_ends = [{ balance = '51500', equity = '54000' }]",
            ];
            let lines = values.iter().zip(floors);
            let lines: Vec<_> = lines
                .map(|(value, floor)| format!("{{ {value}, expect = {{ max_loss.floor = {floor} }} }}"))
                .collect();
            lines.join(", ")
        };
        for (trail, floors) in [
            ("static", ["48000", "48000", "48000", "48000"]),
            ("intraday_equity", ["51000", "51000", "51000", "52000"]),
            ("realised_balance", ["48000", "49000", "49000", "49500"]),
            ("end_of_day_balance", ["48000", "48000", "49000", "49500"]),
            ("end_of_day_higher", ["48000", "48000", "49000", "52000"]),
            ("balance_or_equity", ["51000", "51000", "51000", "52000"]),
        ] {
            holds(
                &example(trail, "amount = '2000'", "'none'", &steps(floors))
                    .replace("breach = 'below'", "breach = 'below', effect = 'flag'"),
            );
        }
    }

    #[test]
    fn an_end_of_day_trail_stops_for_good_at_the_start() {
        let steps = "
            { equity = '53000', expect = { max_loss.floor = 48000, max_loss.locked = false } },
            { day_ends = ['50500'], expect = { max_loss.floor = 48500, max_loss.locked = false } },
            { day_ends = ['50100'], expect = { max_loss.floor = 48500, max_loss.locked = false } },
            { day_ends = ['51999.99'], expect = { max_loss.floor = '49999.99', max_loss.locked = false } },
            { day_ends = ['52000'], expect = { max_loss.floor = 50000, max_loss.locked = true } },
            { day_ends = ['60000', '55000'], expect = { max_loss.floor = 50000, max_loss.locked = true } }";
        holds(&example("end_of_day_balance", "amount = '2000'", "'at_initial'", steps));
    }

    #[test]
    fn a_jump_is_no_clamp_and_the_trigger_itself_triggers_unless_it_must_be_passed() {
        let jump = |reached: &str| {
            format!(
                "{{ jump = {{ profit = {{ percent_of_initial = '8' }}, of = 'equity', reached = '{reached}', to = 'initial' }} }}"
            )
        };
        let steps = |at: &str, locked: bool| {
            format!(
                "{{ equity = '53999.99', expect = {{ max_loss.locked = false, max_loss.floor = '49679.9908' }} }}, {{ equity = \
                 '54000', expect = {{ max_loss.locked = {locked}, max_loss.floor = {at} }} }}"
            )
        };
        let of_peak = "percent_of_reference = '8'";
        holds(&example("intraday_equity", of_peak, &jump("at_or_above"), &steps("50000", true)));
        holds(&example("intraday_equity", of_peak, &jump("above"), &steps("49680", false)));
    }

    #[test]
    fn a_level_below_the_trigger_is_taken_from_the_value_that_triggered() {
        let lock = "{ jump = { profit = { percent_of_initial = '5' }, of = 'balance', to = { below_trigger = { percent_of_initial = '5' } } } }";
        let steps = "
            { equity = '60000', expect = { max_loss.floor = 45000, max_loss.locked = false } },
            { balance = '52600', expect = { max_loss.floor = 50100, max_loss.locked = true } },
            { balance = '58000', expect = { max_loss.floor = 50100 } }";
        holds(&example("static", "percent_of_initial = '10'", lock, steps));
    }

    #[test]
    fn a_clamp_below_the_first_floor_holds_from_the_start_and_one_above_the_start_later() {
        let above = "{ at = { amount = '100' } }";
        let steps = "
            { equity = '52600', expect = { max_loss.floor = 50100, max_loss.locked = true } },
            { equity = '70000', expect = { max_loss.floor = 50100 } }";
        holds(&example("intraday_equity", "amount = '2500'", above, steps));
    }

    #[test]
    fn settings_that_cannot_be_are_refused() {
        let rule = "kind = 'max_loss'\ntrail = 'static'\nbreach = 'below'\nlimit = { amount = '0' }\neffect = 'pause'\n\
                    lock = { jump = { profit = { amount = '1' }, of = 'day_end_balance', to = { initial_plus = { \
                    percent_of_initial = '101' } } } }";
        assert_eq!(refused(rule), ["limit", "effect", "lock.jump.to.initial_plus", "lock.jump.of"]);
    }
}
