//! Schedules: which instants they have, which are caught up with, and that each is fired once.
#![expect(clippy::unwrap_used, clippy::arithmetic_side_effects, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use app::jobs::{Claim, JobStore};
use app::leadership::Leadership;
use kernel::{Clock as _, ManualClock, OwnerId, SeededRng, Span, Timestamp};
use proptest::prelude::*;
use serde_json::json;
use testkit::World;
use tokio::sync::watch;
use workers::leader::Leader;
use workers::schedules::{CatchUp, LEASE, Schedule, Schedules, platform};

fn schedule(expression: &str, zone: &str, catch_up: CatchUp) -> Schedule {
    Schedule::new("nightly", expression, zone, catch_up, ("upkeep", "upkeep.remove"), json!({})).unwrap()
}

fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

/// The next instants in Greenwich, without seconds.
fn next(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
    let schedule = schedule(expression, zone, CatchUp::Skip);
    let mut after = at(after);
    let mut found = Vec::new();
    for _ in 0..count {
        after = schedule.next(after).unwrap();
        found.push(after.to_string().get(..16).unwrap().to_owned());
    }
    found
}

#[test]
fn a_day_on_which_the_clocks_are_set_has_every_fixed_time_once() {
    // Prague: on 29 March 02:00 becomes 03:00, on 25 October 03:00 becomes 02:00.
    let spring = next("30 2 * * *", "Europe/Prague", "2026-03-28T00:00:00Z", 3);
    assert_eq!(
        spring,
        ["2026-03-28T01:30", "2026-03-29T01:30", "2026-03-30T00:30"],
        "03:30 on the second day"
    );
    let autumn = next("30 2 * * *", "Europe/Prague", "2026-10-24T00:00:00Z", 3);
    assert_eq!(autumn, ["2026-10-24T00:30", "2026-10-25T00:30", "2026-10-26T01:30"], "the first 02:30 only");
    // In the middle between the two 02:30 of that night the next one is tomorrow's.
    assert_eq!(next("30 2 * * *", "Europe/Prague", "2026-10-25T01:00:00Z", 1), ["2026-10-26T01:30"]);
    // 17:00 in New York, the market's day.
    let market = next("0 17 * * MON-FRI", "America/New_York", "2026-03-05T00:00:00Z", 4);
    assert_eq!(market, ["2026-03-05T22:00", "2026-03-06T22:00", "2026-03-09T21:00", "2026-03-10T21:00"]);
}

#[test]
fn what_comes_every_hour_comes_every_hour() {
    let spring = next("15 * * * *", "Europe/Prague", "2026-03-29T00:00:00Z", 3);
    assert_eq!(spring, ["2026-03-29T00:15", "2026-03-29T01:15", "2026-03-29T02:15"]);
    let autumn = next("15 * * * *", "Europe/Prague", "2026-10-25T00:00:00Z", 3);
    assert_eq!(autumn, ["2026-10-25T00:15", "2026-10-25T01:15", "2026-10-25T02:15"]);
    let half_past = next("*/30 * * * *", "Asia/Kathmandu", "2026-10-25T00:00:00Z", 2);
    assert_eq!(half_past, ["2026-10-25T00:15", "2026-10-25T00:45"], "Kathmandu is 5:45 ahead");
}

#[test]
fn what_is_no_schedule_is_refused_with_its_reason() {
    for (expression, zone) in [
        ("", "UTC"),
        ("0 25 * * *", "UTC"),
        ("0 0 * * * UTC", "UTC"),
        ("0 0 * * *", "Middle/Earth"),
        ("* * * *", "UTC"),
    ] {
        let made = Schedule::new("x", expression, zone, CatchUp::Skip, ("q", "k"), json!({}));
        assert!(made.is_err(), "{expression} {zone}");
    }
    let names: Vec<_> = platform().unwrap().iter().map(Schedule::name).collect();
    let wanted = [
        "remove-sessions",
        "remove-jobs",
        "remove-outbox",
        "remove-firings",
        "remove-measurements",
        "remove-refused-quotes",
        "remove-provider-notices",
    ];
    assert_eq!(names, wanted);
}

