//! Buyers who want a payment back: what the firm's people see of it and say to it.

use app::disputes::{Answer as AnswerOf, Bundle, Dispute as DisputeOf, Month, file_name};
use app::payments::port::DocumentKind;
use app::{AppError, Permission};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use kernel::DisputeId;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::text::time;
use super::words::DisputeState;
use super::{Items, PAGE, Page};
use crate::Web;
use crate::extract::{Body, Path, Query, SignedIn};
use crate::problem::{Problem, ProblemBody};

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(disputes))
        .routes(routes!(dispute))
        .routes(routes!(evidence))
        .routes(routes!(evidence_zip))
        .routes(routes!(explain_dispute))
        .routes(routes!(submit_evidence))
        .routes(routes!(concede_dispute))
        .routes(routes!(release_payouts))
        .routes(routes!(dispute_rates))
}

/// A payment that its buyer wants back.
#[derive(Debug, Serialize, ToSchema)]
pub struct Dispute {
    /// Its id.
    id: String,
    /// Whose provider.
    provider: String,
    /// The provider's name of it.
    known_as: String,
    /// Of which purchase.
    purchase_id: String,
    /// Who bought.
    person_id: String,
    /// Of which payment, by the provider's name.
    payment: String,
    /// How much.
    amount: String,
    /// Currency of the amounts.
    currency: &'static str,
    /// What the provider took for it, once it has.
    #[schema(required)]
    fee: Option<String>,
    /// Why, in the provider's word.
    reason: String,
    /// How it stands.
    state: DisputeState,
    /// Whether it is a question so far, with the money still the firm's.
    inquiry: bool,
    /// Until when to answer.
    #[schema(required)]
    answer_by: Option<String>,
    /// When it began.
    opened_at: String,
    /// When it changed last.
    changed_at: String,
    /// What the firm's people will say; our own sentence if nothing.
    #[schema(required)]
    explanation: Option<String>,
    /// Since when nothing is paid out to the buyer because of it.
    #[schema(required)]
    payouts_held_since: Option<String>,
}

/// What was answered.
#[derive(Debug, Serialize, ToSchema)]
pub struct DisputeAnswer {
    /// Which one, from 1.
    number: i16,
    /// `evidence` or `concession`.
    kind: &'static str,
    /// `asked` while nobody knows whether the provider has it, `done` or `failed`.
    state: &'static str,
    /// SHA-256 over everything that was handed in.
    #[schema(required)]
    sha256: Option<String>,
    /// What the provider said, if it did not take it.
    #[schema(required)]
    said: Option<String>,
    /// Who answered.
    by: String,
    /// When.
    at: String,
}

/// A dispute with what was answered to it.
#[derive(Debug, Serialize, ToSchema)]
pub struct DisputeDetail {
    /// The dispute.
    dispute: Dispute,
    /// In order.
    answers: Vec<DisputeAnswer>,
}

/// What would be handed in now.
#[derive(Debug, Serialize, ToSchema)]
pub struct DisputeEvidence {
    /// What was sold.
    product: String,
    /// Why the payment is right.
    explanation: String,
    /// Accounts, trades, sign-ins: one line each. All of it is in a document.
    activity: String,
    /// When the service began, as a date.
    #[schema(required)]
    service_date: Option<String>,
    /// The buyer's name.
    #[schema(required)]
    buyer_name: Option<String>,
    /// The buyer's email.
    #[schema(required)]
    buyer_email: Option<String>,
    /// Files; `evidence.zip` has them.
    documents: Vec<EvidenceDocument>,
    /// SHA-256 over all of it.
    sha256: String,
}

/// A file.
#[derive(Debug, Serialize, ToSchema)]
pub struct EvidenceDocument {
    /// `receipt`, `terms`, `service` or `other`.
    kind: &'static str,
    /// Its name.
    name: String,
    /// Its media type.
    media_type: String,
    /// How many bytes it has.
    bytes: usize,
}

/// What the firm's people say.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DisputeExplanation {
    /// At most 1,000 characters; our own sentence again if nothing.
    explanation: Option<String>,
}

/// Why payouts go on.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PayoutRelease {
    /// In 1 to 500 characters.
    reason: String,
}

