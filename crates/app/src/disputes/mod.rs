//! Disputes: buyers, or their banks, who want a payment back.
//!
//! A provider says how a dispute stands ([`Disputes::told`]); its row, the purchase with its postings, the hold on the buyer's payouts
//! and what the world is told change in one transaction, under the lock of the purchase. The firm's people answer it once, with
//! evidence that is put together from our own records ([`Bundle`]), or give in. That they did is written down before the provider
//! hears of it; whether it arrived is pulled and never assumed.
//!
//! Providers and card schemes leave a merchant whose rate of disputes is too high. [`Disputes::rates`] says what it is, and the world is
//! told before they act ([`Thresholds`]).

mod evidence;
mod holding;
mod machine;
mod pdf;
mod rate;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use kernel::{Clock, DisputeId, FirmId, Money, PersonId, PurchaseId, Span, Timestamp};
use serde_json::json;

use crate::ledger::Provider;
use crate::payments::Providers;
use crate::payments::port::{self, DisputeState, Failure, ProviderName, Reference, Said};
use crate::purchases::{
    Happened, Purchase, PurchaseEvent, PurchaseState, PurchaseStore, Settlement, settlements,
};
use crate::trading::{AuditEntry, Digests, OutboxEntry};
use crate::{AppError, Context, Permission};

pub use evidence::{Bundle, Decided, MOST_EXPLANATION, Records, Traded, file_name};
pub use holding::{HoldStore, Holder};
pub use machine::{Next, STATES, Stage, Stand, next, word};
pub use rate::{Level, Month, Rate, Thresholds};

/// The janitor pulls a dispute that is open so often.
const LOOK: Span = Span::from_seconds(6 * 3_600);

/// And a question that was closed, for as long as its payment may still be disputed: card networks give 120 days.
const LOOK_AT_CLOSED: Span = Span::from_seconds(86_400);
const MAY_STILL_BE_DISPUTED: Span = Span::from_seconds(120 * 86_400);

/// Rates are looked at so often although nobody disputes.
const WATCH: Span = Span::from_seconds(3_600);

/// A pull that failed is tried again after this.
const LOOK_AGAIN: Span = Span::from_seconds(600);

/// An answer of which nobody knows whether it arrived, and which the provider does not have after this, did not.
const ARRIVES_WITHIN: Span = Span::from_seconds(600);

/// So many are looked at in one round.
const MOST_AT_ONCE: i64 = 50;

/// The longest text of a provider's that is kept.
const MOST_SAID: usize = 500;

/// The most visits in a bundle.
const MOST_VISITS: i32 = 200;

/// A payment that its buyer wants back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dispute {
    /// Our name of it.
    pub id: DisputeId,
    /// Whose provider.
    pub provider: Provider,
    /// The provider's name of it.
    pub known_as: String,
    /// Of which purchase.
    pub purchase: PurchaseId,
    /// Who bought.
    pub person: PersonId,
    /// Of which payment, by the provider's name.
    pub payment: String,
    /// How much.
    pub amount: Money,
    /// What the provider took for it, once it has.
    pub fee: Option<Money>,
    /// Why, in the provider's word.
    pub reason: String,
    /// How it stands.
    pub stand: Stand,
    /// When it began.
    pub opened_at: Timestamp,
    /// When its row changed last.
    pub changed_at: Timestamp,
    /// When the janitor pulls it; never if it is over.
    pub next_at: Option<Timestamp>,
    /// What the firm's people will say.
    pub explanation: Option<String>,
    /// Since when nothing is paid out to the buyer because of it.
    pub held_since: Option<Timestamp>,
}

/// What was answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerKind {
    /// Evidence.
    Evidence,
    /// That the buyer is right.
    Concession,
}

impl AnswerKind {
    /// All.
    pub const ALL: [Self; 2] = [Self::Evidence, Self::Concession];

    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Evidence => "evidence",
            Self::Concession => "concession",
        }
    }
}

/// How an answer stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnswerState {
    /// Written down; the provider may or may not have it.
    Asked,
    /// The provider has it.
    Done,
    /// It does not, and another one may be handed in.
    Failed,
}

impl AnswerState {
    /// All.
    pub const ALL: [Self; 3] = [Self::Asked, Self::Done, Self::Failed];

    /// The word in rows and answers.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Asked => "asked",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }
}

