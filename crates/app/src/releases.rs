//! A firm's calendar of releases that move markets, and how its accounts learn of it.
//!
//! The rules of an account see only what the account was told, so that a replay sees the same. Every change of the
//! calendar has a number; who was told an older one is told the new one by [`Releases::tell`], which finds them in the
//! table: what was lost or died halfway is found again, and telling twice is telling once.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use engine::{Act, Command, Instruments, Key, Refusal};
use kernel::{AccountId, Clock, FirmId, ReleaseId, RequestId, Rng, Symbol, Timestamp};
use rules::NewsEvent;

use crate::trading::{AuditEntry, Desk, Digests, Origin, OutboxEntry};
use crate::{AppError, Context, FieldError, Permission};

/// Releases to come that a firm may have: every account that asks for them carries them.
pub const MOST_RELEASES: i64 = 200;
/// Accounts told in one round.
pub const A_ROUND: usize = 500;
/// Commands that wait for the shard at a time.
const AT_A_TIME: usize = 100;

/// A release in a firm's calendar.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Release {
    /// Follows from firm, name and time.
    pub id: ReleaseId,
    /// What, when, and what it targets.
    pub event: NewsEvent,
}

/// A release as somebody sends it.
#[derive(Debug, Clone)]
pub struct NewRelease {
    /// 1 to 120 characters.
    pub name: String,
    /// When; in the future.
    pub at: Timestamp,
    /// Currencies whose instruments it targets.
    pub currencies: Vec<String>,
    /// Instruments that it targets by name.
    pub symbols: Vec<String>,
}

/// A change of a calendar; all of it in one transaction.
#[derive(Debug)]
pub struct CalendarChange {
    /// What accounts are told it under.
    pub key: Key,
    /// When.
    pub at: Timestamp,
    /// Written with it.
    pub audit: AuditEntry,
    /// Written with it.
    pub outbox: OutboxEntry,
}

/// What became of a release that was to be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Added {
    /// It is in the calendar.
    New,
    /// It was there already.
    AsItWas,
    /// One of this name and time is there, with other targets.
    Otherwise,
    /// The firm has too many to come.
    Full,
}

/// A calendar under its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Calendar {
    /// Its number.
    pub revision: i64,
    /// What accounts are told it under.
    pub key: Key,
    /// The releases that were to come when it was changed, and those shortly before.
    pub events: Vec<NewsEvent>,
}

/// An account that knows an older calendar than its firm's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Behind {
    /// Its firm.
    pub firm: FirmId,
    /// It.
    pub account: AccountId,
    /// Whether it trades; one that has ended needs no calendar.
    pub active: bool,
}

/// What is stored about releases.
#[async_trait]
pub trait ReleaseStore: Send + Sync {
    /// The releases from an instant on, in order of time.
    async fn releases(&self, firm: FirmId, from: Timestamp) -> Result<Vec<Release>, AppError>;
    /// Adds one, if the firm has fewer than `most` to come.
    async fn add(
        &self,
        firm: FirmId,
        release: &Release,
        most: i64,
        change: &CalendarChange,
    ) -> Result<Added, AppError>;
    /// Takes one away that is still to come; false if there is none.
    async fn remove(&self, firm: FirmId, id: ReleaseId, change: &CalendarChange) -> Result<bool, AppError>;
    /// Accounts of all firms that know an older calendar, those that know the oldest first.
    async fn behind(&self, most: usize) -> Result<Vec<Behind>, AppError>;
    /// A firm's calendar; none if it never had one.
    async fn calendar(&self, firm: FirmId) -> Result<Option<Calendar>, AppError>;
    /// Remembers that accounts were told a calendar.
    async fn told(&self, firm: FirmId, revision: i64, accounts: &[AccountId]) -> Result<(), AppError>;
    /// Accounts that need no calendar any more.
    async fn forget(&self, firm: FirmId, accounts: &[AccountId]) -> Result<(), AppError>;
}

/// The use cases of releases.
pub struct Releases {
    store: Arc<dyn ReleaseStore>,
    instruments: Arc<Instruments>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    /// Two rounds at once could tell an account an older calendar after a newer one.
    telling: tokio::sync::Mutex<()>,
}

