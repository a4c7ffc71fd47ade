//! A trading account and what it holds.

use std::collections::{BTreeMap, HashMap, VecDeque};

use kernel::{
    AccountId, Amount, ChallengeId, Currency, FirmId, Overflow, Price, Quantity, Side, Span, Timestamp,
};
use rules::payout::Holding;
use rules::{Track, VersionHash};
use serde::{Deserialize, Serialize};

use crate::command::{Fingerprint, Key, Outcome};
use crate::{EngineError, InstrumentId, Market, Worth};

/// How long an answer is remembered for retries.
pub const KEY_MEMORY: Span = Span::from_seconds(48 * 3_600);

/// Numbers orders and positions within their account, in one series.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Ticket(pub u32);

/// Whether an account trades, and if not, why. Everything but `Active` is for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// Trades.
    Active,
    /// Passed its phase.
    Passed,
    /// Crossed a floor.
    Breached,
    /// Reached a deadline.
    Expired,
}

impl Status {
    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Passed => "passed",
            Self::Breached => "breached",
            Self::Expired => "expired",
        }
    }
}

/// A trading account: one phase of one challenge.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Account {
    /// Whose program and person it belongs to.
    pub firm: FirmId,
    /// Its name.
    pub id: AccountId,
    /// The purchase's way through the phases.
    pub challenge: ChallengeId,
    /// The version it was bought with.
    pub version: VersionHash,
    /// Its phase, from 0.
    pub phase: usize,
    /// Whether it trades.
    pub status: Status,
    /// Whether it is on hold: it opens nothing, is not paid, does not grow and passes no phase.
    #[serde(default)]
    pub held: bool,
    /// Closed results; whole minor units.
    pub balance: Amount,
    /// What the rules remember.
    pub track: Track,
    /// Open positions.
    pub positions: BTreeMap<Ticket, Position>,
    /// Working orders.
    pub orders: BTreeMap<Ticket, Order>,
    /// The counters of its series.
    pub next: Counters,
    /// When it ended.
    pub closed_at: Option<Timestamp>,
    /// Answers to recent commands, so that a retry gets the first one.
    pub answers: Answers,
}

/// The next number of each series of an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Orders and positions.
    pub ticket: u32,
    /// Fills.
    pub fill: u32,
    /// Balance entries.
    pub entry: u32,
    /// Verdicts.
    pub verdict: u32,
}

/// What a command was answered with.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// When.
    pub at: Timestamp,
    /// To tell a retry from another command under the same key.
    pub fingerprint: Fingerprint,
    /// The answer.
    pub outcome: Outcome,
}

impl Answer {
    fn is_remembered(&self, at: Timestamp) -> bool {
        at.since(self.at).is_ok_and(|age| age <= KEY_MEMORY)
    }
}

/// The answers to an account's commands, by their keys. One is remembered for [`KEY_MEMORY`] as seen from whoever asks for
/// it, whether or not it is still in memory; so it makes no difference whether those that are older were loaded.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(Key, Answer)>", into = "Vec<(Key, Answer)>")]
pub struct Answers {
    // Nothing depends on the order of this map.
    by_key: HashMap<Key, Answer>,
    /// The oldest first.
    keys: VecDeque<Key>,
}

impl Answers {
    /// The answer to the command under a key, if it is still remembered at an instant.
    pub fn get(&self, key: &Key, at: Timestamp) -> Option<&Answer> {
        self.by_key.get(key).filter(|answer| answer.is_remembered(at))
    }

    /// Remembers the answer to a new command, which is younger than all others, in place of those too old for it.
    pub fn remember(&mut self, key: Key, answer: Answer) {
        self.forget(answer.at);
        if self.by_key.insert(key.clone(), answer).is_none() {
            self.keys.push_back(key);
        }
    }

    /// Whether some are in memory that are not remembered any more at an instant.
    pub(crate) fn are_outdated(&self, at: Timestamp) -> bool {
        let oldest = self.keys.front().and_then(|key| self.by_key.get(key));
        oldest.is_some_and(|oldest| !oldest.is_remembered(at))
    }

    /// Drops what is not remembered any more at an instant.
    pub(crate) fn forget(&mut self, at: Timestamp) {
        while self.are_outdated(at)
            && let Some(key) = self.keys.pop_front()
        {
            self.by_key.remove(&key);
        }
    }
}

impl FromIterator<(Key, Answer)> for Answers {
    /// The oldest first.
    fn from_iter<I: IntoIterator<Item = (Key, Answer)>>(answers: I) -> Self {
        let mut remembered = Self::default();
        for (key, answer) in answers {
            remembered.remember(key, answer);
        }
        remembered
    }
}

impl From<Vec<(Key, Answer)>> for Answers {
    fn from(answers: Vec<(Key, Answer)>) -> Self {
        answers.into_iter().collect()
    }
}

impl From<Answers> for Vec<(Key, Answer)> {
    fn from(Answers { mut by_key, keys }: Answers) -> Self {
        keys.into_iter().filter_map(|key| by_key.remove_entry(&key)).collect()
    }
}

/// How an order is to be filled.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderKind {
    /// At once, at the opposite side.
    Market,
    /// At this price or better.
    Limit(Price),
    /// Once the market reaches this price, at whatever it then is.
    Stop(Price),
}

impl OrderKind {
    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Market => "market",
            Self::Limit(_) => "limit",
            Self::Stop(_) => "stop",
        }
    }

    /// Its price, if it has one.
    pub const fn price(self) -> Option<Price> {
        match self {
            Self::Market => None,
            Self::Limit(price) | Self::Stop(price) => Some(price),
        }
    }
}

