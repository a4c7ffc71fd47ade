//! Comparing the firm's books with everybody else's: with those of its providers, with its own purchases and payouts, and the
//! balances of trading accounts with what was traded.
//!
//! A [`Run`] goes in steps. Each step is written in one transaction with the place it has come to, so that whoever dies leaves a run
//! that others continue, and of two who do the same step one writes. What a provider's books alone tell of (fees, payouts to
//! the bank, conversions) is posted from them, once; where two books differ is a row that stays the same however often it is found
//! and that vanishes when the books agree. [`judge`] decides; it is pure. Why it is built like this: docs/adr/0039.

mod judge;
mod port;
#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "tests")]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use kernel::{Clock, Currency, EntryId, FirmId, Id, IdKind, Money, Overflow, PersonId, Rng, Span, Timestamp};

use crate::ledger::posting::{self, Event};
use crate::ledger::{Entry, LedgerError, Provider};
use crate::payments::Providers;
use crate::payments::port::{Failure, ProviderName};
use crate::trading::{AuditEntry, Digests};
use crate::{AppError, Context, Permission, with_causes};

pub use judge::{Both, Family, Judged, Line, Move, Name, disputes_by_payment, judge, name_of};
pub use port::{
    BookPage, Compared, Decide, Named, NoPayouts, OwnPage, OwnPart, PaidOut, Payouts, ReconciliationStore,
    Resolution, Wanted,
};

/// The kind of a run's id.
#[derive(Debug)]
pub enum RunKind {}
/// The kind of a difference's id.
#[derive(Debug)]
pub enum DifferenceKind {}
impl IdKind for RunKind {
    const WORD: &'static str = "run";
}
impl IdKind for DifferenceKind {
    const WORD: &'static str = "difference";
}
/// Names a run.
pub type RunId = Id<RunKind>;
/// Names a difference.
pub type DifferenceId = Id<DifferenceKind>;

/// With what the firm's books are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// With a provider's.
    Provider(ProviderName),
    /// With our own records, and the balances of trading accounts with theirs.
    Own,
}

impl Subject {
    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Provider(name) => name.word(),
            Self::Own => "own",
        }
    }

    /// The one of that word.
    pub fn parse(word: &str) -> Option<Self> {
        if word == "own" { Some(Self::Own) } else { ProviderName::parse(word).map(Self::Provider) }
    }
}

/// How far a run has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RunState {
    /// The other books are read.
    Reading,
    /// They are compared.
    Comparing,
    /// Over.
    Done,
}

impl RunState {
    /// All.
    pub const ALL: [Self; 3] = [Self::Reading, Self::Comparing, Self::Done];

    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Reading => "reading",
            Self::Comparing => "comparing",
            Self::Done => "done",
        }
    }
}

/// What came of a run so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Lines of the provider's books that were new.
    pub lines: i64,
    /// Names that were compared.
    pub compared: i64,
    /// Entries that were posted.
    pub posted: i64,
    /// Differences that there are.
    pub found: i64,
    /// Differences that are no longer.
    pub vanished: i64,
}

/// A comparison.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its name.
    pub id: RunId,
    /// With what.
    pub subject: Subject,
    /// How far it has come.
    pub state: RunState,
    /// From when on, included.
    pub from: Timestamp,
    /// Until when, not included.
    pub until: Timestamp,
    /// Counts its steps: whoever writes the next one has seen the last.
    pub step: i64,
    /// From where on the provider's books are read.
    pub read_from: Timestamp,
    /// The page of that part.
    pub page: Option<String>,
    /// The family and the name compared last.
    pub after: (String, String),
    /// What came of it.
    pub counts: Counts,
    /// Who asked for it; nobody if it was time.
    pub started_by: Option<PersonId>,
    /// When.
    pub started_at: Timestamp,
    /// When it moved last.
    pub moved_at: Timestamp,
    /// When it was over.
    pub ended_at: Option<Timestamp>,
}

/// In which way two books differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// The provider has it, and the ledger does not.
    NotInLedger,
    /// The ledger has it, and the provider does not.
    NotWithProvider,
    /// Both have it, with other amounts.
    Amount,
    /// Both have it, with other fees.
    Fee,
    /// Our records have it, and the ledger does not, or with another amount.
    WithoutEntry,
    /// The ledger has it, and our records do not.
    WithoutEvent,
    /// A trading account's balance is not the sum of its entries.
    Balance,
    /// A trading account's entries are not what its fills came to.
    Fills,
}

