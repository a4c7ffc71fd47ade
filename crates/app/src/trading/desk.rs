//! The way to a shard: commands in, answers out once they are durable, views as they change.

use std::sync::Arc;

use engine::{Command, Forecast, Outcome, View};
use kernel::AccountId;
use tokio::sync::{mpsc, oneshot, watch};

use super::port::{LoggedQuote, Origin, RefusedQuote};
use crate::AppError;

/// What waits for a shard. Commands beyond this are refused at once, quotes wait.
pub(super) const QUEUE: usize = 4_096;

pub(super) enum Message {
    Quotes(Vec<LoggedQuote>),
    RefusedQuotes(Vec<RefusedQuote>),
    /// Time has passed, says the sequencer that also stamps the quotes.
    Clock(kernel::Timestamp),
    Command {
        command: Command,
        origin: Origin,
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

/// An account's newest view, replaced with every commit that may have changed it.
pub type Views = watch::Receiver<Arc<View>>;

/// A durable answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Submitted {
    /// The answer.
    pub outcome: Outcome,
    /// Whether it is the first answer given again.
    pub repeated: bool,
}

/// A handle to a shard. Cheap to clone.
#[derive(Clone)]
pub struct Desk {
    pub(super) queue: mpsc::Sender<Message>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Desk").field("free", &self.queue.capacity()).finish()
    }
}

/// The caller cannot know whether the command took effect; a retry under the same key finds out.
#[derive(Debug, thiserror::Error)]
enum DeskError {
    #[error("the shard's queue is full")]
    Full,
    #[error("the shard stopped before it answered")]
    Gone,
}

impl Desk {
    /// Submits a command and waits until its answer is durable.
    pub async fn submit(&self, command: Command, origin: Origin) -> Result<Submitted, AppError> {
        let (reply, answer) = oneshot::channel();
        self.queue.try_send(Message::Command { command, origin, reply }).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => unavailable(DeskError::Full),
            mpsc::error::TrySendError::Closed(_) => unavailable(DeskError::Gone),
        })?;
        answer.await.map_err(|_| unavailable(DeskError::Gone))
    }

    /// An account as of the last commit.
    pub async fn view(&self, account: AccountId) -> Result<Option<Arc<View>>, AppError> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Message::View { account, reply }).await.map_err(|_| unavailable(DeskError::Gone))?;
        answer.await.map_err(|_| unavailable(DeskError::Gone))
    }

    /// What would come next for an account as of the last commit.
    pub async fn forecast(&self, account: AccountId) -> Result<Option<Box<Forecast>>, AppError> {
        let (reply, answer) = oneshot::channel();
        self.queue
            .send(Message::Forecast { account, reply })
            .await
            .map_err(|_| unavailable(DeskError::Gone))?;
        answer.await.map_err(|_| unavailable(DeskError::Gone))
    }

    /// An account as of every commit from now on; the receiver always holds the newest view only.
    pub async fn watch(&self, account: AccountId) -> Result<Option<Views>, AppError> {
        let (reply, answer) = oneshot::channel();
        self.queue.send(Message::Watch { account, reply }).await.map_err(|_| unavailable(DeskError::Gone))?;
        answer.await.map_err(|_| unavailable(DeskError::Gone))
    }
}

fn unavailable(error: DeskError) -> AppError {
    AppError::Unavailable { doing: "trading", source: error.into() }
}
