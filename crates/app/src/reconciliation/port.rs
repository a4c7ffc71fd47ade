//! What reconciliation stores, and whom it asks.

use std::collections::BTreeMap;

use async_trait::async_trait;
use kernel::{EntryId, FirmId, Money, PersonId, Timestamp};

use super::{Both, DifferenceId, DifferenceState, Found, Kept, Name, NewRun, Resolved, Run, RunId, Subject};
use crate::AppError;
use crate::ledger::Entry;
use crate::payments::port::Entry as BookEntry;
use crate::trading::AuditEntry;

/// A page of a provider's books, and where the next one begins.
#[derive(Debug, Clone)]
pub struct BookPage {
    /// The lines.
    pub entries: Vec<BookEntry>,
    /// From where on the next part is read.
    pub read_from: Timestamp,
    /// The page of that part.
    pub page: Option<String>,
}

/// What a step of comparing came to.
#[derive(Debug, Clone, Default)]
pub struct Compared {
    /// What is posted, with the name it is compared under.
    pub posts: Vec<(Name, Entry)>,
    /// Where the books differ.
    pub found: Vec<Found>,
    /// How many names were compared.
    pub names: i64,
    /// The last one; nothing if there are no more.
    pub after: Option<(String, String)>,
}

/// A part of comparing the books with our own records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnPart {
    /// What happened to purchases, and its entries.
    Purchases,
    /// Entries about payouts and what is held for them, against each other.
    Payouts,
    /// Entries about payouts against what payouts say of themselves.
    PaidOut,
    /// Balances of trading accounts.
    Trading,
}

impl OwnPart {
    const ALL: [Self; 4] = [Self::Purchases, Self::Payouts, Self::PaidOut, Self::Trading];

    /// The word in rows.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Purchases => "purchase",
            Self::Payouts => "payout",
            Self::PaidOut => "paid_out",
            Self::Trading => "trading",
        }
    }

    /// The one of that word; the first of none.
    pub fn of(word: &str) -> Self {
        Self::ALL.into_iter().find(|part| part.word() == word).unwrap_or(Self::Purchases)
    }

    /// The one behind it.
    pub const fn next(self) -> Option<Self> {
        match self {
            Self::Purchases => Some(Self::Payouts),
            Self::Payouts => Some(Self::PaidOut),
            Self::PaidOut => Some(Self::Trading),
            Self::Trading => None,
        }
    }
}

/// What a step of comparing with our own records came to.
#[derive(Debug, Clone, Default)]
pub struct OwnPage {
    /// Where they differ.
    pub found: Vec<Found>,
    /// How much was compared.
    pub compared: i64,
    /// The last name; nothing if this part is over.
    pub next: Option<String>,
}

/// Which differences, the newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// Of this comparison.
    pub subject: Option<Subject>,
    /// In this state.
    pub state: Option<DifferenceState>,
    /// In this person's hand.
    pub owner: Option<PersonId>,
    /// Behind this one.
    pub after: Option<DifferenceId>,
}

/// Looks at a locked difference and says what is written with its resolution.
pub type Decide<'a> = dyn Fn(&Kept) -> Result<Resolved, AppError> + Send + Sync + 'a;

/// Why a difference is none.
pub struct Resolution<'a> {
    /// Which one.
    pub id: DifferenceId,
    /// Why.
    pub reason: &'a str,
    /// Who says so.
    pub by: PersonId,
    /// When.
    pub at: Timestamp,
    /// What is written with it.
    pub decide: &'a Decide<'a>,
}

