//! The kinds of rules at work on quotes and orders. Every verdict that a test provokes must follow from its receipt.
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

use common::{Desk, at, hours, lots, money, symbol};
use engine::{
    Act, Cause, Change, Done, Event, OrderKind, OrderState, Place, Receipt, Refusal, Status, Verdict,
    VerdictKind, What,
};
use kernel::{AccountId, PersonId, Price, Side, Span};
use rules::{Figure, NewsEvent, Program, Rule};

/// 100,000 dollars, the day ends at 23:00 UTC, no commission; a phase with these rules.
fn program(phase: &str) -> Program {
    let text = format!(
        r#"
        name = "Test"
        currency = "USD"
        initial_balance = "100000"
        reset = {{ zone = "Europe/Prague", time = "00:00" }}
        [terms]
        instruments = ["EURUSD", "USDJPY", "XAUUSD"]
        leverage = 100
        commission_per_lot = "0"
        stop_out = "0"
        [[phases]]
        name = "Evaluation"
        {phase}
        "#
    );
    Program::from_toml(&text).unwrap()
}

/// A desk with EURUSD at 1.10000 without a spread.
fn desk(phase: &str) -> (Desk, AccountId) {
    let mut desk = Desk::new();
    let account = desk.open(&program(phase), 1);
    flat(&mut desk, "1.10000");
    (desk, account)
}

fn flat(desk: &mut Desk, price: &str) -> Vec<Event> {
    desk.quote("EURUSD", price, price)
}

/// The verdicts since the account opened, each proven by its receipt.
fn verdicts(desk: &Desk, program: &Program, account: AccountId) -> Vec<Verdict> {
    let mut found = Vec::new();
    for event in &desk.events {
        if event.account != account {
            continue;
        }
        if let What::Verdict(verdict) = &event.what {
            let firm = desk.engine.firm(account).unwrap();
            let text = program.canonical_json().unwrap();
            let receipt =
                Receipt::compose(firm, account, event.at, event.at, None, text, (**verdict).clone()).unwrap();
            if let Err(unproven) = receipt.prove() {
                panic!("{}: {unproven}", receipt.headline);
            }
            found.push((**verdict).clone());
        }
    }
    found
}

fn kinds(desk: &Desk, phase: &str, account: AccountId) -> Vec<(VerdictKind, String)> {
    let said = verdicts(desk, &program(phase), account);
    said.into_iter().map(|verdict| (verdict.kind, verdict.rule.into_owned())).collect()
}

fn buy(desk: &mut Desk, account: AccountId, size: &str) -> Result<Done, Refusal> {
    let place = Place {
        symbol: symbol("EURUSD"),
        side: Side::Buy,
        kind: OrderKind::Market,
        quantity: lots(size),
        stop_loss: None,
        take_profit: None,
    };
    desk.tell(account, Act::Place(place))
}

const SOFT: &str = r#"rules = [
  { kind = "daily_loss", reference = "balance", limit = { amount = "1000" }, breach = "at_or_below", effect = "soft" },
  { kind = "max_loss", trail = "static", limit = { amount = "3000" }, breach = "below" },
]"#;

#[test]
fn a_soft_breach_closes_everything_and_locks_until_the_reset() {
    let (mut desk, account) = desk(SOFT);
    buy(&mut desk, account, "1").unwrap();
    flat(&mut desk, "1.09001");
    assert!(kinds(&desk, SOFT, account).is_empty());
    flat(&mut desk, "1.09000");
    assert_eq!(kinds(&desk, SOFT, account), [(VerdictKind::SoftBreach, "daily_loss".to_owned())]);
    let state = desk.account(account);
    assert_eq!((state.status, state.balance), (Status::Active, money("99000")));
    assert!(state.positions.is_empty());
    assert_eq!(buy(&mut desk, account, "1"), Err(Refusal::AccountLocked));
    flat(&mut desk, "1.08000");
    assert_eq!(kinds(&desk, SOFT, account).len(), 1, "a locked account is not breached again");
    desk.wait_until(common::RESET);
    flat(&mut desk, "1.08000");
    buy(&mut desk, account, "1").unwrap();
    assert_eq!(desk.floor(account, 0), money("98000"), "a new day from the balance that was left");
}

#[test]
fn a_gap_through_a_soft_and_a_hard_floor_is_a_hard_breach() {
    let (mut desk, account) = desk(SOFT);
    buy(&mut desk, account, "1").unwrap();
    flat(&mut desk, "1.06990");
    assert_eq!(kinds(&desk, SOFT, account), [(VerdictKind::Breach, "max_loss".to_owned())]);
    assert_eq!(desk.account(account).status, Status::Breached);
}

#[test]
fn a_pause_leaves_what_is_open_and_takes_working_orders_back() {
    let phase = r#"rules = [{ kind = "daily_loss", reference = "equity", limit = { percent_of_initial = "1" }, breach = "below", effect = "pause" }]"#;
    let (mut desk, account) = desk(phase);
    buy(&mut desk, account, "1").unwrap();
    let limit = Place {
        symbol: symbol("EURUSD"),
        side: Side::Buy,
        kind: OrderKind::Limit(desk.points("EURUSD", "1.05000")),
        quantity: lots("1"),
        stop_loss: None,
        take_profit: None,
    };
    desk.tell(account, Act::Place(limit)).unwrap();
    let events = flat(&mut desk, "1.08000");
    let taken_back = events.iter().any(|event| match &event.what {
        What::Order(order) => order.state == OrderState::HeldBack,
        _ => false,
    });
    assert!(taken_back);
    assert_eq!(kinds(&desk, phase, account), [(VerdictKind::SoftBreach, "daily_loss".to_owned())]);
    assert_eq!(desk.account(account).positions.len(), 1);
    assert_eq!(buy(&mut desk, account, "0.01"), Err(Refusal::AccountLocked));
}

