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

use differential::{Compared, Shape, instruments_of, over_shape, over_ticks};
use engine::Quote;
use providers::feeds::{extract, ticks::merge};

fn same(compared: &Compared, what: &str) {
    assert_eq!(compared.difference, None, "{what}");
    // Runs in which nothing happens prove nothing.
    let Compared { verdicts, triggered, commands, .. } = *compared;
    assert!(verdicts > 0 && triggered > 0 && commands > 50, "{what}: {compared:?}");
}

#[test]
fn the_engine_says_what_the_scan_says_whatever_prices_do() {
    let (mut soft, mut resets) = (0, 0);
    for (name, shape) in Shape::ALL {
        let compared = over_shape(shape, 12, 60_000, 1);
        same(&compared, name);
        soft += compared.soft;
        resets += compared.resets;
    }
    assert!(soft > 0 && resets > 0);
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
    same(&over_ticks(&instruments, ticks.take(60_000), 20, 1), "the extract");
}
