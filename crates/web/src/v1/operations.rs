//! What waits, runs and failed behind the requests, and what the firm's people do about it.

use std::fmt;

use app::events::Backlog;
use app::jobs::Failure;
use app::operations::{FailedMessage as StoredMessage, MessagePlace, Queue, StoredJob};
use app::{AppError, Permission};
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use kernel::{JobId, Timestamp};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::text::time;
use super::words::{Cancelling, JobState};
use super::{PAGE, Page, page};
use crate::Web;
use crate::extract::{Body, Path, Query, SignedIn};
use crate::problem::{Problem, ProblemBody};

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(operations))
        .routes(routes!(jobs))
        .routes(routes!(job))
        .routes(routes!(cancel_job))
        .routes(routes!(send_job_again))
        .routes(routes!(send_jobs_again))
        .routes(routes!(pause_queue))
        .routes(routes!(resume_queue))
        .routes(routes!(failed_messages))
        .routes(routes!(failed_message))
        .routes(routes!(send_message_again))
        .routes(routes!(send_messages_again))
}

/// The firm's part of everything that goes on behind the requests.
#[derive(Debug, Serialize, ToSchema)]
pub struct Operations {
    /// Queues in which the firm has a job, or a pause, by name.
    queues: Vec<JobQueue>,
    /// Who takes messages, by name.
    groups: Vec<MessageGroup>,
}

/// A queue of jobs.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobQueue {
    /// Its name.
    name: String,
    /// Jobs that wait, also for their time.
    waiting: i64,
    /// Jobs that run.
    running: i64,
    /// Jobs that were given up.
    dead: i64,
    /// Since when the longest waiting job is due; nothing if none is.
    #[schema(required)]
    oldest_at: Option<String>,
    /// For how many seconds that is.
    #[schema(required)]
    oldest_seconds: Option<i64>,
    /// Whether nothing of it is begun.
    paused: bool,
}

/// A group that takes messages.
#[derive(Debug, Serialize, ToSchema)]
pub struct MessageGroup {
    /// Its name.
    name: String,
    /// Messages that it has neither taken nor given up.
    waiting: i64,
    /// When the oldest of these was written; nothing if there is none.
    #[schema(required)]
    oldest_at: Option<String>,
    /// How many seconds ago that was.
    #[schema(required)]
    oldest_seconds: Option<i64>,
    /// Messages that failed and are tried again; they are among those that wait.
    failing: i64,
    /// Messages that were given up.
    dead: i64,
}

/// A job.
#[derive(Debug, Serialize, ToSchema)]
pub struct Job {
    /// Its id.
    id: String,
    /// Its queue.
    queue: String,
    /// What is to be done, such as `mail.send`.
    kind: String,
    /// Where it stands.
    state: JobState,
    /// Lower ones go first.
    priority: i16,
    /// Not before.
    run_at: String,
    /// How often it was begun.
    attempt: i32,
    /// How many attempts may fail.
    most_attempts: i16,
    /// Whether somebody has cancelled it while it runs.
    stop: bool,
    /// When it was enqueued.
    enqueued_at: String,
    /// When it ended.
    #[schema(required)]
    ended_at: Option<String>,
    /// Why the last attempt failed; nothing if none did.
    #[schema(required)]
    last_error: Option<String>,
}

/// A job with everything that is known of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct JobDetails {
    /// The job.
    job: Job,
    /// What it is about, for whoever may operate; that they saw it is in the audit log.
    #[schema(required, value_type = Option<Object>)]
    payload: Option<Value>,
    /// Every failed attempt, the oldest first.
    errors: Vec<FailedAttempt>,
}

/// An attempt that failed.
#[derive(Debug, Serialize, ToSchema)]
pub struct FailedAttempt {
    /// Which.
    attempt: i32,
    /// When it ended.
    at: String,
    /// Why.
    error: String,
}

/// A message that a group could not take.
#[derive(Debug, Serialize, ToSchema)]
pub struct FailedMessage {
    /// The group.
    group: String,
    /// The message.
    id: i64,
    /// When it happened.
    at: String,
    /// What it is about, such as `account:0198…`.
    aggregate: String,
    /// What happened, such as `account.breached`.
    topic: String,
    /// How often it failed since it was sent, or sent again.
    attempts: i32,
    /// When it is tried again; nothing for a dead one.
    #[schema(required)]
    next_at: Option<String>,
    /// When it was given up.
    #[schema(required)]
    dead_at: Option<String>,
    /// When somebody sent it again last.
    #[schema(required)]
    sent_again_at: Option<String>,
    /// Why the last attempt failed.
    #[schema(required)]
    last_error: Option<String>,
}

