//! A small market, programs, and a desk that feeds the engine and collects what it says.
#![allow(dead_code, reason = "each test file uses its own part of the desk")]

use std::sync::Arc;

use engine::{
    Account, Act, Answered, Change, Command, Done, Engine, Event, Fill, Input, Instrument, InstrumentId,
    Instruments, Key, Mark, Open, OrderKind, Outcome, Place, Position, Quote, Reset, Restored, Ticket,
    Verdict, View, What,
};
use kernel::{
    AccountId, Amount, ChallengeId, Currency, FirmId, Percent, Price, Quantity, ResetClock, Side, Span,
    Symbol, Timestamp,
};
use rules::kinds::{
    CalendarLimit, Counts, DailyLoss, DayCount, Inactivity, LockAt, LossBase, MaxLoss, MinTradingDays,
    OpenLoss, OpenLossPer, ProfitTarget, Reference, RiskPerIdea, Trail,
};
use rules::{Comparison, Effect, Limit, Phase, Program, Promotion, Rule, Since, Terms, Tested};

/// A Monday morning: the trading day of Prague ends at 23:00 UTC.
pub const MONDAY: &str = "2026-01-05T10:00:00Z";
/// The end of that day.
pub const RESET: &str = "2026-01-05T23:00:00Z";

pub fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

pub fn money(text: &str) -> Amount {
    Amount::parse(text).unwrap()
}

pub fn currency(code: &str) -> Currency {
    Currency::parse(code).unwrap()
}

pub fn symbol(text: &str) -> Symbol {
    Symbol::parse(text).unwrap()
}

pub fn lots(text: &str) -> Quantity {
    Quantity(kernel::decimal::parse(text, 2).unwrap())
}

pub fn hours(count: i32) -> Span {
    Span::from_seconds(count * 3_600)
}

/// An instrument in hundredths of a lot that goes stale after a minute.
pub fn instrument(
    name: &str,
    base: &str,
    quote: &str,
    price_decimals: u8,
    contract_size: u32,
    most: &str,
) -> Instrument {
    // Five times the usual price and a fifth of it.
    let usual = match name {
        "XAUUSD" => 2_000,
        "USDJPY" => 150,
        _ => 1,
    };
    let unit = 10_i64.pow(u32::from(price_decimals));
    Instrument {
        price_min: Price(usual * unit / 5),
        price_max: Price(usual * unit * 5),
        symbol: symbol(name),
        description: name.to_owned(),
        source: "test".to_owned(),
        base: base.to_owned(),
        quote: currency(quote),
        price_decimals,
        quantity_decimals: 2,
        contract_size,
        quantity_min: lots("0.01"),
        quantity_step: lots("0.01"),
        quantity_max: lots(most),
        stale_after: Span::from_seconds(60),
    }
}

/// Five markets: three in dollars, one in yen that converts by itself, one in New Zealand dollars that converts
/// through another.
pub fn instruments() -> Arc<Instruments> {
    Arc::new(
        Instruments::new(vec![
            instrument("EURUSD", "EUR", "USD", 5, 100_000, "100"),
            instrument("XAUUSD", "XAU", "USD", 3, 100, "100"),
            instrument("USDJPY", "USD", "JPY", 3, 100_000, "2"),
            instrument("NZDUSD", "NZD", "USD", 5, 100_000, "100"),
            instrument("AUDNZD", "AUD", "NZD", 5, 100_000, "100"),
        ])
        .unwrap(),
    )
}

/// One phase over 100,000 USD, 1:100, no commission, reset at midnight in Prague.
pub fn program(rules: Vec<Rule>) -> Program {
    Program {
        name: "Test".to_owned(),
        currency: currency("USD"),
        initial_balance: money("100000"),
        reset: ResetClock::parse("Europe/Prague", "00:00").unwrap(),
        terms: Terms {
            instruments: ["EURUSD", "XAUUSD", "USDJPY", "NZDUSD", "AUDNZD"].map(symbol).to_vec(),
            leverage: 100,
            commission_per_lot: money("0"),
            stop_out: Percent::parse("50").unwrap(),
        },
        phases: vec![phase("Evaluation", rules)],
        counting: None,
        merge: None,
    }
}

/// The same with a balance.
pub fn phase(name: &str, rules: Vec<Rule>) -> Phase {
    Phase { name: name.to_owned(), rules, promotion: Promotion::Automatic, payout: None, scaling: None }
}

pub fn program_of(balance: &str, rules: Vec<Rule>) -> Program {
    Program { initial_balance: money(balance), ..program(rules) }
}

pub fn percent(text: &str) -> Limit {
    Limit::PercentOfInitial(Percent::parse(text).unwrap())
}

