//! The books on a real database: what cannot be written, what is written once, and what stands there at any time.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use app::AppError;
use app::ledger::posting::{self, Event};
use app::ledger::{
    Account, AsOf, Books, Entry, EntryKind, Hold, HoldState, Ledger, LedgerStore as _, Outcome, Posted,
    Provider, Transfer,
};
use common::{snapshot, usd};
use futures_util::future::join_all;
use kernel::{Currency, EntryId, FirmId, HoldId, Money, PersonId, SeededRng, Span, Timestamp};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};
use testkit::{START, World};

fn start() -> Timestamp {
    Timestamp::parse(START).unwrap()
}

fn later(seconds: i64) -> Timestamp {
    start().after(Span::from_micros(seconds * 1_000_000)).unwrap()
}

fn stripe() -> Provider {
    Provider::parse("stripe").unwrap()
}

fn trader(number: u8) -> PersonId {
    PersonId::derived(&[b"trader", &[number]])
}

fn named(name: &str) -> Event {
    let id = EntryId::derived(&[name.as_bytes()]);
    Event { id, cause: format!("test:{name}"), at: start() }
}

fn owed(name: &str, person: PersonId, amount: &str) -> Entry {
    posting::reward(named(name), person, usd(amount)).unwrap()
}

fn hold(name: &str, person: PersonId, amount: &str) -> Hold {
    Hold {
        id: HoldId::derived(&[name.as_bytes()]),
        account: Account::TraderPayable(person),
        amount: usd(amount),
        cause: format!("payout:{name}"),
        opened_at: start(),
        expires_at: None,
        state: HoldState::Pending,
    }
}

fn code<T: std::fmt::Debug>(told: Result<T, AppError>) -> &'static str {
    match told {
        Err(AppError::Refused { code, .. }) => code,
        other => panic!("{other:?}"),
    }
}

async fn balance(world: &World, firm: FirmId, account: Account) -> i64 {
    let usd = Currency::parse("USD").unwrap();
    world.store.balance(firm, &account, usd).await.unwrap().amount().unwrap().minor()
}

/// Debits minus credits by account and currency.
fn nets(books: &Books) -> BTreeMap<(String, Currency), i64> {
    let net = |it: &app::ledger::Balance| ((it.account.to_string(), it.currency), it.debits - it.credits);
    books.balances.iter().map(net).filter(|(_, net)| *net != 0).collect()
}

/// The constraint or the rule that refuses.
async fn refused(connection: &mut PgConnection, sql: &str) -> String {
    match connection.execute(AssertSqlSafe(sql.to_owned())).await {
        Err(sqlx::Error::Database(error)) => {
            error.constraint().map_or_else(|| error.code().unwrap_or_default().into_owned(), str::to_owned)
        }
        other => panic!("{sql}: {other:?}"),
    }
}

