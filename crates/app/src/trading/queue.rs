//! The queues of the shards of one process. They outlive owners: whoever takes a shard over takes on what waits in it.

use std::sync::Arc;

use async_trait::async_trait;
use engine::{Command, Forecast, View};
use kernel::{AccountId, Clock, Timestamp};
use tokio::sync::{Mutex, OwnedMutexGuard, mpsc, oneshot};

use super::desk::{Desk, Line, LineError, Submitted, Views};
use super::port::{LoggedQuote, Origin, RefusedQuote};

/// What waits for a shard. Commands beyond this are refused at once, quotes wait.
const MOST_WAITING: usize = 4_096;

/// What a shard is told and asked.
#[derive(Debug)]
pub(super) enum Message {
    Quotes(Arc<[LoggedQuote]>),
    RefusedQuotes(Vec<RefusedQuote>),
    /// Time has passed, says the sequencer that also stamps the quotes.
    Clock(Timestamp),
    Command {
        command: Command,
        origin: Origin,
        received_at: Timestamp,
        reply: oneshot::Sender<Submitted>,
    },
    View {
        account: AccountId,
        reply: oneshot::Sender<Option<Arc<View>>>,
    },
    Forecast {
        account: AccountId,
        reply: oneshot::Sender<Option<Box<Forecast>>>,
    },
    Watch {
        account: AccountId,
        reply: oneshot::Sender<Option<Views>>,
    },
}

/// What waits for one shard, in the hands of its owner.
pub(super) type Inbox = OwnedMutexGuard<mpsc::Receiver<Message>>;

/// One queue for each shard. Cheap to clone.
#[derive(Clone)]
pub struct Queues {
    queues: Arc<[Queue]>,
}

impl std::fmt::Debug for Queues {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Queues").field("shards", &self.queues.len()).finish()
    }
}

#[derive(Clone)]
struct Queue {
    clock: Arc<dyn Clock>,
    sender: mpsc::Sender<Message>,
    inbox: Arc<Mutex<mpsc::Receiver<Message>>>,
}

impl Queues {
    /// Empty queues for so many shards; the clock tells when a command was received.
    pub fn new(shards: i16, clock: &Arc<dyn Clock>) -> Self {
        let queue = |_| {
            let (sender, receiver) = mpsc::channel(MOST_WAITING);
            let inbox = Arc::new(Mutex::new(receiver));
            Queue { clock: Arc::clone(clock), sender, inbox }
        };
        Self { queues: (0..shards).map(queue).collect() }
    }

    /// The way to them.
    pub fn desk(&self) -> Desk {
        Desk::new(self.queues.iter().map(|queue| -> Arc<dyn Line> { Arc::new(queue.clone()) }))
    }

    /// The line to one shard.
    pub fn line(&self, shard: i16) -> Option<Arc<dyn Line>> {
        let queue = usize::try_from(shard).ok().and_then(|shard| self.queues.get(shard))?;
        Some(Arc::new(queue.clone()))
    }

    pub(super) fn senders(&self) -> Vec<mpsc::Sender<Message>> {
        self.queues.iter().map(|queue| queue.sender.clone()).collect()
    }

    /// What waits for a shard, once its last owner has let go of it.
    pub(super) async fn inbox(&self, shard: i16) -> Option<Inbox> {
        let queue = usize::try_from(shard).ok().and_then(|shard| self.queues.get(shard))?;
        Some(Arc::clone(&queue.inbox).lock_owned().await)
    }
}

impl Queue {
    async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T, LineError> {
        let (reply, answer) = oneshot::channel();
        self.sender.send(message(reply)).await.map_err(|_| LineError::Gone)?;
        answer.await.map_err(|_| LineError::Gone)
    }
}

#[async_trait]
impl Line for Queue {
    async fn submit(&self, command: Command, origin: Origin) -> Result<Submitted, LineError> {
        let (reply, answer) = oneshot::channel();
        let received_at = self.clock.now();
        let message = Message::Command { command, origin, received_at, reply };
        self.sender.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => LineError::Full,
            mpsc::error::TrySendError::Closed(_) => LineError::Gone,
        })?;
        answer.await.map_err(|_| LineError::Gone)
    }

    async fn view(&self, account: AccountId) -> Result<Option<Arc<View>>, LineError> {
        self.ask(|reply| Message::View { account, reply }).await
    }

    async fn forecast(&self, account: AccountId) -> Result<Option<Box<Forecast>>, LineError> {
        self.ask(|reply| Message::Forecast { account, reply }).await
    }

    async fn watch(&self, account: AccountId) -> Result<Option<Views>, LineError> {
        self.ask(|reply| Message::Watch { account, reply }).await
    }
}
