//! One writer orders the quotes for everybody: gate, log, shards, screens, in this order; or gate and stream, where other
//! processes are to see them too.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::{Gate, Instruments, Quote};
use kernel::{Clock, Price, Symbol, Timestamp};
use tokio::time::Instant;

use super::port::{LoggedQuote, QuoteLog, RefusedQuote};
use super::queue::{Message, Queues};
use super::wire::{Fed, QUOTES};
use crate::market::MarketHub;
use crate::streams::Streams;
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

/// The only one who numbers quotes.
pub struct Sequencer {
    instruments: Arc<Instruments>,
    clock: Arc<dyn Clock>,
    gate: Gate,
    sink: Sink,
    next_position: u64,
    now: Timestamp,
}

/// Where quotes go.
enum Sink {
    Here { log: SharedQuoteLog, queues: Queues, hub: Arc<MarketHub> },
    Stream(Feeding),
}

/// What is fed to a stream.
struct Feeding {
    streams: Arc<dyn Streams>,
    token: i64,
    /// What the stream has not taken yet, in order.
    unsent: VecDeque<Fed>,
    trimmed_at: Instant,
    /// Whether the stream takes nothing just now.
    away: bool,
}

/// A stream that does not answer within this time is tried again with the next quotes.
const STREAM_ANSWERS: Duration = Duration::from_secs(2);
/// Entries sent in one go.
const MOST_AT_ONCE: usize = 500;
/// Entries kept for a stream that takes nothing; then the oldest are lost.
const MOST_UNSENT: usize = 200_000;
/// The stream is cut to so many entries, this often.
const MOST_IN_STREAM: u64 = 200_000;
const TRIM_EVERY: Duration = Duration::from_secs(10);

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
        let gate = gate(&instruments, &hub);
        let sink = Sink::Here { log, queues: queues.clone(), hub };
        Self { instruments, clock, gate, sink, next_position, now }
    }

    /// Feeds a stream, under the token of the lease for it. `log` is this process' copy of what was fed before, whole by
    /// now; the hub has seen it too. `committed` is the highest place that a shard has stored.
    pub fn feeding(
        instruments: Arc<Instruments>,
        clock: Arc<dyn Clock>,
        log: &SharedQuoteLog,
        committed: u64,
        hub: &MarketHub,
        (streams, token): (Arc<dyn Streams>, i64),
    ) -> Self {
        let (last, now) = {
            let log = log.lock().unwrap_or_else(PoisonError::into_inner);
            log.last().map_or((0, Timestamp::EPOCH), |last| (last.position, last.received_at))
        };
        let gate = gate(&instruments, hub);
        let feeding =
            Feeding { streams, token, unsent: VecDeque::new(), trimmed_at: Instant::now(), away: false };
        let next_position = last.max(committed).saturating_add(1);
        Self { instruments, clock, gate, sink: Sink::Stream(feeding), next_position, now }
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
                    reason: reason.into(),
                }),
            }
        }
        match &mut self.sink {
            Sink::Here { log, queues, hub } => hand_on(log, queues, hub, accepted, refused).await,
            Sink::Stream(feeding) => {
                let at = self.now;
                let token = feeding.token;
                feeding.unsent.push_back(Fed { token, at, quotes: accepted, refused });
                feeding.send().await;
                Ok(())
            }
        }
    }

    /// Tells the shards that time has passed, on the clock that also stamps the quotes.
    pub async fn tick(&mut self) -> Result<(), AppError> {
        self.now = self.now.max(self.clock.now());
        let at = self.now;
        match &mut self.sink {
            Sink::Here { queues, .. } => {
                if queues.tell_all(|| Message::Clock(at)).await {
                    Ok(())
                } else {
                    Err(gone())
                }
            }
            Sink::Stream(feeding) => {
                // Time alone is old news once it can be told again: only what waits is tried.
                if !feeding.away {
                    let token = feeding.token;
                    feeding.unsent.push_back(Fed { token, at, quotes: Vec::new(), refused: Vec::new() });
                }
                feeding.send().await;
                Ok(())
            }
        }
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

impl Feeding {
    /// Sends what there is to send. What the stream does not take stays for the next time: it may have taken some of it,
    /// and whoever follows passes over what they have.
    async fn send(&mut self) {
        while !self.unsent.is_empty() {
            let some =
                self.unsent.iter().take(MOST_AT_ONCE).map(serde_json::to_vec).collect::<Result<Vec<_>, _>>();
            let sent = match &some {
                Ok(some) => tokio::time::timeout(STREAM_ANSWERS, self.streams.append(QUOTES, some)).await,
                Err(error) => {
                    let error: &dyn std::error::Error = error;
                    tracing::error!(error, "quotes cannot be written");
                    return;
                }
            };
            match sent {
                Ok(Ok(_)) => {
                    let count = some.map_or(0, |some| some.len());
                    self.unsent.drain(..count);
                    self.away = false;
                }
                failed => {
                    if !std::mem::replace(&mut self.away, true) {
                        let error: BoxError = match failed {
                            Ok(answer) => answer.err().map_or_else(|| "no answer".into(), Into::into),
                            Err(late) => late.into(),
                        };
                        let error: &(dyn std::error::Error + Send + Sync) = &*error;
                        tracing::error!(error, "the stream of quotes takes nothing; they wait");
                    }
                    let beyond = self.unsent.len().saturating_sub(MOST_UNSENT);
                    self.unsent.drain(..beyond);
                    return;
                }
            }
        }
        if self.trimmed_at.elapsed() >= TRIM_EVERY {
            self.trimmed_at = Instant::now();
            if let Err(error) = self.streams.trim_to(QUOTES, MOST_IN_STREAM).await {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(error, "the stream of quotes could not be cut");
            }
        }
    }
}

/// What is standing, as far as anybody saw it.
fn gate(instruments: &Instruments, hub: &MarketHub) -> Gate {
    let mut gate = Gate::new(instruments);
    for (instrument, LoggedQuote { bid, ask, source_time, .. }) in hub.quotes() {
        gate.remember(&Quote { instrument, bid, ask, source_time });
    }
    gate
}

/// Log, shards, screens.
async fn hand_on(
    log: &SharedQuoteLog,
    queues: &Queues,
    hub: &MarketHub,
    accepted: Vec<LoggedQuote>,
    refused: Vec<RefusedQuote>,
) -> Result<(), AppError> {
    let accepted: Arc<[LoggedQuote]> = accepted.into();
    if !accepted.is_empty() {
        write(log, Arc::clone(&accepted)).await?;
        if !queues.tell_all(|| Message::Quotes(Arc::clone(&accepted))).await {
            return Err(gone());
        }
    }
    // The first shard stores what was refused, once for all.
    if !refused.is_empty() && !queues.tell_first(|| Message::RefusedQuotes(refused.clone())).await {
        return Err(gone());
    }
    hub.take(&accepted);
    Ok(())
}

/// On a thread of its own: a disk takes milliseconds, and others wait for this one.
pub(super) async fn write(log: &SharedQuoteLog, quotes: Arc<[LoggedQuote]>) -> Result<(), AppError> {
    let doing = "writing the quote log";
    let log = Arc::clone(log);
    let append = move || log.lock().unwrap_or_else(PoisonError::into_inner).append(&quotes);
    let appended =
        tokio::task::spawn_blocking(append).await.map_err(|error| AppError::bug(doing)(error.into()))?;
    appended.map_err(AppError::bug(doing))
}

fn gone() -> AppError {
    let source: BoxError = "a shard no longer takes quotes".into();
    AppError::Unavailable { doing: "handing quotes to a shard", source }
}
