//! What Stripe answers, as far as we read it, and what it means. Fields we do not name are passed over.

use kernel::{Currency, Money, Timestamp};
use serde::Deserialize;

use super::super::amounts::{AmountError, from_stripe};
use app::payments::port::{
    Checkout, CheckoutState, Dispute, DisputeState, Entry, EntryKind, Payment, PaymentState, Payout,
    PayoutState, Refund, RefundState, Settlement,
};

/// Why an answer is none that we can use.
#[derive(Debug, thiserror::Error)]
pub(super) enum Odd {
    #[error(transparent)]
    Amount(#[from] AmountError),
    #[error("{0}")]
    Field(&'static str),
}

/// A thing, or only its name.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum Expandable<T> {
    Name(String),
    Whole(Box<T>),
}

impl<T> Expandable<T> {
    fn whole(&self) -> Option<&T> {
        match self {
            Self::Whole(thing) => Some(thing),
            Self::Name(_) => None,
        }
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Metadata {
    purchase: Option<String>,
    refund: Option<String>,
    payout: Option<String>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Session {
    id: String,
    status: Option<String>,
    payment_status: String,
    amount_total: Option<i64>,
    currency: Option<String>,
    client_reference_id: Option<String>,
    url: Option<String>,
    payment_intent: Option<Expandable<Intent>>,
    expires_at: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct Intent {
    id: String,
    status: String,
    amount: i64,
    amount_received: Option<i64>,
    currency: String,
    created: i64,
    #[serde(default)]
    metadata: Metadata,
    latest_charge: Option<Expandable<Charge>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Charge {
    id: String,
    amount_refunded: i64,
    disputed: bool,
    balance_transaction: Option<Expandable<BalanceTransaction>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct BalanceTransaction {
    pub(super) id: String,
    amount: i64,
    fee: i64,
    net: i64,
    currency: String,
    created: i64,
    #[serde(rename = "type")]
    kind: String,
    reporting_category: String,
    source: Option<Expandable<Origin>>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Source {
    id: String,
}

/// Of what a line in the books is: what of it tells to whom it belongs.
#[derive(Debug, Deserialize)]
struct Origin {
    id: String,
    /// Of a charge.
    payment_intent: Option<Expandable<Source>>,
    /// Of a transfer that came back.
    transfer: Option<Expandable<Source>>,
    #[serde(default)]
    metadata: Option<Metadata>,
}

#[derive(Debug, Deserialize)]
pub(super) struct RefundAnswer {
    pub(super) id: String,
    amount: i64,
    currency: String,
    status: Option<String>,
    failure_reason: Option<String>,
    payment_intent: Option<Expandable<Source>>,
    charge: Option<Expandable<Source>>,
    metadata: Option<Metadata>,
    created: i64,
}

#[derive(Debug, Deserialize)]
pub(super) struct DisputeAnswer {
    pub(super) id: String,
    amount: i64,
    currency: String,
    status: String,
    reason: String,
    payment_intent: Option<Expandable<Source>>,
    charge: Expandable<Source>,
    evidence_details: EvidenceDetails,
    balance_transactions: Vec<BalanceTransaction>,
    created: i64,
}

#[derive(Debug, Deserialize)]
struct EvidenceDetails {
    due_by: Option<i64>,
}

#[derive(Debug, Deserialize)]
pub(super) struct Transfer {
    pub(super) id: String,
    amount: i64,
    amount_reversed: i64,
    currency: String,
    created: i64,
    reversed: bool,
    #[serde(rename = "transfer_group")]
    group: Option<String>,
    #[serde(default)]
    metadata: Metadata,
}

#[derive(Debug, Deserialize)]
pub(super) struct List<T> {
    pub(super) data: Vec<T>,
    pub(super) has_more: bool,
}

#[derive(Debug, Deserialize)]
pub(super) struct File {
    pub(super) id: String,
}

#[derive(Debug, Deserialize)]
pub(super) struct Trouble {
    pub(super) error: ApiError,
}

#[derive(Debug, Deserialize)]
pub(super) struct ApiError {
    #[serde(rename = "type")]
    pub(super) kind: String,
    pub(super) code: Option<String>,
    pub(super) decline_code: Option<String>,
    pub(super) message: Option<String>,
}

fn at(seconds: i64) -> Result<Timestamp, Odd> {
    seconds.checked_mul(1_000_000).map(Timestamp::from_micros).ok_or(Odd::Field("a time is out of range"))
}

impl Session {
    /// Whether its payment would have to be made anew.
    fn is_without_money(&self) -> bool {
        let intent = self.payment_intent.as_ref().and_then(Expandable::whole);
        intent.is_some_and(|intent| matches!(&*intent.status, "canceled" | "requires_payment_method"))
    }

    pub(super) fn meaning(self) -> Result<Checkout, Odd> {
        let currency = self.currency.as_deref().ok_or(Odd::Field("a session without a currency"))?;
        let total = self.amount_total.ok_or(Odd::Field("a session without an amount"))?;
        let state = match (self.status.as_deref(), self.payment_status.as_str()) {
            (Some("open"), _) => CheckoutState::Open,
            (Some("expired"), _) => CheckoutState::Expired,
            (Some("complete"), "paid") => CheckoutState::Paid,
            // A delayed payment that failed leaves the session complete and unpaid for ever; nobody can pay on it again.
            (Some("complete"), "unpaid") if self.is_without_money() => CheckoutState::Declined,
            (Some("complete"), "unpaid") => CheckoutState::Processing,
            // What needs no payment is not sold through a provider.
            _ => return Err(Odd::Field("a session of an unknown status")),
        };
        let payment = match self.payment_intent {
            Some(Expandable::Whole(intent)) => Some(intent.meaning()?),
            Some(Expandable::Name(_)) | None => None,
        };
        Ok(Checkout {
            id: self.id,
            purchase: self.client_reference_id,
            state,
            price: from_stripe(total, currency)?,
            page: self.url,
            payment,
            expires_at: Some(at(self.expires_at)?),
        })
    }
}

impl Intent {
    pub(super) fn meaning(self) -> Result<Payment, Odd> {
        let state = match self.status.as_str() {
            "succeeded" => PaymentState::Captured,
            "canceled" => PaymentState::Failed,
            "processing"
            | "requires_action"
            | "requires_capture"
            | "requires_confirmation"
            | "requires_payment_method" => PaymentState::Pending,
            _ => return Err(Odd::Field("a payment of an unknown status")),
        };
        let charge = self.latest_charge.as_ref().and_then(Expandable::whole);
        let settlement = charge.and_then(|charge| charge.balance_transaction.as_ref());
        let settlement = settlement.and_then(Expandable::whole).map(BalanceTransaction::settlement);
        let amount = match (state, self.amount_received) {
            // What came in, not what was asked for; an answer that does not say it is none, and not nothing that came in.
            (PaymentState::Captured, Some(received)) => received,
            (PaymentState::Captured, None) => {
                return Err(Odd::Field("a payment that does not say what came in"));
            }
            (PaymentState::Pending | PaymentState::Failed, _) => self.amount,
        };
        Ok(Payment {
            in_books: charge.map(|charge| charge.id.clone()),
            purchase: self.metadata.purchase,
            state,
            amount: from_stripe(amount, &self.currency)?,
            refunded: from_stripe(charge.map_or(0, |charge| charge.amount_refunded), &self.currency)?,
            disputed: charge.is_some_and(|charge| charge.disputed),
            settlement: settlement.transpose()?,
            created_at: at(self.created)?,
            id: self.id,
        })
    }
}

impl BalanceTransaction {
    fn settlement(&self) -> Result<Settlement, Odd> {
        Ok(Settlement {
            gross: from_stripe(self.amount, &self.currency)?,
            fee: from_stripe(self.fee, &self.currency)?,
            net: from_stripe(self.net, &self.currency)?,
        })
    }

    pub(super) fn meaning(self) -> Result<Entry, Odd> {
        let Settlement { gross, fee, net } = self.settlement()?;
        let kind = match self.reporting_category.as_str() {
            "charge" => EntryKind::Payment,
            "refund" => EntryKind::Refund,
            "refund_failure" => EntryKind::RefundReturned,
            "dispute" => EntryKind::Dispute,
            "dispute_reversal" => EntryKind::DisputeReturned,
            "fee" | "tax" | "network_cost" => EntryKind::Fee,
            "transfer" => EntryKind::Payout,
            "transfer_reversal" => EntryKind::PayoutReturned,
            "payout" | "payout_reversal" | "topup" | "topup_reversal" => EntryKind::Bank,
            "risk_reserved_funds" => EntryKind::Hold,
            _ => EntryKind::Other,
        };
        let (mut about, mut payment, mut reference) = (None, None, None);
        match self.source {
            Some(Expandable::Name(name)) => about = Some(name),
            Some(Expandable::Whole(origin)) => {
                let origin = *origin;
                let ours = origin.metadata.unwrap_or_default();
                about = Some(match (kind, origin.transfer) {
                    (EntryKind::PayoutReturned, Some(transfer)) => name(transfer),
                    _ => origin.id,
                });
                payment = origin.payment_intent.filter(|_| kind == EntryKind::Payment).map(name);
                reference = match kind {
                    EntryKind::Payment => ours.purchase,
                    EntryKind::Refund | EntryKind::RefundReturned => ours.refund,
                    EntryKind::Payout => ours.payout,
                    EntryKind::Dispute
                    | EntryKind::DisputeReturned
                    | EntryKind::Hold
                    | EntryKind::Fee
                    | EntryKind::PayoutReturned
                    | EntryKind::Bank
                    | EntryKind::Conversion
                    | EntryKind::Other => None,
                };
            }
            None => {}
        }
        Ok(Entry {
            id: self.id,
            kind,
            word: self.kind,
            about,
            payment,
            reference,
            gross,
            fee,
            net,
            at: at(self.created)?,
        })
    }
}

fn name(thing: Expandable<Source>) -> String {
    match thing {
        Expandable::Name(name) => name,
        Expandable::Whole(source) => source.id,
    }
}

impl RefundAnswer {
    pub(super) fn is(&self, reference: &str) -> bool {
        self.metadata.as_ref().and_then(|ours| ours.refund.as_deref()) == Some(reference)
    }

    pub(super) fn meaning(self) -> Result<Refund, Odd> {
        let state = match self.status.as_deref() {
            Some("succeeded") => RefundState::Done,
            Some("pending" | "requires_action") => RefundState::Pending,
            Some("failed" | "canceled") => RefundState::Failed,
            _ => return Err(Odd::Field("a refund of an unknown status")),
        };
        Ok(Refund {
            id: self.id,
            reference: self.metadata.and_then(|ours| ours.refund),
            payment: self.payment_intent.or(self.charge).map(name),
            amount: from_stripe(self.amount, &self.currency)?,
            state,
            reason: self.failure_reason,
            created_at: at(self.created)?,
        })
    }
}

impl DisputeAnswer {
    pub(super) fn meaning(self) -> Result<Dispute, Odd> {
        let (state, inquiry) = match self.status.as_str() {
            "warning_needs_response" => (DisputeState::NeedsAnswer, true),
            "warning_under_review" => (DisputeState::UnderReview, true),
            "warning_closed" => (DisputeState::Won, true),
            "needs_response" => (DisputeState::NeedsAnswer, false),
            "under_review" => (DisputeState::UnderReview, false),
            "won" | "prevented" => (DisputeState::Won, false),
            "lost" => (DisputeState::Lost, false),
            _ => return Err(Odd::Field("a dispute of an unknown status")),
        };
        let mut fee: Option<Money> = None;
        for line in &self.balance_transactions {
            let one = line.settlement()?.fee;
            let sum = fee.map_or(Ok(one), |sum| sum.plus(one));
            fee = Some(sum.map_err(|_| Odd::Field("fees of a dispute that cannot be added"))?);
        }
        Ok(Dispute {
            id: self.id,
            payment: Some(self.payment_intent.map_or_else(|| name(self.charge), name)),
            amount: from_stripe(self.amount, &self.currency)?,
            state,
            inquiry,
            reason: self.reason,
            answer_by: self.evidence_details.due_by.filter(|due| *due > 0).map(at).transpose()?,
            fee,
            created_at: at(self.created)?,
        })
    }
}

impl Transfer {
    pub(super) fn meaning(self) -> Result<Payout, Odd> {
        let returned = from_stripe(self.amount_reversed, &self.currency)?;
        Ok(Payout {
            in_books: None,
            reference: self.metadata.payout.or(self.group),
            // Money in a connected account is the trader's at once.
            state: if self.reversed { PayoutState::Returned } else { PayoutState::Settled },
            amount: from_stripe(self.amount, &self.currency)?,
            returned,
            fee: Some(Money::from_minor(0, currency(&self.currency)?)),
            reason: None,
            created_at: at(self.created)?,
            id: self.id,
        })
    }
}

fn currency(code: &str) -> Result<Currency, Odd> {
    Ok(from_stripe(0, code)?.currency())
}
