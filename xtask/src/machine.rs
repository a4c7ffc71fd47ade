//! What a command needs from the machine, and getting it on Debian and Ubuntu.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{command, on_path, output, run, succeeds};
use crate::{Failure, Outcome};

/// The oldest Node.js that the user interface's tools run on.
const OLDEST_NODE: (u32, u32) = (20, 19);
/// Fetched by the distribution's own npm where its Node.js is older.
const OWN_NODE: &str = "22";
const OWN_NPM: &str = "npm@10";

/// The root of the source tree.
pub(crate) fn root() -> Outcome<PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().map(Path::to_path_buf).ok_or_else(|| Failure::new("find the root of the source tree"))
}

/// Cargo's target directory: where we lie ourselves, `TARGET/debug/xtask`.
pub(crate) fn target() -> Outcome<PathBuf> {
    let ourselves = std::env::current_exe().map_err(Failure::of("find our own program"))?;
    let target = ourselves.parent().and_then(Path::parent).map(Path::to_path_buf);
    target.ok_or_else(|| Failure::new("find cargo's target directory"))
}

/// Where PostgreSQL's programs may be.
pub(crate) fn postgresql() -> Outcome<embedded::Binaries> {
    Ok(embedded::Binaries::search(std::env::var_os("PATH").as_deref(), &[root()?]))
}

/// Something that must be installed.
#[derive(Clone, Copy)]
pub(crate) enum Need {
    /// Server programs and the client psql.
    PostgreSql,
    /// Node.js and npm.
    Node,
    /// A browser for the end-to-end journey.
    Chromium,
    /// Server and client of Redis.
    Redis,
    /// The edge before several processes.
    Nginx,
    /// For the scripts that check the engine from outside.
    Python,
    /// Python can make environments of its own, for the S3 server of the tests.
    PythonEnvironments,
    /// Gives a program another time of day.
    Faketime,
}

impl Need {
    fn present(self) -> Outcome<bool> {
        Ok(match self {
            Self::PostgreSql => postgresql()?.is_usable() && psql().is_some(),
            Self::Node => on_path("node").is_some() && on_path("npm").is_some(),
            Self::Chromium => chromium().is_some(),
            Self::Redis => on_path("redis-server").is_some() && on_path("redis-cli").is_some(),
            Self::Nginx => on_path("nginx").is_some() || Path::new("/usr/sbin/nginx").exists(),
            Self::Python => on_path("python3").is_some(),
            Self::PythonEnvironments => {
                succeeds(Command::new("python3").args(["-c", "import ensurepip, venv"]))
            }
            Self::Faketime => cfg!(not(target_os = "linux")) || faketime().exists(),
        })
    }

    fn packages(self) -> &'static [&'static str] {
        match self {
            Self::PostgreSql => &["postgresql"],
            Self::Node => &["nodejs", "npm"],
            Self::Chromium => &["chromium"],
            Self::Redis => &["redis-server"],
            Self::Nginx => &["nginx-light"],
            Self::Python => &["python3"],
            Self::PythonEnvironments => &["python3-venv"],
            Self::Faketime => &["libfaketime"],
        }
    }

    fn elsewhere(self) -> &'static str {
        match self {
            Self::PostgreSql => "PostgreSQL 15 or newer with its server programs and psql on the PATH",
            Self::Node => "Node.js 20.19 or newer with npm on the PATH",
            Self::Chromium => "Chromium or Google Chrome on the PATH",
            Self::Redis => "Redis 7 or newer with redis-server and redis-cli on the PATH",
            Self::Nginx => "nginx on the PATH",
            Self::Python => "python3 on the PATH",
            Self::PythonEnvironments => "python3 with its modules venv and ensurepip",
            Self::Faketime => "libfaketime where Debian puts it",
        }
    }
}

fn faketime() -> PathBuf {
    let machine = format!("{}-linux-gnu", std::env::consts::ARCH);
    Path::new("/usr/lib").join(machine).join("faketime/libfaketime.so.1")
}

/// The browser for the journey.
pub(crate) fn chromium() -> Option<PathBuf> {
    ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"].into_iter().find_map(on_path)
}

/// The PostgreSQL client.
pub(crate) fn psql() -> Option<PathBuf> {
    on_path("psql")
}

/// Makes sure that all of this is there; installs what is missing where that is one command.
pub(crate) fn provide(needs: &[Need]) -> Outcome {
    let missing = missing(needs)?;
    if missing.is_empty() {
        return Ok(());
    }
    let packages: Vec<&str> = missing.iter().flat_map(|need| need.packages()).copied().collect();
    let by_hand = || {
        let list: Vec<String> = missing.iter().map(|need| format!("  {}", need.elsewhere())).collect();
        Failure::new(format!("this machine lacks\n{}", list.join("\n")))
    };
    if on_path("apt-get").is_none() {
        return Err(by_hand());
    }
    let as_root = || if rustix::process::geteuid().is_root() { Some(Vec::new()) } else { sudo() };
    let Some(prefix) = as_root() else {
        let Failure(text) = by_hand();
        return Err(Failure::new(format!("{text}\ninstall with: apt-get install {}", packages.join(" "))));
    };
    println!("Installing with apt-get: {}", packages.join(", "));
    if packages.iter().any(|package| ["postgresql", "redis-server", "nginx-light"].contains(package)) {
        println!("(the packages may also start servers of their own, which TradeSense leaves alone)");
    }
    apt(&prefix, &["update", "-q"])?;
    let install = ["install", "-q", "-y", "--no-install-recommends"];
    apt(&prefix, &[&install, packages.as_slice()].concat())?;
    match self::missing(needs)?.first() {
        None => Ok(()),
        Some(need) => {
            Err(Failure::new(format!("after the installation still missing: {}", need.elsewhere())))
        }
    }
}

