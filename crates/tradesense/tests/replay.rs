//! `tradesense replay` as an operator runs it, beside a running platform: what it compares, what it finds, and what other
//! programs would have said, on the command line and over HTTP.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on stops")]

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::{PLAIN, Stage, Trader, program};
use app::Role;
use serde_json::{Value, json};
use sqlx::{Connection as _, PgConnection};
use tempfile::TempDir;

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
      { kind = "profit_target", limit = { percent_of_initial = "1" }, flat = true },
    ]
    [[phases]]
    name = "Verification"
    rules = [
      { kind = "max_loss", trail = "static", limit = { percent_of_initial = "10" }, breach = "below" },
      { kind = "profit_target", limit = { percent_of_initial = "5" }, flat = true },
    ]
"#;

/// The payrolls of 2 May 2014: `long` breaches with ten lots, `short` passes and trades on, `plain` trades elsewhere.
struct Friday {
    stage: Stage,
    url: String,
    /// Breached.
    long: String,
    /// Passed.
    short: String,
    files: TempDir,
}

impl Friday {
    async fn new() -> Self {
        let mut stage = Stage::open(&[("two-step", program(TWO_STEP)), ("plain", program(PLAIN))]).await;
        let [long, short, plain] =
            [stage.trader("long").await, stage.trader("short").await, stage.trader("plain").await];
        let (of_long, of_short) = (long.buy("two-step").await, short.buy("two-step").await);
        let of_plain = plain.buy("plain").await;
        stage.play_through("2014-05-02T12:29:00Z").await;
        order(&long, &of_long, "buy", "10.00").await;
        let sold = order(&short, &of_short, "sell", "10.00").await;
        order(&plain, &of_plain, "buy", "0.10").await;
        stage.play_through("2014-05-02T12:31:00Z").await;
        let close = format!("/v1/accounts/{of_short}/positions/{}/close", sold["position"]);
        assert_eq!(short.post(&close, Some("out"), &json!({})).await.0, 200);
        let url = stage.database.login_url().await;
        Self { stage, url, long: of_long, short: of_short, files: tempfile::tempdir().unwrap() }
    }

    fn quotes(&self) -> PathBuf {
        self.stage.directory.path().join("quotes")
    }

    /// The exit code and what was printed.
    fn replay(&self, arguments: &[&str]) -> (i32, String, String) {
        replay(&self.url, &self.quotes(), arguments)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.files.path().join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }

    async fn version(&self, slug: &str) -> String {
        let (_, program) = self.stage.visitor().get(&format!("/v1/programs/{slug}")).await;
        program["version"].as_str().unwrap().to_owned()
    }
}

