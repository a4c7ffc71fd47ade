//! A receipt as a trader holds it: checked by the command line alone, and worthless once anything in it is altered.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

use std::io::Write as _;
use std::process::{Command, Stdio};

use crate::common::{PLAIN, Stage, program};
use audit::receipt::{seal, verify};
use audit::{PublicKey, SigningKey};
use engine::Receipt;
use serde_json::{Value, json};

/// `tradesense receipt verify -` on a document: whether it ended with 0, and what it said.
fn command(document: &str, key: Option<&str>) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tradesense"));
    command
        .args(["receipt", "verify", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    if let Some(key) = key {
        command.args(["--key", key]);
    }
    let mut child = command.spawn().unwrap();
    child.stdin.take().unwrap().write_all(document.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.success(), String::from_utf8(said).unwrap())
}

/// Every other document that differs in one leaf, each with the place of the leaf.
fn altered(document: &Value) -> Vec<(String, Value)> {
    fn places(value: &Value, at: &str, found: &mut Vec<String>) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    places(value, &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")), found);
                }
            }
            Value::Array(items) => {
                for (number, value) in items.iter().enumerate() {
                    places(value, &format!("{at}/{number}"), found);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => found.push(at.to_owned()),
        }
    }
    let mut found = Vec::new();
    places(document, "", &mut found);
    let change = |place: String| {
        let mut other = document.clone();
        let leaf = other.pointer_mut(&place).unwrap();
        *leaf = match leaf.take() {
            Value::String(text) => {
                let last = text.chars().last();
                let swapped = if last == Some('0') { '1' } else { '0' };
                let kept: String = text.chars().take(text.chars().count().saturating_sub(1)).collect();
                Value::String(format!("{kept}{swapped}"))
            }
            Value::Number(number) => json!(number.as_i64().unwrap() ^ 1),
            Value::Bool(flag) => Value::Bool(!flag),
            Value::Null => json!(0),
            other @ (Value::Array(_) | Value::Object(_)) => panic!("{other} is no leaf"),
        };
        (place, other)
    };
    found.into_iter().map(change).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receipt_proves_its_verdict_to_whoever_holds_it_and_nothing_once_altered() {
    let mut stage =
        Stage::open(&[("plain", program(&PLAIN.replace("\"10\" }, breach", "\"4\" }, breach")))]).await;
    let trader = stage.trader("long").await;
    let account = trader.buy("plain").await;
    stage.play_through("2014-05-02T12:29:00Z").await;
    let order = json!({ "symbol": "EURUSD", "side": "buy", "kind": "market", "quantity": "2.00" });
    let (status, _) = trader.post(&format!("/v1/accounts/{account}/orders"), Some("in"), &order).await;
    assert_eq!(status, 201);
    stage.play_through("2014-05-02T12:35:00Z").await;
    let (_, after) = trader.get(&format!("/v1/accounts/{account}")).await;
    assert_eq!(after["status"], "breached", "{after}");

    // It is made when the verdict has been stored: not at the same moment, but soon.
    let path = format!("/v1/accounts/{account}/receipts/1/document");
    let document = loop {
        let (status, document) = trader.get(&path).await;
        if status == 200 {
            break document;
        }
        assert_eq!(status, 404, "{document}");
    };
    let (_, keys) = trader.get("/v1/receipt-keys").await;
    let key = keys["items"][0]["public_key"].as_str().unwrap();

    let (proven, said) = command(&document.to_string(), Some(key));
    assert!(proven && said.contains("PROVEN: floor, equity and verdict follow"), "{said}");
    let receipt: Receipt = serde_json::from_value(document["body"].clone()).unwrap();
    assert!(receipt.durable_at.unwrap() >= receipt.decided_at);
    assert!(receipt.tick_to_durable_us >= receipt.tick_to_decision_us);

    // Altered anywhere, it is not what was signed.
    let known = PublicKey::parse(key).unwrap();
    let variants = altered(&document);
    assert!(variants.len() > 100, "{} leaves", variants.len());
    for (place, variant) in &variants {
        let text = variant.to_string();
        assert!(verify(text.as_bytes(), Some(&known)).is_err(), "altered at {place} and accepted");
        assert!(verify(text.as_bytes(), None).is_err(), "altered at {place} and accepted without a key");
    }
    let (accepted, said) = command(&variants[0].1.to_string(), Some(key));
    assert!(!accepted && said.contains("NOT AUTHENTIC"), "{said}");

    // Signed anew by somebody else, it is refused by whoever knows the key, and what does not follow is found out even
    // without one.
    let stranger = SigningKey::from_secret(&[9; 32]);
    let mut counterfeit = document["body"].clone();
    *counterfeit.pointer_mut("/verdict/floor/amount").unwrap() = json!("1.00");
    let counterfeit = seal(&counterfeit, &stranger).unwrap().text().to_owned();
    let (accepted, said) = command(&counterfeit, Some(key));
    assert!(!accepted && said.contains("NOT AUTHENTIC"), "{said}");
    let (accepted, said) = command(&counterfeit, None);
    assert!(!accepted && said.contains("NOT PROVEN: the floor that was crossed should be"), "{said}");
    stage.close().await;
}
