//! What trading was like: statistics and curves of accounts.

use std::collections::BTreeMap;

use app::AppError;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use kernel::{AccountId, Amount, Currency, FirmId, Span, Timestamp};
use serde::Serialize;
use serve::extract::{Caller, Path, SignedIn};
use serve::problem::{Problem, ProblemBody};
use store::analytics::{self as rows, Counted, DayRow, SymbolRow};
use store::read::Viewer;
use store::{Token, Tx};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{AccountStatus, Consistency, account_tag, out_of_range, percent, plain};
use crate::Analytics;
use crate::calendar::date;
use crate::statistics::{self, Point, Trades};

/// Trading days of a curve, at most; older ones are left out.
const MOST_DAYS: i64 = 1_000;
/// An answer is kept so long, unless something happens before.
const KEPT: Span = Span::from_seconds(30);
/// Accounts of somebody that are added up, at most.
const MOST_ACCOUNTS: usize = 200;

pub(super) fn router() -> OpenApiRouter<Analytics> {
    OpenApiRouter::new().routes(routes!(account)).routes(routes!(curve)).routes(routes!(mine))
}

/// What trading on an account was like. Results are after commission; a position counts when it is closed.
#[derive(Debug, Serialize, ToSchema)]
pub struct Statistics {
    /// The account.
    id: String,
    /// Where it stands.
    status: AccountStatus,
    /// Currency of every amount.
    currency: &'static str,
    /// Balance at opening.
    initial_balance: String,
    /// Closed balance.
    balance: String,
    /// Over all closed positions.
    trades: TradesView,
    /// The same by symbol, in their order.
    by_symbol: Vec<SymbolView>,
    /// The day (UTC) that realised most; none before the first.
    #[schema(required)]
    best_day: Option<DayResult>,
    /// The day (UTC) that realised least; none before the first.
    #[schema(required)]
    worst_day: Option<DayResult>,
    /// Over the returns of its trading days.
    returns: Returns,
    /// Everything written before it is in the answer.
    as_of: String,
}

/// Closed positions.
#[derive(Debug, Serialize, ToSchema)]
pub struct TradesView {
    /// How many.
    closed: u64,
    /// With a gain.
    wins: u64,
    /// With a loss.
    losses: u64,
    /// Wins among all, in per cent.
    #[schema(required)]
    win_rate_percent: Option<String>,
    /// Gains over losses; none if nothing was lost.
    #[schema(required)]
    profit_factor: Option<String>,
    /// The average result.
    #[schema(required)]
    expectancy: Option<String>,
    /// The average gain of a win.
    #[schema(required)]
    average_win: Option<String>,
    /// The average loss of a loss, not negative.
    #[schema(required)]
    average_loss: Option<String>,
    /// The best result.
    #[schema(required)]
    best: Option<String>,
    /// The worst result.
    #[schema(required)]
    worst: Option<String>,
    /// All results together.
    profit: String,
    /// How long a position was held on average, in seconds.
    #[schema(required)]
    average_held_seconds: Option<i64>,
}

/// Closed positions in one symbol.
#[derive(Debug, Serialize, ToSchema)]
pub struct SymbolView {
    /// Which.
    symbol: String,
    /// What they were like.
    trades: TradesView,
}

/// What a day realised.
#[derive(Debug, Serialize, ToSchema)]
pub struct DayResult {
    /// Of UTC.
    day: String,
    /// Profit after commission.
    profit: String,
}

/// Figures over the returns of trading days, from reset to reset, without what was paid out or added. The names say the
/// convention: 252 trading days a year or the calendar's 365.25 days, historical value at risk; the risk-free rate is 0.
/// None where a figure is not defined.
#[derive(Debug, Serialize, ToSchema)]
pub struct Returns {
    /// Trading days with a return.
    days: usize,
    /// Sharpe's ratio, 252 days a year.
    #[schema(required)]
    sharpe_252: Option<String>,
    /// Sortino's ratio, 252 days a year.
    #[schema(required)]
    sortino_252: Option<String>,
    /// Yearly rate of growth, 252 days a year.
    #[schema(required)]
    cagr_252: Option<String>,
    /// Yearly rate of growth over the time passed.
    #[schema(required)]
    cagr_calendar: Option<String>,
    /// Deepest fall from a highest, at the ends of days.
    #[schema(required)]
    max_drawdown: Option<String>,
    /// Historical.
    #[schema(required)]
    value_at_risk_95: Option<String>,
    /// Historical.
    #[schema(required)]
    conditional_value_at_risk_95: Option<String>,
}

/// The curve of an account by trading day, at most the last 1,000.
#[derive(Debug, Serialize, ToSchema)]
pub struct Curve {
    /// Currency of every amount.
    currency: &'static str,
    /// From the opening over the resets to now.
    points: Vec<PointView>,
    /// Everything written before it is in the answer.
    as_of: String,
}

