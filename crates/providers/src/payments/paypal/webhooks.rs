//! Whether a webhook is PayPal's: RSA over `transmission id|time|our webhook's id|CRC-32 of the body`.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kernel::{Span, Timestamp};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, TrustAnchor};
use serde::Deserialize;
use serde_json::Value;

use super::super::wire::BadSettings;
use super::certificates::{CertificateSource, CertificateUrl, Certificates, leaf};
use app::payments::port::{About, Distrust, Headers, MOST_BODY_BYTES, Mode, Notice, ProviderName, Webhooks};

/// How old a transmission may be: PayPal tries for three days, and a little more.
pub const LATEST: Span = Span::from_seconds(3 * 86_400 + 6 * 3_600);

/// How far it may lie in the future.
const EARLIEST: Span = Span::from_seconds(300);

/// Verifies what one webhook of PayPal's sends.
pub struct PaypalWebhooks {
    webhook: String,
    certificates: Certificates,
}

impl fmt::Debug for PaypalWebhooks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PaypalWebhooks").field("webhook", &self.webhook).finish_non_exhaustive()
    }
}

#[derive(Deserialize)]
struct Event {
    id: String,
    #[serde(rename = "event_type")]
    kind: String,
    #[serde(default)]
    resource_type: String,
    create_time: Timestamp,
    #[serde(default)]
    resource: Value,
}

impl PaypalWebhooks {
    /// `webhook` is the id that PayPal gave ours when it was registered. `roots` are the authorities, in PEM, that its
    /// certificates have to lead to.
    pub fn new(
        mode: Mode,
        webhook: String,
        roots: &[u8],
        source: Arc<dyn CertificateSource>,
    ) -> Result<Self, BadSettings> {
        let provider = ProviderName::Paypal;
        let plain = webhook.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        if webhook.is_empty() || !plain {
            return Err(BadSettings::Unreadable("the webhook's id", provider));
        }
        let anchors = anchors(roots).filter(|anchors| !anchors.is_empty());
        let anchors = anchors.ok_or(BadSettings::Unreadable("the roots", provider))?;
        Ok(Self { webhook, certificates: Certificates::new(mode, anchors, source) })
    }
}

fn anchors(roots: &[u8]) -> Option<Vec<TrustAnchor<'static>>> {
    let anchor = |root: Result<CertificateDer<'static>, _>| {
        Some(webpki::anchor_from_trusted_cert(&root.ok()?).ok()?.to_owned())
    };
    CertificateDer::pem_slice_iter(roots).map(anchor).collect()
}

#[async_trait]
impl Webhooks for PaypalWebhooks {
    async fn verify(&self, headers: Headers<'_>, body: &[u8], now: Timestamp) -> Result<Notice, Distrust> {
        if body.len() > MOST_BODY_BYTES {
            return Err(Distrust::TooLarge);
        }
        // All that costs nothing comes first.
        if headers.only("paypal-auth-algo")? != "SHA256withRSA" {
            return Err(Distrust::WrongAlgorithm);
        }
        let id = headers.only("paypal-transmission-id")?;
        if id.is_empty() || !id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-') {
            return Err(Distrust::Malformed("paypal-transmission-id"));
        }
        let time = headers.only("paypal-transmission-time")?;
        let at = Timestamp::parse(time).map_err(|_| Distrust::Malformed("paypal-transmission-time"))?;
        let age = now.since(at).map_err(|_| Distrust::OutOfTime)?;
        if age > LATEST || age.micros() < EARLIEST.micros().saturating_neg() {
            return Err(Distrust::OutOfTime);
        }
        let signature = STANDARD
            .decode(headers.only("paypal-transmission-sig")?)
            .map_err(|_| Distrust::Malformed("paypal-transmission-sig"))?;
        let url = CertificateUrl::read(headers.only("paypal-cert-url")?, self.certificates.mode())?;
        let chain = self.certificates.get(&url, now).await?;
        // The CRC-32 as an unsigned decimal.
        let signed = format!("{id}|{time}|{}|{}", self.webhook, crc32fast::hash(body));
        leaf(&chain)?
            .verify_signature(webpki::ring::RSA_PKCS1_2048_8192_SHA256, signed.as_bytes(), &signature)
            .map_err(|_| Distrust::WrongSignature)?;
        let event: Event = serde_json::from_slice(body).map_err(|_| Distrust::Malformed("the event"))?;
        Ok(Notice {
            provider: ProviderName::Paypal,
            about: about(&event.resource_type, &event.resource),
            id: event.id,
            kind: event.kind,
            at: event.create_time,
        })
    }
}

fn about(kind: &str, resource: &Value) -> About {
    let text = |path: &str| resource.pointer(path).and_then(Value::as_str).map(str::to_owned);
    let about = match kind {
        "checkout-order" => text("/id").map(About::Checkout),
        "capture" => text("/id").map(About::Payment),
        "refund" => text("/id").map(About::Refund),
        "dispute" => text("/dispute_id").map(About::Dispute),
        "payouts" => text("/batch_header/payout_batch_id").map(About::Payout),
        "payouts_item" => text("/payout_batch_id").map(About::Payout),
        _ => None,
    };
    about.unwrap_or(About::Other)
}
