//! Asking Stripe.

use std::fmt;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header};
use kernel::{Money, Rounding, Span, Timestamp};
use reqwest::Url;
use serde::de::DeserializeOwned;
use serde_json::Value;
use zeroize::Zeroizing;

use super::super::amounts::{Purpose, nearest, to_stripe};
use super::super::multipart;
use super::super::wire::{
    Answer, Ask, BadSettings, FORM, Repeat, Tools, Wire, address, after_write, encode_form, key, path_part,
    refused, unreadable,
};
use super::answers::{
    BalanceTransaction, DisputeAnswer, File, Intent, List, Odd, RefundAnswer, Session, Transfer, Trouble,
};
use app::payments::port::{
    Checkout, CheckoutState, Destination, Dispute, Document, DocumentKind, Entry, Evidence, Failure, Mode,
    NewCheckout, NewPayout, NewRefund, Page, Payment, Payout, PayoutState, Provider, ProviderName, Reference,
    Refund, Said,
};

/// The version of the API that we speak, whatever the account's default is.
pub const VERSION: &str = "2026-05-27.dahlia";

/// Stripe keeps a key for at least 24 hours; after this we look before we ask again.
const KEY_LIVES: Span = Span::from_seconds(20 * 3_600);

/// What a payment is read with: the charge, and what it came to.
const CHARGE: &str = "latest_charge.balance_transaction";

/// How to reach Stripe.
pub struct StripeSettings {
    /// Whether the money is real.
    pub mode: Mode,
    /// The secret or restricted key.
    pub key: String,
    /// Another address than Stripe's, which only test money may be sent to.
    pub address: Option<String>,
}

impl fmt::Debug for StripeSettings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("StripeSettings").field("mode", &self.mode).finish_non_exhaustive()
    }
}

/// Stripe.
#[derive(Debug)]
pub struct Stripe {
    mode: Mode,
    api: Url,
    files: Url,
    headers: HeaderMap,
    wire: Wire,
}

