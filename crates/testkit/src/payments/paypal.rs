//! PayPal, as far as we use it.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kernel::{Clock, Span, Timestamp};
use serde_json::{Value, json};

use super::authority::{Leaf, self_signed, sign};
use super::pretend::{
    Answered, Asked, Fault, Faults, Keys, Known, Pretender, Server, SignedWebhook, decoded, lock,
};
use super::spec::Spec;

/// The app's client id.
pub const CLIENT: &str = "TradeSenseFakeClient";
/// The app's secret.
pub const SECRET: &str = "TradeSenseFakeSecret";
/// The webhook's id.
pub const WEBHOOK: &str = "8PT597110X687430LKGECATA";
/// Where its certificates lie.
pub const CERTIFICATE: &str =
    "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594-5a29e601";

/// A PayPal of one's own.
#[derive(Debug)]
pub struct FakePaypal {
    own: Arc<Own>,
    server: Server,
}

struct Own {
    clock: Arc<dyn Clock>,
    faults: Faults,
    spec: &'static Spec,
    state: Mutex<State>,
}

impl std::fmt::Debug for Own {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Own").finish_non_exhaustive()
    }
}

#[derive(Default)]
struct State {
    address: String,
    orders: BTreeMap<String, Value>,
    captures: BTreeMap<String, Value>,
    refunds: BTreeMap<String, Value>,
    batches: BTreeMap<String, Value>,
    disputes: BTreeMap<String, Value>,
    books: Vec<Value>,
    tokens: Vec<(String, Timestamp)>,
    keys: Keys,
    events: Vec<Value>,
    requests: Vec<String>,
    wrong: Vec<String>,
    count: u32,
    captures_pend: bool,
    refunds_pend: bool,
}

impl FakePaypal {
    /// Open on a port of its own.
    pub async fn open(clock: Arc<dyn Clock>) -> Self {
        static SPEC: LazyLock<Spec> = LazyLock::new(|| Spec::read(include_str!("../../specs/paypal.json")));
        let own = Arc::new(Own { clock, faults: Faults::default(), spec: &SPEC, state: Mutex::default() });
        let server = Server::open(Arc::clone(&own)).await;
        lock(&own.state).address = format!("http://{}", server.address);
        Self { own, server }
    }

    /// Its address.
    pub fn address(&self) -> String {
        format!("http://{}/", self.server.address)
    }

    /// The next request whose line begins like this, such as `POST /v1/payments/payouts`, meets the fault.
    pub fn meets(&self, line: &str, fault: Fault) {
        self.own.faults.add(line, fault);
    }

    /// Faults that met nothing yet.
    pub fn faults_waiting(&self) -> usize {
        self.own.faults.waiting()
    }

    /// Lines of all requests that came through.
    pub fn requests(&self) -> Vec<String> {
        lock(&self.own.state).requests.clone()
    }

    /// What was asked or answered against the specifications. A test ends with none.
    pub fn wrong(&self) -> Vec<String> {
        lock(&self.own.state).wrong.clone()
    }

    /// Tokens given so far are worth nothing any more.
    pub fn revoke_tokens(&self) {
        lock(&self.own.state).tokens.clear();
    }

    /// Keys have lived long enough.
    pub fn forget_keys(&self) {
        lock(&self.own.state).keys.forget();
    }

    /// How many there are of each: orders, captures, refunds, batches.
    pub fn counts(&self) -> [usize; 4] {
        let state = lock(&self.own.state);
        [state.orders.len(), state.captures.len(), state.refunds.len(), state.batches.len()]
    }

    /// Everything of a kind (`order`, `capture`, `refund`, `batch`, `dispute`), in the order of names; `line` is what stands in its
    /// books, oldest first.
    pub fn all(&self, kind: &str) -> Vec<Value> {
        let state = lock(&self.own.state);
        let things = match kind {
            "order" => &state.orders,
            "capture" => &state.captures,
            "refund" => &state.refunds,
            "batch" => &state.batches,
            "dispute" => &state.disputes,
            "line" => return state.books.iter().map(|line| line["transaction_info"].clone()).collect(),
            other => panic!("there is no kind {other}"),
        };
        things.values().cloned().collect()
    }

    /// The buyer agrees on PayPal's page.
    pub fn approve(&self, order: &str) {
        self.own.change(|state, now| {
            state.order(order)["status"] = json!("APPROVED");
            let order = state.orders[order].clone();
            state.tell("CHECKOUT.ORDER.APPROVED", "checkout-order", &order, now);
        });
    }

    /// Nobody agrees until it is too late.
    pub fn void(&self, order: &str) {
        self.own.change(|state, _| state.order(order)["status"] = json!("VOIDED"));
    }

    /// Captures wait until [`Self::finish_capture`].
    pub fn captures_pend(&self) {
        lock(&self.own.state).captures_pend = true;
    }

