//! Where a dispute goes when its provider says how it stands. What providers say comes late, twice and out of order.
//!
//! What matters to the money only ever moves on: a question, a question that was closed, money taken, won or lost. Whose turn it is
//! goes to and fro, and is as told last, or by whoever set the later date.

use std::cmp::Ordering;

use kernel::Timestamp;

use crate::payments::port::DisputeState;

/// How a dispute stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stand {
    /// Whose turn it is, or how it ended.
    pub state: DisputeState,
    /// Whether it is a question so far, with the money still ours.
    pub inquiry: bool,
    /// Until when to answer.
    pub answer_by: Option<Timestamp>,
}

/// What a dispute means for the money.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// A question; the money is ours.
    Asked,
    /// The question was answered or withdrawn; the money is ours.
    Closed,
    /// The provider has taken the money.
    Taken,
    /// The provider has given the money back.
    Won,
    /// The money is gone.
    Lost,
}

impl Stage {
    /// Whether nothing more will come of it.
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Won | Self::Lost)
    }

    /// Whether nothing is to be paid out to whoever disputes. A question that is closed and a dispute that was won end it.
    pub const fn holds(self) -> bool {
        matches!(self, Self::Asked | Self::Taken | Self::Lost)
    }
}

impl Stand {
    /// What it means for the money.
    pub const fn stage(self) -> Stage {
        match (self.state, self.inquiry) {
            (DisputeState::NeedsAnswer | DisputeState::UnderReview, true) => Stage::Asked,
            (DisputeState::Won, true) => Stage::Closed,
            (DisputeState::NeedsAnswer | DisputeState::UnderReview, false) => Stage::Taken,
            (DisputeState::Won, false) => Stage::Won,
            // Lost as a question, too, it is lost.
            (DisputeState::Lost, _) => Stage::Lost,
        }
    }
}

/// What follows from what was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// It stands like this now.
    To(Stand),
    /// It was known, or is older than what is known.
    Stay,
    /// It has ended otherwise: somebody has to look.
    Contradicts,
}

/// Where it goes from where it stands.
pub fn next(known: Stand, told: Stand) -> Next {
    let (from, to) = (known.stage(), told.stage());
    if from.is_over() {
        return if to.is_over() && to != from { Next::Contradicts } else { Next::Stay };
    }
    let after = match to.cmp(&from) {
        Ordering::Greater => Stand { answer_by: told.answer_by.or(known.answer_by), ..told },
        Ordering::Equal => {
            let newer = told.answer_by > known.answer_by && told.answer_by.is_some();
            let older = told.answer_by < known.answer_by && told.answer_by.is_some();
            let waits = |stand: Stand| stand.state == DisputeState::NeedsAnswer;
            let state = if newer || (!older && waits(known)) { told.state } else { known.state };
            Stand { state, answer_by: known.answer_by.max(told.answer_by), ..known }
        }
        Ordering::Less => known,
    };
    if after == known { Next::Stay } else { Next::To(after) }
}

/// The word in rows and answers.
pub const fn word(state: DisputeState) -> &'static str {
    match state {
        DisputeState::NeedsAnswer => "needs_answer",
        DisputeState::UnderReview => "under_review",
        DisputeState::Won => "won",
        DisputeState::Lost => "lost",
    }
}

/// All states.
pub const STATES: [DisputeState; 4] =
    [DisputeState::NeedsAnswer, DisputeState::UnderReview, DisputeState::Won, DisputeState::Lost];

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn stand(place: usize, inquiry: bool, answer_by: Option<i64>) -> Stand {
        let state = STATES.get(place).copied().unwrap_or(DisputeState::Won);
        Stand { state, inquiry, answer_by: answer_by.map(Timestamp::from_micros) }
    }

    fn any_stand() -> impl Strategy<Value = Stand> {
        (0_usize..4, any::<bool>(), prop::option::of(1_i64..4))
            .prop_map(|(place, inquiry, by)| stand(place, inquiry, by))
    }

    fn after(told: &[Stand]) -> Stage {
        let mut told = told.iter().copied();
        let mut known = told.next().unwrap_or_else(|| stand(0, true, None));
        for stand in told {
            if let Next::To(to) = next(known, stand) {
                known = to;
            }
        }
        known.stage()
    }

    proptest! {
        #[test]
        fn the_money_ends_alike_in_every_order(
            mut told in prop::collection::vec(any_stand(), 1..8), won in any::<bool>(), swaps in prop::collection::vec((0_usize..8, 0_usize..8), 0..12)
        ) {
            // A provider does not decide twice.
            for stand in &mut told {
                if stand.stage().is_over() {
                    *stand = Stand { state: if won { DisputeState::Won } else { DisputeState::Lost }, inquiry: false, ..*stand };
                }
            }
            let expected = after(&told);
            prop_assert_eq!(Some(expected), told.iter().map(|stand| stand.stage()).max());
            for (one, other) in swaps {
                if one < told.len() && other < told.len() {
                    told.swap(one, other);
                }
            }
            prop_assert_eq!(after(&told), expected);
        }

        #[test]
        fn twice_is_once_and_nothing_goes_back(known in any_stand(), told in any_stand()) {
            match next(known, told) {
                Next::To(to) => {
                    prop_assert!(to.stage() >= known.stage());
                    prop_assert!(!known.stage().is_over());
                    prop_assert_eq!(next(to, told), Next::Stay);
                }
                Next::Stay => {}
                Next::Contradicts => prop_assert!(known.stage().is_over() && told.stage() != known.stage()),
            }
        }
    }

    #[test]
    fn whose_turn_it_is_goes_by_the_later_date() {
        let ask = stand(0, false, Some(1));
        let review = stand(1, false, None);
        let Next::To(reviewed) = next(ask, review) else { panic!("it is not reviewed") };
        assert_eq!((reviewed.state, reviewed.answer_by), (DisputeState::UnderReview, ask.answer_by));
        // What was said before the answer comes late.
        assert_eq!(next(reviewed, ask), Next::Stay);
        // The provider asks once more.
        let more = stand(0, false, Some(2));
        assert_eq!(next(reviewed, more), Next::To(more));
        // A closed question may still become a dispute, a lost one nothing else.
        assert_eq!(next(stand(2, true, None), more), Next::To(more));
        assert_eq!(next(stand(3, false, None), stand(2, false, None)), Next::Contradicts);
        assert_eq!(next(stand(3, false, None), stand(2, true, None)), Next::Stay);
    }
}