/// What reconciliation stores. What gives a run as an option gives nothing if somebody else has done the step.
#[async_trait]
pub trait ReconciliationStore: Send + Sync {
    /// Until when a comparison has come that ended.
    async fn compared_until(&self, firm: FirmId, subject: Subject) -> Result<Option<Timestamp>, AppError>;
    /// When something was first moved of what a provider holds, or at all.
    async fn first_moved(&self, firm: FirmId, subject: Subject) -> Result<Option<Timestamp>, AppError>;
    /// Begins a run, or gives the one that is under way.
    async fn begin_run(&self, firm: FirmId, new: &NewRun) -> Result<Run, AppError>;
    /// One.
    async fn run(&self, firm: FirmId, id: RunId) -> Result<Option<Run>, AppError>;
    /// Those that have not ended, the oldest first.
    async fn under_way(&self, firm: FirmId) -> Result<Vec<Run>, AppError>;
    /// The newest first, behind one.
    async fn runs(&self, firm: FirmId, after: Option<RunId>, most: i64) -> Result<Vec<Run>, AppError>;
    /// Keeps the lines of a page, each once, and where the next page begins.
    async fn keep_page(
        &self,
        firm: FirmId,
        run: &Run,
        page: &BookPage,
        at: Timestamp,
    ) -> Result<Option<Run>, AppError>;
    /// Names what was posted since the run before, and goes on to comparing.
    async fn name_ledger(&self, firm: FirmId, run: &Run, at: Timestamp) -> Result<Option<Run>, AppError>;
    /// Both sides of the next names of a run, at most so many: what lies within its window or is new, and every difference that
    /// is open.
    async fn both(&self, firm: FirmId, run: &Run, most: i64) -> Result<Vec<Both>, AppError>;
    /// The next page of comparing the books with our own records.
    async fn own(&self, firm: FirmId, run: &Run, part: OwnPart, most: i64) -> Result<OwnPage, AppError>;
    /// What is settled of payouts in the ledger.
    async fn settled_payouts(
        &self,
        firm: FirmId,
        payouts: &[&str],
    ) -> Result<BTreeMap<String, Money>, AppError>;
    /// Posts, keeps differences, and moves the run on. At its end differences that were not found vanish.
    async fn keep_compared(
        &self,
        firm: FirmId,
        run: &Run,
        compared: &Compared,
        at: Timestamp,
    ) -> Result<Option<Run>, AppError>;
    /// Differences, the newest first.
    async fn differences(&self, firm: FirmId, wanted: &Wanted, most: i64) -> Result<Vec<Kept>, AppError>;
    /// Gives a difference to somebody, or to nobody. One that is resolved or has vanished stays.
    async fn assign(
        &self,
        firm: FirmId,
        id: DifferenceId,
        owner: Option<PersonId>,
        audit: &AuditEntry,
    ) -> Result<Option<Kept>, AppError>;
    /// Resolves a difference under its lock. One that is resolved or has vanished is refused.
    async fn resolve(&self, firm: FirmId, resolution: &Resolution<'_>) -> Result<Option<Kept>, AppError>;
    /// An entry of the ledger, with the names under which it is compared.
    async fn ledger_entry(&self, firm: FirmId, id: EntryId) -> Result<Option<(Entry, Vec<Named>)>, AppError>;
}

/// Under which name an entry is compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// In which comparison.
    pub subject: Subject,
    /// What kind of thing.
    pub family: String,
    /// Its name.
    pub name: String,
}

/// What a payout says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PaidOut {
    /// Its name, as in the cause `payout:NAME`.
    pub payout: String,
    /// What has arrived of it; nothing of one that came back or is under way.
    pub settled: Money,
}

/// Whoever knows how payouts stand.
#[async_trait]
pub trait Payouts: Send + Sync {
    /// Payouts behind a name, in the order of names, at most so many.
    async fn paid_out(&self, firm: FirmId, after: &str, most: i64) -> Result<Vec<PaidOut>, AppError>;
}

/// Nobody knows: the ledger's entries about payouts are compared with each other alone.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPayouts;

#[async_trait]
impl Payouts for NoPayouts {
    async fn paid_out(&self, _: FirmId, _: &str, _: i64) -> Result<Vec<PaidOut>, AppError> {
        Ok(Vec::new())
    }
}
