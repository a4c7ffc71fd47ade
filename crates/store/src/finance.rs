//! Sums over the books, for finance. Nothing here knows a price: every figure is a sum over transfers.
//!
//! A transfer that a reversal takes back counts below zero where it counted before, on the day of the reversal.

use app::AppError;
use app::finance::{By, Days, FinanceStore, Report, Row};
use async_trait::async_trait;
use kernel::{Currency, FirmId, Timestamp};

use crate::error::Doing;
use crate::row::At;
use crate::{Inconsistent, Store, Tx};

const TRANSFERS: &str = "ledger_transfers";
const DAY: i64 = 86_400_000_000;

struct SumRow {
    day: Option<i32>,
    program: Option<String>,
    provider: Option<String>,
    currency: String,
    count: i64,
    amounts: Vec<i64>,
}

impl SumRow {
    fn read(self) -> Result<Row, Inconsistent> {
        Ok(Row {
            day: self.day,
            program: self.program,
            provider: self.provider,
            currency: Currency::parse(&self.currency).map_err(Inconsistent::from(TRANSFERS))?,
            count: self.count,
            amounts: self.amounts,
        })
    }
}

/// The first instant of a day.
fn begin(day: i32) -> Timestamp {
    Timestamp::from_micros(i64::from(day).saturating_mul(DAY))
}

#[async_trait]
impl FinanceStore for Store {
    async fn report(&self, firm: FirmId, report: Report, days: Days, by: By) -> Result<Vec<Row>, AppError> {
        let (from, until) = (begin(days.first), begin(days.last.saturating_add(1)));
        let mut tx = self.begin(firm).await?;
        let rows = match report {
            Report::Revenue => revenue_in_tx(&mut tx, from, until, by).await,
            Report::Refunds => refunds_in_tx(&mut tx, from, until, by).await,
            Report::Disputes => disputes_in_tx(&mut tx, from, until, by).await,
            Report::Liability => liability_in_tx(&mut tx, days, by).await,
        };
        let rows = rows.doing("summing the books for a report")?;
        let read: Result<_, Inconsistent> = rows.into_iter().map(SumRow::read).collect();
        Ok(read?)
    }
}

async fn revenue_in_tx(
    tx: &mut Tx,
    from: Timestamp,
    until: Timestamp,
    by: By,
) -> Result<Vec<SumRow>, sqlx::Error> {
    let firm = tx.firm();
    sqlx::query_as!(
        SumRow,
        r#"with moved as (
               select entry_id, effective_at, currency, credit, debit, amount_minor as amount
               from ledger_transfers
               where firm_id = $1 and effective_at >= $2 and effective_at < $3
                 and (debit in ('fee_income', 'discounts', 'refunds', 'tax_payable')
                      or credit in ('fee_income', 'discounts', 'refunds', 'tax_payable'))
           ), sums as (
               select case when $4 then ((moved.effective_at at time zone 'UTC')::date - date '1970-01-01') end as day,
                      case when $5 then bought.slug end as program,
                      case when $6 then case when moved.debit like 'provider_clearing:%' then split_part(moved.debit, ':', 2)
                                        when moved.credit like 'provider_clearing:%' then split_part(moved.credit, ':', 2)
                                        else bought.provider end end as provider,
                      moved.currency,
                      count(distinct entry.id) filter (where entry.kind = 'capture') as count,
                      coalesce(sum(amount) filter (where credit = 'fee_income'), 0)
                          - coalesce(sum(amount) filter (where debit = 'fee_income'), 0) as gross,
                      coalesce(sum(amount) filter (where debit = 'discounts'), 0)
                          - coalesce(sum(amount) filter (where credit = 'discounts'), 0) as discounts,
                      coalesce(sum(amount) filter (where credit = 'tax_payable'), 0)
                          - coalesce(sum(amount) filter (where debit = 'tax_payable'), 0) as tax,
                      coalesce(sum(amount) filter (where debit = 'refunds'), 0)
                          - coalesce(sum(amount) filter (where credit = 'refunds'), 0) as refunds
               from moved
               join ledger_entries entry on entry.firm_id = $1 and entry.id = moved.entry_id
               left join purchases bought on bought.firm_id = $1
                and bought.id = case when entry.cause like 'purchase:________-____-____-____-____________'
                                      and translate(substr(entry.cause, 10), '0123456789abcdef-', '') = ''
                                     then substr(entry.cause, 10)::uuid end
               group by 1, 2, 3, 4
           )
           select day, program, provider, currency as "currency!", count as "count!",
                  array[gross, discounts, tax, refunds, gross - discounts - refunds]::bigint[] as "amounts!"
           from sums order by day, program, provider, currency"#,
        firm.uuid(),
        At(from) as _,
        At(until) as _,
        by.day,
        by.program,
        by.provider,
    )
    .fetch_all(tx.connection())
    .await
}

