//! Outgoing webhooks: the firm's own systems are told what happens, in the form of Standard Webhooks.
//!
//! A message of the outbox becomes a delivery for each endpoint that asks for its topic, in the transaction that takes the
//! message. Each attempt is a job of its own, and what came of it is written together with the job of the next one, so
//! that a worker may die at any place: a receiver may see a message twice, under the same `webhook-id`, and never not at
//! all. Deliveries have no order among each other.
//!
//! An endpoint is disabled when its owner says so, when it answers 410, and after [`FAILING_DAYS`] days without a
//! success. A disabled one is sent nothing; what it missed while it failed is found again by [`Webhooks::recover`].

mod address;
mod signature;
mod url;

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use kernel::{Clock, DeliveryId, FirmId, NotificationId, Rng, Span, Timestamp, WebhookId};
use serde_json::json;

use crate::events::Message;
use crate::jobs::NewJob;
use crate::notifications::{Kind, Told};
use crate::trading::{AuditEntry, Digests};
use crate::{AppError, BoxError, Context, FieldError, Permission};

pub use address::is_public;
pub use signature::{Headers, SigningSecret, headers};
pub use url::{Target, UrlPolicy};

/// The queue of jobs that deliver.
pub const QUEUE: &str = "webhooks";
/// The kind of a job that makes one attempt; its payload is `{"endpoint", "delivery", "attempt"}`.
pub const DELIVER: &str = "webhook.deliver";
/// The topic of a test event.
pub const TEST: &str = "webhook.test";
/// The most endpoints of a firm.
pub const MOST_ENDPOINTS: i64 = 20;
/// An older secret signs so long beside the new one.
pub const GRACE: Span = Span::from_seconds(86_400);
/// An endpoint that fails so long without one success is disabled.
pub const FAILING_DAYS: u32 = 5;
/// Deliveries are kept so long.
pub const KEPT_DAYS: u32 = 90;
/// The most deliveries that one recovery sends again.
pub const MOST_RECOVERED: i64 = 10_000;

/// How long after a failed attempt the next one comes, in seconds.
const RETRIES: [i32; 7] = [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000];
/// A receiver may ask for a later attempt, but for none later than this.
const LONGEST_PAUSE: Span = Span::from_seconds(36_000);

/// Why an endpoint is sent nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Disabled {
    /// Somebody of the firm disabled it.
    ByHand,
    /// It failed for days.
    Failing,
    /// It answered that it is gone.
    Gone,
}

impl Disabled {
    /// All.
    pub const ALL: [Self; 3] = [Self::ByHand, Self::Failing, Self::Gone];

    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::ByHand => "by_hand",
            Self::Failing => "failing",
            Self::Gone => "gone",
        }
    }
}

/// Where a firm's own system listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id.
    pub id: WebhookId,
    /// Where to.
    pub url: String,
    /// For people.
    pub description: String,
    /// Which topics: `*`, `account.*` or `account.breached`.
    pub topics: Vec<String>,
    /// When it was added.
    pub created_at: Timestamp,
    /// Why and since when it is sent nothing.
    pub disabled: Option<(Disabled, Timestamp)>,
    /// Since when no attempt has succeeded.
    pub failing_since: Option<Timestamp>,
    /// Until when an older secret signs too.
    pub older_secret_until: Option<Timestamp>,
}

impl Endpoint {
    /// Whether it asks for a topic. What comes with every trade is told only to whoever names it.
    pub fn takes(&self, topic: &str) -> bool {
        takes(&self.topics, topic)
    }
}

/// It comes with every trade: a family does not take it in.
pub const WITH_EVERY_TRADE: &str = "account.traded";

fn takes(topics: &[String], topic: &str) -> bool {
    topics.iter().any(|asked| match asked.strip_suffix('*') {
        Some(family) => topic.starts_with(family) && topic != WITH_EVERY_TRADE,
        None => asked == topic,
    })
}

/// An endpoint as somebody sends it.
#[derive(Debug, Clone)]
pub struct NewEndpoint {
    /// `https://`, of a host that everybody can reach.
    pub url: String,
    /// At most 200 characters.
    pub description: String,
    /// 1 to 50.
    pub topics: Vec<String>,
}

