//! Messages to the world and whoever takes them. Use cases and shards write them into the outbox with their cause; the
//! relay puts them into streams; groups of consumers take them, each at least once, in the order of each aggregate.
//!
//! What a message changes is written together with the fact that it was taken ([`Consumer::take`]), so that a message
//! that comes twice changes nothing twice. Messages of one aggregate come in their order unless one of them failed and
//! comes again later; a consumer whose result hangs on the order reads the state and not the message.

mod topics;

use async_trait::async_trait;
use kernel::{FirmId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::AppError;

pub use topics::{Form, TOPICS, Topic, fault, schemas};

/// A message as it travels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// Its number in the outbox; rises within an aggregate.
    pub id: i64,
    /// Whose.
    pub firm: FirmId,
    /// When it happened.
    pub at: Timestamp,
    /// What it is about, such as `account:0198...`; messages of one keep their order.
    pub aggregate: String,
    /// Such as `account.breached`.
    pub topic: String,
    /// Of the payload's form, see [`TOPICS`].
    pub version: i16,
    /// What happened.
    pub payload: serde_json::Value,
    /// The trace it was caused in, as W3C's `traceparent`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trace: Option<String>,
}

/// Somebody who takes messages.
#[async_trait]
pub trait Consumer: Send + Sync {
    /// The group it belongs to; every group takes every message once.
    fn group(&self) -> &'static str;

    /// Topics that mean nothing to this group: whoever carries messages leaves them out, and nobody waits for them.
    fn passes_over(&self) -> &'static [&'static str] {
        &[]
    }

    /// Takes messages of one firm, in their order, in one transaction: it keeps those that the group has not taken yet,
    /// does with them what is to be done, and writes down that they are taken. After an error none of them counts as
    /// taken, and they come again one by one.
    async fn take(&self, firm: FirmId, messages: &[Message]) -> Result<(), AppError>;
}

/// Messages are spread over so many streams by their aggregate, so that several processes take them side by side and
/// those of one aggregate keep their order.
pub const PARTS: u32 = 4;

/// The stream of a part.
pub fn stream(part: u32) -> String {
    format!("tradesense:messages:{part}")
}

/// The part of an aggregate, by FNV-1a (32 bit) over its bytes; the same for ever.
pub fn part(aggregate: &str) -> u32 {
    let hash = aggregate
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    hash.checked_rem(PARTS).unwrap_or_default()
}

/// What the relay reads in one go.
#[derive(Debug, Default)]
pub struct Outbox {
    /// In the order of their ids.
    pub messages: Vec<Message>,
    /// The oldest transaction that was running while it was read.
    pub oldest_running: u64,
    /// The first transaction that had not begun by then.
    pub next_transaction: u64,
}

/// A message that a group could not take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed<'a> {
    /// Which group.
    pub group: &'a str,
    /// Whose message.
    pub firm: FirmId,
    /// Which message.
    pub message: i64,
    /// Why, for the operator.
    pub error: &'a str,
}

/// What a group has before it, counted in the database: the streams may have forgotten.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backlog {
    /// Which group.
    pub group: String,
    /// Neither taken nor dead.
    pub waiting: i64,
    /// When the oldest of these was written.
    pub oldest: Option<Timestamp>,
    /// Failed and tried again.
    pub failing: i64,
    /// Given up until somebody sends them again.
    pub dead: i64,
}

/// The outbox, and what became of its messages.
#[async_trait]
pub trait MessageStore: Send + Sync {
    /// Up to which id every message was published or will never be.
    async fn known(&self) -> Result<i64, AppError>;
    /// Moves that place for whoever relays under this token; false if somebody relays under a later one.
    async fn set_known(&self, id: i64, token: i64) -> Result<bool, AppError>;
    /// Messages behind a place, at most so many, and those of `gaps` that have come to light.
    async fn outbox(&self, after: i64, gaps: &[i64], most: i64) -> Result<Outbox, AppError>;
    /// Makes a group known, or what it passes over from now on. It begins with what is published from now on.
    async fn join(&self, group: &str, passes_over: &[&str]) -> Result<(), AppError>;
    /// The groups that joined.
    async fn groups(&self) -> Result<Vec<String>, AppError>;
    /// Messages behind a place and up to another one that the group has neither taken nor failed at, in the order of their ids,
    /// at most so many.
    async fn missing(&self, group: &str, after: i64, to: i64, most: i64) -> Result<Vec<Message>, AppError>;
    /// Messages at which some group failed and that are due again, at most so many. They are not due again for a while.
    async fn due_again(&self, most: i64) -> Result<Vec<Message>, AppError>;
    /// Writes down that a group could not take a message: it comes again, later with every time, and is dead after the
    /// last. True if it is dead now.
    async fn fail(&self, failed: Failed<'_>) -> Result<bool, AppError>;
    /// Moves the place up to which a group has taken everything, and forgets what was written down message by message.
    async fn settle(&self, group: &str) -> Result<(), AppError>;
    /// What every group has before it.
    async fn backlogs(&self) -> Result<Vec<Backlog>, AppError>;
}
