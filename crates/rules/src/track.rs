//! What the rules remember of an account.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kernel::{Amount, Overflow, Percent, ResetClock, Timestamp, TradingDay};
use serde::{Deserialize, Serialize};

use crate::effect::RuleError;
use crate::kinds::Note;
use crate::limit::Since;
use crate::{Closing, Effect, Fact, Finding, NewsEvent, OpenTrade, Opening, Phase, Rule, Scene, is_default};

/// What the rules remember of an account: the marks they measure from. The engine moves it, the rules read it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// The balance that shares are taken of: at opening, and the new size after the account was scaled.
    pub initial: Amount,
    /// When the account opened.
    pub opened_at: Timestamp,
    /// The running trading day.
    pub day: TradingDay,
    /// When it began: the last reset, or the opening on the first day.
    pub day_started_at: Timestamp,
    /// Balance when it began.
    pub day_start_balance: Amount,
    /// Equity when it began, open positions valued at the quotes standing then.
    pub day_start_equity: Amount,
    /// When it ends.
    pub next_reset: Timestamp,
    /// The highest values so far.
    pub peaks: Peaks,
    /// The highest values before the instant at which one of them was last raised.
    pub peaks_before: Peaks,
    /// That instant.
    pub peaks_at: Timestamp,
    /// Floors that are locked for good, by the places of their rules.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub locks: BTreeMap<usize, Lock>,
    /// What keeps the account from opening positions, if something does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held_back: Option<HeldBack>,
    /// Warnings of the running day: the rule and the share of its limit.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub warned: BTreeSet<(usize, Percent)>,
    /// When the running day of counting ends; the same as [`Track::next_reset`] unless the program counts days by
    /// another clock.
    pub next_day: Timestamp,
    /// Equity when the running day of counting began.
    pub today_start_equity: Amount,
    /// The running day of counting.
    pub today: Day,
    /// Finished days on which something happened, oldest first.
    #[serde(default, skip_serializing_if = "is_default")]
    pub days: Arc<Vec<Day>>,
    /// How many of them lie before the last payout.
    #[serde(default, skip_serializing_if = "is_default")]
    pub days_paid: usize,
    /// How many of them lie before the account last grew.
    #[serde(default, skip_serializing_if = "is_default")]
    pub days_grown: usize,
    /// When something last happened.
    pub activity: Activity,
    /// Open positions, by ticket.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub open: BTreeMap<u32, OpenTrade>,
    /// What rules remember for themselves, by their places.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub notes: BTreeMap<usize, Note>,
    /// Payouts, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub payouts: Vec<Paid>,
    /// What is not paid out because a rule says so.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deducted: Amount,
    /// What of [`Track::deducted`], and of what single rules keep back, a payout that left nothing behind has settled.
    #[serde(default, skip_serializing_if = "is_default")]
    pub deductions_settled: Amount,
    /// Whether a trade without a stop loss has ever closed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub unprotected: bool,
    /// The worst result of one trade so far.
    #[serde(default, skip_serializing_if = "is_default")]
    pub worst_trade: Amount,
    /// Rules that hold for this account in place of those of its program, by their places in the phase.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub overrides: BTreeMap<usize, Rule>,
    /// The firm's calendar of releases, as far as the account was told.
    #[serde(default, skip_serializing_if = "is_default")]
    pub calendar: Arc<Vec<NewsEvent>>,
    /// The kind of the rule that ended the account, and when.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended: Option<(Cow<'static, str>, Timestamp)>,
    /// What the account opened with.
    pub first_size: Amount,
    /// When the account grew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scaled: Vec<Timestamp>,
}

/// The highest values of an account so far; none is below the initial balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peaks {
    /// The equity at any price since opening; kept where a rule asks.
    pub equity: Amount,
    /// The equity at any price of the running day; kept where a rule asks.
    pub day_equity: Amount,
    /// The balance at any time.
    pub balance: Amount,
    /// The balance at any reset.
    pub day_end_balance: Amount,
    /// The higher of balance and equity at any reset.
    pub day_end_higher: Amount,
}

