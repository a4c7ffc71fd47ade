//! What an event does to a payout: where it goes, what is posted, what is kept back or let go. Pure; under the lock of its row.

use kernel::{Amount, EntryId, HoldId, Money, PayoutBatchId, PayoutId, PersonId, Span, Timestamp};

use super::{
    Attempt, AttemptState, Happening, Locked, Method, Next, Payout, PayoutState, Review, cause, next,
};
use crate::AppError;
use crate::kyc::Standing;
use crate::ledger::posting::{self, Event as Posting, PaidFrom};
use crate::ledger::{Account, Entry, Hold, HoldState, MOST_REASON, Outcome, Provider};
use crate::payments::port;

/// Whoever was asked to send money is not asked again before. Longer than any call to a provider lasts, so that two never
/// ask at once and the answer of the one ends the doubt of the other.
pub const ASKED_AGAIN_AFTER: Span = Span::from_seconds(300);

/// What somebody says has happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayoutEvent {
    /// Look again whether we know who asks.
    Gate,
    /// One of the firm's people has looked.
    Reviewed(Review),
    /// The trader takes it back.
    Withdrawn,
    /// The engine is about to be asked.
    TakeBegun,
    /// The engine said "not now" to the command with this number.
    Later {
        /// How many were answered so before.
        tries: u32,
    },
    /// The engine took the money.
    Taken {
        /// Its verdict.
        verdict: Option<u32>,
        /// What left the account.
        taken: Amount,
        /// The trader's share.
        share: Money,
    },
    /// The engine refused.
    Refused {
        /// Its verdict.
        verdict: Option<u32>,
        /// Which conditions do not hold.
        reason: String,
    },
    /// The share is to be kept back.
    Reserved,
    /// A provider is about to be asked to send so much.
    Begun {
        /// What the provider can send of it.
        amount: Money,
    },
    /// It stands in a file for the bank.
    Exported {
        /// Which.
        batch: PayoutBatchId,
    },
    /// It was paid by hand, or the bank has paid it.
    Paid {
        /// The bank's name of it.
        reference: String,
    },
    /// The bank has not paid it, or it came back from there.
    NotPaid {
        /// Why.
        reason: String,
    },
    /// The provider says how an attempt stands.
    Told {
        /// Which attempt.
        attempt: u32,
        /// What it says.
        payout: Box<port::Payout>,
    },
    /// The provider will not carry out an attempt.
    Declined {
        /// Which attempt.
        attempt: u32,
        /// What it says.
        reason: String,
    },
    /// It is sent once more.
    SentAgain,
    /// It is to be sent once more, and to somewhere else.
    PayeeChanged {
        /// How.
        method: Method,
        /// Which of the firm's people says so.
        by: PersonId,
    },
}

/// What becomes of a payout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What has happened.
    pub what: Happening,
    /// More about it.
    pub detail: Option<String>,
    /// The payout from now on.
    pub payout: Payout,
    /// The attempt from now on, if one begins or changes.
    pub attempt: Option<Attempt>,
    /// Who has looked.
    pub review: Option<Review>,
    /// Who says that it is to go to somebody else.
    pub payee_by: Option<PersonId>,
    /// What is kept back from now on.
    pub opens: Option<Hold>,
    /// What is no longer kept back.
    pub ends: Option<(HoldId, Outcome)>,
    /// What is posted.
    pub entries: Vec<Entry>,
}

/// The money that is kept back for an attempt.
pub fn hold_of(payout: PayoutId, attempt: u32) -> HoldId {
    HoldId::derived(&[b"payout", payout.uuid().as_bytes(), &attempt.to_be_bytes()])
}

fn entry_id(payout: PayoutId, attempt: u32, word: &str) -> EntryId {
    EntryId::derived(&[b"payout", payout.uuid().as_bytes(), &attempt.to_be_bytes(), word.as_bytes()])
}

impl Method {
    /// Its name in the ledger.
    pub fn in_ledger(self) -> Result<Provider, AppError> {
        Ok(Provider::parse(self.word())?)
    }

    fn paid_from(self) -> Result<PaidFrom, AppError> {
        Ok(match self {
            Self::Stripe | Self::Paypal => PaidFrom::Provider(self.in_ledger()?),
            Self::BankFile | Self::Manual => PaidFrom::Bank,
        })
    }
}

