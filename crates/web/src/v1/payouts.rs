//! Payouts: what traders ask for, what the firm's people decide, files for banks, certificates.

use std::collections::BTreeSet;

use app::AppError;
use app::payouts::{
    BankAccount as BankAccountOf, Certificate as CertificateOf, Dossier as DossierOf, Happened,
    Method as MethodOf, Payee as PayeeOf, Payout as PayoutOf, PayoutState as StateOf, Proven, Request,
    Settings as SettingsOf, Subject, Wanted, csv, pain001,
};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use kernel::{AccountId, Amount, Currency, Money, PayoutBatchId, PayoutId};
use rules::payout::Precheck;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::forecast::{PayoutCheck, payout_check};
use super::privacy::REASON;
use super::text::time;
use super::{Items, PAGE, Page};
use crate::Web;
use crate::extract::{Body, Caller, IdempotencyKey, Path, Query, SignedIn};
use crate::problem::{Problem, ProblemBody};

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(payout_methods))
        .routes(routes!(check))
        .routes(routes!(request))
        .routes(routes!(payouts))
        .routes(routes!(payout))
        .routes(routes!(withdraw))
        .routes(routes!(payout_certificate))
        .routes(routes!(phase_certificate))
        .routes(routes!(verify))
        .routes(routes!(queue))
        .routes(routes!(dossier))
        .routes(routes!(approve))
        .routes(routes!(reject))
        .routes(routes!(send_again))
        .routes(routes!(paid))
        .routes(routes!(returned))
        .routes(routes!(settings, set_settings))
        .routes(routes!(batches, export))
        .routes(routes!(batch_csv))
        .routes(routes!(batch_xml))
}

/// How a payout is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = PayoutMethod)]
pub enum Method {
    /// To a connected account at Stripe.
    Stripe,
    /// To somebody at PayPal.
    Paypal,
    /// In a file that the firm gives to its bank.
    BankFile,
    /// However the firm's people do it.
    Manual,
}

impl From<MethodOf> for Method {
    fn from(method: MethodOf) -> Self {
        match method {
            MethodOf::Stripe => Self::Stripe,
            MethodOf::Paypal => Self::Paypal,
            MethodOf::BankFile => Self::BankFile,
            MethodOf::Manual => Self::Manual,
        }
    }
}

impl From<Method> for MethodOf {
    fn from(method: Method) -> Self {
        match method {
            Method::Stripe => Self::Stripe,
            Method::Paypal => Self::Paypal,
            Method::BankFile => Self::BankFile,
            Method::Manual => Self::Manual,
        }
    }
}

/// Where a payout stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum PayoutState {
    /// Asked for.
    Requested,
    /// It is not known yet who asks.
    AwaitingIdentity,
    /// The firm's people look at it.
    InReview,
    /// They let it go.
    Approved,
    /// The money has left the trading account.
    Taken,
    /// The trader's share is owed and kept back for it.
    Reserved,
    /// A provider is asked.
    Sending,
    /// On its way.
    Sent,
    /// The trader has it.
    Settled,
    /// It never left; the share is owed.
    Failed,
    /// It came back; the share is owed.
    Returned,
    /// It is to go to somebody else than before, and the firm's people look at that; the share is owed.
    PayeeInReview,
    /// A condition of the program did not hold.
    Refused,
    /// The firm's people did not let it go.
    Rejected,
    /// The trader took it back.
    Withdrawn,
}

impl From<StateOf> for PayoutState {
    fn from(state: StateOf) -> Self {
        match state {
            StateOf::Requested => Self::Requested,
            StateOf::AwaitingIdentity => Self::AwaitingIdentity,
            StateOf::InReview => Self::InReview,
            StateOf::Approved => Self::Approved,
            StateOf::Taken => Self::Taken,
            StateOf::Reserved => Self::Reserved,
            StateOf::Sending => Self::Sending,
            StateOf::Sent => Self::Sent,
            StateOf::Settled => Self::Settled,
            StateOf::Failed => Self::Failed,
            StateOf::Returned => Self::Returned,
            StateOf::PayeeInReview => Self::PayeeInReview,
            StateOf::Refused => Self::Refused,
            StateOf::Rejected => Self::Rejected,
            StateOf::Withdrawn => Self::Withdrawn,
        }
    }
}

