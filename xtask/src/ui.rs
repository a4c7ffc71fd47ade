//! Building the user interface with npm, only when something changed.

use std::ffi::OsString;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::machine::node_path;
use crate::process::{command, run};
use crate::{Failure, Outcome};

/// The user interface's folder with its tools installed.
pub(crate) struct Ui {
    dir: PathBuf,
    path: OsString,
}

impl Ui {
    /// Installs the locked packages, if the lock file changed since they were installed last.
    pub(crate) fn ready(root: &Path) -> Outcome<Self> {
        let ui = Self { dir: root.join("ui"), path: node_path()? };
        let lock = ui.dir.join("package-lock.json");
        let stamp = ui.dir.join("node_modules/.installed");
        let wanted = digest(&ui.dir, &[lock, ui.dir.join("package.json")])?;
        if fs::read_to_string(&stamp).ok().as_deref() != Some(&wanted) {
            run(ui.program("npm").args(["ci", "--no-fund", "--no-audit"]))?;
            write(&stamp, &wanted)?;
        }
        Ok(ui)
    }

    /// Builds `ui/dist`, if a source changed since it was built last.
    pub(crate) fn build(&self) -> Outcome {
        let stamp = self.dir.join("node_modules/.built");
        let wanted = digest(&self.dir, &files(&self.dir)?)?;
        let built = self.dir.join("dist/index.html").exists();
        if !built || fs::read_to_string(&stamp).ok().as_deref() != Some(&wanted) {
            self.script("build")?;
            write(&stamp, &wanted)?;
        }
        Ok(())
    }

    /// Runs a script of package.json.
    pub(crate) fn script(&self, name: &str) -> Outcome {
        run(&mut self.script_command(name))
    }

    /// The command of a script of package.json.
    pub(crate) fn script_command(&self, name: &str) -> Command {
        let mut command = self.program("npm");
        command.args(["run", "--silent", name]);
        command
    }

    /// A program in ui/ with the right Node.js and without colours.
    pub(crate) fn program(&self, name: &str) -> Command {
        // A program is looked up on our own PATH, not on the one it is given.
        let found = std::env::split_paths(&self.path).map(|dir| dir.join(name)).find(|file| file.is_file());
        let mut command = command(found.unwrap_or_else(|| name.into()), &self.dir);
        command.env("PATH", &self.path).env("NO_COLOR", "1");
        command
    }
}

/// Every file in ui/ that the build can see: not what it makes, not what only tests read.
fn files(dir: &Path) -> Outcome<Vec<PathBuf>> {
    let mut all = Vec::new();
    let mut folders = vec![dir.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).map_err(Failure::of(format!("read {}", folder.display())))? {
            let entry = entry.map_err(Failure::of(format!("read {}", folder.display())))?;
            let name = entry.file_name();
            let made = ["node_modules", "dist", "e2e"].iter().any(|made| *made == name);
            if made && folder == dir {
                continue;
            }
            let kind = entry.file_type().map_err(Failure::of(format!("read {}", folder.display())))?;
            if kind.is_dir() {
                folders.push(entry.path());
            } else {
                all.push(entry.path());
            }
        }
    }
    all.sort();
    Ok(all)
}

/// A short digest of names and contents; it only decides whether to do work again.
fn digest(base: &Path, files: &[PathBuf]) -> Outcome<String> {
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.strip_prefix(base).unwrap_or(file).hash(&mut hasher);
        fs::read(file).map_err(Failure::of(format!("read {}", file.display())))?.hash(&mut hasher);
    }
    Ok(format!("{:016x}", hasher.finish()))
}

fn write(file: &Path, text: &str) -> Outcome {
    fs::write(file, text).map_err(Failure::of(format!("write {}", file.display())))
}
