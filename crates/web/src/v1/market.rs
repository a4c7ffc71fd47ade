//! Instruments, quotes and candles.

use std::convert::Infallible;

use axum::Json;
use axum::extract::State;
use axum::response::sse::{Event, Sse};
use engine::InstrumentId;
use futures_util::Stream;
use kernel::Symbol;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Items;
use super::text::time;
use super::words::Interval;
use crate::Web;
use crate::extract::{Caller, Query};
use crate::live::{self, Throttle};
use crate::problem::{Problem, ProblemBody};

const MOST_CANDLES: usize = app::market::MOST_CANDLES;

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(instruments))
        .routes(routes!(quotes))
        .routes(routes!(candles))
        .routes(routes!(market_stream))
}

/// What can be traded.
#[derive(Debug, Serialize, ToSchema)]
pub struct Instrument {
    /// Its name.
    symbol: String,
    /// For people.
    description: String,
    /// Digits after the point of a price.
    price_decimals: u8,
    /// Smallest order, in lots.
    quantity_min: String,
    /// Steps between sizes, in lots.
    quantity_step: String,
    /// Largest order, in lots.
    quantity_max: String,
    /// Units in a lot.
    contract_size: u32,
    /// What a lot holds.
    base_currency: String,
    /// Currency of its price.
    quote_currency: &'static str,
}

/// Both sides of a price.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Quote {
    /// Whose.
    symbol: String,
    /// What a seller gets.
    bid: String,
    /// What a buyer pays.
    ask: String,
    /// When the platform received it.
    at: String,
    /// When the source says it was made.
    source_time: String,
    /// Whether it is too old to trade on.
    stale: bool,
}

/// The bid over one interval.
#[derive(Debug, Serialize, ToSchema)]
pub struct Candle {
    /// Its start, in seconds since 1970.
    time: i64,
    /// First bid.
    open: String,
    /// Highest bid.
    high: String,
    /// Lowest bid.
    low: String,
    /// Last bid.
    close: String,
}

/// Which candles.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// Whose.
    symbol: String,
    /// The length of each.
    #[param(inline)]
    interval: Interval,
    /// How many of the newest, at most 1000.
    limit: Option<usize>,
}

fn current(web: &Web) -> Vec<Quote> {
    let now = web.clock.now();
    let render = |(id, quote): (InstrumentId, app::trading::LoggedQuote)| {
        let instrument = web.hub.instruments().get(id).ok()?;
        Some(Quote {
            symbol: quote.symbol.to_string(),
            bid: instrument.price_text(quote.bid),
            ask: instrument.price_text(quote.ask),
            at: time(quote.received_at),
            source_time: time(quote.source_time),
            stale: web.hub.is_stale(id, &quote, now),
        })
    };
    web.hub.quotes().into_iter().filter_map(render).collect()
}

/// Every instrument, by symbol.
#[utoipa::path(get, path = "/v1/market/instruments", tag = "market", responses((status = 200, body = Items<Instrument>)))]
async fn instruments(State(web): State<Web>) -> Json<Items<Instrument>> {
    let render = |instrument: &engine::Instrument| Instrument {
        symbol: instrument.symbol.to_string(),
        description: instrument.description.clone(),
        price_decimals: instrument.price_decimals,
        quantity_min: instrument.quantity_text(instrument.quantity_min),
        quantity_step: instrument.quantity_text(instrument.quantity_step),
        quantity_max: instrument.quantity_text(instrument.quantity_max),
        contract_size: instrument.contract_size,
        base_currency: instrument.base.clone(),
        quote_currency: instrument.quote.code(),
    };
    Json(Items { items: web.hub.instruments().iter().map(|(_, instrument)| render(instrument)).collect() })
}

/// The latest quote of every instrument that has one.
#[utoipa::path(get, path = "/v1/market/quotes", tag = "market", responses((status = 200, body = Items<Quote>)))]
async fn quotes(State(web): State<Web>) -> Json<Items<Quote>> {
    Json(Items { items: current(&web) })
}

/// The newest candles, oldest first.
#[utoipa::path(get, path = "/v1/market/candles", tag = "market", params(Wanted), responses(
    (status = 200, body = Items<Candle>), (status = 422, response = ProblemBody)))]
async fn candles(
    State(web): State<Web>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Items<Candle>>, Problem> {
    let unknown = || Problem::new("unknown_instrument", "There is no such instrument.");
    let symbol = Symbol::parse(&wanted.symbol).map_err(|_| unknown())?;
    let instrument = web.hub.instruments().by_symbol(&symbol).ok_or_else(unknown)?;
    let limit = wanted.limit.unwrap_or(500).clamp(1, MOST_CANDLES);
    let candles = web.hub.candles(&symbol, wanted.interval.word(), limit).ok_or_else(unknown)?;
    let render = |candle: app::market::Candle| Candle {
        time: candle.time,
        open: instrument.price_text(candle.open),
        high: instrument.price_text(candle.high),
        low: instrument.price_text(candle.low),
        close: instrument.price_text(candle.close),
    };
    Ok(Json(Items { items: candles.into_iter().map(render).collect() }))
}

/// Quotes as they come, at most five times a second, as server-sent events named `quotes`.
#[utoipa::path(get, path = "/v1/market/stream", tag = "market", responses(
    (status = 200, content_type = "text/event-stream", body = Vec<Quote>)))]
async fn market_stream(
    State(web): State<Web>,
    _: Caller,
) -> Sse<impl Stream<Item = Result<Event, Infallible>>> {
    let changes = web.hub.changes();
    let web_for_next = web.clone();
    let stream = futures_util::stream::unfold(
        (changes, Throttle::new(), true),
        move |(mut changes, mut throttle, first)| {
            let web = web_for_next.clone();
            async move {
                if !first {
                    changes.changed().await.ok()?;
                }
                throttle.wait().await;
                changes.borrow_and_update();
                let event = live::event("quotes", &current(&web));
                Some((Ok(event), (changes, throttle, false)))
            }
        },
    );
    live::until_stopped(&web, stream)
}
