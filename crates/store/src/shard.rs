//! The shard's store: one transaction per batch, and the state again after a start.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use app::trading::{
    Batch, Changed, Decided, Loaded, RefusedQuote, ShardCommit, ShardError, ShardStore, TRADED_PAUSE,
};
use async_trait::async_trait;
use engine::{
    Account, Answer, Answers, Counters, Entry, Event, Fill, Fingerprint, Instruments, KEY_MEMORY, Key, Mark,
    Order, Override, Position, Quote, Reset, Restored, Standing, Ticket, Verdict, What,
};
use kernel::{AccountId, Amount, ChallengeId, FirmId, OwnerId, Price, Timestamp, TradingDay};
use rules::{Program, VersionHash};
use sha2::{Digest, Sha256};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::batch::write_trading;
use crate::error::storage;
use crate::pool::{WHOLE_TABLES, read_program};
use crate::records::write_outbox_in_tx;
use crate::row::{
    At, OrderRow, PositionRow, column, counter, from_json, instrument, place, size, status, symbol, to_json,
    to_place, version,
};
use crate::{Inconsistent, Store};

/// The queries below forget keys after 48 hours, as the engine does.
const _: () =
    assert!(KEY_MEMORY.micros() == 172_800_000_000, "the engine's memory of keys is not the store's");

/// Long rows of one statement: a falling market ends accounts by the ten thousand, and what the server cannot hold in memory it
/// writes to its disk twice.
const MOST_ROWS: usize = 2_000;

#[async_trait]
impl ShardStore for Store {
    async fn take_over(&self, shard: i16, owner: OwnerId) -> Result<Loaded, ShardError> {
        let mut tx = self.engine.begin().await.map_err(storage)?;
        let connection = &mut *tx;
        sqlx::raw_sql(WHOLE_TABLES).execute(&mut *connection).await.map_err(storage)?;
        // Waits for a commit of the previous owner that is under way; no later one gets through.
        let row = sqlx::query!(
            "update shards set epoch = epoch + 1 where id = $1 and owner_id = $2 returning epoch, seq",
            shard,
            owner.uuid(),
        )
        .fetch_optional(&mut *connection)
        .await
        .map_err(storage)?
        .ok_or(ShardError::Deposed)?;
        let state = load_state(connection, shard, &self.instruments).await?;
        let state = state.ok_or(ShardError::Deposed)?;
        let traded = lately_traded(connection, shard, state.at).await?;
        let loaded = Loaded { epoch: row.epoch, seq: row.seq, state, traded };
        tx.commit().await.map_err(storage)?;
        Ok(loaded)
    }

    async fn commit(&self, batch: &Batch) -> Result<ShardCommit, ShardError> {
        let instruments = &*self.instruments;
        let what = Happened::of(batch);
        if !what.is_rare(batch) {
            // A statement outside a transaction is one.
            write_trading(&self.engine, batch, &what, instruments).await?;
            return Ok(ShardCommit::proven());
        }
        let mut tx = self.engine.begin().await.map_err(storage)?;
        let connection = &mut *tx;
        write_trading(&mut *connection, batch, &what, instruments).await?;
        write_openings(connection, batch, &what.opened).await?;
        write_orders(connection, &what.orders.old).await?;
        write_days(connection, &what.resets).await?;
        for verdicts in what.verdicts.chunks(MOST_ROWS) {
            write_verdicts(connection, verdicts).await?;
        }
        write_overrides(connection, &what.overrides).await?;
        write_holds(connection, &what.holds).await?;
        write_mark(connection, batch, instruments).await?;
        write_refused(connection, batch.shard, &batch.refused_quotes).await?;
        for entries in batch.outbox.chunks(MOST_ROWS) {
            write_outbox_in_tx(connection, entries).await.map_err(storage)?;
        }
        tx.commit().await.map_err(storage)?;
        Ok(ShardCommit::proven())
    }

