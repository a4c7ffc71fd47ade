//! Programs that we run, and the promise that none outlives us.
//!
//! We make ourselves the parent of every orphan below us ([`adopt_orphans`]), so whatever a test or a build
//! tool leaves behind is still found in our process tree and ended by [`sweep`]. A signal ends the whole
//! tree; the main thread then leaves through its ordinary error path, which stops servers and removes files.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::{Failure, Outcome};

static INTERRUPTED: AtomicBool = AtomicBool::new(false);

/// On Ctrl-C, a request to end or a closed terminal: ends every process below us, by force the second time.
pub(crate) fn watch_signals() -> Outcome {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP]).map_err(Failure::of("watch for signals"))?;
    thread::spawn(move || {
        let mut how = Signal::TERM;
        for _ in signals.forever() {
            INTERRUPTED.store(true, Ordering::SeqCst);
            eprintln!("xtask: stopping");
            signal_all(how);
            how = Signal::KILL;
        }
    });
    Ok(())
}

/// Whether we were asked to stop.
pub(crate) fn interrupted() -> bool {
    INTERRUPTED.load(Ordering::SeqCst)
}

/// Makes every orphan below us our own child, so that [`sweep`] finds it.
pub(crate) fn adopt_orphans() -> Outcome {
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(Pid::INIT)).map_err(Failure::of("adopt orphans"))?;
    Ok(())
}

/// Ends whatever still runs below us, kindly first, except the given servers and what they started.
pub(crate) fn sweep(except: &[u32]) {
    let spared = |pid: &u32| except.contains(pid);
    let left = || -> Vec<u32> {
        let tree = Tree::read();
        let spare: Vec<u32> = except.iter().flat_map(|pid| tree.below(*pid)).collect();
        tree.below(std::process::id())
            .into_iter()
            .filter(|pid| !spared(pid) && !spare.contains(pid))
            .collect()
    };
    for how in [Signal::TERM, Signal::QUIT, Signal::KILL] {
        for pid in left() {
            send(pid, how);
        }
        if poll(Duration::from_secs(5), || left().is_empty().then_some(())).is_some() {
            return;
        }
    }
}

/// A program in a directory with nothing to read; its output goes where ours goes.
pub(crate) fn command(program: impl AsRef<OsStr>, dir: &Path) -> Command {
    let mut command = Command::new(program);
    command.current_dir(dir).stdin(Stdio::null());
    command
}

/// Everything that it prints goes into a file of its own.
pub(crate) fn log_to(command: &mut Command, log: &Path) -> Outcome {
    let opened = || Failure::of(format!("write {}", log.display()));
    let out = fs::File::create(log).map_err(opened())?;
    let err = out.try_clone().map_err(opened())?;
    command.stdout(out).stderr(err);
    Ok(())
}

/// The cargo that runs us.
pub(crate) fn cargo(root: &Path) -> Command {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = command(program, root);
    // Checked queries are verified against the committed data, whatever database the developer has.
    command.env("SQLX_OFFLINE", "true").env_remove("DATABASE_URL");
    command
}

/// Runs a program to its end; fails where it fails.
pub(crate) fn run(command: &mut Command) -> Outcome {
    let mut child = spawn(command)?;
    finish(&mut child, command)
}

/// Runs a program to its end, showing what it prints and giving every line to `each`.
pub(crate) fn run_reading(command: &mut Command, mut each: impl FnMut(&str)) -> Outcome {
    let mut child = spawn(command.stdout(Stdio::piped()))?;
    if let Some(out) = child.stdout.take() {
        for line in BufReader::new(out).split(b'\n') {
            let line = line.map_err(Failure::of("read the program's output"))?;
            let line = String::from_utf8_lossy(&line);
            println!("{line}");
            each(&line);
        }
    }
    finish(&mut child, command)
}

/// Runs a program to its end and gives what it printed.
pub(crate) fn output(command: &mut Command) -> Outcome<Vec<u8>> {
    let child = spawn(command.stdout(Stdio::piped()))?;
    let out = child.wait_with_output().map_err(Failure::of("wait for the program"))?;
    if out.status.success() { Ok(out.stdout) } else { Err(failed(command, &out.status.to_string())) }
}

/// Whether a program runs and succeeds, unseen.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

/// Starts a program.
pub(crate) fn spawn(command: &mut Command) -> Outcome<Child> {
    if interrupted() {
        return Err(Failure::new("stopped"));
    }
    let named = named(command);
    let child = command.spawn().map_err(Failure::of(format!("start {named}")))?;
    if interrupted() {
        // The signal may have come before the program was there to receive it.
        send(child.id(), Signal::TERM);
    }
    Ok(child)
}

fn finish(child: &mut Child, command: &Command) -> Outcome {
    let status = child.wait().map_err(Failure::of("wait for the program"))?;
    if status.success() { Ok(()) } else { Err(failed(command, &status.to_string())) }
}

fn failed(command: &Command, status: &str) -> Failure {
    Failure::new(format!("{} failed ({status})", named(command)))
}

