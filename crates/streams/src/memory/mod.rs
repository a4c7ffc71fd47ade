//! What stands in for Redis in the memory of one process.

mod cache;
mod streams;

pub use cache::MemoryCache;
pub use streams::MemoryStreams;
