//! Between columns and the types of the domain.

use app::latency::{OfDay, Received, Until};
use engine::{FillReason, InstrumentId, Instruments, Order, OrderKind, OrderState, Position, Status, Ticket};
use kernel::{Amount, Currency, Money, Price, Quantity, Side, Symbol, Timestamp};
use rules::VersionHash;
use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::types::Oid;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef};
use sqlx::{Decode, Encode, Postgres, Type};
use uuid::Uuid;

use crate::Inconsistent;

/// A `timestamptz`, exactly: both sides count whole microseconds, only from different years.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct At(pub Timestamp);

/// 2000-01-01T00:00:00Z, where PostgreSQL counts from.
const POSTGRES_EPOCH: i64 = 946_684_800_000_000;

impl Type<Postgres> for At {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1184))
    }
}

impl PgHasArrayType for At {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(Oid(1185))
    }
}

impl Encode<'_, Postgres> for At {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        let micros = self.0.micros().checked_sub(POSTGRES_EPOCH);
        // The two ends of the range mean infinity to the server.
        let micros = micros.filter(|micros| *micros != i64::MIN && *micros != i64::MAX);
        let micros = micros.ok_or("an instant outside what the database can keep")?;
        Encode::<Postgres>::encode(micros, buffer)
    }
}

impl Decode<'_, Postgres> for At {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        if value.format() != PgValueFormat::Binary {
            return Err("an instant in text form".into());
        }
        let micros = <i64 as Decode<Postgres>>::decode(value)?;
        let micros = (micros != i64::MIN && micros != i64::MAX).then_some(micros);
        let micros = micros.and_then(|micros| micros.checked_add(POSTGRES_EPOCH));
        micros.map(Timestamp::from_micros).map(Self).ok_or_else(|| "an instant out of range".into())
    }
}

impl From<At> for Timestamp {
    fn from(at: At) -> Self {
        at.0
    }
}

/// One column of some rows, for `unnest`.
pub(crate) fn column<'r, R, T>(rows: &'r [R], value: impl Fn(&'r R) -> T) -> Vec<T> {
    rows.iter().map(value).collect()
}

pub(crate) fn to_json<T: Serialize>(table: &'static str, value: &T) -> Result<String, Inconsistent> {
    serde_json::to_string(value).map_err(Inconsistent::from(table))
}

pub(crate) fn from_json<T: DeserializeOwned>(table: &'static str, text: &str) -> Result<T, Inconsistent> {
    serde_json::from_str(text).map_err(Inconsistent::from(table))
}

pub(crate) fn version(table: &'static str, text: &str) -> Result<VersionHash, Inconsistent> {
    VersionHash::parse(text).ok_or_else(|| Inconsistent::new(table, format!("{text:?} is no version")))
}

pub(crate) fn money(table: &'static str, minor: i64, currency: &str) -> Result<Money, Inconsistent> {
    Currency::parse(currency)
        .map(|currency| Money::from_minor(minor, currency))
        .map_err(Inconsistent::from(table))
}

pub(crate) fn counter(table: &'static str, number: i64) -> Result<u32, Inconsistent> {
    u32::try_from(number).map_err(Inconsistent::from(table))
}

pub(crate) fn ticket(table: &'static str, number: i64) -> Result<Ticket, Inconsistent> {
    counter(table, number).map(Ticket)
}

pub(crate) fn size(table: &'static str, number: i32) -> Result<usize, Inconsistent> {
    usize::try_from(number).map_err(Inconsistent::from(table))
}

pub(crate) fn place(table: &'static str, position: i64) -> Result<u64, Inconsistent> {
    u64::try_from(position).map_err(Inconsistent::from(table))
}

pub(crate) fn to_place(table: &'static str, position: u64) -> Result<i64, Inconsistent> {
    i64::try_from(position).map_err(Inconsistent::from(table))
}

pub(crate) fn instrument(
    table: &'static str,
    instruments: &Instruments,
    symbol: &str,
) -> Result<InstrumentId, Inconsistent> {
    let unknown = || Inconsistent::new(table, format!("{symbol:?} is not in the table of instruments"));
    Symbol::parse(symbol).ok().and_then(|symbol| instruments.find(&symbol)).ok_or_else(unknown)
}

pub(crate) fn symbol(
    table: &'static str,
    instruments: &Instruments,
    id: InstrumentId,
) -> Result<String, Inconsistent> {
    let found = instruments
        .get(id)
        .map_err(|_| Inconsistent::new(table, format!("no instrument has place {}", id.0)))?;
    Ok(found.symbol.as_str().to_owned())
}

/// The value whose word a column holds.
pub(crate) fn by_word<T: Copy>(
    table: &'static str,
    all: &[T],
    word_of: impl Fn(T) -> &'static str,
    word: &str,
) -> Result<T, Inconsistent> {
    let found = all.iter().copied().find(|value| word_of(*value) == word);
    found.ok_or_else(|| Inconsistent::new(table, format!("{word:?} is none of its words")))
}

pub(crate) fn side(table: &'static str, word: &str) -> Result<Side, Inconsistent> {
    by_word(table, &[Side::Buy, Side::Sell], Side::word, word)
}

pub(crate) fn status(word: &str) -> Result<Status, Inconsistent> {
    by_word(
        "accounts",
        &[Status::Active, Status::Passed, Status::Breached, Status::Expired],
        Status::word,
        word,
    )
}

