//! What the firm's own systems are told: signed, tried again by the schedule, given up in sight, and found again.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;

use crate::common::{hook, message, somebody, webhooks};
use app::events::{Consumer as _, Message};
use app::jobs::{Claim, Ended, JobHandler, JobStore as _, Outcome};
use app::notifications::{Kind, Notifications};
use app::webhooks::{
    Deliverer, DeliveryState, Disabled, EndpointChange, FAILING_DAYS, GRACE, MOST_ENDPOINTS, NewEndpoint,
    QUEUE, SigningSecret, UrlPolicy, Webhooks, headers,
};
use app::{AppError, Context};
use kernel::{Clock as _, DeliveryId, FirmId, Span, Timestamp, WebhookId};
use providers::webhooks::{Limits, SystemLookup, WebhookClient};
use serde_json::json;
use sqlx::AssertSqlSafe;
use testkit::World;
use testkit::receiver::{Receiver, Reply};
use workers::webhooks::{Deliver, WebhookTaker};

struct Hooked {
    world: World,
    firm: FirmId,
    admin: Context,
    hooks: Webhooks,
    taker: WebhookTaker,
    deliverer: Deliverer,
    handler: Deliver,
}

async fn hooked() -> Hooked {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let admin = world.context_of(firm, &world.admin(firm, "ada").await);
    let urls = UrlPolicy { loopback: true, ..UrlPolicy::default() };
    let limits = Limits { total: std::time::Duration::from_secs(5), ..Limits::default() };
    let roots = providers::webhooks::RootCertStore::empty();
    let client =
        WebhookClient::with(urls, world.clock.clone(), Arc::new(SystemLookup), limits, roots).unwrap();
    let deliverer =
        Deliverer::new(world.store.clone(), Arc::new(client), world.clock.clone(), world.rng.clone());
    Hooked {
        firm,
        admin,
        hooks: webhooks(&world),
        taker: WebhookTaker::new(world.store.clone(), world.clock.clone()),
        handler: Deliver::new(deliverer.clone()),
        deliverer,
        world,
    }
}

impl Hooked {
    fn now(&self) -> Timestamp {
        self.world.clock.now()
    }

    async fn happens(&self, id: i64, topic: &str) {
        let payload = json!({ "account": "0198", "verdict": 1, "rule": "daily_loss" });
        let message = message(self.firm, id, "account:0198", topic, payload);
        self.taker.take(self.firm, &[message]).await.unwrap();
    }

    /// Does what a worker does with the attempts that are due; how many.
    async fn work(&self) -> usize {
        let lease = Span::from_seconds(60);
        let claim = Claim { queue: QUEUE, most: 100, owner: somebody(), lease, now: self.now() };
        let jobs = self.world.store.claim(claim).await.unwrap();
        for job in &jobs {
            let outcome = Outcome::of(self.handler.run(job).await);
            assert_eq!(outcome, Outcome::Done, "what a receiver does is no failure of the job");
            let ended = Ended { id: job.id, attempt: job.attempt, outcome };
            self.world.store.settle(somebody(), &[ended], self.now()).await.unwrap();
        }
        jobs.len()
    }

    async fn all(&self, id: WebhookId) -> Vec<app::webhooks::Delivery> {
        self.hooks.deliveries(&self.admin, id, None, None, 100).await.unwrap().items
    }

    async fn only(&self, id: WebhookId) -> app::webhooks::Delivery {
        let all = self.all(id).await;
        let [one] = all.try_into().unwrap_or_else(|all| panic!("{all:?}"));
        one
    }

    async fn count(&self, what: &str) -> i64 {
        let mut connection = self.world.database.superuser().await;
        let sql = format!("select count(*) from {what}");
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut connection).await.unwrap()
    }
}

