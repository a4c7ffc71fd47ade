//! Copies in a folder.
//!
//! A file is written under another name and linked to its own, so that it is whole or not there, and never replaces one that is
//! there.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use app::AppError;
use app::auditing::{Copies, NEWEST};
use async_trait::async_trait;
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
            let (tile, place) = super::place_of(entry, size)?;
            if last.as_ref().is_none_or(|(of, _)| *of != tile.index) {
                let content = folder.read(&tile.to_string()).ok().flatten().unwrap_or_default();
                last = Some((tile.index, content));
            }
            let (_, content) = last.as_ref()?;
            super::hash_at(content, place)
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
