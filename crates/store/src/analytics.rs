//! Read tables of boards, statistics and counters: how they are written from the truth, and how they are read.
//!
//! Messages say only whose rows are to be looked at again. What has happened to an account since its row was written is
//! found by the numbers of its fills, entries and verdicts, which rise without gaps and are never changed; so it does not
//! matter how often a message comes, in which order, or whether it comes at all before the next one. Making a new version
//! is the same step from nothing, for every account in turn (docs/adr/0025).
//!
//! Writers of a firm go one after the other: each begins with the firm's row in `projections`, whose `change` numbers what
//! it writes. Followers ask for what was written after the last number they know.

use std::collections::BTreeMap;

use app::AppError;
use engine::Status;
use kernel::{AccountId, Amount, Currency, FirmId, PersonId, PurchaseId, Timestamp};
use uuid::Uuid;

use crate::error::Doing;
use crate::row::{At, column, place, size, status};
use crate::{Inconsistent, Store, Tx};

/// The group under which messages are taken.
pub const GROUP: &str = "analytics";

const NAME: &str = "accounts";

/// The first moment and the length of what is ranked. Days are UTC's, weeks begin on Mondays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Period {
    /// One day.
    Day,
    /// From a Monday.
    Week,
    /// From a first.
    Month,
    /// Since the account was opened.
    All,
}

impl Period {
    /// Each.
    pub const ALL: [Self; 4] = [Self::Day, Self::Week, Self::Month, Self::All];

    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Day => "day",
            Self::Week => "week",
            Self::Month => "month",
            Self::All => "all",
        }
    }
}

/// Where the read rows of a firm stand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Whose.
    pub firm: FirmId,
    /// The version that is read; 0 if none was made yet.
    pub version: i32,
    /// Whether another is being made.
    pub building: bool,
    /// Of the last writing.
    pub change: i64,
}

/// How far messages are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backlog {
    /// The newest message that was written.
    pub newest: i64,
    /// The oldest that this group has not taken, and when it was written; none if it has taken all.
    pub waiting: Option<(i64, Timestamp)>,
    /// How many wait, counted up to [`MOST_COUNTED`].
    pub count: i64,
    /// Up to here all are taken for good, and no further one comes to light.
    pub taken_through: i64,
    /// The database's clock.
    pub now: Timestamp,
}

/// Waiting messages are counted up to here.
pub const MOST_COUNTED: i64 = 10_000;

/// An account as the board shows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResultRow {
    /// The number under which it was written.
    pub change: i64,
    /// Which.
    pub account: AccountId,
    /// Its owner.
    pub person: PersonId,
    /// The program's slug when it was bought.
    pub slug: String,
    /// Its phase, from 0.
    pub phase: usize,
    /// Whether it trades.
    pub status: Status,
    /// Of every amount.
    pub currency: Currency,
    /// Balance at opening.
    pub initial: Amount,
    /// Closed results and what was paid out or added.
    pub balance: Amount,
    /// When it opened.
    pub opened_at: Timestamp,
}

/// What an account realised in a period.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScoreRow {
    /// The number under which it was written.
    pub change: i64,
    /// Whose.
    pub account: AccountId,
    /// Which kind of period.
    pub period: Period,
    /// Its first day, counted from 1970-01-01.
    pub starts: i32,
    /// The program's slug when it was bought.
    pub slug: String,
    /// Its phase, from 0.
    pub phase: usize,
    /// When the account was opened.
    pub opened_at: Timestamp,
    /// Profit and commission.
    pub realised: Amount,
    /// The same in millionths of the balance at opening, rounded down.
    pub ppm: i64,
    /// Positions closed.
    pub closed: u64,
}

/// The closed positions of an account in one symbol.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolRow {
    /// Which instrument.
    pub symbol: String,
    /// How many.
    pub closed: u64,
    /// Of them with a gain after commission.
    pub wins: u64,
    /// Of them with a loss after commission.
    pub losses: u64,
    /// The gains together.
    pub won: Amount,
    /// The losses together, not negative.
    pub lost: Amount,
    /// How long they were held, together, in microseconds.
    pub held_us: i64,
    /// The best result.
    pub best: Amount,
    /// The worst result.
    pub worst: Amount,
}

/// A counter of a firm's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BusinessRow {
    /// Counted from 1970-01-01.
    pub day: i32,
    /// What was counted.
    pub what: String,
    /// Of which program.
    pub slug: String,
    /// Of which phase, from 0; 0 for purchases.
    pub phase: usize,
    /// Of the amount.
    pub currency: Currency,
    /// How often.
    pub count: u64,
    /// Minor units for purchases, micro-units for payouts, otherwise 0.
    pub amount: i64,
}

