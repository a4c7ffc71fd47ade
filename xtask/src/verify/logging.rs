//! `cargo xtask verify logging-..`: every line that the real roles write is what `docs/guides/logs.md` says, no secret that is planted in requests
//! comes out anywhere, and the files of `deployment/logging` keep what they promise.
//!
//! Vector's transforms are run with Vector's own language, bound to Python (the crate has some four hundred dependencies): the very file that
//! both installations use, between what each puts around it. The rest of the configuration is looked at.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::stage::{ROLES, Stage, ask, heard, receiver};
use super::tools::{listed, refused};
use super::{Finding, Found, nothing};
use crate::machine::root;
use crate::platform::Scratch;
use crate::{Failure, Outcome};

const DIR: &str = "deployment/logging";

/// What is planted: in a password, a path, a query, a header, a body. None of it may come out.
const CANARIES: [&str; 6] = [
    "4242424242424242",
    "canary.person@secrets.example",
    "whsec_canarycanarycanary",
    "eyJjYW5hcnkiOiIxIn0.eyJjYW5hcnkiOiIyIn0.canary",
    "canary-horse-battery",
    "sk_live_canarycanary",
];

/// The fields that a line may have; everything else is below `labels`.
const FIELDS: [(&str, bool, Kind); 19] = [
    ("@timestamp", true, Kind::Text),
    ("log.level", true, Kind::Text),
    ("message", true, Kind::Text),
    ("ecs.version", true, Kind::Text),
    ("service.name", true, Kind::Text),
    ("service.version", true, Kind::Text),
    ("service.environment", true, Kind::Text),
    ("service.node.role", true, Kind::Text),
    ("event.dataset", true, Kind::Text),
    ("log.logger", true, Kind::Text),
    ("event.outcome", false, Kind::Text),
    ("event.duration", false, Kind::Number),
    ("trace.id", false, Kind::Text),
    ("http.request.id", false, Kind::Text),
    ("http.request.method", false, Kind::Text),
    ("http.response.status_code", false, Kind::Number),
    ("url.path", false, Kind::Text),
    ("error.message", false, Kind::Text),
    ("labels.", false, Kind::Text),
];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
}

/// What is wrong with a line.
fn faults(line: &str) -> Vec<String> {
    let Ok(Value::Object(fields)) = serde_json::from_str::<Value>(line) else {
        return vec![format!("no object: {line}")];
    };
    let mut faults: Vec<String> = FIELDS
        .iter()
        .filter(|(name, needed, _)| *needed && !fields.contains_key(*name))
        .map(|(name, ..)| format!("{name} lacks: {line}"))
        .collect();
    for (name, value) in &fields {
        let known = FIELDS
            .iter()
            .find(|(field, ..)| name == field || (field.ends_with('.') && name.starts_with(field)));
        let fits = known.is_some_and(|(_, _, kind)| match kind {
            Kind::Text => value.is_string(),
            Kind::Number => value.is_u64(),
        });
        if !fits {
            faults.push(format!("{name} is not in the table, or of another kind: {line}"));
        }
    }
    faults
}

pub(super) fn live() -> Found {
    let failed = |Failure(text): Failure| vec![Finding::new("the live check", text)];
    let stage = Stage::open("verify-logging").map_err(failed)?;
    let findings = lines(&stage).map_err(failed);
    let closed = stage.close().map_err(failed);
    let findings = findings?;
    closed?;
    nothing(findings)
}

