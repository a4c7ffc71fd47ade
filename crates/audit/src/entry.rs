//! One entry of the audit log, and its one byte form.
//!
//! What is hashed into the tree, all numbers big-endian:
//!
//! | bytes | what |
//! | --- | --- |
//! | 1 | the version of this form: 1 |
//! | 8 | the entry's index in the log, from 0 |
//! | 1 | the table whose row it is: 1 acts, 2 commands, 3 verdicts |
//! | 16 | the firm |
//! | 8 | when: microseconds since 1970, signed |
//! | 1 or 17 | who: 0, or 1 and the person |
//! | 1 or 17 | the request: 0, or 1 and its id |
//! | 2 + n each | six texts in UTF-8, each after its length: the row's id, action, purpose, kind of object, object, detail |
//! | 1 or 33 | the state before: 0, or 1 and its SHA-256 |
//! | 1 or 33 | the state after: likewise |
//! | 1 or 37 | a document that belongs to it and is kept elsewhere: 0, or 1, its length in bytes (4) and its SHA-256 |
//! | 1 or 49 | personal data: 0, or 1, the person whose key it is encrypted with and the SHA-256 of the ciphertext |
//!
//! The lengths are exact, so that one entry has one form and one form is one entry: [`Entry::decode`] refuses all
//! others. Personal data itself never stands here. Its ciphertext does not either: the log holds on to its hash, and
//! nothing has to be removed from it when a key is destroyed.

use kernel::{FirmId, PersonId, RequestId, Timestamp};
use uuid::Uuid;

use crate::tree::Hash;

/// The version of the byte form.
pub const VERSION: u8 = 1;

/// The most bytes of an entry: what a bundle of [`crate::tiles`] can hold.
pub const MOST_BYTES: usize = 65_535;

/// The table whose row an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// What people and the platform did beside trading: `audit_entries`.
    Act,
    /// A command to a shard: `journal`.
    Command,
    /// A verdict: `verdicts`.
    Verdict,
}

impl Source {
    /// As it is written.
    pub const fn code(self) -> u8 {
        match self {
            Self::Act => 1,
            Self::Command => 2,
            Self::Verdict => 3,
        }
    }

    /// From what was written.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Act),
            2 => Some(Self::Command),
            3 => Some(Self::Verdict),
            _ => None,
        }
    }
}

/// A document that is kept beside the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Document {
    /// In bytes.
    pub length: u32,
    /// Its SHA-256.
    pub hash: Hash,
}

/// Personal data that is kept beside the log, encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Personal {
    /// Whose key opens it, as long as there is one.
    pub person: PersonId,
    /// The SHA-256 of the ciphertext with its nonce.
    pub hash: Hash,
}

/// One entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Its place in the log, from 0, without gaps.
    pub index: u64,
    /// The table whose row it is.
    pub source: Source,
    /// The row's id there, such as `17`, or `3/991` for a shard's command.
    pub id: &'a str,
    /// Whose log.
    pub firm: FirmId,
    /// When it happened.
    pub at: Timestamp,
    /// Who; nobody for the platform itself.
    pub actor: Option<PersonId>,
    /// The request it came with.
    pub request: Option<RequestId>,
    /// What, such as `command.place` or `person.read`.
    pub action: &'a str,
    /// What for, where a reason is asked; else empty.
    pub purpose: &'a str,
    /// To what, such as `account`.
    pub object_kind: &'a str,
    /// To which.
    pub object: &'a str,
    /// What exactly, as it is stored; no personal data.
    pub detail: &'a str,
    /// The SHA-256 of the object's state before.
    pub before: Option<Hash>,
    /// The SHA-256 of the object's state after.
    pub after: Option<Hash>,
    /// A document that belongs to it, such as a verdict's evidence.
    pub document: Option<Document>,
    /// Personal data that belongs to it.
    pub personal: Option<Personal>,
}

/// An entry that has no byte form.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an entry has at most {MOST_BYTES} bytes; keep what is longer as a document beside it")]
pub struct TooLong;

