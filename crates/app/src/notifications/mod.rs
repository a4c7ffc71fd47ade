//! What people are told, in the application and by mail.
//!
//! A message of the outbox becomes at most one [`Note`] for each person it concerns. The note is written into the in-app
//! inbox and, where it is wanted, a mail is queued with it, all in the transaction that takes the message. What a note
//! says is decided then ([`Told`]); later changes of names and programs do not rewrite it.
//!
//! Somebody may switch off each [`Group`] for each channel, but not the in-app notes of what ends an account or moves
//! money. An address that bounced or complained takes no mail until the person changes it.

mod bounce;
mod link;
mod mail;
mod mailbox;
mod words;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use kernel::{
    AccountId, Clock, FirmId, MailId, NotificationId, PayoutId, PersonId, PurchaseId, Rng, Span, Timestamp,
    WebhookId,
};
use rules::Program;
use serde::{Deserialize, Serialize};

use crate::events::Message;
use crate::jobs::NewJob;
use crate::{AppError, BoxError, Context};

pub use bounce::{Bounce, BounceKey, Bounced};
pub use link::{SECRET_BYTES, Secret};
pub use mail::{Letter, Site, letter};
pub use mailbox::{Kept, Mailbox};
pub use words::{of_payout, of_purchase, title};

/// The queue of jobs that send mail.
pub const MAIL_QUEUE: &str = "mail";
/// The kind of a job that sends one mail; its payload is `{"mail": id}`.
pub const SEND_MAIL: &str = "mail.send";
/// A mail is tried so often: for about two days, by the pauses between attempts.
pub const MOST_ATTEMPTS: i16 = 60;
/// Notes and mails are kept so long.
pub const KEPT_DAYS: u32 = 400;

/// What a note is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A purchase was paid.
    PurchasePaid,
    /// A payment was declined.
    PurchaseFailed,
    /// The payment of a purchase is disputed: its accounts are on hold.
    PurchaseDisputed,
    /// Nothing is held for a dispute any more.
    DisputeReleased,
    /// An account may trade.
    AccountOpened,
    /// A hard limit was crossed.
    AccountBreached,
    /// A soft limit was crossed.
    AccountLocked,
    /// A limit is near.
    AccountWarned,
    /// A phase was passed.
    AccountPassed,
    /// The next phase was opened by hand.
    AccountPromoted,
    /// A deadline passed.
    AccountExpired,
    /// A payout was made.
    AccountPaid,
    /// A payout was refused.
    PayoutRefused,
    /// The firm did not let a payout go.
    PayoutRejected,
    /// A payout has arrived.
    PayoutSettled,
    /// A payout did not arrive, or came back.
    PayoutReturned,
    /// A webhook takes nothing any more and was disabled.
    WebhookDisabled,
}

