//! Random histories, applied again and judged by other programs. The store is a list in memory: what is shown here is
//! the replaying; `tradesense/tests/replay.rs` does the same over the real one.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests that cannot go on stop"
)]

use std::collections::BTreeMap;
use std::sync::Arc;

use app::trading::{
    Compared, Comparison, HistoryStore, Journaled, LoggedQuote, Origin, ReadQuotes, Replay, Rows, RowsOf,
    ShardError, Snapshot, Told, Whereabouts, Whose, Witness, compare, go_through,
};
use app::what_if::{Judged, Of, Report, WhatIf, WhatIfError, judge};
use app::{Actor, AppError, Context, Role};
use async_trait::async_trait;
use engine::{
    Act, Change, Command, Done, Engine, Event, Input, Key, Mark, Open, OrderKind, Place, Quote, Restored,
    Status, Ticket,
};
use kernel::{
    AccountId, Amount, ChallengeId, FirmId, PersonId, Price, Quantity, RequestId, Side, Span, Symbol,
    Timestamp,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::TestRunner;
use rules::Program;

const MARKETS: [(&str, i64); 3] = [("EURUSD", 110_000), ("USDJPY", 150_000), ("XAUUSD", 200_000)];

/// Three phases with most kinds of floors, a target that is soon reached, and short deadlines.
const STEPS: &str = r#"
    name = "Steps"
    currency = "USD"
    initial_balance = "100000"
    reset = { zone = "Europe/Prague", time = "00:00" }
    [terms]
    instruments = ["EURUSD", "USDJPY", "XAUUSD"]
    leverage = 30
    commission_per_lot = "3"
    stop_out = "50"
    [[phases]]
    name = "Evaluation"
    rules = [
      { kind = "daily_loss", reference = "balance", limit = { percent_of_initial = "5" }, breach = "below" },
      { kind = "max_loss", trail = "static", limit = { percent_of_initial = "8" }, breach = "below" },
      { kind = "profit_target", limit = { percent_of_initial = "1" }, flat = true },
    ]
    [[phases]]
    name = "Verification"
    rules = [
      { kind = "max_loss", trail = "end_of_day_balance", limit = { percent_of_initial = "4" }, breach = "at_or_below" },
      { kind = "profit_target", limit = { percent_of_initial = "2" }, flat = false },
      { kind = "calendar_limit", days = 6 },
    ]
    [[phases]]
    name = "Funded"
    rules = [
      { kind = "max_loss", trail = "intraday_equity", lock = "at_initial", limit = { amount = "3000" }, breach = "below" },
    ]
"#;

/// One phase, small, with a stop-out that comes early and a deadline for the idle.
const THIN: &str = r#"
    name = "Thin"
    currency = "USD"
    initial_balance = "20000"
    reset = { zone = "America/New_York", time = "17:00" }
    [terms]
    instruments = ["EURUSD", "XAUUSD"]
    leverage = 100
    commission_per_lot = "2.51"
    stop_out = "80"
    [[phases]]
    name = "Evaluation"
    rules = [
      { kind = "max_loss", trail = "intraday_equity", limit = { percent_of_initial = "20" }, breach = "below" },
      { kind = "inactivity", days = 3 },
      { kind = "profit_target", limit = { percent_of_initial = "30" }, flat = true },
    ]
"#;

/// Nothing but one floor that never moves.
const FLOOR: &str = r#"
    name = "Floor"
    currency = "USD"
    initial_balance = "100000"
    reset = { zone = "Etc/UTC", time = "00:00" }
    [terms]
    instruments = ["EURUSD", "USDJPY", "XAUUSD"]
    leverage = 100
    commission_per_lot = "3"
    stop_out = "10"
    [[phases]]
    name = "Evaluation"
    rules = [{ kind = "max_loss", trail = "static", limit = { percent_of_initial = "10" }, breach = "below" }]
"#;

fn program(text: &str) -> Arc<Program> {
    let program: Program = toml::from_str(text).unwrap();
    program.check().unwrap();
    Arc::new(program)
}

/// A shard that remembers what the real one stores.
struct Memory {
    programs: Vec<Arc<Program>>,
    engine: Engine,
    now: Timestamp,
    journal: Vec<Journaled>,
    events: Vec<Event>,
    quotes: Arc<std::sync::Mutex<Vec<LoggedQuote>>>,
    /// The first account of each challenge.
    opened: Vec<AccountId>,
    keys: u32,
}

impl Memory {
    fn new(programs: &[Arc<Program>]) -> Self {
        let mut engine = Engine::new(testkit::instruments());
        for program in programs {
            engine.learn(program.version().unwrap(), Arc::clone(program));
        }
        Self {
            programs: programs.to_vec(),
            engine,
            now: Timestamp::parse(testkit::START).unwrap(),
            journal: Vec::new(),
            events: Vec::new(),
            quotes: Arc::default(),
            opened: Vec::new(),
            keys: 0,
        }
    }

    fn position(&self) -> u64 {
        self.quotes.lock().unwrap().last().map_or(0, |quote| quote.position)
    }

    fn wait(&mut self, micros: i64) {
        self.now = self.now.after(Span::from_micros(micros)).unwrap();
    }

    fn quote(&mut self, name: &str, bid: i64, spread: i64) {
        let symbol = Symbol::parse(name).unwrap();
        let position = self.position() + 1;
        let (bid, ask) = (Price(bid), Price(bid + spread));
        let logged = LoggedQuote {
            position,
            symbol: symbol.clone(),
            bid,
            ask,
            source_time: self.now,
            // A command may have come between the stamp and the shard.
            received_at: self.now,
        };
        self.quotes.lock().unwrap().push(logged);
        let instrument = testkit::instruments().find(&symbol).unwrap();
        let quote = Quote { instrument, bid, ask, source_time: self.now };
        let at = self.now.max(self.engine.now());
        self.engine.apply(at, &Input::Quotes(position, vec![quote]), &mut self.events).unwrap();
    }

    fn clock(&mut self) {
        self.engine.apply(self.now.max(self.engine.now()), &Input::Clock, &mut self.events).unwrap();
    }

    fn tell(&mut self, command: Command) -> engine::Outcome {
        // The shard's clock is a little ahead of the stamp of the last quote.
        let at = self.now.after(Span::from_micros(7)).unwrap().max(self.engine.now());
        let input = Input::Command(command.clone());
        let answered = self.engine.apply(at, &input, &mut self.events).unwrap().unwrap();
        if answered.fresh {
            self.journal.push(Journaled {
                seq: i64::try_from(self.journal.len()).unwrap() + 1,
                firm: FirmId::derived(&[b"firm"]),
                at,
                after_quote: self.position(),
                command,
                outcome: answered.outcome,
                origin: Origin::PLATFORM,
            });
        }
        answered.outcome
    }

    fn act(&mut self, account: AccountId, act: Act) -> engine::Outcome {
        self.keys += 1;
        let key = Key::parse(&format!("key-{}", self.keys)).unwrap();
        self.tell(Command { account, key, act })
    }

    fn open(&mut self, program: usize) -> AccountId {
        let number = self.opened.len().to_be_bytes();
        let open = Open {
            firm: FirmId::derived(&[b"firm"]),
            challenge: ChallengeId::derived(&[&number]),
            version: self.programs[program].version().unwrap(),
            phase: 0,
        };
        let account = open.account();
        assert_eq!(self.act(account, Act::Open(open)), Ok(Done::Opened));
        self.opened.push(account);
        account
    }

    fn buy(&mut self, account: AccountId, lots: i64) -> engine::Outcome {
        self.act(account, market("EURUSD", Side::Buy, lots))
    }

    fn whereabouts(&self) -> Vec<Whereabouts> {
        self.engine.accounts().map(|account| Whereabouts { shard: 0, account: account.id }).collect()
    }

    fn read(&self) -> ReadQuotes {
        let quotes = Arc::clone(&self.quotes);
        Arc::new(move |from| {
            let quotes: Vec<_> =
                quotes.lock().unwrap().iter().filter(|quote| quote.position >= from).cloned().collect();
            Ok(Box::new(quotes.into_iter().map(Ok)))
        })
    }

    fn judge(&self, accounts: &[Whereabouts], other: &Arc<Program>) -> Result<Report, WhatIfError> {
        let instruments = testkit::instruments();
        runtime().block_on(judge(self, &self.read(), &instruments, accounts, Arc::clone(other)))
    }

    fn compare(&self, quotes: &ReadQuotes, what: Compared) -> Comparison {
        let instruments = testkit::instruments();
        let compared = compare(self, quotes, &instruments, 0, what, Nobody);
        let (comparison, Nobody) = runtime().block_on(compared).unwrap().unwrap();
        comparison
    }

    fn judge_all(&self, other: &Arc<Program>) -> Report {
        self.judge(&self.whereabouts(), other).unwrap()
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}

#[async_trait]
impl HistoryStore for Memory {
    async fn snapshot(&self, shard: i16, rows: RowsOf) -> Result<Option<Snapshot>, ShardError> {
        let mut kept = Rows::of(rows);
        for event in &self.events {
            kept.add(event);
        }
        let mut engine = self.engine.clone();
        engine.settle().unwrap();
        let programs = self.programs.iter().map(|program| (program.version().unwrap(), Arc::clone(program)));
        Ok(Some(Snapshot {
            shard,
            seq: i64::try_from(self.journal.len()).unwrap(),
            quote_position: self.position(),
            state: Restored::whole(
                self.engine.now(),
                Mark {
                    position: self.position(),
                    standing: self.engine.market().all().iter().flatten().copied().collect(),
                },
                engine.accounts().cloned().collect(),
                programs.collect(),
            ),
            rows: kept,
        }))
    }

    async fn journal(&self, _: i16, from: i64, limit: i64) -> Result<Vec<Journaled>, ShardError> {
        // Pages smaller than asked for: more seams.
        let most = usize::try_from(limit.min(7)).unwrap();
        Ok(self.journal.iter().filter(|entry| entry.seq >= from).take(most).cloned().collect())
    }

    async fn find(&self, _: &Whose) -> Result<Option<Vec<Whereabouts>>, ShardError> {
        Ok(Some(self.whereabouts()))
    }
}

struct Nobody;

impl Witness for Nobody {
    fn told(&mut self, _: Told<'_>) {}
}

fn market(name: &str, side: Side, hundredths: i64) -> Act {
    Act::Place(Place {
        symbol: Symbol::parse(name).unwrap(),
        side,
        kind: OrderKind::Market,
        quantity: Quantity(hundredths),
        stop_loss: None,
        take_profit: None,
    })
}

// ---- Random histories -------------------------------------------------------------------------------------------

#[derive(Debug, Clone)]
enum Deed {
    Open(u8),
    Quote { which: u8, millionths: i32, spread: u8 },
    Place { who: u8, what: u8, buy: bool, kind: u8, size: u16, distance: u16 },
    Close { who: u8, pick: u8, half: bool },
    Cancel { who: u8, ticket: u8 },
    Exits { who: u8, pick: u8, distance: u16 },
    Retry(u8),
    Clock,
}

fn deed() -> impl Strategy<Value = Deed> {
    let moves = prop_oneof![12 => -3_000..3_000_i32, 3 => -20_000..20_000_i32, 1 => -60_000..60_000_i32];
    prop_oneof![
        1 => any::<u8>().prop_map(Deed::Open),
        16 => (0..3_u8, moves, 0..30_u8)
            .prop_map(|(which, millionths, spread)| Deed::Quote { which, millionths, spread }),
        9 => (any::<u8>(), 0..3_u8, any::<bool>(), 0..5_u8, 1..2_000_u16, 1..400_u16)
            .prop_map(|(who, what, buy, kind, size, distance)| Deed::Place { who, what, buy, kind, size, distance }),
        5 => (any::<u8>(), any::<u8>(), any::<bool>()).prop_map(|(who, pick, half)| Deed::Close { who, pick, half }),
        2 => (any::<u8>(), 0..12_u8).prop_map(|(who, ticket)| Deed::Cancel { who, ticket }),
        1 => (any::<u8>(), any::<u8>(), 1..400_u16).prop_map(|(who, pick, distance)| Deed::Exits { who, pick, distance }),
        1 => any::<u8>().prop_map(Deed::Retry),
        1 => Just(Deed::Clock),
    ]
}

fn history() -> impl Strategy<Value = Vec<(i64, Deed)>> {
    let wait = prop_oneof![
        6 => Just(0_i64),
        30 => 1..2_000_000_i64,
        2 => 40_000_000..70_000_000_i64,
        2 => 3_600_000_000..30_000_000_000_i64,
        1 => Just(86_400_000_000_i64),
    ];
    prop::collection::vec((wait, deed()), 30..140)
}

fn live(programs: &[&str], history: &[(i64, Deed)]) -> Memory {
    let programs: Vec<_> = programs.iter().map(|text| program(text)).collect();
    let mut memory = Memory::new(&programs);
    let mut levels = MARKETS.map(|(_, level)| level);
    for number in 0..programs.len() {
        memory.open(number);
    }
    for (name, level) in MARKETS {
        memory.quote(name, level, 10);
    }
    for (wait, deed) in history {
        memory.wait(*wait);
        carry_out(&mut memory, &mut levels, deed);
    }
    memory
}

fn carry_out(memory: &mut Memory, levels: &mut [i64; 3], deed: &Deed) {
    match deed {
        Deed::Open(which) => {
            let programs = memory.programs.len();
            memory.open(usize::from(*which) % programs);
        }
        Deed::Quote { which, millionths, spread } => {
            let level = &mut levels[usize::from(*which)];
            *level = (*level + *level * i64::from(*millionths) / 1_000_000).clamp(20_000, 900_000);
            memory.quote(MARKETS[usize::from(*which)].0, *level, i64::from(*spread));
        }
        Deed::Place { who, what, buy, kind, size, distance } => {
            let (name, level) = (MARKETS[usize::from(*what)].0, levels[usize::from(*what)]);
            let away = level * i64::from(*distance) / 40_000 + 1;
            let side = if *buy { Side::Buy } else { Side::Sell };
            let kind = match kind {
                0 => OrderKind::Limit(Price(if *buy { level - away } else { level + away })),
                1 => OrderKind::Stop(Price(if *buy { level + away + 40 } else { level - away })),
                _ => OrderKind::Market,
            };
            let place = Place {
                symbol: Symbol::parse(name).unwrap(),
                side,
                kind,
                // More than may be is refused, and refusals belong to a history.
                quantity: Quantity(i64::from(*size)),
                stop_loss: None,
                take_profit: None,
            };
            let account = somebody(memory, *who);
            let _refused_or_not = memory.act(account, Act::Place(place));
        }
        Deed::Close { who, pick, half } => {
            let account = somebody(memory, *who);
            let held: Vec<_> = memory.engine.account(account).unwrap().positions.values().collect();
            if let Some(place) = usize::from(*pick).checked_rem(held.len()) {
                let (position, size) = (held[place].ticket, held[place].quantity.0);
                let quantity = half.then_some(Quantity(size / 2));
                let _refused_or_not = memory.act(account, Act::Close { position, quantity });
            }
        }
        Deed::Cancel { who, ticket } => {
            // Of any number: orders, positions, and what never was.
            let account = somebody(memory, *who);
            let _refused_or_not = memory.act(account, Act::Cancel { order: Ticket(u32::from(*ticket)) });
        }
        Deed::Exits { who, pick, distance } => {
            let account = somebody(memory, *who);
            let held: Vec<_> = memory.engine.account(account).unwrap().positions.values().collect();
            if let Some(place) = usize::from(*pick).checked_rem(held.len()) {
                let held = held[place];
                let far = held.open_price.0 * i64::from(*distance) / 20_000 + 50;
                let (below, above) = (Price(held.open_price.0 - far), Price(held.open_price.0 + far));
                let (stop, take) = if held.side == Side::Buy { (below, above) } else { (above, below) };
                let act = Act::ChangePosition {
                    position: held.ticket,
                    stop_loss: Change::Set(stop),
                    take_profit: Change::Set(take),
                };
                let _refused_or_not = memory.act(account, act);
            }
        }
        Deed::Retry(pick) => {
            if let Some(place) = usize::from(*pick).checked_rem(memory.journal.len()) {
                let command = memory.journal[place].command.clone();
                let _first_answer = memory.tell(command);
            }
        }
        Deed::Clock => memory.clock(),
    }
}

/// One of the accounts, whatever its phase and state.
fn somebody(memory: &Memory, who: u8) -> AccountId {
    let accounts: Vec<_> = memory.engine.accounts().map(|account| account.id).collect();
    accounts[usize::from(who) % accounts.len()]
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, max_shrink_iters: 2_000, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(150))]

    /// A whole shard, and each account on its own, come out as they were.
    #[test]
    fn a_replay_is_what_happened(history in history()) {
        let memory = live(&[STEPS, THIN, FLOOR], &history);
        let comparison = memory.compare(&memory.read(), Compared::All);
        prop_assert!(comparison.equal(), "{comparison:#?}");
        prop_assert_eq!(comparison.commands, u64::try_from(memory.journal.len()).unwrap());
        for account in memory.engine.accounts() {
            let of_challenge = memory.engine.accounts().filter(|other| other.challenge == account.challenge);
            let challenge = of_challenge.map(|account| account.id).collect();
            let comparison = memory.compare(&memory.read(), Compared::One(account.id, challenge));
            prop_assert!(comparison.equal(), "{comparison:#?}");
        }
    }

    /// Judged by the same program, nothing differs: no verdict, no answer, no number, no bit of the state.
    #[test]
    fn the_same_program_says_the_same(history in history()) {
        for text in [STEPS, THIN, FLOOR] {
            let memory = live(&[text], &history);
            let report = memory.judge_all(&program(text));
            prop_assert_eq!(&report.differing, &Vec::<Judged>::new());
            prop_assert_eq!(&report.own, &report.by_other);
            prop_assert_eq!((report.turned, report.not_as_stored), (0, 0));
            prop_assert_eq!(report.accounts(), u64::try_from(memory.engine.accounts().count()).unwrap());
            prop_assert!(report.remarks.is_empty() && report.left_out.is_empty());

            let engine = || {
                let mut engine = Engine::new(testkit::instruments());
                engine.learn(program(text).version().unwrap(), program(text));
                engine
            };
            let quotes = (memory.read())(1).unwrap();
            let replay = Replay::new(engine(), quotes, memory.position()).beside(engine());
            let seq = i64::try_from(memory.journal.len()).unwrap();
            let through = go_through(&memory, 0, seq, memory.engine.now(), replay, Nobody);
            let (replay, Nobody) = runtime().block_on(through).unwrap();
            let live = memory.engine.state_hash().unwrap();
            prop_assert_eq!(replay.own().state_hash().unwrap(), live);
            prop_assert_eq!(replay.other().unwrap().state_hash().unwrap(), live);
        }
    }

    /// Under another program the own side stays what it was, whoever is judged together with whom.
    #[test]
    fn another_program_leaves_the_own_side_alone(history in history()) {
        let memory = live(&[STEPS, THIN, FLOOR], &history);
        let other = program(THIN);
        let all = memory.judge_all(&other);
        prop_assert_eq!(all.not_as_stored, 0);
        let mut apart: Vec<Judged> = Vec::new();
        for version in memory.programs.iter().map(|program| program.version().unwrap()) {
            let of_it: Vec<_> = memory
                .engine
                .accounts()
                .filter(|account| account.version == version)
                .map(|account| Whereabouts { shard: 0, account: account.id })
                .collect();
            let report = memory.judge(&of_it, &other).unwrap();
            prop_assert_eq!(report.not_as_stored, 0);
            apart.extend(report.differing);
        }
        apart.sort_by_key(|judged| (!judged.turns(), judged.challenge, judged.phase));
        prop_assert_eq!(apart, all.differing);
    }

    /// Less room never lets an account live longer.
    #[test]
    fn a_nearer_floor_is_crossed_no_later(history in history()) {
        let memory = live(&[FLOOR], &history);
        let report = memory.judge_all(&program(&FLOOR.replace("\"10\" }, breach", "\"4\" }, breach")));
        for judged in &report.differing {
            let end = |fate: &Option<app::what_if::Fate>| {
                fate.as_ref().and_then(|fate| fate.end()).map_or(u64::MAX, |finding| finding.quote)
            };
            prop_assert!(end(&judged.other) <= end(&judged.own), "{judged:#?}");
        }
    }
}

/// What the properties above say about passes and breaches is said about some.
#[test]
fn the_histories_are_worth_judging() {
    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeMap<&str, u64> = BTreeMap::new();
    let mut see = |what, count: u64| *seen.entry(what).or_default() += count;
    for _ in 0..100 {
        let history = history().new_tree(&mut runner).unwrap().current();
        let memory = live(&[STEPS, THIN, FLOOR], &history);
        let refused = memory.journal.iter().filter(|entry| entry.outcome.is_err()).count();
        see("refused", u64::try_from(refused).unwrap());
        let report = memory.judge_all(&program(STEPS));
        for phase in &report.own.phases {
            for (status, count) in &phase.by_status {
                see(status, *count);
            }
        }
        see("later phases", report.own.phases.iter().skip(1).map(|phase| phase.accounts).sum());
        see("turned", report.turned);
        see("other answers", report.differing.iter().map(|judged| judged.other_answers).sum());
        let not_reached = |judged: &&Judged| judged.own.is_some() != judged.other.is_some();
        see("not reached", u64::try_from(report.differing.iter().filter(not_reached).count()).unwrap());
    }
    for (what, count) in &seen {
        assert!(*count >= 10, "{what}: {count} of {seen:?}");
    }
    assert_eq!(seen.len(), 9, "{seen:?}");
}

// ---- Examples ---------------------------------------------------------------------------------------------------

fn one(report: &Report) -> &Judged {
    assert_eq!(report.differing.len(), 1, "{:#?}", report.differing);
    &report.differing[0]
}

/// Bought ten lots at 1.10010, which then lose 1,000 dollars a hundred points.
fn a_loss(points: i64) -> Memory {
    let mut memory = Memory::new(&[program(FLOOR)]);
    let account = memory.open(0);
    memory.quote("EURUSD", 110_000, 10);
    memory.buy(account, 1_000).unwrap();
    memory.wait(1_000_000);
    memory.quote("EURUSD", 110_000 - points / 2, 10);
    memory.wait(1_000_000);
    memory.quote("EURUSD", 110_000 - points, 10);
    memory.wait(1_000_000);
    memory.quote("EURUSD", 110_000, 10);
    memory
}

#[test]
fn a_breach_that_a_wider_limit_would_not_have_seen() {
    let memory = a_loss(1_100);
    let report = memory.judge_all(&program(&FLOOR.replace("\"10\" }, breach", "\"12\" }, breach")));
    let judged = one(&report);
    assert_eq!(
        judged.sentence(report.other.currency),
        "breached max_loss at 2026-01-05T10:00:02.000000Z (quote 3, equity 88,870.00, floor 90,000.00) | \
         under the other program: active, balance 99,970.00, equity 99,870.00, room 11,870.00"
    );
    assert_eq!((report.turned, report.same), (1, 0));
    assert_eq!(report.own.phases[0].by_rule, BTreeMap::from([(("breached", "max_loss".to_owned()), 1)]));
    assert_eq!(report.by_other.phases[0].with(Status::Active), 1);
}

#[test]
fn a_breach_that_a_nearer_limit_would_have_found() {
    let memory = a_loss(800);
    let report = memory.judge_all(&program(&FLOOR.replace("\"10\" }, breach", "\"4\" }, breach")));
    let judged = one(&report);
    let end = judged.other.as_ref().unwrap().end().unwrap();
    assert_eq!((end.kind, end.quote), ("breach", 2));
    assert_eq!(end.floor, Some(Amount::parse("96000").unwrap()));
    assert_eq!(judged.own.as_ref().unwrap().status, Status::Active);
}

/// An order that one program refuses and the other takes shifts every ticket after it.
#[test]
fn a_command_means_the_order_that_the_same_command_placed() {
    let tight = FLOOR.replace("leverage = 100", "leverage = 5");
    let mut memory = Memory::new(&[program(&tight)]);
    let account = memory.open(0);
    memory.quote("EURUSD", 110_000, 10);
    assert_eq!(memory.buy(account, 1_000), Err(engine::Refusal::InsufficientMargin));
    assert_eq!(memory.buy(account, 100), Ok(Done::Order(Ticket(1))));
    let close = Act::Close { position: Ticket(2), quantity: None };
    memory.wait(1_000_000);
    memory.quote("EURUSD", 110_500, 10);
    assert_eq!(memory.act(account, close), Ok(Done::Position(Ticket(2))));

    let report = memory.judge_all(&program(FLOOR));
    let judged = one(&report);
    assert_eq!(judged.other_answers, 1, "the first order is taken, everything else is answered alike");
    let other = judged.other.as_ref().unwrap();
    // The lot is closed with 490 dollars, as in reality, and the ten of the first order are held with ten times that.
    assert_eq!(
        other.balance,
        Amount::parse("100454").unwrap(),
        "490 less 3 + 3 for the lot and 30 for the ten"
    );
    assert_eq!(other.equity, Amount::parse("105354").unwrap());
}

#[test]
fn a_phase_that_would_not_have_been_reached_and_one_that_would() {
    let mut memory = Memory::new(&[program(STEPS)]);
    let account = memory.open(0);
    memory.quote("EURUSD", 110_000, 10);
    memory.buy(account, 1_000).unwrap();
    memory.wait(1_000_000);
    memory.quote("EURUSD", 110_200, 10);
    let close = Act::Close { position: Ticket(2), quantity: None };
    memory.act(account, close).unwrap();
    assert_eq!(memory.engine.account(account).unwrap().status, Status::Passed);
    let next = memory.engine.accounts().find(|account| account.phase == 1).unwrap().id;
    memory.buy(next, 100).unwrap();

    let harder = STEPS.replacen(
        "profit_target\", limit = { percent_of_initial = \"1\"",
        "profit_target\", limit = { percent_of_initial = \"5\"",
        1,
    );
    let report = memory.judge_all(&program(&harder));
    let [first, second] = &report.differing[..] else { panic!("{:#?}", report.differing) };
    assert_eq!((first.phase, second.phase), (0, 1));
    assert_eq!(first.other.as_ref().unwrap().status, Status::Active);
    assert!(second.other.is_none() && second.other_answers == 1);
    assert!(
        second.sentence(report.other.currency).contains("| under the other program: not reached; 1 command")
    );
    assert_eq!((report.own.phases.len(), report.by_other.phases.len()), (2, 1));

    // The other way round: what was only active then passes.
    let mut memory = Memory::new(&[program(&harder)]);
    let account = memory.open(0);
    memory.quote("EURUSD", 110_000, 10);
    memory.buy(account, 1_000).unwrap();
    memory.wait(1_000_000);
    memory.quote("EURUSD", 110_200, 10);
    memory.act(account, Act::Close { position: Ticket(2), quantity: None }).unwrap();
    let report = memory.judge_all(&program(STEPS));
    let reached = report.differing.iter().find(|judged| judged.phase == 1).unwrap();
    assert!(reached.own.is_none());
    assert_eq!(reached.other.as_ref().unwrap().status, Status::Active);
    assert_eq!(report.by_other.phases[0].with(Status::Passed), 1);
}

#[test]
fn what_cannot_be_compared_is_refused_and_the_rest_remarked() {
    let memory = a_loss(800);
    let euro = program(&FLOOR.replace("currency = \"USD\"", "currency = \"EUR\""));
    let refused = memory.judge(&memory.whereabouts(), &euro).unwrap_err();
    assert!(matches!(refused, WhatIfError::NotComparable(_)), "{refused}");
    assert!(refused.to_string().contains("USD") && refused.to_string().contains("EUR"), "{refused}");

    let smaller = FLOOR.replace("\"100000\"", "\"50000\"").replace("\"EURUSD\", ", "");
    let report = memory.judge_all(&program(&smaller));
    assert!(report.remarks[0].contains("50,000.00 instead of 100,000.00"), "{:?}", report.remarks);
    assert!(report.remarks[1].contains("EURUSD"), "{:?}", report.remarks);
    let judged = one(&report);
    assert_eq!(judged.other_answers, 1, "the order is refused: the instrument is not in the program");
    assert_eq!(judged.other.as_ref().unwrap().balance, Amount::parse("50000").unwrap());
}

/// What is not in the log is told, and quotes behind the snapshot are not even read.
#[test]
fn missing_quotes_are_told_and_later_ones_left_alone() {
    let memory = a_loss(800);
    memory.quotes.lock().unwrap().remove(0);
    let comparison = memory.compare(&memory.read(), Compared::All);
    assert_eq!(comparison.missing_quotes, [(1, 1)]);
    assert!(!comparison.equal(), "the order was filled at the missing one");
    assert!(comparison.differences.iter().any(|difference| difference.what == "answer to command 2"));

    let memory = a_loss(800);
    let upto = memory.position();
    let read = memory.read();
    let torn: ReadQuotes = Arc::new(move |from| {
        let whole = read(from)?;
        Ok(Box::new(whole.chain(std::iter::once(Err("half a record".into())))))
    });
    let comparison = memory.compare(&torn, Compared::All);
    assert!(comparison.equal() && comparison.quote_position == upto);
}

fn asked_by(role: Role) -> Context {
    let rng = kernel::SeededRng::new(1);
    let at = Timestamp::parse(testkit::START).unwrap();
    let actor = Actor { person: PersonId::random(at, &rng), roles: vec![role] };
    Context { firm: FirmId::derived(&[b"firm"]), actor: Some(actor), request: RequestId::random(at, &rng) }
}

#[test]
fn only_the_risk_desk_may_ask_and_one_at_a_time() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).build().unwrap();
    let memory = a_loss(1_100);
    let quotes = memory.read();
    let (began, at_the_quotes) = std::sync::mpsc::channel();
    let (go_on, gone_on) = std::sync::mpsc::channel::<()>();
    let gone_on = std::sync::Mutex::new(gone_on);
    // The first history waits at its quotes until the test lets it go on; afterwards nothing waits.
    let slow: ReadQuotes = Arc::new(move |from| {
        began.send(()).unwrap();
        let _told_or_over = gone_on.lock().unwrap().recv();
        quotes(from)
    });
    let what_if = Arc::new(WhatIf::new(Arc::new(memory), slow, testkit::instruments()));
    let other = || (*program(&FLOOR.replace("\"10\" }, breach", "\"12\" }, breach"))).clone();
    let of = || Of::Slug("floor".to_owned());
    for role in [Role::Trader, Role::Support, Role::Finance] {
        let refused = runtime.block_on(what_if.judge(&asked_by(role), of(), other())).unwrap_err();
        assert!(matches!(refused, AppError::Forbidden), "{role:?}: {refused}");
    }
    let first = {
        let what_if = Arc::clone(&what_if);
        let question = (of(), other());
        runtime.spawn(async move { what_if.judge(&asked_by(Role::Risk), question.0, question.1).await })
    };
    at_the_quotes.recv().unwrap();
    let refused = runtime.block_on(what_if.judge(&asked_by(Role::Admin), of(), other())).unwrap_err();
    assert!(matches!(refused, AppError::Refused { code: "too_many_requests", .. }), "{refused}");
    go_on.send(()).unwrap();
    assert_eq!(runtime.block_on(first).unwrap().unwrap().turned, 1);
    drop(go_on);
    let again = runtime.block_on(what_if.judge(&asked_by(Role::Auditor), of(), other())).unwrap();
    assert_eq!(again.turned, 1);
}