impl Kind {
    /// All.
    pub const ALL: [Self; 8] = [
        Self::NotInLedger,
        Self::NotWithProvider,
        Self::Amount,
        Self::Fee,
        Self::WithoutEntry,
        Self::WithoutEvent,
        Self::Balance,
        Self::Fills,
    ];

    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::NotInLedger => "not_in_ledger",
            Self::NotWithProvider => "not_with_provider",
            Self::Amount => "amount",
            Self::Fee => "fee",
            Self::WithoutEntry => "without_entry",
            Self::WithoutEvent => "without_event",
            Self::Balance => "balance",
            Self::Fills => "fills",
        }
    }

    /// What stays the same of it: one thing that is told bit by bit is one difference.
    const fn aspect(self) -> &'static str {
        match self {
            Self::NotInLedger | Self::NotWithProvider | Self::Amount => "amount",
            Self::Fee => "fee",
            Self::WithoutEntry | Self::WithoutEvent => "entry",
            Self::Balance => "balance",
            Self::Fills => "fills",
        }
    }
}

/// What amounts of a difference are counted in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A currency's smallest.
    Minor,
    /// Millionths.
    Micros,
}

impl Unit {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Minor, Self::Micros];

    /// The word in rows.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Minor => "minor",
            Self::Micros => "micros",
        }
    }

    /// An amount as text.
    pub fn text(self, count: i64, currency: Currency) -> String {
        match self {
            Self::Minor => Money::from_minor(count, currency).amount_text(),
            Self::Micros => kernel::Amount::from_micros(count).text(currency),
        }
    }
}

/// What differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// What kind of thing.
    pub family: String,
    /// Its name, mostly the provider's.
    pub name: String,
    /// How.
    pub kind: Kind,
    /// In which currency.
    pub currency: Currency,
}

impl Difference {
    /// Its name: the same difference has the same one, whenever and however often it is found.
    pub fn id(&self, subject: Subject) -> DifferenceId {
        let Self { family, name, kind, currency } = self;
        let parts = [subject.word(), family, name, kind.aspect(), currency.code()];
        DifferenceId::derived(&parts.map(str::as_bytes))
    }
}

/// A difference as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// What differs.
    pub difference: Difference,
    /// What we have; nothing if we have no such thing.
    pub ours: Option<i64>,
    /// What the other side has.
    pub theirs: Option<i64>,
    /// In what both are counted.
    pub unit: Unit,
    /// What of ours it is about, if we know it.
    pub about: Option<String>,
}

/// What becomes of a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DifferenceState {
    /// Nobody has it in hand.
    Open,
    /// Somebody has.
    Assigned,
    /// Somebody has said why, and it is found no more unless it changes.
    Resolved,
    /// The books agree by now.
    Vanished,
}

impl DifferenceState {
    /// All.
    pub const ALL: [Self; 4] = [Self::Open, Self::Assigned, Self::Resolved, Self::Vanished];

    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Assigned => "assigned",
            Self::Resolved => "resolved",
            Self::Vanished => "vanished",
        }
    }
}

/// A difference as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kept {
    /// Its name.
    pub id: DifferenceId,
    /// In which comparison.
    pub subject: Subject,
    /// What was found last.
    pub found: Found,
    /// What becomes of it.
    pub state: DifferenceState,
    /// Who has it in hand.
    pub owner: Option<PersonId>,
    /// Why it is none.
    pub resolution: Option<String>,
    /// Who said so.
    pub resolved_by: Option<PersonId>,
    /// When it was resolved or vanished.
    pub resolved_at: Option<Timestamp>,
    /// What was posted for it.
    pub posting: Option<EntryId>,
    /// When it was found first.
    pub first_seen_at: Timestamp,
    /// When it was found last.
    pub last_seen_at: Timestamp,
    /// The run that found it first.
    pub first_run: RunId,
    /// The run that looked at it last.
    pub last_run: RunId,
}

/// How a difference is resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Nothing is posted.
    Accept,
    /// What is missing in the ledger is posted, against the account of what nobody has explained; a fee as a fee.
    PostDifference,
    /// An entry of the ledger is taken back.
    Reverse(EntryId),
}

