//! The machine: applies inputs in order and keeps the indexes.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::ops::{Bound, RangeInclusive};
use std::sync::Arc;

use kernel::{AccountId, Amount, FirmId, Overflow, Timestamp};
use rules::payout::Precheck;
use rules::{Deadline, Floor, Objective, Phase, Program, Scene, Track, VersionHash};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::command::{Command, Fingerprint, Open, Outcome};
use crate::step::Step;
use crate::watch::{self, Slot, Watch};
use crate::{
    Account, Act, Answer, Answers, Cause, Counters, Done, EngineError, Entry, EntryKind, Event, InstrumentId,
    Instruments, Market, Quote, Refusal, Standing, Status, Ticket, What, Worth,
};

/// One thing the engine is told. Its time is handed in beside it.
#[derive(Debug, Clone)]
pub enum Input {
    /// Time has passed.
    Clock,
    /// A feed message, applied whole before anything is checked: the first quote's place in the quote log, above all
    /// that were applied before, and the quotes at consecutive places.
    Quotes(u64, Vec<Quote>),
    /// A command.
    Command(Command),
}

/// The answer to a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The answer.
    pub outcome: Outcome,
    /// False for a retry, and for what concerns no account: nothing changed, nothing is to be journaled.
    pub fresh: bool,
}

/// Accounts to be stored anew, by id, each with its counters as they were last stored: what is numbered below them is stored
/// already, what is numbered from them on is new. None for an account that was opened since.
pub type Changed = BTreeMap<AccountId, Option<Counters>>;

/// The state of a shard.
#[derive(Debug, Clone)]
pub struct Engine {
    market: Market,
    programs: BTreeMap<VersionHash, Known>,
    accounts: BTreeMap<AccountId, Held>,
    /// Accounts whose equity or orders depend on an instrument.
    holders: Vec<BTreeSet<AccountId>>,
    due: BTreeSet<(Timestamp, AccountId)>,
    now: Timestamp,
    changed: Changed,
    /// Who needs to be looked at when a price moves.
    watch: Watch,
    /// Whose each slot of the watch is.
    slots: Vec<AccountId>,
    /// Whether everybody whom a price concerns is looked at, as if there were no watch.
    scans: bool,
    /// The place in the quote log of the last quote.
    position: u64,
    /// Accounts whose peaks prices alone may raise.
    rising: BTreeSet<AccountId>,
    mark: Mark,
    /// Where the round of settling that is under way began, and whom it settled last.
    round: (Mark, Option<AccountId>),
}

/// A place in the quote log, and the quotes that stood there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mark {
    /// The place; 0 before the first quote.
    pub position: u64,
    /// The quotes.
    pub standing: Vec<Standing>,
}

/// A program, and its phases to be shared by accounts.
#[derive(Debug, Clone)]
struct Known {
    program: Arc<Program>,
    phases: Vec<Arc<Phase>>,
}

/// An account with what is derived from it.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub account: Account,
    pub program: Arc<Program>,
    /// Its phase, with the rules that hold for this account.
    pub phase: Arc<Phase>,
    pub floors: Vec<Floor>,
    /// Whether a new peak of the equity moves something.
    pub needs_peaks: bool,
    /// Whether a rule looks at each open position at every price.
    pub needs_floating: bool,
    /// Whether the phase can be passed while positions are open.
    pub passes_open: bool,
    watching: BTreeSet<InstrumentId>,
    slot: Slot,
    due: Option<Timestamp>,
    /// How often it was looked at since the start, to tell who has nothing new to show.
    looks: u64,
}

/// What a stored state consists of.
#[derive(Debug)]
pub struct Restored {
    /// Time of the last input.
    pub at: Timestamp,
    /// The place of the last quote, and the quotes that stood there.
    pub last: Mark,
    /// Every account, and the place in the quote log at which it was written: its peaks are right up to there.
    pub accounts: Vec<(Account, u64)>,
    /// What [`Engine::mark`] was: the peaks of every account are right at least up to there.
    pub mark: Mark,
    /// The programs they were bought with, by the names of their versions.
    pub programs: Vec<(VersionHash, Arc<Program>)>,
}

