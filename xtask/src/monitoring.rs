//! `cargo xtask monitoring`: makes the rules, their tests, the runbooks and the dashboards from the tables in `deployment/monitoring`, and of
//! these what Kubernetes and compose take of them, so that each installation runs what is tested.
//!
//! A table says once what an alert is: its rule, what makes it fire and what does not, what whoever is woken looks at. Nobody can add an
//! alert without a test that fires, one that stays silent, one without any series, and a runbook.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::machine::root;
use crate::{Failure, Outcome, only_flag};

/// Where the tables are.
pub(crate) const DIR: &str = "deployment/monitoring";
const RUNBOOKS: &str = "docs/runbooks";
/// The component of Kubernetes that holds what is made for it.
const ALERTING: &str = "deployment/kubernetes/components/alerting";
const COMPOSE_ALERTMANAGER: &str = "deployment/compose/alertmanager.yml";
/// The first line of what is made.
const MADE: &str = "Made by `cargo xtask monitoring`";

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Alerts {
    pub(crate) alert: Vec<Alert>,
}

/// One alert.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Alert {
    pub(crate) name: String,
    group: String,
    pub(crate) severity: String,
    pub(crate) team: String,
    #[serde(rename = "for")]
    lasts: String,
    dashboard: String,
    pub(crate) expr: String,
    says: String,
    means: String,
    look: Vec<String>,
    #[serde(rename = "do")]
    steps: Vec<String>,
    absent: Vec<Labels>,
    fires: Case,
    silent: Case,
}

type Labels = BTreeMap<String, String>;

/// Who else tells figures, and the alert for when they no longer do.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exporters {
    pub(crate) alert: Alert,
    pub(crate) exporter: Vec<Exporter>,
}

/// Somebody else than our program who tells figures.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Exporter {
    pub(crate) job: String,
    /// How the names of its figures begin.
    pub(crate) begins: Vec<String>,
    /// Figures that are there whenever it is.
    tells: Vec<String>,
    /// Whether compose starts one.
    #[serde(default)]
    pub(crate) compose: bool,
    /// By which monitor Kubernetes asks it.
    pub(crate) kubernetes: Option<String>,
    /// Whether the live check starts one.
    #[serde(default)]
    pub(crate) started: bool,
    pub(crate) reason: String,
}

impl Exporters {
    /// The alert with a part for each figure of those who are there.
    fn guard(&self, there: impl Fn(&Exporter) -> bool) -> Alert {
        let each = |text: &str| -> Vec<String> {
            let exporters = self.exporter.iter().filter(|exporter| there(exporter));
            let figures =
                exporters.flat_map(|exporter| exporter.tells.iter().map(|tells| (&exporter.job, tells)));
            let mut all: Vec<String> =
                figures.map(|(job, tells)| text.replace("TELLS", tells).replace("JOB", job)).collect();
            all.dedup();
            all
        };
        let labels = |all: &[Labels]| -> Vec<Labels> {
            let of = |(name, value): (&String, &String)| {
                each(value).into_iter().map(|value| Labels::from([(name.clone(), value)])).collect::<Vec<_>>()
            };
            all.iter().flatten().flat_map(of).collect()
        };
        let case = |case: &Case| Case {
            series: (case.series.iter())
                .flat_map(|(name, values)| each(name).into_iter().map(|name| (name, values.clone())))
                .collect(),
            labels: labels(&case.labels),
            ..case.clone()
        };
        Alert {
            expr: each(&self.alert.expr).join("\nor "),
            absent: labels(&self.alert.absent),
            fires: case(&self.alert.fires),
            silent: case(&self.alert.silent),
            ..self.alert.clone()
        }
    }

    fn on_compose(&self) -> Alert {
        self.guard(|exporter| exporter.compose)
    }

    fn on_kubernetes(&self) -> Alert {
        self.guard(|exporter| exporter.kubernetes.is_some())
    }
}

