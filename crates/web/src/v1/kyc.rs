//! Who is known to be who: what people show of themselves, and what the firm's people decide.

use app::AppError;
use app::kyc::{
    Check as CheckOf, DocumentInfo, DocumentKind as KindOf, Judgement, MOST_DOCUMENT_BYTES,
    Standing as StandingOf,
};
use axum::Json;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use kernel::{DocumentId, PersonId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Items;
use super::privacy::REASON;
use super::text::time;
use crate::Web;
use crate::extract::{Body, Path, Query, SignedIn};
use crate::problem::{Problem, ProblemBody};

pub(super) fn router() -> OpenApiRouter<Web> {
    let uploads = OpenApiRouter::new()
        .routes(routes!(upload))
        .layer(DefaultBodyLimit::max(MOST_DOCUMENT_BYTES.saturating_add(1)));
    OpenApiRouter::new()
        .routes(routes!(own))
        .merge(uploads)
        .routes(routes!(submit))
        .routes(routes!(queue))
        .routes(routes!(of))
        .routes(routes!(document))
        .routes(routes!(decide))
}

/// How somebody stands.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = IdentityStanding)]
pub enum Standing {
    /// Nothing was shown.
    None,
    /// Something was shown, and more may follow.
    Started,
    /// Somebody is to look at it.
    Submitted,
    /// It is known who it is.
    Verified,
    /// What was shown is not enough.
    Refused,
    /// It has to be shown anew.
    Expired,
}

impl From<StandingOf> for Standing {
    fn from(standing: StandingOf) -> Self {
        match standing {
            StandingOf::None => Self::None,
            StandingOf::Started => Self::Started,
            StandingOf::Submitted => Self::Submitted,
            StandingOf::Verified => Self::Verified,
            StandingOf::Refused => Self::Refused,
            StandingOf::Expired => Self::Expired,
        }
    }
}

/// What a document is.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = IdentityDocumentKind)]
pub enum DocumentKind {
    /// A passport.
    Passport,
    /// A national identity card.
    IdCard,
    /// A driving licence.
    DrivingLicence,
    /// What shows where they live.
    Address,
    /// A picture of themselves.
    Selfie,
}

impl From<KindOf> for DocumentKind {
    fn from(kind: KindOf) -> Self {
        match kind {
            KindOf::Passport => Self::Passport,
            KindOf::IdCard => Self::IdCard,
            KindOf::DrivingLicence => Self::DrivingLicence,
            KindOf::Address => Self::Address,
            KindOf::Selfie => Self::Selfie,
        }
    }
}

impl From<DocumentKind> for KindOf {
    fn from(kind: DocumentKind) -> Self {
        match kind {
            DocumentKind::Passport => Self::Passport,
            DocumentKind::IdCard => Self::IdCard,
            DocumentKind::DrivingLicence => Self::DrivingLicence,
            DocumentKind::Address => Self::Address,
            DocumentKind::Selfie => Self::Selfie,
        }
    }
}

/// A document, without what is in it.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = IdentityDocument)]
pub struct Document {
    /// Its id.
    id: String,
    /// What it is.
    kind: DocumentKind,
    /// What file.
    media_type: &'static str,
    /// How many bytes.
    size: usize,
    /// When it was shown.
    uploaded_at: String,
}

impl From<DocumentInfo> for Document {
    fn from(info: DocumentInfo) -> Self {
        Self {
            id: info.id.to_string(),
            kind: info.kind.into(),
            media_type: info.media.word(),
            size: info.size,
            uploaded_at: time(info.uploaded_at),
        }
    }
}

/// How somebody stands, and what they have shown.
#[derive(Debug, Serialize, ToSchema)]
pub struct IdentityCheck {
    /// Whose.
    person_id: String,
    /// How they stand.
    standing: Standing,
    /// Why it was refused.
    #[schema(required)]
    reason: Option<String>,
    /// When they said that these are all documents.
    #[schema(required)]
    submitted_at: Option<String>,
    /// When it was decided.
    #[schema(required)]
    decided_at: Option<String>,
    /// Until when it counts.
    #[schema(required)]
    expires_at: Option<String>,
    /// The oldest first.
    documents: Vec<Document>,
}

fn render(
    web: &Web,
    person: PersonId,
    check: Option<&CheckOf>,
    documents: Vec<DocumentInfo>,
) -> IdentityCheck {
    let standing = check.map_or(StandingOf::None, |check| check.known.at(web.clock.now()));
    IdentityCheck {
        person_id: person.to_string(),
        standing: standing.into(),
        reason: check.and_then(|check| check.reason.clone()),
        submitted_at: check.and_then(|check| check.submitted_at).map(time),
        decided_at: check.and_then(|check| check.decided_at).map(time),
        expires_at: check.and_then(|check| check.known.expires_at).map(time),
        documents: documents.into_iter().map(Document::from).collect(),
    }
}

/// How the caller stands, and what they have shown.
#[utoipa::path(get, path = "/v1/me/identity", tag = "identity", responses(
    (status = 200, body = IdentityCheck), (status = 401, response = ProblemBody)))]
async fn own(State(web): State<Web>, SignedIn(caller): SignedIn) -> Result<Json<IdentityCheck>, Problem> {
    let person = caller.actor()?.person;
    let (check, documents) = web.kyc.own(&caller.context).await?;
    Ok(Json(render(&web, person, check.as_ref(), documents)))
}

