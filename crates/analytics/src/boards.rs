//! Who leads, in memory: every account of every firm with its place, on the boards of each program and of all, by phase and
//! period.
//!
//! PostgreSQL's rows are the truth; this is loaded from them and follows them (`follow`), and gives the ranks that a window
//! function over them gives. Of days, weeks and months the running one and the one before are kept.
//!
//! **The order:** a greater share of the balance at opening is better. Equal shares have the same rank, and the next rank
//! counts all of them (1, 1, 3). Among equals the account that was opened earlier is shown first, then the lesser id.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use engine::Status;
use kernel::{AccountId, Amount, Currency, PersonId, Timestamp};
use store::analytics::{Period, ResultRow, ScoreRow};

use crate::calendar::{month_of, previous_month, week_of};
use crate::ordered::Ordered;

/// Where an account stands in an order: the best first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    ppm: Reverse<i64>,
    opened_at: Timestamp,
    account: AccountId,
}

impl Place {
    /// Before everybody with this share.
    fn first_of(ppm: i64) -> Self {
        let earliest = Timestamp::from_micros(i64::MIN);
        Self { ppm: Reverse(ppm), opened_at: earliest, account: AccountId::from_uuid(uuid::Uuid::nil()) }
    }
}

/// Which order: a program's, or that of all programs together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Which {
    /// The program's slug; all if none.
    pub program: Option<Arc<str>>,
    /// From 0.
    pub phase: usize,
}

/// What is shown of an account.
#[derive(Debug, Clone)]
pub struct Shown {
    /// Which.
    pub account: AccountId,
    /// Its owner.
    pub person: PersonId,
    /// The program's slug when it was bought.
    pub program: Arc<str>,
    /// From 0.
    pub phase: usize,
    /// Whether it trades.
    pub status: Status,
    /// Of every amount.
    pub currency: Currency,
    /// At opening.
    pub initial: Amount,
    /// Closed results and what was paid out or added.
    pub balance: Amount,
    /// When it was opened.
    pub opened_at: Timestamp,
}

/// What an account has done in a period.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Score {
    /// Profit and commission.
    pub realised: Amount,
    /// In millionths of the balance at opening, rounded down.
    pub ppm: i64,
    /// Positions closed.
    pub closed: u32,
}

/// A line of a board.
#[derive(Debug, Clone)]
pub struct Line {
    /// From 1; equals share a rank.
    pub rank: usize,
    /// Who.
    pub shown: Shown,
    /// For what.
    pub score: Score,
}

/// Some lines of a board.
#[derive(Debug, Clone, Default)]
pub struct Lines {
    /// The place of the first line, from 0.
    pub from: usize,
    /// By rank.
    pub lines: Vec<Line>,
    /// How many accounts stand on the board.
    pub of: usize,
}

/// An account as it is kept: a million of them are in memory.
#[derive(Debug, Clone, Copy)]
struct Kept {
    account: AccountId,
    person: PersonId,
    initial: Amount,
    balance: Amount,
    opened_at: Timestamp,
    /// Its slug's place.
    program: u32,
    phase: u32,
    status: Status,
    currency: Currency,
}

/// A score as it is kept: the share follows from what was realised.
#[derive(Debug, Clone, Copy)]
struct KeptScore {
    realised: Amount,
    closed: u32,
}

/// All boards of one period; scores by the place of their account.
#[derive(Debug, Default)]
struct Span {
    scores: HashMap<u32, KeptScore>,
    orders: BTreeMap<Which, Ordered<Place>>,
}

/// The boards of one firm.
#[derive(Debug, Default)]
pub struct Boards {
    /// Of the rows they were made from.
    pub version: i32,
    /// The last that was followed.
    pub change: i64,
    places: HashMap<AccountId, u32>,
    accounts: Vec<Kept>,
    slugs: Vec<Arc<str>>,
    spans: BTreeMap<(Period, i32), Span>,
    counts: BTreeMap<(u32, u32, &'static str), (Status, u64)>,
}

/// The first day of a period: the running one, or the one before.
pub fn starts(period: Period, today: i32, before: bool) -> i32 {
    match (period, before) {
        (Period::Day, before) => today.saturating_sub(i32::from(before)),
        (Period::Week, before) => week_of(today).saturating_sub(if before { 7 } else { 0 }),
        (Period::Month, false) => month_of(today),
        (Period::Month, true) => previous_month(today),
        (Period::All, _) => 0,
    }
}

/// No earlier day's scores are kept.
pub fn since(today: i32) -> i32 {
    [Period::Day, Period::Week, Period::Month]
        .into_iter()
        .map(|period| starts(period, today, true))
        .min()
        .unwrap_or(today)
}

impl Boards {
    /// Of a version of the rows; nobody is on them yet.
    pub fn of_version(version: i32) -> Self {
        Self { version, ..Self::default() }
    }