#[test]
fn missed_instants_are_let_pass_fired_once_or_each() {
    let fired_until = at("2026-01-05T10:00:00Z");
    let now = at("2026-01-05T10:07:30Z");
    let due = |catch_up| {
        let due = schedule("* * * * *", "UTC", catch_up).due(fired_until, now).unwrap();
        due.into_iter().map(|instant| instant.to_string().get(11..16).unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(due(CatchUp::Skip), ["10:06", "10:07"], "two minutes late is not missed");
    assert_eq!(due(CatchUp::Once), ["10:07"]);
    assert_eq!(due(CatchUp::All(100)), ["10:01", "10:02", "10:03", "10:04", "10:05", "10:06", "10:07"]);
    assert_eq!(due(CatchUp::All(2)), ["10:06", "10:07"]);
    for catch_up in [CatchUp::Skip, CatchUp::Once, CatchUp::All(9)] {
        let daily = schedule("0 3 * * *", "UTC", catch_up);
        assert!(daily.due(fired_until, now).unwrap().is_empty());
        assert!(daily.due(now, fired_until).unwrap().is_empty(), "nothing is due when the clock goes back");
    }
}

proptest! {
    /// Whatever the zone and the day: instants rise, and those of a day at a fixed time are one for each day of the wall.
    #[test]
    fn a_fixed_time_comes_once_for_every_day(
        start in 1_000_000_000_i64..2_000_000_000, hour in 0_u32..24, minute in 0_u32..60, zone in 0_usize..6,
    ) {
        let zones = ["Europe/Prague", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "America/Sao_Paulo", "UTC"];
        let schedule = schedule(&format!("{minute} {hour} * * *"), zones[zone], CatchUp::Skip);
        let mut after = Timestamp::from_micros(start * 1_000_000);
        let mut last = schedule.next(after).unwrap();
        for _ in 0..400 {
            after = last;
            last = schedule.next(after).unwrap();
            let hours = (last.micros() - after.micros()) / 3_600_000_000;
            prop_assert!((22..=26).contains(&hours), "{after} {last}");
        }
    }
}

fn schedules(world: &World, clock: Arc<ManualClock>, all: Vec<Schedule>) -> Schedules {
    Schedules::new(world.store.clone(), clock, all)
}

async fn jobs(world: &World) -> i64 {
    sqlx::query_scalar("select count(*) from jobs")
        .fetch_one(&mut world.database.superuser().await)
        .await
        .unwrap()
}

/// Leads for good.
async fn token(world: &World) -> i64 {
    let owner = OwnerId::derived(&[b"leader"]);
    let lease = Span::from_seconds(3_600);
    *world.store.lead(owner, &[LEASE.to_owned()], lease).await.unwrap().get(LEASE).unwrap()
}

#[tokio::test]
async fn a_schedule_fires_at_its_time_and_catches_up_as_it_was_told() {
    let world = World::new().await;
    let token = token(&world).await;
    let every = |name, catch_up| {
        Schedule::new(name, "*/10 * * * *", "UTC", catch_up, ("upkeep", name), json!({ "remove": "jobs" }))
            .unwrap()
    };
    let all = vec![every("skip", CatchUp::Skip), every("once", CatchUp::Once), every("all", CatchUp::All(4))];
    let schedules = schedules(&world, world.clock.clone(), all);
    let round = async || schedules.round(token).await.unwrap();
    assert_eq!(round().await, Some(0), "a new schedule has fired up to now");
    world.clock.set(at("2026-01-05T10:09:59.999999Z"));
    assert_eq!(round().await, Some(0));
    world.clock.set(at("2026-01-05T10:10:00Z"));
    assert_eq!(round().await, Some(3));
    assert_eq!(round().await, Some(0));
    // Nobody fires for an hour and three minutes.
    world.clock.set(at("2026-01-05T11:13:00Z"));
    assert_eq!(round().await, Some(1 + 4), "skip lets pass, once fires one, all the last four");
    // The clock goes back an hour, then on: what was fired is not fired again.
    world.clock.set(at("2026-01-05T10:13:00Z"));
    assert_eq!(round().await, Some(0));
    world.clock.set(at("2026-01-05T11:13:00Z"));
    let again = round().await.unwrap();
    assert_eq!(again, 0, "the instants that were fired are known");
    // A clock that is a day ahead for a moment does not silence the schedule for a day.
    world.clock.set(at("2026-01-06T11:13:00Z"));
    round().await;
    world.clock.set(at("2026-01-05T11:14:00Z"));
    assert_eq!(round().await, Some(0));
    world.clock.set(at("2026-01-05T11:20:00Z"));
    assert!(round().await.unwrap() >= 2);

    let claim = Claim {
        queue: "upkeep",
        most: 100,
        owner: OwnerId::derived(&[b"worker"]),
        lease: Span::from_seconds(60),
        now: at("2026-01-07T00:00:00Z"),
    };
    let claimed = world.store.claim(claim).await.unwrap();
    let of = |kind: &str| claimed.iter().filter(|job| job.kind == kind).count();
    assert_eq!((of("skip"), of("once")), (1, 1), "at most one of them waits");
    let mut all: Vec<_> =
        claimed.iter().filter(|job| job.kind == "all").map(|job| job.payload["instant"].clone()).collect();
    let fired = all.len();
    all.sort_by_key(ToString::to_string);
    all.dedup();
    assert_eq!(all.len(), fired, "every instant once");
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_schedulers_one_fires_and_its_successor_goes_on() {
    let world = World::new().await;
    let one = schedule("* * * * *", "UTC", CatchUp::All(1_000));
    let mut running = Vec::new();
    for name in ["a", "b"] {
        let owner = OwnerId::derived(&[name.as_bytes()]);
        let leader = Leader::new(world.store.clone(), owner, vec![LEASE.to_owned()]);
        let (stop, stopping) = watch::channel(false);
        let leads = leader.leads();
        let fires = schedules(&world, world.clock.clone(), vec![one.clone()]);
        let fires = tokio::spawn(fires.run(leads, stopping.clone()));
        running.push((stop, tokio::spawn(leader.run(stopping)), fires));
    }
    // Both run from the start; every minute of the clock one job comes, whoever leads.
    let end = tokio::time::Instant::now() + Duration::from_secs(30);
    let mut minutes = 0;
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    while minutes < 4 {
        world.clock.advance(Span::from_seconds(60));
        minutes += 1;
        while jobs(&world).await < minutes {
            assert!(tokio::time::Instant::now() < end, "minute {minutes} is not fired");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if minutes == 2 {
            let (stop, leader, fires) = running.remove(0);
            stop.send_replace(true);
            leader.await.unwrap();
            fires.await.unwrap();
        }
    }
    tokio::time::sleep(Duration::from_millis(1_200)).await;
    assert_eq!(jobs(&world).await, 4);
    let (stop, leader, fires) = running.remove(0);
    stop.send_replace(true);
    leader.await.unwrap();
    fires.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_that_both_believe_to_lead_fire_an_instant_once() {
    let world = World::new().await;
    let token = token(&world).await;
    let rng = SeededRng::new(7);
    let world = Arc::new(world);
    let clocks: Vec<Arc<ManualClock>> =
        (0..2).map(|_| Arc::new(ManualClock::new(world.clock.now()))).collect();
    let fire = |clock: &Arc<ManualClock>| {
        let one = schedule("* * * * *", "UTC", CatchUp::All(1_000));
        let schedules = schedules(&world, clock.clone(), vec![one]);
        async move { schedules.round(token).await.unwrap().unwrap() }
    };
    fire(&clocks[0]).await;
    let mut fired = 0;
    for _ in 0..30 {
        // Their clocks differ by up to two minutes, in either direction.
        for clock in &clocks {
            let ahead = Span::from_micros(rng.between(0, 120_000_000));
            clock.set(world.clock.now().after(ahead).unwrap());
        }
        let (one, two) = tokio::join!(fire(&clocks[0]), fire(&clocks[1]));
        fired += one + two;
        world.clock.advance(Span::from_seconds(30));
    }
    let distinct: i64 = sqlx::query_scalar("select count(distinct payload->>'instant') from jobs")
        .fetch_one(&mut world.database.superuser().await)
        .await
        .unwrap();
    assert_eq!((i64::try_from(fired).unwrap(), jobs(&world).await), (distinct, distinct));
    assert!((15..=17).contains(&distinct), "{distinct} minutes in a quarter of an hour");
}