#[tokio::test]
async fn an_imbalance_cannot_be_written_by_whoever_owns_the_database() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    world.store.post(firm, &[owed("one", trader(1), "10")], start()).await.unwrap();
    let mut owner = world.database.superuser().await;
    let entry = |lines: i64| {
        format!(
            "insert into ledger_entries (firm_id, id, kind, cause, effective_at, recorded_at, digest, lines)
             values ('{firm}', '00000000-0000-0000-0000-000000000001', 'reward', 'x', now(), now(), sha256('x'), {lines})
             returning firm_id, id, lines"
        )
    };
    let transfer = |amount: &str, debit: &str, credit: &str| {
        format!(
            "with new as ({}) insert into ledger_transfers
             (firm_id, entry_id, line, currency, amount_minor, debit, credit, effective_at, recorded_at)
             select firm_id, id, 1, 'USD', {amount}, '{debit}', '{credit}', now(), now() from new",
            entry(1)
        )
    };
    for (sql, wanted) in [
        (transfer("0", "bank", "exchange"), "ledger_transfers_amount_positive"),
        (transfer("-1", "bank", "exchange"), "ledger_transfers_amount_positive"),
        (transfer("null", "bank", "exchange"), "23502"),
        (transfer("1", "bank", "bank"), "ledger_transfers_two_sides"),
        (transfer("1", "cash", "bank"), "ledger_transfers_debit_known"),
        (transfer("1", "bank", "fee_income:x"), "ledger_transfers_credit_known"),
        (entry(1), "ledger_entries_last_line"),
        (transfer("1", "bank", "exchange").replace("sha256('x'), 1", "sha256('x'), 2"), "ledger_entries_last_line"),
        // A line more for an entry of yesterday, and a line of nothing.
        (
            "insert into ledger_transfers (firm_id, entry_id, line, currency, amount_minor, debit, credit, effective_at, recorded_at)
             select firm_id, entry_id, 2, currency, 1, debit, credit, now(), now() from ledger_transfers"
                .to_owned(),
            "ledger_transfers_entry",
        ),
        (
            "insert into ledger_transfers (firm_id, entry_id, line, currency, amount_minor, debit, credit, effective_at, recorded_at)
             select firm_id, gen_random_uuid(), 1, currency, 1, debit, credit, now(), now() from ledger_transfers"
                .to_owned(),
            "ledger_transfers_entry",
        ),
    ] {
        assert_eq!(refused(&mut owner, &sql).await, wanted, "{sql}");
    }
    owner.execute(AssertSqlSafe(transfer("1", "bank", "exchange"))).await.unwrap();
    let books = world.store.books(firm, AsOf::default()).await.unwrap();
    assert!(books.balanced().unwrap());
    assert_eq!(books.balances.len(), 4);
}

#[tokio::test]
async fn an_id_names_one_content_for_ever() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let (store, one) = (&world.store, owed("one", trader(1), "10"));
    assert_eq!(store.post(firm, std::slice::from_ref(&one), start()).await.unwrap(), [Posted::New]);
    // Later, and with something new.
    let two = owed("two", trader(1), "5");
    let both = [one.clone(), two.clone()];
    assert_eq!(store.post(firm, &both, later(5)).await.unwrap(), [Posted::AsItWas, Posted::New]);
    let kept = store.entry(firm, one.id()).await.unwrap().unwrap();
    assert_eq!((kept.at, &kept.entry), (start(), &one));

    // Another amount, person, kind, time: nothing of such a call is written.
    let three = owed("three", trader(1), "1");
    let moved = posting::reward(Event { at: later(1), ..named("one") }, trader(1), usd("10")).unwrap();
    let refund = posting::overpayment_refunded(named("one"), &stripe(), usd("10")).unwrap();
    for other in [owed("one", trader(1), "10.01"), owed("one", trader(2), "10"), moved, refund] {
        assert_eq!(code(store.post(firm, &[three.clone(), other], start()).await), "entry_id_reused");
        assert!(store.entry(firm, three.id()).await.unwrap().is_none());
    }
    // Also within one call.
    let twice = [three.clone(), owed("three", trader(1), "2")];
    assert_eq!(code(store.post(firm, &twice, start()).await), "entry_id_reused");
    assert_eq!(balance(&world, firm, Account::TraderPayable(trader(1))).await, 1_500);

    // A hundred at once.
    let posts = join_all((0..100).map(|_| store.post(firm, std::slice::from_ref(&three), start()))).await;
    let new = posts.into_iter().filter(|posted| posted.as_ref().unwrap() == &[Posted::New]).count();
    assert_eq!(new, 1);
    assert_eq!(balance(&world, firm, Account::TraderPayable(trader(1))).await, 1_600);

    // The same id is another firm's own.
    let other = world.firm("two").await;
    assert_eq!(store.post(other, &[owed("one", trader(9), "7")], start()).await.unwrap(), [Posted::New]);
    assert_eq!(balance(&world, firm, Account::TraderRewards).await, 1_600);
    assert_eq!(balance(&world, other, Account::TraderRewards).await, 700);
}

