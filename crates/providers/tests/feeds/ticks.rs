//! Recorded ticks: the layout, the rows, the zones, the errors, the order.

use std::fs::write;

use super::common::{at, chain, decimals, symbol, write_zip};
use jiff::tz::Offset;
use kernel::Price;
use proptest::prelude::*;
use providers::feeds::FeedQuote;
use providers::feeds::ticks::{Tick, TickError, TickFile, merge, scan};

fn read(folder: &std::path::Path, decimals: u8) -> Vec<Result<Tick, TickError>> {
    let days = scan(folder).unwrap();
    assert_eq!(days.len(), 1);
    TickFile::open(&days[0], decimals).unwrap().collect()
}

fn tick(time: &str, bid: i64, ask: i64) -> Tick {
    Tick { source_time: at(time), bid: Price(bid), ask: Price(ask) }
}

#[test]
fn reads_both_kinds_of_line_ends_and_of_milliseconds() {
    for text in
        ["46.2042,1284.065,1284.4\n49.7,1284,1284.44", "46.2042,1284.065,1284.4\r\n49.7,1284,1284.44\r\n"]
    {
        let folder = tempfile::tempdir().unwrap();
        write_zip(
            folder.path(),
            "oanda/xauusd/20140502_quote.zip",
            &[("20140502_xauusd_tick_quote.csv", text)],
        );
        let ticks: Vec<Tick> = read(folder.path(), 3).into_iter().map(Result::unwrap).collect();
        assert_eq!(
            ticks,
            [
                tick("2014-05-02T00:00:00.046204Z", 1_284_065, 1_284_400),
                tick("2014-05-02T00:00:00.049700Z", 1_284_000, 1_284_440),
            ]
        );
    }
}

#[test]
fn an_empty_day_has_no_ticks() {
    let folder = tempfile::tempdir().unwrap();
    write_zip(folder.path(), "oanda/eurusd/20140503_quote.zip", &[("a.csv", "")]);
    assert!(read(folder.path(), 5).is_empty());
}

#[test]
fn midnight_is_that_of_the_source() {
    let folder = tempfile::tempdir().unwrap();
    write_zip(folder.path(), "fxcm/eurusd/20140502_quote.zip", &[("a.csv", "27000000,1.38601,1.38655")]);
    // 07:30 at five hours behind, in May: no daylight saving.
    assert_eq!(read(folder.path(), 5)[0].as_ref().unwrap().source_time, at("2014-05-02T12:30:00Z"));

    let mut days = scan(folder.path()).unwrap();
    days[0].zone = Offset::constant(2);
    let tick = TickFile::open(&days[0], 5).unwrap().next().unwrap().unwrap();
    assert_eq!(tick.source_time, at("2014-05-02T05:30:00Z"), "the caller's zone wins");
}

#[test]
fn scan_sorts_and_passes_over_what_is_not_its_own() {
    let folder = tempfile::tempdir().unwrap();
    for place in [
        "oanda/xauusd/20140502_quote.zip",
        "oanda/eurusd/20140505_quote.zip",
        "oanda/eurusd/20140502_quote.zip",
        "fxcm/eurusd/20140502_quote.zip",
        "oanda/eurusd/20140502_trade.zip",
        ".cache/eurusd/20140502_quote.zip",
    ] {
        write_zip(folder.path(), place, &[("a.csv", "1,1,1")]);
    }
    write(folder.path().join("README.md"), "about").unwrap();
    write(folder.path().join("oanda/LICENSE"), "text").unwrap();
    let found: Vec<String> = scan(folder.path())
        .unwrap()
        .iter()
        .map(|day| format!("{} {} {} {}", day.source, day.symbol, day.date, day.archive))
        .collect();
    let path = |place: &str| folder.path().join(place).display().to_string();
    assert_eq!(
        found,
        [
            format!("fxcm EURUSD 2014-05-02 {}", path("fxcm/eurusd/20140502_quote.zip")),
            format!("oanda EURUSD 2014-05-02 {}", path("oanda/eurusd/20140502_quote.zip")),
            format!("oanda EURUSD 2014-05-05 {}", path("oanda/eurusd/20140505_quote.zip")),
            format!("oanda XAUUSD 2014-05-02 {}", path("oanda/xauusd/20140502_quote.zip")),
        ]
    );
}

#[test]
fn a_wrong_place_is_said_so() {
    let folder = tempfile::tempdir().unwrap();
    assert!(matches!(scan(folder.path()), Err(TickError::NoTicks { .. })));
    assert!(matches!(scan(&folder.path().join("missing")), Err(TickError::List { .. })));

    let zip = write_zip(folder.path(), "oanda/eurusd/20140532_quote.zip", &[("a.csv", "")]);
    let error = scan(folder.path()).unwrap_err();
    assert_eq!(chain(&error), format!("the name of {}: YYYYMMDD_quote.zip is expected", zip.display()));
    std::fs::remove_file(zip).unwrap();

    let zip = write_zip(folder.path(), "oanda/eur-usd/20140502_quote.zip", &[("a.csv", "")]);
    let error = scan(folder.path()).unwrap_err();
    assert!(chain(&error).starts_with(&format!("the folder name of {}: a symbol has", zip.display())));
}

