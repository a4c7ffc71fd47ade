//! When a trading day ends: a zone of the tz database and a local time, never an offset.

use std::fmt;

use jiff::civil::{Date, DateTime, Time};
use jiff::tz::{Offset, TimeZone};
use jiff::{SignedDuration, Span};
use serde::{Deserialize, Serialize};

use crate::{TimeError, Timestamp};

/// The clock of a program's resets. One reset happens for every local date, so a day lasts 23, 24 or 25 hours
/// where the zone changes its offset. A local time that the spring change skips resets at the instant the clocks
/// jump by the same amount later (02:30 becomes 03:30); one that the autumn change repeats resets at its first
/// occurrence.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ResetClockText", into = "ResetClockText")]
pub struct ResetClock {
    zone: Zone,
    time: Time,
}

/// A zone of the tz database, or the clock of a server that keeps a fixed number of hours ahead of one, written
/// `America/New_York+07:00`: the platforms whose midnight is 17:00 in New York show GMT+2 in winter and GMT+3 in
/// summer, changing on the days of New York.
#[derive(Clone, PartialEq, Eq)]
pub struct Zone {
    base: TimeZone,
    ahead: SignedDuration,
    name: String,
}

impl Zone {
    /// Finds a zone by its name. The bundled database is asked, not the machine's: a verdict must not depend on which
    /// files a host has.
    pub fn parse(name: &str) -> Result<Self, ResetClockError> {
        let unknown = || ResetClockError::UnknownZone(name.to_owned());
        let find = |name: &str| jiff::tz::TimeZoneDatabase::bundled().get(name).map_err(|_| unknown());
        if let Ok(zone) = find(name) {
            return Ok(Self { base: zone, ahead: SignedDuration::ZERO, name: name.to_owned() });
        }
        let at = name.rfind(['+', '-']).filter(|at| *at > 0).ok_or_else(unknown)?;
        let (base, shift) = name.split_at_checked(at).ok_or_else(unknown)?;
        let (sign, hours) = shift.split_at_checked(1).ok_or_else(unknown)?;
        let hours = Time::strptime("%H:%M", hours).map_err(|_| unknown())?;
        let ahead = hours.duration_since(Time::midnight());
        let ahead = if sign == "-" { ahead.checked_neg().ok_or_else(unknown)? } else { ahead };
        Ok(Self { base: find(base)?, ahead, name: name.to_owned() })
    }

    /// The name it was found by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What the wall clocks of the zone show at an instant.
    fn wall(&self, at: Timestamp) -> Result<DateTime, TimeError> {
        let shown = at.to_jiff()?.to_zoned(self.base.clone()).datetime();
        shown.checked_add(self.ahead).map_err(|_| TimeError)
    }

    /// The instant at which the wall clocks of the zone show a time; see [`ResetClock`] for the times they skip or show
    /// twice.
    fn instant(&self, shown: DateTime) -> Result<Timestamp, TimeError> {
        let shown = shown.checked_sub(self.ahead).map_err(|_| TimeError)?;
        let zoned = shown.to_zoned(self.base.clone()).map_err(|_| TimeError)?;
        Ok(Timestamp::from_micros(zoned.timestamp().as_microsecond()))
    }

    /// The offset from UTC at an instant, such as `+02:00`.
    fn offset(&self, at: Timestamp) -> Result<Offset, TimeError> {
        let offset = self.base.to_offset(at.to_jiff()?);
        offset.checked_add(self.ahead).map_err(|_| TimeError)
    }

    /// An instant on the wall clock of the zone, with its offset, such as `2026-03-29 00:00 +02:00`.
    pub fn local(&self, at: Timestamp) -> Result<String, TimeError> {
        let zoned = at.to_jiff()?.to_zoned(TimeZone::fixed(self.offset(at)?));
        Ok(zoned.strftime("%Y-%m-%d %H:%M %:z").to_string())
    }

    /// The instant of a local time on a date.
    pub fn at(&self, date: TradingDay, time: LocalTime) -> Result<Timestamp, TimeError> {
        self.instant(date.0.to_datetime(time.0))
    }

