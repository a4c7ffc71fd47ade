//! Payouts: from the request of a trader to the money in their hands.
//!
//! A request is looked at by the program's own conditions, by whoever knows who asks ([`crate::kyc`]) and by the firm's people; what
//! they approve is fixed by then. Only then is the engine asked to take it (docs/adr/0015), exactly once, whoever dies in between; the
//! trader's share by its verdict is owed and kept back in the ledger, and is sent under a name that is the same until the outcome is
//! known. What fails or comes back is owed again and may be sent once more. Why it is built like this: docs/adr/0034.
//!
//! Where a payout may go is [`next`], what goes with it is [`decide()`], both pure. [`Payouts::advance`] moves everything that waits for
//! us, one step in one transaction; any of them may be repeated.

mod bank;
mod certificate;
mod decide;
mod machine;
mod pdf;
mod taking;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use engine::Key;
use kernel::{
    AccountId, Amount, Clock, Currency, FirmId, Money, PayoutBatchId, PayoutId, PersonId, Rng, Rounding,
    Span, Timestamp,
};
use rules::payout::Precheck;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::kyc::{Known, said};
use crate::ledger::Cause;
use crate::payments::Providers;
use crate::payments::port::{self, Destination, Failure, NewPayout, ProviderName, Reference};
use crate::trading::{AuditEntry, Digests, OutboxEntry};
use crate::{AppError, Context, Permission};

pub use bank::{BankAccount, BankFile, BankLine, csv, pain001};
pub use certificate::{Certificate, CertificateStore, Certificates, Proven, Subject};
pub use decide::{ASKED_AGAIN_AFTER, Decision, PayoutEvent, decide, hold_of};
pub use machine::{Happening, Next, PayoutState, next};
pub use taking::{Answer, AtDesk, Taker};

/// How a payout is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Method {
    /// To a connected account at Stripe.
    Stripe,
    /// To somebody at PayPal.
    Paypal,
    /// In a file that the firm gives to its bank.
    BankFile,
    /// However the firm's people do it.
    Manual,
}

impl Method {
    /// All.
    pub const ALL: [Self; 4] = [Self::Stripe, Self::Paypal, Self::BankFile, Self::Manual];

    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stripe => "stripe",
            Self::Paypal => "paypal",
            Self::BankFile => "bank_file",
            Self::Manual => "manual",
        }
    }

    /// The provider that is asked, where one is.
    pub const fn provider(self) -> Option<ProviderName> {
        match self {
            Self::Stripe => Some(ProviderName::Stripe),
            Self::Paypal => Some(ProviderName::Paypal),
            Self::BankFile | Self::Manual => None,
        }
    }

    /// Whether a provider is asked.
    pub const fn is_asked(self) -> bool {
        self.provider().is_some()
    }

    const fn of(provider: ProviderName) -> Self {
        match provider {
            ProviderName::Stripe => Self::Stripe,
            ProviderName::Paypal => Self::Paypal,
        }
    }
}

/// Whom a payout goes to. Personal data: it is sealed wherever it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "method", rename_all = "snake_case")]
pub enum Payee {
    /// A connected account at Stripe, such as `acct_1234`.
    Stripe {
        /// Its name.
        account: String,
    },
    /// Somebody at PayPal.
    Paypal {
        /// Their address there.
        email: String,
    },
    /// A bank account.
    BankFile(BankAccount),
    /// Whatever the firm's people need to know.
    Manual {
        /// In words.
        note: String,
    },
}

impl Payee {
    /// How it is paid.
    pub const fn method(&self) -> Method {
        match self {
            Self::Stripe { .. } => Method::Stripe,
            Self::Paypal { .. } => Method::Paypal,
            Self::BankFile(_) => Method::BankFile,
            Self::Manual { .. } => Method::Manual,
        }
    }

    /// Checks the form.
    fn check(&self) -> Result<(), AppError> {
        let fault = |pointer: &str, say: &str| Err(AppError::field(pointer, say));
        match self {
            Self::Stripe { account } => {
                let plain = account.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
                if !account.starts_with("acct_") || !(6..=64).contains(&account.len()) || !plain {
                    return fault("/payee/account", "Give a connected account, such as acct_1234.");
                }
            }
            Self::Paypal { email } => {
                let whole = email.split_once('@').is_some_and(|(name, host)| {
                    !name.is_empty() && host.contains('.') && !host.starts_with('.') && !host.ends_with('.')
                });
                let plain = email.chars().all(|letter| !letter.is_whitespace() && !letter.is_control());
                if !whole || !plain || email.len() > 127 {
                    return fault("/payee/email", "Give the e-mail address that PayPal knows.");
                }
            }
            Self::BankFile(account) => account.check()?,
            Self::Manual { note } => {
                if note.chars().count() > 200 || note.chars().any(char::is_control) {
                    return fault("/payee/note", "At most 200 characters in one line.");
                }
            }
        }
        Ok(())
    }
}

/// A payout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payout {
    /// Its name.
    pub id: PayoutId,
    /// Whose.
    pub person: PersonId,
    /// From which account.
    pub account: AccountId,
    /// Of which program.
    pub program_name: String,
    /// In which currency.
    pub currency: Currency,
    /// What is to leave the account.
    pub asked: Amount,
    /// Every condition and number at the request.
    pub precheck: Precheck,
    /// The trader's share by these.
    pub expected: Money,
    /// How many people have to agree, by what the firm had set when it was asked for.
    pub reviewers_needed: usize,
    /// Where it stands.
    pub state: PayoutState,
    /// How it is sent.
    pub method: Method,
    /// How many commands the engine answered with "not now".
    pub tries: u32,
    /// Since when the engine may have been asked.
    pub take_began_at: Option<Timestamp>,
    /// The engine's verdict.
    pub verdict: Option<u32>,
    /// What left the account.
    pub taken: Option<Amount>,
    /// The trader's share of it.
    pub share: Option<Money>,
    /// The number of the last attempt to send it, or of the next one.
    pub attempt: u32,
    /// Why it stands there, where somebody said so.
    pub reason: Option<String>,
    /// When it was asked for.
    pub requested_at: Timestamp,
    /// When it last moved.
    pub moved_at: Timestamp,
}

