//! The timelines of examples decide as the engine does: the same history, told to both, ends in the same verdicts,
//! balances, floors and marks after every step.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::similar_names,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic, and a wildcard asks for one kind of event among all"
)]

#[path = "../../rules/tests/arbitrary/mod.rs"]
#[allow(dead_code, reason = "each test file uses its own part")]
mod arbitrary;
mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::*;
use engine::{Act, Change, Input, OrderKind, Outcome, Place, Position, Quote, Refusal, VerdictKind, What};
use kernel::{AccountId, Amount, Percent, Price, Quantity, Side, Span};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use rules::example::{CloseStep, Example, OpenStep, Step, StopStep, Timeline};
use rules::{Effect, Floor, Phase, Program, Rule, Track};

/// The markets with the level they start at, in points; both are quoted in the account's currency.
const MARKETS: [(&str, i64); 2] = [("EURUSD", 110_000), ("XAUUSD", 2_000_000)];

/// One thing to do; numbers mean something only where the history stands.
#[derive(Debug, Clone)]
enum Deed {
    /// Markets move, by so many millionths.
    Prices([i32; 2]),
    Open {
        market: u8,
        buy: bool,
        size: u16,
        stop: bool,
    },
    /// A limit order that waits far away.
    Wait {
        market: u8,
    },
    Stop {
        pick: u8,
        set: bool,
    },
    Close {
        pick: u8,
        half: bool,
    },
    Payout(Option<i64>),
    Grow,
    Promote,
    Nothing,
}

fn deed() -> impl Strategy<Value = Deed> {
    let moves = || prop_oneof![12 => -2_000..2_000_i32, 3 => -15_000..15_000_i32, 1 => -80_000..80_000_i32];
    prop_oneof![
        12 => (moves(), moves()).prop_map(|(euro, gold)| Deed::Prices([euro, gold])),
        8 => (0..2_u8, any::<bool>(), prop_oneof![1..120_u16, 100..3_000_u16], any::<bool>())
            .prop_map(|(market, buy, size, stop)| Deed::Open { market, buy, size, stop }),
        1 => (0..2_u8).prop_map(|market| Deed::Wait { market }),
        1 => (any::<u8>(), any::<bool>()).prop_map(|(pick, set)| Deed::Stop { pick, set }),
        5 => (any::<u8>(), any::<bool>()).prop_map(|(pick, half)| Deed::Close { pick, half }),
        2 => prop::option::of(prop_oneof![(1..500_000_i64).prop_map(|cents| cents * 10_000), 1..9_000_000_i64])
            .prop_map(Deed::Payout),
        1 => Just(Deed::Grow),
        1 => Just(Deed::Promote),
        1 => Just(Deed::Nothing),
    ]
}

/// Deeds with the seconds that pass before each.
fn history() -> impl Strategy<Value = Vec<(i32, Deed)>> {
    let seconds = prop_oneof![
        4 => Just(0_i32),
        16 => 1..900_i32,
        4 => 3_600..40_000_i32,
        2 => Just(86_400),
        1 => 86_400..2_000_000_i32,
    ];
    prop::collection::vec((seconds, deed()), 5..70)
}

/// Two that are told the same.
struct Both {
    desk: Desk,
    account: AccountId,
    program: Program,
    example: Example,
    timeline: Timeline,
    levels: [i64; 2],
    /// How many of the engine's events were compared.
    seen: usize,
}

impl Both {
    fn open(mut program: Program, mut example: Example) -> Self {
        // What examples do not know: the margin. Commission they are told with every trade.
        program.terms.instruments = MARKETS.iter().map(|(name, _)| symbol(name)).collect();
        program.terms.leverage = 1_000;
        program.terms.stop_out = Percent::parse("0").unwrap();
        example.start = Some(MONDAY.to_owned());
        let mut desk = Desk::new();
        let account = desk.open(&program, 1);
        desk.tell(account, Act::Calendar(example.calendar.clone())).unwrap();
        let timeline = Timeline::open(&program, &example).unwrap();
        let levels = MARKETS.map(|(_, level)| level);
        let mut both = Self { desk, account, program, example, timeline, levels, seen: 0 };
        both.prices();
        both
    }

