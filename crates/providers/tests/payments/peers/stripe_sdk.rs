//! Stripe's own library for Python against our verifier of webhooks and against our fake.

use std::sync::Arc;

use app::payments::port::{About, Distrust, Headers, Mode, Notice, Webhooks as _};
use kernel::{Clock as _, Span, Timestamp};
use providers::payments::stripe::{StripeWebhooks, VERSION};
use serde_json::{Value, json};
use testkit::payments::stripe::{FakeStripe, KEY, SECRET, sign};
use testkit::payments::{Fault, SignedWebhook};

use super::super::clock;
use super::{Library, Wall};

const OLD: &str = "whsec_theoldsecret0123456789";
/// With letters that are more than one byte.
const EVENT: &str = r#"{"id":"evt_1","object":"event","type":"refund.updated","livemode":false,"created":1780304400,
 "data":{"object":{"id":"re_1","object":"refund","metadata":{"note":"Grüße €"}}}}"#;

fn library(address: &str, key: &str) -> Library {
    Library::start("stripe_sdk.py", &[address.trim_end_matches('/'), key, VERSION])
}

/// A method of the library's client.
fn call(name: &str, with: &Value) -> Value {
    json!({"call": name, "with": with})
}

/// A refund under a key.
fn refund(payment: &str, cents: i64, key: &str) -> Value {
    let asked = json!({"payment_intent": payment, "amount": cents, "metadata": {"refund": key}});
    call("v1.refunds.create", &json!([asked, {"idempotency_key": key}]))
}

struct Setting {
    fake: FakeStripe,
    library: Library,
}

impl Setting {
    async fn open() -> Self {
        let fake = FakeStripe::open(clock()).await;
        let library = library(&fake.address(), KEY);
        Self { fake, library }
    }

    fn ask(&mut self, name: &str, with: &Value) -> Value {
        self.library.ask(&call(name, with)).unwrap()
    }

    /// A page of the library's.
    fn page(&mut self) -> Value {
        self.ask("v1.checkout.sessions.create",
            &json!([{
                "mode": "payment", "client_reference_id": "purchase-1", "customer_email": "amina@example.com",
                "line_items": [{"quantity": 1, "price_data": {
                    "currency": "usd", "unit_amount": 10_000, "product_data": {"name": "Two Step 100k & reset"}}}],
                "payment_intent_data": {"metadata": {"purchase": "purchase-1"}},
                "success_url": "https://firm.example/done", "cancel_url": "https://firm.example/back",
            }]),
        )
    }

    /// A page of the library's that is paid; the payment's name.
    fn paid(&mut self) -> String {
        let page = self.page();
        self.fake.pay(page["id"].as_str().unwrap())
    }

    /// The class that the library raises.
    fn raised(&mut self, told: &Value) -> (String, u64) {
        let raised = self.library.ask(told).unwrap_err();
        let class = raised["error"].as_str().unwrap().to_owned();
        (class, raised["status"].as_u64().unwrap_or_default())
    }

    fn end(self) {
        assert_eq!(self.fake.wrong(), [""; 0]);
        assert_eq!(self.library.unknown, [""; 0], "the library knows all that the fake says");
        assert_eq!(self.fake.faults_waiting(), 0);
    }
}

async fn verify(webhook: &SignedWebhook, now: Timestamp) -> Result<Notice, Distrust> {
    let verifier = StripeWebhooks::new(Mode::Test, vec![SECRET.to_owned()]).unwrap();
    verifier.verify(Headers::new(&webhook.headers), &webhook.body, now).await
}

