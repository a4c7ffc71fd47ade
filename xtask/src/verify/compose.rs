//! `deployment/docker-compose.yml`: what it must say, and its services started from that very file as processes of this machine.
//!
//! Kept from the file: images by name (their programs are this machine's, see [`super::stand_ins`]), entry point, command, environment,
//! user, read-only root, privileges, secrets, volumes and binds, temporary file systems, networks with their addresses and names,
//! dependencies with their conditions, health checks, signals and times for stopping. Not kept: limits (see [`super::sandbox`]),
//! published ports (the harness is on the networks), logging, services whose program no package here brings; those are named.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;
use serde::Deserialize;
use serde_yaml_ng::Value;

use super::sandbox::{Network, Plan, Sandbox};
use super::stand_ins::{StandIn, prepare};
use super::tools::{Said, as_root, ask, listed, refused};
use super::{Checked, checked, failed};
use crate::machine::root;
use crate::platform::Scratch;
use crate::process::{now, poll, run};
use crate::{Failure, Outcome};

const FILE: &str = "deployment/docker-compose.yml";
const PROFILES: [&str; 6] = ["core", "demo", "backup", "observability", "logs", "s3"];
/// What is promised to be where, on this machine only.
const PORTS: [(&str, &str); 5] = [
    ("api", "127.0.0.1:8000:8000"),
    ("analytics", "127.0.0.1:8001:8001"),
    ("grafana", "127.0.0.1:3000:3000"),
    ("prometheus", "127.0.0.1:9090:9090"),
    ("mail", "127.0.0.1:8025:8025"),
];
/// What the world reaches once somebody says so.
const EDGE: [&str; 3] = ["127.0.0.1:8080:8080", "127.0.0.1:8443:8443", "127.0.0.1:8444:8444"];
/// Images whose digest nobody here knows; Renovate adds it.
const BY_TAG: [&str; 1] = ["kibana"];
/// They write beside their programs.
const WRITABLE: [&str; 2] = ["elasticsearch", "kibana"];
/// Images with one program and nothing that could ask it.
const NOT_ASKED: [&str; 2] = ["redis-queue-exporter", "redis-cache-exporter"];

#[derive(Debug, Clone, Deserialize)]
struct Compose {
    services: BTreeMap<String, Service>,
    #[serde(default)]
    networks: BTreeMap<String, Value>,
    #[serde(default)]
    volumes: BTreeMap<String, Value>,
    #[serde(default)]
    secrets: BTreeMap<String, Secret>,
}

