//! Other rules for one account, and what was decided about it.

use app::overrides::{NewOverride as Asked, Told};
use app::{AppError, Permission};
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use kernel::AccountId;
use rules::Rule;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use store::read::{self, Viewer};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Items;
use super::account_view::{self, Account};
use super::accounts::visible;
use super::text::time;
use crate::Web;
use crate::extract::{Body, IdempotencyKey, Path, SignedIn};
use crate::problem::{Problem, ProblemBody};

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new().routes(routes!(override_rule, overrides))
}

/// What is to hold for an account in place of its program's rule.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewOverride {
    /// The rule's place in the account's phase, from 0.
    place: u32,
    /// The rule that holds from now on, of the same kind, in the form that programs are written in; `null` lets the
    /// program's own rule hold again.
    #[serde(default, deserialize_with = "as_sent")]
    #[schema(value_type = Option<Object>, required)]
    rule: Option<Value>,
    /// Why; the trader reads it.
    reason: String,
}

/// Tells `null` from a field that is missing.
fn as_sent<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Value>, D::Error> {
    Value::deserialize(deserializer).map(Some)
}

/// What was decided about an account.
#[derive(Debug, Serialize, ToSchema)]
pub struct Override {
    /// When.
    at: String,
    /// The rule's place in the phase, from 0.
    place: usize,
    /// The rule's kind.
    kind: &'static str,
    /// What held before.
    before: String,
    /// What held from then on.
    after: String,
    /// The rule that held from then on, as programs are written; nothing if it was the program's own again.
    #[schema(required, value_type = Option<Object>)]
    rule: Option<Rule>,
    /// Why.
    reason: String,
    /// Who decided it; for the firm's people only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    by: Option<DecidedBy>,
}

/// Who decided something.
#[derive(Debug, Serialize, ToSchema)]
pub struct DecidedBy {
    /// Their id.
    id: String,
    /// Their name.
    name: String,
}

/// Lets another rule of the same kind hold for this account from now on. Nobody decides about an account of their own. A
/// retry under the same key changes nothing more. Answers with the account as it then is.
#[utoipa::path(post, path = "/v1/accounts/{id}/overrides", tag = "risk", request_body = NewOverride,
    params(("id" = String, Path), ("Idempotency-Key" = String, Header, description = "New for each decision")), responses(
    (status = 201, body = Account), (status = 400, response = ProblemBody), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 404, response = ProblemBody), (status = 409, response = ProblemBody),
    (status = 422, response = ProblemBody), (status = 503, response = ProblemBody)))]
async fn override_rule(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<AccountId>,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<NewOverride>,
) -> Result<(StatusCode, Json<Account>), Problem> {
    caller.demand(Permission::OverrideRules)?;
    let missing = "Give the rule that is to hold, or null for the program's own.";
    let rule = body.rule.ok_or_else(|| AppError::field("/rule", missing))?;
    // `null` is none.
    let rule: Option<Rule> = serde_json::from_value(rule)
        .map_err(|error| AppError::field("/rule", format!("The rule cannot be read: {error}.")))?;
    let asked = Asked { account: id, place: body.place, rule, reason: body.reason };
    web.overrides.set(&caller.context, &key, asked).await?;
    let stored = read::account(&web.store, caller.context.firm, Viewer::Staff, id).await?;
    let stored = stored.ok_or(AppError::NotFound("account"))?;
    let view = web.desk.view(id).await?.ok_or(AppError::NotFound("account"))?;
    Ok((StatusCode::CREATED, Json(account_view::account(&view, &stored.slug)?)))
}

/// What was decided about an account by hand, the newest first.
#[utoipa::path(get, path = "/v1/accounts/{id}/overrides", tag = "accounts", params(("id" = String, Path)), responses(
    (status = 200, body = Items<Override>), (status = 401, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn overrides(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<AccountId>,
) -> Result<Json<Items<Override>>, Problem> {
    let (_, viewer) = visible(&web, &caller, id).await?;
    let told = web.overrides.told(caller.context.firm, id).await?;
    Ok(Json(Items { items: told.into_iter().map(|told| render(told, viewer)).collect() }))
}

fn render(told: Told, viewer: Viewer) -> Override {
    let Told { stored, kind, before, after } = told;
    let by = DecidedBy { id: stored.by.to_string(), name: stored.by_name };
    Override {
        at: time(stored.at),
        place: stored.place,
        kind,
        before,
        after,
        rule: stored.rule,
        reason: stored.reason,
        by: (viewer == Viewer::Staff).then_some(by),
    }
}
