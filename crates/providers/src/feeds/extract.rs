//! The market that ships with the platform, see `assets/ticks/README.md`.

use super::ticks::{Archive, TickDay, TickError, day_at};

/// EURUSD (5 decimals) and XAUUSD (3 decimals) of Oanda around the US payrolls of 2 May 2014, from inside the
/// binary. Play it with `ReplayFeed::new(Recording::read(merge(extract()?, &decimals)?)?, ...)`.
pub fn extract() -> Result<Vec<TickDay>, TickError> {
    [
        (
            "eurusd",
            "assets/ticks/oanda/eurusd/20140502_quote.zip",
            include_bytes!("../../../../assets/ticks/oanda/eurusd/20140502_quote.zip").as_slice(),
        ),
        (
            "xauusd",
            "assets/ticks/oanda/xauusd/20140502_quote.zip",
            include_bytes!("../../../../assets/ticks/oanda/xauusd/20140502_quote.zip").as_slice(),
        ),
    ]
    .into_iter()
    .map(|(symbol, name, bytes)| day_at("oanda", symbol, name.into(), Archive::Embedded { name, bytes }))
    .collect()
}