impl Restored {
    /// A state of which every row was written at the last place: nothing needs to be read again.
    pub fn whole(
        at: Timestamp,
        last: Mark,
        accounts: Vec<Account>,
        programs: Vec<(VersionHash, Arc<Program>)>,
    ) -> Self {
        let accounts = accounts.into_iter().map(|account| (account, last.position)).collect();
        Self { at, mark: last.clone(), last, accounts, programs }
    }

    /// The shard as it was written, if [`Restored::whole`] was.
    pub fn restore(self, instruments: Arc<Instruments>) -> Result<Engine, EngineError> {
        let nothing = std::iter::empty::<Result<Past, Infallible>>();
        match Engine::restore(instruments, self, nothing) {
            Ok(resumed) => Ok(resumed.engine),
            Err(RestoreError::Engine(error)) => Err(error),
            Err(RestoreError::Quotes(never)) => match never {},
        }
    }
}

/// A feed message read again from the quote log.
#[derive(Debug, Clone)]
pub struct Past {
    /// The places of its quotes.
    pub positions: RangeInclusive<u64>,
    /// When it was applied.
    pub at: Timestamp,
    /// Its quotes, without those of instruments that are in no table any more.
    pub quotes: Vec<Quote>,
}

/// A shard that goes on from a stored state.
#[derive(Debug)]
pub struct Resumed {
    /// The shard.
    pub engine: Engine,
    /// Quotes between the mark and the last place that were not handed in. Peaks that were reached at one of them and are
    /// in no stored account are lost: floors that follow them may lie too low.
    pub missing: u64,
}

/// Why a stored state cannot be gone on from; `E` is what reading the quote log may fail with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum RestoreError<E> {
    /// The stored state itself.
    #[error("restoring the engine")]
    Engine(#[from] EngineError),
    /// Reading the quotes since the mark.
    #[error("reading the quotes since the mark")]
    Quotes(#[source] E),
}

/// An account as it stands, with everything computed from the standing quotes.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct View {
    /// Time of the last input.
    pub as_of: Timestamp,
    /// The account, without its answers.
    pub account: Account,
    /// Its program.
    pub program: Arc<Program>,
    /// Its phase, with the rules that hold for this account.
    pub phase: Arc<Phase>,
    /// Balance and open results.
    pub equity: Amount,
    /// Margin in use.
    pub margin: Amount,
    /// Floors with their sources.
    pub floors: Vec<Floor>,
    /// What passing needs.
    pub objectives: Vec<Objective>,
    /// When rules act by themselves.
    pub deadlines: Vec<Deadline>,
    /// What may be paid out, for a phase that pays.
    pub payout: Option<Precheck>,
    /// Each open position's worth.
    pub worth: BTreeMap<Ticket, Worth>,
}

impl Engine {
    /// An empty shard.
    pub fn new(instruments: Arc<Instruments>) -> Self {
        let holders = vec![BTreeSet::new(); instruments.len()];
        Self {
            watch: Watch::new(instruments.len()),
            slots: Vec::new(),
            scans: false,
            market: Market::new(instruments),
            programs: BTreeMap::new(),
            accounts: BTreeMap::new(),
            holders,
            due: BTreeSet::new(),
            now: Timestamp::from_micros(i64::MIN),
            changed: Changed::new(),
            position: 0,
            rising: BTreeSet::new(),
            mark: Mark::default(),
            round: (Mark::default(), None),
        }
    }

    /// An empty shard that looks at everybody whom a price concerns, at every price: slow and plainly right. What it says
    /// is what any other must say.
    pub fn scanning(instruments: Arc<Instruments>) -> Self {
        Self { scans: true, ..Self::new(instruments) }
    }

