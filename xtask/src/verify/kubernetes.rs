//! Checks over every rendered manifest: that it would be taken, and that what it makes is what we promise.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use serde::Deserialize;
use serde_json::{Value, json};

use super::manifests::{
    NAMESPACE, NAMESPACES, Object, Overlay, STAGES, Workload, at, bytes, directory, everywhere, is, labels,
    list, millis, note, number, overlays, selects, str_at, text,
};
use super::schema;
use super::stand_ins;
use super::{Finding, Found, nothing};
use crate::machine::target;

/// The release of Kubernetes whose schemas count.
const KUBERNETES: &str = "1.35";
/// The package that holds them; it works without a network.
const VALIDATOR: &str = "kubernetes-validate==1.37.0";
/// Manifests that stand in no namespace.
const OF_THE_CLUSTER: [&str; 8] = [
    "ClusterRole",
    "ClusterRoleBinding",
    "Namespace",
    "PriorityClass",
    "ValidatingAdmissionPolicy",
    "ValidatingAdmissionPolicyBinding",
    "GatewayClass",
    "NodePool",
];
/// Whose namespace the Prometheus operator, Alertmanager and Grafana share, and what of ours they look for there: nothing that runs.
const MONITORING: (&str, [&str; 7]) = (
    "monitoring",
    [
        "ConfigMap",
        "ExternalSecret",
        "PodMonitor",
        "PrometheusRule",
        "SecretStore",
        "ServiceAccount",
        "ServiceMonitor",
    ],
);
/// What reads the lines of its node: the directories that it mounts, and whether only for reading. It runs as root, because the files are
/// root's, and asks the API server whose they are; everything else is as for everybody.
const READS_NODES: (&str, &str, [(&str, bool); 2]) =
    ("DaemonSet", "vector", [("/var/log/pods", true), ("/var/lib/vector", false)]);
/// Kinds whose schemas are custom resources'.
const CUSTOM: [&str; 9] = [
    "argoproj.io/",
    "barmancloud.cnpg.io/",
    "cert-manager.io/",
    "external-secrets.io/",
    "gateway.",
    "karpenter.sh/",
    "keda.sh/",
    "monitoring.coreos.com/",
    "postgresql.cnpg.io/",
];

/// Adds a finding about a workload.
fn say(findings: &mut Vec<Finding>, place: &str, what: impl Into<String>) {
    findings.push(Finding::new(place, what));
}

pub(super) fn overlays_render() -> Found {
    let overlays = overlays()?;
    let findings = overlays.iter().filter(|overlay| overlay.objects.len() < 60);
    let findings =
        findings.map(|overlay| Finding::new(overlay.name, "renders hardly anything")).collect::<Vec<_>>();
    for overlay in overlays {
        let custom = overlay.objects.iter().filter(|object| is_custom(object)).count();
        note(&format!(
            "      {}: {} manifests, {custom} of them custom resources",
            overlay.name,
            overlay.objects.len()
        ));
    }
    nothing(findings)
}

fn is_custom(object: &Object) -> bool {
    CUSTOM.iter().any(|group| object.version().starts_with(group))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Served {
    operator: Vec<Operator>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(dead_code, reason = "name and release are for whoever reads the file")]
struct Operator {
    name: String,
    release: String,
    serves: BTreeSet<String>,
}

pub(super) fn versions_are_served() -> Found {
    let file = "deployment/kubernetes/schemas/served.toml";
    let served: Served =
        toml::from_str(&text(file)?).map_err(|error| vec![Finding::new(file, error.to_string())])?;
    let served: BTreeSet<&String> = served.operator.iter().flat_map(|operator| &operator.serves).collect();
    let is_served = |version: &str| served.iter().any(|known| *known == version);
    let mut used = BTreeSet::new();
    let mut findings = Vec::new();
    for overlay in overlays()? {
        for object in &overlay.objects {
            used.insert(object.version().to_owned());
            if !is_served(object.version()) {
                let what = format!("no release that we run against serves {}", object.version());
                findings.push(Finding::new(overlay.place(object), what));
            }
        }
    }
    let unused = served.iter().filter(|version| !used.contains(version.as_str()));
    findings.extend(unused.map(|version| Finding::new(file, format!("{version} is served for nobody"))));
    // One that was retired passes its schema: the table has to refuse it.
    if is_served("external-secrets.io/v1beta1") {
        findings.push(Finding::new(file, "external-secrets.io/v1beta1 is served no more since 0.17"));
    }
    nothing(findings)
}

/// Runs the validator over some documents; gives what it says.
fn validate_core(file: &PathBuf) -> Result<(bool, String), Vec<Finding>> {
    let found = |what: String| vec![Finding::new("kubernetes-validate", what)];
    let tools = target().map_err(|_| found("there is no target directory".into()))?.join("tools");
    let venv = tools.join(VALIDATOR.replace("==", "-"));
    let program = venv.join("bin/kubernetes-validate");
    if !program.exists() {
        fs::create_dir_all(&tools).map_err(|error| found(error.to_string()))?;
        for (program, args) in [
            ("python3".into(), vec!["-m", "venv", venv.to_str().unwrap_or_default()]),
            (venv.join("bin/pip"), vec!["install", "--quiet", "--disable-pip-version-check", VALIDATOR]),
        ] {
            let out = Command::new(&program).args(&args).output();
            let out = out.map_err(|error| found(format!("{}: {error}", program.display())))?;
            if !out.status.success() {
                return Err(found(String::from_utf8_lossy(&out.stderr).trim().to_owned()));
            }
        }
    }
    let out = Command::new(program)
        .args(["--kubernetes-version", KUBERNETES, "--strict", "--no-warn", "--quiet"])
        .arg(file)
        .output()
        .map_err(|error| found(error.to_string()))?;
    let said = [out.stdout.as_slice(), &out.stderr].map(String::from_utf8_lossy).concat();
    Ok((out.status.success(), said))
}

pub(super) fn core_schemas() -> Found {
    let io = |error: std::io::Error| vec![Finding::new("target/tools", error.to_string())];
    let tools = target().map_err(|_| vec![Finding::new("here", "there is no target directory")])?;
    let dir = tools.join("tools/manifests");
    fs::create_dir_all(&dir).map_err(io)?;
    let mut findings = Vec::new();
    for overlay in overlays()? {
        let core = overlay.objects.iter().filter(|object| !is_custom(object));
        let core: Vec<String> = core.map(|object| object.value.to_string()).collect();
        let file = dir.join(format!("{}.yaml", overlay.name));
        fs::write(&file, core.join("\n---\n")).map_err(io)?;
        let (good, said) = validate_core(&file)?;
        if !good {
            findings.push(Finding::new(overlay.name, said.trim()));
        }
    }
    // A mistake that has to be noticed, or the validator was not asked at all.
    let wrong = json!({"apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {"name": "x"},
        "spec": {"maxReplicas": 2, "behaviour": {}, "scaleTargetRef": {"kind": "Deployment", "name": "x"}}});
    let file = dir.join("wrong.yaml");
    fs::write(&file, wrong.to_string()).map_err(io)?;
    if validate_core(&file)?.0 {
        findings.push(Finding::new("kubernetes-validate", "takes `behaviour` for `behavior`"));
    }
    nothing(findings)
}

/// The schema of a custom resource, read once.
fn schema_of(object: &Object) -> Result<Result<&'static Value, String>, Vec<Finding>> {
    type Known = BTreeMap<PathBuf, Result<&'static Value, String>>;
    static KNOWN: Mutex<Known> = Mutex::new(BTreeMap::new());
    let (group, version) = object.version().split_once('/').unwrap_or_default();
    let file = directory(&format!("schemas/{group}/{}_{version}.json", object.kind().to_lowercase()))?;
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let schema = known.entry(file).or_insert_with_key(|file| {
        let text = fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
        let schema: Value =
            serde_json::from_str(&text).map_err(|error| format!("{}: {error}", file.display()))?;
        let mut forms = Vec::new();
        schema::unreadable_forms(&schema, &mut forms);
        // There are twenty of them, until the end of the program.
        if forms.is_empty() { Ok(Box::leak(Box::new(schema))) } else { Err(forms.join("; ")) }
    });
    Ok(schema.clone())
}

pub(super) fn custom_schemas() -> Found {
    let (mut findings, mut compared) = (Vec::new(), 0_usize);
    for overlay in overlays()? {
        for object in overlay.objects.iter().filter(|object| is_custom(object)) {
            let place = overlay.place(object);
            let schema = match schema_of(object)? {
                Ok(schema) => schema,
                Err(error) => {
                    say(&mut findings, &place, error);
                    continue;
                }
            };
            compared = compared.saturating_add(1);
            findings.extend(
                schema::refused(&object.value, schema).into_iter().map(|what| Finding::new(&place, what)),
            );
            // The root is open in these schemas.
            for field in object.value.as_object().into_iter().flat_map(|fields| fields.keys()) {
                if !["apiVersion", "kind", "metadata", "spec"].contains(&field.as_str()) {
                    say(&mut findings, &place, format!("{field} is not known"));
                }
            }
            // A schema that takes anything has shown nothing.
            let mut wrong = object.value.clone();
            if let Some(spec) = wrong.get_mut("spec").and_then(Value::as_object_mut) {
                spec.insert("nobodyKnowsThis".into(), json!(1));
            }
            if schema::refused(&wrong, schema).is_empty() {
                say(&mut findings, &place, "its schema takes unknown fields");
            }
        }
    }
    note(&format!("{compared} custom resources compared, each also with an unknown field"));
    nothing(findings)
}

pub(super) fn names() -> Found {
    everywhere(|overlay, findings| {
        let mut seen: BTreeMap<(&str, &str), &Value> = BTreeMap::new();
        for object in &overlay.objects {
            let place = overlay.place(object);
            // What two stages have in common has to be the same in both.
            if let Some(other) = seen.insert((object.kind(), object.name()), &object.value)
                && *other != object.value
            {
                say(findings, &place, "is there twice, in two forms");
            }
            let (monitoring, kinds) = MONITORING;
            let namespace = object.namespace();
            match OF_THE_CLUSTER.contains(&object.kind()) {
                true if namespace.is_empty() => {}
                true => say(findings, &place, "stands in no namespace, but names one"),
                false if overlay.get("Namespace", namespace).is_some() => {}
                false if namespace == monitoring && kinds.contains(&object.kind()) => {}
                false => say(findings, &place, format!("stands in namespace {namespace:?}")),
            }
        }
        if overlay.get("Namespace", NAMESPACE).is_none() {
            say(findings, overlay.name, "there is no namespace");
        }
        for namespace in overlay.of("Namespace") {
            let level = labels(at(&namespace.value, "metadata.labels"));
            let level = level.get("pod-security.kubernetes.io/enforce").map(String::as_str);
            let wanted = NAMESPACES.iter().find(|(name, _)| *name == namespace.name());
            if level.is_none() || level != wanted.map(|(_, level)| *level) {
                say(findings, &overlay.place(namespace), format!("holds its pods to {level:?}"));
            }
        }
    })
}

