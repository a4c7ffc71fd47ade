//! The Merkle tree of RFC 6962 over SHA-256: what a log of any length comes to in 32 bytes, and the proofs that an entry
//! is in it and that a longer log is the continuation of a shorter one.
//!
//! Nothing here holds a tree. A log grows by its [`Frontier`], at most 64 hashes; a proof is made of [`Node`]s that are
//! read from wherever they are kept. The verification follows RFC 9162, sections 2.1.3.2 and 2.1.4.2: every term of a
//! proof is bound, and one hash too few or too many is refused.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

/// The most entries of a log: what a signed 64-bit number counts.
pub const MOST_SIZE: u64 = 9_223_372_036_854_775_807;

/// A SHA-256. Printed as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// The root of the log without entries.
    pub const EMPTY: Self = Self([
        0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27,
        0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
    ]);

    /// As it is stored.
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As it is stored; nothing else than 32 bytes is a hash.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        Some(Self(bytes.try_into().ok()?))
    }

    /// What is stored.
    pub const fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The SHA-256 of any bytes: of a state before or after, of a ciphertext. No entry of a log.
    pub fn of(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Of an entry's bytes.
    pub fn leaf(bytes: &[u8]) -> Self {
        let mut hasher = Sha256::new();
        hasher.update([0]);
        hasher.update(bytes);
        Self(hasher.finalize().into())
    }

    /// Of the two halves of a tree.
    pub fn node(left: &Self, right: &Self) -> Self {
        let mut both = [1; 65];
        let (halves_left, halves_right) = both.split_at_mut(33);
        for (to, from) in halves_left.iter_mut().skip(1).zip(left.0) {
            *to = from;
        }
        halves_right.copy_from_slice(&right.0);
        Self(Sha256::digest(both).into())
    }

    /// As checkpoints and proofs are written.
    pub fn base64(&self) -> String {
        STANDARD.encode(self.0)
    }

    /// Reads the one base64 text of a hash.
    pub fn parse_base64(text: &str) -> Option<Self> {
        Self::from_slice(&STANDARD.decode(text).ok()?)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&hex::encode(self.0))
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Hash({self})")
    }
}

/// A full subtree: of the entries `[index << level, (index + 1) << level)`. Level 0 are the leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Node {
    /// How many times its entries were halved until one was left.
    pub level: u8,
    /// Counted from 0 within its level.
    pub index: u64,
}

/// The few full subtrees, largest first, that `[start, end)` consists of; each lies where its size divides the place.
pub fn cover(start: u64, end: u64) -> impl Iterator<Item = Node> {
    let mut at = start;
    std::iter::from_fn(move || {
        let left = end.checked_sub(at).filter(|left| *left > 0)?;
        let fits = left.ilog2();
        let level = if at == 0 { fits } else { fits.min(at.trailing_zeros()) };
        let node = Node { level: u8::try_from(level).ok()?, index: at.checked_shr(level)? };
        at = at.checked_add(1_u64.checked_shl(level)?)?;
        Some(node)
    })
}

/// What is kept of a log so that it can go on and its root be told: the full subtrees that it consists of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Frontier {
    size: u64,
    nodes: Vec<Hash>,
}

/// A log does not go on like this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrontierError {
    /// As many nodes as its size has ones in binary.
    #[error("a log of {size} entries has {wanted} such nodes, these are {found}")]
    Nodes {
        /// How many entries.
        size: u64,
        /// How many nodes there should be.
        wanted: u32,
        /// How many there are.
        found: usize,
    },
    /// A subtree of 2^level entries begins only where that number divides the place.
    #[error("no subtree of level {level} begins at entry {size}")]
    Level {
        /// How many entries there are.
        size: u64,
        /// The level of what was to be added.
        level: u8,
    },
    /// Beyond [`MOST_SIZE`].
    #[error("a log holds at most {MOST_SIZE} entries")]
    Full,
}

impl Frontier {
    /// Of a log without entries.
    pub const fn new() -> Self {
        Self { size: 0, nodes: Vec::new() }
    }

    /// Of what was stored: the nodes of [`cover`]`(0, size)`.
    pub fn from_nodes(size: u64, nodes: Vec<Hash>) -> Result<Self, FrontierError> {
        if size > MOST_SIZE {
            return Err(FrontierError::Full);
        }
        let wanted = size.count_ones();
        if usize::try_from(wanted) == Ok(nodes.len()) {
            Ok(Self { size, nodes })
        } else {
            Err(FrontierError::Nodes { size, wanted, found: nodes.len() })
        }
    }

    /// Of a stored tree.
    pub fn read<E>(size: u64, read: impl FnMut(Node) -> Result<Hash, E>) -> Result<Self, E> {
        Ok(Self { size, nodes: cover(0, size).map(read).collect::<Result<_, _>>()? })
    }

