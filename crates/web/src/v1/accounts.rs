//! Reading an account: live numbers, history, verdicts and receipts.

use std::convert::Infallible;
use std::sync::Arc;

use app::latency::{Histogram, OfDay, Received, Until};
use app::{Actor, AppError};
use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event, Sse};
use engine::View;
use futures_util::Stream;
use kernel::{AccountId, Span, Timestamp};
use serde::{Deserialize, Serialize};
use store::read::{self, Viewer};
use tokio::sync::watch;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::account_view::{
    self, Account, LiveAccount, OrderView, PhaseView, PositionView, ProgramRef, derivation, order_view,
    position_view,
};
use super::text::time;
use super::words::{Comparison, FillReason, RateUse, Side, VerdictKind};
use super::{Cursor, Items, PAGE, Page};
use crate::Web;
use crate::extract::{Caller, Path, Query, SignedIn};
use crate::live::{self, Throttle};
use crate::problem::{Problem, ProblemBody};

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(account))
        .routes(routes!(positions))
        .routes(routes!(orders))
        .routes(routes!(fills))
        .routes(routes!(verdicts))
        .routes(routes!(latencies))
        .routes(routes!(receipt))
        .routes(routes!(account_stream))
}

/// The stored account, if the caller may see it.
pub(super) async fn visible(
    web: &Web,
    caller: &Caller,
    id: AccountId,
) -> Result<(read::Account, Viewer), Problem> {
    let viewer = Viewer::of(caller.actor()?);
    let account = read::account(&web.store, caller.context.firm, viewer, id).await?;
    Ok((account.ok_or(AppError::NotFound("account"))?, viewer))
}

/// The stored account, if it is the caller's own.
pub(super) async fn own(
    web: &Web,
    caller: &Caller,
    id: AccountId,
) -> Result<(read::Account, Viewer), Problem> {
    let Actor { person, .. } = caller.demand(app::Permission::Trade)?;
    let viewer = Viewer::Owner(*person);
    let account = read::account(&web.store, caller.context.firm, viewer, id).await?;
    Ok((account.ok_or(AppError::NotFound("account"))?, viewer))
}

/// The caller as the owner of an account, for trading it: what the account now is decides the engine.
pub(super) async fn owned(
    web: &Web,
    caller: &Caller,
    id: AccountId,
) -> Result<(read::Owner, Viewer), Problem> {
    let Actor { person, .. } = caller.demand(app::Permission::Trade)?;
    let owner = read::owner(&web.store, caller.context.firm, id).await?;
    let owner = owner.filter(|owner| owner.person == *person).ok_or(AppError::NotFound("account"))?;
    Ok((owner, Viewer::Owner(*person)))
}

async fn view(web: &Web, id: AccountId) -> Result<Arc<View>, Problem> {
    Ok(web.desk.view(id).await?.ok_or(AppError::NotFound("account"))?)
}

/// Which positions.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct PositionsWanted {
    /// `open` or `closed`; open if not said.
    #[serde(default)]
    #[param(inline)]
    state: PositionState,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum PositionState {
    #[default]
    Open,
    Closed,
}

/// Which orders.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct OrdersWanted {
    /// `working` or `all`; working if not said.
    #[serde(default)]
    #[param(inline)]
    state: OrdersState,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum OrdersState {
    #[default]
    Working,
    All,
}

/// One execution.
#[derive(Debug, Serialize, ToSchema)]
pub struct Fill {
    /// Its number within the account.
    number: u32,
    /// The position's ticket.
    ticket: u32,
    /// The order's ticket.
    #[schema(required)]
    order: Option<u32>,
    /// What.
    symbol: String,
    /// Of the trade: a long closes by `sell`.
    side: Side,
    /// Lots.
    quantity: String,
    /// At which price.
    price: String,
    /// Result realised.
    profit: String,
    /// Commission charged.
    commission: String,
    /// Why it happened.
    reason: FillReason,
    /// When.
    at: String,
}

