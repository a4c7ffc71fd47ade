//! Comparing the books: runs, and what differs.

use std::sync::Arc;

use app::csv::{self, Cell};
use app::reconciliation::{
    DifferenceId, DifferenceState, Kept, Remedy as RemedyOf, Run, RunId, Subject as SubjectOf, Wanted,
};
use app::{AppError, Permission};
use axum::Json;
use axum::extract::State;
use axum::response::Response;
use futures_util::stream;
use http::StatusCode;
use kernel::{EntryId, PersonId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::finance::{logged, table};
use super::text::time;
use super::{Cursor, PAGE, Page};
use crate::Web;
use crate::extract::{Body, Path, Query, SignedIn};
use crate::problem::{Problem, ProblemBody};

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(runs, start))
        .routes(routes!(differences))
        .routes(routes!(differences_csv))
        .routes(routes!(assign))
        .routes(routes!(resolve))
}

/// A comparison.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReconciliationRun {
    /// Its id.
    id: String,
    /// With what the books are compared: a provider, or `own` for our own records and the balances of trading accounts.
    with: &'static str,
    /// `reading`, `comparing` or `done`.
    state: &'static str,
    /// From when on.
    from: String,
    /// Until when: what is younger may not be in the other books yet.
    until: String,
    /// Lines of the other books that were new.
    lines: i64,
    /// Names that were compared.
    compared: i64,
    /// Entries that were posted from the other books.
    posted: i64,
    /// Differences that there are.
    found: i64,
    /// Differences that are no longer.
    vanished: i64,
    /// Who asked for it; nobody if it was time.
    #[schema(required)]
    started_by: Option<String>,
    /// When it began.
    started_at: String,
    /// When it moved last.
    moved_at: String,
    /// When it was over.
    #[schema(required)]
    ended_at: Option<String>,
}

fn render_run(run: &Run) -> ReconciliationRun {
    ReconciliationRun {
        id: run.id.to_string(),
        with: run.subject.word(),
        state: run.state.word(),
        from: time(run.from),
        until: time(run.until),
        lines: run.counts.lines,
        compared: run.counts.compared,
        posted: run.counts.posted,
        found: run.counts.found,
        vanished: run.counts.vanished,
        started_by: run.started_by.map(|person| person.to_string()),
        started_at: time(run.started_at),
        moved_at: time(run.moved_at),
        ended_at: run.ended_at.map(time),
    }
}

/// A comparison to begin.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewReconciliation {
    /// With what: `stripe`, `paypal` or `own`.
    with: String,
}

fn subject(word: &str, pointer: &str) -> Result<SubjectOf, AppError> {
    SubjectOf::parse(word).ok_or_else(|| AppError::field(pointer, "Use stripe, paypal or own."))
}

fn named<T: std::str::FromStr>(text: Option<&str>, pointer: &str) -> Result<Option<T>, AppError> {
    let read = |text: &str| text.parse().map_err(|_| AppError::field(pointer, "This is no id."));
    text.map(read).transpose()
}

/// The comparisons, the newest first.
#[utoipa::path(get, path = "/v1/reconciliation/runs", tag = "reconciliation", params(Cursor), responses(
    (status = 200, body = Page<ReconciliationRun>), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn runs(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Query(Cursor { cursor }): Query<Cursor>,
) -> Result<Json<Page<ReconciliationRun>>, Problem> {
    caller.demand(Permission::ReadBusiness)?;
    let after: Option<RunId> = named(cursor.as_deref(), "/cursor")?;
    let runs = web.reconciliation.runs(&caller.context, after, PAGE).await?;
    let full = i64::try_from(runs.len()).is_ok_and(|count| count >= PAGE);
    let next_cursor = runs.last().filter(|_| full).map(|run| run.id.to_string());
    Ok(Json(Page { items: runs.iter().map(render_run).collect(), next_cursor }))
}

/// Begins a comparison, or gives the one that is under way. It goes on by itself.
#[utoipa::path(post, path = "/v1/reconciliation/runs", tag = "reconciliation", request_body = NewReconciliation, responses(
    (status = 202, body = ReconciliationRun), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn start(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Body(body): Body<NewReconciliation>,
) -> Result<(StatusCode, Json<ReconciliationRun>), Problem> {
    caller.demand(Permission::ManageMoney)?;
    let run = web.reconciliation.start(&caller.context, subject(&body.with, "/with")?).await?;
    Ok((StatusCode::ACCEPTED, Json(render_run(&run))))
}

