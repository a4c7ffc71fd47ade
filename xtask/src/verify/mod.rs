//! `cargo xtask verify monitoring|logging`: what is deployed is checked by running it.

mod logging;
mod monitoring;
mod stage;

use std::fmt;

use crate::{Failure, Outcome};

/// Something that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// A file, an alert, a panel.
    pub(crate) place: String,
    pub(crate) what: String,
}

impl Finding {
    pub(crate) fn new(place: impl Into<String>, what: impl Into<String>) -> Self {
        Self { place: place.into(), what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.place, self.what)
    }
}

/// What a check says.
pub(crate) type Checked = Result<(), Vec<Finding>>;

/// A check with its name.
pub(crate) type Check = (&'static str, fn() -> Checked);

/// Turns what was found into what a check says.
pub(crate) fn nothing(findings: Vec<Finding>) -> Checked {
    if findings.is_empty() { Ok(()) } else { Err(findings) }
}

pub(crate) fn run(mut args: lexopt::Parser) -> Outcome {
    let what = args.value().map_err(|_| Failure::new("verify what? `monitoring`, `logging`"))?;
    match what.to_str().unwrap_or_default() {
        "monitoring" => monitoring::run(args),
        "logging" => logging::run(args),
        other => Err(Failure::new(format!("nothing to verify is called {other:?}"))),
    }
}

/// Runs checks one after the other and says what each found.
pub(crate) fn all(checks: &[Check]) -> Outcome {
    let mut found = 0_usize;
    for (name, check) in checks {
        let started = crate::process::now();
        let findings = check().err().unwrap_or_default();
        let mark = if findings.is_empty() { "ok" } else { "FOUND" };
        println!("{mark:<6}{name} ({} ms)", started.elapsed().as_millis());
        for finding in &findings {
            println!("        {finding}");
        }
        found = found.saturating_add(findings.len());
    }
    if found == 0 { Ok(()) } else { Err(Failure::new(format!("{found} findings"))) }
}
