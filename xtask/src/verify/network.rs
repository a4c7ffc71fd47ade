//! Who reaches whom: the rendered network policies, evaluated as the API's documentation says they are, and compared with the table in
//! `deployment/kubernetes/network.toml`.
//!
//! A pod that no policy selects for a direction is open in it; one that some select reaches what any of them allows. A connection
//! needs both its ends. Then each part of each policy is taken away or widened, and the table must no longer hold: a rule that can
//! be changed without anybody noticing is one that nobody tests.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value};

use super::manifests::{NAMESPACE, Overlay, at, everywhere, list, number, overlays, selects, str_at, text};
use super::{Checked, Finding, nothing};

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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Allow {
    from: Vec<String>,
    to: Vec<String>,
    ports: Vec<String>,
    /// For whoever reads the table.
    #[serde(rename = "because")]
    _because: String,
}

/// Who reaches whom at which port.
type Reached = BTreeSet<(String, String, String)>;

impl Peer {
    fn namespace(&self) -> &str {
        self.namespace.as_deref().unwrap_or(NAMESPACE)
    }

    fn is_pod(&self) -> bool {
        self.address.is_none()
    }

    /// Whether a policy is about it.
    fn is_selected(&self, policy: &Value) -> bool {
        self.is_pod()
            && self.namespace() == NAMESPACE
            && at(policy, "spec.podSelector").is_some_and(|selector| selects(selector, &self.labels))
    }

    /// Whether it is meant by an entry of `from` or `to`.
    fn is_meant(&self, entry: &Value) -> bool {
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
            None => self.namespace() == NAMESPACE,
        };
        namespace && entry.get("podSelector").is_none_or(|selector| selects(selector, &self.labels))
    }
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

/// Whether policies let a connection through at one of its ends. `other` is at the other end.
fn lets(policies: &[&Value], here: &Peer, other: &Peer, port: &str, direction: &str) -> bool {
    let (rules, ends) = if direction == "Ingress" { ("spec.ingress", "from") } else { ("spec.egress", "to") };
    let about = |policy: &&&Value| {
        here.is_selected(policy) && list(policy, "spec.policyTypes").any(|kind| kind.as_str() == Some(direction))
    };
    let mut about = policies.iter().filter(about).peekable();
    if about.peek().is_none() {
        return true;
    }
    about.any(|policy| {
        list(policy, rules).any(|rule| {
            let meant = rule.get(ends).is_none() || list(rule, ends).any(|entry| other.is_meant(entry));
            let named = |allowed: &Value| {
                let protocol = allowed.get("protocol").and_then(Value::as_str).unwrap_or("TCP");
                number(allowed, "port").is_some_and(|number| format!("{protocol} {number}") == port)
            };
            meant && (rule.get("ports").is_none() || list(rule, "ports").any(named))
        })
    })
}

fn reached(policies: &[&Value], table: &Table) -> Reached {
    let mut reached = Reached::new();
    for from in table.peer.iter().filter(|peer| peer.is_pod()) {
        for to in &table.peer {
            for port in &table.ports {
                // A pod always reaches itself; two of one kind are what is asked about.
                if lets(policies, from, to, port, "Egress") && lets(policies, to, from, port, "Ingress") {
                    reached.insert((from.name.clone(), to.name.clone(), port.clone()));
                }
            }
        }
    }
    // What happens between others, beyond our namespace, is no matter of ours.
    let ours: BTreeSet<&str> = table
        .peer
        .iter()
        .filter(|peer| peer.is_pod() && peer.namespace() == NAMESPACE)
        .map(|peer| peer.name.as_str())
        .collect();
    reached.retain(|(from, to, _)| ours.contains(from.as_str()) || ours.contains(to.as_str()));
    reached
}

fn wanted(table: &Table) -> Reached {
    let mut wanted = Reached::new();
    for allow in &table.allow {
        for from in &allow.from {
            for to in &allow.to {
                wanted.extend(allow.ports.iter().map(|port| (from.clone(), to.clone(), port.clone())));
            }
        }
    }
    wanted
}

fn policies(overlay: &Overlay) -> Vec<&Value> {
    overlay.of("NetworkPolicy").map(|policy| &policy.value).collect()
}