    /// The money comes, or not.
    pub fn finish_capture(&self, capture: &str, good: bool) {
        self.own.change(|state, now| {
            let amount = state.captures[capture]["amount"].clone();
            let known = state.captures.get_mut(capture).unwrap();
            known["status"] = json!(if good { "COMPLETED" } else { "DECLINED" });
            if good {
                known["seller_receivable_breakdown"] = breakdown(&amount);
                state.book_capture(capture, now);
            }
            let known = state.captures[capture].clone();
            let kind = if good { "PAYMENT.CAPTURE.COMPLETED" } else { "PAYMENT.CAPTURE.DENIED" };
            state.tell(kind, "capture", &known, now);
        });
    }

    /// Refunds wait until [`Self::finish_refund`].
    pub fn refunds_pend(&self) {
        lock(&self.own.state).refunds_pend = true;
    }

    /// A refund arrives, or does not.
    pub fn finish_refund(&self, refund: &str, good: bool) {
        self.own.change(|state, now| {
            let status = if good { "COMPLETED" } else { "FAILED" };
            state.refunds.get_mut(refund).unwrap()["status"] = json!(status);
            let known = state.refunds[refund].clone();
            if good {
                state.book_refund(refund, now);
            } else {
                let capture = known["capture"].as_str().unwrap();
                let left = state.refunds.values();
                let left =
                    left.filter(|other| other["capture"] == capture && other["status"] != "FAILED").count();
                let status = if left == 0 { "COMPLETED" } else { "PARTIALLY_REFUNDED" };
                state.captures.get_mut(capture).unwrap()["status"] = json!(status);
            }
            state.tell(&format!("PAYMENT.REFUND.{status}"), "refund", &refund_shown(&known), now);
        });
    }

    /// Somebody refunds at PayPal's own screen.
    pub fn refund_by_hand(&self, capture: &str, hundredths: i64) {
        self.own.change(|state, now| {
            let like = state.captures[capture]["amount"].clone();
            let amount = json!({"currency_code": like["currency_code"], "value": written(hundredths, &like)});
            assert_eq!(state.refund(capture, &json!({ "amount": amount }), now).status, 201);
        });
    }

    /// The buyer complains; returns the dispute's id.
    pub fn dispute(&self, capture: &str, inquiry: bool) -> String {
        self.own.change(|state, now| {
            let id = format!("PP-D-{}", state.next());
            let known = &state.captures[capture];
            let dispute = json!({
                "dispute_id": id, "create_time": text(now), "update_time": text(now),
                "disputed_transactions": [{"seller_transaction_id": capture, "custom": known["custom_id"]}],
                "reason": "UNAUTHORISED", "status": "WAITING_FOR_SELLER_RESPONSE", "dispute_amount": known["amount"],
                "dispute_life_cycle_stage": if inquiry { "INQUIRY" } else { "CHARGEBACK" },
                "seller_response_due_date": text(now.after(Span::from_seconds(10 * 86_400)).unwrap()),
            });
            state.disputes.insert(id.clone(), dispute.clone());
            if !inquiry {
                let amount = known_amount(&state.captures[capture]["amount"], -1);
                state.book(&format!("{id}H"), "T1201", (&amount, "0.00"), capture, "", now);
            }
            state.tell("CUSTOMER.DISPUTE.CREATED", "dispute", &dispute, now);
            id
        })
    }

    /// PayPal decides.
    pub fn decide(&self, dispute: &str, outcome: &str) {
        self.own.change(|state, now| state.decide(dispute, outcome, now));
    }

    /// What became of a payout: `SUCCESS`, `UNCLAIMED`, `FAILED`, `RETURNED`, `ONHOLD`..
    pub fn payout_becomes(&self, batch: &str, status: &str) {
        self.own.change(|state, now| state.payout_becomes(batch, status, now));
    }

    /// All events so far, oldest first, signed now.
    pub fn webhooks(&self) -> Vec<SignedWebhook> {
        self.webhooks_from(0)
    }

    /// The events behind the first so many, signed now: what has been delivered need not be signed again.
    pub fn webhooks_from(&self, delivered: usize) -> Vec<SignedWebhook> {
        let state = lock(&self.own.state);
        let signed = |event: &Value| {
            signed(
                event.to_string().into_bytes(),
                &format!("t-{}", event["id"].as_str().unwrap()),
                self.own.clock.now(),
                WEBHOOK,
            )
        };
        state.events.iter().skip(delivered).map(signed).collect()
    }

    /// The events themselves.
    pub fn events(&self) -> Vec<Value> {
        lock(&self.own.state).events.clone()
    }

    /// What `self_signed` gives: a certificate that nobody vouches for.
    pub fn own_certificate() -> String {
        self_signed(&Leaf::default())
    }
}

/// A webhook signed as PayPal does.
pub fn signed(body: Vec<u8>, transmission: &str, at: Timestamp, webhook: &str) -> SignedWebhook {
    let time = text(at);
    let message = format!("{transmission}|{time}|{webhook}|{}", crc32fast::hash(&body));
    let headers = [
        ("paypal-transmission-id", transmission.to_owned()),
        ("paypal-transmission-time", time),
        ("paypal-transmission-sig", sign(message.as_bytes())),
        ("paypal-cert-url", CERTIFICATE.to_owned()),
        ("paypal-auth-algo", "SHA256withRSA".to_owned()),
    ];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.into_bytes()));
    SignedWebhook { headers: headers.to_vec(), body }
}

