//! The keys of people as files of a directory that no backup of the database holds.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `erasures` | the ledger: a line for everybody who was erased ([`app::privacy::Ledger`]) |
//! | `FIRM/index` | what the firm's emails are found by, wrapped |
//! | `FIRM/xx/PERSON.key` | a person's key, wrapped; `xx` are the last two digits of the id |
//! | `FIRM/xx/PERSON.erased` | nothing: that the key was destroyed, and when |
//!
//! Wrapped means: sealed under a key-encryption key, with firm and person authenticated, and named by that key's id, so that a
//! wrong one is told from a damaged file. There may be several: all of them open, the last one wraps, and
//! [`DirectoryKeys::rewrap`] puts what the others wrapped under it. They come from whoever opens the directory, who is asked again
//! whenever something is to be wrapped or a key is under one that is not known: so nobody has to be started anew for the next one,
//! and nothing is left under one that is gone. All processes of an installation use one directory. An unwrapped key is
//! remembered, and used only while its file is there: what one process destroys is gone for all others at once.

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
    read: Box<ReadKeks>,
    keks: Mutex<Arc<Keks>>,
    remembered: Mutex<HashMap<(FirmId, Option<PersonId>), DataKey>>,
}

/// Reads the key-encryption keys as they are now, the one that wraps last.
pub type ReadKeks = dyn Fn() -> Result<Vec<DataKey>, BoxError> + Send + Sync;

/// The keys that wrap keys.
struct Keks {
    /// All but the last.
    older: Vec<Kek>,
    /// The one that wraps.
    last: Kek,
}

impl Keks {
    fn of(keks: Vec<DataKey>) -> Result<Self, KeysError> {
        let mut older: Vec<Kek> = keks.into_iter().map(Kek::from).collect();
        let last = older.pop().ok_or(KeysError::NoKek)?;
        Ok(Self { older, last })
    }

    fn find(&self, id: &str) -> Option<&Kek> {
        std::iter::once(&self.last).chain(&self.older).find(|kek| kek.id == id)
    }
}

/// A key that wraps keys.
#[derive(Clone)]
struct Kek {
    id: String,
    key: DataKey,
}

impl From<DataKey> for Kek {
    fn from(key: DataKey) -> Self {
        let mut hash = Sha256::new();
        hash.update(b"tradesense.kek\n");
        hash.update(key.reveal());
        let digest = hex::encode(hash.finalize());
        Self { id: digest.get(..16).unwrap_or_default().to_owned(), key }
    }
}

impl Kek {
    fn wrapped(
        &self,
        what: &'static str,
        firm: FirmId,
        person: Option<PersonId>,
        key: &DataKey,
        rng: &dyn Rng,
    ) -> Result<String, AppError> {
        let sealed = self.key.seal(&About { what, firm, person }, key.reveal(), rng)?;
        Ok(format!("{FORM} {} {}\n", self.id, hex::encode(sealed)))
    }
}

/// What [`DirectoryKeys::rewrap`] found.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Rewrapped {
    /// Keys that are under the last key-encryption key now, and were not.
    pub anew: u64,
    /// Keys that were under it already.
    pub already: u64,
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
    /// There is nothing to wrap keys under.
    #[error("no key-encryption key is given")]
    NoKek,
    /// What wraps keys could not be read.
    #[error("reading what wraps keys")]
    Keks(#[source] BoxError),
}

impl DirectoryKeys {
    /// Opens a directory, making it if it is not there.
    pub fn open(directory: &Path, read: Box<ReadKeks>) -> Result<Self, KeysError> {
        let failed = |error| KeysError::Directory(directory.to_owned(), error);
        make_private(directory).map_err(failed)?;
        let mode = fs::metadata(directory).map_err(failed)?.permissions().mode() & 0o7777;
        if mode & 0o077 != 0 {
            return Err(KeysError::Open(directory.to_owned(), mode));
        }
        let keks = Mutex::new(Arc::new(Keks::of(read().map_err(KeysError::Keks)?)?));
        let remembered = Mutex::default();
        Ok(Self(Arc::new(Inner { directory: directory.to_owned(), read, keks, remembered })))
    }

