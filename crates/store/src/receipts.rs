//! Receipts: what is due, and the signed texts.

use std::collections::HashMap;

use app::AppError;
use app::latency::{OfDay, day_of};
use app::receipts::{Due, Issued, ReceiptStore, SetAside};
use async_trait::async_trait;
use kernel::{AccountId, FirmId};

use sqlx::PgPool;
use uuid::Uuid;

use crate::Store;
use crate::error::Doing;
use crate::row::{At, LatencyRow, column, counter};
use crate::shard::read_evidence;

#[async_trait]
impl ReceiptStore for Store {
    async fn due(&self, limit: i64) -> Result<Vec<Due>, AppError> {
        let doing = "reading verdicts without a receipt";
        let rows = sqlx::query!(
            r#"select verdicts.firm_id, verdicts.account_id, verdicts.at as "at: At",
                      verdicts.decided_at as "decided_at: At", verdicts.number, verdicts.evidence,
                      verdicts.digest, program_versions.body
               from receipts_due
               join verdicts using (firm_id, account_id, number)
               join accounts on accounts.firm_id = verdicts.firm_id and accounts.id = verdicts.account_id
               join program_versions on program_versions.firm_id = accounts.firm_id
                                    and program_versions.version = accounts.version
               where receipts_due.failed_at is null
               order by verdicts.at, verdicts.account_id, verdicts.number
               limit $1"#,
            limit,
        )
        .fetch_all(&self.engine)
        .await
        .doing(doing)?;
        let of: Vec<_> =
            rows.iter().map(|row| (row.firm_id, row.account_id, day_of(row.at.into()))).collect();
        let mut latencies = days(&self.engine, &of).await?;
        let mut due = Vec::with_capacity(rows.len());
        for (row, of) in rows.into_iter().zip(of) {
            let (firm, account) = (FirmId::from_uuid(row.firm_id), AccountId::from_uuid(row.account_id));
            let at = row.at.into();
            let digest = row.digest.try_into().unwrap_or_default();
            let verdict = read_evidence(firm, account, at, &row.evidence, digest);
            due.push(Due {
                firm,
                account,
                number: counter("receipts_due", row.number)?,
                at,
                decided_at: row.decided_at.into(),
                program: row.body,
                latencies: latencies.remove(&of).unwrap_or_default(),
                verdict: verdict.map_err(Into::into),
            });
        }
        Ok(due)
    }

    async fn set_aside(&self, failed: &[SetAside]) -> Result<(), AppError> {
        sqlx::query!(
            "update receipts_due set failed_at = failed.at, fault = failed.fault
             from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[], $5::text[])
                  as failed (firm_id, account_id, number, at, fault)
             where receipts_due.firm_id = failed.firm_id and receipts_due.account_id = failed.account_id
               and receipts_due.number = failed.number",
            &column(failed, |due| due.firm.uuid()),
            &column(failed, |due| due.account.uuid()),
            &column(failed, |due| i64::from(due.number)),
            column(failed, |due| At(due.at)) as _,
            column(failed, |due| due.fault.as_str()) as _,
        )
        .execute(&self.engine)
        .await
        .doing("setting receipts aside")?;
        Ok(())
    }

    async fn try_again(&self) -> Result<u64, AppError> {
        let again = sqlx::query!(
            "update receipts_due set failed_at = null, fault = null where failed_at is not null"
        )
        .execute(&self.engine)
        .await
        .doing("trying receipts again that were set aside")?;
        Ok(again.rows_affected())
    }

    async fn keep(&self, issued: &[Issued]) -> Result<(), AppError> {
        let doing = "keeping receipts";
        let mut tx = self.engine.begin().await.doing(doing)?;
        let firms = column(issued, |receipt| receipt.firm.uuid());
        let accounts = column(issued, |receipt| receipt.account.uuid());
        let numbers = column(issued, |receipt| i64::from(receipt.number));
        sqlx::query!(
            "insert into receipts (firm_id, account_id, number, issued_at, durable_at, document)
             select firm_id, account_id, number, issued_at, durable_at, document
             from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[], $5::timestamptz[], $6::text[])
                  as receipt (firm_id, account_id, number, issued_at, durable_at, document)
             on conflict on constraint receipts_key do nothing",
            &firms,
            &accounts,
            &numbers,
            column(issued, |receipt| At(receipt.issued_at)) as _,
            column(issued, |receipt| receipt.durable_at.map(At)) as _,
            column(issued, |receipt| receipt.document.as_str()) as _,
        )
        .execute(&mut *tx)
        .await
        .doing(doing)?;
        sqlx::query!(
            "delete from receipts_due
             using unnest($1::uuid[], $2::uuid[], $3::bigint[]) as made (firm_id, account_id, number)
             where receipts_due.firm_id = made.firm_id and receipts_due.account_id = made.account_id
               and receipts_due.number = made.number",
            &firms,
            &accounts,
            &numbers,
        )
        .execute(&mut *tx)
        .await
        .doing(doing)?;
        tx.commit().await.doing(doing)
    }
}

/// The latencies of accounts on days, as far as they are counted.
async fn days(
    pool: &PgPool,
    of: &[(Uuid, Uuid, i32)],
) -> Result<HashMap<(Uuid, Uuid, i32), OfDay>, AppError> {
    let rows = sqlx::query_as!(
        LatencyRow,
        r#"select firm_id, account_id, account_latencies.day - date '1970-01-01' as "day!", received, until, bucket, count,
                  longest_us
           from account_latencies
           join (select distinct * from unnest($1::uuid[], $2::uuid[], $3::int[]) as it (firm, account, day)) wanted
               on wanted.firm = account_latencies.firm_id and wanted.account = account_latencies.account_id
              and account_latencies.day = date '1970-01-01' + wanted.day"#,
        &column(of, |(firm, ..)| *firm),
        &column(of, |(_, account, _)| *account),
        &column(of, |(.., day)| *day),
    )
    .fetch_all(pool)
    .await
    .doing("reading latencies")?;
    let mut days: HashMap<_, OfDay> = HashMap::new();
    for row in rows {
        row.add_to(days.entry((row.firm_id, row.account_id, row.day)).or_default())?;
    }
    Ok(days)
}
