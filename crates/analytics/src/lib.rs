//! Boards, statistics and counters: what is read often and may be a moment old.
//!
//! **For:** the consumer that keeps the read rows ([`Projection`]), the boards in memory and what keeps them current
//! ([`follow`]), statistics of accounts, the counters of a firm's business, and their HTTP on a port of its own.
//!
//! **Must not know:** SQL (it reads through `store::analytics`), what carries the messages, the engine's state. Nothing here
//! decides about money or a verdict, and nothing here is the truth: every row and every rank can be made again.
//!
//! Every answer says `as_of`: everything that was written before that moment is in it.
//!
//! **To add a statistic:** a function in [`statistics`] with its convention in its name or its documentation, tested against
//! values from elsewhere; its field in `v1::accounts`. **To add an endpoint:** a handler with its `#[utoipa::path]`, its line in
//! the file's `router`, its row in [`v1::access`], then `cargo xtask codegen`.

pub mod boards;
pub mod calendar;
mod follow;
mod names;
pub mod ops;
pub mod ordered;
mod projection;
pub mod statistics;
pub mod v1;

use std::collections::BTreeMap;
use std::ops::Deref;
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use app::AppError;
use app::cache::Cache;
use app::catalogue::Catalogue;
use app::identity::Identity;
use axum::Router;
use axum::extract::State;
use kernel::{Clock, FirmId, Rng, Timestamp};
use serve::problem::{self, Problem};
use serve::{Firms, Site};
use store::{Replicas, Store};
use telemetry::metrics::Counted;
use tokio::sync::{Notify, watch};
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use boards::Boards;
use names::Names;

pub use follow::{build, follow, follow_once, watch_replicas};
pub use projection::Projection;

/// What there is to use.
pub struct Parts {
    /// Who holds a session: the same as the API's.
    pub identity: Arc<Identity>,
    /// What is on sale.
    pub catalogue: Arc<Catalogue>,
    /// The primary: boards follow it.
    pub store: Arc<Store>,
    /// Where statistics and counters are read.
    pub replicas: Arc<Replicas>,
    /// Answers that cost something.
    pub cache: Arc<dyn Cache>,
    /// Which firm lives at which host name.
    pub firms: Arc<Firms>,
    /// Where requests are counted.
    pub metrics: Arc<Counted>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub rng: Arc<dyn Rng>,
    /// Wakes whoever follows the rows; the consumer rings it.
    pub projected: Arc<Notify>,
    /// Turns true when the server stops.
    pub stopping: watch::Receiver<bool>,
}

/// How current the boards are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Freshness {
    /// Everything written before it is on the boards.
    pub as_of: Timestamp,
    /// The newest message that was written.
    pub newest: i64,
    /// The oldest that was not taken.
    pub waiting: Option<i64>,
    /// How many were not taken.
    pub count: i64,
    /// When this was found.
    pub found_at: Timestamp,
}

/// What this process knows beside its parts.
struct Known {
    parts: Parts,
    boards: RwLock<BTreeMap<FirmId, Boards>>,
    fresh: RwLock<Option<Freshness>>,
    names: Names,
    counted: ops::Counted,
    /// Up to here everything is on the boards, and no further message comes to light.
    taken_through: AtomicI64,
}

/// Everything the handlers use; every request takes some clones of it.
#[derive(Clone)]
pub struct Analytics(Arc<Known>);

impl std::fmt::Debug for Analytics {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Analytics").field("fresh", &self.fresh()).finish_non_exhaustive()
    }
}

impl Deref for Analytics {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0.parts
    }
}

impl Analytics {
    /// One process's. It knows nothing until it has followed once ([`follow`]).
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(Known {
            parts,
            boards: RwLock::default(),
            fresh: RwLock::default(),
            names: Names::default(),
            counted: ops::Counted::default(),
            taken_through: AtomicI64::default(),
        }))
    }

    /// How current the boards are; nothing before the first time.
    pub fn fresh(&self) -> Option<Freshness> {
        *self.0.fresh.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Forgets everything that is kept in memory; the next time of following loads it again.
    pub fn forget(&self) {
        self.write_boards().clear();
    }

    /// Bytes on the heap and accounts of all boards.
    pub fn memory(&self) -> (usize, usize) {
        let boards = self.read_boards();
        let sum = |of: fn(&Boards) -> usize| boards.values().map(of).sum();
        (sum(Boards::bytes), sum(Boards::accounts))
    }

    fn set_fresh(&self, fresh: Freshness) {
        *self.0.fresh.write().unwrap_or_else(PoisonError::into_inner) = Some(fresh);
    }

    fn as_of(&self) -> Result<Timestamp, Problem> {
        let fresh = self.fresh().ok_or_else(|| {
            let source = "nothing was followed yet".into();
            AppError::Unavailable { doing: "loading the boards", source }
        })?;
        Ok(fresh.as_of)
    }

    fn read_boards(&self) -> RwLockReadGuard<'_, BTreeMap<FirmId, Boards>> {
        self.0.boards.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write_boards(&self) -> RwLockWriteGuard<'_, BTreeMap<FirmId, Boards>> {
        self.0.boards.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn names(&self) -> &Names {
        &self.0.names
    }

    fn counted(&self) -> &ops::Counted {
        &self.0.counted
    }
}

impl Site for Analytics {
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

#[derive(OpenApi)]
#[openapi(
    info(
        title = "TradeSense analytics",
        version = "1",
        description = "Boards, statistics and counters. Every answer says how current it is.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    components(schemas(problem::ProblemBody), responses(problem::ProblemBody))
)]
struct Document;

fn documented() -> (Router<Analytics>, utoipa::openapi::OpenApi) {
    OpenApiRouter::with_openapi(Document::openapi()).merge(v1::router()).split_for_parts()
}

/// The OpenAPI document, as committed in `api/analytics.openapi.json`.
pub fn openapi() -> Result<String, serde_json::Error> {
    let mut text = serde_json::to_string_pretty(&documented().1)?;
    text.push('\n');
    Ok(text)
}

/// What the role answers and the API does not is below this path.
pub const PREFIX: &str = "/v1/analytics/";

/// The whole server.
pub fn router(analytics: Analytics) -> Router {
    let router = documented()
        .0
        .route("/errors/{code}", axum::routing::get(problem::page))
        .route("/health/live", axum::routing::get(|| async { "live\n" }))
        .route("/health/ready", axum::routing::get(ready))
        .fallback(serve::no_such_operation);
    serve::finish(router, analytics)
}

/// Ready once the boards have been loaded, while the database answers, and until it is to stop.
async fn ready(State(analytics): State<Analytics>) -> Result<&'static str, Problem> {
    serve::refuse_when_stopping(&analytics.stopping)?;
    analytics.as_of()?;
    analytics.store.ready().await?;
    Ok("ready\n")
}
