//! Runs of reconciliation, the providers' books, and where they differ from ours.
//!
//! A step is one transaction. It begins by moving the run's counter on: of two that have seen the same step one finds it so.

use std::collections::BTreeMap;

use app::AppError;
use app::ledger::{Entry, LedgerStore as _};
use app::payments::port::EntryKind;
use app::reconciliation::{
    BookPage, Both, Compared, Counts, Difference, DifferenceId, DifferenceState, Family, Found, Kept, Kind,
    Line, Move, Name, Named, NewRun, OwnPage, OwnPart, PaidOut, Payouts, ReconciliationStore, Resolution,
    Run, RunId, RunState, Subject, Unit, Wanted, disputes_by_payment, name_of,
};
use app::trading::AuditEntry;
use async_trait::async_trait;
use kernel::{Currency, EntryId, FirmId, Money, PersonId, Timestamp};
use uuid::Uuid;

use crate::error::Doing;
use crate::ledger::post_in_tx;
use crate::records::record_in_tx;
use crate::row::{At, by_word, column, money};
use crate::{Inconsistent, Store, Tx};

const RUNS: &str = "reconciliation_runs";
const LINES: &str = "provider_entries";
const DIFFERENCES: &str = "reconciliation_differences";
/// So many differences are kept in one step, with all those of the last name.
const MOST_FOUND: i64 = 1_000;

struct RunRow {
    id: Uuid,
    subject: String,
    state: String,
    window_from: At,
    window_to: At,
    step: i64,
    read_from: At,
    page: Option<String>,
    after_family: String,
    after_name: String,
    lines: i64,
    compared: i64,
    posted: i64,
    found: i64,
    vanished: i64,
    started_by: Option<Uuid>,
    started_at: At,
    moved_at: At,
    ended_at: Option<At>,
}

fn subject(table: &'static str, word: &str) -> Result<Subject, Inconsistent> {
    Subject::parse(word).ok_or_else(|| Inconsistent::new(table, format!("{word:?} is no subject")))
}

impl RunRow {
    fn read(self) -> Result<Run, Inconsistent> {
        Ok(Run {
            id: RunId::from_uuid(self.id),
            subject: subject(RUNS, &self.subject)?,
            state: by_word(RUNS, &RunState::ALL, RunState::word, &self.state)?,
            from: self.window_from.into(),
            until: self.window_to.into(),
            step: self.step,
            read_from: self.read_from.into(),
            page: self.page,
            after: (self.after_family, self.after_name),
            counts: Counts {
                lines: self.lines,
                compared: self.compared,
                posted: self.posted,
                found: self.found,
                vanished: self.vanished,
            },
            started_by: self.started_by.map(PersonId::from_uuid),
            started_at: self.started_at.into(),
            moved_at: self.moved_at.into(),
            ended_at: self.ended_at.map(Timestamp::from),
        })
    }
}

struct KeptRow {
    id: Uuid,
    subject: String,
    family: String,
    name: String,
    kind: String,
    currency: String,
    ours: Option<i64>,
    theirs: Option<i64>,
    unit: String,
    about: Option<String>,
    state: String,
    owner_id: Option<Uuid>,
    resolution: Option<String>,
    resolved_by: Option<Uuid>,
    resolved_at: Option<At>,
    posting_id: Option<Uuid>,
    first_seen_at: At,
    last_seen_at: At,
    first_run: Uuid,
    last_run: Uuid,
}

impl KeptRow {
    fn read(self) -> Result<Kept, Inconsistent> {
        let table = DIFFERENCES;
        Ok(Kept {
            id: DifferenceId::from_uuid(self.id),
            subject: subject(table, &self.subject)?,
            found: Found {
                difference: Difference {
                    family: self.family,
                    name: self.name,
                    kind: by_word(table, &Kind::ALL, Kind::word, &self.kind)?,
                    currency: Currency::parse(&self.currency).map_err(Inconsistent::from(table))?,
                },
                ours: self.ours,
                theirs: self.theirs,
                unit: by_word(table, &Unit::ALL, Unit::word, &self.unit)?,
                about: self.about,
            },
            state: by_word(table, &DifferenceState::ALL, DifferenceState::word, &self.state)?,
            owner: self.owner_id.map(PersonId::from_uuid),
            resolution: self.resolution,
            resolved_by: self.resolved_by.map(PersonId::from_uuid),
            resolved_at: self.resolved_at.map(Timestamp::from),
            posting: self.posting_id.map(EntryId::from_uuid),
            first_seen_at: self.first_seen_at.into(),
            last_seen_at: self.last_seen_at.into(),
            first_run: RunId::from_uuid(self.first_run),
            last_run: RunId::from_uuid(self.last_run),
        })
    }
}

/// Runs by id, those under way, or the newest behind one.
async fn runs_in_tx(
    tx: &mut Tx,
    id: Option<RunId>,
    under_way: bool,
    after: Option<RunId>,
    most: i64,
) -> Result<Vec<Run>, AppError> {
    let firm = tx.firm();
    let rows = sqlx::query_as!(
        RunRow,
        r#"select id, subject, state, window_from as "window_from: At", window_to as "window_to: At", step,
                  read_from as "read_from: At", page, after_family, after_name, lines, compared, posted, found, vanished,
                  started_by, started_at as "started_at: At", moved_at as "moved_at: At", ended_at as "ended_at: At"
           from reconciliation_runs
           where firm_id = $1 and ($2::uuid is null or id = $2) and (not $3 or ended_at is null)
             and ($4::uuid is null
                  or (started_at, id) < (select started_at, id from reconciliation_runs where firm_id = $1 and id = $4))
           order by started_at desc, id desc limit $5"#,
        firm.uuid(),
        id.map(RunId::uuid),
        under_way,
        after.map(RunId::uuid),
        most,
    )
    .fetch_all(tx.connection())
    .await
    .doing("reading runs of reconciliation")?;
    rows.into_iter().map(|row| Ok(row.read()?)).collect()
}

async fn run_in_tx(tx: &mut Tx, id: RunId) -> Result<Option<Run>, AppError> {
    Ok(runs_in_tx(tx, Some(id), false, None, 1).await?.pop())
}

