//! Counting the tests that really ran, from what the test programs print.

/// Tests that ran.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) passed: u64,
    pub(crate) failed: u64,
}

impl Tally {
    pub(crate) fn add(&mut self, other: Self) {
        self.passed = self.passed.saturating_add(other.passed);
        self.failed = self.failed.saturating_add(other.failed);
    }

    /// A check that is one test by itself.
    pub(crate) const ONE: Self = Self { passed: 1, failed: 0 };
}

/// `test result: ok. 7 passed; 0 failed; 0 ignored; ...` of cargo.
pub(crate) fn cargo(line: &str) -> Tally {
    line.trim().strip_prefix("test result: ").map(counts).unwrap_or_default()
}

/// `Tests  1 failed | 12 passed (13)` of vitest.
pub(crate) fn vitest(line: &str) -> Tally {
    line.trim().strip_prefix("Tests ").map(counts).unwrap_or_default()
}

/// `ok    the newcomer signs up` and `FAIL  the newcomer signs up` of the journey.
pub(crate) fn journey(line: &str) -> Tally {
    match line.split_whitespace().next() {
        Some("ok") => Tally::ONE,
        Some("FAIL") => Tally { passed: 0, failed: 1 },
        _ => Tally::default(),
    }
}

/// Reads "N passed" and "N failed" wherever they stand.
fn counts(text: &str) -> Tally {
    let words: Vec<&str> = text.split_whitespace().collect();
    let mut tally = Tally::default();
    for pair in words.windows(2) {
        let [number, word] = pair else { continue };
        let Ok(number) = number.parse::<u64>() else { continue };
        match word.trim_end_matches([';', ',']) {
            "passed" => tally.passed = tally.passed.saturating_add(number),
            "failed" => tally.failed = tally.failed.saturating_add(number),
            _ => {}
        }
    }
    tally
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_what_cargo_vitest_and_the_journey_print() {
        let line = "test result: FAILED. 10 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 6.51s";
        assert_eq!(cargo(line), Tally { passed: 10, failed: 1 });
        assert_eq!(cargo("test a ... ok"), Tally::default());
        assert_eq!(vitest("      Tests  1 failed | 12 passed (13)"), Tally { passed: 12, failed: 1 });
        assert_eq!(vitest(" Test Files  2 passed (2)"), Tally::default());
        assert_eq!(journey("ok    signs up"), Tally::ONE);
        assert_eq!(journey("FAIL  signs up"), Tally { passed: 0, failed: 1 });
        assert_eq!(journey("okay"), Tally::default());
    }
}
