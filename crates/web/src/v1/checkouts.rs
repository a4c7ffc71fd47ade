//! Paying a purchase at a provider.

use app::payments::checkouts::Wish;
use app::payments::port::ProviderName;
use axum::Json;
use axum::extract::State;
use kernel::PurchaseId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::extract::{Body, Path, SignedIn};
use crate::problem::{Problem, ProblemBody};
use crate::{Web, sandbox};

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(payment_methods))
        .routes(routes!(open_checkout))
        .routes(routes!(refresh_checkout))
}

/// Where a purchase can be paid.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum PaymentMethod {
    /// A page of our own, where no money moves.
    Sandbox,
    /// Stripe.
    Stripe,
    /// PayPal.
    Paypal,
}

impl From<ProviderName> for PaymentMethod {
    fn from(name: ProviderName) -> Self {
        match name {
            ProviderName::Stripe => Self::Stripe,
            ProviderName::Paypal => Self::Paypal,
        }
    }
}

/// Where purchases can be paid.
#[derive(Debug, Serialize, ToSchema)]
struct PaymentMethods {
    /// All ways, at least one.
    methods: Vec<PaymentMethod>,
}

/// At which provider to pay.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct NewCheckout {
    /// Which one.
    provider: PaymentMethod,
}

/// Where to pay.
#[derive(Debug, Serialize, ToSchema)]
struct Checkout {
    /// The provider's page; send the buyer there.
    page: String,
}

/// Ways to pay at this firm.
#[utoipa::path(get, path = "/v1/payment-methods", tag = "purchases", responses(
    (status = 200, body = PaymentMethods), (status = 401, response = ProblemBody)))]
async fn payment_methods(State(web): State<Web>, SignedIn(caller): SignedIn) -> Json<PaymentMethods> {
    let sandbox = web.demo.then_some(PaymentMethod::Sandbox);
    let providers = web.checkouts.methods(caller.context.firm).into_iter().map(PaymentMethod::from);
    Json(PaymentMethods { methods: sandbox.into_iter().chain(providers).collect() })
}

/// The page on which to pay one of one's own purchases. Asking again gives the same page; asking for another provider closes the
/// one that is open.
#[utoipa::path(post, path = "/v1/purchases/{id}/checkout", tag = "purchases", params(("id" = String, Path)),
    request_body = NewCheckout, responses((status = 200, body = Checkout), (status = 401, response = ProblemBody),
    (status = 404, response = ProblemBody), (status = 409, response = ProblemBody), (status = 422, response = ProblemBody),
    (status = 503, response = ProblemBody)))]
async fn open_checkout(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<PurchaseId>,
    Body(body): Body<NewCheckout>,
) -> Result<Json<Checkout>, Problem> {
    let provider = match body.provider {
        PaymentMethod::Stripe => ProviderName::Stripe,
        PaymentMethod::Paypal => ProviderName::Paypal,
        PaymentMethod::Sandbox if web.demo => {
            web.purchases.get(&caller.context, id).await?;
            return Ok(Json(Checkout { page: sandbox::page_of(id) }));
        }
        PaymentMethod::Sandbox => {
            return Err(Problem::new("provider_unknown", "The firm does not use the sandbox."));
        }
    };
    let wish = Wish { purchase: id, provider, public_url: &web.public_url };
    Ok(Json(Checkout { page: web.checkouts.open(&caller.context, &wish).await? }))
}

/// Looks at the provider how the open page of a purchase stands: for a buyer who comes back from it.
#[utoipa::path(post, path = "/v1/purchases/{id}/checkout/refresh", tag = "purchases", params(("id" = String, Path)), responses(
    (status = 204), (status = 401, response = ProblemBody), (status = 404, response = ProblemBody),
    (status = 503, response = ProblemBody)))]
async fn refresh_checkout(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<PurchaseId>,
) -> Result<http::StatusCode, Problem> {
    web.checkouts.refresh(&caller.context, id).await?;
    web.purchase_paid.notify_one();
    Ok(http::StatusCode::NO_CONTENT)
}
