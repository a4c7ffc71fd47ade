//! Stripe, as far as we use it.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock, Mutex};

use hmac::{Hmac, KeyInit as _, Mac as _};
use kernel::{Clock, Timestamp};
use serde_json::{Value, json};
use sha2::Sha256;

use super::pretend::{
    Answered, Asked, Fault, Faults, Keys, Known, Pretender, Server, SignedWebhook, decoded, lock, nested,
};
use super::spec::Spec;

/// The key that it takes.
pub const KEY: &str = "sk_test_51TradeSenseFake0000";
/// The secret of the endpoint that it signs for.
pub const SECRET: &str = "whsec_TradeSenseFake0123456789abcdef";
/// The version that it speaks.
const VERSION: &str = "2026-05-27.dahlia";
/// What Stripe takes for a dispute, in the smallest unit.
const DISPUTE_FEE: i64 = 1_500;

/// A Stripe of one's own.
#[derive(Debug)]
pub struct FakeStripe {
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
    /// Everything there is, by its id.
    things: BTreeMap<String, Value>,
    /// What a session's payment is to say of itself once it is made; the session does not tell it.
    metadata_of_payments: BTreeMap<String, Value>,
    /// Ids in the order in which they were made.
    order: Vec<String>,
    keys: Keys,
    events: Vec<Value>,
    requests: Vec<String>,
    wrong: Vec<String>,
    refunds_pend: bool,
}

impl FakeStripe {
    /// Open on a port of its own.
    pub async fn open(clock: Arc<dyn Clock>) -> Self {
        static SPEC: LazyLock<Spec> = LazyLock::new(|| Spec::read(include_str!("../../specs/stripe.json")));
        let own = Arc::new(Own { clock, faults: Faults::default(), spec: &SPEC, state: Mutex::default() });
        let server = Server::open(Arc::clone(&own)).await;
        Self { own, server }
    }

    /// Its address.
    pub fn address(&self) -> String {
        format!("http://{}/", self.server.address)
    }

    /// The next request whose line begins like this, such as `POST /v1/refunds`, meets the fault.
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

    /// What was asked or answered against the specification. A test ends with none.
    pub fn wrong(&self) -> Vec<String> {
        lock(&self.own.state).wrong.clone()
    }

    /// Anything by its id, or null.
    pub fn thing(&self, id: &str) -> Value {
        lock(&self.own.state).things.get(id).cloned().unwrap_or_default()
    }

    /// Everything of a kind (`refund`, `transfer`), oldest first.
    pub fn all(&self, kind: &str) -> Vec<Value> {
        lock(&self.own.state).all(kind)
    }

    /// Keys live for a day; this is the day after.
    pub fn forget_keys(&self) {
        lock(&self.own.state).keys.forget();
    }

    /// The balance of a currency in its smallest unit.
    pub fn balance(&self, currency: &str) -> i64 {
        lock(&self.own.state).balance(currency)
    }

    /// Money from our bank.
    pub fn top_up(&self, count: i64, currency: &str) {
        let mut state = lock(&self.own.state);
        let source = state.id("tu");
        state.book(self.now(), &source, ("topup", "topup"), (count, 0), currency);
    }

    /// The buyer pays on the page; returns the payment's id.
    pub fn pay(&self, session: &str) -> String {
        self.own.change(|state, now| {
            let intent = state.intent(session, now);
            state.charge(&intent, now);
            state.complete(session, "paid");
            state.tell("payment_intent.succeeded", &intent, now);
            state.tell("checkout.session.completed", session, now);
            intent
        })
    }

    /// The buyer pays by something that takes days.
    pub fn pay_later(&self, session: &str) -> String {
        self.own.change(|state, now| {
            let intent = state.intent(session, now);
            state.set(&intent, "status", "processing");
            state.complete(session, "unpaid");
            state.tell("checkout.session.completed", session, now);
            intent
        })
    }

