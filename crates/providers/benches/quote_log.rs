//! What an append to the quote log costs on a disk, and reading, following and archiving. Prints one JSON object.
//!
//! `cargo xtask bench quote-log [-- --dir DIR]`; without a directory, the system's one for temporary files.
#![expect(clippy::unwrap_used, clippy::print_stdout, reason = "a measurement ends where it cannot go on")]

use std::fmt::Write as _;
use std::fs::File;
use std::io::Write as _;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use app::trading::{LoggedQuote, QuoteLog as _};
use kernel::{Price, Symbol, Timestamp};
use providers::archive::{Archive, ToldBy, read_anywhere};
use providers::quote_log::{DiskQuoteLog, Follower};

/// Quotes that are read, followed and archived: two full segments and the beginning of a third.
const HISTORY: u64 = 2_000_001;

#[expect(clippy::disallowed_methods, reason = "a measurement reads the wall clock")]
fn now() -> Instant {
    Instant::now()
}

/// Prices that walk, of ten instruments, 1 ms apart.
fn quotes(from: u64, count: u64) -> Vec<LoggedQuote> {
    let symbols =
        ["EURUSD", "GBPUSD", "USDJPY", "AUDUSD", "USDCAD", "XAUUSD", "US500", "DE40", "BTCUSD", "USDCHF"];
    let quote = |position: u64| {
        let mixed = mix(position);
        let index = usize::try_from(mixed.checked_rem(10).unwrap()).unwrap();
        let wave = mix(!mixed).checked_rem(40).unwrap().saturating_add(position.checked_div(5_000).unwrap());
        let bid = i64::try_from(wave).unwrap().saturating_add(100_000);
        let at = i64::try_from(position).unwrap().saturating_mul(1_000).saturating_add(1_700_000_000_000_000);
        LoggedQuote {
            position,
            symbol: Symbol::parse(symbols.get(index).unwrap()).unwrap(),
            bid: Price(bid),
            ask: Price(bid.saturating_add(i64::try_from(mix(mixed).checked_rem(7).unwrap()).unwrap())),
            source_time: Timestamp::from_micros(at.saturating_sub(350)),
            received_at: Timestamp::from_micros(at),
        }
    };
    (from..from.saturating_add(count)).map(quote).collect()
}

struct Times(Vec<Duration>);

impl Times {
    fn of(rounds: u64, mut once: impl FnMut(u64)) -> Self {
        let time = |round| {
            let started = now();
            once(round);
            started.elapsed()
        };
        Self::new((0..rounds).map(time).collect())
    }

    fn new(mut times: Vec<Duration>) -> Self {
        times.sort();
        Self(times)
    }

    fn at(&self, percent: usize) -> u128 {
        let index = self.0.len().saturating_sub(1).saturating_mul(percent).checked_div(100).unwrap();
        self.0.get(index).unwrap().as_micros()
    }

    fn json(&self, quotes_at_once: u64) -> String {
        let total: Duration = self.0.iter().sum();
        let quotes = quotes_at_once.saturating_mul(u64::try_from(self.0.len()).unwrap());
        let (p50, p99, max) = (self.at(50), self.at(99), self.at(100));
        let rate = rate(quotes, total);
        format!(
            "{{\"quotes_at_once\":{quotes_at_once},\"rounds\":{},\"quotes_per_second\":{rate},\"p50_us\":{p50},\"p99_us\":{p99},\"max_us\":{max}}}",
            self.0.len()
        )
    }
}

fn rate(quotes: u64, took: Duration) -> u128 {
    u128::from(quotes).saturating_mul(1_000_000).checked_div(took.as_micros().max(1)).unwrap()
}

/// Bits without a pattern.
fn mix(number: u64) -> u64 {
    let mut bits = number.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    bits ^ (bits >> 31)
}