/// Moves a run's counter on; nothing if somebody else has.
async fn step_in_tx(tx: &mut Tx, run: &Run, at: Timestamp) -> Result<bool, AppError> {
    let firm = tx.firm();
    let moved = sqlx::query!(
        "update reconciliation_runs set step = step + 1, moved_at = $4
         where firm_id = $1 and id = $2 and step = $3 and ended_at is null",
        firm.uuid(),
        run.id.uuid(),
        run.step,
        At(at) as _,
    )
    .execute(tx.connection())
    .await
    .doing("moving a reconciliation on")?;
    Ok(moved.rows_affected() == 1)
}

async fn end_step(mut tx: Tx, run: RunId) -> Result<Option<Run>, AppError> {
    let run = run_in_tx(&mut tx, run).await?;
    let _proof = tx.commit().await?;
    Ok(run)
}

#[async_trait]
impl ReconciliationStore for Store {
    async fn compared_until(&self, firm: FirmId, subject: Subject) -> Result<Option<Timestamp>, AppError> {
        let mut tx = self.begin(firm).await?;
        let until = sqlx::query_scalar!(
            r#"select max(window_to) as "until: At" from reconciliation_runs
               where firm_id = $1 and subject = $2 and ended_at is not null"#,
            firm.uuid(),
            subject.word(),
        )
        .fetch_one(tx.connection())
        .await
        .doing("looking at what was compared")?;
        Ok(until.map(Timestamp::from))
    }

    async fn first_moved(&self, firm: FirmId, subject: Subject) -> Result<Option<Timestamp>, AppError> {
        let clearing = format!("provider_clearing:{}", subject.word());
        let mut tx = self.begin(firm).await?;
        let first = sqlx::query_scalar!(
            r#"select min(effective_at) as "first: At" from ledger_transfers
               where firm_id = $1 and ($3 or debit = $2 or credit = $2)"#,
            firm.uuid(),
            clearing,
            subject == Subject::Own,
        )
        .fetch_one(tx.connection())
        .await
        .doing("looking for the first entry")?;
        Ok(first.map(Timestamp::from))
    }

