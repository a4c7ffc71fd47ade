use std::collections::BTreeMap;

use kernel::{Currency, PersonId};
use proptest::prelude::*;
use rules::VersionHash;

use super::*;
use crate::ledger::Entry;

fn usd(minor: i64) -> Money {
    Money::from_minor(minor, Currency::parse("USD").unwrap())
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(1_767_600_000_000_000 + second * 1_000_000)
}

fn stripe() -> Provider {
    Provider::parse("stripe").unwrap()
}

fn purchase(fee: i64, tax: i64) -> Purchase {
    Purchase {
        id: PurchaseId::derived(&[b"purchase"]),
        person: PersonId::derived(&[b"person"]),
        slug: "two-step".to_owned(),
        program_name: "Two steps".to_owned(),
        version: VersionHash::parse(&"a".repeat(64)).unwrap(),
        bought: Bought::Challenge,
        fee: usd(fee),
        discount: usd(0),
        tax: usd(tax),
        lines: Vec::new(),
        provider: None,
        state: PurchaseState::Created,
        challenge: None,
        created_at: at(0),
        decided_at: None,
    }
}

/// A purchase with its history and what was posted, as the store would keep them.
struct Life {
    purchase: Purchase,
    history: Vec<Happened>,
    entries: Vec<Entry>,
}

impl Life {
    fn new(purchase: Purchase) -> Self {
        Self { purchase, history: Vec::new(), entries: Vec::new() }
    }

    /// Whether something changed.
    fn tell(&mut self, event: &PurchaseEvent, second: i64) -> Result<bool, AppError> {
        let Some(decision) = decide(&self.purchase, &self.history, event, at(second))? else {
            return Ok(false);
        };
        assert_eq!(decision.happened.from, self.purchase.state);
        assert!(
            self.history.iter().all(|known| known.id != decision.happened.id),
            "what happens, happens once"
        );
        for entry in &decision.entries {
            assert!(self.entries.iter().all(|known| known.id() != entry.id()), "an entry is posted once");
        }
        self.purchase.state = decision.happened.to;
        self.history.push(decision.happened);
        self.entries.extend(decision.entries);
        Ok(true)
    }

    fn books(&self) -> BTreeMap<String, i64> {
        let mut nets: BTreeMap<String, i64> = BTreeMap::new();
        for transfer in self.entries.iter().flat_map(Entry::transfers) {
            *nets.entry(transfer.debit().to_string()).or_default() += transfer.amount().minor();
            *nets.entry(transfer.credit().to_string()).or_default() -= transfer.amount().minor();
        }
        nets.retain(|_, net| *net != 0);
        nets
    }
}

fn captured(payment: &str, amount: i64) -> PurchaseEvent {
    PurchaseEvent::Captured { provider: stripe(), payment: payment.to_owned(), amount: usd(amount) }
}

fn refunded(payment: &str, refund: &str, amount: i64) -> PurchaseEvent {
    PurchaseEvent::Refunded {
        provider: stripe(),
        payment: payment.to_owned(),
        refund: refund.to_owned(),
        amount: usd(amount),
    }
}

fn refund_failed(refund: &str) -> PurchaseEvent {
    let reason = "The account is closed.".to_owned();
    PurchaseEvent::RefundFailed { provider: stripe(), refund: refund.to_owned(), reason }
}

fn disputed(dispute: &str, amount: i64) -> PurchaseEvent {
    let (dispute, amount, fee) = (dispute.to_owned(), usd(amount), Some(usd(15)));
    PurchaseEvent::DisputeOpened { provider: stripe(), dispute, amount, fee }
}

fn dispute_over(dispute: &str, won: bool) -> PurchaseEvent {
    let (provider, dispute) = (stripe(), dispute.to_owned());
    if won {
        PurchaseEvent::DisputeWon { provider, dispute }
    } else {
        PurchaseEvent::DisputeLost { provider, dispute }
    }
}

