//! Buying.

use app::purchases::Purchase as PurchaseOf;
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use kernel::PurchaseId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Items;
use super::account_view::ProgramRef;
use super::text::time;
use super::words::PurchaseState;
use crate::Web;
use crate::extract::{Body, IdempotencyKey, Path, SignedIn};
use crate::problem::{Problem, ProblemBody};

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new().routes(routes!(create_purchase, purchases)).routes(routes!(purchase))
}

/// What to buy. The price is ours.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPurchase {
    /// The program's slug.
    program: String,
    /// The version whose rules the buyer has read.
    version: String,
}

/// The buying of a program.
#[derive(Debug, Serialize, ToSchema)]
pub struct Purchase {
    /// Its id.
    id: String,
    /// Where it stands.
    state: PurchaseState,
    /// What is bought.
    program: ProgramRef,
    /// The price.
    fee: String,
    /// Currency of the price.
    currency: &'static str,
    /// Where to pay.
    checkout_url: String,
    /// The challenge, once paid.
    #[schema(required)]
    challenge_id: Option<String>,
    /// When it was created.
    created_at: String,
}

fn render(purchase: PurchaseOf) -> Purchase {
    Purchase {
        checkout_url: format!("/sandbox/pay/{}", purchase.id),
        id: purchase.id.to_string(),
        state: purchase.state.into(),
        program: ProgramRef {
            slug: purchase.slug,
            name: purchase.program_name,
            version: purchase.version.to_string(),
        },
        fee: purchase.fee.amount_text(),
        currency: purchase.fee.currency().code(),
        challenge_id: purchase.challenge.map(|challenge| challenge.to_string()),
        created_at: time(purchase.created_at),
    }
}

/// Starts a purchase; pay at `checkout_url`. A retry under the same key gives the same purchase.
#[utoipa::path(post, path = "/v1/purchases", tag = "purchases", request_body = NewPurchase,
    params(("Idempotency-Key" = String, Header, description = "New for each new purchase")), responses(
    (status = 201, body = Purchase), (status = 400, response = ProblemBody), (status = 401, response = ProblemBody),
    (status = 404, response = ProblemBody), (status = 409, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn create_purchase(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<NewPurchase>,
) -> Result<(StatusCode, Json<Purchase>), Problem> {
    let purchase = web.purchases.create(&caller.context, &key, &body.program, &body.version).await?;
    Ok((StatusCode::CREATED, Json(render(purchase))))
}

/// One's own purchases, the newest first.
#[utoipa::path(get, path = "/v1/purchases", tag = "purchases", responses(
    (status = 200, body = Items<Purchase>), (status = 401, response = ProblemBody)))]
async fn purchases(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
) -> Result<Json<Items<Purchase>>, Problem> {
    let purchases = web.purchases.list(&caller.context).await?;
    Ok(Json(Items { items: purchases.into_iter().map(render).collect() }))
}

/// One of one's own purchases.
#[utoipa::path(get, path = "/v1/purchases/{id}", tag = "purchases", params(("id" = String, Path)), responses(
    (status = 200, body = Purchase), (status = 401, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn purchase(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<PurchaseId>,
) -> Result<Json<Purchase>, Problem> {
    Ok(Json(render(web.purchases.get(&caller.context, id).await?)))
}
