//! What people may ask of their data, and what the firm owes to it.
//!
//! Who somebody is (email, name) is sealed under a key of that person alone ([`Vault`]). The keys lie in a [`KeyStore`], apart
//! from the database and its backups: destroying one makes every copy of what it sealed unreadable, in the database, in its
//! replicas and in every backup. Rows that are records (purchases, trades, verdicts, the audit log) name people by their id and
//! stay.
//!
//! An erasure is written into the ledger beside the keys before anything goes ([`Erased`]). A database that is restored from a
//! backup is told the ledger again ([`Privacy::replay`]), and so is every process at its start: an erasure that was cut off
//! in the middle is finished then.
//!
//! Whoever of the firm's people looks at who somebody is says why; that is written into the audit log before they see it.

mod archive;
mod ledger;
mod region;
mod sealing;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use audit::SigningKey;
use kernel::{Clock, FirmId, PersonId, Rng, Timestamp};
use serde_json::{Value, json};

use crate::identity::{Identity, Password};
use crate::trading::{AuditEntry, Digests};
use crate::{AppError, Context, Permission, Role};

pub use archive::{
    Archive, FORMAT as ARCHIVE_FORMAT, NotAnArchive, Read as ArchiveRead, read as read_archive,
};
pub use ledger::{Broken, Erased, Ledger};
pub use region::{Homes, Region};
pub use sealing::{About, DataKey, DoesNotOpen, KEY_BYTES, SealedPerson, Vault, pseudonym};

/// The longest reason, in characters.
pub const MOST_REASON: usize = 500;

/// What a store of keys says of somebody it knows.
#[derive(Debug, Clone)]
pub enum Kept {
    /// Their key.
    Here(DataKey),
    /// They were erased.
    Destroyed,
}

/// Where the keys of people are, and the ledger of those who were erased. Never the database.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// What there is of these people; whoever never had a key is missing.
    async fn keys(&self, firm: FirmId, people: &[PersonId]) -> Result<BTreeMap<PersonId, Kept>, AppError>;
    /// Keeps the key of somebody new, for good before it returns. An error if they have one or were erased.
    async fn create(
        &self,
        firm: FirmId,
        person: PersonId,
        key: &DataKey,
        rng: &dyn Rng,
    ) -> Result<(), AppError>;
    /// Destroys somebody's key, for good before it returns. Doing it again changes nothing.
    async fn destroy(&self, firm: FirmId, person: PersonId) -> Result<(), AppError>;
    /// What a firm's emails are found by; made when it is first asked for.
    async fn index_key(&self, firm: FirmId, rng: &dyn Rng) -> Result<DataKey, AppError>;
    /// Writes an erasure into the ledger, for good before it returns. Somebody who is in it is not written again.
    async fn promise(&self, erased: &Erased) -> Result<(), AppError>;
    /// Everybody in the ledger, the oldest first.
    async fn promised(&self) -> Result<Vec<Erased>, AppError>;
}

/// Everything that says who somebody is, and how they stand.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// Their id.
    pub id: PersonId,
    /// Email and name; nothing once they were erased.
    pub known: Option<(String, String)>,
    /// What they are to the firm.
    pub roles: Vec<Role>,
    /// When they registered.
    pub created_at: Timestamp,
    /// Where their rows may lie.
    pub region: Option<String>,
    /// Since when their data is only kept.
    pub restricted_at: Option<Timestamp>,
    /// Since when nothing of theirs may be erased.
    pub held_at: Option<Timestamp>,
    /// When they were erased.
    pub erased_at: Option<Timestamp>,
}

/// What the firm's people switch on and off for somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Their data is kept and not otherwise used: no mail, no name on boards (GDPR article 18).
    Restricted,
    /// Nothing of theirs may be erased: a court, a regulator or a dispute needs it.
    Held,
}

impl State {
    /// What somebody is or is not.
    const fn word(self) -> &'static str {
        match self {
            Self::Restricted => "restricted",
            Self::Held => "held",
        }
    }

    /// The action in the audit log.
    const fn action(self, on: bool) -> &'static str {
        match (self, on) {
            (Self::Restricted, true) => "privacy.restrict",
            (Self::Restricted, false) => "privacy.unrestrict",
            (Self::Held, true) => "privacy.hold",
            (Self::Held, false) => "privacy.release",
        }
    }
}

