//! Orders, positions and margin as a trader sees them, with numbers worked out by hand.
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
    Act, Change, Done, EntryKind, FillReason, Instruments, MOST_TICKETS, Open, OrderKind, OrderState, Place,
    Refusal, Status, Ticket, What,
};
use kernel::{AccountId, Amount, FirmId, Percent, Price, Quantity, Side, Span};
use rules::Program;
use rules::kinds::{LockAt, Trail};

/// Makes an order's kind of its price.
type Kind = fn(Price) -> OrderKind;

/// Way, kind, price, a quote that must not fire it, the quote that fires it, the price it gets.
type Firing<'a> = (Side, Kind, &'a str, (&'a str, &'a str), (&'a str, &'a str), &'a str);

fn plain() -> Program {
    program(vec![target(percent("10"))])
}

fn with_commission(per_lot: &str) -> Program {
    let mut program = plain();
    program.terms.commission_per_lot = money(per_lot);
    program
}

fn only_fill(events: &[engine::Event]) -> engine::Fill {
    let fills = fills(events);
    assert_eq!(fills.len(), 1, "{events:#?}");
    fills[0].clone()
}

#[test]
fn a_buy_pays_the_ask_and_sells_at_the_bid() {
    let (mut desk, account) = Desk::trading(&plain());
    let position = desk.buy(account, "1", "EURUSD");
    assert_eq!(desk.held(account, position).open_price, desk.points("EURUSD", "1.10010"));
    assert_eq!(desk.equity(account), money("99990"), "the spread is lost at once");
    assert_eq!(desk.balance(account), money("100000"), "and the balance does not know yet");
    desk.quote("EURUSD", "1.10100", "1.10110");
    let before = desk.events.len();
    desk.close(account, position);
    let fill = only_fill(&desk.events[before..]);
    assert_eq!((fill.price, fill.side), (desk.points("EURUSD", "1.10100"), Side::Sell));
    assert_eq!((fill.profit, fill.reason), (money("90"), FillReason::Close));
    assert_eq!(fill.quote_position, 2, "the quote it was filled at");
    assert_eq!(desk.balance(account), money("100090"));
    assert!(desk.account(account).positions.is_empty());
}

#[test]
fn a_sell_gets_the_bid_and_buys_back_at_the_ask() {
    let (mut desk, account) = Desk::trading(&plain());
    let position = desk.sell(account, "1", "EURUSD");
    assert_eq!(desk.held(account, position).open_price, desk.points("EURUSD", "1.10000"));
    assert_eq!(desk.equity(account), money("99990"));
    desk.quote("EURUSD", "1.09900", "1.09910");
    desk.close(account, position);
    assert_eq!(desk.balance(account), money("100090"));
}

#[test]
fn an_order_fires_on_its_own_side_of_the_quote_and_gets_what_the_market_gives() {
    let limit = OrderKind::Limit;
    let stop = OrderKind::Stop;
    let cases: [Firing<'_>; 8] = [
        (Side::Buy, limit, "1.09900", ("1.09891", "1.09901"), ("1.09890", "1.09900"), "1.09900"),
        (Side::Buy, limit, "1.09900", ("1.09900", "1.09910"), ("1.09840", "1.09850"), "1.09850"),
        (Side::Sell, limit, "1.10100", ("1.10099", "1.10109"), ("1.10100", "1.10110"), "1.10100"),
        (Side::Sell, limit, "1.10100", ("1.10099", "1.10120"), ("1.10200", "1.10210"), "1.10200"),
        (Side::Buy, stop, "1.10100", ("1.10089", "1.10099"), ("1.10090", "1.10100"), "1.10100"),
        (Side::Buy, stop, "1.10100", ("1.10089", "1.10099"), ("1.10240", "1.10250"), "1.10250"),
        (Side::Sell, stop, "1.09900", ("1.09901", "1.09911"), ("1.09900", "1.09910"), "1.09900"),
        (Side::Sell, stop, "1.09900", ("1.09901", "1.09911"), ("1.09700", "1.09710"), "1.09700"),
    ];
    for (side, kind, price, waits, fires, gets) in cases {
        let (mut desk, account) = Desk::trading(&plain());
        let kind = kind(desk.points("EURUSD", price));
        let order =
            order_of(desk.tell(account, Act::Place(Place { kind, ..market(side, "0.50", "EURUSD") })));
        assert!(fills(&desk.events).is_empty(), "{kind:?} {side:?} waits when placed");
        assert!(fills(&desk.quote("EURUSD", waits.0, waits.1)).is_empty(), "{kind:?} {side:?} at {waits:?}");
        let events = desk.quote("EURUSD", fires.0, fires.1);
        let fill = only_fill(&events);
        assert_eq!(fill.price, desk.points("EURUSD", gets), "{kind:?} {side:?}");
        assert_eq!((fill.order, fill.side, fill.quantity), (Some(order), side, lots("0.50")));
        assert_eq!(fill.reason.word(), kind.word());
        assert!(desk.account(account).orders.is_empty(), "a filled order no longer works");
        assert_eq!(desk.held(account, fill.position).open_price, fill.price);
        let done = events.iter().any(|event| matches!(&event.what, What::Order(order) if order.state == OrderState::Filled && order.position == Some(fill.position)));
        assert!(done, "the order says which position it opened");
    }
}