#[test]
fn warnings_are_given_once_a_day_at_each_share() {
    let phase = r#"rules = [{ kind = "daily_loss", reference = "balance", limit = { amount = "1000" }, breach = "below", warn_at = ["50", "80"] }]"#;
    let (mut desk, account) = desk(phase);
    buy(&mut desk, account, "1").unwrap();
    for (price, warned) in [("1.09501", 0), ("1.09500", 1), ("1.09600", 1), ("1.09400", 1), ("1.09150", 2)] {
        flat(&mut desk, price);
        assert_eq!(kinds(&desk, phase, account).len(), warned, "{price}");
    }
    desk.wait_until(common::RESET);
    flat(&mut desk, "1.09150");
    let again = verdicts(&desk, &program(phase), account);
    let shares: Vec<_> = again.iter().filter_map(|verdict| verdict.floor.as_ref().unwrap().used).collect();
    assert_eq!(shares.len(), 4, "a new day measured from the same balance warns again: {shares:?}");
    assert_eq!(desk.account(account).status, Status::Active);
}

#[test]
fn a_profit_cap_ends_the_day_on_the_way_up() {
    let phase = r#"rules = [{ kind = "daily_cap", reference = "equity", limit = { percent_of_initial = "3" }, breach = "at_or_below", effect = "soft" }]"#;
    let (mut desk, account) = desk(phase);
    buy(&mut desk, account, "1").unwrap();
    flat(&mut desk, "1.12999");
    assert_eq!(desk.account(account).positions.len(), 1);
    flat(&mut desk, "1.13000");
    assert_eq!(kinds(&desk, phase, account), [(VerdictKind::SoftBreach, "daily_cap".to_owned())]);
    assert_eq!(desk.account(account).balance, money("103000"));
}

#[test]
fn sizes_are_refused_at_the_order_and_when_a_working_order_fires() {
    let phase = r#"rules = [{ kind = "max_size", per = "account", steps = [{ from_profit = "0", lots = "2" }, { from_profit = "1000", lots = "3" }], effect = "refuse" }]"#;
    let (mut desk, account) = desk(phase);
    assert_eq!(buy(&mut desk, account, "2.01"), Err(Refusal::AgainstRule(0)));
    let stop = Place {
        symbol: symbol("EURUSD"),
        side: Side::Buy,
        kind: OrderKind::Stop(desk.points("EURUSD", "1.10100")),
        quantity: lots("1.5"),
        stop_loss: None,
        take_profit: None,
    };
    desk.tell(account, Act::Place(stop)).unwrap();
    buy(&mut desk, account, "1").unwrap();
    flat(&mut desk, "1.10100");
    assert_eq!(desk.account(account).positions.len(), 1, "together they would be too large");
    assert!(desk.account(account).orders.is_empty());
    flat(&mut desk, "1.12000");
    let position = *desk.account(account).positions.keys().next().unwrap();
    desk.close(account, position);
    buy(&mut desk, account, "3").unwrap();
}

#[test]
fn a_missing_stop_is_warned_of_and_then_closes_everything() {
    let phase = r#"rules = [{ kind = "stop_required", minutes = 5, cure_minutes = 60, effect = "close" }]"#;
    let (mut desk, account) = desk(phase);
    buy(&mut desk, account, "1").unwrap();
    desk.wait(Span::from_seconds(300));
    desk.clock();
    assert_eq!(kinds(&desk, phase, account), [(VerdictKind::Warning, "stop_required".to_owned())]);
    desk.wait(Span::from_seconds(3_600));
    desk.clock();
    assert_eq!(kinds(&desk, phase, account).len(), 2);
    assert!(desk.account(account).positions.is_empty());

    flat(&mut desk, "1.10000");
    let Ok(Done::Order(_)) = buy(&mut desk, account, "1") else { panic!("nothing is locked") };
    let position = *desk.account(account).positions.keys().next().unwrap();
    let stop_loss = Change::Set(desk.points("EURUSD", "1.09000"));
    desk.tell(account, Act::ChangePosition { position, stop_loss, take_profit: Change::Keep }).unwrap();
    desk.wait(hours(2));
    desk.clock();
    assert_eq!(kinds(&desk, phase, account).len(), 2, "cured in time");
}

fn payrolls(desk: &Desk) -> NewsEvent {
    NewsEvent {
        name: "US payrolls".to_owned(),
        at: desk.now.after(hours(1)).unwrap(),
        currencies: vec!["USD".to_owned()],
        symbols: Vec::new(),
    }
}

