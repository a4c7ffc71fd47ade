//! What holds for any history: of quotes, commands and passing time over several accounts, markets and currencies.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    clippy::similar_names,
    reason = "a test may panic, and a wildcard asks for one kind of event among all"
)]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::sync::Arc;

use common::*;
use engine::{
    Account, Act, Answered, Cause, Change, Command, Engine, EntryKind, Event, Fill, FillReason, Input,
    Instrument, InstrumentId, Instruments, Key, MOST_TICKETS, Mark, OrderKind, Past, Place, Position, Quote,
    Receipt, Restored, Resumed, Status, Ticket, Verdict, VerdictKind, What,
};
use kernel::{AccountId, Amount, Price, Quantity, ResetClock, SeededRng, Side, Span, Timestamp};
use proptest::prelude::*;
use rules::kinds::{LockAt, LossBase, OpenLossPer, Reference, Trail};
use rules::{Comparison, Effect, Limit, Program, Rule};

/// The markets with the level they start at.
const MARKETS: [(&str, i64); 5] = [
    ("AUDNZD", 108_000),
    ("EURUSD", 110_000),
    ("NZDUSD", 60_000),
    ("USDJPY", 150_000),
    ("XAUUSD", 2_000_000),
];
const DAY: i64 = 86_400_000_000;

// ---- Histories --------------------------------------------------------------------------------------------------

/// One thing to do, in numbers that mean something only where the history stands.
#[derive(Debug, Clone)]
enum Deed {
    /// Markets that move together in one message: which, by how many millionths, with which spread.
    Message(Vec<(u8, i32, u8)>),
    Place {
        who: u8,
        what: u8,
        buy: bool,
        kind: u8,
        size: u16,
        distance: u16,
        exits: u8,
    },
    Close {
        who: u8,
        pick: u8,
        half: bool,
    },
    Cancel {
        who: u8,
        pick: u8,
    },
    Exits {
        who: u8,
        pick: u8,
        distance: u16,
    },
    Move {
        who: u8,
        pick: u8,
        distance: u16,
    },
    Hold {
        who: u8,
        held: bool,
    },
    Retry {
        pick: u8,
    },
    Nothing,
}

fn deed() -> impl Strategy<Value = Deed> {
    let moves = prop_oneof![12 => -3_000..3_000_i32, 2 => -20_000..20_000_i32, 1 => -150_000..150_000_i32];
    let quote = (0..5_u8, moves, 0..30_u8);
    prop_oneof![
        12 => prop::collection::vec(quote.clone(), 1..2).prop_map(Deed::Message),
        6 => prop::collection::vec(quote, 2..6).prop_map(Deed::Message),
        10 => (0..4_u8, 0..6_u8, any::<bool>(), 0..5_u8, 0..1_200_u16, 1..400_u16, 0..4_u8)
            .prop_map(|(who, what, buy, kind, size, distance, exits)| Deed::Place { who, what, buy, kind, size, distance, exits }),
        4 => (0..4_u8, any::<u8>(), any::<bool>()).prop_map(|(who, pick, half)| Deed::Close { who, pick, half }),
        1 => (0..4_u8, any::<u8>()).prop_map(|(who, pick)| Deed::Cancel { who, pick }),
        1 => (0..4_u8, any::<u8>(), 1..400_u16).prop_map(|(who, pick, distance)| Deed::Exits { who, pick, distance }),
        1 => (0..4_u8, any::<u8>(), 1..400_u16).prop_map(|(who, pick, distance)| Deed::Move { who, pick, distance }),
        1 => (0..4_u8, prop::bool::weighted(0.3)).prop_map(|(who, held)| Deed::Hold { who, held }),
        1 => any::<u8>().prop_map(|pick| Deed::Retry { pick }),
        1 => Just(Deed::Nothing),
    ]
}

/// Deeds with the time that passes before each.
fn history() -> impl Strategy<Value = Vec<(i64, Deed)>> {
    let seconds = prop_oneof![
        6 => Just(0_i64),
        20 => 1..2_000_000_i64,
        2 => 40_000_000..70_000_000_i64,
        2 => 3_600_000_000..30_000_000_000_i64,
        1 => Just(DAY),
    ];
    prop::collection::vec((seconds, deed()), 40..160)
}

fn with_clock(mut program: Program, zone: &str) -> Program {
    program.reset = ResetClock::parse(zone, "00:00").unwrap();
    program
}

/// Five challenges that differ in currency, costs, leverage and every kind of floor. All reset at a whole hour of
/// UTC that the oracle can count by itself.
fn programs() -> Vec<Program> {
    let mut steps = with_clock(
        program(vec![
            daily(Reference::Balance, percent("5")),
            total(Trail::Static, percent("10"), LockAt::None),
            target(percent("2")),
        ]),
        "Etc/UTC",
    );
    steps.terms.commission_per_lot = money("3");
    let second = vec![
        total(Trail::EndOfDayBalance, percent("4"), LockAt::AtInitial),
        touching(daily(Reference::HigherOf, percent("3"))),
        target_held(percent("3")),
        trading_days(1),
    ];
    let third = vec![touching(total(Trail::IntradayEquity, fixed("3000"), LockAt::AtInitial))];
    steps.phases.push(phase("Verification", second));
    steps.phases.push(phase("Funded", third));

    let mut trailing = with_clock(
        program_of(
            "50000",
            vec![
                total(Trail::IntradayEquity, percent_of_reference("4"), LockAt::None),
                touching(daily(Reference::Equity, percent("2"))),
                inactivity(2),
            ],
        ),
        "Etc/GMT-3",
    );
    trailing.terms.commission_per_lot = money("2.51");

    let mut euro = with_clock(
        program(vec![
            daily(Reference::HigherOf, percent_of_reference("4")),
            total(Trail::EndOfDayBalance, percent("5"), LockAt::None),
            target_held(percent("5")),
            calendar(6),
        ]),
        "Etc/UTC",
    );
    euro.currency = currency("EUR");
    euro.terms.leverage = 30;
    euro.terms.commission_per_lot = money("3.333333");

    let mut thin =
        with_clock(program_of("20000", vec![total(Trail::Static, percent("95"), LockAt::None)]), "Etc/GMT+5");
    thin.terms.leverage = 40;
    thin.terms.stop_out = kernel::Percent::parse("100").unwrap();

    let peaks = with_clock(
        program_of(
            "80000",
            vec![
                total(Trail::RealisedBalance, percent("3"), LockAt::AtInitial),
                total(Trail::BalanceOrEquity, percent_of_reference("6"), LockAt::None),
                touching(daily(Reference::DayPeakEquity, percent("2"))),
                daily(Reference::PeakAtReset, percent_of_reference("5")),
                total(Trail::EndOfDayHigher, percent("7"), LockAt::None),
            ],
        ),
        "Etc/UTC",
    );
    vec![steps, trailing, euro, thin, peaks]
}