    /// Accounts known.
    pub fn accounts(&self) -> usize {
        self.accounts.len()
    }

    /// Takes a row in.
    pub fn put_account(&mut self, row: &ResultRow) {
        let Ok(phase) = u32::try_from(row.phase) else { return };
        let kept = Kept {
            account: row.account,
            person: row.person,
            initial: row.initial,
            balance: row.balance,
            opened_at: row.opened_at,
            program: self.slug(&row.slug),
            phase,
            status: row.status,
            currency: row.currency,
        };
        let known = self.places.get(&row.account).copied().and_then(index);
        if let Some(known) = known.and_then(|place| self.accounts.get_mut(place)) {
            let old = std::mem::replace(known, kept);
            if let Some(less) = self.counts.get_mut(&(old.program, old.phase, old.status.word())) {
                less.1 = less.1.saturating_sub(1);
            }
        } else {
            // More accounts than there are numbers for do not fit into any memory.
            let Ok(place) = u32::try_from(self.accounts.len()) else { return };
            self.places.insert(row.account, place);
            self.accounts.push(kept);
        }
        let counted = (kept.program, kept.phase, kept.status.word());
        let more = self.counts.entry(counted).or_insert((row.status, 0));
        more.1 = more.1.saturating_add(1);
    }

    /// Takes a row in, if its period is one of those that are kept and its account is known.
    pub fn put_score(&mut self, row: &ScoreRow, today: i32) {
        if row.starts < starts(row.period, today, true) {
            return;
        }
        let Some((place, kept)) = self.find(row.account) else { return };
        let program = self.slugs.get(index(kept.program).unwrap_or(usize::MAX)).cloned();
        let span = self.spans.entry((row.period, row.starts)).or_default();
        let closed = u32::try_from(row.closed).unwrap_or(u32::MAX);
        let old = span.scores.insert(place, KeptScore { realised: row.realised, closed });
        let old = old.map(|old| share(old.realised, kept.initial));
        if old == Some(row.ppm) {
            return;
        }
        let stands = |ppm| Place { ppm: Reverse(ppm), opened_at: kept.opened_at, account: kept.account };
        for program in [program, None] {
            let order = span.orders.entry(Which { program, phase: row.phase }).or_default();
            if let Some(old) = old {
                order.remove(&stands(old));
            }
            order.insert(stands(row.ppm));
        }
    }

    /// Lets periods go that are neither running nor the one before.
    pub fn forget(&mut self, today: i32) {
        self.spans.retain(|(period, first), _| *first >= starts(*period, today, true));
    }

    /// Lines of a board from a place on.
    pub fn lines(&self, which: &Which, period: Period, first_day: i32, from: usize, most: usize) -> Lines {
        let span = self.spans.get(&(period, first_day));
        let Some((span, order)) = span.and_then(|span| Some((span, span.orders.get(which)?))) else {
            return Lines { from, ..Lines::default() };
        };
        let mut lines = Vec::with_capacity(most.min(order.len()));
        let mut rank = None;
        for (offset, place) in order.from(from).take(most).enumerate() {
            let known = self.find(place.account);
            let Some((kept, score)) = known.and_then(|(at, kept)| Some((kept, span.scores.get(&at)?))) else {
                continue;
            };
            let score = Score { realised: score.realised, ppm: place.ppm.0, closed: score.closed };
            // The rank of the first of its equals, counted once for all of them.
            let this = match rank {
                Some((ppm, rank)) if ppm == score.ppm => rank,
                Some(_) => from.saturating_add(offset).saturating_add(1),
                None => order.place(&Place::first_of(score.ppm)).saturating_add(1),
            };
            rank = Some((score.ppm, this));
            lines.push(Line { rank: this, shown: self.shown(kept), score });
        }
        Lines { from, lines, of: order.len() }
    }