#[tokio::test]
async fn a_message_reaches_every_endpoint_that_asks_for_it_signed_once() {
    let hooked = hooked().await;
    let (one, other) = (Receiver::open().await, Receiver::open().await);
    let new = NewEndpoint {
        url: one.url(),
        description: String::new(),
        topics: vec!["account.*".to_owned(), "account.*".to_owned()],
    };
    let (endpoint, secret) = hooked.hooks.add(&hooked.admin, new).await.unwrap();
    let payments = hook(&hooked.world, &hooked.admin, &other.url(), &["purchase.paid"]).await;
    hooked.happens(1, "account.breached").await;
    hooked.happens(1, "account.breached").await;
    assert_eq!(hooked.work().await, 1);
    let [sent] = one.sent().try_into().unwrap_or_else(|sent| panic!("{sent:?}"));
    assert!(other.sent().is_empty() && hooked.all(payments.id).await.is_empty());

    let body: serde_json::Value = serde_json::from_str(&sent.body).unwrap();
    assert_eq!(body["type"], "account.breached");
    assert_eq!(body["timestamp"], "2026-01-05T10:00:00.000000Z");
    assert_eq!(body["data"]["rule"], "daily_loss");
    // The receiver's own check: the secret it was told, over the bytes it got.
    let secret = SigningSecret::parse(&secret.reveal()).unwrap();
    let expected = headers(sent.header("webhook-id"), hooked.now(), sent.body.as_bytes(), &[secret]);
    assert_eq!(sent.header("webhook-signature"), expected.signature);
    assert_eq!(sent.header("webhook-timestamp"), expected.timestamp);

    let delivery = hooked.only(endpoint.id).await;
    assert_eq!((delivery.state, delivery.attempts), (DeliveryState::Delivered, 1));
    let (_, attempts) = hooked.hooks.delivery(&hooked.admin, endpoint.id, delivery.id).await.unwrap();
    assert_eq!(attempts.iter().map(|attempt| attempt.status).collect::<Vec<_>>(), [Some(204)]);
    assert_eq!(hooked.work().await, 0);
    // A job that runs a second time, because its worker died, makes no second attempt.
    hooked.deliverer.attempt(hooked.firm, endpoint.id, delivery.id, 1).await.unwrap();
    assert_eq!(one.sent().len(), 1);
}

#[tokio::test]
async fn an_endpoint_that_is_slow_holds_up_no_other() {
    let hooked = hooked().await;
    let (slow, quick) = (Receiver::open().await, Receiver::open().await);
    slow.reply(Reply::Silent);
    hook(&hooked.world, &hooked.admin, &slow.url(), &["account.breached"]).await;
    hook(&hooked.world, &hooked.admin, &quick.url(), &["account.passed"]).await;
    for id in 1..=10 {
        hooked.happens(id, "account.breached").await;
    }
    hooked.happens(11, "account.passed").await;
    let claim = Claim {
        queue: QUEUE,
        most: 100,
        owner: somebody(),
        lease: Span::from_seconds(60),
        now: hooked.now(),
    };
    let jobs = hooked.world.store.claim(claim).await.unwrap();
    let outcomes = futures_util::future::join_all(jobs.iter().map(|job| hooked.handler.run(job))).await;
    let waits: Vec<i64> = outcomes
        .iter()
        .filter_map(|outcome| match outcome {
            Err(app::jobs::JobError::Later(wait)) => Some(wait.micros()),
            _ => None,
        })
        .collect();
    assert_eq!((waits.len(), slow.sent().len(), quick.sent().len()), (6, 4, 1));
    // They come back one after the other and not all at once.
    assert!(waits.is_sorted() && waits[0] < waits[5], "{waits:?}");
}