/// Four challenges with rules that look at each open position: alone, together and by ideas, in two currencies.
fn programs_of_positions() -> Vec<Program> {
    let share = |text| LossBase::PercentOfInitial(kernel::Percent::parse(text).unwrap());
    let mut each = program(vec![
        open_loss(OpenLossPer::Trade, share("0.3"), Effect::Flag),
        open_loss(OpenLossPer::Account, share("2"), Effect::Close),
        total(Trail::Static, percent("10"), LockAt::None),
        target(percent("2")),
    ]);
    each.terms.commission_per_lot = money("3");
    let second = vec![
        per_idea(percent("1"), 30, false, Effect::Soft),
        total(Trail::EndOfDayBalance, percent("8"), LockAt::AtInitial),
        target_held(percent("3")),
    ];
    each.phases.push(phase("Verification", second));
    let of_profit = LossBase::PercentOfDayStartProfit(kernel::Percent::parse("40").unwrap());
    let mut ideas = program_of(
        "50000",
        vec![
            per_idea(fixed("250"), 60, true, Effect::Flag),
            per_idea(fixed("900"), 0, false, Effect::Close),
            open_loss(OpenLossPer::Account, of_profit, Effect::Soft),
            total(Trail::IntradayEquity, percent_of_reference("6"), LockAt::None),
        ],
    );
    ideas.terms.commission_per_lot = money("2.51");
    let mut euro = program(vec![
        open_loss(OpenLossPer::Trade, share("0.5"), Effect::Warn),
        per_idea(percent("0.8"), 10, false, Effect::Flag),
        open_loss(OpenLossPer::Account, share("3"), Effect::Hard),
        touching(total(Trail::BalanceOrEquity, percent("9"), LockAt::None)),
    ]);
    euro.currency = currency("EUR");
    euro.terms.leverage = 30;
    let hard = program(vec![
        open_loss(OpenLossPer::Trade, LossBase::Amount(money("1200")), Effect::Hard),
        per_idea(percent("2"), 5, true, Effect::Deduct),
        daily(Reference::DayPeakEquity, percent("5")),
    ]);
    vec![each, ideas, euro, hard]
}

/// A history as the engine was told it, with what it said to every input.
struct Recorded {
    programs: Vec<Program>,
    inputs: Vec<(Timestamp, Input)>,
    said: Vec<Vec<Event>>,
    answers: Vec<Option<Answered>>,
    hash: [u8; 32],
}

/// Turns deeds into inputs by looking at the engine they are told to.
fn record(history: &[(i64, Deed)]) -> Recorded {
    record_over(history, &programs())
}

fn record_over(history: &[(i64, Deed)], programs: &[Program]) -> Recorded {
    let mut engine = Engine::new(instruments());
    let mut recorded = Recorded {
        programs: programs.to_vec(),
        inputs: Vec::new(),
        said: Vec::new(),
        answers: Vec::new(),
        hash: [0; 32],
    };
    let mut now = at(MONDAY);
    let mut levels = MARKETS.map(|(_, level)| level);
    let mut place_in_log = 1;
    let mut inputs: Vec<Input> = Vec::new();
    for (number, program) in (0..).zip(programs) {
        engine.learn(program.version().unwrap(), Arc::new(program.clone()));
        let open = opening(program, number, 0);
        inputs.push(command(open.account(), &format!("open-{number}"), Act::Open(open)));
    }
    let first: Vec<_> = (0..5).map(|which| quoted(which, levels[usize::from(which)], 10, now)).collect();
    inputs.push(Input::Quotes(place_in_log, first));
    place_in_log += 5;
    for input in inputs {
        tell(&mut engine, now, input, &mut recorded);
    }
    for (number, (wait, deed)) in history.iter().enumerate() {
        now = now.after(Span::from_micros(*wait)).unwrap();
        let key = format!("key-{number}");
        let account = |who: u8| current(&engine, programs, who);
        let input = match deed {
            Deed::Nothing => Some(Input::Clock),
            Deed::Message(moves) => {
                let mut quotes = Vec::new();
                for (which, millionths, spread) in moves {
                    let level = &mut levels[usize::from(*which)];
                    *level = (*level + *level * i64::from(*millionths) / 1_000_000).clamp(2_000, 50_000_000);
                    quotes.push(quoted(u16::from(*which), *level, i64::from(*spread), now));
                }
                let first = place_in_log;
                place_in_log += u64::try_from(quotes.len()).unwrap();
                Some(Input::Quotes(first, quotes))
            }
            Deed::Place { who, what, buy, kind, size, distance, exits } => {
                let place = placed(&levels, *what, *buy, *kind, *size, *distance, *exits);
                Some(command(account(*who).id, &key, Act::Place(place)))
            }
            Deed::Close { who, pick, half } => picked(&account(*who).positions, *pick).map(|position| {
                let quantity = half.then_some(Quantity(position.quantity.0 / 2));
                command(account(*who).id, &key, Act::Close { position: position.ticket, quantity })
            }),
            Deed::Cancel { who, pick } => picked(&account(*who).orders, *pick)
                .map(|order| command(account(*who).id, &key, Act::Cancel { order: order.ticket })),
            Deed::Exits { who, pick, distance } => picked(&account(*who).positions, *pick).map(|position| {
                let level = levels[usize::from(position.instrument.0)];
                let (stop_loss, take_profit) = exits_of(level, position.side, *distance);
                let act = Act::ChangePosition {
                    position: position.ticket,
                    stop_loss: Change::Set(stop_loss),
                    take_profit: Change::Set(take_profit),
                };
                command(account(*who).id, &key, act)
            }),
            Deed::Move { who, pick, distance } => picked(&account(*who).orders, *pick).map(|order| {
                let level = levels[usize::from(order.instrument.0)];
                let price = Some(Price(level - level * i64::from(*distance) / 20_000));
                let act = Act::ChangeOrder {
                    order: order.ticket,
                    price,
                    stop_loss: Change::Remove,
                    take_profit: Change::Remove,
                };
                command(account(*who).id, &key, act)
            }),
            Deed::Hold { who, held } => Some(command(account(*who).id, &key, Act::Hold { held: *held })),
            Deed::Retry { pick } => {
                // A retry brings no time with it; here somebody else does.
                tell(&mut engine, now, Input::Clock, &mut recorded);
                let commands: Vec<_> =
                    recorded.inputs.iter().filter(|(_, input)| matches!(input, Input::Command(_))).collect();
                Some(commands[usize::from(*pick) % commands.len()].1.clone())
            }
        };
        if let Some(input) = input {
            tell(&mut engine, now, input, &mut recorded);
        }
    }
    recorded.hash = engine.state_hash().unwrap();
    recorded
}

