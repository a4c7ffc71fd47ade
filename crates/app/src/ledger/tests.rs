use std::collections::BTreeMap;

use kernel::{Currency, EntryId, HoldId, Money, PersonId, Span, Timestamp};
use proptest::prelude::*;

use super::posting::{self, Event, PaidFrom, Sale};
use super::*;

fn usd(minor: i64) -> Money {
    Money::from_minor(minor, Currency::parse("USD").unwrap())
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_micros(1_767_600_000_000_000 + second * 1_000_000)
}

fn stripe() -> Provider {
    Provider::parse("stripe").unwrap()
}

fn person(number: u8) -> PersonId {
    PersonId::derived(&[b"person", &[number]])
}

fn event(number: u64) -> Event {
    let id = EntryId::derived(&[b"test", &number.to_be_bytes()]);
    Event { id, cause: format!("test:{number}"), at: at(i64::try_from(number).unwrap()) }
}

/// Debits minus credits of every account and currency.
fn nets<'e>(entries: impl IntoIterator<Item = &'e Entry>) -> BTreeMap<(String, Currency), i64> {
    let mut nets: BTreeMap<(String, Currency), i64> = BTreeMap::new();
    for transfer in entries.into_iter().flat_map(Entry::transfers) {
        let currency = transfer.amount().currency();
        *nets.entry((transfer.debit().to_string(), currency)).or_default() += transfer.amount().minor();
        *nets.entry((transfer.credit().to_string(), currency)).or_default() -= transfer.amount().minor();
    }
    nets.retain(|_, net| *net != 0);
    nets
}

fn every_account() -> Vec<Account> {
    let (provider, person) = (stripe(), person(1));
    vec![
        Account::Bank,
        Account::ProviderClearing(provider.clone()),
        Account::Disputes(provider.clone()),
        Account::FeeIncome,
        Account::Discounts,
        Account::Refunds,
        Account::TaxPayable,
        Account::Overpaid,
        Account::ProviderFees(provider.clone()),
        Account::DisputeLosses,
        Account::TraderRewards,
        Account::TraderPayable(person),
        Account::TraderHeld(person),
        Account::PayoutClearing(provider.clone()),
        Account::AffiliateCommissions,
        Account::AffiliatePayable(person),
        Account::AffiliateHeld(person),
        Account::Exchange,
        Account::Unmatched(provider),
    ]
}

#[test]
fn every_account_has_one_name_and_is_read_back() {
    let accounts = every_account();
    assert_eq!(accounts.iter().map(Account::kind).collect::<Vec<_>>(), Account::KINDS);
    for account in accounts {
        assert_eq!(account.to_string().parse::<Account>().unwrap(), account);
        let held = account.held();
        let liable = matches!(account, Account::TraderPayable(_) | Account::AffiliatePayable(_));
        assert_eq!(held.is_ok(), liable, "{account}");
        assert!(held.is_err() || (account.bounded() && held.unwrap().bounded()));
    }
    let upper =
        format!("trader_payable:{}", person(1)).to_uppercase().replace("TRADER_PAYABLE", "trader_payable");
    for bad in [
        "",
        "cash",
        "bank:x",
        "fee_income:stripe",
        "provider_clearing",
        "provider_clearing:",
        "disputes:Stripe",
        "trader_payable:somebody",
        "bank ",
        &upper,
        "unmatched:_x",
    ] {
        assert!(matches!(bad.parse::<Account>(), Err(LedgerError::NoAccount(_))), "{bad}");
    }
}

/// The same list in the database.
#[test]
fn the_migration_knows_the_same_accounts_and_kinds_of_entries() {
    let sql = include_str!("../../../store/migrations/0023_ledger.sql");
    for kind in Account::KINDS {
        let known = |column: &str| {
            let (_, check) = sql.split_once(column).unwrap();
            let check = check.split_once("$')").unwrap().0;
            check.split(['(', ')', '|', '^', ':']).any(|word| word == kind)
        };
        assert!(known("ledger_transfers_debit_known") && known("ledger_transfers_credit_known"), "{kind}");
    }
    let (_, check) = sql.split_once("ledger_entries_kind_known").unwrap();
    let check = check.split_once("))").unwrap().0;
    assert_eq!(check.matches('\'').count(), 2 * EntryKind::ALL.len());
    for kind in EntryKind::ALL {
        assert!(check.contains(&format!("'{}'", kind.word())), "{kind:?}");
    }
}

