//! Who does what only one may do at a time. All times are the database's.

use std::collections::BTreeMap;

use app::AppError;
use app::leadership::Leadership;
use async_trait::async_trait;
use kernel::{OwnerId, Span};

use crate::Store;
use crate::error::Doing;

#[async_trait]
impl Leadership for Store {
    async fn lead(
        &self,
        owner: OwnerId,
        names: &[String],
        length: Span,
    ) -> Result<BTreeMap<String, i64>, AppError> {
        let mut held = self.take_free(owner, names, length).await?;
        if held.len() < names.len() {
            let new = sqlx::query!(
                "insert into leases (name, token) select name, 0 from unnest($1::text[]) name
                 on conflict on constraint leases_key do nothing",
                names
            )
            .execute(&self.worker)
            .await
            .doing("leasing")?;
            if new.rows_affected() > 0 {
                held = self.take_free(owner, names, length).await?;
            }
        }
        Ok(held)
    }

    async fn give_up(&self, owner: OwnerId, names: &[String]) -> Result<(), AppError> {
        sqlx::query!(
            "update leases set owner_id = null, leased_until = null where owner_id = $1 and name = any($2)",
            owner.uuid(),
            names,
        )
        .execute(&self.worker)
        .await
        .doing("giving leases back")?;
        Ok(())
    }
}

impl Store {
    async fn take_free(
        &self,
        owner: OwnerId,
        names: &[String],
        length: Span,
    ) -> Result<BTreeMap<String, i64>, AppError> {
        // In one order, so that two who want the same do not wait for each other; whoever is just busy with a name has it.
        let held = sqlx::query!(
            "with free as (
                 select name from leases
                 where name = any($2) and (owner_id is null or owner_id = $1 or leased_until < clock_timestamp())
                 order by name
                 for update skip locked
             )
             update leases
             set token = token + (owner_id is distinct from $1)::int,
                 owner_id = $1,
                 leased_until = clock_timestamp() + $3::bigint * interval '1 microsecond'
             from free where leases.name = free.name
             returning leases.name, token",
            owner.uuid(),
            names,
            length.micros(),
        )
        .fetch_all(&self.worker)
        .await
        .doing("leasing")?;
        Ok(held.into_iter().map(|row| (row.name, row.token)).collect())
    }
}