impl From<PayoutState> for StateOf {
    fn from(state: PayoutState) -> Self {
        match state {
            PayoutState::Requested => Self::Requested,
            PayoutState::AwaitingIdentity => Self::AwaitingIdentity,
            PayoutState::InReview => Self::InReview,
            PayoutState::Approved => Self::Approved,
            PayoutState::Taken => Self::Taken,
            PayoutState::Reserved => Self::Reserved,
            PayoutState::Sending => Self::Sending,
            PayoutState::Sent => Self::Sent,
            PayoutState::Settled => Self::Settled,
            PayoutState::Failed => Self::Failed,
            PayoutState::Returned => Self::Returned,
            PayoutState::PayeeInReview => Self::PayeeInReview,
            PayoutState::Refused => Self::Refused,
            PayoutState::Rejected => Self::Rejected,
            PayoutState::Withdrawn => Self::Withdrawn,
        }
    }
}

/// A bank account.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct BankAccount {
    /// The holder.
    name: String,
    /// In capitals without blanks.
    iban: String,
    /// The bank, where the number does not say it.
    bic: Option<String>,
}

impl From<BankAccountOf> for BankAccount {
    fn from(BankAccountOf { name, iban, bic }: BankAccountOf) -> Self {
        Self { name, iban, bic }
    }
}

impl From<BankAccount> for BankAccountOf {
    fn from(BankAccount { name, iban, bic }: BankAccount) -> Self {
        Self { name, iban, bic }
    }
}

/// Whom a payout goes to, by its method: `account` for Stripe, `email` for PayPal, `bank` for a file, `note` by hand.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Payee {
    /// How it is sent.
    method: Method,
    /// A connected account at Stripe.
    account: Option<String>,
    /// An address at PayPal.
    email: Option<String>,
    /// A bank account.
    bank: Option<BankAccount>,
    /// In words.
    note: Option<String>,
}

impl Payee {
    fn read(self) -> Result<PayeeOf, Problem> {
        let missing = |pointer: &str| AppError::field(pointer, "This method needs it.");
        Ok(match self.method {
            Method::Stripe => {
                PayeeOf::Stripe { account: self.account.ok_or_else(|| missing("/payee/account"))? }
            }
            Method::Paypal => PayeeOf::Paypal { email: self.email.ok_or_else(|| missing("/payee/email"))? },
            Method::BankFile => PayeeOf::BankFile(self.bank.ok_or_else(|| missing("/payee/bank"))?.into()),
            Method::Manual => PayeeOf::Manual { note: self.note.unwrap_or_default() },
        })
    }
}

impl From<PayeeOf> for Payee {
    fn from(payee: PayeeOf) -> Self {
        let plain =
            Self { method: payee.method().into(), account: None, email: None, bank: None, note: None };
        match payee {
            PayeeOf::Stripe { account } => Self { account: Some(account), ..plain },
            PayeeOf::Paypal { email } => Self { email: Some(email), ..plain },
            PayeeOf::BankFile(bank) => Self { bank: Some(bank.into()), ..plain },
            PayeeOf::Manual { note } => Self { note: Some(note), ..plain },
        }
    }
}

/// A payout that is asked for.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PayoutRequest {
    /// How much leaves the account, as a decimal string; the most that is allowed if absent.
    amount: Option<String>,
    /// Whom it goes to; by hand, without a word, if absent.
    payee: Option<Payee>,
}

/// A payout.
#[derive(Debug, Serialize, ToSchema)]
pub struct Payout {
    /// Its id.
    id: String,
    /// Where it stands.
    state: PayoutState,
    /// From which account.
    account_id: String,
    /// The name of its program.
    program: String,
    /// Currency of every amount.
    currency: &'static str,
    /// What leaves the account.
    amount: String,
    /// The trader's share of it; as expected until the engine has decided.
    share: String,
    /// How it is sent.
    method: Method,
    /// The engine's verdict, once there is one.
    #[schema(required)]
    verdict: Option<u32>,
    /// Why it stands there, where somebody said so.
    #[schema(required)]
    reason: Option<String>,
    /// When it was asked for.
    requested_at: String,
    /// When it last moved.
    moved_at: String,
}

fn render(payout: &PayoutOf) -> Payout {
    Payout {
        id: payout.id.to_string(),
        state: payout.state.into(),
        account_id: payout.account.to_string(),
        program: payout.program_name.clone(),
        currency: payout.currency.code(),
        amount: payout.taken.unwrap_or(payout.asked).text(payout.currency),
        share: payout.amount().amount_text(),
        method: payout.method.into(),
        verdict: payout.verdict,
        reason: payout.reason.clone(),
        requested_at: time(payout.requested_at),
        moved_at: time(payout.moved_at),
    }
}

