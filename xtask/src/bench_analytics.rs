//! `cargo xtask bench analytics`: a private PostgreSQL as the product runs it, and the measurement
//! (`crates/tradesense/benches/analytics.rs`), which fills it, asks the boards over HTTP and the window function in turn,
//! and prints the result.

use std::ffi::OsString;

use crate::Outcome;
use crate::bench::on_a_server_of_its_own;
use crate::machine::root;
use crate::process::{adopt_orphans, cargo, run as run_program};

const BENCH: [&str; 6] = ["bench", "--quiet", "--package", "tradesense", "--bench", "analytics"];

pub(crate) fn run(args: &[OsString]) -> Outcome {
    let root = root()?;
    adopt_orphans()?;
    // Before anything is measured beside it.
    run_program(cargo(&root).args(BENCH).arg("--no-run"))?;
    on_a_server_of_its_own("analytics", |server| {
        let mut measurement = cargo(&root);
        measurement.args(BENCH).arg("--").args(args);
        run_program(measurement.env("TRADESENSE_BENCH_DATABASE_URL", server.url("postgres")))
    })
}
