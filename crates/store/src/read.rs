//! What screens show, read straight from the tables. Every function names its firm and, where rows are somebody's,
//! who looks: what the viewer may not see is not there.

use std::collections::BTreeMap;
use std::sync::Arc;

use app::latency::OfDay;
use app::{Actor, AppError, Permission};
use engine::{Order, Position, Status, Ticket};
use kernel::{
    AccountId, Amount, ChallengeId, Currency, FirmId, Overflow, PersonId, Price, Quantity, Rounding,
    Timestamp, decimal, divide,
};
use rules::{Program, VersionHash};
use uuid::Uuid;

use crate::error::Doing;
use crate::row::{
    At, LatencyRow, OrderRow, PositionRow, by_word, counter, fill_reason, instrument, place, side, size,
    status, ticket, version,
};
use crate::shard::read_evidence;
use crate::{Inconsistent, Store, Tx};

/// The most rows of one page.
const MOST_ROWS: i64 = 200;

/// Who looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Viewer {
    /// A trader, at their own.
    Owner(PersonId),
    /// Somebody who may read every account of the firm.
    Staff,
}

impl Viewer {
    /// What an actor may see.
    pub fn of(actor: &Actor) -> Self {
        if actor.may(Permission::ReadAccounts) { Self::Staff } else { Self::Owner(actor.person) }
    }

    /// The only owner whose rows show; none if all do.
    fn only(self) -> Option<Uuid> {
        match self {
            Self::Owner(person) => Some(person.uuid()),
            Self::Staff => None,
        }
    }
}

/// Some rows, and where the next ones begin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// The rows.
    pub items: Vec<T>,
    /// Hand it in for the rows after these; nothing if these are the last.
    pub next: Option<String>,
}

/// An account, without what only its engine knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// Its id.
    pub id: AccountId,
    /// Its challenge.
    pub challenge: ChallengeId,
    /// Its owner.
    pub person: PersonId,
    /// The program's slug when it was bought.
    pub slug: String,
    /// The version it was bought with.
    pub version: VersionHash,
    /// That version.
    pub program: Arc<Program>,
    /// Its phase, from 0.
    pub phase: usize,
    /// Whether it trades.
    pub status: Status,
    /// Balance at opening.
    pub initial: Amount,
    /// Closed results.
    pub balance: Amount,
    /// When it opened.
    pub opened_at: Timestamp,
    /// When it ended.
    pub closed_at: Option<Timestamp>,
}

/// Whose an account is, and in which currency it counts. Neither ever changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Owner {
    /// The trader.
    pub person: PersonId,
    /// Of every amount.
    pub currency: Currency,
}

impl Account {
    /// A short label for people.
    pub fn number(&self) -> String {
        self.id.label()
    }
}

/// A challenge with its accounts, the first phase first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Challenge {
    /// Its id.
    pub id: ChallengeId,
    /// The program's slug when it was bought.
    pub slug: String,
    /// The version it was bought with.
    pub version: VersionHash,
    /// That version.
    pub program: Arc<Program>,
    /// When it was paid.
    pub created_at: Timestamp,
    /// One for each phase reached.
    pub accounts: Vec<Account>,
}

/// Where a challenge stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChallengeState {
    /// A phase is being traded, or about to be.
    Running,
    /// The last phase was passed.
    Passed,
    /// An account was breached or expired.
    Failed,
}

impl ChallengeState {
    /// The word in answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Passed => "passed",
            Self::Failed => "failed",
        }
    }
}

impl Challenge {
    /// Follows from the last account.
    pub fn state(&self) -> ChallengeState {
        match self.accounts.last().map(|account| (account.status, account.phase.saturating_add(1))) {
            Some((Status::Breached | Status::Expired, _)) => ChallengeState::Failed,
            Some((Status::Passed, reached)) if reached >= self.program.phases.len() => ChallengeState::Passed,
            Some((Status::Passed | Status::Active, _)) | None => ChallengeState::Running,
        }
    }
}

/// Which orders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Orders {
    /// Those that wait for their price.
    Working,
    /// All.
    All,
}

