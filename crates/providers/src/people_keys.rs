//! The keys of people as files of a directory that no backup of the database holds.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `erasures` | the ledger: a line for everybody who was erased ([`app::privacy::Ledger`]) |
//! | `FIRM/index` | what the firm's emails are found by, wrapped |
//! | `FIRM/xx/PERSON.key` | a person's key, wrapped; `xx` are the last two digits of the id |
//! | `FIRM/xx/PERSON.erased` | nothing: that the key was destroyed, and when |
//!
//! Wrapped means: sealed under the key-encryption key, with firm and person authenticated, and named by that key's id, so that a
//! wrong one is told from a damaged file. All processes of an installation use one directory. An unwrapped key is remembered,
//! and used only while its file is there: what one process destroys is gone for all others at once.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::{self, DirBuilder, File};
use std::io::{self, ErrorKind, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use app::privacy::{About, DataKey, Erased, KEY_BYTES, Kept, KeyStore, Ledger};
use app::{AppError, BoxError};
use async_trait::async_trait;
use kernel::{FirmId, PersonId, Rng};
use sha2::{Digest, Sha256};

/// The first word of a file of a key.
const FORM: &str = "tradesense.key/1";
/// Keys remembered. Beyond this many the memory starts anew.
const MOST_REMEMBERED: usize = 100_000;

const KEY: &str = "person.key";
const INDEX: &str = "firm.index";

/// The keys of a directory.
#[derive(Clone)]
pub struct DirectoryKeys(Arc<Inner>);

struct Inner {
    directory: PathBuf,
    kek: DataKey,
    kek_id: String,
    remembered: Mutex<HashMap<(FirmId, Option<PersonId>), DataKey>>,
}

impl fmt::Debug for DirectoryKeys {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("DirectoryKeys").field("directory", &self.0.directory).finish_non_exhaustive()
    }
}

/// Why a directory of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// It could not be made or looked at.
    #[error("opening {}", .0.display())]
    Directory(PathBuf, #[source] io::Error),
    /// Others may read it.
    #[error("others than its owner may use {} (mode {:04o}): make it private (chmod 700)", .0.display(), .1)]
    Open(PathBuf, u32),
}

impl DirectoryKeys {
    /// Opens a directory, making it if it is not there.
    pub fn open(directory: &Path, kek: DataKey) -> Result<Self, KeysError> {
        let failed = |error| KeysError::Directory(directory.to_owned(), error);
        make_private(directory).map_err(failed)?;
        let mode = fs::metadata(directory).map_err(failed)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeysError::Open(directory.to_owned(), mode));
        }
        let mut hash = Sha256::new();
        hash.update(b"tradesense.kek\n");
        hash.update(kek.reveal());
        let digest = hex::encode(hash.finalize());
        let kek_id = digest.get(..16).unwrap_or_default().to_owned();
        let remembered = Mutex::default();
        Ok(Self(Arc::new(Inner { directory: directory.to_owned(), kek, kek_id, remembered })))
    }

    /// Files are slow: nobody else waits for them.
    async fn work<T: Send + 'static>(
        &self,
        doing: &'static str,
        work: impl FnOnce(&Inner) -> Result<T, BoxError> + Send + 'static,
    ) -> Result<T, AppError> {
        let inner = Arc::clone(&self.0);
        let done = tokio::task::spawn_blocking(move || work(&inner)).await;
        let done = done.unwrap_or_else(|error| Err(Box::new(error)));
        done.map_err(|source| AppError::Unavailable { doing, source })
    }
}

#[async_trait]
impl KeyStore for DirectoryKeys {
    async fn keys(&self, firm: FirmId, people: &[PersonId]) -> Result<BTreeMap<PersonId, Kept>, AppError> {
        let people = people.to_vec();
        self.work("reading the keys of people", move |inner| {
            let mut kept = BTreeMap::new();
            for person in people {
                if let Some(found) = inner.key(firm, person)? {
                    kept.insert(person, found);
                }
            }
            Ok(kept)
        })
        .await
    }

    async fn create(
        &self,
        firm: FirmId,
        person: PersonId,
        key: &DataKey,
        rng: &dyn Rng,
    ) -> Result<(), AppError> {
        let doing = "keeping the key of a person";
        let text = self.0.wrapped(KEY, firm, Some(person), key, rng)?;
        self.work(doing, move |inner| {
            let file = inner.file(firm, person, "key");
            if inner.file(firm, person, "erased").exists() {
                return Err(format!("{person:?} was erased").into());
            }
            if put_new(&file, text.as_bytes())? {
                Ok(())
            } else {
                Err(format!("{person:?} has a key").into())
            }
        })
        .await
    }

