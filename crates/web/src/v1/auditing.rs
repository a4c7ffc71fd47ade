//! The audit log: its entries for the firm's auditors; checkpoints, keys and proofs of consistency for everybody.

use std::sync::Arc;

use app::auditing::{
    self, AuditStore, Cosignature as StoredCosignature, Exporter, Leaf, LogRow, Search, StoredCheckpoint,
    Wanted, source_word,
};
use app::trading::{AuditEntry, Digests};
use app::{AppError, Permission};
use audit::note::{Note, NoteKey, NoteSignature, Signs};
use audit::proof::Proof;
use axum::Json;
use axum::body::Body as ResponseBody;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{StatusCode, header};
use kernel::{AccountId, PersonId, RequestId, Timestamp};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::accounts::visible;
use super::text::time;
use super::{Items, PAGE, Page};
use crate::Web;
use crate::extract::{Body, Caller, Path, Query, SignedIn};
use crate::problem::{Problem, ProblemBody};

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(newest))
        .routes(routes!(checkpoint))
        .routes(routes!(cosign))
        .routes(routes!(consistency))
        .routes(routes!(entries))
        .routes(routes!(entry))
        .routes(routes!(export))
        .routes(routes!(audit_keys))
        .routes(routes!(receipt_proof))
}

/// What was signed for the log at one size.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditCheckpoint {
    /// How many entries the log had.
    size: u64,
    /// When it was signed.
    at: String,
    /// The root of their tree, in base64.
    root: String,
    /// The signed note, letter by letter, with the lines of those who have cosigned it: C2SP `tlog-checkpoint`.
    note: String,
    /// The keys of those who have cosigned it.
    witnesses: Vec<String>,
}

/// One of the log's keys.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditKey {
    /// Its place among them, from 1.
    number: u32,
    /// The key, as C2SP `signed-note` writes it.
    key: String,
    /// The size of the log at which it took over.
    after_size: u64,
    /// What the key before has signed of it; nothing of the first.
    #[schema(required)]
    statement: Option<String>,
}

/// A proof that the log continues what it was.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditConsistency {
    /// The size before.
    from: u64,
    /// The size after.
    to: u64,
    /// The hashes of RFC 9162, section 2.1.4, in base64.
    proof: Vec<String>,
    /// The checkpoint of the size after.
    checkpoint: AuditCheckpoint,
}

/// An entry of the log.
#[derive(Debug, Serialize, ToSchema)]
pub struct AuditLogEntry {
    /// Its place in the log.
    index: u64,
    /// The kind of row it is: act, command or verdict.
    source: &'static str,
    /// The row.
    id: String,
    /// When it happened.
    at: String,
    /// Who; nobody for the platform itself.
    #[schema(required)]
    actor: Option<String>,
    /// The request it came with.
    #[schema(required)]
    request_id: Option<String>,
    /// What, such as `command.place`.
    action: String,
    /// What for, where a reason is asked; else empty.
    purpose: String,
    /// To what.
    object_kind: String,
    /// To which.
    object: String,
    /// What exactly: the text that is hashed.
    detail: String,
    /// SHA-256 of the state before, in hexadecimal.
    #[schema(required)]
    before: Option<String>,
    /// SHA-256 of the state after, in hexadecimal.
    #[schema(required)]
    after: Option<String>,
    /// The hash under which it stands in the tree, in base64.
    hash: String,
}

/// An entry with the proof that it is in the log.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProvenEntry {
    /// The entry.
    entry: AuditLogEntry,
    /// Its bytes, in hexadecimal: what is hashed.
    bytes: String,
    /// C2SP `tlog-proof`: its place, the hashes beside its way to the root, the signed checkpoint. Nothing until a checkpoint
    /// covers it, moments after it was written.
    #[schema(required)]
    proof: Option<String>,
}

/// Which entries.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct EntriesWanted {
    /// An action, such as `command.place`, or the beginning of several with its point, such as `command.`.
    action: Option<String>,
    /// A kind of object, such as `account`.
    object_kind: Option<String>,
    /// An object.
    object: Option<String>,
    /// Who.
    #[param(value_type = Option<String>)]
    actor: Option<PersonId>,
    /// The request that it came with, as answers carry it in `X-Request-Id`.
    #[param(value_type = Option<String>)]
    request: Option<RequestId>,
    /// From this instant on.
    since: Option<String>,
    /// Before this instant.
    until: Option<String>,
    /// `next_cursor` of the page before. A page may be short or empty and still have a next one.
    cursor: Option<String>,
}

