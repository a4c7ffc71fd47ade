//! Where providers of money tell what happened: a server of its own, apart from the one for people. It believes what is signed,
//! answers after the commit, and says to nobody why it does not believe.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use app::payments::Providers;
use app::payments::notices::{Intake, NewNotice};
use app::payments::port::{Distrust, Headers, MOST_BODY_BYTES, ProviderName};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, Path, State};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use kernel::{Clock, FirmId};
use telemetry::metrics::Counted;
use tokio::sync::watch;

/// What the server needs.
#[derive(Clone)]
pub struct Inbox {
    /// Stores what is believed.
    pub intake: Intake,
    /// Who may be believed.
    pub providers: Providers,
    /// Firms by the word in the path.
    pub firms: Arc<BTreeMap<String, FirmId>>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Counts what was told, and what was not believed.
    pub metrics: Arc<Counted>,
    /// Turns true when the server stops.
    pub stopping: watch::Receiver<bool>,
}

impl fmt::Debug for Inbox {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Inbox").field("providers", &self.providers).finish_non_exhaustive()
    }
}

/// `POST /webhooks/{firm}/{provider}` and `GET /health/live`, and nothing else.
pub fn router(inbox: Inbox) -> Router {
    Router::new()
        .route("/webhooks/{firm}/{provider}", axum::routing::post(notice))
        .route("/health/live", axum::routing::get(|| async { "live\n" }))
        .layer(DefaultBodyLimit::max(MOST_BODY_BYTES))
        .with_state(inbox)
}

/// A code and a line: providers show both to whoever looks why an event did not arrive.
fn answer(status: StatusCode, say: &'static str) -> Response {
    let mut response = (status, [(header::CONTENT_TYPE, "text/plain; charset=utf-8")], say).into_response();
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("5"));
    }
    response
}

async fn notice(
    State(inbox): State<Inbox>,
    Path((firm, provider)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let began = inbox.clock.now();
    let response = heard(&inbox, &firm, &provider, &headers, body).await;
    let took = inbox.clock.now().since(began).map_or(0, kernel::Span::micros);
    let micros = u64::try_from(took).unwrap_or_default();
    let status = response.status();
    inbox.metrics.requests.add(&["POST", route(&provider), status.as_str()], micros, None);
    response
}

/// How figures call the address: whoever asks may write anything into the path.
fn route(provider: &str) -> &'static str {
    match ProviderName::parse(provider) {
        Some(ProviderName::Stripe) => "/webhooks/stripe",
        Some(ProviderName::Paypal) => "/webhooks/paypal",
        None => "/webhooks/_other",
    }
}

async fn heard(inbox: &Inbox, firm: &str, provider: &str, headers: &HeaderMap, body: Bytes) -> Response {
    if *inbox.stopping.borrow() {
        return answer(StatusCode::SERVICE_UNAVAILABLE, "About to stop. Send it again.\n");
    }
    let known = inbox.firms.get(firm).copied().zip(ProviderName::parse(provider));
    let webhooks = known.and_then(|(firm, name)| Some((firm, inbox.providers.webhooks_of(firm, name).ok()?)));
    let Some((firm, webhooks)) = webhooks else {
        return answer(StatusCode::NOT_FOUND, "Nobody listens here.\n");
    };
    let lines: Vec<(String, Vec<u8>)> =
        headers.iter().map(|(name, value)| (name.as_str().to_owned(), value.as_bytes().to_vec())).collect();
    let now = inbox.clock.now();
    let believed = webhooks.verify(Headers::new(&lines), &body, now).await;
    let notice = match believed {
        Ok(notice) => notice,
        Err(distrust) => return refused(inbox, provider, &distrust),
    };
    let (event, kind) = (notice.id.clone(), notice.kind.clone());
    let new = match NewNotice::new(notice, body.into(), now) {
        Ok(new) => new,
        Err(unfit) => {
            tracing::warn!(provider, %unfit, "a signed webhook cannot be kept");
            return answer(StatusCode::BAD_REQUEST, "Not accepted.\n");
        }
    };
    match inbox.intake.keep(firm, new).await {
        Ok(()) => {
            tracing::debug!(provider, event, kind, "a provider told something");
            answer(StatusCode::OK, "Kept.\n")
        }
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::error!(
                error,
                provider,
                event,
                "what a provider told could not be kept; it is asked to send it again"
            );
            answer(StatusCode::SERVICE_UNAVAILABLE, "Not kept. Send it again.\n")
        }
    }
}

/// One answer for all that is not believed, so that nobody learns how far they came.
fn refused(inbox: &Inbox, provider: &str, distrust: &Distrust) -> Response {
    tracing::warn!(provider, %distrust, "a webhook is not believed");
    if distrust.is_passing() {
        answer(StatusCode::SERVICE_UNAVAILABLE, "Not checked. Send it again.\n")
    } else {
        inbox.metrics.refusals.add(&["webhook_signature", route(provider)], 1, None);
        answer(StatusCode::BAD_REQUEST, "Not accepted.\n")
    }
}
