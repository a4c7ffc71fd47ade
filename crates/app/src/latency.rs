//! How long it took from receiving something to deciding it, and to its being durable: counted, never sampled.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use engine::Latency;
use kernel::{AccountId, FirmId, Span, Timestamp};

use crate::AppError;

/// The step between two buckets is an eighth of the power of two below them, so a figure read from a bucket is at most
/// 12.5 % above the truth.
const STEPS: u64 = 8;
const STEPS_LOG: u32 = 3;

/// What was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Received {
    /// A trader's or operator's command, when it came to the desk.
    Command,
    /// The quote, or the instant, that caused a verdict.
    Verdict,
}

/// Up to where it was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Until {
    /// The engine had decided.
    Decided,
    /// The commit had returned.
    Durable,
}

impl Received {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Command, Self::Verdict];

    /// The word for it in tables and figures.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Verdict => "verdict",
        }
    }
}

impl Until {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Decided, Self::Durable];

    /// The word for it in tables and figures.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Decided => "decided",
            Self::Durable => "durable",
        }
    }
}

/// A count of durations by length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    /// By [`bucket`]; those that are empty are not there.
    buckets: BTreeMap<u16, u64>,
    longest: u64,
    sum: u64,
}

/// The bucket of a duration in microseconds.
fn bucket(micros: u64) -> u16 {
    let octave = micros.checked_ilog2().unwrap_or_default();
    let Some(coarse) = octave.checked_sub(STEPS_LOG).filter(|_| micros >= STEPS) else {
        return u16::try_from(micros).unwrap_or(u16::MAX);
    };
    let within = (micros >> coarse).wrapping_rem(STEPS);
    let number = u64::from(coarse).saturating_add(1).saturating_mul(STEPS).saturating_add(within);
    u16::try_from(number).unwrap_or(u16::MAX)
}

/// The longest duration of a bucket, in microseconds.
fn longest_of(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    let (row, within) = (bucket >> STEPS_LOG, bucket.wrapping_rem(STEPS));
    let Some(coarse) = row.checked_sub(1).and_then(|row| u32::try_from(row).ok()) else { return bucket };
    // One more than the longest; of the last bucket that is beyond 64 bits.
    let end = u128::from(STEPS.saturating_add(within).saturating_add(1)).checked_shl(coarse);
    end.and_then(|end| u64::try_from(end.saturating_sub(1)).ok()).unwrap_or(u64::MAX)
}

impl Histogram {
    /// Counts a duration; one below zero, which clocks that were set back show, as none.
    pub fn add(&mut self, took: Span) {
        let micros = u64::try_from(took.micros()).unwrap_or_default();
        self.add_many(bucket(micros), 1, micros, micros);
    }

    /// Counts what was counted elsewhere.
    pub fn add_many(&mut self, bucket: u16, count: u64, sum: u64, longest: u64) {
        let counted = self.buckets.entry(bucket).or_default();
        *counted = counted.saturating_add(count);
        self.sum = self.sum.saturating_add(sum);
        self.longest = self.longest.max(longest);
    }

    /// Its figures; none of nothing.
    pub fn figures(&self) -> Option<Latency> {
        let count = self.count();
        (count > 0).then(|| Latency {
            count,
            p50_us: self.percentile(50),
            p99_us: self.percentile(99),
            max_us: self.longest,
        })
    }

    /// How many.
    pub fn count(&self) -> u64 {
        self.buckets.values().fold(0, |sum, count| sum.saturating_add(*count))
    }

    /// All together, in microseconds.
    pub const fn sum_us(&self) -> u64 {
        self.sum
    }

    /// The longest, in microseconds.
    pub const fn longest_us(&self) -> u64 {
        self.longest
    }

    /// Its buckets that are not empty.
    pub fn buckets(&self) -> impl Iterator<Item = (u16, u64)> {
        self.buckets.iter().map(|(bucket, count)| (*bucket, *count))
    }

    /// How many took no longer than so many microseconds, as far as buckets tell.
    pub fn within(&self, micros: u64) -> u64 {
        let until = self.buckets.iter().take_while(|(bucket, _)| longest_of(**bucket) <= micros);
        until.fold(0, |sum, (_, count)| sum.saturating_add(*count))
    }

