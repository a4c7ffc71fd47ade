//! The secrets of an installation that are files: the keys that sign receipts and the audit log, and the one that wraps the keys
//! of people.
//!
//! Each file holds a secret as 64 lower-case hexadecimal digits and a line feed, mode 0600, and belongs into a backup of its
//! own. `receipt.key`: whoever reads it can sign in the platform's name; who loses it can no longer sign under the public key
//! that traders know. `audit.key` is the same for the audit log; `audit-2.key`, `audit-3.key` and so on, made by `tradesense audit
//! new-key`, take over from one another. `people.kek`: who loses it loses the name and address of everybody; whoever has it and
//! the directory `people` beside it can read them in every copy of the database. `people-2.kek` and so on, made by `tradesense
//! privacy new-kek`, open beside it; the last one wraps. `--fresh` leaves all of these files.

use std::fs::{self, File};
use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

use anyhow::{Context as _, ensure};
use app::privacy::DataKey;
use audit::SigningKey;
use audit::note::NoteSigner;
use providers::people_keys::DirectoryKeys;
use zeroize::Zeroizing;

/// The name of the file with the key that signs receipts.
pub const RECEIPT_KEY: &str = "receipt.key";
/// The files with the keys that sign the audit log.
const AUDIT_KEY: Name = Name { stem: "audit", ending: "key" };
/// The files with the keys that wrap the keys of people.
const PEOPLE_KEK: Name = Name { stem: "people", ending: "kek" };
/// The directory of the keys of people.
pub const PEOPLE_DIR: &str = "people";

/// What the files of keys that take over from one another are called: `audit.key`, then `audit-2.key`.
struct Name {
    stem: &'static str,
    ending: &'static str,
}

impl Name {
    fn named(&self, number: u32) -> String {
        let Self { stem, ending } = self;
        if number == 1 { format!("{stem}.{ending}") } else { format!("{stem}-{number}.{ending}") }
    }

    /// The number of a file that is called so.
    fn number(&self, file: &str) -> Option<u32> {
        let stem = file.strip_suffix(self.ending)?.strip_suffix('.')?.strip_prefix(self.stem)?;
        let number = if stem.is_empty() { 1 } else { stem.strip_prefix('-')?.parse().ok()? };
        (self.named(number) == file).then_some(number)
    }
}

/// Digits and line feed.
const FILE_LENGTH: usize = 65;

/// A kind of secret, in words for whoever must mend its file.
struct Kind {
    is: &'static str,
    /// What to do where others may have read it.
    if_read: &'static str,
    /// What must never have happened for a new one to be no loss.
    if_new: &'static str,
}

const RECEIPTS: Kind = Kind {
    is: "the key that signs receipts",
    if_read: "no receipt signed by it proves anything: take a new key and publish that",
    if_new: "signed a receipt",
};

const AUDIT_LOG: Kind = Kind {
    is: "the key that signs the audit log",
    if_read: "nothing signed by it proves anything about the audit log: take a new key and publish that",
    if_new: "signed the audit log",
};

const PEOPLE: Kind = Kind {
    is: "the key that wraps the keys of people",
    if_read: "whoever has the directory of keys as well can read who people are: see docs/guides/privacy.md",
    if_new: "wrapped a key",
};

/// Reads the key that signs receipts; the first start makes it from the operating system's chance.
///
/// A file that somebody else than its owner may use, or that holds anything else than a key, is refused and left as
/// it is: a new key would make receipts that no trader can check.
pub fn receipt_key(data_dir: &Path) -> anyhow::Result<SigningKey> {
    signing_key(data_dir, RECEIPT_KEY, &RECEIPTS)
}

/// Reads the keys that sign the audit log, in the order in which they take over; the first start makes the first one.
///
/// One that is missing before a later one is refused: a new key in its place would be a key that has signed nothing.
pub fn audit_keys(data_dir: &Path) -> anyhow::Result<Vec<SigningKey>> {
    let later = numbers(data_dir, &AUDIT_KEY)?;
    let names = (1..=later.last().copied().unwrap_or(1)).map(|number| AUDIT_KEY.named(number));
    let missing = names.clone().find(|name| !data_dir.join(name).exists());
    if let (Some(missing), Some(last)) = (missing, later.last()) {
        anyhow::bail!(
            "{missing} is missing in {} beside {}: bring it back from a copy, a new key cannot take its place",
            data_dir.display(),
            AUDIT_KEY.named(*last)
        );
    }
    names.map(|name| signing_key(data_dir, &name, &AUDIT_LOG)).collect()
}

