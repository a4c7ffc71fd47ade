//! Numbers that are given before their transactions commit, so that one can come to light behind a later one.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// So long after a gap was seen everybody who was given its number has begun to write; then the transactions are looked at.
pub(crate) const BEGUN_WITHIN: Duration = Duration::from_secs(2);

/// What was seen of such numbers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Numbers {
    seen: i64,
    gaps: BTreeMap<i64, Gap>,
}

/// A number that nothing was seen under.
#[derive(Debug, Clone, Copy)]
struct Gap {
    since: Instant,
    /// No transaction from here on can fill it; known a while after it was seen.
    next_transaction: Option<u64>,
}

impl Numbers {
    /// Everything up to `known` was seen or will never be.
    pub(crate) fn after(known: i64) -> Self {
        Self { seen: known, gaps: BTreeMap::new() }
    }

    /// The largest that was seen.
    pub(crate) fn seen(&self) -> i64 {
        self.seen
    }

    /// Those below it that were not.
    pub(crate) fn gaps(&self) -> Vec<i64> {
        self.gaps.keys().copied().collect()
    }

    /// Every number up to here was seen or will never be.
    pub(crate) fn known(&self) -> i64 {
        self.gaps.first_key_value().map_or(self.seen, |(gap, _)| gap.saturating_sub(1))
    }

    /// Numbers in rising order.
    pub(crate) fn saw(&mut self, numbers: impl IntoIterator<Item = i64>, now: Instant) {
        for number in numbers {
            self.gaps.remove(&number);
            let skipped = self.seen.saturating_add(1)..number;
            self.gaps.extend(skipped.map(|number| (number, Gap { since: now, next_transaction: None })));
            self.seen = self.seen.max(number);
        }
    }

    /// Forgets gaps that nobody can fill any more.
    pub(crate) fn forget(&mut self, oldest_running: u64, next_transaction: u64, now: Instant) {
        self.gaps.retain(|_, gap| {
            let Some(next) = gap.next_transaction else {
                let begun = now.saturating_duration_since(gap.since) >= BEGUN_WITHIN;
                gap.next_transaction = begun.then_some(next_transaction);
                return true;
            };
            oldest_running < next
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_place_moves_past_a_gap_only_once_nobody_can_fill_it() {
        let mut numbers = Numbers::after(0);
        numbers.saw([1, 2, 5], Instant::now());
        assert_eq!((numbers.seen(), numbers.known()), (5, 2));
        numbers.saw([4], Instant::now());
        assert_eq!((numbers.seen(), numbers.known(), numbers.gaps()), (5, 2, vec![3]));
        // Nobody runs, but whoever was given the number may not have begun to write.
        numbers.forget(90, 90, Instant::now());
        assert_eq!(numbers.known(), 2);
        tokio::time::advance(BEGUN_WITHIN).await;
        numbers.forget(90, 100, Instant::now());
        numbers.forget(99, 120, Instant::now());
        assert_eq!(numbers.known(), 2, "the transaction 99 may fill it");
        numbers.forget(100, 130, Instant::now());
        assert_eq!(numbers.known(), 5);
    }
}
