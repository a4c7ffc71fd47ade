//! Who reaches whom: the rendered network policies, evaluated as the API's documentation says they are, and compared with the table in
//! `deployment/kubernetes/network.toml`.
//!
//! A pod that no policy selects for a direction is open in it; one that some select reaches what any of them allows. A connection
//! needs both its ends. Then each part of each policy is taken away or widened, and the table must no longer hold: a rule that can
//! be changed without anybody noticing is one that nobody tests.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::manifests::{
    NAMESPACE, NAMESPACES, Overlay, at, everywhere, list, note, number, overlays, selects, str_at, text,
};
use super::{Finding, Found, nothing};

const FILE: &str = "deployment/kubernetes/network.toml";

/// The table.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Table {
    /// Ports that are tried everywhere, among them some that nobody uses.
    ports: Vec<String>,
    peer: Vec<Peer>,
    allow: Vec<Allow>,
}

/// Somebody who may be at an end of a connection: pods, or an address outside.
#[derive(Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
struct Peer {
    name: String,
    /// Of pods; ours if not said.
    namespace: Option<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    /// Of whoever is no pod.
    address: Option<[u8; 4]>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Allow {
    from: Vec<String>,
    to: Vec<String>,
    ports: Vec<String>,
    /// For whoever reads the table.
    #[serde(rename = "because")]
    _because: String,
}

impl Peer {
    fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or(NAMESPACE)
    }

    fn is_pod(&self) -> bool {
        self.address.is_none()
    }

    /// Whether it is a pod in a namespace of ours.
    fn is_ours(&self) -> bool {
        self.is_pod() && NAMESPACES.iter().any(|(ours, _)| *ours == self.namespace())
    }

    /// Whether a policy is about it.
    fn is_selected(&self, policy: &Value) -> bool {
        self.is_pod()
            && self.namespace() == namespace_of(policy)
            && at(policy, "spec.podSelector").is_some_and(|selector| selects(selector, &self.labels))
    }

    /// Whether it is meant by an entry of `from` or `to` in a policy of a namespace.
    fn is_meant(&self, entry: &Value, here: &str) -> bool {
        if let Some(block) = entry.get("ipBlock") {
            let inside = |cidr: &str| self.address.is_some_and(|address| contains(cidr, address));
            return inside(str_at(block, "cidr"))
                && !list(block, "except").filter_map(Value::as_str).any(inside);
        }
        if !self.is_pod() {
            return false;
        }
        let name = [("kubernetes.io/metadata.name".to_owned(), self.namespace().to_owned())];
        let namespace = match entry.get("namespaceSelector") {
            Some(selector) => selects(selector, &BTreeMap::from(name)),
            None => self.namespace() == here,
        };
        namespace && entry.get("podSelector").is_none_or(|selector| selects(selector, &self.labels))
    }
}

/// Where a policy stands; what says nothing is ours.
fn namespace_of(policy: &Value) -> &str {
    at(policy, "metadata.namespace").and_then(Value::as_str).unwrap_or(NAMESPACE)
}

/// Whether an IPv4 network such as `10.0.0.0/8` holds an address.
fn contains(cidr: &str, address: [u8; 4]) -> bool {
    let Some((network, length)) = cidr.split_once('/') else { return false };
    let network = network.parse::<std::net::Ipv4Addr>().map(u32::from);
    let length = length.parse::<u32>();
    let (Ok(network), Ok(length)) = (network, length) else { return false };
    let rest = 32_u32.saturating_sub(length);
    let of_network = |address: u32| address.checked_shr(rest).unwrap_or(0);
    of_network(network) == of_network(u32::from_be_bytes(address))
}

/// A policy over the peers and ports of a table; a bit for each of them.
#[derive(Debug, Clone)]
struct Rules {
    selected: u128,
    /// Who and which ports; none if it is not about the direction.
    ingress: Option<Vec<(u128, u32)>>,
    egress: Option<Vec<(u128, u32)>>,
}

/// For each two peers the ports at which a connection may leave the one of ours, and arrive at the one of ours. Each end is held to the
/// table by itself: were only both together, either could be opened without anybody noticing.
type Reached = Vec<Vec<(u32, u32)>>;

fn bit(place: usize) -> u128 {
    u32::try_from(place).ok().and_then(|place| 1_u128.checked_shl(place)).unwrap_or(0)
}

