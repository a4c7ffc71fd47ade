//! What the trading tables must never show. Rows that a shard writes carry no keys and checks of their own (docs/adr/0022):
//! what those would refuse one by one is looked for here, in all rows at once, and more than a constraint could say.
//!
//! To add a fault: a part of [`faults_in`]'s statement that selects the rows in question.

use app::trading::ShardError;

use sqlx::{Connection as _, PgConnection};

use crate::Store;
use crate::error::storage;
use crate::pool::WHOLE_TABLES;

/// Rows that contradict each other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// What is wrong with them.
    pub say: String,
    /// How many.
    pub rows: i64,
    /// One of them, as account and number or as shard and number.
    pub example: String,
}

impl Store {
    /// [`Store::faults`] of a database, read as its owner.
    pub async fn faults_at(owner_url: &str) -> Result<Vec<Fault>, ShardError> {
        let mut owner = PgConnection::connect(owner_url).await.map_err(storage)?;
        let mut tx =
            owner.begin_with("begin isolation level repeatable read, read only").await.map_err(storage)?;
        sqlx::raw_sql("set local role tradesense_engine").execute(&mut *tx).await.map_err(storage)?;
        let faults = faults_in(&mut tx).await?;
        tx.commit().await.map_err(storage)?;
        owner.close().await.map_err(storage)?;
        Ok(faults)
    }

    /// Everything that contradicts itself in the trading tables of all firms, read in one snapshot. Reads whole tables: for
    /// tests, for restored backups, and for the quiet hours.
    pub async fn faults(&self) -> Result<Vec<Fault>, ShardError> {
        let mut tx = self.engine.begin().await.map_err(storage)?;
        sqlx::raw_sql(WHOLE_TABLES).execute(&mut *tx).await.map_err(storage)?;
        let faults = faults_in(&mut tx).await?;
        tx.commit().await.map_err(storage)?;
        Ok(faults)
    }
}

