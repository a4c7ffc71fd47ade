//! Small texts that several answers share, and how those of requests are read.

use app::AppError;
use app::catalogue::Country;
use kernel::{Currency, Money, Percent, Timestamp};

/// An instant in RFC 3339 with microseconds.
pub fn time(at: Timestamp) -> String {
    at.to_string()
}

/// An instant of a request's field.
pub fn read_time(pointer: &str, text: &str) -> Result<Timestamp, AppError> {
    Timestamp::parse(text)
        .map_err(|_| AppError::field(pointer, "Use RFC 3339, such as 2026-01-09T13:30:00Z."))
}

/// A country of a request's field.
pub fn read_country(pointer: &str, text: &str) -> Result<Country, AppError> {
    let say = "Name a country by its two capital letters, such as DE.";
    Country::parse(text).ok_or_else(|| AppError::field(pointer, say))
}

/// A currency of a request's field.
pub fn read_currency(pointer: &str, text: &str) -> Result<Currency, AppError> {
    Currency::parse(text)
        .map_err(|error| AppError::field(pointer, format!("This is no price's currency: {error}.")))
}

/// An amount of a request's field.
pub fn read_money(pointer: &str, text: &str, currency: Currency) -> Result<Money, AppError> {
    Money::parse(text, currency).map_err(|error| AppError::field(pointer, format!("This is {error}.")))
}

/// A share of a request's field, in per cent.
pub fn read_percent(pointer: &str, text: &str) -> Result<Percent, AppError> {
    Percent::parse(text).map_err(|error| AppError::field(pointer, format!("This is {error}.")))
}
