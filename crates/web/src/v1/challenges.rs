//! One's challenges and their accounts through the phases.

use axum::Json;
use axum::extract::State;
use kernel::ChallengeId;
use serde::Serialize;
use store::read;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Items;
use super::account_view::{PhaseView, ProgramRef};
use super::text::time;
use super::words::{AccountStatus, ChallengeState};
use crate::Web;
use crate::extract::{Path, SignedIn};
use crate::problem::{Problem, ProblemBody};

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new().routes(routes!(challenges)).routes(routes!(reset))
}

/// One purchase and its accounts.
#[derive(Debug, Serialize, ToSchema)]
pub struct Challenge {
    /// Its id.
    id: String,
    /// What was bought.
    program: ProgramRef,
    /// Where it stands.
    state: ChallengeState,
    /// When it was paid.
    created_at: String,
    /// By phase.
    accounts: Vec<AccountSummary>,
}

/// An account as it was last stored.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountSummary {
    /// Its id.
    id: String,
    /// Short, for people.
    number: String,
    /// Its phase.
    phase: PhaseView,
    /// Where it stands.
    status: AccountStatus,
    /// Currency of every amount.
    currency: &'static str,
    /// Balance at opening.
    initial_balance: String,
    /// Closed results.
    balance: String,
    /// When it opened.
    opened_at: String,
    /// When it ended.
    #[schema(required)]
    closed_at: Option<String>,
}

fn summary(account: &read::Account) -> AccountSummary {
    let currency = account.program.currency;
    let phase = account.program.phases.get(account.phase);
    AccountSummary {
        id: account.id.to_string(),
        number: account.number(),
        phase: PhaseView {
            index: account.phase,
            name: phase.map(|phase| phase.name.clone()).unwrap_or_default(),
            of: account.program.phases.len(),
        },
        status: account.status.into(),
        currency: currency.code(),
        initial_balance: account.initial.text(currency),
        balance: account.balance.text(currency),
        opened_at: time(account.opened_at),
        closed_at: account.closed_at.map(time),
    }
}

/// One's own challenges, the newest first.
#[utoipa::path(get, path = "/v1/challenges", tag = "challenges", responses(
    (status = 200, body = Items<Challenge>), (status = 401, response = ProblemBody)))]
async fn challenges(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
) -> Result<Json<Items<Challenge>>, Problem> {
    let person = caller.actor()?.person;
    let challenges = read::challenges(&web.store, caller.context.firm, person).await?;
    let render = |challenge: read::Challenge| Challenge {
        id: challenge.id.to_string(),
        state: challenge.state().into(),
        created_at: time(challenge.created_at),
        accounts: challenge.accounts.iter().map(summary).collect(),
        program: ProgramRef {
            slug: challenge.slug,
            name: challenge.program.name.clone(),
            version: challenge.version.to_string(),
        },
    };
    Ok(Json(Items { items: challenges.into_iter().map(render).collect() }))
}

/// Whether and at what price a challenge may begin anew. A reset is bought like a challenge, with `reset_of`.
#[derive(Debug, Serialize, ToSchema)]
pub struct ResetOffer {
    /// What is bought once more: the same version.
    program: ProgramRef,
    /// How many resets of those bought with the challenge are left.
    included: u32,
    /// What it costs now, before coupons and tax; nothing if the challenge cannot begin anew now.
    #[schema(required)]
    fee: Option<String>,
    /// Currency of the price.
    #[schema(required)]
    currency: Option<&'static str>,
}

/// Whether and at what price one of one's own challenges may begin anew.
#[utoipa::path(get, path = "/v1/challenges/{id}/reset", tag = "challenges", params(("id" = String, Path)), responses(
    (status = 200, body = ResetOffer), (status = 401, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn reset(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<ChallengeId>,
) -> Result<Json<ResetOffer>, Problem> {
    let offer = web.purchases.reset_offer(&caller.context, id).await?;
    Ok(Json(ResetOffer {
        program: ProgramRef {
            slug: offer.slug,
            name: offer.program_name,
            version: offer.version.to_string(),
        },
        included: offer.included,
        fee: offer.fee.map(kernel::Money::amount_text),
        currency: offer.fee.map(|fee| fee.currency().code()),
    }))
}
