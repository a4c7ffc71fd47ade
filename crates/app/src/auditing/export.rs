//! The log, or a part of it, as the file that `audit::export` reads, made piece by piece from what is stored.

use std::collections::VecDeque;
use std::sync::Arc;

use audit::export::{self, Header};
use audit::tree::{Frontier, Hash};
use kernel::FirmId;

use super::{
    AuditStore, Break, Leaf, LogError, LogRow, StoredCheckpoint, StoredKey, Stretch, tree, where_archived,
};
use crate::AppError;

/// Entries that are read in one go.
const AT_ONCE: u64 = 2_048;
/// Checkpoints that are read in one go.
const CHECKPOINTS: i64 = 1_000;

/// Which part of the log.
#[derive(Debug, Clone, Copy, Default)]
pub struct Wanted {
    /// From this entry on; 0 is the first that is kept.
    pub first: u64,
    /// Up to but not this one; up to the newest checkpoint if not said.
    pub end: Option<u64>,
    /// Only this firm's.
    pub firm: Option<FirmId>,
    /// The size of a checkpoint that the reader trusts: nothing is left out across it.
    pub trusted: Option<u64>,
}

/// Makes an export.
pub struct Exporter {
    store: Arc<dyn AuditStore>,
    header: Header,
    trusted: Option<u64>,
    keys: VecDeque<StoredKey>,
    checkpoints: VecDeque<StoredCheckpoint>,
    at: u64,
    begun: bool,
    ended: bool,
    /// Computed from the entries and from what stands for those that are left out, to compare the stored nodes with.
    frontier: Frontier,
}

impl std::fmt::Debug for Exporter {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Exporter")
            .field("header", &self.header)
            .field("at", &self.at)
            .finish_non_exhaustive()
    }
}

impl Exporter {
    /// Of the log as it is at its newest checkpoint, which must be there and cover what is wanted.
    pub async fn new(store: Arc<dyn AuditStore>, wanted: Wanted) -> Result<Self, LogError> {
        let keys = store.log_keys().await?;
        let first_key = keys.first().map(|key| key.key.as_str()).unwrap_or_default();
        let (Some(newest), Some((origin, _))) = (store.newest_checkpoint().await?, first_key.split_once('+'))
        else {
            return Err(AppError::NotFound("checkpoint").into());
        };
        let end = wanted.end.unwrap_or(newest.size);
        let floor = store.log_floor().await?;
        let first = if wanted.first == 0 { floor } else { wanted.first };
        if wanted.first > 0 && first < floor || wanted.end.is_some_and(|end| end > 0 && end < floor) {
            return Err(where_archived(&*store, wanted.first).await?.into());
        }
        if first > end || end > newest.size {
            return Err(AppError::field("/to", "The newest checkpoint does not reach so far.").into());
        }
        // What follows the end is left out up to the next checkpoint and no further.
        let last = store.checkpoints(end.max(wanted.trusted.unwrap_or(0)), 1).await?;
        let size = last.first().map_or(newest.size, |checkpoint| checkpoint.size);
        let header = Header { origin: origin.to_owned(), first, end, size, firm: wanted.firm };
        Ok(Self {
            store,
            header,
            trusted: wanted.trusted,
            // Who signs from the end on is said by what comes after it: so the export of a range is the same whenever it is made.
            keys: keys.into_iter().skip(1).filter(|key| key.after_size < size).collect(),
            checkpoints: VecDeque::new(),
            at: 0,
            begun: false,
            ended: false,
            frontier: Frontier::new(),
        })
    }

    /// What the file says of itself.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next part of the file; nothing after its end.
    pub async fn next(&mut self) -> Result<Option<Vec<u8>>, LogError> {
        let mut file = Vec::new();
        if !self.begun {
            export::begin(&self.header, &mut file);
            self.begun = true;
            self.signed(&mut file).await?;
            return Ok(Some(file));
        }
        if self.ended {
            return Ok(None);
        }
        if self.at >= self.header.size {
            export::end(&mut file);
            self.ended = true;
            return Ok(Some(file));
        }
        let cut = self.next_cut().await?;
        if self.at >= self.header.first && self.at < self.header.end {
            let end = cut.min(self.header.end).min(self.at.saturating_add(AT_ONCE));
            self.entries(end, &mut file).await?;
            self.at = end;
        } else {
            self.left_out(cut, &mut file).await?;
            self.at = cut;
        }
        self.signed(&mut file).await?;
        Ok(Some(file))
    }

    /// The next size at which something other than an entry stands, or at which a range ends.
    async fn next_cut(&mut self) -> Result<u64, LogError> {
        let Header { first, end, size, .. } = self.header;
        let at = self.at;
        if self.checkpoints.is_empty() && at >= first {
            self.checkpoints = self.store.checkpoints(at.saturating_add(1), CHECKPOINTS).await?.into();
        }
        let checkpoint = self.checkpoints.front().map(|checkpoint| checkpoint.size);
        let key = self.keys.front().map(|key| key.after_size);
        let cuts = [Some(first), Some(end), Some(size), self.trusted, checkpoint, key];
        Ok(cuts.into_iter().flatten().filter(|cut| *cut > at).min().unwrap_or(size).min(size))
    }

