//! Copies of the audit log: its tiles, bundles and checkpoints as files of a folder that the database's owner cannot write.
//!
//! A file is written under another name and linked to its own, so that it is whole or not there, and never replaces one that is
//! there. Only the file that names the newest checkpoint is replaced.
//!
//! **To add an object storage:** an [`app::auditing::Copies`] beside this one. Its bucket keeps what was written until a date
//! (Object Lock); names and content are the same.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use app::AppError;
use app::auditing::{Copies, NEWEST};
use async_trait::async_trait;
use audit::tiles::{Content, Tile, WIDTH};
use audit::tree::Hash;

/// A folder.
#[derive(Debug, Clone)]
pub struct Folder {
    directory: PathBuf,
}

impl Folder {
    /// It is made with the first file.
    pub fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// Where it is.
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Reads a file, if there is one.
    pub fn read(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.directory.join(name)) {
            Ok(content) => Ok(Some(content)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    fn write(&self, name: &str, content: &[u8]) -> io::Result<()> {
        let path = self.directory.join(name);
        let directory = path.parent().unwrap_or(&self.directory);
        fs::create_dir_all(directory)?;
        let unfinished = path.with_extension("unfinished");
        let mut file = File::create(&unfinished)?;
        file.write_all(content)?;
        file.sync_all()?;
        if name == NEWEST {
            fs::rename(&unfinished, &path)?;
        } else {
            let linked = fs::hard_link(&unfinished, &path);
            fs::remove_file(&unfinished)?;
            match linked {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    if fs::read(&path)? != content {
                        let say = format!("{} is there and holds something else", path.display());
                        return Err(io::Error::new(io::ErrorKind::AlreadyExists, say));
                    }
                }
                linked => linked?,
            }
        }
        // The name, too, must outlive a power cut.
        File::open(directory)?.sync_all()
    }

    /// The hashes of entries as they were copied when the log had `size` entries, for as many as there are files.
    pub fn entry_hashes(&self, size: u64) -> impl FnMut(u64) -> Option<Hash> + Send + use<> {
        let folder = self.clone();
        let mut last: Option<(u64, Vec<u8>)> = None;
        move |entry| {
            let index = entry.checked_div(WIDTH.into())?;
            let place = usize::try_from(entry.checked_rem(WIDTH.into())?).ok()?.checked_mul(32)?;
            if last.as_ref().is_none_or(|(of, _)| *of != index) {
                let full = size.saturating_sub(index.saturating_mul(WIDTH.into())).min(WIDTH.into());
                let width = u16::try_from(full).ok().filter(|width| *width > 0)?;
                let tile = Tile { content: Content::Hashes(0), index, width };
                let content = folder.read(&tile.to_string()).ok().flatten().unwrap_or_default();
                last = Some((index, content));
            }
            let (_, content) = last.as_ref()?;
            Hash::from_slice(content.get(place..place.checked_add(32)?)?)
        }
    }
}

#[async_trait]
impl Copies for Folder {
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, AppError> {
        let (folder, name) = (self.clone(), name.to_owned());
        let read = tokio::task::spawn_blocking(move || folder.read(&name)).await;
        finished("reading a copy of the audit log", read)
    }

    async fn put(&self, name: &str, content: &[u8]) -> Result<(), AppError> {
        let (folder, name, content) = (self.clone(), name.to_owned(), content.to_owned());
        let written = tokio::task::spawn_blocking(move || folder.write(&name, &content)).await;
        finished("writing a copy of the audit log", written)
    }
}

fn finished<T>(
    doing: &'static str,
    ended: Result<io::Result<T>, tokio::task::JoinError>,
) -> Result<T, AppError> {
    match ended {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(AppError::Unavailable { doing, source: Box::new(error) }),
        Err(error) => Err(AppError::bug(doing)(Box::new(error))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_there_stays_as_it_is_except_the_name_of_the_newest() {
        let directory = tempfile::tempdir().unwrap();
        let folder = Folder::new(&directory.path().join("copies"));
        assert_eq!(folder.get("checkpoint").await.unwrap(), None);
        for content in [b"one", b"two"] {
            folder.put(NEWEST, content).await.unwrap();
            assert_eq!(folder.get(NEWEST).await.unwrap().unwrap(), content);
        }
        folder.put("tile/0/x001/002.p/3", b"abc").await.unwrap();
        folder.put("tile/0/x001/002.p/3", b"abc").await.unwrap();
        assert!(folder.put("tile/0/x001/002.p/3", b"abd").await.is_err());
        assert_eq!(folder.get("tile/0/x001/002.p/3").await.unwrap().unwrap(), b"abc");
        let left = fs::read_dir(directory.path().join("copies/tile/0/x001/002.p")).unwrap().count();
        assert_eq!(left, 1);
    }
}
