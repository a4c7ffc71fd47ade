//! `cargo xtask up`: from a clone to a running platform.

use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::process::Command;

use lexopt::Arg;

use crate::machine::{Need, provide, root, target};
use crate::process::{cargo, run as run_program};
use crate::ui::Ui;
use crate::{Failure, Outcome};

pub(crate) fn run(args: lexopt::Parser) -> Outcome {
    let (optimised, forwarded) = read(args)?;
    let root = root()?;
    provide(&[Need::PostgreSql, Need::Node])?;
    println!("Building the user interface");
    Ui::ready(&root)?.build()?;
    println!("Building tradesense (the first time takes some minutes)");
    let mut build = cargo(&root);
    build.args(["build", "--package", "tradesense", "--features", "ui"]);
    if optimised {
        build.arg("--release");
    }
    run_program(&mut build)?;
    let folder = if optimised { "release" } else { "debug" };
    let program = target()?.join(folder).join("tradesense");
    // It takes our place: signals and the exit code are its own.
    let error = Command::new(&program).current_dir(&root).arg("up").args(forwarded).exec();
    Err(Failure::of(format!("start {}", program.display()))(error))
}

/// Whether to optimise, and what `tradesense up` is given.
fn read(mut args: lexopt::Parser) -> Outcome<(bool, Vec<OsString>)> {
    let mut optimised = true;
    let mut forwarded = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("debug") => optimised = false,
            Arg::Long("fresh") => forwarded.push("--fresh".into()),
            Arg::Long("port") => forwarded.extend(["--port".into(), args.value()?]),
            // What follows `--` arrives as values.
            Arg::Value(value) => {
                forwarded.push(value);
                forwarded.extend(args.raw_args()?);
            }
            Arg::Long(_) | Arg::Short(_) => return Err(arg.unexpected().into()),
        }
    }
    Ok((optimised, forwarded))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_flags_and_everything_behind_two_dashes_go_to_the_platform() {
        let args = ["--debug", "--port", "9000", "--fresh", "--", "--feed", "--seed=7"];
        let (optimised, forwarded) = read(lexopt::Parser::from_args(args)).unwrap_or_default();
        assert!(!optimised);
        assert_eq!(forwarded, ["--port", "9000", "--fresh", "--feed", "--seed=7"]);
        assert!(read(lexopt::Parser::from_args(["--nonsense"])).is_err());
    }
}
