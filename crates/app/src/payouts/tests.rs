//! What holds of every payout, whatever happens to it and in whatever order.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::kyc::Standing;
use crate::ledger::{Account, Entry, Hold, HoldState};

fn usd(minor: i64) -> Money {
    Money::from_minor(minor, Currency::parse("USD").unwrap())
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_780_000_000_000_000 + seconds * 1_000_000)
}

fn person(number: u8) -> PersonId {
    PersonId::derived(&[b"person", &[number]])
}

fn asked_for() -> Locked {
    let precheck = Precheck {
        eligible: true,
        conditions: Vec::new(),
        withdrawable: Amount::parse("1000").unwrap(),
        payout: Amount::parse("800").unwrap(),
        figures: Vec::new(),
    };
    let payout = Payout {
        id: PayoutId::derived(&[b"payout"]),
        person: person(0),
        account: AccountId::derived(&[b"account"]),
        program_name: "Two steps".to_owned(),
        currency: Currency::parse("USD").unwrap(),
        asked: Amount::parse("1000").unwrap(),
        precheck,
        expected: usd(80_000),
        reviewers_needed: 2,
        state: PayoutState::Requested,
        method: Method::Paypal,
        tries: 0,
        take_began_at: None,
        verdict: None,
        taken: None,
        share: None,
        attempt: 0,
        reason: None,
        requested_at: at(0),
        moved_at: at(0),
    };
    Locked {
        payout,
        attempts: Vec::new(),
        reviews: Vec::new(),
        identity: Known { standing: Standing::Verified, expires_at: Some(at(1_000_000)) },
        identity_needed: true,
        payee_by: None,
        blocked: None,
    }
}

/// What a store does with a decision, and the books beside it.
struct Kept {
    locked: Locked,
    holds: BTreeMap<kernel::HoldId, Hold>,
    entries: Vec<Entry>,
}

impl Kept {
    fn new(locked: Locked) -> Self {
        Self { locked, holds: BTreeMap::new(), entries: Vec::new() }
    }

    fn happens(&mut self, event: &PayoutEvent, at: Timestamp) -> Result<bool, AppError> {
        let Some(decision) = decide(&self.locked, event, at)? else { return Ok(false) };
        if let Some(hold) = decision.opens {
            self.entries.push(hold.entry().unwrap());
            assert!(self.holds.insert(hold.id, hold).is_none(), "a hold is opened once");
        }
        if let Some((id, outcome)) = decision.ends {
            let hold = self.holds.get_mut(&id).unwrap();
            let ending = hold.end(outcome, at).unwrap();
            hold.state = ending.state;
            self.entries.push(ending.entry);
        }
        for entry in decision.entries {
            assert!(self.entries.iter().all(|known| known.id() != entry.id()), "{entry:?} is posted once");
            self.entries.push(entry);
        }
        if let Some(attempt) = decision.attempt {
            self.locked.attempts.retain(|known| known.number != attempt.number);
            self.locked.attempts.push(attempt);
        }
        self.locked.reviews.extend(decision.review);
        self.locked.payee_by = decision.payee_by.or(self.locked.payee_by);
        self.locked.payout = decision.payout;
        Ok(true)
    }

    /// Credits minus debits.
    fn stands(&self, account: &Account) -> i64 {
        let of = |entry: &Entry| -> i64 {
            entry
                .transfers()
                .iter()
                .map(|transfer| {
                    let side = |it: &Account| if it == account { transfer.amount().minor() } else { 0 };
                    side(transfer.credit()) - side(transfer.debit())
                })
                .sum()
        };
        self.entries.iter().map(of).sum()
    }

    fn check(&self) {
        let Locked { payout, attempts, .. } = &self.locked;
        let share = payout.share.map_or(0, Money::minor);
        let payable = self.stands(&Account::TraderPayable(payout.person));
        let held = self.stands(&Account::TraderHeld(payout.person));
        assert!(payable >= 0 && held >= 0, "{payable} {held}");
        let providers = ["paypal", "stripe", "bank_file", "manual"]
            .map(|name| crate::ledger::Provider::parse(name).unwrap());
        let on_its_way: i64 =
            providers.iter().map(|name| self.stands(&Account::PayoutClearing(name.clone()))).sum();
        let paid: i64 = providers
            .iter()
            .map(|name| {
                self.stands(&Account::ProviderClearing(name.clone()))
                    + self.stands(&Account::ProviderFees(name.clone()))
            })
            .sum::<i64>()
            + self.stands(&Account::Bank);
        let rewarded = -self.stands(&Account::TraderRewards);
        assert_eq!(rewarded, payable + held + on_its_way + paid, "no cent is lost");
        let is = match payout.state {
            PayoutState::Reserved | PayoutState::Sending => (0, share, 0, 0),
            PayoutState::Sent => (0, 0, share, 0),
            PayoutState::Settled => (0, 0, 0, share),
            PayoutState::Failed | PayoutState::Returned | PayoutState::PayeeInReview => (share, 0, 0, 0),
            PayoutState::Requested
            | PayoutState::AwaitingIdentity
            | PayoutState::InReview
            | PayoutState::Approved
            | PayoutState::Taken
            | PayoutState::Refused
            | PayoutState::Rejected
            | PayoutState::Withdrawn => (0, 0, 0, 0),
        };
        assert_eq!((payable, held, on_its_way, paid), is, "{}", payout.state.word());
        let live = attempts.iter().filter(|attempt| !attempt.state.is_lost()).count();
        assert!(live <= 1, "only one attempt may still arrive");
        let pending = self.holds.values().filter(|hold| hold.state == HoldState::Pending).count();
        assert_eq!(pending, usize::from(held > 0));
    }
}

