//! Giving money back: asked for by the firm's people, by the janitor for what was paid twice, or at the provider's own screen.
//!
//! A refund is a row before any provider hears of it: our name of it, which is the provider's key, and when it was asked for
//! first. Whatever happens then, it is asked for again under the same name until somebody knows. All refunds of a payment that
//! have not failed are never more than the payment: that is looked at under the lock of the purchase. What a provider says of a
//! refund changes its row and the purchase (see [`crate::purchases::decide()`]) in one transaction.

mod machine;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use engine::Key;
use kernel::{Clock, FirmId, Money, PersonId, PurchaseId, RefundId, Rng, Span, Timestamp};
use sha2::{Digest as _, Sha256};

use crate::ledger::Provider;
use crate::payments::Providers;
use crate::payments::port::{self, Failure, NewRefund, ProviderName, Reference, Said};
use crate::purchases::{
    Happened, Happening, Purchase, PurchaseEvent, PurchaseState, SANDBOX, Settlement, settlements,
};
use crate::trading::{AuditEntry, Digests};
use crate::{AppError, Context, Permission};

pub use machine::{RefundState, next};

/// The longest reason, in characters.
pub const MOST_REASON: usize = 500;

/// A refund is left to whoever asked for it so long before the janitor looks at it.
const FIRST_LOOK: Span = Span::from_seconds(60);

/// The janitor waits at most so many seconds between two looks.
const LONGEST_WAIT: i32 = 3_600;

/// So many are looked at in one round.
const MOST_AT_ONCE: i64 = 50;

/// So often what was paid twice is given back without anybody asking. Then somebody has to look.
const MOST_AUTOMATIC: usize = 3;

/// Who wanted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Somebody of the firm.
    Asked,
    /// Nobody: it was paid twice.
    Overpaid,
    /// Somebody at the provider's own screen.
    AtProvider,
}

impl Origin {
    /// All.
    pub const ALL: [Self; 3] = [Self::Asked, Self::Overpaid, Self::AtProvider];

    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Overpaid => "overpaid",
            Self::AtProvider => "at_provider",
        }
    }
}

/// Money given back to a buyer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// Our name of it, and the provider's key.
    pub id: RefundId,
    /// Of which purchase.
    pub purchase: PurchaseId,
    /// Who bought.
    pub person: PersonId,
    /// Who gives it back.
    pub provider: Provider,
    /// Of which payment, by the provider's name.
    pub payment: String,
    /// How much.
    pub amount: Money,
    /// Why.
    pub reason: String,
    /// Who wanted it.
    pub origin: Origin,
    /// Which of the firm's people.
    pub asked_by: Option<PersonId>,
    /// Under which key they asked.
    pub key: Option<Key>,
    /// Of what they asked for.
    pub fingerprint: Option<Fingerprint>,
    /// How it stands.
    pub state: RefundState,
    /// The provider's name of it, once it has one.
    pub known_as: Option<String>,
    /// What the provider said last, if it did not do it.
    pub said: Option<String>,
    /// When it was asked for first.
    pub first_asked_at: Timestamp,
    /// How often it did not work.
    pub tries: u32,
    /// When the janitor looks at it; never if it has ended.
    pub next_at: Option<Timestamp>,
    /// When its row changed last.
    pub changed_at: Timestamp,
}

/// SHA-256 over what was asked for: the same key with something else is another request.
pub type Fingerprint = [u8; 32];

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// Of which purchase.
    pub purchase: PurchaseId,
    /// How much; all that is left if not said.
    pub amount: Option<Money>,
    /// Of which payment, by the provider's name; the one that paid the purchase if not said.
    pub payment: Option<String>,
    /// Why.
    pub reason: String,
}

/// What becomes of a refund and its purchase; all of it in one transaction.
#[derive(Debug)]
pub struct Change {
    /// The row as it then is.
    pub refund: Refund,
    /// What becomes of the purchase.
    pub settlements: Vec<Settlement>,
    /// Written with it.
    pub audit: AuditEntry,
}

