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
use app::streams::{EntryId, StreamError, Streams};
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
/// What was whole once is looked at anew this often: a group may have come to want what it passed over before.
const LOOKED_AT_ANEW: Duration = Duration::from_mins(1);
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
    /// What each group is to come to.
    marks: BTreeMap<String, Mark>,
}

/// A place in all streams that a group is to come to. Whatever was published before it and is not taken by then was lost, however
/// much has come since.
struct Mark {
    /// The last entry of each part's stream.
    ends: Vec<EntryId>,
    /// Every message up to this id was published before.
    known: i64,
    /// Up to this id nothing was missing at earlier marks.
    whole: i64,
    /// Since when that is believed.
    since: Instant,
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
        let mut progress = Progress { token, written: known, ids, mended_at: now, marks: BTreeMap::new() };
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

    /// The last entry of each part's stream.
    async fn ends(&self) -> Result<Vec<EntryId>, Failure> {
        let mut ends = Vec::new();
        for part in 0..PARTS {
            ends.push(self.streams.last(&stream(part)).await?);
        }
        Ok(ends)
    }

    /// Whether a group has acknowledged everything that was in the streams at a mark. A stream that ends before it now has
    /// forgotten: then it is everything that there is.
    async fn has_passed(&self, group: &str, mark: &Mark, ends: &[EntryId]) -> Result<bool, Failure> {
        for (part, (then, now)) in (0..PARTS).zip(mark.ends.iter().zip(ends)) {
            if self.streams.done(&stream(part), group).await? <= *then.min(now) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// What was published before a mark that the group has passed, and was not taken; how many these are.
    async fn publish_missing(&self, group: &str, mark: &Mark) -> Result<usize, Failure> {
        let (mut after, mut count) = (mark.whole, 0_usize);
        loop {
            let missing = self.store.missing(group, after, mark.known, MOST).await?;
            let Some(latest) = missing.last() else { return Ok(count) };
            after = latest.id;
            count = count.saturating_add(missing.len());
            self.publish(&missing).await?;
        }
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
        let mut ends = self.ends().await?;
        let now = Instant::now();
        for group in &groups {
            self.store.settle(group).await?;
            // The server may have forgotten it.
            for part in 0..PARTS {
                self.streams.join(&stream(part), group).await?;
            }
            let (mut whole, mut since) = (0, now);
            if let Some(mark) = progress.marks.get(group) {
                if !self.has_passed(group, mark, &ends).await? {
                    continue;
                }
                let lost = self.publish_missing(group, mark).await?;
                if lost > 0 {
                    ends = self.ends().await?;

                    tracing::warn!(
                        group,
                        messages = lost,
                        "messages were lost on their way and are published again"
                    );
                } else if now.saturating_duration_since(mark.since) < LOOKED_AT_ANEW {
                    (whole, since) = (mark.known, mark.since);
                }
            }
            progress.marks.insert(group.clone(), Mark { ends: ends.clone(), known, whole, since });
        }
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
