use kernel::{Price, Span, Symbol, Timestamp};

use super::*;
use crate::archive::{Archive, ToldBy, read_anywhere};

fn quote(position: u64) -> LoggedQuote {
    let value = i64::try_from(position).unwrap();
    let symbol = if position.is_multiple_of(3) { "XAUUSD" } else { "EURUSD" };
    LoggedQuote {
        position,
        symbol: Symbol::parse(symbol).unwrap(),
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

fn quotes(positions: std::ops::RangeInclusive<u64>) -> Vec<LoggedQuote> {
    positions.map(quote).collect()
}

fn whole(read: LoggedQuotes) -> Vec<LoggedQuote> {
    read.map(|quote| quote.unwrap()).collect()
}

fn file(directory: &Path, first: u64) -> PathBuf {
    directory.join(format!("{first:020}.quotes"))
}

/// A log whose segments close at `most` records.
fn log_of(directory: &Path, most: u64, batches: &[std::ops::RangeInclusive<u64>]) {
    let mut log = DiskQuoteLog::open_with(directory, most).unwrap();
    for batch in batches {
        log.append(&quotes(batch.clone())).unwrap();
    }
}

/// Every way in which one byte, or everything from one byte on, can be lost.
fn harmed(whole: &[u8], from: usize) -> impl Iterator<Item = (String, Vec<u8>)> + '_ {
    (from..whole.len()).flat_map(move |at| {
        let cut = (format!("cut at {at}"), whole[..at].to_vec());
        let mut zeroed = whole.to_vec();
        zeroed[at..].fill(0);
        let flips = [0x01, 0x80].into_iter().map(move |bits| {
            let mut flipped = whole.to_vec();
            flipped[at] ^= bits;
            (format!("byte {at} flipped by {bits:#x}"), flipped)
        });
        [cut, (format!("zeroed from {at}"), zeroed)].into_iter().chain(flips)
    })
}

#[test]
fn whatever_byte_is_harmed_an_acknowledged_quote_is_there_or_the_log_refuses() {
    let directory = tempfile::tempdir().unwrap();
    log_of(directory.path(), 100, &[1..=3, 4..=4, 5..=6]);
    let path = file(directory.path(), 1);
    let good = std::fs::read(&path).unwrap();
    assert_eq!(good.len(), 7 * RECORD, "a header and six records");
    for (how, bytes) in harmed(&good, 0) {
        if bytes == good {
            continue;
        }
        std::fs::write(&path, &bytes).unwrap();
        let refused = DiskQuoteLog::open(directory.path()).map(|_| ()).unwrap_err();
        assert!(
            matches!(
                refused,
                QuoteLogError::Damaged { .. } | QuoteLogError::Lost { .. } | QuoteLogError::Header { .. }
            ),
            "{how}: {refused}"
        );
        assert_eq!(std::fs::read(&path).unwrap(), bytes, "{how}: a log that refuses changes nothing");
        let read: Result<Vec<_>, _> = super::read(directory.path(), 1).unwrap().collect();
        assert!(read.is_err(), "{how}: a reader sees it too");
        let checked = verify(directory.path()).unwrap();
        assert!(checked.iter().any(|segment| segment.fault.is_some()), "{how}: and so does who asks");
    }
}

#[test]
fn what_was_never_acknowledged_may_be_torn_in_any_way() {
    let directory = tempfile::tempdir().unwrap();
    log_of(directory.path(), 100, &[1..=4]);
    let path = file(directory.path(), 1);
    let acknowledged = std::fs::read(&path).unwrap();
    let mut good = acknowledged.clone();
    for unacknowledged in quotes(5..=7) {
        encode(&unacknowledged, &mut good);
    }
    let mark = std::fs::read(directory.path().join("acknowledged")).unwrap();
    let (mut opened, mut refused) = (0, 0);
    for (how, bytes) in harmed(&good, acknowledged.len()) {
        std::fs::write(&path, &bytes).unwrap();
        std::fs::write(directory.path().join("acknowledged"), &mark).unwrap();
        let mut follower = Follower::open(directory.path(), 1).unwrap();
        assert_eq!(follower.next_batch(100).unwrap(), quotes(1..=4), "{how}: not yet, and no damage");
        match DiskQuoteLog::open(directory.path()) {
            Ok(mut log) => {
                opened += 1;
                let last = log.last().unwrap().position;
                assert!((4..=7).contains(&last), "{how}");
                assert_eq!(whole(log.read(1).unwrap()), quotes(1..=last), "{how}");
                log.append(&[quote(last + 1)]).unwrap();
                assert_eq!(whole(log.read(1).unwrap()), quotes(1..=last + 1), "{how}");
                assert_eq!(follower.next_batch(100).unwrap(), quotes(5..=last + 1), "{how}");
            }
            // A good record stands behind the bad one: no crash leaves that.
            Err(QuoteLogError::Damaged { .. }) => refused += 1,
            Err(other) => panic!("{how}: {other}"),
        }
    }
    assert!(opened > 0 && refused > 0, "{opened} {refused}");
}

#[test]
fn a_mark_that_lies_behind_or_is_gone_still_keeps_what_is_certain() {
    let directory = tempfile::tempdir().unwrap();
    log_of(directory.path(), 100, &[1..=6]);
    let path = file(directory.path(), 1);
    let good = std::fs::read(&path).unwrap();
    let mut mark = 3_u64.to_le_bytes().to_vec();
    mark.extend(crc32fast::hash(&mark).to_le_bytes());
    for (marked, mark) in [(3, Some(mark)), (0, Some(vec![0; 12])), (0, None)] {
        for (how, bytes) in harmed(&good, 0) {
            std::fs::write(&path, &bytes).unwrap();
            match &mark {
                Some(mark) => std::fs::write(directory.path().join("acknowledged"), mark).unwrap(),
                None => std::fs::remove_file(directory.path().join("acknowledged")).unwrap_or_default(),
            }
            if let Ok(log) = DiskQuoteLog::open(directory.path()) {
                let last = log.last().map_or(0, |last| last.position);
                assert!(last >= marked, "{how}");
                assert_eq!(whole(log.read(1).unwrap()), quotes(1..=last), "{how}: no hole");
            }
        }
    }
}

#[test]
fn a_log_without_headers_is_read_and_continued() {
    let directory = tempfile::tempdir().unwrap();
    let mut old = Vec::new();
    for quote in quotes(1..=3) {
        encode(&quote, &mut old);
    }
    let path = file(directory.path(), 1);
    for torn in 0..RECORD {
        let _there_was_none_at_first = std::fs::remove_file(directory.path().join("acknowledged"));
        std::fs::write(&path, &old[..old.len() - torn]).unwrap();
        let end = if torn == 0 { 3 } else { 2 };
        let mut follower = Follower::open(directory.path(), 2).unwrap();
        assert_eq!(follower.next_batch(10).unwrap(), quotes(2..=end), "before any writer of today");
        let mut log = DiskQuoteLog::open(directory.path()).unwrap();
        assert_eq!(log.last(), Some(&quote(end)));
        log.append(&quotes(end + 1..=5)).unwrap();
        assert_eq!(whole(log.read(1).unwrap()), quotes(1..=5));
        assert_eq!(follower.next_batch(10).unwrap(), quotes(end + 1..=5));
    }
    let found = survey(directory.path()).unwrap();
    assert_eq!((found[0].records, found[0].header, found[0].last), (5, false, Some(5)));
    let mut damaged = std::fs::read(&path).unwrap();
    damaged[RECORD + 30] ^= 1;
    std::fs::write(&path, damaged).unwrap();
    let error = DiskQuoteLog::open(directory.path()).unwrap_err();
    assert!(matches!(error, QuoteLogError::Damaged { record: 1, .. }), "{error}");
}

#[test]
fn closed_segments_are_whole_or_reading_them_fails() {
    let directory = tempfile::tempdir().unwrap();
    log_of(directory.path(), 2, &[1..=2, 3..=4, 5..=6, 7..=7]);
    let second = file(directory.path(), 3);
    let good = std::fs::read(&second).unwrap();
    let read = || super::read(directory.path(), 1).unwrap().collect::<Result<Vec<_>, _>>();
    assert_eq!(read().unwrap(), quotes(1..=7));
    for (how, bytes) in harmed(&good, 0) {
        if bytes == good {
            continue;
        }
        std::fs::write(&second, &bytes).unwrap();
        assert!(read().is_err(), "{how}");
        let mut follower = Follower::open(directory.path(), 1).unwrap();
        let mut seen = Vec::new();
        let failed = loop {
            match follower.next_batch(1) {
                Ok(next) if next.is_empty() => panic!("{how}: {seen:?}"),
                Ok(next) => seen.extend(next),
                Err(error) => break error,
            }
        };
        assert!(seen.len() <= 4 && seen == quotes(1..=seen.len().try_into().unwrap()), "{how}: {failed}");
        assert!(verify(directory.path()).unwrap().iter().any(|segment| segment.fault.is_some()), "{how}");
    }
    std::fs::remove_file(&second).unwrap();
    let error = read().unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "quotes after 2 and before 5 are missing in {}: restore them from a copy",
            directory.path().display()
        )
    );
}

