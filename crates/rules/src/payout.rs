//! What may be paid out of a funded account, and why not yet.

use std::borrow::Cow;
use std::collections::BTreeSet;

use kernel::{Amount, Currency, Overflow, Percent, Rounding, Span, Timestamp, TradingDay};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::effect::{Figure, Figured, RuleError, figure};
use crate::kinds::lock_on_payout;
use crate::limit::Since;
use crate::program::MOST_INITIAL_BALANCE;
use crate::rule::{Words, unknown_kind};
use crate::{
    Clocks, Effect, Limit, Objective, Paid, Rule, Scene, Track, Worth, breached, floors, is_default,
};

/// When, how often and how much is paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Payout {
    /// The trader's share of what is taken out.
    pub split: Percent,
    /// Other shares from a total on: each part of a payout gets the share of its own step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub split_steps: Vec<SplitStep>,
    /// When the first payout and the following may be asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cycle: Option<Cycle>,
    /// The least profit over the initial balance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_profit: Option<Limit>,
    /// The least profit closed since the last payout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_cycle_profit: Option<Limit>,
    /// The least amount that is taken out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_amount: Option<Amount>,
    /// What may be taken out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub from: PaidFrom,
    /// What must stay.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub buffer: Option<Buffer>,
    /// The most that is paid at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cap: Option<Cap>,
    /// Whether every position must be closed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub flat: bool,
    /// Whether no order may be working.
    #[serde(default, skip_serializing_if = "is_default")]
    pub no_orders: bool,
    /// Rules that must hold: trading days, profitable days, consistency, lot range. By default they count from the
    /// opening; `since = "payout"` lets them start anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub conditions: Vec<Rule>,
    /// Lists of such rules of which one must hold as a whole: five profitable days, or three and a best day below 40 per
    /// cent.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub any_of: Vec<Vec<Rule>>,
    /// How often an account is paid at most.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub most_payouts: Option<u32>,
    /// What a payout leaves behind.
    #[serde(default, skip_serializing_if = "is_default")]
    pub after: After,
    /// What is still paid when a rule has ended the account.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after_breach: Option<AfterBreach>,
}

/// Another share from a total on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SplitStep {
    /// What has been taken out of the account in all before this share holds.
    pub from_total: Amount,
    /// The share.
    pub split: Percent,
}

/// When payouts may be asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cycle {
    /// Days of the first cycle.
    pub first_days: u32,
    /// Days of every other.
    pub next_days: u32,
    /// Where the first begins.
    pub from: CycleStart,
    /// Which days count.
    #[serde(default, skip_serializing_if = "is_default")]
    pub count: CycleCount,
    /// Whether both end days count: a cycle of 14 days from the 1st ends with the 14th, and the payout may be asked for
    /// after it. Otherwise the days are a delay: 14 days after the 1st is the 15th.
    pub inclusive: bool,
    /// Where every other begins.
    #[serde(default, skip_serializing_if = "is_default")]
    pub next_from: NextCycle,
    /// Days that are no business days.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub holidays: BTreeSet<TradingDay>,
}

/// Where the first cycle begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CycleStart {
    /// On the day on which the account opened.
    Opening,
    /// On the day of the first trade.
    FirstTrade,
}

/// Which days of a cycle count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CycleCount {
    /// All.
    #[default]
    Calendar,
    /// Monday to Friday without holidays.
    Business,
}

/// Where every cycle but the first begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NextCycle {
    /// On the day after the one before.
    #[default]
    CycleEnd,
    /// On the day of the last payout.
    Payout,
}

/// What may be taken out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PaidFrom {
    /// The profit over the initial balance.
    #[default]
    Profit,
    /// The whole balance.
    Balance,
}

/// What must stay in the account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Buffer {
    /// How much.
    pub keep: Share,
    /// For how many payouts; for good if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payouts: Option<u32>,
}

/// An amount, or a share of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Share {
    /// A fixed amount.
    Amount(Amount),
    /// Of the initial balance.
    PercentOfInitial(Percent),
    /// Of the profit over the initial balance.
    PercentOfProfit(Percent),
    /// Of the balance.
    PercentOfBalance(Percent),
}

/// The most that is paid at once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cap {
    /// By the number of the payout, from the first; the last holds for all that follow unless `then_none`.
    pub ladder: Vec<Share>,
    /// Whether no cap holds beyond the ladder.
    #[serde(default, skip_serializing_if = "is_default")]
    pub then_none: bool,
    /// What is capped.
    #[serde(default, skip_serializing_if = "is_default")]
    pub on: CapOn,
}

/// What a cap caps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CapOn {
    /// What is taken out, before it is split.
    #[default]
    TakenOut,
    /// What the trader gets.
    Paid,
}

/// What a payout leaves behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct After {
    /// Whether the balance is set back to the initial balance, whatever was taken out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub to_initial: bool,
    /// Whether the peaks that floors follow are set back to the balance that is left.
    #[serde(default, skip_serializing_if = "is_default")]
    pub rebase_peaks: bool,
    /// Whether the days that conditions count go on instead of starting anew.
    #[serde(default, skip_serializing_if = "is_default")]
    pub keep_days: bool,
}

/// What is still paid when a rule has ended the account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct AfterBreach {
    /// The kinds of rules that may have ended it.
    pub rules: BTreeSet<String>,
    /// The share of the profit that is paid.
    pub share: Percent,
    /// Days within which it must be claimed.
    pub claim_days: u32,
    /// Whether every trade must have had a stop loss.
    #[serde(default, skip_serializing_if = "is_default")]
    pub every_stop: bool,
    /// The most that one trade may have lost, that much included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub worst_trade: Option<Limit>,
}

/// Whether a payout may be asked for, with every condition and every number.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Precheck {
    /// Whether every condition holds.
    pub eligible: bool,
    /// Each condition, by its word.
    pub conditions: Vec<Objective>,
    /// The most that may be taken out now.
    pub withdrawable: Amount,
    /// What the trader gets of it.
    pub payout: Amount,
    /// Every number on the way.
    pub figures: Vec<Figured>,
}