fn tell(engine: &mut Engine, now: Timestamp, input: Input, recorded: &mut Recorded) {
    let mut events = Vec::new();
    let answer = engine.apply(now, &input, &mut events).unwrap();
    recorded.inputs.push((now, input));
    recorded.said.push(events);
    recorded.answers.push(answer);
}

/// What a store has of a shard: rows as they were last written, each with its place, and how far all of them are right.
#[derive(Default)]
struct Stored {
    rows: BTreeMap<AccountId, (Account, u64)>,
    mark: Mark,
    last: Mark,
    /// The first input that is not in them.
    next: usize,
}

impl Stored {
    fn commit(&mut self, engine: &mut Engine, next: usize) {
        for (id, counters) in engine.take_changed().unwrap() {
            let stored = self.rows.get(&id).map(|(row, _)| row.next);
            assert_eq!(counters, stored, "what was stored of {id}");
            self.rows.insert(id, (through_bytes(engine.account(id).unwrap()), engine.position()));
        }
        self.mark = engine.mark().into_owned();
        self.last = standing(engine);
        self.next = next;
    }

    fn restore(&self, recorded: &Recorded) -> Resumed {
        let inputs = &recorded.inputs[..self.next];
        let since = inputs.iter().filter_map(|(at, input)| match input {
            Input::Quotes(first, quotes) if *first > self.mark.position => {
                let last = first + u64::try_from(quotes.len()).unwrap() - 1;
                Some(Ok::<_, Infallible>(Past { positions: *first..=last, at: *at, quotes: quotes.clone() }))
            }
            _ => None,
        });
        let stored = Restored {
            at: inputs.last().unwrap().0,
            last: self.last.clone(),
            accounts: self.rows.values().cloned().collect(),
            mark: self.mark.clone(),
            programs: versions(&recorded.programs),
        };
        Engine::restore(instruments(), stored, since).unwrap()
    }
}

fn command(account: AccountId, key: &str, act: Act) -> Input {
    Input::Command(Command { account, key: Key::parse(key).unwrap(), act })
}

/// A challenge's account of the highest phase.
fn current<'a>(engine: &'a Engine, programs: &[Program], who: u8) -> &'a Account {
    let program = &programs[usize::from(who)];
    let phases = (0..program.phases.len()).rev();
    let mut ids = phases.map(|phase| opening(program, u128::from(who), phase).account());
    ids.find_map(|id| engine.account(id)).unwrap()
}

fn picked<T>(things: &BTreeMap<Ticket, T>, pick: u8) -> Option<&T> {
    let place = usize::from(pick).checked_rem(things.len())?;
    things.values().nth(place)
}

fn quoted(which: u16, level: i64, spread: i64, now: Timestamp) -> Quote {
    let wide = if MARKETS[usize::from(which)].0 == "XAUUSD" { 20 } else { 1 };
    Quote {
        instrument: InstrumentId(which),
        bid: Price(level),
        ask: Price(level + spread * wide),
        source_time: now,
    }
}

fn exits_of(level: i64, side: Side, distance: u16) -> (Price, Price) {
    let far = level * i64::from(distance) / 20_000 + 700;
    match side {
        Side::Buy => (Price(level - far), Price(level + far)),
        Side::Sell => (Price(level + far), Price(level - far)),
    }
}

fn placed(levels: &[i64; 5], what: u8, buy: bool, kind: u8, size: u16, distance: u16, exits: u8) -> Place {
    let (name, level) = match MARKETS.get(usize::from(what)) {
        Some((name, _)) => (*name, levels[usize::from(what)]),
        None => ("EURUSD", levels[1]),
    };
    let side = if buy { Side::Buy } else { Side::Sell };
    let away = level * i64::from(distance) / 40_000 + 1;
    let kind = match kind {
        0 => OrderKind::Limit(Price(if buy { level - away } else { level + away })),
        1 => OrderKind::Stop(Price(if buy { level + away + 700 } else { level - away })),
        _ => OrderKind::Market,
    };
    let from = kind.price().map_or(level, |price| price.0);
    let (stop_loss, take_profit) = exits_of(from, side, distance);
    // A size of nothing, and yen beyond their largest order, are refused: refusals belong to a history.
    let size = if name == "USDJPY" { i64::from(size) / 5 } else { i64::from(size) };
    Place {
        symbol: symbol(name),
        side,
        kind,
        quantity: Quantity(size),
        stop_loss: (exits & 1 == 1).then_some(stop_loss),
        take_profit: (exits & 2 == 2).then_some(take_profit),
    }
}

// ---- An independent oracle --------------------------------------------------------------------------------------

/// Quotes in points, by place in `MARKETS`.
type Prices = BTreeMap<u16, (i128, i128)>;

struct Held {
    market: u16,
    long: bool,
    quantity: i128,
    open: i128,
}

/// An account as a spreadsheet would keep it: plain integers in millionths, no index, everything anew each time.
struct Naive {
    program: Program,
    phase: usize,
    initial: i128,
    balance: i128,
    day_balance: i128,
    day_equity: i128,
    peak_equity: i128,
    day_peak_equity: i128,
    peak_balance: i128,
    peak_day_balance: i128,
    peak_day_higher: i128,
    next_reset: i64,
    held: BTreeMap<u32, Held>,
    over: bool,
}