/// The signature of any message by the key that webhooks are signed with, in base64.
pub fn signature(message: &str) -> String {
    sign(message.as_bytes())
}

fn text(at: Timestamp) -> String {
    let text = at.to_string();
    format!("{}Z", text.split_once('.').unwrap().0)
}

fn without(thing: &Value, fields: &[&str]) -> Value {
    let mut thing = thing.clone();
    thing.as_object_mut().unwrap().retain(|name, _| !fields.contains(&name.as_str()));
    thing
}

/// A refund without what only we remember of it: to outsiders a link tells whose it is.
fn refund_shown(refund: &Value) -> Value {
    without(refund, &["capture", "of"])
}

/// An amount in hundredths.
fn hundredths(amount: &Value) -> i64 {
    let value = amount["value"].as_str().unwrap();
    let (whole, part) = value.split_once('.').unwrap_or((value, "00"));
    let whole: i64 = whole.parse().unwrap();
    whole.checked_mul(100).unwrap().checked_add(part.parse().unwrap()).unwrap()
}

/// Text of hundredths in the decimals of an amount.
fn written(hundredths: i64, like: &Value) -> String {
    let sign = if hundredths < 0 { "-" } else { "" };
    let count = hundredths.unsigned_abs();
    let (whole, part) = (count.checked_div(100).unwrap(), count.checked_rem(100).unwrap());
    if like["value"].as_str().unwrap().contains('.') {
        format!("{sign}{whole}.{part:02}")
    } else {
        format!("{sign}{whole}")
    }
}

fn known_amount(amount: &Value, sign: i64) -> Value {
    let value = written(hundredths(amount).checked_mul(sign).unwrap(), amount);
    json!({"currency_code": amount["currency_code"], "value": value})
}

/// 3.49 % and 0.49, rounded down.
fn fee(amount: &Value) -> i64 {
    let part = hundredths(amount).checked_mul(349).unwrap().div_euclid(10_000).checked_add(49).unwrap();
    if amount["value"].as_str().unwrap().contains('.') {
        part
    } else {
        part.div_euclid(100).checked_mul(100).unwrap()
    }
}

fn breakdown(amount: &Value) -> Value {
    let currency = &amount["currency_code"];
    let net = hundredths(amount).checked_sub(fee(amount)).unwrap();
    json!({
        "gross_amount": amount,
        "paypal_fee": {"currency_code": currency, "value": written(fee(amount), amount)},
        "net_amount": {"currency_code": currency, "value": written(net, amount)},
    })
}

fn error(status: u16, name: &str, issue: &str, description: &str) -> Answered {
    let mut body = json!({"name": name, "message": description, "debug_id": "90957fca61718"});
    if !issue.is_empty() {
        body["details"] = json!([{"issue": issue, "description": description}]);
    }
    let answered = Answered::json(status, &body);
    Answered {
        headers: [answered.headers, vec![("paypal-debug-id", "90957fca61718".to_owned())]].concat(),
        ..answered
    }
}

fn unprocessable(issue: &str) -> Answered {
    error(422, "UNPROCESSABLE_ENTITY", issue, "The requested action could not be performed.")
}

fn missing() -> Answered {
    error(404, "RESOURCE_NOT_FOUND", "INVALID_RESOURCE_ID", "The specified resource does not exist.")
}

impl Own {
    fn change<T>(&self, change: impl FnOnce(&mut State, Timestamp) -> T) -> T {
        change(&mut lock(&self.state), self.clock.now())
    }
}

impl Pretender for Own {
    fn faults(&self) -> &Faults {
        &self.faults
    }

    fn failed(&self, status: u16, word: &str) -> Answered {
        match word {
            "at_work" => {
                error(status, "RESOURCE_CONFLICT", "PREVIOUS_REQUEST_IN_PROGRESS", "Another is at work.")
            }
            "busy" => error(status, "RATE_LIMIT_REACHED", "", "Too many requests."),
            _ => error(status, "INTERNAL_SERVER_ERROR", "", "Sorry."),
        }
    }

    /// PayPal's answers do not say their mode.
    fn other_mode(&self, answer: Answered) -> Answered {
        answer
    }

