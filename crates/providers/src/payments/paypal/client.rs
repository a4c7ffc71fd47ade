//! Asking PayPal.

use std::fmt;

use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use kernel::{Money, Rounding, Span, Timestamp};
use reqwest::Url;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Mutex;
use zeroize::Zeroizing;

use super::super::amounts::{Purpose, nearest, to_paypal};
use super::super::multipart;
use super::super::wire::{
    Answer, Ask, BadSettings, FORM, JSON, Repeat, Tools, Wire, address, after_write, encode_form, key,
    path_part, refused, said, unreadable,
};
use super::answers::{
    Batch, Capture, DisputeAnswer, Disputes, Odd, Order, RefundAnswer, Report, Token, Trouble, linked,
};
use app::payments::port::{
    Checkout, Destination, Dispute, Document, Entry, Evidence, Failure, Mode, NewCheckout, NewPayout,
    NewRefund, Page, Payment, Payout, Provider, ProviderName, Reference, Refund, Said,
};

/// PayPal keeps keys of payments for 45 days and of payouts for 30. After these nobody may ask again.
const REFUND_KEY_LIVES: Span = Span::from_seconds(44 * 86_400);
const PAYOUT_KEY_LIVES: Span = Span::from_seconds(29 * 86_400);

/// A token is not used in its last minute.
const TOKEN_MARGIN: Span = Span::from_seconds(60);

/// The most that a note in evidence holds.
const MOST_NOTES: usize = 2_000;

/// The longest time that one report covers.
const MOST_REPORT: Span = Span::from_seconds(31 * 86_400);

/// How to reach PayPal.
pub struct PaypalSettings {
    /// Whether the money is real.
    pub mode: Mode,
    /// The app's client id.
    pub client: String,
    /// The app's secret.
    pub secret: String,
    /// Another address than PayPal's, which only test money may be sent to.
    pub address: Option<String>,
}

impl fmt::Debug for PaypalSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("PaypalSettings").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// PayPal.
pub struct Paypal {
    mode: Mode,
    api: Url,
    basic: HeaderValue,
    token: Mutex<Option<(HeaderValue, Timestamp)>>,
    wire: Wire,
}

