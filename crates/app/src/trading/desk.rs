//! The way to the shards: commands in, answers out once they are durable, views as they change.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use engine::{Command, Done, Event, Forecast, Order, Outcome, Position, View, What};
use kernel::AccountId;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use super::port::Origin;
use crate::AppError;

/// An account's newest view, replaced with every commit that may have changed it.
pub type Views = watch::Receiver<Arc<View>>;

/// A durable answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Submitted {
    /// The answer.
    pub outcome: Outcome,
    /// Whether it is the first answer given again.
    pub repeated: bool,
    /// What it names, as the command left it; nothing if it names nothing or is repeated.
    pub left: Option<Left>,
}

/// What a command has left.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Left {
    /// The order as placed, filled, changed or cancelled.
    Order(Box<Order>),
    /// The position as changed or closed.
    Position(Box<Position>),
}

impl Left {
    /// Of what happened at a command, what its answer names.
    pub(super) fn of(outcome: &Outcome, events: &[Event]) -> Option<Self> {
        events.iter().rev().find_map(|event| match (outcome, &event.what) {
            (Ok(Done::Order(ticket)), What::Order(order)) if order.ticket == *ticket => {
                Some(Self::Order(Box::new(order.clone())))
            }
            (Ok(Done::Position(ticket)), What::Position(position)) if position.ticket == *ticket => {
                Some(Self::Position(Box::new(position.clone())))
            }
            _ => None,
        })
    }
}

/// The way to one shard, whoever owns it and wherever: a queue of this process, or a stream. What every one of them
/// promises is what `tests/lines.rs` asks of it.
#[async_trait]
pub trait Line: Send + Sync {
    /// Hands a command in and waits until its answer is durable. Commands of one caller are decided in the order in
    /// which they were handed in; one that finds the line full is refused at once and takes no effect.
    async fn submit(&self, command: Command, origin: Origin) -> Result<Submitted, LineError>;
    /// An account as of the last commit.
    async fn view(&self, account: AccountId) -> Result<Option<Arc<View>>, LineError>;
    /// What would come next for an account as of the last commit.
    async fn forecast(&self, account: AccountId) -> Result<Option<Box<Forecast>>, LineError>;
    /// An account as of every commit from now on; the receiver always holds the newest view only.
    async fn watch(&self, account: AccountId) -> Result<Option<Views>, LineError>;
}

/// Why a line has no answer. Except after [`LineError::Full`] the caller cannot know whether the command took effect; a
/// retry under the same key finds out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum LineError {
    /// Too much waits already; nothing was done.
    #[error("too many commands wait for the shard")]
    Full,
    /// The owner stopped before it answered.
    #[error("the shard stopped before it answered")]
    Gone,
    /// Nobody answered in time.
    #[error("the shard did not answer within {} s", ANSWERS_WITHIN.as_secs())]
    Silent,
}

/// Whoever asks waits no longer for an answer.
pub const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// The lines to all shards. Cheap to clone.
#[derive(Clone)]
pub struct Desk {
    lines: Arc<[Arc<dyn Line>]>,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Desk").field("shards", &self.lines.len()).finish()
    }
}

impl Desk {
    /// A desk with a line to each shard, in their order.
    pub fn new(lines: impl IntoIterator<Item = Arc<dyn Line>>) -> Self {
        Self { lines: lines.into_iter().collect() }
    }

    /// Submits a command and waits until its answer is durable.
    pub async fn submit(&self, command: Command, origin: Origin) -> Result<Submitted, AppError> {
        let line = self.line(command.account)?;
        in_time(line.submit(command, origin)).await
    }

    /// An account as of the last commit.
    pub async fn view(&self, account: AccountId) -> Result<Option<Arc<View>>, AppError> {
        in_time(self.line(account)?.view(account)).await
    }

    /// What would come next for an account as of the last commit.
    pub async fn forecast(&self, account: AccountId) -> Result<Option<Box<Forecast>>, AppError> {
        in_time(self.line(account)?.forecast(account)).await
    }

    /// An account as of every commit from now on; the receiver always holds the newest view only.
    pub async fn watch(&self, account: AccountId) -> Result<Option<Views>, AppError> {
        in_time(self.line(account)?.watch(account)).await
    }

    fn line(&self, account: AccountId) -> Result<&dyn Line, AppError> {
        let shards = i16::try_from(self.lines.len()).unwrap_or(i16::MAX);
        let line = usize::try_from(account.shard(shards)).ok().and_then(|shard| self.lines.get(shard));
        line.map(|line| &**line).ok_or_else(|| unavailable(LineError::Gone))
    }
}

async fn in_time<T>(answer: impl Future<Output = Result<T, LineError>>) -> Result<T, AppError> {
    let answer = tokio::time::timeout(ANSWERS_WITHIN, answer).await;
    answer.unwrap_or(Err(LineError::Silent)).map_err(unavailable)
}

fn unavailable(error: LineError) -> AppError {
    AppError::Unavailable { doing: "trading", source: error.into() }
}