#[test]
fn releases_flag_fills_and_refuse_orders_on_targeted_instruments() {
    let phase = r#"rules = [
      { kind = "news_window", before_minutes = 2, after_minutes = 2, actions = ["stop_loss_fill", "hold"], effect = "flag" },
      { kind = "news_window", before_minutes = 2, after_minutes = 2, actions = ["open"], effect = "refuse" },
    ]"#;
    let (mut desk, account) = desk(phase);
    let release = payrolls(&desk);
    desk.tell(account, Act::Calendar(vec![release.clone()])).unwrap();
    let stopped = Place {
        symbol: symbol("EURUSD"),
        side: Side::Buy,
        kind: OrderKind::Market,
        quantity: lots("1"),
        stop_loss: Some(desk.points("EURUSD", "1.09000")),
        take_profit: None,
    };
    desk.tell(account, Act::Place(stopped)).unwrap();
    desk.now = release.at.before(Span::from_seconds(121)).unwrap();
    flat(&mut desk, "1.10000");
    buy(&mut desk, account, "0.01").unwrap();
    desk.now = release.at.before(Span::from_seconds(120)).unwrap();
    flat(&mut desk, "1.10000");
    assert_eq!(buy(&mut desk, account, "0.01"), Err(Refusal::AgainstRule(1)));
    desk.now = release.at;
    desk.clock();
    assert_eq!(kinds(&desk, phase, account).len(), 2, "both positions are held at the release");
    desk.now = release.at.after(Span::from_seconds(60)).unwrap();
    flat(&mut desk, "1.08900");
    let said = verdicts(&desk, &program(phase), account);
    assert_eq!(said.last().unwrap().kind, VerdictKind::Violation);
    assert_eq!(said.len(), 3, "the stop loss that fired inside the window");
    desk.now = release.at.after(Span::from_seconds(121)).unwrap();
    flat(&mut desk, "1.10000");
    buy(&mut desk, account, "0.01").unwrap();
}

#[test]
fn a_window_runs_on_when_the_calendar_changes_and_no_release_is_held_against_who_did_not_know_it() {
    let phase = r#"rules = [
      { kind = "news_window", before_minutes = 2, after_minutes = 10, actions = ["hold"], effect = "hard" },
      { kind = "news_window", before_minutes = 2, after_minutes = 10, actions = ["open"], effect = "refuse" },
    ]"#;
    let (mut desk, account) = desk(phase);
    let release = payrolls(&desk);
    desk.tell(account, Act::Calendar(vec![release.clone()])).unwrap();
    desk.now = release.at.after(Span::from_seconds(60)).unwrap();
    flat(&mut desk, "1.10000");
    let late = NewsEvent { name: "Told too late".to_owned(), ..release.clone() };
    let next =
        NewsEvent { name: "Next".to_owned(), at: release.at.after(hours(5)).unwrap(), ..release.clone() };
    desk.tell(account, Act::Calendar(vec![next, release.clone(), late])).unwrap();
    assert_eq!(buy(&mut desk, account, "1"), Err(Refusal::AgainstRule(1)), "the window still runs");
    desk.now = release.at.after(Span::from_seconds(601)).unwrap();
    flat(&mut desk, "1.10000");
    buy(&mut desk, account, "1").unwrap();
    desk.now = release.at.after(hours(1)).unwrap();
    let passed = NewsEvent {
        name: "Passed".to_owned(),
        at: desk.now.before(Span::from_seconds(1)).unwrap(),
        ..release
    };
    desk.tell(account, Act::Calendar(vec![passed])).unwrap();
    desk.clock();
    assert_eq!(kinds(&desk, phase, account), []);
}

