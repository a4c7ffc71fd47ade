//! Scripted traders over HTTP on the recorded ticks around the US payrolls of 2 May 2014: one passes, one breaches,
//! and a program that shares no code with ours names the same tick.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::process::Command;

use crate::common::{Stage, program, recorded_zip, replays_to_the_stored_state};
use serde_json::{Value, json};

const TWO_STEP: &str = r#"
    name = "Two-Step"
    currency = "USD"
    initial_balance = "100000"
    reset = { zone = "Europe/Prague", time = "00:00" }
    [terms]
    instruments = ["EURUSD"]
    leverage = 100
    commission_per_lot = "3.50"
    stop_out = "50"
    [[phases]]
    name = "Evaluation"
    rules = [
      { kind = "daily_loss", reference = "balance", limit = { percent_of_initial = "5" }, breach = "below" },
      { kind = "max_loss", trail = "static", limit = { percent_of_initial = "10" }, breach = "below" },
      { kind = "profit_target", limit = { percent_of_initial = "4" }, flat = true },
      { kind = "min_trading_days", days = 1 },
    ]
    [[phases]]
    name = "Verification"
    rules = [
      { kind = "daily_loss", reference = "balance", limit = { percent_of_initial = "5" }, breach = "below" },
      { kind = "max_loss", trail = "static", limit = { percent_of_initial = "10" }, breach = "below" },
      { kind = "profit_target", limit = { percent_of_initial = "5" }, flat = true },
    ]
"#;