    /// The first instant strictly after `at` at which the clocks of the zone show `time` on one of the weekdays, given as
    /// numbers from Monday, 0, to Sunday, 6.
    pub fn next_weekly(
        &self,
        at: Timestamp,
        time: LocalTime,
        weekdays: &[u8],
    ) -> Result<Timestamp, TimeError> {
        let mut date = self.wall(at)?.date().yesterday().map_err(|_| TimeError)?;
        for _ in 0..10 {
            let weekday = u8::try_from(date.weekday().to_monday_zero_offset()).map_err(|_| TimeError)?;
            if weekdays.contains(&weekday) {
                let instant = self.instant(date.to_datetime(time.0))?;
                if instant > at {
                    return Ok(instant);
                }
            }
            date = date.tomorrow().map_err(|_| TimeError)?;
        }
        Err(TimeError)
    }

    /// Whether the offset from UTC differs between two instants: the clocks have changed in between.
    pub fn changes_between(&self, from: Timestamp, to: Timestamp) -> Result<bool, TimeError> {
        Ok(self.offset(from)? != self.offset(to)?)
    }
}

/// A time of day on a wall clock, to the minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LocalTime(Time);

impl LocalTime {
    /// Reads `HH:MM`.
    pub fn parse(text: &str) -> Result<Self, ResetClockError> {
        Time::strptime("%H:%M", text).map(Self).map_err(|_| ResetClockError::BadTime(text.to_owned()))
    }
}

impl fmt::Display for LocalTime {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:02}:{:02}", self.0.hour(), self.0.minute())
    }
}

impl TryFrom<String> for LocalTime {
    type Error = ResetClockError;
    fn try_from(text: String) -> Result<Self, ResetClockError> {
        Self::parse(&text)
    }
}

impl From<LocalTime> for String {
    fn from(time: LocalTime) -> Self {
        time.to_string()
    }
}

impl fmt::Debug for Zone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.name)
    }
}

