//! `cargo xtask test`: everything that must hold before a change lands, in the order of cheapest first.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use embedded::Postgres;

use crate::controls::{self, Ran};
use crate::machine::{Need, cargo_has, chromium, for_tests, provide, root, target};
use crate::platform::{Scratch, free_port, start};
use crate::process::{adopt_orphans, cargo, interrupted, now, run as run_program, run_reading, sweep};
use crate::tally::{self, Tally};
use crate::ui::Ui;
use crate::{Failure, Outcome, codegen, db, monitoring, only_flag};

pub(crate) fn run(args: lexopt::Parser) -> Outcome {
    let quick = only_flag(args, "quick")?;
    let root = root()?;
    adopt_orphans()?;
    let mut gate =
        Gate { root, lines: Vec::new(), tally: Tally::default(), ran: Ran::default(), server: None };
    let outcome = if quick { gate.quick() } else { gate.whole() };
    let closed = gate.close();
    let outcome = outcome.and(closed);
    sweep(&[]);
    gate.summary(outcome)
}

/// The steps so far.
struct Gate {
    root: PathBuf,
    lines: Vec<String>,
    tally: Tally,
    ran: Ran,
    server: Option<Postgres>,
}

impl Gate {
    fn quick(&mut self) -> Outcome {
        self.step("what the tests need", |_| {
            provide(&[
                Need::PostgreSql,
                Need::Redis,
                Need::Python,
                Need::PythonEnvironments,
                Need::Faketime,
            ])?;
            for_tests()
        })?;
        self.style()?;
        self.step("private PostgreSQL", Self::start_server)?;
        self.step("Rust tests", Self::rust_tests)
    }

    fn whole(&mut self) -> Outcome {
        self.step("what the tests need", |_| {
            provide(&[
                Need::PostgreSql,
                Need::Redis,
                Need::Node,
                Need::Chromium,
                Need::Python,
                Need::PythonEnvironments,
                Need::Faketime,
            ])?;
            for_tests()
        })?;
        self.style()?;
        let root = self.root.clone();
        let mut ui = None;
        self.step("npm ci", |_| {
            ui = Some(Ui::ready(&root)?);
            Ok(())
        })?;
        let Some(ui) = ui else { return Err(Failure::new("the user interface was not made ready")) };
        self.check("generated files unchanged", |gate| codegen::check(&gate.root, &ui))?;
        self.step("private PostgreSQL", Self::start_server)?;
        self.step("Rust tests", Self::rust_tests)?;
        self.check("query data current", |gate| {
            let server = gate.server.as_ref().ok_or_else(|| Failure::new("no server"))?;
            db::prepare(&gate.root, server, true)
        })?;
        self.check("user interface: check", |_| ui.script("check"))?;
        self.step("user interface: tests", |gate| {
            // By default vitest does not name the tests that pass.
            let mut tests = ui.script_command("test");
            gate.count(tests.args(["--", "--reporter=verbose"]), tally::vitest, Ran::vitest)
        })?;
        self.check("user interface: build", |_| ui.build())?;
        self.check("build with the user interface", |gate| {
            run_program(cargo(&gate.root).args(["build", "--package", "tradesense", "--features", "ui"]))
        })?;
        self.step("journey in the browser", |gate| gate.journey(&ui))?;
        self.check("every test of the control map ran", |gate| controls::check_ran(&gate.root, &gate.ran))
    }

    /// What needs no build, format and lints, where the tool chain has them.
    fn style(&mut self) -> Outcome {
        self.check("control map", |gate| controls::check(&gate.root))?;
        self.check("rules and dashboards as their tables say", |gate| monitoring::check(&gate.root))?;
        if cargo_has("fmt", &self.root) {
            self.check("format", |gate| run_program(cargo(&gate.root).args(["fmt", "--all", "--check"])))?;
        } else {
            self.skipped("format", "rustfmt is not installed: rustup component add rustfmt");
        }
        if cargo_has("clippy", &self.root) {
            self.check("lints", |gate| {
                let lints = ["clippy", "--quiet", "--workspace", "--all-targets", "--", "-D", "warnings"];
                run_program(cargo(&gate.root).args(lints))
            })?;
        } else {
            self.skipped("lints", "clippy is not installed: rustup component add clippy");
        }
        Ok(())
    }

