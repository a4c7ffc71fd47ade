//! A provider that does not answer is left alone for a while, so that nobody waits for it in vain.

use std::sync::{Mutex, PoisonError};

use kernel::{Span, Timestamp};

/// Closed: all pass. Open after some failures in a row: none do, for a time. Then one may try, and decides.
#[derive(Debug)]
pub(super) struct Breaker {
    state: Mutex<State>,
    most_failures: u32,
    rest: Span,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed { failures: u32 },
    Open { since: Timestamp },
    Trying { since: Timestamp },
}

/// One passage. What it does not report is a failure: whoever was dropped in the middle learned nothing good.
#[must_use]
pub(super) struct Passage<'a> {
    breaker: &'a Breaker,
    now: Timestamp,
    good: bool,
}

impl Breaker {
    pub(super) const fn new(most_failures: u32, rest: Span) -> Self {
        Self { state: Mutex::new(State::Closed { failures: 0 }), most_failures, rest }
    }

    /// Passes, or says how long to wait.
    pub(super) fn pass(&self, now: Timestamp) -> Result<Passage<'_>, Span> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        match *state {
            State::Closed { .. } => {}
            State::Open { since } | State::Trying { since } => {
                let left = self.left(since, now);
                if left > Span::ZERO {
                    return Err(left);
                }
                // Whoever tries has the same time again; one that never reports blocks nobody for longer.
                *state = State::Trying { since: now };
            }
        }
        Ok(Passage { breaker: self, now, good: false })
    }

    /// What is left of the rest. A clock that was set back ends it.
    fn left(&self, since: Timestamp, now: Timestamp) -> Span {
        match now.since(since) {
            Ok(gone) if gone >= Span::ZERO && gone < self.rest => {
                Span::from_micros(self.rest.micros().saturating_sub(gone.micros()))
            }
            Ok(_) | Err(_) => Span::ZERO,
        }
    }
}

impl Passage<'_> {
    /// The provider answered, whatever it said.
    pub(super) fn answered(mut self) {
        self.good = true;
    }
}

impl Drop for Passage<'_> {
    fn drop(&mut self) {
        let mut state = self.breaker.state.lock().unwrap_or_else(PoisonError::into_inner);
        *state = match (*state, self.good) {
            (_, true) => State::Closed { failures: 0 },
            (State::Closed { failures }, false) => {
                let failures = failures.saturating_add(1);
                if failures < self.breaker.most_failures {
                    State::Closed { failures }
                } else {
                    State::Open { since: self.now }
                }
            }
            (State::Trying { .. }, false) => State::Open { since: self.now },
            (open @ State::Open { .. }, false) => open,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Span = Span::from_seconds(1);

    #[test]
    fn it_opens_after_failures_in_a_row_lets_one_try_and_closes_when_that_one_is_answered() {
        let breaker = Breaker::new(3, Span::from_seconds(30));
        let mut now = Timestamp::from_micros(0);
        for _ in 0..2 {
            drop(breaker.pass(now).unwrap());
        }
        breaker.pass(now).unwrap().answered();
        for _ in 0..3 {
            drop(breaker.pass(now).unwrap());
        }
        assert_eq!(breaker.pass(now).err(), Some(Span::from_seconds(30)));
        now = now.after(Span::from_seconds(29)).unwrap();
        assert_eq!(breaker.pass(now).err(), Some(SECOND));
        now = now.after(SECOND).unwrap();
        let trying = breaker.pass(now).unwrap();
        assert_eq!(breaker.pass(now).err(), Some(Span::from_seconds(30)), "one tries at a time");
        drop(trying);
        assert!(breaker.pass(now).is_err());
        now = now.after(Span::from_seconds(30)).unwrap();
        breaker.pass(now).unwrap().answered();
        assert!(breaker.pass(now).is_ok());
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_keep_it_open() {
        let breaker = Breaker::new(1, SECOND);
        let now = Timestamp::from_micros(10_000_000);
        drop(breaker.pass(now).unwrap());
        assert!(breaker.pass(now).is_err());
        assert!(breaker.pass(Timestamp::from_micros(0)).is_ok());
    }
}