/// A fill with its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fill {
    /// When.
    pub at: Timestamp,
    /// What.
    pub fill: engine::Fill,
}

/// A change of the balance with its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// What.
    pub entry: engine::Entry,
}

/// A verdict with its times.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The instant judged: when the quote, the command or the deadline came.
    pub at: Timestamp,
    /// When the platform had decided.
    pub decided_at: Timestamp,
    /// The evidence.
    pub verdict: engine::Verdict,
    /// SHA-256 over the evidence as it was stored, with its account and time in it.
    pub digest: [u8; 32],
}

/// A verdict with the account it was spoken on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The account as it now is.
    pub account: Account,
    /// The verdict.
    pub verdict: Verdict,
}

/// A line of a leaderboard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ranked {
    /// From 1; equal results share a rank.
    pub rank: i64,
    /// The trader.
    pub person: PersonId,
    /// Their display name.
    pub trader: String,
    /// The account.
    pub account: AccountId,
    /// Whether it trades.
    pub status: Status,
    /// Closed results.
    pub balance: Amount,
    /// Balance at opening.
    pub initial: Amount,
    /// What closing has earned.
    pub profit: Amount,
    /// Positions opened.
    pub trades: i64,
}

impl Ranked {
    /// Profit over the initial balance in per cent with two digits, such as `3.41`; rounded to the nearest.
    pub fn percent(&self) -> Result<String, Overflow> {
        let numerator = i128::from(self.profit.micros()).checked_mul(10_000).ok_or(Overflow)?;
        let hundredths = divide(numerator, i128::from(self.initial.micros()), Rounding::HalfEven)?;
        Ok(decimal::format(i64::try_from(hundredths).map_err(|_| Overflow)?, 2, 2))
    }
}

struct AccountRow {
    id: Uuid,
    challenge_id: Uuid,
    person_id: Uuid,
    slug: String,
    version: String,
    phase: i32,
    status: String,
    initial_micros: i64,
    balance_micros: i64,
    opened_at: At,
    closed_at: Option<At>,
}

async fn account_in_tx(store: &Store, tx: &mut Tx, row: AccountRow) -> Result<Account, AppError> {
    let version = version("accounts", &row.version)?;
    Ok(Account {
        id: AccountId::from_uuid(row.id),
        challenge: ChallengeId::from_uuid(row.challenge_id),
        person: PersonId::from_uuid(row.person_id),
        slug: row.slug,
        program: store.program(tx, &version).await?,
        version,
        phase: size("accounts", row.phase)?,
        status: status(&row.status)?,
        initial: Amount::from_micros(row.initial_micros),
        balance: Amount::from_micros(row.balance_micros),
        opened_at: row.opened_at.into(),
        closed_at: row.closed_at.map(Timestamp::from),
    })
}

/// Somebody's challenges, the newest first.
pub async fn challenges(store: &Store, firm: FirmId, person: PersonId) -> Result<Vec<Challenge>, AppError> {
    let doing = "reading challenges";
    let mut tx = store.begin(firm).await?;
    let rows = sqlx::query_as!(
        AccountRow,
        r#"select account.id, account.challenge_id, challenge.person_id, challenge.slug, account.version,
                  account.phase, account.status, account.initial_micros, account.balance_micros,
                  account.opened_at as "opened_at: At", account.closed_at as "closed_at: At"
           from challenges challenge
           join accounts account on account.firm_id = challenge.firm_id and account.challenge_id = challenge.id
           where challenge.firm_id = $1 and challenge.person_id = $2
           order by account.phase"#,
        firm.uuid(),
        person.uuid(),
    )
    .fetch_all(tx.connection())
    .await
    .doing(doing)?;
    let mut accounts: BTreeMap<ChallengeId, Vec<Account>> = BTreeMap::new();
    for row in rows {
        let account = account_in_tx(store, &mut tx, row).await?;
        accounts.entry(account.challenge).or_default().push(account);
    }
    let rows = sqlx::query!(
        r#"select id, slug, version, created_at as "created_at: At" from challenges
           where firm_id = $1 and person_id = $2 order by created_at desc, id desc"#,
        firm.uuid(),
        person.uuid(),
    )
    .fetch_all(tx.connection())
    .await
    .doing(doing)?;
    let mut challenges = Vec::with_capacity(rows.len());
    for row in rows {
        let id = ChallengeId::from_uuid(row.id);
        let version = version("challenges", &row.version)?;
        challenges.push(Challenge {
            id,
            slug: row.slug,
            program: store.program(&mut tx, &version).await?,
            version,
            created_at: row.created_at.into(),
            accounts: accounts.remove(&id).unwrap_or_default(),
        });
    }
    Ok(challenges)
}