/// A moment on the curve.
#[derive(Debug, Serialize, ToSchema)]
pub struct PointView {
    /// When.
    at: String,
    /// Closed results.
    balance: String,
    /// With open results; none now while the account trades: ask the account itself.
    #[schema(required)]
    equity: Option<String>,
    /// How far equity is below its highest so far, without what was paid out or added.
    #[schema(required)]
    drawdown: Option<String>,
    /// The same in per cent of that highest.
    #[schema(required)]
    drawdown_percent: Option<String>,
}

/// What trading was like over all of somebody's accounts.
#[derive(Debug, Serialize, ToSchema)]
pub struct MyStatistics {
    /// By the currency of the accounts.
    items: Vec<InCurrency>,
    /// Everything written before it is in the answer.
    as_of: String,
}

/// The accounts in one currency.
#[derive(Debug, Serialize, ToSchema)]
pub struct InCurrency {
    /// Which.
    currency: &'static str,
    /// How many accounts.
    accounts: usize,
    /// Over all closed positions.
    trades: TradesView,
    /// The same by symbol, in their order.
    by_symbol: Vec<SymbolView>,
}

/// What is read for one account.
#[derive(Debug, Clone)]
struct Raw {
    counted: Counted,
    symbols: Vec<SymbolRow>,
    best_and_worst: Option<[(i32, Amount); 2]>,
    days: Vec<DayRow>,
    flows: Vec<(Timestamp, Amount)>,
}

async fn read_in_tx(tx: &mut Tx, viewer: Viewer, id: AccountId) -> Result<Option<Raw>, AppError> {
    let Some(counted) = rows::counted(tx, viewer, id).await? else { return Ok(None) };
    Ok(Some(Raw {
        counted,
        symbols: rows::symbols(tx, id).await?,
        best_and_worst: rows::best_and_worst_day(tx, id).await?,
        days: rows::days(tx, id, MOST_DAYS).await?,
        flows: rows::flows(tx, id).await?,
    }))
}

/// The account's rows, from wherever they are new enough. Where the caller has written and the message has not been taken
/// yet, the account is counted here and now.
async fn read(
    analytics: &Analytics,
    firm: FirmId,
    viewer: Viewer,
    id: AccountId,
    token: Option<Token>,
) -> Result<(Raw, Token), Problem> {
    let (found, at) = analytics
        .replicas
        .read(firm, token, Box::new(move |tx| Box::pin(read_in_tx(tx, viewer, id))))
        .await?;
    match found {
        Some(raw) if raw.counted.current || token.is_none() => Ok((raw, at)),
        Some(_) | None => {
            let at = analytics.store.consistency_token().await?;
            let mut tx = analytics.store.begin(firm).await?;
            tx.project(&[id], &[], None).await?;
            let raw = read_in_tx(&mut tx, viewer, id).await?;
            let _proof = tx.commit().await?;
            Ok((raw.ok_or(AppError::NotFound("account"))?, at))
        }
    }
}

/// Who looks, if the account is one that they may see.
async fn viewer(analytics: &Analytics, caller: &Caller, id: AccountId) -> Result<Viewer, Problem> {
    let viewer = Viewer::of(caller.actor()?);
    let owner = store::read::owner(&analytics.store, caller.context.firm, id).await?;
    let owner = owner.ok_or(AppError::NotFound("account"))?;
    match viewer {
        Viewer::Owner(person) if person != owner.person => Err(AppError::NotFound("account").into()),
        Viewer::Owner(_) | Viewer::Staff => Ok(viewer),
    }
}

fn trades_view(trades: &Trades, currency: Currency) -> Result<TradesView, Problem> {
    let text = |amount: Option<Amount>| amount.map(|amount| amount.text(currency));
    let money = |amount: Result<Option<Amount>, _>| amount.map(text).map_err(out_of_range);
    Ok(TradesView {
        closed: trades.closed,
        wins: trades.wins,
        losses: trades.losses,
        win_rate_percent: trades.win_rate().map_err(out_of_range)?.map(percent),
        profit_factor: trades.profit_factor().map_err(out_of_range)?.map(plain),
        expectancy: money(trades.expectancy())?,
        average_win: money(trades.average_win())?,
        average_loss: money(trades.average_loss())?,
        best: text(trades.best),
        worst: text(trades.worst),
        profit: trades.net().map_err(out_of_range)?.text(currency),
        average_held_seconds: trades
            .average_held_us()
            .map_err(out_of_range)?
            .map(|micros| micros.div_euclid(1_000_000)),
    })
}

