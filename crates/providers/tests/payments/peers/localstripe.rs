//! Our client of Stripe against localstripe, which others wrote after Stripe's documentation.
//!
//! It is under GPL-3.0-or-later: it runs as the program that it is, and nothing of ours is linked with it or ships it. It listens on
//! every address of the machine, by IPv6 as well, and writes what it knows to one file; neither can be told otherwise.

use std::io::{BufRead as _, BufReader, Lines};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;

use app::payments::port::{
    About, Distrust, Failure, Headers, Mode, NewRefund, Notice, PaymentState, Provider as _, RefundState,
    Webhooks as _,
};
use kernel::{Clock, ManualClock, SeededRng, Span, Timestamp};
use providers::payments::Tools;
use providers::payments::stripe::{Stripe, StripeSettings, StripeWebhooks, VERSION};
use rustls::RootCertStore;
use serde_json::{Value, json};
use testkit::payments::stripe::{KEY, SECRET};
use testkit::payments::{SignedWebhook, deliver};
use testkit::receiver::{Receiver, Reply};
use testkit::{free_port, listed};

use super::super::{checkout, limits, money, reference, refusal};
use super::{Library, Wall};

/// Where every localstripe of the machine writes what it knows, and none of ours reads.
const KEEPS: &str = "/tmp/localstripe.pickle";

/// The server; it ends with the value.
struct Localstripe {
    port: u16,
    process: Child,
    /// It goes on writing a little, and ends where nobody could read it.
    _said: Lines<BufReader<ChildStdout>>,
}

impl Localstripe {
    fn start() -> Self {
        let port = free_port();
        let mut process = Command::new(listed("peers").join("localstripe"))
            .args(["--from-scratch", "--port", &port.to_string()])
            .env("PYTHONUNBUFFERED", "1")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(process.stdout.take().unwrap()).lines();
        let serves = said.any(|line| line.unwrap().contains("Running on"));
        assert!(serves, "localstripe ended before it listened");
        Self { port, process, _said: said }
    }

    fn address(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Our client.
    fn stripe(&self, clock: Arc<dyn Clock>) -> Stripe {
        client(&self.address(), clock)
    }

    /// Stripe's own library, for what the buyer does: our client does not make payments.
    fn buyer(&self) -> Library {
        Library::start("stripe_sdk.py", &[&self.address(), KEY, VERSION])
    }
}

impl Drop for Localstripe {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
        // Another user's could not be written over. Another test may have removed it, or makes it anew.
        drop(std::fs::remove_file(KEEPS));
    }
}

fn client(address: &str, clock: Arc<dyn Clock>) -> Stripe {
    let settings =
        StripeSettings { mode: Mode::Test, key: KEY.to_owned(), address: Some(format!("{address}/")) };
    let rng = Arc::new(SeededRng::new(7));
    Stripe::new(settings, Tools { clock, rng, roots: RootCertStore::empty(), limits: limits() }).unwrap()
}

/// A payment of 100 dollars by a card, if there is one.
fn payment(buyer: &mut Library, card: Option<&str>) -> Result<Value, Value> {
    let mut asked = json!({"amount": 10_000, "currency": "usd", "metadata": {"purchase": "purchase-1"}});
    if let Some(card) = card {
        asked["payment_method"] = json!(card);
        asked["confirm"] = json!(true);
    }
    buyer.ask(&json!({"call": "v1.payment_intents.create", "with": [asked]}))
}

fn name(thing: &Value) -> String {
    thing["id"].as_str().unwrap().to_owned()
}

fn new_refund(name: &str, payment: &str, amount: &str, first_asked_at: Timestamp) -> NewRefund {
    let (refund, amount) = (reference(name), money(amount, "USD"));
    NewRefund { refund, payment: payment.to_owned(), amount, first_asked_at }
}

async fn verify(webhook: &SignedWebhook, now: Timestamp) -> Result<Notice, Distrust> {
    let verifier = StripeWebhooks::new(Mode::Test, vec![SECRET.to_owned()]).unwrap();
    verifier.verify(Headers::new(&webhook.headers), &webhook.body, now).await
}

#[tokio::test]
async fn a_payment_at_localstripe_is_read() {
    let server = Localstripe::start();
    let (stripe, mut buyer) = (server.stripe(Arc::new(Wall)), server.buyer());
    let open = name(&payment(&mut buyer, None).unwrap());
    let read = stripe.payment(&open).await.unwrap();
    assert_eq!((read.state, read.amount), (PaymentState::Pending, money("100", "USD")));
    assert_eq!((read.purchase.as_deref(), read.settlement), (Some("purchase-1"), None));
    buyer.ask(&json!({"call": "v1.payment_intents.cancel", "with": [open]})).unwrap();
    assert_eq!(stripe.payment(&open).await.unwrap().state, PaymentState::Failed);
    assert!(matches!(stripe.payment("pi_missing").await, Err(Failure::Refused(_))));

    // Of what is paid it leaves out two things that Stripe says: nothing is made up for them.
    let paid = name(&payment(&mut buyer, Some("pm_card_visa")).unwrap());
    let Err(Failure::Unavailable { said, .. }) = stripe.payment(&paid).await else { unreachable!() };
    assert_eq!(said.code, "unreadable");
    // With these two, everything else is as localstripe has it.
    let at = Wall.now();
    stripe.refund(&new_refund("refund-1", &paid, "12.50", at)).await.unwrap();
    stripe.refund(&new_refund("refund-2", &paid, "30", at)).await.unwrap();
    let expand = json!({"expand": ["latest_charge.balance_transaction"]});
    let asked = json!({"call": "v1.payment_intents.retrieve", "with": [paid, expand]});
    let mut answer = buyer.ask(&asked).unwrap();
    let receiver = Receiver::open().await;
    let between = client(&format!("http://{}", receiver.address), Arc::new(Wall));
    answer["latest_charge"]["disputed"] = json!(false);
    receiver.reply(Reply::Answer(200, String::new(), answer.to_string()));
    let Err(Failure::Unavailable { said, .. }) = between.payment(&paid).await else { unreachable!() };
    assert!(said.text.contains("what came in"), "{said:?}");
    answer["amount_received"] = answer["amount"].clone();
    receiver.reply(Reply::Answer(200, String::new(), answer.to_string()));
    let read = between.payment(&paid).await.unwrap();
    assert_eq!((read.state, read.amount), (PaymentState::Captured, money("100", "USD")));
    assert_eq!((read.refunded, read.disputed), (money("42.50", "USD"), false));
    assert_eq!(read.in_books.as_deref(), answer["latest_charge"]["id"].as_str());
    let settlement = read.settlement.unwrap();
    assert_eq!((settlement.gross, settlement.net), (money("100", "USD"), money("100", "USD")));
}

