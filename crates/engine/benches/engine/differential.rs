//! The whole engine beside the scan of everybody: the same inputs, and every event, answer and state must be the same.
//!
//! Accounts trade at random under floors of every kind, soft ones and following ones, in two currencies; orders wait, days
//! end, and who is over is replaced. The prices come from one of five generators or from recorded ticks.

use std::sync::Arc;

use crate::common::{
    MONDAY, at, currency, daily, fixed, instrument, instruments, money, open_loss, opening, per_idea,
    percent, percent_of_reference, program, program_of, target, target_held, total, touching,
};
use engine::{
    Account, Act, Change, Command, Engine, Event, Input, InstrumentId, Instruments, Key, OrderKind, Place,
    Quote, Status, What,
};
use kernel::{AccountId, Price, Quantity, SeededRng, Side, Span, Timestamp};
use rules::kinds::{LockAt, LossBase, OpenLossPer, Reference, Trail};
use rules::{Effect, Fact, Program, Rule};

/// The instrument of a herd.
const HERD: i64 = 1;

/// How prices move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// Small steps, now and then a tenfold one.
    Walk,
    /// The walk, and half a percent at once at every 500th message.
    Gap,
    /// To and fro, so that accounts stay where they end.
    Oscillation,
    /// Everybody trades the same instrument the same way.
    Herd,
    /// The ask runs away from the bid and comes back.
    Spread,
}

impl Shape {
    /// All of them, with their names.
    pub const ALL: [(&'static str, Self); 5] = [
        ("walk", Self::Walk),
        ("gap", Self::Gap),
        ("oscillation", Self::Oscillation),
        ("herd", Self::Herd),
        ("spread", Self::Spread),
    ];
}

/// What a comparison saw.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Compared {
    /// Quotes.
    pub ticks: u64,
    /// Commands.
    pub commands: u64,
    /// Events that both engines said.
    pub events: u64,
    /// Verdicts among them.
    pub verdicts: u64,
    /// Those of soft rules among them.
    pub soft: u64,
    /// Those of rules that look at each open position, found at a price.
    pub floating: u64,
    /// Fills of orders and exits that waited for their price.
    pub triggered: u64,
    /// Trading days that ended.
    pub resets: u64,
    /// States compared.
    pub states: u64,
    /// The first difference; what comes behind it says nothing any more.
    pub difference: Option<String>,
}

/// Both engines, and those who trade on them.
struct Both {
    watching: Engine,
    scanning: Engine,
    programs: Vec<Program>,
    /// Program and account of everybody who trades.
    seats: Vec<(usize, AccountId)>,
    rng: SeededRng,
    now: Timestamp,
    position: u64,
    challenges: u128,
    keys: u64,
    herd: bool,
    seen: Compared,
}

/// The rules that the accounts trade under.
fn programs() -> Vec<Program> {
    let soft = |rule: Rule| match rule {
        Rule::DailyLoss(rule) => {
            Rule::DailyLoss(rules::kinds::DailyLoss { effect: Effect::Soft, warn_at: Vec::new(), ..rule })
        }
        other => other,
    };
    let static_floors = program(vec![
        soft(daily(Reference::Balance, percent("2"))),
        total(Trail::Static, percent("5"), LockAt::None),
        target(percent("8")),
    ]);
    let trailing = program(vec![
        total(Trail::IntradayEquity, percent("6"), LockAt::None),
        touching(total(Trail::Static, percent("10"), LockAt::None)),
        target_held(percent("8")),
    ]);
    let peaks = program(vec![
        total(Trail::BalanceOrEquity, percent_of_reference("6"), LockAt::AtInitial),
        touching(daily(Reference::DayPeakEquity, percent("3"))),
        soft(daily(Reference::HigherOf, percent("2"))),
    ]);
    let mut euro = program(vec![
        total(Trail::IntradayEquity, percent("5"), LockAt::AtInitial),
        daily(Reference::Equity, percent("4")),
    ]);
    euro.currency = currency("EUR");
    let mut thin = program_of("20000", vec![total(Trail::Static, percent("90"), LockAt::None)]);
    thin.terms.leverage = 500;
    thin.terms.stop_out = kernel::Percent::parse("100").unwrap();
    let mut all = vec![static_floors, trailing, peaks, euro, thin];
    all.extend(looking_at_positions());
    all
}