impl Case {
    /// How often rules are looked at in its test: all of them are, so what lasts for days is not looked at each minute.
    fn evaluated(&self) -> &'static str {
        match &self.interval {
            Some(_) => "1h",
            None if self.at.contains(['h', 'd']) => "10m",
            None => "1m",
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    at: String,
    #[serde(default)]
    interval: Option<String>,
    series: BTreeMap<String, String>,
    #[serde(default)]
    labels: Vec<Labels>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Objectives {
    slo: Vec<Objective>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Objective {
    name: String,
    title: String,
    promise: String,
    budget: String,
    team: String,
    dashboard: String,
    floor: u32,
    good_is: String,
    total: String,
    bad: String,
    good_series: BTreeMap<String, String>,
    bad_series: BTreeMap<String, String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dashboards {
    pub(crate) dashboard: Vec<Dashboard>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Dashboard {
    pub(crate) uid: String,
    title: String,
    pub(crate) panel: Vec<Panel>,
}

/// One panel; each query is an expression and the words for its series.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Panel {
    pub(crate) title: String,
    #[serde(default = "short")]
    unit: String,
    #[serde(default = "timeseries")]
    kind: String,
    pub(crate) queries: Vec<[String; 2]>,
    /// Why a query may give nothing where all is well.
    #[serde(default)]
    pub(crate) empty: Option<String>,
}

fn short() -> String {
    "short".to_owned()
}

fn timeseries() -> String {
    "timeseries".to_owned()
}

/// An expression with the name of what it belongs to.
pub(crate) struct Expression {
    pub(crate) of: String,
    pub(crate) text: String,
}

/// Everything that is asked by an alert or a recording rule made here.
pub(crate) fn expressions(root: &Path) -> Outcome<Vec<Expression>> {
    let alerts: Alerts = table(root, "alerts")?;
    let objectives: Objectives = table(root, "slo")?;
    let exporters: Exporters = table(root, "exporters")?;
    let guards = [exporters.on_compose(), exporters.on_kubernetes()];
    let mut all: Vec<Expression> = (alerts.alert.into_iter().chain(guards))
        .map(|alert| Expression { of: alert.name, text: alert.expr })
        .collect();
    for slo in objectives.slo {
        for text in [&slo.total, &slo.bad] {
            all.push(Expression { of: slo.title.clone(), text: text.replace("WINDOW", "5m") });
        }
    }
    Ok(all)
}

pub(crate) fn table<T: serde::de::DeserializeOwned>(root: &Path, name: &str) -> Outcome<T> {
    let path = root.join(DIR).join(format!("{name}.toml"));
    let text = fs::read_to_string(&path).map_err(Failure::of(format!("read {}", path.display())))?;
    toml::from_str(&text).map_err(Failure::of(format!("read {}", path.display())))
}

pub(crate) fn run(args: lexopt::Parser) -> Outcome {
    let root = root()?;
    if only_flag(args, "check")? { check(&root) } else { write(&root, true) }
}

/// Fails where a file is not what the tables say.
pub(crate) fn check(root: &Path) -> Outcome {
    write(root, false)
}

fn write(root: &Path, changing: bool) -> Outcome {
    let files = made(root)?;
    let mut stale = Vec::new();
    for (path, text) in &files {
        if fs::read_to_string(path).is_ok_and(|old| old == *text) {
            continue;
        }
        stale.push(path.display().to_string());
        if changing {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent).map_err(Failure::of(format!("create {}", parent.display())))?;
            }
            fs::write(path, text).map_err(Failure::of(format!("write {}", path.display())))?;
        }
    }
    if !changing && !stale.is_empty() {
        return Err(Failure::new(format!("out of date, run `cargo xtask monitoring`: {}", stale.join(", "))));
    }
    println!("{} files of the monitoring, {} of them new or changed", files.len(), stale.len());
    Ok(())
}

/// Every file that is made, with its text.
fn made(root: &Path) -> Outcome<BTreeMap<PathBuf, String>> {
    let alerts: Alerts = table(root, "alerts")?;
    let objectives: Objectives = table(root, "slo")?;
    let dashboards: Dashboards = table(root, "dashboards")?;
    let dir = root.join(DIR);
    let mut files = BTreeMap::new();
    files.insert(dir.join("rules/alerts.yml"), alert_rules("alerts.toml", &alerts.alert));
    files.insert(dir.join("rules/slo.yml"), objective_rules(&objectives.slo));
    let recording = dir.join("rules/recording.yml");
    let recording =
        fs::read_to_string(&recording).map_err(Failure::of(format!("read {}", recording.display())))?;
    let order = evaluation_order(&recording, &alerts.alert);
    let common = ["rules/recording", "rules/alerts"];
    for (name, interval) in [("alerts", "1m"), ("alerts_hours", "10m"), ("alerts_days", "1h")] {
        let cases = alerts
            .alert
            .iter()
            .flat_map(|alert| [(alert, "fires", &alert.fires), (alert, "stays silent", &alert.silent)])
            .filter(|(_, _, case)| case.evaluated() == interval);
        let cases: Vec<_> = cases.collect();
        let without_series = (interval == "10m").then_some(alerts.alert.as_slice());
        files.insert(
            dir.join(format!("tests/{name}_test.yml")),
            alert_tests(interval, &common, &order, &cases, without_series),
        );
    }
    let exporters: Exporters = table(root, "exporters")?;
    for (rules, guard) in
        [("rules/exporters", exporters.on_compose()), ("kubernetes/exporters", exporters.on_kubernetes())]
    {
        let guards = [guard];
        files.insert(dir.join(format!("{rules}.yml")), alert_rules("exporters.toml", &guards));
        let cases = guards
            .iter()
            .flat_map(|alert| [(alert, "fires", &alert.fires), (alert, "stays silent", &alert.silent)]);
        let name = format!("tests/{}_test.yml", rules.replace('/', "_"));
        let cases: Vec<_> = cases.collect();
        files.insert(dir.join(name), alert_tests("10m", &[rules], "", &cases, Some(&guards)));
    }
    files.insert(dir.join("tests/slo_test.yml"), objective_tests(&objectives.slo));
    let pages = alerts.alert.iter().map(|alert| (alert, "alerts.toml"));
    for (alert, table) in pages.chain([(&exporters.alert, "exporters.toml")]) {
        files.insert(root.join(RUNBOOKS).join(format!("{}.md", alert.name)), runbook(alert, table));
    }
    for slo in &objectives.slo {
        files.insert(root.join(RUNBOOKS).join(format!("{}.md", slo.title)), objective_runbook(slo));
    }
    for dashboard in &dashboards.dashboard {
        let name = format!("dashboards/{}.json", dashboard.uid);
        files.insert(dir.join("grafana").join(name), grafana(dashboard));
    }
    files.insert(dir.join("grafana/kustomization.yaml"), dashboards_of_kubernetes(&dashboards.dashboard));
    files.insert(root.join("docs/SLO.md"), objectives_page(&objectives.slo));
    let of = |name: &str| files.get(&dir.join(name)).cloned().unwrap_or_default();
    let rules = [
        ("recording", recording),
        ("alerts", of("rules/alerts.yml")),
        ("slo", of("rules/slo.yml")),
        ("exporters", of("kubernetes/exporters.yml")),
    ];
    files.insert(root.join(ALERTING).join("rules.yaml"), rules_of_kubernetes(&rules));
    let alertmanager = dir.join("alertmanager.yml");
    let alertmanager =
        fs::read_to_string(&alertmanager).map_err(Failure::of(format!("read {}", alertmanager.display())))?;
    files.insert(root.join(ALERTING).join("alertmanager.yaml"), alertmanager_of_kubernetes(&alertmanager)?);
    files.insert(root.join(COMPOSE_ALERTMANAGER), alertmanager_of_compose(&alertmanager)?);
    Ok(files)
}

/// A text as YAML and JSON both write it.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    // A string takes everything.
    let _ = writeln!(out, "{text}");
}

fn map(labels: &Labels) -> String {
    let pairs: Vec<String> =
        labels.iter().map(|(name, value)| format!("{name}: {}", quoted(value))).collect();
    format!("{{{}}}", pairs.join(", "))
}

fn annotations(says: &str, runbook: &str, dashboard: &str) -> Labels {
    [
        ("summary", says.to_owned()),
        ("runbook_url", format!("{RUNBOOKS}/{runbook}.md")),
        ("dashboard_url", format!("/d/tradesense-{dashboard}")),
    ]
    .into_iter()
    .map(|(name, value)| (name.to_owned(), value))
    .collect()
}

fn labels(severity: &str, team: &str) -> Labels {
    [("severity", severity), ("team", team)].map(|(name, value)| (name.to_owned(), value.to_owned())).into()
}

fn rule(out: &mut String, name: &str, expr: &str, lasts: &str, labels: &Labels, annotations: &Labels) {
    line(out, format_args!("      - alert: {name}"));
    line(out, format_args!("        expr: {}", quoted(expr)));
    line(out, format_args!("        for: {lasts}"));
    line(out, format_args!("        labels: {}", map(labels)));
    line(out, format_args!("        annotations: {}", map(annotations)));
}

/// Alerts read what is recorded, and promtool evaluates groups in any order unless told; one that is not in the list may come first.
fn evaluation_order(recording: &str, alerts: &[Alert]) -> String {
    let recorded = recording.lines().filter_map(|line| line.trim_start().strip_prefix("- name: "));
    let mut groups: Vec<&str> = Vec::new();
    for group in recorded.chain(alerts.iter().map(|alert| alert.group.as_str())) {
        if !groups.contains(&group) {
            groups.push(group);
        }
    }
    format!("group_eval_order: [{}]\n", groups.join(", "))
}

fn alert_rules(table: &str, alerts: &[Alert]) -> String {
    let mut out = format!("# {MADE} from {table}.\ngroups:\n");
    let mut groups: Vec<&str> = alerts.iter().map(|alert| alert.group.as_str()).collect();
    groups.dedup();
    for group in groups {
        line(&mut out, format_args!("  - name: {group}\n    rules:"));
        for alert in alerts.iter().filter(|alert| alert.group == group) {
            let annotations = annotations(&alert.says, &alert.name, &alert.dashboard);
            let labels = labels(&alert.severity, &alert.team);
            rule(&mut out, &alert.name, &alert.expr, &alert.lasts, &labels, &annotations);
        }
    }
    out
}

const WINDOWS: [&str; 7] = ["5m", "30m", "1h", "2h", "6h", "1d", "3d"];

/// The two alerts of an objective: ending, severity, and for each its pairs of windows with how many times the budget.
type Burns = (&'static str, &'static str, &'static str, [(&'static str, &'static str, &'static str); 2]);
const BURNS: [Burns; 2] = [
    ("BurnsFast", "critical", "2m", [("1h", "5m", "14.4"), ("6h", "30m", "6")]),
    ("BurnsSlow", "warning", "15m", [("1d", "2h", "3"), ("3d", "6h", "1")]),
];