#[test]
fn a_lost_segment_at_the_end_is_noticed() {
    let directory = tempfile::tempdir().unwrap();
    log_of(directory.path(), 2, &[1..=2, 3..=4, 5..=5]);
    std::fs::remove_file(file(directory.path(), 5)).unwrap();
    let error = DiskQuoteLog::open(directory.path()).unwrap_err();
    assert!(matches!(error, QuoteLogError::Lost { end: 4, acknowledged: 5, .. }), "{error}");
    std::fs::remove_file(directory.path().join("acknowledged")).unwrap();
    let log = DiskQuoteLog::open(directory.path()).unwrap();
    assert_eq!(log.last(), Some(&quote(4)), "whoever deletes the mark goes on without them");
}

#[test]
fn several_writes_share_one_sync_and_are_seen_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = DiskQuoteLog::open_with(directory.path(), 3).unwrap();
    let mut follower = Follower::open(directory.path(), 1).unwrap();
    log.write(&quotes(1..=2)).unwrap();
    log.write(&quotes(3..=5)).unwrap();
    assert!(log.last().is_none() && follower.next_batch(10).unwrap().is_empty(), "not promised yet");
    assert!(matches!(log.write(&quotes(5..=5)), Err(QuoteLogError::OutOfOrder(5))));
    log.sync().unwrap();
    assert_eq!(log.last(), Some(&quote(5)));
    assert_eq!(follower.next_batch(10).unwrap(), quotes(1..=5));
    log.append(&quotes(6..=6)).unwrap();
    let segments: Vec<_> = survey(directory.path()).unwrap();
    let sizes: Vec<_> = segments.iter().map(|segment| (segment.first, segment.records)).collect();
    assert_eq!(sizes, [(1, 5), (6, 1)], "what is promised together stands together");
}

