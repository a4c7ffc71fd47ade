//! When an account ends or passes, why, and with which evidence.
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
use engine::{
    Act, Cause, Change, Done, EngineError, Entry, EntryKind, Event, FillReason, Gate, GateRefusal, Input,
    OrderKind, OrderState, Quote, Refusal, Status, Verdict, VerdictKind, View, What,
};
use kernel::{AccountId, Amount, Percent, Price, Rounding, Side, Span, Timestamp, decimal, divide};
use rules::kinds::Reference;
use rules::kinds::{LockAt, Trail};
use rules::{Figure, Program, Rule, Worth};

fn five_and_ten() -> Vec<Rule> {
    vec![
        daily(Reference::Balance, percent("5")),
        total(Trail::Static, percent("10"), LockAt::None),
        target(percent("10")),
    ]
}

fn spread_free(program: &Program) -> (Desk, AccountId) {
    let mut desk = Desk::new();
    let account = desk.open(program, 1);
    desk.quote("EURUSD", "1.10000", "1.10000");
    (desk, account)
}

fn flat_quote(desk: &mut Desk, price: &str) -> Vec<Event> {
    desk.quote("EURUSD", price, price)
}

// ---- Floors at quotes -------------------------------------------------------------------------------------------

#[test]
fn an_open_loss_breaches_on_the_tick_that_crosses_the_floor_and_not_before() {
    let (mut desk, account) = Desk::trading(&program(five_and_ten()));
    desk.buy(account, "10", "EURUSD");
    // 5000 below 1.10010 over 10 lots is 1.09510.
    assert!(desk.quote("EURUSD", "1.09510", "1.09520").is_empty(), "touching is safe here");
    assert_eq!(desk.equity(account), money("95000"));
    let place = desk.position;
    let events = desk.quote("EURUSD", "1.09509", "1.09519");
    let (event, verdict) = verdict(&events);
    assert_eq!((event.account, event.at), (account, desk.now));
    assert_eq!(
        (verdict.kind, verdict.rule.as_ref(), verdict.rule_index),
        (VerdictKind::Breach, "daily_loss", 0)
    );
    assert_eq!(verdict.cause, Cause::Quote(place));
    assert_eq!((verdict.balance, verdict.equity), (money("100000"), money("94990")));
    assert_eq!(verdict.floor.as_ref().unwrap().amount, money("95000"));
    assert_eq!(
        (desk.account(account).status, desk.account(account).closed_at),
        (Status::Breached, Some(desk.now))
    );
    let fills = fills(&events);
    assert_eq!((fills[0].reason, fills[0].profit), (FillReason::Liquidation, money("-5010")));
    assert_eq!(desk.balance(account), money("94990"), "everything is closed at that quote");
}

#[test]
fn touching_the_floor_breaches_where_the_program_says_so() {
    let (mut desk, account) =
        Desk::trading(&program(vec![touching(daily(Reference::Balance, percent("5")))]));
    desk.buy(account, "10", "EURUSD");
    assert!(desk.quote("EURUSD", "1.09511", "1.09521").is_empty());
    let events = desk.quote("EURUSD", "1.09510", "1.09520");
    let (_, verdict) = verdict(&events);
    assert_eq!(verdict.equity, verdict.floor.as_ref().unwrap().amount);
}

#[test]
fn the_more_the_equity_falls_the_smaller_the_room_and_half_is_too_much() {
    let (mut desk, account) = Desk::trading(&program(five_and_ten()));
    desk.buy(account, "10", "EURUSD");
    let mut last = desk.view(account).floors[0].room(worth(&desk.view(account))).unwrap();
    for points in (109_520..110_000).rev().step_by(7) {
        let price = decimal::format(points, 5, 5);
        assert!(desk.quote("EURUSD", &price, &price).is_empty());
        let view = desk.view(account);
        let room = view.floors[0].room(worth(&view)).unwrap();
        assert!(room < last && room > Amount::ZERO, "{price}: {room}");
        last = room;
    }
    let events = desk.quote("EURUSD", "1.05010", "1.05020");
    assert_eq!(verdict(&events).1.equity, money("50000"));
    assert_eq!(desk.account(account).status, Status::Breached);
}

#[test]
fn of_several_floors_crossed_at_once_the_highest_is_the_cause() {
    for rules in [five_and_ten(), five_and_ten().into_iter().rev().collect()] {
        let (mut desk, account) = Desk::trading(&program(rules));
        desk.buy(account, "10", "EURUSD");
        let events = desk.quote("EURUSD", "1.08000", "1.08010");
        let (_, verdict) = verdict(&events);
        assert_eq!((verdict.rule.as_ref(), verdict.equity), ("daily_loss", money("79900")));
        assert_eq!(verdict.floors.len(), 3, "every floor is in the evidence");
    }
}

#[test]
fn at_equal_height_the_rule_named_first_is_the_cause() {
    for first_is_daily in [true, false] {
        let mut rules =
            vec![daily(Reference::Balance, percent("5")), total(Trail::Static, percent("5"), LockAt::None)];
        if !first_is_daily {
            rules.reverse();
        }
        let (mut desk, account) = Desk::trading(&program(rules));
        desk.buy(account, "10", "EURUSD");
        let events = desk.quote("EURUSD", "1.08000", "1.08010");
        let (_, verdict) = verdict(&events);
        assert_eq!(verdict.rule_index, 0);
        assert_eq!(verdict.rule.as_ref(), if first_is_daily { "daily_loss" } else { "max_loss" });
    }
}