/// A closed trading day as the reset found it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DayRow {
    /// The day that began, counted from 1970-01-01.
    pub day: i32,
    /// When it began.
    pub started_at: Timestamp,
    /// Closed results at that moment.
    pub balance: Amount,
    /// Balance and open results at that moment.
    pub equity: Amount,
}

impl Tx {
    /// Looks at these accounts and purchases again and writes what has changed since, into the version that is read and into
    /// the one that is being made. `newest` is the newest message behind it.
    pub async fn project(
        &mut self,
        accounts: &[AccountId],
        purchases: &[PurchaseId],
        newest: Option<(i64, Timestamp)>,
    ) -> Result<(), AppError> {
        let firm = self.firm().uuid();
        let accounts = column(accounts, |account| account.uuid());
        let purchases = column(purchases, |purchase| purchase.uuid());
        let (newest_id, newest_at) = newest.unzip();
        self.ensure_projection().await?;
        // From here on this is the only writer of the firm, until the end of the transaction.
        let row = sqlx::query!(
            "update projections set change = change + 1, taken_id = greatest(taken_id, $3),
                                    taken_at = greatest(taken_at, $4)
             where firm_id = $1 and name = $2
             returning version, building, built_through, change,
                       -- What is new is found by key. The server takes it for a third of everything and would read it all.
                       set_config('enable_hashjoin', 'off', true) as no_hash,
                       set_config('enable_mergejoin', 'off', true) as no_merge",
            firm,
            NAME,
            newest_id,
            newest_at.map(At) as _,
        )
        .fetch_one(self.connection())
        .await
        .doing("beginning to project")?;
        if row.version > 0 {
            self.project_accounts(row.version, &accounts, row.change).await?;
            self.count_purchases(row.version, &purchases).await?;
        }
        if let (Some(building), Some(through)) = (row.building, row.built_through) {
            // Those beyond are reached later.
            let reached: Vec<Uuid> = accounts.into_iter().filter(|account| *account <= through).collect();
            self.project_accounts(building, &reached, row.change).await?;
            self.count_purchases(building, &purchases).await?;
        }
        Ok(())
    }

    async fn ensure_projection(&mut self) -> Result<(), AppError> {
        let firm = self.firm().uuid();
        sqlx::query!(
            "insert into projections (firm_id, name, version, building, change, taken_id)
             values ($1, $2, 0, 1, 0, 0) on conflict on constraint projections_key do nothing",
            firm,
            NAME,
        )
        .execute(self.connection())
        .await
        .doing("beginning to project")?;
        Ok(())
    }