/// What has happened to a payout.
#[derive(Debug, Serialize, ToSchema)]
pub struct PayoutEvent {
    /// In a word.
    what: &'static str,
    /// At which attempt to send it.
    attempt: u32,
    /// More about it.
    #[schema(required)]
    detail: Option<String>,
    /// When.
    at: String,
    /// Where it went.
    state: PayoutState,
}

fn event(happened: &Happened) -> PayoutEvent {
    PayoutEvent {
        what: happened.what.word(),
        attempt: happened.attempt,
        detail: happened.detail.clone(),
        at: time(happened.at),
        state: happened.to.into(),
    }
}

/// A payout and how it got there.
#[derive(Debug, Serialize, ToSchema)]
pub struct PayoutStory {
    /// The payout.
    payout: Payout,
    /// In order.
    events: Vec<PayoutEvent>,
}

/// How much is asked about.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Asked {
    /// How much would leave the account; the most that is allowed if absent.
    amount: Option<String>,
}

/// Where to read on, and in which state.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct Sought {
    /// In this state only.
    #[param(inline)]
    state: Option<PayoutState>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

fn amount(text: Option<&str>) -> Result<Option<Amount>, Problem> {
    match text.map(Amount::parse).transpose() {
        Ok(amount) if amount.is_none_or(|amount| amount > Amount::ZERO) => Ok(amount),
        Ok(_) => Err(AppError::field("/amount", "Must be above 0.").into()),
        Err(error) => Err(AppError::field("/amount", error.to_string()).into()),
    }
}

fn cursor(text: Option<&str>) -> Result<Option<PayoutId>, Problem> {
    let bad = |_| AppError::field("/cursor", "Use the next_cursor of the page before.");
    Ok(text.map(str::parse).transpose().map_err(bad)?)
}

fn page(payouts: &[PayoutOf]) -> Page<Payout> {
    let full = i64::try_from(payouts.len()).is_ok_and(|count| count >= PAGE);
    let next = payouts.last().filter(|_| full).map(|payout| payout.id.to_string());
    Page { items: payouts.iter().map(render).collect(), next_cursor: next }
}

/// Where payouts can go.
#[derive(Debug, Serialize, ToSchema)]
struct PayoutMethods {
    /// All ways; none if the firm pays nobody at present.
    methods: Vec<Method>,
}

/// Ways in which this firm sends payouts.
#[utoipa::path(get, path = "/v1/payout-methods", tag = "payouts", responses((status = 200, body = PayoutMethods),
    (status = 401, response = ProblemBody), (status = 503, response = ProblemBody)))]
async fn payout_methods(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
) -> Result<Json<PayoutMethods>, Problem> {
    let methods = web.payouts.methods(&caller.context).await?;
    Ok(Json(PayoutMethods { methods: methods.into_iter().map(Method::from).collect() }))
}

/// Whether a payout of an amount may be asked for, with every condition and number.
#[utoipa::path(get, path = "/v1/accounts/{id}/payout-check", tag = "payouts", params(("id" = String, Path), Asked),
    responses((status = 200, body = PayoutCheck), (status = 401, response = ProblemBody), (status = 404, response = ProblemBody),
    (status = 409, response = ProblemBody), (status = 422, response = ProblemBody), (status = 503, response = ProblemBody)))]
async fn check(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<AccountId>,
    Query(asked): Query<Asked>,
) -> Result<Json<PayoutCheck>, Problem> {
    let amount = amount(asked.amount.as_deref())?;
    let (precheck, currency) = web.payouts.precheck(&caller.context, id, amount).await?;
    Ok(Json(payout_check(&precheck, currency)))
}

/// Asks for a payout. It is looked at by the firm's people; the money leaves the account once they let it go. A retry under the
/// same key gives the same payout.
#[utoipa::path(post, path = "/v1/accounts/{id}/payouts", tag = "payouts", request_body = PayoutRequest,
    params(("id" = String, Path), ("Idempotency-Key" = String, Header)), responses(
    (status = 201, body = Payout), (status = 400, response = ProblemBody), (status = 401, response = ProblemBody),
    (status = 404, response = ProblemBody), (status = 409, response = ProblemBody), (status = 422, response = ProblemBody),
    (status = 503, response = ProblemBody)))]
