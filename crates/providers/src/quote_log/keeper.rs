//! Keeping a log small without ever losing what somebody needs.

use std::path::{Path, PathBuf};

use kernel::{Span, Timestamp};

use super::segment::sync_directory;
use super::survey::survey_places;
use super::{QuoteLogError, io_error};
use crate::archive::{Archive, ArchiveError, ToldBy};

/// How much of a log stays on the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Old segments are deleted as long as all together have more bytes.
    pub most_bytes: u64,
    /// A segment whose last quote is younger stays, however many bytes there are.
    pub least_age: Span,
}

impl Default for Retention {
    /// 4 GiB (about 70 million quotes), but at least an hour.
    fn default() -> Self {
        Self { most_bytes: 4 << 30, least_age: Span::from_seconds(3600) }
    }
}

/// Why a log is larger than it should be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// A shard has yet to read its oldest segment.
    Needed,
    /// Its oldest segment is too young.
    Young,
    /// Only the segment that is being written is left.
    Open,
}

impl Held {
    /// A few words for people and metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Needed => "needed",
            Self::Young => "young",
            Self::Open => "open",
        }
    }
}

/// What a round of [`Keeper::keep`] did and left.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Segments that were archived in this round.
    pub archived: u64,
    /// Segments that were deleted in this round.
    pub deleted: u64,
    /// Segments that are left.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// The oldest position that is left.
    pub oldest: Option<u64>,
    /// Bytes above the bound.
    pub over: u64,
    /// Why they are still there.
    pub held: Option<Held>,
}

/// Why a round ended early. Nothing was deleted that should have stayed.
#[derive(Debug, thiserror::Error)]
pub enum KeeperError {
    /// The log cannot be read, or a file not be deleted.
    #[error("keeping the quote log small")]
    Log(#[from] QuoteLogError),
    /// A segment cannot be archived; it stays.
    #[error("archiving the quote log")]
    Archive(#[from] ArchiveError),
}

/// Archives closed segments and deletes old ones, from the process that writes the log or from another one.
#[derive(Debug)]
pub struct Keeper {
    directory: PathBuf,
    archive: Option<Archive>,
    retention: Retention,
    warned: bool,
}

impl Keeper {
    /// For a log; with an archive nothing is deleted before it is archived.
    pub fn new(directory: &Path, archive: Option<Archive>, retention: Retention) -> Self {
        Self { directory: directory.to_owned(), archive, retention, warned: false }
    }

    /// One round, to be called every minute or so on a thread that may wait for the disk. `needed_from` is the first place
    /// that any shard has yet to read, which is the one after the lowest committed: no segment that reaches it is deleted.
    pub fn keep(&mut self, needed_from: u64, now: Timestamp) -> Result<Kept, KeeperError> {
        let mut kept = Kept::default();
        // Without a need to delete, too: the archive is complete up to the last closed segment.
        if let Some(archive) = &self.archive {
            let taken = archive.take(&self.directory, ToldBy::Name)?;
            kept.archived = u64::try_from(taken.archived.len()).unwrap_or(u64::MAX);
        }
        let found = survey_places(&self.directory)?;
        kept.segments = u64::try_from(found.len()).unwrap_or(u64::MAX);
        kept.bytes = found.iter().fold(0, |bytes, (_, segment)| bytes.saturating_add(segment.bytes));
        kept.oldest = found.first().map(|(_, segment)| segment.first);
        for (place, segment) in &found {
            if kept.bytes <= self.retention.most_bytes {
                break;
            }
            let age = segment.ends.and_then(|ends| now.since(ends).ok());
            // An empty segment says nothing about its age and holds nothing that is needed.
            let young = segment.last.is_some() && age.is_none_or(|age| age < self.retention.least_age);
            let held = if !segment.closed {
                Some(Held::Open)
            } else if segment.last.is_some_and(|last| last >= needed_from) {
                Some(Held::Needed)
            } else if young {
                Some(Held::Young)
            } else {
                None
            };
            if held.is_some() {
                kept.held = held;
                break;
            }
            // Taken above, but between then and now the archive may have lost it.
            if let (Some(archive), Some(last)) = (&self.archive, segment.last)
                && !archive.holds(&self.directory, segment.first, last, ToldBy::Quotes)?
            {
                break;
            }
            std::fs::remove_file(&place.path).map_err(io_error("deleting the old", &place.path))?;
            kept.deleted = kept.deleted.saturating_add(1);
            kept.segments = kept.segments.saturating_sub(1);
            kept.bytes = kept.bytes.saturating_sub(segment.bytes);
            kept.oldest = found.iter().map(|(_, later)| later.first).find(|first| *first > segment.first);
        }
        if kept.deleted > 0 {
            sync_directory(&self.directory)?;
        }
        kept.over = kept.bytes.saturating_sub(self.retention.most_bytes);
        self.warn(&kept, needed_from);
        Ok(kept)
    }

    /// Once until it is well again.
    fn warn(&mut self, kept: &Kept, needed_from: u64) {
        match kept.held {
            Some(held) if !self.warned => {
                let (bytes, over, held) = (kept.bytes, kept.over, held.word());
                let log = self.directory.display();
                tracing::warn!(%log, bytes, over, held, needed_from, "the quote log is larger than its bound");
                self.warned = true;
            }
            Some(_) => {}
            None => self.warned = false,
        }
    }
}
