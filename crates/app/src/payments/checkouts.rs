//! The pages on which buyers pay: opened at a provider for a purchase, one at a time, and looked after until they end.
//!
//! The row is written before the provider is asked, with the key of the request: what was cut off in between is asked again under
//! the same key, and there is one page.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use kernel::{CheckoutId, Clock, FirmId, Money, PersonId, PurchaseId, Rng, Span, Timestamp};

use super::port::{
    self, CheckoutState as At, Failure, NewCheckout, PaymentState, Provider, ProviderName, Reference,
};
use super::{Providers, failed};
use crate::purchases::{Purchase, PurchaseEvent, Purchases};
use crate::{AppError, Context, Permission};

/// How a page stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CheckoutState {
    /// The provider was asked, or is about to be.
    Opening,
    /// The buyer may pay.
    Open,
    /// It was paid.
    Paid,
    /// The payment failed for good.
    Declined,
    /// It closed without a payment.
    Expired,
    /// The buyer chose another one.
    Replaced,
    /// The provider would not open it.
    Refused,
}

impl CheckoutState {
    /// All.
    pub const ALL: [Self; 7] =
        [Self::Opening, Self::Open, Self::Paid, Self::Declined, Self::Expired, Self::Replaced, Self::Refused];

    /// The word in rows.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Opening => "opening",
            Self::Open => "open",
            Self::Paid => "paid",
            Self::Declined => "declined",
            Self::Expired => "expired",
            Self::Replaced => "replaced",
            Self::Refused => "refused",
        }
    }

    /// Whether it may still be paid as a matter of course.
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Opening | Self::Open)
    }
}

/// A page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// Its name, the key under which the provider is asked.
    pub id: CheckoutId,
    /// What is paid there.
    pub purchase: PurchaseId,
    /// Who pays.
    pub person: PersonId,
    /// Whose page.
    pub provider: ProviderName,
    /// The provider's name of it.
    pub session: Option<String>,
    /// Where the buyer pays.
    pub page: Option<String>,
    /// How much.
    pub price: Money,
    /// How it stands.
    pub state: CheckoutState,
    /// When the provider was asked first.
    pub asked_at: Timestamp,
    /// When it closes by itself.
    pub expires_at: Timestamp,
}

impl Checkout {
    fn key(&self) -> Result<Reference, AppError> {
        reference(&format!("checkout-{}", self.id))
    }
}

pub(super) fn reference(text: &str) -> Result<Reference, AppError> {
    Reference::parse(text).map_err(|error| AppError::bug("naming a request to a provider")(Box::new(error)))
}

/// What becomes of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// How it stands now.
    pub state: CheckoutState,
    /// The provider's name of it, and where the buyer pays, if that has become known.
    pub known: Option<(String, Option<String>)>,
    /// When to pull it next; nothing once it has ended.
    pub next_at: Option<Timestamp>,
    /// When this was so.
    pub at: Timestamp,
}

/// Where pages are kept.
#[async_trait]
pub trait CheckoutStore: Send + Sync {
    /// Writes it, unless its purchase has one that is open: then that one is given.
    async fn asked(&self, firm: FirmId, new: &Checkout) -> Result<Checkout, AppError>;
    /// The open one of a purchase.
    async fn open_checkout(&self, firm: FirmId, purchase: PurchaseId) -> Result<Option<Checkout>, AppError>;
    /// By the provider's name of it.
    async fn by_session(
        &self,
        firm: FirmId,
        provider: ProviderName,
        session: &str,
    ) -> Result<Option<Checkout>, AppError>;
    /// Writes what becomes of it. One that has ended stays as it is, but for one that was paid after all.
    async fn turn(&self, firm: FirmId, id: CheckoutId, turn: &Turn) -> Result<(), AppError>;
    /// Takes pages of all firms that are to be pulled, and puts the next time off by the lease.
    async fn due_checkouts(
        &self,
        now: Timestamp,
        lease: Span,
        most: i64,
    ) -> Result<Vec<(FirmId, Checkout)>, AppError>;
}