async fn refunds_in_tx(
    tx: &mut Tx,
    from: Timestamp,
    until: Timestamp,
    by: By,
) -> Result<Vec<SumRow>, sqlx::Error> {
    let firm = tx.firm();
    sqlx::query_as!(
        SumRow,
        r#"with moved as (
               select entry_id, effective_at, currency, credit, debit, amount_minor as amount
               from ledger_transfers
               where firm_id = $1 and effective_at >= $2 and effective_at < $3
                 and (debit in ('refunds', 'tax_payable', 'overpaid') or credit in ('refunds', 'tax_payable', 'overpaid'))
           ), sums as (
               select case when $4 then ((moved.effective_at at time zone 'UTC')::date - date '1970-01-01') end as day,
                      case when $5 then bought.slug end as program,
                      case when $6 then case when moved.debit like 'provider_clearing:%' then split_part(moved.debit, ':', 2)
                                        when moved.credit like 'provider_clearing:%' then split_part(moved.credit, ':', 2)
                                        else bought.provider end end as provider,
                      moved.currency,
                      count(distinct entry.id) filter (where entry.kind = 'refund')
                          - count(distinct entry.id) filter (where entry.kind = 'reversal') as count,
                      coalesce(sum(amount) filter (where debit = 'refunds'), 0)
                          - coalesce(sum(amount) filter (where credit = 'refunds'), 0) as refunds,
                      coalesce(sum(amount) filter (where debit = 'tax_payable'), 0)
                          - coalesce(sum(amount) filter (where credit = 'tax_payable'), 0) as tax,
                      coalesce(sum(amount) filter (where debit = 'overpaid'), 0)
                          - coalesce(sum(amount) filter (where credit = 'overpaid'), 0) as overpaid
               from moved
               join ledger_entries entry on entry.firm_id = $1 and entry.id = moved.entry_id
               left join ledger_entries root on root.firm_id = $1 and root.id = entry.reverses_id
               left join purchases bought on bought.firm_id = $1
                and bought.id = case when entry.cause like 'purchase:________-____-____-____-____________'
                                      and translate(substr(entry.cause, 10), '0123456789abcdef-', '') = ''
                                     then substr(entry.cause, 10)::uuid end
               where coalesce(root.kind, entry.kind) = 'refund'
               group by 1, 2, 3, 4
           )
           select day, program, provider, currency as "currency!", count as "count!",
                  array[refunds, tax, overpaid, refunds + tax + overpaid]::bigint[] as "amounts!"
           from sums order by day, program, provider, currency"#,
        firm.uuid(),
        At(from) as _,
        At(until) as _,
        by.day,
        by.program,
        by.provider,
    )
    .fetch_all(tx.connection())
    .await
}

