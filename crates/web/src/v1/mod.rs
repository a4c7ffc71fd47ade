//! Version 1 of the API: a file for each area; in it the requests, the answers and the handlers.
//!
//! **To add an endpoint:** a handler with its `#[utoipa::path]` in the file of its area (extract, parse, call one use
//! case, render), its line in that file's `router`, its row in [`access`], new codes in `problem.rs` with a page each, then
//! `cargo xtask codegen`.

pub mod access;
pub mod account_view;
mod accounts;
mod auditing;
mod auth;
mod challenges;
mod checkouts;
mod disputes;
mod finance;
mod forecast;
mod kyc;
mod leaderboard;
mod market;
mod notifications;
mod operations;
mod overrides;
mod payouts;
mod privacy;
mod programs;
mod provider_events;
mod publishing;
mod purchases;
mod receipts;
mod reconciliation;
mod refunds;
mod releases;
mod shelf;
mod text;
mod trading;
mod webhooks;
pub mod what_if;
pub mod words;

use utoipa_axum::router::OpenApiRouter;

use crate::Web;

/// All of version 1.
pub fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .merge(auth::router())
        .merge(programs::router())
        .merge(purchases::router())
        .merge(checkouts::router())
        .merge(refunds::router())
        .merge(disputes::router())
        .merge(shelf::router())
        .merge(challenges::router())
        .merge(accounts::router())
        .merge(trading::router())
        .merge(market::router())
        .merge(leaderboard::router())
        .merge(what_if::router())
        .merge(forecast::router())
        .merge(receipts::router())
        .merge(payouts::router())
        .merge(kyc::router())
        .merge(publishing::router())
        .merge(overrides::router())
        .merge(releases::router())
        .merge(notifications::router())
        .merge(webhooks::router())
        .merge(operations::router())
        .merge(provider_events::router())
        .merge(auditing::router())
        .merge(privacy::router())
        .merge(finance::router())
        .merge(reconciliation::router())
}

/// A list that ends.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub struct Items<T> {
    /// In the order the operation describes.
    pub items: Vec<T>,
}

/// A page of a longer list.
#[derive(Debug, serde::Serialize, utoipa::ToSchema)]
pub struct Page<T> {
    /// In the order the operation describes.
    pub items: Vec<T>,
    /// Give it as `cursor` to read on; nothing at the end.
    #[schema(required)]
    pub next_cursor: Option<String>,
}

/// Where to read on in a list.
#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Cursor {
    /// `next_cursor` of the page before.
    pub cursor: Option<String>,
}

/// Rows in a page.
pub(crate) const PAGE: i64 = 100;

/// The rows of a page and the cursor of the next one, out of so many rows and one.
fn page<T>(mut rows: Vec<T>, place: impl FnOnce(&T) -> String) -> (Vec<T>, Option<String>) {
    let page = usize::try_from(PAGE).unwrap_or(usize::MAX);
    let more = rows.len() > page;
    rows.truncate(page);
    let next = if more { rows.last().map(place) } else { None };
    (rows, next)
}
