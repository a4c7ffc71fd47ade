//! `cargo xtask verify monitoring-..`: the rules with their tests, Alertmanager's routes, and all of it live: a real Prometheus asks every
//! role, what alerts and dashboards ask for is there, and alerts of every severity arrive where they should.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde::Deserialize;

use super::stage::{Answer, ROLES, Stage, ask, copy_changed, heard, receiver};
use super::{Finding, Found, nothing};
use crate::machine::root;
use crate::monitoring::{DIR, Dashboards, Exporter, Exporters, Expression, expressions, table};
use crate::platform::{Scratch, free_port};
use crate::process::{Server, command, log_to, poll};
use crate::{Failure, Outcome};

/// What a program prints; a finding if it fails.
fn tool(place: &str, program: &str, args: &[&str]) -> Result<String, Vec<Finding>> {
    let dir = root().map_err(|Failure(text)| vec![Finding::new(place, text)])?.join(DIR);
    let ran = command(program, &dir).args(args).stdout(Stdio::piped()).stderr(Stdio::piped()).output();
    let ran =
        ran.map_err(|error| vec![Finding::new(place, format!("{program} could not be run: {error}"))])?;
    let said = format!("{}{}", String::from_utf8_lossy(&ran.stdout), String::from_utf8_lossy(&ran.stderr));
    if ran.status.success() {
        Ok(said)
    } else {
        Err(vec![Finding::new(place, format!("{program} {}: {said}", args.join(" ")))])
    }
}

/// Every file of rules.
const RULES: [&str; 5] = [
    "rules/recording.yml",
    "rules/alerts.yml",
    "rules/slo.yml",
    "rules/exporters.yml",
    "kubernetes/exporters.yml",
];

/// Their tests.
const TESTS: [&str; 7] =
    ["alerts", "alerts_hours", "alerts_days", "slo", "recording", "rules_exporters", "kubernetes_exporters"];

pub(super) fn configuration() -> Found {
    tool("prometheus.yml", "promtool", &["check", "config", "prometheus.yml"]).map(drop)
}

pub(super) fn rules() -> Found {
    for file in RULES {
        tool(file, "promtool", &["check", "rules", "--lint=all", "--lint-fatal", file])?;
    }
    Ok(())
}

pub(super) fn alerts() -> Found {
    for name in TESTS {
        let file = format!("tests/{name}_test.yml");
        tool(&file, "promtool", &["test", "rules", &file])?;
    }
    Ok(())
}

/// Which receivers hear of what; every severity and every team is in it.
const ROUTES: &[(&[&str], &str)] = &[
    (&["alertname=Watchdog", "severity=none", "team=platform"], "heartbeat"),
    (&["alertname=NotificationsFail", "severity=critical", "team=platform"], "everybody"),
    (&["alertname=AuditBroken", "severity=critical", "team=security"], "pager-security"),
    (&["alertname=RoleAbsent", "severity=critical", "team=platform"], "pager"),
    (&["alertname=QuotesStale", "severity=critical", "team=trading"], "pager"),
    (&["alertname=QuorumLost", "severity=critical", "team=database"], "pager"),
    (&["alertname=CheckoutFails", "severity=critical", "team=payments"], "pager"),
    (&["alertname=ApiAvailabilityBurnsFast", "severity=critical", "team=api"], "pager"),
    (&["alertname=RouteSlow", "severity=warning", "team=api"], "tickets"),
    (&["alertname=BreachesUnusual", "severity=warning", "team=risk"], "tickets"),
    (&["alertname=NobodyBuys", "severity=info", "team=business"], "morning"),
];

/// What Alertmanager runs with one machine: the same routes, other receivers.
const ON_COMPOSE: &str = "../compose/alertmanager.yml";

pub(super) fn routes() -> Found {
    let mut findings = Vec::new();
    for file in ["alertmanager.yml", ON_COMPOSE] {
        tool(file, "amtool", &["check-config", file])?;
        let config = format!("--config.file={file}");
        for (labels, receiver) in ROUTES {
            let expected = format!("--verify.receivers={receiver}");
            let mut args = vec!["config", "routes", "test", config.as_str(), expected.as_str()];
            args.extend(labels.iter());
            findings.extend(tool(file, "amtool", &args).err().into_iter().flatten());
        }
    }
    let alerts: crate::monitoring::Alerts = read("alerts")?;
    for alert in &alerts.alert {
        let has = |label: &str, value: &str| {
            ROUTES.iter().any(|(labels, _)| labels.contains(&format!("{label}={value}").as_str()))
        };
        if !has("severity", &alert.severity) || !has("team", &alert.team) {
            findings.push(Finding::new(&alert.name, "no route is tested for its severity and team"));
        }
    }
    nothing(findings)
}

