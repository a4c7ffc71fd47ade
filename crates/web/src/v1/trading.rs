//! Trading: every command goes through the desk and is answered once it is durable.

use app::AppError;
use app::trading::{Left, Origin};
use axum::Json;
use axum::extract::State;
use engine::{Act, Change, Command, Done, Instrument, Key, Place, Refusal, Ticket};
use http::StatusCode;
use kernel::{AccountId, Currency, DecimalError, Price, Quantity, Symbol};
use serde::{Deserialize, Deserializer};
use store::read;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::account_view::{OrderView, PositionView, order_view, position_view};
use super::accounts::owned;
use super::words::{OrderKind, Side};
use crate::Web;
use crate::extract::{Body, Caller, IdempotencyKey, Path, SignedIn};
use crate::problem::{Problem, ProblemBody};

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(place_order))
        .routes(routes!(change_order, cancel_order))
        .routes(routes!(change_position))
        .routes(routes!(close_position))
}

/// A new order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOrder {
    /// What.
    symbol: String,
    /// Which way.
    side: Side,
    /// How.
    kind: OrderKind,
    /// Lots, as a decimal string.
    quantity: String,
    /// For a limit or stop, as a decimal string.
    price: Option<String>,
    /// Closes the position it opens.
    stop_loss: Option<String>,
    /// Closes the position it opens.
    take_profit: Option<String>,
}

/// Changes of a working order. Absent: unchanged. `null`: removed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderChange {
    /// Its new price.
    price: Option<String>,
    /// Its new stop loss.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    stop_loss: Level,
    /// Its new take profit.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    take_profit: Level,
}

/// Changes of a position's exits. Absent: unchanged. `null`: removed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PositionChange {
    /// Its new stop loss.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    stop_loss: Level,
    /// Its new take profit.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    take_profit: Level,
}

/// How much of a position to close.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ClosePosition {
    /// Lots; all of it if not said.
    quantity: Option<String>,
}

/// What is to become of a stop loss or take profit.
#[derive(Debug, Default)]
enum Level {
    /// The field is absent.
    #[default]
    Keep,
    /// It is `null`.
    Remove,
    /// It is a price.
    Set(String),
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Option::deserialize(deserializer)?.map_or(Self::Remove, Self::Set))
    }
}

/// Reads fields and collects what is wrong with them.
#[derive(Default)]
struct Fields(Vec<app::FieldError>);

impl Fields {
    fn price(&mut self, pointer: &str, text: Option<&str>, instrument: &Instrument) -> Option<Price> {
        text.and_then(|text| self.take(pointer, instrument.parse_price(text)))
    }

    fn quantity(&mut self, pointer: &str, text: &str, instrument: &Instrument) -> Option<Quantity> {
        self.take(pointer, instrument.parse_quantity(text))
    }

    fn change(&mut self, pointer: &str, level: &Level, instrument: &Instrument) -> Change {
        match level {
            Level::Keep => Change::Keep,
            Level::Remove => Change::Remove,
            Level::Set(text) => self.price(pointer, Some(text), instrument).map_or(Change::Keep, Change::Set),
        }
    }

    fn take<T>(&mut self, pointer: &str, read: Result<T, DecimalError>) -> Option<T> {
        match read {
            Ok(value) => Some(value),
            Err(error) => {
                self.fault(pointer, format!("This is {error}."));
                None
            }
        }
    }

    fn fault(&mut self, pointer: &str, say: String) {
        self.0.push(app::FieldError { pointer: pointer.to_owned(), code: "validation_failed", say });
    }

    fn done(self) -> Result<(), Problem> {
        if self.0.is_empty() { Ok(()) } else { Err(AppError::Invalid(self.0).into()) }
    }
}

