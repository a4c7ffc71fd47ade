//! A program: phases of rules, and the terms of trading.

use std::fmt;

use kernel::{Amount, Currency, Percent, ResetClock, Symbol};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::hint::hint;
use crate::kinds::Against;
use crate::merge::Merge;
use crate::rule::Words;
use crate::{Clocks, Payout, Rule, Scaling, is_default};

/// What a trader buys: immutable, named by the hash of its content, kept by an account for life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Shown to traders.
    pub name: String,
    /// Currency of the account.
    pub currency: Currency,
    /// Balance that every phase opens with.
    pub initial_balance: Amount,
    /// When the trading day ends that losses are measured in.
    pub reset: ResetClock,
    /// When the days end that are counted, if by another clock.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counting: Option<ResetClock>,
    /// The terms of trading.
    pub terms: Terms,
    /// From the first evaluation to the funded account. The last has no profit target or ends the challenge when
    /// passed.
    pub phases: Vec<Phase>,
    /// What several accounts of this program become when they are merged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<Merge>,
}

/// The terms of trading, the same in every phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Terms {
    /// What may be traded.
    pub instruments: Vec<Symbol>,
    /// Notional per unit of margin: 100 means 1:100.
    pub leverage: u32,
    /// Charged for each lot when a position opens and again when it closes; rounded up to the minor unit.
    pub commission_per_lot: Amount,
    /// Positions are closed, worst first, while equity is below this share of the margin in use.
    pub stop_out: Percent,
}

/// One phase of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Shown to traders.
    pub name: String,
    /// In the order in which they are explained and, at equal height, named as the cause.
    pub rules: Vec<Rule>,
    /// How a trader who has reached everything gets on.
    #[serde(default, skip_serializing_if = "is_default")]
    pub promotion: Promotion,
    /// What may be paid out, for a funded phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payout: Option<Payout>,
    /// How the account grows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
}

/// How a trader who has reached everything gets on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Promotion {
    /// At once.
    #[default]
    Automatic,
    /// When the trader asks for it.
    OnRequest,
}

impl Phase {
    /// The conditions of its payouts, numbered on from its rules; the place between them is the floor that no program
    /// writes.
    pub(crate) fn conditions(&self) -> impl Iterator<Item = (usize, &Rule)> {
        let first = self.rules.len().saturating_add(1);
        let conditions = self.payout.iter().flat_map(Payout::all_conditions);
        conditions.enumerate().map(move |(index, (_, rule))| (first.saturating_add(index), rule))
    }

    /// Its rules and the conditions of its payouts, with their places.
    pub(crate) fn rules_and_conditions(&self) -> impl Iterator<Item = (usize, &Rule)> {
        self.rules.iter().enumerate().chain(self.conditions())
    }

    /// The rule at a place, conditions of payouts included.
    pub fn rule(&self, place: usize) -> Option<&Rule> {
        self.rules_and_conditions().find(|(at, _)| *at == place).map(|(_, rule)| rule)
    }

    /// Whether a rule must be told of every new peak of the equity.
    pub fn needs_peaks(&self) -> bool {
        self.rules.iter().any(|rule| rule.answers().needs_peaks())
    }

    /// Whether a rule must be told of what every open position would bring, at every price.
    pub fn needs_floating(&self) -> bool {
        self.rules.iter().any(|rule| rule.answers().needs_floating())
    }

    /// What it means, one sentence for each rule and each part of its policies.
    pub fn sentences(&self, words: &Words) -> Vec<String> {
        let mut lines: Vec<_> = self.rules.iter().map(|rule| rule.sentence(words)).collect();
        if self.promotion == Promotion::OnRequest {
            lines.push("When everything is reached you ask for the next phase yourself.".to_owned());
        }
        lines.extend(self.payout.iter().flat_map(|payout| payout.sentences(words)));
        lines.extend(self.scaling.iter().map(|scaling| scaling.sentence(words)));
        lines
    }
}

/// SHA-256 over a program's canonical JSON, in lower-case hex: the name of a version.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct VersionHash(String);

impl VersionHash {
    /// Reads 64 hex digits.
    pub fn parse(text: &str) -> Option<Self> {
        let fits = text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        fits.then(|| Self(text.to_owned()))
    }

    /// The hex digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for VersionHash {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// One thing wrong with a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Invalid {
    /// Where, as in `phases[0].rules[2].limit`.
    pub path: String,
    /// What is wrong and what would be right.
    pub say: String,
}

