//! What the platform asks of a company that takes and sends money, in its own words.
//!
//! Amounts are exact [`Money`]. Every effect carries a [`Reference`] of ours as its idempotency key: asking again with the same
//! values is asking once. What a provider says about a thing is a snapshot; whoever needs to know pulls it again.

use std::fmt;

use async_trait::async_trait;
use kernel::{Money, Span, Timestamp};

/// Which company.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ProviderName {
    /// Stripe.
    Stripe,
    /// PayPal.
    Paypal,
}

impl ProviderName {
    /// All.
    pub const ALL: [Self; 2] = [Self::Stripe, Self::Paypal];

    /// The word in rows and paths.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Stripe => "stripe",
            Self::Paypal => "paypal",
        }
    }

    /// The one of that word.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|name| name.word() == word)
    }

    /// Its name in the ledger.
    pub fn in_ledger(self) -> Result<crate::ledger::Provider, crate::ledger::LedgerError> {
        crate::ledger::Provider::parse(self.word())
    }
}

impl fmt::Display for ProviderName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Stripe => "Stripe",
            Self::Paypal => "PayPal",
        })
    }
}

/// Whether the money is real.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Mode {
    /// The provider's sandbox.
    Test,
    /// Real money.
    Live,
}

impl Mode {
    /// The word in rows and settings.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Test => "test",
            Self::Live => "live",
        }
    }
}

/// Our own name of a purchase, a refund, a payout, or of one attempt at it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference(String);

/// A text that is no [`Reference`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a reference is 1 to {} letters, digits, hyphens and underscores", Reference::MOST_BYTES)]
pub struct BadReference;

impl Reference {
    /// As long as the shortest field of any provider.
    pub const MOST_BYTES: usize = 63;

    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, BadReference> {
        let fits = (1..=Self::MOST_BYTES).contains(&text.len());
        let plain = text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if fits && plain { Ok(Self(text.to_owned())) } else { Err(BadReference) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// What a provider, or the way to it, said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// The provider's word for it, or ours.
    pub code: String,
    /// A sentence for operators; never for buyers, and never with a key in it.
    pub text: String,
    /// The provider's name of the exchange, by which its support finds it.
    pub trace: Option<String>,
}

impl fmt::Display for Said {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{} ({})", self.text, self.code)?;
        match &self.trace {
            Some(trace) => write!(formatter, ", trace {trace}"),
            None => Ok(()),
        }
    }
}

/// Why a provider did not do what it was asked. It tells of this call alone: a doubt that an earlier call with the same
/// reference left ends with an answer, a decline or a refusal, and with nothing else.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Failure {
    /// Whoever has to pay or to be paid was refused: another card, another account or another person may work.
    #[error("declined: {0}")]
    Declined(Said),
    /// The request as it is will never be carried out. Nothing happened.
    #[error("refused: {0}")]
    Refused(Said),
    /// Nobody knows whether it happened. Ask again under the same reference, or pull; never assume.
    #[error("outcome unknown: {0}")]
    Unknown(Said),
    /// Nothing happened, and nothing is wrong with the request. Later.
    #[error("unavailable: {said}")]
    Unavailable {
        /// Why.
        said: Said,
        /// How long the provider asks us to wait.
        retry_after: Option<Span>,
    },
    /// The key is wrong, may not do this, or is of the other mode. Somebody has to look.
    #[error("wrong key: {0}")]
    WrongKey(Said),
}

impl Failure {
    /// What was said.
    pub const fn said(&self) -> &Said {
        match self {
            Self::Declined(said)
            | Self::Refused(said)
            | Self::Unknown(said)
            | Self::WrongKey(said)
            | Self::Unavailable { said, .. } => said,
        }
    }
}