/// Rules that look at each open position.
fn looking_at_positions() -> [Program; 3] {
    let share = |text| kernel::Percent::parse(text).unwrap();
    let each = program(vec![
        open_loss(OpenLossPer::Trade, LossBase::Amount(money("300")), Effect::Flag),
        open_loss(OpenLossPer::Account, LossBase::PercentOfInitial(share("1.5")), Effect::Soft),
        total(Trail::Static, percent("8"), LockAt::None),
        target_held(percent("8")),
    ]);
    let ideas = program(vec![
        per_idea(fixed("600"), 10, false, Effect::Flag),
        per_idea(percent("1"), 0, true, Effect::Close),
        total(Trail::IntradayEquity, percent("8"), LockAt::None),
    ]);
    let mut euro = program(vec![
        open_loss(OpenLossPer::Trade, LossBase::PercentOfInitial(share("0.4")), Effect::Warn),
        open_loss(OpenLossPer::Account, LossBase::PercentOfDayStartProfit(share("50")), Effect::Close),
        per_idea(percent("0.7"), 5, false, Effect::Flag),
        total(Trail::Static, percent("8"), LockAt::None),
    ]);
    euro.currency = currency("EUR");
    [each, ideas, euro]
}

impl Both {
    fn new(instruments: &Arc<Instruments>, accounts: usize, seed: u64, herd: bool, now: Timestamp) -> Self {
        let mut both = Self {
            watching: Engine::new(Arc::clone(instruments)),
            scanning: Engine::scanning(Arc::clone(instruments)),
            programs: programs(),
            seats: Vec::new(),
            rng: SeededRng::new(seed),
            now,
            position: 0,
            challenges: 0,
            keys: 0,
            herd,
            seen: Compared::default(),
        };
        for program in &mut both.programs {
            program.terms.instruments = instruments.iter().map(|(_, it)| it.symbol.clone()).collect();
        }
        for program in &both.programs {
            let version = program.version().unwrap();
            both.watching.learn(version.clone(), Arc::new(program.clone()));
            both.scanning.learn(version, Arc::new(program.clone()));
        }
        for seat in 0..accounts {
            let which = seat % both.programs.len();
            let account = both.open(which);
            both.seats.push((which, account));
        }
        both
    }

    fn below(&self, bound: i64) -> i64 {
        self.rng.between(0, bound - 1)
    }

    fn open(&mut self, which: usize) -> AccountId {
        self.challenges += 1;
        let open = opening(&self.programs[which], self.challenges, 0);
        let account = open.account();
        self.command(account, Act::Open(open));
        account
    }

    fn command(&mut self, account: AccountId, act: Act) {
        self.keys += 1;
        self.seen.commands += 1;
        let key = Key::parse(&format!("key-{}", self.keys)).unwrap();
        self.apply(&Input::Command(Command { account, key, act }));
    }

    /// One message.
    fn quotes(&mut self, quotes: Vec<Quote>) {
        let first = self.position + 1;
        self.position += u64::try_from(quotes.len()).unwrap();
        self.seen.ticks += u64::try_from(quotes.len()).unwrap();
        self.apply(&Input::Quotes(first, quotes));
    }

    fn apply(&mut self, input: &Input) {
        if self.seen.difference.is_some() {
            return;
        }
        let (mut said, mut expected) = (Vec::new(), Vec::new());
        let answer = self.watching.apply(self.now, input, &mut said);
        let right = self.scanning.apply(self.now, input, &mut expected);
        if answer != right || said != expected {
            let place = self.position;
            self.seen.difference = Some(format!(
                "at quote {place}, {input:?}: the watch said {said:?} and answered {answer:?}; the scan said {expected:?} and answered {right:?}"
            ));
            return;
        }
        self.count(&said);
    }

    fn count(&mut self, said: &[Event]) {
        self.seen.events += u64::try_from(said.len()).unwrap();
        for event in said {
            match &event.what {
                What::Verdict(verdict) => {
                    self.seen.verdicts += 1;
                    self.seen.soft += u64::from(verdict.effect == Effect::Soft);
                    self.seen.floating += u64::from(matches!(verdict.fact, Some(Fact::Floating(_))));
                }
                What::Fill(fill) => {
                    let waited = ["limit", "stop", "stop_loss", "take_profit"];
                    self.seen.triggered += u64::from(waited.contains(&fill.reason.word()));
                }
                What::Reset(_) => self.seen.resets += 1,
                What::Opened
                | What::Entry(_)
                | What::Order(_)
                | What::Position(_)
                | What::Override(_)
                | What::Held { .. } => {}
            }
        }
    }

    fn compare_states(&mut self) {
        self.seen.states += 1;
        if self.seen.difference.is_none()
            && self.watching.state_hash().unwrap() != self.scanning.state_hash().unwrap()
        {
            self.seen.difference = Some(format!("the states at quote {}", self.position));
        }
    }

