//! A program: phases of rules, and the terms of trading.

use std::fmt;

use kernel::{Amount, Currency, DecimalError, Percent, ResetClock, Symbol};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::calendar_limit::CalendarLimit;
use crate::daily_loss::DailyLoss;
use crate::inactivity::Inactivity;
use crate::max_loss::MaxLoss;
use crate::min_trading_days::MinTradingDays;
use crate::profit_target::ProfitTarget;
use crate::{calendar_limit, daily_loss, inactivity, max_loss, min_trading_days, profit_target};

/// What a trader buys: immutable, named by the hash of its content, kept by an account for life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Program {
    /// Shown to traders.
    pub name: String,
    /// Currency of the account.
    pub currency: Currency,
    /// Balance that every phase opens with.
    pub initial_balance: Amount,
    /// When the trading day ends.
    pub reset: ResetClock,
    /// The terms of trading.
    pub terms: Terms,
    /// From the first evaluation to the funded account. The last has no profit target or ends the challenge when
    /// passed.
    pub phases: Vec<Phase>,
}

/// The terms of trading, the same in every phase.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// Shown to traders.
    pub name: String,
    /// In the order in which they are explained and, at equal height, named as the cause.
    pub rules: Vec<Rule>,
}

/// One rule. The words are the field's; each kind has its own file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Rule {
    /// Loss within a trading day.
    DailyLoss(DailyLoss),
    /// Loss in all.
    MaxLoss(MaxLoss),
    /// Profit to pass.
    ProfitTarget(ProfitTarget),
    /// Days to pass.
    MinTradingDays(MinTradingDays),
    /// Rest allowed.
    Inactivity(Inactivity),
    /// Time allowed.
    CalendarLimit(CalendarLimit),
}

impl Rule {
    /// The kind's word in data, API and receipts.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::DailyLoss(_) => "daily_loss",
            Self::MaxLoss(_) => "max_loss",
            Self::ProfitTarget(_) => "profit_target",
            Self::MinTradingDays(_) => "min_trading_days",
            Self::Inactivity(_) => "inactivity",
            Self::CalendarLimit(_) => "calendar_limit",
        }
    }

    /// What the rule means, for a trader.
    pub fn sentence(&self, initial: Amount, currency: Currency) -> String {
        match self {
            Self::DailyLoss(rule) => daily_loss::sentence(rule, initial, currency),
            Self::MaxLoss(rule) => max_loss::sentence(rule, initial, currency),
            Self::ProfitTarget(rule) => profit_target::sentence(rule, initial, currency),
            Self::MinTradingDays(rule) => min_trading_days::sentence(rule),
            Self::Inactivity(rule) => inactivity::sentence(rule),
            Self::CalendarLimit(rule) => calendar_limit::sentence(rule),
        }
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
    /// Not JSON of the right shape.
    #[error("reading a program")]
    Unreadable(#[source] serde_json::Error),
    /// Well formed, but it makes no sense.
    #[error("a program with {} fault(s): {}", .0.len(), summary(.0))]
    Invalid(Vec<Invalid>),
    /// A number in it is not exact.
    #[error("a number in a program")]
    Number(#[from] DecimalError),
}

fn summary(faults: &[Invalid]) -> String {
    let lines: Vec<_> = faults.iter().map(|fault| format!("{}: {}", fault.path, fault.say)).collect();
    lines.join("; ")
}

impl Program {
    /// Reads and checks a program's JSON.
    pub fn from_json(text: &str) -> Result<Self, ProgramError> {
        let program: Self = serde_json::from_str(text).map_err(ProgramError::Unreadable)?;
        program.check()?;
        Ok(program)
    }

    /// The canonical JSON: fields in the order of this type, numbers in their one text form, no spaces.
    pub fn canonical_json(&self) -> Result<String, ProgramError> {
        serde_json::to_string(self).map_err(ProgramError::Unreadable)
    }

    /// The name of this version.
    pub fn version(&self) -> Result<VersionHash, ProgramError> {
        Ok(VersionHash(hex::encode(Sha256::digest(self.canonical_json()?))))
    }

    /// Everything wrong with it at once.
    pub fn check(&self) -> Result<(), ProgramError> {
        let mut faults = Vec::new();
        let mut fault = |path: String, say: &str| faults.push(Invalid { path, say: say.to_owned() });
        if self.name.trim().is_empty() {
            fault("name".to_owned(), "give the program a name");
        }
        if self.initial_balance <= Amount::ZERO || self.initial_balance > MOST_INITIAL_BALANCE {
            fault("initial_balance".to_owned(), "must be above 0 and at most 1000000000");
        }
        if self.terms.instruments.is_empty() {
            fault("terms.instruments".to_owned(), "name at least one instrument");
        }
        if self.terms.leverage == 0 || self.terms.leverage > 1_000 {
            fault("terms.leverage".to_owned(), "must be from 1 to 1000");
        }
        if self.terms.commission_per_lot.is_negative() || self.terms.commission_per_lot > MOST_COMMISSION {
            fault("terms.commission_per_lot".to_owned(), "must be from 0 to 10000");
        }
        if self.terms.stop_out.millionths() < 0 || self.terms.stop_out > Percent::WHOLE {
            fault("terms.stop_out".to_owned(), "must be from 0 to 100 per cent");
        }
        if self.phases.is_empty() {
            fault("phases".to_owned(), "add at least one phase");
        }
        for (number, phase) in self.phases.iter().enumerate() {
            if phase.name.trim().is_empty() {
                fault(format!("phases[{number}].name"), "give the phase a name");
            }
            let targets = phase.rules.iter().filter(|rule| matches!(rule, Rule::ProfitTarget(_))).count();
            if targets > 1 {
                fault(format!("phases[{number}].rules"), "have at most one profit target");
            }
            if targets == 0 && number.saturating_add(1) < self.phases.len() {
                fault(
                    format!("phases[{number}].rules"),
                    "a phase before the last needs a profit target to be passed",
                );
            }
            for (index, rule) in phase.rules.iter().enumerate() {
                let path = format!("phases[{number}].rules[{index}]");
                match rule {
                    Rule::DailyLoss(DailyLoss { limit, .. })
                    | Rule::MaxLoss(MaxLoss { limit, .. })
                    | Rule::ProfitTarget(ProfitTarget { limit, .. }) => {
                        if !limit.is_sensible() {
                            fault(
                                format!("{path}.limit"),
                                "must be above 0, a share at most 100 per cent, an amount at most 1000000000",
                            );
                        }
                    }
                    Rule::MinTradingDays(MinTradingDays { days })
                    | Rule::Inactivity(Inactivity { days })
                    | Rule::CalendarLimit(CalendarLimit { days }) => {
                        if !(1..=3_650).contains(days) {
                            fault(format!("{path}.days"), "must be from 1 to 3650");
                        }
                    }
                }
            }
        }
        if faults.is_empty() { Ok(()) } else { Err(ProgramError::Invalid(faults)) }
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
        let say = |rule: &Rule| rule.sentence(program.initial_balance, program.currency);
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
        program.phases[1].rules.push(Rule::Inactivity(Inactivity { days: 0 }));
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
}
