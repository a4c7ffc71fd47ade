//! The owner of an engine. Drains a batch, applies it, writes everything in one transaction, then answers.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use engine::{
    Act, Engine, EngineError, Event, Forecast, Input, Instruments, Key, Open, Outcome, Quote, VerdictKind,
    View, What,
};
use kernel::{AccountId, Clock, FirmId, Span, Timestamp};
use serde_json::json;
use tokio::sync::{mpsc, oneshot, watch};

use super::desk::{Desk, Message, QUEUE, Submitted, Views};
use super::port::{
    AuditEntry, Batch, Journaled, LoggedQuote, Origin, OutboxEntry, RefusedQuote, ShardError, ShardStore,
};
use super::sequencer::SharedQuoteLog;
use crate::BoxError;
use crate::receipts::Stored;

/// Messages in one batch: bounds how long the first waits for the last.
const MOST_IN_BATCH: usize = 512;
/// Quotes that change nothing are committed as progress this often.
const PROGRESS: Span = Span::from_seconds(1);
/// Pause before a shard is loaded again after a failure; doubled with each further one.
const AFTER_FAILURE: Duration = Duration::from_millis(200);
/// The longest such pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// A store that does not answer within this time has failed.
const STORE_ANSWERS: Duration = Duration::from_secs(10);
/// Events decided from the quote log while loading that are stored in one go.
const MOST_WHILE_LOADING: usize = 2_000;

/// What a shard needs.
#[derive(Clone)]
pub struct ShardSettings {
    /// Its number.
    pub shard: i16,
    /// The instrument table.
    pub instruments: Arc<Instruments>,
    /// Stamps commands.
    pub clock: Arc<dyn Clock>,
    /// Where its state is stored.
    pub store: Arc<dyn ShardStore>,
    /// Where quotes are read again after a start.
    pub log: SharedQuoteLog,
    /// Told of every verdict that is stored.
    pub stored: Stored,
}

/// A shard and the queue it owns.
pub struct Shard {
    settings: ShardSettings,
    queue: mpsc::Receiver<Message>,
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
    #[error("the store did not answer in time")]
    Silent(#[from] tokio::time::error::Elapsed),
}

struct State {
    engine: Engine,
    epoch: i64,
    seq: i64,
    quote_position: u64,
    committed_quote: u64,
    committed_at: Timestamp,
}

/// Answers that wait for the commit.
#[derive(Default)]
struct Waiting {
    submitted: Vec<(oneshot::Sender<Submitted>, Submitted)>,
    views: Vec<(AccountId, oneshot::Sender<Option<Arc<View>>>)>,
    forecasts: Vec<(AccountId, oneshot::Sender<Option<Box<Forecast>>>)>,
    watches: Vec<(AccountId, oneshot::Sender<Option<Views>>)>,
}

#[derive(Default)]
struct Drained {
    events: Vec<Event>,
    journal: Vec<Journaled>,
}

impl Shard {
    /// A shard that has not started, and the desk to it.
    pub fn new(settings: ShardSettings) -> (Self, Desk) {
        let (sender, queue) = mpsc::channel(QUEUE);
        let shard = Self { settings, queue, watchers: BTreeMap::new(), refused: Vec::new(), failures: 0 };
        (shard, Desk { queue: sender })
    }

