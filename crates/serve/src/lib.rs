//! What every HTTP server of ours does the same way.
//!
//! **For:** problems with documented codes, what handlers take ([`extract`]), who asks for which firm, security headers,
//! limits, who asks behind an edge ([`edges`]), the request's log line. A server is a [`Site`] and hands its router to [`finish`].
//!
//! **Must not know:** any operation, the store, what is shown to whom.
//!
//! **To add a code:** a row in [`problem::CODES`] and its page in `docs/errors`. **To add something that handlers take:** a
//! type in [`extract`] whose rejection is a [`problem::Problem`].

pub mod door;
pub mod edges;
pub mod extract;
pub mod problem;

use std::collections::BTreeMap;
use std::sync::Arc;

use app::identity::Identity;
use axum::Router;
use axum::extract::{DefaultBodyLimit, MatchedPath, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use kernel::{Clock, FirmId, RequestId, Rng};
use tokio::sync::{Semaphore, watch};
use tower::ServiceExt as _;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};

use problem::Problem;
use telemetry::metrics::{Counted, Exemplar};

/// The largest body of a request.
pub const MOST_BODY_BYTES: usize = 64 * 1_024;

/// Requests of a server that are worked on at once. What comes beyond is refused in no time, so that what was accepted is answered
/// soon however much is asked: at some thousand requests a second the last of so many waits for a fraction of one.
pub const MOST_AT_ONCE: usize = 1_000;

/// What a server knows that answers requests; the state of its router.
pub trait Site: Clone + Send + Sync + 'static {
    /// Who holds a session.
    fn identity(&self) -> &Identity;
    /// Which firm lives where.
    fn firms(&self) -> &Firms;
    /// The time.
    fn clock(&self) -> &dyn Clock;
    /// Chance.
    fn rng(&self) -> &dyn Rng;
    /// Where requests are counted.
    fn counted(&self) -> &Counted;
}

/// Which firm lives at which host name.
#[derive(Debug, Default)]
pub struct Firms {
    /// By host name, without a port.
    pub by_host: BTreeMap<String, FirmId>,
    /// For every other host name; none on an installation that serves several.
    pub otherwise: Option<FirmId>,
}

impl Firms {
    /// The firm of a request.
    pub fn of(&self, headers: &HeaderMap) -> Option<FirmId> {
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
        let name = host.rsplit_once(':').map_or(host, |(name, _)| name);
        self.by_host.get(&name.to_ascii_lowercase()).copied().or(self.otherwise)
    }
}

/// Puts around a router what every answer of ours has.
pub fn finish<S: Site>(router: Router<S>, site: S) -> Router {
    // Live streams must leave at once; a compressor would keep their messages.
    let compressible = SizeAbove::new(1_024).and(NotForContentType::new("text/event-stream"));
    router
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MOST_BODY_BYTES))
        .layer(middleware::from_fn(same_origin))
        .layer(CompressionLayer::new().compress_when(compressible))
        .layer(middleware::from_fn_with_state(Arc::new(Semaphore::new(MOST_AT_ONCE)), bounded))
        .layer(middleware::from_fn_with_state(site.clone(), outermost::<S>))
        .with_state(site)
}

/// Two finished servers at one address, each with its own limits and headers: whatever is below `prefix` is the second
/// one's. No route of a third stands above them, whose parameters theirs would be added to.
pub fn beside(first: Router, prefix: &'static str, second: Router) -> Router {
    Router::new().fallback(async move |request: Request| {
        let asked = if request.uri().path().starts_with(prefix) { second } else { first };
        asked.oneshot(request).await
    })
}

/// What a process says of its readiness once it was asked to stop.
pub fn refuse_when_stopping(stopping: &watch::Receiver<bool>) -> Result<(), Problem> {
    if *stopping.borrow() {
        return Err(Problem::new("unavailable", "This process is about to stop; ask another one."));
    }
    Ok(())
}

/// There is nothing at the address.
#[expect(clippy::unused_async, reason = "a handler is an async function")]
pub async fn no_such_operation() -> Problem {
    Problem::new("not_found", "There is no such operation.")
}

async fn wrong_method() -> Problem {
    Problem::new("method_not_allowed", "This address does not know the method.")
}

