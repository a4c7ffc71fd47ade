//! Schedules: up to when each has fired, and every instant once.

use app::AppError;
use app::jobs::{Firing, NewJob, ScheduleStore};
use async_trait::async_trait;
use kernel::Timestamp;
use sqlx::PgConnection;

use crate::error::Doing;
use crate::jobs::enqueue_in_tx;
use crate::row::{At, column};
use crate::{Inconsistent, Store};

#[async_trait]
impl ScheduleStore for Store {
    async fn fired_until(&self, names: &[&str], now: Timestamp) -> Result<Vec<Timestamp>, AppError> {
        let doing = "reading the schedules";
        let mut tx = self.worker.begin().await.doing(doing)?;
        sqlx::query!(
            "insert into schedules (name, fired_until) select name, $2 from unnest($1::text[]) name
             on conflict on constraint schedules_key do nothing",
            names as _,
            At(now) as _,
        )
        .execute(&mut *tx)
        .await
        .doing(doing)?;
        let rows = sqlx::query_scalar!(
            r#"select fired_until as "fired_until: At" from unnest($1::text[]) with ordinality wanted (name, place)
               join schedules on schedules.name = wanted.name order by place"#,
            names as _,
        )
        .fetch_all(&mut *tx)
        .await
        .doing(doing)?;
        tx.commit().await.doing(doing)?;
        if rows.len() != names.len() {
            return Err(Inconsistent::new("schedules", "two schedules have one name").into());
        }
        Ok(rows.into_iter().map(Timestamp::from).collect())
    }

    async fn fire(&self, firing: Firing<'_>) -> Result<Option<usize>, AppError> {
        let doing = "firing a schedule";
        let mut tx = self.worker.begin().await.doing(doing)?;
        if !leads_in_tx(&mut tx, firing.lease, firing.token).await? {
            return Ok(None);
        }
        sqlx::query!(
            "update schedules set fired_until = $2 where name = $1",
            firing.schedule,
            At(firing.until) as _,
        )
        .execute(&mut *tx)
        .await
        .doing(doing)?;
        let new = sqlx::query_scalar!(
            r#"insert into schedule_firings (schedule, instant, token)
               select $1, instant, $3 from unnest($2::timestamptz[]) instant
               on conflict on constraint schedule_firings_key do nothing
               returning instant as "instant: At""#,
            firing.schedule,
            column(firing.jobs, |(instant, _)| At(*instant)) as _,
            firing.token,
        )
        .fetch_all(&mut *tx)
        .await
        .doing(doing)?;
        let new: Vec<Timestamp> = new.into_iter().map(Timestamp::from).collect();
        let jobs =
            firing.jobs.iter().filter(|(instant, _)| new.contains(instant)).map(|(_, job)| job.clone());
        let jobs: Vec<NewJob> = jobs.collect();
        enqueue_in_tx(&mut tx, &jobs, firing.at).await?;
        tx.commit().await.doing(doing)?;
        Ok(Some(jobs.len()))
    }
}

/// Whether a token is still that of a lease. If so nobody else can take the lease until the transaction ends.
async fn leads_in_tx(connection: &mut PgConnection, name: &str, token: i64) -> Result<bool, AppError> {
    let found = sqlx::query_scalar!(
        "select token from leases where name = $1 and token = $2 and owner_id is not null for update",
        name,
        token,
    )
    .fetch_optional(connection)
    .await
    .doing("asking who fires schedules")?;
    Ok(found.is_some())
}
