//! The words every other crate speaks: exact numbers, time, identity.
//!
//! **For:** values whose meaning is the same everywhere: [`Money`], [`Amount`], [`Price`], [`Quantity`],
//! [`Percent`], [`Lots`], [`Timestamp`], [`ResetClock`], [`Id`], and the two windows to the outside, [`Clock`] and [`Rng`].
//!
//! **Must not know:** programs, accounts, storage, HTTP. There is no IO here, no wall clock, no randomness and no
//! float; arithmetic that can leave its range returns [`Overflow`].
//!
//! **To add a value type:** a private integer field, `parse` and `Display` over [`decimal`], checked operations
//! only, text in human-readable formats and the bare integer in binary ones (see [`decimal::text_or_integer`]).

mod amount;
mod buffer;
mod currency;
pub mod decimal;
mod env;
mod id;
mod lots;
mod market;
mod money;
mod percent;
mod reset;
mod rounding;
mod schema;
mod time;

pub use amount::Amount;
pub use currency::{Currency, UnknownCurrency};
pub use decimal::DecimalError;
pub use env::{Clock, ManualClock, Rng, SeededRng};
pub use id::{
    AccountId, ChallengeId, DeliveryId, EntryId, FirmId, HoldId, Id, IdKind, JobId, MailId, NotificationId,
    OwnerId, PersonId, PurchaseId, ReleaseId, RequestId, SessionId, WebhookId, kinds, name_based_uuid,
};
pub use lots::Lots;
pub use market::{Price, Quantity, Side, Symbol, SymbolError};
pub use money::{Money, MoneyError};
pub use percent::Percent;
pub use reset::{LocalTime, ResetClock, ResetClockError, TradingDay, Zone};
pub use rounding::{Rounding, divide};
pub use time::{Span, TimeError, Timestamp};

/// A result left the range of its integer. Inputs are bounded where they enter, so meeting this inside the engine
/// is a bug, and it stops the operation instead of wrapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an exact result does not fit its integer")]
pub struct Overflow;