fn plant(port: u16) -> Outcome {
    let [card, person, hook, token, password, key] = CANARIES;
    let json = "Content-Type: application/json";
    let body = format!(
        "{{\"email\":\"{person}\",\"password\":\"{password}\",\"card\":\"{card}\",\"key\":\"{key}\"}}"
    );
    let authorization = format!("Authorization: Bearer {token}");
    let cookie = format!("Cookie: session={token}; other={hook}");
    let caller = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let headers = [json, authorization.as_str(), cookie.as_str(), caller, "Idempotency-Key: one"];
    for (method, path) in [
        ("POST", "/v1/auth/sign-in".to_owned()),
        ("POST", "/v1/auth/register".to_owned()),
        ("POST", "/v1/purchases".to_owned()),
        ("GET", format!("/v1/accounts/{card}?token={token}&email={person}")),
        ("GET", format!("/v1/nowhere/{hook}/{key}")),
        ("GET", format!("/{person}/{password}")),
        ("POST", format!("/v1/webhooks/{key}")),
        ("GET", format!("/v1/analytics/leaderboard?program={card}&token={token}")),
        ("GET", "/v1/me%0a{\"message\":\"forged\"}".to_owned()),
        ("GET", "/v1/analytics/business?from=2026-01-01&to=2026-01-31".to_owned()),
        ("DELETE", format!("/errors/{card}")),
    ] {
        ask(port, method, &path, &headers, if method == "GET" { "" } else { &body })?;
    }
    Ok(())
}

fn lines(stage: &Stage) -> Outcome<Vec<Finding>> {
    for role in ["api", "analytics"] {
        plant(stage.member(role)?.port)?;
    }
    let mut findings = Vec::new();
    for role in ROLES {
        let member = stage.member(role)?;
        let text = fs::read_to_string(&member.log).map_err(Failure::of(format!("read the log of {role}")))?;
        // `up` greets on the standard output, which goes into the same file here.
        let own: Vec<&str> = text.lines().filter(|line| line.starts_with('{')).collect();
        let other: Vec<&str> =
            text.lines().filter(|line| !line.starts_with('{') && !line.trim().is_empty()).collect();
        let mut datasets = BTreeSet::new();
        for line in &own {
            findings.extend(faults(line).into_iter().map(|fault| Finding::new(role, fault)));
            let read: Value = serde_json::from_str(line).unwrap_or_default();
            datasets.extend(read.get("event.dataset").and_then(Value::as_str).map(str::to_owned));
        }
        println!(
            "      {role}: {} lines, {} others, streams {}",
            own.len(),
            other.len(),
            datasets.iter().cloned().collect::<Vec<_>>().join(" ")
        );
        if role != "api" && !other.is_empty() {
            findings.push(Finding::new(role, format!("a line is no object: {}", other.join(" / "))));
        }
        if ["api", "analytics"].contains(&role)
            && !(datasets.contains("tradesense.access") && datasets.contains("tradesense.security"))
        {
            findings.push(Finding::new(role, "requests are in no stream of their own"));
        }
        let figures = ask(member.ops, "GET", "/metrics", &["Accept: application/openmetrics-text"], "")?.body;
        for canary in CANARIES {
            for (place, said) in [("lines", &text), ("figures", &figures)] {
                if said.contains(canary) {
                    findings.push(Finding::new(role, format!("{canary} is in its {place}")));
                }
            }
        }
    }
    Ok(findings)
}

fn read(name: &str) -> Result<String, Vec<Finding>> {
    let path = root().map_err(|Failure(text)| vec![Finding::new(name, text)])?.join(DIR).join(name);
    fs::read_to_string(&path).map_err(|error| vec![Finding::new(name, error.to_string())])
}

/// What happens to a line, wherever it was written.
const SHARED: &str = "vector.yaml";
const ON_KUBERNETES: &str = "kubernetes.yaml";
const ON_COMPOSE: &str = "../compose/vector.yml";

pub(super) fn yaml(name: &str, text: &str) -> Result<Value, Vec<Finding>> {
    serde_yaml_ng::from_str(text).map_err(|error| vec![Finding::new(name, error.to_string())])
}

/// Several files as Vector reads them: as one.
fn together(names: &[&str]) -> Result<Value, Vec<Finding>> {
    let mut all = serde_json::Map::new();
    for name in names {
        let config = yaml(name, &read(name)?)?;
        for (section, content) in config.as_object().into_iter().flatten() {
            match (all.get_mut(section).and_then(Value::as_object_mut), content.as_object()) {
                (Some(there), Some(more)) => there.extend(more.clone()),
                _ => drop(all.insert(section.clone(), content.clone())),
            }
        }
    }
    Ok(Value::Object(all))
}