/// A floor that no longer moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Since when.
    pub at: Timestamp,
    /// Where.
    pub level: Amount,
}

/// Why no position may be opened, and until when.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldBack {
    /// The reset that ends it.
    pub until: Timestamp,
    /// The rule's place in its phase.
    pub rule: usize,
    /// Whether positions were closed or stay.
    pub effect: Effect,
}

/// When something last happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Activity {
    /// An order was placed; the opening of the account before the first.
    pub order: Timestamp,
    /// A position opened; the opening of the account before the first.
    pub open: Timestamp,
    /// A position closed; the opening of the account before the first.
    pub close: Timestamp,
    /// The first position opened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_open: Option<Timestamp>,
}

/// A payout that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Paid {
    /// When.
    pub at: Timestamp,
    /// What left the account.
    pub amount: Amount,
    /// The trader's share of it.
    pub share: Amount,
}

/// A day by the clock that counts days.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Day {
    /// Its name.
    pub day: TradingDay,
    /// Positions opened.
    #[serde(default, skip_serializing_if = "is_default")]
    pub opened: u32,
    /// Positions opened on it that have closed, then or later.
    #[serde(default, skip_serializing_if = "is_default")]
    pub completed: u32,
    /// Whether a position was open at any time.
    #[serde(default, skip_serializing_if = "is_default")]
    pub held: bool,
    /// Results closed on it, after commission.
    #[serde(default, skip_serializing_if = "is_default")]
    pub profit: Amount,
    /// Results of positions opened on it, after commission, whenever they closed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub booked: Amount,
    /// How far the equity moved from its start to its end, payouts left out.
    #[serde(default, skip_serializing_if = "is_default")]
    pub change: Amount,
    /// The best result of one position closed on it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub best_trade: Amount,
}

impl Day {
    const fn new(day: TradingDay, held: bool) -> Self {
        Self {
            day,
            opened: 0,
            completed: 0,
            held,
            profit: Amount::ZERO,
            booked: Amount::ZERO,
            change: Amount::ZERO,
            best_trade: Amount::ZERO,
        }
    }

    fn is_empty(&self) -> bool {
        *self == Self::new(self.day, false)
    }

    fn join(&mut self, later: &Self) -> Result<(), Overflow> {
        self.opened = self.opened.saturating_add(later.opened);
        self.completed = self.completed.saturating_add(later.completed);
        self.held |= later.held;
        self.profit = self.profit.plus(later.profit)?;
        self.booked = self.booked.plus(later.booked)?;
        self.change = self.change.plus(later.change)?;
        self.best_trade = self.best_trade.max(later.best_trade);
        Ok(())
    }
}

/// The clocks of a program.
#[derive(Debug, Clone, Copy)]
pub struct Clocks<'a> {
    /// Ends the trading day that losses are measured in.
    pub reset: &'a ResetClock,
    /// Ends the days that are counted.
    pub counting: &'a ResetClock,
}

impl Track {
    /// The track of an account that opens now, flat.
    pub fn open(initial: Amount, at: Timestamp, clocks: Clocks<'_>) -> Result<Self, RuleError> {
        let peaks = Peaks {
            equity: initial,
            day_equity: initial,
            balance: initial,
            day_end_balance: initial,
            day_end_higher: initial,
        };
        Ok(Self {
            initial,
            opened_at: at,
            day: clocks.reset.day_of(at)?,
            day_started_at: at,
            day_start_balance: initial,
            day_start_equity: initial,
            next_reset: clocks.reset.next_after(at)?,
            peaks,
            peaks_before: peaks,
            peaks_at: at,
            locks: BTreeMap::new(),
            held_back: None,
            warned: BTreeSet::new(),
            next_day: clocks.counting.next_after(at)?,
            today_start_equity: initial,
            today: Day::new(clocks.counting.day_of(at)?, false),
            days: Arc::default(),
            days_paid: 0,
            days_grown: 0,
            activity: Activity { order: at, open: at, close: at, first_open: None },
            open: BTreeMap::new(),
            notes: BTreeMap::new(),
            payouts: Vec::new(),
            deducted: Amount::ZERO,
            deductions_settled: Amount::ZERO,
            unprotected: false,
            worst_trade: Amount::ZERO,
            overrides: BTreeMap::new(),
            calendar: Arc::default(),
            ended: None,
            first_size: initial,
            scaled: Vec::new(),
        })
    }

