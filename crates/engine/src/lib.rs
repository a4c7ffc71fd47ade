//! The trading core: a deterministic state machine, `apply(state, input) -> events`.
//!
//! **For:** quotes, orders, positions, equity, floors tested at every quote, verdicts with their evidence. Inputs
//! carry their time and come in one order; the same inputs give the same events and the same [`Engine::state_hash`],
//! however they are batched and whether live or replayed.
//!
//! Not everybody is looked at with every quote: [`watch`] knows whom it concerns. [`Engine::scanning`] looks at all and must
//! say the same. Peaks of the equity are read from the prices when they are needed: whoever stores the state calls
//! [`Engine::settle_some`] and [`Engine::take_changed`], stores [`Engine::mark`] with what they gave, and hands the quotes since
//! the mark to [`Engine::restore`].
//!
//! **Must not know:** a clock, chance, IO, floats, who stores it or who asks. A verdict comes from nowhere else.
//!
//! **To add a command:** a variant of [`Act`], its arm in `trade.rs`, its refusals in the order of [`Refusal`], and
//! cases in `tests/`. **To add an input of time** (swap, session end): a due instant in `Held::due`, its arm in
//! [`Engine::apply`]'s advance; time is due by itself, so a clock input changes nothing that a later input would not.

mod account;
mod command;
mod core;
mod event;
mod forecast;
mod gate;
mod instrument;
mod judge;
mod market;
mod receipt;
mod step;
mod trade;
pub mod watch;
mod watching;

pub use account::{
    Account, Answer, Answers, Counters, FillReason, KEY_MEMORY, Order, OrderKind, OrderState, Position,
    Status, Ticket,
};
pub use command::{Act, Change, Command, Done, Fingerprint, Key, Open, Outcome, Place, Refusal};
pub use core::{Answered, Changed, Engine, Input, Mark, Past, RestoreError, Restored, Resumed, View};
pub use event::{
    Cause, Entry, EntryKind, Event, Fill, Override, Quoted, Rate, Reset, Valued, Verdict, VerdictKind, What,
};
pub use forecast::{ComingReset, FiringPrice, Forecast, RuleFigures};
pub use gate::{Gate, GateRefusal};
pub use instrument::{Instrument, InstrumentError, InstrumentId, Instruments, Route};
pub use market::{Market, Quote, Readiness, Standing, Worth};
pub use receipt::{Latency, Receipt, Unproven, WORDING, derivation, explain, headline, label, shown};
pub use trade::MOST_TICKETS;

/// Something that inputs checked at the door cannot cause. The shard stops rather than guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum EngineError {
    /// A result left its integer.
    #[error(transparent)]
    Overflow(#[from] kernel::Overflow),
    /// An instant outside the calendar.
    #[error("an instant outside the calendar")]
    Time,
    /// An input older than the last.
    #[error("an input is older than the one before it")]
    TimeRunsBackwards,
    /// Quotes whose places in the quote log do not rise.
    #[error("a quote is not behind the one before it in the quote log")]
    QuotesOutOfOrder,
    /// A position without a price. It is never valued at its entry instead.
    #[error("an open position has no price")]
    MissingPrice,
    /// An account whose program was not handed in.
    #[error("an account's program is not known")]
    UnknownProgram,
    /// A value that could not be encoded for hashing.
    #[error("a value could not be encoded")]
    Encoding,
}

impl From<rules::RuleError> for EngineError {
    fn from(error: rules::RuleError) -> Self {
        match error {
            rules::RuleError::Overflow(overflow) => Self::Overflow(overflow),
            rules::RuleError::Time(_) => Self::Time,
        }
    }
}

impl From<kernel::TimeError> for EngineError {
    fn from(_: kernel::TimeError) -> Self {
        Self::Time
    }
}