    async fn quote_position(&self) -> Result<u64, ShardError> {
        let position =
            sqlx::query_scalar!(r#"select coalesce(max(quote_position), 0) as "position!" from shards"#)
                .fetch_one(&self.engine)
                .await
                .map_err(storage)?;
        Ok(place("shards", position)?)
    }

    async fn first_needed_quote(&self) -> Result<u64, ShardError> {
        let mark = sqlx::query_scalar!(r#"select coalesce(min(mark_position), 0) as "mark!" from shards"#)
            .fetch_one(&self.engine)
            .await
            .map_err(storage)?;
        Ok(place("shards", mark)?.saturating_add(1))
    }

    async fn program(&self, version: &VersionHash) -> Result<Option<Arc<Program>>, ShardError> {
        // Equal names are equal contents, so any firm's row will do.
        let body = sqlx::query_scalar!(
            "select body from program_versions where version = $1 limit 1",
            version.as_str(),
        )
        .fetch_optional(&self.engine)
        .await
        .map_err(storage)?;
        Ok(body.map(|body| read_program(version, &body).map(Arc::new)).transpose()?)
    }
}

/// A verdict with its account and time as JSON. Kept as it is: its SHA-256 is what a receipt is known by, and the type
/// may have more fields by the time it is read.
pub(crate) fn evidence(
    firm: FirmId,
    account: AccountId,
    at: Timestamp,
    verdict: &Verdict,
) -> Result<String, Inconsistent> {
    to_json("verdicts", &(firm, account, at, verdict))
}

/// The verdict in an evidence that is what was written.
pub(crate) fn read_evidence(
    firm: FirmId,
    account: AccountId,
    at: Timestamp,
    evidence: &str,
    digest: [u8; 32],
) -> Result<Verdict, Inconsistent> {
    let table = "verdicts";
    let changed =
        || Inconsistent::new(table, format!("the evidence on account {account} is not what was written"));
    if <[u8; 32]>::from(Sha256::digest(evidence)) != digest {
        return Err(changed());
    }
    let (of_firm, of_account, then, verdict) = from_json(table, evidence)?;
    if (of_firm, of_account, then) == (firm, account, at) { Ok(verdict) } else { Err(changed()) }
}

/// What a batch changes, by table. Of an order or a position only the last word counts.
pub(crate) struct Happened<'a> {
    opened: Vec<&'a Account>,
    /// Accounts that were stored before.
    pub changed: Vec<&'a Account>,
    pub orders: Kept<'a, Order>,
    pub positions: Kept<'a, Position>,
    pub fills: Vec<Row<'a, Fill>>,
    pub entries: Vec<Row<'a, Entry>>,
    resets: Vec<Row<'a, Reset>>,
    /// Each with the time at which it had been decided.
    verdicts: Vec<(Row<'a, Verdict>, Timestamp)>,
    overrides: Vec<Row<'a, Override>>,
    /// Accounts that were put on hold or let go: which of it last.
    holds: BTreeMap<AccountId, (FirmId, bool)>,
}

/// Rows that are written now and changed later.
pub(crate) struct Kept<'a, T> {
    /// Not stored yet.
    pub new: Vec<Row<'a, T>>,
    /// Stored, and different now.
    pub old: Vec<Row<'a, T>>,
}

impl<'a, T> Kept<'a, T> {
    /// Rows by account and ticket, divided by which ticket of their account comes next in the tables.
    fn of(rows: BTreeMap<(AccountId, Ticket), Row<'a, T>>, next: &HashMap<AccountId, u32>) -> Self {
        let is_old = |account, ticket: Ticket| next.get(&account).is_some_and(|next| ticket.0 < *next);
        let (old, new): (Vec<_>, Vec<_>) =
            rows.into_iter().partition(|((account, ticket), _)| is_old(*account, *ticket));
        let rows = |rows: Vec<(_, Row<'a, T>)>| rows.into_iter().map(|(_, row)| row).collect();
        Self { new: rows(new), old: rows(old) }
    }
}

/// Something that happened to an account.
pub(crate) struct Row<'a, T> {
    pub firm: FirmId,
    pub account: AccountId,
    pub at: Timestamp,
    pub what: &'a T,
}

impl<'a> Happened<'a> {
    /// Whether something is to be written beside what every batch writes.
    fn is_rare(&self, batch: &Batch) -> bool {
        !(self.opened.is_empty()
            && self.orders.old.is_empty()
            && self.resets.is_empty()
            && self.verdicts.is_empty()
            && self.overrides.is_empty()
            && self.holds.is_empty()
            && batch.mark.is_none()
            && batch.refused_quotes.is_empty()
            && batch.outbox.is_empty())
    }

