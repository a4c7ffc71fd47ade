//! What a place costs in a month, from its rendered manifests and `deployment/kubernetes/prices.toml`: at rest (every scaler at its
//! least) and at most (every scaler at its most, blue and green apart: a release is a quarter of an hour).
//!
//! Millionths of a dollar, whole numbers.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;

use super::manifests::{Overlay, bytes, everywhere, list, millis, note, number, str_at, text};
use super::{Finding, Found};
const FILE: &str = "deployment/kubernetes/prices.toml";
/// Hours of a month.
const HOURS: u64 = 730;
/// Bytes of a GiB.
const GIB: u64 = 1 << 30;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Prices {
    region: Vec<Region>,
    place: Vec<Place>,
}

/// Prices in millionths of a dollar.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Region {
    name: String,
    /// When somebody looked, and where.
    #[serde(rename = "seen")]
    _seen: String,
    #[serde(rename = "source")]
    _source: String,
    processor_hour: u64,
    gib_hour: u64,
    /// By storage class, for a month.
    disk_gib: BTreeMap<String, u64>,
    balancer_hour: u64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Place {
    overlay: String,
    region: String,
    /// Machines that a pod of each `DaemonSet` runs on.
    nodes: u64,
    /// Dollars a month at rest that are not to be passed without somebody having decided it.
    limit: u64,
}

/// One line of the bill: at rest, at most.
type Bill = BTreeMap<String, (u64, u64)>;

fn prices() -> Result<Prices, Vec<Finding>> {
    toml::from_str(&text(FILE)?).map_err(|error| vec![Finding::new(FILE, error.to_string())])
}

fn compute(region: &Region, milli: u64, memory: u64) -> u64 {
    let processor = milli.saturating_mul(region.processor_hour).saturating_mul(HOURS).saturating_div(1_000);
    // A MiB at a time, so that nothing is cut off that counts.
    let memory = memory.saturating_div(1 << 20).saturating_mul(region.gib_hour).saturating_mul(HOURS);
    processor.saturating_add(memory.saturating_div(1_024))
}

fn disk(region: &Region, class: &str, size: &str) -> Result<u64, Finding> {
    let price = region.disk_gib.get(class).or_else(|| region.disk_gib.get("tradesense-fast"));
    let (Some(price), Some(size)) = (price, bytes(size)) else {
        return Err(Finding::new(FILE, format!("no price for {size:?} of {class:?}")));
    };
    Ok(size.div_ceil(GIB).saturating_mul(*price))
}

fn bill(overlay: &Overlay, region: &Region, nodes: u64) -> Result<Bill, Finding> {
    let mut bill = Bill::new();
    let mut add = |line: &str, rest: u64, most: u64| {
        let entry = bill.entry(line.to_owned()).or_default();
        entry.0 = entry.0.saturating_add(rest);
        entry.1 = entry.1.saturating_add(most);
    };
    for workload in overlay.workloads().iter().filter(|workload| !workload.is_job()) {
        let (least, most) = match workload.kind {
            "DaemonSet" => (nodes, nodes),
            _ => overlay.replicas(workload),
        };
        let mut one = 0_u64;
        for container in workload.containers() {
            let milli = millis(str_at(container, "resources.requests.cpu")).unwrap_or(0);
            let memory = bytes(str_at(container, "resources.requests.memory")).unwrap_or(0);
            one = one.saturating_add(compute(region, milli, memory));
        }
        for claim in list(&workload.object.value, "spec.volumeClaimTemplates") {
            let size = str_at(claim, "spec.resources.requests.storage");
            one = one.saturating_add(disk(region, str_at(claim, "spec.storageClassName"), size)?);
        }
        add(workload.name, one.saturating_mul(least), one.saturating_mul(most));
    }
    for cluster in overlay.of("Cluster") {
        let spec = cluster.value.get("spec").unwrap_or(&Value::Null);
        let milli = millis(str_at(spec, "resources.requests.cpu")).unwrap_or(0);
        let memory = bytes(str_at(spec, "resources.requests.memory")).unwrap_or(0);
        let mut one = compute(region, milli, memory);
        for part in ["storage", "walStorage"] {
            let class = str_at(spec, &format!("{part}.storageClass"));
            one = one.saturating_add(disk(region, class, str_at(spec, &format!("{part}.size")))?);
        }
        let all = one.saturating_mul(number(spec, "instances").unwrap_or(1));
        add("tradesense-db", all, all);
    }
    for proxy in overlay.of("EnvoyProxy") {
        let deployment =
            proxy.value.pointer("/spec/provider/kubernetes/envoyDeployment").unwrap_or(&Value::Null);
        let milli = millis(str_at(deployment, "container.resources.requests.cpu")).unwrap_or(0);
        let memory = bytes(str_at(deployment, "container.resources.requests.memory")).unwrap_or(0);
        // Each door has Envoys and a load balancer of its own.
        let doors = u64::try_from(overlay.of("Gateway").count()).unwrap_or(u64::MAX);
        let one = compute(region, milli, memory).saturating_mul(number(deployment, "replicas").unwrap_or(1));
        let all = one.saturating_add(region.balancer_hour.saturating_mul(HOURS)).saturating_mul(doors);
        add("edge", all, all);
    }
    for claim in overlay.of("PersistentVolumeClaim") {
        let size = str_at(&claim.value, "spec.resources.requests.storage");
        let cost = disk(region, str_at(&claim.value, "spec.storageClassName"), size)?;
        add("keys", cost, cost);
    }
    Ok(bill)
}

