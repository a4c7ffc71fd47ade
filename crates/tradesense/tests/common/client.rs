//! A client that keeps a journal of its own of what was acknowledged, for tests that kill what it talks to.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

pub fn client() -> reqwest::Client {
    testkit::with_cryptography();
    let builder = reqwest::Client::builder().cookie_store(true).redirect(reqwest::redirect::Policy::none());
    builder.timeout(Duration::from_secs(20)).build().unwrap()
}

pub async fn get(http: &reqwest::Client, url: String) -> Value {
    http.get(url).send().await.unwrap().json().await.unwrap()
}

/// The program of those who lose everything within moments: 0.02 % of 100,000.
const BRIEF: &str = r#"
name = "Brief"
currency = "USD"
initial_balance = "100000"
reset = { zone = "Europe/Prague", time = "00:00" }
terms = { instruments = ["EURUSD"], leverage = 100, commission_per_lot = "0", stop_out = "50" }
[[phases]]
name = "Evaluation"
rules = [{ kind = "max_loss", trail = "intraday_equity", limit = { percent_of_initial = "0.02" }, breach = "at_or_below" }]
"#;

/// Puts [`BRIEF`] on sale.
pub async fn publish(http: &reqwest::Client, base: &str, data: &Path) {
    sign_in(http, base, data, "operator").await;
    let body = json!({ "toml": BRIEF, "fee": "10", "fee_currency": "USD", "place": 9 });
    let answered = http.put(format!("{base}/v1/programs/brief")).json(&body).send().await.unwrap();
    assert_eq!(answered.status(), 200, "{}", answered.text().await.unwrap());
}

/// Buys a program under a key, as often as that is said the same; the account's id. Nothing if the platform ends meanwhile.
pub async fn buy(http: &reqwest::Client, base: &str, program: &str, key: &str) -> Option<String> {
    let offer: Value =
        http.get(format!("{base}/v1/programs/{program}")).send().await.ok()?.json().await.ok()?;
    let body = json!({ "program": program, "version": offer["version"] });
    let request = http.post(format!("{base}/v1/purchases")).header("Idempotency-Key", key).json(&body);
    let purchase: Value = request.send().await.ok()?.json().await.ok()?;
    let page = format!("{base}{}/pay", purchase["checkout_url"].as_str()?);
    http.post(page).send().await.ok()?;
    for _ in 0..2_000 {
        let bought: Value = http
            .get(format!("{base}/v1/purchases/{}", purchase["id"].as_str()?))
            .send()
            .await
            .ok()?
            .json()
            .await
            .ok()?;
        let challenges: Value =
            http.get(format!("{base}/v1/challenges")).send().await.ok()?.json().await.ok()?;
        let of_this = |challenge: &&Value| challenge["id"] == bought["challenge_id"];
        let challenge = challenges["items"].as_array()?.iter().find(of_this);
        if let Some(id) = challenge.and_then(|challenge| challenge["accounts"][0]["id"].as_str()) {
            return Some(id.to_owned());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the account was never opened");
}

/// Stakes all that an account has, at some moment. Whether it was taken is seen later.
pub async fn gamble(http: reqwest::Client, base: String, account: String, wait: Duration) {
    tokio::time::sleep(wait).await;
    let order = json!({ "symbol": "EURUSD", "side": "buy", "kind": "market", "quantity": "5" });
    let request = http.post(format!("{base}/v1/accounts/{account}/orders")).header("Idempotency-Key", "all");
    drop(request.json(&order).send().await);
}

pub async fn sign_in(http: &reqwest::Client, base: &str, data: &Path, title: &str) {
    let logins: Value = serde_json::from_slice(&std::fs::read(data.join("logins.json")).unwrap()).unwrap();
    let login = logins.as_array().unwrap().iter().find(|login| login["title"] == title).unwrap();
    let body = json!({ "email": login["email"], "password": login["password"] });
    let answered = http.post(format!("{base}/v1/auth/sign-in")).json(&body).send().await.unwrap();
    assert_eq!(answered.status(), 200);
}

/// Sends an order; `None` if nobody knows what became of it.
pub async fn place(http: &reqwest::Client, base: &str, account: &str, key: &str) -> Option<(u16, Value)> {
    // Far below any price: it waits, so that every order is seen for ever and no limit is touched.
    let order =
        json!({ "symbol": "EURUSD", "side": "buy", "kind": "limit", "quantity": "0.01", "price": "0.50000" });
    let request =
        http.post(format!("{base}/v1/accounts/{account}/orders")).header("Idempotency-Key", key).json(&order);
    let response = request.send().await.ok()?;
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.json().await.ok()?;
    if status == 503 {
        // Whoever is told to come again is told when, and why in the form of every problem.
        assert!(headers.contains_key("retry-after"), "{body}");
        assert_eq!(headers["content-type"], "application/problem+json");
        return None;
    }
    Some((status, body))
}

pub async fn cancel(http: &reqwest::Client, base: &str, account: &str, ticket: u64) -> Option<u16> {
    let url = format!("{base}/v1/accounts/{account}/orders/{ticket}");
    let answered =
        http.delete(url).header("Idempotency-Key", format!("cancel-{ticket}")).send().await.ok()?;
    Some(answered.status().as_u16()).filter(|status| *status != 503)
}

pub async fn all_tickets(http: &reqwest::Client, base: &str, account: &str) -> Vec<u64> {
    let mut tickets = Vec::new();
    let mut cursor = String::new();
    loop {
        let page = get(http, format!("{base}/v1/accounts/{account}/orders?state=all{cursor}")).await;
        tickets
            .extend(page["items"].as_array().unwrap().iter().map(|order| order["ticket"].as_u64().unwrap()));
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return tickets,
        }
    }
}

/// How many of these accounts have ended, each by one verdict; the others still trade.
pub async fn verdicts(http: &reqwest::Client, base: &str, accounts: &BTreeSet<String>) -> usize {
    let mut breached = 0_usize;
    for account in accounts {
        let view = get(http, format!("{base}/v1/accounts/{account}")).await;
        let verdicts = get(http, format!("{base}/v1/accounts/{account}/verdicts")).await;
        let ended = verdicts["items"].as_array().unwrap().iter().filter(|it| it["kind"] == "breach").count();
        let expected = usize::from(view["status"] == "breached");
        assert_eq!(ended, expected, "{account}: {view} {verdicts}");
        breached = breached.saturating_add(ended);
    }
    assert!(breached > 0, "none of {} accounts ended", accounts.len());
    breached
}

pub async fn wait_for_market(http: &reqwest::Client, base: &str) {
    for _ in 0..3_000 {
        let fresh = |quote: &Value| quote["symbol"] == "EURUSD" && quote["stale"] == false;
        // Nobody answers while somebody is down.
        if let Ok(answered) = http.get(format!("{base}/v1/market/quotes")).send().await
            && let Ok(quotes) = answered.json::<Value>().await
            && quotes["items"].as_array().is_some_and(|quotes| quotes.iter().any(fresh))
        {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("EURUSD never had a fresh quote");
}
