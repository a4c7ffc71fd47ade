//! Accounts whose rules look at each open position are looked at where such a rule has something to say or to remember, and
//! sleep in between. Beside every desk stands the scan: it says and remembers the same at every quote.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    clippy::similar_names,
    reason = "a test may panic, and a wildcard asks for one kind of event among all"
)]

mod common;

use common::*;
use kernel::{AccountId, SeededRng, Side, decimal};
use rules::kinds::{LockAt, LossBase, OpenLossPer, Trail};
use rules::{Effect, Program, Rule};

/// With a floor that is far away.
fn beside_a_floor(rules: Vec<Rule>) -> Program {
    let floor = total(Trail::Static, percent("50"), LockAt::None);
    program(rules.into_iter().chain([floor]).collect())
}

fn amount(text: &str) -> LossBase {
    LossBase::Amount(money(text))
}

/// What a quote without a spread led to: how often the account was looked at, and how many verdicts there were.
fn at_quote(desk: &mut Desk, account: AccountId, name: &str, price: &str) -> (u64, usize) {
    let before = desk.looks(account).0;
    let said = desk.quote(name, price, price);
    (desk.looks(account).0 - before, verdicts(&said).len())
}

#[test]
fn a_quote_that_changes_nothing_does_not_look_at_an_account_with_an_open_loss_rule() {
    let program = beside_a_floor(vec![open_loss(OpenLossPer::Trade, amount("500"), Effect::Flag)]);
    let mut desk = Desk::new();
    let account = desk.open(&program, 1);
    desk.quotes(&[("EURUSD", "1.10000", "1.10000"), ("XAUUSD", "2000", "2000")]);
    desk.buy(account, "1", "EURUSD");
    desk.sell(account, "1", "XAUUSD");
    // A dollar a point of the one, ten cents a point of the other.
    for (name, price) in
        [("EURUSD", "1.09501"), ("XAUUSD", "2004.999"), ("EURUSD", "1.15"), ("XAUUSD", "1950")]
    {
        assert_eq!(at_quote(&mut desk, account, name, price), (0, 0), "{name} at {price}");
    }
    assert_eq!(at_quote(&mut desk, account, "EURUSD", "1.09500"), (1, 1));
    // It has spoken about this one.
    assert_eq!(at_quote(&mut desk, account, "EURUSD", "1.05000"), (0, 0));
    assert_eq!(at_quote(&mut desk, account, "XAUUSD", "2005"), (1, 1));
    assert_eq!(at_quote(&mut desk, account, "XAUUSD", "2050"), (0, 0));
}

#[test]
fn all_positions_together_are_watched_by_the_equity() {
    let program = beside_a_floor(vec![open_loss(OpenLossPer::Account, amount("1000"), Effect::Flag)]);
    let mut desk = Desk::new();
    let account = desk.open(&program, 1);
    desk.quotes(&[("EURUSD", "1.10000", "1.10000"), ("XAUUSD", "2000", "2000")]);
    let euro = desk.buy(account, "1", "EURUSD");
    desk.buy(account, "1", "XAUUSD");
    assert_eq!(at_quote(&mut desk, account, "EURUSD", "1.09400"), (0, 0));
    assert_eq!(at_quote(&mut desk, account, "XAUUSD", "1996.001"), (0, 0));
    assert_eq!(at_quote(&mut desk, account, "XAUUSD", "1996"), (1, 1));
    assert_eq!(at_quote(&mut desk, account, "XAUUSD", "1990"), (0, 0));
    // It forgets what it has spoken about with the next price after that is closed, and then only sleeps again.
    desk.close(account, euro);
    assert_eq!(at_quote(&mut desk, account, "XAUUSD", "1991"), (1, 0));
    assert_eq!(at_quote(&mut desk, account, "XAUUSD", "1992"), (0, 0));
}

