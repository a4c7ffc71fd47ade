//! What operators see and do about a firm's jobs.

use app::AppError;
use app::operations::{Cancelling, Dead, JobState, MOST_JOBS, OperationStore, Queue, StoredJob};
use app::trading::AuditEntry;
use async_trait::async_trait;
use kernel::{FirmId, JobId, Timestamp};
use uuid::Uuid;

use crate::error::Doing;
use crate::jobs::failures;
use crate::records::record_in_tx;
use crate::row::At;
use crate::{Inconsistent, Store, Tx};

#[async_trait]
impl OperationStore for Store {
    async fn queues(&self, firm: FirmId, now: Timestamp) -> Result<Vec<Queue>, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query!(
            r#"select coalesce(counted.queue, pauses.queue) as "name!", coalesce(waiting, 0) as "waiting!",
                      coalesce(running, 0) as "running!", coalesce(dead, 0) as "dead!", oldest as "oldest: At",
                      coalesce(pauses.paused, false) as "paused!"
               from (select queue, count(*) filter (where state = 'waiting') as waiting,
                            count(*) filter (where state = 'running') as running,
                            count(*) filter (where state = 'dead') as dead,
                            min(run_at) filter (where state = 'waiting' and run_at <= $2) as oldest
                     from jobs
                     where firm_id = $1 and state in ('waiting', 'running', 'dead')
                     group by queue) counted
               full join (select queue, true as paused from queue_pauses
                          where firm_id in ($1, '00000000-0000-0000-0000-000000000000')
                          group by queue) pauses
                    on pauses.queue = counted.queue
               order by 1"#,
            firm.uuid(),
            At(now) as _,
        )
        .fetch_all(tx.connection())
        .await
        .doing("counting jobs")?;
        let queues = rows.into_iter().map(|row| Queue {
            name: row.name,
            waiting: row.waiting,
            running: row.running,
            dead: row.dead,
            oldest: row.oldest.map(Timestamp::from),
            paused: row.paused,
        });
        Ok(queues.collect())
    }

    async fn jobs(
        &self,
        firm: FirmId,
        state: JobState,
        below: Option<i64>,
        most: i64,
    ) -> Result<Vec<StoredJob>, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query_as!(
            JobRow,
            r#"select id, number, queue, kind, payload, state, priority, run_at as "run_at: At", attempt, most_attempts,
                      stop, enqueued_at as "enqueued_at: At", ended_at as "ended_at: At", errors
               from jobs
               where firm_id = $1 and state = $2 and number < coalesce($3, 9223372036854775807)
               order by number desc limit $4"#,
            firm.uuid(),
            state.word(),
            below,
            most,
        )
        .fetch_all(tx.connection())
        .await
        .doing("reading jobs")?;
        rows.into_iter().map(|row| Ok(row.read()?)).collect()
    }

    async fn job(&self, firm: FirmId, id: JobId) -> Result<Option<StoredJob>, AppError> {
        let mut tx = self.begin(firm).await?;
        let row = sqlx::query_as!(
            JobRow,
            r#"select id, number, queue, kind, payload, state, priority, run_at as "run_at: At", attempt, most_attempts,
                      stop, enqueued_at as "enqueued_at: At", ended_at as "ended_at: At", errors
               from jobs where firm_id = $1 and id = $2"#,
            firm.uuid(),
            id.uuid(),
        )
        .fetch_optional(tx.connection())
        .await
        .doing("reading a job")?;
        row.map(|row| Ok(row.read()?)).transpose()
    }

    async fn cancel(
        &self,
        firm: FirmId,
        id: JobId,
        audit: &AuditEntry,
    ) -> Result<Option<Cancelling>, AppError> {
        let doing = "cancelling a job";
        let mut tx = self.begin(firm).await?;
        let state = sqlx::query_scalar!(
            "select state from jobs where firm_id = $1 and id = $2 for update",
            firm.uuid(),
            id.uuid(),
        )
        .fetch_optional(tx.connection())
        .await
        .doing(doing)?;
        let Some(state) = state else { return Ok(None) };
        let cancelling = match read_state(&state)? {
            JobState::Waiting => Cancelling::Cancelled,
            JobState::Running => Cancelling::Asked,
            state @ (JobState::Done | JobState::Dead | JobState::Cancelled) => {
                return Ok(Some(Cancelling::Over(state)));
            }
        };
        let now = cancelling == Cancelling::Cancelled;
        sqlx::query!(
            "update jobs set state = case when $3 then 'cancelled' else state end,
                             ended_at = case when $3 then $4::timestamptz end,
                             stop = not $3
             where firm_id = $1 and id = $2",
            firm.uuid(),
            id.uuid(),
            now,
            At(audit.at) as _,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        finish(tx, audit).await?;
        Ok(Some(cancelling))
    }

    async fn redrive(&self, firm: FirmId, dead: Dead<'_>, audit: &AuditEntry) -> Result<u64, AppError> {
        let (id, kind): (Option<Uuid>, Option<&str>) = match dead {
            Dead::One(id) => (Some(id.uuid()), None),
            Dead::Kind(kind) => (None, Some(kind)),
        };
        let mut tx = self.begin(firm).await?;
        // All attempts that it had cost nothing from now on; its key it has only if no other has taken it, and none of
        // those that are sent again with it needs it.
        let sent = sqlx::query!(
            "with again as (
                 select id, number, unique_key is not null
                            and (row_number() over (partition by kind, unique_key order by number desc) > 1
                                 or exists (select from jobs waits
                                            where waits.firm_id = $1 and waits.kind = picked.kind
                                              and waits.unique_key = picked.unique_key and waits.state = 'waiting'))
                            as loses_key
                 from (select id, number, kind, unique_key from jobs
                       where firm_id = $1 and state = 'dead' and ($2::uuid is null or id = $2)
                         and ($3::text is null or kind = $3)
                       order by number limit $5 for update) picked
             )
             update jobs
             set state = 'waiting', run_at = $4, ended_at = null, spared = attempt,
                 unique_key = case when again.loses_key then null else unique_key end,
                 meeting = case when again.loses_key then null else meeting end
             from again where jobs.firm_id = $1 and jobs.id = again.id",
            firm.uuid(),
            id,
            kind,
            At(audit.at) as _,
            MOST_JOBS,
        )
        .execute(tx.connection())
        .await
        .doing("sending dead jobs again")?
        .rows_affected();
        if sent > 0 {
            let audit = AuditEntry { detail: serde_json::json!({ "jobs": sent }), ..audit.clone() };
            finish(tx, &audit).await?;
        }
        Ok(sent)
    }

    async fn pause(&self, firm: FirmId, queue: &str, audit: &AuditEntry) -> Result<bool, AppError> {
        let mut tx = self.begin(firm).await?;
        let paused = sqlx::query!(
            "insert into queue_pauses (firm_id, queue, paused_at) values ($1, $2, $3)
             on conflict on constraint queue_pauses_key do nothing",
            firm.uuid(),
            queue,
            At(audit.at) as _,
        )
        .execute(tx.connection())
        .await
        .doing("pausing a queue")?;
        finish_if(tx, audit, paused.rows_affected()).await
    }

    async fn resume(&self, firm: FirmId, queue: &str, audit: &AuditEntry) -> Result<bool, AppError> {
        let mut tx = self.begin(firm).await?;
        let resumed =
            sqlx::query!("delete from queue_pauses where firm_id = $1 and queue = $2", firm.uuid(), queue)
                .execute(tx.connection())
                .await
                .doing("resuming a queue")?;
        finish_if(tx, audit, resumed.rows_affected()).await
    }
}