#[test]
fn what_an_override_puts_into_the_past_is_due_at_once_and_not_in_the_past() {
    let phase = r#"rules = [{ kind = "calendar_limit", days = 30 }]"#;
    let (mut desk, account) = desk(phase);
    desk.wait(hours(24 * 5));
    flat(&mut desk, "1.10000");
    let to: Rule = serde_json::from_str(r#"{"kind":"calendar_limit","days":2}"#).unwrap();
    let by = PersonId::derived(&[b"risk"]);
    let told_at = desk.now;
    desk.tell(account, Act::Override { rule: 0, to: Some(Box::new(to)), reason: "asked".to_owned(), by })
        .unwrap();
    let events = desk.clock();
    let expired = events.iter().find(|event| matches!(event.what, What::Verdict(_))).unwrap();
    assert_eq!(expired.at, told_at);
    assert_eq!(desk.account(account).status, Status::Expired);
}

#[test]
fn what_is_open_at_the_cut_off_is_closed() {
    let phase = r#"rules = [{ kind = "flat_by", zone = "America/New_York", time = "15:45", weekdays = ["fri"], effect = "close" }]"#;
    let (mut desk, account) = desk(phase);
    buy(&mut desk, account, "1").unwrap();
    desk.wait_until("2026-01-09T20:44:59Z");
    desk.clock();
    assert_eq!(desk.account(account).positions.len(), 1);
    desk.wait_until("2026-01-09T20:45:00Z");
    desk.clock();
    assert!(desk.account(account).positions.is_empty());
    assert_eq!(kinds(&desk, phase, account), [(VerdictKind::SoftBreach, "flat_by".to_owned())]);
}

#[test]
fn an_idea_is_judged_by_what_is_closed_and_open_together() {
    let phase = r#"rules = [{ kind = "risk_per_idea", limit = { percent_of_initial = "1" }, breach = "at_or_above", gap_minutes = 60, effect = "flag" }]"#;
    let (mut desk, account) = desk(phase);
    buy(&mut desk, account, "1").unwrap();
    flat(&mut desk, "1.09500");
    let first = *desk.account(account).positions.keys().next().unwrap();
    desk.close(account, first);
    desk.wait(Span::from_seconds(30 * 60));
    flat(&mut desk, "1.09500");
    buy(&mut desk, account, "1").unwrap();
    flat(&mut desk, "1.09001");
    assert!(kinds(&desk, phase, account).is_empty());
    flat(&mut desk, "1.09000");
    assert_eq!(kinds(&desk, phase, account), [(VerdictKind::Violation, "risk_per_idea".to_owned())]);
    flat(&mut desk, "1.20000");
    assert_eq!(kinds(&desk, phase, account).len(), 1, "it stands, once");
}

const FUNDED: &str = r#"
  rules = [{ kind = "max_loss", trail = "realised_balance", limit = { percent_of_initial = "4" }, lock = "at_initial", lock_on_payout = true, breach = "below" }]
  [phases.payout]
  split = "80"
  min_amount = "50"
  flat = true
  cycle = { first_days = 2, next_days = 2, from = "first_trade", inclusive = false }
  conditions = [{ kind = "min_profitable_days", days = 1, profit = { amount = "500" }, since = "payout" }]
"#;

#[test]
fn a_payout_names_its_conditions_and_locks_the_floor() {
    let (mut desk, account) = desk(FUNDED);
    buy(&mut desk, account, "1").unwrap();
    flat(&mut desk, "1.11000");
    assert_eq!(desk.tell(account, Act::Payout { amount: None }), Err(Refusal::PayoutRefused));
    let refusal = verdicts(&desk, &program(FUNDED), account).pop().unwrap();
    assert_eq!(refusal.kind, VerdictKind::PayoutRefusal);
    let missing: Vec<_> = refusal.objectives.iter().filter(|it| !it.met).map(|it| it.kind.as_ref()).collect();
    assert_eq!(missing, ["cycle", "flat", "min_profitable_days", "amount"]);

    desk.wait(Span::from_seconds(61));
    let silent = desk.tell(account, Act::Payout { amount: None });
    assert_eq!(silent, Err(Refusal::MarketStale), "what is held has no price of now");
    flat(&mut desk, "1.11000");

    let position = *desk.account(account).positions.keys().next().unwrap();
    desk.close(account, position);
    assert_eq!(desk.floor(account, 0), money("97000"));
    desk.wait_until("2026-01-07T10:00:00Z");
    assert_eq!(
        desk.tell(account, Act::Payout { amount: Some(money("1000.01")) }),
        Err(Refusal::PayoutRefused)
    );
    assert_eq!(desk.tell(account, Act::Payout { amount: Some(money("600")) }), Ok(Done::Paid(money("600"))));
    let paid = verdicts(&desk, &program(FUNDED), account).pop().unwrap();
    let number = |name: &str| paid.figures.iter().find(|it| it.name == name).map(|it| it.value.clone());
    assert_eq!(number("payout"), Some(Figure::Amount(money("480"))), "80% of what was taken out");
    assert_eq!(number("balance_after"), Some(Figure::Amount(money("100400"))));
    assert_eq!(number("asked"), Some(Figure::Amount(money("600"))));
    assert_eq!(desk.account(account).balance, money("100400"));
    assert_eq!(desk.floor(account, 0), money("100000"), "locked at the initial balance");
    assert_eq!(
        desk.tell(account, Act::Payout { amount: None }),
        Err(Refusal::PayoutRefused),
        "the days count anew"
    );
}

const PAID_AFTER_BREACH: &str = r#"
  rules = [{ kind = "daily_loss", reference = "balance", limit = { amount = "1000" }, breach = "below" }]
  [phases.payout]
  split = "80"
  after_breach = { rules = ["daily_loss"], share = "50", claim_days = 7 }
"#;

/// An account that has earned something, stakes it the next day, and is paid a share after its daily breach.
fn before_a_paid_breach() -> (Desk, AccountId) {
    let (mut desk, account) = desk(PAID_AFTER_BREACH);
    buy(&mut desk, account, "1").unwrap();
    flat(&mut desk, "1.13000");
    let position = *desk.account(account).positions.keys().next().unwrap();
    desk.close(account, position);
    desk.wait_until("2026-01-06T10:00:00Z");
    flat(&mut desk, "1.13000");
    buy(&mut desk, account, "1").unwrap();
    (desk, account)
}

#[test]
fn a_share_is_still_paid_after_a_daily_breach() {
    let (mut desk, account) = before_a_paid_breach();
    flat(&mut desk, "1.11999");
    assert_eq!(desk.account(account).status, Status::Breached);
    assert_eq!(
        desk.tell(account, Act::Payout { amount: None }),
        Ok(Done::Paid(money("999.50"))),
        "half of 1,999"
    );
    assert_eq!(desk.tell(account, Act::Payout { amount: None }), Err(Refusal::PayoutRefused), "claimed once");
    assert_eq!(kinds(&desk, PAID_AFTER_BREACH, account).len(), 3);
}

#[test]
fn an_override_moves_the_floor_of_one_account_at_once() {
    let (mut desk, account) = desk(SOFT);
    let neighbour = desk.open(&program(SOFT), 2);
    let text = r#"{"kind":"max_loss","trail":"static","limit":{"amount":"5000"},"breach":"below"}"#;
    let wider: Rule = serde_json::from_str(text).unwrap();
    let by = PersonId::derived(&[b"risk"]);
    let set = |rule, to: &Rule| Act::Override {
        rule,
        to: Some(Box::new(to.clone())),
        reason: "feed".to_owned(),
        by,
    };
    assert_eq!(desk.tell(account, set(0, &wider)), Err(Refusal::OverrideInvalid), "another kind");
    assert_eq!(desk.tell(account, set(9, &wider)), Err(Refusal::OverrideInvalid));
    assert_eq!(desk.tell(account, set(1, &wider)), Ok(Done::Noted));
    assert_eq!((desk.floor(account, 1), desk.floor(neighbour, 1)), (money("95000"), money("97000")));
    buy(&mut desk, account, "1").unwrap();
    flat(&mut desk, "1.04000");
    assert_eq!(kinds(&desk, SOFT, account), [(VerdictKind::Breach, "max_loss".to_owned())]);
}

#[test]
fn a_phase_that_wants_to_be_asked_waits() {
    let phase = r#"
      promotion = "on_request"
      rules = [{ kind = "profit_target", limit = { amount = "1000" }, flat = true }]
    "#;
    let (mut desk, account) = desk(phase);
    assert_eq!(desk.tell(account, Act::Promote), Err(Refusal::NotPassed));
    buy(&mut desk, account, "1").unwrap();
    flat(&mut desk, "1.12000");
    let position = *desk.account(account).positions.keys().next().unwrap();
    desk.close(account, position);
    assert_eq!(desk.account(account).status, Status::Active);
    assert_eq!(desk.tell(account, Act::Promote), Ok(Done::Promoted));
    assert_eq!(desk.account(account).status, Status::Passed);
    assert_eq!(kinds(&desk, phase, account), [(VerdictKind::Pass, "profit_target".to_owned())]);
}

#[test]
fn a_best_day_that_is_too_good_waits_for_more_days() {
    let phase = r#"rules = [
      { kind = "profit_target", limit = { amount = "1000" }, flat = true },
      { kind = "consistency", share = "50", of = "positive_days" },
    ]"#;
    let (mut desk, account) = desk(phase);
    let earn = |desk: &mut Desk| {
        flat(desk, "1.10000");
        buy(desk, account, "1").unwrap();
        flat(desk, "1.11000");
        let position = *desk.account(account).positions.keys().next().unwrap();
        desk.close(account, position);
    };
    earn(&mut desk);
    assert_eq!(desk.account(account).status, Status::Active, "one day brought everything");
    desk.wait_until("2026-01-06T10:00:00Z");
    earn(&mut desk);
    assert_eq!(desk.account(account).status, Status::Passed, "exactly half holds");
    assert_eq!(kinds(&desk, phase, account), [(VerdictKind::Pass, "profit_target".to_owned())]);
}