/// What the independent script finds in the raw file.
fn independent(side: &str, wanted: &[&str]) -> Value {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/oracle/breach_tick.py");
    let output = Command::new("python3")
        .arg(script)
        .arg(recorded_zip("EURUSD"))
        .args(["--side", side, "--lots", "10", "--contract", "100000", "--open", "2014-05-02T12:29:00Z"])
        .args(["--balance", "100000", "--commission", "35"])
        .args(wanted)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_breach_is_found_at_the_tick_that_the_raw_file_shows() {
    let mut stage = Stage::open(&[("two-step", program(TWO_STEP))]).await;
    let trader = stage.trader("long").await;
    let account = trader.buy("two-step").await;
    stage.play_through("2014-05-02T12:29:00Z").await;
    let order = json!({ "symbol": "EURUSD", "side": "buy", "kind": "market", "quantity": "10.00" });
    let path = format!("/v1/accounts/{account}/orders");
    let (status, filled) = trader.post(&path, Some("in"), &order).await;
    assert_eq!((status, filled["state"].as_str()), (201, Some("filled")), "{filled}");
    let (_, before) = trader.get(&format!("/v1/accounts/{account}")).await;
    assert_eq!(before["floors"][0]["floor"], "95000.00");
    assert_eq!(before["status"], "active");

    stage.play_through("2014-05-02T12:31:00Z").await;

    let expected = independent("buy", &["--floor", "95000", "--when", "lt"]);
    let (status, receipt) = trader.get(&format!("/v1/accounts/{account}/receipts/1")).await;
    assert_eq!(status, 200, "{receipt}");
    assert_eq!(receipt["kind"], "breach");
    assert_eq!(receipt["rule"], "daily_loss");
    assert_eq!(receipt["quotes"][0]["source_time"], expected["time"]);
    assert_eq!(receipt["quotes"][0]["bid"], expected["bid"]);
    assert_eq!(receipt["quotes"][0]["ask"], expected["ask"]);
    assert_eq!(money(&receipt["equity"]), money(&expected["equity"]));
    assert_eq!(receipt["positions"][0]["open_price"], expected["opened"]["ask"]);
    assert_eq!(receipt["floor"]["amount"], "95000.00");

    let (_, after) = trader.get(&format!("/v1/accounts/{account}")).await;
    assert_eq!(after["status"], "breached");
    let (_, open) = trader.get(&format!("/v1/accounts/{account}/positions?state=open")).await;
    assert_eq!(open["items"], json!([]), "everything was closed with the verdict");
    let (status, refused) = trader.post(&path, Some("again"), &order).await;
    assert_eq!((status, refused["code"].as_str()), (409, Some("account_not_active")));
    replays_to_the_same_state(stage).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passed_phase_gives_the_account_of_the_next() {
    let mut stage = Stage::open(&[("two-step", program(TWO_STEP))]).await;
    let trader = stage.trader("short").await;
    let account = trader.buy("two-step").await;
    stage.play_through("2014-05-02T12:29:00Z").await;
    let order = json!({ "symbol": "EURUSD", "side": "sell", "kind": "market", "quantity": "10.00" });
    let (status, filled) = trader.post(&format!("/v1/accounts/{account}/orders"), Some("in"), &order).await;
    assert_eq!(status, 201, "{filled}");

    // Closed at the very tick at which the raw file shows enough profit.
    let expected = independent("sell", &["--target", "4000", "--count-closing"]);
    stage.play_through(expected["time"].as_str().unwrap()).await;
    let (_, open) = trader.get(&format!("/v1/accounts/{account}")).await;
    assert_eq!(open["status"], "active", "an open profit is not a pass");
    assert_eq!(open["objectives"][0]["met"], false);
    let close = format!("/v1/accounts/{account}/positions/{}/close", filled["position"]);
    let (status, closed) = trader.post(&close, Some("out"), &json!({})).await;
    assert_eq!(status, 200, "{closed}");
    assert_eq!(closed["close_price"], expected["ask"]);

    let (_, passed) = trader.get(&format!("/v1/accounts/{account}")).await;
    assert_eq!(passed["status"], "passed");
    assert_eq!(money(&passed["balance"]), money(&expected["equity"]));
    let accounts = trader.accounts_of(&passed["challenge_id"], 2).await;
    assert_eq!(accounts[1]["phase"]["name"], "Verification");
    assert_eq!(accounts[1]["status"], "active");
    assert_eq!(accounts[1]["balance"], "100000.00");
    let (status, receipt) = trader.get(&format!("/v1/accounts/{account}/receipts/1")).await;
    assert_eq!((status, receipt["kind"].as_str()), (200, Some("pass")));

    // The new account trades, and the board shows the old one on top.
    let order = json!({ "symbol": "EURUSD", "side": "buy", "kind": "market", "quantity": "0.10" });
    let path = format!("/v1/accounts/{}/orders", accounts[1]["id"].as_str().unwrap());
    assert_eq!(trader.post(&path, Some("in"), &order).await.0, 201);
    let (_, board) = trader.get("/v1/leaderboard?program=two-step&phase=0").await;
    assert_eq!(board["items"][0]["trader"], "short");
    assert_eq!(board["items"][0]["you"], true);
    assert_eq!(money(&board["items"][0]["balance"]), money(&passed["balance"]));

    // Midnight in Prague comes without a quote: the reset happens all the same, and replays all the same.
    stage.wait_until("2014-05-02T22:00:01Z").await;
    let (_, next_day) = trader.get(&format!("/v1/accounts/{}", accounts[1]["id"].as_str().unwrap())).await;
    assert_eq!(next_day["day"]["date"], "2014-05-03");
    assert_eq!(next_day["day"]["started_at"], "2014-05-02T22:00:00.000000Z");
    replays_to_the_same_state(stage).await;
}

/// The journal and the quote log, applied to an empty engine, give what is stored.
async fn replays_to_the_same_state(stage: Stage) {
    let (database, directory) = stage.close().await;
    let replayed = replays_to_the_stored_state(&database, directory.path()).await;
    assert!(replayed.commands >= 2 && replayed.quotes > 1_000);
}

/// Amounts are compared as numbers of the sixth digit: `"100.5"` and `"100.50"` are one.
fn money(value: &Value) -> kernel::Amount {
    kernel::Amount::parse(value.as_str().unwrap()).unwrap()
}
