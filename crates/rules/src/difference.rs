//! What distinguishes two programs, in sentences.

use crate::{Phase, Program};

/// One difference: where, what held before and what holds after.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// Such as `Evaluation` or `Terms`.
    pub place: String,
    /// The sentence before; none for what is new.
    pub before: Option<String>,
    /// The sentence after; none for what is gone.
    pub after: Option<String>,
}

impl std::fmt::Display for Change {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => {
                write!(formatter, "{}: before: {before} Now: {after}", self.place)
            }
            (None, Some(after)) => write!(formatter, "{}: new: {after}", self.place),
            (Some(before), None) => write!(formatter, "{}: no longer: {before}", self.place),
            (None, None) => write!(formatter, "{}: nothing", self.place),
        }
    }
}

/// What distinguishes a program from the one before it. Empty if both mean the same in every sentence.
pub fn difference(before: &Program, after: &Program) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut compare = |place: &str, before: Option<String>, after: Option<String>| {
        if before != after {
            changes.push(Change { place: place.to_owned(), before, after });
        }
    };
    for (before, after) in terms(before).into_iter().zip(terms(after)) {
        compare("Terms", before, after);
    }
    let count = before.phases.len().max(after.phases.len());
    for number in 0..count {
        let sides = [(before, before.phases.get(number)), (after, after.phases.get(number))];
        let [old, new] =
            sides.map(|(program, phase)| phase.map_or_else(Vec::new, |phase| lines(program, phase)));
        let name = |program: &Program| program.phases.get(number).map(|phase| phase.name.clone());
        let place = name(after).or_else(|| name(before)).unwrap_or_default();
        let sentence = |program: &Program| name(program).map(|name| named(&name));
        compare(&place, sentence(before), sentence(after));
        let mut new = new;
        for (key, sentence) in old {
            // Of several with one key the first that is left is its counterpart; the same sentence comes first.
            let same = new.iter().position(|(other, text)| *other == key && *text == sentence);
            let counterpart = same.or_else(|| new.iter().position(|(other, _)| *other == key));
            let after = counterpart.map(|place| new.remove(place).1);
            compare(&place, Some(sentence), after);
        }
        for (_, sentence) in new {
            compare(&place, None, Some(sentence));
        }
    }
    changes
}

fn named(name: &str) -> String {
    format!("The phase is called {name}.")
}

fn terms(program: &Program) -> Vec<Option<String>> {
    let words = program.words();
    let terms = &program.terms;
    let symbols: Vec<_> = terms.instruments.iter().map(|symbol| symbol.as_str()).collect();
    let counting = program.counting.as_ref();
    vec![
        Some(format!("The program is called {}.", program.name)),
        Some(format!("Every phase opens with {}.", words.amount(program.initial_balance))),
        Some(format!("The trading day ends at {} {}.", program.reset.time(), program.reset.zone())),
        counting.map(|clock| format!("Days are counted by {} {}.", clock.time(), clock.zone())),
        Some(format!("Instruments: {}.", symbols.join(", "))),
        Some(format!("Leverage is 1:{}.", terms.leverage)),
        Some(format!("Commission is {} for each lot and side.", words.amount(terms.commission_per_lot))),
        Some(format!("Positions are closed while equity is below {}% of the margin.", terms.stop_out)),
        program.merge.map(|merge| merge.sentence().to_owned()),
    ]
}

/// The sentences of a phase, each with the word that finds its counterpart.
fn lines(program: &Program, phase: &Phase) -> Vec<(String, String)> {
    let words = program.words();
    let mut lines: Vec<_> =
        phase.rules.iter().map(|rule| (rule.kind().to_owned(), rule.sentence(&words))).collect();
    if let Some(payout) = &phase.payout {
        for sentence in payout.sentences(&words) {
            // The first words of a part of the policy are the same whatever its numbers are.
            let key: Vec<_> = sentence
                .split(' ')
                .filter(|word| !word.contains(|c: char| c.is_ascii_digit()))
                .take(4)
                .collect();
            lines.push((format!("payout {}", key.join(" ")), sentence));
        }
    }
    lines.extend(phase.scaling.iter().map(|scaling| ("scaling".to_owned(), scaling.sentence(&words))));
    if phase.promotion == crate::Promotion::OnRequest {
        let sentence = "The next phase must be asked for.".to_owned();
        lines.push(("promotion".to_owned(), sentence));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    const OLD: &str = r#"
        name = "Two-step"
        currency = "USD"
        initial_balance = "100000"
        reset = { zone = "Europe/Prague", time = "00:00" }
        terms = { instruments = ["EURUSD"], leverage = 100, commission_per_lot = "3", stop_out = "50" }
        [[phases]]
        name = "Evaluation"
        rules = [
          { kind = "daily_loss", reference = "balance", limit = { percent_of_initial = "5" }, breach = "below" },
          { kind = "profit_target", limit = { percent_of_initial = "10" }, flat = true },
        ]
        [[phases]]
        name = "Funded"
        rules = []
        payout = { split = "80", flat = true }
    "#;

    fn changes(replace: &[(&str, &str)]) -> Vec<String> {
        let old = Program::from_toml(OLD).unwrap();
        let text = replace.iter().fold(OLD.to_owned(), |text, (from, to)| text.replace(from, to));
        assert_ne!(text, OLD);
        difference(&old, &Program::from_toml(&text).unwrap()).iter().map(Change::to_string).collect()
    }

    #[test]
    fn a_change_is_told_with_what_held_before() {
        assert_eq!(
            changes(&[("split = \"80\"", "split = \"90\""), ("leverage = 100", "leverage = 50")]),
            [
                "Terms: before: Leverage is 1:100. Now: Leverage is 1:50.",
                "Funded: before: You get 80% of the profit over the initial balance that you take out. Now: You get 90% of \
                 the profit over the initial balance that you take out.",
            ]
        );
    }

    #[test]
    fn what_is_new_and_what_is_gone_is_told() {
        let told = changes(&[
            ("flat = true }\n    ", "min_amount = \"50\" }\n    "),
            ("rules = []", "rules = [{ kind = \"inactivity\", days = 30 }]"),
        ]);
        assert_eq!(
            told,
            [
                "Funded: no longer: No position may be open.",
                "Funded: new: The account ends after 30 days without opening a position.",
                "Funded: new: At least 50.00 USD is taken out.",
            ]
        );
    }
}
