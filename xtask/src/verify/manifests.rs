//! The manifests of every overlay, rendered once as `kubectl apply -k` would read them, and what the checks ask of them.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

use serde::Deserialize as _;
use serde_json::Value;

use super::{Finding, Found, nothing};
use crate::machine::root;

/// Every place where it runs.
pub(super) const OVERLAYS: [&str; 4] = ["dev", "staging", "production-eu", "production-us"];
/// What is applied one after the other.
pub(super) const STAGES: [&str; 3] = ["foundation", "migrate", "workloads"];
/// The namespace of the program and what it stands on.
pub(super) const NAMESPACE: &str = "tradesense";
/// Namespaces of ours, each with the level that its pods are held to. Reading the lines of a node takes what only the last allows.
pub(super) const NAMESPACES: [(&str, &str); 2] = [(NAMESPACE, "restricted"), ("logging", "privileged")];

/// What is applied at one place.
#[derive(Clone)]
pub(super) struct Overlay {
    pub(super) name: &'static str,
    pub(super) objects: Vec<Object>,
}

/// One manifest.
#[derive(Debug, Clone)]
pub(super) struct Object {
    pub(super) stage: &'static str,
    pub(super) value: Value,
}

/// Pods that are made from one template.
pub(super) struct Workload<'a> {
    /// Its overlay, kind and name.
    pub(super) place: String,
    pub(super) kind: &'a str,
    pub(super) name: &'a str,
    /// `metadata` and `spec` of the pods.
    pub(super) template: &'a Value,
    pub(super) object: &'a Object,
}

/// A directory below `deployment/kubernetes`.
pub(super) fn directory(below: &str) -> Result<PathBuf, Vec<Finding>> {
    let root = root().map_err(|_| vec![Finding::new("here", "the workspace was not found")])?;
    Ok(root.join("deployment/kubernetes").join(below))
}

/// A file of the workspace as text.
pub(super) fn text(path: &str) -> Result<String, Vec<Finding>> {
    let root = root().map_err(|_| vec![Finding::new("here", "the workspace was not found")])?;
    fs::read_to_string(root.join(path)).map_err(|error| vec![Finding::new(path, error.to_string())])
}

thread_local! {
    /// What checks look at in place of what is rendered.
    static INSTEAD: Cell<Option<&'static [Overlay]>> = const { Cell::new(None) };
}

/// Asks checks about a changed place; they say nothing on the terminal meanwhile.
pub(super) fn instead<T>(overlay: Overlay, ask: impl FnOnce() -> T) -> T {
    // Checks hand out what they look at for good. A run makes some hundred of these, of some hundred kilobytes.
    let changed: &'static [Overlay] = Box::leak(Box::new([overlay]));
    INSTEAD.set(Some(changed));
    let said = ask();
    INSTEAD.set(None);
    said
}

/// Tells a figure.
pub(super) fn note(text: &str) {
    if INSTEAD.get().is_none() {
        println!("  {text}");
    }
}

/// All overlays, rendered the first time that somebody asks.
pub(super) fn overlays() -> Result<&'static [Overlay], Vec<Finding>> {
    static RENDERED: OnceLock<Result<Vec<Overlay>, Vec<Finding>>> = OnceLock::new();
    if let Some(changed) = INSTEAD.get() {
        return Ok(changed);
    }
    RENDERED.get_or_init(render).as_deref().map_err(Clone::clone)
}

/// Asks something of every overlay.
pub(super) fn everywhere(ask: impl Fn(&Overlay, &mut Vec<Finding>)) -> Found {
    let mut findings = Vec::new();
    for overlay in overlays()? {
        ask(overlay, &mut findings);
    }
    nothing(findings)
}

fn render() -> Result<Vec<Overlay>, Vec<Finding>> {
    let (mut overlays, mut findings) = (Vec::new(), Vec::new());
    for name in OVERLAYS {
        let mut objects = Vec::new();
        for stage in STAGES {
            match stage_of(name, stage) {
                Ok(found) => objects.extend(found),
                Err(finding) => findings.extend(finding),
            }
        }
        overlays.push(Overlay { name, objects });
    }
    if findings.is_empty() { Ok(overlays) } else { Err(findings) }
}

