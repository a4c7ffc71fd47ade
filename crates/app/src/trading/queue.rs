//! The queues of the shards of one process. They outlive owners: whoever takes a shard over takes on what waits in it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

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

/// The queue of one shard.
#[derive(Clone)]
pub(super) struct Queue {
    clock: Arc<dyn Clock>,
    sender: mpsc::Sender<Message>,
    inbox: Arc<Mutex<mpsc::Receiver<Message>>>,
    /// Whether quotes are put in.
    open: Arc<AtomicBool>,
    /// Whether other processes may own the shard: quotes are put in only while this one does.
    elsewhere: bool,
}

/// As long as it lives, quotes are put into a queue.
pub(super) struct Opened(Option<Arc<AtomicBool>>);

impl Drop for Opened {
    fn drop(&mut self) {
        if let Some(open) = &self.0 {
            open.store(false, Ordering::SeqCst);
        }
    }
}

impl Queues {
    /// Empty queues for so many shards, all of which are owned in this process; the clock tells when a command was received.
    pub fn new(shards: i16, clock: &Arc<dyn Clock>) -> Self {
        Self::with(shards, clock, false)
    }

    /// Empty queues for so many shards, which other processes own too.
    pub fn of_some(shards: i16, clock: &Arc<dyn Clock>) -> Self {
        Self::with(shards, clock, true)
    }

    fn with(shards: i16, clock: &Arc<dyn Clock>, elsewhere: bool) -> Self {
        let queue = |_| {
            let (sender, receiver) = mpsc::channel(MOST_WAITING);
            let inbox = Arc::new(Mutex::new(receiver));
            let open = Arc::new(AtomicBool::new(!elsewhere));
            Queue { clock: Arc::clone(clock), sender, inbox, open, elsewhere }
        };
        Self { queues: (0..shards).map(queue).collect() }
    }

    /// The way to them.
    pub fn desk(&self) -> Desk {
        Desk::new(self.queues.iter().map(|queue| -> Arc<dyn Line> { Arc::new(queue.clone()) }))
    }

    /// The line to one shard.
    pub fn line(&self, shard: i16) -> Option<Arc<dyn Line>> {
        Some(Arc::new(self.queue(shard)?.clone()))
    }

    /// The queue of one shard.
    pub(super) fn queue(&self, shard: i16) -> Option<&Queue> {
        usize::try_from(shard).ok().and_then(|shard| self.queues.get(shard))
    }

    /// Tells every shard of this process; false if one takes nothing any more.
    pub(super) async fn tell_all(&self, message: impl Fn() -> Message) -> bool {
        for queue in &*self.queues {
            if !queue.tell(&message).await {
                return false;
            }
        }
        true
    }

    /// Tells the first shard, if it is this process'; false if it takes nothing any more.
    pub(super) async fn tell_first(&self, message: impl Fn() -> Message) -> bool {
        match self.queues.first() {
            Some(queue) => queue.tell(&message).await,
            None => true,
        }
    }

    /// What waits for a shard, once its last owner has let go of it.
    pub(super) async fn inbox(&self, shard: i16) -> Option<(Inbox, Opened)> {
        let queue = self.queue(shard)?;
        let mut inbox = Arc::clone(&queue.inbox).lock_owned().await;
        if !queue.elsewhere {
            return Some((inbox, Opened(None)));
        }
        // What an earlier time as the owner has left: the streams have it, and somebody may have answered it meanwhile.
        while inbox.try_recv().is_ok() {}
        queue.open.store(true, Ordering::SeqCst);
        Some((inbox, Opened(Some(Arc::clone(&queue.open)))))
    }
}

/// A full queue is looked at again this often: its owner may have gone.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

impl Queue {
    /// Puts a message in, waiting where the queue is full; false if nobody will ever take it.
    async fn tell(&self, message: &impl Fn() -> Message) -> bool {
        while self.open.load(Ordering::SeqCst) {
            // Otherwise it is still full.
            if let Ok(sent) = tokio::time::timeout(LOOK_AGAIN, self.sender.send(message())).await {
                return sent.is_ok();
            }
        }
        true
    }

    /// Puts a command in at once, or refuses it; the answer comes once it is durable.
    pub(super) fn hand_in(
        &self,
        command: Command,
        origin: Origin,
        received_at: Timestamp,
    ) -> Result<oneshot::Receiver<Submitted>, LineError> {
        let (reply, answer) = oneshot::channel();
        let message = Message::Command { command, origin, received_at, reply };
        self.sender.try_send(message).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => LineError::Full,
            mpsc::error::TrySendError::Closed(_) => LineError::Gone,
        })?;
        Ok(answer)
    }

    async fn ask<T>(&self, message: impl FnOnce(oneshot::Sender<T>) -> Message) -> Result<T, LineError> {
        let (reply, answer) = oneshot::channel();
        self.sender.send(message(reply)).await.map_err(|_| LineError::Gone)?;
        answer.await.map_err(|_| LineError::Gone)
    }
}

#[async_trait]
impl Line for Queue {
    async fn submit(&self, command: Command, origin: Origin) -> Result<Submitted, LineError> {
        self.hand_in(command, origin, self.clock.now())?.await.map_err(|_| LineError::Gone)
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