/// What is stored about people's data. Keys are the adapter's business: it is handed a [`Vault`].
#[async_trait]
pub trait PrivacyStore: Send + Sync {
    /// Who somebody is; what is to be written of the look is written before anything is given.
    async fn subject(
        &self,
        firm: FirmId,
        person: PersonId,
        look: Option<&AuditEntry>,
    ) -> Result<Option<Subject>, AppError>;
    /// Whose an email is; that it is nobody's is written down.
    async fn owner_of_email(
        &self,
        firm: FirmId,
        email: &str,
        nobody: &AuditEntry,
    ) -> Result<Option<PersonId>, AppError>;
    /// Switches a state on or off; nothing is written if it is so already.
    async fn set_state(
        &self,
        firm: FirmId,
        person: PersonId,
        state: State,
        since: Option<Timestamp>,
        audit: &AuditEntry,
    ) -> Result<(), AppError>;
    /// Erases somebody: refused with `legal_hold` or `payout_open`, else written into the ledger, their key destroyed, and what
    /// tells of them removed, in this order. Somebody who was erased is not erased again.
    async fn erase(&self, erased: &Erased, audit: &AuditEntry) -> Result<(), AppError>;
    /// Destroys the keys of these people and removes again what tells of them wherever a database still does; how many that
    /// were.
    async fn erase_again(&self, erased: &[Erased], at: Timestamp) -> Result<u64, AppError>;
    /// Everybody whom the database knows to be erased.
    async fn erasures(&self) -> Result<Vec<Erased>, AppError>;
    /// Every row about somebody, with the name of its table, and without what is secret or sealed.
    async fn rows_of(
        &self,
        firm: FirmId,
        person: PersonId,
        look: &AuditEntry,
    ) -> Result<Vec<(String, Value)>, AppError>;
}

/// The use cases of privacy.
pub struct Privacy {
    store: Arc<dyn PrivacyStore>,
    identity: Arc<Identity>,
    keys: Arc<dyn KeyStore>,
    clock: Arc<dyn Clock>,
    signing: Arc<SigningKey>,
}

impl fmt::Debug for Privacy {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Privacy").finish_non_exhaustive()
    }
}

impl Privacy {
    /// Over a store and the keys; archives are signed with `signing`.
    pub fn new(
        store: Arc<dyn PrivacyStore>,
        identity: Arc<Identity>,
        keys: Arc<dyn KeyStore>,
        clock: Arc<dyn Clock>,
        signing: Arc<SigningKey>,
    ) -> Self {
        Self { store, identity, keys, clock, signing }
    }

    /// Who somebody of the firm is. Looking at somebody else is written down with the reason.
    pub async fn subject(
        &self,
        context: &Context,
        person: PersonId,
        reason: Option<&str>,
    ) -> Result<Subject, AppError> {
        let actor = context.demand(Permission::ReadPeople)?.person;
        let look = self.entry(context, actor, person, "privacy.read", Some(said(reason)?));
        self.store.subject(context.firm, person, Some(&look)).await?.ok_or(AppError::NotFound("person"))
    }

    /// Whoever has an email, as [`Self::subject`]. Looking for nobody is written down, too.
    pub async fn find(
        &self,
        context: &Context,
        email: &str,
        reason: Option<&str>,
    ) -> Result<Subject, AppError> {
        let actor = context.demand(Permission::ReadPeople)?.person;
        let look = self.entry(context, actor, actor, "privacy.find", Some(said(reason)?));
        let nobody = AuditEntry { object: "nobody".to_owned(), ..look };
        let person = self.store.owner_of_email(context.firm, email, &nobody).await?;
        self.subject(context, person.ok_or(AppError::NotFound("person"))?, reason).await
    }

    /// Switches a state of somebody on or off.
    pub async fn set_state(
        &self,
        context: &Context,
        person: PersonId,
        state: State,
        on: bool,
        reason: Option<&str>,
    ) -> Result<(), AppError> {
        let actor = context.demand(Permission::ManagePrivacy)?.person;
        let is = |on: bool| json!({ (state.word()): on });
        let digests = Digests::of(Some(&is(!on)), Some(&is(on)));
        let entry = self.entry(context, actor, person, state.action(on), Some(said(reason)?));
        let entry = AuditEntry { digests, ..entry };
        let since = on.then_some(entry.at);
        self.store.set_state(context.firm, person, state, since, &entry).await
    }

    /// Erases whoever asks, once they have given their password again. `address` is the caller's network address.
    pub async fn erase_own(
        &self,
        context: &Context,
        email: &str,
        password: Password,
        address: &str,
    ) -> Result<(), AppError> {
        let person = self.identity.prove(context, email, password, address).await?;
        self.erase(context, person, person, None).await
    }

    /// Erases somebody on the firm's decision.
    pub async fn erase_other(
        &self,
        context: &Context,
        person: PersonId,
        reason: Option<&str>,
    ) -> Result<(), AppError> {
        let actor = context.demand(Permission::ManagePrivacy)?.person;
        self.erase(context, actor, person, Some(said(reason)?)).await
    }