/// `prices` are the pointers of the prices in the body, so that a refusal can name its field.
pub(super) async fn submit(
    web: &Web,
    caller: &Caller,
    account: AccountId,
    key: Key,
    act: Act,
    prices: &[&str],
) -> Result<(Done, Option<Left>), Problem> {
    let person = caller.actor()?.person;
    let origin = Origin { person: Some(person), request: Some(caller.context.request) };
    let submitted = web.desk.submit(Command { account, key, act }, origin).await?;
    if let Err(refusal @ Refusal::AgainstRule(place)) = submitted.outcome {
        let view = web.desk.view(account).await?;
        let rule = view.as_ref().and_then(|view| view.phase.rules.get(usize::try_from(place).ok()?));
        let words = view.as_ref().map(|view| view.program.words());
        let sentence = rule.zip(words).map(|(rule, words)| rule.sentence(&words)).unwrap_or_default();
        return Err(Problem::new(
            refusal.code(),
            format!("A rule of the program refuses the order. {sentence}"),
        ));
    }
    let done = submitted.outcome.map_err(|refusal| match (refusal, prices) {
        (Refusal::InstrumentNotInProgram, _) => Problem::from(refusal).at("/symbol"),
        (Refusal::QuantityOutOfRange, _) => Problem::from(refusal).at("/quantity"),
        (Refusal::PriceInvalid, [only]) => Problem::from(refusal).at(only),
        _ => refusal.into(),
    })?;
    Ok((done, submitted.left))
}

/// The pointers of the fields that were given.
fn given_prices(fields: [(&'static str, bool); 3]) -> Vec<&'static str> {
    fields.into_iter().filter(|(_, given)| *given).map(|(pointer, _)| pointer).collect()
}

async fn order(
    web: &Web,
    caller: &Caller,
    viewer: read::Viewer,
    id: AccountId,
    (done, left): (Done, Option<Left>),
) -> Result<OrderView, Problem> {
    let Done::Order(ticket) = done else { return Err(unexpected()) };
    if let Some(Left::Order(order)) = left {
        return order_view(&order, web.hub.instruments());
    }
    // A repeated answer: the order may be another one by now.
    let order = read::order(&web.store, caller.context.firm, viewer, id, ticket).await?;
    order_view(&order.ok_or_else(unexpected)?, web.hub.instruments())
}

async fn position(
    web: &Web,
    caller: &Caller,
    viewer: read::Viewer,
    currency: Currency,
    id: AccountId,
    (done, left): (Done, Option<Left>),
) -> Result<PositionView, Problem> {
    let Done::Position(ticket) = done else { return Err(unexpected()) };
    if let Some(Left::Position(position)) = left {
        return position_view(&position, web.hub.instruments(), currency);
    }
    let position = read::position(&web.store, caller.context.firm, viewer, id, ticket).await?;
    position_view(&position.ok_or_else(unexpected)?, web.hub.instruments(), currency)
}

fn unexpected() -> Problem {
    tracing::error!("a command was answered with what it did not do, or its effect is not stored");
    Problem::new("internal", "This is ours to mend. Nothing more is known here.")
}

fn unknown_instrument() -> Problem {
    Problem::from(Refusal::UnknownInstrument).at("/symbol")
}

fn instrument<'a>(web: &'a Web, symbol: &Symbol) -> Result<&'a Instrument, Problem> {
    web.hub.instruments().by_symbol(symbol).ok_or_else(unknown_instrument)
}

/// Places an order. A market order is filled, or refused, before the answer; a retry under the same key gets the
/// first answer.
#[utoipa::path(post, path = "/v1/accounts/{id}/orders", tag = "trading", request_body = NewOrder,
    params(("id" = String, Path), ("Idempotency-Key" = String, Header, description = "New for each new order")),
    responses((status = 201, body = OrderView), (status = 400, response = ProblemBody), (status = 401, response = ProblemBody),
    (status = 404, response = ProblemBody), (status = 409, response = ProblemBody), (status = 413, response = ProblemBody),
    (status = 415, response = ProblemBody), (status = 422, response = ProblemBody), (status = 503, response = ProblemBody)))]
