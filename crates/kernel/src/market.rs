//! The numbers of a market. Their scale belongs to the instrument, so they print and parse only with one.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A price as a count of the instrument's smallest step (its points).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Price(pub i64);

/// A size as a count of the instrument's smallest lot fraction (10^-decimals of a lot).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Quantity(pub i64);

/// Which way a position earns.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    /// Long: bought at the ask, valued at the bid.
    Buy,
    /// Short: sold at the bid, valued at the ask.
    Sell,
}

impl Side {
    /// The side that closes this one.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }

    /// The word on every screen and in every row.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Buy => "buy",
            Self::Sell => "sell",
        }
    }
}

/// The name of an instrument: two to sixteen capital letters or digits, such as `EURUSD`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol(String);

/// A text that cannot name an instrument.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a symbol has two to sixteen capital letters or digits")]
pub struct SymbolError;

impl Symbol {
    /// Checks the form only; whether it is traded is the instrument table's business.
    pub fn parse(text: &str) -> Result<Self, SymbolError> {
        let fits = (2..=16).contains(&text.len());
        if fits && text.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(SymbolError)
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Symbol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl Serialize for Symbol {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Symbol {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(serde::de::Error::custom)
    }
}