impl Kind {
    /// All.
    pub const ALL: [Self; 17] = [
        Self::PurchasePaid,
        Self::PurchaseFailed,
        Self::PurchaseDisputed,
        Self::DisputeReleased,
        Self::AccountOpened,
        Self::AccountBreached,
        Self::AccountLocked,
        Self::AccountWarned,
        Self::AccountPassed,
        Self::AccountPromoted,
        Self::AccountExpired,
        Self::AccountPaid,
        Self::PayoutRefused,
        Self::PayoutRejected,
        Self::PayoutSettled,
        Self::PayoutReturned,
        Self::WebhookDisabled,
    ];

    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::PurchasePaid => "purchase_paid",
            Self::PurchaseFailed => "purchase_failed",
            Self::PurchaseDisputed => "purchase_disputed",
            Self::DisputeReleased => "dispute_released",
            Self::AccountOpened => "account_opened",
            Self::AccountBreached => "account_breached",
            Self::AccountLocked => "account_locked",
            Self::AccountWarned => "account_warned",
            Self::AccountPassed => "account_passed",
            Self::AccountPromoted => "account_promoted",
            Self::AccountExpired => "account_expired",
            Self::AccountPaid => "account_paid",
            Self::PayoutRefused => "payout_refused",
            Self::PayoutRejected => "payout_rejected",
            Self::PayoutSettled => "payout_settled",
            Self::PayoutReturned => "payout_returned",
            Self::WebhookDisabled => "webhook_disabled",
        }
    }

    /// What a topic of the outbox tells people; nothing for most.
    pub fn of_topic(topic: &str) -> Option<Self> {
        match topic {
            "purchase.paid" => Some(Self::PurchasePaid),
            "purchase.declined" | "purchase.failed" => Some(Self::PurchaseFailed),
            "dispute.opened" => Some(Self::PurchaseDisputed),
            "dispute.released" => Some(Self::DisputeReleased),
            "account.opened" => Some(Self::AccountOpened),
            "account.breached" => Some(Self::AccountBreached),
            "account.locked" => Some(Self::AccountLocked),
            "account.warned" => Some(Self::AccountWarned),
            "account.passed" => Some(Self::AccountPassed),
            "account.promoted" => Some(Self::AccountPromoted),
            "account.expired" => Some(Self::AccountExpired),
            "account.paid" => Some(Self::AccountPaid),
            "account.payout_refused" => Some(Self::PayoutRefused),
            "payout.rejected" => Some(Self::PayoutRejected),
            "payout.settled" => Some(Self::PayoutSettled),
            "payout.failed" | "payout.returned" => Some(Self::PayoutReturned),
            _ => None,
        }
    }

    /// What it is switched on and off with.
    pub const fn group(self) -> Group {
        match self {
            Self::PurchasePaid | Self::PurchaseFailed | Self::PurchaseDisputed | Self::DisputeReleased => {
                Group::Purchases
            }
            Self::AccountOpened => Group::Accounts,
            Self::AccountBreached
            | Self::AccountLocked
            | Self::AccountPassed
            | Self::AccountPromoted
            | Self::AccountExpired => Group::Results,
            Self::AccountWarned => Group::Warnings,
            Self::AccountPaid
            | Self::PayoutRefused
            | Self::PayoutRejected
            | Self::PayoutSettled
            | Self::PayoutReturned => Group::Payouts,
            Self::WebhookDisabled => Group::Operations,
        }
    }
}

/// Kinds that are switched on and off together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// What ends, locks or promotes an account.
    Results,
    /// Payouts and refusals to pay.
    Payouts,
    /// Limits that are near.
    Warnings,
    /// Accounts that were opened.
    Accounts,
    /// Purchases.
    Purchases,
    /// What the firm's people have to look after.
    Operations,
}

impl Group {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 6] =
        [Self::Results, Self::Payouts, Self::Warnings, Self::Accounts, Self::Purchases, Self::Operations];

    /// The word in rows, addresses and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Results => "results",
            Self::Payouts => "payouts",
            Self::Warnings => "warnings",
            Self::Accounts => "accounts",
            Self::Purchases => "purchases",
            Self::Operations => "operations",
        }
    }

    /// The group of a word.
    pub fn of_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|group| group.word() == word)
    }

    /// For people.
    pub const fn label(self) -> &'static str {
        match self {
            Self::Results => "Results: an account passed, failed, expired or was locked",
            Self::Payouts => "Payouts",
            Self::Warnings => "Warnings: a limit is near",
            Self::Accounts => "New accounts",
            Self::Purchases => "Purchases",
            Self::Operations => "Operations: a webhook was disabled",
        }
    }

    /// Whether its in-app notes cannot be switched off.
    pub const fn is_mandatory(self) -> bool {
        match self {
            Self::Results | Self::Payouts | Self::Operations => true,
            Self::Warnings | Self::Accounts | Self::Purchases => false,
        }
    }
}

/// What somebody wants of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preference {
    /// Of what.
    pub group: Group,
    /// In the inbox of the application.
    pub in_app: bool,
    /// By mail.
    pub mail: bool,
}

impl Preference {
    /// Of whoever has chosen nothing.
    pub const fn of_nobody(group: Group) -> Self {
        Self { group, in_app: true, mail: true }
    }
}

/// What a note says, as it was when it was written.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Told {
    /// In a few words, after what it is about.
    pub headline: String,
    /// The rest, sentence by sentence.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sentences: Vec<String>,
    /// The account it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<AccountRef>,
    /// The purchase it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub purchase: Option<PurchaseId>,
    /// The payout it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payout: Option<PayoutId>,
    /// The webhook it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub webhook: Option<WebhookId>,
    /// The program's name.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub program: String,
    /// When it happened in the program's own zone, such as `2026-01-05 11:00 Europe/Prague`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub local_time: String,
}