fn of_place(prices: &Prices, overlay: &Overlay) -> Result<(Bill, u64), Finding> {
    let missing = || Finding::new(FILE, format!("says nothing about {}", overlay.name));
    let place = prices.place.iter().find(|place| place.overlay == overlay.name).ok_or_else(missing)?;
    let region = prices.region.iter().find(|region| region.name == place.region).ok_or_else(missing)?;
    Ok((bill(overlay, region, place.nodes)?, place.limit))
}

fn total(bill: &Bill) -> (u64, u64) {
    bill.values().fold((0, 0), |sum, line| (sum.0.saturating_add(line.0), sum.1.saturating_add(line.1)))
}

fn dollars(millionths: u64) -> u64 {
    millionths.div_ceil(1_000_000)
}

/// Prints the bills, and finds those that are larger than was meant.
pub(super) fn below_the_limit() -> Found {
    let prices = prices()?;
    note("dollars a month, without traffic, backups, logs and support");
    everywhere(|overlay, findings| match of_place(&prices, overlay) {
        Err(finding) => findings.push(finding),
        Ok((bill, limit)) => {
            note(&format!("{:<28}{:>10}{:>10}", overlay.name, "at rest", "at most"));
            for (line, (rest, most)) in &bill {
                note(&format!("  {line:<26}{:>10}{:>10}", dollars(*rest), dollars(*most)));
            }
            let (rest, most) = total(&bill);
            note(&format!("  {:<26}{:>10}{:>10}   limit {limit}", "together", dollars(rest), dollars(most)));
            if dollars(rest) > limit {
                let what = format!("costs {} $ a month, {limit} $ were meant", dollars(rest));
                findings.push(Finding::new(overlay.name, what));
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bill_is_exact() {
        let region = Region {
            name: "here".into(),
            _seen: String::new(),
            _source: String::new(),
            processor_hour: 40_000,
            gib_hour: 4_000,
            disk_gib: BTreeMap::from([("tradesense-fast".to_owned(), 80_000)]),
            balancer_hour: 0,
        };
        // Half a processor and half a GiB: 0.5 * 0.04 $ * 730 + 0.5 * 0.004 $ * 730.
        assert_eq!(compute(&region, 500, 512 << 20), 16_060_000);
        assert_eq!(disk(&region, "tradesense-fast", "10Gi"), Ok(800_000));
        assert_eq!(disk(&region, "unknown", "10Gi"), Ok(800_000), "the dearest that is known");
        assert_eq!(dollars(16_060_000), 17);
    }
}