async fn request(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(account): Path<AccountId>,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<PayoutRequest>,
) -> Result<(StatusCode, Json<Payout>), Problem> {
    let payee = match body.payee {
        Some(payee) => payee.read()?,
        None => PayeeOf::Manual { note: String::new() },
    };
    let request = Request { account, amount: amount(body.amount.as_deref())?, payee };
    let payout = web.payouts.request(&caller.context, &key, request).await?;
    Ok((StatusCode::CREATED, Json(render(&payout))))
}

/// One's own payouts, the newest first.
#[utoipa::path(get, path = "/v1/payouts", tag = "payouts", params(super::Cursor), responses(
    (status = 200, body = Page<Payout>), (status = 401, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn payouts(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Query(sought): Query<super::Cursor>,
) -> Result<Json<Page<Payout>>, Problem> {
    let behind = cursor(sought.cursor.as_deref())?;
    Ok(Json(page(&web.payouts.list(&caller.context, behind, PAGE).await?)))
}

/// One of one's own payouts, with what has happened to it.
#[utoipa::path(get, path = "/v1/payouts/{id}", tag = "payouts", params(("id" = String, Path)), responses(
    (status = 200, body = PayoutStory), (status = 401, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn payout(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<PayoutId>,
) -> Result<Json<PayoutStory>, Problem> {
    let payout = web.payouts.get(&caller.context, id).await?;
    let events = web.payouts.history(&caller.context, id).await?;
    Ok(Json(PayoutStory { payout: render(&payout), events: events.iter().map(event).collect() }))
}

/// Takes a payout back, as long as the engine was not asked.
#[utoipa::path(post, path = "/v1/payouts/{id}/withdrawal", tag = "payouts", params(("id" = String, Path)), responses(
    (status = 200, body = Payout), (status = 401, response = ProblemBody), (status = 404, response = ProblemBody),
    (status = 409, response = ProblemBody)))]
async fn withdraw(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<PayoutId>,
) -> Result<Json<Payout>, Problem> {
    Ok(Json(render(&web.payouts.withdraw(&caller.context, id).await?)))
}

/// What a certificate proves: nothing in it names the trader otherwise than boards do.
#[derive(Debug, Serialize, ToSchema)]
pub struct Certificate {
    /// `payout` or `phase`.
    kind: &'static str,
    /// What was paid, with its currency; nothing for a phase.
    #[schema(required)]
    amount: Option<String>,
    /// The currency of it.
    #[schema(required)]
    currency: Option<&'static str>,
    /// The phase that was passed; nothing for a payout.
    #[schema(required)]
    phase: Option<String>,
    /// The name of the program.
    program: String,
    /// By which name the trader is known on boards.
    trader: String,
    /// The firm.
    firm: String,
    /// When it was paid or passed.
    at: String,
}

impl From<CertificateOf> for Certificate {
    fn from(certificate: CertificateOf) -> Self {
        let (kind, money, phase) = match certificate.proven {
            Proven::Paid(money) => ("payout", Some(money), None),
            Proven::Passed(phase) => ("phase", None, Some(phase)),
        };
        Self {
            kind,
            amount: money.map(Money::amount_text),
            currency: money.map(|money| money.currency().code()),
            phase,
            program: certificate.program,
            trader: certificate.trader,
            firm: certificate.firm,
            at: time(certificate.at),
        }
    }
}

/// The certificate of a payout of one's own that has arrived, as a PDF.
#[utoipa::path(get, path = "/v1/payouts/{id}/certificate", tag = "payouts", params(("id" = String, Path)), responses(
    (status = 200, content_type = "application/pdf", body = [u8]), (status = 401, response = ProblemBody),
    (status = 404, response = ProblemBody)))]
async fn payout_certificate(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<PayoutId>,
) -> Result<Response, Problem> {
    let certificate = web.certificates.of(&caller.context, Subject::Payout(id)).await?;
    pdf(&certificate, &web.public_url)
}

/// The certificate of an account of one's own that has passed its phase, as a PDF.
#[utoipa::path(get, path = "/v1/accounts/{id}/certificate", tag = "payouts", params(("id" = String, Path)), responses(
    (status = 200, content_type = "application/pdf", body = [u8]), (status = 401, response = ProblemBody),
    (status = 404, response = ProblemBody)))]
async fn phase_certificate(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<AccountId>,
) -> Result<Response, Problem> {
    let certificate = web.certificates.of(&caller.context, Subject::Phase(id)).await?;
    pdf(&certificate, &web.public_url)
}

