//! Playing recorded ticks: when they are due, which times they carry, loops, pauses and jumps.

use std::num::NonZeroU32;

use super::common::quote;
use kernel::{Span, Timestamp};
use proptest::prelude::*;
use providers::feeds::ticks::TickError;
use providers::feeds::{Feed, FeedQuote, MOST_AT_ONCE, Pace, Recording, ReplayFeed, ReplaySettings, Times};

/// The start instant of every feed here, far from the times of the recording.
const START: i64 = 5_000_000_000;

const REAL: ReplaySettings = ReplaySettings { pace: Pace::REAL_TIME, times: Times::Shifted, looping: false };
const LOOP: ReplaySettings = ReplaySettings { looping: true, ..REAL };

fn factor(factor: u32) -> Pace {
    Pace::Factor(NonZeroU32::new(factor).unwrap())
}

fn micros(micros: i64) -> Timestamp {
    Timestamp::from_micros(micros)
}

/// Ticks at 1.0 s, 1.5 s, 3.2 s of the recording with the bids 1, 2, 3; a loop has 3 s.
fn recording() -> Recording {
    let quotes = [quote(1_000_000, 1), quote(1_500_000, 2), quote(3_200_000, 3)];
    Recording::read(quotes.map(Ok)).unwrap()
}

fn feed(settings: ReplaySettings) -> ReplayFeed {
    ReplayFeed::new(recording(), settings, micros(START))
}

/// What is taken at an offset from the start: (source time, bid).
fn take(feed: &mut ReplayFeed, offset: i64) -> Vec<(i64, i64)> {
    let mut out = Vec::new();
    feed.take_until(micros(START + offset), &mut out);
    out.iter().map(|quote| (quote.source_time.micros(), quote.bid.0)).collect()
}

fn due(feed: &ReplayFeed) -> Option<i64> {
    feed.next_due().map(|at| at.micros() - START)
}

#[test]
fn a_recording_knows_its_loop() {
    let recording = recording();
    assert_eq!(recording.first(), micros(1_000_000));
    assert_eq!(recording.length(), Span::from_seconds(3), "2.2 s made up to whole seconds");
    assert_eq!(recording.count(), 3);
    let exact = Recording::read([quote(0, 1), quote(2_000_000, 2)].map(Ok)).unwrap();
    assert_eq!(exact.length(), Span::from_seconds(3), "always longer than the distance");
    assert!(matches!(Recording::read([]), Err(TickError::NoTicks { .. })));
}

#[test]
fn real_time_plays_every_tick_when_it_is_due() {
    let mut feed = feed(REAL);
    assert_eq!(due(&feed), Some(0));
    assert_eq!(take(&mut feed, -1), []);
    assert_eq!(take(&mut feed, 0), [(START, 1)]);
    assert_eq!(due(&feed), Some(500_000));
    assert_eq!(take(&mut feed, 499_999), []);
    assert_eq!(take(&mut feed, 2_200_000), [(START + 500_000, 2), (START + 2_200_000, 3)]);
    assert_eq!(due(&feed), None);
    assert_eq!(take(&mut feed, i64::MAX / 2), []);
}

#[test]
fn a_factor_shortens_the_waits_and_keeps_the_times() {
    let mut feed = feed(ReplaySettings { pace: factor(10), times: Times::Original, looping: false });
    assert_eq!(take(&mut feed, 0), [(1_000_000, 1)]);
    assert_eq!(due(&feed), Some(50_000));
    assert_eq!(take(&mut feed, 220_000), [(1_500_000, 2), (3_200_000, 3)]);
}