fn stage_of(overlay: &str, stage: &'static str) -> Result<Vec<Object>, Vec<Finding>> {
    let path = format!("overlays/{overlay}/{stage}");
    let found = |what: String| vec![Finding::new(&path, what)];
    let out = Command::new("kubectl").arg("kustomize").arg(directory(&path)?).output();
    let out = out.map_err(|error| found(format!("kubectl (1.32 or newer) is needed: {error}")))?;
    if !out.status.success() {
        return Err(found(String::from_utf8_lossy(&out.stderr).trim().to_owned()));
    }
    let text = String::from_utf8_lossy(&out.stdout);
    parse(&text, stage).map_err(found)
}

/// Reads a stream of YAML documents.
pub(super) fn parse(text: &str, stage: &'static str) -> Result<Vec<Object>, String> {
    let documents = serde_yaml_ng::Deserializer::from_str(text);
    documents
        .map(|document| {
            let value = Value::deserialize(document).map_err(|error| error.to_string())?;
            Ok(Object { stage, value })
        })
        .collect()
}

impl Overlay {
    /// Whether it is only for trying things out, on a cluster that nobody else reaches.
    pub(super) fn is_dev(&self) -> bool {
        self.name == "dev"
    }

    /// All manifests of a kind.
    pub(super) fn of<'a>(&'a self, kind: &'a str) -> impl Iterator<Item = &'a Object> {
        self.objects.iter().filter(move |object| object.kind() == kind)
    }

    /// The manifest of a kind and name.
    pub(super) fn get(&self, kind: &str, name: &str) -> Option<&Object> {
        self.objects.iter().find(|object| object.kind() == kind && object.name() == name)
    }

    /// How findings call a manifest.
    pub(super) fn place(&self, object: &Object) -> String {
        format!("{}: {}/{}", self.name, object.kind(), object.name())
    }

    /// Everything that makes pods from a template of ours.
    pub(super) fn workloads(&self) -> Vec<Workload<'_>> {
        let mut all = Vec::new();
        for object in &self.objects {
            let templates: Vec<&Value> = match object.kind() {
                "Deployment" | "StatefulSet" | "DaemonSet" | "Rollout" | "Job" | "Pooler" => {
                    at(&object.value, "spec.template").into_iter().collect()
                }
                "CronJob" => at(&object.value, "spec.jobTemplate.spec.template").into_iter().collect(),
                "AnalysisTemplate" => list(&object.value, "spec.metrics")
                    .filter_map(|metric| at(metric, "provider.job.spec.template"))
                    .collect(),
                _ => Vec::new(),
            };
            all.extend(templates.into_iter().map(|template| Workload {
                place: self.place(object),
                kind: object.kind(),
                name: object.name(),
                template,
                object,
            }));
        }
        all
    }

    /// Whoever says how many pods of a workload there are: the lowest number and the highest.
    pub(super) fn replicas(&self, workload: &Workload<'_>) -> (u64, u64) {
        let targets = |scaler: &&Object| {
            str_at(&scaler.value, "spec.scaleTargetRef.kind") == workload.kind
                && str_at(&scaler.value, "spec.scaleTargetRef.name") == workload.name
        };
        if let Some(scaler) = self.of("ScaledObject").find(targets) {
            return (
                number(&scaler.value, "spec.minReplicaCount").unwrap_or(0),
                number(&scaler.value, "spec.maxReplicaCount").unwrap_or(100),
            );
        }
        if let Some(scaler) = self.of("HorizontalPodAutoscaler").find(targets) {
            return (
                number(&scaler.value, "spec.minReplicas").unwrap_or(1),
                number(&scaler.value, "spec.maxReplicas").unwrap_or(100),
            );
        }
        let path = if workload.kind == "Pooler" { "spec.instances" } else { "spec.replicas" };
        let fixed = number(&workload.object.value, path).unwrap_or(1);
        (fixed, fixed)
    }

    /// Names of a namespace's secrets with the keys that they hold, whoever makes them; none where the keys are somebody else's matter.
    pub(super) fn secrets(&self, namespace: &str) -> BTreeMap<String, Option<BTreeSet<String>>> {
        let keys = |value: Option<&Value>| -> BTreeSet<String> {
            value.and_then(Value::as_object).map(|map| map.keys().cloned().collect()).unwrap_or_default()
        };
        let mut all = BTreeMap::new();
        for object in self.objects.iter().filter(|object| object.namespace() == namespace) {
            match object.kind() {
                "Secret" => {
                    let mut held = keys(object.value.get("stringData"));
                    held.extend(keys(object.value.get("data")));
                    all.insert(object.name().to_owned(), Some(held));
                }
                "ExternalSecret" => {
                    let templated = keys(at(&object.value, "spec.target.template.data"));
                    let plain = list(&object.value, "spec.data")
                        .map(|data| str_at(data, "secretKey").to_owned())
                        .collect::<BTreeSet<_>>();
                    let held = if templated.is_empty() { plain } else { templated };
                    all.insert(str_at(&object.value, "spec.target.name").to_owned(), Some(held));
                }
                "Certificate" => {
                    all.insert(str_at(&object.value, "spec.secretName").to_owned(), None);
                }
                _ => {}
            }
        }
        all
    }
}