    async fn destroy(&self, firm: FirmId, person: PersonId) -> Result<(), AppError> {
        self.work("destroying the key of a person", move |inner| Ok(inner.destroy(firm, person)?)).await
    }

    async fn index_key(&self, firm: FirmId, rng: &dyn Rng) -> Result<DataKey, AppError> {
        let doing = "reading the firm's key for emails";
        if let Some(key) = self.0.recall(firm, None) {
            return Ok(key);
        }
        let fresh = self.0.wrapped(INDEX, firm, None, &DataKey::random(rng), rng)?;
        self.work(doing, move |inner| {
            let file = inner.of_firm(firm).join("index");
            if !file.exists() {
                // Of two at once, both take the one that there is.
                put_new(&file, fresh.as_bytes())?;
            }
            let key = inner.unwrapped(&file, INDEX, firm, None)?;
            inner.remember(firm, None, &key);
            Ok(key)
        })
        .await
    }

    async fn promise(&self, erased: &Erased) -> Result<(), AppError> {
        let erased = *erased;
        self.work("writing the ledger of erasures", move |inner| inner.promise(&erased)).await
    }

    async fn promised(&self) -> Result<Vec<Erased>, AppError> {
        self.work("reading the ledger of erasures", |inner| {
            let text = match fs::read_to_string(inner.ledger()) {
                Ok(text) => text,
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(error.into()),
            };
            Ok(Ledger::read(&text)?.erased)
        })
        .await
    }
}

impl Inner {
    fn ledger(&self) -> PathBuf {
        self.directory.join("erasures")
    }

    fn of_firm(&self, firm: FirmId) -> PathBuf {
        self.directory.join(firm.to_string())
    }

    fn file(&self, firm: FirmId, person: PersonId, ending: &str) -> PathBuf {
        let name = person.to_string();
        let end = name.get(name.len().saturating_sub(2)..).unwrap_or_default();
        self.of_firm(firm).join(end).join(format!("{name}.{ending}"))
    }

    fn key(&self, firm: FirmId, person: PersonId) -> Result<Option<Kept>, BoxError> {
        let file = self.file(firm, person, "key");
        // Also where the one who destroys it is not done yet.
        if self.file(firm, person, "erased").exists() {
            self.forget(firm, person);
            return Ok(Some(Kept::Destroyed));
        }
        if !file.exists() {
            self.forget(firm, person);
            return Ok(None);
        }
        if let Some(key) = self.recall(firm, Some(person)) {
            return Ok(Some(Kept::Here(key)));
        }
        let key = self.unwrapped(&file, KEY, firm, Some(person))?;
        self.remember(firm, Some(person), &key);
        Ok(Some(Kept::Here(key)))
    }

