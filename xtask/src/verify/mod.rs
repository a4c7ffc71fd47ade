//! `cargo xtask verify`: production files are run, not only written. Each check is a plain function that gives every fault it found.
//!
//! Manifests are checked without a cluster; the rest is started. The checks that start things need root on Linux: they make name spaces, as a container engine does. What this machine lacks is a
//! fault of the check that needs it, never a silent pass.

mod asking;
mod autoscaling;
mod backup;
mod backup_cloud;
mod builder;
mod changes;
mod compose;
mod compose_rotation;
mod cost;
mod edge;
mod forecast;
mod image;
mod kubernetes;
mod logging;
mod manifests;
mod monitoring;
mod network;
mod observed;
mod release;
mod rotation;
mod sandbox;
mod schema;
pub(crate) mod stage;
mod stand_ins;
mod tools;
mod upgrade;
mod valkey_rotation;

use std::fmt;

pub(crate) use forecast::backtest;
use lexopt::Arg;

use crate::process::{adopt_orphans, now, sweep};
use crate::{Failure, Outcome};

/// Something that is wrong, and where.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Finding {
    /// A file, an alert, a panel, or a manifest such as `staging: Deployment/tradesense-api`.
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

/// Nothing, or what is wrong in files.
pub(crate) type Found = Result<(), Vec<Finding>>;

/// Nothing, or what is wrong, a line for each.
pub(crate) type Checked = Result<(), Vec<String>>;

type Check = fn() -> Checked;

/// Every check by its name, quick ones first.
const CHECKS: &[(&str, Check)] = &[
    ("kubernetes-renders", || said(kubernetes::overlays_render())),
    ("kubernetes-versions", || said(kubernetes::versions_are_served())),
    ("kubernetes-custom-schemas", || said(kubernetes::custom_schemas())),
    ("kubernetes-names", || said(kubernetes::names())),
    ("kubernetes-security", || said(kubernetes::pods_are_restricted())),
    ("kubernetes-probes", || said(kubernetes::probes_and_stopping())),
    ("kubernetes-disruptions", || said(kubernetes::disruptions_and_zones())),
    ("kubernetes-spot", || said(kubernetes::spot())),
    ("kubernetes-resources", || said(kubernetes::requests_and_limits())),
    ("kubernetes-images", || said(kubernetes::images())),
    ("kubernetes-references", || said(kubernetes::references())),
    ("kubernetes-commands", || said(kubernetes::commands())),
    ("kubernetes-metrics", || said(kubernetes::metrics())),
    ("kubernetes-connections", || said(kubernetes::connections())),
    ("kubernetes-database", || said(kubernetes::database())),
    ("kubernetes-backups", || said(kubernetes::backups())),
    ("kubernetes-migration", || said(kubernetes::migration())),
    ("kubernetes-colours", || said(kubernetes::blue_and_green())),
    ("kubernetes-edge", || said(kubernetes::edge())),
    ("kubernetes-secrets", || said(kubernetes::secrets_and_regions())),
    ("kubernetes-observed", || said(observed::by_what_is_tested())),
    ("kubernetes-changes", || said(changes::are_noticed())),
    ("network-table", || said(network::table_holds())),
    ("network-changes", || said(network::changes_are_noticed())),
    ("autoscaling-loads", || said(autoscaling::loads_are_followed())),
    ("autoscaling-changes", || said(autoscaling::changes_are_noticed())),
    ("autoscaling-forecast", || said(forecast::is_worth_it())),
    ("cost", || said(cost::below_the_limit())),
    ("kubernetes-core-schemas", || said(kubernetes::core_schemas())),
    ("rotation-guide", || said(rotation::guide())),
    ("compose-rules", compose::rules),
    ("compose-schema", compose::schema),
    ("compose-secrets", compose::secrets),
    ("backup-scripts", backup::scripts),
    ("backup-secrets", backup::secrets),
    ("image-rules", image::rules),
    ("release-workflows", release::workflows),
    ("release-scripts", release::scripts),
    ("release-rehearsal", release::rehearsal),
    ("release-dependencies", release::dependencies),
    ("monitoring-configuration", || said(monitoring::configuration())),
    ("monitoring-rules", || said(monitoring::rules())),
    ("monitoring-alerts", || said(monitoring::alerts())),
    ("monitoring-routes", || said(monitoring::routes())),
    ("monitoring-guards", || said(monitoring::guards())),
    ("monitoring-runbooks", || said(monitoring::runbooks())),
    ("logging-vector", || said(logging::vector())),
    ("logging-transforms", || said(logging::transforms())),
    ("logging-elasticsearch", || said(logging::elasticsearch())),
    ("monitoring-mails", || said(monitoring::mails())),
    ("edge-nginx", edge::nginx),
    ("edge-envoy", edge::envoy),
    ("valkey-rotation", valkey_rotation::holds),
    ("rotation", || said(rotation::holds())),
    ("upgrade", || said(upgrade::holds())),
    ("monitoring-live", || said(monitoring::live())),
    ("logging-live", || said(logging::live())),
    ("backup-drill", backup::drill),
    ("backup-cloud", backup_cloud::drill),
    ("backup-store", backup::in_a_store),
    ("backup-size", backup::size),
    ("backup-rpo", backup::rpo),
    ("image-built", image::built),
    ("image-backup", image::backups),
    ("image-whole", image::whole),
    ("compose-runs", compose::runs),
    ("compose-rotation", compose_rotation::holds),
];

