use kernel::{Currency, Money, PayoutId, PersonId, Timestamp};
use proptest::prelude::*;

use super::*;
use crate::payments::port::{Entry as BookEntry, EntryKind};

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(1_767_600_000_000_000 + second * 1_000_000)
}

fn money(minor: i64, currency: &str) -> Money {
    Money::from_minor(minor, Currency::parse(currency).unwrap())
}

fn stripe() -> Provider {
    Provider::parse("stripe").unwrap()
}

fn line(id: &str, gross: i64, fee: i64) -> Line {
    let net = money(gross - fee, "USD");
    Line { id: id.to_owned(), gross: money(gross, "USD"), fee: money(fee, "USD"), net, at: at(0) }
}

fn moves(number: u8, minor: i64, fee: bool) -> Move {
    let entry = EntryId::derived(&[&[number]]);
    Move { entry, cause: "purchase:1".to_owned(), amount: money(minor, "USD"), fee, at: at(0) }
}

fn both(family: Family, lines: Vec<Line>, moves: Vec<Move>) -> Both {
    Both { name: Name { family, name: "x".to_owned() }, lines, moves, under_way: Vec::new() }
}

/// What was posted is among the moves the next time.
fn after(both: &Both, judged: &Judged) -> Both {
    let clearing = crate::ledger::Account::ProviderClearing(stripe());
    let mut next = both.clone();
    for post in &judged.posts {
        for transfer in post.transfers() {
            let debited = *transfer.debit() == clearing;
            let other = if debited { transfer.credit() } else { transfer.debit() };
            let sign = if debited { 1 } else { -1 };
            let amount = transfer.amount();
            next.moves.push(Move {
                entry: post.id(),
                cause: post.cause().to_owned(),
                amount: Money::from_minor(sign * amount.minor(), amount.currency()),
                fee: other.kind() == "provider_fees",
                at: post.effective_at(),
            });
        }
    }
    next
}

fn kinds(judged: &Judged) -> Vec<Kind> {
    judged.found.iter().map(|found| found.difference.kind).collect()
}

#[test]
fn what_only_the_provider_tells_is_posted_once_and_the_rest_is_a_difference() {
    let judge = |both: &Both| super::judge(&stripe(), both, at(10)).unwrap();
    let paid = both(Family::Payment, vec![line("t1", 10_000, 320)], vec![moves(1, 10_000, false)]);
    let first = judge(&paid);
    assert_eq!((first.posts.len(), kinds(&first)), (1, vec![]));
    assert_eq!((first.posts[0].cause(), first.posts[0].kind().word()), ("purchase:1", "provider_fee"));
    assert_eq!(judge(&after(&paid, &first)), Judged::default());

    let lost = judge(&both(Family::Payment, vec![line("t1", 10_000, 320)], vec![]));
    assert_eq!((lost.posts.len(), kinds(&lost)), (0, vec![Kind::NotInLedger]));
    let invented = both(Family::Refund, vec![], vec![moves(1, -500, false)]);
    assert_eq!(kinds(&judge(&invented)), [Kind::NotWithProvider]);
    assert_eq!(super::judge(&stripe(), &invented, at(0)).unwrap(), Judged::default(), "not settled yet");
    let other = judge(&both(Family::Payment, vec![line("t1", 10_000, 320)], vec![moves(1, 9_000, false)]));
    assert_eq!(kinds(&other), [Kind::Amount]);
    let id = |judged: &Judged| judged.found[0].difference.id(Subject::Own);
    assert_eq!(id(&lost), id(&other), "told in part, it stays the same difference");

    let twice = vec![moves(1, -10_000, false), moves(2, -1_500, true)];
    let dispute = both(Family::Dispute, vec![line("t2", -10_000, 1_500)], twice);
    assert_eq!(judge(&dispute), Judged::default(), "the fee was told with the dispute");
    let too_much = vec![moves(1, -10_000, false), moves(2, -1_500, true), moves(3, -1_500, true)];
    assert_eq!(kinds(&judge(&both(Family::Dispute, dispute.lines.clone(), too_much))), [Kind::Fee]);

    for (family, gross) in
        [(Family::Bank, -700), (Family::Bank, 700), (Family::Conversion, 5), (Family::Fee, -9)]
    {
        let own = both(family, vec![line("t3", gross, 0)], vec![]);
        let judged = judge(&own);
        assert_eq!((judged.posts.len(), kinds(&judged)), (1, vec![]), "{family:?}");
        assert_eq!(judge(&after(&own, &judged)), Judged::default());
    }
    assert_eq!(kinds(&judge(&both(Family::Hold, vec![line("t4", -50, 0)], vec![]))), [Kind::NotInLedger]);
    let let_go = vec![line("t4", -50, 0), line("t5", 50, 0)];
    assert_eq!(judge(&both(Family::Hold, let_go, vec![])), Judged::default());
}

