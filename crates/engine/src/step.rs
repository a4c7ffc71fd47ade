//! One account acting at one instant.

use kernel::{Amount, Timestamp};
use rules::{Effect, Fact, HeldBack};

use crate::command::Open;
use crate::core::Held;
use crate::{
    Account, Cause, EngineError, Entry, EntryKind, Event, FillReason, Market, OrderState, Reset, Status,
    VerdictKind, What,
};

/// What an account may see and change while it acts. `trade.rs` holds what it does, `judge.rs` what the rules say.
pub(crate) struct Step<'a> {
    pub market: &'a Market,
    pub held: &'a mut Held,
    pub at: Timestamp,
    pub cause: Cause,
    pub events: &'a mut Vec<Event>,
    /// Something that must be stored changed.
    pub changed: bool,
    /// Positions or orders came or went: the engine updates who watches what.
    pub holdings_changed: bool,
    /// What was last traded in this step: its quote belongs to the evidence.
    pub traded: Option<crate::InstrumentId>,
    /// The account to open because this one passed.
    pub successor: Option<Open>,
}

impl Step<'_> {
    pub(crate) fn account(&mut self) -> &mut Account {
        &mut self.held.account
    }

    pub(crate) fn is_active(&self) -> bool {
        self.held.account.status == Status::Active
    }

    pub(crate) fn emit(&mut self, what: What) {
        self.changed = true;
        self.events.push(Event { account: self.held.account.id, at: self.at, what });
    }

    /// A price of something the account holds, waits for or converts at has moved. The floors come first: the
    /// equity of this quote decides, whatever the account's own orders make of the quote.
    pub(crate) fn price_moved(&mut self) -> Result<(), EngineError> {
        if !self.is_active() || self.judge_loss(false)? {
            return Ok(());
        }
        if self.held.needs_floating {
            self.tell_floating()?;
        }
        // What a rule has just closed is settled like what an order has.
        if self.fire_triggers()? || self.stop_out()? || self.holdings_changed {
            self.settle()?;
        } else if self.held.passes_open {
            self.judge_pass(false)?;
        }
        Ok(())
    }

    /// The account's due instant has come: the end of a day, a deadline, or several of them.
    pub(crate) fn time_passed(&mut self) -> Result<(), EngineError> {
        let program = std::sync::Arc::clone(&self.held.program);
        let equity = self.held.account.equity(self.market, program.currency)?;
        let at = self.at;
        let track = &mut self.held.account.track;
        if track.next_day <= at {
            track.end_day(program.clocks(), equity)?;
            self.changed = true;
        }
        if self.held.account.track.next_reset <= at {
            // What is measured at the reset is measured on the day that ends.
            self.cause = Cause::DayEnd;
            if self.judge_loss(true)? {
                return Ok(());
            }
            self.cause = Cause::Reset;
            let balance = self.held.account.balance;
            let equity = self.held.account.equity(self.market, program.currency)?;
            self.held.account.track.reset(program.clocks(), balance, equity)?;
            self.held.refresh_floors()?;
            let day = self.held.account.track.day;
            self.emit(What::Reset(Reset { day, balance, equity }));
            self.settle()?;
        }
        self.cause = Cause::Deadline;
        if !self.is_active() {
            return Ok(());
        }
        let deadlines = rules::deadlines(&self.held.scene(at, equity), &self.held.account.track)?;
        if deadlines.first().is_some_and(|deadline| deadline.at <= at) {
            self.tell(&Fact::Time)?;
            self.settle()?;
        }
        Ok(())
    }

    /// After anything that may have changed balance or holdings: losses first, then margin, then the target.
    pub(crate) fn settle(&mut self) -> Result<(), EngineError> {
        if self.is_active() && !self.judge_loss(false)? {
            self.stop_out()?;
            if self.is_active() {
                self.judge_pass(false)?;
            }
        }
        Ok(())
    }

    /// Tells the rules of a fact. Every finding is said with its evidence before anything is done about it; of several
    /// the hardest is done.
    pub(crate) fn tell(&mut self, fact: &Fact) -> Result<(), EngineError> {
        let equity = self.held.account.equity(self.market, self.held.program.currency)?;
        // Of an account that is over nothing is said any more.
        let before = self.is_active().then(|| self.held.account.track.clone());
        let balance = self.held.account.balance;
        let phase = std::sync::Arc::clone(&self.held.phase);
        let calendar = std::sync::Arc::clone(&self.held.account.track.calendar);
        let scene = rules::Scene { phase: &phase, calendar: &calendar, at: self.at, balance, equity };
        let found = self.held.account.track.notice(&scene, fact)?;
        let Some(before) = before else {
            self.changed = true;
            return Ok(());
        };
        self.changed |= before != self.held.account.track;
        let mut hardest: Option<(usize, Effect)> = None;
        for finding in found {
            let (rule, effect) = (finding.rule, finding.effect);
            let told = Some((fact, before.clone()));
            let verdict = self.evidence(VerdictKind::of(effect), finding, None, told)?;
            self.emit(What::Verdict(Box::new(verdict)));
            if hardest.is_none_or(|(_, before)| effect > before) {
                hardest = Some((rule, effect));
            }
            if effect.ends() {
                break;
            }
        }
        hardest.map_or(Ok(()), |(rule, effect)| self.act_on(rule, effect))
    }

    fn tell_floating(&mut self) -> Result<(), EngineError> {
        let currency = self.held.program.currency;
        let mut floating = Vec::with_capacity(self.held.account.positions.len());
        for (ticket, position) in &self.held.account.positions {
            floating.push((ticket.0, position.worth(self.market, currency)?.profit));
        }
        if floating.is_empty() { Ok(()) } else { self.tell(&Fact::Floating(floating)) }
    }

    /// Does what a rule that fired asks for.
    pub(crate) fn act_on(&mut self, rule: usize, effect: Effect) -> Result<(), EngineError> {
        match effect {
            Effect::Warn | Effect::Flag | Effect::Deduct | Effect::Refuse => {}
            Effect::Hard => return self.end(Status::Breached, rule),
            Effect::Expire => return self.end(Status::Expired, rule),
            Effect::Close => self.flatten(OrderState::HeldBack)?,
            Effect::Pause | Effect::Soft => {
                // At the end of a day it is the day to come that is lost.
                let next = self.held.account.track.next_reset;
                let until =
                    if next > self.at { next } else { self.held.program.reset.next_after(self.at)? };
                let held_back = &mut self.held.account.track.held_back;
                if held_back.is_none_or(|held| held.effect <= effect) {
                    *held_back = Some(HeldBack { until, rule, effect });
                }
                if effect == Effect::Soft {
                    self.flatten(OrderState::HeldBack)?;
                } else {
                    self.take_orders_back(OrderState::HeldBack);
                }
            }
        }
        self.held.refresh_floors()
    }

    /// Closes every position at the standing quotes and takes every order back.
    pub(crate) fn flatten(&mut self, state: OrderState) -> Result<(), EngineError> {
        let open: Vec<_> = self
            .held
            .account
            .positions
            .iter()
            .map(|(ticket, position)| (*ticket, position.quantity))
            .collect();
        self.take_orders_back(state);
        for (ticket, quantity) in open {
            self.close(ticket, quantity, FillReason::Liquidation)?;
        }
        Ok(())
    }

    pub(crate) fn take_orders_back(&mut self, state: OrderState) {
        let at = self.at;
        for mut order in std::mem::take(&mut self.account().orders).into_values() {
            order.state = state;
            order.done_at = Some(at);
            self.emit(What::Order(order));
        }
        self.holdings_changed = true;
    }

    pub(crate) fn book(
        &mut self,
        kind: EntryKind,
        amount: Amount,
        fill: Option<u32>,
    ) -> Result<(), EngineError> {
        let account = self.account();
        account.balance = account.balance.plus(amount)?;
        let number = take_number(&mut account.next.entry)?;
        let balance = account.balance;
        self.emit(What::Entry(Entry { number, kind, amount, balance, fill }));
        Ok(())
    }
}

/// The next number of a series.
pub(crate) fn take_number(next: &mut u32) -> Result<u32, EngineError> {
    let number = *next;
    *next = number.checked_add(1).ok_or(kernel::Overflow)?;
    Ok(number)
}