fn burn_says(slo: &Objective, ending: &str) -> String {
    let pace =
        if ending == "BurnsFast" { "so fast that it is gone within days" } else { "faster than it lasts" };
    format!("The budget of the objective {} ({}) is used up {pace}.", slo.title, slo.promise)
}

fn objective_rules(objectives: &[Objective]) -> String {
    let mut out = format!("# {MADE} from slo.toml.\ngroups:\n");
    for slo in objectives {
        let name = &slo.name;
        line(&mut out, format_args!("  - name: slo_{name}\n    rules:"));
        for window in WINDOWS {
            let (total, bad) = (slo.total.replace("WINDOW", window), slo.bad.replace("WINDOW", window));
            line(
                &mut out,
                format_args!("      - record: slo:{name}:events_{window}\n        expr: {}", quoted(&total)),
            );
            let ratio = format!("(({bad}) or vector(0)) / (slo:{name}:events_{window} > 0)");
            line(
                &mut out,
                format_args!(
                    "      - record: slo:{name}:bad_ratio_{window}\n        expr: {}",
                    quoted(&ratio)
                ),
            );
        }
        for (ending, severity, lasts, pairs) in BURNS {
            let parts: Vec<String> = pairs
                .iter()
                .map(|(long, brief, times)| {
                    let (budget, floor) = (&slo.budget, slo.floor);
                    format!(
                        "(slo:{name}:bad_ratio_{long} > {times} * {budget} and slo:{name}:bad_ratio_{brief} > {times} * {budget} \
                         and slo:{name}:events_{long} >= {floor})"
                    )
                })
                .collect();
            let alert = format!("{}{ending}", slo.title);
            let annotations = annotations(&burn_says(slo, ending), &slo.title, &slo.dashboard);
            rule(&mut out, &alert, &parts.join("\nor "), lasts, &labels(severity, &slo.team), &annotations);
        }
    }
    out
}

