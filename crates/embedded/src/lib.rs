//! Private server processes: a PostgreSQL of our own for `tradesense up`, for developers and for the tests.
//!
//! [`Postgres::start`] takes a directory and gives back a running server with its URL. It finds installed
//! binaries, makes the cluster on the first start, listens on 127.0.0.1 only (password over SCRAM, no Unix
//! socket), runs as the user `postgres` when called by root, and stops with its owner. An owner that was
//! killed leaves its server behind; the next start on the same directory stops that one cleanly and goes on
//! with the data. Two living owners of one directory are refused by a file lock.
//!
//! ```no_run
//! use embedded::{Binaries, Postgres, Purpose, Settings};
//!
//! let binaries = Binaries::search(std::env::var_os("PATH").as_deref(), &[]);
//! let settings = Settings::new("data/postgres", Purpose::Kept, binaries);
//! let server = Postgres::start(&settings)?;
//! let url = server.url("postgres");
//! server.stop()?;
//! # Ok::<(), embedded::Error>(())
//! ```
//!
//! Calls block the thread: from async code, go through a blocking task. The crate must not know SQL, sqlx,
//! tokio, the environment or what the databases are for: it hands out a superuser URL and callers create
//! their databases and roles with it. To add another server (say Redis), give it a module beside `server`
//! that reuses `place`, `account` and `process`.

mod account;
mod binaries;
mod error;
mod place;
mod process;
mod server;

pub use binaries::Binaries;
pub use error::Error;
pub use server::{Postgres, Purpose, Running, Settings};

/// A result of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;
