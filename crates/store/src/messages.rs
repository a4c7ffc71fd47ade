//! The outbox as the relay reads it, and what became of its messages.

use app::AppError;
use app::events::{Backlog, Failed, Message, MessageStore, Outbox};
use async_trait::async_trait;
use kernel::FirmId;
use serde_json::Value;
use uuid::Uuid;

use crate::error::Doing;
use crate::row::At;
use crate::{Inconsistent, Store};

/// Tried so often, then dead. The pauses double from one second: a bit more than an hour in all.
const MOST_ATTEMPTS: i32 = 12;

struct Row {
    id: i64,
    firm_id: Uuid,
    at: At,
    aggregate: String,
    topic: String,
    version: i16,
    payload: Value,
    trace: Option<String>,
}

impl From<Row> for Message {
    fn from(row: Row) -> Self {
        let Row { id, firm_id, at, aggregate, topic, version, payload, trace } = row;
        Self { id, firm: FirmId::from_uuid(firm_id), at: at.0, aggregate, topic, version, payload, trace }
    }
}

#[async_trait]
impl MessageStore for Store {
    async fn known(&self) -> Result<i64, AppError> {
        sqlx::query_scalar!("select known_id from relay")
            .fetch_one(&self.worker)
            .await
            .doing("reading where the relay is")
    }

    async fn set_known(&self, id: i64, token: i64) -> Result<bool, AppError> {
        let moved = sqlx::query!(
            "update relay set known_id = greatest(known_id, $1), token = $2 where token <= $2",
            id,
            token
        )
        .execute(&self.worker)
        .await
        .doing("writing where the relay is")?;
        Ok(moved.rows_affected() > 0)
    }