    fn act(&self, asked: &Asked, decline: Option<&str>) -> Answered {
        let now = self.clock.now();
        let mut state = lock(&self.state);
        state.requests.push(asked.line());
        if asked.path == "/v1/oauth2/token" {
            return state.token(asked, now);
        }
        let bearer = asked.header("authorization").strip_prefix("Bearer ").unwrap_or_default();
        if !state.tokens.iter().any(|(token, until)| token == bearer && now < *until) {
            return Answered::json(
                401,
                &json!({"error": "invalid_token", "error_description": "Token signature verification failed"}),
            );
        }
        if asked.line() == "GET /v1/reporting/transactions" {
            return state.report(asked);
        }
        let Some(operation) = self.spec.find(&asked.method, &asked.path) else {
            state.wrong.push(format!("{}: no such operation", asked.line()));
            return missing();
        };
        let json_kind = asked.header("content-type").starts_with("application/json");
        let body: Value = if json_kind && !asked.body.is_empty() {
            match serde_json::from_slice(&asked.body) {
                Ok(body) => body,
                Err(error) => {
                    state.wrong.push(format!("{}: {error}", asked.line()));
                    Value::Null
                }
            }
        } else {
            json!({})
        };
        let mut faults = operation.query_faults(&asked.query);
        if json_kind {
            faults.extend(operation.json_faults(&body));
        } else if let Some(input) = input(asked) {
            for evidence in input["evidences"].as_array().into_iter().flatten() {
                faults.extend(operation.faults_of("evidence", evidence));
            }
        }
        if !faults.is_empty() {
            let text = faults.join("; ");
            state.wrong.push(format!("{}: {text}", asked.line()));
            return error(400, "INVALID_REQUEST", "INVALID_PARAMETER_VALUE", &text);
        }
        let key = asked.header("paypal-request-id").to_owned();
        if !key.is_empty() {
            match state.keys.look(&key, asked) {
                // Of an order the answer is the same but for its status; of a refund it is all the same.
                Known::Same(answered) if asked.path.starts_with("/v2/checkout/orders") => {
                    return Answered { status: 200, ..answered };
                }
                Known::Same(answered) => return answered,
                Known::Other => return unprocessable("PAYPAL_REQUEST_ID_PREVIOUSLY_USED"),
                Known::New => {}
            }
        }
        let mut answered = state.route(asked, &body, decline, now);
        // Whoever wants to be told everything that was made of orders and payments has to say so.
        if answered.status == 201
            && asked.path.starts_with("/v2/")
            && asked.header("prefer") != "return=representation"
        {
            let whole = answered.value();
            let (id, status, links) = (&whole["id"], &whole["status"], &whole["links"]);
            answered = Answered::json(201, &json!({"id": id, "status": status, "links": links}));
        }
        if answered.status < 300 {
            let faults = operation.answer_faults(&answered.value());
            state.wrong.extend(faults.iter().map(|fault| format!("answer of {}: {fault}", asked.line())));
            answered.headers.push(("paypal-debug-id", format!("d{}", state.requests.len())));
            if !key.is_empty() {
                state.keys.keep(&key, asked, &answered);
            }
        }
        answered
    }
}

/// The JSON among parts.
fn input(asked: &Asked) -> Option<Value> {
    let text = String::from_utf8_lossy(&asked.body);
    let (_, rest) = text.split_once("name=\"input\"")?;
    let (_, rest) = rest.split_once("\r\n\r\n")?;
    serde_json::from_str(rest.split_once("\r\n--")?.0).ok()
}

impl State {
    fn next(&mut self) -> u32 {
        self.count = self.count.checked_add(1).unwrap();
        self.count
    }

    fn id(&mut self, kind: &str) -> String {
        format!("{kind}{:014}", self.next())
    }

    fn order(&mut self, id: &str) -> &mut Value {
        self.orders.get_mut(id).unwrap()
    }

    fn tell(&mut self, kind: &str, about: &str, resource: &Value, now: Timestamp) {
        let id = format!("WH-{}", self.next());
        self.events.push(json!({
            "id": id, "event_version": "1.0", "create_time": text(now), "resource_type": about, "event_type": kind,
            "summary": kind, "resource": resource,
        }));
    }

    fn book(
        &mut self,
        id: &str,
        code: &str,
        (amount, fee): (&Value, &str),
        about: &str,
        reference: &str,
        now: Timestamp,
    ) {
        let fee = json!({"currency_code": amount["currency_code"], "value": fee});
        let mut line = json!({
            "transaction_id": id, "transaction_event_code": code, "transaction_status": "S",
            "transaction_initiation_date": text(now).replace('Z', "+0000"), "transaction_amount": amount,
            "fee_amount": fee,
        });
        // What there is not is left out.
        for (field, value) in [("paypal_reference_id", about), ("custom_field", reference)] {
            if !value.is_empty() {
                line[field] = json!(value);
            }
        }
        self.books.push(json!({"transaction_info": line, "at": now.micros()}));
    }

    fn token(&mut self, asked: &Asked, now: Timestamp) -> Answered {
        let wanted = format!("Basic {}", STANDARD.encode(format!("{CLIENT}:{SECRET}")));
        let form = decoded(&String::from_utf8_lossy(&asked.body));
        if asked.header("authorization") != wanted {
            return Answered::json(
                401,
                &json!({"error": "invalid_client", "error_description": "Client Authentication failed"}),
            );
        }
        if form != [("grant_type".to_owned(), "client_credentials".to_owned())] {
            return Answered::json(
                400,
                &json!({"error": "unsupported_grant_type", "error_description": "Grant Type is NULL"}),
            );
        }
        let token = format!("A21AA{}", self.next());
        self.tokens.push((token.clone(), now.after(Span::from_seconds(32_400)).unwrap()));
        let answer = json!({"scope": "https://uri.paypal.com/services/payments", "access_token": token,
            "token_type": "Bearer", "app_id": "APP-80W284485P519543T", "expires_in": 32_400, "nonce": "n"});
        Answered::json(200, &answer)
    }

