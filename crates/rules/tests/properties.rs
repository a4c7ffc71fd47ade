//! What holds for every program and every course of events.

#![expect(clippy::unwrap_used, clippy::panic, reason = "the helpers of a test fail it")]

mod arbitrary;

use std::collections::{BTreeMap, BTreeSet};

use arbitrary::{
    at, clocks, example, max_loss, open_loss, phase_of, program, risk_per_idea, rule, rules_of_one_kind,
};
use kernel::{Amount, Lots, Rounding, Side, Span, Symbol};
use proptest::prelude::*;
use rules::example::{Example, ExampleError, ExampleFile, Step, Timeline, check};
use rules::{
    CloseReason, Closing, Fact, OpenLevel, Opening, Program, Rule, Scene, Track, Worth, breached, difference,
    floors, open_levels,
};

fn load(path: &str) -> Result<Program, rules::ProgramError> {
    unreachable!("no example here names the file {path}")
}

/// The floor of the only rule, whatever warnings and other floors there are.
fn floor_of(phase: &rules::Phase, track: &Track) -> Amount {
    floors(phase, track).unwrap().iter().find(|floor| floor.used.is_none()).unwrap().amount
}

/// What some positions bring together.
fn sum_of(level: &OpenLevel, results: &BTreeMap<u32, Amount>) -> Amount {
    let bring = |trade: &u32| results.get(trade).copied().unwrap();
    level.trades.iter().map(bring).fold(Amount::ZERO, |sum, result| sum.plus(result).unwrap())
}

/// Everything that a timeline says, and what it does not understand.
fn told(timeline: &mut Timeline, program: &Program, example: &Example, step: &Step) -> Vec<String> {
    match timeline.step(program, example, step) {
        Ok(checked) => checked.into_iter().map(|it| format!("{}: {}", it.name, it.found)).collect(),
        Err(ExampleError::Step { say, .. }) => vec![say],
        Err(error) => {
            panic!("{error}: {:?}\n{program:#?}\n{:#?}", std::error::Error::source(&error), example.steps)
        }
    }
}

