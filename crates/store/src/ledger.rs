//! The firm's books. Other stores post in the transaction of the cause, with [`post_in_tx`].

use std::collections::BTreeMap;

use app::AppError;
use app::ledger::{
    Account, AsOf, Balance, Books, Ending, Entry, EntryKind, Hold, HoldState, LedgerError, LedgerStore, Line,
    Outcome, Posted, Recorded, Snapshot, Transfer, ended_alike,
};
use async_trait::async_trait;
use kernel::{Currency, EntryId, FirmId, HoldId, Money, Timestamp};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::error::Doing;
use crate::row::{At, by_word, column, money};
use crate::{Inconsistent, Store, Tx};

const TRANSFERS: &str = "ledger_transfers";
const ENTRIES: &str = "ledger_entries";
const HOLDS: &str = "ledger_holds";

#[async_trait]
impl LedgerStore for Store {
    async fn post(
        &self,
        firm: FirmId,
        entries: &[Entry],
        recorded_at: Timestamp,
    ) -> Result<Vec<Posted>, AppError> {
        let mut tx = self.begin(firm).await?;
        let posted = post_in_tx(&mut tx, entries, recorded_at).await?;
        let _proof = tx.commit().await?;
        Ok(posted)
    }

    async fn entry(&self, firm: FirmId, id: EntryId) -> Result<Option<Recorded>, AppError> {
        let mut tx = self.begin(firm).await?;
        entry_in_tx(&mut tx, id).await
    }

    async fn balance(
        &self,
        firm: FirmId,
        account: &Account,
        currency: Currency,
    ) -> Result<Balance, AppError> {
        let mut tx = self.begin(firm).await?;
        let mut found = balances_in_tx(&mut tx, &[(account.clone(), currency)]).await?;
        found.pop().ok_or_else(|| Inconsistent::new(TRANSFERS, "an account has no sum").into())
    }

