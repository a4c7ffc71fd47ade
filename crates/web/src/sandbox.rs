//! The sandbox: the payment page that a provider would host, and a mailbox with the mails that would have been sent. Served
//! by demonstrations only; no money moves, and no mail.

use app::notifications::Kept;
use axum::Router;
use axum::extract::State;
use axum::response::{Html, IntoResponse, Redirect, Response};
use axum::routing::get;
use http::header;
use kernel::{MailId, PurchaseId};

use crate::Web;
use crate::extract::{Caller, Path};
use crate::problem::Problem;

/// `GET /sandbox/pay/{purchase}` and the two buttons; `GET /sandbox/mail` and `/sandbox/mail/{mail}`.
pub fn router() -> Router<Web> {
    Router::new()
        .route("/sandbox/pay/{id}", get(page))
        .route("/sandbox/pay/{id}/pay", axum::routing::post(pay))
        .route("/sandbox/pay/{id}/decline", axum::routing::post(decline))
        .route("/sandbox/mail", get(mailbox))
        .route("/sandbox/mail/{id}", get(mail))
        .route("/sandbox/mail/{id}/text", get(mail_text))
        .route("/sandbox/mail/{id}/html", get(mail_html))
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;margin:0;display:grid;min-height:100vh;place-items:center;\
background:#eef0f3;color:#14181f}main{background:#fff;border:1px solid #d5dae1;border-radius:8px;padding:32px;\
max-width:380px;width:calc(100% - 96px)}h1{font-size:18px;margin:0 0 4px}p{margin:0 0 16px;color:#4a5361}\
.amount{font-size:32px;color:#14181f;font-variant-numeric:tabular-nums}form{display:inline}button{font:inherit;\
font-weight:600;padding:10px 24px;border-radius:6px;border:1px solid #14181f;cursor:pointer;background:#fff;\
color:#14181f;margin-right:8px}button.pay{background:#0b5c3b;border-color:#0b5c3b;color:#fff}\
button:focus-visible,a:focus-visible{outline:3px solid #1b66d1;outline-offset:2px}\
main.mail{max-width:760px;margin:48px 0}table{border-collapse:collapse;width:100%}td,th{text-align:left;padding:8px;\
border-bottom:1px solid #d5dae1;font-weight:400;vertical-align:top}thead th{font-weight:600;color:#4a5361}a{color:#14509e}\
dt{font-weight:600}dd{margin:0 0 8px;overflow-wrap:anywhere}";

/// Where a purchase is paid here.
pub(crate) fn page_of(purchase: PurchaseId) -> String {
    format!("/sandbox/pay/{purchase}")
}

async fn page(
    State(web): State<Web>,
    caller: Caller,
    Path(id): Path<PurchaseId>,
) -> Result<Response, Problem> {
    let purchase = web.purchases.get(&caller.context, id).await?;
    if !purchase.state.is_open() {
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
    // Its page is closed: this provider takes no money for what was declined or cancelled.
    if web.purchases.get(&caller.context, id).await?.state.is_dead() {
        return Err(Problem::new("payment_settled", "The purchase can no longer be paid."));
    }
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

/// The frame of a page; its content is HTML already.
fn document(title: &str, content: &str) -> Response {
    let html = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><title>{title}</title><link rel=\"stylesheet\" \
         href=\"/sandbox/style.css\"></head><body><main class=\"mail\">{content}</main></body></html>"
    );
    ([(header::CACHE_CONTROL, "no-store")], Html(html)).into_response()
}

/// The mails of the firm, the newest first.
async fn mailbox(State(web): State<Web>, caller: Caller) -> Result<Response, Problem> {
    let mailbox = web.mailbox.as_ref().ok_or_else(no_mailbox)?;
    let letters = mailbox.letters(caller.context.firm);
    if letters.is_empty() {
        return Ok(document("Sandbox mail", "<h1>Sandbox mail</h1><p>No mail has been sent yet.</p>"));
    }
    let rows = letters.iter().map(|kept| {
        let (id, to, subject) = (kept.letter.id, escape(&kept.letter.to), escape(&kept.letter.subject));
        let at = kept.at;
        format!("<tr><td>{at}</td><td>{to}</td><th scope=\"row\"><a href=\"/sandbox/mail/{id}\">{subject}</a></th></tr>")
    });
    let rows: String = rows.collect();
    let content = format!(
        "<h1>Sandbox mail</h1><p>Mails that a real installation would have sent, the newest first.</p><table><thead><tr>\
         <th scope=\"col\">Time, UTC</th><th scope=\"col\">To</th><th scope=\"col\">Subject</th></tr></thead><tbody>{rows}</tbody></table>"
    );
    Ok(document("Sandbox mail", &content))
}

fn no_mailbox() -> Problem {
    Problem::new("not_found", "This installation sends its mail.")
}

fn kept(web: &Web, caller: &Caller, id: MailId) -> Result<Kept, Problem> {
    let mailbox = web.mailbox.as_ref().ok_or_else(no_mailbox)?;
    mailbox.letter(caller.context.firm, id).ok_or_else(|| Problem::new("not_found", "There is no such mail."))
}

/// One mail: its headers, and both parts in frames of their own.
async fn mail(State(web): State<Web>, caller: Caller, Path(id): Path<MailId>) -> Result<Response, Problem> {
    let Kept { at, letter } = kept(&web, &caller, id)?;
    let (subject, from, to) = (escape(&letter.subject), escape(&letter.from_name), escape(&letter.to));
    let (host, unsubscribe) = (escape(&letter.host), escape(&letter.unsubscribe));
    let content = format!(
        "<p><a href=\"/sandbox/mail\">All mails</a></p><h1>{subject}</h1><dl><dt>From</dt><dd>{from}</dd><dt>To</dt><dd>{to}</dd>\
         <dt>Time</dt><dd>{at} (UTC)</dd><dt>Message-ID</dt><dd>&lt;{id}@{host}&gt;</dd><dt>List-Unsubscribe</dt>\
         <dd><a href=\"{unsubscribe}\">{unsubscribe}</a></dd></dl>\
         <p><a href=\"/sandbox/mail/{id}/html\">HTML part</a> · <a href=\"/sandbox/mail/{id}/text\">Text part</a></p>"
    );
    Ok(document(&subject, &content))
}

async fn mail_text(
    State(web): State<Web>,
    caller: Caller,
    Path(id): Path<MailId>,
) -> Result<impl IntoResponse, Problem> {
    let text = kept(&web, &caller, id)?.letter.text;
    Ok(([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text))
}

/// As it was sent. The policies of every answer keep its own styles from applying here; mail programs apply them.
async fn mail_html(
    State(web): State<Web>,
    caller: Caller,
    Path(id): Path<MailId>,
) -> Result<Html<String>, Problem> {
    Ok(Html(kept(&web, &caller, id)?.letter.html))
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