/// One account.
pub async fn account(
    store: &Store,
    firm: FirmId,
    viewer: Viewer,
    id: AccountId,
) -> Result<Option<Account>, AppError> {
    let mut tx = store.begin(firm).await?;
    find_account_in_tx(store, &mut tx, viewer, id).await
}

async fn find_account_in_tx(
    store: &Store,
    tx: &mut Tx,
    viewer: Viewer,
    id: AccountId,
) -> Result<Option<Account>, AppError> {
    let firm = tx.firm();
    let row = sqlx::query_as!(
        AccountRow,
        r#"select account.id, account.challenge_id, challenge.person_id, challenge.slug, account.version,
                  account.phase, account.status, account.initial_micros, account.balance_micros,
                  account.opened_at as "opened_at: At", account.closed_at as "closed_at: At"
           from accounts account
           join challenges challenge on challenge.firm_id = account.firm_id and challenge.id = account.challenge_id
           where account.firm_id = $1 and account.id = $2 and ($3::uuid is null or challenge.person_id = $3)"#,
        firm.uuid(),
        id.uuid(),
        viewer.only(),
    )
    .fetch_optional(tx.connection())
    .await
    .doing("reading an account")?;
    match row {
        Some(row) => Ok(Some(account_in_tx(store, tx, row).await?)),
        None => Ok(None),
    }
}

/// Whose an account is, for every request that trades: read once, then remembered.
pub async fn owner(store: &Store, firm: FirmId, account: AccountId) -> Result<Option<Owner>, AppError> {
    if let Some(owner) = store.known_owner(firm, account) {
        return Ok(Some(owner));
    }
    let mut tx = store.begin(firm).await?;
    let found = find_account_in_tx(store, &mut tx, Viewer::Staff, account).await?;
    let owner = found.map(|found| Owner { person: found.person, currency: found.program.currency });
    if let Some(owner) = owner {
        store.remember_owner(firm, account, owner);
    }
    Ok(owner)
}

/// The tables below an account hold no owner: what follows a no is never read.
async fn sees_in_tx(tx: &mut Tx, viewer: Viewer, account: AccountId) -> Result<bool, AppError> {
    let firm = tx.firm();
    let found = sqlx::query_scalar!(
        r#"select exists (
               select from accounts account
               join challenges challenge on challenge.firm_id = account.firm_id and challenge.id = account.challenge_id
               where account.firm_id = $1 and account.id = $2 and ($3::uuid is null or challenge.person_id = $3)
           ) as "found!""#,
        firm.uuid(),
        account.uuid(),
        viewer.only(),
    )
    .fetch_one(tx.connection())
    .await;
    found.doing("finding the owner of an account")
}

/// Closed positions, the last closed first.
pub async fn closed_positions(
    store: &Store,
    firm: FirmId,
    viewer: Viewer,
    account: AccountId,
    cursor: Option<&str>,
    limit: i64,
) -> Result<Page<Position>, AppError> {
    let (limit, after) = (page_size(limit), cursor.map(time_cursor).transpose()?);
    let mut tx = store.begin(firm).await?;
    if !sees_in_tx(&mut tx, viewer, account).await? {
        return Ok(Page::empty());
    }
    let which = Which::Closed { before: after, limit };
    let rows = positions_in_tx(&mut tx, account, which).await?;
    let positions =
        rows.into_iter().map(|row| row.read(&store.instruments)).collect::<Result<Vec<_>, _>>()?;
    Ok(Page::of(positions, limit, |position| {
        let at = position.closed_at.unwrap_or(position.opened_at);
        format!("{}.{}", at.micros(), position.ticket.0)
    }))
}

