//! Who leads.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use store::read;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::text::time;
use super::words::AccountStatus;
use crate::Web;
use crate::extract::{Caller, Query};
use crate::problem::{Problem, ProblemBody};

const MOST_ROWS: i64 = 200;

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new().routes(routes!(leaderboard))
}

/// Which board.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// The program's slug; the first on sale if not said.
    program: Option<String>,
    /// The phase, from 0.
    phase: Option<usize>,
    /// Rows, at most 200.
    limit: Option<i64>,
}

/// A board, ranked by closed profit as a share of the initial balance.
#[derive(Debug, Serialize, ToSchema)]
pub struct Leaderboard {
    /// The program's slug.
    program: String,
    /// The phase, from 0.
    phase: usize,
    /// By rank.
    items: Vec<Ranked>,
    /// When it was read.
    as_of: String,
}

/// One account on the board.
#[derive(Debug, Serialize, ToSchema)]
pub struct Ranked {
    /// From 1; equals share a rank.
    rank: i64,
    /// The trader's display name.
    trader: String,
    /// Short name of the account.
    account: String,
    /// Where the account stands.
    status: AccountStatus,
    /// Closed profit.
    profit: String,
    /// Of the initial balance.
    profit_percent: String,
    /// Closed balance.
    balance: String,
    /// Currency of every amount.
    currency: &'static str,
    /// Positions closed.
    trades: i64,
    /// Whether it is the caller's own.
    you: bool,
}

/// The accounts of a program's phase by closed profit. Open to everybody.
#[utoipa::path(get, path = "/v1/leaderboard", tag = "leaderboard", params(Wanted), responses(
    (status = 200, body = Leaderboard), (status = 404, response = ProblemBody)))]
async fn leaderboard(
    State(web): State<Web>,
    caller: Caller,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Leaderboard>, Problem> {
    let firm = caller.context.firm;
    let offer = match wanted.program {
        Some(slug) => web.catalogue.get(firm, &slug).await?,
        None => {
            web.catalogue.list(firm).await?.into_iter().next().ok_or(app::AppError::NotFound("program"))?
        }
    };
    let phase = wanted.phase.unwrap_or_default();
    let limit = wanted.limit.unwrap_or(50).clamp(1, MOST_ROWS);
    let you = caller.context.actor.as_ref().map(|actor| actor.person);
    let currency = offer.program.currency;
    let ranked = read::leaderboard(&web.store, firm, &offer.slug, phase, limit).await?;
    let render = |row: read::Ranked| -> Result<Ranked, Problem> {
        Ok(Ranked {
            rank: row.rank,
            account: row.account.label(),
            status: row.status.into(),
            profit: row.profit.text(currency),
            profit_percent: row
                .percent()
                .map_err(|_| Problem::new("internal", "A profit's share leaves its range."))?,
            balance: row.balance.text(currency),
            currency: currency.code(),
            trades: row.trades,
            you: you == Some(row.person),
            trader: row.trader,
        })
    };
    let items = ranked.into_iter().map(render).collect::<Result<_, _>>()?;
    Ok(Json(Leaderboard { program: offer.slug, phase, items, as_of: time(web.clock.now()) }))
}
