//! How whoever owns a shard answers other processes over streams.
//!
//! Questions are taken in their order and acknowledged once they are answered; what an owner that died has not answered, the
//! next one takes on. A question that is too old is passed over: nobody waits for it any more, and an order is not
//! carried out long after it was given.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use engine::View;
use kernel::{AccountId, Clock, OwnerId, Span};
use tokio::sync::{mpsc, watch};
use tokio::time::Instant;

use super::desk::{ANSWERS_WITHIN, Line as _, LineError, Views};
use super::queue::Queue;
use super::remote::WATCH_AGAIN;
use super::wire::{Answer, Ask, Asked, OWNERS, Reply, asks};
use crate::streams::{Entry, EntryId, StreamError, Streams};

/// Questions taken, and answers given, in one go.
const MOST: usize = 512;
/// How long a look at the questions waits for one.
const WAIT: Duration = Duration::from_secs(1);
/// An older question is passed over. Nobody waits so long; clocks of processes may differ by the rest.
const OLDEST: Duration = ANSWERS_WITHIN.saturating_add(Duration::from_secs(5));
/// What was given to somebody and not answered for so long is looked at again: it was given to an owner that has lost the
/// shard without knowing it.
const FORGOTTEN: Duration = Duration::from_secs(4);
/// Whoever does not say again that they watch is shown nothing more after this time.
const WATCHED_FOR: Duration = WATCH_AGAIN.saturating_mul(3);
/// Pause after a failure.
const AFTER_FAILURE: Duration = Duration::from_millis(200);

/// Answers for one shard.
#[derive(Clone)]
pub(super) struct Answering {
    pub streams: Arc<dyn Streams>,
    pub clock: Arc<dyn Clock>,
    pub owner: OwnerId,
    pub queue: Queue,
    pub shard: i16,
}

/// An answer on its way, with the question it is to.
struct Answered {
    reply_to: String,
    bytes: Vec<u8>,
    entry: Option<EntryId>,
}

type Answers = mpsc::Sender<Answered>;

/// Until when somebody watches an account, by where they are told.
type Watching = Arc<Mutex<BTreeMap<(String, AccountId), Instant>>>;