/// One position, open or closed.
pub async fn position(
    store: &Store,
    firm: FirmId,
    viewer: Viewer,
    account: AccountId,
    ticket: Ticket,
) -> Result<Option<Position>, AppError> {
    let mut tx = store.begin(firm).await?;
    if !sees_in_tx(&mut tx, viewer, account).await? {
        return Ok(None);
    }
    let mut rows = positions_in_tx(&mut tx, account, Which::Ticket(ticket)).await?;
    Ok(rows.pop().map(|row| row.read(&store.instruments)).transpose()?)
}

/// Which positions of an account.
enum Which {
    /// The one with this ticket, open or closed.
    Ticket(Ticket),
    /// The closed ones before that time and ticket, the last closed first, and one more than `limit`.
    Closed { before: Option<(Timestamp, i64)>, limit: i64 },
}

async fn positions_in_tx(
    tx: &mut Tx,
    account: AccountId,
    which: Which,
) -> Result<Vec<PositionRow>, AppError> {
    let firm = tx.firm();
    let (ticket, before, limit) = match which {
        Which::Ticket(ticket) => (Some(i64::from(ticket.0)), None, 0),
        Which::Closed { before, limit } => (None, before, limit),
    };
    let (before_at, before_ticket) = before.unzip();
    let rows = sqlx::query_as!(
        PositionRow,
        r#"select account_id, ticket, symbol, side, quantity, opened_quantity, open_price, opened_at as "opened_at: At",
                  stop_loss, take_profit, margin_micros, commission_micros, realised_micros,
                  closed_at as "closed_at: At", close_price, close_reason
           from positions
           where firm_id = $1 and account_id = $2
             and (ticket = $3 or $3::bigint is null and closed_at is not null)
             and ($4::timestamptz is null or (closed_at, ticket) < ($4, $5::bigint))
           order by closed_at desc, ticket desc limit $6::bigint + 1"#,
        firm.uuid(),
        account.uuid(),
        ticket,
        before_at.map(At) as _,
        before_ticket,
        limit,
    )
    .fetch_all(tx.connection())
    .await;
    rows.doing("reading positions")
}

/// Orders, the newest first.
pub async fn orders(
    store: &Store,
    firm: FirmId,
    viewer: Viewer,
    account: AccountId,
    which: Orders,
    cursor: Option<&str>,
    limit: i64,
) -> Result<Page<Order>, AppError> {
    let (limit, before) = (page_size(limit), cursor.map(number_cursor).transpose()?);
    let mut tx = store.begin(firm).await?;
    if !sees_in_tx(&mut tx, viewer, account).await? {
        return Ok(Page::empty());
    }
    let rows = sqlx::query_as!(
        OrderRow,
        r#"select account_id, ticket, symbol, side, kind, price, quantity, stop_loss, take_profit, state, reason,
                  placed_at as "placed_at: At", done_at as "done_at: At", position_ticket
           from orders
           where firm_id = $1 and account_id = $2 and ($3 or state = 'working')
             and ($4::bigint is null or ticket < $4)
           order by ticket desc limit $5::bigint + 1"#,
        firm.uuid(),
        account.uuid(),
        which == Orders::All,
        before,
        limit,
    )
    .fetch_all(tx.connection())
    .await
    .doing("reading orders")?;
    let orders = rows.into_iter().map(|row| row.read(&store.instruments)).collect::<Result<Vec<_>, _>>()?;
    Ok(Page::of(orders, limit, |order| order.ticket.0.to_string()))
}