/// What a certificate with this code proves, for whoever has the code.
#[utoipa::path(get, path = "/v1/certificates/{token}", tag = "payouts", params(("token" = String, Path)), responses(
    (status = 200, body = Certificate), (status = 404, response = ProblemBody)))]
async fn verify(
    State(web): State<Web>,
    caller: Caller,
    Path(token): Path<String>,
) -> Result<Json<Certificate>, Problem> {
    Ok(Json(web.certificates.verify(&caller.context, &token).await?.into()))
}

fn pdf(certificate: &CertificateOf, public_url: &str) -> Result<Response, Problem> {
    let bytes = certificate.pdf(&format!("Check it at {public_url}/v1/certificates/{}", certificate.code));
    file(bytes, "application/pdf", "certificate.pdf")
}

fn file(bytes: Vec<u8>, kind: &'static str, name: &str) -> Result<Response, Problem> {
    let named = HeaderValue::from_str(&format!("attachment; filename=\"{name}\""))
        .map_err(|_| Problem::new("internal", "The file could not be named."))?;
    let headers: [(HeaderName, HeaderValue); 3] = [
        (header::CONTENT_TYPE, HeaderValue::from_static(kind)),
        (header::CONTENT_DISPOSITION, named),
        (header::CACHE_CONTROL, HeaderValue::from_static("no-store")),
    ];
    Ok((headers, bytes).into_response())
}

fn reason(headers: &HeaderMap) -> Option<&str> {
    headers.get(REASON).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
}

/// Why.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Because {
    /// 1 to 500 characters, without personal data; it is written into the audit log.
    reason: Option<String>,
}

/// How it was paid.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct PaidHow {
    /// What the bank calls it.
    reference: String,
    /// 1 to 500 characters, without personal data; it is written into the audit log.
    reason: Option<String>,
}

/// Where it goes now.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SendAgain {
    /// Whom it goes to; as before if absent.
    payee: Option<Payee>,
    /// 1 to 500 characters, without personal data; it is written into the audit log.
    reason: Option<String>,
}

/// An attempt to send a payout.
#[derive(Debug, Serialize, ToSchema)]
pub struct PayoutAttempt {
    /// From 1.
    number: u32,
    /// How.
    method: Method,
    /// How much.
    amount: String,
    /// `sending`, `sent`, `settled`, `failed` or `returned`.
    state: &'static str,
    /// The provider's or the bank's name of it.
    #[schema(required)]
    reference: Option<String>,
    /// In which file for the bank.
    #[schema(required)]
    batch_id: Option<String>,
    /// What it cost.
    #[schema(required)]
    fee: Option<String>,
    /// Why it waits, failed or came back.
    #[schema(required)]
    reason: Option<String>,
    /// When it was made.
    first_asked_at: String,
}

/// What one of the firm's people said.
#[derive(Debug, Serialize, ToSchema)]
pub struct PayoutReview {
    /// Who.
    reviewer_id: String,
    /// Whether it is about what is looked at: what was said before another payee was named is not.
    counts: bool,
    /// Whether they let it go.
    approves: bool,
    /// Why.
    reason: String,
    /// When.
    at: String,
}

/// Why nothing is sent to a trader for now.
#[derive(Debug, Serialize, ToSchema)]
pub struct PayoutBlock {
    /// Such as `dispute:dp_1`.
    cause: String,
    /// In words.
    reason: String,
}

/// Everything that whoever decides looks at.
#[derive(Debug, Serialize, ToSchema)]
pub struct Dossier {
    /// The payout.
    payout: Payout,
    /// Whose.
    person_id: String,
    /// Whom it goes to; nothing once they were erased.
    #[schema(required)]
    payee: Option<Payee>,
    /// Who of the firm's people named that payee; nothing if the trader did.
    #[schema(required)]
    payee_by_id: Option<String>,
    /// Every condition and number at the request.
    at_request: PayoutCheck,
    /// The same as of now, before the engine has decided.
    #[schema(required)]
    now: Option<PayoutCheck>,
    /// How the trader stands: `none`, `started`, `submitted`, `verified`, `refused` or `expired`.
    identity: &'static str,
    /// Who has looked.
    reviews: Vec<PayoutReview>,
    /// How many have to agree.
    reviewers_needed: usize,
    /// In order.
    attempts: Vec<PayoutAttempt>,
    /// In order.
    events: Vec<PayoutEvent>,
    /// When the trader signed in, the newest first.
    sign_ins: Vec<String>,
    /// The trader's other payouts, the newest first.
    others: Vec<Payout>,
    /// Why nothing is sent for now.
    blocks: Vec<PayoutBlock>,
}