/// Looks at a locked purchase, its history and its refunds, and says what is to be written; nothing if all stays as it is.
pub type Decide<'a> =
    dyn Fn(&Purchase, &[Happened], &[Refund]) -> Result<Option<Change>, AppError> + Send + Sync + 'a;

/// What refunds store.
#[async_trait]
pub trait RefundStore: Send + Sync {
    /// One.
    async fn refund(&self, firm: FirmId, id: RefundId) -> Result<Option<Refund>, AppError>;
    /// The one that somebody asked for under a key.
    async fn refund_by_key(&self, firm: FirmId, by: PersonId, key: &Key) -> Result<Option<Refund>, AppError>;
    /// The one of a provider's name.
    async fn refund_known_as(
        &self,
        firm: FirmId,
        provider: &Provider,
        name: &str,
    ) -> Result<Option<Refund>, AppError>;
    /// All of a purchase, the oldest first.
    async fn refunds_of(&self, firm: FirmId, purchase: PurchaseId) -> Result<Vec<Refund>, AppError>;
    /// All of a firm that stand like this, behind one in the order of the newest first, at most so many.
    async fn refunds(
        &self,
        firm: FirmId,
        state: Option<RefundState>,
        behind: Option<RefundId>,
        most: i64,
    ) -> Result<Vec<Refund>, AppError>;
    /// The purchase that a payment paid.
    async fn paid_by(
        &self,
        firm: FirmId,
        provider: &Provider,
        payment: &str,
    ) -> Result<Option<PurchaseId>, AppError>;
    /// Locks a purchase, lets `decide` look at it, and writes what it says. Gives the refund as it then is.
    async fn change_refund(
        &self,
        firm: FirmId,
        purchase: PurchaseId,
        decide: &Decide<'_>,
    ) -> Result<Option<Refund>, AppError>;
    /// Those that the janitor is to look at, the longest due first.
    async fn refunds_due(&self, firm: FirmId, at: Timestamp, most: i64) -> Result<Vec<Refund>, AppError>;
    /// Payments that a purchase had no use for, of which not everything is given back or on its way, and that were not tried
    /// so often without success.
    async fn overpaid(
        &self,
        firm: FirmId,
        tries: i64,
        most: i64,
    ) -> Result<Vec<(PurchaseId, Provider, String)>, AppError>;
}

/// The use cases of refunds.
pub struct Refunds {
    store: Arc<dyn RefundStore>,
    providers: Providers,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

impl fmt::Debug for Refunds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Refunds").finish_non_exhaustive()
    }
}

/// A payment of a purchase, as its history tells it.
struct Paid<'a> {
    provider: &'a Provider,
    payment: &'a str,
    amount: Money,
    again: bool,
}

impl Refunds {
    /// Over a store.
    pub fn new(
        store: Arc<dyn RefundStore>,
        providers: Providers,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        Self { store, providers, clock, rng }
    }