/// One order.
pub async fn order(
    store: &Store,
    firm: FirmId,
    viewer: Viewer,
    account: AccountId,
    ticket: Ticket,
) -> Result<Option<Order>, AppError> {
    let mut tx = store.begin(firm).await?;
    if !sees_in_tx(&mut tx, viewer, account).await? {
        return Ok(None);
    }
    let row = sqlx::query_as!(
        OrderRow,
        r#"select account_id, ticket, symbol, side, kind, price, quantity, stop_loss, take_profit, state, reason,
                  placed_at as "placed_at: At", done_at as "done_at: At", position_ticket
           from orders where firm_id = $1 and account_id = $2 and ticket = $3"#,
        firm.uuid(),
        account.uuid(),
        i64::from(ticket.0),
    )
    .fetch_optional(tx.connection())
    .await
    .doing("reading an order")?;
    Ok(row.map(|row| row.read(&store.instruments)).transpose()?)
}

/// Fills, the newest first.
pub async fn fills(
    store: &Store,
    firm: FirmId,
    viewer: Viewer,
    account: AccountId,
    cursor: Option<&str>,
    limit: i64,
) -> Result<Page<Fill>, AppError> {
    let (limit, before) = (page_size(limit), cursor.map(number_cursor).transpose()?);
    let mut tx = store.begin(firm).await?;
    if !sees_in_tx(&mut tx, viewer, account).await? {
        return Ok(Page::empty());
    }
    let rows = sqlx::query!(
        r#"select number, at as "at: At", position_ticket, order_ticket, symbol, side, quantity, price, profit_micros,
                  commission_micros, reason, quote_position
           from fills
           where firm_id = $1 and account_id = $2 and ($3::bigint is null or number < $3)
           order by number desc limit $4::bigint + 1"#,
        firm.uuid(),
        account.uuid(),
        before,
        limit,
    )
    .fetch_all(tx.connection())
    .await
    .doing("reading fills")?;
    let table = "fills";
    let mut fills = Vec::with_capacity(rows.len());
    for row in rows {
        let fill = engine::Fill {
            number: counter(table, row.number)?,
            position: ticket(table, row.position_ticket)?,
            order: row.order_ticket.map(|number| ticket(table, number)).transpose()?,
            instrument: instrument(table, &store.instruments, &row.symbol)?,
            side: side(table, &row.side)?,
            quantity: Quantity(row.quantity),
            price: Price(row.price),
            profit: Amount::from_micros(row.profit_micros),
            commission: Amount::from_micros(row.commission_micros),
            reason: fill_reason(table, &row.reason)?,
            quote_position: place(table, row.quote_position)?,
        };
        fills.push(Fill { at: row.at.into(), fill });
    }
    Ok(Page::of(fills, limit, |fill| fill.fill.number.to_string()))
}

/// Changes of the balance, the newest first.
pub async fn entries(
    store: &Store,
    firm: FirmId,
    viewer: Viewer,
    account: AccountId,
    cursor: Option<&str>,
    limit: i64,
) -> Result<Page<Entry>, AppError> {
    let (limit, before) = (page_size(limit), cursor.map(number_cursor).transpose()?);
    let mut tx = store.begin(firm).await?;
    if !sees_in_tx(&mut tx, viewer, account).await? {
        return Ok(Page::empty());
    }
    let rows = sqlx::query!(
        r#"select number, at as "at: At", kind, amount_micros, balance_micros, fill_number
           from balance_entries
           where firm_id = $1 and account_id = $2 and ($3::bigint is null or number < $3)
           order by number desc limit $4::bigint + 1"#,
        firm.uuid(),
        account.uuid(),
        before,
        limit,
    )
    .fetch_all(tx.connection())
    .await
    .doing("reading balance entries")?;
    let table = "balance_entries";
    let mut entries = Vec::with_capacity(rows.len());
    for row in rows {
        let entry = engine::Entry {
            number: counter(table, row.number)?,
            kind: by_word(table, &engine::EntryKind::ALL, engine::EntryKind::word, &row.kind)?,
            amount: Amount::from_micros(row.amount_micros),
            balance: Amount::from_micros(row.balance_micros),
            fill: row.fill_number.map(|number| counter(table, number)).transpose()?,
        };
        entries.push(Entry { at: row.at.into(), entry });
    }
    Ok(Page::of(entries, limit, |entry| entry.entry.number.to_string()))
}

