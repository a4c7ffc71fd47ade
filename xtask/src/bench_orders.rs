//! `cargo xtask bench orders` and `bench webhooks`: a private PostgreSQL as the product runs it, a database for the platform and
//! one for pgbench on it, and the load client (`crates/tradesense/benches`), which starts what it measures, measures both in turn
//! and prints the result.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use embedded::Postgres;

use crate::bench::on_a_server_of_its_own;
use crate::machine::{psql, root};
use crate::platform::Scratch;
use crate::process::{adopt_orphans, cargo, command, on_path, output, run as run_program, sweep};
use crate::{Failure, Outcome};

/// pgbench's own measure of its tables: a million rows.
const SCALE: &str = "10";

/// Runs the load client of that name beside pgbench.
pub(crate) fn run(name: &str, args: &[OsString]) -> Outcome {
    let root = root()?;
    let pgbench = pgbench().ok_or_else(|| {
        Failure::new("pgbench is missing; it comes with Debian's packages postgresql and postgresql-contrib")
    })?;
    adopt_orphans()?;
    // Before anything is measured beside it.
    run_program(cargo(&root).args([
        "bench",
        "--quiet",
        "--package",
        "tradesense",
        "--bench",
        name,
        "--no-run",
    ]))?;
    on_a_server_of_its_own(name, |server| measure(&root, server, &pgbench, name, args))
}

fn measure(root: &Path, server: &Postgres, pgbench: &Path, name: &str, args: &[OsString]) -> Outcome {
    let psql =
        psql().ok_or_else(|| Failure::new("psql is missing; install Debian's package postgresql-client"))?;
    output(
        command(psql, root)
            .args(["--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", "--dbname", &server.url("postgres")])
            .args(["-c", "create database platform", "-c", "create database pgbench"]),
    )?;
    output(
        command(pgbench, root)
            .args(["--initialize", "--quiet", "--scale", SCALE])
            .arg(server.url("pgbench"))
            .stderr(std::process::Stdio::null()),
    )?;
    let scratch = Scratch::new(&format!("bench-{name}"))?;
    let mut client = cargo(root);
    client
        .args(["bench", "--quiet", "--package", "tradesense", "--bench", name, "--"])
        .arg("--pgbench")
        .arg(pgbench)
        .arg("--data-dir")
        .arg(scratch.path())
        .args(args)
        .env("TRADESENSE_BENCH_PLATFORM_URL", server.url("platform"))
        .env("TRADESENSE_BENCH_PGBENCH_URL", server.url("pgbench"));
    let outcome = run_program(&mut client);
    // The platform writes into the scratch directory until it ends.
    sweep(&server.pid().map_or_else(Vec::new, |pid| vec![pid]));
    outcome
}

/// On the PATH, or the newest beside Debian's server programs.
pub(crate) fn pgbench() -> Option<PathBuf> {
    on_path("pgbench").or_else(|| {
        let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
        let mut found: Vec<PathBuf> = versions
            .map(|version| version.path().join("bin/pgbench"))
            .filter(|file| file.is_file())
            .collect();
        found.sort();
        found.pop()
    })
}
