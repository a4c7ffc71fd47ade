//! `kill -9` of the running platform at random moments under load, with a second process that stands by and takes over: no
//! acknowledged order is lost, none is doubled, no verdict is missing or told twice, and the journal and the quotes still
//! replay to what is stored, so that a verdict found late names the tick that caused it.
//!
//! `TAKEOVER_ROUNDS=200 cargo test --release -p tradesense --test takeover -- --nocapture` prints how long it took.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on stops")]

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Lines};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use kernel::SeededRng;
use serde_json::{Value, json};
use testkit::TestDatabase;

/// Rounds of an ordinary test run.
const ROUNDS: usize = 40;
/// Orders in flight at a time.
const HANDS: usize = 4;
/// Accounts that stake everything in each round.
const GAMBLERS: usize = 3;

/// The platform as its own process.
struct Process {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Process {
    /// A process that runs, or stands by where another one does.
    fn start(database: &TestDatabase, data: &Path) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_tradesense"))
            .args([
                "up",
                "--no-bots",
                "--standby",
                "--speed",
                "5",
                "--port",
                "0",
                "--ops-port",
                "0",
                "--data-dir",
            ])
            .arg(data)
            .env("DATABASE_URL", database.url())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, lines }
    }

    fn line(&mut self, with: &str) -> String {
        self.lines.by_ref().map_while(Result::ok).find(|line| line.contains(with)).unwrap()
    }

    /// Where it serves, once it does.
    fn base(&mut self) -> String {
        self.line(" at ").split_once(" at ").unwrap().1.to_owned()
    }

    /// A process that stands by.
    fn standby(database: &TestDatabase, data: &Path) -> Self {
        let mut process = Self::start(database, data);
        process.line("Standing by");
        process
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
async fn publish(http: &reqwest::Client, base: &str, data: &Path) {
    sign_in(http, base, data, "operator").await;
    let body = json!({ "toml": BRIEF, "fee": "10", "fee_currency": "USD", "place": 9 });
    let answered = http.put(format!("{base}/v1/programs/brief")).json(&body).send().await.unwrap();
    assert_eq!(answered.status(), 200, "{}", answered.text().await.unwrap());
}

/// Buys a program under a key, as often as that is said the same; the account's id. Nothing if the platform ends meanwhile.
async fn buy(http: &reqwest::Client, base: &str, program: &str, key: &str) -> Option<String> {
    let offer: Value =
        http.get(format!("{base}/v1/programs/{program}")).send().await.ok()?.json().await.ok()?;
    let body = json!({ "program": program, "version": offer["version"] });
    let request = http.post(format!("{base}/v1/purchases")).header("Idempotency-Key", key).json(&body);
    let purchase: Value = request.send().await.ok()?.json().await.ok()?;
    let page = format!("{base}{}/pay", purchase["checkout_url"].as_str().unwrap());
    http.post(page).send().await.ok()?;
    for _ in 0..2_000 {
        let bought: Value = http
            .get(format!("{base}/v1/purchases/{}", purchase["id"].as_str().unwrap()))
            .send()
            .await
            .ok()?
            .json()
            .await
            .ok()?;
        let challenges: Value =
            http.get(format!("{base}/v1/challenges")).send().await.ok()?.json().await.ok()?;
        let of_this = |challenge: &&Value| challenge["id"] == bought["challenge_id"];
        let challenge = challenges["items"].as_array().unwrap().iter().find(of_this);
        if let Some(id) = challenge.and_then(|challenge| challenge["accounts"][0]["id"].as_str()) {
            return Some(id.to_owned());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("the account was never opened");
}

/// Stakes all that an account has, at some moment. Whether it was taken is seen later.
async fn gamble(http: reqwest::Client, base: String, account: String, wait: Duration) {
    tokio::time::sleep(wait).await;
    let order = json!({ "symbol": "EURUSD", "side": "buy", "kind": "market", "quantity": "5" });
    let request = http.post(format!("{base}/v1/accounts/{account}/orders")).header("Idempotency-Key", "all");
    drop(request.json(&order).send().await);
}

async fn sign_in(http: &reqwest::Client, base: &str, data: &Path, title: &str) {
    let logins: Value = serde_json::from_slice(&std::fs::read(data.join("logins.json")).unwrap()).unwrap();
    let login = logins.as_array().unwrap().iter().find(|login| login["title"] == title).unwrap();
    let body = json!({ "email": login["email"], "password": login["password"] });
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

#[expect(clippy::disallowed_methods, reason = "how many rounds, and how long they took")]
#[tokio::test(flavor = "multi_thread")]
async fn a_second_process_takes_over_and_nothing_acknowledged_is_lost_or_doubled() {
    let rounds = std::env::var("TAKEOVER_ROUNDS").map_or(ROUNDS, |text| text.parse().unwrap());
    let database = TestDatabase::new().await;
    let data = tempfile::tempdir().unwrap();
    let chance = SeededRng::new(7);
    let mut process = Process::start(&database, data.path());
    let mut base = process.base();
    publish(&client(), &base, data.path()).await;
    let http = client();
    sign_in(&http, &base, data.path(), "trader").await;
    let account = buy(&http, &base, "two-step-100k", "buy").await.unwrap();
    wait_for_market(&http, &base).await;
    let mut gambled = BTreeSet::new();
    let mut took_over = Vec::new();

    let mut tickets: BTreeMap<String, u64> = BTreeMap::new();
    let mut settled_by_retry = 0;
    for round in 0..rounds {
        let mut gamblers = Vec::new();
        for number in 0..GAMBLERS {
            let account = buy(&http, &base, "brief", &format!("r{round}g{number}")).await.unwrap();
            let wait = Duration::from_millis(u64::try_from(chance.between(0, 300)).unwrap());
            gamblers.push(tokio::spawn(gamble(http.clone(), base.clone(), account.clone(), wait)));
            gambled.insert(account);
        }
        let hands: Vec<_> = (0..HANDS)
            .map(|number| {
                let name = format!("r{round}h{number}");
                tokio::spawn(hand(http.clone(), base.clone(), account.clone(), name))
            })
            .collect();
        let next = Process::standby(&database, data.path());
        // The moment of the kill is chance; nothing waits for it.
        tokio::time::sleep(Duration::from_millis(u64::try_from(chance.between(20, 300)).unwrap())).await;
        let killed = Instant::now();
        process.kill();
        process = next;
        base = process.base();
        took_over.push(killed.elapsed());
        let mut unknown = Vec::new();
        for hand in hands {
            let (acknowledged, last) = hand.await.unwrap();
            for (key, ticket) in acknowledged {
                assert_eq!(tickets.insert(key, ticket), None);
            }
            unknown.extend(last);
        }
        for gambler in gamblers {
            gambler.await.unwrap();
        }
        wait_for_market(&http, &base).await;
        for key in unknown {
            let (status, order) = place(&http, &base, &account, &key).await.unwrap();
            assert_eq!(status, 201, "{key}: {order}");
            tickets.insert(key, order["ticket"].as_u64().unwrap());
            settled_by_retry += 1;
        }
        // A retry of what was acknowledged is given the first answer, whatever died in between.
        let (key, ticket) = tickets.iter().next_back().unwrap();
        let (status, order) = place(&http, &base, &account, key).await.unwrap();
        assert_eq!((status, order["ticket"].as_u64()), (201, Some(*ticket)), "{key}");
        // Orders whose cancelling nobody answered are taken back, so that the account never fills up.
        let working = get(&http, format!("{base}/v1/accounts/{account}/orders?state=working")).await;
        for order in working["items"].as_array().unwrap() {
            cancel(&http, &base, &account, order["ticket"].as_u64().unwrap()).await.unwrap();
        }
    }

    let stored = all_tickets(&http, &base, &account).await;
    let distinct: BTreeSet<u64> = stored.iter().copied().collect();
    let acknowledged: BTreeSet<u64> = tickets.values().copied().collect();
    assert_eq!(stored.len(), distinct.len());
    assert_eq!(acknowledged.len(), tickets.len(), "no two keys share an order");
    assert_eq!(distinct, acknowledged, "what is stored is what was acknowledged, no more and no less");
    assert!(tickets.len() > rounds, "the load was real: {} orders", tickets.len());
    let breached = verdicts(&http, &base, &gambled).await;
    process.kill();

    took_over.sort_unstable();
    let millis = |part: usize| took_over.get((took_over.len() - 1) * part / 100).unwrap().as_millis();
    println!(
        "{rounds} kills, {} orders, {settled_by_retry} settled by a retry, {breached} of {} brief accounts breached; from \
         kill to serving again p50 {} ms, max {} ms",
        tickets.len(),
        gambled.len(),
        millis(50),
        millis(100),
    );
    common::replays_to_the_stored_state(&database, data.path()).await;
}

/// How many of these accounts have ended, each by one verdict; the others still trade.
async fn verdicts(http: &reqwest::Client, base: &str, accounts: &BTreeSet<String>) -> usize {
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