#[test]
fn exits_fire_at_the_closing_side_and_a_gap_slips() {
    // (way, stop loss, take profit, a quote that must not fire, the quote that does, price, reason, result)
    let cases = [
        (
            Side::Buy,
            ("1.09900", "1.10200"),
            ("1.09901", "1.09911"),
            ("1.09900", "1.09910"),
            "1.09900",
            FillReason::StopLoss,
            "-110",
        ),
        (
            Side::Buy,
            ("1.09900", "1.10200"),
            ("1.10199", "1.10209"),
            ("1.10200", "1.10210"),
            "1.10200",
            FillReason::TakeProfit,
            "190",
        ),
        (
            Side::Buy,
            ("1.09900", "1.10200"),
            ("1.09901", "1.09911"),
            ("1.09500", "1.09510"),
            "1.09500",
            FillReason::StopLoss,
            "-510",
        ),
        (
            Side::Buy,
            ("1.09900", "1.10200"),
            ("1.10199", "1.10209"),
            ("1.10500", "1.10510"),
            "1.10500",
            FillReason::TakeProfit,
            "490",
        ),
        (
            Side::Sell,
            ("1.10200", "1.09900"),
            ("1.10189", "1.10199"),
            ("1.10190", "1.10200"),
            "1.10200",
            FillReason::StopLoss,
            "-200",
        ),
        (
            Side::Sell,
            ("1.10200", "1.09900"),
            ("1.09891", "1.09901"),
            ("1.09890", "1.09900"),
            "1.09900",
            FillReason::TakeProfit,
            "100",
        ),
        (
            Side::Sell,
            ("1.10200", "1.09900"),
            ("1.10189", "1.10199"),
            ("1.10600", "1.10610"),
            "1.10610",
            FillReason::StopLoss,
            "-610",
        ),
    ];
    for (side, (stop_loss, take_profit), waits, fires, gets, reason, result) in cases {
        let (mut desk, account) = Desk::trading(&plain());
        desk.trade_with_exits(account, side, "1", "EURUSD", Some(stop_loss), Some(take_profit));
        assert!(
            fills(&desk.quote("EURUSD", waits.0, waits.1)).is_empty(),
            "{side:?} {reason:?} at {waits:?}"
        );
        let fill = only_fill(&desk.quote("EURUSD", fires.0, fires.1));
        assert_eq!((fill.price, fill.reason), (desk.points("EURUSD", gets), reason));
        assert_eq!((fill.profit, fill.quantity), (money(result), lots("1")));
        assert_eq!(desk.balance(account), money("100000").plus(money(result)).unwrap());
    }
}

#[test]
fn an_order_hands_its_exits_to_the_position() {
    let (mut desk, account) = Desk::trading(&plain());
    let place = Place {
        kind: OrderKind::Limit(desk.points("EURUSD", "1.09900")),
        stop_loss: Some(desk.points("EURUSD", "1.09800")),
        take_profit: Some(desk.points("EURUSD", "1.10000")),
        ..market(Side::Buy, "1", "EURUSD")
    };
    desk.tell(account, Act::Place(place)).unwrap();
    desk.quote("EURUSD", "1.09890", "1.09900");
    let fill = only_fill(&desk.quote("EURUSD", "1.10000", "1.10010"));
    assert_eq!((fill.reason, fill.profit), (FillReason::TakeProfit, money("100")));
}

#[test]
fn a_part_closes_and_the_rest_keeps_its_price_and_its_share_of_the_margin() {
    let (mut desk, account) = Desk::trading(&with_commission("3"));
    let position = desk.buy(account, "1", "EURUSD");
    assert_eq!(desk.held(account, position).margin, money("1100.10"), "110010 / 100");
    desk.quote("EURUSD", "1.10110", "1.10120");
    assert_eq!(desk.close_part(account, position, "0.40"), Ok(Done::Position(position)));
    let left = desk.held(account, position);
    assert_eq!((left.quantity, left.opened_quantity), (lots("0.60"), lots("1")));
    assert_eq!(left.open_price, desk.points("EURUSD", "1.10010"));
    assert_eq!(left.margin, money("660.06"));
    assert_eq!(left.realised, money("40"));
    assert_eq!(left.commission, money("4.20"), "3.00 in and 1.20 out");
    assert_eq!(left.closed_at, None);
    assert_eq!(desk.balance(account), money("100035.80"));
    desk.close(account, position);
    let last = desk.events.iter().rev().find_map(|event| match &event.what {
        What::Position(position) => Some(position.clone()),
        _ => None,
    });
    let last = last.unwrap();
    assert_eq!((last.quantity, last.margin), (Quantity(0), Amount::ZERO));
    assert_eq!((last.realised, last.commission), (money("100"), money("6")));
    assert_eq!(last.closed_at, Some(desk.now));
    assert_eq!(desk.balance(account), money("100094"));
}