/// Why a program cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProgramError {
    /// Not of the right shape.
    #[error("{}{say}", if .path.is_empty() { String::new() } else { format!("{}: ", .path) })]
    Unreadable {
        /// Where, as in `phases[0].rules[2]`.
        path: String,
        /// What is wrong and what would be right.
        say: String,
    },
    /// Well formed, but it makes no sense.
    #[error("a program with {} fault(s): {}", .0.len(), summary(.0))]
    Invalid(Vec<Invalid>),
    /// It cannot be written down.
    #[error("writing a program down")]
    Encoding(#[source] serde_json::Error),
}

impl ProgramError {
    /// Every fault with its place.
    pub fn faults(&self) -> Vec<Invalid> {
        match self {
            Self::Unreadable { path, say } => vec![Invalid { path: path.clone(), say: say.clone() }],
            Self::Invalid(faults) => faults.clone(),
            Self::Encoding(error) => vec![Invalid { path: String::new(), say: error.to_string() }],
        }
    }
}

fn summary(faults: &[Invalid]) -> String {
    let lines: Vec<_> = faults.iter().map(|fault| format!("{}: {}", fault.path, fault.say)).collect();
    lines.join("; ")
}

/// Reads a TOML document and names the place of what is wrong in it.
pub(crate) fn read_toml<T: DeserializeOwned + JsonSchema>(text: &str) -> Result<T, ProgramError> {
    let line = |error: &toml::de::Error| {
        let before = error.span().and_then(|span| text.get(..span.start));
        before.map_or(String::new(), |before| format!("line {}: ", before.lines().count().max(1)))
    };
    let document = toml::Deserializer::parse(text).map_err(|error| ProgramError::Unreadable {
        path: String::new(),
        say: format!("{}{}", line(&error), error.message()),
    })?;
    serde_path_to_error::deserialize(document).map_err(|error| {
        let (path, say) = (error.path().to_string(), error.inner().message().to_owned());
        unreadable::<T>(path, &line(error.inner()), &say)
    })
}

/// Reads a JSON document and names the place of what is wrong in it.
pub(crate) fn read_json<T: DeserializeOwned + JsonSchema>(text: &str) -> Result<T, ProgramError> {
    serde_path_to_error::deserialize(&mut serde_json::Deserializer::from_str(text)).map_err(|error| {
        let (path, say) = (error.path().to_string(), error.inner().to_string());
        unreadable::<T>(path, "", &say)
    })
}

fn unreadable<T: JsonSchema>(path: String, line: &str, say: &str) -> ProgramError {
    let mut path = if path == "." { String::new() } else { path };
    let mut say = say.trim();
    // A rule names its own setting in front of what is wrong with it: it belongs to the path.
    let is_place = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_.[]".contains(&byte))
    };
    if path.ends_with(']')
        && let Some((setting, rest)) = say.split_once(": ").filter(|(setting, _)| is_place(setting))
    {
        path = format!("{path}.{setting}");
        say = rest;
    }
    // A rule has told what would be right in its settings by itself.
    let told = say.contains("; ");
    let right = if told { String::new() } else { hint(say, &|| schemars::schema_for!(T).to_value(), &path) };
    ProgramError::Unreadable { path, say: format!("{line}{say}{right}") }
}

impl Program {
    /// Reads and checks a program's JSON.
    pub fn from_json(text: &str) -> Result<Self, ProgramError> {
        let program: Self = read_json(text)?;
        program.check()?;
        Ok(program)
    }

    /// Reads a program that was published: it was checked then, by what was asked of programs then.
    pub fn from_stored(text: &str) -> Result<Self, ProgramError> {
        read_json(text)
    }

    /// Reads and checks a program's TOML.
    pub fn from_toml(text: &str) -> Result<Self, ProgramError> {
        let program: Self = read_toml(text)?;
        program.check()?;
        Ok(program)
    }

    /// The canonical JSON: fields in the order of this type, numbers in their one text form, no spaces.
    pub fn canonical_json(&self) -> Result<String, ProgramError> {
        serde_json::to_string(self).map_err(ProgramError::Encoding)
    }

    /// The name of this version.
    pub fn version(&self) -> Result<VersionHash, ProgramError> {
        Ok(VersionHash(hex::encode(Sha256::digest(self.canonical_json()?))))
    }

    /// The JSON Schema of programs.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }

