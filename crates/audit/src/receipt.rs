//! A document in an envelope that a trader can check without us.
//!
//! A sealed document is one JSON object of exactly these fields:
//!
//! | field | what it holds |
//! | --- | --- |
//! | `body` | what is said: any JSON without fractions |
//! | `format` | `tradesense.receipt/1` |
//! | `hash` | SHA-256 over the canonical text of `body` |
//! | `key` | the id of the public key: the first 16 digits of its SHA-256 |
//! | `public_key` | the Ed25519 public key |
//! | `signature` | the Ed25519 signature over three lines: the format, the key's id, the canonical text of `body`, with one line feed after each of the first two |
//!
//! Hash, key and signature are lower-case hexadecimal. The canonical text is that of [`crate::canonical`]. Spaces
//! between fields, their order, and how a character is escaped carry no meaning and are not protected; everything
//! that a reader gets to see is.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::{
    KeyId, NotCanonical, PublicKey, Signature, SigningKey, Unverified, WrittenKeyError, canonical, strict,
};

/// The name of this envelope, and the purpose of its signatures.
pub const FORMAT: &str = "tradesense.receipt/1";

/// A body with its seal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sealed {
    document: Value,
    text: String,
    hash: String,
}

impl Sealed {
    /// The whole document.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// The whole document as canonical text: what to store and to hand out.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// SHA-256 over the canonical text of the body, 64 hexadecimal digits.
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// The whole document, to be put into an answer.
    pub fn into_document(self) -> Value {
        self.document
    }
}

/// Seals a body. Fails only if the body has no canonical text.
pub fn seal(body: &Value, key: &SigningKey) -> Result<Sealed, NotCanonical> {
    let signed = canonical(body)?;
    let hash = hash(&signed);
    let public = key.public();
    let document = json!({
        "body": body,
        "format": FORMAT,
        "hash": hash,
        "key": public.id().to_string(),
        "public_key": public.to_string(),
        "signature": key.sign(FORMAT, signed.as_bytes()).to_string(),
    });
    // One level deeper than the body: what can be sealed can be written and read again.
    let text = canonical(&document)?;
    Ok(Sealed { document, text, hash })
}

/// A body whose seal holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Verified {
    /// What was signed.
    pub body: Value,
    /// The key that signed it.
    pub key: PublicKey,
    /// Whether the only word for this key is the document's own. Anybody can make a key: then it is shown that
    /// nothing was altered since the owner of this key signed, and not who that is.
    pub self_declared: bool,
}

impl Verified {
    /// What was shown, in a sentence for a trader.
    pub fn sentence(&self) -> String {
        let Self { key, self_declared, .. } = self;
        let id = key.id();
        if *self_declared {
            format!(
                "Nothing was changed since this was signed by the key that the document itself names ({id}). Whose \
                 key that is the document cannot show: compare {key} with the key that the firm publishes."
            )
        } else {
            format!("Nothing was changed since this was signed by the key that you gave ({id}).")
        }
    }
}

/// Why a document is not accepted, in words for a trader. In the order of the checks: the first that fails is the
/// answer.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Not JSON, a field twice, or a number with a fraction.
    #[error("this cannot be read as one JSON document in which every field stands once")]
    Unreadable(#[source] serde_json::Error),
    /// JSON, but no object with a text in `format`.
    #[error("this is not a receipt: it does not name its format")]
    NotAReceipt,
    /// Another format, or an altered one.
    #[error("this is not a receipt of the format {FORMAT}: it says {0:?}")]
    OtherFormat(String),
    /// A field was removed.
    #[error("the receipt is not whole: its field {0:?} is missing")]
    Missing(&'static str),
    /// A field holds something else than text.
    #[error("the receipt was changed: its field {0:?} is not a text")]
    NotText(&'static str),
    /// A field was added.
    #[error("the receipt was changed: a field {0:?} does not belong to it")]
    Added(String),
    /// The public key was altered so that it is none.
    #[error("the receipt's public key cannot be read")]
    PublicKey(#[source] WrittenKeyError),
    /// The key's id or the public key was altered.
    #[error("the receipt's key was changed: it names the key {named:?}, but its public key is {found}")]
    KeyId {
        /// The id that the document gives.
        named: String,
        /// The id of its public key.
        found: KeyId,
    },
    /// Whole perhaps, but of somebody else.
    #[error("the receipt is signed by another key ({found}) than the one that you gave ({given})")]
    OtherKey {
        /// The trader's key.
        given: KeyId,
        /// The document's key.
        found: KeyId,
    },
    /// The signature was altered so that it is none.
    #[error("the receipt's signature cannot be read")]
    SignatureText(#[source] WrittenKeyError),
    /// The body holds what no sealed body holds.
    #[error("the text was changed after signing: it holds what no receipt can hold")]
    Body(#[source] NotCanonical),
    /// The body was altered.
    #[error("the text was changed after signing: it has another hash, and the signature is not for it")]
    Text,
    /// The hash alone was altered.
    #[error("the receipt's hash was changed: the signed text has another one")]
    Hash,
    /// The signature was altered, or the body together with its hash.
    #[error("the signature is not for this text: one of the two was changed after signing")]
    Signature(#[source] Unverified),
}

/// Checks the text of a sealed document. With `trusted` (the key that the firm publishes) it must be signed by that
/// key; without, by the one that it names itself, and [`Verified::self_declared`] says so.
pub fn verify(text: &[u8], trusted: Option<&PublicKey>) -> Result<Verified, Refused> {
    let Value::Object(mut fields) = strict::parse(text).map_err(Refused::Unreadable)? else {
        return Err(Refused::NotAReceipt);
    };
    match fields.remove("format") {
        Some(Value::String(format)) if format == FORMAT => {}
        Some(Value::String(format)) => return Err(Refused::OtherFormat(format)),
        _ => return Err(Refused::NotAReceipt),
    }
    let body = take(&mut fields, "body")?;
    let named_hash = take_text(&mut fields, "hash")?;
    let named = take_text(&mut fields, "key")?;
    let public_key = take_text(&mut fields, "public_key")?;
    let signature = take_text(&mut fields, "signature")?;
    if let Some(name) = fields.keys().next() {
        return Err(Refused::Added(name.clone()));
    }
    let key = PublicKey::parse(&public_key).map_err(Refused::PublicKey)?;
    if named != key.id().to_string() {
        return Err(Refused::KeyId { named, found: key.id() });
    }
    if let Some(trusted) = trusted.filter(|trusted| **trusted != key) {
        return Err(Refused::OtherKey { given: trusted.id(), found: key.id() });
    }
    let signature = Signature::parse(&signature).map_err(Refused::SignatureText)?;
    let signed = canonical(&body).map_err(Refused::Body)?;
    let hash_holds = named_hash == hash(&signed);
    match (key.verify(FORMAT, signed.as_bytes(), &signature), hash_holds) {
        (Ok(()), true) => Ok(Verified { body, key, self_declared: trusted.is_none() }),
        (Ok(()), false) => Err(Refused::Hash),
        (Err(Unverified), false) => Err(Refused::Text),
        (Err(unverified), true) => Err(Refused::Signature(unverified)),
    }
}

fn hash(text: &str) -> String {
    hex::encode(Sha256::digest(text))
}

fn take(fields: &mut Map<String, Value>, name: &'static str) -> Result<Value, Refused> {
    fields.remove(name).ok_or(Refused::Missing(name))
}

fn take_text(fields: &mut Map<String, Value>, name: &'static str) -> Result<String, Refused> {
    match take(fields, name)? {
        Value::String(text) => Ok(text),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            Err(Refused::NotText(name))
        }
    }
}