#[test]
fn long_and_short_in_one_instrument_are_two_tickets() {
    let (mut desk, account) = Desk::trading(&plain());
    let long = desk.buy(account, "1", "EURUSD");
    let short = desk.sell(account, "1", "EURUSD");
    assert_ne!(long, short);
    assert_eq!(desk.view(account).margin, money("2200.10"), "both bind margin");
    for (bid, ask) in [("1.05000", "1.05010"), ("1.15000", "1.15010")] {
        desk.quote("EURUSD", bid, ask);
        assert_eq!(desk.equity(account), money("99980"), "hedged: only the two spreads are lost");
    }
    desk.close(account, long);
    assert_eq!(desk.balance(account), money("104990"));
    assert_eq!(desk.equity(account), money("99980"));
    desk.quote("EURUSD", "1.14990", "1.15000");
    desk.close(account, short);
    assert_eq!(desk.balance(account), money("99990"));
}

#[test]
fn the_margin_suffices_to_the_cent() {
    for (balance, commission, outcome) in [
        ("1100.10", "0", Ok(())),
        ("1100.09", "0", Err(Refusal::InsufficientMargin)),
        ("1103.10", "3", Ok(())),
        ("1103.09", "3", Err(Refusal::InsufficientMargin)),
    ] {
        let mut program = program_of(balance, vec![target(percent("10"))]);
        program.terms.commission_per_lot = money(commission);
        let (mut desk, account) = Desk::trading(&program);
        let answer = desk.tell(account, Act::Place(market(Side::Buy, "1", "EURUSD")));
        assert_eq!(answer.map(|_| ()), outcome, "{balance} with a commission of {commission}");
    }
}

#[test]
fn open_losses_and_bound_margin_leave_less_for_the_next_order() {
    // 1100.10 bound; then 50 below: 3200 - 60 - 1100.10 = 2039.90 free.
    let (mut desk, account) = Desk::trading(&program_of("3200", vec![target(percent("10"))]));
    desk.buy(account, "1", "EURUSD");
    desk.quote("EURUSD", "1.09950", "1.09960");
    assert_eq!(desk.view(account).equity, money("3140"));
    // 1.86 lots bind 2045.26, 1.85 lots 2034.26.
    assert_eq!(
        desk.tell(account, Act::Place(market(Side::Buy, "1.86", "EURUSD"))),
        Err(Refusal::InsufficientMargin)
    );
    desk.buy(account, "1.85", "EURUSD");
    assert_eq!(desk.view(account).margin, money("3134.36"));
}

#[test]
fn an_order_that_fires_without_margin_is_rejected_and_says_so() {
    let (mut desk, account) = Desk::trading(&program_of("1500", vec![target(percent("10"))]));
    let order = desk.limit(account, Side::Buy, "1", "EURUSD", "1.09900");
    desk.buy(account, "1", "EURUSD");
    let events = desk.quote("EURUSD", "1.09890", "1.09900");
    assert!(fills(&events).is_empty());
    let said = events.iter().find_map(|event| match &event.what {
        What::Order(seen) if seen.ticket == order => Some(seen.clone()),
        _ => None,
    });
    let said = said.unwrap();
    assert_eq!((said.state, said.done_at, said.position), (OrderState::NoMargin, Some(desk.now), None));
    assert_eq!((said.state.word(), said.state.reason()), ("rejected", Some("insufficient_margin")));
    assert!(desk.account(account).orders.is_empty());
    assert_eq!(desk.account(account).status, Status::Active);
}

#[test]
fn commission_is_charged_on_both_sides_and_rounded_up() {
    let (mut desk, account) = Desk::trading(&with_commission("3.50"));
    let position = desk.buy(account, "0.33", "EURUSD");
    assert_eq!(desk.balance(account), money("99998.84"), "1.155 is charged as 1.16");
    assert_eq!(desk.equity(account), money("99995.54"), "and counts in the equity at once");
    desk.close(account, position);
    assert_eq!(desk.balance(account), money("99994.38"), "the spread of 3.30 and 1.16 again");
    let entries = desk.events.iter().filter_map(|event| match &event.what {
        What::Entry(entry) => Some((entry.number, entry.kind, entry.amount, entry.balance)),
        _ => None,
    });
    let entries: Vec<_> = entries.collect();
    assert_eq!(
        entries,
        [
            (1, EntryKind::Initial, money("100000"), money("100000")),
            (2, EntryKind::Commission, money("-1.16"), money("99998.84")),
            (3, EntryKind::Profit, money("-3.30"), money("99995.54")),
            (4, EntryKind::Commission, money("-1.16"), money("99994.38")),
        ]
    );
}