fn read<T: serde::de::DeserializeOwned>(name: &str) -> Result<T, Vec<Finding>> {
    root()
        .and_then(|root| table(&root, name))
        .map_err(|Failure(text)| vec![Finding::new(format!("{name}.toml"), text)])
}

const HEADINGS: [&str; 4] = ["## What it means", "## What to look at", "## What to do", "## The rule"];

pub(super) fn runbooks() -> Found {
    let root = root().map_err(|Failure(text)| vec![Finding::new("runbooks", text)])?;
    let mut findings = Vec::new();
    for file in ["alerts.yml", "slo.yml", "exporters.yml"] {
        let text = fs::read_to_string(root.join(DIR).join("rules").join(file)).unwrap_or_default();
        let mut seen = 0_u32;
        for page in text.split("runbook_url: \"").skip(1).filter_map(|rest| rest.split('"').next()) {
            seen = seen.saturating_add(1);
            let page_text = fs::read_to_string(root.join(page)).unwrap_or_default();
            for heading in HEADINGS.iter().filter(|heading| !page_text.contains(**heading)) {
                findings.push(Finding::new(page, format!("there is no heading {heading:?}")));
            }
        }
        if seen == 0 || text.matches("- alert:").count() != text.matches("runbook_url:").count() {
            findings.push(Finding::new(file, "an alert has no runbook"));
        }
    }
    nothing(findings)
}

#[derive(Deserialize)]
struct Lists {
    elsewhere: Vec<Elsewhere>,
    quiet: Vec<Quiet>,
}

#[derive(Deserialize)]
struct Elsewhere {
    begins: Vec<String>,
    reason: String,
}

#[derive(Deserialize)]
struct Quiet {
    selectors: Vec<String>,
    reason: String,
}

/// Figures that Prometheus keeps about whoever it asks.
const OF_TARGETS: [&str; 2] = ["up", "scrape_samples_scraped"];

/// The value of the label `job` that a selector asks for.
fn job_of(selector: &str) -> Option<&str> {
    let (_, labels) = selector.split_once('{')?;
    // Other labels end like this one: `cronjob`.
    let rest = labels.split(',').find_map(|label| label.trim().strip_prefix("job=\""));
    rest.and_then(|rest| rest.split('"').next())
}

/// No alert falls silent without anybody hearing of it: whatever figure it asks for is told by a role, whose absence is `RoleAbsent`, or by
/// an exporter, whose absence is `ExporterAbsent`; and who is asked on one machine is exactly who is guarded there.
pub(super) fn guards() -> Found {
    let root = root().map_err(|Failure(text)| vec![Finding::new("guards", text)])?;
    let exporters: Exporters = read("exporters")?;
    let lists: Lists = read("elsewhere")?;
    let told = super::kubernetes::sources()?;
    let all = expressions(&root).map_err(|Failure(text)| vec![Finding::new("guards", text)])?;
    let mut findings = unguarded(&all, &exporters.exporter, &|name| {
        let base =
            ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name);
        let begins = |list: &Elsewhere| list.begins.iter().any(|begin| name.starts_with(begin.as_str()));
        [name, base].iter().any(|name| told.contains(&format!("\"{name}\"")))
            || lists.elsewhere.iter().any(begins)
    });
    let absent = all.iter().find(|expression| expression.of == "RoleAbsent");
    for role in ROLES {
        if absent.is_none_or(|absent| !absent.text.contains(&format!("role=\"{role}\""))) {
            findings.push(Finding::new("RoleAbsent", format!("does not miss {role}")));
        }
    }
    let file = "prometheus.yml";
    let config = fs::read_to_string(root.join(DIR).join(file)).unwrap_or_default();
    let asked: BTreeSet<&str> =
        config.lines().filter_map(|line| line.trim().strip_prefix("- job_name: ")).collect();
    let guarded = exporters.exporter.iter().filter(|exporter| exporter.compose);
    let guarded: BTreeSet<&str> =
        guarded.map(|exporter| exporter.job.as_str()).chain(["tradesense"]).collect();
    for job in asked.symmetric_difference(&guarded) {
        findings
            .push(Finding::new(file, format!("{job} is asked and not guarded, or guarded and not asked")));
    }
    nothing(findings)
}

