//! A shard's history for replays: read without taking the shard over, each snapshot in one transaction.

use app::AppError;
use app::trading::{HistoryStore, Journaled, Origin, Rows, RowsOf, ShardError, Snapshot, Whereabouts, Whose};
use async_trait::async_trait;
use engine::{Command, Entry, EntryKind, Event, Fill, Instruments, Reset, What};
use futures_util::TryStreamExt as _;
use kernel::{AccountId, Amount, FirmId, PersonId, Price, Quantity, RequestId};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::error::storage;
use crate::row::{
    At, OrderRow, PositionRow, by_word, counter, fill_reason, from_json, instrument, place, side, ticket,
};
use crate::shard::{load_state, read_evidence, read_key};
use crate::{Inconsistent, Store};

/// One instant for everything, nothing written, and as long as it takes to read a whole shard.
const BEGIN: &str = "begin isolation level repeatable read, read only; set local statement_timeout = '15min'";

#[async_trait]
impl HistoryStore for Store {
    async fn snapshot(&self, shard: i16, rows: RowsOf) -> Result<Option<Snapshot>, ShardError> {
        let instruments = &*self.instruments;
        let mut tx = self.engine.begin_with(BEGIN).await.map_err(storage)?;
        let connection = &mut *tx;
        let found = sqlx::query_scalar!("select seq from shards where id = $1", shard);
        let Some(seq) = found.fetch_optional(&mut *connection).await.map_err(storage)? else {
            return Ok(None);
        };
        let Some(state) = load_state(connection, shard, instruments).await? else { return Ok(None) };
        let rows = load_rows(connection, shard, rows, instruments).await?;
        tx.commit().await.map_err(storage)?;
        Ok(Some(Snapshot { shard, seq, quote_position: state.last.position, state, rows }))
    }

    async fn journal(&self, shard: i16, from: i64, limit: i64) -> Result<Vec<Journaled>, ShardError> {
        let rows = sqlx::query!(
            r#"select firm_id, seq, at as "at: At", after_quote, account_id, key, act, outcome, person_id,
                      request_id
               from journal where shard = $1 and seq >= $2 order by seq limit $3"#,
            shard,
            from,
            limit,
        )
        .fetch_all(&self.engine)
        .await
        .map_err(storage)?;
        let mut journal = Vec::with_capacity(rows.len());
        for row in rows {
            journal.push(Journaled {
                seq: row.seq,
                firm: FirmId::from_uuid(row.firm_id),
                at: row.at.into(),
                after_quote: place("journal", row.after_quote)?,
                command: Command {
                    account: AccountId::from_uuid(row.account_id),
                    key: read_key(&row.key)?,
                    act: from_json("journal", &row.act)?,
                },
                outcome: from_json("journal", &row.outcome)?,
                origin: Origin {
                    person: row.person_id.map(PersonId::from_uuid),
                    request: row.request_id.map(RequestId::from_uuid),
                },
            });
        }
        Ok(journal)
    }

    async fn find(&self, whose: &Whose) -> Result<Option<Vec<Whereabouts>>, ShardError> {
        match whose {
            Whose::ChallengeOf(account) => find_challenge(self, *account).await,
            Whose::Version(firm, version) => find_version(self, *firm, version.as_str()).await,
            Whose::Slug(firm, slug) => find_slug(self, *firm, slug).await,
        }
    }
}

struct WhereaboutsRow {
    shard: i16,
    id: Uuid,
}

fn whereabouts(rows: Vec<WhereaboutsRow>) -> Vec<Whereabouts> {
    rows.into_iter()
        .map(|row| Whereabouts { shard: row.shard, account: AccountId::from_uuid(row.id) })
        .collect()
}

async fn find_challenge(store: &Store, account: AccountId) -> Result<Option<Vec<Whereabouts>>, ShardError> {
    let rows = sqlx::query_as!(
        WhereaboutsRow,
        "select of_it.shard, of_it.id
         from accounts one
         join accounts of_it on of_it.firm_id = one.firm_id and of_it.challenge_id = one.challenge_id
         where one.id = $1 order by of_it.phase",
        account.uuid(),
    )
    .fetch_all(&store.engine)
    .await
    .map_err(storage)?;
    Ok((!rows.is_empty()).then(|| whereabouts(rows)))
}

async fn find_version(
    store: &Store,
    firm: Option<FirmId>,
    version: &str,
) -> Result<Option<Vec<Whereabouts>>, ShardError> {
    let firm = firm.map(FirmId::uuid);
    let known = sqlx::query_scalar!(
        r#"select exists (select from program_versions
                          where version = $1 and ($2::uuid is null or firm_id = $2)) as "known!""#,
        version,
        firm,
    )
    .fetch_one(&store.engine)
    .await
    .map_err(storage)?;
    if !known {
        return Ok(None);
    }
    let rows = sqlx::query_as!(
        WhereaboutsRow,
        "select shard, id from accounts
         where version = $1 and ($2::uuid is null or firm_id = $2) order by shard, id",
        version,
        firm,
    )
    .fetch_all(&store.engine)
    .await
    .map_err(storage)?;
    Ok(Some(whereabouts(rows)))
}

