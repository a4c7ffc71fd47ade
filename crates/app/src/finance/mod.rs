//! What the books say of the business: revenue, refunds, disputes and what is owed to traders, by day, program, provider and
//! currency.
//!
//! Every figure is a sum over transfers of the ledger; no price is computed again. Days are those of UTC.
//!
//! **To add a report:** a [`Report`] with its columns, and its statement in `store::finance`.

use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use kernel::{Currency, FirmId, Money};

use crate::csv::{self, Cell};
use crate::{AppError, Context, Permission};

/// What is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Report {
    /// What was sold, let off, given back, and what is left.
    Revenue,
    /// What was given back.
    Refunds,
    /// Disputes and what became of them.
    Disputes,
    /// What is owed to traders and affiliates at the end of each day.
    Liability,
}

impl Report {
    /// All.
    pub const ALL: [Self; 4] = [Self::Revenue, Self::Refunds, Self::Disputes, Self::Liability];

    /// The word in addresses.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Revenue => "revenue",
            Self::Refunds => "refunds",
            Self::Disputes => "disputes",
            Self::Liability => "liability",
        }
    }

    /// The one of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|report| report.word() == word)
    }

    /// The names of its amounts, in their order.
    pub const fn columns(self) -> &'static [&'static str] {
        match self {
            // List price without tax; what of it was let off; tax in it, less the tax that was given back; given back without
            // tax; list price less what was let off and given back.
            Self::Revenue => &["gross", "discounts", "tax", "refunds", "net"],
            // Without tax; the tax in it; what was paid twice; all three.
            Self::Refunds => &["refunds", "tax", "overpaid", "total"],
            Self::Disputes => &["opened", "won", "lost", "open", "fees"],
            Self::Liability => &["payable", "held", "clearing", "total"],
        }
    }
}

/// By what sums are told apart, besides the currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct By {
    /// By day.
    pub day: bool,
    /// By the program's slug. What is owed is of no program.
    pub program: bool,
    /// By provider.
    pub provider: bool,
}

/// Whole days of UTC, counted from 1970-01-01: the first and the last.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Days {
    /// The first.
    pub first: i32,
    /// The last, included.
    pub last: i32,
}

/// The most days in one report.
pub const MOST_DAYS: i32 = 366;
/// So many days are summed at once for a table.
const DAYS_AT_ONCE: i32 = 31;

impl Days {
    /// Checks that they are some, and not too many.
    pub fn new(first: i32, last: i32) -> Result<Self, AppError> {
        if (0..MOST_DAYS).contains(&last.saturating_sub(first)) {
            Ok(Self { first, last })
        } else {
            Err(AppError::field("/from", "Ask for 1 to 366 days, the first one first."))
        }
    }

    /// The same days in parts that are summed at once.
    fn parts(self) -> Vec<Self> {
        let mut parts = Vec::new();
        let mut first = self.first;
        while first <= self.last {
            let last = first.saturating_add(DAYS_AT_ONCE).saturating_sub(1).min(self.last);
            parts.push(Self { first, last });
            first = last.saturating_add(1);
        }
        parts
    }
}

/// Sums that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The day, if told by day.
    pub day: Option<i32>,
    /// The program's slug, if told by program and known.
    pub program: Option<String>,
    /// The provider, if told by provider and known.
    pub provider: Option<String>,
    /// The currency.
    pub currency: Currency,
    /// How many there were; of what is owed none are counted.
    pub count: i64,
    /// In minor units, in the order of [`Report::columns`].
    pub amounts: Vec<i64>,
}

impl Row {
    /// An amount as text.
    pub fn texts(&self) -> impl Iterator<Item = String> {
        self.amounts.iter().map(|minor| Money::from_minor(*minor, self.currency).amount_text())
    }
}