/// A page to be opened on which a buyer pays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewCheckout {
    /// This attempt, the key.
    pub attempt: Reference,
    /// The purchase that it pays; comes back with everything that follows from it.
    pub purchase: Reference,
    /// What is paid.
    pub price: Money,
    /// What is bought, as the buyer reads it.
    pub title: String,
    /// The buyer's address, to fill it in.
    pub email: Option<String>,
    /// Where the buyer goes after paying.
    pub success_url: String,
    /// Where the buyer goes who does not pay.
    pub cancel_url: String,
    /// When the page closes, where the provider lets us say so.
    pub expires_at: Option<Timestamp>,
}

/// How a checkout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CheckoutState {
    /// The buyer may pay.
    Open,
    /// The buyer has agreed; the money is ours to capture.
    Approved,
    /// Captured, but the money is still on its way.
    Processing,
    /// Paid.
    Paid,
    /// The payment failed for good.
    Declined,
    /// Closed without a payment.
    Expired,
}

/// A page on which a buyer pays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkout {
    /// The provider's name of it.
    pub id: String,
    /// The purchase that it pays.
    pub purchase: Option<String>,
    /// How it stands.
    pub state: CheckoutState,
    /// What is to be paid.
    pub price: Money,
    /// Where the buyer pays, as long as that is possible.
    pub page: Option<String>,
    /// What was paid, or tried.
    pub payment: Option<Payment>,
    /// When it closes.
    pub expires_at: Option<Timestamp>,
}

/// How a payment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PaymentState {
    /// Not there yet.
    Pending,
    /// The money is at the provider. Refunds and disputes do not change this.
    Captured,
    /// It will not come.
    Failed,
}

/// What somebody paid.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payment {
    /// The provider's name of it, by which it is refunded.
    pub id: String,
    /// Its name in the provider's books, if that is another one.
    pub in_books: Option<String>,
    /// The purchase that it pays.
    pub purchase: Option<String>,
    /// How it stands.
    pub state: PaymentState,
    /// What was paid.
    pub amount: Money,
    /// How much of it went back.
    pub refunded: Money,
    /// Whether somebody disputes it, or did.
    pub disputed: bool,
    /// What came of it, once the provider knows.
    pub settlement: Option<Settlement>,
    /// When.
    pub created_at: Timestamp,
}

/// What a payment is in the currency of our balance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settlement {
    /// Before the provider's fee.
    pub gross: Money,
    /// The provider's fee.
    pub fee: Money,
    /// What is left.
    pub net: Money,
}

/// Money to be given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewRefund {
    /// Our name of the refund, the key.
    pub refund: Reference,
    /// The payment, by the provider's name.
    pub payment: String,
    /// How much of it.
    pub amount: Money,
    /// When this refund was asked for first: keys do not live for ever.
    pub first_asked_at: Timestamp,
}

/// How a refund stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefundState {
    /// On its way.
    Pending,
    /// The buyer's bank has it.
    Done,
    /// It came back, or never left.
    Failed,
}

/// Money given back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refund {
    /// The provider's name of it.
    pub id: String,
    /// Ours, if it is ours and not made at the provider's own screen.
    pub reference: Option<String>,
    /// The payment, if the provider says.
    pub payment: Option<String>,
    /// How much.
    pub amount: Money,
    /// How it stands.
    pub state: RefundState,
    /// Why it failed.
    pub reason: Option<String>,
    /// When.
    pub created_at: Timestamp,
}

/// How a dispute stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DisputeState {
    /// It is our turn to answer.
    NeedsAnswer,
    /// Somebody else's turn.
    UnderReview,
    /// Ended for us; the money is ours, or never left.
    Won,
    /// Ended for the buyer.
    Lost,
}

/// A payment that its buyer, or the buyer's bank, wants back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    /// The provider's name of it.
    pub id: String,
    /// The payment, if the provider says.
    pub payment: Option<String>,
    /// How much is disputed.
    pub amount: Money,
    /// How it stands.
    pub state: DisputeState,
    /// Whether it is a question so far, with the money still ours.
    pub inquiry: bool,
    /// Why, in the provider's word.
    pub reason: String,
    /// Until when to answer.
    pub answer_by: Option<Timestamp>,
    /// What the provider took for it, once it has.
    pub fee: Option<Money>,
    /// When it began.
    pub created_at: Timestamp,
}

