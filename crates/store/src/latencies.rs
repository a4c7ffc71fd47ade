//! How long it took, by account and day.

use app::AppError;
use app::latency::{ByAccount, LatencyStore};
use async_trait::async_trait;

use crate::error::Doing;
use crate::row::column;
use crate::{Inconsistent, Store};

/// A crash may take the last of them.
const BEGIN: &str = "begin; set local synchronous_commit = off";

#[async_trait]
impl LatencyStore for Store {
    async fn add(&self, latencies: &ByAccount) -> Result<(), AppError> {
        let table = "account_latencies";
        let mut rows = Vec::new();
        for (kind, histogram) in latencies.iter() {
            let longest = histogram.longest_us();
            rows.extend(histogram.buckets().map(|(bucket, count)| (kind, bucket, count, longest)));
        }
        let mut buckets = Vec::with_capacity(rows.len());
        let mut counts = Vec::with_capacity(rows.len());
        let mut longest = Vec::with_capacity(rows.len());
        for (_, bucket, count, most) in &rows {
            buckets.push(i16::try_from(*bucket).map_err(Inconsistent::from(table))?);
            counts.push(i64::try_from(*count).map_err(Inconsistent::from(table))?);
            longest.push(i64::try_from(*most).map_err(Inconsistent::from(table))?);
        }
        let mut tx = self.engine.begin_with(BEGIN).await.doing("storing latencies")?;
        sqlx::query!(
            "insert into account_latencies as old (firm_id, account_id, day, received, until, bucket, count, longest_us)
             select firm_id, account_id, date '1970-01-01' + day, received, until, bucket, count, longest_us
             from unnest($1::uuid[], $2::uuid[], $3::int[], $4::text[], $5::text[], $6::smallint[], $7::bigint[],
                         $8::bigint[])
                  as counted (firm_id, account_id, day, received, until, bucket, count, longest_us)
             on conflict on constraint account_latencies_key do update
             set count = old.count + excluded.count, longest_us = greatest(old.longest_us, excluded.longest_us)",
            &column(&rows, |(kind, ..)| kind.firm.uuid()),
            &column(&rows, |(kind, ..)| kind.account.uuid()),
            &column(&rows, |(kind, ..)| kind.day),
            column(&rows, |(kind, ..)| kind.received.word()) as _,
            column(&rows, |(kind, ..)| kind.until.word()) as _,
            &buckets,
            &counts,
            &longest,
        )
        .execute(&mut *tx)
        .await
        .doing("storing latencies")?;
        tx.commit().await.doing("storing latencies")
    }
}