/// What was decided about an amount that was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// Whether it is paid.
    pub allowed: bool,
    /// What is taken out then.
    pub taken: Amount,
    /// Every condition and number, for this amount.
    pub precheck: Precheck,
}

/// What the account holds beside its balance, for the conditions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// No position is open.
    pub flat: bool,
    /// No order works.
    pub no_orders: bool,
    /// The kind of the rule that ended the account, and when.
    pub ended: Option<(Cow<'static, str>, Timestamp)>,
}

/// A cycle by its days.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct CycleDays {
    start: TradingDay,
    end: TradingDay,
    /// The first day on which a payout may be asked for.
    open: TradingDay,
}

impl Payout {
    /// Everything wrong with it: the field and what would be right.
    pub(crate) fn faults(&self, fault: &mut dyn FnMut(&str, String)) {
        let share = |percent: Percent| percent.millionths() >= 0 && percent <= Percent::WHOLE;
        if !share(self.split) || !self.split_steps.iter().all(|step| share(step.split)) {
            fault("split", "must be from 0 to 100 per cent".to_owned());
        }
        if !self.split_steps.is_sorted_by(|left, right| left.from_total < right.from_total) {
            fault("split_steps", "must be in the order of their totals".to_owned());
        }
        if let Some(cycle) = &self.cycle
            && (cycle.first_days > 3_650
                || cycle.next_days > 3_650
                || (cycle.inclusive && (cycle.first_days == 0 || cycle.next_days == 0)))
        {
            fault("cycle", "days must be at most 3650, and at least 1 where both ends count".to_owned());
        }
        for (name, limit) in [("min_profit", self.min_profit), ("min_cycle_profit", self.min_cycle_profit)] {
            if let Some(limit) = limit {
                limit.faults(name, fault);
            }
        }
        if let Some(amount) = self.min_amount
            && !within(amount)
        {
            fault("min_amount", MOST.to_owned());
        }
        if self.split_steps.iter().any(|step| !within(step.from_total)) {
            fault("split_steps", format!("every from_total {MOST}"));
        }
        if let Some(buffer) = self.buffer {
            buffer.keep.faults("buffer.keep", fault);
        }
        if let Some(cap) = &self.cap {
            if cap.ladder.is_empty() {
                fault("cap.ladder", "give at least one".to_owned());
            }
            for (index, share) in cap.ladder.iter().enumerate() {
                share.faults(&format!("cap.ladder[{index}]"), fault);
            }
        }
        if self.most_payouts == Some(0) {
            fault("most_payouts", "must be at least 1; leave it out for no limit".to_owned());
        }
        for (at, rule) in self.all_conditions() {
            let can = matches!(
                rule,
                Rule::MinTradingDays(_)
                    | Rule::MinProfitableDays(_)
                    | Rule::Consistency(_)
                    | Rule::ProfitTarget(_)
                    | Rule::LotRange(_)
            );
            if !can {
                let say = "only min_trading_days, min_profitable_days, consistency, lot_range and profit_target can be conditions";
                fault(&at, say.to_owned());
            }
            rule.faults(&mut |field, say| fault(&format!("{at}.{field}"), say));
        }
        if self.any_of.len() == 1 || self.any_of.iter().any(Vec::is_empty) {
            fault("any_of", "give at least two lists, each with at least one rule".to_owned());
        }
        if let Some(after) = &self.after_breach {
            if after.rules.is_empty() {
                fault("after_breach.rules", "name at least one kind of rule".to_owned());
            }
            for rule in after.rules.iter().filter(|rule| !Rule::KINDS.contains(&rule.as_str())) {
                fault("after_breach.rules", unknown_kind(rule));
            }
            if !share(after.share) {
                fault("after_breach.share", "must be from 0 to 100 per cent".to_owned());
            }
            if !(1..=3_650).contains(&after.claim_days) {
                fault("after_breach.claim_days", "must be from 1 to 3650".to_owned());
            }
            if let Some(limit) = after.worst_trade {
                limit.faults("after_breach.worst_trade", fault);
            }
        }
    }

    /// Every rule among the conditions, with its path.
    pub(crate) fn all_conditions(&self) -> impl Iterator<Item = (String, &Rule)> {
        let plain = self.conditions.iter().enumerate();
        let plain = plain.map(|(place, rule)| (format!("conditions[{place}]"), rule));
        let lists = self.any_of.iter().enumerate();
        let of_lists = lists.flat_map(|(list, rules)| {
            rules.iter().enumerate().map(move |(place, rule)| (format!("any_of[{list}][{place}]"), rule))
        });
        plain.chain(of_lists)
    }