/// A page is open for so long.
pub const OPEN_FOR: Span = Span::from_seconds(3_600);
/// Whoever looks after pages pulls one first after so long, and then ever more rarely.
const FIRST_LOOK: Span = Span::from_seconds(120);
/// Beyond its end a page is pulled for so long; then it has ended, unless money is on its way.
const LOOKED_AFTER: Span = Span::from_seconds(300);

/// What is wanted of a page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wish<'a> {
    /// Which purchase is to be paid.
    pub purchase: PurchaseId,
    /// At which provider.
    pub provider: ProviderName,
    /// Where people reach this installation, without a slash at the end.
    pub public_url: &'a str,
}

/// The use cases of pages.
pub struct Checkouts {
    store: Arc<dyn CheckoutStore>,
    purchases: Arc<Purchases>,
    providers: Providers,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

impl fmt::Debug for Checkouts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Checkouts").field("providers", &self.providers).finish_non_exhaustive()
    }
}

impl Checkouts {
    /// Over a store, for purchases.
    pub fn new(
        store: Arc<dyn CheckoutStore>,
        purchases: Arc<Purchases>,
        providers: Providers,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        Self { store, purchases, providers, clock, rng }
    }

    /// At which providers the caller's firm lets people pay.
    pub fn methods(&self, firm: FirmId) -> Vec<ProviderName> {
        self.providers.names(firm).collect()
    }

    /// The page on which the caller pays a purchase of theirs: the one that is open, or a new one. Asking again gives the same
    /// page; asking for another provider closes it first. Refused with `payment_settled` if there is nothing to pay any more.
    pub async fn open(&self, context: &Context, wish: &Wish<'_>) -> Result<String, AppError> {
        context.demand(Permission::Trade)?;
        let purchase = self.purchases.get(context, wish.purchase).await?;
        let provider = self.providers.of(context.firm, wish.provider)?;
        if !purchase.state.is_open() || purchase.fee.minor() == 0 {
            return Err(settled());
        }
        if let Some(open) = self.store.open_checkout(context.firm, purchase.id).await?
            && open.provider != wish.provider
        {
            self.replace(context, &open).await?;
        }
        let doing = "asking what a provider can charge";
        if provider.chargeable(purchase.fee).map_err(failed(doing))? != purchase.fee {
            let say = format!("{} cannot take exactly {}.", wish.provider, purchase.fee);
            return Err(AppError::refused("payment_refused", say));
        }
        let asked_at = self.clock.now();
        let new = Checkout {
            id: CheckoutId::random(asked_at, &*self.rng),
            purchase: purchase.id,
            person: purchase.person,
            provider: wish.provider,
            session: None,
            page: None,
            price: purchase.fee,
            state: CheckoutState::Opening,
            asked_at,
            expires_at: asked_at.after(OPEN_FOR).map_err(AppError::clock)?,
        };
        let checkout = self.store.asked(context.firm, &new).await?;
        if checkout.provider != wish.provider {
            // Two choices at the same moment; the other one was first.
            return Err(AppError::refused(
                "conflict",
                "Another payment page has just been opened. Try again.",
            ));
        }
        if let Some(page) = checkout.page {
            return Ok(page);
        }
        self.ask(context, provider.as_ref(), &purchase, &checkout, wish.public_url).await
    }

