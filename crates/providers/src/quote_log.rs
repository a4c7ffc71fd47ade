//! The quote log on a local disk: append-only segments of fixed-size records, each with its checksum.
//!
//! A record is 60 bytes, little-endian: position `u64`, symbol (16 bytes, zero-padded), bid, ask, source time and
//! receive time `i64`, CRC-32 of the 56 bytes before it. A segment is named by its first position. An append is on the
//! disk when it returns; a record that a crash cut off at the end of the last segment is removed at the next opening.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use app::BoxError;
use app::trading::{LoggedQuote, LoggedQuotes, QuoteLog};
use kernel::{Price, Symbol, Timestamp};

const RECORD: usize = 60;
const CHECKED: usize = 56;
/// Records in one segment.
const SEGMENT: u64 = 1_000_000;
/// Segments kept; the oldest beyond them is deleted when a new one begins.
const MOST_SEGMENTS: usize = 64;

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
    /// A record before the end does not match its checksum, or does not follow the one before it.
    #[error(
        "{path} is damaged at record {record}: restore it from a copy, or move it away to start a new log"
    )]
    Damaged {
        /// In which file.
        path: String,
        /// Which record, from 0.
        record: u64,
    },
    /// Another process writes it.
    #[error("another process uses the quote log in {0}; stop it first")]
    Locked(String),
    /// A quote out of order was handed in.
    #[error("quote {0} does not follow the last one")]
    OutOfOrder(u64),
}

/// A log in a directory of its own.
#[derive(Debug)]
pub struct DiskQuoteLog {
    directory: PathBuf,
    file: Option<File>,
    in_segment: u64,
    last: Option<LoggedQuote>,
    /// Held as long as the log is open.
    lock: File,
}

fn io_error(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> QuoteLogError {
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
        std::fs::create_dir_all(directory).map_err(io_error("making", directory))?;
        let lock = directory.join("lock");
        let lock_file = File::create(&lock).map_err(io_error("making", &lock))?;
        lock_file.try_lock().map_err(|error| match error {
            TryLockError::WouldBlock => QuoteLogError::Locked(directory.display().to_string()),
            TryLockError::Error(error) => io_error("locking", &lock)(error),
        })?;
        let mut log =
            Self { directory: directory.to_owned(), file: None, in_segment: 0, last: None, lock: lock_file };
        while let Some(path) = segments(directory)?.pop() {
            let (good, last) = mend(&path)?;
            if let Some(last) = last {
                let file = OpenOptions::new().append(true).open(&path).map_err(io_error("opening", &path))?;
                (log.file, log.in_segment, log.last) = (Some(file), good, Some(last));
                break;
            }
            std::fs::remove_file(&path).map_err(io_error("removing the empty", &path))?;
        }
        Ok(log)
    }

    fn begin_segment(&mut self, first: u64) -> Result<(), QuoteLogError> {
        let path = self.directory.join(format!("{first:020}.quotes"));
        let file = OpenOptions::new()
            .create_new(true)
            .append(true)
            .open(&path)
            .map_err(io_error("making", &path))?;
        let directory = File::open(&self.directory).map_err(io_error("opening", &self.directory))?;
        directory.sync_all().map_err(io_error("syncing", &self.directory))?;
        (self.file, self.in_segment) = (Some(file), 0);
        let kept = segments(&self.directory)?;
        for old in kept.iter().take(kept.len().saturating_sub(MOST_SEGMENTS)) {
            std::fs::remove_file(old).map_err(io_error("removing the oldest", old))?;
        }
        Ok(())
    }

    fn add(&mut self, quotes: &[LoggedQuote]) -> Result<(), QuoteLogError> {
        let Some(first) = quotes.first() else { return Ok(()) };
        let last = self.last.as_ref().map(|last| last.position);
        let neighbours = quotes.iter().zip(quotes.iter().skip(1));
        let mut torn =
            neighbours.filter(|(left, right)| left.position.checked_add(1) != Some(right.position));
        if last.is_some_and(|last| first.position <= last) {
            return Err(QuoteLogError::OutOfOrder(first.position));
        }
        if let Some((_, quote)) = torn.next() {
            return Err(QuoteLogError::OutOfOrder(quote.position));
        }
        // Places that were lost leave a gap between two segments, never within one.
        let mut follows = last.is_none_or(|last| last.checked_add(1) == Some(first.position));
        let mut rest = quotes;
        while let Some(first) = rest.first() {
            if self.file.is_none() || self.in_segment >= SEGMENT || !follows {
                self.begin_segment(first.position)?;
                follows = true;
            }
            let room = usize::try_from(SEGMENT.saturating_sub(self.in_segment)).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at(room.min(rest.len()));
            let mut bytes = Vec::with_capacity(now.len().saturating_mul(RECORD));
            for quote in now {
                encode(quote, &mut bytes);
            }
            let directory = &self.directory;
            let Some(file) = &mut self.file else { continue };
            if let Err(error) = file.write_all(&bytes).and_then(|()| file.sync_data()) {
                // What was half written would be damage once something follows it.
                let good = self.in_segment.saturating_mul(to_u64(RECORD));
                file.set_len(good).map_err(io_error("taking back a failed append in", directory))?;
                return Err(io_error("appending to the log in", directory)(error));
            }
            self.last = now.last().cloned();
            self.in_segment = self.in_segment.saturating_add(to_u64(now.len()));
            rest = later;
        }
        Ok(())
    }
}

