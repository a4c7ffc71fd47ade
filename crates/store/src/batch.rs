//! What every batch writes, in one statement: one way to the database and back, however much it is.

use app::trading::{Batch, ShardError};
use engine::Instruments;
use kernel::{PersonId, RequestId};
use sqlx::PgExecutor;

use crate::error::storage;
use crate::row::{At, column, symbol, to_json, to_place};
use crate::shard::Happened;

/// Moves the shard's row and writes what happens all the time. Whoever cannot move the row has been deposed, and nothing is
/// written; a row that is not written takes all the others back. As one statement, because between two the database
/// would wait for us longer than it works; without upserts, because the engine knows which rows are new.
pub(crate) async fn write_trading(
    executor: impl PgExecutor<'_>,
    batch: &Batch,
    what: &Happened<'_>,
    instruments: &Instruments,
) -> Result<(), ShardError> {
    let accounts = &what.changed;
    let mut tracks = Vec::with_capacity(accounts.len());
    for account in accounts {
        tracks.push(to_json("accounts", &account.track)?);
    }
    let orders = &what.orders.new;
    let mut orders_symbols = Vec::with_capacity(orders.len());
    for row in orders {
        orders_symbols.push(symbol("orders", instruments, row.what.instrument)?);
    }
    let positions = &what.positions.new;
    let mut positions_symbols = Vec::with_capacity(positions.len());
    for row in positions {
        positions_symbols.push(symbol("positions", instruments, row.what.instrument)?);
    }
    let held = &what.positions.old;
    let fills = &what.fills;
    let (mut fills_symbols, mut fills_places) =
        (Vec::with_capacity(fills.len()), Vec::with_capacity(fills.len()));
    for row in fills {
        fills_symbols.push(symbol("fills", instruments, row.what.instrument)?);
        fills_places.push(to_place("fills", row.what.quote_position)?);
    }
    let entries = &what.entries;
    let journal = &batch.journal;
    let (mut acts, mut outcomes) = (Vec::with_capacity(journal.len()), Vec::with_capacity(journal.len()));
    let mut journal_places = Vec::with_capacity(journal.len());
    for entry in journal {
        acts.push(to_json("journal", &entry.command.act)?);
        outcomes.push(to_json("journal", &entry.outcome)?);
        journal_places.push(to_place("journal", entry.after_quote)?);
    }
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
             from unnest($8::uuid[], $9::uuid[], $10::text[], $11::bigint[], $12::text[], $13::bigint[],
                         $14::bigint[], $15::bigint[], $16::bigint[], $17::timestamptz[])
                  as new (firm_id, id, status, balance_micros, track, next_ticket, next_fill, next_entry, next_verdict,
                          closed_at)
             -- Not a bare column: the index of shards would be taken for the way to the rows.
             where accounts.firm_id = new.firm_id and accounts.id = new.id and accounts.shard + 0 = $1
             returning 1
         ),
         new_orders as (
             insert into orders (firm_id, account_id, ticket, symbol, side, kind, price, quantity, stop_loss, take_profit,
                                 state, reason, placed_at, done_at, position_ticket)
             select * from unnest($18::uuid[], $19::uuid[], $20::bigint[], $21::text[], $22::text[], $23::text[],
                                  $24::bigint[], $25::bigint[], $26::bigint[], $27::bigint[], $28::text[],
                                  $29::text[], $30::timestamptz[], $31::timestamptz[], $32::bigint[])
             returning 1
         ),
         new_positions as (
             insert into positions (firm_id, account_id, ticket, symbol, side, quantity, opened_quantity, open_price,
                                    opened_at, stop_loss, take_profit, margin_micros, commission_micros, realised_micros,
                                    closed_at, close_price, close_reason)
             select * from unnest($33::uuid[], $34::uuid[], $35::bigint[], $36::text[], $37::text[], $38::bigint[],
                                  $39::bigint[], $40::bigint[], $41::timestamptz[], $42::bigint[], $43::bigint[],
                                  $44::bigint[], $45::bigint[], $46::bigint[], $47::timestamptz[], $48::bigint[],
                                  $49::text[])
             returning 1
         ),
         held_positions as (
             update positions set quantity = new.quantity, stop_loss = new.stop_loss, take_profit = new.take_profit,
                    margin_micros = new.margin_micros, commission_micros = new.commission_micros,
                    realised_micros = new.realised_micros, closed_at = new.closed_at,
                    close_price = new.close_price, close_reason = new.close_reason
             from unnest($50::uuid[], $51::uuid[], $52::bigint[], $53::bigint[], $54::bigint[], $55::bigint[],
                         $56::bigint[], $57::bigint[], $58::bigint[], $59::timestamptz[], $60::bigint[], $61::text[])
                  as new (firm_id, account_id, ticket, quantity, stop_loss, take_profit, margin_micros, commission_micros,
                          realised_micros, closed_at, close_price, close_reason)
             where positions.firm_id = new.firm_id and positions.account_id = new.account_id
               and positions.ticket = new.ticket
             returning 1
         ),
         new_fills as (
             insert into fills (firm_id, account_id, number, at, position_ticket, order_ticket, symbol, side, quantity,
                                price, profit_micros, commission_micros, reason, quote_position)
             select * from unnest($62::uuid[], $63::uuid[], $64::bigint[], $65::timestamptz[], $66::bigint[],
                                  $67::bigint[], $68::text[], $69::text[], $70::bigint[], $71::bigint[],
                                  $72::bigint[], $73::bigint[], $74::text[], $75::bigint[])
             returning 1
         ),
         new_entries as (
             insert into balance_entries (firm_id, account_id, number, at, kind, amount_micros, balance_micros, fill_number)
             select * from unnest($76::uuid[], $77::uuid[], $78::bigint[], $79::timestamptz[], $80::text[],
                                  $81::bigint[], $82::bigint[], $83::bigint[])
             returning 1
         ),
         new_journal as (
             insert into journal (shard, firm_id, seq, at, after_quote, account_id, key, act, outcome, person_id, request_id)
             select $1, * from unnest($84::uuid[], $85::bigint[], $86::timestamptz[], $87::bigint[], $88::uuid[],
                                      $89::text[], $90::text[], $91::text[], $92::uuid[], $93::uuid[])
             returning 1
         ),
         standing as (
             insert into standing_quotes (shard, symbol, bid, ask, source_time, received_at, quote_position)
             select $1, * from unnest($94::text[], $95::bigint[], $96::bigint[], $97::timestamptz[],
                                      $98::timestamptz[], $99::bigint[])
             on conflict on constraint standing_quotes_key do update
             set bid = excluded.bid, ask = excluded.ask, source_time = excluded.source_time,
                 received_at = excluded.received_at, quote_position = excluded.quote_position
             returning 1
         )
         select tradesense_demand('shards', (select count(*) from moved), 1)
                + tradesense_demand('accounts', (select count(*) from changed_accounts), cardinality($8::uuid[]))
                + tradesense_demand('orders', (select count(*) from new_orders), cardinality($18::uuid[]))
                + tradesense_demand('positions', (select count(*) from new_positions), cardinality($33::uuid[]))
                + tradesense_demand('positions', (select count(*) from held_positions), cardinality($50::uuid[]))
                + tradesense_demand('fills', (select count(*) from new_fills), cardinality($62::uuid[]))
                + tradesense_demand('balance_entries', (select count(*) from new_entries), cardinality($76::uuid[]))
                + tradesense_demand('journal', (select count(*) from new_journal), cardinality($84::uuid[]))
                + tradesense_demand('standing_quotes', (select count(*) from standing), cardinality($94::text[])) as written",
        batch.shard,
        batch.epoch,
        batch.after_seq,
        batch.seq,
        to_place("shards", batch.quote_position)?,
        At(batch.at) as _,
        batch.mark.as_ref().map(|mark| to_place("shards", mark.position)).transpose()?,
        &column(accounts, |account| account.firm.uuid()),
        &column(accounts, |account| account.id.uuid()),
        column(accounts, |account| account.status.word()) as _,
        &column(accounts, |account| account.balance.micros()),
        &tracks,
        &column(accounts, |account| i64::from(account.next.ticket)),
        &column(accounts, |account| i64::from(account.next.fill)),
        &column(accounts, |account| i64::from(account.next.entry)),
        &column(accounts, |account| i64::from(account.next.verdict)),
        column(accounts, |account| account.closed_at.map(At)) as _,
        &column(orders, |row| row.firm.uuid()),
        &column(orders, |row| row.account.uuid()),
        &column(orders, |row| i64::from(row.what.ticket.0)),
        &orders_symbols,
        column(orders, |row| row.what.side.word()) as _,
        column(orders, |row| row.what.kind.word()) as _,
        column(orders, |row| row.what.kind.price().map(|price| price.0)) as _,
        &column(orders, |row| row.what.quantity.0),
        column(orders, |row| row.what.stop_loss.map(|price| price.0)) as _,
        column(orders, |row| row.what.take_profit.map(|price| price.0)) as _,
        column(orders, |row| row.what.state.word()) as _,
        column(orders, |row| row.what.state.reason()) as _,
        column(orders, |row| At(row.what.placed_at)) as _,
        column(orders, |row| row.what.done_at.map(At)) as _,
        column(orders, |row| row.what.position.map(|ticket| i64::from(ticket.0))) as _,
        &column(positions, |row| row.firm.uuid()),
        &column(positions, |row| row.account.uuid()),
        &column(positions, |row| i64::from(row.what.ticket.0)),
        &positions_symbols,
        column(positions, |row| row.what.side.word()) as _,
        &column(positions, |row| row.what.quantity.0),
        &column(positions, |row| row.what.opened_quantity.0),
        &column(positions, |row| row.what.open_price.0),
        column(positions, |row| At(row.what.opened_at)) as _,
        column(positions, |row| row.what.stop_loss.map(|price| price.0)) as _,
        column(positions, |row| row.what.take_profit.map(|price| price.0)) as _,
        &column(positions, |row| row.what.margin.micros()),
        &column(positions, |row| row.what.commission.micros()),
        &column(positions, |row| row.what.realised.micros()),
        column(positions, |row| row.what.closed_at.map(At)) as _,
        column(positions, |row| row.what.close_price.map(|price| price.0)) as _,
        column(positions, |row| row.what.close_reason.map(engine::FillReason::word)) as _,
        &column(held, |row| row.firm.uuid()),
        &column(held, |row| row.account.uuid()),
        &column(held, |row| i64::from(row.what.ticket.0)),
        &column(held, |row| row.what.quantity.0),
        column(held, |row| row.what.stop_loss.map(|price| price.0)) as _,
        column(held, |row| row.what.take_profit.map(|price| price.0)) as _,
        &column(held, |row| row.what.margin.micros()),
        &column(held, |row| row.what.commission.micros()),
        &column(held, |row| row.what.realised.micros()),
        column(held, |row| row.what.closed_at.map(At)) as _,
        column(held, |row| row.what.close_price.map(|price| price.0)) as _,
        column(held, |row| row.what.close_reason.map(engine::FillReason::word)) as _,
        &column(fills, |row| row.firm.uuid()),
        &column(fills, |row| row.account.uuid()),
        &column(fills, |row| i64::from(row.what.number)),
        column(fills, |row| At(row.at)) as _,
        &column(fills, |row| i64::from(row.what.position.0)),
        column(fills, |row| row.what.order.map(|ticket| i64::from(ticket.0))) as _,
        &fills_symbols,
        column(fills, |row| row.what.side.word()) as _,
        &column(fills, |row| row.what.quantity.0),
        &column(fills, |row| row.what.price.0),
        &column(fills, |row| row.what.profit.micros()),
        &column(fills, |row| row.what.commission.micros()),
        column(fills, |row| row.what.reason.word()) as _,
        &fills_places,
        &column(entries, |row| row.firm.uuid()),
        &column(entries, |row| row.account.uuid()),
        &column(entries, |row| i64::from(row.what.number)),
        column(entries, |row| At(row.at)) as _,
        column(entries, |row| row.what.kind.word()) as _,
        &column(entries, |row| row.what.amount.micros()),
        &column(entries, |row| row.what.balance.micros()),
        column(entries, |row| row.what.fill.map(i64::from)) as _,
        &column(journal, |entry| entry.firm.uuid()),
        &column(journal, |entry| entry.seq),
        column(journal, |entry| At(entry.at)) as _,
        &journal_places,
        &column(journal, |entry| entry.command.account.uuid()),
        column(journal, |entry| entry.command.key.as_str()) as _,
        &acts,
        &outcomes,
        column(journal, |entry| entry.origin.person.map(PersonId::uuid)) as _,
        column(journal, |entry| entry.origin.request.map(RequestId::uuid)) as _,
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