    /// A shard as it was stored. `since` are the messages of the quote log behind the mark, up to the last place, in their
    /// order: nothing is decided by them again, but they may have raised peaks that no row holds. Those accounts are
    /// changed then, and the mark stands at the last place.
    pub fn restore<E>(
        instruments: Arc<Instruments>,
        restored: Restored,
        since: impl Iterator<Item = Result<Past, E>>,
    ) -> Result<Resumed, RestoreError<E>> {
        let mut engine = Self::new(instruments);
        let Restored { at, last, accounts, mark, programs } = restored;
        engine.now = at;
        engine.remember(at, &mark)?;
        let mut missing = last.position.saturating_sub(mark.position);
        for message in since {
            let Past { positions, at, quotes } = message.map_err(RestoreError::Quotes)?;
            if *positions.start() <= engine.position || *positions.end() > last.position {
                return Err(EngineError::QuotesOutOfOrder.into());
            }
            engine.position = *positions.end();
            let count = positions.end().saturating_sub(*positions.start()).saturating_add(1);
            missing = missing.saturating_sub(count);
            let moved: Vec<_> = quotes.iter().flat_map(sides).collect();
            engine.watch.apply(engine.position, at, &moved, &mut Vec::new()).map_err(EngineError::from)?;
        }
        // Says nothing new if nothing is missing.
        engine.remember(at, &last)?;
        for (version, program) in programs {
            engine.learn(version, program);
        }
        for (account, written) in accounts {
            let held = engine.held(account)?;
            engine.insert(held, written.max(mark.position))?;
        }
        engine.move_mark();
        Ok(Resumed { engine, missing })
    }

    /// Takes quotes as standing at a place.
    fn remember(&mut self, at: Timestamp, mark: &Mark) -> Result<(), EngineError> {
        let mut moved = Vec::new();
        for standing in &mark.standing {
            self.market.set(*standing)?;
            // What has not moved keeps the instant at which it did.
            let new =
                |(variable, price): &(watch::Variable, i64)| self.watch.price(*variable) != Some(*price);
            moved.extend(sides(&standing.quote).into_iter().filter(new));
        }
        self.position = mark.position;
        Ok(self.watch.apply(mark.position, at, &moved, &mut Vec::new())?)
    }

    /// Makes a program known by the name of its version; needed before an account is opened with it. The name is not
    /// derived here: it names the text that was published, and a newer type may write another.
    pub fn learn(&mut self, version: VersionHash, program: Arc<Program>) {
        let phases = program.phases.iter().cloned().map(Arc::new).collect();
        self.programs.insert(version, Known { program, phases });
    }

    /// Whether a program is known.
    pub fn knows(&self, version: &VersionHash) -> bool {
        self.programs.contains_key(version)
    }

    /// Applies one input. Everything that fell due up to its time happens first, at its own instant. An error
    /// leaves the state unusable.
    pub fn apply(
        &mut self,
        at: Timestamp,
        input: &Input,
        events: &mut Vec<Event>,
    ) -> Result<Option<Answered>, EngineError> {
        // A retry, or a command that concerns nobody, leaves no trace, not even its time: it is in no journal.
        if let Input::Command(command) = input
            && let Some(outcome) = self.answered(at, command)?
        {
            return Ok(Some(Answered { outcome, fresh: false }));
        }
        if at < self.now {
            return Err(EngineError::TimeRunsBackwards);
        }
        while let Some(&(due, id)) = self.due.first()
            && due <= at
        {
            self.step(id, due, Cause::Reset, events, |step| step.time_passed())?;
        }
        self.now = at;
        match input {
            Input::Clock => Ok(None),
            Input::Quotes(position, quotes) => self.quotes(at, *position, quotes, events).map(|()| None),
            Input::Command(command) => self.command(at, command, events).map(Some),
        }
    }

    fn quotes(
        &mut self,
        at: Timestamp,
        first: u64,
        quotes: &[Quote],
        events: &mut Vec<Event>,
    ) -> Result<(), EngineError> {
        if quotes.is_empty() {
            return Ok(());
        }
        if first <= self.position {
            return Err(EngineError::QuotesOutOfOrder);
        }
        let mut position = first;
        let mut places = Vec::with_capacity(quotes.len());
        for quote in quotes {
            self.market.set(Standing { quote: *quote, received_at: at, position })?;
            places.push((quote.instrument, position));
            self.position = position;
            position = position.checked_add(1).ok_or(Overflow)?;
        }
        let mut concerned: Vec<(AccountId, u64)> = Vec::new();
        if self.scans {
            for (instrument, position) in places {
                let holders = self.holders.get(usize::from(instrument.0)).ok_or(Overflow)?;
                concerned.extend(holders.iter().map(|id| (*id, position)));
            }
        } else {
            let moved: Vec<_> = quotes.iter().flat_map(sides).collect();
            let mut fired = Vec::new();
            self.watch.apply(self.position, at, &moved, &mut fired)?;
            for slot in fired {
                let id = self.slots.get(usize::try_from(slot).map_err(|_| Overflow)?).ok_or(Overflow)?;
                let held = self.accounts.get(id).ok_or(EngineError::UnknownProgram)?;
                let last = places.iter().rev().find(|(instrument, _)| held.watching.contains(instrument));
                concerned.extend(last.map(|(_, position)| (*id, *position)));
            }
        }
        concerned.sort_unstable();
        // The last of the message that an account depends on is its cause.
        concerned.dedup_by(|later, earlier| {
            let same = later.0 == earlier.0;
            if same {
                *earlier = *later;
            }
            same
        });
        for (id, position) in concerned {
            self.step(id, at, Cause::Quote(position), events, |step| step.price_moved())?;
        }
        Ok(())
    }

