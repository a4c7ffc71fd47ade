//! The instrument table, read from TOML.

use anyhow::Context as _;
use engine::{Instrument, Instruments};
use kernel::{Currency, Price, Quantity, Span, Symbol, decimal};
use serde::Deserialize;

/// The table that ships with the binary.
const SHIPPED: &str = include_str!("../../../assets/instruments.toml");

/// Lots have two digits after the point.
const QUANTITY_DECIMALS: u8 = 2;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    instrument: Vec<Row>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    symbol: Symbol,
    description: String,
    source: String,
    base: String,
    quote: Currency,
    price_decimals: u8,
    price_min: String,
    price_max: String,
    contract_size: u32,
    quantity_max: String,
    stale_after_seconds: i32,
}

/// The shipped table.
pub fn shipped() -> anyhow::Result<Instruments> {
    read(SHIPPED)
}

/// Reads a table.
pub fn read(text: &str) -> anyhow::Result<Instruments> {
    let table: Table = toml::from_str(text).context("reading the instrument table")?;
    let mut list = Vec::with_capacity(table.instrument.len());
    for row in table.instrument {
        let most = decimal::parse(&row.quantity_max, QUANTITY_DECIMALS)
            .with_context(|| format!("reading quantity_max of {}", row.symbol))?;
        let price = |name: &str, text: &str| {
            let price = decimal::parse(text, row.price_decimals).map(Price);
            price.with_context(|| format!("reading {name} of {}", row.symbol))
        };
        list.push(Instrument {
            price_min: price("price_min", &row.price_min)?,
            price_max: price("price_max", &row.price_max)?,
            symbol: row.symbol,
            description: row.description,
            source: row.source,
            base: row.base,
            quote: row.quote,
            price_decimals: row.price_decimals,
            quantity_decimals: QUANTITY_DECIMALS,
            contract_size: row.contract_size,
            quantity_min: Quantity(1),
            quantity_step: Quantity(1),
            quantity_max: Quantity(most),
            stale_after: Span::from_seconds(row.stale_after_seconds),
        });
    }
    Instruments::new(list).context("checking the instrument table")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_shipped_table_is_sound() {
        assert_eq!(super::shipped().unwrap().len(), 4);
    }
}