#[tokio::test]
async fn attempts_come_by_the_schedule_and_end() {
    let hooked = hooked().await;
    let receiver = Receiver::open().await;
    receiver.reply(Reply::Answer(500, String::new(), "out of order".to_owned()));
    let endpoint = hook(&hooked.world, &hooked.admin, &receiver.url(), &["*"]).await;
    hooked.happens(1, "account.breached").await;
    for (place, pause) in [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000].into_iter().enumerate() {
        assert_eq!(hooked.work().await, 1, "attempt {}", place + 1);
        let delivery = hooked.only(endpoint.id).await;
        assert_eq!(delivery.state, DeliveryState::Waiting);
        let next_at = delivery.next_at.unwrap();
        let wait = next_at.since(hooked.now()).unwrap().micros();
        assert!(
            (pause * 1_000_000..=pause * 1_100_000).contains(&wait),
            "after attempt {}: {wait} µs",
            place + 1
        );
        hooked.world.clock.set(next_at.before(Span::from_micros(1)).unwrap());
        assert_eq!(hooked.work().await, 0, "not a moment early");
        hooked.world.clock.set(next_at);
    }
    assert_eq!(hooked.work().await, 1);
    let delivery = hooked.only(endpoint.id).await;
    assert_eq!((delivery.state, delivery.attempts, delivery.next_at), (DeliveryState::Failed, 8, None));
    hooked.world.clock.advance(Span::from_seconds(86_400));
    assert_eq!(hooked.work().await, 0);
    let (_, attempts) = hooked.hooks.delivery(&hooked.admin, endpoint.id, delivery.id).await.unwrap();
    assert_eq!(
        attempts.iter().map(|attempt| attempt.number).collect::<Vec<_>>(),
        (1..=8).collect::<Vec<_>>()
    );
    assert!(attempts.iter().all(|attempt| attempt.answer.as_deref() == Some("out of order")));
    let sent = receiver.sent();
    assert!(sent.iter().all(|one| one.header("webhook-id") == delivery.message), "one id for every attempt");
    assert!(sent.iter().all(|one| one.body == delivery.body), "the same bytes");
    let times: std::collections::BTreeSet<_> =
        sent.iter().map(|one| one.header("webhook-timestamp")).collect();
    assert_eq!(times.len(), 8, "each is signed with its own time");
}

#[tokio::test]
async fn a_receiver_may_ask_for_time() {
    let hooked = hooked().await;
    let receiver = Receiver::open().await;
    receiver.reply(Reply::Answer(429, "retry-after: 600\r\n".to_owned(), String::new()));
    let endpoint = hook(&hooked.world, &hooked.admin, &receiver.url(), &["*"]).await;
    hooked.happens(1, "account.breached").await;
    hooked.work().await;
    let wait = hooked.only(endpoint.id).await.next_at.unwrap().since(hooked.now()).unwrap();
    assert_eq!(wait, Span::from_seconds(600));
}

