//! Pulling what notices are about, and doing what follows.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use kernel::{Clock, FirmId, PersonId, Rng, Span};

use super::checkouts::Checkouts;
use super::notices::{Claimed, MOST_ATTEMPTS, NoticeStore, Tried, pause_after};
use super::port::{About, ProviderName};
use super::{Providers, failed};
use crate::disputes::Disputes;
use crate::payouts::Payouts;
use crate::refunds::Refunds;
use crate::{AppError, Context, with_causes};

/// Whoever has taken notices has so long to do what follows.
const LEASE: Span = Span::from_seconds(120);
/// So many are taken at once.
const MOST_AT_ONCE: i64 = 100;
/// An error longer than this is cut off.
const MOST_ERROR: usize = 2_000;

/// Does what follows from notices.
pub struct Following {
    notices: Arc<dyn NoticeStore>,
    parts: Parts,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

/// Whom it concerns.
#[derive(Clone, Debug)]
pub struct Parts {
    /// Where things are pulled from.
    pub providers: Providers,
    /// Pages and payments.
    pub checkouts: Arc<Checkouts>,
    /// Money given back.
    pub refunds: Arc<Refunds>,
    /// Payments that buyers want back.
    pub disputes: Arc<Disputes>,
    /// Money on its way to traders.
    pub payouts: Arc<Payouts>,
}

impl fmt::Debug for Following {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Following").finish_non_exhaustive()
    }
}

impl Following {
    /// Over the inbox and everything that may follow.
    pub fn new(
        notices: Arc<dyn NoticeStore>,
        parts: Parts,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        Self { notices, parts, clock, rng }
    }

    /// The platform itself acts, for a firm.
    pub fn context(&self, firm: FirmId) -> Context {
        Context::of_platform(firm, self.clock.now(), &*self.rng)
    }

    /// Takes what waits in the inbox and does what follows; each thing once, however many notices are about it. Gives how many
    /// were taken; call again while there are some.
    pub async fn round(&self) -> Result<usize, AppError> {
        let claimed = self.notices.claim_notices(LEASE, MOST_AT_ONCE).await?;
        let count = claimed.len();
        let mut things: BTreeMap<(FirmId, ProviderName, About), Vec<Claimed>> = BTreeMap::new();
        for claimed in claimed {
            let thing = (claimed.firm, claimed.provider, claimed.about.clone());
            things.entry(thing).or_default().push(claimed);
        }
        for ((firm, provider, about), notices) in things {
            let followed = self.follow(&self.context(firm), provider, &about).await;
            for claimed in &notices {
                self.notices.settle_notice(claimed, &tried(claimed, &followed), self.clock.now()).await?;
            }
        }
        Ok(count)
    }

    /// Pulls a thing and does what follows. Gives whom it is about, if it is somebody of ours.
    pub async fn follow(
        &self,
        context: &Context,
        provider: ProviderName,
        about: &About,
    ) -> Result<Option<PersonId>, AppError> {
        let Parts { providers, checkouts, refunds, disputes, payouts } = &self.parts;
        let asked = || providers.of(context.firm, provider);
        match about {
            About::Checkout(session) => checkouts.follow(context, provider, session).await,
            About::Payment(payment) => checkouts.follow_payment(context, provider, payment).await,
            About::Refund(id) => {
                let refund = asked()?.refund_state(id).await.map_err(failed("pulling a refund"))?;
                let payer = self.payer(context, provider, refund.payment.as_deref()).await?;
                refunds.told(context, provider, &refund).await?;
                Ok(payer)
            }
            About::Dispute(id) => {
                let dispute = asked()?.dispute(id).await.map_err(failed("pulling a dispute"))?;
                let payer = self.payer(context, provider, dispute.payment.as_deref()).await?;
                disputes.told(context, provider, &dispute).await?;
                Ok(payer)
            }
            About::Payout(id) => {
                let payout = asked()?.payout(id).await.map_err(failed("pulling a payout"))?;
                payouts.told(context, provider, &payout).await
            }
            About::Other => Ok(None),
        }
    }

    /// Learns of the payment first, if it is said which: what follows it may have outrun it.
    async fn payer(
        &self,
        context: &Context,
        provider: ProviderName,
        payment: Option<&str>,
    ) -> Result<Option<PersonId>, AppError> {
        match payment {
            Some(payment) => self.parts.checkouts.follow_payment(context, provider, payment).await,
            None => Ok(None),
        }
    }
}

fn tried(claimed: &Claimed, followed: &Result<Option<PersonId>, AppError>) -> Tried {
    match followed {
        Ok(person) => Tried::Done(*person),
        Err(error) => {
            let again = (claimed.attempts < MOST_ATTEMPTS).then(|| pause_after(claimed.attempts));
            let (event, cause): (_, &dyn std::error::Error) = (&claimed.event, error);
            if again.is_none() {
                tracing::error!(
                    event,
                    error = cause,
                    "what a provider told of cannot be followed; a person has to look"
                );
            } else {
                tracing::warn!(
                    event,
                    error = cause,
                    "what a provider told of could not be followed; trying again"
                );
            }
            Tried::Failed { again, error: with_causes(error).chars().take(MOST_ERROR).collect() }
        }
    }
}
