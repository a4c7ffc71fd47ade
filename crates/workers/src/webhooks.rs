//! Tells the firms' own systems what happens: takes messages into deliveries, and makes the attempts.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use app::AppError;
use app::events::{Consumer, Message};
use app::jobs::{Job, JobError, JobHandler};
use app::webhooks::{DELIVER, Deliverer, WebhookStore};
use async_trait::async_trait;
use kernel::{Clock, DeliveryId, FirmId, Span, WebhookId};
use serde::Deserialize;
use tokio::time::Instant;

/// The group that takes messages for webhooks.
pub const GROUP: &str = "webhooks";

/// Takes messages into deliveries.
pub struct WebhookTaker {
    store: Arc<dyn WebhookStore>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for WebhookTaker {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("WebhookTaker").finish_non_exhaustive()
    }
}

impl WebhookTaker {
    /// Over a store.
    pub fn new(store: Arc<dyn WebhookStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }
}

#[async_trait]
impl Consumer for WebhookTaker {
    fn group(&self) -> &'static str {
        GROUP
    }

    async fn take(&self, firm: FirmId, messages: &[Message]) -> Result<(), AppError> {
        self.store.take_deliveries(firm, GROUP, messages, self.clock.now()).await
    }
}

/// Attempts to one endpoint at once; more wait, so that one that is slow holds up no other.
const AT_ONCE: u32 = 4;
/// How long those wait who find too many at work, at the least and at the most.
const SHORTEST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_mins(5);

/// Makes attempts: the handler of jobs of kind [`DELIVER`].
#[derive(Debug)]
pub struct Deliver {
    deliverer: Deliverer,
    endpoints: Mutex<HashMap<WebhookId, Turns>>,
}

/// Whose turn it is at one endpoint.
#[derive(Debug)]
struct Turns {
    at_work: u32,
    /// How long the last attempt took.
    took: Duration,
    /// When the last of those who wait comes again.
    last: Instant,
}

impl Deliver {
    /// With nobody at work.
    pub fn new(deliverer: Deliverer) -> Self {
        Self { deliverer, endpoints: Mutex::default() }
    }

    fn endpoints(&self) -> MutexGuard<'_, HashMap<WebhookId, Turns>> {
        self.endpoints.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a turn, or says how long to wait for one: everybody who waits comes when those before are likely done.
    fn begin(&self, endpoint: WebhookId, now: Instant) -> Result<Turn<'_>, Span> {
        let mut endpoints = self.endpoints();
        let new = Turns { at_work: 0, took: SHORTEST_WAIT, last: now };
        let turns = endpoints.entry(endpoint).or_insert(new);
        if turns.at_work < AT_ONCE {
            turns.at_work = turns.at_work.saturating_add(1);
            return Ok(Turn { of: self, endpoint, began: now });
        }
        let pace = turns.took.checked_div(AT_ONCE).unwrap_or_default();
        turns.last = turns.last.max(now).checked_add(pace).unwrap_or(now);
        let wait = turns.last.saturating_duration_since(now).clamp(SHORTEST_WAIT, LONGEST_WAIT);
        Err(wait.into())
    }
}

/// An attempt at work; over when it is dropped, however it ended.
struct Turn<'a> {
    of: &'a Deliver,
    endpoint: WebhookId,
    began: Instant,
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        let mut endpoints = self.of.endpoints();
        if let Some(turns) = endpoints.get_mut(&self.endpoint) {
            turns.at_work = turns.at_work.saturating_sub(1);
            turns.took = self.began.elapsed();
            if turns.at_work == 0 && turns.last <= Instant::now() {
                endpoints.remove(&self.endpoint);
            }
        }
    }
}

#[derive(Deserialize)]
struct Payload {
    endpoint: WebhookId,
    delivery: DeliveryId,
    attempt: i32,
}

#[async_trait]
impl JobHandler for Deliver {
    fn kind(&self) -> &'static str {
        DELIVER
    }

    async fn run(&self, job: &Job) -> Result<(), JobError> {
        let firm = job.firm.ok_or_else(|| JobError::Never("a delivery of no firm".into()))?;
        let read = Payload::deserialize(&job.payload).map_err(|error| JobError::Never(error.into()))?;
        let turn = self.begin(read.endpoint, Instant::now()).map_err(JobError::Later)?;
        let attempted = self.deliverer.attempt(firm, read.endpoint, read.delivery, read.attempt).await;
        drop(turn);
        Ok(attempted?)
    }
}