#[tokio::test]
async fn an_endpoint_that_fails_for_days_is_disabled_and_what_it_missed_is_found_again() {
    let hooked = hooked().await;
    let receiver = Receiver::open().await;
    receiver.reply(Reply::HangUp);
    let endpoint = hook(&hooked.world, &hooked.admin, &receiver.url(), &["*"]).await;
    let began = hooked.now();
    hooked.happens(1, "account.breached").await;
    hooked.work().await;
    assert_eq!(hooked.hooks.get(&hooked.admin, endpoint.id).await.unwrap().failing_since, Some(began));
    // A success in between begins the count anew.
    receiver.reply(Reply::status(200));
    hooked.world.clock.advance(Span::from_seconds(6));
    hooked.work().await;
    assert_eq!(hooked.hooks.get(&hooked.admin, endpoint.id).await.unwrap().failing_since, None);

    receiver.reply(Reply::status(503));
    let began = hooked.now();
    for day in 0..=FAILING_DAYS {
        hooked.happens(10 + i64::from(day), "account.passed").await;
        while hooked.work().await > 0 {}
        let state = hooked.hooks.get(&hooked.admin, endpoint.id).await.unwrap();
        assert_eq!(state.disabled.is_some(), day == FAILING_DAYS, "day {day}");
        if day < FAILING_DAYS {
            hooked.world.clock.advance(Span::from_seconds(86_400));
        }
    }
    let state = hooked.hooks.get(&hooked.admin, endpoint.id).await.unwrap();
    assert_eq!(state.disabled.unwrap().0, Disabled::Failing);
    assert_eq!(state.failing_since, Some(began));

    // The firm's people are told in the application and by mail; the log says that nobody did it.
    let notifications = Notifications::new(
        hooked.world.store.clone(),
        hooked.world.clock.clone(),
        hooked.world.rng.clone(),
        None,
    );
    let inbox = notifications.inbox(&hooked.admin, None, 10).await.unwrap();
    assert_eq!(inbox.items.iter().map(|note| note.kind).collect::<Vec<_>>(), [Kind::WebhookDisabled]);
    assert_eq!(inbox.items.first().unwrap().told.path(), format!("/operate/webhooks/{}", endpoint.id));
    assert_eq!(hooked.count("mails where kind = 'webhook_disabled'").await, 1);
    assert_eq!(hooked.count("audit_entries where action = 'webhook.disable' and actor_id is null").await, 1);

    // It is sent nothing: what waited is given up, what happens now is not even written for it.
    let before = receiver.sent().len();
    hooked.happens(99, "account.passed").await;
    hooked.world.clock.advance(Span::from_seconds(86_400));
    while hooked.work().await > 0 {}
    assert_eq!(receiver.sent().len(), before);
    let waiting =
        hooked.hooks.deliveries(&hooked.admin, endpoint.id, Some(DeliveryState::Waiting), None, 9).await;
    assert!(waiting.unwrap().items.is_empty());
    assert_eq!(hooked.all(endpoint.id).await.len(), 7);
    for refused in [
        hooked.hooks.recover(&hooked.admin, endpoint.id, began).await.map(|_| ()),
        hooked.hooks.test(&hooked.admin, endpoint.id).await.map(|_| ()),
    ] {
        assert!(matches!(refused, Err(AppError::Refused { code: "webhook_disabled", .. })), "{refused:?}");
    }

    receiver.reply(Reply::status(200));
    let enable = EndpointChange { active: Some(true), ..EndpointChange::default() };
    let enabled = hooked.hooks.change(&hooked.admin, endpoint.id, enable).await.unwrap();
    assert_eq!((enabled.disabled, enabled.failing_since), (None, None));
    let later = began.after(Span::from_seconds(86_400)).unwrap();
    assert_eq!(hooked.hooks.recover(&hooked.admin, endpoint.id, later).await.unwrap(), 5);
    assert_eq!(
        hooked.hooks.recover(&hooked.admin, endpoint.id, began).await.unwrap(),
        1,
        "the others are on their way"
    );
    assert_eq!(hooked.work().await, 6);
    assert!(hooked.all(endpoint.id).await.iter().all(|delivery| delivery.state == DeliveryState::Delivered));
}

#[tokio::test]
async fn one_that_says_it_is_gone_is_disabled_at_once() {
    let hooked = hooked().await;
    let receiver = Receiver::open().await;
    receiver.reply(Reply::status(410));
    let endpoint = hook(&hooked.world, &hooked.admin, &receiver.url(), &["*"]).await;
    hooked.happens(1, "account.breached").await;
    hooked.happens(2, "account.passed").await;
    while hooked.work().await > 0 {}
    assert_eq!(receiver.sent().len(), 1);
    let state = hooked.hooks.get(&hooked.admin, endpoint.id).await.unwrap();
    assert_eq!(state.disabled.unwrap().0, Disabled::Gone);
    assert!(hooked.all(endpoint.id).await.iter().all(|delivery| delivery.state == DeliveryState::Failed));
    assert_eq!(hooked.count("notifications where kind = 'webhook_disabled'").await, 1);
}