#[test]
fn a_trailing_floor_jumps_once_its_profit_is_reached_and_stays() {
    let phase = r#"rules = [{ kind = "max_loss", trail = "intraday_equity", limit = { percent_of_initial = "6" }, breach = "below",
      lock = { jump = { profit = { percent_of_initial = "4" }, of = "equity", to = { initial_plus = { percent_of_initial = "-2" } } } } }]"#;
    let (mut desk, account) = desk(phase);
    buy(&mut desk, account, "1").unwrap();
    flat(&mut desk, "1.13000");
    assert_eq!(desk.floor(account, 0), money("97000"));
    flat(&mut desk, "1.14000");
    assert_eq!(desk.floor(account, 0), money("98000"));
    flat(&mut desk, "1.20000");
    assert_eq!(desk.floor(account, 0), money("98000"), "for good");
}

#[test]
fn the_forecast_tells_what_the_reset_will_do_and_where_a_position_fires() {
    let phase = r#"rules = [{ kind = "daily_loss", reference = "balance", limit = { amount = "1000" }, breach = "below" }]"#;
    let (mut desk, account) = desk(phase);
    buy(&mut desk, account, "2").unwrap();
    flat(&mut desk, "1.11000");
    let first = *desk.account(account).positions.keys().next().unwrap();
    desk.tell(account, Act::Close { position: first, quantity: Some(lots("1")) }).unwrap();
    flat(&mut desk, "1.09000");
    let ahead = desk.engine.forecast(account).unwrap().unwrap();
    assert_eq!((ahead.view.equity, &ahead.fires_at_reset), (money("100000"), &None), "touching is safe");
    flat(&mut desk, "1.08900");
    let ahead = desk.engine.forecast(account).unwrap().unwrap();
    assert_eq!(ahead.view.equity, money("99900"), "above the floor of today, which is 99,000");
    let fires = ahead.fires_at_reset.as_ref().expect("1,100 below what the reset will measure from");
    assert_eq!(fires.amount, money("100000"));
    assert_eq!(ahead.resets.len(), 8);
    assert_eq!(ahead.resets[0].at, at(common::RESET));

    let fires_at = ahead.fires_at[&first].price;
    let before = Price(fires_at.0 + 1);
    let instrument = desk.engine.market().instruments().by_symbol(&symbol("EURUSD")).unwrap();
    let [before, at_it] = [before, fires_at].map(|price| instrument.price_text(price));
    flat(&mut desk, &before);
    assert_eq!(desk.account(account).status, Status::Active);
    flat(&mut desk, &at_it);
    assert_eq!(desk.account(account).status, Status::Breached);
}

#[test]
fn what_is_measured_at_the_end_of_the_day_is_measured_on_the_day_that_ends() {
    let phase = r#"rules = [{ kind = "daily_loss", reference = "balance", limit = { amount = "1000" }, breach = "below", tests = "day_end_balance", effect = "soft" }]"#;
    let (mut desk, account) = desk(phase);
    buy(&mut desk, account, "1").unwrap();
    flat(&mut desk, "1.08500");
    let position = *desk.account(account).positions.keys().next().unwrap();
    desk.close(account, position);
    assert!(kinds(&desk, phase, account).is_empty(), "within the day nothing is tested");
    desk.wait_until(common::RESET);
    flat(&mut desk, "1.08500");
    let said = verdicts(&desk, &program(phase), account);
    assert_eq!(said.len(), 1);
    assert_eq!((said[0].kind, said[0].cause), (VerdictKind::SoftBreach, Cause::DayEnd));
    assert_eq!(buy(&mut desk, account, "1"), Err(Refusal::AccountLocked), "the day to come is lost");
    desk.wait_until("2026-01-06T23:00:00Z");
    flat(&mut desk, "1.08500");
    buy(&mut desk, account, "1").unwrap();
}