    async fn ask(
        &self,
        context: &Context,
        provider: &dyn Provider,
        purchase: &Purchase,
        checkout: &Checkout,
        public_url: &str,
    ) -> Result<String, AppError> {
        let back = |outcome| format!("{public_url}/purchases/{}?outcome={outcome}", purchase.id);
        let new = NewCheckout {
            attempt: checkout.key()?,
            purchase: reference(&purchase.id.to_string())?,
            price: checkout.price,
            title: purchase.program_name.clone(),
            email: None,
            success_url: back("processing"),
            cancel_url: back("cancelled"),
            expires_at: Some(checkout.expires_at),
        };
        let opened = match provider.open_checkout(&new).await {
            Ok(opened) => opened,
            Err(failure) => {
                if matches!(failure, Failure::Declined(_) | Failure::Refused(_)) {
                    let at = self.clock.now();
                    let turn = Turn { state: CheckoutState::Refused, known: None, next_at: None, at };
                    self.store.turn(context.firm, checkout.id, &turn).await?;
                }
                return Err(failed("opening a page at a provider")(failure));
            }
        };
        let at = self.clock.now();
        let turn = Turn {
            state: CheckoutState::Open,
            known: Some((opened.id.clone(), opened.page.clone())),
            next_at: Some(at.after(FIRST_LOOK).map_err(AppError::clock)?),
            at,
        };
        self.store.turn(context.firm, checkout.id, &turn).await?;
        let name = checkout.provider.in_ledger()?;
        let purchase = self.purchases.begin(context, purchase.id, &name, &opened.id).await?;
        if !purchase.state.is_open() {
            return Err(settled());
        }
        opened.page.ok_or_else(settled)
    }

    /// Closes a page that its buyer no longer wants. What was paid there stays paid.
    async fn replace(&self, context: &Context, open: &Checkout) -> Result<(), AppError> {
        if let Some(session) = &open.session {
            let provider = self.providers.of(context.firm, open.provider)?;
            let closed = provider.close_checkout(session).await;
            let closed = self.unless_gone(open, closed, "closing a page at a provider")?;
            let paid = |page: &port::Checkout| {
                page.payment.as_ref().is_some_and(|payment| payment.state == PaymentState::Captured)
            };
            if let Some(closed) = closed.filter(paid) {
                self.told(context, open, &closed).await?;
                return Err(settled());
            }
        }
        let turn = Turn { state: CheckoutState::Replaced, known: None, next_at: None, at: self.clock.now() };
        self.store.turn(context.firm, open.id, &turn).await
    }

    /// The buyer takes a purchase of theirs back before paying: its page closes first. Twice is once.
    pub async fn cancel(&self, context: &Context, purchase: PurchaseId) -> Result<Purchase, AppError> {
        self.purchases.get(context, purchase).await?;
        if let Some(open) = self.store.open_checkout(context.firm, purchase).await? {
            self.replace(context, &open).await?;
        }
        self.purchases.cancel(context, purchase).await
    }

    /// Pulls the open page of one of the caller's own purchases, if there is one.
    pub async fn refresh(&self, context: &Context, purchase: PurchaseId) -> Result<(), AppError> {
        self.purchases.get(context, purchase).await?;
        let Some(checkout) = self.store.open_checkout(context.firm, purchase).await? else { return Ok(()) };
        match &checkout.session {
            Some(session) => self.pull(context, &checkout, session).await,
            None => Ok(()),
        }
    }

    /// Pulls a page by the provider's name of it, and does what follows. Gives whose it is; nobody's if it is not ours.
    pub async fn follow(
        &self,
        context: &Context,
        name: ProviderName,
        session: &str,
    ) -> Result<Option<PersonId>, AppError> {
        let Some(checkout) = self.store.by_session(context.firm, name, session).await? else {
            // Opened by an answer that was lost: the payment tells of itself, and its page is asked for again.
            return self.follow_unknown(context, name, session).await;
        };
        self.pull(context, &checkout, session).await?;
        Ok(Some(checkout.person))
    }

    async fn follow_unknown(
        &self,
        context: &Context,
        name: ProviderName,
        session: &str,
    ) -> Result<Option<PersonId>, AppError> {
        let provider = self.providers.of(context.firm, name)?;
        let mut found = provider.checkout(session).await.map_err(failed(PULLING))?;
        let purchase = found.purchase.as_deref().and_then(|text| text.parse().ok());
        if let Some(purchase) = purchase
            && self.purchases.is_open(context.firm, purchase).await?
        {
            let key = capture_key(session)?;
            found = captured(provider.as_ref(), found, session, &key).await.map_err(failed(PULLING))?;
        }
        match &found.payment {
            Some(payment) => self.paid(context, name, payment).await,
            None => Ok(None),
        }
    }

