//! What an event does to a purchase: where it goes, what is posted. Pure; under the lock of the purchase's row.

use kernel::{EntryId, Money, Overflow, PurchaseId, Timestamp};

use super::{Bought, Happening, Next, Purchase, PurchaseState, next};
use crate::AppError;
use crate::ledger::posting::{self, Event, Sale};
use crate::ledger::{Entry, LedgerError, MOST_REASON, Provider};

/// What somebody says has happened. References are the provider's own names of its objects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PurchaseEvent {
    /// A provider's page was opened.
    Begun {
        /// Whose.
        provider: Provider,
        /// The page's session or order.
        session: String,
    },
    /// There is nothing to pay.
    NothingDue,
    /// A provider has money for it.
    Captured {
        /// Who.
        provider: Provider,
        /// The payment.
        payment: String,
        /// How much.
        amount: Money,
    },
    /// Its account is open.
    Fulfilled,
    /// The buyer took it back.
    Cancelled,
    /// The time to pay is over.
    Expired,
    /// The payment failed for good.
    Failed,
    /// A provider gave money back.
    Refunded {
        /// Who.
        provider: Provider,
        /// Of which payment.
        payment: String,
        /// The refund.
        refund: String,
        /// How much.
        amount: Money,
    },
    /// A refund did not arrive.
    RefundFailed {
        /// Who.
        provider: Provider,
        /// The refund.
        refund: String,
        /// What the provider says.
        reason: String,
    },
    /// A dispute was opened, and the provider took the money.
    DisputeOpened {
        /// Who.
        provider: Provider,
        /// The dispute.
        dispute: String,
        /// How much was taken.
        amount: Money,
        /// What the provider takes for it.
        fee: Option<Money>,
    },
    /// A dispute was won, and the provider gave the money back.
    DisputeWon {
        /// Who.
        provider: Provider,
        /// The dispute.
        dispute: String,
    },
    /// A dispute was lost.
    DisputeLost {
        /// Who.
        provider: Provider,
        /// The dispute.
        dispute: String,
    },
}

/// What has happened to a purchase, as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Happened {
    /// Follows from what the provider calls it: the same event has the same name, however often it comes.
    pub id: EntryId,
    /// What.
    pub what: Happening,
    /// Whose provider.
    pub provider: Option<Provider>,
    /// The provider's name of it; empty if it has none.
    pub reference: String,
    /// How much.
    pub amount: Option<Money>,
    /// Of a refund: how much of it is tax. Of one that failed: by how much the tax in those that stand was mended.
    pub tax: Option<Money>,
    /// When it happened.
    pub at: Timestamp,
    /// Where the purchase stood then.
    pub from: PurchaseState,
    /// Where it went.
    pub to: PurchaseState,
}

/// What becomes of a purchase.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What has happened.
    pub happened: Happened,
    /// What is posted.
    pub entries: Vec<Entry>,
}

/// An event by its word, its provider and the provider's name of it.
struct Named<'a> {
    word: &'static str,
    provider: Option<&'a Provider>,
    reference: &'a str,
    amount: Option<Money>,
}

impl PurchaseEvent {
    fn named(&self) -> Named<'_> {
        let bare = |word| Named { word, provider: None, reference: "", amount: None };
        let of =
            |word, provider, reference, amount| Named { word, provider: Some(provider), reference, amount };
        match self {
            Self::Begun { provider, session } => of("begun", provider, session, None),
            Self::NothingDue => bare("nothing_due"),
            Self::Captured { provider, payment, amount } => of("payment", provider, payment, Some(*amount)),
            Self::Fulfilled => bare("fulfilled"),
            Self::Cancelled => bare("cancelled"),
            Self::Expired => bare("expired"),
            Self::Failed => bare("failed"),
            Self::Refunded { provider, refund, amount, .. } => of("refund", provider, refund, Some(*amount)),
            Self::RefundFailed { provider, refund, .. } => of("refund_failed", provider, refund, None),
            Self::DisputeOpened { provider, dispute, amount, .. } => {
                of("dispute", provider, dispute, Some(*amount))
            }
            Self::DisputeWon { provider, dispute } => of("dispute_won", provider, dispute, None),
            Self::DisputeLost { provider, dispute } => of("dispute_lost", provider, dispute, None),
        }
    }
}