/// A receipt of the last verdict.
fn last_receipt(desk: &Desk, phase: &str, account: AccountId) -> Receipt {
    let program = program(phase);
    let verdict = verdicts(desk, &program, account).pop().unwrap();
    let at = desk.events.iter().rfind(|event| matches!(event.what, What::Verdict(_))).unwrap().at;
    let firm = desk.engine.firm(account).unwrap();
    Receipt::compose(firm, account, at, at, None, program.canonical_json().unwrap(), verdict).unwrap()
}

#[test]
fn what_is_paid_out_is_no_loss_of_the_day() {
    for reference in ["balance", "equity", "higher_of", "day_peak_equity"] {
        let phase = format!(
            r#"
            rules = [{{ kind = "daily_loss", reference = "{reference}", limit = {{ amount = "1000" }}, breach = "below" }}]
            [phases.payout]
            split = "80"
            "#
        );
        let (mut desk, account) = desk(&phase);
        buy(&mut desk, account, "1").unwrap();
        flat(&mut desk, "1.15000");
        let position = *desk.account(account).positions.keys().next().unwrap();
        desk.close(account, position);
        desk.wait(hours(24));
        flat(&mut desk, "1.15000");
        let room = |desk: &Desk| desk.equity(account).minus(desk.floor(account, 0)).unwrap();
        assert_eq!(room(&desk), money("1000"), "{reference}");
        desk.tell(account, Act::Payout { amount: Some(money("900")) }).unwrap();
        assert_eq!(room(&desk), money("1000"), "{reference}");
        desk.tell(account, Act::Payout { amount: None }).unwrap();
        assert_eq!((desk.balance(account), room(&desk)), (money("100000"), money("1000")), "{reference}");
        assert_eq!(desk.account(account).status, Status::Active);
    }
}

#[test]
fn a_payout_that_would_end_the_account_is_refused() {
    let phase = r#"
      rules = [{ kind = "max_loss", trail = "realised_balance", limit = { amount = "3000" }, breach = "at_or_below" }]
      [phases.payout]
      split = "80"
    "#;
    let (mut desk, account) = desk(phase);
    buy(&mut desk, account, "1").unwrap();
    flat(&mut desk, "1.13000");
    let position = *desk.account(account).positions.keys().next().unwrap();
    desk.close(account, position);
    assert_eq!(desk.tell(account, Act::Payout { amount: None }), Err(Refusal::PayoutRefused));
    let refusal = verdicts(&desk, &program(phase), account).pop().unwrap();
    let missing: Vec<_> = refusal.objectives.iter().filter(|it| !it.met).map(|it| it.kind.as_ref()).collect();
    assert_eq!(missing, ["stays_open"]);
    desk.tell(account, Act::Payout { amount: Some(money("2999.99")) }).unwrap();
    assert_eq!(desk.account(account).status, Status::Active);
}

#[test]
fn two_releases_at_one_instant_are_one_violation_of_each_position() {
    let phase = r#"rules = [
      { kind = "news_window", before_minutes = 2, after_minutes = 2, actions = ["hold"], effect = "flag" },
    ]"#;
    let (mut desk, account) = desk(phase);
    let payrolls = payrolls(&desk);
    let rate = NewsEvent { name: "Unemployment rate".to_owned(), ..payrolls.clone() };
    desk.tell(account, Act::Calendar(vec![rate, payrolls.clone()])).unwrap();
    buy(&mut desk, account, "1").unwrap();
    buy(&mut desk, account, "1").unwrap();
    desk.now = payrolls.at;
    desk.clock();
    assert_eq!(kinds(&desk, phase, account).len(), 2);
}

#[test]
fn a_pause_does_not_silence_a_floor_that_closes() {
    let phase = r#"rules = [
      { kind = "daily_loss", reference = "balance", limit = { percent_of_initial = "2" }, breach = "at_or_below", effect = "pause" },
      { kind = "daily_loss", reference = "balance", limit = { percent_of_initial = "4" }, breach = "at_or_below", effect = "soft" },
    ]"#;
    let (mut desk, account) = desk(phase);
    buy(&mut desk, account, "1").unwrap();
    flat(&mut desk, "1.08000");
    assert!(!desk.account(account).positions.is_empty());
    flat(&mut desk, "1.05900");
    assert!(desk.account(account).positions.is_empty());
    let soft = (VerdictKind::SoftBreach, "daily_loss".to_owned());
    assert_eq!(kinds(&desk, phase, account), [soft.clone(), soft]);
}

#[test]
fn what_a_rule_closes_on_a_quote_is_settled_at_once() {
    let phase = r#"rules = [
      { kind = "daily_cap", reference = "balance", limit = { percent_of_initial = "3" }, breach = "at_or_below", effect = "soft" },
      { kind = "profit_target", limit = { percent_of_initial = "3" }, flat = true },
    ]"#;
    let (mut desk, account) = desk(phase);
    buy(&mut desk, account, "1").unwrap();
    flat(&mut desk, "1.13000");
    assert_eq!(desk.account(account).status, Status::Passed);
}