fn table() -> Result<Table, Vec<Finding>> {
    let table: Table = toml::from_str(&text(FILE)?).map_err(|error| vec![Finding::new(FILE, error.to_string())])?;
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

pub(super) fn table_holds() -> Checked {
    let table = table()?;
    let wanted = wanted(&table);
    let tried = table.peer.len().saturating_mul(table.peer.len()).saturating_mul(table.ports.len());
    println!("        {} peers, {tried} questions, {} answered with yes", table.peer.len(), wanted.len());
    everywhere(|overlay, findings| {
        // A workload that the table does not know would be checked by nobody.
        for workload in overlay.workloads() {
            let labels = workload.labels();
            let knows = |peer: &Peer| peer.namespace() == NAMESPACE && !peer.labels.is_empty() && peer.labels.iter().all(|(key, value)| {
                labels.get(key) == Some(value) || key.starts_with("cnpg.io/")
            });
            if !table.peer.iter().any(knows) {
                findings.push(Finding::new(&workload.place, format!("{FILE} knows no such pods")));
            }
        }
        let overlay_table = at_home(&table, overlay);
        let reached = reached(&policies(overlay), &overlay_table);
        for (from, to, port) in reached.difference(&wanted) {
            findings.push(Finding::new(overlay.name, format!("{from} reaches {to} at {port}, and should not")));
        }
        for (from, to, port) in wanted.difference(&reached) {
            findings.push(Finding::new(overlay.name, format!("{from} should reach {to} at {port}, and does not")));
        }
    })
}

/// The table with the address that the API server has at this place.
fn at_home(table: &Table, overlay: &Overlay) -> Table {
    let database = overlay.get("NetworkPolicy", "database").map(|policy| &policy.value);
    let cidr = database.map(|policy| str_at(policy, "spec.egress.1.to.0.ipBlock.cidr")).unwrap_or_default();
    let address = cidr.strip_suffix("/32").and_then(|address| address.parse::<std::net::Ipv4Addr>().ok());
    let peers = table.peer.iter().map(|peer| Peer {
        name: peer.name.clone(),
        namespace: peer.namespace.clone(),
        labels: peer.labels.clone(),
        address: match address {
            Some(address) if peer.name == "api-server" => Some(address.octets()),
            _ => peer.address,
        },
    });
    Table { ports: table.ports.clone(), peer: peers.collect(), allow: Vec::new() }
}

/// Every policy set that differs from the given one by one step, each with its name.
fn mutants(policies: &[&Value]) -> Vec<(String, Vec<Value>)> {
    let mut all = Vec::new();
    let whole: Vec<Value> = policies.iter().map(|policy| (*policy).clone()).collect();
    for (place, policy) in policies.iter().enumerate() {
        let name = str_at(policy, "metadata.name");
        let mut with = |what: String, changed: Option<Value>| {
            let mut set = whole.clone();
            match changed {
                Some(changed) => {
                    if let Some(slot) = set.get_mut(place) {
                        *slot = changed;
                    }
                }
                None => drop(set.remove(place)),
            }
            all.push((format!("{name}: {what}"), set));
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
                        with(format!("{direction} {rule} {ends} {entry} without exception {except}"), Some(changed));
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

pub(super) fn changes_are_noticed() -> Checked {
    let table = table()?;
    let wanted = wanted(&table);
    let mut findings = Vec::new();
    // The policies of the places differ in one address.
    let Some(overlay) = overlays()?.iter().find(|overlay| overlay.name == "production-eu") else {
        return Err(vec![Finding::new("production-eu", "is not there")]);
    };
    let here = at_home(&table, overlay);
    let mutants = mutants(&policies(overlay));
    let mut noticed = 0_usize;
    for (name, set) in &mutants {
        let set: Vec<&Value> = set.iter().collect();
        if reached(&set, &here) == wanted {
            findings.push(Finding::new(FILE, format!("does not notice this change: {name}")));
        } else {
            noticed = noticed.saturating_add(1);
        }
    }
    println!("        {noticed} of {} changes noticed", mutants.len());
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
        let (here, there, other) = (peer("here", None), peer("there", None), peer("other", None));
        let deny = json!({"spec": {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}});
        let out = json!({"spec": {"podSelector": {"matchLabels": {"app": "here"}}, "policyTypes": ["Egress"],
            "egress": [{"to": [{"podSelector": {"matchLabels": {"app": "there"}}}], "ports": [{"port": 1}]}]}});
        let open = lets(&[], &here, &there, "TCP 1", "Egress");
        assert!(open, "nobody said anything");
        assert!(!lets(&[&deny], &here, &there, "TCP 1", "Egress"));
        assert!(lets(&[&deny, &out], &here, &there, "TCP 1", "Egress"));
        assert!(!lets(&[&deny, &out], &here, &there, "UDP 1", "Egress"));
        assert!(!lets(&[&deny, &out], &here, &other, "TCP 1", "Egress"));
        assert!(!lets(&[&deny, &out], &there, &here, "TCP 1", "Ingress"), "where it arrives");
    }

    #[test]
    fn an_address_is_meant_by_blocks_alone() {
        let world = json!({"ipBlock": {"cidr": "0.0.0.0/0", "except": ["10.0.0.0/8"]}});
        assert!(peer("x", Some([9, 9, 9, 9])).is_meant(&world));
        assert!(!peer("x", Some([10, 9, 9, 9])).is_meant(&world));
        assert!(!peer("x", None).is_meant(&world));
        assert!(!peer("x", Some([9, 9, 9, 9])).is_meant(&json!({"podSelector": {}})));
    }
}
