//! What would other rules have said? For the firm's risk desk.

use app::what_if::{self, Column, Fate, Judged, Of, PhaseCount, Report, percent};
use axum::Json;
use axum::extract::State;
use engine::Status;
use kernel::{AccountId, Amount, ChallengeId, Currency};
use rules::{Program, VersionHash};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::text::time;
use super::words::AccountStatus;
use crate::Web;
use crate::extract::{Body, SignedIn};
use crate::problem::{Problem, ProblemBody};

/// Accounts in one answer.
const MOST_ACCOUNTS: usize = 500;

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new().routes(routes!(what_if))
}

/// Which accounts, and by which program they are to be judged.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = WhatIfQuestion)]
struct Question {
    /// The accounts bought under this slug, whatever the version. Either this or `version`.
    #[schema(nullable = false)]
    program: Option<String>,
    /// The accounts bought with this version. Either this or `program`.
    #[schema(nullable = false)]
    version: Option<String>,
    /// The other program, in the form that programs are written in.
    #[schema(value_type = Object)]
    other: serde_json::Value,
}

/// The history of a program's accounts under its own rules and under others.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = WhatIf)]
pub struct WhatIf {
    /// The versions that the accounts were bought with.
    versions: Vec<JudgedVersion>,
    /// Versions whose accounts cannot be compared.
    left_out: Vec<LeftOut>,
    /// Name of the other program.
    other: String,
    /// Currency of every amount.
    currency: &'static str,
    /// Where the programs differ beyond their rules, in sentences.
    remarks: Vec<String>,
    /// Under their own rules.
    own: ProgramColumn,
    /// Under the other rules.
    under_other: ProgramColumn,
    /// Accounts that were looked at, under either program.
    accounts: u64,
    /// Accounts that would stand elsewhere.
    turned: u64,
    /// Accounts for which anything differs.
    differing: u64,
    /// Those, the ones that would stand elsewhere first; at most 500.
    differences: Vec<AccountDifference>,
    /// Commands applied.
    commands: u64,
    /// Quotes applied.
    quotes: u64,
    /// Whether everything can be relied on: no quote is missing, and under their own rules all accounts come out as they
    /// are stored.
    reliable: bool,
}

/// A version that was judged again.
#[derive(Debug, Serialize, ToSchema)]
pub struct JudgedVersion {
    /// Hash of its content.
    version: String,
    /// For people.
    name: String,
}

/// A version that cannot be compared.
#[derive(Debug, Serialize, ToSchema)]
pub struct LeftOut {
    /// Hash of its content.
    version: String,
    /// Why.
    reason: String,
}

/// What one program says.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProgramColumn {
    /// Challenges.
    challenges: u64,
    /// Challenges whose last phase is passed.
    completed: u64,
    /// In order.
    phases: Vec<PhaseColumn>,
    /// Every verdict by kind and rule, those that end nothing as well.
    verdicts: Vec<VerdictCount>,
    /// Payouts that were made.
    payouts: u64,
    /// What they took out in all.
    paid: String,
    /// Accounts that could be paid at the end of the history.
    payable_accounts: u64,
    /// What their traders would get.
    payable: String,
}

/// One phase, counted.
#[derive(Debug, Serialize, ToSchema)]
pub struct PhaseColumn {
    /// From 0.
    phase: usize,
    /// Accounts that reached it.
    accounts: u64,
    /// Still trading.
    active: u64,
    /// Passed.
    passed: u64,
    /// Crossed a floor.
    breached: u64,
    /// Reached a deadline.
    expired: u64,
    /// The share of those that ended which passed, in per cent; nothing while none has ended.
    #[schema(required)]
    pass_rate: Option<String>,
    /// What ended them.
    ended_by: Vec<EndCount>,
}

/// Accounts that ended by one rule.
#[derive(Debug, Serialize, ToSchema)]
pub struct EndCount {
    /// Where they stand.
    status: String,
    /// The rule's kind.
    rule: String,
    /// How many.
    accounts: u64,
}

/// Verdicts of one kind by one rule.
#[derive(Debug, Serialize, ToSchema)]
pub struct VerdictCount {
    /// Such as `breach`.
    kind: String,
    /// The rule's kind.
    rule: String,
    /// How many.
    count: u64,
}

/// An account under both programs.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountDifference {
    /// The account.
    #[schema(value_type = String)]
    account: AccountId,
    /// Short, for people.
    number: String,
    /// Its challenge.
    #[schema(value_type = String)]
    challenge: ChallengeId,
    /// The version it was bought with.
    #[schema(value_type = String)]
    version: VersionHash,
    /// Its phase, from 0.
    phase: usize,
    /// Under its own rules; nothing if it was never opened.
    #[schema(required)]
    own: Option<AccountFate>,
    /// Under the other rules; nothing if it would not have been opened.
    #[schema(required)]
    under_other: Option<AccountFate>,
    /// Commands that would have got another answer.
    other_answers: u64,
    /// In one sentence.
    sentence: String,
}

/// What became of an account.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountFate {
    /// Where it stands.
    status: AccountStatus,
    /// Closed results.
    balance: String,
    /// Balance and open results.
    equity: String,
    /// Equity above the highest floor, while it trades.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    room: Option<String>,
    /// The verdict that ended it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    verdict: Option<FateVerdict>,
}

