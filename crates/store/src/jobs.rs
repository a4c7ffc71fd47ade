//! Jobs: enqueued in the transaction of their cause, claimed in batches, settled by whoever still holds them.
//!
//! **While somebody's old transaction holds the horizon** nothing that was claimed since can be removed from the index along
//! which is claimed, and every claim would walk over all of it. A claim therefore counts the entries it walked over. If
//! they are many ([`MOST_WALKED`]), the next claims begin where the last ones found something ([`Mark`]) instead of at the
//! beginning; what lies before that place, because it was committed late, is found by a claim from the beginning every now
//! and then, the more rarely the longer the way is. As long as the way is short every claim begins at the beginning.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};

use app::AppError;
use app::jobs::{
    After, Attempt, Claim, Ended, Failure, Job, JobStore, MOST_ATTEMPTS, Meeting, NewJob, Outcome, Renewed,
    Unique,
};
use async_trait::async_trait;
use kernel::{FirmId, JobId, OwnerId, Span, Timestamp};
use sqlx::{Connection as _, PgConnection};
use uuid::Uuid;

use crate::error::Doing;
use crate::row::{At, column};
use crate::{Inconsistent, Store, Tx};

/// Beyond so many entries that led to nothing a claim is not begun at the beginning each time.
const MOST_WALKED: i64 = 1_000;

/// For each of these entries a claim from the beginning is put off by [`PUT_OFF`].
const PUT_OFF_PER: i64 = 100;

/// 1 ms for each 100 entries, which take about 30 µs to walk over.
const PUT_OFF: i64 = 1_000;

/// One claim from the beginning takes no longer, as a rule.
const MEANWHILE: Span = Span::from_seconds(1);

/// Claims that begin at a mark begin where the one so many claims ago did: what was committed a little late lies behind.
const MARK_CLAIMS: usize = 4;

/// The most leases that one reaping ends.
const MOST_REAPED: i64 = 500;

/// All running jobs are looked at so often for leases that ran out; in between only those that ran out lately.
const REAP_ALL: Span = Span::from_seconds(600);

// Whoever holds a job is asked for by its owner and attempt alone. Only running jobs have an owner (`jobs_leased`), and asking for
// the state as well would make the server go along `jobs_running`, where everything is that ran since the horizon.

/// A claim and what it reads never look at whole tables, however small they were when the session planned.
const BY_KEY: &str = "begin; set local enable_seqscan = off; set local enable_hashjoin = off; \
     set local enable_mergejoin = off; set local enable_bitmapscan = off; set local jit = off";

/// The platform's own jobs are nobody's: no firm has this id.
pub(crate) fn whose(firm: Option<FirmId>) -> Uuid {
    firm.map_or(Uuid::nil(), FirmId::uuid)
}

pub(crate) fn firm(uuid: Uuid) -> Option<FirmId> {
    (!uuid.is_nil()).then(|| FirmId::from_uuid(uuid))
}

/// What this process remembers of where jobs are found.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    queues: Mutex<BTreeMap<String, Mark>>,
    reaped: Mutex<Option<Reaped>>,
}

/// The last reaping.
#[derive(Debug, Clone, Copy)]
struct Reaped {
    /// Leases that ran out before this instant were ended, on the database's clock.
    until: Timestamp,
    /// When all of them were looked at, on the caller's.
    all_at: Timestamp,
}

/// Of one queue.
#[derive(Debug, Default, Clone)]
struct Mark {
    /// For each priority where the last claims began: time and number.
    began: BTreeMap<i16, VecDeque<(Timestamp, i64)>>,
    /// When the way from the beginning was found to be long, and until when it is spared.
    spared: Option<(Timestamp, Timestamp)>,
}

/// Where a claim begins in one priority.
#[derive(Debug, Clone, Copy)]
struct Place {
    priority: i16,
    run_at: Timestamp,
    number: i64,
}

impl Mark {
    /// Whether to begin at the beginning. A clock that went back does not keep anybody from it.
    fn is_due(&self, now: Timestamp) -> bool {
        self.spared.is_none_or(|(since, until)| now < since || until <= now)
    }

    /// Where the eldest of the last claims began, for each priority.
    fn places(&self) -> Vec<Place> {
        let places = self.began.iter().filter_map(|(priority, claims)| {
            claims.front().map(|(run_at, number)| Place {
                priority: *priority,
                run_at: *run_at,
                number: *number,
            })
        });
        places.collect()
    }