/// What up to six positions bring.
fn results() -> impl Strategy<Value = Vec<Amount>> {
    let one = prop_oneof![
        -3_000_000_000_i64..3_000_000_000,
        -100_000_000_000_i64..20_000_000_000,
        -400_000_000_000_i64..1,
    ];
    prop::collection::vec(one.prop_map(Amount::from_micros), 6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 192, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_floor_of_the_total_loss_never_falls(
        rule in max_loss(),
        path in prop::collection::vec((1_i64..400_000_000_000, 1_i64..400_000_000_000, prop::bool::ANY), 1..40),
    ) {
        let phase = phase_of(Rule::MaxLoss(rule));
        let clock = kernel::ResetClock::parse("America/New_York", "17:00").unwrap();
        let clocks = clocks(&clock);
        let mut track = Track::open(Amount::from_micros(100_000_000_000), at(0), clocks).unwrap();
        let mut before = floor_of(&phase, &track);
        for (minute, (balance, equity, ends_day)) in (1_i64..).zip(path) {
            let (balance, equity) = (Amount::from_micros(balance), Amount::from_micros(equity));
            let now = if ends_day { track.next_reset } else { track.day_started_at.after(Span::from_micros(minute)).unwrap() };
            track.observe(&phase, now, balance, Some(equity)).unwrap();
            if ends_day {
                track.reset(clocks, balance, equity).unwrap();
            }
            let floor = floor_of(&phase, &track);
            prop_assert!(floor >= before, "{floor} < {before}");
            before = floor;
        }
    }

    #[test]
    fn a_floor_does_not_depend_on_the_order_of_what_is_told_of_one_instant(
        rule in rule(),
        earlier in prop::collection::vec((1_i64..200_000_000_000, 1_i64..200_000_000_000), 0..3),
        together in prop::collection::vec((1_i64..200_000_000_000, 1_i64..200_000_000_000), 1..6),
        seed in any::<prop::sample::Index>(),
    ) {
        let phase = phase_of(rule);
        let clock = kernel::ResetClock::parse("Europe/Prague", "00:00").unwrap();
        let clocks = clocks(&clock);
        let mut track = Track::open(Amount::from_micros(100_000_000_000), at(0), clocks).unwrap();
        for (minute, (balance, equity)) in (1..).zip(earlier) {
            track.observe(&phase, at(minute), Amount::from_micros(balance), Some(Amount::from_micros(equity))).unwrap();
        }
        let tell = |values: &[(i64, i64)]| {
            let mut track = track.clone();
            for (balance, equity) in values {
                track.observe(&phase, at(9), Amount::from_micros(*balance), Some(Amount::from_micros(*equity))).unwrap();
            }
            floors(&phase, &track).unwrap()
        };
        let mut other = together.clone();
        other.rotate_left(seed.index(together.len()));
        let mut reversed = together.clone();
        reversed.reverse();
        prop_assert_eq!(tell(&together), tell(&other));
        prop_assert_eq!(tell(&together), tell(&reversed));
    }

    #[test]
    fn a_timeline_in_one_call_is_the_same_as_step_by_step_with_its_state_written_down((program, example) in (program(), example())) {
        let mut whole = Timeline::open(&program, &example).unwrap();
        let mut parts = whole.clone();
        for step in &example.steps {
            let text = serde_json::to_string(&parts).unwrap();
            parts = serde_json::from_str(&text).unwrap();
            prop_assert_eq!(
                told(&mut whole, &program, &example, step),
                told(&mut parts, &program, &example, step)
            );
            prop_assert_eq!(&whole, &parts);
        }
    }

    #[test]
    fn files_of_examples_are_read_as_they_are_written(example in example()) {
        let file = ExampleFile { firm: None, source: None, program: None, examples: vec![example] };
        let text = toml::to_string(&file).unwrap();
        prop_assert_eq!(&ExampleFile::from_toml(&text).unwrap(), &file, "{}", text);
        let json = serde_json::to_string(&file).unwrap();
        prop_assert_eq!(&ExampleFile::from_json(&json).unwrap(), &file);
        let understood = !matches!(check(&file, &load), Err(ExampleError::Program { .. } | ExampleError::Rule { .. }));
        prop_assert!(understood);
    }

    #[test]
    fn programs_are_read_as_they_are_written_and_differ_in_words_where_they_differ(one in program(), other in program()) {
        one.check().unwrap();
        let json = one.canonical_json().unwrap();
        prop_assert_eq!(&Program::from_json(&json).unwrap(), &one);
        prop_assert_eq!(&Program::from_toml(&toml::to_string(&one).unwrap()).unwrap(), &one);
        prop_assert!(difference(&one, &one).is_empty());
        prop_assert_eq!(difference(&one, &other).is_empty(), one == other, "{:#?}\n{:#?}", one, other);
    }

    #[test]
    fn a_rule_that_differs_in_one_setting_has_another_sentence((one, other) in rules_of_one_kind()) {
        let words = rules::Words {
            initial: Amount::from_micros(100_000_000_000),
            currency: kernel::Currency::parse("USD").unwrap(),
        };
        let settings = serde_json::to_value(&other).unwrap();
        for (name, value) in settings.as_object().unwrap() {
            let mut changed = serde_json::to_value(&one).unwrap();
            changed[name] = value.clone();
            let changed: Rule = serde_json::from_value(changed).unwrap();
            if changed != one {
                prop_assert_ne!(one.sentence(&words), changed.sentence(&words), "{}", name);
            }
        }
    }

    #[test]
    fn the_cause_of_a_breach_has_no_room_and_nothing_harder_fires(
        rules in prop::collection::vec(rule(), 1..5),
        balance in 1_i64..200_000_000_000,
        equity in 1_i64..200_000_000_000,
    ) {
        let mut phase = phase_of(rules[0].clone());
        phase.rules = rules;
        let clock = kernel::ResetClock::parse("Etc/UTC", "00:00").unwrap();
        let track = Track::open(Amount::from_micros(100_000_000_000), at(0), clocks(&clock)).unwrap();
        let all = floors(&phase, &track).unwrap();
        let worth = Worth { balance: Amount::from_micros(balance), equity: Amount::from_micros(equity), at_reset: true };
        match breached(&all, worth) {
            Some(cause) => prop_assert!(cause.room(worth).unwrap() <= Amount::ZERO),
            None => prop_assert!(all.iter().all(|floor| floor.room(worth).unwrap() >= Amount::ZERO)),
        }
    }

    /// A kind that looks at prices says itself where it next speaks or remembers: there it does, and nowhere else.
    #[test]
    fn being_told_of_open_results_changes_something_exactly_at_the_open_levels(
        rule in prop_oneof![open_loss(), risk_per_idea()],
        deeds in prop::collection::vec((0..12_u8, any::<prop::sample::Index>(), results()), 1..60),
    ) {
        let phase = phase_of(rule);
        let clock = kernel::ResetClock::parse("Europe/Prague", "00:00").unwrap();
        let clocks = clocks(&clock);
        let initial = Amount::from_micros(100_000_000_000);
        let mut track = Track::open(initial, at(0), clocks).unwrap();
        let mut open: BTreeSet<u32> = BTreeSet::new();
        for (minute, (deed, pick, results)) in (1_i32..).zip(deeds) {
            let scene = Scene { phase: &phase, calendar: &[], at: at(minute), balance: initial, equity: initial };
            let (first, second) = (results.first().copied().unwrap(), results.get(1).copied().unwrap());
            let picked = if open.is_empty() { None } else { open.iter().nth(pick.index(open.len())).copied() };
            match (deed, picked) {
                (0..=3, _) | (_, None) if open.len() < results.len() => {
                    let trade = u32::try_from(minute).unwrap();
                    let opening = Opening {
                        trade,
                        symbol: Symbol::parse(if deed == 0 { "XAUUSD" } else { "EURUSD" }).unwrap(),
                        side: if first.is_negative() { Side::Buy } else { Side::Sell },
                        lots: Lots::parse("1").unwrap(),
                        pending: false,
                        risk: None,
                        notional: initial,
                        cost: Amount::from_micros(3_000_000),
                    };
                    track.notice(&scene, &Fact::Opened(opening)).unwrap();
                    open.insert(trade);
                }
                (4 | 5, Some(trade)) => {
                    let whole = deed == 4;
                    let lots = Lots::parse(if whole { "1" } else { "0.1" }).unwrap();
                    let closing = Closing { trade, lots, profit: first, reason: CloseReason::Trader, whole };
                    track.notice(&scene, &Fact::Closed(closing)).unwrap();
                    if whole {
                        open.remove(&trade);
                    }
                }
                (6, _) => track.reset(clocks, initial.plus(second).unwrap(), initial).unwrap(),
                _ => {}
            }
            if open.is_empty() {
                continue;
            }
            let mut floating: BTreeMap<u32, Amount> = open.iter().copied().zip(results).collect();
            let levels = open_levels(&phase, &track, &open).unwrap();
            if deed > 7 && let Some(level) = levels.as_ref().and_then(|levels| levels.get(pick.index(levels.len().max(1)))) {
                // Exactly at a level, or next to it.
                let above = Amount::from_micros(i64::from(deed > 9));
                let missing = level.low.plus(above).unwrap().minus(sum_of(level, &floating)).unwrap();
                if let Some(result) = level.trades.first().and_then(|trade| floating.get_mut(trade)) {
                    *result = result.plus(missing).unwrap();
                }
            }
            let reached = levels.is_none_or(|levels| levels.iter().any(|level| sum_of(level, &floating) <= level.low));
            let before = track.clone();
            let found = track.notice(&scene, &Fact::Floating(floating.into_iter().collect())).unwrap();
            prop_assert_eq!(track != before || !found.is_empty(), reached, "{:?}", deed);
        }
    }

    #[test]
    fn a_payout_never_takes_more_than_there_is_and_pays_no_more_than_is_taken(
        (program, example) in (program(), example()),
    ) {
        let mut timeline = Timeline::open(&program, &example).unwrap();
        for step in &example.steps {
            let told = told(&mut timeline, &program, &example, step);
            let figure = |name: &str| {
                told.iter()
                    .find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
                    .and_then(|text| Amount::parse(text).ok())
            };
            if let (Some(taken), Some(paid), Some(balance)) =
                (figure("payout.withdrawable"), figure("payout.payout"), figure("account.balance"))
            {
                prop_assert!(paid <= taken, "{told:?}");
                prop_assert!(taken <= balance.max(Amount::ZERO), "{told:?}");
                let cents = taken.rounded(program.currency, Rounding::Floor).unwrap();
                prop_assert_eq!(cents, taken, "whole cents");
            }
        }
    }
}
