//! Buying with money: the whole platform over HTTP, with Stripe and PayPal as they answer and tell.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on stops")]

use std::sync::Arc;
use std::time::Duration;

use crate::common::{OPENING, PLAIN, Stage, Trader, at, program, replays_to_the_stored_state};
use app::ledger::{Account, AsOf, LedgerStore as _};
use app::payments::Providers;
use app::payments::port::Mode;
use async_trait::async_trait;
use kernel::ManualClock;
use providers::payments::paypal::{
    CertificateSource, CertificateUrl, Paypal, PaypalSettings, PaypalWebhooks,
};
use providers::payments::stripe::{Stripe, StripeSettings, StripeWebhooks};
use providers::payments::{Limits, Tools};
use rustls::RootCertStore;
use serde_json::{Value, json};
use testkit::payments::paypal::{self, FakePaypal};
use testkit::payments::stripe::{self, FakeStripe};
use testkit::payments::{Authority, Fault, Leaf, SignedWebhook, deliver, shuffled};

/// A stage whose firm sells through both providers.
struct Shop {
    stage: Stage,
    stripe: FakeStripe,
    paypal: FakePaypal,
}

/// PayPal's certificate, as its server would give it.
struct Shelf(Vec<u8>);

#[async_trait]
impl CertificateSource for Shelf {
    async fn fetch(&self, _: &CertificateUrl) -> Result<Vec<u8>, String> {
        Ok(self.0.clone())
    }
}

impl Shop {
    async fn open() -> Self {
        let clock = Arc::new(ManualClock::new(at(OPENING)));
        let (stripe, paypal) = (FakeStripe::open(clock.clone()).await, FakePaypal::open(clock.clone()).await);
        let limits = Limits {
            answer: Duration::from_secs(10),
            first_wait: Duration::from_millis(1),
            longest_wait: Duration::from_millis(4),
            ..Limits::default()
        };
        let tools = || Tools {
            clock: clock.clone(),
            rng: Arc::new(kernel::SeededRng::new(7)),
            roots: RootCertStore::empty(),
            limits,
        };
        let by_stripe = Stripe::new(
            StripeSettings { mode: Mode::Test, key: stripe::KEY.to_owned(), address: Some(stripe.address()) },
            tools(),
        )
        .unwrap();
        let hears_stripe = StripeWebhooks::new(Mode::Test, vec![stripe::SECRET.to_owned()]).unwrap();
        let by_paypal = Paypal::new(
            PaypalSettings {
                mode: Mode::Test,
                client: paypal::CLIENT.to_owned(),
                secret: paypal::SECRET.to_owned(),
                address: Some(paypal.address()),
            },
            tools(),
        )
        .unwrap();
        let authority = Authority::new();
        let shelf = Arc::new(Shelf(authority.chain(&Leaf { from: 2010, ..Leaf::default() }).into_bytes()));
        let roots = authority.root_pem().as_bytes();
        let hears_paypal = PaypalWebhooks::new(Mode::Test, paypal::WEBHOOK.to_owned(), roots, shelf).unwrap();
        let programs = [("plain", program(PLAIN))];
        let stage = Stage::open_with(&programs, clock, |firm| {
            Providers::default().with(firm, Arc::new(by_stripe), Arc::new(hears_stripe)).with(
                firm,
                Arc::new(by_paypal),
                Arc::new(hears_paypal),
            )
        })
        .await;
        Self { stage, stripe, paypal }
    }

    async fn tell(&self, provider: &str, webhook: &SignedWebhook) -> u16 {
        let to = self.stage.platform.webhooks_address.unwrap();
        deliver(to, &format!("/webhooks/stage/{provider}"), webhook).await.unwrap()
    }

    /// What stands on an account, in minor units, on the side on which it grows.
    async fn balance(&self, account: &str) -> i64 {
        let account: Account = account.parse().unwrap();
        let usd = kernel::Currency::parse("USD").unwrap();
        let store = &self.stage.platform.web.store;
        store.balance(self.stage.firm, &account, usd).await.unwrap().amount().unwrap().minor()
    }

    /// Nothing is out of balance, and nothing that was told still waits.
    async fn close(self) {
        let store = self.stage.platform.web.store.clone();
        assert!(store.books(self.stage.firm, AsOf::default()).await.unwrap().balanced().unwrap());
        assert_eq!(store.money_faults(self.stage.firm).await.unwrap(), []);
        assert_eq!(self.stripe.wrong(), Vec::<String>::new());
        assert_eq!(self.paypal.wrong(), Vec::<String>::new());
        drop(store);
        self.stage.close().await;
    }
}

