//! Registering, signing in and out.

use app::AppError;
use app::identity::{Password, Person as PersonOf, Registration, Token};
use app::privacy::Region;
use axum::Json;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::words::Role;
use crate::Web;
use crate::extract::{Body, Caller, SESSION_COOKIE, SignedIn};
use crate::problem::{Problem, ProblemBody};

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(register))
        .routes(routes!(sign_in))
        .routes(routes!(sign_out))
        .routes(routes!(me))
}

/// Somebody who can sign in.
#[derive(Debug, Serialize, ToSchema)]
pub struct Person {
    /// Their id.
    id: String,
    /// Their e-mail address.
    email: String,
    /// Shown on leaderboards.
    display_name: String,
    /// What they may do.
    roles: Vec<Role>,
}

impl From<PersonOf> for Person {
    fn from(person: PersonOf) -> Self {
        Self {
            id: person.id.to_string(),
            email: person.email,
            display_name: person.display_name,
            roles: person.roles.into_iter().map(Role::from).collect(),
        }
    }
}

/// A new trader.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Register {
    /// Any case.
    email: String,
    /// 15 to 128 characters of any kind.
    password: String,
    /// 1 to 40 characters, shown on leaderboards.
    display_name: String,
    /// Where what is stored about them is to lie, such as `eu`; where this installation keeps it if not said.
    region: Option<String>,
}

/// Proof of who one is.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SignIn {
    /// Any case.
    email: String,
    /// The password.
    password: String,
}

/// Nothing.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Empty {}

/// Registers a trader and signs them in.
#[utoipa::path(post, path = "/v1/auth/register", tag = "auth", request_body = Register, responses(
    (status = 201, body = Person), (status = 409, response = ProblemBody), (status = 421, response = ProblemBody),
    (status = 422, response = ProblemBody), (status = 429, response = ProblemBody)))]
async fn register(
    State(web): State<Web>,
    caller: Caller,
    Body(body): Body<Register>,
) -> Result<Response, Problem> {
    let Register { email, password, display_name, region } = body;
    let region = region.map(|region| region.parse::<Region>()).transpose();
    let region = region.map_err(|error| AppError::field("/region", format!("{error}.")))?;
    let registration = Registration { email, password: Password::new(password), display_name, region };
    let (person, token) = web.identity.register(&caller.context, registration, &caller.address).await?;
    Ok((StatusCode::CREATED, signed_in(&web, &token)?, Json(Person::from(person))).into_response())
}

/// Signs in with e-mail address and password.
#[utoipa::path(post, path = "/v1/auth/sign-in", tag = "auth", request_body = SignIn, responses(
    (status = 200, body = Person), (status = 401, response = ProblemBody), (status = 429, response = ProblemBody)))]
async fn sign_in(
    State(web): State<Web>,
    caller: Caller,
    Body(body): Body<SignIn>,
) -> Result<Response, Problem> {
    let password = Password::new(body.password);
    let (person, token) =
        web.identity.sign_in(&caller.context, &body.email, password, &caller.address).await?;
    Ok((signed_in(&web, &token)?, Json(Person::from(person))).into_response())
}

/// Signs out; without a session nothing happens.
#[utoipa::path(post, path = "/v1/auth/sign-out", tag = "auth", request_body = Empty, responses((status = 204)))]
async fn sign_out(
    State(web): State<Web>,
    caller: Caller,
    Body(Empty {}): Body<Empty>,
) -> Result<Response, Problem> {
    if let Some(token) = &caller.session {
        web.identity.sign_out(&caller.context, token).await?;
    }
    let gone = cookie("", 0, web.secure_cookies);
    Ok((StatusCode::NO_CONTENT, [(header::SET_COOKIE, gone)]).into_response())
}

/// Who is signed in.
#[utoipa::path(get, path = "/v1/me", tag = "auth", responses(
    (status = 200, body = Person), (status = 401, response = ProblemBody)))]
async fn me(SignedIn(caller): SignedIn) -> Result<Json<Person>, Problem> {
    let person = caller.person.ok_or(app::AppError::Unauthenticated)?;
    Ok(Json(person.into()))
}

fn signed_in(web: &Web, token: &Token) -> Result<[(header::HeaderName, HeaderValue); 1], Problem> {
    let cookie = cookie(token.reveal(), LONGEST_SESSION_SECONDS, web.secure_cookies);
    let mut value = HeaderValue::from_str(&cookie)
        .map_err(|_| Problem::new("internal", "A session could not be started."))?;
    value.set_sensitive(true);
    Ok([(header::SET_COOKIE, value)])
}

/// The server ends a session earlier if it is not used.
const LONGEST_SESSION_SECONDS: u32 = 30 * 86_400;

fn cookie(token: &str, seconds: u32, only_over_tls: bool) -> String {
    let secure = if only_over_tls { "; Secure" } else { "" };
    format!("{SESSION_COOKIE}={token}; Path=/; HttpOnly; SameSite=Lax; Max-Age={seconds}{secure}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_and_other_sites_do_not_get_the_session_cookie() {
        assert_eq!(cookie("t", 60, true), "ts_session=t; Path=/; HttpOnly; SameSite=Lax; Max-Age=60; Secure");
        assert!(!cookie("t", 60, false).contains("Secure"));
    }
}