    /// Puts every key under the last key-encryption key, beside everybody else who uses the directory. Ends at the first file that
    /// holds no key.
    pub fn rewrap(&self, rng: &dyn Rng) -> Result<Rewrapped, BoxError> {
        self.0.read_keks()?;
        let mut done = Rewrapped::default();
        for (firm, of_firm) in named::<FirmId>(&self.0.directory, "")? {
            let index = of_firm.join("index");
            if index.exists() {
                done.count(self.0.rewrap(&index, INDEX, firm, None, rng)?);
            }
            for part in fs::read_dir(&of_firm)? {
                let part = part?.path();
                if !part.is_dir() {
                    continue;
                }
                for (person, file) in named::<PersonId>(&part, ".key")? {
                    // Whoever is erased meanwhile stays erased.
                    match self.0.rewrap(&file, KEY, firm, Some(person), rng) {
                        Err(_) if self.0.file(firm, person, "erased").exists() => {}
                        rewrapped => done.count(rewrapped?),
                    }
                    if self.0.file(firm, person, "erased").exists() {
                        self.0.destroy(firm, person)?;
                    }
                }
            }
        }
        Ok(done)
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
        let mut kek = self.work(doing, |inner| inner.read_keks()).await?;
        let text = kek.wrapped(KEY, firm, Some(person), key, rng)?;
        let put = move |inner: &Inner| {
            let file = inner.file(firm, person, "key");
            if inner.file(firm, person, "erased").exists() {
                return Err(format!("{person:?} was erased").into());
            }
            if put_new(&file, text.as_bytes())? {
                inner.read_keks()
            } else {
                Err(format!("{person:?} has a key").into())
            }
        };
        let mut last = self.work(doing, put).await?;
        // Whoever puts everything under the next one may have passed this file by before it was there.
        while last.id != kek.id {
            kek = last;
            let text = kek.wrapped(KEY, firm, Some(person), key, rng)?;
            let put = move |inner: &Inner| {
                put_instead(&inner.file(firm, person, "key"), text.as_bytes())?;
                inner.read_keks()
            };
            last = self.work(doing, put).await?;
        }
        Ok(())
    }

    async fn destroy(&self, firm: FirmId, person: PersonId) -> Result<(), AppError> {
        self.work("destroying the key of a person", move |inner| Ok(inner.destroy(firm, person)?)).await
    }