/// The verdicts on an account, the newest first.
pub async fn verdicts(
    store: &Store,
    firm: FirmId,
    viewer: Viewer,
    account: AccountId,
) -> Result<Vec<Verdict>, AppError> {
    let mut tx = store.begin(firm).await?;
    if !sees_in_tx(&mut tx, viewer, account).await? {
        return Ok(Vec::new());
    }
    let rows = sqlx::query_as!(
        VerdictRow,
        r#"select at as "at: At", decided_at as "decided_at: At", evidence, digest
           from verdicts where firm_id = $1 and account_id = $2 order by number desc limit 200"#,
        firm.uuid(),
        account.uuid(),
    )
    .fetch_all(tx.connection())
    .await
    .doing("reading verdicts")?;
    rows.into_iter().map(|row| Ok(row.read(firm, account)?)).collect()
}

/// How long things took for an account, by day counted from the epoch: of its newest days with any.
pub async fn latencies(
    store: &Store,
    firm: FirmId,
    viewer: Viewer,
    account: AccountId,
) -> Result<BTreeMap<i32, OfDay>, AppError> {
    let mut tx = store.begin(firm).await?;
    if !sees_in_tx(&mut tx, viewer, account).await? {
        return Ok(BTreeMap::new());
    }
    let rows = sqlx::query_as!(
        LatencyRow,
        r#"select firm_id, account_id, day - date '1970-01-01' as "day!", received, until, bucket, count, longest_us
           from account_latencies
           where firm_id = $1 and account_id = $2
             and day in (select distinct day from account_latencies where firm_id = $1 and account_id = $2
                         order by day desc limit 31)"#,
        firm.uuid(),
        account.uuid(),
    )
    .fetch_all(tx.connection())
    .await
    .doing("reading latencies")?;
    let mut days: BTreeMap<i32, OfDay> = BTreeMap::new();
    for row in rows {
        row.add_to(days.entry(row.day).or_default())?;
    }
    Ok(days)
}

/// One verdict with its account.
pub async fn receipt(
    store: &Store,
    firm: FirmId,
    viewer: Viewer,
    account: AccountId,
    number: u32,
) -> Result<Option<Receipt>, AppError> {
    let mut tx = store.begin(firm).await?;
    let Some(found) = find_account_in_tx(store, &mut tx, viewer, account).await? else { return Ok(None) };
    let row = sqlx::query_as!(
        VerdictRow,
        r#"select at as "at: At", decided_at as "decided_at: At", evidence, digest
           from verdicts where firm_id = $1 and account_id = $2 and number = $3"#,
        firm.uuid(),
        account.uuid(),
        i64::from(number),
    )
    .fetch_optional(tx.connection())
    .await
    .doing("reading a verdict")?;
    let verdict = row.map(|row| row.read(firm, account)).transpose()?;
    Ok(verdict.map(|verdict| Receipt { account: found, verdict }))
}

/// The signed document of a receipt; nothing until it is made, moments after the verdict.
pub async fn receipt_document(
    store: &Store,
    firm: FirmId,
    viewer: Viewer,
    account: AccountId,
    number: u32,
) -> Result<Option<String>, AppError> {
    let mut tx = store.begin(firm).await?;
    if find_account_in_tx(store, &mut tx, viewer, account).await?.is_none() {
        return Ok(None);
    }
    sqlx::query_scalar!(
        "select document from receipts where firm_id = $1 and account_id = $2 and number = $3",
        firm.uuid(),
        account.uuid(),
        i64::from(number),
    )
    .fetch_optional(tx.connection())
    .await
    .doing("reading a receipt")
}