#[test]
fn a_result_is_rounded_to_the_cent_with_ties_to_even() {
    // 0.01 lot of gold moves a tenth of a cent per point.
    for (bid, result) in [
        ("2000.004", "0"),
        ("2000.005", "0"),
        ("2000.006", "0.01"),
        ("2000.015", "0.02"),
        ("2000.025", "0.02"),
        ("1999.995", "0"),
        ("1999.985", "-0.02"),
        ("1999.975", "-0.02"),
    ] {
        let (mut desk, account) = Desk::trading(&plain());
        desk.quote("XAUUSD", "2000.000", "2000.000");
        let position = desk.buy(account, "0.01", "XAUUSD");
        desk.quote("XAUUSD", bid, "2000.500");
        let exact = desk.equity(account);
        assert_eq!(exact, desk.balance(account).plus(desk.view(account).worth[&position].profit).unwrap());
        desk.close(account, position);
        assert_eq!(desk.balance(account), money("100000").plus(money(result)).unwrap(), "closed at {bid}");
    }
}

#[test]
fn equity_is_not_rounded() {
    let (mut desk, account) = Desk::trading(&plain());
    desk.quote("XAUUSD", "2000.000", "2000.000");
    desk.buy(account, "0.01", "XAUUSD");
    desk.quote("XAUUSD", "2000.005", "2000.005");
    assert_eq!(desk.equity(account), money("100000.005"));
}

#[test]
fn yen_become_dollars_at_the_ask_for_gains_and_at_the_bid_for_losses() {
    // 0.10 lot, opened at 150.010. A gain of 1000 JPY buys dollars at 150.120: 6.66133759... A loss of 1000 JPY is
    // bought with dollars at 149.910: 6.67066906...; both are rounded down.
    for (bid, ask, rate, worth, booked) in [
        ("150.110", "150.120", "150.120", "6.661337", "6.66"),
        ("149.910", "149.920", "149.910", "-6.670670", "-6.67"),
    ] {
        let (mut desk, account) = Desk::trading(&plain());
        desk.quote("USDJPY", "150.000", "150.010");
        let position = desk.buy(account, "0.10", "USDJPY");
        assert_eq!(
            desk.held(account, position).margin,
            money("100.01"),
            "1500100 JPY at 150.000, over 100, rounded up"
        );
        desk.quote("USDJPY", bid, ask);
        let valued = desk.view(account).worth[&position];
        assert_eq!(valued.rate.map(|(_, price)| price), Some(desk.points("USDJPY", rate)));
        assert_eq!(valued.profit, money(worth));
        desk.close(account, position);
        assert_eq!(desk.balance(account), money("100000").plus(money(booked)).unwrap());
    }
}

#[test]
fn another_currency_becomes_dollars_at_the_bid_for_gains_and_at_the_ask_for_losses() {
    // One lot of AUDNZD: 10 NZD a point of the fourth digit, converted by NZDUSD.
    for (bid, worth) in [("1.08110", "60"), ("1.07910", "-60.01")] {
        let (mut desk, account) = Desk::trading(&plain());
        desk.quotes(&[("AUDNZD", "1.08000", "1.08010"), ("NZDUSD", "0.60000", "0.60010")]);
        let position = desk.buy(account, "1", "AUDNZD");
        assert_eq!(
            desk.held(account, position).margin,
            money("648.17"),
            "108010 NZD at 0.60010, over 100, rounded up"
        );
        desk.quote("AUDNZD", bid, "1.08500");
        assert_eq!(desk.view(account).worth[&position].profit, money(worth));
        // The rate alone moves the result of an open position.
        desk.quote("NZDUSD", "0.70000", "0.70010");
        let moved = if bid == "1.08110" { "70" } else { "-70.01" };
        assert_eq!(desk.equity(account), money("100000").plus(money(moved)).unwrap());
    }
}

#[test]
fn a_market_without_fresh_quotes_takes_no_orders() {
    let (mut desk, account) = Desk::trading(&plain());
    let position = desk.buy(account, "1", "EURUSD");
    let order = desk.limit(account, Side::Buy, "1", "EURUSD", "1.09000");
    desk.wait(Span::from_seconds(60));
    let spare = desk.limit(account, Side::Buy, "1", "EURUSD", "1.09000");
    desk.wait(Span::from_micros(1));
    let keep = Change::Keep;
    for act in [
        Act::Place(market(Side::Buy, "1", "EURUSD")),
        Act::Close { position, quantity: None },
        Act::ChangeOrder {
            order,
            price: Some(desk.points("EURUSD", "1.08000")),
            stop_loss: keep,
            take_profit: keep,
        },
        Act::ChangePosition {
            position,
            stop_loss: Change::Set(desk.points("EURUSD", "1.05000")),
            take_profit: keep,
        },
    ] {
        assert_eq!(desk.tell(account, act), Err(Refusal::MarketStale));
    }
    assert_eq!(
        desk.tell(account, Act::Cancel { order: spare }),
        Ok(Done::Order(spare)),
        "an order can be taken back"
    );
    desk.quote("EURUSD", "1.10000", "1.10010");
    desk.close(account, position);
}