impl Payout {
    /// What the trader gets, as far as it is known.
    pub fn amount(&self) -> Money {
        self.share.unwrap_or(self.expected)
    }

    /// The key under which the engine is asked. It follows from the payout: whoever asks again asks the same.
    pub fn key(&self) -> Result<Key, AppError> {
        let text = match self.tries {
            0 => format!("payout-{}", self.id),
            tries => format!("payout-{}-{tries}", self.id),
        };
        Key::parse(&text).ok_or_else(|| AppError::bug("naming a command")("not a key".into()))
    }
}

/// How an attempt to send a payout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptState {
    /// Whoever is asked has not answered for good.
    Sending,
    /// On its way.
    Sent,
    /// It has arrived.
    Settled,
    /// It never left.
    Failed,
    /// It came back.
    Returned,
}

impl AttemptState {
    /// All.
    pub const ALL: [Self; 5] = [Self::Sending, Self::Sent, Self::Settled, Self::Failed, Self::Returned];

    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Sending => "sending",
            Self::Sent => "sent",
            Self::Settled => "settled",
            Self::Failed => "failed",
            Self::Returned => "returned",
        }
    }

    /// Whether the money is with us, for good.
    pub const fn is_lost(self) -> bool {
        matches!(self, Self::Failed | Self::Returned)
    }
}

/// An attempt to send a payout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// How.
    pub method: Method,
    /// How much.
    pub amount: Money,
    /// How it stands.
    pub state: AttemptState,
    /// The provider's or the bank's name of it.
    pub reference: Option<String>,
    /// In which file.
    pub batch: Option<PayoutBatchId>,
    /// When it was made first.
    pub first_asked_at: Timestamp,
    /// When whoever sends it was asked last.
    pub asked_at: Timestamp,
    /// What it cost, once known.
    pub fee: Option<Money>,
    /// Why it waits, failed or came back.
    pub reason: Option<String>,
}

/// What one of the firm's people said of a payout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Review {
    /// Who.
    pub reviewer: PersonId,
    /// At what: at the payee of this attempt, or at all of it if 0.
    pub attempt: u32,
    /// Whether they let it go.
    pub approves: bool,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Timestamp,
}

/// What has happened to a payout, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// What.
    pub what: Happening,
    /// At which attempt.
    pub attempt: u32,
    /// More about it.
    pub detail: Option<String>,
    /// When.
    pub at: Timestamp,
    /// Where it stood.
    pub from: PayoutState,
    /// Where it went.
    pub to: PayoutState,
}

/// How a firm pays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// How it may be sent.
    pub methods: BTreeSet<Method>,
    /// Whether it must be known who asks.
    pub identity_needed: bool,
    /// From which bank account files are paid.
    pub bank: Option<BankAccount>,
    /// Up to which amount one person is enough; two look at everything in a currency that is not here.
    pub one_reviewer: Vec<Money>,
}

impl Default for Settings {
    /// As careful as can be.
    fn default() -> Self {
        let methods = Method::ALL.into_iter().collect();
        Self { methods, identity_needed: true, bank: None, one_reviewer: Vec::new() }
    }
}

impl Settings {
    /// How many people have to agree to an amount. What is looked at is what leaves the account, whatever the share of it.
    fn reviewers_needed(&self, asked: Amount, currency: Currency) -> Result<usize, AppError> {
        let asked = in_money(asked, currency, Rounding::Ceiling)?;
        let enough = |limit: &Money| limit.currency() == currency && asked.minor() <= limit.minor();
        Ok(if self.one_reviewer.iter().any(enough) { 1 } else { 2 })
    }
}

/// A payout under lock, with everything that decides what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Locked {
    /// It.
    pub payout: Payout,
    /// Every attempt, in order.
    pub attempts: Vec<Attempt>,
    /// Who has looked.
    pub reviews: Vec<Review>,
    /// Whether we know who asks.
    pub identity: Known,
    /// Whether the firm wants to know.
    pub identity_needed: bool,
    /// Who of the firm's people said whom it goes to; nobody if the trader did.
    pub payee_by: Option<PersonId>,
    /// Why nothing is sent to the trader for now.
    pub blocked: Option<String>,
}

impl Locked {
    /// One of the attempts.
    pub fn attempt(&self, number: u32) -> Option<&Attempt> {
        self.attempts.iter().find(|attempt| attempt.number == number)
    }

    /// What is looked at: the payee of the next attempt where another one was named, otherwise all that was asked for.
    pub fn reviewed(&self) -> u32 {
        if self.payout.state == PayoutState::PayeeInReview { self.payout.attempt } else { 0 }
    }

    /// What was said of that.
    pub fn reviews_now(&self) -> impl Iterator<Item = &Review> {
        let reviewed = self.reviewed();
        self.reviews.iter().filter(move |review| review.attempt == reviewed)
    }
}

/// What becomes of a payout; all of it in one transaction.
#[derive(Debug)]
pub struct Change {
    /// Where it goes and what goes with it.
    pub decision: Decision,
    /// Whom it is sent to from now on, if that changes.
    pub payee: Option<Payee>,
    /// When it was known.
    pub recorded_at: Timestamp,
    /// Written with it.
    pub audit: AuditEntry,
    /// Written with it.
    pub outbox: Option<OutboxEntry>,
}

/// Looks at a locked payout and says what becomes of it; nothing if it stays as it is.
pub type Decide<'a> = dyn Fn(&Locked) -> Result<Option<Change>, AppError> + Send + Sync + 'a;

/// SHA-256 over what was asked for.
pub type Fingerprint = [u8; 32];

/// A payout to be created.
#[derive(Debug)]
pub struct NewRow {
    /// The row.
    pub payout: Payout,
    /// Whom it goes to.
    pub payee: Payee,
    /// The client's key.
    pub key: Key,
    /// Of the request.
    pub fingerprint: Fingerprint,
    /// Written with it.
    pub audit: AuditEntry,
    /// Written with it.
    pub outbox: OutboxEntry,
}

/// A file for a bank that is to be made.
#[derive(Debug, Clone)]
pub struct NewBatch {
    /// Its name.
    pub id: PayoutBatchId,
    /// In which currency.
    pub currency: Currency,
    /// Who makes it.
    pub person: PersonId,
    /// When.
    pub at: Timestamp,
}

