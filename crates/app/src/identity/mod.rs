//! People: how they register, prove who they are, and stay signed in.
//!
//! A browser holds a random token, the store only its SHA-256. A session lives 14 days from its last use and 30 days
//! at most.
//!
//! Signing in tells neither by its answer nor by its time whether an email is registered. Registering does: it answers
//! `email_taken`. Whoever registers is signed in at once, so there is no mail in which the owner alone could be told.
//! How many emails somebody can try is limited by email and by network address, like guessing passwords.

mod limiter;
mod password;
mod sessions;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use kernel::{Clock, FirmId, Overflow, PersonId, Rng, SessionId, Span, Timestamp};
use sha2::{Digest, Sha256};

use crate::privacy::{Homes, Region};
use crate::trading::{AuditEntry, Digests};
use crate::{Actor, AppError, Context, FieldError, Role};

use limiter::Limiter;
use password::Hashing;
pub use password::{Cost, Password};
use sessions::Sessions;

/// From its last use.
const IDLE: Span = Span::from_seconds(14 * 86_400);
/// From signing in.
const LONGEST: Span = Span::from_seconds(30 * 86_400);
/// A use extends a session only when it gains this much, so that not every request writes.
const EXTEND_BY: Span = Span::from_seconds(3_600);

/// Somebody who can sign in to a firm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Person {
    /// Their name in rows.
    pub id: PersonId,
    /// In lower case; unique within the firm.
    pub email: String,
    /// Shown on leaderboards.
    pub display_name: String,
    /// What they are to the firm.
    pub roles: Vec<Role>,
    /// When they registered.
    pub created_at: Timestamp,
}

impl Person {
    /// As the actor of a request.
    pub fn actor(&self) -> Actor {
        Actor { person: self.id, roles: self.roles.clone() }
    }
}

/// What a browser proves its session with: 32 random bytes as 64 hex digits. Prints as stars.
#[derive(Clone, PartialEq, Eq)]
pub struct Token(String);

impl Token {
    /// For the cookie, and nothing else.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// A signed-in browser.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// Its name in the audit log.
    pub id: SessionId,
    /// SHA-256 of the token's text.
    pub token_hash: [u8; 32],
    /// Whose.
    pub person: PersonId,
    /// When they signed in.
    pub created_at: Timestamp,
    /// When it ends if it is not used again.
    pub expires_at: Timestamp,
    /// When it ends in any case.
    pub ends_at: Timestamp,
}

/// What a new person says of themselves.
#[derive(Debug, Clone)]
pub struct Registration {
    /// Any case; kept in lower case.
    pub email: String,
    /// 15 to 128 characters.
    pub password: Password,
    /// 1 to 40 characters.
    pub display_name: String,
    /// Where their rows are to lie; this installation's region if they do not say.
    pub region: Option<Region>,
}

/// A stored person with their password's hash.
#[derive(Debug, Clone)]
pub struct Credentials {
    /// Who.
    pub person: Person,
    /// In PHC form: `$argon2id$v=19$m=..,t=..,p=..$salt$hash`.
    pub password_hash: String,
}

/// What identity stores.
#[async_trait]
pub trait IdentityStore: Send + Sync {
    /// Adds a person, and the session they start with. Refused with `email_taken`.
    async fn add_person(
        &self,
        firm: FirmId,
        credentials: &Credentials,
        session: Option<&Session>,
        audit: &[AuditEntry],
    ) -> Result<(), AppError>;
    /// A person by email in lower case; nobody who was erased.
    async fn credentials(&self, firm: FirmId, email: &str) -> Result<Option<Credentials>, AppError>;
    /// Adds a session, clears some away that have ended by then, and puts a stronger hash in place of the old one if
    /// there is one.
    async fn add_session(
        &self,
        firm: FirmId,
        session: &Session,
        rehash: Option<&str>,
        audit: &[AuditEntry],
    ) -> Result<(), AppError>;
    /// Puts another hash in place of a person's and ends their sessions.
    async fn set_password(
        &self,
        firm: FirmId,
        person: PersonId,
        hash: &str,
        audit: &[AuditEntry],
    ) -> Result<(), AppError>;
    /// A session and its person, whether it still lives or not; none of somebody who was erased.
    async fn session(
        &self,
        firm: FirmId,
        token_hash: &[u8; 32],
    ) -> Result<Option<(Session, Person)>, AppError>;
    /// Moves the end of a session.
    async fn extend_session(
        &self,
        firm: FirmId,
        token_hash: &[u8; 32],
        to: Timestamp,
    ) -> Result<(), AppError>;
    /// Removes a session; nothing is written if it is gone already.
    async fn end_session(
        &self,
        firm: FirmId,
        token_hash: &[u8; 32],
        audit: &[AuditEntry],
    ) -> Result<(), AppError>;
}

