//! The default market: the shipped extract looping, simulators for what it does not hold, or ticks from a directory.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use app::market::MarketHub;
use app::trading::{IncomingQuote, LoggedQuote, Sequencer};
use engine::{InstrumentId, Instruments};
use kernel::{Clock, Price, Span, Symbol, Timestamp};
use providers::feeds::{
    Feed, FeedQuote, Pace, Recording, ReplayFeed, ReplaySettings, Simulator, SimulatorSettings, Times,
    extract, ticks,
};
use tokio::sync::watch;

/// Where quotes come from.
#[derive(Debug, Clone)]
pub struct MarketSettings {
    /// A directory of ticks in place of the shipped extract.
    pub ticks: Option<PathBuf>,
    /// Only simulators.
    pub simulate: bool,
    /// Recorded seconds per second.
    pub speed: NonZeroU32,
    /// Of the simulators.
    pub seed: u64,
}

/// The longest pause between two looks at the feeds, and so between two clock inputs of the shards.
const LONGEST_PAUSE: Duration = Duration::from_millis(100);
/// The shortest: quotes that are due together are taken together.
const SHORTEST_PAUSE: Duration = Duration::from_millis(10);

/// The feeds for a table of instruments: what the recording holds is replayed, the rest simulated. The market began at
/// `began` and goes on at `from` (which may lie before) where it would be had it never stopped, the simulators from the
/// latest quotes: a restart moves no price of its own.
pub fn feeds(
    settings: &MarketSettings,
    instruments: &Instruments,
    latest: &[(InstrumentId, LoggedQuote)],
    began: Timestamp,
    from: Timestamp,
) -> anyhow::Result<Vec<Box<dyn Feed>>> {
    let mut feeds: Vec<Box<dyn Feed>> = Vec::new();
    if !settings.simulate {
        let days = match &settings.ticks {
            Some(directory) => {
                ticks::scan(directory).with_context(|| format!("reading ticks in {}", directory.display()))?
            }
            None => extract().context("reading the shipped ticks")?,
        };
        let (days, decimals) = wanted(days, instruments);
        if days.is_empty() {
            bail!("none of the ticks belong to an instrument of the table and its source");
        }
        let merged = ticks::merge(days, &decimals).context("opening the ticks")?;
        let recording = Recording::read(merged).context("reading the ticks")?;
        let pace = Pace::Factor(settings.speed);
        let replay = ReplaySettings { pace, times: Times::Shifted, looping: true };
        let played =
            from.since(began).map_or(0, Span::micros).saturating_mul(i64::from(settings.speed.get()));
        let into = played.checked_rem_euclid(recording.length().micros()).unwrap_or_default();
        let at =
            recording.first().after(Span::from_micros(into)).context("finding the place in the recording")?;
        let mut feed = ReplayFeed::new(recording, replay, from);
        feed.skip_to(at, from);
        feeds.push(Box::new(feed));
    }
    for (number, (id, instrument)) in instruments.iter().enumerate() {
        if instrument.source != "simulator" && !settings.simulate {
            continue;
        }
        let (usual_price, spread_points, step_points) = character(instrument.symbol.as_str());
        let start_price = latest.iter().find(|(of, _)| *of == id).map_or(usual_price, |(_, quote)| quote.bid);
        let simulator = SimulatorSettings {
            source: Arc::from(instrument.source.as_str()),
            symbol: instrument.symbol.clone(),
            seed: settings.seed.wrapping_add(u64::try_from(number).unwrap_or_default()),
            start_price,
            spread_points,
            step_points,
            mean_interval: Span::from_millis(400),
            gap_one_in: 20_000,
        };
        let simulator =
            Simulator::new(simulator, from).with_context(|| format!("simulating {}", instrument.symbol))?;
        feeds.push(Box::new(simulator));
    }
    Ok(feeds)
}

/// Shows the hub what the feeds quoted up to `now`, so that the first visitor sees a chart. Nobody trades on it: it goes
/// neither to the gate nor to the log.
pub fn show_past(feeds: &mut [Box<dyn Feed>], hub: &MarketHub, now: Timestamp) {
    let mut past: Vec<FeedQuote> = Vec::new();
    for feed in feeds {
        while let Some(due) = feed.next_due().filter(|due| *due < now) {
            past.clear();
            // One instant after the other: at another speed than the market's the times on the quotes run ahead.
            feed.take_until(due, &mut past);
            let shown: Vec<_> = past
                .drain(..)
                .map(|FeedQuote { symbol, bid, ask, source_time, .. }| LoggedQuote {
                    position: 0,
                    symbol,
                    bid,
                    ask,
                    source_time,
                    received_at: due,
                })
                .collect();
            hub.show_past(&shown);
        }
    }
}

/// The days of instruments in the table from their own source, and the digits to read their prices with.
fn wanted(
    days: Vec<ticks::TickDay>,
    instruments: &Instruments,
) -> (Vec<ticks::TickDay>, BTreeMap<Symbol, u8>) {
    let of = |day: &ticks::TickDay| {
        instruments.by_symbol(&day.symbol).filter(|instrument| instrument.source == *day.source)
    };
    let days: Vec<_> = days.into_iter().filter(|day| of(day).is_some()).collect();
    let decimals = days
        .iter()
        .filter_map(|day| of(day).map(|instrument| (day.symbol.clone(), instrument.price_decimals)));
    let decimals = decimals.collect();
    (days, decimals)
}

/// Start price, spread and step of a simulated instrument, in its points.
fn character(symbol: &str) -> (Price, i64, i64) {
    match symbol {
        "EURUSD" => (Price(138_600), 12, 3),
        "GBPUSD" => (Price(168_900), 15, 4),
        "USDJPY" => (Price(102_300), 12, 3),
        "XAUUSD" => (Price(1_285_000), 320, 40),
        _ => (Price(100_000), 20, 4),
    }
}

/// Hands quotes to the sequencer as they fall due, and time to the shards, until told to stop.
pub async fn run(
    mut feeds: Vec<Box<dyn Feed>>,
    mut sequencer: Sequencer,
    clock: Arc<dyn Clock>,
    mut stop: watch::Receiver<bool>,
) -> Result<(), app::AppError> {
    let mut due: Vec<FeedQuote> = Vec::new();
    loop {
        let now = clock.now();
        due.clear();
        for feed in &mut feeds {
            feed.take_until(now, &mut due);
        }
        // Feeds are independent; within one the order is its own, and the sort keeps it.
        due.sort_by_key(|quote| quote.source_time);
        if due.is_empty() {
            sequencer.tick().await?;
        } else {
            // Sped up, shifted times run ahead of the clock; nothing was made later than it came.
            let incoming = due.drain(..).map(|quote| {
                let source_time = quote.source_time.min(now);
                incoming(FeedQuote { source_time, ..quote })
            });
            let incoming: Vec<_> = incoming.collect();
            sequencer.accept(&incoming).await?;
        }
        let next = feeds.iter().filter_map(|feed| feed.next_due()).min();
        let pause = next.and_then(|next| next.since(clock.now()).ok()).map_or(LONGEST_PAUSE, Duration::from);
        tokio::select! {
            () = tokio::time::sleep(pause.clamp(SHORTEST_PAUSE, LONGEST_PAUSE)) => {}
            _ = stop.wait_for(|stop| *stop) => return Ok(()),
        }
    }
}

/// A feed's quote in the platform's words.
pub fn incoming(quote: FeedQuote) -> IncomingQuote {
    let FeedQuote { source, symbol, bid, ask, source_time } = quote;
    IncomingQuote { source, symbol, bid, ask, source_time }
}