/// What of an endpoint is to change.
#[derive(Debug, Clone, Default)]
pub struct EndpointChange {
    /// Another address.
    pub url: Option<String>,
    /// Another description.
    pub description: Option<String>,
    /// Other topics.
    pub topics: Option<Vec<String>>,
    /// Whether it is sent anything.
    pub active: Option<bool>,
}

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeliveryState {
    /// An attempt is to come.
    Waiting,
    /// The receiver has it.
    Delivered,
    /// Every attempt failed, or the endpoint was disabled.
    Failed,
}

impl DeliveryState {
    /// All.
    pub const ALL: [Self; 3] = [Self::Waiting, Self::Delivered, Self::Failed];

    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Waiting => "waiting",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
        }
    }
}

/// A message on its way to an endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// Its id.
    pub id: DeliveryId,
    /// The `webhook-id` it is sent under.
    pub message: String,
    /// Its topic.
    pub topic: String,
    /// The bytes that are sent.
    pub body: String,
    /// When the message was taken.
    pub created_at: Timestamp,
    /// Where it stands.
    pub state: DeliveryState,
    /// Attempts made.
    pub attempts: i32,
    /// Of them since it was created or last sent again.
    pub tried: i32,
    /// When the next one comes.
    pub next_at: Option<Timestamp>,
    /// When it was delivered or given up.
    pub settled_at: Option<Timestamp>,
}

/// A delivery to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewDelivery {
    /// To which endpoint.
    pub endpoint: WebhookId,
    /// Its id.
    pub id: DeliveryId,
    /// The `webhook-id`.
    pub message: String,
    /// Its topic.
    pub topic: String,
    /// The bytes to be signed and sent.
    pub body: String,
    /// Now.
    pub at: Timestamp,
}

impl NewDelivery {
    /// What an endpoint is told of a message. The id follows from the message, so that taking it twice sends it once; the
    /// place in the outbox, which counts the messages of all firms, is not told.
    pub fn of(message: &Message, endpoint: WebhookId, at: Timestamp) -> Self {
        let firm = message.firm.uuid();
        let named = DeliveryId::derived(&[b"webhook message", firm.as_bytes(), &message.id.to_be_bytes()]);
        let id = DeliveryId::derived(&[b"delivery", named.uuid().as_bytes(), endpoint.uuid().as_bytes()]);
        Self {
            endpoint,
            id,
            message: format!("msg_{}", named.uuid().simple()),
            topic: message.topic.clone(),
            body: body(&message.topic, message.at, &message.payload),
            at,
        }
    }

    /// The job of its first attempt.
    pub fn job(&self, firm: FirmId) -> NewJob {
        attempt_job(firm, self.endpoint, self.id, 1, self.at)
    }
}

/// The body of a message: `type`, `timestamp`, `data`, in this order.
fn body(topic: &str, at: Timestamp, data: &serde_json::Value) -> String {
    let (topic, at) = (serde_json::Value::from(topic), serde_json::Value::from(at.to_string()));
    format!("{{\"type\":{topic},\"timestamp\":{at},\"data\":{data}}}")
}

/// The job of one attempt. It does nothing if the delivery has made that attempt already.
pub fn attempt_job(
    firm: FirmId,
    endpoint: WebhookId,
    delivery: DeliveryId,
    attempt: i32,
    at: Timestamp,
) -> NewJob {
    NewJob {
        firm: Some(firm),
        queue: QUEUE,
        kind: DELIVER,
        payload: json!({ "endpoint": endpoint, "delivery": delivery, "attempt": attempt }),
        run_at: at,
        priority: 20,
        unique: None,
        // What the receiver does is counted by the delivery; this counts what fails on our side.
        most_attempts: 20,
    }
}

/// One attempt as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// From 1.
    pub number: i32,
    /// When it began.
    pub at: Timestamp,
    /// How long it took.
    pub took: Span,
    /// The answer's status; none without an answer.
    pub status: Option<u16>,
    /// The first bytes of the answer.
    pub answer: Option<String>,
    /// Why there was none.
    pub error: Option<String>,
}

/// A delivery that is due, with what is needed to attempt it.
#[derive(Debug, Clone)]
pub struct Due {
    /// To where.
    pub endpoint: Endpoint,
    /// What.
    pub delivery: Delivery,
    /// The secrets that sign now, the newest first.
    pub secrets: Vec<SigningSecret>,
}

/// What one request is to send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Where to.
    pub url: String,
    /// Identity, time, signatures.
    pub headers: Headers,
    /// The bytes that were signed.
    pub body: String,
}

/// What a receiver answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The first bytes of the body, as text.
    pub body: String,
    /// How long it asks us to wait.
    pub retry_after: Option<Span>,
}

