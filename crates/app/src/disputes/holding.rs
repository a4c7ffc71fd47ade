//! Accounts whose challenge was paid with money that is asked back: the engine holds them, and lets them go again.
//!
//! What is to be held is written once, as what keeps the buyer from being paid (`payout_blocks`, by cause). The engine is told by
//! nothing that could be lost: whatever account differs from it is found in the tables, at every round, whoever opened it and
//! whenever. A command that comes late and says the opposite of what is right by then is put right by the next round.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use engine::{Act, Command, Key};
use kernel::{AccountId, Clock, FirmId, RequestId, Rng};
use tokio::task::JoinSet;

use crate::AppError;
use crate::trading::{Desk, Origin};

/// So many accounts are told in one round.
const A_ROUND: i64 = 100;

/// What is stored about accounts that are to be held.
#[async_trait]
pub trait HoldStore: Send + Sync {
    /// Accounts of a firm that the engine does not hold although the purchase behind their challenge is disputed, or the one with
    /// which that began; those that it holds without a cause; and whether each is to be held.
    async fn misheld(&self, firm: FirmId, most: i64) -> Result<Vec<(AccountId, bool)>, AppError>;
}

/// Whoever puts accounts on hold and lets them go.
pub struct Holder {
    store: Arc<dyn HoldStore>,
    desk: Desk,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    /// Under which key an account is told what, until there is an answer: what is asked again is asked once. A process that dies
    /// forgets them; holding twice is holding once.
    asked: Mutex<BTreeMap<AccountId, (bool, Key)>>,
}

impl fmt::Debug for Holder {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Holder").finish_non_exhaustive()
    }
}

impl Holder {
    /// Over a store and a desk.
    pub fn new(store: Arc<dyn HoldStore>, desk: Desk, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Self {
        Self { store, desk, clock, rng, asked: Mutex::default() }
    }

    /// Tells the engine of every account of a firm that is held and should not be, or the other way round. How many know it now.
    pub async fn round(&self, firm: FirmId) -> Result<usize, AppError> {
        let mut answers = JoinSet::new();
        for (account, held) in self.store.misheld(firm, A_ROUND).await? {
            let command = Command { account, key: self.key(account, held)?, act: Act::Hold { held } };
            let desk = self.desk.clone();
            answers.spawn(async move { (account, held, desk.submit(command, Origin::PLATFORM).await) });
        }
        let (mut told, mut failed) = (0_usize, None);
        while let Some(answered) = answers.join_next().await {
            let (account, held, submitted) =
                answered.map_err(|error| AppError::bug("holding an account")(Box::new(error)))?;
            match submitted {
                Ok(submitted) => {
                    self.forget(account);
                    match submitted.outcome {
                        Ok(_) => {
                            told = told.saturating_add(1);
                            tracing::info!(%account, held, "an account was put on hold or let go");
                        }
                        Err(refusal) => tracing::error!(%account, %refusal, "an account cannot be held"),
                    }
                }
                // The others must not wait for this one's shard.
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(told), Err)
    }

    /// Keys share one room with those of traders: this one nobody can have used.
    fn key(&self, account: AccountId, held: bool) -> Result<Key, AppError> {
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((before, key)) = asked.get(&account)
            && *before == held
        {
            return Ok(key.clone());
        }
        let text = format!("hold-{}", RequestId::random(self.clock.now(), &*self.rng));
        let key = Key::parse(&text).ok_or_else(|| AppError::bug("naming a command")("not a key".into()))?;
        asked.insert(account, (held, key.clone()));
        Ok(key)
    }

    fn forget(&self, account: AccountId) {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner).remove(&account);
    }
}

#[cfg(test)]
mod tests {
    use engine::{Done, Forecast, Refusal, View};
    use kernel::{ManualClock, SeededRng, Timestamp};

    use super::*;
    use crate::trading::{Line, LineError, Submitted, Views};

