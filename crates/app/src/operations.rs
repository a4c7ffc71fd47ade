//! What operators see and do behind the requests: queues and jobs, groups and messages, what of it failed and what is to become
//! of it. Each firm's people see and touch the firm's own; the platform's own jobs are on nobody's screen but the operator's
//! logs and figures.
//!
//! What a job or a message is about may name people. Lists do not show it; one by one whoever may [`Permission::Operate`] sees it,
//! and that they saw it is in the audit log.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use kernel::{Clock, FirmId, JobId, Timestamp};
use serde::Serialize;

use crate::events::Backlog;
use crate::jobs::Failure;
use crate::trading::{AuditEntry, Digests};
use crate::{AppError, Context, Permission};

/// The most jobs of one page, and the most that one command sends again.
pub const MOST_JOBS: i64 = 200;
/// The most messages of one page, and the most that one command sends again.
pub const MOST_MESSAGES: i64 = 200;

/// A queue in figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Queue {
    /// Its name.
    pub name: String,
    /// Jobs that wait, also for their time.
    pub waiting: i64,
    /// Jobs that run.
    pub running: i64,
    /// Jobs that were given up.
    pub dead: i64,
    /// Since when the longest waiting job is due.
    pub oldest: Option<Timestamp>,
    /// Whether nothing of it is begun.
    pub paused: bool,
}

/// Where a job stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// For its time, or for a worker.
    Waiting,
    /// In the hands of a worker.
    Running,
    /// Kept for a day.
    Done,
    /// Given up; waits for somebody who sends it again.
    Dead,
    /// No longer wanted; kept for a day.
    Cancelled,
}

impl JobState {
    /// All, in the order above.
    pub const ALL: [Self; 5] = [Self::Waiting, Self::Running, Self::Done, Self::Dead, Self::Cancelled];

    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Running => "running",
            Self::Done => "done",
            Self::Dead => "dead",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A job as operators see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StoredJob {
    /// Which.
    pub id: JobId,
    /// In the order of enqueueing; where the next page begins.
    pub number: i64,
    /// Its queue.
    pub queue: String,
    /// Its kind.
    pub kind: String,
    /// What it is about, for whoever may see it.
    pub payload: Option<serde_json::Value>,
    /// Where it stands.
    pub state: JobState,
    /// Lower ones go first.
    pub priority: i16,
    /// Not before.
    pub run_at: Timestamp,
    /// How often it was taken.
    pub attempt: i32,
    /// How many attempts may fail.
    pub most_attempts: i16,
    /// Whether somebody has cancelled it while it runs.
    pub stop: bool,
    /// When it was enqueued.
    pub enqueued_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// Every failed attempt, the oldest first.
    pub errors: Vec<Failure>,
}

/// Which dead jobs are meant.
#[derive(Debug, Clone, Copy)]
pub enum Dead<'a> {
    /// One.
    One(JobId),
    /// Those of a kind, the oldest first, [`MOST_JOBS`] at a time.
    Kind(&'a str),
}

/// A message that a group could not take, as operators see it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FailedMessage {
    /// Which group.
    pub group: String,
    /// Its number in the outbox.
    pub id: i64,
    /// When it happened.
    pub at: Timestamp,
    /// What it is about, such as `account:0198...`.
    pub aggregate: String,
    /// Such as `account.breached`.
    pub topic: String,
    /// What happened, for whoever may see it.
    pub payload: Option<serde_json::Value>,
    /// How often it failed since it was sent, or sent again.
    pub attempts: i32,
    /// When it is tried again unless it is dead.
    pub next_at: Timestamp,
    /// When it was given up.
    pub dead_at: Option<Timestamp>,
    /// When somebody sent it again last.
    pub sent_again_at: Option<Timestamp>,
    /// Every failed attempt, the oldest first.
    pub errors: Vec<Failure>,
}

/// Where a page of messages begins: below this message, or at it with a later group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessagePlace {
    /// The message.
    pub id: i64,
    /// The group.
    pub group: String,
}

/// What became of a wish to cancel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelling {
    /// It waited and will not run.
    Cancelled,
    /// It runs; its worker is asked to stop.
    Asked,
    /// It is over.
    Over(JobState),
}