/// What a rule said.
#[derive(Debug, Serialize, ToSchema)]
pub struct Verdict {
    /// Its number within the account.
    number: u32,
    /// What it means for the account.
    kind: VerdictKind,
    /// The rule's kind.
    rule: String,
    /// In one line.
    headline: String,
    /// When.
    at: String,
}

/// A verdict with everything needed to check it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Receipt {
    /// Its number within the account.
    number: u32,
    /// What it means for the account.
    kind: VerdictKind,
    /// The rule's kind.
    rule: String,
    /// In one line.
    headline: String,
    /// How it came about, sentence by sentence.
    explanation: Vec<String>,
    /// When.
    at: String,
    /// Judged by.
    program: ProgramRef,
    /// Whose.
    account: ReceiptAccount,
    /// Currency of every amount.
    currency: &'static str,
    /// The floor crossed, for a breach.
    #[schema(required)]
    floor: Option<ReceiptFloor>,
    /// Equity then.
    equity: String,
    /// Balance then.
    balance: String,
    /// How far equity was below the floor.
    #[schema(required)]
    shortfall: Option<String>,
    /// The quotes it was judged at.
    quotes: Vec<ReceiptQuote>,
    /// The open positions, valued at them.
    positions: Vec<ReceiptPosition>,
    /// The sum, line by line.
    arithmetic: Vec<ReceiptLine>,
    /// How long it took.
    latency: ReceiptLatency,
    /// SHA-256 over the stored evidence.
    digest: String,
}

/// The account of a receipt.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReceiptAccount {
    /// Its id.
    id: String,
    /// Short, for people.
    number: String,
    /// Its phase.
    phase: PhaseView,
}

/// The floor of a receipt.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReceiptFloor {
    /// The equity below or at which the rule fires.
    amount: String,
    /// When it is crossed.
    comparison: Comparison,
    /// How it follows from its reference.
    derivation: String,
}

/// A quote of a receipt.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReceiptQuote {
    /// Whose.
    symbol: String,
    /// What a seller gets.
    bid: String,
    /// What a buyer pays.
    ask: String,
    /// The feed.
    source: String,
    /// When the source says it was made.
    source_time: String,
    /// When the platform received it.
    received_at: String,
    /// Its place in the quote log.
    position: u64,
}

/// A position of a receipt.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReceiptPosition {
    /// Its ticket.
    ticket: u32,
    /// What.
    symbol: String,
    /// Which way.
    side: Side,
    /// Lots.
    quantity: String,
    /// Units in a lot.
    contract_size: u32,
    /// Opened at.
    open_price: String,
    /// Valued at: the bid for a long, the ask for a short.
    close_price: String,
    /// Result in the instrument's quote currency.
    profit_quote: String,
    /// That currency.
    quote_currency: String,
    /// The rate it was converted at.
    #[schema(required)]
    rate: Option<ReceiptRate>,
    /// Result in the account's currency.
    profit: String,
}

/// A conversion rate of a receipt.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReceiptRate {
    /// The instrument whose price it is.
    symbol: String,
    /// The price.
    price: String,
    /// How it was applied.
    how: RateUse,
}

/// A line of a receipt's sum.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReceiptLine {
    /// What it is.
    label: String,
    /// How much.
    amount: String,
}

/// How long a verdict took.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReceiptLatency {
    /// From the receipt of the quote that caused it to the end of the batch that decided it, in microseconds.
    #[schema(required)]
    tick_to_decision_us: Option<i64>,
}

