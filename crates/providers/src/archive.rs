//! The archive of the quote log: closed segments as Parquet files, in a directory that may be another disk.
//!
//! A file `{first}-{last}.parquet` (20 digits each) has the columns `position`, `symbol`, `bid`, `ask` (in points),
//! `source_time` and `received_at` (microseconds, UTC), row groups of 131,072 quotes, and in its metadata
//! `tradesense.version`, `first`, `last`, `after` (the position before `first`; absent where an earlier release wrote the
//! segment) and `sha256` of all records as they stood in the segment. Beside it lies `{first}-{last}.parquet.sha256`, as
//! `sha256sum --check` reads it: the Parquet library is shown a file only if its checksum fits, because it panics on some
//! damaged ones.
//!
//! A file gets its name only after it was read back from the disk and compared with the segment, record by record: what
//! has a name is whole. Being killed leaves a file `*.part`, which the next run removes. Archiving again finds the file and
//! does nothing. A file with the same positions and other quotes (an archive of another log) is never overwritten.
//!
//! **Must not know:** when to archive and what to delete, see [`Keeper`](crate::quote_log::Keeper).
//!
//! **To add an object storage:** [`Archive::list`], `get` and `put` are all that touches the disk; a Parquet file is
//! written and read in memory.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use app::BoxError;
use app::trading::{LoggedQuote, LoggedQuotes};
use kernel::{Price, Symbol, Timestamp};
use parquet::basic::{Compression, Encoding};
use parquet::column::reader::{ColumnReader, get_typed_column_reader};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::file::reader::{FileReader as _, RowGroupReader};
use parquet::file::serialized_reader::SerializedFileReader;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;
use sha2::{Digest as _, Sha256};

use crate::quote_log::record::encode;
use crate::quote_log::segment::{self, sync_directory};
use crate::quote_log::{QuoteLogError, Start, io_error, read_until_now, survey};

const VERSION: &str = "1";
/// Quotes in a row group.
const GROUP: usize = 131_072;
const SCHEMA: &str = "message quotes {
    required int64 position (INTEGER(64, false));
    required binary symbol (STRING);
    required int64 bid;
    required int64 ask;
    required int64 source_time (TIMESTAMP(MICROS, true));
    required int64 received_at (TIMESTAMP(MICROS, true));
}";

/// Why something cannot be archived, or read from an archive.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The log, or the disk.
    #[error(transparent)]
    Log(#[from] QuoteLogError),
    /// What the Parquet library says.
    #[error("{doing} {path}")]
    Parquet {
        /// What was tried.
        doing: &'static str,
        /// On which file.
        path: String,
        /// The library's word.
        #[source]
        source: ParquetError,
    },
    /// A file that is not what its name says.
    #[error("{path} {say}: restore it from a copy")]
    Damaged {
        /// Which file.
        path: String,
        /// What is wrong.
        say: &'static str,
    },
    /// The archive holds other quotes for the same positions.
    #[error(
        "{path} holds quotes {first} to {last} in another form: the archive belongs to another log; name another directory"
    )]
    OtherLog {
        /// Which file.
        path: String,
        /// The segment that was to be archived.
        first: u64,
        /// Its last position.
        last: u64,
    },
}

/// A directory of archived segments.
#[derive(Debug, Clone)]
pub struct Archive {
    directory: PathBuf,
}

/// One archived segment, as its name tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// Its first position.
    pub first: u64,
    /// Its last.
    pub last: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

/// What a run of [`Archive::take`] did.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Segments that were archived now.
    pub archived: Vec<Archived>,
    /// Segments that were there before.
    pub already: u64,
}

/// How an archived segment is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ToldBy {
    /// By its positions: enough to see what is left to do.
    Name,
    /// By the checksum of its quotes, for which the segment is read: before it is deleted.
    Quotes,
}