/// Says what becomes of a payout; nothing if it stays as it is.
pub fn decide(locked: &Locked, event: &PayoutEvent, at: Timestamp) -> Result<Option<Decision>, AppError> {
    let step = Step { locked, at };
    match event {
        PayoutEvent::Gate => step.plain(gate(locked, at), None),
        PayoutEvent::Reviewed(review) => step.reviewed(review),
        PayoutEvent::Withdrawn => step.plain(Happening::Withdrawn, None),
        PayoutEvent::TakeBegun => step.take_begun(),
        PayoutEvent::Later { tries } => {
            if locked.payout.tries != *tries {
                return Ok(None);
            }
            let Some(mut decision) = step.plain(Happening::Later, None)? else { return Ok(None) };
            decision.payout.tries = tries.saturating_add(1);
            Ok(Some(decision))
        }
        PayoutEvent::Taken { verdict, taken, share } => {
            let what = if share.minor() > 0 { Happening::Taken } else { Happening::NothingOwed };
            let Some(mut decision) = step.plain(what, None)? else { return Ok(None) };
            decision.payout.verdict = *verdict;
            (decision.payout.taken, decision.payout.share) = (Some(*taken), Some(*share));
            Ok(Some(decision))
        }
        PayoutEvent::Refused { verdict, reason } => {
            let Some(mut decision) = step.plain(Happening::Refused, Some(reason))? else { return Ok(None) };
            decision.payout.verdict = *verdict;
            Ok(Some(decision))
        }
        PayoutEvent::Reserved => step.reserved(),
        PayoutEvent::Begun { amount } => step.begun(*amount),
        PayoutEvent::Exported { batch } => step.exported(*batch),
        PayoutEvent::Paid { reference } => step.paid(reference),
        PayoutEvent::NotPaid { reason } => step.not_paid(reason),
        PayoutEvent::Told { attempt, payout } => step.told(*attempt, payout),
        PayoutEvent::Declined { attempt, reason } => step.declined(*attempt, reason),
        PayoutEvent::SentAgain => step.sent_again(),
        PayoutEvent::PayeeChanged { method, by } => step.payee_changed(*method, *by),
    }
}

/// Whether we know who asks, as far as the firm wants to.
fn gate(locked: &Locked, at: Timestamp) -> Happening {
    if !locked.identity_needed || locked.identity.at(at) == Standing::Verified {
        Happening::IdentityKnown
    } else {
        Happening::IdentityNeeded
    }
}

/// What a trader reads of a payout that did not leave; why stands with the attempt, for the firm's people.
const NOT_SENT: &str = "The provider could not send it.";
/// The same of one that came back.
const CAME_BACK: &str = "It came back.";
/// The same of one that waits at the provider.
const UNCLAIMED: &str = "It waits until you claim it.";

/// At most so much of a text as a row takes.
fn short(text: &str) -> String {
    let text = text.trim();
    let text = if text.is_empty() { "Nothing was said." } else { text };
    text.chars().take(MOST_REASON.min(500)).collect()
}

struct Step<'a> {
    locked: &'a Locked,
    at: Timestamp,
}