    fn destroy(&self, firm: FirmId, person: PersonId) -> io::Result<()> {
        self.forget(firm, person);
        let (file, marker) = (self.file(firm, person, "key"), self.file(firm, person, "erased"));
        put_new(&marker, b"")?;
        match File::options().write(true).open(&file) {
            Ok(mut open) => {
                // What a file system that writes in place would still hold. Others may keep old blocks for a while: they hold the
                // key wrapped.
                let length = usize::try_from(open.metadata()?.len()).unwrap_or_default();
                open.write_all(&vec![0; length])?;
                open.sync_all()?;
                fs::remove_file(&file)?;
                sync_parent(&file)
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// One process at a time, also of several; what a cut-off writer has left is cut away.
    fn promise(&self, erased: &Erased) -> Result<(), BoxError> {
        let path = self.ledger();
        let mut file =
            File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(&path)?;
        file.lock()?;
        let mut text = String::new();
        file.read_to_string(&mut text)?;
        let ledger = Ledger::read(&text)?;
        if ledger.names(erased.firm, erased.person) {
            return Ok(());
        }
        let end = u64::try_from(ledger.whole)?;
        file.set_len(end)?;
        file.seek(SeekFrom::Start(end))?;
        file.write_all(ledger.next(erased)?.as_bytes())?;
        file.sync_all()?;
        sync_parent(&path)?;
        Ok(())
    }

    fn wrapped(
        &self,
        what: &'static str,
        firm: FirmId,
        person: Option<PersonId>,
        key: &DataKey,
        rng: &dyn Rng,
    ) -> Result<String, AppError> {
        let sealed = self.kek.seal(&About { what, firm, person }, key.reveal(), rng)?;
        Ok(format!("{FORM} {} {}\n", self.kek_id, hex::encode(sealed)))
    }

    fn unwrapped(
        &self,
        file: &Path,
        what: &'static str,
        firm: FirmId,
        person: Option<PersonId>,
    ) -> Result<DataKey, BoxError> {
        let text = fs::read_to_string(file)?;
        let damaged = || format!("{} holds no key: put it back from a backup of the keys", file.display());
        let mut words = text.split_whitespace();
        let (begins, id, sealed) = (words.next(), words.next(), words.next());
        if begins != Some(FORM) {
            return Err(damaged().into());
        }
        if id != Some(self.kek_id.as_str()) {
            let id = id.unwrap_or_default();
            let ours = &self.kek_id;
            return Err(format!(
                "{} is wrapped under another key-encryption key ({id}) than the one given ({ours})",
                file.display()
            )
            .into());
        }
        let sealed = hex::decode(sealed.unwrap_or_default()).map_err(|_| damaged())?;
        let opened = self.kek.open(&About { what, firm, person }, &sealed).map_err(|_| damaged())?;
        let key: &[u8; KEY_BYTES] = opened.as_slice().try_into().map_err(|_| damaged())?;
        Ok(DataKey::from_bytes(key))
    }

    fn recall(&self, firm: FirmId, person: Option<PersonId>) -> Option<DataKey> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).get(&(firm, person)).cloned()
    }

    fn remember(&self, firm: FirmId, person: Option<PersonId>, key: &DataKey) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= MOST_REMEMBERED {
            remembered.clear();
        }
        remembered.insert((firm, person), key.clone());
    }

    fn forget(&self, firm: FirmId, person: PersonId) {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).remove(&(firm, Some(person)));
    }
}

/// Directories that their owner alone may use.
fn make_private(directory: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(directory)
}

/// Writes a file under its name unless there is one; whether it did. It is whole and on the disk before it gets its name.
fn put_new(path: &Path, content: &[u8]) -> io::Result<bool> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let directory = path.parent().unwrap_or(Path::new("."));
    make_private(directory)?;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    let unfinished = directory.join(format!(".unfinished-{}-{count}", std::process::id()));
    // What a process of the same number has left.
    match fs::remove_file(&unfinished) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let written = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all()))
        .and_then(|()| match fs::hard_link(&unfinished, path) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(error),
        });
    let removed = fs::remove_file(&unfinished);
    let new = written?;
    removed?;
    sync_parent(path)?;
    Ok(new)
}

