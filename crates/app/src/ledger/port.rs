//! What the books store and tell.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use kernel::{Clock, Currency, EntryId, FirmId, HoldId, Money, Overflow, Timestamp};

use super::{Account, Ending, Entry, Hold, LedgerError, Nature, Outcome};
use crate::{AppError, Context, Permission};

/// Which books: what had happened by then, as it was known by then. Without an instant, everything.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct AsOf {
    /// Happened at this instant or before.
    pub effective: Option<Timestamp>,
    /// Recorded at this instant or before.
    pub recorded: Option<Timestamp>,
}

/// What became of an entry that was posted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Posted {
    /// It is in the books.
    New,
    /// It was there, with this content.
    AsItWas,
}

/// An entry in the books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recorded {
    /// Its place in the order of recording.
    pub number: i64,
    /// When it was recorded.
    pub at: Timestamp,
    /// What it says.
    pub entry: Entry,
}

/// The two sides of an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    /// Which account.
    pub account: Account,
    /// In which currency.
    pub currency: Currency,
    /// Everything that was debited, in minor units.
    pub debits: i64,
    /// Everything that was credited, in minor units.
    pub credits: i64,
}

impl Balance {
    /// What stands there, on the side on which the account grows. Accounts that grow on either are told as debit.
    pub fn amount(&self) -> Result<Money, Overflow> {
        let (plus, minus) = match self.account.nature() {
            Nature::Debit | Nature::Either => (self.debits, self.credits),
            Nature::Credit => (self.credits, self.debits),
        };
        let minor = plus.checked_sub(minus).ok_or(Overflow)?;
        Ok(Money::from_minor(minor, self.currency))
    }
}

/// The balances of all accounts.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Books {
    /// In the order of currency and account.
    pub balances: Vec<Balance>,
}

impl Books {
    /// Debits and credits by currency.
    pub fn sums(&self) -> Result<BTreeMap<Currency, (i64, i64)>, Overflow> {
        let mut sums: BTreeMap<Currency, (i64, i64)> = BTreeMap::new();
        for Balance { currency, debits, credits, .. } in &self.balances {
            let (debit, credit) = sums.entry(*currency).or_default();
            *debit = debit.checked_add(*debits).ok_or(Overflow)?;
            *credit = credit.checked_add(*credits).ok_or(Overflow)?;
        }
        Ok(sums)
    }

    /// Whether debits equal credits in every currency. It cannot be otherwise; whoever shows the books says that they
    /// looked.
    pub fn balanced(&self) -> Result<bool, Overflow> {
        Ok(self.sums()?.values().all(|(debits, credits)| debits == credits))
    }
}

/// One transfer as its account sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Of the entry, in the order of recording.
    pub number: i64,
    /// The entry.
    pub entry: EntryId,
    /// What happened, such as `capture`.
    pub kind: String,
    /// What it is about.
    pub cause: String,
    /// When it happened.
    pub effective_at: Timestamp,
    /// The account on the other side.
    pub other: Account,
    /// Above zero if debited, below if credited.
    pub amount: Money,
}

/// What was taken as a snapshot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Snapshot {
    /// Its number.
    pub number: i64,
    /// How many accounts and currencies have a sum in it.
    pub balances: i64,
}

/// What the ledger stores. Entries and ends of holds are also written by other stores, in the transaction of their cause.
#[async_trait]
pub trait LedgerStore: Send + Sync {
    /// Posts entries, all or none. An id that names another content is [`LedgerError::IdReused`], an account that would
    /// fall below zero [`LedgerError::FundsShort`].
    async fn post(
        &self,
        firm: FirmId,
        entries: &[Entry],
        recorded_at: Timestamp,
    ) -> Result<Vec<Posted>, AppError>;
    /// One entry.
    async fn entry(&self, firm: FirmId, id: EntryId) -> Result<Option<Recorded>, AppError>;
    /// What stands on an account.
    async fn balance(&self, firm: FirmId, account: &Account, currency: Currency)
    -> Result<Balance, AppError>;
    /// All balances.
    async fn books(&self, firm: FirmId, as_of: AsOf) -> Result<Books, AppError>;
    /// The transfers of an account behind a number, at most so many, in the order of recording.
    async fn lines(
        &self,
        firm: FirmId,
        account: &Account,
        currency: Currency,
        after: i64,
        most: i64,
    ) -> Result<Vec<Line>, AppError>;
    /// Opens a hold. Opening it again is opening it once.
    async fn open_hold(&self, firm: FirmId, hold: &Hold, recorded_at: Timestamp) -> Result<Posted, AppError>;
    /// Looks at a hold and ends it. Gives it as it then is; one that has ended as it is to end stays as it is.
    async fn end_hold(
        &self,
        firm: FirmId,
        id: HoldId,
        outcome: &Outcome,
        at: Timestamp,
    ) -> Result<Option<Hold>, AppError>;
    /// One hold.
    async fn hold(&self, firm: FirmId, id: HoldId) -> Result<Option<Hold>, AppError>;
    /// Holds that are pending although their time is over, the oldest first.
    async fn run_out(&self, firm: FirmId, at: Timestamp, most: i64) -> Result<Vec<HoldId>, AppError>;
    /// Sums everything up to now, so that balances are found sooner. None if somebody else is doing it.
    async fn snapshot(&self, firm: FirmId, at: Timestamp) -> Result<Option<Snapshot>, AppError>;
}