pub(crate) fn fill_reason(table: &'static str, word: &str) -> Result<FillReason, Inconsistent> {
    const ALL: [FillReason; 8] = [
        FillReason::Market,
        FillReason::Limit,
        FillReason::Stop,
        FillReason::Close,
        FillReason::StopLoss,
        FillReason::TakeProfit,
        FillReason::StopOut,
        FillReason::Liquidation,
    ];
    by_word(table, &ALL, FillReason::word, word)
}

fn order_kind(word: &str, price: Option<i64>) -> Result<OrderKind, Inconsistent> {
    match (word, price.map(Price)) {
        ("market", None) => Ok(OrderKind::Market),
        ("limit", Some(price)) => Ok(OrderKind::Limit(price)),
        ("stop", Some(price)) => Ok(OrderKind::Stop(price)),
        (word, price) => {
            Err(Inconsistent::new("orders", format!("no order is {word:?} with price {price:?}")))
        }
    }
}

fn order_state(state: &str, reason: Option<&str>) -> Result<OrderState, Inconsistent> {
    const ALL: [OrderState; 8] = [
        OrderState::Working,
        OrderState::Filled,
        OrderState::Cancelled,
        OrderState::NoMargin,
        OrderState::AccountEnded,
        OrderState::HeldBack,
        OrderState::AgainstRule,
        OrderState::AccountHeld,
    ];
    let found = ALL.into_iter().find(|known| known.word() == state && known.reason() == reason);
    found.ok_or_else(|| Inconsistent::new("orders", format!("no order is {state:?} because of {reason:?}")))
}

/// A row of `positions`.
pub(crate) struct PositionRow {
    pub account_id: Uuid,
    pub ticket: i64,
    pub symbol: String,
    pub side: String,
    pub quantity: i64,
    pub opened_quantity: i64,
    pub open_price: i64,
    pub opened_at: At,
    pub stop_loss: Option<i64>,
    pub take_profit: Option<i64>,
    pub margin_micros: i64,
    pub commission_micros: i64,
    pub realised_micros: i64,
    pub closed_at: Option<At>,
    pub close_price: Option<i64>,
    pub close_reason: Option<String>,
}

impl PositionRow {
    pub fn read(self, instruments: &Instruments) -> Result<Position, Inconsistent> {
        let table = "positions";
        Ok(Position {
            ticket: ticket(table, self.ticket)?,
            instrument: instrument(table, instruments, &self.symbol)?,
            side: side(table, &self.side)?,
            quantity: Quantity(self.quantity),
            opened_quantity: Quantity(self.opened_quantity),
            open_price: Price(self.open_price),
            opened_at: self.opened_at.into(),
            stop_loss: self.stop_loss.map(Price),
            take_profit: self.take_profit.map(Price),
            margin: Amount::from_micros(self.margin_micros),
            commission: Amount::from_micros(self.commission_micros),
            realised: Amount::from_micros(self.realised_micros),
            closed_at: self.closed_at.map(Timestamp::from),
            close_price: self.close_price.map(Price),
            close_reason: self.close_reason.map(|word| fill_reason(table, &word)).transpose()?,
        })
    }
}

/// A row of `orders`.
pub(crate) struct OrderRow {
    pub account_id: Uuid,
    pub ticket: i64,
    pub symbol: String,
    pub side: String,
    pub kind: String,
    pub price: Option<i64>,
    pub quantity: i64,
    pub stop_loss: Option<i64>,
    pub take_profit: Option<i64>,
    pub state: String,
    pub reason: Option<String>,
    pub placed_at: At,
    pub done_at: Option<At>,
    pub position_ticket: Option<i64>,
}

impl OrderRow {
    pub fn read(self, instruments: &Instruments) -> Result<Order, Inconsistent> {
        let table = "orders";
        Ok(Order {
            ticket: ticket(table, self.ticket)?,
            instrument: instrument(table, instruments, &self.symbol)?,
            side: side(table, &self.side)?,
            kind: order_kind(&self.kind, self.price)?,
            quantity: Quantity(self.quantity),
            stop_loss: self.stop_loss.map(Price),
            take_profit: self.take_profit.map(Price),
            state: order_state(&self.state, self.reason.as_deref())?,
            placed_at: self.placed_at.into(),
            done_at: self.done_at.map(Timestamp::from),
            position: self.position_ticket.map(|number| ticket(table, number)).transpose()?,
        })
    }
}

/// A row of `account_latencies`, its day counted from the epoch.
pub(crate) struct LatencyRow {
    pub firm_id: Uuid,
    pub account_id: Uuid,
    pub day: i32,
    pub received: String,
    pub until: String,
    pub bucket: i16,
    pub count: i64,
    pub longest_us: i64,
}

impl LatencyRow {
    /// Adds its count to those of its day.
    pub fn add_to(&self, day: &mut OfDay) -> Result<(), Inconsistent> {
        let table = "account_latencies";
        let received = Received::ALL.into_iter().find(|it| it.word() == self.received);
        let until = Until::ALL.into_iter().find(|it| it.word() == self.until);
        let unknown = || Inconsistent::new(table, format!("{} until {}", self.received, self.until));
        let kind = received.zip(until).ok_or_else(unknown)?;
        let bucket = u16::try_from(self.bucket).map_err(Inconsistent::from(table))?;
        let (count, longest) = (self.count.unsigned_abs(), self.longest_us.unsigned_abs());
        day.entry(kind).or_default().add_many(bucket, count, 0, longest);
        Ok(())
    }
}