fn render_dossier(dossier: DossierOf, web: &Web) -> Dossier {
    let whole = dossier.whole;
    let currency = whole.payout.currency;
    let check = |precheck: &Precheck| payout_check(precheck, currency);
    let attempts = whole.attempts.iter().map(|attempt| PayoutAttempt {
        number: attempt.number,
        method: attempt.method.into(),
        amount: attempt.amount.amount_text(),
        state: attempt.state.word(),
        reference: attempt.reference.clone(),
        batch_id: attempt.batch.map(|batch| batch.to_string()),
        fee: attempt.fee.map(|fee| fee.to_string()),
        reason: attempt.reason.clone(),
        first_asked_at: time(attempt.first_asked_at),
    });
    let reviews = whole.reviews.iter().map(|review| PayoutReview {
        reviewer_id: review.reviewer.to_string(),
        counts: review.attempt == whole.reviewed(),
        approves: review.approves,
        reason: review.reason.clone(),
        at: time(review.at),
    });
    Dossier {
        payout: render(&whole.payout),
        person_id: whole.payout.person.to_string(),
        payee: dossier.payee.map(Payee::from),
        payee_by_id: whole.payee_by.map(|by| by.to_string()),
        at_request: check(&whole.payout.precheck),
        now: dossier.now.as_ref().map(check),
        identity: whole.identity.at(web.clock.now()).word(),
        reviews: reviews.collect(),
        reviewers_needed: whole.payout.reviewers_needed,
        attempts: attempts.collect(),
        events: dossier.history.iter().map(event).collect(),
        sign_ins: dossier.sign_ins.into_iter().map(time).collect(),
        others: dossier.others.iter().map(render).collect(),
        blocks: dossier.blocks.into_iter().map(|(cause, reason)| PayoutBlock { cause, reason }).collect(),
    }
}

/// The firm's payouts, the newest first.
#[utoipa::path(get, path = "/v1/payout-reviews", operation_id = "payout_queue", tag = "payouts", params(Sought), responses(
    (status = 200, body = Page<Payout>), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 422, response = ProblemBody)))]
async fn queue(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Query(sought): Query<Sought>,
) -> Result<Json<Page<Payout>>, Problem> {
    let wanted = Wanted { state: sought.state.map(StateOf::from), person: None };
    let behind = cursor(sought.cursor.as_deref())?;
    Ok(Json(page(&web.payouts.queue(&caller.context, &wanted, behind, PAGE).await?)))
}

/// Everything about a payout that whoever decides looks at. Written into the audit log with the reason.
#[utoipa::path(get, path = "/v1/payout-reviews/{id}", tag = "payouts",
    params(("id" = String, Path), ("Reason" = String, Header, description = "Why")), responses(
    (status = 200, body = Dossier), (status = 400, response = ProblemBody), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn dossier(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<PayoutId>,
    headers: HeaderMap,
) -> Result<Json<Dossier>, Problem> {
    let dossier = web.payouts.dossier(&caller.context, id, reason(&headers)).await?;
    Ok(Json(render_dossier(dossier, &web)))
}

/// Lets a payout go, or whom it is to go to now. Above the firm's limit another one has to agree, too.
#[utoipa::path(post, path = "/v1/payout-reviews/{id}/approval", tag = "payouts", params(("id" = String, Path)),
    request_body = Because, responses(
    (status = 200, body = Payout), (status = 400, response = ProblemBody), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 404, response = ProblemBody), (status = 409, response = ProblemBody)))]
async fn approve(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<PayoutId>,
    Body(body): Body<Because>,
) -> Result<Json<Payout>, Problem> {
    Ok(Json(render(&web.payouts.review(&caller.context, id, true, body.reason.as_deref()).await?)))
}

/// Does not let a payout go; the trader reads why. Of one that is owed only the new payee is turned away.
#[utoipa::path(post, path = "/v1/payout-reviews/{id}/rejection", tag = "payouts", params(("id" = String, Path)),
    request_body = Because, responses(
    (status = 200, body = Payout), (status = 400, response = ProblemBody), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 404, response = ProblemBody), (status = 409, response = ProblemBody)))]
async fn reject(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<PayoutId>,
    Body(body): Body<Because>,
) -> Result<Json<Payout>, Problem> {
    Ok(Json(render(&web.payouts.review(&caller.context, id, false, body.reason.as_deref()).await?)))
}

