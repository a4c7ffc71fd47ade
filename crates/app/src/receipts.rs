//! Receipts: made from a verdict once it is stored for good, signed, and kept as the text that is handed out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use audit::SigningKey;
use audit::receipt::seal;
use engine::{Receipt, Verdict};
use kernel::{AccountId, Clock, FirmId, Timestamp};
use tokio::sync::Notify;

use crate::{AppError, BoxError};

/// Receipts made in one go.
const MOST_AT_ONCE: i64 = 200;

/// A stored verdict that has no receipt yet.
#[derive(Debug)]
pub struct Due {
    /// Whose firm.
    pub firm: FirmId,
    /// Whose account.
    pub account: AccountId,
    /// The instant that was judged.
    pub at: Timestamp,
    /// When it had been decided.
    pub decided_at: Timestamp,
    /// The program's text as it was published.
    pub program: String,
    /// The verdict.
    pub verdict: Verdict,
}

/// A receipt as it is kept.
#[derive(Debug)]
pub struct Issued {
    /// Whose firm.
    pub firm: FirmId,
    /// Whose account.
    pub account: AccountId,
    /// The verdict's number.
    pub number: u32,
    /// When the receipt was made.
    pub issued_at: Timestamp,
    /// When the verdict was known to be stored.
    pub durable_at: Option<Timestamp>,
    /// The signed document.
    pub document: String,
}

/// What is stored about receipts.
#[async_trait]
pub trait ReceiptStore: Send + Sync {
    /// Verdicts without a receipt, the oldest first.
    async fn due(&self, limit: i64) -> Result<Vec<Due>, AppError>;
    /// Keeps receipts; one that is there already stays.
    async fn keep(&self, issued: &[Issued]) -> Result<(), AppError>;
}

/// Tells the issuer of verdicts that have just been stored. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Stored {
    at: Arc<Mutex<BTreeMap<(AccountId, u32), Timestamp>>>,
    some: Arc<Notify>,
}

impl Stored {
    /// A commit returned at this instant.
    pub fn tell(&self, verdicts: impl Iterator<Item = (AccountId, u32)>, at: Timestamp) {
        let mut times = self.at.lock().unwrap_or_else(PoisonError::into_inner);
        let before = times.len();
        times.extend(verdicts.map(|verdict| (verdict, at)));
        if times.len() > before {
            self.some.notify_one();
        }
    }

    fn take(&self, account: AccountId, number: u32) -> Option<Timestamp> {
        self.at.lock().unwrap_or_else(PoisonError::into_inner).remove(&(account, number))
    }
}

/// Makes receipts. What it misses because it was stopped it makes after the next start; only the instant at which the
/// verdict was stored is not known then.
pub struct Issuer {
    /// What is stored.
    pub store: Arc<dyn ReceiptStore>,
    /// Signs.
    pub key: Arc<SigningKey>,
    /// Stamps receipts.
    pub clock: Arc<dyn Clock>,
    /// Told by the shards.
    pub stored: Stored,
}

impl std::fmt::Debug for Issuer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Issuer").finish_non_exhaustive()
    }
}

impl Issuer {
    /// Makes receipts as long as the platform runs. `retry` paces further attempts after a failure, and looks for what
    /// nobody told of.
    pub async fn run(self, mut retry: tokio::time::Interval) {
        loop {
            match self.issue().await {
                Ok(0) => {
                    tokio::select! {
                        () = self.stored.some.notified() => {}
                        _ = retry.tick() => {}
                    }
                }
                Ok(_) => {}
                Err(error) => {
                    report(&error);
                    retry.tick().await;
                }
            }
        }
    }

    /// Makes the receipts that are due, up to a number; how many it made.
    pub async fn issue(&self) -> Result<usize, AppError> {
        let due = self.store.due(MOST_AT_ONCE).await?;
        let mut issued = Vec::with_capacity(due.len());
        for due in due {
            issued.push(self.make(due).map_err(AppError::bug("making a receipt"))?);
        }
        if !issued.is_empty() {
            self.store.keep(&issued).await?;
        }
        Ok(issued.len())
    }

    fn make(&self, due: Due) -> Result<Issued, BoxError> {
        let Due { firm, account, at, decided_at, program, verdict } = due;
        let number = verdict.number;
        let durable_at = self.stored.take(account, number);
        let receipt = Receipt::compose(firm, account, at, decided_at, durable_at, program, verdict)?;
        let document = seal(&serde_json::to_value(&receipt)?, &self.key)?.text().to_owned();
        Ok(Issued { firm, account, number, issued_at: self.clock.now(), durable_at, document })
    }
}

fn report(error: &AppError) {
    let error: &dyn std::error::Error = error;
    tracing::error!(error, "receipts wait");
}