    async fn books(&self, firm: FirmId, as_of: AsOf) -> Result<Books, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query!(
            r#"select side.account as "account!", moved.currency as "currency!",
                      coalesce(sum(moved.amount_minor) filter (where side.debited), 0)::bigint as "debits!",
                      coalesce(sum(moved.amount_minor) filter (where not side.debited), 0)::bigint as "credits!"
               from ledger_transfers moved
               cross join lateral (values (moved.debit, true), (moved.credit, false)) side (account, debited)
               where moved.firm_id = $1
                 and ($2::timestamptz is null or moved.effective_at <= $2)
                 and ($3::timestamptz is null or moved.recorded_at <= $3)
               group by 2, 1 order by 2, 1"#,
            firm.uuid(),
            as_of.effective.map(At) as _,
            as_of.recorded.map(At) as _,
        )
        .fetch_all(tx.connection())
        .await
        .doing("summing the books")?;
        let balances = rows
            .into_iter()
            .map(|row| balance(&row.account, &row.currency, row.debits, row.credits))
            .collect::<Result<_, _>>()?;
        Ok(Books { balances })
    }

    async fn lines(
        &self,
        firm: FirmId,
        account: &Account,
        currency: Currency,
        after: i64,
        most: i64,
    ) -> Result<Vec<Line>, AppError> {
        let name = account.to_string();
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query!(
            r#"select entry.number, entry.id, entry.kind, entry.cause, entry.effective_at as "effective_at: At",
                      moved.debit, moved.credit, moved.amount_minor
               from (select entry_id, line, debit, credit, amount_minor from ledger_transfers
                     where firm_id = $1 and debit = $2 and currency = $3
                     union all
                     select entry_id, line, debit, credit, amount_minor from ledger_transfers
                     where firm_id = $1 and credit = $2 and currency = $3) moved
               join ledger_entries entry on entry.firm_id = $1 and entry.id = moved.entry_id
               where entry.number > $4
               order by entry.number, moved.line limit $5"#,
            firm.uuid(),
            name,
            currency.code(),
            after,
            most,
        )
        .fetch_all(tx.connection())
        .await
        .doing("reading an account")?;
        let mut lines = Vec::with_capacity(rows.len());
        for row in rows {
            let (debit, credit) = (
                row.debit.ok_or_else(|| Inconsistent::new(TRANSFERS, "no debit"))?,
                row.credit.ok_or_else(|| Inconsistent::new(TRANSFERS, "no credit"))?,
            );
            let size = row.amount_minor.ok_or_else(|| Inconsistent::new(TRANSFERS, "no amount"))?;
            let debited = debit == name;
            let signed = if debited { Some(size) } else { size.checked_neg() };
            let signed = signed.ok_or_else(|| Inconsistent::new(TRANSFERS, "an amount out of range"))?;
            lines.push(Line {
                number: row.number,
                entry: EntryId::from_uuid(row.id),
                kind: row.kind,
                cause: row.cause,
                effective_at: row.effective_at.into(),
                other: read_account(if debited { &credit } else { &debit })?,
                amount: Money::from_minor(signed, currency),
            });
        }
        Ok(lines)
    }

    async fn open_hold(&self, firm: FirmId, hold: &Hold, recorded_at: Timestamp) -> Result<Posted, AppError> {
        let mut tx = self.begin(firm).await?;
        let posted = open_hold_in_tx(&mut tx, hold, recorded_at).await?;
        let _proof = tx.commit().await?;
        Ok(posted)
    }

    async fn end_hold(
        &self,
        firm: FirmId,
        id: HoldId,
        outcome: &Outcome,
        at: Timestamp,
    ) -> Result<Option<Hold>, AppError> {
        let mut tx = self.begin(firm).await?;
        let Some(ended) = end_hold_in_tx(&mut tx, id, outcome, at).await? else { return Ok(None) };
        let _proof = tx.commit().await?;
        Ok(Some(ended))
    }

    async fn hold(&self, firm: FirmId, id: HoldId) -> Result<Option<Hold>, AppError> {
        let mut tx = self.begin(firm).await?;
        Ok(hold_in_tx(&mut tx, id).await?.map(|(hold, _)| hold))
    }

    async fn run_out(&self, firm: FirmId, at: Timestamp, most: i64) -> Result<Vec<HoldId>, AppError> {
        let mut tx = self.begin(firm).await?;
        let ids = sqlx::query_scalar!(
            "select id from ledger_holds hold
             where firm_id = $1 and expires_at <= $2
               and not exists (select from ledger_hold_ends done
                               where done.firm_id = hold.firm_id and done.hold_id = hold.id)
             order by expires_at, id limit $3",
            firm.uuid(),
            At(at) as _,
            most,
        )
        .fetch_all(tx.connection())
        .await
        .doing("looking for holds that have run out")?;
        Ok(ids.into_iter().map(HoldId::from_uuid).collect())
    }

    async fn snapshot(&self, firm: FirmId, at: Timestamp) -> Result<Option<Snapshot>, AppError> {
        let doing = "taking a snapshot of the books";
        let mut tx = self.begin(firm).await?;
        // Transactions below the horizon have all ended: what they wrote is there for every later statement.
        let taken = sqlx::query_scalar!(
            "insert into ledger_snapshots (firm_id, number, horizon, cluster, taken_at)
             select $1, 1 + coalesce(max(number), 0), pg_snapshot_xmin(pg_current_snapshot()),
                    (select system_identifier from pg_control_system()), $2
             from ledger_snapshots where firm_id = $1
             on conflict on constraint ledger_snapshots_key do nothing returning number",
            firm.uuid(),
            At(at) as _,
        )
        .fetch_optional(tx.connection())
        .await
        .doing(doing)?;
        let Some(number) = taken else { return Ok(None) };
        let written = sqlx::query!(
            "with own as (
                 select horizon, cluster from ledger_snapshots where firm_id = $1 and number = $2
             ), last as (
                 select before.number, before.horizon from ledger_snapshots before, own
                 where before.firm_id = $1 and before.number < $2 and before.cluster = own.cluster
                 order by before.number desc limit 1
             ), moved as (
                 select debit, credit, currency, amount_minor from ledger_transfers
                 where firm_id = $1 and transaction < (select horizon from own)
                   and transaction >= coalesce((select horizon from last), '0'::xid8)
             )
             insert into ledger_snapshot_lines (firm_id, number, account, currency, debits, credits)
             select $1, $2, account, currency, sum(debits)::bigint, sum(credits)::bigint
             from (select line.account, line.currency, line.debits, line.credits
                   from ledger_snapshot_lines line, last where line.firm_id = $1 and line.number = last.number
                   union all
                   select debit, currency, amount_minor, 0 from moved
                   union all
                   select credit, currency, 0, amount_minor from moved) side
             group by account, currency",
            firm.uuid(),
            number,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        let _proof = tx.commit().await?;
        let balances = i64::try_from(written.rows_affected()).map_err(Inconsistent::from(TRANSFERS))?;
        Ok(Some(Snapshot { number, balances }))
    }
}

