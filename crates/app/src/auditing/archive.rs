//! Months that are over. Each becomes an export like any other, compressed, in files outside; seven years after its end it is dropped
//! from the database. What is in the tables begins with the first entry that was kept: the floor.

use std::fmt;
use std::io::{Read, Write as _};
use std::sync::Arc;

use async_trait::async_trait;
use audit::checkpoint::Keys;
use audit::entry::Source;
use audit::export::{Trust, Verified, Verifier};
use audit::tree::Hash;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use sha2::{Digest, Sha256};

use super::{AuditStore, Break, Copies, Exporter, LogError, Wanted};
use crate::AppError;

/// A file of an archive holds so many bytes of the export, so that none has to be held as a whole.
pub const PART: usize = 32 << 20;
/// Of an archive that is read so many bytes are unpacked in one go.
const AT_ONCE: usize = 1 << 20;

/// A month of UTC. Printed as `2019-01`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Month(String);

impl Month {
    /// Reads `2019-01`.
    pub fn parse(text: &str) -> Option<Self> {
        let (year, month) = text.split_once('-')?;
        let digits =
            |text: &str, count| text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
        let known = digits(year, 4) && digits(month, 2) && ("01"..="12").contains(&month);
        known.then(|| Self(text.to_owned()))
    }

    /// As it is printed.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Month {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// A month that is over: the entries `[first, end)` were sealed in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Over {
    /// Which.
    pub month: Month,
    /// The first entry.
    pub first: u64,
    /// The one after the last.
    pub end: u64,
}

/// A month that lies outside.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// Which entries of which month.
    pub of: Over,
    /// How many files.
    pub parts: u32,
    /// How long they are, one behind the other.
    pub bytes: u64,
    /// Their SHA-256, one behind the other.
    pub sha256: Hash,
}

impl Archive {
    /// The folder of its files.
    pub fn name(&self) -> String {
        folder(&self.of.month)
    }
}

fn folder(month: &Month) -> String {
    format!("archive/{month}")
}

/// The name of a file of an archive, counted from 1.
pub fn part_name(month: &Month, number: u32) -> String {
    format!("{}/{number:06}.tsaudit.gz", folder(month))
}

/// Of which table a month is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Held {
    /// The leaves of the tree.
    Leaves,
    /// The rows of acts. Commands and verdicts are records of trading and stay.
    Acts,
}

/// What became of a month that was to be dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dropped {
    /// It is gone, with so many rows.
    Rows(u64),
    /// It stays, for this reason: a legal hold, or what still belongs to it.
    Stays(String),
}

/// Rows that stay after their entries were dropped do not come to the number of those.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Miscounted {
    /// Their table.
    pub source: Source,
    /// The shard of commands.
    pub part: i16,
    /// Up to this number.
    pub up_to: i64,
    /// How many there were when the entries were dropped.
    pub wanted: i64,
    /// How many there are.
    pub found: i64,
}

/// Where months are kept, and dropped.
#[async_trait]
pub trait ArchiveStore: AuditStore {
    /// The first month that is over and is no archive yet.
    async fn month_to_archive(&self) -> Result<Option<Over>, AppError>;

    /// Writes an archive down, and into the log of every firm with entries in it; false if one of that month is there.
    async fn keep_archive(&self, archive: &Archive) -> Result<bool, AppError>;

    /// Months whose end lies seven years back, the oldest first.
    async fn months_to_drop(&self, held: Held) -> Result<Vec<Month>, AppError>;

    /// Drops one of those. The database itself refuses what must not go.
    async fn drop_month(&self, held: Held, month: &Month) -> Result<Dropped, AppError>;
}

/// Writes a month out, in files of so many bytes before they are compressed. A file that is there and says the same stays as it is:
/// whoever was interrupted ends with the same archive. What is not what was sealed and signed is not written.
pub async fn write_archive(
    store: Arc<dyn AuditStore>,
    copies: &dyn Copies,
    over: &Over,
    keys: &Keys,
    part: usize,
) -> Result<Archive, LogError> {
    let wanted = Wanted { first: over.first, end: Some(over.end), ..Wanted::default() };
    let mut exporter = Exporter::new(store, wanted).await?;
    let mut archive = Archive { of: over.clone(), parts: 0, bytes: 0, sha256: Hash::EMPTY };
    let mut digest = Sha256::new();
    let mut verifier = Verifier::new(Trust { keys: keys.first_alone(), checkpoint: None });
    let (mut waiting, part) = (Vec::new(), part.max(1));
    loop {
        let next = exporter.next().await?;
        let ended = next.is_none();
        let next = next.unwrap_or_default();
        verifier.feed(&next).map_err(Break::Refused)?;
        waiting.extend(next);
        while waiting.len() >= part || (ended && !waiting.is_empty()) {
            let rest = waiting.split_off(part.min(waiting.len()));
            archive.parts = archive.parts.saturating_add(1);
            let name = part_name(&over.month, archive.parts);
            let packed = put_part(copies, &name, std::mem::replace(&mut waiting, rest)).await?;
            archive.bytes = archive.bytes.saturating_add(length(&packed));
            digest.update(&packed);
        }
        if ended {
            archive.sha256 = Hash::new(digest.finalize().into());
            return Ok(archive);
        }
    }
}

