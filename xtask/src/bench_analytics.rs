//! `cargo xtask bench analytics`: a private PostgreSQL as the product runs it, and the measurement
//! (`crates/tradesense/benches/analytics.rs`), which fills it, asks the boards over HTTP and the window function in turn,
//! and prints the result.

use std::ffi::OsString;

use embedded::{Postgres, Purpose, Settings};

use crate::Outcome;
use crate::machine::{postgresql, root, target};
use crate::process::{adopt_orphans, cargo, run as run_program, sweep};

const BENCH: [&str; 6] = ["bench", "--quiet", "--package", "tradesense", "--bench", "analytics"];

pub(crate) fn run(args: &[OsString]) -> Outcome {
    let root = root()?;
    adopt_orphans()?;
    // Before anything is measured beside it.
    run_program(cargo(&root).args(BENCH).arg("--no-run"))?;
    let dir = target()?.join("bench-analytics");
    Postgres::erase(&dir)?;
    let server = Postgres::start(&Settings::new(dir, Purpose::Kept, postgresql()?))?;
    let mut measurement = cargo(&root);
    measurement.args(BENCH).arg("--").args(args).env("TRADESENSE_BENCH_DATABASE_URL", server.url("postgres"));
    let outcome = run_program(&mut measurement);
    sweep(&server.pid().map_or_else(Vec::new, |pid| vec![pid]));
    let dir = server.dir().to_path_buf();
    let stopped = server.stop();
    let erased = Postgres::erase(&dir);
    outcome.and(stopped.map_err(Into::into)).and(erased.map_err(Into::into))
}
