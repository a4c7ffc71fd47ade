//! What the engine says happened.

use std::borrow::Cow;

use kernel::{AccountId, Amount, PersonId, Price, Quantity, Side, Timestamp, TradingDay};
use rules::{Deadline, Effect, Fact, Figured, Floor, Objective, Rule, Track, VersionHash};
use serde::{Deserialize, Serialize};

use crate::{FillReason, InstrumentId, Order, Position, Ticket};

/// One thing that happened to one account, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// To which account.
    pub account: AccountId,
    /// When.
    pub at: Timestamp,
    /// What.
    pub what: What,
}

/// What happened. Orders and positions are given as they then are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// The account opened.
    Opened,
    /// An order came, changed or ended.
    Order(Order),
    /// A position opened, changed or closed.
    Position(Position),
    /// Something was traded.
    Fill(Fill),
    /// The balance changed.
    Entry(Entry),
    /// A trading day ended and the next began.
    Reset(Reset),
    /// A rule spoke.
    Verdict(Box<Verdict>),
    /// Another rule holds for the account in place of its program's.
    Override(Override),
    /// The account is on hold from now on, or no longer.
    Held {
        /// Whether it is.
        held: bool,
    },
}

/// Another rule that holds for one account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Override {
    /// The rule's place in its phase.
    pub rule: usize,
    /// The rule that holds from now on; the program's own again if none.
    pub to: Option<Rule>,
    /// Why, in the words of whoever decided it.
    pub reason: String,
    /// Who decided it.
    pub by: PersonId,
}

/// One execution.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fill {
    /// Its number within the account.
    pub number: u32,
    /// The position opened or closed.
    pub position: Ticket,
    /// The order that was filled.
    pub order: Option<Ticket>,
    /// What.
    pub instrument: InstrumentId,
    /// The side of the trade: a long closes by a sell.
    pub side: Side,
    /// How much.
    pub quantity: Quantity,
    /// At which price.
    pub price: Price,
    /// Result realised; nothing when opening.
    pub profit: Amount,
    /// Commission charged.
    pub commission: Amount,
    /// Why.
    pub reason: FillReason,
    /// The place in the quote log of the quote it was filled at.
    pub quote_position: u64,
}

/// One change of the balance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Its number within the account.
    pub number: u32,
    /// Why.
    pub kind: EntryKind,
    /// By how much.
    pub amount: Amount,
    /// To what.
    pub balance: Amount,
    /// The fill behind it.
    pub fill: Option<u32>,
}

/// Why a balance changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntryKind {
    /// The initial balance.
    Initial,
    /// A realised result.
    Profit,
    /// Commission.
    Commission,
    /// A payout, or the balance set back after it.
    Payout,
    /// The account has grown.
    Growth,
}

impl EntryKind {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Initial, Self::Profit, Self::Commission, Self::Payout, Self::Growth];

    /// The word in rows.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Initial => "initial",
            Self::Profit => "profit",
            Self::Commission => "commission",
            Self::Payout => "payout",
            Self::Growth => "growth",
        }
    }
}

/// The day that began.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reset {
    /// Its name.
    pub day: TradingDay,
    /// Its starting balance.
    pub balance: Amount,
    /// Its starting equity.
    pub equity: Amount,
}

/// What a rule said, with everything needed to say it again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Its number within the account.
    pub number: u32,
    /// What it means.
    pub kind: VerdictKind,
    /// The rule's kind, such as `daily_loss`; for a payout `payout`.
    pub rule: Cow<'static, str>,
    /// The rule's place in its phase.
    pub rule_index: usize,
    /// What the rule does.
    pub effect: Effect,
    /// The version and phase judged by.
    pub version: VersionHash,
    /// The phase, from 0.
    pub phase: usize,
    /// What made the engine look.
    pub cause: Cause,
    /// Balance then.
    pub balance: Amount,
    /// Equity then.
    pub equity: Amount,
    /// The floor crossed, for a breach and a warning.
    pub floor: Option<Floor>,
    /// Every floor as it stood.
    pub floors: Vec<Floor>,
    /// Every objective as it stood; for a payout every condition.
    pub objectives: Vec<Objective>,
    /// The deadline reached, for an expiry.
    pub deadline: Option<Deadline>,
    /// The position it is about.
    pub trade: Option<Ticket>,
    /// The numbers that decided, by name.
    pub figures: Vec<Figured>,
    /// What the rules were told, where no floor was crossed.
    pub fact: Option<Fact>,
    /// What the rules remembered when they were asked.
    pub track: Track,
    /// Working orders.
    pub orders: usize,
    /// For a promotion: the account that passed.
    pub from: Option<AccountId>,
    /// The open positions, valued.
    pub positions: Vec<Valued>,
    /// The standing quotes that valued them, and the one that caused it.
    pub quotes: Vec<Quoted>,
}

