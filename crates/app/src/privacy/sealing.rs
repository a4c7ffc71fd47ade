//! Personal data at rest: a key for each person, what is sealed under it, and the index that finds an email again.
//!
//! A sealed text is one byte for its form (1), 12 bytes of nonce, and AES-256-GCM's ciphertext with its tag. Firm, person and
//! column are authenticated with it: moved to another row or column, it opens no more.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use hmac::{Hmac, KeyInit as _, Mac as _};
use kernel::{FirmId, PersonId, Rng, name_based_uuid};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::{Kept, KeyStore};
use crate::AppError;

/// The length of every key.
pub const KEY_BYTES: usize = 32;

const FORM: u8 = 1;

/// What one person's data is sealed under, or what wraps such keys. Prints as stars; its memory is cleared when it is dropped.
#[derive(Clone)]
pub struct DataKey(Zeroizing<[u8; KEY_BYTES]>);

impl fmt::Debug for DataKey {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// What a sealed text is and whose: it opens as nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct About {
    /// Such as `people.email`.
    pub what: &'static str,
    /// The firm.
    pub firm: FirmId,
    /// The person; nobody for what is the firm's.
    pub person: Option<PersonId>,
}

impl About {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.what.as_bytes().to_vec();
        bytes.push(0);
        bytes.extend_from_slice(self.firm.uuid().as_bytes());
        bytes.extend_from_slice(self.person.map(PersonId::uuid).unwrap_or_default().as_bytes());
        bytes
    }
}

/// The text was altered, is another's, or another key's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a sealed text does not open under its key")]
pub struct DoesNotOpen;

impl DataKey {
    /// A key of these bytes.
    pub fn from_bytes(bytes: &[u8; KEY_BYTES]) -> Self {
        Self(Zeroizing::new(*bytes))
    }

    /// A new key.
    pub fn random(rng: &dyn Rng) -> Self {
        let mut bytes = Zeroizing::new([0; KEY_BYTES]);
        rng.fill(bytes.as_mut_slice());
        Self(bytes)
    }

    /// For whoever wraps it.
    pub fn reveal(&self) -> &[u8; KEY_BYTES] {
        &self.0
    }

    /// Seals. A key seals so little that nonces by chance never meet.
    pub fn seal(&self, about: &About, plain: &[u8], rng: &dyn Rng) -> Result<Vec<u8>, AppError> {
        let mut nonce = [0; NONCE_LEN];
        rng.fill(&mut nonce);
        let mut text = plain.to_vec();
        let sealed = self.cipher().and_then(|cipher| {
            cipher.seal_in_place_append_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(about.bytes()),
                &mut text,
            )
        });
        sealed.map_err(|_| AppError::bug("sealing a text")("the cipher refused it".into()))?;
        let mut whole = vec![FORM];
        whole.extend_from_slice(&nonce);
        whole.append(&mut text);
        Ok(whole)
    }

    /// Opens.
    pub fn open(&self, about: &About, sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, DoesNotOpen> {
        let (form, rest) = sealed.split_first().ok_or(DoesNotOpen)?;
        let (nonce, text) = rest.split_at_checked(NONCE_LEN).ok_or(DoesNotOpen)?;
        if *form != FORM {
            return Err(DoesNotOpen);
        }
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| DoesNotOpen)?;
        let mut text = Zeroizing::new(text.to_vec());
        let cipher = self.cipher().map_err(|_| DoesNotOpen)?;
        let opened = cipher.open_in_place(nonce, Aad::from(about.bytes()), text.as_mut_slice());
        let length = opened.map_err(|_| DoesNotOpen)?.len();
        text.truncate(length);
        Ok(text)
    }

    fn cipher(&self) -> Result<LessSafeKey, ring::error::Unspecified> {
        Ok(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, self.0.as_slice())?))
    }
}

/// What people show in place of a name that is gone or may not be shown. Always the same for one person.
pub fn pseudonym(firm: FirmId, person: PersonId) -> String {
    let id = name_based_uuid(&[b"pseudonym", firm.uuid().as_bytes(), person.uuid().as_bytes()]);
    let [first, second, third, ..] = *id.as_bytes();
    format!("Trader {first:02X}{second:02X}{third:02X}")
}

/// Who somebody is, sealed: the columns of their row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedPerson {
    /// Finds the email.
    pub index: [u8; 32],
    /// The email.
    pub email: Vec<u8>,
    /// The name.
    pub name: Vec<u8>,
}

/// Seals and opens what the rows of people hold.
#[derive(Clone)]
pub struct Vault {
    keys: Arc<dyn KeyStore>,
    rng: Arc<dyn Rng>,
}

impl fmt::Debug for Vault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Vault").finish_non_exhaustive()
    }
}

