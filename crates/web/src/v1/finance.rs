//! What the books say of the business, for those of the firm who may know. Every table is there as JSON and as CSV.

use std::collections::BTreeMap;
use std::sync::Arc;

use app::csv::{self, Cell};
use app::finance::{By, Days, Report, Row, day_of, day_text};
use app::ledger::{Account, AsOf, Balance, Line};
use app::{AppError, Permission};
use axum::Json;
use axum::body::Body as ResponseBody;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use futures_util::Stream;
use futures_util::stream;
use http::header;
use kernel::{Currency, Money, Overflow, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::text::time;
use super::{PAGE, Page};
use crate::Web;
use crate::extract::{Path, Query, SignedIn};
use crate::problem::{Problem, ProblemBody};

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(trial_balance))
        .routes(routes!(trial_balance_csv))
        .routes(routes!(lines))
        .routes(routes!(lines_csv))
        .routes(routes!(report))
        .routes(routes!(report_csv))
}

/// Lines of a table that are written at once.
const LINES_AT_ONCE: usize = 500;

/// Answers with a table, as it is read. One that cannot be read to its end is cut off in the middle of a transfer, so that
/// nobody takes it for whole.
pub(super) fn table<S>(name: &str, lines: S) -> Response
where
    S: Stream<Item = Result<String, AppError>> + Send + 'static,
{
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}.csv\"")),
    ];
    (headers, ResponseBody::from_stream(lines)).into_response()
}

pub(super) fn logged(error: AppError) -> AppError {
    let source: &dyn std::error::Error = &error;
    tracing::error!(error = source, "a table is cut off");
    error
}

pub(super) fn instant(text: Option<&str>, pointer: &str) -> Result<Option<Timestamp>, AppError> {
    let read = |text| {
        Timestamp::parse(text)
            .map_err(|_| AppError::field(pointer, "Use RFC 3339, such as 2026-01-09T13:30:00Z."))
    };
    text.map(read).transpose()
}

fn overflow(error: Overflow) -> Problem {
    AppError::bug("summing the books")(Box::new(error)).into()
}

/// As of when.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct When {
    /// What had happened by then; everything if not said.
    effective: Option<String>,
    /// As it was known by then; as it is known now if not said.
    recorded: Option<String>,
}

impl When {
    fn read(&self) -> Result<AsOf, AppError> {
        Ok(AsOf {
            effective: instant(self.effective.as_deref(), "/effective")?,
            recorded: instant(self.recorded.as_deref(), "/recorded")?,
        })
    }
}

/// The balances of all accounts.
#[derive(Debug, Serialize, ToSchema)]
pub struct TrialBalance {
    /// In the order of currency and account.
    balances: Vec<AccountBalance>,
    /// The sums of both sides, by currency.
    sums: Vec<BothSides>,
    /// Whether debits equal credits in every currency.
    balanced: bool,
}

/// An account and what stands there.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountBalance {
    /// Such as `provider_clearing:stripe`.
    account: String,
    /// Its currency.
    currency: &'static str,
    /// Everything that was debited.
    debits: String,
    /// Everything that was credited.
    credits: String,
    /// What stands there, on the side on which the account grows.
    balance: String,
}

/// Debits and credits of a currency.
#[derive(Debug, Serialize, ToSchema)]
pub struct BothSides {
    /// The currency.
    currency: &'static str,
    /// Everything that was debited.
    debits: String,
    /// Everything that was credited.
    credits: String,
}

fn amount(minor: i64, currency: Currency) -> String {
    Money::from_minor(minor, currency).amount_text()
}

fn render_balance(balance: &Balance) -> Result<AccountBalance, Problem> {
    Ok(AccountBalance {
        account: balance.account.to_string(),
        currency: balance.currency.code(),
        debits: amount(balance.debits, balance.currency),
        credits: amount(balance.credits, balance.currency),
        balance: balance.amount().map_err(overflow)?.amount_text(),
    })
}

/// The trial balance: every account, as it stood when, as it was known when.
#[utoipa::path(get, path = "/v1/finance/trial-balance", tag = "finance", params(When), responses(
    (status = 200, body = TrialBalance), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 422, response = ProblemBody)))]