    /// Gives money of a purchase back, in whole or in part. The same key and request give the same refund again; the key with
    /// another request is refused with `idempotency_key_reused`, more than is left of the payment with
    /// `refund_exceeds_payment`. The answer says how it stands: what the provider does not know yet stays asked, and the
    /// janitor goes on.
    pub async fn ask(&self, context: &Context, key: &Key, ask: &Ask) -> Result<Refund, AppError> {
        let by = context.demand(Permission::ManageMoney)?.person;
        let reason = ask.reason.trim();
        if reason.is_empty() || reason.chars().count() > MOST_REASON {
            return Err(AppError::field("/reason", format!("Say why, in 1 to {MOST_REASON} characters.")));
        }
        if ask.amount.is_some_and(|amount| amount.minor() <= 0) {
            return Err(AppError::field("/amount", "Give an amount above zero."));
        }
        let fingerprint = fingerprint(ask)?;
        if let Some(known) = self.store.refund_by_key(context.firm, by, key).await? {
            return same_request(known, fingerprint);
        }
        let at = self.clock.now();
        let id = RefundId::random(at, &*self.rng);
        let next_at = Some(at.after(FIRST_LOOK).map_err(AppError::clock)?);
        let decide = |purchase: &Purchase, history: &[Happened], rows: &[Refund]| {
            if rows.iter().any(|row| row.asked_by == Some(by) && row.key.as_ref() == Some(key)) {
                return Ok(None);
            }
            let paid = payments(history);
            let paid = match &ask.payment {
                Some(payment) => paid.into_iter().find(|paid| paid.payment == payment),
                None => paid.into_iter().find(|paid| !paid.again),
            };
            let paid = paid.ok_or_else(|| AppError::refused("conflict", "There is no such payment."))?;
            let disputed = matches!(purchase.state, PurchaseState::Disputed | PurchaseState::ChargedBack);
            if disputed && !paid.again {
                let say = "The buyer's bank has the money: a refund would give it back twice.";
                return Err(AppError::refused("purchase_disputed", say));
            }
            let left = left(&paid, history, rows)?;
            let amount = ask.amount.unwrap_or(left);
            if amount.currency() != left.currency() {
                let say = format!("It was paid in {}.", left.currency().code());
                return Err(AppError::field("/currency", say));
            }
            if amount.minor() > left.minor() || amount.minor() <= 0 {
                let say = format!("{left} of the payment are left to give back.");
                return Err(AppError::refused("refund_exceeds_payment", say));
            }
            let refund = Refund {
                id,
                purchase: purchase.id,
                person: purchase.person,
                provider: paid.provider.clone(),
                payment: paid.payment.to_owned(),
                amount,
                reason: reason.to_owned(),
                origin: Origin::Asked,
                asked_by: Some(by),
                key: Some(key.clone()),
                fingerprint: Some(fingerprint),
                state: RefundState::Asked,
                known_as: None,
                said: None,
                first_asked_at: at,
                tries: 0,
                next_at,
                changed_at: at,
            };
            Ok(Some(Change {
                audit: audit(context, at, "refund.ask", &refund),
                refund,
                settlements: Vec::new(),
            }))
        };
        if let Some(refund) = self.store.change_refund(context.firm, ask.purchase, &decide).await? {
            return self.carry_out(context, refund).await;
        }
        // Another request was faster under the same key, or there is no such purchase.
        let known = self.store.refund_by_key(context.firm, by, key).await?;
        same_request(known.ok_or(AppError::NotFound("purchase"))?, fingerprint)
    }

    /// One of the firm's.
    pub async fn get(&self, context: &Context, id: RefundId) -> Result<Refund, AppError> {
        context.demand(Permission::ReadBusiness)?;
        self.store.refund(context.firm, id).await?.ok_or(AppError::NotFound("refund"))
    }

    /// The firm's that stand like this, behind one in the order of the newest first, at most so many.
    pub async fn list(
        &self,
        context: &Context,
        state: Option<RefundState>,
        behind: Option<RefundId>,
        most: i64,
    ) -> Result<Vec<Refund>, AppError> {
        context.demand(Permission::ReadBusiness)?;
        self.store.refunds(context.firm, state, behind, most).await
    }

    /// Those of a purchase, the oldest first: for the buyer, and for whoever sees what the firm pays.
    pub async fn of(&self, context: &Context, purchase: &Purchase) -> Result<Vec<Refund>, AppError> {
        if context.actor()?.person != purchase.person {
            context.demand(Permission::ReadBusiness)?;
        }
        self.store.refunds_of(context.firm, purchase.id).await
    }

    /// A provider says how a refund stands, ours or one that was made at its own screen. Twice is once, in any order. Refused with
    /// `conflict` if the payment is not known yet: come again.
    pub async fn told(
        &self,
        context: &Context,
        provider: ProviderName,
        told: &port::Refund,
    ) -> Result<(), AppError> {
        self.tell(context, &provider.in_ledger()?, told).await?;
        Ok(())
    }