    /// What it means, one sentence for each part.
    pub fn sentences(&self, words: &Words) -> Vec<String> {
        let mut lines = Vec::new();
        let from = match self.from {
            PaidFrom::Profit => "profit over the initial balance",
            PaidFrom::Balance => "balance",
        };
        lines.push(format!("You get {}% of the {from} that you take out.", self.split));
        for step in &self.split_steps {
            lines.push(format!("Beyond {} in all you get {}%.", words.amount(step.from_total), step.split));
        }
        if let Some(cycle) = &self.cycle {
            let days = match cycle.count {
                CycleCount::Calendar => "days",
                CycleCount::Business => "business days",
            };
            let from = match cycle.from {
                CycleStart::Opening => "the opening of the account",
                CycleStart::FirstTrade => "the first trade",
            };
            let both = if cycle.inclusive { ", both end days counted" } else { "" };
            let next = match cycle.next_from {
                NextCycle::CycleEnd => "the end of the cycle before",
                NextCycle::Payout => "the payout before",
            };
            lines.push(format!(
                "The first payout may be asked for {} {days} after {from}, every other {} {days} after {next}{both}.",
                cycle.first_days, cycle.next_days
            ));
            if !cycle.holidays.is_empty() {
                let days: Vec<_> = cycle.holidays.iter().map(TradingDay::to_string).collect();
                lines.push(format!("No business days are {}.", days.join(", ")));
            }
        }
        if let Some(limit) = self.min_profit {
            lines.push(format!("The profit must be at least {}.", limit.words(words, "initial balance")));
        }
        if let Some(limit) = self.min_cycle_profit {
            let limit = limit.words(words, "initial balance");
            lines.push(format!("Since the last payout you must have earned at least {limit}."));
        }
        if let Some(amount) = self.min_amount {
            lines.push(format!("At least {} is taken out.", words.amount(amount)));
        }
        if let Some(buffer) = self.buffer {
            let keep = buffer.keep.words(words);
            let payouts =
                buffer.payouts.map_or(String::new(), |count| format!(" for the first {count} payouts"));
            lines.push(format!("{keep} must stay in the account{payouts}."));
        }
        if let Some(cap) = &self.cap {
            let what = match cap.on {
                CapOn::TakenOut => "is taken out",
                CapOn::Paid => "is paid to you",
            };
            let ladder: Vec<_> = cap.ladder.iter().map(|share| share.words(words)).collect();
            let then = if cap.then_none { ", then no limit" } else { "" };
            lines.push(format!("At most {} {what} at once{then}.", ladder.join(", then ")));
        }
        match (self.flat, self.no_orders) {
            (true, true) => lines.push("No position may be open and no order working.".to_owned()),
            (true, false) => lines.push("No position may be open.".to_owned()),
            (false, true) => lines.push("No order may be working.".to_owned()),
            (false, false) => {}
        }
        lines.extend(self.conditions.iter().map(|rule| rule.sentence(words)));
        if !self.any_of.is_empty() {
            let list = |rules: &Vec<Rule>| {
                rules.iter().map(|rule| rule.sentence(words)).collect::<Vec<_>>().join(" ")
            };
            let lists: Vec<_> = self.any_of.iter().map(list).collect();
            lines.push(format!("Either: {}", lists.join(" Or: ")));
        }
        if let Some(most) = self.most_payouts {
            lines.push(format!("An account is paid at most {most} times."));
        }
        if self.after.to_initial {
            lines.push("A payout sets the balance back to the initial balance.".to_owned());
        }
        if self.after.rebase_peaks {
            lines.push(
                "A payout sets the peaks that levels follow back to the balance that is left.".to_owned(),
            );
        }
        if self.after.keep_days {
            lines.push("Days that count go on counting after a payout.".to_owned());
        }
        if let Some(after) = &self.after_breach {
            let rules: Vec<_> = after.rules.iter().map(String::as_str).collect();
            let stop = if after.every_stop { ", every trade had a stop loss" } else { "" };
            let worst = after.worst_trade.map_or(String::new(), |limit| {
                format!(", no trade lost more than {}", limit.words(words, "initial balance"))
            });
            lines.push(format!(
                "If only {} has ended the account{stop}{worst}, {}% of the profit is still paid when claimed within {} \
                 days.",
                rules.join(" or "),
                after.share,
                after.claim_days
            ));
        }
        lines
    }

    /// Decides about an amount that is asked for, or about all that may be taken out: whether it is paid, and every
    /// condition and number of it. An amount that is asked for is among the conditions; the last number is the amount.
    pub fn decide(
        &self,
        scene: &Scene<'_>,
        track: &Track,
        clocks: Clocks<'_>,
        currency: Currency,
        holding: Holding,
        asked: Option<Amount>,
    ) -> Result<Decision, RuleError> {
        let ended = holding.ended.is_some();
        let mut precheck = self.precheck(scene, track, clocks, currency, holding)?;
        let Some(asked) = asked else {
            let taken = precheck.withdrawable;
            precheck.figures.push(figure("taken", taken));
            return Ok(Decision { allowed: precheck.eligible, taken, precheck });
        };
        let most = precheck.withdrawable;
        let least = self.min_amount.filter(|_| !ended).unwrap_or(Amount::from_micros(1));
        let whole = asked.rounded(currency, Rounding::Floor)? == asked;
        let mut own = vec![
            condition("asked_at_most", Figure::Amount(asked), Figure::Amount(most), asked <= most),
            condition(
                "asked_at_least",
                Figure::Amount(asked),
                Figure::Amount(least),
                asked >= least && whole,
            ),
        ];
        let fits = own.iter().all(|condition| condition.met);
        if fits && !ended {
            precheck.payout = self.share_of(scene, track, asked)?.rounded(currency, Rounding::Floor)?;
            let left = self.left(scene, track, asked)?;
            precheck.figures.retain(|it| it.name != "payout" && left.iter().all(|own| own.name != it.name));
            precheck.figures.push(figure("payout", precheck.payout));
            precheck.figures.extend(left);
            precheck.conditions.retain(|condition| condition.kind != STAYS_OPEN);
            own.push(self.stays_open(scene, track, asked)?);
        }
        precheck.conditions.extend(own);
        precheck.eligible = precheck.conditions.iter().all(|condition| condition.met);
        precheck.figures.push(figure("asked", asked));
        Ok(Decision { allowed: precheck.eligible, taken: asked, precheck })
    }

    /// Whether the account outlives taking an amount out: no hard floor lies at or above what is left.
    fn stays_open(&self, scene: &Scene<'_>, track: &Track, taken: Amount) -> Result<Objective, RuleError> {
        let mut after = track.clone();
        let balance = self.pay(scene, &mut after, taken)?;
        let equity = scene.equity.minus(scene.balance)?.plus(balance)?;
        let worth = Worth { balance, equity, at_reset: false };
        let floors = floors(scene.phase, &after)?;
        let hard: Vec<_> =
            floors.into_iter().filter(|floor| floor.effect == Effect::Hard && !floor.cap).collect();
        let highest = hard.iter().map(|floor| floor.amount).max().unwrap_or_default();
        let stays = breached(&hard, worth).is_none();
        Ok(condition(STAYS_OPEN, Figure::Amount(equity), Figure::Amount(highest), stays))
    }

