//! The audit log as a firm's auditor, a trader and a stranger meet it: over HTTP, by the command line, and without the platform.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::similar_names,
    reason = "a test that cannot go on stops"
)]

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use crate::common::{NEIGHBOUR, PLAIN, Stage, Trader, program};
use app::Role;
use audit::SigningKey;
use audit::checkpoint::{Checkpoint, Keys};
use audit::note::{Note, NoteKey, NoteSigner, Signs};
use audit::tree::{Hash, verify_consistency};
use kernel::{ManualClock, SeededRng, Timestamp};
use providers::copies::{Credentials, Means, Place};
use serde_json::{Value, json};
use sqlx::Executor as _;
use testkit::TestS3;

/// `tradesense` with these arguments: whether it ended with 0, and what it said.
fn command(arguments: &[&str]) -> (bool, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_tradesense"))
        .args(arguments)
        .env("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
        .env("AWS_SECRET_ACCESS_KEY", "hush")
        .output()
        .unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(!said.contains("hush"), "{said}");
    (output.status.success(), said)
}

/// Puts the files of a folder of copies into a bucket.
async fn put_all(folder: &Path, place: &str) {
    let means = Means {
        credentials: Some(Credentials::new("AKIAEXAMPLE", "hush")),
        clock: Arc::new(ManualClock::new(Timestamp::parse("2090-01-05T10:00:00Z").unwrap())),
        rng: Arc::new(SeededRng::new(1)),
    };
    let bucket = place.parse::<Place>().unwrap().writer(means).await.unwrap();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for file in std::fs::read_dir(next).unwrap() {
            let path = file.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(folder).unwrap().to_str().unwrap();
                bucket.put(name, &std::fs::read(&path).unwrap()).await.unwrap();
            }
        }
    }
}

