//! The relay: what is in the outbox comes into the streams, whatever they have lost.
//!
//! Ids of the outbox are given before their transactions commit, so that a message can come to light behind a later one.
//! The relay publishes what it sees and keeps the ids it has not seen as gaps; a gap is forgotten once every transaction
//! has ended that could fill it. Within an aggregate ids rise in the order of the commits, because whoever writes one holds the
//! aggregate's row or shard, so that its messages are published in their order.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use app::AppError;
use app::events::{Message, MessageStore, PARTS, part, stream};
use app::streams::{StreamError, Streams};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::as_error;
use crate::gaps::Numbers;
use crate::leader::{Leads, led, lost};

/// The lease of whoever relays.
pub const LEASE: &str = "relay";
/// Messages read in one go.
const MOST: i64 = 1_000;
/// Pause after a round that found nothing, and after one that found something but not everything there could be.
const PAUSE: Duration = Duration::from_millis(20);
/// Pause after a failure.
const AFTER_FAILURE: Duration = Duration::from_millis(500);
/// The place is written, and what was lost or failed is looked for, this often.
const MEND_EVERY: Duration = Duration::from_secs(2);
/// A stream that holds more than these loses its oldest entries; a group that had not taken them gets them again.
const MOST_IN_STREAM: u64 = 200_000;

/// Carries messages from the outbox into the streams.
pub struct Relay {
    /// Where they come from.
    pub store: Arc<dyn MessageStore>,
    /// Where they go.
    pub streams: Arc<dyn Streams>,
}

/// Why a round ended.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Store(#[from] AppError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    #[error("writing a message down")]
    Message(#[from] serde_json::Error),
    #[error("somebody else relays")]
    Deposed,
}

/// How far one holder of the lease has come.
struct Progress {
    token: i64,
    written: i64,
    /// The ids that were published.
    ids: Numbers,
    mended_at: Instant,
    /// Groups that had nothing before them in the streams the last time.
    idle: Vec<String>,
}

impl std::fmt::Debug for Relay {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Relay").finish_non_exhaustive()
    }
}

impl Relay {
    /// Relays whenever this process leads, until it is to stop.
    pub async fn run(self, mut leads: Leads, mut stop: watch::Receiver<bool>) {
        while let Some(token) = led(&mut leads, LEASE, &mut stop).await {
            let ended = tokio::select! {
                ended = self.relay(token) => ended,
                () = lost(&mut leads, LEASE, token) => Ok(()),
                _ = stop.wait_for(|stop| *stop) => return,
            };
            if let Err(failure) = ended {
                tracing::warn!(error = as_error(&failure), "the relay begins anew");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }

    /// Relays until something fails. What was published and not written down then is published again.
    async fn relay(&self, token: i64) -> Result<(), Failure> {
        let known = self.store.known().await?;
        let now = Instant::now();
        let ids = Numbers::after(known);
        let mut progress = Progress { token, written: known, ids, mended_at: now, idle: Vec::new() };
        loop {
            let read = self.store.outbox(progress.ids.seen(), &progress.ids.gaps(), MOST).await?;
            self.publish(&read.messages).await?;
            let now = Instant::now();
            progress.ids.saw(read.messages.iter().map(|message| message.id), now);
            progress.ids.forget(read.oldest_running, read.next_transaction, now);
            if now.saturating_duration_since(progress.mended_at) >= MEND_EVERY {
                self.mend(&mut progress).await?;
                progress.mended_at = now;
            }
            let full = i64::try_from(read.messages.len()).is_ok_and(|read| read >= MOST);
            if !full {
                tokio::time::sleep(PAUSE).await;
            }
        }
    }

    async fn publish(&self, messages: &[Message]) -> Result<(), Failure> {
        let mut parts: BTreeMap<u32, Vec<Vec<u8>>> = BTreeMap::new();
        for message in messages {
            parts.entry(part(&message.aggregate)).or_default().push(serde_json::to_vec(message)?);
        }
        for (part, entries) in parts {
            self.streams.append(&stream(part), &entries).await?;
        }
        Ok(())
    }

    /// Writes down how far it has come, publishes again what was lost and what is to be tried again, and removes what
    /// everybody has taken.
    async fn mend(&self, progress: &mut Progress) -> Result<(), Failure> {
        let known = progress.ids.known();
        if known > progress.written {
            if !self.store.set_known(known, progress.token).await? {
                return Err(Failure::Deposed);
            }
            progress.written = known;
        }
        self.publish(&self.store.due_again(MOST).await?).await?;
        let groups = self.store.groups().await?;
        let mut idle = Vec::new();
        for group in &groups {
            self.store.settle(group).await?;
            let mut waiting = 0_u64;
            for part in 0..PARTS {
                let stream = stream(part);
                // The server may have forgotten it.
                self.streams.join(&stream, group).await?;
                waiting = waiting.saturating_add(self.streams.waiting(&stream, group).await?.all());
            }
            if waiting > 0 {
                continue;
            }
            // Nothing is on its way to the group, so what it has not taken was lost: at the second look, because what was just
            // taken may not be written yet at the first.
            if progress.idle.contains(group) {
                let missing = self.store.missing(group, MOST).await?;
                if !missing.is_empty() {
                    tracing::warn!(
                        group,
                        messages = missing.len(),
                        "messages were lost on their way and are published again"
                    );
                    self.publish(&missing).await?;
                }
            }
            idle.push(group.clone());
        }
        progress.idle = idle;
        for part in 0..PARTS {
            let stream = stream(part);
            self.streams.trim(&stream).await?;
            if self.streams.trim_to(&stream, MOST_IN_STREAM).await? > 0 {
                tracing::warn!(
                    stream,
                    "a stream held too much and lost its oldest entries; they will be published again"
                );
            }
        }
        Ok(())
    }
}
