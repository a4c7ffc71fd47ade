//! Ed25519 keys and signatures, and how they are written.
//!
//! Public keys and signatures are written in **lower-case hexadecimal** (64 and 128 digits): one text per value, the
//! same alphabet as our hashes, and two of them can be compared by eye.

use std::fmt;

use ed25519_dalek::Signer as _;
use sha2::{Digest, Sha256};

/// The private half of a key pair. Nothing prints it, and its memory is cleared when it is dropped.
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// The key whose secret (the "seed" of RFC 8032) is `secret`: 32 bytes of good chance. The caller clears its own
    /// copy.
    pub fn from_secret(secret: &[u8; 32]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(secret))
    }

    /// The half that everybody may know.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// Signs `message` for one purpose. What is signed are the bytes `purpose`, a line feed, the key's id, a line
    /// feed, `message`: a signature given for one purpose or by one key's name is worth nothing for another.
    /// A purpose is a constant of its module and holds no line feed.
    pub fn sign(&self, purpose: &'static str, message: &[u8]) -> Signature {
        Signature(self.0.sign(&framed(purpose, self.public().id(), message)))
    }

    /// Signs these bytes as they are, for formats of others that say themselves what is signed.
    pub(crate) fn sign_bare(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "SigningKey(id {})", self.public().id())
    }
}

fn framed(purpose: &str, key: KeyId, message: &[u8]) -> Vec<u8> {
    let mut framed = format!("{purpose}\n{key}\n").into_bytes();
    framed.extend_from_slice(message);
    framed
}

/// The public half of a key pair. Printed as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(ed25519_dalek::VerifyingKey);

impl PublicKey {
    /// Reads 64 lower-case hexadecimal digits. A key under which anything would be validly signed is refused.
    pub fn parse(text: &str) -> Result<Self, WrittenKeyError> {
        Self::from_bytes(&digits(text)?)
    }

    /// The key with these bytes. A key under which anything would be validly signed is refused.
    pub fn from_bytes(bytes: &[u8; 32]) -> Result<Self, WrittenKeyError> {
        let key = ed25519_dalek::VerifyingKey::from_bytes(bytes).map_err(WrittenKeyError::NotAPublicKey)?;
        if key.is_weak() { Err(WrittenKeyError::Weak) } else { Ok(Self(key)) }
    }

    /// As RFC 8032 writes it.
    pub fn bytes(&self) -> &[u8; 32] {
        self.0.as_bytes()
    }

    /// Its short name.
    pub fn id(&self) -> KeyId {
        let mut id = [0; 8];
        for (byte, hashed) in id.iter_mut().zip(Sha256::digest(self.0.as_bytes())) {
            *byte = hashed;
        }
        KeyId(id)
    }

    /// Whether `signature` was given to these bytes for this purpose by the private half of this key.
    pub fn verify(
        &self,
        purpose: &'static str,
        message: &[u8],
        signature: &Signature,
    ) -> Result<(), Unverified> {
        self.0.verify_strict(&framed(purpose, self.id(), message), &signature.0).map_err(|_| Unverified)
    }

    /// Whether exactly these bytes were signed, in formats of others.
    pub(crate) fn verify_bare(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), Unverified> {
        let signature = ed25519_dalek::Signature::from_bytes(signature);
        self.0.verify_strict(message, &signature).map_err(|_| Unverified)
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "PublicKey({self})")
    }
}

/// The first 16 hexadecimal digits of a public key's SHA-256: a name to find a key by. It proves nothing; whoever
/// checks a signature compares whole keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId([u8; 8]);

impl fmt::Display for KeyId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

/// A signature. Printed as 128 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature(ed25519_dalek::Signature);

impl Signature {
    /// Reads 128 lower-case hexadecimal digits. Whether they sign anything is seen when they are verified.
    pub fn parse(text: &str) -> Result<Self, WrittenKeyError> {
        Ok(Self(ed25519_dalek::Signature::from_bytes(&digits::<64>(text)?)))
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0.to_bytes()))
    }
}

/// A signature is not that of these bytes, this purpose and this key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not that of this text, purpose and key")]
pub struct Unverified;

