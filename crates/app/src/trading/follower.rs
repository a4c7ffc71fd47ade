//! The quotes as every process of an installation sees them: one process feeds a stream (`Sequencer::feeding`), and
//! everybody, the feeder's own shards included, follows it. What the stream says and in which order is what happened; who
//! fed it and whether they still might, only the token of the lease says.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use kernel::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

use super::port::LoggedQuote;
use super::queue::{Message, Queues};
use super::sequencer::{SharedQuoteLog, write};
use super::wire::{Fed, QUOTES, WANTED, Wanted};
use crate::market::MarketHub;
use crate::streams::{EntryId, StreamError, Streams};
use crate::{AppError, BoxError};

/// Entries taken in one go.
const MOST: usize = 1_000;
/// How long a look waits for an entry.
const WAIT: Duration = Duration::from_secs(1);
/// Whoever misses quotes asks for them again after this time.
const ASK_AGAIN: Duration = Duration::from_secs(2);
/// After this time nobody seems to have them.
const GIVEN_UP_AFTER: Duration = Duration::from_secs(15);
/// Quotes repeated in one entry.
const MOST_REPEATED: usize = 500;
/// Requests that nobody may be interested in any more are cut off.
const MOST_WANTED: u64 = 100;
/// Pause after a failure.
const AFTER_FAILURE: Duration = Duration::from_millis(200);

/// Whoever owns shards: where the quotes go.
#[derive(Clone)]
pub struct Shards {
    /// This process' copy of the quote log.
    pub log: SharedQuoteLog,
    /// The shards' queues.
    pub queues: Queues,
    /// The first place that some shard may have to read again.
    pub first_needed: u64,
}

/// Follows the quotes.
pub struct Follower {
    streams: Arc<dyn Streams>,
    hub: Arc<MarketHub>,
    shards: Option<Shards>,
    after: EntryId,
    token: i64,
    last: u64,
    missing: Option<Missing>,
    place: watch::Sender<EntryId>,
}

/// Quotes that the stream has passed over.
struct Missing {
    since: Instant,
    asked: Instant,
}

/// Why following ended.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error(transparent)]
    Log(#[from] AppError),
    #[error("a shard no longer takes quotes")]
    Gone,
}

impl std::fmt::Debug for Follower {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Follower").field("last", &self.last).finish_non_exhaustive()
    }
}

impl Follower {
    /// For screens, and for shards if the process has some.
    pub fn new(streams: Arc<dyn Streams>, hub: Arc<MarketHub>, shards: Option<Shards>) -> Self {
        let last = shards.as_ref().map_or(0, |shards| {
            let log = shards.log.lock().unwrap_or_else(PoisonError::into_inner);
            log.last().map_or(0, |last| last.position).max(shards.first_needed.saturating_sub(1))
        });
        let place = watch::Sender::default();
        Self { streams, hub, shards, after: EntryId::ZERO, token: 0, last, missing: None, place }
    }

    /// How far it has come.
    pub fn place(&self) -> watch::Receiver<EntryId> {
        self.place.subscribe()
    }