/// What is sent.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Uploaded {
    /// What it is.
    #[param(inline)]
    kind: DocumentKind,
}

/// Takes a document: a JPEG, a PNG or a PDF of at most 5 MiB, as it is. It is sealed under the caller's own key.
#[utoipa::path(post, path = "/v1/me/identity/documents", tag = "identity", params(Uploaded),
    request_body(content = [u8], content_type = "application/octet-stream"), responses(
    (status = 201, body = Document), (status = 401, response = ProblemBody), (status = 409, response = ProblemBody),
    (status = 413, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn upload(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Query(uploaded): Query<Uploaded>,
    bytes: Result<Bytes, axum::extract::rejection::BytesRejection>,
) -> Result<(StatusCode, Json<Document>), Problem> {
    let bytes = bytes.map_err(|_| Problem::new("body_too_large", "A document has at most 5 MiB."))?;
    let info = web.kyc.upload(&caller.context, uploaded.kind.into(), bytes.to_vec()).await?;
    Ok((StatusCode::CREATED, Json(info.into())))
}

/// Says that these are all documents: somebody is to look at them.
#[utoipa::path(post, path = "/v1/me/identity/submission", tag = "identity", responses(
    (status = 200, body = IdentityCheck), (status = 401, response = ProblemBody), (status = 409, response = ProblemBody)))]
async fn submit(State(web): State<Web>, SignedIn(caller): SignedIn) -> Result<Json<IdentityCheck>, Problem> {
    let person = caller.actor()?.person;
    web.kyc.submit(&caller.context).await?;
    let (check, documents) = web.kyc.own(&caller.context).await?;
    Ok(Json(render(&web, person, check.as_ref(), documents)))
}

/// Whose documents wait for the firm's people, the oldest first.
#[utoipa::path(get, path = "/v1/identity-reviews", operation_id = "identity_queue", tag = "identity", responses(
    (status = 200, body = Items<IdentityCheck>), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody)))]
async fn queue(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
) -> Result<Json<Items<IdentityCheck>>, Problem> {
    let waiting = web.kyc.queue(&caller.context).await?;
    let items = waiting.into_iter().map(|check| render(&web, check.person, Some(&check), Vec::new()));
    Ok(Json(Items { items: items.collect() }))
}

/// How somebody stands and what they have shown, without what is in it.
#[utoipa::path(get, path = "/v1/identity-reviews/{id}", tag = "identity", params(("id" = String, Path)), responses(
    (status = 200, body = IdentityCheck), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 404, response = ProblemBody)))]
async fn of(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<PersonId>,
) -> Result<Json<IdentityCheck>, Problem> {
    let (check, documents) = web.kyc.of(&caller.context, id).await?;
    Ok(Json(render(&web, id, Some(&check), documents)))
}

/// A document of somebody's. Written into the audit log with the reason.
#[utoipa::path(get, path = "/v1/identity-reviews/{id}/documents/{document}", operation_id = "identity_document", tag = "identity",
    params(("id" = String, Path), ("document" = String, Path), ("Reason" = String, Header, description = "Why")), responses(
    (status = 200, content_type = "application/octet-stream", body = [u8]), (status = 400, response = ProblemBody),
    (status = 401, response = ProblemBody), (status = 403, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn document(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path((id, document)): Path<(PersonId, DocumentId)>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let reason = headers.get(REASON).and_then(|value| std::str::from_utf8(value.as_bytes()).ok());
    let document = web.kyc.look(&caller.context, id, document, reason).await?;
    // Somebody else's bytes are never shown by a browser as a page of ours.
    let headers = [
        (header::CONTENT_TYPE, HeaderValue::from_static(document.info.media.word())),
        (header::CONTENT_DISPOSITION, HeaderValue::from_static("attachment")),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, document.bytes).into_response())
}

/// What was found.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentityDecision {
    /// Whether it is they.
    verified: bool,
    /// Why it is not enough: the person reads it. Needed unless they are verified.
    refused_because: Option<String>,
    /// 1 to 500 characters, without personal data; it is written into the audit log.
    reason: Option<String>,
}

/// Decides whether somebody is who they say. Nobody decides about themselves.
#[utoipa::path(post, path = "/v1/identity-reviews/{id}/decision", tag = "identity", params(("id" = String, Path)),
    request_body = IdentityDecision, responses(
    (status = 200, body = IdentityCheck), (status = 400, response = ProblemBody), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 404, response = ProblemBody), (status = 409, response = ProblemBody),
    (status = 422, response = ProblemBody)))]
async fn decide(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<PersonId>,
    Body(body): Body<IdentityDecision>,
) -> Result<Json<IdentityCheck>, Problem> {
    let judgement = match (body.verified, body.refused_because) {
        (true, _) => Judgement::Verified,
        (false, Some(why)) => Judgement::Refused(why),
        (false, None) => {
            return Err(AppError::field("/refused_because", "Say why; the person reads it.").into());
        }
    };
    let check = web.kyc.judge(&caller.context, id, &judgement, body.reason.as_deref()).await?;
    let (_, documents) = web.kyc.of(&caller.context, id).await?;
    Ok(Json(render(&web, id, Some(&check), documents)))
}
