//! The job that removes what nobody needs any longer.

use std::sync::Arc;

use app::jobs::{Job, JobError, JobHandler};
use app::upkeep::{Upkeep, UpkeepStore};
use async_trait::async_trait;
use kernel::{Clock, Span};

/// Its kind.
pub const KIND: &str = "upkeep.remove";
/// The queue of the platform's own work.
pub const QUEUE: &str = "upkeep";

/// Removes rows of the kind that the payload's `remove` names.
pub struct Remover {
    /// Where they are.
    pub store: Arc<dyn UpkeepStore>,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
}

impl std::fmt::Debug for Remover {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Remover").finish_non_exhaustive()
    }
}

#[async_trait]
impl JobHandler for Remover {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn longest(&self) -> Span {
        Span::from_seconds(900)
    }

    async fn run(&self, job: &Job) -> Result<(), JobError> {
        let word = job.payload.get("remove").and_then(serde_json::Value::as_str).unwrap_or_default();
        let Some(upkeep) = Upkeep::parse(word) else {
            return Err(JobError::Never(format!("{word:?} names no rows").into()));
        };
        let rows = self.store.keep_up(upkeep, self.clock.now()).await?;
        tracing::info!(rows, what = upkeep.word(), "removed what nobody needs any longer");
        Ok(())
    }
}
