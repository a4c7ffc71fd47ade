//! A shard's history as it is stored, read without taking the shard over, and its comparison with a replay.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use async_trait::async_trait;
use engine::{Account, Engine, Event, Instruments, Outcome, Restored, Ticket, What};
use kernel::{AccountId, FirmId, Timestamp, TradingDay};
use rules::VersionHash;
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::port::{Journaled, LoggedQuotes, ShardError};
use super::replay::{By, Places, Replay, ReplayError, Told, Witness};
use super::shard::resume;
use crate::BoxError;

/// Reads the quote log on from a place.
pub type ReadQuotes = Arc<dyn Fn(u64) -> Result<LoggedQuotes, BoxError> + Send + Sync>;

/// A shard as one instant shows it.
#[derive(Debug)]
pub struct Snapshot {
    /// The shard.
    pub shard: i16,
    /// The last journal row.
    pub seq: i64,
    /// The place in the quote log up to which the state has seen quotes.
    pub quote_position: u64,
    /// The state there.
    pub state: Restored,
    /// What is stored of what happened, if it was asked for.
    pub rows: Rows,
}

/// Whose stored rows a snapshot is to bring.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RowsOf {
    /// Nobody's.
    Nobody,
    /// One account's, with their contents.
    One(AccountId),
    /// Every account's.
    All,
}

/// Which accounts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// The accounts of the challenge that this one belongs to.
    ChallengeOf(AccountId),
    /// Those that were bought with a version, of one firm or of all.
    Version(Option<FirmId>, VersionHash),
    /// Those that were bought under a firm's slug, whatever the version.
    Slug(FirmId, String),
}

/// Where an account is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whereabouts {
    /// The shard.
    pub shard: i16,
    /// The account.
    pub account: AccountId,
}

/// A shard's history, for reading only.
#[async_trait]
pub trait HistoryStore: Send + Sync {
    /// The shard as it is now; nothing if there is none. All of it belongs to one instant, and the shard's owner does
    /// not notice.
    async fn snapshot(&self, shard: i16, rows: RowsOf) -> Result<Option<Snapshot>, ShardError>;
    /// The journal from a sequence number on.
    async fn journal(&self, shard: i16, from: i64, limit: i64) -> Result<Vec<Journaled>, ShardError>;
    /// The accounts; nothing if there is no such account, version or program.
    async fn find(&self, whose: &Whose) -> Result<Option<Vec<Whereabouts>>, ShardError>;
}

/// Why a history was not gone through.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The store.
    #[error("reading the shard")]
    Store(#[from] ShardError),
    /// The log or the engine.
    #[error(transparent)]
    Replay(#[from] ReplayError),
    /// The stored state and the quotes behind its mark do not make an engine.
    #[error("restoring the stored state")]
    Resumed(#[source] engine::RestoreError<ReplayError>),
    /// The stored state does not make an engine.
    #[error("restoring the stored state")]
    Stored(#[source] engine::EngineError),
    /// The thread that applied it ended.
    #[error("the thread that applied the history ended")]
    Thread(#[source] tokio::task::JoinError),
}

/// Journal rows read in one go.
const PAGE: i64 = 5_000;

/// Takes a replay through the journal of a shard up to a row, page by page, and to its end. The engines work on threads
/// that may block.
pub async fn go_through<W: Witness + Send + 'static>(
    store: &dyn HistoryStore,
    shard: i16,
    seq: i64,
    at: Timestamp,
    mut replay: Replay,
    mut witness: W,
) -> Result<(Replay, W), HistoryError> {
    let mut next = 1_i64;
    loop {
        let left = seq.saturating_sub(next).saturating_add(1).clamp(0, PAGE);
        let page = if left > 0 { store.journal(shard, next, left).await? } else { Vec::new() };
        let over = page.is_empty();
        next = page.last().map_or(next, |entry| entry.seq.saturating_add(1));
        let work = move || {
            if over {
                replay.finish(at, &mut witness)?;
            } else {
                replay.apply(&page, &mut witness)?;
            }
            Ok::<_, ReplayError>((replay, witness))
        };
        (replay, witness) = tokio::task::spawn_blocking(work).await.map_err(HistoryError::Thread)??;
        if over {
            return Ok((replay, witness));
        }
    }
}

/// The name of one stored row of one account.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RowName {
    /// Of `orders`.
    Order(Ticket),
    /// Of `positions`.
    Position(Ticket),
    /// Of `fills`.
    Fill(u32),
    /// Of `balance_entries`.
    Entry(u32),
    /// Of `trading_days`.
    Day(TradingDay),
    /// Of `verdicts`, with the evidence that its digest is over.
    Verdict(u32),
}

impl RowName {
    /// What it is a row of, for people.
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Order(_) => "orders",
            Self::Position(_) => "positions",
            Self::Fill(_) => "fills",
            Self::Entry(_) => "entries",
            Self::Day(_) => "resets",
            Self::Verdict(_) => "verdicts",
        }
    }
}

