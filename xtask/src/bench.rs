//! `cargo xtask bench`: measurements, always of the release build.

use std::ffi::OsString;

use crate::machine::root;
use crate::process::{cargo, run as run_program};
use crate::{Failure, Outcome};

/// What can be measured.
const MEASUREMENTS: &str = "analytics, engine, orders, quote-log, replay";

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
        Some("analytics") => crate::bench_analytics::run(&rest),
        Some("orders") => crate::bench_orders::run(&rest),
        _ => Err(Failure::new(format!("no measurement {}; there are: {MEASUREMENTS}", name.display()))),
    }
}