    /// Tells the timeline what the engine was just told, and compares.
    fn tell(&mut self, step: Step) {
        let step = Step { at: Some(self.desk.now.to_string()), ..step };
        self.timeline
            .step(&self.program, &self.example, &step)
            .unwrap_or_else(|error| panic!("{error}: {:?}", std::error::Error::source(&error)));
        self.compare(&step);
    }

    fn compare(&mut self, step: &Step) {
        let silent = [VerdictKind::Pass, VerdictKind::Payout, VerdictKind::PayoutRefusal];
        let said: Vec<_> = verdicts(&self.desk.events[self.seen..])
            .into_iter()
            .filter(|(_, verdict)| !silent.contains(&verdict.kind))
            .map(|(_, verdict)| (verdict.rule_index, verdict.rule.clone(), verdict.effect))
            .collect();
        self.seen = self.desk.events.len();
        let found = self.timeline.found().iter().filter(|finding| finding.effect != Effect::Refuse);
        let found: Vec<_> =
            found.map(|finding| (finding.rule, finding.kind.clone(), finding.effect)).collect();
        let rules = &self.program.phases[0];
        let place = format!("after {step:?}\nunder {rules:?}");
        assert_eq!(found, said, "verdicts {place}");
        let account = self.desk.view(self.account).account;
        let status = format!("{:?}", self.timeline.status());
        assert_eq!(status, format!("{:?}", account.status), "status {place}");
        assert_eq!(self.timeline.balance(), account.balance, "balance {place}");
        let floors = rules::floors(rules, self.timeline.track()).unwrap();
        assert_eq!(floors, self.floors(), "floors {place}");
        let known = Track { calendar: std::sync::Arc::default(), ..account.track.clone() };
        let open: BTreeSet<u32> = self.positions().iter().map(|position| position.ticket.0).collect();
        let (ours, theirs) = (marks(rules, self.timeline.track(), &open), marks(rules, &known, &open));
        for (name, mark) in &theirs {
            assert_eq!(ours.get(name), Some(mark), "{name} {place}");
        }
        assert_eq!(ours.len(), theirs.len(), "marks {place}");
    }

    fn floors(&self) -> Vec<Floor> {
        self.desk.view(self.account).floors
    }

    fn positions(&self) -> Vec<Position> {
        self.desk.account(self.account).positions.values().cloned().collect()
    }

    /// The prices stand as the levels say. There is no spread: an example takes what has just opened to be worth nothing
    /// until more is told.
    fn prices(&mut self) {
        let quotes: Vec<_> = MARKETS
            .iter()
            .zip(self.levels)
            .map(|((name, _), level)| Quote {
                instrument: self.desk.id(name),
                bid: Price(level),
                ask: Price(level),
                source_time: self.desk.now,
            })
            .collect();
        let mut open_profit = BTreeMap::new();
        for position in self.positions() {
            let quote = quotes.iter().find(|quote| quote.instrument == position.instrument).unwrap();
            let price = if position.side == Side::Buy { quote.bid } else { quote.ask };
            open_profit.insert(name_of(position.ticket.0), self.worth_at(&position, price));
        }
        let first = self.desk.position;
        self.desk.position += 2;
        self.desk.apply(&Input::Quotes(first, quotes));
        self.tell(Step { open_profit, ..Step::default() });
    }

    fn worth_at(&self, position: &Position, price: Price) -> Amount {
        let Position { instrument, side, quantity, open_price, .. } = *position;
        let market = self.desk.engine.market();
        market.worth_at(instrument, side, quantity, open_price, price, self.program.currency).unwrap().profit
    }

    fn command(&mut self, act: Act) -> Outcome {
        self.desk.tell(self.account, act)
    }

    /// A stop loss that no price of these histories reaches.
    fn far_stop(market: usize, side: Side) -> Price {
        let level = MARKETS[market].1;
        Price(if side == Side::Buy { level / 2 } else { level * 2 })
    }

