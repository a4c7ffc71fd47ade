//! One writer orders the quotes for everybody: gate, log, shards, screens, in this order.

use std::sync::{Arc, Mutex, PoisonError};

use engine::{Gate, Instruments, Quote};
use kernel::{Clock, Price, Symbol, Timestamp};
use tokio::sync::mpsc;

use super::port::{LoggedQuote, QuoteLog, RefusedQuote};
use super::queue::{Message, Queues};
use crate::market::MarketHub;
use crate::{AppError, BoxError};

/// A quote as a feed hands it over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IncomingQuote {
    /// The feed.
    pub source: Arc<str>,
    /// Whose price.
    pub symbol: Symbol,
    /// What a seller gets.
    pub bid: Price,
    /// What a buyer pays.
    pub ask: Price,
    /// When the source says it was made.
    pub source_time: Timestamp,
}

/// The log, written by the sequencer and read by shards that start again.
pub type SharedQuoteLog = Arc<Mutex<Box<dyn QuoteLog>>>;

/// The only writer of the quote log.
pub struct Sequencer {
    instruments: Arc<Instruments>,
    clock: Arc<dyn Clock>,
    gate: Gate,
    log: SharedQuoteLog,
    shards: Vec<mpsc::Sender<Message>>,
    hub: Arc<MarketHub>,
    next_position: u64,
    now: Timestamp,
}

impl Sequencer {
    /// Continues a log; the hub has read its end, and the gate measures from there. `committed` is the highest place
    /// that a shard has stored: should the log have lost its end, or be gone, the places up to there are not given
    /// again, because a shard takes no place twice.
    pub fn new(
        instruments: Arc<Instruments>,
        clock: Arc<dyn Clock>,
        log: SharedQuoteLog,
        committed: u64,
        queues: &Queues,
        hub: Arc<MarketHub>,
    ) -> Self {
        let (last, now) = {
            let log = log.lock().unwrap_or_else(PoisonError::into_inner);
            log.last().map_or((0, Timestamp::EPOCH), |last| (last.position, last.received_at))
        };
        if last < committed {
            tracing::warn!(
                last,
                committed,
                "the quote log ends before what was committed; its quotes are missing"
            );
        }
        let next_position = last.max(committed).saturating_add(1);
        let mut gate = Gate::new(&instruments);
        for (instrument, LoggedQuote { bid, ask, source_time, .. }) in hub.quotes() {
            gate.remember(&Quote { instrument, bid, ask, source_time });
        }
        let shards = queues.senders();
        Self { instruments, clock, gate, log, shards, hub, next_position, now }
    }

    /// Takes what a feed has, in its order; each quote is a message of its own, as our feeds send them. What the gate
    /// refuses is handed on to be recorded.
    pub async fn accept(&mut self, incoming: &[IncomingQuote]) -> Result<(), AppError> {
        self.now = self.now.max(self.clock.now());
        let mut accepted = Vec::with_capacity(incoming.len());
        let mut refused = Vec::new();
        for quote in incoming {
            match self.judge(quote) {
                Ok(()) => {
                    accepted.push(LoggedQuote {
                        position: self.next_position,
                        symbol: quote.symbol.clone(),
                        bid: quote.bid,
                        ask: quote.ask,
                        source_time: quote.source_time,
                        received_at: self.now,
                    });
                    self.next_position = self.next_position.saturating_add(1);
                }
                Err(reason) => refused.push(RefusedQuote {
                    at: self.now,
                    source: quote.source.to_string(),
                    symbol: quote.symbol.to_string(),
                    bid: quote.bid.0,
                    ask: quote.ask.0,
                    source_time: quote.source_time,
                    reason,
                }),
            }
        }
        let accepted: Arc<[LoggedQuote]> = accepted.into();
        if !accepted.is_empty() {
            self.write(Arc::clone(&accepted)).await?;
        }
        for shard in self.shards.iter().filter(|_| !accepted.is_empty()) {
            shard.send(Message::Quotes(Arc::clone(&accepted))).await.map_err(|_| gone())?;
        }
        // The first shard stores what was refused, once for all.
        if let (false, Some(shard)) = (refused.is_empty(), self.shards.first()) {
            shard.send(Message::RefusedQuotes(refused)).await.map_err(|_| gone())?;
        }
        self.hub.take(&accepted);
        Ok(())
    }

    /// On a thread of its own: a disk takes milliseconds, and others wait for this one.
    async fn write(&self, quotes: Arc<[LoggedQuote]>) -> Result<(), AppError> {
        let doing = "writing the quote log";
        let log = Arc::clone(&self.log);
        let append = move || log.lock().unwrap_or_else(PoisonError::into_inner).append(&quotes);
        let appended =
            tokio::task::spawn_blocking(append).await.map_err(|error| AppError::bug(doing)(error.into()))?;
        appended.map_err(AppError::bug(doing))
    }

    /// Tells the shards that time has passed, on the clock that also stamps the quotes.
    pub async fn tick(&mut self) -> Result<(), AppError> {
        self.now = self.now.max(self.clock.now());
        for shard in &self.shards {
            shard.send(Message::Clock(self.now)).await.map_err(|_| gone())?;
        }
        Ok(())
    }

    fn judge(&mut self, quote: &IncomingQuote) -> Result<(), &'static str> {
        let id = self.instruments.find(&quote.symbol).ok_or("unknown_instrument")?;
        let instrument = self.instruments.get(id).map_err(|_| "unknown_instrument")?;
        if instrument.source != *quote.source {
            return Err("other_source");
        }
        let quote = Quote { instrument: id, bid: quote.bid, ask: quote.ask, source_time: quote.source_time };
        self.gate.check(&quote, self.now).map_err(engine::GateRefusal::word)
    }
}

fn gone() -> AppError {
    let source: BoxError = "a shard no longer takes quotes".into();
    AppError::Unavailable { doing: "handing quotes to a shard", source }
}