    async fn tell(
        &self,
        context: &Context,
        provider: &Provider,
        told: &port::Refund,
    ) -> Result<(), AppError> {
        let firm = context.firm;
        let ours = match told.reference.as_deref().and_then(|text| text.parse::<RefundId>().ok()) {
            Some(id) => self.store.refund(firm, id).await?.filter(|row| row.provider == *provider),
            None => None,
        };
        let known = match ours {
            Some(known) => Some(known),
            None => self.store.refund_known_as(firm, provider, &told.id).await?,
        };
        let unknown = || AppError::refused("conflict", "The payment that was refunded is not known yet.");
        let (id, purchase) = if let Some(known) = &known {
            (known.id, known.purchase)
        } else {
            let payment = told.payment.as_deref().ok_or_else(unknown)?;
            let purchase = self.store.paid_by(firm, provider, payment).await?.ok_or_else(unknown)?;
            let id = RefundId::derived(&[
                b"refund",
                firm.uuid().as_bytes(),
                provider.as_str().as_bytes(),
                told.id.as_bytes(),
            ]);
            (id, purchase)
        };
        let at = self.clock.now();
        let decide = |purchase: &Purchase, history: &[Happened], rows: &[Refund]| {
            let row = match rows.iter().find(|row| row.id == id) {
                Some(row) => row.clone(),
                None => Refund {
                    id,
                    purchase: purchase.id,
                    person: purchase.person,
                    provider: provider.clone(),
                    payment: told.payment.clone().ok_or_else(unknown)?,
                    amount: told.amount,
                    reason: "Made at the provider's own screen.".to_owned(),
                    origin: Origin::AtProvider,
                    asked_by: None,
                    key: None,
                    fingerprint: None,
                    state: RefundState::Asked,
                    known_as: None,
                    said: None,
                    first_asked_at: told.created_at,
                    tries: 0,
                    next_at: None,
                    changed_at: at,
                },
            };
            hear(context, at, (purchase, history), row, told)
        };
        self.store.change_refund(firm, purchase, &decide).await?;
        Ok(())
    }

    /// Asks the provider, under the refund's own name, and writes down what it says.
    async fn carry_out(&self, context: &Context, refund: Refund) -> Result<Refund, AppError> {
        let asked = if refund.provider.as_str() == SANDBOX {
            Ok(at_sandbox(&refund))
        } else {
            self.ask_provider(context.firm, &refund).await
        };
        match asked {
            Ok(told) => self.tell(context, &refund.provider, &told).await?,
            Err(Failure::Declined(said) | Failure::Refused(said)) => {
                self.turned_away(context, &refund, &said).await?;
            }
            Err(failure @ (Failure::Unknown(_) | Failure::Unavailable { .. } | Failure::WrongKey(_))) => {
                self.postpone(context, &refund, &failure).await?;
            }
        }
        let now = self.store.refund(context.firm, refund.id).await?;
        now.ok_or(AppError::NotFound("refund"))
    }

    async fn ask_provider(&self, firm: FirmId, refund: &Refund) -> Result<port::Refund, Failure> {
        let provider = self.provider(firm, &refund.provider)?;
        let new = NewRefund {
            refund: reference(refund)?,
            payment: refund.payment.clone(),
            amount: refund.amount,
            first_asked_at: refund.first_asked_at,
        };
        provider.refund(&new).await
    }

    /// Without a provider nothing is refused: the firm's keys may come back.
    fn provider(&self, firm: FirmId, name: &Provider) -> Result<&Arc<dyn port::Provider>, Failure> {
        let missing = || {
            let text = format!("The firm does not use {name}.");
            Failure::WrongKey(Said { code: "provider_unknown".to_owned(), text, trace: None })
        };
        let known = ProviderName::parse(name.as_str()).ok_or_else(missing)?;
        self.providers.of(firm, known).map_err(|_| missing())
    }

    /// Nothing happened and never will.
    async fn turned_away(&self, context: &Context, refund: &Refund, said: &Said) -> Result<(), AppError> {
        let at = self.clock.now();
        let decide = |_: &Purchase, _: &[Happened], rows: &[Refund]| {
            // Meanwhile somebody else may have heard otherwise.
            let Some(row) = rows.iter().find(|row| row.id == refund.id && row.state == RefundState::Asked)
            else {
                return Ok(None);
            };
            let refund = Refund {
                state: RefundState::Failed,
                said: Some(short(&said.to_string())),
                next_at: None,
                changed_at: at,
                ..row.clone()
            };
            Ok(Some(Change {
                audit: audit(context, at, "refund.fail", &refund),
                refund,
                settlements: Vec::new(),
            }))
        };
        self.store.change_refund(context.firm, refund.purchase, &decide).await?;
        Ok(())
    }