#[test]
fn a_failed_append_leaves_nothing_behind() {
    let directory = tempfile::tempdir().unwrap();
    let mut log = DiskQuoteLog::open(directory.path()).unwrap();
    log.append(&quotes(1..=2)).unwrap();
    let before = std::fs::read(file(directory.path(), 1)).unwrap();
    // The mark cannot be written: the append fails after its quotes have reached the disk.
    let read_only = File::open(directory.path().join("acknowledged")).unwrap();
    let mark = std::mem::replace(&mut log.mark, read_only);
    assert!(log.append(&quotes(3..=4)).is_err());
    assert_eq!(std::fs::read(file(directory.path(), 1)).unwrap(), before);
    assert_eq!(log.last(), Some(&quote(2)));
    log.mark = mark;
    // The sequencer does not give a place twice.
    log.append(&quotes(5..=6)).unwrap();
    assert_eq!(read(&log, 1), [1, 2, 5, 6]);
    // Nothing can be written, and nothing be taken back.
    let open = log.segment.as_mut().unwrap();
    open.file = File::open(&open.path).unwrap();
    for _ in 0..2 {
        let error = log.append(&quotes(7..=8)).unwrap_err();
        assert!(error.to_string().contains("could not take back a failed append"), "{error}");
    }
    drop(log);
    let mut log = DiskQuoteLog::open(directory.path()).unwrap();
    log.append(&quotes(9..=9)).unwrap();
    assert_eq!(read(&log, 1), [1, 2, 5, 6, 9]);
}