fn tests_head(interval: &str, rules: &[&str], order: &str) -> String {
    let rules: Vec<String> = rules
        .iter()
        .map(|rules| {
            format!(
                "  - ../{rules}.yml
"
            )
        })
        .collect();
    format!(
        "# {MADE} from the tables beside it.
rule_files:
{}{order}evaluation_interval: {interval}
tests:
",
        rules.concat()
    )
}

fn test(out: &mut String, name: &str, interval: &str, series: &BTreeMap<String, String>) {
    line(out, format_args!("  - name: {}\n    interval: {interval}\n    input_series:", quoted(name)));
    if series.is_empty() {
        // promtool wants at least one.
        line(out, format_args!("      - series: nothing\n        values: \"0\""));
    }
    for (name, values) in series {
        line(out, format_args!("      - series: {}\n        values: {}", quoted(name), quoted(values)));
    }
    line(out, format_args!("    alert_rule_test:"));
}

fn expected(out: &mut String, at: &str, alert: &str, all: &[Labels], annotations: &Labels) {
    line(out, format_args!("      - eval_time: {at}\n        alertname: {alert}"));
    if all.is_empty() {
        line(out, format_args!("        exp_alerts: []"));
        return;
    }
    line(out, format_args!("        exp_alerts:"));
    for labels in all {
        line(
            out,
            format_args!(
                "          - exp_labels: {}\n            exp_annotations: {}",
                map(labels),
                map(annotations)
            ),
        );
    }
}

fn alert_tests(
    interval: &str,
    rules: &[&str],
    order: &str,
    cases: &[(&Alert, &str, &Case)],
    without_series: Option<&[Alert]>,
) -> String {
    let mut out = tests_head(interval, rules, order);
    let full = |alert: &Alert, own: &[Labels]| -> Vec<Labels> {
        own.iter()
            .map(|own| labels(&alert.severity, &alert.team).into_iter().chain(own.clone()).collect())
            .collect()
    };
    let of = |alert: &Alert| annotations(&alert.says, &alert.name, &alert.dashboard);
    for (alert, how, case) in cases {
        // The watchdog cannot be silent.
        if alert.severity == "none" && *how != "fires" {
            continue;
        }
        let interval = case.interval.as_deref().unwrap_or("1m");
        test(&mut out, &format!("{} {how}", alert.name), interval, &case.series);
        let labels = if *how == "fires" { full(alert, &case.labels) } else { Vec::new() };
        expected(&mut out, &case.at, &alert.name, &labels, &of(alert));
    }
    if let Some(alerts) = without_series {
        test(&mut out, "without any series", "1m", &BTreeMap::new());
        for alert in alerts {
            // An absence that has to last for an hour is not there after half of one.
            let at = if alert.lasts.ends_with('h') { "7h" } else { "1h" };
            expected(&mut out, at, &alert.name, &full(alert, &alert.absent), &of(alert));
        }
    }
    out
}

