//! What the forecast of the API's load is worth: weeks of load in a real Prometheus, its own rule asked for every minute of the last of
//! them, and the production autoscaler replayed through that week with the forecast and without.
//!
//! `cargo xtask backtest --prometheus URL` does the same with the last week of an installation, whose figures count; the week that is
//! made here is an assumption, stated where it is made.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lexopt::Arg;
use serde_json::Value;

use super::autoscaling::{Load, REQUEST_TAKES, REQUEST_WORK, Run, STEP, Scaler, Trigger, production_api};
use super::manifests::note;
use super::monitoring::start;
use super::tools::installed;
use super::{Finding, Found, nothing};
use crate::machine::root;
use crate::platform::{Scratch, free_port};
use crate::process::{command, output, poll, succeeds};
use crate::{Failure, Outcome};

const RULES: &str = "deployment/monitoring/rules/recording.yml";
/// What is forecast, as it is recorded.
const LOAD: &str = "tradesense:api_requests:rate5m";
const FORECAST: &str = "tradesense:api_requests_forecast:rate5m";
const MINUTES_OF_A_WEEK: u64 = 7 * 1_440;
/// Weeks that are made: three that the forecast looks back on, one more for its trend, and the one that is judged.
const WEEKS: u64 = 5;
/// Steps of the autoscaler until a new pod answers: its image is there, and the process starts within seconds.
const STARTS_IN: usize = 3;
/// The most that the forecast may cost beside what it is compared with, in per cent.
const MOST_DEARER: u64 = 25;

/// A week, minute by minute: requests a second in thousandths, and what was forecast of them half an hour before.
struct Week {
    load: Vec<u64>,
    forecast: Vec<Option<u64>>,
}

/// How a week went for the API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Went {
    /// Seconds in which more was asked than the pods that answered had asked processor time for.
    short: u64,
    /// Hours of pods that were there.
    hours: u64,
}

pub(super) fn is_worth_it() -> Found {
    let week = made_week().map_err(|failure| found(&failure))?;
    let scaler = production_api()?;
    let (with, without) = (replay(&scaler, &week), replay(&blind(&scaler), &week));
    note(&said(&week, with, without));
    let mut findings = Vec::new();
    if with.short.saturating_mul(2) > without.short {
        let what =
            format!("leaves {} s short, where {} s are without it: not half", with.short, without.short);
        findings.push(Finding::new(FORECAST, what));
    }
    let most = without.hours.saturating_mul(100_u64.saturating_add(MOST_DEARER)).saturating_div(100);
    if with.hours > most {
        findings.push(Finding::new(
            FORECAST,
            format!("costs {} hours of pods for {}", with.hours, without.hours),
        ));
    }
    // Where there is no history there is no forecast, and nothing else than without it.
    let young = Week { load: week.load.clone(), forecast: vec![None; week.load.len()] };
    if replay(&scaler, &young) != without {
        findings.push(Finding::new(FORECAST, "a forecast that is not there yet changes something"));
    }
    nothing(findings)
}

/// `cargo xtask backtest --prometheus URL`: the last week of an installation.
pub(crate) fn backtest(mut args: lexopt::Parser) -> Outcome {
    let mut url = None;
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("prometheus") => url = Some(args.value()?.to_string_lossy().into_owned()),
            Arg::Short(_) | Arg::Long(_) | Arg::Value(_) => return Err(arg.unexpected().into()),
        }
    }
    let url = url.ok_or_else(|| Failure::new("--prometheus URL says whose history it is".to_owned()))?;
    installed("promtool", "prometheus")?;
    let expr = forecast_rule(&root()?)?;
    let week = asked_week(&url, &expr, this_minute()?)?;
    let scaler = production_api().map_err(|findings| {
        Failure::new(findings.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))
    })?;
    println!("{}", said(&week, replay(&scaler, &week), replay(&blind(&scaler), &week)));
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "the week that has just ended is meant")]
fn this_minute() -> Outcome<u64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).map_err(Failure::of("read the clock"))?;
    Ok(since.as_secs().saturating_div(60).saturating_mul(60))
}

