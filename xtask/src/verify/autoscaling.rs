//! Replays loads against the rendered autoscalers: the algorithm of the horizontal pod autoscaler as Kubernetes documents it (the largest
//! of all triggers, tolerance, stabilization, policies), with what KEDA adds (floors by the clock, a fallback).
//!
//! Whole numbers: thousandths where something is finer. What a request costs here is an assumption, stated at its constant; the
//! shapes that follow (how fast, how steady, how deep it falls) do not hang on it. Each change of a scaler that would make it worse is
//! tried too, and some load must notice it.

use std::collections::VecDeque;

use serde_json::{Value, json};

use super::manifests::{
    Object, Overlay, at, change, everywhere, list, millis, note, number, overlays, str_at,
};
use super::{Finding, Found, nothing};

/// How often the autoscaler looks, in seconds.
pub(super) const STEP: u64 = 15;
/// Differences below a tenth are left alone, in thousandths.
const TOLERANCE: u64 = 100;
/// Messages that one worker takes in a second.
const TAKEN: u64 = 100;
/// An ordinary request, a few reads by key: processor time, and time from beginning to end, in thousandths of a second.
pub(super) const REQUEST_WORK: u64 = 2;
pub(super) const REQUEST_TAKES: u64 = 15;

#[derive(Debug, Clone)]
pub(super) struct Scaler {
    least: u64,
    most: u64,
    /// Processor time asked for by a pod, in thousandths.
    pub(super) asked: u64,
    pub(super) triggers: Vec<Trigger>,
    up: Pace,
    down: Pace,
    fallback: Option<Fallback>,
}

#[derive(Debug, Clone)]
pub(super) enum Trigger {
    /// Percent of what was asked for.
    Processor(u64),
    /// So much of a figure for each pod, in thousandths.
    Figure { name: String, each: u64 },
    /// So many pods from one minute of the week to another, in local time; weeks begin on Sunday.
    Clock { pods: u64, spans: Vec<(u64, u64)> },
}

#[derive(Debug, Clone)]
struct Pace {
    window: u64,
    /// The policy that changes most decides, or the one that changes least.
    by_most: bool,
    policies: Vec<Policy>,
}

#[derive(Debug, Clone, Copy)]
struct Policy {
    percent: bool,
    value: u64,
    period: u64,
}

#[derive(Debug, Clone, Copy)]
struct Fallback {
    failures: u64,
    pods: u64,
    if_higher: bool,
}

