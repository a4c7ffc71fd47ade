//! Giving money back.

use app::refunds::{Ask, Refund as RefundOf, RefundState as StateOf};
use app::{AppError, Permission};
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use kernel::{Currency, Money, PurchaseId, RefundId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::text::time;
use super::words::{RefundOrigin, RefundState};
use super::{Items, PAGE, Page};
use crate::Web;
use crate::extract::{Body, IdempotencyKey, Path, Query, SignedIn};
use crate::problem::{Problem, ProblemBody};

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(ask_refund, refunds_of_purchase))
        .routes(routes!(refunds))
        .routes(routes!(refund))
}

/// Money to be given back. Amount and currency go together; without them everything that is left goes back.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewRefund {
    /// How much, as a decimal string.
    #[schema(nullable = false)]
    amount: Option<String>,
    /// Currency of the amount.
    #[schema(nullable = false)]
    currency: Option<String>,
    /// Of which payment, by the provider's name; the one that paid the purchase if not said.
    #[schema(nullable = false)]
    payment: Option<String>,
    /// Why, in 1 to 500 characters.
    reason: String,
}

/// Money given back, as the firm's people see it.
#[derive(Debug, Serialize, ToSchema)]
pub struct Refund {
    /// Its id.
    id: String,
    /// Of which purchase.
    purchase_id: String,
    /// Who gives it back.
    provider: String,
    /// Of which payment, by the provider's name.
    payment: String,
    /// How much.
    amount: String,
    /// Currency of the amount.
    currency: &'static str,
    /// Why.
    reason: String,
    /// Who wanted it.
    origin: RefundOrigin,
    /// Which of the firm's people.
    #[schema(required)]
    asked_by: Option<String>,
    /// How it stands.
    state: RefundState,
    /// The provider's name of it, once it has one.
    #[schema(required)]
    known_as: Option<String>,
    /// What the provider said last, if it did not do it.
    #[schema(required)]
    said: Option<String>,
    /// When it was asked for first.
    asked_at: String,
    /// When it changed last.
    changed_at: String,
}

/// Money given back, as the buyer sees it.
#[derive(Debug, Serialize, ToSchema)]
pub struct OwnRefund {
    /// Its id.
    id: String,
    /// How much.
    amount: String,
    /// Currency of the amount.
    currency: &'static str,
    /// How it stands.
    state: RefundState,
    /// When it was asked for first.
    asked_at: String,
    /// When it changed last.
    changed_at: String,
}

fn render(refund: RefundOf) -> Refund {
    Refund {
        id: refund.id.to_string(),
        purchase_id: refund.purchase.to_string(),
        provider: refund.provider.to_string(),
        payment: refund.payment,
        amount: refund.amount.amount_text(),
        currency: refund.amount.currency().code(),
        reason: refund.reason,
        origin: refund.origin.into(),
        asked_by: refund.asked_by.map(|person| person.to_string()),
        state: refund.state.into(),
        known_as: refund.known_as,
        said: refund.said,
        asked_at: time(refund.first_asked_at),
        changed_at: time(refund.changed_at),
    }
}

/// Gives money of a purchase back, in whole or in part. It is written down first and then asked for: `asked` means that the provider may
/// not know of it yet, and that it will be asked again. A retry under the same key gives the same refund.
#[utoipa::path(post, path = "/v1/purchases/{id}/refunds", tag = "money", request_body = NewRefund,
    params(("id" = String, Path), ("Idempotency-Key" = String, Header, description = "New for each new refund")), responses(
    (status = 201, body = Refund), (status = 400, response = ProblemBody), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 404, response = ProblemBody), (status = 409, response = ProblemBody),
    (status = 422, response = ProblemBody)))]
async fn ask_refund(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(purchase): Path<PurchaseId>,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<NewRefund>,
) -> Result<(StatusCode, Json<Refund>), Problem> {
    caller.demand(Permission::ManageMoney)?;
    let amount = match (body.amount, body.currency) {
        (None, None) => None,
        (Some(amount), Some(currency)) => {
            let currency = Currency::parse(&currency)
                .map_err(|error| AppError::field("/currency", format!("{error}.")))?;
            let amount = Money::parse(&amount, currency)
                .map_err(|error| AppError::field("/amount", format!("{error}.")))?;
            Some(amount)
        }
        (Some(_), None) => return Err(AppError::field("/currency", "Say in which currency.").into()),
        (None, Some(_)) => return Err(AppError::field("/amount", "Say how much.").into()),
    };
    let ask = Ask { purchase, amount, payment: body.payment, reason: body.reason };
    let refund = web.refunds.ask(&caller.context, &key, &ask).await?;
    Ok((StatusCode::CREATED, Json(render(refund))))
}

/// What was given back of one of one's own purchases, the oldest first.
#[utoipa::path(get, path = "/v1/purchases/{id}/refunds", tag = "purchases", params(("id" = String, Path)), responses(
    (status = 200, body = Items<OwnRefund>), (status = 401, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn refunds_of_purchase(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<PurchaseId>,
) -> Result<Json<Items<OwnRefund>>, Problem> {
    let purchase = web.purchases.get(&caller.context, id).await?;
    let refunds = web.refunds.of(&caller.context, &purchase).await?;
    let own = |refund: RefundOf| OwnRefund {
        id: refund.id.to_string(),
        amount: refund.amount.amount_text(),
        currency: refund.amount.currency().code(),
        state: refund.state.into(),
        asked_at: time(refund.first_asked_at),
        changed_at: time(refund.changed_at),
    };
    Ok(Json(Items { items: refunds.into_iter().map(own).collect() }))
}

/// Which refunds.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct RefundsWanted {
    /// Those that stand like this; all if not said.
    #[param(inline)]
    state: Option<RefundState>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// The firm's refunds, the newest first.
#[utoipa::path(get, path = "/v1/refunds", tag = "money", params(RefundsWanted), responses(
    (status = 200, body = Page<Refund>), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 422, response = ProblemBody)))]
async fn refunds(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Query(wanted): Query<RefundsWanted>,
) -> Result<Json<Page<Refund>>, Problem> {
    caller.demand(Permission::ReadBusiness)?;
    let state = wanted.state.map(StateOf::from);
    let behind = wanted.cursor.as_deref().map(str::parse::<RefundId>).transpose();
    let behind = behind.map_err(|_| AppError::field("/cursor", "This is no cursor of ours."))?;
    let found = web.refunds.list(&caller.context, state, behind, PAGE.saturating_add(1)).await?;
    let (found, next_cursor) = super::page(found, |refund| refund.id.to_string());
    Ok(Json(Page { items: found.into_iter().map(render).collect(), next_cursor }))
}

/// One of the firm's refunds.
#[utoipa::path(get, path = "/v1/refunds/{id}", tag = "money", params(("id" = String, Path)), responses(
    (status = 200, body = Refund), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 404, response = ProblemBody)))]
async fn refund(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<RefundId>,
) -> Result<Json<Refund>, Problem> {
    Ok(Json(render(web.refunds.get(&caller.context, id).await?)))
}
