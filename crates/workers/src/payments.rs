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
        let context = |firm| self.following.context(firm);
        done(
            "payment pages",
            None,
            again(async || self.checkouts.look_after(MOST_PAGES, &context).await).await,
        );
        for firm in &self.firms {
            let context = self.following.context(*firm);
            let part = |part, looked| done(part, Some(*firm), looked);
            part(
                "purchases that are paid",
                again(async || self.purchases.fulfil_opened(&context).await).await,
            );
            part(
                "purchases that nobody pays",
                again(async || self.purchases.expire_stale(&context).await).await,
            );
            part("holds", again(async || self.ledger.expire_holds(*firm).await).await);
            part("refunds", self.refunds.janitor(&context).await.map(drop));
            part("disputes", self.disputes.janitor(&context).await.map(drop));
            part("payouts that wait", self.payouts.advance(&context).await.map(drop));
            part("payouts on their way", self.payouts.janitor(&context).await.map(drop));
            part("what is known of people", self.kyc.janitor(&context).await.map(drop));
        }
    }
}

/// While there is something left.
async fn again<N: Default + PartialEq>(look: impl AsyncFn() -> Result<N, AppError>) -> Result<(), AppError> {
    while look().await? != N::default() {}
    Ok(())
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