/// What became of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OrderState {
    /// Waits for its price.
    Working,
    /// Opened a position.
    Filled,
    /// Taken back by its owner.
    Cancelled,
    /// Fired, but the margin did not suffice.
    NoMargin,
    /// Taken back because the account ended.
    AccountEnded,
    /// Taken back because a rule holds the account back until the next reset, or closed everything.
    HeldBack,
    /// Fired, but a rule refuses the position.
    AgainstRule,
    /// Taken back because the account was put on hold.
    AccountHeld,
}

impl OrderState {
    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Working => "working",
            Self::Filled => "filled",
            Self::Cancelled | Self::AccountEnded | Self::HeldBack | Self::AccountHeld => "cancelled",
            Self::NoMargin | Self::AgainstRule => "rejected",
        }
    }

    /// Why it ended without a fill, as a word.
    pub const fn reason(self) -> Option<&'static str> {
        match self {
            Self::Working | Self::Filled => None,
            Self::Cancelled => Some("by_trader"),
            Self::AccountEnded => Some("account_ended"),
            Self::HeldBack => Some("account_locked"),
            Self::AccountHeld => Some("account_held"),
            Self::NoMargin => Some("insufficient_margin"),
            Self::AgainstRule => Some("against_rule"),
        }
    }
}

/// An order to trade.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Order {
    /// Its number.
    pub ticket: Ticket,
    /// What.
    pub instrument: InstrumentId,
    /// Which way.
    pub side: Side,
    /// How.
    pub kind: OrderKind,
    /// How much.
    pub quantity: Quantity,
    /// Given to the position it opens.
    pub stop_loss: Option<Price>,
    /// Given to the position it opens.
    pub take_profit: Option<Price>,
    /// Where it stands.
    pub state: OrderState,
    /// When it came.
    pub placed_at: Timestamp,
    /// When it stopped working.
    pub done_at: Option<Timestamp>,
    /// The position it opened.
    pub position: Option<Ticket>,
}

/// A position: one ticket, closed by its own (hedging).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Position {
    /// Its number.
    pub ticket: Ticket,
    /// What.
    pub instrument: InstrumentId,
    /// Which way.
    pub side: Side,
    /// What is left of it; nothing once closed.
    pub quantity: Quantity,
    /// What it opened with.
    pub opened_quantity: Quantity,
    /// At which price.
    pub open_price: Price,
    /// When.
    pub opened_at: Timestamp,
    /// Closes it at or beyond this price against it.
    pub stop_loss: Option<Price>,
    /// Closes it at or beyond this price for it.
    pub take_profit: Option<Price>,
    /// Margin it binds.
    pub margin: Amount,
    /// Commission charged for it so far.
    pub commission: Amount,
    /// Results realised by closing parts of it, before commission.
    pub realised: Amount,
    /// When the last part closed.
    pub closed_at: Option<Timestamp>,
    /// At which price the last part closed.
    pub close_price: Option<Price>,
    /// Why the last part closed.
    pub close_reason: Option<FillReason>,
}

/// Why a fill happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FillReason {
    /// A market order.
    Market,
    /// A limit order reached its price.
    Limit,
    /// A stop order reached its price.
    Stop,
    /// The trader closed it.
    Close,
    /// The stop loss.
    StopLoss,
    /// The take profit.
    TakeProfit,
    /// Equity no longer covered the margin.
    StopOut,
    /// The account ended, or a rule closed everything.
    Liquidation,
}

impl FillReason {
    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Market => "market",
            Self::Limit => "limit",
            Self::Stop => "stop",
            Self::Close => "close",
            Self::StopLoss => "stop_loss",
            Self::TakeProfit => "take_profit",
            Self::StopOut => "stop_out",
            Self::Liquidation => "liquidation",
        }
    }
}

impl Account {
    /// A copy for those who store or show it: its answers are in the journal.
    #[must_use]
    pub fn without_answers(&self) -> Self {
        let Self { firm, id, challenge, phase, status, held, balance, next, closed_at, .. } = *self;
        Self {
            firm,
            id,
            challenge,
            version: self.version.clone(),
            phase,
            status,
            held,
            balance,
            track: self.track.clone(),
            positions: self.positions.clone(),
            orders: self.orders.clone(),
            next,
            closed_at,
            answers: Answers::default(),
        }
    }

    /// What payouts depend on beside the balance.
    pub fn holding(&self) -> Holding {
        let ended = self.track.ended.clone().filter(|_| self.status != Status::Active);
        Holding { flat: self.positions.is_empty(), no_orders: self.orders.is_empty(), ended }
    }

    /// Balance and what closing everything now would add.
    pub fn equity(&self, market: &Market, currency: Currency) -> Result<Amount, EngineError> {
        let mut equity = self.balance;
        for position in self.positions.values() {
            equity = equity.plus(position.worth(market, currency)?.profit)?;
        }
        Ok(equity)
    }

    /// Margin bound by open positions.
    pub fn margin(&self) -> Result<Amount, Overflow> {
        self.positions.values().try_fold(Amount::ZERO, |sum, position| sum.plus(position.margin))
    }
}

impl Position {
    /// What closing it now would bring.
    pub fn worth(&self, market: &Market, currency: Currency) -> Result<Worth, EngineError> {
        market.worth(self.instrument, self.side, self.quantity, self.open_price, currency)
    }
}
