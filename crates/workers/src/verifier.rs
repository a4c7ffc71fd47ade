//! The continuous verifier: whether the audit log in the database is still what was sealed, signed and copied.
//!
//! Every round verifies what is new since the last one, and one slice of everything before, so that it comes through the whole
//! log again and again; and compares the log with the newest checkpoint outside.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use app::auditing::{self, AuditStore, Break, Copies, LogError, Wanted};
use app::jobs::{Job, JobError, JobHandler};
use async_trait::async_trait;
use audit::export::Trust;
use audit::note::NoteKey;
use audit::tree::Hash;
use kernel::{Clock, Span, Timestamp};
use telemetry::metrics::{Page, Seconds};
use tokio::sync::watch;

use crate::as_error;
use crate::leader::{Leads, led, lost};
use crate::schedules::{CatchUp, NoSchedule, Schedule};
use crate::upkeep;

/// The lease of whoever verifies.
pub const LEASE: &str = "audit-verifier";
/// The kind of the job that makes partitions.
pub const PARTITIONS: &str = "audit.make_partitions";
/// A round begins so long after the last one ended.
const ROUND: Duration = Duration::from_secs(10);
/// Old entries that are verified in a round.
const SLICE: u64 = 50_000;

/// What is known of the log's health, for the operator's figures.
#[derive(Debug, Default)]
pub struct Health {
    verified_at: AtomicI64,
    checkpoint_at: AtomicI64,
    breaks: AtomicU64,
}

impl Health {
    /// Something is wrong with the log.
    pub fn broke(&self, found: &Break) {
        self.breaks.fetch_add(1, Ordering::Relaxed);
        tracing::error!(error = as_error(found), "THE AUDIT LOG IS BROKEN");
    }

    /// How often something was found to be wrong.
    pub fn breaks(&self) -> u64 {
        self.breaks.load(Ordering::Relaxed)
    }

    /// When the log was verified last, in microseconds since 1970; 0 if never.
    pub fn verified_at(&self) -> i64 {
        self.verified_at.load(Ordering::Relaxed)
    }

    /// Onto a page. What this process does not know it does not say.
    pub fn write(&self, now: Timestamp, page: &mut Page) {
        let name = "tradesense_audit_chain_break_total";
        page.counter(name, "How often the audit log was found to be broken.").sample(&[], self.breaks());
        if let Some(verified) = u64::try_from(self.verified_at()).ok().filter(|at| *at > 0) {
            let name = "tradesense_audit_verified_timestamp_seconds";
            page.gauge(name, "When the audit log was verified last.").sample(&[], Seconds(verified));
        }
        let checkpoint = self.checkpoint_at.load(Ordering::Relaxed);
        if checkpoint > 0 {
            let age = u64::try_from(now.micros().saturating_sub(checkpoint)).unwrap_or_default();
            let name = "tradesense_audit_last_checkpoint_age_seconds";
            page.gauge(name, "Age of the newest checkpoint of the audit log.").sample(&[], Seconds(age));
        }
    }
}

/// Verifies without end.
pub struct LogVerifier {
    /// Where the log is.
    pub store: Arc<dyn AuditStore>,
    /// Where its copies are.
    pub copies: Arc<dyn Copies>,
    /// The log's first key, known from elsewhere than the database.
    pub key: NoteKey,
    /// What time it is.
    pub clock: Arc<dyn Clock>,
    /// Told what was found.
    pub health: Arc<Health>,
}

/// How far a verifier has come.
#[derive(Debug, Clone, Default)]
pub struct Progress {
    /// The newest checkpoint that was verified.
    newest: Option<(u64, Hash)>,
    /// Up to where the whole log was gone through this time.
    through: u64,
}

impl std::fmt::Debug for LogVerifier {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("LogVerifier").finish_non_exhaustive()
    }
}

impl LogVerifier {
    /// Verifies whenever this process leads, until it is to stop.
    pub async fn run(self, mut leads: Leads, mut stop: watch::Receiver<bool>) {
        while let Some(token) = led(&mut leads, LEASE, &mut stop).await {
            tokio::select! {
                () = self.go_on() => {}
                () = lost(&mut leads, LEASE, token) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    async fn go_on(&self) {
        let mut progress = Progress::default();
        loop {
            match self.round(&mut progress).await {
                Ok(()) => {}
                Err(LogError::Broken(found)) => self.health.broke(&found),
                Err(LogError::App(error)) => {
                    tracing::warn!(
                        error = as_error(&error),
                        "the audit log could not be verified; trying again"
                    );
                }
            }
            tokio::time::sleep(ROUND).await;
        }
    }

    /// Verifies what is new, and the next part of what is old.
    pub async fn round(&self, progress: &mut Progress) -> Result<(), LogError> {
        let Some(newest) = self.store.newest_checkpoint().await? else { return Ok(()) };
        self.health.checkpoint_at.store(newest.at.micros(), Ordering::Relaxed);
        let keys = auditing::known_keys(&*self.store, self.key.clone()).await?;
        auditing::check_outside(&*self.store, &*self.copies, &keys).await?;
        let first = progress.newest.map_or(0, |(size, _)| size);
        // The first round begins with what is old.
        if first > 0 || progress.newest.is_some() {
            let trust = Trust { keys: keys.clone(), checkpoint: progress.newest };
            let new = Wanted { first: first.min(newest.size), end: Some(newest.size), ..Wanted::default() };
            auditing::verify(&self.store, trust, new, None).await?;
        }
        progress.newest = Some((newest.size, newest.root));
        // What was dropped is verified in its archive, when it is made and before it is dropped.
        let begin = progress.through.max(self.store.log_floor().await?);
        let through = begin.saturating_add(SLICE).min(newest.size);
        let old = Wanted { first: begin.min(through), end: Some(through), ..Wanted::default() };
        let trust = Trust { keys, checkpoint: progress.newest };
        auditing::verify(&self.store, trust, old, None).await?;
        progress.through = through;
        if through == newest.size {
            auditing::check_end(&*self.store).await?;
            progress.through = 0;
        }
        self.health.verified_at.store(self.clock.now().micros(), Ordering::Relaxed);
        Ok(())
    }
}

/// The job that makes the log's partitions ahead of time.
pub struct PartitionMaker {
    /// Where they are.
    pub store: Arc<dyn AuditStore>,
}

impl std::fmt::Debug for PartitionMaker {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("PartitionMaker").finish_non_exhaustive()
    }
}

#[async_trait]
impl JobHandler for PartitionMaker {
    fn kind(&self) -> &'static str {
        PARTITIONS
    }

    fn longest(&self) -> Span {
        Span::from_seconds(60)
    }

    async fn run(&self, _job: &Job) -> Result<(), JobError> {
        let made = self.store.make_partitions().await?;
        tracing::info!(made, "partitions of the audit log are made ahead");
        Ok(())
    }
}

/// The log's partitions, every day.
pub fn making_partitions() -> Result<Schedule, NoSchedule> {
    let (queue, payload) = ((upkeep::QUEUE, PARTITIONS), serde_json::json!({}));
    Schedule::new("make-audit-partitions", "27 2 * * *", "UTC", CatchUp::Once, queue, payload)
}