async fn place_order(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<AccountId>,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<NewOrder>,
) -> Result<(StatusCode, Json<OrderView>), Problem> {
    let (_, viewer) = owned(&web, &caller, id).await?;
    let symbol = Symbol::parse(&body.symbol).map_err(|_| unknown_instrument())?;
    let traded = instrument(&web, &symbol)?;
    let mut fields = Fields::default();
    let quantity = fields.quantity("/quantity", &body.quantity, traded);
    let price = fields.price("/price", body.price.as_deref(), traded);
    let stop_loss = fields.price("/stop_loss", body.stop_loss.as_deref(), traded);
    let take_profit = fields.price("/take_profit", body.take_profit.as_deref(), traded);
    match (body.kind, body.price.is_some()) {
        (OrderKind::Market, true) => fields.fault("/price", "A market order has no price.".to_owned()),
        (OrderKind::Limit | OrderKind::Stop, false) => {
            fields.fault("/price", "This order needs a price.".to_owned());
        }
        _ => {}
    }
    fields.done()?;
    let kind = match (body.kind, price) {
        (OrderKind::Limit, Some(price)) => engine::OrderKind::Limit(price),
        (OrderKind::Stop, Some(price)) => engine::OrderKind::Stop(price),
        _ => engine::OrderKind::Market,
    };
    let quantity = quantity.ok_or(Refusal::QuantityOutOfRange)?;
    let act = Act::Place(Place { symbol, side: body.side.into(), kind, quantity, stop_loss, take_profit });
    let prices = given_prices([
        ("/price", body.price.is_some()),
        ("/stop_loss", body.stop_loss.is_some()),
        ("/take_profit", body.take_profit.is_some()),
    ]);
    let done = submit(&web, &caller, id, key, act, &prices).await?;
    Ok((StatusCode::CREATED, Json(order(&web, &caller, viewer, id, done).await?)))
}

/// Changes a working order.
#[utoipa::path(patch, path = "/v1/accounts/{id}/orders/{ticket}", tag = "trading", request_body = OrderChange,
    params(("id" = String, Path), ("ticket" = u32, Path), ("Idempotency-Key" = String, Header)),
    responses((status = 200, body = OrderView), (status = 400, response = ProblemBody), (status = 401, response = ProblemBody),
    (status = 404, response = ProblemBody), (status = 409, response = ProblemBody), (status = 422, response = ProblemBody),
    (status = 503, response = ProblemBody)))]
async fn change_order(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path((id, ticket)): Path<(AccountId, u32)>,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<OrderChange>,
) -> Result<Json<OrderView>, Problem> {
    let (_, viewer) = owned(&web, &caller, id).await?;
    let found = read::order(&web.store, caller.context.firm, viewer, id, Ticket(ticket)).await?;
    let found = found.ok_or(Refusal::OrderNotFound)?;
    let traded = web.hub.instruments().get(found.instrument).map_err(|_| unexpected())?;
    let mut fields = Fields::default();
    let price = fields.price("/price", body.price.as_deref(), traded);
    let stop_loss = fields.change("/stop_loss", &body.stop_loss, traded);
    let take_profit = fields.change("/take_profit", &body.take_profit, traded);
    fields.done()?;
    let prices = given_prices([
        ("/price", price.is_some()),
        ("/stop_loss", matches!(stop_loss, Change::Set(_))),
        ("/take_profit", matches!(take_profit, Change::Set(_))),
    ]);
    let act = Act::ChangeOrder { order: Ticket(ticket), price, stop_loss, take_profit };
    let done = submit(&web, &caller, id, key, act, &prices).await?;
    Ok(Json(order(&web, &caller, viewer, id, done).await?))
}

/// Takes a working order back.
#[utoipa::path(delete, path = "/v1/accounts/{id}/orders/{ticket}", tag = "trading",
    params(("id" = String, Path), ("ticket" = u32, Path), ("Idempotency-Key" = String, Header)),
    responses((status = 200, body = OrderView), (status = 400, response = ProblemBody), (status = 401, response = ProblemBody),
    (status = 404, response = ProblemBody), (status = 409, response = ProblemBody), (status = 503, response = ProblemBody)))]