    fn of(batch: &'a Batch) -> Self {
        let (mut opened, mut changed) = (Vec::new(), Vec::new());
        let mut next = HashMap::with_capacity(batch.accounts.len());
        for Changed { account, stored } in &batch.accounts {
            match stored {
                None => opened.push(account),
                Some(stored) => {
                    next.insert(account.id, stored.ticket);
                    changed.push(account);
                }
            }
        }
        let (mut orders, mut positions) = (BTreeMap::new(), BTreeMap::new());
        let (mut fills, mut entries) = (Vec::new(), Vec::new());
        let (mut resets, mut overrides, mut holds) = (Vec::new(), Vec::new(), BTreeMap::new());
        let mut verdicts: Vec<(Row<'_, Verdict>, Timestamp)> = Vec::new();
        for Decided { firm, at: decided_at, event: Event { account, at, what }, .. } in &batch.events {
            let (firm, account, at) = (*firm, *account, *at);
            match what {
                // The account is among those that changed.
                What::Opened => {}
                What::Order(what) => {
                    orders.insert((account, what.ticket), Row { firm, account, at, what });
                }
                What::Position(what) => {
                    positions.insert((account, what.ticket), Row { firm, account, at, what });
                }
                What::Fill(what) => fills.push(Row { firm, account, at, what }),
                What::Entry(what) => entries.push(Row { firm, account, at, what }),
                What::Reset(what) => resets.push(Row { firm, account, at, what }),
                What::Verdict(what) => verdicts.push((Row { firm, account, at, what }, *decided_at)),
                What::Override(what) => overrides.push(Row { firm, account, at, what }),
                What::Held { held } => {
                    holds.insert(account, (firm, *held));
                }
            }
        }
        let (orders, positions) = (Kept::of(orders, &next), Kept::of(positions, &next));
        Self { opened, changed, orders, positions, fills, entries, resets, verdicts, overrides, holds }
    }
}

/// Every row that was to be written was written.
fn all(table: &'static str, wanted: usize, written: u64) -> Result<(), ShardError> {
    if u64::try_from(wanted).is_ok_and(|wanted| wanted == written) {
        return Ok(());
    }
    Err(Inconsistent::new(table, format!("{written} of {wanted} rows were written")).into())
}

/// Accounts that opened. A challenge whose first one did needs no opener any more; one in a phase with a rule that asks for
/// the calendar knows none yet.
async fn write_openings(
    connection: &mut PgConnection,
    batch: &Batch,
    opened: &[&Account],
) -> Result<(), ShardError> {
    let table = "accounts";
    if opened.is_empty() {
        return Ok(());
    }
    let (mut tracks, mut phases) = (Vec::with_capacity(opened.len()), Vec::with_capacity(opened.len()));
    for account in opened {
        tracks.push(to_json(table, &account.track)?);
        phases.push(i32::try_from(account.phase).map_err(Inconsistent::from(table))?);
    }
    let firms = column(opened, |account| account.firm.uuid());
    let ids = column(opened, |account| account.id.uuid());
    let written = sqlx::query!(
        "insert into accounts (firm_id, id, challenge_id, shard, version, phase, status, currency, initial_micros,
                               balance_micros, track, next_ticket, next_fill, next_entry, next_verdict, opened_at,
                               closed_at, quote_position)
         select new.firm_id, new.id, challenge_id, $1, new.version, phase, status, currency, initial_micros,
                balance_micros, track, next_ticket, next_fill, next_entry, next_verdict, opened_at, closed_at, $2
         from unnest($3::uuid[], $4::uuid[], $5::uuid[], $6::text[], $7::int[], $8::text[], $9::bigint[], $10::bigint[],
                     $11::text[], $12::bigint[], $13::bigint[], $14::bigint[], $15::bigint[], $16::timestamptz[],
                     $17::timestamptz[])
              as new (firm_id, id, challenge_id, version, phase, status, initial_micros, balance_micros, track,
                      next_ticket, next_fill, next_entry, next_verdict, opened_at, closed_at)
         join program_versions kept on kept.firm_id = new.firm_id and kept.version = new.version",
        batch.shard,
        to_place(table, batch.quote_position)?,
        &firms,
        &ids,
        &column(opened, |account| account.challenge.uuid()),
        column(opened, |account| account.version.as_str()) as _,
        &phases,
        column(opened, |account| account.status.word()) as _,
        &column(opened, |account| account.track.first_size.micros()),
        &column(opened, |account| account.balance.micros()),
        &tracks,
        &column(opened, |account| i64::from(account.next.ticket)),
        &column(opened, |account| i64::from(account.next.fill)),
        &column(opened, |account| i64::from(account.next.entry)),
        &column(opened, |account| i64::from(account.next.verdict)),
        column(opened, |account| At(account.track.opened_at)) as _,
        column(opened, |account| account.closed_at.map(At)) as _,
    )
    .execute(&mut *connection)
    .await
    .map_err(storage)?;
    all(table, opened.len(), written.rows_affected())?;
    sqlx::query!(
        "insert into account_calendars (firm_id, account_id, revision)
         select new.firm_id, new.id, 0
         from unnest($1::uuid[], $2::uuid[], $3::text[], $4::int[]) as new (firm_id, id, version, phase)
         join program_versions kept on kept.firm_id = new.firm_id and kept.version = new.version
         where tradesense_asks_for_calendar(kept.body, new.phase)",
        &firms,
        &ids,
        column(opened, |account| account.version.as_str()) as _,
        &phases,
    )
    .execute(&mut *connection)
    .await
    .map_err(storage)?;
    let first: Vec<_> = opened.iter().filter(|account| account.phase == 0).collect();
    let written = sqlx::query!(
        "update challenges set opened_at = new.opened_at
         from unnest($1::uuid[], $2::uuid[], $3::timestamptz[]) as new (firm_id, challenge_id, opened_at)
         where challenges.firm_id = new.firm_id and challenges.id = new.challenge_id",
        &column(&first, |account| account.firm.uuid()),
        &column(&first, |account| account.challenge.uuid()),
        column(&first, |account| At(account.track.opened_at)) as _,
    )
    .execute(connection)
    .await
    .map_err(storage)?;
    all("challenges", first.len(), written.rows_affected())
}

/// Orders that waited and do so no more, or otherwise.
async fn write_orders(connection: &mut PgConnection, orders: &[Row<'_, Order>]) -> Result<(), ShardError> {
    if orders.is_empty() {
        return Ok(());
    }
    let written = sqlx::query!(
        "update orders set price = new.price, quantity = new.quantity, stop_loss = new.stop_loss,
                take_profit = new.take_profit, state = new.state, reason = new.reason, done_at = new.done_at,
                position_ticket = new.position_ticket
         from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
                     $8::text[], $9::text[], $10::timestamptz[], $11::bigint[])
              as new (firm_id, account_id, ticket, price, quantity, stop_loss, take_profit, state, reason, done_at,
                      position_ticket)
         where orders.firm_id = new.firm_id and orders.account_id = new.account_id and orders.ticket = new.ticket",
        &column(orders, |row| row.firm.uuid()),
        &column(orders, |row| row.account.uuid()),
        &column(orders, |row| i64::from(row.what.ticket.0)),
        column(orders, |row| row.what.kind.price().map(|price| price.0)) as _,
        &column(orders, |row| row.what.quantity.0),
        column(orders, |row| row.what.stop_loss.map(|price| price.0)) as _,
        column(orders, |row| row.what.take_profit.map(|price| price.0)) as _,
        column(orders, |row| row.what.state.word()) as _,
        column(orders, |row| row.what.state.reason()) as _,
        column(orders, |row| row.what.done_at.map(At)) as _,
        column(orders, |row| row.what.position.map(|ticket| i64::from(ticket.0))) as _,
    )
    .execute(connection)
    .await
    .map_err(storage)?;
    all("orders", orders.len(), written.rows_affected())
}

async fn write_days(connection: &mut PgConnection, resets: &[Row<'_, Reset>]) -> Result<(), ShardError> {
    if resets.is_empty() {
        return Ok(());
    }
    let written = sqlx::query!(
        "insert into trading_days (firm_id, account_id, day, started_at, balance_micros, equity_micros)
         select firm_id, account_id, day::date, started_at, balance_micros, equity_micros
         from unnest($1::uuid[], $2::uuid[], $3::text[], $4::timestamptz[], $5::bigint[], $6::bigint[])
              as day (firm_id, account_id, day, started_at, balance_micros, equity_micros)",
        &column(resets, |row| row.firm.uuid()),
        &column(resets, |row| row.account.uuid()),
        &column(resets, |row| TradingDay::to_string(&row.what.day)),
        column(resets, |row| At(row.at)) as _,
        &column(resets, |row| row.what.balance.micros()),
        &column(resets, |row| row.what.equity.micros()),
    )
    .execute(connection)
    .await
    .map_err(storage)?;
    all("trading_days", resets.len(), written.rows_affected())
}

async fn write_verdicts(
    connection: &mut PgConnection,
    verdicts: &[(Row<'_, Verdict>, Timestamp)],
) -> Result<(), ShardError> {
    let table = "verdicts";
    if verdicts.is_empty() {
        return Ok(());
    }
    let mut texts = Vec::with_capacity(verdicts.len());
    let mut digests = Vec::with_capacity(verdicts.len());
    let mut phases = Vec::with_capacity(verdicts.len());
    for (row, _) in verdicts {
        let text = evidence(row.firm, row.account, row.at, row.what)?;
        digests.push(Sha256::digest(&text).to_vec());
        texts.push(text);
        phases.push(i32::try_from(row.what.phase).map_err(Inconsistent::from(table))?);
    }
    let written = sqlx::query!(
        "insert into verdicts (firm_id, account_id, number, at, decided_at, kind, rule, phase, evidence, digest)
         select firm_id, account_id, number, at, decided_at, kind, rule, phase, evidence, digest
         from unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[], $5::text[], $6::text[], $7::int[],
                     $8::text[], $9::bytea[], $10::timestamptz[])
              as verdict (firm_id, account_id, number, at, kind, rule, phase, evidence, digest, decided_at)",
        &column(verdicts, |(row, _)| row.firm.uuid()),
        &column(verdicts, |(row, _)| row.account.uuid()),
        &column(verdicts, |(row, _)| i64::from(row.what.number)),
        column(verdicts, |(row, _)| At(row.at)) as _,
        column(verdicts, |(row, _)| row.what.kind.word()) as _,
        column(verdicts, |(row, _)| &*row.what.rule) as _,
        &phases,
        &texts,
        &digests,
        column(verdicts, |(_, decided_at)| At(*decided_at)) as _,
    )
    .execute(&mut *connection)
    .await
    .map_err(storage)?;
    all(table, verdicts.len(), written.rows_affected())?;
    let due = sqlx::query!(
        "insert into receipts_due (firm_id, account_id, number)
         select firm_id, account_id, number
         from unnest($1::uuid[], $2::uuid[], $3::bigint[]) as verdict (firm_id, account_id, number)",
        &column(verdicts, |(row, _)| row.firm.uuid()),
        &column(verdicts, |(row, _)| row.account.uuid()),
        &column(verdicts, |(row, _)| i64::from(row.what.number)),
    )
    .execute(connection)
    .await
    .map_err(storage)?;
    all("receipts_due", verdicts.len(), due.rows_affected())
}

async fn write_overrides(
    connection: &mut PgConnection,
    overrides: &[Row<'_, Override>],
) -> Result<(), ShardError> {
    let table = "account_overrides";
    if overrides.is_empty() {
        return Ok(());
    }
    let mut rules = Vec::with_capacity(overrides.len());
    let mut places = Vec::with_capacity(overrides.len());
    for row in overrides {
        rules.push(row.what.to.as_ref().map(|rule| to_json(table, rule)).transpose()?);
        places.push(i32::try_from(row.what.rule).map_err(Inconsistent::from(table))?);
    }
    let written = sqlx::query!(
        "insert into account_overrides (firm_id, account_id, at, rule_index, rule, reason, person_id)
         select firm_id, account_id, at, rule_index, rule::jsonb, reason, person_id
         from unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::int[], $5::text[], $6::text[], $7::uuid[])
              as override (firm_id, account_id, at, rule_index, rule, reason, person_id)",
        &column(overrides, |row| row.firm.uuid()),
        &column(overrides, |row| row.account.uuid()),
        column(overrides, |row| At(row.at)) as _,
        &places,
        &rules as _,
        column(overrides, |row| row.what.reason.as_str()) as _,
        &column(overrides, |row| row.what.by.uuid()),
    )
    .execute(connection)
    .await
    .map_err(storage)?;
    all(table, overrides.len(), written.rows_affected())
}

/// Beside the statement that every batch is: an account is held or let go once in a long while.
async fn write_holds(
    connection: &mut PgConnection,
    holds: &BTreeMap<AccountId, (FirmId, bool)>,
) -> Result<(), ShardError> {
    if holds.is_empty() {
        return Ok(());
    }
    let rows: Vec<_> = holds.iter().collect();
    let written = sqlx::query!(
        "update accounts set held = new.held
         from unnest($1::uuid[], $2::uuid[], $3::boolean[]) as new (firm_id, id, held)
         where accounts.firm_id = new.firm_id and accounts.id = new.id",
        &column(&rows, |(_, (firm, _))| firm.uuid()),
        &column(&rows, |(account, _)| account.uuid()),
        &column(&rows, |(_, (_, held))| *held),
    )
    .execute(connection)
    .await
    .map_err(storage)?;
    all("accounts", rows.len(), written.rows_affected())
}

/// The prices that stood at the mark. Whatever stood there stands or was replaced since, so each has its row.
async fn write_mark(
    connection: &mut PgConnection,
    batch: &Batch,
    instruments: &Instruments,
) -> Result<(), ShardError> {
    let table = "standing_quotes";
    let Some(mark) = batch.mark.as_ref().filter(|mark| !mark.standing.is_empty()) else { return Ok(()) };
    let mut symbols = Vec::with_capacity(mark.standing.len());
    for standing in &mark.standing {
        symbols.push(symbol(table, instruments, standing.quote.instrument)?);
    }
    let written = sqlx::query!(
        "update standing_quotes set mark_bid = mark.bid, mark_ask = mark.ask
         from unnest($2::text[], $3::bigint[], $4::bigint[]) as mark (symbol, bid, ask)
         where shard = $1 and standing_quotes.symbol = mark.symbol",
        batch.shard,
        &symbols,
        &column(&mark.standing, |standing| standing.quote.bid.0),
        &column(&mark.standing, |standing| standing.quote.ask.0),
    )
    .execute(connection)
    .await
    .map_err(storage)?;
    all(table, mark.standing.len(), written.rows_affected())
}

async fn write_refused(
    connection: &mut PgConnection,
    shard: i16,
    refused: &[RefusedQuote],
) -> Result<(), ShardError> {
    if refused.is_empty() {
        return Ok(());
    }
    let written = sqlx::query!(
        "insert into refused_quotes (shard, at, source, symbol, bid, ask, source_time, reason)
         select $1, at, source, symbol, bid, ask, source_time, reason
         from unnest($2::timestamptz[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::timestamptz[],
                     $8::text[]) with ordinality
              as refused (at, source, symbol, bid, ask, source_time, reason, number)
         order by number",
        shard,
        column(refused, |quote| At(quote.at)) as _,
        column(refused, |quote| quote.source.as_str()) as _,
        column(refused, |quote| quote.symbol.as_str()) as _,
        &column(refused, |quote| quote.bid),
        &column(refused, |quote| quote.ask),
        column(refused, |quote| At(quote.source_time)) as _,
        column(refused, |quote| &*quote.reason) as _,
    )
    .execute(connection)
    .await
    .map_err(storage)?;
    all("refused_quotes", refused.len(), written.rows_affected())
}

/// The accounts of commands that were stored within [`TRADED_PAUSE`] before `at`.
async fn lately_traded(
    connection: &mut PgConnection,
    shard: i16,
    at: Timestamp,
) -> Result<Vec<(FirmId, AccountId)>, ShardError> {
    let rows = sqlx::query!(
        "select distinct firm_id, account_id from journal
         where shard = $1 and seq > coalesce(
             (select seq from journal where shard = $1 and at <= $2 order by seq desc limit 1), 0)",
        shard,
        At(at.before(TRADED_PAUSE).unwrap_or(at)) as _,
    )
    .fetch_all(connection)
    .await
    .map_err(storage)?;
    let accounts = rows.into_iter();
    Ok(accounts.map(|row| (FirmId::from_uuid(row.firm_id), AccountId::from_uuid(row.account_id))).collect())
}

/// A shard as it is written; nothing if there is none.
pub(crate) async fn load_state(
    connection: &mut PgConnection,
    shard: i16,
    instruments: &Instruments,
) -> Result<Option<Restored>, ShardError> {
    let table = "shards";
    let row = sqlx::query!(
        r#"select quote_position, mark_position, at as "at: At" from shards where id = $1"#,
        shard,
    )
    .fetch_optional(&mut *connection)
    .await
    .map_err(storage)?;
    let Some(row) = row else { return Ok(None) };
    let (last, mark) = load_standing(connection, shard, instruments).await?;
    Ok(Some(Restored {
        at: row.at.into(),
        last: Mark { position: place(table, row.quote_position)?, standing: last },
        mark: Mark { position: place(table, row.mark_position)?, standing: mark },
        accounts: load_accounts(connection, shard, instruments).await?,
        programs: load_programs(connection, shard).await?,
    }))
}

/// The standing quotes, and those that stood at the mark; of these only the prices are kept.
async fn load_standing(
    connection: &mut PgConnection,
    shard: i16,
    instruments: &Instruments,
) -> Result<(Vec<Standing>, Vec<Standing>), ShardError> {
    let table = "standing_quotes";
    let rows = sqlx::query!(
        r#"select symbol, bid, ask, source_time as "source_time: At", received_at as "received_at: At", quote_position,
                  mark_bid, mark_ask
           from standing_quotes where shard = $1 order by symbol"#,
        shard,
    )
    .fetch_all(connection)
    .await
    .map_err(storage)?;
    let (mut last, mut mark) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
    for row in rows {
        let instrument = instrument(table, instruments, &row.symbol)?;
        let standing = |bid, ask| -> Result<Standing, Inconsistent> {
            let (bid, ask, source_time) = (Price(bid), Price(ask), row.source_time.into());
            Ok(Standing {
                quote: Quote { instrument, bid, ask, source_time },
                received_at: row.received_at.into(),
                position: place(table, row.quote_position)?,
            })
        };
        last.push(standing(row.bid, row.ask)?);
        if let (Some(bid), Some(ask)) = (row.mark_bid, row.mark_ask) {
            mark.push(standing(bid, ask)?);
        }
    }
    Ok((last, mark))
}

pub(crate) async fn load_programs(
    connection: &mut PgConnection,
    shard: i16,
) -> Result<Vec<(VersionHash, Arc<Program>)>, ShardError> {
    let rows = sqlx::query!(
        "select version, body from program_versions kept
         where exists (select from accounts
                       where accounts.firm_id = kept.firm_id and accounts.version = kept.version
                         and accounts.shard = $1)
         order by version, firm_id",
        shard,
    )
    .fetch_all(connection)
    .await
    .map_err(storage)?;
    let mut programs = BTreeMap::new();
    for row in rows {
        let version = version("program_versions", &row.version)?;
        programs.insert(version.clone(), Arc::new(read_program(&version, &row.body)?));
    }
    Ok(programs.into_iter().collect())
}

pub(crate) async fn load_accounts(
    connection: &mut PgConnection,
    shard: i16,
    instruments: &Instruments,
) -> Result<Vec<(Account, u64)>, ShardError> {
    let table = "accounts";
    let rows = sqlx::query!(
        r#"select firm_id, id, challenge_id, version, phase, status, held, balance_micros, track,
                  next_ticket, next_fill, next_entry, next_verdict, closed_at as "closed_at: At", quote_position
           from accounts where shard = $1 order by id"#,
        shard,
    )
    .fetch_all(&mut *connection)
    .await
    .map_err(storage)?;
    let mut accounts = Vec::with_capacity(rows.len());
    let mut places: HashMap<Uuid, usize> = HashMap::with_capacity(rows.len());
    for row in rows {
        places.insert(row.id, accounts.len());
        let account = Account {
            firm: FirmId::from_uuid(row.firm_id),
            id: AccountId::from_uuid(row.id),
            challenge: ChallengeId::from_uuid(row.challenge_id),
            version: version(table, &row.version)?,
            phase: size(table, row.phase)?,
            status: status(&row.status)?,
            held: row.held,
            balance: Amount::from_micros(row.balance_micros),
            track: from_json(table, &row.track)?,
            positions: BTreeMap::new(),
            orders: BTreeMap::new(),
            next: Counters {
                ticket: counter(table, row.next_ticket)?,
                fill: counter(table, row.next_fill)?,
                entry: counter(table, row.next_entry)?,
                verdict: counter(table, row.next_verdict)?,
            },
            closed_at: row.closed_at.map(Timestamp::from),
            answers: Answers::default(),
        };
        accounts.push((account, place(table, row.quote_position)?));
    }
    for row in load_positions(connection, shard).await? {
        let account = owner("positions", &mut accounts, &places, row.account_id)?;
        let position = row.read(instruments)?;
        account.positions.insert(position.ticket, position);
    }
    for row in load_orders(connection, shard).await? {
        let account = owner("orders", &mut accounts, &places, row.account_id)?;
        let order = row.read(instruments)?;
        account.orders.insert(order.ticket, order);
    }
    for (id, key, answer) in load_answers(connection, shard).await? {
        owner("journal", &mut accounts, &places, id)?.answers.remember(key, answer);
    }
    Ok(accounts)
}

fn owner<'a>(
    table: &'static str,
    accounts: &'a mut [(Account, u64)],
    places: &HashMap<Uuid, usize>,
    id: Uuid,
) -> Result<&'a mut Account, Inconsistent> {
    let account = places.get(&id).and_then(|place| accounts.get_mut(*place));
    let account = account.map(|(account, _)| account);
    account.ok_or_else(|| Inconsistent::new(table, format!("there is no account {id}")))
}

async fn load_positions(connection: &mut PgConnection, shard: i16) -> Result<Vec<PositionRow>, ShardError> {
    let rows = sqlx::query_as!(
        PositionRow,
        r#"select account_id, ticket, symbol, side, quantity, opened_quantity, open_price,
                  held.opened_at as "opened_at: At", stop_loss, take_profit, margin_micros, commission_micros,
                  realised_micros, held.closed_at as "closed_at: At", close_price, close_reason
           from positions held
           join accounts on accounts.firm_id = held.firm_id and accounts.id = held.account_id
           where accounts.shard = $1 and held.closed_at is null"#,
        shard,
    )
    .fetch_all(connection)
    .await;
    rows.map_err(storage)
}

async fn load_orders(connection: &mut PgConnection, shard: i16) -> Result<Vec<OrderRow>, ShardError> {
    let rows = sqlx::query_as!(
        OrderRow,
        r#"select account_id, ticket, symbol, side, kind, price, quantity, stop_loss, take_profit, state, reason,
                  placed_at as "placed_at: At", done_at as "done_at: At", position_ticket
           from orders
           join accounts on accounts.firm_id = orders.firm_id and accounts.id = orders.account_id
           where accounts.shard = $1 and orders.state = 'working'"#,
        shard,
    )
    .fetch_all(connection)
    .await;
    rows.map_err(storage)
}

/// The answers that the engine still remembers: those of the last 48 hours.
async fn load_answers(
    connection: &mut PgConnection,
    shard: i16,
) -> Result<Vec<(Uuid, Key, Answer)>, ShardError> {
    let rows = sqlx::query!(
        r#"select account_id, key, journal.at as "at: At", act, outcome
           from shards
           join journal on journal.shard = shards.id and journal.at >= shards.at - interval '48 hours'
           where shards.id = $1
           order by journal.seq"#,
        shard,
    )
    .fetch_all(connection)
    .await
    .map_err(storage)?;
    let mut answers = Vec::with_capacity(rows.len());
    for row in rows {
        let act = from_json("journal", &row.act)?;
        let answer = Answer {
            at: row.at.into(),
            fingerprint: Fingerprint::of(&act).map_err(Inconsistent::from("journal"))?,
            outcome: from_json("journal", &row.outcome)?,
        };
        answers.push((row.account_id, read_key(&row.key)?, answer));
    }
    Ok(answers)
}

pub(crate) fn read_key(text: &str) -> Result<Key, Inconsistent> {
    Key::parse(text).ok_or_else(|| Inconsistent::new("journal", format!("{text:?} is no key")))
}