impl Store {
    /// Begins no job of a queue any longer, whosever; for the platform's own people.
    pub async fn pause_whole(&self, queue: &str, at: Timestamp) -> Result<(), AppError> {
        sqlx::query!(
            "insert into queue_pauses (firm_id, queue, paused_at)
             values ('00000000-0000-0000-0000-000000000000', $1, $2)
             on conflict on constraint queue_pauses_key do nothing",
            queue,
            At(at) as _,
        )
        .execute(&self.worker)
        .await
        .doing("pausing a queue")?;
        Ok(())
    }

    /// Begins them again, but for those of firms that paused their own.
    pub async fn resume_whole(&self, queue: &str) -> Result<(), AppError> {
        sqlx::query!(
            "delete from queue_pauses where firm_id = '00000000-0000-0000-0000-000000000000' and queue = $1",
            queue,
        )
        .execute(&self.worker)
        .await
        .doing("resuming a queue")?;
        Ok(())
    }

    /// Every queue over all firms and the platform's own jobs, for the operator's figures. `paused` says that the whole of it is.
    pub async fn all_queues(&self, now: Timestamp) -> Result<Vec<Queue>, AppError> {
        let rows = sqlx::query!(
            r#"select queue as "name!", count(*) filter (where state = 'waiting') as "waiting!",
                      count(*) filter (where state = 'running') as "running!",
                      count(*) filter (where state = 'dead') as "dead!",
                      min(run_at) filter (where state = 'waiting' and run_at <= $1) as "oldest: At",
                      exists (select from queue_pauses pauses
                              where pauses.queue = jobs.queue
                                and pauses.firm_id = '00000000-0000-0000-0000-000000000000') as "paused!"
               from jobs where state in ('waiting', 'running', 'dead') group by queue order by queue"#,
            At(now) as _,
        )
        .fetch_all(&self.worker)
        .await
        .doing("counting jobs")?;
        let queues = rows.into_iter().map(|row| Queue {
            name: row.name,
            waiting: row.waiting,
            running: row.running,
            dead: row.dead,
            oldest: row.oldest.map(Timestamp::from),
            paused: row.paused,
        });
        Ok(queues.collect())
    }
}

