//! Whether an expectation holds.

use std::collections::BTreeMap;

use kernel::{Amount, Lots, Percent, Rounding, Timestamp, TradingDay, Zone, divide};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Program;
use crate::effect::Figure;

/// An expectation and what came of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Checked {
    /// The example.
    pub example: String,
    /// The step, from 1.
    pub step: usize,
    /// What was expected to be something, such as `daily_loss.floor`.
    pub name: String,
    /// What it was expected to be.
    pub expected: String,
    /// What it is.
    pub found: String,
    /// Whether they agree.
    pub holds: bool,
}

pub(super) fn compare(
    program: &Program,
    known: &BTreeMap<String, Figure>,
    name: &str,
    expected: &Value,
) -> Result<Checked, String> {
    let found = known.get(name);
    let holds = match found {
        None if expected == "none" => true,
        None => return Err(unknown(known, name)),
        Some(_) if expected == "none" => false,
        Some(figure) => agrees(program, figure, expected, name).map_err(|say| format!("{name}: {say}"))?,
    };
    Ok(Checked {
        example: String::new(),
        step: 0,
        name: name.to_owned(),
        expected: plain(expected),
        found: found.map_or_else(|| "none".to_owned(), text),
        holds,
    })
}

fn unknown(known: &BTreeMap<String, Figure>, name: &str) -> String {
    let prefix = name.split_once('.').map_or(name, |(prefix, _)| prefix);
    let near: Vec<_> =
        known.keys().filter(|key| key.split('.').next() == Some(prefix)).map(String::as_str).collect();
    let groups: std::collections::BTreeSet<_> =
        known.keys().filter_map(|key| key.split('.').next()).collect();
    if near.is_empty() {
        let groups: Vec<_> = groups.into_iter().collect();
        format!("nothing is called {name}; names here begin with {}", groups.join(", "))
    } else {
        format!("nothing is called {name}; there are {}", near.join(", "))
    }
}

fn agrees(program: &Program, figure: &Figure, expected: &Value, name: &str) -> Result<bool, String> {
    match (figure, expected) {
        (Figure::Flag(found), Value::Bool(expected)) => Ok(found == expected),
        (Figure::Count(found), Value::Number(expected)) => Ok(expected.as_u64() == Some(u64::from(*found))),
        (Figure::Word(found), Value::String(expected)) if name == "verdict" && expected == "not_yet" => {
            Ok(!matches!(found.as_ref(), "passed" | "breach" | "expiry"))
        }
        (Figure::Word(found), Value::String(expected)) => Ok(found == expected),
        (Figure::Amount(found), expected) => number(found.micros(), Amount::SCALE, expected),
        (Figure::Percent(found), expected) => number(found.millionths(), 4, expected),
        (Figure::Lots(found), expected) => number(found.millionths(), 6, expected),
        (Figure::At(found), expected) => instant(program, *found, expected),
        (Figure::Day(found), Value::String(expected)) => Ok(day(expected)? == *found),
        (Figure::Days(found), Value::Array(expected)) => {
            let expected: Vec<_> =
                expected.iter().map(|it| day(it.as_str().unwrap_or_default())).collect::<Result<_, _>>()?;
            Ok(*found == expected)
        }
        (Figure::Days(found), Value::Number(expected)) => {
            Ok(expected.as_u64() == u64::try_from(found.len()).ok())
        }
        (Figure::ByDay(found), Value::Object(expected)) => {
            for (name, amount) in expected {
                let wanted = day(name)?;
                let found =
                    found.iter().find(|(day, _)| *day == wanted).map_or(Amount::ZERO, |(_, amount)| *amount);
                if !number(found.micros(), Amount::SCALE, amount)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        _ => Err(format!("{} cannot be compared with {}", plain(expected), text(figure))),
    }
}

/// Compares a count of `10^-scale` with `"429"`, `429` or `{ is = "429", rounded_to = "1" }`.
fn number(found: i64, scale: u8, expected: &Value) -> Result<bool, String> {
    let read = |value: &Value| match value {
        Value::String(text) => {
            kernel::decimal::parse(text, scale).map_err(|error| format!("{text}: {error}"))
        }
        Value::Number(number) if number.is_i64() => {
            kernel::decimal::parse(&number.to_string(), scale).map_err(|error| format!("{number}: {error}"))
        }
        Value::Number(number) => Err(format!("write {number} in quotes: \"{number}\"")),
        other => Err(format!("{} is not a number", plain(other))),
    };
    let Value::Object(table) = expected else { return Ok(found == read(expected)?) };
    let (Some(is), Some(step)) = (table.get("is"), table.get("rounded_to")) else {
        return Err("a rounded number is written { is = \"429\", rounded_to = \"1\" }".to_owned());
    };
    let (is, step) = (read(is)?, read(step)?);
    if step <= 0 {
        return Err("rounded_to must be above 0".to_owned());
    }
    let steps =
        divide(i128::from(found), i128::from(step), Rounding::HalfEven).map_err(|error| error.to_string())?;
    Ok(steps.checked_mul(i128::from(step)) == Some(i128::from(is)))
}

/// Compares an instant with RFC 3339, a date of the reset zone, or what clocks show:
/// `{ at = "..", in = { "Europe/London" = "2026-07-15 22:00" } }`.
fn instant(program: &Program, found: Timestamp, expected: &Value) -> Result<bool, String> {
    let local = |zone: &str| {
        let zone = Zone::parse(zone).map_err(|error| error.to_string())?;
        zone.local(found).map_err(|error| error.to_string())
    };
    match expected {
        Value::String(text) => match Timestamp::parse(text) {
            Ok(at) => Ok(at == found),
            Err(_) => Ok(local(program.reset.zone())?.starts_with(&day(text)?.to_string())),
        },
        Value::Object(table) => {
            for (key, value) in table {
                let holds = match (key.as_str(), value) {
                    ("at", value) => instant(program, found, value)?,
                    ("in", Value::Object(zones)) => {
                        let mut all = true;
                        for (zone, shown) in zones {
                            let shown =
                                shown.as_str().ok_or("a clock shows text such as \"2026-07-15 22:00\"")?;
                            all &= local(zone)?.contains(shown);
                        }
                        all
                    }
                    _ => {
                        return Err(
                            "an instant is written { at = \"..\", in = { \"Zone\" = \"..\" } }".to_owned()
                        );
                    }
                };
                if !holds {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        other => Err(format!("{} is not an instant", plain(other))),
    }
}

fn day(text: &str) -> Result<TradingDay, String> {
    TradingDay::parse(text).map_err(|_| format!("{text} is not a date such as 2026-01-05"))
}

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

fn text(figure: &Figure) -> String {
    let list = |parts: Vec<String>| format!("[{}]", parts.join(", "));
    match figure {
        Figure::Amount(amount) => amount.to_string(),
        Figure::Percent(percent) => Percent::to_string(percent),
        Figure::Lots(lots) => Lots::to_string(lots),
        Figure::Count(count) => count.to_string(),
        Figure::Flag(flag) => flag.to_string(),
        Figure::At(at) => at.to_string(),
        Figure::Day(day) => day.to_string(),
        Figure::Days(days) => list(days.iter().map(TradingDay::to_string).collect()),
        Figure::ByDay(days) => list(days.iter().map(|(day, amount)| format!("{day}: {amount}")).collect()),
        Figure::Word(word) => word.to_string(),
    }
}