    /// The days have passed.
    pub fn settle(&self, session: &str, good: bool) {
        self.own.change(|state, now| {
            let intent = state.things[session]["payment_intent"].as_str().unwrap().to_owned();
            if good {
                state.charge(&intent, now);
                state.complete(session, "paid");
                state.tell("payment_intent.succeeded", &intent, now);
                state.tell("checkout.session.async_payment_succeeded", session, now);
            } else {
                state.set(&intent, "status", "requires_payment_method");
                state.tell("payment_intent.payment_failed", &intent, now);
                state.tell("checkout.session.async_payment_failed", session, now);
            }
        });
    }

    /// The buyer's card is declined; the page stays open.
    pub fn decline(&self, session: &str) {
        self.own.change(|state, now| {
            let intent = state.intent(session, now);
            state.set(&intent, "status", "requires_payment_method");
            state.tell("payment_intent.payment_failed", &intent, now);
        });
    }

    /// Nobody pays until it is too late.
    pub fn expire(&self, session: &str) {
        self.own.change(|state, now| state.expire(session, now));
    }

    /// The buyer's bank wants the money back, or asks about it; returns the dispute's id.
    pub fn dispute(&self, intent: &str, inquiry: bool) -> String {
        self.own.change(|state, now| {
            let charge = state.things[intent]["latest_charge"].as_str().unwrap().to_owned();
            let (amount, currency) = state.worth(&charge);
            let id = state.id("dp");
            let mut books = Vec::new();
            if !inquiry {
                let taken = amount.saturating_neg();
                books.push(state.book(now, &id, ("adjustment", "dispute"), (taken, DISPUTE_FEE), &currency));
            }
            let status = if inquiry { "warning_needs_response" } else { "needs_response" };
            let due = seconds(now).saturating_add(7 * 86_400);
            state.make(
                &id,
                json!({
                    "object": "dispute", "amount": amount, "currency": currency, "charge": charge,
                    "payment_intent": intent, "status": status, "reason": "fraudulent", "evidence": {},
                    "evidence_details": {"due_by": due, "has_evidence": false, "past_due": false, "submission_count": 0,
                        "enhanced_eligibility": {}},
                    "balance_transactions": books, "enhanced_eligibility_types": [], "is_charge_refundable": inquiry,
                    "livemode": false, "metadata": {}, "created": seconds(now),
                }),
            );
            state.set(&charge, "disputed", true);
            state.tell("charge.dispute.created", &id, now);
            id
        })
    }

    /// The bank decides.
    pub fn decide(&self, dispute: &str, won: bool) {
        self.own.change(|state, now| state.decide(dispute, won, now));
    }

    /// Refunds wait until [`Self::finish_refund`].
    pub fn refunds_pend(&self) {
        lock(&self.own.state).refunds_pend = true;
    }

    /// The buyer's bank took a refund, or sent it back.
    pub fn finish_refund(&self, refund: &str, good: bool) {
        self.own.change(|state, now| {
            if good {
                state.set(refund, "status", "succeeded");
                state.tell("refund.updated", refund, now);
                return;
            }
            let (amount, currency) = state.worth(refund);
            let charge = state.things[refund]["charge"].as_str().unwrap().to_owned();
            state.set(refund, "status", "failed");
            state.set(refund, "failure_reason", "lost_or_stolen_card");
            state.book(now, refund, ("refund_failure", "refund_failure"), (amount, 0), &currency);
            state.add(&charge, "amount_refunded", amount.saturating_neg());
            state.tell("refund.failed", refund, now);
        });
    }

    /// Somebody refunds at Stripe's own screen.
    pub fn refund_by_hand(&self, intent: &str, amount: i64) -> String {
        self.own.change(|state, now| state.refund(intent, amount, &json!({}), now))
    }

    /// Somebody takes a transfer back at Stripe's own screen.
    pub fn take_back(&self, transfer: &str) {
        self.own.change(|state, now| assert_eq!(state.reverse(transfer, now).status, 200));
    }