pub(super) fn pods_are_restricted() -> Found {
    everywhere(|overlay, findings| {
        for workload in overlay.workloads() {
            let mut wrong = |what: &str| say(findings, &workload.place, what);
            let spec = workload.spec();
            let (kind, name, directories) = READS_NODES;
            let reads = (workload.kind, workload.name) == (kind, name);
            if reads == (workload.object.namespace() == NAMESPACE) {
                wrong("stands in a namespace that is not for it");
            }
            if !is(spec, "securityContext.runAsNonRoot", !reads) {
                wrong("may run as root, or may not read what it is there for");
            }
            if str_at(spec, "securityContext.seccompProfile.type") != "RuntimeDefault" {
                wrong("has no seccomp profile");
            }
            // The pooler's instance manager and whoever reads lines speak with the API server; nobody else does.
            if !is(spec, "automountServiceAccountToken", reads) && workload.kind != "Pooler" {
                wrong("is given a token for the API server, or lacks the one that it needs");
            }
            if !is(spec, "enableServiceLinks", false) {
                wrong("is told of every service in its environment");
            }
            for banned in ["hostNetwork", "hostPID", "hostIPC"] {
                if spec.get(banned).is_some() {
                    wrong(&format!("asks for {banned}"));
                }
            }
            for volume in list(spec, "volumes").filter(|volume| volume.get("hostPath").is_some()) {
                let known = directories.iter().find(|(path, _)| *path == str_at(volume, "hostPath.path"));
                let mut mounts = workload.containers().flat_map(|container| list(container, "volumeMounts"));
                let writes = mounts.any(|mount| {
                    str_at(mount, "name") == str_at(volume, "name") && !is(mount, "readOnly", true)
                });
                if !reads || known.is_none_or(|(_, only_read)| *only_read && writes) {
                    wrong("mounts a directory of its node");
                }
            }
            for container in workload.containers() {
                let name = str_at(container, "name");
                let mut wrong = |what: &str| say(findings, &workload.place, format!("{name} {what}"));
                if !is(container, "securityContext.allowPrivilegeEscalation", false) {
                    wrong("may gain rights");
                }
                if !is(container, "securityContext.readOnlyRootFilesystem", true) {
                    wrong("may write to its image");
                }
                if at(container, "securityContext.capabilities.drop") != Some(&json!(["ALL"])) {
                    wrong("keeps capabilities");
                }
                if at(container, "securityContext.capabilities.add").is_some() {
                    wrong("asks for capabilities");
                }
                if list(container, "ports").any(|port| port.get("hostPort").is_some()) {
                    wrong("takes a port of its node");
                }
            }
        }
    })
}

/// How long the program takes to stop, from its source.
fn longest_stop() -> Result<u64, Vec<Finding>> {
    let file = "crates/tradesense/src/platform.rs";
    let said = text(file)?;
    let said = said.split_once("const LONGEST_STOP: Duration = Duration::from_secs(");
    let said = said.and_then(|(_, rest)| rest.split_once(')')).and_then(|(seconds, _)| seconds.parse().ok());
    said.ok_or_else(|| vec![Finding::new(file, "LONGEST_STOP was not found")])
}

pub(super) fn probes_and_stopping() -> Found {
    let stop = longest_stop()?;
    everywhere(|overlay, findings| {
        for workload in overlay.workloads().iter().filter(|workload| !workload.is_job()) {
            if workload.kind == "Pooler" {
                continue; // The operator gives them theirs.
            }
            for container in workload.containers() {
                let mut wrong = |what: &str| say(findings, &workload.place, what);
                let [startup, readiness, liveness] =
                    ["startupProbe", "readinessProbe", "livenessProbe"].map(|name| container.get(name));
                if startup.is_none() || readiness.is_none() || liveness.is_none() {
                    wrong("lacks a probe");
                }
                if readiness == liveness {
                    wrong("is killed by what should only keep people away");
                }
                if !workload.is_role() {
                    continue;
                }
                let asks = |probe: Option<&Value>, path: &str| {
                    probe.is_some_and(|probe| {
                        str_at(probe, "httpGet.path") == path && str_at(probe, "httpGet.port") == "ops"
                    })
                };
                if !asks(readiness, "/health/ready") {
                    wrong("is ready without having been asked on the port for it");
                }
                if !asks(liveness, "/health/live") || !asks(startup, "/health/live") {
                    wrong("is killed for more than standing still");
                }
                let pause = number(container, "lifecycle.preStop.sleep.seconds").unwrap_or(0);
                // By then every proxy has asked twice and forgotten it.
                if pause < 10 {
                    wrong("stops while others still send to it");
                }
                let grace = number(workload.spec(), "terminationGracePeriodSeconds").unwrap_or(30);
                if grace < pause.saturating_add(stop).saturating_add(10) {
                    wrong("is killed before it has stopped by itself");
                }
            }
        }
    })
}

/// Workloads of which one may be killed at any moment and nothing is lost or kept waiting: analytics has nothing that is not in the
/// database, and each of it answers alone.
const MAY_BE_KILLED: [&str; 1] = ["tradesense-analytics"];
/// What machines are marked with that may be taken away at two minutes' notice.
const SPOT: &str = "tradesense.example/spot";

pub(super) fn spot() -> Found {
    everywhere(|overlay, findings| {
        let marked = |pool: &&Object| {
            list(&pool.value, "spec.template.spec.taints")
                .any(|taint| str_at(taint, "key") == SPOT && str_at(taint, "effect") == "NoSchedule")
        };
        for pool in overlay.of("NodePool").filter(|pool| !marked(pool)) {
            findings.push(Finding::new(overlay.place(pool), "takes everybody"));
        }
        let has_pool = overlay.of("NodePool").next().is_some();
        // What runs on every machine is there for the others.
        for workload in overlay.workloads().iter().filter(|workload| workload.kind != "DaemonSet") {
            let tolerates =
                |toleration: &Value| toleration.get("key").is_none() || str_at(toleration, "key") == SPOT;
            if !list(workload.spec(), "tolerations").any(tolerates) {
                continue;
            }
            if !MAY_BE_KILLED.contains(&workload.name) {
                say(findings, &workload.place, "may be killed at any moment, and must not be");
            }
            let apart = list(workload.spec(), "topologySpreadConstraints")
                .any(|spread| str_at(spread, "topologyKey") == "karpenter.sh/capacity-type");
            if !apart {
                say(findings, &workload.place, "may all be taken away at once");
            }
            if !has_pool {
                say(findings, &workload.place, "tolerates machines that there are not");
            }
        }
    })
}

pub(super) fn disruptions_and_zones() -> Found {
    everywhere(|overlay, findings| {
        let workloads = overlay.workloads();
        for workload in workloads.iter().filter(|workload| !workload.is_job()) {
            let mut wrong = |what: &str| say(findings, &workload.place, what);
            if workload.kind == "DaemonSet" {
                // One on each node, whatever the node is for: nothing to spread, and nobody moves it elsewhere.
                let everywhere = list(workload.spec(), "tolerations")
                    .any(|taint| str_at(taint, "operator") == "Exists" && taint.get("key").is_none());
                if !everywhere {
                    wrong("is kept from some nodes");
                }
                continue;
            }
            let mut pods = workload.labels();
            if workload.kind == "Pooler" {
                pods.insert("cnpg.io/poolerName".into(), workload.name.into());
            }
            let budgets: Vec<&Object> = overlay
                .of("PodDisruptionBudget")
                .filter(|budget| {
                    at(&budget.value, "spec.selector").is_some_and(|selector| selects(selector, &pods))
                })
                .collect();
            match budgets.as_slice() {
                [budget] => {
                    if number(&budget.value, "spec.maxUnavailable") != Some(1) {
                        wrong("lets none or several go at once");
                    }
                    if str_at(&budget.value, "spec.unhealthyPodEvictionPolicy") != "AlwaysAllow" {
                        wrong("keeps a node from being emptied while it is unwell");
                    }
                }
                [] => wrong("has no budget for disruptions"),
                _ => wrong("has several budgets for disruptions, so that nobody can be evicted"),
            }
            let spread: Vec<&Value> = list(workload.spec(), "topologySpreadConstraints").collect();
            let by = |key: &str| spread.iter().find(|constraint| str_at(constraint, "topologyKey") == key);
            let (least, _) = overlay.replicas(workload);
            match by("topology.kubernetes.io/zone") {
                None => wrong("is not spread over zones"),
                Some(zones) => {
                    if least >= 3 && str_at(zones, "whenUnsatisfiable") != "DoNotSchedule" {
                        wrong("may end up in one zone");
                    }
                    if at(zones, "labelSelector").is_none_or(|selector| !selects(selector, &pods)) {
                        wrong("is spread by labels that it does not have");
                    }
                }
            }
            if workload.is_role() {
                if by("kubernetes.io/hostname").is_none() {
                    wrong("is not spread over machines");
                }
                let key = match workload.kind {
                    "Rollout" => "rollouts-pod-template-hash",
                    "StatefulSet" => "controller-revision-hash",
                    _ => "pod-template-hash",
                };
                if spread.iter().any(|constraint| at(constraint, "matchLabelKeys") != Some(&json!([key]))) {
                    wrong("counts the pods of another revision");
                }
                if !overlay.is_dev() && least < 2 {
                    wrong("is there only once");
                }
            }
        }
        for workload in &workloads {
            let class = str_at(workload.spec(), "priorityClassName");
            if overlay.get("PriorityClass", class).is_none() {
                say(findings, &workload.place, "has no priority");
            }
        }
        // Whoever is scaled says no number: each release would set it back.
        for scaler in overlay.objects.iter().filter(|object| is_scaler(object)) {
            let target = str_at(&scaler.value, "spec.scaleTargetRef.name");
            let kind = str_at(&scaler.value, "spec.scaleTargetRef.kind");
            match overlay.get(kind, target) {
                None => say(
                    findings,
                    &overlay.place(scaler),
                    format!("scales {kind}/{target}, which is not there"),
                ),
                Some(object) => {
                    if object.version() != str_at(&scaler.value, "spec.scaleTargetRef.apiVersion") {
                        say(findings, &overlay.place(scaler), "names its target by another version");
                    }
                    if at(&object.value, "spec.replicas").is_some() {
                        say(findings, &overlay.place(object), "is scaled, and says how many it is as well");
                    }
                }
            }
            let rivals = overlay.objects.iter().filter(|object| {
                is_scaler(object) && str_at(&object.value, "spec.scaleTargetRef.name") == target
            });
            if rivals.count() != 1 {
                say(findings, &overlay.place(scaler), "is not the only one who scales its target");
            }
        }
        // Priorities: the database before everything, boards last.
        let value = |name: &str| {
            let class = overlay.get("PriorityClass", &format!("tradesense-{name}"));
            class.and_then(|class| number(&class.value, "value")).unwrap_or(0)
        };
        let order = ["data", "engine", "api", "worker", "analytics", "batch"].map(value);
        if !order.is_sorted_by(|first, second| first > second) {
            say(findings, overlay.name, "priorities are not in the order that is wanted");
        }
    })
}

