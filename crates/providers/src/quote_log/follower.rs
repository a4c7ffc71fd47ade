//! Reading a log by position, also while another process writes it.

use std::fs::File;
use std::path::{Path, PathBuf};

use app::BoxError;
use app::trading::{LoggedQuote, LoggedQuotes};

use super::segment::{self, Head, Place, Tail, damaged, read_records};
use super::{QuoteLogError, io_error, mark};

/// Records read in one go.
const CHUNK: usize = 4096;

/// Reads a log on from a place as it grows, in this process or in another one on the same machine.
///
/// It takes no lock and holds one open file. It sees what was acknowledged and nothing else; in a log whose mark
/// (`acknowledged`) is missing, what is whole.
#[derive(Debug)]
pub struct Follower {
    cursor: Cursor,
}

impl Follower {
    /// Begins at a place, that place included. The log may be empty, and may not reach there yet; its directory must be
    /// there.
    pub fn open(directory: &Path, from: u64) -> Result<Self, QuoteLogError> {
        segment::list(directory)?;
        Ok(Self { cursor: Cursor::new(directory, from, Start::Exactly) })
    }

    /// What has come since, at most so many quotes; nothing if nothing has. Does not wait.
    pub fn next_batch(&mut self, most: usize) -> Result<Vec<LoggedQuote>, QuoteLogError> {
        // Read before the records: what it covers is whole.
        let acknowledged = mark::read(&self.cursor.directory)?;
        if let (Some(acknowledged), Some(last)) = (acknowledged, self.cursor.last)
            && acknowledged < last
        {
            return Err(self.cursor.lost(acknowledged, last));
        }
        self.cursor.next(most, acknowledged)
    }

    /// The place that the next batch begins with, or a later one where places were lost.
    pub fn position(&self) -> u64 {
        self.cursor.wanted
    }
}

/// Reads a log on from a place, that place included, while another process may be writing it, up to what is
/// acknowledged now. Places that retention has taken are left out at the beginning, never in the middle.
pub fn read(directory: &Path, from: u64) -> Result<LoggedQuotes, BoxError> {
    Ok(Box::new(
        read_until_now(directory, from, Start::AtTheOldest)?.map(|quote| quote.map_err(BoxError::from)),
    ))
}

pub(crate) fn read_until_now(
    directory: &Path,
    from: u64,
    start: Start,
) -> Result<impl Iterator<Item = Result<LoggedQuote, QuoteLogError>> + Send + use<>, QuoteLogError> {
    segment::list(directory)?;
    let acknowledged = mark::read(directory)?;
    let mut cursor = Cursor::new(directory, from, start);
    let (mut batch, mut done) = (Vec::new().into_iter(), false);
    Ok(std::iter::from_fn(move || {
        loop {
            if let Some(quote) = batch.next() {
                return Some(Ok(quote));
            }
            if done {
                return None;
            }
            match cursor.next(CHUNK, acknowledged) {
                Ok(next) if next.is_empty() => done = true,
                Ok(next) => batch = next.into_iter(),
                Err(error) => {
                    done = true;
                    return Some(Err(error));
                }
            }
        }
    }))
}

/// What to do about a place that is no longer there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// Say so.
    Exactly,
    /// Begin with the oldest quote.
    AtTheOldest,
}

#[derive(Debug)]
struct Cursor {
    directory: PathBuf,
    wanted: u64,
    start: Start,
    /// The last one handed out.
    last: Option<u64>,
    /// The last position before the current segment, as far as it is known.
    before: Option<u64>,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    place: Place,
    file: File,
    head: Head,
    /// The record to read next, from 0.
    record: u64,
}

impl Cursor {
    fn new(directory: &Path, from: u64, start: Start) -> Self {
        let directory = directory.to_owned();
        Self { directory, wanted: from.max(1), start, last: None, before: None, current: None }
    }

    fn lost(&self, end: u64, acknowledged: u64) -> QuoteLogError {
        QuoteLogError::Lost { directory: self.directory.display().to_string(), end, acknowledged }
    }

