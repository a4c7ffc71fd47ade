//! What operators see and do about a firm's jobs and messages.

use app::AppError;
use app::events::Backlog;
use app::jobs::Failure;
use app::operations::{
    Cancelling, Dead, FailedMessage, JobState, MOST_JOBS, MOST_MESSAGES, MessagePlace, OperationStore, Queue,
    StoredJob,
};
use app::trading::AuditEntry;
use async_trait::async_trait;
use kernel::{FirmId, JobId, Timestamp};
use uuid::Uuid;

use crate::error::Doing;
use crate::jobs::failures;
use crate::records::finish;
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
            r#"select id, number, queue, kind, null::jsonb as payload, state, priority, run_at as "run_at: At", attempt,
                      most_attempts, stop, enqueued_at as "enqueued_at: At", ended_at as "ended_at: At", errors
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

    async fn job(
        &self,
        firm: FirmId,
        id: JobId,
        audit: Option<&AuditEntry>,
    ) -> Result<Option<StoredJob>, AppError> {
        let mut tx = self.begin(firm).await?;
        let row = sqlx::query_as!(
            JobRow,
            r#"select id, number, queue, kind, case when $3 then payload end as payload, state, priority,
                      run_at as "run_at: At", attempt, most_attempts, stop, enqueued_at as "enqueued_at: At",
                      ended_at as "ended_at: At", errors
               from jobs where firm_id = $1 and id = $2"#,
            firm.uuid(),
            id.uuid(),
            audit.is_some(),
        )
        .fetch_optional(tx.connection())
        .await
        .doing("reading a job")?;
        finish_reading(tx, audit.filter(|_| row.is_some())).await?;
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
        finish(tx, audit, &[]).await?;
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
            finish(tx, &audit, &[]).await?;
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

    async fn groups(&self, firm: FirmId) -> Result<Vec<Backlog>, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query!(
            r#"select name, waiting.count as "waiting!", waiting.oldest as "oldest: At",
                      failed.failing as "failing!", failed.dead as "dead!"
               from consumer_groups,
                    lateral (select count(*) as count, min(at) as oldest from outbox
                             where firm_id = $1 and id > settled_id and topic <> all (passes_over)
                               and not exists (select from inbox where group_name = name and message_id = id)
                               and not exists (select from failed_messages
                                               where group_name = name and message_id = id and dead_at is not null)) waiting,
                    lateral (select count(*) filter (where dead_at is null) as failing,
                                    count(*) filter (where dead_at is not null) as dead
                             from failed_messages where firm_id = $1 and group_name = name) failed
               order by name"#,
            firm.uuid(),
        )
        .fetch_all(tx.connection())
        .await
        .doing("counting what waits")?;
        let groups = rows.into_iter().map(|row| Backlog {
            group: row.name,
            waiting: row.waiting,
            oldest: row.oldest.map(Timestamp::from),
            failing: row.failing,
            dead: row.dead,
        });
        Ok(groups.collect())
    }

    async fn failed_messages(
        &self,
        firm: FirmId,
        group: Option<&str>,
        after: Option<&MessagePlace>,
        most: i64,
    ) -> Result<Vec<FailedMessage>, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query_as!(
            MessageRow,
            r#"select failed.group_name, failed.message_id, outbox.at as "at: At", outbox.aggregate, outbox.topic,
                      null::jsonb as payload, failed.attempts, failed.next_at as "next_at: At",
                      failed.dead_at as "dead_at: At", failed.sent_again_at as "sent_again_at: At", failed.errors
               from failed_messages failed
               join outbox on outbox.firm_id = failed.firm_id and outbox.id = failed.message_id
               where failed.firm_id = $1 and ($2::text is null or failed.group_name = $2)
                 and ($3::bigint is null or failed.message_id < $3
                      or failed.message_id = $3 and failed.group_name > $4::text)
               order by failed.message_id desc, failed.group_name limit $5"#,
            firm.uuid(),
            group,
            after.map(|place| place.id),
            after.map(|place| place.group.as_str()),
            most,
        )
        .fetch_all(tx.connection())
        .await
        .doing("reading failed messages")?;
        rows.into_iter().map(|row| Ok(row.read()?)).collect()
    }

    async fn failed_message(
        &self,
        firm: FirmId,
        group: &str,
        id: i64,
        audit: Option<&AuditEntry>,
    ) -> Result<Option<FailedMessage>, AppError> {
        let mut tx = self.begin(firm).await?;
        let row = sqlx::query_as!(
            MessageRow,
            r#"select failed.group_name, failed.message_id, outbox.at as "at: At", outbox.aggregate, outbox.topic,
                      case when $4 then outbox.payload end as payload, failed.attempts,
                      failed.next_at as "next_at: At", failed.dead_at as "dead_at: At",
                      failed.sent_again_at as "sent_again_at: At", failed.errors
               from failed_messages failed
               join outbox on outbox.firm_id = failed.firm_id and outbox.id = failed.message_id
               where failed.firm_id = $1 and failed.group_name = $2 and failed.message_id = $3"#,
            firm.uuid(),
            group,
            id,
            audit.is_some(),
        )
        .fetch_optional(tx.connection())
        .await
        .doing("reading a failed message")?;
        finish_reading(tx, audit.filter(|_| row.is_some())).await?;
        row.map(|row| Ok(row.read()?)).transpose()
    }

    async fn send_again(
        &self,
        firm: FirmId,
        group: &str,
        id: Option<i64>,
        audit: &AuditEntry,
    ) -> Result<u64, AppError> {
        let mut tx = self.begin(firm).await?;
        // When it is due is measured by the database's clock, as every pause of a message is.
        let sent = sqlx::query!(
            "update failed_messages
             set dead_at = null, attempts = 0, sent_again_at = $5, next_at = clock_timestamp()
             where firm_id = $1 and group_name = $2 and message_id in
                 (select message_id from failed_messages
                  where firm_id = $1 and group_name = $2 and dead_at is not null
                    and ($3::bigint is null or message_id = $3)
                  order by message_id limit $4 for update)",
            firm.uuid(),
            group,
            id,
            MOST_MESSAGES,
            At(audit.at) as _,
        )
        .execute(tx.connection())
        .await
        .doing("sending dead messages again")?
        .rows_affected();
        if sent > 0 {
            let audit = AuditEntry { detail: serde_json::json!({ "messages": sent }), ..audit.clone() };
            finish(tx, &audit, &[]).await?;
        }
        Ok(sent)
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
    payload: Option<serde_json::Value>,
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

/// A row of `failed_messages` with its message.
struct MessageRow {
    group_name: String,
    message_id: i64,
    at: At,
    aggregate: String,
    topic: String,
    payload: Option<serde_json::Value>,
    attempts: i32,
    next_at: At,
    dead_at: Option<At>,
    sent_again_at: Option<At>,
    errors: serde_json::Value,
}

/// An entry of `failed_messages.errors`.
#[derive(serde::Deserialize)]
struct MessageError {
    at: Timestamp,
    error: String,
}

impl MessageRow {
    fn read(self) -> Result<FailedMessage, Inconsistent> {
        let errors: Vec<MessageError> =
            serde_json::from_value(self.errors).map_err(Inconsistent::from("failed_messages"))?;
        let numbered = (1..).zip(errors);
        Ok(FailedMessage {
            group: self.group_name,
            id: self.message_id,
            at: self.at.into(),
            aggregate: self.aggregate,
            topic: self.topic,
            payload: self.payload,
            attempts: self.attempts,
            next_at: self.next_at.into(),
            dead_at: self.dead_at.map(Timestamp::from),
            sent_again_at: self.sent_again_at.map(Timestamp::from),
            errors: numbered
                .map(|(attempt, MessageError { at, error })| Failure { attempt, at, error })
                .collect(),
        })
    }
}

fn read_state(word: &str) -> Result<JobState, Inconsistent> {
    let found = JobState::ALL.into_iter().find(|state| state.word() == word);
    found.ok_or_else(|| Inconsistent::new("jobs", format!("{word:?} is no state")))
}

/// Ends a transaction that only read, but for the entry that it did.
async fn finish_reading(tx: Tx, audit: Option<&AuditEntry>) -> Result<(), AppError> {
    match audit {
        Some(audit) => finish(tx, audit, &[]).await,
        None => Ok(()),
    }
}

async fn finish_if(tx: Tx, audit: &AuditEntry, changed: u64) -> Result<bool, AppError> {
    if changed > 0 {
        finish(tx, audit, &[]).await?;
    }
    Ok(changed > 0)
}