/// What takes as long as compiling everything, or waits for minutes to pass: each night, not at each change.
const SLOW: [&str; 4] = ["upgrade", "backup-size", "backup-rpo", "image-whole"];

pub(crate) fn run(mut args: lexopt::Parser) -> Outcome {
    let (mut wanted, mut quick) = (Vec::new(), false);
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Value(name) => wanted.push(name.to_string_lossy().into_owned()),
            Arg::Long("quick") => quick = true,
            Arg::Short(_) | Arg::Long(_) => return Err(arg.unexpected().into()),
        }
    }
    let all = wanted.is_empty() || wanted == ["deployment"];
    let unknown =
        wanted.iter().find(|name| *name != "deployment" && CHECKS.iter().all(|(known, _)| known != name));
    if let Some(unknown) = unknown {
        let known: Vec<&str> = CHECKS.iter().map(|(name, _)| *name).collect();
        return Err(Failure::new(format!("no check {unknown}; there are {}", known.join(", "))));
    }
    adopt_orphans()?;
    let mut failed = 0_usize;
    let asked =
        |name: &&str| (all && !(quick && SLOW.contains(name))) || wanted.iter().any(|wanted| wanted == name);
    for (name, check) in CHECKS.iter().filter(|(name, _)| asked(name)) {
        let began = now();
        let checked = check();
        sweep(&[]);
        let seconds = began.elapsed().as_secs();
        match checked {
            Ok(()) => println!("{name}: good ({seconds} s)"),
            Err(faults) => {
                failed = failed.saturating_add(1);
                println!("{name}: {} faults ({seconds} s)", faults.len());
                for fault in faults {
                    println!("  {fault}");
                }
            }
        }
    }
    if failed == 0 { Ok(()) } else { Err(Failure::new(format!("{failed} checks found faults"))) }
}

/// Faults as a check gives them.
pub(crate) fn checked(faults: Vec<String>) -> Checked {
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// A check that could not be made.
pub(crate) fn failed(Failure(text): Failure) -> Vec<String> {
    vec![text]
}

/// Turns what was found into what a check says.
pub(crate) fn nothing(findings: Vec<Finding>) -> Found {
    if findings.is_empty() { Ok(()) } else { Err(findings) }
}

/// What was found, in lines.
fn said(found: Found) -> Checked {
    found.map_err(|findings| findings.iter().map(ToString::to_string).collect())
}