impl Naive {
    fn open(program: &Program, phase: usize, at: Timestamp) -> Self {
        let initial = i128::from(program.initial_balance.micros());
        // Local midnight as hours of UTC.
        let hour = match program.reset.zone() {
            "Etc/GMT-3" => 21,
            "Etc/GMT+5" => 5,
            _ => 0,
        };
        let offset = hour * 3_600_000_000;
        let next_reset = ((at.micros() - offset).div_euclid(DAY) + 1) * DAY + offset;
        Self {
            program: program.clone(),
            phase,
            initial,
            balance: initial,
            day_balance: initial,
            day_equity: initial,
            peak_equity: initial,
            day_peak_equity: initial,
            peak_balance: initial,
            peak_day_balance: initial,
            peak_day_higher: initial,
            next_reset,
            held: BTreeMap::new(),
            over: false,
        }
    }

    fn converted(&self, prices: &Prices, market: u16, amount: i128) -> i128 {
        let quote = &MARKETS[usize::from(market)].0[3..];
        let gain = amount >= 0;
        let side = |market: u16, bid: bool| if bid { prices[&market].0 } else { prices[&market].1 };
        match (quote, self.program.currency.code()) {
            ("USD", "USD") => amount,
            ("USD", "EUR") => (amount * 100_000).div_euclid(side(1, !gain)),
            ("JPY", "USD") => (amount * 1_000).div_euclid(side(3, !gain)),
            ("NZD", "USD") => (amount * side(2, gain)).div_euclid(100_000),
            other => panic!("no way for {other:?}"),
        }
    }

    fn profit(&self, prices: &Prices, held: &Held, quantity: i128) -> i128 {
        let (bid, ask) = prices[&held.market];
        let moved = if held.long { bid - held.open } else { held.open - ask };
        // Contract size over price digits and hundredths of a lot, in millionths.
        let unit = match MARKETS[usize::from(held.market)].0 {
            "USDJPY" => 1_000_000,
            "XAUUSD" => 1_000,
            _ => 10_000,
        };
        self.converted(prices, held.market, moved * unit * quantity)
    }

    fn equity(&self, prices: &Prices) -> i128 {
        self.balance + self.held.values().map(|held| self.profit(prices, held, held.quantity)).sum::<i128>()
    }

    /// (floor, touching breaches), without the one at nothing.
    fn floors(&self) -> Vec<(i128, bool)> {
        let mut floors = Vec::new();
        let limit = |limit: Limit, reference: i128| match limit {
            Limit::Amount(amount) => i128::from(amount.micros()),
            Limit::PercentOfInitial(share) => {
                (self.initial * i128::from(share.millionths())).div_euclid(1_000_000)
            }
            Limit::PercentOfReference(share) => {
                (reference * i128::from(share.millionths())).div_euclid(1_000_000)
            }
        };
        for rule in &self.program.phases[self.phase].rules {
            match rule {
                Rule::DailyLoss(rule) => {
                    let from = match rule.reference {
                        Reference::Balance => self.day_balance,
                        Reference::Equity => self.day_equity,
                        Reference::HigherOf => self.day_balance.max(self.day_equity),
                        Reference::DayPeakEquity => self.day_peak_equity,
                        Reference::PeakAtReset => self.peak_day_higher,
                    };
                    floors.push((from - limit(rule.limit, from), rule.breach == Comparison::AtOrBelow));
                }
                Rule::MaxLoss(rule) => {
                    let from = match rule.trail {
                        Trail::Static => self.initial,
                        Trail::EndOfDayBalance => self.peak_day_balance,
                        Trail::EndOfDayHigher => self.peak_day_higher,
                        Trail::RealisedBalance => self.peak_balance,
                        Trail::IntradayEquity => self.peak_equity,
                        Trail::BalanceOrEquity => self.peak_equity.max(self.peak_balance),
                    };
                    let floor = from - limit(rule.limit, from);
                    let floor = if rule.lock == LockAt::AtInitial { floor.min(self.initial) } else { floor };
                    floors.push((floor, rule.breach == Comparison::AtOrBelow));
                }
                _ => {}
            }
        }
        floors
    }

    /// Looks at the equity; the highest floor it has crossed.
    fn look(&mut self, prices: &Prices) -> Option<i128> {
        let equity = self.equity(prices);
        self.peak_equity = self.peak_equity.max(equity);
        self.day_peak_equity = self.day_peak_equity.max(equity);
        self.peak_balance = self.peak_balance.max(self.balance);
        let crossed = self
            .floors()
            .into_iter()
            .filter(|(floor, touch)| equity < *floor || (*touch && equity == *floor));
        let ruin = (equity <= 0).then_some(0);
        crossed.map(|(floor, _)| floor).chain(ruin).max()
    }

    /// For hundredths of a lot, up to whole cents.
    fn commission(&self, quantity: i128) -> i128 {
        let hundredfold = i128::from(self.program.terms.commission_per_lot.micros()) * quantity;
        (hundredfold + 999_999) / 1_000_000 * 10_000
    }

    /// Books a fill by its own arithmetic and compares.
    fn book(&mut self, prices: &Prices, fill: &Fill) {
        let market = fill.instrument.0;
        let (bid, ask) = prices[&market];
        let quantity = i128::from(fill.quantity.0);
        assert_eq!(
            i128::from(fill.price.0),
            if fill.side == Side::Buy { ask } else { bid },
            "the side that applies"
        );
        let opens = matches!(fill.reason, FillReason::Market | FillReason::Limit | FillReason::Stop);
        let profit = if opens {
            let held =
                Held { market, long: fill.side == Side::Buy, quantity, open: i128::from(fill.price.0) };
            self.held.insert(fill.position.0, held);
            0
        } else {
            let held = &self.held[&fill.position.0];
            let exact = self.profit(prices, held, quantity);
            let left = held.quantity - quantity;
            assert!(left >= 0);
            self.held.get_mut(&fill.position.0).unwrap().quantity = left;
            if left == 0 {
                self.held.remove(&fill.position.0);
            }
            to_cents(exact)
        };
        let commission = self.commission(quantity);
        assert_eq!(i128::from(fill.profit.micros()), profit, "{fill:?}");
        assert_eq!(i128::from(fill.commission.micros()), commission, "{fill:?}");
        self.balance += profit - commission;
    }

