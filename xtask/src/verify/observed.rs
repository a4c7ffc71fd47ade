//! What watches the platform on Kubernetes is what is tested: the rules, dashboards and routes of `deployment/monitoring`, somebody who asks
//! each exporter that an alert depends on, and a Vector that reads the lines of every role by the files of `deployment/logging`.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::logging::yaml;
use super::manifests::{Overlay, Workload, at, everywhere, labels, list, selects, str_at, text};
use super::{Finding, Found};
use crate::machine::root;
use crate::monitoring::{DIR, Dashboards, Exporters, table};
use crate::{Failure, Outcome};

/// The manifests of rules, each with its file.
const RULES: [(&str, &str); 4] = [
    ("tradesense-recording", "rules/recording.yml"),
    ("tradesense-alerts", "rules/alerts.yml"),
    ("tradesense-slo", "rules/slo.yml"),
    ("tradesense-exporters", "kubernetes/exporters.yml"),
];
/// What one settings object may hold.
const MOST: usize = 1 << 20;

/// What is tested, read once for all places.
struct Tested {
    rules: Vec<(&'static str, Value)>,
    /// Name of the file, its text.
    dashboards: Vec<(String, String)>,
    alertmanager: Value,
    exporters: Exporters,
    /// Files of Vector.
    vector: BTreeMap<&'static str, String>,
}

/// What is rendered: nothing where it cannot be read, which is not what is tested.
fn rendered(text: &str) -> Value {
    serde_yaml_ng::from_str(text).unwrap_or_default()
}

fn tested() -> Result<Tested, Vec<Finding>> {
    let file = |name: &str| text(&format!("{DIR}/{name}"));
    let tables = || -> Outcome<(Dashboards, Exporters)> {
        let root = root()?;
        Ok((table(&root, "dashboards")?, table(&root, "exporters")?))
    };
    let (dashboards, exporters) = tables().map_err(|Failure(text)| vec![Finding::new(DIR, text)])?;
    let mut tested = Tested {
        rules: Vec::new(),
        dashboards: Vec::new(),
        alertmanager: yaml("alertmanager.yml", &file("alertmanager.yml")?)?,
        exporters,
        vector: BTreeMap::new(),
    };
    for (name, rules) in RULES {
        tested.rules.push((name, yaml(rules, &file(rules)?)?));
    }
    for dashboard in dashboards.dashboard {
        let name = format!("{}.json", dashboard.uid);
        let text = file(&format!("grafana/dashboards/{name}"))?;
        tested.dashboards.push((name, text));
    }
    for name in ["vector.yaml", "kubernetes.yaml"] {
        tested.vector.insert(name, text(&format!("deployment/logging/{name}"))?);
    }
    Ok(tested)
}

pub(super) fn by_what_is_tested() -> Found {
    let tested = tested()?;
    everywhere(|overlay, findings| {
        let mut all = asked(overlay, &tested.exporters);
        // A cluster that nobody else reaches wakes nobody.
        if !overlay.is_dev() {
            all.extend(alerts(overlay, &tested));
            all.extend(lines(overlay, &tested));
        }
        findings.extend(
            all.into_iter().map(|(place, what)| Finding::new(format!("{}: {place}", overlay.name), what)),
        );
    })
}

/// A place below an overlay, and what is wrong there.
type Wrong = Vec<(String, String)>;

fn alerts(overlay: &Overlay, tested: &Tested) -> Wrong {
    let mut wrong = Wrong::new();
    let mut say = |place: &str, what: &str| wrong.push((place.to_owned(), what.to_owned()));
    for (name, rules) in &tested.rules {
        let there = overlay.get("PrometheusRule", name).map_or(&Value::Null, |object| &object.value);
        if at(there, "spec.groups") != rules.get("groups") {
            say(name, "is not what is tested");
        }
        if labels(at(there, "metadata.labels")).get("role").map(String::as_str) != Some("alert-rules") {
            say(name, "is not found by Prometheus");
        }
    }
    for (file, text) in &tested.dashboards {
        let mut maps = overlay.of("ConfigMap").map(|map| &map.value);
        let map = maps.find(|map| map.get("data").is_some_and(|data| data.get(file).is_some()));
        let map = map.unwrap_or(&Value::Null);
        let held = map.get("data").and_then(|data| data.get(file)).and_then(Value::as_str);
        if held != Some(text.as_str()) || text.len() > MOST {
            say(file, "is not what is tested, or too large");
        }
        let found = labels(at(map, "metadata.labels")).get("grafana_dashboard").is_some_and(|yes| yes == "1");
        if !found || !labels(at(map, "metadata.annotations")).contains_key("grafana_folder") {
            say(file, "is not found by Grafana, or in no folder");
        }
    }
    let place = "ExternalSecret/tradesense-alertmanager";
    let secret =
        overlay.get("ExternalSecret", "tradesense-alertmanager").map_or(&Value::Null, |object| &object.value);
    let held = at(secret, "spec.target.template.data").unwrap_or(&Value::Null);
    let config = rendered(held.get("alertmanager.yaml").and_then(Value::as_str).unwrap_or_default());
    // The key is mounted elsewhere; nothing else differs.
    let mounted = format!("/etc/alertmanager/secrets/{}/alerts_key", str_at(secret, "spec.target.name"));
    let wanted = tested.alertmanager.to_string().replace("/run/secrets/alerts_key", &mounted);
    if config != rendered(&wanted) || held.get("alerts_key").is_none() {
        say(place, "is not what is tested, or has no key");
    }
    wrong
}

/// Each exporter is asked by the monitor that the table names, under its name; each monitor is in the table.
fn asked(overlay: &Overlay, exporters: &Exporters) -> Wrong {
    let mut wrong = Wrong::new();
    let mut known = BTreeSet::from(["PodMonitor/tradesense".to_owned()]);
    for exporter in &exporters.exporter {
        let Some(monitor) = &exporter.kubernetes else { continue };
        known.insert(monitor.clone());
        let (kind, name) = monitor.split_once('/').unwrap_or_default();
        match overlay.get(kind, name) {
            None if overlay.is_dev() => {}
            None => wrong.push((monitor.clone(), format!("nobody asks {}", exporter.job))),
            Some(monitor) => {
                let endpoints = list(&monitor.value, "spec.podMetricsEndpoints")
                    .chain(list(&monitor.value, "spec.endpoints"));
                for endpoint in endpoints {
                    let job = list(endpoint, "relabelings").find(|rule| str_at(rule, "targetLabel") == "job");
                    let job = job.map(|rule| str_at(rule, "replacement")).unwrap_or_default();
                    let named = match job.split_once("$1") {
                        None => job == exporter.job,
                        Some((before, after)) => {
                            exporter.job.starts_with(before) && exporter.job.ends_with(after)
                        }
                    };
                    if !named {
                        wrong.push((overlay.place(monitor), format!("calls {} {job:?}", exporter.job)));
                    }
                }
            }
        }
    }
    for monitor in overlay.of("PodMonitor").chain(overlay.of("ServiceMonitor")) {
        let name = format!("{}/{}", monitor.kind(), monitor.name());
        if !known.contains(&name) {
            wrong.push((name, "asks somebody whose absence nobody would notice".to_owned()));
        }
    }
    wrong
}

fn lines(overlay: &Overlay, tested: &Tested) -> Wrong {
    let mut wrong = Wrong::new();
    let workloads = overlay.workloads();
    let Some(vector) =
        workloads.iter().find(|workload| workload.kind == "DaemonSet" && workload.name == "vector")
    else {
        return vec![("DaemonSet/vector".to_owned(), "nobody reads the lines".to_owned())];
    };
    let mut say = |what: String| wrong.push(("DaemonSet/vector".to_owned(), what));
    let container = vector.containers().next().unwrap_or(&Value::Null);
    let args: Vec<&str> = list(container, "args").filter_map(Value::as_str).collect();
    let files: Vec<String> = args.iter().filter_map(|arg| held(overlay, vector, container, arg)).collect();
    let wanted: Vec<&String> = tested.vector.values().collect();
    if files.iter().collect::<BTreeSet<_>>() != wanted.into_iter().collect() {
        say("does not run exactly the files that are tested".to_owned());
    }
    let told: BTreeSet<&str> = list(container, "env").map(|variable| str_at(variable, "name")).collect();
    let config = tested.vector.get("kubernetes.yaml").map(String::as_str).unwrap_or_default();
    for name in
        config.split("${").skip(1).filter_map(|rest| rest.split('}').next()).filter(|name| !name.is_empty())
    {
        if !told.contains(name) {
            say(format!("is not told {name}"));
        }
    }
    if !told.contains("VECTOR_SELF_NODE_NAME") {
        say("does not know its node".to_owned());
    }
    let parsed = rendered(config);
    let folder = str_at(&parsed, "secret.files.path");
    let secrets = overlay.secrets(vector.object.namespace());
    let named = config.split("SECRET[files.").skip(1).filter_map(|rest| rest.split(']').next());
    let certificate = str_at(&parsed, "sinks.elasticsearch.tls.ca_file");
    let certificate = certificate.strip_prefix(&format!("{folder}/")).unwrap_or("no certificate");
    let mount = list(container, "volumeMounts").find(|mount| str_at(mount, "mountPath") == folder);
    let volume = mount.and_then(|mount| {
        list(vector.spec(), "volumes").find(|volume| str_at(volume, "name") == str_at(mount, "name"))
    });
    let keys =
        volume.and_then(|volume| secrets.get(str_at(volume, "secret.secretName"))).and_then(Option::as_ref);
    for key in named.chain([certificate]) {
        if keys.is_none_or(|keys| !keys.contains(key)) {
            say(format!("finds no {key} in {folder}"));
        }
    }
    // Selected as a label is: `name=value`.
    let (label, value) =
        str_at(&parsed, "sources.containers.extra_label_selector").split_once('=').unwrap_or_default();
    let selector = json!({"matchLabels": {label: value}});
    for role in workloads.iter().filter(|workload| workload.is_role()) {
        if label.is_empty() || !selects(&selector, &role.labels()) {
            say(format!("does not read the lines of {}", role.name));
        }
    }
    wrong
}

/// The text of a file that a container sees among its settings.
fn held(overlay: &Overlay, workload: &Workload<'_>, container: &Value, path: &str) -> Option<String> {
    let (folder, file) = path.rsplit_once('/')?;
    let mount = list(container, "volumeMounts").find(|mount| str_at(mount, "mountPath") == folder)?;
    let volume =
        list(workload.spec(), "volumes").find(|volume| str_at(volume, "name") == str_at(mount, "name"))?;
    let map = overlay.get("ConfigMap", str_at(volume, "configMap.name"))?;
    map.value.get("data")?.get(file)?.as_str().map(str::to_owned)
}
