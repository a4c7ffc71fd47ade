//! Answers that cost something, kept for whoever asks next. What is kept may vanish at any moment.
//!
//! An answer is kept with the place in the log that it was read at, so that nobody who hands in a token gets one that is older
//! than what they have written; and under tags, by which events make it invalid.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use kernel::{AccountId, Clock, FirmId, Span, Timestamp};
use store::Token;

/// A kept answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cached {
    /// As it was rendered.
    pub body: String,
    /// Whoever carries a lesser token misses nothing in it; none if it may lack something for everybody who carries one.
    pub at: Option<Token>,
}

/// Where answers are kept. A failure of the cache is no failure of the answer: it is as if nothing were kept.
#[async_trait]
pub trait Cache: Send + Sync {
    /// What is kept under a key, if it is still good.
    async fn get(&self, key: &str) -> Option<Cached>;
    /// How often any of these tags was made invalid, to be asked before reading what is to be kept.
    async fn generation(&self, tags: &[String]) -> u64;
    /// Keeps an answer for a while, unless one of its tags was made invalid since `generation`.
    async fn put(&self, key: &str, tags: &[String], generation: u64, cached: Cached, keep: Span);
    /// Whatever is kept under a tag is good no more.
    async fn invalidate(&self, tag: &str);
}

/// The tag of what is said about an account.
pub(crate) fn account_tag(firm: FirmId, account: AccountId) -> String {
    format!("{firm}:account:{account}")
}

/// Beyond so many answers the memory starts anew.
const MOST: usize = 20_000;
/// How often a tag was made invalid is counted for so many at once; two may share a count, which only costs an answer.
const COUNTS: usize = 4_096;

/// A cache in this process.
pub struct MemoryCache {
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    answers: HashMap<String, (Cached, Timestamp, Vec<String>)>,
    by_tag: HashMap<String, BTreeSet<String>>,
    counts: Vec<u64>,
}

impl fmt::Debug for MemoryCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MemoryCache").finish_non_exhaustive()
    }
}

impl MemoryCache {
    /// An empty one.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, kept: Mutex::new(Kept { counts: vec![0; COUNTS], ..Kept::default() }) }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    fn slot(&self, tag: &str) -> usize {
        // FNV-1a: the same in every process, and nobody gains by a collision.
        let hash = tag.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let count = u64::try_from(self.counts.len()).unwrap_or(1);
        hash.checked_rem(count).and_then(|slot| usize::try_from(slot).ok()).unwrap_or_default()
    }

    fn generation(&self, tags: &[String]) -> u64 {
        let counts = tags.iter().filter_map(|tag| self.counts.get(self.slot(tag)));
        counts.fold(0, |sum, count| sum.wrapping_add(*count))
    }

    fn remove(&mut self, key: &str) {
        let Some((_, _, tags)) = self.answers.remove(key) else { return };
        for tag in tags {
            if let Some(keys) = self.by_tag.get_mut(&tag) {
                keys.remove(key);
                if keys.is_empty() {
                    self.by_tag.remove(&tag);
                }
            }
        }
    }
}

#[async_trait]
impl Cache for MemoryCache {
    async fn get(&self, key: &str) -> Option<Cached> {
        let now = self.clock.now();
        let mut kept = self.lock();
        let (cached, until, _) = kept.answers.get(key)?;
        if now < *until {
            return Some(cached.clone());
        }
        kept.remove(key);
        None
    }

    async fn generation(&self, tags: &[String]) -> u64 {
        self.lock().generation(tags)
    }

    async fn put(&self, key: &str, tags: &[String], generation: u64, cached: Cached, keep: Span) {
        let Ok(until) = self.clock.now().after(keep) else { return };
        let mut kept = self.lock();
        if kept.generation(tags) != generation {
            return;
        }
        if kept.answers.len() >= MOST {
            kept.answers.clear();
            kept.by_tag.clear();
        }
        kept.remove(key);
        for tag in tags {
            kept.by_tag.entry(tag.clone()).or_default().insert(key.to_owned());
        }
        kept.answers.insert(key.to_owned(), (cached, until, tags.to_vec()));
    }

    async fn invalidate(&self, tag: &str) {
        let mut kept = self.lock();
        let slot = kept.slot(tag);
        if let Some(count) = kept.counts.get_mut(slot) {
            *count = count.wrapping_add(1);
        }
        for key in kept.by_tag.remove(tag).unwrap_or_default() {
            kept.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use kernel::ManualClock;

    use super::*;

    fn answer(text: &str) -> Cached {
        Cached { body: text.to_owned(), at: "0000000000000001".parse().ok() }
    }

    #[tokio::test]
    async fn what_was_read_before_an_event_is_not_kept_after_it() {
        let clock = Arc::new(ManualClock::new(Timestamp::EPOCH));
        let cache = MemoryCache::new(clock.clone());
        let tags = ["a".to_owned(), "b".to_owned()];
        let generation = cache.generation(&tags).await;
        cache.put("key", &tags, generation, answer("one"), Span::from_seconds(10)).await;
        assert_eq!(cache.get("key").await, Some(answer("one")));
        cache.invalidate("b").await;
        assert_eq!(cache.get("key").await, None);
        cache.put("key", &tags, generation, answer("late"), Span::from_seconds(10)).await;
        assert_eq!(cache.get("key").await, None, "it was read before the event");
        let generation = cache.generation(&tags).await;
        cache.put("key", &tags, generation, answer("two"), Span::from_seconds(10)).await;
        clock.advance(Span::from_seconds(9));
        assert_eq!(cache.get("key").await, Some(answer("two")));
        clock.advance(Span::from_seconds(1));
        assert_eq!(cache.get("key").await, None, "its time is over");
        assert!(cache.lock().by_tag.is_empty());
    }

    #[tokio::test]
    async fn memory_is_bounded() {
        let cache = MemoryCache::new(Arc::new(ManualClock::new(Timestamp::EPOCH)));
        for number in 0..MOST * 2 {
            let tags = [format!("tag {number}")];
            let generation = cache.generation(&tags).await;
            cache.put(&number.to_string(), &tags, generation, answer("x"), Span::from_seconds(10)).await;
        }
        let kept = cache.lock();
        assert!(kept.answers.len() <= MOST && kept.by_tag.len() <= MOST);
    }
}