    /// The checkpoint at this size, and the key that took over at it.
    async fn signed(&mut self, file: &mut Vec<u8>) -> Result<(), LogError> {
        let at = self.at;
        let mut written = false;
        while let Some(checkpoint) = self.checkpoints.pop_front_if(|checkpoint| checkpoint.size <= at) {
            if checkpoint.size == at {
                export::write_checkpoint(&checkpoint.note, file);
                written = true;
            }
        }
        // The last one stands there even if everything before it was left out.
        if at == self.header.size
            && !written
            && let Some(last) = self.store.checkpoints(at, 1).await?.first()
        {
            export::write_checkpoint(&last.note, file);
        }
        while let Some(key) = self.keys.pop_front_if(|key| key.after_size <= at) {
            key.statement.iter().for_each(|statement| export::write_succession(statement, file));
        }
        Ok(())
    }

    async fn left_out(&mut self, end: u64, file: &mut Vec<u8>) -> Result<(), LogError> {
        let nodes = tree::read(&*self.store, audit::tree::cover(self.at, end).collect()).await?;
        let node = |node| nodes.get(&node).copied().ok_or_else(|| LogError::from(tree::no_node(node)));
        let mut completed = Vec::new();
        for part in audit::tree::cover(self.at, end) {
            let hash = node(part)?;
            self.push(part, hash, &mut completed)?;
        }
        self.compare(&completed).await?;
        export::write_left_out(self.at, end, node, file)
    }

    /// Goes on with the tree, and collects the nodes that are kept for themselves and are full by it: level, place, root and
    /// last entry.
    fn push(
        &mut self,
        node: audit::tree::Node,
        hash: Hash,
        completed: &mut Vec<(u8, u64, Hash, u64)>,
    ) -> Result<(), LogError> {
        let mut full = Vec::new();
        let pushed = self.frontier.push_node(node.level, hash, |node, hash| {
            full.extend(tile_level(node).map(|level| (level, node.index, hash)));
        });
        pushed.map_err(|error| AppError::bug("going on with the tree")(Box::new(error)))?;
        let last = self.frontier.size().saturating_sub(1);
        completed.extend(full.into_iter().map(|(level, place, hash)| (level, place, hash, last)));
        Ok(())
    }

    async fn entries(&mut self, end: u64, file: &mut Vec<u8>) -> Result<(), LogError> {
        let found = self.store.leaves(self.at, end).await?;
        let mut bytes = Vec::new();
        let mut rows = found.into_iter();
        let mut nodes = Vec::new();
        for index in self.at..end {
            let size = self.header.size;
            let Some((leaf, row)) = rows.next().filter(|(leaf, _)| leaf.index == index) else {
                // Its month may have been dropped since we began.
                return Err(if index < self.store.log_floor().await? {
                    where_archived(&*self.store, index).await?.into()
                } else {
                    Break::NoLeaf { index, size }.into()
                });
            };
            if self.header.firm.is_some_and(|firm| firm != leaf.firm) {
                let Ok(()) = export::write_left_out(
                    index,
                    index.saturating_add(1),
                    |_| Ok::<Hash, std::convert::Infallible>(leaf.hash),
                    file,
                );
            } else {
                bytes.clear();
                encode(&leaf, row, &mut bytes)?;
                export::write_entry(&leaf.hash, &bytes, file);
            }
            self.push(audit::tree::Node { level: 0, index }, leaf.hash, &mut nodes)?;
        }
        self.compare(&nodes).await
    }

    /// Whether the stored nodes are those of the entries.
    async fn compare(&self, nodes: &[(u8, u64, Hash, u64)]) -> Result<(), LogError> {
        let stretch =
            |(level, place, ..): &(u8, u64, Hash, u64)| Stretch { level: *level, first: *place, count: 1 };
        let stretches: Vec<Stretch> = nodes.iter().map(stretch).collect();
        let stored = if stretches.is_empty() { Vec::new() } else { self.store.hashes(&stretches).await? };
        for ((level, place, hash, last), stored) in nodes.iter().zip(stored) {
            let (level, place) = (*level, *place);
            match stored.first() {
                None => return Err(Break::NoNode { level, place }.into()),
                Some(stored) if stored != hash => {
                    return Err(Break::OtherNode { level, place, last: *last }.into());
                }
                Some(_) => {}
            }
        }
        Ok(())
    }
}

/// The tiles' level of a node that is kept for itself: not the leaves.
pub(super) fn tile_level(node: audit::tree::Node) -> Option<u8> {
    (node.level > 0 && node.level.checked_rem(8) == Some(0)).then(|| node.level.checked_div(8).unwrap_or(0))
}

/// The bytes of an entry whose row is there; they need not come to its hash.
pub(super) fn encode(leaf: &Leaf, row: Option<LogRow>, bytes: &mut Vec<u8>) -> Result<(), LogError> {
    let Leaf { index, source, part, number, .. } = *leaf;
    let id = super::row_id(source, part, number);
    let row = row.ok_or_else(|| Break::NoRow { index, table: source, id: id.clone() })?;
    if row.firm != leaf.firm || row.encode(index, bytes).is_err() {
        return Err(Break::OtherRow { index, table: source, id }.into());
    }
    Ok(())
}
