//! Whether the stored log is what was signed: its export, read by the verifier that strangers use, and compared with what lies
//! outside.

use std::sync::Arc;

use audit::checkpoint::{Checkpoint, Keys, Opened};
use audit::export::{Trust, Verified, Verifier};
use audit::note::NoteKey;
use audit::tree::Hash;

use super::{AuditStore, Break, Copies, Exporter, LogError, Miscounted, NEWEST, Wanted, row_id, tree};
use crate::AppError;

/// The hash that an entry has in copied tiles, where they have one.
pub type Copied = Box<dyn FnMut(u64) -> Option<Hash> + Send>;

/// Verifies a part of the log. If it goes up to the newest checkpoint, also that the tree ends where it should and that no row
/// was left out of it.
pub async fn verify(
    store: &Arc<dyn AuditStore>,
    trust: Trust,
    wanted: Wanted,
    copied: Option<Copied>,
) -> Result<Verified, LogError> {
    let size = store.log_size().await?;
    if let Some((trusted, _)) = trust.checkpoint
        && trusted > size
    {
        return Err(Break::Behind { outside: trusted, here: size }.into());
    }
    let wanted = Wanted { trusted: trust.checkpoint.map(|(size, _)| size), ..wanted };
    let mut exporter = Exporter::new(Arc::clone(store), wanted).await?;
    // The statements of the later keys come with the export.
    let mut verifier = Verifier::new(Trust { keys: trust.keys.first_alone(), ..trust });
    if let Some(copied) = copied {
        verifier = verifier.with_copies(copied);
    }
    while let Some(part) = exporter.next().await? {
        verifier.feed(&part).map_err(Break::Refused)?;
    }
    let shown = verifier.finish().map_err(Break::Refused)?;
    if wanted.end.is_none() {
        check_end(&**store).await?;
    }
    Ok(shown)
}

/// Whether the tree ends where it should, and no row that should be in it is not.
pub async fn check_end(store: &dyn AuditStore) -> Result<(), LogError> {
    let size = store.log_size().await?;
    let floor = store.log_floor().await?;
    let last = size.checked_sub(1);
    let there = store.leaves(last.unwrap_or(0), size.saturating_add(1)).await?;
    // The last entry, too, may lie in an archive alone.
    let last = last.filter(|_| !there.is_empty() || floor < size);
    // Whoever seals may have gone on since the size was read.
    let grown = store.log_size().await? > size;
    let mut behind = there.iter().map(|(leaf, _)| leaf.index).filter(|index| *index >= size);
    if !grown && let Some(index) = behind.next() {
        return Err(Break::Beyond { index, size }.into());
    }
    if let Some(index) = last
        && there.first().is_none_or(|(leaf, _)| leaf.index != index)
    {
        return Err(Break::NoLeaf { index, size }.into());
    }
    if let Some((source, part, number)) = store.never_sealed().await?.into_iter().next() {
        return Err(Break::Added { table: source, id: row_id(source, part, number) }.into());
    }
    if let Some(Miscounted { source, part, up_to, wanted, found }) =
        store.miscounted().await?.into_iter().next()
    {
        let id = row_id(source, part, up_to);
        return Err(Break::Miscounted { table: source, id, wanted, found }.into());
    }
    Ok(())
}

/// The keys of a log whose first one is known from elsewhere than the database, which has the statements.
pub async fn known_keys(store: &dyn AuditStore, first: NoteKey) -> Result<Keys, LogError> {
    let stored = store.log_keys().await?;
    let named = first.to_string();
    if let Some(other) = stored.first().filter(|key| key.key != named) {
        return Err(Break::Keys(format!("the first is {}, and should be {named}", other.key)).into());
    }
    let mut keys = Keys::new(first).map_err(|error| Break::Keys(error.to_string()))?;
    for statement in stored.iter().filter_map(|key| key.statement.as_deref()) {
        keys.succeed(statement).map_err(|error| Break::Keys(error.to_string()))?;
    }
    Ok(keys)
}

/// The newest checkpoint outside, if there is one that these keys have signed.
pub async fn read_outside(copies: &dyn Copies, keys: &Keys) -> Result<Option<Opened>, LogError> {
    let Some(note) = copies.get(NEWEST).await? else { return Ok(None) };
    let outside = |say: String| LogError::from(Break::Outside(say));
    let note = String::from_utf8(note).map_err(|error| outside(error.to_string()))?;
    let opened = keys.open(&note).map_err(|error| outside(crate::with_causes(&error)))?;
    Ok(Some(opened))
}

/// Whether a log of `here` entries continues what was signed for its first `size`.
pub async fn check_continues(
    store: &dyn AuditStore,
    here: u64,
    size: u64,
    root: Hash,
) -> Result<(), LogError> {
    if size > here {
        return Err(Break::Behind { outside: size, here }.into());
    }
    if tree::root(store, size).await? != root {
        return Err(Break::Rewritten { size }.into());
    }
    Ok(())
}

/// Whether the database continues the newest checkpoint outside: gives that.
pub async fn check_outside(
    store: &dyn AuditStore,
    copies: &dyn Copies,
    keys: &Keys,
) -> Result<Option<Opened>, LogError> {
    let Some(opened) = read_outside(copies, keys).await? else { return Ok(None) };
    let Checkpoint { size, root, .. } = opened.checkpoint;
    check_continues(store, store.log_size().await?, size, root).await?;
    Ok(Some(opened))
}

/// For what cannot be done with a log that has no checkpoint yet.
impl LogError {
    /// Nothing was signed yet.
    pub fn is_empty_log(&self) -> bool {
        matches!(self, Self::App(AppError::NotFound("checkpoint")))
    }
}