/// Why there was no answer, for the firm's people to read.
#[derive(Debug, thiserror::Error)]
#[error("{say}")]
pub struct NoAnswer {
    /// In a few words, without addresses of ours.
    pub say: String,
    /// For the operator.
    #[source]
    pub source: Option<BoxError>,
}

/// Sends one request and reads its answer.
#[async_trait]
pub trait WebhookSender: Send + Sync {
    /// Sends it once.
    async fn send(&self, outgoing: &Outgoing) -> Result<Answer, NoAnswer>;
}

/// What an attempt means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The receiver has it.
    Delivered,
    /// Another attempt, then.
    Again(Timestamp),
    /// No more attempts.
    Failed,
    /// The endpoint is gone.
    Gone,
}

/// What an attempt means for its delivery: any 2xx is a success, 410 ends the endpoint, everything else comes again by the
/// schedule. `chance` is a number from 0 to 9,999 that spreads attempts over a tenth of the pause.
pub fn next(attempt: &Attempt, tried: i32, retry_after: Option<Span>, now: Timestamp, chance: i64) -> Next {
    match attempt.status {
        Some(200..=299) => return Next::Delivered,
        Some(410) => return Next::Gone,
        Some(_) | None => {}
    }
    let place = usize::try_from(tried.saturating_sub(1)).unwrap_or_default();
    let Some(seconds) = RETRIES.get(place).copied() else { return Next::Failed };
    let pause = Span::from_seconds(seconds).micros();
    let jitter = pause.saturating_div(100_000).saturating_mul(chance.clamp(0, 9_999));
    let asked = retry_after.map_or(0, |asked| asked.micros().min(LONGEST_PAUSE.micros()));
    let pause = Span::from_micros(pause.saturating_add(jitter).max(asked));
    now.after(pause).map_or(Next::Failed, Next::Again)
}

/// Whether an endpoint that has failed since then is to be disabled.
pub fn has_failed_long_enough(since: Timestamp, now: Timestamp) -> bool {
    let longest = Span::from_days(FAILING_DAYS);
    now.since(since).ok().zip(longest.ok()).is_some_and(|(failing, longest)| failing >= longest)
}

/// What an attempt came to, to be written with it.
#[derive(Debug, Clone)]
pub struct Came {
    /// The attempt.
    pub attempt: Attempt,
    /// What it means for the delivery.
    pub next: Next,
    /// The job of the next attempt, if there is one.
    pub job: Option<NewJob>,
    /// Whether the endpoint is disabled with it, and what is written then.
    pub disable: Option<Disabling>,
    /// Now.
    pub at: Timestamp,
}

/// An endpoint that the platform disables.
#[derive(Debug, Clone)]
pub struct Disabling {
    /// Why.
    pub why: Disabled,
    /// For the log.
    pub audit: AuditEntry,
    /// What those who manage webhooks are told.
    pub told: Told,
}

