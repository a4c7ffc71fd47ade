//! The machine: applies inputs in order and keeps the indexes.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kernel::{AccountId, Amount, FirmId, Overflow, Span, Timestamp};
use rules::payout::Precheck;
use rules::{Deadline, Floor, Objective, Phase, Program, Scene, Track, VersionHash};
use sha2::{Digest, Sha256};

use crate::command::{Command, Fingerprint, Open, Outcome};
use crate::step::Step;
use crate::watch::{self, Slot, Watch};
use crate::{
    Account, Act, Answer, Cause, Counters, Done, EngineError, Entry, EntryKind, Event, InstrumentId,
    Instruments, Market, Quote, Refusal, Standing, Status, Ticket, What, Worth,
};

/// How long an answer is kept for retries, counted back from the account's newest command.
pub const KEY_MEMORY: Span = Span::from_seconds(48 * 3_600);

/// One thing the engine is told. Its time is handed in beside it.
#[derive(Debug, Clone)]
pub enum Input {
    /// Time has passed.
    Clock,
    /// A feed message, applied whole before anything is checked: the first quote's place in the quote log, and
    /// the quotes at consecutive places.
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
    /// Accounts to be stored anew.
    changed: BTreeSet<AccountId>,
    /// Who needs to be looked at when a price moves.
    watch: Watch,
    /// Whose each slot of the watch is.
    slots: Vec<AccountId>,
    /// Whether everybody whom a price concerns is looked at, as if there were no watch.
    scans: bool,
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
    /// The standing quotes then.
    pub standing: Vec<Standing>,
    /// Every account.
    pub accounts: Vec<Account>,
    /// The programs they were bought with, by the names of their versions.
    pub programs: Vec<(VersionHash, Arc<Program>)>,
}