/// Which payouts of the firm.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// In this state.
    pub state: Option<PayoutState>,
    /// Of this person.
    pub person: Option<PersonId>,
}

/// An account from which something may be paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paying {
    /// Whose.
    pub person: PersonId,
    /// The name of its program.
    pub program_name: String,
    /// Its currency.
    pub currency: Currency,
    /// Whether what it was bought with was given back, or taken back by the buyer's bank.
    pub given_back: bool,
}

/// What payouts store.
#[async_trait]
pub trait PayoutStore: Send + Sync {
    /// How the firm pays; nothing if nobody has said so.
    async fn payout_settings(&self, firm: FirmId) -> Result<Option<Settings>, AppError>;
    /// Says how the firm pays.
    async fn set_payout_settings(
        &self,
        firm: FirmId,
        settings: &Settings,
        audit: &AuditEntry,
    ) -> Result<(), AppError>;
    /// An account by its owner, program and currency.
    async fn paying(&self, firm: FirmId, account: AccountId) -> Result<Option<Paying>, AppError>;
    /// The payout asked for under a key before, with the fingerprint of its request.
    async fn payout_by_key(
        &self,
        firm: FirmId,
        person: PersonId,
        key: &Key,
    ) -> Result<Option<(Payout, Fingerprint)>, AppError>;
    /// Creates it, or gives the one that another request has just created under the key. Refused with `payout_open` if
    /// another one of the account is under way.
    async fn create_payout(&self, firm: FirmId, new: &NewRow) -> Result<(Payout, Fingerprint), AppError>;
    /// One, whoever's.
    async fn payout(&self, firm: FirmId, id: PayoutId) -> Result<Option<Payout>, AppError>;
    /// The newest first, behind the one that was read last.
    async fn payouts(
        &self,
        firm: FirmId,
        wanted: &Wanted,
        behind: Option<PayoutId>,
        most: i64,
    ) -> Result<Vec<Payout>, AppError>;
    /// One with everything that decides what becomes of it.
    async fn payout_whole(&self, firm: FirmId, id: PayoutId) -> Result<Option<Locked>, AppError>;
    /// What has happened to one, in order.
    async fn payout_history(&self, firm: FirmId, id: PayoutId) -> Result<Vec<Happened>, AppError>;
    /// Locks one, lets `decide` look at it, and writes what it says. Gives it as it then is.
    async fn change_payout(
        &self,
        firm: FirmId,
        id: PayoutId,
        decide: &Decide<'_>,
    ) -> Result<Option<Payout>, AppError>;
    /// Whom an attempt goes to, or the next one if none is named; nothing once they were erased. That somebody looks is written
    /// before anything is given.
    async fn payee(
        &self,
        firm: FirmId,
        id: PayoutId,
        attempt: Option<u32>,
        look: Option<&AuditEntry>,
    ) -> Result<Option<Payee>, AppError>;
    /// Payouts that wait for us, those that were looked at longest ago first; they count as looked at.
    async fn due_payouts(&self, firm: FirmId, at: Timestamp, most: i64) -> Result<Vec<PayoutId>, AppError>;
    /// Attempts on their way with a provider that were not looked at since an instant, with the provider's name of them;
    /// they count as looked at.
    async fn pending_payouts(
        &self,
        firm: FirmId,
        before: Timestamp,
        at: Timestamp,
        most: i64,
    ) -> Result<Vec<(PayoutId, u32, Method, String)>, AppError>;
    /// The attempt that a provider calls so.
    async fn attempt_called(
        &self,
        firm: FirmId,
        method: Method,
        reference: &str,
    ) -> Result<Option<(PayoutId, u32)>, AppError>;
    /// What the engine answered to a command of a payout, however long ago.
    async fn engine_answer(
        &self,
        firm: FirmId,
        account: AccountId,
        key: &Key,
        currency: Currency,
    ) -> Result<Option<Answer>, AppError>;
    /// When somebody signed in, the newest first.
    async fn sign_ins(&self, firm: FirmId, person: PersonId) -> Result<Vec<Timestamp>, AppError>;
    /// Why nothing is sent to somebody: cause and reason.
    async fn blocks(&self, firm: FirmId, person: PersonId) -> Result<Vec<(String, String)>, AppError>;
    /// Payouts that are to go into a file for the bank.
    async fn for_bank(&self, firm: FirmId, currency: Currency, most: i64) -> Result<Vec<PayoutId>, AppError>;
    /// Makes a file, without payouts as yet.
    async fn create_batch(&self, firm: FirmId, new: &NewBatch, audit: &AuditEntry) -> Result<(), AppError>;
    /// Files, the newest first: with the currency, when it was made, how many payouts and how much.
    async fn batches(
        &self,
        firm: FirmId,
        most: i64,
    ) -> Result<Vec<(PayoutBatchId, Timestamp, u32, Money)>, AppError>;
    /// What is in a file. That somebody looks is written before anything is given.
    async fn batch(
        &self,
        firm: FirmId,
        id: PayoutBatchId,
        look: &AuditEntry,
    ) -> Result<Option<(Timestamp, Vec<BankLine>)>, AppError>;
}

/// What a trader asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// From which account.
    pub account: AccountId,
    /// How much is to leave it; all that may, if not said.
    pub amount: Option<Amount>,
    /// Whom it goes to.
    pub payee: Payee,
}

/// Everything that whoever decides looks at.
#[derive(Debug, Clone)]
pub struct Dossier {
    /// The payout, its attempts, who has looked, whether we know who asks.
    pub whole: Locked,
    /// Whom it goes to.
    pub payee: Option<Payee>,
    /// What has happened to it.
    pub history: Vec<Happened>,
    /// Every condition and number as of now, if the engine can say.
    pub now: Option<Precheck>,
    /// When the trader signed in, the newest first.
    pub sign_ins: Vec<Timestamp>,
    /// The trader's other payouts, the newest first.
    pub others: Vec<Payout>,
    /// Why nothing is sent to the trader for now: cause and reason.
    pub blocks: Vec<(String, String)>,
}