/// How long a provider takes to have something in its books.
pub const fn settles_after(provider: ProviderName) -> Span {
    match provider {
        ProviderName::Stripe => Span::from_seconds(3_600),
        // Reports come up to three hours late.
        ProviderName::Paypal => Span::from_seconds(4 * 3_600),
    }
}

/// A provider gives so much of its books at once.
const MOST_AT_ONCE: Span = Span::from_seconds(31 * 86_400);
/// So much of what was compared is compared again.
const OVERLAP: Span = Span::from_seconds(86_400);
/// So many names are compared in a step.
const MOST_NAMES: i64 = 500;
/// A run that could not go on is tried again after as long as it has stood still, but no sooner and no later than this.
const SHORTEST_WAIT: Span = Span::from_seconds(2);
const LONGEST_WAIT: Span = Span::from_seconds(3_600);
/// A run that has more steps is not at its end by then: the next call goes on.
const MOST_STEPS: usize = 100_000;

/// The use cases of reconciliation.
pub struct Reconciliation {
    store: Arc<dyn ReconciliationStore>,
    providers: Providers,
    payouts: Arc<dyn Payouts>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    /// When those that could not go on are tried again.
    waiting: Mutex<BTreeMap<RunId, Timestamp>>,
}

impl fmt::Debug for Reconciliation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Reconciliation").finish_non_exhaustive()
    }
}

/// A run to be begun.
#[derive(Debug, Clone)]
pub struct NewRun {
    /// As it begins.
    pub run: Run,
    /// Written with it.
    pub audit: AuditEntry,
}

/// What a resolution writes.
#[derive(Debug, Clone)]
pub struct Resolved {
    /// What is posted, with the name it is compared under.
    pub post: Option<Entry>,
    /// Written with it.
    pub audit: AuditEntry,
}

fn failed(failure: Failure) -> AppError {
    let doing = "reading a provider's books";
    match failure {
        Failure::Unknown(_) | Failure::Unavailable { .. } => {
            AppError::Unavailable { doing, source: Box::new(failure) }
        }
        Failure::Declined(_) | Failure::Refused(_) | Failure::WrongKey(_) => {
            AppError::Bug { doing, source: Box::new(failure) }
        }
    }
}

fn act(
    context: &Context,
    at: Timestamp,
    action: &str,
    kind: &'static str,
    object: String,
    detail: serde_json::Value,
) -> AuditEntry {
    AuditEntry {
        firm: context.firm,
        at,
        actor: context.actor.as_ref().map(|actor| actor.person),
        action: action.to_owned(),
        object_kind: kind,
        object,
        request: Some(context.request),
        purpose: String::new(),
        digests: Digests::default(),
        detail,
    }
}

impl Reconciliation {
    /// Over a store, with the firms' providers. What payouts say of themselves is not compared: see
    /// [`Reconciliation::with_payouts`].
    pub fn new(
        store: Arc<dyn ReconciliationStore>,
        providers: Providers,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        Self { store, providers, payouts: Arc::new(NoPayouts), clock, rng, waiting: Mutex::default() }
    }

    /// The same with whoever knows how payouts stand.
    #[must_use]
    pub fn with_payouts(self, payouts: Arc<dyn Payouts>) -> Self {
        Self { payouts, ..self }
    }

    /// With what a firm's books can be compared.
    pub fn subjects(&self, firm: FirmId) -> Vec<Subject> {
        self.providers.names(firm).map(Subject::Provider).chain([Subject::Own]).collect()
    }

    /// Begins a comparison because somebody asks for it, or gives the one under way. [`Reconciliation::janitor`] goes on with it.
    pub async fn start(&self, context: &Context, subject: Subject) -> Result<Run, AppError> {
        context.demand(Permission::ManageMoney)?;
        self.begin(context, subject).await
    }