/// An account as it stands, with everything computed from the standing quotes.
#[derive(Debug, Clone)]
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
            changed: BTreeSet::new(),
        }
    }

    /// An empty shard that looks at everybody whom a price concerns, at every price: slow and plainly right. What it says
    /// is what any other must say.
    pub fn scanning(instruments: Arc<Instruments>) -> Self {
        Self { scans: true, ..Self::new(instruments) }
    }

    /// A shard as it was stored.
    pub fn restore(instruments: Arc<Instruments>, restored: Restored) -> Result<Self, EngineError> {
        let mut engine = Self::new(instruments);
        engine.now = restored.at;
        let mut prices = Vec::new();
        for standing in restored.standing {
            engine.market.set(standing)?;
            prices.extend(sides(&standing.quote));
        }
        engine.watch.apply(restored.at, &prices, &mut Vec::new())?;
        for (version, program) in restored.programs {
            engine.learn(version, program);
        }
        for account in restored.accounts {
            let held = engine.held(account)?;
            engine.insert(held)?;
        }
        Ok(engine)
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
        let mut position = first;
        let mut places = Vec::with_capacity(quotes.len());
        for quote in quotes {
            self.market.set(Standing { quote: *quote, received_at: at, position })?;
            places.push((quote.instrument, position));
            position = position.checked_add(1).ok_or(Overflow)?;
        }
        let mut concerned = BTreeMap::new();
        if self.scans {
            for (instrument, position) in places {
                let holders = self.holders.get(usize::from(instrument.0)).ok_or(Overflow)?;
                // The last of the message that an account depends on is its cause.
                concerned.extend(holders.iter().map(|id| (*id, position)));
            }
        } else {
            let moved: Vec<_> = quotes.iter().flat_map(sides).collect();
            let mut fired = Vec::new();
            self.watch.apply(at, &moved, &mut fired)?;
            for slot in fired {
                let id = self.slots.get(usize::try_from(slot).map_err(|_| Overflow)?).ok_or(Overflow)?;
                let held = self.accounts.get(id).ok_or(EngineError::UnknownProgram)?;
                let last = places.iter().rev().find(|(instrument, _)| held.watching.contains(instrument));
                concerned.extend(last.map(|(_, position)| (*id, *position)));
            }
        }
        for (id, position) in concerned {
            self.step(id, at, Cause::Quote(position), events, |step| step.price_moved())?;
        }
        Ok(())
    }

    /// The answer to a command that changes nothing: a retry gets the first one, and there are no accounts to trade
    /// and no programs to open where none are.
    fn answered(&self, at: Timestamp, command: &Command) -> Result<Option<Outcome>, EngineError> {
        let held = self.accounts.get(&command.account);
        if let Some(answer) = held.and_then(|held| held.account.answers.get(&command.key))
            && at.since(answer.at).is_ok_and(|age| age <= KEY_MEMORY)
        {
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
            | Act::Calendar(_)) => {
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
        let answers = &mut held.account.answers;
        answers.retain(|_, answer| at.since(answer.at).is_ok_and(|age| age <= KEY_MEMORY));
        answers.insert(command.key.clone(), Answer { at, fingerprint, outcome });
        self.changed.insert(command.account);
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
            balance: initial,
            track,
            positions: BTreeMap::new(),
            orders: BTreeMap::new(),
            next: Counters { ticket: 1, fill: 1, entry: 2, verdict: 1 },
            closed_at: None,
            answers: BTreeMap::new(),
        };
        let entry =
            Entry { number: 1, kind: EntryKind::Initial, amount: initial, balance: initial, fill: None };
        self.changed.insert(id);
        events.push(Event { account: id, at, what: What::Opened });
        events.push(Event { account: id, at, what: What::Entry(entry) });
        let held = self.held(account)?;
        self.insert(held)?;
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
        if !self.scans && held.recall(&self.watch, &self.market)? {
            self.changed.insert(id);
        }
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
        if changed {
            self.changed.insert(id);
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

    fn insert(&mut self, mut held: Held) -> Result<(), EngineError> {
        let id = held.account.id;
        held.slot = self.watch.enter();
        let place = usize::try_from(held.slot).map_err(|_| Overflow)?;
        if place == self.slots.len() {
            self.slots.push(id);
        } else {
            *self.slots.get_mut(place).ok_or(Overflow)? = id;
        }
        if !self.scans {
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

    /// The accounts that differ from what was last taken here, by id. Whoever stores the state takes them with
    /// every commit.
    pub fn take_changed(&mut self) -> Result<BTreeSet<AccountId>, EngineError> {
        let changed = std::mem::take(&mut self.changed);
        for id in &changed {
            if let Some(held) = self.accounts.get_mut(id).filter(|_| !self.scans)
                && held.recall(&self.watch, &self.market)?
            {
                held.watch(&mut self.watch, held.slot, &self.market, self.now)?;
            }
        }
        Ok(changed)
    }

    /// Brings every peak that prices alone have raised into its account.
    pub fn settle(&mut self) -> Result<(), EngineError> {
        for (id, held) in &mut self.accounts {
            if !self.scans && held.recall(&self.watch, &self.market)? {
                held.watch(&mut self.watch, held.slot, &self.market, self.now)?;
                self.changed.insert(*id);
            }
        }
        Ok(())
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

    /// The standing quotes and their instruments.
    pub fn market(&self) -> &Market {
        &self.market
    }

    /// Time of the last input.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// SHA-256 over every account and every standing quote. The time of the last input is left out: it moves
    /// with clock inputs, which change nothing else.
    pub fn state_hash(&self) -> Result<[u8; 32], EngineError> {
        let mut accounts = Vec::with_capacity(self.accounts.len());
        for held in self.accounts.values() {
            let mut account = Cow::Borrowed(&held.account);
            if let Some(track) = self.recalled(held)? {
                account.to_mut().track = track;
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
        let still = self.account.status != Status::Active || self.account.positions.is_empty();
        if !self.needs_peaks || still {
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
