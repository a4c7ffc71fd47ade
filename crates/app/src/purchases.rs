//! Buying a challenge: a purchase waits for its payment and then, exactly once, becomes a challenge.
//!
//! The account itself is opened by the engine. [`Purchases::unopened`] lists the challenges that have none yet, and
//! [`Unopened::command`] is what to submit for each; doing it twice opens one account.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use engine::{Act, Command, Key, Open};
use kernel::{ChallengeId, Clock, FirmId, Money, PersonId, PurchaseId, Rng, Timestamp};
use rules::VersionHash;
use sha2::{Digest, Sha256};

use crate::catalogue::CatalogueStore;
use crate::trading::{AuditEntry, Digests, OutboxEntry};
use crate::{AppError, Context, Permission};

/// Where a purchase stands. Everything but the first is for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PurchaseState {
    /// Nobody has paid yet.
    AwaitingPayment,
    /// Paid; its challenge exists.
    Paid,
    /// The payment failed.
    Declined,
    /// Taken back by the buyer before paying.
    Cancelled,
}

impl PurchaseState {
    /// All.
    pub const ALL: [Self; 4] = [Self::AwaitingPayment, Self::Paid, Self::Declined, Self::Cancelled];

    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::AwaitingPayment => "awaiting_payment",
            Self::Paid => "paid",
            Self::Declined => "declined",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether it moves to `to`: nothing to do if it is there, and no way from one end to another.
    fn step(self, to: Self) -> Result<bool, AppError> {
        match self {
            Self::AwaitingPayment => Ok(to != self),
            Self::Paid | Self::Declined | Self::Cancelled if self == to => Ok(false),
            Self::Paid | Self::Declined | Self::Cancelled => {
                Err(AppError::refused("conflict", format!("The purchase is already {}.", self.word())))
            }
        }
    }
}

/// The buying of a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purchase {
    /// Its name.
    pub id: PurchaseId,
    /// Who buys.
    pub person: PersonId,
    /// The program's slug.
    pub slug: String,
    /// The program's name in that version.
    pub program_name: String,
    /// The version bought.
    pub version: VersionHash,
    /// Our price when it was created.
    pub fee: Money,
    /// Where it stands.
    pub state: PurchaseState,
    /// The challenge, once paid.
    pub challenge: Option<ChallengeId>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it left the first state.
    pub decided_at: Option<Timestamp>,
}

/// SHA-256 over what was asked for: the same key with another one is another purchase.
pub type Fingerprint = [u8; 32];

/// A purchase to be created.
#[derive(Debug)]
pub struct NewPurchase {
    /// The row.
    pub purchase: Purchase,
    /// The client's key.
    pub key: Key,
    /// Of the request.
    pub fingerprint: Fingerprint,
    /// Written with it.
    pub audit: AuditEntry,
    /// Written with it.
    pub outbox: OutboxEntry,
}

/// What becomes of a purchase; all of it in one transaction.
#[derive(Debug)]
pub struct Settlement {
    /// The new state.
    pub state: PurchaseState,
    /// When.
    pub at: Timestamp,
    /// The challenge, if paid.
    pub challenge: Option<ChallengeId>,
    /// Written with it.
    pub audit: AuditEntry,
    /// Written with it.
    pub outbox: OutboxEntry,
}

/// Looks at a locked purchase and says what becomes of it; nothing if it stays as it is.
pub type Decide<'a> = dyn Fn(&Purchase) -> Result<Option<Settlement>, AppError> + Send + Sync + 'a;

/// A paid challenge without an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unopened {
    /// Whose.
    pub firm: FirmId,
    /// The challenge.
    pub challenge: ChallengeId,
    /// The version bought.
    pub version: VersionHash,
}

impl Unopened {
    /// The command that opens its first account. Always the same one.
    pub fn command(&self) -> Result<Command, AppError> {
        let open =
            Open { firm: self.firm, challenge: self.challenge, version: self.version.clone(), phase: 0 };
        let key = Key::parse("open").ok_or_else(|| AppError::bug("naming a command")("not a key".into()))?;
        Ok(Command { account: open.account(), key, act: Act::Open(open) })
    }
}