    /// The answer to a command that changes nothing: a retry gets the first one, and there are no accounts to trade
    /// and no programs to open where none are.
    fn answered(&self, at: Timestamp, command: &Command) -> Result<Option<Outcome>, EngineError> {
        let held = self.accounts.get(&command.account);
        if let Some(answer) = held.and_then(|held| held.account.answers.get(&command.key, at)) {
            let same = answer.fingerprint == Fingerprint::of(&command.act)?;
            return Ok(Some(if same { answer.outcome } else { Err(Refusal::KeyReused) }));
        }
        Ok(match (&command.act, held) {
            (Act::Open(open), Some(held)) => {
                let taken = &held.account;
                let same = (taken.firm, taken.challenge, &taken.version, taken.phase)
                    == (open.firm, open.challenge, &open.version, open.phase);
                Some(if same { Ok(Done::Opened) } else { Err(Refusal::KeyReused) })
            }
            (Act::Open(open), None) => {
                let program = self.programs.get(&open.version);
                let known = program.is_some_and(|known| open.phase < known.phases.len());
                (!known).then_some(Err(Refusal::UnknownProgram))
            }
            (_, None) => Some(Err(Refusal::UnknownAccount)),
            (_, Some(_)) => None,
        })
    }

    fn command(
        &mut self,
        at: Timestamp,
        command: &Command,
        events: &mut Vec<Event>,
    ) -> Result<Answered, EngineError> {
        let outcome = match &command.act {
            // What fell due just now may have opened it: the next phase of an account that passed.
            Act::Open(_) if self.accounts.contains_key(&command.account) => Ok(Done::Opened),
            Act::Open(open) => {
                self.open(at, command.account, open, None, events)?;
                Ok(Done::Opened)
            }
            act @ (Act::Place(_)
            | Act::Cancel { .. }
            | Act::ChangeOrder { .. }
            | Act::ChangePosition { .. }
            | Act::Close { .. }
            | Act::Promote
            | Act::Payout { .. }
            | Act::Grow
            | Act::Override { .. }
            | Act::Calendar(_)
            | Act::Hold { .. }) => {
                let mut outcome = Err(Refusal::UnknownAccount);
                self.step(command.account, at, Cause::Command, events, |step| {
                    outcome = step.carry_out(act)?;
                    Ok(())
                })?;
                outcome
            }
        };
        let fingerprint = Fingerprint::of(&command.act)?;
        let held = self.accounts.get_mut(&command.account).ok_or(EngineError::UnknownProgram)?;
        held.account.answers.remember(command.key.clone(), Answer { at, fingerprint, outcome });
        // If the command did anything the account is among them already, with its counters from before.
        self.changed.entry(command.account).or_insert(Some(held.account.next));
        Ok(Answered { outcome, fresh: true })
    }

