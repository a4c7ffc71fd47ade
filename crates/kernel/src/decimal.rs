//! Decimal text to scaled integers and back, exactly. One parser and one printer for every number in the system.

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::ser::Serializer;

use crate::buffer::Buffer;

/// The most digits after the point that any value carries.
pub const MAX_SCALE: u8 = 12;

/// Why a text is not a number of the wanted scale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum DecimalError {
    /// Not of the form `-?digits(.digits)?`.
    #[error("not a plain decimal number such as 1250.50")]
    Malformed,
    /// More digits after the point than the value can hold.
    #[error("more than {0} digits after the point")]
    TooPrecise(u8),
    /// Outside the range of a 64-bit integer at this scale.
    #[error("outside the range of exact numbers")]
    OutOfRange,
}

/// Reads `-?digits(.digits)?` as an integer count of `10^-scale`. No exponent, no sign but a leading minus, no
/// spaces, no rounding: a digit that would be lost is an error.
pub fn parse(text: &str, scale: u8) -> Result<i64, DecimalError> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = match digits.split_once('.') {
        Some((_, "")) => return Err(DecimalError::Malformed),
        Some(parts) => parts,
        None => (digits, ""),
    };
    let all_digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || !all_digits(whole) || !all_digits(fraction) {
        return Err(DecimalError::Malformed);
    }
    let fraction = fraction.trim_end_matches('0');
    let missing = usize::from(scale).checked_sub(fraction.len()).ok_or(DecimalError::TooPrecise(scale))?;
    let digits = whole.bytes().chain(fraction.bytes()).chain(std::iter::repeat_n(b'0', missing));
    // Counting downwards from zero lets i64::MIN through without a special case.
    let mut value: i64 = 0;
    for digit in digits {
        let digit = i64::from(digit.wrapping_sub(b'0'));
        value = value
            .checked_mul(10)
            .and_then(|value| value.checked_sub(digit))
            .ok_or(DecimalError::OutOfRange)?;
    }
    if negative { Ok(value) } else { value.checked_neg().ok_or(DecimalError::OutOfRange) }
}

/// Prints an integer count of `10^-scale` with at least `least` and at most `scale` digits after the point;
/// zeros beyond `least` are dropped.
pub fn format(value: i64, scale: u8, least: u8) -> String {
    write(value, scale, least).as_str().to_owned()
}

/// The same, to be read at once.
pub(crate) fn write(value: i64, scale: u8, least: u8) -> Buffer {
    let mut text = Buffer::new();
    let mut rest = value.unsigned_abs();
    let mut begun = false;
    for place in (1..=scale).rev() {
        begun = begun || place <= least || !rest.is_multiple_of(10);
        rest = if begun { text.push_digit(rest) } else { rest / 10 };
    }
    if begun {
        text.push(b'.');
    }
    rest = text.push_digit(rest);
    while rest > 0 {
        rest = text.push_digit(rest);
    }
    if value < 0 {
        text.push(b'-');
    }
    text
}

/// `10^exponent` for the exponents in use.
pub fn power_of_ten(exponent: u8) -> Option<i128> {
    10_i128.checked_pow(u32::from(exponent))
}

/// Serialises a count of `10^-scale` as decimal text ([`format`]) where a person may read it and as the bare integer in binary
/// formats.
pub fn text_or_integer<S: Serializer>(
    serializer: S,
    value: i64,
    scale: u8,
    least: u8,
) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        serializer.serialize_str(write(value, scale, least).as_str())
    } else {
        serializer.serialize_i64(value)
    }
}

/// The counterpart of [`text_or_integer`]. A JSON *number* is refused: it may have passed through a float.
pub fn integer_from<'de, D: Deserializer<'de>>(deserializer: D, scale: u8) -> Result<i64, D::Error> {
    struct Text(u8);
    impl Visitor<'_> for Text {
        type Value = i64;
        fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            formatter.write_str("a decimal number as a string, such as \"1250.50\"")
        }
        fn visit_str<E: de::Error>(self, text: &str) -> Result<i64, E> {
            parse(text, self.0).map_err(E::custom)
        }
    }
    if deserializer.is_human_readable() {
        deserializer.deserialize_str(Text(scale))
    } else {
        i64::deserialize(deserializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_only_plain_decimals() {
        assert_eq!(parse("1.5", 2), Ok(150));
        assert_eq!(parse("-0.05", 2), Ok(-5));
        assert_eq!(parse("1.500", 1), Ok(15), "zeros at the end lose nothing");
        assert_eq!(parse("9007199254740993.01", 2), Ok(900_719_925_474_099_301));
        assert_eq!(parse("1.005", 2), Err(DecimalError::TooPrecise(2)));
        assert_eq!(parse("92233720368547758.08", 2), Err(DecimalError::OutOfRange));
        assert_eq!(parse("-92233720368547758.08", 2), Ok(i64::MIN));
        for bad in ["", "-", ".5", "5.", "+1", "1e3", " 1", "1,000", "NaN", "0x1", "１"] {
            assert_eq!(parse(bad, 2), Err(DecimalError::Malformed), "{bad:?}");
        }
    }

    #[test]
    fn prints_what_is_needed() {
        assert_eq!(format(150, 2, 2), "1.50");
        assert_eq!(format(-5, 2, 2), "-0.05");
        assert_eq!(format(1_000_000, 6, 2), "1.00");
        assert_eq!(format(1_000_100, 6, 2), "1.0001");
        assert_eq!(format(7, 0, 0), "7");
        assert_eq!(format(i64::MIN, 2, 2), "-92233720368547758.08");
    }

    proptest! {
        #[test]
        fn text_and_integer_are_one(value: i64, scale in 0_u8..=MAX_SCALE, least in 0_u8..=MAX_SCALE) {
            prop_assert_eq!(parse(&format(value, scale, least), scale), Ok(value));
        }
        #[test]
        fn as_few_digits_as_allowed(value: i64, scale in 0_u8..=MAX_SCALE, least in 0_u8..=MAX_SCALE) {
            let text = format(value, scale, least);
            let fraction = text.split_once('.').map_or("", |(_, fraction)| fraction);
            prop_assert!(fraction.len() >= usize::from(least.min(scale)) && fraction.len() <= usize::from(scale));
            prop_assert!(fraction.len() == usize::from(least.min(scale)) || !fraction.ends_with('0'), "{}", text);
            prop_assert_eq!(text.starts_with('-'), value < 0);
        }
        #[test]
        fn any_text_is_read_or_refused(text in ".{0,40}", scale in 0_u8..=MAX_SCALE) {
            let _ = parse(&text, scale);
        }
    }
}