    /// One statement, so that everything it reads is of one moment: shards write on beside it.
    async fn project_accounts(
        &mut self,
        version: i32,
        accounts: &[Uuid],
        change: i64,
    ) -> Result<(), AppError> {
        if accounts.is_empty() {
            return Ok(());
        }
        let firm = self.firm().uuid();
        sqlx::query!(
            r#"with wanted as materialized (
                   select account.id, challenge.person_id, challenge.slug, account.phase, account.status,
                          account.currency, account.initial_micros, account.balance_micros, account.opened_at,
                          account.closed_at, account.next_fill, account.next_entry, account.next_verdict,
                          coalesce(known.next_fill, 0) as from_fill, coalesce(known.next_entry, 0) as from_entry,
                          coalesce(known.next_verdict, 0) as from_verdict, known.account_id is null as is_new
                   from accounts account
                   join challenges challenge on challenge.firm_id = $1 and challenge.id = account.challenge_id
                   left join account_results known
                          on known.firm_id = $1 and known.version = $2 and known.account_id = account.id
                   where account.firm_id = $1 and account.id = any($3)
               ),
               entry as materialized (
                   select wanted.id, entry.kind, entry.amount_micros, (entry.at at time zone 'UTC')::date as day
                   from wanted
                   join balance_entries entry on entry.firm_id = $1 and entry.account_id = wanted.id
                                             and entry.number >= wanted.from_entry
                   where entry.kind in ('profit', 'commission', 'payout')
               ),
               -- A position closes by its last fill: those that are closed and have a new fill have closed since.
               ended as materialized (
                   select touched.id, position.symbol, position.realised_micros - position.commission_micros as result,
                          (extract(epoch from position.closed_at - position.opened_at) * 1000000)::bigint as held_us,
                          (position.closed_at at time zone 'UTC')::date as day
                   from (select distinct wanted.id, fill.position_ticket
                         from wanted
                         join fills fill on fill.firm_id = $1 and fill.account_id = wanted.id
                                        and fill.number >= wanted.from_fill) touched
                   join positions position on position.firm_id = $1 and position.account_id = touched.id
                                          and position.ticket = touched.position_ticket
                   where position.closed_at is not null
               ),
               verdict as materialized (
                   select wanted.id, verdict.kind, (verdict.at at time zone 'UTC')::date as day
                   from wanted
                   join verdicts verdict on verdict.firm_id = $1 and verdict.account_id = wanted.id
                                        and verdict.number >= wanted.from_verdict
                   where verdict.kind in ('breach', 'pass', 'expiry')
               ),
               happened as (
                   select id, day, amount_micros as realised, 0 as closed from entry where kind <> 'payout'
                   union all
                   select id, day, 0, 1 from ended
               ),
               gained as (
                   select id, span.period, span.starts, sum(realised)::bigint as realised, sum(closed) as closed
                   from happened
                   cross join lateral (values ('all', date '1970-01-01'), ('day', day),
                                              ('week', date_trunc('week', day::timestamp)::date),
                                              ('month', date_trunc('month', day::timestamp)::date))
                              as span (period, starts)
                   group by id, span.period, span.starts
                   union all
                   -- Whoever has done nothing yet stands on the board of all time, too.
                   select id, 'all', date '1970-01-01', 0, 0 from wanted
                   where is_new and not exists (select from happened where happened.id = wanted.id)
               ),
               scored as (
                   insert into account_scores (firm_id, version, account_id, period, starts, slug, phase, opened_at,
                                               realised_micros, ppm, closed, change)
                   select $1, $2, wanted.id, gained.period, gained.starts, wanted.slug, wanted.phase, wanted.opened_at,
                          total.realised, tradesense_ppm(total.realised, wanted.initial_micros),
                          coalesce(known.closed, 0) + gained.closed, $4
                   from gained
                   join wanted on wanted.id = gained.id
                   left join account_scores known
                          on known.firm_id = $1 and known.version = $2 and known.account_id = gained.id
                         and known.period = gained.period and known.starts = gained.starts
                   cross join lateral (select coalesce(known.realised_micros, 0) + gained.realised as realised) total
                   on conflict on constraint account_scores_key do update
                   set realised_micros = excluded.realised_micros, ppm = excluded.ppm, closed = excluded.closed,
                       change = excluded.change
               ),
               by_symbol as (
                   insert into account_symbols (firm_id, version, account_id, symbol, closed, wins, losses, won_micros,
                                                lost_micros, held_us, best_micros, worst_micros)
                   select $1, $2, id, symbol, count(*), count(*) filter (where result > 0),
                          count(*) filter (where result < 0), coalesce(sum(result) filter (where result > 0), 0),
                          coalesce(-sum(result) filter (where result < 0), 0), sum(held_us), max(result), min(result)
                   from ended group by id, symbol
                   on conflict on constraint account_symbols_key do update
                   set closed = account_symbols.closed + excluded.closed,
                       wins = account_symbols.wins + excluded.wins,
                       losses = account_symbols.losses + excluded.losses,
                       won_micros = account_symbols.won_micros + excluded.won_micros,
                       lost_micros = account_symbols.lost_micros + excluded.lost_micros,
                       held_us = account_symbols.held_us + excluded.held_us,
                       best_micros = greatest(account_symbols.best_micros, excluded.best_micros),
                       worst_micros = least(account_symbols.worst_micros, excluded.worst_micros)
               ),
               business as (
                   insert into business_days (firm_id, version, day, what, slug, phase, currency, count, amount)
                   select $1, $2, counted.day, counted.what, wanted.slug, wanted.phase, wanted.currency, count(*),
                          sum(counted.amount)
                   from (select id, (opened_at at time zone 'UTC')::date as day, 'opened' as what, 0 as amount
                         from wanted where is_new
                         union all
                         select id, day, 'payouts', -amount_micros from entry where kind = 'payout'
                         union all
                         select id, day, case kind when 'breach' then 'breaches' when 'pass' then 'passes'
                                                   else 'expiries' end, 0
                         from verdict) counted
                   join wanted on wanted.id = counted.id
                   group by counted.day, counted.what, wanted.slug, wanted.phase, wanted.currency
                   on conflict on constraint business_days_key do update
                   set count = business_days.count + excluded.count, amount = business_days.amount + excluded.amount
               )
               insert into account_results (firm_id, version, account_id, person_id, slug, phase, status, currency,
                                            initial_micros, balance_micros, opened_at, closed_at, next_fill,
                                            next_entry, next_verdict, change)
               select $1, $2, id, person_id, slug, phase, status, currency, initial_micros, balance_micros, opened_at,
                      closed_at, next_fill, next_entry, next_verdict, $4
               from wanted
               on conflict on constraint account_results_key do update
               set status = excluded.status, balance_micros = excluded.balance_micros, closed_at = excluded.closed_at,
                   next_fill = excluded.next_fill, next_entry = excluded.next_entry,
                   next_verdict = excluded.next_verdict, change = excluded.change
               where (account_results.status, account_results.next_fill, account_results.next_entry,
                      account_results.next_verdict)
                     is distinct from (excluded.status, excluded.next_fill, excluded.next_entry, excluded.next_verdict)"#,
            firm,
            version,
            accounts,
            change,
        )
        .execute(self.connection())
        .await
        .doing("projecting accounts")?;
        Ok(())
    }

    /// Counts the days again on which these purchases were made and decided.
    async fn count_purchases(&mut self, version: i32, purchases: &[Uuid]) -> Result<(), AppError> {
        if purchases.is_empty() {
            return Ok(());
        }
        let firm = self.firm().uuid();
        sqlx::query!(
            r#"with day as (
                   select distinct (span.at at time zone 'UTC')::date as day
                   from purchases
                   cross join lateral (values (created_at), (decided_at)) span (at)
                   where firm_id = $1 and id = any($3) and span.at is not null
               )
               insert into business_days (firm_id, version, day, what, slug, phase, currency, count, amount)
               select $1::uuid, $2::integer, day.day, 'purchases', slug, 0, fee_currency, count(*), sum(fee_minor)
               from day
               join purchases on firm_id = $1 and created_at >= day.day::timestamp at time zone 'UTC'
                             and created_at < (day.day + 1)::timestamp at time zone 'UTC'
               group by day.day, slug, fee_currency
               union all
               select $1, $2, day.day, 'paid', slug, 0, fee_currency, count(*), sum(fee_minor)
               from day
               join purchases on firm_id = $1 and decided_at >= day.day::timestamp at time zone 'UTC'
                             and decided_at < (day.day + 1)::timestamp at time zone 'UTC'
                             and state in ('captured', 'fulfilled', 'refunded', 'disputed', 'charged_back')
               group by day.day, slug, fee_currency
               on conflict on constraint business_days_key do update
               set count = excluded.count, amount = excluded.amount"#,
            firm,
            version,
            purchases,
        )
        .execute(self.connection())
        .await
        .doing("counting purchases")?;
        Ok(())
    }

    /// The version of the firm's rows that is read; 0 if there is none yet.
    async fn read_version(&mut self) -> Result<i32, AppError> {
        let firm = self.firm().uuid();
        let version = sqlx::query_scalar!(
            "select version from projections where firm_id = $1 and name = $2",
            firm,
            NAME
        )
        .fetch_optional(self.connection())
        .await
        .doing("finding the version that is read")?;
        Ok(version.unwrap_or_default())
    }
}

