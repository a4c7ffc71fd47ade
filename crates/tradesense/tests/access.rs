//! Every operation of the API by everybody who might call it, as the table `web::v1::access` says.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

use crate::common::{PLAIN, Stage, Trader, program};
use app::Role;
use app::payouts::{NewRow, Payee, Payout, PayoutState, PayoutStore as _};
use app::trading::{AuditEntry, Digests, OutboxEntry};
use engine::Key;
use kernel::{Amount, Clock as _, Currency, Money, PayoutId, RequestId};
use reqwest::Method;
use serde_json::{Value, json};
use web::v1::access::{ACCESS, Access};

/// What the addresses name.
struct Things {
    account: String,
    challenge: String,
    purchase: String,
    release: String,
    version: String,
    notification: String,
    webhook: String,
    delivery: String,
    checkpoint: String,
    /// The owner's, from their account.
    payout: String,
    /// Somebody, whose email begins with their name.
    person: (String, String),
    /// Why somebody looks at them.
    reason: Option<&'static str>,
}

/// The size of the first checkpoint that is signed.
async fn checkpoint(visitor: &Trader) -> String {
    for _ in 0..1_000 {
        let (status, checkpoint) = visitor.get("/v1/audit/checkpoint").await;
        if status == 200 {
            return checkpoint.pointer("/size").unwrap().to_string();
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("nothing was ever signed")
}

/// Somebody new.
async fn somebody(stage: &Stage, number: usize) -> (String, String) {
    let name = format!("somebody-{number}");
    let (status, person) = stage.trader(&name).await.get("/v1/me").await;
    assert_eq!(status, 200, "{person}");
    (person.pointer("/id").and_then(Value::as_str).unwrap().to_owned(), format!("{name}@example.com"))
}

/// What the audit log says was done to a person, by whom and why.
async fn said_of(stage: &Stage, person: &str) -> Vec<(String, Option<String>)> {
    sqlx::query_as(
        "select action, nullif(purpose, '') from audit_entries
         where object_kind = 'person' and object = $1 and action like 'privacy.%' order by id",
    )
    .bind(person)
    .fetch_all(&mut stage.database.superuser().await)
    .await
    .unwrap()
}

/// A webhook with a delivery, of nobody else's.
async fn new_webhook(admin: &Trader) -> (String, String) {
    let new = json!({ "url": "https://hooks.example.com/in", "topics": ["account.*"] });
    let (status, added) = admin.post("/v1/webhooks", None, &new).await;
    assert_eq!(status, 201, "{added}");
    let word = |value: &Value, place| value.pointer(place).and_then(Value::as_str).unwrap().to_owned();
    let id = word(&added, "/webhook/id");
    assert!(word(&added, "/secret").starts_with("whsec_"));
    let (status, sent) = admin.post(&format!("/v1/webhooks/{id}/test"), None, &json!({})).await;
    assert_eq!(status, 202, "{sent}");
    (id, word(&sent, "/delivery_id"))
}

/// A payout of somebody's account that waits for a review. What the program pays is for others to test.
async fn new_payout(stage: &Stage, owner: &str, account: &str) -> String {
    let at = stage.clock.now();
    let currency = Currency::parse("USD").unwrap();
    let payout = Payout {
        id: PayoutId::derived(&[b"walk"]),
        person: owner.parse().unwrap(),
        account: account.parse().unwrap(),
        program_name: "Plain".to_owned(),
        currency,
        asked: Amount::parse("100").unwrap(),
        precheck: rules::payout::Precheck {
            eligible: true,
            conditions: Vec::new(),
            withdrawable: Amount::parse("100").unwrap(),
            payout: Amount::parse("80").unwrap(),
            figures: Vec::new(),
        },
        expected: Money::parse("80", currency).unwrap(),
        reviewers_needed: 2,
        state: PayoutState::InReview,
        method: app::payouts::Method::Manual,
        tries: 0,
        take_began_at: None,
        verdict: None,
        taken: None,
        share: None,
        attempt: 0,
        reason: None,
        requested_at: at,
        moved_at: at,
    };
    let new = NewRow {
        audit: AuditEntry {
            firm: stage.firm,
            at,
            actor: Some(payout.person),
            action: "payout.request".to_owned(),
            object_kind: "payout",
            object: payout.id.to_string(),
            request: None,
            purpose: String::new(),
            digests: Digests::default(),
            detail: json!({}),
        },
        outbox: OutboxEntry {
            firm: stage.firm,
            at,
            aggregate: format!("payout:{}", payout.id),
            topic: "payout.requested",
            payload: json!({ "state": "in_review", "account": payout.account, "amount": payout.expected }),
            request: None,
        },
        payee: Payee::Manual { note: String::new() },
        key: Key::parse("walk").unwrap(),
        fingerprint: [0; 32],
        payout,
    };
    let (payout, _) = stage.platform.web.store.create_payout(stage.firm, &new).await.unwrap();
    payout.id.to_string()
}

/// As if nobody had decided about it.
async fn as_it_was(stage: &Stage, payout: &str) {
    sqlx::query("update payouts set state = 'in_review' where id = $1::uuid")
        .bind(payout)
        .execute(&mut stage.database.superuser().await)
        .await
        .unwrap();
}

/// The status of an operation on these things. Only who calls is looked at; what an operation then says to its body is
/// for others to test.
async fn call(caller: &Trader, method: &str, path: &str, things: &Things) -> u16 {
    let id: &str = match path {
        path if path.contains("purchases") => things.purchase.as_str(),
        path if path.contains("challenges") => &things.challenge,
        path if path.contains("releases") => &things.release,
        path if path.contains("messages") => "7",
        path if path.contains("notifications") => &things.notification,
        path if path.contains("webhooks") => &things.webhook,
        path if path.contains("people") || path.contains("identity-reviews") => &things.person.0,
        path if path.contains("/v1/payout") => &things.payout,
        _ => &things.account,
    };
    let body = match path {
        path if path.contains("people") => of_people(path, things),
        path if path.contains("shelf") => of_the_shelf(path, things),
        path => body(path, &things.version),
    };
    let path = path.replace("{id}", id).replace("{ticket}", "2").replace("{number}", "1");
    let path = path.replace("{provider}", "stripe").replace("{event}", "evt_1");
    let path = path.replace("{queue}", "mail").replace("{group}", "webhooks");
    let path = path.replace("{account}/lines", "bank/lines").replace("{report}", "revenue");
    let path = path.replace("{size}", &things.checkpoint).replace("{index}", "0").replace("{code}", "WALK");
    let path = path.replace("{document}", &things.notification);
    let path = path.replace("{delivery}", &things.delivery).replace("{token}", "a-token-that-nobody-made");
    let path = path.replace("{slug}", "plain").replace("{hash}", &things.version);
    let url = format!("{}{path}{}", caller.base, if path.contains("/lines") { "?currency=USD" } else { "" });
    let request =
        caller.http.request(method.parse::<Method>().unwrap(), url).header("Idempotency-Key", "walk");
    let request = match things.reason {
        Some(reason) => request.header("Reason", reason),
        None => request,
    };
    let request = if method == "GET" || method == "DELETE" { request } else { request.json(&body) };
    request.send().await.unwrap().status().as_u16()
}

fn of_people(path: &str, things: &Things) -> Value {
    match path.rsplit('/').next() {
        Some("find") => json!({ "email": things.person.1, "reason": things.reason }),
        Some("hold" | "restriction") => json!({ "on": true, "reason": things.reason }),
        _ => json!({ "reason": things.reason }),
    }
}

fn of_the_shelf(path: &str, things: &Things) -> Value {
    match path.rsplit('/').next() {
        Some("coupons") => json!({ "code": "walk", "off": { "kind": "percent", "percent": "10" } }),
        Some("groups") => json!({ "person": things.person.0, "group": "friends" }),
        Some("prices") => json!({ "country": "CH", "group": null, "currency": "CHF", "price": "90.00" }),
        Some("taxes") => json!({ "country": "CH", "rate": "8.1", "included": true }),
        Some("terms") => json!({ "trial": false, "reset_fee": "50.00" }),
        Some("{code}") => json!({
            "name": "A second try", "on_sale": true, "price": { "kind": "percent", "percent": "20" },
            "change": { "kind": "resets", "included": 1 },
        }),
        _ => json!({}),
    }
}

/// A body that can be read, so that the answer depends on the caller.
fn body(path: &str, version: &str) -> Value {
    let plain = || serde_json::to_value(program(PLAIN)).unwrap();
    match path.rsplit('/').next() {
        Some("orders") => json!({ "symbol": "EURUSD", "side": "buy", "kind": "market", "quantity": "0.10" }),
        Some("overrides") => json!({ "place": 0, "rule": null, "reason": "Just as it was." }),
        Some("what-if") => json!({ "program": "plain", "other": plain() }),
        Some("check") => json!({ "program": plain() }),
        Some("{slug}") => json!({
            "program": plain(), "fee": "100.00", "fee_currency": "USD", "place": 1, "started_from": version,
        }),
        Some("preferences") => json!({ "items": [{ "group": "warnings", "in_app": true, "mail": false }] }),
        Some("webhooks") => json!({ "url": "https://hooks.example.com/in", "topics": ["account.*"] }),
        Some("recover") => json!({ "since": "2014-05-02T12:00:00Z" }),
        Some("releases") => json!({ "name": "GDP", "at": "2014-06-01T12:30:00Z", "currencies": ["USD"] }),
        Some("cosignatures") => json!({ "key": "witness.example+00000000+AA==", "line": "none" }),
        Some("checkout") => json!({ "provider": "sandbox" }),
        Some("refunds" | "release") => json!({ "reason": "A test" }),
        Some("explanation") => json!({ "explanation": "They traded." }),
        Some("runs") => json!({ "with": "own" }),
        Some("assign") => json!({ "owner": null }),
        Some("resolve") => json!({ "reason": "A bank holiday.", "remedy": "accept" }),
        Some("payout-batches") => json!({ "currency": "USD", "reason": "A test" }),
        Some("payout-settings") => json!({
            "methods": ["manual"], "identity_needed": true, "one_reviewer": [], "reason": "A test",
        }),
        Some("payment") => json!({ "reference": "bank-1", "reason": "A test" }),
        Some("decision") => json!({ "verified": true, "reason": "A test" }),
        Some("send-again") => json!({ "kind": "mail.send" }),
        Some("purchases" | "quote") => json!({ "program": "plain", "version": "0".repeat(64) }),
        _ => json!({}),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_operation_lets_in_whom_the_table_says() {
    let mut stage = Stage::open(&[("plain", program(PLAIN))]).await;
    let owner = stage.trader("owner").await;
    let account = owner.buy("plain").await;
    stage.play_through("2014-05-02T12:26:00Z").await;
    let purchases = owner.get("/v1/purchases").await.1;
    let purchase = purchases.pointer("/items/0/id").and_then(|id| id.as_str()).unwrap().to_owned();
    let challenge = purchases.pointer("/items/0/challenge_id").and_then(|id| id.as_str()).unwrap().to_owned();
    let order = json!({ "symbol": "EURUSD", "side": "buy", "kind": "market", "quantity": "0.10" });
    assert_eq!(owner.post(&format!("/v1/accounts/{account}/orders"), Some("in"), &order).await.0, 201);
    let visitor = stage.visitor();
    let stranger = stage.trader("stranger").await;
    let risk = stage.staff("risk@example.com", Role::Risk).await;
    let finance = stage.staff("finance@example.com", Role::Finance).await;

    let release = json!({ "name": "CPI", "at": "2014-06-01T12:30:00Z", "currencies": ["USD"] });
    let (status, release) = risk.post("/v1/releases", None, &release).await;
    assert_eq!(status, 201, "{release}");
    let offer = owner.get("/v1/programs/plain").await.1;
    let word = |value: &Value, field: &str| value[field].as_str().unwrap().to_owned();
    let (release, version) = (word(&release, "id"), word(&offer, "version"));
    let admin = stage.staff("admin@example.com", Role::Admin).await;
    let auditor = stage.staff("auditor@example.com", Role::Auditor).await;
    // Nobody has been told anything yet, so that there is no notification to mark, whoever asks.
    let notification = RequestId::derived(&[b"none"]).to_string();
    let (webhook, delivery) = new_webhook(&admin).await;
    let checkpoint = checkpoint(&visitor).await;
    let support = stage.staff("support@example.com", Role::Support).await;
    let person = somebody(&stage, 0).await;
    let payout = new_payout(&stage, &word(&owner.get("/v1/me").await.1, "id"), &account).await;
    let mut things = Things {
        account,
        challenge,
        purchase,
        release,
        version,
        notification,
        webhook,
        delivery,
        checkpoint,
        payout,
        person,
        reason: Some("A test"),
    };

    let things_of_their_owner = [Access::Owner, Access::OwnerOrStaff];
    for (number, (method, path, access)) in ACCESS.iter().copied().enumerate() {
        if access == Access::People {
            things.person = somebody(&stage, number).await;
        }
        if access == Access::Admin {
            (things.webhook, things.delivery) = new_webhook(&admin).await;
        }
        let at = |caller| call(caller, method, path, &things);
        let name = format!("{method} {path}");
        // Signing out with nobody signed in is fine; nobody else is signed out on the way.
        let anonymous = at(&visitor).await;
        if access == Access::Secret {
            for (who, caller) in [("a visitor", &visitor), ("the owner", &owner), ("admin", &admin)] {
                assert_eq!(at(caller).await, 404, "{name} without the secret by {who}");
            }
            continue;
        }
        assert_eq!(anonymous == 401, access != Access::Public, "{name} by a visitor: {anonymous}");
        if path == "/v1/auth/sign-out" {
            continue;
        }
        if access == Access::Risk {
            for (who, caller) in [("the owner", &owner), ("a stranger", &stranger), ("finance", &finance)] {
                assert_eq!(at(caller).await, 403, "{name} by {who}");
            }
            let by_risk = at(&risk).await;
            assert!((200..300).contains(&by_risk), "{name} by risk: {by_risk}");
            continue;
        }
        if matches!(access, Access::Payouts | Access::Payers) {
            for (who, caller) in [("the owner", &owner), ("a stranger", &stranger)] {
                assert_eq!(at(caller).await, 403, "{name} by {who}");
            }
            let by_risk = at(&risk).await;
            assert_eq!(by_risk == 403, access == Access::Payers, "{name} by risk: {by_risk}");
            for (who, caller) in [("finance", &finance), ("the admin", &admin)] {
                as_it_was(&stage, &things.payout).await;
                let answer = at(caller).await;
                assert!(![401, 403].contains(&answer), "{name} by {who}: {answer}");
                assert!(answer != 404 || !path.contains("payout-reviews"), "{name} by {who}: it is there");
            }
            continue;
        }
        if path.starts_with("/v1/payouts/") || path.ends_with("/certificate") {
            as_it_was(&stage, &things.payout).await;
            for (who, caller) in [("a stranger", &stranger), ("risk", &risk), ("the admin", &admin)] {
                assert_eq!(at(caller).await, 404, "{name} by {who}");
            }
            // Nothing has arrived, and no phase is passed.
            let expected = if path.ends_with("/certificate") { 404 } else { 200 };
            assert_eq!(at(&owner).await, expected, "{name} by the owner");
            continue;
        }
        if access == Access::Admin {
            let others =
                [("the owner", &owner), ("a stranger", &stranger), ("finance", &finance), ("risk", &risk)];
            for (who, caller) in others {
                assert_eq!(at(caller).await, 403, "{name} by {who}");
            }
            let by_admin = at(&admin).await;
            assert!((200..300).contains(&by_admin), "{name} by admin: {by_admin}");
            continue;
        }
        if access == Access::Money {
            for (who, caller) in [("the owner", &owner), ("a stranger", &stranger), ("support", &support)] {
                assert_eq!(at(caller).await, 403, "{name} by {who}");
            }
            let reads = method == "GET" && !path.contains("evidence");
            assert_eq!(at(&risk).await == 403, !reads, "{name} by risk");
            // Nothing is disputed, and no refund has the account's id, whoever asks.
            let by_finance = at(&finance).await;
            let expected = path.contains("{id}") && !path.contains("purchases");
            assert!(
                if expected { by_finance == 404 } else { (200..300).contains(&by_finance) },
                "{name} by finance: {by_finance}"
            );
            continue;
        }
        if access == Access::People {
            let others =
                [("the owner", &owner), ("a stranger", &stranger), ("finance", &finance), ("risk", &risk)];
            for (who, caller) in others {
                assert_eq!(at(caller).await, 403, "{name} by {who}");
            }
            let id = things.person.0.clone();
            assert_eq!(said_of(&stage, &id).await, [], "{name}: nobody has seen anything");
            let looks = ["/v1/people/find", "/v1/people/{id}"].contains(&path);
            assert_eq!(at(&support).await, if looks { 200 } else { 403 }, "{name} by support");
            let by_support = said_of(&stage, &id).await;
            assert_eq!(by_support.len(), usize::from(looks), "{name} by support: {by_support:?}");
            // Nobody looks without a reason, and every look is written down with its own.
            things.reason = None;
            assert_eq!(call(&admin, method, path, &things).await, 400, "{name} without a reason");
            assert_eq!(said_of(&stage, &id).await, by_support, "{name} without a reason");
            things.reason = Some("Ticket 17");
            let by_admin = call(&admin, method, path, &things).await;
            assert!((200..300).contains(&by_admin), "{name} by admin: {by_admin}");
            let said = said_of(&stage, &id).await;
            assert_eq!(said.len(), by_support.len().saturating_add(1), "{name}: {said:?}");
            assert_eq!(said.last().unwrap().1.as_deref(), Some("Ticket 17"), "{name}: {said:?}");
            things.reason = Some("A test");
            continue;
        }
        if access == Access::Finance {
            for (who, caller) in [("the owner", &owner), ("a stranger", &stranger)] {
                assert_eq!(at(caller).await, 403, "{name} by {who}");
            }
            let (by_risk, by_finance) = (at(&risk).await, at(&finance).await);
            let expected = match (method, path.contains("{id}")) {
                ("GET", _) => (200, 200),
                (_, true) => (403, 404),
                (_, false) => (403, 202),
            };
            assert_eq!((by_risk, by_finance), expected, "{name}");
            continue;
        }
        if access == Access::Operations {
            for (who, caller) in [("the owner", &owner), ("a stranger", &stranger), ("finance", &finance)] {
                assert_eq!(at(caller).await, 403, "{name} by {who}");
            }
            // There is no job and no failed message, whoever asks.
            let missing = path.contains("{id}") || path.contains("{event}");
            let (by_risk, by_admin) = (at(&risk).await, at(&admin).await);
            let expected = match (method, missing) {
                ("GET", false) => by_risk == 200,
                ("GET", true) => by_risk == 404,
                _ => by_risk == 403,
            };
            assert!(expected, "{name} by risk: {by_risk}");
            let expected = if missing { by_admin == 404 } else { (200..300).contains(&by_admin) };
            assert!(expected, "{name} by the admin: {by_admin}");
            continue;
        }
        if access == Access::Audit {
            let others =
                [("the owner", &owner), ("a stranger", &stranger), ("finance", &finance), ("risk", &risk)];
            for (who, caller) in others {
                assert_eq!(at(caller).await, 403, "{name} by {who}");
            }
            for (who, caller) in [("the admin", &admin), ("the auditor", &auditor)] {
                let answer = at(caller).await;
                // The signature of a witness is none.
                let expected = if method == "POST" { 422 } else { 200 };
                assert_eq!(answer, expected, "{name} by {who}");
            }
            continue;
        }
        if path.contains("notifications/{id}") {
            for caller in [&owner, &stranger, &risk, &admin] {
                assert_eq!(at(caller).await, 404, "{name}: there is none");
            }
            continue;
        }
        // There is no receipt and no working order, whoever asks; everything else of the owner's is there.
        if !path.contains("receipts") && !path.contains("orders/") {
            let own = at(&owner).await;
            assert!(![401, 403, 404].contains(&own), "{name} by the owner: {own}");
        }
        let other = at(&stranger).await;
        if things_of_their_owner.contains(&access) {
            assert_eq!(other, 404, "{name} by a stranger");
            assert_eq!(
                at(&finance).await == 404,
                (method == "GET" && !path.ends_with("payout-check")) || path.contains("purchases"),
                "{name} by finance"
            );
        } else {
            assert!(![401, 403, 404].contains(&other), "{name} by a stranger: {other}");
        }
        match access {
            // Staff may read every account, but nobody trades another's.
            Access::OwnerOrStaff if !path.contains("receipts") => {
                assert_eq!(at(&risk).await, 200, "{name} by risk");
            }
            Access::Owner | Access::Trader
                if !path.contains("purchases/") && !path.contains("challenges/") =>
            {
                assert_eq!(at(&risk).await, 403, "{name} by risk");
            }
            Access::Public
            | Access::SignedIn
            | Access::Trader
            | Access::Owner
            | Access::OwnerOrStaff
            | Access::Risk
            | Access::Admin
            | Access::Money
            | Access::Secret
            | Access::Audit
            | Access::People
            | Access::Finance
            | Access::Payouts
            | Access::Payers
            | Access::Operations => {}
        }
    }
    stage.close().await;
}