/// What an address answers once a condition holds.
async fn until(caller: &Trader, path: &str, holds: impl Fn(u16, &Value) -> bool) -> Value {
    let mut last = (0, Value::Null);
    for _ in 0..2_000 {
        last = caller.get(path).await;
        if holds(last.0, &last.1) {
            return last.1;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{path} came to {last:?}")
}

fn word<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_auditor_searches_proves_and_exports_and_a_stranger_verifies() {
    let mut stage =
        Stage::open(&[("plain", program(&PLAIN.replace("\"10\" }, breach", "\"4\" }, breach")))]).await;
    let trader = stage.trader("long").await;
    let account = trader.buy("plain").await;
    stage.play_through("2014-05-02T12:29:00Z").await;
    let order = json!({ "symbol": "EURUSD", "side": "buy", "kind": "market", "quantity": "2.00" });
    assert_eq!(trader.post(&format!("/v1/accounts/{account}/orders"), Some("in"), &order).await.0, 201);
    stage.play_through("2014-05-02T12:35:00Z").await;
    let auditor = stage.staff("auditor@example.com", Role::Auditor).await;
    let visitor = stage.visitor();
    let directory = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &[u8]| {
        let path = directory.path().join(name);
        std::fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    };

    // What happened to the account, found by its action and by its object, and of nobody else.
    let verdict = format!("/v1/audit/entries?action=verdict.breach&object={account}");
    let found =
        until(&auditor, &verdict, |_, page| page["items"].as_array().is_some_and(|all| !all.is_empty()))
            .await;
    let entry = &found["items"][0];
    assert_eq!((word(entry, "source"), word(entry, "object")), ("verdict", account.as_str()));
    let (_, placed) = auditor.get("/v1/audit/entries?action=command.").await;
    assert!(
        placed["items"].as_array().unwrap().iter().any(|entry| entry["action"] == "command.place"),
        "{placed}"
    );
    let (_, none) = auditor.get("/v1/audit/entries?since=2030-01-01T00:00:00Z").await;
    assert_eq!(none["items"], json!([]));
    assert_eq!(auditor.get("/v1/audit/entries?since=yesterday").await.0, 422);
    let neighbour = stage.neighbours_visitor(None);
    assert_eq!(neighbour.get("/v1/audit/entries").await.0, 401, "{NEIGHBOUR}");

    // The trader proves the receipt's verdict with what anybody may ask for.
    let document =
        until(&trader, &format!("/v1/accounts/{account}/receipts/1/document"), |status, _| status == 200)
            .await;
    let proof_path = format!("/v1/accounts/{account}/receipts/1/proof");
    let proof = until(&trader, &proof_path, |_, proof| proof["proof"].is_string()).await;
    let keys = visitor.get("/v1/audit/keys").await.1;
    let key = word(&keys["items"][0], "key").to_owned();
    let (receipt, proven) = (
        file("receipt.json", document.to_string().as_bytes()),
        file("proof.json", proof.to_string().as_bytes()),
    );
    let arguments = ["receipt", "verify", &receipt, "--proof", &proven, "--audit-key", &key];
    let (holds, said) = command(&arguments);
    assert!(holds && said.contains("IN THE LOG: entry"), "{said}");
    // Another entry's proof, another byte, another key: none of them is.
    let other = auditor.get("/v1/audit/entries/0").await.1;
    let mut changed = proof.clone();
    let bytes = word(&proof, "bytes").to_owned();
    changed["bytes"] = json!(format!("{}{}", &bytes[..bytes.len() - 2], "ff"));
    let other_key = NoteSigner::new("tradesense/other", SigningKey::from_secret(&[3; 32])).unwrap();
    let other_key = other_key.public(Signs::Text).to_string();
    for (proof, key) in [(&other, &key), (&changed, &key), (&proof, &other_key)] {
        let forged = file("forged.json", proof.to_string().as_bytes());
        let (holds, said) = command(&["receipt", "verify", &receipt, "--proof", &forged, "--audit-key", key]);
        assert!(!holds && said.contains("NOT IN THE LOG"), "{said}");
    }

    // The log continues every checkpoint that was shown before.
    let before = visitor.get("/v1/audit/checkpoint").await.1;
    let older = before["size"].as_u64().unwrap();
    stage.trader("later").await;
    let after =
        until(&visitor, "/v1/audit/checkpoint", |_, after| after["size"].as_u64() > Some(older)).await;
    let newer = after["size"].as_u64().unwrap();
    let shown = visitor.get(&format!("/v1/audit/consistency?from={older}&to={newer}")).await.1;
    let hashes: Vec<Hash> = shown["proof"]
        .as_array()
        .unwrap()
        .iter()
        .map(|hash| Hash::parse_base64(hash.as_str().unwrap()).unwrap())
        .collect();
    let root = |checkpoint: &Value| Hash::parse_base64(word(checkpoint, "root")).unwrap();
    verify_consistency(older, newer, &hashes, &root(&before), &root(&after)).unwrap();
    assert_eq!(visitor.get(&format!("/v1/audit/consistency?from={newer}&to={older}")).await.0, 422);
    assert_eq!(visitor.get("/v1/audit/checkpoints/1000000").await.0, 404);

    // A witness cosigns; what it has not signed is refused.
    let witness = NoteSigner::new("witness.example/w1", SigningKey::from_secret(&[4; 32])).unwrap();
    let trusted_keys = Keys::new(NoteKey::parse(&key).unwrap()).unwrap();
    let text = |checkpoint: &Value| Note::parse(word(checkpoint, "note")).unwrap().text().to_owned();
    assert_eq!(Checkpoint::parse(&text(&after)).unwrap().size, newer);
    let witness_key = witness.public(Signs::Witnessed).to_string();
    let cosign = |line: String| json!({ "key": witness_key, "line": line });
    let path = format!("/v1/audit/checkpoints/{newer}/cosignatures");
    let of_another = cosign(witness.witness(&text(&before), 7).to_string());
    assert_eq!(auditor.post(&path, None, &of_another).await.0, 422);
    let line = cosign(witness.witness(&text(&after), 7).to_string());
    assert_eq!(trader.post(&path, None, &line).await.0, 403);
    assert_eq!(auditor.post(&path, None, &line).await.0, 204);
    assert_eq!(auditor.post(&path, None, &line).await.0, 204, "twice is once");
    let cosigned = visitor.get(&format!("/v1/audit/checkpoints/{newer}")).await.1;
    assert_eq!(cosigned["witnesses"], json!([witness_key]));
    let with_witness = trusted_keys.with_witnesses(vec![witness.public(Signs::Witnessed)], 1).unwrap();
    with_witness.open(word(&cosigned, "note")).unwrap();

    // The firm's export is verified without the platform, and that it was taken is an entry.
    let export =
        auditor.http.get(format!("{}/v1/audit/export?trusted={older}", auditor.base)).send().await.unwrap();
    assert_eq!(export.status(), 200);
    let export = export.bytes().await.unwrap();
    assert!(!String::from_utf8_lossy(&export).contains("@example.com"), "no addresses of people are in it");
    let exported = file("log.tsaudit", &export);
    let trusted = file("before.note", word(&before, "note").as_bytes());
    let (holds, said) =
        command(&["audit", "verify", "--export", &exported, "--key", &key, "--trusted", &trusted]);
    assert!(
        holds && said.contains(&format!("They continue the checkpoint of {older} entries that you trust")),
        "{said}"
    );
    let mut cut = export.to_vec();
    cut.truncate(export.len() - 40);
    let cut = file("cut.tsaudit", &cut);
    let (holds, said) = command(&["audit", "verify", "--export", &cut, "--key", &key]);
    assert!(!holds && said.contains("NOT WHAT WAS SIGNED: the export is cut"), "{said}");
    until(&auditor, "/v1/audit/entries?action=audit.export", |_, page| {
        page["items"][0]["object_kind"] == "audit_log"
    })
    .await;

    // The operator's figures.
    let mut figures = String::new();
    for _ in 0..2_000 {
        figures = stage.ask_ops("/metrics").await.1;
        if figures.contains("tradesense_audit_verified_timestamp_seconds ") {
            break;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    for name in [
        "tradesense_audit_verified_timestamp_seconds ",
        "tradesense_audit_chain_break_total 0",
        "tradesense_audit_last_checkpoint_age_seconds ",
    ] {
        assert!(figures.lines().any(|line| line.starts_with(name)), "{name}: {figures}");
    }
    let copies = stage.directory.path().join("audit-copies");
    // The copies go as far as the log.
    let newest = visitor.get("/v1/audit/checkpoint").await.1;
    wait_for_copy(&copies.join("checkpoint"), newest["size"].as_u64().unwrap()).await;
    let (database, directory_of_stage) = stage.close().await;

    // Whoever owns the database is told by the command line, with its exit code and the entry.
    let url = database.url();
    let s3 = TestS3::start().await;
    s3.bucket("acme-audit", true).await;
    let bucket = &s3.place("acme-audit").replace('?', "/eu?");
    put_all(&copies, bucket).await;
    let copies = copies.to_str().unwrap();
    for copies in [copies, bucket] {
        let (holds, said) = command(&["audit", "verify", "--database-url", &url, "--copies", copies]);
        assert!(holds && said.contains("Nothing was changed, added, removed or moved"), "{said}");
    }
    let (holds, said) =
        command(&["audit", "verify", "--database-url", &url, "--copies", copies, "--from", "2", "--to", "5"]);
    assert!(holds && said.contains("4 entries from 2 up to but not 6"), "{said}");
    let whole = directory.path().join("whole.tsaudit");
    let (holds, said) = command(&["audit", "export", "--database-url", &url, whole.to_str().unwrap()]);
    assert!(holds && said.contains("entries 0 to "), "{said}");
    for copies in [copies, bucket] {
        let (holds, said) =
            command(&["audit", "verify", "--export", whole.to_str().unwrap(), "--copies", copies]);
        assert!(holds, "{said}");
    }
    // What was written long ago is not the newest; as an archive, in compressed files of a folder, it is continued by that.
    let part = directory.path().join("part.tsaudit");
    let arguments = ["audit", "export", "--database-url", &url, "--to", "5", part.to_str().unwrap()];
    let (exported, said) = command(&arguments);
    assert!(exported && said.contains("entries 0 to 5 of a log of "), "{said}");
    for copies in [copies, bucket] {
        let (holds, said) =
            command(&["audit", "verify", "--export", part.to_str().unwrap(), "--copies", copies]);
        assert!(!holds && said.contains("the log was cut or set back: this ends with"), "{said}");
    }
    let archive = directory.path().join("2014-05");
    std::fs::create_dir(&archive).unwrap();
    let content = std::fs::read(&part).unwrap();
    let (first, second) = content.split_at(content.len() / 2);
    for (name, half) in [("000001.tsaudit", first), ("000002.tsaudit", second)] {
        std::fs::write(archive.join(name), half).unwrap();
        assert!(Command::new("gzip").arg(archive.join(name)).status().unwrap().success());
    }
    let archive = archive.to_str().unwrap();
    for copies in [copies, bucket] {
        let (holds, said) = command(&["audit", "verify", "--export", archive, "--copies", copies]);
        assert!(holds && said.contains("6 entries from 0 up to but not 6"), "{said}");
        assert!(said.contains("entries that you trust continues it."), "{said}");
    }
    let (holds, said) = command(&["audit", "verify", "--export", archive, "--key", &key]);
    assert!(holds && said.contains("You named no checkpoint from before"), "{said}");
    let mut owner = database.superuser().await;
    owner.execute("set session_replication_role = replica").await.unwrap();
    owner.execute("update journal set key = key || 'x'").await.unwrap();
    for copies in [copies, bucket] {
        let (holds, said) = command(&["audit", "verify", "--database-url", &url, "--copies", copies]);
        assert!(!holds && said.starts_with("NOT WHAT WAS SIGNED: entry "), "{said}");
    }
    owner.execute("update audit_state set size = 0").await.unwrap();
    for copies in [copies, bucket] {
        let (holds, said) = command(&["audit", "verify", "--database-url", &url, "--copies", copies]);
        assert!(!holds && said.contains("the log was cut or set back: the checkpoint outside has"), "{said}");
    }
    // Copies that somebody hid are not copies that never were.
    assert_eq!(s3.ask("DELETE", "/acme-audit/eu/checkpoint", &[], "").await.status, 204);
    let (holds, said) = command(&["audit", "verify", "--database-url", &url, "--copies", bucket]);
    assert!(!holds && said.contains("s3://acme-audit/eu/checkpoint was deleted"), "{said}");
    drop(directory_of_stage);
}

async fn wait_for_copy(path: &Path, size: u64) {
    for _ in 0..4_000 {
        // A checkpoint's second line is its size.
        let copied = std::fs::read_to_string(path).ok();
        let copied = copied.and_then(|note| note.lines().nth(1)?.parse::<u64>().ok());
        if copied.is_some_and(|copied| copied >= size) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{} never reached {size}", path.display())
}

#[test]
fn the_next_key_is_made_beside_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let keys = directory.path().to_str().unwrap();
    let (made, first) = command(&["audit", "key", "--keys-dir", keys]);
    assert!(made && first.starts_with("tradesense/") && NoteKey::parse(first.trim()).is_ok(), "{first}");
    let (made, said) = command(&["audit", "new-key", "--keys-dir", keys]);
    assert!(made && said.trim().ends_with("audit-2.key"), "{said}");
    let (_, again) = command(&["audit", "key", "--keys-dir", keys]);
    assert_eq!(again, first, "the log keeps its name and its first key");
}