/// So many are moved in one go.
const MOST_AT_ONCE: i64 = 100;

/// So many steps of one payout in one go.
const MOST_STEPS: usize = 8;

/// What is on its way is pulled so often.
const PULLED_AFTER: Span = Span::from_seconds(15 * 60);

/// The use cases of payouts.
pub struct Payouts {
    store: Arc<dyn PayoutStore>,
    taker: Arc<dyn Taker>,
    providers: Providers,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

impl fmt::Debug for Payouts {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Payouts").finish_non_exhaustive()
    }
}

impl Payouts {
    /// Over a store, the engine, and the providers of all firms.
    pub fn new(
        store: Arc<dyn PayoutStore>,
        taker: Arc<dyn Taker>,
        providers: Providers,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        Self { store, taker, providers, clock, rng }
    }

    // What traders ask.

    /// Whether a payout of an amount may be asked for, with every condition and number.
    pub async fn precheck(
        &self,
        context: &Context,
        account: AccountId,
        amount: Option<Amount>,
    ) -> Result<(Precheck, Currency), AppError> {
        let paying = self.own_account(context, account).await?;
        let found = self.taker.precheck(account, amount).await?;
        let precheck =
            found.ok_or_else(|| AppError::refused("payout_refused", "This phase pays nothing."))?;
        Ok((precheck, paying.currency))
    }

    /// How somebody may be paid: as the firm says, and where a provider does it, that one is set up.
    pub async fn methods(&self, context: &Context) -> Result<BTreeSet<Method>, AppError> {
        context.actor()?;
        let firm = context.firm;
        let mut methods = self.settings_of(firm).await?.methods;
        let is_set_up = |provider| self.providers.of(firm, provider).is_ok();
        methods.retain(|method| method.provider().is_none_or(is_set_up));
        Ok(methods)
    }

    /// Asks for a payout. The same key and request give the same payout again. Refused with `payout_refused` unless every
    /// condition of the program holds now, and with `payout_open` while another one of the account is under way.
    pub async fn request(&self, context: &Context, key: &Key, request: Request) -> Result<Payout, AppError> {
        let person = context.demand(Permission::Trade)?.person;
        let fingerprint = fingerprint(&request)?;
        if let Some(made) = self.store.payout_by_key(context.firm, person, key).await? {
            return same_request(made, fingerprint);
        }
        request.payee.check()?;
        let settings = self.settings_of(context.firm).await?;
        let method = request.payee.method();
        if !settings.methods.contains(&method) {
            return Err(AppError::field("/payee/method", "The firm does not pay like this."));
        }
        if let Some(provider) = method.provider() {
            self.providers.of(context.firm, provider)?;
        }
        let paying = self.own_account(context, request.account).await?;
        let precheck = self.taker.precheck(request.account, request.amount).await?;
        let precheck =
            precheck.ok_or_else(|| AppError::refused("payout_refused", "This phase pays nothing."))?;
        if !precheck.eligible {
            return Err(AppError::refused("payout_refused", unmet(&precheck)));
        }
        // Fixed from here on: what a person lets go is what the engine is asked for.
        let asked = request.amount.unwrap_or(precheck.withdrawable);
        let expected = in_money(precheck.payout, paying.currency, Rounding::Floor)?;
        if asked <= Amount::ZERO || expected.minor() <= 0 {
            return Err(AppError::refused("payout_refused", "Your share of that is nothing."));
        }
        let at = self.clock.now();
        let id = PayoutId::random(at, &*self.rng);
        let payout = Payout {
            id,
            person,
            account: request.account,
            program_name: paying.program_name,
            currency: paying.currency,
            asked,
            precheck,
            expected,
            reviewers_needed: settings.reviewers_needed(asked, paying.currency)?,
            state: PayoutState::Requested,
            method,
            tries: 0,
            take_began_at: None,
            verdict: None,
            taken: None,
            share: None,
            attempt: 0,
            reason: None,
            requested_at: at,
            moved_at: at,
        };
        let new = NewRow {
            audit: audit(context, at, "payout.request", &payout, "", detail(&payout)),
            outbox: outbox(context, at, "payout.requested", &payout),
            payout,
            payee: request.payee,
            key: key.clone(),
            fingerprint,
        };
        let made = match self.store.create_payout(context.firm, &new).await {
            // What is under way may be this very request, made a moment ago.
            Err(AppError::Refused { code, say }) => {
                let made = self.store.payout_by_key(context.firm, person, key).await?;
                made.ok_or(AppError::Refused { code, say })?
            }
            made => made?,
        };
        let payout = same_request(made, fingerprint)?;
        if payout.state == PayoutState::Requested {
            return self.happened(context, payout.id, &PayoutEvent::Gate, None, "").await;
        }
        Ok(payout)
    }

    /// One of the caller's own.
    pub async fn get(&self, context: &Context, id: PayoutId) -> Result<Payout, AppError> {
        let person = context.actor()?.person;
        let found = self.store.payout(context.firm, id).await?;
        found.filter(|payout| payout.person == person).ok_or(AppError::NotFound("payout"))
    }

    /// What has happened to one of the caller's own.
    pub async fn history(&self, context: &Context, id: PayoutId) -> Result<Vec<Happened>, AppError> {
        self.get(context, id).await?;
        self.store.payout_history(context.firm, id).await
    }

    /// The caller's own, the newest first.
    pub async fn list(
        &self,
        context: &Context,
        behind: Option<PayoutId>,
        most: i64,
    ) -> Result<Vec<Payout>, AppError> {
        let wanted = Wanted { state: None, person: Some(context.actor()?.person) };
        self.store.payouts(context.firm, &wanted, behind, most).await
    }

    /// The trader takes it back, as long as the engine was not asked. Twice is once.
    pub async fn withdraw(&self, context: &Context, id: PayoutId) -> Result<Payout, AppError> {
        self.get(context, id).await?;
        self.happened(context, id, &PayoutEvent::Withdrawn, None, "").await
    }

    // What the firm's people do.

    /// The firm's payouts, the newest first.
    pub async fn queue(
        &self,
        context: &Context,
        wanted: &Wanted,
        behind: Option<PayoutId>,
        most: i64,
    ) -> Result<Vec<Payout>, AppError> {
        context.demand(Permission::ReviewPayouts)?;
        self.store.payouts(context.firm, wanted, behind, most).await
    }

