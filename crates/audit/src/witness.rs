//! A witness: somebody else who has seen that a log only grew, and signs that. The requests are those of C2SP
//! `tlog-witness`, so that any witness of that network can look after our log, and ours after any other.

use std::fmt;

use crate::checkpoint::{Checkpoint, Keys, Unbelieved, parse_size};
use crate::note::{NoteSignature, NoteSigner};
use crate::tree::{Hash, ProofError, verify_consistency};

/// The most hashes of a proof: twice the levels of a tree would do.
const MOST_HASHES: usize = 63;

/// A new checkpoint for a witness, with the proof that it continues what the witness saw last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submission {
    /// How long the log was when the witness saw it last, as the log believes.
    pub older: u64,
    /// Of consistency.
    pub proof: Vec<Hash>,
    /// The signed checkpoint, letter by letter.
    pub checkpoint: String,
}

impl Submission {
    /// Reads the body of `add-checkpoint`.
    pub fn parse(body: &str) -> Option<Self> {
        let (head, checkpoint) = body.split_once("\n\n")?;
        let mut lines = head.split('\n');
        let older = parse_size(lines.next()?.strip_prefix("old ")?)?;
        let proof = lines.map(Hash::parse_base64).collect::<Option<Vec<Hash>>>()?;
        (proof.len() <= MOST_HASHES).then(|| Self { older, proof, checkpoint: checkpoint.into() })
    }
}

impl fmt::Display for Submission {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "old {}", self.older)?;
        self.proof.iter().try_for_each(|hash| writeln!(formatter, "{}", hash.base64()))?;
        write!(formatter, "\n{}", self.checkpoint)
    }
}

/// Why a witness does not sign.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotWitnessed {
    /// The checkpoint is not believed. 403 in HTTP, or 404 if its log is not known.
    #[error("the checkpoint is not believed")]
    Unbelieved(#[source] Unbelieved),
    /// It is shorter than what it claims to continue. 400 in HTTP.
    #[error("the checkpoint has {size} entries, and is said to continue {older}")]
    Shorter {
        /// What it claims to continue.
        older: u64,
        /// How long it is.
        size: u64,
    },
    /// The log believes that the witness saw something else last. 409 in HTTP, with the size as the body.
    #[error("the latest checkpoint that was cosigned has {latest} entries")]
    OtherLatest {
        /// How long the log was when it was cosigned last.
        latest: u64,
    },
    /// Two roots for one size: the log has two versions. 409 in HTTP, with the size as the body.
    #[error(
        "the log showed two versions of its first {size} entries: the root was {seen} and is now {shown}"
    )]
    Fork {
        /// How long both are.
        size: u64,
        /// The root that was cosigned.
        seen: Hash,
        /// The root now.
        shown: Hash,
    },
    /// It does not continue what the witness saw. 422 in HTTP.
    #[error("the checkpoint does not continue the one that was cosigned last")]
    Inconsistent(#[source] ProofError),
}

/// Signs a checkpoint that continues the latest one that was signed (`latest`: its size and root). The caller stores the
/// new one as the latest in the same step and only then gives the signature away.
pub fn cosign(
    submission: &Submission,
    keys: &Keys,
    latest: Option<(u64, Hash)>,
    witness: &NoteSigner,
    at: u64,
) -> Result<(Checkpoint, NoteSignature), NotWitnessed> {
    let checkpoint = keys.open(&submission.checkpoint).map_err(NotWitnessed::Unbelieved)?.checkpoint;
    let Checkpoint { size, root, .. } = checkpoint;
    let older = submission.older;
    if older > size {
        return Err(NotWitnessed::Shorter { older, size });
    }
    let (seen, seen_root) = latest.unwrap_or((0, Hash::EMPTY));
    if older != seen {
        return Err(NotWitnessed::OtherLatest { latest: seen });
    }
    if seen == size && seen_root != root {
        return Err(NotWitnessed::Fork { size, seen: seen_root, shown: root });
    }
    verify_consistency(older, size, &submission.proof, &seen_root, &root)
        .map_err(NotWitnessed::Inconsistent)?;
    let signature = witness.witness(&checkpoint.to_string(), at);
    Ok((checkpoint, signature))
}