/// Sends a payout once more that failed or came back. To somewhere else it goes once others have agreed to that.
#[utoipa::path(post, path = "/v1/payout-reviews/{id}/new-attempt", tag = "payouts", params(("id" = String, Path)),
    request_body = SendAgain, responses(
    (status = 200, body = Payout), (status = 400, response = ProblemBody), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 404, response = ProblemBody), (status = 409, response = ProblemBody),
    (status = 422, response = ProblemBody)))]
async fn send_again(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<PayoutId>,
    Body(body): Body<SendAgain>,
) -> Result<Json<Payout>, Problem> {
    let payee = body.payee.map(Payee::read).transpose()?;
    Ok(Json(render(&web.payouts.send_again(&caller.context, id, payee, body.reason.as_deref()).await?)))
}

/// Says that a payout was paid by hand, or by the bank.
#[utoipa::path(post, path = "/v1/payout-reviews/{id}/payment", tag = "payouts", params(("id" = String, Path)),
    request_body = PaidHow, responses(
    (status = 200, body = Payout), (status = 400, response = ProblemBody), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 404, response = ProblemBody), (status = 409, response = ProblemBody),
    (status = 422, response = ProblemBody)))]
async fn paid(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<PayoutId>,
    Body(body): Body<PaidHow>,
) -> Result<Json<Payout>, Problem> {
    let PaidHow { reference, reason } = body;
    Ok(Json(render(&web.payouts.mark_paid(&caller.context, id, &reference, reason.as_deref()).await?)))
}

/// Says that the bank did not pay a payout, or that it came back from there.
#[utoipa::path(post, path = "/v1/payout-reviews/{id}/return", tag = "payouts", params(("id" = String, Path)),
    request_body = Because, responses(
    (status = 200, body = Payout), (status = 400, response = ProblemBody), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 404, response = ProblemBody), (status = 409, response = ProblemBody)))]
async fn returned(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<PayoutId>,
    Body(body): Body<Because>,
) -> Result<Json<Payout>, Problem> {
    Ok(Json(render(&web.payouts.mark_returned(&caller.context, id, body.reason.as_deref()).await?)))
}

/// An amount of a currency.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = PayoutLimit)]
pub struct Limit {
    /// As a decimal string.
    amount: String,
    /// Its currency.
    currency: String,
}

/// How the firm pays.
#[derive(Debug, Serialize, ToSchema)]
pub struct PayoutSettings {
    /// How it may be sent.
    methods: Vec<Method>,
    /// Whether it must be known who asks.
    identity_needed: bool,
    /// From which bank account files are paid.
    #[schema(required)]
    bank: Option<BankAccount>,
    /// Up to which amount one person is enough, by currency; two look at everything in a currency that is not here.
    one_reviewer: Vec<Limit>,
}

/// How the firm is to pay.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPayoutSettings {
    /// How it may be sent.
    methods: Vec<Method>,
    /// Whether it must be known who asks.
    identity_needed: bool,
    /// From which bank account files are paid.
    bank: Option<BankAccount>,
    /// Up to which amount one person is enough, by currency.
    one_reviewer: Vec<Limit>,
    /// 1 to 500 characters, without personal data; it is written into the audit log.
    reason: Option<String>,
}

fn render_settings(settings: SettingsOf) -> PayoutSettings {
    let limit =
        |limit: Money| Limit { amount: limit.amount_text(), currency: limit.currency().code().to_owned() };
    PayoutSettings {
        methods: settings.methods.into_iter().map(Method::from).collect(),
        identity_needed: settings.identity_needed,
        bank: settings.bank.map(BankAccount::from),
        one_reviewer: settings.one_reviewer.into_iter().map(limit).collect(),
    }
}

/// How the firm pays.
#[utoipa::path(get, path = "/v1/payout-settings", tag = "payouts", responses(
    (status = 200, body = PayoutSettings), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody)))]
async fn settings(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
) -> Result<Json<PayoutSettings>, Problem> {
    Ok(Json(render_settings(web.payouts.settings(&caller.context).await?)))
}