    /// The trader's share of an amount that is taken out.
    fn share_of(&self, scene: &Scene<'_>, track: &Track, taken: Amount) -> Result<Amount, RuleError> {
        if let (Some(_), Some(_)) = (&track.ended, &self.after_breach) {
            return Ok(taken);
        }
        Ok(paid_of(&self.parts(scene, track, taken)?)?)
    }

    /// Looks at every condition at an instant and says what could be taken out.
    #[expect(clippy::needless_pass_by_value, reason = "the caller puts it together for this question only")]
    pub fn precheck(
        &self,
        scene: &Scene<'_>,
        track: &Track,
        clocks: Clocks<'_>,
        currency: Currency,
        holding: Holding,
    ) -> Result<Precheck, RuleError> {
        if let (Some((rule, at)), Some(after)) = (&holding.ended, &self.after_breach) {
            return after.precheck(scene, track, currency, rule.clone(), *at);
        }
        let mut conditions = self.conditions_met(scene, track, clocks, &holding)?;
        let number = track.payouts.len();
        let deducted = deducted(scene, track)?;
        let profit = scene.balance.minus(track.initial)?.minus(deducted)?.max(Amount::ZERO);
        let base = match self.from {
            PaidFrom::Profit => profit,
            PaidFrom::Balance => scene.balance.minus(deducted)?,
        };
        let share = |share: Share| share.amount(track.initial, profit, scene.balance.max(Amount::ZERO));
        let buffer = match self.buffer {
            Some(buffer)
                if buffer.payouts.is_none_or(|most| number < usize::try_from(most).unwrap_or(usize::MAX)) =>
            {
                share(buffer.keep)?.rounded(currency, Rounding::Ceiling)?
            }
            Some(_) | None => Amount::ZERO,
        };
        let mut taken = base.minus(buffer)?.max(Amount::ZERO).rounded(currency, Rounding::Floor)?;
        let mut cap = None;
        if let Some(limits) = &self.cap {
            let beyond = if limits.then_none { None } else { limits.ladder.last() };
            cap = limits.ladder.get(number).or(beyond).map(|limit| share(*limit)).transpose()?;
        }
        let on = self.cap.as_ref().map_or(CapOn::TakenOut, |cap| cap.on);
        if let (Some(cap), CapOn::TakenOut) = (cap, on) {
            taken = taken.min(cap.rounded(currency, Rounding::Floor)?);
        }
        let parts = self.parts(scene, track, taken)?;
        let mut payout = paid_of(&parts)?.rounded(currency, Rounding::Floor)?;
        if let (Some(cap), CapOn::Paid) = (cap, on)
            && payout > cap
        {
            payout = cap.rounded(currency, Rounding::Floor)?;
            taken = taken.min(taken_for(&parts, payout)?.rounded(currency, Rounding::Ceiling)?);
        }
        let something = self.min_amount.unwrap_or(Amount::from_micros(1));
        conditions.push(condition(
            "amount",
            Figure::Amount(taken),
            Figure::Amount(something),
            taken >= something,
        ));
        conditions.push(self.stays_open(scene, track, taken)?);
        let mut figures = vec![figure("profit", profit), figure("buffer", buffer)];
        if deducted > Amount::ZERO {
            figures.push(figure("deducted", deducted));
        }
        figures.extend(cap.map(|cap| figure("cap", cap)));
        figures.extend(self.min_amount.map(|amount| figure("min_payout", amount)));
        for objective in self.alternatives(scene, track)? {
            figures.push(Figured {
                name: Cow::Owned(format!("{} current", objective.kind)),
                value: objective.current,
            });
            figures.push(Figured {
                name: Cow::Owned(format!("{} target", objective.kind)),
                value: objective.target,
            });
        }
        figures.push(figure("withdrawable", taken));
        figures.push(figure("payout", payout));
        figures.extend(self.cycle_figures(track, clocks)?);
        figures.extend(self.left(scene, track, taken)?);
        let eligible = conditions.iter().all(|condition| condition.met);
        Ok(Precheck { eligible, conditions, withdrawable: taken, payout, figures })
    }

    fn conditions_met(
        &self,
        scene: &Scene<'_>,
        track: &Track,
        clocks: Clocks<'_>,
        holding: &Holding,
    ) -> Result<Vec<Objective>, RuleError> {
        let mut conditions = Vec::new();
        let active = holding.ended.is_none();
        conditions.push(condition("active", Figure::Flag(active), Figure::Flag(true), active));
        if self.cycle.is_some() {
            let open = self
                .current_cycle(track, clocks)?
                .map(|cycle| clocks.counting.start_of(cycle.open))
                .transpose()?;
            let met = open.is_some_and(|open| scene.at >= open);
            let target = open.map_or(Figure::Word(Cow::Borrowed("the first trade")), Figure::At);
            conditions.push(condition("cycle", Figure::At(scene.at), target, met));
        }
        let profit = scene.balance.minus(track.initial)?;
        if let Some(limit) = self.min_profit {
            let least = limit.amount(track.initial, track.initial)?;
            conditions.push(condition(
                "min_profit",
                Figure::Amount(profit),
                Figure::Amount(least),
                profit >= least,
            ));
        }
        if let Some(limit) = self.min_cycle_profit {
            let least = limit.amount(track.initial, track.initial)?;
            let mut earned = Amount::ZERO;
            for day in track.days_since(Since::Payout, scene.equity)? {
                earned = earned.plus(day.profit)?;
            }
            let met = earned >= least;
            conditions.push(condition(
                "min_cycle_profit",
                Figure::Amount(earned),
                Figure::Amount(least),
                met,
            ));
        }
        let target_flat = |rule: &Rule| matches!(rule, Rule::ProfitTarget(target) if target.flat);
        if self.flat || self.all_conditions().any(|(_, rule)| target_flat(rule)) {
            conditions.push(condition("flat", Figure::Flag(holding.flat), Figure::Flag(true), holding.flat));
        }
        if self.no_orders {
            let none = holding.no_orders;
            conditions.push(condition("no_orders", Figure::Flag(none), Figure::Flag(true), none));
        }
        if let Some(most) = self.most_payouts {
            let made = u32::try_from(track.payouts.len()).unwrap_or(u32::MAX);
            conditions.push(condition("most_payouts", Figure::Count(made), Figure::Count(most), made < most));
        }
        let mut rules = scene.phase.conditions();
        for (index, rule) in rules.by_ref().take(self.conditions.len()) {
            conditions.extend(rule.answers().objective(index, scene, track)?);
        }
        let mut held = None;
        for (number, list) in (1_u32..).zip(&self.any_of) {
            let mut all = true;
            for (index, rule) in rules.by_ref().take(list.len()) {
                all &= rule.answers().objective(index, scene, track)?.is_none_or(|objective| objective.met);
            }
            held = held.or(all.then_some(number));
        }
        if !self.any_of.is_empty() {
            let current = held.map_or(Figure::Word(Cow::Borrowed("none")), Figure::Count);
            let target = Figure::Word(Cow::Borrowed("one of them"));
            conditions.push(condition("any_of", current, target, held.is_some()));
        }
        Ok(conditions)
    }