/// What is going on at a moment, in thousandths; no figures where Prometheus does not answer.
#[derive(Debug, Clone, Default)]
pub(super) struct Load {
    pub(super) processor: u64,
    pub(super) figures: Option<Vec<(&'static str, u64)>>,
    /// Minute of the week.
    pub(super) minute: u64,
}

fn pace(value: Option<&Value>, window: u64) -> Pace {
    let value = value.unwrap_or(&Value::Null);
    let policies = list(value, "policies").map(|policy| Policy {
        percent: str_at(policy, "type") == "Percent",
        value: number(policy, "value").unwrap_or(0),
        period: number(policy, "periodSeconds").unwrap_or(15),
    });
    Pace {
        window: number(value, "stabilizationWindowSeconds").unwrap_or(window),
        by_most: str_at(value, "selectPolicy") != "Min",
        policies: policies.collect(),
    }
}

/// Minutes of the week in which a floor of KEDA holds: `start` and `end` say minute, hour and days.
fn spans(trigger: &Value) -> Vec<(u64, u64)> {
    let times = |path: &str| -> Vec<u64> {
        let fields: Vec<&str> = str_at(trigger, path).split_whitespace().collect();
        let [minute, hour, "*", "*", days] = fields.as_slice() else { return Vec::new() };
        let (Ok(minute), Ok(hour)) = (minute.parse::<u64>(), hour.parse::<u64>()) else { return Vec::new() };
        let (first, last) = days.split_once('-').unwrap_or((days, days));
        let (Ok(first), Ok(last)) = (first.parse::<u64>(), last.parse::<u64>()) else { return Vec::new() };
        (first..=last)
            .map(|day| {
                day.saturating_mul(1_440).saturating_add(hour.saturating_mul(60)).saturating_add(minute)
            })
            .collect()
    };
    let ends = times("metadata.end");
    let next = |start: &u64| ends.iter().find(|end| *end > start).copied();
    times("metadata.start").iter().filter_map(|start| Some((*start, next(start)?))).collect()
}

fn thousandths(text: &str) -> u64 {
    text.parse::<u64>().unwrap_or(0).saturating_mul(1_000)
}

/// Reads a `ScaledObject` or a `HorizontalPodAutoscaler`.
fn read(overlay: &Overlay, object: &Object) -> Result<Scaler, String> {
    let spec = object.value.get("spec").unwrap_or(&Value::Null);
    let target = overlay.get(str_at(spec, "scaleTargetRef.kind"), str_at(spec, "scaleTargetRef.name"));
    let target = target.ok_or("its target is not there")?;
    let asked = at(&target.value, "spec.template.spec.containers.0.resources.requests.cpu");
    let asked =
        asked.and_then(Value::as_str).and_then(millis).ok_or("its target asks for no processor time")?;
    let is_keda = object.kind() == "ScaledObject";
    let behavior = if is_keda { "advanced.horizontalPodAutoscalerConfig.behavior" } else { "behavior" };
    let mut triggers = Vec::new();
    for trigger in list(spec, "triggers") {
        triggers.push(match str_at(trigger, "type") {
            "cpu" if str_at(trigger, "metricType") == "Utilization" => {
                Trigger::Processor(number(trigger, "metadata.value").unwrap_or(0))
            }
            "prometheus" if str_at(trigger, "metricType") == "AverageValue" => Trigger::Figure {
                name: str_at(trigger, "name").to_owned(),
                each: thousandths(str_at(trigger, "metadata.threshold")),
            },
            "cron" => Trigger::Clock {
                pods: number(trigger, "metadata.desiredReplicas").unwrap_or(0),
                spans: spans(trigger),
            },
            other => return Err(format!("a trigger {other:?} is not simulated")),
        });
    }
    for metric in list(spec, "metrics") {
        match number(metric, "containerResource.target.averageUtilization") {
            Some(percent) if str_at(metric, "containerResource.name") == "cpu" => {
                triggers.push(Trigger::Processor(percent));
            }
            _ => return Err("a metric is not simulated".into()),
        }
    }
    let (least, most) =
        if is_keda { ("minReplicaCount", "maxReplicaCount") } else { ("minReplicas", "maxReplicas") };
    let fallback = spec.get("fallback").map(|fallback| Fallback {
        failures: number(fallback, "failureThreshold").unwrap_or(0),
        pods: number(fallback, "replicas").unwrap_or(0),
        if_higher: str_at(fallback, "behavior") == "currentReplicasIfHigher",
    });
    Ok(Scaler {
        least: number(spec, least).unwrap_or(0),
        most: number(spec, most).unwrap_or(0),
        asked,
        triggers,
        up: pace(at(spec, &format!("{behavior}.scaleUp")), 0),
        down: pace(at(spec, &format!("{behavior}.scaleDown")), 300),
        fallback,
    })
}

/// A run of a scaler: its pods after each step, and what it remembers.
pub(super) struct Run<'a> {
    scaler: &'a Scaler,
    now: u64,
    pub(super) pods: u64,
    /// What was recommended within its windows, with its time.
    recommended: VecDeque<(u64, u64)>,
    /// What was changed: time, before, after.
    changes: Vec<(u64, u64, u64)>,
    /// Steps in a row without figures.
    failures: u64,
    pub(super) history: Vec<u64>,
}

