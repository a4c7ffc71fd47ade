//! What a firm's people change while it runs: programs on sale, rules of one account, the calendar of releases. And what
//! they cannot change: what was bought.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on stops")]

use crate::common::{PLAIN, Stage, Trader, program, replays_to_the_stored_state};
use app::Role;
use app::catalogue::Publication;
use kernel::{Clock as _, Currency, Money, RequestId, SeededRng};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use sqlx::Connection as _;

/// [`PLAIN`] with a floor at 95 % instead of 90 % and other terms.
fn tight() -> String {
    PLAIN
        .replacen(r#"percent_of_initial = "10""#, r#"percent_of_initial = "5""#, 1)
        .replace("leverage = 30", "leverage = 20")
}

fn as_json(text: &str) -> Value {
    serde_json::to_value(program(text)).unwrap()
}

fn publication(text: &str, started_from: Option<&str>) -> Value {
    json!({
        "program": as_json(text), "fee": "120.00", "fee_currency": "USD", "place": 1, "started_from": started_from,
    })
}

async fn account(of: &Trader, id: &str) -> Value {
    let (status, mut account) = of.get(&format!("/v1/accounts/{id}")).await;
    assert_eq!(status, 200, "{account}");
    account.as_object_mut().unwrap().remove("as_of");
    account
}

/// The floor of the account's rule of this kind.
fn floor<'a>(account: &'a Value, rule: &str) -> &'a str {
    let floors = account["floors"].as_array().unwrap();
    floors.iter().find(|floor| floor["rule"] == rule).unwrap()["floor"].as_str().unwrap()
}

async fn order(of: &Trader, id: &str, key: &str) -> (u16, Value) {
    let order = json!({ "symbol": "EURUSD", "side": "buy", "kind": "market", "quantity": "0.10" });
    of.post(&format!("/v1/accounts/{id}/orders"), Some(key), &order).await
}