    /// The numbers of the rules of which one list must hold, each named after its list.
    fn alternatives(&self, scene: &Scene<'_>, track: &Track) -> Result<Vec<Objective>, RuleError> {
        let mut found = Vec::new();
        let mut rules = scene.phase.conditions().skip(self.conditions.len());
        for (number, list) in (1_u32..).zip(&self.any_of) {
            for (index, rule) in rules.by_ref().take(list.len()) {
                if let Some(objective) = rule.answers().objective(index, scene, track)? {
                    let kind = Cow::Owned(format!("any_of {number} {}", objective.kind));
                    found.push(Objective { kind, ..objective });
                }
            }
        }
        Ok(found)
    }

    /// The parts of an amount that is taken out, each with the trader's share of it.
    fn parts(
        &self,
        scene: &Scene<'_>,
        track: &Track,
        taken: Amount,
    ) -> Result<Vec<(Amount, Percent)>, Overflow> {
        let mut total = Amount::ZERO;
        for paid in &track.payouts {
            total = total.plus(paid.amount)?;
        }
        let end = total.plus(taken)?;
        let scaled = scene.phase.scaling.as_ref().and_then(|scaling| scaling.split(track));
        let mut split = scaled.unwrap_or(self.split);
        let mut from = total;
        let mut parts = Vec::new();
        for step in &self.split_steps {
            let to = step.from_total.clamp(from, end);
            parts.push((to.minus(from)?, split));
            (from, split) = (to, step.split);
        }
        parts.push((end.minus(from)?, split));
        Ok(parts)
    }

    /// The cycle that must have ended before the next payout; `None` before the first trade where it begins there.
    fn current_cycle(&self, track: &Track, clocks: Clocks<'_>) -> Result<Option<CycleDays>, RuleError> {
        let Some(cycle) = &self.cycle else { return Ok(None) };
        let begun = match cycle.from {
            CycleStart::Opening => Some(track.opened_at),
            CycleStart::FirstTrade => track.activity.first_open,
        };
        let Some(begun) = begun else { return Ok(None) };
        let mut current = cycle.days(clocks.counting.day_of(begun)?, cycle.first_days)?;
        for paid in &track.payouts {
            let day = clocks.counting.day_of(paid.at)?;
            // Cycles that had ended before the payout are paid with it: the next one ends on its day or later.
            loop {
                let start = match cycle.next_from {
                    NextCycle::CycleEnd if cycle.inclusive => current.end.plus_days(1)?,
                    NextCycle::CycleEnd => current.end,
                    NextCycle::Payout => day,
                };
                let last = current.end;
                current = cycle.days(start, cycle.next_days)?;
                if current.end >= day || current.end == last {
                    break;
                }
            }
        }
        Ok(Some(current))
    }

    fn cycle_figures(&self, track: &Track, clocks: Clocks<'_>) -> Result<Vec<Figured>, RuleError> {
        let (Some(cycle), Some(current)) = (&self.cycle, self.current_cycle(track, clocks)?) else {
            return Ok(Vec::new());
        };
        let mut figures = vec![
            figure("cycle_start", current.start),
            figure("cycle_end", current.end),
            figure("eligible_from", clocks.counting.start_of(current.open)?),
        ];
        if cycle.next_from == NextCycle::CycleEnd {
            let start = if cycle.inclusive { current.end.plus_days(1)? } else { current.end };
            let next = cycle.days(start, cycle.next_days)?;
            figures.push(figure("next_cycle_start", next.start));
            figures.push(figure("next_cycle_end", next.end));
        }
        Ok(figures)
    }

    /// What taking an amount out leaves: the balance, the highest floor of a hard rule and the room above it.
    fn left(&self, scene: &Scene<'_>, track: &Track, taken: Amount) -> Result<Vec<Figured>, RuleError> {
        let mut after = track.clone();
        let balance = self.pay(scene, &mut after, taken)?;
        let floors = floors(scene.phase, &after)?;
        let highest = floors
            .iter()
            .filter(|floor| floor.effect == Effect::Hard && !floor.cap)
            .max_by_key(|floor| floor.amount);
        let mut figures = vec![figure("balance_after", balance)];
        if let Some(floor) = highest {
            figures.push(figure("floor_after", floor.amount));
            figures.push(figure("room_after", balance.minus(floor.amount)?));
            figures.push(figure("locked_after", floor.locked_at.is_some()));
        }
        Ok(figures)
    }