fn port_bit(place: usize) -> u32 {
    u32::try_from(place).ok().and_then(|place| 1_u32.checked_shl(place)).unwrap_or(0)
}

fn compiled(policy: &Value, table: &Table) -> Rules {
    let who = |means: &dyn Fn(&Peer) -> bool| {
        let peers = table.peer.iter().enumerate().filter(|(_, peer)| means(peer));
        peers.fold(0, |all, (place, _)| all | bit(place))
    };
    let rules = |direction: &str, path: &str, ends: &str| {
        let kinds: Vec<&str> = list(policy, "spec.policyTypes").filter_map(Value::as_str).collect();
        kinds.contains(&direction).then(|| {
            let rules = list(policy, path).map(|rule| {
                let meant = match rule.get(ends) {
                    None => u128::MAX,
                    Some(_) => {
                        who(&|peer| list(rule, ends).any(|entry| peer.is_meant(entry, namespace_of(policy))))
                    }
                };
                let named = |port: &str| {
                    list(rule, "ports").any(|allowed| {
                        let protocol = allowed.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
                        number(allowed, "port").is_some_and(|number| format!("{protocol} {number}") == port)
                    })
                };
                let ports = if rule.get("ports").is_some() {
                    let ports = table.ports.iter().enumerate().filter(|(_, port)| named(port));
                    ports.fold(0, |all, (place, _)| all | port_bit(place))
                } else {
                    u32::MAX
                };
                (meant, ports)
            });
            rules.collect()
        })
    };
    Rules {
        selected: who(&|peer| peer.is_selected(policy)),
        ingress: rules("Ingress", "spec.ingress", "from"),
        egress: rules("Egress", "spec.egress", "to"),
    }
}

/// The ports at which policies let a connection through at one of its ends; `other` is at the other end.
fn lets(here: usize, other: usize, about: &[&Option<Vec<(u128, u32)>>], selected: &[u128]) -> u32 {
    let (mut ports, mut isolated) = (0, false);
    for (rules, selected) in about.iter().zip(selected) {
        let Some(rules) = rules else { continue };
        if selected & bit(here) == 0 {
            continue;
        }
        isolated = true;
        for (peers, allowed) in rules {
            if peers & bit(other) != 0 {
                ports |= allowed;
            }
        }
    }
    if isolated { ports } else { u32::MAX }
}

fn reached(policies: &[&Rules], table: &Table) -> Reached {
    let selected: Vec<u128> = policies.iter().map(|policy| policy.selected).collect();
    let out: Vec<_> = policies.iter().map(|policy| &policy.egress).collect();
    let into: Vec<_> = policies.iter().map(|policy| &policy.ingress).collect();
    let tried = (0..table.ports.len()).fold(0, |all, place| all | port_bit(place));
    cells(table, |(from, here), (to, there)| {
        let leaves = lets(from, to, &out, &selected) & tried;
        let arrives = lets(to, from, &into, &selected) & tried;
        (if here.is_ours() { leaves } else { 0 }, if there.is_ours() { arrives } else { 0 })
    })
}

/// A cell for each two peers.
fn cells(table: &Table, cell: impl Fn((usize, &Peer), (usize, &Peer)) -> (u32, u32)) -> Reached {
    let row = |from| table.peer.iter().enumerate().map(|to| cell(from, to)).collect();
    table.peer.iter().enumerate().map(row).collect()
}

fn wanted(table: &Table) -> Reached {
    cells(table, |(_, from), (_, to)| {
        let lines = table.allow.iter();
        let lines = lines.filter(|line| line.from.contains(&from.name) && line.to.contains(&to.name));
        let named: BTreeSet<&String> = lines.flat_map(|line| &line.ports).collect();
        let ports = table.ports.iter().enumerate().filter(|(_, port)| named.contains(port));
        let ports = ports.fold(0, |all, (place, _)| all | port_bit(place));
        (if from.is_ours() { ports } else { 0 }, if to.is_ours() { ports } else { 0 })
    })
}

