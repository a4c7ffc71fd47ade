//! `cargo xtask verify deployment`: what is deployed is checked as it would be applied, without a cluster.
//!
//! **To add a check:** a function `fn() -> Result<(), Vec<Finding>>` and its line in [`CHECKS`]. It reads the files as they lie
//! here, says what is wrong with them in words for whoever has to mend it, and needs no network. A tool that it needs and that is
//! missing is a finding too: a check that did not run has shown nothing.

mod autoscaling;
mod cost;
mod kubernetes;
mod manifests;
mod network;
mod schema;

use std::fmt;
use std::time::Instant;

use lexopt::Arg;

use crate::{Failure, Outcome};

/// Something that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// A file, or a manifest such as `staging: Deployment/tradesense-api`.
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

/// Turns what was found into what a check says.
pub(crate) fn nothing(findings: Vec<Finding>) -> Checked {
    if findings.is_empty() { Ok(()) } else { Err(findings) }
}

type Check = fn() -> Checked;

/// Every check by its name, in the order in which they are worth reading.
const CHECKS: &[(&str, Check)] = &[
    ("overlays render", kubernetes::overlays_render),
    ("versions are served", kubernetes::versions_are_served),
    ("core schemas", kubernetes::core_schemas),
    ("schemas of custom resources", kubernetes::custom_schemas),
    ("names and namespaces", kubernetes::names),
    ("pods are restricted", kubernetes::pods_are_restricted),
    ("probes and stopping", kubernetes::probes_and_stopping),
    ("disruptions and zones", kubernetes::disruptions_and_zones),
    ("requests and limits", kubernetes::requests_and_limits),
    ("images by digest", kubernetes::images),
    ("references lead somewhere", kubernetes::references),
    ("commands exist", kubernetes::commands),
    ("connections fit the database", kubernetes::connections),
    ("database loses nothing", kubernetes::database),
    ("migration goes first", kubernetes::migration),
    ("blue and green", kubernetes::blue_and_green),
    ("edge", kubernetes::edge),
    ("secrets and regions", kubernetes::secrets_and_regions),
    ("network: the table holds", network::table_holds),
    ("network: every change is noticed", network::changes_are_noticed),
    ("autoscaling: loads are followed", autoscaling::loads_are_followed),
    ("autoscaling: every change is noticed", autoscaling::changes_are_noticed),
    ("cost below its limit", cost::below_the_limit),
];

pub(crate) fn run(mut args: lexopt::Parser) -> Outcome {
    let what = args.value().map_err(|_| Failure::new("verify what? `deployment`, `cost`"))?;
    match what.to_str().unwrap_or_default() {
        "deployment" => {}
        "cost" => return cost::print(),
        other => return Err(Failure::new(format!("nothing to verify is called {other:?}"))),
    }
    let mut only = None;
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("only") => only = Some(args.value()?.to_string_lossy().into_owned()),
            Arg::Long(_) | Arg::Short(_) | Arg::Value(_) => return Err(arg.unexpected().into()),
        }
    }
    let wanted = |name: &str| only.as_ref().is_none_or(|only| name.contains(only.as_str()));
    let mut found = 0_usize;
    let mut ran = 0_usize;
    for (name, check) in CHECKS.iter().filter(|(name, _)| wanted(name)) {
        let started = Instant::now();
        let findings = check().err().unwrap_or_default();
        let mark = if findings.is_empty() { "ok" } else { "FOUND" };
        println!("{mark:<6}{name} ({} ms)", started.elapsed().as_millis());
        for finding in &findings {
            println!("        {finding}");
        }
        ran = ran.saturating_add(1);
        found = found.saturating_add(findings.len());
    }
    match (ran, found) {
        (0, _) => Err(Failure::new("no check has such a name")),
        (_, 0) => Ok(()),
        (_, found) => Err(Failure::new(format!("{found} findings"))),
    }
}