/// Which sizes.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Sizes {
    /// The size before.
    from: u64,
    /// The size after, of which there is a checkpoint; the newest if not said.
    to: Option<u64>,
}

/// Which part.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct Part {
    /// From this entry on; the log's first if not said.
    from: Option<u64>,
    /// Up to and with this entry; up to the newest checkpoint if not said.
    to: Option<u64>,
    /// The size of a checkpoint that the reader trusts: the file shows then that the log continues it.
    trusted: Option<u64>,
}

/// What somebody else has signed.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCosignature {
    /// The witness's key (C2SP `signed-note`, type 4).
    key: String,
    /// The line below the checkpoint: C2SP `tlog-cosignature`, version 1.
    line: String,
}

async fn render_checkpoint(web: &Web, stored: StoredCheckpoint) -> Result<AuditCheckpoint, Problem> {
    let cosignatures = web.store.cosignatures(stored.size).await?;
    let mut note = stored.note;
    let mut witnesses = Vec::new();
    for cosignature in cosignatures {
        note.push_str(&cosignature.line);
        note.push('\n');
        witnesses.push(cosignature.witness);
    }
    Ok(AuditCheckpoint {
        size: stored.size,
        at: time(stored.at),
        root: stored.root.base64(),
        note,
        witnesses,
    })
}

async fn checkpoint_of(web: &Web, size: u64) -> Result<StoredCheckpoint, Problem> {
    let found = web.store.checkpoints(size, 1).await?.into_iter().next();
    let found = found.filter(|found| found.size == size);
    Ok(found.ok_or(AppError::NotFound("checkpoint"))?)
}

async fn newest_checkpoint(web: &Web) -> Result<StoredCheckpoint, Problem> {
    Ok(web.store.newest_checkpoint().await?.ok_or(AppError::NotFound("checkpoint"))?)
}

/// The newest checkpoint of the audit log. Keep it: whatever is shown later has to continue it.
#[utoipa::path(get, path = "/v1/audit/checkpoint", tag = "audit", responses((status = 200, body = AuditCheckpoint),
    (status = 404, response = ProblemBody)))]
async fn newest(State(web): State<Web>) -> Result<Json<AuditCheckpoint>, Problem> {
    let newest = newest_checkpoint(&web).await?;
    Ok(Json(render_checkpoint(&web, newest).await?))
}

/// The checkpoint of one size.
#[utoipa::path(get, path = "/v1/audit/checkpoints/{size}", tag = "audit", params(("size" = u64, Path)), responses(
    (status = 200, body = AuditCheckpoint), (status = 404, response = ProblemBody)))]
async fn checkpoint(State(web): State<Web>, Path(size): Path<u64>) -> Result<Json<AuditCheckpoint>, Problem> {
    let found = checkpoint_of(&web, size).await?;
    Ok(Json(render_checkpoint(&web, found).await?))
}