    /// Everything about one that whoever decides looks at. Whom it goes to is personal: the look is written down.
    pub async fn dossier(
        &self,
        context: &Context,
        id: PayoutId,
        reason: Option<&str>,
    ) -> Result<Dossier, AppError> {
        context.demand(Permission::ReviewPayouts)?;
        let purpose = said(reason)?;
        let whole = self.store.payout_whole(context.firm, id).await?.ok_or(AppError::NotFound("payout"))?;
        let payout = &whole.payout;
        let look = audit(context, self.clock.now(), "payout.look", payout, purpose, json!({}));
        let payee = self.store.payee(context.firm, id, None, Some(&look)).await?;
        let history = self.store.payout_history(context.firm, id).await?;
        // A reviewer may look although the engine cannot answer now.
        let now = match self.taker.precheck(payout.account, Some(payout.asked)).await {
            Ok(now) => now.filter(|_| !payout.state.has_left()),
            Err(AppError::Unavailable { .. }) => None,
            Err(error) => return Err(error),
        };
        let wanted = Wanted { state: None, person: Some(payout.person) };
        let mut others = self.store.payouts(context.firm, &wanted, None, MOST_AT_ONCE).await?;
        others.retain(|other| other.id != id);
        let mut blocks = self.store.blocks(context.firm, payout.person).await?;
        // What stands nowhere but where it comes from: a legal hold, or that the challenge was given back.
        if let Some(why) = whole.blocked.as_ref().filter(|why| blocks.iter().all(|(_, known)| known != *why))
        {
            blocks.push((cause(id), why.clone()));
        }
        Ok(Dossier {
            sign_ins: self.store.sign_ins(context.firm, payout.person).await?,
            blocks,
            whole,
            payee,
            history,
            now,
            others,
        })
    }

    /// One of the firm's people lets it go, or not. Above the firm's limit two different ones have to agree; nobody decides about
    /// their own.
    pub async fn review(
        &self,
        context: &Context,
        id: PayoutId,
        approves: bool,
        reason: Option<&str>,
    ) -> Result<Payout, AppError> {
        let reviewer = context.demand(Permission::ReviewPayouts)?.person;
        let reason = said(reason)?.to_owned();
        // What they look at is what waits when it is written down.
        let review = Review { reviewer, attempt: 0, approves, reason: reason.clone(), at: self.clock.now() };
        self.happened(context, id, &PayoutEvent::Reviewed(review), None, &reason).await
    }

    /// Sends once more what failed or came back. To somebody else than before it goes once others of the firm's people have
    /// agreed to that.
    pub async fn send_again(
        &self,
        context: &Context,
        id: PayoutId,
        payee: Option<Payee>,
        reason: Option<&str>,
    ) -> Result<Payout, AppError> {
        let by = context.demand(Permission::ManageMoney)?.person;
        let reason = said(reason)?;
        let found = self.not_own(context.firm, id, by).await?;
        let method = payee.as_ref().map_or(found.method, Payee::method);
        if !self.settings_of(context.firm).await?.methods.contains(&method) {
            return Err(AppError::field("/payee/method", "The firm does not pay like this."));
        }
        if let Some(provider) = method.provider() {
            self.providers.of(context.firm, provider)?;
        }
        let Some(payee) = payee else {
            return self.happened(context, id, &PayoutEvent::SentAgain, None, reason).await;
        };
        payee.check()?;
        // The same once more is nobody new.
        let sent_to = self.store.payee(context.firm, id, Some(found.attempt), None).await?;
        if sent_to.as_ref() == Some(&payee) {
            return self.happened(context, id, &PayoutEvent::SentAgain, None, reason).await;
        }
        self.happened(context, id, &PayoutEvent::PayeeChanged { method, by }, Some(payee), reason).await
    }

    /// A payout that is not the caller's own: nobody moves money to themselves.
    async fn not_own(&self, firm: FirmId, id: PayoutId, caller: PersonId) -> Result<Payout, AppError> {
        let found = self.store.payout(firm, id).await?.ok_or(AppError::NotFound("payout"))?;
        if found.person == caller {
            return Err(AppError::refused("four_eyes", "Nobody decides about a payout of their own."));
        }
        Ok(found)
    }

    /// Somebody has paid it by hand, or the bank says it has.
    pub async fn mark_paid(
        &self,
        context: &Context,
        id: PayoutId,
        reference: &str,
        reason: Option<&str>,
    ) -> Result<Payout, AppError> {
        let by = context.demand(Permission::ManageMoney)?.person;
        let reason = said(reason)?;
        self.not_own(context.firm, id, by).await?;
        if reference.trim().is_empty() || reference.chars().count() > 200 {
            return Err(AppError::field("/reference", "Say under which reference it was paid."));
        }
        let event = PayoutEvent::Paid { reference: reference.trim().to_owned() };
        self.happened(context, id, &event, None, reason).await
    }

    /// The bank says that it did not pay it, or that it came back.
    pub async fn mark_returned(
        &self,
        context: &Context,
        id: PayoutId,
        reason: Option<&str>,
    ) -> Result<Payout, AppError> {
        let by = context.demand(Permission::ManageMoney)?.person;
        let reason = said(reason)?;
        self.not_own(context.firm, id, by).await?;
        let event = PayoutEvent::NotPaid { reason: reason.to_owned() };
        self.happened(context, id, &event, None, reason).await
    }

    /// Puts everything that is to be paid by the bank into a new file. Each payout is in one file.
    pub async fn export(
        &self,
        context: &Context,
        currency: Currency,
        reason: Option<&str>,
    ) -> Result<PayoutBatchId, AppError> {
        let person = context.demand(Permission::ManageMoney)?.person;
        let reason = said(reason)?;
        if self.settings_of(context.firm).await?.bank.is_none() {
            let say = "Say first from which bank account the firm pays.";
            return Err(AppError::refused("conflict", say));
        }
        let due = self.store.for_bank(context.firm, currency, MOST_IN_FILE).await?;
        if due.is_empty() {
            return Err(AppError::refused("conflict", "Nothing waits to be paid by the bank."));
        }
        let at = self.clock.now();
        let id = PayoutBatchId::random(at, &*self.rng);
        let entry = batch_audit(context, at, "payout.export", id, reason);
        self.store.create_batch(context.firm, &NewBatch { id, currency, person, at }, &entry).await?;
        for payout in due {
            self.happened(context, payout, &PayoutEvent::Exported { batch: id }, None, reason).await?;
        }
        Ok(id)
    }