/// The numbers of the files of a kind that are there, in order.
fn numbers(data_dir: &Path, name: &Name) -> anyhow::Result<Vec<u32>> {
    let mut numbers = Vec::new();
    let files = match fs::read_dir(data_dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(numbers),
        files => files.with_context(|| format!("looking for keys in {}", data_dir.display()))?,
    };
    for file in files {
        let file = file.with_context(|| format!("looking for keys in {}", data_dir.display()))?.file_name();
        numbers.extend(file.to_str().and_then(|file| name.number(file)));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// Makes the next key of the audit log; the sealer hands over to it when it starts again. Gives the file's name.
pub fn new_audit_key(data_dir: &Path) -> anyhow::Result<String> {
    let number = u32::try_from(audit_keys(data_dir)?.len())?.saturating_add(1);
    let name = AUDIT_KEY.named(number);
    signing_key(data_dir, &name, &AUDIT_LOG)?;
    Ok(name)
}

/// The log's keys with its name, which follows from the first.
pub fn audit_signers(keys: Vec<SigningKey>) -> anyhow::Result<Vec<NoteSigner>> {
    let first = keys.first().context("the audit log has no key")?;
    let origin = format!("tradesense/{}", first.public().id());
    let signer = |key| NoteSigner::new(&origin, key).context("naming a key of the audit log");
    keys.into_iter().map(signer).collect()
}

/// The keys of people: the directory `people` of a directory, wrapped under the files `people.kek`, `people-2.kek` and so on
/// beside it. The first start makes both.
pub fn people_keys(keys_dir: &Path) -> anyhow::Result<DirectoryKeys> {
    let directory = keys_dir.join(PEOPLE_DIR);
    let mut numbers = numbers(keys_dir, &PEOPLE_KEK)?;
    if numbers.is_empty() {
        ensure!(
            !directory.exists(),
            "{} holds keys of people, but {} that wraps them is gone: put it back from a backup",
            directory.display(),
            PEOPLE_KEK.named(1)
        );
        numbers.push(1);
    }
    if numbers == [1] {
        secret(keys_dir, &PEOPLE_KEK.named(1), &PEOPLE)?;
    }
    let place = keys_dir.to_owned();
    let read = move || people_keks(&place).map_err(anyhow::Error::into_boxed_dyn_error);
    DirectoryKeys::open(&directory, Box::new(read)).context("opening the keys of people")
}

/// What wraps the keys of people, in order. One that is removed in this moment is none.
fn people_keks(keys_dir: &Path) -> anyhow::Result<Vec<DataKey>> {
    let mut keks = Vec::new();
    for number in numbers(keys_dir, &PEOPLE_KEK)? {
        let path = keys_dir.join(PEOPLE_KEK.named(number));
        let file = match File::open(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            file => file.with_context(|| format!("opening {}", path.display()))?,
        };
        let kek =
            read(&file, &PEOPLE).with_context(|| format!("reading {}, {}", path.display(), PEOPLE.is))?;
        keks.push(DataKey::from_bytes(&kek));
    }
    Ok(keks)
}

/// Makes the next key that wraps the keys of people; whoever starts after this wraps under it. Gives the file's name.
pub fn new_people_kek(keys_dir: &Path) -> anyhow::Result<String> {
    let last = numbers(keys_dir, &PEOPLE_KEK)?.last().copied();
    let last = last.with_context(|| format!("there are no keys of people in {}", keys_dir.display()))?;
    let name = PEOPLE_KEK.named(last.saturating_add(1));
    secret(keys_dir, &name, &PEOPLE)?;
    Ok(name)
}

/// Removes every key that wraps the keys of people but the last one; call it when nothing is under them. Gives the files' names.
pub fn remove_older_people_keks(keys_dir: &Path) -> anyhow::Result<Vec<String>> {
    let mut numbers = numbers(keys_dir, &PEOPLE_KEK)?;
    numbers.pop();
    let names: Vec<String> = numbers.into_iter().map(|number| PEOPLE_KEK.named(number)).collect();
    for name in &names {
        fs::remove_file(keys_dir.join(name)).with_context(|| format!("removing {name}"))?;
    }
    Ok(names)
}

/// What an installation that has worked cannot be without and is not there, by its name.
pub fn missing(keys_dir: &Path) -> anyhow::Result<Option<String>> {
    let named = [RECEIPT_KEY.to_owned(), AUDIT_KEY.named(1), PEOPLE_DIR.to_owned()];
    let gone = named.into_iter().find(|name| !keys_dir.join(name).exists());
    let no_kek = numbers(keys_dir, &PEOPLE_KEK)?.is_empty();
    Ok(gone.or_else(|| no_kek.then(|| PEOPLE_KEK.named(1))))
}

fn signing_key(data_dir: &Path, name: &str, kind: &Kind) -> anyhow::Result<SigningKey> {
    let secret = secret(data_dir, name, kind)?;
    Ok(SigningKey::from_secret(&secret))
}

/// Reads a secret, or makes it.
fn secret(data_dir: &Path, name: &str, kind: &Kind) -> anyhow::Result<Zeroizing<[u8; 32]>> {
    let path = data_dir.join(name);
    match File::open(&path) {
        Ok(file) => read(&file, kind),
        Err(error) if error.kind() == ErrorKind::NotFound => {
            make(data_dir, name).with_context(|| format!("making {}, {}", kind.is, path.display()))?;
            // Whoever made it: of two first starts at once, both take the one file that there is.
            File::open(&path).map_err(anyhow::Error::from).and_then(|file| read(&file, kind))
        }
        Err(error) => Err(error.into()),
    }
    .with_context(|| format!("reading {}, {}", kind.is, path.display()))
}

fn read(file: &File, kind: &Kind) -> anyhow::Result<Zeroizing<[u8; 32]>> {
    let Kind { if_read, if_new, .. } = kind;
    let mode = file.metadata()?.permissions().mode() & 0o7777;
    let of_others = mode & 0o077;
    ensure!(
        of_others == 0,
        "others than its owner may use this file (mode {mode:04o}): if nobody did, make it private (chmod 600); \
         if somebody may have, {if_read}"
    );
    // Room for one byte more than belongs there, and as much again so that reading never moves the secret elsewhere.
    let mut text = Zeroizing::new(Vec::with_capacity(FILE_LENGTH.saturating_mul(2)));
    let most = u64::try_from(FILE_LENGTH)?.saturating_add(1);
    file.take(most).read_to_end(&mut text)?;
    // What the file holds is told to nobody: it may be a key with one wrong digit.
    let digits = text.strip_suffix(b"\n").unwrap_or(&text);
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let mut secret = Zeroizing::new([0; 32]);
    let decoded = digits.iter().all(is_digit) && hex::decode_to_slice(digits, secret.as_mut_slice()).is_ok();
    ensure!(
        decoded,
        "this file is no key (64 digits, 0-9 and a-f, on one line): put it back from a backup; only if it never \
         {if_new}, remove it and start again"
    );
    Ok(secret)
}

/// Makes a key under its name unless there is one. It is complete and on the disk before it gets its name, so that a
/// start that is cut off leaves no half of a key.
fn make(data_dir: &Path, name: &str) -> anyhow::Result<()> {
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(secret.as_mut_slice()).context("asking the operating system for random bytes")?;
    let mut text = Zeroizing::new([b'\n'; FILE_LENGTH]);
    let (digits, _line_feed) = text.split_at_mut(FILE_LENGTH.saturating_sub(1));
    hex::encode_to_slice(secret.as_slice(), digits)?;

    let mut chance = [0; 8];
    getrandom::fill(&mut chance).context("asking the operating system for random bytes")?;
    let unfinished = data_dir.join(format!("{name}.unfinished-{}", hex::encode(chance)));
    let written = File::options()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&unfinished)
        .and_then(|mut file| file.write_all(text.as_slice()).and_then(|()| file.sync_all()))
        // Like O_EXCL, a link never replaces what is there.
        .and_then(|()| match fs::hard_link(&unfinished, data_dir.join(name)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
            linked => linked,
        });
    // Also after a failure; then that failure is the answer.
    let removed = fs::remove_file(&unfinished);
    written?;
    removed.with_context(|| format!("removing {}", unfinished.display()))?;
    // The name, too, must outlive a power cut: the first signature may be given a moment later.
    File::open(data_dir)?.sync_all()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::Permissions;
    use tempfile::TempDir;

    /// RFC 8032, section 7.1, test 1.
    const SECRET: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
    const PUBLIC: &str = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a";

    fn holding(content: impl AsRef<[u8]>, mode: u32) -> TempDir {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(RECEIPT_KEY);
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        dir
    }

    fn refused(dir: &TempDir) -> String {
        let before = fs::read(dir.path().join(RECEIPT_KEY)).unwrap();
        let error = format!("{:#}", receipt_key(dir.path()).unwrap_err());
        assert_eq!(fs::read(dir.path().join(RECEIPT_KEY)).unwrap(), before, "the file stays as it was");
        assert!(error.contains("reading the key that signs receipts, "), "{error}");
        error
    }

    #[test]
    fn the_first_start_makes_a_private_file_and_later_ones_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let made = receipt_key(dir.path()).unwrap().public();
        let path = dir.path().join(RECEIPT_KEY);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o600);
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.len(), FILE_LENGTH);
        assert_eq!(receipt_key(dir.path()).unwrap().public(), made);
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
        let elsewhere = tempfile::tempdir().unwrap();
        assert_ne!(receipt_key(elsewhere.path()).unwrap().public(), made);
    }

    #[test]
    fn first_starts_at_once_agree_on_one_key() {
        let dir = tempfile::tempdir().unwrap();
        let keys: Vec<_> = std::thread::scope(|scope| {
            let starts: Vec<_> = (0..8).map(|_| scope.spawn(|| receipt_key(dir.path()).unwrap())).collect();
            starts.into_iter().map(|start| start.join().unwrap().public()).collect()
        });
        assert!(keys.iter().all(|key| *key == keys[0]));
        assert_eq!(receipt_key(dir.path()).unwrap().public(), keys[0]);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[test]
    fn a_key_put_there_by_the_operator_is_used() {
        for (content, mode) in [(format!("{SECRET}\n"), 0o600), (SECRET.to_owned(), 0o400)] {
            let dir = holding(content, mode);
            assert_eq!(receipt_key(dir.path()).unwrap().public().to_string(), PUBLIC);
        }
    }

    #[test]
    fn a_file_that_others_may_use_is_refused() {
        for mode in [0o644, 0o640, 0o604, 0o620, 0o601] {
            let error = refused(&holding(format!("{SECRET}\n"), mode));
            assert!(error.contains(&format!("(mode {mode:04o})")), "{error}");
            assert!(error.contains("chmod 600"), "{error}");
            assert!(!error.contains(SECRET), "{error}");
        }
    }

    #[test]
    fn a_file_that_holds_no_key_is_refused_and_not_quoted() {
        let short = &SECRET[1..];
        let contents: [&[u8]; 8] = [
            b"",
            b"\n",
            short.as_bytes(),
            &format!("{SECRET}0").into_bytes(),
            &format!("{SECRET}\n\n").into_bytes(),
            &SECRET.to_uppercase().into_bytes(),
            &format!("g{short}\n").into_bytes(),
            &vec![0xff; 100_000],
        ];
        for content in contents {
            let error = refused(&holding(content, 0o600));
            assert!(error.contains("this file is no key (64 digits"), "{error}");
            assert!(!error.contains(&SECRET[2..10]), "{error}");
        }
    }

    #[test]
    fn a_key_of_the_log_that_is_missing_before_a_later_one_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(new_audit_key(dir.path()).unwrap(), "audit-2.key");
        assert_eq!(new_audit_key(dir.path()).unwrap(), "audit-3.key");
        let keys: Vec<_> = audit_keys(dir.path()).unwrap().iter().map(SigningKey::public).collect();
        assert_eq!(keys.len(), 3);
        for name in ["audit.key", "audit-2.key"] {
            let (kept, away) = (dir.path().join(name), dir.path().join("away"));
            fs::rename(&kept, &away).unwrap();
            let error = format!("{:#}", audit_keys(dir.path()).unwrap_err());
            assert!(
                error.starts_with(&format!("{name} is missing")) && error.contains("audit-3.key"),
                "{error}"
            );
            assert!(!kept.exists());
            fs::rename(&away, &kept).unwrap();
        }
        assert!(audit_keys(dir.path()).unwrap().iter().map(SigningKey::public).eq(keys));
    }

    #[test]
    fn a_directory_that_is_not_there_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let error = format!("{:#}", receipt_key(&dir.path().join("gone")).unwrap_err());
        assert!(error.contains("making the key that signs receipts, "), "{error}");
        assert!(error.contains("gone"), "{error}");
    }

    #[test]
    fn another_key_wraps_the_keys_of_people_and_the_ones_before_go_when_told() {
        let dir = tempfile::tempdir().unwrap();
        new_people_kek(dir.path()).unwrap_err();
        people_keys(dir.path()).unwrap();
        assert_eq!(new_people_kek(dir.path()).unwrap(), "people-2.kek");
        fs::write(dir.path().join("people-02.kek"), "not its name").unwrap();
        assert_eq!(new_people_kek(dir.path()).unwrap(), "people-3.kek");
        assert_eq!(remove_older_people_keks(dir.path()).unwrap(), ["people.kek", "people-2.kek"]);
        people_keys(dir.path()).unwrap();
        assert!(!dir.path().join("people.kek").exists(), "it is not made anew");
        assert_eq!(new_people_kek(dir.path()).unwrap(), "people-4.kek");
        for name in ["people-3.kek", "people-4.kek"] {
            fs::remove_file(dir.path().join(name)).unwrap();
        }
        let error = format!("{:#}", people_keys(dir.path()).unwrap_err());
        assert!(error.contains("people.kek that wraps them is gone"), "{error}");
    }
}
