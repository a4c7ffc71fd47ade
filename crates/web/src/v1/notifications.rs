//! What one is told, and how one wants to be told.

use app::notifications::{Bounced, Notification as NotificationOf, Preference as PreferenceOf, title};
use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Redirect, Response};
use http::{HeaderMap, StatusCode};
use kernel::NotificationId;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::text::time;
use super::words::{NotificationGroup, NotificationKind};
use super::{Cursor, Items};
use crate::Web;
use crate::extract::{Body, Caller, Path, Query, SignedIn};
use crate::problem::{Problem, ProblemBody};

/// Notifications in a page.
const PAGE: i64 = 30;

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(notifications))
        .routes(routes!(read_all))
        .routes(routes!(read))
        .routes(routes!(preferences, set_preferences))
        .routes(routes!(unsubscribe_page, unsubscribe))
        .routes(routes!(mail_bounced))
}

/// Something one is told.
#[derive(Debug, Serialize, ToSchema)]
pub struct Notification {
    /// Its id.
    id: String,
    /// What it is about.
    kind: NotificationKind,
    /// When it happened.
    at: String,
    /// In one line.
    title: String,
    /// The rest, sentence by sentence.
    sentences: Vec<String>,
    /// The page of the application that shows more.
    path: String,
    /// The program it is about, or nothing.
    program: String,
    /// When it was read.
    #[schema(required)]
    read_at: Option<String>,
}

/// A page of notifications.
#[derive(Debug, Serialize, ToSchema)]
pub struct NotificationPage {
    /// The newest first.
    items: Vec<Notification>,
    /// Give it as `cursor` to read on; nothing at the end.
    #[schema(required)]
    next_cursor: Option<String>,
    /// How many are unread in all; counted up to 1,000.
    unread: i64,
}

/// How one wants to be told of a group.
#[derive(Debug, Serialize, ToSchema)]
pub struct Preference {
    /// Of what.
    group: NotificationGroup,
    /// For people.
    label: &'static str,
    /// In the application.
    in_app: bool,
    /// By mail.
    mail: bool,
    /// Whether it cannot be switched off in the application.
    mandatory: bool,
}

/// A choice.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPreference {
    /// Of what.
    group: NotificationGroup,
    /// In the application.
    in_app: bool,
    /// By mail.
    mail: bool,
}

/// Choices. Groups that are not named stay as they are.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPreferences {
    /// Each group once.
    items: Vec<NewPreference>,
}

/// Mails that were ended.
#[derive(Debug, Serialize, ToSchema)]
pub struct Unsubscribed {
    /// Of what.
    group: NotificationGroup,
    /// For people.
    label: &'static str,
}

/// What a mail provider reports.
#[derive(Debug, Deserialize, ToSchema)]
#[expect(dead_code, reason = "the body is read as bytes, because its signature is over them")]
pub struct MailBounce {
    /// `hard`, `soft` or `complaint`.
    r#type: String,
    /// The address, or
    address: Option<String>,
    /// the Message-ID of the mail.
    message_id: Option<String>,
}

fn render(notification: NotificationOf) -> Notification {
    Notification {
        id: notification.id.to_string(),
        kind: notification.kind.into(),
        at: time(notification.at),
        title: title(notification.kind, &notification.told),
        path: notification.told.path(),
        sentences: notification.told.sentences,
        program: notification.told.program,
        read_at: notification.read_at.map(time),
    }
}

fn choice(preference: PreferenceOf) -> Preference {
    let PreferenceOf { group, in_app, mail } = preference;
    Preference {
        group: group.into(),
        label: group.label(),
        in_app: in_app || group.is_mandatory(),
        mail,
        mandatory: group.is_mandatory(),
    }
}