    async fn begin_run(&self, firm: FirmId, NewRun { run, audit }: &NewRun) -> Result<Run, AppError> {
        let doing = "beginning a reconciliation";
        // Another one may end between the two statements.
        for _ in 0..10 {
            let mut tx = self.begin(firm).await?;
            let new = sqlx::query!(
                "insert into reconciliation_runs (firm_id, id, subject, state, window_from, window_to, step, read_from, page,
                                                  after_family, after_name, lines, compared, posted, found, vanished, started_by,
                                                  started_at, moved_at)
                 values ($1, $2, $3, 'reading', $4, $5, 0, $4, null, '', '', 0, 0, 0, 0, 0, $6, $7, $7)
                 on conflict (firm_id, subject) where ended_at is null do nothing",
                firm.uuid(),
                run.id.uuid(),
                run.subject.word(),
                At(run.from) as _,
                At(run.until) as _,
                run.started_by.map(PersonId::uuid),
                At(run.started_at) as _,
            )
            .execute(tx.connection())
            .await
            .doing(doing)?;
            if new.rows_affected() == 1 {
                record_in_tx(tx.connection(), std::slice::from_ref(audit), &[]).await?;
                let _proof = tx.commit().await?;
                return Ok(run.clone());
            }
            let under_way = runs_in_tx(&mut tx, None, true, None, i64::MAX).await?;
            if let Some(found) = under_way.into_iter().find(|found| found.subject == run.subject) {
                return Ok(found);
            }
        }
        Err(Inconsistent::new(RUNS, "a run is neither begun nor under way").into())
    }

    async fn run(&self, firm: FirmId, id: RunId) -> Result<Option<Run>, AppError> {
        let mut tx = self.begin(firm).await?;
        run_in_tx(&mut tx, id).await
    }

    async fn under_way(&self, firm: FirmId) -> Result<Vec<Run>, AppError> {
        let mut tx = self.begin(firm).await?;
        runs_in_tx(&mut tx, None, true, None, i64::MAX).await
    }

    async fn runs(&self, firm: FirmId, after: Option<RunId>, most: i64) -> Result<Vec<Run>, AppError> {
        let mut tx = self.begin(firm).await?;
        runs_in_tx(&mut tx, None, false, after, most).await
    }

    async fn keep_page(
        &self,
        firm: FirmId,
        run: &Run,
        page: &BookPage,
        at: Timestamp,
    ) -> Result<Option<Run>, AppError> {
        let doing = "keeping a provider's books";
        let mut tx = self.begin(firm).await?;
        if !step_in_tx(&mut tx, run, at).await? {
            return Ok(None);
        }
        let entries = &page.entries;
        let names: Vec<Name> = entries.iter().map(name_of).collect();
        let new = sqlx::query!(
            "insert into provider_entries (firm_id, provider, id, kind, word, about, reference, gross_minor, fee_minor, net_minor,
                                           currency, at, recorded_at, run_id, family, name)
             select $1, $2, id, kind, word, about, reference, gross, fee, net, currency, at, $3, $4, family, name
             from unnest($5::text[], $6::text[], $7::text[], $8::text[], $9::text[], $10::bigint[], $11::bigint[], $12::bigint[],
                         $13::text[], $14::timestamptz[], $15::text[], $16::text[])
                  as line (id, kind, word, about, reference, gross, fee, net, currency, at, family, name)
             on conflict on constraint provider_entries_key do nothing",
            firm.uuid(),
            run.subject.word(),
            At(at) as _,
            run.id.uuid(),
            column(entries, |line| line.id.as_str()) as _,
            column(entries, |line| line.kind.word()) as _,
            column(entries, |line| line.word.as_str()) as _,
            column(entries, |line| line.about.as_deref()) as _,
            column(entries, |line| line.reference.as_deref()) as _,
            &column(entries, |line| line.gross.minor()),
            &column(entries, |line| line.fee.minor()),
            &column(entries, |line| line.net.minor()),
            column(entries, |line| line.net.currency().code()) as _,
            column(entries, |line| At(line.at)) as _,
            column(&names, |name| name.family.word()) as _,
            column(&names, |name| name.name.as_str()) as _,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        // What came back of a payout names the payout by the provider's name; the line that it left with has ours.
        sqlx::query!(
            "update provider_entries back set name = sent.name
             from provider_entries sent
             where back.firm_id = $1 and back.provider = $2 and back.family = 'payout' and back.reference is null
               and back.about = any($3)
               and sent.firm_id = $1 and sent.provider = $2 and sent.family = 'payout' and sent.reference is not null
               and sent.about = back.about and back.name <> sent.name",
            firm.uuid(),
            run.subject.word(),
            column(entries, |line| line.about.as_deref()) as _,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        sqlx::query!(
            "update reconciliation_runs set lines = lines + $3, read_from = $4, page = $5 where firm_id = $1 and id = $2",
            firm.uuid(),
            run.id.uuid(),
            i64::try_from(new.rows_affected()).unwrap_or(i64::MAX),
            At(page.read_from) as _,
            page.page,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        end_step(tx, run.id).await
    }

    async fn name_ledger(&self, firm: FirmId, run: &Run, at: Timestamp) -> Result<Option<Run>, AppError> {
        let doing = "naming what was posted";
        let mut tx = self.begin(firm).await?;
        if !step_in_tx(&mut tx, run, at).await? {
            return Ok(None);
        }
        // Transactions below the horizon have all ended: what they wrote is there for every later statement.
        sqlx::query!(
            "update reconciliation_runs
             set state = 'comparing', horizon = pg_snapshot_xmin(pg_current_snapshot()),
                 cluster = (select system_identifier from pg_control_system())
             where firm_id = $1 and id = $2",
            firm.uuid(),
            run.id.uuid(),
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        if let Subject::Provider(name) = run.subject {
            sqlx::query!(
                r#"with last as materialized (
                       select horizon from reconciliation_runs
                       where firm_id = $1 and subject = $2 and ended_at is not null
                         and cluster = (select system_identifier from pg_control_system())
                       order by window_to desc, ended_at desc limit 1
                   )
                   insert into ledger_names (firm_id, provider, entry_id, family, name, at, run_id)
                   select distinct on (entry.id) $1, $2, entry.id,
                          coalesce(known.family,
                                   case when happened.what in ('captured', 'paid_again') then 'payment'
                                        when happened.what in ('refunded_in_part', 'refunded_in_whole', 'overpayment_refunded')
                                            then 'refund'
                                        when happened.what in ('dispute_opened', 'dispute_won', 'dispute_lost') then 'dispute'
                                        when entry.cause like 'payout:%' then 'payout'
                                        else 'other' end),
                          coalesce(known.name,
                                   case when happened.what like 'dispute%' and $4 then paid.reference end,
                                   nullif(happened.reference, ''),
                                   case when entry.cause like 'payout:%' then substr(entry.cause, 8) end,
                                   'entry:' || coalesce(entry.reverses_id, entry.id)),
                          entry.effective_at, $3
                   from ledger_transfers moved
                   join ledger_entries entry on entry.firm_id = moved.firm_id and entry.id = moved.entry_id
                   left join ledger_names known
                          on known.firm_id = $1 and known.provider = $2 and known.entry_id = entry.reverses_id
                   left join purchase_events happened
                          on happened.firm_id = $1 and happened.id = coalesce(entry.reverses_id, entry.id)
                   left join lateral (
                       select first.reference from purchase_events first
                       where first.firm_id = $1 and first.purchase_id = happened.purchase_id and first.provider = $2
                         and first.what in ('captured', 'paid_again')
                       order by first.what = 'captured' desc, first.number limit 1
                   ) paid on true
                   where moved.firm_id = $1 and moved.transaction >= coalesce((select horizon from last), '0'::xid8)
                     and 'provider_clearing:' || $2 in (moved.debit, moved.credit)
                   on conflict on constraint ledger_names_key do nothing"#,
                firm.uuid(),
                run.subject.word(),
                run.id.uuid(),
                disputes_by_payment(name),
            )
            .execute(tx.connection())
            .await
            .doing(doing)?;
        }
        end_step(tx, run.id).await
    }

    async fn both(&self, firm: FirmId, run: &Run, most: i64) -> Result<Vec<Both>, AppError> {
        let mut tx = self.begin(firm).await?;
        let mut named = names_in_tx(&mut tx, run, most).await?;
        lines_in_tx(&mut tx, run, &mut named).await?;
        moves_in_tx(&mut tx, run, &mut named).await?;
        under_way_in_tx(&mut tx, run, &mut named).await?;
        Ok(named)
    }

    async fn own(&self, firm: FirmId, run: &Run, part: OwnPart, most: i64) -> Result<OwnPage, AppError> {
        let mut tx = self.begin(firm).await?;
        match part {
            OwnPart::Purchases => purchases_in_tx(&mut tx, run).await,
            OwnPart::Payouts => payouts_in_tx(&mut tx, &run.after.1).await,
            OwnPart::PaidOut => Ok(OwnPage::default()),
            OwnPart::Trading => trading_in_tx(&mut tx, &run.after.1, most).await,
        }
    }

    async fn settled_payouts(
        &self,
        firm: FirmId,
        payouts: &[&str],
    ) -> Result<BTreeMap<String, Money>, AppError> {
        let mut tx = self.begin(firm).await?;
        // What went to the clearing account of payouts and left it to whoever paid has arrived, and what came back after that has
        // not; a payout has one currency.
        let rows = sqlx::query!(
            r#"select substr(cause, 8) as "payout!", currency as "currency!", sum(amount)::bigint as "settled!"
               from (
                   select entry.cause, moved.currency,
                          case when moved.debit like 'payout_clearing:%' then moved.amount_minor else -moved.amount_minor end as amount
                   from ledger_entries entry
                   left join ledger_entries root on root.firm_id = entry.firm_id and root.id = entry.reverses_id
                   join ledger_transfers moved on moved.firm_id = entry.firm_id and moved.entry_id = entry.id
                    and (moved.debit like 'payout_clearing:%' or moved.credit like 'payout_clearing:%')
                   where entry.firm_id = $1 and entry.cause = any(select 'payout:' || name from unnest($2::text[]) name)
                     and coalesce(root.kind, entry.kind) = 'payout_settled'
                   union all
                   select entry.cause, moved.currency,
                          case when moved.credit like 'trader_payable:%' then -moved.amount_minor else moved.amount_minor end
                   from ledger_entries entry
                   left join ledger_entries root on root.firm_id = entry.firm_id and root.id = entry.reverses_id
                   join ledger_transfers moved on moved.firm_id = entry.firm_id and moved.entry_id = entry.id
                    and moved.debit not like 'payout_clearing:%' and moved.credit not like 'payout_clearing:%'
                   where entry.firm_id = $1 and entry.cause = any(select 'payout:' || name from unnest($2::text[]) name)
                     and coalesce(root.kind, entry.kind) = 'payout_returned'
               ) arrived
               group by 1, 2"#,
            firm.uuid(),
            payouts as _,
        )
        .fetch_all(tx.connection())
        .await
        .doing("summing payouts that have arrived")?;
        let settled = rows.into_iter().map(|row| {
            let amount = money("ledger_transfers", row.settled, &row.currency)?;
            Ok((row.payout, amount))
        });
        settled.collect()
    }

    async fn keep_compared(
        &self,
        firm: FirmId,
        run: &Run,
        compared: &Compared,
        at: Timestamp,
    ) -> Result<Option<Run>, AppError> {
        let doing = "keeping what was compared";
        let mut tx = self.begin(firm).await?;
        if !step_in_tx(&mut tx, run, at).await? {
            return Ok(None);
        }
        let posts: Vec<Entry> = compared.posts.iter().map(|(_, entry)| entry.clone()).collect();
        post_in_tx(&mut tx, &posts, at).await?;
        name_in_tx(&mut tx, run.subject, run.id, &compared.posts).await?;
        keep_found_in_tx(&mut tx, run, &compared.found, at).await?;
        let ends = compared.after.is_none();
        let mut vanished = 0;
        if ends {
            // Every open one was looked at by this run: what it did not find is no longer.
            let gone = sqlx::query!(
                "update reconciliation_differences set state = 'vanished', resolved_at = $4, last_run = $3
                 where firm_id = $1 and subject = $2 and state in ('open', 'assigned') and last_run <> $3",
                firm.uuid(),
                run.subject.word(),
                run.id.uuid(),
                At(at) as _,
            )
            .execute(tx.connection())
            .await
            .doing(doing)?;
            vanished = i64::try_from(gone.rows_affected()).unwrap_or(i64::MAX);
        }
        let (family, name) = compared.after.clone().unwrap_or_else(|| run.after.clone());
        sqlx::query!(
            "update reconciliation_runs
             set after_family = $3, after_name = $4, compared = compared + $5, posted = posted + $6, found = found + $7,
                 vanished = vanished + $8, state = case when $9 then 'done' else state end,
                 ended_at = case when $9 then $10::timestamptz end
             where firm_id = $1 and id = $2",
            firm.uuid(),
            run.id.uuid(),
            family,
            name,
            compared.names,
            i64::try_from(posts.len()).unwrap_or(i64::MAX),
            i64::try_from(compared.found.len()).unwrap_or(i64::MAX),
            vanished,
            ends,
            At(at) as _,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        end_step(tx, run.id).await
    }

    async fn differences(&self, firm: FirmId, wanted: &Wanted, most: i64) -> Result<Vec<Kept>, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query_as!(
            KeptRow,
            r#"select id, subject, family, name, kind, currency, ours, theirs, unit, about, state, owner_id, resolution,
                      resolved_by, resolved_at as "resolved_at: At", posting_id, first_seen_at as "first_seen_at: At",
                      last_seen_at as "last_seen_at: At", first_run, last_run
               from reconciliation_differences
               where firm_id = $1 and ($2::text is null or subject = $2) and ($3::text is null or state = $3)
                 and ($4::uuid is null or owner_id = $4)
                 and ($5::uuid is null
                      or (first_seen_at, id) < (select first_seen_at, id from reconciliation_differences
                                                where firm_id = $1 and id = $5))
               order by first_seen_at desc, id desc limit $6"#,
            firm.uuid(),
            wanted.subject.map(Subject::word),
            wanted.state.map(DifferenceState::word),
            wanted.owner.map(PersonId::uuid),
            wanted.after.map(DifferenceId::uuid),
            most,
        )
        .fetch_all(tx.connection())
        .await
        .doing("reading differences")?;
        rows.into_iter().map(|row| Ok(row.read()?)).collect()
    }

    async fn assign(
        &self,
        firm: FirmId,
        id: DifferenceId,
        owner: Option<PersonId>,
        audit: &AuditEntry,
    ) -> Result<Option<Kept>, AppError> {
        let mut tx = self.begin(firm).await?;
        let Some(kept) = locked_in_tx(&mut tx, id).await? else { return Ok(None) };
        refuse_ended(&kept)?;
        if let Some(owner) = owner {
            let known = sqlx::query_scalar!(
                r#"select exists (select from people where firm_id = $1 and id = $2
                                  and roles && array['finance', 'admin', 'risk']) as "known!""#,
                firm.uuid(),
                owner.uuid(),
            )
            .fetch_one(tx.connection())
            .await
            .doing("looking for somebody")?;
            if !known {
                return Err(AppError::field("/owner", "Nobody of the firm's finance has this id."));
            }
        }
        let state = if owner.is_some() { DifferenceState::Assigned } else { DifferenceState::Open };
        sqlx::query!(
            "update reconciliation_differences set state = $3, owner_id = $4 where firm_id = $1 and id = $2",
            firm.uuid(),
            id.uuid(),
            state.word(),
            owner.map(PersonId::uuid),
        )
        .execute(tx.connection())
        .await
        .doing("assigning a difference")?;
        record_in_tx(tx.connection(), std::slice::from_ref(audit), &[]).await?;
        let _proof = tx.commit().await?;
        Ok(Some(Kept { state, owner, ..kept }))
    }

    async fn resolve(&self, firm: FirmId, resolution: &Resolution<'_>) -> Result<Option<Kept>, AppError> {
        let Resolution { id, reason, by, at, decide } = resolution;
        let mut tx = self.begin(firm).await?;
        let Some(kept) = locked_in_tx(&mut tx, *id).await? else { return Ok(None) };
        refuse_ended(&kept)?;
        let app::reconciliation::Resolved { post, audit } = decide(&kept)?;
        if let Some(post) = &post {
            post_in_tx(&mut tx, std::slice::from_ref(post), *at).await?;
            let Difference { family, name, .. } = &kept.found.difference;
            if matches!(kept.subject, Subject::Provider(_)) {
                let family = by_word(DIFFERENCES, &Family::ALL, Family::word, family)?;
                let named = [(Name { family, name: name.clone() }, post.clone())];
                name_in_tx(&mut tx, kept.subject, kept.last_run, &named).await?;
            }
        }
        sqlx::query!(
            "update reconciliation_differences
             set state = 'resolved', resolution = $3, resolved_by = $4, resolved_at = $5, posting_id = $6
             where firm_id = $1 and id = $2",
            firm.uuid(),
            id.uuid(),
            *reason,
            by.uuid(),
            At(*at) as _,
            post.as_ref().map(|post| post.id().uuid()),
        )
        .execute(tx.connection())
        .await
        .doing("resolving a difference")?;
        record_in_tx(tx.connection(), std::slice::from_ref(&audit), &[]).await?;
        let _proof = tx.commit().await?;
        Ok(Some(Kept {
            state: DifferenceState::Resolved,
            resolution: Some((*reason).to_owned()),
            resolved_by: Some(*by),
            resolved_at: Some(*at),
            posting: post.map(|post| post.id()),
            ..kept
        }))
    }

    async fn ledger_entry(&self, firm: FirmId, id: EntryId) -> Result<Option<(Entry, Vec<Named>)>, AppError> {
        let Some(found) = self.entry(firm, id).await? else { return Ok(None) };
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query!(
            "select provider, family, name from ledger_names where firm_id = $1 and entry_id = $2",
            firm.uuid(),
            id.uuid(),
        )
        .fetch_all(tx.connection())
        .await
        .doing("looking under which name an entry is compared")?;
        let named = rows.into_iter().map(|row| {
            Ok(Named { subject: subject("ledger_names", &row.provider)?, family: row.family, name: row.name })
        });
        let named: Result<Vec<Named>, Inconsistent> = named.collect();
        Ok(Some((found.entry, named?)))
    }
}

