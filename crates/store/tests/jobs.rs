//! Jobs: enqueued with their cause, claimed by one worker at a time, settled by whoever still holds them.
#![expect(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use app::AppError;
use app::jobs::{
    Claim, Ended, Firing, Job, JobStore, Meeting, NewJob, Outcome, ScheduleStore, Unique, pause,
};
use app::leadership::Leadership;
use app::operations::{Cancelling, JobState, Operations};
use app::upkeep::{Upkeep, UpkeepStore};
use kernel::{Clock as _, FirmId, JobId, OwnerId, Span, Timestamp};
use serde_json::json;
use sqlx::{AssertSqlSafe, Executor};
use store::{Settings, Store};
use testkit::World;

const MINUTE: Span = Span::from_seconds(60);

fn owner(name: &str) -> OwnerId {
    OwnerId::derived(&[name.as_bytes()])
}

fn job(world: &World, payload: serde_json::Value) -> NewJob {
    NewJob {
        firm: None,
        queue: "mail",
        kind: "mail.send",
        payload,
        run_at: world.clock.now(),
        priority: 0,
        unique: None,
        most_attempts: 3,
    }
}

fn keyed(world: &World, meeting: Meeting, payload: serde_json::Value) -> NewJob {
    NewJob { unique: Some(Unique { key: "one".to_owned(), meeting }), ..job(world, payload) }
}

async fn enqueue(world: &World, jobs: &[NewJob]) {
    world.store.enqueue(jobs, world.clock.now()).await.unwrap();
}

async fn claim_with(world: &World, store: &Store, who: &str, most: usize, lease: Span) -> Vec<Job> {
    let claim = Claim { queue: "mail", most, owner: owner(who), lease, now: world.clock.now() };
    store.claim(claim).await.unwrap()
}

async fn claim(world: &World, who: &str, most: usize) -> Vec<Job> {
    claim_with(world, &world.store, who, most, MINUTE).await
}

async fn settle(world: &World, who: &str, job: &Job, outcome: Outcome) -> bool {
    let ended = Ended { id: job.id, attempt: job.attempt, outcome };
    world.store.settle(owner(who), &[ended], world.clock.now()).await.unwrap() == [job.id]
}

fn again(error: &str) -> Outcome {
    Outcome::Again { after: None, error: error.to_owned() }
}

/// One number out of the tables.
async fn count(world: &World, sql: &str) -> i64 {
    let mut connection = world.database.superuser().await;
    sqlx::query_scalar(AssertSqlSafe(format!("select count(*) from {sql}")))
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

/// As if a lease had run out: only the database's clock can say that it did.
async fn let_leases_run_out(world: &World) {
    let sql =
        "update jobs set leased_until = clock_timestamp() - interval '1 second' where state = 'running'";
    world.database.superuser().await.execute(sql).await.unwrap();
}

fn payloads(jobs: &[Job]) -> Vec<serde_json::Value> {
    jobs.iter().map(|job| job.payload.clone()).collect()
}

/// Another process over the same database.
async fn another(world: &World) -> Store {
    let settings = Settings {
        url: world.database.login_url().await,
        instruments: testkit::instruments(),
        app_connections: 2,
        engine_connections: 1,
        worker_connections: 4,
        vault: testkit::vault(),
    };
    Store::connect(&settings).await.unwrap()
}

#[tokio::test]
async fn a_job_is_there_if_its_cause_is() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let new = NewJob { firm: Some(firm), ..job(&world, json!({ "to": "somebody" })) };
    let mut tx = world.store.begin(firm).await.unwrap();
    tx.enqueue(std::slice::from_ref(&new), world.clock.now()).await.unwrap();
    assert!(claim(&world, "a", 10).await.is_empty(), "nobody sees it before the commit");
    drop(tx);
    assert_eq!(count(&world, "jobs").await, 0, "rolled back with its cause");

    let mut tx = world.store.begin(firm).await.unwrap();
    tx.enqueue(&[new], world.clock.now()).await.unwrap();
    let _proof = tx.commit().await.unwrap();
    let claimed = claim(&world, "a", 10).await;
    assert_eq!(payloads(&claimed), [json!({ "to": "somebody" })]);
    assert_eq!((claimed[0].firm, claimed[0].attempt), (Some(firm), 1));
}