impl<'a> Run<'a> {
    pub(super) fn new(scaler: &'a Scaler) -> Self {
        let pods = scaler.least;
        Self {
            scaler,
            now: 0,
            pods,
            recommended: VecDeque::new(),
            changes: Vec::new(),
            failures: 0,
            history: Vec::new(),
        }
    }

    /// Pods for an amount of which each takes so much, with the tolerance.
    fn share(&self, amount: u64, each: u64) -> u64 {
        let all = each.saturating_mul(self.pods);
        if amount.abs_diff(all).saturating_mul(1_000) <= all.saturating_mul(TOLERANCE) {
            return self.pods;
        }
        amount.div_ceil(each.max(1))
    }

    fn asks(&mut self, load: &Load) -> u64 {
        self.failures = if load.figures.is_some() { 0 } else { self.failures.saturating_add(1) };
        let mut asked = 0;
        for trigger in &self.scaler.triggers {
            let pods =
                match trigger {
                    Trigger::Processor(percent) => {
                        let each = self.scaler.asked.saturating_mul(*percent).saturating_div(100);
                        self.share(load.processor, each)
                    }
                    Trigger::Clock { pods, spans } => {
                        let holds = spans.iter().any(|(start, end)| (*start..*end).contains(&load.minute));
                        if holds { *pods } else { 1 }
                    }
                    Trigger::Figure { name, each } => match (&load.figures, self.scaler.fallback) {
                        (Some(figures), _) => {
                            let figure = figures.iter().find(|(known, _)| known == name);
                            self.share(figure.map_or(0, |(_, amount)| *amount), *each)
                        }
                        (None, Some(fallback)) if self.failures >= fallback.failures => {
                            if fallback.if_higher { fallback.pods.max(self.pods) } else { fallback.pods }
                        }
                        // A trigger that failed keeps the autoscaler from going down.
                        (None, Some(_)) => self.pods,
                        (None, None) => 0,
                    },
                };
            asked = asked.max(pods);
        }
        asked.clamp(self.scaler.least, self.scaler.most)
    }

    /// Pods at the beginning of a policy's period.
    fn before(&self, period: u64) -> u64 {
        let within = self.changes.iter().rev().take_while(|(at, _, _)| at.saturating_add(period) > self.now);
        within.last().map_or(self.pods, |(_, before, _)| *before)
    }

    pub(super) fn step(&mut self, load: &Load) {
        let asked = self.asks(load);
        self.recommended.push_back((self.now, asked));
        let since = self.now.saturating_sub(self.scaler.up.window.max(self.scaler.down.window));
        while self.recommended.front().is_some_and(|(at, _)| *at < since) {
            self.recommended.pop_front();
        }
        let within = |window: u64| {
            let since = self.now.saturating_sub(window);
            self.recommended.iter().filter(move |(at, _)| *at >= since).map(|(_, pods)| *pods)
        };
        let up = within(self.scaler.up.window).min().unwrap_or(asked);
        let down = within(self.scaler.down.window).max().unwrap_or(asked);
        let mut wanted = self.pods;
        if up > self.pods {
            let limits = self.scaler.up.policies.iter().map(|policy| {
                let before = self.before(policy.period);
                let more = if policy.percent {
                    before.saturating_mul(policy.value).div_ceil(100)
                } else {
                    policy.value
                };
                before.saturating_add(more)
            });
            let limit = if self.scaler.up.by_most { limits.max() } else { limits.min() };
            wanted = up.min(limit.unwrap_or(up)).max(self.pods);
        } else if down < self.pods {
            let limits = self.scaler.down.policies.iter().map(|policy| {
                let before = self.before(policy.period);
                let less = if policy.percent {
                    before.saturating_mul(policy.value).saturating_div(100)
                } else {
                    policy.value
                };
                before.saturating_sub(less)
            });
            let limit = if self.scaler.down.by_most { limits.min() } else { limits.max() };
            wanted = down.max(limit.unwrap_or(down)).min(self.pods);
        }
        if wanted != self.pods {
            self.changes.push((self.now, self.pods, wanted));
            self.pods = wanted;
        }
        self.history.push(self.pods);
        self.now = self.now.saturating_add(STEP);
    }