/// What is stored about webhooks.
#[async_trait]
pub trait WebhookStore: Send + Sync {
    /// Takes messages for a group: in one transaction, of those that it has not taken yet, writes a delivery with the job of
    /// its first attempt for every endpoint that is active and asks for the topic, and writes down that they are taken.
    async fn take_deliveries(
        &self,
        firm: FirmId,
        group: &str,
        messages: &[Message],
        now: Timestamp,
    ) -> Result<(), AppError>;
    /// The firm's endpoints, the oldest first.
    async fn endpoints(&self, firm: FirmId) -> Result<Vec<Endpoint>, AppError>;
    /// One of them.
    async fn endpoint(&self, firm: FirmId, id: WebhookId) -> Result<Option<Endpoint>, AppError>;
    /// Adds one with its first secret, if the firm has fewer than `most`.
    async fn add_endpoint(
        &self,
        firm: FirmId,
        endpoint: &Endpoint,
        secret: &SigningSecret,
        most: i64,
        audit: &AuditEntry,
    ) -> Result<bool, AppError>;
    /// Writes what of it can change; false if it is gone.
    async fn change_endpoint(
        &self,
        firm: FirmId,
        endpoint: &Endpoint,
        audit: &AuditEntry,
    ) -> Result<bool, AppError>;
    /// Removes one with its deliveries; false if there is none.
    async fn remove_endpoint(
        &self,
        firm: FirmId,
        id: WebhookId,
        audit: &AuditEntry,
    ) -> Result<bool, AppError>;
    /// Adds a secret; the one before it signs until `until`. False if there is no endpoint.
    async fn rotate_secret(
        &self,
        firm: FirmId,
        id: WebhookId,
        secret: &SigningSecret,
        at: Timestamp,
        until: Timestamp,
        audit: &AuditEntry,
    ) -> Result<bool, AppError>;
    /// Adds a delivery outside of any message, with the job of its first attempt.
    async fn add_delivery(
        &self,
        firm: FirmId,
        delivery: &NewDelivery,
        audit: &AuditEntry,
    ) -> Result<(), AppError>;
    /// An endpoint's deliveries, the newest first, after the one that a page ended with.
    async fn deliveries(
        &self,
        firm: FirmId,
        endpoint: WebhookId,
        state: Option<DeliveryState>,
        after: Option<(Timestamp, DeliveryId)>,
        limit: i64,
    ) -> Result<Vec<Delivery>, AppError>;
    /// One of them with its attempts, the first first.
    async fn delivery(
        &self,
        firm: FirmId,
        endpoint: WebhookId,
        id: DeliveryId,
    ) -> Result<Option<(Delivery, Vec<Attempt>)>, AppError>;
    /// Begins the schedule of one that is settled or waits anew, with the job of its next attempt; false if there is none.
    async fn send_again(
        &self,
        firm: FirmId,
        endpoint: WebhookId,
        id: DeliveryId,
        at: Timestamp,
        audit: &AuditEntry,
    ) -> Result<bool, AppError>;
    /// The same for all that failed and were created since then, the oldest first, at most so many; how many.
    async fn recover(
        &self,
        firm: FirmId,
        endpoint: WebhookId,
        since: Timestamp,
        most: i64,
        at: Timestamp,
        audit: &AuditEntry,
    ) -> Result<i64, AppError>;
    /// A delivery of which attempt `attempt` is to be made; none if it was made or is not wanted any more. One whose
    /// endpoint is disabled is given up here.
    async fn due_delivery(
        &self,
        firm: FirmId,
        endpoint: WebhookId,
        id: DeliveryId,
        attempt: i32,
        at: Timestamp,
    ) -> Result<Option<Due>, AppError>;
    /// Writes what an attempt came to; false if it was written before.
    async fn came(&self, firm: FirmId, due: &Due, came: &Came) -> Result<bool, AppError>;
    /// Takes away deliveries of all firms from before an instant, and secrets that have expired; how many rows.
    async fn forget_deliveries(&self, before: Timestamp, now: Timestamp) -> Result<u64, AppError>;
}

/// A page of deliveries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deliveries {
    /// The newest first.
    pub items: Vec<Delivery>,
    /// Where to read on; nothing at the end.
    pub next: Option<String>,
}

/// The use cases of webhooks.
pub struct Webhooks {
    store: Arc<dyn WebhookStore>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    urls: UrlPolicy,
}

impl fmt::Debug for Webhooks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Webhooks").finish_non_exhaustive()
    }
}

impl Webhooks {
    /// Over a store.
    pub fn new(
        store: Arc<dyn WebhookStore>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
        urls: UrlPolicy,
    ) -> Self {
        Self { store, clock, rng, urls }
    }

    /// The firm's endpoints, the oldest first.
    pub async fn list(&self, context: &Context) -> Result<Vec<Endpoint>, AppError> {
        context.demand(Permission::ManageWebhooks)?;
        self.store.endpoints(context.firm).await
    }

    /// One of them.
    pub async fn get(&self, context: &Context, id: WebhookId) -> Result<Endpoint, AppError> {
        context.demand(Permission::ManageWebhooks)?;
        self.store.endpoint(context.firm, id).await?.ok_or(AppError::NotFound("webhook"))
    }

    /// Adds one. Its secret is told here and never again.
    pub async fn add(
        &self,
        context: &Context,
        new: NewEndpoint,
    ) -> Result<(Endpoint, SigningSecret), AppError> {
        context.demand(Permission::ManageWebhooks)?;
        let at = self.clock.now();
        let endpoint = Endpoint {
            id: WebhookId::random(at, &*self.rng),
            url: new.url.trim().to_owned(),
            description: new.description.trim().to_owned(),
            topics: topics_in_order(new.topics),
            created_at: at,
            disabled: None,
            failing_since: None,
            older_secret_until: None,
        };
        self.check(&endpoint)?;
        let secret = SigningSecret::random(&*self.rng);
        let state = shown(&endpoint);
        let digests = Digests::of(None, Some(&state));
        let audit = AuditEntry { digests, ..self.audit(context, "webhook.add", endpoint.id, state) };
        if self.store.add_endpoint(context.firm, &endpoint, &secret, MOST_ENDPOINTS, &audit).await? {
            Ok((endpoint, secret))
        } else {
            let say = format!("A firm has at most {MOST_ENDPOINTS} webhooks; remove one first.");
            Err(AppError::refused("conflict", say))
        }
    }