    /// Follows one input; the instant and the floor at which the account should have breached, and where its equity
    /// then stood.
    fn follow(
        &mut self,
        at: Timestamp,
        is_quote: bool,
        old: &Prices,
        new: &Prices,
        said: &[&Event],
    ) -> Option<(i64, i128, i128)> {
        let passed_or_expired = said.iter().find_map(|event| match &event.what {
            What::Verdict(verdict) if matches!(verdict.kind, VerdictKind::Pass | VerdictKind::Expiry) => {
                Some((event.at.micros(), verdict.cause))
            }
            _ => None,
        });
        let until = passed_or_expired.map_or(at.micros(), |(end, _)| end);
        while self.next_reset <= until {
            let reset = self.next_reset;
            let equity = self.equity(old);
            self.day_balance = self.balance;
            self.day_equity = equity;
            self.day_peak_equity = equity;
            self.peak_day_balance = self.peak_day_balance.max(self.balance);
            self.peak_day_higher = self.peak_day_higher.max(self.balance).max(equity);
            self.next_reset += DAY;
            if let Some(floor) = self.look(old) {
                return Some((reset, floor, equity));
            }
        }
        if passed_or_expired.is_some_and(|(_, cause)| by_time(cause)) {
            return None;
        }
        let breach = |naive: &mut Self, prices: &Prices| {
            let equity = naive.equity(prices);
            naive.look(prices).map(|floor| (at.micros(), floor, equity))
        };
        if is_quote && let Some(found) = breach(self, new) {
            return Some(found);
        }
        let mut looked = false;
        for event in said {
            match &event.what {
                What::Verdict(_) => break,
                What::Fill(fill) => {
                    let stop_out = fill.reason == FillReason::StopOut;
                    if stop_out
                        && !looked
                        && let Some(found) = breach(self, new)
                    {
                        return Some(found);
                    }
                    self.book(new, fill);
                    if stop_out {
                        looked = true;
                        if let Some(found) = breach(self, new) {
                            return Some(found);
                        }
                    }
                }
                _ => {}
            }
        }
        breach(self, new)
    }

    /// Books what is closed after a verdict.
    fn liquidate(&mut self, prices: &Prices, said: &[&Event]) {
        let after = said.iter().skip_while(|event| !matches!(event.what, What::Verdict(_)));
        for event in after {
            if let What::Fill(fill) = &event.what {
                assert_eq!(fill.reason, FillReason::Liquidation);
                self.book(prices, fill);
            }
        }
        assert!(self.held.is_empty());
        self.over = true;
    }
}

/// Whether it happened before the input that brought its time.
fn by_time(cause: Cause) -> bool {
    matches!(cause, Cause::DayEnd | Cause::Reset | Cause::Deadline)
}

/// To whole cents, ties to the even one.
fn to_cents(exact: i128) -> i128 {
    let cents = exact.div_euclid(10_000);
    let rest = exact.rem_euclid(10_000);
    let up = rest > 5_000 || (rest == 5_000 && cents % 2 != 0);
    (cents + i128::from(up)) * 10_000
}

// ---- The properties ---------------------------------------------------------------------------------------------

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, max_shrink_iters: 3_000, failure_persistence: None, ..ProptestConfig::default() }
}

/// Grouping of calls, clock inputs and retries in between, and a restart from the stored state change nothing.
fn regroup(recorded: &Recorded, seed: u64) -> Result<(), TestCaseError> {
    let rng = SeededRng::new(seed);
    let mut engine = Engine::new(instruments());
    for program in &recorded.programs {
        engine.learn(program.version().unwrap(), Arc::new(program.clone()));
    }
    let mut said = Vec::new();
    let mut batch = Vec::new();
    let mut before = recorded.inputs[0].0;
    for (told, ((now, input), answer)) in recorded.inputs.iter().zip(&recorded.answers).enumerate() {
        let mut ticks: Vec<_> =
            (0..rng.between(0, 3)).map(|_| rng.between(before.micros(), now.micros())).collect();
        ticks.sort_unstable();
        for tick in ticks {
            engine.apply(Timestamp::from_micros(tick), &Input::Clock, &mut batch).unwrap();
        }
        // Somebody repeats an earlier command, on a clock that runs ahead of the market's.
        let ahead = now.after(hours(1)).unwrap();
        let known = |then: Timestamp| ahead.since(then).unwrap() < hours(47);
        let mut earlier =
            recorded.inputs.iter().zip(&recorded.answers).take(told).filter(|((then, _), answer)| {
                known(*then) && answer.as_ref().is_some_and(|answer| answer.fresh)
            });
        if let Some(((_, again), answer)) = earlier.next_back()
            && rng.between(0, 3) == 0
        {
            let repeated = engine.apply(ahead, again, &mut batch).unwrap().unwrap();
            prop_assert!(!repeated.fresh);
            prop_assert_eq!(repeated.outcome, answer.as_ref().unwrap().outcome);
        }
        if rng.between(0, 9) == 0 {
            let back = restored(&engine, &recorded.programs);
            prop_assert_eq!(back.now(), engine.now());
            engine = back;
        }
        prop_assert_eq!(&engine.apply(*now, input, &mut batch).unwrap(), answer);
        if rng.between(0, 4) == 0 {
            said.append(&mut batch);
        }
        before = *now;
    }
    said.append(&mut batch);
    prop_assert_eq!(said, recorded.said.concat());
    prop_assert_eq!(engine.state_hash().unwrap(), recorded.hash);
    prop_assert_eq!(restored(&engine, &recorded.programs).state_hash().unwrap(), recorded.hash);
    Ok(())
}