fn symbol_views<'r>(
    symbols: impl Iterator<Item = (&'r str, Trades)>,
    currency: Currency,
) -> Result<Vec<SymbolView>, Problem> {
    symbols
        .map(|(symbol, trades)| {
            Ok(SymbolView { symbol: symbol.to_owned(), trades: trades_view(&trades, currency)? })
        })
        .collect()
}

fn points(raw: &Raw, now: Timestamp) -> Result<Vec<Point>, Problem> {
    let row = &raw.counted.row;
    let is_over = row.status != engine::Status::Active;
    // A curve whose first days are left out begins with the first that is there.
    let opened = (row.opened_at, row.initial);
    let at_limit = i64::try_from(raw.days.len()).is_ok_and(|days| days >= MOST_DAYS);
    let (first, days) = match raw.days.split_first() {
        Some((first, rest)) if at_limit => ((first.started_at, first.equity), rest),
        Some(_) | None => (opened, raw.days.as_slice()),
    };
    let now = (now, row.balance, is_over);
    statistics::curve(first.0, first.1, days, &raw.flows, now).map_err(out_of_range)
}

fn render(raw: &Raw, as_of: Timestamp) -> Result<Statistics, Problem> {
    let row = &raw.counted.row;
    let currency = row.currency;
    let trades = raw.symbols.iter().fold(Trades::default(), |trades, row| trades.with(row));
    let points = points(raw, as_of)?;
    let day = |(day, profit): (i32, Amount)| DayResult { day: date(day), profit: profit.text(currency) };
    let ended = points.iter().rev().find(|point| point.equity.is_some()).map_or(as_of, |point| point.at);
    let [best, worst] =
        raw.best_and_worst.map_or([None, None], |[best, worst]| [Some(day(best)), Some(day(worst))]);
    Ok(Statistics {
        id: row.account.to_string(),
        status: row.status.into(),
        currency: currency.code(),
        initial_balance: row.initial.text(currency),
        balance: row.balance.text(currency),
        trades: trades_view(&trades, currency)?,
        by_symbol: symbol_views(
            raw.symbols.iter().map(|row| (row.symbol.as_str(), Trades::default().with(row))),
            currency,
        )?,
        best_day: best,
        worst_day: worst,
        returns: figures_text::view(&points, &raw.flows, ended),
        as_of: as_of.to_string(),
    })
}

