//! Programs as data: checking them, putting them on sale, every version that ever was, and what distinguishes two.

use std::sync::LazyLock;

use app::catalogue::{Checked, Kept, Source};
use app::{AppError, Permission};
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};
use kernel::{Currency, Money};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Items;
use super::programs::{Phase, Program, phase_views, render};
use super::text::time;
use crate::Web;
use crate::extract::{Body, Caller, Path, Query, SignedIn};
use crate::problem::{Problem, ProblemBody};

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(check_program))
        .routes(routes!(publish_program))
        .routes(routes!(program_versions))
        .routes(routes!(program_version))
        .routes(routes!(program_difference))
        .routes(routes!(program_schema))
}

/// A program to look at, as JSON or as TOML.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ProgramToCheck {
    /// As JSON. Either this or `toml`.
    #[schema(value_type = Option<Object>, nullable = false)]
    program: Option<serde_json::Value>,
    /// As TOML text. Either this or `program`.
    #[schema(nullable = false)]
    toml: Option<String>,
    /// A version that is or was on sale: the answer says what distinguishes the program from it.
    #[schema(nullable = false)]
    against: Option<String>,
}

/// What was found in a program: either faults, or what it means.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProgramCheck {
    /// Every fault that was found; empty if the program can be used.
    faults: Vec<ProgramFault>,
    /// What it means, if it can be used.
    #[schema(required)]
    checked: Option<CheckedProgram>,
}

/// One thing wrong with a program.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProgramFault {
    /// Where, such as `phases[0].rules[2].limit`; empty if it concerns the whole.
    path: String,
    /// What is wrong and what would be right.
    say: String,
}

/// A program that can be used.
#[derive(Debug, Serialize, ToSchema)]
pub struct CheckedProgram {
    /// The name that this version gets: SHA-256 over `canonical_json`.
    version: String,
    /// The text that is hashed, byte for byte.
    canonical_json: String,
    /// In one sentence.
    summary: String,
    /// In order.
    phases: Vec<Phase>,
    /// What distinguishes it from `against`.
    changes: Vec<ProgramChange>,
}

/// One thing that distinguishes two programs.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProgramChange {
    /// Such as `Evaluation` or `Terms`.
    place: String,
    /// What the first says; nothing if only the second says something.
    #[schema(required)]
    before: Option<String>,
    /// What the second says; nothing if only the first says something.
    #[schema(required)]
    after: Option<String>,
}

/// A version to put on sale.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPublication {
    /// As JSON. Either this or `toml`.
    #[schema(value_type = Option<Object>, nullable = false)]
    program: Option<serde_json::Value>,
    /// As TOML text. Either this or `program`.
    #[schema(nullable = false)]
    toml: Option<String>,
    /// Its price, as a decimal string.
    fee: String,
    /// Currency of the price.
    fee_currency: String,
    /// Its place in the catalogue: lower ones come first.
    place: i32,
    /// The version that the editor started from; nothing for a slug under which nothing was ever sold.
    started_from: Option<String>,
}

/// A version that is or was on sale.
#[derive(Debug, Serialize, ToSchema)]
pub struct PublishedVersion {
    /// Hash of its content.
    version: String,
    /// Its name for people.
    name: String,
    /// Its price then.
    fee: String,
    /// Currency of the price.
    fee_currency: &'static str,
    /// When it was put on sale.
    at: String,
}

/// A version as it is kept.
#[derive(Debug, Serialize, ToSchema)]
pub struct KeptVersion {
    /// Hash of its content.
    version: String,
    /// Its name for people.
    name: String,
    /// The text that was hashed, byte for byte: SHA-256 over it is the version.
    canonical_json: String,
    /// In one sentence.
    summary: String,
    /// In order.
    phases: Vec<Phase>,
    /// When it was first put on sale.
    first_at: String,
}

/// Which two versions.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct TwoVersions {
    /// The earlier one.
    from: String,
    /// The later one.
    to: String,
}

fn source(program: Option<serde_json::Value>, toml: Option<String>) -> Result<Source, Problem> {
    match (program, toml) {
        (Some(program), None) => Ok(Source::Json(program.to_string())),
        (None, Some(toml)) => Ok(Source::Toml(toml)),
        (Some(_), Some(_)) | (None, None) => {
            Err(AppError::field("/program", "Send the program either as program or as toml.").into())
        }
    }
}

pub(super) fn changes(changes: Vec<rules::Change>) -> Vec<ProgramChange> {
    let change = |rules::Change { place, before, after }| ProgramChange { place, before, after };
    changes.into_iter().map(change).collect()
}