    fn remember(&mut self, priority: i16, first: (Timestamp, i64), anew: bool) {
        let claims = self.began.entry(priority).or_default();
        if anew {
            claims.clear();
        }
        if claims.len() >= MARK_CLAIMS {
            claims.pop_front();
        }
        claims.push_back(first);
    }
}

impl Tx {
    /// Enqueues jobs of the firm; they are there once the transaction commits. `at` is when they were asked for.
    pub async fn enqueue(&mut self, jobs: &[NewJob], at: Timestamp) -> Result<(), AppError> {
        enqueue_in_tx(self.connection(), jobs, at).await
    }
}

/// In any transaction whose role may enqueue for these firms. That of shards may enqueue only jobs without a key.
pub(crate) async fn enqueue_in_tx(
    connection: &mut PgConnection,
    jobs: &[NewJob],
    at: Timestamp,
) -> Result<(), AppError> {
    let unbounded = jobs.iter().find(|job| !(1..=MOST_ATTEMPTS).contains(&job.most_attempts));
    if let Some(job) = unbounded {
        let say = format!("{} asks for {} attempts", job.kind, job.most_attempts);
        return Err(AppError::bug("enqueueing a job")(say.into()));
    }
    let (once, plain): (Vec<NewJob>, Vec<NewJob>) =
        jobs.iter().cloned().partition(|job| job.unique.is_some());
    if !plain.is_empty() {
        enqueue_plain(connection, &plain, at).await?;
    }
    if !once.is_empty() {
        enqueue_once(connection, &met(once), at).await?;
    }
    Ok(())
}

/// Of several new jobs under one key what would be left if they came one by one.
fn met(jobs: Vec<NewJob>) -> Vec<NewJob> {
    let mut left: BTreeMap<(Option<FirmId>, &'static str, String), NewJob> = BTreeMap::new();
    for job in jobs {
        let Some(Unique { key, meeting }) = job.unique.clone() else { continue };
        match left.entry((job.firm, job.kind, key)) {
            std::collections::btree_map::Entry::Vacant(place) => {
                place.insert(job);
            }
            std::collections::btree_map::Entry::Occupied(mut place) => {
                let waiting = place.get_mut();
                let run_at = waiting.run_at;
                match meeting {
                    Meeting::Keep => {}
                    Meeting::Replace => *waiting = NewJob { run_at, ..job },
                    Meeting::Postpone => *waiting = job,
                }
            }
        }
    }
    left.into_values().collect()
}

async fn enqueue_plain(
    connection: &mut PgConnection,
    jobs: &[NewJob],
    at: Timestamp,
) -> Result<(), AppError> {
    sqlx::query!(
        "insert into jobs (firm_id, queue, kind, payload, priority, run_at, most_attempts, enqueued_at)
         select firm_id, queue, kind, payload::jsonb, priority, run_at, most_attempts, $8
         from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::smallint[], $6::timestamptz[], $7::smallint[])
              with ordinality as job (firm_id, queue, kind, payload, priority, run_at, most_attempts, place)
         order by place",
        &column(jobs, |job| whose(job.firm)),
        column(jobs, |job| job.queue) as _,
        column(jobs, |job| job.kind) as _,
        &column(jobs, |job| job.payload.to_string()),
        &column(jobs, |job| job.priority),
        column(jobs, |job| At(job.run_at)) as _,
        &column(jobs, |job| job.most_attempts),
        At(at) as _,
    )
    .execute(connection)
    .await
    .doing("enqueueing jobs")?;
    Ok(())
}

async fn enqueue_once(connection: &mut PgConnection, jobs: &[NewJob], at: Timestamp) -> Result<(), AppError> {
    // In the order of the keys, so that two transactions wait for each other in one direction only.
    sqlx::query!(
        "insert into jobs (firm_id, queue, kind, payload, priority, run_at, most_attempts, enqueued_at, unique_key, meeting)
         select firm_id, queue, kind, payload::jsonb, priority, run_at, most_attempts, $8, unique_key, meeting
         from unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::smallint[], $6::timestamptz[], $7::smallint[],
                     $9::text[], $10::text[])
              as job (firm_id, queue, kind, payload, priority, run_at, most_attempts, unique_key, meeting)
         order by firm_id, kind, unique_key
         on conflict (firm_id, kind, unique_key) where state = 'waiting' and unique_key is not null do update
         set payload = excluded.payload, priority = excluded.priority, most_attempts = excluded.most_attempts,
             meeting = excluded.meeting,
             run_at = case excluded.meeting when 'postpone' then excluded.run_at else jobs.run_at end
         where excluded.meeting <> 'keep'",
        &column(jobs, |job| whose(job.firm)),
        column(jobs, |job| job.queue) as _,
        column(jobs, |job| job.kind) as _,
        &column(jobs, |job| job.payload.to_string()),
        &column(jobs, |job| job.priority),
        column(jobs, |job| At(job.run_at)) as _,
        &column(jobs, |job| job.most_attempts),
        At(at) as _,
        column(jobs, |job| job.unique.as_ref().map(|unique| unique.key.as_str())) as _,
        column(jobs, |job| job.unique.as_ref().map(|unique| unique.meeting.word())) as _,
    )
    .execute(connection)
    .await
    .doing("enqueueing jobs")?;
    Ok(())
}