/// An answer to a dispute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Of which dispute.
    pub dispute: DisputeId,
    /// Which one, from 1.
    pub number: i16,
    /// What was answered.
    pub kind: AnswerKind,
    /// How it stands.
    pub state: AnswerState,
    /// What the firm's people said.
    pub explanation: Option<String>,
    /// SHA-256 over everything that was handed in.
    pub digest: Option<[u8; 32]>,
    /// What the provider said, if it did not take it.
    pub said: Option<String>,
    /// Who answered.
    pub asked_by: PersonId,
    /// When.
    pub first_asked_at: Timestamp,
    /// When its row changed last.
    pub changed_at: Timestamp,
}

/// What is done about the payouts of whoever disputes. The accounts of the challenge follow ([`Holder`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// As it is.
    Keep,
    /// Nothing is paid out from now on.
    Begin,
    /// That ends.
    End,
}

/// What becomes of a dispute and its purchase; all of it in one transaction.
#[derive(Debug)]
pub struct Change {
    /// The row as it then is.
    pub dispute: Dispute,
    /// What becomes of the purchase.
    pub settlements: Vec<Settlement>,
    /// What is done about payouts.
    pub hold: Hold,
    /// An answer as it then is.
    pub answer: Option<Answer>,
    /// Written with it; nothing if it was only looked at.
    pub audit: Option<AuditEntry>,
    /// Written with it.
    pub outbox: Option<OutboxEntry>,
}

/// Looks at a locked purchase, its history, one of its disputes and that one's answers, and says what is to be written; nothing if all
/// stays as it is.
pub type Decide<'a> = dyn Fn(&Purchase, &[Happened], Option<&Dispute>, &[Answer]) -> Result<Option<Change>, AppError>
    + Send
    + Sync
    + 'a;

/// What disputes store.
#[async_trait]
pub trait DisputeStore: Send + Sync {
    /// One.
    async fn dispute(&self, firm: FirmId, id: DisputeId) -> Result<Option<Dispute>, AppError>;
    /// All of a firm, or those in which it is the firm's turn, behind one in the order of the newest first, at most so many.
    async fn disputes(
        &self,
        firm: FirmId,
        state: Option<DisputeState>,
        behind: Option<DisputeId>,
        most: i64,
    ) -> Result<Vec<Dispute>, AppError>;
    /// Its answers, in order.
    async fn answers(&self, firm: FirmId, id: DisputeId) -> Result<Vec<Answer>, AppError>;
    /// The purchase that a payment paid.
    async fn disputed_purchase(
        &self,
        firm: FirmId,
        provider: &Provider,
        payment: &str,
    ) -> Result<Option<PurchaseId>, AppError>;
    /// Locks a purchase, lets `decide` look at it and a dispute, and writes what it says. Gives the dispute as it then is.
    async fn change_dispute(
        &self,
        firm: FirmId,
        purchase: PurchaseId,
        id: DisputeId,
        decide: &Decide<'_>,
    ) -> Result<Option<Dispute>, AppError>;
    /// Those that the janitor is to pull, the longest due first.
    async fn disputes_due(&self, firm: FirmId, at: Timestamp, most: i64) -> Result<Vec<Dispute>, AppError>;
    /// What our records tell of a buyer and a purchase until an instant.
    async fn records(
        &self,
        firm: FirmId,
        purchase: &Purchase,
        until: Timestamp,
        most_visits: i32,
    ) -> Result<Records, AppError>;
    /// Disputes and payments of each provider between two instants.
    async fn counted(
        &self,
        firm: FirmId,
        from: Timestamp,
        to: Timestamp,
    ) -> Result<Vec<(Provider, i64, i64)>, AppError>;
    /// Tells of a rate that is too high, once for each provider, month and level.
    async fn tell_rate(
        &self,
        firm: FirmId,
        rate: &Rate,
        level: Level,
        outbox: &OutboxEntry,
    ) -> Result<bool, AppError>;
    /// Writes into the audit log that somebody looked.
    async fn looked(&self, audit: &AuditEntry) -> Result<(), AppError>;
}

/// The use cases of disputes.
pub struct Disputes {
    store: Arc<dyn DisputeStore>,
    purchases: Arc<dyn PurchaseStore>,
    providers: Providers,
    thresholds: Thresholds,
    clock: Arc<dyn Clock>,
    /// When to look at a firm's rates again without a cause.
    watched: Mutex<BTreeMap<FirmId, Timestamp>>,
}

impl fmt::Debug for Disputes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Disputes").finish_non_exhaustive()
    }
}

