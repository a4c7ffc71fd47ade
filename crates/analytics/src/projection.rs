//! The consumer that keeps the read rows: it takes from a message only whom it is about, and looks at the truth.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use app::AppError;
use app::cache::Cache;
use app::events::{Consumer, Message};
use async_trait::async_trait;
use kernel::{AccountId, FirmId, PurchaseId};
use store::Store;
use store::analytics::GROUP;
use tokio::sync::Notify;

use crate::v1::account_tag;

/// Keeps `account_results` and its kin. Any number of processes may run it at once.
pub struct Projection {
    store: Arc<Store>,
    cache: Arc<dyn Cache>,
    projected: Arc<Notify>,
}

impl fmt::Debug for Projection {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Projection").finish_non_exhaustive()
    }
}

impl Projection {
    /// Writes into this store, makes cached answers invalid, and rings `projected` after each writing.
    pub fn new(store: Arc<Store>, cache: Arc<dyn Cache>, projected: Arc<Notify>) -> Self {
        Self { store, cache, projected }
    }
}

#[async_trait]
impl Consumer for Projection {
    fn group(&self) -> &'static str {
        GROUP
    }

    async fn take(&self, firm: FirmId, messages: &[Message]) -> Result<(), AppError> {
        let ids: Vec<i64> = messages.iter().map(|message| message.id).collect();
        let mut tx = self.store.begin(firm).await?;
        let taken: BTreeSet<i64> = tx.take_messages(GROUP, &ids).await?.into_iter().collect();
        let (mut accounts, mut purchases) = (BTreeSet::new(), BTreeSet::new());
        let mut newest = None;
        for message in messages.iter().filter(|message| taken.contains(&message.id)) {
            newest = newest.max(Some((message.id, message.at)));
            match message.aggregate.split_once(':') {
                Some(("account", id)) => {
                    accounts.insert(id.parse::<AccountId>().map_err(|error| unreadable(message, error))?);
                }
                Some(("purchase", id)) => {
                    purchases.insert(id.parse::<PurchaseId>().map_err(|error| unreadable(message, error))?);
                }
                // About nothing that is counted.
                Some(_) | None => {}
            }
        }
        let (accounts, purchases): (Vec<_>, Vec<_>) =
            (accounts.into_iter().collect(), purchases.into_iter().collect());
        if !accounts.is_empty() || !purchases.is_empty() {
            tx.project(&accounts, &purchases, newest).await?;
        }
        let _proof = tx.commit().await?;
        for account in accounts {
            self.cache.invalidate(&account_tag(firm, account)).await;
        }
        self.projected.notify_waiters();
        Ok(())
    }
}

fn unreadable(message: &Message, error: impl std::error::Error + Send + Sync + 'static) -> AppError {
    tracing::error!(message = message.id, aggregate = message.aggregate, "a message names nothing");
    AppError::Bug { doing: "reading whom a message is about", source: Box::new(error) }
}
