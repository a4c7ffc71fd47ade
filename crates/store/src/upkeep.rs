//! Rows that nobody needs any longer.

use app::AppError;
use app::upkeep::{Upkeep, UpkeepStore};
use async_trait::async_trait;
use kernel::{FirmId, Span, Timestamp};

use crate::error::Doing;
use crate::row::At;
use crate::{Inconsistent, Store};

/// The most rows that one statement removes.
const MOST_ROWS: i64 = 20_000;

/// What a provider said of nobody that we know is kept so long, byte by byte.
const NOBODYS_DAYS: u32 = 30;

#[async_trait]
impl UpkeepStore for Store {
    async fn keep_up(&self, upkeep: Upkeep, now: Timestamp) -> Result<u64, AppError> {
        let before = upkeep.before(now);
        let before = before.map_err(|error| AppError::bug("counting days")(Box::new(error)))?;
        match upkeep {
            Upkeep::Sessions => self.remove_sessions(before).await,
            Upkeep::Jobs => self.remove_jobs(before).await,
            Upkeep::Firings => self.remove_firings(before).await,
            Upkeep::Outbox => self.remove_outbox(before).await,
            Upkeep::Measurements => self.remove_measurements(before).await,
            Upkeep::RefusedQuotes => self.remove_refused_quotes(before).await,
            Upkeep::ProviderNotices => self.remove_provider_notices(before, now).await,
        }
    }
}

impl Store {
    /// Sessions are the firms', so each firm's are removed under the role of use cases.
    async fn remove_sessions(&self, before: Timestamp) -> Result<u64, AppError> {
        let doing = "removing expired sessions";
        let mut removed = 0_u64;
        for firm in self.all_firms(doing).await? {
            loop {
                let mut tx = self.begin(firm).await?;
                let part = sqlx::query!(
                    "delete from sessions where firm_id = $1 and token_hash in
                     (select token_hash from sessions where firm_id = $1 and expires_at < $2 order by expires_at limit $3)",
                    firm.uuid(),
                    At(before) as _,
                    MOST_ROWS,
                )
                .execute(tx.connection())
                .await
                .doing(doing)?
                .rows_affected();
                let _proof = tx.commit().await?;
                removed = removed.saturating_add(part);
                if !is_whole(part) {
                    break;
                }
            }
        }
        Ok(removed)
    }

    async fn all_firms(&self, doing: &'static str) -> Result<Vec<FirmId>, AppError> {
        let firms = sqlx::query_scalar!("select firm_id from firms").fetch_all(&self.worker).await;
        Ok(firms.doing(doing)?.into_iter().map(FirmId::from_uuid).collect())
    }

    async fn remove_jobs(&self, before: Timestamp) -> Result<u64, AppError> {
        let doing = "removing jobs that are over";
        let mut removed = 0_u64;
        // What was removed may still be in the index; the next part begins behind it.
        let mut from = Timestamp::EPOCH;
        loop {
            let part = sqlx::query!(
                r#"with gone as (
                       delete from jobs where (id, firm_id) in
                       (select id, firm_id from jobs
                        where state in ('done', 'cancelled') and ended_at >= $1 and ended_at < $2
                        order by ended_at limit $3)
                       returning ended_at
                   )
                   select count(*) as "count!", max(ended_at) as "last: At" from gone"#,
                At(from) as _,
                At(before) as _,
                MOST_ROWS,
            )
            .fetch_one(&self.worker)
            .await
            .doing(doing)?;
            let count = u64::try_from(part.count).map_err(Inconsistent::from("jobs"))?;
            removed = removed.saturating_add(count);
            from = part.last.map_or(from, Timestamp::from);
            if !is_whole(count) {
                return Ok(removed);
            }
        }
    }

    async fn remove_firings(&self, before: Timestamp) -> Result<u64, AppError> {
        let removed = sqlx::query!("delete from schedule_firings where instant < $1", At(before) as _)
            .execute(&self.worker)
            .await
            .doing("removing firings of schedules")?;
        Ok(removed.rows_affected())
    }

    async fn remove_measurements(&self, before: Timestamp) -> Result<u64, AppError> {
        let removed = sqlx::query!(
            "delete from account_latencies where day < ($1::timestamptz at time zone 'UTC')::date",
            At(before) as _,
        )
        .execute(&self.worker)
        .await
        .doing("removing old measurements")?;
        Ok(removed.rows_affected())
    }

    async fn remove_refused_quotes(&self, before: Timestamp) -> Result<u64, AppError> {
        let removed = sqlx::query!("delete from refused_quotes where at < $1", At(before) as _)
            .execute(&self.worker)
            .await
            .doing("removing quotes that were kept out")?;
        Ok(removed.rows_affected())
    }

    /// What was said of nobody that we know is emptied before: no erasure would find it.
    async fn remove_provider_notices(&self, before: Timestamp, now: Timestamp) -> Result<u64, AppError> {
        let doing = "emptying old events of providers";
        let emptied = Span::from_days(NOBODYS_DAYS).and_then(|days| now.before(days));
        let emptied = emptied.map_err(|error| AppError::bug("counting days")(Box::new(error)))?;
        for firm in self.all_firms(doing).await? {
            let mut tx = self.begin(firm).await?;
            sqlx::query!(
                "update provider_notices set body = null
                 where firm_id = $1 and received_at < $2 and body is not null and person_id is null and state <> 'waiting'",
                firm.uuid(),
                At(emptied) as _,
            )
            .execute(tx.connection())
            .await
            .doing(doing)?;
            let _proof = tx.commit().await?;
        }
        let removed = sqlx::query!(
            "delete from provider_notices where received_at < $1 and state in ('done', 'kept')",
            At(before) as _,
        )
        .execute(&self.worker)
        .await
        .doing("removing old events of providers")?;
        Ok(removed.rows_affected())
    }

    /// Never what a group has not settled, nor what the relay does not know, nor what somebody may send again. Without any
    /// group nothing goes.
    async fn remove_outbox(&self, before: Timestamp) -> Result<u64, AppError> {
        let mut removed = 0_u64;
        loop {
            let part = sqlx::query!(
                "delete from outbox where (id, firm_id) in
                 (select outbox.id, outbox.firm_id from outbox
                  where outbox.id <= (select least(max(known_id), coalesce((select min(settled_id) from consumer_groups), 0))
                                      from relay)
                    and outbox.at < $1
                    and not exists (select from failed_messages failed
                                    where failed.message_id = outbox.id and failed.firm_id = outbox.firm_id)
                  order by outbox.id limit $2)",
                At(before) as _,
                MOST_ROWS,
            )
            .execute(&self.worker)
            .await
            .doing("removing messages that everybody has taken")?
            .rows_affected();
            removed = removed.saturating_add(part);
            if !is_whole(part) {
                return Ok(removed);
            }
        }
    }
}

/// Whether a part was as large as it may be, so that more may follow.
fn is_whole(part: u64) -> bool {
    i64::try_from(part).is_ok_and(|part| part >= MOST_ROWS)
}
