//! Sessions that were read a moment ago, so that not every request reads its own.
//!
//! **The promise:** what this process ends (signing out, a new password) is ended for the very next request. What another
//! process ends, or changes about a person, is seen here within [`FRESH`].

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use kernel::{FirmId, PersonId, Span, Timestamp};

use super::{Person, Session};

/// A session is read again after it.
pub(super) const FRESH: Span = Span::from_seconds(1);
/// Sessions remembered. Beyond it the old ones are forgotten, and all if none is old: memory stays bounded.
const MOST: usize = 50_000;

type Key = (FirmId, [u8; 32]);

#[derive(Default)]
pub(super) struct Sessions(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    by_token: BTreeMap<Key, Read>,
    ended: u64,
}

struct Read {
    session: Session,
    person: Person,
    at: Timestamp,
}

impl Read {
    fn is_fresh(&self, now: Timestamp) -> bool {
        now.since(self.at).is_ok_and(|age| age >= Span::ZERO && age < FRESH)
    }
}

/// How many endings this process has seen. What was read before one of them may not be remembered after it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Endings(u64);

impl Sessions {
    /// A session with its person, if it was read a moment ago.
    pub(super) fn fresh(&self, key: &Key, now: Timestamp) -> Option<(Session, Person)> {
        let remembered = self.lock();
        let read = remembered.by_token.get(key).filter(|read| read.is_fresh(now))?;
        Some((read.session.clone(), read.person.clone()))
    }

    /// Ask before reading a session that is to be remembered.
    pub(super) fn endings(&self) -> Endings {
        Endings(self.lock().ended)
    }

    /// Remembers a session as read at `at`, unless one has ended since `before`: it may be this one.
    pub(super) fn remember(
        &self,
        key: Key,
        session: Session,
        person: Person,
        at: Timestamp,
        before: Endings,
    ) {
        let mut remembered = self.lock();
        if Endings(remembered.ended) != before {
            return;
        }
        if remembered.by_token.len() >= MOST {
            remembered.by_token.retain(|_, read| read.is_fresh(at));
        }
        if remembered.by_token.len() >= MOST {
            remembered.by_token.clear();
        }
        remembered.by_token.insert(key, Read { session, person, at });
    }

    /// A session has ended, or may have.
    pub(super) fn end(&self, key: &Key) {
        let mut remembered = self.lock();
        remembered.ended = remembered.ended.wrapping_add(1);
        remembered.by_token.remove(key);
    }

    /// All sessions of a person have ended, or may have.
    pub(super) fn end_all(&self, firm: FirmId, person: PersonId) {
        let mut remembered = self.lock();
        remembered.ended = remembered.ended.wrapping_add(1);
        remembered.by_token.retain(|(of, _), read| *of != firm || read.person.id != person);
    }

    fn lock(&self) -> MutexGuard<'_, Remembered> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use kernel::SessionId;

    use super::*;

    fn read(number: u64) -> (Key, Session, Person) {
        let firm = FirmId::derived(&[b"firm"]);
        let person = PersonId::derived(&[&number.to_be_bytes()]);
        let mut token_hash = [0; 32];
        token_hash[..8].copy_from_slice(&number.to_be_bytes());
        let session = Session {
            id: SessionId::derived(&[&number.to_be_bytes()]),
            token_hash,
            person,
            created_at: Timestamp::EPOCH,
            expires_at: Timestamp::EPOCH,
            ends_at: Timestamp::EPOCH,
        };
        let person = Person {
            id: person,
            email: String::new(),
            display_name: String::new(),
            roles: Vec::new(),
            created_at: Timestamp::EPOCH,
        };
        ((firm, token_hash), session, person)
    }

    #[test]
    fn what_was_read_before_an_ending_is_not_remembered_after_it() {
        let sessions = Sessions::default();
        let (key, session, person) = read(1);
        let before = sessions.endings();
        sessions.end(&key);
        sessions.remember(key, session, person, Timestamp::EPOCH, before);
        assert!(sessions.fresh(&key, Timestamp::EPOCH).is_none());
    }

    #[test]
    fn a_session_is_fresh_for_a_second_and_never_in_the_past() {
        let sessions = Sessions::default();
        let (key, session, person) = read(1);
        let at = Timestamp::from_micros(5_000_000);
        sessions.remember(key, session, person, at, sessions.endings());
        let fresh = |micros| sessions.fresh(&key, Timestamp::from_micros(micros)).is_some();
        assert!(fresh(5_000_000) && fresh(5_999_999));
        assert!(!fresh(6_000_000) && !fresh(4_999_999));
    }

    #[test]
    fn memory_is_bounded() {
        let sessions = Sessions::default();
        for number in 0..60_000 {
            let (key, session, person) = read(number);
            sessions.remember(key, session, person, Timestamp::EPOCH, sessions.endings());
        }
        assert!(sessions.lock().by_token.len() <= MOST);
    }
}