    /// All events so far, oldest first, signed now.
    pub fn webhooks(&self) -> Vec<SignedWebhook> {
        self.webhooks_from(0)
    }

    /// The events behind the first so many, signed now: what has been delivered need not be signed again.
    pub fn webhooks_from(&self, delivered: usize) -> Vec<SignedWebhook> {
        let at = seconds(self.now());
        let state = lock(&self.own.state);
        let events = state.events.iter().skip(delivered);
        events.map(|event| sign(event.to_string().into_bytes(), at, &[SECRET])).collect()
    }

    /// The events themselves.
    pub fn events(&self) -> Vec<Value> {
        lock(&self.own.state).events.clone()
    }

    fn now(&self) -> Timestamp {
        self.own.clock.now()
    }
}

/// A webhook signed at a second with these secrets.
pub fn sign(body: Vec<u8>, at: i64, secrets: &[&str]) -> SignedWebhook {
    let mut header = format!("t={at}");
    for secret in secrets {
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(format!("{at}.").as_bytes());
        mac.update(&body);
        header.extend([",v1=", &hex::encode(mac.finalize().into_bytes())]);
    }
    SignedWebhook { headers: vec![("stripe-signature".to_owned(), header.into_bytes())], body }
}

fn seconds(at: Timestamp) -> i64 {
    at.micros().div_euclid(1_000_000)
}

impl Own {
    fn change<T>(&self, change: impl FnOnce(&mut State, Timestamp) -> T) -> T {
        change(&mut lock(&self.state), self.clock.now())
    }
}

fn error(status: u16, kind: &str, code: &str, message: &str) -> Answered {
    Answered::json(status, &json!({"error": {"type": kind, "code": code, "message": message}}))
}

fn invalid(code: &str, message: &str) -> Answered {
    error(400, "invalid_request_error", code, message)
}

fn missing(id: &str) -> Answered {
    error(404, "invalid_request_error", "resource_missing", &format!("No such thing: '{id}'"))
}

impl Pretender for Own {
    fn faults(&self) -> &Faults {
        &self.faults
    }

    fn failed(&self, status: u16, word: &str) -> Answered {
        match word {
            "at_work" => {
                error(status, "idempotency_error", "idempotency_key_in_use", "There is another request.")
            }
            "busy" => error(status, "invalid_request_error", "rate_limit", "Too many requests."),
            _ => error(status, "api_error", "api_error", "Sorry."),
        }
    }

    fn other_mode(&self, answer: Answered) -> Answered {
        let text = String::from_utf8(answer.body).unwrap();
        Answered { body: text.replace("\"livemode\":false", "\"livemode\":true").into_bytes(), ..answer }
    }

    fn act(&self, asked: &Asked, decline: Option<&str>) -> Answered {
        let mut state = lock(&self.state);
        state.requests.push(asked.line());
        let trace = format!("req_{}", state.requests.len());
        if asked.header("authorization") != format!("Bearer {KEY}") {
            return error(401, "invalid_request_error", "api_key_invalid", "Invalid API Key provided.");
        }
        if asked.header("stripe-version") != VERSION {
            state.wrong.push(format!("{}: not of the version {VERSION}", asked.line()));
        }
        let Some(operation) = self.spec.find(&asked.method, &asked.path) else {
            state.wrong.push(format!("{}: no such operation", asked.line()));
            return error(404, "invalid_request_error", "url_invalid", "Unrecognized request URL.");
        };
        let body = asked.body.as_slice();
        let form = match asked.header("content-type") {
            kind if kind.starts_with("multipart/form-data") => multipart(kind, body),
            _ => nested(&decoded(&String::from_utf8_lossy(body))),
        };
        let mut faults = operation.query_faults(&asked.query);
        faults.extend(operation.form_faults(&form));
        if !faults.is_empty() {
            // What is not well-formed leaves no trace under its key.
            let text = faults.join("; ");
            state.wrong.push(format!("{}: {text}", asked.line()));
            return invalid("parameter_invalid", &text);
        }
        let key = asked.header("idempotency-key").to_owned();
        if asked.method == "POST" && (key.is_empty() || key.len() > 255) {
            state.wrong.push(format!("{}: without a key", asked.line()));
        }
        if !key.is_empty() {
            match state.keys.look(&key, asked) {
                Known::Same(answered) => return answered,
                Known::Other => {
                    let text = "Keys for idempotent requests can only be used with the same parameters.";
                    return error(400, "idempotency_error", "idempotency_key_reused", text);
                }
                Known::New => {}
            }
        }
        let mut answered = state.route(asked, &form, decline, self.clock.now());
        if answered.status == 200 {
            let faults = operation.answer_faults(&answered.value());
            state.wrong.extend(faults.iter().map(|fault| format!("answer of {}: {fault}", asked.line())));
        }
        answered.headers.push(("request-id", trace));
        if !key.is_empty() {
            state.keys.keep(&key, asked, &answered);
        }
        answered
    }
}

