//! PayPal's own library for Python against our fake.

use serde_json::{Value, json};
use testkit::payments::Fault;
use testkit::payments::paypal::{CLIENT, FakePaypal, SECRET};

use super::super::clock;
use super::Library;

struct Setting {
    fake: FakePaypal,
    library: Library,
}

fn library(fake: &FakePaypal, secret: &str) -> Library {
    Library::start("paypal_sdk.py", &[fake.address().trim_end_matches('/'), CLIENT, secret])
}

/// Everything that was made, and not only its name.
const WHOLE: &str = "return=representation";

fn order(key: &str, value: &str) -> Value {
    json!({
        "call": "orders.create_order", "body": "OrderRequest",
        "with": {"paypal_request_id": key, "prefer": WHOLE, "body": {
            "intent": "CAPTURE",
            "purchase_units": [{
                "custom_id": "purchase-1", "invoice_id": "purchase-1", "description": "Two Step 100k & reset",
                "amount": {"currency_code": "USD", "value": value},
            }],
        }},
    })
}

fn capture(order: &str, key: &str) -> Value {
    let with = json!({"id": order, "paypal_request_id": key, "prefer": WHOLE});
    json!({"call": "orders.capture_order", "with": with})
}

fn refund(capture: &str, key: &str, value: &str) -> Value {
    let body = json!({"custom_id": key, "amount": {"currency_code": "USD", "value": value}});
    let with = json!({"capture_id": capture, "paypal_request_id": key, "prefer": WHOLE, "body": body});
    json!({"call": "payments.refund_captured_payment", "with": with, "body": "RefundRequest"})
}

/// Asked without a word on how much it wants to be told.
fn minimal(mut told: Value) -> Value {
    told["with"].as_object_mut().unwrap().remove("prefer");
    told
}

/// Whether all of a thing stands in another one, which may say more: the library fills in what PayPal takes for granted.
fn is_part(part: &Value, whole: &Value) -> bool {
    match (part, whole) {
        (Value::Object(part), Value::Object(whole)) => {
            part.iter().all(|(name, value)| whole.get(name).is_some_and(|other| is_part(value, other)))
        }
        (Value::Array(part), Value::Array(whole)) => {
            part.len() == whole.len() && part.iter().zip(whole).all(|(part, whole)| is_part(part, whole))
        }
        (part, whole) => part == whole,
    }
}

impl Setting {
    async fn open() -> Self {
        let fake = FakePaypal::open(clock()).await;
        let library = library(&fake, SECRET);
        Self { fake, library }
    }

    /// What the library gives, and the status.
    fn answered(&mut self, told: &Value) -> (u64, Value) {
        let answered = self.library.ask(told).unwrap();
        let (sent, read) = (&answered["sent"], &answered["body"]);
        assert!(
            is_part(sent, read),
            "the library does not know all that the fake says: {sent} is read as {read}"
        );
        (answered["status"].as_u64().unwrap(), answered["body"].clone())
    }

    fn ask(&mut self, told: &Value) -> Value {
        self.answered(told).1
    }

    /// The class that the library raises, the status, and PayPal's word for it.
    fn raised(&mut self, told: &Value) -> (String, u64, String) {
        let raised = self.library.ask(told).unwrap_err();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let body = &raised["body"];
        let word = body["details"].get(0).map_or(&body["name"], |detail| &detail["issue"]);
        (text(&raised["error"]), raised["status"].as_u64().unwrap(), text(word))
    }

    /// An order that is captured; the capture's name.
    fn paid(&mut self) -> String {
        let order = self.ask(&order("order-1", "100.00"));
        let order = order["id"].as_str().unwrap();
        self.fake.approve(order);
        let paid = self.ask(&capture(order, "capture-1"));
        paid["purchase_units"][0]["payments"]["captures"][0]["id"].as_str().unwrap().to_owned()
    }