fn is_scaler(object: &Object) -> bool {
    matches!(object.kind(), "ScaledObject" | "HorizontalPodAutoscaler")
}

pub(super) fn requests_and_limits() -> Found {
    everywhere(|overlay, findings| {
        let (mut cpu, mut memory, mut pods) = (0_u64, 0_u64, 0_u64);
        for workload in overlay.workloads() {
            let (_, most) = overlay.replicas(&workload);
            // Blue and green stand beside each other; a Deployment adds one while it rolls.
            let most = match workload.kind {
                "Rollout" => most.saturating_mul(2),
                "Deployment" => most.saturating_add(1),
                _ => most,
            };
            // The quota is about one namespace.
            let most = if workload.object.namespace() == NAMESPACE { most } else { 0 };
            pods = pods.saturating_add(most);
            for container in workload.containers() {
                let mut wrong = |what: &str| say(findings, &workload.place, what);
                let asked = millis(str_at(container, "resources.requests.cpu"));
                let held = bytes(str_at(container, "resources.requests.memory"));
                if asked.is_none() {
                    wrong("asks for no processor time");
                }
                if held.is_none() || held != bytes(str_at(container, "resources.limits.memory")) {
                    wrong("may use more memory than it asks for, or asks for none");
                }
                if at(container, "resources.limits.cpu").is_some() {
                    wrong("is throttled: password hashing and TLS come in bursts");
                }
                if workload.is_role() && at(container, "resources.limits.ephemeral-storage").is_none() {
                    wrong("may fill the disk of its node");
                }
                cpu = cpu.saturating_add(asked.unwrap_or(0).saturating_mul(most));
                memory = memory.saturating_add(held.unwrap_or(0).saturating_mul(most));
            }
        }
        for cluster in overlay.of("Cluster") {
            let instances = number(&cluster.value, "spec.instances").unwrap_or(0);
            let asked = millis(str_at(&cluster.value, "spec.resources.requests.cpu")).unwrap_or(0);
            let held = bytes(str_at(&cluster.value, "spec.resources.requests.memory"));
            if held.is_none() || held != bytes(str_at(&cluster.value, "spec.resources.limits.memory")) {
                say(findings, &overlay.place(cluster), "may use more memory than it asks for");
            }
            cpu = cpu.saturating_add(asked.saturating_mul(instances));
            memory = memory.saturating_add(held.unwrap_or(0).saturating_mul(instances));
            pods = pods.saturating_add(instances);
        }
        let Some(quota) = overlay.of("ResourceQuota").next() else {
            return say(findings, overlay.name, "there is no quota");
        };
        let most = |key: &str| {
            let hard = at(&quota.value, "spec.hard").and_then(|hard| hard.get(key));
            hard.and_then(Value::as_str).unwrap_or_default()
        };
        for (what, used, most) in [
            ("processors", cpu, millis(most("requests.cpu"))),
            ("memory", memory, bytes(most("requests.memory"))),
            ("pods", pods, most("pods").parse().ok()),
        ] {
            if most.is_none_or(|most| used > most) {
                say(
                    findings,
                    &overlay.place(quota),
                    format!("everything at its largest needs more {what}: {used}"),
                );
            }
        }
    })
}

/// The registries that admission takes, from its own rule.
fn registries(overlay: &Overlay) -> Vec<String> {
    let policy = overlay.get("ValidatingAdmissionPolicy", "tradesense-images");
    let rules = policy.into_iter().flat_map(|policy| list(&policy.value, "spec.validations"));
    let named = rules.filter_map(|rule| {
        let (listed, _) = str_at(rule, "expression").split_once("['")?.1.split_once("']")?;
        Some(listed.split("', '").map(str::to_owned).collect::<Vec<_>>())
    });
    named.flatten().collect()
}

pub(super) fn images() -> Found {
    everywhere(|overlay, findings| {
        let registries = registries(overlay);
        let mut named: Vec<(String, &str)> = Vec::new();
        for workload in overlay.workloads() {
            named.extend(
                workload.containers().map(|container| (workload.place.clone(), str_at(container, "image"))),
            );
        }
        named.extend(
            overlay
                .of("Cluster")
                .map(|cluster| (overlay.place(cluster), str_at(&cluster.value, "spec.imageName"))),
        );
        for (place, image) in named {
            let digest = image.split_once("@sha256:").map(|(_, digest)| digest).unwrap_or_default();
            if digest.len() != 64 || !digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
                say(findings, &place, format!("{image} is not named by its digest"));
            }
            // Ours has one only once it is released.
            if digest.bytes().all(|byte| byte == b'0') && !image.starts_with("ghcr.io/tradesense/") {
                say(findings, &place, format!("{image} is nobody's digest"));
            }
            if !registries.iter().any(|registry| image.starts_with(registry.as_str())) {
                say(
                    findings,
                    &place,
                    format!("{image} comes from where admission takes nothing: {registries:?}"),
                );
            }
        }
        for namespace in overlay.of("Namespace") {
            let key = "kubernetes.io/metadata.name".to_owned();
            let pods = BTreeMap::from([(key, namespace.name().to_owned())]);
            let mut bound = overlay.of("ValidatingAdmissionPolicyBinding").filter(|binding| {
                let chosen = at(&binding.value, "spec.matchResources.namespaceSelector");
                str_at(&binding.value, "spec.policyName") == "tradesense-images"
                    && list(&binding.value, "spec.validationActions").any(|action| action == "Deny")
                    && chosen.is_some_and(|selector| selects(selector, &pods))
            });
            if bound.next().is_none() {
                say(findings, &overlay.place(namespace), "takes images from anywhere");
            }
        }
    })
}

pub(super) fn references() -> Found {
    everywhere(|overlay, findings| {
        for workload in overlay.workloads() {
            let secrets = overlay.secrets(workload.object.namespace());
            references_of_pods(overlay, &workload, &secrets, findings);
        }
        for object in &overlay.objects {
            references_of_object(overlay, object, &overlay.secrets(object.namespace()), findings);
        }
        // Everybody is watched, the database too.
        let watched = |pods: &BTreeMap<String, String>| {
            let mut monitors = overlay.of("PodMonitor");
            monitors
                .any(|monitor| at(&monitor.value, "spec.selector").is_some_and(|asks| selects(asks, pods)))
        };
        for workload in overlay.workloads().iter().filter(|workload| workload.is_role()) {
            if !watched(&workload.labels()) {
                say(findings, &workload.place, "is not watched");
            }
        }
        let database = [("cnpg.io/cluster", "tradesense-db"), ("cnpg.io/podRole", "instance")];
        if !watched(&database.map(|(key, value)| (key.to_owned(), value.to_owned())).into()) {
            say(findings, overlay.name, "the database is not watched");
        }
    })
}

fn references_of_pods(
    overlay: &Overlay,
    workload: &Workload<'_>,
    secrets: &BTreeMap<String, Option<BTreeSet<String>>>,
    findings: &mut Vec<Finding>,
) {
    let mut wrong = |what: String| say(findings, &workload.place, what);
    let spec = workload.spec();
    let here = workload.object.namespace();
    let account = str_at(spec, "serviceAccountName");
    let known = overlay.get("ServiceAccount", account).filter(|account| account.namespace() == here);
    if workload.kind != "Pooler" && known.is_none() {
        wrong(format!("runs as {account:?}, which is nobody"));
    }
    if (workload.kind, workload.name) == (READS_NODES.0, READS_NODES.1)
        && rights_of(overlay, account)
            != [
                json!({"apiGroups": [""], "resources": ["pods", "namespaces", "nodes"], "verbs": ["list", "watch"]}),
            ]
    {
        wrong("may do something else with the API than see whose lines it reads".into());
    }
    // A stage is applied by itself: what it needs is in it or in the foundation.
    let settings = |name: &str| {
        let stages = [workload.object.stage, "foundation"];
        let mut maps = overlay.of("ConfigMap").filter(|map| map.namespace() == here);
        maps.find(|map| map.name() == name && stages.contains(&map.stage))
    };
    let has = |kind: &str, name: &str, key: &str| match kind {
        "Secret" => secrets.get(name).is_some_and(|keys| keys.as_ref().is_none_or(|keys| keys.contains(key))),
        _ => settings(name)
            .is_some_and(|map| map.value.get("data").is_some_and(|data| data.get(key).is_some())),
    };
    let claims: BTreeSet<&str> = list(&workload.object.value, "spec.volumeClaimTemplates")
        .map(|claim| str_at(claim, "metadata.name"))
        .collect();
    let mut volumes: BTreeMap<&str, &Value> = BTreeMap::new();
    for volume in list(spec, "volumes") {
        volumes.insert(str_at(volume, "name"), volume);
        let secret = str_at(volume, "secret.secretName");
        if !secret.is_empty() && !secrets.contains_key(secret) {
            wrong(format!("mounts the secret {secret}, which nobody makes"));
        }
        let map = str_at(volume, "configMap.name");
        if !map.is_empty() && settings(map).is_none() {
            wrong(format!("mounts the settings {map}, which are not there"));
        }
        let claim = str_at(volume, "persistentVolumeClaim.claimName");
        if !claim.is_empty() && overlay.get("PersistentVolumeClaim", claim).is_none() {
            wrong(format!("mounts the volume {claim}, which is not there"));
        }
    }
    let mut mounted: BTreeSet<&str> = BTreeSet::new();
    for container in workload.containers() {
        for mount in list(container, "volumeMounts") {
            let name = str_at(mount, "name");
            mounted.insert(name);
            if !volumes.contains_key(name) && !claims.contains(name) {
                wrong(format!("mounts {name}, which is no volume of it"));
            }
        }
        for variable in list(container, "env") {
            let name = str_at(variable, "name");
            for (kind, path) in
                [("ConfigMap", "valueFrom.configMapKeyRef"), ("Secret", "valueFrom.secretKeyRef")]
            {
                let Some(asked) = at(variable, path) else { continue };
                let (object, key) = (str_at(asked, "name"), str_at(asked, "key"));
                if kind == "Secret" {
                    wrong(format!("{name} holds a secret in the environment"));
                }
                let optional = is(asked, "optional", true);
                let may_lack = optional && kind == "ConfigMap" && settings(object).is_some();
                if !may_lack && !has(kind, object, key) {
                    wrong(format!("{name} asks {kind} {object} for {key}, which it does not hold"));
                }
            }
            // A secret that is told in a file: the file has to be one of those that are mounted.
            let value = str_at(variable, "value");
            let is_file = name.ends_with("_FILE");
            let found = value.rsplit_once('/').is_some_and(|(folder, key)| {
                let mount =
                    list(container, "volumeMounts").find(|mount| str_at(mount, "mountPath") == folder);
                let volume = mount.and_then(|mount| volumes.get(str_at(mount, "name")));
                volume.is_some_and(|volume| has("Secret", str_at(volume, "secret.secretName"), key))
            });
            if is_file && !found {
                wrong(format!("{name} names {value}, which no mounted secret holds"));
            }
        }
    }
    for name in volumes.keys().filter(|name| !mounted.contains(*name)) {
        wrong(format!("has the volume {name} and mounts it nowhere"));
    }
}