fn read_account(name: &str) -> Result<Account, Inconsistent> {
    name.parse().map_err(Inconsistent::from(TRANSFERS))
}

fn balance(account: &str, currency: &str, debits: i64, credits: i64) -> Result<Balance, Inconsistent> {
    let currency = Currency::parse(currency).map_err(Inconsistent::from(TRANSFERS))?;
    Ok(Balance { account: read_account(account)?, currency, debits, credits })
}

/// One transfer of an entry, for `unnest`.
struct LineOf<'e> {
    entry: &'e Entry,
    line: i16,
    transfer: &'e Transfer,
}

/// Posts entries in the transaction of their cause, all or none, in the order given.
pub(crate) async fn post_in_tx(
    tx: &mut Tx,
    entries: &[Entry],
    recorded_at: Timestamp,
) -> Result<Vec<Posted>, AppError> {
    if entries.is_empty() {
        return Ok(Vec::new());
    }
    let doing = "posting to the ledger";
    let firm = tx.firm();
    let distinct = distinct(entries)?;
    let bounded = bounded(entries);
    lock_in_tx(tx, &bounded).await?;
    let mut lines = Vec::new();
    for entry in &distinct {
        for (line, transfer) in (1_i16..).zip(entry.transfers()) {
            lines.push(LineOf { entry, line, transfer });
        }
    }
    // Keys between the two are looked at when the statement ends: it writes both.
    let new = sqlx::query_scalar!(
        r#"with new as (
               insert into ledger_entries (firm_id, id, kind, cause, effective_at, recorded_at, reverses_id, reason, digest, lines)
               select $1, id, kind, cause, effective_at, $2, reverses_id, reason, digest, lines
               from unnest($3::uuid[], $4::text[], $5::text[], $6::timestamptz[], $7::uuid[], $8::text[], $9::bytea[], $10::smallint[])
                    with ordinality
                    as entry (id, kind, cause, effective_at, reverses_id, reason, digest, lines, place)
               order by place
               on conflict on constraint ledger_entries_key do nothing
               returning id, effective_at
           ), written as (
               insert into ledger_transfers (firm_id, entry_id, line, currency, amount_minor, debit, credit, effective_at, recorded_at)
               select $1, line.entry_id, line.line, line.currency, line.amount_minor, line.debit, line.credit, new.effective_at, $2
               from unnest($11::uuid[], $12::smallint[], $13::text[], $14::bigint[], $15::text[], $16::text[])
                    as line (entry_id, line, currency, amount_minor, debit, credit)
               join new on new.id = line.entry_id
           )
           select id as "id!" from new"#,
        firm.uuid(),
        At(recorded_at) as _,
        &column(&distinct, |entry| entry.id().uuid()),
        column(&distinct, |entry| entry.kind().word()) as _,
        column(&distinct, |entry| entry.cause()) as _,
        column(&distinct, |entry| At(entry.effective_at())) as _,
        column(&distinct, |entry| entry.reverses().map(EntryId::uuid)) as _,
        column(&distinct, |entry| entry.reason()) as _,
        column(&distinct, |entry| entry.digest().to_vec()) as _,
        &column(&distinct, |entry| i16::try_from(entry.transfers().len()).unwrap_or(i16::MAX)),
        &column(&lines, |line| line.entry.id().uuid()),
        &column(&lines, |line| line.line),
        column(&lines, |line| line.transfer.amount().currency().code()) as _,
        &column(&lines, |line| line.transfer.amount().minor()),
        &column(&lines, |line| line.transfer.debit().to_string()),
        &column(&lines, |line| line.transfer.credit().to_string()),
    )
    .fetch_all(tx.connection())
    .await
    .doing(doing)?;
    if new.len() < distinct.len() {
        same_content_in_tx(tx, entries).await?;
    }
    for balance in balances_in_tx(tx, &bounded).await? {
        if balance.debits > balance.credits {
            return Err(LedgerError::FundsShort(balance.account.kind().to_owned()).into());
        }
    }
    let posted = |entry: &Entry| {
        if new.contains(&entry.id().uuid()) { Posted::New } else { Posted::AsItWas }
    };
    Ok(entries.iter().map(posted).collect())
}