    /// Nobody knows, or not now: the janitor comes back to it.
    async fn postpone(&self, context: &Context, refund: &Refund, failure: &Failure) -> Result<(), AppError> {
        let at = self.clock.now();
        let asked = match failure {
            Failure::Unavailable { retry_after, .. } => *retry_after,
            Failure::Declined(_) | Failure::Refused(_) | Failure::Unknown(_) | Failure::WrongKey(_) => None,
        };
        let decide = |_: &Purchase, _: &[Happened], rows: &[Refund]| {
            let open = |row: &&Refund| row.id == refund.id && row.next_at.is_some();
            let Some(row) = rows.iter().find(open) else { return Ok(None) };
            let wait = wait(row.tries).max(asked.unwrap_or(FIRST_LOOK));
            let refund = Refund {
                said: Some(short(&failure.to_string())),
                tries: row.tries.saturating_add(1),
                next_at: Some(at.after(wait).map_err(AppError::clock)?),
                changed_at: at,
                ..row.clone()
            };
            Ok(Some(Change {
                audit: audit(context, at, "refund.wait", &refund),
                refund,
                settlements: Vec::new(),
            }))
        };
        self.store.change_refund(context.firm, refund.purchase, &decide).await?;
        Ok(())
    }

    /// Asks again what nobody knows, pulls what is on its way, and gives back what was paid twice. Gives how many it looked at;
    /// call again while there are some.
    pub async fn janitor(&self, context: &Context) -> Result<usize, AppError> {
        let mut looked: usize = 0;
        for (purchase, provider, payment) in
            self.store.overpaid(context.firm, as_count(MOST_AUTOMATIC), MOST_AT_ONCE).await?
        {
            if let Some(refund) = self.give_back(context, purchase, &provider, &payment).await? {
                self.carry_out(context, refund).await?;
                looked = looked.saturating_add(1);
            }
        }
        for refund in self.store.refunds_due(context.firm, self.clock.now(), MOST_AT_ONCE).await? {
            looked = looked.saturating_add(1);
            match self.look(context, &refund).await {
                // One that somebody has to look at does not hold up the others.
                Err(AppError::Refused { code, say }) => {
                    tracing::error!(refund = %refund.id, code, say, "what a provider says of a refund cannot be");
                    let said = Said { code: code.to_owned(), text: say, trace: None };
                    self.postpone(context, &refund, &Failure::Unknown(said)).await?;
                }
                looked => looked?,
            }
        }
        Ok(looked)
    }

    async fn look(&self, context: &Context, refund: &Refund) -> Result<(), AppError> {
        if let (RefundState::Pending, Some(name)) = (refund.state, &refund.known_as) {
            return self.pull(context, refund, name).await;
        }
        self.carry_out(context, refund.clone()).await?;
        Ok(())
    }

    /// Writes down that what is left of a payment that nobody needs goes back.
    async fn give_back(
        &self,
        context: &Context,
        purchase: PurchaseId,
        provider: &Provider,
        payment: &str,
    ) -> Result<Option<Refund>, AppError> {
        let at = self.clock.now();
        let id = RefundId::random(at, &*self.rng);
        let next_at = Some(at.after(FIRST_LOOK).map_err(AppError::clock)?);
        let decide = |purchase: &Purchase, history: &[Happened], rows: &[Refund]| {
            let of = |paid: &Paid<'_>| paid.again && paid.provider == provider && paid.payment == payment;
            let Some(paid) = payments(history).into_iter().find(of) else { return Ok(None) };
            let tried = rows.iter().filter(|row| row.origin == Origin::Overpaid && row.payment == payment);
            let amount = left(&paid, history, rows)?;
            if amount.minor() <= 0 || tried.count() >= MOST_AUTOMATIC {
                return Ok(None);
            }
            let refund = Refund {
                id,
                purchase: purchase.id,
                person: purchase.person,
                provider: provider.clone(),
                payment: payment.to_owned(),
                amount,
                reason: "Paid twice.".to_owned(),
                origin: Origin::Overpaid,
                asked_by: None,
                key: None,
                fingerprint: None,
                state: RefundState::Asked,
                known_as: None,
                said: None,
                first_asked_at: at,
                tries: 0,
                next_at,
                changed_at: at,
            };
            Ok(Some(Change {
                audit: audit(context, at, "refund.ask", &refund),
                refund,
                settlements: Vec::new(),
            }))
        };
        self.store.change_refund(context.firm, purchase, &decide).await
    }