impl Archive {
    /// Nothing is made before something is archived.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// What it holds, by position; nothing if the directory is not there.
    pub fn list(&self) -> Result<Vec<Archived>, ArchiveError> {
        let entries = match std::fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io_error("listing", &self.directory)(error).into()),
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(io_error("listing", &self.directory))?;
            if let Some((first, last)) = positions(&entry.path()) {
                let bytes = entry.metadata().map_err(io_error("reading", &entry.path()))?.len();
                found.push(Archived { first, last, bytes });
            }
        }
        found.sort_by_key(|archived| (archived.first, archived.last));
        Ok(found)
    }

    /// Archives every closed segment of a log that is not archived yet, oldest first.
    pub fn take(&self, log: &Path, told_by: ToldBy) -> Result<Taken, ArchiveError> {
        std::fs::create_dir_all(&self.directory).map_err(io_error("making", &self.directory))?;
        // One at a time; who comes second finds the work done.
        let path = self.directory.join("lock");
        let lock = File::create(&path).map_err(io_error("making", &path))?;
        lock.lock().map_err(io_error("locking", &path))?;
        self.remove_parts()?;
        let mut taken = Taken::default();
        for surveyed in survey(log)?.into_iter().filter(|surveyed| surveyed.closed) {
            let Some(last) = surveyed.last else { continue };
            if self.holds(log, surveyed.first, last, told_by)? {
                taken.already = taken.already.saturating_add(1);
            } else {
                taken.archived.push(self.archive(log, surveyed.first, last)?);
            }
        }
        lock.unlock().map_err(io_error("unlocking", &path))?;
        Ok(taken)
    }

    /// Whether exactly this segment is archived; an error if other quotes stand there for any of its positions.
    pub(crate) fn holds(
        &self,
        log: &Path,
        first: u64,
        last: u64,
        told_by: ToldBy,
    ) -> Result<bool, ArchiveError> {
        let overlaps = |archived: &Archived| archived.first <= last && first <= archived.last;
        let Some(archived) = self.list()?.into_iter().find(overlaps) else { return Ok(false) };
        let path = self.path(archived.first, archived.last);
        let other = || ArchiveError::OtherLog { path: path.display().to_string(), first, last };
        if (archived.first, archived.last) != (first, last) {
            return Err(other());
        }
        if told_by == ToldBy::Name {
            return Ok(true);
        }
        let opened = self.open(&archived)?;
        let mut sum = Sha256::new();
        let mut bytes = Vec::new();
        for quote in segment_records(log, first, last)? {
            bytes.clear();
            encode(&quote?, &mut bytes);
            sum.update(&bytes);
        }
        if hex::encode(sum.finalize()) == opened.about.sha256 { Ok(true) } else { Err(other()) }
    }

    fn archive(&self, log: &Path, first: u64, last: u64) -> Result<Archived, ArchiveError> {
        let path = self.path(first, last);
        let after = segment::list(log)?.into_iter().find(|place| place.first == first);
        let after = match after.map(|place| segment::open(&place)).transpose()?.flatten() {
            Some((_, head)) => head.after,
            None => None,
        };
        let quotes = segment_records(log, first, last)?;
        let bytes = write(&path, first, last, after, quotes)?;
        let archived = Archived { first, last, bytes: crate::quote_log::record::to_u64(bytes.len()) };
        let part = path.with_extension("parquet.part");
        let sum = hex::encode(Sha256::digest(&bytes));
        put(&part, &bytes)?;
        drop(bytes);
        let differs = || ArchiveError::Damaged {
            path: part.display().to_string(),
            say: "does not hold what was written to it",
        };
        let mut read_back = Opened::from_file(&part, &archived, &sum)?;
        let mut there = Vec::new().into_iter();
        for quote in segment_records(log, first, last)? {
            let mut next = there.next();
            if next.is_none() {
                there = read_back.next_group()?.unwrap_or_default().into_iter();
                next = there.next();
            }
            if next != Some(quote?) {
                return Err(differs());
            }
        }
        if there.next().is_some() || read_back.next_group()?.is_some() {
            return Err(differs());
        }
        // The checksum first: what has a name has a checksum.
        let beside = sum_path(&path);
        let sum_part = sum_path(&part).with_extension("part");
        let name = path.file_name().unwrap_or_default().display();
        put(&sum_part, format!("{sum}  {name}\n").as_bytes())?;
        std::fs::rename(&sum_part, &beside).map_err(io_error("naming", &beside))?;
        sync_directory(&self.directory)?;
        std::fs::rename(&part, &path).map_err(io_error("naming", &path))?;
        sync_directory(&self.directory)?;
        Ok(archived)
    }

    /// Reads one archived segment through and compares it with its checksums; gives how many quotes it holds.
    pub fn verify(&self, archived: &Archived) -> Result<u64, ArchiveError> {
        let mut opened = self.open(archived)?;
        let mut sum = Sha256::new();
        let mut bytes = Vec::new();
        let mut count = 0_u64;
        while let Some(group) = opened.next_group()? {
            for quote in &group {
                bytes.clear();
                encode(quote, &mut bytes);
                sum.update(&bytes);
                count = count.saturating_add(1);
            }
        }
        if hex::encode(sum.finalize()) != opened.about.sha256 {
            return Err(opened.damaged("does not fit the checksum of its quotes"));
        }
        Ok(count)
    }

    /// The positions that are missing between two archived segments: the last one there and the next one there.
    pub fn holes(&self) -> Result<Vec<(u64, u64)>, ArchiveError> {
        let mut holes = Vec::new();
        let mut end = None;
        for archived in self.list()? {
            let after = self.open(&archived)?.about.after;
            if let (Some(end), Some(after)) = (end, after)
                && after != end
            {
                holes.push((end, archived.first));
            }
            end = Some(archived.last);
        }
        Ok(holes)
    }

    fn open(&self, archived: &Archived) -> Result<Opened, ArchiveError> {
        let path = self.path(archived.first, archived.last);
        let beside = sum_path(&path);
        let sum = std::fs::read_to_string(&beside).map_err(io_error("reading", &beside))?;
        Opened::from_file(&path, archived, sum.split_whitespace().next().unwrap_or_default())
    }

    fn path(&self, first: u64, last: u64) -> PathBuf {
        self.directory.join(format!("{first:020}-{last:020}.parquet"))
    }

    fn remove_parts(&self) -> Result<(), ArchiveError> {
        for entry in std::fs::read_dir(&self.directory).map_err(io_error("listing", &self.directory))? {
            let path = entry.map_err(io_error("listing", &self.directory))?.path();
            if path.extension().is_some_and(|extension| extension == "part") {
                std::fs::remove_file(&path).map_err(io_error("removing the unfinished", &path))?;
            }
        }
        Ok(())
    }
}