pub fn percent_of_reference(text: &str) -> Limit {
    Limit::PercentOfReference(Percent::parse(text).unwrap())
}

pub fn fixed(text: &str) -> Limit {
    Limit::Amount(money(text))
}

pub fn daily(reference: Reference, limit: Limit) -> Rule {
    Rule::DailyLoss(DailyLoss {
        reference,
        limit,
        breach: Comparison::Below,
        tests: Tested::Equity,
        effect: Effect::Hard,
        warn_at: Vec::new(),
    })
}

pub fn total(trail: Trail, limit: Limit, lock: LockAt) -> Rule {
    Rule::MaxLoss(MaxLoss {
        trail,
        limit,
        lock,
        lock_on_payout: false,
        breach: Comparison::Below,
        tests: Tested::Equity,
        effect: Effect::Hard,
        warn_at: Vec::new(),
    })
}

pub fn touching(rule: Rule) -> Rule {
    match rule {
        Rule::DailyLoss(rule) => Rule::DailyLoss(DailyLoss { breach: Comparison::AtOrBelow, ..rule }),
        Rule::MaxLoss(rule) => Rule::MaxLoss(MaxLoss { breach: Comparison::AtOrBelow, ..rule }),
        other => panic!("{} has no floor to touch", other.kind()),
    }
}

pub fn target(limit: Limit) -> Rule {
    target_of(limit, true)
}

fn target_of(limit: Limit, flat: bool) -> Rule {
    Rule::ProfitTarget(ProfitTarget {
        limit,
        flat,
        no_orders: false,
        of: rules::kinds::TargetOf::Balance,
        reached: rules::Reached::AtOrAbove,
    })
}

pub fn target_held(limit: Limit) -> Rule {
    target_of(limit, false)
}

/// An open loss that is too much once it reaches the limit.
pub fn open_loss(per: OpenLossPer, limit: LossBase, effect: Effect) -> Rule {
    Rule::OpenLoss(OpenLoss { per, limit, breach: rules::Reached::AtOrAbove, effect })
}

/// A loss of one idea that is too much above the limit.
pub fn per_idea(limit: Limit, gap_minutes: u32, by_side: bool, effect: Effect) -> Rule {
    let breach = rules::Reached::Above;
    Rule::RiskPerIdea(RiskPerIdea { limit, breach, gap_minutes, by_side, closed_only: false, effect })
}

pub fn trading_days(days: u32) -> Rule {
    Rule::MinTradingDays(MinTradingDays {
        days,
        counts: Counts::OpensPosition,
        weekdays_only: false,
        since: Since::Opening,
    })
}

pub fn inactivity(days: u32) -> Rule {
    Rule::Inactivity(Inactivity {
        days,
        activity: rules::kinds::ActivityKind::Open,
        count: DayCount::Calendar,
        warn_days: None,
    })
}

pub fn calendar(days: u32) -> Rule {
    Rule::CalendarLimit(CalendarLimit { days, count: DayCount::Calendar })
}

/// The opening of a phase of the numbered challenge.
pub fn opening(program: &Program, challenge: u128, phase: usize) -> Open {
    Open {
        firm: FirmId::derived(&[b"firm"]),
        challenge: ChallengeId::derived(&[challenge.to_be_bytes().as_slice()]),
        version: program.version().unwrap(),
        phase,
    }
}

/// Somebody at the engine: moves the time, sends inputs, keeps every event.
#[derive(Clone)]
pub struct Desk {
    pub engine: Engine,
    pub events: Vec<Event>,
    pub now: Timestamp,
    pub position: u64,
    keys: u32,
    /// Looks at everybody at every price: whatever a test does, both must say and be the same.
    oracle: Engine,
}

impl Desk {
    /// A market without quotes on a Monday morning.
    pub fn new() -> Self {
        Self::over(instruments())
    }

    /// The same over another table of instruments.
    pub fn over(instruments: Arc<Instruments>) -> Self {
        let oracle = Engine::scanning(Arc::clone(&instruments));
        let engine = Engine::new(instruments);
        Self { engine, events: Vec::new(), now: at(MONDAY), position: 1, keys: 0, oracle }
    }

    /// A desk with EURUSD at 1.10000/1.10010 and one account.
    pub fn trading(program: &Program) -> (Self, AccountId) {
        let mut desk = Self::new();
        let account = desk.open(program, 1);
        desk.quote("EURUSD", "1.10000", "1.10010");
        (desk, account)
    }

    /// Opens phase 0 of the numbered challenge.
    pub fn open(&mut self, program: &Program, challenge: u128) -> AccountId {
        for engine in [&mut self.engine, &mut self.oracle] {
            engine.learn(program.version().unwrap(), Arc::new(program.clone()));
        }
        let open = opening(program, challenge, 0);
        let account = open.account();
        assert_eq!(self.tell(account, Act::Open(open)), Ok(Done::Opened));
        account
    }