    fn start_server(&mut self) -> Outcome {
        self.server = Some(db::start_fresh("test-db")?);
        Ok(())
    }

    fn rust_tests(&mut self) -> Outcome {
        let url = self.server.as_ref().map(|server| server.url("postgres")).unwrap_or_default();
        let mut tests = cargo(&self.root);
        tests.args(["test", "--workspace", "--no-fail-fast"]).env("TRADESENSE_TEST_DATABASE_URL", url);
        self.count(&mut tests, tally::cargo, Ran::cargo)
    }

    /// The newcomer's whole way in a real browser, against a platform of its own on free ports.
    fn journey(&mut self, ui: &Ui) -> Outcome {
        let scratch = Scratch::new("e2e")?;
        let shots = target()?.join("e2e");
        let _absent = fs::remove_dir_all(&shots);
        fs::create_dir_all(&shots).map_err(Failure::of(format!("create {}", shots.display())))?;
        let log = shots.join("tradesense.log");
        let port = free_port()?;
        let server = start(scratch.path(), port, &log)?;
        let mut browser = ui.program("node");
        browser
            .arg("e2e/journey.mjs")
            .env("BASE_URL", format!("http://127.0.0.1:{port}"))
            .env("SHOTS_DIR", &shots)
            // Beyond buying and trading: trade until the account is breached and read the receipt.
            .env("BREACH", "1")
            // The operator's password is made at the first start.
            .env("LOGINS", scratch.path().join("data/logins.json"))
            .env("CHROMIUM", chromium().map_or_else(|| OsString::from("chromium"), PathBuf::into_os_string));
        let walked = self.count(&mut browser, tally::journey, Ran::journey);
        let stopped = server.stop();
        println!("screenshots and the server's log are in {}", shots.display());
        walked.and(stopped)
    }

    /// Runs a test program, counts its tests and notes their names. One that ran no test proves nothing.
    fn count(
        &mut self,
        program: &mut Command,
        tests_in: impl Fn(&str) -> Tally,
        note: impl Fn(&mut Ran, &str),
    ) -> Outcome {
        let mut tally = Tally::default();
        let outcome = run_reading(program, |line| {
            tally.add(tests_in(line));
            note(&mut self.ran, line);
        });
        self.tally.add(tally);
        if outcome.is_ok() && tally.passed == 0 {
            return Err(Failure::new("no test was run"));
        }
        outcome
    }

    /// A step that is one test by itself.
    fn check(&mut self, name: &str, work: impl FnOnce(&Self) -> Outcome) -> Outcome {
        self.step(name, |gate| {
            work(gate)?;
            gate.tally.add(Tally::ONE);
            Ok(())
        })
    }

    /// Runs a step, tells how long it took, and ends what it left running.
    fn step(&mut self, name: &str, work: impl FnOnce(&mut Self) -> Outcome) -> Outcome {
        println!("\n=== {name}");
        let started = now();
        let outcome = work(self);
        let kept: Vec<u32> = self.server.as_ref().and_then(Postgres::pid).into_iter().collect();
        sweep(&kept);
        let took = format!("{:>7.1} s", started.elapsed().as_secs_f32());
        match outcome {
            Ok(()) => {
                self.lines.push(format!("ok      {took}  {name}"));
                println!("=== ok {name} ({})", took.trim());
                Ok(())
            }
            Err(Failure(reason)) => {
                self.lines.push(format!("FAILED  {took}  {name}"));
                Err(Failure::new(format!("{name}: {reason}")))
            }
        }
    }

    fn skipped(&mut self, name: &str, reason: &str) {
        println!("\n=== {name} not run: {reason}");
        self.lines.push(format!("not run            {name}: {reason}"));
    }

    fn close(&mut self) -> Outcome {
        self.server.take().map_or(Ok(()), db::stop_and_erase)
    }

    fn summary(self, outcome: Outcome) -> Outcome {
        println!("\n=== summary\n{}", self.lines.join("\n"));
        if interrupted() {
            return Err(Failure::new("stopped before the end"));
        }
        // A step that failed without a count of its own is one failure.
        let failed = if outcome.is_err() { self.tally.failed.max(1) } else { self.tally.failed };
        println!("{} passed, {failed} failed", self.tally.passed);
        outcome
    }
}
