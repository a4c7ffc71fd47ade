//! Everything about a person as one file: a zip of JSON files, a manifest that names each with its hash, and a signature over
//! the manifest.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `profile.json` | who they are, in clear |
//! | `rows/TABLE.json` | a list of the rows of a table that are about them, as they are stored |
//! | `manifest.json` | the format, whose it is, when it was made, every other file with its length and SHA-256 |
//! | `signature.json` | the public key, and its Ed25519 signature over the bytes of `manifest.json` for the purpose [`FORMAT`] |

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Cursor, Read as _, Write as _};

use audit::{KeyId, PublicKey, Signature, SigningKey};
use kernel::{FirmId, PersonId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{ZipArchive, ZipWriter};

use super::Subject;
use crate::{AppError, BoxError};

/// The format, and the purpose of the signature.
pub const FORMAT: &str = "tradesense.export/1";

const MANIFEST: &str = "manifest.json";
const SIGNATURE: &str = "signature.json";

/// The largest file that is read out of an archive.
const MOST_BYTES: u64 = 1 << 30;

/// A signed archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archive {
    /// A name for the file.
    pub name: String,
    /// The zip.
    pub bytes: Vec<u8>,
}

/// An archive whose signature holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Read {
    /// Whose data it is.
    pub person: PersonId,
    /// At which firm.
    pub firm: FirmId,
    /// When it was made.
    pub made_at: String,
    /// Who signed.
    pub key: PublicKey,
    /// The files that were signed, by name.
    pub files: BTreeMap<String, Vec<u8>>,
}