impl Answering {
    /// Answers until it is to stop. What is not answered by then, the next owner answers.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        loop {
            let (answers, ready) = mpsc::channel(MOST);
            // Neither may interrupt the other: a question that was just being given would wait for a long time.
            let failed = async { tokio::try_join!(self.hear(answers), self.give_all(ready)) };
            let failed = tokio::select! {
                failed = failed => failed,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            if let Err(error) = failed {
                let error: &dyn std::error::Error = &error;
                tracing::warn!(
                    error,
                    shard = self.shard,
                    "questions cannot be heard or answered; trying again"
                );
            }
            tokio::time::sleep(AFTER_FAILURE).await;
        }
    }

    async fn hear(&self, answers: Answers) -> Result<(), StreamError> {
        let (stream, member) = (asks(self.shard), self.owner.to_string());
        let watching = Watching::default();
        let mut looked: Option<Instant> = None;
        // Whoever owned the shard before has ended.
        let mut idle = Duration::ZERO;
        loop {
            if looked.is_none_or(|looked| looked.elapsed() >= FORGOTTEN) {
                let claimed = self.streams.claim(&stream, OWNERS, &member, idle, MOST).await?;
                looked = Some(Instant::now());
                idle = FORGOTTEN;
                self.take(&stream, claimed, &answers, &watching).await?;
                self.streams.trim(&stream).await?;
            }
            let read = self.streams.read(&stream, OWNERS, &member, MOST, WAIT).await?;
            self.take(&stream, read, &answers, &watching).await?;
        }
    }

    async fn give_all(&self, mut ready: mpsc::Receiver<Answered>) -> Result<(), StreamError> {
        let stream = asks(self.shard);
        let mut given = Vec::with_capacity(MOST);
        while ready.recv_many(&mut given, MOST).await > 0 {
            self.give(&stream, std::mem::take(&mut given)).await?;
        }
        Ok(())
    }

    /// Puts questions into the queue of the shard, in their order.
    async fn take(
        &self,
        stream: &str,
        entries: Vec<Entry>,
        answers: &Answers,
        watching: &Watching,
    ) -> Result<(), StreamError> {
        let oldest = Span::from(OLDEST);
        let mut passed_over = Vec::new();
        for Entry { id: entry, bytes } in entries {
            let ask: Ask = match serde_json::from_slice(&bytes) {
                Ok(ask) => ask,
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::error!(error, shard = self.shard, "a question cannot be read");
                    passed_over.push(entry);
                    continue;
                }
            };
            if self.clock.now().since(ask.at).is_ok_and(|age| age > oldest) {
                passed_over.push(entry);
                continue;
            }
            self.ask(ask, entry, answers.clone(), Arc::clone(watching));
        }
        self.streams.acknowledge(stream, OWNERS, &passed_over).await
    }

    fn ask(&self, Ask { id, reply_to, at, what }: Ask, entry: EntryId, answers: Answers, watching: Watching) {
        let queue = self.queue.clone();
        match what {
            Asked::Submit { command, origin } => {
                let received_at = at.min(self.clock.now());
                let handed_in = queue.hand_in(command, origin, received_at);
                tokio::spawn(async move {
                    let submitted = match handed_in {
                        Ok(answer) => answer.await.map_err(|_| LineError::Gone),
                        Err(refused) => Err(refused),
                    };
                    // The shard failed or is another's: nobody knows whether it took effect, and a retry finds out.
                    let answer = submitted.map_or_else(Answer::Refused, Answer::Submitted);
                    reply(&answers, reply_to, Reply::Answer { id, answer }, Some(entry)).await;
                });
            }
            Asked::View { account } => {
                tokio::spawn(async move {
                    let view = queue.view(account).await;
                    let boxed =
                        |view: Option<Arc<View>>| Answer::View(view.map(|view| Box::new((*view).clone())));
                    let answer = view.map_or_else(Answer::Refused, boxed);
                    reply(&answers, reply_to, Reply::Answer { id, answer }, Some(entry)).await;
                });
            }
            Asked::Forecast { account } => {
                tokio::spawn(async move {
                    let answer = queue.forecast(account).await.map_or_else(Answer::Refused, Answer::Forecast);
                    reply(&answers, reply_to, Reply::Answer { id, answer }, Some(entry)).await;
                });
            }
            Asked::Watch { account } => {
                tokio::spawn(async move {
                    let views = queue.watch(account).await;
                    let shown = |views: &Views| Box::new((**views.borrow()).clone());
                    let answer = match &views {
                        Ok(views) => Answer::View(views.as_ref().map(shown)),
                        Err(error) => Answer::Refused(*error),
                    };
                    reply(&answers, reply_to.clone(), Reply::Answer { id, answer }, Some(entry)).await;
                    if let Ok(Some(views)) = views {
                        show(answers, watching, reply_to, account, views).await;
                    }
                });
            }
        }
    }

    /// Gives answers, each process its own, and acknowledges the questions.
    async fn give(&self, stream: &str, given: Vec<Answered>) -> Result<(), StreamError> {
        let mut by_process: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
        let mut answered = Vec::with_capacity(given.len());
        for Answered { reply_to, bytes, entry } in given {
            by_process.entry(reply_to).or_default().push(bytes);
            answered.extend(entry);
        }
        for (process, replies) in by_process {
            self.streams.append(&process, &replies).await?;
        }
        self.streams.acknowledge(stream, OWNERS, &answered).await
    }
}

async fn reply(answers: &Answers, reply_to: String, reply: Reply, entry: Option<EntryId>) {
    match serde_json::to_vec(&reply) {
        // An error means that this owner has ended.
        Ok(bytes) => drop(answers.send(Answered { reply_to, bytes, entry }).await),
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "an answer cannot be written");
        }
    }
}

/// Shows an account to a process as long as it says that it watches. One task for each, however often it says so.
async fn show(answers: Answers, watching: Watching, reply_to: String, account: AccountId, mut views: Views) {
    let key = (reply_to.clone(), account);
    let until = || Instant::now().checked_add(WATCHED_FOR);
    {
        let mut watching = watching.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(until) = until() else { return };
        if watching.insert(key.clone(), until).is_some() {
            return;
        }
    }
    views.mark_unchanged();
    loop {
        let until = watching.lock().unwrap_or_else(PoisonError::into_inner).get(&key).copied();
        let Some(until) = until.filter(|until| *until > Instant::now()) else { break };
        match tokio::time::timeout_at(until, views.changed()).await {
            // The next look says whether somebody still watches.
            Err(_) => continue,
            Ok(Err(_)) => break,
            Ok(Ok(())) => {}
        }
        let view = Box::new((**views.borrow_and_update()).clone());
        if answers.is_closed() {
            break;
        }
        reply(&answers, reply_to.clone(), Reply::Shown { account, view }, None).await;
    }
    watching.lock().unwrap_or_else(PoisonError::into_inner).remove(&key);
}
