//! The files of a log: a header of 60 bytes and records, named by the first position.
//!
//! Header, little-endian: magic `TSQUOTES`, version `u32`, bytes of a record `u32`, first position `u64`, the log's last
//! position when the segment began `u64` (0 if there was none), zeros, CRC-32 of the 56 bytes before it. Logs of earlier
//! releases have no header; their segments are read and continued as they are.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use app::trading::LoggedQuote;

use super::record::{CHECKED, RECORD, checked, decode, number, to_u64};
use super::{QuoteLogError, io_error};

const MAGIC: &[u8; 8] = b"TSQUOTES";
const VERSION: u32 = 1;

/// A segment's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub first: u64,
    pub path: PathBuf,
}

/// What a segment says before its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// The log's last position when it began; not known of a segment without a header.
    pub after: Option<u64>,
    /// Where the records begin.
    pub start: u64,
}

impl Head {
    /// Where a record stands, counted from 0.
    pub fn offset(self, record: u64) -> u64 {
        record.saturating_mul(to_u64(RECORD)).saturating_add(self.start)
    }

    /// How many records of a file of that length are whole, and the bytes behind them.
    pub fn records(self, length: u64) -> (u64, u64) {
        let bytes = length.saturating_sub(self.start);
        let records = bytes.checked_div(to_u64(RECORD)).unwrap_or_default();
        (records, bytes.saturating_sub(records.saturating_mul(to_u64(RECORD))))
    }
}

/// The segments in a directory, oldest first.
pub(crate) fn list(directory: &Path) -> Result<Vec<Place>, QuoteLogError> {
    let mut places = Vec::new();
    for entry in std::fs::read_dir(directory).map_err(io_error("listing", directory))? {
        let path = entry.map_err(io_error("listing", directory))?.path();
        if let Some(first) = first_position(&path) {
            places.push(Place { first, path });
        }
    }
    places.sort_by_key(|place| place.first);
    Ok(places)
}

fn first_position(path: &Path) -> Option<u64> {
    path.file_name()?.to_str()?.strip_suffix(".quotes")?.parse().ok()
}

/// Makes a segment without records. It gets its name only once its header is on the disk, so that no crash leaves half a
/// header.
pub(super) fn create(directory: &Path, first: u64, after: u64) -> Result<(Place, Head), QuoteLogError> {
    let beginning = directory.join(format!("{first:020}.begin"));
    let path = directory.join(format!("{first:020}.quotes"));
    let mut header = Vec::with_capacity(RECORD);
    header.extend(MAGIC);
    header.extend(VERSION.to_le_bytes());
    header.extend(u32::try_from(RECORD).unwrap_or_default().to_le_bytes());
    header.extend(first.to_le_bytes());
    header.extend(after.to_le_bytes());
    header.resize(CHECKED, 0);
    header.extend(crc32fast::hash(&header).to_le_bytes());
    let written = File::create(&beginning).and_then(|mut file| {
        file.write_all(&header)?;
        file.sync_all()
    });
    written.map_err(io_error("making", &beginning))?;
    std::fs::rename(&beginning, &path).map_err(io_error("naming", &path))?;
    sync_directory(directory)?;
    Ok((Place { first, path }, Head { after: Some(after), start: to_u64(RECORD) }))
}

pub(crate) fn sync_directory(directory: &Path) -> Result<(), QuoteLogError> {
    File::open(directory).and_then(|open| open.sync_all()).map_err(io_error("syncing", directory))
}

/// Opens a segment to read it. A file that is gone is told apart, since retention may take it at any time.
pub(crate) fn open(place: &Place) -> Result<Option<(File, Head)>, QuoteLogError> {
    let mut file = match File::open(&place.path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error("opening", &place.path)(error)),
    };
    let mut bytes = [0; RECORD];
    let filled = fill(&mut file, &mut bytes).map_err(io_error("reading", &place.path))?;
    let head = head(bytes.get(..filled).unwrap_or_default(), place)?;
    Ok(Some((file, head)))
}