async fn trial_balance(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Query(when): Query<When>,
) -> Result<Json<TrialBalance>, Problem> {
    caller.demand(Permission::ReadBusiness)?;
    let books = web.ledger.books(&caller.context, when.read()?).await?;
    let sums = books.sums().map_err(overflow)?;
    let side = |(currency, (debits, credits)): (Currency, (i64, i64))| BothSides {
        currency: currency.code(),
        debits: amount(debits, currency),
        credits: amount(credits, currency),
    };
    Ok(Json(TrialBalance {
        balanced: books.balanced().map_err(overflow)?,
        balances: books.balances.iter().map(render_balance).collect::<Result<_, _>>()?,
        sums: sums.into_iter().map(side).collect(),
    }))
}

/// The trial balance as a table: RFC 4180, with `account`, `currency`, `debits`, `credits` and `balance`.
#[utoipa::path(get, path = "/v1/finance/trial-balance/csv", tag = "finance", params(When), responses(
    (status = 200, description = "The table", content_type = "text/csv", body = String),
    (status = 401, response = ProblemBody), (status = 403, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn trial_balance_csv(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Query(when): Query<When>,
) -> Result<Response, Problem> {
    caller.demand(Permission::ReadBusiness)?;
    let books = web.ledger.books(&caller.context, when.read()?).await?;
    let rows = books.balances.iter().map(render_balance).collect::<Result<Vec<_>, _>>()?;
    let mut parts = vec![csv::head(&["account", "currency", "debits", "credits", "balance"])];
    for rows in rows.chunks(LINES_AT_ONCE) {
        parts.push(rows.iter().map(balance_line).collect());
    }
    Ok(table("trial-balance", stream::iter(parts.into_iter().map(Ok))))
}

fn balance_line(row: &AccountBalance) -> String {
    csv::line(&[
        Cell::text(row.account.as_str()),
        Cell::text(row.currency),
        Cell::number(row.debits.as_str()),
        Cell::number(row.credits.as_str()),
        Cell::number(row.balance.as_str()),
    ])
}

/// Which lines of an account.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct LinesWanted {
    /// The account's currency.
    currency: String,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl LinesWanted {
    fn read(&self, account: &str) -> Result<(Account, Currency, i64), AppError> {
        let account = account.parse().map_err(|_| AppError::NotFound("account"))?;
        let currency = Currency::parse(&self.currency);
        let currency = currency.map_err(|_| AppError::field("/currency", "Write a currency as USD."))?;
        let after = self.cursor.as_deref().unwrap_or("0").parse();
        let after = after.map_err(|_| AppError::field("/cursor", "Use `next_cursor` of the page before."))?;
        Ok((account, currency, after))
    }
}

/// A transfer as its account sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct LedgerLine {
    /// The entry's place in the order of recording.
    number: i64,
    /// The entry.
    entry: String,
    /// What happened.
    kind: String,
    /// What it is about, such as `purchase:0198...`.
    cause: String,
    /// When it happened.
    effective_at: String,
    /// The account on the other side.
    other: String,
    /// Above zero if debited, below if credited.
    amount: String,
}

fn render_line(line: Line) -> LedgerLine {
    LedgerLine {
        number: line.number,
        entry: line.entry.to_string(),
        kind: line.kind,
        cause: line.cause,
        effective_at: time(line.effective_at),
        other: line.other.to_string(),
        amount: line.amount.amount_text(),
    }
}

/// A page of whole entries: the lines of the last one may continue on the next page, so it is left for that.
fn whole_entries(mut lines: Vec<Line>, most: i64) -> (Vec<Line>, Option<i64>) {
    let full = i64::try_from(lines.len()).is_ok_and(|count| count >= most);
    let last = lines.last().map(|line| line.number).filter(|_| full);
    if let Some(last) = last {
        lines.retain(|line| line.number < last);
    }
    let next = last.and_then(|_| lines.last().map(|line| line.number));
    (lines, next)
}

