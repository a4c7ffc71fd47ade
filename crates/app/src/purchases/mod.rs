//! Buying a challenge: a purchase waits for its payment and then, exactly once, becomes a challenge.
//!
//! What it costs is decided here ([`crate::catalogue::quote`]), where it may go from where it stands by [`next`], and what is posted to
//! the ledger with it by [`decide()`]. Whoever hears something from a payment provider says it as a [`PurchaseEvent`]; it may come
//! late, twice and out of order.
//!
//! The account itself is opened by the engine. [`Purchases::unopened`] lists the challenges that have none yet, and
//! [`Unopened::command`] is what to submit for each; doing it twice opens one account. [`Purchases::fulfil_opened`] then says of
//! the purchase that it is fulfilled.

mod decide;
mod machine;
mod offers;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use engine::{Act, Command, Key, Open};
use kernel::{ChallengeId, Clock, Currency, FirmId, Money, PersonId, PurchaseId, Rng, Span, Timestamp};
use rules::{Program, VersionHash};
use sha2::{Digest, Sha256};

use crate::catalogue::{
    Addon, Asked, Basket, CatalogueStore, Country, Item, NoTaxes, PriceLine, Quote, Shelf, Taxes, quote,
};
use crate::ledger::Provider;
use crate::trading::{AuditEntry, Digests, OutboxEntry};
use crate::{AppError, Context, Permission};

pub use decide::{Decision, Happened, PurchaseEvent, cause, decide, refunded};
pub use machine::{Happening, Next, PurchaseState, next};
pub use offers::{OfferedAddon, OnShelf, ResetOffer, coupon_meant};

/// The provider of demonstrations: no money moves.
pub const SANDBOX: &str = "sandbox";

/// A purchase that nobody has begun to pay expires after so long.
pub const OPEN_FOR: Span = Span::from_seconds(24 * 3_600);

/// So many purchases are looked at in one go.
const MOST_AT_ONCE: i64 = 200;

/// The most add-ons, and the most coupons, in one purchase.
const MOST_CODES: usize = 8;

/// What is bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bought {
    /// A challenge from its beginning.
    Challenge,
    /// The same challenge once more, after it failed.
    Reset {
        /// Which one failed.
        of: ChallengeId,
        /// Whether it is one of those that were bought with the challenge.
        included: bool,
    },
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
    /// The version that the account gets: with add-ons it is another than the one on sale.
    pub version: VersionHash,
    /// What is bought.
    pub bought: Bought,
    /// What is to be paid, by our price when it was created; tax included.
    pub fee: Money,
    /// What of the list price was let off.
    pub discount: Money,
    /// The tax in what is to be paid.
    pub tax: Money,
    /// How that came about.
    pub lines: Vec<PriceLine>,
    /// Whose page waits for the payment, or took it.
    pub provider: Option<Provider>,
    /// Where it stands.
    pub state: PurchaseState,
    /// The challenge, once paid.
    pub challenge: Option<ChallengeId>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was paid, or ended without.
    pub decided_at: Option<Timestamp>,
}

/// SHA-256 over what was asked for: the same key with another one is another purchase.
pub type Fingerprint = [u8; 32];

/// What somebody wants to buy. Everything is named, nothing is priced.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Order {
    /// The program's slug.
    pub slug: String,
    /// The version whose rules the buyer has read.
    pub version: String,
    /// Codes of add-ons.
    pub addons: Vec<String>,
    /// Codes of coupons, in whatever case.
    pub coupons: Vec<String>,
    /// Where the buyer says they are, for prices and tax.
    pub country: Option<Country>,
    /// In which currency they want to pay.
    pub currency: Option<Currency>,
    /// The challenge that is to begin anew.
    pub reset_of: Option<ChallengeId>,
}

/// A purchase to be created.
#[derive(Debug)]
pub struct NewPurchase {
    /// The row.
    pub purchase: Purchase,
    /// The version with what was added, if that is another than the one on sale.
    pub program: Option<Program>,
    /// How many resets were bought with it.
    pub resets: u32,
    /// Whether it is one of the trials of which everybody gets one.
    pub trial: bool,
    /// The country said, for prices and tax.
    pub country: Option<Country>,
    /// Coupons that are used, in the order of their codes. Each is claimed or none.
    pub coupons: Vec<String>,
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
    /// What has happened, where the purchase goes and what is posted.
    pub decision: Decision,
    /// When it was known.
    pub recorded_at: Timestamp,
    /// The challenge that comes into being.
    pub challenge: Option<ChallengeId>,
    /// Whether its coupons may be used by others again.
    pub frees_coupons: bool,
    /// Written with it.
    pub audit: AuditEntry,
    /// Written with it.
    pub outbox: Option<OutboxEntry>,
}