    /// How many entries.
    pub const fn size(&self) -> u64 {
        self.size
    }

    /// What to store.
    pub fn nodes(&self) -> &[Hash] {
        &self.nodes
    }

    /// The root of the tree.
    pub fn root(&self) -> Hash {
        let smallest_first = self.nodes.iter().rev().copied();
        smallest_first.reduce(|right, left| Hash::node(&left, &right)).unwrap_or(Hash::EMPTY)
    }

    /// One more entry. `completed` is told of every subtree that is full by it, the leaf first.
    pub fn push(&mut self, leaf: Hash, completed: impl FnMut(Node, Hash)) -> Result<(), FrontierError> {
        self.push_node(0, leaf, completed)
    }

    /// 2^level more entries of which only the root is known.
    pub fn push_node(
        &mut self,
        level: u8,
        hash: Hash,
        mut completed: impl FnMut(Node, Hash),
    ) -> Result<(), FrontierError> {
        let mut rest = self.size.checked_shr(level.into()).unwrap_or(0);
        let added = 1_u64.checked_shl(level.into()).ok_or(FrontierError::Full)?;
        if rest.checked_shl(level.into()) != Some(self.size) {
            return Err(FrontierError::Level { size: self.size, level });
        }
        let size = self.size.checked_add(added).filter(|size| *size <= MOST_SIZE);
        self.size = size.ok_or(FrontierError::Full)?;
        let mut node = Node { level, index: rest };
        let mut hash = hash;
        completed(node, hash);
        // A one in the old size, from its lowest bit on, is a left half that waited for this one.
        while rest & 1 == 1 {
            let Some(left) = self.nodes.pop() else { break };
            hash = Hash::node(&left, &hash);
            rest >>= 1;
            node = Node { level: node.level.saturating_add(1), index: rest };
            completed(node, hash);
        }
        self.nodes.push(hash);
        Ok(())
    }
}

/// The largest power of two below `size`, which is at least 2: where a tree is halved.
fn half(size: u64) -> u64 {
    size.saturating_sub(1).checked_ilog2().and_then(|bits| 1_u64.checked_shl(bits)).unwrap_or(0)
}

fn subtree<E>((start, end): (u64, u64), read: &mut impl FnMut(Node) -> Result<Hash, E>) -> Result<Hash, E> {
    let hashes = cover(start, end).map(read).collect::<Result<Vec<Hash>, E>>()?;
    let root = hashes.into_iter().rev().reduce(|right, left| Hash::node(&left, &right));
    Ok(root.unwrap_or(Hash::EMPTY))
}

/// The proof that the entry `index` is in the log of `size` entries: none if there is no such entry.
pub fn prove_inclusion<E>(
    index: u64,
    size: u64,
    mut read: impl FnMut(Node) -> Result<Hash, E>,
) -> Result<Option<Vec<Hash>>, E> {
    if index >= size {
        return Ok(None);
    }
    let (mut start, mut end) = (0_u64, size);
    let mut siblings = Vec::new();
    while end.saturating_sub(start) > 1 {
        let middle = start.saturating_add(half(end.saturating_sub(start)));
        if index < middle {
            siblings.push((middle, end));
            end = middle;
        } else {
            siblings.push((start, middle));
            start = middle;
        }
    }
    siblings.into_iter().rev().map(|range| subtree(range, &mut read)).collect::<Result<_, E>>().map(Some)
}

/// The proof that the log of `size` entries continues the one of `older` entries: none if that was not shorter or equal.
pub fn prove_consistency<E>(
    older: u64,
    size: u64,
    mut read: impl FnMut(Node) -> Result<Hash, E>,
) -> Result<Option<Vec<Hash>>, E> {
    if older > size {
        return Ok(None);
    }
    if older == 0 {
        return Ok(Some(Vec::new()));
    }
    let (mut start, mut end) = (0_u64, size);
    let mut parts = Vec::new();
    while older != end {
        let middle = start.saturating_add(half(end.saturating_sub(start)));
        if older <= middle {
            parts.push((middle, end));
            end = middle;
        } else {
            parts.push((start, middle));
            start = middle;
        }
    }
    // The older tree as a whole is known to whoever asks.
    if start > 0 {
        parts.push((start, end));
    }
    parts.into_iter().rev().map(|range| subtree(range, &mut read)).collect::<Result<_, E>>().map(Some)
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    /// There is no such entry.
    #[error("entry {index} is not within the first {size} entries")]
    Beyond {
        /// The entry.
        index: u64,
        /// How many entries there are.
        size: u64,
    },
    /// The continuation is shorter.
    #[error("a log of {size} entries does not continue one of {older}")]
    Shorter {
        /// The one before.
        older: u64,
        /// The one after.
        size: u64,
    },
    /// Cut or extended.
    #[error("the proof has {found} hashes, where there must be {wanted}")]
    Length {
        /// How many there should be.
        wanted: usize,
        /// How many there are.
        found: usize,
    },
    /// Of another entry, another place or another tree.
    #[error("the proof leads to the root {found} and not to {wanted}")]
    Root {
        /// The root of the checkpoint.
        wanted: Hash,
        /// Where the proof leads.
        found: Hash,
    },
    /// Of another older tree.
    #[error("the proof starts from the root {found} and not from {wanted}")]
    OlderRoot {
        /// The root of the older checkpoint.
        wanted: Hash,
        /// Where the proof starts.
        found: Hash,
    },
}