#[test]
fn a_bad_row_is_named_and_the_next_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let text = "1,1.38694,1.38705\r\n2,1.386945,1.38706\r\n\r\n4,1.38693,1.38705";
    let zip = write_zip(folder.path(), "oanda/eurusd/20140502_quote.zip", &[("a.csv", text)]);
    let rows = read(folder.path(), 5);
    assert_eq!(rows.len(), 4);
    assert_eq!(*rows[3].as_ref().unwrap(), tick("2014-05-02T00:00:00.004Z", 138_693, 138_705));
    assert_eq!(
        chain(rows[1].as_ref().unwrap_err()),
        format!(
            "{}, line 2: \"1.386945\" is not a price of this instrument: more than 5 digits after the point",
            zip.display()
        )
    );
    assert!(chain(rows[2].as_ref().unwrap_err()).contains("line 3: not the three columns"));
}

#[test]
fn a_damaged_file_is_known_before_its_first_tick() {
    let folder = tempfile::tempdir().unwrap();
    let text = "1,1.38694,1.38705\n".repeat(1_000);
    let zip = write_zip(folder.path(), "oanda/eurusd/20140502_quote.zip", &[("a.csv", &text)]);
    let whole = std::fs::read(&zip).unwrap();
    let day = scan(folder.path()).unwrap().remove(0);

    let mut damaged = whole.clone();
    // Inside the packed rows, behind the 35 bytes of the local header and name.
    damaged[60] ^= 0xff;
    write(&zip, &damaged).unwrap();
    let error = TickFile::open(&day, 5).unwrap_err();
    assert!(matches!(error, TickError::Unpack { .. }), "{}", chain(&error));

    write(&zip, &whole[..whole.len() / 2]).unwrap();
    assert!(matches!(TickFile::open(&day, 5), Err(TickError::Zip { .. })));

    write_zip(folder.path(), "oanda/eurusd/20140502_quote.zip", &[("a.csv", ""), ("b.csv", "")]);
    assert!(matches!(TickFile::open(&day, 5), Err(TickError::Entries { entries: 2, .. })));

    std::fs::remove_file(&zip).unwrap();
    let error = TickFile::open(&day, 5).unwrap_err();
    assert!(chain(&error).starts_with(&format!("opening {}: ", zip.display())));
}

#[test]
fn merging_needs_the_decimals_of_every_symbol() {
    let folder = tempfile::tempdir().unwrap();
    write_zip(folder.path(), "oanda/nzdusd/20140502_quote.zip", &[("a.csv", "")]);
    let error = merge(scan(folder.path()).unwrap(), &decimals()).unwrap_err();
    assert_eq!(error.to_string(), "NZDUSD has no number of decimals");
}

#[test]
fn equal_times_come_by_file_then_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let write = |place: &str, text: &str| write_zip(folder.path(), place, &[("a.csv", text)]);
    write("oanda/xauusd/20140502_quote.zip", "18000000,1,1\n18000001,2,2");
    write("oanda/eurusd/20140502_quote.zip", "18000000,3,3\n18000000,4,4\n18000000.5,5,5");
    // The same instants, written in the zone of this source.
    write("fxcm/eurusd/20140502_quote.zip", "0,6,6\nbad\n1,7,7");
    write("oanda/eurusd/20140501_quote.zip", "86399999,8,8");
    let merged: Vec<String> = merge(scan(folder.path()).unwrap(), &decimals())
        .unwrap()
        .map(|item| match item {
            Ok(FeedQuote { source, symbol, bid: Price(bid), .. }) => format!("{source} {symbol} {bid}"),
            Err(error) => chain(&error).split_once("line ").unwrap().1.split_once(':').unwrap().0.to_owned(),
        })
        .collect();
    assert_eq!(
        merged,
        [
            "oanda EURUSD 800000",
            "fxcm EURUSD 600000",
            "2",
            "oanda EURUSD 300000",
            "oanda EURUSD 400000",
            "oanda XAUUSD 1000",
            "oanda EURUSD 500000",
            "fxcm EURUSD 700000",
            "oanda XAUUSD 2000",
        ]
    );
}

/// Days of ticks as (step to the next time in 0.1 ms, bid).
fn days() -> impl Strategy<Value = Vec<Vec<(i64, i64)>>> {
    prop::collection::vec(prop::collection::vec((0_i64..30, 1_i64..1_000), 0..20), 4)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]
    #[test]
    fn merging_is_a_stable_sort_by_time(days in days()) {
        let folder = tempfile::tempdir().unwrap();
        let mut expected = Vec::new();
        let places = [("fxcm", "eurusd", 18_000_000), ("oanda", "eurusd", 0), ("oanda", "xauusd", 0)];
        for ((source, name, zone), rows) in places.into_iter().zip(&days) {
            let mut time = if zone == 0 { 180_000_000 } else { 0 };
            let mut text = Vec::new();
            for (step, bid) in rows {
                time += step;
                text.push(format!("{}.{},{bid},{bid}", time / 10, time % 10));
                expected.push((time + zone * 10, source, symbol(&name.to_uppercase()), *bid));
            }
            let place = format!("{source}/{name}/20140502_quote.zip");
            write_zip(folder.path(), &place, &[("a.csv", &text.join("\r\n"))]);
        }
        expected.sort_by_key(|(time, ..)| *time);
        let midnight = at("2014-05-02T00:00:00Z").micros();
        let scale = |of: &kernel::Symbol| if *of == symbol("EURUSD") { 100_000 } else { 1_000 };
        let merged: Vec<_> = merge(scan(folder.path()).unwrap(), &decimals())
            .unwrap()
            .map(Result::unwrap)
            .map(|quote| {
                let bid = quote.bid.0 / scale(&quote.symbol);
                ((quote.source_time.micros() - midnight) / 100, quote.source.to_string(), quote.symbol, bid)
            })
            .collect();
        let expected: Vec<_> =
            expected.into_iter().map(|(time, source, symbol, bid)| (time, source.to_owned(), symbol, bid)).collect();
        prop_assert_eq!(merged, expected);
    }
}