/// Looks at a program without storing anything. Answers with every fault that was found, or with what the program means.
#[utoipa::path(post, path = "/v1/programs/check", tag = "programs", request_body = ProgramToCheck, responses(
    (status = 200, body = ProgramCheck), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 404, response = ProblemBody), (status = 413, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn check_program(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Body(body): Body<ProgramToCheck>,
) -> Result<Json<ProgramCheck>, Problem> {
    caller.demand(Permission::EditPrograms)?;
    let source = source(body.program, body.toml)?;
    let found = web.catalogue.check(&caller.context, &source, body.against.as_deref()).await?;
    Ok(Json(match found {
        Ok(checked) => ProgramCheck { faults: Vec::new(), checked: Some(checked_program(checked)) },
        Err(faults) => {
            let fault = |fault: rules::Invalid| ProgramFault { path: fault.path, say: fault.say };
            ProgramCheck { faults: faults.into_iter().map(fault).collect(), checked: None }
        }
    }))
}

fn checked_program(checked: Checked) -> CheckedProgram {
    CheckedProgram {
        version: checked.version.to_string(),
        canonical_json: checked.canonical,
        summary: checked.program.summary(),
        phases: phase_views(&checked.program),
        changes: changes(checked.changes),
    }
}

/// Puts a version on sale under a slug, in place of the one that was. Accounts keep the version that they were bought
/// with. Doing it twice changes nothing; refused with `program_changed` if another version than `started_from` is on sale.
#[utoipa::path(put, path = "/v1/programs/{slug}", tag = "programs", params(("slug" = String, Path)),
    request_body = NewPublication, responses(
    (status = 200, body = Program), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 409, response = ProblemBody), (status = 413, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn publish_program(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(slug): Path<String>,
    Body(body): Body<NewPublication>,
) -> Result<Json<Program>, Problem> {
    caller.demand(Permission::EditPrograms)?;
    let currency = Currency::parse(&body.fee_currency).map_err(|error| {
        AppError::field("/fee_currency", format!("This is no price's currency: {error}."))
    })?;
    let fee = Money::parse(&body.fee, currency)
        .map_err(|error| AppError::field("/fee", format!("This is {error}.")))?;
    let source = source(body.program, body.toml)?;
    let priced = (fee, body.place);
    let started_from = body.started_from.as_deref();
    let offer = web.catalogue.publish(&caller.context, slug, &source, priced, started_from).await?;
    Ok(Json(render(&offer)))
}

/// Every version that was ever on sale under a slug, the newest first.
#[utoipa::path(get, path = "/v1/programs/{slug}/versions", tag = "programs", params(("slug" = String, Path)), responses(
    (status = 200, body = Items<PublishedVersion>), (status = 404, response = ProblemBody)))]
async fn program_versions(
    State(web): State<Web>,
    caller: Caller,
    Path(slug): Path<String>,
) -> Result<Json<Items<PublishedVersion>>, Problem> {
    let published = web.catalogue.publications(caller.context.firm, &slug).await?;
    let render = |published: app::catalogue::Published| PublishedVersion {
        version: published.version.to_string(),
        name: published.name,
        fee: published.fee.amount_text(),
        fee_currency: published.fee.currency().code(),
        at: time(published.at),
    };
    Ok(Json(Items { items: published.into_iter().map(render).collect() }))
}

/// A version that is or was on sale, for good.
#[utoipa::path(get, path = "/v1/programs/versions/{hash}", tag = "programs", params(("hash" = String, Path)), responses(
    (status = 200, body = KeptVersion), (status = 404, response = ProblemBody)))]
async fn program_version(
    State(web): State<Web>,
    caller: Caller,
    Path(hash): Path<String>,
) -> Result<Json<KeptVersion>, Problem> {
    let Kept { version, text, program, first_at } = web.catalogue.version(caller.context.firm, &hash).await?;
    Ok(Json(KeptVersion {
        version: version.to_string(),
        name: program.name.clone(),
        canonical_json: text,
        summary: program.summary(),
        phases: phase_views(&program),
        first_at: time(first_at),
    }))
}

/// What distinguishes two versions that are or were on sale under a slug, in sentences.
#[utoipa::path(get, path = "/v1/programs/{slug}/difference", tag = "programs",
    params(("slug" = String, Path), TwoVersions), responses(
    (status = 200, body = Items<ProgramChange>), (status = 404, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn program_difference(
    State(web): State<Web>,
    caller: Caller,
    Path(slug): Path<String>,
    Query(TwoVersions { from, to }): Query<TwoVersions>,
) -> Result<Json<Items<ProgramChange>>, Problem> {
    let found = web.catalogue.difference(caller.context.firm, &slug, &from, &to).await?;
    Ok(Json(Items { items: changes(found) }))
}

/// The JSON Schema and its entity tag. It changes with this program only.
static SCHEMA: LazyLock<(String, String)> = LazyLock::new(|| {
    let text = format!("{:#}\n", rules::Program::schema());
    let tag = format!("\"{}\"", hex::encode(Sha256::digest(&text)));
    (text, tag)
});

/// The JSON Schema of programs, for editors.
#[utoipa::path(get, path = "/v1/schemas/program", tag = "programs",
    params(("If-None-Match" = Option<String>, Header, description = "The ETag of an answer before")), responses(
    (status = 200, body = serde_json::Value, content_type = "application/schema+json"),
    (status = 304, description = "It has not changed")))]
async fn program_schema(headers: HeaderMap) -> Response {
    let (text, tag) = &*SCHEMA;
    let caching = [(header::ETAG, tag.as_str()), (header::CACHE_CONTROL, "public, max-age=300")];
    let known = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let mut known = known.flat_map(|value| value.split(',')).map(str::trim);
    // A compressed answer carries a weak tag.
    if known.any(|known| known == "*" || known.strip_prefix("W/").unwrap_or(known) == tag.as_str()) {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(header::CONTENT_TYPE, "application/schema+json")], text.as_str()).into_response()
}