fn found(Failure(what): &Failure) -> Vec<Finding> {
    vec![Finding::new(FORECAST, what.clone())]
}

fn said(week: &Week, with: Went, without: Went) -> String {
    let pairs = week.load.iter().zip(&week.forecast);
    let known: Vec<(u64, u64)> = pairs.filter_map(|(load, told)| Some((*load, (*told)?))).collect();
    let below = known.iter().filter(|(load, told)| load > told).count();
    let share = below.saturating_mul(100).checked_div(known.len()).unwrap_or(0);
    format!(
        "{} minutes forecast, {share} % of them above it; with it {} s short for {} hours of pods, without it {} s for {}",
        known.len(),
        with.short,
        with.hours,
        without.short,
        without.hours
    )
}

/// The same scaler without the trigger of the forecast.
fn blind(scaler: &Scaler) -> Scaler {
    let mut blind = scaler.clone();
    blind.triggers.retain(|trigger| !matches!(trigger, Trigger::Figure { name, .. } if name == "forecast"));
    blind
}

/// Sends a scaler through a week.
fn replay(scaler: &Scaler, week: &Week) -> Went {
    let mut run = Run::new(scaler);
    let (mut short, mut pods) = (0_u64, 0_u64);
    let steps = 60_u64.saturating_div(STEP);
    let mut last: Vec<u64> = Vec::new();
    for (minute, (load, forecast)) in (0_u64..).zip(week.load.iter().zip(&week.forecast)) {
        for _ in 0..steps {
            // The autoscaler sees the mean of the last minute; whoever asks does not wait for it.
            last.push(*load);
            let seen: Vec<u64> = last.iter().rev().take(4).copied().collect();
            let seen = mean(&seen);
            let mut figures = vec![
                ("requests", seen),
                ("in-flight", seen.saturating_mul(REQUEST_TAKES).saturating_div(1_000)),
            ];
            figures.extend(forecast.map(|forecast| ("forecast", forecast)));
            run.step(&Load {
                processor: seen.saturating_mul(REQUEST_WORK).saturating_div(1_000),
                figures: Some(figures),
                minute,
            });
            let ready = run.history.iter().rev().take(STARTS_IN.saturating_add(1)).min();
            let has = ready.copied().unwrap_or(0).saturating_mul(scaler.asked);
            if load.saturating_mul(REQUEST_WORK).saturating_div(1_000) > has {
                short = short.saturating_add(STEP);
            }
            pods = pods.saturating_add(run.pods.saturating_mul(STEP));
        }
    }
    Went { short, hours: pods.saturating_div(3_600) }
}

fn mean(amounts: &[u64]) -> u64 {
    let count = u64::try_from(amounts.len()).unwrap_or(1);
    let sum = amounts.iter().fold(0_u64, |sum, amount| sum.saturating_add(*amount));
    sum.checked_div(count).unwrap_or(0)
}