#[test]
fn the_cure_runs_from_the_warning_however_late_the_stop_is_taken_away() {
    let phase = r#"rules = [{ kind = "stop_required", minutes = 5, cure_minutes = 60, effect = "hard" }]"#;
    let (mut desk, account) = desk(phase);
    let stopped = Place {
        symbol: symbol("EURUSD"),
        side: Side::Buy,
        kind: OrderKind::Market,
        quantity: lots("1"),
        stop_loss: Some(desk.points("EURUSD", "1.09000")),
        take_profit: None,
    };
    desk.tell(account, Act::Place(stopped)).unwrap();
    let position = *desk.account(account).positions.keys().next().unwrap();
    desk.wait(hours(5));
    flat(&mut desk, "1.10000");
    let keep = Change::Keep;
    desk.tell(account, Act::ChangePosition { position, stop_loss: Change::Remove, take_profit: keep })
        .unwrap();
    desk.clock();
    assert_eq!(kinds(&desk, phase, account), [(VerdictKind::Warning, "stop_required".to_owned())]);
    desk.wait(Span::from_seconds(59 * 60));
    flat(&mut desk, "1.10000");
    buy(&mut desk, account, "0.01").unwrap();
    assert_eq!(desk.account(account).status, Status::Active);
    desk.wait(Span::from_seconds(60));
    desk.clock();
    assert_eq!(desk.account(account).status, Status::Breached);
}

#[test]
fn a_condition_of_a_payout_that_ends_an_account_is_named() {
    let phase = r#"
      rules = [{ kind = "max_loss", trail = "static", limit = { amount = "5000" }, breach = "below" }]
      [phases.payout]
      split = "80"
      conditions = [{ kind = "lot_range", around = "first_trade", lower = "50", upper = "200", effect = "hard" }]
      after_breach = { rules = ["lot_range"], share = "50", claim_days = 7 }
    "#;
    let (mut desk, account) = desk(phase);
    for size in ["1", "3"] {
        buy(&mut desk, account, size).unwrap();
    }
    assert_eq!(kinds(&desk, phase, account), [(VerdictKind::Breach, "lot_range".to_owned())]);
    let explained = last_receipt(&desk, phase, account).explanation.concat();
    assert!(explained.contains("first trade"), "{explained}");
    assert_eq!(desk.account(account).track.ended.as_ref().unwrap().0, "lot_range");
}

#[test]
fn a_limit_order_that_fires_in_a_window_is_refused_only_if_that_is_what_is_not_allowed() {
    for (actions, filled) in [("open", true), ("pending_fill", false)] {
        let phase = format!(
            r#"rules = [{{ kind = "news_window", before_minutes = 2, after_minutes = 2, actions = ["{actions}"], effect = "refuse" }}]"#
        );
        let (mut desk, account) = desk(&phase);
        let release = payrolls(&desk);
        desk.tell(account, Act::Calendar(vec![release.clone()])).unwrap();
        desk.now = release.at;
        flat(&mut desk, "1.10000");
        desk.limit(account, Side::Buy, "1", "EURUSD", "1.09900");
        flat(&mut desk, "1.09900");
        assert_eq!(desk.account(account).positions.len() == 1, filled, "{actions}");
    }
}

#[test]
fn the_risk_of_a_stop_order_is_measured_where_it_fills() {
    let phase = r#"rules = [{ kind = "risk_at_stop", limit = { amount = "1000" }, breach = "above", without_stop = true, effect = "refuse" }]"#;
    let (mut desk, account) = desk(phase);
    let order = Place {
        symbol: symbol("EURUSD"),
        side: Side::Buy,
        kind: OrderKind::Stop(desk.points("EURUSD", "1.11000")),
        quantity: lots("1"),
        stop_loss: Some(desk.points("EURUSD", "1.10500")),
        take_profit: None,
    };
    desk.tell(account, Act::Place(order)).unwrap();
    flat(&mut desk, "1.12000");
    assert!(desk.account(account).positions.is_empty(), "1,500 at the price of the gap");
}

#[test]
fn the_forecast_tells_what_the_end_of_the_day_will_do() {
    let phase = r#"rules = [
      { kind = "daily_loss", reference = "balance", tests = "day_end_balance", limit = { amount = "1000" }, breach = "below" },
    ]"#;
    let (mut desk, account) = desk(phase);
    buy(&mut desk, account, "1").unwrap();
    flat(&mut desk, "1.08500");
    let position = *desk.account(account).positions.keys().next().unwrap();
    desk.close(account, position);
    let forecast = desk.engine.forecast(account).unwrap().unwrap();
    assert_eq!(forecast.fires_at_reset.unwrap().kind, "daily_loss");
    desk.wait(hours(24));
    desk.clock();
    assert_eq!(desk.account(account).status, Status::Breached);
}

