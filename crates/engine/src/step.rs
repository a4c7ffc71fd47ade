//! One account acting at one instant.

use kernel::{Amount, Timestamp};

use crate::command::Open;
use crate::core::Held;
use crate::{Account, Cause, EngineError, Entry, EntryKind, Event, Market, Reset, Status, What};

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
        if !self.is_active() || self.judge_loss()? {
            return Ok(());
        }
        if self.fire_triggers()? || self.stop_out()? {
            self.settle()?;
        } else if self.held.passes_open {
            self.judge_pass()?;
        }
        Ok(())
    }

    /// The account's due instant has come: the reset, a deadline, or both.
    pub(crate) fn time_passed(&mut self) -> Result<(), EngineError> {
        if self.held.account.track.next_reset <= self.at {
            let currency = self.held.program.currency;
            let balance = self.held.account.balance;
            let equity = self.held.account.equity(self.market, currency)?;
            self.held.account.track.reset(&self.held.program.reset, balance, equity)?;
            self.held.refresh_floors()?;
            let day = self.held.account.track.day;
            self.emit(What::Reset(Reset { day, balance, equity }));
            self.settle()?;
        }
        self.cause = Cause::Deadline;
        self.judge_deadline()
    }

    /// After anything that may have changed balance or holdings: losses first, then margin, then the target.
    pub(crate) fn settle(&mut self) -> Result<(), EngineError> {
        if self.is_active() && !self.judge_loss()? {
            self.stop_out()?;
            if self.is_active() {
                self.judge_pass()?;
            }
        }
        Ok(())
    }

    pub(crate) fn book(&mut self, kind: EntryKind, amount: Amount, fill: u32) -> Result<(), EngineError> {
        let account = self.account();
        account.balance = account.balance.plus(amount)?;
        let number = take_number(&mut account.next.entry)?;
        let balance = account.balance;
        self.emit(What::Entry(Entry { number, kind, amount, balance, fill: Some(fill) }));
        Ok(())
    }
}

/// The next number of a series.
pub(crate) fn take_number(next: &mut u32) -> Result<u32, EngineError> {
    let number = *next;
    *next = number.checked_add(1).ok_or(kernel::Overflow)?;
    Ok(number)
}