impl fmt::Display for RowName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Order(ticket) => write!(formatter, "order {}", ticket.0),
            Self::Position(ticket) => write!(formatter, "position {}", ticket.0),
            Self::Fill(number) => write!(formatter, "fill {number}"),
            Self::Entry(number) => write!(formatter, "entry {number}"),
            Self::Day(day) => write!(formatter, "reset of {day}"),
            Self::Verdict(number) => write!(formatter, "verdict {number}"),
        }
    }
}

/// What happened, by row: of an order or a position the last word. Of each row its digest is kept, and its content only
/// for the account that is looked at.
#[derive(Debug, Default)]
pub struct Rows {
    only: Option<AccountId>,
    rows: BTreeMap<(AccountId, RowName), Kept>,
}

#[derive(Debug, PartialEq, Eq)]
struct Kept {
    digest: [u8; 16],
    text: Option<String>,
}

impl Rows {
    /// For these rows.
    pub fn of(rows: RowsOf) -> Self {
        let only = if let RowsOf::One(account) = rows { Some(account) } else { None };
        Self { only, rows: BTreeMap::new() }
    }

    /// Writes down what happened.
    pub fn add(&mut self, event: &Event) {
        if self.only.is_some_and(|only| only != event.account) {
            return;
        }
        let (name, at) = match &event.what {
            // Stands in the account itself, or in its track.
            What::Opened | What::Override(_) | What::Held { .. } => return,
            // Their own times are within them.
            What::Order(order) => (RowName::Order(order.ticket), None),
            What::Position(position) => (RowName::Position(position.ticket), None),
            What::Fill(fill) => (RowName::Fill(fill.number), Some(event.at)),
            What::Entry(entry) => (RowName::Entry(entry.number), Some(event.at)),
            What::Reset(reset) => (RowName::Day(reset.day), Some(event.at)),
            What::Verdict(verdict) => (RowName::Verdict(verdict.number), Some(event.at)),
        };
        // Types of numbers, words and lists always have a text.
        let text = serde_json::to_string(&(at, &event.what)).unwrap_or_default();
        let mut digest = [0; 16];
        for (to, from) in digest.iter_mut().zip(Sha256::digest(&text)) {
            *to = from;
        }
        let text = self.only.is_some().then_some(text);
        self.rows.insert((event.account, name), Kept { digest, text });
    }
}

/// One thing that is not what it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Whose.
    pub account: AccountId,
    /// What, such as `fill 3`.
    pub what: String,
    /// As it is stored, where that is kept.
    pub stored: Option<String>,
    /// As it was replayed, where that is kept.
    pub replayed: Option<String>,
}

/// Rows of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counted {
    /// In the store.
    pub stored: u64,
    /// In the replay.
    pub replayed: u64,
    /// Only here, only there, or not the same.
    pub different: u64,
}

/// A replay beside what is stored.
#[derive(Debug)]
pub struct Comparison {
    /// The shard.
    pub shard: i16,
    /// The last journal row of the snapshot.
    pub seq: i64,
    /// The last place in the quote log.
    pub quote_position: u64,
    /// Commands applied.
    pub commands: u64,
    /// Quotes applied.
    pub quotes: u64,
    /// Places that the quote log does not hold.
    pub missing_quotes: Vec<Places>,
    /// By kind: answers, accounts, and the kinds of [`RowName`].
    pub counts: BTreeMap<&'static str, Counted>,
    /// The first hundred differences.
    pub differences: Vec<Difference>,
    /// The hash of the stored state and of the replayed one, where all accounts were replayed.
    pub state_hash: Option<([u8; 32], [u8; 32])>,
}

impl Comparison {
    /// Whether nothing differs.
    pub fn equal(&self) -> bool {
        self.counts.values().all(|counted| counted.different == 0)
            && self.state_hash.is_none_or(|(stored, replayed)| stored == replayed)
    }
}