    fn end(self) {
        assert_eq!(self.fake.wrong(), [""; 0]);
        assert_eq!(self.fake.faults_waiting(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn paypals_library_sells_gives_back_and_reads_what_happened() {
    let mut at = Setting::open().await;
    let opened = at.ask(&order("order-1", "100.00"));
    let name = opened["id"].as_str().unwrap();
    assert_eq!((&opened["status"], &opened["links"][0]["rel"]), (&json!("CREATED"), &json!("approve")));
    assert_eq!(opened["purchase_units"][0]["custom_id"], "purchase-1");
    at.fake.approve(name);
    let seen = at.ask(&json!({"call": "orders.get_order", "with": {"id": name}}));
    assert_eq!(seen["status"], "APPROVED");
    let paid = at.ask(&capture(name, "capture-1"));
    assert_eq!(paid["status"], "COMPLETED");
    let taken = &paid["purchase_units"][0]["payments"]["captures"][0];
    assert_eq!(taken["amount"], json!({"currency_code": "USD", "value": "100.00"}));
    assert_eq!(taken["seller_receivable_breakdown"]["net_amount"]["value"], "96.02");
    assert_eq!((&taken["custom_id"], &taken["final_capture"]), (&json!("purchase-1"), &json!(true)));

    let given = at.ask(&refund(taken["id"].as_str().unwrap(), "refund-1", "40.00"));
    assert_eq!((&given["status"], &given["amount"]["value"]), (&json!("COMPLETED"), &json!("40.00")));
    let seen = at.ask(&json!({"call": "payments.get_refund", "with": {"refund_id": given["id"]}}));
    assert_eq!((&seen["id"], &seen["custom_id"]), (&given["id"], &json!("refund-1")));
    let left = json!({"call": "payments.get_captured_payment", "with": {"capture_id": taken["id"]}});
    assert_eq!(at.ask(&left)["status"], "PARTIALLY_REFUNDED");
    assert_eq!(at.fake.counts(), [1, 1, 1, 0]);
    let tokens = at.fake.requests().into_iter().filter(|line| line.ends_with("/token")).count();
    assert_eq!(tokens, 1, "it keeps the token that it was given");
    at.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn paypals_library_reads_the_books_page_by_page() {
    let mut at = Setting::open().await;
    let taken = at.paid();
    for part in ["10.00", "20.00"] {
        at.ask(&refund(&taken, part, part));
    }
    at.fake.dispute(&taken, false);
    let mut lines = Vec::new();
    for page in 1..=2 {
        let with = json!({
            "start_date": "2026-06-01T00:00:00Z", "end_date": "2026-06-02T00:00:00.000Z", "fields": "transaction_info",
            "balance_affecting_records_only": "Y", "page_size": 3, "page": page,
        });
        let read = at.ask(&json!({"call": "transaction_search.search_transactions", "with": with}));
        assert_eq!((&read["total_items"], &read["total_pages"]), (&json!(4), &json!(2)));
        lines.extend(read["transaction_details"].as_array().unwrap().clone());
    }
    let of = |field: &str| -> Vec<Value> {
        lines.iter().map(|line| line["transaction_info"][field].clone()).collect()
    };
    assert_eq!(of("transaction_event_code"), ["T0006", "T1107", "T1107", "T1201"]);
    let amounts: Vec<Value> = of("transaction_amount").iter().map(|amount| amount["value"].clone()).collect();
    assert_eq!(amounts, ["100.00", "-10.00", "-20.00", "-100.00"]);
    at.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn paypals_library_is_told_only_names_where_it_does_not_ask_for_more() {
    let mut at = Setting::open().await;
    let (status, opened) = at.answered(&minimal(order("order-1", "100.00")));
    let fields = |thing: &Value| thing.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!((status, fields(&opened)), (201, ["id", "links", "status"].map(str::to_owned).to_vec()));
    let name = opened["id"].as_str().unwrap();
    at.fake.approve(name);
    assert_eq!(at.ask(&minimal(capture(name, "capture-1"))).get("purchase_units"), None);
    let taken = at.fake.all("capture")[0]["id"].as_str().unwrap().to_owned();
    assert_eq!(at.ask(&minimal(refund(&taken, "refund-1", "40.00"))).get("amount"), None);
    at.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_id_gives_paypals_library_the_first_answer_again_and_refuses_other_content() {
    let mut at = Setting::open().await;
    let (status, opened) = at.answered(&order("order-1", "100.00"));
    assert_eq!(status, 201);
    assert_eq!(at.answered(&order("order-1", "100.00")), (200, opened), "not created again");
    let reused = ("ErrorException".to_owned(), 422, "PAYPAL_REQUEST_ID_PREVIOUSLY_USED".to_owned());
    assert_eq!(at.raised(&order("order-1", "1.00")), reused);
    let taken = at.paid();
    let given = at.answered(&refund(&taken, "refund-1", "40.00"));
    assert_eq!(at.answered(&refund(&taken, "refund-1", "40.00")), given);
    assert_eq!(at.raised(&refund(&taken, "refund-1", "10.00")), reused);
    assert_eq!(at.fake.counts(), [1, 1, 1, 0]);
    at.end();
}

#[tokio::test(flavor = "multi_thread")]
async fn paypals_library_knows_each_failure_of_the_fake_by_its_own_class() {
    let mut at = Setting::open().await;
    let opened = at.ask(&order("order-1", "100.00"));
    let name = opened["id"].as_str().unwrap();
    let refused = |status: u64, word: &str| ("ErrorException".to_owned(), status, word.to_owned());
    assert_eq!(at.raised(&capture(name, "early")), refused(422, "ORDER_NOT_APPROVED"));
    at.fake.approve(name);
    at.fake.meets("POST /v2/checkout/orders/", Fault::Decline("INSTRUMENT_DECLINED"));
    assert_eq!(at.raised(&capture(name, "declined")), refused(422, "INSTRUMENT_DECLINED"));
    let taken = at.paid();
    assert_eq!(at.raised(&refund(&taken, "refund-1", "100.01")), refused(422, "REFUND_AMOUNT_EXCEEDED"));
    let missing = json!({"call": "orders.get_order", "with": {"id": "ORD-MISSING"}});
    assert_eq!(at.raised(&missing), refused(404, "INVALID_RESOURCE_ID"));
    // For a 500 of a refund it has a class of its own.
    for (fault, class, status, word) in [
        (Fault::Fail(500), "ApiException", 500, "INTERNAL_SERVER_ERROR"),
        (Fault::Busy(None), "ErrorException", 429, "RATE_LIMIT_REACHED"),
        (Fault::AtWork, "ErrorException", 409, "PREVIOUS_REQUEST_IN_PROGRESS"),
    ] {
        at.fake.meets("POST /v2/payments/captures/", fault);
        let raised = at.raised(&refund(&taken, "refund-2", "1.00"));
        assert_eq!(raised, (class.to_owned(), status, word.to_owned()));
    }
    let mut stranger = library(&at.fake, "another");
    let raised = stranger.ask(&order("order-2", "1.00")).unwrap_err();
    assert_eq!(raised["error"], "AuthValidationException", "it got no token");
    assert_eq!(at.fake.counts(), [1, 1, 0, 0]);
    at.end();
}