impl State {
    fn id(&mut self, kind: &str) -> String {
        let count = self.order.len().checked_add(self.events.len()).unwrap();
        let id = format!("{kind}_{count:06}");
        self.order.push(id.clone());
        id
    }

    fn make(&mut self, id: &str, mut thing: Value) {
        thing["id"] = json!(id);
        self.things.insert(id.to_owned(), thing);
    }

    fn set(&mut self, id: &str, field: &str, value: impl Into<Value>) {
        self.things.get_mut(id).unwrap()[field] = value.into();
    }

    fn add(&mut self, id: &str, field: &str, count: i64) {
        let sum = self.things[id][field].as_i64().unwrap().checked_add(count).unwrap();
        self.set(id, field, sum);
    }

    fn worth(&self, id: &str) -> (i64, String) {
        let thing = &self.things[id];
        (thing["amount"].as_i64().unwrap(), thing["currency"].as_str().unwrap().to_owned())
    }

    fn all(&self, kind: &str) -> Vec<Value> {
        let things = self.order.iter().filter_map(|id| self.things.get(id));
        things.filter(|thing| thing["object"] == kind).cloned().collect()
    }

    fn balance(&self, currency: &str) -> i64 {
        let lines = self.all("balance_transaction").into_iter().filter(|line| line["currency"] == currency);
        lines.map(|line| line["net"].as_i64().unwrap()).sum()
    }

    /// A line in the books; returns it.
    fn book(
        &mut self,
        now: Timestamp,
        source: &str,
        (kind, category): (&str, &str),
        (amount, fee): (i64, i64),
        currency: &str,
    ) -> Value {
        let id = self.id("txn");
        let details: Vec<Value> = (fee != 0)
            .then(|| json!({"amount": fee, "currency": currency, "type": "stripe_fee"}))
            .into_iter()
            .collect();
        let line = json!({
            "id": id, "object": "balance_transaction", "amount": amount, "fee": fee, "fee_details": details,
            "net": amount.checked_sub(fee).unwrap(), "currency": currency, "source": source, "type": kind,
            "reporting_category": category, "status": "available", "balance_type": "payments",
            "available_on": seconds(now), "created": seconds(now),
        });
        self.make(&id, line.clone());
        line
    }

    fn tell(&mut self, kind: &str, id: &str, now: Timestamp) {
        let count = self.events.len();
        let object = self.things[id].clone();
        self.events.push(json!({
            "id": format!("evt_{count:06}"), "object": "event", "api_version": VERSION, "type": kind,
            "created": seconds(now), "livemode": false, "pending_webhooks": 1, "data": {"object": object},
            "request": {"id": null, "idempotency_key": null},
        }));
    }

