//! Answers that cost something, kept for whoever asks next. What is kept may vanish at any moment.

use async_trait::async_trait;
use kernel::Span;

/// Stands for what a tag was before it is made invalid the next time. Of chance or counted: no two of a tag are equal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark(pub u64);

/// Where answers are kept, under a tag by which an event makes all of them invalid. A failure of the cache is no failure of
/// the answer: it is as if nothing were kept.
#[async_trait]
pub trait Cache: Send + Sync {
    /// What is kept, if it is still good.
    async fn get(&self, tag: &str, key: &str) -> Option<String>;
    /// The tag as it is, to be asked for before reading what is to be kept; none if nothing can be kept now.
    async fn mark(&self, tag: &str) -> Option<Mark>;
    /// Keeps an answer for a while, unless the tag was made invalid since `mark`.
    async fn put(&self, tag: &str, key: &str, mark: Mark, answer: &str, keep: Span);
    /// Whatever is kept under a tag is good no more.
    async fn invalidate(&self, tag: &str);
}