#[test]
fn a_loss_larger_than_the_equity_ends_the_account() {
    for rules in [vec![target(percent("10"))], five_and_ten()] {
        let has_floors = rules.len() > 1;
        let (mut desk, account) = Desk::trading(&program_of("10000", rules));
        desk.buy(account, "9", "EURUSD");
        let events = desk.quote("EURUSD", "0.50000", "0.50010");
        let (_, verdict) = verdict(&events);
        assert_eq!(verdict.kind, VerdictKind::Breach);
        assert_eq!(verdict.rule.as_ref(), if has_floors { "daily_loss" } else { "ruin" });
        assert_eq!(verdict.equity, money("-530090"));
        assert_eq!(
            (desk.account(account).status, desk.balance(account)),
            (Status::Breached, money("-530090"))
        );
    }
}

#[test]
fn an_equity_of_nothing_is_ruin() {
    let mut program = program_of("10010", vec![target(percent("10"))]);
    program.terms.stop_out = Percent::parse("0").unwrap();
    let (mut desk, account) = Desk::trading(&program);
    desk.buy(account, "1", "EURUSD");
    assert!(desk.quote("EURUSD", "1.00001", "1.00011").is_empty());
    let events = desk.quote("EURUSD", "1.00000", "1.00010");
    assert_eq!((verdict(&events).1.rule.as_ref(), verdict(&events).1.equity), ("ruin", Amount::ZERO));
}

#[test]
fn the_gap_through_a_stop_loss_is_judged_at_the_gap() {
    let (mut desk, account) = Desk::trading(&program(five_and_ten()));
    desk.trade_with_exits(account, Side::Buy, "10", "EURUSD", Some("1.09900"), None);
    let events = desk.quote("EURUSD", "1.09000", "1.09010");
    let (_, verdict) = verdict(&events);
    assert_eq!((verdict.kind, verdict.equity), (VerdictKind::Breach, money("89900")));
    assert_eq!(verdict.positions.len(), 1, "the position was open when the floor was crossed");
    assert_eq!(fills(&events)[0].reason, FillReason::Liquidation);
}

#[test]
fn commission_and_spread_alone_can_breach_and_the_command_is_the_cause() {
    let mut program = program(vec![total(Trail::Static, fixed("12"), LockAt::None)]);
    program.terms.commission_per_lot = money("3");
    let (mut desk, account) = Desk::trading(&program);
    let before = desk.events.len();
    assert!(desk.tell(account, Act::Place(market(Side::Buy, "1", "EURUSD"))).is_ok(), "it was filled");
    let events = &desk.events[before..];
    let (_, verdict) = verdict(events);
    assert_eq!((verdict.cause, verdict.equity), (Cause::Command, money("99987")));
    assert_eq!(desk.account(account).status, Status::Breached);
    assert_eq!(desk.balance(account), money("99984"), "closing costs the commission again");
}

#[test]
fn an_account_without_positions_is_not_touched_by_any_price() {
    let (mut desk, account) = Desk::trading(&program(five_and_ten()));
    let before = bytes_without_answers(desk.account(account));
    for price in ["0.00001", "9999.00000"] {
        assert!(desk.quote("EURUSD", price, price).is_empty());
    }
    assert_eq!(bytes_without_answers(desk.account(account)), before);
}

// ---- Order of judgement -----------------------------------------------------------------------------------------

#[test]
fn one_quote_that_reaches_the_target_and_the_floor_is_a_loss() {
    let rules = vec![total(Trail::Static, percent("10"), LockAt::None), target_held(percent("10"))];
    let (mut desk, account) = Desk::trading(&program(rules));
    desk.trade_with_exits(account, Side::Buy, "10", "EURUSD", None, Some("1.11210"));
    desk.sell(account, "20", "EURUSD");
    let events = desk.quote("EURUSD", "1.11210", "1.11220");
    let (_, verdict) = verdict(&events);
    assert_eq!((verdict.kind, verdict.equity), (VerdictKind::Breach, money("87600")));
    assert_eq!(desk.account(account).status, Status::Breached);
}

#[test]
fn a_stop_out_that_leaves_the_target_reached_passes_on_that_quote() {
    let mut program = program_of("10000", vec![target(percent("10")), trading_days(2)]);
    program.terms.leverage = 10;
    program.terms.stop_out = Percent::parse("100").unwrap();
    let (mut desk, account) = spread_free(&program);
    let first = desk.buy(account, "0.90", "EURUSD");
    flat_quote(&mut desk, "1.30000");
    desk.close(account, first);
    assert_eq!(desk.balance(account), money("28000"), "far beyond the target, on the first of two days");
    desk.wait_until("2026-01-06T10:00:00Z");
    flat_quote(&mut desk, "1.30000");
    desk.buy(account, "2", "EURUSD");
    assert!(flat_quote(&mut desk, "1.29000").is_empty(), "26000 of equity still cover 26000 of margin");
    let events = flat_quote(&mut desk, "1.28990");
    assert_eq!(fills(&events)[0].reason, FillReason::StopOut);
    assert!(desk.account(account).positions.is_empty());
    assert_eq!(desk.balance(account), money("25980"));
    assert_eq!(desk.account(account).status, Status::Passed, "flat, beyond the target, on the second day");
}

/// Lets an account end.
type Ending<'a> = &'a dyn Fn(&mut Desk, AccountId);