/// How many hashes prove the entry `index` of `size`.
fn inclusion_length(index: u64, size: u64) -> usize {
    let last = size.saturating_sub(1);
    // Where the ways to this entry and to the last one part, every level has a sibling; above, only on the right.
    let apart = (index ^ last).checked_ilog2().map_or(0, |bit| bit.saturating_add(1));
    let together = index.checked_shr(apart).unwrap_or(0).count_ones();
    usize::try_from(apart.saturating_add(together)).unwrap_or(usize::MAX)
}

/// Refuses any proof but the one that the entry with this leaf hash is the one at `index` of the log with this size and
/// root.
pub fn verify_inclusion(
    leaf: &Hash,
    index: u64,
    size: u64,
    proof: &[Hash],
    root: &Hash,
) -> Result<(), ProofError> {
    if index >= size {
        return Err(ProofError::Beyond { index, size });
    }
    let wanted = inclusion_length(index, size);
    if proof.len() != wanted {
        return Err(ProofError::Length { wanted, found: proof.len() });
    }
    let (mut place, mut last) = (index, size.saturating_sub(1));
    let mut found = *leaf;
    for sibling in proof {
        if place & 1 == 1 || place == last {
            found = Hash::node(sibling, &found);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            found = Hash::node(&found, sibling);
        }
        place >>= 1;
        last >>= 1;
    }
    // The length was right, so that no level is left.
    if last == 0 && found == *root { Ok(()) } else { Err(ProofError::Root { wanted: *root, found }) }
}

/// Refuses any proof but the one that the log of `size` entries begins with the `older` ones and goes on from there.
pub fn verify_consistency(
    older: u64,
    size: u64,
    proof: &[Hash],
    older_root: &Hash,
    root: &Hash,
) -> Result<(), ProofError> {
    if older > size {
        return Err(ProofError::Shorter { older, size });
    }
    if older == 0 && *older_root != Hash::EMPTY {
        return Err(ProofError::OlderRoot { wanted: *older_root, found: Hash::EMPTY });
    }
    let wanted = consistency_length(older, size);
    if proof.len() != wanted {
        return Err(ProofError::Length { wanted, found: proof.len() });
    }
    if older == size {
        return if older_root == root {
            Ok(())
        } else {
            Err(ProofError::Root { wanted: *root, found: *older_root })
        };
    }
    if older == 0 {
        return Ok(());
    }
    let (mut place, mut last) = (older.saturating_sub(1), size.saturating_sub(1));
    while place & 1 == 1 {
        place >>= 1;
        last >>= 1;
    }
    // A full older tree is a part of the newer one, and not written into the proof.
    let (start, rest) = match proof.split_first() {
        Some((first, rest)) if !older.is_power_of_two() => (first, rest),
        _ => (older_root, proof),
    };
    let (mut found_older, mut found) = (*start, *start);
    for part in rest {
        if place & 1 == 1 || place == last {
            found_older = Hash::node(part, &found_older);
            found = Hash::node(part, &found);
            while place & 1 == 0 && place != 0 {
                place >>= 1;
                last >>= 1;
            }
        } else {
            found = Hash::node(&found, part);
        }
        place >>= 1;
        last >>= 1;
    }
    if found_older != *older_root {
        return Err(ProofError::OlderRoot { wanted: *older_root, found: found_older });
    }
    if last == 0 && found == *root { Ok(()) } else { Err(ProofError::Root { wanted: *root, found }) }
}

/// How many hashes prove that `size` entries continue `older` ones.
fn consistency_length(older: u64, size: u64) -> usize {
    if older == 0 || older == size {
        return 0;
    }
    // From the smallest full subtree at the older tree's end the way up is that of an inclusion.
    let level = older.trailing_zeros();
    let place = older.saturating_sub(1).checked_shr(level).unwrap_or(0);
    let last = size.saturating_sub(1).checked_shr(level).unwrap_or(0);
    let start = usize::from(!older.is_power_of_two());
    inclusion_length(place, last.saturating_add(1)).saturating_add(start)
}