    /// An account's line with so many lines before and after it; none if it is not on the board.
    pub fn around(
        &self,
        account: AccountId,
        all_programs: bool,
        period: Period,
        first_day: i32,
        neighbours: usize,
    ) -> Option<(usize, Lines)> {
        let (at, kept) = self.find(account)?;
        let span = self.spans.get(&(period, first_day))?;
        let ppm = share(span.scores.get(&at)?.realised, kept.initial);
        let shown = self.shown(kept);
        let which = Which { program: (!all_programs).then_some(shown.program), phase: shown.phase };
        let order = span.orders.get(&which)?;
        let place = order.place(&Place { ppm: Reverse(ppm), opened_at: kept.opened_at, account });
        let from = place.saturating_sub(neighbours);
        let most = place.saturating_sub(from).saturating_add(neighbours).saturating_add(1);
        let lines = self.lines(&which, period, first_day, from, most);
        Some((place.saturating_sub(from), lines))
    }

    /// A program's slug, if an account of it is known.
    pub fn knows(&self, program: &str) -> Option<Arc<str>> {
        self.slugs.iter().find(|slug| &***slug == program).cloned()
    }

    /// What is known of an account.
    pub fn account(&self, account: AccountId) -> Option<Shown> {
        self.find(account).map(|(_, kept)| self.shown(kept))
    }

    /// Accounts by program, phase and status.
    pub fn counts(&self) -> impl Iterator<Item = (&str, u32, Status, u64)> {
        self.counts.iter().filter(|(_, (_, count))| *count > 0).filter_map(
            |((program, phase, _), (status, count))| {
                Some((&**self.slugs.get(index(*program)?)?, *phase, *status, *count))
            },
        )
    }

    fn find(&self, account: AccountId) -> Option<(u32, Kept)> {
        let place = *self.places.get(&account)?;
        Some((place, *self.accounts.get(index(place)?)?))
    }

    fn shown(&self, kept: Kept) -> Shown {
        Shown {
            account: kept.account,
            person: kept.person,
            program: index(kept.program)
                .and_then(|slug| self.slugs.get(slug))
                .cloned()
                .unwrap_or_else(|| "".into()),
            phase: index(kept.phase).unwrap_or_default(),
            status: kept.status,
            currency: kept.currency,
            initial: kept.initial,
            balance: kept.balance,
            opened_at: kept.opened_at,
        }
    }

    /// Bytes on the heap, counted from the capacity of what holds them.
    pub fn bytes(&self) -> usize {
        // The map keeps one byte beside each slot, and an eighth of its slots free at least.
        let slots = |capacity: usize, one: usize| {
            let slots = capacity.saturating_mul(8).saturating_add(6).checked_div(7).unwrap_or_default();
            slots.next_power_of_two().saturating_mul(one.saturating_add(1))
        };
        let places = slots(self.places.capacity(), size_of::<(AccountId, u32)>());
        let accounts = self.accounts.capacity().saturating_mul(size_of::<Kept>());
        let spans: usize = self
            .spans
            .values()
            .map(|span| {
                let orders: usize = span.orders.values().map(Ordered::bytes).sum();
                slots(span.scores.capacity(), size_of::<(u32, KeptScore)>()).saturating_add(orders)
            })
            .sum();
        places.saturating_add(accounts).saturating_add(spans)
    }

    /// A slug's place in the list; there are few.
    fn slug(&mut self, slug: &str) -> u32 {
        let known = self.slugs.iter().position(|known| &**known == slug);
        let place = known.unwrap_or_else(|| {
            self.slugs.push(slug.into());
            self.slugs.len().saturating_sub(1)
        });
        u32::try_from(place).unwrap_or(u32::MAX)
    }
}

fn index(place: u32) -> Option<usize> {
    usize::try_from(place).ok()
}

/// What was realised in millionths of the balance at opening, rounded down: as `tradesense_ppm` of the database does it.
fn share(realised: Amount, initial: Amount) -> i64 {
    let millionths = i128::from(realised.micros()).saturating_mul(1_000_000);
    let share = millionths.checked_div_euclid(i128::from(initial.micros())).unwrap_or_default();
    i64::try_from(share).unwrap_or(if share < 0 { i64::MIN } else { i64::MAX })
}
