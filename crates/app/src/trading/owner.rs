//! The owner of shards in one process: leases them, runs them, gives them back.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kernel::Span;
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use super::answering::Answering;
use super::port::{LeaseStore, ShardError};
use super::queue::Queues;
use super::shard::{Shard, ShardSettings};
use crate::streams::Streams;

/// A lease that is not renewed for so long may be claimed by another owner.
const LEASE: Span = Span::from_seconds(3);
/// Leases are renewed, and free ones looked for, this often.
const ROUND: Duration = Duration::from_secs(1);

/// Owns as many shards as are its share. What a shard wrote is safe whatever happens here; a lease decides only who goes
/// on, and the epoch of the shard refuses whoever no longer may.
pub struct Owner {
    settings: ShardSettings,
    leases: Arc<dyn LeaseStore>,
    queues: Queues,
    /// Where other processes ask; none if this one is alone.
    streams: Option<Arc<dyn Streams>>,
    held: BTreeMap<i16, Held>,
}

/// A shard that runs.
struct Held {
    stop: watch::Sender<bool>,
    /// Closed once no other process is answered any more.
    answering: oneshot::Receiver<()>,
    task: JoinHandle<()>,
}

impl std::fmt::Debug for Owner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Owner").field("held", &self.held.keys()).finish_non_exhaustive()
    }
}

impl Owner {
    /// An owner that holds nothing yet.
    pub fn new(settings: ShardSettings, leases: Arc<dyn LeaseStore>, queues: Queues) -> Self {
        Self { settings, leases, queues, streams: None, held: BTreeMap::new() }
    }

    /// Who also answers other processes, over streams.
    #[must_use]
    pub fn answering(self, streams: Arc<dyn Streams>) -> Self {
        Self { streams: Some(streams), ..self }
    }

    /// Owns its share until it is to stop, and gives everything back then.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                _ = rounds.tick() => {}
            }
            if let Err(error) = self.round().await {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "leases could not be renewed; trying again");
            }
        }
        if let Err(error) = self.leave().await {
            // They run out by themselves.
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "leases could not be given back");
        }
    }

    /// Shards that it holds.
    pub fn held(&self) -> Vec<i16> {
        self.held.keys().copied().collect()
    }

    /// Renews what it holds, claims what is free up to its share, gives back what is beyond it.
    pub async fn round(&mut self) -> Result<(), ShardError> {
        // One that was deposed, or whose task ended, is not renewed.
        self.held.retain(|_, held| !held.task.is_finished());
        let held = self.held();
        let leases = self.leases.lease(self.settings.owner, &held, LEASE).await?;
        for lost in held.iter().filter(|shard| !leases.kept.contains(shard)) {
            if let Some(held) = self.held.remove(lost) {
                tracing::warn!(shard = lost, "the lease ran out and another owner has it");
                held.stop.send_replace(true);
                // Nobody may hear from here that a question was lost: the next owner answers it.
                let _ended = held.answering.await;
                held.task.abort();
            }
        }
        for shard in leases.kept.iter().skip(leases.share) {
            self.give_back(*shard).await?;
        }
        for shard in leases.claimed {
            self.start(shard);
        }
        Ok(())
    }

    /// Ends what it holds: what was decided is written and answered, what waits is left to the next owner.
    pub async fn leave(&mut self) -> Result<(), ShardError> {
        for held in self.held.values() {
            held.stop.send_replace(true);
        }
        for (shard, held) in std::mem::take(&mut self.held) {
            ended(shard, held).await;
        }
        self.leases.leave(self.settings.owner).await
    }

    async fn give_back(&mut self, shard: i16) -> Result<(), ShardError> {
        let Some(held) = self.held.remove(&shard) else { return Ok(()) };
        held.stop.send_replace(true);
        ended(shard, held).await;
        tracing::info!(shard, "the shard is given back to be owned elsewhere");
        self.leases.release(self.settings.owner, shard).await
    }

    fn start(&mut self, shard: i16) {
        let (stop, stopping) = watch::channel(false);
        let (settings, queues) = (self.settings.clone(), self.queues.clone());
        let answering = self.streams.clone().zip(queues.queue(shard).cloned()).map(|(streams, queue)| {
            let (clock, owner) = (Arc::clone(&settings.clock), settings.owner);
            Answering { streams, clock, owner, queue, shard }
        });
        let (answers, answering_ends) = oneshot::channel::<()>();
        let answering = answering.map(|answering| (answering, answers));
        let task = tokio::spawn(async move {
            let Some((inbox, _opened)) = queues.inbox(shard).await else {
                tracing::error!(shard, "there is no queue for the shard");
                return;
            };
            // Ends with the shard, at the latest.
            let mut beside = JoinSet::new();
            if let Some((answering, answers)) = answering {
                let stopping = stopping.clone();
                beside.spawn(async move {
                    answering.run(stopping).await;
                    drop(answers);
                });
            }
            Shard::new(shard, settings, inbox, stopping).run().await;
        });
        self.held.insert(shard, Held { stop, answering: answering_ends, task });
    }
}

async fn ended(shard: i16, held: Held) {
    if let Err(error) = held.task.await {
        let error: &dyn std::error::Error = &error;
        tracing::error!(shard, error, "the shard's task did not end by itself");
    }
}
