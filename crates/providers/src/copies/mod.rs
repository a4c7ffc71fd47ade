//! Copies of the audit log: its tiles, bundles and checkpoints as files where the database's owner cannot write, in a
//! [`Folder`] or in a [`Bucket`].
//!
//! Names and content are the same in both. What is there is never replaced by something else; only the file that names the
//! newest checkpoint is replaced. An operator says where copies are as a [`Place`].
//!
//! **To add a place:** an [`app::auditing::Copies`] beside these two and a form of [`Place`] for it; it has to pass
//! `tests/copies.rs`.

mod folder;
mod hashes;
mod http;
mod place;
mod s3;

use audit::tiles::{Content, Tile, WIDTH};
use audit::tree::Hash;
pub use folder::Folder;
pub use hashes::CopiedHashes;
pub use place::{Address, BadPlace, Means, Place};
pub use rusty_s3::Credentials;
pub use s3::{Bucket, Failure, Limits};

/// The tile of hashes that an entry stands in as it was copied when the log had `size` entries, and where in it.
fn place_of(entry: u64, size: u64) -> Option<(Tile, usize)> {
    let index = entry.checked_div(WIDTH.into())?;
    let place = usize::try_from(entry.checked_rem(WIDTH.into())?).ok()?.checked_mul(32)?;
    Some((tile_at(index, size)?, place))
}

/// The tile of hashes with this index, unless the log ends before it.
fn tile_at(index: u64, size: u64) -> Option<Tile> {
    let full = size.saturating_sub(index.checked_mul(WIDTH.into())?).min(WIDTH.into());
    let width = u16::try_from(full).ok().filter(|width| *width > 0)?;
    Some(Tile { content: Content::Hashes(0), index, width })
}

fn hash_at(tile: &[u8], place: usize) -> Option<Hash> {
    Hash::from_slice(tile.get(place..place.checked_add(32)?)?)
}