    /// The payment of a session, made when somebody tries to pay.
    fn intent(&mut self, session: &str, now: Timestamp) -> String {
        let page = self.things[session].clone();
        assert_eq!(page["status"], "open", "only an open page is paid on");
        if let Some(known) = page["payment_intent"].as_str() {
            return known.to_owned();
        }
        let id = self.id("pi");
        self.make(
            &id,
            json!({
                "object": "payment_intent", "amount": page["amount_total"], "amount_received": 0,
                "currency": page["currency"], "status": "requires_payment_method", "latest_charge": null,
                "metadata": self.metadata_of_payments[session], "created": seconds(now), "livemode": false,
            }),
        );
        self.set(session, "payment_intent", id.clone());
        id
    }

    fn charge(&mut self, intent: &str, now: Timestamp) {
        let (amount, currency) = self.worth(intent);
        let id = self.id("ch");
        // 2.9 % and 30 of the smallest unit, rounded down.
        let fee = amount.checked_mul(29).unwrap().div_euclid(1_000).checked_add(30).unwrap();
        let line = self.book(now, &id, ("charge", "charge"), (amount, fee), &currency);
        self.make(
            &id,
            json!({
                "object": "charge", "amount": amount, "amount_captured": amount, "amount_refunded": 0,
                "currency": currency, "balance_transaction": line["id"], "billing_details": {
                    "address": null, "email": null, "name": null, "phone": null, "tax_id": null},
                "captured": true, "created": seconds(now), "disputed": false, "livemode": false, "metadata": {},
                "paid": true, "payment_intent": intent, "refunded": false, "status": "succeeded",
            }),
        );
        self.set(intent, "latest_charge", id);
        self.set(intent, "amount_received", amount);
        self.set(intent, "status", "succeeded");
    }

    fn complete(&mut self, session: &str, payment: &str) {
        self.set(session, "status", "complete");
        self.set(session, "payment_status", payment);
        self.set(session, "url", Value::Null);
    }

    fn expire(&mut self, session: &str, now: Timestamp) {
        self.set(session, "status", "expired");
        self.set(session, "url", Value::Null);
        self.tell("checkout.session.expired", session, now);
    }

    fn refund(&mut self, intent: &str, amount: i64, metadata: &Value, now: Timestamp) -> String {
        let charge = self.things[intent]["latest_charge"].as_str().unwrap().to_owned();
        let (_, currency) = self.worth(&charge);
        let id = self.id("re");
        let line = self.book(now, &id, ("refund", "refund"), (amount.saturating_neg(), 0), &currency);
        let status = if self.refunds_pend { "pending" } else { "succeeded" };
        self.make(
            &id,
            json!({
                "object": "refund", "amount": amount, "currency": currency, "charge": charge, "payment_intent": intent,
                "status": status, "balance_transaction": line["id"], "metadata": metadata, "reason": null,
                "created": seconds(now),
            }),
        );
        self.add(&charge, "amount_refunded", amount);
        self.tell("refund.created", &id, now);
        self.tell("charge.refunded", &charge, now);
        id
    }

    fn decide(&mut self, dispute: &str, won: bool, now: Timestamp) {
        let inquiry = self.things[dispute]["status"].as_str().unwrap().starts_with("warning");
        let status = match (inquiry, won) {
            (true, _) => "warning_closed",
            (false, true) => "won",
            (false, false) => "lost",
        };
        self.set(dispute, "status", status);
        if won && !inquiry {
            let (amount, currency) = self.worth(dispute);
            let line = self.book(now, dispute, ("adjustment", "dispute_reversal"), (amount, 0), &currency);
            self.things.get_mut(dispute).unwrap()["balance_transactions"].as_array_mut().unwrap().push(line);
        }
        self.tell("charge.dispute.closed", dispute, now);
    }