fn missing(needs: &[Need]) -> Outcome<Vec<Need>> {
    let mut missing = Vec::new();
    for need in needs {
        if !need.present()? {
            missing.push(*need);
        }
    }
    Ok(missing)
}

/// `sudo`, if it is there; it asks for the password on the terminal itself.
fn sudo() -> Option<Vec<OsString>> {
    let sudo = on_path("sudo")?;
    Some(vec![sudo.into_os_string()])
}

fn apt(prefix: &[OsString], args: &[&str]) -> Outcome {
    let words: Vec<&OsStr> = prefix
        .iter()
        .map(OsString::as_os_str)
        .chain(["env", "DEBIAN_FRONTEND=noninteractive", "apt-get"].map(OsStr::new))
        .chain(args.iter().map(OsStr::new))
        .collect();
    let (program, rest) = words.split_first().ok_or_else(|| Failure::new("no command to run"))?;
    run(Command::new(program).args(rest))
}

/// The PATH for Node.js programs: the machine's own where its Node.js is new enough, else with a newer one
/// in front that npm fetched into the target directory.
pub(crate) fn node_path() -> Outcome<OsString> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    if node_version("node").is_some_and(|version| version >= OLDEST_NODE) {
        return Ok(path);
    }
    let tools = target()?.join("tools");
    let platform = match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => "linux-x64",
        ("linux", "aarch64") => "linux-arm64",
        (os, arch) => return Err(Failure::new(format!("install Node.js 20.19 or newer ({os} {arch})"))),
    };
    let modules = tools.join("node_modules");
    let own = modules.join(format!("node-{platform}/bin"));
    if node_version(own.join("node")).is_none() {
        println!("Fetching Node.js {OWN_NODE} with npm: the installed one is older than 20.19");
        fs::create_dir_all(&tools).map_err(Failure::of(format!("create {}", tools.display())))?;
        let wanted = [format!("node-{platform}@{OWN_NODE}"), OWN_NPM.to_owned()];
        run(command("npm", &tools)
            .args(["install", "--no-save", "--no-fund", "--no-audit", "--prefix", "."])
            .args(wanted))?;
    }
    let front = [own, modules.join(".bin")];
    std::env::join_paths(front.into_iter().chain(std::env::split_paths(&path)))
        .map_err(Failure::of("put Node.js on the PATH"))
}

/// Where the programs are that `xtask/LIST.txt` names, and the Python that has its libraries: an environment in the target directory,
/// made exactly as the list says. The list lies beside them once all of it is there.
pub(crate) fn listed(list: &str) -> Outcome<PathBuf> {
    let environment = target()?.join("tools").join(list);
    let wanted = root()?.join(format!("xtask/{list}.txt"));
    let names = fs::read(&wanted).map_err(Failure::of(format!("read {}", wanted.display())))?;
    let installed = environment.join("installed.txt");
    if !fs::read(&installed).is_ok_and(|installed| installed == names) {
        println!("Fetching what xtask/{list}.txt lists with pip");
        let _absent = fs::remove_dir_all(&environment);
        run(Command::new("python3").args(["-m", "venv"]).arg(&environment))?;
        let pip =
            ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--requirement"];
        run(Command::new(environment.join("bin/python")).args(pip).arg(&wanted))?;
        fs::write(&installed, names).map_err(Failure::of(format!("write {}", installed.display())))?;
    }
    Ok(environment.join("bin"))
}

/// The S3 server of the tests, and the other implementations that they compare with.
pub(crate) fn for_tests() -> Outcome {
    for list in ["moto", "peers"] {
        listed(list)?;
    }
    Ok(())
}

fn node_version(program: impl AsRef<OsStr>) -> Option<(u32, u32)> {
    let out = output(Command::new(program).arg("--version")).ok()?;
    version(&String::from_utf8_lossy(&out))
}

/// `v20.19.1` is (20, 19).
fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.trim().strip_prefix('v')?.split('.');
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

/// Whether cargo has this component, such as `fmt` or `clippy`.
pub(crate) fn cargo_has(component: &str, root: &Path) -> bool {
    succeeds(crate::process::cargo(root).args([component, "--version"]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn node_versions_compare_by_number() {
        assert!(version("v20.9.0\n") < Some(OLDEST_NODE));
        assert!(version("v20.19.0\n") >= Some(OLDEST_NODE));
        assert!(version("v22.1.0") >= Some(OLDEST_NODE));
        assert_eq!(version("not a version"), None);
    }
}