#[tokio::test]
async fn an_entry_is_taken_back_once_and_for_a_reason() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let ledger = Ledger::new(world.store.clone(), world.clock.clone());
    let fee = posting::provider_fee(named("fee"), &stripe(), usd("3.20")).unwrap();
    ledger.post(firm, std::slice::from_ref(&fee)).await.unwrap();
    let reversal = ledger.reverse(firm, fee.id(), later(1), "booked twice").await.unwrap();
    assert_eq!(ledger.reverse(firm, fee.id(), later(1), "booked twice").await.unwrap(), reversal);
    assert_eq!(code(ledger.reverse(firm, fee.id(), later(1), "another reason").await), "entry_id_reused");
    assert!(matches!(ledger.reverse(firm, reversal.id(), later(2), "x").await, Err(AppError::Bug { .. })));
    let unknown = ledger.reverse(firm, EntryId::derived(&[b"nothing"]), later(2), "x").await;
    assert!(matches!(unknown, Err(AppError::NotFound("entry"))));
    assert_eq!(nets(&world.store.books(firm, AsOf::default()).await.unwrap()), BTreeMap::new());
    let kept = world.store.entry(firm, reversal.id()).await.unwrap().unwrap().entry;
    assert_eq!((kept.reverses(), kept.reason()), (Some(fee.id()), Some("booked twice")));

    let usd = Currency::parse("USD").unwrap();
    let fees = Account::ProviderFees(stripe());
    let lines = world.store.lines(firm, &fees, usd, 0, 10).await.unwrap();
    let told: Vec<_> = lines.iter().map(|line| (line.kind.as_str(), line.amount.minor())).collect();
    assert_eq!(told, [("provider_fee", 320), ("reversal", -320)]);
    assert_eq!(lines[0].other, Account::ProviderClearing(stripe()));
    let rest = world.store.lines(firm, &fees, usd, lines[0].number, 10).await.unwrap();
    assert_eq!(rest, &lines[1..]);

    // Who may look.
    let person = world.person(firm, "trader@one.example").await;
    let context = world.context_of(firm, &person);
    assert!(matches!(ledger.books(&context, AsOf::default()).await, Err(AppError::Forbidden)));
    let admin = world.context_of(firm, &world.admin(firm, "admin").await);
    assert!(ledger.books(&admin, AsOf::default()).await.unwrap().balanced().unwrap());
}

/// Any entry, by chance.
fn any_entry(rng: &SeededRng, number: i64) -> Entry {
    let accounts = [
        Account::Bank,
        Account::ProviderClearing(stripe()),
        Account::FeeIncome,
        Account::TaxPayable,
        Account::Discounts,
        Account::Exchange,
        Account::Unmatched(stripe()),
    ];
    let pick = |most: usize| usize::try_from(rng.between(0, i64::try_from(most).unwrap() - 1)).unwrap();
    let currencies = ["USD", "EUR", "JPY"];
    let transfers = (0..rng.between(1, 4)).map(|_| {
        let debit = pick(accounts.len());
        let credit = (debit + 1 + pick(accounts.len() - 1)) % accounts.len();
        let currency = Currency::parse(currencies[pick(3)]).unwrap();
        let amount = Money::from_minor(rng.between(1, 1_000_000), currency);
        Transfer::new(accounts[debit].clone(), accounts[credit].clone(), amount).unwrap()
    });
    let id = EntryId::derived(&[b"any", &number.to_be_bytes()]);
    let effective_at = later(rng.between(0, 100));
    Entry::new(id, EntryKind::Difference, "test:any".to_owned(), effective_at, transfers.collect()).unwrap()
}

