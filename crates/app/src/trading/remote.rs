//! Lines to shards that other processes own, over streams. What they promise is what `store/tests/lines.rs` asks.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use engine::{Command, Forecast, View};
use kernel::{AccountId, Clock, OwnerId};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;

use super::desk::{Desk, Line, LineError, Submitted, Views};
use super::port::Origin;
use super::wire::{Answer, Ask, Asked, Reply, asks, replies};
use crate::streams::{EntryId, Streams};

/// Questions of this process to one shard that wait for their answers; more are refused at once.
const MOST_WAITING: usize = 4_096;
/// Questions sent in one go.
const MOST_AT_ONCE: usize = 512;
/// How long a look at the answers waits for one.
const WAIT: Duration = Duration::from_secs(1);
/// The stream of answers is kept so long after its process was last heard of.
const KEPT_FOR: Duration = Duration::from_mins(2);
/// It is cut to so many answers, and kept anew, this often.
const TIDY_EVERY: Duration = Duration::from_secs(10);
const MOST_REPLIES: u64 = 10_000;
/// Whoever watches an account says so again this often.
pub(super) const WATCH_AGAIN: Duration = Duration::from_secs(10);
/// Pause after a failure.
const AFTER_FAILURE: Duration = Duration::from_millis(200);

/// The lines of a process that owns no shard.
pub struct Remote {
    shared: Arc<Shared>,
    senders: Vec<mpsc::Sender<Vec<u8>>>,
    receivers: Vec<mpsc::Receiver<Vec<u8>>>,
}

struct Shared {
    streams: Arc<dyn Streams>,
    clock: Arc<dyn Clock>,
    replies: String,
    next: AtomicU64,
    waiting: Mutex<BTreeMap<u64, oneshot::Sender<Answer>>>,
    watched: Mutex<BTreeMap<AccountId, watch::Sender<Arc<View>>>>,
}

struct RemoteLine {
    shared: Arc<Shared>,
    sender: mpsc::Sender<Vec<u8>>,
}

/// Whoever stops waiting is forgotten.
struct Waiting<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.id);
    }
}

impl std::fmt::Debug for Remote {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Remote").field("replies", &self.shared.replies).finish_non_exhaustive()
    }
}

impl Remote {
    /// Lines to so many shards for one process. They carry nothing before [`Remote::run`].
    pub fn new(streams: Arc<dyn Streams>, clock: Arc<dyn Clock>, process: OwnerId, shards: i16) -> Self {
        // Answers to an earlier process of the same name may still be in the stream; its questions had lower numbers.
        let first = u64::try_from(clock.now().micros()).unwrap_or_default();
        let (senders, receivers) = (0..shards).map(|_| mpsc::channel(MOST_WAITING)).unzip();
        let shared = Shared {
            streams,
            clock,
            replies: replies(process),
            next: AtomicU64::new(first),
            waiting: Mutex::default(),
            watched: Mutex::default(),
        };
        Self { shared: Arc::new(shared), senders, receivers }
    }

    /// The way to the shards.
    pub fn desk(&self) -> Desk {
        Desk::new(self.senders.iter().map(|sender| -> Arc<dyn Line> {
            Arc::new(RemoteLine { shared: Arc::clone(&self.shared), sender: sender.clone() })
        }))
    }

    /// Carries questions and answers until it is to stop.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let Self { shared, senders, receivers } = self;
        drop(senders);
        let mut tasks = tokio::task::JoinSet::new();
        for (shard, receiver) in (0..).zip(receivers) {
            tasks.spawn(send(Arc::clone(&shared), asks(shard), receiver));
        }
        tasks.spawn(hear(shared));
        // Dropped with the set, the tasks end.
        drop(stop.wait_for(|stop| *stop).await);
    }
}

/// Sends what is asked, in its order.
async fn send(shared: Arc<Shared>, stream: String, mut asked: mpsc::Receiver<Vec<u8>>) {
    let mut batch = Vec::with_capacity(MOST_AT_ONCE);
    while asked.recv_many(&mut batch, MOST_AT_ONCE).await > 0 {
        // Whoever asked finds out by waiting: whether it was taken is not known.
        if let Err(error) = shared.streams.append(&stream, &batch).await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, asks = batch.len(), "a shard could not be asked");
        }
        batch.clear();
    }
}

/// Hears what this process is told.
async fn hear(shared: Arc<Shared>) {
    let streams = &shared.streams;
    let mut after = EntryId::ZERO;
    let mut tidied: Option<Instant> = None;
    loop {
        let heard = streams.follow(&shared.replies, after, MOST_AT_ONCE, WAIT).await;
        match heard {
            Ok(entries) => {
                for entry in entries {
                    after = entry.id;
                    shared.heard(&entry.bytes);
                }
            }
            Err(error) => {
                log(&error);
                tokio::time::sleep(AFTER_FAILURE).await;
                continue;
            }
        }
        if tidied.is_none_or(|tidied| tidied.elapsed() >= TIDY_EVERY) {
            tidied = Some(Instant::now());
            let tidy = async {
                streams.trim_to(&shared.replies, MOST_REPLIES).await?;
                streams.keep_for(&shared.replies, KEPT_FOR).await
            };
            if let Err(error) = tidy.await {
                log(&error);
            }
        }
    }
}

