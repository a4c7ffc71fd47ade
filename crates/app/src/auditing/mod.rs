//! The audit log as it is kept: rows become entries, a sealer numbers them, and anybody proves and verifies what was sealed
//! (docs/adr/0028).
//!
//! What an entry, a tree, a checkpoint and an export are is in the crate `audit`; here is what the log is read from, and in what
//! order. Whoever may write the tree is decided by the store: a batch goes in only where the last one ended and under a lease
//! that nobody has taken since.

mod export;
mod tree;
mod verify;

use std::collections::BTreeMap;

use async_trait::async_trait;
use audit::entry::{Document, Entry, Personal, Source, TooLong};
use audit::export::Refused;
use audit::tree::Hash;
use kernel::{FirmId, PersonId, RequestId, Timestamp};

use crate::AppError;
use crate::trading::AuditEntry;

pub use export::{Exporter, Wanted};
pub use tree::{frontier, prove_consistency, prove_inclusion, root};
pub use verify::{Copied, check_continues, check_end, check_outside, known_keys, read_outside, verify};

/// Of a detail that is longer than this the entry holds length and hash.
const MOST_DETAIL: usize = 16_384;

/// The file outside that names the newest checkpoint; the only one that is written again.
pub const NEWEST: &str = "checkpoint";

/// A row that is an entry of the log, or will be one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogRow {
    /// Its table.
    pub source: Source,
    /// The shard of a command; else 0.
    pub part: i16,
    /// Its number in its table, or in its shard.
    pub number: i64,
    /// Whose log.
    pub firm: FirmId,
    /// When it happened.
    pub at: Timestamp,
    /// Who; nobody for the platform itself.
    pub actor: Option<PersonId>,
    /// The request it came with.
    pub request: Option<RequestId>,
    /// What.
    pub action: String,
    /// What for, where a reason is asked.
    pub purpose: String,
    /// To what.
    pub object_kind: String,
    /// To which.
    pub object: String,
    /// What exactly, as text.
    pub detail: String,
    /// The state before.
    pub before: Option<Hash>,
    /// The state after.
    pub after: Option<Hash>,
    /// A document that belongs to it.
    pub document: Option<Document>,
    /// Personal data that belongs to it.
    pub personal: Option<Personal>,
}

impl LogRow {
    /// As the entry names it: `17`, or `3/991` for a shard's command.
    pub fn id(&self) -> String {
        row_id(self.source, self.part, self.number)
    }

    /// Appends the bytes of the entry that this row is at a place. A long detail stands in it by length and hash.
    pub fn encode(&self, index: u64, bytes: &mut Vec<u8>) -> Result<(), TooLong> {
        let beside = self.detail.len() > MOST_DETAIL && self.document.is_none();
        let document = if beside {
            let length = u32::try_from(self.detail.len()).map_err(|_| TooLong)?;
            Some(Document { length, hash: Hash::of(self.detail.as_bytes()) })
        } else {
            self.document
        };
        let entry = Entry {
            index,
            source: self.source,
            id: &self.id(),
            firm: self.firm,
            at: self.at,
            actor: self.actor,
            request: self.request,
            action: &self.action,
            purpose: &self.purpose,
            object_kind: &self.object_kind,
            object: &self.object,
            detail: if beside { "" } else { &self.detail },
            before: self.before,
            after: self.after,
            document,
            personal: self.personal,
        };
        entry.encode(bytes)
    }
}

/// A row's id as its entry has it.
pub fn row_id(source: Source, part: i16, number: i64) -> String {
    match source {
        Source::Command => format!("{part}/{number}"),
        Source::Act | Source::Verdict => number.to_string(),
    }
}

/// The word for a table in messages.
pub const fn source_word(source: Source) -> &'static str {
    match source {
        Source::Act => "act",
        Source::Command => "command",
        Source::Verdict => "verdict",
    }
}