    /// Changes one. Enabling it begins to count anew how long it fails.
    pub async fn change(
        &self,
        context: &Context,
        id: WebhookId,
        change: EndpointChange,
    ) -> Result<Endpoint, AppError> {
        let mut endpoint = self.get(context, id).await?;
        let before = shown(&endpoint);
        if let Some(url) = change.url {
            url.trim().clone_into(&mut endpoint.url);
        }
        if let Some(description) = change.description {
            description.trim().clone_into(&mut endpoint.description);
        }
        if let Some(topics) = change.topics {
            endpoint.topics = topics_in_order(topics);
        }
        match change.active {
            Some(true) if endpoint.disabled.is_some() => {
                endpoint.disabled = None;
                endpoint.failing_since = None;
            }
            Some(false) if endpoint.disabled.is_none() => {
                endpoint.disabled = Some((Disabled::ByHand, self.clock.now()));
            }
            Some(_) | None => {}
        }
        self.check(&endpoint)?;
        let state = shown(&endpoint);
        let digests = Digests::of(Some(&before), Some(&state));
        let audit = AuditEntry { digests, ..self.audit(context, "webhook.change", id, state) };
        if self.store.change_endpoint(context.firm, &endpoint, &audit).await? {
            Ok(endpoint)
        } else {
            Err(AppError::NotFound("webhook"))
        }
    }

    /// Removes one with its deliveries.
    pub async fn remove(&self, context: &Context, id: WebhookId) -> Result<(), AppError> {
        let endpoint = self.get(context, id).await?;
        let state = shown(&endpoint);
        let digests = Digests::of(Some(&state), None);
        let audit = AuditEntry { digests, ..self.audit(context, "webhook.remove", id, state) };
        if self.store.remove_endpoint(context.firm, id, &audit).await? {
            Ok(())
        } else {
            Err(AppError::NotFound("webhook"))
        }
    }

    /// Gives one a new secret, told here and never again. The one before signs too for [`GRACE`].
    pub async fn rotate(
        &self,
        context: &Context,
        id: WebhookId,
    ) -> Result<(SigningSecret, Timestamp), AppError> {
        context.demand(Permission::ManageWebhooks)?;
        let at = self.clock.now();
        let until = at.after(GRACE).map_err(|error| AppError::bug("reading the time")(Box::new(error)))?;
        let secret = SigningSecret::random(&*self.rng);
        let audit = self.audit(context, "webhook.rotate_secret", id, json!({ "older_until": until }));
        if self.store.rotate_secret(context.firm, id, &secret, at, until, &audit).await? {
            Ok((secret, until))
        } else {
            Err(AppError::NotFound("webhook"))
        }
    }

    /// Sends a test event, whatever topics the endpoint asks for.
    pub async fn test(&self, context: &Context, id: WebhookId) -> Result<DeliveryId, AppError> {
        let endpoint = self.get(context, id).await?;
        if endpoint.disabled.is_some() {
            return Err(AppError::refused("webhook_disabled", "Enable the webhook first."));
        }
        let at = self.clock.now();
        let delivery = DeliveryId::random(at, &*self.rng);
        let new = NewDelivery {
            endpoint: id,
            id: delivery,
            message: format!("msg_{}", delivery.uuid().simple()),
            topic: TEST.to_owned(),
            body: body(TEST, at, &json!({ "webhook": id, "note": "Sent by hand to try the connection." })),
            at,
        };
        let audit = self.audit(context, "webhook.test", id, json!({ "delivery": delivery }));
        self.store.add_delivery(context.firm, &new, &audit).await?;
        Ok(delivery)
    }

    /// A page of an endpoint's deliveries.
    pub async fn deliveries(
        &self,
        context: &Context,
        id: WebhookId,
        state: Option<DeliveryState>,
        cursor: Option<&str>,
        limit: i64,
    ) -> Result<Deliveries, AppError> {
        self.get(context, id).await?;
        let after = cursor.map(read_cursor).transpose()?;
        let one_more = limit.saturating_add(1);
        let mut items = self.store.deliveries(context.firm, id, state, after, one_more).await?;
        let wanted = usize::try_from(limit).unwrap_or_default();
        let more = items.len() > wanted;
        items.truncate(wanted);
        let next =
            items.last().filter(|_| more).map(|last| format!("{}_{}", last.created_at.micros(), last.id));
        Ok(Deliveries { items, next })
    }

