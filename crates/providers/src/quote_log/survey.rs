//! What a log holds, and whether all of it is good; for people and metrics. Changes nothing.

use std::path::Path;

use app::trading::LoggedQuote;
use kernel::Timestamp;

use super::follower::end_of;
use super::segment::{self, Head, Place, damaged, examine, read_records};
use super::{QuoteLogError, io_error, mark};

/// One segment, as its file's length and its two ends tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surveyed {
    /// The position it is named by.
    pub first: u64,
    /// Its last whole record; none in an empty one.
    pub last: Option<u64>,
    /// Whole records, read or not.
    pub records: u64,
    /// Bytes of the file.
    pub bytes: u64,
    /// Whether another one follows, so that it does not change any more.
    pub closed: bool,
    /// Whether it has a header; those of earlier releases have none.
    pub header: bool,
    /// When its first quote was received.
    pub begins: Option<Timestamp>,
    /// When its last quote was received.
    pub ends: Option<Timestamp>,
}

/// The segments of a log, oldest first.
pub fn survey(directory: &Path) -> Result<Vec<Surveyed>, QuoteLogError> {
    Ok(survey_places(directory)?.into_iter().map(|(_, surveyed)| surveyed).collect())
}

pub(super) fn survey_places(directory: &Path) -> Result<Vec<(Place, Surveyed)>, QuoteLogError> {
    let places = segment::list(directory)?;
    let newest = places.last().map(|place| place.first);
    let mut found = Vec::with_capacity(places.len());
    for place in places {
        let Some((mut file, head)) = segment::open(&place)? else { continue };
        let bytes = file.metadata().map_err(io_error("reading", &place.path))?.len();
        let (records, _) = head.records(bytes);
        let mut at = |record: u64| -> Result<Option<LoggedQuote>, QuoteLogError> {
            let read = read_records(&mut file, head, place.first, record, 1);
            Ok(read.map_err(io_error("reading", &place.path))?.0.pop())
        };
        let begins = at(0)?.map(|quote| quote.received_at);
        let last = match records.checked_sub(1) {
            Some(last) => at(last)?,
            None => None,
        };
        let surveyed = Surveyed {
            first: place.first,
            last: records.checked_sub(1).and_then(|more| place.first.checked_add(more)),
            records,
            bytes,
            closed: newest != Some(place.first),
            header: head.after.is_some(),
            begins,
            ends: last.map(|last| last.received_at),
        };
        found.push((place, surveyed));
    }
    Ok(found)
}

/// One segment that was read through.
#[derive(Debug)]
pub struct Checked {
    /// The position it is named by.
    pub first: u64,
    /// Good records from its beginning.
    pub records: u64,
    /// Whether bytes stand behind what was acknowledged, as a crash or a writer at work leaves them: no fault.
    pub torn: bool,
    /// What is wrong with it.
    pub fault: Option<QuoteLogError>,
}

/// Reads every record of every segment. Damage does not end it: it is told for each segment.
pub fn verify(directory: &Path) -> Result<Vec<Checked>, QuoteLogError> {
    let acknowledged = mark::read(directory)?;
    let places = segment::list(directory)?;
    let newest = places.last().map(|place| place.first);
    let mut end = None;
    let mut found = Vec::with_capacity(places.len());
    for place in &places {
        let newest = newest == Some(place.first);
        let mut checked = Checked { first: place.first, records: 0, torn: false, fault: None };
        match examine(place) {
            Ok(examined) => {
                checked.records = examined.good;
                checked.torn = examined.torn;
                checked.fault = missing(directory, end, examined.head, place);
                end = end_of(place, examined.head, examined.good).or(end);
                let lost = end.unwrap_or_default() < acknowledged.unwrap_or_default();
                if examined.torn && !newest {
                    checked.fault = Some(damaged(place, examined.good));
                } else if newest && lost {
                    checked.fault = Some(QuoteLogError::Lost {
                        directory: directory.display().to_string(),
                        end: end.unwrap_or_default(),
                        acknowledged: acknowledged.unwrap_or_default(),
                    });
                }
            }
            Err(fault) => {
                checked.fault = Some(fault);
                end = None;
            }
        }
        found.push(checked);
    }
    if let (true, Some(acknowledged)) = (places.is_empty(), acknowledged.filter(|last| *last > 0)) {
        return Err(QuoteLogError::Lost { directory: directory.display().to_string(), end: 0, acknowledged });
    }
    Ok(found)
}

fn missing(directory: &Path, end: Option<u64>, head: Head, place: &Place) -> Option<QuoteLogError> {
    let (end, after) = (end?, head.after?);
    let directory = directory.display().to_string();
    (end != after).then_some(QuoteLogError::Missing { directory, after: end, next: place.first })
}