#[test]
fn a_closed_segment_takes_no_more_even_if_its_successor_is_empty() {
    let directory = tempfile::tempdir().unwrap();
    log_of(directory.path(), 10, &[1..=2]);
    segment::create(directory.path(), 9, 2).unwrap();
    log_of(directory.path(), 10, &[]);
    log_of(directory.path(), 10, &[3..=4]);
    let found: Vec<_> = survey(directory.path()).unwrap();
    let found: Vec<_> = found.iter().map(|segment| (segment.first, segment.last)).collect();
    assert_eq!(found, [(1, Some(2)), (3, Some(4))]);
    assert_eq!(whole(super::read(directory.path(), 1).unwrap()), quotes(1..=4));
}

#[test]
fn a_follower_goes_on_over_segments_gaps_and_restarts_and_tells_what_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let mut from_start = Follower::open(directory.path(), 1).unwrap();
    let mut from_later = Follower::open(directory.path(), 4).unwrap();
    assert!(from_start.next_batch(10).unwrap().is_empty(), "the log is not there yet");
    log_of(directory.path(), 2, &[1..=1]);
    assert_eq!(from_start.next_batch(10).unwrap(), quotes(1..=1));
    assert!(from_later.next_batch(10).unwrap().is_empty());
    log_of(directory.path(), 2, &[2..=3, 4..=6]);
    assert_eq!(from_start.next_batch(2).unwrap(), quotes(2..=3));
    assert_eq!(from_start.next_batch(9).unwrap(), quotes(4..=6));
    assert_eq!(from_later.next_batch(9).unwrap(), quotes(4..=6));
    log_of(directory.path(), 2, &[10..=11, 12..=12, 13..=13]);
    assert_eq!(from_start.next_batch(9).unwrap(), quotes(10..=13), "places that were lost are passed over");
    assert_eq!(from_start.position(), 14);
    let mut keeper =
        Keeper::new(directory.path(), None, Retention { most_bytes: 0, least_age: Span::from_seconds(0) });
    let kept = keeper.keep(14, Timestamp::from_micros(1_000)).unwrap();
    assert_eq!((kept.deleted, kept.oldest), (3, Some(12)));
    let gone = Follower::open(directory.path(), 2).unwrap().next_batch(9).unwrap_err();
    assert!(matches!(gone, QuoteLogError::Gone { wanted: 2, oldest: 12 }), "{gone}");
    // It stands at quote 6, whose segment it holds open, and the one behind is gone.
    let gone = from_later.next_batch(9).unwrap_err();
    assert!(matches!(gone, QuoteLogError::Gone { wanted: 7, oldest: 12 }), "{gone}");
    assert_eq!(whole(super::read(directory.path(), 1).unwrap()), quotes(12..=13), "what is left");
}