/// What a document proves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DocumentKind {
    /// What was paid for.
    Receipt,
    /// What was agreed.
    Terms,
    /// That the service was given.
    Service,
    /// All else.
    Other,
}

/// A file for a dispute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// What it proves; one of each.
    pub kind: DocumentKind,
    /// Its name, such as `terms.pdf`.
    pub name: String,
    /// Its media type, such as `application/pdf`.
    pub media_type: String,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Our answer to a dispute, from our own records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Evidence {
    /// What was sold.
    pub product: String,
    /// Why the payment is right.
    pub explanation: String,
    /// Sign-ins, trades, downloads: one line each.
    pub activity: String,
    /// When the service began, as a date.
    pub service_date: Option<String>,
    /// The buyer's name.
    pub buyer_name: Option<String>,
    /// The buyer's email.
    pub buyer_email: Option<String>,
    /// From where the buyer bought.
    pub buyer_address: Option<String>,
    /// Files.
    pub documents: Vec<Document>,
}

/// Where a payout goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Destination {
    /// A connected account at Stripe.
    StripeAccount(String),
    /// Whoever has this address at PayPal.
    PaypalEmail(String),
    /// An account at PayPal.
    PaypalAccount(String),
}

/// Money to be sent to a trader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPayout {
    /// Our name of the payout.
    pub payout: Reference,
    /// This attempt at it, the key. After an unknown outcome the same one; after a definite refusal another one.
    pub attempt: Reference,
    /// How much.
    pub amount: Money,
    /// To whom.
    pub to: Destination,
    /// What the trader reads.
    pub note: String,
    /// When this attempt was made first: keys do not live for ever.
    pub first_asked_at: Timestamp,
}

/// How a payout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PayoutState {
    /// On its way.
    Pending,
    /// Waits for somebody to take it.
    Unclaimed,
    /// The trader has it.
    Settled,
    /// It came back to us.
    Returned,
    /// It never left.
    Failed,
}

/// Money sent to a trader.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Payout {
    /// The provider's name of it.
    pub id: String,
    /// Its name in the provider's books, if that is another one.
    pub in_books: Option<String>,
    /// Ours.
    pub reference: Option<String>,
    /// How it stands.
    pub state: PayoutState,
    /// How much.
    pub amount: Money,
    /// How much of it came back.
    pub returned: Money,
    /// The provider's fee, once it is known.
    pub fee: Option<Money>,
    /// Why it failed or waits.
    pub reason: Option<String>,
    /// When.
    pub created_at: Timestamp,
}

/// What a line in a provider's books is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum EntryKind {
    /// Somebody paid.
    Payment,
    /// Money given back.
    Refund,
    /// A refund that came back.
    RefundReturned,
    /// Taken for a dispute.
    Dispute,
    /// Given back after one.
    DisputeReturned,
    /// Held back, or let go.
    Hold,
    /// A fee on its own.
    Fee,
    /// Sent to a trader.
    Payout,
    /// A payout that came back.
    PayoutReturned,
    /// From or to our own bank.
    Bank,
    /// From one currency into another.
    Conversion,
    /// All else.
    Other,
}

impl EntryKind {
    /// All.
    pub const ALL: [Self; 12] = [
        Self::Payment,
        Self::Refund,
        Self::RefundReturned,
        Self::Dispute,
        Self::DisputeReturned,
        Self::Hold,
        Self::Fee,
        Self::Payout,
        Self::PayoutReturned,
        Self::Bank,
        Self::Conversion,
        Self::Other,
    ];