/// Alerts that ask for what nobody would miss.
fn unguarded(all: &[Expression], exporters: &[Exporter], by_roles: &dyn Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Vec::new();
    for Expression { of, text } in all {
        for selector in selectors(text) {
            let (name, job) = (name_of(&selector), job_of(&selector));
            let by_exporter = exporters.iter().any(|exporter| {
                let begins = exporter.begins.iter().any(|begin| name.starts_with(begin.as_str()));
                let tells = begins || (OF_TARGETS.contains(&name) && job.is_some());
                tells && job.is_none_or(|job| job == exporter.job)
            });
            let by_role = by_roles(name) || (OF_TARGETS.contains(&name) && job == Some("tradesense"));
            let recorded = name.starts_with("tradesense:") || name.starts_with("slo:");
            if !by_exporter && !by_role && !recorded {
                findings.push(Finding::new(of, format!("nobody would miss {selector}")));
            }
        }
    }
    findings
}

/// Every selector of an expression: a name with what stands in braces behind it.
fn selectors(expr: &str) -> BTreeSet<String> {
    const WORDS: [&str; 40] = [
        "label_replace",
        "sum",
        "max",
        "min",
        "count",
        "by",
        "on",
        "and",
        "or",
        "unless",
        "rate",
        "increase",
        "absent",
        "time",
        "vector",
        "topk",
        "histogram_quantile",
        "le",
        "predict_linear",
        "deriv",
        "bool",
        "day_of_week",
        "hour",
        "min_over_time",
        "abs",
        "offset",
        "group_left",
        "ignoring",
        "without",
        "avg",
        "max_over_time",
        "avg_over_time",
        "clamp",
        "quantile",
        "d",
        "h",
        "m",
        "s",
        "w",
        "inf",
    ];
    let mut found = BTreeSet::new();
    let mut rest = expr;
    // Labels behind `by` and `on` are names too, but of no series.
    let mut in_list = false;
    let mut before = String::new();
    while let Some(first) = rest.chars().next() {
        if first.is_ascii_alphabetic() || first == '_' {
            let end = rest
                .find(|next: char| !next.is_ascii_alphanumeric() && next != '_' && next != ':')
                .unwrap_or(rest.len());
            let (word, behind) = rest.split_at(end);
            rest = behind;
            if !in_list && !WORDS.contains(&word) {
                let braces = if rest.starts_with('{') {
                    rest.find('}').map_or(0, |at| at.saturating_add(1))
                } else {
                    0
                };
                let (labels, behind) = rest.split_at(braces);
                found.insert(format!("{word}{labels}"));
                rest = behind;
            }
            word.clone_into(&mut before);
            continue;
        }
        match first {
            '(' if ["by", "on", "without", "ignoring"].contains(&before.as_str()) => in_list = true,
            ')' => in_list = false,
            // Texts, and durations.
            '"' => {
                let end = rest.get(1..).and_then(|text| text.find('"')).unwrap_or_default();
                rest = rest.get(end.saturating_add(1)..).unwrap_or_default();
            }
            '[' => rest = rest.find(']').and_then(|at| rest.get(at..)).unwrap_or_default(),
            '{' => {
                let end = rest.find('}').unwrap_or_default();
                found.insert(rest.get(..=end).unwrap_or_default().to_owned());
                rest = rest.get(end..).unwrap_or_default();
            }
            digit if digit.is_ascii_digit() => {
                let end = rest
                    .find(|next: char| !next.is_ascii_alphanumeric() && next != '.')
                    .unwrap_or(rest.len());
                rest = rest.get(end..).unwrap_or_default();
                before.clear();
                continue;
            }
            _ => {}
        }
        if !first.is_whitespace() {
            before.clear();
        }
        rest = rest.get(first.len_utf8()..).unwrap_or_default();
    }
    found
}

fn name_of(selector: &str) -> &str {
    selector.split('{').next().unwrap_or_default()
}

/// Whoever is told on one machine reads mails: a trial of each severity goes through the very file, to somebody who takes mails.
pub(super) fn mails() -> Found {
    let failed = |Failure(text): Failure| vec![Finding::new(ON_COMPOSE, text)];
    nothing(mailed().map_err(failed)?)
}

/// Alerts with whoever reads of them; nobody is mailed that the watch is alive.
const MAILS: [(&str, &str, &str, Option<&str>); 5] = [
    ("RoleAbsent", "critical", "platform", Some("pager")),
    ("AuditBroken", "critical", "security", Some("pager-security")),
    ("RouteSlow", "warning", "api", Some("tickets")),
    ("NobodyBuys", "info", "business", Some("morning")),
    ("Watchdog", "none", "platform", None),
];

