use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use app::payments::port::{About, Distrust, Headers, Mode, Notice, ProviderName, Webhooks as _};
use async_trait::async_trait;
use kernel::{Span, Timestamp};
use providers::payments::BadSettings;
use providers::payments::paypal::{
    CertificateSource, CertificateUrl, HttpsCertificates, LATEST, PaypalWebhooks,
};
use testkit::payments::paypal::{CERTIFICATE, FakePaypal, WEBHOOK, signature, signed};
use testkit::payments::{Authority, CertificateServer, Leaf, Serving, SignedWebhook};

use super::start;

const HOST: &str = "api.sandbox.paypal.com";
const EVENT: &str = r#"{"id":"WH-1","create_time":"2026-06-01T08:59:00.000Z","resource_type":"capture",
 "event_type":"PAYMENT.CAPTURE.COMPLETED","resource":{"id":"CAP1"}}"#;

/// Certificates at hand.
struct Shelf {
    file: String,
    fetches: AtomicUsize,
}

#[async_trait]
impl CertificateSource for Shelf {
    async fn fetch(&self, url: &CertificateUrl) -> Result<Vec<u8>, String> {
        assert!(url.as_str().starts_with("https://api.sandbox.paypal.com/v1/notifications/certs/"));
        self.fetches.fetch_add(1, Ordering::SeqCst);
        Ok(self.file.clone().into_bytes())
    }
}

fn verifier_of(authority: &Authority, file: String) -> (PaypalWebhooks, Arc<Shelf>) {
    let shelf = Arc::new(Shelf { file, fetches: AtomicUsize::new(0) });
    let roots = authority.root_pem().as_bytes();
    let webhooks = PaypalWebhooks::new(Mode::Test, WEBHOOK.to_owned(), roots, shelf.clone()).unwrap();
    (webhooks, shelf)
}

fn verifier() -> (PaypalWebhooks, Arc<Shelf>) {
    let authority = Authority::new();
    verifier_of(&authority, authority.chain(&Leaf::default()))
}

async fn verify_at(
    verifier: &PaypalWebhooks,
    webhook: &SignedWebhook,
    now: Timestamp,
) -> Result<Notice, Distrust> {
    verifier.verify(Headers::new(&webhook.headers), &webhook.body, now).await
}

async fn verify(verifier: &PaypalWebhooks, webhook: &SignedWebhook) -> Result<Notice, Distrust> {
    verify_at(verifier, webhook, start()).await
}

fn good() -> SignedWebhook {
    signed(EVENT.as_bytes().to_vec(), "69cd13f0-d67a-11e5-baa3-778b53f4ae55", start(), WEBHOOK)
}

#[tokio::test]
async fn a_webhook_that_paypal_signed_is_read_and_its_certificate_is_kept() {
    let (webhooks, shelf) = verifier();
    let notice = verify(&webhooks, &good()).await.unwrap();
    let expected = Notice {
        provider: ProviderName::Paypal,
        id: "WH-1".to_owned(),
        kind: "PAYMENT.CAPTURE.COMPLETED".to_owned(),
        about: About::Payment("CAP1".to_owned()),
        at: Timestamp::parse("2026-06-01T08:59:00Z").unwrap(),
    };
    assert_eq!(notice, expected);
    for _ in 0..5 {
        assert!(verify(&webhooks, &good()).await.is_ok(), "a replay is the inbox's to find");
    }
    assert_eq!(shelf.fetches.load(Ordering::SeqCst), 1);
    let after = start().after(Span::from_seconds(7 * 3_600)).unwrap();
    assert!(verify_at(&webhooks, &good(), after).await.is_ok());
    assert_eq!(shelf.fetches.load(Ordering::SeqCst), 2, "fetched anew after six hours");
}

#[tokio::test]
async fn the_crc_is_unsigned_and_of_the_bytes_that_came() {
    let (webhooks, _) = verifier();
    // A body whose CRC-32 is above 2^31, where a signed one would be below zero.
    let body = (0..100)
        .map(|count| EVENT.replace("WH-1", &format!("WH-{count}")).into_bytes())
        .find(|body| crc32fast::hash(body) > 1 << 31)
        .unwrap();
    let webhook = signed(body.clone(), "t-1", start(), WEBHOOK);
    assert!(verify(&webhooks, &webhook).await.is_ok());
    let crc = i64::from(crc32fast::hash(&body)) - (1 << 32);
    let message = format!("t-1|{}|{WEBHOOK}|{crc}", webhook.header("paypal-transmission-time"));
    let negative = webhook.clone().with("paypal-transmission-sig", Some(&signature(&message)));
    assert_eq!(verify(&webhooks, &negative).await, Err(Distrust::WrongSignature));
    let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let anew = SignedWebhook { body: value.to_string().into_bytes(), ..webhook };
    assert_eq!(verify(&webhooks, &anew).await, Err(Distrust::WrongSignature), "written anew");
}