/// Each entry once. Two contents under one id are none.
fn distinct(entries: &[Entry]) -> Result<Vec<&Entry>, LedgerError> {
    let mut named = BTreeMap::new();
    let mut distinct = Vec::with_capacity(entries.len());
    for entry in entries {
        match named.insert(entry.id(), entry.digest()) {
            None => distinct.push(entry),
            Some(digest) if digest == entry.digest() => {}
            Some(_) => return Err(LedgerError::IdReused),
        }
    }
    Ok(distinct)
}

/// Refuses ids that name another content.
async fn same_content_in_tx(tx: &mut Tx, entries: &[Entry]) -> Result<(), AppError> {
    let firm = tx.firm();
    let stored = sqlx::query!(
        "select id, digest from ledger_entries where firm_id = $1 and id = any($2)",
        firm.uuid(),
        &column(entries, |entry| entry.id().uuid()),
    )
    .fetch_all(tx.connection())
    .await
    .doing("comparing entries")?;
    for entry in entries {
        let found = stored.iter().find(|row| row.id == entry.id().uuid());
        let found = found.ok_or_else(|| Inconsistent::new(ENTRIES, "an id conflicts with no row"))?;
        if found.digest != entry.digest() {
            return Err(LedgerError::IdReused.into());
        }
    }
    Ok(())
}

/// The accounts that entries debit and that may not fall below zero, each once, in one order for everybody.
fn bounded(entries: &[Entry]) -> Vec<(Account, Currency)> {
    let debited = entries.iter().flat_map(Entry::transfers).map(|it| (it.debit(), it.amount().currency()));
    let mut bounded: Vec<_> = debited
        .filter(|(account, _)| account.bounded())
        .map(|(account, currency)| (account.clone(), currency))
        .collect();
    bounded.sort();
    bounded.dedup();
    bounded
}

/// Lets nobody else debit these accounts until the transaction ends.
async fn lock_in_tx(tx: &mut Tx, accounts: &[(Account, Currency)]) -> Result<(), AppError> {
    if accounts.is_empty() {
        return Ok(());
    }
    let firm = tx.firm();
    let key = |(account, currency): &(Account, Currency)| {
        let hash = Sha256::digest(format!("ledger {firm} {account} {currency}"));
        let mut first = [0_u8; 8];
        for (to, from) in first.iter_mut().zip(hash) {
            *to = from;
        }
        i64::from_be_bytes(first)
    };
    let mut keys = column(accounts, key);
    keys.sort_unstable();
    sqlx::query!(
        r#"select count(pg_advisory_xact_lock(key)::text) as "locked!"
           from (select key from unnest($1::bigint[]) key order by key) sorted"#,
        &keys,
    )
    .fetch_one(tx.connection())
    .await
    .doing("locking accounts")?;
    Ok(())
}