fn objective_tests(objectives: &[Objective]) -> String {
    let mut out = tests_head("5m", &["rules/slo"], "");
    for slo in objectives {
        let of = |series: &BTreeMap<String, String>, count: &str| -> BTreeMap<String, String> {
            series
                .iter()
                .map(|(name, values)| (name.clone(), values.replace("xN", &format!("x{count}"))))
                .collect()
        };
        let all = |ending: &str, severity: &str, fires: bool, at: &str, out: &mut String| {
            let labels = if fires { vec![labels(severity, &slo.team)] } else { Vec::new() };
            let annotations = annotations(&burn_says(slo, ending), &slo.title, &slo.dashboard);
            expected(out, at, &format!("{}{ending}", slo.title), &labels, &annotations);
        };
        for (what, series, fires) in
            [("burns", &slo.bad_series, true), ("stays within its budget", &slo.good_series, false)]
        {
            test(&mut out, &format!("{} {what}", slo.title), "1m", &of(series, "1600"));
            for (ending, severity, ..) in BURNS {
                all(ending, severity, fires, "26h", &mut out);
            }
        }
        // As bad, but too few of them to be anything.
        test(&mut out, &format!("{} has too few events", slo.title), "1m", &of(&slo.bad_series, "1"));
        for (ending, severity, ..) in BURNS {
            all(ending, severity, false, "10m", &mut out);
        }
    }
    test(&mut out, "no objective without any series", "1m", &BTreeMap::new());
    for slo in objectives {
        for (ending, ..) in BURNS {
            expected(&mut out, "2h", &format!("{}{ending}", slo.title), &[], &Labels::new());
        }
    }
    out
}

fn bullets(out: &mut String, heading: &str, items: &[String]) {
    line(out, format_args!("\n## {heading}\n"));
    for (number, item) in items.iter().enumerate() {
        line(out, format_args!("{}. {item}", number.saturating_add(1)));
    }
}

fn runbook(alert: &Alert, table: &str) -> String {
    let mut out =
        format!("<!-- {MADE} from deployment/monitoring/{table} -->\n# {}\n\n{}\n", alert.name, alert.says);
    line(
        &mut out,
        format_args!(
            "\nSeverity **{}**, team **{}**, after {}. Dashboard `tradesense-{}`.\n\n## What it means\n\n{}",
            alert.severity, alert.team, alert.lasts, alert.dashboard, alert.means
        ),
    );
    bullets(&mut out, "What to look at", &alert.look);
    bullets(&mut out, "What to do", &alert.steps);
    line(&mut out, format_args!("\n## The rule\n\n```promql\n{}\n```", alert.expr.trim()));
    out
}

fn objective_runbook(slo: &Objective) -> String {
    let mut out = format!("<!-- {MADE} from deployment/monitoring/slo.toml -->\n# {}\n\n", slo.title);
    line(
        &mut out,
        format_args!(
            "{}\n\nObjective **{}** over thirty days, team **{}**. Dashboard `tradesense-{}`.\n\n## What it means\n\n\
             `{}BurnsFast` (critical): at this pace the month's budget is gone within two to five days; people notice now. \
             `{}BurnsSlow` (warning): it does not last for the month. `docs/SLO.md` has the arithmetic.",
            slo.good_is, slo.promise, slo.team, slo.dashboard, slo.title, slo.title
        ),
    );
    let look = [
        format!("The share of bad events: `slo:{}:bad_ratio_5m` beside `_1h`: still going on, or over?", slo.name),
        "By route, by instance: one of them, or all? An exemplar leads to a request and its lines.".to_owned(),
        "What changed: releases (`tradesense_build_info`), settings, load.".to_owned(),
        "What it needs: `DatabaseUnreachable`, `PoolExhausted`, `RedisUnreachable`, `RoleAbsent` fire as well?".to_owned(),
    ];
    bullets(&mut out, "What to look at", &look);
    let steps = [
        "If an alert of the things below fires too, mend that first.".to_owned(),
        "After a release: roll back; look for the cause afterwards.".to_owned(),
        "One instance: take it out.".to_owned(),
        "Load: add processes of the role, tighten the limits of the edge for whoever asks most.".to_owned(),
        "Budget gone: until the month is over only changes that make the platform safer go out.".to_owned(),
    ];
    bullets(&mut out, "What to do", &steps);
    line(&mut out, format_args!("\n## The rule\n\n```promql\n{}\n/ {}\n```", slo.bad, slo.total));
    out
}

