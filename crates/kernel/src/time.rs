//! Instants in whole microseconds, because PostgreSQL keeps no more and a hash must read back the same.

use std::fmt;
use std::time::Duration;

use serde::de::Visitor;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::Overflow;
use crate::buffer::Buffer;

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

/// A length of time in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Span(i64);

/// A text that is not an instant, or an instant outside the years the calendar covers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not an RFC 3339 instant such as 2026-03-08T21:00:00Z")]
pub struct TimeError;

impl Timestamp {
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Self = Self(0);

    /// From microseconds since the epoch.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// As microseconds since the epoch.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Reads RFC 3339; digits below a microsecond are refused.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        let instant: jiff::Timestamp = text.parse().map_err(|_| TimeError)?;
        if instant.as_nanosecond().checked_rem(1_000) == Some(0) {
            Ok(Self(instant.as_microsecond()))
        } else {
            Err(TimeError)
        }
    }

    /// Later by a span.
    pub fn after(self, span: Span) -> Result<Self, Overflow> {
        self.0.checked_add(span.0).map(Self).ok_or(Overflow)
    }

    /// The instant a span earlier.
    pub fn before(self, span: Span) -> Result<Self, Overflow> {
        self.0.checked_sub(span.0).map(Self).ok_or(Overflow)
    }

    /// Whether it is a Saturday or a Sunday in UTC.
    pub fn is_weekend(self) -> bool {
        // Day 0 of the epoch was a Thursday.
        let days = self.0.div_euclid(86_400_000_000);
        matches!(days.rem_euclid(7), 2 | 3)
    }

    /// How long ago `earlier` was; negative if it lies ahead.
    pub fn since(self, earlier: Self) -> Result<Span, Overflow> {
        self.0.checked_sub(earlier.0).map(Span).ok_or(Overflow)
    }

    pub(crate) fn to_jiff(self) -> Result<jiff::Timestamp, TimeError> {
        jiff::Timestamp::from_microsecond(self.0).map_err(|_| TimeError)
    }
}

/// The longest span for a longer time.
impl From<Duration> for Span {
    fn from(duration: Duration) -> Self {
        Self(i64::try_from(duration.as_micros()).unwrap_or(i64::MAX))
    }
}

/// No time at all for a negative span.
impl From<Span> for Duration {
    fn from(span: Span) -> Self {
        Self::from_micros(u64::try_from(span.0).unwrap_or_default())
    }
}

impl Span {
    /// No time at all.
    pub const ZERO: Self = Self(0);

    /// From minutes.
    pub fn from_minutes(minutes: u32) -> Result<Self, Overflow> {
        i64::from(minutes).checked_mul(60_000_000).map(Self).ok_or(Overflow)
    }

    /// From microseconds.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// From milliseconds; panics at compile time if out of range.
    pub const fn from_millis(millis: i32) -> Self {
        Self::from_seconds_and_micros(0, millis)
    }

    /// From seconds.
    pub const fn from_seconds(seconds: i32) -> Self {
        Self::from_seconds_and_micros(seconds, 0)
    }

    #[expect(
        clippy::arithmetic_side_effects,
        clippy::as_conversions,
        reason = "i32 seconds and milliseconds in microseconds are far inside i64; From is not const"
    )]
    const fn from_seconds_and_micros(seconds: i32, millis: i32) -> Self {
        Self(seconds as i64 * 1_000_000 + millis as i64 * 1_000)
    }

    /// Whole days of 24 hours.
    pub fn from_days(days: u32) -> Result<Self, Overflow> {
        i64::from(days).checked_mul(86_400_000_000).map(Self).ok_or(Overflow)
    }

    /// As microseconds.
    pub const fn micros(self) -> i64 {
        self.0
    }
}

const MICROS_OF_DAY: i64 = 86_400_000_000;

