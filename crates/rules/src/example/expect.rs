//! Whether an expectation holds.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use kernel::{Amount, Rounding, Span, Timestamp, TradingDay, Zone, divide};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Program;
use crate::effect::Figure;
use crate::kinds::Weekday;
use crate::near::nearest;

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

/// What expectations are compared with.
pub(super) struct Context<'a> {
    pub program: &'a Program,
    /// Everything that has a name.
    pub known: &'a BTreeMap<String, Figure>,
    /// The first day of counting.
    pub opened: TradingDay,
}

/// The verdicts that can be expected.
const VERDICTS: &[&str] =
    &["ok", "passed", "not_yet", "warning", "violation", "refused", "soft_breach", "breach", "expiry"];

/// Pages call what is recorded for a review by different names.
fn verdict_word(word: &str) -> &str {
    match word {
        "flag" | "flag_for_manual_review" => "violation",
        word => word,
    }
}

impl Context<'_> {
    /// Compares an expectation, or a table of them: `daily_loss = { floor = 95000, room = 1200 }`.
    pub fn compare(&self, name: &str, expected: &Value) -> Result<Vec<Checked>, String> {
        if !self.known.contains_key(name)
            && let Value::Object(table) = expected
        {
            let mut all = Vec::new();
            for (part, expected) in table {
                all.extend(self.compare(&format!("{name}.{part}"), expected)?);
            }
            return Ok(all);
        }
        let found = self.known.get(name);
        let holds = match found {
            None if expected == "none" => true,
            None => return Err(self.unknown(name)),
            Some(_) if expected == "none" => false,
            Some(figure) => {
                self.agrees(name, figure, expected).map_err(|say| format!("expect.{name}: {say}"))?
            }
        };
        Ok(vec![Checked {
            example: String::new(),
            step: 0,
            name: name.to_owned(),
            expected: plain(expected),
            found: found.map_or_else(|| "none".to_owned(), |figure| text(name, figure)),
            holds,
        }])
    }

    fn unknown(&self, name: &str) -> String {
        let mine = |key: &&str| key.split('.').next() == name.split('.').next();
        let names: Vec<_> = self.known.keys().map(String::as_str).collect();
        let near: Vec<_> = names.iter().copied().filter(mine).collect();
        let hint = nearest(name, names.iter().copied())
            .map_or(String::new(), |near| format!(", did you mean {near}?"));
        if near.is_empty() {
            let groups: BTreeSet<_> = names.iter().filter_map(|key| key.split('.').next()).collect();
            let groups: Vec<_> = groups.into_iter().collect();
            format!("expect: nothing is called {name}{hint}; names here begin with {}", groups.join(", "))
        } else {
            format!("expect: nothing is called {name} here{hint}; there are {}", near.join(", "))
        }
    }

    fn agrees(&self, name: &str, figure: &Figure, expected: &Value) -> Result<bool, String> {
        match (figure, expected) {
            (Figure::Flag(found), Value::Bool(expected)) => Ok(found == expected),
            (Figure::Count(found), Value::Number(expected)) => {
                Ok(expected.as_u64() == Some(u64::from(*found)))
            }
            (Figure::Word(found), Value::String(expected)) if name == "verdict" => verdict(found, expected),
            (Figure::Word(found), Value::Array(expected)) if name == "verdicts" => verdicts(found, expected),
            (Figure::Word(found), Value::String(expected)) => Ok(found == expected),
            (Figure::Amount(found), expected) => number(found.micros(), Amount::SCALE, expected),
            (Figure::Percent(found), expected) => number(found.millionths(), 4, expected),
            (Figure::Lots(found), expected) => number(found.millionths(), 6, expected),
            (Figure::At(found), expected) => self.instant(*found, expected),
            (Figure::Day(found), Value::String(expected)) => Ok(self.day(expected)? == *found),
            (Figure::Days(found), Value::Array(expected)) => {
                let expected: Vec<_> =
                    expected.iter().map(|day| self.day_or_place(day)).collect::<Result<_, _>>()?;
                Ok(*found == expected)
            }
            (Figure::Days(found), Value::Number(expected)) => {
                Ok(expected.as_u64() == u64::try_from(found.len()).ok())
            }
            (Figure::ByDay(found), Value::Object(expected)) => self.by_name(found, expected),
            (Figure::ByDay(found), Value::Array(expected)) => self.by_place(found, expected),
            _ => Err(format!("{} cannot be compared with {}", plain(expected), text(name, figure))),
        }
    }

    /// Amounts by the names of their days.
    fn by_name(&self, found: &[(TradingDay, Amount)], expected: &Map<String, Value>) -> Result<bool, String> {
        for (name, amount) in expected {
            if !number(amount_of(found, self.day(name)?).micros(), Amount::SCALE, amount)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Amounts of one day after the other, from the first.
    fn by_place(&self, found: &[(TradingDay, Amount)], expected: &[Value]) -> Result<bool, String> {
        for (place, amount) in expected.iter().enumerate() {
            let day = self.nth_day(u32::try_from(place).unwrap_or(u32::MAX))?;
            if !number(amount_of(found, day).micros(), Amount::SCALE, amount)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn nth_day(&self, place: u32) -> Result<TradingDay, String> {
        self.opened.plus_days(place).map_err(|error| format!("day {place}: {error}"))
    }

    /// A day by its date, by its name or by its place from 0, the day of the opening.
    fn day_or_place(&self, expected: &Value) -> Result<TradingDay, String> {
        match expected {
            Value::String(text) => self.day(text),
            Value::Number(place) => {
                let place = place.as_u64().and_then(|place| u32::try_from(place).ok());
                self.nth_day(place.ok_or("a day's place is a whole number from 0")?)
            }
            Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
                Err(format!("{} is not a day", plain(expected)))
            }
        }
    }

    /// A date, or the first such day of the week from the opening on.
    fn day(&self, text: &str) -> Result<TradingDay, String> {
        if let Some(weekday) = Weekday::parse(text) {
            for place in 0..7 {
                let day = self.nth_day(place)?;
                if Weekday::of(day) == weekday {
                    return Ok(day);
                }
            }
        }
        TradingDay::parse(text)
            .map_err(|_| format!("{text} is not a date such as 2026-01-05 or a day such as Mon"))
    }

    /// Compares an instant with RFC 3339, a date of the reset zone, or what clocks show:
    /// `{ at = "..", in = { "Europe/London" = "2026-07-15 22:00" } }`.
    fn instant(&self, found: Timestamp, expected: &Value) -> Result<bool, String> {
        match expected {
            Value::String(text) => match Timestamp::parse(text) {
                Ok(at) => Ok(at == found),
                Err(_) => {
                    Ok(local(self.program.reset.zone(), found)?.starts_with(&self.day(text)?.to_string()))
                }
            },
            Value::Object(table) => {
                let mut holds = true;
                for (key, value) in table {
                    holds &= match (key.as_str(), value) {
                        ("at", value) => self.instant(found, value)?,
                        ("in", Value::Object(zones)) => shown(found, zones)?,
                        ("hours_ahead", Value::Object(zones)) => self.hours_ahead(found, zones)?,
                        _ => {
                            return Err("an instant is written \"2026-07-15T21:00:00Z\", or { at = \"..\", in = { \
                                        \"Europe/London\" = \"22:00\" }, hours_ahead = { \"Europe/London\" = 1 } }"
                                .to_owned());
                        }
                    };
                }
                Ok(holds)
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) => {
                Err(format!("{} is not an instant", plain(expected)))
            }
        }
    }

    /// Whether the clocks of some zones are so many hours ahead of the reset zone's at an instant.
    fn hours_ahead(&self, found: Timestamp, zones: &Map<String, Value>) -> Result<bool, String> {
        let wall = |zone: &str| {
            let shown = local(zone, found)?;
            let shown = shown.get(..16).unwrap_or_default().replace(' ', "T");
            Timestamp::parse(&format!("{shown}:00Z")).map_err(|error| error.to_string())
        };
        let here = wall(self.program.reset.zone())?;
        let mut holds = true;
        for (zone, hours) in zones {
            let ahead = wall(zone)?.since(here).map_err(|error| error.to_string())?;
            let hours = hours.as_i64().and_then(|hours| hours.checked_mul(3_600_000_000));
            holds &= ahead == Span::from_micros(hours.ok_or("hours_ahead is a whole number of hours")?);
        }
        Ok(holds)
    }
}

/// Whether the clocks of some zones show these texts at an instant.
fn shown(found: Timestamp, zones: &Map<String, Value>) -> Result<bool, String> {
    let mut holds = true;
    for (zone, shown) in zones {
        let shown = shown.as_str().ok_or("a clock shows text such as \"2026-07-15 22:00\"")?;
        holds &= local(zone, found)?.contains(shown);
    }
    Ok(holds)
}

fn local(zone: &str, at: Timestamp) -> Result<String, String> {
    let zone = Zone::parse(zone).map_err(|error| error.to_string())?;
    zone.local(at).map_err(|error| error.to_string())
}

fn verdict(found: &str, expected: &str) -> Result<bool, String> {
    let expected = verdict_word(expected);
    if !VERDICTS.contains(&expected) {
        let hint = nearest(expected, VERDICTS.iter().copied());
        let hint = hint.map_or(String::new(), |near| format!(", did you mean {near}?"));
        return Err(format!("{expected} is not a verdict{hint}; the verdicts are {}", VERDICTS.join(", ")));
    }
    Ok(match expected {
        "not_yet" => !matches!(found, "passed" | "breach" | "expiry"),
        expected => found == expected,
    })
}

fn verdicts(found: &str, expected: &[Value]) -> Result<bool, String> {
    let found: Vec<_> = found.split(", ").filter(|word| !word.is_empty()).collect();
    let mut holds = found.len() == expected.len();
    for (found, expected) in found.iter().zip(expected) {
        holds &= verdict(found, expected.as_str().ok_or("a verdict is a word such as \"ok\"")?)?;
    }
    Ok(holds)
}

fn amount_of(found: &[(TradingDay, Amount)], wanted: TradingDay) -> Amount {
    found.iter().find(|(day, _)| *day == wanted).map_or(Amount::ZERO, |(_, amount)| *amount)
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
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => {
            Err(format!("{} is not a number", plain(value)))
        }
    };
    let Value::Object(table) = expected else { return Ok(found == read(expected)?) };
    let (Some(is), Some(step), 2) = (table.get("is"), table.get("rounded_to"), table.len()) else {
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

fn plain(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Array(values) => format!("[{}]", values.iter().map(plain).collect::<Vec<_>>().join(", ")),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => value.to_string(),
    }
}

fn text(name: &str, figure: &Figure) -> String {
    let list = |parts: Vec<String>| format!("[{}]", parts.join(", "));
    match figure {
        Figure::Amount(amount) => amount.to_string(),
        Figure::Percent(percent) => percent.to_string(),
        Figure::Lots(lots) => lots.to_string(),
        Figure::Count(count) => count.to_string(),
        Figure::Flag(flag) => flag.to_string(),
        Figure::At(at) => at.to_string(),
        Figure::Day(day) => day.to_string(),
        Figure::Days(days) => list(days.iter().map(TradingDay::to_string).collect()),
        Figure::ByDay(days) => list(days.iter().map(|(day, amount)| format!("{day}: {amount}")).collect()),
        Figure::Word(word) if name == "verdicts" => format!("[{word}]"),
        Figure::Word(word) => Cow::to_string(word),
    }
}
