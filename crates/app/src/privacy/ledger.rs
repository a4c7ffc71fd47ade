//! The ledger of erasures: one line of JSON for each, chained by hashes, beside the keys and never in a backup of the database.
//!
//! It is what a restored database is told again: whoever was erased since the backup is erased in it, too. It names ids only.

use kernel::{FirmId, PersonId, Timestamp};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Somebody who was erased, or is about to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Erased {
    /// Whose.
    pub firm: FirmId,
    /// Who.
    pub person: PersonId,
    /// When it was decided.
    pub at: Timestamp,
    /// Who of the firm's people decided; nobody where they asked for themselves.
    pub by: Option<PersonId>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    number: u64,
    at: String,
    firm: FirmId,
    person: PersonId,
    by: Option<PersonId>,
    /// SHA-256 of the line before, without its line feed; zeros before the first.
    previous: String,
}

/// A ledger that cannot be trusted.
#[derive(Debug, thiserror::Error)]
#[error("line {number} of the ledger of erasures {say}")]
pub struct Broken {
    /// From 1.
    pub number: u64,
    /// What is wrong.
    pub say: &'static str,
}

/// A ledger that was read: who is in it, and where the next line follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ledger {
    /// The oldest first.
    pub erased: Vec<Erased>,
    /// How much of the text holds whole lines. What follows was never acknowledged.
    pub whole: usize,
    last: [u8; 32],
}

impl Ledger {
    /// Reads a text. A last line that was cut off is left out; anything else that is wrong is an error.
    pub fn read(text: &str) -> Result<Self, Broken> {
        let mut ledger = Self { erased: Vec::new(), whole: 0, last: [0; 32] };
        let mut number = 0_u64;
        for line in text.split_inclusive('\n') {
            number = number.saturating_add(1);
            let broken = |say| Broken { number, say };
            let Some(line) = line.strip_suffix('\n') else { break };
            let read: Line = serde_json::from_str(line).map_err(|_| broken("cannot be read"))?;
            if read.number != number {
                return Err(broken("has another number: one was removed or added"));
            }
            if read.previous != hex::encode(ledger.last) {
                return Err(broken("does not follow from the one before: one was changed"));
            }
            let at = Timestamp::parse(&read.at).map_err(|_| broken("has no time"))?;
            let Line { firm, person, by, .. } = read;
            ledger.erased.push(Erased { firm, person, at, by });
            ledger.last = Sha256::digest(line).into();
            ledger.whole = ledger.whole.saturating_add(line.len()).saturating_add(1);
        }
        Ok(ledger)
    }

    /// Whether somebody is in it.
    pub fn names(&self, firm: FirmId, person: PersonId) -> bool {
        self.erased.iter().any(|erased| erased.firm == firm && erased.person == person)
    }

    /// The line that follows, with its line feed.
    pub fn next(&self, erased: &Erased) -> Result<String, serde_json::Error> {
        let number = u64::try_from(self.erased.len()).unwrap_or(u64::MAX).saturating_add(1);
        let Erased { firm, person, at, by } = *erased;
        let previous = hex::encode(self.last);
        let line = Line { number, at: at.to_string(), firm, person, by, previous };
        Ok(format!("{}\n", serde_json::to_string(&line)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn erased(name: &str) -> Erased {
        Erased {
            firm: FirmId::derived(&[b"firm"]),
            person: PersonId::derived(&[name.as_bytes()]),
            at: Timestamp::parse("2026-01-05T10:00:00.123456Z").unwrap(),
            by: None,
        }
    }

    fn three() -> String {
        let mut text = String::new();
        for name in ["ann", "bob", "eve"] {
            let ledger = Ledger::read(&text).unwrap();
            text.push_str(&ledger.next(&erased(name)).unwrap());
        }
        text
    }

    #[test]
    fn what_is_written_is_read_in_its_order() {
        let ledger = Ledger::read(&three()).unwrap();
        assert_eq!(ledger.erased, [erased("ann"), erased("bob"), erased("eve")]);
        assert!(ledger.names(erased("bob").firm, erased("bob").person));
        assert!(!ledger.names(erased("bob").firm, erased("joe").person));
        assert_eq!(Ledger::read("").unwrap().erased, []);
    }

    #[test]
    fn a_line_that_was_cut_off_is_not_there() {
        let text = three();
        let (two, _) = text.split_at(text.trim_end().rfind('\n').unwrap() + 1);
        for length in two.len()..text.len() {
            let ledger = Ledger::read(&text[..length]).unwrap();
            assert_eq!((ledger.erased.len(), ledger.whole), (2, two.len()));
        }
    }

    #[test]
    fn lines_that_were_changed_removed_added_or_moved_are_found() {
        let text = three();
        let lines: Vec<&str> = text.lines().collect();
        let (one, two, three) = (lines[0], lines[1], lines[2]);
        let other = one.replace(&erased("ann").person.to_string(), &erased("joe").person.to_string());
        for (altered, number) in [
            (vec![two, three], 1),
            (vec![one, three], 2),
            (vec![one, one, two, three], 2),
            (vec![two, one, three], 1),
            (vec![&other, two, three], 2),
            (vec![one, "", two, three], 2),
        ] {
            let text = altered.join("\n") + "\n";
            assert_eq!(Ledger::read(&text).unwrap_err().number, number, "{text}");
        }
    }
}