fn mailed() -> Outcome<Vec<Finding>> {
    let scratch = Scratch::new("mails")?;
    let dir = scratch.path();
    let (mail_port, mails) = post_office()?;
    let port = free_port()?;
    let text =
        fs::read_to_string(root()?.join(DIR).join(ON_COMPOSE)).map_err(Failure::of("read the file"))?;
    // Only who takes mails, and what would take until tomorrow.
    let changed = text
        .replace("mail:1025", &format!("127.0.0.1:{mail_port}"))
        .replace("group_wait: 30s", "group_wait: 1s")
        .replace("group_wait: 10s", "group_wait: 1s")
        .replace("      active_time_intervals: [mornings]\n", "");
    fs::write(dir.join("alertmanager.yml"), changed).map_err(Failure::of("write alertmanager.yml"))?;
    let _alertmanager = start(
        dir,
        "prometheus-alertmanager",
        &[
            "--config.file=alertmanager.yml",
            "--storage.path=alertmanager",
            "--cluster.listen-address=",
            &format!("--web.listen-address=127.0.0.1:{port}"),
        ],
    )?;
    let url = format!("--alertmanager.url=http://127.0.0.1:{port}");
    for (alert, severity, team, _) in MAILS {
        let labels = [format!("alertname={alert}"), format!("severity={severity}"), format!("team={team}")];
        let taken = poll(Duration::from_secs(20), || {
            let mut add = command("amtool", dir);
            add.args(["alert", "add", &url]).args(&labels).stdout(Stdio::null()).stderr(Stdio::null());
            add.status().is_ok_and(|status| status.success()).then_some(())
        });
        taken.ok_or_else(|| Failure::new(format!("Alertmanager does not take {alert}")))?;
    }
    let mut findings = Vec::new();
    let about = |alert: &str| -> BTreeSet<String> {
        let mails = mails.lock().unwrap_or_else(PoisonError::into_inner);
        let about = mails.iter().filter(|(_, subject)| subject.contains(alert));
        about.map(|(to, _)| to.clone()).collect()
    };
    for (alert, _, _, who) in MAILS {
        let wanted: BTreeSet<String> = who.iter().map(|who| format!("{who}@tradesense.example")).collect();
        let came = poll(Duration::from_secs(20), || (about(alert) == wanted).then_some(()));
        println!("      {alert}: {:?}", about(alert));
        if came.is_none() {
            findings
                .push(Finding::new(alert, format!("was mailed to {:?}, not to {wanted:?}", about(alert))));
        }
    }
    Ok(findings)
}

/// Mails as (to, subject).
type Mails = Arc<Mutex<Vec<(String, String)>>>;

/// Takes mails, one connection after the other, for as long as the program runs.
fn post_office() -> Outcome<(u16, Mails)> {
    let listener = TcpListener::bind("127.0.0.1:0").map_err(Failure::of("listen for mails"))?;
    let port = listener.local_addr().map_err(Failure::of("listen for mails"))?.port();
    let mails = Mails::default();
    let taken = Arc::clone(&mails);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            if let Ok(Some(mail)) = take_mail(&stream) {
                taken.lock().unwrap_or_else(PoisonError::into_inner).push(mail);
            }
        }
    });
    Ok((port, mails))
}

fn take_mail(stream: &TcpStream) -> std::io::Result<Option<(String, String)>> {
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    let mut answer = stream;
    answer.write_all(b"220 ready\r\n")?;
    let (mut to, mut subject, mut in_text) = (String::new(), String::new(), false);
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let said: &[u8] = match line.as_str() {
            "." if in_text => {
                in_text = false;
                b"250 taken\r\n"
            }
            text if in_text => {
                if let Some(about) = text.strip_prefix("Subject: ") {
                    about.clone_into(&mut subject);
                }
                continue;
            }
            "DATA" => {
                in_text = true;
                b"354 go on\r\n"
            }
            "QUIT" => {
                answer.write_all(b"221 bye\r\n")?;
                return Ok(Some((to, subject)));
            }
            other => {
                if let Some(who) = other.strip_prefix("RCPT TO:<") {
                    who.split('>').next().unwrap_or_default().clone_into(&mut to);
                }
                b"250 well\r\n"
            }
        };
        answer.write_all(said)?;
    }
    Ok(None)
}

pub(super) fn live() -> Found {
    let failed = |Failure(text): Failure| vec![Finding::new("the live check", text)];
    let mut stage = Stage::open("verify-monitoring").map_err(failed)?;
    let findings = watched(&mut stage).map_err(failed);
    let closed = stage.close().map_err(failed);
    let findings = findings?;
    closed?;
    nothing(findings)
}

