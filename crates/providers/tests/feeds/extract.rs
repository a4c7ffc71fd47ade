//! The market that ships with the platform, compared tick by tick with a script that shares no code with the reader.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;

use super::common::{at, decimals, write_zip};
use providers::feeds::ticks::{TickDay, merge, scan};
use providers::feeds::{Feed, FeedQuote, Pace, Recording, ReplayFeed, ReplaySettings, Times, extract};

fn oracle(arguments: &[String]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle/read_ticks.py");
    let output = Command::new("python3").arg(script).args(arguments).output().expect("python3 is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn reader(days: Vec<TickDay>) -> String {
    let mut text = String::new();
    for quote in merge(days, &decimals()).unwrap() {
        let FeedQuote { source, symbol, bid, ask, source_time } = quote.unwrap();
        writeln!(text, "{} {source} {symbol} {} {}", source_time.micros(), bid.0, ask.0).unwrap();
    }
    text
}

#[test]
fn the_reader_and_an_independent_script_agree_on_the_extract() {
    let assets = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../assets/ticks");
    let argument = |symbol: &str, decimals: u8| {
        let zip = assets.join(format!("oanda/{}/20140502_quote.zip", symbol.to_lowercase()));
        format!("0:oanda:{symbol}:{decimals}:{}", zip.display())
    };
    let expected = oracle(&[argument("EURUSD", 5), argument("XAUUSD", 3)]);
    assert_eq!(expected.lines().count(), 20_776 + 87_322);
    assert!(reader(extract().unwrap()) == expected, "the embedded extract");
    assert!(reader(scan(&assets).unwrap()) == expected, "the extract on the disk");
}

#[test]
fn the_reader_and_an_independent_script_agree_on_zones_and_ties() {
    let folder = tempfile::tempdir().unwrap();
    let fxcm = "0,1.38601,1.38655\r\n0,1.4,1.40001\r\n27000000,1.386,1.385\r\n86399999,1,2";
    let oanda = "18000000.0009,1284.065,1284.405\n18000000.9999,1284,1284.4";
    let one = write_zip(folder.path(), "fxcm/eurusd/20141102_quote.zip", &[("a.csv", fxcm)]);
    let other = write_zip(folder.path(), "oanda/xauusd/20141102_quote.zip", &[("a.csv", oanda)]);
    let arguments =
        [format!("-5:fxcm:EURUSD:5:{}", one.display()), format!("0:oanda:XAUUSD:3:{}", other.display())];
    assert_eq!(reader(scan(folder.path()).unwrap()), oracle(&arguments));
}

#[test]
fn the_default_market_loops_without_turning_time_back() {
    let recording = Recording::read(merge(extract().unwrap(), &decimals()).unwrap()).unwrap();
    assert_eq!(recording.first(), at("2014-05-02T11:55:03.097223Z"));
    let count = recording.count();
    let length = recording.length();
    let start = at("2026-03-02T09:00:00Z");
    let settings = ReplaySettings { pace: Pace::REAL_TIME, times: Times::Shifted, looping: true };
    let mut feed = ReplayFeed::new(recording, settings, start);
    let mut last = start;
    let mut taken = Vec::new();
    for _ in 0..3 * count {
        let due = feed.next_due().unwrap();
        assert!(due >= last);
        last = due;
        feed.take_until(due, &mut taken);
        for quote in taken.drain(..) {
            assert_eq!(quote.source_time, due, "at real time a quote carries the instant at which it is due");
        }
        if due.since(start).unwrap() > length {
            return;
        }
    }
    panic!("the second loop never came");
}
