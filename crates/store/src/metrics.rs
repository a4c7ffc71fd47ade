//! What whoever runs the platform wants to know of the whole database: how the business goes, over all firms together, and how the
//! machinery does. Nothing in here names a firm or a person. Every question ends by itself after some seconds; what a large
//! installation cannot count in time is left out and not waited for.

use std::collections::BTreeMap;

use app::AppError;
use kernel::{FirmId, Timestamp};
use sqlx::PgPool;

use crate::error::Doing;
use crate::row::At;
use crate::{Store, Tx};

/// How long a count may take.
const LONGEST_COUNT: &str = "set local statement_timeout = '5s'";

/// How the business goes, over all firms.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Business {
    /// Purchases by state.
    pub purchases: BTreeMap<String, i64>,
    /// Accounts by status.
    pub accounts: BTreeMap<String, i64>,
    /// What was debited and credited, in minor units, by the kind of the books' account and the currency.
    pub books: BTreeMap<(String, String), (i64, i64)>,
    /// What the projection has counted since the beginning, by what and currency: how many, and how much, in minor units for purchases
    /// and in micro-units for payouts.
    pub counters: BTreeMap<(String, String), (i64, i64)>,
    /// Firms.
    pub firms: i64,
    /// When the first of them was made.
    pub began: Option<Timestamp>,
    /// Paid challenges whose account is not open yet, and for how many microseconds the oldest of them has waited.
    pub unopened: (i64, i64),
}

/// How the machinery does.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Machinery {
    /// Bytes of the database.
    pub database_bytes: i64,
    /// Bytes of its largest tables with their indexes; a partitioned one with its partitions.
    pub tables: Vec<(String, i64)>,
    /// Connections to the server, whoever's, and how many it takes.
    pub connections: (i64, i64),
    /// Shards that somebody owns, and all of them.
    pub shards: (i64, i64),
    /// Microseconds since the shard that is furthest behind wrote something.
    pub shard_silence: i64,
    /// Leases by name, and whether somebody holds them.
    pub leases: Vec<(String, bool)>,
    /// Transactions that were committed and that were taken back, since the server counts.
    pub transactions: (i64, i64),
}

/// Connections of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pool {
    /// Whose: `app`, `engine` or `worker`.
    pub name: &'static str,
    /// Lent.
    pub used: u32,
    /// Open and free.
    pub idle: u32,
    /// The most there may be.
    pub most: u32,
}

impl Store {
    /// Every pool as it is now.
    pub fn pools(&self) -> [Pool; 3] {
        self.named_pools().map(|(name, pool)| {
            let idle = u32::try_from(pool.num_idle()).unwrap_or(u32::MAX);
            let most = pool.options().get_max_connections();
            Pool { name, used: pool.size().saturating_sub(idle), idle, most }
        })
    }