/// What an account may do in the whole cluster.
fn rights_of(overlay: &Overlay, account: &str) -> Vec<Value> {
    let bindings = overlay.of("ClusterRoleBinding").filter(|binding| {
        list(&binding.value, "subjects").any(|subject| {
            str_at(subject, "name") == account
                && overlay
                    .get("ServiceAccount", account)
                    .is_some_and(|account| account.namespace() == str_at(subject, "namespace"))
        })
    });
    let roles =
        bindings.filter_map(|binding| overlay.get("ClusterRole", str_at(&binding.value, "roleRef.name")));
    roles.flat_map(|role| list(&role.value, "rules")).cloned().collect()
}

fn references_of_object(
    overlay: &Overlay,
    object: &Object,
    secrets: &BTreeMap<String, Option<BTreeSet<String>>>,
    findings: &mut Vec<Finding>,
) {
    let place = overlay.place(object);
    let mut wrong = |what: String| say(findings, &place, what);
    let spec = object.value.get("spec").unwrap_or(&Value::Null);
    let workloads = overlay.workloads();
    let there = |kind: &str, name: &str| {
        // What stands in a namespace is looked for in the same one.
        let here = object.namespace();
        overlay
            .get(kind, name)
            .is_some_and(|other| here.is_empty() || [here, ""].contains(&other.namespace()))
    };
    match object.kind() {
        "Service" => {
            let wanted = labels(spec.get("selector"));
            let chosen = workloads.iter().filter(|workload| {
                let pods = workload.labels();
                !workload.is_job() && wanted.iter().all(|(key, value)| pods.get(key) == Some(value))
            });
            let chosen: Vec<_> = chosen.collect();
            if wanted.is_empty() || chosen.len() != 1 {
                wrong(format!("chooses {} workloads", chosen.len()));
            }
            for port in list(spec, "ports") {
                let target = str_at(port, "targetPort");
                let named = chosen.iter().flat_map(|workload| workload.containers());
                let mut named = named.flat_map(|container| list(container, "ports"));
                if !named.any(|port| str_at(port, "name") == target) {
                    wrong(format!("sends to the port {target:?}, which has no such name"));
                }
            }
        }
        "ClusterRoleBinding" => {
            let (kind, name, _) = READS_NODES;
            let workload = workloads.iter().find(|workload| (workload.kind, workload.name) == (kind, name));
            let account = workload.map(|workload| str_at(workload.spec(), "serviceAccountName"));
            if list(&object.value, "subjects").any(|subject| Some(str_at(subject, "name")) != account) {
                wrong("gives rights in the whole cluster to somebody who needs none".into());
            }
        }
        "StatefulSet" if !there("Service", str_at(spec, "serviceName")) => {
            wrong("gives its pods no names".into());
        }
        "PodDisruptionBudget" => {
            let chosen = workloads.iter().filter(|workload| {
                let mut pods = workload.labels();
                if workload.kind == "Pooler" {
                    pods.insert("cnpg.io/poolerName".into(), workload.name.into());
                }
                spec.get("selector").is_some_and(|selector| selects(selector, &pods))
            });
            if chosen.count() != 1 {
                wrong("is not about one workload".into());
            }
        }
        "HTTPRoute" => {
            for parent in list(spec, "parentRefs") {
                let gateway = overlay.get("Gateway", str_at(parent, "name"));
                let mut listeners =
                    gateway.into_iter().flat_map(|gateway| list(&gateway.value, "spec.listeners"));
                if !listeners.any(|listener| str_at(listener, "name") == str_at(parent, "sectionName")) {
                    wrong("belongs to a door that is not there".into());
                }
            }
            for backend in list(spec, "rules").flat_map(|rule| list(rule, "backendRefs")) {
                let service = overlay.get("Service", str_at(backend, "name"));
                let mut ports = service.into_iter().flat_map(|service| list(&service.value, "spec.ports"));
                if !ports.any(|port| number(port, "port") == number(backend, "port")) {
                    wrong(format!("leads to {backend}, which is not there"));
                }
            }
        }
        "Gateway" => {
            if !there("GatewayClass", str_at(spec, "gatewayClassName")) {
                wrong("is of a class that is not there".into());
            }
            for certificate in
                list(spec, "listeners").flat_map(|listener| list(listener, "tls.certificateRefs"))
            {
                if !secrets.contains_key(str_at(certificate, "name")) {
                    wrong(format!("shows a certificate that nobody makes: {certificate}"));
                }
            }
        }
        "GatewayClass" if !there(str_at(spec, "parametersRef.kind"), str_at(spec, "parametersRef.name")) => {
            wrong("has settings that are not there".into());
        }
        "Certificate" if !there(str_at(spec, "issuerRef.kind"), str_at(spec, "issuerRef.name")) => {
            wrong("is issued by nobody".into());
        }
        "Issuer" if at(spec, "ca").is_some_and(|ca| !secrets.contains_key(str_at(ca, "secretName"))) => {
            wrong("signs with an authority that nobody makes".into());
        }
        "ClientTrafficPolicy" | "BackendTrafficPolicy" | "SecurityPolicy" => {
            for target in list(spec, "targetRefs") {
                if !there(str_at(target, "kind"), str_at(target, "name")) {
                    wrong(format!("is about {target}, which is not there"));
                }
            }
        }
        "ExternalSecret" => {
            if !there(str_at(spec, "secretStoreRef.kind"), str_at(spec, "secretStoreRef.name")) {
                wrong("is taken from a store that is not there".into());
            }
            // What a template asks for has to be among what is fetched.
            let fetched: BTreeSet<&str> = list(spec, "data").map(|data| str_at(data, "secretKey")).collect();
            let template = at(spec, "target.template.data").and_then(Value::as_object).into_iter().flatten();
            for (key, form) in template {
                for asked in asked_in(form.as_str().unwrap_or_default()) {
                    if !fetched.contains(asked) {
                        wrong(format!("{key} asks for {asked}, which is not fetched"));
                    }
                }
            }
        }
        "SecretStore" => {
            let account = str_at(spec, "provider.aws.auth.jwt.serviceAccountRef.name");
            if !there("ServiceAccount", account) {
                wrong("asks in the name of nobody".into());
            }
        }
        "Cluster" => {
            for role in list(spec, "managed.roles") {
                let secret = str_at(role, "passwordSecret.name");
                let keys = secrets.get(secret).and_then(Option::as_ref);
                if keys.is_none_or(|keys| !keys.contains("username") || !keys.contains("password")) {
                    wrong(format!("the role {} has no password", str_at(role, "name")));
                }
            }
            for plugin in list(spec, "plugins") {
                if !there("ObjectStore", str_at(plugin, "parameters.barmanObjectName")) {
                    wrong("is archived to a place that is not there".into());
                }
            }
        }
        "ObjectStore" => {
            for key in ["accessKeyId", "secretAccessKey"] {
                let asked = at(spec, &format!("configuration.s3Credentials.{key}")).unwrap_or(&Value::Null);
                let held = secrets.get(str_at(asked, "name")).and_then(Option::as_ref);
                if held.is_none_or(|held| !held.contains(str_at(asked, "key"))) {
                    wrong(format!("has no {key}"));
                }
            }
        }
        "Pooler" | "ScheduledBackup" if !there("Cluster", str_at(spec, "cluster.name")) => {
            wrong("is for a database that is not there".into());
        }
        "Rollout" => {
            let services = ["activeService", "previewService"]
                .map(|key| str_at(spec, &format!("strategy.blueGreen.{key}")));
            for service in services.iter().filter(|service| !there("Service", service)) {
                wrong(format!("switches {service:?}, which is not there"));
            }
            for analysis in ["prePromotionAnalysis", "postPromotionAnalysis"] {
                let analysis = at(spec, &format!("strategy.blueGreen.{analysis}")).unwrap_or(&Value::Null);
                let given: BTreeSet<&str> = list(analysis, "args").map(|arg| str_at(arg, "name")).collect();
                for template in list(analysis, "templates").map(|template| str_at(template, "templateName")) {
                    match overlay.get("AnalysisTemplate", template) {
                        None => wrong(format!("is judged by {template:?}, which is not there")),
                        Some(template) => {
                            let asked: BTreeSet<&str> =
                                list(&template.value, "spec.args").map(|arg| str_at(arg, "name")).collect();
                            if asked != given {
                                wrong(format!("tells {given:?} to an analysis that asks for {asked:?}"));
                            }
                        }
                    }
                }
            }
        }
        "PodMonitor" => {
            let selector = spec.get("selector").unwrap_or(&Value::Null);
            let elsewhere = list(spec, "namespaceSelector.matchNames").filter_map(Value::as_str);
            let mut namespaces: Vec<&str> = elsewhere.collect();
            if namespaces.is_empty() {
                namespaces.push(object.namespace());
            }
            if namespaces.iter().all(|name| overlay.get("Namespace", name).is_none()) {
                return; // Pods of others.
            }
            let chosen = workloads.iter().filter(|workload| {
                namespaces.contains(&workload.object.namespace()) && selects(selector, &workload.labels())
            });
            let chosen: Vec<_> = chosen.collect();
            let database =
                at(selector, "matchLabels").is_some_and(|labels| labels.get("cnpg.io/cluster").is_some());
            if chosen.is_empty() && !database {
                wrong("watches nobody".into());
            }
            for port in list(spec, "podMetricsEndpoints").map(|endpoint| str_at(endpoint, "port")) {
                let has = |workload: &&&Workload<'_>| {
                    let mut ports = workload.containers().flat_map(|container| list(container, "ports"));
                    ports.any(|found| str_at(found, "name") == port)
                };
                if !database && chosen.iter().filter(has).count() != chosen.len() {
                    wrong(format!("asks at the port {port}, which somebody lacks"));
                }
            }
        }
        _ => {}
    }
}