/// Says how the firm pays. Written into the audit log with the reason.
#[utoipa::path(put, path = "/v1/payout-settings", tag = "payouts", request_body = NewPayoutSettings, responses(
    (status = 200, body = PayoutSettings), (status = 400, response = ProblemBody), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn set_settings(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Body(body): Body<NewPayoutSettings>,
) -> Result<Json<PayoutSettings>, Problem> {
    let mut limits = Vec::with_capacity(body.one_reviewer.len());
    for limit in &body.one_reviewer {
        let currency = currency_of(&limit.currency, "/one_reviewer")?;
        let read = Money::parse(&limit.amount, currency);
        limits.push(read.map_err(|error| AppError::field("/one_reviewer", error.to_string()))?);
    }
    let methods: BTreeSet<MethodOf> = body.methods.into_iter().map(MethodOf::from).collect();
    let settings = SettingsOf {
        methods,
        identity_needed: body.identity_needed,
        bank: body.bank.map(BankAccountOf::from),
        one_reviewer: limits,
    };
    web.payouts.set_settings(&caller.context, &settings, body.reason.as_deref()).await?;
    Ok(Json(render_settings(settings)))
}

fn currency_of(code: &str, pointer: &str) -> Result<Currency, Problem> {
    Ok(Currency::parse(code).map_err(|error| AppError::field(pointer, error.to_string()))?)
}

/// A file for the bank.
#[derive(Debug, Serialize, ToSchema)]
pub struct PayoutBatch {
    /// Its id.
    id: String,
    /// When it was made.
    created_at: String,
    /// How many payouts are in it.
    count: u32,
    /// How much.
    amount: String,
    /// Of which currency.
    currency: &'static str,
}

/// What goes into a file.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPayoutBatch {
    /// Everything in this currency.
    currency: String,
    /// 1 to 500 characters, without personal data; it is written into the audit log.
    reason: Option<String>,
}

/// A file that was made.
#[derive(Debug, Serialize, ToSchema)]
pub struct PayoutBatchMade {
    /// Its id.
    id: String,
}

/// Files for the bank, the newest first.
#[utoipa::path(get, path = "/v1/payout-batches", tag = "payouts", responses(
    (status = 200, body = Items<PayoutBatch>), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody)))]
async fn batches(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
) -> Result<Json<Items<PayoutBatch>>, Problem> {
    let batches = web.payouts.batches(&caller.context).await?;
    let batch = |(id, at, count, sum): (PayoutBatchId, _, u32, Money)| PayoutBatch {
        id: id.to_string(),
        created_at: time(at),
        count,
        amount: sum.amount_text(),
        currency: sum.currency().code(),
    };
    Ok(Json(Items { items: batches.into_iter().map(batch).collect() }))
}

/// Puts everything that is to be paid by the bank into a new file. Each payout is in one file.
#[utoipa::path(post, path = "/v1/payout-batches", operation_id = "payout_export", tag = "payouts", request_body = NewPayoutBatch, responses(
    (status = 201, body = PayoutBatchMade), (status = 400, response = ProblemBody), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 409, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn export(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Body(body): Body<NewPayoutBatch>,
) -> Result<(StatusCode, Json<PayoutBatchMade>), Problem> {
    let currency = currency_of(&body.currency, "/currency")?;
    let id = web.payouts.export(&caller.context, currency, body.reason.as_deref()).await?;
    Ok((StatusCode::CREATED, Json(PayoutBatchMade { id: id.to_string() })))
}

/// A file for the bank as CSV. Written into the audit log with the reason.
#[utoipa::path(get, path = "/v1/payout-batches/{id}/csv", tag = "payouts",
    params(("id" = String, Path), ("Reason" = String, Header, description = "Why")), responses(
    (status = 200, content_type = "text/csv", body = String), (status = 400, response = ProblemBody),
    (status = 401, response = ProblemBody), (status = 403, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn batch_csv(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<PayoutBatchId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let made = web.payouts.bank_file(&caller.context, id, reason(&headers)).await?;
    file(csv(&made).into_bytes(), "text/csv; charset=utf-8", &format!("payouts-{id}.csv"))
}

/// A file for the bank as ISO 20022 pain.001. Written into the audit log with the reason.
#[utoipa::path(get, path = "/v1/payout-batches/{id}/pain001", tag = "payouts",
    params(("id" = String, Path), ("Reason" = String, Header, description = "Why")), responses(
    (status = 200, content_type = "application/xml", body = String), (status = 400, response = ProblemBody),
    (status = 401, response = ProblemBody), (status = 403, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn batch_xml(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<PayoutBatchId>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let made = web.payouts.bank_file(&caller.context, id, reason(&headers)).await?;
    file(pain001(&made)?.into_bytes(), "application/xml", &format!("payouts-{id}.xml"))
}