    fn open(
        &mut self,
        at: Timestamp,
        id: AccountId,
        open: &Open,
        from: Option<AccountId>,
        events: &mut Vec<Event>,
    ) -> Result<(), EngineError> {
        let Known { program, .. } = self.programs.get(&open.version).ok_or(EngineError::UnknownProgram)?;
        let initial = program.initial_balance;
        let calendar = from.and_then(|from| self.account(from)).map(|account| account.track.calendar.clone());
        let mut track = Track::open(initial, at, program.clocks())?;
        track.calendar = calendar.unwrap_or_default();
        let account = Account {
            firm: open.firm,
            id,
            challenge: open.challenge,
            version: open.version.clone(),
            phase: open.phase,
            status: Status::Active,
            held: false,
            balance: initial,
            track,
            positions: BTreeMap::new(),
            orders: BTreeMap::new(),
            next: Counters { ticket: 1, fill: 1, entry: 2, verdict: 1 },
            closed_at: None,
            answers: Answers::default(),
        };
        let entry =
            Entry { number: 1, kind: EntryKind::Initial, amount: initial, balance: initial, fill: None };
        self.changed.insert(id, None);
        events.push(Event { account: id, at, what: What::Opened });
        events.push(Event { account: id, at, what: What::Entry(entry) });
        let held = self.held(account)?;
        self.insert(held, self.position)?;
        match from {
            Some(from) => self.step(id, at, Cause::Command, events, |step| step.promoted(from)),
            None => Ok(()),
        }
    }