/// What sums the books.
#[async_trait]
pub trait FinanceStore: Send + Sync {
    /// The rows of a report, in the order of day, program, provider and currency.
    async fn report(&self, firm: FirmId, report: Report, days: Days, by: By) -> Result<Vec<Row>, AppError>;
}

/// The use cases of finance.
pub struct Finance {
    store: Arc<dyn FinanceStore>,
}

impl fmt::Debug for Finance {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Finance").finish_non_exhaustive()
    }
}

impl Finance {
    /// Over a store.
    pub fn new(store: Arc<dyn FinanceStore>) -> Self {
        Self { store }
    }

    /// A report.
    pub async fn report(
        &self,
        context: &Context,
        report: Report,
        days: Days,
        by: By,
    ) -> Result<Vec<Row>, AppError> {
        context.demand(Permission::ReadBusiness)?;
        self.store.report(context.firm, report, days, by).await
    }

    /// A report as a table, part by part.
    pub fn table(
        self: &Arc<Self>,
        context: &Context,
        report: Report,
        days: Days,
        by: By,
    ) -> Result<Table, AppError> {
        context.demand(Permission::ReadBusiness)?;
        let mut parts = if by.day { days.parts() } else { vec![days] };
        parts.reverse();
        Ok(Table { finance: Arc::clone(self), firm: context.firm, report, by, parts, begun: false })
    }
}

/// A report that is written as it is read.
#[derive(Debug)]
pub struct Table {
    finance: Arc<Finance>,
    firm: FirmId,
    report: Report,
    by: By,
    parts: Vec<Days>,
    begun: bool,
}

impl Table {
    /// The next lines; nothing at the end.
    pub async fn next(&mut self) -> Result<Option<String>, AppError> {
        if !self.begun {
            self.begun = true;
            let mut names = vec!["day", "program", "provider", "currency", "count"];
            names.extend(self.report.columns());
            return Ok(Some(csv::head(&names)));
        }
        let Some(days) = self.parts.pop() else { return Ok(None) };
        let rows = self.finance.store.report(self.firm, self.report, days, self.by).await?;
        Ok(Some(rows.iter().map(written).collect()))
    }
}

fn written(row: &Row) -> String {
    let mut cells = vec![
        Cell::some(row.day.map(day_text)),
        Cell::some(row.program.as_deref()),
        Cell::some(row.provider.as_deref()),
        Cell::text(row.currency.code()),
        Cell::number(row.count.to_string()),
    ];
    cells.extend(row.texts().map(Cell::Number));
    csv::line(&cells)
}

/// A day of UTC as `2026-01-05`.
pub fn day_text(day: i32) -> String {
    const DAY: i64 = 86_400_000_000;
    let at = kernel::Timestamp::from_micros(i64::from(day).saturating_mul(DAY));
    at.to_string().split('T').next().unwrap_or_default().to_owned()
}

/// Reads a day.
pub fn day_of(text: &str) -> Option<i32> {
    if text.len() != 10 {
        return None;
    }
    let at = kernel::Timestamp::parse(&format!("{text}T00:00:00Z")).ok()?;
    i32::try_from(at.micros().div_euclid(86_400_000_000)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_are_read_as_they_are_written_and_fall_into_whole_parts() {
        for day in [0, 1, 20_458, 20_512] {
            assert_eq!(day_of(&day_text(day)), Some(day));
        }
        assert_eq!(day_text(20_458), "2026-01-05");
        for bad in ["2026-1-5", "2026-01-05T00", "", "2026-02-30"] {
            assert_eq!(day_of(bad), None, "{bad}");
        }
        assert!(Days::new(5, 4).is_err() && Days::new(0, MOST_DAYS).is_err());
        let parts = Days::new(10, 110).unwrap().parts();
        let days: Vec<i32> = parts.iter().flat_map(|part| part.first..=part.last).collect();
        assert_eq!(days, (10..=110).collect::<Vec<_>>());
        assert!(parts.iter().all(|part| part.last - part.first < DAYS_AT_ONCE));
    }
}
