use app::payments::port::{About, Distrust, Headers, Mode, Notice, ProviderName, Webhooks as _};
use kernel::{Span, Timestamp};
use proptest::prelude::*;
use providers::payments::BadSettings;
use providers::payments::stripe::{Stripe, StripeSettings, StripeWebhooks};
use testkit::payments::SignedWebhook;
use testkit::payments::stripe::{FakeStripe, KEY, SECRET, sign};

use super::{checkout, clock, limits, money, start, tools};
use app::payments::port::Provider as _;

const OLD: &str = "whsec_theoldsecret0123456789";
const EVENT: &str = r#"{"id":"evt_1","type":"payment_intent.succeeded","livemode":false,"created":1780304400,
 "data":{"object":{"id":"pi_1","object":"payment_intent"}}}"#;

fn now() -> i64 {
    start().micros() / 1_000_000
}

fn verifier() -> StripeWebhooks {
    StripeWebhooks::new(Mode::Test, vec![SECRET.to_owned()]).unwrap()
}

async fn verify(verifier: &StripeWebhooks, webhook: &SignedWebhook) -> Result<Notice, Distrust> {
    verifier.verify(Headers::new(&webhook.headers), &webhook.body, start()).await
}

fn good() -> SignedWebhook {
    sign(EVENT.as_bytes().to_vec(), now(), &[SECRET])
}

#[tokio::test]
async fn a_webhook_that_stripe_signed_is_read() {
    let notice = verify(&verifier(), &good()).await.unwrap();
    let expected = Notice {
        provider: ProviderName::Stripe,
        id: "evt_1".to_owned(),
        kind: "payment_intent.succeeded".to_owned(),
        about: About::Payment("pi_1".to_owned()),
        at: Timestamp::from_micros(1_780_304_400_000_000),
    };
    assert_eq!(notice, expected);
    assert_eq!(verify(&verifier(), &good()).await, Ok(expected), "a replay is the inbox's to find");
}

#[tokio::test]
async fn any_of_the_signatures_may_be_by_any_of_the_secrets() {
    let both = StripeWebhooks::new(Mode::Test, vec![OLD.to_owned(), SECRET.to_owned()]).unwrap();
    for secrets in [vec![SECRET], vec![OLD], vec!["whsec_another000000000000", OLD], vec![SECRET, OLD]] {
        let webhook = sign(EVENT.as_bytes().to_vec(), now(), &secrets);
        assert!(verify(&both, &webhook).await.is_ok(), "{secrets:?}");
    }
    let rolled = sign(EVENT.as_bytes().to_vec(), now(), &[OLD, SECRET]);
    assert!(verify(&verifier(), &rolled).await.is_ok());
}

#[tokio::test]
async fn nothing_is_believed_without_a_secret() {
    for secrets in
        [vec![], vec![String::new()], vec!["whsec_".to_owned()], vec![SECRET.to_owned(), "x".to_owned()]]
    {
        assert!(matches!(StripeWebhooks::new(Mode::Test, secrets), Err(BadSettings::Unreadable(..))));
    }
}

#[tokio::test]
async fn every_other_webhook_is_refused() {
    let header = good().header("stripe-signature");
    let with = |value: &str| good().with("stripe-signature", Some(value));
    let (stamp, signature) = header.split_once(',').unwrap();
    let hex = signature.strip_prefix("v1=").unwrap();
    let bad = Distrust::Malformed("stripe-signature");
    let mut twice = good();
    twice.headers.push(twice.headers[0].clone());
    let mut changed = good();
    changed.body[10] ^= 1;
    let value: serde_json::Value = serde_json::from_str(EVENT).unwrap();
    let reserialised = SignedWebhook { body: value.to_string().into_bytes(), ..good() };
    let tail = SignedWebhook { body: [EVENT.as_bytes(), b"\n"].concat(), ..good() };
    let many = format!("{stamp}{}", format!(",v1={hex}").repeat(17));
    let cases = [
        ("no header", good().with("stripe-signature", None), Distrust::Missing("stripe-signature")),
        ("no v1", with(stamp), Distrust::WrongSignature),
        ("v0 only", with(&format!("{stamp},v0={hex}")), Distrust::WrongSignature),
        ("no time", with(signature), bad.clone()),
        ("two times", with(&format!("{stamp},{header}")), bad.clone()),
        ("a signed time", with(&format!("t=-{},{signature}", now())), bad.clone()),
        ("a time with a plus", with(&format!("t=+{},{signature}", now())), bad.clone()),
        ("an empty time", with(&format!("t=,{signature}")), bad.clone()),
        ("another time", with(&format!("t={},{signature}", now() - 1)), Distrust::WrongSignature),
        ("no hex", with(&format!("{stamp},v1=zz")), bad.clone()),
        ("half a signature", with(&format!("{stamp},v1={}", &hex[..32])), Distrust::WrongSignature),
        ("an empty header", with(""), bad.clone()),
        ("another secret", sign(EVENT.as_bytes().to_vec(), now(), &[OLD]), Distrust::WrongSignature),
        ("one byte changed", changed, Distrust::WrongSignature),
        ("written anew", reserialised, Distrust::WrongSignature),
        ("one byte more", tail, Distrust::WrongSignature),
        ("two headers", twice, bad.clone()),
        ("a long header", with(&"v0=1,".repeat(210_000)), Distrust::TooLarge),
        ("many signatures", with(&many), Distrust::TooLarge),
        ("a long body", sign(vec![b' '; 1_000_000], now(), &[SECRET]), Distrust::TooLarge),
        ("no event", sign(b"{}".to_vec(), now(), &[SECRET]), Distrust::Malformed("the event")),
        ("no JSON", sign(b"id=evt_1".to_vec(), now(), &[SECRET]), Distrust::Malformed("the event")),
    ];
    for (what, webhook, why) in cases {
        assert_eq!(verify(&verifier(), &webhook).await, Err(why), "{what}");
    }
}

