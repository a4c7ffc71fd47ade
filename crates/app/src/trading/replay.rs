//! The history of a shard, applied again: journal and quote log give the same events, answers and state. Beside it the
//! same history may run under other rules ([`Replay::beside`]); `docs/adr/0011` says what that means.

use std::collections::{BTreeMap, BTreeSet};

use engine::{Act, Engine, EngineError, Event, Input, Order, Outcome, Ticket, What};
use kernel::{AccountId, Timestamp};

use super::port::{Journaled, LoggedQuote, LoggedQuotes};
use super::shard::apply_quote;
use crate::BoxError;

/// By which rules an engine judges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum By {
    /// Those that the accounts were bought with.
    Own,
    /// Others, put in their place.
    Other,
}

/// What a replay tells while it goes on, in order.
#[derive(Debug)]
pub enum Told<'a> {
    /// A command was answered.
    Answer {
        /// By which engine.
        by: By,
        /// The command with the answer it got then.
        entry: &'a Journaled,
        /// The answer it gets now.
        now: Option<Outcome>,
    },
    /// Something happened.
    Event {
        /// In which engine.
        by: By,
        /// What.
        event: &'a Event,
        /// The last quote applied before, or the one that caused it.
        quote: u64,
    },
}

/// Somebody who listens to a replay.
pub trait Witness {
    /// Takes notice.
    fn told(&mut self, told: Told<'_>);
}

/// Why a history cannot be applied again.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The journal or the quote log cannot be read.
    #[error("reading the history")]
    Reading(#[source] BoxError),
    /// The engine stopped.
    #[error("applying the history under the accounts' own rules")]
    Engine(#[source] EngineError),
    /// The engine stopped under the other rules, for instance because its numbers left their range.
    #[error("applying the history under the other rules")]
    OtherEngine(#[source] EngineError),
}

/// Places of the quote log, the first and the last.
pub type Places = (u64, u64);

/// The most ranges of missing quotes that are remembered.
const MOST_RANGES: usize = 100;

/// A history on its way through an engine, or through two.
pub struct Replay {
    quotes: LoggedQuotes,
    /// The last place to be applied.
    upto: u64,
    /// The last place read, or `upto` once the log has ended.
    read: u64,
    /// Read, and not due yet.
    waiting: Option<LoggedQuote>,
    /// The last place applied.
    at: u64,
    missing: Vec<Places>,
    only: Option<BTreeSet<AccountId>>,
    own: Engine,
    other: Option<Other>,
    events: Vec<Event>,
    commands: u64,
    applied: u64,
}

impl std::fmt::Debug for Replay {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Replay")
            .field("at", &self.at)
            .field("upto", &self.upto)
            .finish_non_exhaustive()
    }
}

/// The engine with the other rules, and which of its tickets stand for which.
struct Other {
    engine: Engine,
    tickets: BTreeMap<AccountId, Tickets>,
}

/// The tickets of one account. Once an order is refused under one program and taken under the other, the numbers that
/// follow differ, so a command names its order or position by the order that the same command placed.
#[derive(Default)]
struct Tickets {
    /// Orders under the own rules, with the ones under the others.
    orders: BTreeMap<Ticket, Ticket>,
    /// Positions under the own rules, with their orders.
    opened_by: BTreeMap<Ticket, Ticket>,
    /// Orders under the other rules, with their positions.
    opens: BTreeMap<Ticket, Ticket>,
}

/// Names no order and no position.
const NOWHERE: Ticket = Ticket(u32::MAX);

impl Replay {
    /// From the first quote up to a place, on an engine that knows every program. `quotes` begins at the first place
    /// that is left; what is missing is told by [`missing`](Self::missing).
    pub fn new(own: Engine, quotes: LoggedQuotes, upto: u64) -> Self {
        Self {
            quotes,
            upto,
            read: 0,
            waiting: None,
            at: 0,
            missing: Vec::new(),
            only: None,
            own,
            other: None,
            events: Vec::new(),
            commands: 0,
            applied: 0,
        }
    }

    /// Only the commands of these accounts; of the others only their time. Accounts do not know each other, so these
    /// come out as if all were there. All accounts of a challenge belong together.
    #[must_use]
    pub fn only(self, accounts: BTreeSet<AccountId>) -> Self {
        Self { only: Some(accounts), ..self }
    }

    /// Beside it the same history on an engine that knows other programs under the names of the own ones.
    #[must_use]
    pub fn beside(self, other: Engine) -> Self {
        Self { other: Some(Other { engine: other, tickets: BTreeMap::new() }), ..self }
    }

    /// Applies a part of the journal and the quotes before each command.
    pub fn apply(&mut self, journal: &[Journaled], witness: &mut dyn Witness) -> Result<(), ReplayError> {
        for entry in journal {
            self.quotes_upto(entry.after_quote, witness)?;
            let at = entry.at.max(self.own.now());
            if self.only.as_ref().is_none_or(|only| only.contains(&entry.command.account)) {
                self.command(at, entry, witness)?;
                self.commands = self.commands.saturating_add(1);
            } else {
                self.clock(at, witness)?;
            }
        }
        Ok(())
    }

    /// Applies the rest of the quotes and the time up to an instant.
    pub fn finish(&mut self, at: Timestamp, witness: &mut dyn Witness) -> Result<(), ReplayError> {
        self.quotes_upto(self.upto, witness)?;
        let last = self.at;
        if last < self.upto {
            self.miss(last.saturating_add(1), self.upto);
        }
        self.clock(at, witness)?;
        // Whoever looks at the accounts now finds their peaks in them.
        for engine in std::iter::once(&mut self.own).chain(self.other.as_mut().map(|other| &mut other.engine))
        {
            engine.settle().map_err(ReplayError::Engine)?;
        }
        Ok(())
    }

    /// The engine with the own rules.
    pub fn own(&self) -> &Engine {
        &self.own
    }

    /// The engine with the other rules.
    pub fn other(&self) -> Option<&Engine> {
        self.other.as_ref().map(|other| &other.engine)
    }

    /// Commands applied.
    pub fn commands(&self) -> u64 {
        self.commands
    }

    /// Quotes applied.
    pub fn quotes(&self) -> u64 {
        self.applied
    }

    /// Places that the log does not hold (any more), at most a hundred ranges.
    pub fn missing(&self) -> &[Places] {
        &self.missing
    }

    fn miss(&mut self, first: u64, last: u64) {
        if self.missing.len() < MOST_RANGES {
            self.missing.push((first, last));
        }
    }

    fn clock(&mut self, at: Timestamp, witness: &mut dyn Witness) -> Result<(), ReplayError> {
        let at = at.max(self.own.now());
        self.own.apply(at, &Input::Clock, &mut self.events).map_err(ReplayError::Engine)?;
        self.tell(By::Own, witness);
        if let Some(other) = &mut self.other {
            let at = at.max(other.engine.now());
            other.engine.apply(at, &Input::Clock, &mut self.events).map_err(ReplayError::OtherEngine)?;
            self.tell(By::Other, witness);
        }
        Ok(())
    }

    fn command(
        &mut self,
        at: Timestamp,
        entry: &Journaled,
        witness: &mut dyn Witness,
    ) -> Result<(), ReplayError> {
        let account = entry.command.account;
        let known = self.own.account(account).map(|account| account.next.ticket);
        let input = Input::Command(entry.command.clone());
        let answered = self.own.apply(at, &input, &mut self.events).map_err(ReplayError::Engine)?;
        let own = answered.map(|answered| answered.outcome);
        witness.told(Told::Answer { by: By::Own, entry, now: own });
        self.tell(By::Own, witness);
        let Some(other) = &mut self.other else { return Ok(()) };
        let at = at.max(other.engine.now());
        // A command to an account that is not there brings no time with it.
        other.engine.apply(at, &Input::Clock, &mut self.events).map_err(ReplayError::OtherEngine)?;
        let tickets = other.tickets.entry(account).or_default();
        let next = other.engine.account(account).map_or(0, |account| account.next.ticket);
        let act =
            on_tickets(&entry.command.act, |ticket| tickets.of(ticket, known.unwrap_or_default(), next));
        let input = Input::Command(engine::Command { act, ..entry.command.clone() });
        let answered = other.engine.apply(at, &input, &mut self.events).map_err(ReplayError::OtherEngine)?;
        let now = answered.map(|answered| answered.outcome);
        if let (Some(Ok(engine::Done::Order(own))), Some(Ok(engine::Done::Order(other)))) = (own, now) {
            tickets.orders.insert(own, other);
        }
        witness.told(Told::Answer { by: By::Other, entry, now });
        self.tell(By::Other, witness);
        Ok(())
    }

    fn quotes_upto(&mut self, upto: u64, witness: &mut dyn Witness) -> Result<(), ReplayError> {
        while let Some(quote) = self.next_quote(upto)? {
            if quote.position > self.at.saturating_add(1) {
                self.miss(self.at.saturating_add(1), quote.position.saturating_sub(1));
            }
            self.at = quote.position;
            self.applied = self.applied.saturating_add(1);
            apply_quote(&mut self.own, &quote, &mut self.events).map_err(ReplayError::Engine)?;
            self.tell(By::Own, witness);
            if let Some(other) = &mut self.other {
                apply_quote(&mut other.engine, &quote, &mut self.events).map_err(ReplayError::OtherEngine)?;
                self.tell(By::Other, witness);
            }
        }
        Ok(())
    }

    /// The next quote up to a place. Nothing behind the last place is read: there the log may just be written.
    fn next_quote(&mut self, upto: u64) -> Result<Option<LoggedQuote>, ReplayError> {
        if self.waiting.is_none() && self.read < self.upto {
            self.waiting = self.quotes.next().transpose().map_err(ReplayError::Reading)?;
            self.read = self.waiting.as_ref().map_or(self.upto, |quote| quote.position);
        }
        Ok(self.waiting.take_if(|quote| quote.position <= upto))
    }

    fn tell(&mut self, by: By, witness: &mut dyn Witness) {
        for event in self.events.drain(..) {
            if let Some(other) = &mut self.other
                && let Some(order) = order_of(&event)
                && let Some(position) = order.position
            {
                let tickets = other.tickets.entry(event.account).or_default();
                match by {
                    By::Own => tickets.opened_by.insert(position, order.ticket),
                    By::Other => tickets.opens.insert(order.ticket, position),
                };
            }
            witness.told(Told::Event { by, event: &event, quote: self.at });
        }
    }
}

impl Tickets {
    /// The ticket under the other rules of what has this one under the own. `known` and `next` are the numbers that
    /// come next on either side.
    fn of(&self, own: Ticket, known: u32, next: u32) -> Ticket {
        let given = |next: u32| (1..next).contains(&own.0);
        if !given(known) {
            // Nobody has ever had it, and nobody shall have it here.
            return if given(next) { NOWHERE } else { own };
        }
        let order = self.orders.get(&own).copied();
        order
            .or_else(|| self.opens.get(self.orders.get(self.opened_by.get(&own)?)?).copied())
            .unwrap_or(NOWHERE)
    }
}

/// A command's order or position by another number.
fn on_tickets(act: &Act, of: impl Fn(Ticket) -> Ticket) -> Act {
    let mut act = act.clone();
    match &mut act {
        Act::Open(_)
        | Act::Place(_)
        | Act::Promote
        | Act::Payout { .. }
        | Act::Grow
        | Act::Override { .. }
        | Act::Calendar(_)
        | Act::Hold { .. } => {}
        Act::Cancel { order: ticket }
        | Act::ChangeOrder { order: ticket, .. }
        | Act::ChangePosition { position: ticket, .. }
        | Act::Close { position: ticket, .. } => *ticket = of(*ticket),
    }
    act
}

fn order_of(event: &Event) -> Option<&Order> {
    if let What::Order(order) = &event.what { Some(order) } else { None }
}
