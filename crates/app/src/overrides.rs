//! Another rule for one account: decided by hand, with a reason, by somebody who does not own it.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use engine::{Act, Command, Key, Refusal};
use kernel::{AccountId, FirmId, PersonId, RequestId, Timestamp};
use rules::{Program, Rule};

use crate::trading::{Desk, Origin};
use crate::{AppError, Context, FieldError, Permission};

/// The longest reason, in characters.
pub const MOST_REASON: usize = 500;

/// What is to hold for an account.
#[derive(Debug, Clone)]
pub struct NewOverride {
    /// The account.
    pub account: AccountId,
    /// The rule's place in the account's phase, from 0.
    pub place: u32,
    /// The rule that holds from now on, of the same kind; the program's own again if none.
    pub rule: Option<Rule>,
    /// Why, for the trader to read.
    pub reason: String,
}

/// An account as far as overriding needs it.
#[derive(Debug, Clone)]
pub struct Owned {
    /// Its owner.
    pub owner: PersonId,
    /// The version it was bought with.
    pub program: Arc<Program>,
    /// Its phase, from 0.
    pub phase: usize,
}

/// A stored decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overridden {
    /// When.
    pub at: Timestamp,
    /// The rule's place in the phase, from 0.
    pub place: usize,
    /// The rule that held from then on; the program's own again if none.
    pub rule: Option<Rule>,
    /// Why.
    pub reason: String,
    /// Who decided it.
    pub by: PersonId,
    /// Their name.
    pub by_name: String,
}

/// A decision in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Told {
    /// As it is stored.
    pub stored: Overridden,
    /// The rule's kind.
    pub kind: &'static str,
    /// What held before.
    pub before: String,
    /// What held from then on.
    pub after: String,
}

/// What is stored about overrides.
#[async_trait]
pub trait OverrideStore: Send + Sync {
    /// An account of the firm.
    async fn owned(&self, firm: FirmId, account: AccountId) -> Result<Option<Owned>, AppError>;
    /// Everything decided about an account, the oldest first.
    async fn overrides(&self, firm: FirmId, account: AccountId) -> Result<Vec<Overridden>, AppError>;
}

/// The use cases of overrides.
pub struct Overrides {
    store: Arc<dyn OverrideStore>,
    desk: Desk,
}

impl fmt::Debug for Overrides {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Overrides").finish_non_exhaustive()
    }
}

impl Overrides {
    /// Over a store and a desk.
    pub fn new(store: Arc<dyn OverrideStore>, desk: Desk) -> Self {
        Self { store, desk }
    }

    /// Lets another rule hold for an account, once for a key. Nobody decides about an account of their own.
    pub async fn set(&self, context: &Context, key: &Key, new: NewOverride) -> Result<(), AppError> {
        let person = context.demand(Permission::OverrideRules)?.person;
        let NewOverride { account, place, rule, reason } = new;
        let owned = self.owned(context.firm, account).await?;
        if owned.owner == person {
            let say = "Nobody changes the rules of an account of their own.";
            return Err(AppError::refused("forbidden", say));
        }
        let reason = reason.trim().to_owned();
        let mut faults = rule.as_ref().map(rule_faults).unwrap_or_default();
        if !(1..=MOST_REASON).contains(&reason.chars().count()) {
            let say = format!("Say why in 1 to {MOST_REASON} characters; the trader reads it.");
            faults.push(FieldError { pointer: "/reason".to_owned(), code: "validation_failed", say });
        }
        if !faults.is_empty() {
            return Err(AppError::Invalid(faults));
        }
        // Keys share one room with the trader's: this one is the decider's alone.
        let key = RequestId::derived(&[b"override", person.uuid().as_bytes(), key.as_str().as_bytes()]);
        let key = Key::parse(&format!("override-{key}"));
        let key = key.ok_or_else(|| AppError::bug("naming a command")("not a key".into()))?;
        let act = Act::Override { rule: place, to: rule.map(Box::new), reason, by: person };
        let origin = Origin { person: Some(person), request: Some(context.request) };
        let submitted = self.desk.submit(Command { account, key, act }, origin).await?;
        match submitted.outcome {
            Ok(_) => Ok(()),
            Err(Refusal::OverrideInvalid) => {
                Err(AppError::refused(Refusal::OverrideInvalid.code(), no_such_rule(&owned, place)))
            }
            Err(refusal) => Err(AppError::refused(refusal.code(), format!("Refused: {refusal}."))),
        }
    }