#[tokio::test]
async fn nobody_enqueues_for_another_firm() {
    let world = World::new().await;
    let (one, two) = (world.firm("one").await, world.firm("two").await);
    for firm in [Some(two), None] {
        let mut tx = world.store.begin(one).await.unwrap();
        let new = NewJob { firm, ..job(&world, json!({})) };
        assert!(tx.enqueue(&[new], world.clock.now()).await.is_err());
        let mut tx = world.store.begin(one).await.unwrap();
        let new = NewJob { firm, ..keyed(&world, Meeting::Replace, json!({})) };
        assert!(tx.enqueue(&[new], world.clock.now()).await.is_err());
    }
    let mut engine = world.database.role("tradesense_engine").await;
    let insert = format!(
        "insert into jobs (firm_id, queue, kind, payload, priority, run_at, most_attempts, enqueued_at)
         values ('{one}', 'mail', 'x', '{{}}', 0, now(), 3, now())"
    );
    engine.execute(AssertSqlSafe(insert)).await.unwrap();
    assert!(engine.execute("select count(*) from jobs").await.is_err(), "shards do not read what is waiting");
}

#[tokio::test]
async fn jobs_come_by_priority_then_by_time_then_in_their_order() {
    let world = World::new().await;
    let at = |seconds| world.clock.now().before(Span::from_seconds(seconds)).unwrap();
    let new = |name: &str, priority, run_at| NewJob { priority, run_at, ..job(&world, json!(name)) };
    let later = world.clock.now().after(MINUTE).unwrap();
    let mut jobs = vec![
        new("late and idle", 9, at(1)),
        new("later", -5, later),
        new("second", 0, at(5)),
        new("first", 0, at(7)),
    ];
    jobs.extend((0..20).map(|number| new(&format!("same {number:02}"), 0, at(3))));
    jobs.push(new("urgent", -5, at(0)));
    enqueue(&world, &jobs).await;
    let mut order = Vec::new();
    for most in [1, 2, 7, 100] {
        order.extend(payloads(&claim(&world, "a", most).await));
    }
    let mut expected = vec![json!("urgent"), json!("first"), json!("second")];
    expected.extend((0..20).map(|number| json!(format!("same {number:02}"))));
    expected.push(json!("late and idle"));
    assert_eq!(order, expected);
    world.clock.advance(MINUTE);
    assert_eq!(payloads(&claim(&world, "a", 100).await), [json!("later")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_workers_never_have_one_job() {
    let world = Arc::new(World::new().await);
    let new: Vec<NewJob> = (0..600).map(|number| job(&world, json!(number))).collect();
    enqueue(&world, &new).await;
    let stores = [another(&world).await, another(&world).await].map(Arc::new);
    let mut workers = tokio::task::JoinSet::new();
    for number in 0..8 {
        let (world, store) = (world.clone(), stores[number % 2].clone());
        workers.spawn(async move {
            let (name, mut had) = (format!("worker {number}"), Vec::new());
            loop {
                let claimed = claim_with(&world, &store, &name, 7, MINUTE).await;
                if claimed.is_empty() {
                    return had;
                }
                had.extend(claimed.iter().map(|job| (job.id, job.attempt)));
            }
        });
    }
    let had: Vec<(JobId, i32)> = workers.join_all().await.into_iter().flatten().collect();
    assert_eq!(had.len(), 600);
    assert!(had.iter().all(|(_, attempt)| *attempt == 1));
    assert_eq!(had.iter().collect::<BTreeSet<_>>().len(), 600);
}

#[tokio::test]
async fn a_lease_from_before_the_clock_was_set_back_is_over() {
    let world = World::new().await;
    enqueue(&world, &[job(&world, json!(1)), job(&world, json!(2))]).await;
    let dead = claim(&world, "dead", 1).await.remove(0);
    let alive = claim(&world, "alive", 1).await.remove(0);
    let set_back = "update jobs set leased_until = leased_until + interval '1 hour' where owner_id = $1";
    let set_back = sqlx::query(set_back).bind(owner("dead").uuid());
    set_back.execute(&mut world.database.superuser().await).await.unwrap();
    assert_eq!(world.store.reap(world.clock.now()).await.unwrap(), 1);
    assert!(!settle(&world, "dead", &dead, Outcome::Done).await);
    assert!(settle(&world, "alive", &alive, Outcome::Done).await);
}

#[tokio::test]
async fn who_lost_a_job_cannot_complete_it_and_learns_that() {
    let world = World::new().await;
    enqueue(&world, &[job(&world, json!(1))]).await;
    let slow = claim(&world, "slow", 1).await.remove(0);
    assert_eq!(world.store.reap(world.clock.now()).await.unwrap(), 0, "its lease still runs");
    let_leases_run_out(&world).await;
    // Until somebody looks it is still theirs, and they may go on.
    let kept = world.store.renew(owner("slow"), &[(slow.id, 1)], MINUTE).await.unwrap();
    assert_eq!(kept.kept, [slow.id]);
    let_leases_run_out(&world).await;
    assert_eq!(world.store.reap(world.clock.now()).await.unwrap(), 1);
    let kept = world.store.renew(owner("slow"), &[(slow.id, 1)], MINUTE).await.unwrap();
    assert!(kept.kept.is_empty() && kept.stop.is_empty());
    assert!(!settle(&world, "slow", &slow, Outcome::Done).await, "it waits again");

    world.clock.advance(MINUTE);
    let fast = claim(&world, "fast", 1).await.remove(0);
    assert_eq!((fast.id, fast.attempt), (slow.id, 2));
    assert!(!settle(&world, "slow", &slow, Outcome::Done).await, "somebody else has it");
    assert!(!settle(&world, "slow", &slow, again("late")).await);
    assert!(!settle(&world, "fast", &slow, Outcome::Done).await, "the right worker under the wrong attempt");
    assert!(settle(&world, "fast", &fast, Outcome::Done).await);
    assert!(!settle(&world, "fast", &fast, Outcome::Done).await, "once");
    let mut admin = world.database.superuser().await;
    let (state, errors): (String, serde_json::Value) =
        sqlx::query_as("select state, errors from jobs").fetch_one(&mut admin).await.unwrap();
    assert_eq!(state, "done");
    assert_eq!(errors.as_array().unwrap().len(), 1);
    assert_eq!((&errors[0]["attempt"], &errors[0]["error"]), (&json!(1), &json!("the worker died")));
}

#[tokio::test]
async fn a_job_that_kills_its_workers_is_dead_in_the_end() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    enqueue(&world, &[NewJob { firm: Some(firm), ..job(&world, json!(1)) }]).await;
    for attempt in 1..=3 {
        world.clock.advance(Span::from_seconds(3_600));
        assert_eq!(claim(&world, "a", 1).await.len(), 1, "attempt {attempt}");
        let_leases_run_out(&world).await;
        assert_eq!(world.store.reap(world.clock.now()).await.unwrap(), 1);
    }
    world.clock.advance(Span::from_seconds(3_600));
    assert!(claim(&world, "a", 1).await.is_empty());
    let dead = dead(&world, firm).await;
    assert_eq!(dead.len(), 1);
    assert_eq!(dead[0].errors.iter().map(|error| error.attempt).collect::<Vec<_>>(), [1, 2, 3]);
}

#[tokio::test]
async fn pauses_grow_and_dead_jobs_keep_payload_and_every_error() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    enqueue(&world, &[NewJob { firm: Some(firm), ..job(&world, json!({ "letter": "ä\u{1F600}" })) }]).await;
    for attempt in 1..=3 {
        let mut claimed = claim(&world, "a", 1).await;
        let job = claimed.pop().unwrap();
        assert_eq!(job.attempt, attempt);
        assert!(settle(&world, "a", &job, again(&format!("error {attempt}"))).await);
        if attempt < 3 {
            let wait = pause(job.id, attempt);
            world.clock.advance(Span::from_micros(wait.micros() - 1));
            assert!(claim(&world, "a", 1).await.is_empty(), "a microsecond too early");
            world.clock.advance(Span::from_micros(1));
        }
    }
    world.clock.advance(Span::from_seconds(100_000));
    assert!(claim(&world, "a", 1).await.is_empty());
    let dead = dead(&world, firm).await;
    assert_eq!((dead.len(), &dead[0].payload), (1, &Some(json!({ "letter": "ä\u{1F600}" }))));
    let errors: Vec<_> = dead[0].errors.iter().map(|error| error.error.as_str()).collect();
    assert_eq!(errors, ["error 1", "error 2", "error 3"]);
}

#[tokio::test]
async fn what_can_never_work_is_dead_at_once_and_what_is_too_early_costs_nothing() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    enqueue(&world, &[NewJob { firm: Some(firm), ..job(&world, json!(1)) }]).await;
    let hour = Span::from_seconds(3_600);
    for _ in 0..7 {
        let job = claim(&world, "a", 1).await.remove(0);
        assert!(settle(&world, "a", &job, Outcome::Later(hour)).await);
        assert!(claim(&world, "a", 1).await.is_empty());
        world.clock.advance(hour);
    }
    // A handler's own word about the time goes before the growing pauses, in both directions.
    let job = claim(&world, "a", 1).await.remove(0);
    let after = Span::from_millis(10);
    assert!(
        settle(&world, "a", &job, Outcome::Again { after: Some(after), error: "limit".to_owned() }).await
    );
    world.clock.advance(after);
    let job = claim(&world, "a", 1).await.remove(0);
    assert!(settle(&world, "a", &job, Outcome::Never { error: "no such address".to_owned() }).await);
    world.clock.advance(hour);
    assert!(claim(&world, "a", 1).await.is_empty());
    let dead = dead(&world, firm).await;
    let errors: Vec<_> = dead[0].errors.iter().map(|error| error.error.as_str()).collect();
    assert_eq!(errors, ["limit", "no such address"]);
}

