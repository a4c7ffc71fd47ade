//! Examples of a program: what happens to an account, and what a firm says must come of it.
//!
//! A file of examples is TOML (or JSON of the same shape) and holds a program, timelines and expectations; the guide
//! `docs/guides/write-a-program.md` explains it. [`check`] runs a file and compares every expectation.

mod expect;
mod timeline;

use std::collections::BTreeMap;

use kernel::{Amount, Currency, Lots, ResetClock, Side, Symbol};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use expect::Checked;
pub use timeline::{Status, Timeline};

use crate::merge::{Merge, Merged};
use crate::program::{Invalid, read_json, read_toml};
use crate::{
    CloseReason, NewsEvent, Payout, Phase, Program, ProgramError, Promotion, Rule, RuleError, Scaling, Terms,
    is_default,
};

/// A file of examples.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExampleFile {
    /// The firm whose page shows the examples; each may name its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firm: Option<String>,
    /// The address of that page; each may name its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The program of all examples; each may name what differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<ExampleProgram>,
    /// The examples.
    #[serde(rename = "example")]
    pub examples: Vec<Example>,
}

/// One example.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Example {
    /// Its name, unique in the file.
    pub id: String,
    /// The firm.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub firm: Option<String>,
    /// The address of the page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The kind of rule that the example is about, such as `daily_loss.balance_based.fixed_amount`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub family: Option<String>,
    /// What else is to be known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// Which reading of a page that contradicts itself this is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reading: Option<String>,
    /// Whether numbers were added to what the page prints.
    #[serde(default, skip_serializing_if = "is_default")]
    pub some_added: bool,
    /// The program, or what differs from the file's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub program: Option<ExampleProgram>,
    /// The firm's calendar of releases.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub calendar: Vec<NewsEvent>,
    /// When the account opens, as in `at`; the start of Monday, 5 January 2026, if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub start: Option<String>,
    /// Which phase the account is in, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub phase: Option<usize>,
    /// What happens, in order.
    #[serde(rename = "step", default, skip_serializing_if = "Vec::is_empty")]
    pub steps: Vec<Step>,
}

/// The program of an example: a whole one, a file beside the examples, or only what matters. What an example leaves out
/// is taken from the program of its file, and what that leaves out too is filled in: USD, 100000, a reset at midnight
/// UTC, one phase with the rules given here.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExampleProgram {
    /// A program's file, its path seen from the file of the examples. Nothing else may be given then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// See [`Program`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// See [`Program`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
    /// See [`Program`]; 100000 if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial_balance: Option<Amount>,
    /// See [`Program`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reset: Option<ResetClock>,
    /// See [`Program`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub counting: Option<ResetClock>,
    /// See [`Program`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub terms: Option<Terms>,
    /// The rules of the only phase.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub rules: Vec<Rule>,
    /// How the only phase is passed on from.
    #[serde(default, skip_serializing_if = "is_default")]
    pub promotion: Promotion,
    /// The payout policy of the only phase.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payout: Option<Payout>,
    /// How the account of the only phase grows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scaling: Option<Scaling>,
    /// See [`Program`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merge: Option<Merge>,
    /// See [`Program`]; in place of rules, payout and scaling.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub phases: Vec<Phase>,
}