/// The names in a directory, too, must outlive a power cut; and that of a directory that is new.
fn sync_parent(path: &Path) -> io::Result<()> {
    for directory in path.ancestors().skip(1).take(2) {
        if !directory.as_os_str().is_empty() {
            File::open(directory)?.sync_all()?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use kernel::{SeededRng, Timestamp};
    use tempfile::TempDir;

    use super::*;

    fn firm() -> FirmId {
        FirmId::derived(&[b"firm"])
    }

    fn person(name: &str) -> PersonId {
        PersonId::derived(&[name.as_bytes()])
    }

    fn kek(byte: u8) -> DataKey {
        DataKey::from_bytes(&[byte; KEY_BYTES])
    }

    fn open(directory: &TempDir) -> DirectoryKeys {
        DirectoryKeys::open(&directory.path().join("people"), kek(7)).unwrap()
    }

    async fn key(keys: &DirectoryKeys, name: &str) -> Option<Kept> {
        keys.keys(firm(), &[person(name)]).await.unwrap().remove(&person(name))
    }

    fn files(directory: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { found.extend(files(&path)) } else { found.push(path) }
        }
        found.sort();
        found
    }

    #[tokio::test]
    async fn a_key_is_kept_wrapped_and_found_by_every_process() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two, rng) = (open(&directory), open(&directory), SeededRng::new(1));
        let ann = DataKey::random(&rng);
        one.create(firm(), person("ann"), &ann, &rng).await.unwrap();
        for keys in [&one, &two, &two] {
            let Some(Kept::Here(found)) = key(keys, "ann").await else { panic!("no key") };
            assert_eq!(found.reveal(), ann.reveal());
        }
        assert!(key(&two, "bob").await.is_none());
        assert!(one.create(firm(), person("ann"), &DataKey::random(&rng), &rng).await.is_err());
        let index = one.index_key(firm(), &rng).await.unwrap();
        assert_eq!(two.index_key(firm(), &rng).await.unwrap().reveal(), index.reveal());
        let written = files(directory.path());
        assert_eq!(written.len(), 2, "{written:?}");
        for file in written {
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o7777, 0o600);
            let text = fs::read_to_string(&file).unwrap();
            assert!(
                !text.contains(&hex::encode(ann.reveal())) && !text.contains(&hex::encode(index.reveal()))
            );
        }
    }

    #[tokio::test]
    async fn what_one_process_destroys_is_gone_for_all_and_for_good() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two, rng) = (open(&directory), open(&directory), SeededRng::new(1));
        let ann = DataKey::random(&rng);
        one.create(firm(), person("ann"), &ann, &rng).await.unwrap();
        assert!(matches!(key(&two, "ann").await, Some(Kept::Here(_))));
        for _ in 0..2 {
            one.destroy(firm(), person("ann")).await.unwrap();
            for keys in [&one, &two, &open(&directory)] {
                assert!(matches!(key(keys, "ann").await, Some(Kept::Destroyed)));
            }
        }
        assert!(one.create(firm(), person("ann"), &ann, &rng).await.is_err(), "nobody comes back");
        // Also whoever never had a key here.
        one.destroy(firm(), person("bob")).await.unwrap();
        assert!(matches!(key(&two, "bob").await, Some(Kept::Destroyed)));
    }

    #[tokio::test]
    async fn the_ledger_grows_by_whole_lines_whoever_writes() {
        let directory = tempfile::tempdir().unwrap();
        let (one, two) = (open(&directory), open(&directory));
        let at = Timestamp::parse("2026-01-05T10:00:00Z").unwrap();
        let erased = |name: &str| Erased { firm: firm(), person: person(name), at, by: None };
        assert_eq!(one.promised().await.unwrap(), []);
        let names: Vec<String> = (0..40).map(|number| format!("person {number}")).collect();
        let written = names.iter().enumerate().map(|(number, name)| {
            let (keys, erased) = (if number % 2 == 0 { one.clone() } else { two.clone() }, erased(name));
            tokio::spawn(async move { keys.promise(&erased).await })
        });
        for writer in written.collect::<Vec<_>>() {
            writer.await.unwrap().unwrap();
        }
        assert_eq!(one.promised().await.unwrap().len(), 40);
        // A writer that was cut off.
        let path = directory.path().join("people/erasures");
        File::options().append(true).open(&path).unwrap().write_all(b"{\"number\":41,\"at\"").unwrap();
        two.promise(&erased("after")).await.unwrap();
        two.promise(&erased("after")).await.unwrap();
        let promised = one.promised().await.unwrap();
        assert_eq!((promised.len(), promised.last().copied()), (41, Some(erased("after"))));
        // A line that was changed.
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replacen("\"by\":null", "\"by\":\"00000000-0000-0000-0000-000000000001\"", 1))
            .unwrap();
        assert!(one.promised().await.is_err());
        assert!(one.promise(&erased("more")).await.is_err());
    }

    #[tokio::test]
    async fn another_key_encryption_key_a_damaged_file_and_an_open_directory_are_told() {
        let directory = tempfile::tempdir().unwrap();
        let (keys, rng) = (open(&directory), SeededRng::new(1));
        for name in ["ann", "bob"] {
            keys.create(firm(), person(name), &DataKey::random(&rng), &rng).await.unwrap();
        }
        let said = async |keys: &DirectoryKeys, name: &str| {
            app::with_causes(&keys.keys(firm(), &[person(name)]).await.unwrap_err())
        };
        let other = DirectoryKeys::open(&directory.path().join("people"), kek(8)).unwrap();
        assert!(said(&other, "ann").await.contains("another key-encryption key"));
        // A file under the name of somebody else.
        let (ann, bob) =
            (keys.0.file(firm(), person("ann"), "key"), keys.0.file(firm(), person("bob"), "key"));
        fs::copy(&ann, &bob).unwrap();
        assert!(said(&open(&directory), "bob").await.contains("holds no key"));
        fs::write(&bob, "").unwrap();
        assert!(said(&open(&directory), "bob").await.contains("holds no key"));
        fs::set_permissions(directory.path().join("people"), fs::Permissions::from_mode(0o750)).unwrap();
        let refused = DirectoryKeys::open(&directory.path().join("people"), kek(7)).unwrap_err();
        assert!(refused.to_string().contains("(mode 0750)"), "{refused}");
    }
}