    /// Takes an amount out: moves the marks as the policy says and gives the balance that is left. Whether it may be
    /// taken is [`Payout::precheck`]'s to say.
    pub fn pay(&self, scene: &Scene<'_>, track: &mut Track, taken: Amount) -> Result<Amount, RuleError> {
        let left = scene.balance.minus(taken)?;
        let balance = if self.after.to_initial { track.initial } else { left };
        let equity = scene.equity.minus(scene.balance)?.plus(balance)?;
        let share = self.share_of(scene, track, taken)?;
        lock_on_payout(scene.phase, track, scene.at)?;
        let paid = Paid { at: scene.at, amount: taken, share };
        track.paid(scene.equity, equity, paid, !self.after.keep_days)?;
        if self.after.to_initial {
            // Nothing is left that could be kept back again.
            track.deductions_settled = track.deductions_settled.plus(deducted(scene, track)?)?;
        }
        if self.after.rebase_peaks {
            track.rebase(balance.max(track.initial));
        }
        Ok(balance)
    }
}

/// What rules keep from being paid out.
fn deducted(scene: &Scene<'_>, track: &Track) -> Result<Amount, RuleError> {
    let mut sum = track.deducted;
    for (index, rule) in scene.phase.rules_and_conditions() {
        sum = sum.plus(rule.answers().deducted(index, track)?)?;
    }
    Ok(sum.minus(track.deductions_settled)?.max(Amount::ZERO))
}

/// What the trader gets of the parts of an amount.
fn paid_of(parts: &[(Amount, Percent)]) -> Result<Amount, Overflow> {
    let mut paid = Amount::ZERO;
    for (part, split) in parts {
        paid = paid.plus(part.share(*split, Rounding::Floor)?)?;
    }
    Ok(paid)
}

/// The least that must be taken out so that the trader gets an amount; everything if even that is too little.
fn taken_for(parts: &[(Amount, Percent)], wanted: Amount) -> Result<Amount, Overflow> {
    let (mut taken, mut left) = (Amount::ZERO, wanted);
    for (part, split) in parts {
        let paid = part.share(*split, Rounding::Floor)?;
        if paid >= left && split.millionths() > 0 {
            return taken.plus(left.scaled(
                Percent::WHOLE.millionths(),
                split.millionths(),
                Rounding::Ceiling,
            )?);
        }
        (taken, left) = (taken.plus(*part)?, left.minus(paid)?);
    }
    Ok(taken)
}

impl Cycle {
    fn days(&self, start: TradingDay, days: u32) -> Result<CycleDays, RuleError> {
        let counts = |day: TradingDay| match self.count {
            CycleCount::Calendar => true,
            CycleCount::Business => !day.is_weekend() && !self.holidays.contains(&day),
        };
        let mut end = start;
        let mut left = days;
        if self.inclusive && counts(start) {
            left = left.saturating_sub(1);
        }
        while left > 0 {
            end = end.plus_days(1)?;
            if counts(end) {
                left = left.saturating_sub(1);
            }
        }
        let open = if self.inclusive { end.plus_days(1)? } else { end };
        Ok(CycleDays { start, end, open })
    }
}

/// The condition that a payout does not end the account.
const STAYS_OPEN: &str = "stays_open";

const MOST: &str = "must be above 0 and at most 1000000000";

fn within(amount: Amount) -> bool {
    amount > Amount::ZERO && amount <= MOST_INITIAL_BALANCE
}

impl Share {
    fn faults(self, field: &str, fault: &mut dyn FnMut(&str, String)) {
        let sensible = match self {
            Self::Amount(amount) => within(amount),
            Self::PercentOfInitial(percent)
            | Self::PercentOfProfit(percent)
            | Self::PercentOfBalance(percent) => percent.millionths() > 0 && percent <= Percent::WHOLE,
        };
        if !sensible {
            fault(
                field,
                "must be above 0, a share at most 100 per cent, an amount at most 1000000000".to_owned(),
            );
        }
    }

    fn amount(self, initial: Amount, profit: Amount, balance: Amount) -> Result<Amount, Overflow> {
        match self {
            Self::Amount(amount) => Ok(amount),
            Self::PercentOfInitial(percent) => initial.share(percent, Rounding::Floor),
            Self::PercentOfProfit(percent) => profit.share(percent, Rounding::Floor),
            Self::PercentOfBalance(percent) => balance.share(percent, Rounding::Floor),
        }
    }

    fn words(self, words: &Words) -> String {
        match self {
            Self::Amount(amount) => words.amount(amount),
            Self::PercentOfInitial(percent) => format!("{percent}% of the initial balance"),
            Self::PercentOfProfit(percent) => format!("{percent}% of the profit"),
            Self::PercentOfBalance(percent) => format!("{percent}% of the balance"),
        }
    }
}

impl AfterBreach {
    fn precheck(
        &self,
        scene: &Scene<'_>,
        track: &Track,
        currency: Currency,
        rule: Cow<'static, str>,
        ended_at: Timestamp,
    ) -> Result<Precheck, RuleError> {
        let mut conditions = Vec::new();
        let allowed = self.rules.contains(rule.as_ref());
        conditions.push(condition("ended_by", Figure::Word(rule), Figure::Flag(true), allowed));
        let last = ended_at.after(Span::from_days(self.claim_days)?)?;
        conditions.push(condition("claim", Figure::At(scene.at), Figure::At(last), scene.at <= last));
        let paid = track.payouts.iter().filter(|paid| paid.at >= ended_at).count();
        let paid = u32::try_from(paid).unwrap_or(u32::MAX);
        conditions.push(condition("once", Figure::Count(paid), Figure::Count(0), paid == 0));
        if self.every_stop {
            let all = !track.unprotected;
            conditions.push(condition("every_stop", Figure::Flag(all), Figure::Flag(true), all));
        }
        if let Some(limit) = self.worst_trade {
            let most = limit.amount(track.initial, track.initial)?;
            let worst = track.worst_trade.negated()?.max(Amount::ZERO);
            conditions.push(condition(
                "worst_trade",
                Figure::Amount(worst),
                Figure::Amount(most),
                worst <= most,
            ));
        }
        let profit = scene.balance.minus(track.initial)?.minus(deducted(scene, track)?)?.max(Amount::ZERO);
        let payout = profit.share(self.share, Rounding::Floor)?.rounded(currency, Rounding::Floor)?;
        let some = payout > Amount::ZERO;
        conditions.push(condition(
            "amount",
            Figure::Amount(payout),
            Figure::Amount(Amount::from_micros(1)),
            some,
        ));
        let figures = vec![
            figure("profit", profit),
            figure("payout", payout),
            figure("withdrawable", payout),
            figure("claim_until", last),
        ];
        let eligible = conditions.iter().all(|condition| condition.met);
        Ok(Precheck { eligible, conditions, withdrawable: payout, payout, figures })
    }
}