#[async_trait]
impl Payouts for Store {
    async fn paid_out(&self, firm: FirmId, after: &str, most: i64) -> Result<Vec<PaidOut>, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query!(
            r#"select payout.id, payout.currency,
                      coalesce(sum(tried.amount_minor) filter (where tried.state = 'settled'), 0)::bigint as "settled!"
               from payouts payout
               left join payout_attempts tried on tried.firm_id = payout.firm_id and tried.payout_id = payout.id
               where payout.firm_id = $1 and ($2::uuid is null or payout.id > $2)
               group by payout.id, payout.currency order by payout.id limit $3"#,
            firm.uuid(),
            after.parse::<Uuid>().ok(),
            most,
        )
        .fetch_all(tx.connection())
        .await
        .doing("reading what has arrived of payouts")?;
        let paid = rows.into_iter().map(|row| {
            Ok(PaidOut {
                payout: row.id.to_string(),
                settled: money("payout_attempts", row.settled, &row.currency)?,
            })
        });
        paid.collect()
    }
}

fn refuse_ended(kept: &Kept) -> Result<(), AppError> {
    match kept.state {
        DifferenceState::Open | DifferenceState::Assigned => Ok(()),
        DifferenceState::Resolved => Err(AppError::refused("conflict", "The difference is resolved.")),
        DifferenceState::Vanished => Err(AppError::refused("conflict", "The difference has vanished.")),
    }
}

