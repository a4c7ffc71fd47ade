//! Quotes through a stream: what a follower could not write comes again, and a feeder whose stream is away keeps quotes and not time.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use app::BoxError;
use app::market::MarketHub;
use app::streams::{Entry, EntryId, StreamError, Streams, Waiting};
use app::trading::{
    Follower, IncomingQuote, LoggedQuote, LoggedQuotes, Queues, QuoteLog, Sequencer, Shards, SharedQuoteLog,
};
use async_trait::async_trait;
use kernel::{Clock, ManualClock, Price, Symbol, Timestamp};
use streams::MemoryStreams;
use testkit::instruments;
use testkit::trading::MemoryLog;
use tokio::sync::watch;

/// A log whose disk is full at first.
struct FullOnce {
    log: MemoryLog,
    full: bool,
}

impl QuoteLog for FullOnce {
    fn last(&self) -> Option<&LoggedQuote> {
        self.log.last()
    }

    fn append(&mut self, quotes: &[LoggedQuote]) -> Result<(), BoxError> {
        if std::mem::take(&mut self.full) {
            return Err("the disk is full".into());
        }
        self.log.append(quotes)
    }

    fn read(&self, from: u64) -> Result<LoggedQuotes, BoxError> {
        self.log.read(from)
    }
}

/// Streams that can be away.
struct Away {
    streams: MemoryStreams,
    away: AtomicBool,
}

#[async_trait]
impl Streams for Away {
    async fn append(&self, stream: &str, entries: &[Vec<u8>]) -> Result<EntryId, StreamError> {
        if self.away.load(Ordering::SeqCst) {
            let (stream, source) = (stream.to_owned(), "away".into());
            return Err(StreamError { doing: "appending to", stream, source });
        }
        self.streams.append(stream, entries).await
    }

    async fn read(
        &self,
        stream: &str,
        group: &str,
        member: &str,
        most: usize,
        wait: Duration,
    ) -> Result<Vec<Entry>, StreamError> {
        self.streams.read(stream, group, member, most, wait).await
    }

    async fn claim(
        &self,
        stream: &str,
        group: &str,
        member: &str,
        idle: Duration,
        most: usize,
    ) -> Result<Vec<Entry>, StreamError> {
        self.streams.claim(stream, group, member, idle, most).await
    }

    async fn acknowledge(&self, stream: &str, group: &str, ids: &[EntryId]) -> Result<(), StreamError> {
        self.streams.acknowledge(stream, group, ids).await
    }

    async fn follow(
        &self,
        stream: &str,
        after: EntryId,
        most: usize,
        wait: Duration,
    ) -> Result<Vec<Entry>, StreamError> {
        self.streams.follow(stream, after, most, wait).await
    }

    async fn last(&self, stream: &str) -> Result<EntryId, StreamError> {
        self.streams.last(stream).await
    }

    async fn trim(&self, stream: &str) -> Result<u64, StreamError> {
        self.streams.trim(stream).await
    }

    async fn trim_to(&self, stream: &str, most: u64) -> Result<u64, StreamError> {
        self.streams.trim_to(stream, most).await
    }

    async fn join(&self, stream: &str, group: &str) -> Result<(), StreamError> {
        self.streams.join(stream, group).await
    }

    async fn keep_for(&self, stream: &str, time: Duration) -> Result<(), StreamError> {
        self.streams.keep_for(stream, time).await
    }

    async fn waiting(&self, stream: &str, group: &str) -> Result<Waiting, StreamError> {
        self.streams.waiting(stream, group).await
    }

    async fn done(&self, stream: &str, group: &str) -> Result<EntryId, StreamError> {
        self.streams.done(stream, group).await
    }
}

fn quote(bid: i64, at: Timestamp) -> IncomingQuote {
    let (source, symbol) = ("test".into(), Symbol::parse("EURUSD").unwrap());
    IncomingQuote { source, symbol, bid: Price(bid), ask: Price(bid.saturating_add(2)), source_time: at }
}

fn feeder(clock: &Arc<ManualClock>, streams: Arc<dyn Streams>) -> Sequencer {
    let hub = MarketHub::new(instruments());
    Sequencer::feeding(instruments(), clock.clone(), &MemoryLog::shared(), 0, &hub, (streams, 1))
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_written_is_read_again() {
    let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-01-05T10:00:00Z").unwrap()));
    let streams: Arc<dyn Streams> = Arc::new(MemoryStreams::new());
    let mut feeder = feeder(&clock, streams.clone());
    let now = clock.now();
    feeder.accept(&[quote(110_000, now), quote(110_001, now)]).await.unwrap();
    let log: SharedQuoteLog =
        Arc::new(Mutex::new(Box::new(FullOnce { log: MemoryLog::default(), full: true })));
    let as_clock: Arc<dyn Clock> = clock.clone();
    let shards = Shards { log: log.clone(), queues: Queues::of_some(1, &as_clock), first_needed: 1 };
    let follower = Follower::new(streams, Arc::new(MarketHub::new(instruments())), Some(shards));
    let (_stop, stopping) = watch::channel(false);
    tokio::spawn(follower.run(stopping));
    let last = || log.lock().unwrap().last().map(|last| last.position);
    for _ in 0..1_000 {
        if last().is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(last(), Some(2));
    assert_eq!(log.lock().unwrap().read(1).unwrap().count(), 2, "each once");
}

#[tokio::test]
async fn while_the_stream_is_away_quotes_wait_and_time_does_not() {
    let clock = Arc::new(ManualClock::new(Timestamp::parse("2026-01-05T10:00:00Z").unwrap()));
    let streams = Arc::new(Away { streams: MemoryStreams::new(), away: AtomicBool::new(true) });
    let mut feeder = feeder(&clock, streams.clone());
    feeder.accept(&[quote(110_000, clock.now())]).await.unwrap();
    for _ in 0..10 {
        feeder.tick().await.unwrap();
    }
    streams.away.store(false, Ordering::SeqCst);
    feeder.tick().await.unwrap();
    let fed = streams.follow("tradesense:quotes", EntryId::ZERO, 100, Duration::ZERO).await.unwrap();
    assert_eq!(fed.len(), 1, "the quote, and none of the ticks");
}