/// An instant of the years 0 to 9999 in RFC 3339 with microseconds.
fn write_common(micros: i64) -> Option<Buffer> {
    let of_day = micros.rem_euclid(MICROS_OF_DAY).unsigned_abs();
    let (year, month, day) = civil(micros.div_euclid(MICROS_OF_DAY));
    let year = u64::try_from(year).ok().filter(|year| *year <= 9_999)?;
    let seconds = of_day / 1_000_000;
    let mut text = Buffer::new();
    text.push(b'Z');
    text.push_digits(of_day % 1_000_000, 6);
    for (number, before) in [(seconds % 60, b'.'), (seconds / 60 % 60, b':'), (seconds / 3_600, b':')] {
        text.push(before);
        text.push_digits(number, 2);
    }
    for (number, before) in [(day, b'T'), (month, b'-')] {
        text.push(before);
        text.push_digits(number, 2);
    }
    text.push(b'-');
    text.push_digits(year, 4);
    Some(text)
}

/// Year, month and day of a day counted from 1970-01-01 in the Gregorian calendar: years that begin in March, so that the
/// day that comes and goes is the last of its year; 400 of them have 146,097 days.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "days of 64-bit microseconds are far inside i64, and so is the rest"
)]
fn civil(day: i64) -> (i64, u64, u64) {
    let day = day + 719_468;
    let (era, of_era) = (day.div_euclid(146_097), day.rem_euclid(146_097));
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let from_march = (5 * of_year + 2) / 153;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    let year = era * 400 + year + i64::from(month <= 2);
    (year, month.unsigned_abs(), (of_year - (153 * from_march + 2) / 5 + 1).unsigned_abs())
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(text) = write_common(self.0) {
            return formatter.write_str(text.as_str());
        }
        match self.to_jiff() {
            Ok(instant) => write!(formatter, "{instant:.6}"),
            Err(_) => write!(formatter, "{} µs", self.0),
        }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if !serializer.is_human_readable() {
            return serializer.serialize_i64(self.0);
        }
        match write_common(self.0) {
            Some(text) => serializer.serialize_str(text.as_str()),
            None => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Timestamp;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("an instant such as \"2026-03-08T21:00:00Z\"")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Timestamp, E> {
                Timestamp::parse(text).map_err(E::custom)
            }
        }
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Text)
        } else {
            i64::deserialize(deserializer).map(Self)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn instants_are_printed_as_the_calendar_library_prints_them(micros in -62_200_000_000_000_000..=253_402_207_200_999_999_i64) {
            let instant = Timestamp::from_micros(micros);
            let library = std::format!("{:.6}", instant.to_jiff().unwrap());
            prop_assert_eq!(instant.to_string(), library.clone());
            prop_assert_eq!(serde_json::to_string(&instant).unwrap(), std::format!("\"{library}\""));
            prop_assert_eq!(Timestamp::parse(&library), Ok(instant));
        }
    }

    #[test]
    fn every_day_of_the_calendar_is_printed_right() {
        let first = Timestamp::parse("0000-01-01T00:00:00Z").unwrap();
        let days = 10_000_i64 * 365 + 2_425;
        for day in 0..days - 2 {
            let instant = Timestamp::from_micros(first.micros() + day * MICROS_OF_DAY);
            assert_eq!(instant.to_string(), std::format!("{:.6}", instant.to_jiff().unwrap()));
        }
    }

    #[test]
    fn weekends_are_known() {
        for (text, weekend) in [
            ("1970-01-01T00:00:00Z", false),
            ("2026-11-20T23:59:59Z", false),
            ("2026-11-21T00:00:00Z", true),
            ("2026-11-22T23:59:59Z", true),
            ("2026-11-23T00:00:00Z", false),
        ] {
            assert_eq!(Timestamp::parse(text).unwrap().is_weekend(), weekend, "{text}");
        }
    }

    #[test]
    fn text_keeps_microseconds_and_refuses_less() {
        let instant = Timestamp::parse("2014-05-02T12:30:01.500001Z").unwrap();
        assert_eq!(instant.to_string(), "2014-05-02T12:30:01.500001Z");
        assert_eq!(Timestamp::parse("2014-05-02T14:30:01.500001+02:00").unwrap(), instant);
        assert!(Timestamp::parse("2014-05-02T12:30:01.5000015Z").is_err());
        assert!(Timestamp::parse("yesterday").is_err());
        assert_eq!(Timestamp::EPOCH.to_string(), "1970-01-01T00:00:00.000000Z");
    }
}