    /// One of them with its attempts, the first first.
    pub async fn delivery(
        &self,
        context: &Context,
        id: WebhookId,
        delivery: DeliveryId,
    ) -> Result<(Delivery, Vec<Attempt>), AppError> {
        context.demand(Permission::ManageWebhooks)?;
        self.store.delivery(context.firm, id, delivery).await?.ok_or(AppError::NotFound("delivery"))
    }

    /// Sends one again, whether it failed, waits or was delivered.
    pub async fn resend(
        &self,
        context: &Context,
        id: WebhookId,
        delivery: DeliveryId,
    ) -> Result<(), AppError> {
        self.enabled(context, id).await?;
        let audit = self.audit(context, "webhook.resend", id, json!({ "delivery": delivery }));
        if self.store.send_again(context.firm, id, delivery, self.clock.now(), &audit).await? {
            Ok(())
        } else {
            Err(AppError::NotFound("delivery"))
        }
    }

    /// Sends everything again that failed and was created since then; how many. What is left over [`MOST_RECOVERED`] is found
    /// by doing it again.
    pub async fn recover(&self, context: &Context, id: WebhookId, since: Timestamp) -> Result<i64, AppError> {
        self.enabled(context, id).await?;
        let audit = self.audit(context, "webhook.recover", id, json!({ "since": since }));
        self.store.recover(context.firm, id, since, MOST_RECOVERED, self.clock.now(), &audit).await
    }

    /// Takes away deliveries older than [`KEPT_DAYS`], and secrets that sign no more; how many rows.
    pub async fn forget(&self) -> Result<u64, AppError> {
        let now = self.clock.now();
        let before = Span::from_days(KEPT_DAYS).and_then(|kept| now.before(kept));
        let before = before.map_err(|error| AppError::bug("reading the time")(Box::new(error)))?;
        self.store.forget_deliveries(before, now).await
    }

    async fn enabled(&self, context: &Context, id: WebhookId) -> Result<(), AppError> {
        if self.get(context, id).await?.disabled.is_some() {
            return Err(AppError::refused("webhook_disabled", "Enable the webhook first."));
        }
        Ok(())
    }

    fn check(&self, endpoint: &Endpoint) -> Result<(), AppError> {
        let mut faults = Vec::new();
        let mut fault = |pointer: String, say: String| {
            faults.push(FieldError { pointer, code: "validation_failed", say });
        };
        if let Err(say) = self.urls.read(&endpoint.url) {
            fault("/url".to_owned(), say);
        }
        if endpoint.description.chars().count() > 200 {
            fault("/description".to_owned(), "Use at most 200 characters.".to_owned());
        }
        if !(1..=50).contains(&endpoint.topics.len()) {
            fault("/topics".to_owned(), "Name 1 to 50 topics; * stands for all.".to_owned());
        }
        for (place, topic) in endpoint.topics.iter().enumerate() {
            if !is_topic(topic) {
                let say = format!("{topic:?} is no topic; use account.breached, account.* or *.");
                fault(format!("/topics/{place}"), say);
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(AppError::Invalid(faults)) }
    }

    fn audit(&self, context: &Context, action: &str, id: WebhookId, detail: serde_json::Value) -> AuditEntry {
        AuditEntry {
            firm: context.firm,
            at: self.clock.now(),
            actor: context.actor.as_ref().map(|actor| actor.person),
            action: action.to_owned(),
            object_kind: "webhook",
            object: id.to_string(),
            request: Some(context.request),
            purpose: String::new(),
            digests: Digests::default(),
            detail,
        }
    }
}

/// One content, one order.
fn topics_in_order(mut topics: Vec<String>) -> Vec<String> {
    topics.sort();
    topics.dedup();
    topics
}

fn is_topic(text: &str) -> bool {
    let is_word = |word: &str| {
        (1..=40).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_')
    };
    text == "*"
        || text
            .split_once('.')
            .is_some_and(|(family, rest)| is_word(family) && (rest == "*" || is_word(rest)))
}

/// An endpoint in the audit log.
fn shown(endpoint: &Endpoint) -> serde_json::Value {
    json!({
        "url": endpoint.url,
        "description": endpoint.description,
        "topics": endpoint.topics,
        "disabled": endpoint.disabled.map(|(why, _)| why.word()),
    })
}

fn read_cursor(text: &str) -> Result<(Timestamp, DeliveryId), AppError> {
    let wrong = || AppError::field("/cursor", "Give next_cursor of the page before.");
    let (at, id) = text.split_once('_').ok_or_else(wrong)?;
    let at = at.parse().map_err(|_| wrong())?;
    Ok((Timestamp::from_micros(at), id.parse().map_err(|_| wrong())?))
}

/// Makes attempts: what a worker does for a job of kind [`DELIVER`].
#[derive(Clone)]
pub struct Deliverer {
    store: Arc<dyn WebhookStore>,
    sender: Arc<dyn WebhookSender>,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

impl fmt::Debug for Deliverer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Deliverer").finish_non_exhaustive()
    }
}