/// What stands on accounts, in their order: the newest snapshot and what was written since.
async fn balances_in_tx(tx: &mut Tx, accounts: &[(Account, Currency)]) -> Result<Vec<Balance>, AppError> {
    if accounts.is_empty() {
        return Ok(Vec::new());
    }
    let firm = tx.firm();
    let rows = sqlx::query!(
        r#"with last as materialized (
               select number, horizon from ledger_snapshots
               where firm_id = $1 and cluster = (select system_identifier from pg_control_system())
               order by number desc limit 1
           )
           select sums.debits as "debits!", sums.credits as "credits!"
           from unnest($2::text[], $3::text[]) with ordinality as wanted (account, currency, place)
           cross join lateral (
               select coalesce(sum(side.debits), 0)::bigint as debits, coalesce(sum(side.credits), 0)::bigint as credits
               from (select line.debits, line.credits from ledger_snapshot_lines line
                     where line.firm_id = $1 and line.number = (select number from last)
                       and line.account = wanted.account and line.currency = wanted.currency
                     union all
                     select amount_minor, 0 from ledger_transfers
                     where firm_id = $1 and debit = wanted.account and currency = wanted.currency
                       and transaction >= coalesce((select horizon from last), '0'::xid8)
                     union all
                     select 0, amount_minor from ledger_transfers
                     where firm_id = $1 and credit = wanted.account and currency = wanted.currency
                       and transaction >= coalesce((select horizon from last), '0'::xid8)) side
           ) sums
           order by wanted.place"#,
        firm.uuid(),
        &column(accounts, |(account, _)| account.to_string()),
        &column(accounts, |(_, currency)| currency.code().to_owned()),
    )
    .fetch_all(tx.connection())
    .await
    .doing("summing accounts")?;
    let balance = |((account, currency), debits, credits): (&(Account, Currency), i64, i64)| Balance {
        account: account.clone(),
        currency: *currency,
        debits,
        credits,
    };
    Ok(accounts.iter().zip(rows).map(|(account, row)| balance((account, row.debits, row.credits))).collect())
}

async fn entry_in_tx(tx: &mut Tx, id: EntryId) -> Result<Option<Recorded>, AppError> {
    let firm = tx.firm();
    let rows = sqlx::query!(
        r#"select entry.number, entry.kind, entry.cause, entry.effective_at as "effective_at: At",
                  entry.recorded_at as "recorded_at: At", entry.reverses_id, entry.reason, entry.digest,
                  moved.currency, moved.amount_minor, moved.debit, moved.credit
           from ledger_entries entry
           join ledger_transfers moved on moved.firm_id = entry.firm_id and moved.entry_id = entry.id
           where entry.firm_id = $1 and entry.id = $2 order by moved.line"#,
        firm.uuid(),
        id.uuid(),
    )
    .fetch_all(tx.connection())
    .await
    .doing("reading an entry")?;
    let Some(head) = rows.first() else { return Ok(None) };
    let kind = by_word(ENTRIES, &EntryKind::ALL, EntryKind::word, &head.kind)?;
    let mut transfers = Vec::with_capacity(rows.len());
    for row in &rows {
        let amount = money(TRANSFERS, row.amount_minor, &row.currency)?;
        let transfer = Transfer::new(read_account(&row.debit)?, read_account(&row.credit)?, amount);
        transfers.push(transfer.map_err(Inconsistent::from(TRANSFERS))?);
    }
    let entry = Entry::stored(
        id,
        kind,
        head.cause.clone(),
        head.effective_at.into(),
        transfers,
        head.reverses_id.map(EntryId::from_uuid),
        head.reason.clone(),
    )
    .map_err(Inconsistent::from(ENTRIES))?;
    if entry.digest().as_slice() != head.digest {
        return Err(Inconsistent::new(ENTRIES, "an entry is not what was posted").into());
    }
    Ok(Some(Recorded { number: head.number, at: head.recorded_at.into(), entry }))
}

/// Opens a hold in the transaction of its cause.
pub(crate) async fn open_hold_in_tx(
    tx: &mut Tx,
    hold: &Hold,
    recorded_at: Timestamp,
) -> Result<Posted, AppError> {
    let firm = tx.firm();
    let entry = hold.entry()?;
    let posted = post_in_tx(tx, std::slice::from_ref(&entry), recorded_at).await?;
    if posted != [Posted::New] {
        let found = hold_in_tx(tx, hold.id).await?;
        let alike = found.is_some_and(|(found, _)| Hold { state: HoldState::Pending, ..found } == *hold);
        return if alike { Ok(Posted::AsItWas) } else { Err(LedgerError::IdReused.into()) };
    }
    sqlx::query!(
        "insert into ledger_holds (firm_id, id, account, currency, amount_minor, cause, opened_at, expires_at, entry_id)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
        firm.uuid(),
        hold.id.uuid(),
        hold.account.to_string(),
        hold.amount.currency().code(),
        hold.amount.minor(),
        hold.cause,
        At(hold.opened_at) as _,
        hold.expires_at.map(At) as _,
        entry.id().uuid(),
    )
    .execute(tx.connection())
    .await
    .doing("opening a hold")?;
    Ok(Posted::New)
}