/// Where a log stands, for whoever goes on with it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Standing {
    /// How many entries.
    pub size: u64,
    /// Up to which command of each shard.
    pub commands: BTreeMap<i16, i64>,
    /// Acts.
    pub acts: Numbered,
    /// Verdicts.
    pub verdicts: Numbered,
}

/// Rows that take their numbers before they commit: up to `settled` all are entries, or will never be; above, these are.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Numbered {
    /// Nothing comes to light up to here.
    pub settled: i64,
    /// Sealed above it.
    pub sealed: Vec<i64>,
}

/// From where rows are read that are no entries yet.
#[derive(Debug, Clone, Default)]
pub struct Places {
    /// Up to which command of each shard.
    pub commands: BTreeMap<i16, i64>,
    /// The largest act that was seen, and those below that were not.
    pub acts: (i64, Vec<i64>),
    /// The same of verdicts.
    pub verdicts: (i64, Vec<i64>),
}

/// Rows that are no entries yet, in the order in which they become some.
#[derive(Debug, Clone, Default)]
pub struct Unsealed {
    /// They.
    pub rows: Vec<LogRow>,
    /// Every transaction below has ended, seen before the rows were read.
    pub oldest_running: u64,
    /// No transaction has begun to write from here on.
    pub next_transaction: u64,
}

/// An entry as the tree keeps it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Leaf {
    /// Its place.
    pub index: u64,
    /// Whose it is.
    pub firm: FirmId,
    /// The table of its row.
    pub source: Source,
    /// The shard.
    pub part: i16,
    /// The row's number.
    pub number: i64,
    /// The hash of its bytes.
    pub hash: Hash,
}

/// What goes into the tree in one step.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Of the lease.
    pub token: i64,
    /// The entries, the first at the log's end.
    pub leaves: Vec<Leaf>,
    /// The roots of 256^level entries that are full with them: level, place, root.
    pub nodes: Vec<(u8, u64, Hash)>,
    /// Up to which number of a source and part everything is settled now.
    pub marks: Vec<(Source, i16, i64)>,
}

/// A stretch of hashes of one level of tiles: `count` from `first` on. Level 0 are the leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stretch {
    /// The tiles' level, 0 to 7.
    pub level: u8,
    /// The first.
    pub first: u64,
    /// How many.
    pub count: u64,
}

/// A checkpoint as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredCheckpoint {
    /// How many entries.
    pub size: u64,
    /// When it was signed.
    pub at: Timestamp,
    /// Their root.
    pub root: Hash,
    /// Letter by letter.
    pub note: String,
}

/// One of the log's keys as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredKey {
    /// From 1.
    pub number: u32,
    /// As notes write it.
    pub key: String,
    /// The size at which it took over.
    pub after_size: u64,
    /// What the key before said of it; nothing of the first.
    pub statement: Option<String>,
}

/// A signature of somebody else below a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cosignature {
    /// Below which.
    pub size: u64,
    /// The witness's key, as notes write it.
    pub witness: String,
    /// When it came.
    pub at: Timestamp,
    /// The line.
    pub line: String,
}

/// Which entries of a firm somebody looks for; what is not said is not asked.
#[derive(Debug, Clone, Default)]
pub struct Search {
    /// Only entries before this one.
    pub below: Option<u64>,
    /// The action, or its beginning with a point at the end, such as `command.`.
    pub action: Option<String>,
    /// The kind of object.
    pub object_kind: Option<String>,
    /// The object.
    pub object: Option<String>,
    /// Who.
    pub actor: Option<PersonId>,
    /// The request it came with.
    pub request: Option<RequestId>,
    /// From this instant on.
    pub since: Option<Timestamp>,
    /// Before this instant.
    pub until: Option<Timestamp>,
}