/// Under which slug something was bought is for use cases to see, not for shards.
async fn find_slug(store: &Store, firm: FirmId, slug: &str) -> Result<Option<Vec<Whereabouts>>, ShardError> {
    let mut tx = store.begin(firm).await.map_err(other_role)?;
    let known = sqlx::query_scalar!(
        r#"select exists (select from programs where firm_id = $1 and slug = $2) as "known!""#,
        firm.uuid(),
        slug,
    )
    .fetch_one(tx.connection())
    .await
    .map_err(storage)?;
    if !known {
        return Ok(None);
    }
    let rows = sqlx::query_as!(
        WhereaboutsRow,
        "select accounts.shard, accounts.id
         from challenges
         join accounts on accounts.firm_id = challenges.firm_id and accounts.challenge_id = challenges.id
         where challenges.firm_id = $1 and challenges.slug = $2
         order by accounts.shard, accounts.id",
        firm.uuid(),
        slug,
    )
    .fetch_all(tx.connection())
    .await
    .map_err(storage)?;
    Ok(Some(whereabouts(rows)))
}

fn other_role(error: AppError) -> ShardError {
    ShardError::Storage(Box::new(error))
}

async fn load_rows(
    connection: &mut PgConnection,
    shard: i16,
    of: RowsOf,
    instruments: &Instruments,
) -> Result<Rows, ShardError> {
    let mut rows = Rows::of(of);
    let only = match of {
        RowsOf::Nobody => return Ok(rows),
        RowsOf::One(account) => Some(account.uuid()),
        RowsOf::All => None,
    };
    load_orders(connection, shard, only, instruments, &mut rows).await?;
    load_positions(connection, shard, only, instruments, &mut rows).await?;
    load_fills(connection, shard, only, instruments, &mut rows).await?;
    load_entries(connection, shard, only, &mut rows).await?;
    load_days(connection, shard, only, &mut rows).await?;
    load_verdicts(connection, shard, only, &mut rows).await?;
    Ok(rows)
}

async fn load_orders(
    connection: &mut PgConnection,
    shard: i16,
    only: Option<Uuid>,
    instruments: &Instruments,
    into: &mut Rows,
) -> Result<(), ShardError> {
    let mut rows = sqlx::query_as!(
        OrderRow,
        r#"select account_id, ticket, symbol, side, kind, price, quantity, stop_loss, take_profit, state, reason,
                  placed_at as "placed_at: At", done_at as "done_at: At", position_ticket
           from orders
           join accounts on accounts.firm_id = orders.firm_id and accounts.id = orders.account_id
           where accounts.shard = $1 and ($2::uuid is null or accounts.id = $2)"#,
        shard,
        only,
    )
    .fetch(connection);
    while let Some(row) = rows.try_next().await.map_err(storage)? {
        let account = AccountId::from_uuid(row.account_id);
        let order = row.read(instruments)?;
        into.add(&Event { account, at: order.placed_at, what: What::Order(order) });
    }
    Ok(())
}

async fn load_positions(
    connection: &mut PgConnection,
    shard: i16,
    only: Option<Uuid>,
    instruments: &Instruments,
    into: &mut Rows,
) -> Result<(), ShardError> {
    let mut rows = sqlx::query_as!(
        PositionRow,
        r#"select account_id, ticket, symbol, side, quantity, opened_quantity, open_price,
                  held.opened_at as "opened_at: At", stop_loss, take_profit, margin_micros, commission_micros,
                  realised_micros, held.closed_at as "closed_at: At", close_price, close_reason
           from positions held
           join accounts on accounts.firm_id = held.firm_id and accounts.id = held.account_id
           where accounts.shard = $1 and ($2::uuid is null or accounts.id = $2)"#,
        shard,
        only,
    )
    .fetch(connection);
    while let Some(row) = rows.try_next().await.map_err(storage)? {
        let account = AccountId::from_uuid(row.account_id);
        let position = row.read(instruments)?;
        into.add(&Event { account, at: position.opened_at, what: What::Position(position) });
    }
    Ok(())
}

