//! Which passwords are taken, and their hashes: Argon2id behind a bounded queue.

use std::fmt;
use std::sync::Arc;

use argon2::{Algorithm, Argon2, Params, PasswordHash, PasswordHasher, PasswordVerifier, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use unicode_normalization::UnicodeNormalization as _;

use crate::AppError;

/// Requests that may wait for a free processor.
const MOST_WAITING: usize = 64;

/// A password as typed, in Unicode's composed form (NFC): keyboards differ in how they write an é. Prints as stars.
#[derive(Clone)]
pub struct Password(String);

impl Password {
    /// Any text; whether it is taken is checked when registering.
    pub fn new(text: impl AsRef<str>) -> Self {
        Self(text.as_ref().nfc().collect())
    }
}

impl fmt::Debug for Password {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

/// What a hash costs: memory in KiB, passes, lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// KiB.
    pub memory: u32,
    /// Passes over it.
    pub passes: u32,
    /// Lanes.
    pub lanes: u32,
}

impl Cost {
    /// 19 MiB, two passes, one lane: OWASP's choice for Argon2id.
    pub const STANDARD: Self = Self { memory: 19_456, passes: 2, lanes: 1 };

    fn argon2(self) -> Result<Argon2<'static>, AppError> {
        let params = Params::new(self.memory, self.passes, self.lanes, None)
            .map_err(|error| AppError::bug("reading the cost of passwords")(error.to_string().into()))?;
        Ok(Argon2::new(Algorithm::Argon2id, Version::V0x13, params))
    }
}

/// Long passwords that lists of leaked ones begin with. Shorter ones are refused by their length.
const COMMON: [&str; 24] = [
    "passwordpassword",
    "password12345678",
    "password123456789",
    "123456789012345",
    "1234567890123456",
    "12345678901234567890",
    "qwertyuiopasdfgh",
    "qwertyuiopasdfghjkl",
    "qwertyuiop123456",
    "qwertyuiop[]asdfghjkl",
    "1qaz2wsx3edc4rfv",
    "1qaz2wsx3edc4rfv5tgb",
    "q1w2e3r4t5y6u7i8",
    "q1w2e3r4t5y6u7i8o9p0",
    "abcdefghijklmnop",
    "abcdefghijklmnopqrstuvwxyz",
    "iloveyouiloveyou",
    "administrator123",
    "letmeinletmeinletmein",
    "changemechangeme",
    "correcthorsebatterystaple",
    "correct horse battery staple",
    "asdfghjklasdfghjkl",
    "9876543210987654",
];

/// What is wrong with a password for this email.
pub(super) fn fault(password: &Password, email: &str) -> Option<&'static str> {
    let text = &password.0;
    let lower = text.to_lowercase();
    let local = email.split('@').next().unwrap_or_default();
    let mut characters = text.chars();
    let first = characters.next();
    match text.chars().count() {
        0..=14 => Some("Use at least 15 characters; a short sentence does well."),
        15..=128 if characters.all(|character| Some(character) == first) => {
            Some("Use more than one character.")
        }
        15..=128 if lower == email || lower == local || COMMON.contains(&lower.as_str()) => {
            Some("This password is easy to guess. Choose another.")
        }
        15..=128 => None,
        _ => Some("Use at most 128 characters."),
    }
}

/// Hashes a bounded number of passwords at once.
pub(super) struct Hashing {
    running: Arc<Semaphore>,
    places: Arc<Semaphore>,
    cost: Cost,
}

/// A password that fits its hash.
pub(super) struct Verified {
    /// A new hash, if the stored one cost less than hashes now do.
    pub rehash: Option<String>,
}

impl Hashing {
    pub(super) fn new(workers: usize, cost: Cost) -> Self {
        let workers = workers.max(1);
        Self {
            running: Arc::new(Semaphore::new(workers)),
            places: Arc::new(Semaphore::new(workers.saturating_add(MOST_WAITING))),
            cost,
        }
    }

    pub(super) async fn hash(&self, password: Password, salt: [u8; 16]) -> Result<String, AppError> {
        let cost = self.cost;
        self.run(move || hashed(cost, &password, salt)).await
    }

