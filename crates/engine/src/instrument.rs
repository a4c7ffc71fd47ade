//! What can be traded, and the exact size of its points.

use std::collections::BTreeMap;

use kernel::{Currency, DecimalError, Overflow, Price, Quantity, Rounding, Span, Symbol, decimal, divide};
use serde::{Deserialize, Serialize};

/// The place of an instrument in its [`Instruments`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct InstrumentId(pub u16);

/// An instrument's terms.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instrument {
    /// Its name.
    pub symbol: Symbol,
    /// For people.
    pub description: String,
    /// The feed that prices it; quotes of others are not taken.
    pub source: String,
    /// What one lot holds: a currency's code or the name of a good.
    pub base: String,
    /// The currency of its price.
    pub quote: Currency,
    /// Digits after the point of a price; one point is the last of them.
    pub price_decimals: u8,
    /// Digits after the point of a size in lots.
    pub quantity_decimals: u8,
    /// The lowest price that can be meant; quotes and orders below it are refused.
    pub price_min: Price,
    /// The highest price that can be meant; quotes and orders above it are refused.
    pub price_max: Price,
    /// Units in one lot.
    pub contract_size: u32,
    /// The smallest order.
    pub quantity_min: Quantity,
    /// The steps between sizes.
    pub quantity_step: Quantity,
    /// The largest order.
    pub quantity_max: Quantity,
    /// Age of the last quote from which on the market counts as stale.
    pub stale_after: Span,
}

/// The worth of an order at its instrument's highest price stays below this many micro-units of its quote currency.
const MOST_WORTH: i128 = 1 << 55;
/// What an account holds and waits for, at the worst prices and rates in range, stays below this many micro-units of
/// its currency: every sum over it fits 64 bits.
pub(crate) const MOST_EXPOSURE: i128 = 1 << 61;

impl Instrument {
    /// Micro-units of the quote currency that one point moves one unit of quantity. `None` if it is not whole.
    pub fn point_value(&self) -> Option<i64> {
        let scale = self.price_decimals.checked_add(self.quantity_decimals)?;
        let micros = i128::from(self.contract_size).checked_mul(1_000_000)?;
        let divisor = decimal::power_of_ten(scale)?;
        if micros.checked_rem(divisor)? != 0 {
            return None;
        }
        i64::try_from(micros.checked_div(divisor)?).ok()
    }

    /// Whether a price can be meant.
    pub fn in_range(&self, price: Price) -> bool {
        self.price_min <= price && price <= self.price_max
    }

    /// Reads a price in this instrument's digits.
    pub fn parse_price(&self, text: &str) -> Result<Price, DecimalError> {
        decimal::parse(text, self.price_decimals).map(Price)
    }

    /// Reads a size in lots.
    pub fn parse_quantity(&self, text: &str) -> Result<Quantity, DecimalError> {
        decimal::parse(text, self.quantity_decimals).map(Quantity)
    }

    /// Prints a price with all its digits.
    pub fn price_text(&self, price: Price) -> String {
        decimal::format(price.0, self.price_decimals, self.price_decimals)
    }

    /// A size in lots.
    pub fn lots(&self, quantity: Quantity) -> Result<kernel::Lots, Overflow> {
        kernel::Lots::from_steps(quantity.0, self.quantity_decimals)
    }

    /// Prints a size in lots with all its digits.
    pub fn quantity_text(&self, quantity: Quantity) -> String {
        decimal::format(quantity.0, self.quantity_decimals, self.quantity_decimals)
    }
}

/// All instruments of an installation, by symbol, with the ways to convert between their currencies.
#[derive(Debug, Clone)]
pub struct Instruments {
    list: Vec<Instrument>,
    point_values: Vec<i64>,
    by_symbol: BTreeMap<Symbol, InstrumentId>,
    routes: BTreeMap<(Currency, Currency), Route>,
}

/// How one currency becomes another: through one instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// The instrument whose price is the rate.
    pub instrument: InstrumentId,
    /// Whether the price multiplies (the instrument's base is the currency converted from) or divides.
    pub multiply: bool,
}

/// An instrument table that cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InstrumentError {
    /// A point of the smallest size is not a whole number of micro-units.
    #[error("{0}: a point of the smallest size is not a whole micro-unit")]
    PointValue(Symbol),
    /// Sizes are not `0 < min <= max` in whole steps.
    #[error("{0}: sizes must be above 0, in whole steps, the smallest not above the largest")]
    Quantities(Symbol),
    /// The prices are not `0 < min < max`.
    #[error("{0}: prices must be above 0, the lowest below the highest")]
    Prices(Symbol),
    /// The largest order at the highest price leaves the exact range.
    #[error("{0}: the largest order at the highest price leaves the exact range; make one of them smaller")]
    TooLarge(Symbol),
    /// Two with one name.
    #[error("{0} stands twice in the table")]
    Duplicate(Symbol),
    /// More than 65,536.
    #[error("too many instruments")]
    TooMany,
}

