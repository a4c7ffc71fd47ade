//! What is to be done about money without anybody asking: following what providers have told, looking after pages that nobody
//! told of, and the chores of purchases and the ledger. Each part finds its work in tables; whatever dies, the next round goes on.

use std::sync::Arc;
use std::time::Duration;

use app::AppError;
use app::disputes::Disputes;
use app::kyc::Kyc;
use app::ledger::Ledger;
use app::payments::checkouts::Checkouts;
use app::payments::following::Following;
use app::payouts::Payouts;
use app::purchases::Purchases;
use app::refunds::Refunds;
use kernel::FirmId;
use tokio::sync::{Notify, watch};

use crate::as_error;

/// What providers have told is looked for this often.
const ROUND: Duration = Duration::from_secs(1);
/// What waits for too long is looked for this often.
const KEEPING: Duration = Duration::from_secs(5);
/// So many pages are pulled in one go.
const MOST_PAGES: i64 = 50;

/// Who does it.
#[derive(Clone, Debug)]
pub struct MoneyKeeper {
    /// Follows what providers have told.
    pub following: Arc<Following>,
    /// Looks after pages.
    pub checkouts: Arc<Checkouts>,
    /// Asks again for money that is to go back.
    pub refunds: Arc<Refunds>,
    /// Pulls disputes that nobody told of.
    pub disputes: Arc<Disputes>,
    /// Takes, sends and asks after payouts.
    pub payouts: Arc<Payouts>,
    /// Lets what is known of people run out.
    pub kyc: Arc<Kyc>,
    /// Fulfils and gives up purchases.
    pub purchases: Arc<Purchases>,
    /// Frees what is held for too long.
    pub ledger: Arc<Ledger>,
    /// Whose.
    pub firms: Vec<FirmId>,
    /// Wakes whoever opens accounts.
    pub purchase_paid: Arc<Notify>,
}

impl MoneyKeeper {
    /// Follows what providers have told until it is to stop.
    pub async fn follow(self, mut stop: watch::Receiver<bool>) {
        loop {
            let taken = match self.following.round().await {
                Ok(taken) => taken,
                Err(error) => {
                    tracing::error!(
                        error = as_error(&error),
                        "following what providers have told failed; trying again"
                    );
                    0
                }
            };
            if taken > 0 {
                self.purchase_paid.notify_one();
            }
            if *stop.borrow() {
                return;
            }
            if taken == 0 {
                tokio::select! {
                    () = tokio::time::sleep(ROUND) => {}
                    _ = stop.wait_for(|stop| *stop) => return,
                }
            }
        }
    }

    /// Looks after what waits for too long until it is to stop.
    pub async fn keep(self, mut stop: watch::Receiver<bool>) {
        loop {
            if let Err(error) = self.round().await {
                tracing::error!(
                    error = as_error(&error),
                    "looking after money that waits failed; trying again"
                );
            }
            tokio::select! {
                () = tokio::time::sleep(KEEPING) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// One round of what is looked after.
    pub async fn round(&self) -> Result<(), AppError> {
        let context = |firm| self.following.context(firm);
        while self.checkouts.look_after(MOST_PAGES, &context).await? > 0 {}
        for firm in &self.firms {
            let context = self.following.context(*firm);
            while self.purchases.fulfil_opened(&context).await? > 0 {}
            while self.purchases.expire_stale(&context).await? > 0 {}
            while self.ledger.expire_holds(*firm).await? > 0 {}
            self.refunds.janitor(&context).await?;
            self.disputes.janitor(&context).await?;
            self.payouts.advance(&context).await?;
            self.payouts.janitor(&context).await?;
            self.kyc.janitor(&context).await?;
        }
        Ok(())
    }
}