    /// Begins a comparison, or gives the one under way. For schedules and [`Reconciliation::start`].
    pub async fn begin(&self, context: &Context, subject: Subject) -> Result<Run, AppError> {
        let firm = context.firm;
        let now = self.clock.now();
        let lag = match subject {
            Subject::Provider(name) => {
                self.providers.of(firm, name)?;
                settles_after(name)
            }
            Subject::Own => Span::ZERO,
        };
        let second = |at: Timestamp| {
            Timestamp::from_micros(at.micros().div_euclid(1_000_000).saturating_mul(1_000_000))
        };
        let until = second(now.before(lag).map_err(AppError::clock)?);
        let known = match self.store.compared_until(firm, subject).await? {
            Some(until) => Some(until),
            None => self.store.first_moved(firm, subject).await?,
        };
        let from = match known {
            Some(at) => second(at.before(OVERLAP).map_err(AppError::clock)?),
            None => until.before(MOST_AT_ONCE).map_err(AppError::clock)?,
        };
        let from = from.min(until.before(OVERLAP).map_err(AppError::clock)?);
        let run = Run {
            id: RunId::random(now, &*self.rng),
            subject,
            state: RunState::Reading,
            from,
            until,
            step: 0,
            read_from: from,
            page: None,
            after: (String::new(), String::new()),
            counts: Counts::default(),
            started_by: context.actor.as_ref().map(|actor| actor.person),
            started_at: now,
            moved_at: now,
            ended_at: None,
        };
        let detail = serde_json::json!({ "subject": subject.word(), "from": from, "until": until });
        let audit = act(context, now, "reconciliation.start", "reconciliation", run.id.to_string(), detail);
        self.store.begin_run(firm, &NewRun { run, audit }).await
    }

    /// Compares until the end; continues what is under way.
    pub async fn run(&self, context: &Context, subject: Subject) -> Result<Run, AppError> {
        let run = self.begin(context, subject).await?;
        self.finish(context.firm, run).await
    }

    /// Compares the firm's books with everything. For the daily schedule. One provider that does not answer keeps nobody else
    /// from being compared; its error is given at the end.
    pub async fn daily(&self, context: &Context) -> Result<Vec<Run>, AppError> {
        let (mut runs, mut error) = (Vec::new(), None);
        for subject in self.subjects(context.firm) {
            match self.run(context, subject).await {
                Ok(run) => runs.push(run),
                Err(of) => error = Some(of),
            }
        }
        match error {
            None => Ok(runs),
            Some(error) => Err(error),
        }
    }

    /// Goes on with every comparison that is under way, such as those that somebody has asked for or that were interrupted. Gives how
    /// many ended.
    pub async fn janitor(&self, context: &Context) -> Result<usize, AppError> {
        let under_way = self.store.under_way(context.firm).await?;
        let now = self.clock.now();
        let mut ended = 0_usize;
        for run in under_way {
            let id = run.id;
            if self.waiting().get(&id).is_some_and(|next| now < *next) {
                continue;
            }
            match self.finish(context.firm, run).await {
                Ok(run) => {
                    self.waiting().remove(&id);
                    ended = ended.saturating_add(usize::from(run.state == RunState::Done));
                }
                // One that cannot go on holds up no other one.
                Err(error) => self.put_off(context.firm, id, &error).await?,
            }
        }
        Ok(ended)
    }

    /// As long again as it has not moved, at most [`LONGEST_WAIT`].
    async fn put_off(&self, firm: FirmId, id: RunId, error: &AppError) -> Result<(), AppError> {
        tracing::warn!(%firm, run = %id, error = with_causes(error), "a comparison of the books does not go on; trying again");
        let now = self.clock.now();
        let moved_at = self.store.run(firm, id).await?.map_or(now, |run| run.moved_at);
        let stood = now.since(moved_at).unwrap_or(LONGEST_WAIT);
        let next = now.after(stood.clamp(SHORTEST_WAIT, LONGEST_WAIT)).map_err(AppError::clock)?;
        self.waiting().insert(id, next);
        Ok(())
    }