/// One step: the clock moves first, then what is given happens in the order of these fields, then the expectations are
/// compared. Without `at`, `after` or `reset` a step happens one minute after the one before it, the first at the start.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[expect(clippy::struct_excessive_bools, reason = "each is something that may happen in a step")]
pub struct Step {
    /// The day before ended with this balance (and this equity, if another), however that came about: nothing is judged
    /// on the way there. The clock moves to the next reset, or to `at`, and the verdict is taken at the reset.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub day_start: Option<DayEnd>,
    /// Moves the clock to an instant: RFC 3339, or `2026-01-05 14:30` in the reset zone, or a date, meaning the start of
    /// that day, or a day of the week, `Thu` or `Thu 14:30`, meaning the next noon or time, or a release of the calendar,
    /// `US payrolls -90s`. Every reset on the way happens with what the account is then worth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Moves the clock on, such as `90s`, `5m`, `2h`, `3d`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Moves the clock to the next reset.
    #[serde(default, skip_serializing_if = "is_default")]
    pub reset: bool,
    /// An order is placed.
    #[serde(default, skip_serializing_if = "is_default")]
    pub order: bool,
    /// So many orders work from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_orders: Option<u32>,
    /// Positions open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open: Vec<OpenStep>,
    /// Stop losses are set, moved or taken away.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stop: Vec<StopStep>,
    /// What open positions would bring now, by their names.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub open_profit: BTreeMap<String, Amount>,
    /// Positions, or parts of them, close.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub close: Vec<CloseStep>,
    /// Positions open, and close in the same step.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub trade: Vec<TradeStep>,
    /// Results are closed: the balance moves by so much, and so does the equity.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub closed: Option<Amount>,
    /// The balance is now so much. What it moved by counts as closed on this day. The equity follows unless given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<Amount>,
    /// Open results are now so much: the equity is the balance and this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub floating: Option<Amount>,
    /// The equity is now so much.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub equity: Option<Amount>,
    /// Balances one after the other, a minute apart, flat.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub balances: Vec<Amount>,
    /// Equities one after the other, a minute apart.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub equities: Vec<Amount>,
    /// Days one after the other, each with one trade that closes with this result, and then a reset; `none` is a day
    /// without a trade. Such a trade has a stop loss where it lost.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub day_profits: Vec<String>,
    /// Days one after the other, each ending with this balance, `"50500"`, or with positions open,
    /// `{ balance = "50500", equity = "50300" }`, and then a reset.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub day_ends: Vec<DayEnd>,
    /// The account is looked through, as before a payout.
    #[serde(default, skip_serializing_if = "is_default")]
    pub review: bool,
    /// Money is taken out: an amount, or `all` for the most that is allowed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub payout: Option<String>,
    /// The account grows by so many steps of its scaling plan, each refused while the plan does not allow it.
    #[serde(default, skip_serializing_if = "is_default")]
    pub grow: u32,
    /// The trader asks for the next phase.
    #[serde(default, skip_serializing_if = "is_default")]
    pub promote: bool,
    /// Accounts are merged.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub merge: Vec<Merged>,
    /// What must be true then, by name: `daily_loss.floor = 95000`, `verdict = "ok"`.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub expect: BTreeMap<String, serde_json::Value>,
}

/// A position that opens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenStep {
    /// Its name in this example.
    pub position: String,
    /// What; EURUSD if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<Symbol>,
    /// Which way; buy if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// How much; one lot if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lots: Option<Lots>,
    /// Units of the underlying in all; as many as lots if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub units: Option<Amount>,
    /// Opening price in the account's currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub price: Option<Amount>,
    /// Price of the stop loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<Amount>,
    /// The loss at the stop loss, where it is known without prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<Amount>,
    /// By a working order that fired.
    #[serde(default, skip_serializing_if = "is_default")]
    pub pending: bool,
    /// Commission charged.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub commission: Option<Amount>,
}

/// A stop loss that is set, moved or taken away.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StopStep {
    /// The position's name.
    pub position: String,
    /// The loss at it; none takes it away.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<Amount>,
}

/// A position, or a part of it, that closes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CloseStep {
    /// The position's name.
    pub position: String,
    /// How much of it; all that is left if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lots: Option<Lots>,
    /// What it brought, after commission.
    pub profit: Amount,
    /// Why; the trader if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<CloseReason>,
}

/// A position that opens and closes in one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TradeStep {
    /// What; EURUSD if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub symbol: Option<Symbol>,
    /// Which way; buy if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub side: Option<Side>,
    /// How much; one lot if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lots: Option<Lots>,
    /// How long it is held, such as `10s`; not at all if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub held: Option<String>,
    /// The loss at its stop loss.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<Amount>,
    /// What it brought, after commission.
    pub profit: Amount,
    /// How often the same trade is made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

/// What an account is worth at the end of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged, expecting = "a balance such as \"50500\", or { balance = \"50500\", equity = \"50300\" }")]
pub enum DayEnd {
    /// The balance, nothing open.
    Flat(Amount),
    /// With positions open.
    Open(OpenDayEnd),
}