fn length(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Writes a file unless it is there. Compression may come out otherwise in another version, so that what is there is compared unpacked.
async fn put_part(copies: &dyn Copies, name: &str, plain: Vec<u8>) -> Result<Vec<u8>, AppError> {
    let there = copies.get(name).await?;
    let packed = blocking("compressing an archive", move || {
        if let Some(there) = there {
            let mut unpacked = Vec::with_capacity(plain.len());
            let read = MultiGzDecoder::new(there.as_slice()).read_to_end(&mut unpacked);
            if read.is_ok() && unpacked == plain {
                return Ok(there);
            }
        }
        let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
        encoder.write_all(&plain)?;
        encoder.finish()
    })
    .await?;
    // What says something else is not replaced: that is an error there.
    copies.put(name, &packed).await?;
    Ok(packed)
}

async fn blocking<T: Send + 'static>(
    doing: &'static str,
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> Result<T, AppError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done.map_err(|error| AppError::bug(doing)(Box::new(error))),
        Err(error) => Err(AppError::bug(doing)(Box::new(error))),
    }
}

/// The export within the files of an archive, one behind the other.
pub fn unpacked<R: Read>(packed: R) -> impl Read {
    MultiGzDecoder::new(packed)
}

/// Whether an archive is still outside as it was written down, and is what was signed.
pub async fn check_archive(
    copies: &dyn Copies,
    archive: &Archive,
    keys: &Keys,
) -> Result<Verified, LogError> {
    let wrong = |say: String| LogError::from(Break::Archive { month: archive.of.month.to_string(), say });
    let mut verifier = Verifier::new(Trust { keys: keys.first_alone(), checkpoint: None });
    let (mut digest, mut bytes) = (Sha256::new(), 0_u64);
    for number in 1..=archive.parts {
        let name = part_name(&archive.of.month, number);
        let packed = copies.get(&name).await?.ok_or_else(|| wrong(format!("{name} is missing")))?;
        digest.update(&packed);
        bytes = bytes.saturating_add(length(&packed));
        let (fed, read) = blocking("reading an archive", move || Ok(feed(verifier, &packed))).await?;
        verifier = fed;
        match read {
            Ok(()) => {}
            Err(Unread::Packed(error)) => return Err(wrong(format!("{name} cannot be unpacked: {error}"))),
            Err(Unread::Refused(refused)) => {
                return Err(wrong(format!("{name}: {}", crate::with_causes(&refused))));
            }
        }
    }
    if bytes != archive.bytes || Hash::new(digest.finalize().into()) != archive.sha256 {
        return Err(wrong("its files have another SHA-256 than was written down".to_owned()));
    }
    let shown = verifier.finish().map_err(|refused| wrong(crate::with_causes(&refused)))?;
    let header = &shown.header;
    if (header.first, header.end, header.firm) != (archive.of.first, archive.of.end, None) {
        return Err(wrong(format!(
            "it holds the entries from {} up to but not {}",
            header.first, header.end
        )));
    }
    Ok(shown)
}

enum Unread {
    Packed(std::io::Error),
    Refused(audit::export::Refused),
}

fn feed(mut verifier: Verifier<'static>, packed: &[u8]) -> (Verifier<'static>, Result<(), Unread>) {
    let mut decoder = MultiGzDecoder::new(packed);
    let mut part = vec![0; AT_ONCE];
    loop {
        let read = match decoder.read(&mut part) {
            Ok(0) => return (verifier, Ok(())),
            Ok(read) => read,
            Err(error) => return (verifier, Err(Unread::Packed(error))),
        };
        if let Err(refused) = verifier.feed(part.get(..read).unwrap_or_default()) {
            return (verifier, Err(Unread::Refused(refused)));
        }
    }
}

/// Says where an entry is that is in the tables no more.
pub async fn where_archived(store: &dyn AuditStore, index: u64) -> Result<AppError, AppError> {
    let archives = store.archives().await?;
    let archive = archives.iter().find(|archive| archive.of.first <= index && index < archive.of.end);
    Ok(archived(&format!("Entry {index}"), archive))
}

/// The refusal for something whose entry lies in an archive alone.
pub fn archived(what: &str, archive: Option<&Archive>) -> AppError {
    let place = archive.map_or_else(String::new, |archive| {
        let Archive { of: Over { month, first, .. }, sha256, .. } = archive;
        let last = archive.of.end.saturating_sub(1);
        format!(
            " It is in the archive of {month} (entries {first} to {last}, {}, SHA-256 {sha256}).",
            archive.name()
        )
    });
    let say = format!(
        "{what} was archived and is no longer in the database.{place} Ask whoever runs the platform for it; its proof is made from it."
    );
    AppError::refused("entry_archived", say)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_has_one_text() {
        assert_eq!(Month::parse("2019-01").unwrap().to_string(), "2019-01");
        for wrong in ["2019-1", "2019-13", "2019-00", "19-01", "2019-01-01", "2019/01", "+019-01", ""] {
            assert_eq!(Month::parse(wrong), None, "{wrong}");
        }
        assert_eq!(part_name(&Month::parse("2019-01").unwrap(), 7), "archive/2019-01/000007.tsaudit.gz");
    }
}
