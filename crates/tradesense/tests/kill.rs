//! `kill -9` of the running platform at random moments under load: no acknowledged order is lost, none is doubled, and
//! the journal still replays to what is stored.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on stops")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use kernel::SeededRng;
use serde_json::{Value, json};
use testkit::TestDatabase;

const ROUNDS: usize = 50;
/// Orders in flight at a time.
const HANDS: usize = 4;

/// The platform as its own process.
struct Process {
    child: Child,
    base: String,
}

impl Process {
    fn start(database: &TestDatabase, data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tradesense"))
            .args(["up", "--no-bots", "--port", "0", "--data-dir"])
            .arg(data)
            .env("DATABASE_URL", database.url())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address =
            lines.map_while(Result::ok).find_map(|line| line.split_once(" at ").map(|(_, at)| at.to_owned()));
        let base = address.unwrap_or_else(|| panic!("the platform did not start"));
        Self { child, base }
    }

    fn kill(self) {
        drop(self);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn client() -> reqwest::Client {
    let builder = reqwest::Client::builder().cookie_store(true).redirect(reqwest::redirect::Policy::none());
    builder.timeout(Duration::from_secs(20)).build().unwrap()
}

async fn get(http: &reqwest::Client, url: String) -> Value {
    http.get(url).send().await.unwrap().json().await.unwrap()
}

/// The account's id, bought by the demonstration's trader.
async fn buy(http: &reqwest::Client, base: &str) -> String {
    let program = get(http, format!("{base}/v1/programs/two-step-100k")).await;
    let body = json!({ "program": "two-step-100k", "version": program["version"] });
    let request = http.post(format!("{base}/v1/purchases")).header("Idempotency-Key", "buy").json(&body);
    let purchase: Value = request.send().await.unwrap().json().await.unwrap();
    let page = format!("{base}{}/pay", purchase["checkout_url"].as_str().unwrap());
    assert_eq!(http.post(page).send().await.unwrap().status(), 303);
    for _ in 0..1_000 {
        let challenges = get(http, format!("{base}/v1/challenges")).await;
        if let Some(id) = challenges["items"][0]["accounts"][0]["id"].as_str() {
            return id.to_owned();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the account was never opened");
}

async fn sign_in(http: &reqwest::Client, base: &str, data: &Path) {
    let logins: Value = serde_json::from_slice(&std::fs::read(data.join("logins.json")).unwrap()).unwrap();
    let body = json!({ "email": logins[0]["email"], "password": logins[0]["password"] });
    let answered = http.post(format!("{base}/v1/auth/sign-in")).json(&body).send().await.unwrap();
    assert_eq!(answered.status(), 200);
}

/// Sends an order; `None` if nobody knows what became of it.
async fn place(http: &reqwest::Client, base: &str, account: &str, key: &str) -> Option<(u16, Value)> {
    // Far below any price: it waits, so that every order is seen for ever and no limit is touched.
    let order =
        json!({ "symbol": "EURUSD", "side": "buy", "kind": "limit", "quantity": "0.01", "price": "0.50000" });
    let request =
        http.post(format!("{base}/v1/accounts/{account}/orders")).header("Idempotency-Key", key).json(&order);
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    let body = response.json().await.ok()?;
    (status != 503).then_some((status, body))
}

async fn cancel(http: &reqwest::Client, base: &str, account: &str, ticket: u64) -> Option<u16> {
    let url = format!("{base}/v1/accounts/{account}/orders/{ticket}");
    let answered =
        http.delete(url).header("Idempotency-Key", format!("cancel-{ticket}")).send().await.ok()?;
    Some(answered.status().as_u16()).filter(|status| *status != 503)
}

/// Places orders and takes them back until the platform dies. Gives what was acknowledged and what is unknown.
async fn hand(
    http: reqwest::Client,
    base: String,
    account: String,
    name: String,
) -> (BTreeMap<String, u64>, Option<String>) {
    let mut acknowledged = BTreeMap::new();
    for number in 0.. {
        let key = format!("{name}-{number}");
        match place(&http, &base, &account, &key).await {
            Some((201, order)) => {
                let ticket = order["ticket"].as_u64().unwrap();
                acknowledged.insert(key, ticket);
                if cancel(&http, &base, &account, ticket).await.is_none() {
                    return (acknowledged, None);
                }
            }
            Some((status, problem)) => panic!("{key}: {status} {problem}"),
            None => return (acknowledged, Some(key)),
        }
    }
    (acknowledged, None)
}

async fn all_tickets(http: &reqwest::Client, base: &str, account: &str) -> Vec<u64> {
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

#[tokio::test(flavor = "multi_thread")]
async fn fifty_kills_lose_no_acknowledged_order_and_double_none() {
    let database = TestDatabase::new().await;
    let data = tempfile::tempdir().unwrap();
    let chance = SeededRng::new(7);
    let mut process = Process::start(&database, data.path());
    let http = client();
    sign_in(&http, &process.base, data.path()).await;
    let account = buy(&http, &process.base).await;
    wait_for_market(&http, &process.base).await;

    let mut tickets: BTreeMap<String, u64> = BTreeMap::new();
    let mut settled_by_retry = 0;
    for round in 0..ROUNDS {
        let hands: Vec<_> = (0..HANDS)
            .map(|number| {
                let name = format!("r{round}h{number}");
                tokio::spawn(hand(http.clone(), process.base.clone(), account.clone(), name))
            })
            .collect();
        // The moment of the kill is chance; nothing waits for it.
        tokio::time::sleep(Duration::from_millis(u64::try_from(chance.between(20, 300)).unwrap())).await;
        process.kill();
        let mut unknown = Vec::new();
        for hand in hands {
            let (acknowledged, last) = hand.await.unwrap();
            for (key, ticket) in acknowledged {
                assert_eq!(tickets.insert(key, ticket), None);
            }
            unknown.extend(last);
        }
        process = Process::start(&database, data.path());
        wait_for_market(&http, &process.base).await;
        for key in unknown {
            let (status, order) = place(&http, &process.base, &account, &key).await.unwrap();
            assert_eq!(status, 201, "{key}: {order}");
            tickets.insert(key, order["ticket"].as_u64().unwrap());
            settled_by_retry += 1;
        }
        // A retry of what was acknowledged is given the first answer, whatever died in between.
        let (key, ticket) = tickets.iter().next_back().unwrap();
        let (status, order) = place(&http, &process.base, &account, key).await.unwrap();
        assert_eq!((status, order["ticket"].as_u64()), (201, Some(*ticket)), "{key}");
        // Orders whose cancelling nobody answered are taken back, so that the account never fills up.
        let working =
            get(&http, format!("{}/v1/accounts/{account}/orders?state=working", process.base)).await;
        for order in working["items"].as_array().unwrap() {
            cancel(&http, &process.base, &account, order["ticket"].as_u64().unwrap()).await.unwrap();
        }
    }

    let stored = all_tickets(&http, &process.base, &account).await;
    let distinct: BTreeSet<u64> = stored.iter().copied().collect();
    let acknowledged: BTreeSet<u64> = tickets.values().copied().collect();
    assert_eq!(stored.len(), distinct.len());
    assert_eq!(acknowledged.len(), tickets.len(), "no two keys share an order");
    assert_eq!(distinct, acknowledged, "what is stored is what was acknowledged, no more and no less");
    assert!(tickets.len() > ROUNDS, "the load was real: {} orders", tickets.len());
    println!("{ROUNDS} kills, {} orders, {settled_by_retry} settled by a retry", tickets.len());
    process.kill();

    common::replays_to_the_stored_state(&database, data.path()).await;
}

async fn wait_for_market(http: &reqwest::Client, base: &str) {
    for _ in 0..1_000 {
        let quotes = get(http, format!("{base}/v1/market/quotes")).await;
        let fresh = |quote: &Value| quote["symbol"] == "EURUSD" && quote["stale"] == false;
        if quotes["items"].as_array().unwrap().iter().any(fresh) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("EURUSD never had a fresh quote");
}