impl Instruments {
    /// Checks and indexes a table.
    pub fn new(mut list: Vec<Instrument>) -> Result<Self, InstrumentError> {
        list.sort_by(|left, right| left.symbol.cmp(&right.symbol));
        let mut by_symbol = BTreeMap::new();
        let mut routes = BTreeMap::new();
        let mut point_values = Vec::with_capacity(list.len());
        for (index, instrument) in list.iter().enumerate() {
            let id = InstrumentId(u16::try_from(index).map_err(|_| InstrumentError::TooMany)?);
            let symbol = || instrument.symbol.clone();
            let value = instrument.point_value().ok_or_else(|| InstrumentError::PointValue(symbol()))?;
            let step = instrument.quantity_step.0;
            let whole = |quantity: Quantity| quantity.0.checked_rem(step) == Some(0);
            let (min, max) = (instrument.quantity_min, instrument.quantity_max);
            if min.0 <= 0 || min > max || step <= 0 || !whole(min) || !whole(max) {
                return Err(InstrumentError::Quantities(symbol()));
            }
            let (lowest, highest) = (instrument.price_min, instrument.price_max);
            if lowest.0 <= 0 || lowest >= highest {
                return Err(InstrumentError::Prices(symbol()));
            }
            let largest = i128::from(value).checked_mul(i128::from(max.0));
            let largest = largest.and_then(|per_point| per_point.checked_mul(i128::from(highest.0)));
            if largest.is_none_or(|largest| largest > MOST_WORTH) {
                return Err(InstrumentError::TooLarge(symbol()));
            }
            if by_symbol.insert(symbol(), id).is_some() {
                return Err(InstrumentError::Duplicate(symbol()));
            }
            if let Ok(base) = Currency::parse(&instrument.base) {
                routes.insert((base, instrument.quote), Route { instrument: id, multiply: true });
                routes.insert((instrument.quote, base), Route { instrument: id, multiply: false });
            }
            point_values.push(value);
        }
        Ok(Self { list, point_values, by_symbol, routes })
    }

    /// The id of a symbol.
    pub fn find(&self, symbol: &Symbol) -> Option<InstrumentId> {
        self.by_symbol.get(symbol).copied()
    }

    /// An instrument by id. Ids come from this table only, so a miss is a bug and reads as [`Overflow`].
    pub fn get(&self, id: InstrumentId) -> Result<&Instrument, Overflow> {
        self.list.get(usize::from(id.0)).ok_or(Overflow)
    }

    /// An instrument by symbol.
    pub fn by_symbol(&self, symbol: &Symbol) -> Option<&Instrument> {
        self.get(self.find(symbol)?).ok()
    }

    /// Micro-units of the quote currency per point and unit of quantity.
    pub fn point_value(&self, id: InstrumentId) -> Result<i64, Overflow> {
        self.point_values.get(usize::from(id.0)).copied().ok_or(Overflow)
    }

    /// The most that a size of an instrument can ever be worth in a currency, in micro-units: at its highest price
    /// and the worst rate in range.
    pub(crate) fn most_worth(
        &self,
        id: InstrumentId,
        quantity: Quantity,
        to: Currency,
    ) -> Result<i128, Overflow> {
        let instrument = self.get(id)?;
        let per_point =
            i128::from(self.point_value(id)?).checked_mul(i128::from(quantity.0)).ok_or(Overflow)?;
        let worth = per_point.checked_mul(i128::from(instrument.price_max.0)).ok_or(Overflow)?;
        let Some(route) = self.route(instrument.quote, to).filter(|_| instrument.quote != to) else {
            return Ok(worth);
        };
        let rate = self.get(route.instrument)?;
        let unit = decimal::power_of_ten(rate.price_decimals).ok_or(Overflow)?;
        let (numerator, denominator) = if route.multiply {
            (i128::from(rate.price_max.0), unit)
        } else {
            (unit, i128::from(rate.price_min.0))
        };
        divide(worth.checked_mul(numerator).ok_or(Overflow)?, denominator, Rounding::Ceiling)
    }

    /// The way from one currency to another; `None` if they are the same or there is none.
    pub fn route(&self, from: Currency, to: Currency) -> Option<Route> {
        self.routes.get(&(from, to)).copied()
    }

    /// Whether results in an instrument can be booked in a currency.
    pub fn converts(&self, id: InstrumentId, to: Currency) -> bool {
        self.get(id)
            .is_ok_and(|instrument| instrument.quote == to || self.route(instrument.quote, to).is_some())
    }

    /// All, by symbol.
    pub fn iter(&self) -> impl Iterator<Item = (InstrumentId, &Instrument)> {
        (0_u16..).map(InstrumentId).zip(&self.list)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.list.len()
    }

    /// None at all.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }
}