fn told(locked: &Locked, attempt: u32, state: port::PayoutState, fee: Option<i64>) -> PayoutEvent {
    let amount = locked.payout.share.unwrap_or(usd(80_000));
    let payout = port::Payout {
        id: format!("provider-{attempt}"),
        in_books: None,
        reference: None,
        state,
        amount,
        returned: usd(0),
        fee: fee.map(usd),
        reason: None,
        created_at: at(0),
    };
    PayoutEvent::Told { attempt, payout: Box::new(payout) }
}

fn review(reviewer: u8, approves: bool) -> PayoutEvent {
    let reason = "Looked at it.".to_owned();
    PayoutEvent::Reviewed(Review { reviewer: person(reviewer), attempt: 0, approves, reason, at: at(0) })
}

/// Any event, more often one that belongs to its time.
fn any_event() -> impl Strategy<Value = (u8, u8, u8)> {
    (0_u8..22, 0_u8..4, 0_u8..6)
}

fn event_of(locked: &Locked, (kind, which, how): (u8, u8, u8)) -> PayoutEvent {
    use port::PayoutState as P;
    let states = [P::Pending, P::Unclaimed, P::Settled, P::Returned, P::Failed, P::Settled];
    let attempt = u32::from(which.min(2));
    match kind {
        0 => PayoutEvent::Gate,
        1 | 2 => review(which, true),
        3 => PayoutEvent::Withdrawn,
        4 => PayoutEvent::TakeBegun,
        5 => PayoutEvent::Later { tries: u32::from(which) },
        6 => PayoutEvent::Refused { verdict: Some(1), reason: "cycle".to_owned() },
        7 | 8 => PayoutEvent::Taken { verdict: Some(1), taken: locked.payout.asked, share: usd(80_000) },
        9 | 10 => PayoutEvent::Reserved,
        11 | 12 => PayoutEvent::Begun { amount: usd(80_000) },
        13 => PayoutEvent::Declined { attempt, reason: "No.".to_owned() },
        14 => PayoutEvent::SentAgain,
        18 => PayoutEvent::PayeeChanged { method: Method::ALL[usize::from(which)], by: person(which) },
        19 => review(which, false),
        15 => PayoutEvent::Paid { reference: "bank-1".to_owned() },
        16 => PayoutEvent::Exported { batch: PayoutBatchId::derived(&[b"batch"]) },
        17 => PayoutEvent::NotPaid { reason: "No such account.".to_owned() },
        _ => told(locked, attempt.max(1), states[usize::from(how)], (how == 5).then_some(25)),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    /// Whatever happens and however often: the books add up after every step, one attempt at most may arrive, and what a payout
    /// has posted is posted once.
    #[test]
    fn no_order_of_events_loses_or_doubles_a_cent(
        events in prop::collection::vec(any_event(), 0..60),
        blocked in any::<bool>(),
        low in any::<bool>(),
    ) {
        let mut kept = Kept::new(asked_for());
        kept.locked.payout.reviewers_needed = if low { 1 } else { 2 };
        let mut changed = Vec::new();
        for (place, chosen) in (0_i64..).zip(events) {
            kept.locked.blocked = (blocked && place % 3 == 0).then(|| "a dispute".to_owned());
            let event = event_of(&kept.locked, chosen);
            match kept.happens(&event, at(place * 100)) {
                Ok(_) | Err(AppError::Refused { .. }) => {}
                Err(other) => panic!("{other:?}"),
            }
            if kept.locked.payout.state == PayoutState::PayeeInReview {
                changed.push(kept.locked.payout.attempt);
            }
            // The same once more changes nothing, unless it is another review or a try under another key.
            let before = kept.locked.payout.clone();
            let _again = kept.happens(&event, at(place * 100));
            if !matches!(event, PayoutEvent::SentAgain | PayoutEvent::Paid { .. }) {
                prop_assert_eq!(kept.locked.payout.state, before.state, "{:?} twice", event);
            }
            kept.check();
        }
        let needed = if low { 1 } else { 2 };
        let approvals = |attempt| {
            kept.locked.reviews.iter().filter(|review| review.attempt == attempt && review.approves).count()
        };
        if kept.locked.payout.take_began_at.is_some() {
            prop_assert!(approvals(0) >= needed, "nobody asks the engine before it is let go");
        }
        for attempt in changed {
            let sent = kept.locked.attempts.iter().any(|sent| sent.number == attempt);
            prop_assert!(!sent || approvals(attempt) >= needed, "nothing goes to a payee before others agree");
        }
        for review in &kept.locked.reviews {
            prop_assert!(review.reviewer != kept.locked.payout.person, "nobody decides about their own");
        }
        let mut reviewers: Vec<_> =
            kept.locked.reviews.iter().map(|review| (review.attempt, review.reviewer)).collect();
        reviewers.sort_unstable();
        reviewers.dedup();
        prop_assert_eq!(reviewers.len(), kept.locked.reviews.len());
    }

    /// What a provider says of one attempt, in any order and any number of times, ends like its last word.
    #[test]
    fn late_and_repeated_news_end_like_the_last_word(
        order in prop::collection::vec(0_usize..3, 0..12),
        ends in 0_usize..3,
    ) {
        use port::PayoutState as P;
        let history: &[P] = [
            &[P::Pending, P::Settled][..],
            &[P::Pending, P::Unclaimed, P::Returned],
            &[P::Pending, P::Settled, P::Returned],
        ][ends];
        let mut kept = Kept::new(asked_for());
        for event in [PayoutEvent::Gate, review(1, true), review(2, true), PayoutEvent::TakeBegun] {
            kept.happens(&event, at(1)).unwrap();
        }
        let taken = PayoutEvent::Taken { verdict: Some(1), taken: kept.locked.payout.asked, share: usd(80_000) };
        for event in [taken, PayoutEvent::Reserved, PayoutEvent::Begun { amount: usd(80_000) }] {
            kept.happens(&event, at(2)).unwrap();
        }
        let last = *history.last().unwrap();
        for place in order {
            let event = told(&kept.locked, 1, history[place.min(history.len() - 1)], None);
            kept.happens(&event, at(3)).unwrap();
            kept.check();
        }
        let event = told(&kept.locked, 1, last, None);
        kept.happens(&event, at(4)).unwrap();
        kept.check();
        let state = if last == P::Settled { PayoutState::Settled } else { PayoutState::Returned };
        // What never left by our books did not come back from there either; the money is the same.
        let failed = kept.locked.payout.state == PayoutState::Failed;
        prop_assert!(failed || kept.locked.payout.state == state);
    }
}

#[test]
fn above_the_limit_two_different_people_let_it_go_and_below_it_one() {
    let mut kept = Kept::new(asked_for());
    kept.happens(&PayoutEvent::Gate, at(1)).unwrap();
    let code = |result: Result<bool, AppError>| match result {
        Err(AppError::Refused { code, .. }) => code,
        other => panic!("{other:?}"),
    };
    assert_eq!(code(kept.happens(&review(0, true), at(1))), "four_eyes", "nobody decides about their own");
    assert!(kept.happens(&review(1, true), at(1)).unwrap());
    assert_eq!(kept.locked.payout.state, PayoutState::InReview);
    assert_eq!(code(kept.happens(&review(1, true), at(1))), "four_eyes");
    assert!(kept.happens(&review(2, true), at(1)).unwrap());
    assert_eq!(kept.locked.payout.state, PayoutState::Approved);

    let mut kept = Kept::new(asked_for());
    kept.locked.payout.reviewers_needed = 1;
    kept.happens(&PayoutEvent::Gate, at(1)).unwrap();
    assert!(kept.happens(&review(1, true), at(1)).unwrap());
    assert_eq!(kept.locked.payout.state, PayoutState::Approved);
    let settings = Settings { one_reviewer: vec![usd(100_000)], ..Settings::default() };
    let needed = |text: &str, code: &str| {
        let currency = Currency::parse(code).unwrap();
        settings.reviewers_needed(Amount::parse(text).unwrap(), currency).unwrap()
    };
    assert_eq!((needed("1000", "USD"), needed("1000.001", "USD"), needed("1", "EUR")), (1, 2, 2));

    let mut kept = Kept::new(asked_for());
    kept.happens(&PayoutEvent::Gate, at(1)).unwrap();
    assert!(kept.happens(&review(1, true), at(1)).unwrap());
    assert_eq!(kept.locked.payout.state, PayoutState::InReview);
    // Who was known when it was asked for may no longer be.
    let late = at(2_000_000);
    assert_eq!(code(kept.happens(&review(2, true), late)), "identity_needed");
}

/// One that was sent with attempt 1.
fn sent() -> Kept {
    let mut kept = Kept::new(asked_for());
    for event in [PayoutEvent::Gate, review(1, true), review(2, true), PayoutEvent::TakeBegun] {
        kept.happens(&event, at(1)).unwrap();
    }
    let taken = PayoutEvent::Taken { verdict: Some(1), taken: kept.locked.payout.asked, share: usd(80_000) };
    for event in [taken, PayoutEvent::Reserved, PayoutEvent::Begun { amount: usd(80_000) }] {
        kept.happens(&event, at(2)).unwrap();
    }
    kept
}

#[test]
fn whoever_names_another_payee_does_not_agree_to_them_and_earlier_agreements_do_not_count() {
    let mut kept = sent();
    let no = PayoutEvent::Declined { attempt: 1, reason: "No such account.".to_owned() };
    kept.happens(&no, at(3)).unwrap();
    let code = |result: Result<bool, AppError>| match result {
        Err(AppError::Refused { code, .. }) => code,
        other => panic!("{other:?}"),
    };
    let changed = PayoutEvent::PayeeChanged { method: Method::Stripe, by: person(1) };
    assert!(kept.happens(&changed, at(4)).unwrap());
    assert_eq!(kept.locked.payout.state, PayoutState::PayeeInReview);
    assert_eq!(code(kept.happens(&PayoutEvent::SentAgain, at(4))), "conflict");
    assert_eq!(code(kept.happens(&PayoutEvent::Withdrawn, at(4))), "conflict", "it is owed");
    assert_eq!(code(kept.happens(&review(1, true), at(4))), "four_eyes", "they have named the payee");
    assert_eq!(code(kept.happens(&review(0, true), at(4))), "four_eyes", "it is their own");
    // Somebody turns the payee away: they are sent nothing, and the money is still owed.
    assert!(kept.happens(&review(3, false), at(5)).unwrap());
    assert_eq!(kept.locked.payout.state, PayoutState::Returned);
    assert_eq!(code(kept.happens(&PayoutEvent::SentAgain, at(5))), "conflict", "nobody agreed to the payee");
    assert!(kept.happens(&changed, at(6)).unwrap());
    assert!(kept.happens(&review(2, true), at(6)).unwrap());
    assert_eq!(kept.locked.payout.state, PayoutState::PayeeInReview, "two have to agree");
    assert!(kept.happens(&review(3, true), at(6)).unwrap());
    assert_eq!((kept.locked.payout.state, kept.locked.payout.attempt), (PayoutState::Reserved, 3));
    kept.check();
}

#[test]
fn a_trader_reads_neither_a_providers_words_nor_why_somebody_agreed() {
    let kept = Kept::new(Locked {
        payout: Payout { state: PayoutState::InReview, ..asked_for().payout },
        ..asked_for()
    });
    for reviewers in [1, 2] {
        let mut locked = kept.locked.clone();
        locked.payout.reviewers_needed = reviewers;
        let decided = decide(&locked, &review(1, true), at(1)).unwrap().unwrap();
        assert_eq!((decided.detail, decided.payout.reason), (None, None));
        assert_eq!(decided.review.unwrap().reason, "Looked at it.");
    }
    let words = "RECEIVER_IS_ON_A_LIST";
    let kept = sent();
    let declined = PayoutEvent::Declined { attempt: 1, reason: words.to_owned() };
    let mut events = vec![declined];
    for state in [port::PayoutState::Unclaimed, port::PayoutState::Failed, port::PayoutState::Returned] {
        let PayoutEvent::Told { attempt, mut payout } = told(&kept.locked, 1, state, None) else { continue };
        payout.reason = Some(words.to_owned());
        events.push(PayoutEvent::Told { attempt, payout });
    }
    for event in events {
        let decided = decide(&kept.locked, &event, at(3)).unwrap().unwrap();
        let said = decided.payout.reason.unwrap();
        assert!(!said.contains(words), "{said}");
        assert_eq!(decided.detail, Some(said));
        assert_eq!(decided.attempt.unwrap().reason.as_deref(), Some(words), "the firm's people read it");
    }
}

#[test]
fn our_name_of_an_attempt_is_read_back() {
    let id = PayoutId::derived(&[b"payout"]);
    let name = reference(id, 12).unwrap();
    assert_eq!(attempt_of(name.as_str()), Some((id, 12)));
    for other in ["", "payout-", "payout-1_2", "refund-1", "payout-0190f6a0-0000-7000-8000-000000000000"] {
        assert_eq!(attempt_of(other), None, "{other}");
    }
}
