//! What people may ask of their data, and what the firm's people do about it. Whoever looks at somebody else's says why.

use app::identity::Password;
use app::privacy::{Archive, State as StateOf, Subject as SubjectOf};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use kernel::PersonId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::text::time;
use super::words::Role;
use crate::Web;
use crate::extract::{Body, Path, SignedIn};
use crate::problem::{Problem, ProblemBody};

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(export_me))
        .routes(routes!(erase_me))
        .routes(routes!(find))
        .routes(routes!(person))
        .routes(routes!(export_person))
        .routes(routes!(erase))
        .routes(routes!(hold))
        .routes(routes!(restriction))
}

/// In which a reason is given where there is no body.
pub const REASON: &str = "reason";

/// Somebody of the firm: who they are, and how their data is treated.
#[derive(Debug, Serialize, ToSchema)]
pub struct Subject {
    /// Their id.
    id: String,
    /// Their e-mail address; nothing once they were erased.
    #[schema(required)]
    email: Option<String>,
    /// The name they show; nothing once they were erased.
    #[schema(required)]
    display_name: Option<String>,
    /// What they may do.
    roles: Vec<Role>,
    /// When they registered.
    registered_at: String,
    /// Where their rows may lie; nothing where the installation has no region.
    #[schema(required)]
    region: Option<String>,
    /// Since when their data is kept and not otherwise used.
    #[schema(required)]
    restricted_at: Option<String>,
    /// Since when nothing of theirs may be erased.
    #[schema(required)]
    held_at: Option<String>,
    /// When they were erased.
    #[schema(required)]
    erased_at: Option<String>,
}

impl From<SubjectOf> for Subject {
    fn from(subject: SubjectOf) -> Self {
        let (email, display_name) = subject.known.unzip();
        Self {
            id: subject.id.to_string(),
            email,
            display_name,
            roles: subject.roles.into_iter().map(Role::from).collect(),
            registered_at: time(subject.created_at),
            region: subject.region,
            restricted_at: subject.restricted_at.map(time),
            held_at: subject.held_at.map(time),
            erased_at: subject.erased_at.map(time),
        }
    }
}

/// Proof that it is oneself.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct EraseMe {
    /// The password.
    password: String,
}

/// Why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Reason {
    /// 1 to 500 characters, without personal data; it is written into the audit log.
    reason: Option<String>,
}

/// Whom to look for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Find {
    /// Any case.
    email: String,
    /// 1 to 500 characters, without personal data; it is written into the audit log.
    reason: Option<String>,
}

/// A state of somebody's data.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SwitchState {
    /// Whether it is to hold.
    on: bool,
    /// 1 to 500 characters, without personal data; it is written into the audit log.
    reason: Option<String>,
}

/// Everything that is stored about whoever asks: a zip of JSON files, signed (`tradesense privacy verify`).
#[utoipa::path(get, path = "/v1/me/export", tag = "privacy", responses(
    (status = 200, content_type = "application/zip", body = [u8]), (status = 401, response = ProblemBody)))]
async fn export_me(State(web): State<Web>, SignedIn(caller): SignedIn) -> Result<Response, Problem> {
    zip(web.privacy.export_own(&caller.context).await?)
}

/// Erases whoever asks, for good: their key is destroyed, with which everything that names them can no longer be read, in
/// backups either. What they bought and traded stays under a name that nobody knows. Their sessions end.
#[utoipa::path(post, path = "/v1/me/erasure", tag = "privacy", request_body = EraseMe, responses(
    (status = 204), (status = 401, response = ProblemBody), (status = 409, response = ProblemBody),
    (status = 429, response = ProblemBody)))]
