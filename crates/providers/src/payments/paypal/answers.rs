//! What PayPal answers, as far as we read it, and what it means. Fields we do not name are passed over.

use kernel::{Money, MoneyError, Timestamp};
use serde::Deserialize;

use super::super::amounts::{AmountError, from_paypal};
use app::payments::port::{
    Checkout, CheckoutState, Dispute, DisputeState, Entry, EntryKind, Payment, PaymentState, Payout,
    PayoutState, Refund, RefundState, Settlement,
};

/// Why an answer is none that we can use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Odd {
    #[error(transparent)]
    Amount(#[from] AmountError),
    #[error(transparent)]
    Sum(#[from] MoneyError),
    #[error("{0}")]
    Field(&'static str),
}

#[derive(Debug, Deserialize)]
pub(super) struct Amount {
    #[serde(alias = "currency")]
    currency_code: String,
    value: String,
}

impl Amount {
    pub(super) fn money(&self) -> Result<Money, Odd> {
        Ok(from_paypal(&self.value, &self.currency_code)?)
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Link {
    pub(super) href: String,
    pub(super) rel: String,
}

/// The last part of the link's path.
pub(super) fn linked<'a>(links: &'a [Link], rel: &str, before: &str) -> Option<&'a str> {
    let link = links.iter().find(|link| link.rel == rel)?;
    let path = link.href.split(['?', '#']).next()?;
    let (rest, id) = path.rsplit_once('/')?;
    rest.ends_with(before).then_some(id)
}

#[derive(Debug, Deserialize)]
pub(super) struct Token {
    pub(super) access_token: String,
    pub(super) expires_in: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Order {
    pub(super) id: String,
    status: String,
    #[serde(default)]
    purchase_units: Vec<Unit>,
    #[serde(default)]
    links: Vec<Link>,
}

#[derive(Debug, Deserialize)]
struct Unit {
    custom_id: Option<String>,
    amount: Option<Amount>,
    payments: Option<Payments>,
}

#[derive(Debug, Default, Deserialize)]
struct Payments {
    #[serde(default)]
    captures: Vec<Capture>,
    #[serde(default)]
    refunds: Vec<RefundAnswer>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Capture {
    id: String,
    status: String,
    status_details: Option<StatusDetails>,
    amount: Amount,
    custom_id: Option<String>,
    seller_receivable_breakdown: Option<Breakdown>,
    supplementary_data: Option<Supplementary>,
    create_time: Timestamp,
}

#[derive(Debug, Deserialize)]
struct StatusDetails {
    reason: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Supplementary {
    related_ids: Option<Related>,
}

#[derive(Debug, Deserialize)]
struct Related {
    order_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Breakdown {
    gross_amount: Amount,
    paypal_fee: Option<Amount>,
    net_amount: Option<Amount>,
    paypal_fee_in_receivable_currency: Option<Amount>,
    receivable_amount: Option<Amount>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RefundAnswer {
    id: String,
    status: String,
    status_details: Option<StatusDetails>,
    amount: Amount,
    custom_id: Option<String>,
    create_time: Timestamp,
    #[serde(default)]
    links: Vec<Link>,
}

#[derive(Debug, Deserialize)]
pub(super) struct DisputeAnswer {
    dispute_id: String,
    #[serde(default)]
    disputed_transactions: Vec<Disputed>,
    reason: Option<String>,
    status: String,
    dispute_amount: Option<Amount>,
    dispute_outcome: Option<Outcome>,
    dispute_life_cycle_stage: Option<String>,
    seller_response_due_date: Option<Timestamp>,
    create_time: Timestamp,
}

#[derive(Debug, Deserialize)]
struct Disputed {
    seller_transaction_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Outcome {
    outcome_code: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Disputes {
    #[serde(default)]
    pub(super) items: Vec<DisputeAnswer>,
    #[serde(default)]
    pub(super) links: Vec<Link>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Batch {
    batch_header: BatchHeader,
    #[serde(default)]
    items: Vec<Item>,
}

#[derive(Debug, Deserialize)]
struct BatchHeader {
    payout_batch_id: String,
    batch_status: String,
    time_created: Option<Timestamp>,
    amount: Option<Amount>,
}

#[derive(Debug, Deserialize)]
struct Item {
    payout_item_id: String,
    transaction_id: Option<String>,
    transaction_status: Option<String>,
    payout_item_fee: Option<Amount>,
    #[serde(rename = "payout_item")]
    detail: ItemDetail,
    errors: Option<ItemError>,
}

#[derive(Debug, Deserialize)]
struct ItemDetail {
    amount: Amount,
    sender_item_id: Option<String>,
}

#[derive(Debug, Deserialize)]
struct ItemError {
    name: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Report {
    #[serde(default)]
    pub(super) transaction_details: Vec<ReportLine>,
    #[serde(default)]
    pub(super) page: i64,
    #[serde(default)]
    pub(super) total_pages: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct ReportLine {
    transaction_info: ReportInfo,
}

#[derive(Debug, Deserialize)]
struct ReportInfo {
    transaction_id: String,
    paypal_reference_id: Option<String>,
    transaction_event_code: String,
    transaction_initiation_date: String,
    transaction_amount: Amount,
    fee_amount: Option<Amount>,
    invoice_id: Option<String>,
    custom_field: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Trouble {
    pub(super) name: Option<String>,
    pub(super) message: Option<String>,
    pub(super) error: Option<String>,
    pub(super) error_description: Option<String>,
    #[serde(default)]
    pub(super) details: Vec<TroubleDetail>,
    #[serde(default)]
    pub(super) links: Vec<Link>,
}

#[derive(Debug, Deserialize)]
pub(super) struct TroubleDetail {
    pub(super) issue: Option<String>,
    pub(super) description: Option<String>,
}

fn nothing_like(money: Money) -> Money {
    Money::from_minor(0, money.currency())
}

impl Order {
    pub(super) fn meaning(self) -> Result<Checkout, Odd> {
        let unit = self.purchase_units.first().ok_or(Odd::Field("an order without a purchase unit"))?;
        let price = unit.amount.as_ref().ok_or(Odd::Field("an order without an amount"))?.money()?;
        // A declined capture may be followed by another one.
        let payments = unit.payments.as_ref();
        let capture = payments.and_then(|payments| payments.captures.last());
        let mut payment = capture.map(Capture::meaning).transpose()?;
        if let (Some(payment), Some(payments)) = (&mut payment, payments) {
            payment.refunded = refunded(&payments.refunds, payment)?;
            payment.purchase = payment.purchase.take().or_else(|| unit.custom_id.clone());
        }
        let captured = payment.as_ref().map(|payment| payment.state);
        let state = match (self.status.as_str(), captured) {
            ("CREATED" | "SAVED" | "PAYER_ACTION_REQUIRED", _) => CheckoutState::Open,
            ("APPROVED", _) => CheckoutState::Approved,
            ("VOIDED", _) => CheckoutState::Expired,
            ("COMPLETED", Some(PaymentState::Captured)) => CheckoutState::Paid,
            ("COMPLETED", Some(PaymentState::Pending)) => CheckoutState::Processing,
            ("COMPLETED", Some(PaymentState::Failed)) => CheckoutState::Declined,
            ("COMPLETED", None) => return Err(Odd::Field("a completed order without a capture")),
            _ => return Err(Odd::Field("an order of an unknown status")),
        };
        let page = ["payer-action", "approve"].into_iter().find_map(|rel| {
            let link = self.links.iter().find(|link| link.rel == rel)?;
            (state == CheckoutState::Open).then(|| link.href.clone())
        });
        let purchase = unit.custom_id.clone();
        Ok(Checkout { id: self.id, purchase, state, price, page, payment, expires_at: None })
    }

    /// The payment of this name among the order's.
    pub(super) fn payment(&self, id: &str) -> Result<Payment, Odd> {
        let captures = self.purchase_units.iter().filter_map(|unit| unit.payments.as_ref());
        for payments in captures {
            if let Some(capture) = payments.captures.iter().find(|capture| capture.id == id) {
                let mut payment = capture.meaning()?;
                payment.refunded = refunded(&payments.refunds, &payment)?;
                return Ok(payment);
            }
        }
        Err(Odd::Field("an order without its capture"))
    }
}

/// What went back of a payment, and what is on its way back.
fn refunded(refunds: &[RefundAnswer], payment: &Payment) -> Result<Money, Odd> {
    let mut sum = nothing_like(payment.amount);
    for refund in refunds.iter().filter(|refund| matches!(refund.status.as_str(), "COMPLETED" | "PENDING")) {
        if linked(&refund.links, "up", "/captures").is_none_or(|capture| capture == payment.id) {
            sum = sum.plus(refund.amount.money()?)?;
        }
    }
    Ok(sum)
}

impl Capture {
    /// Whether only the order knows how much went back.
    pub(super) fn is_partly_refunded(&self) -> bool {
        self.status == "PARTIALLY_REFUNDED"
    }

    pub(super) fn order(&self) -> Result<&str, Odd> {
        let related = self.supplementary_data.as_ref().and_then(|data| data.related_ids.as_ref());
        let order = related.and_then(|related| related.order_id.as_deref());
        order.ok_or(Odd::Field("a capture without its order"))
    }

    pub(super) fn meaning(&self) -> Result<Payment, Odd> {
        let amount = self.amount.money()?;
        let state = match self.status.as_str() {
            "COMPLETED" | "PARTIALLY_REFUNDED" | "REFUNDED" => PaymentState::Captured,
            "PENDING" => PaymentState::Pending,
            "DECLINED" | "FAILED" => PaymentState::Failed,
            _ => return Err(Odd::Field("a capture of an unknown status")),
        };
        let reason = self.status_details.as_ref().and_then(|details| details.reason.as_deref());
        let settlement = self.seller_receivable_breakdown.as_ref().map(Breakdown::settlement).transpose()?;
        Ok(Payment {
            id: self.id.clone(),
            in_books: None,
            purchase: self.custom_id.clone(),
            state,
            amount,
            refunded: if self.status == "REFUNDED" { amount } else { nothing_like(amount) },
            disputed: matches!(reason, Some("BUYER_COMPLAINT" | "CHARGEBACK")),
            settlement: settlement.flatten(),
            created_at: self.create_time,
        })
    }
}

impl Breakdown {
    fn settlement(&self) -> Result<Option<Settlement>, Odd> {
        let converted = (&self.receivable_amount, &self.paypal_fee_in_receivable_currency);
        if let (Some(net), Some(fee)) = converted {
            let (net, fee) = (net.money()?, fee.money()?);
            return Ok(Some(Settlement { gross: net.plus(fee)?, fee, net }));
        }
        let Some(net) = &self.net_amount else { return Ok(None) };
        let gross = self.gross_amount.money()?;
        let fee = self.paypal_fee.as_ref().map_or(Ok(nothing_like(gross)), Amount::money)?;
        Ok(Some(Settlement { gross, fee, net: net.money()? }))
    }
}

impl RefundAnswer {
    pub(super) fn meaning(self) -> Result<Refund, Odd> {
        let state = match self.status.as_str() {
            "COMPLETED" => RefundState::Done,
            "PENDING" => RefundState::Pending,
            "FAILED" | "CANCELLED" => RefundState::Failed,
            _ => return Err(Odd::Field("a refund of an unknown status")),
        };
        Ok(Refund {
            payment: linked(&self.links, "up", "/captures").map(str::to_owned),
            id: self.id,
            reference: self.custom_id,
            amount: self.amount.money()?,
            state,
            reason: self.status_details.and_then(|details| details.reason),
            created_at: self.create_time,
        })
    }
}

impl DisputeAnswer {
    pub(super) fn meaning(self) -> Result<Dispute, Odd> {
        let outcome = self.dispute_outcome.and_then(|outcome| outcome.outcome_code);
        let state = match (self.status.as_str(), outcome.as_deref()) {
            ("OPEN" | "WAITING_FOR_SELLER_RESPONSE", _) => DisputeState::NeedsAnswer,
            // In lists the outcome is missing: the dispute itself tells it.
            ("WAITING_FOR_BUYER_RESPONSE" | "UNDER_REVIEW" | "OTHER", _) | ("RESOLVED", None) => {
                DisputeState::UnderReview
            }
            ("RESOLVED", Some("RESOLVED_BUYER_FAVOUR" | "ACCEPTED")) => DisputeState::Lost,
            (
                "RESOLVED",
                Some(
                    "RESOLVED_SELLER_FAVOUR"
                    | "RESOLVED_WITH_PAYOUT"
                    | "CANCELED_BY_BUYER"
                    | "DENIED"
                    | "NONE",
                ),
            ) => DisputeState::Won,
            _ => return Err(Odd::Field("a dispute of an unknown status")),
        };
        let amount = self.dispute_amount.ok_or(Odd::Field("a dispute without an amount"))?;
        Ok(Dispute {
            id: self.dispute_id,
            payment: self.disputed_transactions.into_iter().find_map(|one| one.seller_transaction_id),
            amount: amount.money()?,
            state,
            inquiry: self.dispute_life_cycle_stage.as_deref() == Some("INQUIRY"),
            reason: self.reason.unwrap_or_else(|| "OTHER".to_owned()),
            answer_by: self.seller_response_due_date,
            fee: None,
            created_at: self.create_time,
        })
    }
}

impl Batch {
    pub(super) fn id(&self) -> &str {
        &self.batch_header.payout_batch_id
    }

    /// The item that a payout is. We send one in a batch.
    pub(super) fn item(&self) -> Option<&str> {
        self.items.first().map(|item| item.payout_item_id.as_str())
    }

    /// How the payout stands; `asked` is the amount where PayPal does not say it yet.
    pub(super) fn meaning(&self, asked: Option<Money>, now: Timestamp) -> Result<Payout, Odd> {
        let header = &self.batch_header;
        let item = self.items.first();
        let status = item.and_then(|item| item.transaction_status.as_deref());
        let state = match (header.batch_status.as_str(), status) {
            ("DENIED" | "CANCELED", None) | (_, Some("FAILED" | "BLOCKED")) => PayoutState::Failed,
            (_, Some("SUCCESS")) => PayoutState::Settled,
            (_, Some("UNCLAIMED")) => PayoutState::Unclaimed,
            (_, Some("RETURNED" | "REFUNDED" | "REVERSED")) => PayoutState::Returned,
            (_, Some("PENDING" | "ONHOLD")) | ("PENDING" | "PROCESSING" | "SUCCESS", None) => {
                PayoutState::Pending
            }
            _ => return Err(Odd::Field("a payout of an unknown status")),
        };
        let amount = match (item, &header.amount, asked) {
            (Some(item), _, _) => item.detail.amount.money()?,
            (None, Some(amount), _) => amount.money()?,
            (None, None, Some(asked)) => asked,
            (None, None, None) => return Err(Odd::Field("a payout without an amount")),
        };
        let reason = item.and_then(|item| item.errors.as_ref()).and_then(|errors| errors.name.clone());
        let waits = matches!(state, PayoutState::Failed | PayoutState::Pending | PayoutState::Returned)
            .then(|| status.map_or_else(|| header.batch_status.clone(), str::to_owned));
        Ok(Payout {
            id: header.payout_batch_id.clone(),
            in_books: item.and_then(|item| item.transaction_id.clone()),
            reference: item.and_then(|item| item.detail.sender_item_id.clone()),
            state,
            amount,
            returned: if state == PayoutState::Returned { amount } else { nothing_like(amount) },
            fee: item.and_then(|item| item.payout_item_fee.as_ref()).map(Amount::money).transpose()?,
            reason: reason.or(waits),
            created_at: header.time_created.unwrap_or(now),
        })
    }
}

impl ReportLine {
    pub(super) fn meaning(self) -> Result<Entry, Odd> {
        let info = self.transaction_info;
        let gross = info.transaction_amount.money()?;
        // Below zero where we pay it.
        let fee = info.fee_amount.as_ref().map_or(Ok(nothing_like(gross)), Amount::money)?;
        let net = gross.plus(fee)?;
        let paid = fee.minor().checked_neg().ok_or(Odd::Field("a fee out of range"))?;
        let code = info.transaction_event_code;
        let kind = kind(&code, gross);
        let of_another = matches!(
            kind,
            EntryKind::Dispute | EntryKind::DisputeReturned | EntryKind::Hold | EntryKind::Fee
        );
        let about = info.paypal_reference_id.filter(|id| of_another && !id.is_empty());
        Ok(Entry {
            // PayPal numbers two lines of one transaction alike; their codes differ.
            id: format!("{}-{code}", info.transaction_id),
            kind,
            word: code,
            about: Some(about.unwrap_or(info.transaction_id)),
            payment: None,
            reference: info.custom_field.or(info.invoice_id).filter(|ours| !ours.is_empty()),
            gross,
            fee: Money::from_minor(paid, fee.currency()),
            net,
            at: at(&info.transaction_initiation_date)?,
        })
    }
}

/// PayPal's codes of events, in the order of its table.
fn kind(code: &str, gross: Money) -> EntryKind {
    match code {
        // Sent by Payouts, or by hand: from here or to here tells the sign.
        "T0001" => EntryKind::Payout,
        "T1107" => EntryKind::Refund,
        "T1106" | "T1201" => EntryKind::Dispute,
        "T1202" | "T1207" | "T1208" => EntryKind::DisputeReturned,
        "T1110" | "T1111" | "T1105" => EntryKind::Hold,
        "T1108" | "T1109" => EntryKind::Fee,
        "T1114" | "T1115" => EntryKind::PayoutReturned,
        _ if code.starts_with("T00") && gross.minor() > 0 => EntryKind::Payment,
        _ if code.starts_with("T01") => EntryKind::Fee,
        _ if code.starts_with("T02") => EntryKind::Conversion,
        _ if code.starts_with("T03") || code.starts_with("T04") => EntryKind::Bank,
        _ if code.starts_with("T15") || code.starts_with("T21") => EntryKind::Hold,
        _ => EntryKind::Other,
    }
}

/// Reports write `+0000` where everything else of PayPal's writes `Z`.
fn at(text: &str) -> Result<Timestamp, Odd> {
    let bad = Odd::Field("a time that cannot be read");
    let Some((rest, offset)) = text.split_at_checked(text.len().saturating_sub(5)) else { return Err(bad) };
    let digits = offset.get(1..).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let text = match (offset.chars().next(), digits.and_then(|digits| digits.split_at_checked(2))) {
        (Some(sign @ ('+' | '-')), Some((hours, minutes))) => format!("{rest}{sign}{hours}:{minutes}"),
        _ => text.to_owned(),
    };
    Timestamp::parse(&text).map_err(|_| bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_reports_are_read_in_both_ways() {
        let expected = Timestamp::parse("2026-01-05T10:00:00Z").unwrap();
        for text in ["2026-01-05T10:00:00+0000", "2026-01-05T10:00:00Z", "2026-01-05T12:00:00+02:00"] {
            assert_eq!(at(text).unwrap(), expected, "{text}");
        }
        for text in ["", "now", "2026-01-05", "é0000"] {
            assert!(at(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_link_names_what_lies_at_its_end() {
        let link = |href: &str| [Link { href: href.to_owned(), rel: "up".to_owned() }];
        let captures = "https://api-m.paypal.com/v2/payments/captures/2GG";
        assert_eq!(linked(&link(captures), "up", "/captures"), Some("2GG"));
        assert_eq!(linked(&link("https://api-m.paypal.com/v2/checkout/orders/2GG"), "up", "/captures"), None);
        assert_eq!(linked(&link(captures), "self", "/captures"), None);
    }
}
