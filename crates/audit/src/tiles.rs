//! Where the hashes of a log lie in a folder or a bucket: the tiles of C2SP `tlog-tiles`, 256 hashes each, and beside
//! them the entries in bundles of 256. Whatever was written once never changes, except that a part becomes a whole; every
//! proof can be made from tiles alone.

use std::collections::BTreeMap;
use std::fmt;

use crate::entry::MOST_BYTES;
use crate::tree::{Hash, Node};

/// The hashes of a whole tile, and the entries of a whole bundle.
pub const WIDTH: u16 = 256;

/// The most tiles that [`Tiles`] keeps: more than any proof needs, and 2 MiB.
const KEPT: usize = 256;

/// A tree of 64-bit size has no tile above this level.
const MOST_LEVEL: u8 = 7;

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Content {
    /// The roots of subtrees of 256^level entries.
    Hashes(u8),
    /// Entries, each after its length in two bytes.
    Entries,
}

/// One file. Its name is its text: `tile/0/x001/x234/067` or, while it is a part, `tile/0/x001/x234/067.p/112`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Tile {
    /// What it holds.
    pub content: Content,
    /// Counted from 0.
    pub index: u64,
    /// How many, from 1 to 256.
    pub width: u16,
}

impl fmt::Display for Tile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.content {
            Content::Hashes(level) => write!(formatter, "tile/{level}/")?,
            Content::Entries => formatter.write_str("tile/entries/")?,
        }
        let mut groups = Vec::new();
        let mut rest = self.index;
        while {
            groups.push(rest.checked_rem(1000).unwrap_or(0));
            rest = rest.checked_div(1000).unwrap_or(0);
            rest > 0
        } {}
        while let Some(group) = groups.pop() {
            if groups.is_empty() {
                write!(formatter, "{group:03}")?;
            } else {
                write!(formatter, "x{group:03}/")?;
            }
        }
        if self.width == WIDTH { Ok(()) } else { write!(formatter, ".p/{}", self.width) }
    }
}

impl Tile {
    /// Reads the one name of a file.
    pub fn parse(name: &str) -> Option<Self> {
        let (content, place) = name.strip_prefix("tile/")?.split_once('/')?;
        let content = match content {
            "entries" => Content::Entries,
            level => Content::Hashes(level.parse().ok().filter(|level| *level <= MOST_LEVEL)?),
        };
        let (place, width) = match place.split_once(".p/") {
            Some((place, width)) => (place, width.parse().ok()?),
            None => (place, WIDTH),
        };
        let mut index = 0_u64;
        for group in place.split('/') {
            let digits = group.strip_prefix('x').unwrap_or(group);
            index = index.checked_mul(1000)?.checked_add(digits.parse().ok()?)?;
        }
        let tile = Self { content, index, width };
        // Zeros too many or too few, signs, an x too many: it would be printed otherwise.
        ((1..=WIDTH).contains(&width) && tile.to_string() == name).then_some(tile)
    }

    /// How many bytes a tile of hashes has; a bundle has no fixed size.
    pub fn bytes(&self) -> Option<usize> {
        match self.content {
            Content::Hashes(_) => usize::from(self.width).checked_mul(32),
            Content::Entries => None,
        }
    }
}

/// How many hashes of this level a log of `size` entries has.
fn hashes(level: u8, size: u64) -> u64 {
    size.checked_shr(u32::from(level).saturating_mul(8)).unwrap_or(0)
}

fn width(index: u64, hashes: u64) -> u16 {
    let from = index.saturating_mul(WIDTH.into());
    u16::try_from(hashes.saturating_sub(from)).unwrap_or(WIDTH).min(WIDTH)
}

/// The files to write when a log has grown from `older` to `size` entries, lower levels first and the bundles before
/// them: whoever sees a checkpoint after that finds everything below it.
pub fn grown(older: u64, size: u64) -> impl Iterator<Item = Tile> {
    let levels = (0..=MOST_LEVEL).map(|level| (Content::Hashes(level), level));
    std::iter::once((Content::Entries, 0)).chain(levels).flat_map(move |(content, level)| {
        let (before, after) = (hashes(level, older), hashes(level, size));
        let first = before.checked_div(WIDTH.into()).unwrap_or(0);
        let end = if after > before { after.div_ceil(WIDTH.into()) } else { first };
        (first..end).map(move |index| Tile { content, index, width: width(index, after) })
    })
}

/// Why a tile does not give a hash.
#[derive(Debug, thiserror::Error)]
pub enum TileError<E> {
    /// It could not be read.
    #[error("{tile} cannot be read")]
    Unread {
        /// Which.
        tile: Tile,
        /// Why.
        source: E,
    },
    /// Cut or extended.
    #[error("{tile} has {found} bytes")]
    Length {
        /// Which.
        tile: Tile,
        /// How many it has.
        found: usize,
    },
    /// No log of this size has such a node.
    #[error("a log of {size} entries has no node {index} of level {level}")]
    NoNode {
        /// How many entries.
        size: u64,
        /// The level asked for.
        level: u8,
        /// The index asked for.
        index: u64,
    },
}