/// Ends a hold in the transaction of its cause. One that has ended as it is to end stays as it is; one that has ended
/// otherwise is refused.
pub(crate) async fn end_hold_in_tx(
    tx: &mut Tx,
    id: HoldId,
    outcome: &Outcome,
    at: Timestamp,
) -> Result<Option<Hold>, AppError> {
    let Some((hold, _)) = hold_in_tx(tx, id).await? else { return Ok(None) };
    // Everybody who ends this hold debits what is held, so whoever waits here reads how it ended.
    lock_in_tx(tx, &[(hold.account.held()?, hold.amount.currency())]).await?;
    let found = hold_in_tx(tx, id).await?;
    let (hold, ended_by) = found.ok_or_else(|| Inconsistent::new(HOLDS, "a hold is gone"))?;
    if let Some(entry) = ended_by {
        return ended_in_tx(tx, hold, entry, outcome).await.map(Some);
    }
    let Ending { state, entry, .. } = hold.end(outcome.clone(), at)?;
    let firm = tx.firm();
    post_in_tx(tx, std::slice::from_ref(&entry), at).await?;
    sqlx::query!(
        "insert into ledger_hold_ends (firm_id, hold_id, state, at, entry_id) values ($1, $2, $3, $4, $5)",
        firm.uuid(),
        id.uuid(),
        state.word(),
        At(at) as _,
        entry.id().uuid(),
    )
    .execute(tx.connection())
    .await
    .doing("ending a hold")?;
    Ok(Some(Hold { state, ..hold }))
}

async fn ended_in_tx(tx: &mut Tx, hold: Hold, entry: EntryId, outcome: &Outcome) -> Result<Hold, AppError> {
    let found = entry_in_tx(tx, entry).await?;
    let found = found.ok_or_else(|| Inconsistent::new(HOLDS, "a hold ended without an entry"))?;
    let ending = Ending { hold: hold.id, state: hold.state, entry: found.entry };
    if ended_alike(&hold, &ending, outcome)? {
        Ok(hold)
    } else {
        Err(LedgerError::HoldEnded(hold.state).into())
    }
}

/// A hold, and the entry that ended it.
async fn hold_in_tx(tx: &mut Tx, id: HoldId) -> Result<Option<(Hold, Option<EntryId>)>, AppError> {
    let firm = tx.firm();
    let row = sqlx::query!(
        r#"select hold.account, hold.currency, hold.amount_minor, hold.cause, hold.opened_at as "opened_at: At",
                  hold.expires_at as "expires_at: At", done.state as "state?", done.entry_id as "ended_by?: Uuid"
           from ledger_holds hold
           left join ledger_hold_ends done on done.firm_id = hold.firm_id and done.hold_id = hold.id
           where hold.firm_id = $1 and hold.id = $2"#,
        firm.uuid(),
        id.uuid(),
    )
    .fetch_optional(tx.connection())
    .await
    .doing("reading a hold")?;
    let Some(row) = row else { return Ok(None) };
    let state = match &row.state {
        None => HoldState::Pending,
        Some(word) => by_word(HOLDS, &HoldState::ALL, HoldState::word, word)?,
    };
    let hold = Hold {
        id,
        account: read_account(&row.account)?,
        amount: money(HOLDS, row.amount_minor, &row.currency)?,
        cause: row.cause,
        opened_at: row.opened_at.into(),
        expires_at: row.expires_at.map(Timestamp::from),
        state,
    };
    Ok(Some((hold, row.ended_by.map(EntryId::from_uuid))))
}
