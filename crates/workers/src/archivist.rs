//! Months of the audit log that are over go to archives outside, and out of the database seven years after their end.
//!
//! Every day one process looks whether there is something to do (docs/adr/0032). Whatever it is interrupted at, the next run goes on:
//! files that are there stay, and what is written down says that all of them were read again and are what was signed.

use std::sync::Arc;

use app::auditing::{
    self, ArchiveStore, AuditStore, Break, Copies, Dropped, Held, LogError, check_archive, write_archive,
};
use app::jobs::{Job, JobError, JobHandler};
use async_trait::async_trait;
use audit::checkpoint::{Checkpoint, Keys};
use audit::note::NoteKey;
use kernel::Span;

use crate::schedules::{CatchUp, NoSchedule, Schedule};
use crate::upkeep;
use crate::verifier::Health;

/// The kind of its job.
pub const ARCHIVE: &str = "audit.archive";
/// A month of 50 million entries takes about half an hour to write out and as long to read again.
const LONGEST: Span = Span::from_seconds(6 * 3_600);

/// The job.
pub struct Archivist {
    /// Where the months are.
    pub store: Arc<dyn ArchiveStore>,
    /// Where archives go.
    pub copies: Arc<dyn Copies>,
    /// The log's first key, known from elsewhere than the database.
    pub key: NoteKey,
    /// Told what was found.
    pub health: Arc<Health>,
    /// Bytes of a file before it is compressed: [`auditing::PART`].
    pub part: usize,
}

/// What was done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Done {
    /// Months that went to archives.
    pub archived: Vec<String>,
    /// Months that were dropped: of leaves, or of acts.
    pub dropped: Vec<(Held, String)>,
    /// Months that are old enough and stay, and why.
    pub stays: Vec<String>,
}

impl std::fmt::Debug for Archivist {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Archivist").finish_non_exhaustive()
    }
}

impl Archivist {
    /// Does what there is to do.
    pub async fn work(&self) -> Result<Done, LogError> {
        self.store.make_partitions().await?;
        let log: Arc<dyn AuditStore> = self.store.clone();
        let keys = auditing::known_keys(&*log, self.key.clone()).await?;
        let mut done = Done::default();
        // Nothing of a log goes anywhere that does not continue what was signed.
        let Some(outside) = auditing::check_outside(&*log, &*self.copies, &keys).await? else {
            return Ok(done);
        };
        let outside = outside.checkpoint.size;
        while let Some(over) = self.store.month_to_archive().await? {
            // Its last checkpoint has to lie outside as well.
            if log.checkpoints(over.end, 1).await?.first().is_none_or(|covers| covers.size > outside) {
                tracing::info!(month = %over.month, "a month of the audit log waits for its last checkpoint to be copied");
                break;
            }
            let archive = write_archive(log.clone(), &*self.copies, &over, &keys, self.part).await?;
            self.check(&keys, &archive).await?;
            if !self.store.keep_archive(&archive).await? {
                let there = log.archives().await?.into_iter().find(|there| there.of.month == over.month);
                if there.as_ref() != Some(&archive) {
                    let say = "another one of this month was written down meanwhile".to_owned();
                    return Err(Break::Archive { month: over.month.to_string(), say }.into());
                }
            }
            tracing::info!(month = %over.month, first = over.first, end = over.end, bytes = archive.bytes,
                "a month of the audit log is archived");
            done.archived.push(over.month.to_string());
        }
        self.drop_old(&log, &keys, &mut done).await?;
        Ok(done)
    }

    async fn drop_old(
        &self,
        log: &Arc<dyn AuditStore>,
        keys: &Keys,
        done: &mut Done,
    ) -> Result<(), LogError> {
        for held in [Held::Leaves, Held::Acts] {
            for month in self.store.months_to_drop(held).await? {
                if held == Held::Leaves {
                    let archive = log.archives().await?.into_iter().find(|archive| archive.of.month == month);
                    // A month without entries has none; whether this is one the database decides.
                    if let Some(archive) = archive {
                        self.check(keys, &archive).await?;
                    }
                }
                match self.store.drop_month(held, &month).await? {
                    Dropped::Rows(rows) => {
                        tracing::info!(%month, ?held, rows, "a month of the audit log was dropped from the database");
                        done.dropped.push((held, month.to_string()));
                    }
                    Dropped::Stays(why) => {
                        tracing::info!(%month, ?held, why, "an old month of the audit log stays in the database");
                        done.stays.push(why);
                        // Leaves go in their order.
                        if held == Held::Leaves {
                            break;
                        }
                    }
                }
            }
        }
        Ok(())
    }

    /// Reads an archive again: it is there as it was written down, it is what was signed, and the log goes on from it.
    async fn check(&self, keys: &Keys, archive: &auditing::Archive) -> Result<(), LogError> {
        let shown = check_archive(&*self.copies, archive, keys).await?;
        let Checkpoint { size, root, .. } = shown.checkpoint.checkpoint;
        let log: Arc<dyn AuditStore> = self.store.clone();
        auditing::check_continues(&*log, log.log_size().await?, size, root).await
    }
}

#[async_trait]
impl JobHandler for Archivist {
    fn kind(&self) -> &'static str {
        ARCHIVE
    }

    fn longest(&self) -> Span {
        LONGEST
    }

    async fn run(&self, _job: &Job) -> Result<(), JobError> {
        match self.work().await {
            Ok(_) => Ok(()),
            Err(LogError::Broken(found)) => {
                self.health.broke(&found);
                Err(JobError::Never(Box::new(found)))
            }
            Err(LogError::App(error)) => Err(error.into()),
        }
    }
}

/// Every day.
pub fn archiving() -> Result<Schedule, NoSchedule> {
    let (queue, payload) = ((upkeep::QUEUE, ARCHIVE), serde_json::json!({}));
    Schedule::new("archive-audit-months", "43 3 * * *", "UTC", CatchUp::Once, queue, payload)
}