#[tokio::test]
async fn the_books_of_any_day_as_known_on_any_other_add_up() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let rng = SeededRng::new(7);
    let mut model: Vec<(Timestamp, Entry)> = Vec::new();
    for round in 0..12_i64 {
        let recorded_at = later(round * 10);
        let entries: Vec<Entry> = (0..10).map(|number| any_entry(&rng, round * 10 + number)).collect();
        world.store.post(firm, &entries, recorded_at).await.unwrap();
        model.extend(entries.into_iter().map(|entry| (recorded_at, entry)));
        if round % 3 == 1 {
            snapshot(&world, firm).await;
        }
    }
    let sum = |as_of: AsOf| {
        let mut nets: BTreeMap<(String, Currency), i64> = BTreeMap::new();
        for (recorded_at, entry) in &model {
            let known = as_of.recorded.is_none_or(|end| *recorded_at <= end)
                && as_of.effective.is_none_or(|end| entry.effective_at() <= end);
            for transfer in entry.transfers().iter().filter(|_| known) {
                let (minor, currency) = (transfer.amount().minor(), transfer.amount().currency());
                *nets.entry((transfer.debit().to_string(), currency)).or_default() += minor;
                *nets.entry((transfer.credit().to_string(), currency)).or_default() -= minor;
            }
        }
        nets.retain(|_, net| *net != 0);
        nets
    };
    let instants =
        [None, Some(later(-1)), Some(later(0)), Some(later(35)), Some(later(70)), Some(later(200))];
    for effective in instants {
        for recorded in instants {
            let as_of = AsOf { effective, recorded };
            let books = world.store.books(firm, as_of).await.unwrap();
            assert!(books.balanced().unwrap());
            assert_eq!(nets(&books), sum(as_of), "{as_of:?}");
        }
    }
    // With snapshots, without them, and with those of another cluster: the same.
    let all = world.store.books(firm, AsOf::default()).await.unwrap();
    let mut owner = world.database.superuser().await;
    for change in [
        "select 1",
        "alter table ledger_snapshots disable trigger all; update ledger_snapshots set cluster = 1, horizon = '99999999'",
        "alter table ledger_snapshot_lines disable trigger all; delete from ledger_snapshot_lines; delete from ledger_snapshots",
    ] {
        sqlx::raw_sql(change).execute(&mut owner).await.unwrap();
        for wanted in &all.balances {
            let found = world.store.balance(firm, &wanted.account, wanted.currency).await.unwrap();
            assert_eq!(&found, wanted, "{change}");
        }
    }
}

#[tokio::test]
async fn balances_are_exact_while_others_write_and_snapshots_are_taken() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let writers = join_all((0..10_i64).map(|writer| {
        let store = world.store.clone();
        async move {
            for number in 0..20_i64 {
                let entry = owed(&format!("{writer}-{number}"), trader(1), "0.01");
                store.post(firm, &[entry], start()).await.unwrap();
            }
        }
    }));
    let (store, person) = (Arc::clone(&world.store), trader(1));
    let reader = async {
        let (mut last, usd) = (0, Currency::parse("USD").unwrap());
        for round in 0..60 {
            if round % 4 == 0 {
                store.snapshot(firm, start()).await.unwrap();
            }
            let found = store.balance(firm, &Account::TraderPayable(person), usd).await.unwrap();
            assert!(found.credits >= last, "what was there is there");
            last = found.credits;
        }
    };
    tokio::join!(writers, reader);
    snapshot(&world, firm).await;
    assert_eq!(balance(&world, firm, Account::TraderPayable(person)).await, 200);
    assert_eq!(balance(&world, firm, Account::TraderRewards).await, 200);
}

