//! The quote log on a local disk: append-only segments of fixed-size records, each with its checksum.
//!
//! **What an append promises.** When [`DiskQuoteLog::append`](QuoteLog::append) returns, its quotes are on the disk, all
//! of them; when it fails, none of them is. Several [`write`](DiskQuoteLog::write)s may share one
//! [`sync`](DiskQuoteLog::sync), which is then the moment they are promised. A log that opens holds everything that was
//! promised, or it does not open and says what is wrong: a torn end is cut off only behind the last promised quote,
//! whose position stands in the file `acknowledged`. (After a loss of power that file may lie behind; what is torn after it
//! is then taken for never promised.)
//!
//! **The files.** `{first}.quotes` holds a header and records without a gap, each of 60 bytes; the header
//! names the position before, so that a lost segment is noticed. Positions that were lost leave a gap between two
//! segments. `lock` is held by the one writer.
//!
//! **Reading.** [`read`] reads from a position up to now, [`Follower`] goes on as the log grows, both without a lock and
//! from any process of the machine. [`read_anywhere`](crate::archive::read_anywhere) begins in an
//! [archive](crate::archive) and goes on here.
//!
//! **Keeping it small.** [`Keeper`] archives closed segments and deletes old ones; nothing else deletes quotes.
//!
//! **To change a record or the header:** raise the version in `segment.rs`, and let the old one still be read.

mod follower;
mod keeper;
mod mark;
pub(crate) mod record;
pub(crate) mod segment;
mod survey;
#[cfg(test)]
mod tests;

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use app::BoxError;
use app::trading::{LoggedQuote, LoggedQuotes, QuoteLog};

pub use follower::{Follower, read};
pub(crate) use follower::{Start, read_until_now};
pub use keeper::{Held, Keeper, KeeperError, Kept, Retention};
use record::{RECORD, encode, to_u64};
use segment::{Head, Place};
pub use survey::{Checked, Surveyed, survey, verify};

/// A segment that holds so many records is closed.
const SEGMENT: u64 = 1_000_000;

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum QuoteLogError {
    /// The disk refused.
    #[error("{doing} {path}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: String,
        /// The system's word.
        #[source]
        source: io::Error,
    },
    /// A record does not match its checksum, or does not follow the one before it, and no crash explains it.
    #[error(
        "{path} is damaged at record {record}: restore it from a copy, or move the log away to start a new one"
    )]
    Damaged {
        /// In which file.
        path: String,
        /// Which record, from 0.
        record: u64,
    },
    /// What stands before the records of a segment cannot be.
    #[error("the header of {path} {say}")]
    Header {
        /// In which file.
        path: String,
        /// What is wrong.
        say: &'static str,
    },
    /// The log ends before a quote that was acknowledged or read.
    #[error(
        "the quote log in {directory} ends at {end}, but quote {acknowledged} was in it: restore its last segments from \
         a copy, or delete its file `acknowledged` to go on without them"
    )]
    Lost {
        /// The log.
        directory: String,
        /// The last position in it.
        end: u64,
        /// The last position that was promised.
        acknowledged: u64,
    },
    /// Quotes between two segments are missing.
    #[error("quotes after {after} and before {next} are missing in {directory}: restore them from a copy")]
    Missing {
        /// The log or the archive.
        directory: String,
        /// The last position that is there.
        after: u64,
        /// The next one.
        next: u64,
    },
    /// Retention has taken the wanted place.
    #[error("quote {wanted} is no longer in the log, its oldest is {oldest}")]
    Gone {
        /// The place.
        wanted: u64,
        /// The oldest that is left.
        oldest: u64,
    },
    /// Another process writes it.
    #[error("another process uses the quote log in {0}; stop it first")]
    Locked(String),
    /// A quote out of order was handed in.
    #[error("quote {0} does not follow the last one")]
    OutOfOrder(u64),
    /// A failed append could not be taken back, so that nobody knows where the log ends.
    #[error("the quote log in {0} could not take back a failed append; start again")]
    Broken(String),
}

/// A log in a directory of its own, open for writing.
#[derive(Debug)]
pub struct DiskQuoteLog {
    directory: PathBuf,
    most_in_segment: u64,
    segment: Option<Open>,
    /// A segment that was begun and got no record; the next one replaces it.
    unused: Option<Place>,
    /// The last acknowledged.
    last: Option<LoggedQuote>,
    /// The last written, if it is not acknowledged yet.
    written: Option<LoggedQuote>,
    mark: File,
    broken: bool,
    /// Held as long as the log is open.
    lock: File,
}

