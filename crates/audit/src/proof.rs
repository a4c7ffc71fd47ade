//! The proof that one entry is in the log, as one text that is checked without us: C2SP `tlog-proof`.

use std::fmt;

use crate::checkpoint::{Keys, Opened, Unbelieved, parse_size};
use crate::entry::{Entry, NotAnEntry};
use crate::tree::{Hash, ProofError, verify_inclusion};

const FIRST_LINE: &str = "c2sp.org/tlog-proof@v1";

/// The most hashes: the levels of a tree.
const MOST_HASHES: usize = 63;

/// An entry's place, the hashes beside its way to the root, and the checkpoint with that root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The entry's place in the log.
    pub index: u64,
    /// From the leaf's sibling up.
    pub path: Vec<Hash>,
    /// The signed checkpoint, letter by letter.
    pub checkpoint: String,
}

/// Why a proof is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unproven {
    /// Not an entry.
    #[error("entry {index} was changed: it has no form of an entry")]
    Entry {
        /// Its place as the proof has it.
        index: u64,
        /// What is wrong.
        source: NotAnEntry,
    },
    /// The entry says that it stands elsewhere.
    #[error("the entry says that it is entry {found}, and the proof is for entry {wanted}")]
    OtherPlace {
        /// The proof's.
        wanted: u64,
        /// The entry's.
        found: u64,
    },
    /// The checkpoint is not believed.
    #[error("the checkpoint of the proof is not believed")]
    Checkpoint(#[source] Unbelieved),
    /// The way does not lead to the checkpoint.
    #[error("entry {index} is not the one of the checkpoint with {size} entries")]
    Path {
        /// The entry's place.
        index: u64,
        /// The checkpoint's.
        size: u64,
        /// What is wrong.
        source: ProofError,
    },
}

impl Proof {
    /// Reads its text. What the log may have added in the line `extra` is not kept: nobody has signed it.
    pub fn parse(text: &str) -> Option<Self> {
        let (head, checkpoint) = text.split_once("\n\n")?;
        let mut lines = head.split('\n').peekable();
        if lines.next()? != FIRST_LINE {
            return None;
        }
        lines.next_if(|line| line.starts_with("extra "));
        let index = parse_size(lines.next()?.strip_prefix("index ")?)?;
        let path = lines.map(Hash::parse_base64).collect::<Option<Vec<Hash>>>()?;
        (path.len() <= MOST_HASHES).then(|| Self { index, path, checkpoint: checkpoint.into() })
    }

    /// Whether exactly these bytes are the entry at this place of the log whose keys are known.
    pub fn verify<'a>(&self, bytes: &'a [u8], keys: &Keys) -> Result<(Entry<'a>, Opened), Unproven> {
        let index = self.index;
        let entry = Entry::decode(bytes).map_err(|source| Unproven::Entry { index, source })?;
        if entry.index != index {
            return Err(Unproven::OtherPlace { wanted: index, found: entry.index });
        }
        let opened = keys.open(&self.checkpoint).map_err(Unproven::Checkpoint)?;
        let size = opened.checkpoint.size;
        verify_inclusion(&Hash::leaf(bytes), index, size, &self.path, &opened.checkpoint.root)
            .map_err(|source| Unproven::Path { index, size, source })?;
        Ok((entry, opened))
    }
}

impl fmt::Display for Proof {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{FIRST_LINE}\nindex {}", self.index)?;
        self.path.iter().try_for_each(|hash| writeln!(formatter, "{}", hash.base64()))?;
        write!(formatter, "\n{}", self.checkpoint)
    }
}
