//! Where the firm's own systems are told what happens.

use app::webhooks::{
    Attempt as AttemptOf, Delivery as DeliveryOf, Endpoint, EndpointChange, NewEndpoint, SigningSecret,
};
use app::{AppError, Permission};
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use kernel::{DeliveryId, Timestamp, WebhookId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::text::time;
use super::words::{DeliveryState, WebhookDisabled};
use super::{Items, Page};
use crate::Web;
use crate::extract::{Body, Path, Query, SignedIn};
use crate::problem::{Problem, ProblemBody};

/// Deliveries in a page.
const PAGE: i64 = 50;

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(webhooks, add_webhook))
        .routes(routes!(webhook, change_webhook, remove_webhook))
        .routes(routes!(rotate_secret))
        .routes(routes!(test_webhook))
        .routes(routes!(recover))
        .routes(routes!(deliveries))
        .routes(routes!(delivery))
        .routes(routes!(resend))
}

/// A webhook to add.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewWebhook {
    /// `https://`, of a host that everybody can reach.
    url: String,
    /// At most 200 characters.
    #[serde(default)]
    description: String,
    /// 1 to 50: `*`, a family such as `account.*`, or a topic such as `account.breached`.
    topics: Vec<String>,
}

/// What of a webhook is to change; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct WebhookChange {
    /// Another address.
    url: Option<String>,
    /// Another description.
    description: Option<String>,
    /// Other topics.
    topics: Option<Vec<String>>,
    /// Whether it is sent anything. Enabling begins to count anew how long it fails.
    active: Option<bool>,
}

/// Where one of the firm's own systems listens.
#[derive(Debug, Serialize, ToSchema)]
pub struct Webhook {
    /// Its id.
    id: String,
    /// Where to.
    url: String,
    /// For people.
    description: String,
    /// Which topics it asks for.
    topics: Vec<String>,
    /// Whether it is sent anything.
    active: bool,
    /// Why not.
    #[schema(required)]
    disabled_because: Option<WebhookDisabled>,
    /// Since when not.
    #[schema(required)]
    disabled_at: Option<String>,
    /// Since when no attempt has succeeded.
    #[schema(required)]
    failing_since: Option<String>,
    /// Until when an older secret signs too.
    #[schema(required)]
    older_secret_until: Option<String>,
    /// When it was added.
    created_at: String,
}

/// A new webhook with the secret that its deliveries are signed with.
#[derive(Debug, Serialize, ToSchema)]
pub struct AddedWebhook {
    /// The webhook.
    webhook: Webhook,
    /// Told here and never again.
    secret: String,
}

/// A new secret.
#[derive(Debug, Serialize, ToSchema)]
pub struct RotatedSecret {
    /// Told here and never again.
    secret: String,
    /// Until then the one before signs too.
    older_secret_until: String,
}

/// A test event on its way.
#[derive(Debug, Serialize, ToSchema)]
pub struct TestSent {
    /// Its delivery.
    delivery_id: String,
}

/// What is to be sent again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Recovery {
    /// Everything that failed and happened since then, in RFC 3339.
    since: String,
}

/// What is sent again.
#[derive(Debug, Serialize, ToSchema)]
pub struct Recovered {
    /// How many deliveries; at most 10,000 at a time.
    count: i64,
}

/// A message on its way to a webhook.
#[derive(Debug, Serialize, ToSchema)]
pub struct Delivery {
    /// Its id.
    id: String,
    /// The `webhook-id` it is sent under: the same for every attempt.
    message_id: String,
    /// Its topic.
    topic: String,
    /// Where it stands.
    state: DeliveryState,
    /// Attempts made.
    attempts: i32,
    /// When the next one comes.
    #[schema(required)]
    next_at: Option<String>,
    /// When the message was taken.
    created_at: String,
    /// When it was delivered or given up.
    #[schema(required)]
    settled_at: Option<String>,
}

/// A delivery with what was sent and every attempt.
#[derive(Debug, Serialize, ToSchema)]
pub struct DeliveryDetail {
    /// The delivery.
    delivery: Delivery,
    /// The bytes that are sent.
    body: String,
    /// The first first.
    attempts: Vec<Attempt>,
}