/// Keeps what a witness has signed, beside the checkpoint. Whom to trust everybody decides for themselves.
#[utoipa::path(post, path = "/v1/audit/checkpoints/{size}/cosignatures", tag = "audit", params(("size" = u64, Path)),
    request_body = NewCosignature, responses((status = 204, description = "It is kept"), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 404, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn cosign(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(size): Path<u64>,
    Body(body): Body<NewCosignature>,
) -> Result<StatusCode, Problem> {
    caller.demand(Permission::ReadAudit)?;
    let stored = checkpoint_of(&web, size).await?;
    let key = NoteKey::parse(&body.key).ok().filter(|key| key.signs() == Signs::Witnessed);
    let key = key.ok_or_else(|| AppError::field("/key", "This is no key of a witness."))?;
    let forged = || AppError::field("/line", "This is no signature of that key below this checkpoint.");
    let line = NoteSignature::parse(&body.line).ok_or_else(forged)?;
    let mut note = Note::parse(&stored.note).map_err(|_| forged())?;
    let written = line.to_string();
    note.add(line);
    if !note.signed_by(&key).is_ok_and(|signed| signed.is_some()) {
        return Err(forged().into());
    }
    let (witness, at) = (key.to_string(), web.clock.now());
    record(
        &web,
        &caller,
        "audit.cosign",
        "checkpoint",
        &size.to_string(),
        serde_json::json!({ "witness": witness }),
    )
    .await?;
    let kept = StoredCosignature { size, witness, at, line: written };
    web.store.keep_cosignature(caller.context.firm, &kept).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Proves that the log is the continuation of what it was.
#[utoipa::path(get, path = "/v1/audit/consistency", tag = "audit", params(Sizes), responses(
    (status = 200, body = AuditConsistency), (status = 404, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn consistency(
    State(web): State<Web>,
    Query(Sizes { from, to }): Query<Sizes>,
) -> Result<Json<AuditConsistency>, Problem> {
    let stored = match to {
        Some(to) => checkpoint_of(&web, to).await?,
        None => newest_checkpoint(&web).await?,
    };
    let to = stored.size;
    let proof = auditing::prove_consistency(&*web.store, from, to).await.map_err(AppError::from)?;
    let shorter =
        || AppError::field("/from", format!("A log of {to} entries does not continue one of {from}."));
    let proof = proof.ok_or_else(shorter)?.iter().map(audit::tree::Hash::base64).collect();
    Ok(Json(AuditConsistency { from, to, proof, checkpoint: render_checkpoint(&web, stored).await? }))
}

/// The firm's entries, the newest first.
#[utoipa::path(get, path = "/v1/audit/entries", tag = "audit", params(EntriesWanted), responses(
    (status = 200, body = Page<AuditLogEntry>), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 422, response = ProblemBody)))]
async fn entries(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Query(wanted): Query<EntriesWanted>,
) -> Result<Json<Page<AuditLogEntry>>, Problem> {
    caller.demand(Permission::ReadAudit)?;
    let instant = |field: &str, text: Option<String>| {
        let parse = |text: String| {
            Timestamp::parse(&text)
                .map_err(|_| AppError::field(field, "Give an instant as RFC 3339 writes it."))
        };
        text.map(parse).transpose()
    };
    let cursor = |text: String| {
        text.parse()
            .map_err(|_| AppError::field("/cursor", "Give the cursor that the page before came with."))
    };
    let search = Search {
        below: wanted.cursor.map(cursor).transpose()?,
        action: wanted.action,
        object_kind: wanted.object_kind,
        object: wanted.object,
        actor: wanted.actor,
        request: wanted.request,
        since: instant("/since", wanted.since)?,
        until: instant("/until", wanted.until)?,
    };
    let most = usize::try_from(PAGE).unwrap_or(usize::MAX);
    let found = web.store.search_log(caller.context.firm, &search, most).await?;
    let items = found.entries.into_iter().map(|(leaf, row)| render_entry(&leaf, row)).collect();
    Ok(Json(Page {
        items,
        next_cursor: found.below.filter(|below| *below > 0).map(|below| below.to_string()),
    }))
}

/// One entry of the firm's with the proof that it is in the log.
#[utoipa::path(get, path = "/v1/audit/entries/{index}", tag = "audit", params(("index" = u64, Path)), responses(
    (status = 200, body = ProvenEntry), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 404, response = ProblemBody)))]
async fn entry(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(index): Path<u64>,
) -> Result<Json<ProvenEntry>, Problem> {
    caller.demand(Permission::ReadAudit)?;
    let found = web.store.log_entry(caller.context.firm, index).await?;
    let (leaf, row) = found.ok_or(AppError::NotFound("entry"))?;
    Ok(Json(prove(&web, leaf, row).await?))
}

/// The firm's entries as one file that `tradesense audit verify --export` checks without the database. Of other firms' entries
/// it holds hashes alone.
#[utoipa::path(get, path = "/v1/audit/export", tag = "audit", params(Part), responses(
    (status = 200, description = "The file: `tradesense.audit-export/1`"),
    (status = 401, response = ProblemBody), (status = 403, response = ProblemBody), (status = 404, response = ProblemBody),
    (status = 422, response = ProblemBody)))]