const EMAIL: &str = "people.email";
const NAME: &str = "people.display_name";

impl Vault {
    /// Over a store of keys.
    pub fn new(keys: Arc<dyn KeyStore>, rng: Arc<dyn Rng>) -> Self {
        Self { keys, rng }
    }

    /// The keys.
    pub fn keys(&self) -> &dyn KeyStore {
        &*self.keys
    }

    /// What an email is found by: HMAC-SHA-256 of it in lower case under a key of the firm's.
    pub async fn index(&self, firm: FirmId, email: &str) -> Result<[u8; 32], AppError> {
        let key = self.keys.index_key(firm, &*self.rng).await?;
        Ok(index(&key, firm, email))
    }

    /// Seals who a new person is under a new key, which is kept only by [`Self::keep`].
    pub async fn seal(
        &self,
        firm: FirmId,
        person: PersonId,
        email: &str,
        name: &str,
    ) -> Result<(DataKey, SealedPerson), AppError> {
        let key = DataKey::random(&*self.rng);
        let sealed = self.seal_under(&key, firm, person, email, name).await?;
        Ok((key, sealed))
    }

    async fn seal_under(
        &self,
        key: &DataKey,
        firm: FirmId,
        person: PersonId,
        email: &str,
        name: &str,
    ) -> Result<SealedPerson, AppError> {
        let about = |what| About { what, firm, person: Some(person) };
        Ok(SealedPerson {
            index: self.index(firm, email).await?,
            email: key.seal(&about(EMAIL), email.as_bytes(), &*self.rng)?,
            name: key.seal(&about(NAME), name.as_bytes(), &*self.rng)?,
        })
    }

    /// Seals who somebody is under the key they have, or under a new one that is kept at once; nothing if they were erased.
    pub async fn seal_again(
        &self,
        firm: FirmId,
        person: PersonId,
        email: &str,
        name: &str,
    ) -> Result<Option<SealedPerson>, AppError> {
        let key = match self.keys.keys(firm, &[person]).await?.remove(&person) {
            Some(Kept::Destroyed) => return Ok(None),
            Some(Kept::Here(key)) => key,
            None => {
                let key = DataKey::random(&*self.rng);
                self.keep(firm, person, &key).await?;
                key
            }
        };
        self.seal_under(&key, firm, person, email, name).await.map(Some)
    }

    /// Seals something of somebody's who has a key; nothing if they were erased.
    pub async fn seal_for(
        &self,
        firm: FirmId,
        person: PersonId,
        what: &'static str,
        plain: &[u8],
    ) -> Result<Option<Vec<u8>>, AppError> {
        match self.keys.keys(firm, &[person]).await?.remove(&person) {
            Some(Kept::Here(key)) => {
                key.seal(&About { what, firm, person: Some(person) }, plain, &*self.rng).map(Some)
            }
            Some(Kept::Destroyed) => Ok(None),
            None => Err(AppError::bug("sealing what is somebody's")(
                format!("the key of {person:?} is gone and was never destroyed").into(),
            )),
        }
    }

    /// Opens what was sealed so; nothing if they were erased.
    pub async fn open_for(
        &self,
        firm: FirmId,
        person: PersonId,
        what: &'static str,
        sealed: &[u8],
    ) -> Result<Option<Zeroizing<Vec<u8>>>, AppError> {
        let bug = |error: crate::BoxError| AppError::bug("opening what is somebody's")(error);
        match self.keys.keys(firm, &[person]).await?.remove(&person) {
            Some(Kept::Here(key)) => {
                let about = About { what, firm, person: Some(person) };
                key.open(&about, sealed).map(Some).map_err(|error| bug(Box::new(error)))
            }
            Some(Kept::Destroyed) => Ok(None),
            None => Err(bug(format!("the key of {person:?} is gone and was never destroyed").into())),
        }
    }

    /// Keeps a person's key for good. Before the rows that are sealed under it are committed.
    pub async fn keep(&self, firm: FirmId, person: PersonId, key: &DataKey) -> Result<(), AppError> {
        self.keys.create(firm, person, key, &*self.rng).await
    }

    /// Email and name of a row; nothing once the key is destroyed.
    pub async fn identify(
        &self,
        firm: FirmId,
        person: PersonId,
        email: &[u8],
        name: &[u8],
    ) -> Result<Option<(String, String)>, AppError> {
        let bug = |error: crate::BoxError| AppError::bug("reading who somebody is")(error);
        match self.keys.keys(firm, &[person]).await?.remove(&person) {
            Some(Kept::Here(key)) => {
                let email = open(&key, EMAIL, firm, person, email).map_err(bug)?;
                let name = open(&key, NAME, firm, person, name).map_err(bug)?;
                Ok(Some((email, name)))
            }
            Some(Kept::Destroyed) => Ok(None),
            None => Err(bug(format!("the key of {person:?} is gone and was never destroyed").into())),
        }
    }