async fn cancel_order(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path((id, ticket)): Path<(AccountId, u32)>,
    IdempotencyKey(key): IdempotencyKey,
) -> Result<Json<OrderView>, Problem> {
    let (_, viewer) = owned(&web, &caller, id).await?;
    let done = submit(&web, &caller, id, key, Act::Cancel { order: Ticket(ticket) }, &[]).await?;
    Ok(Json(order(&web, &caller, viewer, id, done).await?))
}

/// Changes the exits of a position.
#[utoipa::path(patch, path = "/v1/accounts/{id}/positions/{ticket}", tag = "trading", request_body = PositionChange,
    params(("id" = String, Path), ("ticket" = u32, Path), ("Idempotency-Key" = String, Header)),
    responses((status = 200, body = PositionView), (status = 400, response = ProblemBody), (status = 401, response = ProblemBody),
    (status = 404, response = ProblemBody), (status = 409, response = ProblemBody), (status = 422, response = ProblemBody),
    (status = 503, response = ProblemBody)))]
async fn change_position(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path((id, ticket)): Path<(AccountId, u32)>,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<PositionChange>,
) -> Result<Json<PositionView>, Problem> {
    let (owner, viewer) = owned(&web, &caller, id).await?;
    let traded = traded_position(&web, &caller, viewer, id, ticket).await?;
    let mut fields = Fields::default();
    let stop_loss = fields.change("/stop_loss", &body.stop_loss, traded);
    let take_profit = fields.change("/take_profit", &body.take_profit, traded);
    fields.done()?;
    let prices = given_prices([
        ("/price", false),
        ("/stop_loss", matches!(stop_loss, Change::Set(_))),
        ("/take_profit", matches!(take_profit, Change::Set(_))),
    ]);
    let act = Act::ChangePosition { position: Ticket(ticket), stop_loss, take_profit };
    let done = submit(&web, &caller, id, key, act, &prices).await?;
    Ok(Json(position(&web, &caller, viewer, owner.currency, id, done).await?))
}

/// Closes a position or a part of it at the current quote.
#[utoipa::path(post, path = "/v1/accounts/{id}/positions/{ticket}/close", tag = "trading", request_body = ClosePosition,
    params(("id" = String, Path), ("ticket" = u32, Path), ("Idempotency-Key" = String, Header)),
    responses((status = 200, body = PositionView), (status = 400, response = ProblemBody), (status = 401, response = ProblemBody),
    (status = 404, response = ProblemBody), (status = 409, response = ProblemBody), (status = 422, response = ProblemBody),
    (status = 503, response = ProblemBody)))]
async fn close_position(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path((id, ticket)): Path<(AccountId, u32)>,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<ClosePosition>,
) -> Result<Json<PositionView>, Problem> {
    let (owner, viewer) = owned(&web, &caller, id).await?;
    let quantity = match &body.quantity {
        Some(text) => {
            let traded = traded_position(&web, &caller, viewer, id, ticket).await?;
            let mut fields = Fields::default();
            let quantity = fields.quantity("/quantity", text, traded);
            fields.done()?;
            quantity
        }
        // The engine knows the rest, and whether there is such a position.
        None => None,
    };
    let done = submit(&web, &caller, id, key, Act::Close { position: Ticket(ticket), quantity }, &[]).await?;
    Ok(Json(position(&web, &caller, viewer, owner.currency, id, done).await?))
}

async fn traded_position<'a>(
    web: &'a Web,
    caller: &Caller,
    viewer: read::Viewer,
    id: AccountId,
    ticket: u32,
) -> Result<&'a Instrument, Problem> {
    let found = read::position(&web.store, caller.context.firm, viewer, id, Ticket(ticket)).await?;
    let found = found.ok_or(Refusal::PositionNotFound)?;
    web.hub.instruments().get(found.instrument).map_err(|_| unexpected())
}
