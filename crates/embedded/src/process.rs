//! Waiting for and signalling server processes, by their own number only.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

/// Between two looks at a condition.
const LOOK: Duration = Duration::from_millis(20);

/// Looks until the condition gives something, at most for about this long. Counting looks instead of reading
/// a clock keeps this crate free of time.
pub(crate) fn wait_for<T>(at_most: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let looks = at_most.as_millis().div_ceil(LOOK.as_millis());
    for _ in 0..looks {
        if let Some(met) = condition() {
            return Some(met);
        }
        thread::sleep(LOOK);
    }
    condition()
}

/// Sends a signal; a process that is gone already is fine.
pub(crate) fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = number(pid) {
        // The only failure left is "no such process", and gone is what the caller is after.
        let _gone = kill_process(pid, signal);
    }
}

/// Whether a process of this number lives.
pub(crate) fn lives(pid: u32) -> bool {
    number(pid).is_some_and(|pid| test_kill_process(pid).is_ok())
}

fn number(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// The processes that work in this directory: a PostgreSQL and all its backends stand in their data
/// directory. Empty on systems without /proc.
pub(crate) fn working_in(dir: &Path) -> Vec<u32> {
    let Ok(dir) = fs::canonicalize(dir) else { return Vec::new() };
    fs::read_dir("/proc")
        .into_iter()
        .flatten()
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid| stands_in(*pid, &dir))
        .collect()
}

/// Whether this process works in this directory; `None` on systems without /proc.
pub(crate) fn works_in(pid: u32, dir: &Path) -> Option<bool> {
    Path::new("/proc/self/cwd").exists().then(|| fs::canonicalize(dir).is_ok_and(|dir| stands_in(pid, &dir)))
}

fn stands_in(pid: u32, canonical: &Path) -> bool {
    fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == canonical)
}