#[test]
fn an_idea_is_looked_at_when_it_loses_more_than_ever() {
    let program = beside_a_floor(vec![per_idea(fixed("500"), 10, false, Effect::Flag)]);
    let mut desk = Desk::new();
    let account = desk.open(&program, 1);
    desk.quotes(&[("EURUSD", "1.10000", "1.10000"), ("XAUUSD", "2000", "2000")]);
    desk.buy(account, "1", "EURUSD");
    desk.buy(account, "2", "EURUSD");
    desk.sell(account, "1", "XAUUSD");
    // A loss larger than every one before is remembered; nothing else is.
    for (name, price, seen) in [
        ("EURUSD", "1.10100", (0, 0)),
        ("EURUSD", "1.09900", (1, 0)),
        ("EURUSD", "1.09950", (0, 0)),
        ("EURUSD", "1.09900", (0, 0)),
        ("XAUUSD", "2002.999", (0, 0)),
        ("XAUUSD", "2003.001", (1, 0)),
        ("EURUSD", "1.09833", (1, 1)),
        ("EURUSD", "1.09834", (0, 0)),
        ("XAUUSD", "2005.000", (0, 0)),
        ("XAUUSD", "2005.001", (1, 1)),
        ("XAUUSD", "2005.010", (0, 0)),
        ("XAUUSD", "2005.011", (1, 0)),
    ] {
        assert_eq!(at_quote(&mut desk, account, name, price), seen, "{name} at {price}");
    }
}

/// How often an account with these rules is looked at while prices walk, and how often it was: with every quote that it
/// depends on. The positions are the same in all runs.
fn walked(currency_code: &str, rules: Vec<Rule>, names: &[(&str, Side)]) -> (u64, u64) {
    let mut program = beside_a_floor(rules);
    program.currency = currency(currency_code);
    let mut desk = Desk::new();
    let account = desk.open(&program, 1);
    let markets = [("AUDNZD", 5), ("EURUSD", 5), ("NZDUSD", 5), ("USDJPY", 3), ("XAUUSD", 3)];
    let mut levels = [108_000, 110_000, 60_000, 150_000, 2_000_000_i64];
    let price = |level: i64, decimals| decimal::format(level, decimals, decimals);
    let mut quote = |desk: &mut Desk, which: usize, step: i64| {
        let ((name, decimals), level) = (markets.get(which).unwrap(), levels.get_mut(which).unwrap());
        *level += step * if which == 4 { 20 } else { 1 };
        desk.quote(name, &price(*level, *decimals), &price(*level + 5, *decimals));
    };
    for which in 0..markets.len() {
        quote(&mut desk, which, 0);
    }
    for (name, side) in names {
        desk.trade(account, *side, "0.5", name);
    }
    let before = desk.looks(account);
    let rng = SeededRng::new(5);
    for _ in 0..3_000 {
        quote(&mut desk, usize::try_from(rng.between(0, 4)).unwrap(), rng.between(-30, 30));
    }
    let after = desk.looks(account);
    (after.0 - before.0, after.1 - before.1)
}

#[test]
fn such_accounts_sleep_through_nearly_all_prices() {
    let both = || {
        vec![
            open_loss(OpenLossPer::Trade, amount("100"), Effect::Flag),
            open_loss(OpenLossPer::Account, amount("400"), Effect::Flag),
        ]
    };
    let ideas = || vec![per_idea(fixed("2000"), 10, false, Effect::Flag)];
    let dollars =
        [("EURUSD", Side::Buy), ("XAUUSD", Side::Sell), ("EURUSD", Side::Sell), ("NZDUSD", Side::Buy)];
    let converted = [("AUDNZD", Side::Buy), ("EURUSD", Side::Sell), ("USDJPY", Side::Buy)];
    for (what, currency_code, rules, names, most) in [
        ("open losses in dollars", "USD", both(), &dollars[..], 100),
        ("open losses of which some are converted", "USD", both(), &converted[..], 10),
        ("open losses in euros", "EUR", both(), &dollars[..], 10),
        ("ideas in dollars", "USD", ideas(), &dollars[..], 10),
        ("ideas of which some are converted", "USD", ideas(), &converted[..], 4),
    ] {
        let (looks, scanned) = walked(currency_code, rules, names);
        eprintln!("{what}: {looks} looks in 3000 ticks, {scanned} before");
        assert!(looks * most < scanned, "{what}: {looks} looks, {scanned} by the scan");
    }
}