impl Object {
    pub(super) fn kind(&self) -> &str {
        str_at(&self.value, "kind")
    }

    pub(super) fn name(&self) -> &str {
        str_at(&self.value, "metadata.name")
    }

    /// Where it stands; nowhere if it belongs to the cluster.
    pub(super) fn namespace(&self) -> &str {
        str_at(&self.value, "metadata.namespace")
    }

    pub(super) fn version(&self) -> &str {
        str_at(&self.value, "apiVersion")
    }
}

impl<'a> Workload<'a> {
    pub(super) fn spec(&self) -> &'a Value {
        self.template.get("spec").unwrap_or(&Value::Null)
    }

    pub(super) fn labels(&self) -> BTreeMap<String, String> {
        labels(at(self.template, "metadata.labels"))
    }

    pub(super) fn containers(&self) -> impl Iterator<Item = &'a Value> + use<'a> {
        list(self.spec(), "initContainers").chain(list(self.spec(), "containers"))
    }

    /// Whether its pods end by themselves.
    pub(super) fn is_job(&self) -> bool {
        matches!(self.kind, "Job" | "CronJob" | "AnalysisTemplate")
    }

    /// Whether it is a role of the program.
    pub(super) fn is_role(&self) -> bool {
        !self.is_job() && self.labels().get("app.kubernetes.io/name").is_some_and(|name| name == NAMESPACE)
    }
}

/// What lies at a path of keys with points between them; a number takes the entry of a list.
pub(super) fn at<'a>(value: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(value, |value, key| match key.parse::<usize>() {
        Ok(place) if value.is_array() => value.get(place),
        _ => value.get(key),
    })
}

/// The text at a path, empty if there is none.
pub(super) fn str_at<'a>(value: &'a Value, path: &str) -> &'a str {
    at(value, path).and_then(Value::as_str).unwrap_or_default()
}

/// The entries of the list at a path, none if there is no list.
pub(super) fn list<'a>(value: &'a Value, path: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    at(value, path).and_then(Value::as_array).into_iter().flatten()
}

/// A number at a path, written as a number or as text.
pub(super) fn number(value: &Value, path: &str) -> Option<u64> {
    let found = at(value, path)?;
    found.as_u64().or_else(|| found.as_str()?.parse().ok())
}

/// Whether something at a path is true.
pub(super) fn is(value: &Value, path: &str, wanted: bool) -> bool {
    at(value, path).and_then(Value::as_bool) == Some(wanted)
}

/// Labels or a map of texts.
pub(super) fn labels(value: Option<&Value>) -> BTreeMap<String, String> {
    let entries = value.and_then(Value::as_object).into_iter().flatten();
    entries.map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned())).collect()
}