    fn waiting(&self) -> MutexGuard<'_, BTreeMap<RunId, Timestamp>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn finish(&self, firm: FirmId, mut run: Run) -> Result<Run, AppError> {
        for _ in 0..MOST_STEPS {
            if run.state == RunState::Done {
                break;
            }
            run = self.step(firm, &run).await?;
        }
        Ok(run)
    }

    /// Does the next step of a run and gives it as it then is. Where somebody else was faster, nothing is written.
    pub async fn step(&self, firm: FirmId, run: &Run) -> Result<Run, AppError> {
        let at = self.clock.now();
        let next = match (run.state, run.subject) {
            (RunState::Done, _) => Some(run.clone()),
            (RunState::Reading, Subject::Provider(name)) if run.read_from < run.until => {
                let end = run.read_from.after(MOST_AT_ONCE).map_err(AppError::clock)?.min(run.until);
                let provider = self.providers.of(firm, name)?;
                let read = provider.entries(run.read_from, end, run.page.as_deref()).await.map_err(failed)?;
                let read_from = if read.next.is_some() { run.read_from } else { end };
                let page = BookPage { entries: read.items, read_from, page: read.next };
                self.store.keep_page(firm, run, &page, at).await?
            }
            (RunState::Reading, _) => self.store.name_ledger(firm, run, at).await?,
            (RunState::Comparing, Subject::Provider(name)) => {
                let provider = name.in_ledger()?;
                let both = self.store.both(firm, run, MOST_NAMES).await?;
                let compared = compare(&provider, &both, run.until)?;
                self.store.keep_compared(firm, run, &compared, at).await?
            }
            (RunState::Comparing, Subject::Own) => {
                let part = OwnPart::of(&run.after.0);
                let page = match part {
                    OwnPart::PaidOut => self.paid_out(firm, run).await?,
                    OwnPart::Purchases | OwnPart::Payouts | OwnPart::Trading => {
                        self.store.own(firm, run, part, MOST_NAMES).await?
                    }
                };
                let compared = Compared {
                    posts: Vec::new(),
                    found: page.found,
                    names: page.compared,
                    after: match page.next {
                        Some(name) => Some((part.word().to_owned(), name)),
                        None => part.next().map(|part| (part.word().to_owned(), String::new())),
                    },
                };
                self.store.keep_compared(firm, run, &compared, at).await?
            }
        };
        match next {
            Some(next) => Ok(next),
            None => self.store.run(firm, run.id).await?.ok_or(AppError::NotFound("run")),
        }
    }

    /// What payouts say of themselves against the ledger's entries about them.
    async fn paid_out(&self, firm: FirmId, run: &Run) -> Result<OwnPage, AppError> {
        let paid = self.payouts.paid_out(firm, &run.after.1, MOST_NAMES).await?;
        let names: Vec<&str> = paid.iter().map(|it| it.payout.as_str()).collect();
        let settled = self.store.settled_payouts(firm, &names).await?;
        let mut page =
            OwnPage { compared: i64::try_from(paid.len()).unwrap_or(i64::MAX), ..OwnPage::default() };
        for it in &paid {
            let ours = settled.get(&it.payout).copied();
            let agrees = ours.map_or(it.settled.minor() == 0, |ours| ours == it.settled);
            if !agrees {
                page.found.push(Found {
                    difference: Difference {
                        family: OwnPart::PaidOut.word().to_owned(),
                        name: it.payout.clone(),
                        kind: Kind::WithoutEntry,
                        currency: it.settled.currency(),
                    },
                    ours: ours.map(Money::minor),
                    theirs: Some(it.settled.minor()),
                    unit: Unit::Minor,
                    about: Some(format!("payout:{}", it.payout)),
                });
            }
        }
        if page.compared >= MOST_NAMES {
            page.next = paid.last().map(|it| it.payout.clone());
        }
        Ok(page)
    }

    /// The runs, the newest first, behind one.
    pub async fn runs(
        &self,
        context: &Context,
        after: Option<RunId>,
        most: i64,
    ) -> Result<Vec<Run>, AppError> {
        context.demand(Permission::ReadBusiness)?;
        self.store.runs(context.firm, after, most).await
    }

    /// Differences, the newest first, behind one.
    pub async fn differences(
        &self,
        context: &Context,
        wanted: &Wanted,
        most: i64,
    ) -> Result<Vec<Kept>, AppError> {
        context.demand(Permission::ReadBusiness)?;
        self.store.differences(context.firm, wanted, most).await
    }

    /// Gives a difference to somebody who is to look at it, or to nobody.
    pub async fn assign(
        &self,
        context: &Context,
        id: DifferenceId,
        owner: Option<PersonId>,
    ) -> Result<Kept, AppError> {
        context.demand(Permission::ManageMoney)?;
        let at = self.clock.now();
        let detail = serde_json::json!({ "owner": owner });
        let audit = act(context, at, "reconciliation.assign", "difference", id.to_string(), detail);
        self.store.assign(context.firm, id, owner, &audit).await?.ok_or(AppError::NotFound("difference"))
    }

    /// Says why a difference is none, and posts what is to be posted for it; once.
    pub async fn resolve(
        &self,
        context: &Context,
        id: DifferenceId,
        reason: &str,
        remedy: Remedy,
    ) -> Result<Kept, AppError> {
        let by = context.demand(Permission::ManageMoney)?.person;
        let at = self.clock.now();
        let reason = reason.trim().to_owned();
        if !(1..=crate::ledger::MOST_REASON).contains(&reason.chars().count()) {
            return Err(AppError::field("/reason", "Say why, in 1 to 500 characters."));
        }
        let reversed = match remedy {
            Remedy::Reverse(entry) => {
                Some(self.store.ledger_entry(context.firm, entry).await?.ok_or(AppError::NotFound("entry"))?)
            }
            Remedy::Accept | Remedy::PostDifference => None,
        };
        let decide = |kept: &Kept| {
            let post = match (remedy, &reversed) {
                (Remedy::PostDifference, _) => Some(remedied(kept, at, &reason)?),
                (_, Some((entry, named))) => {
                    if !is_about(kept, entry, named) {
                        let say = "The entry has nothing to do with this difference.";
                        return Err(AppError::refused("conflict", say));
                    }
                    Some(entry.reversal(at, &reason)?)
                }
                _ => None,
            };
            let detail = serde_json::json!({
                "posting": post.as_ref().map(Entry::id), "ours": kept.found.ours, "theirs": kept.found.theirs,
                "kind": kept.found.difference.kind.word(),
            });
            let audit = act(context, at, "reconciliation.resolve", "difference", kept.id.to_string(), detail);
            Ok(Resolved { post, audit: AuditEntry { purpose: reason.clone(), ..audit } })
        };
        let resolution = Resolution { id, reason: &reason, by, at, decide: &decide };
        self.store.resolve(context.firm, &resolution).await?.ok_or(AppError::NotFound("difference"))
    }
}