#[async_trait]
impl JobStore for Store {
    async fn enqueue(&self, jobs: &[NewJob], at: Timestamp) -> Result<(), AppError> {
        let mut tx = self.worker.begin().await.doing("enqueueing jobs")?;
        enqueue_in_tx(&mut tx, jobs, at).await?;
        tx.commit().await.doing("enqueueing jobs")
    }

    async fn claim(&self, claim: Claim<'_>) -> Result<Vec<Job>, AppError> {
        let doing = "claiming jobs";
        let (from_the_beginning, mark) = {
            let mut queues = self.marks.queues.lock().unwrap_or_else(PoisonError::into_inner);
            let mark = queues.entry(claim.queue.to_owned()).or_default();
            let due = mark.is_due(claim.now);
            if due && let Some((since, _)) = mark.spared {
                // The way is long: meanwhile the others here need not go it as well.
                let soon = claim.now.after(MEANWHILE).unwrap_or(claim.now);
                mark.spared = Some((since.min(claim.now), soon));
            }
            (due, mark.clone())
        };
        let mut tx = self.worker.begin_with(BY_KEY).await.doing(doing)?;
        let places =
            if from_the_beginning { heads_in_tx(&mut tx, claim.queue).await? } else { mark.places() };
        let taken = if places.is_empty() { Vec::new() } else { claim_in_tx(&mut tx, claim, &places).await? };
        let walked = if from_the_beginning { Some(walked_in_tx(&mut tx).await?) } else { None };
        tx.commit().await.doing(doing)?;

        let mut queues = self.marks.queues.lock().unwrap_or_else(PoisonError::into_inner);
        let mark = queues.entry(claim.queue.to_owned()).or_default();
        let mut seen = Vec::new();
        for Taken { priority, run_at, number, .. } in &taken {
            if !seen.contains(priority) {
                seen.push(*priority);
                mark.remember(*priority, (*run_at, *number), from_the_beginning);
            }
        }
        if let Some(walked) = walked {
            let led_to = i64::try_from(taken.len()).unwrap_or(i64::MAX);
            let for_nothing = walked.saturating_sub(led_to);
            let wait = Span::from_micros(for_nothing.saturating_div(PUT_OFF_PER).saturating_mul(PUT_OFF));
            mark.spared =
                (for_nothing > MOST_WALKED).then(|| (claim.now, claim.now.after(wait).unwrap_or(claim.now)));
        }
        Ok(taken.into_iter().map(|taken| taken.job).collect())
    }

    async fn renew(&self, owner: OwnerId, held: &[(JobId, i32)], lease: Span) -> Result<Renewed, AppError> {
        let rows = sqlx::query!(
            "update jobs set leased_until = clock_timestamp() + $4::bigint * interval '1 microsecond'
             from unnest($2::uuid[], $3::integer[]) held (id, attempt)
             where jobs.id = held.id and jobs.attempt = held.attempt and jobs.owner_id = $1
             returning jobs.id, jobs.stop",
            owner.uuid(),
            &column(held, |(id, _)| id.uuid()),
            &column(held, |(_, attempt)| *attempt),
            lease.micros(),
        )
        .fetch_all(&self.worker)
        .await
        .doing("renewing the leases of jobs")?;
        let mut renewed = Renewed::default();
        for row in rows {
            let list = if row.stop { &mut renewed.stop } else { &mut renewed.kept };
            list.push(JobId::from_uuid(row.id));
        }
        Ok(renewed)
    }