/// A row of `jobs` as operators see it.
struct JobRow {
    id: Uuid,
    number: i64,
    queue: String,
    kind: String,
    payload: serde_json::Value,
    state: String,
    priority: i16,
    run_at: At,
    attempt: i32,
    most_attempts: i16,
    stop: bool,
    enqueued_at: At,
    ended_at: Option<At>,
    errors: serde_json::Value,
}

impl JobRow {
    fn read(self) -> Result<StoredJob, Inconsistent> {
        Ok(StoredJob {
            id: JobId::from_uuid(self.id),
            number: self.number,
            queue: self.queue,
            kind: self.kind,
            payload: self.payload,
            state: read_state(&self.state)?,
            priority: self.priority,
            run_at: self.run_at.into(),
            attempt: self.attempt,
            most_attempts: self.most_attempts,
            stop: self.stop,
            enqueued_at: self.enqueued_at.into(),
            ended_at: self.ended_at.map(Timestamp::from),
            errors: failures(self.errors)?,
        })
    }
}

fn read_state(word: &str) -> Result<JobState, Inconsistent> {
    let found = JobState::ALL.into_iter().find(|state| state.word() == word);
    found.ok_or_else(|| Inconsistent::new("jobs", format!("{word:?} is no state")))
}

async fn finish(mut tx: Tx, audit: &AuditEntry) -> Result<(), AppError> {
    record_in_tx(tx.connection(), std::slice::from_ref(audit), &[]).await?;
    let _proof = tx.commit().await?;
    Ok(())
}

async fn finish_if(tx: Tx, audit: &AuditEntry, changed: u64) -> Result<bool, AppError> {
    if changed > 0 {
        finish(tx, audit).await?;
    }
    Ok(changed > 0)
}