#[tokio::test]
async fn a_refund_at_localstripe_is_made_read_and_found_among_many() {
    let server = Localstripe::start();
    let clock = Arc::new(ManualClock::new(Wall.now()));
    let (stripe, mut buyer) = (server.stripe(clock.clone()), server.buyer());
    let paid = name(&payment(&mut buyer, Some("pm_card_visa")).unwrap());
    let new = new_refund("refund-1", &paid, "12.50", clock.now());
    let refund = stripe.refund(&new).await.unwrap();
    assert_eq!((refund.state, refund.amount), (RefundState::Done, new.amount));
    assert_eq!((refund.reference.as_deref(), refund.payment.as_deref()), (Some("refund-1"), Some(&*paid)));
    assert_eq!(stripe.refund_state(&refund.id).await.unwrap(), refund);

    // It knows no keys. After a day our client does not rely on them either, but looks: here on the second page.
    for number in 2..=120 {
        let new = new_refund(&format!("refund-{number}"), &paid, "0.10", clock.now());
        stripe.refund(&new).await.unwrap();
    }
    clock.advance(Span::from_seconds(86_400));
    assert_eq!(stripe.refund(&new).await.unwrap(), refund);
    let other = new_refund("refund-1", &paid, "12.51", new.first_asked_at);
    assert_eq!(refusal(stripe.refund(&other).await), "other_amount");

    let declined = payment(&mut buyer, Some("pm_card_chargeCustomerFail")).unwrap_err();
    assert_eq!((&declined["error"], &declined["code"]), (&json!("CardError"), &json!("card_declined")));
    let open = name(&payment(&mut buyer, None).unwrap());
    for nothing in [open.as_str(), "pi_missing"] {
        let new = new_refund("refund-of-nothing", nothing, "1", clock.now());
        assert!(matches!(stripe.refund(&new).await, Err(Failure::Refused(_))), "{nothing}");
    }
}

#[tokio::test]
async fn a_webhook_of_localstripes_is_believed_and_leads_to_the_payment() {
    let server = Localstripe::start();
    let mut buyer = server.buyer();
    let receiver = Receiver::open().await;
    let hook = json!({"url": receiver.url(), "secret": SECRET}).to_string();
    let hook = SignedWebhook { headers: Vec::new(), body: hook.into_bytes() };
    let to = ([127, 0, 0, 1], server.port).into();
    assert_eq!(deliver(to, "/_config/webhooks/ours", &hook).await.unwrap(), 200);
    let paid = name(&payment(&mut buyer, Some("pm_card_visa")).unwrap());
    payment(&mut buyer, Some("pm_card_chargeCustomerFail")).unwrap_err();
    // It sends each a second later, by itself.
    let mut kinds = Vec::new();
    for sent in receiver.wait_for(2).await {
        let header = sent.header("stripe-signature").to_owned();
        let webhook = SignedWebhook { headers: Vec::new(), body: sent.body.into_bytes() }
            .with("stripe-signature", Some(&header));
        let now = Wall.now();
        let notice = verify(&webhook, now).await.unwrap();
        if notice.kind == "payment_intent.succeeded" {
            assert_eq!(notice.about, About::Payment(paid.clone()));
        }
        kinds.push(notice.kind);
        let altered = SignedWebhook { body: [webhook.body.as_slice(), b" "].concat(), ..webhook.clone() };
        assert_eq!(verify(&altered, now).await, Err(Distrust::WrongSignature));
        let late = now.after(Span::from_seconds(301)).unwrap();
        assert_eq!(verify(&webhook, late).await, Err(Distrust::OutOfTime));
    }
    kinds.sort();
    assert_eq!(kinds, ["payment_intent.payment_failed", "payment_intent.succeeded"]);
}

/// What our client asks and localstripe does not have. Where it has learned one of these, it is to be tested above.
#[tokio::test]
async fn localstripe_has_no_pages_disputes_transfers_or_books_by_day() {
    let server = Localstripe::start();
    let stripe = server.stripe(Arc::new(Wall));
    let now = Wall.now();
    let page = stripe.open_checkout(&checkout("attempt-1", "purchase-1", money("100", "USD"))).await;
    assert_eq!(refusal(page), "none");
    assert_eq!(refusal(stripe.checkout("cs_1").await), "none");
    assert_eq!(refusal(stripe.disputes(now, None).await), "none");
    assert_eq!(refusal(stripe.dispute("dp_1").await), "none");
    assert_eq!(refusal(stripe.payout("tr_1").await), "none");
    let books = stripe.entries(now, now, None).await;
    assert_eq!(books.unwrap_err().said().text, "Unexpected created");
}