/// An account for readers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AccountRef {
    /// Its id.
    pub id: AccountId,
    /// Its label, such as `A-3F9C21`.
    pub number: String,
    /// The name of its phase.
    pub phase: String,
    /// The verdict that it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<u32>,
}

impl Told {
    /// Where the application shows more.
    pub fn path(&self) -> String {
        if let Some(payout) = self.payout {
            return format!("/payouts/{payout}");
        }
        match (&self.account, self.purchase, self.webhook) {
            (Some(AccountRef { id, verdict: Some(verdict), .. }), _, _) => {
                format!("/accounts/{id}/receipts/{verdict}")
            }
            (Some(account), _, _) => format!("/accounts/{}", account.id),
            (None, Some(purchase), _) => format!("/purchases/{purchase}"),
            (None, None, Some(webhook)) => format!("/operate/webhooks/{webhook}"),
            (None, None, None) => "/notifications".to_owned(),
        }
    }
}

/// Something to tell one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Follows from its cause: written twice, it is written once.
    pub id: NotificationId,
    /// Whom.
    pub person: PersonId,
    /// What it is about.
    pub kind: Kind,
    /// When it happened.
    pub at: Timestamp,
    /// What it says.
    pub told: Told,
    /// At most one mail to this person has this key.
    pub mail_once: Option<String>,
}

impl Note {
    /// The id of what a message tells a person.
    pub fn id_of(firm: FirmId, message: i64, person: PersonId) -> NotificationId {
        let (firm, person) = (firm.uuid(), person.uuid());
        NotificationId::derived(&[
            b"notification",
            firm.as_bytes(),
            &message.to_be_bytes(),
            person.as_bytes(),
        ])
    }

    /// The id of the mail that says it.
    pub fn mail(&self) -> MailId {
        let (id, person) = (self.id.uuid(), self.person.uuid());
        MailId::derived(&[b"mail", id.as_bytes(), person.as_bytes()])
    }
}

/// The job that sends a mail. A limit that ends an account is told before anything else.
pub fn send_mail(firm: FirmId, mail: MailId, kind: Kind, at: Timestamp) -> NewJob {
    NewJob {
        firm: Some(firm),
        queue: MAIL_QUEUE,
        kind: SEND_MAIL,
        payload: serde_json::json!({ "mail": mail }),
        run_at: at,
        priority: if kind.group().is_mandatory() { 0 } else { 10 },
        unique: None,
        most_attempts: MOST_ATTEMPTS,
    }
}

/// A note in somebody's inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Its id.
    pub id: NotificationId,
    /// What it is about.
    pub kind: Kind,
    /// When it happened.
    pub at: Timestamp,
    /// What it says.
    pub told: Told,
    /// When it was read.
    pub read_at: Option<Timestamp>,
}

/// What becomes of a mail.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// The server has taken it, in these words.
    Sent(String),
    /// The server does not take it, ever.
    Refused {
        /// Why.
        error: String,
        /// Whether the address itself is at fault and gets no more.
        suppress: bool,
    },
    /// The address takes no mail.
    Suppressed,
    /// The person no longer wants it, or is gone.
    Unwanted,
}

impl Settled {
    /// The word in rows.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Sent(_) => "sent",
            Self::Refused { .. } => "refused",
            Self::Suppressed => "suppressed",
            Self::Unwanted => "unwanted",
        }
    }
}

/// A mail that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queued {
    /// Its id.
    pub id: MailId,
    /// To whom.
    pub person: PersonId,
    /// Their address.
    pub email: String,
    /// Their name.
    pub name: String,
    /// What it is about.
    pub kind: Kind,
    /// When that happened.
    pub at: Timestamp,
    /// What it says.
    pub told: Told,
    /// Whether the person still wants mails of its group.
    pub wanted: bool,
    /// Whether the address takes mail.
    pub suppressed: bool,
    /// The firm's name.
    pub firm_name: String,
    /// A host name of the firm.
    pub host: Option<String>,
}