/// Where two books differ.
#[derive(Debug, Serialize, ToSchema)]
pub struct ReconciliationDifference {
    /// Its id: the same difference has the same one, however often it is found.
    id: String,
    /// With what the books were compared.
    with: &'static str,
    /// What kind of thing, such as `payment`, `refund`, `fee`, `trading`.
    family: String,
    /// Its name, mostly the provider's.
    name: String,
    /// `not_in_ledger`, `not_with_provider`, `amount`, `fee`, `without_entry`, `without_event`, `balance` or `fills`.
    kind: &'static str,
    /// The currency.
    currency: &'static str,
    /// What we have; nothing if we have no such thing.
    #[schema(required)]
    ours: Option<String>,
    /// What the other side has.
    #[schema(required)]
    theirs: Option<String>,
    /// What of ours it is about, such as `purchase:0198...`.
    #[schema(required)]
    about: Option<String>,
    /// `open`, `assigned`, `resolved`, or `vanished` when the books agree by now.
    state: &'static str,
    /// Who has it in hand.
    #[schema(required)]
    owner: Option<String>,
    /// Why it is none.
    #[schema(required)]
    resolution: Option<String>,
    /// Who said so.
    #[schema(required)]
    resolved_by: Option<String>,
    /// When it was resolved or vanished.
    #[schema(required)]
    resolved_at: Option<String>,
    /// The ledger's entry that was posted for it.
    #[schema(required)]
    posting: Option<String>,
    /// When it was found first.
    first_seen_at: String,
    /// When it was found last.
    last_seen_at: String,
    /// The run that looked at it last.
    run: String,
}

fn render(kept: Kept) -> ReconciliationDifference {
    let found = kept.found;
    let currency = found.difference.currency;
    let amount = |count: Option<i64>| count.map(|count| found.unit.text(count, currency));
    ReconciliationDifference {
        id: kept.id.to_string(),
        with: kept.subject.word(),
        ours: amount(found.ours),
        theirs: amount(found.theirs),
        family: found.difference.family,
        name: found.difference.name,
        kind: found.difference.kind.word(),
        currency: currency.code(),
        about: found.about,
        state: kept.state.word(),
        owner: kept.owner.map(|owner| owner.to_string()),
        resolution: kept.resolution,
        resolved_by: kept.resolved_by.map(|by| by.to_string()),
        resolved_at: kept.resolved_at.map(time),
        posting: kept.posting.map(|posting| posting.to_string()),
        first_seen_at: time(kept.first_seen_at),
        last_seen_at: time(kept.last_seen_at),
        run: kept.last_run.to_string(),
    }
}

/// Which differences.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct DifferencesWanted {
    /// Of the comparison with `stripe`, `paypal` or `own`.
    with: Option<String>,
    /// `open`, `assigned`, `resolved` or `vanished`.
    state: Option<String>,
    /// In this person's hand.
    #[param(value_type = Option<String>)]
    owner: Option<PersonId>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

impl DifferencesWanted {
    fn read(&self) -> Result<Wanted, AppError> {
        let state = |word: &str| {
            let found = DifferenceState::ALL.into_iter().find(|state| state.word() == word);
            found.ok_or_else(|| AppError::field("/state", "Use open, assigned, resolved or vanished."))
        };
        Ok(Wanted {
            subject: self.with.as_deref().map(|word| subject(word, "/with")).transpose()?,
            state: self.state.as_deref().map(state).transpose()?,
            owner: self.owner,
            after: named(self.cursor.as_deref(), "/cursor")?,
        })
    }
}

/// Differences, those found last first.
#[utoipa::path(get, path = "/v1/reconciliation/differences", tag = "reconciliation", params(DifferencesWanted), responses(
    (status = 200, body = Page<ReconciliationDifference>), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn differences(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Query(wanted): Query<DifferencesWanted>,
) -> Result<Json<Page<ReconciliationDifference>>, Problem> {
    caller.demand(Permission::ReadBusiness)?;
    let found = web.reconciliation.differences(&caller.context, &wanted.read()?, PAGE).await?;
    let full = i64::try_from(found.len()).is_ok_and(|count| count >= PAGE);
    let next_cursor = found.last().filter(|_| full).map(|kept| kept.id.to_string());
    Ok(Json(Page { items: found.into_iter().map(render).collect(), next_cursor }))
}

const COLUMNS: [&str; 18] = [
    "id",
    "with",
    "family",
    "name",
    "kind",
    "currency",
    "ours",
    "theirs",
    "about",
    "state",
    "owner",
    "resolution",
    "resolved_by",
    "resolved_at",
    "posting",
    "first_seen_at",
    "last_seen_at",
    "run",
];