/// Looks at a locked purchase and its history and says what becomes of it; nothing if it stays as it is.
pub type Decide<'a> =
    dyn Fn(&Purchase, &[Happened]) -> Result<Option<Settlement>, AppError> + Send + Sync + 'a;

/// A challenge that may begin anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resettable {
    /// Its program's slug.
    pub slug: String,
    /// Its version; the new one gets the same.
    pub version: VersionHash,
    /// That version.
    pub program: Arc<Program>,
    /// Whether its last account has ended without passing.
    pub failed: bool,
    /// How many resets of those bought with it are left.
    pub included: u32,
    /// Whether it was begun anew already, or such a purchase waits for its payment.
    pub begun_anew: bool,
}

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
    /// Creates it and claims its coupons, or gives the one that another request has just created under the key.
    async fn create(&self, firm: FirmId, new: &NewPurchase) -> Result<(Purchase, Fingerprint), AppError>;
    /// One, whoever's.
    async fn purchase(&self, firm: FirmId, id: PurchaseId) -> Result<Option<Purchase>, AppError>;
    /// Somebody's, the newest first, behind the one that was read last.
    async fn purchases(
        &self,
        firm: FirmId,
        person: PersonId,
        behind: Option<PurchaseId>,
        most: i64,
    ) -> Result<Vec<Purchase>, AppError>;
    /// What has happened to one, in order.
    async fn history(&self, firm: FirmId, id: PurchaseId) -> Result<Vec<Happened>, AppError>;
    /// Somebody's challenge that is to begin anew.
    async fn resettable(
        &self,
        firm: FirmId,
        person: PersonId,
        challenge: ChallengeId,
    ) -> Result<Option<Resettable>, AppError>;
    /// Locks one, lets `decide` look at it, and writes what it says. Gives it as it then is.
    async fn settle(
        &self,
        firm: FirmId,
        id: PurchaseId,
        decide: &Decide<'_>,
    ) -> Result<Option<Purchase>, AppError>;
    /// Captured purchases whose first account is open, with when it was opened.
    async fn opened(&self, firm: FirmId, most: i64) -> Result<Vec<(PurchaseId, Timestamp)>, AppError>;
    /// Purchases that nobody has begun to pay, created before an instant, the oldest first.
    async fn stale(&self, firm: FirmId, before: Timestamp, most: i64) -> Result<Vec<PurchaseId>, AppError>;
    /// Paid challenges of all firms without a first account, the oldest first.
    async fn unopened(&self, most: i64) -> Result<Vec<Unopened>, AppError>;
}

/// The use cases of purchases.
pub struct Purchases {
    store: Arc<dyn PurchaseStore>,
    catalogue: Arc<dyn CatalogueStore>,
    taxes: Arc<dyn Taxes>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

impl fmt::Debug for Purchases {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Purchases").finish_non_exhaustive()
    }
}

/// What is on the shelf for an order, and what it costs.
struct Priced {
    goods: Shelf,
    reset: Option<Resettable>,
    coupons: Vec<String>,
    quote: Quote,
    bought: Bought,
}

impl Purchases {
    /// Over two stores, usually one. Tax is what the firm has set for the buyer's country.
    pub fn new(
        store: Arc<dyn PurchaseStore>,
        catalogue: Arc<dyn CatalogueStore>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        Self { store, catalogue, taxes: Arc::new(NoTaxes), clock, rng }
    }

    /// The same, with somebody else who knows what tax is due.
    #[must_use]
    pub fn with_taxes(self, taxes: Arc<dyn Taxes>) -> Self {
        Self { taxes, ..self }
    }

    /// Creates a purchase of a program as it is, at our price. See [`Purchases::buy`].
    pub async fn create(
        &self,
        context: &Context,
        key: &Key,
        slug: &str,
        version: &str,
    ) -> Result<Purchase, AppError> {
        let order = Order { slug: slug.to_owned(), version: version.to_owned(), ..Order::default() };
        self.buy(context, key, order).await
    }