    /// Runs until every desk is gone or another owner takes over. After a failure of the store the shard forgets
    /// what it had decided, loads what was committed and goes on from there.
    pub async fn run(mut self) {
        loop {
            match self.own().await {
                Ok(()) => return,
                Err(Failure::Shard(ShardError::Deposed)) => {
                    tracing::warn!(
                        shard = self.settings.shard,
                        "another owner took the shard over; stopping"
                    );
                    return;
                }
                Err(failure) => {
                    report(self.settings.shard, &failure);
                    if self.queue.is_closed() {
                        // Nobody is left to answer, and what was committed is safe.
                        return;
                    }
                    let doublings = self.failures.min(8);
                    self.failures = self.failures.saturating_add(1);
                    let pause = AFTER_FAILURE.saturating_mul(1 << doublings).min(LONGEST_PAUSE);
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    async fn own(&mut self) -> Result<(), Failure> {
        let mut state = self.load().await?;
        let mut messages = Vec::with_capacity(MOST_IN_BATCH);
        loop {
            messages.clear();
            if self.queue.recv_many(&mut messages, MOST_IN_BATCH).await == 0 {
                return Ok(());
            }
            let mut waiting = Waiting::default();
            let mut drained = Drained::default();
            for message in messages.drain(..) {
                self.take(&mut state, message, &mut waiting, &mut drained).await?;
            }
            self.commit(&mut state, drained).await?;
            self.answer(&state, waiting)?;
        }
    }

    async fn load(&mut self) -> Result<State, Failure> {
        let store = Arc::clone(&self.settings.store);
        let loaded = tokio::time::timeout(STORE_ANSWERS, store.take_over(self.settings.shard)).await??;
        let mut state = State {
            committed_at: loaded.state.at,
            engine: loaded.state.restore(Arc::clone(&self.settings.instruments))?,
            epoch: loaded.epoch,
            seq: loaded.seq,
            quote_position: loaded.quote_position,
            committed_quote: loaded.quote_position,
        };
        // What is appended from here on arrives through the queue.
        let (mut quotes, last) = {
            let log = self.settings.log.lock().unwrap_or_else(PoisonError::into_inner);
            let last = log.last().map_or(0, |last| last.position);
            (log.read(loaded.quote_position.saturating_add(1)).map_err(Failure::Log)?, last)
        };
        let mut drained = Drained::default();
        while state.quote_position < last
            && let Some(quote) = quotes.next()
        {
            let quote = quote.map_err(Failure::Log)?;
            apply_quote(&mut state.engine, &quote, &mut drained.events)?;
            state.quote_position = quote.position;
            if drained.events.len() >= MOST_WHILE_LOADING {
                self.commit(&mut state, std::mem::take(&mut drained)).await?;
            }
        }
        tracing::info!(
            shard = self.settings.shard,
            epoch = state.epoch,
            accounts = state.engine.accounts().count(),
            quotes_replayed = state.quote_position.saturating_sub(loaded.quote_position),
            "shard loaded"
        );
        self.commit(&mut state, drained).await?;
        Ok(state)
    }

    async fn take(
        &mut self,
        state: &mut State,
        message: Message,
        waiting: &mut Waiting,
        drained: &mut Drained,
    ) -> Result<(), Failure> {
        match message {
            Message::Quotes(quotes) => {
                for quote in quotes {
                    // What was queued while the shard loaded has been read from the log already.
                    if quote.position > state.quote_position {
                        apply_quote(&mut state.engine, &quote, &mut drained.events)?;
                        state.quote_position = quote.position;
                    }
                }
            }
            Message::RefusedQuotes(refused) => self.refused.extend(refused),
            Message::Clock(at) => {
                let at = at.max(state.engine.now());
                state.engine.apply(at, &Input::Clock, &mut drained.events)?;
            }
            Message::Command { command, origin, reply } => {
                if let Act::Open(open) = &command.act {
                    self.learn(state, open).await?;
                }
                let at = self.settings.clock.now().max(state.engine.now());
                let input = Input::Command(command);
                let answered = state.engine.apply(at, &input, &mut drained.events)?;
                let Input::Command(command) = input else { return Ok(()) };
                let Some(answered) = answered else { return Ok(()) };
                if answered.fresh
                    && let Some(firm) = state.engine.firm(command.account)
                {
                    state.seq = state.seq.saturating_add(1);
                    drained.journal.push(Journaled {
                        seq: state.seq,
                        firm,
                        at,
                        after_quote: state.quote_position,
                        command,
                        outcome: answered.outcome,
                        origin,
                    });
                }
                let submitted = Submitted { outcome: answered.outcome, repeated: !answered.fresh };
                waiting.submitted.push((reply, submitted));
            }
            Message::View { account, reply } => waiting.views.push((account, reply)),
            Message::Forecast { account, reply } => waiting.forecasts.push((account, reply)),
            Message::Watch { account, reply } => waiting.watches.push((account, reply)),
        }
        Ok(())
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

    /// Writes what a batch did. Quotes that changed nothing are written as progress now and then only.
    async fn commit(&mut self, state: &mut State, drained: Drained) -> Result<(), Failure> {
        let now = state.engine.now();
        let overdue = now.since(state.committed_at).is_ok_and(|age| age >= PROGRESS);
        let progress = state.quote_position > state.committed_quote && overdue;
        let nothing = drained.events.is_empty() && drained.journal.is_empty() && self.refused.is_empty();
        if nothing && !progress {
            return Ok(());
        }
        state.engine.settle()?;
        let changed: BTreeSet<AccountId> = state.engine.take_changed()?;
        let accounts =
            changed.iter().filter_map(|id| state.engine.account(*id)).map(engine::Account::without_answers);
        let accounts = accounts.collect();
        let standing = state.engine.market().all().iter().flatten();
        let standing =
            standing.filter(|standing| standing.position > state.committed_quote).copied().collect();
        let last_journaled = i64::try_from(drained.journal.len()).unwrap_or(i64::MAX);
        let events: Vec<(FirmId, Event)> = drained
            .events
            .into_iter()
            .filter_map(|event| state.engine.firm(event.account).map(|firm| (firm, event)))
            .collect();
        let batch = Batch {
            shard: self.settings.shard,
            epoch: state.epoch,
            after_seq: state.seq.saturating_sub(last_journaled),
            seq: state.seq,
            quote_position: state.quote_position,
            at: now,
            decided_at: self.settings.clock.now(),
            audit: audit(&drained.journal, &events),
            outbox: outbox(&events),
            journal: drained.journal,
            accounts,
            events,
            standing,
            refused_quotes: std::mem::take(&mut self.refused),
        };
        let stored = tokio::time::timeout(STORE_ANSWERS, self.settings.store.commit(&batch)).await;
        if !matches!(stored, Ok(Ok(_))) {
            // The rest of the batch is in the quote log or was not answered; these are nowhere else.
            self.refused = batch.refused_quotes;
        }
        let _proof = stored??;
        let verdicts = batch.events.iter().filter_map(|(_, event)| {
            if let What::Verdict(verdict) = &event.what {
                Some((event.account, verdict.number))
            } else {
                None
            }
        });
        self.settings.stored.tell(verdicts, self.settings.clock.now());
        self.failures = 0;
        state.committed_quote = state.quote_position;
        state.committed_at = now;
        Ok(())
    }

    /// Speaks, now that everything is durable. Whoever stopped waiting is not an error.
    fn answer(&mut self, state: &State, waiting: Waiting) -> Result<(), Failure> {
        for (reply, submitted) in waiting.submitted {
            let _ = reply.send(submitted);
        }
        for (account, reply) in waiting.views {
            drop(reply.send(state.engine.view(account)?.map(Arc::new)));
        }
        for (account, reply) in waiting.forecasts {
            drop(reply.send(state.engine.forecast(account)?.map(Box::new)));
        }
        for (account, reply) in waiting.watches {
            let receiver = match (self.watchers.get(&account), state.engine.view(account)?) {
                (Some(watcher), Some(_)) => Some(watcher.sender.subscribe()),
                (None, Some(view)) => {
                    let (sender, receiver) = watch::channel(Arc::new(view));
                    let shown = state.engine.looks(account);
                    self.watchers.insert(account, Watcher { sender, shown });
                    Some(receiver)
                }
                (_, None) => None,
            };
            drop(reply.send(receiver));
        }
        self.watchers.retain(|_, watcher| watcher.sender.receiver_count() > 0);
        for (account, watcher) in &mut self.watchers {
            let looks = state.engine.looks(*account);
            if watcher.shown != looks
                && let Some(view) = state.engine.view(*account)?
            {
                watcher.sender.send_replace(Arc::new(view));
                watcher.shown = looks;
            }
        }
        Ok(())
    }
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
    let Some(instrument) = engine.market().instruments().find(&logged.symbol) else {
        // Logged under an instrument table that had it. Nothing that is held can depend on it.
        return Ok(());
    };
    let quote = Quote { instrument, bid: logged.bid, ask: logged.ask, source_time: logged.source_time };
    let at = logged.received_at.max(engine.now());
    engine.apply(at, &Input::Quotes(logged.position, vec![quote]), events)?;
    Ok(())
}

fn audit(journal: &[Journaled], events: &[(FirmId, Event)]) -> Vec<AuditEntry> {
    let commands = journal.iter().map(|entry| AuditEntry {
        firm: entry.firm,
        at: entry.at,
        actor: entry.origin.person,
        action: format!("command.{}", act_word(&entry.command.act)),
        object_kind: "account",
        object: entry.command.account.to_string(),
        request: entry.origin.request,
        detail: json!({
            "seq": entry.seq,
            "key": Key::as_str(&entry.command.key),
            "outcome": outcome_word(&entry.outcome),
            // What was decided about one account by hand is told in full.
            "act": matches!(entry.command.act, Act::Override { .. } | Act::Payout { .. }).then_some(&entry.command.act),
        }),
    });
    let verdicts = events.iter().filter_map(|(firm, event)| match &event.what {
        What::Verdict(verdict) => Some(AuditEntry {
            firm: *firm,
            at: event.at,
            actor: None,
            action: format!("verdict.{}", verdict.kind.word()),
            object_kind: "account",
            object: event.account.to_string(),
            request: None,
            detail: json!({ "number": verdict.number, "rule": verdict.rule, "version": verdict.version }),
        }),
        What::Opened
        | What::Order(_)
        | What::Position(_)
        | What::Fill(_)
        | What::Entry(_)
        | What::Override(_)
        | What::Reset(_) => None,
    });
    commands.chain(verdicts).collect()
}

fn outbox(events: &[(FirmId, Event)]) -> Vec<OutboxEntry> {
    let message = |firm: FirmId, event: &Event, topic, payload| OutboxEntry {
        firm,
        at: event.at,
        aggregate: format!("account:{}", event.account),
        topic,
        payload,
    };
    events
        .iter()
        .filter_map(|(firm, event)| match &event.what {
            What::Opened => {
                Some(message(*firm, event, "account.opened", json!({ "account": event.account })))
            }
            What::Verdict(verdict) => {
                let topic = match verdict.kind {
                    VerdictKind::Breach => "account.breached",
                    VerdictKind::SoftBreach => "account.locked",
                    VerdictKind::Violation => "account.violation",
                    VerdictKind::Warning => "account.warned",
                    VerdictKind::Pass => "account.passed",
                    VerdictKind::Promotion => "account.promoted",
                    VerdictKind::Expiry => "account.expired",
                    VerdictKind::Payout => "account.paid",
                    VerdictKind::PayoutRefusal => "account.payout_refused",
                };
                let payload =
                    json!({ "account": event.account, "verdict": verdict.number, "rule": verdict.rule });
                Some(message(*firm, event, topic, payload))
            }
            What::Order(_)
            | What::Position(_)
            | What::Fill(_)
            | What::Entry(_)
            | What::Override(_)
            | What::Reset(_) => None,
        })
        .collect()
}

fn act_word(act: &Act) -> &'static str {
    match act {
        Act::Open(_) => "open",
        Act::Place(_) => "place",
        Act::Cancel { .. } => "cancel",
        Act::ChangeOrder { .. } => "change_order",
        Act::ChangePosition { .. } => "change_position",
        Act::Close { .. } => "close",
        Act::Promote => "promote",
        Act::Payout { .. } => "payout",
        Act::Grow => "grow",
        Act::Override { .. } => "override",
        Act::Calendar(_) => "calendar",
    }
}

fn outcome_word(outcome: &Outcome) -> &'static str {
    match outcome {
        Ok(_) => "done",
        Err(refusal) => refusal.code(),
    }
}

impl Origin {
    /// The platform itself.
    pub const PLATFORM: Self = Self { person: None, request: None };
}
