//! Identities by kind: an account's id cannot be handed in where a person's is asked for.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{Rng, Timestamp};

/// The word for a kind of thing, used in errors.
pub trait IdKind {
    /// For instance `"account"`.
    const WORD: &'static str;
}

/// A UUID that names one thing of kind `K`.
pub struct Id<K>(Uuid, PhantomData<fn() -> K>);

/// The kinds of things that have an id. To add one: a unit type here and an alias below.
pub mod kinds {
    use super::IdKind;
    /// A tenant.
    #[derive(Debug)]
    pub enum Firm {}
    /// Somebody who signs in.
    #[derive(Debug)]
    pub enum Person {}
    /// A browser's signed-in session.
    #[derive(Debug)]
    pub enum Session {}
    /// The buying of a program.
    #[derive(Debug)]
    pub enum Purchase {}
    /// One purchase and its accounts through the phases.
    #[derive(Debug)]
    pub enum Challenge {}
    /// A trading account.
    #[derive(Debug)]
    pub enum Account {}
    /// A release that moves markets, in a firm's calendar.
    #[derive(Debug)]
    pub enum Release {}
    /// One HTTP request.
    #[derive(Debug)]
    pub enum Request {}
    /// A process that owns shards, leads or consumes.
    #[derive(Debug)]
    pub enum Owner {}
    /// Work for later.
    #[derive(Debug)]
    pub enum Job {}
    /// Something that somebody is told.
    #[derive(Debug)]
    pub enum Notification {}
    /// A mail.
    #[derive(Debug)]
    pub enum Mail {}
    /// Where a firm's own system listens.
    #[derive(Debug)]
    pub enum Webhook {}
    /// A message on its way to a webhook.
    #[derive(Debug)]
    pub enum Delivery {}
    /// An entry of the ledger.
    #[derive(Debug)]
    pub enum Entry {}
    /// Money of the ledger that is held for something.
    #[derive(Debug)]
    pub enum Hold {}
    impl IdKind for Firm {
        const WORD: &'static str = "firm";
    }
    impl IdKind for Person {
        const WORD: &'static str = "person";
    }
    impl IdKind for Session {
        const WORD: &'static str = "session";
    }
    impl IdKind for Purchase {
        const WORD: &'static str = "purchase";
    }
    impl IdKind for Challenge {
        const WORD: &'static str = "challenge";
    }
    impl IdKind for Account {
        const WORD: &'static str = "account";
    }
    impl IdKind for Release {
        const WORD: &'static str = "release";
    }
    impl IdKind for Request {
        const WORD: &'static str = "request";
    }
    impl IdKind for Owner {
        const WORD: &'static str = "owner";
    }
    impl IdKind for Job {
        const WORD: &'static str = "job";
    }
    impl IdKind for Notification {
        const WORD: &'static str = "notification";
    }
    impl IdKind for Mail {
        const WORD: &'static str = "mail";
    }
    impl IdKind for Webhook {
        const WORD: &'static str = "webhook";
    }
    impl IdKind for Delivery {
        const WORD: &'static str = "delivery";
    }
    impl IdKind for Entry {
        const WORD: &'static str = "entry";
    }
    impl IdKind for Hold {
        const WORD: &'static str = "hold";
    }
}

/// Names a firm.
pub type FirmId = Id<kinds::Firm>;
/// Names a person.
pub type PersonId = Id<kinds::Person>;
/// Names a session.
pub type SessionId = Id<kinds::Session>;
/// Names a purchase.
pub type PurchaseId = Id<kinds::Purchase>;
/// Names a challenge.
pub type ChallengeId = Id<kinds::Challenge>;
/// Names a trading account.
pub type AccountId = Id<kinds::Account>;
/// Names a release.
pub type ReleaseId = Id<kinds::Release>;
/// Names a request.
pub type RequestId = Id<kinds::Request>;
/// Names a process that owns shards, leads or consumes.
pub type OwnerId = Id<kinds::Owner>;
/// Names a job.
pub type JobId = Id<kinds::Job>;
/// Names a notification.
pub type NotificationId = Id<kinds::Notification>;
/// Names a mail.
pub type MailId = Id<kinds::Mail>;
/// Names a webhook.
pub type WebhookId = Id<kinds::Webhook>;
/// Names a delivery to a webhook.
pub type DeliveryId = Id<kinds::Delivery>;
/// Names an entry of the ledger.
pub type EntryId = Id<kinds::Entry>;
/// Names a hold.
pub type HoldId = Id<kinds::Hold>;