/// One attempt.
#[derive(Debug, Serialize, ToSchema)]
pub struct Attempt {
    /// From 1.
    number: i32,
    /// When it began.
    at: String,
    /// How long it took, in microseconds.
    took_us: i64,
    /// The answer's status; nothing without an answer.
    #[schema(required)]
    status: Option<u16>,
    /// The first bytes of the answer.
    #[schema(required)]
    answer: Option<String>,
    /// Why there was none.
    #[schema(required)]
    error: Option<String>,
}

/// Which deliveries, and where to read on.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Which {
    /// Only those that stand there.
    #[param(inline)]
    state: Option<DeliveryState>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

fn render(endpoint: Endpoint) -> Webhook {
    Webhook {
        id: endpoint.id.to_string(),
        url: endpoint.url,
        description: endpoint.description,
        topics: endpoint.topics,
        active: endpoint.disabled.is_none(),
        disabled_because: endpoint.disabled.map(|(why, _)| why.into()),
        disabled_at: endpoint.disabled.map(|(_, at)| time(at)),
        failing_since: endpoint.failing_since.map(time),
        older_secret_until: endpoint.older_secret_until.map(time),
        created_at: time(endpoint.created_at),
    }
}

fn render_delivery(delivery: &DeliveryOf) -> Delivery {
    Delivery {
        id: delivery.id.to_string(),
        message_id: delivery.message.clone(),
        topic: delivery.topic.clone(),
        state: delivery.state.into(),
        attempts: delivery.attempts,
        next_at: delivery.next_at.map(time),
        created_at: time(delivery.created_at),
        settled_at: delivery.settled_at.map(time),
    }
}

fn render_attempt(attempt: AttemptOf) -> Attempt {
    Attempt {
        number: attempt.number,
        at: time(attempt.at),
        took_us: attempt.took.micros(),
        status: attempt.status,
        answer: attempt.answer,
        error: attempt.error,
    }
}

/// The firm's webhooks, the oldest first.
#[utoipa::path(get, path = "/v1/webhooks", tag = "webhooks", responses(
    (status = 200, body = Items<Webhook>), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody)))]
async fn webhooks(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
) -> Result<Json<Items<Webhook>>, Problem> {
    let endpoints = web.webhooks.list(&caller.context).await?;
    Ok(Json(Items { items: endpoints.into_iter().map(render).collect() }))
}

/// Adds a webhook. Deliveries are signed as Standard Webhooks asks for; the secret is told here and never again.
#[utoipa::path(post, path = "/v1/webhooks", tag = "webhooks", request_body = NewWebhook, responses(
    (status = 201, body = AddedWebhook), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 409, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn add_webhook(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Body(body): Body<NewWebhook>,
) -> Result<(StatusCode, Json<AddedWebhook>), Problem> {
    caller.demand(Permission::ManageWebhooks)?;
    let NewWebhook { url, description, topics } = body;
    let (endpoint, secret): (Endpoint, SigningSecret) =
        web.webhooks.add(&caller.context, NewEndpoint { url, description, topics }).await?;
    let added = AddedWebhook { webhook: render(endpoint), secret: secret.reveal() };
    Ok((StatusCode::CREATED, Json(added)))
}

/// One webhook.
#[utoipa::path(get, path = "/v1/webhooks/{id}", tag = "webhooks", params(("id" = String, Path)), responses(
    (status = 200, body = Webhook), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 404, response = ProblemBody)))]
async fn webhook(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<WebhookId>,
) -> Result<Json<Webhook>, Problem> {
    Ok(Json(render(web.webhooks.get(&caller.context, id).await?)))
}

/// Changes a webhook, disables or enables it.
#[utoipa::path(patch, path = "/v1/webhooks/{id}", tag = "webhooks", request_body = WebhookChange,
    params(("id" = String, Path)), responses(
    (status = 200, body = Webhook), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 404, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn change_webhook(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<WebhookId>,
    Body(body): Body<WebhookChange>,
) -> Result<Json<Webhook>, Problem> {
    caller.demand(Permission::ManageWebhooks)?;
    let WebhookChange { url, description, topics, active } = body;
    let change = EndpointChange { url, description, topics, active };
    Ok(Json(render(web.webhooks.change(&caller.context, id, change).await?)))
}

/// Removes a webhook with its deliveries.
#[utoipa::path(delete, path = "/v1/webhooks/{id}", tag = "webhooks", params(("id" = String, Path)), responses(
    (status = 204, description = "It is gone"), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn remove_webhook(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<WebhookId>,
) -> Result<StatusCode, Problem> {
    web.webhooks.remove(&caller.context, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives a webhook a new secret, told here and never again. The one before signs too for a day.
#[utoipa::path(post, path = "/v1/webhooks/{id}/rotate-secret", tag = "webhooks", params(("id" = String, Path)), responses(
    (status = 200, body = RotatedSecret), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 404, response = ProblemBody)))]