fn objectives_page(objectives: &[Objective]) -> String {
    let mut out = format!(
        "<!-- {MADE} from deployment/monitoring/slo.toml -->\n# Service level objectives\n\nWhat is promised over thirty days, how it is \
         counted, and when somebody is woken. The rules are `deployment/monitoring/rules/slo.yml`.\n\n\
         | objective | promise | budget | who | what is bad |\n| --- | --- | --- | --- | --- |\n"
    );
    for slo in objectives {
        line(
            &mut out,
            format_args!(
                "| [{0}](runbooks/{0}.md) | {1} | {2} of all events | {3} | {4} |",
                slo.title, slo.promise, slo.budget, slo.team, slo.good_is
            ),
        );
    }
    out.push_str(
        "\n## When somebody is woken\n\nThe budget is the share of events that may be bad in thirty days. An alert looks at two windows at once: the \
         long one says that it matters, the short one that it still goes on, so it ends soon after the cause.\n\n\
         | alert | windows | pace | budget gone after | severity |\n| --- | --- | --- | --- | --- |\n\
         | `…BurnsFast` | 1 h and 5 m | 14.4 × | 2 days | critical |\n| `…BurnsFast` | 6 h and 30 m | 6 × | 5 days | critical |\n\
         | `…BurnsSlow` | 1 d and 2 h | 3 × | 10 days | warning |\n| `…BurnsSlow` | 3 d and 6 h | 1 × | 30 days | warning |\n\n\
         Nobody is woken for a handful: below a number of events in the long window (`floor` in slo.toml) there is no alert. And no series at all is \
         no good service: `RoleAbsent`, `DatabaseUnreachable` and `QuotesStale` fire where nothing is told.\n\n\
         ## What is not an objective\n\n429 (its own alert, `RateLimitedMuch`), declined cards (`DeclinesMany`), wrong signatures \
         (`WebhookSignaturesWrong`): others' doing. Verdicts are not a share of good ones: each is exact, and how long one takes to be durable is \
         `VerdictsSlow`.\n",
    );
    out
}

/// A dashboard as Grafana stores it: two panels in a row.
fn grafana(dashboard: &Dashboard) -> String {
    let mut panels = Vec::new();
    let (mut x, mut y) = (0_u32, 0_u32);
    for (number, panel) in dashboard.panel.iter().enumerate() {
        let width = if panel.kind == "stat" { 6 } else { 12 };
        let height = if panel.kind == "stat" { 4 } else { 8 };
        if x.saturating_add(width) > 24 {
            x = 0;
            y = y.saturating_add(height);
        }
        let targets: Vec<String> = panel
            .queries
            .iter()
            .zip('A'..)
            .map(|([expr, legend], name)| {
                let (expr, legend) = (quoted(expr), quoted(legend));
                let source = "{\"type\": \"prometheus\", \"uid\": \"prometheus\"}";
                format!(
                    "        {{\"refId\": \"{name}\", \"datasource\": {source}, \"expr\": {expr}, \"legendFormat\": {legend}, \"exemplar\": true}}"
                )
            })
            .collect();
        panels.push(format!(
            "    {{\n      \"id\": {}, \"type\": {}, \"title\": {},\n      \"datasource\": {{\"type\": \"prometheus\", \"uid\": \"prometheus\"}},\n      \
             \"gridPos\": {{\"x\": {x}, \"y\": {y}, \"w\": {width}, \"h\": {height}}},\n      \
             \"fieldConfig\": {{\"defaults\": {{\"unit\": {}}}, \"overrides\": []}},\n      \"targets\": [\n{}\n      ]\n    }}",
            number.saturating_add(1),
            quoted(&panel.kind),
            quoted(&panel.title),
            quoted(&panel.unit),
            targets.join(",\n")
        ));
        x = x.saturating_add(width);
    }
    format!(
        "{{\n  \"uid\": \"tradesense-{}\",\n  \"title\": {},\n  \"tags\": [\"tradesense\"],\n  \"timezone\": \"utc\",\n  \"editable\": false,\n  \
         \"schemaVersion\": 39,\n  \"refresh\": \"30s\",\n  \"time\": {{\"from\": \"now-6h\", \"to\": \"now\"}},\n  \
         \"annotations\": {{\"list\": []}},\n  \"templating\": {{\"list\": []}},\n  \"panels\": [\n{}\n  ]\n}}\n",
        dashboard.uid,
        quoted(&dashboard.title),
        panels.join(",\n")
    )
}

/// How deep what stands below `groups:` lies in a manifest.
fn deeper(text: &str, by: usize) -> String {
    let lines = text.lines().map(|line| match line {
        "" => "\n".to_owned(),
        line => format!("{}{line}\n", " ".repeat(by)),
    });
    lines.collect()
}