impl<K> Id<K> {
    /// Wraps a UUID read from a row or a path.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid, PhantomData)
    }

    /// The bare UUID.
    pub const fn uuid(self) -> Uuid {
        self.0
    }

    /// A new id that sorts by time (UUID version 7).
    pub fn random(at: Timestamp, rng: &dyn Rng) -> Self {
        let mut random = [0_u8; 10];
        rng.fill(&mut random);
        let millis = u64::try_from(at.micros().div_euclid(1_000)).unwrap_or_default();
        Self::from_uuid(uuid::Builder::from_unix_timestamp_millis(millis, &random).into_uuid())
    }

    /// The id that always follows from the same parts (UUID version 8 over SHA-256): a thing that is created by
    /// a retried or replayed step gets the same name every time.
    pub fn derived(parts: &[&[u8]]) -> Self {
        Self::from_uuid(name_based_uuid(parts))
    }
}

impl RequestId {
    /// The request as a trace (W3C's `traceparent`, version 00, sampled): its id names the trace, the last half of it the
    /// span that everything else was caused in.
    pub fn traceparent(self) -> String {
        let trace = self.0.simple().to_string();
        let span = trace.get(16..).unwrap_or_default();
        format!("00-{trace}-{span}-01")
    }
}

impl AccountId {
    /// The account of a phase of a challenge: always the same, so that opening it twice is opening it once. All accounts
    /// of a challenge end in the same two bytes, by which they lie in the same shard.
    pub fn of_phase(challenge: ChallengeId, phase: u64) -> Self {
        let challenge = challenge.uuid();
        let own = name_based_uuid(&[b"account", challenge.as_bytes(), &phase.to_be_bytes()]);
        let common = name_based_uuid(&[b"shard", challenge.as_bytes()]);
        let mut bytes = own.into_bytes();
        for (to, from) in bytes.iter_mut().rev().zip(common.into_bytes()).take(2) {
            *to = from;
        }
        Self::from_uuid(uuid::Builder::from_custom_bytes(bytes).into_uuid())
    }

    /// The shard in which the account lies, of so many: by its last two bytes, evenly and for good.
    pub fn shard(self, shards: i16) -> i16 {
        let [.., high, low] = *self.0.as_bytes();
        let place = u16::from_be_bytes([high, low]);
        let shards = u16::try_from(shards).unwrap_or(1).max(1);
        place.checked_rem(shards).and_then(|shard| i16::try_from(shard).ok()).unwrap_or_default()
    }

    /// A short label for people, such as `A-3F9C21`. Not unique: never look anything up by it.
    pub fn label(self) -> String {
        let [first, second, third, ..] = *self.0.as_bytes();
        format!("A-{first:02X}{second:02X}{third:02X}")
    }
}

/// A UUID version 8 that follows from the parts. Each part is preceded by its length, so no two lists collide by
/// moving a byte across a border.
pub fn name_based_uuid(parts: &[&[u8]]) -> Uuid {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(u64::try_from(part.len()).unwrap_or(u64::MAX).to_be_bytes());
        hash.update(part);
    }
    let mut bytes = [0_u8; 16];
    for (to, from) in bytes.iter_mut().zip(hash.finalize()) {
        *to = from;
    }
    uuid::Builder::from_custom_bytes(bytes).into_uuid()
}

impl<K> Clone for Id<K> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K> Copy for Id<K> {}
impl<K> PartialEq for Id<K> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<K> Eq for Id<K> {}
impl<K> PartialOrd for Id<K> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
impl<K> Ord for Id<K> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.0.cmp(&other.0)
    }
}
impl<K> Hash for Id<K> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}
impl<K: IdKind> fmt::Debug for Id<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} {}", K::WORD, self.0)
    }
}
impl<K> fmt::Display for Id<K> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(formatter)
    }
}
impl<K> FromStr for Id<K> {
    type Err = uuid::Error;
    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self::from_uuid)
    }
}
impl<K> Serialize for Id<K> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}
impl<'de, K> Deserialize<'de> for Id<K> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Uuid::deserialize(deserializer).map(Self::from_uuid)
    }
}