#[test]
fn a_payout_under_way_is_no_difference_until_it_has_arrived() {
    let judge = |both: &Both| super::judge(&stripe(), both, at(10)).unwrap();
    let mut sent = both(Family::Payout, vec![line("t1", -8_000, 25)], vec![]);
    assert_eq!(kinds(&judge(&sent)), [Kind::NotInLedger]);
    sent.under_way = vec![money(8_000, "USD")];
    assert_eq!(judge(&sent), Judged::default());
    let settled = both(Family::Payout, sent.lines.clone(), vec![moves(1, -8_000, false)]);
    assert_eq!(judge(&settled).posts.len(), 1, "its fee");
    let came_back = vec![line("t1", -8_000, 25), line("t2", 8_000, -25)];
    let back = vec![moves(1, -8_000, false), moves(2, 8_000, false)];
    assert_eq!(judge(&both(Family::Payout, came_back, back)), Judged::default());
}

#[test]
fn what_the_provider_turned_into_its_own_currency_is_converted() {
    let euros = |minor, number| Move { amount: money(minor, "EUR"), ..moves(number, 0, false) };
    let mut paid = both(Family::Dispute, vec![line("t1", -11_000, 0)], vec![euros(-10_000, 1)]);
    let judged = super::judge(&stripe(), &paid, at(10)).unwrap();
    assert_eq!((judged.posts.len(), kinds(&judged)), (1, vec![]));
    paid = after(&paid, &judged);
    assert_eq!(super::judge(&stripe(), &paid, at(10)).unwrap(), Judged::default());
    paid.lines.push(Line { at: at(5), ..line("t2", 11_200, 0) });
    paid.moves.push(euros(10_000, 2));
    let judged = super::judge(&stripe(), &paid, at(10)).unwrap();
    assert_eq!((judged.posts.len(), kinds(&judged)), (1, vec![]));
    assert_eq!(super::judge(&stripe(), &after(&paid, &judged), at(10)).unwrap(), Judged::default());
}

#[test]
fn lines_are_named_as_the_ledger_names_them() {
    let entry = |kind, about: &str, payment: Option<&str>, reference: Option<&str>| BookEntry {
        id: "txn_1".to_owned(),
        kind,
        word: "word".to_owned(),
        about: Some(about.to_owned()),
        payment: payment.map(str::to_owned),
        reference: reference.map(str::to_owned),
        gross: money(1, "USD"),
        fee: money(0, "USD"),
        net: money(1, "USD"),
        at: at(0),
    };
    let name = |entry: &BookEntry| (name_of(entry).family.word(), name_of(entry).name);
    let payment = entry(EntryKind::Payment, "ch_1", Some("pi_1"), Some("p"));
    assert_eq!(name(&payment), ("payment", "pi_1".to_owned()));
    let refund = entry(EntryKind::RefundReturned, "re_1", None, Some("r"));
    assert_eq!(name(&refund), ("refund", "re_1".to_owned()));
    let person = PersonId::derived(&[b"x"]).to_string();
    let attempt = crate::payouts::reference(person.parse::<PayoutId>().unwrap(), 2).unwrap();
    let as_sent = attempt.as_str().to_owned();
    for reference in [format!("payout-{person}"), person.clone(), format!("payout:{person}"), as_sent] {
        let payout = entry(EntryKind::Payout, "tr_1", None, Some(&reference));
        assert_eq!(name(&payout), ("payout", person.clone()));
    }
    assert_eq!(name(&entry(EntryKind::PayoutReturned, "tr_1", None, None)), ("payout", "tr_1".to_owned()));
    assert_eq!(name(&entry(EntryKind::Bank, "po_1", None, None)), ("bank", "txn_1".to_owned()));
}

fn any_line() -> impl Strategy<Value = (i64, i64)> {
    (-100_000_i64..100_000, -500_i64..500)
}

proptest! {
    /// However the ledger stands: what is posted is posted once, and without a difference the books agree to the cent.
    #[test]
    fn after_posting_either_the_balances_agree_or_a_difference_says_so(
        family in 0..Family::ALL.len(), lines in proptest::collection::vec(any_line(), 0..4),
        told in proptest::collection::vec((-100_000_i64..100_000, any::<bool>()), 0..4), honest in any::<bool>(),
    ) {
        let family = Family::ALL[family];
        let lines: Vec<Line> = (0..).zip(&lines).map(|(number, (gross, fee))| line(&format!("t{number}"), *gross, *fee)).collect();
        let told: Vec<Move> = if honest {
            (0..).zip(&lines).map(|(number, line)| moves(number, line.gross.minor(), false)).filter(|it| it.amount.minor() != 0).collect()
        } else {
            (0..).zip(told).map(|(number, (minor, fee))| moves(number, minor, fee)).collect()
        };
        let own = matches!(family, Family::Bank | Family::Conversion | Family::Fee);
        let told = if own { Vec::new() } else { told };
        let before = both(family, lines, told);
        let first = super::judge(&stripe(), &before, at(10)).unwrap();
        let then = after(&before, &first);
        let second = super::judge(&stripe(), &then, at(10)).unwrap();
        prop_assert_eq!(second.posts.len(), 0);
        prop_assert_eq!(&second.found, &first.found);
        let theirs: i64 = then.lines.iter().map(|line| line.net.minor()).sum();
        let ours: i64 = then.moves.iter().map(|it| it.amount.minor()).sum();
        if first.found.is_empty() {
            prop_assert_eq!(theirs, ours);
        }
        if own {
            prop_assert!(first.found.is_empty());
        }
    }
}