/// Differences that are named.
const MOST_DIFFERENCES: usize = 100;

/// Writes down rows and other answers.
#[derive(Debug)]
struct Clerk<M> {
    rows: Rows,
    answers: Counted,
    differences: Vec<Difference>,
    also: M,
}

impl<M: Witness> Witness for Clerk<M> {
    fn told(&mut self, told: Told<'_>) {
        match &told {
            Told::Answer { by: By::Own, entry, now } => {
                self.answers.stored = self.answers.stored.saturating_add(1);
                self.answers.replayed = self.answers.replayed.saturating_add(1);
                if *now != Some(entry.outcome) {
                    self.answers.different = self.answers.different.saturating_add(1);
                    let difference = Difference {
                        account: entry.command.account,
                        what: format!("answer to command {}", entry.seq),
                        stored: Some(answer_text(Some(entry.outcome))),
                        replayed: Some(answer_text(*now)),
                    };
                    note(&mut self.differences, difference);
                }
            }
            Told::Event { by: By::Own, event, .. } => self.rows.add(event),
            Told::Answer { by: By::Other, .. } | Told::Event { by: By::Other, .. } => {}
        }
        self.also.told(told);
    }
}

/// An answer in words.
pub fn answer_text(outcome: Option<Outcome>) -> String {
    match outcome {
        Some(Ok(done)) => match done {
            engine::Done::Opened => "opened".to_owned(),
            engine::Done::Order(ticket) => format!("order {}", ticket.0),
            engine::Done::Position(ticket) => format!("position {}", ticket.0),
            engine::Done::Promoted => "promoted".to_owned(),
            engine::Done::Paid(amount) => format!("paid {amount}"),
            engine::Done::Grown => "grown".to_owned(),
            engine::Done::Noted => "noted".to_owned(),
        },
        Some(Err(refusal)) => format!("refused: {}", refusal.code()),
        None => "no answer".to_owned(),
    }
}

fn note(differences: &mut Vec<Difference>, difference: Difference) {
    if differences.len() < MOST_DIFFERENCES {
        differences.push(difference);
    }
}

/// What of a shard is to be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compared {
    /// Everything.
    All,
    /// One account, with the others of its challenge behind it.
    One(AccountId, BTreeSet<AccountId>),
}

/// Replays a shard, or one account of it, up to what a snapshot of this moment shows, and compares. `witness` listens.
/// Nothing if there is no such shard.
pub async fn compare<W: Witness + Send + 'static>(
    store: &dyn HistoryStore,
    quotes: &ReadQuotes,
    instruments: &Arc<Instruments>,
    shard: i16,
    what: Compared,
    witness: W,
) -> Result<Option<(Comparison, W)>, HistoryError> {
    let rows_of = match &what {
        Compared::All => RowsOf::All,
        Compared::One(account, _) => RowsOf::One(*account),
    };
    let Some(snapshot) = store.snapshot(shard, rows_of).await? else { return Ok(None) };
    let Snapshot { seq, quote_position, state, rows: stored_rows, .. } = snapshot;
    let at = state.at;
    let mut own = Engine::new(Arc::clone(instruments));
    for (version, program) in &state.programs {
        own.learn(version.clone(), Arc::clone(program));
    }
    // What happened up to the snapshot was judged; its peaks may be in no row yet.
    let since = quotes(state.mark.position.saturating_add(1)).map_err(ReplayError::Reading)?;
    let mut stored = resume(instruments, state, since).map_err(HistoryError::Resumed)?.engine;
    stored.settle().map_err(HistoryError::Stored)?;
    let log = quotes(1).map_err(ReplayError::Reading)?;
    let mut replay = Replay::new(own, log, quote_position);
    if let Compared::One(_, challenge) = &what {
        replay = replay.only(challenge.clone());
    }
    let clerk = Clerk {
        rows: Rows::of(rows_of),
        answers: Counted::default(),
        differences: Vec::new(),
        also: witness,
    };
    let (replay, clerk) = go_through(store, shard, seq, at, replay, clerk).await?;
    let Clerk { rows, answers, mut differences, also } = clerk;
    let mut counts = BTreeMap::from([("answers", answers)]);
    compare_rows(&stored_rows, &rows, &mut counts, &mut differences);
    let wanted = |account: &&Account| match &what {
        Compared::All => true,
        Compared::One(one, _) => account.id == *one,
    };
    let accounts = compare_accounts(
        stored.accounts().filter(wanted),
        |id| replay.own().account(id),
        replay.own().accounts().filter(wanted),
        |id| stored.account(id),
        &mut differences,
    );
    counts.insert("accounts", accounts);
    let state_hash = match what {
        Compared::All => {
            let hash = |engine: &Engine| engine.state_hash().map_err(ReplayError::Engine);
            Some((hash(&stored)?, hash(replay.own())?))
        }
        Compared::One(..) => None,
    };
    let comparison = Comparison {
        shard,
        seq,
        quote_position,
        commands: replay.commands(),
        quotes: replay.quotes(),
        missing_quotes: replay.missing().to_vec(),
        counts,
        differences,
        state_hash,
    };
    Ok(Some((comparison, also)))
}

