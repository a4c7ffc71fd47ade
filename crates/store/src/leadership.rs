//! Who does what only one may do at a time. All times are the database's. A lease that runs for longer than a minute was
//! written before the database's clock was set back, and is free.

use std::collections::BTreeMap;

use app::AppError;
use app::leadership::Leadership;
use async_trait::async_trait;
use kernel::{OwnerId, Span};
use sqlx::PgConnection;

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
        let doing = "leasing";
        let mut tx = self.worker.begin().await.doing(doing)?;
        sqlx::query!(
            "with gone as (delete from lease_seekers where owner_id <> $1
                             and not tradesense_is_leased(seen_until)),
                  known as (insert into leases (name, token) select wanted, 0 from unnest($2::text[]) wanted
                            where not exists (select from leases where name = wanted)
                            on conflict on constraint leases_key do nothing)
             insert into lease_seekers (owner_id, names, seen_until)
             values ($1, $2, clock_timestamp() + $3::bigint * interval '1 microsecond')
             on conflict on constraint lease_seekers_key
             do update set names = excluded.names, seen_until = excluded.seen_until",
            owner.uuid(),
            names,
            length.micros(),
        )
        .execute(&mut *tx)
        .await
        .doing(doing)?;
        let held = take_share(&mut tx, owner, names, length).await.doing(doing)?;
        tx.commit().await.doing(doing)?;
        Ok(held)
    }

    async fn give_up(&self, owner: OwnerId, names: &[String]) -> Result<(), AppError> {
        sqlx::query!(
            "with seeks_no_more as (delete from lease_seekers where owner_id = $1)
             update leases set owner_id = null, leased_until = null where owner_id = $1 and name = any($2)",
            owner.uuid(),
            names,
        )
        .execute(&self.worker)
        .await
        .doing("giving leases back")?;
        Ok(())
    }
}

/// Keeps of each kind what the owner has, up to its share, and takes what is free up to there; lets go of the rest.
async fn take_share(
    tx: &mut PgConnection,
    owner: OwnerId,
    names: &[String],
    length: Span,
) -> Result<BTreeMap<String, i64>, sqlx::Error> {
    // In one order, so that two who want the same do not wait for each other; whoever is just busy with a name has it.
    let held = sqlx::query!(
        r#"with sought as (
             select split_part(name, ':', 1) as kind, count(distinct name) as names, count(distinct owner_id) as owners
             from lease_seekers, unnest(names) name
             group by 1
         ), ranked as (
             select name,
                    row_number() over (partition by kind order by owner_id is not distinct from $1 desc, name)
                        <= ceil(sought.names::numeric / sought.owners) as ours
             from leases join sought on sought.kind = split_part(name, ':', 1)
             where name = any($2) and (owner_id is null or owner_id = $1
                    or not tradesense_is_leased(leased_until))
         ), free as (
             select name, ours
             from leases join ranked using (name)
             where owner_id is null or owner_id = $1
                or not tradesense_is_leased(leased_until)
             order by name
             for update of leases skip locked
         )
         update leases
         set token = token + (ours and owner_id is distinct from $1)::int,
             owner_id = case when ours then $1 end,
             leased_until = case when ours then clock_timestamp() + $3::bigint * interval '1 microsecond' end
         from free where leases.name = free.name
         returning leases.name, token, ours as "ours!""#,
        owner.uuid(),
        names,
        length.micros(),
    )
    .fetch_all(tx)
    .await?;
    Ok(held.into_iter().filter(|row| row.ours).map(|row| (row.name, row.token)).collect())
}