fn line(kept: Kept) -> String {
    let row = render(kept);
    csv::line(&[
        Cell::text(row.id),
        Cell::text(row.with),
        Cell::text(row.family),
        Cell::text(row.name),
        Cell::text(row.kind),
        Cell::text(row.currency),
        Cell::number(row.ours.unwrap_or_default()),
        Cell::number(row.theirs.unwrap_or_default()),
        Cell::some(row.about),
        Cell::text(row.state),
        Cell::some(row.owner),
        Cell::some(row.resolution),
        Cell::some(row.resolved_by),
        Cell::some(row.resolved_at),
        Cell::some(row.posting),
        Cell::text(row.first_seen_at),
        Cell::text(row.last_seen_at),
        Cell::text(row.run),
    ])
}

/// All of them as a table, with the fields of the list as its columns.
#[utoipa::path(get, path = "/v1/reconciliation/differences/csv", tag = "reconciliation", params(DifferencesWanted), responses(
    (status = 200, description = "The table", content_type = "text/csv", body = String),
    (status = 401, response = ProblemBody), (status = 403, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn differences_csv(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Query(wanted): Query<DifferencesWanted>,
) -> Result<Response, Problem> {
    caller.demand(Permission::ReadBusiness)?;
    let wanted = wanted.read()?;
    let parts = stream::try_unfold((Some(wanted), true), move |(wanted, first)| {
        let (reconciliation, context) = (Arc::clone(&web.reconciliation), caller.context.clone());
        async move {
            if first {
                return Ok(Some((csv::head(&COLUMNS), (wanted, false))));
            }
            let Some(wanted) = wanted else { return Ok(None) };
            let found = reconciliation.differences(&context, &wanted, PAGE).await.map_err(logged)?;
            let full = i64::try_from(found.len()).is_ok_and(|count| count >= PAGE);
            let after = found.last().filter(|_| full).map(|kept| kept.id);
            let next = after.map(|after| Wanted { after: Some(after), ..wanted });
            Ok::<_, AppError>(Some((found.into_iter().map(line).collect::<String>(), (next, false))))
        }
    });
    Ok(table("differences", parts))
}

/// Who is to look at a difference.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Assignment {
    /// Somebody of the firm; nobody if null.
    #[schema(value_type = Option<String>)]
    owner: Option<PersonId>,
}

/// Gives a difference to somebody, or to nobody. One that is resolved or has vanished is refused with `conflict`.
#[utoipa::path(post, path = "/v1/reconciliation/differences/{id}/assign", tag = "reconciliation",
    params(("id" = String, Path)), request_body = Assignment, responses((status = 200, body = ReconciliationDifference),
    (status = 401, response = ProblemBody), (status = 403, response = ProblemBody), (status = 404, response = ProblemBody),
    (status = 409, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn assign(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<DifferenceId>,
    Body(body): Body<Assignment>,
) -> Result<Json<ReconciliationDifference>, Problem> {
    caller.demand(Permission::ManageMoney)?;
    Ok(Json(render(web.reconciliation.assign(&caller.context, id, body.owner).await?)))
}

/// What is done about a difference.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Remedy {
    /// Nothing is posted.
    Accept,
    /// What our books lack is posted against the account of what nobody has explained.
    PostDifference,
    /// The ledger's entry that is named is taken back.
    ReverseEntry,
}

/// Why a difference is none.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ResolutionOf {
    /// Why, in 1 to 500 characters; it goes into the audit log.
    reason: String,
    /// What is done.
    remedy: Remedy,
    /// The entry that is taken back, if one is.
    #[schema(value_type = Option<String>)]
    entry: Option<EntryId>,
}

/// Resolves a difference, once. It is found again only if its amounts change.
#[utoipa::path(post, path = "/v1/reconciliation/differences/{id}/resolve", tag = "reconciliation",
    params(("id" = String, Path)), request_body = ResolutionOf, responses((status = 200, body = ReconciliationDifference),
    (status = 401, response = ProblemBody), (status = 403, response = ProblemBody), (status = 404, response = ProblemBody),
    (status = 409, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn resolve(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<DifferenceId>,
    Body(body): Body<ResolutionOf>,
) -> Result<Json<ReconciliationDifference>, Problem> {
    caller.demand(Permission::ManageMoney)?;
    let remedy = match (body.remedy, body.entry) {
        (Remedy::Accept, None) => RemedyOf::Accept,
        (Remedy::PostDifference, None) => RemedyOf::PostDifference,
        (Remedy::ReverseEntry, Some(entry)) => RemedyOf::Reverse(entry),
        _ => return Err(AppError::field("/entry", "Name an entry to take it back, and only then.").into()),
    };
    Ok(Json(render(web.reconciliation.resolve(&caller.context, id, &body.reason, remedy).await?)))
}