fn replay(url: &str, quotes: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tradesense"))
        .args(["replay", "--database-url", url, "--quotes"])
        .arg(quotes)
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

async fn order(trader: &Trader, account: &str, side: &str, lots: &str) -> Value {
    let order = json!({ "symbol": "EURUSD", "side": side, "kind": "market", "quantity": lots });
    let (status, placed) = trader.post(&format!("/v1/accounts/{account}/orders"), Some(side), &order).await;
    assert_eq!(status, 201, "{placed}");
    placed
}

fn read(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

async fn owner_of(friday: &Friday) -> (i64, i64) {
    let mut connection = friday.stage.database.superuser().await;
    let row = sqlx::query_as("select epoch, seq from shards where id = 0");
    let found = row.fetch_one(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_shard_is_replayed_and_does_not_notice() {
    let mut friday = Friday::new().await;
    let before = owner_of(&friday).await;
    let (code, out, err) = friday.replay(&["--shard", "0", "--json"]);
    assert_eq!(code, 0, "{out}{err}");
    let found = read(&out);
    assert_eq!(found["equal"], true);
    assert_eq!(found["state_hash"]["stored"], found["state_hash"]["replayed"]);
    assert_eq!(found["missing_quotes"], json!([]));
    // Three openings, three orders, one close; the accounts are four, since one passed.
    assert_eq!((&found["commands"], &found["counts"]["accounts"]["stored"]), (&json!(7), &json!(4)));
    // A breach, a pass, and the promotion that the pass brought.
    assert_eq!(found["counts"]["verdicts"], json!({ "stored": 3, "replayed": 3, "different": 0 }));
    // The breach closed the long position, the trader the short one, and the third is open.
    assert_eq!(found["counts"]["fills"], json!({ "stored": 5, "replayed": 5, "different": 0 }));
    let (code, out, _) = friday.replay(&["--shard", "0"]);
    assert_eq!(code, 0);
    assert!(out.contains("\nequal to what is stored\n"), "{out}");
    assert_eq!(owner_of(&friday).await, before, "nobody took the shard over");

    // It still trades, and the longer history replays too.
    friday.stage.play_through("2014-05-02T12:32:00Z").await;
    let trader = friday.stage.trader("late").await;
    let account = trader.buy("plain").await;
    order(&trader, &account, "buy", "0.20").await;
    let (code, out, err) = friday.replay(&["--shard", "0", "--json"]);
    assert_eq!((code, &read(&out)["commands"]), (0, &json!(9)), "{out}{err}");

    let (code, out, err) = friday.replay(&["--shard", "7"]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("there is no shard 7"), "{err}");
    friday.stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_by_other_hands_is_named() {
    let friday = Friday::new().await;
    let (long, short) = (friday.long.clone(), friday.short.clone());
    let mut connection = friday.stage.database.superuser().await;
    tamper(
        &mut connection,
        "update accounts set balance_micros = balance_micros + 1000000 where id = $1::uuid",
        &short,
    )
    .await;
    tamper(
        &mut connection,
        "update fills set price = price + 1 where account_id = $1::uuid and number = 1",
        &long,
    )
    .await;
    let evidence = "update verdicts set evidence = replace(evidence, 'daily_loss', 'max_losses'),
                      digest = sha256(convert_to(replace(evidence, 'daily_loss', 'max_losses'), 'UTF8'))
                      where account_id = $1::uuid";
    tamper(&mut connection, evidence, &long).await;

    let (code, out, err) = friday.replay(&["--shard", "0", "--json"]);
    assert_eq!(code, 1, "{out}{err}");
    let found = read(&out);
    assert_eq!(found["equal"], false);
    let named: Vec<(&str, &str)> = found["differences"]
        .as_array()
        .unwrap()
        .iter()
        .map(|difference| (difference["account"].as_str().unwrap(), difference["what"].as_str().unwrap()))
        .collect();
    for expected in
        [(short.as_str(), "the account's balance"), (long.as_str(), "fill 1"), (long.as_str(), "verdict 1")]
    {
        assert!(named.contains(&expected), "{expected:?} in {named:?}");
    }
    assert_eq!(named.len(), 3, "{named:?}");

    // One account alone shows both contents.
    let (code, out, _) = friday.replay(&["--account", &long, "--json"]);
    assert_eq!(code, 1);
    let fill = &read(&out)["differences"][0];
    assert_eq!(fill["what"], "fill 1");
    assert_ne!(fill["stored"], fill["replayed"]);
    assert!(fill["stored"].as_str().unwrap().contains("price"), "{fill}");

    // And whoever judges by other rules is told not to rely on it.
    let same = friday.file("same.toml", TWO_STEP);
    let (code, out, _) = friday.replay(&["--account", &short, "--program", &same]);
    assert_eq!(code, 1);
    assert!(out.contains("NOT TO BE RELIED ON"), "{out}");
    friday.stage.close().await;
}

async fn tamper(connection: &mut PgConnection, statement: &'static str, account: &str) {
    sqlx::query("set session_replication_role = replica").execute(&mut *connection).await.unwrap();
    let changed = sqlx::query(statement).bind(account).execute(&mut *connection).await.unwrap();
    assert_eq!(changed.rows_affected(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_account_is_told_as_it_happened() {
    let friday = Friday::new().await;
    let (code, out, err) = friday.replay(&["--account", &friday.long, "--json"]);
    assert_eq!(code, 0, "{out}{err}");
    let found = read(&out);
    assert_eq!(found["equal"], true);
    let timeline = found["timeline"].as_array().unwrap();
    let kinds: Vec<_> = timeline.iter().map(|moment| moment["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds[..3], ["command", "opened", "entry"]);
    assert_eq!(kinds.iter().filter(|kind| **kind == "fill").count(), 2);
    let verdict = timeline.iter().find(|moment| moment["kind"] == "verdict").unwrap();
    assert!(verdict["text"].as_str().unwrap().contains("breach daily_loss"), "{verdict}");
    let receipt = &trader_receipt(&friday).await;
    assert_eq!(verdict["at"], receipt["at"]);
    assert_eq!(verdict["quote_position"], receipt["quotes"][0]["position"]);
    let (_, out, _) = friday.replay(&["--account", &friday.long]);
    assert!(out.contains("buy 10.00 EURUSD market -> order 1"), "{out}");
    assert!(out.contains("\nequal to what is stored\n"), "{out}");

    let (code, _, err) = friday.replay(&["--account", "00000000-0000-8000-8000-000000000000"]);
    assert_eq!(code, 1);
    assert!(err.contains("there is no account"), "{err}");
    friday.stage.close().await;
}

async fn trader_receipt(friday: &Friday) -> Value {
    let risk = friday.stage.staff("risk@example.com", Role::Risk).await;
    let (status, receipt) = risk.get(&format!("/v1/accounts/{}/receipts/1", friday.long)).await;
    assert_eq!(status, 200, "{receipt}");
    receipt
}

#[tokio::test(flavor = "multi_thread")]
async fn other_programs_are_asked_on_the_command_line() {
    let friday = Friday::new().await;
    let version = friday.version("two-step").await;
    let same = friday.file("same.json", &serde_json::to_string(&program(TWO_STEP)).unwrap());
    for whose in [["--account", &friday.long], ["--account", &friday.short], ["--version", &version]] {
        let (code, out, err) = friday.replay(&[whose[0], whose[1], "--program", &same, "--json"]);
        assert_eq!(code, 0, "{out}{err}");
        let report = read(&out);
        assert_eq!(report["differing"], 0, "{report}");
        assert_eq!((&report["own"], &report["reliable"]), (&report["under_other"], &json!(true)));
    }

    let wide = friday.file(
        "wide.toml",
        &TWO_STEP
            .replace("\"5\" }, breach", "\"50\" }, breach")
            .replace("\"10\" }, breach", "\"60\" }, breach"),
    );
    let (code, out, err) = friday.replay(&["--account", &friday.long, "--program", &wide]);
    assert_eq!(code, 0, "{out}{err}");
    assert!(out.contains("breached daily_loss at 2014-05-02T12:30:"), "{out}");
    assert!(out.contains("| under the other program: active, balance 99,965.00, equity "), "{out}");
    let (code, out, _) = friday.replay(&["--version", &version, "--program", &wide, "--json"]);
    assert_eq!(code, 0);
    let report = read(&out);
    assert_eq!((&report["accounts"], &report["turned"]), (&json!(3), &json!(1)));
    assert_eq!(report["own"]["phases"][0]["pass_rate"], "50.00");
    assert_eq!(report["own"]["phases"][0]["ended_by"][0]["rule"], "daily_loss");
    assert_eq!(report["under_other"]["phases"][0]["pass_rate"], "100.00");

    // A whole shard, two versions: what is in another currency would be left out, here nothing is.
    let (code, out, _) = friday.replay(&["--shard", "0", "--program", &wide, "--json"]);
    assert_eq!(code, 0);
    assert_eq!(read(&out)["versions"].as_array().unwrap().len(), 2);

    let euro = friday.file("euro.toml", &TWO_STEP.replace("USD\"\n    initial", "EUR\"\n    initial"));
    let (code, _, err) = friday.replay(&["--version", &version, "--program", &euro]);
    assert_eq!(code, 1);
    assert!(err.contains("amounts in two currencies do not compare"), "{err}");
    let broken = friday.file("broken.toml", &TWO_STEP.replace("leverage = 100", "leverage = 0"));
    let (code, _, err) = friday.replay(&["--version", &version, "--program", &broken]);
    assert_eq!(code, 1);
    assert!(err.contains("terms.leverage"), "{err}");
    friday.stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_risk_desk_asks_over_http() {
    let friday = Friday::new().await;
    let risk = friday.stage.staff("risk@example.com", Role::Risk).await;
    let as_json = |text: &str| serde_json::to_value(program(text)).unwrap();
    let same = json!({ "program": "two-step", "other": as_json(TWO_STEP) });
    let (status, report) = risk.post("/v1/what-if", None, &same).await;
    assert_eq!(status, 200, "{report}");
    assert_eq!((&report["accounts"], &report["differing"]), (&json!(3), &json!(0)));
    assert_eq!(report["reliable"], true);

    let harder = TWO_STEP.replace("\"1\" }, flat", "\"9\" }, flat");
    let question = json!({ "version": friday.version("two-step").await, "other": as_json(&harder) });
    let (status, report) = risk.post("/v1/what-if", None, &question).await;
    assert_eq!(status, 200, "{report}");
    assert_eq!(report["own"]["phases"][0]["passed"], 1);
    assert_eq!(report["under_other"]["phases"][0]["passed"], 0);
    assert_eq!((&report["turned"], &report["differing"]), (&json!(2), &json!(2)));
    let [first, second] = [&report["differences"][0], &report["differences"][1]];
    assert_eq!((&first["account"], &first["own"]["status"]), (&json!(friday.short), &json!("passed")));
    assert_eq!(first["under_other"]["status"], "active");
    assert_eq!((&second["phase"], &second["under_other"]), (&json!(1), &Value::Null));

    for (question, status, code) in [
        (json!({ "program": "no-such", "other": as_json(TWO_STEP) }), 404, "not_found"),
        (json!({ "version": "0".repeat(64), "other": as_json(TWO_STEP) }), 404, "not_found"),
        (json!({ "other": as_json(TWO_STEP) }), 422, "validation_failed"),
        (json!({ "program": "two-step", "other": {} }), 422, "validation_failed"),
    ] {
        let (answered, problem) = risk.post("/v1/what-if", None, &question).await;
        assert_eq!((answered, problem["code"].as_str()), (status, Some(code)), "{problem}");
    }
    let mut broken = as_json(TWO_STEP);
    broken["terms"]["leverage"] = json!(0);
    let (status, problem) =
        risk.post("/v1/what-if", None, &json!({ "program": "two-step", "other": broken })).await;
    assert_eq!(
        (status, &problem["errors"][0]["pointer"]),
        (422, &json!("/other/terms/leverage")),
        "{problem}"
    );
    let mut euro = as_json(TWO_STEP);
    euro["currency"] = json!("EUR");
    let (status, problem) =
        risk.post("/v1/what-if", None, &json!({ "program": "two-step", "other": euro })).await;
    assert_eq!((status, problem["code"].as_str()), (422, Some("programs_not_comparable")), "{problem}");

    // The accounts of another firm are nobody's business, whatever the version's name.
    let session = friday.stage.neighbours_visitor(None);
    let body =
        json!({ "email": "eve@example.com", "password": crate::common::PASSWORD, "display_name": "Eve" });
    assert_eq!(session.post("/v1/auth/register", None, &body).await.0, 201);
    let (status, _) = session.post("/v1/what-if", None, &same).await;
    assert_eq!(status, 403);
    friday.stage.close().await;
}