    /// What an order would cost now.
    pub async fn price(&self, context: &Context, order: &Order) -> Result<Quote, AppError> {
        let person = context.demand(Permission::Trade)?.person;
        Ok(self.priced(context.firm, person, order).await?.quote)
    }

    /// Creates a purchase at our price. The same key and request give the same purchase again; the key with another
    /// request is refused with `idempotency_key_reused`. Refused with `program_changed` if the version that the
    /// buyer has read is no longer the one on sale. What costs nothing is captured at once.
    pub async fn buy(&self, context: &Context, key: &Key, order: Order) -> Result<Purchase, AppError> {
        let person = context.demand(Permission::Trade)?.person;
        let fingerprint = fingerprint(&order);
        if let Some(made) = self.store.by_key(context.firm, person, key).await? {
            return self.free(context, same_request(made, fingerprint)?).await;
        }
        let Priced { goods, reset, coupons, quote, bought } =
            self.priced(context.firm, person, &order).await?;
        let sold = match &reset {
            Some(reset) => (&reset.version, &reset.program),
            None => (&goods.offer.version, &goods.offer.program),
        };
        let program = with_addons(sold.1, &goods.addons)?;
        let version = match &program {
            Some(program) => {
                program.version().map_err(|error| AppError::bug("naming a version")(Box::new(error)))?
            }
            None => sold.0.clone(),
        };
        let at = self.clock.now();
        let id = PurchaseId::random(at, &*self.rng);
        let detail = serde_json::json!({ "slug": goods.offer.slug, "version": version, "fee": quote.total });
        let new = NewPurchase {
            audit: audit(context, at, "purchase.create", id, detail.clone()),
            outbox: outbox(context, at, "purchase.created", id, detail),
            purchase: Purchase {
                id,
                person,
                slug: goods.offer.slug,
                program_name: sold.1.name.clone(),
                version,
                bought,
                fee: quote.total,
                discount: quote.discount,
                tax: quote.tax,
                lines: quote.lines,
                provider: None,
                state: PurchaseState::Created,
                challenge: None,
                created_at: at,
                decided_at: None,
            },
            program,
            resets: goods.addons.iter().map(|addon| addon.change.resets()).fold(0, u32::saturating_add),
            trial: goods.trial && reset.is_none(),
            country: order.country,
            coupons,
            key: key.clone(),
            fingerprint,
        };
        let made = match self.store.create(context.firm, &new).await {
            // What there is only once may be taken by this very request, under the same key, a moment ago.
            Err(AppError::Refused { code, say }) => {
                let made = self.store.by_key(context.firm, person, key).await?;
                made.ok_or(AppError::Refused { code, say })?
            }
            made => made?,
        };
        self.free(context, same_request(made, fingerprint)?).await
    }

    /// Captures what costs nothing.
    async fn free(&self, context: &Context, purchase: Purchase) -> Result<Purchase, AppError> {
        if purchase.state == PurchaseState::Created && purchase.fee.minor() == 0 {
            self.happened(context, purchase.id, &PurchaseEvent::NothingDue, purchase.created_at).await
        } else {
            Ok(purchase)
        }
    }

