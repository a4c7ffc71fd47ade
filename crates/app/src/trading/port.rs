//! What a shard stores, and how it gets it back.

use std::borrow::Cow;
use std::sync::Arc;

use async_trait::async_trait;
use engine::{Account, Command, Counters, Event, Mark, Outcome, Restored, Standing};
use kernel::{AccountId, FirmId, OwnerId, PersonId, Price, RequestId, Span, Symbol, Timestamp};
use rules::{Program, VersionHash};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::BoxError;

/// Everything one batch changes, written in one transaction.
#[derive(Debug)]
pub struct Batch {
    /// The shard.
    pub shard: i16,
    /// The owner's fencing number; a commit under an older one is refused.
    pub epoch: i64,
    /// The sequence number of the last commit; a commit that does not follow it is refused.
    pub after_seq: i64,
    /// The sequence number of this batch's last journal row.
    pub seq: i64,
    /// The place in the quote log up to which the state below has seen quotes.
    pub quote_position: u64,
    /// Time of the last input.
    pub at: Timestamp,
    /// Commands and their answers, in order.
    pub journal: Vec<Journaled>,
    /// Every account that changed.
    pub accounts: Vec<Changed>,
    /// What happened, in order.
    pub events: Vec<Decided>,
    /// For the world.
    pub outbox: Vec<OutboxEntry>,
    /// The standing quotes at `quote_position` that changed since the last commit.
    pub standing: Vec<Standing>,
    /// Quotes the gate refused.
    pub refused_quotes: Vec<RefusedQuote>,
    /// Up to where the peaks of every account are stored with this batch, if that has moved.
    pub mark: Option<Mark>,
}

/// An account that changed.
#[derive(Debug)]
pub struct Changed {
    /// As it is after the batch.
    pub account: Account,
    /// Its counters as they were last stored: what is numbered below them is stored, what is numbered from them on is new.
    /// None for an account that is new itself.
    pub stored: Option<Counters>,
}

/// Something that happened, and when that was decided.
#[derive(Debug, Clone)]
pub struct Decided {
    /// Whose account's firm.
    pub firm: FirmId,
    /// When the engine had decided it.
    pub at: Timestamp,
    /// The request that caused it; none of a quote or the clock.
    pub request: Option<RequestId>,
    /// What happened.
    pub event: Event,
}

/// A quote that the gate kept out.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RefusedQuote {
    /// When it came.
    pub at: Timestamp,
    /// From where.
    pub source: String,
    /// Whose price.
    pub symbol: String,
    /// In points.
    pub bid: i64,
    /// In points.
    pub ask: i64,
    /// When the source says it was made.
    pub source_time: Timestamp,
    /// The gate's word for why.
    pub reason: Cow<'static, str>,
}

/// One command in the journal, which is its entry in the audit log too.
#[derive(Debug, Clone)]
pub struct Journaled {
    /// Its place in the shard's order, from 1.
    pub seq: i64,
    /// Whose account.
    pub firm: FirmId,
    /// When it was sequenced.
    pub at: Timestamp,
    /// The last quote applied before it.
    pub after_quote: u64,
    /// The command.
    pub command: Command,
    /// Its answer.
    pub outcome: Outcome,
    /// Who sent it.
    pub origin: Origin,
}

/// Who sent a command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The person; nobody for the platform itself.
    pub person: Option<PersonId>,
    /// The request it came with.
    pub request: Option<RequestId>,
}

impl Origin {
    /// The platform itself.
    pub const PLATFORM: Self = Self { person: None, request: None };
}

/// One entry of the audit log: who did what to which object.
#[derive(Debug, Clone)]
pub struct AuditEntry {
    /// Whose log.
    pub firm: FirmId,
    /// When.
    pub at: Timestamp,
    /// Who; nobody for the platform itself.
    pub actor: Option<PersonId>,
    /// What, such as `command.place` or `verdict.breach`.
    pub action: String,
    /// To what, such as `account`.
    pub object_kind: &'static str,
    /// To which.
    pub object: String,
    /// The request it came with.
    pub request: Option<RequestId>,
    /// What for, where a reason is asked; else empty. No personal data.
    pub purpose: String,
    /// The object's state before and after, if the act changed what a reader of the log could see again.
    pub digests: Digests,
    /// What exactly; no personal data.
    pub detail: serde_json::Value,
}

/// The SHA-256 of the JSON of an object's state before an act and after it; none where it was not there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digests {
    /// Before.
    pub before: Option<[u8; 32]>,
    /// After.
    pub after: Option<[u8; 32]>,
}

impl Digests {
    /// From one state to another. An object's members count in the order of their names, as `jq -cS` prints them.
    pub fn of(before: Option<&serde_json::Value>, after: Option<&serde_json::Value>) -> Self {
        let digest = |state: &serde_json::Value| Sha256::digest(state.to_string()).into();
        Self { before: before.map(digest), after: after.map(digest) }
    }
}