    fn route(&mut self, asked: &Asked, body: &Value, decline: Option<&str>, now: Timestamp) -> Answered {
        let parts = asked.parts();
        let shown = |thing: Option<&Value>| thing.map_or_else(missing, |thing| Answered::json(200, thing));
        match (asked.method.as_str(), &parts[1..]) {
            ("POST", ["checkout", "orders"]) => self.open_order(asked, body, now),
            ("GET", ["checkout", "orders", id]) => self.order_shown(id, 200),
            ("POST", ["checkout", "orders", id, "capture"]) => self.capture(id, decline, now),
            ("GET", ["payments", "captures", id]) => shown(self.captures.get(*id)),
            ("POST", ["payments", "captures", id, "refund"]) => self.refund(id, body, now),
            ("GET", ["payments", "refunds", id]) => shown(self.refunds.get(*id).map(refund_shown).as_ref()),
            ("POST", ["payments", "payouts"]) => self.pay_out(body, decline, now),
            ("GET", ["payments", "payouts", id]) => shown(self.batches.get(*id)),
            ("POST", ["payments", "payouts-item", id, "cancel"]) => self.cancel_item(id, now),
            ("GET", ["customer", "disputes"]) => self.list_disputes(&asked.query),
            ("GET", ["customer", "disputes", id]) => shown(self.disputes.get(*id)),
            ("POST", ["customer", "disputes", id, "provide-evidence"]) => self.evidence(id, asked, now),
            ("POST", ["customer", "disputes", id, "accept-claim"]) => match self.disputes.get(*id) {
                Some(dispute) if dispute["status"] != "RESOLVED" => {
                    self.decide(id, "ACCEPTED", now);
                    Answered::json(200, &json!({"links": []}))
                }
                Some(_) => unprocessable("ACTION_NOT_ALLOWED_IN_CURRENT_DISPUTE_STATE"),
                None => missing(),
            },
            ("POST", ["notifications", "verify-webhook-signature"]) => {
                let event = body["webhook_event"].to_string();
                let message = format!(
                    "{}|{}|{}|{}",
                    body["transmission_id"].as_str().unwrap(),
                    body["transmission_time"].as_str().unwrap(),
                    body["webhook_id"].as_str().unwrap(),
                    crc32fast::hash(event.as_bytes())
                );
                let good = body["transmission_sig"] == sign(message.as_bytes());
                Answered::json(200, &json!({"verification_status": if good { "SUCCESS" } else { "FAILURE" }}))
            }
            _ => missing(),
        }
    }

    fn open_order(&mut self, asked: &Asked, body: &Value, now: Timestamp) -> Answered {
        if asked.header("paypal-request-id").is_empty() && body.get("payment_source").is_some() {
            return error(
                400,
                "INVALID_REQUEST",
                "PAYPAL_REQUEST_ID_REQUIRED",
                "A PayPal-Request-Id is required.",
            );
        }
        let mut unit = body["purchase_units"][0].clone();
        let currency = unit["amount"]["currency_code"].as_str().unwrap();
        let decimals = unit["amount"]["value"].as_str().unwrap().contains('.');
        let whole = matches!(currency, "HUF" | "JPY" | "TWD");
        let known = "AUD BRL CAD CHF CZK DKK EUR GBP HKD HUF ILS JPY MXN NOK NZD PLN SEK SGD THB TWD USD";
        if !known.split(' ').any(|code| code == currency) {
            return unprocessable("CURRENCY_NOT_SUPPORTED");
        }
        if whole && decimals {
            return unprocessable("DECIMALS_NOT_SUPPORTED");
        }
        let id = self.id("ORD");
        let page = format!("https://www.sandbox.paypal.com/checkoutnow?token={id}");
        unit["payments"] = json!({});
        // Who is to pay with what may be said with the order or left to PayPal's page.
        let (status, rel) = match body.get("payment_source") {
            Some(_) => ("PAYER_ACTION_REQUIRED", "payer-action"),
            None => ("CREATED", "approve"),
        };
        let order = json!({
            "id": id, "intent": "CAPTURE", "status": status, "create_time": text(now), "purchase_units": [unit],
            "links": [{"href": page, "rel": rel, "method": "GET"}],
        });
        self.orders.insert(id.clone(), order);
        self.order_shown(&id, 201)
    }