#[tokio::test]
async fn of_a_key_one_job_waits() {
    let world = World::new().await;
    let start = world.clock.now();
    let delayed = |meeting, number: i32| NewJob {
        run_at: world.clock.now().after(MINUTE).unwrap(),
        ..keyed(&world, meeting, json!(number))
    };
    for (meeting, payload, due) in [
        (Meeting::Keep, 0, MINUTE),
        (Meeting::Replace, 4, MINUTE),
        (Meeting::Postpone, 4, Span::from_seconds(100)),
    ] {
        world.clock.set(start);
        enqueue(&world, &[delayed(meeting, 0)]).await;
        for number in 1..=4 {
            world.clock.advance(Span::from_seconds(10));
            // Twice in one statement as well.
            enqueue(&world, &[delayed(meeting, -1), delayed(meeting, number)]).await;
        }
        world.clock.set(start.after(Span::from_micros(due.micros() - 1)).unwrap());
        assert!(claim(&world, "a", 9).await.is_empty(), "{meeting:?}");
        world.clock.advance(Span::from_micros(1));
        let claimed = claim(&world, "a", 9).await;
        assert_eq!(payloads(&claimed), [json!(payload)], "{meeting:?}");
        // While it runs the next one may wait.
        enqueue(&world, &[keyed(&world, meeting, json!("next"))]).await;
        assert_eq!(count(&world, "jobs where state = 'waiting'").await, 1);
        assert!(settle(&world, "a", &claimed[0], Outcome::Done).await);
        let next = claim(&world, "a", 9).await;
        assert_eq!(payloads(&next), [json!("next")]);
        assert!(settle(&world, "a", &next[0], Outcome::Done).await);
    }
    // Other kinds and other firms have keys of their own.
    let (one, two) = (world.firm("one").await, world.firm("two").await);
    let new = keyed(&world, Meeting::Keep, json!(1));
    let others = [
        new.clone(),
        NewJob { kind: "mail.check", ..new.clone() },
        NewJob { firm: Some(one), ..new.clone() },
        NewJob { firm: Some(two), ..new },
    ];
    enqueue(&world, &others).await;
    assert_eq!(claim(&world, "a", 9).await.len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hundred_at_once_under_one_key_leave_one_job() {
    let world = Arc::new(World::new().await);
    for meeting in [Meeting::Keep, Meeting::Replace, Meeting::Postpone] {
        let mut all = tokio::task::JoinSet::new();
        for number in 0..100 {
            let here = world.clone();
            all.spawn(async move { enqueue(&here, &[keyed(&here, meeting, json!(number))]).await });
            if number == 50 {
                // Somebody claims in the middle of it: that one runs, and another may wait.
                let world = Arc::clone(&world);
                all.spawn(async move { drop(claim(&world, "a", 1).await) });
            }
        }
        all.join_all().await;
        assert!(count(&world, "jobs where state = 'waiting'").await <= 1, "{meeting:?}");
        assert!((1..=2).contains(&count(&world, "jobs").await), "{meeting:?}");
        world.database.superuser().await.execute("delete from jobs").await.unwrap();
    }
}

#[tokio::test]
async fn a_job_that_fails_while_another_waits_under_its_key_waits_beside_it_without_the_key() {
    let world = World::new().await;
    let mut running = Vec::new();
    for number in 0..3 {
        enqueue(&world, &[keyed(&world, Meeting::Keep, json!(number))]).await;
        if number < 2 {
            running.extend(claim(&world, "a", 1).await);
        }
    }
    let ended: Vec<Ended> =
        running.iter().map(|job| Ended { id: job.id, attempt: job.attempt, outcome: again("no") }).collect();
    assert_eq!(world.store.settle(owner("a"), &ended, world.clock.now()).await.unwrap().len(), 2);
    assert_eq!(count(&world, "jobs where unique_key is not null and state = 'waiting'").await, 1);
    world.clock.advance(MINUTE);
    let again_and_next = claim(&world, "a", 9).await;
    assert_eq!(again_and_next.len(), 3);
    // All three fail together: whoever still has the key keeps it.
    let ended: Vec<Ended> = again_and_next
        .iter()
        .map(|job| Ended { id: job.id, attempt: job.attempt, outcome: again("no") })
        .collect();
    assert_eq!(world.store.settle(owner("a"), &ended, world.clock.now()).await.unwrap().len(), 3);
    assert_eq!(count(&world, "jobs where unique_key is not null and state = 'waiting'").await, 1);
}

/// The firm's dead jobs, as its operators see them one by one.
async fn dead(world: &World, firm: FirmId) -> Vec<app::operations::StoredJob> {
    let admin = world.context_of(firm, &world.admin(firm, "reader").await);
    let operations = Operations::new(world.store.clone(), world.clock.clone());
    let mut dead = Vec::new();
    for listed in operations.jobs(&admin, JobState::Dead, None, 100).await.unwrap() {
        assert_eq!(listed.payload, None, "a list does not say what its jobs are about");
        dead.push(operations.job(&admin, listed.id).await.unwrap());
    }
    dead
}

#[tokio::test]
async fn operators_see_cancel_and_send_again_what_is_their_firms() {
    let world = World::new().await;
    let (firm, other) = (world.firm("one").await, world.firm("two").await);
    let operations = Operations::new(world.store.clone(), world.clock.clone());
    let admin = world.context_of(firm, &world.admin(firm, "admin").await);
    let risk = world.context_of(firm, &world.risk(firm, "risk@one.example").await);
    let trader = world.context_of(firm, &world.person(firm, "trader@one.example").await);
    let stranger = world.context_of(other, &world.admin(other, "admin").await);

    let new = |number: i32| NewJob { firm: Some(firm), ..job(&world, json!(number)) };
    enqueue(&world, &[new(1), new(2), new(3), job(&world, json!("nobody's"))]).await;
    let claimed = claim(&world, "a", 2).await;
    let queues = operations.queues(&risk).await.unwrap();
    assert_eq!(queues.len(), 1);
    let queue = &queues[0];
    assert_eq!((queue.name.as_str(), queue.waiting, queue.running, queue.dead), ("mail", 1, 2, 0));
    assert_eq!((queue.oldest, queue.paused), (Some(world.clock.now()), false));
    assert!(operations.queues(&stranger).await.unwrap().is_empty());
    let all = world.store.all_queues(world.clock.now()).await.unwrap();
    assert_eq!((all.len(), all[0].waiting, all[0].running), (1, 2, 2));

    // Who may not see or do it.
    let id = claimed[0].id;
    assert!(matches!(operations.queues(&trader).await, Err(AppError::Forbidden)));
    assert!(matches!(operations.cancel(&risk, id).await, Err(AppError::Forbidden)));
    assert!(matches!(operations.job(&stranger, id).await, Err(AppError::NotFound("job"))));
    assert!(matches!(operations.cancel(&stranger, id).await, Err(AppError::NotFound("job"))));
    assert!(matches!(operations.redrive(&stranger, id).await, Err(AppError::NotFound("job"))));

    // A running one is asked to stop; its worker learns it with its lease, and fails or stops without another attempt.
    assert_eq!(operations.cancel(&admin, id).await.unwrap(), Cancelling::Asked);
    let held: Vec<(JobId, i32)> = claimed.iter().map(|job| (job.id, job.attempt)).collect();
    let renewed = world.store.renew(owner("a"), &held, MINUTE).await.unwrap();
    assert_eq!((renewed.kept, renewed.stop), (vec![claimed[1].id], vec![id]));
    assert!(settle(&world, "a", &claimed[0], Outcome::Stopped).await);
    assert_eq!(operations.job(&risk, id).await.unwrap().state, JobState::Cancelled);
    // A waiting one is gone at once.
    let waiting = operations.jobs(&risk, JobState::Waiting, None, 10).await.unwrap();
    assert_eq!(operations.cancel(&admin, waiting[0].id).await.unwrap(), Cancelling::Cancelled);
    assert_eq!(payloads(&claim(&world, "b", 9).await), [json!("nobody's")]);
    let over = operations.cancel(&admin, id).await;
    assert!(matches!(over, Err(AppError::Refused { code: "conflict", .. })), "{over:?}");

    // A dead one is sent again with all its attempts, and keeps what was wrong with it before.
    assert!(settle(&world, "a", &claimed[1], Outcome::Never { error: "broken".to_owned() }).await);
    let not_dead = operations.redrive(&admin, id).await;
    assert!(matches!(not_dead, Err(AppError::Refused { code: "conflict", .. })), "{not_dead:?}");
    operations.redrive(&admin, claimed[1].id).await.unwrap();
    for attempt in 2..=4 {
        let job = claim(&world, "a", 9).await.remove(0);
        assert_eq!((job.id, job.attempt), (claimed[1].id, attempt));
        assert!(settle(&world, "a", &job, again("still")).await);
        world.clock.advance(Span::from_seconds(3_600));
    }
    let job = operations.job(&risk, claimed[1].id).await.unwrap();
    assert_eq!((job.state, job.errors.len(), job.errors[0].error.as_str()), (JobState::Dead, 4, "broken"));

    // What it is about is for those who operate, and that they saw it is written down.
    assert_eq!(job.payload, None);
    let seen = operations.job(&admin, claimed[1].id).await.unwrap();
    assert_eq!(seen.payload, Some(claimed[1].payload.clone()));

    let audited: Vec<String> =
        sqlx::query_scalar("select action from audit_entries where action like 'job.%' order by id")
            .fetch_all(&mut world.database.superuser().await)
            .await
            .unwrap();
    assert_eq!(
        audited,
        ["job.cancel", "job.cancel", "job.redrive", "job.read"],
        "what changed or showed nothing left no entry"
    );
}

#[tokio::test]
async fn the_dead_of_a_kind_are_sent_again_and_pages_follow_each_other() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let operations = Operations::new(world.store.clone(), world.clock.clone());
    let admin = world.context_of(firm, &world.admin(firm, "admin").await);
    let mut new: Vec<NewJob> =
        (0..7).map(|number| NewJob { firm: Some(firm), ..job(&world, json!(number)) }).collect();
    new.push(NewJob { kind: "other", ..new[0].clone() });
    new.push(NewJob { firm: Some(firm), ..keyed(&world, Meeting::Keep, json!("key")) });
    enqueue(&world, &new).await;
    for job in claim(&world, "a", 20).await {
        assert!(settle(&world, "a", &job, Outcome::Never { error: "no".to_owned() }).await);
    }
    let mut seen = Vec::new();
    let mut below = None;
    loop {
        let page = operations.jobs(&admin, JobState::Dead, below, 4).await.unwrap();
        let Some(last) = page.last() else { break };
        below = Some(last.number);
        seen.extend(page.iter().map(|job| job.number));
    }
    assert_eq!(seen.len(), 9);
    assert!(seen.is_sorted_by(|newer, older| newer > older));
    // The key is taken by a new one meanwhile.
    enqueue(&world, &new[8..]).await;
    assert_eq!(operations.redrive_kind(&admin, "mail.send").await.unwrap(), 8);
    assert_eq!(operations.redrive_kind(&admin, "mail.send").await.unwrap(), 0);
    assert_eq!(claim(&world, "a", 20).await.len(), 9);
}

#[tokio::test]
async fn nothing_of_a_paused_queue_is_begun() {
    let world = World::new().await;
    let (one, two) = (world.firm("one").await, world.firm("two").await);
    let operations = Operations::new(world.store.clone(), world.clock.clone());
    let admin = world.context_of(one, &world.admin(one, "admin").await);
    let new = |firm, name: &str| NewJob { firm: Some(firm), ..job(&world, json!(name)) };
    operations.pause(&admin, "mail").await.unwrap();
    operations.pause(&admin, "mail").await.unwrap();
    enqueue(&world, &[new(one, "ours"), new(two, "theirs")]).await;
    assert_eq!(payloads(&claim(&world, "a", 9).await), [json!("theirs")], "the other firm's go on");
    let queues = operations.queues(&admin).await.unwrap();
    assert_eq!((queues[0].waiting, queues[0].paused), (1, true));
    operations.resume(&admin, "mail").await.unwrap();
    operations.resume(&admin, "mail").await.unwrap();
    assert_eq!(payloads(&claim(&world, "a", 9).await), [json!("ours")]);

    world.store.pause_whole("mail", world.clock.now()).await.unwrap();
    enqueue(&world, &[new(one, "ours"), new(two, "theirs"), job(&world, json!("nobody's"))]).await;
    assert!(claim(&world, "a", 9).await.is_empty());
    assert!(operations.queues(&admin).await.unwrap()[0].paused, "and its operators see why");
    world.store.resume_whole("mail").await.unwrap();
    assert_eq!(claim(&world, "a", 9).await.len(), 3);
    let audited = count(&world, "audit_entries where action in ('queue.pause', 'queue.resume')").await;
    assert_eq!(audited, 2);
}

/// A schedule's jobs for these instants.
fn firing_of(world: &World, instants: &[&str]) -> Vec<(Timestamp, NewJob)> {
    instants.iter().map(|at| (Timestamp::parse(at).unwrap(), job(world, json!(at)))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_instant_is_fired_once_however_many_believe_that_they_lead() {
    let world = Arc::new(World::new().await);
    let names = ["schedules".to_owned()];
    let store = &world.store;
    let token = store.lead(owner("a"), &names, MINUTE).await.unwrap()["schedules"];
    assert!(store.lead(owner("b"), &names, MINUTE).await.unwrap().is_empty(), "one leads");
    let now = world.clock.now();
    assert_eq!(store.fired_until(&["nightly"], now).await.unwrap(), [now]);
    let fire = async |token: i64, instants: &[&str]| {
        let jobs = firing_of(&world, instants);
        let firing =
            Firing { lease: "schedules", token, schedule: "nightly", jobs: &jobs, until: now, at: now };
        world.store.fire(firing).await.unwrap()
    };
    let first = "2026-01-05T03:00:00Z";
    assert_eq!(fire(token, &[first]).await, Some(1));
    assert_eq!(fire(token, &[first]).await, Some(0), "once");

    // The first leader is paused and deposed; it wakes, and may not fire.
    store.give_up(owner("a"), &names).await.unwrap();
    assert_eq!(fire(token, &["2026-01-06T03:00:00Z"]).await, None, "nobody leads");
    let next = store.lead(owner("b"), &names, MINUTE).await.unwrap()["schedules"];
    assert!(next > token);
    assert_eq!(fire(token, &["2026-01-06T03:00:00Z"]).await, None);
    assert_eq!(fire(next, &[first, "2026-01-06T03:00:00Z"]).await, Some(1));

    // Even under one token, at the same time.
    let at_once = (0..20).map(|_| {
        let world = world.clone();
        tokio::spawn(async move {
            let jobs = firing_of(&world, &["2026-01-07T03:00:00Z"]);
            let now = world.clock.now();
            let (schedule, jobs) = ("nightly", jobs.as_slice());
            let firing = Firing { lease: "schedules", token: next, schedule, jobs, until: now, at: now };
            world.store.fire(firing).await.unwrap().unwrap()
        })
    });
    let mut fired = 0;
    for task in at_once.collect::<Vec<_>>() {
        fired += task.await.unwrap();
    }
    assert_eq!((fired, count(&world, "jobs").await), (1, 3));
}

#[tokio::test]
async fn what_nobody_needs_any_longer_is_removed_and_nothing_else() {
    let world = World::new().await;
    let firm = world.firm("one").await;
    let day = Span::from_days(1).unwrap();
    let trader = world.person(firm, "trader@one.example").await;
    let password = app::identity::Password::new(testkit::PASSWORD);
    world.identity.sign_in(&world.context(firm), &trader.email, password, "::1").await.unwrap();
    enqueue(&world, &(0..4).map(|number| job(&world, json!(number))).collect::<Vec<_>>()).await;
    let claimed = claim(&world, "a", 3).await;
    assert!(settle(&world, "a", &claimed[0], Outcome::Done).await);
    assert!(settle(&world, "a", &claimed[1], Outcome::Never { error: "no".to_owned() }).await);

    let mut admin = world.database.superuser().await;
    let messages = format!(
        "delete from outbox;
         insert into outbox (firm_id, at, aggregate, topic, payload)
         select '{firm}', '2026-01-05T10:00:00Z', 'x:1', 'x', '{{}}' from generate_series(1, 10);
         insert into consumer_groups
         select 'quick', max(id), now() from outbox union all select 'slow', min(id) + 5, now() from outbox;
         update relay set known_id = (select max(id) from outbox);
         insert into failed_messages (firm_id, group_name, message_id, attempts, errors, next_at)
         select '{firm}', 'quick', min(id) + 1, 1, '[]', now() from outbox"
    );
    sqlx::raw_sql(AssertSqlSafe(messages)).execute(&mut admin).await.unwrap();

    let remove = async |what| world.store.keep_up(what, world.clock.now()).await.unwrap();
    for what in Upkeep::ALL {
        assert_eq!(remove(what).await, 0, "{what:?} is all needed still");
    }
    world.clock.advance(Span::from_micros(day.micros() + 1));
    assert_eq!(remove(Upkeep::Jobs).await, 1, "what is dead, waits or runs stays");
    assert_eq!(count(&world, "jobs").await, 3);
    assert_eq!(remove(Upkeep::Outbox).await, 0);
    world.clock.advance(Span::from_days(60).unwrap());
    assert_eq!(remove(Upkeep::Outbox).await, 5, "up to what the slowest has settled, without what failed");
    assert_eq!(count(&world, "outbox").await, 5);
    assert_eq!(remove(Upkeep::Sessions).await, 1);
    sqlx::raw_sql("delete from consumer_groups").execute(&mut admin).await.unwrap();
    assert_eq!(remove(Upkeep::Outbox).await, 0, "without a group nothing goes");
}

/// Entries of an index that scans have read since the database began, as the server counts them.
async fn entries_read(world: &World, index: &str) -> i64 {
    let mut admin = world.database.superuser().await;
    // Sessions report what they counted at most once a second; a transaction that ends later than that reports it.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    drop(claim(world, "nobody", 0).await);
    sqlx::query_scalar("select idx_tup_read from pg_stat_user_indexes where indexrelname = $1")
        .bind(index)
        .fetch_one(&mut admin)
        .await
        .unwrap()
}

/// Enqueues, claims and settles so many jobs, 50 at a time. Gives how long it took.
async fn pass(world: &World, jobs: usize) -> Duration {
    let start = tokio::time::Instant::now();
    for _ in 0..jobs / 50 {
        let new: Vec<NewJob> = (0..50).map(|number| job(world, json!(number))).collect();
        enqueue(world, &new).await;
        world.clock.advance(Span::from_millis(10));
        let claimed = claim(world, "a", 50).await;
        assert_eq!(claimed.len(), 50, "whatever is due is found");
        let ended: Vec<Ended> = claimed
            .iter()
            .map(|job| Ended { id: job.id, attempt: job.attempt, outcome: Outcome::Done })
            .collect();
        assert_eq!(world.store.settle(owner("a"), &ended, world.clock.now()).await.unwrap().len(), 50);
        world.store.reap(world.clock.now()).await.unwrap();
    }
    start.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_nobody_ends_does_not_slow_the_queue_down() {
    let world = World::new().await;
    pass(&world, 500).await;
    let fast = pass(&world, 2_000).await;
    let mut old = world.database.superuser().await;
    old.execute("begin isolation level repeatable read").await.unwrap();
    sqlx::query("select count(*) from firms").fetch_all(&mut old).await.unwrap();
    pass(&world, 10_000).await;
    let before = [entries_read(&world, "jobs_waiting").await, entries_read(&world, "jobs_running").await];
    let held = pass(&world, 2_000).await;
    let after = [entries_read(&world, "jobs_waiting").await, entries_read(&world, "jobs_running").await];
    let dead: i64 = sqlx::query_scalar("select n_dead_tup from pg_stat_user_tables where relname = 'jobs'")
        .fetch_one(&mut world.database.superuser().await)
        .await
        .unwrap();
    assert!(dead > 10_000, "the horizon was held: {dead} dead rows");
    // 40 claims. From the beginning each time they read 860,000 entries. From marks each reads some hundred, and three or four
    // that begin at the beginning read 26,000.
    let [waiting, running] = [after[0] - before[0], after[1] - before[1]];
    println!(
        "2,000 jobs in {} ms, under an old snapshot in {} ms; {dead} dead rows, {waiting} and {running} entries read",
        fast.as_millis(),
        held.as_millis()
    );
    assert!(waiting < 200_000, "{waiting} entries of jobs_waiting");
    assert!(running < 5_000, "{running} entries of jobs_running");

    // What is committed late, behind the place where claims begin, is found all the same.
    let run_at = world.clock.now().before(MINUTE).unwrap();
    enqueue(&world, &[NewJob { run_at, ..job(&world, json!("late")) }]).await;
    let mut rounds = 0;
    while claim(&world, "a", 50).await.is_empty() {
        world.clock.advance(Span::from_millis(10));
        rounds += 1;
        assert!(rounds < 100, "a second later it is still not found");
    }
    old.execute("rollback").await.unwrap();
}

#[tokio::test]
async fn every_queue_has_a_claim_of_its_own() {
    let world = World::new().await;
    let mut by_queue = BTreeMap::new();
    for queue in ["mail", "webhooks", "mail"] {
        enqueue(&world, &[NewJob { queue, ..job(&world, json!(queue)) }]).await;
    }
    for queue in ["mail", "webhooks", "nothing"] {
        let claim = Claim { queue, most: 9, owner: owner("a"), lease: MINUTE, now: world.clock.now() };
        by_queue.insert(queue, world.store.claim(claim).await.unwrap().len());
    }
    assert_eq!(by_queue, [("mail", 2), ("nothing", 0), ("webhooks", 1)].into());
}