/// The rules as the Prometheus operator takes them, a manifest for each file.
fn rules_of_kubernetes(files: &[(&str, String)]) -> String {
    let mut out = format!("# {MADE} from deployment/monitoring: the rules that are tested there.\n");
    for (place, (name, text)) in files.iter().enumerate() {
        let (_, groups) = text.split_once("groups:\n").unwrap_or_default();
        line(
            &mut out,
            format_args!(
                "{}apiVersion: monitoring.coreos.com/v1\nkind: PrometheusRule\nmetadata:\n  name: tradesense-{name}\n  namespace: monitoring\n  \
                 labels:\n    role: alert-rules\nspec:\n  groups:",
                if place == 0 { "" } else { "---\n" }
            ),
        );
        out.push_str(&deeper(groups, 2));
    }
    out
}

/// What makes a `ConfigMap` of each dashboard: Grafana's sidecar finds them by the label and puts them into the folder.
fn dashboards_of_kubernetes(dashboards: &[Dashboard]) -> String {
    let mut out = format!(
        "# {MADE}: the dashboards on Kubernetes.\napiVersion: kustomize.config.k8s.io/v1alpha1\nkind: Component\nconfigMapGenerator:\n"
    );
    for dashboard in dashboards {
        let uid = &dashboard.uid;
        line(
            &mut out,
            format_args!(
                "  - name: tradesense-dashboard-{uid}\n    namespace: monitoring\n    files:\n      - dashboards/{uid}.json\n    options:\n      \
                 disableNameSuffixHash: true\n      labels:\n        grafana_dashboard: \"1\"\n      annotations:\n        grafana_folder: TradeSense"
            ),
        );
    }
    out
}

/// Where the operator mounts the key of the alerts' gateway: it is in the secret that also holds the configuration.
const MOUNTED_KEY: &str = "/etc/alertmanager/secrets/tradesense-alertmanager/alerts_key";

fn alertmanager_of_kubernetes(tested: &str) -> Outcome<String> {
    if tested.contains("{{") {
        return Err(Failure::new(
            "alertmanager.yml: External Secrets would take {{ for a template of its own",
        ));
    }
    let config = tested.replace("/run/secrets/alerts_key", MOUNTED_KEY);
    let mut out = format!(
        "# {MADE} from deployment/monitoring/alertmanager.yml. The operator's Alertmanager takes the secret by `configSecret` and\n\
         # mounts it by `secrets`: the configuration is no secret, but that is the form the operator wants; the key beside it is one.\n"
    );
    out.push_str(
        "apiVersion: external-secrets.io/v1\nkind: ExternalSecret\nmetadata:\n  name: tradesense-alertmanager\n  namespace: monitoring\nspec:\n  \
         refreshPolicy: Periodic\n  refreshInterval: 1h\n  secretStoreRef:\n    kind: SecretStore\n    name: tradesense-alerting\n  target:\n    \
         name: tradesense-alertmanager\n    creationPolicy: Owner\n    deletionPolicy: Retain\n    template:\n      engineVersion: v2\n      data:\n        \
         alerts_key: '{{ .key }}'\n        alertmanager.yaml: |\n",
    );
    out.push_str(&deeper(&config, 10));
    out.push_str(
        "  data:\n    - secretKey: key\n      remoteRef:\n        key: tradesense/alerts\n        property: gateway-key\n",
    );
    Ok(out)
}

#[derive(Deserialize)]
struct Alertmanager {
    receivers: Vec<Receiver>,
}

#[derive(Deserialize)]
struct Receiver {
    name: String,
    webhook_configs: Vec<Webhook>,
}

#[derive(Deserialize)]
struct Webhook {
    url: String,
    #[serde(default = "yes")]
    send_resolved: bool,
}

fn yes() -> bool {
    true
}