fn log(error: &crate::streams::StreamError) {
    let error: &dyn std::error::Error = error;
    tracing::warn!(error, "answers of shards cannot be heard; trying again");
}

impl Shared {
    fn heard(&self, bytes: &[u8]) {
        match serde_json::from_slice(bytes) {
            Ok(Reply::Answer { id, answer }) => {
                let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).remove(&id);
                // Nobody if they stopped waiting.
                drop(waiting.map(|waiting| waiting.send(answer)));
            }
            Ok(Reply::Shown { account, view }) => {
                let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(sender) = watched.get(&account) {
                    sender.send_replace(Arc::from(view));
                }
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "what a shard answered cannot be read");
            }
        }
    }
}

impl RemoteLine {
    async fn ask(&self, what: Asked) -> Result<Answer, LineError> {
        let shared = &*self.shared;
        let id = shared.next.fetch_add(1, Ordering::Relaxed);
        let (sender, answer) = oneshot::channel();
        shared.waiting.lock().unwrap_or_else(PoisonError::into_inner).insert(id, sender);
        let _waiting = Waiting { shared, id };
        let ask = Ask { id, reply_to: shared.replies.clone(), at: shared.clock.now(), what };
        let bytes = serde_json::to_vec(&ask).map_err(|_| LineError::Gone)?;
        self.sender.try_send(bytes).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => LineError::Full,
            mpsc::error::TrySendError::Closed(_) => LineError::Gone,
        })?;
        match answer.await {
            Ok(Answer::Refused(error)) => Err(error),
            Ok(answer) => Ok(answer),
            Err(_) => Err(LineError::Gone),
        }
    }

    async fn ask_to_watch(&self, account: AccountId) -> Result<Option<Arc<View>>, LineError> {
        match self.ask(Asked::Watch { account }).await? {
            Answer::View(view) => Ok(view.map(Arc::from)),
            Answer::Submitted(_) | Answer::Forecast(_) | Answer::Refused(_) => Err(LineError::Gone),
        }
    }

    /// Says again and again that somebody watches, as long as somebody does.
    async fn go_on_watching(self, account: AccountId) {
        loop {
            tokio::time::sleep(WATCH_AGAIN).await;
            {
                let mut watched = self.shared.watched.lock().unwrap_or_else(PoisonError::into_inner);
                if watched.get(&account).is_none_or(|sender| sender.receiver_count() == 0) {
                    watched.remove(&account);
                    return;
                }
            }
            // Nobody answers while the shard has no owner; the next round asks again.
            let shown = tokio::time::timeout(WATCH_AGAIN, self.ask_to_watch(account)).await;
            if let Ok(Ok(Some(view))) = shown {
                let watched = self.shared.watched.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(sender) = watched.get(&account) {
                    sender.send_replace(view);
                }
            }
        }
    }
}

#[async_trait]
impl Line for RemoteLine {
    async fn submit(&self, command: Command, origin: Origin) -> Result<Submitted, LineError> {
        match self.ask(Asked::Submit { command, origin }).await? {
            Answer::Submitted(submitted) => Ok(submitted),
            Answer::View(_) | Answer::Forecast(_) | Answer::Refused(_) => Err(LineError::Gone),
        }
    }

    async fn view(&self, account: AccountId) -> Result<Option<Arc<View>>, LineError> {
        match self.ask(Asked::View { account }).await? {
            Answer::View(view) => Ok(view.map(Arc::from)),
            Answer::Submitted(_) | Answer::Forecast(_) | Answer::Refused(_) => Err(LineError::Gone),
        }
    }

    async fn forecast(&self, account: AccountId) -> Result<Option<Box<Forecast>>, LineError> {
        match self.ask(Asked::Forecast { account }).await? {
            Answer::Forecast(forecast) => Ok(forecast),
            Answer::Submitted(_) | Answer::View(_) | Answer::Refused(_) => Err(LineError::Gone),
        }
    }

    async fn watch(&self, account: AccountId) -> Result<Option<Views>, LineError> {
        let Some(view) = self.ask_to_watch(account).await? else { return Ok(None) };
        let mut watched = self.shared.watched.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sender) = watched.get(&account) {
            sender.send_replace(view);
            return Ok(Some(sender.subscribe()));
        }
        let (sender, views) = watch::channel(view);
        watched.insert(account, sender);
        let line = Self { shared: Arc::clone(&self.shared), sender: self.sender.clone() };
        tokio::spawn(line.go_on_watching(account));
        Ok(Some(views))
    }
}
