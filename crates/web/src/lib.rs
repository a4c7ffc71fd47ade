//! The HTTP side: `/v1`, live streams, the sandbox's payment page, the embedded UI, the OpenAPI document.
//!
//! **For:** turning requests into use cases and their answers into JSON. What every server of ours does the same way is in
//! `serve`.
//!
//! **Must not know:** SQL (it reads screens through `store::read`, asks whether the store answers and for the operator's
//! figures, and nothing else), which clock or feed is behind it, how a verdict is made.
//!
//! **To add an endpoint:** see [`v1`].

mod live;
pub mod notices;
pub mod ops;
mod sandbox;
mod ui;
pub mod v1;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use app::catalogue::Catalogue;
use app::disputes::Disputes;
use app::finance::Finance;
use app::identity::Identity;
use app::kyc::Kyc;
use app::latency::Meter;
use app::ledger::Ledger;
use app::market::MarketHub;
use app::notifications::{Mailbox, Notifications};
use app::operations::Operations;
use app::overrides::Overrides;
use app::payments::checkouts::Checkouts;
use app::payments::notices::Notices;
use app::payouts::{Certificates, Payouts};
use app::privacy::Privacy;
use app::purchases::Purchases;
use app::reconciliation::Reconciliation;
use app::refunds::Refunds;
use app::releases::Releases;
use app::trading::Desk;
use app::webhooks::Webhooks;
use app::what_if::WhatIf;
use audit::PublicKey;
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use http::HeaderValue;
use kernel::{Clock, Rng};
use store::Store;
use telemetry::metrics::Counted;
use tokio::sync::{Notify, watch};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

pub use serve::Firms;
pub use serve::problem::{CODES, Problem};
use serve::{Site, extract, problem};

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

impl Site for Web {
    fn identity(&self) -> &Identity {
        &self.identity
    }

    fn firms(&self) -> &Firms {
        &self.firms
    }

    fn clock(&self) -> &dyn Clock {
        &*self.clock
    }

    fn rng(&self) -> &dyn Rng {
        &*self.rng
    }

    fn counted(&self) -> &Counted {
        &self.metrics
    }
}

/// What there is to use.
pub struct Parts {
    /// Registering and signing in.
    pub identity: Arc<Identity>,
    /// What people may ask of their data.
    pub privacy: Arc<Privacy>,
    /// What is on sale.
    pub catalogue: Arc<Catalogue>,
    /// Buying.
    pub purchases: Arc<Purchases>,
    /// Pages on which buyers pay.
    pub checkouts: Arc<Checkouts>,
    /// What providers have told.
    pub notices: Arc<Notices>,
    /// Where people reach this installation, without a slash at the end.
    pub public_url: String,
    /// Giving money back.
    pub refunds: Arc<Refunds>,
    /// Buyers who want money back.
    pub disputes: Arc<Disputes>,
    /// The firm's books.
    pub ledger: Arc<Ledger>,
    /// What the books say of the business.
    pub finance: Arc<Finance>,
    /// The books compared with others.
    pub reconciliation: Arc<Reconciliation>,
    /// Payouts.
    pub payouts: Arc<Payouts>,
    /// What traders may show.
    pub certificates: Arc<Certificates>,
    /// Who is known to be who.
    pub kyc: Arc<Kyc>,
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
    /// What people are told.
    pub notifications: Arc<Notifications>,
    /// What the firm's own systems are told.
    pub webhooks: Arc<Webhooks>,
    /// Mails that were sent to nobody, for the sandbox's page.
    pub mailbox: Option<Arc<Mailbox>>,
    /// Quotes and candles.
    pub hub: Arc<MarketHub>,
    /// How long everything took.
    pub meter: Meter,
    /// How large the quote log is on this machine.
    pub quote_log: ops::LogSize,
    /// Screens.
    pub store: Arc<Store>,
    /// Where requests are counted.
    pub metrics: Arc<Counted>,
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
    let router = router
        .route("/errors/{code}", axum::routing::get(problem::page))
        .route("/health/live", axum::routing::get(|| async { "live\n" }))
        .route("/health/ready", axum::routing::get(ready))
        .route("/v1/{*rest}", axum::routing::any(serve::no_such_operation))
        .fallback(axum::routing::get(ui::serve).fallback(serve::no_such_operation));
    serve::finish(router.layer(middleware::from_fn_with_state(web.clone(), with_token)), web)
}

/// A change that was made goes with the place behind it, so that whoever reads elsewhere with it reads no less.
async fn with_token(State(web): State<Web>, request: Request, next: Next) -> Response {
    let changes = !request.method().is_safe();
    let mut response = next.run(request).await;
    if changes && (response.status().is_success() || response.status().is_redirection()) {
        // The change stands, with a token or without.
        match tokio::time::timeout(LONGEST_FOR_TOKEN, web.store.consistency_token()).await {
            Ok(Ok(token)) => {
                if let Ok(value) = HeaderValue::from_str(&token.to_string()) {
                    response.headers_mut().insert("consistency-token", value);
                }
            }
            Ok(Err(error)) => {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "an answer has no token");
            }
            Err(_) => tracing::warn!("an answer has no token: the database took too long"),
        }
    }
    response
}

/// An answer waits no longer for its token.
const LONGEST_FOR_TOKEN: Duration = Duration::from_millis(250);

async fn ready(State(web): State<Web>) -> Result<&'static str, Problem> {
    readiness(&web).await?;
    Ok("ready\n")
}

/// Whether requests are to come here: the database answers, and nobody asked this process to stop. What waits for streams
/// can wait; requests do not need them.
async fn readiness(web: &Web) -> Result<(), Problem> {
    serve::refuse_when_stopping(&web.stopping)?;
    Ok(web.store.ready().await?)
}