/// A message that a group could not take, with everything that is known of it.
#[derive(Debug, Serialize, ToSchema)]
pub struct FailedMessageDetails {
    /// The message.
    message: FailedMessage,
    /// What it says, for whoever may operate; that they saw it is in the audit log.
    #[schema(required, value_type = Option<Object>)]
    payload: Option<Value>,
    /// Every failed attempt, the oldest first.
    errors: Vec<FailedAttempt>,
}

/// Which jobs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct JobsWanted {
    /// Dead ones if not said.
    #[serde(default)]
    #[param(inline)]
    state: JobState,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Which messages.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct MessagesWanted {
    /// Those of one group; of every group if not said.
    group: Option<String>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Which dead jobs to send again.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct DeadJobs {
    /// Those of this kind.
    kind: String,
}

/// What was sent again.
#[derive(Debug, Serialize, ToSchema)]
pub struct SentAgain {
    /// How many. The oldest go first, so many at a time; ask again for the rest.
    sent: u64,
}

/// What became of a wish to cancel.
#[derive(Debug, Serialize, ToSchema)]
pub struct CancelledJob {
    /// Whether it is over already.
    outcome: Cancelling,
}

/// Queues and groups with what waits, failed and was given up in them.
#[utoipa::path(get, path = "/v1/operations", tag = "operations", responses((status = 200, body = Operations),
    (status = 401, response = ProblemBody), (status = 403, response = ProblemBody)))]
async fn operations(State(web): State<Web>, SignedIn(caller): SignedIn) -> Result<Json<Operations>, Problem> {
    let queues = web.operations.queues(&caller.context).await?;
    let groups = web.operations.groups(&caller.context).await?;
    let now = web.clock.now();
    Ok(Json(Operations {
        queues: queues.into_iter().map(|queue| render_queue(queue, now)).collect(),
        groups: groups.into_iter().map(|group| render_group(group, now)).collect(),
    }))
}

/// Jobs in one state, the newest first.
#[utoipa::path(get, path = "/v1/operations/jobs", tag = "operations", params(JobsWanted), responses(
    (status = 200, body = Page<Job>), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 422, response = ProblemBody)))]
async fn jobs(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Query(wanted): Query<JobsWanted>,
) -> Result<Json<Page<Job>>, Problem> {
    caller.demand(Permission::ReadOperations)?;
    let below = wanted.cursor.as_deref().map(read_number).transpose()?;
    let found = web.operations.jobs(&caller.context, wanted.state.into(), below, MORE_THAN_A_PAGE).await?;
    let (found, next_cursor) = page(found, |job| job.number.to_string());
    Ok(Json(Page { items: found.into_iter().map(|job| render_job(job).job).collect(), next_cursor }))
}

/// One job with its payload and every error.
#[utoipa::path(get, path = "/v1/operations/jobs/{id}", tag = "operations", params(("id" = String, Path)), responses(
    (status = 200, body = JobDetails), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 404, response = ProblemBody)))]
async fn job(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<JobId>,
) -> Result<Json<JobDetails>, Problem> {
    Ok(Json(render_job(web.operations.job(&caller.context, id).await?)))
}

/// Cancels a job that waits, or asks the worker of one that runs to stop it.
#[utoipa::path(post, path = "/v1/operations/jobs/{id}/cancel", tag = "operations", params(("id" = String, Path)),
    responses((status = 200, body = CancelledJob), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 404, response = ProblemBody), (status = 409, response = ProblemBody)))]
async fn cancel_job(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<JobId>,
) -> Result<Json<CancelledJob>, Problem> {
    let outcome = match web.operations.cancel(&caller.context, id).await? {
        app::operations::Cancelling::Asked => Cancelling::Asked,
        // One that was over is refused by the use case.
        app::operations::Cancelling::Cancelled | app::operations::Cancelling::Over(_) => {
            Cancelling::Cancelled
        }
    };
    Ok(Json(CancelledJob { outcome }))
}

