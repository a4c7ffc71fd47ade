//! Programs that check files and stand in for others, exactly as `xtask/verify.txt` lists them, in an environment below cargo's target
//! directory; and the distribution's own.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::machine::{self, target};
use crate::{Failure, Outcome};

/// A program of the list.
pub(crate) fn listed(name: &str) -> Outcome<PathBuf> {
    Ok(machine::listed("verify")?.join(name))
}

/// A program of the distribution, with the package that brings it.
pub(crate) fn installed(name: &str, package: &str) -> Outcome<PathBuf> {
    let places = [
        "/usr/lib/postgresql/15/bin",
        "/usr/local/sbin",
        "/usr/local/bin",
        "/usr/sbin",
        "/usr/bin",
        "/sbin",
        "/bin",
    ];
    let found = places.iter().map(|place| Path::new(place).join(name)).find(|file| file.is_file());
    found.ok_or_else(|| Failure::new(format!("{name} is not there: apt-get install {package}")))
}

/// What a program said, and whether it ended well.
pub(crate) struct Said {
    pub(crate) well: bool,
    pub(crate) text: String,
}

/// Runs a program to its end.
pub(crate) fn ask(command: &mut Command) -> Outcome<Said> {
    let named = command.get_program().display().to_string();
    let out = command.output().map_err(Failure::of(format!("run {named}")))?;
    let mut text = String::from_utf8_lossy(&out.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&out.stderr));
    Ok(Said { well: out.status.success(), text })
}

/// One fault if a program did not end well: its words.
pub(crate) fn refused(command: &mut Command) -> Outcome<Option<String>> {
    let said = ask(command)?;
    let name = command.get_program().display().to_string();
    Ok((!said.well).then(|| format!("{name}: {}", said.text.trim())))
}

/// The program under test: `TRADESENSE_PROGRAM`, or the debug build.
pub(crate) fn tradesense() -> Outcome<PathBuf> {
    let program = match std::env::var_os("TRADESENSE_PROGRAM") {
        Some(program) => PathBuf::from(program),
        None => target()?.join("debug/tradesense"),
    };
    // Where it lies itself, and not a link to it.
    if let Ok(program) = program.canonicalize() {
        return Ok(program);
    }
    Err(Failure::new(format!("{} is not there: cargo build --package tradesense", program.display())))
}

/// Whether this may make name spaces.
pub(crate) fn as_root() -> Outcome {
    if rustix::process::geteuid().is_root() && cfg!(target_os = "linux") {
        return Ok(());
    }
    Err(Failure::new("this check makes name spaces: run it as root on Linux"))
}