/// The end of a day with positions open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OpenDayEnd {
    /// The balance; as before if not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub balance: Option<Amount>,
    /// The equity.
    pub equity: Amount,
}

impl DayEnd {
    /// The balance and the equity, for an account with a balance of `before`.
    pub(crate) fn worth(self, before: Amount) -> (Amount, Amount) {
        match self {
            Self::Flat(balance) => (balance, balance),
            Self::Open(end) => (end.balance.unwrap_or(before), end.equity),
        }
    }
}

/// Why an example cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ExampleError {
    /// Its program cannot be read or makes no sense.
    #[error("example {example}: its program")]
    Program {
        /// The example.
        example: String,
        /// Why.
        #[source]
        source: ProgramError,
    },
    /// Something in a step makes no sense.
    #[error("example {example}, step {step}: {say}")]
    Step {
        /// The example.
        example: String,
        /// The step, from 1; 0 is the example itself.
        step: usize,
        /// What is wrong and what would be right.
        say: String,
    },
    /// A rule cannot answer.
    #[error("example {example}, step {step}: {what}")]
    Rule {
        /// The example.
        example: String,
        /// The step, from 1.
        step: usize,
        /// What of the step, or which rule.
        what: String,
        /// Why.
        #[source]
        source: RuleError,
    },
}

/// Reads a program's file that an example names.
pub type Load<'a> = &'a dyn Fn(&str) -> Result<Program, ProgramError>;

impl ExampleFile {
    /// Reads a file of examples in TOML.
    pub fn from_toml(text: &str) -> Result<Self, ProgramError> {
        read_toml(text)
    }

    /// Reads a file of examples in JSON.
    pub fn from_json(text: &str) -> Result<Self, ProgramError> {
        read_json(text)
    }

    /// The JSON Schema of such files.
    pub fn schema() -> serde_json::Value {
        schemars::schema_for!(Self).to_value()
    }

    /// The program of an example, with everything filled in.
    pub fn program_of(&self, example: &Example, load: Load<'_>) -> Result<Program, ProgramError> {
        let shared = self.program.clone().unwrap_or_default();
        match example.program.clone() {
            Some(own) => own.over(shared).fill(load),
            None => shared.fill(load),
        }
    }
}

impl ExampleProgram {
    /// This program, and of another one what this one leaves out. A file of its own stands alone.
    fn over(self, other: Self) -> Self {
        if self.file.is_some() {
            return self;
        }
        let mut other = other;
        if !self.phases.is_empty() {
            (other.rules, other.payout, other.scaling) = (Vec::new(), None, None);
        } else if !self.rules.is_empty() || self.payout.is_some() || self.scaling.is_some() {
            other.phases.clear();
        }
        let own = |rules: Vec<Rule>, others: Vec<Rule>| if rules.is_empty() { others } else { rules };
        Self {
            file: other.file,
            name: self.name.or(other.name),
            currency: self.currency.or(other.currency),
            initial_balance: self.initial_balance.or(other.initial_balance),
            reset: self.reset.or(other.reset),
            counting: self.counting.or(other.counting),
            terms: self.terms.or(other.terms),
            rules: own(self.rules, other.rules),
            promotion: if is_default(&self.promotion) { other.promotion } else { self.promotion },
            payout: self.payout.or(other.payout),
            scaling: self.scaling.or(other.scaling),
            merge: self.merge.or(other.merge),
            phases: if self.phases.is_empty() { other.phases } else { self.phases },
        }
    }