/// One's own notifications, the newest first.
#[utoipa::path(get, path = "/v1/notifications", tag = "notifications", params(Cursor), responses(
    (status = 200, body = NotificationPage), (status = 401, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn notifications(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Query(cursor): Query<Cursor>,
) -> Result<Json<NotificationPage>, Problem> {
    let inbox = web.notifications.inbox(&caller.context, cursor.cursor.as_deref(), PAGE).await?;
    let items = inbox.items.into_iter().map(render).collect();
    Ok(Json(NotificationPage { items, next_cursor: inbox.next, unread: inbox.unread }))
}

/// Marks one of one's own notifications as read. Doing it twice changes nothing.
#[utoipa::path(post, path = "/v1/notifications/{id}/read", tag = "notifications", params(("id" = String, Path)), responses(
    (status = 204, description = "It is read"), (status = 401, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn read(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<NotificationId>,
) -> Result<StatusCode, Problem> {
    web.notifications.mark_read(&caller.context, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Marks all of one's own notifications as read.
#[utoipa::path(post, path = "/v1/notifications/read-all", tag = "notifications", responses(
    (status = 204, description = "All are read"), (status = 401, response = ProblemBody)))]
async fn read_all(State(web): State<Web>, SignedIn(caller): SignedIn) -> Result<StatusCode, Problem> {
    web.notifications.mark_all_read(&caller.context).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// How one wants to be told, for every group.
#[utoipa::path(get, path = "/v1/notifications/preferences", tag = "notifications", responses(
    (status = 200, body = Items<Preference>), (status = 401, response = ProblemBody)))]
async fn preferences(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
) -> Result<Json<Items<Preference>>, Problem> {
    let preferences = web.notifications.preferences(&caller.context).await?;
    Ok(Json(Items { items: preferences.into_iter().map(choice).collect() }))
}

/// Chooses how one wants to be told. What ends an account or moves money is always told in the application.
#[utoipa::path(put, path = "/v1/notifications/preferences", tag = "notifications", request_body = NewPreferences, responses(
    (status = 200, body = Items<Preference>), (status = 401, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn set_preferences(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Body(body): Body<NewPreferences>,
) -> Result<Json<Items<Preference>>, Problem> {
    let chosen = body.items.into_iter();
    let chosen: Vec<_> =
        chosen.map(|it| PreferenceOf { group: it.group.into(), in_app: it.in_app, mail: it.mail }).collect();
    web.notifications.choose(&caller.context, &chosen).await?;
    preferences(State(web), SignedIn(caller)).await
}

/// Leads from the link of a mail to the page that ends mails of its group.
#[utoipa::path(get, path = "/v1/unsubscribe/{token}", tag = "notifications", params(("token" = String, Path)), responses(
    (status = 303, description = "To the page"), (status = 404, response = ProblemBody)))]
async fn unsubscribe_page(
    State(web): State<Web>,
    caller: Caller,
    Path(token): Path<String>,
) -> Result<Redirect, Problem> {
    web.notifications.unsubscribing(caller.context.firm, &token).await?;
    Ok(Redirect::to(&format!("/unsubscribe/{token}")))
}

/// Ends mails of the group that the link of a mail stands for, also by a mail program's one click (RFC 8058). Nobody has to
/// sign in, and doing it twice changes nothing.
#[utoipa::path(post, path = "/v1/unsubscribe/{token}", tag = "notifications", params(("token" = String, Path)), responses(
    (status = 200, body = Unsubscribed), (status = 404, response = ProblemBody)))]
async fn unsubscribe(
    State(web): State<Web>,
    caller: Caller,
    Path(token): Path<String>,
) -> Result<Json<Unsubscribed>, Problem> {
    let group = web.notifications.unsubscribe(caller.context.firm, &token).await?;
    Ok(Json(Unsubscribed { group: group.into(), label: group.label() }))
}

/// Takes in what a mail provider reports of an address. `x-signature` is HMAC-SHA256 over the body under the shared secret,
/// as 64 hexadecimal digits; the end of the address is known to the provider alone.
#[utoipa::path(post, path = "/v1/mail/bounces/{token}", tag = "notifications", request_body = MailBounce,
    params(("token" = String, Path), ("x-signature" = String, Header, description = "HMAC-SHA256 over the body")), responses(
    (status = 204, description = "Taken in"), (status = 401, response = ProblemBody), (status = 404, response = ProblemBody),
    (status = 422, response = ProblemBody)))]
async fn mail_bounced(
    State(web): State<Web>,
    caller: Caller,
    Path(token): Path<String>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Problem> {
    let signature = headers.get("x-signature").and_then(|value| value.to_str().ok()).unwrap_or_default();
    let came = web.notifications.bounced(caller.context.firm, &token, signature, &body).await?;
    if came == Bounced::Unknown {
        tracing::info!("a report of a bounce names no mail of ours");
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}