fn compare_rows(
    stored: &Rows,
    replayed: &Rows,
    counts: &mut BTreeMap<&'static str, Counted>,
    differences: &mut Vec<Difference>,
) {
    for name in ["orders", "positions", "fills", "entries", "resets", "verdicts"] {
        counts.entry(name).or_default();
    }
    let mut differ = |(account, name): &(AccountId, RowName), left: Option<&Kept>, right: Option<&Kept>| {
        let counted = counts.entry(name.kind()).or_default();
        counted.stored = counted.stored.saturating_add(u64::from(left.is_some()));
        counted.replayed = counted.replayed.saturating_add(u64::from(right.is_some()));
        if left.map(|kept| kept.digest) != right.map(|kept| kept.digest) {
            counted.different = counted.different.saturating_add(1);
            let text = |kept: Option<&Kept>| match kept {
                Some(kept) => kept.text.clone(),
                None => Some("nothing".to_owned()),
            };
            let (stored, replayed) = (text(left), text(right));
            note(differences, Difference { account: *account, what: name.to_string(), stored, replayed });
        }
    };
    for (name, kept) in &stored.rows {
        differ(name, Some(kept), replayed.rows.get(name));
    }
    for (name, kept) in &replayed.rows {
        if !stored.rows.contains_key(name) {
            differ(name, None, Some(kept));
        }
    }
}

fn compare_accounts<'a>(
    stored: impl Iterator<Item = &'a Account>,
    replayed_one: impl Fn(AccountId) -> Option<&'a Account>,
    replayed: impl Iterator<Item = &'a Account>,
    stored_one: impl Fn(AccountId) -> Option<&'a Account>,
    differences: &mut Vec<Difference>,
) -> Counted {
    let mut counted = Counted::default();
    for account in stored {
        counted.stored = counted.stored.saturating_add(1);
        let found = account_differences(account, replayed_one(account.id));
        counted.different = counted.different.saturating_add(u64::from(!found.is_empty()));
        for difference in found {
            note(differences, difference);
        }
    }
    for account in replayed {
        counted.replayed = counted.replayed.saturating_add(1);
        if stored_one(account.id).is_none() {
            counted.different = counted.different.saturating_add(1);
            let nothing = Some("nothing".to_owned());
            let (what, replayed) = ("the account".to_owned(), Some(account.status.word().to_owned()));
            note(differences, Difference { account: account.id, what, stored: nothing, replayed });
        }
    }
    counted
}

/// The fields in which two states of an account differ.
pub(crate) fn account_differences(stored: &Account, replayed: Option<&Account>) -> Vec<Difference> {
    let fields = |account: &Account| match serde_json::to_value(account) {
        Ok(Value::Object(fields)) => fields,
        Ok(_) | Err(_) => serde_json::Map::new(),
    };
    let Some(replayed) = replayed else {
        let (what, stored_text) = ("the account".to_owned(), Some(stored.status.word().to_owned()));
        let nothing = Some("nothing".to_owned());
        return vec![Difference { account: stored.id, what, stored: stored_text, replayed: nothing }];
    };
    let (left, right) = (fields(stored), fields(replayed));
    let differing = left.iter().filter(|(name, value)| right.get(*name) != Some(value));
    let difference = |(name, value): (&String, &Value)| Difference {
        account: stored.id,
        what: format!("the account's {name}"),
        stored: Some(value.to_string()),
        replayed: right.get(name).map(Value::to_string),
    };
    differing.map(difference).collect()
}