    async fn pull(&self, context: &Context, refund: &Refund, name: &str) -> Result<(), AppError> {
        let pulled = match self.provider(context.firm, &refund.provider) {
            Ok(provider) => provider.refund_state(name).await,
            Err(failure) => Err(failure),
        };
        match pulled {
            Ok(told) if told.state != port::RefundState::Pending => {
                // A provider may leave out what we know.
                let told = port::Refund { reference: Some(refund.id.to_string()), ..told };
                self.tell(context, &refund.provider, &told).await
            }
            Ok(_) => {
                let said = Said { code: "pending".to_owned(), text: "On its way.".to_owned(), trace: None };
                self.postpone(context, refund, &Failure::Unavailable { said, retry_after: None }).await
            }
            Err(failure) => self.postpone(context, refund, &failure).await,
        }
    }
}

/// What a told refund does to its row and its purchase.
fn hear(
    context: &Context,
    at: Timestamp,
    (purchase, history): (&Purchase, &[Happened]),
    row: Refund,
    told: &port::Refund,
) -> Result<Option<Change>, AppError> {
    if row.amount != told.amount {
        let say = format!("{} was refunded where {} was asked for.", told.amount, row.amount);
        return Err(AppError::refused("conflict", say));
    }
    if row.known_as.as_ref().is_some_and(|name| *name != told.id) {
        return Err(AppError::refused("conflict", "The refund has another name."));
    }
    let new = row.known_as.is_none();
    let Some(state) = next(row.state, !new, told.state) else { return Ok(None) };
    let mut events = Vec::new();
    if new {
        let event = PurchaseEvent::Refunded {
            provider: row.provider.clone(),
            payment: row.payment.clone(),
            refund: told.id.clone(),
            amount: row.amount,
        };
        events.push((event, told.created_at));
    }
    if state == RefundState::Failed {
        let event = PurchaseEvent::RefundFailed {
            provider: row.provider.clone(),
            refund: told.id.clone(),
            reason: told.reason.clone().unwrap_or_default(),
        };
        events.push((event, at));
    }
    let settlements = match settlements(context, at, purchase, history, &events) {
        // It was there and is gone again, and another one has taken its place: it moved nothing.
        Err(AppError::Refused { code: "conflict", .. }) if new && state == RefundState::Failed => Vec::new(),
        settlements => settlements?,
    };
    let said =
        (state == RefundState::Failed).then(|| short(told.reason.as_deref().unwrap_or("It came back.")));
    // What is on its way is pulled when nobody tells; what was made by hand, too.
    let next_at = if state == RefundState::Pending {
        Some(at.after(FIRST_LOOK).map_err(AppError::clock)?)
    } else {
        None
    };
    let refund =
        Refund { state, known_as: Some(told.id.clone()), said, tries: 0, next_at, changed_at: at, ..row };
    let action = match state {
        RefundState::Asked | RefundState::Pending => "refund.begin",
        RefundState::Done => "refund.finish",
        RefundState::Failed => "refund.fail",
    };
    Ok(Some(Change { audit: audit(context, at, action, &refund), refund, settlements }))
}

/// What was paid for a purchase, and what it had no use for.
fn payments(history: &[Happened]) -> Vec<Paid<'_>> {
    let paid = |it: &'_ Happened| matches!(it.what, Happening::Captured | Happening::PaidAgain);
    let of = history.iter().filter(|it| paid(it)).filter_map(|it| {
        let again = it.what == Happening::PaidAgain;
        Some(Paid { provider: it.provider.as_ref()?, payment: &it.reference, amount: it.amount?, again })
    });
    of.collect()
}

