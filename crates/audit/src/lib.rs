//! Proof that a document is what was signed: one byte form of JSON, keys, sealed documents.
//!
//! **For:** [`canonical`], the one text of a JSON value; [`SigningKey`] and [`PublicKey`], Ed25519 with a short
//! [`KeyId`] and a purpose in every signature; [`receipt`], the envelope in which a trader gets a verdict and can
//! check it without us.
//!
//! **Must not know:** what a document says, where keys are kept, the time. Key bytes arrive as an argument; nothing
//! here reads a file, a clock or chance.
//!
//! **To add a signed kind of document:** a module like [`receipt`] with its own format name, used as the purpose of
//! its signatures, so that no signature of one kind is ever valid for another.

mod canonical;
pub mod receipt;
mod signature;
mod strict;

pub use canonical::{MOST_DEPTH, MOST_INTEGER, NotCanonical, NotCanonicalReason, canonical};
pub use signature::{KeyId, PublicKey, Signature, SigningKey, Unverified, WrittenKeyError};