/// What purchases store.
#[async_trait]
pub trait PurchaseStore: Send + Sync {
    /// The purchase made under a key before, with the fingerprint of its request.
    async fn by_key(
        &self,
        firm: FirmId,
        person: PersonId,
        key: &Key,
    ) -> Result<Option<(Purchase, Fingerprint)>, AppError>;
    /// Creates it, or gives the one that another request has just created under the key.
    async fn create(&self, firm: FirmId, new: &NewPurchase) -> Result<(Purchase, Fingerprint), AppError>;
    /// One, whoever's.
    async fn purchase(&self, firm: FirmId, id: PurchaseId) -> Result<Option<Purchase>, AppError>;
    /// Somebody's, the newest first.
    async fn purchases(&self, firm: FirmId, person: PersonId) -> Result<Vec<Purchase>, AppError>;
    /// Locks one, lets `decide` look at it, and writes what it says. Gives it as it then is.
    async fn settle(
        &self,
        firm: FirmId,
        id: PurchaseId,
        decide: &Decide<'_>,
    ) -> Result<Option<Purchase>, AppError>;
    /// Paid challenges of all firms without a first account, the oldest first.
    async fn unopened(&self, most: i64) -> Result<Vec<Unopened>, AppError>;
}

/// The use cases of purchases.
pub struct Purchases {
    store: Arc<dyn PurchaseStore>,
    catalogue: Arc<dyn CatalogueStore>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

impl fmt::Debug for Purchases {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Purchases").finish_non_exhaustive()
    }
}

impl Purchases {
    /// Over two stores, usually one.
    pub fn new(
        store: Arc<dyn PurchaseStore>,
        catalogue: Arc<dyn CatalogueStore>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        Self { store, catalogue, clock, rng }
    }

    /// Creates a purchase at our price. The same key and request give the same purchase again; the key with another
    /// request is refused with `idempotency_key_reused`. Refused with `program_changed` if the version that the
    /// buyer has read is no longer the one on sale.
    pub async fn create(
        &self,
        context: &Context,
        key: &Key,
        slug: &str,
        version: &str,
    ) -> Result<Purchase, AppError> {
        let person = context.demand(Permission::Trade)?.person;
        let fingerprint = fingerprint(slug, version);
        if let Some(made) = self.store.by_key(context.firm, person, key).await? {
            return same_request(made, fingerprint);
        }
        let offer = self.catalogue.offer(context.firm, slug).await?.ok_or(AppError::NotFound("program"))?;
        if offer.version.as_str() != version {
            return Err(AppError::refused(
                "program_changed",
                "The program has changed since you read it. Read its rules again and buy the current version.",
            ));
        }
        let at = self.clock.now();
        let id = PurchaseId::random(at, &*self.rng);
        let detail = serde_json::json!({ "slug": offer.slug, "version": offer.version, "fee": offer.fee });
        let new = NewPurchase {
            audit: audit(context, at, "purchase.create", id, detail.clone()),
            outbox: outbox(context, at, "purchase.created", id, detail),
            purchase: Purchase {
                id,
                person,
                slug: offer.slug,
                program_name: offer.program.name.clone(),
                version: offer.version,
                fee: offer.fee,
                state: PurchaseState::AwaitingPayment,
                challenge: None,
                created_at: at,
                decided_at: None,
            },
            key: key.clone(),
            fingerprint,
        };
        same_request(self.store.create(context.firm, &new).await?, fingerprint)
    }

    /// One of the caller's own.
    pub async fn get(&self, context: &Context, id: PurchaseId) -> Result<Purchase, AppError> {
        let person = context.actor()?.person;
        let found = self.store.purchase(context.firm, id).await?;
        found.filter(|purchase| purchase.person == person).ok_or(AppError::NotFound("purchase"))
    }

    /// All of the caller's own, the newest first.
    pub async fn list(&self, context: &Context) -> Result<Vec<Purchase>, AppError> {
        self.store.purchases(context.firm, context.actor()?.person).await
    }

    /// The buyer takes it back before paying.
    pub async fn cancel(&self, context: &Context, id: PurchaseId) -> Result<Purchase, AppError> {
        self.get(context, id).await?;
        self.settle(context, id, PurchaseState::Cancelled).await
    }