/// The lines of an account in the order of recording.
#[utoipa::path(get, path = "/v1/finance/accounts/{account}/lines", tag = "finance",
    params(("account" = String, Path), LinesWanted), responses((status = 200, body = Page<LedgerLine>),
    (status = 401, response = ProblemBody), (status = 403, response = ProblemBody), (status = 404, response = ProblemBody),
    (status = 422, response = ProblemBody)))]
async fn lines(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(account): Path<String>,
    Query(wanted): Query<LinesWanted>,
) -> Result<Json<Page<LedgerLine>>, Problem> {
    caller.demand(Permission::ReadBusiness)?;
    let (account, currency, after) = wanted.read(&account)?;
    let read = web.ledger.lines(&caller.context, &account, currency, after, PAGE).await?;
    let (lines, next) = whole_entries(read, PAGE);
    Ok(Json(Page {
        items: lines.into_iter().map(render_line).collect(),
        next_cursor: next.map(|next| next.to_string()),
    }))
}

/// All lines of an account as a table.
#[utoipa::path(get, path = "/v1/finance/accounts/{account}/lines/csv", tag = "finance",
    params(("account" = String, Path), LinesWanted), responses(
    (status = 200, description = "The table", content_type = "text/csv", body = String),
    (status = 401, response = ProblemBody), (status = 403, response = ProblemBody), (status = 404, response = ProblemBody),
    (status = 422, response = ProblemBody)))]
async fn lines_csv(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(account): Path<String>,
    Query(wanted): Query<LinesWanted>,
) -> Result<Response, Problem> {
    caller.demand(Permission::ReadBusiness)?;
    let (account, currency, after) = wanted.read(&account)?;
    let most = i64::try_from(LINES_AT_ONCE).unwrap_or(PAGE);
    let head =
        csv::head(&["number", "entry", "kind", "cause", "effective_at", "other", "currency", "amount"]);
    let parts = stream::try_unfold((Some(after), Some(head)), move |(after, head)| {
        let (ledger, context, account) = (Arc::clone(&web.ledger), caller.context.clone(), account.clone());
        async move {
            if let Some(head) = head {
                return Ok(Some((head, (after, None))));
            }
            let Some(after) = after else { return Ok(None) };
            let read = ledger.lines(&context, &account, currency, after, most).await.map_err(logged)?;
            let (lines, next) = whole_entries(read, most);
            let text = lines.into_iter().map(|line| written_line(line, currency)).collect::<String>();
            Ok::<_, AppError>(Some((text, (next, None))))
        }
    });
    Ok(table("account-lines", parts))
}

fn written_line(line: Line, currency: Currency) -> String {
    let line = render_line(line);
    csv::line(&[
        Cell::number(line.number.to_string()),
        Cell::text(line.entry),
        Cell::text(line.kind),
        Cell::text(line.cause),
        Cell::text(line.effective_at),
        Cell::text(line.other),
        Cell::text(currency.code()),
        Cell::number(line.amount),
    ])
}

/// Which days, and by what sums are told apart.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ReportWanted {
    /// The first day (UTC), such as 2026-01-05; thirty days before the last if not said.
    from: Option<String>,
    /// The last day (UTC); today if not said. At most 366 days at once.
    to: Option<String>,
    /// Some of `day`, `program` and `provider` with commas between; all three if not said.
    by: Option<String>,
}

impl ReportWanted {
    fn read(&self, report: &str, now: Timestamp) -> Result<(Report, Days, By), AppError> {
        let report = Report::parse(report).ok_or(AppError::NotFound("report"))?;
        let today = day_of(now.to_string().get(..10).unwrap_or_default()).unwrap_or_default();
        let day = |text: Option<&str>, pointer: &str, otherwise: i32| match text {
            None => Ok(otherwise),
            Some(text) => day_of(text).ok_or_else(|| AppError::field(pointer, "Write a day as 2026-01-05.")),
        };
        let last = day(self.to.as_deref(), "/to", today)?;
        let first = day(self.from.as_deref(), "/from", last.saturating_sub(30))?;
        let mut by = By { day: false, program: false, provider: false };
        for word in
            self.by.as_deref().unwrap_or("day,program,provider").split(',').filter(|word| !word.is_empty())
        {
            match word {
                "day" => by.day = true,
                "program" => by.program = true,
                "provider" => by.provider = true,
                _ => return Err(AppError::field("/by", "Use day, program and provider.")),
            }
        }
        Ok((report, Days::new(first, last)?, by))
    }
}