    /// An engine that applies what it hears, and whose answers are lost as often as the test says.
    #[derive(Default)]
    struct Engine {
        wanted: Mutex<bool>,
        held: Mutex<bool>,
        heard: Mutex<Vec<(String, bool)>>,
        lost: Mutex<u32>,
        refuses: Mutex<Option<Refusal>>,
    }

    fn account() -> AccountId {
        AccountId::derived(&[b"account"])
    }

    #[async_trait]
    impl HoldStore for Engine {
        async fn misheld(&self, _: FirmId, _: i64) -> Result<Vec<(AccountId, bool)>, AppError> {
            let (wanted, held) = (*self.wanted.lock().unwrap(), *self.held.lock().unwrap());
            Ok(if wanted == held { Vec::new() } else { vec![(account(), wanted)] })
        }
    }

    #[async_trait]
    impl Line for Engine {
        async fn submit(&self, command: Command, _: Origin) -> Result<Submitted, LineError> {
            let Act::Hold { held } = command.act else { return Err(LineError::Gone) };
            self.heard.lock().unwrap().push((command.key.as_str().to_owned(), held));
            let mut lost = self.lost.lock().unwrap();
            if *lost > 0 {
                *lost = lost.saturating_sub(1);
                return Err(LineError::Silent);
            }
            let refused = *self.refuses.lock().unwrap();
            if refused.is_none() {
                *self.held.lock().unwrap() = held;
            }
            let outcome = refused.map_or(Ok(Done::Noted), Err);
            Ok(Submitted { outcome, repeated: false, left: None })
        }

        async fn view(&self, _: AccountId) -> Result<Option<Arc<View>>, LineError> {
            Ok(None)
        }

        async fn forecast(&self, _: AccountId) -> Result<Option<Box<Forecast>>, LineError> {
            Ok(None)
        }

        async fn watch(&self, _: AccountId) -> Result<Option<Views>, LineError> {
            Ok(None)
        }
    }

    #[tokio::test]
    async fn what_is_not_answered_is_asked_again_under_its_key_and_what_is_new_under_another() {
        let engine = Arc::new(Engine::default());
        let holder = || {
            let line: Arc<dyn Line> = engine.clone();
            let (clock, rng) = (Arc::new(ManualClock::new(Timestamp::EPOCH)), Arc::new(SeededRng::new(7)));
            Holder::new(engine.clone(), Desk::new([line]), clock, rng)
        };
        let one = holder();
        let firm = FirmId::derived(&[b"firm"]);
        assert_eq!(one.round(firm).await.unwrap(), 0);
        *engine.wanted.lock().unwrap() = true;
        *engine.lost.lock().unwrap() = 2;
        assert!(one.round(firm).await.is_err() && one.round(firm).await.is_err());
        assert_eq!(one.round(firm).await.unwrap(), 1);
        assert_eq!(one.round(firm).await.unwrap(), 0);
        *engine.wanted.lock().unwrap() = false;
        assert_eq!(one.round(firm).await.unwrap(), 1);
        // A command of before that comes late is put right, also by a process that knows nothing of it.
        *engine.held.lock().unwrap() = true;
        assert_eq!(holder().round(firm).await.unwrap(), 1);
        // Whose key was taken by somebody is asked under another one.
        *engine.wanted.lock().unwrap() = true;
        *engine.refuses.lock().unwrap() = Some(Refusal::KeyReused);
        assert_eq!(one.round(firm).await.unwrap(), 0);
        *engine.refuses.lock().unwrap() = None;
        assert_eq!(one.round(firm).await.unwrap(), 1);
        let heard = engine.heard.lock().unwrap();
        let said: Vec<_> = heard.iter().map(|(_, held)| *held).collect();
        assert_eq!(said, [true, true, true, false, false, true, true]);
        let keys: Vec<_> = heard.iter().map(|(key, _)| key.as_str()).collect();
        assert!(
            keys[0] == keys[1] && keys[1] == keys[2] && keys[2] != keys[3] && keys[5] != keys[6],
            "{keys:?}"
        );
    }
}