/// The account with its live numbers, as of the last commit.
#[utoipa::path(get, path = "/v1/accounts/{id}", tag = "accounts", params(("id" = String, Path)), responses(
    (status = 200, body = Account), (status = 401, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn account(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<AccountId>,
) -> Result<Json<Account>, Problem> {
    let (stored, _) = visible(&web, &caller, id).await?;
    let view = view(&web, id).await?;
    Ok(Json(account_view::account(&view, &stored.slug)?))
}

/// Positions: open ones by ticket with their open result, closed ones the newest first with the realised.
#[utoipa::path(get, path = "/v1/accounts/{id}/positions", tag = "accounts",
    params(("id" = String, Path), PositionsWanted), responses(
    (status = 200, body = Page<PositionView>), (status = 401, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn positions(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<AccountId>,
    Query(wanted): Query<PositionsWanted>,
) -> Result<Json<Page<PositionView>>, Problem> {
    let (stored, viewer) = visible(&web, &caller, id).await?;
    let instruments = web.hub.instruments();
    match wanted.state {
        PositionState::Open => {
            let view = view(&web, id).await?;
            let LiveAccount { positions, .. } = account_view::live(&view, &stored.slug, instruments)?;
            Ok(Json(Page { items: positions, next_cursor: None }))
        }
        PositionState::Closed => {
            let cursor = wanted.cursor.as_deref();
            let page =
                read::closed_positions(&web.store, caller.context.firm, viewer, id, cursor, PAGE).await?;
            let currency = stored.program.currency;
            let items = page.items.iter().map(|position| position_view(position, instruments, currency));
            Ok(Json(Page { items: items.collect::<Result<_, _>>()?, next_cursor: page.next }))
        }
    }
}

/// Orders, the newest first.
#[utoipa::path(get, path = "/v1/accounts/{id}/orders", tag = "accounts",
    params(("id" = String, Path), OrdersWanted), responses(
    (status = 200, body = Page<OrderView>), (status = 401, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn orders(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<AccountId>,
    Query(wanted): Query<OrdersWanted>,
) -> Result<Json<Page<OrderView>>, Problem> {
    let (_, viewer) = visible(&web, &caller, id).await?;
    let which = match wanted.state {
        OrdersState::Working => read::Orders::Working,
        OrdersState::All => read::Orders::All,
    };
    let page =
        read::orders(&web.store, caller.context.firm, viewer, id, which, wanted.cursor.as_deref(), PAGE)
            .await?;
    let items = page.items.iter().map(|order| order_view(order, web.hub.instruments()));
    Ok(Json(Page { items: items.collect::<Result<_, _>>()?, next_cursor: page.next }))
}

/// Executions, the newest first.
#[utoipa::path(get, path = "/v1/accounts/{id}/fills", tag = "accounts", params(("id" = String, Path), Cursor), responses(
    (status = 200, body = Page<Fill>), (status = 401, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn fills(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<AccountId>,
    Query(wanted): Query<Cursor>,
) -> Result<Json<Page<Fill>>, Problem> {
    let (stored, viewer) = visible(&web, &caller, id).await?;
    let currency = stored.program.currency;
    let page =
        read::fills(&web.store, caller.context.firm, viewer, id, wanted.cursor.as_deref(), PAGE).await?;
    let render = |row: &read::Fill| -> Result<Fill, Problem> {
        let fill = &row.fill;
        let instrument =
            web.hub.instruments().get(fill.instrument).map_err(|_| {
                Problem::new("internal", "A fill names an instrument that is not in the table.")
            })?;
        Ok(Fill {
            number: fill.number,
            ticket: fill.position.0,
            order: fill.order.map(|order| order.0),
            symbol: instrument.symbol.to_string(),
            side: fill.side.into(),
            quantity: instrument.quantity_text(fill.quantity),
            price: instrument.price_text(fill.price),
            profit: fill.profit.text(currency),
            commission: fill.commission.text(currency),
            reason: fill.reason.into(),
            at: time(row.at),
        })
    };
    Ok(Json(Page { items: page.items.iter().map(render).collect::<Result<_, _>>()?, next_cursor: page.next }))
}

/// Verdicts, the newest first.
#[utoipa::path(get, path = "/v1/accounts/{id}/verdicts", tag = "accounts", params(("id" = String, Path)), responses(
    (status = 200, body = Items<Verdict>), (status = 401, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn verdicts(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<AccountId>,
) -> Result<Json<Items<Verdict>>, Problem> {
    let (stored, viewer) = visible(&web, &caller, id).await?;
    let verdicts = read::verdicts(&web.store, caller.context.firm, viewer, id).await?;
    let items = verdicts.iter().map(|verdict| render_verdict(verdict, &stored));
    Ok(Json(Items { items: items.collect() }))
}

/// How long things took on one day: to the decision, and to being durable.
#[derive(Debug, Serialize, ToSchema)]
pub struct DayOfLatencies {
    /// The day, in UTC.
    day: String,
    /// Commands, from coming to the platform.
    command_decided: Option<Latency>,
    /// Commands, from coming to the platform.
    command_durable: Option<Latency>,
    /// Verdicts, from the quote or the instant that caused them.
    verdict_decided: Option<Latency>,
    /// Verdicts, from the quote or the instant that caused them.
    verdict_durable: Option<Latency>,
}

/// Durations in microseconds.
#[derive(Debug, Serialize, ToSchema)]
pub struct Latency {
    /// How many.
    count: u64,
    /// Half of them took no longer; at most 12.5 % too high.
    p50_us: u64,
    /// 99 of 100 took no longer; at most 12.5 % too high.
    p99_us: u64,
    /// The longest, exactly.
    max_us: u64,
}

/// How long the platform took, by day, the newest first; the last five seconds may be missing.
#[utoipa::path(get, path = "/v1/accounts/{id}/latencies", tag = "accounts", params(("id" = String, Path)), responses(
    (status = 200, body = Items<DayOfLatencies>), (status = 401, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn latencies(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<AccountId>,
) -> Result<Json<Items<DayOfLatencies>>, Problem> {
    let (_, viewer) = visible(&web, &caller, id).await?;
    let days = read::latencies(&web.store, caller.context.firm, viewer, id).await?;
    let render = |(day, histograms): (&i32, &OfDay)| {
        let of = |received, until| {
            let figures = histograms.get(&(received, until)).and_then(Histogram::figures);
            figures.map(|engine::Latency { count, p50_us, p99_us, max_us }| Latency {
                count,
                p50_us,
                p99_us,
                max_us,
            })
        };
        DayOfLatencies {
            day: date_of(*day),
            command_decided: of(Received::Command, Until::Decided),
            command_durable: of(Received::Command, Until::Durable),
            verdict_decided: of(Received::Verdict, Until::Decided),
            verdict_durable: of(Received::Verdict, Until::Durable),
        }
    };
    Ok(Json(Items { items: days.iter().rev().map(render).collect() }))
}

/// The date of a day counted from the epoch.
fn date_of(day: i32) -> String {
    let midnight = i64::from(day).saturating_mul(86_400_000_000);
    kernel::Timestamp::from_micros(midnight).to_string().chars().take(10).collect()
}

fn render_verdict(row: &read::Verdict, account: &read::Account) -> Verdict {
    Verdict {
        number: row.verdict.number,
        kind: row.verdict.kind.into(),
        rule: row.verdict.rule.to_string(),
        headline: engine::headline(&account.program, &row.verdict),
        at: time(row.at),
    }
}

/// A verdict with its evidence.
#[utoipa::path(get, path = "/v1/accounts/{id}/receipts/{number}", tag = "accounts",
    params(("id" = String, Path), ("number" = u32, Path)), responses(
    (status = 200, body = Receipt), (status = 401, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn receipt(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path((id, number)): Path<(AccountId, u32)>,
) -> Result<Json<Receipt>, Problem> {
    let (_, viewer) = visible(&web, &caller, id).await?;
    let receipt = read::receipt(&web.store, caller.context.firm, viewer, id, number).await?;
    let receipt = receipt.ok_or(AppError::NotFound("receipt"))?;
    render_receipt(&receipt).map(Json)
}

fn render_receipt(receipt: &read::Receipt) -> Result<Receipt, Problem> {
    let account = &receipt.account;
    let verdict = &receipt.verdict.verdict;
    let program = &account.program;
    let currency = program.currency;
    let text = |amount: kernel::Amount| amount.text(currency);
    let broken = |_| Problem::new("internal", "A receipt's numbers leave their range.");
    let shortfall = match &verdict.floor {
        Some(floor) => Some(floor.amount.minus(verdict.equity).map_err(broken)?),
        None => None,
    };
    let mut arithmetic = vec![ReceiptLine { label: "Balance".to_owned(), amount: text(verdict.balance) }];
    for position in &verdict.positions {
        let label = format!(
            "#{} {} {} {} at {}, now {}",
            position.ticket.0,
            position.side.word(),
            position.quantity,
            position.symbol,
            position.open_price,
            position.close_price
        );
        arithmetic.push(ReceiptLine { label, amount: text(position.profit) });
    }
    arithmetic.push(ReceiptLine { label: "Equity".to_owned(), amount: text(verdict.equity) });
    if let (Some(floor), Some(shortfall)) = (&verdict.floor, shortfall) {
        arithmetic.push(ReceiptLine { label: "Floor".to_owned(), amount: text(floor.amount) });
        arithmetic.push(ReceiptLine { label: "Below the floor by".to_owned(), amount: text(shortfall) });
    }
    let reached = verdict.objectives.iter().filter(|_| verdict.kind == engine::VerdictKind::Pass);
    for objective in reached {
        if let (rules::Figure::Amount(target), rules::Figure::Amount(current)) =
            (&objective.target, &objective.current)
        {
            let above = current.minus(*target).map_err(broken)?;
            arithmetic.push(ReceiptLine { label: "Balance to reach".to_owned(), amount: text(*target) });
            arithmetic.push(ReceiptLine { label: "Above it by".to_owned(), amount: text(above) });
        }
    }
    let cause = match verdict.cause {
        engine::Cause::Quote(place) => verdict.quotes.iter().find(|quote| quote.position == place),
        engine::Cause::Command | engine::Cause::DayEnd | engine::Cause::Reset | engine::Cause::Deadline => {
            None
        }
    };
    let latency = cause.and_then(|quote| receipt.verdict.decided_at.since(quote.received_at).ok());
    let phase = program.phases.get(verdict.phase);
    Ok(Receipt {
        number: verdict.number,
        kind: verdict.kind.into(),
        rule: verdict.rule.to_string(),
        headline: engine::headline(program, verdict),
        explanation: engine::explain(program, verdict),
        at: time(receipt.verdict.at),
        program: ProgramRef {
            slug: account.slug.clone(),
            name: program.name.clone(),
            version: verdict.version.to_string(),
        },
        account: ReceiptAccount {
            id: account.id.to_string(),
            number: account.number(),
            phase: PhaseView {
                index: verdict.phase,
                name: phase.map(|phase| phase.name.clone()).unwrap_or_default(),
                of: program.phases.len(),
            },
        },
        currency: currency.code(),
        floor: verdict.floor.as_ref().map(|floor| ReceiptFloor {
            amount: text(floor.amount),
            comparison: floor.comparison.into(),
            derivation: derivation(floor, currency),
        }),
        equity: text(verdict.equity),
        balance: text(verdict.balance),
        shortfall: shortfall.map(text),
        quotes: verdict.quotes.iter().map(render_quote).collect(),
        positions: verdict.positions.iter().map(|position| render_position(position, currency)).collect(),
        arithmetic,
        latency: ReceiptLatency { tick_to_decision_us: latency.map(kernel::Span::micros) },
        digest: hex::encode(receipt.verdict.digest),
    })
}

fn render_quote(quote: &engine::Quoted) -> ReceiptQuote {
    ReceiptQuote {
        symbol: quote.symbol.clone(),
        bid: quote.bid.clone(),
        ask: quote.ask.clone(),
        source: quote.source.clone(),
        source_time: time(quote.source_time),
        received_at: time(quote.received_at),
        position: quote.position,
    }
}

fn render_position(position: &engine::Valued, currency: kernel::Currency) -> ReceiptPosition {
    let quote_currency = kernel::Currency::parse(&position.quote_currency).unwrap_or(currency);
    ReceiptPosition {
        ticket: position.ticket.0,
        symbol: position.symbol.clone(),
        side: position.side.into(),
        quantity: position.quantity.clone(),
        contract_size: position.contract_size,
        open_price: position.open_price.clone(),
        close_price: position.close_price.clone(),
        profit_quote: position.profit_in_quote.text(quote_currency),
        quote_currency: position.quote_currency.clone(),
        rate: position.rate.as_ref().map(|rate| ReceiptRate {
            symbol: rate.symbol.clone(),
            price: rate.price.clone(),
            how: if rate.multiply { RateUse::Times } else { RateUse::DividedBy },
        }),
        profit: position.profit.text(currency),
    }
}

struct Watching {
    web: Web,
    caller: Caller,
    slug: String,
    id: AccountId,
    views: watch::Receiver<Arc<View>>,
    throttle: Throttle,
    sent: Option<LiveAccount>,
    verdicts_seen: u32,
    verdicts_due: Vec<Verdict>,
    /// When the session was last seen to be alive.
    signed_in_at: Timestamp,
}

/// A stream outlives the end of its session by no more than this.
const SESSION_CHECK: Span = Span::from_seconds(30);

/// The account as it changes, as server-sent events: `account` with the live numbers, open positions and working
/// orders, at once and then at most five times a second; `verdict` when a rule speaks.
#[utoipa::path(get, path = "/v1/accounts/{id}/stream", tag = "accounts", params(("id" = String, Path)), responses(
    (status = 200, content_type = "text/event-stream", body = LiveAccount),
    (status = 401, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn account_stream(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<AccountId>,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let (stored, _) = visible(&web, &caller, id).await?;
    let views = web.desk.watch(id).await?.ok_or(AppError::NotFound("account"))?;
    let verdicts_seen = views.borrow().account.next.verdict;
    let watching = Watching {
        web: web.clone(),
        caller,
        slug: stored.slug,
        id,
        views,
        throttle: Throttle::new(),
        sent: None,
        verdicts_seen,
        verdicts_due: Vec::new(),
        signed_in_at: web.clock.now(),
    };
    let stream = futures_util::stream::unfold(watching, |watching| async move {
        let (event, watching) = watching.next().await?;
        Some((Ok(event), watching))
    });
    Ok(live::until_stopped(&web, stream))
}

impl Watching {
    /// The next message; nothing once the shard is gone, so that the browser connects anew.
    async fn next(mut self) -> Option<(Event, Self)> {
        loop {
            if let Some(verdict) = self.verdicts_due.pop() {
                return Some((live::event("verdict", &verdict), self));
            }
            if self.sent.is_some() {
                self.views.changed().await.ok()?;
            }
            self.throttle.wait().await;
            self.still_signed_in().await?;
            let view = Arc::clone(&self.views.borrow_and_update());
            if view.account.next.verdict > self.verdicts_seen {
                self.verdicts_due = self.new_verdicts().await.ok()?;
                self.verdicts_seen = view.account.next.verdict;
            }
            let Ok(live) = account_view::live(&view, &self.slug, self.web.hub.instruments()) else {
                tracing::error!(account = %self.id, "a live account could not be rendered");
                return None;
            };
            let same = self.sent.as_ref().is_some_and(|sent| {
                let sent = LiveAccount {
                    account: Account { as_of: live.account.as_of.clone(), ..sent.account.clone() },
                    ..sent.clone()
                };
                sent == live
            });
            if !same {
                let event = live::event("account", &live);
                self.sent = Some(live);
                return Some((event, self));
            }
        }
    }

    /// Ends the stream once nobody is signed in any more.
    async fn still_signed_in(&mut self) -> Option<()> {
        let now = self.web.clock.now();
        if now.since(self.signed_in_at).is_ok_and(|age| age < SESSION_CHECK) {
            return Some(());
        }
        let token = self.caller.session.as_deref()?;
        self.signed_in_at = now;
        self.web.identity.who(self.caller.context.firm, token).await.ok()?.map(|_| ())
    }

    /// Verdicts since the last message, the newest first: they are sent from the end.
    async fn new_verdicts(&self) -> Result<Vec<Verdict>, Problem> {
        let (stored, viewer) = visible(&self.web, &self.caller, self.id).await?;
        let verdicts = read::verdicts(&self.web.store, self.caller.context.firm, viewer, self.id).await?;
        let new = verdicts.iter().filter(|row| row.verdict.number >= self.verdicts_seen);
        let mut new = new.map(|row| render_verdict(row, &stored)).collect::<Vec<_>>();
        new.sort_by_key(|verdict| std::cmp::Reverse(verdict.number));
        Ok(new)
    }
}
