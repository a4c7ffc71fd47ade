//! How many of a month's payments are disputed, and when that is too many.

use std::fmt;

use kernel::Timestamp;

use crate::AppError;
use crate::ledger::Provider;

/// A month in UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month {
    year: u16,
    month: u8,
}

impl Month {
    /// Reads `2026-06`.
    pub fn parse(text: &str) -> Option<Self> {
        let (year, month) = text.split_once('-')?;
        let digits =
            |text: &str, count: usize| text.len() == count && text.bytes().all(|it| it.is_ascii_digit());
        if !digits(year, 4) || !digits(month, 2) {
            return None;
        }
        let (year, month) = (year.parse().ok()?, month.parse().ok()?);
        ((2_000..=9_000).contains(&year) && (1..=12).contains(&month)).then_some(Self { year, month })
    }

    /// The month of an instant.
    pub fn of(at: Timestamp) -> Result<Self, AppError> {
        let text: String = at.to_string().chars().take(7).collect();
        Self::parse(&text)
            .ok_or_else(|| AppError::bug("reading the clock")(format!("{at} has no month").into()))
    }

    /// Its first instant, and that of the next one.
    pub fn bounds(self) -> Result<(Timestamp, Timestamp), AppError> {
        let next = match self.month {
            12 => Self { year: self.year.saturating_add(1), month: 1 },
            _ => Self { month: self.month.saturating_add(1), ..self },
        };
        let first = |month: Self| {
            Timestamp::parse(&format!("{month}-01T00:00:00Z"))
                .map_err(|error| AppError::bug("reading a month")(Box::new(error)))
        };
        Ok((first(self)?, first(next)?))
    }
}

impl fmt::Display for Month {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:04}-{:02}", self.year, self.month)
    }
}

/// A provider's disputes and payments of a month. Questions that took no money do not count.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rate {
    /// Whose.
    pub provider: Provider,
    /// When.
    pub month: Month,
    /// How many began.
    pub disputes: i64,
    /// How many payments were captured.
    pub payments: i64,
}

impl Rate {
    /// Disputes in a million payments; all of them if there are disputes and no payments.
    pub fn millionths(&self) -> i64 {
        let product = self.disputes.saturating_mul(1_000_000);
        product.checked_div(self.payments).unwrap_or(if self.disputes > 0 { 1_000_000 } else { 0 })
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Look at it.
    Warn,
    /// The providers are about to act.
    Alert,
}

impl Level {
    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Warn => "warn",
            Self::Alert => "alert",
        }
    }
}

/// From which rate on it is told. The usual ones are below what card schemes act upon: 0.9 % of payments, or 1 % and a hundred.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Thresholds {
    /// In millionths.
    pub warn: i64,
    /// In millionths.
    pub alert: i64,
    /// With fewer payments in a month nothing is told: one dispute would be a high rate.
    pub least_payments: i64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self { warn: 5_000, alert: 6_500, least_payments: 100 }
    }
}

impl Thresholds {
    /// Which levels a rate has reached, the lower one first.
    pub fn levels(&self, rate: &Rate) -> Vec<Level> {
        if rate.payments < self.least_payments || rate.disputes == 0 {
            return Vec::new();
        }
        let reached = |(level, from)| (rate.millionths() >= from).then_some(level);
        [(Level::Warn, self.warn), (Level::Alert, self.alert)].into_iter().filter_map(reached).collect()
    }

    /// The highest.
    pub fn level(&self, rate: &Rate) -> Option<Level> {
        self.levels(rate).pop()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(disputes: i64, payments: i64) -> Rate {
        let provider = Provider::parse("stripe").unwrap();
        Rate { provider, month: Month::parse("2026-12").unwrap(), disputes, payments }
    }

    #[test]
    fn a_rate_is_told_from_its_threshold_on_and_not_below_the_least_volume() {
        let thresholds = Thresholds::default();
        let told = |disputes, payments| thresholds.level(&rate(disputes, payments));
        assert_eq!(told(0, 1_000), None);
        assert_eq!(told(4, 1_000), None);
        assert_eq!(told(5, 1_000), Some(Level::Warn));
        assert_eq!(told(6, 1_000), Some(Level::Warn));
        assert_eq!(told(13, 2_000), Some(Level::Alert));
        assert_eq!(told(5, 99), None);
        assert_eq!(told(1, 100), Some(Level::Alert));
        assert_eq!(thresholds.levels(&rate(7, 1_000)), [Level::Warn, Level::Alert]);
        assert_eq!(rate(1, 0).millionths(), 1_000_000);
    }

    #[test]
    fn a_month_ends_where_the_next_one_begins() {
        let month = Month::parse("2026-12").unwrap();
        let (from, to) = month.bounds().unwrap();
        assert_eq!(Month::of(from).unwrap(), month);
        assert_eq!(Month::of(to).unwrap().to_string(), "2027-01");
        for bad in ["2026-13", "2026-1", "26-01", "2026-00", "2026/01", "+026-01"] {
            assert_eq!(Month::parse(bad), None, "{bad}");
        }
    }
}
