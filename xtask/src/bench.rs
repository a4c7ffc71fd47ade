//! `cargo xtask bench`: measurements, always of the release build.

use std::ffi::OsString;

use embedded::{Postgres, Purpose, Settings};

use crate::machine::{Need, postgresql, provide, root, target};
use crate::process::{adopt_orphans, cargo, output, run as run_program, sweep};
use crate::{Failure, Outcome};

/// What can be measured.
const MEASUREMENTS: &str = "analytics, audit, engine, events, orders, quote-log, replay, roles, webhooks";

pub(crate) fn run(mut args: lexopt::Parser) -> Outcome {
    let name = args.value().map_err(|_| Failure::new(format!("name a measurement: {MEASUREMENTS}")))?;
    if name == "roles" {
        return crate::bench_roles::run(args);
    }
    let rest: Vec<OsString> = args.raw_args()?.collect();
    let bench = |package: &str, bench: &str| -> Outcome {
        let mut command = cargo(&root()?);
        command.args(["bench", "--quiet", "--package", package, "--bench", bench, "--"]);
        run_program(command.args(&rest))
    };
    match name.to_str() {
        Some("replay") => {
            let mut replay = cargo(&root()?);
            replay.args(["run", "--quiet", "--release", "--package", "tradesense", "--", "replay", "--json"]);
            run_program(replay.args(&rest))
        }
        Some("audit") => audit(),
        Some("engine") => bench("engine", "engine"),
        Some("quote-log") => bench("providers", "quote_log"),
        Some("events") => events(&rest),
        Some("analytics") => crate::bench_analytics::run(&rest),
        Some(name @ ("orders" | "webhooks")) => crate::bench_orders::run(name, &rest),
        _ => Err(Failure::new(format!("no measurement {}; there are: {MEASUREMENTS}", name.display()))),
    }
}

/// The pure part alone, then the sealer on a PostgreSQL as the product runs it; one JSON object of both.
fn audit() -> Outcome {
    provide(&[Need::PostgreSql])?;
    adopt_orphans()?;
    let root = root()?;
    let bench = |package: &str, name: &str| {
        let mut command = cargo(&root);
        command.args(["bench", "--quiet", "--package", package, "--bench", name]);
        command
    };
    run_program(bench("workers", "sealing").arg("--no-run"))?;
    let pure = text(output(&mut bench("audit", "audit"))?)?;
    on_a_server_of_its_own("audit", |server| {
        let url = server.url("postgres");
        let sealing = text(output(bench("workers", "sealing").env("TRADESENSE_TEST_DATABASE_URL", url))?)?;
        let (pure, sealing) = (pure.trim_end_matches('}'), sealing.trim_start_matches('{'));
        println!("{pure},{sealing}");
        Ok(())
    })
}

/// The last line of what a measurement printed.
fn text(printed: Vec<u8>) -> Outcome<String> {
    let printed = String::from_utf8(printed).map_err(Failure::of("reading what was measured"))?;
    Ok(printed.trim().lines().last().unwrap_or_default().to_owned())
}

/// On a PostgreSQL as the product runs it; the Redis server is the measurement's own.
fn events(rest: &[OsString]) -> Outcome {
    provide(&[Need::PostgreSql, Need::Redis])?;
    adopt_orphans()?;
    on_a_server_of_its_own("events", |server| {
        let mut command = cargo(&root()?);
        command.args(["bench", "--quiet", "--package", "workers", "--bench", "events", "--"]).args(rest);
        if let Some(pgbench) = crate::bench_orders::pgbench() {
            command.env("TRADESENSE_BENCH_PGBENCH", pgbench);
        }
        run_program(command.env("TRADESENSE_TEST_DATABASE_URL", server.url("postgres")))
    })
}

/// Measures on an empty PostgreSQL as the product runs it, and removes it.
pub(crate) fn on_a_server_of_its_own(name: &str, measure: impl FnOnce(&Postgres) -> Outcome) -> Outcome {
    let dir = target()?.join(format!("bench-{name}"));
    Postgres::erase(&dir)?;
    let server = Postgres::start(&Settings::new(dir, Purpose::Kept, postgresql()?))?;
    let outcome = measure(&server);
    sweep(&server.pid().map_or_else(Vec::new, |pid| vec![pid]));
    let dir = server.dir().to_path_buf();
    let stopped = server.stop();
    let erased = Postgres::erase(&dir);
    outcome.and(stopped.map_err(Failure::from)).and(erased.map_err(Failure::from))
}