fn refused(answer: &(u16, Value)) -> (u16, &str) {
    (answer.0, answer.1["code"].as_str().unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_is_checked_before_anybody_can_buy_it() {
    let stage = Stage::open(&[("plain", program(PLAIN))]).await;
    let admin = stage.staff("admin@example.com", Role::Admin).await;
    let check = async |body: Value| {
        let (status, found) = admin.post("/v1/programs/check", None, &body).await;
        assert_eq!(status, 200, "{found}");
        found
    };

    let from_json = check(json!({ "program": as_json(PLAIN) })).await;
    let from_toml = check(json!({ "toml": PLAIN })).await;
    assert_eq!(from_json, from_toml, "one program, one name");
    assert_eq!(from_json["faults"], json!([]));
    let checked = &from_json["checked"];
    let offer = admin.get("/v1/programs/plain").await.1;
    assert_eq!(checked["version"], offer["version"]);
    assert_eq!(checked["phases"], offer["phases"]);
    let canonical = checked["canonical_json"].as_str().unwrap();
    assert_eq!(checked["version"], hex::encode(Sha256::digest(canonical)));
    assert!(checked["summary"].as_str().unwrap().contains("10,000.00 USD account, 1 phase"), "{checked}");

    let other = check(json!({ "toml": tight(), "against": offer["version"] })).await;
    let changes = other["checked"]["changes"].as_array().unwrap();
    let leverage = json!({ "place": "Terms", "before": "Leverage is 1:30.", "after": "Leverage is 1:20." });
    assert_eq!((changes.len(), &changes[0]), (2, &leverage));
    assert_eq!(changes[1]["place"], "Evaluation");

    // Every fault at once, with its place and what would be right.
    let mut broken = as_json(PLAIN);
    broken["terms"]["leverage"] = json!(0);
    broken["phases"][0]["name"] = json!(" ");
    let found = check(json!({ "program": broken })).await;
    assert_eq!(found["checked"], Value::Null);
    let paths: Vec<_> = found["faults"].as_array().unwrap().iter().map(|fault| &fault["path"]).collect();
    assert_eq!(paths, ["terms.leverage", "phases[0].name"]);
    assert!(found["faults"][0]["say"].as_str().unwrap().contains("1 to 1000"));
    for (text, path, say) in [
        (PLAIN.replace(r#""USDJPY""#, r#""NICKEL""#), "terms.instruments[1]", "not traded here"),
        (PLAIN.replace("max_loss", "most_loss"), "phases[0].rules[0].kind", "not a kind of rule"),
        (PLAIN.replace("\"10000\"", "10000.5"), "initial_balance", "in quotes"),
        ("name = ".to_owned(), "", ""),
    ] {
        let found = check(json!({ "toml": text })).await;
        let fault = &found["faults"][0];
        assert_eq!(fault["path"], path, "{found}");
        assert!(fault["say"].as_str().unwrap().contains(say), "{found}");
    }
    for body in [json!({}), json!({ "toml": PLAIN, "program": as_json(PLAIN) })] {
        let answer = admin.post("/v1/programs/check", None, &body).await;
        assert_eq!(refused(&answer), (422, "validation_failed"));
    }
    let unknown = json!({ "toml": PLAIN, "against": "0".repeat(64) });
    assert_eq!(admin.post("/v1/programs/check", None, &unknown).await.0, 404);
    assert_eq!(admin.get("/v1/programs/plain/versions").await.1["items"].as_array().unwrap().len(), 1);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn publishing_changes_what_is_sold_and_nothing_that_was_bought() {
    let mut stage = Stage::open(&[("plain", program(PLAIN))]).await;
    let trader = stage.trader("early").await;
    let bought = trader.buy("plain").await;
    stage.play_through("2014-05-02T12:26:00Z").await;
    assert_eq!(order(&trader, &bought, "in").await.0, 201);
    let risk = stage.staff("risk@example.com", Role::Risk).await;
    let first = risk.get("/v1/programs/plain").await.1["version"].as_str().unwrap().to_owned();
    let before = account(&trader, &bought).await;
    assert_eq!(floor(&before, "max_loss"), "9000.00");

    let (status, offer) = put(&risk, "plain", &publication(&tight(), Some(&first))).await;
    assert_eq!(status, 200, "{offer}");
    let second = offer["version"].as_str().unwrap().to_owned();
    assert_ne!(first, second);
    assert_eq!((&offer["fee"], &offer["leverage"]), (&json!("120.00"), &json!("1:20")));
    assert_eq!(account(&trader, &bought).await, before, "what was bought stays as it was bought");
    let words = trader.get(&format!("/v1/programs/versions/{first}")).await.1;
    assert!(words["phases"][0]["rules"][0]["sentence"].as_str().unwrap().contains("10%"), "{words}");

    // The same again is the same; whoever started from the first version overwrites nothing.
    assert_eq!(put(&risk, "plain", &publication(&tight(), Some(&first))).await.0, 200);
    let mut another = publication(&tight(), Some(&first));
    another["fee"] = json!("1.00");
    for (started_from, status) in [(Some(first.as_str()), 409), (None, 409), (Some("nonsense"), 409)] {
        another["started_from"] = json!(started_from);
        let answer = put(&risk, "plain", &another).await;
        assert_eq!(refused(&answer), (status, "program_changed"));
    }
    let (status, unknown) = put(&risk, "fresh", &publication(PLAIN, Some(&first))).await;
    assert_eq!((status, unknown["code"].as_str()), (409, Some("program_changed")));
    assert_eq!(risk.get("/v1/programs/fresh").await.0, 404);
    assert_eq!(put(&risk, "fresh", &publication(PLAIN, None)).await.0, 200);
    let mut broken = publication(PLAIN, Some(&second));
    broken["program"]["phases"][0]["rules"][0]["limit"] = json!({ "percent_of_initial": "-1" });
    let answer = put(&risk, "plain", &broken).await;
    assert_eq!(refused(&answer), (422, "validation_failed"));
    let pointer = answer.1["errors"][0]["pointer"].as_str().unwrap();
    assert!(pointer.starts_with("/program/phases/0/rules/0"), "{pointer}");
    for (field, value) in [("fee", json!("-1")), ("fee", json!("1.001")), ("fee_currency", json!("XXX"))] {
        let mut wrong = publication(PLAIN, Some(&second));
        wrong[field] = value;
        let answer = put(&risk, "plain", &wrong).await;
        assert_eq!(refused(&answer), (422, "validation_failed"), "{field}");
        assert_eq!(answer.1["errors"][0]["pointer"], format!("/{field}"));
    }
    for (slug, status) in [("check", 405), ("versions", 422), ("Two", 422)] {
        assert_eq!(put(&risk, slug, &publication(PLAIN, None)).await.0, status, "{slug}");
    }

    // Everybody can read every version that was ever on sale, and what changed.
    let visitor = stage.visitor();
    let (_, versions) = visitor.get("/v1/programs/plain/versions").await;
    let listed = versions["items"].as_array().unwrap();
    let told: Vec<_> = listed.iter().map(|it| (&it["version"], &it["fee"])).collect();
    assert_eq!(told, [(&json!(second), &json!("120.00")), (&json!(first), &json!("100.00"))]);
    assert!(listed[0]["at"].as_str().unwrap().starts_with("2014-05-02T12:26:"), "{versions}");
    let (_, kept) = visitor.get(&format!("/v1/programs/versions/{first}")).await;
    assert_eq!(hex::encode(Sha256::digest(kept["canonical_json"].as_str().unwrap())), first);
    let difference = format!("/v1/programs/plain/difference?from={first}&to={second}");
    let (_, changes) = visitor.get(&difference).await;
    assert_eq!(changes["items"].as_array().unwrap().len(), 2, "{changes}");
    assert!(changes["items"][1]["after"].as_str().unwrap().contains("5%"), "{changes}");
    for path in [
        format!("/v1/programs/plain/difference?from={first}&to={}", "0".repeat(64)),
        format!("/v1/programs/versions/{}", "0".repeat(64)),
        "/v1/programs/versions/nonsense".to_owned(),
        "/v1/programs/nothing/versions".to_owned(),
    ] {
        assert_eq!(visitor.get(&path).await.0, 404, "{path}");
    }
    let neighbour = stage.neighbours_visitor(None);
    assert_eq!(neighbour.get(&format!("/v1/programs/versions/{first}")).await.0, 404);
    assert_eq!(neighbour.get("/v1/programs/plain/versions").await.0, 404);

    // Who buys now gets the new rules; who bought before keeps the old ones, also after a restart.
    let late = stage.trader("late").await;
    let new = late.buy("plain").await;
    assert_eq!(floor(&account(&late, &new).await, "max_loss"), "9500.00");
    let stage = stage.reopen(false).await;
    let trader = Trader { base: stage.base.clone(), ..trader };
    assert_eq!(account(&trader, &bought).await, before);
    assert_eq!(before["program"]["version"], first);

    // Setting the firm up again does not take back what one of its people published.
    let rng = SeededRng::new(3);
    let request = RequestId::random(stage.clock.now(), &rng);
    let context = app::Context { firm: stage.firm, actor: None, request };
    let fee = Money::parse("100.00", Currency::parse("USD").unwrap()).unwrap();
    let seeded = Publication { slug: "plain".to_owned(), program: program(PLAIN), fee, position: 1 };
    let offer = stage.platform.web.catalogue.publish_version(&context, seeded).await.unwrap();
    assert_eq!(offer.version.as_str(), second);
    let (database, directory) = stage.close().await;
    replays_to_the_stored_state(&database, directory.path()).await;
}

async fn put(of: &Trader, slug: &str, body: &Value) -> (u16, Value) {
    let response = of.http.put(format!("{}/v1/programs/{slug}", of.base)).json(body).send().await.unwrap();
    (response.status().as_u16(), response.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_schema_of_programs_is_read_once() {
    let stage = Stage::open(&[]).await;
    let url = format!("{}/v1/schemas/program", stage.base);
    let http = stage.visitor().http;
    let first = http.get(&url).send().await.unwrap();
    assert_eq!(first.headers()["content-type"], "application/schema+json");
    let tag = first.headers()["etag"].clone();
    let schema: Value = first.json().await.unwrap();
    let words = schema.to_string();
    for word in ["max_loss", "news_window", "initial_balance"] {
        assert!(words.contains(word), "{word}");
    }
    let again = http.get(&url).header("if-none-match", &tag).send().await.unwrap();
    assert_eq!((again.status().as_u16(), again.bytes().await.unwrap().len()), (304, 0));
    let changed = http.get(&url).header("if-none-match", "\"other\"").send().await.unwrap();
    assert_eq!(changed.status(), 200);
    stage.close().await;
}

fn wider(percent: &str) -> Value {
    json!({ "kind": "max_loss", "trail": "static", "limit": { "percent_of_initial": percent }, "breach": "below" })
}

#[tokio::test(flavor = "multi_thread")]
async fn an_override_holds_for_one_account_at_once_and_for_good() {
    let mut stage = Stage::open(&[("plain", program(PLAIN))]).await;
    let [trader, neighbour] = [stage.trader("trader").await, stage.trader("neighbour").await];
    let (of_trader, of_neighbour) = (trader.buy("plain").await, neighbour.buy("plain").await);
    stage.play_through("2014-05-02T12:26:00Z").await;
    assert_eq!(order(&trader, &of_trader, "same-key").await.0, 201);
    let risk = stage.staff("risk@example.com", Role::Risk).await;
    let path = format!("/v1/accounts/{of_trader}/overrides");
    let decision = |rule: Value| json!({ "place": 0, "rule": rule, "reason": " Agreed by letter. " });

    // A key is the decider's alone, whatever keys the trader has used.
    let (status, decided) = risk.post(&path, Some("same-key"), &decision(wider("12"))).await;
    assert_eq!(status, 201, "{decided}");
    assert_eq!(floor(&decided, "max_loss"), "8800.00");
    assert_eq!(floor(&account(&trader, &of_trader).await, "max_loss"), "8800.00");
    assert_eq!(floor(&account(&neighbour, &of_neighbour).await, "max_loss"), "9000.00");
    assert_eq!(risk.post(&path, Some("same-key"), &decision(wider("12"))).await.0, 201, "a retry");
    let answer = risk.post(&path, Some("same-key"), &decision(wider("13"))).await;
    assert_eq!(refused(&answer), (422, "idempotency_key_reused"));

    let target = json!({ "kind": "profit_target", "limit": { "percent_of_initial": "1" }, "flat": true });
    for (number, (body, status, code)) in [
        (decision(target), 422, "override_invalid"),
        (json!({ "place": 9, "rule": null, "reason": "Why not." }), 422, "override_invalid"),
        (decision(json!({ "kind": "max_loss" })), 422, "validation_failed"),
        (decision(wider("-3")), 422, "validation_failed"),
        (json!({ "place": 0, "reason": "A rule is missing." }), 422, "validation_failed"),
        (json!({ "place": 0, "rule": null, "reason": "  " }), 422, "validation_failed"),
        (json!({ "place": 0, "rule": null, "reason": "x".repeat(501) }), 422, "validation_failed"),
    ]
    .into_iter()
    .enumerate()
    {
        let answer = risk.post(&path, Some(&format!("bad-{number}")), &body).await;
        assert_eq!(refused(&answer), (status, code), "{body}: {}", answer.1);
    }
    assert_eq!(risk.post(&path, None, &decision(wider("12"))).await.1["code"], "idempotency_key_missing");
    for (who, status) in [(&trader, 403), (&neighbour, 403), (&stage.visitor(), 401)] {
        assert_eq!(who.post(&path, Some("mine"), &decision(wider("50"))).await.0, status);
    }

    // Both read what was decided and why; who decided it is the firm's business.
    let (_, told) = trader.get(&path).await;
    let told = told["items"].as_array().unwrap().clone();
    assert_eq!((told.len(), &told[0]["reason"]), (1, &json!("Agreed by letter.")));
    assert!(told[0]["before"].as_str().unwrap().contains("10%"), "{}", told[0]);
    assert!(told[0]["after"].as_str().unwrap().contains("12%"), "{}", told[0]);
    assert_eq!((&told[0]["rule"]["limit"], told[0].get("by")), (&wider("12")["limit"], None));
    let by_staff = risk.get(&path).await.1["items"][0]["by"].clone();
    assert_eq!(by_staff["name"], "Staff");
    assert_eq!(neighbour.get(&path).await.0, 404);

    // It survives a restart; and the program's own rule comes back when it is told to.
    let mut stage = stage.reopen(false).await;
    let [trader, risk] = [trader, risk].map(|who| Trader { base: stage.base.clone(), ..who });
    stage.play_through("2014-05-02T12:27:00Z").await;
    assert_eq!(floor(&account(&trader, &of_trader).await, "max_loss"), "8800.00");
    let (status, decided) = risk.post(&path, Some("back"), &decision(Value::Null)).await;
    assert_eq!((status, floor(&decided, "max_loss")), (201, "9000.00"));
    let latest = trader.get(&path).await.1["items"][0].clone();
    assert_eq!(latest["rule"], Value::Null);
    assert!(latest["before"].as_str().unwrap().contains("12%"), "{latest}");

    let mut superuser = stage.database.superuser().await;
    let audited: Vec<(String, String)> = sqlx::query_as(
        "select coalesce(entry.detail #>> '{outcome,Err}', 'done'), entry.actor_id::text
         from audit_log entry
         where entry.action = 'command.override' and entry.object = $1 and entry.request_id is not null
           and entry.detail #>> '{act,override,reason}' = 'Agreed by letter.' order by entry.detail -> 'seq'",
    )
    .bind(&of_trader)
    .fetch_all(&mut superuser)
    .await
    .unwrap();
    let me = risk.get("/v1/me").await.1["id"].as_str().unwrap().to_owned();
    let done = ("done".to_owned(), me);
    let refused = ("override_invalid".to_owned(), done.1.clone());
    assert_eq!(audited, [done.clone(), refused, done]);
    superuser.close().await.unwrap();
    let (database, directory) = stage.close().await;
    replays_to_the_stored_state(&database, directory.path()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_decides_about_an_account_of_their_own() {
    let stage = Stage::open(&[("plain", program(PLAIN))]).await;
    let own = stage.staff_with("both@example.com", &[Role::Trader, Role::Risk]).await;
    let account = own.buy("plain").await;
    let path = format!("/v1/accounts/{account}/overrides");
    let decision = json!({ "place": 0, "rule": wider("50"), "reason": "I like it." });
    assert_eq!(refused(&own.post(&path, Some("mine"), &decision).await), (403, "forbidden"));
    let other = stage.staff("risk@example.com", Role::Risk).await;
    assert_eq!(other.post(&path, Some("theirs"), &decision).await.0, 201);
    stage.close().await;
}

/// [`PLAIN`] with rest around releases.
fn news(effect: &str) -> String {
    let rule = format!(
        r#"rules = [
      {{ kind = "news_window", before_minutes = 2, after_minutes = 2, actions = ["open"], effect = "{effect}" }},"#
    );
    PLAIN.replace("rules = [", &rule)
}

/// Returns when every account that was behind knows its calendar; the platform's own round may be faster.
async fn tell(stage: &Stage) -> usize {
    stage.platform.web.releases.tell(&stage.platform.web.desk).await.unwrap()
}

fn release(name: &str, at: &str, currencies: &[&str], symbols: &[&str]) -> Value {
    json!({ "name": name, "at": at, "currencies": currencies, "symbols": symbols })
}

#[tokio::test(flavor = "multi_thread")]
async fn accounts_rest_around_the_releases_of_their_firm() {
    let programs = [
        ("refusing", program(&news("refuse"))),
        ("flagging", program(&news("flag"))),
        ("plain", program(PLAIN)),
    ];
    let mut stage = Stage::open(&programs).await;
    let [refusing, flagging, plain] =
        [stage.trader("refusing").await, stage.trader("flagging").await, stage.trader("plain").await];
    let of_refusing = refusing.buy("refusing").await;
    let of_flagging = flagging.buy("flagging").await;
    let of_plain = plain.buy("plain").await;
    let risk = stage.staff("risk@example.com", Role::Risk).await;
    assert_eq!(tell(&stage).await, 0, "without a calendar nobody is behind");

    let payrolls = release("US non-farm payrolls", "2014-05-02T12:30:00Z", &["USD"], &[]);
    let (status, added) = risk.post("/v1/releases", None, &payrolls).await;
    assert_eq!(status, 201, "{added}");
    assert_eq!(risk.post("/v1/releases", None, &payrolls).await, (201, added.clone()), "twice is once");
    let speech = release("Speech", "2014-05-02T12:36:00Z", &[], &["USDJPY"]);
    let (_, speech) = risk.post("/v1/releases", None, &speech).await;
    let auction = release("Auction", "2014-05-02T12:40:00Z", &["EUR"], &[]);
    let (_, auction) = risk.post("/v1/releases", None, &auction).await;
    for (wrong, pointer) in [
        (release(" ", "2014-05-02T12:30:00Z", &["USD"], &[]), "/name"),
        (release("Late", "2014-05-02T12:00:00Z", &["USD"], &[]), "/at"),
        (release("When", "tomorrow", &["USD"], &[]), "/at"),
        (release("Nothing", "2014-05-02T12:30:00Z", &[], &[]), "/currencies"),
        (release("Odd", "2014-05-02T12:30:00Z", &["usd"], &[]), "/currencies/0"),
        (release("Odd", "2014-05-02T12:30:00Z", &["USD"], &["NICKEL"]), "/symbols/0"),
    ] {
        let answer = risk.post("/v1/releases", None, &wrong).await;
        assert_eq!(refused(&answer), (422, "validation_failed"), "{wrong}");
        assert_eq!(answer.1["errors"][0]["pointer"], pointer);
    }
    let other = release("US non-farm payrolls", "2014-05-02T12:30:00Z", &["EUR"], &[]);
    assert_eq!(refused(&risk.post("/v1/releases", None, &other).await), (409, "conflict"));
    assert_eq!(refusing.post("/v1/releases", None, &payrolls).await.0, 403);
    let (_, listed) = stage.visitor().get("/v1/releases").await;
    assert_eq!(listed["items"], json!([added, speech, auction]));
    assert_eq!(stage.neighbours_visitor(None).get("/v1/releases").await.1["items"], json!([]));

    tell(&stage).await;
    assert_eq!(tell(&stage).await, 0, "everybody knows");
    stage.play_through("2014-05-02T12:27:00Z").await;
    for (who, account) in [(&refusing, &of_refusing), (&flagging, &of_flagging), (&plain, &of_plain)] {
        assert_eq!(order(who, account, "before").await.0, 201, "outside the window");
    }
    // Who opens an account now is told as well.
    let late = stage.trader("late").await;
    let of_late = late.buy("refusing").await;
    tell(&stage).await;
    stage.play_through("2014-05-02T12:28:30Z").await;
    for (who, account) in [(&refusing, &of_refusing), (&late, &of_late)] {
        let answer = order(who, account, "inside").await;
        assert_eq!(refused(&answer), (422, "order_against_rule"), "{}", answer.1);
    }
    assert_eq!(order(&flagging, &of_flagging, "inside").await.0, 201);
    let (_, verdicts) = flagging.get(&format!("/v1/accounts/{of_flagging}/verdicts")).await;
    let verdicts = verdicts["items"].as_array().unwrap();
    assert_eq!((verdicts.len(), &verdicts[0]["kind"]), (1, &json!("violation")));
    assert_eq!(verdicts[0]["rule"], "news_window");
    assert_eq!(order(&plain, &of_plain, "inside").await.0, 201, "no rule, no rest");

    // A restart forgets nothing. Another instrument's release holds nobody back, nor does one that was taken back.
    let mut stage = stage.reopen(false).await;
    let [refusing, late, risk] = [refusing, late, risk].map(|who| Trader { base: stage.base.clone(), ..who });
    stage.play_through("2014-05-02T12:31:59Z").await;
    assert_eq!(refused(&order(&late, &of_late, "still").await), (422, "order_against_rule"));
    stage.play_through("2014-05-02T12:32:30Z").await;
    assert_eq!(order(&late, &of_late, "after").await.0, 201);
    stage.play_through("2014-05-02T12:36:00Z").await;
    assert_eq!(order(&refusing, &of_refusing, "other").await.0, 201);
    let auction = auction["id"].as_str().unwrap();
    assert_eq!(risk.delete(&format!("/v1/releases/{auction}"), "").await.0, 204);
    assert_eq!(risk.delete(&format!("/v1/releases/{auction}"), "").await.0, 404);
    let been = added["id"].as_str().unwrap();
    assert_eq!(
        risk.delete(&format!("/v1/releases/{been}"), "").await.0,
        404,
        "what has been stays on record"
    );
    tell(&stage).await;
    stage.play_through("2014-05-02T12:40:00Z").await;
    assert_eq!(order(&refusing, &of_refusing, "taken-back").await.0, 201);

    // Only accounts that ask were told, each calendar once.
    let mut superuser = stage.database.superuser().await;
    let told: Vec<(String, i64)> = sqlx::query_as(
        "select account_id::text, count(distinct key) from journal where act::jsonb ? 'calendar' group by 1",
    )
    .fetch_all(&mut superuser)
    .await
    .unwrap();
    superuser.close().await.unwrap();
    assert!(told.iter().all(|(account, _)| *account != of_plain), "{told:?}");
    assert_eq!(told.len(), 3);
    let (database, directory) = stage.close().await;
    replays_to_the_stored_state(&database, directory.path()).await;
}