fn main() {
    let mut arguments = std::env::args().skip_while(|argument| argument != "--dir").skip(1);
    let parent = arguments.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let place = tempfile::tempdir_in(parent).unwrap();
    let directory = place.path().join("quotes");
    let mut log = DiskQuoteLog::open(&directory).unwrap();
    let mut out = String::from("{");
    let mut next = 1_u64;
    for (quotes_at_once, rounds) in [(1, 1_000), (10, 1_000), (100, 1_000), (1_000, 300)] {
        // A bare file takes the same number of bytes in turn with the log: what the disk gives at best, at that time.
        let mut file = File::create(place.path().join("bare")).unwrap();
        let bytes = vec![7; usize::try_from(quotes_at_once).unwrap().saturating_mul(60)];
        let (mut raw, mut appended) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            let started = now();
            file.write_all(&bytes).unwrap();
            file.sync_data().unwrap();
            raw.push(started.elapsed());
            let batch = quotes(next, quotes_at_once);
            next = next.saturating_add(quotes_at_once);
            let started = now();
            log.append(&batch).unwrap();
            appended.push(started.elapsed());
        }
        let (raw, appended) = (Times::new(raw), Times::new(appended));
        write!(out, "\"append_{quotes_at_once}\":{},", appended.json(quotes_at_once)).unwrap();
        write!(out, "\"bare_file_{quotes_at_once}\":{},", raw.json(quotes_at_once)).unwrap();
    }
    // Ten appends that wait together share one sync.
    let grouped = Times::of(300, |_| {
        for _ in 0..10 {
            log.write(&quotes(next, 10)).unwrap();
            next = next.saturating_add(10);
        }
        log.sync().unwrap();
    });
    write!(out, "\"ten_writes_of_10_one_sync\":{},", grouped.json(100)).unwrap();
    // The same without the disk: encoding and writing.
    let mut written = Vec::with_capacity(5_000);
    for _ in 0..5_000 {
        let ten = quotes(next, 10);
        next = next.saturating_add(10);
        let started = now();
        log.write(&ten).unwrap();
        written.push(started.elapsed());
    }
    log.sync().unwrap();
    write!(out, "\"write_10_without_sync\":{},", Times::new(written).json(10)).unwrap();
    while next <= HISTORY {
        let more = HISTORY.saturating_add(1).saturating_sub(next).min(20_000);
        log.append(&quotes(next, more)).unwrap();
        next = next.saturating_add(more);
    }
    let started = now();
    let read: u64 =
        providers::quote_log::read(&directory, 1).unwrap().map(|quote| u64::from(quote.is_ok())).sum();
    assert_eq!(read, HISTORY);
    write!(out, "\"read_quotes_per_second\":{},", rate(read, started.elapsed())).unwrap();
    let mut follower = Follower::open(&directory, HISTORY).unwrap();
    assert_eq!(follower.next_batch(10).unwrap().len(), 1);
    let idle = Times::of(10_000, |_| assert!(follower.next_batch(10).unwrap().is_empty()));
    write!(
        out,
        "\"follower_empty_poll_p50_us\":{},\"follower_empty_poll_p99_us\":{},",
        idle.at(50),
        idle.at(99)
    )
    .unwrap();
    let started = now();
    drop(log);
    let log = DiskQuoteLog::open(&directory).unwrap();
    write!(out, "\"open_ms\":{},", started.elapsed().as_millis()).unwrap();
    let archive = Archive::new(&place.path().join("archive"));
    let started = now();
    let taken = archive.take(&directory, ToldBy::Quotes).unwrap();
    let took = started.elapsed();
    let archived: u64 =
        taken.archived.iter().map(|file| file.last.saturating_sub(file.first).saturating_add(1)).sum();
    let bytes: u64 = taken.archived.iter().map(|file| file.bytes).sum();
    let per_thousand = bytes.saturating_mul(1_000).checked_div(archived).unwrap();
    write!(out, "\"archived_quotes\":{archived},\"archive_quotes_per_second\":{},", rate(archived, took))
        .unwrap();
    write!(out, "\"archive_bytes_per_1000_quotes\":{per_thousand},\"segment_bytes_per_1000_quotes\":60000,")
        .unwrap();
    drop(log);
    for file in std::fs::read_dir(&directory).unwrap() {
        let path = file.unwrap().path();
        if path.ends_with(format!("{:020}.quotes", 1)) {
            std::fs::remove_file(path).unwrap();
        }
    }
    let started = now();
    let first = taken.archived.first().unwrap().last;
    let from_archive = read_anywhere(Some(&archive), &directory, 1).unwrap();
    let read: u64 = from_archive
        .take_while(|quote| quote.as_ref().unwrap().position <= first)
        .count()
        .try_into()
        .unwrap();
    assert_eq!(read, first);
    write!(out, "\"archive_read_quotes_per_second\":{}}}", rate(read, started.elapsed())).unwrap();
    println!("{out}");
}