/// Why an address takes no mail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Suppression {
    /// It does not exist.
    HardBounce,
    /// Whoever reads it called our mail unwanted.
    Complaint,
    /// Its server refused it while we were sending.
    Refused,
}

impl Suppression {
    /// The word in rows.
    pub const fn word(self) -> &'static str {
        match self {
            Self::HardBounce => "hard_bounce",
            Self::Complaint => "complaint",
            Self::Refused => "refused",
        }
    }
}

/// Sends mail. Adapters speak SMTP or keep mails for a page.
#[async_trait]
pub trait Mailer: Send + Sync {
    /// Sends one letter and gives what the server said. May be called again for the same letter; its Message-ID stays.
    async fn send(&self, letter: &Letter) -> Result<String, MailError>;
}

/// Why a letter was not sent.
#[derive(Debug, thiserror::Error)]
pub enum MailError {
    /// It will never be taken.
    #[error("the mail was refused: {say}")]
    Refused {
        /// In the server's words.
        say: String,
        /// Whether the address itself is at fault.
        suppress: bool,
    },
    /// It may be taken later. It may even have been taken: the connection can end before the answer.
    #[error("the mail was not sent")]
    Later(#[source] BoxError),
}

/// What a message is about, and whom it concerns.
#[derive(Debug, Clone)]
pub enum Concerned {
    /// An account.
    Account {
        /// Which.
        id: AccountId,
        /// Its owner.
        person: PersonId,
        /// The program it was bought with.
        program: Arc<Program>,
        /// Its phase, from 0.
        phase: usize,
        /// The verdict that the message names.
        verdict: Option<Box<engine::Verdict>>,
    },
    /// A purchase.
    Purchase {
        /// Which.
        id: PurchaseId,
        /// The buyer.
        person: PersonId,
        /// What is bought.
        program: Arc<Program>,
    },
}

/// Says what a message tells somebody; nothing if it tells them nothing.
pub type Wording<'a> = &'a (dyn Fn(&Message, &Concerned) -> Option<Note> + Sync);

/// What is stored about notes and mails.
#[async_trait]
pub trait NotificationStore: Send + Sync {
    /// Takes messages for a group: in one transaction, of those that it has not taken yet, writes what they tell, queues the
    /// mails that are wanted, and writes down that they are taken.
    async fn take_notes(
        &self,
        firm: FirmId,
        group: &str,
        messages: &[Message],
        wording: Wording<'_>,
        now: Timestamp,
    ) -> Result<(), AppError>;
    /// Somebody's notes, the newest first, after the one that a page ended with.
    async fn notifications(
        &self,
        firm: FirmId,
        person: PersonId,
        after: Option<(Timestamp, NotificationId)>,
        limit: i64,
    ) -> Result<Vec<Notification>, AppError>;
    /// How many of them are unread, counted up to `most`.
    async fn unread(&self, firm: FirmId, person: PersonId, most: i64) -> Result<i64, AppError>;
    /// Marks one as read; false if there is none.
    async fn mark_read(
        &self,
        firm: FirmId,
        person: PersonId,
        id: NotificationId,
        at: Timestamp,
    ) -> Result<bool, AppError>;
    /// Marks all as read.
    async fn mark_all_read(&self, firm: FirmId, person: PersonId, at: Timestamp) -> Result<(), AppError>;
    /// What somebody has chosen.
    async fn preferences(&self, firm: FirmId, person: PersonId) -> Result<Vec<Preference>, AppError>;
    /// Keeps what somebody has chosen; false if there is no such person.
    async fn set_preferences(
        &self,
        firm: FirmId,
        person: PersonId,
        preferences: &[Preference],
    ) -> Result<bool, AppError>;
    /// Switches mails of a group off and leaves the rest as it is; false if there is no such person.
    async fn no_more_mail(&self, firm: FirmId, person: PersonId, group: Group) -> Result<bool, AppError>;
    /// The firm's secret for a purpose: `fresh` if it had none.
    async fn firm_secret(
        &self,
        firm: FirmId,
        purpose: &str,
        fresh: Secret,
        at: Timestamp,
    ) -> Result<Secret, AppError>;
    /// A mail that waits; none if it has been settled.
    async fn queued_mail(&self, firm: FirmId, id: MailId) -> Result<Option<Queued>, AppError>;
    /// Settles a mail that waits.
    async fn settle_mail(
        &self,
        firm: FirmId,
        mail: &Queued,
        settled: &Settled,
        at: Timestamp,
    ) -> Result<(), AppError>;
    /// What an address is known by where it must not stand: [`crate::privacy::Vault::index`].
    async fn address_index(&self, firm: FirmId, address: &str) -> Result<[u8; 32], AppError>;
    /// Suppresses an address.
    async fn suppress(
        &self,
        firm: FirmId,
        address: [u8; 32],
        why: Suppression,
        at: Timestamp,
    ) -> Result<(), AppError>;
    /// The address that a mail went to.
    async fn mailed_address(&self, firm: FirmId, id: MailId) -> Result<Option<[u8; 32]>, AppError>;
    /// Takes away notes and mails of all firms from before an instant; how many.
    async fn forget_notes(&self, before: Timestamp) -> Result<u64, AppError>;
}

/// A page of an inbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inbox {
    /// The newest first.
    pub items: Vec<Notification>,
    /// Where to read on; nothing at the end.
    pub next: Option<String>,
    /// How many notes are unread in all, at most [`MOST_COUNTED`].
    pub unread: i64,
}