/// How many of a month's payments are disputed at a provider.
#[derive(Debug, Serialize, ToSchema)]
pub struct DisputeRate {
    /// Whose.
    provider: String,
    /// Such as `2026-06`, in UTC.
    month: String,
    /// How many began; questions that took no money do not count.
    disputes: i64,
    /// How many payments were captured.
    payments: i64,
    /// The one by the other, in per cent.
    percent: String,
    /// `warn` or `alert`, if it is that high.
    #[schema(required)]
    level: Option<&'static str>,
}

fn render(dispute: DisputeOf) -> Dispute {
    Dispute {
        id: dispute.id.to_string(),
        provider: dispute.provider.to_string(),
        known_as: dispute.known_as,
        purchase_id: dispute.purchase.to_string(),
        person_id: dispute.person.to_string(),
        payment: dispute.payment,
        amount: dispute.amount.amount_text(),
        currency: dispute.amount.currency().code(),
        fee: dispute.fee.map(kernel::Money::amount_text),
        reason: dispute.reason,
        state: dispute.stand.state.into(),
        inquiry: dispute.stand.inquiry,
        answer_by: dispute.stand.answer_by.map(time),
        opened_at: time(dispute.opened_at),
        changed_at: time(dispute.changed_at),
        explanation: dispute.explanation,
        payouts_held_since: dispute.held_since.map(time),
    }
}

fn detail((dispute, answers): (DisputeOf, Vec<AnswerOf>)) -> DisputeDetail {
    let answer = |answer: AnswerOf| DisputeAnswer {
        number: answer.number,
        kind: answer.kind.word(),
        state: answer.state.word(),
        sha256: answer.digest.map(hex::encode),
        said: answer.said,
        by: answer.asked_by.to_string(),
        at: time(answer.first_asked_at),
    };
    DisputeDetail { dispute: render(dispute), answers: answers.into_iter().map(answer).collect() }
}

fn show(bundle: Bundle) -> DisputeEvidence {
    let evidence = bundle.evidence;
    let documents = evidence.documents.iter().map(|document| EvidenceDocument {
        kind: match document.kind {
            DocumentKind::Receipt => "receipt",
            DocumentKind::Terms => "terms",
            DocumentKind::Service => "service",
            DocumentKind::Other => "other",
        },
        name: document.name.clone(),
        media_type: document.media_type.clone(),
        bytes: document.bytes.len(),
    });
    DisputeEvidence {
        documents: documents.collect(),
        product: evidence.product,
        explanation: evidence.explanation,
        activity: evidence.activity,
        service_date: evidence.service_date,
        buyer_name: evidence.buyer_name,
        buyer_email: evidence.buyer_email,
        sha256: hex::encode(bundle.digest),
    }
}

/// Which disputes.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DisputesWanted {
    /// Those that stand like this; all if not said.
    #[param(inline)]
    state: Option<DisputeState>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The firm's disputes, the newest first.
#[utoipa::path(get, path = "/v1/disputes", tag = "money", params(DisputesWanted), responses(
    (status = 200, body = Page<Dispute>), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 422, response = ProblemBody)))]
async fn disputes(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Query(wanted): Query<DisputesWanted>,
) -> Result<Json<Page<Dispute>>, Problem> {
    caller.demand(Permission::ReadBusiness)?;
    let behind = wanted.cursor.as_deref().map(str::parse::<DisputeId>).transpose();
    let behind = behind.map_err(|_| AppError::field("/cursor", "This is no cursor of ours."))?;
    let state = wanted.state.map(Into::into);
    let found = web.disputes.list(&caller.context, state, behind, PAGE.saturating_add(1)).await?;
    let (found, next_cursor) = super::page(found, |dispute| dispute.id.to_string());
    Ok(Json(Page { items: found.into_iter().map(render).collect(), next_cursor }))
}

/// A dispute and what was answered to it.
#[utoipa::path(get, path = "/v1/disputes/{id}", tag = "money", params(("id" = String, Path)), responses(
    (status = 200, body = DisputeDetail), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 404, response = ProblemBody)))]
async fn dispute(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<DisputeId>,
) -> Result<Json<DisputeDetail>, Problem> {
    Ok(Json(detail(web.disputes.get(&caller.context, id).await?)))
}

/// What would be handed in now, from the firm's own records. It says who the buyer is, and that somebody looked is written down.
#[utoipa::path(get, path = "/v1/disputes/{id}/evidence", tag = "money", params(("id" = String, Path)), responses(
    (status = 200, body = DisputeEvidence), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 404, response = ProblemBody)))]