impl Store {
    /// Where the rows of every firm stand; a firm of which nothing was ever projected at version 0.
    pub async fn standings(&self) -> Result<Vec<Standing>, AppError> {
        let rows = sqlx::query!(
            r#"select firms.firm_id, coalesce(known.version, 0) as "version!",
                      known.version is null or known.building is not null as "building!",
                      coalesce(known.change, 0) as "change!"
               from firms left join projections known on known.firm_id = firms.firm_id and known.name = $1
               order by firms.firm_id"#,
            NAME,
        )
        .fetch_all(&self.worker)
        .await
        .doing("looking for news of projections")?;
        let standing = |firm, version, building, change| Standing {
            firm: FirmId::from_uuid(firm),
            version,
            building,
            change,
        };
        Ok(rows.into_iter().map(|row| standing(row.firm_id, row.version, row.building, row.change)).collect())
    }

    /// Begins a new version of a firm's rows; nothing new if one is being made already.
    pub async fn begin_rebuild(&self, firm: FirmId) -> Result<(), AppError> {
        let mut tx = self.begin(firm).await?;
        tx.ensure_projection().await?;
        sqlx::query!(
            "update projections set building = version + 1, change = change + 1
             where firm_id = $1 and name = $2 and building is null",
            firm.uuid(),
            NAME,
        )
        .execute(tx.connection())
        .await
        .doing("beginning a version")?;
        let _proof = tx.commit().await?;
        Ok(())
    }