impl fmt::Debug for Releases {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Releases").finish_non_exhaustive()
    }
}

impl Releases {
    /// Over a store and the instruments of the installation.
    pub fn new(
        store: Arc<dyn ReleaseStore>,
        instruments: Arc<Instruments>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        Self { store, instruments, clock, rng, telling: tokio::sync::Mutex::new(()) }
    }

    /// The releases to come, and those of the last day, whose windows may still be open. Open to everybody.
    pub async fn list(&self, firm: FirmId) -> Result<Vec<Release>, AppError> {
        let from = self
            .clock
            .now()
            .before(rules::kinds::LONGEST_WINDOW)
            .map_err(|error| AppError::bug("reading the time")(Box::new(error)))?;
        self.store.releases(firm, from).await
    }

    /// Adds a release. Doing it twice changes nothing.
    pub async fn add(&self, context: &Context, new: NewRelease) -> Result<Release, AppError> {
        context.demand(Permission::EditReleases)?;
        let event = self.read(new)?;
        let at = event.at.micros().to_be_bytes();
        let firm = context.firm.uuid();
        let id = ReleaseId::derived(&[b"release", firm.as_bytes(), event.name.as_bytes(), &at]);
        let release = Release { id, event };
        let state = shown(&release.event)?;
        let digests = Digests::of(None, Some(&state));
        let change = self.change(context, "release.add", "release.added", &release.id, digests, state)?;
        match self.store.add(context.firm, &release, MOST_RELEASES, &change).await? {
            Added::New | Added::AsItWas => Ok(release),
            Added::Otherwise => Err(AppError::refused(
                "conflict",
                "A release of this name and time is there with other targets; take it away first.",
            )),
            Added::Full => Err(AppError::refused(
                "conflict",
                format!("At most {MOST_RELEASES} releases to come can be kept; enter the nearest ones."),
            )),
        }
    }

    /// Takes a release back that is still to come; what has been stays on record.
    pub async fn remove(&self, context: &Context, id: ReleaseId) -> Result<(), AppError> {
        context.demand(Permission::EditReleases)?;
        let there = self.list(context.firm).await?.into_iter().find(|release| release.id == id);
        let before = shown(&there.ok_or(AppError::NotFound("release to come"))?.event)?;
        let digests = Digests::of(Some(&before), None);
        let change =
            self.change(context, "release.remove", "release.removed", &id, digests, serde_json::json!({}))?;
        if self.store.remove(context.firm, id, &change).await? {
            Ok(())
        } else {
            Err(AppError::NotFound("release to come"))
        }
    }

    /// Tells a round of accounts the calendar of their firm; how many know it now, or need it no more.
    pub async fn tell(&self, desk: &Desk) -> Result<usize, AppError> {
        let _alone = self.telling.lock().await;
        let behind = self.store.behind(A_ROUND).await?;
        let mut by_firm: BTreeMap<FirmId, Vec<Behind>> = BTreeMap::new();
        for account in &behind {
            by_firm.entry(account.firm).or_default().push(*account);
        }
        let mut settled = 0_usize;
        for (firm, accounts) in by_firm {
            settled = settled.saturating_add(self.tell_firm(desk, firm, &accounts).await?);
        }
        Ok(settled)
    }

    async fn tell_firm(&self, desk: &Desk, firm: FirmId, accounts: &[Behind]) -> Result<usize, AppError> {
        let Some(calendar) = self.store.calendar(firm).await? else { return Ok(0) };
        let mut settled = 0_usize;
        let (active, ended): (Vec<Behind>, Vec<Behind>) = accounts.iter().partition(|account| account.active);
        let mut ended: Vec<_> = ended.into_iter().map(|account| account.account).collect();
        for some in active.chunks(AT_A_TIME) {
            let mut told = Vec::with_capacity(some.len());
            // All at once, so that one commit answers them.
            let mut answers = tokio::task::JoinSet::new();
            for Behind { account, .. } in some {
                let act = Act::Calendar(calendar.events.clone());
                let command = Command { account: *account, key: calendar.key.clone(), act };
                let desk = desk.clone();
                answers.spawn(async move {
                    let account = command.account;
                    (account, desk.submit(command, Origin::PLATFORM).await)
                });
            }
            while let Some(answered) = answers.join_next().await {
                let (account, submitted) =
                    answered.map_err(|error| AppError::bug("telling an account")(Box::new(error)))?;
                match submitted?.outcome {
                    Ok(_) => told.push(account),
                    Err(Refusal::AccountNotActive) => ended.push(account),
                    // The others must not wait for this one.
                    Err(refusal) => {
                        tracing::error!(%account, %refusal, "an account cannot be told its calendar");
                    }
                }
            }
            self.store.told(firm, calendar.revision, &told).await?;
            settled = settled.saturating_add(told.len());
        }
        self.store.forget(firm, &ended).await?;
        Ok(settled.saturating_add(ended.len()))
    }