fn named(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or_default();
    let words = std::iter::once(program).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// A server of ours that stops with its owner.
pub(crate) struct Server {
    child: Child,
}

impl Server {
    pub(crate) fn start(command: &mut Command) -> Outcome<Self> {
        Ok(Self { child: spawn(command)? })
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it ended by itself.
    pub(crate) fn ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits until it ends by itself, at most for this long; fails where it does not end well.
    pub(crate) fn wait_for_end(mut self, at_most: Duration) -> Outcome {
        match poll(at_most, || self.child.try_wait().ok().flatten()) {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(Failure::new(format!("it ended with {status}"))),
            None => Err(Failure::new(format!("it did not end within {} s", at_most.as_secs()))),
        }
    }

    /// Asks it to stop as Ctrl-C does; fails where it does not end well.
    pub(crate) fn stop(mut self) -> Outcome {
        send(self.child.id(), Signal::INT);
        let ended = poll(Duration::from_secs(30), || self.child.try_wait().ok().flatten());
        match ended {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(Failure::new(format!("the server ended with {status} when asked to stop"))),
            None => Err(Failure::new("the server did not stop within 30 s of being asked")),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        for how in [Signal::INT, Signal::KILL] {
            if self.ended() {
                return;
            }
            send(self.child.id(), how);
            poll(Duration::from_secs(30), || self.ended().then_some(()));
        }
    }
}

/// Presses Ctrl-C for the one program that the shell below this process runs.
pub(crate) fn interrupt_grandchild(pid: u32) -> Outcome {
    let tree = Tree::read();
    let only = |pid: u32| match tree.children.get(&pid).map(Vec::as_slice) {
        Some([one]) => Some(*one),
        _ => None,
    };
    let program =
        only(pid).and_then(only).ok_or_else(|| Failure::new("the program to interrupt is not there"))?;
    send(program, Signal::INT);
    Ok(())
}

/// Looks until the condition gives something, at most for this long.
pub(crate) fn poll<T>(at_most: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let started = now();
    loop {
        let met = condition();
        if met.is_some() || started.elapsed() > at_most {
            return met;
        }
        thread::sleep(Duration::from_millis(20));
    }
}

/// The time for durations that people read.
#[expect(clippy::disallowed_methods, reason = "a developer command tells how long its steps took")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Where a program lies on the PATH.
pub(crate) fn on_path(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(program)).find(|file| file.is_file())
}

fn signal_all(how: Signal) {
    for pid in Tree::read().below(std::process::id()) {
        send(pid, how);
    }
}

fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended by itself a moment ago, which is what we are after.
        let _gone = kill_process(pid, signal);
    }
}

/// Who started whom, of the processes that live. Empty on systems without /proc.
struct Tree {
    children: HashMap<u32, Vec<u32>>,
}

impl Tree {
    fn read() -> Self {
        let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
        for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
            let pid = entry.file_name().to_str().and_then(|name| name.parse().ok());
            let parent = fs::read_to_string(entry.path().join("stat")).ok().as_deref().and_then(live_parent);
            if let (Some(pid), Some(parent)) = (pid, parent) {
                children.entry(parent).or_default().push(pid);
            }
        }
        Self { children }
    }

    /// Every process below this one.
    fn below(&self, pid: u32) -> Vec<u32> {
        let mut all: Vec<u32> = self.children.get(&pid).cloned().unwrap_or_default();
        let mut next = 0_usize;
        while let Some(pid) = all.get(next).copied() {
            all.extend(self.children.get(&pid).into_iter().flatten());
            next = next.saturating_add(1);
        }
        all
    }
}

/// The parent in a line of /proc/PID/stat: `7 (name with spaces) S 1 ...`; `None` for a dead process that
/// only waits to be collected.
fn live_parent(stat: &str) -> Option<u32> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
    let state = fields.next()?;
    if state == "Z" || state == "X" {
        return None;
    }
    fields.next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parent_is_read_past_any_name_and_not_for_the_dead() {
        assert_eq!(live_parent("7 (a) b (c) S 3 7 7 0"), Some(3));
        assert_eq!(live_parent("7 (sh) Z 3 7 7 0"), None);
        assert_eq!(live_parent("nonsense"), None);
    }

    #[test]
    fn a_grandchild_that_lost_its_parent_is_swept_and_a_spared_server_is_not() {
        adopt_orphans().unwrap_or_else(|Failure(text)| panic!("{text}"));
        let mut spared = Command::new("sleep").arg("60").spawn().unwrap();
        let shell = Command::new("sh")
            .args(["-c", "sleep 60 >/dev/null 2>&1 & echo $!"])
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let orphan: u32 = String::from_utf8(shell.stdout).unwrap().trim().parse().unwrap();
        assert!(Tree::read().below(std::process::id()).contains(&orphan));
        sweep(&[spared.id()]);
        let left = Tree::read().below(std::process::id());
        assert!(!left.contains(&orphan));
        assert!(left.contains(&spared.id()));
        sweep(&[]);
        assert!(!spared.wait().unwrap().success());
    }
}
