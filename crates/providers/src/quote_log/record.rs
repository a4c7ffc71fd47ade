//! One quote as 60 bytes, little-endian: position `u64`, symbol (16 bytes, zero-padded), bid, ask, source time and
//! receive time `i64`, CRC-32 of the 56 bytes before it.

use app::trading::LoggedQuote;
use kernel::{Price, Symbol, Timestamp};

/// Bytes of a record, and of a segment's header: everything in a segment stands at a multiple of it.
pub(crate) const RECORD: usize = 60;
/// Bytes that the checksum at the end covers.
pub(super) const CHECKED: usize = 56;

pub(crate) fn encode(quote: &LoggedQuote, bytes: &mut Vec<u8>) {
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

/// The 56 bytes before a checksum that fits them.
pub(super) fn checked(bytes: &[u8]) -> Option<&[u8]> {
    let (checked, sum) = bytes.split_at_checked(CHECKED)?;
    (crc32fast::hash(checked).to_le_bytes() == *sum).then_some(checked)
}

/// Nothing if the bytes are no whole record.
pub(super) fn decode(record: &[u8]) -> Option<LoggedQuote> {
    let checked = checked(record)?;
    let signed = |at: usize| number(checked, at).map(u64::cast_signed);
    let symbol = std::str::from_utf8(checked.get(8..24)?).ok()?.trim_end_matches('\0');
    Some(LoggedQuote {
        position: number(checked, 0)?,
        symbol: Symbol::parse(symbol).ok()?,
        bid: Price(signed(24)?),
        ask: Price(signed(32)?),
        source_time: Timestamp::from_micros(signed(40)?),
        received_at: Timestamp::from_micros(signed(48)?),
    })
}

pub(super) fn number(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at.checked_add(8)?)?.try_into().ok().map(u64::from_le_bytes)
}

pub(crate) fn to_u64(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}