/// Whether an entry is one of those that a difference was found in, or of what it is about.
fn is_about(kept: &Kept, entry: &Entry, named: &[Named]) -> bool {
    let Found { difference, about, .. } = &kept.found;
    let same = |it: &Named| {
        it.subject == kept.subject && it.family == difference.family && it.name == difference.name
    };
    named.iter().any(same) || about.as_deref() == Some(entry.cause())
}

/// What makes our side of a difference the other's.
fn remedied(kept: &Kept, at: Timestamp, reason: &str) -> Result<Entry, AppError> {
    let Subject::Provider(name) = kept.subject else {
        return Err(AppError::refused("conflict", "Only a difference with a provider can be posted."));
    };
    let provider = name.in_ledger()?;
    let Found { difference, ours, theirs, about, .. } = &kept.found;
    let more = theirs.unwrap_or_default().checked_sub(ours.unwrap_or_default());
    let more = Money::from_minor(more.ok_or(LedgerError::Overflow(Overflow))?, difference.currency);
    let seen = kept.last_seen_at.micros().to_be_bytes();
    let event = Event {
        id: EntryId::derived(&[b"difference", kept.id.uuid().as_bytes(), &more.minor().to_be_bytes(), &seen]),
        cause: about.clone().unwrap_or_else(|| format!("difference:{}", kept.id)),
        at,
    };
    Ok(if difference.kind == Kind::Fee {
        judge::fee_entry(event, &provider, more)?.because(reason)?
    } else {
        posting::difference(event, &provider, more, reason)?
    })
}

fn compare(provider: &Provider, both: &[Both], until: Timestamp) -> Result<Compared, AppError> {
    let mut compared = Compared {
        names: i64::try_from(both.len()).unwrap_or(i64::MAX),
        after: both
            .last()
            .filter(|_| i64::try_from(both.len()).is_ok_and(|names| names >= MOST_NAMES))
            .map(|last| (last.name.family.word().to_owned(), last.name.name.clone())),
        ..Compared::default()
    };
    for one in both {
        let Judged { posts, found } = judge(provider, one, until)?;
        compared.posts.extend(posts.into_iter().map(|post| (one.name.clone(), post)));
        compared.found.extend(found);
    }
    Ok(compared)
}