    async fn outbox(&self, after: i64, gaps: &[i64], most: i64) -> Result<Outbox, AppError> {
        // Read before the rows: a transaction that is not among those running here shows its rows below, or never.
        let running = sqlx::query!(
            r#"select pg_snapshot_xmin(now.snapshot)::text as "oldest!", pg_snapshot_xmax(now.snapshot)::text as "next!"
               from (select pg_current_snapshot() as snapshot) now"#
        )
        .fetch_one(&self.worker)
        .await
        .doing("reading which transactions run")?;
        let rows = sqlx::query_as!(
            Row,
            r#"(select id as "id!", firm_id as "firm_id!", at as "at!: At", aggregate as "aggregate!", topic as "topic!",
                       version as "version!", payload as "payload!", trace
                from outbox where id = any($2))
               union all
               (select id, firm_id, at, aggregate, topic, version, payload, trace
                from outbox where id > $1 order by id limit $3)"#,
            after,
            gaps,
            most,
        )
        .fetch_all(&self.worker)
        .await
        .doing("reading the outbox")?;
        let mut messages: Vec<Message> = rows.into_iter().map(Message::from).collect();
        messages.sort_by_key(|message| message.id);
        let number = |text: &str| text.parse::<u64>().map_err(Inconsistent::from("pg_current_snapshot"));
        Ok(Outbox {
            messages,
            oldest_running: number(&running.oldest)?,
            next_transaction: number(&running.next)?,
        })
    }

    async fn join(&self, group: &str, passes_over: &[&str]) -> Result<(), AppError> {
        sqlx::query!(
            "insert into consumer_groups (name, settled_id, settled_at, passes_over)
             select $1, known_id, clock_timestamp(), $2 from relay
             on conflict on constraint consumer_groups_key do update set passes_over = excluded.passes_over
             where consumer_groups.passes_over <> excluded.passes_over",
            group,
            passes_over as _,
        )
        .execute(&self.worker)
        .await
        .doing("joining the messages")?;
        Ok(())
    }

    async fn groups(&self) -> Result<Vec<String>, AppError> {
        sqlx::query_scalar!("select name from consumer_groups order by name")
            .fetch_all(&self.worker)
            .await
            .doing("reading who takes messages")
    }

    async fn missing(&self, group: &str, after: i64, to: i64, most: i64) -> Result<Vec<Message>, AppError> {
        let rows = sqlx::query_as!(
            Row,
            r#"select id, firm_id, at as "at: At", aggregate, topic, version, payload, trace
               from outbox
               where id > greatest($2, (select settled_id from consumer_groups where name = $1))
                 and id <= $3
                 and topic <> all (select unnest(passes_over) from consumer_groups where name = $1)
                 and not exists (select from inbox where group_name = $1 and message_id = id)
                 and not exists (select from failed_messages where group_name = $1 and message_id = id)
               order by id
               limit $4"#,
            group,
            after,
            to,
            most,
        )
        .fetch_all(&self.worker)
        .await
        .doing("looking for messages that were lost")?;
        Ok(rows.into_iter().map(Message::from).collect())
    }

    async fn due_again(&self, most: i64) -> Result<Vec<Message>, AppError> {
        let rows = sqlx::query_as!(
            Row,
            r#"with due as (
                   update failed_messages set next_at = clock_timestamp() + interval '1 minute'
                   where (group_name, message_id, firm_id) in (
                       select group_name, message_id, firm_id from failed_messages
                       where dead_at is null and next_at <= clock_timestamp()
                       order by next_at limit $1
                       for update skip locked)
                   returning message_id
               )
               select id, firm_id, at as "at: At", aggregate, topic, version, payload, trace
               from outbox where id in (select message_id from due)
               order by id"#,
            most,
        )
        .fetch_all(&self.worker)
        .await
        .doing("looking for messages to be tried again")?;
        Ok(rows.into_iter().map(Message::from).collect())
    }

    async fn fail(&self, failed: Failed<'_>) -> Result<bool, AppError> {
        sqlx::query_scalar!(
            r#"insert into failed_messages as f (firm_id, group_name, message_id, attempts, errors, next_at)
               values ($1, $2, $3, 1, jsonb_build_array(jsonb_build_object('at', clock_timestamp(), 'error', $4::text)),
                       clock_timestamp() + interval '1 second')
               on conflict on constraint failed_messages_key do update set
                   attempts = f.attempts + 1,
                   errors = f.errors || excluded.errors,
                   next_at = clock_timestamp() + least(2 ^ f.attempts, 3600) * interval '1 second',
                   dead_at = case when f.attempts + 1 >= $5 then clock_timestamp() end
               returning dead_at is not null as "dead!""#,
            failed.firm.uuid(),
            failed.group,
            failed.message,
            failed.error,
            MOST_ATTEMPTS,
        )
        .fetch_one(&self.worker)
        .await
        .doing("writing down a failed message")
    }

    async fn settle(&self, group: &str) -> Result<(), AppError> {
        let mut tx = self.worker.begin().await.doing("settling messages")?;
        // One at a time, and no sooner than every transaction that went by the last place has ended.
        let settled = sqlx::query_scalar!(
            "select settled_id from consumer_groups
             where name = $1 and settled_at < clock_timestamp() - interval '1 minute'
             for update skip locked",
            group,
        )
        .fetch_optional(&mut *tx)
        .await
        .doing("settling messages")?;
        let Some(settled) = settled else { return Ok(()) };
        sqlx::query!("delete from inbox where group_name = $1 and message_id <= $2", group, settled)
            .execute(&mut *tx)
            .await
            .doing("forgetting what was taken")?;
        sqlx::query!(
            "update consumer_groups
             set settled_at = clock_timestamp(),
                 settled_id = greatest($2, coalesce(
                     (select min(id) - 1 from outbox
                      where id > $2 and id <= (select known_id from relay)
                        and topic <> all (select unnest(passes_over) from consumer_groups where name = $1)
                        and not exists (select from inbox where group_name = $1 and message_id = id)
                        and not exists (select from failed_messages
                                        where group_name = $1 and message_id = id and dead_at is not null)),
                     (select known_id from relay)))
             where name = $1",
            group,
            settled,
        )
        .execute(&mut *tx)
        .await
        .doing("settling messages")?;
        tx.commit().await.doing("settling messages")
    }

    async fn backlogs(&self) -> Result<Vec<Backlog>, AppError> {
        let rows = sqlx::query!(
            r#"select name, waiting.count as "waiting!", waiting.oldest as "oldest: At",
                      failed.failing as "failing!", failed.dead as "dead!"
               from consumer_groups,
                    lateral (select count(*) as count, min(at) as oldest from outbox
                             where id > settled_id and topic <> all (passes_over)
                               and not exists (select from inbox where group_name = name and message_id = id)
                               and not exists (select from failed_messages
                                               where group_name = name and message_id = id and dead_at is not null)) waiting,
                    lateral (select count(*) filter (where dead_at is null) as failing,
                                    count(*) filter (where dead_at is not null) as dead
                             from failed_messages where group_name = name) failed
               order by name"#
        )
        .fetch_all(&self.worker)
        .await
        .doing("counting what waits")?;
        let backlogs = rows.into_iter().map(|row| Backlog {
            group: row.name,
            waiting: row.waiting,
            oldest: row.oldest.map(|at| at.0),
            failing: row.failing,
            dead: row.dead,
        });
        Ok(backlogs.collect())
    }
}

impl Store {
    /// How many ids the outbox is ahead of the place up to which the relay knows every message.
    pub async fn relay_lag(&self) -> Result<i64, AppError> {
        sqlx::query_scalar!(
            r#"select greatest(coalesce((select max(id) from outbox), 0) - known_id, 0) as "lag!" from relay"#
        )
        .fetch_one(&self.worker)
        .await
        .doing("measuring how far the relay is behind")
    }
}
