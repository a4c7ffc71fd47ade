//! Messages to the world and whoever takes them. Use cases and shards write them into the outbox with their cause; the
//! relay puts them into streams; groups of consumers take them, each at least once, in the order of each aggregate.
//!
//! What a message changes is written together with the fact that it was taken ([`Consumer::take`]), so that a message
//! that comes twice changes nothing twice. Messages of one aggregate come in their order unless one of them failed and
//! comes again later; a consumer whose result hangs on the order reads the state and not the message.

use async_trait::async_trait;
use kernel::{FirmId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::AppError;

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
    /// Of the payload's form, as in `api/events`.
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

    /// Takes messages of one firm, in their order, in one transaction: it keeps those that the group has not taken yet,
    /// does with them what is to be done, and writes down that they are taken. After an error none of them counts as
    /// taken, and they come again one by one.
    async fn take(&self, firm: FirmId, messages: &[Message]) -> Result<(), AppError>;
}
