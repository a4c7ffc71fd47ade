//! What people do about their data over HTTP, and what is left of them on the disk.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on stops")]

use std::path::Path;

use crate::common::{PASSWORD, PLAIN, Stage, Trader, program};
use app::Role;
use serde_json::{Value, json};
use tradesense::privacy::verify;
use tradesense::replay::Found;

async fn archive(who: &Trader, path: &str, reason: Option<&str>) -> (u16, Vec<u8>) {
    let mut request = who.http.get(format!("{}{path}", who.base));
    if let Some(reason) = reason {
        request = request.header("Reason", reason);
    }
    let response = request.send().await.unwrap();
    let status = response.status().as_u16();
    if status == 200 {
        assert_eq!(response.headers()["content-type"], "application/zip");
        assert_eq!(response.headers()["cache-control"], "no-store");
    }
    (status, response.bytes().await.unwrap().to_vec())
}

fn said(archive: &[u8], stage: &Stage) -> (Found, String) {
    let mut out = Vec::new();
    let key = stage.platform.web.receipt_key;
    let found = verify(archive, Some(&key), &mut out).unwrap();
    (found, String::from_utf8(out).unwrap())
}

/// Every file below a directory that holds the text.
fn files_with(directory: &Path, text: &str) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files_with(&path, text));
        } else if std::fs::read(&path).unwrap().windows(text.len()).any(|part| part == text.as_bytes()) {
            found.push(path);
        }
    }
    found
}

async fn names(stage: &Stage) -> Vec<Value> {
    let (status, board) = stage.visitor().get("/v1/leaderboard?program=plain").await;
    assert_eq!(status, 200, "{board}");
    board["items"].as_array().unwrap().iter().map(|line| line["trader"].clone()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_person_takes_their_data_along_and_is_erased() {
    let mut stage = Stage::open(&[("plain", program(PLAIN))]).await;
    let ann = stage.trader("ann").await;
    let id = ann.get("/v1/me").await.1["id"].as_str().unwrap().to_owned();
    ann.buy("plain").await;
    stage.play_through("2014-05-02T12:26:00Z").await;
    let admin = stage.staff("admin@example.com", Role::Admin).await;
    assert_eq!(names(&stage).await, ["ann"]);

    let (status, own) = archive(&ann, "/v1/me/export", None).await;
    assert_eq!(status, 200);
    let (found, text) = said(&own, &stage);
    assert!(matches!(found, Found::Equal) && text.contains("rows/purchases.json"), "{text}");
    let mut altered = own.clone();
    let middle = altered.len() / 2;
    altered[middle] ^= 1;
    let (found, text) = said(&altered, &stage);
    assert!(matches!(found, Found::Different) && text.starts_with("NOT AUTHENTIC"), "{text}");
    let path = format!("/v1/people/{id}/export");
    assert_eq!(archive(&admin, &path, None).await.0, 400);
    let (status, by_admin) = archive(&admin, &path, Some("Asked by letter")).await;
    assert_eq!((status, matches!(said(&by_admin, &stage).0, Found::Equal)), (200, true));
    assert_eq!(archive(&ann, &path, Some("Mine")).await.0, 403);

    // A hold is told with its code; the session lives on.
    let hold = |on| json!({ "on": on, "reason": "Case 12" });
    let put = async |path: String, body: Value| {
        let request = admin.http.put(format!("{}{path}", admin.base)).json(&body);
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(put(format!("/v1/people/{id}/hold"), hold(true)).await, 204);
    let proof = json!({ "password": PASSWORD });
    let (status, refused) = ann.post("/v1/me/erasure", None, &proof).await;
    assert_eq!((status, &refused["code"]), (409, &json!("legal_hold")));
    assert_eq!(put(format!("/v1/people/{id}/hold"), hold(false)).await, 204);
    let (status, refused) = ann.post("/v1/me/erasure", None, &json!({ "password": "not my password" })).await;
    assert_eq!((status, &refused["code"]), (401, &json!("wrong_credentials")));
    assert_eq!(ann.get("/v1/me").await.0, 200);

    assert_eq!(ann.post("/v1/me/erasure", None, &proof).await.0, 204);
    assert_eq!(ann.get("/v1/me").await.0, 401, "the very next request is nobody's");
    let sign_in = json!({ "email": "ann@example.com", "password": PASSWORD });
    assert_eq!(stage.visitor().post("/v1/auth/sign-in", None, &sign_in).await.0, 401);
    let shown = names(&stage).await;
    assert!(shown[0].as_str().unwrap().starts_with("Trader "), "{shown:?}");
    let find = json!({ "email": "ann@example.com", "reason": "To look" });
    assert_eq!(admin.post("/v1/people/find", None, &find).await.0, 404);
    let request = admin.http.get(format!("{}/v1/people/{id}", admin.base)).header("Reason", "To look");
    let subject: Value = request.send().await.unwrap().json().await.unwrap();
    assert_eq!((&subject["email"], &subject["display_name"]), (&Value::Null, &Value::Null));
    assert!(subject["erased_at"].is_string());

    // Nothing that names them is in the database or in any file of the platform, but for the ledger, which has their id.
    assert!(!stage.database.dump().contains("ann@example.com"));
    assert_eq!(files_with(stage.directory.path(), "ann@example.com"), Vec::<std::path::PathBuf>::new());
    let ledger = files_with(&stage.directory.path().join("people"), &id);
    assert_eq!(ledger, [stage.directory.path().join("people/erasures")]);

    // The keys are where they were after a restart: others sign in, and nobody is erased again.
    let stage = stage.reopen(false).await;
    let bob = json!({ "email": "admin@example.com", "password": PASSWORD });
    assert_eq!(stage.visitor().post("/v1/auth/sign-in", None, &bob).await.0, 200);
    assert_eq!(names(&stage).await, shown);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_registers_for_another_region_is_sent_away() {
    let stage = Stage::open(&[("plain", program(PLAIN))]).await;
    let new = |region: &str| json!({ "email": "ann@example.com", "password": PASSWORD, "display_name": "Ann", "region": region });
    let (status, refused) = stage.visitor().post("/v1/auth/register", None, &new("us")).await;
    assert_eq!((status, &refused["code"]), (421, &json!("wrong_region")));
    let (status, refused) = stage.visitor().post("/v1/auth/register", None, &new("The EU")).await;
    assert_eq!((status, &refused["code"]), (422, &json!("validation_failed")));
    stage.close().await;
}
