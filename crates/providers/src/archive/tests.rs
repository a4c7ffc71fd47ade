use app::trading::QuoteLog as _;

use super::*;
use crate::quote_log::{DiskQuoteLog, Keeper, Retention};

fn quote(position: u64) -> LoggedQuote {
    let value = position.cast_signed();
    let symbol = ["EURUSD", "US500", "ABCDEFGHIJKLMNOP"][usize::try_from(position % 3).unwrap()];
    let (bid, ask) = if position == 5 { (i64::MIN, i64::MAX) } else { (value, value.saturating_add(2)) };
    LoggedQuote {
        position,
        symbol: Symbol::parse(symbol).unwrap(),
        bid: Price(bid),
        ask: Price(ask),
        source_time: Timestamp::from_micros(value.saturating_neg()),
        received_at: Timestamp::from_micros(value.saturating_add(1_700_000_000_000_000)),
    }
}

fn quotes(positions: std::ops::RangeInclusive<u64>) -> Vec<LoggedQuote> {
    positions.map(quote).collect()
}

fn log_of(directory: &Path, most: u64, batches: &[std::ops::RangeInclusive<u64>]) {
    let mut log = DiskQuoteLog::open_with(directory, most).unwrap();
    for batch in batches {
        log.append(&quotes(batch.clone())).unwrap();
    }
}

fn all(read: LoggedQuotes) -> Vec<LoggedQuote> {
    read.map(|quote| quote.unwrap()).collect()
}

fn remove(log: &Path, first: u64) {
    std::fs::remove_file(log.join(format!("{first:020}.quotes"))).unwrap();
}

fn files(archive: &Archive) -> Vec<(u64, u64)> {
    archive.list().unwrap().into_iter().map(|archived| (archived.first, archived.last)).collect()
}

struct Place {
    log: tempfile::TempDir,
    _kept: tempfile::TempDir,
    archive: Archive,
}

fn place() -> Place {
    let (log, kept) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let archive = Archive::new(&kept.path().join("archive"));
    Place { log, _kept: kept, archive }
}

#[test]
fn closed_segments_come_back_as_they_were_and_once() {
    let Place { log, archive, .. } = place();
    assert!(archive.list().unwrap().is_empty(), "there is no directory yet");
    log_of(log.path(), 5, &[1..=6, 7..=12, 13..=13]);
    let taken = archive.take(log.path(), ToldBy::Quotes).unwrap();
    assert_eq!((taken.archived.len(), taken.already), (2, 0));
    assert_eq!(files(&archive), [(1, 6), (7, 12)], "the open one stays");
    let name = format!("{:020}-{:020}.parquet", 1, 6);
    let before = std::fs::read(archive.directory().join(&name)).unwrap();
    for told_by in [ToldBy::Name, ToldBy::Quotes] {
        let taken = archive.take(log.path(), told_by).unwrap();
        assert_eq!((taken.archived.len(), taken.already), (0, 2), "again does nothing");
    }
    assert_eq!(std::fs::read(archive.directory().join(&name)).unwrap(), before);
    for archived in archive.list().unwrap() {
        assert_eq!(archive.verify(&archived).unwrap(), 6);
    }
    remove(log.path(), 1);
    for from in 1..=14 {
        assert_eq!(
            all(read_anywhere(Some(&archive), log.path(), from).unwrap()),
            quotes(from..=13),
            "{from}"
        );
    }
    assert_eq!(all(read_anywhere(None, log.path(), 1).unwrap()), quotes(7..=13), "the log alone");
    assert_eq!(all(read_anywhere(Some(&archive), log.path(), 0).unwrap()), quotes(1..=13));
}

#[test]
fn a_segment_of_several_row_groups_is_read_from_any_of_them() {
    let Place { log, archive, .. } = place();
    let end = u64::try_from(GROUP).unwrap() * 2 + 3;
    log_of(log.path(), end, &[1..=end, end + 1..=end + 1]);
    archive.take(log.path(), ToldBy::Name).unwrap();
    remove(log.path(), 1);
    let group = u64::try_from(GROUP).unwrap();
    for from in [1, group, group + 1, 2 * group, 2 * group + 1, end, end + 1] {
        let read = all(read_anywhere(Some(&archive), log.path(), from).unwrap());
        assert_eq!(read.first(), Some(&quote(from)));
        assert_eq!(read, quotes(from..=end + 1));
    }
    let archived = archive.list().unwrap().remove(0);
    assert_eq!(archive.verify(&archived).unwrap(), end);
    assert!(archived.bytes < end * 20, "{} bytes, where the segment has 60 for each quote", archived.bytes);
}