    /// Takes notice of a balance and, where a rule of the phase asks for it, of an equity; true if a mark moved.
    pub fn observe(
        &mut self,
        phase: &Phase,
        at: Timestamp,
        balance: Amount,
        equity: Option<Amount>,
    ) -> Result<bool, RuleError> {
        let mut peaks = self.peaks;
        peaks.balance = peaks.balance.max(balance);
        if let Some(equity) = equity {
            peaks.equity = peaks.equity.max(equity);
            peaks.day_equity = peaks.day_equity.max(equity);
        }
        let raised = self.raise(at, peaks);
        let locked = crate::kinds::lock_reached(phase, self, at, balance, equity)?;
        Ok(raised || locked)
    }

    fn raise(&mut self, at: Timestamp, peaks: Peaks) -> bool {
        if peaks == self.peaks {
            return false;
        }
        if at > self.peaks_at {
            (self.peaks_before, self.peaks_at) = (self.peaks, at);
        }
        self.peaks = peaks;
        true
    }

    /// Takes notice of the highest equity of a while, during which nothing but prices moved it: when it was first reached
    /// and the highest before that instant. The same as [`Track::observe`] with every equity of the while; true if a peak
    /// rose.
    pub fn recall(&mut self, at: Timestamp, highest: Amount, before: Amount) -> bool {
        let raised = |peaks: Peaks, equity: Amount| Peaks {
            equity: peaks.equity.max(equity),
            day_equity: peaks.day_equity.max(equity),
            ..peaks
        };
        let peaks = raised(self.peaks, highest);
        if peaks == self.peaks {
            return false;
        }
        if at > self.peaks_at {
            (self.peaks_before, self.peaks_at) = (raised(self.peaks, before), at);
        }
        self.peaks = peaks;
        true
    }

    /// Equities above it raise a peak.
    pub fn peak(&self) -> Amount {
        self.peaks.equity.min(self.peaks.day_equity)
    }

    /// The peaks as they were before an instant.
    pub(crate) fn peaks_before(&self, at: Timestamp) -> &Peaks {
        if self.peaks_at < at { &self.peaks } else { &self.peaks_before }
    }

    /// Takes notice of a fact and lets every rule do so; what they find, in the order of the rules.
    pub fn notice(&mut self, scene: &Scene<'_>, fact: &Fact) -> Result<Vec<Finding>, RuleError> {
        match fact {
            Fact::Ordered => self.activity.order = scene.at,
            Fact::Opened(opening) => self.opened(scene.at, opening)?,
            Fact::StopMoved { trade, risk } => {
                if let Some(trade) = self.open.get_mut(trade) {
                    trade.unprotected |= trade.risk.is_none() || risk.is_none();
                    trade.risk = *risk;
                }
            }
            Fact::Closed(_) | Fact::Floating(_) | Fact::Time | Fact::Review => {}
        }
        let mut found = Vec::new();
        for (index, rule) in scene.phase.rules_and_conditions() {
            found.extend(rule.answers().notice(index, scene, self, fact)?);
        }
        for finding in found.iter().filter(|finding| finding.effect == Effect::Deduct) {
            if let Some(trade) = finding.trade.and_then(|trade| self.open.get_mut(&trade)) {
                trade.deducted.get_or_insert_default();
            }
        }
        if let Fact::Closed(closing) = fact {
            self.closed(scene.at, closing)?;
        }
        Ok(found)
    }