pub(super) fn vector() -> Found {
    let mut findings = Vec::new();
    for place in [ON_KUBERNETES, ON_COMPOSE] {
        let faults = vector_faults(&together(&[SHARED, place])?);
        findings.extend(faults.into_iter().map(|fault| Finding::new(place, fault)));
    }
    // The place of Kubernetes is held to it by `kubernetes-observed`.
    let compose = read("../docker-compose.yml")?;
    for part in [
        "command: [--config, /etc/vector/vector.yaml, --config, /etc/vector/machine.yml]",
        "./logging/vector.yaml:/etc/vector/vector.yaml:ro",
        "./compose/vector.yml:/etc/vector/machine.yml:ro",
        // By this the machine knows whose line it is.
        "labels: com.docker.compose.service",
    ] {
        if !compose.contains(part) {
            findings.push(Finding::new("docker-compose.yml", format!("does not say {part}")));
        }
    }
    nothing(findings)
}

/// Runs programs of Vector's language, one behind the other, over events from its standard input.
const RUNNER: &str = "
import json, sys
from vrl_python import VRLRuntime
told = []
for programs, event in json.load(sys.stdin):
    try:
        for program in programs:
            event = VRLRuntime().execute(program, event).processed_event
        told.append(event)
    except Exception as fault:
        told.append({'fault': str(fault)})
print(json.dumps(told, default=str))
";

/// What becomes of each event in its programs; one that is dropped is `fault`.
fn run(all: &[(Vec<&str>, Value)]) -> Outcome<Vec<Value>> {
    let mut python = Command::new(listed("python")?);
    let mut child = python
        .args(["-c", RUNNER])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(Failure::of("run Vector's language"))?;
    if let Some(mut input) = child.stdin.take() {
        let all = serde_json::to_string(all).map_err(Failure::of("write events"))?;
        input.write_all(all.as_bytes()).map_err(Failure::of("hand over events"))?;
    }
    let out = child.wait_with_output().map_err(Failure::of("run Vector's language"))?;
    serde_json::from_slice(&out.stdout).map_err(Failure::of("read what Vector's language made"))
}

/// What the files must not become: each of these has to be noticed, or nothing was tried.
const WORSE: [(&str, &str); 8] = [
    ("redact(string!(value)", "string!(value) || redact(string!(value)"),
    ("recursive: true", "recursive: false"),
    ("(?:whsec_|sk_live_", "(?:whsec_|sk_life_"),
    (". = object!(line)", ". = {}"),
    ("\"message\": text", "\"message\": \"\""),
    (".data_stream = {", ".other = {"),
    ("== \"tradesense.access\"", "== \"tradesense.app\""),
    ("\"engine\", \"migrate\"", "\"engine\", \"postgres\""),
];

pub(super) fn transforms() -> Found {
    let (shared, compose) = (read(SHARED)?, read(ON_COMPOSE)?);
    let tried = |shared: &str, compose: &str| {
        let (shared, compose) = (yaml(SHARED, shared)?, yaml(ON_COMPOSE, compose)?);
        transformed(&shared, &compose).map_err(|Failure(text)| vec![Finding::new(SHARED, text)])
    };
    let mut findings = tried(&shared, &compose)?;
    for (from, to) in WORSE {
        if !shared.contains(from) && !compose.contains(from) {
            findings.push(Finding::new(SHARED, format!("{from} is not there to be changed")));
        } else if tried(&shared.replacen(from, to, 1), &compose.replacen(from, to, 1))?.is_empty() {
            findings.push(Finding::new(SHARED, format!("nobody notices {to} for {from}")));
        }
    }
    nothing(findings)
}