#[derive(Debug, Clone, Deserialize)]
struct Secret {
    file: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Service {
    image: String,
    profiles: Vec<String>,
    user: String,
    entrypoint: Option<Vec<String>>,
    command: Option<Vec<String>>,
    environment: BTreeMap<String, String>,
    volumes: Vec<String>,
    tmpfs: Vec<String>,
    secrets: Vec<Used>,
    networks: Networks,
    ports: Vec<String>,
    depends_on: BTreeMap<String, Dependency>,
    healthcheck: Option<Health>,
    deploy: Option<Deploy>,
    restart: String,
    read_only: bool,
    cap_drop: Vec<String>,
    security_opt: Vec<String>,
    pids_limit: Option<i64>,
    stop_signal: Option<String>,
    stop_grace_period: Option<String>,
    privileged: bool,
    network_mode: Option<String>,
    pid: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Used {
    Name(String),
    At { source: String, target: String },
}

#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
enum Networks {
    Names(Vec<String>),
    With(BTreeMap<String, Attached>),
}

impl Default for Networks {
    fn default() -> Self {
        Self::Names(Vec::new())
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Attached {
    ipv4_address: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Dependency {
    condition: String,
    #[serde(default = "yes")]
    required: bool,
}

fn yes() -> bool {
    true
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Health {
    test: Vec<String>,
    disable: bool,
    interval: Option<String>,
    retries: Option<u32>,
    start_period: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
struct Deploy {
    resources: Resources,
}

#[derive(Debug, Clone, Deserialize)]
struct Resources {
    limits: BTreeMap<String, String>,
}

impl Service {
    fn networks(&self) -> Vec<(String, Option<String>)> {
        match &self.networks {
            Networks::Names(names) => names.iter().map(|name| (name.clone(), None)).collect(),
            Networks::With(with) => {
                with.iter().map(|(name, how)| (name.clone(), how.ipv4_address.clone())).collect()
            }
        }
    }

    fn secrets(&self) -> Vec<(String, String)> {
        let at = |used: &Used| match used {
            Used::Name(name) => (name.clone(), format!("/run/secrets/{name}")),
            Used::At { source, target } if target.starts_with('/') => (source.clone(), target.clone()),
            Used::At { source, target } => (source.clone(), format!("/run/secrets/{target}")),
        };
        self.secrets.iter().map(at).collect()
    }

    fn is_one_shot(&self) -> bool {
        self.restart == "no"
    }
}

fn read() -> Outcome<Compose> {
    let file = root()?.join(FILE);
    let text = fs::read_to_string(&file).map_err(Failure::of(format!("read {FILE}")))?;
    let mut value: Value =
        serde_yaml_ng::from_str(&interpolated(&text)).map_err(Failure::of(format!("read {FILE}")))?;
    // What is merged may itself merge something; once goes one step.
    for _ in 0..4 {
        value.apply_merge().map_err(Failure::of(format!("merge what {FILE} repeats")))?;
    }
    serde_yaml_ng::from_value(value).map_err(Failure::of(format!("understand {FILE}")))
}

/// `${NAME:-usual}` is its usual value: nothing is set here.
fn interpolated(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        out.push_str(before);
        let (inside, behind) = after.split_once('}').unwrap_or((after, ""));
        out.push_str(inside.split_once(":-").map_or("", |(_, usual)| usual));
        rest = behind;
    }
    out.push_str(rest);
    out
}

/// What the file must say of every service.
pub(crate) fn rules() -> Checked {
    let compose = read().map_err(failed)?;
    let folder = root().map_err(failed)?.join("deployment");
    let mut faults = Vec::new();
    let mut fault = |service: &str, what: String| faults.push(format!("{service}: {what}"));
    for (name, service) in &compose.services {
        about_image(name, service, &mut fault);
        about_rights(name, service, &mut fault);
        about_words(name, service, &mut fault);
        about_others(name, service, &compose, &folder, &mut fault);
    }
    let promised: Vec<(String, String)> =
        PORTS.iter().map(|(who, port)| ((*who).to_owned(), (*port).to_owned())).collect();
    let edge = EDGE.iter().map(|port| ("edge".to_owned(), (*port).to_owned()));
    let wanted: BTreeSet<(String, String)> = promised.into_iter().chain(edge).collect();
    let found: BTreeSet<(String, String)> = (compose.services.iter())
        .flat_map(|(name, service)| service.ports.iter().map(|port| (name.clone(), port.clone())))
        .collect();
    for (name, port) in found.symmetric_difference(&wanted) {
        fault(name, format!("{port} is published and not promised, or promised and not published"));
    }
    let profiles: BTreeSet<&str> =
        compose.services.values().flat_map(|service| service.profiles.iter().map(String::as_str)).collect();
    if profiles != BTreeSet::from(PROFILES) {
        fault("all", format!("the profiles are {profiles:?}"));
    }
    about_connections(&compose, &folder, &mut fault);
    about_memory(&compose, &folder, &mut fault);
    checked(faults)
}

fn about_image(name: &str, service: &Service, fault: &mut impl FnMut(&str, String)) {
    let image = &service.image;
    let digest = image.split_once("@sha256:").map(|(_, digest)| digest);
    let tag = image
        .split('@')
        .next()
        .and_then(|tagged| tagged.rsplit('/').next()?.split_once(':'))
        .map(|(_, tag)| tag);
    let by_digest = digest
        .is_some_and(|digest| digest.len() == 64 && digest.bytes().all(|byte| byte.is_ascii_hexdigit()));
    let own = image.starts_with("ghcr.io/tradesense/");
    if !by_digest && !own && !BY_TAG.contains(&name) {
        fault(name, format!("{image} is not named by digest"));
    }
    if by_digest && BY_TAG.contains(&name) {
        fault(name, "has a digest now: take it off the list of those without".to_owned());
    }
    let exact = tag.is_some_and(|tag| tag != "latest" && tag.bytes().any(|byte| byte.is_ascii_digit()));
    if !exact {
        fault(name, format!("{image} has no exact tag"));
    }
}

fn about_rights(name: &str, service: &Service, fault: &mut impl FnMut(&str, String)) {
    let mut must = |good: bool, what: &str| {
        if !good {
            fault(name, what.to_owned());
        }
    };
    must(service.cap_drop == ["ALL"], "keeps capabilities");
    must(service.security_opt.iter().any(|option| option == "no-new-privileges:true"), "may gain privileges");
    must(service.read_only || WRITABLE.contains(&name), "can write its root");
    must(service.pids_limit.is_some_and(|most| most > 0), "has no limit of processes");
    must(
        !service.privileged && service.network_mode.is_none() && service.pid.is_none(),
        "shares this machine's spaces",
    );
    let user = numbers(&service.user);
    must(user.is_some(), "names no user by number");
    must(name == "vector" || user.is_some_and(|(user, _)| user != 0), "runs as root");
    let limits = service.deploy.as_ref().map(|deploy| &deploy.resources.limits);
    must(
        limits.is_some_and(|limits| limits.contains_key("memory") && limits.contains_key("cpus")),
        "has no limits",
    );
    let health = service.healthcheck.as_ref();
    let asked = health.is_some_and(|health| !health.disable && !health.test.is_empty());
    must(asked || service.is_one_shot() || NOT_ASKED.contains(&name), "has no health check");
    must(["no", "unless-stopped"].contains(&service.restart.as_str()), "does not say when it starts again");
    must(!service.profiles.is_empty(), "is in no profile");
    let docker = service.volumes.iter().any(|volume| volume.contains("docker.sock"));
    must(!docker, "holds the container engine's socket");
}

/// Secrets are files: neither the environment nor a command line holds one.
fn about_words(name: &str, service: &Service, fault: &mut impl FnMut(&str, String)) {
    for (variable, value) in &service.environment {
        let secret = ["PASSWORD", "SECRET", "TOKEN", "PASS", "CREDENTIAL", "_KEY"]
            .iter()
            .any(|word| variable.contains(word));
        let file = variable.ends_with("_FILE") || variable.ends_with("_DIR");
        if secret && !file {
            fault(name, format!("{variable} may hold a secret"));
        }
        let with_login = value.split_once("://").is_some_and(|(_, rest)| rest.contains('@'));
        if with_login {
            fault(name, format!("{variable} holds a login"));
        }
        if variable.ends_with("_FILE") {
            let known = service.secrets().iter().any(|(_, at)| at == value);
            if !known {
                fault(name, format!("{variable} names {value}, which is none of its secrets"));
            }
        }
    }
}

fn about_others(
    name: &str,
    service: &Service,
    compose: &Compose,
    folder: &Path,
    fault: &mut impl FnMut(&str, String),
) {
    for (secret, _) in service.secrets() {
        if !compose.secrets.contains_key(&secret) {
            fault(name, format!("there is no secret {secret}"));
        }
    }
    for (network, _) in service.networks() {
        if !compose.networks.contains_key(&network) {
            fault(name, format!("there is no network {network}"));
        }
    }
    if service.networks().is_empty() {
        fault(name, "is on the network of everybody".to_owned());
    }
    for volume in &service.volumes {
        let outside = volume.split(':').next().unwrap_or_default();
        if let Some(file) = outside.strip_prefix("./") {
            if !folder.join(file).exists() {
                fault(name, format!("{outside} does not exist"));
            }
            if !volume.ends_with(":ro") {
                fault(name, format!("{outside} could be written"));
            }
        } else if !outside.starts_with('/') && !compose.volumes.contains_key(outside) {
            fault(name, format!("there is no volume {outside}"));
        }
    }
    for (other, dependency) in &service.depends_on {
        let Some(needed) = compose.services.get(other) else {
            fault(name, format!("there is no service {other}"));
            continue;
        };
        // The demonstration's data go into what core starts.
        let beside = |profile: &String| {
            service.profiles.contains(profile) || (profile == "core" && service.profiles == ["demo"])
        };
        let shared = needed.profiles.iter().any(beside);
        if dependency.required && !shared {
            fault(name, format!("needs {other}, which its profile does not start"));
        }
        let can = match dependency.condition.as_str() {
            "service_healthy" => needed.healthcheck.as_ref().is_some_and(|health| !health.disable),
            "service_completed_successfully" => needed.is_one_shot(),
            _ => false,
        };
        if !can {
            fault(name, format!("waits for {other} to be {}, which it never is", dependency.condition));
        }
    }
}

/// What the pooler, the engine and whoever looks after the database may hold at once fits into what the server allows.
fn about_connections(compose: &Compose, folder: &Path, fault: &mut impl FnMut(&str, String)) {
    let number = |text: &str, name: &str| -> Option<u32> {
        let line = text.lines().map(str::trim).find(|line| line.starts_with(name))?;
        line.rsplit('=').next()?.trim().parse().ok()
    };
    let ini = fs::read_to_string(folder.join("compose/postgres/pgbouncer.ini")).unwrap_or_default();
    let pooled = number(&ini, "max_db_connections");
    let words =
        compose.services.get("postgres").and_then(|service| service.command.clone()).unwrap_or_default();
    let most = number(&words.join("\n"), "max_connections");
    // The engine's pools, its waiting and its migration; exporter, backup and somebody with psql.
    let others = 40;
    match (pooled, most) {
        (Some(pooled), Some(most)) if pooled.saturating_add(others) <= most => {}
        (pooled, most) => fault(
            "postgres",
            format!("{pooled:?} pooled connections and {others} more do not fit into {most:?}"),
        ),
    }
}

/// A Redis may hold half of its limit: a rewrite of its file doubles what it uses.
fn about_memory(compose: &Compose, folder: &Path, fault: &mut impl FnMut(&str, String)) {
    for (service, file) in [("valkey-queue", "queue.conf"), ("valkey-cache", "cache.conf")] {
        let text = fs::read_to_string(folder.join("compose/valkey").join(file)).unwrap_or_default();
        let held = text.lines().find_map(|line| megabytes(line.strip_prefix("maxmemory ")?));
        let limit = compose
            .services
            .get(service)
            .and_then(|service| megabytes(service.deploy.as_ref()?.resources.limits.get("memory")?));
        if held.zip(limit).is_none_or(|(held, limit)| held.saturating_mul(2) > limit) {
            fault(service, format!("{held:?} MB held, {limit:?} MB allowed"));
        }
    }
    let queue = fs::read_to_string(folder.join("compose/valkey/queue.conf")).unwrap_or_default();
    if !queue.contains("maxmemory-policy noeviction") {
        fault("valkey-queue", "may evict what is queued".to_owned());
    }
}

fn megabytes(text: &str) -> Option<u32> {
    let text = text.trim().to_ascii_lowercase();
    let (digits, unit) = text.split_at(text.find(|letter: char| !letter.is_ascii_digit())?);
    let number: u32 = digits.parse().ok()?;
    match unit {
        "m" | "mb" => Some(number),
        "g" | "gb" => number.checked_mul(1_024),
        _ => None,
    }
}

fn numbers(user: &str) -> Option<(u32, u32)> {
    let (user, group) = user.split_once(':')?;
    Some((user.parse().ok()?, group.parse().ok()?))
}

/// The specification's schema, and what lints say.
pub(crate) fn schema() -> Checked {
    let all = || -> Outcome<Vec<String>> {
        let root = root()?;
        let mut faults = Vec::new();
        let mut schema = Command::new(listed("check-jsonschema")?);
        schema.args(["--builtin-schema", "vendor.compose-spec", FILE]).current_dir(&root);
        faults.extend(refused(&mut schema)?);
        let rules = "{extends: default, rules: {line-length: {max: 260}, document-start: disable, braces: disable, brackets: disable, comments: disable, truthy: disable}}";
        let mut yaml = Command::new(listed("yamllint")?);
        yaml.args(["-s", "-d", rules, FILE, "deployment/compose", "deployment/edge"]).current_dir(&root);
        faults.extend(refused(&mut yaml)?);
        let mut lint = Command::new(listed("compose-lint")?);
        lint.args(["--config", "deployment/compose/lint.yml", FILE]).current_dir(&root);
        faults.extend(refused(&mut lint)?);
        Ok(faults)
    };
    checked(all().map_err(failed)?)
}

/// The script makes exactly the secrets that are used, closed to others, and keeps what is there.
pub(crate) fn secrets() -> Checked {
    let all = || -> Outcome<Vec<String>> {
        let scratch = Scratch::new("secrets")?;
        let dir = scratch.path().join("secrets");
        make_secrets(&dir)?;
        let mut faults = Vec::new();
        let listing = || -> Outcome<BTreeMap<String, String>> {
            let entries = fs::read_dir(&dir).map_err(Failure::of("list the secrets"))?;
            let read = |entry: fs::DirEntry| {
                Some((entry.file_name().into_string().ok()?, fs::read_to_string(entry.path()).ok()?))
            };
            Ok(entries.flatten().filter_map(read).collect())
        };
        let made = listing()?;
        let compose = read()?;
        let used: BTreeSet<String> = compose
            .services
            .values()
            .flat_map(|service| service.secrets().into_iter().map(|(name, _)| name))
            .collect();
        for (name, secret) in &compose.secrets {
            if secret.file != format!("./secrets/{name}") {
                faults.push(format!("{name} is read from {}", secret.file));
            }
            if !made.contains_key(name) {
                faults.push(format!("{name} is not made"));
            }
        }
        for name in compose.secrets.keys().filter(|name| !used.contains(*name)) {
            faults.push(format!("nobody uses {name}"));
        }
        let rights = |path: &Path| -> u32 {
            use std::os::unix::fs::PermissionsExt as _;
            fs::metadata(path).map_or(0, |data| data.permissions().mode() & 0o777)
        };
        if rights(&dir) != 0o700 {
            faults.push(format!("the directory has mode {:o}", rights(&dir)));
        }
        for name in made.keys().filter(|name| rights(&dir.join(name)) != 0o444) {
            faults.push(format!("{name} has mode {:o}", rights(&dir.join(name))));
        }
        make_secrets(&dir)?;
        if listing()? != made {
            faults.push("a second run changed what was there".to_owned());
        }
        let ignored = ask(Command::new("git")
            .args(["check-ignore", "deployment/secrets/postgres_password"])
            .current_dir(root()?))?;
        if !ignored.well {
            faults.push("git would take the secrets".to_owned());
        }
        Ok(faults)
    };
    checked(all().map_err(failed)?)
}

pub(super) fn make_secrets(dir: &Path) -> Outcome {
    run(Command::new("sh").arg(root()?.join("deployment/compose/init.sh")).arg(dir))
}

/// What Prometheus asks: four roles, the database, its backup, two Redis servers, itself and Alertmanager.
const TARGETS: usize = 10;

/// How long a first start may take.
const FIRST_START: Duration = Duration::from_mins(2);

/// Starts the profiles core, demo, backup and observability from the file, and looks at them.
pub(crate) fn runs() -> Checked {
    let all = || -> Outcome<Vec<String>> {
        as_root()?;
        let scratch = Scratch::new("compose")?;
        let mut stack = Stack::start(scratch.path(), &["core", "demo", "backup", "observability"])?;
        let mut faults = stack.look()?;
        faults.extend(stack.stop());
        Ok(faults)
    };
    checked(all().map_err(failed)?)
}

pub(super) struct Stack {
    compose: Compose,
    /// In the order in which they were started; those of one shot are gone.
    pub(super) boxes: Vec<(String, Sandbox)>,
    /// What those of one shot said.
    said: BTreeMap<String, String>,
    addresses: BTreeMap<String, BTreeMap<String, String>>,
    pub(super) secrets: PathBuf,
    // Last, so that they outlive the boxes on them.
    on: BTreeMap<String, Network>,
}

impl Stack {
    pub(super) fn start(dir: &Path, profiles: &[&str]) -> Outcome<Self> {
        let compose = read()?;
        let secrets = dir.join("secrets");
        make_secrets(&secrets)?;
        let wanted: Vec<String> = (compose.services.iter())
            .filter(|(_, service)| {
                service.profiles.iter().any(|profile| profiles.contains(&profile.as_str()))
            })
            .map(|(name, _)| name.clone())
            .collect();
        let mut networks = BTreeMap::new();
        for (number, (name, settings)) in (1_u8..).zip(&compose.networks) {
            let subnet =
                settings.get("ipam").and_then(|ipam| ipam.get("config")?.get(0)?.get("subnet")?.as_str());
            networks.insert(name.clone(), Network::new(name, number, subnet)?);
        }
        let mut addresses: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
        for (last, name) in (20_u8..).zip(&wanted) {
            let Some(service) = compose.services.get(name) else { continue };
            for (network, address) in service.networks() {
                let given = networks.get(&network).map(|network| network.address(last)).unwrap_or_default();
                addresses.entry(network).or_default().insert(name.clone(), address.unwrap_or(given));
            }
        }
        let mut stack =
            Self { compose, boxes: Vec::new(), said: BTreeMap::new(), addresses, secrets, on: networks };
        let mut waiting = wanted;
        let mut absent = Vec::new();
        let began = now();
        while !waiting.is_empty() {
            let before = waiting.len();
            for name in std::mem::take(&mut waiting) {
                if !stack.may_start(&name, &absent) {
                    waiting.push(name);
                } else if stack.start_one(dir, &name)? {
                    println!(
                        "  {name} is {} after {} ms",
                        stack.condition(&name),
                        began.elapsed().as_millis()
                    );
                } else {
                    absent.push(name);
                }
            }
            if waiting.len() == before {
                return Err(Failure::new(format!("nobody can start of {}", waiting.join(", "))));
            }
        }
        println!("  not started, no program here: {}", absent.join(", "));
        Ok(stack)
    }

    fn may_start(&self, name: &str, absent: &[String]) -> bool {
        let needs =
            self.compose.services.get(name).map(|service| service.depends_on.clone()).unwrap_or_default();
        needs.iter().all(|(other, dependency)| {
            let there =
                self.said.contains_key(other) || self.boxes.iter().any(|(running, _)| running == other);
            there
                || absent.contains(other)
                || (!dependency.required && !self.compose.services.contains_key(other))
        })
    }

    fn condition(&self, name: &str) -> &'static str {
        if self.said.contains_key(name) { "done" } else { "healthy" }
    }

    /// Starts one and waits until it is healthy, or done; `false` if nothing stands in for its image.
    fn start_one(&mut self, dir: &Path, name: &str) -> Outcome<bool> {
        let service = self.compose.services.get(name).cloned().unwrap_or_default();
        let stand = dir.join(format!("{name}.stand-in"));
        let Some(stand_in) = prepare(&service.image, &stand)? else { return Ok(false) };
        let plan = self.plan(dir, name, &service, &stand, &stand_in)?;
        let mut running = Sandbox::start(dir, plan)?;
        let health = service.healthcheck.clone().filter(|health| !health.disable);
        let end = poll(FIRST_START, || {
            if let Some(well) = running.ended() {
                return Some(well && service.is_one_shot());
            }
            let test = health.as_ref().filter(|_| !service.is_one_shot());
            match test {
                Some(health) => is_healthy(&running, health).then_some(true),
                None => (!service.is_one_shot() && running.pid().is_some()).then_some(true),
            }
        });
        if end != Some(true) {
            let asked =
                health.map(|health| health.test.split_first().map(|(_, test)| running.run_inside(test)));
            let answer = asked.flatten().and_then(Result::ok).map_or_else(String::new, |said| said.text);
            return Err(Failure::new(format!(
                "{name} did not start; it said\n    {}\n  its health: {answer}",
                running.tail()
            )));
        }
        if service.is_one_shot() {
            self.said.insert(name.to_owned(), running.log());
        } else {
            self.boxes.push((name.to_owned(), running));
        }
        Ok(true)
    }

    fn plan(
        &self,
        dir: &Path,
        service_name: &str,
        service: &Service,
        stand: &Path,
        stand_in: &StandIn,
    ) -> Outcome<Plan> {
        let folder = root()?.join("deployment");
        let user = numbers(&service.user).unwrap_or_default();
        let entrypoint = service.entrypoint.clone().unwrap_or_else(|| stand_in.entrypoint.clone());
        let command = service.command.clone().unwrap_or_else(|| stand_in.command.clone());
        let mut plan = Plan {
            name: service_name.to_owned(),
            over_usr: Some(stand.join("usr")),
            program: entrypoint.into_iter().chain(command).collect(),
            env: service.environment.clone().into_iter().collect(),
            user,
            user_name: stand_in.user_name.to_owned(),
            read_only: service.read_only,
            no_new_privileges: service.security_opt.iter().any(|option| option == "no-new-privileges:true"),
            ..Plan::default()
        };
        for file in &stand_in.at_root {
            plan.binds.push((stand.join(file), format!("/{file}"), false));
        }
        for (secret, at) in service.secrets() {
            plan.binds.push((self.secrets.join(secret), at, false));
        }
        for volume in &service.volumes {
            let mut parts = volume.split(':');
            let (outside, inside) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            if let Some(file) = outside.strip_prefix("./") {
                plan.binds.push((folder.join(file), inside.to_owned(), false));
            } else {
                plan.binds.push((volume_of(dir, outside, user)?, inside.to_owned(), true));
            }
        }
        for tmpfs in &service.tmpfs {
            let (inside, options) = tmpfs.split_once(':').unwrap_or((tmpfs, "mode=1777"));
            plan.tmpfs.push((inside.to_owned(), options.to_owned()));
        }
        for (network, _) in service.networks() {
            let others = self.addresses.get(&network).cloned().unwrap_or_default();
            if let (Some(address), Some(network)) = (others.get(service_name), self.on.get(&network)) {
                plan.attach(network, address);
            }
            plan.hosts.extend(others);
        }
        Ok(plan)
    }

    pub(super) fn at(&self, network: &str, service: &str) -> String {
        self.addresses.get(network).and_then(|on| on.get(service)).cloned().unwrap_or_default()
    }

    pub(super) fn said_inside(&self, service: &str, program: &[&str]) -> Outcome<Said> {
        let running = self.boxes.iter().find(|(name, _)| name == service).map(|(_, running)| running);
        let running = running.ok_or_else(|| Failure::new(format!("{service} does not run")))?;
        let words: Vec<String> = program.iter().map(|word| (*word).to_owned()).collect();
        running.run_inside(&words)
    }

    pub(super) fn inside(&self, service: &str, program: &[&str]) -> Outcome<String> {
        Ok(self.said_inside(service, program)?.text.trim().to_owned())
    }

    /// What a stack that runs must show.
    fn look(&self) -> Outcome<Vec<String>> {
        let mut faults = Vec::new();
        let mut must = |good: bool, what: String| {
            if !good {
                faults.push(what);
            }
        };
        let owner = fs::read_to_string(self.secrets.join("owner_url"))
            .map_err(Failure::of("read the owner's URL"))?;
        let sql = |text: &str| self.inside("postgres", &["psql", "-XAtq", owner.trim(), "-c", text]);
        let replicas = sql("select count(*) from pg_stat_replication where state = 'streaming'")?;
        must(replicas == "2", format!("replicas that follow: {replicas}"));
        let pooler = self.at("data", "pgbouncer");
        let by = sql(
            "select string_agg(distinct host(client_addr), ' ' order by host(client_addr)) from pg_stat_activity where usename = 'tradesense_login'",
        )?;
        let engine = self.at("data", "engine");
        must(
            by.contains(&pooler) && by.contains(&engine),
            format!("the login is used from {by}, not from the pooler {pooler} and the engine {engine} only"),
        );
        must(by.split(' ').count() == 2, format!("the login is used from {by}"));
        let timeout = sql(
            "select setconfig::text from pg_db_role_setting join pg_database on setdatabase = pg_database.oid where datname = 'tradesense' and setrole = 0",
        )?;
        must(timeout.contains("statement_timeout=30s"), format!("the database's settings are {timeout}"));

        for (service, port) in [("api", 8000), ("analytics", 8001)] {
            let answer = get(&format!("http://{}:{port}/health/ready", self.at("front", service)), &[])?;
            must(answer.starts_with("HTTP/1.1 200"), format!("{service} on {port} says {}", first(&answer)));
        }
        let edge = self.at("front", "edge");
        let answer = get(&format!("https://{edge}:8443/v1/firm"), &["--insecure"])?;
        must(
            answer.starts_with("HTTP/2 200") && answer.contains("strict-transport-security"),
            format!("the edge says {}", first(&answer)),
        );
        let logins = self.said.get("demo").cloned().unwrap_or_default();
        let login =
            logins.lines().find(|line| line.contains("trader@demo.example")).unwrap_or_default().to_owned();
        let words: Vec<&str> = login.split_whitespace().collect();
        let password = words.last().copied().unwrap_or_default();
        let body = format!("{{\"email\":\"trader@demo.example\",\"password\":\"{password}\"}}");
        let answer = get(
            &format!("https://{edge}:8443/v1/auth/sign-in"),
            &["--insecure", "--header", "content-type: application/json", "--data", &body],
        )?;
        must(answer.starts_with("HTTP/2 200"), format!("signing in through the edge: {}", first(&answer)));
        let answer = get(&format!("https://{edge}:8443/v1/analytics/leaderboard"), &["--insecure"])?;
        must(!answer.starts_with("HTTP/2 50"), format!("analytics through the edge: {}", first(&answer)));

        // Who started before the others has missed them once.
        let mut targets = String::new();
        let _all_up = poll(Duration::from_mins(1), || {
            std::thread::sleep(Duration::from_millis(500));
            targets =
                get(&format!("http://{}:9090/api/v1/targets", self.at("ops", "prometheus")), &[]).ok()?;
            (targets.matches("\"health\":\"up\"").count() == TARGETS).then_some(())
        });
        let (up, down) =
            (targets.matches("\"health\":\"up\"").count(), targets.matches("\"health\":\"down\"").count());
        must(
            up == TARGETS && down == 0,
            format!("Prometheus reaches {up} targets and does not reach {down}: {}", errors(&targets)),
        );

        // The first base backup is made by itself.
        let kept = poll(Duration::from_mins(2), || {
            std::thread::sleep(Duration::from_millis(500));
            let name = self.inside("backup", &["cat", "/var/lib/tradesense-backup/current"]).ok()?;
            name.starts_with("base-").then_some(())
        });
        must(kept.is_some(), "no base backup was made".to_owned());

        // Whoever breaks into the edge finds no database.
        let data = self.at("data", "postgres");
        let reached = self.inside(
            "edge",
            &[
                "bash",
                "-c",
                &format!("timeout 2 bash -c '</dev/tcp/{data}/5432' && echo reached || echo closed"),
            ],
        )?;
        must(reached.ends_with("closed"), format!("the edge reaches the database: {reached}"));
        let named = self.inside("edge", &["getent", "hosts", "postgres"])?;
        must(named.is_empty(), format!("the edge knows the database: {named}"));

        let mut known = Vec::new();
        for file in fs::read_dir(&self.secrets).map_err(Failure::of("list the secrets"))?.flatten() {
            let text = fs::read_to_string(file.path()).unwrap_or_default();
            // The shortest secret is a key of 48 digits; certificates are no secrets.
            known.extend(
                text.split(|letter: char| !letter.is_ascii_alphanumeric())
                    .filter(|word| word.len() >= 40)
                    .map(str::to_owned),
            );
        }
        must(known.len() > 10, "no secret was read".to_owned());
        for (name, running) in &self.boxes {
            let status = running.proc("status");
            let field = |field: &str| {
                status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or_default().trim().to_owned()
            };
            let wanted =
                self.compose.services.get(name).map(|service| service.user.clone()).unwrap_or_default();
            let user = wanted.split(':').next().unwrap_or_default();
            must(
                field("Uid:").split_whitespace().all(|uid| uid == user),
                format!("{name} runs as {}", field("Uid:")),
            );
            must(
                field("CapEff:").trim_start_matches('0').is_empty()
                    && field("CapPrm:").trim_start_matches('0').is_empty(),
                format!("{name} has capabilities"),
            );
            must(field("NoNewPrivs:") == "1", format!("{name} may gain privileges"));
            let mounts = running.proc("mountinfo");
            let root = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).unwrap_or_default();
            must(
                root.split(' ').nth(5).is_some_and(|options| options.starts_with("ro")),
                format!("{name} can write its root: {root}"),
            );
            for place in ["environ", "cmdline"] {
                let text = running.proc(place);
                must(
                    !known.iter().any(|secret| text.contains(secret)),
                    format!("{name} shows a secret in its {place}"),
                );
            }
            let log = running.log();
            must(
                !known.iter().any(|secret| log.contains(secret)),
                format!("{name} wrote a secret into its log"),
            );
        }
        Ok(faults)
    }

    /// Stops them, the last one first; all end as they are told to.
    pub(super) fn stop(&mut self) -> Vec<String> {
        let mut faults = Vec::new();
        while let Some((name, running)) = self.boxes.pop() {
            let service = self.compose.services.get(&name).cloned().unwrap_or_default();
            let signal =
                if service.stop_signal.as_deref() == Some("SIGINT") { Signal::INT } else { Signal::TERM };
            let grace = service.stop_grace_period.as_deref().and_then(seconds).unwrap_or(10);
            match running.stop(signal, Duration::from_secs(grace)) {
                Ok(took) => println!("  {name} stopped in {} ms", took.as_millis()),
                Err(fault) => faults.push(fault),
            }
        }
        faults
    }
}

/// A named volume is made once, and belongs to the user that the image's directory belongs to.
fn volume_of(dir: &Path, name: &str, (user, group): (u32, u32)) -> Outcome<PathBuf> {
    let volume = dir.join("volumes").join(name);
    if !volume.exists() {
        fs::create_dir_all(&volume).map_err(Failure::of(format!("create {}", volume.display())))?;
        std::os::unix::fs::chown(&volume, Some(user), Some(group))
            .map_err(Failure::of("give a volume to its user"))?;
    }
    Ok(volume)
}

fn is_healthy(running: &Sandbox, health: &Health) -> bool {
    let program = match health.test.split_first() {
        Some((how, rest)) if how == "CMD" => rest.to_vec(),
        Some((how, rest)) if how == "CMD-SHELL" => [&["sh".to_owned(), "-c".to_owned()], rest].concat(),
        _ => return false,
    };
    std::thread::sleep(Duration::from_millis(250));
    running.pid().is_some() && running.run_inside(&program).is_ok_and(|said| said.well)
}

/// `60s`, `1m`.
fn seconds(text: &str) -> Option<u64> {
    match text.strip_suffix('m') {
        Some(minutes) => minutes.parse::<u64>().ok()?.checked_mul(60),
        None => text.strip_suffix('s')?.parse().ok(),
    }
}

/// Head and body of an answer.
fn get(url: &str, more: &[&str]) -> Outcome<String> {
    Ok(ask(Command::new("curl")
        .args(["--silent", "--show-error", "--include", "--max-time", "10"])
        .args(more)
        .arg(url))?
    .text)
}

fn first(answer: &str) -> &str {
    answer.lines().next().unwrap_or("nothing")
}

fn errors(targets: &str) -> String {
    let of = |part: &str| -> Option<String> {
        let (error, _) = part.split_once(",\"lastScrape\"")?;
        (error.len() > 2).then(|| error.replace('\\', ""))
    };
    targets.split("\"lastError\":").skip(1).filter_map(of).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::super::stand_ins::name;
    use super::*;

    #[test]
    fn variables_have_their_usual_values_and_users_and_sizes_are_numbers() {
        assert_eq!(interpolated("a ${X:-1.0:b}/c ${Y}"), "a 1.0:b/c ");
        assert_eq!(numbers("65532:65532"), Some((65_532, 65_532)));
        assert_eq!(numbers("nginx"), None);
        assert_eq!(
            (megabytes("400M"), megabytes("192mb"), megabytes("2G")),
            (Some(400), Some(192), Some(2_048))
        );
        assert_eq!((seconds("60s"), seconds("2m"), seconds("x")), (Some(60), Some(120), None));
        assert_eq!(name("docker.elastic.co/kibana/kibana:9.5.2@sha256:00"), "kibana");
    }

    fn faults_of(change: impl FnOnce(&mut Service)) -> Vec<String> {
        let mut compose = read().unwrap_or_else(|Failure(text)| panic!("{text}"));
        let service = compose.services.get_mut("api").unwrap();
        change(service);
        let mut faults = Vec::new();
        let mut fault = |_: &str, what: String| faults.push(what);
        about_image("api", service, &mut fault);
        about_rights("api", service, &mut fault);
        about_words("api", service, &mut fault);
        faults
    }

    #[test]
    fn what_weakens_a_service_is_found() {
        assert_eq!(faults_of(|_| {}), Vec::<String>::new());
        let one = |change: fn(&mut Service), say: &str| {
            let faults = faults_of(change);
            assert!(faults.iter().any(|fault| fault.contains(say)), "{say} in {faults:?}");
        };
        one(|api| api.image = "postgres:18".to_owned(), "not named by digest");
        one(|api| api.image = "postgres:latest@sha256:00".to_owned(), "no exact tag");
        one(|api| api.cap_drop = Vec::new(), "capabilities");
        one(|api| api.read_only = false, "write its root");
        one(|api| api.user = "0:0".to_owned(), "as root");
        one(|api| api.deploy = None, "no limits");
        one(|api| api.healthcheck = None, "no health check");
        one(|api| api.privileged = true, "this machine's spaces");
        one(|api| drop(api.environment.insert("X_PASSWORD".to_owned(), "x".to_owned())), "may hold a secret");
        one(|api| drop(api.environment.insert("X".to_owned(), "redis://u:p@h".to_owned())), "holds a login");
        one(
            |api| drop(api.environment.insert("Y_FILE".to_owned(), "/run/secrets/y".to_owned())),
            "none of its secrets",
        );
    }
}