#[tokio::test]
async fn times_are_believed_within_five_minutes_to_both_sides() {
    for (away, believed) in [(-301, false), (-300, true), (0, true), (300, true), (301, false)] {
        let webhook = sign(EVENT.as_bytes().to_vec(), now() + away, &[SECRET]);
        let verified = verify(&verifier(), &webhook).await;
        assert_eq!(verified.is_ok(), believed, "{away}");
        assert!(believed || verified == Err(Distrust::OutOfTime));
    }
    let header = format!("t={},v1=00", i64::MAX);
    let webhook = good().with("stripe-signature", Some(&header));
    assert_eq!(verify(&verifier(), &webhook).await, Err(Distrust::WrongSignature));
}

#[tokio::test]
async fn an_event_of_the_other_mode_is_refused() {
    let live = StripeWebhooks::new(Mode::Live, vec![SECRET.to_owned()]).unwrap();
    assert_eq!(verify(&live, &good()).await, Err(Distrust::WrongMode));
    let real = EVENT.replace("\"livemode\":false", "\"livemode\":true");
    let real = sign(real.into_bytes(), now(), &[SECRET]);
    assert!(verify(&live, &real).await.is_ok());
    assert_eq!(verify(&verifier(), &real).await, Err(Distrust::WrongMode));
}

#[tokio::test]
async fn events_name_what_to_pull_and_unknown_ones_are_kept() {
    for (object, about) in [
        (r#"{"id":"cs_1","object":"checkout.session"}"#, About::Checkout("cs_1".into())),
        (r#"{"id":"ch_1","object":"charge","payment_intent":"pi_1"}"#, About::Payment("pi_1".into())),
        (r#"{"id":"ch_1","object":"charge","payment_intent":{"id":"pi_2"}}"#, About::Payment("pi_2".into())),
        (r#"{"id":"re_1","object":"refund"}"#, About::Refund("re_1".into())),
        (r#"{"id":"dp_1","object":"dispute"}"#, About::Dispute("dp_1".into())),
        (r#"{"id":"tr_1","object":"transfer"}"#, About::Payout("tr_1".into())),
        (r#"{"id":"cus_1","object":"customer"}"#, About::Other),
        (r#"{"object":"balance"}"#, About::Other),
    ] {
        let event = EVENT.replace(r#"{"id":"pi_1","object":"payment_intent"}"#, object);
        let webhook = sign(event.into_bytes(), now(), &[SECRET]);
        assert_eq!(verify(&verifier(), &webhook).await.unwrap().about, about);
    }
}

#[tokio::test]
async fn what_the_fake_tells_is_believed_and_leads_to_what_happened() {
    let clock = clock();
    let fake = FakeStripe::open(clock.clone()).await;
    let settings = StripeSettings { mode: Mode::Test, key: KEY.to_owned(), address: Some(fake.address()) };
    let stripe = Stripe::new(settings, tools(&clock, limits())).unwrap();
    let page = stripe.open_checkout(&checkout("a", "p", money("100", "USD"))).await.unwrap();
    let payment = fake.pay(&page.id);
    let mut abouts = Vec::new();
    for webhook in fake.webhooks() {
        abouts.push(verify(&verifier(), &webhook).await.unwrap().about);
    }
    assert_eq!(abouts, [About::Payment(payment), About::Checkout(page.id)]);
    let late = fake.webhooks()[0].clone();
    let after = start().after(Span::from_seconds(3 * 86_400)).unwrap();
    let verified = verifier().verify(Headers::new(&late.headers), &late.body, after).await;
    assert_eq!(verified, Err(Distrust::OutOfTime), "an old delivery is no new one");
}

proptest! {
    #[test]
    fn nothing_that_is_made_up_is_believed(
        header in prop_oneof![".{0,120}", "(t=[0-9]{0,20}|v1=[0-9a-f]{0,64}|v0=.{0,5}|,|=){0,9}"],
        body in proptest::collection::vec(any::<u8>(), 0..200),
    ) {
        let webhook = SignedWebhook { headers: Vec::new(), body }.with("stripe-signature", Some(&header));
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        prop_assert!(runtime.block_on(verify(&verifier(), &webhook)).is_err());
    }
}
