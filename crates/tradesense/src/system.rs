//! The machine's clock and chance: the edge where they enter.

use std::sync::{Mutex, PoisonError};

use kernel::{Clock, Rng, Timestamp};
use rustix::time::{ClockId, Timespec, clock_gettime};

/// The machine's clock, without its steps. It begins with the time of day and goes on with the time since the machine's
/// start, which nobody sets; what the time of day says otherwise it follows by a thousandth at most. So a clock that is set
/// wrong for an hour ends no deadline and begins no trading day. A process whose clock is wrong when it
/// starts is refused (`Store::check_clock`).
#[derive(Debug, Clone, Copy)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        static STEADY: Mutex<Option<Steady>> = Mutex::new(None);
        let mut steady = STEADY.lock().unwrap_or_else(PoisonError::into_inner);
        let (running, of_day) = (running(), of_day());
        let told = match *steady {
            Some(before) => before.after(running, of_day),
            None => Steady { running, told: of_day },
        };
        *steady = Some(told);
        Timestamp::from_micros(told.told)
    }
}

/// What the clock told, and how long the machine had been running then; in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Steady {
    running: i64,
    told: i64,
}

impl Steady {
    fn after(self, running: i64, of_day: i64) -> Self {
        let passed = running.saturating_sub(self.running).max(0);
        let expected = self.told.saturating_add(passed);
        let most = passed.checked_div(1_000).unwrap_or_default();
        let off = of_day.saturating_sub(expected).clamp(most.saturating_neg(), most);
        Self { running: running.max(self.running), told: expected.saturating_add(off) }
    }
}

/// How long the machine has been running, asleep or awake.
fn running() -> i64 {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    let clock = ClockId::Boottime;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    let clock = ClockId::Monotonic;
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    tv_sec.saturating_mul(1_000_000).saturating_add(tv_nsec.checked_div(1_000).unwrap_or_default())
}

fn of_day() -> i64 {
    #[expect(clippy::disallowed_methods, reason = "the edge: everybody else is handed this clock")]
    let now = std::time::SystemTime::now();
    let since = now.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

/// The operating system's chance.
#[derive(Debug, Clone, Copy)]
pub struct SystemRng;

impl Rng for SystemRng {
    #[expect(
        clippy::expect_used,
        reason = "without chance no id and no session may be made; going on would be worse"
    )]
    fn fill(&self, buffer: &mut [u8]) {
        getrandom::fill(buffer).expect("the operating system gives random bytes");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000;
    const HOUR: i64 = 3_600 * SECOND;

    #[test]
    fn a_clock_that_is_set_is_followed_slowly() {
        let before = Steady { running: 5 * SECOND, told: 1_000 * HOUR };
        for set in [-24 * HOUR, -HOUR, HOUR, 24 * HOUR] {
            let after = before.after(15 * SECOND, before.told + 10 * SECOND + set);
            let off = after.told - (before.told + 10 * SECOND);
            assert_eq!(off, 10 * SECOND / 1_000 * set.signum());
        }
    }

    #[test]
    fn a_small_difference_is_made_up_and_time_never_goes_back() {
        let mut steady = Steady { running: 0, told: 1_000 * HOUR };
        let start = steady.told;
        for second in 1..=20 {
            let next = steady.after(second * SECOND, start + second * SECOND - 15_000);
            assert!(next.told > steady.told);
            steady = next;
        }
        assert_eq!(steady.told, start + 20 * SECOND - 15_000);
        // One that reads the running time before another one and comes to the lock after it.
        assert_eq!(steady.after(19 * SECOND, start), steady);
    }
}
