//! Ratios with a type, so that a fraction, a per cent and a direction cannot be mistaken for each other.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{DecimalError, Overflow, Rounding, decimal, divide};

/// A share in per cent with four digits after the point: `"5"` is five per cent, one twentieth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent(i64);

impl Percent {
    const SCALE: u8 = 4;
    /// One hundred per cent.
    pub const WHOLE: Self = Self(1_000_000);

    /// So many per cent.
    pub const fn from_whole(percent: i32) -> Self {
        #[expect(
            clippy::arithmetic_side_effects,
            clippy::as_conversions,
            reason = "an i32 times ten thousand is far inside i64; From is not const"
        )]
        Self(percent as i64 * 10_000)
    }

    /// Reads `"5"` or `"0.5"`: per cent, not a fraction.
    pub fn parse(text: &str) -> Result<Self, DecimalError> {
        decimal::parse(text, Self::SCALE).map(Self)
    }

    /// `part` of `whole` for reading, rounded half to even at the fourth digit; nothing of nothing is nothing.
    /// Comparisons are made on products and never on this.
    pub fn of(part: i64, whole: i64) -> Result<Self, Overflow> {
        if whole == 0 {
            return Ok(Self(0));
        }
        let millionths = i128::from(part).checked_mul(i128::from(Self::WHOLE.0)).ok_or(Overflow)?;
        let share = divide(millionths, i128::from(whole), Rounding::HalfEven)?;
        i64::try_from(share).map(Self).map_err(|_| Overflow)
    }

    /// What is left of the whole.
    pub fn rest(self) -> Result<Self, Overflow> {
        Self::WHOLE.0.checked_sub(self.0).map(Self).ok_or(Overflow)
    }

    /// As millionths of the whole.
    pub const fn millionths(self) -> i64 {
        self.0
    }
}

impl fmt::Display for Percent {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(decimal::write(self.0, Self::SCALE, 0).as_str())
    }
}

impl Serialize for Percent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        decimal::text_or_integer(serializer, self.0, Self::SCALE, 0)
    }
}

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        decimal::integer_from(deserializer, Self::SCALE).map(Self)
    }
}