impl Search {
    /// Whether a row is one of those.
    pub fn is_for(&self, row: &LogRow) -> bool {
        let is_action = |wanted: &String| {
            row.action == *wanted || (wanted.ends_with('.') && row.action.starts_with(wanted))
        };
        self.action.as_ref().is_none_or(is_action)
            && self.object_kind.as_ref().is_none_or(|kind| row.object_kind == *kind)
            && self.object.as_ref().is_none_or(|object| row.object == *object)
            && self.actor.is_none_or(|actor| row.actor == Some(actor))
            && self.request.is_none_or(|request| row.request == Some(request))
            && self.since.is_none_or(|since| row.at >= since)
            && self.until.is_none_or(|until| row.at < until)
    }
}

/// Entries of a firm, the newest first.
#[derive(Debug, Clone, Default)]
pub struct Found {
    /// They.
    pub entries: Vec<(Leaf, LogRow)>,
    /// Where to look on; nothing at the log's beginning. There may be one though nothing was found on the way.
    pub below: Option<u64>,
}

/// Where the log is kept.
#[async_trait]
pub trait AuditStore: Send + Sync {
    /// Whoever seals under this token takes over from everybody before. Nothing if a later token has.
    async fn take_over_log(&self, token: i64) -> Result<Option<Standing>, AppError>;

    /// Rows that are no entries yet, at most so many of each source and shard.
    async fn unsealed(&self, places: &Places, most: i64) -> Result<Unsealed, AppError>;

    /// Puts a batch into the tree; false if the log has gone on without us, or another has taken over.
    async fn seal(&self, batch: &Batch) -> Result<bool, AppError>;

    /// Keeps a checkpoint of entries that are there; false if another has taken over.
    async fn keep_checkpoint(&self, token: i64, checkpoint: &StoredCheckpoint) -> Result<bool, AppError>;

    /// Keeps the next key; false if another has taken over.
    async fn keep_key(&self, token: i64, key: &StoredKey) -> Result<bool, AppError>;

    /// How long the log is.
    async fn log_size(&self) -> Result<u64, AppError>;

    /// Hashes of tiles, a list for each stretch; shorter where there are none.
    async fn hashes(&self, stretches: &[Stretch]) -> Result<Vec<Vec<Hash>>, AppError>;

    /// The entries `[first, end)` of the tree, each with its row if that is there.
    async fn leaves(&self, first: u64, end: u64) -> Result<Vec<(Leaf, Option<LogRow>)>, AppError>;

    /// The newest checkpoint.
    async fn newest_checkpoint(&self) -> Result<Option<StoredCheckpoint>, AppError>;

    /// Checkpoints of at least so many entries, the smallest first.
    async fn checkpoints(&self, from: u64, most: i64) -> Result<Vec<StoredCheckpoint>, AppError>;

    /// The log's keys in the order in which they took over.
    async fn log_keys(&self) -> Result<Vec<StoredKey>, AppError>;

    /// Who else has signed a checkpoint.
    async fn cosignatures(&self, size: u64) -> Result<Vec<Cosignature>, AppError>;

    /// Rows that are no entries, of numbers below which everything is one: other hands have added them. As many as need to be
    /// named.
    async fn never_sealed(&self) -> Result<Vec<(Source, i16, i64)>, AppError>;

    /// Entries of a firm.
    async fn search_log(&self, firm: FirmId, search: &Search, most: usize) -> Result<Found, AppError>;

    /// One entry of a firm.
    async fn log_entry(&self, firm: FirmId, index: u64) -> Result<Option<(Leaf, LogRow)>, AppError>;

    /// The entry of a verdict.
    async fn verdict_entry(
        &self,
        firm: FirmId,
        account: kernel::AccountId,
        number: u32,
    ) -> Result<Option<(Leaf, LogRow)>, AppError>;

    /// Keeps what somebody else has signed.
    async fn keep_cosignature(&self, firm: FirmId, cosignature: &Cosignature) -> Result<(), AppError>;

    /// Writes down what somebody did with the log.
    async fn record_act(&self, act: &AuditEntry) -> Result<(), AppError>;