    /// Makes the next part of the version that is being made, at most so many accounts. Once it has all of them it is the one
    /// that is read, in the same transaction. True when nothing is being made any more.
    pub async fn rebuild_some(&self, firm: FirmId, most: i64) -> Result<bool, AppError> {
        let doing = "making a version";
        let mut tx = self.begin(firm).await?;
        tx.ensure_projection().await?;
        let row = sqlx::query!(
            "update projections set change = change + 1 where firm_id = $1 and name = $2
             returning building, built_through, change",
            firm.uuid(),
            NAME,
        )
        .fetch_one(tx.connection())
        .await
        .doing(doing)?;
        let Some(building) = row.building else { return Ok(true) };
        let accounts = sqlx::query_scalar!(
            "select id from accounts where firm_id = $1 and ($2::uuid is null or id > $2) order by id limit $3",
            firm.uuid(),
            row.built_through,
            most,
        )
        .fetch_all(tx.connection())
        .await
        .doing(doing)?;
        if row.built_through.is_none() {
            count_all_purchases_in_tx(&mut tx, building).await?;
        }
        tx.project_accounts(building, &accounts, row.change).await?;
        let done = accounts.is_empty();
        let through = accounts.last().copied().or(row.built_through).unwrap_or(Uuid::nil());
        sqlx::query!(
            "update projections
             set built_through = case when $3 then null else $4::uuid end,
                 version = case when $3 then building else version end,
                 building = case when $3 then null else building end
             where firm_id = $1 and name = $2",
            firm.uuid(),
            NAME,
            done,
            through,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        let _proof = tx.commit().await?;
        Ok(done)
    }

    /// Drops rows of versions that are read no more, at most so many of each table. True when there are none left.
    pub async fn drop_old(&self, firm: FirmId, most: i64) -> Result<bool, AppError> {
        let mut tx = self.begin(firm).await?;
        let version = tx.read_version().await?;
        let dropped = sqlx::query_scalar!(
            r#"with results as (
                   delete from account_results where ctid = any(array(
                       select ctid from account_results where firm_id = $1 and version < $2 limit $3)) returning 1),
               scores as (
                   delete from account_scores where ctid = any(array(
                       select ctid from account_scores where firm_id = $1 and version < $2 limit $3)) returning 1),
               symbols as (
                   delete from account_symbols where ctid = any(array(
                       select ctid from account_symbols where firm_id = $1 and version < $2 limit $3)) returning 1),
               business as (
                   delete from business_days where ctid = any(array(
                       select ctid from business_days where firm_id = $1 and version < $2 limit $3)) returning 1)
               select (select count(*) from results) + (select count(*) from scores)
                      + (select count(*) from symbols) + (select count(*) from business) as "dropped!""#,
            firm.uuid(),
            version,
            most,
        )
        .fetch_one(tx.connection())
        .await
        .doing("dropping an old version")?;
        let _proof = tx.commit().await?;
        Ok(dropped == 0)
    }

    /// Looks at the next accounts behind `after`, at most so many, and counts those on of which no message told: it was given
    /// up, or was written before the group joined. Gives the last one looked at, and nothing at the end.
    pub async fn project_behind(
        &self,
        firm: FirmId,
        after: Option<AccountId>,
        most: i64,
    ) -> Result<Option<AccountId>, AppError> {
        let mut tx = self.begin(firm).await?;
        let version = tx.read_version().await?;
        let rows = sqlx::query!(
            r#"select account.id,
                      known.account_id is null
                      or (known.status, known.next_fill, known.next_entry, known.next_verdict)
                         is distinct from (account.status, account.next_fill, account.next_entry, account.next_verdict)
                          as "behind!"
               from (select * from accounts where firm_id = $1 and ($3::uuid is null or id > $3) order by id limit $4) account
               left join account_results known
                      on known.firm_id = $1 and known.version = $2 and known.account_id = account.id
               order by account.id"#,
            firm.uuid(),
            version,
            after.map(AccountId::uuid),
            most,
        )
        .fetch_all(tx.connection())
        .await
        .doing("looking for accounts that are not counted")?;
        let behind: Vec<AccountId> =
            rows.iter().filter(|row| row.behind).map(|row| AccountId::from_uuid(row.id)).collect();
        if version > 0 && !behind.is_empty() {
            tx.project(&behind, &[], None).await?;
        }
        let _proof = tx.commit().await?;
        Ok(rows.last().map(|row| AccountId::from_uuid(row.id)))
    }