impl Disputes {
    /// Over two stores, usually one.
    pub fn new(
        store: Arc<dyn DisputeStore>,
        purchases: Arc<dyn PurchaseStore>,
        providers: Providers,
        thresholds: Thresholds,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { store, purchases, providers, thresholds, clock, watched: Mutex::default() }
    }

    /// A provider says how a dispute stands. Twice is once, in any order. Refused with `conflict` if the payment is not known yet
    /// (come again), or if it ended otherwise before (somebody has to look).
    pub async fn told(
        &self,
        context: &Context,
        provider: ProviderName,
        told: &port::Dispute,
    ) -> Result<(), AppError> {
        let provider = provider.in_ledger()?;
        let firm = context.firm;
        let id = name(firm, &provider, &told.id);
        let known = self.store.dispute(firm, id).await?;
        let unknown = || AppError::refused("conflict", "The payment that is disputed is not known yet.");
        let (purchase, payment) = if let Some(known) = known {
            (known.purchase, known.payment)
        } else {
            let payment = told.payment.clone().ok_or_else(unknown)?;
            let purchase = self.store.disputed_purchase(firm, &provider, &payment).await?;
            (purchase.ok_or_else(unknown)?, payment)
        };
        let at = self.clock.now();
        let decide =
            |purchase: &Purchase, history: &[Happened], known: Option<&Dispute>, answers: &[Answer]| {
                let stand = Stand { state: told.state, inquiry: told.inquiry, answer_by: told.answer_by };
                let begins = || Dispute {
                    id,
                    provider: provider.clone(),
                    known_as: told.id.clone(),
                    purchase: purchase.id,
                    person: purchase.person,
                    payment: payment.clone(),
                    amount: told.amount,
                    fee: told.fee,
                    reason: told.reason.chars().take(255).collect(),
                    stand,
                    opened_at: told.created_at,
                    changed_at: at,
                    next_at: None,
                    explanation: None,
                    held_since: None,
                };
                hear(context, at, (purchase, history), (known, begins()), told, answers)
            };
        let changed = self.store.change_dispute(firm, purchase, id, &decide).await?;
        if let Some(dispute) = changed {
            self.watch(context, Month::of(dispute.opened_at)?).await?;
        }
        Ok(())
    }

    /// One of the firm's, with its answers.
    pub async fn get(&self, context: &Context, id: DisputeId) -> Result<(Dispute, Vec<Answer>), AppError> {
        context.demand(Permission::ReadBusiness)?;
        let found = self.found(context, id).await?;
        Ok((found, self.store.answers(context.firm, id).await?))
    }

    async fn found(&self, context: &Context, id: DisputeId) -> Result<Dispute, AppError> {
        self.store.dispute(context.firm, id).await?.ok_or(AppError::NotFound("dispute"))
    }

    /// The firm's, or those that stand like this, behind one in the order of the newest first, at most so many.
    pub async fn list(
        &self,
        context: &Context,
        state: Option<DisputeState>,
        behind: Option<DisputeId>,
        most: i64,
    ) -> Result<Vec<Dispute>, AppError> {
        context.demand(Permission::ReadBusiness)?;
        self.store.disputes(context.firm, state, behind, most).await
    }

    /// What would be handed in now. It says who the buyer is: that somebody looked is written into the audit log.
    pub async fn preview(&self, context: &Context, id: DisputeId) -> Result<(Dispute, Bundle), AppError> {
        context.demand(Permission::ManageMoney)?;
        let dispute = self.found(context, id).await?;
        let bundle = self.bundle(context.firm, &dispute, self.clock.now()).await?;
        self.store.looked(&audit(context, self.clock.now(), "dispute.preview", &dispute, json!({}))).await?;
        Ok((dispute, bundle))
    }

    async fn bundle(&self, firm: FirmId, dispute: &Dispute, until: Timestamp) -> Result<Bundle, AppError> {
        let purchase = self.purchases.purchase(firm, dispute.purchase).await?;
        let purchase = purchase.ok_or(AppError::NotFound("purchase"))?;
        let history = self.purchases.history(firm, dispute.purchase).await?;
        let records = self.store.records(firm, &purchase, until, MOST_VISITS).await?;
        Ok(Bundle::new(dispute, &purchase, &history, &records, dispute.explanation.as_deref()))
    }

