//! A shard that goes on from what a store holds: what prices raised since the rows were written is not lost.
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

use std::collections::BTreeSet;
use std::convert::Infallible;

use common::*;
use engine::{
    Account, Act, Answer, Command, Engine, EngineError, Input, Key, Past, RestoreError, Restored, Resumed,
    Ticket,
};
use kernel::{AccountId, Side, Span};
use rules::Program;
use rules::kinds::{LockAt, Trail};

/// A floor that lies 5,000 below the highest equity.
fn trailing() -> Program {
    program(vec![total(Trail::IntradayEquity, fixed("5000"), LockAt::None)])
}

/// A desk whose account was written down before prices rose, and the messages that raised them.
fn written_then_risen() -> (Desk, AccountId, Restored, Vec<Past>) {
    let (mut desk, account) = Desk::trading(&trailing());
    desk.buy(account, "1", "EURUSD");
    desk.engine.settle().unwrap();
    desk.engine.take_changed().unwrap();
    let rows = vec![(through_bytes(desk.account(account)), desk.engine.position())];
    let mark = desk.engine.mark().into_owned();
    let mut messages = Vec::new();
    for bid in ["1.10900", "1.12000", "1.11000"] {
        desk.wait(hours(1));
        let position = desk.position;
        desk.quote("EURUSD", bid, "1.12010");
        let quote = desk.engine.market().standing(desk.id("EURUSD")).unwrap().quote;
        messages.push(Past { positions: position..=position, at: desk.now, quotes: vec![quote] });
    }
    let last = standing(&desk.engine);
    let restored = Restored { at: desk.now, last, accounts: rows, mark, programs: versions(&[trailing()]) };
    (desk, account, restored, messages)
}

fn restore(stored: Restored, since: Vec<Past>) -> Result<Resumed, RestoreError<Infallible>> {
    Engine::restore(instruments(), stored, since.into_iter().map(Ok))
}

#[test]
fn a_peak_between_the_last_row_and_the_end_comes_back_from_the_log() {
    let (desk, account, stored, since) = written_then_risen();
    let Resumed { mut engine, missing } = restore(stored, since).unwrap();
    assert_eq!(missing, 0);
    // 1,990 above the start.
    let floor = engine.view(account).unwrap().unwrap().floors[0].amount;
    assert_eq!(floor, money("96990"));
    assert_eq!(engine.state_hash().unwrap(), desk.engine.state_hash().unwrap());
    assert!(engine.take_changed().unwrap().contains_key(&account), "its row is behind");
    assert_eq!(engine.mark().position, desk.engine.position());
}

#[test]
fn what_changed_comes_with_the_counters_that_were_stored() {
    let (mut desk, account) = Desk::trading(&trailing());
    let opened = desk.engine.take_changed().unwrap();
    assert_eq!(opened.into_iter().collect::<Vec<_>>(), [(account, None)]);
    let stored = desk.account(account).next;
    let position = desk.buy(account, "1", "EURUSD");
    desk.tell(account, Act::Close { position, quantity: None }).unwrap();
    desk.tell(account, Act::Cancel { order: position }).unwrap_err();
    assert_ne!(desk.account(account).next, stored);
    assert_eq!(desk.engine.take_changed().unwrap()[&account], Some(stored));
    let stored = desk.account(account).next;
    desk.tell(account, Act::Cancel { order: position }).unwrap_err();
    assert_eq!(desk.engine.take_changed().unwrap()[&account], Some(stored), "it has another answer");
    assert!(desk.engine.take_changed().unwrap().is_empty());
}

#[test]
fn counters_after_a_restart_are_those_of_the_rows() {
    let (_, account, stored, since) = written_then_risen();
    let row = stored.accounts[0].0.next;
    let Resumed { mut engine, .. } = restore(stored, since).unwrap();
    // Its peak has risen since its row was written, and then it trades.
    let key = Key::parse("after").unwrap();
    let act = Act::Place(market(Side::Buy, "1", "EURUSD"));
    let now = engine.now();
    engine.apply(now, &Input::Command(Command { account, key, act }), &mut Vec::new()).unwrap();
    assert_ne!(engine.account(account).unwrap().next, row);
    assert_eq!(engine.take_changed().unwrap()[&account], Some(row));
}