/// What differs between two answers, in words.
fn differences(table: &Table, reached: &Reached, wanted: &Reached) -> Vec<String> {
    let mut found = Vec::new();
    for (from, (has, should)) in table.peer.iter().zip(reached.iter().zip(wanted)) {
        for (to, (has, should)) in table.peer.iter().zip(has.iter().zip(should)) {
            for (place, port) in table.ports.iter().enumerate() {
                let (from, to, bit) = (&from.name, &to.name, port_bit(place));
                for (end, has, should) in [("leave", has.0, should.0), ("arrive", has.1, should.1)] {
                    match (has & bit != 0, should & bit != 0) {
                        (true, false) => {
                            found.push(format!("{from} to {to} at {port} may {end}, and should not"));
                        }
                        (false, true) => {
                            found.push(format!("{from} to {to} at {port} should {end}, and may not"));
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    found
}

fn policies(overlay: &Overlay) -> Vec<&Value> {
    overlay.of("NetworkPolicy").map(|policy| &policy.value).collect()
}

fn table() -> Result<Table, Vec<Finding>> {
    let table: Table =
        toml::from_str(&text(FILE)?).map_err(|error| vec![Finding::new(FILE, error.to_string())])?;
    let names: BTreeSet<&String> = table.peer.iter().map(|peer| &peer.name).collect();
    let mut findings = Vec::new();
    for allow in &table.allow {
        for name in allow.from.iter().chain(&allow.to).filter(|name| !names.contains(name)) {
            findings.push(Finding::new(FILE, format!("{name} is nobody")));
        }
        for port in allow.ports.iter().filter(|port| !table.ports.contains(port)) {
            findings.push(Finding::new(FILE, format!("{port} is not tried")));
        }
    }
    if findings.is_empty() { Ok(table) } else { Err(findings) }
}

pub(super) fn table_holds() -> Found {
    let table = table()?;
    let everything = wanted(&table);
    let tried = table.peer.len().saturating_mul(table.peer.len()).saturating_mul(table.ports.len());
    let yes = everything
        .iter()
        .flatten()
        .fold(0_u32, |sum, (out, into)| sum.saturating_add((out | into).count_ones()));
    note(&format!("{} peers, {tried} questions, {yes} answered with yes", table.peer.len()));
    everywhere(|overlay, findings| {
        // A workload that the table does not know would be checked by nobody.
        for workload in overlay.workloads() {
            let labels = workload.labels();
            let knows = |peer: &Peer| {
                peer.namespace() == workload.object.namespace()
                    && !peer.labels.is_empty()
                    && peer
                        .labels
                        .iter()
                        .all(|(key, value)| labels.get(key) == Some(value) || key.starts_with("cnpg.io/"))
            };
            if !table.peer.iter().any(knows) {
                findings.push(Finding::new(&workload.place, format!("{FILE} knows no such pods")));
            }
        }
        let here = at_home(&table, overlay);
        let wanted = wanted(&here);
        let rules: Vec<Rules> = policies(overlay).into_iter().map(|policy| compiled(policy, &here)).collect();
        let reached = reached(&rules.iter().collect::<Vec<_>>(), &here);
        let different = differences(&here, &reached, &wanted);
        findings.extend(different.into_iter().map(|what| Finding::new(overlay.name, what)));
    })
}

/// The table with the address that the API server has at this place, and without pods in a namespace of ours that is not there.
fn at_home(table: &Table, overlay: &Overlay) -> Table {
    let database = overlay.get("NetworkPolicy", "database").map(|policy| &policy.value);
    let cidr = database.map(|policy| str_at(policy, "spec.egress.1.to.0.ipBlock.cidr")).unwrap_or_default();
    let address = cidr.strip_suffix("/32").and_then(|address| address.parse::<std::net::Ipv4Addr>().ok());
    let there = table
        .peer
        .iter()
        .filter(|peer| !peer.is_ours() || overlay.get("Namespace", peer.namespace()).is_some());
    let peers = there.map(|peer| Peer {
        name: peer.name.clone(),
        namespace: peer.namespace.clone(),
        labels: peer.labels.clone(),
        address: match address {
            Some(address) if peer.name == "api-server" => Some(address.octets()),
            _ => peer.address,
        },
    });
    Table { ports: table.ports.clone(), peer: peers.collect(), allow: table.allow.clone() }
}

/// A change by one step: its name, the place of the policy, and the policy as it is then; none if it is gone.
type Mutant = (String, usize, Option<Value>);

/// Every change of these policies by one step.
fn mutants(policies: &[&Value]) -> Vec<Mutant> {
    let mut all = Vec::new();
    for (place, policy) in policies.iter().enumerate() {
        let name = str_at(policy, "metadata.name");
        let mut with = |what: String, changed: Option<Value>| {
            all.push((format!("{name}: {what}"), place, changed));
        };
        with("gone".into(), None);
        for kind in list(policy, "spec.policyTypes").filter_map(Value::as_str) {
            let changed = edited(policy, &["spec", "policyTypes"], |types| {
                if let Some(types) = types.as_array_mut() {
                    types.retain(|other| other.as_str() != Some(kind));
                }
            });
            with(format!("no longer about {kind}"), Some(changed));
        }
        for (direction, ends) in [("ingress", "from"), ("egress", "to")] {
            let count = list(policy, &format!("spec.{direction}")).count();
            for rule in 0..count {
                let at_rule = |edit: &dyn Fn(&mut Map<String, Value>)| {
                    edited(policy, &["spec", direction], |rules| {
                        if let Some(rule) = rules.get_mut(rule).and_then(Value::as_object_mut) {
                            edit(rule);
                        }
                    })
                };
                let changed = edited(policy, &["spec", direction], |rules| {
                    if let Some(rules) = rules.as_array_mut() {
                        drop(rules.remove(rule));
                    }
                });
                with(format!("{direction} {rule} gone"), Some(changed));
                for key in [ends, "ports"] {
                    let path = format!("spec.{direction}.{rule}.{key}");
                    let changed = at_rule(&|rule| drop(rule.remove(key)));
                    with(format!("{direction} {rule} for all {key}"), Some(changed));
                    let entries = list(policy, &path).count();
                    for entry in 0..entries {
                        let remove = |rule: &mut Map<String, Value>| {
                            if let Some(entries) = rule.get_mut(key).and_then(Value::as_array_mut) {
                                // An empty list would mean everybody.
                                drop(entries.remove(entry));
                                if entries.is_empty() {
                                    drop(rule.insert(key.to_owned(), serde_json::json!([{"podSelector": {"matchLabels": {"no": "body"}}, "port": 1}])));
                                }
                            }
                        };
                        with(format!("{direction} {rule} without {key} {entry}"), Some(at_rule(&remove)));
                    }
                }
                for (entry, peer) in list(policy, &format!("spec.{direction}.{rule}.{ends}")).enumerate() {
                    let at_peer = |edit: &dyn Fn(&mut Value)| {
                        at_rule(&|rule| {
                            if let Some(peer) = rule.get_mut(ends).and_then(|peers| peers.get_mut(entry)) {
                                edit(peer);
                            }
                        })
                    };
                    for key in ["namespaceSelector", "podSelector"] {
                        if peer.get(key).is_some() {
                            let changed = at_peer(&|peer| {
                                if let Some(selector) = peer.get_mut(key) {
                                    *selector = serde_json::json!({});
                                }
                            });
                            with(format!("{direction} {rule} {ends} {entry} any {key}"), Some(changed));
                        }
                    }
                    for except in 0..list(peer, "ipBlock.except").count() {
                        let changed = at_peer(&|peer| {
                            let all = peer.get_mut("ipBlock").and_then(|block| block.get_mut("except"));
                            if let Some(all) = all.and_then(Value::as_array_mut) {
                                drop(all.remove(except));
                            }
                        });
                        with(
                            format!("{direction} {rule} {ends} {entry} without exception {except}"),
                            Some(changed),
                        );
                    }
                }
            }
        }
    }
    all
}

fn edited(policy: &Value, path: &[&str], edit: impl FnOnce(&mut Value)) -> Value {
    let mut changed = policy.clone();
    let mut here = Some(&mut changed);
    for key in path {
        here = here.and_then(|value| value.get_mut(*key));
    }
    if let Some(here) = here {
        edit(here);
    }
    changed
}

pub(super) fn changes_are_noticed() -> Found {
    let table = table()?;
    let mut findings = Vec::new();
    // The policies of the places differ in one address.
    let Some(overlay) = overlays()?.iter().find(|overlay| overlay.name == "production-eu") else {
        return Err(vec![Finding::new("production-eu", "is not there")]);
    };
    let here = at_home(&table, overlay);
    let wanted = wanted(&here);
    let mutants = mutants(&policies(overlay));
    let mut noticed = 0_usize;
    let whole: Vec<Rules> = policies(overlay).into_iter().map(|policy| compiled(policy, &here)).collect();
    for (name, place, changed) in &mutants {
        let changed = changed.as_ref().map(|policy| compiled(policy, &here));
        let set = whole
            .iter()
            .enumerate()
            .filter_map(|(other, rules)| if other == *place { changed.as_ref() } else { Some(rules) });
        if reached(&set.collect::<Vec<_>>(), &here) == wanted {
            findings.push(Finding::new(FILE, format!("does not notice this change: {name}")));
        } else {
            noticed = noticed.saturating_add(1);
        }
    }
    note(&format!("{noticed} of {} changes noticed", mutants.len()));
    if mutants.len() < 100 {
        findings.push(Finding::new(FILE, "hardly anything was changed"));
    }
    nothing(findings)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn peer(name: &str, address: Option<[u8; 4]>) -> Peer {
        let labels = BTreeMap::from([("app".to_owned(), name.to_owned())]);
        Peer { name: name.into(), namespace: None, labels, address }
    }

    #[test]
    fn a_network_holds_its_addresses() {
        assert!(contains("10.0.0.0/8", [10, 200, 0, 1]));
        assert!(!contains("10.0.0.0/8", [11, 0, 0, 1]));
        assert!(contains("0.0.0.0/0", [203, 0, 113, 9]));
        assert!(contains("169.254.20.10/32", [169, 254, 20, 10]));
        assert!(!contains("169.254.20.10/32", [169, 254, 169, 254]));
    }

    #[test]
    fn a_connection_needs_both_its_ends() {
        let peers = vec![peer("here", None), peer("there", None), peer("other", None)];
        let table = Table { ports: vec!["TCP 1".into(), "UDP 1".into()], peer: peers, allow: Vec::new() };
        let deny = json!({"spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}});
        let rule = |name: &str, kind: &str, direction: &str, ends: &str, other: &str| {
            json!({"spec": {"podSelector": {"matchLabels": {"app": name}}, "policyTypes": [kind],
                direction: [{ends: [{"podSelector": {"matchLabels": {"app": other}}}], "ports": [{"port": 1}]}]}})
        };
        let out = rule("here", "Egress", "egress", "to", "there");
        let into = rule("there", "Ingress", "ingress", "from", "here");
        let all = |policies: &[&Value]| {
            let rules: Vec<Rules> = policies.iter().map(|policy| compiled(policy, &table)).collect();
            reached(&rules.iter().collect::<Vec<_>>(), &table)
        };
        assert_eq!(all(&[]), vec![vec![(0b11, 0b11); 3]; 3], "nobody said anything");
        assert_eq!(all(&[&deny]), vec![vec![(0, 0); 3]; 3]);
        assert_eq!(all(&[&deny, &out, &into]), [[(0, 0), (1, 1), (0, 0)], [(0, 0); 3], [(0, 0); 3]]);
        assert_eq!(
            all(&[&deny, &out]),
            [[(0, 0), (1, 0), (0, 0)], [(0, 0); 3], [(0, 0); 3]],
            "it does not arrive"
        );
        assert_eq!(all(&[&out]), [[(0, 0b11), (1, 0b11), (0, 0b11)], [(0b11, 0b11); 3], [(0b11, 0b11); 3]]);
    }

    #[test]
    fn a_policy_is_about_its_own_namespace() {
        let mut there = peer("there", None);
        there.namespace = Some("logging".into());
        let here = peer("here", None);
        let policy =
            |namespace: &str| json!({"metadata": {"namespace": namespace}, "spec": {"podSelector": {}}});
        for (peer, ours, theirs) in [(&here, NAMESPACE, "logging"), (&there, "logging", NAMESPACE)] {
            assert!(peer.is_ours() && peer.is_selected(&policy(ours)) && !peer.is_selected(&policy(theirs)));
            let everybody = json!({"podSelector": {}});
            assert!(peer.is_meant(&everybody, ours) && !peer.is_meant(&everybody, theirs));
        }
        there.namespace = Some("default".into());
        assert!(!there.is_ours());
    }

    #[test]
    fn an_address_is_meant_by_blocks_alone() {
        let world = json!({"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}});
        assert!(peer("x", Some([9, 9, 9, 9])).is_meant(&world, NAMESPACE));
        assert!(!peer("x", Some([10, 9, 9, 9])).is_meant(&world, NAMESPACE));
        assert!(!peer("x", None).is_meant(&world, NAMESPACE));
        assert!(!peer("x", Some([9, 9, 9, 9])).is_meant(&json!({"podSelector": {}}), NAMESPACE));
    }
}