#[test]
fn retention_deletes_only_what_is_old_unneeded_and_archived() {
    let directory = tempfile::tempdir().unwrap();
    let archive = tempfile::tempdir().unwrap();
    log_of(directory.path(), 2, &[1..=2, 3..=4, 5..=6, 7..=8, 9..=9]);
    let bytes = u64::try_from(3 * RECORD).unwrap();
    let retention = Retention { most_bytes: 2 * bytes, least_age: Span::from_micros(5) };
    let mut keeper = Keeper::new(directory.path(), None, retention);
    let now = Timestamp::from_micros(16);
    let kept = keeper.keep(2, now).unwrap();
    assert_eq!((kept.deleted, kept.held, kept.bytes), (0, Some(Held::Needed), 14 * bytes / 3));
    assert_eq!(kept.over, kept.bytes - retention.most_bytes);
    let kept = keeper.keep(3, now).unwrap();
    assert_eq!((kept.deleted, kept.oldest, kept.held), (1, Some(3), Some(Held::Needed)));
    // Quote 4 was received 5 us before, quote 6 only 3 us.
    let kept = keeper.keep(100, now).unwrap();
    assert_eq!((kept.deleted, kept.oldest, kept.held), (1, Some(5), Some(Held::Young)));
    let mut keeper = Keeper::new(directory.path(), Some(Archive::new(archive.path())), retention);
    let kept = keeper.keep(100, Timestamp::from_micros(1_000)).unwrap();
    assert_eq!((kept.archived, kept.deleted, kept.oldest, kept.held), (2, 1, Some(7), None));
    assert_eq!(kept.over, 0);
    let to_archive = Archive::new(archive.path());
    assert_eq!(whole(read_anywhere(Some(&to_archive), directory.path(), 5).unwrap()), quotes(5..=9));
    let none = Retention { most_bytes: 0, least_age: Span::from_seconds(0) };
    // The archive has lost it: it is archived again before it is deleted.
    std::fs::remove_file(archive.path().join(format!("{:020}-{:020}.parquet", 7, 8))).unwrap();
    let mut keeper = Keeper::new(directory.path(), Some(to_archive.clone()), none);
    let kept = keeper.keep(100, Timestamp::from_micros(1_000)).unwrap();
    assert_eq!((kept.archived, kept.deleted, kept.oldest, kept.held), (1, 1, Some(9), Some(Held::Open)));
    assert_eq!(whole(read_anywhere(Some(&to_archive), directory.path(), 6).unwrap()), quotes(6..=9));
    // An archive that cannot be written keeps everything.
    log_of(directory.path(), 2, &[10..=11, 12..=12]);
    let file = archive.path().join("a file");
    std::fs::write(&file, "").unwrap();
    let mut keeper = Keeper::new(directory.path(), Some(Archive::new(&file)), none);
    assert!(keeper.keep(100, Timestamp::from_micros(1_000)).is_err());
    assert_eq!(whole(super::read(directory.path(), 1).unwrap()), quotes(9..=12));
}

#[test]
fn an_archive_of_another_log_is_neither_overwritten_nor_trusted() {
    let (one, other, archive) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let archive = Archive::new(archive.path());
    log_of(one.path(), 2, &[1..=2, 3..=3]);
    archive.take(one.path(), ToldBy::Quotes).unwrap();
    let mut log = DiskQuoteLog::open_with(other.path(), 2).unwrap();
    let mut different = quotes(1..=3);
    different[0].bid = Price(77);
    for quote in different.chunks(2) {
        log.append(quote).unwrap();
    }
    let error = archive.take(other.path(), ToldBy::Quotes).unwrap_err();
    assert!(error.to_string().contains("belongs to another log"), "{error}");
    let none = Retention { most_bytes: 0, least_age: Span::from_seconds(0) };
    let mut keeper = Keeper::new(other.path(), Some(archive), none);
    assert!(keeper.keep(100, Timestamp::from_micros(1_000)).is_err());
    assert_eq!(read(&log, 1), [1, 2, 3]);
}