impl QuoteLog for DiskQuoteLog {
    fn last(&self) -> Option<&LoggedQuote> {
        self.last.as_ref()
    }

    fn append(&mut self, quotes: &[LoggedQuote]) -> Result<(), BoxError> {
        Ok(self.add(quotes)?)
    }

    fn read(&self, from: u64) -> Result<LoggedQuotes, BoxError> {
        read(&self.directory, from)
    }
}

/// Reads a log on from a place, that place included, while another process may be writing it: what lies before the
/// place that a shard has committed is on the disk, and whoever reads must stop there.
pub fn read(directory: &Path, from: u64) -> Result<LoggedQuotes, BoxError> {
    let mut paths = segments(directory)?;
    // Start with the last segment that begins at or before the wanted place.
    let later = paths.iter().position(|path| first_position(path).is_some_and(|first| first > from));
    let start = later.unwrap_or(paths.len()).saturating_sub(1);
    paths.drain(..start.min(paths.len()));
    // The wanted place may lie beyond the end of that segment, in a gap: seeking past the end reads nothing.
    let quotes = paths.into_iter().flat_map(move |path| {
        let quotes: LoggedQuotes = match File::open(&path) {
            Ok(mut file) => {
                let before = first_position(&path).map_or(0, |first| from.saturating_sub(first));
                match file.seek(SeekFrom::Start(before.saturating_mul(to_u64(RECORD)))) {
                    Ok(_) => Box::new(read_segment(&path, file).map(|quote| quote.map_err(BoxError::from))),
                    Err(error) => Box::new(std::iter::once(Err(error.into()))),
                }
            }
            Err(error) => Box::new(std::iter::once(Err(error.into()))),
        };
        quotes
    });
    Ok(Box::new(quotes))
}

