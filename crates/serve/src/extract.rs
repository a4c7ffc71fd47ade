//! What handlers take: the caller, a checked body, an idempotency key. Their rejections are problems too.

use app::identity::Person;
use app::{Actor, Context, Permission};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use engine::Key;
use futures_util::StreamExt as _;
use http::header;
use kernel::RequestId;
use serde::de::DeserializeOwned;

use crate::Site;
use crate::door::Peer;
use crate::problem::Problem;

/// The name of the session cookie.
pub const SESSION_COOKIE: &str = "ts_session";

/// The circumstances of a request, whether or not somebody is signed in.
#[derive(Debug, Clone)]
pub struct Caller {
    /// Firm, person, request.
    pub context: Context,
    /// Who is signed in.
    pub person: Option<Person>,
    /// The session's token as sent, in the cookie or as a bearer's.
    pub session: Option<String>,
    /// The peer's address, for limits.
    pub address: String,
}

impl Caller {
    /// The person, if signed in and allowed.
    pub fn demand(&self, permission: Permission) -> Result<&Actor, Problem> {
        Ok(self.context.demand(permission)?)
    }

    /// The person, if signed in.
    pub fn actor(&self) -> Result<&Actor, Problem> {
        Ok(self.context.actor()?)
    }
}

impl<S: Site> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, site: &S) -> Result<Self, Problem> {
        let firm = site
            .firms()
            .of(&parts.headers)
            .ok_or_else(|| Problem::new("not_found", "No firm lives here."))?;
        let request = parts.extensions.get::<RequestId>().copied();
        let request = request.unwrap_or_else(|| RequestId::random(site.clock().now(), site.rng()));
        let session = cookie(&parts.headers, SESSION_COOKIE).or_else(|| bearer(&parts.headers));
        let session = session.map(str::to_owned);
        let person = match &session {
            Some(token) => site.identity().who(firm, token).await?,
            None => None,
        };
        let address = parts
            .extensions
            .get::<axum::extract::ConnectInfo<Peer>>()
            .map_or_else(|| "unknown".to_owned(), |info| info.0.0.ip().to_string());
        Ok(Self {
            context: Context { firm, actor: person.as_ref().map(Person::actor), request },
            person,
            session,
            address,
        })
    }
}

/// A caller who is signed in; nobody else's body is even read.
#[derive(Debug, Clone)]
pub struct SignedIn(pub Caller);

impl<S: Site> FromRequestParts<S> for SignedIn {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, site: &S) -> Result<Self, Problem> {
        let caller = Caller::from_request_parts(parts, site).await?;
        caller.actor()?;
        Ok(Self(caller))
    }
}

fn cookie<'a>(headers: &'a http::HeaderMap, name: &str) -> Option<&'a str> {
    let pairs = headers.get_all(header::COOKIE).iter().filter_map(|value| value.to_str().ok());
    pairs.flat_map(|value| value.split(';')).find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then_some(value)
    })
}

fn bearer(headers: &http::HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// A JSON body. Unknown fields are refused by the types themselves.
#[derive(Debug)]
pub struct Body<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, site: &S) -> Result<Self, Problem> {
        let content_type = request.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let is_json = content_type.is_some_and(|value| {
            value.split(';').next().is_some_and(|kind| kind.trim().eq_ignore_ascii_case("application/json"))
        });
        if !is_json {
            return Err(Problem::new("unsupported_media_type", "Send the body as application/json."));
        }
        let length = request.headers().get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok());
        if length
            .and_then(|length| length.parse().ok())
            .is_some_and(|length: usize| length > crate::MOST_BODY_BYTES)
        {
            // A sender that is cut off in the middle never reads the answer.
            let mut sent = request.into_body().into_data_stream();
            let mut thrown_away = 0_usize;
            while thrown_away < MOST_THROWN_AWAY
                && let Some(Ok(part)) = sent.next().await
            {
                thrown_away = thrown_away.saturating_add(part.len());
            }
            return Err(too_large());
        }
        let bytes = axum::body::Bytes::from_request(request, site).await.map_err(|rejection| {
            if rejection.status() == http::StatusCode::PAYLOAD_TOO_LARGE {
                Problem::new(
                    "body_too_large",
                    format!("A body may have at most {} bytes.", crate::MOST_BODY_BYTES),
                )
            } else {
                Problem::new("malformed_json", "The body ended before its time.")
            }
        })?;
        match serde_json::from_slice(&bytes) {
            Ok(body) => Ok(Self(body)),
            Err(error) if error.is_data() => Err(Problem::new("validation_failed", sentence(&error))),
            Err(error) => Err(Problem::new("malformed_json", sentence(&error))),
        }
    }
}

/// So much of a body that is too large is read and thrown away before the answer.
const MOST_THROWN_AWAY: usize = 16 << 20;

fn too_large() -> Problem {
    Problem::new("body_too_large", format!("A body may have at most {} bytes.", crate::MOST_BODY_BYTES))
}

fn sentence(error: &serde_json::Error) -> String {
    format!("The body cannot be read: {error}.")
}

/// The client's name for this request, demanded where a retry must not act twice.
#[derive(Debug, Clone)]
pub struct IdempotencyKey(pub Key);

impl<S: Send + Sync> FromRequestParts<S> for IdempotencyKey {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let missing = || {
            Problem::new(
                "idempotency_key_missing",
                "Send an Idempotency-Key header of 1 to 64 visible ASCII characters that does not begin with payout-, a new one \
                 for each new request.",
            )
        };
        let value =
            parts.headers.get("idempotency-key").and_then(|value| value.to_str().ok()).ok_or_else(missing)?;
        // Under such keys the platform itself asks for payouts.
        Key::parse(value).filter(|key| !key.as_str().starts_with("payout-")).map(Self).ok_or_else(missing)
    }
}

/// A path parameter; one that cannot be read names nothing.
#[derive(Debug)]
pub struct Path<T>(pub T);

impl<T: DeserializeOwned + Send, S: Send + Sync> FromRequestParts<S> for Path<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, site: &S) -> Result<Self, Problem> {
        let path = axum::extract::Path::<T>::from_request_parts(parts, site).await;
        path.map(|path| Self(path.0)).map_err(|_| Problem::new("not_found", "There is no such thing."))
    }
}

/// Query parameters.
#[derive(Debug)]
pub struct Query<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Query<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, site: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, site).await;
        query
            .map(|query| Self(query.0))
            .map_err(|rejection| Problem::new("validation_failed", rejection.body_text()))
    }
}