    /// Checks a release; all faults at once.
    fn read(&self, new: NewRelease) -> Result<NewsEvent, AppError> {
        let mut faults = Vec::new();
        let mut fault = |pointer: String, say: String| {
            faults.push(FieldError { pointer, code: "validation_failed", say });
        };
        let name = new.name.trim().to_owned();
        if !(1..=120).contains(&name.chars().count()) {
            fault("/name".to_owned(), "Use 1 to 120 characters.".to_owned());
        }
        if new.at <= self.clock.now() {
            fault("/at".to_owned(), "Only a release to come can be entered.".to_owned());
        }
        let count = new.currencies.len().saturating_add(new.symbols.len());
        if !(1..=50).contains(&count) {
            fault("/currencies".to_owned(), "Name 1 to 50 currencies and instruments in all.".to_owned());
        }
        let traded = |currency: &str| {
            let mut symbols = self.instruments.iter().map(|(_, it)| it.symbol.as_str());
            currency.len() == 3 && symbols.any(|symbol| symbol.contains(currency))
        };
        for (place, currency) in new.currencies.iter().enumerate() {
            if !traded(currency) {
                let say = format!("No instrument is named after {currency}; use a code such as USD.");
                fault(format!("/currencies/{place}"), say);
            }
        }
        let mut symbols = Vec::with_capacity(new.symbols.len());
        for (place, text) in new.symbols.iter().enumerate() {
            match Symbol::parse(text) {
                Ok(symbol) if self.instruments.find(&symbol).is_some() => symbols.push(symbol),
                Ok(_) | Err(_) => fault(format!("/symbols/{place}"), format!("{text} is not traded here.")),
            }
        }
        if !faults.is_empty() {
            return Err(AppError::Invalid(faults));
        }
        let mut currencies = new.currencies;
        // One content, one text.
        currencies.sort();
        currencies.dedup();
        symbols.sort();
        symbols.dedup();
        Ok(NewsEvent { name, at: new.at, currencies, symbols })
    }

    fn change(
        &self,
        context: &Context,
        action: &str,
        topic: &'static str,
        id: &ReleaseId,
        digests: Digests,
        detail: serde_json::Value,
    ) -> Result<CalendarChange, AppError> {
        let (firm, at) = (context.firm, self.clock.now());
        let bug = |error: crate::BoxError| AppError::bug("changing a calendar")(error);
        // Keys share one room with those of traders: this one nobody can have used.
        let key = format!("calendar-{}", RequestId::random(at, &*self.rng));
        Ok(CalendarChange {
            key: Key::parse(&key).ok_or_else(|| bug("not a key".into()))?,
            at,
            audit: AuditEntry {
                firm,
                at,
                actor: context.actor.as_ref().map(|actor| actor.person),
                action: action.to_owned(),
                object_kind: "release",
                object: id.to_string(),
                request: Some(context.request),
                purpose: String::new(),
                digests,
                detail: detail.clone(),
            },
            outbox: OutboxEntry {
                firm,
                at,
                aggregate: format!("release:{id}"),
                topic,
                payload: detail,
                request: Some(context.request),
            },
        })
    }
}

/// A release as the audit log shows it.
fn shown(event: &NewsEvent) -> Result<serde_json::Value, AppError> {
    serde_json::to_value(event).map_err(|error| AppError::bug("writing a release down")(Box::new(error)))
}