#[test]
fn nothing_that_does_not_balance_can_be_said() {
    let bank = || Account::Bank;
    for minor in [0, -1, i64::MIN] {
        let refused = Transfer::new(bank(), Account::FeeIncome, usd(minor));
        assert_eq!(refused, Err(LedgerError::NotPositive(minor)));
    }
    let refused = Transfer::new(bank(), bank(), usd(1));
    assert_eq!(refused, Err(LedgerError::SameAccount("bank".to_owned())));
    let transfer = Transfer::new(bank(), Account::FeeIncome, usd(1)).unwrap();
    for (count, fits) in [(0, false), (1, true), (MOST_TRANSFERS, true), (MOST_TRANSFERS + 1, false)] {
        let Event { id, cause, at } = event(1);
        let entry = Entry::new(id, EntryKind::Capture, cause, at, vec![transfer.clone(); count]);
        assert_eq!(entry.is_ok(), fits, "{count}");
    }
}

#[test]
fn events_post_what_the_decision_says() {
    let names = |entry: &Entry| -> Vec<String> {
        let name = |it: &Transfer| format!("{} {} {}", it.debit(), it.credit(), it.amount().minor());
        entry.transfers().iter().map(name).collect()
    };
    let sale = Sale { paid: usd(11_900), tax: usd(1_900), discount: usd(2_000) };
    let captured = posting::captured(event(1), sale, Some(&stripe())).unwrap().unwrap();
    assert_eq!(
        names(&captured),
        [
            "provider_clearing:stripe fee_income 10000",
            "provider_clearing:stripe tax_payable 1900",
            "discounts fee_income 2000",
        ]
    );
    let free = Sale { paid: usd(0), tax: usd(0), discount: usd(49_000) };
    let free = posting::captured(event(1), free, None).unwrap().unwrap();
    assert_eq!(names(&free), ["discounts fee_income 49000"]);
    let trial = Sale { paid: usd(0), tax: usd(0), discount: usd(0) };
    assert_eq!(posting::captured(event(1), trial, None), Ok(None));
    assert!(posting::captured(event(1), sale, None).is_err(), "somebody must hold what was paid");

    let refund = posting::refunded(event(2), &stripe(), usd(5_950), usd(950)).unwrap();
    assert_eq!(
        names(&refund),
        ["refunds provider_clearing:stripe 5000", "tax_payable provider_clearing:stripe 950"]
    );
    let failed = refund.reversal(at(9), "the card is closed").unwrap();
    assert_eq!(nets([&refund, &failed]), BTreeMap::new());
    assert_eq!(failed.reversal(at(10), "x"), Err(LedgerError::Reversal(failed.id())));
    for no_reason in ["", "  ", &"x".repeat(MOST_REASON + 1)] {
        assert_eq!(refund.reversal(at(9), no_reason), Err(LedgerError::Reason));
    }

    let opened = posting::dispute_opened(event(3), &stripe(), usd(11_900), Some(usd(1_500))).unwrap();
    let lost = posting::dispute_lost(event(4), &stripe(), usd(11_900)).unwrap();
    let won = posting::dispute_won(event(4), &stripe(), usd(11_900)).unwrap();
    let key = |name: &str| (name.to_owned(), usd(0).currency());
    let kept = [(key("provider_clearing:stripe"), -1_500), (key("provider_fees:stripe"), 1_500)];
    assert_eq!(nets([&opened, &won]), BTreeMap::from(kept));
    assert_eq!(nets([&opened, &lost])[&key("dispute_losses")], 11_900);

    // A payout from the account to the trader, and what it costs.
    let trader = person(1);
    let hold = Hold {
        id: HoldId::derived(&[b"payout"]),
        account: Account::TraderPayable(trader),
        amount: usd(80_000),
        cause: "payout:1".to_owned(),
        opened_at: at(5),
        expires_at: None,
        state: HoldState::Pending,
    };
    let to = Account::PayoutClearing(stripe());
    let steps = [
        posting::reward(event(5), trader, usd(80_000)).unwrap(),
        hold.entry().unwrap(),
        hold.end(Outcome::Post(usd(80_000), to), at(6)).unwrap().entry,
        posting::payout_settled(event(6), &stripe(), &PaidFrom::Bank, usd(80_000), Some(usd(25))).unwrap(),
    ];
    let paid = BTreeMap::from([
        (key("bank"), -80_025),
        (key("provider_fees:stripe"), 25),
        (key("trader_rewards"), 80_000),
    ]);
    assert_eq!(nets(&steps), paid);
    let to = Account::TraderPayable(trader);
    let returned = posting::payout_returned(event(7), &stripe(), to, usd(80_000)).unwrap();
    let owed = nets(steps[..3].iter().chain([&returned]));
    assert_eq!(owed[&(format!("trader_payable:{trader}"), usd(0).currency())], -80_000);

    let euros = Money::from_minor(9_000, Currency::parse("EUR").unwrap());
    let converted = posting::converted(event(8), &stripe(), euros, usd(10_000)).unwrap();
    let by_currency: Vec<i64> = nets([&converted]).into_values().collect();
    assert_eq!(by_currency.iter().sum::<i64>(), 0);
    for (more, account) in [(7, "unmatched:stripe"), (-7, "provider_clearing:stripe")] {
        let entry = posting::difference(event(9), &stripe(), usd(more), "a fee we did not know").unwrap();
        assert_eq!(entry.transfers()[0].credit().to_string(), account);
    }
}