async fn bought(trader: &Trader) -> String {
    let (_, shown) = trader.get("/v1/programs/plain").await;
    let body = json!({ "program": "plain", "version": shown["version"] });
    let (status, purchase) = trader.post("/v1/purchases", Some("one"), &body).await;
    assert_eq!(status, 201, "{purchase}");
    purchase["id"].as_str().unwrap().to_owned()
}

async fn page(trader: &Trader, purchase: &str, provider: &str) -> String {
    let path = format!("/v1/purchases/{purchase}/checkout");
    let (status, checkout) = trader.post(&path, None, &json!({ "provider": provider })).await;
    assert_eq!(status, 200, "{checkout}");
    checkout["page"].as_str().unwrap().to_owned()
}

async fn until(trader: &Trader, purchase: &str, state: &str) -> Value {
    let mut last = Value::Null;
    for _ in 0..1_500 {
        last = trader.get(&format!("/v1/purchases/{purchase}")).await.1;
        if last["state"] == state {
            return last;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the purchase is not {state}: {last}");
}

async fn until_nothing_waits(operator: &Trader) -> Vec<Value> {
    for _ in 0..1_500 {
        let (status, waiting) = operator.get("/v1/operations/provider-events?state=waiting").await;
        assert_eq!(status, 200, "{waiting}");
        if waiting["items"].as_array().unwrap().is_empty() {
            let all = operator.get("/v1/operations/provider-events").await.1;
            return all["items"].as_array().unwrap().clone();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("events still wait");
}

/// The only page there is at Stripe.
fn only_session(stripe: &FakeStripe) -> String {
    let sessions = stripe.all("checkout.session");
    assert_eq!(sessions.len(), 1);
    sessions[0]["id"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_purchase_paid_at_stripe_opens_one_account_whatever_comes_and_how_often() {
    let shop = Shop::open().await;
    let trader = shop.stage.trader("amina").await;
    let operator = shop.stage.staff("risk@example.com", app::Role::Risk).await;
    let (_, methods) = trader.get("/v1/payment-methods").await;
    assert_eq!(methods["methods"], json!(["sandbox", "stripe", "paypal"]));
    let (_, ways) = trader.get("/v1/payout-methods").await;
    assert_eq!(ways["methods"], json!(["stripe", "paypal", "bank_file", "manual"]));
    let purchase = bought(&trader).await;
    // The answer is lost on the way; whoever asks again gets the one page.
    shop.stripe.meets("POST /v1/checkout/sessions", Fault::LoseAnswer);
    let first = page(&trader, &purchase, "stripe").await;
    assert_eq!(page(&trader, &purchase, "stripe").await, first);
    let session = only_session(&shop.stripe);
    shop.stripe.pay(&session);
    let webhooks = shop.stripe.webhooks();
    for webhook in shuffled(&webhooks, 3, false) {
        assert_eq!(shop.tell("stripe", &webhook).await, 200);
    }
    let paid = until(&trader, &purchase, "paid").await;
    let accounts = trader.accounts_of(&paid["challenge_id"], 1).await;
    let events = until_nothing_waits(&operator).await;
    assert_eq!(events.len(), webhooks.len(), "each event is kept once");
    assert!(events.iter().all(|event| event["state"] == "done" || event["state"] == "kept"), "{events:#?}");
    // Late, and once more.
    for webhook in shuffled(&webhooks, 4, false) {
        assert_eq!(shop.tell("stripe", &webhook).await, 200);
    }
    assert_eq!(until_nothing_waits(&operator).await.len(), webhooks.len());
    assert_eq!(trader.accounts_of(&paid["challenge_id"], 1).await.len(), accounts.len());
    assert_eq!(shop.balance("provider_clearing:stripe").await, 10_000);
    assert_eq!(shop.balance("fee_income").await, 10_000);
    let (status, refused) = trader
        .post(&format!("/v1/purchases/{purchase}/checkout"), None, &json!({ "provider": "stripe" }))
        .await;
    assert_eq!((status, refused["code"].as_str()), (409, Some("payment_settled")));
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stripe_never_tells_is_found_by_looking() {
    let shop = Shop::open().await;
    let (paying, leaving) = (shop.stage.trader("amina").await, shop.stage.trader("ben").await);
    let purchase = bought(&paying).await;
    page(&paying, &purchase, "stripe").await;
    shop.stripe.pay(&only_session(&shop.stripe));
    let left = bought(&leaving).await;
    page(&leaving, &left, "stripe").await;
    let sessions = shop.stripe.all("checkout.session");
    let open = sessions.iter().find(|session| session["status"] == "open").unwrap();
    shop.stripe.expire(open["id"].as_str().unwrap());
    shop.stage.clock.advance(kernel::Span::from_seconds(121));
    until(&paying, &purchase, "paid").await;
    until(&leaving, &left, "expired").await;
    assert_eq!(shop.balance("provider_clearing:stripe").await, 10_000);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_buyer_approves_at_paypal_is_taken_once() {
    let shop = Shop::open().await;
    let trader = shop.stage.trader("amina").await;
    let purchase = bought(&trader).await;
    // They begin at Stripe and change their mind.
    page(&trader, &purchase, "stripe").await;
    let page = page(&trader, &purchase, "paypal").await;
    let (_, order) = page.rsplit_once('=').expect("PayPal's page names its order");
    assert_eq!(shop.stripe.all("checkout.session")[0]["status"], "expired");
    shop.paypal.approve(order);
    shop.paypal.meets("POST /v2/checkout/orders", Fault::LoseAnswer);
    for webhook in shuffled(&shop.paypal.webhooks(), 5, false) {
        assert_eq!(shop.tell("paypal", &webhook).await, 200);
    }
    until(&trader, &purchase, "paid").await;
    for webhook in shop.paypal.webhooks() {
        assert_eq!(shop.tell("paypal", &webhook).await, 200);
    }
    // Stripe's page was closed, and its end changes nothing.
    for webhook in shop.stripe.webhooks() {
        assert_eq!(shop.tell("stripe", &webhook).await, 200);
    }
    let operator = shop.stage.staff("risk@example.com", app::Role::Risk).await;
    until_nothing_waits(&operator).await;
    until(&trader, &purchase, "paid").await;
    assert_eq!(shop.balance("provider_clearing:paypal").await, 10_000);
    assert_eq!(shop.balance("provider_clearing:stripe").await, 0);
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_kept_of_what_nobody_signed_and_all_forgeries_hear_the_same() {
    let shop = Shop::open().await;
    let trader = shop.stage.trader("amina").await;
    let purchase = bought(&trader).await;
    page(&trader, &purchase, "stripe").await;
    shop.stripe.pay(&only_session(&shop.stripe));
    let good = shop.stripe.webhooks()[0].clone();
    let mut changed = good.clone();
    changed.body.push(b' ');
    for forged in [
        good.clone().with("stripe-signature", None),
        good.clone().with("stripe-signature", Some("t=1,v1=00")),
        changed,
    ] {
        assert_eq!(shop.tell("stripe", &forged).await, 400);
    }
    let to = shop.stage.platform.webhooks_address.unwrap();
    for path in
        ["/webhooks/nobody/stripe", "/webhooks/stage/square", "/webhooks/neighbour/stripe", "/v1/programs"]
    {
        assert_eq!(deliver(to, path, &good).await.unwrap(), 404, "{path}");
    }
    let large = SignedWebhook { headers: good.headers.clone(), body: vec![b' '; 600_000] };
    assert_eq!(shop.tell("stripe", &large).await, 413);
    let operator = shop.stage.staff("risk@example.com", app::Role::Risk).await;
    assert_eq!(until_nothing_waits(&operator).await.len(), 0);
    assert_eq!(trader.get(&format!("/v1/purchases/{purchase}")).await.1["state"], "awaiting_payment");
    shop.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_ten_times_at_once_or_three_days_late_ends_alike() {
    let shop = Shop::open().await;
    let (first, late) = (shop.stage.trader("amina").await, shop.stage.trader("ben").await);
    let operator = shop.stage.staff("risk@example.com", app::Role::Risk).await;
    let purchase = bought(&first).await;
    page(&first, &purchase, "stripe").await;
    shop.stripe.pay(&only_session(&shop.stripe));
    let webhooks = shop.stripe.webhooks();
    let to = shop.stage.platform.webhooks_address.unwrap();
    let mut telling = tokio::task::JoinSet::new();
    for webhook in webhooks.iter().flat_map(|webhook| std::iter::repeat_n(webhook, 10)) {
        let webhook = webhook.clone();
        telling.spawn(async move { deliver(to, "/webhooks/stage/stripe", &webhook).await.unwrap() });
    }
    let told = telling.join_all().await;
    assert!(told.iter().all(|status| *status == 200), "{told:?}");
    let paid = until(&first, &purchase, "paid").await;
    assert_eq!(until_nothing_waits(&operator).await.len(), webhooks.len(), "each event is kept once");
    assert_eq!(first.accounts_of(&paid["challenge_id"], 1).await.len(), 1);
    assert_eq!(shop.balance("provider_clearing:stripe").await, 10_000);

    // Nobody tells for three days; what is then told was signed again, as it is for every try.
    let second = bought(&late).await;
    page(&late, &second, "stripe").await;
    let sessions = shop.stripe.all("checkout.session");
    let open = sessions.iter().find(|session| session["status"] == "open").unwrap();
    shop.stripe.pay(open["id"].as_str().unwrap());
    let old = shop.stripe.webhooks();
    shop.stage.clock.advance(kernel::Span::from_seconds(3 * 86_400));
    for webhook in old.iter().skip(webhooks.len()) {
        assert_eq!(shop.tell("stripe", webhook).await, 400, "nobody believes an old signature");
    }
    for webhook in shuffled(&shop.stripe.webhooks(), 6, false) {
        assert_eq!(shop.tell("stripe", &webhook).await, 200);
    }
    let paid = until(&late, &second, "paid").await;
    let events = until_nothing_waits(&operator).await;
    assert_eq!(events.len(), old.len());
    assert!(events.iter().all(|event| event["state"] == "done" || event["state"] == "kept"), "{events:#?}");
    assert_eq!(late.accounts_of(&paid["challenge_id"], 1).await.len(), 1);
    assert_eq!(shop.balance("provider_clearing:stripe").await, 20_000);
    assert_eq!(shop.balance("fee_income").await, 20_000);
    shop.close().await;
}

/// The account once it is held, or no longer.
async fn until_held(trader: &Trader, account: &str, held: bool) {
    for _ in 0..1_500 {
        if trader.get(&format!("/v1/accounts/{account}")).await.1["held"] == held {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("held is not {held}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_whose_payment_is_disputed_opens_nothing_until_that_ends_well() {
    let mut shop = Shop::open().await;
    let trader = shop.stage.trader("amina").await;
    let purchase = bought(&trader).await;
    page(&trader, &purchase, "stripe").await;
    let session = only_session(&shop.stripe);
    let payment = shop.stripe.pay(&session);
    let tell = async |shop: &Shop| {
        for webhook in shop.stripe.webhooks() {
            assert_eq!(shop.tell("stripe", &webhook).await, 200);
        }
    };
    tell(&shop).await;
    let paid = until(&trader, &purchase, "paid").await;
    let accounts = trader.accounts_of(&paid["challenge_id"], 1).await;
    let account = accounts[0]["id"].as_str().unwrap().to_owned();
    shop.stage.play_through("2014-05-02T12:26:00Z").await;
    let orders = format!("/v1/accounts/{account}/orders");
    let market = json!({ "symbol": "EURUSD", "side": "buy", "kind": "market", "quantity": "0.10" });
    let waiting =
        json!({ "symbol": "EURUSD", "side": "buy", "kind": "limit", "quantity": "0.10", "price": "1.00000" });
    let (status, placed) = trader.post(&orders, Some("before"), &market).await;
    assert_eq!(status, 201, "{placed}");
    let position = placed["position"].as_u64().unwrap();
    let (status, limit) = trader.post(&orders, Some("waits"), &waiting).await;
    assert_eq!(status, 201, "{limit}");

    let dispute = shop.stripe.dispute(&payment, false);
    tell(&shop).await;
    until_held(&trader, &account, true).await;
    let (_, all) = trader.get(&format!("{orders}?state=all")).await;
    let taken_back =
        all["items"].as_array().unwrap().iter().find(|it| it["ticket"] == limit["ticket"]).unwrap();
    assert_eq!(
        (taken_back["state"].as_str(), taken_back["reason"].as_str()),
        (Some("cancelled"), Some("account_held"))
    );
    let (status, refused) = trader.post(&orders, Some("held"), &market).await;
    assert_eq!((status, refused["code"].as_str()), (409, Some("account_held")), "{refused}");
    let path = format!("/v1/accounts/{account}/positions/{position}/close");
    let (status, closed) = trader.post(&path, Some("close"), &json!({})).await;
    assert_eq!(status, 200, "{closed}");

    shop.stripe.decide(&dispute, true);
    tell(&shop).await;
    until_held(&trader, &account, false).await;
    let (status, placed) = trader.post(&orders, Some("after"), &market).await;
    assert_eq!(status, 201, "{placed}");
    let Shop { stage, stripe, paypal } = shop;
    assert_eq!((stripe.wrong(), paypal.wrong()), (Vec::new(), Vec::new()));
    let (database, directory) = stage.close().await;
    replays_to_the_stored_state(&database, directory.path()).await;
}