/// A real Prometheus that can be asked.
struct Prometheus {
    url: String,
    port: u16,
}

impl Prometheus {
    /// The lines of an answer; none of an empty one.
    fn ask(&self, expr: &str) -> Outcome<Vec<String>> {
        let ran = command("promtool", Path::new("/"))
            .args(["query", "instant", &self.url, expr])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .map_err(Failure::of("run promtool"))?;
        if !ran.status.success() {
            return Err(Failure::new(format!("{expr}: {}", String::from_utf8_lossy(&ran.stderr))));
        }
        let text = String::from_utf8_lossy(&ran.stdout);
        Ok(text.lines().filter(|line| !line.trim().is_empty()).map(str::to_owned).collect())
    }

    /// Waits until there is an answer.
    fn until(&self, expr: &str, at_most: Duration) -> bool {
        poll(at_most, || {
            std::thread::sleep(Duration::from_millis(500));
            self.ask(expr).is_ok_and(|lines| !lines.is_empty()).then_some(())
        })
        .is_some()
    }
}

fn watched(stage: &mut Stage) -> Outcome<Vec<Finding>> {
    let mut findings = Vec::new();
    let root = root()?;
    let dir = stage.scratch.path().join("monitoring");
    // Stands in for whoever is told, and for a process of another release.
    let (told_port, told) = receiver("tradesense_build_info{version=\"0.0.0-other\"} 1\n")?;
    let (prometheus_port, alertmanager_port) = (free_port()?, free_port()?);
    copy_changed(&root.join(DIR), &dir, &|text| {
        let text = text
            .replace("scrape_interval: 15s", "scrape_interval: 2s")
            .replace("scrape_timeout: 10s", "scrape_timeout: 2s");
        let text = text.replace("evaluation_interval: 15s", "evaluation_interval: 2s");
        let text = text.replace("https://alerts.example.com", &format!("http://127.0.0.1:{told_port}"));
        let text = text.replace("/run/secrets", &dir.display().to_string());
        let text =
            text.replace("group_wait: 30s", "group_wait: 1s").replace("group_wait: 10s", "group_wait: 1s");
        let text = text
            .replace("group_interval: 5m", "group_interval: 2s")
            .replace("      active_time_intervals: [mornings]\n", "");
        // How long something must last is proven by the tests of the rules; here the way is.
        let lines = text.lines().map(|line| match line.split_once("        for: ") {
            Some(("", _)) => "        for: 2s\n".to_owned(),
            _ => format!("{line}\n"),
        });
        lines.collect()
    })?;
    let write = |name: &str, text: &str| {
        fs::write(dir.join(name), text).map_err(Failure::of(format!("write {name}")))
    };
    write("alerts_key", "an open secret of this machine")?;
    let targets = |others: &[u16]| -> String {
        let roles = stage.members.iter().map(|member| {
            format!("- targets: [\"127.0.0.1:{}\"]\n  labels: {{ role: {} }}\n", member.ops, member.role)
        });
        let others = others
            .iter()
            .map(|port| format!("- targets: [\"127.0.0.1:{port}\"]\n  labels: {{ role: stand-in }}\n"));
        roles.chain(others).collect()
    };
    write("targets/tradesense.yml", &targets(&[]))?;
    write("targets/prometheus.yml", &format!("- targets: [\"127.0.0.1:{prometheus_port}\"]\n"))?;
    write("targets/alertmanager.yml", &format!("- targets: [\"127.0.0.1:{alertmanager_port}\"]\n"))?;
    for name in ["redis-queue", "redis-cache", "postgres", "backup"] {
        write(&format!("targets/{name}.yml"), "[]\n")?;
    }
    let _prometheus = start(
        &dir,
        "prometheus",
        &[
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=tsdb",
            "--enable-feature=exemplar-storage",
            "--log.level=warn",
            &format!("--web.listen-address=127.0.0.1:{prometheus_port}"),
        ],
    )?;
    let _alertmanager = start(
        &dir,
        "prometheus-alertmanager",
        &[
            "--config.file=alertmanager.yml",
            "--storage.path=alertmanager",
            "--cluster.listen-address=",
            &format!("--web.listen-address=127.0.0.1:{alertmanager_port}"),
        ],
    )?;
    let prometheus = Prometheus { url: format!("http://127.0.0.1:{prometheus_port}"), port: prometheus_port };

    // Somebody who signs in wrongly, buys without having signed in, asks for boards and for what is not there.
    let (api, boards) = (stage.member("api")?.port, stage.member("analytics")?.port);
    knock(api, boards, 20)?;
    for (what, expr) in [
        ("every role is scraped", "count(count by (role) (up{job=\"tradesense\"} == 1)) == 4"),
        ("commands are counted", "sum(tradesense_durable_seconds_count{received=\"command\"}) > 0"),
        ("purchases are told", "sum(tradesense_events_total{topic=\"purchase.paid\"}) > 0"),
        ("the audit log is verified", "tradesense_audit_verified_timestamp_seconds"),
        ("the business is counted", "tradesense_accounts > 0"),
        ("jobs are done", "sum(tradesense_job_duration_seconds_count) > 0"),
        ("prometheus knows alertmanager", "prometheus_notifications_alertmanagers_discovered == 1"),
    ] {
        if !prometheus.until(expr, Duration::from_mins(2)) {
            findings.push(Finding::new(what, format!("{expr} gave nothing in two minutes")));
        }
    }
    knock(api, boards, 5)?;
    // The business is counted once a minute; some ticks more for what is a rate.
    std::thread::sleep(Duration::from_secs(70));
    findings.extend(pages(stage)?);
    findings.extend(asked_for(&root, &prometheus)?);
    let exemplars = ask(
        prometheus.port,
        "GET",
        "/api/v1/query_exemplars?query=http_server_request_duration_seconds_bucket&start=0&end=4102444800",
        &[],
        "",
    )?;
    if !exemplars.body.contains("trace_id") {
        findings.push(Finding::new("exemplars", "Prometheus kept none of HTTP requests"));
    }
    let samples = prometheus.ask("max by (role) (scrape_samples_scraped{job=\"tradesense\"})")?;
    println!("      samples told: {}", samples.join("; "));
    if !prometheus.ask("scrape_samples_scraped{job=\"tradesense\"} > 5000")?.is_empty() {
        findings.push(Finding::new("series", "a process tells more than five thousand"));
    }
    let firing = prometheus.ask("count by (alertname) (ALERTS{alertstate=\"firing\"})")?;
    println!("      firing before anything is broken: {}", firing.join("; "));

    // One of each severity, from the cause to whoever is told, and its end.
    let arrives = |path: &str, alert: &str, status: &str| {
        let came = || {
            heard(&told).into_iter().any(|(to, said)| {
                to == path
                    && said.contains(&format!("\"alertname\":\"{alert}\""))
                    && said.contains(&format!("\"status\":\"{status}\""))
                    && said.contains("Authorization: Bearer an open secret of this machine")
            })
        };
        let started = crate::process::now();
        let came = poll(Duration::from_secs(90), || {
            std::thread::sleep(Duration::from_millis(200));
            came().then_some(())
        });
        println!(
            "      {alert} {status} at {path}: {:?} after {} ms",
            came.is_some(),
            started.elapsed().as_millis()
        );
        came.is_none().then(|| Finding::new(alert, format!("{path} was not told that it is {status}")))
    };
    findings.extend(arrives("/heartbeat", "Watchdog", "firing"));
    // A rise is seen between two looks: the first refusal makes the series, the others raise it.
    for number in 0..80 {
        if number == 1 {
            std::thread::sleep(Duration::from_secs(6));
        }
        ask(
            api,
            "POST",
            "/v1/auth/sign-in",
            &["Origin: http://elsewhere.example", "Content-Type: application/json"],
            "{}",
        )?;
    }
    findings.extend(arrives("/tickets", "ForbiddenMuch", "firing"));
    write("targets/tradesense.yml", &targets(&[told_port]))?;
    findings.extend(arrives("/morning", "VersionsDiffer", "firing"));
    stage.kill("worker")?;
    findings.extend(arrives("/pager", "RoleAbsent", "firing"));
    stage.start("worker")?;
    findings.extend(arrives("/pager", "RoleAbsent", "resolved"));
    Ok(findings)
}

