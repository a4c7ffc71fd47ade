//! What is to be done about money without anybody asking: following what providers have told, looking after pages that nobody
//! told of, and the chores of purchases and the ledger. Each part finds its work in tables; whatever dies, the next round goes on.

use std::sync::Arc;
use std::time::Duration;

use app::disputes::{Disputes, Holder};
use app::kyc::Kyc;
use app::ledger::Ledger;
use app::payments::checkouts::Checkouts;
use app::payments::following::Following;
use app::payouts::Payouts;
use app::purchases::Purchases;
use app::refunds::Refunds;
use app::{AppError, Context};
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
    /// Puts the accounts of what is disputed on hold.
    pub holder: Arc<Holder>,
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
                // A dispute may have been among it.
                for firm in &self.firms {
                    done("accounts of disputes", Some(*firm), self.holder.round(*firm).await.map(drop));
                }
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
            self.round().await;
            tokio::select! {
                () = tokio::time::sleep(KEEPING) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// One round of what is looked after. What fails for one part or one firm is told and tried again in the next round; all others
    /// go on.
    pub async fn round(&self) {
        done("payment pages", None, self.pages().await);
        for firm in &self.firms {
            let context = self.following.context(*firm);
            let of = Some(*firm);
            done("purchases that are paid", of, self.fulfil(&context).await);
            done("purchases that nobody pays", of, self.expire(&context).await);
            done("holds", of, self.expire_holds(*firm).await);
            done("refunds", of, self.refunds.janitor(&context).await.map(drop));
            done("disputes", of, self.disputes.janitor(&context).await.map(drop));
            done("accounts of disputes", of, self.holder.round(*firm).await.map(drop));
            done("payouts that wait", of, self.payouts.advance(&context).await.map(drop));
            done("payouts on their way", of, self.payouts.janitor(&context).await.map(drop));
            done("what is known of people", of, self.kyc.janitor(&context).await.map(drop));
        }
    }

    async fn pages(&self) -> Result<(), AppError> {
        let context = |firm| self.following.context(firm);
        while self.checkouts.look_after(MOST_PAGES, &context).await? > 0 {}
        Ok(())
    }

    async fn fulfil(&self, context: &Context) -> Result<(), AppError> {
        while self.purchases.fulfil_opened(context).await? > 0 {}
        Ok(())
    }

    async fn expire(&self, context: &Context) -> Result<(), AppError> {
        while self.purchases.expire_stale(context).await? > 0 {}
        Ok(())
    }

    async fn expire_holds(&self, firm: FirmId) -> Result<(), AppError> {
        while self.ledger.expire_holds(firm).await? > 0 {}
        Ok(())
    }
}

fn done(part: &'static str, firm: Option<FirmId>, looked: Result<(), AppError>) {
    if let Err(error) = looked {
        let firm = firm.map(tracing::field::display);
        tracing::error!(
            part,
            firm,
            error = as_error(&error),
            "looking after money that waits failed; trying again"
        );
    }
}
