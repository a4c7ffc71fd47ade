//! Developer commands, run as `cargo xtask COMMAND`: start the platform, run the gate, regenerate files.
//!
//! It must not know the product's crates (it builds and runs them as programs) and must compile in seconds:
//! no HTTP client, no async. Every process it starts is stopped on every way out, see `process`.
//! To add a command: a module with `run(args) -> Outcome`, a line in [`HELP`] and in [`dispatch`].
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program talks on its terminal"
)]

mod bare;
mod bench;
mod bench_analytics;
mod bench_orders;
mod bench_roles;
mod cluster;
mod codegen;
mod controls;
mod db;
mod gate;
mod machine;
mod monitoring;
mod platform;
mod process;
mod tally;
mod ui;
mod up;
mod verify;

use std::process::ExitCode;

use lexopt::Arg;

const HELP: &str = "\
Developer commands of TradeSense

  cargo xtask up [--fresh] [--port N] [--debug] [-- ARGS]
      Build and start the platform on embedded defaults: http://localhost:8000. On Debian and Ubuntu
      missing packages are installed first. --fresh drops the data of earlier runs, --debug builds
      without optimisation, ARGS go to `tradesense up` as they are.
  cargo xtask cluster [--fresh] [--port N] [--debug]
      Start the platform as several processes behind nginx, over a PostgreSQL and a Redis of their own, and
      print their numbers. Missing packages are installed as `up` does.
  cargo xtask test [--quick]
      The whole gate, as CI runs it: format, lints, generated files, tests on a private PostgreSQL, query
      data, user interface, browser journey. --quick: only format, lints and the Rust tests.
  cargo xtask codegen [--check]
      Regenerate api/openapi.json from the code and the typed client in ui/ from it.
      --check changes nothing and fails where a file is out of date.
  cargo xtask controls [--gaps]
      Count what frameworks ask for and whether it is met (docs/compliance), and check that every test and path
      named there exists. --gaps lists what lacks. The gate checks besides that each of the tests ran.
  cargo xtask monitoring [--check]
      Make rules, their tests, runbooks and dashboards from the tables in deployment/monitoring.
  cargo xtask backtest --prometheus URL
      Replay the last week of an installation against the API's autoscaler with the forecast of its load and
      without, and say what each was short of and cost.
  cargo xtask db prepare [--check]
      Regenerate crates/store/.sqlx from the migrations and the checked queries.
  cargo xtask db up | url | down
      A development database below target/dev-db: start it, print its URL, stop it.
  cargo xtask bench replay --ticks DIR
      Measure the replay of a folder of ticks with the release build.
  cargo xtask bench quote-log [--dir DIR]
      Measure appends to the quote log (and a bare file) on a disk, reading it and archiving it.
  cargo xtask bench audit
      Measure verifying an export of the audit log on one core, proofs made from tiles, and sealing beside plain inserts.
  cargo xtask bench engine [--synthetic [SHAPE] | --ticks DIR] [--accounts N] [--instruments M]
                           [--trailing-share X] [--length N] [--seed S] [--check] [--alone]
      Measure how many accounts are watched on how many ticks, beside the ways without an index. SHAPE is
      walk, gap, oscillation, herd, spread or crash. --check compares what was found with the posting list.
  cargo xtask bench engine --differential [--synthetic SHAPE | --ticks DIR] [--accounts N] [--length N] [--seed S]
      Run the whole engine beside the scan of everybody and compare every event, answer and state.
  cargo xtask bench orders [--concurrency 1,8,32,64] [--seconds 10] [--accounts 64] [--seed S]
      Measure durable orders per second over HTTP beside pgbench on the same private PostgreSQL, and print
      one JSON object. docs/PERFORMANCE.md explains it.
  cargo xtask bench events [SECONDS] [--held SECONDS]
      Measure messages and jobs per second and how long each waits, beside pgbench and bare appends to
      Redis on the same private servers, and print one JSON object.
  cargo xtask bench analytics [--accounts 1000000] [--seconds 10] [--connections 8] [--positions 100000]
      Measure the rank of anyone and the top 100 over HTTP beside PostgreSQL's window function on the same
      rows, and print one JSON object. docs/PERFORMANCE.md explains it.
  cargo xtask bench roles [--seconds 10] [--connections 16]
      Measure what each role takes of a processor and of memory, idle and for each question of a kind.
  cargo xtask verify deployment [--quick] | NAME..
      Check the production files as they would be applied, and run them: manifests without a cluster, the compose file's
      services as processes, the images, both edges before a real platform, Prometheus and Alertmanager over
      all roles, the release's scripts. As root on Linux, with kubectl 1.32, Python 3 and Prometheus; TRADESENSE_PROGRAM
      names another build than debug. --quick leaves out what compiles everything or waits for minutes. `cost` prints what each place costs in a month.
  cargo xtask verify-bare [--suite NAME] [--minutes N]
      Follow the README in a bare Debian made by debootstrap, as root, and print how long it took.