    /// With its captures and refunds as they are now.
    fn order_shown(&self, id: &str, status: u16) -> Answered {
        let Some(mut order) = self.orders.get(id).cloned() else { return missing() };
        let of = |thing: &&Value| thing["supplementary_data"]["related_ids"]["order_id"] == id;
        // An order does not tell its captures' order.
        let captures: Vec<Value> = self
            .captures
            .values()
            .filter(of)
            .map(|capture| without(capture, &["supplementary_data"]))
            .collect();
        let refunds: Vec<Value> =
            self.refunds.values().filter(|refund| refund["of"] == id).map(refund_shown).collect();
        if !captures.is_empty() {
            order["purchase_units"][0]["payments"] = json!({"captures": captures, "refunds": refunds});
        }
        Answered::json(status, &order)
    }

    fn capture(&mut self, id: &str, decline: Option<&str>, now: Timestamp) -> Answered {
        let Some(order) = self.orders.get(id).cloned() else { return missing() };
        match order["status"].as_str().unwrap() {
            "APPROVED" => {}
            "COMPLETED" => return unprocessable("ORDER_ALREADY_CAPTURED"),
            _ => return unprocessable("ORDER_NOT_APPROVED"),
        }
        if let Some(issue) = decline {
            self.order(id)["status"] = json!("PAYER_ACTION_REQUIRED");
            return unprocessable(issue);
        }
        let unit = &order["purchase_units"][0];
        let invoice = &unit["invoice_id"];
        let taken = self.captures.values().any(|capture| {
            !invoice.is_null() && capture["invoice_id"] == *invoice && capture["status"] != "DECLINED"
        });
        if taken {
            return unprocessable("DUPLICATE_INVOICE_ID");
        }
        let capture = self.id("CAP");
        let amount = unit["amount"].clone();
        let mut thing = json!({
            "id": capture, "status": if self.captures_pend { "PENDING" } else { "COMPLETED" }, "amount": amount,
            "final_capture": true, "custom_id": unit["custom_id"], "invoice_id": invoice, "create_time": text(now),
            "update_time": text(now), "supplementary_data": {"related_ids": {"order_id": id}},
        });
        if self.captures_pend {
            thing["status_details"] = json!({"reason": "PENDING_REVIEW"});
        } else {
            thing["seller_receivable_breakdown"] = breakdown(&amount);
        }
        self.captures.insert(capture.clone(), thing.clone());
        self.order(id)["status"] = json!("COMPLETED");
        if !self.captures_pend {
            self.book_capture(&capture, now);
        }
        let kind = if self.captures_pend { "PAYMENT.CAPTURE.PENDING" } else { "PAYMENT.CAPTURE.COMPLETED" };
        self.tell(kind, "capture", &thing, now);
        self.order_shown(id, 201)
    }

    fn book_capture(&mut self, id: &str, now: Timestamp) {
        let capture = self.captures[id].clone();
        let amount = &capture["amount"];
        let fee = written(fee(amount).checked_neg().unwrap(), amount);
        self.book(id, "T0006", (amount, &fee), "", capture["custom_id"].as_str().unwrap_or_default(), now);
    }

    fn book_refund(&mut self, id: &str, now: Timestamp) {
        let refund = self.refunds[id].clone();
        let amount = known_amount(&refund["amount"], -1);
        let (capture, ours) =
            (refund["capture"].as_str().unwrap(), refund["custom_id"].as_str().unwrap_or_default());
        self.book(id, "T1107", (&amount, "0.00"), capture, ours, now);
    }

    fn refund(&mut self, id: &str, body: &Value, now: Timestamp) -> Answered {
        let Some(capture) = self.captures.get(id).cloned() else { return missing() };
        if !matches!(capture["status"].as_str(), Some("COMPLETED" | "PARTIALLY_REFUNDED")) {
            let refunded = capture["status"] == "REFUNDED";
            return unprocessable(if refunded { "CAPTURE_FULLY_REFUNDED" } else { "REFUND_NOT_ALLOWED" });
        }
        let before =
            self.refunds.values().filter(|refund| refund["capture"] == id && refund["status"] != "FAILED");
        let before: i64 = before.map(|refund| hundredths(&refund["amount"])).sum();
        let left = hundredths(&capture["amount"]).checked_sub(before).unwrap();
        let amount = body.get("amount").cloned().unwrap_or_else(|| known_amount(&capture["amount"], 1));
        if amount["currency_code"] != capture["amount"]["currency_code"] {
            return unprocessable("REFUND_CAPTURE_CURRENCY_MISMATCH");
        }
        if hundredths(&amount) > left {
            return unprocessable("REFUND_AMOUNT_EXCEEDED");
        }
        let whole = hundredths(&amount) == left;
        let refund = self.id("REF");
        let up = format!("{}/v2/payments/captures/{id}", self.address);
        let mut thing = json!({
            "id": refund, "status": if self.refunds_pend { "PENDING" } else { "COMPLETED" }, "amount": amount,
            "create_time": text(now), "update_time": text(now), "links": [{"href": up, "rel": "up", "method": "GET"}],
            "capture": id, "of": capture["supplementary_data"]["related_ids"]["order_id"],
        });
        for ours in ["custom_id", "invoice_id"] {
            if let Some(name) = body.get(ours) {
                thing[ours] = name.clone();
            }
        }
        self.refunds.insert(refund.clone(), thing.clone());
        let status = if whole { "REFUNDED" } else { "PARTIALLY_REFUNDED" };
        self.captures.get_mut(id).unwrap()["status"] = json!(status);
        if !self.refunds_pend {
            self.book_refund(&refund, now);
        }
        self.tell("PAYMENT.CAPTURE.REFUNDED", "refund", &refund_shown(&thing), now);
        Answered::json(201, &refund_shown(&thing))
    }

