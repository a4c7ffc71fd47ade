//! `tradesense replay --ticks DIR`: every recorded tick through the gate and the engine, as fast as it goes, and a
//! count of what became of them.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use engine::{Engine, Gate, GateRefusal, Input, Instrument, Instruments, Quote};
use kernel::{Clock, Currency, Price, Quantity, Span, Symbol};
use providers::feeds::ticks::{self, TickDay, TickFile};
use serde::Serialize;

/// What became of the ticks.
#[derive(Debug, Serialize)]
pub struct Census {
    /// Ticks read, judged by the gate and applied by the engine in a second, one thread.
    pub quotes_per_second: u64,
    /// By source and symbol.
    pub sources: Vec<Source>,
}

/// The ticks of one symbol from one source.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub struct Source {
    /// The source.
    pub source: String,
    /// The symbol.
    pub symbol: String,
    /// Files read.
    pub files: u64,
    /// Rows in them.
    pub rows: u64,
    /// Let in by the gate.
    pub accepted: u64,
    /// Refused by the gate.
    pub refused: u64,
    /// The refused, by reason.
    pub reasons: BTreeMap<&'static str, u64>,
}

/// Prints the census of a directory.
pub fn run(directory: &Path, json: bool, clock: &dyn Clock) -> anyhow::Result<()> {
    let days = ticks::scan(directory).with_context(|| format!("reading ticks in {}", directory.display()))?;
    let census = take(days, clock)?;
    let text = if json {
        serde_json::to_string(&census).context("writing the census")?
    } else {
        let line = |cells: [&str; 6]| {
            let [source, symbol, files, rows, accepted, refused] = cells;
            format!("{source:<10}{symbol:<10}{files:>6}{rows:>12}{accepted:>12}{refused:>10}")
        };
        let mut lines = vec![line(["source", "symbol", "files", "rows", "accepted", "refused"])];
        for row in &census.sources {
            let [files, rows, accepted, refused] =
                [row.files, row.rows, row.accepted, row.refused].map(|count| count.to_string());
            lines.push(line([&row.source, &row.symbol, &files, &rows, &accepted, &refused]));
        }
        lines.push(format!("{} quotes a second", census.quotes_per_second));
        lines.join("\n")
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").context("printing the census")
}

/// Takes a census. Each source is a market of its own: two sources of one instrument do not meet in one gate.
pub fn take(days: Vec<TickDay>, clock: &dyn Clock) -> anyhow::Result<Census> {
    let started = clock.now();
    let mut by_source: BTreeMap<Arc<str>, Vec<TickDay>> = BTreeMap::new();
    for day in days {
        by_source.entry(Arc::clone(&day.source)).or_default().push(day);
    }
    let mut sources = Vec::new();
    let mut rows = 0_u64;
    for (source, days) in by_source {
        for row in census_of(&source, days)? {
            rows = rows.saturating_add(row.rows);
            sources.push(row);
        }
    }
    let micros = clock.now().since(started).map_or(1, Span::micros).max(1);
    let per_second =
        i128::from(rows).saturating_mul(1_000_000).checked_div(i128::from(micros)).unwrap_or_default();
    Ok(Census { quotes_per_second: u64::try_from(per_second).unwrap_or_default(), sources })
}

fn census_of(source: &str, days: Vec<TickDay>) -> anyhow::Result<Vec<Source>> {
    let mut by_symbol: BTreeMap<Symbol, Vec<TickDay>> = BTreeMap::new();
    for day in days {
        by_symbol.entry(day.symbol.clone()).or_default().push(day);
    }
    by_symbol.into_iter().map(|(symbol, days)| census_of_symbol(source, &symbol, days)).collect()
}

fn census_of_symbol(source: &str, symbol: &Symbol, days: Vec<TickDay>) -> anyhow::Result<Source> {
    let instrument = instrument(source, symbol)?;
    let decimals = instrument.price_decimals;
    let instruments = Arc::new(Instruments::new(vec![instrument]).context("checking the instrument")?);
    let id = instruments.find(symbol).context("finding the instrument")?;
    let mut gate = Gate::new(&instruments);
    let mut engine = Engine::new(instruments);
    let mut row = Source {
        source: source.to_owned(),
        symbol: symbol.as_str().to_ascii_lowercase(),
        files: 0,
        rows: 0,
        accepted: 0,
        refused: 0,
        reasons: BTreeMap::new(),
    };
    let mut events = Vec::new();
    for day in days {
        row.files = row.files.saturating_add(1);
        for tick in TickFile::open(&day, decimals).context("opening the ticks")? {
            row.rows = row.rows.saturating_add(1);
            let refusal = match tick {
                Ok(tick) => {
                    let quote =
                        Quote { instrument: id, bid: tick.bid, ask: tick.ask, source_time: tick.source_time };
                    let judged = gate.check(&quote, tick.source_time).map_err(GateRefusal::word);
                    if judged.is_ok() {
                        row.accepted = row.accepted.saturating_add(1);
                        let at = tick.source_time.max(engine.now());
                        engine
                            .apply(at, &Input::Quotes(row.accepted, vec![quote]), &mut events)
                            .context("applying a quote")?;
                    }
                    judged.err()
                }
                Err(error) => {
                    tracing::warn!(%error, "a row cannot be read");
                    Some("unreadable")
                }
            };
            if let Some(reason) = refusal {
                row.refused = row.refused.saturating_add(1);
                let count = row.reasons.entry(reason).or_default();
                *count = count.saturating_add(1);
            }
        }
    }
    Ok(row)
}

/// Terms to read a symbol's ticks with, whatever they are: six digits hold any price.
fn instrument(source: &str, symbol: &Symbol) -> anyhow::Result<Instrument> {
    Ok(Instrument {
        symbol: symbol.clone(),
        description: String::new(),
        source: source.to_owned(),
        base: String::new(),
        quote: Currency::parse("USD").context("finding the currency")?,
        price_decimals: 6,
        price_min: Price(1),
        price_max: Price(10_000_000_000_000_000),
        quantity_decimals: 0,
        contract_size: 1,
        quantity_min: Quantity(1),
        quantity_step: Quantity(1),
        quantity_max: Quantity(1),
        stale_after: Span::from_seconds(60),
    })
}