    fn do_deed(&mut self, deed: &Deed) {
        self.desk.clock();
        self.tell(Step::default());
        if let Deed::Prices(moves) = deed {
            for (level, (millionths, (_, start))) in self.levels.iter_mut().zip(moves.iter().zip(MARKETS)) {
                let moved = *level + *level * i64::from(*millionths) / 1_000_000;
                *level = moved.clamp(start * 8 / 10, start * 12 / 10);
            }
        }
        // Nobody may trade on old prices.
        self.prices();
        match deed {
            Deed::Prices(_) | Deed::Nothing => {}
            Deed::Open { market, buy, size, stop } => {
                let side = if *buy { Side::Buy } else { Side::Sell };
                self.open_position(usize::from(*market), side, i64::from(*size), *stop);
            }
            Deed::Wait { market } => self.wait_for(usize::from(*market)),
            Deed::Stop { pick, set } => self.move_stop(*pick, *set),
            Deed::Close { pick, half } => self.close(*pick, *half),
            Deed::Payout(amount) => {
                let amount = amount.map(Amount::from_micros);
                if self.program.phases[0].payout.is_some() {
                    // Both say what they say; that they agree on the balance is what counts.
                    let _ = self.command(Act::Payout { amount });
                    let payout = amount.map_or_else(|| "all".to_owned(), |amount| amount.to_string());
                    self.tell(Step { payout: Some(payout), ..Step::default() });
                }
            }
            Deed::Grow => {
                if self.program.phases[0].scaling.is_some() {
                    let _ = self.command(Act::Grow);
                    self.tell(Step { grow: 1, ..Step::default() });
                }
            }
            Deed::Promote => {
                let _ = self.command(Act::Promote);
                self.tell(Step { promote: true, ..Step::default() });
            }
        }
    }

    fn open_position(&mut self, market: usize, side: Side, size: i64, stop: bool) {
        let (name, _) = MARKETS[market];
        let id = self.desk.id(name);
        let stop = stop.then(|| Self::far_stop(market, side));
        let price = Price(self.levels[market]);
        let quantity = Quantity(size);
        let engine = &self.desk.engine;
        let instrument = engine.market().instruments().get(id).unwrap();
        let lots = instrument.lots(quantity).unwrap();
        let notional = engine.market().margin(id, quantity, price, 1, self.program.currency).unwrap();
        let risk = stop.map(|stop| {
            let worth = engine.market().worth_at(id, side, quantity, price, stop, self.program.currency);
            worth.unwrap().profit.negated().unwrap()
        });
        let position = name_of(self.desk.account(self.account).next.ticket + 1);
        let place = Place { stop_loss: stop, quantity, ..market_order(side, name) };
        let outcome = self.command(Act::Place(place));
        // An example knows of no margin and of no largest size of an order.
        if matches!(outcome, Err(Refusal::InsufficientMargin | Refusal::QuantityOutOfRange)) {
            return;
        }
        let open = OpenStep {
            position,
            symbol: Some(symbol(name)),
            side: Some(side),
            lots: Some(lots),
            units: Some(money("1")),
            price: Some(notional),
            stop: None,
            risk,
            pending: false,
            commission: None,
        };
        self.tell(Step { open: vec![open], ..Step::default() });
    }

    fn wait_for(&mut self, market: usize) {
        let (name, level) = MARKETS[market];
        let kind = OrderKind::Limit(Price(level / 2));
        let outcome = self.command(Act::Place(Place { kind, ..market_order(Side::Buy, name) }));
        // An example tells that an order was placed, not which: no rule looks at it.
        if outcome != Ok(engine::Done::Opened) && !matches!(outcome, Err(Refusal::AgainstRule(_))) {
            let orders = self.desk.account(self.account).orders.len();
            let working_orders = Some(u32::try_from(orders).unwrap());
            self.tell(Step { order: true, working_orders, ..Step::default() });
        }
    }

    fn move_stop(&mut self, pick: u8, set: bool) {
        let Some(position) = picked(&self.positions(), pick) else { return };
        let market = usize::from(position.instrument != self.desk.id("EURUSD"));
        let price = set.then(|| Self::far_stop(market, position.side));
        let stop_loss = price.map_or(Change::Remove, Change::Set);
        let act = Act::ChangePosition { position: position.ticket, stop_loss, take_profit: Change::Keep };
        self.command(act).unwrap();
        let risk = price.map(|price| self.worth_at(&position, price).negated().unwrap());
        let stop = StopStep { position: name_of(position.ticket.0), risk };
        self.tell(Step { stop: vec![stop], ..Step::default() });
    }