    async fn priced(&self, firm: FirmId, person: PersonId, order: &Order) -> Result<Priced, AppError> {
        let coupons = codes("/coupons", order.coupons.iter().map(|code| code.trim().to_ascii_uppercase()))?;
        let addons = codes("/addons", order.addons.iter().cloned())?;
        let reset = match order.reset_of {
            None => None,
            Some(challenge) => {
                let found = self.store.resettable(firm, person, challenge).await?;
                let found = found.ok_or(AppError::NotFound("challenge"))?;
                if !found.failed {
                    return Err(AppError::refused("reset_refused", "The challenge has not failed."));
                }
                Some(found)
            }
        };
        let slug = reset.as_ref().map_or(&order.slug, |reset| &reset.slug);
        let asked = Asked { slug, buyer: person, country: order.country, addons: &addons, coupons: &coupons };
        let goods = self.catalogue.shelf(firm, &asked).await?.ok_or(AppError::NotFound("program"))?;
        let version = reset.as_ref().map_or(&goods.offer.version, |reset| &reset.version);
        if version.as_str() != order.version || *slug != order.slug {
            return Err(AppError::refused(
                "program_changed",
                "The program has changed since you read it. Read its rules again and buy the current version.",
            ));
        }
        if let Some(missing) = addons.iter().find(|code| goods.addons.iter().all(|it| it.code != **code)) {
            return Err(AppError::field("/addons", format!("There is no add-on {missing}.")));
        }
        if let Some(missing) =
            coupons.iter().find(|code| goods.coupons.iter().all(|(it, _)| it.code != **code))
        {
            return Err(AppError::refused("coupon_refused", format!("There is no coupon {missing}.")));
        }
        let (item, bought) = match (&reset, order.reset_of) {
            (Some(reset), Some(of)) => {
                let included = reset.included > 0;
                (Item::Reset { included }, Bought::Reset { of, included })
            }
            _ => (Item::Challenge, Bought::Challenge),
        };
        let tax = match self.taxes.tax(firm, slug, order.country).await? {
            Some(tax) => tax,
            None => goods.tax,
        };
        let basket = Basket {
            slug: slug.clone(),
            item,
            buyer: person,
            country: order.country,
            group: goods.group.clone(),
            currency: order.currency,
            fee: goods.offer.fee,
            prices: goods.prices.clone(),
            reset_fee: goods.reset_fee,
            trial: goods.trial,
            addons: goods.addons.clone(),
            coupons: goods.coupons.clone(),
            tax,
        };
        let quote = quote(&basket, self.clock.now())?;
        Ok(Priced { goods, reset, coupons, quote, bought })
    }

    /// One of the caller's own.
    pub async fn get(&self, context: &Context, id: PurchaseId) -> Result<Purchase, AppError> {
        let person = context.actor()?.person;
        let found = self.store.purchase(context.firm, id).await?;
        found.filter(|purchase| purchase.person == person).ok_or(AppError::NotFound("purchase"))
    }

    /// The caller's own, the newest first, behind one, at most so many.
    pub async fn list(
        &self,
        context: &Context,
        behind: Option<PurchaseId>,
        most: i64,
    ) -> Result<Vec<Purchase>, AppError> {
        self.store.purchases(context.firm, context.actor()?.person, behind, most).await
    }

    /// Whether there is such a one that can still be paid as a matter of course, for the adapters of providers.
    pub async fn is_open(&self, firm: FirmId, id: PurchaseId) -> Result<bool, AppError> {
        Ok(self.store.purchase(firm, id).await?.is_some_and(|purchase| purchase.state.is_open()))
    }

    /// Whose one is, for the adapters of providers.
    pub async fn buyer(&self, firm: FirmId, id: PurchaseId) -> Result<Option<PersonId>, AppError> {
        Ok(self.store.purchase(firm, id).await?.map(|purchase| purchase.person))
    }

    /// What has happened to one of the caller's own.
    pub async fn history(&self, context: &Context, id: PurchaseId) -> Result<Vec<Happened>, AppError> {
        self.get(context, id).await?;
        self.store.history(context.firm, id).await
    }

    /// The buyer takes it back before paying. Twice is once.
    pub async fn cancel(&self, context: &Context, id: PurchaseId) -> Result<Purchase, AppError> {
        self.get(context, id).await?;
        self.happened(context, id, &PurchaseEvent::Cancelled, self.clock.now()).await
    }

    /// The sandbox has the money: the purchase is paid and its challenge exists. Twice is once.
    pub async fn capture(&self, context: &Context, id: PurchaseId) -> Result<Purchase, AppError> {
        let found = self.store.purchase(context.firm, id).await?.ok_or(AppError::NotFound("purchase"))?;
        let event = if found.fee.minor() == 0 {
            PurchaseEvent::NothingDue
        } else {
            let provider = Provider::parse(SANDBOX)?;
            PurchaseEvent::Captured { provider, payment: format!("pay-{id}"), amount: found.fee }
        };
        self.happened(context, id, &event, self.clock.now()).await
    }

    /// The sandbox will not pay. Twice is once; what has been paid or given up stays so and is refused.
    pub async fn decline(&self, context: &Context, id: PurchaseId) -> Result<Purchase, AppError> {
        let purchase = self.happened(context, id, &PurchaseEvent::Failed, self.clock.now()).await?;
        if purchase.state == PurchaseState::Failed {
            return Ok(purchase);
        }
        Err(AppError::refused("conflict", format!("The purchase is {}.", purchase.state.word())))
    }