    /// Sets what the firm's people say; our own sentence again if nothing.
    pub async fn explain(
        &self,
        context: &Context,
        id: DisputeId,
        explanation: Option<&str>,
    ) -> Result<Dispute, AppError> {
        context.demand(Permission::ManageMoney)?;
        let explanation = explanation.map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned);
        if explanation.as_ref().is_some_and(|text| text.chars().count() > MOST_EXPLANATION) {
            return Err(AppError::field("/explanation", format!("At most {MOST_EXPLANATION} characters.")));
        }
        let dispute = self.found(context, id).await?;
        let at = self.clock.now();
        let decide = |_: &Purchase, _: &[Happened], known: Option<&Dispute>, answers: &[Answer]| {
            let known = known.ok_or(AppError::NotFound("dispute"))?;
            open_for_answer(known, answers)?;
            if known.explanation == explanation {
                return Ok(None);
            }
            let dispute = Dispute { explanation: explanation.clone(), changed_at: at, ..known.clone() };
            let audit = audit(context, at, "dispute.explain", &dispute, json!({}));
            Ok(Some(Change::of(dispute, Some(audit))))
        };
        self.store.change_dispute(context.firm, dispute.purchase, id, &decide).await?;
        self.found(context, id).await
    }

    /// Hands in the evidence, once. What was handed in is known by its digest; if the provider may not have it, the answer stays
    /// asked and the janitor pulls. Refused with `dispute_answered` if there is an answer, `dispute_closed` if it is not the firm's turn.
    pub async fn submit(&self, context: &Context, id: DisputeId) -> Result<(Dispute, Vec<Answer>), AppError> {
        context.demand(Permission::ManageMoney)?;
        let dispute = self.found(context, id).await?;
        let at = self.clock.now();
        let bundle = self.bundle(context.firm, &dispute, at).await?;
        let new = (AnswerKind::Evidence, dispute.explanation.clone(), Some(bundle.digest));
        let (answer, attempt) = self.begin_answer(context, &dispute, at, new).await?;
        let told = match self.provider(context.firm, &dispute.provider) {
            Ok(provider) => provider.answer_dispute(&dispute.known_as, &attempt, &bundle.evidence).await,
            Err(failure) => Err(failure),
        };
        self.answered(context, &dispute, answer.number, told).await?;
        self.get(context, id).await
    }

    /// Gives in, once.
    pub async fn concede(
        &self,
        context: &Context,
        id: DisputeId,
    ) -> Result<(Dispute, Vec<Answer>), AppError> {
        context.demand(Permission::ManageMoney)?;
        let dispute = self.found(context, id).await?;
        let at = self.clock.now();
        let (answer, attempt) =
            self.begin_answer(context, &dispute, at, (AnswerKind::Concession, None, None)).await?;
        let told = match self.provider(context.firm, &dispute.provider) {
            Ok(provider) => provider.concede_dispute(&dispute.known_as, &attempt).await,
            Err(failure) => Err(failure),
        };
        self.answered(context, &dispute, answer.number, told).await?;
        self.get(context, id).await
    }

    /// Lets the buyer be paid again although the dispute was lost, or while it is open: somebody decides it and says why.
    pub async fn release(&self, context: &Context, id: DisputeId, reason: &str) -> Result<Dispute, AppError> {
        context.demand(Permission::ManageMoney)?;
        let reason = reason.trim();
        if reason.is_empty() || reason.chars().count() > MOST_SAID {
            return Err(AppError::field("/reason", format!("Say why, in 1 to {MOST_SAID} characters.")));
        }
        let dispute = self.found(context, id).await?;
        let at = self.clock.now();
        let decide = |_: &Purchase, _: &[Happened], known: Option<&Dispute>, _: &[Answer]| {
            let Some(known) = known.filter(|known| known.held_since.is_some()) else { return Ok(None) };
            let dispute = Dispute { held_since: None, changed_at: at, ..known.clone() };
            let audit = audit(context, at, "dispute.release", &dispute, json!({ "reason": reason }));
            let outbox = Some(announcement(context, at, "dispute.released", &dispute));
            Ok(Some(Change { hold: Hold::End, outbox, ..Change::of(dispute, Some(audit)) }))
        };
        self.store.change_dispute(context.firm, dispute.purchase, id, &decide).await?;
        self.found(context, id).await
    }

    /// Without a provider nothing is refused: the firm's keys may come back.
    fn provider(&self, firm: FirmId, name: &Provider) -> Result<&Arc<dyn port::Provider>, Failure> {
        let missing = || {
            let text = format!("The firm does not use {name}.");
            Failure::WrongKey(Said { code: "provider_unknown".to_owned(), text, trace: None })
        };
        let known = ProviderName::parse(name.as_str()).ok_or_else(missing)?;
        self.providers.of(firm, known).map_err(|_| missing())
    }

    /// Writes down that an answer is on its way, before it is.
    async fn begin_answer(
        &self,
        context: &Context,
        dispute: &Dispute,
        at: Timestamp,
        (kind, explanation, digest): (AnswerKind, Option<String>, Option<[u8; 32]>),
    ) -> Result<(Answer, Reference), AppError> {
        let by = context.actor()?.person;
        let id = dispute.id;
        let number = self.store.answers(context.firm, id).await?.len().saturating_add(1);
        let number = i16::try_from(number)
            .map_err(|_| AppError::refused("dispute_answered", "It was answered too often."))?;
        let answer = Answer {
            dispute: id,
            number,
            kind,
            state: AnswerState::Asked,
            explanation,
            digest,
            said: None,
            asked_by: by,
            first_asked_at: at,
            changed_at: at,
        };
        let decide = |_: &Purchase, _: &[Happened], known: Option<&Dispute>, answers: &[Answer]| {
            let known = known.ok_or(AppError::NotFound("dispute"))?;
            open_for_answer(known, answers)?;
            if answers.iter().any(|known| known.number >= number) {
                return Err(AppError::refused("dispute_answered", "Somebody else has just answered it."));
            }
            let action = match kind {
                AnswerKind::Evidence => "dispute.submit",
                AnswerKind::Concession => "dispute.concede",
            };
            let next_at = Some(at.after(LOOK_AGAIN).map_err(AppError::clock)?);
            let dispute = Dispute { changed_at: at, next_at, ..known.clone() };
            let detail = json!({ "number": number, "sha256": digest.map(hex::encode) });
            let audit = audit(context, at, action, &dispute, detail);
            Ok(Some(Change { answer: Some(answer.clone()), ..Change::of(dispute, Some(audit)) }))
        };
        self.store.change_dispute(context.firm, dispute.purchase, id, &decide).await?;
        let attempt = Reference::parse(&format!("{id}-{number}"))
            .map_err(|error| AppError::bug("naming an answer")(Box::new(error)))?;
        Ok((answer, attempt))
    }

    /// Writes down what a provider said to an answer.
    async fn answered(
        &self,
        context: &Context,
        dispute: &Dispute,
        number: i16,
        told: Result<port::Dispute, Failure>,
    ) -> Result<(), AppError> {
        let (state, said) = match &told {
            Ok(_) => (AnswerState::Done, None),
            // Nobody knows: pulling tells.
            Err(failure @ Failure::Unknown(_)) => (AnswerState::Asked, Some(failure.to_string())),
            // Nothing happened. Another one may be handed in.
            Err(
                failure @ (Failure::Declined(_)
                | Failure::Refused(_)
                | Failure::Unavailable { .. }
                | Failure::WrongKey(_)),
            ) => (AnswerState::Failed, Some(failure.to_string())),
        };
        self.set_answer(context, dispute, number, (state, said)).await?;
        match told {
            // What it says of the payment may be less than we know.
            Ok(told) => self.hear_own(context, dispute, told).await,
            Err(_) => Ok(()),
        }
    }

    async fn hear_own(
        &self,
        context: &Context,
        dispute: &Dispute,
        told: port::Dispute,
    ) -> Result<(), AppError> {
        let provider =
            ProviderName::parse(dispute.provider.as_str()).ok_or(AppError::NotFound("provider"))?;
        self.told(context, provider, &told).await
    }

    async fn set_answer(
        &self,
        context: &Context,
        dispute: &Dispute,
        number: i16,
        (state, said): (AnswerState, Option<String>),
    ) -> Result<(), AppError> {
        let at = self.clock.now();
        let said: Option<String> = said.map(|said| said.chars().take(MOST_SAID).collect());
        let decide = |_: &Purchase, _: &[Happened], known: Option<&Dispute>, answers: &[Answer]| {
            let asked = |it: &&Answer| it.number == number && it.state == AnswerState::Asked;
            let (Some(known), Some(answer)) = (known, answers.iter().find(asked)) else { return Ok(None) };
            let answer = Answer { state, said: said.clone(), changed_at: at, ..answer.clone() };
            let detail = json!({ "number": number, "answer": state.word() });
            let dispute = Dispute { changed_at: at, ..known.clone() };
            let audit = audit(context, at, "dispute.answer", &dispute, detail);
            Ok(Some(Change { answer: Some(answer), ..Change::of(dispute, Some(audit)) }))
        };
        self.store.change_dispute(context.firm, dispute.purchase, dispute.id, &decide).await?;
        Ok(())
    }

    /// Pulls what is open and has not been looked at for long, learns what became of answers, and watches this month's rates. Gives how
    /// many it looked at; call again while there are some.
    pub async fn janitor(&self, context: &Context) -> Result<usize, AppError> {
        let due = self.store.disputes_due(context.firm, self.clock.now(), MOST_AT_ONCE).await?;
        for dispute in &due {
            let wait = match self.pull(context, dispute).await {
                Ok(wait) => wait,
                // One that somebody has to look at does not hold up the others.
                Err(error) => {
                    let error: &dyn std::error::Error = &error;
                    tracing::warn!(dispute = %dispute.id, error, "a dispute could not be followed; trying again");
                    Some(LOOK_AGAIN)
                }
            };
            self.look_later(context, dispute, wait).await?;
        }
        self.watch_hourly(context).await?;
        Ok(due.len())
    }

    /// Pulls one and does what follows. Gives when to look again, if not as usual.
    async fn pull(&self, context: &Context, dispute: &Dispute) -> Result<Option<Span>, AppError> {
        let pulled = match self.provider(context.firm, &dispute.provider) {
            Ok(provider) => provider.dispute(&dispute.known_as).await,
            Err(failure) => Err(failure),
        };
        let Ok(told) = pulled else { return Ok(Some(LOOK_AGAIN)) };
        let waits = told.state == DisputeState::NeedsAnswer;
        self.hear_own(context, dispute, told).await?;
        self.judge_answers(context, dispute, waits).await
    }

    /// What an answer became of which nobody knew. Gives when to look again, if not as usual.
    async fn judge_answers(
        &self,
        context: &Context,
        dispute: &Dispute,
        waits: bool,
    ) -> Result<Option<Span>, AppError> {
        let now = self.clock.now();
        let answers = self.store.answers(context.firm, dispute.id).await?;
        let Some(asked) = answers.iter().find(|answer| answer.state == AnswerState::Asked) else {
            return Ok(None);
        };
        let gone = now.since(asked.first_asked_at).is_ok_and(|gone| gone >= ARRIVES_WITHIN);
        let judged = match (waits, gone) {
            (false, _) => (AnswerState::Done, None),
            (true, true) => (AnswerState::Failed, Some("It did not arrive.".to_owned())),
            (true, false) => return Ok(Some(LOOK_AGAIN)),
        };
        self.set_answer(context, dispute, asked.number, judged).await?;
        Ok(None)
    }

    async fn look_later(
        &self,
        context: &Context,
        dispute: &Dispute,
        wait: Option<Span>,
    ) -> Result<(), AppError> {
        let at = self.clock.now();
        let soon = wait.map(|wait| at.after(wait)).transpose().map_err(AppError::clock)?;
        let decide = |_: &Purchase, _: &[Happened], known: Option<&Dispute>, _: &[Answer]| {
            let Some(known) = known.filter(|known| known.next_at.is_some()) else { return Ok(None) };
            let next_at = match soon {
                Some(soon) => Some(soon),
                None => next_look(known.stand.stage(), known.opened_at, at)?,
            };
            let dispute = Dispute { next_at, ..known.clone() };
            Ok(Some(Change::of(dispute, None)))
        };
        self.store.change_dispute(context.firm, dispute.purchase, dispute.id, &decide).await?;
        Ok(())
    }

    /// The rates of a month, by provider.
    pub async fn rates(
        &self,
        context: &Context,
        month: Month,
    ) -> Result<Vec<(Rate, Option<Level>)>, AppError> {
        context.demand(Permission::ReadBusiness)?;
        let rates = self.counted(context.firm, month).await?;
        let with_level = |rate: Rate| {
            let level = self.thresholds.level(&rate);
            (rate, level)
        };
        Ok(rates.into_iter().map(with_level).collect())
    }

    async fn counted(&self, firm: FirmId, month: Month) -> Result<Vec<Rate>, AppError> {
        let (from, to) = month.bounds()?;
        let counted = self.store.counted(firm, from, to).await?;
        let rate = |(provider, disputes, payments)| Rate { provider, month, disputes, payments };
        Ok(counted.into_iter().map(rate).collect())
    }

    /// Whoever hears of a dispute looks at the rate of its month; if they died in between, this does.
    async fn watch_hourly(&self, context: &Context) -> Result<(), AppError> {
        let now = self.clock.now();
        let next = now.after(WATCH).map_err(AppError::clock)?;
        {
            let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
            if watched.get(&context.firm).is_some_and(|next| now < *next) {
                return Ok(());
            }
            watched.insert(context.firm, next);
        }
        self.watch(context, Month::of(now)?).await
    }

    /// Tells the world of rates that have become too high.
    async fn watch(&self, context: &Context, month: Month) -> Result<(), AppError> {
        let at = self.clock.now();
        for rate in self.counted(context.firm, month).await? {
            for level in self.thresholds.levels(&rate) {
                let payload = json!({
                    "provider": rate.provider.as_str(), "month": month.to_string(), "level": level.word(),
                    "disputes": rate.disputes, "payments": rate.payments,
                });
                let outbox = OutboxEntry {
                    firm: context.firm,
                    at,
                    aggregate: format!("provider:{}", rate.provider),
                    topic: "dispute.rate_high",
                    payload,
                    request: Some(context.request),
                };
                if self.store.tell_rate(context.firm, &rate, level, &outbox).await? {
                    tracing::warn!(
                        provider = rate.provider.as_str(),
                        level = level.word(),
                        disputes = rate.disputes,
                        payments = rate.payments,
                        "the rate of disputes is high"
                    );
                }
            }
        }
        Ok(())
    }
}

