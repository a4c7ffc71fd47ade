//! The database cuts every connection, again and again, in the middle of commits: whoever was not answered retries with
//! the same key, and every order is there once.

#![expect(clippy::indexing_slicing, reason = "a test that cannot go on stops")]

mod common;

use std::time::Duration;

use common::{PLAIN, Stage, Trader, program};
use serde_json::{Value, json};

/// Connections that must have been cut for the test to mean something.
const LEAST_CUT: i64 = 5;
const ORDERS: usize = 150;

/// Retries one order until somebody answers. Gives its ticket.
async fn insist(trader: &Trader, path: &str, key: &str) -> Value {
    let order =
        json!({ "symbol": "EURUSD", "side": "buy", "kind": "limit", "quantity": "0.01", "price": "0.50000" });
    for _ in 0..2_000 {
        let (status, answer) = trader.post(path, Some(key), &order).await;
        match status {
            201 => return answer["ticket"].clone(),
            // Reading the session or the account failed, or the shard is being loaded again.
            500 | 503 => tokio::time::sleep(Duration::from_millis(10)).await,
            _ => panic!("{status} {answer}"),
        }
    }
    panic!("{key} was never answered");
}

#[tokio::test(flavor = "multi_thread")]
async fn cut_connections_lose_nothing() {
    let mut stage = Stage::open(&[("plain", program(PLAIN))]).await;
    let trader = stage.trader("patient").await;
    let account = trader.buy("plain").await;
    stage.play_through("2014-05-02T12:26:00Z").await;
    let path = format!("/v1/accounts/{account}/orders");
    let sender = {
        let (trader, path) = (trader.clone(), path.clone());
        tokio::spawn(async move {
            let mut tickets = Vec::new();
            for number in 0..ORDERS {
                tickets.push(insist(&trader, &path, &format!("order-{number}")).await);
            }
            tickets
        })
    };
    let mut cut = 0;
    while !sender.is_finished() {
        cut += stage.database.cut_connections().await;
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    let tickets = sender.await.unwrap();
    assert!(cut >= LEAST_CUT, "only {cut} connections were cut");
    let (_, page) = trader.get(&format!("{path}?state=all")).await;
    let (_, rest) =
        trader.get(&format!("{path}?state=all&cursor={}", page["next_cursor"].as_str().unwrap())).await;
    let stored =
        [page["items"].as_array().unwrap().clone(), rest["items"].as_array().unwrap().clone()].concat();
    let mut stored: Vec<_> = stored.iter().map(|order| order["ticket"].clone()).collect();
    stored.reverse();
    assert_eq!(stored, tickets, "each once, in the order in which they were answered");
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_goes_on_and_a_lost_quote_log_does_not_stop_the_market() {
    let mut stage = Stage::open(&[("plain", program(PLAIN))]).await;
    let mut trader = stage.trader("loyal").await;
    let account = trader.buy("plain").await;
    stage.play_through("2014-05-02T12:26:00Z").await;
    let path = format!("/v1/accounts/{account}/orders");
    let order = json!({ "symbol": "EURUSD", "side": "buy", "kind": "market", "quantity": "1" });
    assert_eq!(trader.post(&path, Some("in"), &order).await.0, 201);
    let mut equity = Vec::new();
    for (until, forget_quotes) in [("2014-05-02T12:27:00Z", false), ("2014-05-02T12:28:00Z", true)] {
        let before = trader.get(&format!("/v1/accounts/{account}")).await.1;
        stage = stage.reopen(forget_quotes).await;
        trader.base.clone_from(&stage.base);
        let mut after = trader.get(&format!("/v1/accounts/{account}")).await.1;
        after["as_of"] = before["as_of"].clone();
        assert_eq!(after, before, "the account is as it was");
        let again = trader.post(&path, Some("in"), &order).await;
        assert_eq!((again.0, again.1["ticket"].as_u64()), (201, Some(1)), "a retry is still a retry");
        stage.play_through(until).await;
        equity.push(trader.get(&format!("/v1/accounts/{account}")).await.1["equity"].clone());
    }
    assert_ne!(equity[0], equity[1], "quotes still move the account");
    stage.close().await;
}