    /// The names that people show: a pseudonym for whoever has none to show, and where a key is destroyed.
    pub async fn names(
        &self,
        firm: FirmId,
        people: Vec<(PersonId, Option<Vec<u8>>)>,
    ) -> Result<BTreeMap<PersonId, String>, AppError> {
        let named: Vec<_> =
            people.iter().filter(|(_, name)| name.is_some()).map(|(person, _)| *person).collect();
        let keys = if named.is_empty() { BTreeMap::new() } else { self.keys.keys(firm, &named).await? };
        let shown = |(person, sealed): (PersonId, Option<Vec<u8>>)| {
            let name = match (sealed, keys.get(&person)) {
                (None, _) | (_, Some(Kept::Destroyed)) => None,
                (Some(sealed), Some(Kept::Here(key))) => match open(key, NAME, firm, person, &sealed) {
                    Ok(name) => Some(name),
                    Err(error) => {
                        tracing::error!(%person, error = &*error, "a name does not open; a pseudonym stands for it");
                        None
                    }
                },
                (Some(_), None) => {
                    tracing::error!(%person, "the key of a person is gone and was never destroyed");
                    None
                }
            };
            (person, name.unwrap_or_else(|| pseudonym(firm, person)))
        };
        Ok(people.into_iter().map(shown).collect())
    }
}

fn index(key: &DataKey, firm: FirmId, email: &str) -> [u8; 32] {
    #[expect(clippy::expect_used, reason = "HMAC takes keys of any length")]
    let mut mac = Hmac::<Sha256>::new_from_slice(key.reveal()).expect("a key of any length");
    mac.update(b"people.email\0");
    mac.update(firm.uuid().as_bytes());
    mac.update(email.trim().to_lowercase().as_bytes());
    mac.finalize().into_bytes().into()
}

fn open(
    key: &DataKey,
    what: &'static str,
    firm: FirmId,
    person: PersonId,
    sealed: &[u8],
) -> Result<String, crate::BoxError> {
    let text = key.open(&About { what, firm, person: Some(person) }, sealed)?;
    Ok(std::str::from_utf8(&text)?.to_owned())
}

#[cfg(test)]
mod tests {
    use kernel::SeededRng;
    use proptest::prelude::*;

    use super::*;

    fn about(person: &[u8]) -> About {
        About { what: EMAIL, firm: FirmId::derived(&[b"firm"]), person: Some(PersonId::derived(&[person])) }
    }

    proptest! {
        #[test]
        fn what_is_sealed_opens_as_itself_and_nothing_else(
            plain in proptest::collection::vec(any::<u8>(), 0..100), seed: u64, place: usize, bit in 0..8_u32,
        ) {
            let rng = SeededRng::new(seed);
            let (key, other) = (DataKey::random(&rng), DataKey::random(&rng));
            let sealed = key.seal(&about(b"ann"), &plain, &rng).unwrap();
            prop_assert_eq!(key.open(&about(b"ann"), &sealed).unwrap().to_vec(), plain);
            prop_assert_eq!(other.open(&about(b"ann"), &sealed), Err(DoesNotOpen));
            prop_assert_eq!(key.open(&about(b"bob"), &sealed), Err(DoesNotOpen));
            prop_assert_eq!(key.open(&About { what: NAME, ..about(b"ann") }, &sealed), Err(DoesNotOpen));
            let place = place.checked_rem(sealed.len()).unwrap();
            let mut altered = sealed.clone();
            altered[place] ^= 1 << bit;
            prop_assert_eq!(key.open(&about(b"ann"), &altered), Err(DoesNotOpen));
            prop_assert_eq!(key.open(&about(b"ann"), &sealed[..place]), Err(DoesNotOpen));
        }
    }

    #[test]
    fn a_key_does_not_print() {
        assert_eq!(format!("{:?}", DataKey::from_bytes(&[7; KEY_BYTES])), "***");
    }

    #[test]
    fn a_pseudonym_is_the_person_s_own_and_the_firm_s() {
        let (firm, ann) = (FirmId::derived(&[b"firm"]), PersonId::derived(&[b"ann"]));
        assert_eq!(pseudonym(firm, ann), pseudonym(firm, ann));
        assert_ne!(pseudonym(firm, ann), pseudonym(firm, PersonId::derived(&[b"bob"])));
        assert_ne!(pseudonym(firm, ann), pseudonym(FirmId::derived(&[b"other"]), ann));
        assert!(pseudonym(firm, ann).starts_with("Trader "));
    }
}
