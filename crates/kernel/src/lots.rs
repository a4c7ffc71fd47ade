//! A size that means the same for every instrument.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{DecimalError, Overflow, Percent, Rounding, decimal, divide};

/// Lots or contracts, in millionths of one. A rule speaks of lots; an order carries a [`crate::Quantity`] in the steps
/// of its instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Lots(i64);

impl Lots {
    const SCALE: u8 = 6;
    /// None.
    pub const ZERO: Self = Self(0);

    /// Reads `"0.5"`; at most six digits after the point.
    pub fn parse(text: &str) -> Result<Self, DecimalError> {
        decimal::parse(text, Self::SCALE).map(Self)
    }

    /// From a count of `10^-decimals` lots.
    pub fn from_steps(steps: i64, decimals: u8) -> Result<Self, Overflow> {
        let missing = Self::SCALE.checked_sub(decimals).ok_or(Overflow)?;
        let unit = decimal::power_of_ten(missing).ok_or(Overflow)?;
        Self::from_wide(i128::from(steps).checked_mul(unit).ok_or(Overflow)?)
    }

    /// From an intermediate result in millionths.
    pub fn from_wide(millionths: i128) -> Result<Self, Overflow> {
        i64::try_from(millionths).map(Self).map_err(|_| Overflow)
    }

    /// As millionths of a lot.
    pub const fn millionths(self) -> i64 {
        self.0
    }

    /// The sum.
    pub fn plus(self, other: Self) -> Result<Self, Overflow> {
        self.0.checked_add(other.0).map(Self).ok_or(Overflow)
    }

    /// The difference.
    pub fn minus(self, other: Self) -> Result<Self, Overflow> {
        self.0.checked_sub(other.0).map(Self).ok_or(Overflow)
    }

    /// A multiple given in per cent.
    pub fn share(self, percent: Percent, rounding: Rounding) -> Result<Self, Overflow> {
        let product = i128::from(self.0).checked_mul(i128::from(percent.millionths())).ok_or(Overflow)?;
        Self::from_wide(divide(product, i128::from(Percent::WHOLE.millionths()), rounding)?)
    }
}

impl fmt::Display for Lots {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(decimal::write(self.0, Self::SCALE, 0).as_str())
    }
}

impl Serialize for Lots {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        decimal::text_or_integer(serializer, self.0, Self::SCALE, 0)
    }
}

impl<'de> Deserialize<'de> for Lots {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        decimal::integer_from(deserializer, Self::SCALE).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_of_any_instrument_become_lots() {
        assert_eq!(Lots::from_steps(150, 2).unwrap(), Lots::parse("1.5").unwrap());
        assert_eq!(Lots::from_steps(3, 0).unwrap().to_string(), "3");
        let quarter = Percent::parse("25").unwrap();
        assert_eq!(Lots::parse("2").unwrap().share(quarter, Rounding::Floor).unwrap().to_string(), "0.5");
    }
}