    /// Applies an input at the desk's time; what it caused.
    pub fn apply(&mut self, input: &Input) -> Vec<Event> {
        let before = self.events.len();
        self.applied(input);
        self.events[before..].to_vec()
    }

    fn applied(&mut self, input: &Input) -> Option<Answered> {
        let (mut events, mut expected) = (Vec::new(), Vec::new());
        let answer = self.engine.apply(self.now, input, &mut events).unwrap();
        assert_eq!(answer, self.oracle.apply(self.now, input, &mut expected).unwrap());
        assert_eq!(events, expected, "the watch and the scan differ");
        assert_eq!(self.engine.state_hash().unwrap(), self.oracle.state_hash().unwrap());
        self.events.append(&mut events);
        answer
    }

    /// One message with these quotes.
    pub fn quotes(&mut self, quotes: &[(&str, &str, &str)]) -> Vec<Event> {
        let quotes: Vec<_> = quotes.iter().map(|(name, bid, ask)| self.price(name, bid, ask)).collect();
        let first = self.position;
        self.position += u64::try_from(quotes.len()).unwrap();
        self.apply(&Input::Quotes(first, quotes))
    }

    /// One quote.
    pub fn quote(&mut self, name: &str, bid: &str, ask: &str) -> Vec<Event> {
        self.quotes(&[(name, bid, ask)])
    }

    fn price(&self, name: &str, bid: &str, ask: &str) -> Quote {
        let (bid, ask) = (self.points(name, bid), self.points(name, ask));
        Quote { instrument: self.id(name), bid, ask, source_time: self.now }
    }

    pub fn id(&self, name: &str) -> InstrumentId {
        self.engine.market().instruments().find(&symbol(name)).unwrap()
    }

    /// A price in an instrument's points.
    pub fn points(&self, name: &str, text: &str) -> Price {
        self.engine.market().instruments().by_symbol(&symbol(name)).unwrap().parse_price(text).unwrap()
    }

    /// Moves the desk's time; the engine learns of it with the next input.
    pub fn wait(&mut self, span: Span) {
        self.now = self.now.after(span).unwrap();
    }

    /// Moves the desk's time to an instant.
    pub fn wait_until(&mut self, text: &str) {
        assert!(at(text) >= self.now, "the desk does not go back");
        self.now = at(text);
    }

    /// A clock input now.
    pub fn clock(&mut self) -> Vec<Event> {
        self.apply(&Input::Clock)
    }

    /// Sends a command under a key of its own.
    pub fn tell(&mut self, account: AccountId, act: Act) -> Outcome {
        self.keys += 1;
        let key = format!("key-{}", self.keys);
        self.tell_under(&key, account, act).0
    }

    /// Sends a command under a key; the answer and whether it is a first one.
    pub fn tell_under(&mut self, key: &str, account: AccountId, act: Act) -> (Outcome, bool) {
        let command = Command { account, key: Key::parse(key).unwrap(), act };
        let answered = self.applied(&Input::Command(command)).unwrap();
        (answered.outcome, answered.fresh)
    }

    /// A market order that has to be filled; the position.
    pub fn trade(&mut self, account: AccountId, side: Side, size: &str, name: &str) -> Ticket {
        self.trade_with_exits(account, side, size, name, None, None)
    }

    pub fn buy(&mut self, account: AccountId, size: &str, name: &str) -> Ticket {
        self.trade(account, Side::Buy, size, name)
    }

    pub fn sell(&mut self, account: AccountId, size: &str, name: &str) -> Ticket {
        self.trade(account, Side::Sell, size, name)
    }

    pub fn trade_with_exits(
        &mut self,
        account: AccountId,
        side: Side,
        size: &str,
        name: &str,
        stop_loss: Option<&str>,
        take_profit: Option<&str>,
    ) -> Ticket {
        let mut place = market(side, size, name);
        place.stop_loss = stop_loss.map(|text| self.points(name, text));
        place.take_profit = take_profit.map(|text| self.points(name, text));
        let order = order_of(self.tell(account, Act::Place(place)));
        let filled = self.events.iter().rev().find_map(|event| match &event.what {
            What::Order(seen) if seen.ticket == order => seen.position,
            _ => None,
        });
        filled.expect("the order opened a position")
    }

    pub fn limit(&mut self, account: AccountId, side: Side, size: &str, name: &str, price: &str) -> Ticket {
        let kind = OrderKind::Limit(self.points(name, price));
        order_of(self.tell(account, Act::Place(Place { kind, ..market(side, size, name) })))
    }

