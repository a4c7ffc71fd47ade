//! What every batch writes, in one statement: one way to the database and back, however much it is.
//!
//! Each table's rows are one array of a composite type (`new_order` ...), because the server would make a table of every
//! column's array before it joined them. To write one more column: a migration adds it to the table and makes a type
//! of another name, so that a process of the last version still finds its own.

use app::trading::{Batch, Journaled, ShardError};
use engine::{Account, Entry, Fill, Instruments, Order, Position};
use kernel::{PersonId, RequestId};
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo};
use sqlx::{Encode, PgExecutor, Postgres, Type};
use uuid::Uuid;

use crate::Inconsistent;
use crate::error::storage;
use crate::row::{At, column, symbol, to_json, to_place};
use crate::shard::{Happened, Row};

/// A row that is sent as one value.
trait Composite {
    /// Of which type, with the same columns in the same order.
    const TYPE: &'static str;
}

/// The value of a row.
struct Value<R>(R);

impl<R: Composite> Type<Postgres> for Value<R> {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_name(R::TYPE)
    }
}

impl<R: Composite> PgHasArrayType for Value<R> {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::array_of(R::TYPE)
    }
}

impl<'q, R: Encode<'q, Postgres>> Encode<'q, Postgres> for Value<R> {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        self.0.encode_by_ref(buffer)
    }
}

#[derive(sqlx::Encode)]
struct ChangedAccount {
    firm_id: Uuid,
    id: Uuid,
    status: &'static str,
    balance_micros: i64,
    track: String,
    next_ticket: i64,
    next_fill: i64,
    next_entry: i64,
    next_verdict: i64,
    closed_at: Option<At>,
}

impl Composite for ChangedAccount {
    const TYPE: &'static str = "changed_account";
}

impl ChangedAccount {
    fn of(account: &Account) -> Result<Self, Inconsistent> {
        Ok(Self {
            firm_id: account.firm.uuid(),
            id: account.id.uuid(),
            status: account.status.word(),
            balance_micros: account.balance.micros(),
            track: to_json("accounts", &account.track)?,
            next_ticket: account.next.ticket.into(),
            next_fill: account.next.fill.into(),
            next_entry: account.next.entry.into(),
            next_verdict: account.next.verdict.into(),
            closed_at: account.closed_at.map(At),
        })
    }
}

#[derive(sqlx::Encode)]
struct NewOrder {
    firm_id: Uuid,
    account_id: Uuid,
    ticket: i64,
    symbol: String,
    side: &'static str,
    kind: &'static str,
    price: Option<i64>,
    quantity: i64,
    stop_loss: Option<i64>,
    take_profit: Option<i64>,
    state: &'static str,
    reason: Option<&'static str>,
    placed_at: At,
    done_at: Option<At>,
    position_ticket: Option<i64>,
}

impl Composite for NewOrder {
    const TYPE: &'static str = "new_order";
}

impl NewOrder {
    fn of(row: &Row<'_, Order>, instruments: &Instruments) -> Result<Self, Inconsistent> {
        let order = row.what;
        Ok(Self {
            firm_id: row.firm.uuid(),
            account_id: row.account.uuid(),
            ticket: order.ticket.0.into(),
            symbol: symbol("orders", instruments, order.instrument)?,
            side: order.side.word(),
            kind: order.kind.word(),
            price: order.kind.price().map(|price| price.0),
            quantity: order.quantity.0,
            stop_loss: order.stop_loss.map(|price| price.0),
            take_profit: order.take_profit.map(|price| price.0),
            state: order.state.word(),
            reason: order.state.reason(),
            placed_at: At(order.placed_at),
            done_at: order.done_at.map(At),
            position_ticket: order.position.map(|ticket| ticket.0.into()),
        })
    }
}

#[derive(sqlx::Encode)]
struct StoredPosition {
    firm_id: Uuid,
    account_id: Uuid,
    ticket: i64,
    symbol: String,
    side: &'static str,
    quantity: i64,
    opened_quantity: i64,
    open_price: i64,
    opened_at: At,
    stop_loss: Option<i64>,
    take_profit: Option<i64>,
    margin_micros: i64,
    commission_micros: i64,
    realised_micros: i64,
    closed_at: Option<At>,
    close_price: Option<i64>,
    close_reason: Option<&'static str>,
}

impl Composite for StoredPosition {
    const TYPE: &'static str = "stored_position";
}

impl StoredPosition {
    fn of(row: &Row<'_, Position>, instruments: &Instruments) -> Result<Self, Inconsistent> {
        let position = row.what;
        Ok(Self {
            firm_id: row.firm.uuid(),
            account_id: row.account.uuid(),
            ticket: position.ticket.0.into(),
            symbol: symbol("positions", instruments, position.instrument)?,
            side: position.side.word(),
            quantity: position.quantity.0,
            opened_quantity: position.opened_quantity.0,
            open_price: position.open_price.0,
            opened_at: At(position.opened_at),
            stop_loss: position.stop_loss.map(|price| price.0),
            take_profit: position.take_profit.map(|price| price.0),
            margin_micros: position.margin.micros(),
            commission_micros: position.commission.micros(),
            realised_micros: position.realised.micros(),
            closed_at: position.closed_at.map(At),
            close_price: position.close_price.map(|price| price.0),
            close_reason: position.close_reason.map(engine::FillReason::word),
        })
    }
}

