//! Rows that nobody needs any longer, removed by a job.

use async_trait::async_trait;
use kernel::{Overflow, Span, Timestamp};

use crate::AppError;

/// A kind of rows that is removed in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upkeep {
    /// Sessions that have expired.
    Sessions,
    /// Jobs that are done or cancelled, a day later. Dead ones stay until somebody decides about them.
    Jobs,
    /// Firings of schedules, 30 days later.
    Firings,
    /// Messages that every group has settled, 7 days after they were written.
    Outbox,
    /// How long things took for accounts, 400 days later.
    Measurements,
    /// Quotes that the gate kept out, 90 days later.
    RefusedQuotes,
    /// What providers of money have told, 400 days later; never what is still to be followed. The bytes that came go after 30 days
    /// if they are about nobody that we know.
    ProviderNotices,
}

impl Upkeep {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::Sessions,
        Self::Jobs,
        Self::Firings,
        Self::Outbox,
        Self::Measurements,
        Self::RefusedQuotes,
        Self::ProviderNotices,
    ];

    /// The word in payloads and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Jobs => "jobs",
            Self::Firings => "firings",
            Self::Outbox => "outbox",
            Self::Measurements => "measurements",
            Self::RefusedQuotes => "refused_quotes",
            Self::ProviderNotices => "provider_notices",
        }
    }

    /// Of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|upkeep| upkeep.word() == word)
    }

    /// Such rows are removed if they were needed last before this instant.
    pub fn before(self, now: Timestamp) -> Result<Timestamp, Overflow> {
        let days = match self {
            Self::Sessions => 0,
            Self::Jobs => 1,
            Self::Outbox => 7,
            Self::Firings => 30,
            Self::RefusedQuotes => 90,
            Self::Measurements | Self::ProviderNotices => 400,
        };
        now.before(Span::from_days(days)?)
    }
}

/// Where such rows are.
#[async_trait]
pub trait UpkeepStore: Send + Sync {
    /// Removes rows of one kind, in parts; gives how many. What was removed before an error stays removed.
    async fn keep_up(&self, upkeep: Upkeep, now: Timestamp) -> Result<u64, AppError>;
}