    /// Lets one account act, then brings its indexes up to date and opens the account of the next phase if it
    /// passed.
    fn step(
        &mut self,
        id: AccountId,
        at: Timestamp,
        cause: Cause,
        events: &mut Vec<Event>,
        act: impl FnOnce(&mut Step<'_>) -> Result<(), EngineError>,
    ) -> Result<(), EngineError> {
        let held = self.accounts.get_mut(&id).ok_or(EngineError::UnknownProgram)?;
        let before = held.account.next;
        let rose = !self.scans && held.recall(&self.watch, &self.market)?;
        let mut step = Step {
            market: &self.market,
            held,
            at,
            cause,
            events,
            changed: false,
            holdings_changed: false,
            traded: None,
            successor: None,
        };
        act(&mut step)?;
        let (changed, holdings_changed, successor) = (step.changed, step.holdings_changed, step.successor);
        held.looks = held.looks.wrapping_add(1);
        if changed || rose {
            self.changed.entry(id).or_insert(Some(before));
        }
        if changed {
            let acted = matches!(cause, Cause::Reset).then_some(at);
            // What another rule or calendar has put into the past is due at once.
            let due = held.next_due(acted)?.map(|due| due.max(at));
            let before = std::mem::replace(&mut held.due, due);
            if before != held.due {
                if let Some(before) = before {
                    self.due.remove(&(before, id));
                }
                if let Some(due) = held.due {
                    self.due.insert((due, id));
                }
            }
        }
        if holdings_changed {
            let watching = held.instruments_watched(self.market.instruments())?;
            for gone in held.watching.difference(&watching) {
                self.holders.get_mut(usize::from(gone.0)).ok_or(Overflow)?.remove(&id);
            }
            for new in watching.difference(&held.watching) {
                self.holders.get_mut(usize::from(new.0)).ok_or(Overflow)?.insert(id);
            }
            held.watching = watching;
        }
        if !self.scans {
            held.watch(&mut self.watch, held.slot, &self.market, at)?;
            if held.may_rise() {
                self.rising.insert(id);
            } else {
                self.rising.remove(&id);
            }
        }
        if let Some(open) = successor
            && !self.accounts.contains_key(&open.account())
        {
            self.open(at, open.account(), &open, Some(id), events)?;
        }
        Ok(())
    }

    fn held(&self, account: Account) -> Result<Held, EngineError> {
        let known = self.programs.get(&account.version).ok_or(EngineError::UnknownProgram)?;
        let program = Arc::clone(&known.program);
        let phase = Arc::clone(known.phases.get(account.phase).ok_or(EngineError::UnknownProgram)?);
        let watching = BTreeSet::new();
        let mut held = Held {
            account,
            program,
            phase,
            floors: Vec::new(),
            needs_peaks: false,
            needs_floating: false,
            passes_open: false,
            watching,
            slot: 0,
            due: None,
            looks: 0,
        };
        held.apply_overrides()?;
        held.due = held.next_due(None)?.map(|due| due.max(self.now));
        held.watching = held.instruments_watched(self.market.instruments())?;
        Ok(held)
    }

    /// Adds an account whose peaks are known up to a place.
    fn insert(&mut self, mut held: Held, known: u64) -> Result<(), EngineError> {
        let id = held.account.id;
        held.slot = self.watch.enter();
        let place = usize::try_from(held.slot).map_err(|_| Overflow)?;
        if place == self.slots.len() {
            self.slots.push(id);
        } else {
            *self.slots.get_mut(place).ok_or(Overflow)? = id;
        }
        if !self.scans {
            if held.may_rise() {
                self.rising.insert(id);
                let peak = held.account.track.peak().micros();
                self.watch.know(held.slot, peak, known)?;
                if held.recall(&self.watch, &self.market)? {
                    self.changed.entry(id).or_insert(Some(held.account.next));
                }
            }
            held.watch(&mut self.watch, held.slot, &self.market, self.now)?;
        }
        for instrument in &held.watching {
            self.holders.get_mut(usize::from(instrument.0)).ok_or(Overflow)?.insert(id);
        }
        if let Some(due) = held.due {
            self.due.insert((due, id));
        }
        self.accounts.insert(id, held);
        Ok(())
    }

    /// An account.
    pub fn account(&self, id: AccountId) -> Option<&Account> {
        self.accounts.get(&id).map(|held| &held.account)
    }

    /// All accounts, by id.
    pub fn accounts(&self) -> impl Iterator<Item = &Account> {
        self.accounts.values().map(|held| &held.account)
    }

    /// An account's firm.
    pub fn firm(&self, id: AccountId) -> Option<FirmId> {
        self.account(id).map(|account| account.firm)
    }

    /// Changes whenever an account may look different: after everything that happens to it, and with every quote that it
    /// depends on.
    pub fn looks(&self, id: AccountId) -> Option<(u64, u64)> {
        let held = self.accounts.get(&id)?;
        let standing = held.watching.iter().filter_map(|instrument| self.market.standing(*instrument));
        Some((held.looks, standing.map(|standing| standing.position).max().unwrap_or_default()))
    }

    /// An account as it stands.
    pub fn view(&self, id: AccountId) -> Result<Option<View>, EngineError> {
        let Some(held) = self.accounts.get(&id) else { return Ok(None) };
        let mut account = held.account.without_answers();
        let mut floors = held.floors.clone();
        if let Some(track) = self.recalled(held)? {
            floors = rules::floors(&held.phase, &track)?;
            account.track = track;
        }
        let currency = held.program.currency;
        let mut worth = BTreeMap::new();
        for (ticket, position) in &account.positions {
            worth.insert(*ticket, position.worth(&self.market, currency)?);
        }
        let equity = account.equity(&self.market, currency)?;
        let scene = held.scene(self.now, equity);
        Ok(Some(View {
            as_of: self.now,
            equity,
            margin: account.margin()?,
            floors,
            objectives: rules::objectives(&scene, &account.track)?,
            deadlines: rules::deadlines(&scene, &account.track)?,
            payout: match &held.phase.payout {
                Some(policy) => {
                    let (clocks, holding) = (held.program.clocks(), account.holding());
                    Some(policy.precheck(&scene, &account.track, clocks, currency, holding)?)
                }
                None => None,
            },
            phase: Arc::clone(&held.phase),
            program: Arc::clone(&held.program),
            worth,
            account,
        }))
    }

    /// The accounts that differ from what was last taken here, with every peak brought up to the last quote. Whoever
    /// stores the state takes them with every commit.
    pub fn take_changed(&mut self) -> Result<Changed, EngineError> {
        let changed = std::mem::take(&mut self.changed);
        for id in changed.keys() {
            self.settle_one(*id)?;
        }
        Ok(changed)
    }

    /// Brings every peak that prices alone have raised into its account.
    pub fn settle(&mut self) -> Result<(), EngineError> {
        let rising: Vec<_> = self.rising.iter().copied().collect();
        for id in rising {
            self.settle_and_tell(id)?;
        }
        self.move_mark();
        Ok(())
    }

    /// Brings the peaks of the next so many accounts up to the last quote, in turn; those that rose are changed. Once
    /// everybody had a turn the mark moves to where the round began, and the prices up to there are forgotten. Whoever
    /// stores the state calls it before each commit, so that the mark does not fall behind.
    pub fn settle_some(&mut self, count: usize) -> Result<(), EngineError> {
        for _ in 0..count {
            let from = self.round.1.map_or(Bound::Unbounded, Bound::Excluded);
            let Some(id) = self.rising.range((from, Bound::Unbounded)).next().copied() else { break };
            self.settle_and_tell(id)?;
            self.round.1 = Some(id);
        }
        let from = self.round.1.map_or(Bound::Unbounded, Bound::Excluded);
        if self.rising.is_empty() {
            self.move_mark();
        } else if self.rising.range((from, Bound::Unbounded)).next().is_none() {
            let began = self.here();
            self.mark = std::mem::replace(&mut self.round, (began, None)).0;
            self.watch.forget(self.mark.position);
        }
        Ok(())
    }

    /// The place up to which the peaks of every account are right, as far as what [`Engine::take_changed`] gave is
    /// stored. It is stored with them: a restart needs the quotes from there on.
    pub fn mark(&self) -> Cow<'_, Mark> {
        if self.scans { Cow::Owned(self.here()) } else { Cow::Borrowed(&self.mark) }
    }