/// The use cases of identity.
pub struct Identity {
    store: Arc<dyn IdentityStore>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    hashing: Hashing,
    limiter: Limiter,
    sessions: Sessions,
    homes: Homes,
}

impl fmt::Debug for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Identity").finish_non_exhaustive()
    }
}

impl Identity {
    /// `workers` passwords are hashed at once (the number of processors), up to 64 more wait, the rest is refused.
    pub fn new(
        store: Arc<dyn IdentityStore>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        workers: usize,
        cost: Cost,
    ) -> Self {
        Self {
            store,
            clock,
            rng,
            hashing: Hashing::new(workers, cost),
            limiter: Limiter::default(),
            sessions: Sessions::default(),
            homes: Homes::default(),
        }
    }

    /// The same in an installation that keeps the people of a region, and knows where others are.
    #[must_use]
    pub fn at_home(self, homes: Homes) -> Self {
        Self { homes, ..self }
    }

    /// Registers a trader and signs them in. Refused with `validation_failed`, `wrong_region`, `email_taken`,
    /// `too_many_requests`.
    /// `address` is the caller's network address: registrations are counted for it and for the email.
    pub async fn register(
        &self,
        context: &Context,
        registration: Registration,
        address: &str,
    ) -> Result<(Person, Token), AppError> {
        self.homes.admit(registration.region.as_ref())?;
        let (email, display_name) = checked(&registration)?;
        self.limiter.register(context.firm, &email, address, self.clock.now())?;
        let password_hash = self.hashing.hash(registration.password, self.salt()).await?;
        let at = self.clock.now();
        let person = Person {
            id: PersonId::random(at, &*self.rng),
            email,
            display_name,
            roles: vec![Role::Trader],
            created_at: at,
        };
        let (session, token) = self.new_session(person.id, at)?;
        let audit = [
            entry(context, &person, at, "identity.register"),
            entry(context, &person, at, "identity.sign_in"),
        ];
        let credentials = Credentials { person, password_hash };
        self.store.add_person(context.firm, &credentials, Some(&session), &audit).await?;
        Ok((credentials.person, token))
    }

    /// Signs in. Refused with `wrong_credentials` or `too_many_requests`. `address` is the caller's network address;
    /// failures are counted for it, for the email, and for the two together.
    pub async fn sign_in(
        &self,
        context: &Context,
        email: &str,
        password: Password,
        address: &str,
    ) -> Result<(Person, Token), AppError> {
        let wrong = || AppError::refused("wrong_credentials", "The email or the password is wrong.");
        let email = normal(email);
        // Nobody can have registered with it, which the caller can see as well.
        if !is_email(&email) {
            return Err(wrong());
        }
        self.limiter.sign_in(context.firm, &email, address, self.clock.now())?;
        let found = self.store.credentials(context.firm, &email).await?;
        let stored = found.as_ref().map(|credentials| credentials.password_hash.clone());
        let verified = self.hashing.verify(password, stored, self.salt()).await?;
        let (Some(Credentials { person, .. }), Some(verified)) = (found, verified) else {
            return Err(wrong());
        };
        self.limiter.signed_in(context.firm, &email, address);
        let at = self.clock.now();
        let (session, token) = self.new_session(person.id, at)?;
        let audit = [entry(context, &person, at, "identity.sign_in")];
        self.store.add_session(context.firm, &session, verified.rehash.as_deref(), &audit).await?;
        Ok((person, token))
    }

    /// Ends the session of a token. A token that is no session's, or no longer, changes nothing.
    pub async fn sign_out(&self, context: &Context, token: &str) -> Result<(), AppError> {
        let hash = token_hash(token);
        let Some((_, person)) = self.store.session(context.firm, &hash).await? else { return Ok(()) };
        let audit = [entry(context, &person, self.clock.now(), "identity.sign_out")];
        let ended = self.store.end_session(context.firm, &hash, &audit).await;
        // Also where nobody knows whether it was stored: it is read again.
        self.sessions.end(&(context.firm, hash));
        ended
    }