    /// The word in rows.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Payment => "payment",
            Self::Refund => "refund",
            Self::RefundReturned => "refund_returned",
            Self::Dispute => "dispute",
            Self::DisputeReturned => "dispute_returned",
            Self::Hold => "hold",
            Self::Fee => "fee",
            Self::Payout => "payout",
            Self::PayoutReturned => "payout_returned",
            Self::Bank => "bank",
            Self::Conversion => "conversion",
            Self::Other => "other",
        }
    }
}

/// A line in a provider's books.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Names the line, and no other.
    pub id: String,
    /// What it is.
    pub kind: EntryKind,
    /// The provider's word for it.
    pub word: String,
    /// What it is about: a payment, a refund, a dispute, a payout, by its name in the books.
    pub about: Option<String>,
    /// Of a payment: the name by which it is pulled, where the books tell it.
    pub payment: Option<String>,
    /// Our reference, where the books carry it.
    pub reference: Option<String>,
    /// What came (or went, below zero) before the fee.
    pub gross: Money,
    /// The fee, above zero if we pay it.
    pub fee: Money,
    /// What the balance changed by.
    pub net: Money,
    /// When.
    pub at: Timestamp,
}

/// A part of a longer list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// What is on it.
    pub items: Vec<T>,
    /// What to hand in for the next one.
    pub next: Option<String>,
}

/// A company that takes and sends money.
#[async_trait]
pub trait Provider: Send + Sync {
    /// Which one.
    fn name(&self) -> ProviderName;

    /// Whether the money is real.
    fn mode(&self) -> Mode;

    /// The nearest amount at or above `price` that it can charge; an error if it takes no such currency.
    fn chargeable(&self, price: Money) -> Result<Money, Failure>;

    /// The nearest amount at or below `amount` that it can send.
    fn payable(&self, amount: Money) -> Result<Money, Failure>;

    /// Opens a page on which a buyer pays.
    async fn open_checkout(&self, new: &NewCheckout) -> Result<Checkout, Failure>;

    /// How a checkout stands.
    async fn checkout(&self, id: &str) -> Result<Checkout, Failure>;

    /// Takes the money of an approved checkout; one that is paid already stays so.
    async fn capture(&self, id: &str, attempt: &Reference) -> Result<Checkout, Failure>;

    /// Closes a page, so that nobody pays there any more. Where the provider cannot, nothing happens and the answer says how
    /// it stands.
    async fn close_checkout(&self, id: &str) -> Result<Checkout, Failure>;

    /// How a payment stands.
    async fn payment(&self, id: &str) -> Result<Payment, Failure>;

    /// Gives money back.
    async fn refund(&self, new: &NewRefund) -> Result<Refund, Failure>;

    /// How a refund stands.
    async fn refund_state(&self, id: &str) -> Result<Refund, Failure>;

    /// How a dispute stands.
    async fn dispute(&self, id: &str) -> Result<Dispute, Failure>;

    /// Disputes that began, or where the provider tells it changed, since then, newest first.
    async fn disputes(&self, since: Timestamp, page: Option<&str>) -> Result<Page<Dispute>, Failure>;

    /// Answers a dispute, once and for all.
    async fn answer_dispute(
        &self,
        id: &str,
        attempt: &Reference,
        evidence: &Evidence,
    ) -> Result<Dispute, Failure>;

    /// Gives in.
    async fn concede_dispute(&self, id: &str, attempt: &Reference) -> Result<Dispute, Failure>;

    /// Sends money to a trader.
    async fn send_payout(&self, new: &NewPayout) -> Result<Payout, Failure>;

    /// How a payout stands.
    async fn payout(&self, id: &str) -> Result<Payout, Failure>;

    /// Takes back a payout that nobody has claimed, or that the provider lets us reverse.
    async fn take_back_payout(&self, id: &str, attempt: &Reference) -> Result<Payout, Failure>;

    /// The provider's books from `from` (included) to `to` (not), at most 31 days.
    async fn entries(
        &self,
        from: Timestamp,
        to: Timestamp,
        page: Option<&str>,
    ) -> Result<Page<Entry>, Failure>;
}