    fn next(&mut self, most: usize, acknowledged: Option<u64>) -> Result<Vec<LoggedQuote>, QuoteLogError> {
        let mut quotes = Vec::new();
        loop {
            let room = most.saturating_sub(quotes.len()).min(CHUNK);
            let left =
                acknowledged.map_or(u64::MAX, |last| last.saturating_add(1).saturating_sub(self.wanted));
            let room = room.min(usize::try_from(left).unwrap_or(usize::MAX));
            if room == 0 {
                return Ok(quotes);
            }
            let Some(mut current) = self.current.take() else {
                self.current = self.locate(acknowledged)?;
                if self.current.is_none() {
                    return Ok(quotes);
                }
                continue;
            };
            let Current { place, file, head, record } = &mut current;
            let (read, tail) = read_records(file, *head, place.first, *record, room)
                .map_err(io_error("reading", &place.path))?;
            let any = !read.is_empty();
            if let Some(quote) = read.last() {
                *record = quote.position.saturating_sub(place.first).saturating_add(1);
                self.wanted = quote.position.saturating_add(1);
                self.last = Some(quote.position);
            }
            // The last quotes before the acknowledged one may be followed by some that are not yet.
            quotes.extend(read);
            if any && tail == Tail::Good {
                self.current = Some(current);
                continue;
            }
            let place = place.clone();
            let listed = segment::list(&self.directory)?;
            let next = listed.iter().find(|later| later.first > place.first);
            if let Tail::Bad(record) = tail {
                let expected = place.first.saturating_add(record);
                // A closed segment is whole, and so is what was acknowledged; else it is not written yet.
                if next.is_some() || acknowledged.is_some_and(|last| expected <= last) {
                    return Err(damaged(&place, record));
                }
                self.current = Some(current);
                return Ok(quotes);
            }
            let Some(next) = next else {
                if let Some(acknowledged) = acknowledged
                    && self.wanted <= acknowledged
                {
                    return Err(self.lost(self.wanted.saturating_sub(1), acknowledged));
                }
                self.current = Some(current);
                return Ok(quotes);
            };
            // The writer may have added to this one before it began the next.
            let length = current.file.metadata().map_err(io_error("reading", &place.path))?.len();
            if length > current.head.offset(current.record) {
                self.current = Some(current);
                continue;
            }
            let Some((file, head)) = segment::open(next)? else {
                // Retired in this very moment: look again.
                self.current = Some(current);
                continue;
            };
            let (records, _) = current.head.records(length);
            let end = end_of(&place, current.head, records).or(self.before);
            if let (Some(end), Some(after)) = (end, head.after)
                && end != after
            {
                if listed.contains(&place) || after < end {
                    return Err(QuoteLogError::Missing {
                        directory: self.directory.display().to_string(),
                        after: end,
                        next: next.first,
                    });
                }
                return Err(QuoteLogError::Gone { wanted: self.wanted, oldest: next.first });
            }
            self.before = end;
            self.wanted = self.wanted.max(next.first);
            let record = self.wanted.saturating_sub(next.first);
            self.current = Some(Current { place: next.clone(), file, head, record });
        }
    }

    /// The segment that holds the wanted place, or the first one after it.
    fn locate(&mut self, acknowledged: Option<u64>) -> Result<Option<Current>, QuoteLogError> {
        loop {
            let listed = segment::list(&self.directory)?;
            let within = listed.iter().rev().find(|place| place.first <= self.wanted);
            let Some(place) = within.or(listed.first()) else {
                return match acknowledged {
                    Some(acknowledged) if acknowledged >= self.wanted => Err(self.lost(0, acknowledged)),
                    _ => Ok(None),
                };
            };
            let Some((file, head)) = segment::open(place)? else { continue };
            // Whether something was there before the oldest is known only from a header.
            let gone = place.first > self.wanted && head.after.is_none_or(|after| after >= self.wanted);
            if gone && self.start == Start::Exactly {
                return Err(QuoteLogError::Gone { wanted: self.wanted, oldest: place.first });
            }
            self.wanted = self.wanted.max(place.first);
            let record = self.wanted.saturating_sub(place.first);
            return Ok(Some(Current { place: place.clone(), file, head, record }));
        }
    }
}

/// The last position up to the end of a segment, as far as it is known.
pub(super) fn end_of(place: &Place, head: Head, records: u64) -> Option<u64> {
    match records.checked_sub(1) {
        Some(more) => place.first.checked_add(more),
        None => head.after,
    }
}