#[tokio::test]
async fn an_older_secret_signs_too_until_its_time_is_over() {
    let hooked = hooked().await;
    let receiver = Receiver::open().await;
    let new = NewEndpoint { url: receiver.url(), description: String::new(), topics: vec!["*".to_owned()] };
    let (endpoint, first) = hooked.hooks.add(&hooked.admin, new).await.unwrap();
    let (second, until) = hooked.hooks.rotate(&hooked.admin, endpoint.id).await.unwrap();
    assert_eq!(until, hooked.now().after(GRACE).unwrap());
    assert_ne!(first, second);
    let shown = hooked.hooks.get(&hooked.admin, endpoint.id).await.unwrap();
    assert_eq!(shown.older_secret_until, Some(until));
    let mut signing = vec![vec![second.clone(), first.clone()]];
    hooked.happens(1, "account.breached").await;
    hooked.work().await;
    hooked.world.clock.set(until);
    signing.push(vec![second]);
    hooked.happens(2, "account.passed").await;
    hooked.work().await;
    for (sent, secrets) in receiver.sent().iter().zip(signing) {
        let at = sent.header("webhook-timestamp").parse::<i64>().unwrap();
        let at = Timestamp::from_micros(at * 1_000_000);
        let expected = headers(sent.header("webhook-id"), at, sent.body.as_bytes(), &secrets);
        assert_eq!(sent.header("webhook-signature"), expected.signature);
    }
    assert_eq!(receiver.sent().len(), 2);
    hooked.world.clock.advance(Span::from_seconds(1));
    assert_eq!(hooked.hooks.forget().await.unwrap(), 1, "the older secret is gone for good");
    // Use cases write secrets and cannot read them.
    let mut app = hooked.world.database.role("tradesense_app").await;
    let read = sqlx::query("select secret from webhook_secrets").fetch_all(&mut app).await;
    let code = read.unwrap_err().into_database_error().unwrap().code().unwrap().into_owned();
    assert_eq!(code, "42501");
}

#[tokio::test]
async fn a_delivery_is_sent_again_by_hand_and_a_test_event_whatever_is_asked_for() {
    let hooked = hooked().await;
    let receiver = Receiver::open().await;
    let endpoint = hook(&hooked.world, &hooked.admin, &receiver.url(), &["release.*"]).await;
    let test = hooked.hooks.test(&hooked.admin, endpoint.id).await.unwrap();
    assert_eq!(hooked.work().await, 1);
    let delivery = hooked.only(endpoint.id).await;
    assert_eq!((delivery.id, delivery.topic.as_str()), (test, "webhook.test"));
    assert_eq!(delivery.state, DeliveryState::Delivered);

    for attempts in 2..=3 {
        hooked.hooks.resend(&hooked.admin, endpoint.id, test).await.unwrap();
        assert_eq!(hooked.work().await, 1);
        assert_eq!(hooked.only(endpoint.id).await.attempts, attempts);
    }
    // Twice before a worker came: one attempt.
    for _ in 0..2 {
        hooked.hooks.resend(&hooked.admin, endpoint.id, test).await.unwrap();
    }
    hooked.work().await;
    assert_eq!((receiver.sent().len(), hooked.only(endpoint.id).await.attempts), (4, 4));
    let nowhere = DeliveryId::derived(&[b"nowhere"]);
    let refused = hooked.hooks.resend(&hooked.admin, endpoint.id, nowhere).await;
    assert!(matches!(refused, Err(AppError::NotFound("delivery"))), "{refused:?}");
    assert_eq!(hooked.count("audit_entries where action = 'webhook.resend'").await, 4);
    assert_eq!(hooked.count("audit_entries where action = 'webhook.test'").await, 1);
}

#[tokio::test]
async fn only_who_runs_the_firm_says_where_its_systems_are_told() {
    let hooked = hooked().await;
    let endpoint = hook(&hooked.world, &hooked.admin, "https://hooks.example.com/", &["*"]).await;
    let elsewhere = hooked.world.firm("two").await;
    let stranger = hooked.world.context_of(elsewhere, &hooked.world.admin(elsewhere, "eve").await);
    assert!(matches!(hooked.hooks.get(&stranger, endpoint.id).await, Err(AppError::NotFound("webhook"))));
    assert!(hooked.hooks.list(&stranger).await.unwrap().is_empty());
    let rotated = hooked.hooks.rotate(&stranger, endpoint.id).await;
    assert!(matches!(rotated, Err(AppError::NotFound("webhook"))), "{rotated:?}");
    let risk = hooked.world.context_of(hooked.firm, &hooked.world.risk(hooked.firm, "r@one.example").await);
    assert!(matches!(hooked.hooks.list(&risk).await, Err(AppError::Forbidden)));
    assert!(matches!(hooked.hooks.rotate(&risk, endpoint.id).await, Err(AppError::Forbidden)));
    let nobody = hooked.world.context(hooked.firm);
    assert!(matches!(hooked.hooks.list(&nobody).await, Err(AppError::Unauthenticated)));
}

