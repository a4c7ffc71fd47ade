//! How often a sign-in may fail.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use kernel::{FirmId, Span, Timestamp};

use crate::AppError;

/// Failures allowed for one email from one address within the window.
const MOST: u32 = 10;
const WINDOW: Span = Span::from_seconds(900);
/// Pairs remembered. Beyond it the oldest is forgotten: memory stays bounded whoever asks.
const MOST_PAIRS: usize = 10_000;

type Pair = (FirmId, String, String);

/// Counts attempts of each pair of email and address in this process. An attempt counts when it begins, so that many
/// at once do not slip through; success forgets the pair.
#[derive(Debug, Default)]
pub(super) struct Limiter(Mutex<BTreeMap<Pair, Attempts>>);

#[derive(Debug)]
struct Attempts {
    count: u32,
    since: Timestamp,
}

impl Limiter {
    pub(super) fn attempt(
        &self,
        firm: FirmId,
        email: &str,
        address: &str,
        now: Timestamp,
    ) -> Result<(), AppError> {
        let mut pairs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let past = |attempts: &Attempts| now.since(attempts.since).is_ok_and(|age| age >= WINDOW);
        let pair = (firm, email.to_owned(), address.to_owned());
        if pairs.len() >= MOST_PAIRS && !pairs.contains_key(&pair) {
            pairs.retain(|_, attempts| !past(attempts));
            let oldest =
                pairs.iter().min_by_key(|(_, attempts)| attempts.since).map(|(pair, _)| pair.clone());
            if let Some(oldest) = oldest.filter(|_| pairs.len() >= MOST_PAIRS) {
                pairs.remove(&oldest);
            }
        }
        let attempts = pairs.entry(pair).or_insert(Attempts { count: 0, since: now });
        if past(attempts) {
            *attempts = Attempts { count: 0, since: now };
        }
        if attempts.count >= MOST {
            return Err(AppError::refused(
                "too_many_requests",
                "Too many attempts. Try again in 15 minutes.",
            ));
        }
        attempts.count = attempts.count.saturating_add(1);
        Ok(())
    }

    pub(super) fn succeeded(&self, firm: FirmId, email: &str, address: &str) {
        let mut pairs = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pairs.remove(&(firm, email.to_owned(), address.to_owned()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_eleventh_attempt_waits_for_the_window_and_others_do_not() {
        let limiter = Limiter::default();
        let firm = FirmId::derived(&[b"firm"]);
        let start = Timestamp::EPOCH;
        for _ in 0..MOST {
            limiter.attempt(firm, "a@b.co", "::1", start).unwrap();
        }
        assert!(limiter.attempt(firm, "a@b.co", "::1", start).is_err());
        limiter.attempt(firm, "a@b.co", "::2", start).unwrap();
        limiter.attempt(firm, "a@b.co", "::1", start.after(WINDOW).unwrap()).unwrap();
        limiter.succeeded(firm, "a@b.co", "::2");
    }

    #[test]
    fn memory_is_bounded() {
        let limiter = Limiter::default();
        let firm = FirmId::derived(&[b"firm"]);
        for number in 0..MOST_PAIRS + 50 {
            let at = Timestamp::from_micros(i64::try_from(number).unwrap());
            limiter.attempt(firm, &number.to_string(), "", at).unwrap();
        }
        assert_eq!(limiter.0.lock().unwrap().len(), MOST_PAIRS);
    }
}