fn segments(directory: &Path) -> Result<Vec<PathBuf>, QuoteLogError> {
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(io_error("listing", directory))? {
        let path = entry.map_err(io_error("listing", directory))?.path();
        if first_position(&path).is_some() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

fn first_position(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".quotes")?.parse().ok()
}

/// Cuts the torn end off the last segment. An append writes many records and is acknowledged only when all are on the
/// disk, so whatever follows the first bad record was never acknowledged, unless a good record stands behind it: that is
/// damage. Gives how many records are left, and the last of them.
fn mend(path: &Path) -> Result<(u64, Option<LoggedQuote>), QuoteLogError> {
    let bytes = std::fs::read(path).map_err(io_error("reading", path))?;
    let mut records = bytes.chunks(RECORD).map(|record| record.try_into().ok().and_then(decode));
    let (mut good, mut last) = (0_u64, None::<LoggedQuote>);
    for quote in records.by_ref() {
        let follows = |quote: &LoggedQuote| {
            last.as_ref().is_none_or(|last| last.position.checked_add(1) == Some(quote.position))
        };
        let Some(quote) = quote.filter(follows) else { break };
        last = Some(quote);
        good = good.saturating_add(1);
    }
    if records.any(|quote| quote.is_some()) {
        return Err(QuoteLogError::Damaged { path: path.display().to_string(), record: good });
    }
    let length = good.saturating_mul(to_u64(RECORD));
    if length < to_u64(bytes.len()) {
        let file = OpenOptions::new().write(true).open(path).map_err(io_error("opening", path))?;
        file.set_len(length).and_then(|()| file.sync_all()).map_err(io_error("mending the end of", path))?;
    }
    Ok((good, last))
}

/// The records of a segment from where the file stands; the log was mended when it was opened, so a bad record is
/// damage.
fn read_segment(path: &Path, file: File) -> impl Iterator<Item = Result<LoggedQuote, QuoteLogError>> + use<> {
    let path = path.to_owned();
    let mut reader = BufReader::with_capacity(1 << 16, file);
    let (mut number, mut before, mut done) = (0_u64, None, false);
    std::iter::from_fn(move || {
        if done {
            return None;
        }
        let mut record = [0_u8; RECORD];
        let filled = match fill(&mut reader, &mut record) {
            Ok(filled) => filled,
            Err(error) => {
                done = true;
                return Some(Err(io_error("reading", &path)(error)));
            }
        };
        if filled == 0 {
            return None;
        }
        let quote = if filled == RECORD { decode(&record) } else { None };
        let follows = |quote: &LoggedQuote| {
            before.is_none_or(|before: u64| before.checked_add(1) == Some(quote.position))
        };
        if let Some(quote) = quote.filter(follows) {
            before = Some(quote.position);
            number = number.saturating_add(1);
            return Some(Ok(quote));
        }
        done = true;
        Some(Err(QuoteLogError::Damaged { path: path.display().to_string(), record: number }))
    })
}

fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..)
        && !rest.is_empty()
    {
        match reader.read(rest)? {
            0 => break,
            more => filled = filled.saturating_add(more),
        }
    }
    Ok(filled)
}

fn encode(quote: &LoggedQuote, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.extend(quote.position.to_le_bytes());
    let mut symbol = [0_u8; 16];
    for (to, from) in symbol.iter_mut().zip(quote.symbol.as_str().bytes()) {
        *to = from;
    }
    bytes.extend(symbol);
    for value in [quote.bid.0, quote.ask.0, quote.source_time.micros(), quote.received_at.micros()] {
        bytes.extend(value.to_le_bytes());
    }
    let sum = crc32fast::hash(bytes.get(start..).unwrap_or_default());
    bytes.extend(sum.to_le_bytes());
}

fn decode(record: &[u8; RECORD]) -> Option<LoggedQuote> {
    let (checked, sum) = record.split_at_checked(CHECKED)?;
    if crc32fast::hash(checked).to_le_bytes() != *sum {
        return None;
    }
    let number = |at: usize| -> Option<[u8; 8]> { checked.get(at..at.checked_add(8)?)?.try_into().ok() };
    let signed = |at: usize| number(at).map(i64::from_le_bytes);
    let symbol = std::str::from_utf8(checked.get(8..24)?).ok()?.trim_end_matches('\0');
    Some(LoggedQuote {
        position: number(0).map(u64::from_le_bytes)?,
        symbol: Symbol::parse(symbol).ok()?,
        bid: Price(signed(24)?),
        ask: Price(signed(32)?),
        source_time: Timestamp::from_micros(signed(40)?),
        received_at: Timestamp::from_micros(signed(48)?),
    })
}