#[derive(sqlx::Encode)]
struct NewFill {
    firm_id: Uuid,
    account_id: Uuid,
    number: i64,
    at: At,
    position_ticket: i64,
    order_ticket: Option<i64>,
    symbol: String,
    side: &'static str,
    quantity: i64,
    price: i64,
    profit_micros: i64,
    commission_micros: i64,
    reason: &'static str,
    quote_position: i64,
}

impl Composite for NewFill {
    const TYPE: &'static str = "new_fill";
}

impl NewFill {
    fn of(row: &Row<'_, Fill>, instruments: &Instruments) -> Result<Self, Inconsistent> {
        let fill = row.what;
        Ok(Self {
            firm_id: row.firm.uuid(),
            account_id: row.account.uuid(),
            number: fill.number.into(),
            at: At(row.at),
            position_ticket: fill.position.0.into(),
            order_ticket: fill.order.map(|ticket| ticket.0.into()),
            symbol: symbol("fills", instruments, fill.instrument)?,
            side: fill.side.word(),
            quantity: fill.quantity.0,
            price: fill.price.0,
            profit_micros: fill.profit.micros(),
            commission_micros: fill.commission.micros(),
            reason: fill.reason.word(),
            quote_position: to_place("fills", fill.quote_position)?,
        })
    }
}

#[derive(sqlx::Encode)]
struct NewEntry {
    firm_id: Uuid,
    account_id: Uuid,
    number: i64,
    at: At,
    kind: &'static str,
    amount_micros: i64,
    balance_micros: i64,
    fill_number: Option<i64>,
}

impl Composite for NewEntry {
    const TYPE: &'static str = "new_balance_entry";
}

impl NewEntry {
    fn of(row: &Row<'_, Entry>) -> Self {
        let entry = row.what;
        Self {
            firm_id: row.firm.uuid(),
            account_id: row.account.uuid(),
            number: entry.number.into(),
            at: At(row.at),
            kind: entry.kind.word(),
            amount_micros: entry.amount.micros(),
            balance_micros: entry.balance.micros(),
            fill_number: entry.fill.map(i64::from),
        }
    }
}

#[derive(sqlx::Encode)]
struct NewJournaled {
    firm_id: Uuid,
    seq: i64,
    at: At,
    after_quote: i64,
    account_id: Uuid,
    key: String,
    act: String,
    outcome: String,
    person_id: Option<Uuid>,
    request_id: Option<Uuid>,
}

impl Composite for NewJournaled {
    const TYPE: &'static str = "new_journaled";
}

impl NewJournaled {
    fn of(entry: &Journaled) -> Result<Self, Inconsistent> {
        let table = "journal";
        Ok(Self {
            firm_id: entry.firm.uuid(),
            seq: entry.seq,
            at: At(entry.at),
            after_quote: to_place(table, entry.after_quote)?,
            account_id: entry.command.account.uuid(),
            key: entry.command.key.as_str().to_owned(),
            act: to_json(table, &entry.command.act)?,
            outcome: to_json(table, &entry.outcome)?,
            person_id: entry.origin.person.map(PersonId::uuid),
            request_id: entry.origin.request.map(RequestId::uuid),
        })
    }
}

fn values<'r, R, T>(
    rows: &'r [R],
    value: impl Fn(&'r R) -> Result<T, Inconsistent>,
) -> Result<Vec<Value<T>>, Inconsistent> {
    rows.iter().map(|row| value(row).map(Value)).collect()
}