async fn disputes_in_tx(
    tx: &mut Tx,
    from: Timestamp,
    until: Timestamp,
    by: By,
) -> Result<Vec<SumRow>, sqlx::Error> {
    let firm = tx.firm();
    sqlx::query_as!(
        SumRow,
        r#"with moved as (
               select transfer.entry_id, transfer.effective_at, transfer.currency, transfer.credit, transfer.debit, entry.cause,
                      entry.kind as own_kind, coalesce(root.kind, entry.kind) as kind,
                      case when entry.reverses_id is null then amount_minor else -amount_minor end as amount
               from ledger_transfers transfer
               join ledger_entries entry on entry.firm_id = $1 and entry.id = transfer.entry_id
               left join ledger_entries root on root.firm_id = $1 and root.id = entry.reverses_id
               where transfer.firm_id = $1 and transfer.effective_at >= $2 and transfer.effective_at < $3
                 and coalesce(root.kind, entry.kind) in ('dispute_opened', 'dispute_won', 'dispute_lost')
           ), sums as (
               select case when $4 then ((moved.effective_at at time zone 'UTC')::date - date '1970-01-01') end as day,
                      case when $5 then bought.slug end as program,
                      case when $6 then coalesce(substring(moved.debit from '^(?:disputes|provider_fees):(.*)$'),
                                                 substring(moved.credit from '^(?:disputes|provider_fees):(.*)$')) end as provider,
                      moved.currency,
                      count(distinct entry_id) filter (where own_kind = 'dispute_opened') as count,
                      coalesce(sum(amount) filter (where kind = 'dispute_opened'
                                                     and (debit like 'disputes:%' or credit like 'disputes:%')), 0) as opened,
                      coalesce(sum(amount) filter (where kind = 'dispute_won'), 0) as won,
                      coalesce(sum(amount) filter (where kind = 'dispute_lost'), 0) as lost,
                      coalesce(sum(amount) filter (where kind = 'dispute_opened'
                                                     and (debit like 'provider_fees:%' or credit like 'provider_fees:%')), 0) as fees
               from moved
               left join purchases bought on bought.firm_id = $1
                and bought.id = case when moved.cause like 'purchase:________-____-____-____-____________'
                                      and translate(substr(moved.cause, 10), '0123456789abcdef-', '') = ''
                                     then substr(moved.cause, 10)::uuid end
               group by 1, 2, 3, 4
           )
           select day, program, provider, currency as "currency!", count as "count!",
                  array[opened, won, lost, opened - won - lost, fees]::bigint[] as "amounts!"
           from sums order by day, program, provider, currency"#,
        firm.uuid(),
        At(from) as _,
        At(until) as _,
        by.day,
        by.program,
        by.provider,
    )
    .fetch_all(tx.connection())
    .await
}

/// What is owed at the end of each day on which it changed, and on the first; without days, at the end of the last.
async fn liability_in_tx(tx: &mut Tx, days: Days, by: By) -> Result<Vec<SumRow>, sqlx::Error> {
    let firm = tx.firm();
    sqlx::query_as!(
        SumRow,
        r#"with moved as (
               select greatest(((effective_at at time zone 'UTC')::date - date '1970-01-01'), $2) as day,
                      side.account, currency, side.sign * amount_minor as amount
               from ledger_transfers
               cross join lateral (values (credit, 1), (debit, -1)) side (account, sign)
               where firm_id = $1 and effective_at < $3
                 and side.account ~ '^(trader_payable|trader_held|affiliate_payable|affiliate_held|payout_clearing):'
           ), daily as (
               select day, currency,
                      case when $5 then case when account like 'payout_clearing:%' then split_part(account, ':', 2) else '' end end as provider,
                      coalesce(sum(amount) filter (where account ~ '^(trader|affiliate)_payable:'), 0) as payable,
                      coalesce(sum(amount) filter (where account ~ '^(trader|affiliate)_held:'), 0) as held,
                      coalesce(sum(amount) filter (where account ~ '^payout_clearing:'), 0) as clearing
               from moved group by 1, 2, 3
           ), running as (
               select day, provider, currency, sum(payable) over own as payable, sum(held) over own as held,
                      sum(clearing) over own as clearing,
                      row_number() over (partition by provider, currency order by day desc) as from_the_end
               from daily
               window own as (partition by provider, currency order by day)
           )
           select case when $4 then day end as day, null::text as program, nullif(provider, '') as provider,
                  currency as "currency!", 0::bigint as "count!",
                  array[payable, held, clearing, payable + held + clearing]::bigint[] as "amounts!"
           from running where $4 or from_the_end = 1
           order by 1, 3, 4"#,
        firm.uuid(),
        days.first,
        At(begin(days.last.saturating_add(1))) as _,
        by.day,
        by.provider,
    )
    .fetch_all(tx.connection())
    .await
}
