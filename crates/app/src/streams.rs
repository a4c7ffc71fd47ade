//! Streams: entries in order, handed to groups whose members share the work, or followed by whoever wants all of them.
//! A stream may lose everything at any moment; what must not be lost is in the database, and whoever appends finds out
//! and appends again.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;

use crate::BoxError;

/// Names an entry of a stream; rises with every entry, also across a restart of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct EntryId {
    /// Milliseconds of the server's clock.
    pub time: u64,
    /// Within the millisecond.
    pub number: u64,
}

impl EntryId {
    /// Before every entry.
    pub const ZERO: Self = Self { time: 0, number: 0 };
}

impl fmt::Display for EntryId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}-{}", self.time, self.number)
    }
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub id: EntryId,
    /// What it says.
    pub bytes: Vec<u8>,
}

/// What a group of a stream still has before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Waiting {
    /// Given to nobody yet.
    pub undelivered: u64,
    /// Given to a member that has not acknowledged it.
    pub pending: u64,
}

impl Waiting {
    /// Both.
    pub const fn all(self) -> u64 {
        self.undelivered.saturating_add(self.pending)
    }
}

/// Why a stream did not do what it was asked. Whether an append took effect is not known then.
#[derive(Debug, thiserror::Error)]
#[error("{doing} the stream {stream}")]
pub struct StreamError {
    /// Such as `appending to`.
    pub doing: &'static str,
    /// Which.
    pub stream: String,
    /// Why.
    #[source]
    pub source: BoxError,
}

/// The streams of an installation: Redis, or the memory of one process. What both promise is asked by
/// `crates/streams/tests/contract.rs`. A stream exists once something was appended to it, a group from its first read on or since it joined, and it
/// begins with the first entry that there is.
#[async_trait]
pub trait Streams: Send + Sync {
    /// Adds entries at the end, in order, and gives the last one's name.
    async fn append(&self, stream: &str, entries: &[Vec<u8>]) -> Result<EntryId, StreamError>;

    /// Gives a member entries that no member of its group was given, in order, at most so many; waits for the first one,
    /// but no longer than `wait`. They are the member's until it acknowledges them or another one claims them.
    async fn read(
        &self,
        stream: &str,
        group: &str,
        member: &str,
        most: usize,
        wait: Duration,
    ) -> Result<Vec<Entry>, StreamError>;

    /// Makes entries a member's that were given to any member so long ago and not acknowledged, in order, at most so many.
    async fn claim(
        &self,
        stream: &str,
        group: &str,
        member: &str,
        idle: Duration,
        most: usize,
    ) -> Result<Vec<Entry>, StreamError>;

    /// The group is done with these. Names that are not pending are passed over.
    async fn acknowledge(&self, stream: &str, group: &str, ids: &[EntryId]) -> Result<(), StreamError>;

    /// Entries behind a place, in order, at most so many, for somebody in no group; waits for the first one, but no longer
    /// than `wait`.
    async fn follow(
        &self,
        stream: &str,
        after: EntryId,
        most: usize,
        wait: Duration,
    ) -> Result<Vec<Entry>, StreamError>;

    /// The name of the last entry; [`EntryId::ZERO`] of a stream that is not there.
    async fn last(&self, stream: &str) -> Result<EntryId, StreamError>;

    /// Removes what every group has acknowledged, and gives how many entries these were. A stream without groups stays as
    /// it is.
    async fn trim(&self, stream: &str) -> Result<u64, StreamError>;

    /// Removes the oldest entries beyond so many, whoever has not acknowledged them.
    async fn trim_to(&self, stream: &str, most: u64) -> Result<u64, StreamError>;

    /// Makes a group known to a stream, so that what comes from here on waits for it even before its first read.
    async fn join(&self, stream: &str, group: &str) -> Result<(), StreamError>;

    /// Says that a stream is in use: it may be removed as a whole unless this is said again within the time. Nothing for a
    /// stream that is not there.
    async fn keep_for(&self, stream: &str, time: Duration) -> Result<(), StreamError>;

    /// What a group still has before it.
    async fn waiting(&self, stream: &str, group: &str) -> Result<Waiting, StreamError>;

    /// The place before which a group has acknowledged everything; [`EntryId::ZERO`] of a group that is not there.
    async fn done(&self, stream: &str, group: &str) -> Result<EntryId, StreamError>;
}