/// What a template asks for between its braces: words that begin with a point.
fn asked_in(template: &str) -> impl Iterator<Item = &str> {
    let inside = template.split("{{").skip(1).filter_map(|part| part.split("}}").next());
    inside.flat_map(|inside| inside.split([' ', '(', ')'])).filter_map(|word| word.strip_prefix('.'))
}

pub(super) fn commands() -> Found {
    let main = text("crates/tradesense/src/main.rs")?;
    let role = text("crates/tradesense/src/role.rs")?;
    // Clap makes the words of variants and fields.
    let commands: BTreeSet<String> = main
        .split_once("enum Command {")
        .and_then(|(_, rest)| rest.split_once("\n}"))
        .map(|(body, _)| body.lines().filter(|line| line.starts_with("    ") && !line.starts_with("     ")))
        .into_iter()
        .flatten()
        .filter_map(|line| line.trim().split(['(', ' ', ',']).next())
        .filter(|word| word.starts_with(|first: char| first.is_ascii_uppercase()))
        .map(str::to_lowercase)
        .collect();
    let mut findings = Vec::new();
    if commands.len() < 5 {
        findings.push(Finding::new("crates/tradesense/src/main.rs", "its commands were not found"));
    }
    for overlay in overlays()? {
        for workload in overlay.workloads() {
            let image = |container: &Value| stand_ins::name(str_at(container, "image")).to_owned();
            // The image of backups holds the scripts of deployment/backup.
            for container in workload.containers().filter(|container| image(container) == "tradesense-backup")
            {
                let command = list(container, "command").next().and_then(Value::as_str).unwrap_or_default();
                let script = command.strip_prefix("/usr/local/lib/tradesense-backup/");
                let file = script.map(|script| directory(&format!("../backup/{script}"))).transpose()?;
                let mode =
                    file.and_then(|file| file.metadata().ok()).map_or(0, |data| data.permissions().mode());
                if mode & 0o111 == 0 {
                    say(&mut findings, &workload.place, format!("runs {command:?}, which is no script"));
                }
            }
            let of_ours = |container: &&Value| image(container) == "tradesense";
            for container in workload.containers().filter(of_ours) {
                let args: Vec<&str> = list(container, "args").filter_map(Value::as_str).collect();
                let command = args.first().copied().unwrap_or_default();
                if !commands.contains(command) {
                    say(
                        &mut findings,
                        &workload.place,
                        format!("runs `tradesense {command}`, which is no command"),
                    );
                }
                for flag in
                    args.iter().filter_map(|arg| arg.strip_prefix("--")).filter(|_| workload.is_role())
                {
                    if !role.contains(&format!("\n    {}: ", flag.replace('-', "_"))) {
                        say(&mut findings, &workload.place, format!("--{flag} is no option of a role"));
                    }
                }
                if args.contains(&"--demo") && !overlay.is_dev() {
                    say(&mut findings, &workload.place, "serves a demonstration");
                }
            }
        }
    }
    nothing(findings)
}

/// Figures that others make, by whom.
const OF_OTHERS: [&str; 1] = ["up"];

/// What autoscalers and analyses ask Prometheus for has to be told by the program, or recorded of what it tells.
pub(super) fn metrics() -> Found {
    let told = sources()?;
    let recorded = text("deployment/monitoring/rules/recording.yml")?;
    everywhere(|overlay, findings| {
        let mut queries: Vec<(String, &str)> = Vec::new();
        for object in &overlay.objects {
            let place = overlay.place(object);
            let triggers =
                list(&object.value, "spec.triggers").map(|trigger| str_at(trigger, "metadata.query"));
            let analyses =
                list(&object.value, "spec.metrics").map(|metric| str_at(metric, "provider.prometheus.query"));
            queries.extend(
                triggers
                    .chain(analyses)
                    .filter(|query| !query.is_empty())
                    .map(|query| (place.clone(), query)),
            );
        }
        for (place, query) in queries {
            for name in names_in(query) {
                let base = ["_bucket", "_sum", "_count"]
                    .iter()
                    .find_map(|end| name.strip_suffix(end))
                    .unwrap_or(name);
                if !OF_OTHERS.contains(&name)
                    && !told.contains(&format!("\"{base}\""))
                    && !told.contains(&format!("\"{name}\""))
                    && !recorded.contains(&format!("- record: {name}\n"))
                {
                    say(findings, &place, format!("asks for {name}, which nobody tells"));
                }
            }
        }
    })
}

/// The names of metrics in a question: words with an underscore outside of braces and texts, before a brace or a bracket.
fn names_in(query: &str) -> BTreeSet<&str> {
    let mut found = BTreeSet::new();
    let (mut depth, mut quoted, mut start) = (0_u32, false, None);
    for (place, letter) in query.char_indices().chain([(query.len(), ' ')]) {
        if depth == 0 && !quoted && (letter.is_ascii_alphanumeric() || letter == '_' || letter == ':') {
            start = start.or(Some(place));
            continue;
        }
        if let Some(word) = start.take().and_then(|start: usize| query.get(start..place)) {
            let is_function = letter == '(';
            if word.contains('_') && !is_function && !word.starts_with(|first: char| first.is_ascii_digit()) {
                found.insert(word);
            }
        }
        match letter {
            '"' => quoted = !quoted,
            '{' if !quoted => depth = depth.saturating_add(1),
            '}' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    found
}

/// The sources of the program, one behind the other.
pub(super) fn sources() -> Result<String, Vec<Finding>> {
    let root =
        crate::machine::root().map_err(|_| vec![Finding::new("here", "the workspace was not found")])?;
    let io = |error: std::io::Error| vec![Finding::new("crates", error.to_string())];
    let (mut all, mut open) = (String::new(), vec![root.join("crates")]);
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).map_err(io)? {
            let path = entry.map_err(io)?.path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                all.push_str(&fs::read_to_string(path).map_err(io)?);
            }
        }
    }
    Ok(all)
}

/// The most connections that one process of a role holds, as `platform.rs` opens its pools.
fn connections_of(workload: &Workload<'_>) -> u64 {
    let args: Vec<&str> = workload
        .containers()
        .flat_map(|container| list(container, "args"))
        .filter_map(Value::as_str)
        .collect();
    let option = |name: &str, usual: u64| {
        let place = args.iter().position(|arg| *arg == name);
        let value = place.and_then(|place| args.get(place.saturating_add(1)));
        value.and_then(|value| value.parse().ok()).unwrap_or(usual)
    };
    let (use_cases, shards) = (option("--connections", 16), option("--shards", 4));
    let engine = if args.first() == Some(&"engine") { shards.saturating_add(3) } else { 3 };
    let worker = if args.first() == Some(&"worker") { 10 } else { 2 };
    // One more for a moment, while it starts.
    use_cases.saturating_add(engine).saturating_add(worker).saturating_add(1)
}

/// The logins that processes of the platform come in with: while one gets another password, they are with the other one.
const PLATFORM_LOGINS: [&str; 2] = ["tradesense_platform_a", "tradesense_platform_b"];

fn platform_logins(cluster: &Value) -> impl Iterator<Item = &Value> {
    list(cluster, "spec.managed.roles").filter(|role| PLATFORM_LOGINS.contains(&str_at(role, "name")))
}

/// Faults of the two logins: they may do the same, each has a password of its own, and one property says which is in use.
fn logins_overlap(overlay: &Overlay, cluster: &Value, findings: &mut Vec<Finding>) {
    let mut wrong = |what: &str| say(findings, overlay.name, what);
    let logins: Vec<&Value> = platform_logins(cluster).collect();
    let [first, second] = logins.as_slice() else { return wrong("has not two logins for its processes") };
    for login in &logins {
        let may = is(login, "login", true) && is(login, "inherit", false);
        if !may || list(login, "inRoles").next().is_none() {
            wrong("has a login that may not come in, or inherits what it should take");
        }
        let secret = overlay.objects.iter().find(|object| {
            matches!(object.kind(), "Secret" | "ExternalSecret")
                && object.name() == str_at(login, "passwordSecret.name")
        });
        let named = secret.map_or("", |secret| {
            let paths = ["stringData.username", "spec.target.template.data.username"];
            paths
                .map(|path| str_at(&secret.value, path))
                .into_iter()
                .find(|name| !name.is_empty())
                .unwrap_or("")
        });
        if named != str_at(login, "name") {
            wrong("has a login whose secret names another one");
        }
    }
    if first.get("inRoles") != second.get("inRoles") {
        wrong("has two logins of which one may do less");
    }
    if first.get("passwordSecret") == second.get("passwordSecret") {
        wrong("has one password for two logins");
    }
    for secret in overlay.of("ExternalSecret") {
        let template = at(&secret.value, "spec.target.template.data").and_then(Value::as_object);
        for url in template.into_iter().flatten().filter_map(|(_, form)| form.as_str()) {
            let asks = || asked_in(url).collect::<BTreeSet<_>>();
            if url.contains("://tradesense_platform")
                && asks() != BTreeSet::from(["login", "platform_a", "platform_b"])
            {
                wrong("has processes that cannot go over to the other login");
            }
        }
    }
}

/// Where processes find who signs the database's certificate.
const AUTHORITY: &str = "/run/secrets/tradesense-db/ca.crt";

/// Faults of how processes know the database: over TLS and by its name, in every URL; nobody comes in otherwise.
fn is_known_by_its_name(overlay: &Overlay, cluster: &Value, findings: &mut Vec<Finding>) {
    let spec = cluster.get("spec").unwrap_or(&Value::Null);
    let mut wrong = |what: String| say(findings, overlay.name, what);
    let first_rule = list(spec, "postgresql.pg_hba").next().and_then(Value::as_str);
    if first_rule != Some("hostnossl all all all reject") {
        wrong("the database lets somebody in without TLS".into());
    }
    let served = str_at(spec, "certificates.serverTLSSecret");
    let certificate = overlay.of("Certificate").find(|one| str_at(&one.value, "spec.secretName") == served);
    let Some(certificate) = certificate.filter(|_| str_at(spec, "certificates.serverCASecret") == served)
    else {
        return wrong("the database's certificate is nobody's, or its authority is another one's".into());
    };
    if at(&certificate.value, "spec.secretTemplate.labels")
        .and_then(|labels| labels.get("cnpg.io/reload"))
        .is_none()
    {
        wrong("the database does not notice that its certificate was renewed".into());
    }
    let names: Vec<&str> = list(&certificate.value, "spec.dnsNames").filter_map(Value::as_str).collect();
    for secret in overlay.objects.iter().filter(|object| matches!(object.kind(), "Secret" | "ExternalSecret"))
    {
        let forms = ["stringData", "spec.target.template.data"];
        let forms = forms.iter().filter_map(|path| at(&secret.value, path)?.as_object()).flatten();
        for (key, url) in forms.filter_map(|(key, form)| Some((key, form.as_str()?))) {
            if !url.starts_with("postgres") {
                continue;
            }
            let place = url.rsplit_once('@').map_or(url, |(_, place)| place);
            let Some((host, path)) = place.split_once(":5432/") else {
                wrong(format!("{} {key} leads to no server at its port", secret.name()));
                continue;
            };
            if !names.contains(&host) {
                wrong(format!(
                    "{} {key} asks for {host}, which the certificate does not name",
                    secret.name()
                ));
            }
            if path != format!("tradesense?sslmode=verify-full&sslrootcert={AUTHORITY}") {
                wrong(format!("{} {key} does not ask who the database is", secret.name()));
            }
        }
    }
    let folder = AUTHORITY.strip_suffix("/ca.crt");
    for workload in overlay.workloads() {
        let sees = |container: &Value| {
            list(workload.spec(), "volumes")
                .filter(|volume| str_at(volume, "secret.secretName") == served)
                .filter(|volume| {
                    list(volume, "secret.items")
                        .map(|item| (str_at(item, "key"), str_at(item, "path")))
                        .eq([("ca.crt", "ca.crt")])
                })
                .any(|volume| {
                    list(container, "volumeMounts").any(|mount| {
                        str_at(mount, "name") == str_at(volume, "name")
                            && folder == Some(str_at(mount, "mountPath"))
                    })
                })
        };
        let asks = |container: &&Value| {
            list(container, "env").any(|variable| str_at(variable, "name") == "DATABASE_URL_FILE")
        };
        if !workload.containers().filter(asks).all(sees) {
            wrong(format!(
                "{} has not who signs the database's certificate, or has its key too",
                workload.place
            ));
        }
    }
}