/// Moves the shard's row and writes what happens all the time. Whoever cannot move the row has been deposed, and nothing is
/// written; a row that is not written takes all the others back. As one statement, because between two the database
/// would wait for us longer than it works; without upserts, because the engine knows which rows are new.
pub(crate) async fn write_trading(
    executor: impl PgExecutor<'_>,
    batch: &Batch,
    what: &Happened<'_>,
    instruments: &Instruments,
) -> Result<(), ShardError> {
    let standing = &batch.standing;
    let (mut standing_symbols, mut standing_places) =
        (Vec::with_capacity(standing.len()), Vec::with_capacity(standing.len()));
    for standing in standing {
        standing_symbols.push(symbol("standing_quotes", instruments, standing.quote.instrument)?);
        standing_places.push(to_place("standing_quotes", standing.position)?);
    }
    sqlx::query!(
        "with moved as (
             update shards set seq = $4, quote_position = $5, at = $6, mark_position = coalesce($7, mark_position)
             where id = $1 and epoch = $2 and seq = $3
             returning 1
         ),
         changed_accounts as (
             update accounts set status = new.status, balance_micros = new.balance_micros, track = new.track,
                    next_ticket = new.next_ticket, next_fill = new.next_fill, next_entry = new.next_entry,
                    next_verdict = new.next_verdict, closed_at = new.closed_at, quote_position = $5
             from unnest($8::changed_account[]) new
             -- Not a bare column: the index of shards would be taken for the way to the rows.
             where accounts.firm_id = new.firm_id and accounts.id = new.id and accounts.shard + 0 = $1
             returning 1
         ),
         new_orders as (
             insert into orders (firm_id, account_id, ticket, symbol, side, kind, price, quantity, stop_loss, take_profit,
                                 state, reason, placed_at, done_at, position_ticket)
             select * from unnest($9::new_order[])
             returning 1
         ),
         new_positions as (
             insert into positions (firm_id, account_id, ticket, symbol, side, quantity, opened_quantity, open_price,
                                    opened_at, stop_loss, take_profit, margin_micros, commission_micros, realised_micros,
                                    closed_at, close_price, close_reason)
             select * from unnest($10::stored_position[])
             returning 1
         ),
         changed_positions as (
             update positions set quantity = new.quantity, stop_loss = new.stop_loss, take_profit = new.take_profit,
                    margin_micros = new.margin_micros, commission_micros = new.commission_micros,
                    realised_micros = new.realised_micros, closed_at = new.closed_at,
                    close_price = new.close_price, close_reason = new.close_reason
             from unnest($11::stored_position[]) new
             where positions.firm_id = new.firm_id and positions.account_id = new.account_id
               and positions.ticket = new.ticket
             returning 1
         ),
         new_fills as (
             insert into fills (firm_id, account_id, number, at, position_ticket, order_ticket, symbol, side, quantity,
                                price, profit_micros, commission_micros, reason, quote_position)
             select * from unnest($12::new_fill[])
             returning 1
         ),
         new_entries as (
             insert into balance_entries (firm_id, account_id, number, at, kind, amount_micros, balance_micros, fill_number)
             select * from unnest($13::new_balance_entry[])
             returning 1
         ),
         new_journal as (
             insert into journal (shard, firm_id, seq, at, after_quote, account_id, key, act, outcome, person_id, request_id)
             select $1, * from unnest($14::new_journaled[])
             returning 1
         ),
         standing as (
             insert into standing_quotes (shard, symbol, bid, ask, source_time, received_at, quote_position)
             select $1, * from unnest($15::text[], $16::bigint[], $17::bigint[], $18::timestamptz[], $19::timestamptz[],
                                      $20::bigint[])
             on conflict on constraint standing_quotes_key do update
             set bid = excluded.bid, ask = excluded.ask, source_time = excluded.source_time,
                 received_at = excluded.received_at, quote_position = excluded.quote_position
             returning 1
         )
         select tradesense_demand('shards', (select count(*) from moved), 1)
                + tradesense_demand('accounts', (select count(*) from changed_accounts), cardinality($8::changed_account[]))
                + tradesense_demand('orders', (select count(*) from new_orders), cardinality($9::new_order[]))
                + tradesense_demand('positions', (select count(*) from new_positions), cardinality($10::stored_position[]))
                + tradesense_demand('positions', (select count(*) from changed_positions), cardinality($11::stored_position[]))
                + tradesense_demand('fills', (select count(*) from new_fills), cardinality($12::new_fill[]))
                + tradesense_demand('balance_entries', (select count(*) from new_entries), cardinality($13::new_balance_entry[]))
                + tradesense_demand('journal', (select count(*) from new_journal), cardinality($14::new_journaled[]))
                + tradesense_demand('standing_quotes', (select count(*) from standing), cardinality($15::text[])) as written",
        batch.shard,
        batch.epoch,
        batch.after_seq,
        batch.seq,
        to_place("shards", batch.quote_position)?,
        At(batch.at) as _,
        batch.mark.as_ref().map(|mark| to_place("shards", mark.position)).transpose()?,
        values(&what.changed, |account| ChangedAccount::of(account))? as _,
        values(&what.orders.new, |row| NewOrder::of(row, instruments))? as _,
        values(&what.positions.new, |row| StoredPosition::of(row, instruments))? as _,
        values(&what.positions.old, |row| StoredPosition::of(row, instruments))? as _,
        values(&what.fills, |row| NewFill::of(row, instruments))? as _,
        column(&what.entries, |row| Value(NewEntry::of(row))) as _,
        values(&batch.journal, NewJournaled::of)? as _,
        &standing_symbols,
        &column(standing, |standing| standing.quote.bid.0),
        &column(standing, |standing| standing.quote.ask.0),
        column(standing, |standing| At(standing.quote.source_time)) as _,
        column(standing, |standing| At(standing.received_at)) as _,
        &standing_places,
    )
    .fetch_one(executor)
    .await
    .map_err(storage)?;
    Ok(())
}
