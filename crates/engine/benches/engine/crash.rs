//! Everybody's end in one message, by the whole engine: floors tested, verdicts with their evidence, everything closed.

use std::sync::Arc;

use crate::common::{
    MONDAY, at, currency, daily, instrument, market, opening, percent, program, target, total,
};
use crate::{micros, processor};
use engine::{Act, Command, Engine, Input, InstrumentId, Instruments, Key, Quote, What};
use kernel::{Price, Side};
use rules::kinds::{LockAt, Reference, Trail};
use serde_json::{Value, json};

/// How long the engine takes to end so many accounts, each with one position, and what it says.
pub fn all_end(accounts: usize) -> Value {
    let table = vec![instrument("EURUSD", "EUR", "USD", 5, 100_000, "1")];
    let mut engine = Engine::new(Arc::new(Instruments::new(table).expect("a table")));
    let mut program = program(vec![
        daily(Reference::Balance, percent("4")),
        total(Trail::Static, percent("5"), LockAt::None),
        target(percent("8")),
    ]);
    program.currency = currency("USD");
    engine.learn(program.version().expect("a version"), Arc::new(program.clone()));
    let now = at(MONDAY);
    let mut events = Vec::new();
    let mut apply = |input: Input, events: &mut Vec<_>| {
        let started = processor();
        engine.apply(now, &input, events).expect("an input in its order");
        processor() - started
    };
    let quote = |position, price| {
        let (bid, ask) = (Price(price), Price(price + 10));
        Input::Quotes(position, vec![Quote { instrument: InstrumentId(0), bid, ask, source_time: now }])
    };
    apply(quote(1, 110_000), &mut events);
    let mut trading = 0;
    for number in 0..accounts as u128 {
        let open = opening(&program, number, 0);
        let account = open.account();
        let acts = [Act::Open(open), Act::Place(market(Side::Buy, "1", "EURUSD"))];
        for (key, act) in ["open", "place"].into_iter().zip(acts) {
            let key = Key::parse(key).expect("a key");
            trading += apply(Input::Command(Command { account, key, act }), &mut events);
        }
    }
    let mut events = Vec::new();
    let decided = apply(quote(2, 104_000), &mut events);
    let verdicts = events.iter().filter(|event| matches!(event.what, What::Verdict(_))).count();
    assert_eq!(verdicts, accounts, "everybody ends once");
    json!({
        "engine_decided_us": micros(decided),
        "engine_events": events.len(),
        "engine_command_us": micros(trading) / (2 * accounts) as f64,
    })
}
