//! What may be asked of the engine, and its answers.

use std::fmt;
use std::sync::Arc;

use kernel::{AccountId, Amount, ChallengeId, FirmId, PersonId, Price, Quantity, Side, Symbol};
use rules::{NewsEvent, Rule, VersionHash};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{EngineError, OrderKind, Ticket};

/// A request for one account. Times come with the input, not with the command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// For which account.
    pub account: AccountId,
    /// Chosen by the client; a retry under the same key gets the first answer.
    pub key: Key,
    /// What to do.
    pub act: Act,
}

/// What to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Act {
    /// Opens the account.
    Open(Open),
    /// Places an order.
    Place(Place),
    /// Takes a working order back.
    Cancel {
        /// The order.
        order: Ticket,
    },
    /// Changes a working order.
    ChangeOrder {
        /// The order.
        order: Ticket,
        /// Its new price.
        price: Option<Price>,
        /// Its new stop loss.
        stop_loss: Change,
        /// Its new take profit.
        take_profit: Change,
    },
    /// Changes the exits of a position.
    ChangePosition {
        /// The position.
        position: Ticket,
        /// Its new stop loss.
        stop_loss: Change,
        /// Its new take profit.
        take_profit: Change,
    },
    /// Closes a position.
    Close {
        /// The position.
        position: Ticket,
        /// How much of it; all if not said.
        quantity: Option<Quantity>,
    },
    /// Asks for the next phase, where the phase wants to be asked.
    Promote,
    /// Takes money out.
    Payout {
        /// How much leaves the account; the most that is allowed if not said.
        amount: Option<Amount>,
    },
    /// Grows the account by one step of its scaling plan, if everything it asks for holds.
    Grow,
    /// Lets another rule of the same kind hold for this account in place of its program's.
    Override {
        /// The rule's place in its phase.
        rule: u32,
        /// The rule that holds from now on; the program's own again if none.
        to: Option<Box<Rule>>,
        /// Why, in the words of whoever decided it.
        reason: String,
        /// Who decided it.
        by: PersonId,
    },
    /// Tells the account of the firm's calendar of releases; those of before are forgotten.
    Calendar(Vec<NewsEvent>),
    /// Holds the account, or lets it go again; doing it twice changes nothing. A held account opens nothing, is not paid,
    /// does not grow and passes no phase. What it has may be closed and cancelled, and every rule goes on. One that has
    /// ended may be held, too: some programs pay after the end.
    Hold {
        /// Whether it is held from now on.
        held: bool,
    },
}

/// A price that is kept, removed or set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// As it is.
    #[default]
    Keep,
    /// Gone.
    Remove,
    /// To this.
    Set(Price),
}

impl Change {
    pub(crate) const fn applied(self, old: Option<Price>) -> Option<Price> {
        match self {
            Self::Keep => old,
            Self::Remove => None,
            Self::Set(price) => Some(price),
        }
    }
}

/// The opening of an account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Open {
    /// Its firm.
    pub firm: FirmId,
    /// Its challenge.
    pub challenge: ChallengeId,
    /// The version bought.
    pub version: VersionHash,
    /// The phase, from 0.
    pub phase: usize,
}

/// A new order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// What.
    pub symbol: Symbol,
    /// Which way.
    pub side: Side,
    /// How.
    pub kind: OrderKind,
    /// How much.
    pub quantity: Quantity,
    /// Closes the position it opens.
    pub stop_loss: Option<Price>,
    /// Closes the position it opens.
    pub take_profit: Option<Price>,
}

/// A client's name for one command: 1 to 64 visible ASCII characters.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key(Arc<str>);

