//! A firm that uses Stripe and PayPal: what stands in for them, and the clients of the product.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use app::payments::Providers;
use app::payments::port::{Distrust, Headers, Mode, Notice, Webhooks};
use async_trait::async_trait;
use kernel::{FirmId, SeededRng, Timestamp};
use providers::payments::paypal::{Paypal, PaypalSettings};
use providers::payments::stripe::{Stripe, StripeSettings};
use providers::payments::{Limits, Tools};
use testkit::World;
use testkit::payments::paypal::{CLIENT, FakePaypal, SECRET};
use testkit::payments::stripe::{FakeStripe, KEY};

/// Both sides.
pub struct Connected {
    pub stripe: FakeStripe,
    pub paypal: FakePaypal,
    pub to_stripe: Arc<Stripe>,
    pub to_paypal: Arc<Paypal>,
    pub providers: Providers,
}

/// Nobody listens to webhooks: what providers know is pulled, or handed over by the test.
struct Deaf;

#[async_trait]
impl Webhooks for Deaf {
    async fn verify(&self, _: Headers<'_>, _: &[u8], _: Timestamp) -> Result<Notice, Distrust> {
        Err(Distrust::Missing("everything"))
    }
}

/// Connects a firm; the clients wait for next to nothing and never lose courage.
pub async fn connected(world: &World, firm: FirmId) -> Connected {
    let limits = Limits {
        answer: Duration::from_secs(10),
        first_wait: Duration::from_millis(1),
        longest_wait: Duration::from_millis(4),
        most_failures: 1_000,
        ..Limits::default()
    };
    let tools = || Tools {
        clock: world.clock.clone(),
        rng: Arc::new(SeededRng::new(7)),
        roots: rustls::RootCertStore::empty(),
        limits,
    };
    let stripe = FakeStripe::open(world.clock.clone()).await;
    let settings = StripeSettings { mode: Mode::Test, key: KEY.to_owned(), address: Some(stripe.address()) };
    let to_stripe = Arc::new(Stripe::new(settings, tools()).unwrap());
    let paypal = FakePaypal::open(world.clock.clone()).await;
    let settings = PaypalSettings {
        mode: Mode::Test,
        client: CLIENT.to_owned(),
        secret: SECRET.to_owned(),
        address: Some(paypal.address()),
    };
    let to_paypal = Arc::new(Paypal::new(settings, tools()).unwrap());
    let providers = Providers::default().with(firm, to_stripe.clone(), Arc::new(Deaf)).with(
        firm,
        to_paypal.clone(),
        Arc::new(Deaf),
    );
    Connected { stripe, paypal, to_stripe, to_paypal, providers }
}
