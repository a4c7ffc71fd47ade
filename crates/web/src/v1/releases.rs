//! The firm's calendar of releases that move markets.

use app::releases::{NewRelease as Asked, Release as ReleaseOf};
use app::{AppError, Permission};
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use kernel::{ReleaseId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Items;
use super::text::time;
use crate::Web;
use crate::extract::{Body, Caller, Path, SignedIn};
use crate::problem::{Problem, ProblemBody};

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new().routes(routes!(releases, add_release)).routes(routes!(remove_release))
}

/// A release to add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRelease {
    /// Such as "US non-farm payrolls".
    name: String,
    /// When, in RFC 3339; in the future.
    at: String,
    /// Every instrument whose symbol holds one of these currencies is targeted.
    #[serde(default)]
    currencies: Vec<String>,
    /// Instruments targeted by their symbols.
    #[serde(default)]
    symbols: Vec<String>,
}

/// A release that moves markets.
#[derive(Debug, Serialize, ToSchema)]
pub struct Release {
    /// Its id.
    id: String,
    /// For people.
    name: String,
    /// When.
    at: String,
    /// Every instrument whose symbol holds one of these currencies is targeted.
    currencies: Vec<String>,
    /// Instruments targeted by their symbols.
    symbols: Vec<String>,
}

fn render(release: ReleaseOf) -> Release {
    let event = release.event;
    Release {
        id: release.id.to_string(),
        name: event.name,
        at: time(event.at),
        currencies: event.currencies,
        symbols: event.symbols.iter().map(ToString::to_string).collect(),
    }
}

/// The releases to come, and those of the last day, in order of time.
#[utoipa::path(get, path = "/v1/releases", tag = "releases", responses((status = 200, body = Items<Release>)))]
async fn releases(State(web): State<Web>, caller: Caller) -> Result<Json<Items<Release>>, Problem> {
    let releases = web.releases.list(caller.context.firm).await?;
    Ok(Json(Items { items: releases.into_iter().map(render).collect() }))
}

/// Adds a release. Accounts whose rules ask for it learn of it within moments. Doing it twice changes nothing.
#[utoipa::path(post, path = "/v1/releases", tag = "releases", request_body = NewRelease, responses(
    (status = 201, body = Release), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 409, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn add_release(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Body(body): Body<NewRelease>,
) -> Result<(StatusCode, Json<Release>), Problem> {
    caller.demand(Permission::EditReleases)?;
    let at = Timestamp::parse(&body.at)
        .map_err(|_| AppError::field("/at", "Use RFC 3339, such as 2026-01-09T13:30:00Z."))?;
    let NewRelease { name, currencies, symbols, .. } = body;
    let release = web.releases.add(&caller.context, Asked { name, at, currencies, symbols }).await?;
    web.calendar_changed.notify_one();
    Ok((StatusCode::CREATED, Json(render(release))))
}

/// Takes a release back that is still to come.
#[utoipa::path(delete, path = "/v1/releases/{id}", tag = "releases", params(("id" = String, Path)), responses(
    (status = 204, description = "It is no longer in the calendar"), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn remove_release(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<ReleaseId>,
) -> Result<StatusCode, Problem> {
    web.releases.remove(&caller.context, id).await?;
    web.calendar_changed.notify_one();
    Ok(StatusCode::NO_CONTENT)
}