    /// The place in the quote log of the last quote; 0 before the first.
    pub fn position(&self) -> u64 {
        self.position
    }

    fn here(&self) -> Mark {
        let standing = self.market.all().iter().flatten().copied().collect();
        Mark { position: self.position, standing }
    }

    /// Every peak is known up to the last quote.
    fn move_mark(&mut self) {
        self.mark = self.here();
        self.round = (self.mark.clone(), None);
        self.watch.forget(self.position);
    }

    /// Brings an account's peaks up to the last quote; it is changed if they rose.
    fn settle_and_tell(&mut self, id: AccountId) -> Result<(), EngineError> {
        if self.settle_one(id)?
            && let Some(held) = self.accounts.get(&id)
        {
            self.changed.entry(id).or_insert(Some(held.account.next));
        }
        Ok(())
    }

    /// Brings an account's peaks up to the last quote; true if they rose.
    fn settle_one(&mut self, id: AccountId) -> Result<bool, EngineError> {
        let Some(held) = self.accounts.get_mut(&id).filter(|held| !self.scans && held.may_rise()) else {
            return Ok(false);
        };
        let rose = held.recall(&self.watch, &self.market)?;
        if rose {
            held.watch(&mut self.watch, held.slot, &self.market, self.now)?;
        } else {
            self.watch.know(held.slot, held.account.track.peak().micros(), self.position)?;
        }
        Ok(rose)
    }

    /// What the rules remember of an account whose peak prices have raised since it was last looked at.
    fn recalled(&self, held: &Held) -> Result<Option<Track>, EngineError> {
        if self.scans {
            return Ok(None);
        }
        let Some((at, highest, before)) = held.risen(&self.watch, &self.market)? else { return Ok(None) };
        let mut track = held.account.track.clone();
        Ok(track.recall(at, highest, before).then_some(track))
    }

    /// Since the start, how many messages concerned so many accounts at once that these were swept ([`watch`]).
    pub fn sweeps(&self) -> u64 {
        self.watch.sweeps()
    }

    /// The standing quotes and their instruments.
    pub fn market(&self) -> &Market {
        &self.market
    }

    /// Time of the last input.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// SHA-256 over every account and every standing quote. The time of the last input is left out: it moves
    /// with clock inputs, which change nothing else but which answers are remembered still.
    pub fn state_hash(&self) -> Result<[u8; 32], EngineError> {
        let mut accounts = Vec::with_capacity(self.accounts.len());
        for held in self.accounts.values() {
            let mut account = Cow::Borrowed(&held.account);
            if let Some(track) = self.recalled(held)? {
                account.to_mut().track = track;
            }
            if account.answers.are_outdated(self.now) {
                account.to_mut().answers.forget(self.now);
            }
            accounts.push(account);
        }
        // Text, because a binary format leaves no trace of a field that is skipped.
        let bytes = serde_json::to_vec(&(accounts, self.market.all())).map_err(|_| EngineError::Encoding)?;
        Ok(Sha256::digest(bytes).into())
    }
}

impl Open {
    /// The id of the account that this opens.
    pub fn account(&self) -> AccountId {
        AccountId::of_phase(self.challenge, u64::try_from(self.phase).unwrap_or(u64::MAX))
    }
}