/// What of a payment is neither given back nor on its way.
fn left(paid: &Paid<'_>, history: &[Happened], rows: &[Refund]) -> Result<Money, AppError> {
    let mut gone: i64 = 0;
    let mut take = |amount: Money| {
        gone = gone.checked_add(amount.minor()).ok_or(kernel::Overflow)?;
        Ok::<_, kernel::Overflow>(())
    };
    let overflow = |error| AppError::from(crate::ledger::LedgerError::Overflow(error));
    for row in rows.iter().filter(|row| row.state != RefundState::Failed) {
        if row.provider == *paid.provider && row.payment == paid.payment {
            take(row.amount).map_err(overflow)?;
        }
    }
    // Heard of by another way than this module's.
    let foreign = |it: &&Happened| {
        let ours = rows.iter().any(|row| row.known_as.as_ref() == Some(&it.reference));
        let failed = history
            .iter()
            .any(|other| other.what == Happening::RefundFailed && other.reference == it.reference);
        let what = if paid.again {
            it.what == Happening::OverpaymentRefunded
        } else {
            matches!(it.what, Happening::RefundedInPart | Happening::RefundedInWhole)
        };
        what && !ours && !failed
    };
    for amount in history.iter().filter(foreign).filter_map(|it| it.amount) {
        take(amount).map_err(overflow)?;
    }
    let minor = paid.amount.minor().checked_sub(gone).ok_or(kernel::Overflow).map_err(overflow)?;
    Ok(Money::from_minor(minor, paid.amount.currency()))
}

/// The sandbox gives back at once.
fn at_sandbox(refund: &Refund) -> port::Refund {
    port::Refund {
        id: format!("re-{}", refund.id),
        reference: Some(refund.id.to_string()),
        payment: Some(refund.payment.clone()),
        amount: refund.amount,
        state: port::RefundState::Done,
        reason: None,
        created_at: refund.first_asked_at,
    }
}

fn reference(refund: &Refund) -> Result<Reference, Failure> {
    Reference::parse(&refund.id.to_string()).map_err(|error| {
        Failure::WrongKey(Said { code: "reference".to_owned(), text: error.to_string(), trace: None })
    })
}

/// All that is left, however much it was, is another request than a certain amount.
fn fingerprint(ask: &Ask) -> Result<Fingerprint, AppError> {
    let said = (ask.purchase, ask.amount, &ask.payment, ask.reason.trim());
    let text =
        serde_json::to_vec(&said).map_err(|error| AppError::bug("naming a request")(Box::new(error)))?;
    Ok(Sha256::digest(text).into())
}

fn same_request(known: Refund, fingerprint: Fingerprint) -> Result<Refund, AppError> {
    if known.fingerprint == Some(fingerprint) {
        Ok(known)
    } else {
        Err(AppError::refused("idempotency_key_reused", "The Idempotency-Key was used for another refund."))
    }
}

/// The wait after so many tries: a minute, then twice as long each time.
fn wait(tries: u32) -> Span {
    let seconds = 60_i32.checked_shl(tries.min(10)).unwrap_or(LONGEST_WAIT);
    Span::from_seconds(seconds.clamp(60, LONGEST_WAIT))
}

fn short(text: &str) -> String {
    text.chars().take(MOST_REASON).collect()
}

fn as_count(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn audit(context: &Context, at: Timestamp, action: &str, refund: &Refund) -> AuditEntry {
    AuditEntry {
        firm: context.firm,
        at,
        actor: context.actor.as_ref().map(|actor| actor.person),
        action: action.to_owned(),
        object_kind: "refund",
        object: refund.id.to_string(),
        request: Some(context.request),
        purpose: String::new(),
        digests: Digests::default(),
        detail: serde_json::json!({
            "purchase": refund.purchase, "amount": refund.amount, "state": refund.state.word(),
            "origin": refund.origin.word(), "reason": refund.reason,
        }),
    }
}