#[test]
fn a_stale_or_missing_rate_closes_the_markets_that_need_it() {
    let (mut desk, account) = Desk::trading(&plain());
    desk.quote("AUDNZD", "1.08000", "1.08010");
    let order = || Act::Place(market(Side::Buy, "1", "AUDNZD"));
    assert_eq!(desk.tell(account, order()), Err(Refusal::NoQuote));
    desk.quote("NZDUSD", "0.60000", "0.60010");
    desk.wait(Span::from_seconds(61));
    desk.quote("AUDNZD", "1.08000", "1.08010");
    assert_eq!(desk.tell(account, order()), Err(Refusal::MarketStale));
    assert_eq!(desk.tell(account, Act::Place(market(Side::Buy, "1", "XAUUSD"))), Err(Refusal::NoQuote));
    desk.quote("NZDUSD", "0.60000", "0.60010");
    assert!(desk.tell(account, order()).is_ok());
}

/// Commands that suffer from two faults at once, in the order of `Refusal`.
#[test]
fn the_first_refusal_that_applies_is_the_answer() {
    let mut narrow = plain();
    narrow.terms.instruments.retain(|name| name.as_str() != "NZDUSD");
    narrow.terms.instruments.push(symbol("ZARUSD"));
    let (mut desk, account) = Desk::trading(&narrow);
    let place = |side, size, name| Act::Place(market(side, size, name));
    let priced = |act: Act, price: i64| match act {
        Act::Place(place) => Act::Place(Place { kind: OrderKind::Limit(Price(price)), ..place }),
        other => other,
    };
    let nobody = AccountId::derived(&[b"nobody"]);
    assert_eq!(desk.tell(nobody, place(Side::Buy, "0", "NOSUCH")), Err(Refusal::UnknownAccount));
    assert_eq!(desk.tell(account, place(Side::Buy, "0", "NOSUCH")), Err(Refusal::UnknownInstrument));
    assert_eq!(desk.tell(account, place(Side::Buy, "1", "ZARUSD")), Err(Refusal::UnknownInstrument));
    assert_eq!(desk.tell(account, place(Side::Buy, "0", "NZDUSD")), Err(Refusal::InstrumentNotInProgram));
    assert_eq!(desk.tell(account, place(Side::Buy, "0", "XAUUSD")), Err(Refusal::QuantityOutOfRange));
    desk.quote("AUDNZD", "1.08000", "1.08010");
    desk.wait(hours(1));
    assert_eq!(
        desk.tell(account, place(Side::Buy, "1", "AUDNZD")),
        Err(Refusal::NoQuote),
        "stale, and no rate at all"
    );
    assert_eq!(desk.tell(account, priced(place(Side::Buy, "1", "EURUSD"), 0)), Err(Refusal::MarketStale));
    desk.quote("EURUSD", "1.10000", "1.10010");
    for _ in 0..MOST_TICKETS {
        desk.limit(account, Side::Buy, "0.01", "EURUSD", "1.00000");
    }
    assert_eq!(desk.tell(account, priced(place(Side::Buy, "100", "EURUSD"), 0)), Err(Refusal::PriceInvalid));
    assert_eq!(desk.tell(account, place(Side::Buy, "100", "EURUSD")), Err(Refusal::TooManyOrders));
    desk.tell(account, Act::Cancel { order: Ticket(1) }).unwrap();
    assert_eq!(desk.tell(account, place(Side::Buy, "100", "EURUSD")), Err(Refusal::InsufficientMargin));

    let none = Ticket(9_999);
    let keep = no_change();
    assert_eq!(desk.tell(account, Act::Cancel { order: none }), Err(Refusal::OrderNotFound));
    assert_eq!(
        desk.tell(
            account,
            Act::ChangeOrder { order: none, price: Some(Price(0)), stop_loss: keep, take_profit: keep }
        ),
        Err(Refusal::OrderNotFound)
    );
    assert_eq!(
        desk.tell(account, Act::ChangePosition { position: none, stop_loss: keep, take_profit: keep }),
        Err(Refusal::PositionNotFound)
    );
    assert_eq!(
        desk.tell(account, Act::Close { position: none, quantity: Some(Quantity(0)) }),
        Err(Refusal::PositionNotFound)
    );
    desk.tell(account, Act::Cancel { order: Ticket(2) }).unwrap();
    let position = desk.buy(account, "1", "EURUSD");
    desk.wait(hours(1));
    assert_eq!(desk.close_part(account, position, "2"), Err(Refusal::QuantityOutOfRange), "before staleness");
}

#[test]
fn an_ended_account_refuses_everything_before_anything_else_is_looked_at() {
    let (mut desk, account) = Desk::trading(&program(vec![total(Trail::Static, percent("1"), LockAt::None)]));
    let (first, _) = desk.tell_under("first", account, Act::Place(market(Side::Buy, "10", "EURUSD")));
    assert!(first.is_ok());
    desk.quote("EURUSD", "1.05000", "1.05010");
    assert_eq!(desk.account(account).status, Status::Breached);
    let none = Ticket(9_999);
    let keep = no_change();
    for act in [
        Act::Place(market(Side::Buy, "0", "NOSUCH")),
        Act::Cancel { order: none },
        Act::ChangeOrder { order: none, price: None, stop_loss: keep, take_profit: keep },
        Act::ChangePosition { position: none, stop_loss: keep, take_profit: keep },
        Act::Close { position: none, quantity: None },
    ] {
        let before = desk.events.len();
        assert_eq!(desk.tell(account, act), Err(Refusal::AccountNotActive));
        assert_eq!(desk.events.len(), before);
    }
    let (reused, fresh) = desk.tell_under("first", account, Act::Cancel { order: none });
    assert_eq!((reused, fresh), (Err(Refusal::KeyReused), false), "the key is looked at first");
    let (again, fresh) = desk.tell_under("first", account, Act::Place(market(Side::Buy, "10", "EURUSD")));
    assert_eq!((again, fresh), (first, false), "a retry gets its first answer after the end as well");
}