    async fn settle(&self, owner: OwnerId, ended: &[Ended], at: Timestamp) -> Result<Vec<JobId>, AppError> {
        let (mut done, mut others): (Vec<&Ended>, Vec<&Ended>) =
            ended.iter().partition(|ended| ended.outcome == Outcome::Done);
        // In the order in which leases are renewed, so that the two do not wait for each other.
        done.sort_by_key(|ended| ended.id);
        others.sort_by_key(|ended| ended.id);
        let doing = "settling jobs";
        let mut tx = self.worker.begin_with(BY_KEY).await.doing(doing)?;
        let mut settled = Vec::with_capacity(ended.len());
        if !done.is_empty() {
            settled.extend(done_in_tx(&mut tx, owner, &done, at).await?);
        }
        if !others.is_empty() {
            let held = held_in_tx(&mut tx, owner, &others).await?;
            let ends = held.iter().filter_map(|(firm, attempt)| {
                let ended = others.iter().find(|ended| ended.id == attempt.job)?;
                Some((*firm, *attempt, attempt.after(&ended.outcome, at)))
            });
            let ends: Vec<_> = ends.collect();
            end_in_tx(&mut tx, &ends, at).await?;
            settled.extend(held.iter().map(|(_, attempt)| attempt.job));
        }
        tx.commit().await.doing(doing)?;
        Ok(settled)
    }

    async fn reap(&self, at: Timestamp) -> Result<usize, AppError> {
        let doing = "reaping jobs";
        // Leases that ran out long before the last reaping ended then; only what was written down late is still there. The
        // entries of all that ran since somebody's old snapshot are not walked over each time.
        let last = *self.marks.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        let last = last.filter(|last| at >= last.all_at && at < last.all_at.after(REAP_ALL).unwrap_or(at));
        let mut tx = self.worker.begin_with(BY_KEY).await.doing(doing)?;
        let mut rows = Vec::new();
        // No lease is as long as ten minutes: one that seems to be was given before the database's clock was set back.
        for too_long in [false, true] {
            let some = sqlx::query!(
                "select firm_id, id, attempt, spared, most_attempts, stop
                 from jobs
                 where state = 'running'
                   and leased_until >= case when $3 then transaction_timestamp() + interval '10 minutes'
                                       else coalesce($1::timestamptz - interval '1 minute', '-infinity') end
                   and leased_until < case when $3 then 'infinity' else transaction_timestamp() end
                 order by leased_until limit $2 for update skip locked",
                last.map(|last| At(last.until)) as _,
                MOST_REAPED,
                too_long,
            );
            rows.extend(some.fetch_all(&mut *tx).await.doing(doing)?);
        }
        let outcome = Outcome::Again { after: None, error: "the worker died".to_owned() };
        let mut ends = Vec::with_capacity(rows.len());
        for row in &rows {
            let attempt = Attempt {
                job: JobId::from_uuid(row.id),
                number: row.attempt,
                spared: row.spared,
                most: row.most_attempts,
                stop: row.stop,
            };
            ends.push((row.firm_id, attempt, attempt.after(&outcome, at)));
        }
        end_in_tx(&mut tx, &ends, at).await?;
        let until = sqlx::query_scalar!(r#"select transaction_timestamp() as "now!: At""#)
            .fetch_one(&mut *tx)
            .await
            .doing(doing)?;
        tx.commit().await.doing(doing)?;
        if i64::try_from(rows.len()).unwrap_or(i64::MAX) < MOST_REAPED {
            let reaped = Reaped { until: until.into(), all_at: last.map_or(at, |last| last.all_at) };
            *self.marks.reaped.lock().unwrap_or_else(PoisonError::into_inner) = Some(reaped);
        }
        Ok(rows.len())
    }
}

/// A claimed job with its place in the index.
struct Taken {
    job: Job,
    priority: i16,
    run_at: Timestamp,
    number: i64,
}

/// The first job that waits in each priority, each found by one step down the index.
async fn heads_in_tx(connection: &mut PgConnection, queue: &str) -> Result<Vec<Place>, AppError> {
    let rows = sqlx::query!(
        r#"with recursive head (priority, run_at, number) as (
               (select priority, run_at, number from jobs
                where queue = $1 and state = 'waiting' order by priority, run_at, number limit 1)
               union all
               select next.priority, next.run_at, next.number
               from head cross join lateral (
                   select priority, run_at, number from jobs
                   where queue = $1 and state = 'waiting' and jobs.priority > head.priority
                   order by priority, run_at, number limit 1
               ) next
           )
           select priority as "priority!", run_at as "run_at!: At", number as "number!" from head"#,
        queue,
    )
    .fetch_all(connection)
    .await
    .doing("looking for the first jobs of a queue")?;
    let place = |priority, run_at: At, number| Place { priority, run_at: run_at.into(), number };
    Ok(rows.into_iter().map(|row| place(row.priority, row.run_at, row.number)).collect())
}