/// The name of an event of a purchase.
fn name(purchase: PurchaseId, word: &str, provider: Option<&Provider>, reference: &str) -> EntryId {
    let provider = provider.map(Provider::as_str).unwrap_or_default();
    EntryId::derived(&[
        b"purchase",
        purchase.uuid().as_bytes(),
        word.as_bytes(),
        provider.as_bytes(),
        reference.as_bytes(),
    ])
}

/// The history of a purchase, read as its money.
struct Cash<'a> {
    purchase: &'a Purchase,
    history: &'a [Happened],
}

impl Cash<'_> {
    fn find(&self, word: &str, provider: &Provider, reference: &str) -> Option<&Happened> {
        let id = name(self.purchase.id, word, Some(provider), reference);
        self.history.iter().find(|happened| happened.id == id)
    }

    fn failed(&self, refund: &Happened) -> bool {
        refund
            .provider
            .as_ref()
            .is_some_and(|provider| self.find("refund_failed", provider, &refund.reference).is_some())
    }

    /// What was given back of what was paid, and the tax in it.
    fn refunded(&self) -> Result<(Money, Money), AppError> {
        let zero = posting::nothing(self.purchase.fee.currency());
        let stands = |it: &&Happened| {
            matches!(it.what, Happening::RefundedInPart | Happening::RefundedInWhole) && !self.failed(it)
        };
        let stand = self.history.iter().filter(stands).try_fold((zero, zero), |(amount, tax), refund| {
            Ok::<_, AppError>((plus(amount, refund.amount)?, plus(tax, refund.tax)?))
        })?;
        let mut mended = self.history.iter().filter(|it| it.what == Happening::RefundFailed);
        Ok((stand.0, mended.try_fold(stand.1, |tax, it| plus(tax, it.tax))?))
    }

    /// What came too often and was not given back yet.
    fn overpaid(&self) -> Result<Money, AppError> {
        let zero = posting::nothing(self.purchase.fee.currency());
        let sum = |what| {
            let stands = |it: &&Happened| it.what == what && !self.failed(it);
            self.history.iter().filter(stands).try_fold(zero, |sum, it| plus(sum, it.amount))
        };
        Ok(posting::minus(sum(Happening::PaidAgain)?, sum(Happening::OverpaymentRefunded)?)?)
    }

    fn open_disputes(&self) -> usize {
        let count = |what| self.history.iter().filter(|it| it.what == what).count();
        let over = count(Happening::DisputeWon).saturating_add(count(Happening::DisputeLost));
        count(Happening::DisputeOpened).saturating_sub(over)
    }

    /// Where it stands without disputes, if so much was refunded.
    fn without_disputes(&self, refunded: Money) -> PurchaseState {
        if refunded.minor() >= self.purchase.fee.minor() && self.purchase.fee.minor() > 0 {
            PurchaseState::Refunded
        } else if self.history.iter().any(|it| it.what == Happening::Fulfilled) {
            PurchaseState::Fulfilled
        } else {
            PurchaseState::Captured
        }
    }
}

fn plus(sum: Money, more: Option<Money>) -> Result<Money, AppError> {
    match more {
        None => Ok(sum),
        Some(more) => sum.plus(more).map_err(|error| match error {
            kernel::MoneyError::CurrencyMismatch(one, other) => LedgerError::Currencies(one, other).into(),
            kernel::MoneyError::Overflow(overflow) => LedgerError::Overflow(overflow).into(),
        }),
    }
}

fn conflict(say: impl Into<String>) -> AppError {
    AppError::refused("conflict", say)
}

