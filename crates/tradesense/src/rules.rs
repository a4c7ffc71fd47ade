//! `tradesense rules`: programs and their examples, without a platform.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, anyhow};
use clap::Subcommand;
use rules::example::{self, ExampleFile};
use rules::{Program, ProgramError};

use crate::replay::Found;

/// What to do with a program.
#[derive(Debug, Subcommand)]
pub enum Rules {
    /// Checks programs, and runs examples: prints pass or fail for every expectation. Ends with 0 only if all hold.
    Check {
        /// Programs, files of examples, or directories of them; TOML or JSON.
        #[arg(required = true)]
        files: Vec<PathBuf>,
        /// Prints what fails only.
        #[arg(long)]
        quiet: bool,
    },
    /// Says what a program means, in sentences.
    Explain {
        /// The program; TOML or JSON.
        file: PathBuf,
    },
    /// Says what distinguishes two programs, in sentences.
    Diff {
        /// The program before.
        old: PathBuf,
        /// The program after.
        new: PathBuf,
    },
    /// Prints the JSON Schema of programs, or of files of examples.
    Schema {
        /// Of files of examples.
        #[arg(long)]
        examples: bool,
    },
}

/// Runs the command.
pub fn run(rules: &Rules, out: &mut dyn Write) -> anyhow::Result<Found> {
    match rules {
        Rules::Check { files, quiet } => check(files, *quiet, out),
        Rules::Explain { file } => explain(&read_program(file)?, out).map(|()| Found::Equal),
        Rules::Diff { old, new } => {
            let changes = rules::difference(&read_program(old)?, &read_program(new)?);
            for change in &changes {
                writeln!(out, "{change}")?;
            }
            if changes.is_empty() {
                writeln!(out, "The two programs mean the same.")?;
            }
            Ok(Found::Equal)
        }
        Rules::Schema { examples } => {
            let schema = if *examples { ExampleFile::schema() } else { Program::schema() };
            writeln!(out, "{}", serde_json::to_string_pretty(&schema)?)?;
            Ok(Found::Equal)
        }
    }
}

/// Reads a program in TOML or, by the ending of its name, JSON.
pub fn read_program(file: &Path) -> anyhow::Result<Program> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let read = if is_json(file) { Program::from_json(&text) } else { Program::from_toml(&text) };
    read.with_context(|| format!("{} is not a program", file.display()))
}

fn is_json(file: &Path) -> bool {
    file.extension().is_some_and(|ending| ending.eq_ignore_ascii_case("json"))
}

fn explain(program: &Program, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(out, "{} (version {})", program.name, program.version()?)?;
    writeln!(out, "{}", program.summary())?;
    for phase in &program.phases {
        writeln!(out, "\n{}", phase.name)?;
        for sentence in phase.sentences(&program.words()) {
            writeln!(out, "  - {sentence}")?;
        }
    }
    Ok(())
}

/// What was counted.
#[derive(Default)]
struct Tally {
    passed: usize,
    failed: usize,
    examples: usize,
    programs: usize,
}

fn check(files: &[PathBuf], quiet: bool, out: &mut dyn Write) -> anyhow::Result<Found> {
    let mut tally = Tally::default();
    for file in files {
        check_path(file, quiet, &mut tally, out)?;
    }
    let Tally { passed, failed, examples, programs } = tally;
    writeln!(out, "{passed} passed, {failed} failed ({examples} examples, {programs} programs)")?;
    Ok(if failed == 0 { Found::Equal } else { Found::Different })
}

fn check_path(path: &Path, quiet: bool, tally: &mut Tally, out: &mut dyn Write) -> anyhow::Result<()> {
    if !path.is_dir() {
        return check_file(path, quiet, tally, out);
    }
    let entries = std::fs::read_dir(path).with_context(|| format!("reading {}", path.display()))?;
    let mut inside: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    inside.sort();
    for path in inside {
        let known = path.extension().is_some_and(|ending| ending == "toml" || ending == "json");
        if known || path.is_dir() {
            check_path(&path, quiet, tally, out)?;
        }
    }
    Ok(())
}

fn check_file(path: &Path, quiet: bool, tally: &mut Tally, out: &mut dyn Write) -> anyhow::Result<()> {
    let text = match std::fs::read_to_string(path).context("reading it") {
        Ok(text) => text,
        Err(error) => return fail(path, &error, tally, out),
    };
    if !has_examples(path, &text) {
        tally.programs = tally.programs.saturating_add(1);
        let read = if is_json(path) { Program::from_json(&text) } else { Program::from_toml(&text) };
        let sound = read.and_then(|program| match program.doubts() {
            doubts if doubts.is_empty() => Ok(()),
            doubts => Err(ProgramError::Invalid(doubts)),
        });
        return match sound.context("not a sound program") {
            Err(error) => fail(path, &error, tally, out),
            Ok(()) if quiet => Ok(()),
            Ok(()) => Ok(writeln!(out, "ok    {}: a program", path.display())?),
        };
    }
    let read = if is_json(path) { ExampleFile::from_json(&text) } else { ExampleFile::from_toml(&text) };
    let file = match read.context("not a file of examples") {
        Ok(file) => file,
        Err(error) => return fail(path, &error, tally, out),
    };
    let beside = path.parent().unwrap_or(Path::new("."));
    let load = |name: &str| {
        read_program(&beside.join(name)).map_err(|error| ProgramError::Unreadable {
            path: "program.file".to_owned(),
            say: format!("{error:#}"),
        })
    };
    tally.examples = tally.examples.saturating_add(file.examples.len());
    let checked = example::run(&file, &load);
    if checked.is_empty() {
        fail(path, &anyhow!("it expects nothing: give every example a step with expect"), tally, out)?;
    }
    for it in checked {
        let it = match it {
            Ok(it) => it,
            // What cannot be done ends its example; the others are checked all the same.
            Err(error) => {
                fail(path, &error.into(), tally, out)?;
                continue;
            }
        };
        if it.holds {
            tally.passed = tally.passed.saturating_add(1);
        } else {
            tally.failed = tally.failed.saturating_add(1);
        }
        let place = format!("{} step {}: {}", it.example, it.step, it.name);
        match it.holds {
            true if quiet => {}
            true => writeln!(out, "pass  {place} is {}", it.found)?,
            false => writeln!(out, "FAIL  {place}: expected {}, found {}", it.expected, it.found)?,
        }
    }
    Ok(())
}

/// What cannot be read or done fails with its place, and the check goes on.
fn fail(path: &Path, error: &anyhow::Error, tally: &mut Tally, out: &mut dyn Write) -> anyhow::Result<()> {
    tally.failed = tally.failed.saturating_add(1);
    Ok(writeln!(out, "FAIL  {}: {error:#}", path.display())?)
}

/// A file of examples has an array `example`, and whoever writes `examples` means one; everything else is read as a
/// program.
fn has_examples(path: &Path, text: &str) -> bool {
    if is_json(path) {
        serde_json::from_str::<serde_json::Value>(text)
            .is_ok_and(|value| ["example", "examples"].iter().any(|name| value.get(name).is_some()))
    } else {
        text.lines().any(|line| line.trim_start().starts_with("[[example"))
            || toml::from_str::<toml::Table>(text).is_ok_and(|table| table.contains_key("example"))
    }
}
