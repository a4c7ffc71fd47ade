//! Who owns which shard. All times are the database's; about leases from before its clock was set back see `leadership`.

use app::trading::{LeaseStore, Leases, ShardError};
use async_trait::async_trait;
use kernel::{OwnerId, Span, Timestamp};

use crate::error::storage;
use crate::row::At;
use crate::{Inconsistent, Store};

#[async_trait]
impl LeaseStore for Store {
    async fn shards(&self, at_first: i16) -> Result<i16, ShardError> {
        // Of two that start at the same moment one writes nothing and does not see in the same statement what the other wrote.
        sqlx::query!(
            "insert into shards (id, epoch, seq, quote_position, mark_position, at)
             select id, 0, 0, 0, 0, $2 from generate_series(0, $1::int - 1) id
             where not exists (select from shards)
             on conflict on constraint shards_key do nothing",
            i32::from(at_first),
            At(Timestamp::EPOCH) as _,
        )
        .execute(&self.engine)
        .await
        .map_err(storage)?;
        let shards = sqlx::query_scalar!(r#"select count(*) as "shards!" from shards"#)
            .fetch_one(&self.engine)
            .await
            .map_err(storage)?;
        Ok(i16::try_from(shards).map_err(Inconsistent::from("shards"))?)
    }

    async fn lease(&self, owner: OwnerId, held: &[i16], length: Span) -> Result<Leases, ShardError> {
        let length = length.micros();
        let mut tx = self.engine.begin().await.map_err(storage)?;
        sqlx::query!(
            "insert into shard_owners (id, seen_until)
             values ($1, clock_timestamp() + $2::bigint * interval '1 microsecond')
             on conflict on constraint shard_owners_key do update set seen_until = excluded.seen_until",
            owner.uuid(),
            length,
        )
        .execute(&mut *tx)
        .await
        .map_err(storage)?;
        sqlx::query!(
            "delete from shard_owners
             where id <> $1 and not tradesense_is_leased(seen_until)",
            owner.uuid(),
        )
        .execute(&mut *tx)
        .await
        .map_err(storage)?;
        let kept = sqlx::query_scalar!(
            "update shards set leased_until = clock_timestamp() + $3::bigint * interval '1 microsecond'
             where owner_id = $1 and id = any($2)
             returning id",
            owner.uuid(),
            held,
            length,
        )
        .fetch_all(&mut *tx)
        .await
        .map_err(storage)?;
        let share = sqlx::query_scalar!(
            r#"select ceil((select count(*) from shards)::numeric / (select count(*) from shard_owners))::bigint
                      as "share!""#
        )
        .fetch_one(&mut *tx)
        .await
        .map_err(storage)?;
        let share = usize::try_from(share).map_err(Inconsistent::from("shard_owners"))?;
        // Of what it is leased but does not run it lets go by claiming it anew.
        let claimed = sqlx::query_scalar!(
            "update shards set owner_id = $1, leased_until = clock_timestamp() + $4::bigint * interval '1 microsecond'
             where id in (select id from shards
                          where (owner_id is null or owner_id = $1 or not tradesense_is_leased(leased_until))
                            and id <> all($2)
                          order by id limit $3
                          for update skip locked)
             returning id",
            owner.uuid(),
            &kept,
            i64::try_from(share.saturating_sub(kept.len())).unwrap_or(i64::MAX),
            length,
        )
        .fetch_all(&mut *tx)
        .await
        .map_err(storage)?;
        tx.commit().await.map_err(storage)?;
        let sorted = |mut shards: Vec<i16>| {
            shards.sort_unstable();
            shards
        };
        Ok(Leases { kept: sorted(kept), claimed: sorted(claimed), share })
    }

    async fn release(&self, owner: OwnerId, shard: i16) -> Result<(), ShardError> {
        sqlx::query!(
            "update shards set owner_id = null, leased_until = null where owner_id = $1 and id = $2",
            owner.uuid(),
            shard,
        )
        .execute(&self.engine)
        .await
        .map_err(storage)?;
        Ok(())
    }

    async fn leave(&self, owner: OwnerId) -> Result<(), ShardError> {
        let mut tx = self.engine.begin().await.map_err(storage)?;
        sqlx::query!(
            "update shards set owner_id = null, leased_until = null where owner_id = $1",
            owner.uuid(),
        )
        .execute(&mut *tx)
        .await
        .map_err(storage)?;
        sqlx::query!("delete from shard_owners where id = $1", owner.uuid())
            .execute(&mut *tx)
            .await
            .map_err(storage)?;
        tx.commit().await.map_err(storage)
    }
}