/// The accounts of one phase of a program, the highest realised profit in relation to the initial balance first;
/// whoever opened earlier stands first among equals.
pub async fn leaderboard(
    store: &Store,
    firm: FirmId,
    slug: &str,
    phase: usize,
    limit: i64,
) -> Result<Vec<Ranked>, AppError> {
    let Ok(phase) = i32::try_from(phase) else { return Ok(Vec::new()) };
    let mut tx = store.begin(firm).await?;
    let rows = sqlx::query!(
        r#"with ranked as (
               select rank() over (order by (account.balance_micros::numeric - account.initial_micros)
                                            / account.initial_micros desc) as rank,
                      account.id, account.status, account.balance_micros, account.initial_micros, account.opened_at,
                      challenge.person_id
               from challenges challenge
               join accounts account on account.firm_id = challenge.firm_id and account.challenge_id = challenge.id
               where challenge.firm_id = $1 and challenge.slug = $2 and account.phase = $3
               order by 1, account.opened_at, account.id
               limit $4
           )
           select ranked.rank as "rank!", ranked.id, ranked.status, ranked.balance_micros, ranked.initial_micros,
                  ranked.person_id,
                  case when person.restricted_at is null then person.name_sealed end as name_sealed,
                  (select count(*) from positions
                   where positions.firm_id = $1 and positions.account_id = ranked.id) as "trades!"
           from ranked
           join people person on person.firm_id = $1 and person.id = ranked.person_id
           order by ranked.rank, ranked.opened_at, ranked.id"#,
        firm.uuid(),
        slug,
        phase,
        page_size(limit),
    )
    .fetch_all(tx.connection())
    .await
    .doing("ranking accounts")?;
    drop(tx);
    let people: BTreeMap<_, _> =
        rows.iter().map(|row| (PersonId::from_uuid(row.person_id), row.name_sealed.clone())).collect();
    let names = store.vault.names(firm, people.into_iter().collect()).await?;
    let mut lines = Vec::with_capacity(rows.len());
    for row in rows {
        let (balance, initial) =
            (Amount::from_micros(row.balance_micros), Amount::from_micros(row.initial_micros));
        let person = PersonId::from_uuid(row.person_id);
        lines.push(Ranked {
            rank: row.rank,
            person,
            trader: names.get(&person).cloned().unwrap_or_default(),
            account: AccountId::from_uuid(row.id),
            status: status(&row.status)?,
            balance,
            initial,
            profit: balance.minus(initial).map_err(Inconsistent::from("accounts"))?,
            trades: row.trades,
        });
    }
    Ok(lines)
}

struct VerdictRow {
    at: At,
    decided_at: At,
    evidence: String,
    digest: Vec<u8>,
}

impl VerdictRow {
    fn read(self, firm: FirmId, account: AccountId) -> Result<Verdict, Inconsistent> {
        let digest = <[u8; 32]>::try_from(self.digest.as_slice()).map_err(Inconsistent::from("verdicts"))?;
        let verdict = read_evidence(firm, account, self.at.into(), &self.evidence, digest)?;
        Ok(Verdict { at: self.at.into(), decided_at: self.decided_at.into(), verdict, digest })
    }
}

impl<T> Page<T> {
    const fn empty() -> Self {
        Self { items: Vec::new(), next: None }
    }

    /// From one row more than the page holds.
    fn of(mut items: Vec<T>, limit: i64, cursor: impl Fn(&T) -> String) -> Self {
        let limit = usize::try_from(limit).unwrap_or_default();
        let more = items.len() > limit;
        items.truncate(limit);
        let next = if more { items.last().map(cursor) } else { None };
        Self { items, next }
    }
}

fn page_size(asked: i64) -> i64 {
    asked.clamp(1, MOST_ROWS)
}

fn bad_cursor() -> AppError {
    AppError::field("/cursor", "Use the next_cursor of the page before.")
}

fn number_cursor(text: &str) -> Result<i64, AppError> {
    text.parse::<u32>().map(i64::from).map_err(|_| bad_cursor())
}

fn time_cursor(text: &str) -> Result<(Timestamp, i64), AppError> {
    let (at, ticket) = text.split_once('.').ok_or_else(bad_cursor)?;
    let at = at.parse::<i64>().map_err(|_| bad_cursor())?;
    Ok((Timestamp::from_micros(at), number_cursor(ticket)?))
}