pub(super) fn connections() -> Found {
    let file = "crates/tradesense/src/platform.rs";
    let source = text(file)?;
    let mut findings = Vec::new();
    for part in [
        "worker_connections: if worker { 10 } else { 2 }",
        "u32::from(settings.shards.unsigned_abs()).saturating_add(3)",
        "app_connections: settings.app_connections",
    ] {
        if !source.contains(part) {
            findings.push(Finding::new(
                file,
                format!("opens its pools in another way than this check adds up: {part}"),
            ));
        }
    }
    for overlay in overlays()? {
        let Some(cluster) = overlay.of("Cluster").next() else {
            findings.push(Finding::new(overlay.name, "has no database"));
            continue;
        };
        let mut sum = 0_u64;
        for workload in overlay.workloads() {
            let (_, most) = overlay.replicas(&workload);
            let each = match workload.kind {
                "Pooler" => number(&workload.object.value, "spec.pgbouncer.parameters.max_db_connections")
                    .unwrap_or(100),
                "Job" => 2,
                _ if workload.is_role() => connections_of(&workload),
                _ => continue,
            };
            let most = match workload.kind {
                // Blue and green at once.
                "Rollout" => most.saturating_mul(2),
                "Deployment" => most.saturating_add(1),
                _ => most,
            };
            sum = sum.saturating_add(each.saturating_mul(most));
        }
        // The server keeps three for its superuser, the operator and its exporter take some, replicas stream.
        let needed = sum.saturating_add(20);
        let most = number(&cluster.value, "spec.postgresql.parameters.max_connections").unwrap_or(100);
        note(&format!("{}: {needed} connections at most, of {most}", overlay.name));
        let mut wrong = |what: String| say(&mut findings, &overlay.place(cluster), what);
        if needed > most {
            wrong(format!("{needed} connections may be wanted, it takes {most}"));
        }
        // Everybody is with one of the two logins; while they go over, some with each.
        for login in platform_logins(&cluster.value) {
            if number(login, "connectionLimit").is_some_and(|limit| limit < sum) {
                wrong(format!("{} may not hold {sum} connections", str_at(login, "name")));
            }
        }
    }
    nothing(findings)
}

pub(super) fn database() -> Found {
    everywhere(|overlay, findings| {
        let clusters: Vec<&Object> = overlay.of("Cluster").collect();
        let [cluster] = clusters.as_slice() else {
            return say(findings, overlay.name, "has not one database");
        };
        let place = overlay.place(cluster);
        let spec = cluster.value.get("spec").unwrap_or(&Value::Null);
        let mut wrong = |what: &str| say(findings, &place, what);
        if !is(spec, "bootstrap.initdb.dataChecksums", true) {
            wrong("does not notice a page that its disk has changed");
        }
        if !is(spec, "enableSuperuserAccess", false) {
            wrong("has a superuser with a password");
        }
        if str_at(spec, "postgresql.parameters.createrole_self_grant") != "set" {
            wrong("its owner cannot migrate: it may not take the roles that it makes");
        }
        logins_overlap(overlay, &cluster.value, findings);
        is_known_by_its_name(overlay, &cluster.value, findings);
        let mut wrong = |what: &str| say(findings, &place, what);
        if overlay.is_dev() {
            return;
        }
        if number(spec, "instances").is_none_or(|instances| instances < 3) {
            wrong("is not in three zones");
        }
        if str_at(spec, "affinity.podAntiAffinityType") != "required"
            || str_at(spec, "affinity.topologyKey") != "topology.kubernetes.io/zone"
        {
            wrong("may have two instances in one zone");
        }
        if str_at(spec, "postgresql.synchronous.dataDurability") != "required"
            || !is(spec, "postgresql.synchronous.failoverQuorum", true)
            || number(spec, "postgresql.synchronous.number").is_none_or(|number| number < 1)
        {
            wrong("may promote an instance that lacks what was acknowledged");
        }
        let parameter = |name: &str| str_at(spec, &format!("postgresql.parameters.{name}"));
        if parameter("archive_timeout") != "60s" {
            wrong("archives too seldom for the promised loss of at most a minute");
        }
        if parameter("max_slot_wal_keep_size").is_empty() {
            wrong("may fill its disk for a replica that is gone");
        }
        let disk = bytes(str_at(spec, "walStorage.size"));
        let kept = parameter("max_slot_wal_keep_size").replace("GB", "Gi");
        let grown = parameter("max_wal_size").replace("GB", "Gi");
        let used = bytes(&kept).zip(bytes(&grown)).map(|(kept, grown)| kept.saturating_add(grown));
        if used.zip(disk).is_none_or(|(used, disk)| used >= disk) {
            wrong("has no room for the log that it may keep");
        }
        let shared = bytes(&parameter("shared_buffers").replace("GB", "Gi").replace("MB", "Mi"));
        let memory = bytes(str_at(spec, "resources.requests.memory"));
        if shared.zip(memory).is_none_or(|(shared, memory)| shared >= memory.saturating_div(2)) {
            wrong("has no memory beside its buffers");
        }
        let archives = list(spec, "plugins").any(|plugin| is(plugin, "isWALArchiver", true));
        let backups: Vec<&Object> = overlay.of("ScheduledBackup").collect();
        if !archives || backups.is_empty() {
            wrong("is not backed up");
        }
        for backup in backups {
            if str_at(&backup.value, "spec.schedule").split_whitespace().count() != 6 {
                say(findings, &overlay.place(backup), "its schedule has not six fields, seconds first");
            }
        }
        for store in overlay.of("ObjectStore") {
            if str_at(&store.value, "spec.retentionPolicy") != "30d" {
                say(findings, &overlay.place(store), "does not keep thirty days");
            }
        }
    })
}

/// What backs up the keys, and what tries the backups of the database: each where the other kind of backup is not, reading what it only has to
/// read, one at a time, and somebody is told when it stays away.
pub(super) fn backups() -> Found {
    let alerts = text("deployment/monitoring/alerts.toml")?;
    everywhere(|overlay, findings| {
        if overlay.is_dev() {
            return;
        }
        let settings = overlay.of("ConfigMap").find(|map| map.name().starts_with("tradesense-settings"));
        let setting = |key: &str| settings.map_or("", |map| str_at(&map.value, &format!("data.{key}")));
        let bucket = |place: &str| {
            place.trim_start_matches(":s3:").trim_start_matches("s3://").split('/').next().map(str::to_owned)
        };
        let store = overlay
            .of("ObjectStore")
            .next()
            .map_or("", |store| str_at(&store.value, "spec.configuration.destinationPath"));
        let buckets = [setting("keys-place"), store, setting("audit-copies")].map(bucket);
        if buckets.iter().collect::<BTreeSet<_>>().len() < buckets.len()
            || buckets.contains(&Some(String::new()))
        {
            say(findings, overlay.name, format!("keeps keys, backups and copies together: {buckets:?}"));
        }
        if setting("backups") != store {
            say(findings, overlay.name, "tries other backups than those that are made");
        }
        for name in ["tradesense-keys-backup", "tradesense-restore-drill"] {
            let Some(job) = overlay.get("CronJob", name) else {
                say(findings, overlay.name, format!("has no {name}"));
                continue;
            };
            let mut wrong = |what: &str| say(findings, &overlay.place(job), what);
            let spec = job.value.get("spec").unwrap_or(&Value::Null);
            if str_at(spec, "schedule").split_whitespace().count() != 5
                || str_at(spec, "timeZone") != "Etc/UTC"
            {
                wrong("does not say when in five fields of one time");
            }
            if str_at(spec, "concurrencyPolicy") != "Forbid" {
                wrong("may run twice at once");
            }
            let limits = [
                "startingDeadlineSeconds",
                "jobTemplate.spec.activeDeadlineSeconds",
                "jobTemplate.spec.backoffLimit",
            ];
            if limits.iter().any(|limit| number(spec, limit).is_none()) || is(spec, "suspend", true) {
                wrong("may take for ever, or never run");
            }
            let pods = at(spec, "jobTemplate.spec.template.spec").unwrap_or(&Value::Null);
            let mounts = || list(pods, "containers").flat_map(|container| list(container, "volumeMounts"));
            let keys = mounts().find(|mount| str_at(mount, "mountPath") == "/var/lib/tradesense-keys");
            if keys.is_none_or(|keys| !is(keys, "readOnly", true)) {
                wrong("may write to the keys");
            }
            let held = |secret: &str| {
                list(pods, "volumes").any(|volume| str_at(volume, "secret.secretName") == secret)
            };
            if held("tradesense-db-backups") || number(pods, "securityContext.runAsUser") != Some(65_532) {
                wrong("holds what may write to the backups, or cannot read the keys");
            }
            if !alerts.contains(&format!("cronjob=\"{name}\"")) {
                wrong("may stay away and nobody is told");
            }
        }
    })
}

/// The migration, and how it is applied.
pub(super) fn migration() -> Found {
    let mut findings = manifests_of_migration().err().unwrap_or_default();
    findings.extend(apply_is_in_order()?);
    nothing(findings)
}