async fn load_fills(
    connection: &mut PgConnection,
    shard: i16,
    only: Option<Uuid>,
    instruments: &Instruments,
    into: &mut Rows,
) -> Result<(), ShardError> {
    let table = "fills";
    let mut rows = sqlx::query!(
        r#"select account_id, number, at as "at: At", position_ticket, order_ticket, symbol, side, quantity, price,
                  profit_micros, commission_micros, reason, fills.quote_position
           from fills
           join accounts on accounts.firm_id = fills.firm_id and accounts.id = fills.account_id
           where accounts.shard = $1 and ($2::uuid is null or accounts.id = $2)"#,
        shard,
        only,
    )
    .fetch(connection);
    while let Some(row) = rows.try_next().await.map_err(storage)? {
        let fill = Fill {
            number: counter(table, row.number)?,
            position: ticket(table, row.position_ticket)?,
            order: row.order_ticket.map(|number| ticket(table, number)).transpose()?,
            instrument: instrument(table, instruments, &row.symbol)?,
            side: side(table, &row.side)?,
            quantity: Quantity(row.quantity),
            price: Price(row.price),
            profit: Amount::from_micros(row.profit_micros),
            commission: Amount::from_micros(row.commission_micros),
            reason: fill_reason(table, &row.reason)?,
            quote_position: place(table, row.quote_position)?,
        };
        let account = AccountId::from_uuid(row.account_id);
        into.add(&Event { account, at: row.at.into(), what: What::Fill(fill) });
    }
    Ok(())
}

async fn load_entries(
    connection: &mut PgConnection,
    shard: i16,
    only: Option<Uuid>,
    into: &mut Rows,
) -> Result<(), ShardError> {
    let table = "balance_entries";
    let mut rows = sqlx::query!(
        r#"select account_id, number, at as "at: At", kind, amount_micros, entry.balance_micros, fill_number
           from balance_entries entry
           join accounts on accounts.firm_id = entry.firm_id and accounts.id = entry.account_id
           where accounts.shard = $1 and ($2::uuid is null or accounts.id = $2)"#,
        shard,
        only,
    )
    .fetch(connection);
    while let Some(row) = rows.try_next().await.map_err(storage)? {
        let entry = Entry {
            number: counter(table, row.number)?,
            kind: by_word(table, &EntryKind::ALL, EntryKind::word, &row.kind)?,
            amount: Amount::from_micros(row.amount_micros),
            balance: Amount::from_micros(row.balance_micros),
            fill: row.fill_number.map(|number| counter(table, number)).transpose()?,
        };
        let account = AccountId::from_uuid(row.account_id);
        into.add(&Event { account, at: row.at.into(), what: What::Entry(entry) });
    }
    Ok(())
}

async fn load_days(
    connection: &mut PgConnection,
    shard: i16,
    only: Option<Uuid>,
    into: &mut Rows,
) -> Result<(), ShardError> {
    let table = "trading_days";
    let mut rows = sqlx::query!(
        r#"select account_id, to_char(day, 'YYYY-MM-DD') as "day!", started_at as "started_at: At",
                  held.balance_micros, equity_micros
           from trading_days held
           join accounts on accounts.firm_id = held.firm_id and accounts.id = held.account_id
           where accounts.shard = $1 and ($2::uuid is null or accounts.id = $2)"#,
        shard,
        only,
    )
    .fetch(connection);
    while let Some(row) = rows.try_next().await.map_err(storage)? {
        let reset = Reset {
            day: from_json(table, &format!("\"{}\"", row.day))?,
            balance: Amount::from_micros(row.balance_micros),
            equity: Amount::from_micros(row.equity_micros),
        };
        let account = AccountId::from_uuid(row.account_id);
        into.add(&Event { account, at: row.started_at.into(), what: What::Reset(reset) });
    }
    Ok(())
}

async fn load_verdicts(
    connection: &mut PgConnection,
    shard: i16,
    only: Option<Uuid>,
    into: &mut Rows,
) -> Result<(), ShardError> {
    let table = "verdicts";
    let mut rows = sqlx::query!(
        r#"select verdict.firm_id, account_id, at as "at: At", evidence, digest
           from verdicts verdict
           join accounts on accounts.firm_id = verdict.firm_id and accounts.id = verdict.account_id
           where accounts.shard = $1 and ($2::uuid is null or accounts.id = $2)"#,
        shard,
        only,
    )
    .fetch(connection);
    while let Some(row) = rows.try_next().await.map_err(storage)? {
        let (firm, account, at) =
            (FirmId::from_uuid(row.firm_id), AccountId::from_uuid(row.account_id), row.at.into());
        let digest: [u8; 32] = row
            .digest
            .try_into()
            .map_err(|_| Inconsistent::new(table, format!("the digest on account {account} is none")))?;
        let verdict = read_evidence(firm, account, at, &row.evidence, digest)?;
        into.add(&Event { account, at, what: What::Verdict(Box::new(verdict)) });
    }
    Ok(())
}