async fn locked_in_tx(tx: &mut Tx, id: DifferenceId) -> Result<Option<Kept>, AppError> {
    let firm = tx.firm();
    let row = sqlx::query_as!(
        KeptRow,
        r#"select id, subject, family, name, kind, currency, ours, theirs, unit, about, state, owner_id, resolution,
                  resolved_by, resolved_at as "resolved_at: At", posting_id, first_seen_at as "first_seen_at: At",
                  last_seen_at as "last_seen_at: At", first_run, last_run
           from reconciliation_differences where firm_id = $1 and id = $2 for update"#,
        firm.uuid(),
        id.uuid(),
    )
    .fetch_optional(tx.connection())
    .await
    .doing("reading a difference")?;
    Ok(row.map(KeptRow::read).transpose()?)
}

/// The names of a step.
async fn names_in_tx(tx: &mut Tx, run: &Run, most: i64) -> Result<Vec<Both>, AppError> {
    let firm = tx.firm();
    let rows = sqlx::query!(
        r#"select family as "family!", name as "name!" from (
               select family, name from provider_entries
               where firm_id = $1 and provider = $2 and at >= $3 and at < $4
               union
               select family, name from provider_entries where firm_id = $1 and run_id = $5
               union
               select family, name from ledger_names where firm_id = $1 and provider = $2 and at >= $3 and at < $4
               union
               select family, name from ledger_names where firm_id = $1 and run_id = $5
               union
               select family, name from reconciliation_differences
               where firm_id = $1 and subject = $2 and state in ('open', 'assigned')
           ) named
           where (family, name) > ($6, $7) order by family, name limit $8"#,
        firm.uuid(),
        run.subject.word(),
        At(run.from) as _,
        At(run.until) as _,
        run.id.uuid(),
        run.after.0,
        run.after.1,
        most,
    )
    .fetch_all(tx.connection())
    .await
    .doing("looking for what is to be compared")?;
    let named = rows.into_iter().map(|row| {
        let family = by_word(LINES, &Family::ALL, Family::word, &row.family)?;
        let name = Name { family, name: row.name };
        Ok(Both { name, lines: Vec::new(), moves: Vec::new(), under_way: Vec::new() })
    });
    named.collect()
}

fn of(named: &mut [Both], place: i64) -> Result<&mut Both, Inconsistent> {
    let place = usize::try_from(place).ok().and_then(|place| place.checked_sub(1));
    place
        .and_then(|place| named.get_mut(place))
        .ok_or_else(|| Inconsistent::new(LINES, "a name is in no place"))
}