/// What becomes of a purchase when something has happened to it; nothing if that was known or no longer matters.
pub fn decide(
    purchase: &Purchase,
    history: &[Happened],
    event: &PurchaseEvent,
    at: Timestamp,
) -> Result<Option<Decision>, AppError> {
    let money = Cash { purchase, history };
    let Named { word, provider, reference, amount } = event.named();
    let id = name(purchase.id, word, provider, reference);
    if let Some(known) = history.iter().find(|happened| happened.id == id) {
        // The same event tells the same amount.
        return if known.amount == amount { Ok(None) } else { Err(LedgerError::IdReused.into()) };
    }
    if let Some(amount) = amount.filter(|amount| amount.minor() <= 0) {
        return Err(LedgerError::NotPositive(amount.minor()).into());
    }
    let (what, posted) = judge(&money, event, Event { id, cause: cause(purchase.id), at })?;
    let refunded = money.refunded()?;
    let to = match next(purchase.state, what) {
        Next::To(to) => to,
        Next::Stay => purchase.state,
        // A dispute is over when the last one is.
        Next::Back if what == Happening::DisputeWon && money.open_disputes() > 1 => purchase.state,
        Next::Back => {
            let mut given_back = refunded.0;
            if let PurchaseEvent::RefundFailed { provider, refund, .. } = event
                && let Some(failed) = money.find("refund", provider, refund)
                && failed.what != Happening::OverpaymentRefunded
                && let Some(amount) = failed.amount
            {
                given_back = posting::minus(given_back, amount)?;
            }
            money.without_disputes(given_back)
        }
        Next::Ignore => return Ok(None),
        Next::Refuse => {
            return Err(conflict(format!("The purchase is {}.", purchase.state.word())));
        }
    };
    let happened = Happened {
        id,
        what,
        provider: provider.cloned(),
        reference: reference.to_owned(),
        amount,
        tax: posted.tax,
        at,
        from: purchase.state,
        to,
    };
    Ok(Some(Decision { happened, entries: posted.entries }))
}

/// What a provider says, as a reason of the ledger's.
fn told(reason: &str) -> String {
    let told: String = reason.trim().chars().take(MOST_REASON).collect();
    if told.is_empty() { "The provider gives no reason.".to_owned() } else { told }
}

/// What was given back of what a purchase cost.
pub fn refunded(purchase: &Purchase, history: &[Happened]) -> Result<Money, AppError> {
    Ok(Cash { purchase, history }.refunded()?.0)
}

/// What a purchase is in the ledger and the messages.
pub fn cause(purchase: PurchaseId) -> String {
    format!("purchase:{purchase}")
}

#[derive(Default)]
struct Postings {
    entries: Vec<Entry>,
    tax: Option<Money>,
}

impl From<Option<Entry>> for Postings {
    fn from(entry: Option<Entry>) -> Self {
        Self { entries: entry.into_iter().collect(), tax: None }
    }
}

