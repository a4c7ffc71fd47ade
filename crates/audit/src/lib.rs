//! Proof that a document is what was signed and that a log only grew: one byte form of JSON, keys, sealed documents, and
//! an audit log that a stranger can verify.
//!
//! **For:** [`canonical`], the one text of a JSON value; [`SigningKey`] and [`PublicKey`], Ed25519 with a short
//! [`KeyId`] and a purpose in every signature; [`receipt`], the envelope in which a trader gets a verdict and can
//! check it without us. The log: [`entry`] (what is hashed), [`tree`] (RFC 6962: roots and proofs), [`note`] and
//! [`checkpoint`] (what is signed, and by which key), [`tiles`] (how the tree lies in files), [`proof`] and [`export`] (what
//! is handed out and verified without a database), [`witness`] (what others sign).
//!
//! **Must not know:** what a document says, where keys and logs are kept, the time. Key bytes arrive as an argument;
//! nothing here reads a file, a clock or chance.
//!
//! **To add a field to an entry:** a new [`entry::VERSION`] beside the old one, whose entries stay as they are.
//!
//! **To add a signed kind of document:** a module like [`receipt`] with its own format name, used as the purpose of
//! its signatures, so that no signature of one kind is ever valid for another.

mod canonical;
pub mod checkpoint;
pub mod entry;
pub mod export;
pub mod note;
pub mod proof;
pub mod receipt;
mod signature;
mod strict;
pub mod tiles;
pub mod tree;
pub mod witness;

pub use canonical::{MOST_DEPTH, MOST_INTEGER, NotCanonical, NotCanonicalReason, canonical};
pub use signature::{KeyId, PublicKey, Signature, SigningKey, Unverified, WrittenKeyError};
