//! Tells the firms' own systems what happens: takes messages into deliveries, and makes the attempts.

use std::fmt;
use std::sync::Arc;

use app::AppError;
use app::events::{Consumer, Message};
use app::jobs::{Job, JobError, JobHandler};
use app::webhooks::{DELIVER, Deliverer, WebhookStore};
use async_trait::async_trait;
use kernel::{Clock, DeliveryId, FirmId, WebhookId};
use serde::Deserialize;

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

/// Makes attempts: the handler of jobs of kind [`DELIVER`].
#[derive(Debug)]
pub struct Deliver(pub Deliverer);

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
        Ok(self.0.attempt(firm, read.endpoint, read.delivery, read.attempt).await?)
    }
}