    /// The clocks that end its days.
    pub fn clocks(&self) -> Clocks<'_> {
        Clocks { reset: &self.reset, counting: self.counting.as_ref().unwrap_or(&self.reset) }
    }

    /// What its sentences name amounts in.
    pub const fn words(&self) -> Words {
        Words { initial: self.initial_balance, currency: self.currency }
    }

    /// Everything wrong with it at once.
    pub fn check(&self) -> Result<(), ProgramError> {
        let mut faults = Vec::new();
        let mut fault =
            |path: &str, say: &str| faults.push(Invalid { path: path.to_owned(), say: say.to_owned() });
        if self.name.trim().is_empty() {
            fault("name", "give the program a name");
        }
        if self.initial_balance <= Amount::ZERO || self.initial_balance > MOST_INITIAL_BALANCE {
            fault("initial_balance", "must be above 0 and at most 1000000000");
        }
        if self.terms.instruments.is_empty() {
            fault("terms.instruments", "name at least one instrument");
        }
        if self.terms.leverage == 0 || self.terms.leverage > 1_000 {
            fault("terms.leverage", "must be from 1 to 1000");
        }
        if self.terms.commission_per_lot.is_negative() || self.terms.commission_per_lot > MOST_COMMISSION {
            fault("terms.commission_per_lot", "must be from 0 to 10000");
        }
        if self.terms.stop_out.millionths() < 0 || self.terms.stop_out > Percent::WHOLE {
            fault("terms.stop_out", "must be from 0 to 100 per cent");
        }
        if self.phases.is_empty() {
            fault("phases", "add at least one phase");
        }
        for (number, phase) in self.phases.iter().enumerate() {
            let at = format!("phases[{number}]");
            if phase.name.trim().is_empty() {
                fault(&format!("{at}.name"), "give the phase a name");
            }
            let targets = phase.rules.iter().filter(|rule| matches!(rule, Rule::ProfitTarget(_))).count();
            if targets > 1 {
                fault(&format!("{at}.rules"), "have at most one profit target");
            }
            if targets == 0 && number.saturating_add(1) < self.phases.len() {
                fault(&format!("{at}.rules"), "a phase before the last needs a profit target to be passed");
            }
            let of_target =
                |rule: &Rule| matches!(rule, Rule::Consistency(it) if it.of == Against::ProfitTarget);
            let without = "the phase has no profit target; take a share of fixed, profit or positive_days";
            for (index, rule) in phase.rules.iter().enumerate() {
                rule.faults(&mut |field, say| fault(&format!("{at}.rules[{index}].{field}"), &say));
                if targets == 0 && of_target(rule) {
                    fault(&format!("{at}.rules[{index}].of"), without);
                }
            }
            for (path, rule) in phase.payout.iter().flat_map(Payout::all_conditions) {
                if targets == 0 && of_target(rule) {
                    fault(&format!("{at}.payout.{path}.of"), without);
                }
            }
            if let Some(payout) = &phase.payout {
                payout.faults(&mut |field, say| fault(&format!("{at}.payout.{field}"), &say));
            }
            if let Some(scaling) = &phase.scaling {
                scaling.faults(self.initial_balance, &mut |field, say| {
                    fault(&format!("{at}.scaling.{field}"), &say);
                });
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(ProgramError::Invalid(faults)) }
    }

    /// What can be meant but hardly is: shares written as factors.
    pub fn doubts(&self) -> Vec<Invalid> {
        let mut doubts = Vec::new();
        for (number, phase) in self.phases.iter().enumerate() {
            let mut doubt = |field: String, split: Percent| {
                if split.millionths() > 0 && split < Percent::from_whole(1) {
                    let meant = kernel::decimal::format(split.millionths(), 2, 0);
                    let say = format!("{split} means {split} per cent; write {meant} for {meant} per cent");
                    doubts.push(Invalid { path: format!("phases[{number}].{field}"), say });
                }
            };
            if let Some(payout) = &phase.payout {
                doubt("payout.split".to_owned(), payout.split);
                for (place, step) in payout.split_steps.iter().enumerate() {
                    doubt(format!("payout.split_steps[{place}].split"), step.split);
                }
            }
            if let Some(split) = phase.scaling.as_ref().and_then(|scaling| scaling.split) {
                doubt("scaling.split".to_owned(), split);
            }
        }
        doubts
    }

    /// The program in one sentence.
    pub fn summary(&self) -> String {
        let count = self.phases.len();
        let names: Vec<_> = self.phases.iter().map(|phase| phase.name.as_str()).collect();
        format!(
            "{} {} account, {count} {}: {}. Leverage 1:{}, day reset at {} {}.",
            self.initial_balance.grouped(self.currency),
            self.currency,
            if count == 1 { "phase" } else { "phases" },
            names.join(", then "),
            self.terms.leverage,
            self.reset.time(),
            self.reset.zone(),
        )
    }
}