    /// Who holds a token; nobody if its session has ended. A session that this process ends is ended at once, one that
    /// another process ends after a second at most: so long a session is not read again.
    pub async fn who(&self, firm: FirmId, token: &str) -> Result<Option<Person>, AppError> {
        let key = (firm, token_hash(token));
        let now = self.clock.now();
        let has_ended = |session: &Session| now >= session.expires_at || now >= session.ends_at;
        if let Some((session, person)) = self.sessions.fresh(&key, now) {
            return Ok((!has_ended(&session)).then_some(person));
        }
        let before = self.sessions.endings();
        let Some((session, person)) = self.store.session(firm, &key.1).await? else { return Ok(None) };
        if has_ended(&session) {
            return Ok(None);
        }
        let extended = now.after(IDLE).map_err(out_of_time)?.min(session.ends_at);
        if extended.since(session.expires_at).map_err(out_of_time)? >= EXTEND_BY {
            self.store.extend_session(firm, &key.1, extended).await?;
        }
        self.sessions.remember(key, session, person.clone(), now, before);
        Ok(Some(person))
    }

    /// Makes sure that a person with these roles exists; one that does is left as it is. For setting up a firm.
    pub async fn ensure_person(
        &self,
        context: &Context,
        registration: Registration,
        roles: Vec<Role>,
    ) -> Result<Person, AppError> {
        self.homes.admit(registration.region.as_ref())?;
        let (email, display_name) = checked(&registration)?;
        if let Some(credentials) = self.store.credentials(context.firm, &email).await? {
            return Ok(credentials.person);
        }
        let password_hash = self.hashing.hash(registration.password, self.salt()).await?;
        let at = self.clock.now();
        let person =
            Person { id: PersonId::random(at, &*self.rng), email, display_name, roles, created_at: at };
        let audit = [AuditEntry { actor: acting(context), ..entry(context, &person, at, "identity.set_up") }];
        let credentials = Credentials { person, password_hash };
        self.store.add_person(context.firm, &credentials, None, &audit).await?;
        Ok(credentials.person)
    }

    /// Gives somebody this password and ends their sessions; false, and nothing changes, if they have it already. For
    /// setting up a firm: whether the caller may is not asked here.
    pub async fn set_password(
        &self,
        context: &Context,
        email: &str,
        password: Password,
    ) -> Result<bool, AppError> {
        let email = normal(email);
        if let Some(say) = password::fault(&password, &email) {
            return Err(AppError::field("/password", say));
        }
        let found = self.store.credentials(context.firm, &email).await?;
        let Credentials { person, password_hash } = found.ok_or(AppError::NotFound("person"))?;
        if self.hashing.verify(password.clone(), Some(password_hash), self.salt()).await?.is_some() {
            return Ok(false);
        }
        let hash = self.hashing.hash(password, self.salt()).await?;
        let set = entry(context, &person, self.clock.now(), "identity.set_password");
        let audit = [AuditEntry { actor: acting(context), ..set }];
        let set = self.store.set_password(context.firm, person.id, &hash, &audit).await;
        self.sessions.end_all(context.firm, person.id);
        set.map(|()| true)
    }

    /// Whether whoever asks knows their password, before something that cannot be undone; gives who they are. Refused as a
    /// sign-in is, and counted with those.
    pub async fn prove(
        &self,
        context: &Context,
        email: &str,
        password: Password,
        address: &str,
    ) -> Result<PersonId, AppError> {
        let person = context.actor()?.person;
        let email = normal(email);
        self.limiter.sign_in(context.firm, &email, address, self.clock.now())?;
        let found = self.store.credentials(context.firm, &email).await?;
        let found = found.filter(|credentials| credentials.person.id == person);
        let stored = found.map(|credentials| credentials.password_hash);
        match self.hashing.verify(password, stored, self.salt()).await? {
            Some(_) => {
                self.limiter.signed_in(context.firm, &email, address);
                Ok(person)
            }
            None => Err(AppError::refused("wrong_credentials", "The password is wrong.")),
        }
    }

    /// Somebody is no longer known, or is about to be: their sessions have ended, as far as this process remembers any.
    pub fn forget(&self, firm: FirmId, person: PersonId) {
        self.sessions.end_all(firm, person);
    }