/// Unread notes are counted no further.
pub const MOST_COUNTED: i64 = 1_000;

/// The use cases of notes.
pub struct Notifications {
    store: Arc<dyn NotificationStore>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    bounces: Option<BounceKey>,
}

impl fmt::Debug for Notifications {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Notifications").finish_non_exhaustive()
    }
}

impl Notifications {
    /// Over a store. Without a key no bounces are taken in.
    pub fn new(
        store: Arc<dyn NotificationStore>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        bounces: Option<BounceKey>,
    ) -> Self {
        Self { store, clock, rng, bounces }
    }

    /// A page of one's own notes.
    pub async fn inbox(
        &self,
        context: &Context,
        cursor: Option<&str>,
        limit: i64,
    ) -> Result<Inbox, AppError> {
        let person = context.actor()?.person;
        let after = cursor.map(read_cursor).transpose()?;
        let one_more = limit.saturating_add(1);
        let mut items = self.store.notifications(context.firm, person, after, one_more).await?;
        let wanted = usize::try_from(limit).unwrap_or_default();
        let more = items.len() > wanted;
        items.truncate(wanted);
        let next = items.last().filter(|_| more).map(|last| format!("{}_{}", last.at.micros(), last.id));
        let unread = self.store.unread(context.firm, person, MOST_COUNTED).await?;
        Ok(Inbox { items, next, unread })
    }

    /// How many of one's own notes are unread.
    pub async fn unread(&self, context: &Context) -> Result<i64, AppError> {
        self.store.unread(context.firm, context.actor()?.person, MOST_COUNTED).await
    }

    /// Marks one of one's own notes as read. Doing it twice changes nothing.
    pub async fn mark_read(&self, context: &Context, id: NotificationId) -> Result<(), AppError> {
        let person = context.actor()?.person;
        if self.store.mark_read(context.firm, person, id, self.clock.now()).await? {
            Ok(())
        } else {
            Err(AppError::NotFound("notification"))
        }
    }

    /// Marks all of one's own notes as read.
    pub async fn mark_all_read(&self, context: &Context) -> Result<(), AppError> {
        self.store.mark_all_read(context.firm, context.actor()?.person, self.clock.now()).await
    }

    /// What one has chosen, for every group.
    pub async fn preferences(&self, context: &Context) -> Result<Vec<Preference>, AppError> {
        let chosen = self.store.preferences(context.firm, context.actor()?.person).await?;
        let of = |group| {
            let found = chosen.iter().copied().find(|preference| preference.group == group);
            found.unwrap_or(Preference::of_nobody(group))
        };
        Ok(Group::ALL.map(of).to_vec())
    }