    /// The shortest length that so many of a hundred did not exceed.
    fn percentile(&self, part: u64) -> u64 {
        let rank = self.count().saturating_mul(part).div_ceil(100);
        let mut seen = 0_u64;
        for (bucket, count) in &self.buckets {
            seen = seen.saturating_add(*count);
            if seen >= rank {
                return longest_of(*bucket).min(self.longest);
            }
        }
        self.longest
    }
}

/// Histograms of one account and day, by what was received and up to where.
pub type OfDay = BTreeMap<(Received, Until), Histogram>;

/// The figures of a day, by the words for what was received and up to where.
pub fn figures(day: &OfDay) -> BTreeMap<String, Latency> {
    let named = |((received, until), histogram): (&(Received, Until), &Histogram)| {
        let name = format!("{}_{}", received.word(), until.word());
        histogram.figures().map(|figures| (name, figures))
    };
    day.iter().filter_map(named).collect()
}

/// The day (UTC) of an instant, counted from the epoch.
pub fn day_of(at: Timestamp) -> i32 {
    i32::try_from(at.micros().div_euclid(MICROS_A_DAY)).unwrap_or_default()
}

/// Whose latency, on which day (UTC), of what, up to where.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Kind {
    /// Whose account's firm.
    pub firm: FirmId,
    /// Whose.
    pub account: AccountId,
    /// Days since the epoch, in UTC.
    pub day: i32,
    /// Of what.
    pub received: Received,
    /// Up to where.
    pub until: Until,
}

/// One thing that was received and decided, and is durable now.
#[derive(Debug, Clone, Copy)]
pub struct Passage {
    /// Whose account's firm.
    pub firm: FirmId,
    /// Whose.
    pub account: AccountId,
    /// What.
    pub received: Received,
    /// When it was received.
    pub received_at: Timestamp,
    /// When it was decided.
    pub decided_at: Timestamp,
}

/// Latencies by account and day that are not stored yet.
#[derive(Debug, Clone, Default)]
pub struct ByAccount {
    counted: BTreeMap<Kind, Histogram>,
}

const MICROS_A_DAY: i64 = 86_400_000_000;

impl ByAccount {
    /// Counts what became durable at an instant.
    pub fn add(&mut self, passage: &Passage, durable_at: Timestamp) {
        let Passage { firm, account, received, received_at, decided_at } = *passage;
        let day = day_of(received_at);
        for (until, at) in [(Until::Decided, decided_at), (Until::Durable, durable_at)] {
            let kind = Kind { firm, account, day, received, until };
            self.counted.entry(kind).or_default().add(at.since(received_at).unwrap_or(Span::ZERO));
        }
    }

    /// Counts what was counted elsewhere.
    pub fn merge(&mut self, other: Self) {
        for (kind, histogram) in other.counted {
            let counted = self.counted.entry(kind).or_default();
            let longest = histogram.longest;
            for (bucket, count) in &histogram.buckets {
                counted.add_many(*bucket, *count, 0, longest);
            }
            counted.sum = counted.sum.saturating_add(histogram.sum);
        }
    }

    /// Takes so many of them out.
    fn take_some(&mut self, most: usize) -> Self {
        let rest = self.counted.keys().nth(most).copied().map(|first| self.counted.split_off(&first));
        Self { counted: std::mem::replace(&mut self.counted, rest.unwrap_or_default()) }
    }

    /// Each with its histogram.
    pub fn iter(&self) -> impl Iterator<Item = (&Kind, &Histogram)> {
        self.counted.iter()
    }

    /// Whether nothing was counted.
    pub fn is_empty(&self) -> bool {
        self.counted.is_empty()
    }
}

/// Histograms stored in one go: each is some ten rows, and what a disk takes in one go others wait for.
const STORED_AT_ONCE: usize = 32;

/// Where latencies by account and day are kept. They are a statistic: written beside the shards' transactions, so that no order
/// waits for them, and what a crash takes of them is lost.
#[async_trait]
pub trait LatencyStore: Send + Sync {
    /// Adds to what is counted already.
    async fn add(&self, latencies: &ByAccount) -> Result<(), AppError>;
}

