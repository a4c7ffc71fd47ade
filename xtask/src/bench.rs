//! `cargo xtask bench`: measurements, always of the release build.

use std::ffi::OsString;

use crate::machine::root;
use crate::process::{cargo, run as run_program};
use crate::{Failure, Outcome};

pub(crate) fn run(mut args: lexopt::Parser) -> Outcome {
    let name = args.value().map_err(|_| Failure::new("name a measurement: replay, quote-log"))?;
    let rest: Vec<OsString> = args.raw_args()?.collect();
    match name.to_str() {
        Some("replay") => {
            let mut replay = cargo(&root()?);
            replay.args(["run", "--quiet", "--release", "--package", "tradesense", "--", "replay", "--json"]);
            run_program(replay.args(rest))
        }
        Some("quote-log") => {
            let mut bench = cargo(&root()?);
            bench.args(["bench", "--quiet", "--package", "providers", "--bench", "quote_log", "--"]);
            run_program(bench.args(rest))
        }
        _ => Err(Failure::new(format!("no measurement {}; there are: replay, quote-log", name.display()))),
    }
}
