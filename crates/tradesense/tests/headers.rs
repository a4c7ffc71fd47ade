//! What requests and answers carry beside what they say.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use crate::common::{PLAIN, Stage, program};
use serde_json::json;
use sqlx::Row as _;

/// A request with a header, and the answer's.
async fn headers(request: reqwest::RequestBuilder) -> (u16, reqwest::header::HeaderMap) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.headers().clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_names_the_request_that_caused_it() {
    let mut stage = Stage::open(&[("plain", program(PLAIN))]).await;
    let trader = stage.trader("ada").await;
    stage.play_through("2014-05-02T12:26:00Z").await;
    let account = trader.buy("plain").await;
    let orders = format!("{}/v1/accounts/{account}/orders", trader.base);
    let place = |side: &str| {
        let order = json!({ "symbol": "EURUSD", "side": side, "kind": "market", "quantity": "0.10" });
        trader.http.post(&orders).header("Idempotency-Key", format!("one-{side}")).json(&order)
    };
    let (status, headers) = headers(place("buy")).await;
    assert_eq!(status, 201);
    let request = headers["x-request-id"].to_str().unwrap().replace('-', "");
    let mut database = stage.database.superuser().await;
    let rows = sqlx::query("select trace from outbox where topic = 'account.traded' and trace is not null")
        .fetch_all(&mut database)
        .await
        .unwrap();
    let traces: Vec<String> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(traces, [format!("00-{request}-{}-01", &request[16..])]);
    drop(database);
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_goes_with_a_token_that_the_boards_take() {
    let mut stage = Stage::open(&[("plain", program(PLAIN))]).await;
    let trader = stage.trader("ada").await;
    stage.play_through("2014-05-02T12:26:00Z").await;
    let account = trader.buy("plain").await;
    let orders = format!("{}/v1/accounts/{account}/orders", trader.base);
    let order = json!({ "symbol": "EURUSD", "side": "buy", "kind": "market", "quantity": "0.10" });
    let place = trader.http.post(&orders).header("Idempotency-Key", "one").json(&order);
    let (status, answered) = headers(place.try_clone().unwrap()).await;
    assert_eq!(status, 201);
    let token = answered["consistency-token"].to_str().unwrap().to_owned();
    let again = headers(place).await.1["consistency-token"].to_str().unwrap().to_owned();
    assert!(token.len() == 16 && again >= token, "{token} {again}");
    // The boards answer at the API's address, too, where one process is both.
    let statistics = format!("{}/v1/analytics/accounts/{account}/statistics", trader.base);
    let (status, read) = headers(trader.http.get(&statistics).header("Consistency-Token", &token)).await;
    assert_eq!(status, 200);
    assert!(!read.contains_key("consistency-token"), "nothing was changed");
    assert_eq!(headers(trader.http.get(&statistics).header("Consistency-Token", "soon")).await.0, 422);
    let refused = headers(trader.http.post(&orders).json(&json!({}))).await;
    assert!(refused.0 >= 400 && !refused.1.contains_key("consistency-token"));
    stage.close().await;
}