/// Rows are written only when accounts change, peaks come back from the quote log, and whatever was not written before the
/// end is applied again.
fn tear_down(recorded: &Recorded, seed: u64) -> Result<(), TestCaseError> {
    let rng = SeededRng::new(seed);
    let mut engine = Engine::new(instruments());
    let mut oracle = Engine::scanning(instruments());
    for engine in [&mut engine, &mut oracle] {
        for (version, program) in versions(&recorded.programs) {
            engine.learn(version, program);
        }
    }
    let mut stored = Stored::default();
    for (index, (now, input)) in recorded.inputs.iter().enumerate() {
        let (mut said, mut expected) = (Vec::new(), Vec::new());
        oracle.apply(*now, input, &mut expected).unwrap();
        engine.apply(*now, input, &mut said).unwrap();
        prop_assert_eq!(&said, &expected, "input {}", index);
        if rng.between(0, 3) == 0 {
            engine.settle_some(usize::try_from(rng.between(0, 3)).unwrap()).unwrap();
            stored.commit(&mut engine, index + 1);
        }
        if rng.between(0, 11) == 0 && !stored.rows.is_empty() {
            let resumed = stored.restore(recorded);
            prop_assert_eq!(resumed.missing, 0);
            engine = resumed.engine;
            for again in stored.next..=index {
                let (now, input) = &recorded.inputs[again];
                let mut said = Vec::new();
                engine.apply(*now, input, &mut said).unwrap();
                prop_assert_eq!(&said, &recorded.said[again], "input {} again", again);
            }
        }
        if rng.between(0, 7) > 0 {
            continue;
        }
        prop_assert_eq!(engine.state_hash().unwrap(), oracle.state_hash().unwrap(), "input {}", index);
        let ids: Vec<_> = oracle.accounts().map(|account| account.id).collect();
        for id in ids {
            let (ours, theirs) = (engine.view(id).unwrap(), oracle.view(id).unwrap());
            prop_assert_eq!(format!("{ours:?}"), format!("{theirs:?}"), "input {}", index);
        }
    }
    prop_assert_eq!(engine.state_hash().unwrap(), oracle.state_hash().unwrap());
    prop_assert_eq!(oracle.mark().position, oracle.position());
    Ok(())
}