/// Each priority's due jobs from its place on. What is not needed is not locked: the outer limit stops the inner scans.
async fn claim_in_tx(
    connection: &mut PgConnection,
    claim: Claim<'_>,
    places: &[Place],
) -> Result<Vec<Taken>, AppError> {
    let most = i64::try_from(claim.most).unwrap_or(i64::MAX);
    let rows = sqlx::query!(
        r#"with picked as materialized (
               select job.id, job.firm_id
               from unnest($2::smallint[], $3::timestamptz[], $4::bigint[]) as place (priority, run_at, number)
               cross join lateral (
                   select id, firm_id from jobs
                   where queue = $1 and state = 'waiting' and jobs.priority = place.priority
                     and (jobs.run_at, jobs.number) >= (place.run_at, place.number) and jobs.run_at <= $5
                     and not exists (select from queue_pauses pauses
                                     where pauses.queue = $1
                                       and pauses.firm_id in (jobs.firm_id, '00000000-0000-0000-0000-000000000000'))
                   order by jobs.run_at, jobs.number limit $6
                   for update of jobs skip locked
               ) job
               limit $6
           )
           update jobs
           set state = 'running', attempt = jobs.attempt + 1, owner_id = $7,
               leased_until = clock_timestamp() + $8::bigint * interval '1 microsecond'
           from picked where jobs.id = picked.id and jobs.firm_id = picked.firm_id
           returning jobs.id, jobs.firm_id, jobs.kind, jobs.payload, jobs.attempt, jobs.priority,
                     jobs.run_at as "run_at: At", jobs.number"#,
        claim.queue,
        &column(places, |place| place.priority),
        column(places, |place| At(place.run_at)) as _,
        &column(places, |place| place.number),
        At(claim.now) as _,
        most,
        claim.owner.uuid(),
        claim.lease.micros(),
    )
    .fetch_all(connection)
    .await
    .doing("claiming jobs")?;
    let mut taken: Vec<Taken> = rows
        .into_iter()
        .map(|row| Taken {
            job: Job {
                id: JobId::from_uuid(row.id),
                firm: firm(row.firm_id),
                kind: row.kind,
                payload: row.payload,
                attempt: row.attempt,
            },
            priority: row.priority,
            run_at: row.run_at.into(),
            number: row.number,
        })
        .collect();
    taken.sort_by_key(|taken| (taken.priority, taken.run_at, taken.number));
    Ok(taken)
}