impl Change {
    const fn of(dispute: Dispute, audit: Option<AuditEntry>) -> Self {
        Self { dispute, settlements: Vec::new(), hold: Hold::Keep, answer: None, audit, outbox: None }
    }
}

/// Whether it is the firm's turn, and nothing has been answered.
fn open_for_answer(dispute: &Dispute, answers: &[Answer]) -> Result<(), AppError> {
    if answers.iter().any(|answer| answer.state != AnswerState::Failed) {
        return Err(AppError::refused("dispute_answered", "The dispute was answered already."));
    }
    if dispute.stand.state == DisputeState::NeedsAnswer {
        Ok(())
    } else {
        Err(AppError::refused("dispute_closed", "Nobody waits for an answer to this dispute."))
    }
}

/// What a told dispute does to its row and its purchase.
fn hear(
    context: &Context,
    at: Timestamp,
    (purchase, history): (&Purchase, &[Happened]),
    (known, begins): (Option<&Dispute>, Dispute),
    told: &port::Dispute,
    answers: &[Answer],
) -> Result<Option<Change>, AppError> {
    let stand = match known {
        None => begins.stand,
        Some(known) => match next(known.stand, begins.stand) {
            Next::To(stand) => stand,
            Next::Stay => return Ok(None),
            Next::Contradicts => {
                return Err(AppError::refused("conflict", "The dispute has ended otherwise."));
            }
        },
    };
    let before = known.map(|known| known.stand.stage());
    let stage = stand.stage();
    let taken = |stage| matches!(stage, Stage::Taken | Stage::Won | Stage::Lost);
    let row = known.cloned().unwrap_or(begins);
    // What was taken stays what was posted.
    let posted = before.is_some_and(taken);
    let amount = if posted { row.amount } else { told.amount };
    let fee = if posted { row.fee } else { told.fee.or(row.fee) };
    let (provider, dispute) = (row.provider.clone(), row.known_as.clone());
    let mut events = Vec::new();
    if taken(stage) && !posted {
        let event = PurchaseEvent::DisputeOpened {
            provider: provider.clone(),
            dispute: dispute.clone(),
            amount,
            // None is charged where none is told.
            fee: fee.filter(|fee| fee.minor() > 0),
        };
        events.push((event, row.opened_at));
    }
    match stage {
        Stage::Won => events.push((PurchaseEvent::DisputeWon { provider, dispute }, at)),
        Stage::Lost => events.push((PurchaseEvent::DisputeLost { provider, dispute }, at)),
        Stage::Asked | Stage::Closed | Stage::Taken => {}
    }
    let settlements = settlements(context, at, purchase, history, &events)?;
    let hold = match (before.is_some_and(Stage::holds), stage.holds()) {
        // Whoever let go of it while it was open has let go.
        (false, true) => Hold::Begin,
        (_, false) => Hold::End,
        (true, true) => Hold::Keep,
    };
    let row_held = row.held_since.is_some();
    let held_since = match hold {
        Hold::Begin => Some(at),
        Hold::Keep => row.held_since,
        Hold::End => None,
    };
    // The provider has the answer if it is no longer our turn.
    let asked = answers.iter().find(|answer| answer.state == AnswerState::Asked);
    let answer = asked.filter(|_| stand.state != DisputeState::NeedsAnswer).map(|answer| Answer {
        state: AnswerState::Done,
        changed_at: at,
        ..answer.clone()
    });
    let next_at = next_look(stage, row.opened_at, at)?;
    let dispute = Dispute {
        amount,
        fee,
        reason: told.reason.chars().take(255).collect(),
        stand,
        changed_at: at,
        next_at: if answer.is_none() && asked.is_some() { row.next_at } else { next_at },
        held_since,
        ..row
    };
    let action = match (before, stage) {
        (None, _) => "dispute.begin",
        (_, Stage::Won | Stage::Closed) => "dispute.win",
        (_, Stage::Lost) => "dispute.lose",
        (_, Stage::Asked | Stage::Taken) => "dispute.change",
    };
    let detail = json!({ "purchase_state": last_state(purchase, &settlements).word() });
    let audit = audit(context, at, action, &dispute, detail);
    // The world is told of a question, too, though no money moves with it.
    let topic = match (before, hold) {
        (None, _) => Some("dispute.opened"),
        (Some(_), Hold::End) if row_held => Some("dispute.released"),
        (Some(_), _) => None,
    };
    let outbox = topic.map(|topic| announcement(context, at, topic, &dispute));
    Ok(Some(Change { settlements, hold, answer, outbox, ..Change::of(dispute, Some(audit)) }))
}

