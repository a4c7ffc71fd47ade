//! What happens to an account, in the words of the rules.

use kernel::{Amount, Lots, Side, Symbol, Timestamp, TradingDay};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One thing that happened. Prices are told by [`crate::Track::observe`], the end of a day by [`crate::Track::reset`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fact {
    /// An order was placed.
    Ordered,
    /// A position opened.
    Opened(Opening),
    /// A position's stop loss was set, moved or taken away: what would now be lost at it.
    StopMoved {
        /// The position's ticket.
        trade: u32,
        /// The loss at the stop loss, positive; `None` without one.
        risk: Option<Amount>,
    },
    /// A position or a part of it closed.
    Closed(Closing),
    /// What each open position would bring now; told only where a rule asks for it.
    Floating(Vec<(u32, Amount)>),
    /// Time has passed.
    Time,
    /// The account is looked through, as before every payout.
    Review,
}

/// A position that opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Opening {
    /// The position's ticket.
    pub trade: u32,
    /// What.
    pub symbol: Symbol,
    /// Which way.
    pub side: Side,
    /// How much.
    pub lots: Lots,
    /// By a working order that fired, and not at once.
    pub pending: bool,
    /// What would be lost at the stop loss, positive; `None` without one.
    pub risk: Option<Amount>,
    /// What the position is worth in all, in the account's currency.
    pub notional: Amount,
    /// Commission charged.
    pub cost: Amount,
}

/// A position or a part of it that closes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// The position's ticket.
    pub trade: u32,
    /// How much of it.
    pub lots: Lots,
    /// What it brought, after commission.
    pub profit: Amount,
    /// Why.
    pub reason: CloseReason,
    /// Whether nothing of the position is left.
    pub whole: bool,
}

/// Why a position closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CloseReason {
    /// The trader closed it.
    Trader,
    /// The stop loss.
    StopLoss,
    /// The take profit.
    TakeProfit,
    /// The platform closed it: a rule, the margin, the end of the account.
    Platform,
}

/// A release that moves markets, as a firm's calendar names it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewsEvent {
    /// Such as "US non-farm payrolls".
    pub name: String,
    /// When.
    pub at: Timestamp,
    /// Every instrument whose name holds one of these currencies is targeted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub currencies: Vec<String>,
    /// Instruments targeted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub symbols: Vec<Symbol>,
}

impl NewsEvent {
    /// Whether an instrument is targeted.
    pub fn targets(&self, symbol: &Symbol) -> bool {
        self.symbols.contains(symbol)
            || self.currencies.iter().any(|currency| symbol.as_str().contains(currency.as_str()))
    }
}

/// A position as the rules remember it while it is open.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OpenTrade {
    /// What.
    pub symbol: Symbol,
    /// Which way.
    pub side: Side,
    /// What is left of it.
    pub lots: Lots,
    /// When it opened.
    pub opened_at: Timestamp,
    /// On which day.
    pub day: TradingDay,
    /// What it opened with, in the account's currency.
    pub notional: Amount,
    /// What would be lost at the stop loss; `None` without one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<Amount>,
    /// Whether it ever was without a stop loss.
    #[serde(default, skip_serializing_if = "crate::is_default")]
    pub unprotected: bool,
    /// What parts of it have brought, after commission.
    pub profit: Amount,
    /// What of its profit is not paid out, once a rule says that none of it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deducted: Option<Amount>,
    /// Rules that have spoken about it, by their places, and when.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub spoken: Vec<(usize, Timestamp)>,
}