fn head(bytes: &[u8], place: &Place) -> Result<Head, QuoteLogError> {
    if !bytes.starts_with(MAGIC) {
        return Ok(Head { after: None, start: 0 });
    }
    let bad = |say: &'static str| QuoteLogError::Header { path: place.path.display().to_string(), say };
    let header = checked(bytes).ok_or_else(|| bad("is damaged"))?;
    let version = header.get(8..12).and_then(|version| version.try_into().ok()).map(u32::from_le_bytes);
    if version != Some(VERSION) {
        return Err(bad("is of a version that this release does not know"));
    }
    if number(header, 16) != Some(place.first) {
        return Err(bad("does not fit the file's name"));
    }
    Ok(Head { after: number(header, 24), start: to_u64(RECORD) })
}

/// Everything in a segment from a record on, at most so many records: the whole ones among them and where they end.
pub(super) fn read_records(
    file: &mut File,
    head: Head,
    first: u64,
    from: u64,
    most: usize,
) -> io::Result<(Vec<LoggedQuote>, Tail)> {
    let mut bytes = vec![0; most.saturating_mul(RECORD)];
    file.seek(SeekFrom::Start(head.offset(from)))?;
    let filled = fill(file, &mut bytes)?;
    let mut quotes = Vec::with_capacity(filled.checked_div(RECORD).unwrap_or_default());
    for (index, record) in (from..).zip(bytes.get(..filled).unwrap_or_default().chunks(RECORD)) {
        match decode(record) {
            Some(quote) if Some(quote.position) == first.checked_add(index) => quotes.push(quote),
            _ => return Ok((quotes, Tail::Bad(index))),
        }
    }
    Ok((quotes, Tail::Good))
}

/// What stands behind the whole records that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tail {
    /// Nothing, or more of the same.
    Good,
    /// Bytes that are no record, or not the one that belongs there; the number of that record, from 0.
    Bad(u64),
}

/// A segment read through to its end.
#[derive(Debug)]
pub(super) struct Examined {
    pub head: Head,
    /// Whole records at the beginning.
    pub good: u64,
    pub last: Option<LoggedQuote>,
    /// Whether bytes stand behind them.
    pub torn: bool,
}

/// Reads a whole segment and says where it ends; changes nothing. A good record behind a bad one means damage: what a
/// crash tears is at the end.
pub(super) fn examine(place: &Place) -> Result<Examined, QuoteLogError> {
    let mut examined = Examined { head: Head { after: None, start: 0 }, good: 0, last: None, torn: false };
    let Some((mut file, head)) = open(place)? else { return Ok(examined) };
    examined.head = head;
    let mut at = 0_u64;
    loop {
        let mut bytes = vec![0; RECORD.saturating_mul(4096)];
        let filled = file
            .seek(SeekFrom::Start(head.offset(at)))
            .and_then(|_| fill(&mut file, &mut bytes))
            .map_err(io_error("reading", &place.path))?;
        if filled == 0 {
            return Ok(examined);
        }
        for record in bytes.get(..filled).unwrap_or_default().chunks(RECORD) {
            let quote = decode(record);
            match quote {
                Some(quote) if !examined.torn && Some(quote.position) == place.first.checked_add(at) => {
                    examined.good = examined.good.saturating_add(1);
                    examined.last = Some(quote);
                }
                Some(_) => return Err(damaged(place, examined.good)),
                None => examined.torn = true,
            }
            at = at.saturating_add(1);
        }
    }
}

pub(crate) fn damaged(place: &Place, record: u64) -> QuoteLogError {
    QuoteLogError::Damaged { path: place.path.display().to_string(), record }
}

pub(super) fn fill(reader: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while let Some(rest) = buffer.get_mut(filled..)
        && !rest.is_empty()
    {
        match reader.read(rest) {
            Ok(0) => break,
            Ok(more) => filled = filled.saturating_add(more),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