/// Why a text is not a public key or a signature.
#[derive(Debug, thiserror::Error)]
pub enum WrittenKeyError {
    /// Too few or too many digits.
    #[error("{wanted} hexadecimal digits are needed, these are {found}")]
    Length {
        /// How many there should be.
        wanted: usize,
        /// How many there are.
        found: usize,
    },
    /// Something else than `0`-`9` and `a`-`f`.
    #[error("character {place} is not one of 0-9 and a-f (small letters)")]
    Digit {
        /// Counted from 1.
        place: usize,
    },
    /// The right length, but no key has these bytes.
    #[error("no public key is written like this; it was changed or mistyped")]
    NotAPublicKey(#[source] ed25519_dalek::SignatureError),
    /// One of the few keys that let anybody sign.
    #[error("this public key would accept forged signatures")]
    Weak,
}

/// Exactly `N` bytes. Capital letters are refused, so that a value has one text and no letter can be altered unseen.
fn digits<const N: usize>(text: &str) -> Result<[u8; N], WrittenKeyError> {
    let is_digit = |character: char| matches!(character, '0'..='9' | 'a'..='f');
    if let Some(place) = text.chars().position(|character| !is_digit(character)) {
        return Err(WrittenKeyError::Digit { place: place.saturating_add(1) });
    }
    let mut bytes = [0; N];
    // Of digits only the number can still be wrong.
    match hex::decode_to_slice(text, &mut bytes) {
        Ok(()) => Ok(bytes),
        Err(_) => Err(WrittenKeyError::Length { wanted: N.saturating_mul(2), found: text.len() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 7.1, tests 1 to 3: secret, public key, message, signature.
    const PUBLISHED: [[&str; 4]; 3] = [
        [
            "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60",
            "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
            "",
            "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e06522490155\
             5fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b",
        ],
        [
            "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb",
            "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c",
            "72",
            "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da\
             085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00",
        ],
        [
            "c5aa8df43f9f837bedb7442f31dcb7b166d38535076f094b85ce3a2e0b4458f7",
            "fc51cd8e6218a1a38da47ed00230f0580816ed13ba3303ac5deb911548908025",
            "af82",
            "6291d657deec24024827e69c3abe01a30ce548a284743a445e3680d7db5ac3ac\
             18ff9b538d16f290ae67f760984dc6594a7c15e9716ed28dc027beceea1ec40a",
        ],
    ];

    fn key(secret: &str) -> SigningKey {
        SigningKey::from_secret(&digits(secret).unwrap())
    }

    #[test]
    fn the_published_keys_and_signatures_come_out() {
        for [secret, public, message, signature] in PUBLISHED {
            let message = hex::decode(message).unwrap();
            let key = key(secret);
            assert_eq!(key.public().to_string(), public);
            assert_eq!(PublicKey::parse(public).unwrap(), key.public());
            let written = Signature::parse(signature).unwrap();
            assert_eq!(Signature(key.0.sign(&message)), written);
            assert_eq!(written.to_string(), signature);
            key.public().0.verify_strict(&message, &written.0).unwrap();
        }
    }

    #[test]
    fn an_id_is_the_start_of_the_public_keys_hash() {
        let public = key(PUBLISHED[0][0]).public();
        let hash = hex::encode(Sha256::digest(hex::decode(PUBLISHED[0][1]).unwrap()));
        assert_eq!(public.id().to_string(), hash[..16]);
        assert_eq!(public.id().to_string(), "21fe31dfa154a261");
    }

    #[test]
    fn a_signature_holds_for_one_purpose_message_and_key() {
        let [ours, other] = [PUBLISHED[0][0], PUBLISHED[1][0]].map(key);
        let signature = ours.sign("tea/1", b"two cups");
        assert_eq!(ours.public().verify("tea/1", b"two cups", &signature), Ok(()));
        assert_eq!(ours.public().verify("tea/2", b"two cups", &signature), Err(Unverified));
        assert_eq!(ours.public().verify("tea/1", b"six cups", &signature), Err(Unverified));
        assert_eq!(other.public().verify("tea/1", b"two cups", &signature), Err(Unverified));
    }

    #[test]
    fn the_secret_is_not_printed() {
        let printed = format!("{:?}", key(PUBLISHED[0][0]));
        assert_eq!(printed, "SigningKey(id 21fe31dfa154a261)");
    }

    #[test]
    fn the_secret_is_cleared_when_dropped() {
        // Bytes alone need nothing at their end; the clearing is what does.
        assert!(std::mem::needs_drop::<SigningKey>());
        assert!(!std::mem::needs_drop::<PublicKey>());
    }

    #[test]
    fn mistyped_keys_are_refused_with_the_reason() {
        let say = |text: &str| PublicKey::parse(text).unwrap_err().to_string();
        let good = PUBLISHED[0][1];
        assert_eq!(say(&good[1..]), "64 hexadecimal digits are needed, these are 63");
        assert_eq!(say(""), "64 hexadecimal digits are needed, these are 0");
        assert_eq!(say(&good.to_uppercase()), "character 1 is not one of 0-9 and a-f (small letters)");
        assert_eq!(
            say(&good.replace("d75a98", "d75aé8")),
            "character 5 is not one of 0-9 and a-f (small letters)"
        );
        let not_on_the_curve = format!("02{}", "0".repeat(62));
        assert_eq!(say(&not_on_the_curve), "no public key is written like this; it was changed or mistyped");
        let neutral = format!("01{}", "0".repeat(62));
        assert_eq!(say(&neutral), "this public key would accept forged signatures");
        assert_eq!(
            Signature::parse(good).unwrap_err().to_string(),
            "128 hexadecimal digits are needed, these are 64"
        );
    }
}