async fn lines_in_tx(tx: &mut Tx, run: &Run, named: &mut [Both]) -> Result<(), AppError> {
    let firm = tx.firm();
    let rows = sqlx::query!(
        r#"select wanted.place as "place!", line.id, line.kind, line.gross_minor, line.fee_minor, line.net_minor, line.currency,
                  line.at as "at: At"
           from unnest($3::text[], $4::text[]) with ordinality as wanted (family, name, place)
           join provider_entries line on line.firm_id = $1 and line.provider = $2
            and line.family = wanted.family and line.name = wanted.name
           order by wanted.place, line.at, line.id"#,
        firm.uuid(),
        run.subject.word(),
        column(&*named, |both| both.name.family.word()) as _,
        &column(&*named, |both| both.name.name.clone()),
    )
    .fetch_all(tx.connection())
    .await
    .doing("reading a provider's books")?;
    for row in rows {
        by_word(LINES, &EntryKind::ALL, EntryKind::word, &row.kind)?;
        of(named, row.place)?.lines.push(Line {
            id: row.id,
            gross: money(LINES, row.gross_minor, &row.currency)?,
            fee: money(LINES, row.fee_minor, &row.currency)?,
            net: money(LINES, row.net_minor, &row.currency)?,
            at: row.at.into(),
        });
    }
    Ok(())
}

async fn moves_in_tx(tx: &mut Tx, run: &Run, named: &mut [Both]) -> Result<(), AppError> {
    let firm = tx.firm();
    let rows = sqlx::query!(
        r#"select wanted.place as "place!", entry.id, entry.cause, entry.effective_at as "at: At", moved.currency,
                  case when moved.debit = clearing then moved.amount_minor else -moved.amount_minor end as "amount!",
                  'provider_fees:' || $2 in (moved.debit, moved.credit) as "fee!"
           from unnest($3::text[], $4::text[]) with ordinality as wanted (family, name, place)
           cross join (select 'provider_clearing:' || $2) own (clearing)
           join ledger_names named on named.firm_id = $1 and named.provider = $2
            and named.family = wanted.family and named.name = wanted.name
           join ledger_entries entry on entry.firm_id = $1 and entry.id = named.entry_id
           join ledger_transfers moved on moved.firm_id = $1 and moved.entry_id = named.entry_id
            and clearing in (moved.debit, moved.credit)
           order by wanted.place, entry.number, moved.line"#,
        firm.uuid(),
        run.subject.word(),
        column(&*named, |both| both.name.family.word()) as _,
        &column(&*named, |both| both.name.name.clone()),
    )
    .fetch_all(tx.connection())
    .await
    .doing("reading the ledger beside a provider's books")?;
    for row in rows {
        of(named, row.place)?.moves.push(Move {
            entry: EntryId::from_uuid(row.id),
            cause: row.cause,
            amount: money("ledger_transfers", row.amount, &row.currency)?,
            fee: row.fee,
            at: row.at.into(),
        });
    }
    Ok(())
}

/// What was sent of payouts and is neither settled nor back.
async fn under_way_in_tx(tx: &mut Tx, run: &Run, named: &mut [Both]) -> Result<(), AppError> {
    let firm = tx.firm();
    let rows = sqlx::query!(
        r#"select wanted.place as "place!", moved.currency,
                  sum(case when moved.credit = clearing then moved.amount_minor else -moved.amount_minor end)::bigint as "left!"
           from unnest($3::text[], $4::text[]) with ordinality as wanted (family, name, place)
           cross join (select 'payout_clearing:' || $2) own (clearing)
           join ledger_entries entry on entry.firm_id = $1 and entry.cause = 'payout:' || wanted.name
           join ledger_transfers moved on moved.firm_id = $1 and moved.entry_id = entry.id
            and clearing in (moved.debit, moved.credit)
           where wanted.family = 'payout'
           group by 1, 2"#,
        firm.uuid(),
        run.subject.word(),
        column(&*named, |both| both.name.family.word()) as _,
        &column(&*named, |both| both.name.name.clone()),
    )
    .fetch_all(tx.connection())
    .await
    .doing("looking for payouts under way")?;
    for row in rows {
        let left = money("ledger_transfers", row.left, &row.currency)?;
        of(named, row.place)?.under_way.push(left);
    }
    Ok(())
}

/// Names entries as they are posted.
async fn name_in_tx(
    tx: &mut Tx,
    subject: Subject,
    run: RunId,
    posts: &[(Name, Entry)],
) -> Result<(), AppError> {
    let firm = tx.firm();
    sqlx::query!(
        "insert into ledger_names (firm_id, provider, entry_id, family, name, at, run_id)
         select $1, $2, id, family, name, at, $3
         from unnest($4::uuid[], $5::text[], $6::text[], $7::timestamptz[]) as post (id, family, name, at)
         on conflict on constraint ledger_names_key do nothing",
        firm.uuid(),
        subject.word(),
        run.uuid(),
        &column(posts, |(_, entry)| entry.id().uuid()),
        column(posts, |(name, _)| name.family.word()) as _,
        column(posts, |(name, _)| name.name.as_str()) as _,
        column(posts, |(_, entry)| At(entry.effective_at())) as _,
    )
    .execute(tx.connection())
    .await
    .doing("naming what is posted")?;
    Ok(())
}