#[test]
fn sizes_and_prices_out_of_range_are_refused() {
    let (mut desk, account) = Desk::trading(&plain());
    let position = desk.buy(account, "1", "EURUSD");
    for size in [0, -1, i64::MIN, i64::MAX, 10_001] {
        let place = Place { quantity: Quantity(size), ..market(Side::Buy, "1", "EURUSD") };
        assert_eq!(desk.tell(account, Act::Place(place)), Err(Refusal::QuantityOutOfRange), "{size}");
    }
    for size in [0, -1, i64::MIN, i64::MAX, 101] {
        let act = Act::Close { position, quantity: Some(Quantity(size)) };
        assert_eq!(desk.tell(account, act), Err(Refusal::QuantityOutOfRange), "{size}");
    }
    for price in [0, -1, i64::MIN, i64::MAX, 19_999, 500_001] {
        let price = Price(price);
        for side in [Side::Buy, Side::Sell] {
            for kind in [OrderKind::Limit(price), OrderKind::Stop(price)] {
                let place = Place { kind, ..market(side, "1", "EURUSD") };
                assert_eq!(
                    desk.tell(account, Act::Place(place)),
                    Err(Refusal::PriceInvalid),
                    "{side:?} {kind:?}"
                );
            }
            for (stop_loss, take_profit) in [(Some(price), None), (None, Some(price))] {
                let place = Place { stop_loss, take_profit, ..market(side, "1", "EURUSD") };
                assert_eq!(desk.tell(account, Act::Place(place)), Err(Refusal::PriceInvalid));
            }
        }
        let act = Act::ChangePosition { position, stop_loss: Change::Set(price), take_profit: Change::Keep };
        assert_eq!(desk.tell(account, act), Err(Refusal::PriceInvalid));
    }
}

#[test]
fn sizes_between_the_steps_are_refused() {
    let coarse = {
        let mut coarse = instrument("EURUSD", "EUR", "USD", 5, 100_000, "100");
        (coarse.quantity_min, coarse.quantity_step) = (lots("0.10"), lots("0.05"));
        std::sync::Arc::new(Instruments::new(vec![coarse]).unwrap())
    };
    let mut desk = Desk::over(coarse);
    let account = desk.open(&plain(), 1);
    desk.quote("EURUSD", "1.10000", "1.10010");
    for (size, outcome) in [
        ("0.05", Err(Refusal::QuantityOutOfRange)),
        ("0.12", Err(Refusal::QuantityOutOfRange)),
        ("0.15", Ok(())),
    ] {
        let answer = desk.tell(account, Act::Place(market(Side::Buy, size, "EURUSD")));
        assert_eq!(answer.map(|_| ()), outcome, "{size}");
    }
}

#[test]
fn prices_on_the_wrong_side_of_the_market_are_refused() {
    let (mut desk, account) = Desk::trading(&plain());
    let limit = OrderKind::Limit;
    let stop = OrderKind::Stop;
    let cases: [(Side, Kind, &str); 4] = [
        (Side::Buy, limit, "1.10010"),
        (Side::Sell, limit, "1.10000"),
        (Side::Buy, stop, "1.10010"),
        (Side::Sell, stop, "1.10000"),
    ];
    for (side, kind, touching) in cases {
        let kind = kind(desk.points("EURUSD", touching));
        let place = Place { kind, ..market(side, "1", "EURUSD") };
        assert_eq!(
            desk.tell(account, Act::Place(place)),
            Err(Refusal::PriceInvalid),
            "{side:?} {kind:?} would fire at once"
        );
    }
    // Exits of a market order are measured from where the position would close: the bid for a buy, the ask for a sell.
    for (side, stop_loss, take_profit, fits) in [
        (Side::Buy, Some("1.10000"), None, false),
        (Side::Buy, Some("1.09999"), None, true),
        (Side::Buy, None, Some("1.10000"), false),
        (Side::Buy, None, Some("1.10001"), true),
        (Side::Sell, Some("1.10010"), None, false),
        (Side::Sell, Some("1.10011"), None, true),
        (Side::Sell, None, Some("1.10010"), false),
        (Side::Sell, None, Some("1.10009"), true),
    ] {
        let mut place = market(side, "0.01", "EURUSD");
        place.stop_loss = stop_loss.map(|text| desk.points("EURUSD", text));
        place.take_profit = take_profit.map(|text| desk.points("EURUSD", text));
        let answer = desk.tell(account, Act::Place(place));
        assert_eq!(answer.is_ok(), fits, "{side:?} {stop_loss:?} {take_profit:?}");
        assert!(fits || answer == Err(Refusal::PriceInvalid));
    }
}

