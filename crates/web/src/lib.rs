//! The HTTP side: `/v1`, live streams, the sandbox's payment page, the embedded UI, the OpenAPI document.
//!
//! **For:** turning requests into use cases and their answers into JSON; problems with documented codes; security
//! headers and limits.
//!
//! **Must not know:** SQL (it reads screens through `store::read`, asks whether the store answers and for the operator's
//! figures, and nothing else),
//! which clock or feed is behind it, how a verdict is made.
//!
//! **To add an endpoint:** see [`v1`].

mod extract;
mod live;
pub mod ops;
mod problem;
mod sandbox;
mod ui;
pub mod v1;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::Arc;

use app::catalogue::Catalogue;
use app::identity::Identity;
use app::latency::Meter;
use app::market::MarketHub;
use app::operations::Operations;
use app::overrides::Overrides;
use app::purchases::Purchases;
use app::releases::Releases;
use app::trading::Desk;
use app::what_if::WhatIf;
use audit::PublicKey;
use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use kernel::{Clock, FirmId, RequestId, Rng};
use store::Store;
use tokio::sync::{Notify, watch};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

pub use problem::{CODES, Problem};

/// The largest body of a request.
pub const MOST_BODY_BYTES: usize = 64 * 1_024;

/// Everything the handlers use; every request takes some clones of it.
#[derive(Clone)]
pub struct Web(Arc<Parts>);

impl Web {
    /// One server's.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }
}

impl Deref for Web {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// What there is to use.
pub struct Parts {
    /// Registering and signing in.
    pub identity: Arc<Identity>,
    /// What is on sale.
    pub catalogue: Arc<Catalogue>,
    /// Buying.
    pub purchases: Arc<Purchases>,
    /// Trading.
    pub desk: Desk,
    /// Judging a history by other rules.
    pub what_if: Arc<WhatIf>,
    /// Other rules for one account.
    pub overrides: Arc<Overrides>,
    /// The calendars of releases.
    pub releases: Arc<Releases>,
    /// What goes on behind the requests.
    pub operations: Arc<Operations>,
    /// Quotes and candles.
    pub hub: Arc<MarketHub>,
    /// How long everything took.
    pub meter: Meter,
    /// How large the quote log is on this machine.
    pub quote_log: ops::LogSize,
    /// Screens.
    pub store: Arc<Store>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub rng: Arc<dyn Rng>,
    /// What receipts are signed with.
    pub receipt_key: PublicKey,
    /// Which firm lives at which host name.
    pub firms: Arc<Firms>,
    /// Whether to serve what only a demonstration may.
    pub demo: bool,
    /// Whether browsers may send the session cookie over TLS only.
    pub secure_cookies: bool,
    /// Wakes whoever opens the accounts of paid challenges.
    pub purchase_paid: Arc<Notify>,
    /// Wakes whoever tells accounts of their firm's calendar.
    pub calendar_changed: Arc<Notify>,
    /// Turns true when the server stops.
    pub stopping: watch::Receiver<bool>,
}

/// Which firm lives at which host name.
#[derive(Debug, Default)]
pub struct Firms {
    /// By host name, without a port.
    pub by_host: BTreeMap<String, FirmId>,
    /// For every other host name; none on an installation that serves several.
    pub otherwise: Option<FirmId>,
}

impl Web {
    fn firm_of(&self, headers: &HeaderMap) -> Option<FirmId> {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        self.firms.by_host.get(&name.to_ascii_lowercase()).copied().or(self.firms.otherwise)
    }
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "TradeSense",
        version = "1",
        description = "Buy a challenge, trade it, and check every verdict.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(problem::ProblemBody), responses(problem::ProblemBody))
)]
struct Document;

fn v1() -> (Router<Web>, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(Document::openapi()).merge(v1::router()).split_for_parts()
}

/// The OpenAPI document, as committed in `api/openapi.json`.
pub fn openapi() -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string_pretty(&v1().1)?;
    text.push('\n');
    Ok(text)
}

/// The whole server.
pub fn router(web: Web) -> Router {
    let mut router = v1().0;
    if web.demo {
        router =
            router.merge(sandbox::router()).route("/sandbox/style.css", axum::routing::get(sandbox::style));
    }
    // Live streams must leave at once; a compressor would keep their messages.
    let compressible = SizeAbove::new(1_024).and(NotForContentType::new("text/event-stream"));
    router
        .route("/errors/{code}", axum::routing::get(problem::page))
        .route("/health/live", axum::routing::get(|| async { "live\n" }))
        .route("/health/ready", axum::routing::get(ready))
        .route("/v1/{*rest}", axum::routing::any(no_such_operation))
        .fallback(axum::routing::get(ui::serve).fallback(no_such_operation))
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MOST_BODY_BYTES))
        .layer(middleware::from_fn(same_origin))
        .layer(CompressionLayer::new().compress_when(compressible))
        .layer(middleware::from_fn_with_state(web.clone(), outermost))
        .with_state(web)
}