    /// Files for the bank, the newest first: when, how many payouts and how much.
    pub async fn batches(
        &self,
        context: &Context,
    ) -> Result<Vec<(PayoutBatchId, Timestamp, u32, Money)>, AppError> {
        context.demand(Permission::ManageMoney)?;
        self.store.batches(context.firm, MOST_AT_ONCE).await
    }

    /// A file for the bank: the same however often it is asked for.
    pub async fn bank_file(
        &self,
        context: &Context,
        id: PayoutBatchId,
        reason: Option<&str>,
    ) -> Result<BankFile, AppError> {
        context.demand(Permission::ManageMoney)?;
        let look = batch_audit(context, self.clock.now(), "payout.bank_file", id, said(reason)?);
        let found = self.store.batch(context.firm, id, &look).await?;
        let (created_at, lines) = found.ok_or(AppError::NotFound("batch"))?;
        let debtor = self.settings_of(context.firm).await?.bank;
        let debtor = debtor.ok_or_else(|| {
            AppError::refused("conflict", "Say first from which bank account the firm pays.")
        })?;
        Ok(BankFile { id, created_at, debtor, lines })
    }

    /// How the firm pays.
    pub async fn settings(&self, context: &Context) -> Result<Settings, AppError> {
        context.demand(Permission::ReviewPayouts)?;
        self.settings_of(context.firm).await
    }

    /// Says how the firm pays.
    pub async fn set_settings(
        &self,
        context: &Context,
        settings: &Settings,
        reason: Option<&str>,
    ) -> Result<(), AppError> {
        context.demand(Permission::ManageMoney)?;
        let reason = said(reason)?;
        if let Some(bank) = &settings.bank {
            bank.check()?;
        }
        let mut seen = BTreeSet::new();
        for limit in &settings.one_reviewer {
            if limit.minor() < 0 || !seen.insert(limit.currency().code()) {
                return Err(AppError::field("/one_reviewer", "Each currency once, not below 0."));
            }
        }
        let before = self.settings_of(context.firm).await?;
        let entry = AuditEntry {
            firm: context.firm,
            at: self.clock.now(),
            actor: context.actor.as_ref().map(|actor| actor.person),
            action: "payout.settings".to_owned(),
            object_kind: "firm",
            object: context.firm.to_string(),
            request: Some(context.request),
            purpose: reason.to_owned(),
            digests: Digests::of(Some(&told_settings(&before)), Some(&told_settings(settings))),
            detail: told_settings(settings),
        };
        self.store.set_payout_settings(context.firm, settings, &entry).await
    }

    // What goes on by itself.

    /// A provider says how a payout stands. It may come late, twice and in any order; what is not ours is left to whoever
    /// compares the books. Gives whose it is, if it is one of ours.
    pub async fn told(
        &self,
        context: &Context,
        provider: ProviderName,
        payout: &port::Payout,
    ) -> Result<Option<PersonId>, AppError> {
        let called = self.store.attempt_called(context.firm, Method::of(provider), &payout.id).await?;
        let ours = called.or_else(|| payout.reference.as_deref().and_then(attempt_of));
        let Some((id, attempt)) = ours else { return Ok(None) };
        let event = PayoutEvent::Told { attempt, payout: Box::new(payout.clone()) };
        match self.happened(context, id, &event, None, "").await {
            Ok(payout) => Ok(Some(payout.person)),
            Err(AppError::NotFound(_)) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Moves what waits for us: asks who it is, asks the engine, keeps the share back, sends. Gives how many have moved; call
    /// again while there are some. Every step is a transaction of its own, and all may be repeated.
    pub async fn advance(&self, context: &Context) -> Result<usize, AppError> {
        let due = self.store.due_payouts(context.firm, self.clock.now(), MOST_AT_ONCE).await?;
        let mut moved = 0_usize;
        for id in due {
            match self.move_on(context, id).await {
                Ok(true) => moved = moved.saturating_add(1),
                Ok(false) => {}
                // One that cannot be moved now stands in nobody's way.
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(payout = %id, error, "a payout does not move");
                }
            }
        }
        Ok(moved)
    }

    /// Pulls what has been on its way for long. Gives how many have been pulled.
    pub async fn janitor(&self, context: &Context) -> Result<usize, AppError> {
        let at = self.clock.now();
        let before = at.before(PULLED_AFTER).map_err(AppError::clock)?;
        let pending = self.store.pending_payouts(context.firm, before, at, MOST_AT_ONCE).await?;
        let mut pulled = 0_usize;
        for (id, attempt, method, reference) in pending {
            match self.pull(context, id, attempt, method, &reference).await {
                Ok(()) => pulled = pulled.saturating_add(1),
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(payout = %id, error, "a payout on its way cannot be pulled");
                }
            }
        }
        Ok(pulled)
    }

    async fn pull(
        &self,
        context: &Context,
        id: PayoutId,
        attempt: u32,
        method: Method,
        reference: &str,
    ) -> Result<(), AppError> {
        let Some(name) = method.provider() else { return Ok(()) };
        let told = self.providers.of(context.firm, name)?.payout(reference).await;
        let told = told.map_err(|failure| AppError::Unavailable {
            doing: "pulling a payout",
            source: Box::new(failure),
        })?;
        let event = PayoutEvent::Told { attempt, payout: Box::new(told) };
        self.happened(context, id, &event, None, "").await.map(|_| ())
    }

    /// As far as one goes by itself; whether it went anywhere.
    async fn move_on(&self, context: &Context, id: PayoutId) -> Result<bool, AppError> {
        let mut moved = false;
        let mut payout = self.store.payout(context.firm, id).await?.ok_or(AppError::NotFound("payout"))?;
        for _ in 0..MOST_STEPS {
            let after = self.step(context, &payout).await?;
            if after.state == payout.state {
                break;
            }
            (moved, payout) = (true, after);
        }
        Ok(moved)
    }