    /// The payment provider has the money: the purchase is paid and its challenge exists. Twice is once. For the
    /// provider's adapter: it answers for where the message came from.
    pub async fn capture(&self, context: &Context, id: PurchaseId) -> Result<Purchase, AppError> {
        self.settle(context, id, PurchaseState::Paid).await
    }

    /// The payment provider will not pay. Twice is once.
    pub async fn decline(&self, context: &Context, id: PurchaseId) -> Result<Purchase, AppError> {
        self.settle(context, id, PurchaseState::Declined).await
    }

    /// Paid challenges of all firms whose first account is still to be opened, the oldest first.
    pub async fn unopened(&self, most: i64) -> Result<Vec<Unopened>, AppError> {
        self.store.unopened(most).await
    }

    async fn settle(
        &self,
        context: &Context,
        id: PurchaseId,
        to: PurchaseState,
    ) -> Result<Purchase, AppError> {
        let at = self.clock.now();
        let decide = |purchase: &Purchase| {
            if !purchase.state.step(to)? {
                return Ok(None);
            }
            let paid = to == PurchaseState::Paid;
            // Follows from the purchase: whatever is repeated, there is one challenge.
            let challenge = paid.then(|| ChallengeId::derived(&[b"challenge", id.uuid().as_bytes()]));
            let detail =
                serde_json::json!({ "state": to.word(), "challenge": challenge, "fee": purchase.fee });
            let (action, topic) = match to {
                PurchaseState::Paid => ("purchase.capture", "purchase.paid"),
                PurchaseState::Declined => ("purchase.decline", "purchase.declined"),
                PurchaseState::Cancelled | PurchaseState::AwaitingPayment => {
                    ("purchase.cancel", "purchase.cancelled")
                }
            };
            Ok(Some(Settlement {
                state: to,
                at,
                challenge,
                audit: audit(context, at, action, id, detail.clone()),
                outbox: outbox(context, at, topic, id, detail),
            }))
        };
        self.store.settle(context.firm, id, &decide).await?.ok_or(AppError::NotFound("purchase"))
    }
}

fn fingerprint(slug: &str, version: &str) -> Fingerprint {
    let mut hash = Sha256::new();
    // A slug has no line break, so no two requests run into one text.
    hash.update(slug);
    hash.update("\n");
    hash.update(version);
    hash.finalize().into()
}

fn same_request(made: (Purchase, Fingerprint), fingerprint: Fingerprint) -> Result<Purchase, AppError> {
    let (purchase, stored) = made;
    if stored == fingerprint {
        Ok(purchase)
    } else {
        Err(AppError::refused("idempotency_key_reused", "The Idempotency-Key was used for another purchase."))
    }
}

fn audit(
    context: &Context,
    at: Timestamp,
    action: &str,
    id: PurchaseId,
    detail: serde_json::Value,
) -> AuditEntry {
    AuditEntry {
        firm: context.firm,
        at,
        actor: context.actor.as_ref().map(|actor| actor.person),
        action: action.to_owned(),
        object_kind: "purchase",
        object: id.to_string(),
        request: Some(context.request),
        purpose: String::new(),
        digests: Digests::default(),
        detail,
    }
}

fn outbox(
    context: &Context,
    at: Timestamp,
    topic: &'static str,
    id: PurchaseId,
    payload: serde_json::Value,
) -> OutboxEntry {
    OutboxEntry {
        firm: context.firm,
        at,
        aggregate: format!("purchase:{id}"),
        topic,
        payload,
        request: Some(context.request),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_an_end_and_reaching_it_again_changes_nothing() {
        let waiting = PurchaseState::AwaitingPayment;
        for end in [PurchaseState::Paid, PurchaseState::Declined, PurchaseState::Cancelled] {
            assert!(waiting.step(end).unwrap());
            for to in [PurchaseState::Paid, PurchaseState::Declined, PurchaseState::Cancelled] {
                match end.step(to) {
                    Ok(moves) => assert!(end == to && !moves),
                    Err(AppError::Refused { code, .. }) => assert!(end != to && code == "conflict"),
                    Err(other) => panic!("{other}"),
                }
            }
        }
    }
}