    /// Chooses. Groups that are not named stay as they are.
    pub async fn choose(&self, context: &Context, preferences: &[Preference]) -> Result<(), AppError> {
        let person = context.actor()?.person;
        for (place, preference) in preferences.iter().enumerate() {
            if preference.group.is_mandatory() && !preference.in_app {
                let say = "What ends an account or moves money is always told in the application.";
                return Err(AppError::field(&format!("/items/{place}/in_app"), say));
            }
            if preferences.iter().take(place).any(|other| other.group == preference.group) {
                return Err(AppError::field(&format!("/items/{place}/group"), "Name each group once."));
            }
        }
        if self.store.set_preferences(context.firm, person, preferences).await? {
            Ok(())
        } else {
            Err(AppError::Unauthenticated)
        }
    }

    /// The end of the address by which a person ends mails of a group without signing in.
    pub async fn unsubscribe_token(
        &self,
        firm: FirmId,
        person: PersonId,
        group: Group,
    ) -> Result<String, AppError> {
        let secret = self.secret(firm).await?;
        Ok(link::token(&secret, firm, person, group))
    }

    /// Whose mails of which group a token ends; it is not found if it was not made here.
    pub async fn unsubscribing(&self, firm: FirmId, token: &str) -> Result<(PersonId, Group), AppError> {
        let secret = self.secret(firm).await?;
        link::read(&secret, firm, token).ok_or(AppError::NotFound("subscription"))
    }

    /// Ends mails of a group. Whoever has the token may; doing it twice changes nothing.
    pub async fn unsubscribe(&self, firm: FirmId, token: &str) -> Result<Group, AppError> {
        let (person, group) = self.unsubscribing(firm, token).await?;
        if self.store.no_more_mail(firm, person, group).await? {
            Ok(group)
        } else {
            Err(AppError::NotFound("subscription"))
        }
    }

    /// Takes in what a mail provider reports, if its signature over the body holds. A soft bounce changes nothing: its
    /// server is asked again.
    pub async fn bounced(
        &self,
        firm: FirmId,
        token: &str,
        signature: &str,
        body: &[u8],
    ) -> Result<Bounced, AppError> {
        let key = self.bounces.as_ref().ok_or(AppError::NotFound("address for bounces"))?;
        let bounce = key.read(token, signature, body)?;
        let Some(why) = bounce.suppression() else { return Ok(Bounced::Noted) };
        let address = match (&bounce.address, bounce.mail()) {
            (Some(address), _) => Some(self.store.address_index(firm, address).await?),
            (None, Some(mail)) => self.store.mailed_address(firm, mail).await?,
            (None, None) => None,
        };
        let Some(address) = address else { return Ok(Bounced::Unknown) };
        self.store.suppress(firm, address, why, self.clock.now()).await?;
        Ok(Bounced::Suppressed)
    }

    /// Takes away what is older than [`KEPT_DAYS`]; how many rows.
    pub async fn forget(&self) -> Result<u64, AppError> {
        let kept = Span::from_days(KEPT_DAYS);
        let before = kept.and_then(|kept| self.clock.now().before(kept));
        let before = before.map_err(|error| AppError::bug("reading the time")(Box::new(error)))?;
        self.store.forget_notes(before).await
    }

    async fn secret(&self, firm: FirmId) -> Result<Secret, AppError> {
        let mut fresh = [0; SECRET_BYTES];
        self.rng.fill(&mut fresh);
        self.store.firm_secret(firm, "unsubscribe", Secret(fresh), self.clock.now()).await
    }
}

fn read_cursor(text: &str) -> Result<(Timestamp, NotificationId), AppError> {
    let wrong = || AppError::field("/cursor", "Give next_cursor of the page before.");
    let (at, id) = text.split_once('_').ok_or_else(wrong)?;
    let at = at.parse().map_err(|_| wrong())?;
    Ok((Timestamp::from_micros(at), id.parse().map_err(|_| wrong())?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_and_groups_have_words_of_their_own() {
        let kinds: std::collections::BTreeSet<_> = Kind::ALL.map(Kind::word).into();
        assert_eq!(kinds.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.word());
            assert!(Group::ALL.contains(&kind.group()));
        }
        for group in Group::ALL {
            assert_eq!(Group::of_word(group.word()), Some(group));
            assert_eq!(serde_json::to_value(group).unwrap(), group.word());
        }
    }
}