    async fn step(&self, context: &Context, payout: &Payout) -> Result<Payout, AppError> {
        match payout.state {
            PayoutState::Requested | PayoutState::AwaitingIdentity => {
                self.happened(context, payout.id, &PayoutEvent::Gate, None, "").await
            }
            PayoutState::Approved => self.take(context, payout).await,
            PayoutState::Taken => self.happened(context, payout.id, &PayoutEvent::Reserved, None, "").await,
            PayoutState::Reserved | PayoutState::Sending if payout.method.is_asked() => {
                self.send(context, payout).await
            }
            PayoutState::InReview
            | PayoutState::Reserved
            | PayoutState::Sending
            | PayoutState::Sent
            | PayoutState::Settled
            | PayoutState::Failed
            | PayoutState::Returned
            | PayoutState::PayeeInReview
            | PayoutState::Refused
            | PayoutState::Rejected
            | PayoutState::Withdrawn => Ok(payout.clone()),
        }
    }

    /// Asks the engine.
    async fn take(&self, context: &Context, payout: &Payout) -> Result<Payout, AppError> {
        // From here on it can no longer be taken back.
        let payout = self.happened(context, payout.id, &PayoutEvent::TakeBegun, None, "").await?;
        if payout.state != PayoutState::Approved || payout.take_began_at.is_none() {
            return Ok(payout);
        }
        let event = match self.taker.take(context.firm, &payout).await? {
            Answer::Taken { verdict, taken, share } => PayoutEvent::Taken { verdict, taken, share },
            Answer::Refused { verdict, reason } => PayoutEvent::Refused { verdict, reason },
            Answer::Later => PayoutEvent::Later { tries: payout.tries },
        };
        self.happened(context, payout.id, &event, None, "").await
    }

    /// Asks a provider. What it answers for good is written down; after anything else the same is asked again, later.
    async fn send(&self, context: &Context, payout: &Payout) -> Result<Payout, AppError> {
        let Some(name) = payout.method.provider() else { return Ok(payout.clone()) };
        let provider = self.providers.of(context.firm, name)?;
        let share = payout.amount();
        let (sends, cannot) = match provider.payable(share) {
            Ok(sends) if sends.minor() > 0 => (sends, None),
            Ok(_) => (share, Some(format!("{name} cannot send so little."))),
            Err(failure) => (share, Some(failure.said().to_string())),
        };
        let begun = PayoutEvent::Begun { amount: sends };
        let (payout, changed) = self.happens(context, payout.id, &begun, None, "").await?;
        // Somebody else asks, or it waits.
        if !changed || payout.state != PayoutState::Sending {
            return Ok(payout);
        }
        let whole = self.store.payout_whole(context.firm, payout.id).await?;
        let whole = whole.ok_or(AppError::NotFound("payout"))?;
        let attempt = whole.attempt(payout.attempt);
        let Some(attempt) = attempt.filter(|attempt| attempt.state == AttemptState::Sending) else {
            return Ok(whole.payout);
        };
        if let Some(reason) = cannot {
            let event = PayoutEvent::Declined { attempt: attempt.number, reason };
            return self.happened(context, payout.id, &event, None, "").await;
        }
        let Some(to) = self.destination(context.firm, &payout, attempt.number).await? else {
            let reason = "Nobody knows any more whom it goes to.".to_owned();
            let event = PayoutEvent::Declined { attempt: attempt.number, reason };
            return self.happened(context, payout.id, &event, None, "").await;
        };
        let name = reference(payout.id, attempt.number)?;
        let new = NewPayout {
            payout: name.clone(),
            attempt: name,
            amount: attempt.amount,
            to,
            note: format!("Your payout from {}", payout.program_name),
            first_asked_at: attempt.first_asked_at,
        };
        let event = match provider.send_payout(&new).await {
            Ok(told) => PayoutEvent::Told { attempt: attempt.number, payout: Box::new(told) },
            Err(Failure::Declined(said) | Failure::Refused(said)) => {
                PayoutEvent::Declined { attempt: attempt.number, reason: said.to_string() }
            }
            Err(failure @ (Failure::Unknown(_) | Failure::Unavailable { .. } | Failure::WrongKey(_))) => {
                return Err(AppError::Unavailable { doing: "sending a payout", source: Box::new(failure) });
            }
        };
        self.happened(context, payout.id, &event, None, "").await
    }

    async fn destination(
        &self,
        firm: FirmId,
        payout: &Payout,
        attempt: u32,
    ) -> Result<Option<Destination>, AppError> {
        Ok(match self.store.payee(firm, payout.id, Some(attempt), None).await? {
            Some(Payee::Stripe { account }) => Some(Destination::StripeAccount(account)),
            Some(Payee::Paypal { email }) => Some(Destination::PaypalEmail(email)),
            Some(Payee::BankFile(_) | Payee::Manual { .. }) | None => None,
        })
    }

    async fn happened(
        &self,
        context: &Context,
        id: PayoutId,
        event: &PayoutEvent,
        payee: Option<Payee>,
        purpose: &str,
    ) -> Result<Payout, AppError> {
        Ok(self.happens(context, id, event, payee, purpose).await?.0)
    }

    /// The payout as it then is, and whether this has changed it.
    async fn happens(
        &self,
        context: &Context,
        id: PayoutId,
        event: &PayoutEvent,
        payee: Option<Payee>,
        purpose: &str,
    ) -> Result<(Payout, bool), AppError> {
        let at = self.clock.now();
        let changed = AtomicBool::new(false);
        let change = |locked: &Locked| {
            let Some(decision) = decide(locked, event, at)? else { return Ok(None) };
            changed.store(true, Ordering::Relaxed);
            let (what, payout) = (decision.what, &decision.payout);
            let state = |payout: &Payout| json!({ "payout": payout.state.word() });
            let entry =
                audit(context, at, &format!("payout.{}", what.word()), payout, purpose, detail(payout));
            let digests = Digests::of(Some(&state(&locked.payout)), Some(&state(payout)));
            Ok(Some(Change {
                audit: AuditEntry { digests, ..entry },
                outbox: topic(what).map(|topic| outbox(context, at, topic, payout)),
                payee: payee.clone(),
                recorded_at: at,
                decision,
            }))
        };
        let payout = self.store.change_payout(context.firm, id, &change).await?;
        Ok((payout.ok_or(AppError::NotFound("payout"))?, changed.load(Ordering::Relaxed)))
    }

