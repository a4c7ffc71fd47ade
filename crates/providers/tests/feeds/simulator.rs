//! The simulated market: repeatable, possible, and alive.

use super::common::{at, symbol};
use kernel::{Price, Span, Timestamp};
use proptest::prelude::*;
use providers::feeds::{Feed, FeedQuote, Simulator, SimulatorError, SimulatorSettings};

fn settings() -> SimulatorSettings {
    SimulatorSettings {
        source: "simulator".into(),
        symbol: symbol("EURUSD"),
        seed: 1,
        start_price: Price(138_600),
        spread_points: 10,
        step_points: 3,
        mean_interval: Span::from_millis(250),
        gap_one_in: 3_000,
    }
}

fn start() -> Timestamp {
    at("2026-03-02T09:00:00Z")
}

fn quotes(settings: SimulatorSettings, count: usize) -> Vec<FeedQuote> {
    let mut feed = Simulator::new(settings, start()).unwrap();
    let mut out = Vec::new();
    while out.len() < count {
        let due = feed.next_due().unwrap();
        feed.take_until(due, &mut out);
    }
    out
}

fn mean(values: &[i64]) -> i64 {
    values.iter().sum::<i64>() / i64::try_from(values.len()).unwrap()
}

#[test]
fn the_seed_is_the_market() {
    assert_eq!(quotes(settings(), 5_000), quotes(settings(), 5_000));
    assert_ne!(quotes(settings(), 100), quotes(SimulatorSettings { seed: 2, ..settings() }, 100));
}

#[test]
fn begins_as_told() {
    let first = &quotes(settings(), 1)[0];
    assert_eq!((first.bid, first.ask, first.source_time), (Price(138_595), Price(138_605), start()));
}

#[test]
fn ticks_come_in_the_mean_interval() {
    let quotes = quotes(settings(), 20_001);
    let took = quotes[20_000].source_time.since(start()).unwrap().micros();
    let mean = took / 20_000;
    assert!((245_000..255_000).contains(&mean), "{mean} µs");
}

#[test]
fn rough_times_stay_rough_and_cost_a_wider_spread() {
    let quotes = quotes(SimulatorSettings { gap_one_in: 0, ..settings() }, 100_000);
    let spread = |quote: &FeedQuote| quote.ask.0 - quote.bid.0;
    let (mut calm, mut rough) = (Vec::new(), Vec::new());
    for pair in quotes.windows(20) {
        let moved = (pair[19].bid.0 + pair[19].ask.0 - pair[0].bid.0 - pair[0].ask.0).abs();
        if spread(&pair[0]) >= 20 {
            rough.push(moved);
        } else if spread(&pair[0]) <= 10 {
            calm.push(moved);
        }
    }
    assert!(calm.len() > 10_000 && rough.len() > 1_000, "{} calm, {} rough", calm.len(), rough.len());
    assert!(
        mean(&rough) > 2 * mean(&calm),
        "{} after wide spreads, {} after narrow ones",
        mean(&rough),
        mean(&calm)
    );
}

#[test]
fn jumps_as_often_as_asked_for() {
    // A jump has at least 10 usual moves, and the ordinary move beside it may take some of it back.
    let jumps = |settings: SimulatorSettings| {
        let least = settings.step_points * 10 - settings.step_points * 4;
        let middles: Vec<i64> =
            quotes(settings, 10_001).iter().map(|quote| i64::midpoint(quote.bid.0, quote.ask.0)).collect();
        middles.windows(2).filter(|pair| (pair[1] - pair[0]).abs() > least).count()
    };
    let never = jumps(SimulatorSettings { gap_one_in: 0, ..settings() });
    let often = jumps(SimulatorSettings { gap_one_in: 20, ..settings() });
    // News alone makes some moves of that size.
    assert!(never < 200, "{never}");
    assert!((400..600).contains(&(often - never)), "{often} against {never}");
}

#[test]
fn a_market_without_steps_stands_still() {
    let quotes = quotes(SimulatorSettings { step_points: 0, gap_one_in: 20, ..settings() }, 5_000);
    assert!(
        quotes.iter().all(|quote| (138_599..=138_600).contains(&i64::midpoint(quote.bid.0, quote.ask.0)))
    );
}

#[test]
fn impossible_markets_are_refused() {
    let refused = |settings| Simulator::new(settings, start()).unwrap_err();
    assert_eq!(refused(SimulatorSettings { spread_points: 0, ..settings() }), SimulatorError::Spread);
    assert_eq!(
        refused(SimulatorSettings { start_price: Price(99), ..settings() }),
        SimulatorError::StartPrice
    );
    assert_eq!(
        refused(SimulatorSettings { start_price: Price(i64::MAX), ..settings() }),
        SimulatorError::StartPrice
    );
    assert_eq!(refused(SimulatorSettings { step_points: -1, ..settings() }), SimulatorError::Step);
    assert_eq!(refused(SimulatorSettings { step_points: 138_601, ..settings() }), SimulatorError::Step);
    assert_eq!(
        refused(SimulatorSettings { mean_interval: Span::from_micros(0), ..settings() }),
        SimulatorError::Interval
    );
}

proptest! {
    #[test]
    fn any_market_is_possible_and_runs_forward(
        seed: u64,
        spread in 1_i64..1_000_000,
        room in 0_i64..1_000_000_000_000,
        step in 0_i64..=1_000_000_000,
        interval in 1_i64..=86_400_000_000,
        gap_one_in in 0_u32..50,
    ) {
        let price = (spread * 10 + room).min(1_000_000_000_000);
        let settings = SimulatorSettings {
            seed,
            spread_points: spread,
            start_price: Price(price),
            step_points: step.min(price),
            mean_interval: Span::from_micros(interval),
            gap_one_in,
            ..settings()
        };
        let quotes = quotes(settings, 500);
        for quote in &quotes {
            prop_assert!(quote.bid.0 > 0 && quote.ask.0 - quote.bid.0 >= spread);
        }
        for pair in quotes.windows(2) {
            prop_assert!(pair[0].source_time < pair[1].source_time);
        }
    }

    #[test]
    fn how_often_one_asks_changes_nothing(seed: u64, steps in prop::collection::vec(1_i64..5_000_000, 1..50)) {
        let settings = SimulatorSettings { seed, ..settings() };
        let mut often = Simulator::new(settings.clone(), start()).unwrap();
        let mut once = Simulator::new(settings, start()).unwrap();
        let (mut in_steps, mut at_once, mut now) = (Vec::new(), Vec::new(), start());
        for step in steps {
            now = now.after(Span::from_micros(step)).unwrap();
            often.take_until(now, &mut in_steps);
        }
        while once.next_due().unwrap() <= now {
            once.take_until(now, &mut at_once);
        }
        prop_assert_eq!(in_steps, at_once);
    }
}