/// A verdict in short.
#[derive(Debug, Serialize, ToSchema)]
pub struct FateVerdict {
    /// Such as `breach`.
    kind: &'static str,
    /// The rule's kind.
    rule: String,
    /// The instant judged.
    at: String,
    /// The place in the quote log of the last quote then.
    quote_position: u64,
    /// Equity then.
    equity: String,
    /// Balance then.
    balance: String,
    /// The floor crossed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    floor: Option<String>,
}

/// A report as it is answered, with at most so many accounts.
pub fn render(report: &Report, most: usize) -> WhatIf {
    let currency = report.other.currency;
    WhatIf {
        versions: report
            .versions
            .iter()
            .map(|(version, program)| JudgedVersion {
                version: version.to_string(),
                name: program.name.clone(),
            })
            .collect(),
        left_out: report
            .left_out
            .iter()
            .map(|(version, reason)| LeftOut { version: version.to_string(), reason: reason.clone() })
            .collect(),
        other: report.other.name.clone(),
        currency: currency.code(),
        remarks: report.remarks.clone(),
        own: column(&report.own),
        under_other: column(&report.by_other),
        accounts: report.accounts(),
        turned: report.turned,
        differing: u64::try_from(report.differing.len()).unwrap_or(u64::MAX),
        differences: report.differing.iter().take(most).map(|judged| difference(judged, currency)).collect(),
        commands: report.commands,
        quotes: report.quotes,
        reliable: report.not_as_stored == 0 && report.missing_quotes.is_empty(),
    }
}

fn column(column: &Column) -> ProgramColumn {
    ProgramColumn {
        challenges: column.challenges,
        completed: column.completed,
        phases: (0..).zip(&column.phases).map(|(phase, count)| phase_column(phase, count)).collect(),
        verdicts: column
            .verdicts
            .iter()
            .map(|((kind, rule), count)| VerdictCount {
                kind: (*kind).to_owned(),
                rule: rule.clone(),
                count: *count,
            })
            .collect(),
        payouts: column.payouts,
        paid: column.paid.to_string(),
        payable_accounts: column.payable_accounts,
        payable: column.payable.to_string(),
    }
}

fn phase_column(phase: usize, count: &PhaseCount) -> PhaseColumn {
    let passed = count.with(Status::Passed);
    PhaseColumn {
        phase,
        accounts: count.accounts,
        active: count.with(Status::Active),
        passed,
        breached: count.with(Status::Breached),
        expired: count.with(Status::Expired),
        pass_rate: percent(passed, count.ended()),
        ended_by: count
            .by_rule
            .iter()
            .map(|((status, rule), accounts)| EndCount {
                status: (*status).to_owned(),
                rule: rule.clone(),
                accounts: *accounts,
            })
            .collect(),
    }
}

fn difference(judged: &Judged, currency: Currency) -> AccountDifference {
    AccountDifference {
        account: judged.account,
        number: judged.account.label(),
        challenge: judged.challenge,
        version: judged.version.clone(),
        phase: judged.phase,
        own: judged.own.as_ref().map(|it| fate(it, currency)),
        under_other: judged.other.as_ref().map(|it| fate(it, currency)),
        other_answers: judged.other_answers,
        sentence: judged.sentence(currency),
    }
}

fn fate(fate: &Fate, currency: Currency) -> AccountFate {
    let text = |amount: Amount| amount.text(currency);
    AccountFate {
        status: fate.status.into(),
        balance: text(fate.balance),
        equity: text(fate.equity),
        room: fate.room.map(text),
        verdict: fate.end().map(|finding: &what_if::Finding| FateVerdict {
            kind: finding.kind,
            rule: finding.rule.clone(),
            at: time(finding.at),
            quote_position: finding.quote,
            equity: text(finding.equity),
            balance: text(finding.balance),
            floor: finding.floor.map(text),
        }),
    }
}

/// Judges the history of a program's accounts by another program. Nothing is changed. One history at a time.
#[utoipa::path(post, path = "/v1/what-if", tag = "risk", request_body = Question, responses(
    (status = 200, body = WhatIf), (status = 403, response = ProblemBody), (status = 404, response = ProblemBody),
    (status = 422, response = ProblemBody), (status = 429, response = ProblemBody)))]
async fn what_if(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Body(question): Body<Question>,
) -> Result<Json<WhatIf>, Problem> {
    caller.demand(app::Permission::JudgeAgain)?;
    let of = match (question.program, question.version) {
        (Some(slug), None) => Of::Slug(slug),
        (None, Some(version)) => {
            let known = VersionHash::parse(&version);
            Of::Version(known.ok_or(app::AppError::NotFound("version"))?)
        }
        (Some(_), Some(_)) | (None, None) => {
            let say = "Name the accounts either by program or by version.";
            return Err(app::AppError::field("/program", say).into());
        }
    };
    let other: Program = serde_json::from_value(question.other)
        .map_err(|error| app::AppError::field("/other", format!("The program cannot be read: {error}.")))?;
    let report = web.what_if.judge(&caller.context, of, other).await?;
    Ok(Json(render(&report, MOST_ACCOUNTS)))
}