impl Key {
    /// Checks the form.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic());
        fits.then(|| Self(text.into()))
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// SHA-256 over a command's content.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Of a command.
    pub fn of(act: &Act) -> Result<Self, EngineError> {
        let bytes = postcard::to_stdvec(act).map_err(|_| EngineError::Encoding)?;
        Ok(Self(Sha256::digest(bytes).into()))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

/// The answer to a command.
pub type Outcome = Result<Done, Refusal>;

/// What a command did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Done {
    /// The account is open.
    Opened,
    /// The order as placed, filled, changed or cancelled.
    Order(Ticket),
    /// The position as changed or closed.
    Position(Ticket),
    /// The phase is passed.
    Promoted,
    /// So much has left the account.
    Paid(Amount),
    /// The account has grown.
    Grown,
    /// What was told holds.
    Noted,
}

/// Why a command was not carried out. In the order in which they are tested: the first that applies is the
/// answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Refusal {
    /// The key was used for another command.
    #[error("the key was used for another command")]
    KeyReused,
    /// The version to open an account with is not known, or has no such phase.
    #[error("no such program")]
    UnknownProgram,
    /// There is no such account here.
    #[error("no such account")]
    UnknownAccount,
    /// The account has ended.
    #[error("the account no longer trades")]
    AccountNotActive,
    /// The account is on hold.
    #[error("the account is on hold")]
    Held,
    /// The phase is not passed yet.
    #[error("the phase is not passed yet")]
    NotPassed,
    /// A condition of the payout does not hold.
    #[error("a condition of the payout does not hold")]
    PayoutRefused,
    /// The account may not grow now.
    #[error("the account may not grow now")]
    NotGrowing,
    /// The phase has no such rule, or it is of another kind.
    #[error("the phase has no such rule of this kind")]
    OverrideInvalid,
    /// A rule holds the account back until the next reset.
    #[error("the account is locked until the next reset")]
    AccountLocked,
    /// No such working order.
    #[error("no such working order")]
    OrderNotFound,
    /// No such open position.
    #[error("no such open position")]
    PositionNotFound,
    /// No such instrument.
    #[error("no such instrument")]
    UnknownInstrument,
    /// The program does not trade it.
    #[error("the program does not trade this instrument")]
    InstrumentNotInProgram,
    /// Outside the instrument's sizes, or more than is open.
    #[error("the size is outside what can be traded")]
    QuantityOutOfRange,
    /// It, or the rate it converts at, never had a quote.
    #[error("there is no quote yet")]
    NoQuote,
    /// It, or the rate it converts at, has only an old quote.
    #[error("the last quote is too old")]
    MarketStale,
    /// A price on the wrong side of the market, or outside the range.
    #[error("a price is on the wrong side of the market")]
    PriceInvalid,
    /// More working orders and open positions than an account may have.
    #[error("the account has too many orders and positions")]
    TooManyOrders,
    /// The rule at this place in the phase refuses the position.
    #[error("a rule of the program refuses the order")]
    AgainstRule(u32),
    /// The free margin does not cover it.
    #[error("the free margin does not cover the order")]
    InsufficientMargin,
}

impl Refusal {
    /// The code in problem documents.
    pub const fn code(self) -> &'static str {
        match self {
            Self::KeyReused => "idempotency_key_reused",
            Self::UnknownProgram | Self::UnknownAccount => "not_found",
            Self::AccountNotActive => "account_not_active",
            Self::Held => "account_held",
            Self::NotPassed => "not_passed",
            Self::PayoutRefused => "payout_refused",
            Self::NotGrowing => "not_growing",
            Self::OverrideInvalid => "override_invalid",
            Self::AccountLocked => "account_locked",
            Self::AgainstRule(_) => "order_against_rule",
            Self::OrderNotFound => "order_not_found",
            Self::PositionNotFound => "position_not_found",
            Self::UnknownInstrument => "unknown_instrument",
            Self::InstrumentNotInProgram => "instrument_not_in_program",
            Self::QuantityOutOfRange => "quantity_out_of_range",
            Self::NoQuote => "no_quote",
            Self::MarketStale => "market_stale",
            Self::PriceInvalid => "price_invalid",
            Self::TooManyOrders => "too_many_orders",
            Self::InsufficientMargin => "insufficient_margin",
        }
    }
}
