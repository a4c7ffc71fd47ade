//! The watch beside the scan over generated and recorded prices. `cargo xtask bench engine --differential` does the same
//! for as long as is asked.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::similar_names,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic, and a wildcard asks for one kind of event among all"
)]

mod common;
#[path = "../benches/engine/differential.rs"]
mod differential;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use common::{MONDAY, at, daily, instruments, market, opening, percent, program, target, target_held, total};
use differential::{Compared, Shape, instruments_of, over_shape, over_ticks};
use engine::{Act, Command, Engine, Input, Key, Quote, What};
use kernel::{Price, SeededRng, Side, Span};
use providers::feeds::{extract, ticks::merge};
use rules::kinds::{LockAt, Reference, Trail};

fn same(compared: &Compared, what: &str) {
    assert_eq!(compared.difference, None, "{what}");
    // Runs in which nothing happens prove nothing.
    let Compared { verdicts, floating, triggered, commands, .. } = *compared;
    assert!(verdicts > 0 && floating > 0 && triggered > 0 && commands > 50, "{what}: {compared:?}");
}

#[test]
fn the_engine_says_what_the_scan_says_whatever_prices_do() {
    let (mut soft, mut resets) = (0, 0);
    for (name, shape) in Shape::ALL {
        let compared = over_shape(shape, 20, 60_000, 1);
        same(&compared, name);
        soft += compared.soft;
        resets += compared.resets;
    }
    assert!(soft > 0 && resets > 0);
}

/// So many hold the same that one message sweeps them; between the gaps they get their boxes back.
#[test]
fn the_engine_says_what_the_scan_says_when_prices_sweep_a_herd() {
    let programs = [
        program(vec![total(Trail::Static, percent("5"), LockAt::None), target(percent("8"))]),
        program(vec![total(Trail::IntradayEquity, percent("6"), LockAt::None), target_held(percent("8"))]),
        program(vec![
            daily(Reference::DayPeakEquity, percent("3")),
            total(Trail::BalanceOrEquity, percent("6"), LockAt::AtInitial),
        ]),
    ];
    let rng = SeededRng::new(7);
    let (mut engine, mut oracle) = (Engine::new(instruments()), Engine::scanning(instruments()));
    for engine in [&mut engine, &mut oracle] {
        for program in &programs {
            engine.learn(program.version().unwrap(), Arc::new(program.clone()));
        }
    }
    let euro = engine.market().instruments().find(&kernel::Symbol::parse("EURUSD").unwrap()).unwrap();
    let mut now = at(MONDAY);
    let (mut position, mut level, mut verdicts) = (1, 110_000, 0);
    let quotes = |position: u64, level: i64, source_time| {
        let (bid, ask) = (Price(level), Price(level + rng.between(5, 12)));
        Input::Quotes(position, vec![Quote { instrument: euro, bid, ask, source_time }])
    };
    let mut inputs = vec![quotes(position, level, now)];
    for number in 0..1_500 {
        let open = opening(&programs[usize::try_from(number).unwrap() % programs.len()], number, 0);
        let account = open.account();
        // Both ways, so that a gap leaves both intervals and ends few.
        let side = if rng.between(0, 1) == 0 { Side::Buy } else { Side::Sell };
        let (more, less) = (format!("3.{:02}", rng.between(0, 99)), format!("1.{:02}", rng.between(0, 99)));
        let trade = |side, lots: &str| Act::Place(market(side, lots, "EURUSD"));
        let acts = [Act::Open(open), trade(side, &more), trade(side.opposite(), &less)];
        for (key, act) in ["open", "first", "second"].into_iter().zip(acts) {
            inputs.push(Input::Command(Command { account, key: Key::parse(key).unwrap(), act }));
        }
    }
    for message in 1..=1_200 {
        position += 1;
        level += match message % 100 {
            // Two gaps on end, so that some are swept who had no box.
            30 | 60 => 1_400,
            31 | 90 => -1_400,
            _ => rng.between(-3, 3),
        };
        inputs.push(quotes(position, level, now));
    }
    for input in inputs {
        now = now.after(Span::from_millis(5)).unwrap();
        let (mut said, mut expected) = (Vec::new(), Vec::new());
        assert_eq!(engine.apply(now, &input, &mut said), oracle.apply(now, &input, &mut expected));
        assert_eq!(said, expected, "at quote {}", engine.position());
        verdicts += said.iter().filter(|event| matches!(event.what, What::Verdict(_))).count();
        if engine.position() % 400 == 131 {
            engine.settle_some(50).unwrap();
            assert_eq!(engine.state_hash().unwrap(), oracle.state_hash().unwrap());
        }
    }
    assert_eq!(engine.state_hash().unwrap(), oracle.state_hash().unwrap());
    assert!(engine.sweeps() > 3 && verdicts > 100, "{} sweeps, {verdicts} verdicts", engine.sweeps());
}

#[test]
fn the_engine_says_what_the_scan_says_over_recorded_prices() {
    let days = extract().unwrap();
    let symbols: BTreeSet<_> = days.iter().map(|day| day.symbol.clone()).collect();
    let instruments = instruments_of(symbols.into_iter());
    let decimals: BTreeMap<_, _> =
        instruments.iter().map(|(_, it)| (it.symbol.clone(), it.price_decimals)).collect();
    let ticks = merge(days, &decimals).unwrap().map(|tick| {
        let tick = tick.unwrap();
        let instrument = instruments.find(&tick.symbol).unwrap();
        Quote { instrument, bid: tick.bid, ask: tick.ask, source_time: tick.source_time }
    });
    same(&over_ticks(&instruments, ticks.take(60_000), 32, 1), "the extract");
}
