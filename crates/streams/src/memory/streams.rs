//! Streams in the memory of one process.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use app::streams::{Entry, EntryId, StreamError, Streams, Waiting};
use async_trait::async_trait;
use tokio::sync::Notify;
use tokio::time::Instant;

/// Streams that live as long as their process.
#[derive(Debug, Default)]
pub struct MemoryStreams {
    streams: Mutex<BTreeMap<String, Stream>>,
    appended: Notify,
}

#[derive(Debug, Default)]
struct Stream {
    entries: VecDeque<Entry>,
    last: EntryId,
    groups: BTreeMap<String, Group>,
}

#[derive(Debug, Default)]
struct Group {
    delivered: EntryId,
    pending: BTreeMap<EntryId, Instant>,
}

impl Group {
    fn done(&self) -> EntryId {
        let next = EntryId { number: self.delivered.number.saturating_add(1), ..self.delivered };
        self.pending.first_key_value().map_or(next, |(id, _)| *id)
    }
}

impl Stream {
    /// Entries behind a place.
    fn after(&self, place: EntryId) -> impl Iterator<Item = &Entry> {
        let first = self.entries.partition_point(|entry| entry.id <= place);
        self.entries.range((Bound::Included(first), Bound::Unbounded))
    }

    fn find(&self, id: EntryId) -> Option<&Entry> {
        let place = self.entries.binary_search_by_key(&id, |entry| entry.id).ok()?;
        self.entries.get(place)
    }

    fn remove_before(&mut self, place: EntryId) -> u64 {
        let removed = self.entries.partition_point(|entry| entry.id < place);
        self.entries.drain(..removed);
        u64::try_from(removed).unwrap_or(u64::MAX)
    }
}

impl MemoryStreams {
    /// Without a stream.
    pub fn new() -> Self {
        Self::default()
    }

    fn with<T>(&self, stream: &str, work: impl FnOnce(&mut Stream) -> T) -> T {
        let mut streams = self.streams.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(stream) = streams.get_mut(stream) {
            return work(stream);
        }
        work(streams.entry(stream.to_owned()).or_default())
    }

    /// Asks until there is something, or for so long.
    async fn wait<T>(&self, wait: Duration, mut ask: impl FnMut() -> Vec<T>) -> Vec<T> {
        let asking = async {
            loop {
                // Listens before it asks, so that nothing comes in between unheard.
                let appended = self.appended.notified();
                let mut appended = std::pin::pin!(appended);
                appended.as_mut().enable();
                let found = ask();
                if !found.is_empty() {
                    return found;
                }
                appended.await;
            }
        };
        tokio::time::timeout(wait, asking).await.unwrap_or_default()
    }
}

#[async_trait]
impl Streams for MemoryStreams {
    async fn append(&self, stream: &str, entries: &[Vec<u8>]) -> Result<EntryId, StreamError> {
        let last = self.with(stream, |stream| {
            for bytes in entries {
                stream.last.number = stream.last.number.saturating_add(1);
                stream.entries.push_back(Entry { id: stream.last, bytes: bytes.clone() });
            }
            stream.last
        });
        self.appended.notify_waiters();
        Ok(last)
    }

    async fn read(
        &self,
        stream: &str,
        group: &str,
        _member: &str,
        most: usize,
        wait: Duration,
    ) -> Result<Vec<Entry>, StreamError> {
        let read = || {
            self.with(stream, |stream| {
                let from = stream.groups.entry(group.to_owned()).or_default().delivered;
                let given: Vec<Entry> = stream.after(from).take(most).cloned().collect();
                let group = stream.groups.entry(group.to_owned()).or_default();
                let now = Instant::now();
                group.pending.extend(given.iter().map(|entry| (entry.id, now)));
                group.delivered = given.last().map_or(group.delivered, |entry| entry.id);
                given
            })
        };
        Ok(self.wait(wait, read).await)
    }

    async fn claim(
        &self,
        stream: &str,
        group: &str,
        _member: &str,
        idle: Duration,
        most: usize,
    ) -> Result<Vec<Entry>, StreamError> {
        Ok(self.with(stream, |stream| {
            let Some(pending) = stream.groups.get(group).map(|group| group.pending.clone()) else {
                return Vec::new();
            };
            let now = Instant::now();
            let old = pending.into_iter().filter(|(_, since)| now.duration_since(*since) >= idle);
            let claimed: Vec<Entry> = old.filter_map(|(id, _)| stream.find(id).cloned()).take(most).collect();
            if let Some(group) = stream.groups.get_mut(group) {
                group.pending.extend(claimed.iter().map(|entry| (entry.id, now)));
            }
            claimed
        }))
    }

    async fn acknowledge(&self, stream: &str, group: &str, ids: &[EntryId]) -> Result<(), StreamError> {
        self.with(stream, |stream| {
            if let Some(group) = stream.groups.get_mut(group) {
                for id in ids {
                    group.pending.remove(id);
                }
            }
        });
        Ok(())
    }

    async fn follow(
        &self,
        stream: &str,
        after: EntryId,
        most: usize,
        wait: Duration,
    ) -> Result<Vec<Entry>, StreamError> {
        let follow =
            || self.with(stream, |stream| stream.after(after).take(most).cloned().collect::<Vec<_>>());
        Ok(self.wait(wait, follow).await)
    }

    async fn last(&self, stream: &str) -> Result<EntryId, StreamError> {
        Ok(self.with(stream, |stream| stream.last))
    }

    async fn trim(&self, stream: &str) -> Result<u64, StreamError> {
        Ok(self.with(stream, |stream| {
            let Some(lowest) = stream.groups.values().map(Group::done).min() else { return 0 };
            stream.remove_before(lowest)
        }))
    }

    async fn trim_to(&self, stream: &str, most: u64) -> Result<u64, StreamError> {
        Ok(self.with(stream, |stream| {
            let most = usize::try_from(most).unwrap_or(usize::MAX);
            let beyond = stream.entries.len().saturating_sub(most);
            stream.entries.drain(..beyond);
            u64::try_from(beyond).unwrap_or(u64::MAX)
        }))
    }

    async fn join(&self, stream: &str, group: &str) -> Result<(), StreamError> {
        self.with(stream, |stream| {
            stream.groups.entry(group.to_owned()).or_default();
        });
        Ok(())
    }

    async fn keep_for(&self, _stream: &str, _time: Duration) -> Result<(), StreamError> {
        // It ends with its process, as everybody does who uses it.
        Ok(())
    }

    async fn waiting(&self, stream: &str, group: &str) -> Result<Waiting, StreamError> {
        Ok(self.with(stream, |stream| {
            let (delivered, pending) = stream
                .groups
                .get(group)
                .map_or((EntryId::ZERO, 0), |group| (group.delivered, group.pending.len()));
            let undelivered = stream.after(delivered).count();
            let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
            Waiting { undelivered: count(undelivered), pending: count(pending) }
        }))
    }

    async fn done(&self, stream: &str, group: &str) -> Result<EntryId, StreamError> {
        Ok(self.with(stream, |stream| stream.groups.get(group).map_or(EntryId::ZERO, Group::done)))
    }
}