    /// A provider's page was opened for it.
    pub async fn begin(
        &self,
        context: &Context,
        id: PurchaseId,
        provider: &Provider,
        session: &str,
    ) -> Result<Purchase, AppError> {
        let event = PurchaseEvent::Begun { provider: provider.clone(), session: session.to_owned() };
        self.happened(context, id, &event, self.clock.now()).await
    }

    /// Something has happened at `at`, by the provider's clock. For the adapters of providers and for janitors: they answer
    /// for where they know it from. What is known already, and what no longer matters, changes nothing; what cannot be yet is
    /// refused with `conflict`.
    pub async fn happened(
        &self,
        context: &Context,
        id: PurchaseId,
        event: &PurchaseEvent,
        at: Timestamp,
    ) -> Result<Purchase, AppError> {
        let recorded_at = self.clock.now();
        let settle = |purchase: &Purchase, history: &[Happened]| {
            settlement(context, recorded_at, purchase, history, (event, at))
        };
        self.store.settle(context.firm, id, &settle).await?.ok_or(AppError::NotFound("purchase"))
    }

    /// Says of captured purchases whose account is open that they are fulfilled. Gives how many; call again while there are
    /// some.
    pub async fn fulfil_opened(&self, context: &Context) -> Result<usize, AppError> {
        let opened = self.store.opened(context.firm, MOST_AT_ONCE).await?;
        for (id, at) in &opened {
            self.happened(context, *id, &PurchaseEvent::Fulfilled, *at).await?;
        }
        Ok(opened.len())
    }

    /// Gives up what nobody has begun to pay for [`OPEN_FOR`]. What waits at a provider's page ends when the provider says
    /// so. Gives how many; call again while there are some.
    pub async fn expire_stale(&self, context: &Context) -> Result<usize, AppError> {
        let at = self.clock.now();
        let before = at.before(OPEN_FOR).map_err(AppError::clock)?;
        let stale = self.store.stale(context.firm, before, MOST_AT_ONCE).await?;
        for id in &stale {
            self.happened(context, *id, &PurchaseEvent::Expired, at).await?;
        }
        Ok(stale.len())
    }

    /// Paid challenges of all firms whose first account is still to be opened, the oldest first.
    pub async fn unopened(&self, most: i64) -> Result<Vec<Unopened>, AppError> {
        self.store.unopened(most).await
    }
}

/// What becomes of a locked purchase when something has happened to it at an instant; nothing if it stays as it is.
fn settlement(
    context: &Context,
    recorded_at: Timestamp,
    purchase: &Purchase,
    history: &[Happened],
    (event, at): (&PurchaseEvent, Timestamp),
) -> Result<Option<Settlement>, AppError> {
    let id = purchase.id;
    let Some(decision) = decide(purchase, history, event, at)? else { return Ok(None) };
    let (what, to) = (decision.happened.what, decision.happened.to);
    // Follows from the purchase: whatever is repeated, there is one challenge.
    let challenge = (purchase.challenge.is_none() && to == PurchaseState::Captured)
        .then(|| ChallengeId::derived(&[b"challenge", id.uuid().as_bytes()]));
    let told = challenge.or(purchase.challenge);
    let detail = serde_json::json!({ "state": to.word(), "challenge": told, "fee": purchase.fee });
    let action = format!("purchase.{}", verb(what));
    Ok(Some(Settlement {
        recorded_at,
        challenge,
        frees_coupons: to.is_dead() && !purchase.state.is_dead(),
        audit: audit(context, recorded_at, &action, id, detail.clone()),
        outbox: topic(what).map(|topic| outbox(context, recorded_at, topic, id, detail)),
        decision,
    }))
}

/// What becomes of a locked purchase when several things have happened to it, one after the other. For refunds and disputes,
/// whose rows are written with it.
pub(crate) fn settlements(
    context: &Context,
    recorded_at: Timestamp,
    purchase: &Purchase,
    history: &[Happened],
    events: &[(PurchaseEvent, Timestamp)],
) -> Result<Vec<Settlement>, AppError> {
    let (mut purchase, mut history) = (purchase.clone(), history.to_vec());
    let mut settled = Vec::with_capacity(events.len());
    for (event, at) in events {
        if let Some(next) = settlement(context, recorded_at, &purchase, &history, (event, *at))? {
            purchase.state = next.decision.happened.to;
            purchase.challenge = next.challenge.or(purchase.challenge);
            history.push(next.decision.happened.clone());
            settled.push(next);
        }
    }
    Ok(settled)
}