/// Reads the nodes of a log of one size from its tiles, and keeps the last few of them. The tiles need not be trusted: a proof that is
/// made of wrong ones is refused by its verification.
#[derive(Debug)]
pub struct Tiles<F> {
    size: u64,
    fetch: F,
    fetched: BTreeMap<Tile, Vec<u8>>,
}

impl<E, F: FnMut(&Tile) -> Result<Vec<u8>, E>> Tiles<F> {
    /// Of a log of `size` entries, by a function that reads a file.
    pub fn new(size: u64, fetch: F) -> Self {
        Self { size, fetch, fetched: BTreeMap::new() }
    }

    /// The root of a full subtree.
    pub fn node(&mut self, node: Node) -> Result<Hash, TileError<E>> {
        let no_node = TileError::NoNode { size: self.size, level: node.level, index: node.index };
        let level = node.level.checked_div(8).unwrap_or(0);
        let halvings = u32::from(node.level.checked_rem(8).unwrap_or(0));
        let count = 1_u64.checked_shl(halvings).unwrap_or(1);
        let within = hashes(level, self.size);
        let Some(first) = node.index.checked_mul(count) else { return Err(no_node) };
        if level > MOST_LEVEL || first.checked_add(count).is_none_or(|end| end > within) {
            return Err(no_node);
        }
        let index = first.checked_div(WIDTH.into()).unwrap_or(0);
        let tile = Tile { content: Content::Hashes(level), index, width: width(index, within) };
        let skip = first.checked_rem(WIDTH.into()).unwrap_or(0);
        let bytes = self.tile(tile)?;
        let mut row: Vec<Hash> = bytes
            .chunks_exact(32)
            .filter_map(Hash::from_slice)
            .skip(usize::try_from(skip).unwrap_or(usize::MAX))
            .take(usize::try_from(count).unwrap_or(0))
            .collect();
        while row.len() > 1 {
            row = row
                .chunks_exact(2)
                .filter_map(
                    |pair| if let [left, right] = pair { Some(Hash::node(left, right)) } else { None },
                )
                .collect();
        }
        row.first().copied().ok_or(no_node)
    }

    fn tile(&mut self, tile: Tile) -> Result<&Vec<u8>, TileError<E>> {
        if !self.fetched.contains_key(&tile) {
            let bytes = (self.fetch)(&tile).map_err(|source| TileError::Unread { tile, source })?;
            if tile.bytes() != Some(bytes.len()) {
                return Err(TileError::Length { tile, found: bytes.len() });
            }
            if self.fetched.len() >= KEPT {
                self.fetched.clear();
            }
            self.fetched.insert(tile, bytes);
        }
        self.fetched.get(&tile).ok_or(TileError::Length { tile, found: 0 })
    }
}

/// The content of a tile of hashes.
pub fn tile_of(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| *hash.bytes()).collect()
}

/// Appends one entry to a bundle's content. None if it is longer than an entry can be.
pub fn add_to_bundle(bundle: &mut Vec<u8>, entry: &[u8]) -> Option<()> {
    bundle.extend_from_slice(&u16::try_from(entry.len()).ok()?.to_be_bytes());
    bundle.extend_from_slice(entry);
    Some(())
}

/// Why a bundle does not hold what its tile says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// An entry's length goes beyond the end.
    #[error("entry {index} is cut")]
    Cut {
        /// Its index in the log.
        index: u64,
    },
    /// Not the entry that was hashed.
    #[error("entry {index} was changed: it is not the one whose hash is in the tile")]
    Changed {
        /// Its index in the log.
        index: u64,
    },
    /// Fewer or more than the tile has hashes.
    #[error("{found} entries from {first} on, where the tile has {wanted}")]
    Count {
        /// The index of the first.
        first: u64,
        /// How many there should be.
        wanted: usize,
        /// How many there are.
        found: usize,
    },
}

/// The entries of a bundle whose first one has the index `first`.
pub fn read_bundle(first: u64, bundle: &[u8]) -> Result<Vec<&[u8]>, BundleError> {
    let mut entries = Vec::new();
    let mut rest = bundle;
    let mut index = first;
    while !rest.is_empty() {
        let entry = rest.split_first_chunk().and_then(|(length, after)| {
            let length = usize::from(u16::from_be_bytes(*length)).min(MOST_BYTES);
            after.split_at_checked(length)
        });
        let Some((entry, after)) = entry else { return Err(BundleError::Cut { index }) };
        entries.push(entry);
        rest = after;
        index = index.saturating_add(1);
    }
    Ok(entries)
}

/// Compares a bundle with the tile of its hashes and names the first entry that differs.
pub fn check_bundle(first: u64, bundle: &[u8], tile: &[u8]) -> Result<(), BundleError> {
    let entries = read_bundle(first, bundle)?;
    let wanted = tile.chunks(32);
    for ((index, entry), hash) in (first..).zip(&entries).zip(wanted.clone()) {
        if Hash::leaf(entry).bytes() != hash {
            return Err(BundleError::Changed { index });
        }
    }
    if entries.len() == wanted.len() {
        Ok(())
    } else {
        Err(BundleError::Count { first, wanted: wanted.len(), found: entries.len() })
    }
}
