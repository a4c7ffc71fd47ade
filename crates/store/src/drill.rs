//! What a restore drill asks of a database that came back from a backup: whether somebody works on it, how much is in it, and
//! what the newest of it is.

use kernel::Timestamp;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};

use crate::row::At;
use crate::{Store, StoreError};

/// What lies in a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contents {
    /// When the last transaction was committed that a recovery has brought back; none if the server was started without one.
    pub recovered: Option<Timestamp>,
    /// The newest instant that rows tell.
    pub written: Option<Timestamp>,
    /// Every table and how many rows it has, by name.
    pub tables: Vec<(String, i64)>,
}

impl Store {
    /// Up to when the newest lease holds that somebody has in this database; none if nobody works on it. One that came back from a
    /// backup shows the leases of those who worked on the lost one, for a minute at most.
    pub async fn worked_on_until(owner_url: &str) -> Result<Option<Timestamp>, StoreError> {
        let mut owner = PgConnection::connect(owner_url).await.map_err(StoreError::Connect)?;
        let until = sqlx::query_scalar!(
            r#"select max(until) as "until: At"
               from (select seen_until as until from shard_owners union all select seen_until from lease_seekers) lease
               where tradesense_is_leased(until)"#
        )
        .fetch_one(&mut owner)
        .await
        .map_err(StoreError::Contents)?;
        owner.close().await.map_err(StoreError::Connect)?;
        Ok(until.map(Timestamp::from))
    }

    /// Counts every table in one snapshot. Refuses a login from which policies hide rows: it would count too few and say so of none.
    pub async fn contents(owner_url: &str) -> Result<Contents, StoreError> {
        let mut owner = PgConnection::connect(owner_url).await.map_err(StoreError::Connect)?;
        let mut tx = owner
            .begin_with("begin isolation level repeatable read, read only")
            .await
            .map_err(StoreError::Contents)?;
        let told = sqlx::query!(
            r#"select pg_last_xact_replay_timestamp() as "recovered: At",
                      (select max(at) from (select max(at) as at from shards
                                            union all select max(at) from audit_entries
                                            union all select max(recorded_at) from ledger_entries) known) as "written: At",
                      (select rolsuper or rolbypassrls from pg_roles where rolname = current_user) as "sees_all!""#
        )
        .fetch_one(&mut *tx)
        .await
        .map_err(StoreError::Contents)?;
        if !told.sees_all {
            return Err(StoreError::SeesLittle);
        }
        let names = sqlx::query_scalar!(
            r#"select format('%I', relname) as "name!" from pg_class
               where relnamespace = 'public'::regnamespace and relkind in ('r', 'p') and not relispartition
               order by relname"#
        )
        .fetch_all(&mut *tx)
        .await
        .map_err(StoreError::Contents)?;
        let mut tables = Vec::new();
        for name in names {
            // The server wrote the name, quoted where it must be.
            let count = AssertSqlSafe(format!("select count(*) from public.{name}"));
            let rows = sqlx::query_scalar(count).fetch_one(&mut *tx).await.map_err(StoreError::Contents)?;
            tables.push((name, rows));
        }
        tx.commit().await.map_err(StoreError::Contents)?;
        owner.close().await.map_err(StoreError::Connect)?;
        Ok(Contents {
            recovered: told.recovered.map(Timestamp::from),
            written: told.written.map(Timestamp::from),
            tables,
        })
    }
}
