//! Version 1: a file for each area; in it the requests, the answers and the handlers.

pub mod access;
mod accounts;
mod business;
mod leaderboard;

use axum::extract::FromRequestParts;
use http::request::Parts;
use kernel::{AccountId, FirmId, Overflow, decimal};
use serve::problem::Problem;
use store::Token;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;

use crate::Analytics;

/// All of version 1.
pub fn router() -> OpenApiRouter<Analytics> {
    OpenApiRouter::new().merge(leaderboard::router()).merge(accounts::router()).merge(business::router())
}

/// A period that is ranked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Period {
    /// A day of UTC.
    Day,
    /// A week from Monday, in UTC.
    Week,
    /// A month, in UTC.
    Month,
    /// Since the account was opened.
    #[default]
    All,
}

impl From<Period> for store::analytics::Period {
    fn from(period: Period) -> Self {
        match period {
            Period::Day => Self::Day,
            Period::Week => Self::Week,
            Period::Month => Self::Month,
            Period::All => Self::All,
        }
    }
}

/// Where an account stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum AccountStatus {
    /// It trades.
    Active,
    /// Its phase is passed.
    Passed,
    /// It crossed a floor.
    Breached,
    /// A deadline was reached.
    Expired,
}

impl From<engine::Status> for AccountStatus {
    fn from(status: engine::Status) -> Self {
        match status {
            engine::Status::Active => Self::Active,
            engine::Status::Passed => Self::Passed,
            engine::Status::Breached => Self::Breached,
            engine::Status::Expired => Self::Expired,
        }
    }
}

/// The header `Consistency-Token`, as the answer to a write carried it: nothing older is answered.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Consistency(pub Option<Token>);

impl<S: Send + Sync> FromRequestParts<S> for Consistency {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get("consistency-token") else { return Ok(Self(None)) };
        let token = value.to_str().ok().and_then(|text| text.parse().ok());
        let bad = || Problem::new("validation_failed", "Send the Consistency-Token as an answer carried it.");
        token.map(|token| Self(Some(token))).ok_or_else(bad)
    }
}

/// The tag of what is kept about an account.
pub(crate) fn account_tag(firm: FirmId, account: AccountId) -> String {
    format!("{firm}:account:{account}")
}

/// Millionths as per cent, such as `3.4100`.
pub(crate) fn percent(ppm: i64) -> String {
    decimal::format(ppm, 4, 2)
}

/// Millionths as a plain number, such as `1.43`.
pub(crate) fn plain(ppm: i64) -> String {
    decimal::format(ppm, 6, 2)
}

pub(crate) fn out_of_range(_: Overflow) -> Problem {
    Problem::new("internal", "A figure leaves its range.")
}