impl Serialize for Zone {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

impl<'de> Deserialize<'de> for Zone {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::parse(&String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// The name of a trading day: the local date that holds most of it. A day from midnight to midnight has that
/// date; one from 17:00 to 17:00 has the date on which it ends, as the markets name it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TradingDay(Date);

/// A reset clock that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResetClockError {
    /// The tz database has no such zone.
    #[error("\"{0}\" is not a zone of the tz database, such as Europe/Prague{hint}", hint = meant(.0))]
    UnknownZone(String),
    /// The time of day is not `HH:MM`.
    #[error("\"{0}\" is not a local time such as 17:00")]
    BadTime(String),
    /// An instant outside the calendar.
    #[error(transparent)]
    Time(#[from] TimeError),
}

/// The zone that somebody may have meant by a name that is none.
fn meant(name: &str) -> String {
    let name = name.trim().to_ascii_uppercase();
    let fixed = ["GMT", "UTC"].iter().find_map(|prefix| {
        let rest = name.strip_prefix(prefix)?.trim();
        let (sign, hours) = rest.split_at_checked(1)?;
        let hours: u8 = hours.parse().ok().filter(|hours| *hours <= 12)?;
        // The names of the database count the hours westwards.
        match sign {
            "+" => Some(format!("Etc/GMT-{hours} for {hours} hours ahead of UTC")),
            "-" => Some(format!("Etc/GMT+{hours} for {hours} hours behind UTC")),
            _ => None,
        }
    });
    let abbreviated = || {
        let letters = name.trim_end_matches(|letter: char| !letter.is_ascii_alphabetic());
        Some(match letters {
            "EST" | "EDT" | "ET" => "America/New_York",
            "CST" | "CDT" | "CT" => "America/Chicago",
            "PST" | "PDT" | "PT" => "America/Los_Angeles",
            "BST" => "Europe/London",
            "CEST" => "Europe/Berlin",
            "EEST" => "Europe/Athens",
            _ => return None,
        })
    };
    let zone =
        fixed.or_else(|| abbreviated().map(|zone| format!("{zone}, whose clocks change by themselves")));
    zone.map_or(String::new(), |zone| format!("; did you mean {zone}?"))
}

#[derive(Serialize, Deserialize)]
struct ResetClockText {
    zone: String,
    time: String,
}

impl ResetClock {
    /// A clock for a zone name and a local `HH:MM`.
    pub fn parse(zone: &str, time: &str) -> Result<Self, ResetClockError> {
        Ok(Self { zone: Zone::parse(zone)?, time: LocalTime::parse(time)?.0 })
    }

    /// The first reset strictly after an instant.
    pub fn next_after(&self, at: Timestamp) -> Result<Timestamp, TimeError> {
        let mut date = self.date_of(at)?.yesterday().map_err(|_| TimeError)?;
        // A reset can lie up to a day off its date only in a zone that skips one; three steps cover it.
        for _ in 0..4 {
            let reset = self.on(date)?;
            if reset > at {
                return Ok(reset);
            }
            date = date.tomorrow().map_err(|_| TimeError)?;
        }
        Err(TimeError)
    }

    /// The last reset at or before an instant: when its trading day began.
    pub fn last_at(&self, at: Timestamp) -> Result<Timestamp, TimeError> {
        let mut date = self.date_of(at)?.tomorrow().map_err(|_| TimeError)?;
        for _ in 0..4 {
            let reset = self.on(date)?;
            if reset <= at {
                return Ok(reset);
            }
            date = date.yesterday().map_err(|_| TimeError)?;
        }
        Err(TimeError)
    }

    /// The trading day an instant belongs to.
    pub fn day_of(&self, at: Timestamp) -> Result<TradingDay, TimeError> {
        let start = self.date_of(self.last_at(at)?)?;
        let date = if self.ends_on_its_date() { start.tomorrow().map_err(|_| TimeError)? } else { start };
        Ok(TradingDay(date))
    }

    /// When a trading day begins: the reset that ends the day before it.
    pub fn start_of(&self, day: TradingDay) -> Result<Timestamp, TimeError> {
        let date = if self.ends_on_its_date() { day.0.yesterday().map_err(|_| TimeError)? } else { day.0 };
        self.on(date)
    }

    fn ends_on_its_date(&self) -> bool {
        self.time.hour() >= 12
    }

    /// The zone's name.
    pub fn zone(&self) -> &str {
        self.zone.name()
    }

    /// The local time as `HH:MM`.
    pub fn time(&self) -> String {
        format!("{:02}:{:02}", self.time.hour(), self.time.minute())
    }

    /// An instant on the wall clock of the zone, see [`Zone::local`].
    pub fn local(&self, at: Timestamp) -> Result<String, TimeError> {
        self.zone.local(at)
    }

    /// Whether the clocks of the zone change between two instants.
    pub fn changes_between(&self, from: Timestamp, to: Timestamp) -> Result<bool, TimeError> {
        self.zone.changes_between(from, to)
    }

    fn date_of(&self, at: Timestamp) -> Result<Date, TimeError> {
        Ok(self.zone.wall(at)?.date())
    }

    fn on(&self, date: Date) -> Result<Timestamp, TimeError> {
        self.zone.instant(date.to_datetime(self.time))
    }
}

impl TradingDay {
    /// Reads `YYYY-MM-DD`.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        text.parse().map(Self).map_err(|_| TimeError)
    }

    /// The day so many days later.
    pub fn plus_days(self, days: u32) -> Result<Self, TimeError> {
        self.0
            .checked_add(Span::new().try_days(days).map_err(|_| TimeError)?)
            .map(Self)
            .map_err(|_| TimeError)
    }

    /// The day so many months later; the last of the month where it has no such day.
    pub fn plus_months(self, months: u32) -> Result<Self, TimeError> {
        self.0
            .checked_add(Span::new().try_months(months).map_err(|_| TimeError)?)
            .map(Self)
            .map_err(|_| TimeError)
    }

    /// Whether it is a Saturday or a Sunday.
    pub fn is_weekend(self) -> bool {
        self.0.weekday().to_monday_zero_offset() >= 5
    }

    /// The day of the week as a number from Monday, 0, to Sunday, 6.
    pub fn weekday(self) -> u8 {
        u8::try_from(self.0.weekday().to_monday_zero_offset()).unwrap_or(0)
    }

    /// Days from another to this one; negative if the other is later.
    pub fn days_since(self, other: Self) -> i32 {
        self.0
            .duration_since(other.0)
            .as_hours()
            .checked_div(24)
            .and_then(|days| i32::try_from(days).ok())
            .unwrap_or(i32::MAX)
    }
}

impl fmt::Display for TradingDay {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}

impl fmt::Debug for TradingDay {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

impl fmt::Debug for ResetClock {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", self.time(), self.zone())
    }
}

impl TryFrom<ResetClockText> for ResetClock {
    type Error = ResetClockError;
    fn try_from(text: ResetClockText) -> Result<Self, ResetClockError> {
        Self::parse(&text.zone, &text.time)
    }
}

impl From<ResetClock> for ResetClockText {
    fn from(clock: ResetClock) -> Self {
        Self { time: clock.time(), zone: clock.zone().to_owned() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    /// The resets of five local dates around a change, as UTC.
    fn resets(zone: &str, time: &str, from: &str, count: usize) -> Vec<String> {
        let clock = ResetClock::parse(zone, time).unwrap();
        let mut instant = at(from);
        (0..count)
            .map(|_| {
                instant = clock.next_after(instant).unwrap();
                instant.to_string().replace(":00.000000Z", "Z")
            })
            .collect()
    }

    #[test]
    fn prague_midnight_across_both_changes() {
        for (from, days) in [
            ("2026-03-27T23:30:00Z", ["2026-03-28T23:00Z", "2026-03-29T22:00Z", "2026-03-30T22:00Z"]),
            ("2026-10-24T12:00:00Z", ["2026-10-24T22:00Z", "2026-10-25T23:00Z", "2026-10-26T23:00Z"]),
            ("2027-03-27T12:00:00Z", ["2027-03-27T23:00Z", "2027-03-28T22:00Z", "2027-03-29T22:00Z"]),
            ("2027-10-30T12:00:00Z", ["2027-10-30T22:00Z", "2027-10-31T23:00Z", "2027-11-01T23:00Z"]),
        ] {
            assert_eq!(resets("Europe/Prague", "00:00", from, 3), days);
        }
    }

    #[test]
    fn new_york_close_across_both_changes() {
        for (from, days) in [
            ("2026-03-07T12:00:00Z", ["2026-03-07T22:00Z", "2026-03-08T21:00Z", "2026-03-09T21:00Z"]),
            ("2026-10-31T12:00:00Z", ["2026-10-31T21:00Z", "2026-11-01T22:00Z", "2026-11-02T22:00Z"]),
            ("2027-03-13T12:00:00Z", ["2027-03-13T22:00Z", "2027-03-14T21:00Z", "2027-03-15T21:00Z"]),
            ("2027-11-06T12:00:00Z", ["2027-11-06T21:00Z", "2027-11-07T22:00Z", "2027-11-08T22:00Z"]),
        ] {
            assert_eq!(resets("America/New_York", "17:00", from, 3), days);
        }
    }

    #[test]
    fn chicago_session_across_both_changes() {
        for (from, days) in [
            ("2026-03-07T12:00:00Z", ["2026-03-07T23:00Z", "2026-03-08T22:00Z", "2026-03-09T22:00Z"]),
            ("2026-10-31T12:00:00Z", ["2026-10-31T22:00Z", "2026-11-01T23:00Z", "2026-11-02T23:00Z"]),
            ("2027-03-13T12:00:00Z", ["2027-03-13T23:00Z", "2027-03-14T22:00Z", "2027-03-15T22:00Z"]),
            ("2027-11-06T12:00:00Z", ["2027-11-06T22:00Z", "2027-11-07T23:00Z", "2027-11-08T23:00Z"]),
        ] {
            assert_eq!(resets("America/Chicago", "17:00", from, 3), days);
        }
    }

    #[test]
    fn a_fixed_offset_never_moves() {
        for from in
            ["2026-03-28T12:00:00Z", "2026-10-24T12:00:00Z", "2027-03-13T12:00:00Z", "2027-11-06T12:00:00Z"]
        {
            for reset in resets("Etc/GMT-3", "00:00", from, 5) {
                assert!(reset.ends_with("T21:00Z"), "{reset}");
            }
        }
    }

    #[test]
    fn a_server_seven_hours_ahead_of_new_york_has_its_midnight_at_its_close() {
        for from in ["2026-03-07T12:00:00Z", "2026-10-31T12:00:00Z", "2027-03-13T12:00:00Z"] {
            assert_eq!(
                resets("America/New_York+07:00", "00:00", from, 5),
                resets("America/New_York", "17:00", from, 5)
            );
        }
        let server = Zone::parse("America/New_York+07:00").unwrap();
        assert_eq!(server.local(at("2023-03-14T23:00:00Z")).unwrap(), "2023-03-15 02:00 +03:00");
        assert_eq!(server.local(at("2023-01-14T23:00:00Z")).unwrap(), "2023-01-15 01:00 +02:00");
    }

    #[test]
    fn a_weekly_time_is_found_across_a_change() {
        let new_york = Zone::parse("America/New_York").unwrap();
        let time = LocalTime::parse("15:45").unwrap();
        let friday = new_york.next_weekly(at("2026-03-06T20:45:00Z"), time, &[4]).unwrap();
        assert_eq!(friday, at("2026-03-13T19:45:00Z"), "strictly after, and summer time has begun");
        assert!(new_york.changes_between(at("2026-03-06T20:45:00Z"), friday).unwrap());
    }

    #[test]
    fn a_skipped_time_moves_on_and_a_doubled_time_counts_once() {
        assert_eq!(
            resets("Europe/Prague", "02:30", "2026-03-28T12:00:00Z", 2),
            ["2026-03-29T01:30Z", "2026-03-30T00:30Z"],
            "02:30 does not exist on 29 March: 03:30 local"
        );
        assert_eq!(
            resets("Europe/Prague", "02:30", "2026-10-24T12:00:00Z", 2),
            ["2026-10-25T00:30Z", "2026-10-26T01:30Z"],
            "02:30 happens twice on 25 October: the first counts"
        );
    }

    #[test]
    fn every_local_date_of_four_years_has_one_reset() {
        for (zone, time) in [
            ("Europe/Prague", "00:00"),
            ("America/New_York", "17:00"),
            ("America/Chicago", "17:00"),
            ("Etc/GMT-3", "00:00"),
            ("Africa/Casablanca", "02:30"),
            ("Australia/Lord_Howe", "02:15"),
        ] {
            let clock = ResetClock::parse(zone, time).unwrap();
            let mut instant = at("2025-01-01T12:00:00Z");
            let mut day = clock.day_of(instant).unwrap();
            for _ in 0..1461 {
                let next = clock.next_after(instant).unwrap();
                let hours = next.since(clock.last_at(instant).unwrap()).unwrap().micros() / 1_800_000_000;
                assert!((46..=50).contains(&hours), "{zone} {next}: {hours} half hours");
                let following = clock.day_of(next).unwrap();
                assert_eq!(following.0, day.0.tomorrow().unwrap(), "{zone} {next}");
                assert_eq!(clock.last_at(next).unwrap(), next);
                (instant, day) = (next, following);
            }
        }
    }

    #[test]
    fn a_day_is_named_by_the_date_that_holds_most_of_it() {
        let new_york = ResetClock::parse("America/New_York", "17:00").unwrap();
        assert_eq!(new_york.day_of(at("2026-03-08T21:00:00Z")).unwrap().to_string(), "2026-03-09");
        let prague = ResetClock::parse("Europe/Prague", "00:00").unwrap();
        assert_eq!(prague.day_of(at("2026-03-28T23:00:00Z")).unwrap().to_string(), "2026-03-29");
        assert_eq!(prague.local(at("2026-03-28T23:00:00Z")).unwrap(), "2026-03-29 00:00 +01:00");
    }

    #[test]
    fn unknown_zones_and_times_are_named() {
        assert!(matches!(
            ResetClock::parse("Europe/Atlantis", "00:00"),
            Err(ResetClockError::UnknownZone(_))
        ));
        assert!(matches!(ResetClock::parse("Europe/Prague", "25:00"), Err(ResetClockError::BadTime(_))));
        let json = r#"{"zone":"Europe/Prague","time":"00:00"}"#;
        let clock: ResetClock = serde_json::from_str(json).unwrap();
        assert_eq!(serde_json::to_string(&clock).unwrap(), json);
    }
}