#[tokio::test]
async fn faults_of_an_endpoint_are_all_told_and_there_are_not_too_many() {
    let hooked = hooked().await;
    let strict = Webhooks::new(
        hooked.world.store.clone(),
        hooked.world.clock.clone(),
        hooked.world.rng.clone(),
        UrlPolicy::default(),
    );
    let new = NewEndpoint {
        url: "http://127.0.0.1/".to_owned(),
        description: "x".repeat(201),
        topics: vec!["everything".to_owned()],
    };
    let Err(AppError::Invalid(faults)) = strict.add(&hooked.admin, new).await else { panic!("accepted") };
    let pointers: Vec<_> = faults.iter().map(|fault| fault.pointer.as_str()).collect();
    assert_eq!(pointers, ["/url", "/description", "/topics/0"]);
    for _ in 0..MOST_ENDPOINTS {
        hook(&hooked.world, &hooked.admin, "https://hooks.example.com/", &["*"]).await;
    }
    let new = NewEndpoint {
        url: "https://hooks.example.com/".to_owned(),
        description: String::new(),
        topics: vec!["*".to_owned()],
    };
    let refused = hooked.hooks.add(&hooked.admin, new).await;
    assert!(matches!(refused, Err(AppError::Refused { code: "conflict", .. })), "{refused:?}");
}

#[tokio::test]
async fn a_removed_endpoint_takes_everything_of_its_own_with_it() {
    let hooked = hooked().await;
    let receiver = Receiver::open().await;
    receiver.reply(Reply::status(500));
    let endpoint = hook(&hooked.world, &hooked.admin, &receiver.url(), &["*"]).await;
    hooked.happens(1, "account.breached").await;
    hooked.work().await;
    hooked.hooks.remove(&hooked.admin, endpoint.id).await.unwrap();
    for table in ["webhook_endpoints", "webhook_secrets", "webhook_deliveries", "webhook_attempts"] {
        assert_eq!(hooked.count(table).await, 0, "{table}");
    }
    // The job of the next attempt finds nothing to do.
    hooked.world.clock.advance(Span::from_seconds(600));
    assert_eq!(hooked.work().await, 1);
    assert_eq!(receiver.sent().len(), 1);
    let again = hooked.hooks.remove(&hooked.admin, endpoint.id).await;
    assert!(matches!(again, Err(AppError::NotFound("webhook"))), "{again:?}");
    assert_eq!(hooked.count("audit_entries where action = 'webhook.remove'").await, 1);
}

#[tokio::test]
async fn deliveries_are_listed_page_by_page_and_kept_for_their_time() {
    let hooked = hooked().await;
    let endpoint = hook(&hooked.world, &hooked.admin, "https://hooks.example.com/", &["*"]).await;
    let mut messages: Vec<Message> = Vec::new();
    for id in 1..=7 {
        messages.push(message(hooked.firm, id, "account:1", "account.opened", json!({})));
    }
    hooked.taker.take(hooked.firm, &messages).await.unwrap();
    let (mut seen, mut cursor) = (std::collections::BTreeSet::new(), None);
    loop {
        let page =
            hooked.hooks.deliveries(&hooked.admin, endpoint.id, None, cursor.as_deref(), 3).await.unwrap();
        seen.extend(page.items.iter().map(|delivery| delivery.message.clone()));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(seen.len(), 7);
    hooked.world.clock.advance(Span::from_days(app::webhooks::KEPT_DAYS).unwrap());
    assert_eq!(hooked.hooks.forget().await.unwrap(), 0);
    hooked.world.clock.advance(Span::from_seconds(1));
    assert_eq!(hooked.hooks.forget().await.unwrap(), 7);
}