#[test]
fn orders_and_exits_can_be_changed() {
    let (mut desk, account) = Desk::trading(&plain());
    let order = desk.limit(account, Side::Buy, "1", "EURUSD", "1.09000");
    let change = Act::ChangeOrder {
        order,
        price: Some(desk.points("EURUSD", "1.09900")),
        stop_loss: Change::Set(desk.points("EURUSD", "1.09800")),
        take_profit: Change::Keep,
    };
    assert_eq!(desk.tell(account, change), Ok(Done::Order(order)));
    let position = only_fill(&desk.quote("EURUSD", "1.09890", "1.09900")).position;
    assert_eq!(desk.held(account, position).stop_loss, Some(desk.points("EURUSD", "1.09800")));
    let change = Act::ChangePosition {
        position,
        stop_loss: Change::Remove,
        take_profit: Change::Set(desk.points("EURUSD", "1.10000")),
    };
    assert_eq!(desk.tell(account, change), Ok(Done::Position(position)));
    assert!(fills(&desk.quote("EURUSD", "1.09700", "1.09710")).is_empty(), "the stop loss is gone");
    assert_eq!(only_fill(&desk.quote("EURUSD", "1.10000", "1.10010")).reason, FillReason::TakeProfit);
    assert_eq!(desk.tell(account, Act::Cancel { order }), Err(Refusal::OrderNotFound), "it was filled");
}

#[test]
fn a_refusal_changes_nothing_and_says_nothing() {
    let (mut desk, account) = Desk::trading(&with_commission("3"));
    let position = desk.buy(account, "1", "EURUSD");
    let order = desk.limit(account, Side::Buy, "1", "EURUSD", "1.09000");
    let keep = no_change();
    let wrong = Change::Set(Price(0));
    let acts = [
        Act::Place(market(Side::Buy, "1", "NOSUCH")),
        Act::Place(market(Side::Buy, "0", "EURUSD")),
        Act::Place(market(Side::Buy, "1", "XAUUSD")),
        Act::Place(market(Side::Buy, "100", "EURUSD")),
        Act::Place(Place { kind: OrderKind::Limit(Price(0)), ..market(Side::Buy, "1", "EURUSD") }),
        Act::Cancel { order: position },
        Act::ChangeOrder { order, price: None, stop_loss: wrong, take_profit: keep },
        Act::ChangePosition { position, stop_loss: wrong, take_profit: keep },
        Act::ChangePosition { position: order, stop_loss: keep, take_profit: keep },
        Act::Close { position, quantity: Some(Quantity(101)) },
        Act::Close { position: order, quantity: None },
    ];
    let before = bytes_without_answers(desk.account(account));
    let said = desk.events.len();
    for act in acts {
        let outcome = desk.tell(account, act.clone());
        assert!(outcome.is_err(), "{act:?}");
        assert_eq!(bytes_without_answers(desk.account(account)), before, "{act:?}");
        assert_eq!(desk.events.len(), said, "{act:?}");
    }
}

#[test]
fn a_retry_gets_the_first_answer_and_trades_once() {
    let (mut desk, account) = Desk::trading(&plain());
    let act = Act::Place(market(Side::Buy, "1", "EURUSD"));
    let (first, fresh) = desk.tell_under("order-1", account, act.clone());
    assert!(fresh && first.is_ok());
    let (hash, said) = (desk.engine.state_hash().unwrap(), desk.events.len());
    desk.wait(hours(3));
    for _ in 0..100 {
        let (again, fresh) = desk.tell_under("order-1", account, act.clone());
        assert_eq!((again, fresh), (first, false), "though the market is stale by now");
    }
    assert_eq!(desk.engine.state_hash().unwrap(), hash);
    assert_eq!(desk.events.len(), said);
    assert_eq!(desk.account(account).positions.len(), 1);
    let other = Act::Place(market(Side::Buy, "1.01", "EURUSD"));
    let (reused, fresh) = desk.tell_under("order-1", account, other.clone());
    assert_eq!((reused, fresh), (Err(Refusal::KeyReused), false));
    assert_eq!(desk.engine.state_hash().unwrap(), hash);
    // A refusal is an answer too: the retry does not trade once the market is back.
    let (refused, _) = desk.tell_under("order-2", account, other.clone());
    assert_eq!(refused, Err(Refusal::MarketStale));
    desk.quote("EURUSD", "1.10000", "1.10010");
    assert_eq!(desk.tell_under("order-2", account, other), (Err(Refusal::MarketStale), false));
    assert_eq!(desk.account(account).positions.len(), 1);
}

#[test]
fn a_key_belongs_to_its_account() {
    let (mut desk, account) = Desk::trading(&plain());
    let neighbour = desk.open(&plain(), 2);
    for id in [account, neighbour] {
        let (outcome, fresh) = desk.tell_under("same", id, Act::Place(market(Side::Buy, "1", "EURUSD")));
        assert!(outcome.is_ok() && fresh);
        assert_eq!(desk.account(id).positions.len(), 1);
    }
}