    fn named_pools(&self) -> [(&'static str, &PgPool); 3] {
        [("app", &self.app), ("engine", &self.engine), ("worker", &self.worker)]
    }

    /// Waits for a connection of a pool, as whoever has a question does, and gives it back. False if none was given in time.
    pub async fn wait_for_connection(&self, pool: &str) -> bool {
        let found = self.named_pools().into_iter().find(|(name, _)| *name == pool);
        match found {
            Some((_, pool)) => pool.acquire().await.is_ok(),
            None => false,
        }
    }

    /// Asks the database for nothing.
    pub async fn round_trip(&self) -> Result<(), AppError> {
        sqlx::query_scalar!("select 1 as alive")
            .fetch_one(&self.worker)
            .await
            .doing("reaching the database")?;
        Ok(())
    }

    /// Counts the business.
    pub async fn business(&self) -> Result<Business, AppError> {
        let doing = "counting the business";
        let mut business = Business::default();
        let mut tx = self.engine.begin_with(begin(LONGEST_COUNT)).await.doing(doing)?;
        let firms = sqlx::query!(r#"select firm_id, created_at as "created_at: At" from firms"#)
            .fetch_all(&mut *tx)
            .await
            .doing(doing)?;
        let accounts = sqlx::query!(r#"select status, count(*) as "count!" from accounts group by status"#)
            .fetch_all(&mut *tx)
            .await
            .doing(doing)?;
        let unopened = sqlx::query!(
            r#"select count(*) as "count!",
                      coalesce(extract(epoch from clock_timestamp() - min(created_at)) * 1000000, 0)::bigint as "waits_us!"
               from challenges where opened_at is null"#
        )
        .fetch_one(&mut *tx)
        .await
        .doing(doing)?;
        drop(tx);
        business.accounts.extend(accounts.into_iter().map(|row| (row.status, row.count)));
        business.firms = i64::try_from(firms.len()).unwrap_or(i64::MAX);
        business.unopened = (unopened.count, unopened.waits_us);
        business.began = firms.iter().map(|firm| Timestamp::from(firm.created_at)).min();
        for firm in firms {
            let mut tx = self.begin(FirmId::from_uuid(firm.firm_id)).await?;
            count_firm(&mut tx, &mut business).await.doing(doing)?;
        }
        Ok(business)
    }

    /// Looks at the machinery.
    pub async fn machinery(&self) -> Result<Machinery, AppError> {
        let doing = "looking at the machinery";
        let mut tx = self.engine.begin_with(begin(LONGEST_COUNT)).await.doing(doing)?;
        let server = sqlx::query!(
            r#"select pg_database_size(current_database()) as "bytes!",
                      (select count(*) from pg_stat_activity where backend_type = 'client backend') as "connections!",
                      current_setting('max_connections')::bigint as "most_connections!",
                      (select xact_commit from pg_stat_database where datname = current_database()) as "commits!",
                      (select xact_rollback from pg_stat_database where datname = current_database()) as "rollbacks!""#
        )
        .fetch_one(&mut *tx)
        .await
        .doing(doing)?;
        let tables = sqlx::query!(
            r#"select root.relname::text as "name!", sum(pg_total_relation_size(part.oid))::bigint as "bytes!"
               from pg_class part
               left join pg_inherits on inhrelid = part.oid
               join pg_class root on root.oid = coalesce(inhparent, part.oid)
               where part.relkind = 'r' and part.relnamespace = 'public'::regnamespace
               group by root.relname order by 2 desc limit 30"#
        )
        .fetch_all(&mut *tx)
        .await
        .doing(doing)?;
        let shards = sqlx::query!(
            r#"select count(*) filter (where owner_id is not null and tradesense_is_leased(leased_until)) as "owned!",
                      count(*) as "shards!",
                      coalesce(extract(epoch from clock_timestamp() - min(at) filter (where at > '2000-01-01')) * 1000000, 0)::bigint
                          as "silence_us!"
               from shards"#
        )
        .fetch_one(&mut *tx)
        .await
        .doing(doing)?;
        let leases = sqlx::query!(
            r#"select name, owner_id is not null and tradesense_is_leased(leased_until) as "held!"
               from leases order by name limit 100"#
        )
        .fetch_all(&mut *tx)
        .await
        .doing(doing)?;
        Ok(Machinery {
            database_bytes: server.bytes,
            tables: tables.into_iter().map(|row| (row.name, row.bytes)).collect(),
            connections: (server.connections, server.most_connections),
            shards: (shards.owned, shards.shards),
            shard_silence: shards.silence_us,
            leases: leases.into_iter().map(|row| (row.name, row.held)).collect(),
            transactions: (server.commits, server.rollbacks),
        })
    }
}

fn begin(and: &'static str) -> sqlx::AssertSqlSafe<String> {
    sqlx::AssertSqlSafe(format!("begin read only; {and}"))
}

/// Adds what a firm has.
async fn count_firm(tx: &mut Tx, business: &mut Business) -> Result<(), sqlx::Error> {
    let firm = tx.firm().uuid();
    sqlx::query!(r#"select set_config('statement_timeout', '5s', true) as "set!""#)
        .fetch_one(tx.connection())
        .await?;
    let purchases = sqlx::query!(
        r#"select state, count(*) as "count!" from purchases where firm_id = $1 group by state"#,
        firm
    )
    .fetch_all(tx.connection())
    .await?;
    for row in purchases {
        add(business.purchases.entry(row.state).or_default(), row.count);
    }
    let books = sqlx::query!(
        r#"select split_part(account, ':', 1) as "kind!", currency as "currency!", sum(debits)::bigint as "debits!",
                  sum(credits)::bigint as "credits!"
           from (select debit as account, currency, amount_minor as debits, 0 as credits from ledger_transfers
                 where firm_id = $1
                 union all
                 select credit, currency, 0, amount_minor from ledger_transfers where firm_id = $1) side
           group by 1, 2"#,
        firm
    )
    .fetch_all(tx.connection())
    .await?;
    for row in books {
        let (debits, credits) = business.books.entry((row.kind, row.currency)).or_default();
        add(debits, row.debits);
        add(credits, row.credits);
    }
    let version = sqlx::query_scalar!("select max(version) from projections where firm_id = $1", firm)
        .fetch_one(tx.connection())
        .await?;
    let counters = sqlx::query!(
        r#"select what, currency, sum(count)::bigint as "count!", sum(amount)::bigint as "amount!"
           from business_days where firm_id = $1 and version = $2 group by what, currency"#,
        firm,
        version
    )
    .fetch_all(tx.connection())
    .await?;
    for row in counters {
        let (count, amount) = business.counters.entry((row.what, row.currency)).or_default();
        add(count, row.count);
        add(amount, row.amount);
    }
    Ok(())
}

fn add(sum: &mut i64, more: i64) {
    *sum = sum.saturating_add(more);
}