/// What a verdict means for its account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VerdictKind {
    /// A hard floor was crossed or a hard rule broken: the account is over.
    Breach,
    /// A soft one: the account is held back until the next reset, or everything was closed.
    SoftBreach,
    /// A rule was broken that is recorded only.
    Violation,
    /// A limit is near, or a rule warns.
    Warning,
    /// Every objective holds: the phase is passed.
    Pass,
    /// The account was opened because the phase before it was passed.
    Promotion,
    /// A deadline was reached: the account is over.
    Expiry,
    /// Money left the account.
    Payout,
    /// Money was asked for and a condition does not hold.
    PayoutRefusal,
}

impl VerdictKind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Breach,
        Self::SoftBreach,
        Self::Violation,
        Self::Warning,
        Self::Pass,
        Self::Promotion,
        Self::Expiry,
        Self::Payout,
        Self::PayoutRefusal,
    ];

    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Breach => "breach",
            Self::SoftBreach => "soft_breach",
            Self::Violation => "violation",
            Self::Warning => "warning",
            Self::Pass => "pass",
            Self::Promotion => "promotion",
            Self::Expiry => "expiry",
            Self::Payout => "payout",
            Self::PayoutRefusal => "payout_refusal",
        }
    }

    /// Whether it ends its account.
    pub const fn ends(self) -> bool {
        matches!(self, Self::Breach | Self::Pass | Self::Expiry)
    }

    /// Of what a rule with this effect found.
    pub const fn of(effect: Effect) -> Self {
        match effect {
            Effect::Hard => Self::Breach,
            Effect::Soft | Effect::Pause | Effect::Close => Self::SoftBreach,
            Effect::Flag | Effect::Deduct | Effect::Refuse => Self::Violation,
            Effect::Warn => Self::Warning,
            Effect::Expire => Self::Expiry,
        }
    }
}

/// What made the engine look at an account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// A quote at this place of the quote log.
    Quote(u64),
    /// A command.
    Command,
    /// The end of the trading day, judged before the reset moves anything.
    DayEnd,
    /// The reset: the floors of the new day meet what is held.
    Reset,
    /// A deadline.
    Deadline,
}

/// An open position as a verdict saw it. Numbers are decimal text: the evidence reads without a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Valued {
    /// Its number.
    pub ticket: Ticket,
    /// What.
    pub symbol: String,
    /// Which way.
    pub side: Side,
    /// Lots.
    pub quantity: String,
    /// Units in a lot.
    pub contract_size: u32,
    /// Opened at.
    pub open_price: String,
    /// Valued at: the bid for a long, the ask for a short.
    pub close_price: String,
    /// The instrument's quote currency.
    pub quote_currency: String,
    /// Result in it.
    pub profit_in_quote: Amount,
    /// The rate it was converted at, if the account has another currency.
    pub rate: Option<Rate>,
    /// Result in the account's currency.
    pub profit: Amount,
}

/// A conversion rate as used.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    /// The instrument whose price it is.
    pub symbol: String,
    /// The price.
    pub price: String,
    /// Whether it multiplied or divided.
    pub multiply: bool,
}

/// A quote as a verdict saw it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quoted {
    /// What.
    pub symbol: String,
    /// The feed it came from.
    pub source: String,
    /// What a seller gets.
    pub bid: String,
    /// What a buyer pays.
    pub ask: String,
    /// When the source says it was made.
    pub source_time: Timestamp,
    /// When the platform received it.
    pub received_at: Timestamp,
    /// Its place in the quote log.
    pub position: u64,
}
