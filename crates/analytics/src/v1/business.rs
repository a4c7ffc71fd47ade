//! How a firm's business goes, for those of its people who may know.

use app::{AppError, Permission};
use axum::Json;
use axum::extract::State;
use kernel::{Amount, Money};
use serde::{Deserialize, Serialize};
use serve::extract::{Caller, Query};
use serve::problem::{Problem, ProblemBody};
use store::analytics::BusinessRow;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::{AccountStatus, Consistency};
use crate::Analytics;
use crate::calendar::{date, day_of, parse};

/// Days at once.
const MOST_DAYS: i32 = 366;

pub(super) fn router() -> OpenApiRouter<Analytics> {
    OpenApiRouter::new().routes(routes!(business))
}

/// Which days.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Wanted {
    /// The first day (UTC), such as 2026-01-05; thirty days before the last if not said.
    from: Option<String>,
    /// The last day (UTC); today if not said. At most 366 days at once.
    to: Option<String>,
}

/// The counters of a firm.
#[derive(Debug, Serialize, ToSchema)]
pub struct Business {
    /// Accounts there are now.
    accounts: Vec<AccountCount>,
    /// What happened, by day, kind, program and phase; what did not happen is not there.
    days: Vec<Happened>,
    /// Everything written before it is in the answer.
    as_of: String,
}

/// Accounts of a program's phase in one state.
#[derive(Debug, Serialize, ToSchema)]
pub struct AccountCount {
    /// The program's slug when it was bought.
    program: String,
    /// The phase, from 0.
    phase: u32,
    /// The state.
    status: AccountStatus,
    /// How many.
    count: u64,
}

/// What can happen to a business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// Purchases begun; the amount is their fees.
    Purchases,
    /// Purchases paid; the amount is the revenue.
    Paid,
    /// Accounts opened.
    Opened,
    /// Accounts breached.
    Breaches,
    /// Phases passed.
    Passes,
    /// Accounts expired.
    Expiries,
    /// Payouts made; the amount is what was taken from the accounts.
    Payouts,
}

/// What happened on a day.
#[derive(Debug, Serialize, ToSchema)]
pub struct Happened {
    /// Of UTC.
    day: String,
    /// What.
    what: What,
    /// The program's slug.
    program: String,
    /// The phase, from 0; none for purchases.
    #[schema(required)]
    phase: Option<usize>,
    /// How often.
    count: u64,
    /// Of which amount; none where there is none.
    #[schema(required)]
    amount: Option<String>,
    /// Currency of the amount.
    currency: &'static str,
}

fn happened(row: BusinessRow) -> Result<Happened, Problem> {
    let unknown = |_| Problem::new("internal", "A counter has an unknown name.");
    let what: What = serde_json::from_value(serde_json::Value::String(row.what)).map_err(unknown)?;
    let amount = match what {
        What::Purchases | What::Paid => Some(Money::from_minor(row.amount, row.currency).amount_text()),
        What::Payouts => Some(Amount::from_micros(row.amount).text(row.currency)),
        What::Opened | What::Breaches | What::Passes | What::Expiries => None,
    };
    Ok(Happened {
        day: date(row.day),
        what,
        program: row.slug,
        phase: (!matches!(what, What::Purchases | What::Paid)).then_some(row.phase),
        count: row.count,
        amount,
        currency: row.currency.code(),
    })
}

fn day(text: Option<&str>, pointer: &str, otherwise: i32) -> Result<i32, AppError> {
    match text {
        None => Ok(otherwise),
        Some(text) => parse(text).ok_or_else(|| AppError::field(pointer, "Write a day as 2026-01-05.")),
    }
}

/// The firm's counters: accounts there are, and what happened by day.
#[utoipa::path(get, path = "/v1/analytics/business", tag = "business",
    params(Wanted, ("Consistency-Token" = Option<String>, Header, description = "As the answer to a write carried it")),
    responses((status = 200, body = Business), (status = 401, response = ProblemBody),
              (status = 403, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn business(
    State(analytics): State<Analytics>,
    caller: Caller,
    Query(wanted): Query<Wanted>,
    Consistency(token): Consistency,
) -> Result<Json<Business>, Problem> {
    caller.demand(Permission::ReadBusiness)?;
    let firm = caller.context.firm;
    let as_of = analytics.as_of()?.to_string();
    let to = day(wanted.to.as_deref(), "/to", day_of(analytics.clock.now()))?;
    let from = day(wanted.from.as_deref(), "/from", to.saturating_sub(30))?;
    if !(0..MOST_DAYS).contains(&to.saturating_sub(from)) {
        return Err(AppError::field("/from", "Ask for 1 to 366 days, the first one first.").into());
    }
    let (rows, _) = analytics
        .replicas
        .read(firm, token, Box::new(move |tx| Box::pin(store::analytics::business(tx, from, to))))
        .await?;
    let accounts = {
        let boards = analytics.read_boards();
        let counts = boards.get(&firm).into_iter().flat_map(|boards| boards.counts());
        counts
            .map(|(program, phase, status, count)| AccountCount {
                program: program.to_owned(),
                phase,
                status: status.into(),
                count,
            })
            .collect()
    };
    let days = rows.into_iter().map(happened).collect::<Result<_, _>>()?;
    Ok(Json(Business { accounts, days, as_of }))
}