    async fn pull(&self, context: &Context, checkout: &Checkout, session: &str) -> Result<(), AppError> {
        let provider = self.providers.of(context.firm, checkout.provider)?;
        let mut found = provider.checkout(session).await;
        // What a buyer agreed to on a page that they left, or for what is paid by now, stays theirs.
        if checkout.state.is_open() && self.purchases.is_open(context.firm, checkout.purchase).await? {
            let key = capture_key(session)?;
            found = match found {
                Ok(page) => captured(provider.as_ref(), page, session, &key).await,
                Err(failure) => Err(failure),
            };
        }
        let Some(found) = self.unless_gone(checkout, found, PULLING)? else {
            let ends = (CheckoutState::Expired, PurchaseEvent::Expired);
            return self.ended(context, checkout, ends, self.clock.now()).await;
        };
        self.told(context, checkout, &found).await
    }

    /// How a page stands; nothing if its time is over and the provider will not say.
    fn unless_gone(
        &self,
        checkout: &Checkout,
        found: Result<port::Checkout, Failure>,
        doing: &'static str,
    ) -> Result<Option<port::Checkout>, AppError> {
        match found {
            Err(Failure::Refused(_)) if self.clock.now() >= checkout.expires_at => Ok(None),
            found => found.map(Some).map_err(failed(doing)),
        }
    }

    /// Does what follows from how a page stands.
    async fn told(
        &self,
        context: &Context,
        checkout: &Checkout,
        found: &port::Checkout,
    ) -> Result<(), AppError> {
        let at = self.clock.now();
        if let Some(payment) = &found.payment
            && payment.state == PaymentState::Captured
        {
            // By our own row: what the provider says of its purchase is only a copy.
            self.capture(context, checkout.purchase, checkout.provider, payment).await?;
            return self.end(context, checkout, CheckoutState::Paid, at).await;
        }
        let over = at >= checkout.expires_at.after(LOOKED_AFTER).map_err(AppError::clock)?;
        let ends = match found.state {
            // Some providers never say that nobody came.
            At::Open | At::Approved if over => (CheckoutState::Expired, PurchaseEvent::Expired),
            At::Open | At::Approved | At::Processing | At::Paid => {
                let turn = Turn {
                    state: checkout.state,
                    known: None,
                    next_at: next_look(checkout, found.state, at)?,
                    at,
                };
                return self.store.turn(context.firm, checkout.id, &turn).await;
            }
            At::Declined => (CheckoutState::Declined, PurchaseEvent::Failed),
            At::Expired => (CheckoutState::Expired, PurchaseEvent::Expired),
        };
        self.ended(context, checkout, ends, at).await
    }

    async fn ended(
        &self,
        context: &Context,
        checkout: &Checkout,
        (state, event): (CheckoutState, PurchaseEvent),
        at: Timestamp,
    ) -> Result<(), AppError> {
        if checkout.state.is_open() {
            self.purchases.happened(context, checkout.purchase, &event, at).await?;
        }
        self.end(context, checkout, state, at).await
    }

    async fn end(
        &self,
        context: &Context,
        checkout: &Checkout,
        state: CheckoutState,
        at: Timestamp,
    ) -> Result<(), AppError> {
        let turn = Turn { state, known: None, next_at: None, at };
        self.store.turn(context.firm, checkout.id, &turn).await
    }

    /// Pulls a payment. Gives whose it is; nobody's if it is not ours.
    pub async fn follow_payment(
        &self,
        context: &Context,
        name: ProviderName,
        payment: &str,
    ) -> Result<Option<PersonId>, AppError> {
        let provider = self.providers.of(context.firm, name)?;
        let payment = provider.payment(payment).await.map_err(failed("pulling a payment"))?;
        self.paid(context, name, &payment).await
    }

