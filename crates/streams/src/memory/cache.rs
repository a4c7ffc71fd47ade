//! What is kept in the memory of one process for a while.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use app::cache::{Cache, Mark};
use async_trait::async_trait;
use kernel::{Clock, Span, Timestamp};

/// Beyond so many tags the memory starts anew.
const MOST: usize = 20_000;

/// A cache in this process.
pub struct MemoryCache {
    clock: Arc<dyn Clock>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    tags: HashMap<String, Tag>,
    marked: u64,
}

struct Tag {
    mark: Mark,
    answers: HashMap<String, (String, Timestamp)>,
}

impl fmt::Debug for MemoryCache {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("MemoryCache").finish_non_exhaustive()
    }
}

impl MemoryCache {
    /// An empty one.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, kept: Mutex::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Cache for MemoryCache {
    async fn get(&self, tag: &str, key: &str) -> Option<String> {
        let now = self.clock.now();
        let kept = self.lock();
        let (answer, until) = kept.tags.get(tag)?.answers.get(key)?;
        (now < *until).then(|| answer.clone())
    }

    async fn mark(&self, tag: &str) -> Option<Mark> {
        let mut kept = self.lock();
        if let Some(found) = kept.tags.get(tag) {
            return Some(found.mark);
        }
        if kept.tags.len() >= MOST {
            kept.tags.clear();
        }
        kept.marked = kept.marked.wrapping_add(1);
        let mark = Mark(kept.marked);
        kept.tags.insert(tag.to_owned(), Tag { mark, answers: HashMap::new() });
        Some(mark)
    }

    async fn put(&self, tag: &str, key: &str, mark: Mark, answer: &str, keep: Span) {
        let Ok(until) = self.clock.now().after(keep) else { return };
        let mut kept = self.lock();
        if let Some(tag) = kept.tags.get_mut(tag).filter(|tag| tag.mark == mark) {
            tag.answers.insert(key.to_owned(), (answer.to_owned(), until));
        }
    }

    async fn invalidate(&self, tag: &str) {
        // Whoever asks for its mark gets another one.
        self.lock().tags.remove(tag);
    }
}