    /// What rules remember of one account, which is right at every price and not only when somebody asks.
    fn compare_notes(&mut self, message: u64) {
        let count = u64::try_from(self.seats.len()).unwrap();
        let Some(seat) = message.checked_rem(count) else { return };
        let id = self.seats[usize::try_from(seat).unwrap()].1;
        let notes = |engine: &Engine| engine.account(id).map(|account| account.track.notes.clone());
        if self.seen.difference.is_none() && notes(&self.watching) != notes(&self.scanning) {
            self.seen.difference =
                Some(format!("what the rules remember of {id} at quote {}", self.position));
        }
    }

    /// Somebody does something.
    fn trade(&mut self) {
        let seat = usize::try_from(self.below(i64::try_from(self.seats.len()).unwrap())).unwrap();
        let (which, id) = self.seats[seat];
        let account = self.scanning.account(id).unwrap();
        if account.status != Status::Active {
            self.seats[seat].1 = self.open(which);
            return;
        }
        if let Some(act) = self.act(account) {
            self.command(id, act);
        }
    }

    fn act(&self, account: &Account) -> Option<Act> {
        let pick = |count: usize| usize::try_from(self.below(i64::try_from(count.max(1)).unwrap())).unwrap();
        let position = account.positions.values().nth(pick(account.positions.len()));
        let order = account.orders.values().nth(pick(account.orders.len()));
        let full = account.positions.len() + account.orders.len() >= 8;
        // Now and then somebody is held; most of the time nobody is.
        if account.held || self.below(100) == 0 {
            return Some(Act::Hold { held: !account.held });
        }
        match self.below(10) {
            0..=4 if !full => self.place(account),
            5 => {
                let position = position?;
                let quantity = (self.below(2) == 0).then_some(Quantity(position.quantity.0 / 2));
                Some(Act::Close { position: position.ticket, quantity })
            }
            6 => order.map(|order| Act::Cancel { order: order.ticket }),
            7 => {
                let position = position?;
                let standing = self.scanning.market().close_price(position.instrument, position.side)?.0;
                let far = standing / 500 + self.below(standing / 500 + 1) + 60;
                let (below, above) = (Price(standing - far), Price(standing + far));
                let (stop_loss, take_profit) = match position.side {
                    Side::Buy => (below, above),
                    Side::Sell => (above, below),
                };
                Some(Act::ChangePosition {
                    position: position.ticket,
                    stop_loss: Change::Set(stop_loss),
                    take_profit: Change::Set(take_profit),
                })
            }
            _ if full => position.map(|position| Act::Close { position: position.ticket, quantity: None }),
            _ => None,
        }
    }

    fn place(&self, account: &Account) -> Option<Act> {
        let market = self.scanning.market();
        let count = i64::try_from(market.instruments().len()).unwrap();
        let which = if self.herd { HERD } else { self.below(count) };
        let id = InstrumentId(u16::try_from(which).unwrap());
        let instrument = market.instruments().get(id).unwrap();
        let quote = market.standing(id)?.quote;
        let side = if self.herd || self.below(2) == 0 { Side::Buy } else { Side::Sell };
        // Some reach a floor within a day, some last for weeks.
        let share = account.track.initial.micros() / 100_000_000_000;
        let size = (50 + self.below(2_000)) * share.max(1) / if self.below(2) == 0 { 1 } else { 6 };
        let away = quote.bid.0 / 2_000 + self.below(quote.bid.0 / 400 + 1) + 40;
        let (below, above) = (Price(quote.bid.0 - away), Price(quote.ask.0 + away));
        let kind = match (self.below(5), side) {
            (0, Side::Buy) | (1, Side::Sell) => {
                if self.below(2) == 0 {
                    OrderKind::Limit(below)
                } else {
                    OrderKind::Stop(below)
                }
            }
            (0, Side::Sell) | (1, Side::Buy) => {
                if self.below(2) == 0 {
                    OrderKind::Limit(above)
                } else {
                    OrderKind::Stop(above)
                }
            }
            _ => OrderKind::Market,
        };
        let from = kind.price().unwrap_or(quote.bid).0;
        let exits = (Price(from - away - 60), Price(from + away + 60));
        let (stop_loss, take_profit) = if side == Side::Buy { exits } else { (exits.1, exits.0) };
        Some(Act::Place(Place {
            symbol: instrument.symbol.clone(),
            side,
            kind,
            quantity: Quantity(size.clamp(1, instrument.quantity_max.0)),
            stop_loss: (self.below(3) == 0).then_some(stop_loss),
            take_profit: (self.below(3) == 0).then_some(take_profit),
        }))
    }