    /// Learns the firm's calendar: the releases to come, and those whose windows may still run. Tell the rules of the
    /// time first ([`Fact::Time`]): a release that was not known when it came is held against nobody.
    pub fn learn(&mut self, at: Timestamp, events: &[NewsEvent]) -> Result<(), RuleError> {
        let from = at.before(crate::kinds::LONGEST_WINDOW)?;
        let mut calendar: Vec<_> = events.iter().filter(|event| event.at >= from).cloned().collect();
        calendar.sort_by(|left, right| (left.at, &left.name).cmp(&(right.at, &right.name)));
        self.calendar = Arc::new(calendar);
        Ok(())
    }

    fn opened(&mut self, at: Timestamp, opening: &Opening) -> Result<(), RuleError> {
        self.activity.open = at;
        self.activity.first_open.get_or_insert(at);
        self.today.opened = self.today.opened.saturating_add(1);
        self.today.held = true;
        self.today.profit = self.today.profit.minus(opening.cost)?;
        self.today.booked = self.today.booked.minus(opening.cost)?;
        let trade = OpenTrade {
            symbol: opening.symbol.clone(),
            side: opening.side,
            lots: opening.lots,
            opened_at: at,
            day: self.today.day,
            notional: opening.notional,
            risk: opening.risk,
            unprotected: opening.risk.is_none(),
            profit: opening.cost.negated()?,
            deducted: None,
            spoken: Vec::new(),
        };
        self.open.insert(opening.trade, trade);
        Ok(())
    }

    fn closed(&mut self, at: Timestamp, closing: &Closing) -> Result<(), RuleError> {
        self.activity.close = at;
        self.today.profit = self.today.profit.plus(closing.profit)?;
        let Some(trade) = self.open.get_mut(&closing.trade) else { return Ok(()) };
        trade.profit = trade.profit.plus(closing.profit)?;
        trade.lots = trade.lots.minus(closing.lots)?;
        let (day, profit) = (trade.day, trade.profit);
        if let Some(before) = &mut trade.deducted {
            let now = profit.max(Amount::ZERO);
            self.deducted = self.deducted.plus(now)?.minus(*before)?;
            *before = now;
        }
        if closing.whole {
            self.unprotected |= trade.unprotected;
            self.open.remove(&closing.trade);
            self.today.best_trade = self.today.best_trade.max(profit);
            self.worst_trade = self.worst_trade.min(profit);
        }
        let record = if self.today.day == day {
            Some(&mut self.today)
        } else {
            Arc::make_mut(&mut self.days).iter_mut().rev().find(|record| record.day == day)
        };
        if let Some(record) = record {
            record.booked = record.booked.plus(closing.profit)?;
            record.completed = record.completed.saturating_add(u32::from(closing.whole));
        }
        Ok(())
    }

    /// Ends the trading day at its reset: the next day is measured from what stood at that instant, whether or
    /// not anybody trades in it.
    pub fn reset(&mut self, clocks: Clocks<'_>, balance: Amount, equity: Amount) -> Result<(), RuleError> {
        let at = self.next_reset;
        self.day = clocks.reset.day_of(at)?;
        self.day_started_at = at;
        self.next_reset = clocks.reset.next_after(at)?;
        self.day_start_balance = balance;
        self.day_start_equity = equity;
        let mut peaks = self.peaks;
        peaks.day_end_balance = peaks.day_end_balance.max(balance);
        peaks.day_end_higher = peaks.day_end_higher.max(balance).max(equity);
        peaks.day_equity = equity;
        self.raise(at, peaks);
        self.warned.clear();
        self.held_back = self.held_back.filter(|held| held.until > at);
        Ok(())
    }

    /// Ends the day of counting.
    pub fn end_day(&mut self, clocks: Clocks<'_>, equity: Amount) -> Result<(), RuleError> {
        let at = self.next_day;
        self.keep_today(clocks.counting.day_of(at)?, equity)?;
        self.next_day = clocks.counting.next_after(at)?;
        Ok(())
    }

