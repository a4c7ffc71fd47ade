//! The job that compares the firms' books with everybody else's.

use std::sync::Arc;

use app::Context;
use app::jobs::{Job, JobError, JobHandler};
use app::reconciliation::Reconciliation;
use async_trait::async_trait;
use kernel::{Clock, FirmId, RequestId, Rng, Span};

use crate::as_error;
use crate::schedules::{CatchUp, NoSchedule, Schedule};

/// Its kind.
pub const KIND: &str = "reconciliation.compare";
/// Its queue: a comparison takes as long as the providers' books are.
pub const QUEUE: &str = "reconciliation";

/// Begins every firm's comparisons if the payload says `begin`, and goes on with those that are under way.
pub struct Reconciler {
    /// The use cases.
    pub reconciliation: Arc<Reconciliation>,
    /// Whose books.
    pub firms: Vec<FirmId>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Chance.
    pub rng: Arc<dyn Rng>,
}

impl std::fmt::Debug for Reconciler {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Reconciler").finish_non_exhaustive()
    }
}

#[async_trait]
impl JobHandler for Reconciler {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn longest(&self) -> Span {
        Span::from_seconds(3_600)
    }

    async fn run(&self, job: &Job) -> Result<(), JobError> {
        let begins = job.payload.get("begin").and_then(serde_json::Value::as_bool).unwrap_or_default();
        let mut failed = None;
        for firm in &self.firms {
            let request = RequestId::random(self.clock.now(), &*self.rng);
            let context = Context { firm: *firm, actor: None, request };
            let done = if begins {
                self.reconciliation.daily(&context).await.map(|runs| {
                    for run in runs {
                        let (subject, counts) = (run.subject.word(), run.counts);
                        tracing::info!(%firm, subject, found = counts.found, posted = counts.posted, "compared the books");
                    }
                })
            } else {
                self.reconciliation.janitor(&context).await.map(drop)
            };
            if let Err(error) = done {
                // The other firms' books are compared all the same.
                tracing::warn!(%firm, error = as_error(&error), "comparing the books failed");
                failed = Some(error);
            }
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }
}

/// Every night, when the day before has settled at every provider.
pub fn comparing() -> Result<Schedule, NoSchedule> {
    let (queue, payload) = ((QUEUE, KIND), serde_json::json!({ "begin": true }));
    Schedule::new("compare-books", "17 5 * * *", "UTC", CatchUp::Once, queue, payload)
}

/// Every minute, for those that somebody has asked for or that were interrupted.
pub fn continuing() -> Result<Schedule, NoSchedule> {
    let (queue, payload) = ((QUEUE, KIND), serde_json::json!({ "begin": false }));
    Schedule::new("continue-comparing-books", "* * * * *", "UTC", CatchUp::Skip, queue, payload)
}