#[test]
fn an_ended_account_never_speaks_again() {
    let breached = |desk: &mut Desk, account| {
        desk.buy(account, "10", "EURUSD");
        desk.quote("EURUSD", "1.05000", "1.05010");
    };
    let passed = |desk: &mut Desk, account| {
        let position = desk.buy(account, "10", "EURUSD");
        desk.quote("EURUSD", "1.20000", "1.20010");
        desk.close(account, position);
    };
    let expired = |desk: &mut Desk, account| {
        desk.buy(account, "1", "EURUSD");
        desk.limit(account, Side::Buy, "1", "EURUSD", "1.00000");
        desk.wait(hours(24 * 8));
        desk.clock();
    };
    let endings: [(Status, Ending<'_>); 3] =
        [(Status::Breached, &breached), (Status::Passed, &passed), (Status::Expired, &expired)];
    for (status, ending) in endings {
        let mut rules = five_and_ten();
        rules.push(calendar(7));
        let (mut desk, account) = Desk::trading(&program(rules));
        ending(&mut desk, account);
        assert_eq!(desk.account(account).status, status);
        assert_eq!(verdicts(&desk.events).len(), 1);
        let (said, left) = (desk.events.len(), bytes_without_answers(desk.account(account)));
        for price in ["0.50000", "1.00000", "1.10000", "2.00000"] {
            desk.quote("EURUSD", price, price);
            desk.wait(hours(30));
            desk.clock();
            assert_eq!(
                desk.tell(account, Act::Place(market(Side::Buy, "1", "EURUSD"))),
                Err(Refusal::AccountNotActive)
            );
        }
        assert_eq!(desk.events.len(), said, "{status:?}");
        assert_eq!(bytes_without_answers(desk.account(account)), left, "{status:?}");
        assert!(desk.account(account).positions.is_empty() && desk.account(account).orders.is_empty());
    }
}

#[test]
fn the_end_takes_working_orders_back_and_says_why() {
    let (mut desk, account) = Desk::trading(&program(five_and_ten()));
    let order = desk.limit(account, Side::Buy, "1", "EURUSD", "1.00000");
    desk.buy(account, "10", "EURUSD");
    let events = desk.quote("EURUSD", "1.05000", "1.05010");
    let ended = events.iter().find_map(|event| match &event.what {
        What::Order(seen) if seen.ticket == order => Some((seen.state, seen.state.reason(), seen.done_at)),
        _ => None,
    });
    assert_eq!(ended, Some((OrderState::AccountEnded, Some("account_ended"), Some(desk.now))));
    assert!(matches!(events[0].what, What::Verdict(_)), "the verdict comes before what follows from it");
}

// ---- Missing and old prices -------------------------------------------------------------------------------------

#[test]
fn silence_of_the_market_invents_nothing() {
    let (mut desk, account) = Desk::trading(&program(five_and_ten()));
    let position = desk.buy(account, "10", "EURUSD");
    desk.quote("EURUSD", "1.09600", "1.09610");
    let standing = desk.points("EURUSD", "1.09600");
    for _ in 0..100 {
        desk.wait(hours(5));
        let events = desk.clock();
        assert!(events.iter().all(|event| matches!(event.what, What::Reset(_))), "{events:#?}");
        assert_eq!(
            desk.view(account).worth[&position].close_price,
            standing,
            "valued at the last price, never at entry"
        );
        assert_eq!(desk.equity(account), money("95900"));
        assert_eq!(
            desk.tell(account, Act::Place(market(Side::Buy, "1", "EURUSD"))),
            Err(Refusal::MarketStale)
        );
    }
}

#[test]
fn an_input_from_the_past_is_refused_and_leaves_no_trace() {
    let (mut desk, account) = Desk::trading(&program(five_and_ten()));
    desk.buy(account, "10", "EURUSD");
    let hash = desk.engine.state_hash().unwrap();
    let past = Timestamp::from_micros(desk.now.micros() - 1);
    let quote =
        Quote { instrument: desk.id("EURUSD"), bid: Price(50_000), ask: Price(50_001), source_time: past };
    let mut events = Vec::new();
    for input in [Input::Clock, Input::Quotes(99, vec![quote])] {
        assert_eq!(desk.engine.apply(past, &input, &mut events), Err(EngineError::TimeRunsBackwards));
    }
    assert!(events.is_empty());
    assert_eq!(desk.engine.state_hash().unwrap(), hash);
}

#[test]
fn the_gate_keeps_old_and_repeated_quotes_out() {
    let desk = Desk::new();
    let mut gate = Gate::new(&instruments());
    let quote = |bid: i64, seconds: i32| Quote {
        instrument: desk.id("EURUSD"),
        bid: Price(bid),
        ask: Price(bid + 10),
        source_time: desk.now.after(Span::from_seconds(seconds)).unwrap(),
    };
    let arrivals =
        [quote(110_000, 0), quote(110_020, 2), quote(110_010, 1), quote(110_020, 2), quote(110_030, 3)];
    let answers = arrivals.map(|quote| gate.check(&quote, quote.source_time));
    assert_eq!(answers, [Ok(()), Ok(()), Err(GateRefusal::Older), Err(GateRefusal::Duplicate), Ok(())]);
}

// ---- The reset --------------------------------------------------------------------------------------------------

/// Balance 103,000, equity 97,000, yesterday's floor 95,000, today's 98,000.
fn inside_yesterday_outside_today(rules: Vec<Rule>) -> (Desk, AccountId) {
    let (mut desk, account) = Desk::trading(&program(rules));
    let winner = desk.buy(account, "10", "EURUSD");
    desk.quote("EURUSD", "1.10310", "1.10320");
    desk.close(account, winner);
    desk.buy(account, "10", "EURUSD");
    assert!(desk.quote("EURUSD", "1.09720", "1.09730").is_empty());
    assert_eq!((desk.balance(account), desk.equity(account)), (money("103000"), money("97000")));
    (desk, account)
}

#[test]
fn a_loss_inside_yesterdays_limit_and_outside_todays_breaches_at_the_reset_itself() {
    let expected = {
        let (mut desk, account) = inside_yesterday_outside_today(five_and_ten());
        desk.wait_until("2026-01-05T22:59:59.999999Z");
        assert!(desk.clock().is_empty());
        desk.wait_until(RESET);
        let events = desk.clock();
        let (event, verdict) = verdict(&events);
        assert_eq!(event.at, at(RESET));
        assert_eq!((verdict.rule.as_ref(), verdict.cause), ("daily_loss", Cause::Reset));
        assert_eq!((verdict.balance, verdict.equity), (money("103000"), money("97000")));
        let floor = verdict.floor.as_ref().unwrap();
        assert_eq!(
            (floor.reference, floor.limit, floor.amount),
            (money("103000"), money("5000"), money("98000"))
        );
        assert_eq!(floor.reference_name.as_ref(), "balance at the reset");
        assert_eq!(desk.account(account).closed_at, Some(at(RESET)));
        assert!(matches!(events[0].what, What::Reset(_)), "the reset comes first");
        events
    };
    let after = |input: &dyn Fn(&mut Desk, AccountId), when: &str| {
        let (mut desk, account) = inside_yesterday_outside_today(five_and_ten());
        let before = desk.events.len();
        desk.wait_until(when);
        input(&mut desk, account);
        assert_eq!(desk.events[before..], expected, "{when}");
        assert_eq!(desk.account(account).closed_at, Some(at(RESET)));
    };
    let recovery = |desk: &mut Desk, _| {
        desk.quote("EURUSD", "1.20000", "1.20010");
    };
    let elsewhere = |desk: &mut Desk, _| {
        desk.quote("XAUUSD", "2000.000", "2000.500");
    };
    let command = |desk: &mut Desk, account| {
        assert_eq!(
            desk.tell(account, Act::Place(market(Side::Buy, "1", "EURUSD"))),
            Err(Refusal::AccountNotActive)
        );
    };
    let clock = |desk: &mut Desk, _| {
        desk.clock();
    };
    after(&recovery, RESET);
    after(&recovery, "2026-01-05T23:30:00Z");
    after(&elsewhere, "2026-01-05T23:30:00Z");
    after(&command, RESET);
    after(&command, "2026-01-05T23:30:00Z");
    after(&clock, "2026-01-06T22:59:59Z");
    after(&clock, "2026-01-09T12:00:00Z");
}

#[test]
fn the_day_is_measured_from_what_stood_at_the_reset() {
    // (price before the reset, rule, its floor of the new day, the last price above the floor, the first below)
    let balance = Reference::Balance;
    let equity = Reference::Equity;
    let higher = Reference::HigherOf;
    let cases = [
        ("1.11000", daily(balance, percent("5")), "95000", "1.09000", "1.08999"),
        ("1.11000", daily(equity, percent("5")), "100000", "1.10000", "1.09999"),
        ("1.11000", daily(higher, percent("5")), "100000", "1.10000", "1.09999"),
        ("1.11000", daily(balance, percent_of_reference("5")), "95000", "1.09000", "1.08999"),
        ("1.11000", daily(equity, percent_of_reference("5")), "99750", "1.09950", "1.09949"),
        ("1.11000", daily(higher, percent_of_reference("5")), "99750", "1.09950", "1.09949"),
        ("1.11000", daily(equity, fixed("1234.56")), "103765.44", "1.10754", "1.10753"),
        ("1.09400", daily(balance, percent("5")), "95000", "1.09000", "1.08999"),
        ("1.09400", daily(equity, percent("5")), "92000", "1.08400", "1.08399"),
        ("1.09400", daily(higher, percent("5")), "95000", "1.09000", "1.08999"),
        ("1.09400", daily(equity, percent_of_reference("5")), "92150", "1.08430", "1.08429"),
    ];
    for (standing, rule, floor, safe, below) in cases {
        let (mut desk, account) = spread_free(&program(vec![rule.clone()]));
        desk.buy(account, "5", "EURUSD");
        assert!(flat_quote(&mut desk, standing).is_empty());
        // Nobody trades over the reset; the next input is the first quote of the new day.
        desk.wait_until("2026-01-06T07:00:00Z");
        let events = flat_quote(&mut desk, safe);
        assert!(verdicts(&events).is_empty(), "{rule:?} at {safe}");
        let expected = desk.account(account).track.day_start_equity;
        assert_eq!(resets(&events), [(at(RESET), resets(&events)[0].1)]);
        assert_eq!((resets(&events)[0].1.balance, resets(&events)[0].1.equity), (money("100000"), expected));
        assert_eq!(desk.floor(account, 0), money(floor), "{rule:?}");
        let events = flat_quote(&mut desk, below);
        assert_eq!(verdict(&events).1.rule.as_ref(), "daily_loss", "{rule:?} at {below}");
    }
}

#[test]
fn a_gap_of_nine_per_cent_over_the_night_fails_a_five_per_cent_limit() {
    for reference in [Reference::Balance, Reference::Equity, Reference::HigherOf] {
        let (mut desk, account) = spread_free(&program(vec![daily(reference, percent("5"))]));
        desk.buy(account, "5", "EURUSD");
        desk.wait_until("2026-01-06T07:00:00Z");
        let events = flat_quote(&mut desk, "1.08200");
        let (event, verdict) = verdict(&events);
        assert_eq!((verdict.equity, event.at), (money("91000"), desk.now));
        assert_eq!(
            verdict.floor.as_ref().unwrap().reference,
            money("100000"),
            "not what the first quote found"
        );
    }
}

#[test]
fn the_first_trade_of_a_day_is_not_its_baseline() {
    let (mut desk, account) = spread_free(&program(vec![daily(Reference::Equity, percent("5"))]));
    desk.buy(account, "5", "EURUSD");
    desk.wait_until("2026-01-06T07:00:00Z");
    flat_quote(&mut desk, "1.09100");
    desk.buy(account, "0.01", "EURUSD");
    assert_eq!(desk.floor(account, 0), money("95000"));
    assert_eq!(verdicts(&flat_quote(&mut desk, "1.08990")).len(), 1);
}

#[test]
fn a_profit_of_the_day_is_room_of_the_day() {
    let (mut desk, account) = spread_free(&program(vec![daily(Reference::Balance, percent("5"))]));
    let position = desk.buy(account, "5", "EURUSD");
    flat_quote(&mut desk, "1.11000");
    desk.close(account, position);
    assert_eq!(desk.floor(account, 0), money("95000"), "the day still measures from its start");
    desk.wait_until("2026-01-06T07:00:00Z");
    desk.clock();
    assert_eq!(desk.floor(account, 0), money("100000"));
}

#[test]
fn every_reset_of_a_long_silence_happens_at_its_own_instant() {
    let mut desk = Desk::new();
    desk.now = at("2026-03-27T12:00:00Z");
    let account = desk.open(&program(five_and_ten()), 1);
    desk.wait_until("2026-03-31T00:00:00Z");
    let events = desk.clock();
    let seen: Vec<_> =
        resets(&events).iter().map(|(at, reset)| (at.to_string(), reset.day.to_string())).collect();
    let expected = [
        ("2026-03-27T23:00:00.000000Z", "2026-03-28"),
        ("2026-03-28T23:00:00.000000Z", "2026-03-29"),
        ("2026-03-29T22:00:00.000000Z", "2026-03-30"),
        ("2026-03-30T22:00:00.000000Z", "2026-03-31"),
    ];
    assert_eq!(
        seen,
        expected.map(|(at, day)| (at.to_owned(), day.to_owned())),
        "the clocks of Prague changed"
    );
    assert_eq!(desk.account(account).track.next_reset, at("2026-03-31T22:00:00Z"));
}

// ---- Floors that follow -----------------------------------------------------------------------------------------

#[test]
fn the_end_of_day_floor_follows_closed_profit_at_the_reset_and_locks() {
    let rules = vec![total(Trail::EndOfDayBalance, fixed("2000"), LockAt::AtInitial)];
    let (mut desk, account) = spread_free(&program_of("50000", rules));
    let mut held = desk.buy(account, "1", "EURUSD");
    // (closes at, then the floor before and after the reset); one lot earns 10 a point of the fourth digit.
    for (day, (price, before, after)) in [
        ("1.10500", "48000", "48500"),
        ("1.10400", "48500", "48500"),
        ("1.12000", "48500", "50000"),
        ("1.20000", "50000", "50000"),
    ]
    .into_iter()
    .enumerate()
    {
        flat_quote(&mut desk, price);
        assert_eq!(desk.floor(account, 0), money(before), "open profit moves nothing");
        desk.close(account, held);
        assert_eq!(desk.floor(account, 0), money(before), "nor does closed profit before the reset");
        held = desk.buy(account, "1", "EURUSD");
        desk.wait_until(&format!("2026-01-{:02}T10:00:00Z", 6 + day));
        flat_quote(&mut desk, price);
        assert_eq!(desk.floor(account, 0), money(after), "{price}");
    }
    let floors = desk.view(account).floors;
    assert_eq!(floors[0].locked_at, Some(money("50000")));
    assert_eq!(verdicts(&flat_quote(&mut desk, "1.10000")).len(), 0, "touching the lock");
    let events = flat_quote(&mut desk, "1.09999");
    let floor = verdict(&events).1.floor.clone().unwrap();
    assert_eq!((floor.amount, floor.locked_at), (money("50000"), Some(money("50000"))));
}

#[test]
fn the_intraday_floor_follows_every_peak_of_the_equity() {
    let (mut desk, account) =
        spread_free(&program_of("50000", vec![total(Trail::IntradayEquity, fixed("2500"), LockAt::None)]));
    desk.buy(account, "1", "EURUSD");
    for (price, floor) in
        [("1.10875", "48375"), ("1.10100", "48375"), ("1.13500", "51000"), ("1.11001", "51000")]
    {
        assert!(flat_quote(&mut desk, price).is_empty());
        assert_eq!(desk.floor(account, 0), money(floor), "{price}");
    }
    assert!(flat_quote(&mut desk, "1.11000").is_empty());
    let events = flat_quote(&mut desk, "1.10999");
    let (_, verdict) = verdict(&events);
    let floor = verdict.floor.as_ref().unwrap();
    assert_eq!((floor.reference, floor.amount), (money("53500"), money("51000")));
    assert_eq!(floor.reference_name.as_ref(), "highest equity at any price");
    assert_eq!(verdict.equity, money("50999"), "above the initial balance and yet a breach");
}

// ---- Passing ----------------------------------------------------------------------------------------------------

fn worth(view: &View) -> Worth {
    Worth { balance: view.account.balance, equity: view.equity, at_reset: false }
}

fn two_phases() -> Program {
    let mut program = program(five_and_ten());
    let second = vec![total(Trail::EndOfDayBalance, percent("10"), LockAt::AtInitial)];
    program.phases.push(phase("Funded", second));
    program
}

#[test]
fn passing_opens_the_account_of_the_next_phase_in_the_same_input() {
    let program = two_phases();
    let (mut desk, account) = spread_free(&program);
    desk.trade_with_exits(account, Side::Buy, "10", "EURUSD", None, Some("1.11000"));
    desk.limit(account, Side::Buy, "1", "EURUSD", "1.00000");
    assert!(flat_quote(&mut desk, "1.10999").is_empty());
    let events = flat_quote(&mut desk, "1.11000");
    let (event, verdict) = verdict(&events);
    assert_eq!(
        (event.account, verdict.kind, verdict.rule.as_ref()),
        (account, VerdictKind::Pass, "profit_target")
    );
    assert_eq!((verdict.balance, verdict.equity, verdict.phase), (money("110000"), money("110000"), 0));
    assert_eq!(verdict.objectives[0].target, Figure::Amount(money("110000")));
    assert_eq!(verdict.positions, []);
    assert_eq!(desk.account(account).status, Status::Passed);

    let next = opening(&program, 1, 1).account();
    assert_ne!(next, account);
    let born: Vec<_> = events
        .iter()
        .filter(|event| event.account == next && !matches!(event.what, What::Verdict(_)))
        .map(|event| (event.at, event.what.clone()))
        .collect();
    let initial = Entry {
        number: 1,
        kind: EntryKind::Initial,
        amount: money("100000"),
        balance: money("100000"),
        fill: None,
    };
    assert_eq!(born, [(desk.now, What::Opened), (desk.now, What::Entry(initial))]);
    let promotions = events.iter().filter_map(|event| match &event.what {
        What::Verdict(verdict) if event.account == next => Some((verdict.kind, verdict.from, verdict.phase)),
        _ => None,
    });
    assert!(promotions.eq([(VerdictKind::Promotion, Some(account), 1)]));
    let opened = desk.account(next);
    assert_eq!((opened.phase, opened.status, opened.balance), (1, Status::Active, money("100000")));
    assert_eq!(opened.challenge, desk.account(account).challenge);
    assert_eq!(opened.version, desk.account(account).version, "bought once, kept for life");
    assert_eq!(opened.track.opened_at, desk.now);

    // Whoever opens it again, because a message was delivered twice, opens nothing.
    assert_eq!(desk.tell_under("again", next, Act::Open(opening(&program, 1, 1))), (Ok(Done::Opened), false));
    desk.buy(next, "1", "EURUSD");
    assert_eq!(desk.floor(next, 0), money("90000"), "by the rules of its own phase");
}

#[test]
fn a_next_phase_that_is_already_open_is_left_alone() {
    let program = two_phases();
    let (mut desk, account) = spread_free(&program);
    let open = opening(&program, 1, 1);
    let next = open.account();
    desk.tell(next, Act::Open(open)).unwrap();
    let held = desk.buy(next, "1", "EURUSD");
    desk.trade_with_exits(account, Side::Buy, "10", "EURUSD", None, Some("1.11000"));
    flat_quote(&mut desk, "1.11000");
    assert_eq!(desk.account(account).status, Status::Passed);
    assert!(desk.account(next).positions.contains_key(&held), "its trader's position is still there");
}

#[test]
fn a_target_reached_by_closing_passes_with_the_close() {
    let (mut desk, account) = spread_free(&program(five_and_ten()));
    let position = desk.buy(account, "10", "EURUSD");
    let other = desk.buy(account, "0.01", "EURUSD");
    assert!(flat_quote(&mut desk, "1.11000").is_empty(), "open profit does not pass");
    desk.close(account, position);
    assert_eq!(
        (desk.account(account).status, desk.balance(account)),
        (Status::Active, money("110000")),
        "not flat yet"
    );
    desk.close(account, other);
    assert_eq!(desk.account(account).status, Status::Passed);
    assert_eq!(verdict(&desk.events).1.cause, Cause::Command);
}

#[test]
fn a_target_that_does_not_ask_for_flat_closes_what_is_open() {
    let (mut desk, account) = spread_free(&program(vec![target_held(percent("10"))]));
    let position = desk.buy(account, "10", "EURUSD");
    desk.buy(account, "1", "EURUSD");
    flat_quote(&mut desk, "1.11000");
    desk.close(account, position);
    let (_, verdict) = verdict(&desk.events);
    assert_eq!(
        (verdict.kind, verdict.balance, verdict.equity),
        (VerdictKind::Pass, money("110000"), money("111000"))
    );
    assert_eq!(desk.balance(account), money("111000"));
}

#[test]
fn a_cent_short_of_the_target_is_short() {
    let (mut desk, account) = spread_free(&program(vec![target(fixed("1000"))]));
    desk.quote("XAUUSD", "2000.000", "2000.000");
    let euro = desk.buy(account, "1", "EURUSD");
    let gold = desk.sell(account, "0.01", "XAUUSD");
    flat_quote(&mut desk, "1.11000");
    desk.quote("XAUUSD", "2000.010", "2000.010");
    desk.close(account, gold);
    desk.close(account, euro);
    assert_eq!((desk.balance(account), desk.account(account).status), (money("100999.99"), Status::Active));
    let gold = desk.buy(account, "0.01", "XAUUSD");
    desk.quote("XAUUSD", "2000.020", "2000.020");
    desk.close(account, gold);
    assert_eq!((desk.balance(account), desk.account(account).status), (money("101000"), Status::Passed));
}

#[test]
fn the_target_waits_for_the_trading_days() {
    let (mut desk, account) = spread_free(&program(vec![target(percent("10")), trading_days(3)]));
    let winner = desk.buy(account, "10", "EURUSD");
    flat_quote(&mut desk, "1.12000");
    desk.close(account, winner);
    let again = desk.buy(account, "0.01", "EURUSD");
    let days = |desk: &Desk| match desk.view(account).objectives[1].current {
        Figure::Count(days) => days,
        _ => panic!("trading days are counted"),
    };
    assert_eq!((days(&desk), desk.account(account).status), (1, Status::Active), "two trades, one day");
    desk.wait_until("2026-01-06T10:00:00Z");
    flat_quote(&mut desk, "1.12000");
    desk.close(account, again);
    assert_eq!(days(&desk), 1, "holding and closing is not opening");
    for (day, status) in [("07", Status::Active), ("08", Status::Passed)] {
        desk.wait_until(&format!("2026-01-{day}T10:00:00Z"));
        flat_quote(&mut desk, "1.12000");
        let position = desk.buy(account, "0.01", "EURUSD");
        assert_eq!(desk.account(account).status, Status::Active, "the position is open");
        desk.close(account, position);
        assert_eq!(desk.account(account).status, status);
    }
    let (_, verdict) = verdict(&desk.events);
    assert_eq!(verdict.objectives[1].current, Figure::Count(3));
}

#[test]
fn a_phase_without_a_target_is_never_passed() {
    let (mut desk, account) =
        spread_free(&program(vec![total(Trail::Static, percent("10"), LockAt::None), trading_days(1)]));
    let position = desk.buy(account, "10", "EURUSD");
    flat_quote(&mut desk, "2.00000");
    desk.close(account, position);
    assert_eq!((desk.account(account).status, desk.balance(account)), (Status::Active, money("1000000")));
}

// ---- Deadlines --------------------------------------------------------------------------------------------------

#[test]
fn a_deadline_ends_the_account_at_its_instant_whatever_comes_next() {
    let instant = at("2026-02-04T10:00:00Z");
    for (rule, kind) in [(inactivity(30), "inactivity"), (calendar(30), "calendar_limit")] {
        let after = |input: &dyn Fn(&mut Desk, AccountId), when: &str| {
            let (mut desk, account) = Desk::trading(&program(vec![rule.clone()]));
            desk.wait_until("2026-02-04T09:59:59.999999Z");
            desk.clock();
            assert_eq!(desk.account(account).status, Status::Active);
            desk.wait_until(when);
            let before = desk.events.len();
            input(&mut desk, account);
            let (event, verdict) = verdict(&desk.events[before..]);
            assert_eq!((event.at, verdict.kind, verdict.rule.as_ref()), (instant, VerdictKind::Expiry, kind));
            assert_eq!(verdict.cause, Cause::Deadline);
            assert_eq!(verdict.deadline.as_ref().map(|deadline| deadline.at), Some(instant));
            assert_eq!(
                (desk.account(account).status, desk.account(account).closed_at),
                (Status::Expired, Some(instant))
            );
        };
        let clock = |desk: &mut Desk, _| {
            desk.clock();
        };
        let quote = |desk: &mut Desk, _| {
            desk.quote("EURUSD", "1.10000", "1.10010");
        };
        let command = |desk: &mut Desk, account| {
            assert_eq!(
                desk.tell(account, Act::Place(market(Side::Buy, "1", "EURUSD"))),
                Err(Refusal::AccountNotActive)
            );
        };
        for when in ["2026-02-04T10:00:00Z", "2026-02-04T10:00:00.000001Z", "2026-03-01T00:00:00Z"] {
            after(&clock, when);
            after(&quote, when);
            after(&command, when);
        }
    }
}

#[test]
fn opening_a_position_is_activity_and_closing_or_placing_is_not() {
    let (mut desk, account) = Desk::trading(&program(vec![inactivity(30)]));
    desk.wait(hours(24 * 20));
    desk.quote("EURUSD", "1.10000", "1.10010");
    let position = desk.buy(account, "1", "EURUSD");
    let opened = desk.now;
    desk.wait(hours(24 * 20));
    desk.quote("EURUSD", "1.10000", "1.10010");
    desk.close(account, position);
    desk.limit(account, Side::Buy, "1", "EURUSD", "1.09000");
    desk.wait(hours(24 * 20));
    desk.clock();
    let expected = opened.after(hours(24 * 30)).unwrap();
    assert_eq!(desk.account(account).closed_at, Some(expected));
}

#[test]
fn the_calendar_closes_what_is_open_at_the_standing_quote() {
    let (mut desk, account) = Desk::trading(&program(vec![calendar(1)]));
    desk.buy(account, "1", "EURUSD");
    desk.quote("EURUSD", "1.10100", "1.10110");
    desk.wait(hours(30));
    let events = desk.clock();
    let (_, verdict) = verdict(&events);
    assert_eq!(
        (verdict.positions.len(), verdict.equity, verdict.floor.is_none()),
        (1, money("100090"), true)
    );
    assert_eq!(desk.balance(account), money("100090"));
}

#[test]
fn the_earlier_deadline_ends_the_account() {
    let (mut desk, account) = Desk::trading(&program(vec![calendar(40), inactivity(30), calendar(35)]));
    desk.wait(hours(24 * 60));
    let events = desk.clock();
    assert_eq!((verdict(&events).1.rule.as_ref(), verdict(&events).1.rule_index), ("inactivity", 1));
    assert_eq!(desk.account(account).status, Status::Expired);
}

#[test]
fn a_breach_at_the_reset_comes_before_a_deadline_at_the_same_instant() {
    let mut desk = Desk::new();
    desk.now = at("2026-01-04T23:00:00Z");
    let rules = vec![daily(Reference::Balance, percent("5")), calendar(1)];
    let account = desk.open(&program(rules), 1);
    flat_quote(&mut desk, "1.10000");
    let winner = desk.buy(account, "10", "EURUSD");
    flat_quote(&mut desk, "1.10300");
    desk.close(account, winner);
    desk.buy(account, "10", "EURUSD");
    flat_quote(&mut desk, "1.09700");
    desk.wait_until(RESET);
    let events = desk.clock();
    assert_eq!((verdict(&events).1.kind, verdict(&events).0.at), (VerdictKind::Breach, at(RESET)));
}

// ---- Evidence ---------------------------------------------------------------------------------------------------

/// Recomputes a verdict from its own text, with nothing but its numbers.
fn recompute(verdict: &Verdict) -> i128 {
    let read = |text: &str| i128::from(decimal::parse(text, 6).unwrap());
    let side_of = |name: &str, pick_bid: bool| {
        let quote = verdict.quotes.iter().find(|quote| quote.symbol == name).unwrap();
        read(if pick_bid { &quote.bid } else { &quote.ask })
    };
    let mut equity = i128::from(verdict.balance.micros());
    for position in &verdict.positions {
        let long = position.side == Side::Buy;
        assert_eq!(
            read(&position.close_price),
            side_of(&position.symbol, long),
            "valued at the side that closes it"
        );
        let moved = read(&position.close_price) - read(&position.open_price);
        let moved = if long { moved } else { -moved };
        let exact = moved * i128::from(position.contract_size) * read(&position.quantity);
        assert_eq!(exact % 1_000_000, 0);
        let in_quote = exact / 1_000_000;
        assert_eq!(in_quote, i128::from(position.profit_in_quote.micros()));
        let profit = match &position.rate {
            None => in_quote,
            Some(rate) => {
                let gain = in_quote >= 0;
                assert_eq!(read(&rate.price), side_of(&rate.symbol, gain == rate.multiply));
                let (numerator, denominator) = if rate.multiply {
                    (read(&rate.price), 1_000_000)
                } else {
                    (1_000_000, read(&rate.price))
                };
                divide(in_quote * numerator, denominator, Rounding::Floor).unwrap()
            }
        };
        assert_eq!(profit, i128::from(position.profit.micros()), "{}", position.symbol);
        equity += profit;
    }
    equity
}

#[test]
fn the_evidence_of_a_breach_recomputes() {
    let (mut desk, account) = Desk::trading(&program(five_and_ten()));
    desk.quotes(&[
        ("XAUUSD", "2000.000", "2000.500"),
        ("USDJPY", "150.000", "150.010"),
        ("AUDNZD", "1.08000", "1.08010"),
        ("NZDUSD", "0.60000", "0.60010"),
    ]);
    desk.buy(account, "3", "EURUSD");
    desk.sell(account, "2.50", "XAUUSD");
    desk.sell(account, "2", "USDJPY");
    desk.buy(account, "4.20", "AUDNZD");
    desk.sell(account, "1", "AUDNZD");
    desk.quote("NZDUSD", "0.61000", "0.61010");
    desk.quote("AUDNZD", "1.07000", "1.07015");
    desk.quote("USDJPY", "150.100", "150.113");
    let events = desk.quote("XAUUSD", "2020.000", "2020.499");
    let (_, verdict) = verdict(&events);
    assert_eq!(verdict.positions.len(), 5);
    let equity = i128::from(verdict.equity.micros());
    assert_eq!(recompute(verdict), equity);
    let floor = verdict.floor.as_ref().unwrap();
    assert_eq!(floor.amount, floor.reference.minus(floor.limit).unwrap());
    assert!(verdict.equity < floor.amount);
    let names: Vec<_> = verdict.quotes.iter().map(|quote| quote.symbol.as_str()).collect();
    assert_eq!(names, ["AUDNZD", "EURUSD", "NZDUSD", "USDJPY", "XAUUSD"]);
    let gold = &verdict.quotes[4];
    assert_eq!((gold.bid.as_str(), gold.ask.as_str()), ("2020.000", "2020.499"));
    assert_eq!(
        (gold.source_time, gold.received_at, Cause::Quote(gold.position)),
        (desk.now, desk.now, verdict.cause)
    );
    assert_eq!(verdict.version, program(five_and_ten()).version().unwrap());
    let json = serde_json::to_string(verdict).unwrap();
    let again: Verdict = serde_json::from_str(&json).unwrap();
    assert_eq!(&again, verdict, "a receipt reads back as it was");
}

#[test]
fn the_quote_that_caused_a_breach_is_one_that_the_account_depends_on() {
    let (mut desk, account) = Desk::trading(&program(five_and_ten()));
    desk.buy(account, "10", "EURUSD");
    let first = desk.position;
    let events = desk.quotes(&[("EURUSD", "1.05000", "1.05010"), ("XAUUSD", "2000.000", "2000.500")]);
    let (_, verdict) = verdict(&events);
    assert_eq!(
        verdict.cause,
        Cause::Quote(first),
        "gold stood in the same message, but the account holds none"
    );
    assert_eq!(verdict.quotes.len(), 1);
}

#[test]
fn a_message_is_applied_whole_before_anything_is_judged() {
    let (mut desk, account) = Desk::trading(&program(five_and_ten()));
    desk.quote("XAUUSD", "2000.000", "2000.000");
    desk.buy(account, "10", "EURUSD");
    desk.buy(account, "10", "XAUUSD");
    // The euro loses 6,100 and gold earns 6,000: inside the limit together, outside if judged between.
    let events = desk.quotes(&[("EURUSD", "1.09400", "1.09410"), ("XAUUSD", "2006.000", "2006.000")]);
    assert!(events.is_empty());
    assert_eq!(desk.equity(account), money("99900"));
}

#[test]
fn changing_only_the_exits_judges_nothing_new() {
    let (mut desk, account) = Desk::trading(&program(five_and_ten()));
    let position = desk.buy(account, "10", "EURUSD");
    desk.quote("EURUSD", "1.09510", "1.09520");
    let change = Change::Set(desk.points("EURUSD", "1.09000"));
    desk.tell(account, Act::ChangePosition { position, stop_loss: change, take_profit: Change::Keep })
        .unwrap();
    let kind = OrderKind::Limit(desk.points("EURUSD", "1.00000"));
    let order =
        order_of(desk.tell(account, Act::Place(engine::Place { kind, ..market(Side::Buy, "1", "EURUSD") })));
    desk.tell(account, Act::Cancel { order }).unwrap();
    assert_eq!((desk.account(account).status, desk.equity(account)), (Status::Active, money("95000")));
}