    async fn erase(
        &self,
        context: &Context,
        actor: PersonId,
        person: PersonId,
        reason: Option<&str>,
    ) -> Result<(), AppError> {
        let audit = self.entry(context, actor, person, "privacy.erase", reason);
        let by = (actor != person).then_some(actor);
        let erased = Erased { firm: context.firm, person, at: audit.at, by };
        let done = self.store.erase(&erased, &audit).await;
        // Also where nobody knows whether it was committed.
        self.identity.forget(context.firm, person);
        done
    }

    /// Tells the database the ledger again, and the ledger what only the database knows: whichever of the two came back from a
    /// backup, nobody does. How many people were still told of. For every start and after every restore.
    pub async fn replay(&self) -> Result<u64, AppError> {
        replay(&*self.store, &*self.keys, self.clock.now()).await
    }

    /// Everything about whoever asks.
    pub async fn export_own(&self, context: &Context) -> Result<Archive, AppError> {
        let person = context.actor()?.person;
        let look = self.entry(context, person, person, "privacy.export", None);
        self.export(context, person, &look).await
    }

    /// Everything about somebody of the firm.
    pub async fn export_other(
        &self,
        context: &Context,
        person: PersonId,
        reason: Option<&str>,
    ) -> Result<Archive, AppError> {
        let actor = context.demand(Permission::ManagePrivacy)?.person;
        let look = self.entry(context, actor, person, "privacy.export", Some(said(reason)?));
        self.export(context, person, &look).await
    }

    async fn export(
        &self,
        context: &Context,
        person: PersonId,
        look: &AuditEntry,
    ) -> Result<Archive, AppError> {
        let subject = self.store.subject(context.firm, person, None).await?;
        let subject = subject.ok_or(AppError::NotFound("person"))?;
        let rows = self.store.rows_of(context.firm, person, look).await?;
        archive::write(context.firm, &subject, rows, look.at, &self.signing)
    }

    fn entry(
        &self,
        context: &Context,
        actor: PersonId,
        person: PersonId,
        action: &str,
        reason: Option<&str>,
    ) -> AuditEntry {
        AuditEntry {
            firm: context.firm,
            at: self.clock.now(),
            actor: Some(actor),
            action: action.to_owned(),
            object_kind: "person",
            object: person.to_string(),
            request: Some(context.request),
            purpose: reason.unwrap_or_default().to_owned(),
            digests: Digests::default(),
            detail: json!({}),
        }
    }
}

/// As [`Privacy::replay`], where nobody is served yet.
pub async fn replay(store: &dyn PrivacyStore, keys: &dyn KeyStore, now: Timestamp) -> Result<u64, AppError> {
    let known = keys.promised().await?;
    for erased in store.erasures().await? {
        if !known.iter().any(|known| (known.firm, known.person) == (erased.firm, erased.person)) {
            keys.promise(&erased).await?;
        }
    }
    store.erase_again(&keys.promised().await?, now).await
}

/// For whoever reads no name: nobody has a key, and nobody gets one.
#[derive(Debug, Clone, Copy)]
pub struct NoKeys;

#[async_trait]
impl KeyStore for NoKeys {
    async fn keys(&self, _: FirmId, _: &[PersonId]) -> Result<BTreeMap<PersonId, Kept>, AppError> {
        Ok(BTreeMap::new())
    }

    async fn create(&self, _: FirmId, _: PersonId, _: &DataKey, _: &dyn Rng) -> Result<(), AppError> {
        Err(no_keys())
    }

    async fn destroy(&self, _: FirmId, _: PersonId) -> Result<(), AppError> {
        Err(no_keys())
    }

    async fn index_key(&self, _: FirmId, _: &dyn Rng) -> Result<DataKey, AppError> {
        Err(no_keys())
    }

    async fn promise(&self, _: &Erased) -> Result<(), AppError> {
        Err(no_keys())
    }

    async fn promised(&self) -> Result<Vec<Erased>, AppError> {
        Ok(Vec::new())
    }
}

fn no_keys() -> AppError {
    AppError::bug("using the keys of people")("there are none here".into())
}

/// The reason that was given.
fn said(reason: Option<&str>) -> Result<&str, AppError> {
    let reason = reason.map(str::trim).filter(|reason| !reason.is_empty());
    let missing = "Say why, in a header `Reason` or in the field `reason`: it is written down.";
    let reason = reason.ok_or_else(|| AppError::refused("reason_missing", missing))?;
    if reason.chars().count() > MOST_REASON {
        let say = format!("Say why in at most {MOST_REASON} characters.");
        return Err(AppError::field("/reason", say));
    }
    Ok(reason)
}