    /// How often it went from growing to shrinking or back.
    fn turns(&self, from: u64) -> usize {
        let moves: Vec<bool> = self
            .changes
            .iter()
            .filter(|(at, _, _)| *at >= from)
            .map(|(_, before, after)| after > before)
            .collect();
        moves.iter().zip(moves.iter().skip(1)).filter(|(first, second)| first != second).count()
    }
}

/// Requests that come in, and what each of them costs.
#[derive(Clone, Copy)]
struct Requests {
    /// In a second.
    rate: u64,
    /// Thousandths of a second of processor time.
    work: u64,
    /// Thousandths of a second from beginning to end.
    takes: u64,
}

impl Requests {
    const fn ordinary(rate: u64) -> Self {
        Self { rate, work: REQUEST_WORK, takes: REQUEST_TAKES }
    }

    fn load(self, with_figures: bool) -> Load {
        let figures = vec![
            ("requests", self.rate.saturating_mul(1_000)),
            ("in-flight", self.rate.saturating_mul(self.takes)),
        ];
        Load {
            processor: self.rate.saturating_mul(self.work),
            figures: with_figures.then_some(figures),
            minute: 0,
        }
    }
}

fn minutes(count: u64) -> u64 {
    count.saturating_mul(60).saturating_div(STEP)
}

/// What goes wrong with an API's scaler under some load; nothing if all goes well. `full` for a place that takes real load.
fn faults_of_api(scaler: &Scaler, full: bool) -> Vec<String> {
    let mut faults = Vec::new();
    let mut wrong = |what: String| faults.push(what);
    let capped = |pods: u64| pods.min(scaler.most);
    if scaler.least < 3 {
        wrong("a zone may have none".into());
    }
    // Ten times as much all at once, then as little as before.
    for (name, much, needed) in [
        ("many requests", Requests::ordinary(1_000), 10),
        ("requests that cost much", Requests { rate: 200, work: 15, takes: 30 }, 9),
        ("requests that take long", Requests { rate: 300, work: 1, takes: 1_200 }, 9),
    ] {
        let little = Requests { rate: much.rate.saturating_div(10), ..much };
        let mut run = Run::new(scaler);
        for _ in 0..minutes(10) {
            run.step(&little.load(true));
        }
        for _ in 0..4 {
            run.step(&much.load(true));
        }
        if run.pods < capped(needed) {
            wrong(format!(
                "{name}: {} pods a minute after the load came, {} are needed",
                run.pods,
                capped(needed)
            ));
        }
        for _ in 0..minutes(20) {
            run.step(&much.load(true));
        }
        let high = run.pods;
        let fell_at = run.now;
        for _ in 0..minutes(40) {
            run.step(&little.load(true));
        }
        if run.pods > scaler.least {
            wrong(format!("{name}: {} pods are still there long after the load went", run.pods));
        }
        let first = run.changes.iter().find(|(at, _, _)| *at >= fell_at).map_or(u64::MAX, |(at, _, _)| *at);
        if high > scaler.least && first < fell_at.saturating_add(285) {
            wrong(format!("{name}: pods go {} s after the load went", first.saturating_sub(fell_at)));
        }
        let window = usize::try_from(minutes(5)).unwrap_or(usize::MAX);
        let later = run.history.iter().skip(window);
        if run.history.iter().zip(later).any(|(before, after)| after.saturating_mul(2) < *before) {
            wrong(format!("{name}: more than half went within five minutes"));
        }
    }
    // Loads that go up and down are followed by none.
    let mut run = Run::new(scaler);
    for step in 0..minutes(60) {
        // A fifth up and down, every minute.
        let rate = if step.saturating_div(4) % 2 == 0 { 900 } else { 600 };
        run.step(&Requests::ordinary(rate).load(true));
    }
    if run.turns(600) > 0 {
        wrong(format!("a load that swings is followed {} times", run.turns(600)));
    }
    // More than it may have.
    let mut run = Run::new(scaler);
    for _ in 0..minutes(10) {
        run.step(&Requests::ordinary(100_000).load(true));
    }
    if run.history.iter().any(|pods| *pods > scaler.most) || run.pods != scaler.most {
        wrong("does not end at the most that it may have".into());
    }
    // Prometheus is gone: whoever is there stays, and a few more come.
    for (rate, at_least) in [(50, if full { 6 } else { 3 }), (900, capped(9))] {
        let mut run = Run::new(scaler);
        for _ in 0..minutes(10) {
            run.step(&Requests::ordinary(rate).load(true));
        }
        for _ in 0..minutes(20) {
            run.step(&Requests::ordinary(rate).load(false));
        }
        if run.pods < at_least {
            wrong(format!(
                "at {rate}/s, {} pods stay when Prometheus is gone, {at_least} are needed",
                run.pods
            ));
        }
    }
    faults
}

