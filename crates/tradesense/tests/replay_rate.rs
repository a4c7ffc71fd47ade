//! A history of many accounts is replayed equal, and how fast. The size is small unless it is given:
//! `REPLAY_QUOTES=2000000 cargo test --release -p tradesense --test replay_rate -- --nocapture` prints the figures of the
//! documents.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a measurement that cannot go on stops")]

mod common;

use std::process::Command;
use std::sync::Arc;

use app::trading::{IncomingQuote, Origin};
use common::{PLAIN, Stage, program};
use engine::{Act, Key, OrderKind, Place};
use kernel::{AccountId, Clock as _, Price, Quantity, Rng as _, SeededRng, Side, Span, Symbol};

const ACCOUNTS: usize = 200;
/// Quotes of an ordinary test run.
const QUOTES: usize = 20_000;
/// Quotes between two orders.
const BETWEEN: usize = 100;

#[expect(clippy::disallowed_methods, reason = "how much is measured is said from outside")]
#[tokio::test(flavor = "multi_thread")]
async fn a_history_of_many_accounts_is_replayed_equal() {
    let quotes = std::env::var("REPLAY_QUOTES").map_or(QUOTES, |text| text.parse().unwrap());
    let mut stage = Stage::open(&[("plain", program(PLAIN))]).await;
    let accounts = opened(&stage).await;
    let rng = SeededRng::new(7);
    let below = |most: u64| {
        let mut bytes = [0; 8];
        rng.fill(&mut bytes);
        u64::from_le_bytes(bytes) % most
    };
    let symbols = [("EURUSD", 138_600_i64, 12), ("USDJPY", 102_300, 12)];
    let mut levels = symbols.map(|(_, level, _)| level);
    let sources: Vec<Arc<str>> = symbols
        .iter()
        .map(|(name, ..)| {
            let symbol = Symbol::parse(name).unwrap();
            Arc::from(stage.instruments.by_symbol(&symbol).unwrap().source.as_str())
        })
        .collect();
    let mut batch = Vec::new();
    let mut commands = 0_u64;
    for number in 0..quotes {
        let which = usize::from(below(4) == 0);
        let (name, start, spread) = *symbols.get(which).unwrap();
        let level = levels.get_mut(which).unwrap();
        *level = (*level + i64::try_from(below(7)).unwrap() - 3).clamp(start - 2_000, start + 2_000);
        let at = stage.clock.now().after(Span::from_millis(i32::try_from(batch.len() + 1).unwrap() * 50));
        batch.push(IncomingQuote {
            source: Arc::clone(sources.get(which).unwrap()),
            symbol: Symbol::parse(name).unwrap(),
            bid: Price(*level),
            ask: Price(*level + spread),
            source_time: at.unwrap(),
        });
        if batch.len() == BETWEEN {
            stage.hand_over(&mut batch).await;
            commands += 1;
            let account = *accounts.get(usize::try_from(below(200)).unwrap()).unwrap();
            let place = Place {
                symbol: Symbol::parse(name).unwrap(),
                side: if below(2) == 0 { Side::Buy } else { Side::Sell },
                kind: OrderKind::Market,
                quantity: Quantity(i64::try_from(below(5)).unwrap() + 1),
                // Positions come and go by themselves.
                stop_loss: None,
                take_profit: None,
            };
            let (close_to, level) = (20 + i64::try_from(below(80)).unwrap(), *level);
            let place = match place.side {
                Side::Buy => Place {
                    stop_loss: Some(Price(level - close_to)),
                    take_profit: Some(Price(level + close_to)),
                    ..place
                },
                Side::Sell => Place {
                    stop_loss: Some(Price(level + close_to)),
                    take_profit: Some(Price(level - close_to)),
                    ..place
                },
            };
            let key = Key::parse(&format!("order-{number}")).unwrap();
            let command = engine::Command { account, key, act: Act::Place(place) };
            let _taken_or_refused = stage.platform.desk.submit(command, Origin::PLATFORM).await.unwrap();
        }
    }
    stage.settle().await;
    println!("{ACCOUNTS} accounts, {quotes} quotes, {commands} orders");
    let url = stage.database.login_url().await;
    let other = stage.directory.path().join("other.toml");
    std::fs::write(&other, PLAIN.replace("\"10\" }, breach", "\"5\" }, breach")).unwrap();
    let quotes = stage.directory.path().join("quotes");
    let account = accounts.first().unwrap().to_string();
    let of_shard = ["--shard", "0"];
    let of_account = ["--account", account.as_str()];
    let judged = ["--shard", "0", "--program", other.to_str().unwrap()];
    for arguments in [&of_shard[..], &of_account[..], &judged[..]] {
        let output = Command::new(env!("CARGO_BIN_EXE_tradesense"))
            .args(["replay", "--json", "--database-url", &url, "--quotes"])
            .arg(&quotes)
            .args(arguments)
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        println!(
            "tradesense replay {}: {} commands, {} quotes, {} ms, fills {}",
            arguments.join(" "),
            report["commands"],
            report["quotes"],
            report["took_ms"],
            report["counts"]["fills"],
        );
    }
    stage.close().await;
}

async fn opened(stage: &Stage) -> Vec<AccountId> {
    let trader = stage.trader("many").await;
    let (_, program) = trader.get("/v1/programs/plain").await;
    let mut accounts = Vec::new();
    for number in 0..ACCOUNTS {
        let body = serde_json::json!({ "program": "plain", "version": program["version"] });
        let (status, purchase) = trader.post("/v1/purchases", Some(&format!("buy-{number}")), &body).await;
        assert_eq!(status, 201, "{purchase}");
        let page = format!("{}{}/pay", stage.base, purchase["checkout_url"].as_str().unwrap());
        assert_eq!(trader.http.post(page).send().await.unwrap().status(), 303);
        let path = format!("/v1/purchases/{}", purchase["id"].as_str().unwrap());
        let challenge = trader.get(&path).await.1["challenge_id"].clone();
        let account = trader.accounts_of(&challenge, 1).await;
        let id = account.first().and_then(|account| account["id"].as_str()).unwrap();
        accounts.push(id.parse().unwrap());
    }
    accounts
}