async fn evidence(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<DisputeId>,
) -> Result<Json<DisputeEvidence>, Problem> {
    let (_, bundle) = web.disputes.preview(&caller.context, id).await?;
    Ok(Json(show(bundle)))
}

/// The same with its documents, as a zip.
#[utoipa::path(get, path = "/v1/disputes/{id}/evidence.zip", tag = "money", params(("id" = String, Path)), responses(
    (status = 200, body = String, content_type = "application/zip"), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn evidence_zip(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<DisputeId>,
) -> Result<Response, Problem> {
    let (dispute, bundle) = web.disputes.preview(&caller.context, id).await?;
    let bytes = bundle.zip()?;
    let name = format!("attachment; filename=\"{}\"", file_name(dispute.purchase));
    Ok(([(header::CONTENT_TYPE, "application/zip".to_owned()), (header::CONTENT_DISPOSITION, name)], bytes)
        .into_response())
}

/// Sets what the firm's people say to the provider, until it is handed in.
#[utoipa::path(put, path = "/v1/disputes/{id}/explanation", tag = "money", request_body = DisputeExplanation,
    params(("id" = String, Path)), responses(
    (status = 200, body = Dispute), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 404, response = ProblemBody), (status = 409, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn explain_dispute(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<DisputeId>,
    Body(body): Body<DisputeExplanation>,
) -> Result<Json<Dispute>, Problem> {
    caller.demand(Permission::ManageMoney)?;
    Ok(Json(render(web.disputes.explain(&caller.context, id, body.explanation.as_deref()).await?)))
}

/// Hands in the evidence, once.
#[utoipa::path(post, path = "/v1/disputes/{id}/submit", tag = "money", params(("id" = String, Path)), responses(
    (status = 200, body = DisputeDetail), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 404, response = ProblemBody), (status = 409, response = ProblemBody)))]
async fn submit_evidence(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<DisputeId>,
) -> Result<Json<DisputeDetail>, Problem> {
    Ok(Json(detail(web.disputes.submit(&caller.context, id).await?)))
}

/// Gives in, once: the buyer keeps the money.
#[utoipa::path(post, path = "/v1/disputes/{id}/concede", tag = "money", params(("id" = String, Path)), responses(
    (status = 200, body = DisputeDetail), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 404, response = ProblemBody), (status = 409, response = ProblemBody)))]
async fn concede_dispute(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<DisputeId>,
) -> Result<Json<DisputeDetail>, Problem> {
    Ok(Json(detail(web.disputes.concede(&caller.context, id).await?)))
}

/// Lets payouts to the buyer go on in spite of the dispute.
#[utoipa::path(post, path = "/v1/disputes/{id}/release", tag = "money", request_body = PayoutRelease,
    params(("id" = String, Path)), responses(
    (status = 200, body = Dispute), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 404, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn release_payouts(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<DisputeId>,
    Body(body): Body<PayoutRelease>,
) -> Result<Json<Dispute>, Problem> {
    caller.demand(Permission::ManageMoney)?;
    Ok(Json(render(web.disputes.release(&caller.context, id, &body.reason).await?)))
}

/// Which month.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct RatesWanted {
    /// Such as `2026-06`; this one if not said.
    month: Option<String>,
}

/// How many of a month's payments are disputed, by provider.
#[utoipa::path(get, path = "/v1/dispute-rates", tag = "money", params(RatesWanted), responses(
    (status = 200, body = Items<DisputeRate>), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 422, response = ProblemBody)))]
async fn dispute_rates(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Query(wanted): Query<RatesWanted>,
) -> Result<Json<Items<DisputeRate>>, Problem> {
    caller.demand(Permission::ReadBusiness)?;
    let month = match wanted.month {
        Some(text) => {
            Month::parse(&text).ok_or_else(|| AppError::field("/month", "Write a month like 2026-06."))?
        }
        None => Month::of(web.clock.now())?,
    };
    let rates = web.disputes.rates(&caller.context, month).await?;
    let items = rates.into_iter().map(|(rate, level)| {
        let millionths = rate.millionths();
        let (whole, part) = (millionths.div_euclid(10_000), millionths.rem_euclid(10_000));
        DisputeRate {
            provider: rate.provider.to_string(),
            month: rate.month.to_string(),
            disputes: rate.disputes,
            payments: rate.payments,
            percent: format!("{whole}.{part:04}"),
            level: level.map(app::disputes::Level::word),
        }
    });
    Ok(Json(Items { items: items.collect() }))
}