async fn ready(State(web): State<Web>) -> Result<&'static str, Problem> {
    readiness(&web).await?;
    Ok("ready\n")
}

/// Whether requests are to come here: the database answers, and nobody asked this process to stop. What waits for streams
/// can wait; requests do not need them.
async fn readiness(web: &Web) -> Result<(), Problem> {
    if *web.stopping.borrow() {
        return Err(Problem::new("unavailable", "This process is about to stop; ask another one."));
    }
    Ok(web.store.ready().await?)
}

async fn no_such_operation() -> Problem {
    Problem::new("not_found", "There is no such operation.")
}

async fn wrong_method() -> Problem {
    Problem::new("method_not_allowed", "This address does not know the method.")
}

/// Refuses what another site made a browser send. `SameSite=Lax` keeps the cookie away from such requests already;
/// this is the second fence.
async fn same_origin(request: Request, next: Next) -> Response {
    if is_cross_site_change(request.method(), request.headers()) {
        return Problem::new("forbidden", "Requests from other sites are refused.").into_response();
    }
    next.run(request).await
}

fn is_cross_site_change(method: &Method, headers: &HeaderMap) -> bool {
    if matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return false;
    }
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    match (text("sec-fetch-site"), text("origin")) {
        (Some(site), _) => !matches!(site, "same-origin" | "none"),
        // Browsers leave the first header out where there is no TLS, and programs send neither.
        (None, Some(origin)) => origin.split_once("://").map(|(_, host)| host) != text("host"),
        (None, None) => false,
    }
}

const CONTENT_SECURITY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; font-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; \
     manifest-src 'self'";

/// Names the request, renders problems, sets the security headers, writes the request's log line.
async fn outermost(State(web): State<Web>, mut request: Request, next: Next) -> Response {
    let id = RequestId::random(web.clock.now(), &*web.rng);
    request.extensions_mut().insert(id);
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let started = web.clock.now();
    let mut response = next.run(request).await;
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        response = problem.render(id);
    }
    let headers = response.headers_mut();
    set_security(headers);
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        headers.insert("x-request-id", value);
    }
    let took = web.clock.now().since(started).map_or(0, kernel::Span::micros);
    let status = response.status();
    if status.is_server_error() && status != StatusCode::SERVICE_UNAVAILABLE {
        tracing::error!(request.id = %id, %method, path, status = status.as_u16(), took_us = took, "request");
    } else {
        tracing::info!(request.id = %id, %method, path, status = status.as_u16(), took_us = took, "request");
    }
    response
}

fn set_security(headers: &mut HeaderMap) {
    let fixed = [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "same-origin"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("permissions-policy"), "camera=(), geolocation=(), microphone=()"),
    ];
    for (name, value) in fixed {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_carries_the_policies() {
        let mut headers = HeaderMap::new();
        set_security(&mut headers);
        let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(policy.starts_with("default-src 'none'; ") && policy.contains("frame-ancestors 'none'"));
        assert!(!policy.contains("unsafe") && !policy.contains('*'));
        assert_eq!(headers[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
        assert_eq!(headers[header::X_FRAME_OPTIONS], "DENY");
    }

    #[test]
    fn changes_from_other_sites_are_told_apart() {
        let refused = |method: Method, pairs: &[(&'static str, &'static str)]| {
            let headers = pairs
                .iter()
                .map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
            is_cross_site_change(&method, &headers.collect())
        };
        assert!(refused(Method::POST, &[("sec-fetch-site", "cross-site")]));
        assert!(refused(Method::DELETE, &[("sec-fetch-site", "same-site")]));
        assert!(refused(Method::POST, &[("origin", "http://evil.example"), ("host", "firm.example")]));
        assert!(refused(Method::POST, &[("origin", "null"), ("host", "firm.example")]));
        assert!(!refused(Method::GET, &[("sec-fetch-site", "cross-site")]));
        assert!(!refused(
            Method::POST,
            &[("sec-fetch-site", "same-origin"), ("origin", "http://other.example")]
        ));
        assert!(!refused(
            Method::POST,
            &[("origin", "http://firm.example:8000"), ("host", "firm.example:8000")]
        ));
        assert!(!refused(Method::POST, &[("host", "firm.example")]));
    }
}