fn last_state(purchase: &Purchase, settlements: &[Settlement]) -> PurchaseState {
    settlements.last().map_or(purchase.state, |last| last.decision.happened.to)
}

/// When to pull one the next time; never again where nothing more can come of it.
fn next_look(stage: Stage, opened_at: Timestamp, at: Timestamp) -> Result<Option<Timestamp>, AppError> {
    let wait = match stage {
        Stage::Won | Stage::Lost => None,
        Stage::Asked | Stage::Taken => Some(LOOK),
        Stage::Closed => {
            let last = opened_at.after(MAY_STILL_BE_DISPUTED).map_err(AppError::clock)?;
            (at < last).then_some(LOOK_AT_CLOSED)
        }
    };
    wait.map(|wait| at.after(wait)).transpose().map_err(AppError::clock)
}

fn announcement(context: &Context, at: Timestamp, topic: &'static str, dispute: &Dispute) -> OutboxEntry {
    OutboxEntry {
        firm: context.firm,
        at,
        aggregate: format!("purchase:{}", dispute.purchase),
        topic,
        payload: json!({
            "dispute": dispute.id, "purchase": dispute.purchase, "state": word(dispute.stand.state),
            "provider": dispute.provider.as_str(), "amount": dispute.amount,
        }),
        request: Some(context.request),
    }
}

