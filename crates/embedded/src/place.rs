//! Where a server's files lie, and the lock that names their one owner.

use std::fs::{self, DirBuilder, File, Permissions, TryLockError};
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use crate::account::RunAs;
use crate::error::{Error, io};

/// Files of root's servers whose project lies where the server's user cannot go (typically below /root).
const ELSEWHERE: &str = "/var/lib/tradesense";

/// The right to be the one owner of a directory.
#[derive(Debug)]
pub(crate) struct Lock(File);

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing is not enough: a process that another thread is just starting holds a copy of every open
        // file until it becomes its program, and the lock would live on in that copy.
        let _released_by_the_end_of_the_process_at_the_latest = self.0.unlock();
    }
}

/// A private directory: `data/`, `password`, `server.log`, `lock`.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) dir: PathBuf,
}

impl Place {
    /// The place that belongs to the wanted directory: itself, or one below [`ELSEWHERE`].
    /// Nothing but the directories above it is created.
    pub(crate) fn of(wanted: &Path, run_as: RunAs) -> Result<Self, Error> {
        let named = format!("find the directory {}", wanted.display());
        let absolute = std::path::absolute(wanted).map_err(io(named.clone()))?;
        let (Some(above), Some(name)) = (absolute.parent(), absolute.file_name()) else {
            let refused = std::io::Error::from(std::io::ErrorKind::InvalidInput);
            return Err(Error::Io { operation: named, source: refused });
        };
        fs::create_dir_all(above).map_err(io(format!("create the directory {}", above.display())))?;
        let above = fs::canonicalize(above).map_err(io(named))?;
        let dir = above.join(name);
        if run_as.reaches(&above) {
            return Ok(Self { dir });
        }
        let name = format!("{}-{:016x}", name.to_string_lossy(), digest(dir.as_os_str().as_bytes()));
        Ok(Self { dir: Path::new(ELSEWHERE).join(name) })
    }

    /// Makes the directory, private to the server's user.
    pub(crate) fn create(&self, run_as: RunAs) -> Result<(), Error> {
        let operation = || format!("create the directory {}", self.dir.display());
        if let Some(above) = self.dir.parent() {
            DirBuilder::new().recursive(true).mode(0o755).create(above).map_err(io(operation()))?;
        }
        match DirBuilder::new().mode(0o700).create(&self.dir) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            other => other.map_err(io(operation()))?,
        }
        if let RunAs::Other { uid, .. } = run_as {
            // A directory of a third party must not become the server's by our doing.
            let owner = fs::symlink_metadata(&self.dir).map_err(io(operation()))?.uid();
            if owner != uid && owner != 0 {
                let denied = std::io::Error::from(std::io::ErrorKind::PermissionDenied);
                return Err(Error::Io {
                    operation: format!("take over {}", self.dir.display()),
                    source: denied,
                });
            }
            run_as.give(&self.dir)?;
        }
        fs::set_permissions(&self.dir, Permissions::from_mode(0o700)).map_err(io(operation()))
    }

    /// Takes the lock. It falls with the guard, and with its process.
    pub(crate) fn lock(&self) -> Result<Lock, Error> {
        let path = self.dir.join("lock");
        let operation = || format!("lock {}", path.display());
        let mut file = File::options()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(io(operation()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let left = fs::read_to_string(&path).unwrap_or_default();
                let owner = match left.trim() {
                    "" => String::new(),
                    pid => format!(" (process {pid})"),
                };
                return Err(Error::InUse { dir: self.dir.clone(), owner });
            }
            Err(TryLockError::Error(source)) => return Err(Error::Io { operation: operation(), source }),
        }
        file.set_len(0).map_err(io(operation()))?;
        writeln!(file, "{}", std::process::id()).map_err(io(operation()))?;
        Ok(Lock(file))
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub(crate) fn unfinished(&self) -> PathBuf {
        self.dir.join("data.unfinished")
    }

    pub(crate) fn password(&self) -> PathBuf {
        self.dir.join("password")
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.dir.join("server.log")
    }
}

/// FNV-1a. The standard library's hash may change with a compiler, and the data must be found again after that.
fn digest(bytes: &[u8]) -> u64 {
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Removes a directory tree if it is there.
pub(crate) fn remove_tree(dir: &Path) -> Result<(), Error> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(io(format!("remove {}", dir.display()))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_is_the_published_one_and_stays() {
        assert_eq!(digest(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(digest(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn root_keeps_data_where_the_server_can_go() {
        let closed = tempfile::tempdir().unwrap();
        fs::set_permissions(closed.path(), Permissions::from_mode(0o700)).unwrap();
        let stranger = RunAs::Other { uid: 4_000_000, gid: 4_000_000 };
        let wanted = closed.path().join("pg");
        assert_eq!(
            Place::of(&wanted, RunAs::Ourselves).unwrap().dir,
            fs::canonicalize(closed.path()).unwrap().join("pg")
        );
        let moved = Place::of(&wanted, stranger).unwrap().dir;
        assert_eq!(moved.parent(), Some(Path::new(ELSEWHERE)));
        assert_eq!(moved, Place::of(&wanted, stranger).unwrap().dir);
    }

    #[test]
    fn a_copy_of_the_file_in_a_process_being_started_does_not_keep_the_lock() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place { dir: dir.path().to_owned() };
        let lock = place.lock().unwrap();
        let copy = lock.0.try_clone().unwrap();
        assert!(matches!(place.lock(), Err(Error::InUse { .. })));
        drop(lock);
        drop(place.lock().unwrap());
        drop(copy);
    }
}