#[tokio::test]
async fn of_a_hundred_holds_at_once_those_that_fit_are_opened() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let (store, person) = (&world.store, trader(1));
    store.post(firm, &[owed("one", person, "100")], start()).await.unwrap();
    let holds: Vec<Hold> = (0..100).map(|number| hold(&format!("h{number}"), person, "30")).collect();
    let opened = join_all(holds.iter().map(|hold| store.open_hold(firm, hold, start()))).await;
    let (mut fit, mut short) = (Vec::new(), 0);
    for (hold, told) in holds.iter().zip(opened) {
        match told {
            Ok(Posted::New) => fit.push(hold.clone()),
            told => {
                assert_eq!(code(told), "funds_short");
                short += 1;
            }
        }
    }
    assert_eq!((fit.len(), short), (3, 97));
    assert_eq!(balance(&world, firm, Account::TraderPayable(person)).await, 1_000);
    assert_eq!(balance(&world, firm, Account::TraderHeld(person)).await, 9_000);
    // Opened again it is opened once; under the same name with another content it is another one.
    assert_eq!(store.open_hold(firm, &fit[0], later(5)).await.unwrap(), Posted::AsItWas);
    for other in
        [Hold { amount: usd("29"), ..fit[0].clone() }, Hold { expires_at: Some(later(9)), ..fit[0].clone() }]
    {
        assert_eq!(code(store.open_hold(firm, &other, start()).await), "entry_id_reused");
    }

    // Fifty use it, fifty give it up: one of the two, once.
    let to = Account::PayoutClearing(stripe());
    let post = Outcome::Post(usd("30"), to.clone());
    let void = Outcome::Void("refused".to_owned());
    let outcomes = (0..100).map(|number| if number % 2 == 0 { &post } else { &void });
    let ended = join_all(outcomes.map(|outcome| store.end_hold(firm, fit[0].id, outcome, later(1)))).await;
    let state = store.hold(firm, fit[0].id).await.unwrap().unwrap().state;
    let by_post = state == HoldState::Posted;
    for (number, told) in ended.into_iter().enumerate() {
        if (number % 2 == 0) == by_post {
            assert_eq!(told.unwrap().unwrap().state, state);
        } else {
            assert_eq!(code(told), "hold_ended");
        }
    }
    let sent = if by_post { 3_000 } else { 0 };
    assert_eq!(balance(&world, firm, to.clone()).await, sent);
    assert_eq!(balance(&world, firm, Account::TraderHeld(person)).await, 6_000);

    // A part, and the rest is free again; asking for another part is something else.
    let part = Outcome::Post(usd("12.34"), to.clone());
    assert_eq!(
        code(store.end_hold(firm, fit[1].id, &Outcome::Post(usd("31"), to.clone()), later(2)).await),
        "funds_short"
    );
    store.end_hold(firm, fit[1].id, &part, later(2)).await.unwrap().unwrap();
    store.end_hold(firm, fit[1].id, &part, later(3)).await.unwrap().unwrap();
    let other = Outcome::Post(usd("12.35"), to.clone());
    assert_eq!(code(store.end_hold(firm, fit[1].id, &other, later(2)).await), "hold_ended");
    assert_eq!(balance(&world, firm, to).await, sent + 1_234);
    assert!(store.end_hold(firm, HoldId::derived(&[b"no"]), &part, later(2)).await.unwrap().is_none());
    let books = store.books(firm, AsOf::default()).await.unwrap();
    assert!(books.balanced().unwrap());
}

#[tokio::test]
async fn a_hold_whose_time_is_over_expires_and_cannot_be_used() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let person = trader(1);
    let ledger = Ledger::new(world.store.clone(), world.clock.clone());
    ledger.post(firm, &[owed("one", person, "100")]).await.unwrap();
    let short = Hold { expires_at: Some(later(60)), ..hold("short", person, "40") };
    let long = hold("long", person, "50");
    for hold in [&short, &long] {
        world.store.open_hold(firm, hold, start()).await.unwrap();
    }
    assert_eq!(ledger.expire_holds(firm).await.unwrap(), 0);
    world.clock.advance(Span::from_seconds(60));
    let post = Outcome::Post(usd("40"), Account::PayoutClearing(stripe()));
    assert_eq!(code(ledger.end_hold(firm, short.id, &post).await), "hold_ended");
    assert_eq!(ledger.expire_holds(firm).await.unwrap(), 1);
    assert_eq!(ledger.expire_holds(firm).await.unwrap(), 0);
    assert_eq!(world.store.hold(firm, short.id).await.unwrap().unwrap().state, HoldState::Expired);
    assert_eq!(world.store.hold(firm, long.id).await.unwrap().unwrap().state, HoldState::Pending);
    assert_eq!(balance(&world, firm, Account::TraderPayable(person)).await, 5_000);
}