fn condition(word: &'static str, current: Figure, target: Figure, met: bool) -> Objective {
    Objective { rule: 0, kind: Cow::Borrowed(word), target, current, met }
}

#[cfg(test)]
mod tests {
    use crate::example::holds;
    use crate::{Program, ProgramError};

    #[test]
    fn one_of_several_lists_must_hold_as_a_whole() {
        holds(
            r#"
            [[example]]
            id = "either five days, or three and no best day above 40 per cent"
            [example.program.payout]
            split = "90"
            any_of = [
              [{ kind = "min_profitable_days", days = 5, profit = { amount = "150" } }],
              [{ kind = "min_profitable_days", days = 3, profit = { amount = "150" } }, { kind = "consistency", share = "40", of = "profit" }],
            ]
            [[example.step]]
            day_profits = ["200", "200"]
            expect = { payout.eligible = false, payout.missing = "any_of", "payout.any_of 2 min_profitable_days current" = 2 }
            [[example.step]]
            day_profits = ["200"]
            expect = { payout.eligible = true, "payout.any_of.current" = 2 }
            [[example.step]]
            day_profits = ["2000"]
            expect = { payout.eligible = false }
            [[example.step]]
            day_profits = ["200"]
            expect = { payout.eligible = true, "payout.any_of.current" = 1 }
            "#,
        );
    }

    #[test]
    fn each_condition_is_named_with_its_number() {
        holds(
            r#"
            [[example]]
            id = "conditions"
            program.payout = { split = "80", min_profit = { percent_of_initial = "1" }, min_cycle_profit = { amount = "500" }, min_amount = "250", flat = true, no_orders = true, most_payouts = 2, cycle = { from = "first_trade", first_days = 14, next_days = 7, inclusive = false } }
            step = [
              { working_orders = 1, open = [{ position = "a" }], closed = "999.99", expect = { payout.eligible = false, payout.missing = "cycle, min_profit, flat, no_orders", payout.min_profit.current = "999.99", payout.min_profit.target = 1000 } },
              { working_orders = 0, close = [{ position = "a", profit = "0.01" }], expect = { payout.missing = "cycle", payout.cycle.target = "2026-01-19" } },
              { at = "2026-01-19", payout = "750.01", expect = { verdict = "ok", account.balance = "100249.99" } },
              { payout = "249.99", expect = { verdict = "refused", rule = "cycle" } },
              { at = "2026-01-26", closed = "499.99", expect = { payout.missing = "min_profit, min_cycle_profit" } },
              { closed = "250.02", expect = { payout.missing = "", payout.withdrawable = 1000 } },
              { payout = "1000.01", expect = { verdict = "refused", rule = "asked_at_most" } },
              { payout = "all", expect = { account.balance = 100000, payout.missing = "cycle, min_profit, min_cycle_profit, most_payouts, amount" } },
            ]
            "#,
        );
    }

    #[test]
    fn a_split_that_changes_with_the_total_is_paid_by_parts() {
        holds(
            r#"
            [[example]]
            id = "all to the trader up to 10,000, then 90 %"
            program.payout = { split = "100", split_steps = [{ from_total = "10000", split = "90" }] }
            step = [
              { closed = "4000", payout = "all" },
              { closed = "10000.03", expect = { payout.payout = "9600.02" } },
              { payout = "6000" },
              { expect = { payout.withdrawable = "4000.03", payout.payout = "3600.02" } },
            ]
            [[example]]
            id = "what must be taken out for the most that is paid"
            program.payout = { split = "80", split_steps = [{ from_total = "5000", split = "90" }], cap = { ladder = [{ amount = "8500" }], on = "paid" } }
            step = [{ closed = "20000", expect = { payout.payout = 8500, payout.withdrawable = 10000 } }]
            "#,
        );
    }

    #[test]
    fn caps_and_buffers_follow_the_number_of_the_payout() {
        holds(
            r#"
            [[example]]
            id = "ladder"
            program.payout = { split = "100", buffer = { keep = { amount = "600" }, payouts = 1 }, cap = { ladder = [{ amount = "1000" }, { percent_of_initial = "2" }], then_none = true } }
            step = [
              { closed = "1500", expect = { payout.buffer = 600, payout.cap = 1000, payout.withdrawable = 900 } },
              { payout = "all", closed = "9000", expect = { payout.buffer = 0, payout.cap = 2000, payout.withdrawable = 2000, account.balance = 109500 } },
              { payout = "all", expect = { payout.cap = "none", payout.withdrawable = 7500 } },
            ]
            [[example]]
            id = "the last step goes on"
            program.payout = { split = "100", cap = { ladder = [{ amount = "1000" }] } }
            step = [
              { closed = "5000", payout = "all" },
              { payout = "all", expect = { payout.cap = 1000, account.balance = 103000 } },
            ]
            "#,
        );
    }