    /// Follows until it is to stop.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            let followed = tokio::select! {
                followed = self.follow() => followed,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let Err(failure) = followed;
            log(&failure);
            tokio::time::sleep(AFTER_FAILURE).await;
        }
    }

    async fn follow(&mut self) -> Result<std::convert::Infallible, Failure> {
        loop {
            let entries = self.streams.follow(QUOTES, self.after, MOST, WAIT).await?;
            for entry in entries {
                match serde_json::from_slice::<Fed>(&entry.bytes) {
                    Ok(fed) => self.take(fed).await?,
                    Err(error) => {
                        let error: &dyn std::error::Error = &error;
                        tracing::error!(error, entry = %entry.id, "quotes of the stream cannot be read");
                    }
                }
                self.after = entry.id;
                self.place.send_replace(entry.id);
            }
        }
    }

    async fn take(&mut self, fed: Fed) -> Result<(), Failure> {
        if fed.token < self.token {
            // Of somebody who fed on without the lease.
            return Ok(());
        }
        self.token = fed.token;
        let Fed { at, mut quotes, refused, .. } = fed;
        let nothing = quotes.is_empty() && refused.is_empty();
        quotes.retain(|quote| quote.position > self.last);
        if self.misses(&quotes).await? {
            quotes.clear();
        }
        if let Some(last) = quotes.last().map(|last| last.position) {
            let quotes: Arc<[LoggedQuote]> = quotes.into();
            if let Some(shards) = &self.shards {
                // What could not be written is read again from the stream.
                write(&shards.log, Arc::clone(&quotes)).await?;
            }
            self.last = last;
            if let Some(shards) = &self.shards
                && !shards.queues.tell_all(|| Message::Quotes(Arc::clone(&quotes))).await
            {
                return Err(Failure::Gone);
            }
            self.hub.take(&quotes);
        }
        let Some(shards) = &self.shards else { return Ok(()) };
        let told = match (nothing, refused.is_empty()) {
            (true, _) => shards.queues.tell_all(|| Message::Clock(at)).await,
            // The first shard stores what was refused, once for all.
            (false, false) => shards.queues.tell_first(|| Message::RefusedQuotes(refused.clone())).await,
            (false, true) => true,
        };
        if told { Ok(()) } else { Err(Failure::Gone) }
    }

    /// Whether quotes before these are missing; then they are asked for, and come again with these behind them.
    async fn misses(&mut self, quotes: &[LoggedQuote]) -> Result<bool, Failure> {
        let Some(first) = quotes.first().map(|quote| quote.position) else { return Ok(false) };
        let next = self.last.saturating_add(1);
        if first == next || self.shards.is_none() {
            self.missing = None;
            return Ok(false);
        }
        let now = Instant::now();
        let since = self.missing.as_ref().map_or(now, |missing| missing.since);
        if now.saturating_duration_since(since) >= GIVEN_UP_AFTER {
            tracing::error!(from = next, to = first, "quotes are missing and nobody has them");
            self.missing = None;
            return Ok(false);
        }
        let asked = self.missing.as_ref().map(|missing| missing.asked);
        if asked.is_none_or(|asked| now.saturating_duration_since(asked) >= ASK_AGAIN) {
            tracing::warn!(from = next, to = first, "quotes are missing and asked for");
            let wanted = serde_json::to_vec(&Wanted { from: next }).unwrap_or_default();
            self.streams.append(WANTED, &[wanted]).await?;
            self.missing = Some(Missing { since, asked: now });
        }
        Ok(true)
    }
}

fn log(failure: &Failure) {
    let error: &dyn std::error::Error = failure;
    tracing::warn!(error, "quotes cannot be followed; trying again");
}

/// Repeats quotes for whoever misses some, as long as this process feeds: out of its copy of the log.
pub async fn repeat(streams: Arc<dyn Streams>, log: SharedQuoteLog, token: i64) -> AppError {
    let doing = "repeating quotes";
    let mut after = match streams.last(WANTED).await {
        Ok(last) => last,
        Err(error) => return AppError::Unavailable { doing, source: error.into() },
    };
    loop {
        let entries = match streams.follow(WANTED, after, MOST, WAIT).await {
            Ok(entries) => entries,
            Err(error) => return AppError::Unavailable { doing, source: error.into() },
        };
        let Some(last) = entries.last().map(|entry| entry.id) else { continue };
        after = last;
        let wanted = entries.iter().filter_map(|entry| serde_json::from_slice::<Wanted>(&entry.bytes).ok());
        let Some(from) = wanted.map(|wanted| wanted.from).min() else { continue };
        let repeated = async {
            let mut quotes = log.lock().unwrap_or_else(PoisonError::into_inner).read(from)?;
            let mut at = Timestamp::EPOCH;
            loop {
                let some = quotes.by_ref().take(MOST_REPEATED).collect::<Result<Vec<_>, _>>()?;
                let Some(last) = some.last() else { break };
                at = at.max(last.received_at);
                let fed = Fed { token, at, quotes: some, refused: Vec::new() };
                streams.append(QUOTES, &[serde_json::to_vec(&fed)?]).await?;
            }
            streams.trim_to(WANTED, MOST_WANTED).await?;
            Ok::<_, BoxError>(())
        };
        if let Err(source) = repeated.await {
            return AppError::Unavailable { doing, source };
        }
    }
}

/// Waits until a follower has taken everything that is in the stream by now.
pub async fn caught_up(streams: &dyn Streams, mut place: watch::Receiver<EntryId>) -> Result<(), AppError> {
    let unavailable = |source: BoxError| AppError::Unavailable { doing: "following the quotes", source };
    let last = streams.last(QUOTES).await.map_err(|error| unavailable(error.into()))?;
    place.wait_for(|place| *place >= last).await.map_err(|error| unavailable(error.into()))?;
    Ok(())
}
