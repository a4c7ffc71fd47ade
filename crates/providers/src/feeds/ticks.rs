//! Recorded ticks in the layout `DIR/{source}/{symbol}/YYYYMMDD_quote.zip`.
//!
//! Each zip holds one CSV without a header: milliseconds since midnight (with or without decimals), bid, ask;
//! CR LF or LF between the rows. Midnight and the date are those of the source's fixed zone ([`zone_of`]).
//!
//! [`scan`] finds the days of a directory, [`TickFile`] reads one, [`merge`] plays many in the order of time.
//! A row that cannot be read is an error that names file and line, and reading can go on behind it: whether to
//! stop is the caller's choice.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, VecDeque};
use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::civil::{Date, Time};
use jiff::tz::Offset;
use kernel::{DecimalError, Price, Symbol, SymbolError, Timestamp, decimal};
use zip::ZipArchive;
use zip::result::ZipError;

use super::FeedQuote;

/// The largest CSV that is read, in bytes; a day of a busy instrument has about ten million.
pub const LARGEST_CSV: u64 = 1 << 29;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// One quote of a recording.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tick {
    /// When the source quoted; digits below the microsecond are cut off.
    pub source_time: Timestamp,
    /// In the instrument's points.
    pub bid: Price,
    /// In the instrument's points.
    pub ask: Price,
}

/// One day of one symbol from one source.
#[derive(Debug, Clone)]
pub struct TickDay {
    /// The folder's name, such as `oanda`.
    pub source: Arc<str>,
    /// The folder's name in capitals, such as `EURUSD`.
    pub symbol: Symbol,
    /// The date in the file's name, in `zone`.
    pub date: Date,
    /// What the source's midnight means; [`zone_of`] unless the caller knows better and overwrites it.
    pub zone: Offset,
    /// Where the zip is.
    pub archive: Archive,
}

/// Where a zip is.
#[derive(Debug, Clone)]
pub enum Archive {
    /// On the disk.
    File(PathBuf),
    /// Inside this binary, with the name it has in the source tree.
    Embedded {
        /// The name that errors give.
        name: &'static str,
        /// The zip itself.
        bytes: &'static [u8],
    },
}

impl fmt::Display for Archive {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(formatter),
            Self::Embedded { name, .. } => write!(formatter, "{name} (built in)"),
        }
    }
}