    fn route(&mut self, asked: &Asked, form: &Value, decline: Option<&str>, now: Timestamp) -> Answered {
        let parts = asked.parts();
        let named = |state: &Self, id: &str, kind: &str| {
            state.things.get(id).filter(|thing| thing["object"] == kind).cloned()
        };
        let shown = |state: &Self, id: &str| Answered::json(200, &state.expanded(id, &asked.query["expand"]));
        match (asked.method.as_str(), &parts[1..]) {
            ("POST", ["checkout", "sessions"]) => self.open_session(form, now),
            ("GET", ["checkout", "sessions", id]) => match named(self, id, "checkout.session") {
                Some(_) => shown(self, id),
                None => missing(id),
            },
            ("POST", ["checkout", "sessions", id, "expire"]) => match named(self, id, "checkout.session") {
                Some(session) if session["status"] == "open" => {
                    self.expire(id, now);
                    shown(self, id)
                }
                Some(_) => invalid("checkout_session_not_open", "Only open sessions can be expired."),
                None => missing(id),
            },
            ("GET", ["payment_intents", id]) => match named(self, id, "payment_intent") {
                Some(_) => shown(self, id),
                None => missing(id),
            },
            ("POST", ["refunds"]) => self.ask_refund(form, now),
            ("GET", [list @ ("refunds" | "transfers" | "balance_transactions" | "disputes")]) => {
                let kind = list.trim_end_matches('s');
                self.list(kind, list, &asked.query)
            }
            ("GET", ["refunds" | "disputes" | "transfers", id]) => match self.things.get(*id) {
                Some(_) => shown(self, id),
                None => missing(id),
            },
            ("POST", ["disputes", id]) => self.answer_dispute(id, form, now),
            ("POST", ["disputes", id, "close"]) => match named(self, id, "dispute") {
                Some(_) => {
                    self.decide(id, false, now);
                    shown(self, id)
                }
                None => missing(id),
            },
            ("POST", ["files"]) => {
                let id = self.id("file");
                let size = form["file"].as_str().unwrap_or_default().len();
                let (purpose, created) = (&form["purpose"], seconds(now));
                self.make(
                    &id,
                    json!({"object": "file", "purpose": purpose, "size": size, "created": created}),
                );
                shown(self, &id)
            }
            ("POST", ["transfers"]) => self.transfer(form, decline, now),
            ("POST", ["transfers", id, "reversals"]) => self.reverse(id, now),
            _ => error(404, "invalid_request_error", "url_invalid", "Unrecognized request URL."),
        }
    }

    fn open_session(&mut self, form: &Value, now: Timestamp) -> Answered {
        let price = &form["line_items"][0]["price_data"];
        let (Some(count), Some(currency)) = (
            price["unit_amount"].as_str().and_then(|count| count.parse::<i64>().ok()),
            price["currency"].as_str(),
        ) else {
            return invalid("parameter_missing", "Missing price.");
        };
        let whole = match currency {
            "bhd" | "jod" | "kwd" | "omr" | "tnd" => 10,
            "isk" => 100,
            _ => 1,
        };
        if count.rem_euclid(whole) != 0 {
            return invalid("invalid_charge_amount", "Invalid amount.");
        }
        if count < 50 {
            return invalid("amount_too_small", "The amount is below the least.");
        }
        let expires = form["expires_at"].as_str().map(|at| at.parse::<i64>().unwrap());
        let expires = expires.unwrap_or_else(|| seconds(now).saturating_add(86_400));
        let ahead = expires.checked_sub(seconds(now)).unwrap();
        if !(1_800..=86_400).contains(&ahead) {
            return invalid("parameter_invalid", "expires_at must be between 30 minutes and 24 hours ahead.");
        }
        let id = self.id("cs_test");
        let page = format!("https://checkout.stripe.com/c/pay/{id}");
        let given = |metadata: &Value| if metadata.is_null() { json!({}) } else { metadata.clone() };
        self.metadata_of_payments.insert(id.clone(), given(&form["payment_intent_data"]["metadata"]));
        self.make(
            &id,
            json!({
                "object": "checkout.session", "mode": "payment", "status": "open", "payment_status": "unpaid",
                "amount_total": count, "amount_subtotal": count, "currency": currency, "url": page,
                "client_reference_id": form["client_reference_id"], "metadata": given(&form["metadata"]),
                "payment_intent": null,
                "expires_at": expires, "created": seconds(now), "livemode": false, "payment_method_types": ["card"],
                "automatic_tax": {"enabled": false, "liability": null, "provider": null, "status": null},
                "custom_fields": [], "shipping_options": [],
                "custom_text": {"after_submit": null, "shipping_address": null, "submit": null,
                    "terms_of_service_acceptance": null},
            }),
        );
        Answered::json(200, &self.things[&id])
    }

