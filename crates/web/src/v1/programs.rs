//! The catalogue.

use app::catalogue::{Offer, PhaseText, RuleText, phases};
use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Items;
use crate::Web;
use crate::extract::{Caller, Path};
use crate::problem::{Problem, ProblemBody};

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new().routes(routes!(firm)).routes(routes!(programs)).routes(routes!(program))
}

/// The firm whose pages these are.
#[derive(Debug, Serialize, ToSchema)]
pub struct Firm {
    /// For people.
    name: String,
    /// In addresses.
    slug: String,
    /// Whether this installation is for trying out: prices and payments are not real.
    demo: bool,
}

/// What can be bought.
#[derive(Debug, Serialize, ToSchema)]
pub struct Program {
    /// Its name in addresses.
    slug: String,
    /// For people.
    name: String,
    /// Hash of its content; a purchase names it.
    version: String,
    /// Balance of every phase.
    initial_balance: String,
    /// Currency of every amount but the fee.
    currency: &'static str,
    /// Its price.
    fee: String,
    /// Currency of the price.
    fee_currency: &'static str,
    /// Such as `1:100`.
    leverage: String,
    /// Symbols.
    instruments: Vec<String>,
    /// Per lot, when opening and when closing.
    commission_per_lot: String,
    /// When the trading day ends.
    reset: ResetClock,
    /// In order.
    phases: Vec<Phase>,
    /// In one sentence.
    summary: String,
}

/// When the trading day ends.
#[derive(Debug, Serialize, ToSchema)]
pub struct ResetClock {
    /// Of the tz database.
    zone: String,
    /// Local time.
    time: String,
}

/// One phase.
#[derive(Debug, Serialize, ToSchema)]
pub struct Phase {
    /// For people.
    name: String,
    /// In order.
    rules: Vec<Rule>,
    /// What else holds: how one gets on, payouts, growth; a sentence each.
    policies: Vec<String>,
}

/// One rule in words.
#[derive(Debug, Serialize, ToSchema)]
pub struct Rule {
    /// Its kind.
    kind: &'static str,
    /// For people.
    label: String,
    /// What it means.
    sentence: String,
    /// How much, where it says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    limit: Option<Limit>,
}

/// How much may be lost or must be earned.
#[derive(Debug, Serialize, ToSchema)]
pub struct Limit {
    /// Where it is known before trading.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    amount: Option<String>,
    /// Where the program says a share.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    percent: Option<String>,
}

/// The phases of a program in words.
pub(super) fn phase_views(program: &rules::Program) -> Vec<Phase> {
    let currency = program.currency;
    let rule = |rule: RuleText| Rule {
        kind: rule.kind,
        label: engine::label(rule.kind),
        sentence: rule.sentence,
        limit: rule.limit.map(|limit| Limit {
            amount: limit.amount.map(|amount| amount.text(currency)),
            percent: limit.percent.map(|percent| percent.to_string()),
        }),
    };
    let phase = |phase: PhaseText| Phase {
        name: phase.name,
        rules: phase.rules.into_iter().map(rule).collect(),
        policies: phase.policies,
    };
    phases(program).into_iter().map(phase).collect()
}

pub(super) fn render(offer: &Offer) -> Program {
    let program = &offer.program;
    let currency = program.currency;
    Program {
        slug: offer.slug.clone(),
        name: program.name.clone(),
        version: offer.version.to_string(),
        initial_balance: program.initial_balance.text(currency),
        currency: currency.code(),
        fee: offer.fee.amount_text(),
        fee_currency: offer.fee.currency().code(),
        leverage: format!("1:{}", program.terms.leverage),
        instruments: program.terms.instruments.iter().map(ToString::to_string).collect(),
        commission_per_lot: program.terms.commission_per_lot.text(currency),
        reset: ResetClock { zone: program.reset.zone().to_owned(), time: program.reset.time() },
        phases: phase_views(program),
        summary: program.summary(),
    }
}

/// The firm behind this host name.
#[utoipa::path(get, path = "/v1/firm", tag = "catalogue", responses(
    (status = 200, body = Firm), (status = 404, response = ProblemBody)))]
async fn firm(State(web): State<Web>, caller: Caller) -> Result<Json<Firm>, Problem> {
    let firm = web.store.firm(caller.context.firm).await?.ok_or(app::AppError::NotFound("firm"))?;
    Ok(Json(Firm { name: firm.name, slug: firm.slug, demo: web.demo }))
}

/// Every program on sale, in the firm's order.
#[utoipa::path(get, path = "/v1/programs", tag = "catalogue", responses((status = 200, body = Items<Program>)))]
async fn programs(State(web): State<Web>, caller: Caller) -> Result<Json<Items<Program>>, Problem> {
    let offers = web.catalogue.list(caller.context.firm).await?;
    Ok(Json(Items { items: offers.iter().map(render).collect() }))
}

/// One program on sale.
#[utoipa::path(get, path = "/v1/programs/{slug}", tag = "catalogue", params(("slug" = String, Path)), responses(
    (status = 200, body = Program), (status = 404, response = ProblemBody)))]
async fn program(
    State(web): State<Web>,
    caller: Caller,
    Path(slug): Path<String>,
) -> Result<Json<Program>, Problem> {
    Ok(Json(render(&web.catalogue.get(caller.context.firm, &slug).await?)))
}