    fn pay_out(&mut self, body: &Value, decline: Option<&str>, now: Timestamp) -> Answered {
        let header = &body["sender_batch_header"];
        let name = &header["sender_batch_id"];
        let same = |batch: &&Value| batch["batch_header"]["sender_batch_header"]["sender_batch_id"] == *name;
        if let Some(known) = self.batches.values().find(same) {
            let id = known["batch_header"]["payout_batch_id"].as_str().unwrap();
            let href = format!("{}/v1/payments/payouts/{id}", self.address);
            let refused = json!({
                "name": "USER_BUSINESS_ERROR", "message": "User business error.", "debug_id": "d",
                "details": [{"field": "SENDER_BATCH_ID", "issue": "Batch with given sender_batch_id already exists"}],
                "links": [{"href": href, "rel": "self"}],
            });
            return Answered::json(400, &refused);
        }
        if let Some(issue) = decline {
            return error(422, issue, "", "The payout is refused.");
        }
        let id = self.id("BATCH");
        let detail = &body["items"][0];
        let (item, transaction) = (self.id("ITEM"), self.id("PO"));
        let batch = json!({
            "total_items": 1, "total_pages": 1,
            "batch_header": {"payout_batch_id": id, "batch_status": "PENDING", "time_created": text(now),
                "sender_batch_header": header, "amount": detail["amount"]},
            "items": [{"payout_item_id": item, "payout_batch_id": id, "transaction_id": transaction,
                "transaction_status": "PENDING", "payout_item": detail,
                "payout_item_fee": {"currency": detail["amount"]["currency"], "value": "0.25"}}],
        });
        let created = json!({"batch_header": {"payout_batch_id": id, "batch_status": "PENDING",
            "sender_batch_header": header}});
        self.batches.insert(id.clone(), batch);
        Answered::json(201, &created)
    }

    fn payout_becomes(&mut self, id: &str, status: &str, now: Timestamp) {
        let batch = self.batches.get_mut(id).unwrap();
        let before = batch["items"][0]["transaction_status"].as_str().unwrap().to_owned();
        batch["items"][0]["transaction_status"] = json!(status);
        batch["batch_header"]["batch_status"] = json!("SUCCESS");
        if status == "FAILED" {
            batch["items"][0]["errors"] =
                json!({"name": "RECEIVER_ACCOUNT_LOCKED", "message": "No.", "debug_id": "d"});
        }
        let item = batch["items"][0].clone();
        let asked = &item["payout_item"]["amount"];
        let amount = json!({"currency_code": asked["currency"], "value": asked["value"]});
        let (transaction, ours) = (
            item["transaction_id"].as_str().unwrap(),
            item["payout_item"]["sender_item_id"].as_str().unwrap(),
        );
        let left = |status: &str| matches!(status, "SUCCESS" | "UNCLAIMED");
        if left(status) && !left(&before) {
            self.book(transaction, "T0001", (&known_amount(&amount, -1), "-0.25"), id, ours, now);
        } else if status == "RETURNED" && left(&before) {
            self.book(&format!("{transaction}R"), "T1115", (&amount, "0.25"), transaction, ours, now);
        }
        let kind = format!("PAYMENT.PAYOUTS-ITEM.{}", if status == "SUCCESS" { "SUCCEEDED" } else { status });
        self.tell(&kind, "payouts_item", &item, now);
    }

    fn cancel_item(&mut self, item: &str, now: Timestamp) -> Answered {
        let batch = self.batches.iter().find(|(_, batch)| batch["items"][0]["payout_item_id"] == item);
        let Some((id, batch)) = batch.map(|(id, batch)| (id.clone(), batch.clone())) else {
            return missing();
        };
        if batch["items"][0]["transaction_status"] != "UNCLAIMED" {
            return error(400, "ITEM_INCORRECT_STATUS", "", "The item is not unclaimed.");
        }
        self.payout_becomes(&id, "RETURNED", now);
        Answered::json(200, &self.batches[&id]["items"][0])
    }