/// The floors of the clock, with nobody there.
fn faults_of_floors(scaler: &Scaler) -> Vec<String> {
    let mut faults = Vec::new();
    // Minute of the week from day and hour; Sunday is 0.
    for (name, day, hour, floor) in [
        ("Monday at eight, New York", 1_u64, 8_u64, 6),
        ("Friday at eleven", 5, 11, 6),
        ("Sunday evening, when markets open", 0, 17, 4),
        ("Wednesday night", 3, 22, 4),
        ("Saturday noon", 6, 12, 3),
    ] {
        let minute = day.saturating_mul(1_440).saturating_add(hour.saturating_mul(60));
        let mut run = Run::new(scaler);
        for _ in 0..minutes(5) {
            run.step(&Load { minute, ..Requests::ordinary(1).load(true) });
        }
        if run.pods != floor {
            faults.push(format!("{name}: {} pods without load, {floor} are meant", run.pods));
        }
    }
    faults
}

/// What is forecast brings pods before the load is there, whatever else says.
fn faults_of_forecast(scaler: &Scaler) -> Vec<String> {
    let mut run = Run::new(scaler);
    for _ in 0..minutes(5) {
        let mut load = Requests::ordinary(300).load(true);
        load.figures.iter_mut().for_each(|figures| figures.push(("forecast", 1_500_000)));
        run.step(&load);
    }
    // Fifteen are asked for; a tenth less is near enough.
    let needed = 14.min(scaler.most);
    if run.pods < needed {
        return vec![format!(
            "{} pods where 1500 requests a second are forecast, {needed} are needed",
            run.pods
        )];
    }
    Vec::new()
}

