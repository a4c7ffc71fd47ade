//! What providers of money have told, for operators.

use app::payments::notices::{NoticeRow, NoticeState, words_of};
use app::payments::port::ProviderName;
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Items;
use super::text::time;
use crate::Web;
use crate::extract::{Path, Query, SignedIn};
use crate::problem::{Problem, ProblemBody};

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new().routes(routes!(provider_events)).routes(routes!(pull_provider_event_again))
}

/// How far an event has come.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum ProviderEventState {
    /// What it is about is still to be pulled.
    Waiting,
    /// Pulled, and what follows is done.
    Done,
    /// Of a kind that nothing follows from.
    Kept,
    /// Pulled for three days without success: somebody has to look.
    Stuck,
}

impl From<NoticeState> for ProviderEventState {
    fn from(state: NoticeState) -> Self {
        match state {
            NoticeState::Waiting => Self::Waiting,
            NoticeState::Done => Self::Done,
            NoticeState::Kept => Self::Kept,
            NoticeState::Stuck => Self::Stuck,
        }
    }
}

impl From<ProviderEventState> for NoticeState {
    fn from(state: ProviderEventState) -> Self {
        match state {
            ProviderEventState::Waiting => Self::Waiting,
            ProviderEventState::Done => Self::Done,
            ProviderEventState::Kept => Self::Kept,
            ProviderEventState::Stuck => Self::Stuck,
        }
    }
}

/// Which events.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct Asked {
    /// Only those that have come so far.
    #[param(inline)]
    state: Option<ProviderEventState>,
}

/// An event of a provider's.
#[derive(Debug, Serialize, ToSchema)]
struct ProviderEvent {
    /// Who told.
    provider: &'static str,
    /// The provider's name of the event.
    event: String,
    /// The provider's word for what happened.
    kind: String,
    /// What kind of thing it is about.
    about: &'static str,
    /// The provider's name of that thing.
    thing: String,
    /// When it happened.
    happened_at: String,
    /// When it came.
    received_at: String,
    /// How far it has come.
    state: ProviderEventState,
    /// How often it was tried.
    attempts: u32,
    /// What stood in the way the last time.
    #[schema(required)]
    error: Option<String>,
}

fn render(row: NoticeRow) -> ProviderEvent {
    let (about, thing) = words_of(&row.about);
    ProviderEvent {
        provider: row.provider.word(),
        about,
        thing: thing.to_owned(),
        event: row.event,
        kind: row.kind,
        happened_at: time(row.happened_at),
        received_at: time(row.received_at),
        state: row.state.into(),
        attempts: row.attempts,
        error: row.error,
    }
}

/// What providers of money have told, the last 200.
#[utoipa::path(get, path = "/v1/operations/provider-events", tag = "operations", params(Asked), responses(
    (status = 200, body = Items<ProviderEvent>), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody)))]
async fn provider_events(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Query(asked): Query<Asked>,
) -> Result<Json<Items<ProviderEvent>>, Problem> {
    let rows = web.notices.list(&caller.context, asked.state.map(NoticeState::from)).await?;
    Ok(Json(Items { items: rows.into_iter().map(render).collect() }))
}

/// Pulls what a stuck event is about once more.
#[utoipa::path(post, path = "/v1/operations/provider-events/{provider}/{event}/again", tag = "operations",
    params(("provider" = String, Path), ("event" = String, Path)), responses(
    (status = 204), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 404, response = ProblemBody)))]
async fn pull_provider_event_again(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path((provider, event)): Path<(String, String)>,
) -> Result<StatusCode, Problem> {
    let provider = ProviderName::parse(&provider)
        .ok_or_else(|| Problem::new("not_found", "There is no such provider."))?;
    web.notices.again(&caller.context, provider, &event).await?;
    Ok(StatusCode::NO_CONTENT)
}