/// Why an archive is not accepted.
#[derive(Debug, thiserror::Error)]
pub enum NotAnArchive {
    /// No zip, or a damaged one.
    #[error("this is no zip that can be read")]
    Zip(#[source] BoxError),
    /// A file that an archive has.
    #[error("{0} is missing")]
    Missing(String),
    /// One of its own files says something else than it should.
    #[error("{0} cannot be read")]
    Unreadable(&'static str),
    /// Another format.
    #[error("this is of the format {0:?}, not {FORMAT}")]
    OtherFormat(String),
    /// Signed by somebody else than was given.
    #[error("this is signed by the key {0}, not by the one that you gave")]
    OtherKey(KeyId),
    /// The manifest was changed, or the signature.
    #[error("the signature is not for this manifest: one of the two was changed")]
    Signature,
    /// A file was changed.
    #[error("{0} was changed after signing")]
    Changed(String),
    /// A file was added.
    #[error("{0} was not signed: it was added")]
    Added(String),
    /// A file is named twice.
    #[error("{0} is there twice")]
    Twice(String),
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: String,
    firm: FirmId,
    person: PersonId,
    made_at: String,
    files: Vec<File>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    name: String,
    bytes: u64,
    sha256: String,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seal {
    key: String,
    public_key: String,
    signature: String,
}

/// Writes an archive.
pub(super) fn write(
    firm: FirmId,
    subject: &Subject,
    rows: Vec<(String, Value)>,
    at: Timestamp,
    key: &SigningKey,
) -> Result<Archive, AppError> {
    let mut tables: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for (table, row) in rows {
        tables.entry(table).or_default().push(row);
    }
    let mut files = BTreeMap::from([("profile.json".to_owned(), profile(subject))]);
    files.extend(tables.into_iter().map(|(table, rows)| (format!("rows/{table}.json"), Value::Array(rows))));
    pack(firm, subject.id, &files, at, key).map_err(AppError::bug("writing an archive"))
}

fn profile(subject: &Subject) -> Value {
    let text = |at: Option<Timestamp>| at.map(|at| at.to_string());
    let (email, name) = subject.known.clone().unzip();
    json!({
        "id": subject.id,
        "email": email,
        "display_name": name,
        "roles": subject.roles,
        "registered_at": subject.created_at.to_string(),
        "region": subject.region,
        "restricted_at": text(subject.restricted_at),
        "held_at": text(subject.held_at),
        "erased_at": text(subject.erased_at),
    })
}

fn pack(
    firm: FirmId,
    person: PersonId,
    files: &BTreeMap<String, Value>,
    at: Timestamp,
    key: &SigningKey,
) -> Result<Archive, BoxError> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let mut put = |name: &str, bytes: &[u8]| -> Result<(), BoxError> {
        zip.start_file(name, SimpleFileOptions::default())?;
        Ok(zip.write_all(bytes)?)
    };
    let mut listed = Vec::with_capacity(files.len());
    for (name, content) in files {
        let bytes = serde_json::to_vec_pretty(content)?;
        put(name, &bytes)?;
        let sha256 = hex::encode(Sha256::digest(&bytes));
        listed.push(File { name: name.clone(), bytes: u64::try_from(bytes.len())?, sha256 });
    }
    let made_at = at.to_string();
    let manifest = Manifest { format: FORMAT.to_owned(), firm, person, made_at, files: listed };
    let manifest = serde_json::to_vec_pretty(&manifest)?;
    put(MANIFEST, &manifest)?;
    let public = key.public();
    let seal = Seal {
        key: public.id().to_string(),
        public_key: public.to_string(),
        signature: key.sign(FORMAT, &manifest).to_string(),
    };
    put(SIGNATURE, &serde_json::to_vec_pretty(&seal)?)?;
    let bytes = zip.finish()?.into_inner();
    Ok(Archive { name: format!("export-{person}.zip"), bytes })
}

/// Reads an archive and checks everything. With `trusted` (the key that the firm publishes) it must be signed by that one;
/// without, by the one that it names itself.
pub fn read(bytes: &[u8], trusted: Option<&PublicKey>) -> Result<Read, NotAnArchive> {
    let mut files = unpack(bytes)?;
    let mut own =
        |name: &'static str| files.remove(name).ok_or_else(|| NotAnArchive::Missing(name.to_owned()));
    let (manifest_bytes, seal) = (own(MANIFEST)?, own(SIGNATURE)?);
    let seal: Seal = serde_json::from_slice(&seal).map_err(|_| NotAnArchive::Unreadable(SIGNATURE))?;
    let key = PublicKey::parse(&seal.public_key).map_err(|_| NotAnArchive::Unreadable(SIGNATURE))?;
    let signature = Signature::parse(&seal.signature).map_err(|_| NotAnArchive::Unreadable(SIGNATURE))?;
    if trusted.is_some_and(|trusted| *trusted != key) || seal.key != key.id().to_string() {
        return Err(NotAnArchive::OtherKey(key.id()));
    }
    key.verify(FORMAT, &manifest_bytes, &signature).map_err(|_| NotAnArchive::Signature)?;
    let manifest: Manifest =
        serde_json::from_slice(&manifest_bytes).map_err(|_| NotAnArchive::Unreadable(MANIFEST))?;
    if manifest.format != FORMAT {
        return Err(NotAnArchive::OtherFormat(manifest.format));
    }
    let mut signed = BTreeSet::new();
    for File { name, sha256, .. } in &manifest.files {
        let content = files.get(name).ok_or_else(|| NotAnArchive::Missing(name.clone()))?;
        if hex::encode(Sha256::digest(content)) != *sha256 {
            return Err(NotAnArchive::Changed(name.clone()));
        }
        signed.insert(name.as_str());
    }
    if let Some(added) = files.keys().find(|name| !signed.contains(name.as_str())) {
        return Err(NotAnArchive::Added(added.clone()));
    }
    let Manifest { firm, person, made_at, .. } = manifest;
    Ok(Read { person, firm, made_at, key, files })
}

fn unpack(bytes: &[u8]) -> Result<BTreeMap<String, Vec<u8>>, NotAnArchive> {
    let broken = |error: BoxError| NotAnArchive::Zip(error);
    let mut zip = ZipArchive::new(Cursor::new(bytes)).map_err(|error| broken(Box::new(error)))?;
    let mut files = BTreeMap::new();
    for place in 0..zip.len() {
        let file = zip.by_index(place).map_err(|error| broken(Box::new(error)))?;
        let name = file.name().map_err(|error| broken(Box::new(error)))?.into_owned();
        let mut content = Vec::new();
        let read = file.take(MOST_BYTES.saturating_add(1)).read_to_end(&mut content);
        read.map_err(|error| broken(Box::new(error)))?;
        if u64::try_from(content.len()).is_ok_and(|length| length > MOST_BYTES) {
            return Err(broken("a file is too large".into()));
        }
        if files.insert(name.clone(), content).is_some() {
            return Err(NotAnArchive::Twice(name));
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Role;

    fn key() -> SigningKey {
        SigningKey::from_secret(&[7; 32])
    }

    fn archive() -> Archive {
        let at = Timestamp::parse("2026-01-05T10:00:00Z").unwrap();
        let subject = Subject {
            id: PersonId::derived(&[b"ann"]),
            known: Some(("ann@example.com".to_owned(), "Ann".to_owned())),
            roles: vec![Role::Trader],
            created_at: at,
            region: None,
            restricted_at: None,
            held_at: None,
            erased_at: None,
        };
        let rows = vec![
            ("fills".to_owned(), json!({ "number": 1 })),
            ("orders".to_owned(), json!({ "ticket": 1 })),
            ("fills".to_owned(), json!({ "number": 2 })),
        ];
        write(FirmId::derived(&[b"firm"]), &subject, rows, at, &key()).unwrap()
    }

    fn zipped(files: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in files {
            zip.start_file(name.as_str(), SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap().into_inner()
    }

    #[test]
    fn an_archive_holds_every_row_and_is_signed() {
        let read = read(&archive().bytes, Some(&key().public())).unwrap();
        assert_eq!(read.person, PersonId::derived(&[b"ann"]));
        let names: Vec<_> = read.files.keys().map(String::as_str).collect();
        assert_eq!(names, ["profile.json", "rows/fills.json", "rows/orders.json"]);
        let fills: Value = serde_json::from_slice(&read.files["rows/fills.json"]).unwrap();
        assert_eq!(fills, json!([{ "number": 1 }, { "number": 2 }]));
        let profile: Value = serde_json::from_slice(&read.files["profile.json"]).unwrap();
        assert_eq!(profile["email"], "ann@example.com");
    }

    #[test]
    fn a_file_that_was_changed_removed_or_added_is_named() {
        let files: Vec<_> = unpack(&archive().bytes).unwrap().into_iter().collect();
        for place in 0..files.len() {
            let name = files[place].0.clone();
            let mut fewer = files.clone();
            fewer.remove(place);
            let refused = read(&zipped(&fewer), None).unwrap_err();
            assert!(matches!(&refused, NotAnArchive::Missing(missing) if *missing == name), "{refused}");
            // Every byte of every file matters, except how the signature's own file is laid out.
            for byte in 0..files[place].1.len() {
                let mut altered = files.clone();
                altered[place].1[byte] ^= 1;
                let altered = read(&zipped(&altered), Some(&key().public()));
                assert!(altered.is_err() || name == SIGNATURE, "byte {byte} of {name}");
            }
        }
        let mut more = files.clone();
        more.push(("rows/more.json".to_owned(), b"[]".to_vec()));
        assert!(matches!(read(&zipped(&more), None), Err(NotAnArchive::Added(_))));
        let other = SigningKey::from_secret(&[8; 32]).public();
        assert!(matches!(read(&archive().bytes, Some(&other)), Err(NotAnArchive::OtherKey(_))));
        for length in [0, 10, archive().bytes.len() - 1] {
            assert!(read(&archive().bytes[..length], None).is_err());
        }
    }
}