impl Step<'_> {
    /// The state that follows and nothing else.
    fn plain(&self, what: Happening, detail: Option<&str>) -> Result<Option<Decision>, AppError> {
        let payout = &self.locked.payout;
        let state = match next(payout.state, payout.take_began_at.is_some(), what) {
            Next::To(to) => to,
            Next::Stay => payout.state,
            Next::Ignore => return Ok(None),
            Next::Refuse => {
                let say = format!("The payout is {}.", payout.state.word().replace('_', " "));
                return Err(AppError::refused("conflict", say));
            }
        };
        let detail = detail.map(short);
        let keeps = matches!(what, Happening::Begun | Happening::FeeKnown | Happening::TakeBegun);
        let reason = if keeps { payout.reason.clone() } else { detail.clone() };
        Ok(Some(Decision {
            what,
            payout: Payout { state, reason, moved_at: self.at, ..payout.clone() },
            detail,
            attempt: None,
            review: None,
            payee_by: None,
            opens: None,
            ends: None,
            entries: Vec::new(),
        }))
    }

    fn posting(&self, attempt: u32, word: &str) -> Posting {
        let id = self.locked.payout.id;
        Posting { id: entry_id(id, attempt, word), cause: cause(id), at: self.at }
    }

    fn reviewed(&self, review: &Review) -> Result<Option<Decision>, AppError> {
        let Locked { payout, .. } = self.locked;
        // What was agreed to before says nothing of a payee who has come since.
        let review =
            Review { reason: short(&review.reason), attempt: self.locked.reviewed(), ..review.clone() };
        if review.reviewer == payout.person {
            return Err(four_eyes("Nobody decides about a payout of their own."));
        }
        let payee_only = payout.state == PayoutState::PayeeInReview;
        let again = self.locked.reviews_now().any(|made| made.reviewer == review.reviewer);
        if !review.approves {
            // Why the payee is none is for the firm's people: it stands in the review.
            let decided = if payee_only {
                self.plain(Happening::PayeeRejected, None)?
            } else {
                self.plain(Happening::Rejected, Some(&review.reason))?
            };
            // Whoever has agreed may think again; that stands in what has happened.
            return Ok(decided.map(|decision| Decision { review: (!again).then_some(review), ..decision }));
        }
        if again {
            return Err(four_eyes("You have agreed to it; somebody else has to look at it, too."));
        }
        if payee_only && self.locked.payee_by == Some(review.reviewer) {
            return Err(four_eyes("You have said whom it goes to; somebody else has to look at that."));
        }
        if gate(self.locked, self.at) == Happening::IdentityNeeded {
            return Err(AppError::refused(
                "identity_needed",
                "We do not know yet, or no longer, who asks for this payout.",
            ));
        }
        let made = self.locked.reviews_now().filter(|made| made.approves).count().saturating_add(1);
        let enough = made >= payout.reviewers_needed;
        let what = match (enough, payee_only) {
            (false, _) => Happening::Reviewed,
            (true, false) => Happening::Approved,
            (true, true) => Happening::PayeeApproved,
        };
        // Why they agree is for the firm's people: it stands in the review.
        let Some(mut decision) = self.plain(what, None)? else { return Ok(None) };
        if what == Happening::PayeeApproved {
            decision.opens = Some(self.hold(payout.attempt)?);
        }
        Ok(Some(Decision { review: Some(review), ..decision }))
    }

    fn take_begun(&self) -> Result<Option<Decision>, AppError> {
        if self.locked.blocked.is_some() && self.locked.payout.take_began_at.is_none() {
            return Ok(None);
        }
        let Some(mut decision) = self.plain(Happening::TakeBegun, None)? else { return Ok(None) };
        decision.payout.take_began_at = Some(self.at);
        Ok(Some(decision))
    }

    fn share(&self) -> Result<Money, AppError> {
        let share = self.locked.payout.share;
        share.ok_or_else(|| AppError::bug("sending a payout")("nothing was taken".into()))
    }

    fn hold(&self, attempt: u32) -> Result<Hold, AppError> {
        let payout = &self.locked.payout;
        Ok(Hold {
            id: hold_of(payout.id, attempt),
            account: Account::TraderPayable(payout.person),
            amount: self.share()?,
            cause: cause(payout.id),
            opened_at: self.at,
            expires_at: None,
            state: HoldState::Pending,
        })
    }

    fn reserved(&self) -> Result<Option<Decision>, AppError> {
        let Some(mut decision) = self.plain(Happening::Reserved, None)? else { return Ok(None) };
        let person: PersonId = decision.payout.person;
        decision.entries.push(posting::reward(self.posting(0, "reward"), person, self.share()?)?);
        decision.payout.attempt = 1;
        decision.opens = Some(self.hold(1)?);
        Ok(Some(decision))
    }

    /// Refuses what would send money to somebody to whom nothing is sent for now.
    fn demand_free(&self) -> Result<(), AppError> {
        match &self.locked.blocked {
            None => Ok(()),
            Some(why) => {
                let say = format!("Nothing is sent for now: {}.", why.trim_end_matches('.'));
                Err(AppError::refused("payout_held", say))
            }
        }
    }

    fn new_attempt(&self, state: AttemptState, amount: Money) -> Attempt {
        let payout = &self.locked.payout;
        Attempt {
            number: payout.attempt,
            method: payout.method,
            amount,
            state,
            reference: None,
            batch: None,
            first_asked_at: self.at,
            asked_at: self.at,
            fee: None,
            reason: None,
        }
    }

    fn begun(&self, amount: Money) -> Result<Option<Decision>, AppError> {
        let payout = &self.locked.payout;
        let current = self.locked.attempt(payout.attempt);
        match (payout.state, current) {
            (PayoutState::Reserved, None) => {
                // It waits; nobody is at fault.
                if self.locked.blocked.is_some() || !payout.method.is_asked() {
                    return Ok(None);
                }
                let decided = self.plain(Happening::Begun, None)?;
                let attempt = Some(self.new_attempt(AttemptState::Sending, amount));
                Ok(decided.map(|decision| Decision { attempt, ..decision }))
            }
            (PayoutState::Sending, Some(attempt)) => {
                let again = attempt.asked_at.after(ASKED_AGAIN_AFTER).map_err(AppError::clock)?;
                if self.at < again {
                    return Ok(None);
                }
                // The same attempt, first asked for when it was: nobody knows what became of it.
                let decided = self.plain(Happening::Begun, None)?;
                let attempt = Some(Attempt { asked_at: self.at, ..attempt.clone() });
                Ok(decided.map(|decision| Decision { attempt, ..decision }))
            }
            _ => self.plain(Happening::Begun, None),
        }
    }

    fn exported(&self, batch: PayoutBatchId) -> Result<Option<Decision>, AppError> {
        let payout = &self.locked.payout;
        if payout.state != PayoutState::Reserved
            || payout.method != Method::BankFile
            || self.locked.blocked.is_some()
        {
            return Ok(None);
        }
        let Some(decision) = self.plain(Happening::Sent, None)? else { return Ok(None) };
        let attempt = Attempt { batch: Some(batch), ..self.new_attempt(AttemptState::Sent, self.share()?) };
        let ends = Some(self.sent(&attempt)?);
        Ok(Some(Decision { attempt: Some(attempt), ends, ..decision }))
    }

    /// The end of what is kept back for an attempt that is on its way.
    fn sent(&self, attempt: &Attempt) -> Result<(HoldId, Outcome), AppError> {
        let to = Account::PayoutClearing(attempt.method.in_ledger()?);
        Ok((hold_of(self.locked.payout.id, attempt.number), Outcome::Post(attempt.amount, to)))
    }

    fn settled(&self, attempt: &Attempt) -> Result<Entry, AppError> {
        Ok(posting::payout_settled(
            self.posting(attempt.number, "settled"),
            &attempt.method.in_ledger()?,
            &attempt.method.paid_from()?,
            attempt.amount,
            attempt.fee.filter(|fee| fee.minor() > 0),
        )?)
    }

    fn owed_again(&self, attempt: &Attempt, was: AttemptState) -> Result<Entry, AppError> {
        let owed = Account::TraderPayable(self.locked.payout.person);
        let event = self.posting(attempt.number, "returned");
        let through = attempt.method.in_ledger()?;
        Ok(if was == AttemptState::Settled {
            posting::settled_payout_returned(event, &attempt.method.paid_from()?, owed, attempt.amount)?
        } else {
            posting::payout_returned(event, &through, owed, attempt.amount)?
        })
    }

    fn paid(&self, reference: &str) -> Result<Option<Decision>, AppError> {
        let payout = &self.locked.payout;
        let reference = Some(short(reference).chars().take(255).collect());
        let (attempt, ends) = match (payout.state, payout.method, self.locked.attempt(payout.attempt)) {
            (PayoutState::Reserved, Method::Manual, None) => {
                self.demand_free()?;
                let attempt = Attempt { reference, ..self.new_attempt(AttemptState::Settled, self.share()?) };
                let ends = self.sent(&attempt)?;
                (attempt, Some(ends))
            }
            (PayoutState::Sent | PayoutState::Settled, Method::BankFile | Method::Manual, Some(attempt)) => {
                (Attempt { state: AttemptState::Settled, reference, ..attempt.clone() }, None)
            }
            _ => {
                let say = "Only what is paid by hand or in a file for the bank is said to be paid.";
                return Err(AppError::refused("conflict", say));
            }
        };
        let Some(decision) = self.plain(Happening::Settled, attempt.reference.as_deref())? else {
            return Ok(None);
        };
        let entries = vec![self.settled(&attempt)?];
        let payout = Payout { reason: None, ..decision.payout };
        Ok(Some(Decision { payout, attempt: Some(attempt), ends, entries, ..decision }))
    }

    fn not_paid(&self, reason: &str) -> Result<Option<Decision>, AppError> {
        let payout = &self.locked.payout;
        let attempt = self.locked.attempt(payout.attempt).filter(|attempt| !attempt.method.is_asked());
        let Some(attempt) = attempt else {
            let say = "Only what is paid by hand or in a file for the bank is said to have come back.";
            return Err(AppError::refused("conflict", say));
        };
        let Some(decision) = self.plain(Happening::Returned, Some(reason))? else { return Ok(None) };
        let entries = vec![self.owed_again(attempt, attempt.state)?];
        let attempt =
            Attempt { state: AttemptState::Returned, reason: Some(short(reason)), ..attempt.clone() };
        Ok(Some(Decision { attempt: Some(attempt), entries, ..decision }))
    }

    fn told(&self, number: u32, told: &port::Payout) -> Result<Option<Decision>, AppError> {
        let payout = &self.locked.payout;
        let Some(attempt) = self.locked.attempt(number) else {
            return Err(AppError::refused("conflict", "There was no such attempt."));
        };
        // An attempt that failed or came back stays so, and what was said of an older one is no news of this one.
        if number != payout.attempt || attempt.state.is_lost() {
            return Ok(None);
        }
        if told.amount != attempt.amount {
            let source = format!("{}: sent {}, told {}", payout.id, attempt.amount, told.amount);
            return Err(AppError::Bug { doing: "following a payout", source: source.into() });
        }
        let reason = told.reason.as_deref();
        let mut after = Attempt {
            reference: Some(told.id.clone()),
            fee: told.fee.or(attempt.fee),
            reason: reason.map(short).or_else(|| attempt.reason.clone()),
            ..attempt.clone()
        };
        let was = attempt.state;
        let (what, state, say) = match told.state {
            port::PayoutState::Pending => (Happening::Sent, AttemptState::Sent, None),
            port::PayoutState::Unclaimed => (Happening::Sent, AttemptState::Sent, Some(UNCLAIMED)),
            port::PayoutState::Settled if was == AttemptState::Settled => {
                return self.fee_known(attempt, after);
            }
            port::PayoutState::Settled => (Happening::Settled, AttemptState::Settled, None),
            port::PayoutState::Returned => (Happening::Returned, AttemptState::Returned, Some(CAME_BACK)),
            port::PayoutState::Failed => (Happening::Failed, AttemptState::Failed, Some(NOT_SENT)),
        };
        let Some(decision) = self.plain(what, say)? else { return Ok(None) };
        after.state = state;
        let mut ends = None;
        let mut entries = Vec::new();
        match (was, state) {
            (AttemptState::Sending, AttemptState::Failed | AttemptState::Returned) => {
                let why = short(reason.unwrap_or("It did not leave."));
                ends = Some((hold_of(payout.id, number), Outcome::Void(why)));
            }
            (_, AttemptState::Failed | AttemptState::Returned) => {
                entries.push(self.owed_again(attempt, was)?);
            }
            (_, AttemptState::Sent | AttemptState::Settled | AttemptState::Sending) => {
                if was == AttemptState::Sending {
                    ends = Some(self.sent(attempt)?);
                }
                if state == AttemptState::Settled {
                    entries.push(self.settled(&after)?);
                }
            }
        }
        Ok(Some(Decision { attempt: Some(after), ends, entries, ..decision }))
    }

    fn fee_known(&self, attempt: &Attempt, after: Attempt) -> Result<Option<Decision>, AppError> {
        let (None, Some(fee)) = (attempt.fee, after.fee) else { return Ok(None) };
        let Some(mut decision) = self.plain(Happening::FeeKnown, None)? else { return Ok(None) };
        if fee.minor() > 0 {
            let event = self.posting(attempt.number, "fee");
            decision.entries.push(posting::provider_fee(event, &attempt.method.in_ledger()?, fee)?);
        }
        Ok(Some(Decision { attempt: Some(after), ..decision }))
    }

    fn declined(&self, number: u32, reason: &str) -> Result<Option<Decision>, AppError> {
        let payout = &self.locked.payout;
        let current = self.locked.attempt(number).filter(|attempt| attempt.state == AttemptState::Sending);
        let Some(attempt) = current.filter(|_| number == payout.attempt) else { return Ok(None) };
        let Some(decision) = self.plain(Happening::Failed, Some(NOT_SENT))? else { return Ok(None) };
        let ends = Some((hold_of(payout.id, number), Outcome::Void(short(reason))));
        let attempt = Attempt { state: AttemptState::Failed, reason: Some(short(reason)), ..attempt.clone() };
        Ok(Some(Decision { attempt: Some(attempt), ends, ..decision }))
    }

    fn sent_again(&self) -> Result<Option<Decision>, AppError> {
        let Some(mut decision) = self.plain(Happening::SentAgain, None)? else { return Ok(None) };
        // Only a payee to whom it was sent before has been looked at.
        if self.locked.attempt(self.locked.payout.attempt).is_none() {
            let say = "Nobody has agreed to whom it would go to. Say whom it is to go to.";
            return Err(AppError::refused("conflict", say));
        }
        let number = self.locked.payout.attempt.saturating_add(1);
        decision.payout.attempt = number;
        decision.opens = Some(self.hold(number)?);
        Ok(Some(decision))
    }

    fn payee_changed(&self, method: Method, by: PersonId) -> Result<Option<Decision>, AppError> {
        let Some(mut decision) = self.plain(Happening::PayeeChanged, None)? else { return Ok(None) };
        decision.payout.attempt = self.locked.payout.attempt.saturating_add(1);
        decision.payout.method = method;
        decision.payee_by = Some(by);
        Ok(Some(decision))
    }
}

fn four_eyes(say: &str) -> AppError {
    AppError::refused("four_eyes", say)
}
