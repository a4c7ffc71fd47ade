//! The standing quotes, and what a position is worth at them.

use std::sync::Arc;

use kernel::{Amount, Currency, Overflow, Price, Quantity, Rounding, Side, Span, Timestamp, decimal, divide};
use serde::{Deserialize, Serialize};

use crate::watch::{self, Variable};
use crate::{EngineError, InstrumentId, Instruments};

/// Both sides of an instrument's price, as a source sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// Whose price.
    pub instrument: InstrumentId,
    /// What a seller gets.
    pub bid: Price,
    /// What a buyer pays.
    pub ask: Price,
    /// When the source says it was made.
    pub source_time: Timestamp,
}

/// A quote that passed the gate and stands until the next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Standing {
    /// The quote.
    pub quote: Quote,
    /// When the platform received it.
    pub received_at: Timestamp,
    /// Its place in the quote log.
    pub position: u64,
}

/// Instruments and their standing quotes.
#[derive(Debug, Clone)]
pub struct Market {
    instruments: Arc<Instruments>,
    standing: Vec<Option<Standing>>,
}

/// A result in an account's currency and how it got there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Worth {
    /// The price the position would close at.
    pub close_price: Price,
    /// Micro-units of the instrument's quote currency.
    pub in_quote: Amount,
    /// The rate used and its instrument, if the currencies differ.
    pub rate: Option<(InstrumentId, Price)>,
    /// In the account's currency.
    pub profit: Amount,
}

impl Market {
    /// A market without a single quote.
    pub fn new(instruments: Arc<Instruments>) -> Self {
        let standing = vec![None; instruments.len()];
        Self { instruments, standing }
    }

    /// The table.
    pub fn instruments(&self) -> &Arc<Instruments> {
        &self.instruments
    }

    /// The standing quote of an instrument.
    pub fn standing(&self, id: InstrumentId) -> Option<&Standing> {
        self.standing.get(usize::from(id.0)).and_then(Option::as_ref)
    }

    /// All places, for hashing and restoring.
    pub fn all(&self) -> &[Option<Standing>] {
        &self.standing
    }

    pub(crate) fn set(&mut self, standing: Standing) -> Result<(), Overflow> {
        let place = self.standing.get_mut(usize::from(standing.quote.instrument.0)).ok_or(Overflow)?;
        *place = Some(standing);
        Ok(())
    }

    /// Whether the last quote is too old to trade on.
    pub fn is_stale(&self, id: InstrumentId, now: Timestamp) -> bool {
        let age = self.standing(id).map(|standing| now.since(standing.received_at));
        let limit = self.instruments.get(id).map(|instrument| instrument.stale_after);
        match (age, limit) {
            (Some(Ok(age)), Ok(limit)) => age > limit,
            _ => true,
        }
    }

    /// The price at which a side closes: a long sells at the bid, a short buys at the ask.
    pub fn close_price(&self, id: InstrumentId, side: Side) -> Option<Price> {
        let quote = self.standing(id)?.quote;
        Some(match side {
            Side::Buy => quote.bid,
            Side::Sell => quote.ask,
        })
    }

    /// What closing a position now would bring, exactly, rounded only where a conversion divides (downwards).
    pub fn worth(
        &self,
        id: InstrumentId,
        side: Side,
        quantity: Quantity,
        open: Price,
        currency: Currency,
    ) -> Result<Worth, EngineError> {
        let close_price = self.close_price(id, side).ok_or(EngineError::MissingPrice)?;
        self.worth_at(id, side, quantity, open, close_price, currency)
    }

    /// The standing price of one side of an instrument.
    pub(crate) fn price(&self, variable: Variable) -> Option<i64> {
        let instrument = InstrumentId(u16::try_from(variable >> 1_u32).ok()?);
        let quote = self.standing(instrument)?.quote;
        Some(if variable.is_multiple_of(2) { quote.bid.0 } else { quote.ask.0 })
    }

    /// What closing a position at a price would bring, converted at the standing rate.
    pub fn worth_at(
        &self,
        id: InstrumentId,
        side: Side,
        quantity: Quantity,
        open: Price,
        close_price: Price,
        currency: Currency,
    ) -> Result<Worth, EngineError> {
        self.worth_by(id, side, quantity, open, close_price, currency, |variable| self.price(variable))
    }