/// Every verdict follows from its receipt.
fn prove(recorded: &Recorded) -> Result<(), TestCaseError> {
    let mut engine = Engine::new(instruments());
    for program in &recorded.programs {
        engine.learn(program.version().unwrap(), Arc::new(program.clone()));
    }
    for (now, input) in &recorded.inputs {
        let mut said = Vec::new();
        engine.apply(*now, input, &mut said).unwrap();
        for event in said {
            let What::Verdict(verdict) = event.what else { continue };
            let program =
                recorded.programs.iter().find(|program| program.version().unwrap() == verdict.version);
            let text = program.unwrap().canonical_json().unwrap();
            let firm = engine.firm(event.account).unwrap();
            let receipt =
                Receipt::compose(firm, event.account, event.at, event.at, None, text, *verdict).unwrap();
            let read: Receipt = serde_json::from_str(&serde_json::to_string(&receipt).unwrap()).unwrap();
            prop_assert_eq!(&read, &receipt);
            read.prove().unwrap();
            let mut altered = read.clone();
            altered.verdict.balance = altered.verdict.balance.plus(money("0.01")).unwrap();
            prop_assert!(altered.prove().is_err());
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(1000))]

    /// Grouping of calls, clock inputs and retries in between, and a restart from the stored state change nothing.
    #[test]
    fn batching_clocks_and_restarts_change_nothing(history in history(), seed: u64) {
        regroup(&record(&history), seed)?;
    }

    /// Rows are written only when accounts change, peaks come back from the quote log, and whatever was not written
    /// before the end is applied again: nobody can tell that there was a restart, nor that most were not looked at.
    #[test]
    fn a_shard_torn_down_anywhere_goes_on_as_if_nothing_had_happened(history in history(), seed in any::<u64>()) {
        tear_down(&record(&history), seed)?;
    }

    /// A naive account, kept beside the engine's, agrees on every equity, every floor, every result, and on the
    /// first breach: the input, the instant, the equity and the floor.
    #[test]
    fn a_naive_oracle_finds_the_same_breaches(history in history()) {
        let recorded = record(&history);
        let mut engine = Engine::new(instruments());
        for program in &recorded.programs {
            engine.learn(program.version().unwrap(), Arc::new(program.clone()));
        }
        let mut prices = Prices::new();
        let mut naive: BTreeMap<AccountId, Naive> = BTreeMap::new();
        for (index, (now, input)) in recorded.inputs.iter().enumerate() {
            let mut said = Vec::new();
            engine.apply(*now, input, &mut said).unwrap();
            let old = prices.clone();
            if let Input::Quotes(_, quotes) = input {
                prices.extend(quotes.iter().map(|quote| (quote.instrument.0, (quote.bid.0.into(), quote.ask.0.into()))));
            }
            for (id, account) in &mut naive {
                let about: Vec<_> = said.iter().filter(|event| event.account == *id).collect();
                if account.over {
                    let spoke = about.iter().any(|event| !matches!(event.what, What::Held { .. }));
                    prop_assert!(!spoke, "an ended account spoke at input {}", index);
                    continue;
                }
                let expected = account.follow(*now, matches!(input, Input::Quotes(..)), &old, &prices, &about);
                let verdicts: Vec<(&Event, &Verdict)> = about.iter().filter_map(|event| match &event.what {
                    What::Verdict(verdict) => Some((*event, verdict.as_ref())),
                    _ => None,
                }).collect();
                prop_assert!(verdicts.len() <= 1, "one verdict ends an account");
                let breach = verdicts.iter().find(|(_, verdict)| verdict.kind == VerdictKind::Breach);
                let found = breach.map(|(event, verdict)| {
                    let floor = verdict.floor.as_ref().unwrap();
                    (event.at.micros(), i128::from(floor.amount.micros()), i128::from(verdict.equity.micros()))
                });
                prop_assert_eq!(found, expected, "input {} {:?}", index, input);
                if let Some((_, verdict)) = verdicts.first() {
                    account.liquidate(if by_time(verdict.cause) { &old } else { &prices }, &about);
                    prop_assert_eq!(i128::from(engine.account(*id).unwrap().balance.micros()), account.balance);
                    continue;
                }
                let view = engine.view(*id).unwrap().unwrap();
                prop_assert_eq!(i128::from(view.equity.micros()), account.equity(&prices), "input {}", index);
                prop_assert_eq!(i128::from(view.account.balance.micros()), account.balance);
                let floors: Vec<_> = view.floors.iter().filter(|floor| floor.kind != "ruin").map(|floor| i128::from(floor.amount.micros())).collect();
                let expected: Vec<_> = account.floors().into_iter().map(|(floor, _)| floor).collect();
                prop_assert_eq!(floors, expected, "input {}", index);
            }
            for event in &said {
                if event.what == What::Opened {
                    let account = engine.account(event.account).unwrap();
                    let program = recorded.programs.iter().find(|program| program.version().unwrap() == account.version).unwrap();
                    naive.insert(event.account, Naive::open(program, account.phase, event.at));
                }
            }
        }
    }

    /// The books: entries chain, add up to the balance, and agree with the fills; positions and margin are sane;
    /// ended accounts are silent; floors that follow never fall.
    #[test]
    fn every_verdict_follows_from_its_receipt(history in history()) {
        prove(&record(&history))?;
    }

    #[test]
    fn the_books_balance_and_what_is_over_stays_over(history in history()) {
        let recorded = record(&history);
        let mut engine = Engine::new(instruments());
        for program in &recorded.programs {
            engine.learn(program.version().unwrap(), Arc::new(program.clone()));
        }
        let mut balances: BTreeMap<AccountId, (u32, Amount)> = BTreeMap::new();
        let mut fills: BTreeMap<AccountId, Amount> = BTreeMap::new();
        let mut booked: BTreeMap<AccountId, Amount> = BTreeMap::new();
        let mut floors: BTreeMap<(AccountId, usize), Amount> = BTreeMap::new();
        let mut over = BTreeSet::new();
        let mut on_hold = BTreeSet::new();
        for (now, input) in &recorded.inputs {
            let mut said = Vec::new();
            engine.apply(*now, input, &mut said).unwrap();
            for event in &said {
                let id = event.account;
                let held = on_hold.contains(&id);
                // One that has ended can be held and let go all the same.
                let of_hold = matches!(event.what, What::Held { .. });
                prop_assert!(of_hold || !over.contains(&id), "{:?} after the end", event);
                prop_assert!(event.at <= *now);
                match &event.what {
                    What::Entry(entry) => {
                        let (number, balance) = balances.get(&id).copied().unwrap_or((0, Amount::ZERO));
                        prop_assert_eq!(entry.number, number + 1);
                        prop_assert_eq!(entry.balance, balance.plus(entry.amount).unwrap());
                        balances.insert(id, (entry.number, entry.balance));
                        if entry.kind != EntryKind::Initial {
                            let sum = booked.entry(id).or_default();
                            *sum = sum.plus(entry.amount).unwrap();
                        }
                    }
                    What::Fill(fill) => {
                        let opens = matches!(fill.reason, FillReason::Market | FillReason::Limit | FillReason::Stop);
                        prop_assert!(!held || !opens, "{:?} on hold", fill);
                        let sum = fills.entry(id).or_default();
                        *sum = sum.plus(fill.profit).unwrap().minus(fill.commission).unwrap();
                    }
                    What::Position(position) => {
                        prop_assert!(!position.margin.is_negative());
                        prop_assert_eq!(position.closed_at.is_some(), position.quantity == Quantity(0));
                        prop_assert!(position.closed_at.is_none() || position.margin == Amount::ZERO);
                    }
                    What::Verdict(verdict) => {
                        let passes = matches!(verdict.kind, VerdictKind::Pass | VerdictKind::Payout);
                        prop_assert!(!held || !passes, "{:?} on hold", verdict);
                    }
                    What::Held { held: from_now } => {
                        prop_assert_ne!(held, *from_now, "said twice");
                        if *from_now { on_hold.insert(id) } else { on_hold.remove(&id) };
                    }
                    What::Opened | What::Order(_) | What::Reset(_) | What::Override(_) => {}
                }
            }
            for event in &said {
                if matches!(&event.what, What::Verdict(verdict) if verdict.kind.ends()) {
                    over.insert(event.account);
                }
            }
            for account in engine.accounts() {
                let id = account.id;
                prop_assert_eq!(account.status != Status::Active, over.contains(&id));
                prop_assert_eq!(account.held, on_hold.contains(&id));
                prop_assert!(!account.held || account.orders.is_empty());
                prop_assert_eq!(account.balance, balances[&id].1);
                let change = account.balance.minus(account.track.initial).unwrap();
                prop_assert_eq!(change, fills.get(&id).copied().unwrap_or_default());
                prop_assert_eq!(change, booked.get(&id).copied().unwrap_or_default());
                prop_assert!(account.positions.values().all(|position: &Position| position.quantity.0 > 0 && position.closed_at.is_none()));
                let view = engine.view(id).unwrap().unwrap();
                prop_assert!(!view.margin.is_negative());
                for floor in view.floors.iter().filter(|floor| floor.kind == "max_loss") {
                    let before = floors.insert((id, floor.rule), floor.amount).unwrap_or(floor.amount);
                    prop_assert!(floor.amount >= before, "from {} to {}", before, floor.amount);
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(config(400))]

    #[test]
    fn rules_that_look_at_positions_say_and_remember_what_the_scan_does(history in history(), seed in any::<u64>()) {
        let recorded = record_over(&history, &programs_of_positions());
        tear_down(&recorded, seed)?;
        let (mut engine, mut oracle) = (Engine::new(instruments()), Engine::scanning(instruments()));
        for engine in [&mut engine, &mut oracle] {
            for (version, program) in versions(&recorded.programs) {
                engine.learn(version, program);
            }
        }
        for (index, (now, input)) in recorded.inputs.iter().enumerate() {
            for engine in [&mut engine, &mut oracle] {
                engine.apply(*now, input, &mut Vec::new()).unwrap();
            }
            // At every price, and not only once somebody asks.
            for (ours, theirs) in engine.accounts().zip(oracle.accounts()) {
                prop_assert_eq!(&ours.track.notes, &theirs.track.notes, "input {} {:?}", index, input);
            }
        }
    }

    #[test]
    fn rules_that_look_at_positions_survive_restarts_and_prove(history in history(), seed in any::<u64>()) {
        let recorded = record_over(&history, &programs_of_positions());
        regroup(&recorded, seed)?;
        prove(&recorded)?;
    }
}

/// Histories have to reach what they are meant to test; a generator that never breaches proves nothing.
#[test]
fn histories_reach_every_kind_of_event() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let mut seen: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..160 {
        let recorded = record(&history().new_tree(&mut runner).unwrap().current());
        for event in recorded.said.concat() {
            let word = match &event.what {
                What::Fill(fill) => format!("fill {}", fill.reason.word()),
                What::Verdict(verdict) => {
                    format!("{} {} {}", verdict.kind.word(), verdict.rule, verdict.cause == Cause::Reset)
                }
                What::Order(order) => format!("order {}", order.state.word()),
                _ => continue,
            };
            *seen.entry(word).or_default() += 1;
        }
        for answered in recorded.answers.into_iter().flatten() {
            let word = answered.outcome.err().map_or("done", engine::Refusal::code);
            *seen.entry(format!("{word} {}", if answered.fresh { "fresh" } else { "again" })).or_default() +=
                1;
        }
    }
    for _ in 0..48 {
        let recorded =
            record_over(&history().new_tree(&mut runner).unwrap().current(), &programs_of_positions());
        for event in recorded.said.concat() {
            if let What::Verdict(verdict) = &event.what
                && matches!(verdict.fact, Some(rules::Fact::Floating(_)))
            {
                *seen.entry(format!("floating {} {:?}", verdict.rule, verdict.effect)).or_default() += 1;
            }
        }
    }
    for word in [
        "floating open_loss Flag",
        "floating open_loss Warn",
        "floating open_loss Close",
        "floating open_loss Hard",
        "floating risk_per_idea Flag",
        "floating risk_per_idea Close",
        "fill market",
        "fill limit",
        "fill stop",
        "fill close",
        "fill stop_loss",
        "fill take_profit",
        "fill stop_out",
        "fill liquidation",
        "order rejected",
        "order cancelled",
        "breach daily_loss false",
        "breach daily_loss true",
        "breach max_loss false",
        "pass profit_target false",
        "expiry inactivity false",
        "expiry calendar_limit false",
        "market_stale fresh",
        "price_invalid fresh",
        "quantity_out_of_range fresh",
        "insufficient_margin fresh",
        "account_not_active fresh",
        "account_held fresh",
        "instrument_not_in_program fresh",
        "done again",
    ] {
        assert!(seen.contains_key(word), "no history has \"{word}\": {seen:#?}");
    }
}

// ---- Extremes ---------------------------------------------------------------------------------------------------

/// The table with the largest orders that it lets its instruments have.
fn with_largest_orders() -> Vec<Instrument> {
    let mut table: Vec<_> = instruments().iter().map(|(_, instrument)| instrument.clone()).collect();
    for place in 0..table.len() {
        let mut fits = |most: i64| {
            table[place].quantity_max = Quantity(most);
            Instruments::new(table.clone()).is_ok()
        };
        let (mut good, mut bad) = (1, 1_i64 << 40);
        while bad - good > 1 {
            let middle = good + (bad - good) / 2;
            if fits(middle) {
                good = middle;
            } else {
                bad = middle;
            }
        }
        assert!(fits(good));
    }
    table
}

/// A price of any order of magnitude.
fn any_price() -> impl Strategy<Value = i64> {
    prop_oneof![
        Just(1),
        Just(i64::MAX),
        (0..10_u32, 1_000..10_000_i64).prop_map(|(zeros, head)| head * 10_i64.pow(zeros) / 1_000)
    ]
}

/// Opens as much as the margin allows at each price in turn; whether the engine held.
fn greedy(currency_code: &str, name: &str, path: &[Vec<i64>]) -> Result<(), String> {
    let table = with_largest_orders();
    let most = table.iter().find(|instrument| instrument.symbol.as_str() == name).unwrap().quantity_max;
    let table = Arc::new(Instruments::new(table).unwrap());
    let mut program =
        program_of("1000000000", vec![total(Trail::IntradayEquity, percent("100"), LockAt::None)]);
    program.currency = currency(currency_code);
    program.terms.leverage = 1_000;
    program.terms.stop_out = kernel::Percent::parse("0").unwrap();
    program.check().unwrap();
    let mut desk = Desk::over(Arc::clone(&table));
    let account = desk.open(&program, 1);
    let mut keys = 0;
    for (position, levels) in (1..).zip(path) {
        desk.wait(Span::from_seconds(1));
        let markets = table.iter().zip(levels);
        // The nearest price that the gate lets in.
        let in_range = |id, level: i64| {
            let instrument = table.get(id).unwrap();
            level.clamp(instrument.price_min.0, instrument.price_max.0)
        };
        let quotes = markets.map(|((id, _), level)| quoted(id.0, in_range(id, *level), 0, desk.now));
        let quotes: Vec<_> = quotes.collect();
        let mut events = Vec::new();
        let first = position * 1_000;
        let input = Input::Quotes(first, quotes);
        desk.engine.apply(desk.now, &input, &mut events).map_err(|error| format!("{error} at {levels:?}"))?;
        let mut size = most.0;
        for _ in 0..MOST_TICKETS + 40 {
            keys += 1;
            let place = Place { quantity: Quantity(size), ..market(Side::Buy, "1", name) };
            let input = command(account, &format!("greedy-{keys}"), Act::Place(place));
            let answer = desk
                .engine
                .apply(desk.now, &input, &mut events)
                .map_err(|error| format!("{error} placing {size} at {levels:?}"))?;
            if answer.unwrap().outcome.is_err() {
                size /= 2;
            }
            if size == 0 {
                break;
            }
        }
        desk.engine.view(account).map_err(|error| format!("{error} looking at {levels:?}"))?;
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(48))]

    /// Any price the gate lets in, the largest orders the table lets in, as many as an account may hold.
    #[test]
    fn no_price_and_no_size_in_range_stops_the_shard(
        name in prop::sample::select(vec!["EURUSD", "XAUUSD"]),
        path in prop::collection::vec(any_price(), 1..5),
    ) {
        let path: Vec<_> = path.into_iter().map(|price| vec![price; 5]).collect();
        let held = greedy("USD", name, &path);
        prop_assert!(held.is_ok(), "{:?}", held);
    }

    /// The same where results are converted.
    #[test]
    fn no_rate_in_range_stops_the_shard(
        (code, name) in prop::sample::select(vec![("USD", "USDJPY"), ("USD", "AUDNZD"), ("JPY", "EURUSD"), ("EUR", "XAUUSD")]),
        path in prop::collection::vec(prop::collection::vec(any_price(), 5), 1..5),
    ) {
        let held = greedy(code, name, &path);
        prop_assert!(held.is_ok(), "{:?}", held);
    }
}
