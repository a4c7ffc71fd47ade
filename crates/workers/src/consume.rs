//! Groups take messages out of the streams. Each part of the streams is read for a group by one process at a time, which
//! holds its lease; whoever takes a part over takes on first what the one before it has not acknowledged.

use std::sync::Arc;
use std::time::Duration;

use app::AppError;
use app::events::{Consumer, Failed, Message, MessageStore, PARTS, stream};
use app::streams::{Entry, EntryId, StreamError, Streams};
use kernel::{FirmId, OwnerId};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::as_error;
use crate::leader::{Leads, led, lost};

/// Messages taken in one transaction at most; no part has more that are given and not acknowledged.
const MOST: usize = 256;
/// How long a read waits for the first message.
const WAIT: Duration = Duration::from_secs(1);
/// What somebody was given and has not acknowledged for so long, nobody is working on; if somebody is after all, it is taken once
/// all the same. It is looked for so often too, because the relay waits for it: it cannot say what was lost before.
const FORGOTTEN: Duration = Duration::from_secs(2);
/// Pause after a failure that may pass.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// The leases of a group, one for each part.
pub fn leases(group: &str) -> Vec<String> {
    (0..PARTS).map(|part| lease(group, part)).collect()
}

fn lease(group: &str, part: u32) -> String {
    format!("{group}:{part}")
}

/// What groups take messages with.
#[derive(Clone)]
pub struct Taking {
    /// Where they come from.
    pub streams: Arc<dyn Streams>,
    /// Where failures are written down.
    pub store: Arc<dyn MessageStore>,
    /// This process.
    pub owner: OwnerId,
}

impl std::fmt::Debug for Taking {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Taking").field("owner", &self.owner).finish_non_exhaustive()
    }
}

/// A message with the name of its entry.
type Given = (EntryId, Message);

impl Taking {
    /// Takes messages of every part that this process leads, until it is to stop.
    pub async fn run(self, consumer: Arc<dyn Consumer>, leads: Leads, stop: watch::Receiver<bool>) {
        let parts = (0..PARTS).map(|part| {
            let taking = self.clone();
            tokio::spawn(taking.run_part(Arc::clone(&consumer), part, leads.clone(), stop.clone()))
        });
        for part in parts.collect::<Vec<_>>() {
            if let Err(error) = part.await {
                tracing::error!(
                    error = as_error(&error),
                    group = consumer.group(),
                    "a part of a group ended"
                );
            }
        }
    }