/// What trading on an account was like. With a `Consistency-Token` nothing that the caller has written is missing.
#[utoipa::path(get, path = "/v1/analytics/accounts/{id}/statistics", tag = "statistics",
    params(("id" = uuid::Uuid, Path, description = "The account"),
           ("Consistency-Token" = Option<String>, Header, description = "As the answer to a write carried it")),
    responses((status = 200, body = Statistics), (status = 401, response = ProblemBody),
              (status = 404, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn account(
    State(analytics): State<Analytics>,
    SignedIn(caller): SignedIn,
    Path(id): Path<AccountId>,
    Consistency(token): Consistency,
) -> Result<Response, Problem> {
    let firm = caller.context.firm;
    let viewer = viewer(&analytics, &caller, id).await?;
    let as_of = analytics.as_of()?;
    let (tag, cache) = (account_tag(firm, id), &analytics.cache);
    let kept = cache.get(&tag, STATISTICS).await.and_then(|kept| body_since(&kept, token));
    analytics.counted().answered(kept.is_some());
    if let Some(body) = kept {
        return Ok(json(body));
    }
    let mark = cache.mark(&tag).await;
    let (raw, at) = read(&analytics, firm, viewer, id, token).await?;
    let body = serde_json::to_string(&render(&raw, as_of)?)
        .map_err(|_| Problem::new("internal", "The answer cannot be written."))?;
    if let Some(mark) = mark {
        // One that may lack something for whoever carries a token is good for those only who carry none.
        let at = if raw.counted.current { at.to_string() } else { String::new() };
        cache.put(&tag, STATISTICS, mark, &format!("{at}\n{body}"), KEPT).await;
    }
    Ok(json(body))
}

/// Statistics under the tag of their account.
const STATISTICS: &str = "statistics";

/// What is kept stands behind the place in the log that it was read at, so that nobody who hands in a token gets what is
/// older than what they have written.
fn body_since(kept: &str, token: Option<Token>) -> Option<String> {
    let (at, body) = kept.split_once('\n')?;
    let good = token.is_none_or(|token| at.parse().is_ok_and(|at: Token| at > token));
    good.then(|| body.to_owned())
}

fn json(body: String) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}

/// Balance, equity and drawdown of an account by trading day.
#[utoipa::path(get, path = "/v1/analytics/accounts/{id}/curve", tag = "statistics",
    params(("id" = uuid::Uuid, Path, description = "The account"),
           ("Consistency-Token" = Option<String>, Header, description = "As the answer to a write carried it")),
    responses((status = 200, body = Curve), (status = 401, response = ProblemBody),
              (status = 404, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn curve(
    State(analytics): State<Analytics>,
    SignedIn(caller): SignedIn,
    Path(id): Path<AccountId>,
    Consistency(token): Consistency,
) -> Result<Json<Curve>, Problem> {
    let viewer = viewer(&analytics, &caller, id).await?;
    let as_of = analytics.as_of()?;
    let (raw, _) = read(&analytics, caller.context.firm, viewer, id, token).await?;
    let currency = raw.counted.row.currency;
    let view = |point: Point| PointView {
        at: point.at.to_string(),
        balance: point.balance.text(currency),
        equity: point.equity.map(|equity| equity.text(currency)),
        drawdown: point.drawdown.map(|drawdown| drawdown.text(currency)),
        drawdown_percent: point.drawdown_ppm.map(percent),
    };
    let points = points(&raw, as_of)?.into_iter().map(view).collect();
    Ok(Json(Curve { currency: currency.code(), points, as_of: as_of.to_string() }))
}

/// What trading was like over all of one's own accounts, by their currency.
#[utoipa::path(get, path = "/v1/analytics/me/statistics", tag = "statistics",
    params(("Consistency-Token" = Option<String>, Header, description = "As the answer to a write carried it")),
    responses((status = 200, body = MyStatistics), (status = 401, response = ProblemBody),
              (status = 422, response = ProblemBody)))]
async fn mine(
    State(analytics): State<Analytics>,
    SignedIn(caller): SignedIn,
    Consistency(token): Consistency,
) -> Result<Json<MyStatistics>, Problem> {
    let person = caller.actor()?.person;
    let as_of = analytics.as_of()?;
    let (read, _) = analytics
        .replicas
        .read(
            caller.context.firm,
            token,
            Box::new(move |tx| {
                Box::pin(async move {
                    let mut all = Vec::new();
                    for account in rows::accounts_of(tx, person).await?.into_iter().rev().take(MOST_ACCOUNTS)
                    {
                        if let Some(counted) = rows::counted(tx, Viewer::Owner(person), account).await? {
                            all.push((counted.row.currency, rows::symbols(tx, account).await?));
                        }
                    }
                    Ok(all)
                })
            }),
        )
        .await?;
    let mut by_currency: BTreeMap<&'static str, (Currency, usize, BTreeMap<String, Trades>)> =
        BTreeMap::new();
    for (currency, symbols) in read {
        let (_, accounts, sums) =
            by_currency.entry(currency.code()).or_insert_with(|| (currency, 0, BTreeMap::new()));
        *accounts = accounts.saturating_add(1);
        for row in symbols {
            let sum = sums.entry(row.symbol.clone()).or_default();
            *sum = sum.with(&row);
        }
    }
    let items = by_currency.into_values().map(|(currency, accounts, sums)| {
        let all = sums.values().fold(Trades::default(), |all, one| all.and(one));
        Ok(InCurrency {
            currency: currency.code(),
            accounts,
            trades: trades_view(&all, currency)?,
            by_symbol: symbol_views(sums.iter().map(|(symbol, sum)| (symbol.as_str(), *sum)), currency)?,
        })
    });
    let items = items.collect::<Result<_, Problem>>()?;
    Ok(Json(MyStatistics { items, as_of: as_of.to_string() }))
}

mod figures_text {
    #![expect(clippy::disallowed_types, reason = "figures over returns feed a chart and decide nothing")]

    use kernel::{Amount, Timestamp};

    use super::Returns;
    use crate::statistics::{
        Point, cagr_252, cagr_calendar, conditional_value_at_risk_95, max_drawdown, returns, sharpe_252,
        sortino_252, value_at_risk_95,
    };

    fn text(figure: Option<f64>) -> Option<String> {
        figure.map(|figure| format!("{figure:.6}"))
    }

    pub(super) fn view(points: &[Point], flows: &[(Timestamp, Amount)], ended: Timestamp) -> Returns {
        let began = points.first().map_or(ended, |point| point.at);
        let returns = returns(points, flows);
        Returns {
            days: returns.len(),
            sharpe_252: text(sharpe_252(&returns)),
            sortino_252: text(sortino_252(&returns)),
            cagr_252: text(cagr_252(&returns)),
            cagr_calendar: text(cagr_calendar(&returns, began, ended)),
            max_drawdown: text(max_drawdown(&returns)),
            value_at_risk_95: text(value_at_risk_95(&returns)),
            conditional_value_at_risk_95: text(conditional_value_at_risk_95(&returns)),
        }
    }
}