impl Stripe {
    /// A client for one account. A key of the other mode is refused here.
    pub fn new(settings: StripeSettings, tools: Tools) -> Result<Self, BadSettings> {
        let name = ProviderName::Stripe;
        let StripeSettings { mode, key, address: other } = settings;
        let key = Zeroizing::new(key);
        let rest = key.strip_prefix("sk_").or_else(|| key.strip_prefix("rk_"));
        let is_of = rest.and_then(|rest| rest.split_once('_')).map(|(mode, _)| mode);
        if is_of != Some(mode.word()) {
            return Err(BadSettings::WrongKey(name, mode.word()));
        }
        let mut bearer = HeaderValue::from_str(&Zeroizing::new(format!("Bearer {}", *key)))
            .map_err(|_| BadSettings::Unreadable("the key", name))?;
        bearer.set_sensitive(true);
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, bearer);
        headers.insert(HeaderName::from_static("stripe-version"), HeaderValue::from_static(VERSION));
        Ok(Self {
            mode,
            api: address(name, mode, "https://api.stripe.com/", other.as_deref())?,
            files: address(name, mode, "https://files.stripe.com/", other.as_deref())?,
            headers,
            wire: Wire::new(name, mode, tools)?,
        })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str, query: &[(String, String)]) -> Result<T, Failure> {
        let mut url = joined(&self.api, path)?;
        if !query.is_empty() {
            url.set_query(Some(&encode_form(query)));
        }
        let headers = self.headers.clone();
        self.ask(Ask { method: Method::GET, url, headers, body: None, repeat: Repeat::Reads }).await
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        key: &str,
        form: &[(String, String)],
    ) -> Result<T, Failure> {
        let body = Some(Bytes::from(encode_form(form)));
        let (url, headers) = (joined(&self.api, path)?, self.headers.clone());
        let ask = Ask { method: Method::POST, url, headers, body, repeat: Repeat::Keyed };
        let ask = ask.header(header::CONTENT_TYPE, FORM)?;
        self.ask(ask.header(HeaderName::from_static("idempotency-key"), key)?).await
    }

    async fn ask<T: DeserializeOwned>(&self, ask: Ask) -> Result<T, Failure> {
        let answer = self.wire.ask(ask).await?;
        let trace = answer.header("request-id");
        if !answer.status.is_success() {
            return Err(failure(&answer, trace));
        }
        let value: Value = answer.read(trace.clone())?;
        if is_of_another(&value, self.mode) {
            let text = format!("Stripe answered with what is not of {} money.", self.mode.word());
            return Err(Failure::WrongKey(Said { code: "livemode".to_owned(), text, trace }));
        }
        serde_json::from_value(value).map_err(|error| answer.unreadable(&error, trace))
    }

    /// Looks for a refund of ours among those of a payment.
    async fn find_refund(&self, payment: &str, refund: &Reference) -> Result<Option<Refund>, Failure> {
        let mut after: Option<String> = None;
        loop {
            let mut query = vec![payment_field(payment)?, field("limit", "100")];
            query.extend(after.map(|after| field("starting_after", after)));
            let list: List<RefundAnswer> = self.get("v1/refunds", &query).await?;
            after = list.data.last().map(|last| last.id.clone()).filter(|_| list.has_more);
            if let Some(found) = list.data.into_iter().find(|found| found.is(refund.as_str())) {
                return read(found.meaning(), Repeat::Reads).map(Some);
            }
            if after.is_none() {
                return Ok(None);
            }
        }
    }

    async fn find_payout(&self, payout: &Reference) -> Result<Option<Payout>, Failure> {
        let query = [field("transfer_group", payout.as_str()), field("limit", "10")];
        let list: List<Transfer> = self.get("v1/transfers", &query).await?;
        for transfer in list.data {
            let payout = read(transfer.meaning(), Repeat::Reads)?;
            // What was reversed is not this attempt: it was settled and taken back.
            if payout.state != PayoutState::Returned {
                return Ok(Some(payout));
            }
        }
        Ok(None)
    }

    /// Whether a key given first at `first` may have been forgotten.
    fn is_stale(&self, first: Timestamp) -> bool {
        self.wire.clock().now().since(first).is_ok_and(|gone| gone > KEY_LIVES)
    }

    async fn upload(&self, key: &str, document: &Document) -> Result<String, Failure> {
        let mut body = multipart::Body::new(key);
        body.field("purpose", None, "dispute_evidence");
        body.file("file", &document.name, &document.media_type, &document.bytes)?;
        let kind = body.content_type();
        let (url, headers) = (joined(&self.files, "v1/files")?, self.headers.clone());
        let body = Some(Bytes::from(body.finish()));
        let ask = Ask { method: Method::POST, url, headers, body, repeat: Repeat::Keyed };
        let ask = ask.header(header::CONTENT_TYPE, &kind)?;
        let file: File = self.ask(ask.header(HeaderName::from_static("idempotency-key"), key)?).await?;
        Ok(file.id)
    }
}

/// What was found under our reference, if it is what was asked for.
fn same<T>(is_same: bool, found: T) -> Result<T, Failure> {
    if is_same {
        return Ok(found);
    }
    Err(refused("other_amount", "Under this reference Stripe knows another amount.".to_owned()))
}

fn field(name: &str, value: impl Into<String>) -> (String, String) {
    (name.to_owned(), value.into())
}

/// A payment by the name of its intent or, as old ones have it, of its charge.
fn payment_field(payment: &str) -> Result<(String, String), Failure> {
    let name =
        if payment.starts_with("ch_") || payment.starts_with("py_") { "charge" } else { "payment_intent" };
    Ok(field(name, path_part(payment)?))
}

fn joined(base: &Url, path: &str) -> Result<Url, Failure> {
    base.join(path).map_err(|_| refused("path", format!("{path:?} is no path of Stripe's.")))
}

