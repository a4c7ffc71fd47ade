//! Work that is done later, outside of the request that caused it: enqueued in the transaction of its cause, done by
//! whichever worker is free, again after a failure, and given up in the sight of the operators.

use async_trait::async_trait;
use kernel::{FirmId, JobId, Span, Timestamp};

use crate::BoxError;

/// What to do, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Whose; nobody's for the platform's own work.
    pub firm: Option<FirmId>,
    /// Queues are paused and counted each for itself.
    pub queue: &'static str,
    /// Names the handler, such as `mail.send`.
    pub kind: &'static str,
    /// For the handler.
    pub payload: serde_json::Value,
    /// Not before.
    pub run_at: Timestamp,
    /// Lower ones first.
    pub priority: i16,
    /// At most one waiting job has it.
    pub unique: Option<Unique>,
    /// Tried at most so often; then it is dead.
    pub most_attempts: i16,
}

/// A key that at most one waiting job of a firm and kind may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unique {
    /// The key.
    pub key: String,
    /// What becomes of one that waits already.
    pub meeting: Meeting,
}

/// What becomes of a job that waits under the key of a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meeting {
    /// It stays as it is, the new one is dropped.
    Keep,
    /// It gets the new payload and stays where it is in time: many causes, one run.
    Replace,
    /// It gets the new payload and the new time: a run once it is quiet.
    Postpone,
}

/// A job in the hands of a worker.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Which.
    pub id: JobId,
    /// Whose; nobody's for the platform's own work.
    pub firm: Option<FirmId>,
    /// Names the handler.
    pub kind: String,
    /// For the handler.
    pub payload: serde_json::Value,
    /// Which attempt this is, from 1. With the id it guards the completion: whoever was too slow and lost the job to
    /// another attempt cannot complete it.
    pub attempt: i16,
}

/// Does jobs of one kind. May run twice for one job: a worker can die between the effect and its completion.
#[async_trait]
pub trait JobHandler: Send + Sync {
    /// The kind.
    fn kind(&self) -> &'static str;
    /// How long an attempt may take before another worker may have the job.
    fn longest(&self) -> Span {
        Span::from_seconds(60)
    }
    /// Does it.
    async fn run(&self, job: &Job) -> Result<(), JobError>;
}

/// Why a job is not done.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Again later: after `after`, or as the queue's own pauses grow.
    #[error("the attempt failed")]
    Again {
        /// No earlier than this.
        after: Option<Span>,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// Never again: it would fail the same way.
    #[error("the job cannot be done")]
    Never(#[source] BoxError),
    /// Not yet; costs no attempt.
    #[error("it is too early")]
    Later(Span),
}