/// The segment that takes the next records.
#[derive(Debug)]
struct Open {
    path: PathBuf,
    file: File,
    head: Head,
    /// Records that are acknowledged.
    synced: u64,
    /// And those that are only written.
    pending: u64,
}

pub(crate) fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> QuoteLogError + use<> {
    let path = path.display().to_string();
    move |source| QuoteLogError::Io { doing, path, source }
}

impl Drop for DiskQuoteLog {
    fn drop(&mut self) {
        // Closing is not enough: a process that another thread is just starting holds a copy of every open
        // file until it becomes its program, and the lock would live on in that copy.
        let _released_by_the_end_of_the_process_at_the_latest = self.lock.unlock();
    }
}

impl DiskQuoteLog {
    /// Opens a log, making its directory if there is none and mending a torn end. One process at a time.
    pub fn open(directory: &Path) -> Result<Self, QuoteLogError> {
        Self::open_with(directory, SEGMENT)
    }

    /// Opens a log whose segments close at another number of records than a million.
    pub fn open_with(directory: &Path, most_in_segment: u64) -> Result<Self, QuoteLogError> {
        std::fs::create_dir_all(directory).map_err(io_error("making", directory))?;
        let lock = directory.join("lock");
        let lock_file = File::create(&lock).map_err(io_error("making", &lock))?;
        lock_file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => QuoteLogError::Locked(directory.display().to_string()),
            TryLockError::Error(error) => io_error("locking", &lock)(error),
        })?;
        let acknowledged = mark::read(directory)?;
        let mut log = Self {
            directory: directory.to_owned(),
            most_in_segment,
            segment: None,
            unused: None,
            last: None,
            written: None,
            mark: mark::open(directory)?,
            broken: false,
            lock: lock_file,
        };
        log.find_end(acknowledged)?;
        let end = log.last.as_ref().map_or(0, |last| last.position);
        mark::write(&mut log.mark, end).map_err(io_error("marking the end in", directory))?;
        Ok(log)
    }

    /// Finds the last record; what is behind it is cut off only after it is certain that nobody was promised it.
    fn find_end(&mut self, acknowledged: Option<u64>) -> Result<(), QuoteLogError> {
        let mut places = segment::list(&self.directory)?;
        let mut newest = true;
        let mut later: Option<(u64, u64)> = None;
        let mut to_cut = None;
        while let Some(place) = places.pop() {
            let examined = segment::examine(&place)?;
            let segment::Examined { head, good, last, torn } = examined;
            let end = follower::end_of(&place, head, good);
            if torn && !newest {
                return Err(segment::damaged(&place, good));
            }
            if let (Some((after, next)), Some(end)) = (later, end)
                && after != end
            {
                let directory = self.directory.display().to_string();
                return Err(QuoteLogError::Missing { directory, after: end, next });
            }
            if newest {
                to_cut = Some((place.clone(), head, good, torn));
            }
            if end.is_some() {
                later = head.after.map(|after| (after, place.first));
            }
            if last.is_some() {
                self.last = last;
                break;
            }
            newest = false;
        }
        let end = self.last.as_ref().map_or(0, |last| last.position);
        if let Some(acknowledged) = acknowledged
            && end < acknowledged
        {
            let directory = self.directory.display().to_string();
            return Err(QuoteLogError::Lost { directory, end, acknowledged });
        }
        let Some((place, head, good, torn)) = to_cut else { return Ok(()) };
        let file =
            OpenOptions::new().append(true).open(&place.path).map_err(io_error("opening", &place.path))?;
        if torn {
            tracing::warn!(path = %place.path.display(), end, "the end of the quote log was torn and is cut off");
            file.set_len(head.offset(good)).map_err(io_error("mending the end of", &place.path))?;
        }
        // Whole records may have been written and never synced.
        file.sync_all().map_err(io_error("syncing", &place.path))?;
        if good == 0 {
            // The one before it is closed and may be archived: it takes no more.
            self.unused = Some(place);
        } else {
            self.segment = Some(Open { path: place.path, file, head, synced: good, pending: 0 });
        }
        Ok(())
    }

    /// Adds quotes at the end. They are promised, and seen by readers, after the next [`sync`](Self::sync); if it or
    /// another write fails before that, everything since the last one is taken back.
    pub fn write(&mut self, quotes: &[LoggedQuote]) -> Result<(), QuoteLogError> {
        if self.broken {
            return Err(QuoteLogError::Broken(self.directory.display().to_string()));
        }
        let (Some(first), Some(last)) = (quotes.first(), quotes.last()) else { return Ok(()) };
        let end = self.written.as_ref().or(self.last.as_ref()).map(|last| last.position);
        let neighbours = quotes.iter().zip(quotes.iter().skip(1));
        let mut torn =
            neighbours.filter(|(left, right)| left.position.checked_add(1) != Some(right.position));
        if first.position == 0 || end.is_some_and(|end| first.position <= end) {
            return Err(QuoteLogError::OutOfOrder(first.position));
        }
        if let Some((_, quote)) = torn.next() {
            return Err(QuoteLogError::OutOfOrder(quote.position));
        }
        // Places that were lost leave a gap between two segments, never within one.
        let follows = end.is_none_or(|end| end.checked_add(1) == Some(first.position));
        if !follows {
            self.sync()?;
        }
        // What is promised together stands in one segment, so that it can be taken back.
        let full = |open: &Open| open.pending == 0 && open.synced >= self.most_in_segment;
        if !follows || self.segment.as_ref().is_none_or(full) {
            self.begin_segment(first.position)?;
        }
        let mut bytes = Vec::with_capacity(quotes.len().saturating_mul(RECORD));
        for quote in quotes {
            encode(quote, &mut bytes);
        }
        let Some(open) = &mut self.segment else { return Ok(()) };
        if let Err(error) = open.file.write_all(&bytes) {
            let error = io_error("appending to", &open.path)(error);
            return Err(self.take_back(error));
        }
        open.pending = open.pending.saturating_add(to_u64(quotes.len()));
        self.written = Some(last.clone());
        Ok(())
    }

    /// Brings everything that was written to the disk; from here on it is promised.
    pub fn sync(&mut self) -> Result<(), QuoteLogError> {
        let (Some(written), Some(open)) = (&self.written, &mut self.segment) else { return Ok(()) };
        let synced = open.file.sync_data().map_err(io_error("syncing", &open.path));
        let position = written.position;
        let marked = synced.and_then(|()| {
            mark::write(&mut self.mark, position).map_err(io_error("marking the end in", &self.directory))
        });
        if let Err(error) = marked {
            return Err(self.take_back(error));
        }
        open.synced = open.synced.saturating_add(open.pending);
        open.pending = 0;
        self.last = self.written.take();
        Ok(())
    }

    /// What was half written would be damage once something follows it, and what failed must not come up again.
    fn take_back(&mut self, error: QuoteLogError) -> QuoteLogError {
        self.written = None;
        let Some(open) = &mut self.segment else { return error };
        open.pending = 0;
        let cut = open.file.set_len(open.head.offset(open.synced)).and_then(|()| open.file.sync_all());
        if let Err(cut) = cut {
            let (error, cut): (&dyn std::error::Error, &dyn std::error::Error) = (&error, &cut);
            tracing::error!(error, cut, "a failed append to the quote log cannot be taken back");
            self.broken = true;
            return QuoteLogError::Broken(self.directory.display().to_string());
        }
        error
    }

    fn begin_segment(&mut self, first: u64) -> Result<(), QuoteLogError> {
        let after = self.last.as_ref().map_or(0, |last| last.position);
        let (place, head) = segment::create(&self.directory, first, after)?;
        let path = place.path;
        let file = OpenOptions::new().append(true).open(&path).map_err(io_error("opening", &path))?;
        // A segment without a record: an earlier start left it, or the first append to it failed.
        let before = self.segment.replace(Open { path, file, head, synced: 0, pending: 0 });
        let empty = before.filter(|before| before.synced == 0).map(|before| before.path);
        for unused in self.unused.take().map(|place| place.path).into_iter().chain(empty) {
            if self.segment.as_ref().is_some_and(|open| open.path != unused) {
                std::fs::remove_file(&unused).map_err(io_error("removing the empty", &unused))?;
            }
        }
        Ok(())
    }
}

impl QuoteLog for DiskQuoteLog {
    fn last(&self) -> Option<&LoggedQuote> {
        self.last.as_ref()
    }

    fn append(&mut self, quotes: &[LoggedQuote]) -> Result<(), BoxError> {
        self.write(quotes)?;
        Ok(self.sync()?)
    }

    fn read(&self, from: u64) -> Result<LoggedQuotes, BoxError> {
        read(&self.directory, from)
    }
}