#[test]
fn loops_move_the_times_by_whole_lengths() {
    let mut looping = feed(LOOP);
    let times: Vec<i64> = take(&mut looping, 8_200_000).iter().map(|(time, _)| time - START).collect();
    assert_eq!(
        times,
        [0, 500_000, 2_200_000, 3_000_000, 3_500_000, 5_200_000, 6_000_000, 6_500_000, 8_200_000]
    );
    let mut original = feed(ReplaySettings { times: Times::Original, ..LOOP });
    let times: Vec<i64> = take(&mut original, 3_500_000).iter().map(|(time, _)| *time).collect();
    assert_eq!(times, [1_000_000, 1_500_000, 3_200_000, 4_000_000, 4_500_000]);
}

#[test]
fn full_speed_comes_in_portions_and_ends() {
    let count = i64::try_from(MOST_AT_ONCE).unwrap() + 10;
    let recording = Recording::read((0..count).map(|index| Ok(quote(index * 1_000_000, index + 1)))).unwrap();
    let settings = ReplaySettings { pace: Pace::AsFastAsPossible, times: Times::Original, looping: false };
    let mut feed = ReplayFeed::new(recording, settings, micros(START));
    assert_eq!(take(&mut feed, -1), [], "not before its start");
    assert_eq!(take(&mut feed, 0).len(), MOST_AT_ONCE);
    assert_eq!(due(&feed), Some(0), "more is waiting");
    assert_eq!(take(&mut feed, 0).len(), 10);
    assert_eq!(due(&feed), None);
}

#[test]
fn a_pause_holds_everything_back() {
    let mut shifted = feed(REAL);
    take(&mut shifted, 0);
    shifted.pause(micros(START + 400_000));
    shifted.pause(micros(START + 450_000));
    assert_eq!(due(&shifted), None);
    assert_eq!(take(&mut shifted, 1_000_000), []);
    shifted.resume(micros(START + 1_400_000));
    assert_eq!(due(&shifted), Some(1_500_000), "100 ms were left");
    assert_eq!(take(&mut shifted, 1_500_000), [(START + 1_500_000, 2)], "as if it were quoted now");

    let mut original = feed(ReplaySettings { times: Times::Original, ..REAL });
    take(&mut original, 0);
    original.pause(micros(START + 400_000));
    original.resume(micros(START + 1_400_000));
    assert_eq!(take(&mut original, 1_500_000), [(1_500_000, 2)]);
    original.resume(micros(START + 9_000_000));
    assert_eq!(due(&original), Some(3_200_000), "a resume without a pause changes nothing");
}

#[test]
fn a_jump_forward_plays_on_from_there() {
    let mut shifted = feed(REAL);
    take(&mut shifted, 0);
    shifted.skip_to(micros(2_000_000), micros(START + 100_000));
    assert_eq!(due(&shifted), Some(100_000));
    assert_eq!(take(&mut shifted, 100_000), [(START + 100_000, 3)], "the second tick is left out");

    let mut original = feed(ReplaySettings { times: Times::Original, ..REAL });
    original.skip_to(micros(1_500_000), micros(START + 100_000));
    assert_eq!(take(&mut original, 1_800_000), [(1_500_000, 2), (3_200_000, 3)]);
}

#[test]
fn a_jump_back_never_turns_time_back() {
    let mut shifted = feed(REAL);
    take(&mut shifted, 2_200_000);
    shifted.skip_to(micros(0), micros(START + 2_500_000));
    assert_eq!(take(&mut shifted, 3_000_000), [(START + 2_500_000, 1), (START + 3_000_000, 2)]);

    let mut original = feed(ReplaySettings { times: Times::Original, ..REAL });
    take(&mut original, 500_000);
    original.skip_to(micros(0), micros(START + 600_000));
    assert_eq!(take(&mut original, 600_000), [(4_000_000, 1)], "a new loop");
}

#[test]
fn a_jump_behind_the_end_begins_again_or_ends() {
    let mut once = feed(REAL);
    once.skip_to(micros(9_000_000), micros(START));
    assert_eq!(due(&once), None);
    let mut looping = feed(LOOP);
    take(&mut looping, 0);
    looping.skip_to(micros(9_000_000), micros(START + 700_000));
    assert_eq!(take(&mut looping, 700_000), [(START + 700_000, 1)]);
}