fn faults_of_worker(scaler: &Scaler) -> Vec<String> {
    let mut faults = Vec::new();
    if scaler.least < 2 {
        faults.push("is there only once".into());
    }
    let figures = |messages: u64, jobs: u64, oldest: u64| {
        let thousand = |amount: u64| amount.saturating_mul(1_000);
        Load {
            figures: Some(vec![
                ("messages", thousand(messages)),
                ("jobs", thousand(jobs)),
                ("oldest", thousand(oldest)),
            ]),
            ..Load::default()
        }
    };
    // A burst, of messages or jobs: all hands, then back.
    for of_messages in [true, false] {
        let (mut run, mut waiting, mut done_at) = (Run::new(scaler), 200_000_u64, None);
        for _ in 0..minutes(60) {
            waiting = waiting.saturating_sub(run.pods.saturating_mul(TAKEN).saturating_mul(STEP));
            let load = if of_messages { figures(waiting, 0, 0) } else { figures(0, waiting, 0) };
            run.step(&load);
            if waiting == 0 && done_at.is_none() {
                done_at = Some(run.now);
            }
        }
        let what = if of_messages { "messages" } else { "jobs" };
        // With all of them it would take a bit more than so long.
        let best = 200_000_u64.div_ceil(scaler.most.saturating_mul(TAKEN));
        if done_at.is_none_or(|at| at > best.saturating_mul(3).saturating_div(2).saturating_add(60)) {
            faults.push(format!("200000 {what} are done after {done_at:?} s; {best} s with all hands"));
        }
        if run.pods != scaler.least {
            faults.push(format!("{} pods are still there after the {what}", run.pods));
        }
    }
    // A group that is slow, not long: few messages, growing old.
    let mut run = Run::new(scaler);
    for step in 0..minutes(10) {
        run.step(&figures(20, 0, step.saturating_mul(STEP)));
    }
    if run.pods < scaler.most {
        faults.push(format!("{} pods while the oldest message is ten minutes old", run.pods));
    }
    // No figures: nobody goes, and some come.
    let mut run = Run::new(scaler);
    for _ in 0..minutes(20) {
        run.step(&Load::default());
    }
    if run.pods < 4.min(scaler.most.saturating_div(2)) {
        faults.push(format!("{} pods without figures", run.pods));
    }
    faults
}

fn faults_of_analytics(scaler: &Scaler) -> Vec<String> {
    let mut faults = Vec::new();
    let mut run = Run::new(scaler);
    let busy = Load { processor: 500, ..Load::default() };
    for _ in 0..4 {
        run.step(&busy);
    }
    if run.pods < 3.min(scaler.most) {
        faults.push(format!("{} pods for half a processor's work", run.pods));
    }
    for _ in 0..minutes(30) {
        run.step(&Load { processor: 20, ..Load::default() });
    }
    if run.pods != scaler.least || scaler.least < 2 {
        faults.push(format!("{} pods with hardly any work", run.pods));
    }
    faults
}

fn faults(overlay: &Overlay, object: &Object) -> Vec<String> {
    let scaler = match read(overlay, object) {
        Ok(scaler) => scaler,
        Err(error) => return vec![error],
    };
    let in_production = overlay.name.starts_with("production");
    match object.name() {
        "tradesense-api" => {
            let mut faults = faults_of_api(&scaler, in_production);
            if in_production {
                faults.extend(faults_of_floors(&scaler));
                faults.extend(faults_of_forecast(&scaler));
            }
            // What waits for workers says nothing about the API, and more APIs make more of it.
            let queries =
                list(&object.value, "spec.triggers").map(|trigger| str_at(trigger, "metadata.query"));
            let mut queries =
                queries.filter(|query| ["backlog", "jobs", "outbox"].iter().any(|word| query.contains(word)));
            if let Some(query) = queries.next() {
                faults.push(format!("scales whoever makes work by the work that waits: {query}"));
            }
            faults
        }
        "tradesense-worker" => faults_of_worker(&scaler),
        "tradesense-analytics" => faults_of_analytics(&scaler),
        other => vec![format!("no load is known for {other}")],
    }
}

/// The API's scaler in production.
pub(super) fn production_api() -> Result<Scaler, Vec<Finding>> {
    let overlay = overlays()?.iter().find(|overlay| overlay.name == "production-eu");
    let found = overlay.and_then(|overlay| Some((overlay, overlay.get("ScaledObject", "tradesense-api")?)));
    let (overlay, object) =
        found.ok_or_else(|| vec![Finding::new("production-eu", "has no scaler of the API")])?;
    read(overlay, object).map_err(|what| vec![Finding::new(overlay.place(object), what)])
}

fn scalers(overlay: &Overlay) -> impl Iterator<Item = &Object> {
    overlay.of("ScaledObject").chain(overlay.of("HorizontalPodAutoscaler"))
}

