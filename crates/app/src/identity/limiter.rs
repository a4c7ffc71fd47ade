//! How often somebody may try to get in.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

use kernel::{FirmId, Span, Timestamp};

use crate::AppError;

/// Counts begin anew after it.
const WINDOW: Span = Span::from_seconds(900);
/// Failed sign-ins with one email from one place.
const MOST_FAILURES_OF_PAIR: u32 = 10;
/// Failed sign-ins with one email from anywhere. High, so that a stranger needs many places to lock somebody out.
const MOST_FAILURES_OF_EMAIL: u32 = 100;
/// Failed sign-ins with any email from one place. An office shares one.
const MOST_FAILURES_OF_PLACE: u32 = 100;
/// Registrations with one email, whatever came of them.
const MOST_REGISTRATIONS_OF_EMAIL: u32 = 10;
/// Registrations from one place, whatever came of them.
const MOST_REGISTRATIONS_OF_PLACE: u32 = 60;
/// Counts kept. Beyond it the older half is forgotten: memory stays bounded whoever asks.
const MOST_COUNTS: usize = 30_000;

/// Where a caller comes from: an IPv4 address, or the half of an IPv6 address that one customer has for themselves.
type Place = Ipv6Addr;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Counted {
    FailuresOfPair(FirmId, String, Place),
    FailuresOfEmail(FirmId, String),
    FailuresOfPlace(Place),
    RegistrationsOfEmail(FirmId, String),
    RegistrationsOfPlace(Place),
}

impl Counted {
    const fn most(&self) -> u32 {
        match self {
            Self::FailuresOfPair(..) => MOST_FAILURES_OF_PAIR,
            Self::FailuresOfEmail(..) => MOST_FAILURES_OF_EMAIL,
            Self::FailuresOfPlace(..) => MOST_FAILURES_OF_PLACE,
            Self::RegistrationsOfEmail(..) => MOST_REGISTRATIONS_OF_EMAIL,
            Self::RegistrationsOfPlace(..) => MOST_REGISTRATIONS_OF_PLACE,
        }
    }
}

#[derive(Debug)]
struct Count {
    number: u32,
    since: Timestamp,
}

impl Count {
    fn is_past(&self, now: Timestamp) -> bool {
        now.since(self.since).is_ok_and(|age| age >= WINDOW)
    }
}

/// Counts in this process, by emails that have the form of one. An attempt counts when it begins, so that many at once
/// do not slip through.
#[derive(Debug, Default)]
pub(super) struct Limiter(Mutex<BTreeMap<Counted, Count>>);

impl Limiter {
    pub(super) fn sign_in(
        &self,
        firm: FirmId,
        email: &str,
        address: &str,
        now: Timestamp,
    ) -> Result<(), AppError> {
        self.attempt(&failures(firm, email, address), now)
    }

    /// It was no failure after all.
    pub(super) fn signed_in(&self, firm: FirmId, email: &str, address: &str) {
        let [pair, email, place] = failures(firm, email, address);
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.remove(&pair);
        for counted in [email, place] {
            if let Some(count) = counts.get_mut(&counted) {
                count.number = count.number.saturating_sub(1);
            }
        }
    }

    pub(super) fn register(
        &self,
        firm: FirmId,
        email: &str,
        address: &str,
        now: Timestamp,
    ) -> Result<(), AppError> {
        let counted = [
            Counted::RegistrationsOfEmail(firm, email.to_owned()),
            Counted::RegistrationsOfPlace(place(address)),
        ];
        self.attempt(&counted, now)
    }

    fn attempt(&self, all: &[Counted], now: Timestamp) -> Result<(), AppError> {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let used_up = |counted: &Counted| {
            let count = counts.get(counted).filter(|count| !count.is_past(now));
            count.is_some_and(|count| count.number >= counted.most())
        };
        if all.iter().any(used_up) {
            return Err(AppError::refused(
                "too_many_requests",
                "Too many attempts. Try again in 15 minutes.",
            ));
        }
        for counted in all {
            make_room(&mut counts, now);
            let count = counts.entry(counted.clone()).or_insert(Count { number: 0, since: now });
            if count.is_past(now) {
                *count = Count { number: 0, since: now };
            }
            count.number = count.number.saturating_add(1);
        }
        Ok(())
    }
}

