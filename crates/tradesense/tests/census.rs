//! `tradesense replay --ticks DIR --json` as an operator runs it.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::process::Command;

use serde_json::{Value, json};

fn census(directory: &str) -> (bool, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tradesense"))
        .args(["replay", "--json", "--ticks", directory])
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_shipped_ticks_are_counted_by_source() {
    let (good, out, err) = census(concat!(env!("CARGO_MANIFEST_DIR"), "/../../assets/ticks"));
    assert!(good, "{err}");
    let census: Value = serde_json::from_str(&out).unwrap();
    assert!(census["quotes_per_second"].as_u64().unwrap() > 0);
    let rows: Vec<_> =
        census["sources"].as_array().unwrap().iter().map(|row| (&row["symbol"], &row["rows"])).collect();
    assert_eq!(rows, [(&json!("eurusd"), &json!(20_776)), (&json!("xauusd"), &json!(87_322))]);
    for row in census["sources"].as_array().unwrap() {
        assert_eq!(row["source"], "oanda");
        assert_eq!(row["files"], 1);
        let sum = row["accepted"].as_u64().unwrap() + row["refused"].as_u64().unwrap();
        assert_eq!(Some(sum), row["rows"].as_u64(), "every row is accepted or refused");
    }
}

#[test]
fn a_directory_without_ticks_is_told_so() {
    let empty = tempfile::tempdir().unwrap();
    let (good, out, err) = census(empty.path().to_str().unwrap());
    assert!(!good && out.is_empty());
    assert!(err.starts_with("tradesense: reading ticks in "), "{err}");
}