fn code(told: Result<bool, AppError>) -> &'static str {
    match told {
        Err(AppError::Refused { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_amount_is_ours_and_a_name_has_one_content() {
    let mut life = Life::new(purchase(49_000, 0));
    for wrong in [captured("p", 48_999), captured("p", 49_001)] {
        assert_eq!(code(life.tell(&wrong, 1)), "conflict");
    }
    let euros = Money::from_minor(49_000, Currency::parse("EUR").unwrap());
    let foreign = PurchaseEvent::Captured { provider: stripe(), payment: "p".to_owned(), amount: euros };
    assert_eq!(code(life.tell(&foreign, 1)), "conflict");
    assert_eq!(code(life.tell(&PurchaseEvent::NothingDue, 1)), "conflict");
    assert!(life.tell(&captured("p", -1), 1).is_err());
    assert!(life.tell(&captured("p", 49_000), 1).unwrap());
    assert!(!life.tell(&captured("p", 49_000), 2).unwrap(), "the same payment");
    assert_eq!(code(life.tell(&captured("p", 50_000), 2)), "entry_id_reused");
    assert_eq!(life.purchase.state, PurchaseState::Captured);
    assert_eq!(
        life.books(),
        BTreeMap::from([("fee_income".into(), -49_000), ("provider_clearing:stripe".into(), 49_000)])
    );
}

#[test]
fn what_was_paid_twice_is_owed_back_and_does_not_refund_the_purchase() {
    let mut life = Life::new(purchase(100, 0));
    assert!(life.tell(&captured("one", 100), 1).unwrap());
    assert!(life.tell(&captured("two", 100), 2).unwrap());
    assert_eq!(life.books()["overpaid"], -100);
    assert_eq!(code(life.tell(&refunded("three", "r", 1), 3)), "conflict");
    assert_eq!(code(life.tell(&refunded("two", "r", 101), 3)), "conflict");
    assert!(life.tell(&refunded("two", "r", 100), 3).unwrap());
    assert_eq!(life.purchase.state, PurchaseState::Captured);
    assert!(!life.books().contains_key("overpaid"));
    assert!(life.tell(&refund_failed("r"), 4).unwrap());
    assert_eq!(life.books()["overpaid"], -100);
    assert!(life.tell(&refunded("two", "r2", 100), 5).unwrap());
    assert!(life.tell(&refunded("one", "r3", 100), 6).unwrap());
    assert_eq!(life.purchase.state, PurchaseState::Refunded);
    assert_eq!(life.books(), BTreeMap::from([("fee_income".into(), -100), ("refunds".into(), 100)]));
}

#[test]
fn a_failed_refund_and_a_won_dispute_lead_back_to_where_it_stood() {
    for fulfilled in [false, true] {
        let mut life = Life::new(purchase(119, 19));
        life.tell(&captured("p", 119), 1).unwrap();
        let stands = if fulfilled {
            life.tell(&PurchaseEvent::Fulfilled, 2).unwrap();
            PurchaseState::Fulfilled
        } else {
            PurchaseState::Captured
        };
        let before = life.books();
        life.tell(&refunded("p", "r", 119), 3).unwrap();
        assert_eq!(life.purchase.state, PurchaseState::Refunded);
        life.tell(&refund_failed("r"), 4).unwrap();
        assert_eq!((life.purchase.state, life.books()), (stands, before.clone()));
        life.tell(&disputed("d", 119), 5).unwrap();
        life.tell(&disputed("e", 50), 5).unwrap();
        assert_eq!(life.purchase.state, PurchaseState::Disputed);
        life.tell(&dispute_over("d", true), 6).unwrap();
        assert_eq!(life.purchase.state, PurchaseState::Disputed, "another is open");
        assert_eq!(code(life.tell(&dispute_over("d", false), 7)), "conflict");
        life.tell(&dispute_over("e", true), 8).unwrap();
        assert_eq!(life.purchase.state, stands);
        assert_eq!(life.books()["provider_fees:stripe"], 30);
        life.tell(&disputed("f", 119), 9).unwrap();
        life.tell(&dispute_over("f", false), 9).unwrap();
        assert_eq!(life.purchase.state, PurchaseState::ChargedBack);
        assert_eq!(life.books()["dispute_losses"], 119);
    }
}

#[test]
fn money_for_a_reset_that_was_given_up_is_owed_back() {
    let of = kernel::ChallengeId::derived(&[b"challenge"]);
    let mut reset = purchase(100, 0);
    reset.bought = Bought::Reset { of, included: false };
    let mut life = Life::new(reset);
    life.tell(&PurchaseEvent::Expired, 1).unwrap();
    life.tell(&captured("p", 100), 2).unwrap();
    assert_eq!(life.purchase.state, PurchaseState::Expired);
    assert_eq!(life.books()["overpaid"], -100);
    life.tell(&refunded("p", "r", 100), 3).unwrap();
    assert_eq!(life.books(), BTreeMap::new());
}

/// What happened, in the order in which it did.
#[derive(Debug, Clone)]
struct Story {
    fee: i64,
    tax: i64,
    events: Vec<PurchaseEvent>,
}

fn any_story() -> impl Strategy<Value = Story> {
    let parts = proptest::collection::vec(1_i64..60, 0..4);
    let dispute = proptest::option::of((1_i64..100, proptest::option::of(any::<bool>())));
    let noise = proptest::collection::vec(0_usize..3, 0..3);
    (parts, dispute, noise, any::<bool>(), any::<bool>(), 0_i64..20).prop_map(
        |(parts, dispute, noise, fulfilled, second, tax)| {
            let fee = 100;
            let begun = |name: &str| PurchaseEvent::Begun { provider: stripe(), session: name.to_owned() };
            let mut events = vec![begun("s")];
            for pick in noise {
                events.push([begun("again"), PurchaseEvent::Expired, PurchaseEvent::Failed][pick].clone());
            }
            events.push(captured("p", fee));
            if fulfilled {
                events.push(PurchaseEvent::Fulfilled);
            }
            // A second payment of another size, so that it cannot be taken for the first.
            let (mut left, mut number) = (fee, 0);
            for part in parts {
                let part = part.min(left);
                if part > 0 {
                    events.push(refunded("p", &format!("r{number}"), part));
                    left -= part;
                    number += 1;
                }
            }
            if let Some((amount, over)) = dispute {
                events.push(disputed("d", amount));
                events.extend(over.map(|won| dispute_over("d", won)));
            }
            if second {
                events.push(captured("q", 77));
            }
            Story { fee, tax, events }
        },
    )
}

/// Tells everything in this order, again and again, until nothing changes: whoever is refused comes again.
fn tell_all(story: &Story, order: &[usize]) -> Life {
    let mut life = Life::new(purchase(story.fee, story.tax));
    for round in 0..20 {
        let mut changed = false;
        for place in order {
            match life.tell(&story.events[*place], i64::try_from(*place).unwrap()) {
                Ok(moved) => changed |= moved,
                Err(AppError::Refused { code, .. }) => assert_eq!(code, "conflict"),
                Err(other) => panic!("{other}"),
            }
        }
        if !changed {
            return life;
        }
        assert!(round < 19, "it never comes to rest");
    }
    life
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]
    #[test]
    fn however_often_and_in_whatever_order_events_come_the_end_is_the_same(
        story in any_story(), shuffle in proptest::collection::vec(any::<u32>(), 64),
    ) {
        let in_order: Vec<usize> = (0..story.events.len()).collect();
        let plain = tell_all(&story, &in_order);
        // Each up to three times, anywhere.
        let mut any_order: Vec<(u32, usize)> = Vec::new();
        for (place, _) in story.events.iter().enumerate() {
            let times = 1 + shuffle[place % 64] % 3;
            any_order.extend((0..times).map(|copy| {
                let copy = usize::try_from(copy).unwrap();
                (shuffle[(place * 7 + copy * 13 + 1) % 64].rotate_left(u32::try_from(place).unwrap()), place)
            }));
        }
        any_order.sort_unstable();
        let order: Vec<usize> = any_order.into_iter().map(|(_, place)| place).collect();
        let shuffled = tell_all(&story, &order);
        prop_assert_eq!(shuffled.purchase.state, plain.purchase.state, "{:?}", order);
        prop_assert_eq!(shuffled.books(), plain.books());
        prop_assert_eq!(plain.books().values().sum::<i64>(), 0);
    }
}
