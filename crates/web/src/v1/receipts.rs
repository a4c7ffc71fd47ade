//! Receipts as signed documents, and the keys they are signed with.

use app::AppError;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header;
use kernel::AccountId;
use serde::Serialize;
use store::read;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Items;
use super::accounts::visible;
use crate::Web;
use crate::extract::{Path, SignedIn};
use crate::problem::{Problem, ProblemBody};

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new().routes(routes!(document)).routes(routes!(keys))
}

/// A key that receipts are signed with.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReceiptKey {
    /// Its short name, as receipts carry it.
    id: String,
    /// The public key: Ed25519, 64 hexadecimal digits.
    public_key: String,
}

/// A receipt as the signed document that anybody can check without us: `tradesense receipt verify FILE --key KEY`.
#[utoipa::path(get, path = "/v1/accounts/{id}/receipts/{number}/document", tag = "accounts",
    params(("id" = String, Path), ("number" = u32, Path)), responses(
    (status = 200, body = serde_json::Value), (status = 401, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn document(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path((id, number)): Path<(AccountId, u32)>,
) -> Result<Response, Problem> {
    let (account, viewer) = visible(&web, &caller, id).await?;
    let text = read::receipt_document(&web.store, caller.context.firm, viewer, id, number).await?;
    let text = text.ok_or(AppError::NotFound("receipt"))?;
    let name = format!("attachment; filename=\"receipt-{}-{number}.json\"", account.number());
    Ok(([(header::CONTENT_TYPE, "application/json".to_owned()), (header::CONTENT_DISPOSITION, name)], text)
        .into_response())
}

/// The keys that receipts of this installation are signed with. Keep them: a receipt proves something only with a key
/// that did not come with it.
#[utoipa::path(get, path = "/v1/receipt-keys", tag = "accounts", responses((status = 200, body = Items<ReceiptKey>)))]
async fn keys(State(web): State<Web>) -> Json<Items<ReceiptKey>> {
    let key = ReceiptKey { id: web.receipt_key.id().to_string(), public_key: web.receipt_key.to_string() };
    Json(Items { items: vec![key] })
}
