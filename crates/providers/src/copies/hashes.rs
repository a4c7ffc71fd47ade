//! The hashes of entries as they were copied, read ahead of whoever asks for one after the other.

use std::collections::VecDeque;
use std::fmt;
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use app::AppError;
use app::auditing::Copies;
use audit::tree::Hash;
use tokio::runtime::Handle;

use super::{hash_at, place_of, tile_at};

/// So many tiles are read ahead.
const AHEAD: usize = 16;

/// Copied hashes of a log of so many entries.
///
/// Whoever asks waits for the answer without letting go of its thread: the runtime that reads needs threads beside it.
pub struct CopiedHashes {
    copies: Arc<dyn Copies>,
    size: u64,
    runtime: Handle,
    tile: Option<(u64, Vec<u8>)>,
    ahead: VecDeque<(u64, Receiver<Read>)>,
    failed: Arc<Mutex<Option<AppError>>>,
}

type Read = Result<Option<Vec<u8>>, AppError>;

impl fmt::Debug for CopiedHashes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("CopiedHashes").field("size", &self.size).finish_non_exhaustive()
    }
}

impl CopiedHashes {
    /// As they were copied when the log had `size` entries.
    pub fn new(copies: Arc<dyn Copies>, size: u64, runtime: Handle) -> Self {
        Self { copies, size, runtime, tile: None, ahead: VecDeque::new(), failed: Arc::default() }
    }

    /// The hash of an entry, if its tile was copied and could be read.
    pub fn hash(&mut self, entry: u64) -> Option<Hash> {
        let (tile, place) = place_of(entry, self.size)?;
        if self.tile.as_ref().is_none_or(|(index, _)| *index != tile.index) {
            let content = self.read(tile.index).unwrap_or_default();
            self.tile = Some((tile.index, content));
        }
        let (_, content) = self.tile.as_ref()?;
        hash_at(content, place)
    }

    /// Why copies could not be read, once that has happened. Nothing is read then any more, so that not all was compared.
    pub fn failed(&self) -> Arc<Mutex<Option<AppError>>> {
        Arc::clone(&self.failed)
    }

    fn read(&mut self, index: u64) -> Option<Vec<u8>> {
        if self.failed.lock().unwrap_or_else(PoisonError::into_inner).is_some() {
            return None;
        }
        // Whoever jumps needs nothing of what was read for the next steps.
        if self.ahead.front().is_some_and(|(first, _)| *first != index) {
            self.ahead.clear();
        }
        let mut next = self.ahead.back().map_or(Some(index), |(last, _)| last.checked_add(1));
        while self.ahead.len() < AHEAD
            && let Some(tile) = next.and_then(|index| tile_at(index, self.size))
        {
            let (copies, name) = (Arc::clone(&self.copies), tile.to_string());
            let (tell, told) = sync_channel(1);
            self.runtime.spawn(async move {
                // Nobody may want it any more.
                drop(tell.send(copies.get(&name).await));
            });
            self.ahead.push_back((tile.index, told));
            next = tile.index.checked_add(1);
        }
        let (_, told) = self.ahead.pop_front()?;
        let read = told.recv().map_err(|ended| AppError::bug("reading ahead")(Box::new(ended)));
        match read.and_then(|read| read) {
            Ok(content) => content,
            Err(error) => {
                *self.failed.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
                None
            }
        }
    }
}