/// How many entries of the index this transaction has walked over, living and dead.
async fn walked_in_tx(connection: &mut PgConnection) -> Result<i64, AppError> {
    sqlx::query_scalar!(r#"select pg_stat_get_xact_tuples_returned('jobs_waiting'::regclass) as "walked!""#)
        .fetch_one(connection)
        .await
        .doing("counting what a claim walked over")
}

async fn done_in_tx(
    connection: &mut PgConnection,
    owner: OwnerId,
    done: &[&Ended],
    at: Timestamp,
) -> Result<Vec<JobId>, AppError> {
    let settled = sqlx::query_scalar!(
        "update jobs set state = 'done', ended_at = $4, owner_id = null, leased_until = null
         from unnest($2::uuid[], $3::integer[]) ended (id, attempt)
         where jobs.id = ended.id and jobs.attempt = ended.attempt and jobs.owner_id = $1
         returning jobs.id",
        owner.uuid(),
        &column(done, |ended| ended.id.uuid()),
        &column(done, |ended| ended.attempt),
        At(at) as _,
    )
    .fetch_all(connection)
    .await
    .doing("settling jobs")?;
    Ok(column(&settled, |id| JobId::from_uuid(*id)))
}

/// The attempts among these that are still the owner's, locked.
async fn held_in_tx(
    connection: &mut PgConnection,
    owner: OwnerId,
    ended: &[&Ended],
) -> Result<Vec<(Uuid, Attempt)>, AppError> {
    let rows = sqlx::query!(
        "select jobs.firm_id, jobs.id, jobs.attempt, jobs.spared, jobs.most_attempts, jobs.stop
         from unnest($2::uuid[], $3::integer[]) ended (id, attempt)
         join jobs on jobs.id = ended.id and jobs.attempt = ended.attempt
         where jobs.owner_id = $1
         for update of jobs",
        owner.uuid(),
        &column(ended, |ended| ended.id.uuid()),
        &column(ended, |ended| ended.attempt),
    )
    .fetch_all(connection)
    .await
    .doing("settling jobs")?;
    let held = rows.into_iter().map(|row| {
        let attempt = Attempt {
            job: JobId::from_uuid(row.id),
            number: row.attempt,
            spared: row.spared,
            most: row.most_attempts,
            stop: row.stop,
        };
        (row.firm_id, attempt)
    });
    Ok(held.collect())
}

/// Writes what comes after attempts that the transaction has locked. A job that waits again has its key only if no other
/// has taken it meanwhile.
async fn end_in_tx(
    connection: &mut PgConnection,
    ends: &[(Uuid, Attempt, After)],
    at: Timestamp,
) -> Result<(), AppError> {
    if ends.is_empty() {
        return Ok(());
    }
    let doing = "settling jobs";
    let mut keyless = false;
    loop {
        // A key that is taken between the look and the write is given up in the second try.
        let mut attempt = connection.begin().await.doing(doing)?;
        match write_ends(&mut attempt, ends, at, keyless).await {
            Ok(()) => return attempt.commit().await.doing(doing),
            Err(error) => {
                let taken = error.as_database_error().and_then(sqlx::error::DatabaseError::constraint)
                    == Some("jobs_once");
                if !taken || keyless {
                    return Err(error).doing(doing);
                }
                attempt.rollback().await.doing(doing)?;
                keyless = true;
            }
        }
    }
}

async fn write_ends(
    connection: &mut PgConnection,
    ends: &[(Uuid, Attempt, After)],
    at: Timestamp,
    keyless: bool,
) -> Result<(), sqlx::Error> {
    let state = |after: &After| match after {
        After::Done => "done",
        After::Cancelled { .. } => "cancelled",
        After::Waiting { .. } => "waiting",
        After::Dead { .. } => "dead",
    };
    let error = |after: &After| match after {
        After::Done => None,
        After::Cancelled { error } | After::Waiting { error, .. } => error.clone(),
        After::Dead { error } => Some(error.clone()),
    };
    let failure = |attempt: &Attempt, after: &After| {
        let error = error(after)?;
        let failure = Failure { attempt: attempt.number, at, error };
        serde_json::to_string(&failure).ok()
    };
    let run_at = |after: &After| match after {
        After::Waiting { run_at, .. } => Some(At(*run_at)),
        After::Done | After::Cancelled { .. } | After::Dead { .. } => None,
    };
    let spares = |after: &After| i32::from(matches!(after, After::Waiting { error: None, .. }));
    sqlx::query!(
        "update jobs
         set state = ended.state, run_at = coalesce(ended.run_at, jobs.run_at), spared = jobs.spared + ended.spares,
             ended_at = case ended.state when 'waiting' then null else $7::timestamptz end,
             owner_id = null, leased_until = null, stop = false,
             errors = case when ended.failure is null then jobs.errors else jobs.errors || ended.failure::jsonb end,
             unique_key = case when ended.loses_key then null else jobs.unique_key end,
             meeting = case when ended.loses_key then null else jobs.meeting end
         from (
             select told.id, told.firm_id, told.state, told.run_at, told.spares, told.failure,
                    told.state = 'waiting' and mine.unique_key is not null
                    and ($8 or row_number() over (partition by mine.firm_id, mine.kind, mine.unique_key, told.state
                                                  order by mine.number desc) > 1
                         or exists (select from jobs waits
                                    where waits.firm_id = mine.firm_id and waits.kind = mine.kind
                                      and waits.unique_key = mine.unique_key and waits.state = 'waiting')) as loses_key
             from unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::integer[], $6::text[])
                  as told (id, firm_id, state, run_at, spares, failure)
             join jobs mine on mine.id = told.id and mine.firm_id = told.firm_id
         ) ended
         where jobs.id = ended.id and jobs.firm_id = ended.firm_id",
        &column(ends, |(_, attempt, _)| attempt.job.uuid()),
        &column(ends, |(firm, _, _)| *firm),
        column(ends, |(_, _, after)| state(after)) as _,
        column(ends, |(_, _, after)| run_at(after)) as _,
        &column(ends, |(_, _, after)| spares(after)),
        column(ends, |(_, attempt, after)| failure(attempt, after)) as _,
        At(at) as _,
        keyless,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Errors as they are stored.
pub(crate) fn failures(errors: serde_json::Value) -> Result<Vec<Failure>, Inconsistent> {
    serde_json::from_value(errors).map_err(Inconsistent::from("jobs"))
}