pub(super) fn manifests_of_migration() -> Found {
    let mut findings = Vec::new();
    for overlay in overlays()? {
        let jobs: Vec<&Object> = overlay.of("Job").collect();
        let [job] = jobs.as_slice() else {
            findings.push(Finding::new(overlay.name, "has not one migration"));
            continue;
        };
        let place = overlay.place(job);
        let release =
            text(&format!("deployment/kubernetes/overlays/{}/common/kustomization.yaml", overlay.name))?;
        let revision = release.split_once("- revision=").and_then(|(_, rest)| rest.split_whitespace().next());
        if revision.is_none_or(|revision| job.name() != format!("tradesense-migrate-{revision}")) {
            say(&mut findings, &place, "is not named by its revision: its template cannot be changed");
        }
        if job.stage != "migrate" {
            say(&mut findings, &place, "is applied together with what needs it");
        }
        let late = overlay.workloads();
        for workload in
            late.iter().filter(|workload| workload.is_role() && workload.object.stage != "workloads")
        {
            say(&mut findings, &workload.place, "starts before the migration");
        }
        if number(&job.value, "spec.activeDeadlineSeconds").is_none() {
            say(&mut findings, &place, "may take for ever");
        }
        // It must go to the primary, not through a pooler.
        for secret in overlay.objects.iter().filter(|object| object.name() == "tradesense-migrate") {
            let urls = ["stringData.database-url", "spec.target.template.data.database-url"];
            let url = urls.map(|path| str_at(&secret.value, path)).concat();
            let leads = url.contains("@tradesense-db-rw.") && url.starts_with("postgres://tradesense_owner:");
            if !leads && matches!(secret.kind(), "Secret" | "ExternalSecret") {
                say(&mut findings, &overlay.place(secret), "does not lead the owner to the primary");
            }
        }
    }
    nothing(findings)
}

/// Runs `deployment/kubernetes/apply` with a program in place of `kubectl` that writes down what it is asked for.
fn apply_is_in_order() -> Result<Vec<Finding>, Vec<Finding>> {
    let place = "deployment/kubernetes/apply";
    let io = |error: std::io::Error| vec![Finding::new(place, error.to_string())];
    let dir =
        target().map_err(|_| vec![Finding::new("here", "there is no target directory")])?.join("tools/apply");
    fs::create_dir_all(&dir).map_err(io)?;
    let (program, log) = (dir.join("kubectl"), dir.join("asked"));
    let script = "#!/bin/sh\necho \"$*\" >> \"$ASKED\"\ncase \"$*\" in\n  kustomize*workloads) cat \"$WORKLOADS\" ;;\n  \
                  kustomize*) cat \"$RENDERED\" ;;\n  *status.active*) echo \"$ACTIVE\" ;;\n  \
                  *\"get job\"*) echo \"$MIGRATION\" ;;\nesac\n";
    fs::write(&program, script).map_err(io)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).map_err(io)?;
    let (rendered, workloads) = (dir.join("rendered.yaml"), dir.join("workloads.yaml"));
    let render = |[revision, ours, backups]: [&str; 3]| -> Result<(), Vec<Finding>> {
        let (ours, backups) = (ours.repeat(64), backups.repeat(64));
        let job = format!("metadata:\n  name: tradesense-migrate-{revision}\nimage: ours@sha256:{ours}\n");
        fs::write(&rendered, job).map_err(io)?;
        fs::write(&workloads, format!("image: ours@sha256:{ours}\nimage: backups@sha256:{backups}\n"))
            .map_err(io)
    };
    let run =
        |names: [&str; 3], migration: &str, active: &str| -> Result<(bool, Vec<String>), Vec<Finding>> {
            drop(fs::remove_file(&log));
            render(names)?;
            let status = Command::new(directory("apply")?)
                .arg("staging")
                .env("KUBECTL", &program)
                .env("ASKED", &log)
                .env("RENDERED", &rendered)
                .env("WORKLOADS", &workloads)
                .env("ACTIVE", active)
                .env("MIGRATION", migration)
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()
                .map_err(io)?;
            let asked = fs::read_to_string(&log).unwrap_or_default();
            Ok((status.success(), asked.lines().map(str::to_owned).collect()))
        };
    let step = |asked: &[String], start: &str, end: &str| {
        asked.iter().position(|line| line.starts_with(start) && line.ends_with(end))
    };
    let applied = |asked: &[String], stage: &str| {
        step(asked, "apply --server-side", &format!("overlays/staging/{stage}"))
    };
    let mut findings = Vec::new();
    let released = ["abc", "1", "2"];
    let (good, asked) = run(released, "Complete", "")?;
    let [foundation, migrate, workloads] = STAGES.map(|stage| applied(&asked, stage));
    let ended = step(&asked, "--namespace tradesense delete job tradesense-migrate-abc", "");
    let waited = step(
        &asked,
        "--namespace tradesense get job tradesense-migrate-abc -o jsonpath={.status.conditions",
        "",
    );
    let order = [foundation, ended, migrate, waited, workloads];
    if !good || order.iter().any(Option::is_none) || !order.is_sorted() {
        findings.push(Finding::new(place, format!("does not go step by step: {asked:?}")));
    }
    let (good, asked) = run(released, "Failed", "")?;
    if good || applied(&asked, "workloads").is_some() {
        findings.push(Finding::new(place, "goes on after a migration that failed"));
    }
    for names in [["abc", "0", "2"], ["abc", "1", "0"], ["unreleased", "1", "2"]] {
        let (good, asked) = run(names, "Complete", "")?;
        if good || asked.iter().any(|line| line.starts_with("apply")) {
            findings.push(Finding::new(place, format!("applies what was never released: {names:?}")));
        }
    }
    let (good, asked) = run(released, "Complete", "1")?;
    if good || applied(&asked, "migrate").is_some() || asked.iter().any(|line| line.contains("delete job")) {
        findings.push(Finding::new(place, "takes away a migration that runs"));
    }
    findings.extend(commands_run(&dir)?);
    Ok(findings)
}

/// Runs `deployment/kubernetes/run` with the real rendering: the Job that it makes is the migration's with other words, whose lines nobody
/// collects, and it is gone at the end.
fn commands_run(dir: &Path) -> Result<Vec<Finding>, Vec<Finding>> {
    let place = "deployment/kubernetes/run";
    let io = |error: std::io::Error| vec![Finding::new(place, error.to_string())];
    let (program, log, made) = (dir.join("kubectl-of-run"), dir.join("asked"), dir.join("made.json"));
    let script = "#!/bin/sh\necho \"$*\" >> \"$ASKED\"\ncase \"$*\" in\n  kustomize* | *--local*) exec kubectl \"$@\" ;;\n  \
                  *\"get pods\"*) echo \"$IMAGE\" ;;\n  *\"create -f\"*) cat > \"$MADE\" ;;\n  \
                  *\"get job\"*) echo \"$ENDED\" ;;\n  *logs*) echo said ;;\nesac\n";
    fs::write(&program, script).map_err(io)?;
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).map_err(io)?;
    let image = format!("ours@sha256:{}", "1".repeat(64));
    let run = |image: &str, ended: &str| -> Result<(bool, String, Vec<String>, Value), Vec<Finding>> {
        drop((fs::remove_file(&log), fs::remove_file(&made)));
        let out = Command::new(directory("run")?)
            .args(["staging", "firm", "create", "--name", "A firm of two words"])
            .env("KUBECTL", &program)
            .envs([("ASKED", &log), ("MADE", &made)])
            .envs([("IMAGE", image), ("ENDED", ended)])
            .stderr(Stdio::null())
            .output()
            .map_err(io)?;
        let asked = fs::read_to_string(&log).unwrap_or_default().lines().map(str::to_owned).collect();
        let job =
            fs::read(&made).ok().and_then(|text| serde_json::from_slice(&text).ok()).unwrap_or_default();
        Ok((out.status.success(), String::from_utf8_lossy(&out.stdout).trim().to_owned(), asked, job))
    };
    let mut findings = Vec::new();
    let (good, said, asked, job) = run(&image, "Complete")?;
    let pod = at(&job, "spec.template").unwrap_or(&Value::Null);
    let container = at(pod, "spec.containers.0").unwrap_or(&Value::Null);
    let words: Vec<&str> = list(container, "args").filter_map(Value::as_str).collect();
    let labels = at(pod, "metadata.labels").unwrap_or(&Value::Null);
    let label = |name: &str| labels.get(name).and_then(Value::as_str);
    if !good
        || said != "said"
        || words != ["firm", "create", "--name", "A firm of two words"]
        || str_at(container, "image") != image
        || str_at(pod, "spec.serviceAccountName") != "tradesense-migrate"
        || label("app.kubernetes.io/component") != Some("migrate")
        || label("vector.dev/exclude") != Some("true")
        || !asked.last().is_some_and(|line| line.contains("delete job tradesense-run-"))
    {
        findings.push(Finding::new(place, format!("does not run what it is told: {said:?} {asked:?} {job}")));
    }
    let (good, _, asked, _) = run(&image, "Failed")?;
    if good || !asked.last().is_some_and(|line| line.contains("delete job tradesense-run-")) {
        findings.push(Finding::new(place, "a command that failed is well, or stays"));
    }
    let (good, _, asked, _) = run("", "Complete")?;
    if good || asked.iter().any(|line| line.contains("create -f")) {
        findings.push(Finding::new(place, "runs something without an image"));
    }
    Ok(findings)
}

pub(super) fn blue_and_green() -> Found {
    everywhere(|overlay, findings| {
        if overlay.is_dev() {
            return;
        }
        for role in ["api", "analytics"] {
            let name = format!("tradesense-{role}");
            let Some(rollout) = overlay.get("Rollout", &name) else {
                say(findings, overlay.name, format!("{role} has no colours"));
                continue;
            };
            let place = overlay.place(rollout);
            let blue_green = at(&rollout.value, "spec.strategy.blueGreen").unwrap_or(&Value::Null);
            let mut wrong = |what: &str| say(findings, &place, what);
            if list(blue_green, "prePromotionAnalysis.templates").next().is_none()
                || list(blue_green, "postPromotionAnalysis.templates").next().is_none()
            {
                wrong("switches without having been tried, or without being watched");
            }
            if number(blue_green, "scaleDownDelaySeconds").is_none_or(|delay| delay < 900) {
                wrong("cannot go back at once for a quarter of an hour");
            }
            let by_hand = overlay.name.starts_with("production");
            if !is(blue_green, "autoPromotionEnabled", !by_hand) {
                wrong("is switched by the wrong one: by a person in production, by itself elsewhere");
            }
        }
        // Two colours of these would take the same messages and shards.
        for (kind, name) in [("Deployment", "tradesense-worker"), ("StatefulSet", "tradesense-engine")] {
            match overlay.get(kind, name) {
                None => say(findings, overlay.name, format!("{name} does not roll")),
                Some(object) if kind == "Deployment" => {
                    if number(&object.value, "spec.strategy.rollingUpdate.maxSurge") != Some(1)
                        || number(&object.value, "spec.strategy.rollingUpdate.maxUnavailable") != Some(0)
                    {
                        say(findings, &overlay.place(object), "does not roll one by one");
                    }
                }
                Some(_) => {}
            }
        }
    })
}

