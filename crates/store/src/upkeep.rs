//! Rows that nobody needs any longer.

use app::AppError;
use kernel::{FirmId, Span, Timestamp};

use crate::error::Doing;
use crate::row::At;
use crate::{Inconsistent, Store};

/// The most rows that one statement removes.
const MOST_ROWS: i64 = 20_000;

/// A kind of rows that is removed in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Upkeep {
    /// Sessions that have expired.
    Sessions,
    /// Jobs that are done or cancelled, a day later.
    Jobs,
    /// Firings of schedules, 30 days later.
    Firings,
    /// What groups have taken and settled, a day after they settled it.
    Inbox,
    /// Messages that every group has settled, 7 days after they were written.
    Outbox,
}

impl Upkeep {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Sessions, Self::Jobs, Self::Firings, Self::Inbox, Self::Outbox];

    /// The word in payloads and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Sessions => "sessions",
            Self::Jobs => "jobs",
            Self::Firings => "firings",
            Self::Inbox => "inbox",
            Self::Outbox => "outbox",
        }
    }

    /// Of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|upkeep| upkeep.word() == word)
    }

    /// How long such rows are kept after they were needed last.
    fn kept(self) -> Result<Span, AppError> {
        let days = match self {
            Self::Sessions => 0,
            Self::Jobs | Self::Inbox => 1,
            Self::Outbox => 7,
            Self::Firings => 30,
        };
        Span::from_days(days).map_err(|error| AppError::bug("counting days")(Box::new(error)))
    }
}

impl Store {
    /// Removes rows of one kind that nobody needs any longer, in parts; gives how many. What was removed before an error
    /// stays removed.
    pub async fn keep_up(&self, upkeep: Upkeep, now: Timestamp) -> Result<u64, AppError> {
        let before = now.before(upkeep.kept()?);
        let before = before.map_err(|error| AppError::bug("counting days")(Box::new(error)))?;
        match upkeep {
            Upkeep::Sessions => self.remove_sessions(before).await,
            Upkeep::Jobs => self.remove_jobs(before).await,
            Upkeep::Firings => self.remove_firings(before).await,
            Upkeep::Inbox => self.remove_inbox(before).await,
            Upkeep::Outbox => self.remove_outbox(before).await,
        }
    }

    /// Sessions are the firms', so each firm's are removed under the role of use cases.
    async fn remove_sessions(&self, before: Timestamp) -> Result<u64, AppError> {
        let doing = "removing expired sessions";
        let firms =
            sqlx::query_scalar!("select firm_id from firms").fetch_all(&self.worker).await.doing(doing)?;
        let mut removed = 0_u64;
        for firm in firms {
            loop {
                let mut tx = self.begin(FirmId::from_uuid(firm)).await?;
                let part = sqlx::query!(
                    "delete from sessions where firm_id = $1 and token_hash in
                     (select token_hash from sessions where firm_id = $1 and expires_at < $2 order by expires_at limit $3)",
                    firm,
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

    /// Only what was settled so long ago that no transaction goes by it any longer.
    async fn remove_inbox(&self, before: Timestamp) -> Result<u64, AppError> {
        let mut removed = 0_u64;
        loop {
            let part = sqlx::query!(
                "delete from inbox where (group_name, message_id, firm_id) in
                 (select inbox.group_name, inbox.message_id, inbox.firm_id
                  from consumer_groups join inbox on inbox.group_name = consumer_groups.name
                                                 and inbox.message_id <= consumer_groups.settled_id
                  where consumer_groups.settled_at < $1 limit $2)",
                At(before) as _,
                MOST_ROWS,
            )
            .execute(&self.worker)
            .await
            .doing("removing what was settled")?
            .rows_affected();
            removed = removed.saturating_add(part);
            if !is_whole(part) {
                return Ok(removed);
            }
        }
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
