//! Money that crosses accounts: prices of programs, payments, payouts.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::{Currency, DecimalError, Overflow, decimal};

/// An integer count of a currency's minor unit. Two currencies never meet in one sum.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "MoneyText", into = "MoneyText")]
pub struct Money {
    minor: i64,
    currency: Currency,
}

/// Why two amounts of money cannot be combined.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MoneyError {
    /// The currencies differ.
    #[error("{0} and {1} cannot be added")]
    CurrencyMismatch(Currency, Currency),
    /// The result does not fit.
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

#[derive(Serialize, Deserialize)]
struct MoneyText {
    amount: String,
    currency: Currency,
}

impl Money {
    /// From a count of minor units.
    pub const fn from_minor(minor: i64, currency: Currency) -> Self {
        Self { minor, currency }
    }

    /// Reads decimal text in major units; more digits than the currency has are an error.
    pub fn parse(text: &str, currency: Currency) -> Result<Self, DecimalError> {
        decimal::parse(text, currency.exponent()).map(|minor| Self { minor, currency })
    }

    /// The count of minor units.
    pub const fn minor(self) -> i64 {
        self.minor
    }

    /// The currency.
    pub const fn currency(self) -> Currency {
        self.currency
    }

    /// The number alone, with all digits of the minor unit.
    pub fn amount_text(self) -> String {
        decimal::format(self.minor, self.currency.exponent(), self.currency.exponent())
    }

    /// The sum of two amounts in one currency.
    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::CurrencyMismatch(self.currency, other.currency));
        }
        let minor = self.minor.checked_add(other.minor).ok_or(Overflow)?;
        Ok(Self { minor, ..self })
    }
}

impl fmt::Display for Money {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.amount_text(), self.currency)
    }
}

impl TryFrom<MoneyText> for Money {
    type Error = DecimalError;
    fn try_from(text: MoneyText) -> Result<Self, DecimalError> {
        Self::parse(&text.amount, text.currency)
    }
}

impl From<Money> for MoneyText {
    fn from(money: Money) -> Self {
        Self { amount: money.amount_text(), currency: money.currency }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn currencies_do_not_meet_and_text_is_exact() {
        let dollars = Money::parse("9007199254740993.01", Currency::parse("USD").unwrap()).unwrap();
        let json = serde_json::to_string(&dollars).unwrap();
        assert_eq!(json, r#"{"amount":"9007199254740993.01","currency":"USD"}"#);
        assert_eq!(serde_json::from_str::<Money>(&json).unwrap(), dollars);
        let yen = Money::parse("5", Currency::parse("JPY").unwrap()).unwrap();
        assert!(matches!(dollars.plus(yen), Err(MoneyError::CurrencyMismatch(..))));
        assert!(Money::parse("5.5", yen.currency()).is_err());
        assert_eq!(
            Money::from_minor(i64::MAX, yen.currency()).plus(yen),
            Err(MoneyError::Overflow(Overflow))
        );
    }
}