fn sum_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".sha256");
    PathBuf::from(name)
}

fn put(path: &Path, bytes: &[u8]) -> Result<(), QuoteLogError> {
    let written = File::create(path).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()
    });
    written.map_err(io_error("writing", path))
}

fn positions(path: &Path) -> Option<(u64, u64)> {
    let (first, last) = path.file_name()?.to_str()?.strip_suffix(".parquet")?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

/// The records of one closed segment.
fn segment_records(
    log: &Path,
    first: u64,
    last: u64,
) -> Result<impl Iterator<Item = Result<LoggedQuote, QuoteLogError>> + use<>, QuoteLogError> {
    let quotes = read_until_now(log, first, Start::Exactly)?;
    Ok(quotes.take_while(move |quote| quote.as_ref().map_or(true, |quote| quote.position <= last)))
}

// ---- Writing ----------------------------------------------------------------------------------------------------

/// A Parquet file in memory.
fn write(
    path: &Path,
    first: u64,
    last: u64,
    after: Option<u64>,
    mut quotes: impl Iterator<Item = Result<LoggedQuote, QuoteLogError>>,
) -> Result<Vec<u8>, ArchiveError> {
    let failed = || parquet_error("making", path);
    let schema = Arc::new(parse_message_type(SCHEMA).map_err(failed())?);
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::SNAPPY)
        .set_dictionary_enabled(false)
        .set_column_dictionary_enabled(ColumnPath::from("symbol"), true)
        .set_created_by("tradesense".to_owned());
    for column in ["position", "bid", "ask", "source_time", "received_at"] {
        properties = properties.set_column_encoding(ColumnPath::from(column), Encoding::DELTA_BINARY_PACKED);
    }
    let mut writer =
        SerializedFileWriter::new(Vec::new(), schema, Arc::new(properties.build())).map_err(failed())?;
    let mut sum = Sha256::new();
    loop {
        let group = quotes.by_ref().take(GROUP).collect::<Result<Vec<_>, _>>()?;
        if group.is_empty() {
            break;
        }
        let mut bytes = Vec::new();
        for quote in &group {
            encode(quote, &mut bytes);
        }
        sum.update(&bytes);
        write_group(&mut writer, &group).map_err(failed())?;
    }
    let about = [
        ("tradesense.version", Some(VERSION.to_owned())),
        ("first", Some(first.to_string())),
        ("last", Some(last.to_string())),
        ("after", after.map(|after| after.to_string())),
        ("sha256", Some(hex::encode(sum.finalize()))),
    ];
    for (key, value) in about {
        if let Some(value) = value {
            writer.append_key_value_metadata(KeyValue::new(key.to_owned(), value));
        }
    }
    writer.into_inner().map_err(failed())
}