#[tokio::test]
async fn a_webhook_that_stripes_library_signs_is_believed() {
    let mut library = library("http://127.0.0.1:9", KEY);
    let header = library.ask(&json!({"sign": EVENT, "secret": SECRET})).unwrap();
    let signed = SignedWebhook { headers: Vec::new(), body: EVENT.as_bytes().to_vec() }
        .with("stripe-signature", header.as_str());
    let now = Wall.now();
    let notice = verify(&signed, now).await.unwrap();
    assert_eq!((notice.id.as_str(), notice.about), ("evt_1", About::Refund("re_1".to_owned())));
    let altered = EVENT.replace("evt_1", "evt_2").into_bytes();
    let altered = SignedWebhook { body: altered, ..signed.clone() };
    assert_eq!(verify(&altered, now).await, Err(Distrust::WrongSignature));
    let late = now.after(Span::from_seconds(301)).unwrap();
    assert_eq!(verify(&signed, late).await, Err(Distrust::OutOfTime));
    let other = library.ask(&json!({"sign": EVENT, "secret": OLD})).unwrap();
    let other = signed.with("stripe-signature", other.as_str());
    assert_eq!(verify(&other, now).await, Err(Distrust::WrongSignature));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_we_sign_is_believed_by_stripes_library() {
    let fake = FakeStripe::open(Arc::new(Wall)).await;
    let mut library = library(&fake.address(), KEY);
    let mut believes = |webhook: &SignedWebhook, secret: &str| {
        let body = String::from_utf8(webhook.body.clone()).unwrap();
        library.ask(&json!({"believe": body, "header": webhook.header("stripe-signature"), "secret": secret}))
    };
    let now = Wall.now().micros() / 1_000_000;
    let signed = |at: i64, secrets: &[&str]| sign(EVENT.as_bytes().to_vec(), at, secrets);
    let event = believes(&signed(now, &[SECRET]), SECRET).unwrap();
    assert_eq!((&event["id"], &event["data"]["object"]["id"]), (&json!("evt_1"), &json!("re_1")));
    for secret in [OLD, SECRET] {
        assert!(believes(&signed(now, &[OLD, SECRET]), secret).is_ok(), "one of two");
    }
    let altered =
        SignedWebhook { body: EVENT.replace("evt_1", "evt_2").into_bytes(), ..signed(now, &[SECRET]) };
    for (what, webhook) in [
        ("an altered body", altered),
        ("an old signature", signed(now - 301, &[SECRET])),
        ("another secret", signed(now, &[OLD])),
    ] {
        assert_eq!(believes(&webhook, SECRET).unwrap_err()["error"], "SignatureVerificationError", "{what}");
    }

    // And so is everything that the fake tells.
    let mut at = Setting { library: self::library(&fake.address(), KEY), fake };
    let payment = at.paid();
    at.library.ask(&refund(&payment, 4_000, "refund-1")).unwrap();
    let dispute = at.fake.dispute(&payment, false);
    at.fake.decide(&dispute, false);
    let mut kinds = Vec::new();
    for webhook in at.fake.webhooks() {
        kinds.push(believes(&webhook, SECRET).unwrap()["type"].as_str().unwrap().to_owned());
    }
    assert_eq!(
        kinds,
        [
            "payment_intent.succeeded",
            "checkout.session.completed",
            "refund.created",
            "charge.refunded",
            "charge.dispute.created",
            "charge.dispute.closed"
        ]
    );
    assert_eq!(library.unknown, [""; 0], "the library knows all that the fake tells");
    at.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn stripes_library_sells_gives_back_and_reads_what_happened() {
    let mut at = Setting::open().await;
    let page = at.page();
    assert_eq!((&page["status"], &page["amount_total"]), (&json!("open"), &json!(10_000)));
    assert!(page["url"].as_str().unwrap().starts_with("https://checkout.stripe.com/"));
    let name = page["id"].as_str().unwrap();
    at.fake.decline(name);
    let expanded = json!({"expand": ["payment_intent.latest_charge.balance_transaction"]});
    let declined = at.ask("v1.checkout.sessions.retrieve", &json!([name, expanded]));
    assert_eq!(declined["payment_intent"]["status"], "requires_payment_method");
    let payment = at.fake.pay(name);
    let paid = at.ask("v1.checkout.sessions.retrieve", &json!([name, expanded]));
    assert_eq!((&paid["status"], &paid["payment_status"]), (&json!("complete"), &json!("paid")));
    assert_eq!(paid["payment_intent"]["latest_charge"]["balance_transaction"]["net"], 9_680);

    let given = at.library.ask(&refund(&payment, 4_000, "refund-1")).unwrap();
    assert_eq!((&given["status"], &given["payment_intent"]), (&json!("succeeded"), &json!(payment)));
    assert_eq!(at.ask("v1.refunds.retrieve", &json!([given["id"]])), given);
    let intent = at.ask("v1.payment_intents.retrieve", &json!([payment, {"expand": ["latest_charge"]}]));
    assert_eq!((&intent["status"], &intent["amount_received"]), (&json!("succeeded"), &json!(10_000)));
    assert_eq!(intent["latest_charge"]["amount_refunded"], 4_000);
    assert_eq!(intent["metadata"]["purchase"], "purchase-1");

    let closed = at.page();
    let closed = at.ask("v1.checkout.sessions.expire", &json!([closed["id"]]));
    assert_eq!((&closed["status"], &closed["url"]), (&json!("expired"), &Value::Null));
    at.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn stripes_library_pays_out_and_answers_a_dispute() {
    let mut at = Setting::open().await;
    at.fake.top_up(100_000, "usd");
    let sent = at.ask("v1.transfers.create",
        &json!([{"amount": 5_000, "currency": "usd", "destination": "acct_1Amina", "transfer_group": "payout-1"}]),
    );
    assert_eq!((&sent["amount"], &sent["reversed"]), (&json!(5_000), &json!(false)));
    at.ask("v1.transfers.reversals.create", &json!([sent["id"]]));
    let back = at.ask("v1.transfers.retrieve", &json!([sent["id"]]));
    assert_eq!((&back["reversed"], &back["amount_reversed"]), (&json!(true), &json!(5_000)));

    let payment = at.paid();
    let dispute = at.fake.dispute(&payment, false);
    let told =
        json!([dispute, {"evidence": {"uncategorized_text": "Traded for three weeks."}, "submit": true}]);
    assert_eq!(at.ask("v1.disputes.update", &told)["status"], "under_review");
    assert_eq!(at.ask("v1.disputes.close", &json!([dispute]))["status"], "lost");
    assert_eq!(at.ask("v1.disputes.retrieve", &json!([dispute]))["status"], "lost");
    at.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_gives_stripes_library_the_first_answer_again_and_refuses_other_content() {
    let mut at = Setting::open().await;
    let payment = at.paid();
    let first = at.library.ask(&refund(&payment, 1_000, "refund-1")).unwrap();
    assert_eq!(at.library.ask(&refund(&payment, 1_000, "refund-1")).unwrap(), first);
    let asked = json!({"payment_intent": payment, "amount": 2_000});
    let other = call("v1.refunds.create", &json!([asked, {"idempotency_key": "refund-1"}]));
    assert_eq!(at.raised(&other), ("IdempotencyError".to_owned(), 400));
    assert_eq!(at.fake.all("refund").len(), 1);

    // The library asks again by itself, under the same key.
    for fault in [Fault::LoseAnswer, Fault::FailAfter(500), Fault::AtWork] {
        at.fake.meets("POST /v1/refunds", fault);
        let before = at.fake.all("refund").len();
        let asked = json!({"payment_intent": payment, "amount": 1_000});
        at.ask("v1.refunds.create", &json!([asked, {"max_network_retries": 1}]));
        assert_eq!(at.fake.all("refund").len(), before + 1, "once");
    }
    at.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn stripes_library_knows_each_failure_of_the_fake_by_its_own_class() {
    let mut at = Setting::open().await;
    let payment = at.paid();
    for (fault, class, status) in [
        (Fault::LoseRequest, "APIConnectionError", 0),
        (Fault::Fail(500), "APIError", 500),
        (Fault::Busy(Some(1)), "RateLimitError", 429),
        (Fault::AtWork, "APIError", 409),
        (Fault::Garble, "APIError", 200),
    ] {
        at.fake.meets("GET /v1/payment_intents/", fault.clone());
        let raised = at.raised(&call("v1.payment_intents.retrieve", &json!([payment])));
        assert_eq!(raised, (class.to_owned(), status), "{fault:?}");
    }
    for (told, code) in [
        (call("v1.payment_intents.retrieve", &json!(["pi_missing"])), "resource_missing"),
        (refund(&payment, 10_001, "refund-1"), "amount_too_large"),
        (
            call(
                "v1.transfers.create",
                &json!([{"amount": 1, "currency": "eur", "destination": "acct_1Amina"}]),
            ),
            "balance_insufficient",
        ),
    ] {
        let raised = at.library.ask(&told).unwrap_err();
        assert_eq!((&raised["error"], &raised["code"]), (&json!("InvalidRequestError"), &json!(code)));
    }
    let mut stranger = library(&at.fake.address(), "sk_test_another");
    let raised = stranger.ask(&call("v1.payment_intents.retrieve", &json!([payment]))).unwrap_err();
    assert_eq!((&raised["error"], &raised["status"]), (&json!("AuthenticationError"), &json!(401)));
    at.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn stripes_library_goes_through_every_page_of_a_list() {
    let mut at = Setting::open().await;
    let payment = at.paid();
    for number in 0..24 {
        at.library.ask(&refund(&payment, 100, &format!("refund-{number}"))).unwrap();
    }
    for (list, kind, with) in [
        ("v1.balance_transactions.list", "balance_transaction", json!([{"limit": 10}])),
        ("v1.refunds.list", "refund", json!([{"limit": 10, "payment_intent": payment}])),
    ] {
        let listed = at.library.ask(&json!({"every": list, "with": with})).unwrap();
        let known: Value = at.fake.all(kind).into_iter().rev().map(|thing| thing["id"].clone()).collect();
        assert_eq!(listed, known, "{list}, the newest first");
        let pages = at.fake.requests().into_iter().filter(|line| *line == format!("GET /v1/{kind}s")).count();
        assert_eq!(pages, 3, "{list}");
    }
    at.end();
}
