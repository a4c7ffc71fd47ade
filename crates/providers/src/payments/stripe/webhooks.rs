//! Whether a webhook is Stripe's: `Stripe-Signature: t=SECONDS,v1=HEX[,v1=HEX..]` over `SECONDS.BODY`.

use std::fmt;

use async_trait::async_trait;
use hmac::{Hmac, KeyInit as _, Mac as _};
use kernel::{Span, Timestamp};
use serde::Deserialize;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::super::wire::BadSettings;
use app::payments::port::{About, Distrust, Headers, MOST_BODY_BYTES, Mode, Notice, ProviderName, Webhooks};

/// How far a signature's time may lie from ours, in the past and in the future.
pub const TOLERANCE: Span = Span::from_seconds(300);

/// Signatures in one header; Stripe sends one for each secret of the endpoint that still lives.
const MOST_SIGNATURES: usize = 16;

/// Verifies what one endpoint of Stripe's sends.
pub struct StripeWebhooks {
    mode: Mode,
    /// The endpoint's secrets; two while one is replaced.
    secrets: Vec<Zeroizing<String>>,
}

impl fmt::Debug for StripeWebhooks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("StripeWebhooks").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// An event, as far as it is believed: what it says about the object is pulled instead.
#[derive(Deserialize)]
struct Event {
    id: String,
    #[serde(rename = "type")]
    kind: String,
    livemode: bool,
    created: i64,
    data: Data,
}

#[derive(Deserialize)]
struct Data {
    object: Object,
}

#[derive(Deserialize)]
struct Object {
    id: Option<String>,
    #[serde(rename = "object")]
    kind: Option<String>,
    payment_intent: Option<serde_json::Value>,
}

impl StripeWebhooks {
    /// Without a secret nothing is believed, so there has to be one.
    pub fn new(mode: Mode, secrets: Vec<String>) -> Result<Self, BadSettings> {
        let secrets: Vec<_> = secrets.into_iter().map(Zeroizing::new).collect();
        let good = |secret: &Zeroizing<String>| {
            secret.strip_prefix("whsec_").is_some_and(|rest| rest.len() >= 16 && rest.is_ascii())
        };
        if secrets.is_empty() || !secrets.iter().all(good) {
            return Err(BadSettings::Unreadable("a webhook secret", ProviderName::Stripe));
        }
        Ok(Self { mode, secrets })
    }

    fn check(&self, header: &str, body: &[u8], now: Timestamp) -> Result<(), Distrust> {
        const HEADER: Distrust = Distrust::Malformed("stripe-signature");
        let mut stamp = None;
        let mut signatures = Vec::new();
        for part in header.split(',') {
            let (name, value) = part.split_once('=').ok_or(HEADER)?;
            match name.trim() {
                "t" if stamp.is_some() => return Err(HEADER),
                "t" => stamp = Some(value),
                "v1" if signatures.len() == MOST_SIGNATURES => return Err(Distrust::TooLarge),
                "v1" => signatures.push(hex::decode(value).map_err(|_| HEADER)?),
                // Other schemes prove nothing; v0 is for tests of Stripe's own.
                _ => {}
            }
        }
        let stamp = stamp.ok_or(HEADER)?;
        if !stamp.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(HEADER);
        }
        let seconds: i64 = stamp.parse().map_err(|_| HEADER)?;
        if signatures.is_empty() {
            return Err(Distrust::WrongSignature);
        }
        let mut genuine = false;
        for secret in &self.secrets {
            let mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map_err(|_| HEADER)?;
            let mac = mac.chain_update(stamp.as_bytes()).chain_update(b".").chain_update(body);
            for signature in &signatures {
                genuine |= mac.clone().verify_slice(signature).is_ok();
            }
        }
        if !genuine {
            return Err(Distrust::WrongSignature);
        }
        // By whole seconds, as the header has it.
        let away = now.micros().div_euclid(1_000_000).checked_sub(seconds).ok_or(HEADER)?;
        let most = TOLERANCE.micros().div_euclid(1_000_000).unsigned_abs();
        if away.unsigned_abs() > most { Err(Distrust::OutOfTime) } else { Ok(()) }
    }
}

#[async_trait]
impl Webhooks for StripeWebhooks {
    async fn verify(&self, headers: Headers<'_>, body: &[u8], now: Timestamp) -> Result<Notice, Distrust> {
        if body.len() > MOST_BODY_BYTES {
            return Err(Distrust::TooLarge);
        }
        self.check(headers.only("stripe-signature")?, body, now)?;
        let event: Event = serde_json::from_slice(body).map_err(|_| Distrust::Malformed("the event"))?;
        if event.livemode != (self.mode == Mode::Live) {
            return Err(Distrust::WrongMode);
        }
        let at = event.created.checked_mul(1_000_000).ok_or(Distrust::Malformed("the event's time"))?;
        Ok(Notice {
            provider: ProviderName::Stripe,
            about: about(event.data.object),
            id: event.id,
            kind: event.kind,
            at: Timestamp::from_micros(at),
        })
    }
}

fn about(object: Object) -> About {
    let (Some(id), Some(kind)) = (object.id, object.kind) else { return About::Other };
    let intent = object.payment_intent.unwrap_or_default();
    let paid = intent.as_str().or_else(|| intent.get("id")?.as_str()).map(str::to_owned);
    match kind.as_str() {
        "checkout.session" => About::Checkout(id),
        "payment_intent" => About::Payment(id),
        "charge" => paid.map_or(About::Other, About::Payment),
        "refund" => About::Refund(id),
        "dispute" => About::Dispute(id),
        "transfer" => About::Payout(id),
        _ => About::Other,
    }
}