/// The use cases of the books that belong to nothing else.
pub struct Ledger {
    store: Arc<dyn LedgerStore>,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for Ledger {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Ledger").finish_non_exhaustive()
    }
}

/// So many holds expire in one go.
const MOST_EXPIRED: i64 = 200;

impl Ledger {
    /// Over a store.
    pub fn new(store: Arc<dyn LedgerStore>, clock: Arc<dyn Clock>) -> Self {
        Self { store, clock }
    }

    /// The trial balance of the caller's firm.
    pub async fn books(&self, context: &Context, as_of: AsOf) -> Result<Books, AppError> {
        context.demand(Permission::ReadBusiness)?;
        self.store.books(context.firm, as_of).await
    }

    /// What stands on an account.
    pub async fn balance(
        &self,
        context: &Context,
        account: &Account,
        currency: Currency,
    ) -> Result<Balance, AppError> {
        context.demand(Permission::ReadBusiness)?;
        self.store.balance(context.firm, account, currency).await
    }

    /// The transfers of an account behind a number, at most so many.
    pub async fn lines(
        &self,
        context: &Context,
        account: &Account,
        currency: Currency,
        after: i64,
        most: i64,
    ) -> Result<Vec<Line>, AppError> {
        context.demand(Permission::ReadBusiness)?;
        self.store.lines(context.firm, account, currency, after, most).await
    }

    /// Posts entries that have no other cause here, such as a provider's fee or payout. For the adapters that hear of
    /// them: whether a person may is asked by whoever lets them.
    pub async fn post(&self, firm: FirmId, entries: &[Entry]) -> Result<Vec<Posted>, AppError> {
        self.store.post(firm, entries, self.clock.now()).await
    }

    /// Takes an entry back, for a reason; once.
    pub async fn reverse(
        &self,
        firm: FirmId,
        id: EntryId,
        effective_at: Timestamp,
        reason: &str,
    ) -> Result<Entry, AppError> {
        let Recorded { entry, .. } = self.store.entry(firm, id).await?.ok_or(AppError::NotFound("entry"))?;
        let reversal = entry.reversal(effective_at, reason)?;
        self.store.post(firm, std::slice::from_ref(&reversal), self.clock.now()).await?;
        Ok(reversal)
    }

    /// Ends a hold.
    pub async fn end_hold(&self, firm: FirmId, id: HoldId, outcome: &Outcome) -> Result<Hold, AppError> {
        let ended = self.store.end_hold(firm, id, outcome, self.clock.now()).await?;
        ended.ok_or(AppError::NotFound("hold"))
    }

    /// Frees what is held although its time is over. Gives how many; call again while there are some.
    pub async fn expire_holds(&self, firm: FirmId) -> Result<usize, AppError> {
        let at = self.clock.now();
        let run_out = self.store.run_out(firm, at, MOST_EXPIRED).await?;
        for id in &run_out {
            match self.store.end_hold(firm, *id, &Outcome::Expire, at).await {
                // Somebody was faster; the hold has ended.
                Ok(_) | Err(AppError::Refused { code: "hold_ended", .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(run_out.len())
    }

    /// Sums everything up to now, so that balances are found sooner.
    pub async fn snapshot(&self, firm: FirmId) -> Result<Option<Snapshot>, AppError> {
        self.store.snapshot(firm, self.clock.now()).await
    }
}

/// Whether a hold that has ended ended as it is to end: then asking again changes nothing.
pub fn ended_alike(hold: &Hold, ended_by: &Ending, outcome: &Outcome) -> Result<bool, LedgerError> {
    let pending = Hold { state: super::HoldState::Pending, ..hold.clone() };
    match pending.end(outcome.clone(), ended_by.entry.effective_at()) {
        Ok(again) => Ok(again == *ended_by),
        Err(LedgerError::HoldEnded(_) | LedgerError::NotOver) => Ok(false),
        Err(error) => Err(error),
    }
}
