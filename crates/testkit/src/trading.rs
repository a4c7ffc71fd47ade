//! What shards stand on in a test: a quote log in memory, and a store whose commits wait until they are let through.

use std::sync::{Arc, Mutex};

use app::BoxError;
use app::trading::{
    Batch, Loaded, LoggedQuote, LoggedQuotes, QuoteLog, ShardCommit, ShardError, ShardStore, SharedQuoteLog,
};
use async_trait::async_trait;
use kernel::OwnerId;
use rules::{Program, VersionHash};
use tokio::sync::watch;

/// A quote log that lives as long as the test.
#[derive(Debug, Default)]
pub struct MemoryLog {
    quotes: Vec<LoggedQuote>,
}

impl MemoryLog {
    /// An empty log.
    pub fn shared() -> SharedQuoteLog {
        Arc::new(Mutex::new(Box::new(Self::default())))
    }
}

impl QuoteLog for MemoryLog {
    fn last(&self) -> Option<&LoggedQuote> {
        self.quotes.last()
    }

    fn append(&mut self, quotes: &[LoggedQuote]) -> Result<(), BoxError> {
        self.quotes.extend(quotes.iter().cloned());
        Ok(())
    }

    fn read(&self, from: u64) -> Result<LoggedQuotes, BoxError> {
        let quotes: Vec<_> = self.quotes.iter().filter(|quote| quote.position >= from).cloned().collect();
        Ok(Box::new(quotes.into_iter().map(Ok)))
    }
}

/// What became of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It is stored.
    Stored,
    /// Another owner has the shard.
    Deposed,
    /// The store failed.
    Failed,
}

/// A batch that was let through, and what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Passed {
    /// Of which shard.
    pub shard: i16,
    /// Under which epoch.
    pub epoch: i64,
    /// Commands in it.
    pub commands: usize,
    /// What became of it.
    pub fate: Fate,
}

/// A store whose commits wait at a gate.
pub struct Gate<S> {
    store: Arc<S>,
    open: watch::Sender<bool>,
    waiting: watch::Sender<usize>,
    fail_next: watch::Sender<bool>,
    passed: watch::Sender<Vec<Passed>>,
}

impl<S> std::fmt::Debug for Gate<S> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Gate").field("open", &*self.open.borrow()).finish_non_exhaustive()
    }
}

impl<S: ShardStore> Gate<S> {
    /// An open gate before a store.
    pub fn new(store: Arc<S>) -> Self {
        Self {
            store,
            open: watch::Sender::new(true),
            waiting: watch::Sender::new(0),
            fail_next: watch::Sender::new(false),
            passed: watch::Sender::new(Vec::new()),
        }
    }

    /// From now on commits wait.
    pub fn close(&self) {
        self.open.send_replace(false);
    }

    /// Lets through what waits, and what comes.
    pub fn open(&self) {
        self.open.send_replace(true);
    }

    /// The next commit fails without being written.
    pub fn fail_next(&self) {
        self.fail_next.send_replace(true);
    }

    /// Waits until so many commits wait at the gate.
    pub async fn waiting(&self, count: usize) {
        self.waiting.subscribe().wait_for(|waiting| *waiting >= count).await.expect("the gate stands");
    }

    /// The batches that went through, in order.
    pub fn passed(&self) -> Vec<Passed> {
        self.passed.borrow().clone()
    }

    /// The same, once there is one with this fate.
    pub async fn passed_with(&self, fate: Fate) -> Vec<Passed> {
        let mut passed = self.passed.subscribe();
        let found = passed.wait_for(|all| all.iter().any(|passed| passed.fate == fate)).await;
        found.expect("the gate stands").clone()
    }
}

#[async_trait]
impl<S: ShardStore> ShardStore for Gate<S> {
    async fn take_over(&self, shard: i16, owner: OwnerId) -> Result<Loaded, ShardError> {
        self.store.take_over(shard, owner).await
    }

    async fn commit(&self, batch: &Batch) -> Result<ShardCommit, ShardError> {
        self.waiting.send_modify(|waiting| *waiting = waiting.saturating_add(1));
        self.open.subscribe().wait_for(|open| *open).await.expect("the gate stands");
        self.waiting.send_modify(|waiting| *waiting = waiting.saturating_sub(1));
        let committed = if self.fail_next.send_replace(false) {
            Err(ShardError::Storage("the test said so".into()))
        } else {
            self.store.commit(batch).await
        };
        let fate = match &committed {
            Ok(_) => Fate::Stored,
            Err(ShardError::Deposed) => Fate::Deposed,
            Err(ShardError::Inconsistent { .. } | ShardError::Storage(_)) => Fate::Failed,
        };
        let passed = Passed { shard: batch.shard, epoch: batch.epoch, commands: batch.journal.len(), fate };
        self.passed.send_modify(|all| all.push(passed));
        committed
    }

    async fn quote_position(&self) -> Result<u64, ShardError> {
        self.store.quote_position().await
    }

    async fn first_needed_quote(&self) -> Result<u64, ShardError> {
        self.store.first_needed_quote().await
    }

    async fn program(&self, version: &VersionHash) -> Result<Option<Arc<Program>>, ShardError> {
        self.store.program(version).await
    }
}