/// What went wrong with recorded ticks, and where.
#[derive(Debug, thiserror::Error)]
pub enum TickError {
    /// A folder could not be listed.
    #[error("listing {}", path.display())]
    List {
        /// The folder.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Nothing to play.
    #[error("no ticks: expected {{source}}/{{symbol}}/YYYYMMDD_quote.zip in {place}")]
    NoTicks {
        /// Where they were looked for.
        place: String,
    },
    /// A folder or file name in the layout that says nothing.
    #[error("the name of {}: {expected}", path.display())]
    Name {
        /// The folder or file.
        path: PathBuf,
        /// What it should have been.
        expected: &'static str,
    },
    /// A folder that cannot be an instrument.
    #[error("the folder name of {file}")]
    SymbolName {
        /// A file in that folder.
        file: Archive,
        /// Why.
        #[source]
        source: SymbolError,
    },
    /// Somebody asked to read a symbol without saying how many decimals its prices have.
    #[error("{0} has no number of decimals")]
    NoDecimals(Symbol),
    /// A zip could not be read from the disk.
    #[error("opening {file}")]
    Open {
        /// The zip.
        file: Archive,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file is not a zip or is damaged.
    #[error("reading the table of contents of {file}")]
    Zip {
        /// The zip.
        file: Archive,
        /// Why.
        #[source]
        source: ZipError,
    },
    /// A zip with no or several files inside.
    #[error("{file} holds {entries} files where one CSV is expected")]
    Entries {
        /// The zip.
        file: Archive,
        /// How many it holds.
        entries: usize,
    },
    /// The CSV is larger than [`LARGEST_CSV`].
    #[error("the CSV in {file} has more than {LARGEST_CSV} bytes")]
    TooLarge {
        /// The zip.
        file: Archive,
    },
    /// The CSV could not be unpacked: damaged, a wrong checksum, or not text.
    #[error("unpacking {file}")]
    Unpack {
        /// The zip.
        file: Archive,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A date that no instant belongs to.
    #[error("{file}: midnight of its date is outside the calendar")]
    Date {
        /// The zip.
        file: Archive,
        /// Why.
        #[source]
        source: jiff::Error,
    },
    /// A row that is not a tick.
    #[error("{file}, line {line}")]
    Row {
        /// The zip.
        file: Archive,
        /// The line of the CSV, from 1.
        line: u64,
        /// Why.
        #[source]
        source: RowError,
    },
}

/// Why a row is not a tick.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// Not three columns.
    #[error("not the three columns: milliseconds since midnight, bid, ask")]
    Columns,
    /// The first column.
    #[error("\"{0}\" is not a number of milliseconds within one day")]
    Time(String),
    /// The second or third column.
    #[error("\"{text}\" is not a price of this instrument")]
    Price {
        /// What stands there.
        text: String,
        /// Why.
        #[source]
        source: DecimalError,
    },
}

/// The fixed zone in which a source writes its dates and midnights; UTC for a source that is not known.
pub fn zone_of(source: &str) -> Offset {
    match source {
        // Five hours behind all year round, without daylight saving.
        "fxcm" => Offset::constant(-5),
        _ => Offset::UTC,
    }
}

/// The days of a directory, sorted by source, symbol and date. Names that begin with a dot, and files that do not
/// end in `_quote.zip`, are none of ours and passed over.
pub fn scan(directory: &Path) -> Result<Vec<TickDay>, TickError> {
    let mut days = Vec::new();
    for source in entries(directory)? {
        if !source.is_dir() {
            continue;
        }
        for symbol in entries(&source)? {
            if !symbol.is_dir() {
                continue;
            }
            for path in entries(&symbol)? {
                if name_of(&path)?.ends_with(QUOTE_SUFFIX) {
                    days.push(day_at(
                        name_of(&source)?,
                        name_of(&symbol)?,
                        path.clone(),
                        Archive::File(path),
                    )?);
                }
            }
        }
    }
    if days.is_empty() {
        return Err(TickError::NoTicks { place: directory.display().to_string() });
    }
    days.sort_by(|one, other| order(one).cmp(&order(other)));
    Ok(days)
}

const QUOTE_SUFFIX: &str = "_quote.zip";

fn order(day: &TickDay) -> (&str, &Symbol, Date) {
    (&day.source, &day.symbol, day.date)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, TickError> {
    let failed = |source| TickError::List { path: folder.to_owned(), source };
    let mut paths = Vec::new();
    for entry in folder.read_dir().map_err(failed)? {
        let entry = entry.map_err(failed)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            paths.push(entry.path());
        }
    }
    Ok(paths)
}

fn name_of(path: &Path) -> Result<&str, TickError> {
    path.file_name()
        .and_then(|name| name.to_str())
        .ok_or_else(|| TickError::Name { path: path.to_owned(), expected: "plain text is expected" })
}

/// The day that a place in the layout names.
pub(super) fn day_at(
    source: &str,
    symbol: &str,
    path: PathBuf,
    archive: Archive,
) -> Result<TickDay, TickError> {
    let date = name_of(&path)?.strip_suffix(QUOTE_SUFFIX).and_then(date_in);
    let Some(date) = date else {
        return Err(TickError::Name { path, expected: "YYYYMMDD_quote.zip is expected" });
    };
    let symbol = Symbol::parse(&symbol.to_ascii_uppercase())
        .map_err(|source| TickError::SymbolName { file: archive.clone(), source })?;
    Ok(TickDay { source: source.into(), symbol, date, zone: zone_of(source), archive })
}

fn date_in(digits: &str) -> Option<Date> {
    if digits.len() != 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (year, rest) = digits.split_at_checked(4)?;
    let (month, day) = rest.split_at_checked(2)?;
    Date::new(year.parse().ok()?, month.parse().ok()?, day.parse().ok()?).ok()
}

/// The ticks of one zip, in the order of the file. Unpacked as a whole when opened, so that a damaged file is known
/// before its first tick and no row costs an allocation.
#[derive(Debug)]
pub struct TickFile {
    archive: Archive,
    csv: String,
    /// Where the next row begins.
    next: usize,
    /// The line last read, from 1.
    line: u64,
    midnight: Timestamp,
    decimals: u8,
}

impl TickFile {
    /// Unpacks a day whose instrument's prices have `decimals` digits after the point.
    pub fn open(day: &TickDay, decimals: u8) -> Result<Self, TickError> {
        let csv = match &day.archive {
            Archive::File(path) => {
                let file = File::open(path)
                    .map_err(|source| TickError::Open { file: day.archive.clone(), source })?;
                unpack(file, &day.archive)?
            }
            Archive::Embedded { bytes, .. } => unpack(Cursor::new(*bytes), &day.archive)?,
        };
        let midnight = day
            .zone
            .to_timestamp(day.date.to_datetime(Time::midnight()))
            .map_err(|source| TickError::Date { file: day.archive.clone(), source })?;
        let midnight = Timestamp::from_micros(midnight.as_microsecond());
        Ok(Self { archive: day.archive.clone(), csv, next: 0, line: 0, midnight, decimals })
    }
}

fn unpack(zip: impl Read + Seek, archive: &Archive) -> Result<String, TickError> {
    let contents = |source| TickError::Zip { file: archive.clone(), source };
    let mut zip = ZipArchive::new(zip).map_err(contents)?;
    if zip.len() != 1 {
        return Err(TickError::Entries { file: archive.clone(), entries: zip.len() });
    }
    let entry = zip.by_index(0).map_err(contents)?;
    // The size in the table of contents is a claim; the limit holds for what comes out.
    let mut csv = String::new();
    if let Ok(size) = usize::try_from(entry.size().min(LARGEST_CSV)) {
        csv.reserve(size);
    }
    let mut limited = entry.take(LARGEST_CSV.saturating_add(1));
    let read = limited
        .read_to_string(&mut csv)
        .map_err(|source| TickError::Unpack { file: archive.clone(), source })?;
    if u64::try_from(read).is_ok_and(|read| read <= LARGEST_CSV) {
        Ok(csv)
    } else {
        Err(TickError::TooLarge { file: archive.clone() })
    }
}

impl Iterator for TickFile {
    type Item = Result<Tick, TickError>;

    fn next(&mut self) -> Option<Self::Item> {
        let rest = self.csv.get(self.next..).filter(|rest| !rest.is_empty())?;
        let (row, taken) = match rest.split_once('\n') {
            Some((row, _)) => (row, row.len().saturating_add(1)),
            None => (rest, rest.len()),
        };
        let read = read_row(row.strip_suffix('\r').unwrap_or(row), self.midnight, self.decimals);
        self.next = self.next.saturating_add(taken);
        self.line = self.line.saturating_add(1);
        Some(read.map_err(|source| TickError::Row { file: self.archive.clone(), line: self.line, source }))
    }
}

fn read_row(row: &str, midnight: Timestamp, decimals: u8) -> Result<Tick, RowError> {
    let mut columns = row.split(',');
    let (Some(time), Some(bid), Some(ask), None) =
        (columns.next(), columns.next(), columns.next(), columns.next())
    else {
        return Err(RowError::Columns);
    };
    let price = |text: &str| {
        decimal::parse(text, decimals)
            .map(Price)
            .map_err(|source| RowError::Price { text: text.to_owned(), source })
    };
    let source_time = micros_of_day(time)
        .and_then(|micros| midnight.micros().checked_add(micros))
        .ok_or_else(|| RowError::Time(time.to_owned()))?;
    Ok(Tick { source_time: Timestamp::from_micros(source_time), bid: price(bid)?, ask: price(ask)? })
}

/// Microseconds since midnight from milliseconds with any number of decimals; the fourth and later are cut off.
fn micros_of_day(millis: &str) -> Option<i64> {
    let kept = match millis.find('.') {
        Some(point) => point.saturating_add(4).min(millis.len()),
        None => millis.len(),
    };
    let (kept, cut_off) = millis.split_at_checked(kept)?;
    if kept.starts_with('-') || !cut_off.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    decimal::parse(kept, 3).ok().filter(|micros| *micros < MICROS_PER_DAY)
}

/// Many days in the order of time, one file per source and symbol open at once.
#[derive(Debug)]
pub struct Merge {
    /// Sorted by source and symbol; the position breaks ties between equal times.
    streams: Vec<Stream>,
    /// The next tick of every stream that has been read ahead.
    heads: BinaryHeap<Reverse<Head>>,
    /// Streams that must be read before the earliest tick is known.
    unread: Vec<usize>,
}

#[derive(Debug)]
struct Stream {
    source: Arc<str>,
    symbol: Symbol,
    decimals: u8,
    days: VecDeque<TickDay>,
    file: Option<TickFile>,
}

/// Ordered by time, then by stream: a stream has one head, so the prices never decide.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Head {
    source_time: Timestamp,
    stream: usize,
    bid: Price,
    ask: Price,
}

/// The ticks of all days in the order of time. Within one source and symbol the order is that of the files, by
/// date; at equal times sources and symbols come in the order of their names. `decimals` gives the digits after
/// the point for each symbol.
///
/// An error is one item of the iterator. After a row that is no tick comes the next row, after a file that cannot
/// be opened the next day.
pub fn merge(mut days: Vec<TickDay>, decimals: &BTreeMap<Symbol, u8>) -> Result<Merge, TickError> {
    days.sort_by(|one, other| order(one).cmp(&order(other)));
    let mut streams: Vec<Stream> = Vec::new();
    for day in days {
        match streams.last_mut() {
            Some(last) if last.source == day.source && last.symbol == day.symbol => last.days.push_back(day),
            _ => streams.push(Stream {
                source: Arc::clone(&day.source),
                symbol: day.symbol.clone(),
                decimals: *decimals
                    .get(&day.symbol)
                    .ok_or_else(|| TickError::NoDecimals(day.symbol.clone()))?,
                days: VecDeque::from([day]),
                file: None,
            }),
        }
    }
    let unread = (0..streams.len()).collect();
    Ok(Merge { streams, heads: BinaryHeap::new(), unread })
}

impl Stream {
    fn read(&mut self) -> Option<Result<Tick, TickError>> {
        loop {
            if let Some(row) = self.file.as_mut().and_then(Iterator::next) {
                return Some(row);
            }
            self.file = None;
            match TickFile::open(&self.days.pop_front()?, self.decimals) {
                Ok(file) => self.file = Some(file),
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl Iterator for Merge {
    type Item = Result<FeedQuote, TickError>;

    fn next(&mut self) -> Option<Self::Item> {
        while let Some(&stream) = self.unread.last() {
            match self.streams.get_mut(stream).and_then(Stream::read) {
                Some(Ok(Tick { source_time, bid, ask })) => {
                    self.heads.push(Reverse(Head { source_time, stream, bid, ask }));
                    self.unread.pop();
                }
                // The stream stays unread: its next row comes before anything else.
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    self.unread.pop();
                }
            }
        }
        let Reverse(Head { source_time, stream, bid, ask }) = self.heads.pop()?;
        self.unread.push(stream);
        let from = self.streams.get(stream)?;
        Some(Ok(FeedQuote {
            source: Arc::clone(&from.source),
            symbol: from.symbol.clone(),
            bid,
            ask,
            source_time,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn row(text: &str) -> Result<Tick, RowError> {
        read_row(text, Timestamp::EPOCH, 3)
    }

    fn at(millis: i64, tenths_of_micros: i64) -> Timestamp {
        let micros = millis.checked_mul(1_000).unwrap();
        Timestamp::from_micros(micros.checked_add(tenths_of_micros / 10).unwrap())
    }

    #[test]
    fn cuts_below_the_microsecond() {
        assert_eq!(micros_of_day("46.2042"), Some(46_204));
        assert_eq!(micros_of_day("46.20499999"), Some(46_204));
        assert_eq!(micros_of_day("49.769"), Some(49_769));
        assert_eq!(micros_of_day("49.7"), Some(49_700));
        assert_eq!(micros_of_day("277"), Some(277_000));
        assert_eq!(micros_of_day("86399999.9999"), Some(86_399_999_999));
        for bad in ["86400000", "-1", "-0.0004", "", ".5", "5.", "5.1234x", "5.1.2", "1e3", " 1", "5.é12"] {
            assert_eq!(micros_of_day(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn says_what_is_wrong_with_a_row() {
        assert_eq!(row(""), Err(RowError::Columns));
        assert_eq!(row("1,2"), Err(RowError::Columns));
        assert_eq!(row("1,2,3,4"), Err(RowError::Columns));
        assert_eq!(row("x,2,3"), Err(RowError::Time("x".into())));
        let price = |text: &str, source| Err(RowError::Price { text: text.into(), source });
        assert_eq!(row("1,1.2345,3"), price("1.2345", DecimalError::TooPrecise(3)));
        assert_eq!(row("1,1.2,NaN"), price("NaN", DecimalError::Malformed));
    }

    #[test]
    fn knows_the_zones_of_its_sources() {
        assert_eq!(zone_of("oanda"), Offset::UTC);
        assert_eq!(zone_of("fxcm"), Offset::constant(-5));
        assert_eq!(zone_of("elsewhere"), Offset::UTC);
    }

    proptest! {
        #[test]
        fn any_row_is_read_or_refused(text in ".{0,40}") {
            let _ = row(&text);
        }

        #[test]
        fn what_was_written_is_read(millis in 0_i64..86_400_000, part in 0_i64..10_000, bid: i32, ask: i32) {
            let (bid, ask) = (i64::from(bid), i64::from(ask));
            let text =
                format!("{millis}.{part:04},{},{}", decimal::format(bid, 3, 0), decimal::format(ask, 3, 0));
            let source_time = at(millis, part);
            prop_assert_eq!(row(&text), Ok(Tick { source_time, bid: Price(bid), ask: Price(ask) }));
        }
    }
}