    /// What closing a position at a price would bring, converted at given rates.
    #[expect(clippy::too_many_arguments, reason = "a position's parts, and the prices")]
    pub(crate) fn worth_by(
        &self,
        id: InstrumentId,
        side: Side,
        quantity: Quantity,
        open: Price,
        close_price: Price,
        currency: Currency,
        price: impl Fn(Variable) -> Option<i64>,
    ) -> Result<Worth, EngineError> {
        let moved = match side {
            Side::Buy => close_price.0.checked_sub(open.0),
            Side::Sell => open.0.checked_sub(close_price.0),
        };
        let in_quote = self.in_quote(id, moved.ok_or(Overflow)?, quantity)?;
        let (profit, rate) = self.convert(in_quote, self.instruments.get(id)?.quote, currency, price)?;
        Ok(Worth { close_price, in_quote, rate, profit })
    }

    /// The margin that a position of this size opened at this price binds: its value converted at the dearer
    /// side, over the leverage, rounded up to the minor unit.
    pub fn margin(
        &self,
        id: InstrumentId,
        quantity: Quantity,
        price: Price,
        leverage: u32,
        currency: Currency,
    ) -> Result<Amount, EngineError> {
        let value = self.in_quote(id, price.0, quantity)?.negated()?;
        let standing = |variable| self.price(variable);
        let (value, _) = self.convert(value, self.instruments.get(id)?.quote, currency, standing)?;
        let margin = value.negated()?.scaled(1, i64::from(leverage), Rounding::Ceiling)?;
        Ok(margin.rounded(currency, Rounding::Ceiling)?)
    }

    fn in_quote(&self, id: InstrumentId, points: i64, quantity: Quantity) -> Result<Amount, Overflow> {
        let value = i128::from(self.instruments.point_value(id)?);
        let product =
            value.checked_mul(i128::from(points)).and_then(|it| it.checked_mul(i128::from(quantity.0)));
        Amount::from_wide(product.ok_or(Overflow)?)
    }

    /// Converts at the side of the rate that applies: what is gained is sold at the bid, what is owed is bought
    /// at the ask. Rounded down to a micro-unit.
    fn convert(
        &self,
        amount: Amount,
        from: Currency,
        to: Currency,
        price: impl Fn(Variable) -> Option<i64>,
    ) -> Result<(Amount, Option<(InstrumentId, Price)>), EngineError> {
        if from == to {
            return Ok((amount, None));
        }
        let route = self.instruments.route(from, to).ok_or(EngineError::MissingPrice)?;
        let side = |variable| price(variable).map(Price).ok_or(EngineError::MissingPrice);
        let (bid, ask) = (watch::bid(route.instrument.0), watch::ask(route.instrument.0));
        let unit =
            decimal::power_of_ten(self.instruments.get(route.instrument)?.price_decimals).ok_or(Overflow)?;
        let gains = !amount.is_negative();
        let micros = i128::from(amount.micros());
        let (rate, numerator, denominator) = if route.multiply {
            let rate = side(if gains { bid } else { ask })?;
            (rate, micros.checked_mul(i128::from(rate.0)), unit)
        } else {
            let rate = side(if gains { ask } else { bid })?;
            (rate, micros.checked_mul(unit), i128::from(rate.0))
        };
        let converted = divide(numerator.ok_or(Overflow)?, denominator, Rounding::Floor)?;
        Ok((Amount::from_wide(converted)?, Some((route.instrument, rate))))
    }

    /// Whether everything needed to trade an instrument in a currency has a price, and whether all of it is
    /// fresh.
    pub fn readiness(&self, id: InstrumentId, currency: Currency, now: Timestamp) -> Readiness {
        let route = self
            .instruments
            .get(id)
            .ok()
            .and_then(|instrument| self.instruments.route(instrument.quote, currency));
        let needed = [Some(id), route.map(|route| route.instrument)];
        let mut readiness = Readiness::Ready;
        for id in needed.into_iter().flatten() {
            if self.standing(id).is_none() {
                return Readiness::NoQuote;
            }
            if self.is_stale(id, now) {
                readiness = Readiness::Stale;
            }
        }
        readiness
    }

    /// Age of the last quote.
    pub fn age(&self, id: InstrumentId, now: Timestamp) -> Option<Span> {
        now.since(self.standing(id)?.received_at).ok()
    }
}

/// Whether an instrument can be traded now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Yes.
    Ready,
    /// It, or the rate it converts at, never had a quote.
    NoQuote,
    /// It, or the rate it converts at, has only an old one.
    Stale,
}