/// Lines that the program may write come out whole, in their stream, and without what is secret, wherever they were written.
fn transformed(shared: &Value, compose: &Value) -> Outcome<Vec<Finding>> {
    let source = |config: &'static str, value: &Value| -> Outcome<String> {
        let program = value.pointer(&format!("/transforms/{config}/source")).and_then(Value::as_str);
        program.map(str::to_owned).ok_or_else(|| Failure::new(format!("there is no transform {config}")))
    };
    let (lines, redacted) = (source("lines", shared)?, source("redacted", shared)?);
    let unwrapped = source("containers", compose)?;
    let routes = shared.pointer("/transforms/streams/route").and_then(Value::as_object);
    let routes: Vec<(&String, String)> = (routes.into_iter().flatten())
        .map(|(stream, when)| (stream, format!(".taken = ({})", when.as_str().unwrap_or_default())))
        .collect();
    let written = |dataset: &str| -> Value {
        let fields = FIELDS.iter().filter(|(name, ..)| !name.ends_with('.')).map(|(name, _, kind)| {
            let value = match (*name, kind) {
                ("event.dataset", _) => json!(format!("tradesense.{dataset}")),
                ("service.environment", _) => json!("staging"),
                (_, Kind::Number) => json!(200),
                _ => json!("a word"),
            };
            ((*name).to_owned(), value)
        });
        Value::Object(fields.collect())
    };
    let on_kubernetes = |message: &str| json!({"message": message, "stream": "stdout", "kubernetes": {"pod_namespace": "tradesense", "pod_name": "api-0"}});
    let on_compose = |service: &str, message: &str| {
        let line = json!({"log": format!("{message}\n"), "stream": "stdout", "time": "2026-01-01T00:00:00Z",
            "attrs": {"com.docker.compose.service": service}});
        json!({"message": line.to_string()})
    };
    let (mut asked, mut cases) = (Vec::new(), Vec::new());
    let both = |message: &str| {
        [
            (vec![lines.as_str(), redacted.as_str()], on_kubernetes(message)),
            (vec![unwrapped.as_str(), lines.as_str(), redacted.as_str()], on_compose("api", message)),
        ]
    };
    for dataset in ["app", "access", "security"] {
        let whole = written(dataset);
        for (programs, event) in both(&whole.to_string()) {
            for (stream, when) in &routes {
                asked.push(([programs.clone(), vec![when.as_str()]].concat(), event.clone()));
                cases.push((whole.clone(), Some(*stream == dataset)));
            }
        }
    }
    // The password of the canaries has no form by which a net could know it.
    let secrets: Vec<&str> = CANARIES.iter().copied().filter(|secret| !secret.contains("horse")).collect();
    let said = format!("panicked at {} https://user:pass@host/", secrets.join(" "));
    let mut line = written("app");
    if let Some(line) = line.as_object_mut() {
        line.insert("labels.more".into(), json!({"deep": [said]}));
    }
    for message in [said.clone(), line.to_string()] {
        for (programs, event) in both(&message) {
            asked.push((programs, event));
            cases.push((Value::Null, None));
        }
    }
    for (event, what) in [
        (on_compose("postgres", &written("app").to_string()), "another's line"),
        (json!({"message": "no line of the engine"}), "what the engine did not write"),
    ] {
        asked.push((vec![unwrapped.as_str()], event));
        cases.push((json!(what), None));
    }
    let mut findings = Vec::new();
    let mut wrong = |what: String| findings.push(Finding::new(SHARED, what));
    let told = run(&asked)?;
    if told.len() != asked.len() {
        wrong(format!("{} events, {} told", asked.len(), told.len()));
    }
    for (mut event, (whole, taken)) in told.into_iter().zip(cases) {
        let text = event.to_string();
        let fault = event.get("fault").and_then(Value::as_str).unwrap_or_default().to_owned();
        let Some(fields) = event.as_object_mut() else { continue };
        match (whole, taken) {
            (Value::String(what), _) => {
                if !fault.contains("aborted") {
                    wrong(format!("{what} is kept: {text}"));
                }
            }
            _ if !fault.is_empty() => wrong(fault),
            (whole, Some(taken)) => {
                let stream = fields.remove("data_stream");
                let dataset = whole.get("event.dataset").cloned();
                let wanted = json!({"type": "logs", "dataset": dataset, "namespace": "staging"});
                let went = fields.remove("taken");
                fields.retain(|name, _| !name.starts_with("kubernetes."));
                if Value::Object(fields.clone()) != whole
                    || stream != Some(wanted)
                    || went != Some(json!(taken))
                {
                    wrong(format!("a line does not come out whole and in its stream: {text}"));
                }
            }
            _ => {
                for secret in secrets
                    .iter()
                    .filter(|secret| text.contains(**secret))
                    .chain(text.contains("user:pass").then_some(&"a login"))
                {
                    wrong(format!("{secret} gets through: {text}"));
                }
                if !text.contains("panicked at") {
                    wrong(format!("a line that is no object is lost: {text}"));
                }
            }
        }
    }
    Ok(findings)
}