/// The same in a transaction of its caller, whose role sees every firm's trading.
pub async fn faults_in(connection: &mut PgConnection) -> Result<Vec<Fault>, ShardError> {
    let faults = sqlx::query_as!(
        Fault,
        r#"with fault (say, example) as (
             select 'an order of no account', account_id || ' ' || ticket from orders
             where not exists (select from accounts where accounts.firm_id = orders.firm_id and accounts.id = account_id)
             union all
             select 'a position of no account', account_id || ' ' || ticket from positions
             where not exists (select from accounts where accounts.firm_id = positions.firm_id and accounts.id = account_id)
             union all
             select 'a fill of no position', fills.account_id || ' ' || number from fills
             where not exists (select from positions
                               where positions.firm_id = fills.firm_id and positions.account_id = fills.account_id
                                 and positions.ticket = fills.position_ticket and positions.symbol = fills.symbol)
             union all
             select 'a fill of no order', fills.account_id || ' ' || number from fills
             where order_ticket is not null
               and not exists (select from orders
                               where orders.firm_id = fills.firm_id and orders.account_id = fills.account_id
                                 and orders.ticket = fills.order_ticket)
             union all
             select 'a balance entry of no fill', entry.account_id || ' ' || entry.number from balance_entries entry
             where fill_number is not null
               and not exists (select from fills
                               where fills.firm_id = entry.firm_id and fills.account_id = entry.account_id
                                 and fills.number = entry.fill_number)
             union all
             select 'a balance entry that does not follow from the one before', entry.account_id || ' ' || entry.number
             from (select *, lag(balance_micros, 1, 0::bigint) over (partition by account_id order by number) as before
                   from balance_entries) entry
             where before + amount_micros <> balance_micros
             union all
             select 'a balance that is not that of the last entry', accounts.id::text
             from accounts
             left join balance_entries last on last.firm_id = accounts.firm_id and last.account_id = accounts.id
                                           and last.number = accounts.next_entry - 1
             where last.balance_micros is distinct from accounts.balance_micros
             union all
             select 'fills, entries or verdicts that are not numbered without gaps', accounts.id::text
             from accounts
             left join (select account_id, count(*) as rows, max(number) as last from fills group by 1) f
                 on f.account_id = accounts.id
             left join (select account_id, count(*) as rows, max(number) as last from balance_entries group by 1) e
                 on e.account_id = accounts.id
             left join (select account_id, count(*) as rows, max(number) as last from verdicts group by 1) v
                 on v.account_id = accounts.id
             where (coalesce(f.rows, 0), coalesce(f.last, 0)) <> (next_fill - 1, next_fill - 1)
                or (coalesce(e.rows, 0), coalesce(e.last, 0)) <> (next_entry - 1, next_entry - 1)
                or (coalesce(v.rows, 0), coalesce(v.last, 0)) <> (next_verdict - 1, next_verdict - 1)
             union all
             select 'an open position or a waiting order of an account that has ended', accounts.id::text
             from accounts
             where status <> 'active'
               and (exists (select from positions
                            where positions.firm_id = accounts.firm_id and positions.account_id = accounts.id
                              and closed_at is null)
                    or exists (select from orders
                               where orders.firm_id = accounts.firm_id and orders.account_id = accounts.id
                                 and state = 'working'))
             union all
             select 'a position that is neither open nor closed', account_id || ' ' || ticket from positions
             where (closed_at is null) <> (close_price is null) or (closed_at is null) <> (close_reason is null)
                or (closed_at is null) <> (quantity > 0) or quantity not between 0 and opened_quantity or opened_quantity <= 0
                or least(open_price, stop_loss, take_profit, close_price) <= 0
             union all
             select 'an order that is neither waiting nor done', account_id || ' ' || ticket from orders
             where (state = 'working') <> (done_at is null) or (state = 'filled') <> (position_ticket is not null)
                or (state in ('cancelled', 'rejected')) <> (reason is not null)
                or (kind = 'market') <> (price is null) or quantity <= 0
                or least(price, stop_loss, take_profit) <= 0
             union all
             select 'a fill without a size or a price', account_id || ' ' || number from fills
             where quantity <= 0 or price <= 0
             union all
             select 'a word that is none of its column''s', account_id || ' ' || number
             from (select account_id, ticket as number, side, state || coalesce(' ' || reason, '') as word from orders
                   union all select account_id, ticket, side, coalesce('closed ' || close_reason, 'open') from positions
                   union all select account_id, number, side, 'fill ' || reason from fills
                   union all select account_id, number, 'buy', 'entry ' || kind from balance_entries) row
             where side not in ('buy', 'sell')
                or word not in ('working', 'filled', 'cancelled by_trader', 'cancelled account_ended',
                                'cancelled account_locked', 'cancelled account_held', 'rejected insufficient_margin', 'rejected against_rule',
                                'open', 'closed close', 'closed stop_loss', 'closed take_profit', 'closed stop_out',
                                'closed liquidation', 'fill market', 'fill limit', 'fill stop', 'fill close',
                                'fill stop_loss', 'fill take_profit', 'fill stop_out', 'fill liquidation',
                                'entry initial', 'entry profit', 'entry commission', 'entry payout', 'entry growth')
             union all
             select 'a verdict whose evidence is not what was written', account_id || ' ' || number from verdicts
             where digest <> sha256(convert_to(evidence, 'UTF8'))
             union all
             select 'a verdict of no account', account_id || ' ' || number from verdicts
             where not exists (select from accounts where accounts.firm_id = verdicts.firm_id and accounts.id = account_id)
             union all
             select 'a verdict without a receipt, made or due', verdicts.account_id || ' ' || verdicts.number from verdicts
             left join receipts on receipts.firm_id = verdicts.firm_id and receipts.account_id = verdicts.account_id
                               and receipts.number = verdicts.number
             left join receipts_due due on due.firm_id = verdicts.firm_id and due.account_id = verdicts.account_id
                                       and due.number = verdicts.number
             where (receipts.number is null) = (due.number is null)
             union all
             select 'a command of no account', shard || ' ' || seq from journal
             where not exists (select from accounts where accounts.firm_id = journal.firm_id and accounts.id = account_id)
             union all
             select 'a journal that is not numbered without gaps', shards.id || ' ' || shards.seq
             from shards
             left join (select shard, count(*) as rows, max(seq) as last from journal group by 1) j on j.shard = shards.id
             where (coalesce(j.rows, 0), coalesce(j.last, 0)) <> (shards.seq, shards.seq)
             union all
             select 'a key that named two commands within 48 hours', shard || ' ' || seq
             from (select *, lag(at) over (partition by account_id, key order by seq) as before from journal) entry
             where before >= at - interval '48 hours'
             union all
             select 'a trading day or a latency of no account', account_id::text
             from (select firm_id, account_id from trading_days
                   union select firm_id, account_id from account_latencies) row
             where not exists (select from accounts where accounts.firm_id = row.firm_id and accounts.id = account_id)
         )
         select say as "say!", count(*) as "rows!", min(example) as "example!" from fault group by say order by say"#,
    )
    .fetch_all(connection)
    .await;
    faults.map_err(storage)
}