/// Keeps what was found. What somebody has resolved stays so as long as it is the same; what has vanished, or changed since, is open
/// again.
async fn keep_found_in_tx(tx: &mut Tx, run: &Run, found: &[Found], at: Timestamp) -> Result<(), AppError> {
    if found.is_empty() {
        return Ok(());
    }
    let firm = tx.firm();
    sqlx::query!(
        "insert into reconciliation_differences as kept
             (firm_id, id, subject, family, name, kind, currency, ours, theirs, unit, about, state, first_seen_at, last_seen_at,
              first_run, last_run)
         select $1, id, $2, family, name, kind, currency, ours, theirs, unit, about, 'open', $3, $3, $4, $4
         from unnest($5::uuid[], $6::text[], $7::text[], $8::text[], $9::text[], $10::bigint[], $11::bigint[], $12::text[],
                     $13::text[]) as found (id, family, name, kind, currency, ours, theirs, unit, about)
         on conflict on constraint reconciliation_differences_key do update
         set kind = excluded.kind, ours = excluded.ours, theirs = excluded.theirs, about = coalesce(excluded.about, kept.about),
             last_seen_at = excluded.last_seen_at, last_run = excluded.last_run,
             state = case when kept.state in ('open', 'assigned') then kept.state
                          when kept.state = 'resolved' and (kept.ours, kept.theirs) is not distinct from (excluded.ours, excluded.theirs)
                              then kept.state
                          when kept.owner_id is null then 'open' else 'assigned' end,
             (resolution, resolved_by, resolved_at, posting_id) = (
                 select kept.resolution, kept.resolved_by, kept.resolved_at, kept.posting_id
                 where kept.state = 'resolved'
                   and (kept.ours, kept.theirs) is not distinct from (excluded.ours, excluded.theirs))",
        firm.uuid(),
        run.subject.word(),
        At(at) as _,
        run.id.uuid(),
        &column(found, |it| it.difference.id(run.subject).uuid()),
        &column(found, |it| it.difference.family.clone()),
        &column(found, |it| it.difference.name.clone()),
        column(found, |it| it.difference.kind.word()) as _,
        column(found, |it| it.difference.currency.code()) as _,
        column(found, |it| it.ours) as _,
        column(found, |it| it.theirs) as _,
        column(found, |it| it.unit.word()) as _,
        column(found, |it| it.about.as_deref()) as _,
    )
    .execute(tx.connection())
    .await
    .doing("keeping differences")?;
    Ok(())
}

struct OwnRow {
    name: String,
    kind: String,
    currency: String,
    ours: Option<i64>,
    theirs: Option<i64>,
    about: Option<String>,
}

impl OwnRow {
    fn read(self, part: OwnPart, unit: Unit) -> Result<Found, Inconsistent> {
        Ok(Found {
            difference: Difference {
                family: part.word().to_owned(),
                name: self.name,
                kind: by_word(DIFFERENCES, &Kind::ALL, Kind::word, &self.kind)?,
                currency: Currency::parse(&self.currency).map_err(Inconsistent::from(DIFFERENCES))?,
            },
            ours: self.ours,
            theirs: self.theirs,
            unit,
            about: self.about,
        })
    }
}

/// What happened to purchases since the run before, and its entries, each against the other; with every difference that is open.
async fn purchases_in_tx(tx: &mut Tx, run: &Run) -> Result<OwnPage, AppError> {
    let firm = tx.firm();
    let rows = sqlx::query_as!(
        OwnRow,
        r#"with last as materialized (
               select horizon from reconciliation_runs
               where firm_id = $1 and subject = 'own' and ended_at is not null
                 and cluster = (select system_identifier from pg_control_system())
               order by window_to desc, ended_at desc limit 1
           ), unresolved as materialized (
               select name::uuid as id from reconciliation_differences
               where firm_id = $1 and subject = 'own' and family = 'purchase' and state in ('open', 'assigned')
           ), event as materialized (
               select * from purchase_events
               where firm_id = $1 and recorded_at >= $2
               union
               select happened.* from unresolved join purchase_events happened on happened.firm_id = $1 and happened.id = unresolved.id
           ), moving as (
               select * from event where what in ('captured', 'paid_again', 'refunded_in_part', 'refunded_in_whole',
                                                  'overpayment_refunded', 'dispute_opened', 'dispute_won', 'dispute_lost')
           ), posted as (
               -- In the currency of the event; a dispute that is lost moves nothing at the provider.
               select moving.id, moving.what, moving.purchase_id, moving.amount_minor, moving.currency,
                      (select count(*) from ledger_entries entry where entry.firm_id = $1 and entry.id = moving.id) as entries,
                      sum(moved.amount_minor) filter (
                          where 'provider_clearing:' || moving.provider in (moved.debit, moved.credit)
                            and 'provider_fees:' || moving.provider not in (moved.debit, moved.credit)) as moved
               from moving
               left join ledger_transfers moved on moved.firm_id = $1 and moved.entry_id = moving.id
                and moved.currency = coalesce(moving.currency, moved.currency)
               group by 1, 2, 3, 4, 5
           ), entry as materialized (
               select distinct entry.id, entry.cause, entry.kind from ledger_transfers moved
               join ledger_entries entry on entry.firm_id = moved.firm_id and entry.id = moved.entry_id
               where moved.firm_id = $1 and moved.transaction >= coalesce((select horizon from last), '0'::xid8)
                 and entry.cause like 'purchase:%'
               union
               select entry.id, entry.cause, entry.kind from unresolved
               join ledger_entries entry on entry.firm_id = $1 and entry.id = unresolved.id
           )
           select name as "name!", kind as "kind!", currency as "currency!", ours, theirs, about from (
           select posted.id::text as name, 'without_entry' as kind, coalesce(posted.currency, bought.fee_currency) as currency,
                  posted.moved::bigint as ours, posted.amount_minor as theirs, 'purchase:' || purchase_id as about
           from posted join purchases bought on bought.firm_id = $1 and bought.id = posted.purchase_id
           where posted.entries = 0
              or (posted.amount_minor is not null and posted.moved is distinct from posted.amount_minor)
           union all
           select entry.id::text, 'without_event', moved.currency, sum(moved.amount_minor)::bigint, null, entry.cause
           from entry
           join ledger_transfers moved on moved.firm_id = $1 and moved.entry_id = entry.id
           where entry.kind in ('capture', 'overpayment', 'refund', 'dispute_opened', 'dispute_won', 'dispute_lost')
             and not exists (select from purchase_events happened where happened.firm_id = $1 and happened.id = entry.id)
           group by entry.id, moved.currency, entry.cause
           union all
           select happened.id::text, 'without_entry', coalesce(happened.currency, refund.currency, bought.fee_currency), null, refund.amount_minor,
                  'purchase:' || happened.purchase_id
           from event happened
           join purchases bought on bought.firm_id = $1 and bought.id = happened.purchase_id
           join purchase_events refund on refund.firm_id = $1 and refund.purchase_id = happened.purchase_id
            and refund.provider = happened.provider and refund.reference = happened.reference
            and refund.what in ('refunded_in_part', 'refunded_in_whole', 'overpayment_refunded')
           where happened.what = 'refund_failed'
             and not exists (select from ledger_entries back where back.firm_id = $1 and back.reverses_id = refund.id)
           union all
           select bought.id::text, 'without_event', bought.fee_currency, bought.fee_minor, null, 'purchase:' || bought.id
           from purchases bought
           where bought.firm_id = $1 and bought.provider is not null
             and bought.state in ('captured', 'fulfilled', 'refunded', 'disputed', 'charged_back')
             and not exists (select from purchase_events happened
                             where happened.firm_id = $1 and happened.purchase_id = bought.id
                               and happened.what in ('captured', 'nothing_due'))
           ) differing
           where name > $4 order by name fetch first ($3) rows with ties"#,
        firm.uuid(),
        At(run.from) as _,
        MOST_FOUND,
        run.after.1,
    )
    .fetch_all(tx.connection())
    .await
    .doing("comparing purchases with the books")?;
    let next = last_name(&rows);
    let counted = run.after.1.is_empty();
    let compared = sqlx::query_scalar!(
        r#"select count(*) filter (where $3) as "count!" from purchase_events where firm_id = $1 and recorded_at >= $2"#,
        firm.uuid(),
        At(run.from) as _,
        counted,
    )
    .fetch_one(tx.connection())
    .await
    .doing("counting what happened to purchases")?;
    let found: Result<_, Inconsistent> =
        rows.into_iter().map(|row| row.read(OwnPart::Purchases, Unit::Minor)).collect();
    Ok(OwnPage { found: found?, compared, next })
}