/// What a configuration of Vector does not keep of what is promised.
fn vector_faults(config: &Value) -> Vec<String> {
    let mut faults = Vec::new();
    let section = |name: &str| config.get(name).and_then(Value::as_object).cloned().unwrap_or_default();
    let (sources, transforms, sinks) = (section("sources"), section("transforms"), section("sinks"));
    let texts = |value: Option<&Value>| -> Vec<String> {
        value
            .and_then(Value::as_array)
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect()
    };
    // Every input leads to something that is there, with the outputs that its kind has.
    let mut outputs: BTreeSet<String> = sources.keys().chain(transforms.keys()).cloned().collect();
    for (name, transform) in &transforms {
        if transform.get("reroute_dropped").and_then(Value::as_bool) == Some(true) {
            outputs.insert(format!("{name}.dropped"));
        }
        if let Some(routes) = transform.get("route").and_then(Value::as_object) {
            outputs.remove(name);
            outputs.extend(routes.keys().map(|route| format!("{name}.{route}")));
            outputs.insert(format!("{name}._unmatched"));
        }
    }
    let mut taken = BTreeSet::new();
    for (name, step) in transforms.iter().chain(&sinks) {
        let inputs = texts(step.get("inputs"));
        if inputs.is_empty() {
            faults.push(format!("{name} takes nothing"));
        }
        for input in inputs {
            if !outputs.contains(&input) {
                faults.push(format!("{name} takes {input}, which there is not"));
            }
            taken.insert(input);
        }
    }
    for output in outputs.difference(&taken) {
        faults.push(format!("nobody takes {output}: its lines are lost"));
    }
    for (name, sink) in &sinks {
        let kind = sink.get("type").and_then(Value::as_str).unwrap_or_default();
        if kind == "prometheus_exporter" {
            continue;
        }
        let at = |pointer: &str| sink.pointer(pointer).cloned().unwrap_or_default();
        if at("/acknowledgements/enabled") != true {
            faults.push(format!("{name} does not wait until lines have arrived"));
        }
        if at("/buffer/type") != "disk" || at("/buffer/when_full") != "block" {
            faults.push(format!("{name} loses lines when it is slow or restarted"));
        }
        if kind == "elasticsearch"
            && (at("/mode") != "data_stream" || at("/data_stream/auto_routing") != true)
        {
            faults.push(format!("{name} does not write data streams by their fields"));
        }
    }
    // Everything that is stored has gone through the net.
    let feeds_elasticsearch =
        sinks.values().filter(|sink| sink.get("type").and_then(Value::as_str) == Some("elasticsearch"));
    for input in feeds_elasticsearch.flat_map(|sink| texts(sink.get("inputs"))) {
        let mut step = input.split('.').next().unwrap_or_default().to_owned();
        let mut nets = 0_u32;
        for _ in 0..transforms.len() {
            let Some(transform) = transforms.get(&step) else { break };
            let source = transform.get("source").and_then(Value::as_str).unwrap_or_default();
            nets = nets.saturating_add(u32::from(source.contains("redact(")));
            step = texts(transform.get("inputs")).into_iter().next().unwrap_or_default();
        }
        if nets == 0 {
            faults.push(format!("{input} is stored without the second net"));
        }
    }
    let routes =
        transforms.values().filter_map(|transform| transform.get("route").and_then(Value::as_object));
    let routes: BTreeSet<String> = routes.flat_map(|routes| routes.keys().cloned()).collect();
    if routes != ["access", "app", "security"].map(str::to_owned).into() {
        faults.push("the streams are not app, access and security".to_owned());
    }
    if config.to_string().contains("tradesense.audit") {
        faults.push("the audit log does not belong here".to_owned());
    }
    let password = sinks.values().find_map(|sink| sink.pointer("/auth/password").and_then(Value::as_str));
    if password.is_none_or(|password| !password.starts_with("SECRET[")) {
        faults.push("the password is not read from a file".to_owned());
    }
    faults
}