#[test]
fn a_jump_during_a_pause_waits_for_the_resume() {
    let mut feed = feed(REAL);
    take(&mut feed, 0);
    feed.pause(micros(START + 100_000));
    feed.skip_to(micros(3_000_000), micros(START + 200_000));
    assert_eq!(due(&feed), None);
    feed.resume(micros(START + 900_000));
    assert_eq!(take(&mut feed, 900_000), [(START + 900_000, 3)]);
}

#[derive(Debug, Clone)]
enum Act {
    Take,
    Pause,
    Resume,
    SkipTo(i64),
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => Just(Act::Take),
        1 => Just(Act::Pause),
        1 => Just(Act::Resume),
        1 => (0_i64..20_000_000).prop_map(Act::SkipTo),
    ]
}

fn recorded() -> impl Strategy<Value = Vec<FeedQuote>> {
    prop::collection::vec(0_i64..3_000_000, 1..12).prop_map(|steps| {
        let mut time = 0;
        steps
            .into_iter()
            .zip(1..)
            .map(|(step, bid)| {
                time += step;
                quote(time, bid)
            })
            .collect()
    })
}

fn settings() -> impl Strategy<Value = ReplaySettings> {
    let pace = prop_oneof![Just(Pace::AsFastAsPossible), (1_u32..50).prop_map(factor)];
    let times = prop_oneof![Just(Times::Original), Just(Times::Shifted)];
    (pace, times, any::<bool>()).prop_map(|(pace, times, looping)| ReplaySettings { pace, times, looping })
}

proptest! {
    #[test]
    fn whatever_is_done_time_never_runs_backwards(
        quotes in recorded(),
        settings in settings(),
        acts in prop::collection::vec((0_i64..3_000_000, act()), 1..40),
    ) {
        let mut feed = ReplayFeed::new(Recording::read(quotes.into_iter().map(Ok)).unwrap(), settings, micros(START));
        let (mut now, mut last) = (START, None);
        for (wait, act) in acts {
            now += wait;
            let mut out = Vec::new();
            match act {
                Act::Take => feed.take_until(micros(now), &mut out),
                Act::Pause => feed.pause(micros(now)),
                Act::Resume => feed.resume(micros(now)),
                Act::SkipTo(at) => feed.skip_to(micros(at), micros(now)),
            }
            prop_assert!(out.len() <= MOST_AT_ONCE);
            if let (Act::Take, true, Some(due)) = (&act, out.len() < MOST_AT_ONCE, feed.next_due()) {
                prop_assert!(due.micros() > now, "nothing that is due stays behind");
            }
            for quote in out {
                prop_assert!(last.is_none_or(|last| quote.source_time >= last), "{last:?} then {quote:?}");
                if settings.pace == Pace::REAL_TIME && settings.times == Times::Shifted {
                    prop_assert!(quote.source_time.micros() <= now, "never ahead of the clock");
                }
                last = Some(quote.source_time);
            }
        }
    }

    #[test]
    fn how_often_one_asks_changes_nothing(
        quotes in recorded(),
        pace in 1_u32..50,
        looping: bool,
        steps in prop::collection::vec(1_i64..500_000, 1..40),
    ) {
        let settings = ReplaySettings { pace: factor(pace), times: Times::Shifted, looping };
        let recording = Recording::read(quotes.into_iter().map(Ok)).unwrap();
        let mut often = ReplayFeed::new(recording.clone(), settings, micros(START));
        let mut once = ReplayFeed::new(recording, settings, micros(START));
        let (mut in_steps, mut now) = (Vec::new(), START);
        for step in steps {
            now += step;
            often.take_until(micros(now), &mut in_steps);
        }
        let mut at_once = Vec::new();
        while once.next_due().is_some_and(|due| due <= micros(now)) {
            once.take_until(micros(now), &mut at_once);
        }
        prop_assert_eq!(in_steps, at_once);
    }
}