async fn rotate_secret(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<WebhookId>,
) -> Result<Json<RotatedSecret>, Problem> {
    let (secret, until) = web.webhooks.rotate(&caller.context, id).await?;
    Ok(Json(RotatedSecret { secret: secret.reveal(), older_secret_until: time(until) }))
}

/// Sends a test event, whatever topics the webhook asks for.
#[utoipa::path(post, path = "/v1/webhooks/{id}/test", tag = "webhooks", params(("id" = String, Path)), responses(
    (status = 202, body = TestSent), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 404, response = ProblemBody), (status = 409, response = ProblemBody)))]
async fn test_webhook(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<WebhookId>,
) -> Result<(StatusCode, Json<TestSent>), Problem> {
    let delivery = web.webhooks.test(&caller.context, id).await?;
    Ok((StatusCode::ACCEPTED, Json(TestSent { delivery_id: delivery.to_string() })))
}

/// Sends everything again that failed since an instant.
#[utoipa::path(post, path = "/v1/webhooks/{id}/recover", tag = "webhooks", request_body = Recovery,
    params(("id" = String, Path)), responses(
    (status = 202, body = Recovered), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 404, response = ProblemBody), (status = 409, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn recover(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<WebhookId>,
    Body(body): Body<Recovery>,
) -> Result<(StatusCode, Json<Recovered>), Problem> {
    caller.demand(Permission::ManageWebhooks)?;
    let since = Timestamp::parse(&body.since)
        .map_err(|_| AppError::field("/since", "Use RFC 3339, such as 2026-01-09T13:30:00Z."))?;
    let count = web.webhooks.recover(&caller.context, id, since).await?;
    Ok((StatusCode::ACCEPTED, Json(Recovered { count })))
}

/// A webhook's deliveries, the newest first. They are kept for 90 days.
#[utoipa::path(get, path = "/v1/webhooks/{id}/deliveries", tag = "webhooks", params(("id" = String, Path), Which), responses(
    (status = 200, body = Page<Delivery>), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 404, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn deliveries(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<WebhookId>,
    Query(which): Query<Which>,
) -> Result<Json<Page<Delivery>>, Problem> {
    let state = which.state.map(Into::into);
    let page = web.webhooks.deliveries(&caller.context, id, state, which.cursor.as_deref(), PAGE).await?;
    Ok(Json(Page { items: page.items.iter().map(render_delivery).collect(), next_cursor: page.next }))
}

/// One delivery with what was sent and every attempt.
#[utoipa::path(get, path = "/v1/webhooks/{id}/deliveries/{delivery}", tag = "webhooks",
    params(("id" = String, Path), ("delivery" = String, Path)), responses(
    (status = 200, body = DeliveryDetail), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 404, response = ProblemBody)))]
async fn delivery(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path((id, delivery)): Path<(WebhookId, DeliveryId)>,
) -> Result<Json<DeliveryDetail>, Problem> {
    let (delivery, attempts) = web.webhooks.delivery(&caller.context, id, delivery).await?;
    Ok(Json(DeliveryDetail {
        attempts: attempts.into_iter().map(render_attempt).collect(),
        body: delivery.body.clone(),
        delivery: render_delivery(&delivery),
    }))
}

/// Sends a delivery again, under the same `webhook-id`.
#[utoipa::path(post, path = "/v1/webhooks/{id}/deliveries/{delivery}/resend", tag = "webhooks",
    params(("id" = String, Path), ("delivery" = String, Path)), responses(
    (status = 202, description = "It is on its way"), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 404, response = ProblemBody), (status = 409, response = ProblemBody)))]
async fn resend(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path((id, delivery)): Path<(WebhookId, DeliveryId)>,
) -> Result<StatusCode, Problem> {
    web.webhooks.resend(&caller.context, id, delivery).await?;
    Ok(StatusCode::ACCEPTED)
}