impl fmt::Debug for Paypal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Paypal").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Paypal {
    /// A client for one app. Its keys do not tell their mode, so the mode decides where they are sent: keys of the other one
    /// are unknown there.
    pub fn new(settings: PaypalSettings, tools: Tools) -> Result<Self, BadSettings> {
        let name = ProviderName::Paypal;
        let PaypalSettings { mode, client, secret, address: other } = settings;
        let secret = Zeroizing::new(secret);
        if client.is_empty() || secret.is_empty() || client.contains(':') {
            return Err(BadSettings::WrongKey(name, mode.word()));
        }
        let pair = Zeroizing::new(format!("{client}:{}", *secret));
        let pair = Zeroizing::new(format!("Basic {}", STANDARD.encode(pair.as_bytes())));
        let mut basic = HeaderValue::from_str(&pair).map_err(|_| BadSettings::Unreadable("the key", name))?;
        basic.set_sensitive(true);
        let own = match mode {
            Mode::Test => "https://api-m.sandbox.paypal.com/",
            Mode::Live => "https://api-m.paypal.com/",
        };
        Ok(Self {
            mode,
            api: address(name, mode, own, other.as_deref())?,
            basic,
            token: Mutex::default(),
            wire: Wire::new(name, mode, tools)?,
        })
    }

    /// A token that lives; asked for by one at a time.
    async fn token(&self) -> Result<HeaderValue, Failure> {
        let mut kept = self.token.lock().await;
        let now = self.wire.clock().now();
        if let Some((token, until)) = &*kept
            && now < *until
        {
            return Ok(token.clone());
        }
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, self.basic.clone());
        let body = Some(Bytes::from_static(b"grant_type=client_credentials"));
        let url = self.url("v1/oauth2/token")?;
        let ask = Ask { method: Method::POST, url, headers, body, repeat: Repeat::Reads };
        let answer = self.wire.ask(ask.header(header::CONTENT_TYPE, FORM)?).await?;
        if !answer.status.is_success() {
            let (said, _) = trouble(&answer);
            return Err(Failure::WrongKey(said));
        }
        let token: Token = answer.read(trace(&answer))?;
        let mut bearer = HeaderValue::from_str(&Zeroizing::new(format!("Bearer {}", token.access_token)))
            .map_err(|error| answer.unreadable(&error, trace(&answer)))?;
        bearer.set_sensitive(true);
        let lives = token.expires_in.saturating_mul(1_000_000).saturating_sub(TOKEN_MARGIN.micros());
        // A clock that is set back must not keep a token for years: PayPal's live nine hours.
        let lives = Span::from_micros(lives.clamp(0, 9 * 3_600_000_000));
        *kept = now.after(lives).ok().map(|until| (bearer.clone(), until));
        Ok(bearer)
    }

    fn url(&self, path: &str) -> Result<Url, Failure> {
        self.api.join(path).map_err(|_| refused("path", format!("{path:?} is no path of PayPal's.")))
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(String, String)]) -> Result<T, Failure> {
        let mut url = self.url(path)?;
        if !query.is_empty() {
            url.set_query(Some(&encode_form(query)));
        }
        let ask =
            Ask { method: Method::GET, url, headers: HeaderMap::new(), body: None, repeat: Repeat::Reads };
        let answer = self.ask(ask).await?;
        good(answer)?.read_traced()
    }

    async fn post(&self, path: &str, key: &str, body: &Value) -> Result<Answer, Failure> {
        let (url, headers) = (self.url(path)?, HeaderMap::new());
        let body = Some(Bytes::from(body.to_string()));
        let ask = Ask { method: Method::POST, url, headers, body, repeat: Repeat::Keyed };
        let ask = ask.header(header::CONTENT_TYPE, JSON)?;
        let ask = ask.header(HeaderName::from_static("prefer"), "return=representation")?;
        self.ask(ask.header(HeaderName::from_static("paypal-request-id"), key)?).await
    }

    /// With a token, and with a new one if PayPal does not take the one we have.
    async fn ask(&self, mut ask: Ask) -> Result<Answer, Failure> {
        ask.headers.insert(header::AUTHORIZATION, self.token().await?);
        let mut again = ask.clone();
        let answer = self.wire.ask(ask).await?;
        if answer.status != StatusCode::UNAUTHORIZED {
            return Ok(answer);
        }
        let doubt = answer.doubt;
        *self.token.lock().await = None;
        let token =
            self.token().await.map_err(|failure| if doubt { after_write(failure) } else { failure })?;
        again.headers.insert(header::AUTHORIZATION, token);
        match self.wire.ask(again).await {
            Ok(answer) => Ok(Answer { doubt: answer.doubt || doubt, ..answer }),
            Err(failure) if doubt => Err(after_write(failure)),
            Err(failure) => Err(failure),
        }
    }

    /// Several parts, which PayPal gives no key for.
    async fn post_parts(&self, path: &str, body: multipart::Body) -> Result<Answer, Failure> {
        let kind = body.content_type();
        let (url, headers) = (self.url(path)?, HeaderMap::new());
        let body = Some(Bytes::from(body.finish()));
        let ask = Ask { method: Method::POST, url, headers, body, repeat: Repeat::Once };
        self.ask(ask.header(header::CONTENT_TYPE, &kind)?).await
    }

    async fn batch(&self, id: &str) -> Result<Batch, Failure> {
        let path = format!("v1/payments/payouts/{}", path_part(id)?);
        self.get(&path, &[field("page_size", "10")]).await
    }

    /// The batch that was made under this name before, if it is the same payout.
    async fn sent_before(&self, new: &NewPayout, batch: &str, why: Said) -> Result<Payout, Failure> {
        let payout = self.payout(batch).await.map_err(after_write)?;
        let same = payout.reference.as_deref().is_none_or(|reference| reference == new.payout.as_str())
            && payout.amount == new.amount;
        if same { Ok(payout) } else { Err(Failure::Refused(why)) }
    }

    /// Buyers of real things pay at PayPal.
    fn checked(&self, checkout: Checkout) -> Result<Checkout, Failure> {
        let host =
            checkout.page.as_deref().and_then(|page| Some(Url::parse(page).ok()?.host_str()?.to_owned()));
        let own = self.mode == Mode::Test || matches!(host.as_deref(), Some("www.paypal.com" | "paypal.com"));
        if checkout.page.is_some() && (host.is_none() || !own) {
            let text = "PayPal answered with a page that is not of live money.".to_owned();
            return Err(Failure::WrongKey(Said { code: "page".to_owned(), text, trace: None }));
        }
        Ok(checkout)
    }

    fn late(&self, first: Timestamp, lives: Span) -> Result<(), Failure> {
        if self.wire.clock().now().since(first).is_ok_and(|gone| gone <= lives) {
            return Ok(());
        }
        let text = "PayPal may no longer know this attempt: its reports tell what became of it.".to_owned();
        Err(Failure::Unknown(said("too_late", text)))
    }
}

impl Answer {
    fn read_traced<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        self.read(trace(self))
    }
}