    /// What is done between messages, whatever the prices: trading, storing, and comparing states.
    fn between(&mut self, message: u64, every: u64) {
        self.compare_notes(message);
        if self.below(25) == 0 {
            self.trade();
        }
        if message.is_multiple_of(64) {
            // As a shard does before it stores.
            self.watching.settle_some(4).unwrap();
            self.watching.take_changed().unwrap();
        }
        if message.is_multiple_of(every) {
            self.compare_states();
        }
    }
}

/// Compares the two over generated prices.
pub fn over_shape(shape: Shape, accounts: usize, length: u64, seed: u64) -> Compared {
    let instruments = instruments();
    let mut both = Both::new(&instruments, accounts, seed, shape == Shape::Herd, at(MONDAY));
    let start: Vec<i64> = instruments
        .iter()
        .map(|(_, it)| match it.symbol.as_str() {
            "XAUUSD" => 2_000_000,
            "USDJPY" => 150_000,
            _ => 100_000,
        })
        .collect();
    let mut levels = start.clone();
    let quote = |which: usize, level: i64, spread: i64, now: Timestamp| Quote {
        instrument: InstrumentId(u16::try_from(which).unwrap()),
        bid: Price(level),
        ask: Price(level + spread),
        source_time: now,
    };
    let first = levels.iter().enumerate().map(|(which, level)| quote(which, *level, 5, both.now)).collect();
    both.quotes(first);
    for message in 1..=length {
        // Now and then hours go by, so that days end.
        let wait = if both.below(2_000) == 0 { 7_200_000_000 } else { 50_000 + both.below(400_000) };
        both.now = both.now.after(Span::from_micros(wait)).unwrap();
        let count = if both.below(10) == 0 { 3 } else { 1 };
        let mut quotes = Vec::with_capacity(3);
        for _ in 0..count {
            let herd = shape == Shape::Herd && both.below(10) > 0;
            let which = usize::try_from(if herd { HERD } else { both.below(5) }).unwrap();
            let unit = start[which] / 100_000;
            let mut step = both.below(7) - 3;
            if both.below(200) == 0 {
                step *= 10;
            }
            let mut spread = 5 + both.below(8);
            match shape {
                Shape::Gap if message % 500 == 499 => step = if both.below(2) == 0 { 500 } else { -500 },
                Shape::Oscillation => step += if message % 2 == 0 { 20 } else { -20 },
                Shape::Spread if message % 300 < 20 => spread += 400,
                Shape::Walk | Shape::Gap | Shape::Herd | Shape::Spread => {}
            }
            let level = levels[which] + step * unit;
            levels[which] = level.clamp(start[which] * 2 / 3, start[which] * 3 / 2);
            quotes.push(quote(which, levels[which], spread * unit, both.now));
        }
        both.quotes(quotes);
        both.between(message, (length / 40).max(1));
        if both.seen.difference.is_some() {
            break;
        }
    }
    both.compare_states();
    both.seen
}

/// Compares the two over recorded prices: when, of which instrument, and both sides. Their times may stand still and must
/// not fall.
pub fn over_ticks(
    instruments: &Arc<Instruments>,
    ticks: impl Iterator<Item = Quote>,
    accounts: usize,
    seed: u64,
) -> Compared {
    let mut ticks = ticks.peekable();
    let Some(first) = ticks.peek() else { return Compared::default() };
    let mut both = Both::new(instruments, accounts, seed, false, first.source_time);
    for (message, tick) in (1..).zip(ticks) {
        both.now = both.now.max(tick.source_time);
        both.quotes(vec![tick]);
        both.between(message, 500_000);
        if both.seen.difference.is_some() {
            break;
        }
    }
    both.compare_states();
    both.seen
}

/// The instruments of a folder of ticks, by their symbols: those whose prices are dollars or yen.
pub fn instruments_of(symbols: impl Iterator<Item = kernel::Symbol>) -> Arc<Instruments> {
    let mut table = Vec::new();
    for symbol in symbols {
        let name = symbol.as_str();
        let (Some(base), Some(quote)) = (name.get(..3), name.get(3..6)) else { continue };
        let (decimals, contract, usual) = match (base, quote) {
            ("XAU", _) => (3, 100, 1_300),
            ("XAG", _) => (3, 5_000, 20),
            (_, "JPY") => (3, 100_000, 100),
            _ => (5, 100_000, 1),
        };
        let mut made = instrument(name, base, quote, decimals, contract, "1");
        let unit = 10_i64.pow(u32::from(decimals));
        (made.price_min, made.price_max) = (Price(usual * unit / 5), Price(usual * unit * 5));
        table.push(made);
    }
    Arc::new(Instruments::new(table).unwrap())
}