/// Sends a dead job again, with all its attempts.
#[utoipa::path(post, path = "/v1/operations/jobs/{id}/send-again", tag = "operations", params(("id" = String, Path)),
    responses((status = 204, description = "It waits again"), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 404, response = ProblemBody), (status = 409, response = ProblemBody)))]
async fn send_job_again(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<JobId>,
) -> Result<StatusCode, Problem> {
    web.operations.redrive(&caller.context, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Sends the dead jobs of a kind again, the oldest first.
#[utoipa::path(post, path = "/v1/operations/jobs/send-again", tag = "operations", request_body = DeadJobs, responses(
    (status = 200, body = SentAgain), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 422, response = ProblemBody)))]
async fn send_jobs_again(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Body(body): Body<DeadJobs>,
) -> Result<Json<SentAgain>, Problem> {
    let sent = web.operations.redrive_kind(&caller.context, &body.kind).await?;
    Ok(Json(SentAgain { sent }))
}

/// Begins none of the firm's jobs of a queue any longer; what runs goes on. Doing it twice is doing it once.
#[utoipa::path(post, path = "/v1/operations/queues/{queue}/pause", tag = "operations", params(("queue" = String, Path)),
    responses((status = 204, description = "Nothing of it is begun"), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn pause_queue(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(queue): Path<String>,
) -> Result<StatusCode, Problem> {
    web.operations.pause(&caller.context, &queue).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Begins the firm's jobs of a queue again. Doing it twice is doing it once.
#[utoipa::path(post, path = "/v1/operations/queues/{queue}/resume", tag = "operations", params(("queue" = String, Path)),
    responses((status = 204, description = "Its jobs are begun"), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn resume_queue(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(queue): Path<String>,
) -> Result<StatusCode, Problem> {
    web.operations.resume(&caller.context, &queue).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Messages that failed, and those that were given up, the newest first.
#[utoipa::path(get, path = "/v1/operations/messages", tag = "operations", params(MessagesWanted), responses(
    (status = 200, body = Page<FailedMessage>), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn failed_messages(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Query(wanted): Query<MessagesWanted>,
) -> Result<Json<Page<FailedMessage>>, Problem> {
    caller.demand(Permission::ReadOperations)?;
    let after = wanted.cursor.as_deref().map(read_place).transpose()?;
    let group = wanted.group.as_deref();
    let found =
        web.operations.failed_messages(&caller.context, group, after.as_ref(), MORE_THAN_A_PAGE).await?;
    let (found, next_cursor) = page(found, |message| format!("{}.{}", message.id, message.group));
    let items = found.into_iter().map(|message| render_message(message).message).collect();
    Ok(Json(Page { items, next_cursor }))
}

/// One message that failed with its payload and every error.
#[utoipa::path(get, path = "/v1/operations/messages/{group}/{id}", tag = "operations",
    params(("group" = String, Path), ("id" = i64, Path)), responses((status = 200, body = FailedMessageDetails),
    (status = 401, response = ProblemBody), (status = 403, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn failed_message(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path((group, id)): Path<(String, i64)>,
) -> Result<Json<FailedMessageDetails>, Problem> {
    Ok(Json(render_message(web.operations.failed_message(&caller.context, &group, id).await?)))
}

/// Lets a group try a dead message again, with all its attempts.
#[utoipa::path(post, path = "/v1/operations/messages/{group}/{id}/send-again", tag = "operations",
    params(("group" = String, Path), ("id" = i64, Path)), responses(
    (status = 204, description = "It is tried again"), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 404, response = ProblemBody), (status = 409, response = ProblemBody)))]
async fn send_message_again(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path((group, id)): Path<(String, i64)>,
) -> Result<StatusCode, Problem> {
    web.operations.send_again(&caller.context, &group, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Lets a group try its dead messages again, the oldest first.
#[utoipa::path(post, path = "/v1/operations/messages/{group}/send-again", tag = "operations",
    params(("group" = String, Path)), responses((status = 200, body = SentAgain), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody)))]
async fn send_messages_again(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(group): Path<String>,
) -> Result<Json<SentAgain>, Problem> {
    let sent = web.operations.send_group_again(&caller.context, &group).await?;
    Ok(Json(SentAgain { sent }))
}

/// One row more than a page tells whether another page follows.
const MORE_THAN_A_PAGE: i64 = PAGE + 1;

fn bad_cursor<E: fmt::Debug>(_: E) -> AppError {
    AppError::field("/cursor", "Use the next_cursor of the page before.")
}

fn read_number(cursor: &str) -> Result<i64, AppError> {
    cursor.parse().map_err(bad_cursor)
}

fn read_place(cursor: &str) -> Result<MessagePlace, AppError> {
    let (id, group) = cursor.split_once('.').ok_or(()).map_err(bad_cursor)?;
    Ok(MessagePlace { id: read_number(id)?, group: group.to_owned() })
}

/// Whole seconds from then to now; none back in time.
fn seconds_since(then: Timestamp, now: Timestamp) -> i64 {
    let micros = now.since(then).map_or(0, kernel::Span::micros).max(0);
    micros.checked_div(1_000_000).unwrap_or_default()
}

fn render_queue(queue: Queue, now: Timestamp) -> JobQueue {
    JobQueue {
        name: queue.name,
        waiting: queue.waiting,
        running: queue.running,
        dead: queue.dead,
        oldest_at: queue.oldest.map(time),
        oldest_seconds: queue.oldest.map(|oldest| seconds_since(oldest, now)),
        paused: queue.paused,
    }
}

fn render_group(group: Backlog, now: Timestamp) -> MessageGroup {
    MessageGroup {
        name: group.group,
        waiting: group.waiting,
        oldest_at: group.oldest.map(time),
        oldest_seconds: group.oldest.map(|oldest| seconds_since(oldest, now)),
        failing: group.failing,
        dead: group.dead,
    }
}

fn render_job(job: StoredJob) -> JobDetails {
    let last_error = job.errors.last().map(|failure| failure.error.clone());
    JobDetails {
        job: Job {
            id: job.id.to_string(),
            queue: job.queue,
            kind: job.kind,
            state: job.state.into(),
            priority: job.priority,
            run_at: time(job.run_at),
            attempt: job.attempt,
            most_attempts: job.most_attempts,
            stop: job.stop,
            enqueued_at: time(job.enqueued_at),
            ended_at: job.ended_at.map(time),
            last_error,
        },
        payload: job.payload,
        errors: job.errors.into_iter().map(render_failure).collect(),
    }
}

fn render_message(message: StoredMessage) -> FailedMessageDetails {
    let last_error = message.errors.last().map(|failure| failure.error.clone());
    FailedMessageDetails {
        message: FailedMessage {
            group: message.group,
            id: message.id,
            at: time(message.at),
            aggregate: message.aggregate,
            topic: message.topic,
            attempts: message.attempts,
            next_at: message.dead_at.is_none().then(|| time(message.next_at)),
            dead_at: message.dead_at.map(time),
            sent_again_at: message.sent_again_at.map(time),
            last_error,
        },
        payload: message.payload,
        errors: message.errors.into_iter().map(render_failure).collect(),
    }
}

fn render_failure(failure: Failure) -> FailedAttempt {
    FailedAttempt { attempt: failure.attempt, at: time(failure.at), error: failure.error }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_that_is_not_the_last_names_the_next() {
        let rows: Vec<i64> = (0..MORE_THAN_A_PAGE).collect();
        let last = page(rows.clone().split_off(1), i64::to_string);
        assert_eq!((last.0.len(), last.1), (100, None));
        let first = page(rows, i64::to_string);
        assert_eq!((first.0.len(), first.1.as_deref()), (100, Some("99")));
    }

    #[test]
    fn a_cursor_is_read_back_whatever_the_group_is_called() {
        let place = read_place("17.web.hooks").unwrap();
        assert_eq!((place.id, place.group.as_str()), (17, "web.hooks"));
        for wrong in ["", "17", "x.y", ".y"] {
            assert!(read_place(wrong).is_err(), "{wrong}");
        }
        assert!(read_number("seven").is_err());
    }

    #[test]
    fn nothing_waits_since_a_time_to_come() {
        let at = |text| Timestamp::parse(text).unwrap();
        let (early, late) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T00:01:30.9Z"));
        assert_eq!((seconds_since(early, late), seconds_since(late, early)), (90, 0));
    }
}