/// What it is that has happened, and what it posts.
fn judge(money: &Cash<'_>, said: &PurchaseEvent, event: Event) -> Result<(Happening, Postings), AppError> {
    let Cash { purchase, .. } = money;
    let nothing = Postings::default;
    let answer = match said {
        PurchaseEvent::Begun { .. } => (Happening::Begun, nothing()),
        PurchaseEvent::Fulfilled => (Happening::Fulfilled, nothing()),
        PurchaseEvent::Cancelled => (Happening::Cancelled, nothing()),
        PurchaseEvent::Expired => (Happening::Expired, nothing()),
        PurchaseEvent::Failed => (Happening::Failed, nothing()),
        PurchaseEvent::NothingDue => {
            if purchase.fee.minor() != 0 {
                return Err(conflict("There is something to pay."));
            }
            (Happening::NothingDue, posting::captured(event, purchase.sale(), None)?.into())
        }
        PurchaseEvent::Captured { provider, amount, .. } => {
            // Whether it was paid before, or what it was for is gone: a failed challenge may have begun anew with another purchase,
            // and what its coupons let off may have been let off for another one.
            let paid = !purchase.state.is_open() && !purchase.state.is_dead();
            let once = matches!(purchase.bought, Bought::Reset { .. }) || purchase.discount.minor() > 0;
            let gone = purchase.state.is_dead() && once;
            if paid || gone {
                let entry = posting::overpaid(event, provider, *amount)?;
                (Happening::PaidAgain, Some(entry).into())
            } else if *amount == purchase.fee {
                let entry = posting::captured(event, purchase.sale(), Some(provider))?;
                (Happening::Captured, entry.into())
            } else {
                return Err(conflict(format!("{amount} was paid, and it costs {}.", purchase.fee)));
            }
        }
        PurchaseEvent::Refunded { provider, payment, amount, .. } => {
            let paid = money.find("payment", provider, payment);
            let paid = paid.ok_or_else(|| conflict("The payment that was refunded is not known yet."))?;
            if paid.what == Happening::PaidAgain {
                if posting::minus(money.overpaid()?, *amount)?.minor() < 0 {
                    return Err(conflict("More was refunded than was paid."));
                }
                let entry = posting::overpayment_refunded(event, provider, *amount)?;
                (Happening::OverpaymentRefunded, Some(entry).into())
            } else {
                let before = money.refunded()?;
                let left = posting::minus(posting::minus(purchase.fee, before.0)?, *amount)?.minor();
                if left < 0 {
                    return Err(conflict("More was refunded than was paid."));
                }
                let tax = posting::tax_in_refund(purchase.sale(), before, *amount)?;
                let what = if left == 0 { Happening::RefundedInWhole } else { Happening::RefundedInPart };
                let entry = posting::refunded(event, provider, *amount, tax)?;
                (what, Postings { entries: vec![entry], tax: Some(tax) })
            }
        }
        PurchaseEvent::RefundFailed { provider, refund, reason } => {
            let refunded = money.find("refund", provider, refund);
            let refunded = refunded.ok_or_else(|| conflict("The refund is not known yet."))?;
            let amount = refunded.amount.ok_or(LedgerError::Overflow(Overflow))?;
            let of = Event { id: refunded.id, cause: event.cause.clone(), at: refunded.at };
            let Some(tax) = refunded.tax else {
                let entry = posting::overpayment_refunded(of, provider, amount)?;
                return Ok((Happening::RefundFailed, Some(entry.reversal(event.at, &told(reason))?).into()));
            };
            let entry = posting::refunded(of, provider, amount, tax)?;
            let mut entries = vec![entry.reversal(event.at, &told(reason))?];
            // What still stands has the tax that it would have if this one had never been.
            let stood = money.refunded()?;
            let share = posting::tax_share(purchase.sale(), posting::minus(stood.0, amount)?)?;
            let more = posting::minus(share, posting::minus(stood.1, tax)?)?;
            let mended = (more.minor() != 0).then_some(more);
            if let Some(more) = mended {
                entries.push(posting::tax_corrected(event, more)?);
            }
            (Happening::RefundFailed, Postings { entries, tax: mended })
        }
        PurchaseEvent::DisputeOpened { provider, amount, fee, .. } => {
            // The payment of one that has ended may still be told, and brings it back, unless it had no use for it.
            let came = money.history.iter().any(|it| it.what == Happening::PaidAgain);
            if purchase.state.is_dead() && !came {
                return Err(conflict("The payment that is disputed is not known yet."));
            }
            let entry = posting::dispute_opened(event, provider, *amount, *fee)?;
            (Happening::DisputeOpened, Some(entry).into())
        }
        PurchaseEvent::DisputeWon { provider, dispute }
        | PurchaseEvent::DisputeLost { provider, dispute } => {
            let opened = money.find("dispute", provider, dispute).and_then(|it| it.amount);
            let amount = opened.ok_or_else(|| conflict("The dispute is not known yet."))?;
            let won = money.find("dispute_won", provider, dispute).is_some();
            let lost = money.find("dispute_lost", provider, dispute).is_some();
            if won || lost {
                return Err(conflict("The dispute has ended otherwise."));
            }
            if matches!(said, PurchaseEvent::DisputeWon { .. }) {
                let entry = posting::dispute_won(event, provider, amount)?;
                (Happening::DisputeWon, Some(entry).into())
            } else {
                let entry = posting::dispute_lost(event, provider, amount)?;
                (Happening::DisputeLost, Some(entry).into())
            }
        }
    };
    Ok(answer)
}

impl Purchase {
    /// What it brings.
    pub const fn sale(&self) -> Sale {
        Sale { paid: self.fee, tax: self.tax, discount: self.discount }
    }
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "tests")]
#[path = "decide_tests.rs"]
mod tests;