    /// Compares; without a stored hash it works as long and answers no.
    pub(super) async fn verify(
        &self,
        password: Password,
        stored: Option<String>,
        salt: [u8; 16],
    ) -> Result<Option<Verified>, AppError> {
        let cost = self.cost;
        self.run(move || {
            let Some(stored) = stored else {
                hashed(cost, &password, salt)?;
                return Ok(None);
            };
            let unreadable = |error: argon2::password_hash::Error| {
                AppError::bug("reading a password's hash")(error.to_string().into())
            };
            let parsed = PasswordHash::new(&stored)
                .map_err(|error| AppError::bug("reading a password's hash")(error.to_string().into()))?;
            match cost.argon2()?.verify_password(password.0.as_bytes(), &parsed) {
                Ok(()) => {}
                Err(argon2::password_hash::Error::PasswordInvalid) => return Ok(None),
                Err(error) => return Err(unreadable(error)),
            }
            let weaker = is_weaker(&parsed, cost);
            let rehash = weaker.then(|| hashed(cost, &password, salt)).transpose()?;
            Ok(Some(Verified { rehash }))
        })
        .await
    }

    /// Runs off the async threads. The permits go along, so a caller that hangs up frees no processor early.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, AppError> + Send + 'static,
    ) -> Result<T, AppError> {
        let busy = || {
            AppError::refused("too_many_requests", "Too many people are signing in. Try again in a moment.")
        };
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|_| busy())?;
        let permit = Arc::clone(&self.running).acquire_owned().await.map_err(|_| busy())?;
        let permits: [OwnedSemaphorePermit; 2] = [place, permit];
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(permits);
            result
        });
        done.await.map_err(|error| AppError::bug("hashing a password")(Box::new(error)))?
    }
}

fn hashed(cost: Cost, password: &Password, salt: [u8; 16]) -> Result<String, AppError> {
    cost.argon2()?
        .hash_password_with_salt(password.0.as_bytes(), &salt)
        .map(|hash| hash.to_string())
        .map_err(|error| AppError::bug("hashing a password")(error.to_string().into()))
}

fn is_weaker(stored: &PasswordHash, cost: Cost) -> bool {
    Params::try_from(stored).map_or(true, |params| {
        params.m_cost() < cost.memory || params.t_cost() < cost.passes || params.p_cost() < cost.lanes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost { memory: 64, passes: 1, lanes: 1 };

    #[test]
    fn passwords_are_judged_by_length_and_by_how_easily_they_are_guessed() {
        let judge = |text: &str| fault(&Password::new(text), "somebody.long@example.org").is_none();
        assert!(judge("a quiet street in May"));
        assert!(judge("пятнадцать букв"), "characters count, not bytes");
        assert!(judge(&"x y".repeat(42)));
        assert!(!judge("fourteen chars"));
        assert!(!judge(&"x y".repeat(43)));
        assert!(!judge("aaaaaaaaaaaaaaaaaaaa"));
        assert!(!judge("Correct Horse Battery Staple"));
        assert!(!judge("Somebody.Long@example.org"));
    }

    #[tokio::test]
    async fn a_hash_fits_its_password_only_and_rises_with_the_cost() {
        let hashing = Hashing::new(2, CHEAP);
        let hash = hashing.hash(Password::new("one"), [1; 16]).await.unwrap();
        assert!(hash.starts_with("$argon2id$v=19$m=64,t=1,p=1$"), "{hash}");
        let verify = async |hashing: &Hashing, text: &str| {
            hashing.verify(Password::new(text), Some(hash.clone()), [2; 16]).await.unwrap()
        };
        assert!(verify(&hashing, "one").await.unwrap().rehash.is_none());
        assert!(verify(&hashing, "two").await.is_none());
        let dearer = Hashing::new(2, Cost { memory: 128, ..CHEAP });
        let rehash = verify(&dearer, "one").await.unwrap().rehash.unwrap();
        assert!(rehash.contains("m=128"), "{rehash}");
        assert!(dearer.verify(Password::new("one"), None, [3; 16]).await.unwrap().is_none());
    }

    #[tokio::test]
    async fn a_letter_with_its_accent_is_one_letter_however_it_was_typed() {
        let hashing = Hashing::new(1, CHEAP);
        let hash = hashing.hash(Password::new("caf\u{e9}"), [1; 16]).await.unwrap();
        let typed = Password::new("cafe\u{301}");
        assert!(hashing.verify(typed, Some(hash), [2; 16]).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn who_finds_no_place_in_the_queue_is_sent_away() {
        let hashing = Hashing::new(1, CHEAP);
        let _all = Arc::clone(&hashing.places).acquire_many_owned(65).await.unwrap();
        let refused = hashing.hash(Password::new("one"), [1; 16]).await.unwrap_err();
        assert!(matches!(refused, AppError::Refused { code: "too_many_requests", .. }));
    }
}