    /// Makes the partitions of the coming months; how many.
    async fn make_partitions(&self) -> Result<u64, AppError>;
}

/// Files outside of the database, where its owner cannot write.
#[async_trait]
pub trait Copies: Send + Sync {
    /// A file's content, if there is one.
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, AppError>;

    /// Writes a file whole or not at all. One that is there stays as it is, except [`NEWEST`]; if it says something else, that
    /// is an error.
    async fn put(&self, name: &str, content: &[u8]) -> Result<(), AppError>;
}

/// What is wrong with the log.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Break {
    /// An entry without its row.
    #[error("entry {index} is missing: {} {id} was deleted from its table", source_word(*.table))]
    NoRow {
        /// The entry.
        index: u64,
        /// The table.
        table: Source,
        /// The row.
        id: String,
    },
    /// A row that is not what was sealed.
    #[error("entry {index} was changed: {} {id} does not come to the hash under which it was sealed", source_word(*.table))]
    OtherRow {
        /// The entry.
        index: u64,
        /// The table.
        table: Source,
        /// The row.
        id: String,
    },
    /// A place without an entry.
    #[error("entry {index} is missing from the tree, which should have {size}")]
    NoLeaf {
        /// The entry.
        index: u64,
        /// How long the log should be.
        size: u64,
    },
    /// Entries behind the end.
    #[error("entry {index} is in the tree, which should end before it with {size} entries")]
    Beyond {
        /// The entry.
        index: u64,
        /// How long the log should be.
        size: u64,
    },
    /// A node that is none.
    #[error("the tree's node {place} of level {level} is missing")]
    NoNode {
        /// The tiles' level.
        level: u8,
        /// Its place there.
        place: u64,
    },
    /// A node that is not the root of what is below it.
    #[error(
        "the tree's node {place} of level {level} is not the root of the entries below it, up to entry {last}"
    )]
    OtherNode {
        /// The tiles' level.
        level: u8,
        /// Its place there.
        place: u64,
        /// The last entry below it.
        last: u64,
    },
    /// A command that was removed before it was sealed.
    #[error("command {shard}/{seq} is missing: the journal goes on behind it, and it never became an entry")]
    NoCommand {
        /// The shard.
        shard: i16,
        /// Which.
        seq: i64,
    },
    /// A row that never became an entry.
    #[error("{} {id} stands in its table and is no entry: it was added by other hands", source_word(*.table))]
    Added {
        /// The table.
        table: Source,
        /// The row.
        id: String,
    },
    /// The copy is longer.
    #[error(
        "the log was cut or set back: the checkpoint outside has {outside} entries, and the database {here}"
    )]
    Behind {
        /// Outside.
        outside: u64,
        /// In the database.
        here: u64,
    },
    /// The copy has other entries.
    #[error(
        "the log was rewritten: the checkpoint outside has another root for the first {size} entries than the database"
    )]
    Rewritten {
        /// The checkpoint's size.
        size: u64,
    },
    /// What lies outside is not the log's.
    #[error("the checkpoint outside is not believed: {0}")]
    Outside(String),
    /// The keys are not ours.
    #[error("the log's keys are not those of this installation: {0}")]
    Keys(String),
    /// An export, or what would be one, is refused.
    #[error(transparent)]
    Refused(Refused),
}

/// Why something about the log could not be done.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Somebody has changed it.
    #[error("the audit log is broken: {0}")]
    Broken(Break),
    /// It could not be read or written.
    #[error(transparent)]
    App(#[from] AppError),
}

impl From<LogError> for AppError {
    fn from(error: LogError) -> Self {
        match error {
            LogError::App(error) => error,
            LogError::Broken(found) => Self::bug("reading the audit log")(Box::new(found)),
        }
    }
}

impl From<Break> for LogError {
    fn from(found: Break) -> Self {
        Self::Broken(found)
    }
}
