//! Stripe and PayPal as their clients find them: each path, each failure, and what is known afterwards.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it")]

mod paypal;
mod paypal_webhooks;
mod peers;
mod stripe;
mod stripe_webhooks;

use std::sync::Arc;
use std::time::Duration;

use app::payments::port::{Document, DocumentKind, Evidence, Failure, NewCheckout, Reference};
use kernel::{Currency, ManualClock, Money, SeededRng, Span, Timestamp};
use providers::payments::{Limits, Tools};
use rustls::RootCertStore;
use testkit::payments::Fault;

/// When tests begin.
fn start() -> Timestamp {
    Timestamp::parse("2026-06-01T09:00:00Z").unwrap()
}

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(start()))
}

fn limits() -> Limits {
    Limits {
        answer: Duration::from_secs(10),
        first_wait: Duration::from_millis(1),
        longest_wait: Duration::from_millis(4),
        most_failures: 100,
        ..Limits::default()
    }
}

fn tools(clock: &Arc<ManualClock>, limits: Limits) -> Tools {
    let clock = Arc::clone(clock);
    Tools { clock, rng: Arc::new(SeededRng::new(7)), roots: RootCertStore::empty(), limits }
}

fn money(text: &str, currency: &str) -> Money {
    Money::parse(text, Currency::parse(currency).unwrap()).unwrap()
}

fn reference(text: &str) -> Reference {
    Reference::parse(text).unwrap()
}

fn checkout(attempt: &str, purchase: &str, price: Money) -> NewCheckout {
    NewCheckout {
        attempt: reference(attempt),
        purchase: reference(purchase),
        price,
        title: "Two Step 100k & reset".to_owned(),
        email: Some("amina@example.com".to_owned()),
        success_url: "https://firm.example/done?session={CHECKOUT_SESSION_ID}".to_owned(),
        cancel_url: "https://firm.example/back".to_owned(),
        expires_at: None,
    }
}

fn evidence() -> Evidence {
    Evidence {
        product: "An evaluation of trading skill".to_owned(),
        explanation: "The buyer traded on the account for three weeks.".to_owned(),
        activity: "2026-05-02T09:00:00Z signed in from 198.51.100.7".to_owned(),
        service_date: Some("2026-05-02".to_owned()),
        buyer_name: Some("Amina".to_owned()),
        buyer_email: Some("amina@example.com".to_owned()),
        buyer_address: Some("198.51.100.7".to_owned()),
        documents: vec![Document {
            kind: DocumentKind::Terms,
            name: "terms.pdf".to_owned(),
            media_type: "application/pdf".to_owned(),
            bytes: b"%PDF-1.4 what was agreed".to_vec(),
        }],
    }
}

fn later(clock: &ManualClock, seconds: i32) {
    clock.advance(Span::from_seconds(seconds));
}

/// The word of a refusal.
fn refusal<T: std::fmt::Debug>(result: Result<T, Failure>) -> String {
    let failure = result.unwrap_err();
    assert!(matches!(failure, Failure::Refused(_)), "{failure:?}");
    failure.said().code.clone()
}

/// What goes wrong, by a seed.
struct BadDay(SeededRng);

impl BadDay {
    fn new(seed: u64) -> Self {
        Self(SeededRng::new(seed))
    }

    /// Up to seven faults for the next requests of a kind.
    fn spoil(&self, meets: impl Fn(Fault)) {
        for _ in 0..self.0.between(0, 7) {
            meets(match self.0.between(0, 6) {
                0 => Fault::LoseRequest,
                1 => Fault::LoseAnswer,
                2 => Fault::Fail(503),
                3 => Fault::FailAfter(500),
                4 => Fault::Busy(Some(1)),
                5 => Fault::AtWork,
                _ => Fault::Garble,
            });
        }
    }
}

/// Asks again as long as nobody knows, as the janitor does.
async fn until_known<T, F: Future<Output = Result<T, Failure>>>(ask: impl Fn() -> F) -> T {
    for _ in 0..10 {
        match ask().await {
            Ok(known) => return known,
            Err(Failure::Unknown(_) | Failure::Unavailable { .. }) => {}
            Err(failure) => panic!("{failure:?}"),
        }
    }
    panic!("it is never known");
}