#[tokio::test]
async fn every_other_webhook_is_refused_before_anything_is_fetched() {
    let (webhooks, shelf) = verifier();
    let with = |name: &str, value: &str| good().with(name, Some(value));
    let mut twice = good();
    twice.headers.push(twice.headers[2].clone());
    let foreign = |url: &str| (with("paypal-cert-url", url), Distrust::ForeignCertificate);
    let mut cases = vec![
        (with("paypal-auth-algo", "SHA1withRSA"), Distrust::WrongAlgorithm),
        (with("paypal-auth-algo", "sha256withrsa"), Distrust::WrongAlgorithm),
        (with("paypal-auth-algo", "none"), Distrust::WrongAlgorithm),
        (with("paypal-transmission-id", "a|b"), Distrust::Malformed("paypal-transmission-id")),
        (with("paypal-transmission-id", ""), Distrust::Malformed("paypal-transmission-id")),
        (with("paypal-transmission-time", "now"), Distrust::Malformed("paypal-transmission-time")),
        (with("paypal-transmission-sig", "%%"), Distrust::Malformed("paypal-transmission-sig")),
        (with("paypal-transmission-sig", &"A".repeat(1_000_000)), Distrust::TooLarge),
        (twice, Distrust::Malformed("paypal-transmission-sig")),
        (signed(vec![b' '; 1_000_000], "t", start(), WEBHOOK), Distrust::TooLarge),
        foreign("https://evil.example/v1/notifications/certs/CERT-1"),
        foreign("https://api.sandbox.paypal.com.evil.example/v1/notifications/certs/CERT-1"),
        foreign("https://api.sandbox.paypal.com@evil.example/v1/notifications/certs/CERT-1"),
        foreign("http://api.sandbox.paypal.com/v1/notifications/certs/CERT-1"),
        foreign("https://10.0.0.1/v1/notifications/certs/CERT-1"),
        foreign("https://api.paypal.com/v1/notifications/certs/CERT-1"),
    ];
    for name in [
        "paypal-transmission-id",
        "paypal-transmission-time",
        "paypal-transmission-sig",
        "paypal-cert-url",
        "paypal-auth-algo",
    ] {
        cases.push((good().with(name, None), Distrust::Missing(name)));
    }
    for (webhook, why) in cases {
        assert_eq!(verify(&webhooks, &webhook).await, Err(why));
    }
    assert_eq!(shelf.fetches.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn what_was_signed_for_another_webhook_or_is_not_what_was_signed_is_refused() {
    let (webhooks, _) = verifier();
    let elsewhere = signed(EVENT.as_bytes().to_vec(), "t-1", start(), "1AB23456CD789012E");
    let mut changed = good();
    changed.body[20] ^= 1;
    let mut claims = good();
    claims.headers.push(("paypal-webhook-id".to_owned(), b"1AB23456CD789012E".to_vec()));
    let moved = good().with("paypal-transmission-time", Some("2026-06-01T09:00:01Z"));
    let renamed = good().with("paypal-transmission-id", Some("t-2"));
    for webhook in [elsewhere, changed, moved, renamed] {
        assert_eq!(verify(&webhooks, &webhook).await, Err(Distrust::WrongSignature));
    }
    assert!(verify(&webhooks, &claims).await.is_ok(), "what it says of itself counts for nothing");
    let nothing = signed(b"{}".to_vec(), "t-1", start(), WEBHOOK);
    assert_eq!(verify(&webhooks, &nothing).await, Err(Distrust::Malformed("the event")));
}

#[tokio::test]
async fn transmissions_are_believed_for_as_long_as_paypal_tries() {
    let (webhooks, _) = verifier();
    let second = Span::from_seconds(1);
    let last = start().after(LATEST).unwrap();
    assert!(verify_at(&webhooks, &good(), last).await.is_ok());
    let after = last.after(second).unwrap();
    assert_eq!(verify_at(&webhooks, &good(), after).await, Err(Distrust::OutOfTime));
    let first = start().before(Span::from_seconds(300)).unwrap();
    assert!(verify_at(&webhooks, &good(), first).await.is_ok());
    let before = first.before(second).unwrap();
    assert_eq!(verify_at(&webhooks, &good(), before).await, Err(Distrust::OutOfTime));
}

#[tokio::test]
async fn certificates_that_are_not_paypals_or_not_valid_now_are_refused() {
    let (ours, theirs) = (Authority::new(), Authority::new());
    let leaf = |name: &str| Leaf { name: name.to_owned(), ..Leaf::default() };
    let expired = Leaf { from: 2020, until: 2026, ..Leaf::default() };
    let future = Leaf { from: 2027, until: 2030, ..Leaf::default() };
    for (what, file) in [
        ("expired", ours.chain(&expired)),
        ("not valid yet", ours.chain(&future)),
        ("of another authority", theirs.chain(&Leaf::default())),
        ("self-signed", FakePaypal::own_certificate()),
        ("without what leads to the root", ours.leaf_alone(&Leaf::default())),
        ("of another name", ours.chain(&leaf("messageverificationcerts.evil.example"))),
        ("of a name that looks like it", ours.chain(&leaf("messageverificationcertspaypal.com"))),
        ("of a name that begins like it", ours.chain(&leaf("x.paypal.com.evil.example"))),
        ("for every name", ours.chain(&leaf("*.paypal.com"))),
        ("the authority itself", ours.root_pem().to_owned()),
        ("nothing", String::new()),
        ("no certificate", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".to_owned()),
        ("broken", "-----BEGIN CERTIFICATE-----\nAAAA".to_owned()),
        ("too many", ours.chain(&Leaf::default()).repeat(4)),
    ] {
        let (webhooks, _) = verifier_of(&ours, file);
        let verified = verify(&webhooks, &good()).await;
        assert!(matches!(verified, Err(Distrust::BadCertificate(_))), "{what}: {verified:?}");
        assert!(!verified.unwrap_err().is_passing(), "{what}");
    }
    let (webhooks, _) = verifier_of(&ours, ours.chain(&leaf("messageverificationcerts.paypal.com")));
    assert!(verify(&webhooks, &good()).await.is_ok());
}

#[tokio::test]
async fn a_kept_certificate_is_not_believed_longer_than_it_is_valid() {
    let authority = Authority::new();
    let (webhooks, shelf) =
        verifier_of(&authority, authority.chain(&Leaf { until: 2027, ..Leaf::default() }));
    let eve = Timestamp::parse("2026-12-31T23:59:00Z").unwrap();
    let webhook = signed(EVENT.as_bytes().to_vec(), "t-1", eve, WEBHOOK);
    assert!(verify_at(&webhooks, &webhook, eve).await.is_ok());
    let after = eve.after(Span::from_seconds(120)).unwrap();
    assert!(matches!(verify_at(&webhooks, &webhook, after).await, Err(Distrust::BadCertificate(_))));
    assert_eq!(shelf.fetches.load(Ordering::SeqCst), 1);
}

#[tokio::test]
async fn the_certificate_comes_over_https_from_paypals_own_host_or_not_at_all() {
    let authority = Authority::new();
    let server =
        CertificateServer::open(&authority, HOST, Serving::File(authority.chain(&Leaf::default()))).await;
    let patience = Duration::from_secs(5);
    let webhooks = |authority: &Authority, server: &CertificateServer, patience| {
        let source = HttpsCertificates::new(authority.roots(), patience, Some(server.address)).unwrap();
        let roots = authority.root_pem().as_bytes();
        PaypalWebhooks::new(Mode::Test, WEBHOOK.to_owned(), roots, Arc::new(source)).unwrap()
    };
    let verified = verify(&webhooks(&authority, &server, patience), &good()).await;
    assert!(verified.is_ok(), "{verified:?}");
    let elsewhere = CertificateServer::open(&authority, "evil.example", Serving::Status(500)).await;
    for serving in [
        Serving::Redirect(format!("https://{HOST}/v1/notifications/certs/CERT-2")),
        Serving::Redirect("https://evil.example/".to_owned()),
        Serving::Status(404),
        Serving::Status(500),
        Serving::Endless,
    ] {
        server.serve(serving.clone());
        let (webhooks, asked) = (webhooks(&authority, &server, patience), server.asked());
        let verified = verify(&webhooks, &good()).await;
        assert!(matches!(&verified, Err(Distrust::CertificateUnavailable(_))), "{serving:?}: {verified:?}");
        assert!(verified.unwrap_err().is_passing());
        assert!(verify(&webhooks, &good()).await.is_err());
        assert_eq!(server.asked(), asked + 1, "not asked again at once: {serving:?}");
        server.serve(Serving::File(authority.chain(&Leaf::default())));
        let later = start().after(Span::from_seconds(31)).unwrap();
        assert!(verify_at(&webhooks, &good(), later).await.is_ok(), "but later: {serving:?}");
    }
    server.serve(Serving::Silent);
    let verified = verify(&webhooks(&authority, &server, Duration::from_millis(300)), &good()).await;
    assert_eq!(verified, Err(Distrust::CertificateUnavailable("it took too long".to_owned())));
    // Whoever answers under PayPal's name has to prove it.
    let stranger = CertificateServer::open(&Authority::new(), HOST, Serving::Status(200)).await;
    for server in [stranger, elsewhere] {
        let verified = verify(&webhooks(&authority, &server, patience), &good()).await;
        assert!(matches!(verified, Err(Distrust::CertificateUnavailable(_))), "{verified:?}");
    }
}

#[tokio::test]
async fn forgeries_with_many_addresses_fetch_little_at_once() {
    struct Slow(AtomicUsize, AtomicUsize);
    #[async_trait]
    impl CertificateSource for Slow {
        async fn fetch(&self, _: &CertificateUrl) -> Result<Vec<u8>, String> {
            let now = self.0.fetch_add(1, Ordering::SeqCst) + 1;
            self.1.fetch_max(now, Ordering::SeqCst);
            tokio::time::sleep(Duration::from_millis(50)).await;
            self.0.fetch_sub(1, Ordering::SeqCst);
            Err("there is none".to_owned())
        }
    }
    let source = Arc::new(Slow(AtomicUsize::new(0), AtomicUsize::new(0)));
    let roots = Authority::new();
    let roots = roots.root_pem().as_bytes();
    let webhooks = PaypalWebhooks::new(Mode::Test, WEBHOOK.to_owned(), roots, source.clone()).unwrap();
    let forgeries: Vec<_> =
        (0..50).map(|count| good().with("paypal-cert-url", Some(&format!("{CERTIFICATE}{count}")))).collect();
    let all = forgeries.iter().map(|webhook| verify(&webhooks, webhook));
    for verified in futures_util::future::join_all(all).await {
        assert!(matches!(verified, Err(Distrust::CertificateUnavailable(_))), "{verified:?}");
    }
    assert!(source.1.load(Ordering::SeqCst) <= 2);
}

#[tokio::test]
async fn nothing_is_believed_without_a_webhook_of_ours_and_roots_to_trust() {
    let authority = Authority::new();
    let made = |webhook: &str, roots: &[u8]| {
        let shelf = Arc::new(Shelf { file: String::new(), fetches: AtomicUsize::new(0) });
        PaypalWebhooks::new(Mode::Test, webhook.to_owned(), roots, shelf)
    };
    for (webhook, roots) in [
        ("", authority.root_pem().as_bytes()),
        ("a|b", authority.root_pem().as_bytes()),
        (WEBHOOK, b"".as_slice()),
        (WEBHOOK, b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n".as_slice()),
    ] {
        assert!(matches!(made(webhook, roots), Err(BadSettings::Unreadable(..))), "{webhook:?}");
    }
    assert!(made(WEBHOOK, authority.root_pem().as_bytes()).is_ok());
}

#[tokio::test]
async fn real_money_believes_no_certificate_of_the_sandbox() {
    let authority = Authority::new();
    let shelf = Arc::new(Shelf { file: authority.chain(&Leaf::default()), fetches: AtomicUsize::new(0) });
    let roots = authority.root_pem().as_bytes();
    let live = PaypalWebhooks::new(Mode::Live, WEBHOOK.to_owned(), roots, shelf).unwrap();
    assert_eq!(verify(&live, &good()).await, Err(Distrust::ForeignCertificate));
}

#[tokio::test]
async fn events_name_what_to_pull_and_unknown_ones_are_kept() {
    let (webhooks, _) = verifier();
    for (kind, resource, about) in [
        ("checkout-order", r#"{"id":"O1"}"#, About::Checkout("O1".into())),
        ("refund", r#"{"id":"R1"}"#, About::Refund("R1".into())),
        ("dispute", r#"{"dispute_id":"PP-D-1"}"#, About::Dispute("PP-D-1".into())),
        ("payouts", r#"{"batch_header":{"payout_batch_id":"B1"}}"#, About::Payout("B1".into())),
        ("payouts_item", r#"{"payout_item_id":"I1","payout_batch_id":"B2"}"#, About::Payout("B2".into())),
        ("plan", r#"{"id":"P1"}"#, About::Other),
        ("capture", "{}", About::Other),
    ] {
        let event =
            EVENT.replace("\"capture\"", &format!("\"{kind}\"")).replace(r#"{"id":"CAP1"}"#, resource);
        let webhook = signed(event.into_bytes(), "t-1", start(), WEBHOOK);
        assert_eq!(verify(&webhooks, &webhook).await.unwrap().about, about, "{kind}");
    }
}
