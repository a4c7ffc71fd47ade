//! Where a refund may go from where it stands. What providers say comes late, twice and out of order.

use crate::payments::port;

/// How a refund stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum RefundState {
    /// Written down; the provider may or may not know of it.
    Asked,
    /// The provider has it, and the money is on its way.
    Pending,
    /// The buyer's bank has it.
    Done,
    /// It came back, or never left.
    Failed,
}

impl RefundState {
    /// All.
    pub const ALL: [Self; 4] = [Self::Asked, Self::Pending, Self::Done, Self::Failed];

    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Pending => "pending",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// The one of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.word() == word)
    }
}

/// Where it goes when its provider says how it stands; nothing if that is known or older than what is known. `known` is
/// whether the provider has named it before: one that was turned away has no name, and if the provider names it all the same,
/// it is there.
pub const fn next(state: RefundState, known: bool, told: port::RefundState) -> Option<RefundState> {
    use RefundState::{Asked, Done, Failed, Pending};
    use port::RefundState as Told;
    match (state, known, told) {
        (Asked, _, Told::Pending) | (Failed, false, Told::Pending) => Some(Pending),
        (Asked | Pending, _, Told::Done) | (Failed, false, Told::Done) => Some(Done),
        // A bank may send back what it had taken.
        (Asked | Pending | Done, _, Told::Failed) | (Failed, false, Told::Failed) => Some(Failed),
        (Pending | Done, _, Told::Pending) | (Done, _, Told::Done) | (Failed, true, _) => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TOLD: [port::RefundState; 3] =
        [port::RefundState::Pending, port::RefundState::Done, port::RefundState::Failed];

    #[test]
    fn every_state_answers_as_the_table_says() {
        // Rows: a state that the provider has not named, or has; columns: told pending, done, failed.
        let table = [
            (RefundState::Asked, false, "PDF"),
            (RefundState::Asked, true, "PDF"),
            (RefundState::Pending, false, ".DF"),
            (RefundState::Pending, true, ".DF"),
            (RefundState::Done, false, "..F"),
            (RefundState::Done, true, "..F"),
            (RefundState::Failed, false, "PDF"),
            (RefundState::Failed, true, "..."),
        ];
        for (state, known, row) in table {
            for (told, cell) in TOLD.into_iter().zip(row.chars()) {
                let letter = match next(state, known, told) {
                    None => '.',
                    Some(RefundState::Asked) => 'A',
                    Some(RefundState::Pending) => 'P',
                    Some(RefundState::Done) => 'D',
                    Some(RefundState::Failed) => 'F',
                };
                assert_eq!(letter, cell, "{state:?} {known} {told:?}");
            }
        }
        for state in RefundState::ALL {
            assert_eq!(RefundState::parse(state.word()), Some(state));
        }
    }

    fn after(told: &[usize]) -> (RefundState, bool) {
        told.iter().fold((RefundState::Asked, false), |(state, known), place| {
            TOLD.get(*place).map_or((state, known), |told| (next(state, known, *told).unwrap_or(state), true))
        })
    }

    proptest! {
        #[test]
        fn the_order_and_the_number_of_what_is_told_change_nothing(told in prop::collection::vec(0_usize..3, 1..12)) {
            let mut sorted = told.clone();
            sorted.sort_unstable();
            sorted.dedup();
            prop_assert_eq!(after(&told), after(&sorted));
            let mut backwards = told;
            backwards.reverse();
            prop_assert_eq!(after(&backwards), after(&sorted));
        }
    }
}
