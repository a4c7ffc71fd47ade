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

use common::client::{
    all_tickets, buy, cancel, client, gamble, get, place, publish, sign_in, verdicts, wait_for_market,
};
use kernel::SeededRng;
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
                "--analytics-port",
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