/// Where a page that may have another one behind it ends.
fn last_name(rows: &[OwnRow]) -> Option<String> {
    let full = i64::try_from(rows.len()).is_ok_and(|count| count >= MOST_FOUND);
    rows.last().filter(|_| full).map(|row| row.name.clone())
}

/// Payouts by their entries and holds: nothing arrives that was not sent, and nothing is sent that was not owed.
async fn payouts_in_tx(tx: &mut Tx, after: &str) -> Result<OwnPage, AppError> {
    let firm = tx.firm();
    let rows = sqlx::query_as!(
        OwnRow,
        r#"with side as (
               select entry.cause, moved.currency,
                      sum(moved.amount_minor) filter (where moved.credit like 'payout_clearing:%') as sent,
                      sum(moved.amount_minor) filter (where moved.debit like 'payout_clearing:%') as arrived,
                      sum(moved.amount_minor) filter (where moved.debit = 'trader_rewards')
                          - coalesce(sum(moved.amount_minor) filter (where moved.credit = 'trader_rewards'), 0) as owed
               from ledger_entries entry
               join ledger_transfers moved on moved.firm_id = entry.firm_id and moved.entry_id = entry.id
               where entry.firm_id = $1 and starts_with(entry.cause, 'payout:')
               group by entry.cause, moved.currency
           )
           select name as "name!", kind as "kind!", currency as "currency!", ours, theirs, about from (
           select substr(cause, 8) as name, 'amount' as kind, currency, sent::bigint as ours, arrived::bigint as theirs,
                  cause as about
           from side where coalesce(arrived, 0) > coalesce(sent, 0)
           union all
           select substr(cause, 8), 'without_entry', currency, owed::bigint, sent::bigint, cause
           from side where coalesce(sent, 0) - coalesce(arrived, 0) > 0 and owed is not null and owed < sent - coalesce(arrived, 0)
           ) differing
           where name > $3 order by name fetch first ($2) rows with ties"#,
        firm.uuid(),
        MOST_FOUND,
        after,
    )
    .fetch_all(tx.connection())
    .await
    .doing("comparing payouts in the books")?;
    let next = last_name(&rows);
    let found: Result<_, Inconsistent> =
        rows.into_iter().map(|row| row.read(OwnPart::Payouts, Unit::Minor)).collect();
    Ok(OwnPage { found: found?, compared: 0, next })
}

/// Balances of trading accounts against their entries, and these against what was traded.
async fn trading_in_tx(tx: &mut Tx, after: &str, most: i64) -> Result<OwnPage, AppError> {
    let firm = tx.firm();
    let after = after.parse::<Uuid>().ok();
    let ids = sqlx::query_scalar!(
        "select id from accounts where firm_id = $1 and ($2::uuid is null or id > $2) order by id limit $3",
        firm.uuid(),
        after,
        most,
    )
    .fetch_all(tx.connection())
    .await
    .doing("reading trading accounts")?;
    // One statement: a shard writes a balance and its entries in one transaction.
    let rows = sqlx::query_as!(
        OwnRow,
        r#"with traded as (
               select accounts.id, accounts.currency, accounts.balance_micros, entry.total, entry.profit, entry.commission,
                      fill.profit as fill_profit, fill.commission as fill_commission
               from unnest($2::uuid[]) wanted (id)
               join accounts on accounts.firm_id = $1 and accounts.id = wanted.id
               cross join lateral (
                   select coalesce(sum(amount_micros), 0)::bigint as total,
                          coalesce(sum(amount_micros) filter (where kind = 'profit'), 0)::bigint as profit,
                          coalesce(sum(amount_micros) filter (where kind = 'commission'), 0)::bigint as commission
                   from balance_entries where firm_id = $1 and account_id = accounts.id
               ) entry
               cross join lateral (
                   select coalesce(sum(profit_micros), 0)::bigint as profit,
                          coalesce(sum(commission_micros), 0)::bigint as commission
                   from fills where firm_id = $1 and account_id = accounts.id
               ) fill
           )
           select id::text as "name!", 'balance' as "kind!", currency as "currency!", balance_micros as ours, total as theirs,
                  'account:' || id as about
           from traded where balance_micros <> total
           union all
           select id::text, 'fills', currency, profit + commission, fill_profit - fill_commission, 'account:' || id
           from traded where profit <> fill_profit or commission <> -fill_commission"#,
        firm.uuid(),
        &ids,
    )
    .fetch_all(tx.connection())
    .await
    .doing("comparing balances with what was traded")?;
    let found: Result<_, Inconsistent> =
        rows.into_iter().map(|row| row.read(OwnPart::Trading, Unit::Micros)).collect();
    let compared = i64::try_from(ids.len()).unwrap_or(i64::MAX);
    let next = ids.last().filter(|_| compared >= most).map(ToString::to_string);
    Ok(OwnPage { found: found?, compared, next })
}