/// Whether labels are what a selector asks for: `matchLabels` and `matchExpressions`. One that asks for nothing takes everything.
pub(super) fn selects(selector: &Value, labels: &BTreeMap<String, String>) -> bool {
    let exact = selector.get("matchLabels").and_then(Value::as_object).into_iter().flatten();
    let mut exact = exact.map(|(key, value)| labels.get(key).map(String::as_str) == value.as_str());
    let mut said = list(selector, "matchExpressions").map(|expression| {
        let held = labels.get(str_at(expression, "key"));
        let listed = || list(expression, "values").any(|value| value.as_str() == held.map(String::as_str));
        match str_at(expression, "operator") {
            "Exists" => held.is_some(),
            "DoesNotExist" => held.is_none(),
            "In" => held.is_some() && listed(),
            "NotIn" => held.is_none() || !listed(),
            _ => false,
        }
    });
    exact.all(|fits| fits) && said.all(|fits| fits)
}

/// An amount of processor in thousandths.
pub(super) fn millis(text: &str) -> Option<u64> {
    match text.strip_suffix('m') {
        Some(thousandths) => thousandths.parse().ok(),
        None => text.parse::<u64>().ok()?.checked_mul(1_000),
    }
}

/// An amount of memory or disk in bytes.
pub(super) fn bytes(text: &str) -> Option<u64> {
    const UNITS: [(&str, u32); 4] = [("Ki", 10), ("Mi", 20), ("Gi", 30), ("Ti", 40)];
    for (unit, power) in UNITS {
        if let Some(amount) = text.strip_suffix(unit) {
            return amount.parse::<u64>().ok()?.checked_shl(power);
        }
    }
    text.parse().ok()
}

/// Puts something at a path, or takes away what is there.
pub(super) fn change(value: &mut Value, path: &str, new: Option<Value>) -> bool {
    let (parent, key) = path.rsplit_once('.').unwrap_or(("", path));
    let mut here = Some(value);
    for key in parent.split('.').filter(|key| !key.is_empty()) {
        here = here.and_then(|value| match key.parse::<usize>() {
            Ok(place) if value.is_array() => value.get_mut(place),
            _ => value.get_mut(key),
        });
    }
    let Some(here) = here else { return false };
    if let Some(entries) = here.as_array_mut() {
        let Ok(place) = key.parse::<usize>() else { return false };
        if place >= entries.len() {
            return false;
        }
        drop(entries.splice(place..=place, new));
        true
    } else if let Some(fields) = here.as_object_mut() {
        match new {
            Some(new) => fields.insert(key.to_owned(), new).is_some(),
            None => fields.remove(key).is_some(),
        }
    } else {
        false
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_selector_takes_what_it_asks_for() {
        let labels = [("role", "api"), ("zone", "a")].map(|(key, value)| (key.to_owned(), value.to_owned()));
        let labels = BTreeMap::from(labels);
        let asks = |selector: Value| selects(&selector, &labels);
        assert!(asks(json!({})));
        assert!(asks(json!({"matchLabels": {"role": "api"}})));
        assert!(!asks(json!({"matchLabels": {"role": "api", "zone": "b"}})));
        assert!(asks(
            json!({"matchExpressions": [{"key": "role", "operator": "In", "values": ["api", "x"]}]})
        ));
        assert!(!asks(json!({"matchExpressions": [{"key": "zone", "operator": "NotIn", "values": ["a"]}]})));
        assert!(!asks(json!({"matchExpressions": [{"key": "other", "operator": "Exists"}]})));
        assert!(asks(json!({"matchExpressions": [{"key": "other", "operator": "DoesNotExist"}]})));
    }

    #[test]
    fn amounts_have_units() {
        assert_eq!((millis("250m"), millis("4"), millis("x")), (Some(250), Some(4_000), None));
        assert_eq!((bytes("1Gi"), bytes("512Mi"), bytes("5")), (Some(1 << 30), Some(512 << 20), Some(5)));
    }

    #[test]
    fn documents_are_read_one_after_the_other() {
        let found = parse("kind: A\nspec: {n: [1, 2]}\n---\nkind: B\n", "foundation").unwrap();
        assert_eq!(found.iter().map(Object::kind).collect::<Vec<_>>(), ["A", "B"]);
        assert_eq!(number(&found.first().unwrap().value, "spec.n.1"), Some(2));
    }
}