pub(crate) const MOST_INITIAL_BALANCE: Amount = Amount::from_micros(1_000_000_000_000_000);
const MOST_COMMISSION: Amount = Amount::from_micros(10_000_000_000);

#[cfg(test)]
mod tests {
    use super::*;

    const PROGRAM: &str = r#"
        name = "Two-step 100K"
        currency = "USD"
        initial_balance = "100000"
        reset = { zone = "Europe/Prague", time = "00:00" }
        [terms]
        instruments = ["EURUSD", "XAUUSD"]
        leverage = 100
        commission_per_lot = "3"
        stop_out = "50"
        [[phases]]
        name = "Evaluation"
        rules = [
          { kind = "daily_loss", reference = "balance", limit = { percent_of_initial = "5" }, breach = "below" },
          { kind = "max_loss", trail = "static", limit = { percent_of_initial = "10" }, breach = "below" },
          { kind = "profit_target", limit = { percent_of_initial = "10" }, flat = true },
          { kind = "min_trading_days", days = 4 },
        ]
        [[phases]]
        name = "Funded"
        rules = [{ kind = "max_loss", trail = "end_of_day_balance", lock = "at_initial", limit = { amount = "10000" }, breach = "at_or_below" }]
    "#;

    #[test]
    fn toml_and_json_are_one_program_with_one_hash() {
        let program: Program = toml::from_str(PROGRAM).unwrap();
        program.check().unwrap();
        let json = program.canonical_json().unwrap();
        let again = Program::from_json(&json).unwrap();
        assert_eq!(again, program);
        assert_eq!(again.version().unwrap(), program.version().unwrap());
        let mut other = program.clone();
        other.terms.leverage = 99;
        assert_ne!(other.version().unwrap(), program.version().unwrap());
    }

    #[test]
    fn sentences_name_amounts() {
        let program: Program = toml::from_str(PROGRAM).unwrap();
        let say = |rule: &Rule| rule.sentence(&program.words());
        assert!(
            say(&program.phases[0].rules[0]).contains(
                "5% of the initial balance (5,000.00 USD), measured from the balance at the reset;"
            )
        );
        assert!(say(&program.phases[1].rules[0]).contains("stops for good at the initial balance"));
    }

    #[test]
    fn every_fault_is_named_with_its_path() {
        let mut program: Program = toml::from_str(PROGRAM).unwrap();
        program.terms.leverage = 0;
        program.phases[0].rules.retain(|rule| rule.kind() != "profit_target");
        program.phases[1].rules.push(toml::from_str("kind = 'calendar_limit'\ndays = 0").unwrap());
        let ProgramError::Invalid(faults) = program.check().unwrap_err() else { panic!("expected faults") };
        let paths: Vec<_> = faults.iter().map(|fault| fault.path.as_str()).collect();
        assert_eq!(paths, ["terms.leverage", "phases[0].rules", "phases[1].rules[1].days"]);
    }

    #[test]
    fn unknown_fields_are_refused() {
        assert!(
            toml::from_str::<Program>(&PROGRAM.replace("flat = true", "flat = true, maybe = 1")).is_err()
        );
        assert!(
            toml::from_str::<Program>(&PROGRAM.replace("leverage = 100", "leverage = 100\nbonus = 1"))
                .is_err()
        );
    }

    #[test]
    fn what_cannot_be_read_is_told_with_its_place_and_what_would_be_right() {
        for (from, to, path, say) in [
            ("flat = true", "flat = true, maybe = 1", "phases[0].rules[2].maybe", "line "),
            ("\"daily_loss\"", "\"dayly_loss\"", "phases[0].rules[0].kind", "did you mean daily_loss?"),
            ("{ amount = \"10000\" }", "{ amount = 10000 }", "phases[1].rules[0].limit.amount", "in quotes"),
            ("\"at_initial\"", "\"at_inital\"", "phases[1].rules[0].lock", "did you mean at_initial?"),
            ("leverage = 100", "leverage = 100\nbonus = 1", "terms.bonus", "unknown field"),
            ("Europe/Prague", "Europe/Prag", "reset", "is not a zone"),
            ("days = 4", "days = \"4\"", "phases[0].rules[3].days", "invalid type"),
        ] {
            let text = PROGRAM.replace(from, to);
            assert_ne!(text, PROGRAM);
            let faults = Program::from_toml(&text).unwrap_err().faults();
            assert_eq!(faults[0].path, path);
            assert!(faults[0].say.contains(say), "{}", faults[0].say);
        }
        let json = Program::from_toml(PROGRAM).unwrap().canonical_json().unwrap();
        let faults = Program::from_json(&json.replace("\"static\"", "\"statik\"")).unwrap_err().faults();
        assert_eq!(faults[0].path, "phases[0].rules[1].trail");
        assert!(faults[0].say.contains("did you mean static?"), "{}", faults[0].say);
    }

