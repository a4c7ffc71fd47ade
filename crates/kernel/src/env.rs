//! The two things a program cannot compute: what time it is, and chance.

use std::sync::Mutex;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::{Span, Timestamp};

/// Tells the time. The binary hands in the system's clock, tests a [`ManualClock`].
pub trait Clock: Send + Sync {
    /// The instant now. May go backwards; whoever needs order keeps the largest seen.
    fn now(&self) -> Timestamp;
}

/// Gives chance. The binary hands in the operating system's, tests a [`SeededRng`].
pub trait Rng: Send + Sync {
    /// Fills the buffer.
    fn fill(&self, buffer: &mut [u8]);
}

/// A clock that stands where it is put.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Standing at `at`.
    pub fn new(at: Timestamp) -> Self {
        Self(AtomicI64::new(at.micros()))
    }

    /// Moves to `at`, forwards or backwards.
    pub fn set(&self, at: Timestamp) {
        self.0.store(at.micros(), Ordering::SeqCst);
    }

    /// Moves forward; panics past the end of time, which only a test can reach.
    pub fn advance(&self, span: Span) {
        self.0.fetch_add(span.micros(), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_micros(self.0.load(Ordering::SeqCst))
    }
}

/// A repeatable stream of chance (`SplitMix64`). For simulations and tests; never for secrets.
#[derive(Debug)]
pub struct SeededRng(Mutex<u64>);

impl SeededRng {
    /// The stream of this seed.
    pub const fn new(seed: u64) -> Self {
        Self(Mutex::new(seed))
    }

    /// The next 64 bits.
    pub fn next_u64(&self) -> u64 {
        let mut state = self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = *state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// A number from `low` to `high`, both included; `low` if they are the wrong way round.
    pub fn between(&self, low: i64, high: i64) -> i64 {
        let width = i128::from(high).wrapping_sub(i128::from(low)).wrapping_add(1);
        if width <= 1 {
            return low;
        }
        let offset = i128::from(self.next_u64()).checked_rem(width).unwrap_or_default();
        i64::try_from(i128::from(low).wrapping_add(offset)).unwrap_or(low)
    }
}

impl Rng for SeededRng {
    fn fill(&self, buffer: &mut [u8]) {
        for chunk in buffer.chunks_mut(8) {
            for (to, from) in chunk.iter_mut().zip(self.next_u64().to_le_bytes()) {
                *to = from;
            }
        }
    }
}