pub(super) fn start(dir: &Path, program: &str, args: &[&str]) -> Outcome<Server> {
    let mut start = command(program, dir);
    start.args(args);
    log_to(&mut start, &dir.join(format!("{program}.log")))?;
    Server::start(&mut start)
}

/// Asks for this and that, so that every kind of figure has something to count.
fn knock(api: u16, boards: u16, times: u32) -> Outcome {
    let json = ["Content-Type: application/json"];
    for _ in 0..times {
        ask(
            api,
            "POST",
            "/v1/auth/sign-in",
            &json,
            "{\"email\":\"nobody@demo.example\",\"password\":\"wrong horse battery\"}",
        )?;
        ask(api, "POST", "/v1/purchases", &["Content-Type: application/json", "Idempotency-Key: one"], "{}")?;
        ask(api, "GET", "/v1/me", &[], "")?;
        ask(api, "GET", "/v1/nowhere/4242424242424242", &[], "")?;
        ask(boards, "GET", "/v1/analytics/leaderboard", &[], "")?;
    }
    Ok(())
}

/// The pages of the roles themselves: both formats, and nowhere else.
fn pages(stage: &Stage) -> Outcome<Vec<Finding>> {
    let mut findings = Vec::new();
    for role in ROLES {
        let member = stage.member(role)?;
        let Answer { status, body, .. } = ask(member.ops, "GET", "/metrics", &[], "")?;
        if status != 200 {
            findings.push(Finding::new(role, format!("/metrics answers {status}")));
        }
        let file = stage.scratch.path().join(format!("{role}.metrics"));
        fs::write(&file, &body).map_err(Failure::of("keep a page"))?;
        let input = fs::File::open(&file).map_err(Failure::of("read a page"))?;
        let linted = command("promtool", stage.scratch.path())
            .args(["check", "metrics"])
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .output()
            .map_err(Failure::of("run promtool"))?;
        let said =
            format!("{}{}", String::from_utf8_lossy(&linted.stdout), String::from_utf8_lossy(&linted.stderr));
        // OpenTelemetry's own name for the number of connections ends as a histogram's does.
        for line in said.lines().filter(|line| !line.starts_with("db_client_connection_count ")) {
            findings.push(Finding::new(role, format!("promtool check metrics: {line}")));
        }
        let accept = ["Accept: application/openmetrics-text; version=1.0.0"];
        let open = ask(member.ops, "GET", "/metrics", &accept, "")?;
        if !open.head.contains("application/openmetrics-text") || !open.body.ends_with("# EOF\n") {
            findings.push(Finding::new(role, "does not tell its figures as OpenMetrics"));
        }
        if !open.body.contains(" # {") {
            findings.push(Finding::new(role, "tells no exemplar"));
        }
        // A path with an id or a number in it is no route.
        if open.body.contains("4242424242424242") {
            findings.push(Finding::new(role, "a label holds what somebody asked for"));
        }
        println!("      {role}: {} lines of figures", body.lines().count());
    }
    for role in ["api", "analytics"] {
        let answer = ask(stage.member(role)?.port, "GET", "/metrics", &[], "")?;
        if answer.body.contains("# TYPE") {
            findings.push(Finding::new(role, "tells its figures to the world"));
        }
    }
    Ok(findings)
}