impl Deliverer {
    /// Over a store and whoever sends.
    pub fn new(
        store: Arc<dyn WebhookStore>,
        sender: Arc<dyn WebhookSender>,
        clock: Arc<dyn Clock>,
        rng: Arc<dyn Rng>,
    ) -> Self {
        Self { store, sender, clock, rng }
    }

    /// Makes one attempt, unless it was made or is not wanted any more. An error is ours; what the receiver did wrong is
    /// written down and tried again by the schedule.
    pub async fn attempt(
        &self,
        firm: FirmId,
        endpoint: WebhookId,
        delivery: DeliveryId,
        number: i32,
    ) -> Result<(), AppError> {
        let at = self.clock.now();
        let Some(due) = self.store.due_delivery(firm, endpoint, delivery, number, at).await? else {
            return Ok(());
        };
        let outgoing = Outgoing {
            url: due.endpoint.url.clone(),
            headers: headers(&due.delivery.message, at, due.delivery.body.as_bytes(), &due.secrets),
            body: due.delivery.body.clone(),
        };
        let sent = self.sender.send(&outgoing).await;
        let now = self.clock.now();
        let took = now.since(at).unwrap_or(Span::ZERO);
        let (attempt, retry_after) = match sent {
            Ok(Answer { status, body, retry_after }) => {
                let (status, answer) = (Some(status), Some(body));
                (Attempt { number, at, took, status, answer, error: None }, retry_after)
            }
            Err(NoAnswer { say, source }) => {
                if let Some(source) = source {
                    tracing::info!(%endpoint, %delivery, error = &*source, "a webhook was not reached");
                }
                let error = Some(say);
                (Attempt { number, at, took, status: None, answer: None, error }, None)
            }
        };
        let tried = due.delivery.tried.saturating_add(1);
        let next = next(&attempt, tried, retry_after, now, self.chance());
        let job = match next {
            Next::Again(then) => Some(attempt_job(firm, endpoint, delivery, number.saturating_add(1), then)),
            Next::Delivered | Next::Failed | Next::Gone => None,
        };
        let failing = due.endpoint.failing_since.is_some_and(|since| has_failed_long_enough(since, now));
        let why = match next {
            Next::Delivered => None,
            Next::Gone => Some(Disabled::Gone),
            Next::Again(_) | Next::Failed => failing.then_some(Disabled::Failing),
        };
        let disable = why.map(|why| disabling(firm, &due.endpoint, why, now));
        // Nothing is sent to one that is disabled.
        let job = job.filter(|_| disable.is_none());
        let came = Came { attempt, next, job, disable, at: now };
        self.store.came(firm, &due, &came).await?;
        Ok(())
    }

    fn chance(&self) -> i64 {
        let mut bytes = [0; 4];
        self.rng.fill(&mut bytes);
        i64::from(u32::from_le_bytes(bytes)).rem_euclid(10_000)
    }
}

fn disabling(firm: FirmId, endpoint: &Endpoint, why: Disabled, at: Timestamp) -> Disabling {
    let said = match why {
        Disabled::Gone => "It answered 410 Gone.".to_owned(),
        Disabled::Failing | Disabled::ByHand => {
            let since = endpoint.failing_since.map_or_else(String::new, |since| format!(" since {since}"));
            format!("No attempt has succeeded{since}.")
        }
    };
    Disabling {
        why,
        audit: AuditEntry {
            firm,
            at,
            actor: None,
            action: "webhook.disable".to_owned(),
            object_kind: "webhook",
            object: endpoint.id.to_string(),
            request: None,
            purpose: String::new(),
            digests: Digests::default(),
            detail: json!({ "url": endpoint.url, "because": why.word() }),
        },
        told: Told {
            headline: endpoint.url.clone(),
            sentences: vec![
                said,
                "Nothing is sent to it any more. Once it works, enable it and recover what failed."
                    .to_owned(),
            ],
            webhook: Some(endpoint.id),
            ..Told::default()
        },
    }
}