#[test]
fn answers_that_are_too_old_need_not_be_loaded() {
    let (mut desk, account) = Desk::trading(&trailing());
    let act = || Act::Cancel { order: Ticket(77) };
    desk.tell_under("old", account, act()).0.unwrap_err();
    desk.wait(hours(48));
    desk.wait(Span::from_micros(1));
    desk.quote("EURUSD", "1.10900", "1.10910");
    desk.tell_under("young", account, act()).0.unwrap_err();
    let answers = Vec::from(desk.account(account).answers.clone());
    let young: Vec<_> = answers.iter().filter(|(key, _)| key.as_str() == "young").cloned().collect();
    assert_eq!(young.len(), 1);
    let back = |answers: Vec<(Key, Answer)>| {
        let account = Account { answers: answers.into(), ..desk.account(account).clone() };
        let last = standing(&desk.engine);
        Restored::whole(desk.now, last, vec![account], versions(&[trailing()]))
            .restore(instruments())
            .unwrap()
    };
    let (mut all, mut few) = (back(answers), back(young));
    assert_eq!(few.state_hash().unwrap(), desk.engine.state_hash().unwrap());
    for engine in [&mut all, &mut few] {
        for (key, fresh) in [("old", true), ("young", false)] {
            let command = Command { account, key: Key::parse(key).unwrap(), act: act() };
            let answered =
                engine.apply(desk.now, &Input::Command(command), &mut Vec::new()).unwrap().unwrap();
            assert_eq!(answered.fresh, fresh, "{key}");
        }
    }
    assert_eq!(all.state_hash().unwrap(), few.state_hash().unwrap());
}

#[test]
fn quotes_that_are_gone_from_the_log_are_counted() {
    let (_, account, stored, mut since) = written_then_risen();
    since.remove(1);
    let Resumed { engine, missing } = restore(stored, since).unwrap();
    assert_eq!(missing, 1);
    // The peak was reached at the quote that is gone.
    assert_eq!(engine.view(account).unwrap().unwrap().floors[0].amount, money("95990"));
}

#[test]
fn quotes_out_of_their_order_are_refused() {
    let (mut desk, _, stored, mut since) = written_then_risen();
    since.swap(0, 1);
    let refused = restore(stored, since).unwrap_err();
    assert_eq!(refused, RestoreError::Engine(EngineError::QuotesOutOfOrder));
    let quote = desk.engine.market().standing(desk.id("EURUSD")).unwrap().quote;
    let again = Input::Quotes(desk.engine.position(), vec![quote]);
    let said = desk.engine.apply(desk.now, &again, &mut Vec::new());
    assert_eq!(said, Err(EngineError::QuotesOutOfOrder));
}

#[test]
fn the_mark_moves_once_everybody_had_a_turn() {
    let mut desk = Desk::new();
    let accounts = [1, 2, 3].map(|challenge| desk.open(&trailing(), challenge));
    desk.quote("EURUSD", "1.10000", "1.10010");
    desk.engine.settle_some(1).unwrap();
    assert_eq!(desk.engine.mark().position, 1, "nobody holds anything");
    for account in accounts {
        desk.buy(account, "1", "EURUSD");
    }
    desk.engine.take_changed().unwrap();
    desk.quote("EURUSD", "1.10500", "1.10510");
    for (turns, expected) in [(2, 1), (1, 1), (2, 1), (9, 3)] {
        desk.engine.settle_some(turns).unwrap();
        assert_eq!(desk.engine.mark().position, expected, "{turns} turns at {}", desk.position);
        desk.quote("EURUSD", "1.10400", "1.10410");
    }
    let changed = desk.engine.take_changed().unwrap();
    assert_eq!(changed.into_keys().collect::<BTreeSet<_>>(), accounts.into_iter().collect());
    assert_eq!(desk.engine.mark().standing.len(), 1);
}