/// Follows from the provider's name of it.
fn name(firm: FirmId, provider: &Provider, known_as: &str) -> DisputeId {
    DisputeId::derived(&[
        b"dispute",
        firm.uuid().as_bytes(),
        provider.as_str().as_bytes(),
        known_as.as_bytes(),
    ])
}

fn audit(
    context: &Context,
    at: Timestamp,
    action: &str,
    dispute: &Dispute,
    mut detail: serde_json::Value,
) -> AuditEntry {
    if let Some(detail) = detail.as_object_mut() {
        detail.insert("purchase".to_owned(), json!(dispute.purchase));
        detail.insert("state".to_owned(), json!(word(dispute.stand.state)));
        detail.insert("inquiry".to_owned(), json!(dispute.stand.inquiry));
    }
    AuditEntry {
        firm: context.firm,
        at,
        actor: context.actor.as_ref().map(|actor| actor.person),
        action: action.to_owned(),
        object_kind: "dispute",
        object: dispute.id.to_string(),
        request: Some(context.request),
        purpose: String::new(),
        digests: Digests::default(),
        detail,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_question_is_looked_at_daily_and_not_for_ever() {
        let opened = Timestamp::EPOCH;
        let day = |days: i32| opened.after(Span::from_seconds(days * 86_400)).unwrap();
        assert_eq!(next_look(Stage::Closed, opened, day(1)).unwrap(), Some(day(2)));
        assert_eq!(next_look(Stage::Closed, opened, day(119)).unwrap(), Some(day(120)));
        assert_eq!(next_look(Stage::Closed, opened, day(120)).unwrap(), None);
        // What is open is looked at however old it is, what is over never.
        assert!(next_look(Stage::Taken, opened, day(400)).unwrap().unwrap() < day(401));
        for over in [Stage::Won, Stage::Lost] {
            assert_eq!(next_look(over, opened, day(1)).unwrap(), None);
        }
    }
}