/// Requests a second of every minute since the first Sunday, midnight in New York, in thousandths. Nobody has measured a firm's: the shape is that of
/// the market (its opening on Sunday, London's, the news at half past eight, its close), each step within a minute, which is what an
/// autoscaler is late for. Days differ, the firm grows by a twenty-fifth each week; in the last week Monday is a holiday, and on Wednesday
/// comes what nobody could know.
fn loads() -> Vec<u64> {
    const PEAK: u64 = 2_600_000;
    // Minute of the day, thousandths of the peak from there on.
    const WEEKDAY: [(u64, u64); 9] = [
        (0, 120),
        (180, 300),
        (420, 230),
        (510, 1_000),
        (540, 600),
        (570, 850),
        (720, 500),
        (960, 250),
        (1_020, 150),
    ];
    const SUNDAY: [(u64, u64); 2] = [(0, 40), (1_020, 450)];
    const SATURDAY: [(u64, u64); 1] = [(0, 40)];
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut wobble = |most: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        // A thousand, more or less by so many at most.
        1_000_u64.saturating_sub(most).saturating_add(random.checked_rem(most.saturating_mul(2)).unwrap_or(0))
    };
    let mut loads = Vec::new();
    for week in 0..WEEKS {
        for day in 0..7_u64 {
            let shape: &[(u64, u64)] = match day {
                0 => &SUNDAY,
                6 => &SATURDAY,
                _ => &WEEKDAY,
            };
            let is_last = week.saturating_add(1) == WEEKS;
            let of_day = if is_last && day == 1 { 400 } else { wobble(100) };
            for minute in 0..1_440 {
                let height =
                    shape.iter().rev().find(|(from, _)| *from <= minute).map_or(0, |(_, height)| *height);
                let surprise = is_last && day == 3 && (840..870).contains(&minute);
                let parts = [
                    height,
                    1_000_u64.saturating_add(week.saturating_mul(40)),
                    of_day,
                    wobble(80),
                    if surprise { 2_200 } else { 1_000 },
                ];
                loads.push(
                    parts.iter().fold(PEAK, |load, part| load.saturating_mul(*part).saturating_div(1_000)),
                );
            }
        }
    }
    loads
}

/// The expression of the rule, as it is shipped.
fn forecast_rule(root: &Path) -> Outcome<String> {
    let text = fs::read_to_string(root.join(RULES)).map_err(Failure::of(format!("read {RULES}")))?;
    let rule = text.split("- record: ").find_map(|rule| rule.strip_prefix(FORECAST));
    let expr = rule.and_then(|rule| rule.split_once("expr: |-")).map(|(_, expr)| {
        let lines = expr.lines().skip(1).take_while(|line| line.starts_with("          "));
        lines.map(str::trim).collect::<Vec<_>>().join(" ")
    });
    expr.filter(|expr| !expr.is_empty()).ok_or_else(|| Failure::new(format!("{RULES} records no {FORECAST}")))
}

/// The last of the weeks that are made, with what Prometheus forecast of it.
fn made_week() -> Outcome<Week> {
    installed("promtool", "prometheus")?;
    installed("prometheus", "prometheus")?;
    let scratch = Scratch::new("forecast")?;
    let dir = scratch.path();
    // A Sunday, midnight UTC.
    let began = 1_790_467_200_u64;
    let mut history = format!("# TYPE {LOAD} gauge\n");
    let loads = loads();
    for (minute, load) in (0_u64..).zip(&loads) {
        let at = began.saturating_add(minute.saturating_mul(60));
        writeln!(history, "{LOAD} {}.{:03} {at}", load.saturating_div(1_000), load % 1_000)
            .map_err(Failure::of("write the history"))?;
    }
    history.push_str("# EOF\n");
    fs::write(dir.join("history"), history).map_err(Failure::of("write the history"))?;
    fs::write(dir.join("prometheus.yml"), "global: {}\n").map_err(Failure::of("write a configuration"))?;
    output(command("promtool", dir).args([
        "tsdb",
        "create-blocks-from",
        "--max-block-duration=168h",
        "openmetrics",
        "history",
        "data",
    ]))?;
    let port = free_port()?;
    let _prometheus = start(
        dir,
        "prometheus",
        &[
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            "--storage.tsdb.retention.time=100y",
            "--log.level=warn",
            &format!("--web.listen-address=127.0.0.1:{port}"),
        ],
    )?;
    let url = format!("http://127.0.0.1:{port}");
    let is_there = poll(Duration::from_mins(1), || {
        std::thread::sleep(Duration::from_millis(200));
        succeeds(command("promtool", dir).args(["query", "instant", &url, "vector(1)"])).then_some(())
    });
    is_there.ok_or_else(|| Failure::new("prometheus does not answer".to_owned()))?;
    let ended = began.saturating_add(WEEKS.saturating_mul(MINUTES_OF_A_WEEK).saturating_mul(60));
    asked_week(&url, &forecast_rule(&root()?)?, ended)
}