#[test]
fn what_an_override_made_due_is_due_at_the_same_instant_after_a_restart() {
    let phase = r#"rules = [{ kind = "calendar_limit", days = 30 }]"#;
    let (mut desk, account) = desk(phase);
    desk.wait(hours(24 * 5));
    flat(&mut desk, "1.10000");
    let to: Rule = serde_json::from_str(r#"{"kind":"calendar_limit","days":2}"#).unwrap();
    let by = PersonId::derived(&[b"risk"]);
    desk.tell(account, Act::Override { rule: 0, to: Some(Box::new(to)), reason: "asked".to_owned(), by })
        .unwrap();
    let mut again = common::restored(&desk.engine, &[program(phase)]);
    desk.wait(hours(1));
    desk.clock();
    let mut events = Vec::new();
    again.apply(desk.now, &engine::Input::Clock, &mut events).unwrap();
    assert_eq!(again.state_hash().unwrap(), desk.engine.state_hash().unwrap());
}

#[test]
fn a_receipt_with_altered_facts_does_not_prove() {
    let phase = r#"rules = [{ kind = "open_loss", per = "trade", limit = { amount = "500" }, breach = "at_or_above", effect = "flag" }]"#;
    let (mut desk, account) = desk(phase);
    buy(&mut desk, account, "1").unwrap();
    flat(&mut desk, "1.09400");
    let receipt = last_receipt(&desk, phase, account);
    receipt.prove().unwrap();
    let forged = |verdict: Verdict| {
        let text = program(phase).canonical_json().unwrap();
        Receipt::compose(receipt.firm, account, receipt.at, receipt.at, None, text, verdict).unwrap().prove()
    };
    let mut worse = receipt.verdict.clone();
    worse.fact = Some(rules::Fact::Floating(vec![(worse.trade.unwrap().0, money("-9000"))]));
    worse.figures[0].value = Figure::Amount(money("9000"));
    assert!(forged(worse).is_err());
    let mut bare = receipt.verdict.clone();
    bare.floors.clear();
    assert!(forged(bare).is_err());
}

#[test]
fn a_held_account_opens_nothing_and_may_close_until_it_is_let_go() {
    let phase =
        r#"rules = [{ kind = "max_loss", trail = "static", limit = { amount = "5000" }, breach = "below" }]"#;
    let (mut desk, account) = desk(phase);
    buy(&mut desk, account, "1").unwrap();
    desk.limit(account, Side::Buy, "1", "EURUSD", "1.09000");
    let hold = |held| Act::Hold { held };
    assert_eq!(desk.tell_under("hold", account, hold(true)), (Ok(Done::Noted), true));
    assert!(desk.account(account).held && desk.account(account).orders.is_empty());
    let last = desk.events.last().unwrap();
    let taken_back = matches!(&last.what, What::Order(order) if order.state == OrderState::AccountHeld);
    assert!(taken_back, "{last:?}");
    let holds = |desk: &Desk| desk.events.iter().filter(|it| matches!(it.what, What::Held { .. })).count();
    // Again under its key, and under another one.
    assert_eq!(desk.tell_under("hold", account, hold(true)), (Ok(Done::Noted), false));
    assert_eq!(desk.tell(account, hold(true)), Ok(Done::Noted));
    assert_eq!(holds(&desk), 1);

    assert_eq!(buy(&mut desk, account, "1"), Err(Refusal::Held));
    assert_eq!(Refusal::Held.code(), "account_held");
    for act in [Act::Promote, Act::Payout { amount: None }, Act::Grow] {
        assert_eq!(desk.tell(account, act), Err(Refusal::Held));
    }
    flat(&mut desk, "1.08000");
    assert_eq!(desk.account(account).positions.len(), 1, "the order was taken back");
    let position = *desk.account(account).positions.keys().next().unwrap();
    let stop_loss = Change::Set(desk.points("EURUSD", "1.07000"));
    let exits = Act::ChangePosition { position, stop_loss, take_profit: Change::Keep };
    assert_eq!(desk.tell(account, exits), Ok(Done::Position(position)));
    assert_eq!(desk.close_part(account, position, "0.5"), Ok(Done::Position(position)));

    assert_eq!(desk.tell(account, hold(false)), Ok(Done::Noted));
    assert_eq!(desk.tell(account, hold(false)), Ok(Done::Noted));
    assert_eq!(holds(&desk), 2);
    assert!(!desk.account(account).held);
    buy(&mut desk, account, "1").unwrap();
    assert_eq!(desk.account(account).positions.len(), 2);
}

#[test]
fn every_rule_goes_on_while_an_account_is_held() {
    let (mut desk, account) = before_a_paid_breach();
    desk.tell(account, Act::Hold { held: true }).unwrap();
    flat(&mut desk, "1.11999");
    assert_eq!(desk.account(account).status, Status::Breached);
    assert_eq!(desk.tell(account, Act::Payout { amount: None }), Err(Refusal::Held), "the share waits, too");
    assert_eq!(buy(&mut desk, account, "1"), Err(Refusal::AccountNotActive));
    assert_eq!(desk.tell(account, Act::Hold { held: false }), Ok(Done::Noted));
    assert_eq!(desk.tell(account, Act::Payout { amount: None }), Ok(Done::Paid(money("999.50"))));
}

#[test]
fn a_phase_that_would_pass_by_itself_waits_for_the_end_of_the_hold() {
    let phase = r#"
      rules = [{ kind = "profit_target", limit = { amount = "500" }, flat = false, of = "equity" }]
      [[phases]]
      name = "Funded"
      rules = [{ kind = "max_loss", trail = "static", limit = { amount = "5000" }, breach = "below" }]
    "#;
    let (mut desk, account) = desk(phase);
    buy(&mut desk, account, "1").unwrap();
    desk.tell(account, Act::Hold { held: true }).unwrap();
    flat(&mut desk, "1.10600");
    flat(&mut desk, "1.10700");
    assert_eq!(desk.account(account).status, Status::Active);
    assert_eq!(desk.tell(account, Act::Promote), Err(Refusal::Held));
    let before = desk.clone();
    assert_eq!(desk.tell(account, Act::Hold { held: false }), Ok(Done::Noted));
    assert_eq!(desk.account(account).status, Status::Passed);
    assert_eq!(desk.engine.accounts().count(), 2, "the next phase is open");

    // What was reached meanwhile and is lost again by then has not passed.
    let mut desk = before;
    flat(&mut desk, "1.10400");
    assert_eq!(desk.tell(account, Act::Hold { held: false }), Ok(Done::Noted));
    assert_eq!(desk.account(account).status, Status::Active);
}