#[test]
fn a_hold_ends_once_and_gives_the_rest_back() {
    let hold = Hold {
        id: HoldId::derived(&[b"hold"]),
        account: Account::TraderPayable(person(1)),
        amount: usd(100),
        cause: "payout:1".to_owned(),
        opened_at: at(0),
        expires_at: Some(at(60)),
        state: HoldState::Pending,
    };
    let to = || Account::PayoutClearing(stripe());
    let post = |minor| Outcome::Post(usd(minor), to());
    let part = hold.end(post(30), at(59)).unwrap();
    assert_eq!((part.state, part.entry.transfers().len()), (HoldState::Posted, 2));
    let left = nets([&hold.entry().unwrap(), &part.entry]);
    assert_eq!(left.values().copied().collect::<Vec<_>>(), [-30, 30]);
    assert_eq!(hold.end(post(101), at(1)), Err(LedgerError::BeyondHold { held: 100, asked: 101 }));
    assert_eq!(hold.end(post(0), at(1)), Err(LedgerError::NotPositive(0)));
    assert_eq!(hold.end(post(1), at(60)), Err(LedgerError::HoldEnded(HoldState::Expired)));
    assert_eq!(hold.end(Outcome::Expire, at(59)), Err(LedgerError::NotOver));
    assert_eq!(hold.end(Outcome::Void(String::new()), at(1)), Err(LedgerError::Reason));
    for outcome in [Outcome::Expire, Outcome::Void("refused".to_owned())] {
        let ended = hold.end(outcome, at(60)).unwrap();
        assert_eq!(nets([&hold.entry().unwrap(), &ended.entry]), BTreeMap::new());
        assert_eq!(ended.entry.id(), part.entry.id(), "whatever the end, there is one");
    }
    for state in [HoldState::Posted, HoldState::Voided, HoldState::Expired] {
        let ended = Hold { state, ..hold.clone() };
        for outcome in [post(1), Outcome::Expire, Outcome::Void("x".to_owned())] {
            assert_eq!(ended.end(outcome, at(70)), Err(LedgerError::HoldEnded(state)));
        }
    }
    let euros = Money::from_minor(1, Currency::parse("EUR").unwrap());
    assert!(matches!(hold.end(Outcome::Post(euros, to()), at(1)), Err(LedgerError::Currencies(..))));
    let never = Hold { expires_at: None, ..hold };
    assert_eq!(never.end(Outcome::Expire, at(i64::from(u32::MAX))), Err(LedgerError::NotOver));
}

fn any_account() -> impl Strategy<Value = Account> {
    (0..every_account().len(), 0_u8..3).prop_map(|(place, number)| {
        let account = every_account().swap_remove(place);
        if matches!(account, Account::TraderPayable(_)) {
            Account::TraderPayable(person(number))
        } else {
            account
        }
    })
}

