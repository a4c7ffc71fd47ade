//! The sandbox's payment page: what a provider would host. Served by demonstrations only; no money moves.

use app::purchases::PurchaseState;
use axum::Router;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use http::header;
use kernel::PurchaseId;

use crate::Web;
use crate::extract::{Caller, Path};
use crate::problem::Problem;

/// `GET /sandbox/pay/{purchase}` and the two buttons.
pub fn router() -> Router<Web> {
    Router::new()
        .route("/sandbox/pay/{id}", get(page))
        .route("/sandbox/pay/{id}/pay", axum::routing::post(pay))
        .route("/sandbox/pay/{id}/decline", axum::routing::post(decline))
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:0;display:grid;min-height:100vh;place-items:center;\
background:#eef0f3;color:#14181f}main{background:#fff;border:1px solid #d5dae1;border-radius:8px;padding:32px;\
max-width:380px;width:calc(100% - 96px)}h1{font-size:18px;margin:0 0 4px}p{margin:0 0 16px;color:#4a5361}\
.amount{font-size:32px;color:#14181f;font-variant-numeric:tabular-nums}form{display:inline}button{font:inherit;\
font-weight:600;padding:10px 24px;border-radius:6px;border:1px solid #14181f;cursor:pointer;background:#fff;\
color:#14181f;margin-right:8px}button.pay{background:#0b5c3b;border-color:#0b5c3b;color:#fff}\
button:focus-visible{outline:3px solid #1b66d1;outline-offset:2px}";

async fn page(
    State(web): State<Web>,
    caller: Caller,
    Path(id): Path<PurchaseId>,
) -> Result<Response, Problem> {
    let purchase = web.purchases.get(&caller.context, id).await?;
    if purchase.state != PurchaseState::AwaitingPayment {
        return Ok(Redirect::to(&format!("/purchases/{id}")).into_response());
    }
    let name = escape(&purchase.program_name);
    let fee = escape(&purchase.fee.to_string());
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>Sandbox payment</title><link rel=\"stylesheet\" \
         href=\"/sandbox/style.css\"></head><body><main><h1>Sandbox payment</h1><p>{name}</p>\
         <p class=\"amount\">{fee}</p><p>No money moves. A real installation sends you to its payment provider \
         here.</p><form method=\"post\" action=\"/sandbox/pay/{id}/pay\"><button class=\"pay\">Pay</button></form>\
         <form method=\"post\" action=\"/sandbox/pay/{id}/decline\"><button>Decline</button></form></main></body></html>"
    );
    Ok(([(header::CACHE_CONTROL, "no-store")], Html(html)).into_response())
}

/// The page's style, apart because the pages allow no inline style.
pub async fn style() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "text/css; charset=utf-8")], STYLE)
}

async fn pay(
    State(web): State<Web>,
    caller: Caller,
    Path(id): Path<PurchaseId>,
) -> Result<Redirect, Problem> {
    web.purchases.get(&caller.context, id).await?;
    web.purchases.capture(&caller.context, id).await?;
    web.purchase_paid.notify_one();
    Ok(Redirect::to(&format!("/purchases/{id}?outcome=paid")))
}

async fn decline(
    State(web): State<Web>,
    caller: Caller,
    Path(id): Path<PurchaseId>,
) -> Result<Redirect, Problem> {
    web.purchases.get(&caller.context, id).await?;
    web.purchases.decline(&caller.context, id).await?;
    Ok(Redirect::to(&format!("/purchases/{id}?outcome=declined")))
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}