    #[test]
    fn cents_are_rounded_down_for_what_is_paid_and_up_for_what_stays() {
        holds(
            r#"
            [[example]]
            id = "cents"
            program.payout = { split = "70", buffer = { keep = { percent_of_profit = "50" } } }
            step = [{ closed = "100.03", expect = { payout.buffer = "50.02", payout.withdrawable = "50.01", payout.payout = "35" } }]
            "#,
        );
    }

    #[test]
    fn a_day_belongs_to_the_cycle_it_ends_and_a_missed_payout_does_not_move_the_next_cycle() {
        holds(
            r#"
            [[example]]
            id = "both ends counted"
            start = "2026-05-01 08:00"
            program.reset = { zone = "Europe/Prague", time = "00:00" }
            program.payout = { split = "80", cycle = { from = "opening", first_days = 21, next_days = 14, inclusive = true } }
            step = [
              { closed = "100", at = "2026-05-21 23:59", expect = { payout.eligible = false, payout.eligible_from = "2026-05-22" } },
              { at = "2026-05-30", payout = "60", expect = { payout.cycle_start = "2026-05-22", payout.cycle_end = "2026-06-04", payout.eligible = false } },
              { at = "2026-06-05", expect = { payout.eligible = true } },
            ]
            [[example]]
            id = "business days from a Saturday"
            start = "2026-05-02 08:00"
            program.payout = { split = "80", cycle = { from = "opening", first_days = 5, next_days = 5, count = "business", inclusive = true } }
            step = [{ expect = { payout.cycle_start = "2026-05-02", payout.cycle_end = "2026-05-08", payout.next_cycle_end = "2026-05-15" } }]
            "#,
        );
    }

    #[test]
    fn after_a_payout_balance_peaks_and_days_are_as_the_policy_says() {
        let example = |after: &str, expect: &str| {
            holds(&format!(
                "[[example]]\nid = 'after'\nprogram.rules = [{{ kind = 'max_loss', trail = 'realised_balance', limit = {{ amount = \
                 '10000' }}, breach = 'below' }}]\nprogram.payout = {{ split = '100', conditions = [{{ kind = 'min_profitable_days', days = \
                 1, profit = {{ amount = '100' }}, since = 'payout' }}], after = {after} }}\nstep = [{{ day_profits = ['5000'] }}, {{ payout = \
                 '2000', expect = {{ {expect} }} }}]"
            ));
        };
        example("{ }", "account.balance = 103000, max_loss.floor = 95000, payout.eligible = false");
        example("{ keep_days = true }", "account.balance = 103000, payout.eligible = true");
        example("{ to_initial = true }", "account.balance = 100000, max_loss.floor = 95000");
        example("{ rebase_peaks = true }", "account.balance = 103000, max_loss.floor = 93000");
    }

    #[test]
    fn after_a_breach_only_the_named_rules_still_pay_within_their_days() {
        holds(
            r#"
            [program]
            rules = [
              { kind = "daily_loss", reference = "balance", limit = { amount = "1000" }, breach = "below" },
              { kind = "max_loss", trail = "static", limit = { amount = "500" }, breach = "below" },
            ]
            payout = { split = "80", after_breach = { rules = ["daily_loss"], share = "50", claim_days = 7 } }
            [[example]]
            id = "the daily loss"
            step = [
              { day_profits = ["5000"], equity = "100000" },
              { at = "2026-01-06 01:00", closed = "-1001", expect = { verdict = "breach", rule = "daily_loss" } },
              { at = "2026-01-13 01:00", expect = { payout.eligible = true, payout.profit = 3999, payout.payout = "1999.5", payout.claim_until = "2026-01-13T01:00:00Z" } },
              { after = "1s", payout = "all", expect = { verdict = "refused", rule = "claim", account.balance = 103999 } },
            ]
            [[example]]
            id = "it is paid once"
            program.rules = [{ kind = "daily_loss", reference = "balance", limit = { amount = "1000" }, breach = "below" }]
            step = [
              { day_profits = ["5000", "-2000"], expect = { verdict = "breach" } },
              { payout = "all", expect = { account.balance = 101500, payout.eligible = false, payout.missing = "once" } },
              { payout = "all", expect = { verdict = "refused", rule = "once" } },
            ]
            [[example]]
            id = "another rule"
            step = [{ equity = "99499", expect = { verdict = "breach", rule = "max_loss", payout.missing = "ended_by, amount" } }]
            "#,
        );
    }

    #[test]
    fn settings_that_cannot_be_are_refused_with_their_place() {
        let text = r#"
            name = "x"
            currency = "USD"
            initial_balance = "100"
            reset = { zone = "Etc/UTC", time = "00:00" }
            terms = { instruments = ["EURUSD"], leverage = 1, commission_per_lot = "0", stop_out = "50" }
            [[phases]]
            name = "Funded"
            rules = []
            payout = { split = "101", split_steps = [{ from_total = "5", split = "1" }, { from_total = "5", split = "1" }], min_amount = "0", buffer = { keep = { percent_of_profit = "101" } }, cap = { ladder = [] }, most_payouts = 0, conditions = [{ kind = "inactivity", days = 0 }, { kind = "consistency", share = "50", of = "profit_target" }], cycle = { from = "opening", first_days = 0, next_days = 1, inclusive = true }, after_breach = { rules = ["daily_los"], share = "50", claim_days = 7 } }
        "#;
        let Err(ProgramError::Invalid(faults)) = Program::from_toml(text) else { panic!("not refused") };
        let paths: Vec<_> =
            faults.iter().map(|fault| fault.path.trim_start_matches("phases[0].payout.")).collect();
        assert_eq!(
            paths,
            [
                "conditions[1].of",
                "split",
                "split_steps",
                "cycle",
                "min_amount",
                "buffer.keep",
                "cap.ladder",
                "most_payouts",
                "conditions[0]",
                "conditions[0].days",
                "after_breach.rules",
            ]
        );
        assert!(faults.last().unwrap().say.contains("did you mean daily_loss?"));
    }
}