fn any_transfer() -> impl Strategy<Value = Transfer> {
    let currency = prop_oneof![Just("USD"), Just("EUR"), Just("JPY")];
    (any_account(), any_account(), 1_i64..1_000_000_000, currency).prop_filter_map(
        "two sides",
        |(debit, credit, minor, currency)| {
            Transfer::new(debit, credit, Money::from_minor(minor, Currency::parse(currency).unwrap())).ok()
        },
    )
}

fn any_entry() -> impl Strategy<Value = Entry> {
    let transfers = proptest::collection::vec(any_transfer(), 1..=MOST_TRANSFERS);
    (any::<u64>(), 0..EntryKind::ALL.len(), transfers, 0_i64..1_000_000).prop_map(
        |(number, kind, transfers, second)| {
            let id = EntryId::derived(&[&number.to_be_bytes()]);
            let bound = [
                EntryKind::Reversal,
                EntryKind::Hold,
                EntryKind::HoldPosted,
                EntryKind::HoldVoided,
                EntryKind::HoldExpired,
            ];
            let kind = EntryKind::ALL[kind];
            let kind = if bound.contains(&kind) { EntryKind::Difference } else { kind };
            Entry::new(id, kind, "test:1".to_owned(), at(second), transfers).unwrap()
        },
    )
}

proptest! {
    #[test]
    fn debits_equal_credits_whatever_is_posted(entries in proptest::collection::vec(any_entry(), 0..20)) {
        let mut sums: BTreeMap<Currency, i64> = BTreeMap::new();
        for ((_, currency), net) in nets(&entries) {
            *sums.entry(currency).or_default() += net;
        }
        prop_assert!(sums.values().all(|sum| *sum == 0));
    }

    #[test]
    fn an_entry_and_its_reversal_leave_nothing(entry in any_entry(), later in 0_i64..1_000) {
        let reversal = entry.reversal(entry.effective_at().after(Span::from_micros(later * 1_000_000)).unwrap(), "wrong").unwrap();
        prop_assert_eq!(nets([&entry, &reversal]), BTreeMap::new());
        prop_assert_eq!(reversal.reverses(), Some(entry.id()));
        prop_assert_ne!(reversal.digest(), entry.digest());
    }

    #[test]
    fn a_digest_is_of_all_the_content_and_of_nothing_else(one in any_entry(), other in any_entry()) {
        let renamed = Entry::stored(
            EntryId::derived(&[b"other"]), one.kind(), one.cause().to_owned(), one.effective_at(),
            one.transfers().to_vec(), one.reverses(), one.reason().map(str::to_owned),
        ).unwrap();
        prop_assert_eq!(renamed.digest(), one.digest());
        let alike = (one.kind(), one.effective_at(), one.transfers()) == (other.kind(), other.effective_at(), other.transfers());
        prop_assert_eq!(one.digest() == other.digest(), alike);
        prop_assert_ne!(one.clone().because("x").unwrap().digest(), one.digest());
    }

    #[test]
    fn the_tax_in_all_refunds_together_is_the_tax(
        paid in 1_i64..10_000_000, rate in 0_i64..100, cuts in proptest::collection::vec(0_u32..1_000, 0..6),
    ) {
        let sale = Sale { paid: usd(paid), tax: usd(paid * rate / (100 + rate)), discount: usd(0) };
        let mut borders: Vec<i64> = cuts.iter().map(|cut| paid * i64::from(*cut) / 1_000).collect();
        borders.extend([0, paid]);
        borders.sort_unstable();
        borders.dedup();
        let (mut refunded, mut tax) = (usd(0), usd(0));
        for pair in borders.windows(2) {
            let part = usd(pair[1] - pair[0]);
            let share = posting::tax_in_refund(sale, (refunded, tax), part).unwrap();
            prop_assert!(share.minor() >= 0 && share.minor() <= part.minor());
            refunded = refunded.plus(part).unwrap();
            tax = tax.plus(share).unwrap();
        }
        prop_assert_eq!((refunded, tax), (sale.paid, sale.tax));
    }
}