    fn ask_refund(&mut self, form: &Value, now: Timestamp) -> Answered {
        let intent = form["payment_intent"].as_str().unwrap_or_default().to_owned();
        let Some(charge) = self.things.get(&intent).and_then(|intent| intent["latest_charge"].as_str())
        else {
            return missing(&intent);
        };
        let charge = self.things[charge].clone();
        let left =
            charge["amount"].as_i64().unwrap().checked_sub(charge["amount_refunded"].as_i64().unwrap());
        let left = left.unwrap();
        let amount = form["amount"].as_str().map_or(left, |amount| amount.parse().unwrap());
        if left == 0 {
            return invalid("charge_already_refunded", "The charge has already been refunded.");
        }
        if charge["disputed"] == true {
            return invalid("charge_disputed", "The charge has been charged back; it cannot be refunded.");
        }
        if amount > left {
            return invalid("amount_too_large", "The refund is greater than what is left of the charge.");
        }
        let metadata = form.get("metadata").cloned().unwrap_or_else(|| json!({}));
        let id = self.refund(&intent, amount, &metadata, now);
        Answered::json(200, &self.things[&id])
    }

    fn answer_dispute(&mut self, id: &str, form: &Value, now: Timestamp) -> Answered {
        let Some(dispute) = self.things.get(id).cloned() else { return missing(id) };
        let status = dispute["status"].as_str().unwrap();
        if !status.ends_with("needs_response") {
            return invalid("dispute_not_open", "This dispute is already closed.");
        }
        for file in ["receipt", "cancellation_policy", "service_documentation", "uncategorized_file"] {
            let named = form["evidence"][file].as_str();
            if let Some(named) = named.filter(|named| !self.things.contains_key(*named)) {
                return missing(named);
            }
        }
        self.set(id, "evidence", form["evidence"].clone());
        if form["submit"] == "true" {
            let next = status.replace("needs_response", "under_review");
            self.set(id, "status", next);
        }
        self.tell("charge.dispute.updated", id, now);
        Answered::json(200, &self.things[id])
    }

    fn transfer(&mut self, form: &Value, decline: Option<&str>, now: Timestamp) -> Answered {
        let amount: i64 = form["amount"].as_str().unwrap_or("0").parse().unwrap();
        let currency = form["currency"].as_str().unwrap().to_owned();
        if let Some(word) = decline {
            return invalid(word, "The account cannot be paid.");
        }
        if !form["destination"].as_str().unwrap().starts_with("acct_") {
            return missing(form["destination"].as_str().unwrap());
        }
        if self.balance(&currency) < amount {
            return invalid("balance_insufficient", "You have insufficient available funds.");
        }
        let id = self.id("tr");
        let line = self.book(now, &id, ("transfer", "transfer"), (amount.saturating_neg(), 0), &currency);
        self.make(
            &id,
            json!({
                "object": "transfer", "amount": amount, "amount_reversed": 0, "currency": currency,
                "balance_transaction": line["id"], "description": form["description"],
                "destination": form["destination"], "transfer_group": form["transfer_group"],
                "metadata": form.get("metadata").cloned().unwrap_or_else(|| json!({})),
                "created": seconds(now), "livemode": false, "reversed": false,
                "reversals": {"object": "list", "data": [], "has_more": false, "url": format!("/v1/transfers/{id}/reversals")},
            }),
        );
        self.tell("transfer.created", &id, now);
        Answered::json(200, &self.things[&id])
    }

