//! `cargo xtask bench`: measurements, always of the release build.

use std::ffi::OsString;

use crate::machine::root;
use crate::process::{cargo, run as run_program};
use crate::{Failure, Outcome};

pub(crate) fn run(mut args: lexopt::Parser) -> Outcome {
    let name = args.value().map_err(|_| Failure::new("name a measurement: replay, orders"))?;
    let rest: Vec<OsString> = args.raw_args()?.collect();
    match name.to_str() {
        Some("replay") => {
            let mut replay = cargo(&root()?);
            replay.args(["run", "--quiet", "--release", "--package", "tradesense", "--", "replay", "--json"]);
            run_program(replay.args(rest))
        }
        Some("orders") => crate::bench_orders::run(&rest),
        _ => Err(Failure::new(format!("no measurement {}; there are: replay, orders", name.display()))),
    }
}
