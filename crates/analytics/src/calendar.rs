//! Days counted from 1970-01-01 in UTC, and the weeks and months that they lie in.

use kernel::{Span, Timestamp};

const MICROS_OF_DAY: i64 = 86_400_000_000;

/// The day of an instant.
pub fn day_of(at: Timestamp) -> i32 {
    i32::try_from(at.micros().div_euclid(MICROS_OF_DAY)).unwrap_or(i32::MAX)
}

/// A day's first instant.
pub fn start_of(day: i32) -> Timestamp {
    Timestamp::from_micros(i64::from(day).saturating_mul(MICROS_OF_DAY))
}

/// `2026-01-05`.
pub fn date(day: i32) -> String {
    let mut text = start_of(day).to_string();
    text.truncate(10);
    text
}

/// Reads `2026-01-05`.
pub fn parse(text: &str) -> Option<i32> {
    let well_formed = text.len() == 10 && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
    let at = well_formed.then(|| Timestamp::parse(&format!("{text}T00:00:00Z")).ok()).flatten()?;
    Some(day_of(at))
}

/// The Monday at or before a day.
pub fn week_of(day: i32) -> i32 {
    // Day 0 was a Thursday.
    day.saturating_sub(day.saturating_add(3).rem_euclid(7))
}

/// The first of the month of a day.
pub fn month_of(day: i32) -> i32 {
    let in_month: i32 = date(day).get(8..).and_then(|text| text.parse().ok()).unwrap_or(1);
    day.saturating_sub(in_month.saturating_sub(1))
}

/// The first of the month before.
pub fn previous_month(day: i32) -> i32 {
    month_of(month_of(day).saturating_sub(1))
}

/// How long ago, in whole seconds.
pub fn seconds_since(now: Timestamp, then: Timestamp) -> i64 {
    now.since(then).map_or(0, Span::micros).max(0).div_euclid(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weeks_and_months_begin_where_the_calendar_says() {
        for (day, week, month, before) in [
            ("2026-01-05", "2026-01-05", "2026-01-01", "2025-12-01"),
            ("2026-01-04", "2025-12-29", "2026-01-01", "2025-12-01"),
            ("2024-02-29", "2024-02-26", "2024-02-01", "2024-01-01"),
            ("2024-03-31", "2024-03-25", "2024-03-01", "2024-02-01"),
            ("1970-01-01", "1969-12-29", "1970-01-01", "1969-12-01"),
        ] {
            let number = parse(day).unwrap();
            assert_eq!(date(number), day);
            assert_eq!(date(week_of(number)), week, "{day}");
            assert_eq!(date(month_of(number)), month, "{day}");
            assert_eq!(date(previous_month(number)), before, "{day}");
        }
        assert_eq!(parse("2026-02-30"), None);
        assert_eq!(parse("2026-1-05"), None);
    }
}