#[test]
fn a_key_is_kept_for_48_hours_and_then_forgotten() {
    let act = || Act::Cancel { order: Ticket(77) };
    for (past, remembered) in [(0, true), (1, false)] {
        let (mut desk, account) = Desk::trading(&plain());
        let (first, _) = desk.tell_under("old", account, act());
        assert_eq!(first, Err(Refusal::OrderNotFound));
        desk.wait(hours(48));
        desk.wait(Span::from_micros(past));
        desk.tell(account, act()).unwrap_err();
        let (_, fresh) = desk.tell_under("old", account, act());
        assert_eq!(fresh, !remembered, "{past} µs past 48 h");
    }
}

#[test]
fn a_key_is_forgotten_whether_or_not_another_command_came_between() {
    let (mut desk, account) = Desk::trading(&plain());
    desk.tell_under("old", account, Act::Cancel { order: Ticket(77) }).0.unwrap_err();
    desk.wait(hours(49));
    desk.quote("EURUSD", "1.10000", "1.10010");
    let (outcome, fresh) = desk.tell_under("old", account, Act::Place(market(Side::Buy, "1", "EURUSD")));
    assert!(outcome.is_ok() && fresh, "{outcome:?}");
}

#[test]
fn opening_an_account_twice_is_opening_it_once() {
    let (mut desk, account) = Desk::trading(&plain());
    desk.buy(account, "1", "EURUSD");
    let (hash, said) = (desk.engine.state_hash().unwrap(), desk.events.len());
    let open = opening(&plain(), 1, 0);
    assert_eq!(open.account(), account);
    assert_eq!(desk.tell_under("another-key", account, Act::Open(open)), (Ok(Done::Opened), false));
    assert_eq!(desk.engine.state_hash().unwrap(), hash);
    assert_eq!(desk.events.len(), said);
}

#[test]
fn opening_a_taken_account_with_other_content_is_refused() {
    let (mut desk, account) = Desk::trading(&plain());
    let hash = desk.engine.state_hash().unwrap();
    let theirs = Open { firm: FirmId::derived(&[b"another firm"]), ..opening(&plain(), 1, 0) };
    let (outcome, fresh) = desk.tell_under("their-key", account, Act::Open(theirs));
    assert!(outcome.is_err() && !fresh, "another firm is told {outcome:?} about this account");
    assert_eq!(desk.engine.state_hash().unwrap(), hash);
}

#[test]
fn margin_too_small_closes_the_worst_position_first_and_only_as_many_as_needed() {
    let (mut desk, account) = Desk::trading(&program_of("10000", vec![target(percent("10"))]));
    desk.quote("XAUUSD", "2000.000", "2000.500");
    let euro = desk.buy(account, "3", "EURUSD");
    let gold = desk.buy(account, "1", "XAUUSD");
    assert_eq!(desk.view(account).margin, money("5300.80"));
    // Half of it is 2650.40. Equity 2651.00 holds, 2648.00 does not.
    assert!(desk.quote("EURUSD", "1.07577", "1.07587").is_empty());
    assert_eq!(desk.equity(account), money("2651"));
    let fill = only_fill(&desk.quote("EURUSD", "1.07576", "1.07586"));
    assert_eq!((fill.position, fill.reason, fill.profit), (euro, FillReason::StopOut, money("-7302")));
    assert!(desk.account(account).positions.contains_key(&gold), "1000.25 is covered by what is left");
    assert_eq!(desk.account(account).status, Status::Active);
    assert_eq!(desk.balance(account), money("2698"));
}

#[test]
fn no_stop_out_when_the_program_has_none() {
    let mut program = program_of("10000", vec![target(percent("10"))]);
    program.terms.stop_out = Percent::parse("0").unwrap();
    let (mut desk, account) = Desk::trading(&program);
    desk.buy(account, "3", "EURUSD");
    assert!(desk.quote("EURUSD", "1.06700", "1.06710").is_empty());
    assert_eq!(desk.equity(account), money("70"));
}

#[test]
fn a_working_order_binds_no_margin_and_watches_without_a_position() {
    let (mut desk, account) = Desk::trading(&program_of("1100", vec![target(percent("10"))]));
    desk.limit(account, Side::Buy, "1", "EURUSD", "1.09990");
    desk.limit(account, Side::Sell, "1", "EURUSD", "1.20000");
    assert_eq!(desk.view(account).margin, Amount::ZERO);
    assert_eq!(only_fill(&desk.quote("EURUSD", "1.09979", "1.09989")).reason, FillReason::Limit);
}

#[test]
fn a_yen_pair_can_be_traded_in_the_sizes_of_a_professional() {
    let table = Instruments::new(vec![instrument("USDJPY", "USD", "JPY", 3, 100_000, "50")]);
    assert!(table.is_ok(), "50 lots of USDJPY: {:?}", table.err());
}