/// What the audit log calls it.
const fn verb(what: Happening) -> &'static str {
    match what {
        Happening::Begun => "begin",
        Happening::NothingDue | Happening::Captured => "capture",
        Happening::PaidAgain => "overpay",
        Happening::Fulfilled => "fulfil",
        Happening::Cancelled => "cancel",
        Happening::Expired => "expire",
        Happening::Failed => "decline",
        Happening::RefundedInPart | Happening::RefundedInWhole | Happening::OverpaymentRefunded => "refund",
        Happening::RefundFailed => "refund_fail",
        Happening::DisputeOpened => "dispute",
        Happening::DisputeWon => "dispute_win",
        Happening::DisputeLost => "dispute_lose",
    }
}

/// What the world is told.
const fn topic(what: Happening) -> Option<&'static str> {
    match what {
        Happening::Begun => None,
        Happening::NothingDue | Happening::Captured => Some("purchase.paid"),
        Happening::PaidAgain => Some("purchase.overpaid"),
        Happening::Fulfilled => Some("purchase.fulfilled"),
        Happening::Cancelled => Some("purchase.cancelled"),
        Happening::Expired => Some("purchase.expired"),
        Happening::Failed => Some("purchase.declined"),
        Happening::RefundedInPart | Happening::RefundedInWhole | Happening::OverpaymentRefunded => {
            Some("purchase.refunded")
        }
        Happening::RefundFailed => Some("purchase.refund_failed"),
        Happening::DisputeOpened => Some("purchase.disputed"),
        Happening::DisputeWon => Some("purchase.dispute_won"),
        Happening::DisputeLost => Some("purchase.charged_back"),
    }
}

/// Codes in one order, each once.
fn codes(field: &str, codes: impl Iterator<Item = String>) -> Result<Vec<String>, AppError> {
    let mut seen = BTreeSet::new();
    for code in codes {
        let fits = (1..=32).contains(&code.len()) && code.bytes().all(|byte| byte.is_ascii_graphic());
        if !fits || !seen.insert(code) {
            return Err(AppError::field(field, "Give codes of 1 to 32 letters and digits, each once."));
        }
    }
    if seen.len() > MOST_CODES {
        return Err(AppError::field(field, format!("At most {MOST_CODES}.")));
    }
    Ok(seen.into_iter().collect())
}

/// The program with what was added; nothing if that is the program itself.
fn with_addons(program: &Program, addons: &[Addon]) -> Result<Option<Program>, AppError> {
    let mut changed = program.clone();
    for addon in addons {
        let refused = |error| AppError::field("/addons", format!("{}: {error}.", addon.code));
        changed = addon.change.applied(&changed).map_err(refused)?;
    }
    // What an add-on makes is judged like every other program.
    changed.check().map_err(|error| AppError::bug("adding to a program")(Box::new(error)))?;
    Ok((changed != *program).then_some(changed))
}

fn fingerprint(order: &Order) -> Fingerprint {
    let mut hash = Sha256::new();
    // A slug has no line break, so no two requests run into one text.
    hash.update(&order.slug);
    hash.update("\n");
    hash.update(&order.version);
    // What older requests did not have is left out where it is not said: their purchases are found again.
    let mut said = |what: &str, text: &str| {
        hash.update("\n");
        hash.update(what);
        hash.update(text);
    };
    let mut addons: Vec<&String> = order.addons.iter().collect();
    addons.sort();
    for code in addons {
        said("+", code);
    }
    let mut coupons: Vec<String> =
        order.coupons.iter().map(|code| code.trim().to_ascii_uppercase()).collect();
    coupons.sort();
    for code in &coupons {
        said("-", code);
    }
    if let Some(country) = order.country {
        said("@", &country.to_string());
    }
    if let Some(currency) = order.currency {
        said("$", currency.code());
    }
    if let Some(challenge) = order.reset_of {
        said("r", &challenge.to_string());
    }
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
