//! `cargo xtask verify`: production files are checked as they would be applied, without a cluster. Each check is a plain function
//! that gives every fault it found.
//!
//! A tool that a check needs and this machine lacks is a fault too: a check that did not run has shown nothing.

mod autoscaling;
mod changes;
mod cost;
mod kubernetes;
mod manifests;
mod network;
mod schema;

use lexopt::Arg;

use crate::process::now;
use crate::{Failure, Outcome};
use manifests::Found;

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
    ("kubernetes-resources", || said(kubernetes::requests_and_limits())),
    ("kubernetes-images", || said(kubernetes::images())),
    ("kubernetes-references", || said(kubernetes::references())),
    ("kubernetes-commands", || said(kubernetes::commands())),
    ("kubernetes-metrics", || said(kubernetes::metrics())),
    ("kubernetes-connections", || said(kubernetes::connections())),
    ("kubernetes-database", || said(kubernetes::database())),
    ("kubernetes-migration", || said(kubernetes::migration())),
    ("kubernetes-colours", || said(kubernetes::blue_and_green())),
    ("kubernetes-edge", || said(kubernetes::edge())),
    ("kubernetes-secrets", || said(kubernetes::secrets_and_regions())),
    ("kubernetes-changes", || said(changes::are_noticed())),
    ("network-table", || said(network::table_holds())),
    ("network-changes", || said(network::changes_are_noticed())),
    ("autoscaling-loads", || said(autoscaling::loads_are_followed())),
    ("autoscaling-changes", || said(autoscaling::changes_are_noticed())),
    ("cost", || said(cost::below_the_limit())),
    ("kubernetes-core-schemas", || said(kubernetes::core_schemas())),
];

pub(crate) fn run(mut args: lexopt::Parser) -> Outcome {
    let mut wanted = Vec::new();
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Value(name) => wanted.push(name.to_string_lossy().into_owned()),
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
    let mut failed = 0_usize;
    for (name, check) in CHECKS.iter().filter(|(name, _)| all || wanted.iter().any(|wanted| wanted == name)) {
        let began = now();
        let checked = check();
        let took = began.elapsed().as_millis();
        match checked {
            Ok(()) => println!("{name}: good ({took} ms)"),
            Err(faults) => {
                failed = failed.saturating_add(1);
                println!("{name}: {} faults ({took} ms)", faults.len());
                for fault in faults {
                    println!("  {fault}");
                }
            }
        }
    }
    if failed == 0 { Ok(()) } else { Err(Failure::new(format!("{failed} checks found faults"))) }
}

/// What was found, in lines.
fn said(found: Found) -> Checked {
    found.map_err(|findings| findings.iter().map(ToString::to_string).collect())
}
