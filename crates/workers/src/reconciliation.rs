//! The job that compares the firms' books with everybody else's.

use std::sync::Arc;
use std::time::Duration;

use app::Context;
use app::jobs::{Job, JobError, JobHandler};
use app::reconciliation::Reconciliation;
use async_trait::async_trait;
use kernel::{Clock, FirmId, Rng, Span};
use tokio::sync::watch;

use crate::as_error;
use crate::schedules::{CatchUp, NoSchedule, Schedule};

/// Its kind.
pub const KIND: &str = "reconciliation.compare";
/// Its queue: a comparison takes as long as the providers' books are.
pub const QUEUE: &str = "reconciliation";

/// Comparisons that are under way are looked for this often.
const ROUND: Duration = Duration::from_secs(2);

/// Begins every firm's comparisons, and goes on with those that are under way.
#[derive(Clone)]
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

impl Reconciler {
    /// Goes on with comparisons that somebody has asked for, or that were interrupted, until it is to stop.
    pub async fn carry_on(self, mut stop: watch::Receiver<bool>) {
        loop {
            for firm in &self.firms {
                let context = Context::of_platform(*firm, self.clock.now(), &*self.rng);
                if let Err(error) = self.reconciliation.janitor(&context).await {
                    tracing::warn!(%firm, error = as_error(&error), "a comparison of the books does not go on; trying again");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(ROUND) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
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

    async fn run(&self, _: &Job) -> Result<(), JobError> {
        let mut failed = None;
        for firm in &self.firms {
            let context = Context::of_platform(*firm, self.clock.now(), &*self.rng);
            let done = self.reconciliation.daily(&context).await.map(|runs| {
                for run in runs {
                    let (subject, counts) = (run.subject.word(), run.counts);
                    tracing::info!(%firm, subject, found = counts.found, posted = counts.posted, "compared the books");
                }
            });
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
    let (queue, payload) = ((QUEUE, KIND), serde_json::json!({}));
    Schedule::new("compare-books", "17 5 * * *", "UTC", CatchUp::Once, queue, payload)
}