/// The week before an instant. What was forecast of a minute was told before it: the autoscaler had it then.
fn asked_week(url: &str, expr: &str, ends: u64) -> Outcome<Week> {
    let starts = ends.saturating_sub(MINUTES_OF_A_WEEK.saturating_mul(60));
    let asked = |expr: &str, every: u64| -> Outcome<Vec<Option<u64>>> {
        let mut query = command("promtool", Path::new("/"));
        query.args(["query", "range", "-o", "json"]).arg(format!("--step={every}m"));
        query.args([format!("--start={starts}"), format!("--end={}", ends.saturating_sub(60))]);
        query.arg(url).arg(format!("round(1000 * ({expr}))")).stdin(Stdio::null());
        let said = output(&mut query)?;
        let series: Value =
            serde_json::from_slice(&said).map_err(Failure::of("read an answer of Prometheus"))?;
        let values = series.pointer("/0/values").and_then(Value::as_array);
        let mut minutes = vec![None; usize::try_from(MINUTES_OF_A_WEEK).unwrap_or_default()];
        for value in values.into_iter().flatten() {
            let at = value.pointer("/0").and_then(Value::as_f64).map(|at| format!("{at:.0}"));
            let at = at.and_then(|at| at.parse::<u64>().ok()).unwrap_or_default();
            let minute = usize::try_from(at.saturating_sub(starts).saturating_div(60)).unwrap_or(usize::MAX);
            let amount = value.pointer("/1").and_then(Value::as_str).and_then(|text| text.parse().ok());
            let holds = usize::try_from(every).unwrap_or(1);
            minutes.iter_mut().skip(minute).take(holds).for_each(|place| *place = amount);
        }
        Ok(minutes)
    };
    let load: Vec<u64> = asked(LOAD, 1)?.into_iter().map(|load| load.unwrap_or(0)).collect();
    if load.iter().all(|load| *load == 0) {
        return Err(Failure::new(format!("{url} has no {LOAD} in that week")));
    }
    // It looks back on days: every fifth minute is enough.
    Ok(Week { load, forecast: asked(expr, 5)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rule_that_is_asked_is_the_one_that_is_shipped() {
        let Ok(rule) = root().and_then(|root| forecast_rule(&root)) else { panic!("there is no rule") };
        assert!(rule.starts_with("quantile(") && rule.contains(LOAD), "{rule}");
        assert_eq!(rule.matches('(').count(), rule.matches(')').count());
    }

    #[test]
    fn a_week_has_its_minutes_and_the_same_ones_each_time() {
        let made = loads();
        assert_eq!(u64::try_from(made.len()), Ok(WEEKS * MINUTES_OF_A_WEEK));
        assert_eq!(made, loads());
        // The news of a Tuesday are more than the minute before, several times over.
        let news = usize::try_from(2 * 1_440 + 510).unwrap();
        assert!(made[news] > 3 * made[news - 1]);
    }

    #[test]
    fn whoever_knows_in_time_is_not_short() {
        let scaler = production_api().unwrap();
        let load: Vec<u64> = (0..120).map(|minute| if minute < 60 { 100_000 } else { 2_600_000 }).collect();
        let told = (0..120).map(|minute| Some(load[(minute + 30).min(119)])).collect();
        let knows = replay(&scaler, &Week { load: load.clone(), forecast: told });
        let blind = replay(&blind(&scaler), &Week { load, forecast: vec![None; 120] });
        assert_eq!(knows.short, 0);
        assert!(blind.short >= 60 && blind.hours < knows.hours, "{blind:?} {knows:?}");
    }
}