/// The same routes, inhibitions and times; whoever is told reads mails.
fn alertmanager_of_compose(tested: &str) -> Outcome<String> {
    let read: Alertmanager =
        serde_yaml_ng::from_str(tested).map_err(Failure::of("read alertmanager.yml".to_owned()))?;
    let (_, routes) = tested.split_once("global:\n").unwrap_or_default();
    let (routes, _) = routes.split_once("\n# One gateway").unwrap_or_default();
    let mut out = format!(
        "# {MADE} from deployment/monitoring/alertmanager.yml: the same routes, but on one machine alerts become mails. The mail\n\
         # sink keeps them until a real server stands in its place.\nglobal:\n  smtp_smarthost: mail:1025\n  smtp_from: alerts@tradesense.example\n  \
         smtp_require_tls: false\n{routes}\nreceivers:\n"
    );
    for receiver in &read.receivers {
        let nobody = receiver.name == "heartbeat";
        if nobody {
            // Whoever misses it has to be outside of the machine.
            out.push_str("  # A mail a minute is read by nobody: give it the webhook of a service that calls when it no longer comes.\n");
        }
        line(&mut out, format_args!("  - name: {}", receiver.name));
        if nobody {
            continue;
        }
        out.push_str("    email_configs:\n");
        for webhook in &receiver.webhook_configs {
            let who = webhook.url.rsplit('/').next().unwrap_or_default();
            let resolved = webhook.send_resolved;
            line(
                &mut out,
                format_args!("      - {{to: {who}@tradesense.example, send_resolved: {resolved}}}"),
            );
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
    }

    #[test]
    fn what_is_made_of_the_tables_is_committed() {
        let files = made(&ours()).unwrap_or_else(|Failure(text)| panic!("{text}"));
        for (path, text) in files {
            assert_eq!(
                fs::read_to_string(&path).unwrap_or_default(),
                text,
                "{}: cargo xtask monitoring",
                path.display()
            );
        }
    }

    #[test]
    fn every_alert_says_who_is_woken_and_every_name_is_one_alert() {
        let alerts: Alerts = table(&ours(), "alerts").unwrap_or_else(|Failure(text)| panic!("{text}"));
        let mut names: Vec<&str> = alerts.alert.iter().map(|alert| alert.name.as_str()).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(names.len(), all);
        for alert in &alerts.alert {
            assert!(
                ["critical", "warning", "info", "none"].contains(&alert.severity.as_str()),
                "{}",
                alert.name
            );
            assert!(
                !alert.look.is_empty() && !alert.steps.is_empty() && !alert.means.is_empty(),
                "{}",
                alert.name
            );
            assert!(!alert.fires.labels.is_empty(), "{} has no test that fires", alert.name);
        }
    }

    #[test]
    fn whoever_tells_figures_is_guarded_by_figures_of_its_own() {
        let exporters: Exporters =
            table(&ours(), "exporters").unwrap_or_else(|Failure(text)| panic!("{text}"));
        for exporter in &exporters.exporter {
            assert!(exporter.compose || exporter.kubernetes.is_some(), "{} is nowhere", exporter.job);
            let own = |tells: &String| exporter.begins.iter().any(|begin| tells.starts_with(begin.as_str()));
            assert!(!exporter.tells.is_empty() && exporter.tells.iter().all(own), "{}", exporter.job);
        }
        let (compose, kubernetes) = (exporters.on_compose(), exporters.on_kubernetes());
        let misses = |alert: &Alert, job: &str| alert.absent.iter().any(|labels| labels["job"] == job);
        assert!(misses(&compose, "postgres") && !misses(&compose, "kubelet"));
        assert!(misses(&kubernetes, "kubelet") && !misses(&kubernetes, "postgres"));
        assert_eq!(
            compose.absent.len(),
            exporters.exporter.iter().filter(|exporter| exporter.compose).count()
        );
    }

    #[test]
    fn compose_and_kubernetes_differ_from_what_is_tested_in_who_is_told_alone() {
        let read = |text: &str| -> serde_json::Value { serde_yaml_ng::from_str(text).unwrap() };
        let tested = fs::read_to_string(ours().join(DIR).join("alertmanager.yml")).unwrap();
        let compose = alertmanager_of_compose(&tested).unwrap_or_else(|Failure(text)| panic!("{text}"));
        let (compose, tested_as_data) = (read(&compose), read(&tested));
        for section in ["route", "inhibit_rules", "time_intervals"] {
            assert_eq!(compose[section], tested_as_data[section]);
        }
        let names = |config: &serde_json::Value| -> Vec<String> {
            let all = config["receivers"].as_array().unwrap();
            all.iter().map(|receiver| receiver["name"].as_str().unwrap().to_owned()).collect()
        };
        assert_eq!(names(&compose), names(&tested_as_data));
        assert!(alertmanager_of_kubernetes(&tested.replace("Who is told", "{{ who }}")).is_err());
        let kubernetes = alertmanager_of_kubernetes(&tested).unwrap_or_else(|Failure(text)| panic!("{text}"));
        let held = read(&kubernetes)["spec"]["target"]["template"]["data"]["alertmanager.yaml"].clone();
        assert_eq!(held.as_str().unwrap(), tested.replace("/run/secrets/alerts_key", MOUNTED_KEY));
    }

    #[test]
    fn dashboards_are_json_and_their_alerts_link_to_them() {
        let root = ours();
        let dashboards: Dashboards =
            table(&root, "dashboards").unwrap_or_else(|Failure(text)| panic!("{text}"));
        for dashboard in &dashboards.dashboard {
            let read: serde_json::Value = serde_json::from_str(&grafana(dashboard)).unwrap_or_default();
            assert_eq!(
                read["panels"].as_array().map(Vec::len),
                Some(dashboard.panel.len()),
                "{}",
                dashboard.uid
            );
        }
        let alerts: Alerts = table(&root, "alerts").unwrap_or_else(|Failure(text)| panic!("{text}"));
        for alert in &alerts.alert {
            assert!(dashboards.dashboard.iter().any(|known| known.uid == alert.dashboard), "{}", alert.name);
        }
    }
}
