//! What a rule does when it fires.

use std::borrow::Cow;

use kernel::{Amount, Lots, Overflow, Percent, TimeError, Timestamp, TradingDay};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a rule does when it fires, from the mildest to the hardest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The trader is told.
    Warn,
    /// It is recorded for a review by hand.
    Flag,
    /// It is recorded, and what the trade earns is not paid out.
    Deduct,
    /// The order is refused.
    Refuse,
    /// Every position is closed and every order taken back; trading goes on.
    Close,
    /// No position may be opened until the next reset; what is open stays.
    Pause,
    /// A soft breach: everything is closed and the account is locked until the next reset.
    Soft,
    /// The account ends, without a breach: its time is over.
    Expire,
    /// A hard breach: the account ends.
    #[default]
    Hard,
}

impl Effect {
    /// What it does, for sentences: "the account ends".
    pub const fn words(self) -> &'static str {
        match self {
            Self::Warn => "you are warned",
            Self::Flag => "it is recorded and reviewed by hand",
            Self::Deduct => "it is recorded and what the trade earned is not paid out",
            Self::Refuse => "the order is refused",
            Self::Close => "everything is closed",
            Self::Pause => "no position may be opened until the next reset",
            Self::Soft => "everything is closed and the account is locked until the next reset",
            Self::Expire | Self::Hard => "the account ends",
        }
    }

    /// Whether the account is over.
    pub const fn ends(self) -> bool {
        matches!(self, Self::Expire | Self::Hard)
    }

    /// What it does where the thing has happened already: that cannot be refused, so it is recorded.
    pub(crate) const fn after_the_fact(self) -> Self {
        match self {
            Self::Refuse => Self::Flag,
            Self::Warn
            | Self::Flag
            | Self::Deduct
            | Self::Close
            | Self::Pause
            | Self::Soft
            | Self::Expire
            | Self::Hard => self,
        }
    }

    /// The word for an outcome with this effect, as examples and receipts use it.
    pub const fn outcome(self) -> &'static str {
        match self {
            Self::Warn => "warning",
            Self::Flag | Self::Deduct => "violation",
            Self::Refuse => "refused",
            Self::Close | Self::Pause | Self::Soft => "soft_breach",
            Self::Expire => "expiry",
            Self::Hard => "breach",
        }
    }
}

/// A rule that fired on a fact.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The rule's place in its phase.
    pub rule: usize,
    /// The rule's kind.
    pub kind: Cow<'static, str>,
    /// What it does.
    pub effect: Effect,
    /// The position it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trade: Option<u32>,
    /// The numbers that decided, in the order in which they are explained.
    pub figures: Vec<Figured>,
}

/// A number with its name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Figured {
    /// Such as `floor` or `best_day`.
    pub name: Cow<'static, str>,
    /// The number.
    pub value: Figure,
}

/// A number of a rule, with its unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Figure {
    /// Money of the account's currency.
    Amount(Amount),
    /// A share.
    Percent(Percent),
    /// A size.
    Lots(Lots),
    /// A count, such as of days or trades.
    Count(u32),
    /// Yes or no.
    Flag(bool),
    /// An instant.
    At(Timestamp),
    /// A day.
    Day(TradingDay),
    /// Days.
    Days(Vec<TradingDay>),
    /// An amount for each of some days.
    ByDay(Vec<(TradingDay, Amount)>),
    /// A word, such as a rule's kind.
    Word(Cow<'static, str>),
}

/// A number with its name.
pub(crate) fn figure(name: &'static str, value: impl Into<Figure>) -> Figured {
    Figured { name: Cow::Borrowed(name), value: value.into() }
}

impl From<Amount> for Figure {
    fn from(value: Amount) -> Self {
        Self::Amount(value)
    }
}
impl From<Percent> for Figure {
    fn from(value: Percent) -> Self {
        Self::Percent(value)
    }
}
impl From<Lots> for Figure {
    fn from(value: Lots) -> Self {
        Self::Lots(value)
    }
}
impl From<u32> for Figure {
    fn from(value: u32) -> Self {
        Self::Count(value)
    }
}
impl From<bool> for Figure {
    fn from(value: bool) -> Self {
        Self::Flag(value)
    }
}
impl From<Timestamp> for Figure {
    fn from(value: Timestamp) -> Self {
        Self::At(value)
    }
}
impl From<TradingDay> for Figure {
    fn from(value: TradingDay) -> Self {
        Self::Day(value)
    }
}

/// Why a rule cannot answer. Programs are bounded where they are read, so meeting this is a bug.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RuleError {
    /// A result left its integer.
    #[error(transparent)]
    Overflow(#[from] Overflow),
    /// An instant outside the calendar.
    #[error(transparent)]
    Time(#[from] TimeError),
}