    /// How far the group has taken messages. `known` is what an earlier answer said of `taken_through`, or 0: what lies below
    /// is not looked at again.
    pub async fn backlog(&self, known: i64) -> Result<Backlog, AppError> {
        let row = sqlx::query!(
            r#"with waiting as (
                   select outbox.id, outbox.at
                   from outbox
                   where outbox.id > greatest($3, (select settled_id from consumer_groups where name = $1))
                     and not exists (select from inbox where inbox.group_name = $1 and inbox.message_id = outbox.id
                                                         and inbox.firm_id = outbox.firm_id)
                     -- Given up: `project_behind` makes good what it would have done.
                     and not exists (select from failed_messages failed
                                     where failed.group_name = $1 and failed.message_id = outbox.id
                                       and failed.firm_id = outbox.firm_id and failed.dead_at is not null)
                   order by outbox.id limit $2
               )
               select coalesce((select max(id) from outbox), 0) as "newest!", first.id as "id?", first.at as "at?: At",
                      (select count(*) from waiting) as "count!",
                      greatest($3, least(first.id - 1, (select known_id from relay))) as "taken_through!",
                      clock_timestamp() as "now!: At"
               from (values (0)) one left join (select id, at from waiting order by id limit 1) first on true"#,
            GROUP,
            MOST_COUNTED,
            known,
        )
        .fetch_one(&self.worker)
        .await
        .doing("measuring the backlog of projections")?;
        Ok(Backlog {
            newest: row.newest,
            waiting: row.id.zip(row.at.map(Timestamp::from)),
            count: row.count,
            taken_through: row.taken_through,
            now: row.now.into(),
        })
    }
}

async fn count_all_purchases_in_tx(tx: &mut Tx, version: i32) -> Result<(), AppError> {
    let firm = tx.firm().uuid();
    sqlx::query!(
        r#"insert into business_days (firm_id, version, day, what, slug, phase, currency, count, amount)
           select $1::uuid, $2::integer, (created_at at time zone 'UTC')::date, 'purchases', slug, 0, fee_currency, count(*), sum(fee_minor)
           from purchases where firm_id = $1 group by 3, slug, fee_currency
           union all
           select $1, $2, (decided_at at time zone 'UTC')::date, 'paid', slug, 0, fee_currency, count(*), sum(fee_minor)
           from purchases
           where firm_id = $1 and state in ('captured', 'fulfilled', 'refunded', 'disputed', 'charged_back') group by 3, slug, fee_currency"#,
        firm,
        version,
    )
    .execute(tx.connection())
    .await
    .doing("counting purchases")?;
    Ok(())
}

/// The accounts of a version that were written after a change, in the order of changes; at most so many.
pub async fn results_after(
    tx: &mut Tx,
    version: i32,
    after: (i64, AccountId),
    most: i64,
) -> Result<Vec<ResultRow>, AppError> {
    let firm = tx.firm().uuid();
    let rows = sqlx::query!(
        r#"select change, account_id, person_id, slug, phase, status, currency, initial_micros, balance_micros,
                  opened_at as "opened_at: At"
           from account_results
           where firm_id = $1 and version = $2 and (change, account_id) > ($3, $4)
           order by change, account_id limit $5"#,
        firm,
        version,
        after.0,
        after.1.uuid(),
        most,
    )
    .fetch_all(tx.connection())
    .await
    .doing("following the results of accounts")?;
    let mut results = Vec::with_capacity(rows.len());
    for row in rows {
        results.push(ResultRow {
            change: row.change,
            account: AccountId::from_uuid(row.account_id),
            person: PersonId::from_uuid(row.person_id),
            slug: row.slug,
            phase: size("account_results", row.phase)?,
            status: status(&row.status)?,
            currency: currency("account_results", &row.currency)?,
            initial: Amount::from_micros(row.initial_micros),
            balance: Amount::from_micros(row.balance_micros),
            opened_at: row.opened_at.into(),
        });
    }
    Ok(results)
}

/// Where to read on among the scores of a version.
pub type AfterScore = (i64, AccountId, Period, i32);

/// The scores of a version that were written after a change, in the order of changes; at most so many. Of days, weeks and
/// months only those that begin on `since` or later.
pub async fn scores_after(
    tx: &mut Tx,
    version: i32,
    after: AfterScore,
    since: i32,
    most: i64,
) -> Result<Vec<ScoreRow>, AppError> {
    let firm = tx.firm().uuid();
    let (change, account, period, starts) = after;
    let rows = sqlx::query!(
        r#"select change, account_id, period, starts - date '1970-01-01' as "starts!", slug, phase,
                  opened_at as "opened_at: At", realised_micros, ppm, closed
           from account_scores
           where firm_id = $1 and version = $2
             and (change, account_id, period, starts) > ($3, $4, $5, date '1970-01-01' + $6::integer)
             and (period = 'all' or starts >= date '1970-01-01' + $7::integer)
           order by change, account_id, period, starts limit $8"#,
        firm,
        version,
        change,
        account.uuid(),
        period.word(),
        starts,
        since,
        most,
    )
    .fetch_all(tx.connection())
    .await
    .doing("following the scores of accounts")?;
    let mut scores = Vec::with_capacity(rows.len());
    for row in rows {
        scores.push(ScoreRow {
            change: row.change,
            account: AccountId::from_uuid(row.account_id),
            period: crate::row::by_word("account_scores", &Period::ALL, Period::word, &row.period)?,
            starts: row.starts,
            slug: row.slug,
            phase: size("account_scores", row.phase)?,
            opened_at: row.opened_at.into(),
            realised: Amount::from_micros(row.realised_micros),
            ppm: row.ppm,
            closed: place("account_scores", row.closed)?,
        });
    }
    Ok(scores)
}

