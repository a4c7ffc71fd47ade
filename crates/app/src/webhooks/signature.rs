//! Signatures as Standard Webhooks asks for: HMAC-SHA256 over `id.timestamp.body`, in base64, one for each secret.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use kernel::{Rng, Timestamp};
use sha2::Sha256;

const PREFIX: &str = "whsec_";

/// What deliveries to one endpoint are signed with. Prints as stars.
#[derive(Clone, PartialEq, Eq)]
pub struct SigningSecret(Vec<u8>);

impl fmt::Debug for SigningSecret {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

impl SigningSecret {
    /// A new one of 32 bytes.
    pub fn random(rng: &dyn Rng) -> Self {
        let mut bytes = vec![0; 32];
        rng.fill(&mut bytes);
        Self(bytes)
    }

    /// From a row: 24 to 64 bytes.
    pub fn from_bytes(bytes: Vec<u8>) -> Option<Self> {
        (24..=64).contains(&bytes.len()).then_some(Self(bytes))
    }

    /// From its text, `whsec_` and base64.
    pub fn parse(text: &str) -> Option<Self> {
        Self::from_bytes(STANDARD.decode(text.strip_prefix(PREFIX)?).ok()?)
    }

    /// For the row, and nothing else.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// For the one answer that tells it.
    pub fn reveal(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    fn sign(&self, id: &str, timestamp: &str, body: &[u8]) -> String {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("a key of any length");
        for part in [id.as_bytes(), b".", timestamp.as_bytes(), b".", body] {
            mac.update(part);
        }
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

/// The headers of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers {
    /// `webhook-id`.
    pub id: String,
    /// `webhook-timestamp`, in seconds.
    pub timestamp: String,
    /// `webhook-signature`: one for each secret, with a space between.
    pub signature: String,
}

/// Signs a body as it is sent.
pub fn headers(id: &str, at: Timestamp, body: &[u8], secrets: &[SigningSecret]) -> Headers {
    let timestamp = at.micros().div_euclid(1_000_000).to_string();
    let signatures: Vec<_> = secrets.iter().map(|secret| secret.sign(id, &timestamp, body)).collect();
    Headers { id: id.to_owned(), timestamp, signature: signatures.join(" ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example that the libraries of Standard Webhooks are tested with.
    #[test]
    fn the_published_example_is_signed_as_published() {
        let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
        let at = Timestamp::from_micros(1_614_265_330_000_000);
        let body = br#"{"test": 2432232314}"#;
        let made = headers("msg_p5jXN8AQM9LWM0D4loKWxJek", at, body, std::slice::from_ref(&secret));
        assert_eq!(made.timestamp, "1614265330");
        assert_eq!(made.signature, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        let both = headers("msg_p5jXN8AQM9LWM0D4loKWxJek", at, body, &[secret.clone(), secret]);
        assert_eq!(both.signature, format!("{0} {0}", made.signature));
    }

    #[test]
    fn a_secret_is_its_text_again_and_prints_as_stars() {
        let secret = SigningSecret::random(&kernel::SeededRng::new(1));
        assert_eq!(SigningSecret::parse(&secret.reveal()).unwrap(), secret);
        assert_eq!(format!("{secret:?}"), "***");
        for wrong in ["", "whsec_", "whsec_AAAA", "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "whsec_!"] {
            assert!(SigningSecret::parse(wrong).is_none(), "{wrong}");
        }
    }
}