    fn fill(self, load: Load<'_>) -> Result<Program, ProgramError> {
        if let Some(file) = &self.file {
            if self != (Self { file: Some(file.clone()), ..Self::default() }) {
                let say = "give either a file or the program itself, in the example and in its file together"
                    .to_owned();
                return Err(ProgramError::Unreadable { path: "program.file".to_owned(), say });
            }
            return load(file);
        }
        if !self.phases.is_empty()
            && (!self.rules.is_empty() || self.payout.is_some() || self.scaling.is_some())
        {
            let say =
                "give either phases, each with its rules, or the rules, payout and scaling of the only phase";
            return Err(ProgramError::Unreadable { path: "program.phases".to_owned(), say: say.to_owned() });
        }
        let own = Phase {
            name: "Account".to_owned(),
            rules: self.rules,
            promotion: self.promotion,
            payout: self.payout,
            scaling: self.scaling,
        };
        let only = self.phases.is_empty();
        let phases = if only { vec![own] } else { self.phases };
        let missing =
            |text: &str, say: &str| ProgramError::Unreadable { path: text.to_owned(), say: say.to_owned() };
        let usd = Currency::parse("USD").map_err(|error| missing("currency", &error.to_string()))?;
        let clock =
            ResetClock::parse("Etc/UTC", "00:00").map_err(|error| missing("reset", &error.to_string()))?;
        let symbol = Symbol::parse("EURUSD").map_err(|error| missing("terms", &error.to_string()))?;
        let program = Program {
            name: self.name.unwrap_or_else(|| "Example".to_owned()),
            currency: self.currency.unwrap_or(usd),
            initial_balance: self.initial_balance.unwrap_or(DEFAULT_BALANCE),
            reset: self.reset.unwrap_or(clock),
            counting: self.counting,
            terms: self.terms.unwrap_or(Terms {
                instruments: vec![symbol],
                leverage: 100,
                commission_per_lot: Amount::ZERO,
                stop_out: kernel::Percent::WHOLE,
            }),
            phases,
            merge: self.merge,
        };
        program.check().map_err(|error| in_example(error, only))?;
        let doubts = program.doubts();
        if !doubts.is_empty() {
            return Err(in_example(ProgramError::Invalid(doubts), only));
        }
        Ok(program)
    }
}

/// Faults with their paths as they are in an example, which may leave out the phase where it is the only one.
fn in_example(error: ProgramError, only: bool) -> ProgramError {
    let ProgramError::Invalid(faults) = error else { return error };
    let named = |fault: Invalid| {
        let path = if only { fault.path.replacen("phases[0].", "", 1) } else { fault.path };
        Invalid { path: format!("program.{path}"), say: fault.say }
    };
    ProgramError::Invalid(faults.into_iter().map(named).collect())
}

const DEFAULT_BALANCE: Amount = Amount::from_micros(100_000_000_000);

/// For the tests of the kinds: every expectation of these examples holds.
#[cfg(test)]
#[track_caller]
pub(crate) fn holds(examples: &str) {
    let file = ExampleFile::from_toml(examples).unwrap_or_else(|error| panic!("{error}"));
    let load: Load<'_> = &|path| panic!("no file {path} here");
    let checked =
        check(&file, load).unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)));
    assert!(!checked.is_empty(), "nothing is expected");
    for it in checked {
        assert!(
            it.holds,
            "{} step {}: {} is {}, not {}",
            it.example, it.step, it.name, it.found, it.expected
        );
    }
}

/// For the tests of the kinds: the settings of a rule that are refused.
#[cfg(test)]
pub(crate) fn refused(rule: &str) -> Vec<String> {
    let rule: Rule = toml::from_str(rule).unwrap_or_else(|error| panic!("{error}"));
    let mut refused = Vec::new();
    rule.faults(&mut |field, _| refused.push(field.to_owned()));
    refused
}

/// Runs every example of a file; one entry for each expectation, in order. The first thing that cannot be done is an error.
pub fn check(file: &ExampleFile, load: Load<'_>) -> Result<Vec<Checked>, ExampleError> {
    run(file, load).into_iter().collect()
}

/// Runs every example of a file; one entry for each expectation, in order, and one for a step that cannot be taken: it
/// ends its example, and the next one goes on.
pub fn run(file: &ExampleFile, load: Load<'_>) -> Vec<Result<Checked, ExampleError>> {
    let mut all = Vec::new();
    for example in &file.examples {
        if let Err(error) = run_one(file, example, load, &mut all) {
            all.push(Err(error));
        }
    }
    all
}

fn run_one(
    file: &ExampleFile,
    example: &Example,
    load: Load<'_>,
    all: &mut Vec<Result<Checked, ExampleError>>,
) -> Result<(), ExampleError> {
    let in_program = |source| ExampleError::Program { example: example.id.clone(), source };
    let program = file.program_of(example, load).map_err(in_program)?;
    let mut timeline = Timeline::open(&program, example)?;
    for step in &example.steps {
        all.extend(timeline.step(&program, example, step)?.into_iter().map(Ok));
    }
    Ok(())
}