    async fn run_part(
        self,
        consumer: Arc<dyn Consumer>,
        part: u32,
        mut leads: Leads,
        mut stop: watch::Receiver<bool>,
    ) {
        let group = consumer.group();
        let name = lease(group, part);
        while let Some(token) = led(&mut leads, &name, &mut stop).await {
            let ended = tokio::select! {
                ended = self.take_part(&*consumer, part, stop.clone()) => ended,
                () = lost(&mut leads, &name, token) => Ok(()),
            };
            if let Err(failure) = ended {
                tracing::warn!(error = as_error(&failure), group, part, "taking messages begins anew");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }

    /// Takes messages until it is to stop; what was read by then is taken.
    async fn take_part(
        &self,
        consumer: &dyn Consumer,
        part: u32,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), StreamError> {
        let (stream, group, member) = (stream(part), consumer.group(), self.owner.to_string());
        self.take_pending(consumer, &stream, Duration::ZERO).await?;
        let mut claimed_at = Instant::now();
        loop {
            // Of somebody who was paused, went on reading after the lease was lost, and died; or acknowledged by us to a server that
            // is no more, and whose successor has not heard of it.
            if claimed_at.elapsed() >= FORGOTTEN {
                self.take_pending(consumer, &stream, FORGOTTEN).await?;
                claimed_at = Instant::now();
            }
            let read = tokio::select! {
                read = self.streams.read(&stream, group, &member, MOST, WAIT) => read?,
                // An entry given to an answer that nobody waits for is claimed at the next start.
                _ = stop.wait_for(|stop| *stop) => return Ok(()),
            };
            self.take(consumer, &stream, read).await?;
        }
    }

    async fn take_pending(
        &self,
        consumer: &dyn Consumer,
        stream: &str,
        idle: Duration,
    ) -> Result<(), StreamError> {
        let (group, member) = (consumer.group(), self.owner.to_string());
        loop {
            let pending = self.streams.claim(stream, group, &member, idle, MOST).await?;
            if pending.is_empty() {
                return Ok(());
            }
            self.take(consumer, stream, pending).await?;
        }
    }

    async fn take(
        &self,
        consumer: &dyn Consumer,
        stream: &str,
        entries: Vec<Entry>,
    ) -> Result<(), StreamError> {
        let group = consumer.group();
        let mut by_firm: Vec<(FirmId, Vec<Given>)> = Vec::new();
        let mut passed_over = Vec::new();
        for entry in entries {
            match serde_json::from_slice::<Message>(&entry.bytes) {
                Ok(message) if consumer.passes_over().contains(&message.topic.as_str()) => {
                    passed_over.push(entry.id);
                }
                Ok(message) => {
                    let found = by_firm.iter_mut().find(|(firm, _)| *firm == message.firm);
                    match found {
                        Some((_, given)) => given.push((entry.id, message)),
                        None => by_firm.push((message.firm, vec![(entry.id, message)])),
                    }
                }
                Err(error) => {
                    // It is in the outbox, and missing until somebody can read it.
                    tracing::error!(error = as_error(&error), stream, entry = %entry.id, "an entry is no message");
                    self.streams.acknowledge(stream, group, &[entry.id]).await?;
                }
            }
        }
        self.streams.acknowledge(stream, group, &passed_over).await?;
        for (firm, given) in by_firm {
            let (ids, mut messages): (Vec<EntryId>, Vec<Message>) = given.into_iter().unzip();
            // One that was published again is in it twice. Ids rise within an aggregate.
            messages.sort_by_key(|message| message.id);
            messages.dedup_by_key(|message| message.id);
            self.take_all(consumer, firm, &messages).await;
            self.streams.acknowledge(stream, group, &ids).await?;
        }
        Ok(())
    }

    /// Returns once every message is taken or written down as failed.
    async fn take_all(&self, consumer: &dyn Consumer, firm: FirmId, messages: &[Message]) {
        if let Err(error) = until_decided(|| consumer.take(firm, messages)).await {
            if let [message] = messages {
                self.fail(consumer, message, &error).await;
                return;
            }
            for message in messages {
                let one = std::slice::from_ref(message);
                if let Err(error) = until_decided(|| consumer.take(firm, one)).await {
                    self.fail(consumer, message, &error).await;
                }
            }
        }
    }

    async fn fail(&self, consumer: &dyn Consumer, message: &Message, error: &AppError) {
        let group = consumer.group();
        let text = app::with_causes(error);
        let failed = Failed { group, firm: message.firm, message: message.id, error: &text };
        // That it failed must not get lost: the message would come again at once, and without end.
        match until_decided(|| self.store.fail(failed)).await {
            Ok(dead) => {
                tracing::error!(
                    group,
                    message = message.id,
                    topic = message.topic,
                    trace = message.trace,
                    dead,
                    text,
                    "a message was not taken"
                );
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(
                    error,
                    group,
                    message = message.id,
                    "a failed message could not be written down"
                );
            }
        }
    }
}

/// Again and again as long as something is only away.
async fn until_decided<T, F: Future<Output = Result<T, AppError>>>(
    work: impl Fn() -> F,
) -> Result<T, AppError> {
    loop {
        match work().await {
            Err(AppError::Unavailable { doing, source }) => {
                tracing::warn!(error = &*source, doing, "something is away; trying again");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
            decided => return decided,
        }
    }
}