fn to_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quote(position: u64) -> LoggedQuote {
        let value = i64::try_from(position).unwrap();
        LoggedQuote {
            position,
            symbol: Symbol::parse("EURUSD").unwrap(),
            bid: Price(value),
            ask: Price(value.saturating_add(10)),
            source_time: Timestamp::from_micros(value),
            received_at: Timestamp::from_micros(value.saturating_add(7)),
        }
    }

    fn read(log: &DiskQuoteLog, from: u64) -> Vec<u64> {
        log.read(from).unwrap().map(|quote| quote.unwrap().position).collect()
    }

    #[test]
    fn reads_back_what_was_appended_from_any_place() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = DiskQuoteLog::open(directory.path()).unwrap();
        assert!(log.last().is_none());
        assert!(read(&log, 1).is_empty());
        log.append(&(1..=5).map(quote).collect::<Vec<_>>()).unwrap();
        drop(log);
        let mut log = DiskQuoteLog::open(directory.path()).unwrap();
        assert_eq!(log.last(), Some(&quote(5)));
        log.append(&[quote(6)]).unwrap();
        assert_eq!(read(&log, 1), [1, 2, 3, 4, 5, 6]);
        assert_eq!(read(&log, 4), [4, 5, 6]);
        assert!(read(&log, 7).is_empty());
        for (bad, why) in [(vec![quote(6)], "again"), (vec![quote(7), quote(9)], "with a gap")] {
            assert!(log.append(&bad).is_err(), "{why}");
        }
        let second = DiskQuoteLog::open(directory.path()).unwrap_err();
        assert!(matches!(second, QuoteLogError::Locked(_)), "{second}");
    }

    #[test]
    fn lost_places_leave_a_gap_between_segments() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = DiskQuoteLog::open(directory.path()).unwrap();
        log.append(&[quote(1), quote(2)]).unwrap();
        log.append(&[quote(10), quote(11)]).unwrap();
        drop(log);
        let log = DiskQuoteLog::open(directory.path()).unwrap();
        assert_eq!(log.last(), Some(&quote(11)));
        assert_eq!(read(&log, 1), [1, 2, 10, 11]);
        assert_eq!(read(&log, 5), [10, 11]);
    }

    #[test]
    fn a_torn_end_is_mended_and_damage_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let mut log = DiskQuoteLog::open(directory.path()).unwrap();
        log.append(&(1..=3).map(quote).collect::<Vec<_>>()).unwrap();
        drop(log);
        let path = directory.path().join(format!("{:020}.quotes", 1));
        let whole = std::fs::read(&path).unwrap();
        for cut in 1..RECORD {
            std::fs::write(&path, &whole[..whole.len() - cut]).unwrap();
            let mut log = DiskQuoteLog::open(directory.path()).unwrap();
            assert_eq!(log.last(), Some(&quote(2)));
            log.append(&[quote(3)]).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), whole);
        }
        for torn in 1..=2 {
            let mut zeroed = whole.clone();
            let from = whole.len() - torn * RECORD;
            zeroed[from..].fill(0);
            std::fs::write(&path, zeroed).unwrap();
            let log = DiskQuoteLog::open(directory.path()).unwrap();
            assert_eq!(
                log.last(),
                Some(&quote(3 - u64::try_from(torn).unwrap())),
                "{torn} records never written"
            );
        }
        let mut damaged = whole.clone();
        damaged[RECORD + 30] ^= 1;
        std::fs::write(&path, damaged).unwrap();
        let error = DiskQuoteLog::open(directory.path()).unwrap_err();
        assert!(matches!(error, QuoteLogError::Damaged { record: 1, .. }), "{error}");
    }
}