/// Days of `30d`.
fn days(value: Option<&Value>) -> u64 {
    let text = value.and_then(Value::as_str).unwrap_or_default();
    if text == "0ms" {
        0
    } else {
        text.strip_suffix('d').and_then(|days| days.parse().ok()).unwrap_or(u64::MAX)
    }
}

/// The oldest a line is when it goes: the index is written until it is rolled over, and its age counts from there.
fn oldest(lifecycle: &Value) -> u64 {
    let written = days(lifecycle.pointer("/policy/phases/hot/actions/rollover/max_age"));
    written.saturating_add(days(lifecycle.pointer("/policy/phases/delete/min_age")))
}

pub(super) fn elasticsearch() -> Found {
    let parsed = |name: &str| -> Result<Value, Vec<Finding>> {
        let path = Path::new("elasticsearch").join(name);
        let text = read(&path.display().to_string())?;
        serde_json::from_str(&text).map_err(|error| vec![Finding::new(name, error.to_string())])
    };
    let mut findings = Vec::new();
    let lifecycle = parsed("lifecycle.json")?;
    if oldest(&lifecycle) != 30 {
        findings.push(Finding::new(
            "lifecycle.json",
            format!("a line lives for {} days, not for 30", oldest(&lifecycle)),
        ));
    }
    if lifecycle.pointer("/policy/phases/delete/actions/delete").is_none() {
        findings.push(Finding::new("lifecycle.json", "nothing is deleted"));
    }
    let settings = parsed("settings.json")?;
    if settings.pointer("/template/settings/index.lifecycle.name")
        != Some(&Value::from("tradesense-logs-30d"))
    {
        findings.push(Finding::new("settings.json", "the lifecycle is not applied"));
    }
    let template = parsed("template.json")?;
    if template.get("data_stream").is_none()
        || template.get("index_patterns") != Some(&serde_json::json!(["logs-tradesense.*-*"]))
    {
        findings.push(Finding::new("template.json", "it does not make the data streams of Vector"));
    }
    let mappings = parsed("mappings.json")?;
    let fields = mappings
        .pointer("/template/mappings/properties")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    for (field, ..) in FIELDS {
        if !fields.contains_key(field.trim_end_matches('.')) {
            findings.push(Finding::new("mappings.json", format!("{field} of a line has no type")));
        }
    }
    findings.extend(installed().map_err(|Failure(text)| vec![Finding::new("install.sh", text)])?);
    nothing(findings)
}