    /// Money has come for a purchase that the payment names.
    async fn paid(
        &self,
        context: &Context,
        name: ProviderName,
        payment: &port::Payment,
    ) -> Result<Option<PersonId>, AppError> {
        let purchase: Option<PurchaseId> = payment.purchase.as_deref().and_then(|text| text.parse().ok());
        let Some(purchase) = purchase else { return Ok(None) };
        if payment.state == PaymentState::Captured {
            match self.capture(context, purchase, name, payment).await {
                // Somebody else's who uses the same account at the provider.
                Err(AppError::NotFound("purchase")) => return Ok(None),
                captured => return captured.map(Some),
            }
        }
        self.purchases.buyer(context.firm, purchase).await
    }

    async fn capture(
        &self,
        context: &Context,
        purchase: PurchaseId,
        name: ProviderName,
        payment: &port::Payment,
    ) -> Result<PersonId, AppError> {
        let event = PurchaseEvent::Captured {
            provider: name.in_ledger()?,
            payment: payment.id.clone(),
            amount: payment.amount,
        };
        Ok(self.purchases.happened(context, purchase, &event, payment.created_at).await?.person)
    }

    /// Pulls pages of all firms that nobody has told of for a while. Gives how many; call again while there are some. What fails
    /// for one is told and tried again; the others go on.
    pub async fn look_after(
        &self,
        most: i64,
        context_of: &(dyn Fn(FirmId) -> Context + Send + Sync),
    ) -> Result<usize, AppError> {
        let lease = Span::from_seconds(60);
        let due = self.store.due_checkouts(self.clock.now(), lease, most).await?;
        for (firm, checkout) in &due {
            let context = context_of(*firm);
            let pulled = match &checkout.session {
                Some(session) => self.pull(&context, checkout, session).await,
                None => self.unanswered(&context, checkout).await,
            };
            if let Err(error) = pulled {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, checkout = %checkout.id, "a payment page could not be looked after; trying again");
            }
        }
        Ok(due.len())
    }

    /// The answer to opening it was lost, or never came: nobody has seen the page. Once it has closed, what was paid there would
    /// have told of itself.
    async fn unanswered(&self, context: &Context, checkout: &Checkout) -> Result<(), AppError> {
        let at = self.clock.now();
        if at < checkout.expires_at.after(LOOKED_AFTER).map_err(AppError::clock)? {
            return Ok(());
        }
        self.end(context, checkout, CheckoutState::Refused, at).await
    }
}

const PULLING: &str = "pulling a page and taking what its buyer agreed to";

fn capture_key(session: &str) -> Result<Reference, AppError> {
    reference(&format!("capture-{session}"))
}

/// Takes the money if the buyer has agreed. A means of payment that is declined is not the end: the buyer may choose another one,
/// until the page closes.
async fn captured(
    provider: &dyn Provider,
    found: port::Checkout,
    session: &str,
    key: &Reference,
) -> Result<port::Checkout, Failure> {
    if found.state != At::Approved {
        return Ok(found);
    }
    match provider.capture(session, key).await {
        Err(Failure::Declined(_)) => Ok(port::Checkout { state: At::Open, ..found }),
        answer => answer,
    }
}

/// A page is pulled when it should have ended, and while money is on its way once an hour.
fn next_look(checkout: &Checkout, state: At, at: Timestamp) -> Result<Option<Timestamp>, AppError> {
    if !checkout.state.is_open() {
        return Ok(None);
    }
    let end = checkout.expires_at.after(LOOKED_AFTER).map_err(AppError::clock)?;
    let next = if at >= end || !matches!(state, At::Open | At::Approved) {
        at.after(Span::from_seconds(3_600)).map_err(AppError::clock)?
    } else {
        end
    };
    Ok(Some(next))
}

fn settled() -> AppError {
    AppError::refused("payment_settled", "The purchase can no longer be paid.")
}