    async fn settings_of(&self, firm: FirmId) -> Result<Settings, AppError> {
        Ok(self.store.payout_settings(firm).await?.unwrap_or_default())
    }

    async fn own_account(&self, context: &Context, account: AccountId) -> Result<Paying, AppError> {
        let person = context.demand(Permission::Trade)?.person;
        let paying = self.store.paying(context.firm, account).await?;
        let paying = paying.filter(|paying| paying.person == person).ok_or(AppError::NotFound("account"))?;
        if paying.given_back {
            let say = "What the challenge cost was given back: it pays nothing any more.";
            return Err(AppError::refused("payout_refused", say));
        }
        Ok(paying)
    }
}

/// So many payouts are in one file.
const MOST_IN_FILE: i64 = 500;

/// What entries and holds of a payout are about.
pub fn cause(id: PayoutId) -> Cause {
    format!("payout:{id}")
}

/// Our name of an attempt, as providers know it: of one payout and one attempt at it.
pub fn reference(id: PayoutId, attempt: u32) -> Result<Reference, AppError> {
    let named = Reference::parse(&format!("payout-{id}_{attempt}"));
    named.map_err(|error| AppError::bug("naming a payout")(Box::new(error)))
}

/// The payout and the attempt that a reference names, if it is one of ours.
pub fn attempt_of(reference: &str) -> Option<(PayoutId, u32)> {
    let (id, attempt) = reference.strip_prefix("payout-")?.split_once('_')?;
    Some((id.parse().ok()?, attempt.parse().ok()?))
}

/// An amount of an account as money.
pub fn in_money(amount: Amount, currency: Currency, rounding: Rounding) -> Result<Money, AppError> {
    let text = amount.rounded(currency, rounding).map(|amount| amount.text(currency));
    let text = text.map_err(|error| AppError::bug("rounding an amount")(Box::new(error)))?;
    Money::parse(&text, currency).map_err(|error| AppError::bug("reading an amount")(Box::new(error)))
}

/// Which conditions do not hold, in one sentence.
fn unmet(precheck: &Precheck) -> String {
    let missing: Vec<String> = precheck
        .conditions
        .iter()
        .filter(|condition| !condition.met)
        .map(|condition| engine::label(&condition.kind).to_lowercase())
        .collect();
    format!("Not every condition of the payout holds: {}.", missing.join(", "))
}

/// What the world is told.
const fn topic(what: Happening) -> Option<&'static str> {
    match what {
        Happening::Requested => Some("payout.requested"),
        Happening::Approved => Some("payout.approved"),
        Happening::Rejected => Some("payout.rejected"),
        Happening::Sent => Some("payout.sent"),
        Happening::Settled | Happening::NothingOwed => Some("payout.settled"),
        Happening::Failed => Some("payout.failed"),
        Happening::Returned => Some("payout.returned"),
        Happening::IdentityNeeded
        | Happening::IdentityKnown
        | Happening::Reviewed
        | Happening::Withdrawn
        | Happening::TakeBegun
        | Happening::Later
        | Happening::Taken
        | Happening::Refused
        | Happening::Reserved
        | Happening::Begun
        | Happening::FeeKnown
        | Happening::SentAgain
        | Happening::PayeeChanged
        | Happening::PayeeApproved
        | Happening::PayeeRejected => None,
    }
}

fn detail(payout: &Payout) -> serde_json::Value {
    json!({ "state": payout.state.word(), "account": payout.account, "amount": payout.amount() })
}

fn audit(
    context: &Context,
    at: Timestamp,
    action: &str,
    payout: &Payout,
    purpose: &str,
    detail: serde_json::Value,
) -> AuditEntry {
    AuditEntry {
        firm: context.firm,
        at,
        actor: context.actor.as_ref().map(|actor| actor.person),
        action: action.to_owned(),
        object_kind: "payout",
        object: payout.id.to_string(),
        request: Some(context.request),
        purpose: purpose.to_owned(),
        digests: Digests::default(),
        detail,
    }
}

fn batch_audit(
    context: &Context,
    at: Timestamp,
    action: &str,
    id: PayoutBatchId,
    purpose: &str,
) -> AuditEntry {
    AuditEntry {
        firm: context.firm,
        at,
        actor: context.actor.as_ref().map(|actor| actor.person),
        action: action.to_owned(),
        object_kind: "payout_batch",
        object: id.to_string(),
        request: Some(context.request),
        purpose: purpose.to_owned(),
        digests: Digests::default(),
        detail: json!({}),
    }
}

fn outbox(context: &Context, at: Timestamp, topic: &'static str, payout: &Payout) -> OutboxEntry {
    OutboxEntry {
        firm: context.firm,
        at,
        aggregate: format!("payout:{}", payout.id),
        topic,
        payload: detail(payout),
        request: Some(context.request),
    }
}

fn told_settings(settings: &Settings) -> serde_json::Value {
    let methods: Vec<&str> = settings.methods.iter().map(|method| method.word()).collect();
    json!({
        "methods": methods,
        "identity_needed": settings.identity_needed,
        "one_reviewer": settings.one_reviewer,
        "bank": settings.bank.is_some(),
    })
}

fn fingerprint(request: &Request) -> Result<Fingerprint, AppError> {
    let said = (request.account, request.amount.map(Amount::micros), &request.payee);
    let text =
        serde_json::to_vec(&said).map_err(|error| AppError::bug("naming a request")(Box::new(error)))?;
    Ok(Sha256::digest(text).into())
}

fn same_request(made: (Payout, Fingerprint), fingerprint: Fingerprint) -> Result<Payout, AppError> {
    let (payout, stored) = made;
    if stored == fingerprint {
        Ok(payout)
    } else {
        Err(AppError::refused("idempotency_key_reused", "The Idempotency-Key was used for another payout."))
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "tests")]
mod tests;