/// Refuses what is too much at once. Whoever asks whether the server lives is always answered; what is streamed counts until it
/// begins.
async fn bounded(State(room): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    let is_health = request.uri().path().starts_with("/health/");
    let worked_on = room.try_acquire();
    if worked_on.is_err() && !is_health {
        return Problem::new("unavailable", "Too much is asked at once. Try again.").into_response();
    }
    next.run(request).await
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

/// Names the request, renders problems, sets the security headers, counts the request and writes its log line. Both name the route and
/// never the path, which whoever asks chooses and which may hold a token.
async fn outermost<S: Site>(State(site): State<S>, mut request: Request, next: Next) -> Response {
    let id = RequestId::random(site.clock().now(), site.rng());
    request.extensions_mut().insert(id);
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.as_ref().map_or("", MatchedPath::as_str);
    let caller =
        request.headers().get("traceparent").and_then(|value| trace(value.to_str().ok()?)).map(str::to_owned);
    let started = site.clock().now();
    let mut response = next.run(request).await;
    let example = |at| Exemplar { name: "trace_id", value: id.uuid().simple().to_string(), at };
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        site.counted().refusals.add(&[problem.code(), route], 1, Some(example(started)));
        response = problem.render(id);
    }
    let headers = response.headers_mut();
    set_security(headers);
    if let Ok(value) = HeaderValue::from_str(&id.to_string()) {
        headers.insert("x-request-id", value);
    }
    let ended = site.clock().now();
    let took = ended.since(started).map_or(0, kernel::Span::micros).max(0);
    let micros = u64::try_from(took).unwrap_or_default();
    let answered = response.status();
    let labels = [known_method(&method), route, answered.as_str()];
    site.counted().requests.add(&labels, micros, Some(example(ended)));
    let (status, caller) = (response.status().as_u16(), caller.as_deref());
    if response.status().is_server_error() && response.status() != StatusCode::SERVICE_UNAVAILABLE {
        tracing::error!(request.id = %id, trace.caller = caller, %method, route, status, took_us = took, "request");
    } else {
        tracing::info!(request.id = %id, trace.caller = caller, %method, route, status, took_us = took, "request");
    }
    response
}

/// A method by its name; whoever asks may invent others.
fn known_method(method: &Method) -> &'static str {
    match method.as_str() {
        "GET" => "GET",
        "POST" => "POST",
        "PUT" => "PUT",
        "PATCH" => "PATCH",
        "DELETE" => "DELETE",
        "HEAD" => "HEAD",
        "OPTIONS" => "OPTIONS",
        _ => "_OTHER",
    }
}

/// The trace of whoever asks, from W3C's `traceparent`. It is named beside the request's own, which it does not replace:
/// anybody may send any.
fn trace(traceparent: &str) -> Option<&str> {
    let mut parts = traceparent.split('-');
    let (version, trace, span) = (parts.next()?, parts.next()?, parts.next()?);
    let hex = |text: &str, length| {
        text.len() == length && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    };
    let some = |text: &str| text.bytes().any(|byte| byte != b'0');
    let good =
        hex(version, 2) && version != "ff" && hex(trace, 32) && some(trace) && hex(span, 16) && some(span);
    (good && parts.next().is_some_and(|flags| hex(flags, 2))).then_some(trace)
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

    #[tokio::test]
    async fn what_is_too_much_at_once_is_refused_and_the_rest_is_answered() {
        let go = Arc::new(Semaphore::new(0));
        let work = {
            let go = Arc::clone(&go);
            async move || drop(go.acquire().await.unwrap())
        };
        let room = Arc::new(Semaphore::new(MOST_AT_ONCE));
        let server = Router::new()
            .route("/work", axum::routing::get(work))
            .route("/health/live", axum::routing::get(async || "live"))
            .layer(middleware::from_fn_with_state(room, bounded));
        let ask = |path: &str| {
            let request = Request::get(path).body(axum::body::Body::empty()).unwrap();
            tokio::spawn(server.clone().oneshot(request))
        };
        let accepted: Vec<_> = (0..MOST_AT_ONCE).map(|_| ask("/work")).collect();
        let refused = loop {
            // Until all of them are being worked on.
            let asked = ask("/work");
            tokio::task::yield_now().await;
            if asked.is_finished() {
                break asked.await.unwrap().unwrap();
            }
            asked.abort();
        };
        let problem = refused.into_parts().0.extensions.remove::<Problem>().unwrap();
        let answer = problem.render(RequestId::derived(&[b"one"]));
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(answer.headers()["retry-after"], "1");
        assert_eq!(ask("/health/live").await.unwrap().unwrap().status(), StatusCode::OK);
        go.close();
        drop(accepted);
    }

    #[test]
    fn a_caller_s_trace_is_read_as_the_standard_writes_it() {
        let (id, span) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
        assert_eq!(trace(&format!("00-{id}-{span}-01")), Some(id));
        // A later version may say more.
        assert_eq!(trace(&format!("01-{id}-{span}-00-more")), Some(id));
        for wrong in [
            String::new(),
            format!("ff-{id}-{span}-01"),
            format!("00-{}-{span}-01", "0".repeat(32)),
            format!("00-{id}-{}-01", "0".repeat(16)),
            format!("00-{}-{span}-01", id.to_uppercase()),
            format!("00-{id}-{span}"),
            format!("00-{id}-{span}-0é"),
        ] {
            assert_eq!(trace(&wrong), None, "{wrong}");
        }
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
