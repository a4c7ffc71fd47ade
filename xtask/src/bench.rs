//! `cargo xtask bench`: measurements, always of the release build.

use std::ffi::OsString;

use embedded::{Postgres, Purpose, Settings};

use crate::machine::{Need, postgresql, provide, root, target};
use crate::process::{cargo, run as run_program};
use crate::{Failure, Outcome};

/// What can be measured.
const MEASUREMENTS: &str = "analytics, engine, events, orders, quote-log, replay";

pub(crate) fn run(mut args: lexopt::Parser) -> Outcome {
    let name = args.value().map_err(|_| Failure::new(format!("name a measurement: {MEASUREMENTS}")))?;
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
        Some("engine") => bench("engine", "engine"),
        Some("quote-log") => bench("providers", "quote_log"),
        Some("events") => events(&rest),
        Some("analytics") => crate::bench_analytics::run(&rest),
        Some("orders") => crate::bench_orders::run(&rest),
        _ => Err(Failure::new(format!("no measurement {}; there are: {MEASUREMENTS}", name.display()))),
    }
}

/// On a PostgreSQL as the product runs it; the Redis server is the measurement's own.
fn events(rest: &[OsString]) -> Outcome {
    provide(&[Need::PostgreSql, Need::Redis])?;
    let dir = target()?.join("bench-events");
    Postgres::erase(&dir)?;
    let server = Postgres::start(&Settings::new(&dir, Purpose::Kept, postgresql()?))?;
    let mut command = cargo(&root()?);
    command.args(["bench", "--quiet", "--package", "workers", "--bench", "events", "--"]).args(rest);
    let measured = run_program(command.env("TRADESENSE_TEST_DATABASE_URL", server.url("postgres")));
    let stopped = server.stop();
    let erased = Postgres::erase(&dir);
    measured.and(stopped.map_err(Failure::from)).and(erased.map_err(Failure::from))
}
