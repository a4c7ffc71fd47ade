//! When a trading day ends: a zone of the tz database and a local time, never an offset.

use std::fmt;

use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use crate::{TimeError, Timestamp};

/// The clock of a program's resets. One reset happens for every local date, so a day lasts 23, 24 or 25 hours
/// where the zone changes its offset. A local time that the spring change skips resets at the instant the clocks
/// jump by the same amount later (02:30 becomes 03:30); one that the autumn change repeats resets at its first
/// occurrence.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ResetClockText", into = "ResetClockText")]
pub struct ResetClock {
    zone: TimeZone,
    zone_name: String,
    time: Time,
}

/// The name of a trading day: the local date that holds most of it. A day from midnight to midnight has that
/// date; one from 17:00 to 17:00 has the date on which it ends, as the markets name it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TradingDay(Date);

/// A reset clock that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResetClockError {
    /// The tz database has no such zone.
    #[error("\"{0}\" is not a zone of the tz database, such as Europe/Prague")]
    UnknownZone(String),
    /// The time of day is not `HH:MM`.
    #[error("\"{0}\" is not a local time such as 17:00")]
    BadTime(String),
    /// An instant outside the calendar.
    #[error(transparent)]
    Time(#[from] TimeError),
}

#[derive(Serialize, Deserialize)]
struct ResetClockText {
    zone: String,
    time: String,
}

impl ResetClock {
    /// A clock for a zone name and a local `HH:MM`.
    pub fn parse(zone: &str, time: &str) -> Result<Self, ResetClockError> {
        // The bundled database, not the machine's: a verdict must not depend on which files a host has.
        let found = jiff::tz::TimeZoneDatabase::bundled()
            .get(zone)
            .map_err(|_| ResetClockError::UnknownZone(zone.to_owned()))?;
        let bad_time = || ResetClockError::BadTime(time.to_owned());
        let parsed = Time::strptime("%H:%M", time).map_err(|_| bad_time())?;
        Ok(Self { zone: found, zone_name: zone.to_owned(), time: parsed })
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
        let start = self.last_at(at)?.to_jiff()?.to_zoned(self.zone.clone()).date();
        let ends_on_its_date = self.time.hour() >= 12;
        let date = if ends_on_its_date { start.tomorrow().map_err(|_| TimeError)? } else { start };
        Ok(TradingDay(date))
    }

    /// The zone's name.
    pub fn zone(&self) -> &str {
        &self.zone_name
    }

    /// The local time as `HH:MM`.
    pub fn time(&self) -> String {
        format!("{:02}:{:02}", self.time.hour(), self.time.minute())
    }

    /// An instant on the wall clock of the zone, with its offset, such as `2026-03-29 00:00 +02:00`.
    pub fn local(&self, at: Timestamp) -> Result<String, TimeError> {
        let zoned = at.to_jiff()?.to_zoned(self.zone.clone());
        Ok(zoned.strftime("%Y-%m-%d %H:%M %:z").to_string())
    }

    fn date_of(&self, at: Timestamp) -> Result<Date, TimeError> {
        Ok(at.to_jiff()?.to_zoned(self.zone.clone()).date())
    }

    fn on(&self, date: Date) -> Result<Timestamp, TimeError> {
        let zoned = date.to_datetime(self.time).to_zoned(self.zone.clone()).map_err(|_| TimeError)?;
        Ok(Timestamp::from_micros(zoned.timestamp().as_microsecond()))
    }
}

impl TradingDay {
    /// Reads `YYYY-MM-DD`.
    pub fn parse(text: &str) -> Result<Self, TimeError> {
        text.parse().map(Self).map_err(|_| TimeError)
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
        write!(formatter, "{} {}", self.time(), self.zone_name)
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
        Self { time: clock.time(), zone: clock.zone_name }
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