    fn close(&mut self, pick: u8, half: bool) {
        let Some(position) = picked(&self.positions(), pick) else { return };
        let quantity = half.then_some(Quantity(position.quantity.0 / 2));
        let before = self.desk.events.len();
        if self.command(Act::Close { position: position.ticket, quantity }).is_err() {
            return;
        }
        let fill = fills(&self.desk.events[before..]).remove(0);
        let instrument = self.desk.engine.market().instruments().get(position.instrument).unwrap();
        let close = CloseStep {
            position: name_of(position.ticket.0),
            lots: Some(instrument.lots(fill.quantity).unwrap()),
            profit: fill.profit.minus(fill.commission).unwrap(),
            reason: None,
        };
        self.tell(Step { close: vec![close], ..Step::default() });
    }
}

/// What the rules remember, by name; without the time at which a news window was last asked, for the engine asks it when
/// it learns the calendar, and an example knows its calendar from the start.
///
/// A rule forgets positions that are gone when it is told next, and the engine tells it only when something can happen: positions
/// that are gone are left out, on both sides.
fn marks(phase: &Phase, track: &Track, open: &BTreeSet<u32>) -> serde_json::Map<String, serde_json::Value> {
    let mut track = track.clone();
    track.notes.retain(|place, _| !matches!(phase.rules.get(*place), Some(Rule::NewsWindow(_))));
    let mut marks = serde_json::to_value(track).unwrap().as_object().unwrap().clone();
    if let Some(notes) = marks.get_mut("notes").and_then(serde_json::Value::as_object_mut) {
        let is_open = |ticket: &serde_json::Value| {
            ticket.as_u64().and_then(|ticket| u32::try_from(ticket).ok()).is_some_and(|it| open.contains(&it))
        };
        notes.retain(|_, note| {
            let Some(spoken) = note.get_mut("spoken").and_then(serde_json::Value::as_array_mut) else {
                return true;
            };
            spoken.retain(is_open);
            !spoken.is_empty()
        });
        if notes.is_empty() {
            marks.remove("notes");
        }
    }
    marks
}

fn market_order(side: Side, name: &str) -> Place {
    market(side, "0.01", name)
}

fn name_of(ticket: u32) -> String {
    format!("position {ticket}")
}

fn picked(positions: &[Position], pick: u8) -> Option<Position> {
    let place = usize::from(pick).checked_rem(positions.len())?;
    positions.get(place).cloned()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_timeline_and_the_engine_say_the_same_of_one_history(
        program in arbitrary::program(),
        example in arbitrary::example(),
        history in history(),
    ) {
        let mut both = Both::open(program, example);
        for (seconds, deed) in &history {
            both.desk.wait(Span::from_seconds(*seconds));
            both.do_deed(deed);
        }
    }
}

/// The histories are worth comparing only if things happen in them.
#[test]
fn the_histories_reach_every_kind_of_verdict() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut counts: BTreeMap<String, u32> = BTreeMap::new();
    for _ in 0..300 {
        let made = (arbitrary::program(), arbitrary::example(), history()).new_tree(&mut runner).unwrap();
        let (program, example, history) = made.current();
        let mut both = Both::open(program, example);
        for (seconds, deed) in &history {
            both.desk.wait(Span::from_seconds(*seconds));
            both.do_deed(deed);
        }
        for event in &both.desk.events {
            let word = match &event.what {
                What::Verdict(verdict) => verdict.kind.word(),
                What::Reset(_) => "reset",
                _ => continue,
            };
            *counts.entry(word.to_owned()).or_default() += 1;
        }
    }
    for kind in VerdictKind::ALL {
        let reached = counts.get(kind.word()).copied().unwrap_or_default();
        assert!(reached > 0 || kind == VerdictKind::Promotion, "{} never: {counts:?}", kind.word());
    }
}