/// One message to the world.
#[derive(Debug, Clone)]
pub struct OutboxEntry {
    /// Whose.
    pub firm: FirmId,
    /// When.
    pub at: Timestamp,
    /// Messages of one aggregate keep their order.
    pub aggregate: String,
    /// Such as `account.breached`.
    pub topic: &'static str,
    /// The message.
    pub payload: serde_json::Value,
    /// The request that caused it, and with it the trace.
    pub request: Option<RequestId>,
}

/// A shard's last committed state.
#[derive(Debug)]
pub struct Loaded {
    /// The number this owner must commit under.
    pub epoch: i64,
    /// The last journal row.
    pub seq: i64,
    /// The engine's state there, every account with its open positions, working orders and recent answers.
    pub state: Restored,
    /// Accounts that had commands within the last second before that: of them the owner before may not have told everything.
    pub traded: Vec<(FirmId, AccountId)>,
}

/// Proof that a batch is durable.
#[derive(Debug)]
#[must_use = "answers may be given only after a commit"]
pub struct ShardCommit {
    _private: (),
}

impl ShardCommit {
    /// Made by a store, after its transaction committed.
    pub const fn proven() -> Self {
        Self { _private: () }
    }
}

/// Why a shard could not be loaded or a batch not be committed.
#[derive(Debug, thiserror::Error)]
pub enum ShardError {
    /// Another owner has taken the shard over: this one must stop without another word.
    #[error("another owner has the shard")]
    Deposed,
    /// A stored row that the domain refuses.
    #[error("a stored row of {table} cannot be read: {say}")]
    Inconsistent {
        /// Where.
        table: &'static str,
        /// What is wrong.
        say: String,
    },
    /// Nobody knows whether the transaction took effect, or it certainly did not.
    #[error("storing a batch")]
    Storage(#[source] BoxError),
}

/// What an owner holds after a round of leases.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leases {
    /// Shards that are still its own.
    pub kept: Vec<i16>,
    /// Shards that have just become its own.
    pub claimed: Vec<i16>,
    /// How many it may hold so that every owner holds about as many.
    pub share: usize,
}

/// Who owns which shard. A lease that is not renewed in time may be claimed by anybody; what an owner writes after that is
/// refused by the shard's epoch, not by a clock.
#[async_trait]
pub trait LeaseStore: Send + Sync {
    /// The number of shards of this installation; at the very first call it becomes `at_first`, for good.
    async fn shards(&self, at_first: i16) -> Result<i16, ShardError>;
    /// Renews the leases an owner holds and claims free ones up to its share, for so long, a minute at most.
    async fn lease(&self, owner: OwnerId, held: &[i16], length: Span) -> Result<Leases, ShardError>;
    /// Gives a shard back; one that is somebody else's already stays theirs.
    async fn release(&self, owner: OwnerId, shard: i16) -> Result<(), ShardError>;
    /// An owner that ends: whatever it still holds is free, and it counts for no share.
    async fn leave(&self, owner: OwnerId) -> Result<(), ShardError>;
}

/// The store of a shard.
#[async_trait]
pub trait ShardStore: Send + Sync {
    /// Takes over a shard that the owner leases (raises its epoch, so that no earlier owner can commit any more, nor an
    /// earlier attempt of this one) and loads it. [`ShardError::Deposed`] if the lease is somebody else's.
    async fn take_over(&self, shard: i16, owner: OwnerId) -> Result<Loaded, ShardError>;
    /// Writes a batch in one transaction.
    async fn commit(&self, batch: &Batch) -> Result<ShardCommit, ShardError>;
    /// The highest place in the quote log that any shard has committed; 0 before the first.
    async fn quote_position(&self) -> Result<u64, ShardError>;
    /// The first place in the quote log that any shard may have to read again.
    async fn first_needed_quote(&self) -> Result<u64, ShardError>;
    /// A version, for the first account that is opened with it.
    async fn program(&self, version: &VersionHash) -> Result<Option<Arc<Program>>, ShardError>;
}

/// One quote in the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LoggedQuote {
    /// Its place, from 1, without gaps.
    pub position: u64,
    /// Whose price.
    pub symbol: Symbol,
    /// What a seller gets.
    pub bid: Price,
    /// What a buyer pays.
    pub ask: Price,
    /// When the source says it was made.
    pub source_time: Timestamp,
    /// When it was sequenced; never falls from one place to the next.
    pub received_at: Timestamp,
}

/// Every accepted quote, in order. A shard that starts again reads on from the place its last commit had seen.
pub trait QuoteLog: Send {
    /// The last quote in it.
    fn last(&self) -> Option<&LoggedQuote>;
    /// Adds quotes at the end; they survive the death of this process once it returns.
    fn append(&mut self, quotes: &[LoggedQuote]) -> Result<(), BoxError>;
    /// Reads on from a place, that place included.
    fn read(&self, from: u64) -> Result<LoggedQuotes, BoxError>;
}

/// Quotes of a log, in order.
pub type LoggedQuotes = Box<dyn Iterator<Item = Result<LoggedQuote, BoxError>> + Send>;