#[test]
fn a_run_that_was_killed_is_finished_by_the_next() {
    let Place { log, archive, .. } = place();
    log_of(log.path(), 2, &[1..=2, 3..=4, 5..=5]);
    archive.take(log.path(), ToldBy::Quotes).unwrap();
    let path = archive.path(3, 4);
    let whole = std::fs::read(&path).unwrap();
    let part = path.with_extension("parquet.part");
    for length in (0..=whole.len()).step_by(37) {
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&part, &whole[..length]).unwrap();
        if length % 2 == 0 {
            std::fs::remove_file(sum_path(&path)).unwrap();
        }
        assert_eq!(files(&archive), [(1, 2)], "half a file is no archived segment");
        archive.take(log.path(), ToldBy::Quotes).unwrap();
        assert_eq!(files(&archive), [(1, 2), (3, 4)]);
        assert!(!part.exists());
        assert_eq!(std::fs::read(&path).unwrap(), whole, "the same file again");
    }
}

#[test]
fn whatever_byte_of_an_archived_file_is_harmed_no_quote_comes_out() {
    let Place { log, archive, .. } = place();
    log_of(log.path(), 20, &[1..=20, 21..=21]);
    archive.take(log.path(), ToldBy::Quotes).unwrap();
    remove(log.path(), 1);
    let path = archive.path(1, 20);
    let whole = std::fs::read(&path).unwrap();
    let beside = sum_path(&path);
    let sum = std::fs::read(&beside).unwrap();
    let refused = |how: &str| {
        assert!(archive.verify(&archive.list().unwrap()[0]).is_err(), "{how}");
        let mut read = read_anywhere(Some(&archive), log.path(), 1).unwrap();
        assert!(read.next().unwrap().is_err() && read.next().is_none(), "{how}");
        let mut keeper = Keeper::new(log.path(), Some(archive.clone()), Retention::default());
        assert!(
            keeper.keep(1, Timestamp::EPOCH).is_ok(),
            "{how}: what is there is not looked at every minute"
        );
    };
    for at in 0..whole.len() {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x11;
        for bytes in [flipped, whole[..at].to_vec()] {
            std::fs::write(&path, &bytes).unwrap();
            refused(&format!("byte {at}"));
        }
    }
    std::fs::write(&path, &whole).unwrap();
    for at in 0..64 {
        let mut flipped = sum.clone();
        flipped[at] ^= 0x11;
        std::fs::write(&beside, &flipped).unwrap();
        refused(&format!("byte {at} of the checksum"));
    }
    std::fs::write(&beside, &sum).unwrap();
    assert_eq!(all(read_anywhere(Some(&archive), log.path(), 1).unwrap()), quotes(1..=21));
}

#[test]
fn a_hole_between_archive_and_log_is_told() {
    let Place { log, archive, .. } = place();
    log_of(log.path(), 2, &[1..=2, 3..=4, 5..=6, 9..=10, 11..=11]);
    archive.take(log.path(), ToldBy::Quotes).unwrap();
    for first in [1, 3, 5] {
        remove(log.path(), first);
    }
    let everything: Vec<_> = quotes(1..=6).into_iter().chain(quotes(9..=11)).collect();
    assert_eq!(all(read_anywhere(Some(&archive), log.path(), 1).unwrap()), everything);
    assert!(archive.holes().unwrap().is_empty(), "places that were lost before the log had them are no hole");
    for (first, last, missing) in
        [(3, 4, "quotes after 2 and before 5 "), (5, 6, "quotes after 4 and before 9 ")]
    {
        let path = archive.path(first, last);
        let bytes = std::fs::read(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let read: Result<Vec<_>, _> = read_anywhere(Some(&archive), log.path(), 1).unwrap().collect();
        let error = read.unwrap_err().to_string();
        assert!(error.starts_with(missing), "{error}");
        std::fs::write(&path, bytes).unwrap();
    }
    std::fs::remove_file(archive.path(3, 4)).unwrap();
    assert_eq!(archive.holes().unwrap(), [(2, 5)]);
}

#[test]
fn what_retention_takes_while_it_is_read_comes_from_the_archive() {
    let Place { log, archive, .. } = place();
    log_of(log.path(), 2, &[1..=2, 3..=4, 5..=6, 7..=8, 9..=9]);
    let mut reading = read_anywhere(Some(&archive), log.path(), 1).unwrap();
    assert_eq!(reading.next().unwrap().unwrap(), quote(1));
    archive.take(log.path(), ToldBy::Quotes).unwrap();
    for first in [1, 3, 5] {
        remove(log.path(), first);
    }
    assert_eq!(all(Box::new(reading)), quotes(2..=9));
}