fn make_room(counts: &mut BTreeMap<Counted, Count>, now: Timestamp) {
    if counts.len() < MOST_COUNTS {
        return;
    }
    counts.retain(|_, count| !count.is_past(now));
    if counts.len() < MOST_COUNTS {
        return;
    }
    let mut begins: Vec<Timestamp> = counts.values().map(|count| count.since).collect();
    begins.sort_unstable();
    if let Some(middle) = begins.get(MOST_COUNTS.div_euclid(2)) {
        counts.retain(|_, count| count.since > *middle);
    }
}

fn failures(firm: FirmId, email: &str, address: &str) -> [Counted; 3] {
    let place = place(address);
    [
        Counted::FailuresOfPair(firm, email.to_owned(), place),
        Counted::FailuresOfEmail(firm, email.to_owned()),
        Counted::FailuresOfPlace(place),
    ]
}

/// All that is no address is one place.
fn place(address: &str) -> Place {
    match address.parse().map(|address: IpAddr| address.to_canonical()) {
        Ok(IpAddr::V4(address)) => address.to_ipv6_mapped(),
        Ok(IpAddr::V6(address)) => Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX)),
        Err(_) => Ipv6Addr::UNSPECIFIED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: Timestamp = Timestamp::EPOCH;

    fn firm() -> FirmId {
        FirmId::derived(&[b"firm"])
    }

    #[test]
    fn the_eleventh_failure_waits_for_the_window_and_others_do_not() {
        let limiter = Limiter::default();
        let attempt = |address: &str, at| limiter.sign_in(firm(), "a@b.co", address, at);
        for _ in 0..10 {
            attempt("192.0.2.1", START).unwrap();
        }
        assert!(attempt("192.0.2.1", START).is_err());
        attempt("192.0.2.2", START).unwrap();
        attempt("192.0.2.1", START.after(WINDOW).unwrap()).unwrap();
    }

    #[test]
    fn one_place_and_one_email_have_limits_of_their_own() {
        let limiter = Limiter::default();
        for number in 0..100 {
            limiter.sign_in(firm(), &format!("{number}@b.co"), "192.0.2.1", START).unwrap();
        }
        assert!(limiter.sign_in(firm(), "other@b.co", "192.0.2.1", START).is_err());
        for number in 0..100 {
            limiter.sign_in(firm(), "a@b.co", &format!("198.51.100.{number}"), START).unwrap();
        }
        assert!(limiter.sign_in(firm(), "a@b.co", "203.0.113.1", START).is_err());
        limiter.sign_in(FirmId::derived(&[b"other"]), "a@b.co", "203.0.113.1", START).unwrap();
    }

    #[test]
    fn whoever_signs_in_has_not_failed() {
        let limiter = Limiter::default();
        for _ in 0..500 {
            limiter.sign_in(firm(), "a@b.co", "192.0.2.1", START).unwrap();
            limiter.signed_in(firm(), "a@b.co", "192.0.2.1");
        }
    }

    #[test]
    fn registrations_are_counted_by_place_and_by_email() {
        let limiter = Limiter::default();
        for number in 0..60 {
            limiter.register(firm(), &format!("{number}@b.co"), "192.0.2.1", START).unwrap();
        }
        assert!(limiter.register(firm(), "other@b.co", "192.0.2.1", START).is_err());
        for number in 0..10 {
            limiter.register(firm(), "a@b.co", &format!("198.51.100.{number}"), START).unwrap();
        }
        assert!(limiter.register(firm(), "a@b.co", "203.0.113.1", START).is_err());
    }

    #[test]
    fn an_ipv6_customer_is_one_place() {
        assert_eq!(place("2001:db8::1"), place("2001:db8::ffff:2"));
        assert_ne!(place("2001:db8::1"), place("2001:db8:0:1::1"));
        assert_eq!(place("::ffff:192.0.2.1"), place("192.0.2.1"));
        assert_ne!(place("192.0.2.1"), place("192.0.2.2"));
    }

    #[test]
    fn memory_is_bounded() {
        let limiter = Limiter::default();
        for number in 0..MOST_COUNTS {
            let at = Timestamp::from_micros(i64::try_from(number).unwrap());
            limiter
                .sign_in(firm(), &format!("{number}@b.co"), &format!("2001:db8:{:x}::", number % 65_536), at)
                .unwrap();
            assert!(limiter.0.lock().unwrap().len() <= MOST_COUNTS);
        }
    }
}
