//! Receipts: made from a verdict once it is stored for good, signed, and kept as the text that is handed out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use audit::SigningKey;
use audit::receipt::seal;
use engine::{Receipt, Verdict};
use kernel::{AccountId, Clock, FirmId, Timestamp};
use tokio::sync::Notify;

use crate::latency::{self, OfDay};
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
    /// The verdict's number.
    pub number: u32,
    /// How long things took on its day, as far as that is counted.
    pub latencies: OfDay,
    /// The verdict, if it can be read.
    pub verdict: Result<Verdict, BoxError>,
}

/// A verdict whose receipt cannot be made.
#[derive(Debug)]
pub struct SetAside {
    /// Whose firm.
    pub firm: FirmId,
    /// Whose account.
    pub account: AccountId,
    /// The verdict's number.
    pub number: u32,
    /// When it was tried.
    pub at: Timestamp,
    /// Why it cannot, for the operator.
    pub fault: String,
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
    /// Verdicts without a receipt that are not set aside, the oldest first.
    async fn due(&self, limit: i64) -> Result<Vec<Due>, AppError>;
    /// Sets verdicts aside.
    async fn set_aside(&self, failed: &[SetAside]) -> Result<(), AppError>;
    /// Has every verdict that was set aside tried again; how many.
    async fn try_again(&self) -> Result<u64, AppError>;
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

    /// Forgets what was stored before an instant: its receipts are made.
    fn forget_until(&self, at: Timestamp) {
        self.at.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, stored| *stored >= at);
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
    /// nobody told of. What an earlier release could not make is tried again first.
    pub async fn run(self, mut retry: tokio::time::Interval) {
        if let Err(error) = self.store.try_again().await {
            report(&error);
        }
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

    /// Makes the receipts that are due, up to a number; how many verdicts it dealt with. One whose receipt cannot be made
    /// is set aside, so that nobody else waits for it.
    pub async fn issue(&self) -> Result<usize, AppError> {
        let now = self.clock.now();
        let due = self.store.due(MOST_AT_ONCE).await?;
        if due.is_empty() {
            self.stored.forget_until(now);
            return Ok(0);
        }
        let mut issued = Vec::with_capacity(due.len());
        let mut failed = Vec::new();
        for due in due {
            let (firm, account, number) = (due.firm, due.account, due.number);
            match self.make(due) {
                Ok(made) => issued.push(made),
                Err(error) => {
                    let error: &dyn std::error::Error = &*error;
                    tracing::error!(%firm, %account, number, error, "a receipt cannot be made; it is set aside");
                    failed.push(SetAside {
                        firm,
                        account,
                        number,
                        at: now,
                        fault: crate::with_causes(error),
                    });
                }
            }
        }
        if !issued.is_empty() {
            self.store.keep(&issued).await?;
        }
        if !failed.is_empty() {
            self.store.set_aside(&failed).await?;
        }
        Ok(issued.len().saturating_add(failed.len()))
    }

    fn make(&self, due: Due) -> Result<Issued, BoxError> {
        let Due { firm, account, at, decided_at, program, number, latencies, verdict } = due;
        let verdict = verdict?;
        let durable_at = self.stored.take(account, number);
        let mut receipt = Receipt::compose(firm, account, at, decided_at, durable_at, program, verdict)?;
        receipt.latencies = latency::figures(&latencies);
        let document = seal(&serde_json::to_value(&receipt)?, &self.key)?.text().to_owned();
        Ok(Issued { firm, account, number, issued_at: self.clock.now(), durable_at, document })
    }
}

fn report(error: &AppError) {
    let error: &dyn std::error::Error = error;
    tracing::error!(error, "receipts wait");
}
