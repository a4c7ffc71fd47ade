//! What a mail provider reports of addresses: one small JSON form, signed.
//!
//! ```json
//! {"type": "hard", "address": "ann@example.com", "message_id": "0198...@firm.example"}
//! ```
//!
//! `type` is `hard`, `soft` or `complaint`; one of `address` and `message_id` is enough. The header `x-signature` holds
//! HMAC-SHA256 over the body under the shared secret as 64 hexadecimal digits. The end of the address is a token that
//! only the provider knows.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use kernel::MailId;
use serde::Deserialize;
use sha2::Sha256;

use super::Suppression;
use crate::AppError;

/// What the provider and we share. Prints as stars.
#[derive(Clone)]
pub struct BounceKey {
    token: String,
    secret: Vec<u8>,
}

impl fmt::Debug for BounceKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// A report.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Bounce {
    /// `hard`, `soft` or `complaint`.
    #[serde(rename = "type")]
    pub kind: BounceKind,
    /// The address.
    #[serde(default)]
    pub address: Option<String>,
    /// The Message-ID of the mail, with or without its angle brackets.
    #[serde(default)]
    pub message_id: Option<String>,
}

/// What was reported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BounceKind {
    /// The address does not exist.
    Hard,
    /// The mail could not be delivered this time.
    Soft,
    /// The reader called it unwanted.
    Complaint,
}

/// What became of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bounced {
    /// The address takes no mail any more.
    Suppressed,
    /// Nothing is to be done.
    Noted,
    /// It names no mail of ours.
    Unknown,
}

impl BounceKey {
    /// Both at least 16 characters.
    pub fn new(token: &str, secret: &str) -> Option<Self> {
        let long = token.len() >= 16 && secret.len() >= 16;
        long.then(|| Self { token: token.to_owned(), secret: secret.as_bytes().to_vec() })
    }

    /// A report whose token and signature hold.
    pub(super) fn read(&self, token: &str, signature: &str, body: &[u8]) -> Result<Bounce, AppError> {
        // Both are compared by their codes, which takes the same time however much of them is right.
        let right_token = self.mac(token.as_bytes()).finalize() == self.mac(self.token.as_bytes()).finalize();
        let signature = hex::decode(signature).unwrap_or_default();
        let right_signature = self.mac(body).verify_slice(&signature).is_ok();
        if !right_token {
            return Err(AppError::NotFound("address for bounces"));
        }
        if !right_signature {
            return Err(AppError::Unauthenticated);
        }
        serde_json::from_slice(body)
            .map_err(|error| AppError::field("", format!("The report cannot be read: {error}.")))
    }

    fn mac(&self, bytes: &[u8]) -> Hmac<Sha256> {
        #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.secret).expect("a key of any length");
        mac.update(bytes);
        mac
    }
}

impl Bounce {
    /// What it means for the address.
    pub(super) fn suppression(&self) -> Option<Suppression> {
        match self.kind {
            BounceKind::Hard => Some(Suppression::HardBounce),
            BounceKind::Complaint => Some(Suppression::Complaint),
            BounceKind::Soft => None,
        }
    }

    /// The mail it is about.
    pub(super) fn mail(&self) -> Option<MailId> {
        let text = self.message_id.as_deref()?.trim().trim_start_matches('<');
        text.split('@').next()?.parse().ok()
    }
}