fn write_group(
    writer: &mut SerializedFileWriter<Vec<u8>>,
    quotes: &[LoggedQuote],
) -> Result<(), ParquetError> {
    let mut group = writer.next_row_group()?;
    let numbers = |value: fn(&LoggedQuote) -> i64| quotes.iter().map(value).collect::<Vec<_>>();
    let mut symbols: HashMap<&Symbol, ByteArray> = HashMap::new();
    let named = quotes.iter().map(|quote| {
        let name = || ByteArray::from(quote.symbol.as_str().as_bytes().to_vec());
        symbols.entry(&quote.symbol).or_insert_with(name).clone()
    });
    let named: Vec<ByteArray> = named.collect();
    write_column::<Int64Type>(&mut group, &numbers(|quote| quote.position.cast_signed()))?;
    write_column::<ByteArrayType>(&mut group, &named)?;
    write_column::<Int64Type>(&mut group, &numbers(|quote| quote.bid.0))?;
    write_column::<Int64Type>(&mut group, &numbers(|quote| quote.ask.0))?;
    write_column::<Int64Type>(&mut group, &numbers(|quote| quote.source_time.micros()))?;
    write_column::<Int64Type>(&mut group, &numbers(|quote| quote.received_at.micros()))?;
    group.close().map(|_| ())
}

fn write_column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, Vec<u8>>,
    values: &[T::T],
) -> Result<(), ParquetError> {
    let none = || ParquetError::General("the schema has too few columns".to_owned());
    let mut column = group.next_column()?.ok_or_else(none)?;
    column.typed::<T>().write_batch(values, None, None)?;
    column.close()
}

fn parquet_error(doing: &'static str, path: &Path) -> impl FnOnce(ParquetError) -> ArchiveError + use<> {
    let path = path.display().to_string();
    move |source| ArchiveError::Parquet { doing, path, source }
}

// ---- Reading ----------------------------------------------------------------------------------------------------

/// What a file's metadata says.
#[derive(Debug)]
struct About {
    after: Option<u64>,
    sha256: String,
}

/// A file that is read group by group.
struct Opened {
    path: PathBuf,
    reader: SerializedFileReader<bytes::Bytes>,
    about: About,
    group: usize,
    /// The position that comes next.
    next: u64,
    last: u64,
    symbols: HashMap<Vec<u8>, Symbol>,
}

impl Opened {
    /// Reads a file into memory, if it has this checksum.
    fn from_file(path: &Path, archived: &Archived, sum: &str) -> Result<Self, ArchiveError> {
        let bad = |say| ArchiveError::Damaged { path: path.display().to_string(), say };
        let bytes = std::fs::read(path).map_err(io_error("reading", path))?;
        if hex::encode(Sha256::digest(&bytes)) != sum {
            return Err(bad("does not fit its checksum"));
        }
        let reader =
            SerializedFileReader::new(bytes::Bytes::from(bytes)).map_err(parquet_error("reading", path))?;
        let file = reader.metadata().file_metadata();
        let expected = parse_message_type(SCHEMA).map_err(parquet_error("reading", path))?;
        if *file.schema() != expected {
            return Err(bad("has other columns than an archived segment"));
        }
        let value = |key: &str| {
            let pairs = file.key_value_metadata().into_iter().flatten();
            pairs.clone().find(|pair| pair.key == key).and_then(|pair| pair.value.clone())
        };
        if value("tradesense.version").as_deref() != Some(VERSION) {
            return Err(bad("is of a version that this release does not know"));
        }
        let number = |key: &str| value(key).and_then(|text| text.parse::<u64>().ok());
        if (number("first"), number("last")) != (Some(archived.first), Some(archived.last)) {
            return Err(bad("holds other positions than its name says"));
        }
        let sha256 = value("sha256").ok_or_else(|| bad("has no checksum of its quotes"))?;
        let about = About { after: number("after"), sha256 };
        Ok(Self {
            path: path.to_owned(),
            reader,
            about,
            group: 0,
            next: archived.first,
            last: archived.last,
            symbols: HashMap::new(),
        })
    }