pub(super) fn loads_are_followed() -> Found {
    everywhere(|overlay, findings| {
        for object in scalers(overlay) {
            let place = overlay.place(object);
            findings.extend(faults(overlay, object).into_iter().map(|what| Finding::new(&place, what)));
            for trigger in
                list(&object.value, "spec.triggers").filter(|trigger| str_at(trigger, "type") == "prometheus")
            {
                // There is no forecast before there is a history, and that is no fault of Prometheus.
                let may_be_missing = str_at(trigger, "name") == "forecast";
                if str_at(trigger, "metadata.ignoreNullValues") != may_be_missing.to_string() {
                    let what = if may_be_missing {
                        "needs a forecast"
                    } else {
                        "takes a figure that is missing for zero"
                    };
                    findings.push(Finding::new(&place, what));
                }
            }
        }
        let all = scalers(overlay).count();
        if !overlay.is_dev() && all != 3 {
            findings.push(Finding::new(overlay.name, format!("{all} scalers")));
        }
    })
}

/// Changes of a scaler that make it worse: its name, where, and what is there then (nothing: it is taken away).
fn worse() -> Vec<(&'static str, &'static str, Option<Value>)> {
    const UP: &str = "spec.advanced.horizontalPodAutoscalerConfig.behavior.scaleUp";
    const DOWN: &str = "spec.advanced.horizontalPodAutoscalerConfig.behavior.scaleDown";
    let slow = json!({"stabilizationWindowSeconds": 0, "policies": [{"type": "Percent", "value": 10, "periodSeconds": 60}]});
    let patient = json!({"stabilizationWindowSeconds": 300, "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]});
    let nervous = json!({"stabilizationWindowSeconds": 0, "policies": [{"type": "Percent", "value": 50, "periodSeconds": 300}]});
    let steep = json!({"stabilizationWindowSeconds": 300, "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]});
    let stubborn = json!({"stabilizationWindowSeconds": 7_200, "policies": [{"type": "Percent", "value": 50, "periodSeconds": 300}]});
    vec![
        ("tradesense-api", UP, Some(slow.clone())),
        ("tradesense-api", UP, Some(patient)),
        ("tradesense-api", DOWN, Some(nervous)),
        ("tradesense-api", DOWN, Some(steep)),
        ("tradesense-api", DOWN, Some(stubborn.clone())),
        ("tradesense-api", "spec.triggers.0", None),
        ("tradesense-api", "spec.triggers.1", None),
        ("tradesense-api", "spec.triggers.2", None),
        ("tradesense-api", "spec.triggers.3", None),
        ("tradesense-api", "spec.triggers.4", None),
        ("tradesense-api", "spec.triggers.5", None),
        ("tradesense-api", "spec.triggers.5.metadata.threshold", Some(json!("1000"))),
        ("tradesense-api", "spec.triggers.0.metadata.value", Some(json!("95"))),
        ("tradesense-api", "spec.triggers.1.metadata.threshold", Some(json!("80"))),
        ("tradesense-api", "spec.triggers.2.metadata.threshold", Some(json!("1000"))),
        ("tradesense-api", "spec.triggers.2.metadata.threshold", Some(json!("10"))),
        ("tradesense-api", "spec.triggers.2.metadata.query", Some(json!("sum(tradesense_stream_backlog)"))),
        ("tradesense-api", "spec.triggers.4.metadata.desiredReplicas", Some(json!("0"))),
        ("tradesense-api", "spec.triggers.4.metadata.end", Some(json!("15 9 * * 1-5"))),
        ("tradesense-api", "spec.fallback", None),
        ("tradesense-api", "spec.fallback.behavior", Some(json!("static"))),
        ("tradesense-api", "spec.fallback.replicas", Some(json!(1))),
        ("tradesense-api", "spec.minReplicaCount", Some(json!(1))),
        ("tradesense-worker", UP, Some(slow)),
        ("tradesense-worker", DOWN, Some(stubborn)),
        ("tradesense-worker", "spec.triggers.0", None),
        ("tradesense-worker", "spec.triggers.1", None),
        ("tradesense-worker", "spec.triggers.2", None),
        ("tradesense-worker", "spec.triggers.0.metadata.threshold", Some(json!("50000"))),
        ("tradesense-worker", "spec.triggers.2.metadata.threshold", Some(json!("300"))),
        ("tradesense-worker", "spec.fallback", None),
        ("tradesense-worker", "spec.minReplicaCount", Some(json!(1))),
        (
            "tradesense-analytics",
            "spec.metrics.0.containerResource.target.averageUtilization",
            Some(json!(200)),
        ),
        ("tradesense-analytics", "spec.minReplicas", Some(json!(1))),
    ]
}

pub(super) fn changes_are_noticed() -> Found {
    let Some(overlay) = overlays()?.iter().find(|overlay| overlay.name == "production-eu") else {
        return Err(vec![Finding::new("production-eu", "is not there")]);
    };
    let mut findings = Vec::new();
    let changes = worse();
    let mut noticed = 0_usize;
    for (name, path, new) in &changes {
        let Some(object) = scalers(overlay).find(|object| object.name() == *name) else {
            findings.push(Finding::new(*name, "is not there"));
            continue;
        };
        let mut worse = object.clone();
        if !change(&mut worse.value, path, new.clone()) {
            findings
                .push(Finding::new(overlay.place(object), format!("has no {path} that could be changed")));
        } else if faults(overlay, &worse).is_empty() {
            let what = format!("no load notices {path} = {}", new.as_ref().unwrap_or(&Value::Null));
            findings.push(Finding::new(overlay.place(object), what));
        } else {
            noticed = noticed.saturating_add(1);
        }
    }
    note(&format!("{noticed} of {} changes noticed", changes.len()));
    nothing(findings)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scaler() -> Scaler {
        let policy = |percent, value, period| Policy { percent, value, period };
        Scaler {
            least: 2,
            most: 10,
            asked: 100,
            triggers: vec![Trigger::Processor(50)],
            up: Pace {
                window: 0,
                by_most: true,
                policies: vec![policy(true, 100, 15), policy(false, 1, 15)],
            },
            down: Pace { window: 60, by_most: false, policies: vec![policy(true, 50, 60)] },
            fallback: None,
        }
    }

    fn load(processor: u64) -> Load {
        Load { processor, ..Load::default() }
    }

    #[test]
    fn it_grows_as_fast_as_its_policies_let_it() {
        let scaler = scaler();
        let mut run = Run::new(&scaler);
        for _ in 0..4 {
            run.step(&load(500));
        }
        assert_eq!(run.history, [4, 8, 10, 10]);
    }

    #[test]
    fn it_shrinks_after_its_window_and_by_half_a_minute() {
        let scaler = scaler();
        let mut run = Run::new(&scaler);
        for _ in 0..3 {
            run.step(&load(400));
        }
        for _ in 0..12 {
            run.step(&load(0));
        }
        assert_eq!(run.history, [4, 8, 8, 8, 8, 8, 8, 4, 4, 4, 4, 2, 2, 2, 2]);
    }

    #[test]
    fn a_tenth_more_or_less_changes_nothing() {
        let scaler = scaler();
        let mut run = Run::new(&scaler);
        for processor in [200, 220, 180, 200] {
            run.step(&load(processor));
        }
        assert_eq!(run.history, [4, 4, 4, 4]);
    }

    #[test]
    fn a_floor_has_its_days() {
        let trigger = json!({"metadata": {"start": "45 7 * * 1-5", "end": "15 12 * * 1-5"}});
        let found = spans(&trigger);
        assert_eq!(found.len(), 5);
        assert_eq!(found.first(), Some(&(1_905, 2_175)));
        let across = json!({"metadata": {"start": "0 17 * * 0", "end": "0 17 * * 5"}});
        assert_eq!(spans(&across), [(1_020, 8_220)]);
    }
}