    fn keep_today(&mut self, next: TradingDay, equity: Amount) -> Result<(), RuleError> {
        self.today.change = equity.minus(self.today_start_equity)?;
        let today = std::mem::replace(&mut self.today, Day::new(next, !self.open.is_empty()));
        self.today_start_equity = equity;
        if !today.is_empty() {
            Arc::make_mut(&mut self.days).push(today);
        }
        Ok(())
    }

    /// Takes notice of money that left the account: what stood before and after, and whether the days that count for
    /// the next payout begin anew. What left is no loss of the day: its marks fall with the balance.
    pub(crate) fn paid(
        &mut self,
        before: Amount,
        after: Amount,
        paid: Paid,
        restart: bool,
    ) -> Result<(), RuleError> {
        let day = self.today.day;
        self.keep_today(day, before)?;
        self.today_start_equity = after;
        let left = before.minus(after)?;
        for mark in [
            &mut self.day_start_balance,
            &mut self.day_start_equity,
            &mut self.peaks.day_equity,
            &mut self.peaks_before.day_equity,
        ] {
            *mark = mark.minus(left)?;
        }
        if restart {
            self.days_paid = self.days.len();
        }
        self.payouts.push(paid);
        Ok(())
    }

    /// Sets the peaks back to a balance.
    pub(crate) fn rebase(&mut self, balance: Amount) {
        self.peaks = Peaks {
            equity: balance,
            day_equity: self.peaks.day_equity,
            balance,
            day_end_balance: balance,
            day_end_higher: balance,
        };
        self.peaks_before = self.peaks;
    }

    /// Grows the account: everything that is measured from grows by the same amount.
    pub(crate) fn grow(&mut self, at: Timestamp, equity: Amount, more: Amount) -> Result<(), RuleError> {
        self.scaled.push(at);
        let day = self.today.day;
        self.keep_today(day, equity)?;
        self.days_grown = self.days.len();
        for mark in [
            &mut self.initial,
            &mut self.day_start_balance,
            &mut self.day_start_equity,
            &mut self.today_start_equity,
            &mut self.peaks.equity,
            &mut self.peaks.day_equity,
            &mut self.peaks.balance,
            &mut self.peaks.day_end_balance,
            &mut self.peaks.day_end_higher,
        ] {
            *mark = mark.plus(more)?;
        }
        for lock in self.locks.values_mut() {
            lock.level = lock.level.plus(more)?;
        }
        self.peaks_before = self.peaks;
        Ok(())
    }

    /// The days from an opening or a payout on, each once, the running day last; `equity` is the one of now.
    pub fn days_since(&self, since: Since, equity: Amount) -> Result<Vec<Day>, RuleError> {
        self.days_after(
            match since {
                Since::Opening => 0,
                Since::Payout => self.days_paid,
            },
            equity,
        )
    }

    /// The days since the account last grew, as [`Track::days_since`] gives them.
    pub(crate) fn days_since_growth(&self, equity: Amount) -> Result<Vec<Day>, RuleError> {
        self.days_after(self.days_grown, equity)
    }

    fn days_after(&self, skipped: usize, equity: Amount) -> Result<Vec<Day>, RuleError> {
        let mut today = self.today.clone();
        today.change = equity.minus(self.today_start_equity)?;
        let mut days: Vec<Day> = Vec::new();
        for day in self.days.iter().skip(skipped).chain(std::iter::once(&today)) {
            match days.last_mut() {
                Some(last) if last.day == day.day => last.join(day)?,
                Some(_) | None => days.push(day.clone()),
            }
        }
        Ok(days)
    }

    /// What keeps the account from opening positions at an instant.
    pub fn held_back_at(&self, at: Timestamp) -> Option<HeldBack> {
        self.held_back.filter(|held| at < held.until)
    }
}