    fn reverse(&mut self, id: &str, now: Timestamp) -> Answered {
        let Some(transfer) = self.things.get(id).cloned() else { return missing(id) };
        if transfer["reversed"] == true {
            return invalid("transfer_already_reversed", "The transfer is already fully reversed.");
        }
        let (amount, currency) = self.worth(id);
        let reversal = self.id("trr");
        let line =
            self.book(now, &reversal, ("transfer_refund", "transfer_reversal"), (amount, 0), &currency);
        self.set(id, "reversed", true);
        self.set(id, "amount_reversed", amount);
        self.make(
            &reversal,
            json!({
                "object": "transfer_reversal", "amount": amount, "currency": currency, "transfer": id,
                "balance_transaction": line["id"], "created": seconds(now), "metadata": {},
            }),
        );
        self.tell("transfer.reversed", id, now);
        Answered::json(200, &self.things[&reversal])
    }

    fn list(&self, kind: &str, path: &str, query: &Value) -> Answered {
        let mut all = self.all(kind);
        all.reverse();
        let number = |value: &Value| value.as_str().and_then(|text| text.parse::<i64>().ok());
        let after = |field: &str| number(&query["created"][field]);
        all.retain(|thing| {
            let at = thing["created"].as_i64().unwrap();
            let same = |field: &str| query[field].as_str().is_none_or(|wanted| thing[field] == wanted);
            after("gte").is_none_or(|from| at >= from)
                && after("lt").is_none_or(|to| at < to)
                && same("payment_intent")
                && same("charge")
                && same("transfer_group")
        });
        if let Some(last) = query["starting_after"].as_str() {
            let Some(place) = all.iter().position(|thing| thing["id"] == last) else { return missing(last) };
            all.drain(..=place);
        }
        let limit = number(&query["limit"]).unwrap_or(10);
        if !(1..=100).contains(&limit) {
            return invalid("parameter_invalid_integer", "limit is from 1 to 100.");
        }
        let limit = usize::try_from(limit).unwrap();
        let more = all.len() > limit;
        all.truncate(limit);
        let expands = query["expand"].as_array().is_some_and(|paths| paths.contains(&json!("data.source")));
        for thing in all.iter_mut().filter(|_| expands) {
            let source = thing["source"].as_str().and_then(|name| self.things.get(name));
            if let Some(source) = source.cloned() {
                thing["source"] = source;
            }
        }
        Answered::json(
            200,
            &json!({"object": "list", "data": all, "has_more": more, "url": format!("/v1/{path}")}),
        )
    }

    /// With the things in place of their names, as asked.
    fn expanded(&self, id: &str, expand: &Value) -> Value {
        let mut thing = self.things[id].clone();
        for path in expand.as_array().into_iter().flatten() {
            let mut place = &mut thing;
            for part in path.as_str().unwrap().split('.') {
                if place.get(part).is_none() {
                    break;
                }
                place = &mut place[part];
                if let Some(name) = place.as_str().map(str::to_owned) {
                    *place = self.things[&name].clone();
                }
            }
        }
        thing
    }
}

/// Fields of a body in parts, as text.
fn multipart(kind: &str, body: &[u8]) -> Value {
    let boundary = kind.split_once("boundary=").map(|(_, boundary)| format!("--{boundary}")).unwrap();
    let text = String::from_utf8_lossy(body);
    let mut fields = Vec::new();
    for part in text.split(boundary.as_str()).skip(1) {
        let Some((head, content)) = part.split_once("\r\n\r\n") else { continue };
        let name = head.split_once(" name=\"").and_then(|(_, rest)| rest.split_once('"'));
        fields.push((name.unwrap().0.to_owned(), content.trim_end_matches("\r\n").to_owned()));
    }
    nested(&fields)
}
