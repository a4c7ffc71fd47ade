//! What travels between the processes that ask and the one that owns a shard, and between the one that feeds quotes and
//! everybody else. JSON, so that a process of the next version reads what one of this version wrote.

use engine::{Command, Forecast, View};
use kernel::{AccountId, OwnerId, Timestamp};
use serde::{Deserialize, Serialize};

use super::desk::{LineError, Submitted};
use super::port::{LoggedQuote, Origin, RefusedQuote};

/// The group of whoever owns a shard.
pub(super) const OWNERS: &str = "owner";
/// Quotes and time, for everybody.
pub(super) const QUOTES: &str = "tradesense:quotes";
/// Places in the quote log from which somebody misses quotes.
pub(super) const WANTED: &str = "tradesense:quotes:wanted";

/// Where a shard is asked.
pub(super) fn asks(shard: i16) -> String {
    format!("tradesense:shard:{shard}:asks")
}

/// Where a process is answered.
pub(super) fn replies(process: OwnerId) -> String {
    format!("tradesense:replies:{process}")
}

/// A question to a shard.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Ask {
    /// Of the asking process; its answer has the same.
    pub id: u64,
    /// The stream of the answer.
    pub reply_to: String,
    /// When it was asked, by the asking process.
    pub at: Timestamp,
    pub what: Asked,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Asked {
    Submit {
        command: Command,
        origin: Origin,
    },
    View {
        account: AccountId,
    },
    Forecast {
        account: AccountId,
    },
    /// And to be shown what comes, for a while.
    Watch {
        account: AccountId,
    },
}

/// What the asking process is told.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Reply {
    Answer {
        id: u64,
        answer: Answer,
    },
    /// To whoever watches the account.
    Shown {
        account: AccountId,
        view: Box<View>,
    },
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Answer {
    Submitted(Submitted),
    View(Option<Box<View>>),
    Forecast(Option<Box<Forecast>>),
    Refused(LineError),
}

/// What everybody is told by the one who feeds.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Fed {
    /// Of the feeder's lease; entries under a lower one than was seen before are nobody's.
    pub token: i64,
    /// When.
    pub at: Timestamp,
    /// Accepted ones, numbered without a gap unless some are repeated for somebody who misses them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub quotes: Vec<LoggedQuote>,
    /// What the gate kept out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<RefusedQuote>,
}

/// Somebody misses quotes.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Wanted {
    /// From this place on.
    pub from: u64,
}