    fn list_disputes(&self, query: &Value) -> Answered {
        let after = query["update_time_after"].as_str().map(|text| Timestamp::parse(text).unwrap());
        let mut all: Vec<&Value> = self.disputes.values().collect();
        all.retain(|dispute| {
            let at = Timestamp::parse(dispute["update_time"].as_str().unwrap()).unwrap();
            after.is_none_or(|after| at >= after)
        });
        all.reverse();
        let size: usize = query["page_size"].as_str().unwrap_or("10").parse().unwrap();
        let begin: usize = query["next_page_token"].as_str().unwrap_or("0").parse().unwrap();
        let end = begin.saturating_add(size).min(all.len());
        let fields = [
            "dispute_id",
            "create_time",
            "update_time",
            "reason",
            "status",
            "dispute_amount",
            "dispute_life_cycle_stage",
            "seller_response_due_date",
        ];
        let short = |dispute: &&Value| -> Value {
            let mut short = json!({});
            for field in fields {
                if let Some(value) = dispute.get(field) {
                    short[field] = value.clone();
                }
            }
            short
        };
        let items: Vec<Value> = all.get(begin..end).unwrap_or_default().iter().map(short).collect();
        let mut list = json!({});
        if !items.is_empty() {
            list["items"] = json!(items);
        }
        if end < all.len() {
            let href = format!("{}/v1/customer/disputes?next_page_token={end}", self.address);
            list["links"] = json!([{"href": href, "rel": "next", "method": "GET"}]);
        }
        Answered::json(200, &list)
    }

    fn evidence(&mut self, id: &str, asked: &Asked, now: Timestamp) -> Answered {
        let Some(dispute) = self.disputes.get_mut(id) else { return missing() };
        if dispute["status"] != "WAITING_FOR_SELLER_RESPONSE" {
            return unprocessable("ACTION_NOT_ALLOWED_IN_CURRENT_DISPUTE_STATE");
        }
        let Some(input) = input(asked) else {
            return error(400, "INVALID_REQUEST", "MISSING_REQUIRED_PARAMETER", "There is no input.");
        };
        dispute["status"] = json!("UNDER_REVIEW");
        dispute["evidences"] = input["evidences"].clone();
        dispute["update_time"] = json!(text(now));
        let dispute = dispute.clone();
        self.tell("CUSTOMER.DISPUTE.UPDATED", "dispute", &dispute, now);
        Answered::json(200, &json!({"links": []}))
    }

    fn decide(&mut self, id: &str, outcome: &str, now: Timestamp) {
        let dispute = self.disputes.get_mut(id).unwrap();
        dispute["status"] = json!("RESOLVED");
        dispute["dispute_outcome"] = json!({"outcome_code": outcome});
        dispute["update_time"] = json!(text(now));
        let dispute = dispute.clone();
        let capture =
            dispute["disputed_transactions"][0]["seller_transaction_id"].as_str().unwrap().to_owned();
        let taken = dispute["dispute_life_cycle_stage"] != "INQUIRY";
        let lost = matches!(outcome, "RESOLVED_BUYER_FAVOUR" | "ACCEPTED");
        let amount = &dispute["dispute_amount"];
        match (taken, lost) {
            (true, false) => self.book(&format!("{id}R"), "T1202", (amount, "0.00"), &capture, "", now),
            (false, true) => {
                let amount = known_amount(amount, -1);
                self.book(&format!("{id}H"), "T1106", (&amount, "0.00"), &capture, "", now);
            }
            _ => {}
        }
        self.tell("CUSTOMER.DISPUTE.RESOLVED", "dispute", &dispute, now);
    }

    fn report(&mut self, asked: &Asked) -> Answered {
        let known =
            ["start_date", "end_date", "fields", "balance_affecting_records_only", "page_size", "page"];
        for name in asked.query.as_object().unwrap().keys().filter(|name| !known.contains(&name.as_str())) {
            self.wrong.push(format!("{}: {name}: no such parameter", asked.line()));
        }
        let at = |name: &str| asked.query[name].as_str().and_then(|text| Timestamp::parse(text).ok());
        let (Some(from), Some(to)) = (at("start_date"), at("end_date")) else {
            self.wrong.push(format!("{}: without dates", asked.line()));
            return error(400, "INVALID_REQUEST", "INVALID_PARAMETER_VALUE", "Dates are required.");
        };
        if to.since(from).unwrap() > Span::from_seconds(31 * 86_400) {
            return error(400, "INVALID_REQUEST", "", "Date range is greater than 31 days");
        }
        let number = |name: &str, usual: usize| {
            asked.query[name].as_str().map_or(usual, |text| text.parse::<usize>().unwrap())
        };
        let (size, page) = (number("page_size", 100).min(500), number("page", 1).max(1));
        let within = |line: &&Value| {
            let at = Timestamp::from_micros(line["at"].as_i64().unwrap());
            from <= at && at <= to
        };
        let lines: Vec<&Value> = self.books.iter().filter(within).collect();
        let pages = lines.len().div_ceil(size).max(1);
        let shown: Vec<Value> = lines
            .chunks(size)
            .nth(page.saturating_sub(1))
            .unwrap_or_default()
            .iter()
            .map(|line| without(line, &["at"]))
            .collect();
        Answered::json(
            200,
            &json!({"transaction_details": shown, "page": page, "total_items": lines.len(), "total_pages": pages}),
        )
    }
}