`cargo xtask db url` gives what the tests need to run alone:
  TRADESENSE_TEST_DATABASE_URL=$(cargo xtask db url) cargo test -p store
";

/// What went wrong, ready to be printed.
pub(crate) struct Failure(String);

/// The result of a command or a step of one.
pub(crate) type Outcome<T = ()> = Result<T, Failure>;

impl Failure {
    pub(crate) fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// `.map_err(Failure::of("read FILE"))` names the operation before its cause.
    pub(crate) fn of<E: std::error::Error>(operation: impl Into<String>) -> impl FnOnce(E) -> Self {
        move |error| Self(format!("{}: {}", operation.into(), with_causes(&error)))
    }
}

impl From<lexopt::Error> for Failure {
    fn from(error: lexopt::Error) -> Self {
        Self(format!("{error}; see `cargo xtask help`"))
    }
}

impl From<embedded::Error> for Failure {
    fn from(error: embedded::Error) -> Self {
        Self(with_causes(&error))
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text.push_str(": ");
        text.push_str(&inner.to_string());
        cause = inner.source();
    }
    text
}

fn main() -> ExitCode {
    let outcome = process::watch_signals().and_then(|()| dispatch(lexopt::Parser::from_env()));
    match outcome {
        _ if process::interrupted() => ExitCode::from(130),
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure(text)) => {
            eprintln!("xtask: {text}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(mut args: lexopt::Parser) -> Outcome {
    let Some(first) = args.next()? else {
        print!("{HELP}");
        return Ok(());
    };
    match first {
        Arg::Short('h') | Arg::Long("help") => print!("{HELP}"),
        Arg::Value(command) => match command.to_str().unwrap_or_default() {
            "help" => print!("{HELP}"),
            "up" => up::run(args)?,
            "test" => gate::run(args)?,
            "cluster" => cluster::run(args)?,
            "codegen" => codegen::run(args)?,
            "controls" => controls::run(args)?,
            "db" => db::run(args)?,
            "monitoring" => monitoring::run(args)?,
            "verify" => verify::run(args)?,
            "backtest" => verify::backtest(args)?,
            "bench" => bench::run(args)?,
            "verify-bare" => bare::run(args)?,
            _ => {
                return Err(Failure::new(format!(
                    "no command {}; see `cargo xtask help`",
                    command.display()
                )));
            }
        },
        Arg::Short(_) | Arg::Long(_) => return Err(first.unexpected().into()),
    }
    Ok(())
}

/// Reads the one flag that a command may have.
pub(crate) fn only_flag(mut args: lexopt::Parser, name: &str) -> Outcome<bool> {
    let mut given = false;
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long(flag) if flag == name => given = true,
            Arg::Long(_) | Arg::Short(_) | Arg::Value(_) => return Err(arg.unexpected().into()),
        }
    }
    Ok(given)
}
