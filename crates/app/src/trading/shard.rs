//! The owner of an engine: applies what comes, and writes what that did in one transaction after the other. While one
//! commits the engine goes on deciding; what it decides then is the next one. Nobody is answered before the commit.

use std::collections::BTreeMap;
use std::iter::from_fn;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use engine::{
    Act, Engine, EngineError, Event, Forecast, Input, Instruments, Open, Past, Quote, RestoreError, Restored,
    Resumed, View, What,
};
use kernel::{AccountId, Clock, OwnerId, RequestId, Span, Timestamp};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::desk::{Left, Submitted, Views};
use super::port::{
    Batch, Changed, Decided, Journaled, LoggedQuote, RefusedQuote, ShardCommit, ShardError, ShardStore,
};
use super::queue::{Inbox, Message};
use super::replay::ReplayError;
use super::sequencer::SharedQuoteLog;
use super::traded::Traded;
use super::words;
use crate::BoxError;
use crate::latency::{Meter, Passage, Received};
use crate::receipts::Stored;

/// Messages in one batch: bounds how long the first waits for the last.
const MOST_IN_BATCH: usize = 1_024;
/// Commands in a batch that make the next one wait: others will come meanwhile, and a batch costs as much as some ten orders
/// beside its rows.
const MANY_IN_BATCH: usize = 4;
/// After such a batch the next one begins this much later at the earliest.
const APART: Duration = Duration::from_millis(2);
/// Quotes that change nothing are committed as progress this often.
const PROGRESS: Span = Span::from_seconds(1);
/// Pause before a shard is loaded again after a failure; doubled with each further one.
const AFTER_FAILURE: Duration = Duration::from_millis(200);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A store that does not answer within this time has failed.
const STORE_ANSWERS: Duration = Duration::from_secs(30);
/// So long a shard waits for quotes that it has judged elsewhere already.
const LOG_FOLLOWS_WITHIN: Duration = Duration::from_secs(20);
/// It looks for them this often.
const LOG_LOOKED_AT: Duration = Duration::from_millis(20);
/// Accounts whose peaks are brought up to date with the progress, in turn. Those whose peak rose are written anew; once
/// everybody had a turn the mark moves.
const SETTLED_AT_ONCE: usize = 1_024;
/// Events decided from the quote log while loading that are stored in one go.
const MOST_WHILE_LOADING: usize = 2_000;

/// What the shards of a process need.
#[derive(Clone)]
pub struct ShardSettings {
    /// Whose shards they are.
    pub owner: OwnerId,
    /// The instrument table.
    pub instruments: Arc<Instruments>,
    /// Stamps commands.
    pub clock: Arc<dyn Clock>,
    /// Where their state is stored.
    pub store: Arc<dyn ShardStore>,
    /// Where quotes are read again after a start.
    pub log: SharedQuoteLog,
    /// Whether the log is a copy that another process feeds, and may be behind what a shard has committed elsewhere.
    pub log_follows: bool,
    /// Told of every verdict that is stored.
    pub stored: Stored,
    /// Counts how long everything took.
    pub meter: Meter,
}

/// A shard in the hands of its owner.
pub(super) struct Shard {
    number: i16,
    settings: ShardSettings,
    inbox: Inbox,
    /// True once the shard is to be given back.
    stop: watch::Receiver<bool>,
    watchers: BTreeMap<AccountId, Watcher>,
    /// Quotes the gate refused that are not stored yet; they outlast a failure.
    refused: Vec<RefusedQuote>,
    /// Failures since the last commit.
    failures: u32,
}

/// Somebody looks at an account; it is rendered again only after the engine has looked at it too.
struct Watcher {
    sender: watch::Sender<Arc<View>>,
    shown: Option<(u64, u64)>,
}

