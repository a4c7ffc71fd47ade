//! `cargo xtask verify-bare`: does the README hold on a machine that has nothing but git and Rust?
//!
//! A bare Debian is made below the temporary directory, the committed tree is cloned into it, and both
//! commands of the README run there. Each runs in its own mount and process namespace, so that mounts and
//! processes vanish with it however it ends, and removing the tree can never reach through a mount.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use lexopt::{Arg, ValueExt};

use crate::machine::root;
use crate::platform::{Scratch, free_port, is_ready};
use crate::process::{
    Server, adopt_orphans, command, interrupt_grandchild, interrupted, now, on_path, poll,
    run as run_program, sweep,
};
use crate::{Failure, Outcome};

/// What git and a Rust toolchain mean on Debian: rustc needs a linker and the C library's headers.
const BARE: &str = "--include=git,ca-certificates,gcc,libc6-dev";
/// Settings of the host's network that programs inside need as well.
const NETWORK: [&str; 9] = [
    "http_proxy",
    "https_proxy",
    "no_proxy",
    "HTTP_PROXY",
    "HTTPS_PROXY",
    "NO_PROXY",
    "SSL_CERT_FILE",
    "NODE_EXTRA_CA_CERTS",
    "CARGO_HTTP_CAINFO",
];

pub(crate) fn run(mut args: lexopt::Parser) -> Outcome {
    let mut suite = OsString::from("bookworm");
    let mut minutes = 40_u64;
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("suite") => suite = args.value()?,
            Arg::Long("minutes") => {
                let text = args.value()?.string()?;
                minutes = text.parse().map_err(Failure::of(format!("read the number of minutes {text}")))?;
            }
            Arg::Long(_) | Arg::Short(_) | Arg::Value(_) => return Err(arg.unexpected().into()),
        }
    }
    if !rustix::process::geteuid().is_root() {
        return Err(Failure::new("making a bare system needs root"));
    }
    for program in ["debootstrap", "unshare", "git"] {
        if on_path(program).is_none() {
            return Err(Failure::new(format!(
                "{program} is missing; install it with apt-get install {program}"
            )));
        }
    }
    adopt_orphans()?;
    let outcome = verify(&suite, Duration::from_secs(minutes.saturating_mul(60)));
    sweep(&[]);
    outcome
}

fn verify(suite: &OsString, limit: Duration) -> Outcome {
    let root = root()?;
    let started = now();
    let scratch = Scratch::new("bare")?;
    let bare = Bare { dir: scratch.path().join("root"), toolchain: toolchain()? };

    run_program(command("debootstrap", &root).args(["--variant=minbase", BARE]).arg(suite).arg(&bare.dir))?;
    bare.copy("/etc/resolv.conf")?;
    bare.copy("/etc/hosts")?;
    bare.copy("/etc/ssl/certs/ca-certificates.crt")?;
    for (_, inside) in &bare.toolchain {
        let inside = bare.inside(inside);
        fs::create_dir_all(&inside).map_err(Failure::of(format!("create {}", inside.display())))?;
    }
    run_program(command("git", &root).args(["clone", "--quiet", "."]).arg(bare.inside("/root/tradesense")))?;
    let made = started.elapsed();

    let left = || limit.saturating_sub(started.elapsed());
    let port = free_port()?;
    let before_up = now();
    let mut up = Server::start(&mut bare.command(&format!("cargo xtask up --port {port}")))?;
    let ready = poll(left(), || match (up.ended() || interrupted(), is_ready(port)) {
        (true, _) => Some(false),
        (false, true) => Some(true),
        (false, false) => None,
    });
    if ready != Some(true) {
        return Err(Failure::new(format!(
            "`cargo xtask up` was not ready after {}",
            told(before_up.elapsed())
        )));
    }
    let up_took = before_up.elapsed();
    println!("=== `cargo xtask up` is ready after {}", told(up_took));
    interrupt_grandchild(up.pid())?;
    up.wait_for_end(Duration::from_mins(1))?;

    let before_test = now();
    Server::start(&mut bare.command("env CI=true .ci/run"))?.wait_for_end(left())?;
    println!("=== bare {} system made in {}", suite.display(), told(made));
    println!("=== cargo xtask up: ready after {}", told(up_took));
    println!("=== cargo xtask test: passed in {}", told(before_test.elapsed()));
    Ok(())
}

/// The bare system.
struct Bare {
    dir: PathBuf,
    /// The host's folders of the Rust toolchain and where they are seen inside.
    toolchain: [(PathBuf, &'static str); 2],
}

impl Bare {
    fn inside(&self, path: &str) -> PathBuf {
        self.dir.join(path.trim_start_matches('/'))
    }

    fn copy(&self, path: &str) -> Outcome {
        let to = self.inside(path);
        fs::copy(path, &to).map(|_| ()).map_err(Failure::of(format!("copy {path} to {}", to.display())))
    }

    /// A shell command in the cloned tree, in namespaces of its own.
    fn command(&self, line: &str) -> Command {
        let mount = |what: &str, inside: &str| format!("mount {what} {}", quoted(&self.inside(inside)));
        let mut script = vec!["set -e".into(), mount("-t proc proc", "/proc"), mount("--bind /dev", "/dev")];
        for (host, inside) in &self.toolchain {
            script.push(mount(&format!("--bind {}", quoted(host)), inside));
        }
        let clean = "env -i HOME=/root PATH=/root/.cargo/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
        let network: Vec<String> = NETWORK
            .iter()
            .filter_map(|name| Some((name, std::env::var_os(name)?)))
            .map(|(name, value)| format!("{name}={}", quoted(Path::new(&value))))
            .collect();
        // The shell stays: it is the first process inside and passes the result on.
        let inner = quoted(Path::new(&format!("cd /root/tradesense && exec {line}")));
        let dir = quoted(&self.dir);
        script.push(format!("chroot {dir} {clean} {} sh -c {inner}", network.join(" ")));
        script.push("exit $?".into());
        let mut command = command("unshare", &self.dir);
        command.args(["--mount", "--pid", "--fork", "--kill-child", "sh", "-c", &script.join("\n")]);
        command
    }
}

/// The host's cargo and rustup folders.
fn toolchain() -> Outcome<[(PathBuf, &'static str); 2]> {
    let home = std::env::home_dir().ok_or_else(|| Failure::new("find the home directory"))?;
    let folder = |name: &str, usual: &str| {
        let folder = std::env::var_os(name).map_or_else(|| home.join(usual), PathBuf::from);
        if folder.is_dir() {
            Ok(folder)
        } else {
            Err(Failure::new(format!("{} is missing", folder.display())))
        }
    };
    Ok([
        (folder("CARGO_HOME", ".cargo")?, "/root/.cargo"),
        (folder("RUSTUP_HOME", ".rustup")?, "/root/.rustup"),
    ])
}

/// One word for the shell.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}

fn told(time: Duration) -> String {
    let seconds = time.as_secs();
    format!("{} min {:02} s", seconds / 60, seconds % 60)
}