/// Headers of a webhook as they came, names in lower case.
#[derive(Debug, Clone, Copy)]
pub struct Headers<'a>(&'a [(String, Vec<u8>)]);

impl<'a> Headers<'a> {
    /// Over all lines, in their order.
    pub const fn new(lines: &'a [(String, Vec<u8>)]) -> Self {
        Self(lines)
    }

    /// The only value of a name. Two are as bad as none: nobody knows which one was meant.
    pub fn only(self, name: &'static str) -> Result<&'a str, Distrust> {
        let mut found = self.0.iter().filter(|(line, _)| line == name);
        let (_, value) = found.next().ok_or(Distrust::Missing(name))?;
        if found.next().is_some() {
            return Err(Distrust::Malformed(name));
        }
        if value.len() > MOST_HEADER_BYTES {
            return Err(Distrust::TooLarge);
        }
        std::str::from_utf8(value).map_err(|_| Distrust::Malformed(name))
    }
}

/// A header of a webhook longer than this is not read.
pub const MOST_HEADER_BYTES: usize = 4_096;

/// A webhook's body longer than this is not read.
pub const MOST_BODY_BYTES: usize = 512 * 1_024;

/// What a webhook is about: what to pull.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum About {
    /// A checkout.
    Checkout(String),
    /// A payment.
    Payment(String),
    /// A refund.
    Refund(String),
    /// A dispute.
    Dispute(String),
    /// A payout.
    Payout(String),
    /// Something that we do not follow; it is kept.
    Other,
}

/// A webhook that its provider has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Who says so.
    pub provider: ProviderName,
    /// The event, however often it is sent. The key of the inbox.
    pub id: String,
    /// The provider's word for what happened.
    pub kind: String,
    /// What to pull.
    pub about: About,
    /// When it happened.
    pub at: Timestamp,
}

/// Why a webhook is not believed. None of it is told to whoever sent it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Distrust {
    /// A header that has to be there is not.
    #[error("there is no header {0}")]
    Missing(&'static str),
    /// A header or a field cannot be read, or is there twice.
    #[error("{0} cannot be read")]
    Malformed(&'static str),
    /// More than anybody signs.
    #[error("larger than any webhook")]
    TooLarge,
    /// Too old, or from the future.
    #[error("signed at another time")]
    OutOfTime,
    /// Not signed by whom it should be.
    #[error("the signature is wrong")]
    WrongSignature,
    /// An algorithm that is not believed.
    #[error("signed by an algorithm that is not accepted")]
    WrongAlgorithm,
    /// The certificate lies where none of theirs does.
    #[error("the certificate's address is not the provider's")]
    ForeignCertificate,
    /// The certificate is not theirs, or not valid now.
    #[error("the certificate is not accepted: {0}")]
    BadCertificate(String),
    /// A sandbox event for real money, or the reverse.
    #[error("the event is of the other mode")]
    WrongMode,
    /// The certificate could not be had. The provider should send again.
    #[error("the certificate could not be had: {0}")]
    CertificateUnavailable(String),
}

impl Distrust {
    /// Whether the same bytes may be believed later, so that the answer should ask for them again.
    pub const fn is_passing(&self) -> bool {
        matches!(self, Self::CertificateUnavailable(_))
    }
}

/// Tells whether a webhook is its provider's.
#[async_trait]
pub trait Webhooks: Send + Sync {
    /// Reads a webhook that is believed. `body` is what came, byte by byte.
    async fn verify(&self, headers: Headers<'_>, body: &[u8], now: Timestamp) -> Result<Notice, Distrust>;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_short_and_plain() {
        assert!(Reference::parse("payout-0190f6a0-0000-7000-8000-000000000000_2").is_ok());
        assert!(Reference::parse(&"x".repeat(63)).is_ok());
        for bad in ["", "a b", "a/b", "é", "a\n", &"x".repeat(64)] {
            assert_eq!(Reference::parse(bad), Err(BadReference), "{bad}");
        }
    }
}