    pub fn stop(&mut self, account: AccountId, side: Side, size: &str, name: &str, price: &str) -> Ticket {
        let kind = OrderKind::Stop(self.points(name, price));
        order_of(self.tell(account, Act::Place(Place { kind, ..market(side, size, name) })))
    }

    pub fn close(&mut self, account: AccountId, position: Ticket) {
        assert_eq!(self.tell(account, Act::Close { position, quantity: None }), Ok(Done::Position(position)));
    }

    pub fn close_part(&mut self, account: AccountId, position: Ticket, size: &str) -> Outcome {
        self.tell(account, Act::Close { position, quantity: Some(lots(size)) })
    }

    pub fn account(&self, id: AccountId) -> &Account {
        self.engine.account(id).unwrap()
    }

    pub fn view(&self, id: AccountId) -> View {
        self.engine.view(id).unwrap().unwrap()
    }

    pub fn equity(&self, id: AccountId) -> Amount {
        self.view(id).equity
    }

    pub fn balance(&self, id: AccountId) -> Amount {
        self.account(id).balance
    }

    pub fn held(&self, id: AccountId, ticket: Ticket) -> &Position {
        &self.account(id).positions[&ticket]
    }

    /// How often an account was looked at, and how often it would have been at every price that concerns it.
    pub fn looks(&self, id: AccountId) -> (u64, u64) {
        (self.engine.looks(id).unwrap().0, self.oracle.looks(id).unwrap().0)
    }

    /// The floor of the rule at this place of the phase.
    pub fn floor(&self, id: AccountId, rule: usize) -> Amount {
        self.view(id).floors.iter().find(|floor| floor.rule == rule).unwrap().amount
    }
}

/// A market order.
pub fn market(side: Side, quantity: &str, name: &str) -> Place {
    Place {
        symbol: symbol(name),
        side,
        kind: OrderKind::Market,
        quantity: lots(quantity),
        stop_loss: None,
        take_profit: None,
    }
}

pub fn order_of(outcome: Outcome) -> Ticket {
    match outcome {
        Ok(Done::Order(ticket)) => ticket,
        other => panic!("expected an order, got {other:?}"),
    }
}

pub fn no_change() -> Change {
    Change::Keep
}

pub fn fills(events: &[Event]) -> Vec<Fill> {
    let fill = |event: &Event| match &event.what {
        What::Fill(fill) => Some(fill.clone()),
        _ => None,
    };
    events.iter().filter_map(fill).collect()
}

/// The verdicts among events, apart from those that open the account of the next phase.
pub fn verdicts(events: &[Event]) -> Vec<(&Event, &Verdict)> {
    let mut found = Vec::new();
    for event in events {
        if let What::Verdict(verdict) = &event.what
            && verdict.kind != engine::VerdictKind::Promotion
        {
            found.push((event, verdict.as_ref()));
        }
    }
    found
}

/// The only verdict among events.
pub fn verdict(events: &[Event]) -> (&Event, &Verdict) {
    let found = verdicts(events);
    assert_eq!(found.len(), 1, "one verdict in {events:#?}");
    found[0]
}

pub fn resets(events: &[Event]) -> Vec<(Timestamp, &Reset)> {
    let mut found = Vec::new();
    for event in events {
        if let What::Reset(reset) = &event.what {
            found.push((event.at, reset));
        }
    }
    found
}

/// An account's bytes without its remembered answers.
pub fn bytes_without_answers(account: &Account) -> Vec<u8> {
    serde_json::to_vec(&account.without_answers()).unwrap()
}

/// An account as it comes back from a store.
pub fn through_bytes(account: &Account) -> Account {
    serde_json::from_slice(&serde_json::to_vec(account).unwrap()).unwrap()
}

/// Where an engine stands in the quote log.
pub fn standing(engine: &Engine) -> Mark {
    let standing = engine.market().all().iter().flatten().copied().collect();
    Mark { position: engine.position(), standing }
}

/// What restoring needs of programs.
pub fn versions(programs: &[Program]) -> Vec<(rules::VersionHash, Arc<Program>)> {
    programs.iter().map(|program| (program.version().unwrap(), Arc::new(program.clone()))).collect()
}

/// The engine as the store would bring it back after everything was written: every account through its bytes.
pub fn restored(engine: &Engine, programs: &[Program]) -> Engine {
    let mut engine = engine.clone();
    engine.settle().unwrap();
    let accounts = engine.accounts().map(through_bytes).collect();
    let stored = Restored::whole(engine.now(), standing(&engine), accounts, versions(programs));
    stored.restore(Arc::clone(engine.market().instruments())).unwrap()
}