/// Bytes that are no entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotAnEntry {
    /// Cut.
    #[error("its bytes end within the {0}")]
    Cut(&'static str),
    /// Of a later version.
    #[error("it has the version {0}, and this program knows {VERSION}")]
    Version(u8),
    /// A table that is none.
    #[error("it names a table by {0}, which is none")]
    Source(u8),
    /// Neither there nor not there.
    #[error("its {what} is marked by {found}, where 0 or 1 must stand")]
    Mark {
        /// The field.
        what: &'static str,
        /// What stands there.
        found: u8,
    },
    /// Not UTF-8.
    #[error("its {0} is no text")]
    Text(&'static str),
    /// Extended.
    #[error("{0} bytes follow its end")]
    Longer(usize),
    /// More than [`MOST_BYTES`].
    #[error("it has {0} bytes, which is more than an entry can have")]
    TooLong(usize),
}

impl<'a> Entry<'a> {
    /// Appends the byte form; on failure nothing is appended.
    pub fn encode(&self, bytes: &mut Vec<u8>) -> Result<(), TooLong> {
        let start = bytes.len();
        self.write(bytes).ok_or(TooLong).inspect_err(|_| bytes.truncate(start))
    }

    fn write(&self, bytes: &mut Vec<u8>) -> Option<()> {
        let start = bytes.len();
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.index.to_be_bytes());
        bytes.push(self.source.code());
        bytes.extend_from_slice(self.firm.uuid().as_bytes());
        bytes.extend_from_slice(&self.at.micros().to_be_bytes());
        optional(bytes, self.actor.map(|actor| *actor.uuid().as_bytes()));
        optional(bytes, self.request.map(|request| *request.uuid().as_bytes()));
        for text in [self.id, self.action, self.purpose, self.object_kind, self.object, self.detail] {
            bytes.extend_from_slice(&u16::try_from(text.len()).ok()?.to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
        }
        optional(bytes, self.before.map(|hash| *hash.bytes()));
        optional(bytes, self.after.map(|hash| *hash.bytes()));
        bytes.push(u8::from(self.document.is_some()));
        if let Some(Document { length, hash }) = self.document {
            bytes.extend_from_slice(&length.to_be_bytes());
            bytes.extend_from_slice(hash.bytes());
        }
        bytes.push(u8::from(self.personal.is_some()));
        if let Some(Personal { person, hash }) = self.personal {
            bytes.extend_from_slice(person.uuid().as_bytes());
            bytes.extend_from_slice(hash.bytes());
        }
        (bytes.len().saturating_sub(start) <= MOST_BYTES).then_some(())
    }

    /// Reads the one form of an entry. Whatever is accepted is written again with the same bytes.
    pub fn decode(bytes: &'a [u8]) -> Result<Self, NotAnEntry> {
        if bytes.len() > MOST_BYTES {
            return Err(NotAnEntry::TooLong(bytes.len()));
        }
        let mut rest = Rest(bytes);
        let [version] = rest.take("version")?;
        if version != VERSION {
            return Err(NotAnEntry::Version(version));
        }
        let index = u64::from_be_bytes(rest.take("index")?);
        let [code] = rest.take("table")?;
        let entry = Self {
            index,
            source: Source::from_code(code).ok_or(NotAnEntry::Source(code))?,
            firm: FirmId::from_uuid(Uuid::from_bytes(rest.take("firm")?)),
            at: Timestamp::from_micros(i64::from_be_bytes(rest.take("time")?)),
            actor: rest.optional("actor")?.map(|id| PersonId::from_uuid(Uuid::from_bytes(id))),
            request: rest.optional("request")?.map(|id| RequestId::from_uuid(Uuid::from_bytes(id))),
            id: rest.text("id")?,
            action: rest.text("action")?,
            purpose: rest.text("purpose")?,
            object_kind: rest.text("kind of object")?,
            object: rest.text("object")?,
            detail: rest.text("detail")?,
            before: rest.optional("state before")?.map(Hash::new),
            after: rest.optional("state after")?.map(Hash::new),
            document: rest
                .mark("document")?
                .then(|| {
                    let length = u32::from_be_bytes(rest.take("document")?);
                    Ok(Document { length, hash: Hash::new(rest.take("document")?) })
                })
                .transpose()?,
            personal: rest
                .mark("personal data")?
                .then(|| {
                    let person = PersonId::from_uuid(Uuid::from_bytes(rest.take("personal data")?));
                    Ok(Personal { person, hash: Hash::new(rest.take("personal data")?) })
                })
                .transpose()?,
        };
        if rest.0.is_empty() { Ok(entry) } else { Err(NotAnEntry::Longer(rest.0.len())) }
    }
}

fn optional<const N: usize>(bytes: &mut Vec<u8>, value: Option<[u8; N]>) {
    bytes.push(u8::from(value.is_some()));
    bytes.extend(value.iter().flatten());
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn take<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], NotAnEntry> {
        let (taken, rest) = self.0.split_first_chunk().ok_or(NotAnEntry::Cut(what))?;
        self.0 = rest;
        Ok(*taken)
    }

    fn mark(&mut self, what: &'static str) -> Result<bool, NotAnEntry> {
        match self.take(what)? {
            [0] => Ok(false),
            [1] => Ok(true),
            [found] => Err(NotAnEntry::Mark { what, found }),
        }
    }

    fn optional<const N: usize>(&mut self, what: &'static str) -> Result<Option<[u8; N]>, NotAnEntry> {
        if self.mark(what)? { self.take(what).map(Some) } else { Ok(None) }
    }

    fn text(&mut self, what: &'static str) -> Result<&'a str, NotAnEntry> {
        let length = u16::from_be_bytes(self.take(what)?);
        let (text, rest) = self.0.split_at_checked(length.into()).ok_or(NotAnEntry::Cut(what))?;
        self.0 = rest;
        std::str::from_utf8(text).map_err(|_| NotAnEntry::Text(what))
    }
}