/// Both sides of a quote.
fn sides(quote: &Quote) -> [(watch::Variable, i64); 2] {
    let instrument = quote.instrument.0;
    [(watch::bid(instrument), quote.bid.0), (watch::ask(instrument), quote.ask.0)]
}

impl Held {
    /// The instruments whose quotes concern it.
    pub(crate) fn watching(&self) -> impl Iterator<Item = InstrumentId> {
        self.watching.iter().copied()
    }

    /// Whether prices alone may raise a peak that matters.
    fn may_rise(&self) -> bool {
        self.needs_peaks && self.account.status == Status::Active && !self.account.positions.is_empty()
    }

    /// Brings the peaks up to the last message; true if they rose.
    fn recall(&mut self, watch: &Watch, market: &Market) -> Result<bool, EngineError> {
        let Some((at, highest, before)) = self.risen(watch, market)? else { return Ok(false) };
        let rose = self.account.track.recall(at, highest, before);
        if rose {
            self.refresh_floors()?;
        }
        Ok(rose)
    }

    /// When prices alone have raised its equity to a new highest value, that value, and the highest before.
    fn risen(
        &self,
        watch: &Watch,
        market: &Market,
    ) -> Result<Option<(Timestamp, Amount, Amount)>, EngineError> {
        if !self.may_rise() {
            return Ok(None);
        }
        let peak = watch.peak(self.slot, &self.holdings(market))?;
        let amount = Amount::from_micros;
        Ok(peak.at.map(|at| (at, amount(peak.highest), amount(peak.before))))
    }

    /// What the rules look at.
    pub(crate) fn scene(&self, at: Timestamp, equity: Amount) -> Scene<'_> {
        let Account { balance, track, .. } = &self.account;
        Scene { phase: &self.phase, calendar: &track.calendar, at, balance: *balance, equity }
    }

    /// Derives everything that follows from the rules that hold for the account.
    pub(crate) fn apply_overrides(&mut self) -> Result<(), EngineError> {
        let own = self.program.phases.get(self.account.phase).ok_or(EngineError::UnknownProgram)?;
        if *own != *self.phase || !self.account.track.overrides.is_empty() {
            let mut phase = own.clone();
            for (place, rule) in &self.account.track.overrides {
                if let Some(own) = phase.rules.get_mut(*place) {
                    *own = rule.clone();
                }
            }
            self.phase = Arc::new(phase);
        }
        self.needs_peaks = self.phase.needs_peaks();
        self.needs_floating = self.phase.needs_floating();
        self.passes_open = rules::profit_target(&self.phase).is_some_and(|target| !target.flat);
        self.refresh_floors()
    }

    /// Recomputes the floors after their sources moved.
    pub(crate) fn refresh_floors(&mut self) -> Result<(), EngineError> {
        self.floors = rules::floors(&self.phase, &self.account.track)?;
        Ok(())
    }

    /// When the account next acts by itself. What was due at `acted` has just been done: it is not done twice at one
    /// instant.
    fn next_due(&self, acted: Option<Timestamp>) -> Result<Option<Timestamp>, EngineError> {
        if self.account.status != Status::Active {
            return Ok(None);
        }
        let track = &self.account.track;
        // No deadline depends on what an account is worth.
        let scene = self.scene(track.day_started_at, self.account.balance);
        let deadlines = rules::deadlines(&scene, track)?;
        let open = |deadline: &&Deadline| acted.is_none_or(|acted| deadline.at > acted);
        let deadline = deadlines.iter().find(open).map(|deadline| deadline.at);
        let ends = track.next_reset.min(track.next_day);
        Ok(Some(deadline.map_or(ends, |deadline| deadline.min(ends))))
    }

    fn instruments_watched(&self, instruments: &Instruments) -> Result<BTreeSet<InstrumentId>, EngineError> {
        let mut watched = BTreeSet::new();
        let positions = self.account.positions.values().map(|position| position.instrument);
        let orders = self.account.orders.values().map(|order| order.instrument);
        for id in positions.chain(orders) {
            watched.insert(id);
            let quote = instruments.get(id)?.quote;
            watched.extend(instruments.route(quote, self.program.currency).map(|route| route.instrument));
        }
        Ok(watched)
    }
}
