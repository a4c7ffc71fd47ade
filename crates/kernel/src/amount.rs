//! Exact account money inside the engine.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{Currency, DecimalError, Overflow, Percent, Rounding, decimal, divide};

/// Micro-units (10⁻⁶ of the major unit) of an account's currency. Fine enough that one point of the smallest
/// position is a whole number; rounded to the currency's minor unit only when a result is realised.
///
/// An account has one currency, so amounts of one account may meet; [`crate::Money`] is the type that carries its
/// currency across accounts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Amount(i64);

impl Amount {
    /// Digits after the point.
    pub const SCALE: u8 = 6;
    /// Nothing.
    pub const ZERO: Self = Self(0);

    /// From micro-units.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// As micro-units.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// From an intermediate result in micro-units.
    pub fn from_wide(micros: i128) -> Result<Self, Overflow> {
        i64::try_from(micros).map(Self).map_err(|_| Overflow)
    }

    /// Reads decimal text such as `"-12.50"`; at most six digits after the point.
    pub fn parse(text: &str) -> Result<Self, DecimalError> {
        decimal::parse(text, Self::SCALE).map(Self)
    }

    /// The sum.
    pub fn plus(self, other: Self) -> Result<Self, Overflow> {
        self.0.checked_add(other.0).map(Self).ok_or(Overflow)
    }

    /// The difference.
    pub fn minus(self, other: Self) -> Result<Self, Overflow> {
        self.0.checked_sub(other.0).map(Self).ok_or(Overflow)
    }

    /// The same size with the other sign.
    pub fn negated(self) -> Result<Self, Overflow> {
        self.0.checked_neg().map(Self).ok_or(Overflow)
    }

    /// `self × numerator ÷ denominator`, rounded as named.
    pub fn scaled(self, numerator: i64, denominator: i64, rounding: Rounding) -> Result<Self, Overflow> {
        let product = i128::from(self.0).checked_mul(i128::from(numerator)).ok_or(Overflow)?;
        Self::from_wide(divide(product, i128::from(denominator), rounding)?)
    }

    /// A share of this amount.
    pub fn share(self, percent: Percent, rounding: Rounding) -> Result<Self, Overflow> {
        self.scaled(percent.millionths(), Percent::WHOLE.millionths(), rounding)
    }

    /// Rounded to the minor unit of a currency.
    pub fn rounded(self, currency: Currency, rounding: Rounding) -> Result<Self, Overflow> {
        let spare = Self::SCALE.checked_sub(currency.exponent()).ok_or(Overflow)?;
        let unit = decimal::power_of_ten(spare).ok_or(Overflow)?;
        let units = divide(i128::from(self.0), unit, rounding)?;
        Self::from_wide(units.checked_mul(unit).ok_or(Overflow)?)
    }

    /// For sentences: [`Amount::text`] with a comma between thousands.
    pub fn grouped(self, currency: Currency) -> String {
        let text = self.text(currency);
        let (sign, digits) = text.strip_prefix('-').map_or(("", text.as_str()), |digits| ("-", digits));
        let (whole, fraction) = digits
            .split_once('.')
            .map_or((digits, String::new()), |(whole, fraction)| (whole, format!(".{fraction}")));
        let mut grouped = String::with_capacity(text.len().saturating_mul(2));
        for (index, digit) in whole.chars().enumerate() {
            let left = whole.len().saturating_sub(index);
            if index > 0 && left.is_multiple_of(3) {
                grouped.push(',');
            }
            grouped.push(digit);
        }
        format!("{sign}{grouped}{fraction}")
    }

    /// Below nothing.
    pub const fn is_negative(self) -> bool {
        self.0 < 0
    }

    /// With at least the digits of the currency, and more only where they are not zero.
    pub fn text(self, currency: Currency) -> String {
        decimal::format(self.0, Self::SCALE, currency.exponent())
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(decimal::write(self.0, Self::SCALE, 2).as_str())
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        decimal::text_or_integer(serializer, self.0, Self::SCALE, 2)
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        decimal::integer_from(deserializer, Self::SCALE).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_carries_text_and_refuses_numbers() {
        let amount: Amount = serde_json::from_str("\"9007199254740.993001\"").unwrap();
        assert_eq!(serde_json::to_string(&amount).unwrap(), "\"9007199254740.993001\"");
        assert!(serde_json::from_str::<Amount>("12.5").is_err());
        assert!(serde_json::from_str::<Amount>("12").is_err());
    }

    #[test]
    fn sentences_group_thousands() {
        let usd = Currency::parse("USD").unwrap();
        for (text, grouped) in
            [("0", "0.00"), ("999.5", "999.50"), ("-1000", "-1,000.00"), ("1234567.891", "1,234,567.891")]
        {
            assert_eq!(Amount::parse(text).unwrap().grouped(usd), grouped);
        }
    }

    #[test]
    fn rounds_to_the_minor_unit_of_its_currency() {
        let amount = Amount::parse("1.005").unwrap();
        let usd = Currency::parse("USD").unwrap();
        assert_eq!(amount.rounded(usd, Rounding::HalfEven).unwrap().text(usd), "1.00");
        assert_eq!(amount.rounded(usd, Rounding::Ceiling).unwrap().text(usd), "1.01");
        let jpy = Currency::parse("JPY").unwrap();
        assert_eq!(amount.rounded(jpy, Rounding::Floor).unwrap().text(jpy), "1");
    }
}