async fn export(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Query(Part { from, to, trusted }): Query<Part>,
) -> Result<Response, Problem> {
    caller.demand(Permission::ReadAudit)?;
    let end = to.map(|to| to.saturating_add(1));
    let firm = Some(caller.context.firm);
    let wanted = Wanted { first: from.unwrap_or(0), end, firm, trusted };
    let store: Arc<dyn AuditStore> = web.store.clone();
    let exporter = Exporter::new(store, wanted).await.map_err(AppError::from)?;
    let header = exporter.header();
    let (first, end) = (header.first, header.end);
    let detail = serde_json::json!({ "first": first, "end": end });
    record(&web, &caller, "audit.export", "audit_log", "", detail).await?;
    let parts = futures_util::stream::try_unfold(exporter, |mut exporter| async move {
        let part = exporter.next().await.inspect_err(|error| {
            let error: &dyn std::error::Error = error;
            tracing::error!(error, "an export of the audit log is cut off");
        })?;
        Ok::<_, auditing::LogError>(part.map(|part| (part, exporter)))
    });
    let name = format!("attachment; filename=\"audit-{first}-{end}.tsaudit\"");
    let headers =
        [(header::CONTENT_TYPE, "application/octet-stream".to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, ResponseBody::from_stream(parts)).into_response())
}

/// The keys of the audit log. Keep the first: a proof proves something only with a key that did not come with it.
#[utoipa::path(get, path = "/v1/audit/keys", tag = "audit", responses((status = 200, body = Items<AuditKey>)))]
async fn audit_keys(State(web): State<Web>) -> Result<Json<Items<AuditKey>>, Problem> {
    let keys = web.store.log_keys().await?.into_iter().map(|key| AuditKey {
        number: key.number,
        key: key.key,
        after_size: key.after_size,
        statement: key.statement,
    });
    Ok(Json(Items { items: keys.collect() }))
}

/// The proof that a receipt's verdict is in the audit log: `tradesense receipt verify FILE --proof PROOF --audit-key KEY`.
#[utoipa::path(get, path = "/v1/accounts/{id}/receipts/{number}/proof", tag = "accounts",
    params(("id" = String, Path), ("number" = u32, Path)), responses((status = 200, body = ProvenEntry),
    (status = 401, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn receipt_proof(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path((id, number)): Path<(AccountId, u32)>,
) -> Result<Json<ProvenEntry>, Problem> {
    visible(&web, &caller, id).await?;
    let found = web.store.verdict_entry(caller.context.firm, id, number).await?;
    let (leaf, row) = found.ok_or(AppError::NotFound("entry"))?;
    Ok(Json(prove(&web, leaf, row).await?))
}

async fn prove(web: &Web, leaf: Leaf, row: LogRow) -> Result<ProvenEntry, Problem> {
    let index = leaf.index;
    let mut bytes = Vec::new();
    let too_long = |error| AppError::bug("writing an entry of the audit log")(Box::new(error));
    row.encode(index, &mut bytes).map_err(too_long)?;
    let newest = web.store.newest_checkpoint().await?.filter(|newest| newest.size > index);
    let proof = match newest {
        None => None,
        Some(StoredCheckpoint { size, note: checkpoint, .. }) => {
            let path = auditing::prove_inclusion(&*web.store, index, size).await.map_err(AppError::from)?;
            path.map(|path| Proof { index, path, checkpoint }.to_string())
        }
    };
    Ok(ProvenEntry { entry: render_entry(&leaf, row), bytes: hex::encode(bytes), proof })
}

fn render_entry(leaf: &Leaf, row: LogRow) -> AuditLogEntry {
    AuditLogEntry {
        index: leaf.index,
        source: source_word(row.source),
        id: row.id(),
        at: time(row.at),
        actor: row.actor.map(|actor| actor.to_string()),
        request_id: row.request.map(|request| request.to_string()),
        action: row.action,
        purpose: row.purpose,
        object_kind: row.object_kind,
        object: row.object,
        detail: row.detail,
        before: row.before.map(|hash| hash.to_string()),
        after: row.after.map(|hash| hash.to_string()),
        hash: leaf.hash.base64(),
    }
}

/// What an auditor did with the log stands in the log.
async fn record(
    web: &Web,
    caller: &Caller,
    action: &str,
    object_kind: &'static str,
    object: &str,
    detail: serde_json::Value,
) -> Result<(), Problem> {
    let act = AuditEntry {
        firm: caller.context.firm,
        at: web.clock.now(),
        actor: Some(caller.actor()?.person),
        action: action.to_owned(),
        object_kind,
        object: object.to_owned(),
        request: Some(caller.context.request),
        purpose: String::new(),
        digests: Digests::default(),
        detail,
    };
    Ok(web.store.record_act(&act).await?)
}