/// What the script hands to Elasticsearch, in an order that it takes.
fn installed() -> Outcome<Vec<Finding>> {
    const PUTS: [(&str, &str); 5] = [
        ("/_ilm/policy/tradesense-logs-30d", "lifecycle.json"),
        ("/_component_template/tradesense-logs-settings", "settings.json"),
        ("/_component_template/tradesense-logs-mappings", "mappings.json"),
        ("/_index_template/tradesense-logs", "template.json"),
        ("/_security/role/tradesense_logs", "role.json"),
    ];
    let scratch = Scratch::new("install")?;
    let (port, told) = receiver("")?;
    for (name, password) in [("elastic", "of-the-administrator"), ("logs", "of-vector")] {
        fs::write(scratch.path().join(name), password).map_err(Failure::of("write a password"))?;
    }
    let dir = root()?.join(DIR);
    let mut script = Command::new("bash");
    script
        .arg(dir.join("install.sh"))
        .arg(format!("http://127.0.0.1:{port}"))
        .env("ELASTIC_PASSWORD_FILE", scratch.path().join("elastic"))
        .env("LOGS_PASSWORD_FILE", scratch.path().join("logs"));
    let mut findings: Vec<Finding> =
        (refused(&mut script)?.into_iter()).map(|what| Finding::new("install.sh", what)).collect();
    let heard = heard(&told);
    let said = |place: usize, path: &str, holds: &str| {
        // Basic authentication as `elastic`.
        let login = "Authorization: Basic ZWxhc3RpYzpvZi10aGUtYWRtaW5pc3RyYXRvcg==";
        heard.get(place).is_some_and(|(to, text)| {
            to == path && text.starts_with("PUT ") && text.contains(login) && text.ends_with(holds)
        })
    };
    for (place, (path, file)) in PUTS.iter().enumerate() {
        let holds = fs::read_to_string(dir.join("elasticsearch").join(file))
            .map_err(Failure::of(format!("read {file}")))?;
        if !said(place, path, &holds) {
            findings.push(Finding::new("install.sh", format!("does not put {file} at {path}")));
        }
    }
    let user = r#"{"password":"of-vector","roles":["tradesense_logs"],"full_name":"Vector"}"#;
    if !said(PUTS.len(), "/_security/user/tradesense_logs", user)
        || heard.len() != PUTS.len().saturating_add(1)
    {
        findings.push(Finding::new("install.sh", "does not make the user of Vector, or something else"));
    }
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_deployed_holds_and_each_promise_broken_is_noticed() {
        assert_eq!(vector(), Ok(()));
        assert_eq!(elasticsearch(), Ok(()));
        let all = together(&[SHARED, ON_KUBERNETES]).unwrap_or_default();
        let text = serde_yaml_ng::to_string(&all).unwrap_or_default();
        for (from, to, fault) in [
            ("- streams.security", "- streams.app", "nobody takes streams.security"),
            ("- redacted\n", "- lines\n", "without the second net"),
            ("when_full: block", "when_full: drop_newest", "loses lines"),
            ("- containers\n", "- container\n", "which there is not"),
            ("SECRET[files.elasticsearch-password]", "hunter2", "not read from a file"),
            ("mode: data_stream", "mode: bulk", "data streams"),
        ] {
            assert!(text.contains(from), "{from}");
            let broken: Value = serde_yaml_ng::from_str(&text.replacen(from, to, 1)).unwrap_or_default();
            let faults = vector_faults(&broken);
            assert!(faults.iter().any(|found| found.contains(fault)), "{from} -> {to}: {faults:?}");
        }
    }

    #[test]
    fn the_usual_policy_keeps_lines_for_sixty_days() {
        let usual = serde_json::json!({"policy": {"phases": {
            "hot": {"actions": {"rollover": {"max_age": "30d"}}},
            "delete": {"min_age": "30d", "actions": {"delete": {}}}
        }}});
        assert_eq!(oldest(&usual), 60);
    }

    #[test]
    fn a_line_with_a_field_of_its_own_is_noticed() {
        assert_eq!(faults("no json").len(), 1);
        assert_eq!(faults("{}").len(), 10);
        assert!(faults("{\"own\":1}").iter().any(|fault| fault.starts_with("own is not in the table")));
    }
}