    async fn index_key(&self, firm: FirmId, rng: &dyn Rng) -> Result<DataKey, AppError> {
        let doing = "reading the firm's key for emails";
        if let Some(key) = self.0.recall(firm, None) {
            return Ok(key);
        }
        let kek = self.work(doing, |inner| inner.read_keks()).await?;
        let fresh = kek.wrapped(INDEX, firm, None, &DataKey::random(rng), rng)?;
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

impl Rewrapped {
    fn count(&mut self, anew: bool) {
        let counted = if anew { &mut self.anew } else { &mut self.already };
        *counted = counted.saturating_add(1);
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

    fn unwrapped(
        &self,
        file: &Path,
        what: &'static str,
        firm: FirmId,
        person: Option<PersonId>,
    ) -> Result<DataKey, BoxError> {
        Ok(self.opened(file, what, firm, person)?.0)
    }

    /// Asks for the key-encryption keys again. Gives the one that wraps.
    fn read_keks(&self) -> Result<Kek, BoxError> {
        let keks = Keks::of((self.read)()?)?;
        let last = keks.last.clone();
        *self.keks.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(keks);
        Ok(last)
    }

    fn keks(&self) -> Arc<Keks> {
        Arc::clone(&self.keks.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A key with the id of the key-encryption key that it was under.
    fn opened(
        &self,
        file: &Path,
        what: &'static str,
        firm: FirmId,
        person: Option<PersonId>,
    ) -> Result<(DataKey, String), BoxError> {
        let text = fs::read_to_string(file)?;
        let damaged = || format!("{} holds no key: put it back from a backup of the keys", file.display());
        let mut words = text.split_whitespace();
        let (begins, id, sealed) = (words.next(), words.next(), words.next());
        if begins != Some(FORM) {
            return Err(damaged().into());
        }
        let id = id.unwrap_or_default();
        let mut keks = self.keks();
        if keks.find(id).is_none() {
            self.read_keks()?;
            keks = self.keks();
        }
        let kek = keks.find(id).ok_or_else(|| {
            let ours: Vec<&str> = keks.older.iter().chain([&keks.last]).map(|kek| kek.id.as_str()).collect();
            let (file, ours) = (file.display(), ours.join(", "));
            format!("{file} is wrapped under another key-encryption key ({id}) than those given ({ours})")
        })?;
        let sealed = hex::decode(sealed.unwrap_or_default()).map_err(|_| damaged())?;
        let opened = kek.key.open(&About { what, firm, person }, &sealed).map_err(|_| damaged())?;
        let key: &[u8; KEY_BYTES] = opened.as_slice().try_into().map_err(|_| damaged())?;
        Ok((DataKey::from_bytes(key), kek.id.clone()))
    }

    /// Puts one key under the last key-encryption key; whether it was not.
    fn rewrap(
        &self,
        file: &Path,
        what: &'static str,
        firm: FirmId,
        person: Option<PersonId>,
        rng: &dyn Rng,
    ) -> Result<bool, BoxError> {
        let (key, under) = self.opened(file, what, firm, person)?;
        let keks = self.keks();
        if under == keks.last.id {
            return Ok(false);
        }
        let text = keks.last.wrapped(what, firm, person, &key, rng)?;
        put_instead(file, text.as_bytes())?;
        Ok(true)
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
    let unfinished = unfinished(path, content)?;
    let linked = match fs::hard_link(&unfinished, path) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    };
    let removed = fs::remove_file(&unfinished);
    let new = linked?;
    removed?;
    sync_parent(path)?;
    Ok(new)
}

/// Writes a file in the place of the one of its name: whoever reads finds one of the two, whole.
fn put_instead(path: &Path, content: &[u8]) -> io::Result<()> {
    let unfinished = unfinished(path, content)?;
    fs::rename(&unfinished, path)?;
    sync_parent(path)
}

/// Writes what is to become this file, whole and on the disk.
fn unfinished(path: &Path, content: &[u8]) -> io::Result<PathBuf> {
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
    let made = File::options().write(true).create_new(true).mode(0o600).open(&unfinished);
    match made.and_then(|mut file| file.write_all(content).and_then(|()| file.sync_all())) {
        Ok(()) => Ok(unfinished),
        Err(error) => {
            // The failure that came first is told.
            drop(fs::remove_file(&unfinished));
            Err(error)
        }
    }
}

/// The entries of a directory whose names are ids before this ending.
fn named<Id: std::str::FromStr>(directory: &Path, ending: &str) -> io::Result<Vec<(Id, PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()?.strip_suffix(ending));
        if let Some(id) = name.and_then(|name| name.parse().ok()) {
            found.push((id, path));
        }
    }
    Ok(found)
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

    fn given(bytes: &[u8]) -> Box<ReadKeks> {
        let bytes = bytes.to_vec();
        Box::new(move || Ok(bytes.iter().map(|byte| kek(*byte)).collect()))
    }

    fn open(directory: &TempDir) -> DirectoryKeys {
        DirectoryKeys::open(&directory.path().join("people"), given(&[7])).unwrap()
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
        let other = DirectoryKeys::open(&directory.path().join("people"), given(&[8])).unwrap();
        assert!(said(&other, "ann").await.contains("another key-encryption key"));
        // A file under the name of somebody else.
        let (ann, bob) =
            (keys.0.file(firm(), person("ann"), "key"), keys.0.file(firm(), person("bob"), "key"));
        fs::copy(&ann, &bob).unwrap();
        assert!(said(&open(&directory), "bob").await.contains("holds no key"));
        fs::write(&bob, "").unwrap();
        assert!(said(&open(&directory), "bob").await.contains("holds no key"));
        fs::set_permissions(directory.path().join("people"), fs::Permissions::from_mode(0o750)).unwrap();
        let refused = DirectoryKeys::open(&directory.path().join("people"), given(&[7])).unwrap_err();
        assert!(refused.to_string().contains("(mode 0750)"), "{refused}");
    }

    #[tokio::test]
    async fn another_key_encryption_key_takes_over_beside_everybody_who_reads() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("people");
        let with = |keks: &[u8]| DirectoryKeys::open(&place, given(keks)).unwrap();
        let (before, rng) = (with(&[7]), SeededRng::new(1));
        let ann = DataKey::random(&rng);
        before.create(firm(), person("ann"), &ann, &rng).await.unwrap();
        let index = before.index_key(firm(), &rng).await.unwrap();
        before.create(firm(), person("eve"), &DataKey::random(&rng), &rng).await.unwrap();
        before.destroy(firm(), person("eve")).await.unwrap();

        let both = with(&[7, 8]);
        assert!(matches!(key(&both, "ann").await, Some(Kept::Here(_))));
        both.create(firm(), person("bob"), &DataKey::random(&rng), &rng).await.unwrap();
        assert_eq!(both.rewrap(&rng).unwrap(), Rewrapped { anew: 2, already: 1 });
        assert_eq!(both.rewrap(&rng).unwrap(), Rewrapped { anew: 0, already: 3 });

        let after = with(&[8]);
        let Some(Kept::Here(found)) = key(&after, "ann").await else { panic!("no key") };
        assert_eq!(found.reveal(), ann.reveal());
        assert_eq!(after.index_key(firm(), &rng).await.unwrap().reveal(), index.reveal());
        assert!(matches!(key(&after, "bob").await, Some(Kept::Here(_))));
        assert!(matches!(key(&after, "eve").await, Some(Kept::Destroyed)), "erased is erased");
        let error = with(&[7]).keys(firm(), &[person("ann")]).await.unwrap_err();
        assert!(app::with_causes(&error).contains("another key-encryption key"));
        assert!(
            files(directory.path()).iter().all(|file| !file.display().to_string().contains("unfinished"))
        );
        assert!(matches!(DirectoryKeys::open(&place, given(&[])), Err(KeysError::NoKek)));
    }

    #[test]
    fn whoever_is_erased_while_keys_are_wrapped_anew_stays_erased() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("people");
        let rng = SeededRng::new(1);
        let people: Vec<PersonId> = (0..64).map(|number| person(&format!("person {number}"))).collect();
        let keys = |last: u8| DirectoryKeys::open(&place, given(&(7..=last).collect::<Vec<u8>>())).unwrap();
        for (number, person) in people.iter().enumerate() {
            let first = keys(7);
            let text = first
                .0
                .keks()
                .last
                .wrapped(KEY, firm(), Some(*person), &DataKey::random(&rng), &rng)
                .unwrap();
            assert!(put_new(&first.0.file(firm(), *person, "key"), text.as_bytes()).unwrap(), "{number}");
        }
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for last in 8..40 {
                    keys(last).rewrap(&SeededRng::new(u64::from(last))).unwrap();
                }
            });
            scope.spawn(|| {
                for person in people.iter().step_by(2) {
                    keys(7).0.destroy(firm(), *person).unwrap();
                }
            });
        });
        for (number, person) in people.iter().enumerate() {
            let erased = number % 2 == 0;
            let found = keys(39).0.key(firm(), *person).unwrap();
            assert_eq!(matches!(found, Some(Kept::Destroyed)), erased, "{number}");
            assert_eq!(keys(39).0.file(firm(), *person, "key").exists(), !erased, "{number}");
        }
    }

    #[tokio::test]
    async fn whoever_runs_takes_the_next_key_encryption_key_when_it_is_there() {
        let directory = tempfile::tempdir().unwrap();
        let place = directory.path().join("people");
        let there = Arc::new(Mutex::new(vec![7]));
        let process = || {
            let there = Arc::clone(&there);
            let read = move || Ok(there.lock().unwrap().iter().map(|byte| kek(*byte)).collect());
            DirectoryKeys::open(&place, Box::new(read)).unwrap()
        };
        let (one, two, rng) = (process(), process(), SeededRng::new(1));
        one.create(firm(), person("ann"), &DataKey::random(&rng), &rng).await.unwrap();
        *there.lock().unwrap() = vec![7, 8];
        // The first wraps under it, and the second, which has not heard of it, reads that.
        one.create(firm(), person("bob"), &DataKey::random(&rng), &rng).await.unwrap();
        assert!(matches!(key(&two, "bob").await, Some(Kept::Here(_))));
        process().rewrap(&rng).unwrap();
        *there.lock().unwrap() = vec![8];
        for keys in [&one, &two, &process()] {
            assert!(matches!(key(keys, "ann").await, Some(Kept::Here(_))));
        }
        two.create(firm(), person("eve"), &DataKey::random(&rng), &rng).await.unwrap();
        assert_eq!(process().rewrap(&rng).unwrap(), Rewrapped { anew: 0, already: 3 });
    }

    #[tokio::test]
    async fn a_key_that_is_made_while_all_are_wrapped_anew_is_not_left_behind() {
        let directory = tempfile::tempdir().unwrap();
        let asked = Arc::new(Mutex::new(0));
        let counted = Arc::clone(&asked);
        // The next one comes between the choice of the one before and the file that is under it.
        let read = move || {
            let mut asked = counted.lock().unwrap();
            *asked += 1;
            Ok(if *asked < 3 { vec![kek(7)] } else { vec![kek(8)] })
        };
        let keys = DirectoryKeys::open(&directory.path().join("people"), Box::new(read)).unwrap();
        let rng = SeededRng::new(1);
        keys.create(firm(), person("ann"), &DataKey::random(&rng), &rng).await.unwrap();
        let after = DirectoryKeys::open(&directory.path().join("people"), given(&[8])).unwrap();
        assert!(matches!(key(&after, "ann").await, Some(Kept::Here(_))));
    }
}