fn field(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

fn trace(answer: &Answer) -> Option<String> {
    answer.header("paypal-debug-id")
}

/// What PayPal says of what went wrong, and its body.
fn trouble(answer: &Answer) -> (Said, Trouble) {
    let trouble: Trouble = serde_json::from_slice(&answer.body).unwrap_or_default();
    let detail = trouble.details.first();
    let code = detail.and_then(|detail| detail.issue.clone());
    let code = code.or_else(|| trouble.name.clone()).or_else(|| trouble.error.clone());
    let text = detail.and_then(|detail| detail.description.clone());
    let text = text.or_else(|| trouble.message.clone()).or_else(|| trouble.error_description.clone());
    let said = Said {
        code: code.unwrap_or_else(|| "none".to_owned()),
        text: text.unwrap_or_else(|| format!("PayPal answered {}.", answer.status)),
        trace: trace(answer),
    };
    (said, trouble)
}

/// Words by which PayPal says that whoever pays or is paid is refused, not the request.
const DECLINES: [&str; 13] = [
    "CARD_EXPIRED",
    "COMPLIANCE_VIOLATION",
    "INSTRUMENT_DECLINED",
    "MAX_NUMBER_OF_PAYMENT_ATTEMPTS_EXCEEDED",
    "PAYEE_BLOCKED_TRANSACTION",
    "PAYER_ACCOUNT_LOCKED_OR_CLOSED",
    "PAYER_ACCOUNT_RESTRICTED",
    "PAYER_CANNOT_PAY",
    "PAYMENT_DENIED",
    "RECEIVER_ACCOUNT_LOCKED",
    "RECEIVER_UNREGISTERED",
    "REDIRECT_PAYER_FOR_ALTERNATE_FUNDING",
    "TRANSACTION_REFUSED",
];

/// The answer, if it is a success.
fn good(answer: Answer) -> Result<Answer, Failure> {
    if answer.status.is_success() {
        return Ok(answer);
    }
    let (said, _) = trouble(&answer);
    Err(match answer.status {
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if answer.doubt => Failure::Unknown(said),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::WrongKey(said),
        _ if DECLINES.contains(&said.code.as_str()) => Failure::Declined(said),
        _ => Failure::Refused(said),
    })
}

fn read<T>(meaning: Result<T, Odd>, repeat: Repeat) -> Result<T, Failure> {
    meaning.map_err(|odd| unreadable(repeat, &odd, None))
}

fn amount(money: Money, purpose: Purpose) -> Result<Value, Failure> {
    let value = to_paypal(money, purpose)?;
    Ok(match purpose {
        Purpose::Charge => json!({"currency_code": money.currency().code(), "value": value}),
        Purpose::Payout => json!({"currency": money.currency().code(), "value": value}),
    })
}

/// At most so many characters; titles are for reading.
fn short(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

fn notes(evidence: &Evidence) -> Result<String, Failure> {
    let parts = [&evidence.product, &evidence.explanation, &evidence.activity];
    let notes: Vec<&str> = parts.into_iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    let notes = notes.join("\n\n");
    if notes.chars().count() > MOST_NOTES {
        let text = format!("PayPal's notes hold {MOST_NOTES} characters: the rest has to be a document.");
        return Err(refused("notes", text));
    }
    Ok(notes)
}

#[async_trait]
impl Provider for Paypal {
    fn name(&self) -> ProviderName {
        ProviderName::Paypal
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn chargeable(&self, price: Money) -> Result<Money, Failure> {
        Ok(nearest(ProviderName::Paypal, price, Purpose::Charge, Rounding::Ceiling)?)
    }

    fn payable(&self, amount: Money) -> Result<Money, Failure> {
        Ok(nearest(ProviderName::Paypal, amount, Purpose::Payout, Rounding::Floor)?)
    }

    async fn open_checkout(&self, new: &NewCheckout) -> Result<Checkout, Failure> {
        let mut wallet = json!({"experience_context": {
            "return_url": new.success_url,
            "cancel_url": new.cancel_url,
            "user_action": "PAY_NOW",
            "shipping_preference": "NO_SHIPPING",
            "payment_method_preference": "IMMEDIATE_PAYMENT_REQUIRED",
        }});
        if let (Some(email), Some(wallet)) = (&new.email, wallet.as_object_mut()) {
            wallet.insert("email_address".to_owned(), json!(email));
        }
        let body = json!({
            "intent": "CAPTURE",
            "purchase_units": [{
                "reference_id": new.purchase.as_str(),
                "custom_id": new.purchase.as_str(),
                // PayPal takes one payment for an invoice, whatever else goes wrong.
                "invoice_id": new.purchase.as_str(),
                "description": short(&new.title, 127),
                "amount": amount(new.price, Purpose::Charge)?,
            }],
            "payment_source": {"paypal": wallet},
        });
        let answer = good(self.post("v2/checkout/orders", &key("checkout", &new.attempt), &body).await?)?;
        self.checked(read(answer.read_traced::<Order>()?.meaning(), Repeat::Keyed)?)
    }

    async fn checkout(&self, id: &str) -> Result<Checkout, Failure> {
        let path = format!("v2/checkout/orders/{}", path_part(id)?);
        self.checked(read(self.get::<Order>(&path, &[]).await?.meaning(), Repeat::Reads)?)
    }

    async fn capture(&self, id: &str, attempt: &Reference) -> Result<Checkout, Failure> {
        let path = format!("v2/checkout/orders/{}/capture", path_part(id)?);
        match good(self.post(&path, &key("capture", attempt), &json!({})).await?) {
            Ok(answer) => read(answer.read_traced::<Order>()?.meaning(), Repeat::Keyed),
            Err(Failure::Refused(said)) if said.code == "ORDER_ALREADY_CAPTURED" => {
                self.checkout(id).await.map_err(after_write)
            }
            Err(failure) => Err(failure),
        }
    }

    /// An order that nobody approves ends by itself; until then it is only not captured.
    async fn close_checkout(&self, id: &str) -> Result<Checkout, Failure> {
        self.checkout(id).await
    }

    async fn payment(&self, id: &str) -> Result<Payment, Failure> {
        let capture: Capture = self.get(&format!("v2/payments/captures/{}", path_part(id)?), &[]).await?;
        if !capture.is_partly_refunded() {
            return read(capture.meaning(), Repeat::Reads);
        }
        let path = format!("v2/checkout/orders/{}", path_part(read(capture.order(), Repeat::Reads)?)?);
        read(self.get::<Order>(&path, &[]).await?.payment(id), Repeat::Reads)
    }

    async fn refund(&self, new: &NewRefund) -> Result<Refund, Failure> {
        self.late(new.first_asked_at, REFUND_KEY_LIVES)?;
        let path = format!("v2/payments/captures/{}/refund", path_part(&new.payment)?);
        let body = json!({
            "amount": amount(new.amount, Purpose::Charge)?,
            "custom_id": new.refund.as_str(),
            "invoice_id": new.refund.as_str(),
        });
        let answer = good(self.post(&path, &key("refund", &new.refund), &body).await?)?;
        let refund = read(answer.read_traced::<RefundAnswer>()?.meaning(), Repeat::Keyed)?;
        Ok(Refund { payment: Some(new.payment.clone()), ..refund })
    }

    async fn refund_state(&self, id: &str) -> Result<Refund, Failure> {
        let path = format!("v2/payments/refunds/{}", path_part(id)?);
        read(self.get::<RefundAnswer>(&path, &[]).await?.meaning(), Repeat::Reads)
    }

    async fn dispute(&self, id: &str) -> Result<Dispute, Failure> {
        let path = format!("v1/customer/disputes/{}", path_part(id)?);
        read(self.get::<DisputeAnswer>(&path, &[]).await?.meaning(), Repeat::Reads)
    }

    /// PayPal's list tells neither the payment nor the outcome; the dispute itself does.
    async fn disputes(&self, since: Timestamp, page: Option<&str>) -> Result<Page<Dispute>, Failure> {
        let mut query = vec![field("update_time_after", since.to_string()), field("page_size", "50")];
        query.extend(page.map(|page| field("next_page_token", page)));
        let list: Disputes = self.get("v1/customer/disputes", &query).await?;
        let next = list.links.iter().find(|link| link.rel == "next").and_then(|link| {
            let url = Url::parse(&link.href).ok()?;
            let (_, token) = url.query_pairs().find(|(name, _)| name == "next_page_token")?;
            Some(token.into_owned())
        });
        let items = list.items.into_iter().map(|dispute| read(dispute.meaning(), Repeat::Reads));
        Ok(Page { items: items.collect::<Result<_, _>>()?, next })
    }

    async fn answer_dispute(
        &self,
        id: &str,
        attempt: &Reference,
        evidence: &Evidence,
    ) -> Result<Dispute, Failure> {
        let path = format!("v1/customer/disputes/{}/provide-evidence", path_part(id)?);
        let documents = evidence.documents.iter();
        let input = json!({"evidences": [{
            "evidence_type": "PROOF_OF_FULFILLMENT",
            "notes": notes(evidence)?,
            "documents": documents.clone().map(|document| json!({"name": document.name})).collect::<Vec<_>>(),
        }]});
        let mut body = multipart::Body::new(attempt.as_str());
        body.field("input", Some(JSON), &input.to_string());
        for Document { name, media_type, bytes, .. } in documents {
            body.file("evidence-file", name, media_type, bytes)?;
        }
        good(self.post_parts(&path, body).await?)?;
        self.dispute(id).await.map_err(after_write)
    }

    async fn concede_dispute(&self, id: &str, attempt: &Reference) -> Result<Dispute, Failure> {
        let path = format!("v1/customer/disputes/{}/accept-claim", path_part(id)?);
        let mut body = multipart::Body::new(attempt.as_str());
        body.field("input", Some(JSON), r#"{"note":"The claim is accepted."}"#);
        good(self.post_parts(&path, body).await?)?;
        self.dispute(id).await.map_err(after_write)
    }

    async fn send_payout(&self, new: &NewPayout) -> Result<Payout, Failure> {
        let (kind, receiver) = match &new.to {
            Destination::PaypalEmail(email) => ("EMAIL", email),
            Destination::PaypalAccount(account) => ("PAYPAL_ID", account),
            Destination::StripeAccount(_) => {
                return Err(refused("destination", "PayPal sends to its own accounts only.".to_owned()));
            }
        };
        self.late(new.first_asked_at, PAYOUT_KEY_LIVES)?;
        let body = json!({
            "sender_batch_header": {
                "sender_batch_id": new.attempt.as_str(),
                "recipient_type": kind,
                "email_subject": short(&new.note, 255),
            },
            "items": [{
                "recipient_type": kind,
                "amount": amount(new.amount, Purpose::Payout)?,
                "receiver": receiver,
                "note": short(&new.note, 4_000),
                "sender_item_id": new.payout.as_str(),
            }],
        });
        let answer = self.post("v1/payments/payouts", &key("payout", &new.attempt), &body).await?;
        if !answer.status.is_success() {
            // A batch of this name exists: PayPal refuses another one and says which it is.
            let (why, trouble) = trouble(&answer);
            let mut names = ["self", "up", "related"].into_iter();
            let before = names.find_map(|rel| linked(&trouble.links, rel, "/payments/payouts"));
            if let Some(batch) = before {
                return self.sent_before(new, batch, why).await;
            }
        }
        let batch: Batch = good(answer)?.read_traced()?;
        let payout = read(batch.meaning(Some(new.amount), self.wire.clock().now()), Repeat::Keyed)?;
        Ok(Payout { reference: Some(new.payout.as_str().to_owned()), ..payout })
    }

    async fn payout(&self, id: &str) -> Result<Payout, Failure> {
        let batch = self.batch(id).await?;
        read(batch.meaning(None, self.wire.clock().now()), Repeat::Reads)
    }

    async fn take_back_payout(&self, id: &str, _attempt: &Reference) -> Result<Payout, Failure> {
        let batch = self.batch(id).await?;
        let item = batch.item().ok_or(Odd::Field("a payout without an item"));
        let item = path_part(read(item, Repeat::Reads)?)?;
        let url = self.url(&format!("v1/payments/payouts-item/{item}/cancel"))?;
        let headers = HeaderMap::new();
        let ask = Ask { method: Method::POST, url, headers, body: None, repeat: Repeat::Once };
        good(self.ask(ask.header(header::CONTENT_TYPE, JSON)?).await?)?;
        self.payout(batch.id()).await.map_err(after_write)
    }

    async fn entries(
        &self,
        from: Timestamp,
        to: Timestamp,
        page: Option<&str>,
    ) -> Result<Page<Entry>, Failure> {
        if to.since(from).map_or(true, |covers| covers > MOST_REPORT || covers <= Span::ZERO) {
            return Err(refused("period", "A report of PayPal's covers 31 days at most.".to_owned()));
        }
        // PayPal's end is included, ours is not.
        let last = to.before(Span::from_millis(1)).map_err(|error| refused("period", error.to_string()))?;
        let query = [
            field("start_date", from.to_string()),
            field("end_date", last.to_string()),
            field("fields", "transaction_info"),
            field("balance_affecting_records_only", "Y"),
            field("page_size", "500"),
            field("page", page.unwrap_or("1")),
        ];
        let report: Report = self.get("v1/reporting/transactions", &query).await?;
        let next = report.page.checked_add(1).filter(|next| *next <= report.total_pages);
        let items = report.transaction_details.into_iter().map(|line| read(line.meaning(), Repeat::Reads));
        Ok(Page { items: items.collect::<Result<_, _>>()?, next: next.map(|next| next.to_string()) })
    }
}