    fn salt(&self) -> [u8; 16] {
        let mut salt = [0; 16];
        self.rng.fill(&mut salt);
        salt
    }

    fn new_session(&self, person: PersonId, at: Timestamp) -> Result<(Session, Token), AppError> {
        let mut secret = [0_u8; 32];
        self.rng.fill(&mut secret);
        let token = Token(hex::encode(secret));
        let session = Session {
            id: SessionId::random(at, &*self.rng),
            token_hash: token_hash(token.reveal()),
            person,
            created_at: at,
            expires_at: at.after(IDLE).map_err(out_of_time)?,
            ends_at: at.after(LONGEST).map_err(out_of_time)?,
        };
        Ok((session, token))
    }
}

fn token_hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

fn out_of_time(error: Overflow) -> AppError {
    AppError::bug("computing the end of a session")(Box::new(error))
}

/// Whoever is signed in; nobody when a firm is set up.
fn acting(context: &Context) -> Option<PersonId> {
    context.actor.as_ref().map(|actor| actor.person)
}

/// About a person, done by themselves.
fn entry(context: &Context, person: &Person, at: Timestamp, action: &str) -> AuditEntry {
    AuditEntry {
        firm: context.firm,
        at,
        actor: Some(person.id),
        action: action.to_owned(),
        object_kind: "person",
        object: person.id.to_string(),
        request: Some(context.request),
        purpose: String::new(),
        digests: Digests::default(),
        detail: serde_json::json!({}),
    }
}

fn normal(email: &str) -> String {
    email.trim().to_ascii_lowercase()
}

/// The normalised email and display name, or everything that is wrong.
fn checked(registration: &Registration) -> Result<(String, String), AppError> {
    let email = normal(&registration.email);
    let display_name = registration.display_name.trim().to_owned();
    let mut faults = Vec::new();
    let mut fault = |pointer: &str, say: &str| {
        faults.push(FieldError {
            pointer: pointer.to_owned(),
            code: "validation_failed",
            say: say.to_owned(),
        });
    };
    if !is_email(&email) {
        fault("/email", "Enter an email address such as name@example.org.");
    }
    if let Some(say) = password::fault(&registration.password, &email) {
        fault("/password", say);
    }
    let length = display_name.chars().count();
    if !(1..=40).contains(&length) || display_name.chars().any(char::is_control) {
        fault("/display_name", "Enter 1 to 40 characters.");
    }
    if faults.is_empty() { Ok((email, display_name)) } else { Err(AppError::Invalid(faults)) }
}

/// `local@domain.tld` in visible ASCII: what every mail provider accepts. Whether it exists, only a mail can tell.
fn is_email(text: &str) -> bool {
    let Some((local, domain)) = text.rsplit_once('@') else { return false };
    let labels: Vec<&str> = domain.split('.').collect();
    let is_label = |label: &&str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_local = |byte: u8| byte.is_ascii_alphanumeric() || b".!#$%&'*+/=?^_`{|}~-".contains(&byte);
    text.len() <= 254
        && (1..=64).contains(&local.len())
        && local.bytes().all(is_local)
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
        && labels.len() >= 2
        && labels.iter().all(is_label)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn emails_are_told_from_other_texts() {
        for good in ["a@b.co", "first.last+tag@mail.example.org", "o'neil@example.org"] {
            assert!(is_email(good), "{good}");
        }
        for bad in [
            "",
            "a",
            "@b.co",
            "a@",
            "a@b",
            "a b@c.de",
            "a@b..co",
            "a@-b.co",
            ".a@b.co",
            "a..b@c.de",
            "a@b@c",
            "ä@b.co",
        ] {
            assert!(!is_email(bad), "{bad}");
        }
    }

    #[test]
    fn every_fault_of_a_registration_is_named() {
        let registration = Registration {
            email: "nobody".to_owned(),
            password: Password::new("short"),
            display_name: " \u{7}".to_owned(),
            region: None,
        };
        let Err(AppError::Invalid(faults)) = checked(&registration) else { panic!("expected faults") };
        let pointers: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
        assert_eq!(pointers, ["/email", "/password", "/display_name"]);
    }

    #[test]
    fn a_token_and_a_password_do_not_print() {
        assert_eq!(format!("{:?} {:?}", Token("secret".to_owned()), Password::new("secret")), "*** ***");
    }
}