/// What is stored about the work of a firm. Every command writes its audit entry with it, if it changed something.
#[async_trait]
pub trait OperationStore: Send + Sync {
    /// The firm's part of every queue in which it has a job or a pause, by name.
    async fn queues(&self, firm: FirmId, now: Timestamp) -> Result<Vec<Queue>, AppError>;
    /// Jobs in one state, the newest first, below a number.
    async fn jobs(
        &self,
        firm: FirmId,
        state: JobState,
        below: Option<i64>,
        most: i64,
    ) -> Result<Vec<StoredJob>, AppError>;
    /// One job; what it is about only with an audit entry, which is written with the reading.
    async fn job(
        &self,
        firm: FirmId,
        id: JobId,
        audit: Option<&AuditEntry>,
    ) -> Result<Option<StoredJob>, AppError>;
    /// Cancels one.
    async fn cancel(
        &self,
        firm: FirmId,
        id: JobId,
        audit: &AuditEntry,
    ) -> Result<Option<Cancelling>, AppError>;
    /// Gives dead jobs all their attempts again, from now on; gives how many.
    async fn redrive(&self, firm: FirmId, dead: Dead<'_>, audit: &AuditEntry) -> Result<u64, AppError>;
    /// Begins nothing of a queue any longer; whether that is new.
    async fn pause(&self, firm: FirmId, queue: &str, audit: &AuditEntry) -> Result<bool, AppError>;
    /// Begins again; whether that is new.
    async fn resume(&self, firm: FirmId, queue: &str, audit: &AuditEntry) -> Result<bool, AppError>;
    /// What of the firm's every group has before it.
    async fn groups(&self, firm: FirmId) -> Result<Vec<Backlog>, AppError>;
    /// Messages at which a group, or any, failed: the newest first, those of one message by group.
    async fn failed_messages(
        &self,
        firm: FirmId,
        group: Option<&str>,
        after: Option<&MessagePlace>,
        most: i64,
    ) -> Result<Vec<FailedMessage>, AppError>;
    /// One of them; what it is about only with an audit entry, which is written with the reading.
    async fn failed_message(
        &self,
        firm: FirmId,
        group: &str,
        id: i64,
        audit: Option<&AuditEntry>,
    ) -> Result<Option<FailedMessage>, AppError>;
    /// Lets a group try a dead message with all its attempts again, or all its dead ones, the oldest first,
    /// [`MOST_MESSAGES`] at a time; gives how many.
    async fn send_again(
        &self,
        firm: FirmId,
        group: &str,
        id: Option<i64>,
        audit: &AuditEntry,
    ) -> Result<u64, AppError>;
}

/// The use cases of operators.
pub struct Operations {
    store: Arc<dyn OperationStore>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Operations {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Operations").finish_non_exhaustive()
    }
}

impl Operations {
    /// Over a store and a clock.
    pub fn new(store: Arc<dyn OperationStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// Every queue in which the firm has something.
    pub async fn queues(&self, context: &Context) -> Result<Vec<Queue>, AppError> {
        context.demand(Permission::ReadOperations)?;
        self.store.queues(context.firm, self.clock.now()).await
    }

    /// A page of jobs in one state, the newest first. The next page lies below the last one's number.
    pub async fn jobs(
        &self,
        context: &Context,
        state: JobState,
        below: Option<i64>,
        most: i64,
    ) -> Result<Vec<StoredJob>, AppError> {
        context.demand(Permission::ReadOperations)?;
        self.store.jobs(context.firm, state, below, most.clamp(1, MOST_JOBS)).await
    }

    /// One job; with what it is about for whoever may operate.
    pub async fn job(&self, context: &Context, id: JobId) -> Result<StoredJob, AppError> {
        let audit = self.audit_reading(context, "job.read", "job", id.to_string())?;
        let job = self.store.job(context.firm, id, audit.as_ref()).await?;
        job.ok_or(AppError::NotFound("job"))
    }

    /// Cancels a job that waits, or asks its worker to stop it. Whoever runs it notices with the next renewal of its lease,
    /// and what it has done until then is done.
    pub async fn cancel(&self, context: &Context, id: JobId) -> Result<Cancelling, AppError> {
        let audit = self.audit(context, "job.cancel", "job", id.to_string())?;
        match self.store.cancel(context.firm, id, &audit).await? {
            Some(Cancelling::Over(state)) => {
                let say = format!("The job is {}; there is nothing to cancel.", state.word());
                Err(AppError::refused("conflict", say))
            }
            Some(cancelling) => Ok(cancelling),
            None => Err(AppError::NotFound("job")),
        }
    }

    /// Sends a dead job again, with all its attempts.
    pub async fn redrive(&self, context: &Context, id: JobId) -> Result<(), AppError> {
        let audit = self.audit(context, "job.redrive", "job", id.to_string())?;
        if self.store.redrive(context.firm, Dead::One(id), &audit).await? > 0 {
            return Ok(());
        }
        let job = self.store.job(context.firm, id, None).await?.ok_or(AppError::NotFound("job"))?;
        let say = format!("The job is {}; only a dead one is sent again.", job.state.word());
        Err(AppError::refused("conflict", say))
    }

    /// Sends the dead jobs of a kind again, the oldest first, [`MOST_JOBS`] at a time; gives how many.
    pub async fn redrive_kind(&self, context: &Context, kind: &str) -> Result<u64, AppError> {
        let audit = self.audit(context, "job.redrive_kind", "job_kind", kind.to_owned())?;
        self.store.redrive(context.firm, Dead::Kind(kind), &audit).await
    }

    /// Begins none of the firm's jobs of a queue any longer. What runs goes on. Doing it twice is doing it once.
    pub async fn pause(&self, context: &Context, queue: &str) -> Result<(), AppError> {
        let audit = self.audit(context, "queue.pause", "queue", checked(queue)?)?;
        self.store.pause(context.firm, queue, &audit).await?;
        Ok(())
    }

    /// Begins them again. Doing it twice is doing it once.
    pub async fn resume(&self, context: &Context, queue: &str) -> Result<(), AppError> {
        let audit = self.audit(context, "queue.resume", "queue", checked(queue)?)?;
        self.store.resume(context.firm, queue, &audit).await?;
        Ok(())
    }

    /// What of the firm's every group of consumers has before it.
    pub async fn groups(&self, context: &Context) -> Result<Vec<Backlog>, AppError> {
        context.demand(Permission::ReadOperations)?;
        self.store.groups(context.firm).await
    }

    /// A page of messages at which a group, or any, failed, the newest first. The next page begins after the last one.
    pub async fn failed_messages(
        &self,
        context: &Context,
        group: Option<&str>,
        after: Option<&MessagePlace>,
        most: i64,
    ) -> Result<Vec<FailedMessage>, AppError> {
        context.demand(Permission::ReadOperations)?;
        self.store.failed_messages(context.firm, group, after, most.clamp(1, MOST_MESSAGES)).await
    }

    /// One of them; with what it is about for whoever may operate.
    pub async fn failed_message(
        &self,
        context: &Context,
        group: &str,
        id: i64,
    ) -> Result<FailedMessage, AppError> {
        let audit = self.audit_reading(context, "message.read", "message", message_of(group, id))?;
        let message = self.store.failed_message(context.firm, group, id, audit.as_ref()).await?;
        message.ok_or(AppError::NotFound("failed message"))
    }

    /// Lets a group try a dead message again, with all its attempts.
    pub async fn send_again(&self, context: &Context, group: &str, id: i64) -> Result<(), AppError> {
        let audit = self.audit(context, "message.send_again", "message", message_of(group, id))?;
        if self.store.send_again(context.firm, group, Some(id), &audit).await? > 0 {
            return Ok(());
        }
        let found = self.store.failed_message(context.firm, group, id, None).await?;
        found.ok_or(AppError::NotFound("failed message"))?;
        Err(AppError::refused("conflict", "The message is being tried again; only a dead one is sent again."))
    }

    /// Lets a group try its dead messages again, the oldest first, [`MOST_MESSAGES`] at a time; gives how many.
    pub async fn send_group_again(&self, context: &Context, group: &str) -> Result<u64, AppError> {
        let audit = self.audit(context, "message.send_group_again", "group", group.to_owned())?;
        self.store.send_again(context.firm, group, None, &audit).await
    }

    /// For somebody who may read: the entry that they saw what it is about, if they may see that.
    fn audit_reading(
        &self,
        context: &Context,
        action: &str,
        object_kind: &'static str,
        object: String,
    ) -> Result<Option<AuditEntry>, AppError> {
        let actor = context.demand(Permission::ReadOperations)?;
        if !actor.may(Permission::Operate) {
            return Ok(None);
        }
        self.audit(context, action, object_kind, object).map(Some)
    }

    fn audit(
        &self,
        context: &Context,
        action: &str,
        object_kind: &'static str,
        object: String,
    ) -> Result<AuditEntry, AppError> {
        let actor = context.demand(Permission::Operate)?;
        Ok(AuditEntry {
            firm: context.firm,
            at: self.clock.now(),
            actor: Some(actor.person),
            action: action.to_owned(),
            object_kind,
            object,
            request: Some(context.request),
            purpose: String::new(),
            digests: Digests::default(),
            detail: serde_json::json!({}),
        })
    }
}

fn message_of(group: &str, id: i64) -> String {
    format!("{group}/{id}")
}

fn checked(queue: &str) -> Result<String, AppError> {
    let known = |character: char| character.is_ascii_alphanumeric() || ".-_".contains(character);
    if (1..=60).contains(&queue.len()) && queue.chars().all(known) {
        return Ok(queue.to_owned());
    }
    Err(AppError::NotFound("queue"))
}
