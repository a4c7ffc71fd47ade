//! The firm's books: every amount that it earns, owes, pays or gives back, in double entry.
//!
//! A [`Transfer`] moves an amount from one [`Account`] to another, an [`Entry`] is what happened at once, a [`Hold`] keeps money
//! back for a payout that is under way. [`posting`] says which event posts what. Everything here is pure; what it decides is
//! written in the transaction of its cause by whoever fills [`LedgerStore`]. Why it is built like this: docs/adr/0031.
//!
//! **To add an account:** a line in [`chart`], in the check of the migration, and in the decision's table. **To add an event:** a
//! function in [`posting`], and a line in the table.

pub mod chart;
mod entry;
mod holds;
mod port;
pub mod posting;

use kernel::{Currency, EntryId, Overflow};

pub use chart::{Account, Nature, Provider};
pub use entry::{Cause, Digest, Entry, EntryKind, MOST_REASON, MOST_TRANSFERS, Transfer};
pub use holds::{Ending, Hold, HoldState, Outcome};
pub use port::{AsOf, Balance, Books, Ledger, LedgerStore, Line, Posted, Recorded, Snapshot, ended_alike};

use crate::AppError;

/// Why something cannot be posted. All but the last four are mistakes of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// Nothing, or less, cannot be moved.
    #[error("an amount of {0} minor units cannot be moved")]
    NotPositive(i64),
    /// An account cannot pay itself.
    #[error("{0} is on both sides")]
    SameAccount(String),
    /// The currencies differ.
    #[error("{0} and {1} meet in one sum")]
    Currencies(Currency, Currency),
    /// An entry has too many transfers, or none.
    #[error("an entry has 1 to {MOST_TRANSFERS} transfers, not {0}")]
    Transfers(usize),
    /// The text is no account, or no name of a provider.
    #[error("{0:?} names no account")]
    NoAccount(String),
    /// Money of this account is not held.
    #[error("nothing of {0} can be held")]
    NotHeld(String),
    /// A reversal or a void says no reason, or a very long one.
    #[error("say why, in 1 to {MOST_REASON} characters")]
    Reason,
    /// What is a reversal, or of a hold, is not reversed.
    #[error("entry {0} is a reversal or of a hold")]
    Reversal(EntryId),
    /// The time of a hold is not over.
    #[error("the hold has not run out")]
    NotOver,
    /// The range of the integers is left.
    #[error(transparent)]
    Overflow(#[from] Overflow),
    /// The id names another entry or hold.
    #[error("the id names something else already")]
    IdReused,
    /// A hold has ended otherwise.
    #[error("the hold is {}", .0.word())]
    HoldEnded(HoldState),
    /// More is asked of a hold than it holds.
    #[error("the hold has {held} minor units, not {asked}")]
    BeyondHold {
        /// What it has.
        held: i64,
        /// What was asked.
        asked: i64,
    },
    /// The account does not have it.
    #[error("{0} does not have that much")]
    FundsShort(String),
}

impl From<LedgerError> for AppError {
    fn from(error: LedgerError) -> Self {
        match &error {
            LedgerError::IdReused => {
                Self::refused("entry_id_reused", "The id names an entry or a hold with other content.")
            }
            LedgerError::HoldEnded(state) => {
                Self::refused("hold_ended", format!("The money is no longer held: it was {}.", state.word()))
            }
            LedgerError::BeyondHold { .. } | LedgerError::FundsShort(_) => {
                Self::refused("funds_short", "The account does not have that much.")
            }
            LedgerError::NotPositive(_)
            | LedgerError::SameAccount(_)
            | LedgerError::Currencies(..)
            | LedgerError::Transfers(_)
            | LedgerError::NoAccount(_)
            | LedgerError::NotHeld(_)
            | LedgerError::Reason
            | LedgerError::Reversal(_)
            | LedgerError::NotOver
            | LedgerError::Overflow(_) => {
                Self::Bug { doing: "posting to the ledger", source: Box::new(error) }
            }
        }
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "tests")]
mod tests;