fn read<T>(meaning: Result<T, Odd>, repeat: Repeat) -> Result<T, Failure> {
    meaning.map_err(|odd| unreadable(repeat, &odd, None))
}

fn amount(money: Money, purpose: Purpose) -> Result<String, Failure> {
    Ok(to_stripe(money, purpose)?.to_string())
}

fn currency(money: Money) -> String {
    money.currency().code().to_ascii_lowercase()
}

/// Whether anything in an answer says that it is of the other mode.
fn is_of_another(value: &Value, mode: Mode) -> bool {
    match value {
        Value::Object(fields) => fields.iter().any(|(name, value)| match value.as_bool() {
            Some(live) if name == "livemode" => live != (mode == Mode::Live),
            _ => is_of_another(value, mode),
        }),
        Value::Array(values) => values.iter().any(|value| is_of_another(value, mode)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
    }
}

/// What an answer that is no success means.
fn failure(answer: &Answer, trace: Option<String>) -> Failure {
    let (kind, code, text) = match answer.read::<Trouble>(None) {
        Ok(Trouble { error }) => {
            let code = error.decline_code.or(error.code).unwrap_or_else(|| error.kind.clone());
            (error.kind, code, error.message.unwrap_or_else(|| "Stripe gives no reason.".to_owned()))
        }
        Err(_) => (String::new(), "none".to_owned(), format!("Stripe answered {}.", answer.status)),
    };
    let said = Said { code, text, trace };
    match answer.status {
        // Who was let in before and is not now may have had an effect before.
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN if answer.doubt => Failure::Unknown(said),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Failure::WrongKey(said),
        StatusCode::PAYMENT_REQUIRED => Failure::Declined(said),
        _ if kind == "card_error" => Failure::Declined(said),
        _ if kind == "invalid_request_error" && said.text.contains("a similar object exists in") => {
            Failure::WrongKey(said)
        }
        _ => Failure::Refused(said),
    }
}

#[async_trait]
impl Provider for Stripe {
    fn name(&self) -> ProviderName {
        ProviderName::Stripe
    }

    fn mode(&self) -> Mode {
        self.mode
    }

    fn chargeable(&self, price: Money) -> Result<Money, Failure> {
        Ok(nearest(ProviderName::Stripe, price, Purpose::Charge, Rounding::Ceiling)?)
    }

    fn payable(&self, amount: Money) -> Result<Money, Failure> {
        Ok(nearest(ProviderName::Stripe, amount, Purpose::Payout, Rounding::Floor)?)
    }

    async fn open_checkout(&self, new: &NewCheckout) -> Result<Checkout, Failure> {
        let mut form = vec![
            field("mode", "payment"),
            // The price is ours, in our currency.
            field("adaptive_pricing[enabled]", "false"),
            field("client_reference_id", new.purchase.as_str()),
            field("metadata[purchase]", new.purchase.as_str()),
            field("payment_intent_data[metadata][purchase]", new.purchase.as_str()),
            field("payment_intent_data[description]", new.title.as_str()),
            field("line_items[0][quantity]", "1"),
            field("line_items[0][price_data][currency]", currency(new.price)),
            field("line_items[0][price_data][unit_amount]", amount(new.price, Purpose::Charge)?),
            field("line_items[0][price_data][product_data][name]", new.title.as_str()),
            field("success_url", new.success_url.as_str()),
            field("cancel_url", new.cancel_url.as_str()),
        ];
        form.extend(new.email.as_ref().map(|email| field("customer_email", email.as_str())));
        let expires = new.expires_at.map(|at| at.micros().div_euclid(1_000_000).to_string());
        form.extend(expires.map(|at| field("expires_at", at)));
        let session: Session =
            self.post("v1/checkout/sessions", &key("checkout", &new.attempt), &form).await?;
        read(session.meaning(), Repeat::Keyed)
    }

    async fn checkout(&self, id: &str) -> Result<Checkout, Failure> {
        let path = format!("v1/checkout/sessions/{}", path_part(id)?);
        let query = [field("expand[]", format!("payment_intent.{CHARGE}"))];
        read(self.get::<Session>(&path, &query).await?.meaning(), Repeat::Reads)
    }

    /// The page captures by itself.
    async fn capture(&self, id: &str, _attempt: &Reference) -> Result<Checkout, Failure> {
        self.checkout(id).await
    }

    async fn close_checkout(&self, id: &str) -> Result<Checkout, Failure> {
        let path = format!("v1/checkout/sessions/{}/expire", path_part(id)?);
        match self.post::<Session>(&path, &format!("close-{id}"), &[]).await {
            Ok(session) => read(session.meaning(), Repeat::Keyed),
            // Paid or closed meanwhile: how it stands is the answer.
            Err(Failure::Refused(said)) => match self.checkout(id).await {
                Ok(checkout) if checkout.state != CheckoutState::Open => Ok(checkout),
                Ok(_) | Err(_) => Err(Failure::Refused(said)),
            },
            Err(failure) => Err(failure),
        }
    }

    async fn payment(&self, id: &str) -> Result<Payment, Failure> {
        let path = format!("v1/payment_intents/{}", path_part(id)?);
        read(self.get::<Intent>(&path, &[field("expand[]", CHARGE)]).await?.meaning(), Repeat::Reads)
    }

    async fn refund(&self, new: &NewRefund) -> Result<Refund, Failure> {
        if self.is_stale(new.first_asked_at) {
            let found = self.find_refund(&new.payment, &new.refund).await.map_err(after_write)?;
            if let Some(found) = found {
                return same(found.amount == new.amount, found);
            }
        }
        let form = [
            payment_field(&new.payment)?,
            field("amount", amount(new.amount, Purpose::Charge)?),
            field("metadata[refund]", new.refund.as_str()),
        ];
        let refund: RefundAnswer = self.post("v1/refunds", &key("refund", &new.refund), &form).await?;
        read(refund.meaning(), Repeat::Keyed)
    }

    async fn refund_state(&self, id: &str) -> Result<Refund, Failure> {
        let path = format!("v1/refunds/{}", path_part(id)?);
        read(self.get::<RefundAnswer>(&path, &[]).await?.meaning(), Repeat::Reads)
    }

    async fn dispute(&self, id: &str) -> Result<Dispute, Failure> {
        let path = format!("v1/disputes/{}", path_part(id)?);
        read(self.get::<DisputeAnswer>(&path, &[]).await?.meaning(), Repeat::Reads)
    }

    async fn disputes(&self, since: Timestamp, page: Option<&str>) -> Result<Page<Dispute>, Failure> {
        let since = since.micros().div_euclid(1_000_000).to_string();
        let mut query = vec![field("created[gte]", since), field("limit", "100")];
        query.extend(page.map(|after| field("starting_after", after)));
        let list: List<DisputeAnswer> = self.get("v1/disputes", &query).await?;
        let next = list.data.last().map(|last| last.id.clone()).filter(|_| list.has_more);
        let items = list.data.into_iter().map(|dispute| read(dispute.meaning(), Repeat::Reads));
        Ok(Page { items: items.collect::<Result<_, _>>()?, next })
    }

    async fn answer_dispute(
        &self,
        id: &str,
        attempt: &Reference,
        evidence: &Evidence,
    ) -> Result<Dispute, Failure> {
        let path = format!("v1/disputes/{}", path_part(id)?);
        let mut form = vec![
            field("evidence[product_description]", evidence.product.as_str()),
            field("evidence[uncategorized_text]", evidence.explanation.as_str()),
            field("evidence[access_activity_log]", evidence.activity.as_str()),
        ];
        let more = [
            ("evidence[service_date]", &evidence.service_date),
            ("evidence[customer_name]", &evidence.buyer_name),
            ("evidence[customer_email_address]", &evidence.buyer_email),
            ("evidence[customer_purchase_ip]", &evidence.buyer_address),
        ];
        form.extend(more.into_iter().filter_map(|(name, value)| Some(field(name, value.as_deref()?))));
        for document in &evidence.documents {
            let (name, file) = match document.kind {
                DocumentKind::Receipt => ("evidence[receipt]", "receipt"),
                DocumentKind::Terms => ("evidence[cancellation_policy]", "terms"),
                DocumentKind::Service => ("evidence[service_documentation]", "service"),
                DocumentKind::Other => ("evidence[uncategorized_file]", "other"),
            };
            if form.iter().any(|(known, _)| known == name) {
                return Err(refused("documents", "Stripe takes one document of a kind.".to_owned()));
            }
            form.push(field(name, self.upload(&key(file, attempt), document).await?));
        }
        form.push(field("submit", "true"));
        let dispute: DisputeAnswer = self.post(&path, &key("evidence", attempt), &form).await?;
        read(dispute.meaning(), Repeat::Keyed)
    }

    async fn concede_dispute(&self, id: &str, attempt: &Reference) -> Result<Dispute, Failure> {
        let path = format!("v1/disputes/{}/close", path_part(id)?);
        let dispute: DisputeAnswer = self.post(&path, &key("concede", attempt), &[]).await?;
        read(dispute.meaning(), Repeat::Keyed)
    }

    async fn send_payout(&self, new: &NewPayout) -> Result<Payout, Failure> {
        let Destination::StripeAccount(account) = &new.to else {
            return Err(refused(
                "destination",
                "Stripe sends to its own connected accounts only.".to_owned(),
            ));
        };
        if self.is_stale(new.first_asked_at)
            && let Some(found) = self.find_payout(&new.payout).await.map_err(after_write)?
        {
            return same(found.amount == new.amount, found);
        }
        let form = [
            field("amount", amount(new.amount, Purpose::Payout)?),
            field("currency", currency(new.amount)),
            field("destination", path_part(account)?),
            field("description", new.note.as_str()),
            field("transfer_group", new.payout.as_str()),
            field("metadata[payout]", new.payout.as_str()),
        ];
        let transfer: Transfer = self.post("v1/transfers", &key("payout", &new.attempt), &form).await?;
        read(transfer.meaning(), Repeat::Keyed)
    }

    async fn payout(&self, id: &str) -> Result<Payout, Failure> {
        let path = format!("v1/transfers/{}", path_part(id)?);
        read(self.get::<Transfer>(&path, &[]).await?.meaning(), Repeat::Reads)
    }

    async fn take_back_payout(&self, id: &str, attempt: &Reference) -> Result<Payout, Failure> {
        let path = format!("v1/transfers/{}/reversals", path_part(id)?);
        let _: Value = self.post(&path, &key("back", attempt), &[]).await?;
        self.payout(id).await.map_err(after_write)
    }

    async fn entries(
        &self,
        from: Timestamp,
        to: Timestamp,
        page: Option<&str>,
    ) -> Result<Page<Entry>, Failure> {
        let second = |at: Timestamp| at.micros().div_euclid(1_000_000).to_string();
        let mut query = vec![
            field("created[gte]", second(from)),
            field("created[lt]", second(to)),
            field("limit", "100"),
            // A charge tells its payment, a reversal its transfer.
            field("expand[]", "data.source"),
        ];
        query.extend(page.map(|after| field("starting_after", after)));
        let list: List<BalanceTransaction> = self.get("v1/balance_transactions", &query).await?;
        let next = list.data.last().map(|last| last.id.clone()).filter(|_| list.has_more);
        let items = list.data.into_iter().map(|line| read(line.meaning(), Repeat::Reads));
        Ok(Page { items: items.collect::<Result<_, _>>()?, next })
    }
}
