//! The way to the engine: what may be taken, and taking it.

use std::sync::Arc;

use async_trait::async_trait;
use engine::{Act, Command, Refusal};
use kernel::{AccountId, Amount, FirmId, Money};
use rules::Scene;
use rules::payout::Precheck;

use super::{Payout, PayoutStore};
use crate::AppError;
use crate::trading::{Desk, Origin};

/// What the engine says to the command of a payout, for good.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The money has left the account.
    Taken {
        /// By which verdict.
        verdict: Option<u32>,
        /// How much.
        taken: Amount,
        /// The trader's share of it.
        share: Money,
    },
    /// A condition does not hold.
    Refused {
        /// By which verdict; none where the account pays nothing at all.
        verdict: Option<u32>,
        /// Which, in a sentence.
        reason: String,
    },
    /// Prices are too old to decide by. Another command may be asked later.
    Later,
}

/// Whoever takes money out of trading accounts.
#[async_trait]
pub trait Taker: Send + Sync {
    /// Whether so much may be taken now, or how much; nothing if the phase pays nothing.
    async fn precheck(&self, account: AccountId, asked: Option<Amount>)
    -> Result<Option<Precheck>, AppError>;
    /// Takes what a payout asks for, under its key: asked again, it is asked once. An error leaves open whether it was heard.
    async fn take(&self, firm: FirmId, payout: &Payout) -> Result<Answer, AppError>;
}

/// The engine, at the desk.
pub struct AtDesk {
    desk: Desk,
    store: Arc<dyn PayoutStore>,
}

impl std::fmt::Debug for AtDesk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("AtDesk").finish_non_exhaustive()
    }
}

impl AtDesk {
    /// Over the desk, and whoever remembers what it answered.
    pub fn new(desk: Desk, store: Arc<dyn PayoutStore>) -> Self {
        Self { desk, store }
    }
}

#[async_trait]
impl Taker for AtDesk {
    async fn precheck(
        &self,
        account: AccountId,
        asked: Option<Amount>,
    ) -> Result<Option<Precheck>, AppError> {
        let view = self.desk.view(account).await?.ok_or(AppError::NotFound("account"))?;
        let Some(policy) = &view.phase.payout else { return Ok(None) };
        let (at, balance) = (view.as_of, view.account.balance);
        let scene = Scene { phase: &view.phase, calendar: &[], at, balance, equity: view.equity };
        let (clocks, holding) = (view.program.clocks(), view.account.holding());
        let decided =
            policy.decide(&scene, &view.account.track, clocks, view.program.currency, holding, asked);
        let decided = decided.map_err(|error| AppError::bug("looking at a payout")(Box::new(error)))?;
        Ok(Some(decided.precheck))
    }

    async fn take(&self, firm: FirmId, payout: &Payout) -> Result<Answer, AppError> {
        let key = payout.key()?;
        // The engine forgets keys after 48 hours; the journal does not.
        let before = self.store.engine_answer(firm, payout.account, &key, payout.currency).await?;
        if let Some(answer) = before {
            return Ok(answer);
        }
        let act = Act::Payout { amount: Some(payout.asked) };
        let command = Command { account: payout.account, key: key.clone(), act };
        let origin = Origin { person: Some(payout.person), request: None };
        let submitted = self.desk.submit(command, origin).await?;
        let answer = self.store.engine_answer(firm, payout.account, &key, payout.currency).await?;
        match (answer, submitted.outcome) {
            (Some(answer), _) => Ok(answer),
            // Concerns nobody, and is in no journal.
            (None, Err(refusal @ (Refusal::UnknownAccount | Refusal::UnknownProgram))) => {
                Ok(Answer::Refused { verdict: None, reason: refusal.to_string() })
            }
            (None, outcome) => Err(AppError::Unavailable {
                doing: "reading what the engine answered to a payout",
                source: format!("{outcome:?} is not in the journal").into(),
            }),
        }
    }
}
