//! What every batch writes, in one statement: one way to the database and back, however much it is.

use app::trading::{Batch, ShardError};
use engine::Instruments;
use kernel::{PersonId, RequestId};
use sqlx::PgExecutor;

use crate::Inconsistent;
use crate::error::storage;
use crate::row::{At, column, symbol, to_json, to_place};
use crate::shard::Happened;

/// Moves the shard's row and writes what happens all the time. Whoever cannot move the row has been deposed, and nothing is
/// written; a row that is not written takes all the others back. As one statement, because between two the database
/// would wait for us longer than it works.
pub(crate) async fn write_trading(
    executor: impl PgExecutor<'_>,
    batch: &Batch,
    what: &Happened<'_>,
    instruments: &Instruments,
) -> Result<(), ShardError> {
    let accounts = &batch.accounts;
    let (mut tracks, mut phases) = (Vec::with_capacity(accounts.len()), Vec::with_capacity(accounts.len()));
    for account in accounts {
        tracks.push(to_json("accounts", &account.track)?);
        phases.push(i32::try_from(account.phase).map_err(Inconsistent::from("accounts"))?);
    }
    let orders: Vec<_> =
        what.orders.iter().map(|((firm, account, _), order)| (*firm, *account, *order)).collect();
    let of_orders = |(_, _, order): &(_, _, &engine::Order)| symbol("orders", instruments, order.instrument);
    let orders_symbols = orders.iter().map(of_orders).collect::<Result<Vec<_>, _>>()?;
    let positions: Vec<_> =
        what.positions.iter().map(|((firm, account, _), position)| (*firm, *account, *position)).collect();
    let of_positions =
        |(_, _, position): &(_, _, &engine::Position)| symbol("positions", instruments, position.instrument);
    let positions_symbols = positions.iter().map(of_positions).collect::<Result<Vec<_>, _>>()?;
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
    let audit = &batch.audit;
    sqlx::query!(
        "with moved as (
             update shards set seq = $4, quote_position = $5, at = $6, mark_position = coalesce($7, mark_position)
             where id = $1 and epoch = $2 and seq = $3
             returning 1
         ),
         written_accounts as (
             insert into accounts (firm_id, id, challenge_id, shard, version, phase, status, currency, initial_micros,
             balance_micros, track, next_ticket, next_fill, next_entry, next_verdict, opened_at,
             closed_at, quote_position)
             select account.firm_id, account.id, challenge_id, $1, account.version, phase, status, currency,
             initial_micros, balance_micros, track::jsonb, next_ticket, next_fill, next_entry, next_verdict,
             opened_at, closed_at, $5
             from unnest($8::uuid[], $9::uuid[], $10::uuid[], $11::text[], $12::int[], $13::text[], $14::bigint[], $15::bigint[],
             $16::text[], $17::bigint[], $18::bigint[], $19::bigint[], $20::bigint[], $21::timestamptz[],
             $22::timestamptz[])
             as account (firm_id, id, challenge_id, version, phase, status, initial_micros, balance_micros, track,
             next_ticket, next_fill, next_entry, next_verdict, opened_at, closed_at)
             join program_versions on program_versions.firm_id = account.firm_id
             and program_versions.version = account.version
             on conflict on constraint accounts_key do update
             set status = excluded.status, balance_micros = excluded.balance_micros, track = excluded.track,
             next_ticket = excluded.next_ticket, next_fill = excluded.next_fill, next_entry = excluded.next_entry,
             next_verdict = excluded.next_verdict, closed_at = excluded.closed_at,
             quote_position = excluded.quote_position
             where accounts.shard = excluded.shard and accounts.version = excluded.version
             and accounts.challenge_id = excluded.challenge_id and accounts.phase = excluded.phase
             returning 1
         ),
         written_orders as (
             insert into orders (firm_id, account_id, ticket, symbol, side, kind, price, quantity, stop_loss, take_profit,
             state, reason, placed_at, done_at, position_ticket)
             select * from unnest($23::uuid[], $24::uuid[], $25::bigint[], $26::text[], $27::text[], $28::text[], $29::bigint[],
             $30::bigint[], $31::bigint[], $32::bigint[], $33::text[], $34::text[], $35::timestamptz[],
             $36::timestamptz[], $37::bigint[])
             on conflict on constraint orders_key do update
             set price = excluded.price, quantity = excluded.quantity, stop_loss = excluded.stop_loss,
             take_profit = excluded.take_profit, state = excluded.state, reason = excluded.reason,
             done_at = excluded.done_at, position_ticket = excluded.position_ticket
             where orders.symbol = excluded.symbol and orders.side = excluded.side and orders.kind = excluded.kind
             returning 1
         ),
         written_positions as (
             insert into positions (firm_id, account_id, ticket, symbol, side, quantity, opened_quantity, open_price,
             opened_at, stop_loss, take_profit, margin_micros, commission_micros, realised_micros,
             closed_at, close_price, close_reason)
             select * from unnest($38::uuid[], $39::uuid[], $40::bigint[], $41::text[], $42::text[], $43::bigint[], $44::bigint[],
             $45::bigint[], $46::timestamptz[], $47::bigint[], $48::bigint[], $49::bigint[],
             $50::bigint[], $51::bigint[], $52::timestamptz[], $53::bigint[], $54::text[])
             on conflict on constraint positions_key do update
             set quantity = excluded.quantity, stop_loss = excluded.stop_loss, take_profit = excluded.take_profit,
             margin_micros = excluded.margin_micros, commission_micros = excluded.commission_micros,
             realised_micros = excluded.realised_micros, closed_at = excluded.closed_at,
             close_price = excluded.close_price, close_reason = excluded.close_reason
             where positions.symbol = excluded.symbol and positions.side = excluded.side
             and positions.opened_quantity = excluded.opened_quantity and positions.open_price = excluded.open_price
             returning 1
         ),
         written_fills as (
             insert into fills (firm_id, account_id, number, at, position_ticket, order_ticket, symbol, side, quantity,
             price, profit_micros, commission_micros, reason, quote_position)
             select * from unnest($55::uuid[], $56::uuid[], $57::bigint[], $58::timestamptz[], $59::bigint[], $60::bigint[],
             $61::text[], $62::text[], $63::bigint[], $64::bigint[], $65::bigint[], $66::bigint[],
             $67::text[], $68::bigint[])
             returning 1
         ),
         written_entries as (
             insert into balance_entries (firm_id, account_id, number, at, kind, amount_micros, balance_micros, fill_number)
             select * from unnest($69::uuid[], $70::uuid[], $71::bigint[], $72::timestamptz[], $73::text[], $74::bigint[],
             $75::bigint[], $76::bigint[])
             returning 1
         ),
         written_journal as (
             insert into journal (firm_id, shard, seq, at, after_quote, account_id, key, key_use, act, outcome, person_id,
             request_id)
             select new.firm_id, $1, new.seq, new.at, new.after_quote, new.account_id, new.key,
             (select count(*) from journal old
             where old.firm_id = new.firm_id and old.account_id = new.account_id and old.key = new.key
             and old.at + interval '48 hours' < new.at),
             new.act::jsonb, new.outcome::jsonb, new.person_id, new.request_id
             from unnest($77::uuid[], $78::bigint[], $79::timestamptz[], $80::bigint[], $81::uuid[], $82::text[], $83::text[],
             $84::text[], $85::uuid[], $86::uuid[])
             as new (firm_id, seq, at, after_quote, account_id, key, act, outcome, person_id, request_id)
             returning 1
         ),
         written_standing as (
             insert into standing_quotes (shard, symbol, bid, ask, source_time, received_at, quote_position)
             select $1, * from unnest($87::text[], $88::bigint[], $89::bigint[], $90::timestamptz[], $91::timestamptz[],
             $92::bigint[])
             on conflict on constraint standing_quotes_key do update
             set bid = excluded.bid, ask = excluded.ask, source_time = excluded.source_time,
             received_at = excluded.received_at, quote_position = excluded.quote_position
             returning 1
         ),
         written_audit as (
             insert into audit_entries (firm_id, at, actor_id, action, object_kind, object, request_id, detail)
             select firm_id, at, actor_id, action, object_kind, object, request_id, detail::jsonb
             from unnest($93::uuid[], $94::timestamptz[], $95::uuid[], $96::text[], $97::text[], $98::text[], $99::uuid[], $100::text[]) with ordinality
             as entry (firm_id, at, actor_id, action, object_kind, object, request_id, detail, number)
             order by number
             returning 1
         )
         select tradesense_demand('shards', (select count(*) from moved), 1)
                + tradesense_demand('accounts', (select count(*) from written_accounts), cardinality($8::uuid[]))
                + tradesense_demand('orders', (select count(*) from written_orders), cardinality($23::uuid[]))
                + tradesense_demand('positions', (select count(*) from written_positions), cardinality($38::uuid[]))
                + tradesense_demand('fills', (select count(*) from written_fills), cardinality($55::uuid[]))
                + tradesense_demand('balance_entries', (select count(*) from written_entries), cardinality($69::uuid[]))
                + tradesense_demand('journal', (select count(*) from written_journal), cardinality($77::uuid[]))
                + tradesense_demand('standing_quotes', (select count(*) from written_standing), cardinality($87::text[]))
                + tradesense_demand('audit_entries', (select count(*) from written_audit), cardinality($93::uuid[])) as written",
        batch.shard,
        batch.epoch,
        batch.after_seq,
        batch.seq,
        to_place("shards", batch.quote_position)?,
        At(batch.at) as _,
        batch.mark.as_ref().map(|mark| to_place("shards", mark.position)).transpose()?,
        &column(accounts, |account| account.firm.uuid()),
        &column(accounts, |account| account.id.uuid()),
        &column(accounts, |account| account.challenge.uuid()),
        column(accounts, |account| account.version.as_str()) as _,
        &phases,
        column(accounts, |account| account.status.word()) as _,
        &column(accounts, |account| account.track.first_size.micros()),
        &column(accounts, |account| account.balance.micros()),
        &tracks,
        &column(accounts, |account| i64::from(account.next.ticket)),
        &column(accounts, |account| i64::from(account.next.fill)),
        &column(accounts, |account| i64::from(account.next.entry)),
        &column(accounts, |account| i64::from(account.next.verdict)),
        column(accounts, |account| At(account.track.opened_at)) as _,
        column(accounts, |account| account.closed_at.map(At)) as _,
        &column(&orders, |(firm, _, _)| firm.uuid()),
        &column(&orders, |(_, account, _)| account.uuid()),
        &column(&orders, |(_, _, order)| i64::from(order.ticket.0)),
        &orders_symbols,
        column(&orders, |(_, _, order)| order.side.word()) as _,
        column(&orders, |(_, _, order)| order.kind.word()) as _,
        column(&orders, |(_, _, order)| order.kind.price().map(|price| price.0)) as _,
        &column(&orders, |(_, _, order)| order.quantity.0),
        column(&orders, |(_, _, order)| order.stop_loss.map(|price| price.0)) as _,
        column(&orders, |(_, _, order)| order.take_profit.map(|price| price.0)) as _,
        column(&orders, |(_, _, order)| order.state.word()) as _,
        column(&orders, |(_, _, order)| order.state.reason()) as _,
        column(&orders, |(_, _, order)| At(order.placed_at)) as _,
        column(&orders, |(_, _, order)| order.done_at.map(At)) as _,
        column(&orders, |(_, _, order)| order.position.map(|ticket| i64::from(ticket.0))) as _,
        &column(&positions, |(firm, _, _)| firm.uuid()),
        &column(&positions, |(_, account, _)| account.uuid()),
        &column(&positions, |(_, _, position)| i64::from(position.ticket.0)),
        &positions_symbols,
        column(&positions, |(_, _, position)| position.side.word()) as _,
        &column(&positions, |(_, _, position)| position.quantity.0),
        &column(&positions, |(_, _, position)| position.opened_quantity.0),
        &column(&positions, |(_, _, position)| position.open_price.0),
        column(&positions, |(_, _, position)| At(position.opened_at)) as _,
        column(&positions, |(_, _, position)| position.stop_loss.map(|price| price.0)) as _,
        column(&positions, |(_, _, position)| position.take_profit.map(|price| price.0)) as _,
        &column(&positions, |(_, _, position)| position.margin.micros()),
        &column(&positions, |(_, _, position)| position.commission.micros()),
        &column(&positions, |(_, _, position)| position.realised.micros()),
        column(&positions, |(_, _, position)| position.closed_at.map(At)) as _,
        column(&positions, |(_, _, position)| position.close_price.map(|price| price.0)) as _,
        column(&positions, |(_, _, position)| position.close_reason.map(engine::FillReason::word)) as _,
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
        &column(audit, |entry| entry.firm.uuid()),
        column(audit, |entry| At(entry.at)) as _,
        column(audit, |entry| entry.actor.map(PersonId::uuid)) as _,
        column(audit, |entry| entry.action.as_str()) as _,
        column(audit, |entry| entry.object_kind) as _,
        column(audit, |entry| entry.object.as_str()) as _,
        column(audit, |entry| entry.request.map(RequestId::uuid)) as _,
        &column(audit, |entry| entry.detail.to_string()),
    )
    .fetch_one(executor)
    .await
    .map_err(storage)?;
    Ok(())
}