pub(super) fn edge() -> Found {
    everywhere(|overlay, findings| {
        for name in ["public", "webhooks"] {
            let Some(gateway) = overlay.get("Gateway", name) else {
                say(findings, overlay.name, format!("has no door {name}"));
                continue;
            };
            let place = overlay.place(gateway);
            let mut wrong = |what: &str| say(findings, &place, what);
            for listener in list(&gateway.value, "spec.listeners") {
                let tls = str_at(listener, "tls.mode") == "Terminate"
                    && list(listener, "tls.certificateRefs").next().is_some();
                if str_at(listener, "protocol") == "HTTPS" && !tls {
                    wrong("has no certificate");
                }
                if str_at(listener, "hostname").ends_with(".invalid") {
                    wrong("has the host name of the example");
                }
                let routes = overlay.of("HTTPRoute").filter(|route| {
                    list(&route.value, "spec.parentRefs").any(|parent| {
                        str_at(parent, "name") == name
                            && str_at(parent, "sectionName") == str_at(listener, "name")
                    })
                });
                let rules: Vec<&Value> = routes.flat_map(|route| list(&route.value, "spec.rules")).collect();
                if rules.is_empty() {
                    wrong("leads nowhere");
                }
                for rule in rules {
                    let filters: Vec<&Value> = list(rule, "filters").collect();
                    let redirects = filters.iter().any(|filter| {
                        str_at(filter, "requestRedirect.scheme") == "https"
                            && number(filter, "requestRedirect.statusCode") == Some(308)
                    });
                    let strict = filters.iter().flat_map(|filter| list(filter, "responseHeaderModifier.set"));
                    let mut strict =
                        strict.filter(|header| str_at(header, "name") == "Strict-Transport-Security");
                    match str_at(listener, "protocol") {
                        "HTTP" if !redirects || list(rule, "backendRefs").next().is_some() => {
                            wrong("answers without TLS");
                        }
                        "HTTPS" if strict.next().is_none() => wrong("does not insist on TLS"),
                        _ => {}
                    }
                    if list(rule, "backendRefs")
                        .any(|backend| !matches!(number(backend, "port"), Some(8000 | 8001 | 8010)))
                    {
                        wrong("leads to a port that is not for the world");
                    }
                }
            }
            let about = |policy: &&Object| {
                list(&policy.value, "spec.targetRefs")
                    .any(|target| str_at(target, "kind") == "Gateway" && str_at(target, "name") == name)
            };
            match overlay.of("ClientTrafficPolicy").find(about) {
                None => wrong("has no settings for who comes in"),
                Some(policy) => {
                    if !overlay.is_dev() && !is(&policy.value, "spec.proxyProtocol.optional", false) {
                        wrong("believes whoever says whose connection it is");
                    }
                    let removed: BTreeSet<String> =
                        list(&policy.value, "spec.headers.earlyRequestHeaders.remove")
                            .filter_map(Value::as_str)
                            .map(str::to_lowercase)
                            .collect();
                    if !removed.contains("x-forwarded-for") || !removed.contains("forwarded") {
                        wrong("passes on what somebody claims to be");
                    }
                    if at(&policy.value, "spec.timeout.http.requestReceivedTimeout").is_none() {
                        wrong("waits for those who send slowly");
                    }
                }
            }
            match overlay.of("BackendTrafficPolicy").find(about) {
                None => wrong("has no limits"),
                Some(policy) => {
                    let per_address = list(&policy.value, "spec.rateLimit.global.rules").any(|rule| {
                        list(rule, "clientSelectors")
                            .any(|client| str_at(client, "sourceCIDR.type") == "Distinct")
                    });
                    if !per_address {
                        wrong("has no limit for each address");
                    }
                    // The product refuses larger bodies anyway; the edge should before it has read them.
                    if bytes(str_at(&policy.value, "spec.requestBuffer.limit"))
                        .is_none_or(|most| most > 1 << 20)
                    {
                        wrong("takes bodies of any size");
                    }
                }
            }
        }
        // What is not for people is closed at their door, and what is for the firm's own people has a second fence.
        let closed =
            overlay.get("HTTPRoute", "public").into_iter().flat_map(|route| list(&route.value, "spec.rules"));
        let closed: BTreeSet<&str> = closed
            .filter(|rule| {
                list(rule, "filters")
                    .any(|filter| str_at(filter, "urlRewrite.path.replaceFullPath") == "/v1/no-such-thing")
            })
            .flat_map(|rule| list(rule, "matches"))
            .map(|matched| str_at(matched, "path.value"))
            .collect();
        for path in ["/health", "/metrics", "/debug", "/webhooks", "/v1/mail/bounces"] {
            if !closed.contains(path) {
                say(findings, overlay.name, format!("{path} is open to everybody"));
            }
        }
        let operators = overlay
            .get("HTTPRoute", "operators")
            .into_iter()
            .flat_map(|route| list(&route.value, "spec.rules"));
        let operators: BTreeSet<&str> = operators
            .flat_map(|rule| list(rule, "matches"))
            .map(|matched| str_at(matched, "path.value"))
            .collect();
        let fenced = overlay.of("SecurityPolicy").any(|policy| {
            str_at(&policy.value, "spec.authorization.defaultAction") == "Deny"
                && list(&policy.value, "spec.targetRefs").any(|target| str_at(target, "name") == "operators")
        });
        for path in [
            "/operate",
            "/v1/operations",
            "/v1/people",
            "/v1/releases",
            "/v1/audit/entries",
            "/v1/audit/export",
        ] {
            if !(overlay.is_dev() || fenced && operators.contains(path)) {
                say(findings, overlay.name, format!("{path} is open to every address"));
            }
        }
        for provider in ["stripe", "paypal"] {
            let leads = |rule: &Value| {
                list(rule, "matches").any(|matched| str_at(matched, "path.value").ends_with(provider))
                    && list(rule, "backendRefs").any(|backend| number(backend, "port") == Some(8010))
            };
            if !overlay.of("HTTPRoute").any(|route| list(&route.value, "spec.rules").any(leads)) {
                say(findings, overlay.name, format!("{provider} has no way in"));
            }
        }
        for route in overlay.of("HTTPRoute").filter(|route| {
            list(&route.value, "spec.parentRefs").any(|parent| str_at(parent, "name") == "webhooks")
        }) {
            let rules = list(&route.value, "spec.rules").flat_map(|rule| list(rule, "matches"));
            let prefixes = rules.map(|matched| (str_at(matched, "method"), str_at(matched, "path.value")));
            for (method, path) in prefixes {
                if method != "POST" || path == "/" {
                    say(findings, &overlay.place(route), "answers more than what providers tell");
                }
            }
            let fenced = overlay.of("SecurityPolicy").any(|policy| {
                str_at(&policy.value, "spec.authorization.defaultAction") == "Deny"
                    && list(&policy.value, "spec.targetRefs")
                        .any(|target| str_at(target, "name") == route.name())
            });
            let redirects =
                list(&route.value, "spec.rules").all(|rule| list(rule, "backendRefs").next().is_none());
            let signed = at(&route.value, "metadata.annotations")
                .and_then(|annotations| annotations.get("tradesense.dev/no-second-fence"))
                .is_some();
            if !overlay.is_dev() && !fenced && !redirects && !signed {
                say(findings, &overlay.place(route), "has no second fence");
            }
        }
        for service in overlay.of("Service") {
            if matches!(str_at(&service.value, "spec.type"), "LoadBalancer" | "NodePort") {
                say(findings, &overlay.place(service), "is reached from outside beside the edge");
            }
        }
        let proxy = overlay.of("EnvoyProxy").next().map_or(&Value::Null, |proxy| &proxy.value);
        if str_at(proxy, "spec.provider.kubernetes.envoyService.externalTrafficPolicy") != "Local" {
            say(findings, overlay.name, "the edge sees the addresses of nodes");
        }
    })
}

pub(super) fn secrets_and_regions() -> Found {
    everywhere(|overlay, findings| {
        for object in &overlay.objects {
            let place = overlay.place(object);
            if object.kind() == "Secret" && !overlay.is_dev() {
                say(findings, &place, "is a secret in the open");
            }
            if object.kind() == "ExternalSecret" {
                let often = str_at(&object.value, "spec.refreshInterval");
                if !matches!(often, "1h" | "30m" | "15m") {
                    say(
                        findings,
                        &place,
                        format!("is asked for every {often}: each is a call that is paid for"),
                    );
                }
                if str_at(&object.value, "spec.target.deletionPolicy") != "Retain" {
                    say(findings, &place, "takes the secret away when the store forgets it");
                }
            }
            // Whose people are kept in one region are not copied, mailed or backed up in another.
            let here = overlay.name.strip_prefix("production-");
            let elsewhere = match here {
                Some("eu") => ["us-east-", "us-west-", "-us/", ".us."].as_slice(),
                Some("us") => ["eu-central-", "eu-west-", "-eu/", ".eu."].as_slice(),
                _ => [].as_slice(),
            };
            let mut value = object.value.clone();
            if let Some(data) = value.get_mut("data").and_then(Value::as_object_mut) {
                data.remove("region-addresses");
            }
            let all = value.to_string();
            for word in elsewhere.iter().filter(|word| all.contains(**word)) {
                say(findings, &place, format!("leads to another region ({word})"));
            }
        }
        let settings = overlay.of("ConfigMap").find(|map| map.name().starts_with("tradesense-settings"));
        let region = settings.map(|settings| str_at(&settings.value, "data.region")).unwrap_or_default();
        if overlay.name.strip_prefix("production-").is_some_and(|here| here != region) {
            say(findings, overlay.name, format!("keeps people of the region {region:?}"));
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_template_asks_for_what_stands_between_its_braces() {
        let url = "postgres://x_{{ .login }}:{{ ternary .b .a (eq .login \"b\") | urlquery }}@db.x";
        assert_eq!(asked_in(url).collect::<BTreeSet<_>>(), BTreeSet::from(["login", "a", "b"]));
        assert_eq!(asked_in("nothing.at.all").count(), 0);
    }

    #[test]
    fn a_question_names_its_metrics() {
        let query = "sum(rate(http_requests_count{role=\"a_b\",x=~\"5..\"}[1m])) / max by (group_x) (jobs_waiting) > 1_0";
        // A label in `by (..)` looks the same; nobody groups by one that is not told.
        assert_eq!(names_in(query), BTreeSet::from(["http_requests_count", "group_x", "jobs_waiting"]));
    }
}