    #[test]
    fn what_is_often_written_wrongly_is_answered_with_what_would_be_right() {
        let funded = "name = \"Funded\"";
        for (from, to, path, say) in [
            (
                "{ amount = \"10000\" }",
                "{ amount = \"1\", percent_of_initial = \"1\" }",
                "phases[1].rules[0].limit",
                "give one of amount, percent_of_initial or percent_of_reference",
            ),
            (
                funded,
                "name = \"Funded\"\npayout = { split = \"80\", min_profit = { amount = \"1\", percent_of_initial = \"1\" } }",
                "phases[1].payout.min_profit",
                "give one of amount, percent_of_initial or percent_of_reference",
            ),
            (
                funded,
                "name = \"Funded\"\npayout = { split = \"80\", cycle = { first_days = 1, next_days = 1, inclusive = true } }",
                "phases[1].payout.cycle",
                "missing field `from`; it may be \"opening\" or \"first_trade\"",
            ),
            (
                funded,
                "name = \"Funded\"\npayout = { split = \"80\", cycle = { from = \"opening\", first_days = 1, next_days = 1, inclusive = true, holidays = [2026-01-19] } }",
                "phases[1].payout.cycle.holidays[0]",
                "write dates and times in quotes",
            ),
            (
                "{ kind = \"min_trading_days\", days = 4 }",
                "{ kind = \"flat_by\", zone = \"Etc/UTC\", time = 15:45:00, weekdays = [\"fri\"], effect = \"close\" }",
                "phases[0].rules[3].time",
                "write dates and times in quotes",
            ),
            (
                "trail = \"static\", ",
                "",
                "phases[0].rules[1]",
                "missing field `trail`; it may be \"static\", \"end_of_day_balance\"",
            ),
            (
                "commission_per_lot = \"3\"",
                "commission_per_lot = \"1,000.00\"",
                "terms.commission_per_lot",
                "without signs or separators",
            ),
            (
                "{ percent_of_initial = \"5\" }",
                "{ percent_of_initial = \"5%\" }",
                "phases[0].rules[0].limit.percent_of_initial",
                "without signs or separators",
            ),
            ("Europe/Prague", "GMT+3", "reset", "did you mean Etc/GMT-3"),
            ("Europe/Prague", "EST5", "reset", "did you mean America/New_York"),
            ("name = \"Two-step 100K\"", "[[examples]]\nid = \"1\"", "examples", "did you mean [[example]]?"),
        ] {
            let text = PROGRAM.replacen(from, to, 1);
            assert_ne!(text, PROGRAM);
            let faults = Program::from_toml(&text).unwrap_err().faults();
            assert_eq!(faults[0].path, path, "{}", faults[0].say);
            assert!(faults[0].say.contains(say), "{}", faults[0].say);
        }
    }

    #[test]
    fn a_split_written_as_a_factor_is_doubted() {
        let split = |split: &str| {
            let with = format!("name = \"Funded\"\npayout = {{ split = \"{split}\" }}");
            Program::from_toml(&PROGRAM.replace("name = \"Funded\"", &with)).unwrap().doubts()
        };
        assert_eq!(split("80"), []);
        let doubts = split("0.8");
        assert_eq!(doubts[0].path, "phases[1].payout.split");
        assert_eq!(doubts[0].say, "0.8 means 0.8 per cent; write 80 for 80 per cent");
    }

    #[test]
    fn a_share_of_the_target_needs_one() {
        let program = PROGRAM.replace(
            "rules = [{ kind = \"max_loss\"",
            "rules = [{ kind = \"consistency\", share = \"50\", of = \"profit_target\" }, { kind = \"max_loss\"",
        );
        let faults = Program::from_toml(&program).unwrap_err().faults();
        assert_eq!(faults[0].path, "phases[1].rules[0].of");
    }
}
