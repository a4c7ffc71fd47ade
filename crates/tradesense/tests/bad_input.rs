//! Nonsense over HTTP: every request gets a clear problem with a documented code, and nothing changes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use crate::common::{PLAIN, Stage, Trader, program};
use serde_json::{Value, json};

/// Everything of an account that a mistake could change.
async fn everything(trader: &Trader, account: &str) -> Vec<Value> {
    let mut seen = Vec::new();
    for path in
        ["", "/positions?state=open", "/positions?state=closed", "/orders?state=all", "/fills", "/verdicts"]
    {
        let (status, mut body) = trader.get(&format!("/v1/accounts/{account}{path}")).await;
        assert_eq!(status, 200, "{body}");
        body.as_object_mut().unwrap().remove("as_of");
        seen.push(body);
    }
    seen
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_orders_are_refused_with_their_code_and_change_nothing() {
    let mut stage = Stage::open(&[("plain", program(PLAIN))]).await;
    let trader = stage.trader("clumsy").await;
    let account = trader.buy("plain").await;
    let path = format!("/v1/accounts/{account}/orders");
    let order = |change: &[(&str, Value)]| {
        let mut order = json!({ "symbol": "EURUSD", "side": "buy", "kind": "market", "quantity": "0.10" });
        for (field, value) in change {
            order[*field] = value.clone();
        }
        order
    };

    // Before the first quote there is nothing to trade at.
    let (status, problem) = trader.post(&path, Some("early"), &order(&[])).await;
    assert_eq!((status, problem["code"].as_str()), (409, Some("no_quote")));

    stage.play_through("2014-05-02T12:26:00Z").await;
    assert_eq!(trader.post(&path, Some("good"), &order(&[])).await.0, 201);
    let before = everything(&trader, &account).await;

    let cases: Vec<(Value, u16, &str)> = vec![
        (order(&[("symbol", json!("EURXXX"))]), 422, "unknown_instrument"),
        (order(&[("symbol", json!("eurusd"))]), 422, "unknown_instrument"),
        (order(&[("symbol", json!("'; drop table orders; --"))]), 422, "unknown_instrument"),
        (order(&[("symbol", json!("XAUUSD"))]), 422, "instrument_not_in_program"),
        (order(&[("symbol", json!("USDJPY"))]), 409, "no_quote"),
        (order(&[("quantity", json!("0"))]), 422, "quantity_out_of_range"),
        (order(&[("quantity", json!("0.00"))]), 422, "quantity_out_of_range"),
        (order(&[("quantity", json!("-1"))]), 422, "quantity_out_of_range"),
        (order(&[("quantity", json!("100.01"))]), 422, "quantity_out_of_range"),
        (order(&[("quantity", json!("0.001"))]), 422, "validation_failed"),
        (order(&[("quantity", json!("99999999999999999999999999"))]), 422, "validation_failed"),
        (order(&[("quantity", json!("one"))]), 422, "validation_failed"),
        (order(&[("quantity", json!("1e2"))]), 422, "validation_failed"),
        (order(&[("quantity", json!("NaN"))]), 422, "validation_failed"),
        (order(&[("quantity", json!(""))]), 422, "validation_failed"),
        (order(&[("quantity", json!(0.1))]), 422, "validation_failed"),
        (order(&[("quantity", json!(null))]), 422, "validation_failed"),
        (order(&[("side", json!("long"))]), 422, "validation_failed"),
        (order(&[("kind", json!("iceberg"))]), 422, "validation_failed"),
        (order(&[("profit", json!("1000000"))]), 422, "validation_failed"),
        (order(&[("price", json!("1.38"))]), 422, "validation_failed"),
        (order(&[("kind", json!("limit"))]), 422, "validation_failed"),
        (order(&[("kind", json!("limit")), ("price", json!("9.99999"))]), 422, "price_invalid"),
        (order(&[("kind", json!("limit")), ("price", json!("0"))]), 422, "price_invalid"),
        (order(&[("kind", json!("stop")), ("price", json!("-1.5"))]), 422, "price_invalid"),
        (order(&[("kind", json!("limit")), ("price", json!("1.380001"))]), 422, "validation_failed"),
        (order(&[("stop_loss", json!("2"))]), 422, "price_invalid"),
        (order(&[("take_profit", json!("1.0"))]), 422, "price_invalid"),
        (order(&[("quantity", json!("50"))]), 422, "insufficient_margin"),
        (json!({}), 422, "validation_failed"),
        (json!([]), 422, "validation_failed"),
        (json!(null), 422, "validation_failed"),
    ];
    for (number, (body, status, code)) in cases.into_iter().enumerate() {
        let answered = trader.post(&path, Some(&format!("bad-{number}")), &body).await;
        let pages = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors");
        assert_eq!((answered.0, answered.1["code"].as_str()), (status, Some(code)), "{body}: {}", answered.1);
        assert_eq!(answered.1["type"], format!("/errors/{code}"));
        assert!(answered.1["request_id"].as_str().is_some_and(|id| id.len() == 36));
        assert!(std::path::Path::new(&format!("{pages}/{code}.md")).exists());
    }
    let (_, faults) =
        trader.post(&path, Some("two"), &order(&[("quantity", json!("x")), ("stop_loss", json!("y"))])).await;
    let pointers: Vec<_> =
        faults["errors"].as_array().unwrap().iter().map(|it| it["pointer"].clone()).collect();
    assert_eq!(pointers, ["/quantity", "/stop_loss"], "all faults at once");

    for (method, ticket, code) in [("close", 99, "position_not_found"), ("cancel", 99, "order_not_found")] {
        let answered = if method == "close" {
            trader
                .post(&format!("/v1/accounts/{account}/positions/{ticket}/close"), Some("x"), &json!({}))
                .await
        } else {
            trader.delete(&format!("{path}/{ticket}"), "y").await
        };
        assert_eq!((answered.0, answered.1["code"].as_str()), (404, Some(code)));
    }
    let too_much = json!({ "quantity": "0.11" });
    let close = format!("/v1/accounts/{account}/positions/2/close");
    let (status, problem) = trader.post(&close, Some("much"), &too_much).await;
    assert_eq!((status, problem["code"].as_str()), (422, Some("quantity_out_of_range")));

    assert_eq!(everything(&trader, &account).await, before, "nothing changed");

    // A minute without a quote, and the market is stale.
    stage.wait_until("2014-05-02T12:28:00Z").await;
    for (key, request) in [("stale", order(&[])), ("stale-close", json!({}))] {
        let to = if key == "stale" { &path } else { &close };
        let (status, problem) = trader.post(to, Some(key), &request).await;
        assert_eq!((status, problem["code"].as_str()), (409, Some("market_stale")));
    }
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_requests_are_refused_before_anything_is_read() {
    let mut stage = Stage::open(&[("plain", program(PLAIN))]).await;
    let trader = stage.trader("careless").await;
    let account = trader.buy("plain").await;
    stage.play_through("2014-05-02T12:26:00Z").await;
    let url = format!("{}/v1/accounts/{account}/orders", stage.base);
    let before = everything(&trader, &account).await;
    let order = r#"{"symbol":"EURUSD","side":"buy","kind":"market","quantity":"0.10"}"#;
    let ten_megabytes = format!("{order}{}", " ".repeat(10 << 20));
    let json = "application/json";
    for (body, kind, key, status, code) in [
        ("{\"symbol\":", json, Some("a"), 400, "malformed_json"),
        ("\u{0}\u{1}", json, Some("b"), 400, "malformed_json"),
        ("", json, Some("c"), 400, "malformed_json"),
        (&ten_megabytes, json, Some("d"), 413, "body_too_large"),
        (order, "text/plain", Some("e"), 415, "unsupported_media_type"),
        (order, "application/x-www-form-urlencoded", Some("f"), 415, "unsupported_media_type"),
        (order, json, None, 400, "idempotency_key_missing"),
        (order, json, Some(""), 400, "idempotency_key_missing"),
        (order, json, Some("has space"), 400, "idempotency_key_missing"),
    ] {
        let mut request = trader.http.post(&url).header("content-type", kind).body(body.to_owned());
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), status, "{code}");
        let problem: Value = response.json().await.unwrap();
        assert_eq!(problem["code"], code);
    }
    let deep = "[".repeat(60_000);
    let request =
        trader.http.post(&url).header("content-type", json).header("idempotency-key", "deep").body(deep);
    let answered = request.send().await.unwrap();
    assert!([400, 422].contains(&answered.status().as_u16()));
    // Another site's page makes a browser send it.
    let crossed = trader.http.post(&url).header("content-type", json).header("idempotency-key", "x");
    let crossed = crossed.header("sec-fetch-site", "cross-site").body(order).send().await.unwrap();
    assert_eq!(crossed.status(), 403);
    for (path, status) in [
        ("/v1/nothing", 404),
        ("/v1/accounts/not-an-id", 404),
        ("/v1/accounts/00000000-0000-0000-0000-000000000000", 404),
        ("/v1/programs/nothing", 404),
        ("/v1/market/candles?symbol=EURUSD&interval=7s", 422),
        ("/v1/market/candles?symbol=NOPE&interval=1m", 422),
        ("/v1/market/candles", 422),
        ("/assets/missing.js", 404),
    ] {
        assert_eq!(trader.get(path).await.0, status, "{path}");
    }
    assert_eq!(everything(&trader, &account).await, before, "nothing changed");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_foreign_account_does_not_exist() {
    let mut stage = Stage::open(&[("plain", program(PLAIN))]).await;
    let owner = stage.trader("owner").await;
    let account = owner.buy("plain").await;
    stage.play_through("2014-05-02T12:26:00Z").await;
    let order = json!({ "symbol": "EURUSD", "side": "buy", "kind": "market", "quantity": "0.10" });
    let limit =
        json!({ "symbol": "EURUSD", "side": "buy", "kind": "limit", "quantity": "0.10", "price": "1.30000" });
    let orders = format!("/v1/accounts/{account}/orders");
    assert_eq!(owner.post(&orders, Some("in"), &order).await.0, 201);
    let (_, working) = owner.post(&orders, Some("wait"), &limit).await;
    let purchases = owner.get("/v1/purchases").await.1;
    let purchase = purchases["items"][0]["id"].as_str().unwrap();
    let before = everything(&owner, &account).await;
    let other = stage.trader("other").await;
    let visitor = stage.visitor();
    let ticket = &working["ticket"];
    let base = format!("/v1/accounts/{account}");
    for (stranger, status) in [(&other, 404), (&visitor, 401)] {
        for path in ["", "/positions", "/orders", "/fills", "/verdicts", "/receipts/1", "/stream"] {
            assert_eq!(stranger.get(&format!("{base}{path}")).await.0, status, "{path}");
        }
        assert_eq!(stranger.get(&format!("/v1/purchases/{purchase}")).await.0, status);
        assert_eq!(stranger.post(&orders, Some("k1"), &order).await.0, status);
        let exits = json!({ "stop_loss": "1.2" });
        assert_eq!(stranger.patch(&format!("{orders}/{ticket}"), "k2", &exits).await.0, status);
        assert_eq!(stranger.delete(&format!("{orders}/{ticket}"), "k3").await.0, status);
        assert_eq!(stranger.patch(&format!("{base}/positions/2"), "k4", &exits).await.0, status);
        assert_eq!(
            stranger.post(&format!("{base}/positions/2/close"), Some("k5"), &json!({})).await.0,
            status
        );
        let pay =
            stranger.http.post(format!("{}/sandbox/pay/{purchase}/pay", stage.base)).send().await.unwrap();
        assert_eq!(pay.status(), status);
    }
    assert_eq!(visitor.get("/v1/me").await.0, 401);
    assert_eq!(visitor.get("/v1/challenges").await.0, 401);
    assert_eq!(everything(&owner, &account).await, before, "nothing changed");

    // Signed out is out: the old cookie opens nothing.
    assert_eq!(owner.post("/v1/auth/sign-out", None, &json!({})).await.0, 204);
    assert_eq!(owner.get(&base).await.0, 401);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retry_gets_the_first_answer_and_the_key_is_bound_to_its_request() {
    let mut stage = Stage::open(&[("plain", program(PLAIN))]).await;
    let trader = stage.trader("twice").await;
    let account = trader.buy("plain").await;
    stage.play_through("2014-05-02T12:26:00Z").await;
    let path = format!("/v1/accounts/{account}/orders");
    let order = json!({ "symbol": "EURUSD", "side": "buy", "kind": "market", "quantity": "0.10" });
    let sent: Vec<_> = (0..100)
        .map(|_| {
            let (trader, path, order) = (trader.clone(), path.clone(), order.clone());
            tokio::spawn(async move { trader.post(&path, Some("one"), &order).await })
        })
        .collect();
    let mut answers = Vec::new();
    for answer in sent {
        answers.push(answer.await.unwrap());
    }
    assert!(
        answers.iter().all(|answer| answer.0 == 201 && *answer == answers[0]),
        "one hundred times the first answer"
    );
    let (_, orders) = trader.get(&format!("{path}?state=all")).await;
    assert_eq!(orders["items"].as_array().unwrap().len(), 1, "one effect");
    let other = json!({ "symbol": "EURUSD", "side": "sell", "kind": "market", "quantity": "0.10" });
    let (status, problem) = trader.post(&path, Some("one"), &other).await;
    assert_eq!((status, problem["code"].as_str()), (422, Some("idempotency_key_reused")));

    let (_, offer) = trader.get("/v1/programs/plain").await;
    let body = json!({ "program": "plain", "version": offer["version"] });
    let first = trader.post("/v1/purchases", Some("again"), &body).await;
    assert_eq!(first.0, 201);
    assert_eq!(trader.post("/v1/purchases", Some("again"), &body).await, first);
    let outdated = json!({ "program": "plain", "version": "0".repeat(64) });
    assert_eq!(
        trader.post("/v1/purchases", Some("again"), &outdated).await.1["code"],
        "idempotency_key_reused"
    );
    assert_eq!(trader.post("/v1/purchases", Some("new"), &outdated).await.1["code"], "program_changed");
    // A declined payment is final, and the page of a settled purchase leads away.
    let page = format!("{}{}", stage.base, first.1["checkout_url"].as_str().unwrap());
    assert_eq!(trader.http.post(format!("{page}/decline")).send().await.unwrap().status(), 303);
    assert_eq!(trader.http.post(format!("{page}/pay")).send().await.unwrap().status(), 409);
    assert_eq!(trader.http.get(&page).send().await.unwrap().status(), 303);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_keys_and_amounts_of_money_are_refused_and_a_key_is_its_users_own() {
    let mut stage = Stage::open(&[("plain", program(PLAIN))]).await;
    let trader = stage.trader("twice").await;
    let account = trader.buy("plain").await;
    stage.play_through("2014-05-02T12:26:00Z").await;
    let finance = stage.staff("finance@example.com", app::Role::Finance).await;
    let other = stage.staff("other@example.com", app::Role::Finance).await;
    let risk = stage.staff("risk@example.com", app::Role::Risk).await;
    let purchase = trader.get("/v1/purchases").await.1["items"][0]["id"].as_str().unwrap().to_owned();
    let refunds = format!("/v1/purchases/{purchase}/refunds");
    let payouts = format!("/v1/accounts/{account}/payouts");
    let refund = |amount: &str, currency: &str| json!({ "amount": amount, "currency": currency, "reason": "They asked for it." });
    for (caller, path, body) in [
        (&finance, &refunds, refund("1", "USD")),
        (&trader, &payouts, json!({ "amount": "10" })),
        (&trader, &"/v1/purchases".to_owned(), json!({ "program": "plain", "version": "0".repeat(64) })),
    ] {
        let long = "k".repeat(65);
        for key in [None, Some(""), Some("has space"), Some("payout-1"), Some(long.as_str())] {
            let (status, problem) = caller.post(path, key, &body).await;
            let told = (status, problem["code"].as_str());
            assert_eq!(told, (400, Some("idempotency_key_missing")), "{path} under {key:?}");
        }
    }
    // Amounts that are none, or of another currency.
    for amount in ["-1", "0", "NaN", "inf", "1e2", "", "0.001", "99999999999999999999"] {
        let (status, problem) = finance.post(&refunds, Some("bad"), &refund(amount, "USD")).await;
        assert_eq!(status, 422, "{amount}: {problem}");
        assert_eq!(problem["errors"][0]["pointer"], "/amount", "{amount}");
        let (status, problem) = trader.post(&payouts, Some("bad"), &json!({ "amount": amount })).await;
        assert!(status == 422 || (status, amount) == (409, "0.001"), "{amount}: {problem}");
        let percent = json!({ "code": "bad", "off": { "kind": "percent", "percent": amount } });
        let off = json!({ "code": "bad", "off": { "kind": "amount", "amount": amount, "currency": "USD" } });
        let tenth = ["1e2", "0.001"].contains(&amount);
        for coupon in [percent, off].into_iter().skip(usize::from(tenth)) {
            let (status, problem) = risk.post("/v1/shelf/coupons", None, &coupon).await;
            assert_eq!(status, 422, "{coupon}: {problem}");
        }
        if amount != "0" {
            let settings = json!({
                "methods": ["manual"], "identity_needed": true, "reason": "A test",
                "one_reviewer": [{ "amount": amount, "currency": "USD" }],
            });
            let url = format!("{}/v1/payout-settings", finance.base);
            let answer = finance.http.put(url).json(&settings).send().await.unwrap();
            assert_eq!(answer.status(), 422, "{amount}");
        }
    }
    let (status, problem) = finance.post(&refunds, Some("bad"), &refund("1", "EUR")).await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!("/currency")), "{problem}");
    let (status, problem) = finance.post(&refunds, Some("bad"), &refund("1", "XXXX")).await;
    assert_eq!((status, &problem["errors"][0]["pointer"]), (422, &json!("/currency")), "{problem}");

    // The same key of two people names two things.
    let mut made = std::collections::BTreeSet::new();
    for caller in [&finance, &other, &finance, &other] {
        let (status, refund) = caller.post(&refunds, Some("same"), &refund("1", "USD")).await;
        assert_eq!(status, 201, "{refund}");
        made.insert(refund["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(made.len(), 2);
    let version = trader.get("/v1/programs/plain").await.1["version"].clone();
    let order = json!({ "program": "plain", "version": version });
    let second = stage.trader("second").await;
    let mut bought = std::collections::BTreeSet::new();
    for caller in [&trader, &second, &trader, &second] {
        let (status, purchase) = caller.post("/v1/purchases", Some("same"), &order).await;
        assert_eq!(status, 201, "{purchase}");
        bought.insert(purchase["id"].as_str().unwrap().to_owned());
    }
    assert_eq!(bought.len(), 2);

    // Whoever hangs up before the answer, at whatever moment, and asks again has bought once.
    let before = second.get("/v1/purchases").await.1["items"].as_array().unwrap().len();
    // The newest stands first.
    stage.clock.advance(kernel::Span::from_seconds(1));
    for millis in 0..20 {
        let asked = second.post("/v1/purchases", Some("hangs-up"), &order);
        drop(tokio::time::timeout(std::time::Duration::from_millis(millis), asked).await);
    }
    let (status, first) = second.post("/v1/purchases", Some("hangs-up"), &order).await;
    assert_eq!(status, 201, "{first}");
    let after = second.get("/v1/purchases").await.1;
    assert_eq!(after["items"].as_array().unwrap().len(), before.saturating_add(1));
    assert_eq!(after["items"][0]["id"], first["id"]);
    // A list is read in pages.
    assert_eq!(after["next_cursor"], Value::Null);
    let behind = format!("/v1/purchases?cursor={}", first["id"].as_str().unwrap());
    assert_eq!(second.get(&behind).await.1["items"].as_array().unwrap().len(), before);
    assert_eq!(second.get("/v1/purchases?cursor=nowhere").await.0, 422);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_a_basket_point_to_their_fields_and_what_costs_nothing_opens_an_account() {
    let stage = Stage::open(&[("plain", program(PLAIN))]).await;
    let risk = stage.staff("risk@example.com", app::Role::Risk).await;
    let put = async |path: &str, body: Value| {
        let url = format!("{}{path}", risk.base);
        let answer = risk.http.put(url).json(&body).send().await.unwrap();
        (answer.status().as_u16(), answer.json::<Value>().await.unwrap())
    };
    let addon = |percent: &str, included: u32| {
        json!({
            "name": "A second try", "on_sale": true, "price": { "kind": "percent", "percent": percent },
            "change": { "kind": "resets", "included": included },
        })
    };
    let pointer = |problem: &Value| problem["errors"][0]["pointer"].as_str().unwrap_or_default().to_owned();
    let place = "/v1/shelf/programs/plain/addons/again";
    for (body, at) in [(addon("120", 1), "/price"), (addon("x", 1), "/price"), (addon("20", 0), "/change")] {
        let (status, problem) = put(place, body).await;
        assert_eq!((status, pointer(&problem).as_str()), (422, at), "{problem}");
    }
    let (status, shelf) = put(place, addon("20", 1)).await;
    assert_eq!((status, &shelf["addons"][0]["fits"]), (200, &json!(true)), "{shelf}");
    assert_eq!(put("/v1/shelf/programs/other/addons/again", addon("20", 1)).await.0, 404);
    for (code, percent) in [("ten", "10"), ("all", "100")] {
        let coupon = json!({
            "code": code, "off": { "kind": "percent", "percent": percent }, "stackable": true, "most_per_person": 1,
        });
        let (status, added) = risk.post("/v1/shelf/coupons", None, &coupon).await;
        assert_eq!((status, added["code"].as_str()), (201, Some(code.to_uppercase().as_str())), "{added}");
        assert_eq!(risk.post("/v1/shelf/coupons", None, &coupon).await.1["code"], "conflict");
    }
    let bad = json!({ "code": "bad", "off": { "kind": "percent", "percent": "10" }, "programs": ["plain", "none"] });
    assert_eq!(pointer(&risk.post("/v1/shelf/coupons", None, &bad).await.1), "/programs/1");

    let trader = stage.trader("trader").await;
    let version = trader.get("/v1/programs/plain").await.1["version"].clone();
    let order = |more: Value| {
        let mut order = json!({ "program": "plain", "version": version });
        order.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        order
    };
    for (more, status, code, at) in [
        (json!({ "coupons": ["TEN", "none"] }), 422, "coupon_refused", "/coupons/1"),
        (json!({ "addons": ["nothing"] }), 422, "validation_failed", "/addons"),
        (json!({ "country": "Germany" }), 422, "validation_failed", "/country"),
        (json!({ "currency": "CHF" }), 422, "validation_failed", "/currency"),
        (json!({ "reset_of": "this one" }), 422, "validation_failed", "/reset_of"),
    ] {
        for (path, key) in [("/v1/purchases/quote", None), ("/v1/purchases", Some("faulty"))] {
            let (told, problem) = trader.post(path, key, &order(more.clone())).await;
            let told = (told, problem["code"].as_str().unwrap_or_default(), pointer(&problem));
            assert_eq!(told, (status, code, at.to_owned()), "{path} {more}: {problem}");
        }
    }

    // What was quoted is what is to be paid, line by line.
    let full = order(json!({ "addons": ["again"], "coupons": ["ten"] }));
    let (status, quote) = trader.post("/v1/purchases/quote", None, &full).await;
    assert_eq!(status, 200, "{quote}");
    let (status, bought) = trader.post("/v1/purchases", Some("full"), &full).await;
    assert_eq!((status, &bought["fee"]), (201, &quote["total"]), "{bought}");
    let path = format!("/v1/purchases/{}", bought["id"].as_str().unwrap());
    let detail = trader.get(&path).await.1;
    assert_eq!((&detail["lines"], &detail["discount"]), (&quote["lines"], &quote["discount"]));
    assert_eq!(detail["lines"][1]["name"], "A second try");
    // Another one finds the coupon used, until the first is given up.
    let again = order(json!({ "coupons": ["ten"] }));
    let (status, problem) = trader.post("/v1/purchases/quote", None, &again).await;
    assert_eq!((status, pointer(&problem).as_str()), (409, "/coupons/0"), "{problem}");
    for _ in 0..2 {
        let (status, cancelled) = trader.post(&format!("{path}/cancel"), None, &json!({})).await;
        assert_eq!((status, cancelled["state"].as_str()), (200, Some("cancelled")), "{cancelled}");
    }
    assert_eq!(trader.get(&path).await.1["history"][0]["what"], "cancelled");
    assert_eq!(trader.post("/v1/purchases/quote", None, &again).await.0, 200);

    let free = order(json!({ "coupons": ["all"] }));
    let (status, bought) = trader.post("/v1/purchases", Some("free"), &free).await;
    assert_eq!((status, bought["state"].as_str()), (201, Some("paid")), "{bought}");
    let mut accounts = 0;
    for _ in 0..1_000 {
        let challenges = trader.get("/v1/challenges").await.1;
        accounts = challenges["items"][0]["accounts"].as_array().map_or(0, Vec::len);
        if accounts > 0 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    assert_eq!(accounts, 1, "an account without a payment");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_firm_on_the_same_platform_sees_nothing() {
    let mut stage = Stage::open(&[("plain", program(PLAIN))]).await;
    let owner = stage.visitor();
    let person = json!({ "email": "ada@example.com", "password": testkit::PASSWORD, "display_name": "Ada" });
    let registered =
        owner.http.post(format!("{}/v1/auth/register", stage.base)).json(&person).send().await.unwrap();
    let cookie = registered.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
    let account = owner.buy("plain").await;
    stage.play_through("2014-05-02T12:26:00Z").await;
    let order = json!({ "symbol": "EURUSD", "side": "buy", "kind": "market", "quantity": "0.10" });
    let orders = format!("/v1/accounts/{account}/orders");
    assert_eq!(owner.post(&orders, Some("in"), &order).await.0, 201);
    let (_, purchases) = owner.get("/v1/purchases").await;
    let purchase = purchases["items"][0]["id"].as_str().unwrap();
    let before = everything(&owner, &account).await;

    // Our session says nothing at the neighbour's door, and the same address is free to register there.
    let smuggler = stage.neighbours_visitor(Some(&cookie));
    assert_eq!(smuggler.get("/v1/me").await.0, 401);
    let neighbour = stage.neighbours_visitor(None);
    assert_eq!(neighbour.post("/v1/auth/register", None, &person).await.0, 201);
    assert_eq!(neighbour.get("/v1/firm").await.1["name"], "Neighbour");
    assert_eq!(neighbour.get("/v1/programs").await.1["items"], json!([]));
    assert_eq!(neighbour.get("/v1/challenges").await.1["items"], json!([]));
    assert_eq!(neighbour.get("/v1/purchases").await.1["items"], json!([]));
    for path in ["/v1/programs/plain", "/v1/leaderboard?program=plain", "/v1/leaderboard"] {
        assert_eq!(neighbour.get(path).await.0, 404, "{path}");
    }
    let offer = owner.get("/v1/programs/plain").await.1;
    let buy = json!({ "program": "plain", "version": offer["version"] });
    for (stranger, status) in [(&smuggler, 401), (&neighbour, 404)] {
        for path in ["", "/positions", "/orders", "/fills", "/verdicts", "/receipts/1", "/stream"] {
            assert_eq!(stranger.get(&format!("/v1/accounts/{account}{path}")).await.0, status, "{path}");
        }
        assert_eq!(stranger.get(&format!("/v1/purchases/{purchase}")).await.0, status);
        assert_eq!(stranger.post("/v1/purchases", Some("mine"), &buy).await.0, status);
        assert_eq!(stranger.post(&orders, Some("theirs"), &order).await.0, status);
        let close = format!("/v1/accounts/{account}/positions/2/close");
        assert_eq!(stranger.post(&close, Some("close"), &json!({})).await.0, status);
        let pay = stranger
            .http
            .post(format!("{}/sandbox/pay/{purchase}/decline", stage.base))
            .send()
            .await
            .unwrap();
        assert_eq!(pay.status(), status);
    }
    assert_eq!(everything(&owner, &account).await, before, "nothing changed");
    stage.close().await;
}