/// Whatever alerts, rules and dashboards ask for is there, or on a list with a reason.
fn asked_for(root: &Path, prometheus: &Prometheus) -> Outcome<Vec<Finding>> {
    let mut findings = Vec::new();
    let lists: Lists = table(root, "elsewhere")?;
    let exporters: Exporters = table(root, "exporters")?;
    let (mut asked, mut quiet_used, mut listed) = (0_u32, BTreeSet::new(), 0_u32);
    let begins = |all: &[String], name: &str| all.iter().any(|begin| name.starts_with(begin.as_str()));
    let elsewhere = |name: &str| {
        let mut absent = exporters.exporter.iter().filter(|exporter| !exporter.started);
        lists.elsewhere.iter().any(|list| begins(&list.begins, name))
            || absent.any(|exporter| begins(&exporter.begins, name))
    };
    let quiet: BTreeMap<&str, &str> = lists
        .quiet
        .iter()
        .flat_map(|quiet| quiet.selectors.iter().map(|selector| (selector.as_str(), quiet.reason.as_str())))
        .collect();
    let dashboards: Dashboards = table(root, "dashboards")?;
    let mut all = expressions(root)?;
    let recording = fs::read_to_string(root.join(DIR).join("rules/recording.yml")).unwrap_or_default();
    for rule in recording.split("- record: ").skip(1) {
        let (name, expr) = rule.split_once("expr:").unwrap_or((rule, ""));
        let expr: Vec<&str> = expr.lines().map(|line| line.split(" #").next().unwrap_or_default()).collect();
        let expr = expr.join(" ").replace("|-", "");
        let expr = expr.split("- name:").next().unwrap_or_default().to_owned();
        all.push(Expression { of: name.trim().to_owned(), text: expr });
    }
    let mut seen = BTreeMap::new();
    for Expression { of, text } in &all {
        for selector in selectors(text) {
            let there = if let Some(there) = seen.get(&selector) {
                *there
            } else {
                asked = asked.saturating_add(1);
                let there = !prometheus.ask(&selector)?.is_empty();
                seen.insert(selector.clone(), there);
                there
            };
            if there {
                continue;
            }
            let known =
                !prometheus.ask(&format!("count({{__name__=\"{}\"}})", name_of(&selector)))?.is_empty();
            let on_list = elsewhere(name_of(&selector)) || quiet.contains_key(selector.as_str());
            if quiet.contains_key(selector.as_str()) {
                quiet_used.insert(selector.clone());
            }
            if on_list {
                listed = listed.saturating_add(1);
            } else {
                let why = if known { "no series has these labels" } else { "nobody tells this figure" };
                findings.push(Finding::new(of, format!("{selector}: {why}")));
            }
        }
    }
    for selector in quiet.keys() {
        if !all.iter().any(|expression| selectors(&expression.text).contains(*selector)) {
            findings.push(Finding::new("elsewhere.toml", format!("nobody asks for {selector}")));
        }
    }
    if lists.elsewhere.iter().any(|list| list.reason.is_empty())
        || quiet.values().any(|reason| reason.is_empty())
        || exporters.exporter.iter().any(|exporter| exporter.reason.is_empty())
    {
        findings.push(Finding::new("elsewhere.toml", "something is listed without a reason"));
    }
    let (mut panels, mut empty) = (0_u32, 0_u32);
    for dashboard in &dashboards.dashboard {
        for panel in &dashboard.panel {
            for [expr, _] in &panel.queries {
                panels = panels.saturating_add(1);
                let answered = !prometheus.ask(expr)?.is_empty();
                if !answered && panel.empty.is_none() {
                    findings.push(Finding::new(
                        format!("{}: {}", dashboard.uid, panel.title),
                        format!("{expr} gives nothing"),
                    ));
                }
                empty = empty.saturating_add(u32::from(!answered));
                for selector in selectors(expr) {
                    let name = name_of(&selector);
                    let there = !prometheus.ask(&format!("count({{__name__=\"{name}\"}})"))?.is_empty();
                    let recorded = name.starts_with("tradesense:") || name.starts_with("slo:");
                    if !there && !recorded && !elsewhere(name) && panel.empty.is_none() {
                        findings.push(Finding::new(&panel.title, format!("nobody tells {name}")));
                    }
                }
            }
        }
    }
    println!(
        "      {asked} selectors of alerts and rules ({listed} on the lists, {} of them quiet), {panels} queries of dashboards ({empty} empty on purpose)",
        quiet_used.len()
    );
    Ok(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn selectors_are_found_in_an_expression() {
        let expr = r#"histogram_quantile(0.99, sum by (role, le) (rate(a_bucket{x="y",le="1.0"}[5m]))) > 5
            and on (role) sum by (role) (increase(a_count[1h] offset 1h)) >= 50 or absent(slo:b:ratio_5m) * 14.4e3"#;
        let found: Vec<String> = selectors(expr).into_iter().collect();
        assert_eq!(found, ["a_bucket{x=\"y\",le=\"1.0\"}", "a_count", "slo:b:ratio_5m"]);
        assert_eq!(name_of("a{b=\"c\"}"), "a");
    }

    #[test]
    fn what_nobody_would_miss_is_found() {
        assert_eq!(guards(), Ok(()));
        let exporters: Exporters = read("exporters").unwrap();
        let asks = |text: &str, without: &str| {
            let mut there: Vec<Exporter> = Vec::new();
            there.extend(read::<Exporters>("exporters").unwrap().exporter);
            there.retain(|exporter| exporter.job != without);
            let all = [Expression { of: "it".into(), text: text.into() }];
            unguarded(&all, &there, &|name| name == "ours").len()
        };
        // Each exporter is the only one who is guarded for what it tells.
        for exporter in &exporters.exporter {
            for begin in &exporter.begins {
                let text = format!("{begin}x{{job=\"{}\"}} > 0", exporter.job);
                assert_eq!((asks(&text, ""), asks(&text, &exporter.job)), (0, 1), "{text}");
            }
        }
        assert_eq!(asks("ours > 0 or tradesense:market_open or up{job=\"tradesense\"}", ""), 0);
        assert_eq!(asks("theirs > 0", ""), 1);
        assert_eq!(asks("up{job=\"unheard\"} == 0", ""), 1);
        assert_eq!(asks("redis_memory_used_bytes{job=\"redis-other\"} > 0", ""), 1);
    }
}