/// Sums over the books.
#[derive(Debug, Serialize, ToSchema)]
pub struct FinanceReport {
    /// Which report.
    report: &'static str,
    /// The first day.
    from: String,
    /// The last day.
    to: String,
    /// The zone of the days.
    zone: &'static str,
    /// In the order of day, program, provider and currency; what did not happen is not there.
    rows: Vec<FinanceRow>,
}

/// Sums that belong together.
#[derive(Debug, Serialize, ToSchema)]
pub struct FinanceRow {
    /// The day, if told by day.
    #[schema(required)]
    day: Option<String>,
    /// The program's slug, if told by program and known.
    #[schema(required)]
    program: Option<String>,
    /// The provider, if told by provider and known.
    #[schema(required)]
    provider: Option<String>,
    /// The currency.
    currency: &'static str,
    /// How many sales, refunds or disputes; zero of what is owed.
    count: i64,
    /// Amounts by name. Revenue: `gross` (list prices without tax), `discounts`, `tax`, `refunds` (without tax), `net` (gross less
    /// discounts and refunds). Refunds: `refunds` (without tax), `tax`, `overpaid` (what was paid twice), `total`. Disputes:
    /// `opened`, `won`, `lost`, `open` (opened less won and lost), `fees`. Liability, at the end of the day: `payable`, `held`,
    /// `clearing` (sent, not known to have arrived), `total`.
    amounts: BTreeMap<&'static str, String>,
}

fn render_row(report: Report, row: Row) -> FinanceRow {
    FinanceRow {
        amounts: report.columns().iter().copied().zip(row.texts()).collect(),
        day: row.day.map(day_text),
        program: row.program,
        provider: row.provider,
        currency: row.currency.code(),
        count: row.count,
    }
}

/// Revenue, refunds, disputes or what is owed: sums over the ledger.
#[utoipa::path(get, path = "/v1/finance/reports/{report}", tag = "finance",
    params(("report" = String, Path, description = "revenue, refunds, disputes or liability"), ReportWanted), responses(
    (status = 200, body = FinanceReport), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 404, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn report(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(report): Path<String>,
    Query(wanted): Query<ReportWanted>,
) -> Result<Json<FinanceReport>, Problem> {
    caller.demand(Permission::ReadBusiness)?;
    let (report, days, by) = wanted.read(&report, web.clock.now())?;
    let rows = web.finance.report(&caller.context, report, days, by).await?;
    Ok(Json(FinanceReport {
        report: report.word(),
        from: day_text(days.first),
        to: day_text(days.last),
        zone: "UTC",
        rows: rows.into_iter().map(|row| render_row(report, row)).collect(),
    }))
}

/// The same as a table, with `day`, `program`, `provider`, `currency`, `count` and the report's amounts.
#[utoipa::path(get, path = "/v1/finance/reports/{report}/csv", tag = "finance",
    params(("report" = String, Path, description = "revenue, refunds, disputes or liability"), ReportWanted), responses(
    (status = 200, description = "The table", content_type = "text/csv", body = String),
    (status = 401, response = ProblemBody), (status = 403, response = ProblemBody), (status = 404, response = ProblemBody),
    (status = 422, response = ProblemBody)))]
async fn report_csv(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(report): Path<String>,
    Query(wanted): Query<ReportWanted>,
) -> Result<Response, Problem> {
    caller.demand(Permission::ReadBusiness)?;
    let (report, days, by) = wanted.read(&report, web.clock.now())?;
    let rows = web.finance.table(&caller.context, report, days, by)?;
    let parts = stream::try_unfold(rows, |mut rows| async move {
        let part = rows.next().await.map_err(logged)?;
        Ok::<_, AppError>(part.map(|part| (part, rows)))
    });
    Ok(table(report.word(), parts))
}
