//! What can go wrong, said so that a newcomer knows what to install or change.

use std::io;
use std::path::PathBuf;

/// Why a private server could not be started, found or stopped.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No usable `postgres` and `initdb` on this machine.
    #[error(
        "no PostgreSQL server found (looked in {looked}); install it: Debian and Ubuntu `apt install \
         postgresql`, Fedora `dnf install postgresql-server`, macOS `brew install postgresql@17`; or name the \
         folder that holds `postgres` and `initdb`"
    )]
    NoBinaries {
        /// The folders that were looked at, with the reason where one was refused.
        looked: String,
    },
    /// The data was made by a major version whose binaries are gone.
    #[error(
        "the data in {} was made by PostgreSQL {made_by}, but only {found} is installed; install \
         postgresql-{made_by} or start with fresh data",
        dir.display()
    )]
    OtherMajor {
        /// The data directory.
        dir: PathBuf,
        /// Major version in its `PG_VERSION`.
        made_by: u32,
        /// Major versions that were found.
        found: String,
    },
    /// Root may not run PostgreSQL and there is no user to run it as.
    #[error(
        "PostgreSQL does not run as root and this machine has no user `postgres`; install Debian's package \
         postgresql-common (it makes the user), or run `useradd --system postgres`, or start as an ordinary user"
    )]
    NoServerUser,
    /// Another living process owns this directory.
    #[error("{} is in use by another process{owner}; stop that one first or choose another directory", dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
        /// `" (process 123)"`, or empty where the owner did not leave its number.
        owner: String,
    },
    /// The data is there but the file with the server's password is not.
    #[error("{} is missing, without it the data beside it cannot be opened; start with fresh data", path.display())]
    NoPassword {
        /// Where the password should be.
        path: PathBuf,
    },
    /// `initdb` failed.
    #[error("initdb could not make the database cluster: {output}")]
    Initialise {
        /// What `initdb` wrote.
        output: String,
    },
    /// The wanted port is taken by someone else.
    #[error("port {port} on 127.0.0.1 is taken by another program; choose another port")]
    PortTaken {
        /// The port.
        port: u16,
    },
    /// The server ended while starting.
    #[error("PostgreSQL ended while starting ({status}); the end of {}:\n{tail}", log.display())]
    Exited {
        /// How it ended.
        status: String,
        /// The log file.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },
    /// The server did not become ready in time.
    #[error("PostgreSQL was not ready after {seconds} s; the end of {}:\n{tail}", log.display())]
    NotReady {
        /// How long it was given.
        seconds: u64,
        /// The log file.
        log: PathBuf,
        /// Its last lines.
        tail: String,
    },
    /// The server did not follow the request to stop.
    #[error(
        "PostgreSQL (process {pid}) did not stop when asked and was killed; the next start recovers its data"
    )]
    Killed {
        /// The server's process.
        pid: u32,
    },
    /// A file or process operation failed.
    #[error("{operation}")]
    Io {
        /// What was being done, with the path.
        operation: String,
        /// The cause.
        #[source]
        source: io::Error,
    },
}

/// Names the failed operation: `.map_err(io("create the directory X"))`.
pub(crate) fn io(operation: impl Into<String>) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::Io { operation: operation.into(), source }
}