    /// Everything decided about an account, the newest first, in words. Who may look at the account is asked by
    /// whoever calls.
    pub async fn told(&self, firm: FirmId, account: AccountId) -> Result<Vec<Told>, AppError> {
        let owned = self.owned(firm, account).await?;
        let decided = self.store.overrides(firm, account).await?;
        Ok(in_words(&owned, decided))
    }

    async fn owned(&self, firm: FirmId, account: AccountId) -> Result<Owned, AppError> {
        self.store.owned(firm, account).await?.ok_or(AppError::NotFound("account"))
    }
}

fn rule_faults(rule: &Rule) -> Vec<FieldError> {
    let faults = rule.check().err().unwrap_or_default();
    let field = |fault: rules::Invalid| FieldError {
        pointer: format!("/rule/{}", fault.path.replace('.', "/")),
        code: "validation_failed",
        say: fault.say,
    };
    faults.into_iter().map(field).collect()
}

fn no_such_rule(owned: &Owned, place: u32) -> String {
    let rules = owned.program.phases.get(owned.phase).map(|phase| phase.rules.as_slice()).unwrap_or_default();
    match usize::try_from(place).ok().and_then(|place| rules.get(place)) {
        Some(own) => {
            format!(
                "Rule {place} of the account's phase is of the kind {}; give one of that kind.",
                own.kind()
            )
        }
        None => format!("The account's phase has {} rule(s), numbered from 0.", rules.len()),
    }
}

/// Each decision with what held before it; the newest first.
fn in_words(owned: &Owned, decided: Vec<Overridden>) -> Vec<Told> {
    let words = owned.program.words();
    let mut phase = owned.program.phases.get(owned.phase).cloned();
    let own = phase.clone();
    let mut told = Vec::with_capacity(decided.len());
    for stored in decided {
        let own = own.as_ref().and_then(|phase| phase.rules.get(stored.place));
        let holds = phase.as_mut().and_then(|phase| phase.rules.get_mut(stored.place));
        // The engine takes no override of a place that the phase does not have.
        let (Some(own), Some(holds)) = (own, holds) else { continue };
        let after = stored.rule.clone().unwrap_or_else(|| own.clone());
        let before = std::mem::replace(holds, after);
        let (before, after) = (before.sentence(&words), holds.sentence(&words));
        told.push(Told { kind: own.kind(), before, after, stored });
    }
    told.reverse();
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(percent: &str) -> Rule {
        let text = format!(
            r#"{{ "kind": "max_loss", "trail": "static", "limit": {{ "percent_of_initial": "{percent}" }}, "breach": "below" }}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn every_decision_says_what_it_replaced() {
        let program = r#"
            name = "One"
            currency = "USD"
            initial_balance = "1000"
            reset = { zone = "Etc/UTC", time = "00:00" }
            phases = [{ name = "Only", rules = [
                { kind = "max_loss", trail = "static", limit = { percent_of_initial = "10" }, breach = "below" }] }]
            [terms]
            instruments = ["EURUSD"]
            leverage = 30
            commission_per_lot = "0"
            stop_out = "50"
        "#;
        let program = Arc::new(Program::from_toml(program).unwrap());
        let by = PersonId::derived(&[b"somebody"]);
        let owned = Owned { owner: by, program, phase: 0 };
        let stored = |rule| Overridden {
            at: Timestamp::EPOCH,
            place: 0,
            rule,
            reason: "because".to_owned(),
            by,
            by_name: "Ada".to_owned(),
        };
        let told = in_words(&owned, vec![stored(Some(rule("12"))), stored(Some(rule("8"))), stored(None)]);
        let said: Vec<_> = told
            .iter()
            .map(|it| [&it.before, &it.after].map(|text| text.split('%').next().unwrap().to_owned()))
            .collect();
        let percents = |text: &str| text.rsplit(' ').next().unwrap().to_owned();
        let said: Vec<_> = said.iter().map(|[before, after]| (percents(before), percents(after))).collect();
        let expected = [("8", "10"), ("12", "8"), ("10", "12")];
        assert_eq!(said, expected.map(|(before, after)| (before.to_owned(), after.to_owned())));
        assert!(no_such_rule(&owned, 0).contains("max_loss") && no_such_rule(&owned, 7).contains("1 rule"));
    }
}