/// The last one that was counted: whose, how long, when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Example {
    /// Whose.
    pub account: AccountId,
    /// How long.
    pub took: Span,
    /// When it was durable.
    pub at: Timestamp,
}

/// Histograms by what was received and up to where, each with its last one.
pub type Everything = BTreeMap<(Received, Until), (Histogram, Option<Example>)>;

/// Latencies of everything since the start, for whoever measures the platform, and those by account that are not stored yet.
/// Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Meter {
    counted: Arc<Mutex<Everything>>,
    by_account: Arc<Mutex<ByAccount>>,
}

impl Meter {
    /// Stores what was counted by account since the last time; what cannot be stored is kept for the next.
    pub async fn store(&self, store: &dyn LatencyStore) -> Result<(), AppError> {
        let mut left = std::mem::take(&mut *self.by_account.lock().unwrap_or_else(PoisonError::into_inner));
        while !left.is_empty() {
            let part = left.take_some(STORED_AT_ONCE);
            if let Err(error) = store.add(&part).await {
                left.merge(part);
                self.by_account.lock().unwrap_or_else(PoisonError::into_inner).merge(left);
                return Err(error);
            }
        }
        Ok(())
    }

    /// Counts what became durable at an instant.
    pub fn add(&self, passages: &[Passage], durable_at: Timestamp) {
        if passages.is_empty() {
            return;
        }
        let mut counted = self.counted.lock().unwrap_or_else(PoisonError::into_inner);
        for Passage { account, received, received_at, decided_at, .. } in passages {
            for (until, at) in [(Until::Decided, *decided_at), (Until::Durable, durable_at)] {
                let took = at.since(*received_at).unwrap_or(Span::ZERO);
                let (histogram, example) = counted.entry((*received, until)).or_default();
                histogram.add(took);
                *example = Some(Example { account: *account, took, at: durable_at });
            }
        }
        drop(counted);
        let mut by_account = self.by_account.lock().unwrap_or_else(PoisonError::into_inner);
        for passage in passages {
            by_account.add(passage, durable_at);
        }
    }

    /// All of it.
    pub fn read(&self) -> Everything {
        self.counted.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_and_are_at_most_an_eighth_wide() {
        let mut before: Option<u64> = None;
        for number in 0..300_u16 {
            let longest = longest_of(number);
            assert_eq!(bucket(longest), number);
            if let Some(before) = before {
                assert_eq!(bucket(before + 1), number, "no duration lies between two buckets");
                assert!(longest - before <= (before + 1).div_ceil(8), "{number}");
            }
            before = Some(longest);
        }
        assert_eq!(longest_of(bucket(u64::MAX)), u64::MAX);
    }

    #[test]
    fn parts_are_the_whole() {
        let firm = FirmId::derived(&[b"firm"]);
        let mut all = ByAccount::default();
        for number in 0..100_u8 {
            let account = AccountId::derived(&[&[number]]);
            let at = Timestamp::EPOCH;
            let passage =
                Passage { firm, account, received: Received::Command, received_at: at, decided_at: at };
            all.add(&passage, at);
        }
        let whole = all.counted.len();
        let mut parts = Vec::new();
        while !all.is_empty() {
            parts.push(all.take_some(32).counted);
        }
        assert!(parts.iter().all(|part| !part.is_empty() && part.len() <= 32));
        let kinds: std::collections::BTreeSet<Kind> =
            parts.iter().flat_map(|part| part.keys().copied()).collect();
        assert_eq!((kinds.len(), parts.iter().map(BTreeMap::len).sum()), (whole, whole));
    }

    #[test]
    fn figures_are_those_of_the_sorted_list_but_for_the_width_of_a_bucket() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.figures(), None);
        for micros in 1..=1_000 {
            histogram.add(Span::from_micros(micros));
        }
        let figures = histogram.figures().unwrap();
        assert_eq!((figures.count, figures.max_us), (1_000, 1_000));
        assert!((500..=562).contains(&figures.p50_us), "{figures:?}");
        assert!((990..=1_000).contains(&figures.p99_us), "{figures:?}");
        assert_eq!(histogram.sum_us(), 500_500);
        assert_eq!(histogram.within(u64::MAX), 1_000);
        assert_eq!(histogram.within(7), 7);
    }
}