/// Why a shard's state is lost. Whatever waited is dropped unanswered: nobody may say what did not commit.
#[derive(Debug, thiserror::Error)]
enum Failure {
    #[error(transparent)]
    Shard(#[from] ShardError),
    #[error("the engine stopped")]
    Engine(#[from] EngineError),
    #[error("reading the quote log")]
    Log(#[source] BoxError),
    #[error(transparent)]
    Restore(#[from] RestoreError<ReplayError>),
    #[error("the store did not answer in time")]
    Silent(#[from] tokio::time::error::Elapsed),
    #[error("the task that stored a batch ended")]
    Task(#[from] tokio::task::JoinError),
}

struct State {
    engine: Engine,
    epoch: i64,
    seq: i64,
    quote_position: u64,
    committed_quote: u64,
    committed_at: Timestamp,
    committed_mark: u64,
    /// When peaks were last settled.
    settled_at: Timestamp,
    traded: Traded,
    pending: Pending,
}

/// Whoever asked, and what they are told.
type Answer<T> = (oneshot::Sender<T>, T);

/// What was decided and asked since the last batch was cut.
#[derive(Default)]
struct Pending {
    messages: usize,
    events: Vec<Decided>,
    journal: Vec<Journaled>,
    passages: Vec<Passage>,
    submitted: Vec<Answer<Submitted>>,
    views: Vec<(AccountId, oneshot::Sender<Option<Arc<View>>>)>,
    forecasts: Vec<(AccountId, oneshot::Sender<Option<Box<Forecast>>>)>,
    watches: Vec<(AccountId, oneshot::Sender<Option<Views>>)>,
}

/// What may be said once a batch is durable, as it stood when the batch was cut.
#[derive(Default)]
struct Answers {
    submitted: Vec<Answer<Submitted>>,
    views: Vec<Answer<Option<Arc<View>>>>,
    forecasts: Vec<Answer<Option<Box<Forecast>>>>,
    watches: Vec<(AccountId, oneshot::Sender<Option<Views>>, Option<Shown>)>,
    shown: Vec<(AccountId, Shown)>,
}

/// A view and what it was rendered from.
#[derive(Clone)]
struct Shown {
    view: Arc<View>,
    looks: Option<(u64, u64)>,
}

/// A batch on its way.
struct Commit {
    batch: Arc<Batch>,
    passages: Vec<Passage>,
    answers: Answers,
    stored: JoinHandle<Result<ShardCommit, Failure>>,
}

impl Commit {
    /// Waits until the batch is stored or is not.
    async fn stored(&mut self) -> Result<ShardCommit, Failure> {
        (&mut self.stored).await?
    }
}

impl Shard {
    pub fn new(number: i16, settings: ShardSettings, inbox: Inbox, stop: watch::Receiver<bool>) -> Self {
        Self { number, settings, inbox, stop, watchers: BTreeMap::new(), refused: Vec::new(), failures: 0 }
    }

    /// Runs until it is to be given back or another owner has taken it over. After a failure of the store the shard
    /// forgets what it had decided, loads what was committed and goes on from there.
    pub async fn run(mut self) {
        loop {
            match self.own().await {
                Ok(()) => return,
                Err(Failure::Shard(ShardError::Deposed)) => {
                    tracing::warn!(shard = self.number, "another owner took the shard over; stopping");
                    return;
                }
                Err(failure) => {
                    report(self.number, &failure);
                    let doublings = self.failures.min(8);
                    self.failures = self.failures.saturating_add(1);
                    let pause = AFTER_FAILURE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
                    // What was committed is safe, so a shard that is to be given back may end here.
                    tokio::select! {
                        () = tokio::time::sleep(pause) => {}
                        () = stopped(&mut self.stop) => return,
                    }
                }
            }
        }
    }

    async fn own(&mut self) -> Result<(), Failure> {
        let mut state = self.load().await?;
        let mut messages = Vec::with_capacity(MOST_IN_BATCH);
        let mut commit: Option<Commit> = None;
        let mut stopping = false;
        let mut earliest = Instant::now();
        loop {
            let now = Instant::now();
            if commit.is_none() && (stopping || now >= earliest) {
                commit = self.cut(&mut state)?;
                let many = commit.as_ref().is_some_and(|commit| commit.batch.journal.len() >= MANY_IN_BATCH);
                earliest = if many { now.checked_add(APART).unwrap_or(now) } else { now };
            }
            if stopping && commit.is_none() {
                return Ok(());
            }
            let waits = commit.is_none() && state.pending.messages > 0;
            let room = MOST_IN_BATCH.saturating_sub(state.pending.messages);
            let under_way = async {
                match &mut commit {
                    Some(commit) => commit.stored().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                stored = under_way => {
                    if let Some(done) = commit.take() {
                        self.finish(stored, done)?;
                    }
                }
                () = stopped(&mut self.stop), if !stopping => stopping = true,
                () = tokio::time::sleep_until(earliest), if waits => {}
                count = self.inbox.recv_many(&mut messages, room), if room > 0 && !stopping => {
                    if count == 0 {
                        // Nobody is left who could ask.
                        return Ok(());
                    }
                    state.pending.messages = state.pending.messages.saturating_add(count);
                    for message in messages.drain(..) {
                        self.take(&mut state, message).await?;
                    }
                }
            }
        }
    }

    async fn load(&mut self) -> Result<State, Failure> {
        let store = Arc::clone(&self.settings.store);
        let taken = store.take_over(self.number, self.settings.owner);
        let loaded = tokio::time::timeout(STORE_ANSWERS, taken).await??;
        if self.settings.log_follows {
            self.wait_for_log(loaded.state.last.position).await;
        }
        // What is appended from here on arrives through the queue.
        let (quotes, last) = {
            let log = self.settings.log.lock().unwrap_or_else(PoisonError::into_inner);
            let last = log.last().map_or(0, |last| last.position);
            (log.read(loaded.state.mark.position.saturating_add(1)).map_err(Failure::Log)?, last)
        };
        let mut quotes = quotes.peekable();
        let committed_mark = loaded.state.mark.position;
        let (at, quote_position) = (loaded.state.at, loaded.state.last.position);
        let judged = from_fn(|| quotes.next_if(|quote| !is_after(quote, quote_position)));
        let Resumed { engine, missing } = resume(&self.settings.instruments, loaded.state, judged)?;
        if missing > 0 {
            tracing::error!(
                shard = self.number,
                missing,
                "quotes since the last mark are in no log any more: peaks of equity that were reached at them are lost, and \
                 floors that follow peaks may lie too low"
            );
        }
        let mut state = State {
            committed_at: at,
            committed_mark,
            settled_at: at,
            traded: Traded::taken_over(at, &loaded.traded),
            engine,
            epoch: loaded.epoch,
            seq: loaded.seq,
            quote_position,
            committed_quote: quote_position,
            pending: Pending::default(),
        };
        while state.quote_position < last
            && let Some(quote) = quotes.next()
        {
            self.take_quote(&mut state, &quote.map_err(Failure::Log)?)?;
            if state.pending.events.len() >= MOST_WHILE_LOADING
                && let Some(mut commit) = self.cut(&mut state)?
            {
                let stored = commit.stored().await;
                self.finish(stored, commit)?;
            }
        }
        tracing::info!(
            shard = self.number,
            epoch = state.epoch,
            accounts = state.engine.accounts().count(),
            quotes_replayed = state.quote_position.saturating_sub(quote_position),
            "shard loaded"
        );
        Ok(state)
    }

    /// Waits until the copy of the log holds what was judged elsewhere, or for so long that it never will.
    async fn wait_for_log(&self, position: u64) {
        let holds = || {
            let log = self.settings.log.lock().unwrap_or_else(PoisonError::into_inner);
            log.last().is_some_and(|last| last.position >= position)
        };
        let deadline = Instant::now().checked_add(LOG_FOLLOWS_WITHIN);
        while position > 0 && !holds() && deadline.is_none_or(|deadline| Instant::now() < deadline) {
            tokio::time::sleep(LOG_LOOKED_AT).await;
        }
    }

    async fn take(&mut self, state: &mut State, message: Message) -> Result<(), Failure> {
        match message {
            Message::Quotes(quotes) => {
                for quote in &*quotes {
                    // What was queued while the shard loaded has been read from the log already.
                    if quote.position > state.quote_position {
                        self.take_quote(state, quote)?;
                    }
                }
            }
            Message::RefusedQuotes(refused) => self.refused.extend(refused),
            Message::Clock(at) => {
                let at = at.max(state.engine.now());
                let mut events = Vec::new();
                state.engine.apply(at, &Input::Clock, &mut events)?;
                self.decided(state, events, None);
            }
            Message::Command { command, origin, received_at, reply } => {
                if let Act::Open(open) = &command.act {
                    self.learn(state, open).await?;
                }
                let at = self.settings.clock.now().max(state.engine.now());
                let input = Input::Command(command);
                let mut events = Vec::new();
                let answered = state.engine.apply(at, &input, &mut events)?;
                let left = answered.as_ref().and_then(|answered| Left::of(&answered.outcome, &events));
                self.decided(state, events, origin.request);
                let Input::Command(command) = input else { return Ok(()) };
                let Some(answered) = answered else { return Ok(()) };
                if answered.fresh
                    && let Some(firm) = state.engine.firm(command.account)
                {
                    let decided_at = self.settings.clock.now();
                    let (account, received) = (command.account, Received::Command);
                    let passage = Passage { firm, account, received, received_at, decided_at };
                    state.pending.passages.push(passage);
                    state.seq = state.seq.saturating_add(1);
                    state.pending.journal.push(Journaled {
                        seq: state.seq,
                        firm,
                        at,
                        after_quote: state.quote_position,
                        command,
                        outcome: answered.outcome,
                        origin,
                    });
                }
                let submitted = Submitted { outcome: answered.outcome, repeated: !answered.fresh, left };
                state.pending.submitted.push((reply, submitted));
            }
            Message::View { account, reply } => state.pending.views.push((account, reply)),
            Message::Forecast { account, reply } => state.pending.forecasts.push((account, reply)),
            Message::Watch { account, reply } => state.pending.watches.push((account, reply)),
        }
        Ok(())
    }

    fn take_quote(&self, state: &mut State, quote: &LoggedQuote) -> Result<(), Failure> {
        let mut events = Vec::new();
        apply_quote(&mut state.engine, quote, &mut events)?;
        state.quote_position = quote.position;
        self.decided(state, events, None);
        Ok(())
    }

    /// Writes down when what happened was decided, and what request caused it.
    fn decided(&self, state: &mut State, events: Vec<Event>, request: Option<RequestId>) {
        if events.is_empty() {
            return;
        }
        let at = self.settings.clock.now();
        let engine = &state.engine;
        for event in events {
            let Some(firm) = engine.firm(event.account) else { continue };
            if matches!(event.what, What::Verdict(_)) {
                let (account, received) = (event.account, Received::Verdict);
                let passage = Passage { firm, account, received, received_at: event.at, decided_at: at };
                state.pending.passages.push(passage);
            }
            state.pending.events.push(Decided { firm, at, request, event });
        }
    }

    /// Makes an account's program known; one that is not stored stays unknown, and the engine refuses.
    async fn learn(&self, state: &mut State, open: &Open) -> Result<(), Failure> {
        if !state.engine.knows(&open.version)
            && let Some(program) = self.settings.store.program(&open.version).await?
        {
            state.engine.learn(open.version.clone(), program);
        }
        Ok(())
    }

    /// Begins to write what was decided, or speaks at once if there is nothing to write: no batch is on its way, so all
    /// that can be seen is durable. Quotes that changed nothing are written as progress now and then only.
    fn cut(&mut self, state: &mut State) -> Result<Option<Commit>, Failure> {
        let now = state.engine.now();
        let overdue = now.since(state.committed_at).is_ok_and(|age| age >= PROGRESS);
        let progress = overdue && state.quote_position > state.committed_quote;
        let pending = &state.pending;
        let nothing = pending.events.is_empty() && pending.journal.is_empty() && self.refused.is_empty();
        if nothing && !progress && !state.traded.is_due(now) {
            if state.pending.messages > 0 {
                let answers = self.answers(state)?;
                self.speak(answers);
            }
            return Ok(None);
        }
        let periodic = now.since(state.settled_at).is_ok_and(|age| age >= PROGRESS);
        if periodic {
            state.engine.settle_some(SETTLED_AT_ONCE)?;
            state.settled_at = now;
        }
        let changed = state.engine.take_changed()?;
        let answers = self.answers(state)?;
        let Pending { events, journal, passages, .. } = std::mem::take(&mut state.pending);
        let accounts = changed.into_iter().filter_map(|(id, stored)| {
            Some(Changed { account: state.engine.account(id)?.without_answers(), stored })
        });
        let standing = state.engine.market().all().iter().flatten();
        let standing = standing.filter(|standing| standing.position > state.committed_quote);
        let mark = state.engine.mark();
        let moved = periodic && mark.position != state.committed_mark;
        let mark = moved.then(|| mark.into_owned());
        state.committed_mark = mark.as_ref().map_or(state.committed_mark, |mark| mark.position);
        let journaled = i64::try_from(journal.len()).unwrap_or(i64::MAX);
        let batch = Arc::new(Batch {
            shard: self.number,
            epoch: state.epoch,
            after_seq: state.seq.saturating_sub(journaled),
            seq: state.seq,
            quote_position: state.quote_position,
            at: now,
            outbox: words::outbox(&events).chain(state.traded.told(now, &events)).collect(),
            accounts: accounts.collect(),
            standing: standing.copied().collect(),
            journal,
            events,
            refused_quotes: std::mem::take(&mut self.refused),
            mark,
        });
        state.committed_quote = state.quote_position;
        state.committed_at = now;
        let (store, writing) = (Arc::clone(&self.settings.store), Arc::clone(&batch));
        // On a task of its own, so that it goes on while the engine decides.
        let stored =
            tokio::spawn(
                async move { Ok(tokio::time::timeout(STORE_ANSWERS, store.commit(&writing)).await??) },
            );
        Ok(Some(Commit { batch, passages, answers, stored }))
    }

    /// Speaks about a batch that is stored.
    fn finish(&mut self, stored: Result<ShardCommit, Failure>, commit: Commit) -> Result<(), Failure> {
        let Commit { batch, passages, answers, .. } = commit;
        if stored.is_err() {
            // The rest of the batch is in the quote log or was not answered; these are nowhere else.
            self.refused.splice(0..0, batch.refused_quotes.iter().cloned());
        }
        let _proof = stored?;
        let verdicts = batch.events.iter().filter_map(|Decided { event, .. }| {
            if let What::Verdict(verdict) = &event.what {
                Some((event.account, verdict.number))
            } else {
                None
            }
        });
        let durable_at = self.settings.clock.now();
        self.settings.stored.tell(verdicts, durable_at);
        self.settings.meter.add(&passages, durable_at);
        self.failures = 0;
        self.speak(answers);
        Ok(())
    }

    /// Renders what was asked for and what is watched, as the engine stands.
    fn answers(&mut self, state: &mut State) -> Result<Answers, Failure> {
        let engine = &state.engine;
        let pending = &mut state.pending;
        pending.messages = 0;
        let mut answers = Answers { submitted: std::mem::take(&mut pending.submitted), ..Answers::default() };
        for (account, reply) in pending.views.drain(..) {
            answers.views.push((reply, engine.view(account)?.map(Arc::new)));
        }
        for (account, reply) in pending.forecasts.drain(..) {
            answers.forecasts.push((reply, engine.forecast(account)?.map(Box::new)));
        }
        let shown = |account| -> Result<Option<Shown>, EngineError> {
            let looks = engine.looks(account);
            Ok(engine.view(account)?.map(|view| Shown { view: Arc::new(view), looks }))
        };
        for (account, reply) in pending.watches.drain(..) {
            answers.watches.push((account, reply, shown(account)?));
        }
        self.watchers.retain(|_, watcher| watcher.sender.receiver_count() > 0);
        for (account, watcher) in &mut self.watchers {
            if watcher.shown != engine.looks(*account)
                && let Some(shown) = shown(*account)?
            {
                watcher.shown = shown.looks;
                answers.shown.push((*account, shown));
            }
        }
        Ok(answers)
    }

    /// Speaks, now that everything is durable. Whoever stopped waiting is not an error.
    fn speak(&mut self, answers: Answers) {
        for (reply, submitted) in answers.submitted {
            let _ = reply.send(submitted);
        }
        for (reply, view) in answers.views {
            drop(reply.send(view));
        }
        for (reply, forecast) in answers.forecasts {
            drop(reply.send(forecast));
        }
        for (account, shown) in answers.shown {
            if let Some(watcher) = self.watchers.get(&account) {
                watcher.sender.send_replace(shown.view);
            }
        }
        for (account, reply, shown) in answers.watches {
            let receiver = shown.map(|Shown { view, looks }| {
                if let Some(watcher) = self.watchers.get(&account) {
                    return watcher.sender.subscribe();
                }
                let (sender, receiver) = watch::channel(view);
                self.watchers.insert(account, Watcher { sender, shown: looks });
                receiver
            });
            drop(reply.send(receiver));
        }
    }
}

/// Waits until a shard is to be given back.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error means that its owner is gone: nobody will say more.
    drop(stop.wait_for(|stop| *stop).await);
}

fn is_after(quote: &Result<LoggedQuote, BoxError>, position: u64) -> bool {
    quote.as_ref().is_ok_and(|quote| quote.position > position)
}

/// The engine of a stored state. `quotes` are those behind its mark, as they were logged; what comes behind the state's last
/// place is not read.
pub(super) fn resume(
    instruments: &Arc<Instruments>,
    state: Restored,
    mut quotes: impl Iterator<Item = Result<LoggedQuote, BoxError>>,
) -> Result<Resumed, RestoreError<ReplayError>> {
    let (last, mut reached) = (state.last.position, state.mark.position);
    // What lies behind the last place is not even read.
    let judged = from_fn(|| {
        let quote = if reached < last { quotes.next()? } else { return None };
        reached = quote.as_ref().map_or(last, |quote| quote.position);
        (reached <= last).then_some(quote)
    });
    let judged = judged.map(|quote| {
        let logged = quote.map_err(ReplayError::Reading)?;
        Ok(Past {
            positions: logged.position..=logged.position,
            at: logged.received_at,
            quotes: read_quote(instruments, &logged).into_iter().collect(),
        })
    });
    Engine::restore(Arc::clone(instruments), state, judged)
}

/// A quote of the log; nothing if it was logged under an instrument table that had its instrument: nothing that is held
/// can depend on it.
fn read_quote(instruments: &Instruments, logged: &LoggedQuote) -> Option<Quote> {
    let LoggedQuote { symbol, bid, ask, source_time, .. } = logged;
    let instrument = instruments.find(symbol)?;
    Some(Quote { instrument, bid: *bid, ask: *ask, source_time: *source_time })
}

fn report(shard: i16, failure: &Failure) {
    let error: &dyn std::error::Error = failure;
    tracing::error!(shard, error, "the shard failed; loading it again");
}

/// Applies a logged quote as the live shard did: at its own time, or at the engine's if a command came later.
pub(super) fn apply_quote(
    engine: &mut Engine,
    logged: &LoggedQuote,
    events: &mut Vec<Event>,
) -> Result<(), EngineError> {
    let Some(quote) = read_quote(engine.market().instruments(), logged) else { return Ok(()) };
    let at = logged.received_at.max(engine.now());
    engine.apply(at, &Input::Quotes(logged.position, vec![quote]), events)?;
    Ok(())
}