    fn damaged(&self, say: &'static str) -> ArchiveError {
        ArchiveError::Damaged { path: self.path.display().to_string(), say }
    }

    /// Passes over the groups that end before a position.
    fn skip_to(&mut self, wanted: u64) {
        while let Some(group) = self.reader.metadata().row_groups().get(self.group) {
            let behind = self.next.saturating_add(u64::try_from(group.num_rows()).unwrap_or_default());
            if behind > wanted {
                return;
            }
            (self.next, self.group) = (behind, self.group.saturating_add(1));
        }
    }

    /// The quotes of the next group.
    fn next_group(&mut self) -> Result<Option<Vec<LoggedQuote>>, ArchiveError> {
        if self.group >= self.reader.num_row_groups() {
            if self.next != self.last.saturating_add(1) {
                return Err(self.damaged("ends before its last position"));
            }
            return Ok(None);
        }
        let group = self.reader.get_row_group(self.group).and_then(|group| read_group(group.as_ref()));
        let columns = group.map_err(parquet_error("reading", &self.path))?;
        let mut quotes = Vec::with_capacity(columns.symbols.len());
        let [positions, bids, asks, sources, receipts] = columns.numbers;
        let rows = positions.into_iter().zip(columns.symbols).zip(bids).zip(asks).zip(sources).zip(receipts);
        for (((((position, symbol), bid), ask), source_time), received_at) in rows {
            if position.cast_unsigned() != self.next {
                return Err(self.damaged("holds a quote in the wrong place"));
            }
            let known = self.symbols.get(symbol.data()).cloned();
            let symbol = if let Some(known) = known {
                known
            } else {
                let parsed = symbol.as_utf8().ok().and_then(|text| Symbol::parse(text).ok());
                let parsed = parsed.ok_or_else(|| self.damaged("holds a symbol that cannot be"))?;
                self.symbols.insert(symbol.data().to_vec(), parsed.clone());
                parsed
            };
            let quote = LoggedQuote {
                position: self.next,
                symbol,
                bid: Price(bid),
                ask: Price(ask),
                source_time: Timestamp::from_micros(source_time),
                received_at: Timestamp::from_micros(received_at),
            };
            quotes.push(quote);
            self.next = self.next.saturating_add(1);
        }
        self.group = self.group.saturating_add(1);
        Ok(Some(quotes))
    }
}

/// The columns of a group, in the schema's order.
struct Columns {
    numbers: [Vec<i64>; 5],
    symbols: Vec<ByteArray>,
}

fn read_group(group: &dyn RowGroupReader) -> Result<Columns, ParquetError> {
    let rows = usize::try_from(group.metadata().num_rows()).unwrap_or_default();
    let number = |index| read_column::<Int64Type>(group.get_column_reader(index)?, rows);
    let symbols = read_column::<ByteArrayType>(group.get_column_reader(1)?, rows)?;
    Ok(Columns { numbers: [number(0)?, number(2)?, number(3)?, number(4)?, number(5)?], symbols })
}

/// The schema was compared, so the type fits.
fn read_column<T: DataType>(column: ColumnReader, rows: usize) -> Result<Vec<T::T>, ParquetError> {
    let mut values = Vec::with_capacity(rows.min(GROUP));
    let mut column = get_typed_column_reader::<T>(column);
    while values.len() < rows {
        let (more, ..) = column.read_records(rows.saturating_sub(values.len()), None, None, &mut values)?;
        if more == 0 {
            break;
        }
    }
    if values.len() == rows {
        Ok(values)
    } else {
        Err(ParquetError::General("a column has too few values".to_owned()))
    }
}