fn currency(table: &'static str, code: &str) -> Result<Currency, Inconsistent> {
    Currency::parse(code).map_err(Inconsistent::from(table))
}

/// The names that people show, of those there are; pseudonyms for those who were erased or whose data is only kept.
pub async fn names(
    store: &Store,
    firm: FirmId,
    people: &[PersonId],
) -> Result<BTreeMap<PersonId, String>, AppError> {
    let mut tx = store.begin(firm).await?;
    let sealed = sealed_names(&mut tx, people).await?;
    drop(tx);
    store.vault.names(firm, sealed).await
}

/// The same as they are stored: sealed, and nothing for whoever has no name to show.
pub async fn sealed_names(
    tx: &mut Tx,
    people: &[PersonId],
) -> Result<Vec<(PersonId, Option<Vec<u8>>)>, AppError> {
    let firm = tx.firm();
    let rows = sqlx::query!(
        "select id, case when restricted_at is null then name_sealed end as name_sealed
         from people where firm_id = $1 and id = any($2)",
        firm.uuid(),
        &column(people, |person| person.uuid()),
    )
    .fetch_all(tx.connection())
    .await
    .doing("reading names")?;
    Ok(rows.into_iter().map(|row| (PersonId::from_uuid(row.id), row.name_sealed)).collect())
}

/// An account's row and up to where it is counted, if the account is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The row.
    pub row: ResultRow,
    /// Whether everything that the account's own row tells of has been counted.
    pub current: bool,
}

/// One account as it was counted; none if it is not, or is not this person's where only theirs may be seen.
pub async fn counted(
    tx: &mut Tx,
    viewer: crate::read::Viewer,
    account: AccountId,
) -> Result<Option<Counted>, AppError> {
    let only = match viewer {
        crate::read::Viewer::Owner(person) => Some(person.uuid()),
        crate::read::Viewer::Staff => None,
    };
    let (firm, version) = (tx.firm().uuid(), tx.read_version().await?);
    let row = sqlx::query!(
        r#"select known.change, known.account_id, known.person_id, known.slug, known.phase, known.status, known.currency,
                  known.initial_micros, known.balance_micros, known.opened_at as "opened_at: At",
                  (known.next_fill, known.next_entry) = (account.next_fill, account.next_entry) as "current!"
           from account_results known
           join accounts account on account.firm_id = known.firm_id and account.id = known.account_id
           where known.firm_id = $1 and known.version = $2 and known.account_id = $3
             and ($4::uuid is null or known.person_id = $4)"#,
        firm,
        version,
        account.uuid(),
        only,
    )
    .fetch_optional(tx.connection())
    .await
    .doing("reading the results of an account")?;
    let Some(row) = row else { return Ok(None) };
    Ok(Some(Counted {
        current: row.current,
        row: ResultRow {
            change: row.change,
            account: AccountId::from_uuid(row.account_id),
            person: PersonId::from_uuid(row.person_id),
            slug: row.slug,
            phase: size("account_results", row.phase)?,
            status: status(&row.status)?,
            currency: currency("account_results", &row.currency)?,
            initial: Amount::from_micros(row.initial_micros),
            balance: Amount::from_micros(row.balance_micros),
            opened_at: row.opened_at.into(),
        },
    }))
}

/// The accounts of somebody that are counted, the first opened first.
pub async fn accounts_of(tx: &mut Tx, person: PersonId) -> Result<Vec<AccountId>, AppError> {
    let (firm, version) = (tx.firm().uuid(), tx.read_version().await?);
    let rows = sqlx::query_scalar!(
        "select account_id from account_results where firm_id = $1 and version = $2 and person_id = $3
         order by opened_at, account_id",
        firm,
        version,
        person.uuid(),
    )
    .fetch_all(tx.connection())
    .await
    .doing("reading somebody's accounts")?;
    Ok(rows.into_iter().map(AccountId::from_uuid).collect())
}

