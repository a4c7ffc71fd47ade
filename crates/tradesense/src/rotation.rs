//! New secrets without a failed request. A process looks again and again at the files that its secrets came from. Once one has changed it
//! tries all of them, beside what it goes on doing; if they are good it ends as if asked to, and becomes itself again with the new ones. Its
//! sockets are handed on ([`crate::listening`]): who connects in that second waits. Secrets that are not good change nothing but a figure.
//!
//! Starting again is the one way to take secrets, and every kind of them goes it: passwords of the database and of Redis, keys of
//! providers and what they sign with, keys that sign receipts and the log.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, UNIX_EPOCH};

use anyhow::Context as _;
use command_fds::{CommandFdExt as _, FdMapping};
use kernel::Rng;
use sha2::{Digest as _, Sha256};
use telemetry::metrics::Page;
use web::ops::Figures;

use crate::secret_files::Named;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(2);
/// Secrets that were not good are tried again so much later: what they open may only have been away.
const TRIED_AGAIN: Duration = Duration::from_mins(1);
/// Processes of one role do not all start again in one second.
const APART: Duration = Duration::from_secs(8);
/// The option of a role that reads everything, asks the database and Redis, and ends.
pub const ONLY_CHECK: &str = "--only-check";

/// Files that hold secrets.
#[derive(Debug, Clone, Default)]
pub struct Secrets {
    /// Those that are changed now and then, each with what people call it, such as `database-url`.
    pub passing: BTreeMap<PathBuf, String>,
    /// Keys that others know us by: they are changed for a reason, not for their age.
    pub lasting: BTreeSet<PathBuf>,
}

impl Secrets {
    /// What they hold, as one value; a file that is gone is a change too.
    pub(crate) fn digest(&self) -> [u8; 32] {
        self.digest_of(held)
    }

    /// The same of what this process took: those that variables name were read before anybody could ask for this.
    pub(crate) fn in_use(&self, named: &BTreeMap<PathBuf, Named>) -> [u8; 32] {
        self.digest_of(|path| named.get(path).map_or_else(|| held(path), |named| named.held))
    }

    fn digest_of(&self, held: impl Fn(&Path) -> [u8; 32]) -> [u8; 32] {
        let mut digest = Sha256::new();
        for path in self.passing.keys().chain(&self.lasting) {
            digest.update(Sha256::digest(path.as_os_str().as_encoded_bytes()));
            digest.update(held(path));
        }
        digest.finalize().into()
    }

    /// Since when each is what it is, and whether new ones wait that are not good.
    pub(crate) fn figures(&self, refused: Arc<AtomicBool>) -> Figures {
        let since: Vec<(String, u64)> = self
            .passing
            .iter()
            .filter_map(|(path, name)| {
                let written = std::fs::metadata(path).and_then(|file| file.modified()).ok()?;
                Some((name.clone(), written.duration_since(UNIX_EPOCH).ok()?.as_secs()))
            })
            .collect();
        Arc::new(move |page: &mut Page| {
            let name = "tradesense_secrets_refused";
            let is_refused = u64::from(refused.load(Ordering::Relaxed));
            page.gauge(name, "Whether secrets lie there that do not work; the ones before them are in use.")
                .sample(&[], is_refused);
            let mut ages = page.gauge("secret_loaded_timestamp", "When a secret that is in use was written.");
            for (name, seconds) in &since {
                ages.sample(&[("name", name.as_str())], seconds);
            }
        })
    }
}

/// The digest of what a file holds, of nothing if it is not there.
pub(crate) fn held(path: &Path) -> [u8; 32] {
    Sha256::digest(std::fs::read(path).unwrap_or_default()).into()
}

/// Ends once other secrets lie there than the known ones, and are found good. Gives the digest of what was found good.
pub(crate) async fn changed(
    known: [u8; 32],
    find: impl Fn() -> Secrets,
    refused: Arc<AtomicBool>,
    rng: &dyn Rng,
) -> [u8; 32] {
    let mut pause = LOOK;
    loop {
        tokio::time::sleep(pause).await;
        pause = LOOK;
        let seen = find().digest();
        if seen == known {
            refused.store(false, Ordering::Relaxed);
            continue;
        }
        // Several files of one change are written one after the other, and not everybody starts again in one second.
        let apart = u64::try_from(APART.as_millis()).unwrap_or_default();
        let mut bytes = [0; 8];
        rng.fill(&mut bytes);
        let wait = Duration::from_millis(u64::from_le_bytes(bytes).checked_rem(apart).unwrap_or_default());
        tokio::time::sleep(LOOK.saturating_add(wait)).await;
        if find().digest() != seen {
            continue;
        }
        match tried().await {
            Ok(()) => {
                tracing::info!("other secrets are there and good: starting again with them");
                return seen;
            }
            Err(error) => {
                refused.store(true, Ordering::Relaxed);
                tracing::error!(error = %format!("{error:#}"), "other secrets are there and not good: the ones before stay in use");
                pause = TRIED_AGAIN;
            }
        }
    }
}

/// Ends at once if what was found good is still what lies there. Others that came while this process was stopping are tried first;
/// it has nothing to go back to any more, so it waits until they are good.
pub(crate) async fn still_good(good: [u8; 32], find: impl Fn() -> Secrets) {
    let mut good = good;
    loop {
        let seen = find().digest();
        if seen == good {
            return;
        }
        match tried().await {
            Ok(()) => good = seen,
            Err(error) => {
                tracing::error!(error = %format!("{error:#}"), "secrets were changed once more, and are not good: waiting");
                tokio::time::sleep(LOOK).await;
            }
        }
    }
}

/// Whether this program would start with what lies there now.
async fn tried() -> anyhow::Result<()> {
    let program = std::env::current_exe().context("looking for this program")?;
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    let ran =
        tokio::task::spawn_blocking(move || Command::new(program).args(arguments).arg(ONLY_CHECK).output());
    let Output { status, stderr, .. } =
        ran.await.context("trying")?.context("running this program once more")?;
    let said = String::from_utf8_lossy(&stderr);
    anyhow::ensure!(status.success(), "{}", said.lines().last().unwrap_or("nothing was said"));
    Ok(())
}

/// Becomes this program again, with the sockets. Comes back only if that cannot be.
pub fn again(sockets: Vec<OwnedFd>) -> anyhow::Error {
    let becoming = || -> anyhow::Result<std::io::Error> {
        let mut program = Command::new(std::env::current_exe().context("looking for this program")?);
        program.args(std::env::args_os().skip(1));
        program
            .env("LISTEN_FDS", sockets.len().to_string())
            .env("LISTEN_PID", std::process::id().to_string());
        // The first three are for input, output and errors.
        let mappings = (3..).zip(sockets).map(|(child_fd, parent_fd)| FdMapping { parent_fd, child_fd });
        program.fd_mappings(mappings.collect()).context("handing the sockets on")?;
        Ok(program.exec())
    };
    match becoming() {
        Ok(error) => anyhow::Error::new(error).context("starting again"),
        Err(error) => error,
    }
}