// ---- Archive and log as one -------------------------------------------------------------------------------------

/// Reads on from a place, that place included: from the archive what the log no longer has, then the log up to what is
/// acknowledged now. A segment that retention takes meanwhile is read from the archive. Positions that neither has are
/// left out at the beginning; between two segments they are an error.
pub fn read_anywhere(archive: Option<&Archive>, log: &Path, from: u64) -> Result<LoggedQuotes, BoxError> {
    let Some(archive) = archive else { return crate::quote_log::read(log, from) };
    archive.list()?;
    segment::list(log)?;
    let mut reading = Anywhere {
        archive: archive.clone(),
        log: log.to_owned(),
        wanted: from.max(1),
        end: None,
        source: Source::ToChoose,
        ready: VecDeque::new(),
    };
    let mut done = false;
    Ok(Box::new(std::iter::from_fn(move || {
        if done {
            return None;
        }
        let next = reading.next().map_err(BoxError::from).transpose();
        done = !matches!(next, Some(Ok(_)));
        next
    })))
}

struct Anywhere {
    archive: Archive,
    log: PathBuf,
    wanted: u64,
    /// The last one handed out.
    end: Option<u64>,
    source: Source,
    ready: VecDeque<LoggedQuote>,
}

enum Source {
    ToChoose,
    Archived(Box<Opened>),
    Live(Box<dyn Iterator<Item = Result<LoggedQuote, QuoteLogError>> + Send>),
}

impl Anywhere {
    fn next(&mut self) -> Result<Option<LoggedQuote>, ArchiveError> {
        loop {
            if let Some(quote) = self.ready.pop_front() {
                if quote.position < self.wanted {
                    continue;
                }
                self.wanted = quote.position.saturating_add(1);
                self.end = Some(quote.position);
                return Ok(Some(quote));
            }
            match &mut self.source {
                Source::ToChoose => self.source = self.choose()?,
                Source::Archived(opened) => match opened.next_group()? {
                    Some(group) => self.ready = group.into(),
                    None => self.source = Source::ToChoose,
                },
                Source::Live(live) => match live.next() {
                    Some(Ok(quote)) => self.ready.push_back(quote),
                    // Retired while we read: by now the archive has it.
                    Some(Err(QuoteLogError::Gone { .. })) if self.archived()?.is_some() => {
                        self.source = Source::ToChoose;
                    }
                    Some(Err(error)) => return Err(error.into()),
                    None => return Ok(None),
                },
            }
        }
    }

    /// The archived segment with the wanted place, or the first one after it.
    fn archived(&self) -> Result<Option<Archived>, ArchiveError> {
        Ok(self.archive.list()?.into_iter().find(|archived| archived.last >= self.wanted))
    }

    fn choose(&self) -> Result<Source, ArchiveError> {
        // The log first: what retention takes from it after this look is archived before the next one.
        let places = segment::list(&self.log)?;
        let oldest = places.first();
        let in_log = oldest.is_some_and(|place| place.first <= self.wanted);
        let archived = if in_log { None } else { self.archived()? };
        // An archived segment that begins behind the log's oldest is a later one.
        let archived = archived.filter(|archived| oldest.is_none_or(|place| archived.first < place.first));
        if let Some(archived) = archived {
            let mut opened = self.archive.open(&archived)?;
            self.joins(opened.about.after, archived.first)?;
            opened.skip_to(self.wanted);
            return Ok(Source::Archived(Box::new(opened)));
        }
        if let (false, Some(place)) = (in_log, oldest)
            && let Some((_, head)) = segment::open(place)?
        {
            self.joins(head.after, place.first)?;
        }
        // Having read so far, what is missing from here on is told and not left out.
        let start = if self.end.is_some() && in_log { Start::Exactly } else { Start::AtTheOldest };
        Ok(Source::Live(Box::new(read_until_now(&self.log, self.wanted, start)?)))
    }

    fn joins(&self, after: Option<u64>, next: u64) -> Result<(), ArchiveError> {
        match (self.end, after) {
            (Some(end), Some(after)) if after > end => {
                let directory = self.log.display().to_string();
                Err(QuoteLogError::Missing { directory, after: end, next }.into())
            }
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