/// Closed positions of accounts by symbol, in the order of the symbols.
pub async fn symbols(tx: &mut Tx, account: AccountId) -> Result<Vec<SymbolRow>, AppError> {
    let table = "account_symbols";
    let (firm, version) = (tx.firm().uuid(), tx.read_version().await?);
    let rows = sqlx::query!(
        "select symbol, closed, wins, losses, won_micros, lost_micros, held_us, best_micros, worst_micros
         from account_symbols where firm_id = $1 and version = $2 and account_id = $3 order by symbol",
        firm,
        version,
        account.uuid(),
    )
    .fetch_all(tx.connection())
    .await
    .doing("reading results by symbol")?;
    let mut symbols = Vec::with_capacity(rows.len());
    for row in rows {
        symbols.push(SymbolRow {
            symbol: row.symbol,
            closed: place(table, row.closed)?,
            wins: place(table, row.wins)?,
            losses: place(table, row.losses)?,
            won: Amount::from_micros(row.won_micros),
            lost: Amount::from_micros(row.lost_micros),
            held_us: row.held_us,
            best: Amount::from_micros(row.best_micros),
            worst: Amount::from_micros(row.worst_micros),
        });
    }
    Ok(symbols)
}

/// What an account realised on its best and on its worst day (UTC) of those on which it realised something.
pub async fn best_and_worst_day(
    tx: &mut Tx,
    account: AccountId,
) -> Result<Option<[(i32, Amount); 2]>, AppError> {
    let (firm, version) = (tx.firm().uuid(), tx.read_version().await?);
    let row = sqlx::query!(
        r#"select best.starts - date '1970-01-01' as "best_day!", best.realised_micros as best,
                  worst.starts - date '1970-01-01' as "worst_day!", worst.realised_micros as worst
           from (select starts, realised_micros from account_scores
                 where firm_id = $1 and version = $2 and account_id = $3 and period = 'day'
                 order by realised_micros desc, starts limit 1) best,
                (select starts, realised_micros from account_scores
                 where firm_id = $1 and version = $2 and account_id = $3 and period = 'day'
                 order by realised_micros, starts limit 1) worst"#,
        firm,
        version,
        account.uuid(),
    )
    .fetch_optional(tx.connection())
    .await
    .doing("reading the best and the worst day")?;
    Ok(row.map(|row| {
        [(row.best_day, Amount::from_micros(row.best)), (row.worst_day, Amount::from_micros(row.worst))]
    }))
}

/// The trading days of an account as its resets found them, the last `most` of them, the first first.
pub async fn days(tx: &mut Tx, account: AccountId, most: i64) -> Result<Vec<DayRow>, AppError> {
    let firm = tx.firm().uuid();
    let rows = sqlx::query!(
        r#"select day - date '1970-01-01' as "day!", started_at as "started_at: At", balance_micros, equity_micros
           from (select * from trading_days where firm_id = $1 and account_id = $2 order by day desc limit $3) last
           order by day"#,
        firm,
        account.uuid(),
        most,
    )
    .fetch_all(tx.connection())
    .await
    .doing("reading trading days")?;
    Ok(rows
        .into_iter()
        .map(|row| DayRow {
            day: row.day,
            started_at: row.started_at.into(),
            balance: Amount::from_micros(row.balance_micros),
            equity: Amount::from_micros(row.equity_micros),
        })
        .collect())
}

/// A firm's counters of some days, both included.
pub async fn business(tx: &mut Tx, from: i32, to: i32) -> Result<Vec<BusinessRow>, AppError> {
    let table = "business_days";
    let (firm, version) = (tx.firm().uuid(), tx.read_version().await?);
    let rows = sqlx::query!(
        r#"select day - date '1970-01-01' as "day!", what, slug, phase, currency, count, amount
           from business_days
           where firm_id = $1 and version = $2 and day between date '1970-01-01' + $3::integer
                                                           and date '1970-01-01' + $4::integer
           order by day, what, slug, phase, currency"#,
        firm,
        version,
        from,
        to,
    )
    .fetch_all(tx.connection())
    .await
    .doing("reading the counters of the business")?;
    let mut counters = Vec::with_capacity(rows.len());
    for row in rows {
        counters.push(BusinessRow {
            day: row.day,
            what: row.what,
            slug: row.slug,
            phase: size(table, row.phase)?,
            currency: currency(table, &row.currency)?,
            count: place(table, row.count)?,
            amount: row.amount,
        });
    }
    Ok(counters)
}

/// What was paid out of an account (negative) or added to it, in order: no result of trading.
pub async fn flows(tx: &mut Tx, account: AccountId) -> Result<Vec<(Timestamp, Amount)>, AppError> {
    let firm = tx.firm().uuid();
    let rows = sqlx::query!(
        r#"select at as "at: At", amount_micros from balance_entries
           where firm_id = $1 and account_id = $2 and kind in ('payout', 'growth') order by number"#,
        firm,
        account.uuid(),
    )
    .fetch_all(tx.connection())
    .await
    .doing("reading what was paid out")?;
    Ok(rows.into_iter().map(|row| (row.at.into(), Amount::from_micros(row.amount_micros))).collect())
}