/// What the firm's people are told when an endpoint is disabled.
pub const DISABLED_NOTE: Kind = Kind::WebhookDisabled;

/// The id of that note for one of them.
pub fn disabled_note(endpoint: WebhookId, at: Timestamp, person: kernel::PersonId) -> NotificationId {
    let (endpoint, person) = (endpoint.uuid(), person.uuid());
    NotificationId::derived(&[
        b"webhook disabled",
        endpoint.as_bytes(),
        &at.micros().to_be_bytes(),
        person.as_bytes(),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(status: Option<u16>) -> Attempt {
        let at = Timestamp::EPOCH;
        Attempt { number: 1, at, took: Span::ZERO, status, answer: None, error: None }
    }

    #[test]
    fn topics_are_asked_for_by_name_family_or_all() {
        let asks = |topics: &[&str], topic| {
            takes(&topics.iter().map(|topic| (*topic).to_owned()).collect::<Vec<_>>(), topic)
        };
        assert!(asks(&["*"], "account.breached"));
        assert!(asks(&["purchase.paid", "account.*"], "account.breached"));
        assert!(!asks(&["account.*"], "accounting.done"));
        assert!(!asks(&["account.breach"], "account.breached"));
        assert!(!asks(&["*", "account.*"], "account.traded") && asks(&["account.traded"], "account.traded"));
        for good in ["*", "account.*", "account.payout_refused"] {
            assert!(is_topic(good), "{good}");
        }
        for bad in ["", "account", "account.", ".x", "a.b.c", "Account.*", "account.b*", "**"] {
            assert!(!is_topic(bad), "{bad}");
        }
    }

    #[test]
    fn a_body_has_its_members_in_one_order() {
        let at = Timestamp::parse("2026-01-05T10:00:00Z").unwrap();
        let made = body("account.\"x", at, &json!({ "b": 1, "a": "2" }));
        assert_eq!(
            made,
            r#"{"type":"account.\"x","timestamp":"2026-01-05T10:00:00.000000Z","data":{"a":"2","b":1}}"#
        );
    }

    #[test]
    fn attempts_follow_the_schedule_of_seven_pauses() {
        let now = Timestamp::EPOCH;
        let pauses = [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000];
        for status in [None, Some(500), Some(302), Some(404), Some(429)] {
            for (place, seconds) in pauses.into_iter().enumerate() {
                let tried = i32::try_from(place).unwrap() + 1;
                for (chance, least_extra) in [(0, 0), (9_999, i64::from(seconds) * 99_990)] {
                    let then = now.after(Span::from_micros(i64::from(seconds) * 1_000_000 + least_extra));
                    assert_eq!(
                        next(&attempt(status), tried, None, now, chance),
                        Next::Again(then.unwrap()),
                        "attempt {tried}"
                    );
                }
            }
            assert_eq!(next(&attempt(status), 8, None, now, 0), Next::Failed);
        }
        assert_eq!(next(&attempt(Some(204)), 1, None, now, 0), Next::Delivered);
        assert_eq!(next(&attempt(Some(410)), 1, None, now, 0), Next::Gone);
    }

    #[test]
    fn a_receiver_may_ask_for_time_within_bounds() {
        let now = Timestamp::EPOCH;
        let wait = |asked| match next(&attempt(Some(503)), 1, Some(Span::from_seconds(asked)), now, 0) {
            Next::Again(then) => then.since(now).unwrap().micros() / 1_000_000,
            other @ (Next::Delivered | Next::Failed | Next::Gone) => panic!("{other:?}"),
        };
        assert_eq!(wait(1), 5, "no sooner than by the schedule");
        assert_eq!(wait(120), 120);
        assert_eq!(wait(1_000_000), 36_000);
    }

    #[test]
    fn five_days_of_failure_are_enough() {
        let since = Timestamp::EPOCH;
        let after = |seconds| since.after(Span::from_seconds(seconds)).unwrap();
        assert!(!has_failed_long_enough(since, after(5 * 86_400 - 1)));
        assert!(has_failed_long_enough(since, after(5 * 86_400)));
    }
}