async fn erase_me(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Body(body): Body<EraseMe>,
) -> Result<StatusCode, Problem> {
    let email = caller.person.as_ref().map(|person| person.email.clone()).unwrap_or_default();
    let password = Password::new(body.password);
    web.privacy.erase_own(&caller.context, &email, password, &caller.address).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Whoever has an e-mail address. Written into the audit log with the reason.
#[utoipa::path(post, path = "/v1/people/find", tag = "privacy", request_body = Find, responses(
    (status = 200, body = Subject), (status = 400, response = ProblemBody), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn find(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Body(body): Body<Find>,
) -> Result<Json<Subject>, Problem> {
    let found = web.privacy.find(&caller.context, &body.email, body.reason.as_deref()).await?;
    Ok(Json(found.into()))
}

/// Who somebody is. Written into the audit log with the reason.
#[utoipa::path(get, path = "/v1/people/{id}", tag = "privacy",
    params(("id" = String, Path), ("Reason" = String, Header, description = "Why")), responses(
    (status = 200, body = Subject), (status = 400, response = ProblemBody), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn person(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<PersonId>,
    headers: HeaderMap,
) -> Result<Json<Subject>, Problem> {
    Ok(Json(web.privacy.subject(&caller.context, id, reason(&headers)).await?.into()))
}

/// Everything that is stored about somebody, as `/v1/me/export`. Written into the audit log with the reason.
#[utoipa::path(get, path = "/v1/people/{id}/export", tag = "privacy",
    params(("id" = String, Path), ("Reason" = String, Header, description = "Why")), responses(
    (status = 200, content_type = "application/zip", body = [u8]), (status = 400, response = ProblemBody),
    (status = 401, response = ProblemBody), (status = 403, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn export_person(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<PersonId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    zip(web.privacy.export_other(&caller.context, id, reason(&headers)).await?)
}

/// Erases somebody, as `/v1/me/erasure`. Refused under a legal hold, and while a payout is under way.
#[utoipa::path(post, path = "/v1/people/{id}/erasure", tag = "privacy", params(("id" = String, Path)),
    request_body = Reason, responses(
    (status = 204), (status = 400, response = ProblemBody), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 404, response = ProblemBody), (status = 409, response = ProblemBody)))]
async fn erase(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<PersonId>,
    Body(body): Body<Reason>,
) -> Result<StatusCode, Problem> {
    web.privacy.erase_other(&caller.context, id, body.reason.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Puts what is stored about somebody under a legal hold, or lifts it: nothing of it may be erased while it holds.
#[utoipa::path(put, path = "/v1/people/{id}/hold", tag = "privacy", params(("id" = String, Path)),
    request_body = SwitchState, responses(
    (status = 204), (status = 400, response = ProblemBody), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn hold(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<PersonId>,
    Body(body): Body<SwitchState>,
) -> Result<StatusCode, Problem> {
    web.privacy.set_state(&caller.context, id, StateOf::Held, body.on, body.reason.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Restricts what is done with somebody's data, or lifts that: it is kept, but no mail is sent and boards show no name.
#[utoipa::path(put, path = "/v1/people/{id}/restriction", tag = "privacy", params(("id" = String, Path)),
    request_body = SwitchState, responses(
    (status = 204), (status = 400, response = ProblemBody), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn restriction(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<PersonId>,
    Body(body): Body<SwitchState>,
) -> Result<StatusCode, Problem> {
    web.privacy.set_state(&caller.context, id, StateOf::Restricted, body.on, body.reason.as_deref()).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn reason(headers: &HeaderMap) -> Option<&str> {
    headers.get(REASON).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
}

fn zip(archive: Archive) -> Result<Response, Problem> {
    let named = format!("attachment; filename=\"{}\"", archive.name);
    let named = HeaderValue::from_str(&named)
        .map_err(|_| Problem::new("internal", "The archive could not be named."))?;
    let headers: [(HeaderName, HeaderValue); 3] = [
        (header::CONTENT_TYPE, HeaderValue::from_static("application/zip")),
        (header::CONTENT_DISPOSITION, named),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, archive.bytes).into_response())
}
