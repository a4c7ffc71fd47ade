//! Every refusal as `application/problem+json` (RFC 9457) with a documented code.

use app::{AppError, FieldError};
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use kernel::RequestId;
use serde::Serialize;
use utoipa::openapi::schema::{ObjectBuilder, SchemaType, Type};
use utoipa::{ToResponse, ToSchema};

/// Every code with its status and title. Each has a page `docs/errors/<code>.md`; a test compares the two lists.
pub const CODES: &[(&str, u16, &str)] = &[
    ("account_held", 409, "The account is on hold"),
    ("account_locked", 409, "The account is locked until the next reset"),
    ("account_not_active", 409, "The account no longer trades"),
    ("body_too_large", 413, "The body is too large"),
    ("conflict", 409, "The request conflicts with what is stored"),
    ("coupon_refused", 422, "The coupon does not hold"),
    ("coupon_used_up", 409, "The coupon is used up"),
    ("dispute_answered", 409, "The dispute was answered already"),
    ("dispute_closed", 409, "Nobody waits for an answer to the dispute"),
    ("email_taken", 409, "The e-mail address is taken"),
    ("engine_unavailable", 503, "Trading is not possible at the moment"),
    ("entry_archived", 410, "The entry was archived"),
    ("entry_id_reused", 409, "The id names another entry of the ledger"),
    ("forbidden", 403, "Not allowed"),
    ("four_eyes", 409, "Somebody else has to decide"),
    ("funds_short", 409, "The account does not have that much"),
    ("hold_ended", 409, "The money is no longer held"),
    ("idempotency_key_missing", 400, "An Idempotency-Key header is needed"),
    ("idempotency_key_reused", 422, "The key was used for another request"),
    ("identity_needed", 409, "It is not known who asks"),
    ("instrument_not_in_program", 422, "The program does not trade this instrument"),
    ("insufficient_margin", 422, "The free margin does not cover the order"),
    ("internal", 500, "Something went wrong on our side"),
    ("legal_hold", 409, "The data is under a legal hold"),
    ("malformed_json", 400, "The body is not valid JSON"),
    ("market_stale", 409, "The last quote is too old"),
    ("method_not_allowed", 405, "The method is not allowed here"),
    ("no_quote", 409, "There is no quote yet"),
    ("not_found", 404, "Not found"),
    ("not_growing", 409, "The account may not grow now"),
    ("not_passed", 409, "The phase is not passed yet"),
    ("order_against_rule", 422, "A rule of the program refuses the order"),
    ("order_not_found", 404, "No such working order"),
    ("override_invalid", 422, "The phase has no such rule of this kind"),
    ("payment_refused", 422, "The payment provider refused"),
    ("payment_settled", 409, "The payment has been settled"),
    ("payout_held", 409, "Nothing is sent to the trader for now"),
    ("payout_open", 409, "A payout is under way"),
    ("payout_refused", 409, "A condition of the payout does not hold"),
    ("position_not_found", 404, "No such open position"),
    ("price_invalid", 422, "A price is on the wrong side of the market"),
    ("program_changed", 409, "The program has changed"),
    ("programs_not_comparable", 422, "The programs cannot be compared"),
    ("provider_unknown", 422, "The firm does not use this provider"),
    ("purchase_disputed", 409, "The purchase is disputed"),
    ("quantity_out_of_range", 422, "The size is outside what can be traded"),
    ("reason_missing", 400, "A reason is needed"),
    ("refund_exceeds_payment", 409, "More than was paid cannot be given back"),
    ("reset_refused", 409, "The challenge cannot begin anew"),
    ("too_many_orders", 409, "The account has too many orders and positions"),
    ("too_many_requests", 429, "Too many requests"),
    ("trial_used", 409, "The trial was used"),
    ("unauthenticated", 401, "Nobody is signed in"),
    ("unavailable", 503, "A part of the platform is not available"),
    ("unknown_instrument", 422, "No such instrument"),
    ("unsupported_media_type", 415, "The body must be JSON"),
    ("validation_failed", 422, "The request has faults"),
    ("webhook_disabled", 409, "The webhook is disabled"),
    ("wrong_credentials", 401, "E-mail address or password is wrong"),
    ("wrong_region", 421, "Another installation keeps the people of this region"),
];

/// The pages behind the `type` of every problem.
#[derive(rust_embed::RustEmbed)]
#[folder = "../../docs/errors"]
struct Pages;

/// The page of a code.
#[expect(clippy::unused_async, reason = "a handler is an async function")]
pub async fn page(Path(code): Path<String>) -> Response {
    match Pages::get(&format!("{code}.md")) {
        Some(page) => ([(header::CONTENT_TYPE, "text/markdown; charset=utf-8")], page.data).into_response(),
        None => Problem::new("not_found", "There is no such error code.").into_response(),
    }
}

/// A refusal on its way out. The outermost layer gives it its body, because only there the request id is known.
#[derive(Debug, Clone)]
pub struct Problem {
    code: &'static str,
    detail: String,
    errors: Vec<FieldError>,
    retry_after_seconds: Option<u32>,
}

/// The body of a refusal.
#[derive(Debug, Serialize, ToSchema, ToResponse)]
#[schema(as = Problem)]
#[response(description = "Refused; the code says why", content_type = "application/problem+json")]
pub struct ProblemBody {
    /// Ends in the code; its page explains it.
    #[serde(rename = "type")]
    kind: String,
    /// The same for every occurrence of the code.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What happened this time.
    detail: String,
    /// Stable, for programs.
    #[schema(schema_with = code_schema)]
    code: &'static str,
    /// Quote it when asking for help.
    request_id: String,
    /// The faults of a request, all at once.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    errors: Vec<FieldProblem>,
}

fn code_schema() -> ObjectBuilder {
    let codes = CODES.iter().map(|(code, _, _)| *code);
    ObjectBuilder::new().schema_type(SchemaType::new(Type::String)).enum_values(Some(codes))
}

/// One wrong field.
#[derive(Debug, Serialize, ToSchema)]
pub struct FieldProblem {
    /// JSON pointer to the field.
    pointer: String,
    /// Stable, for programs.
    code: &'static str,
    /// What is wrong and what would be right.
    detail: String,
}

impl Problem {
    /// A refusal with a code of [`CODES`].
    pub fn new(code: &'static str, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), errors: Vec::new(), retry_after_seconds: None }
    }

    /// The same, with the one field of the body that it is about.
    #[must_use]
    pub fn at(mut self, pointer: &str) -> Self {
        let error = FieldError { pointer: pointer.to_owned(), code: self.code, say: self.detail.clone() };
        self.errors.push(error);
        self
    }

    /// Its code.
    pub const fn code(&self) -> &'static str {
        self.code
    }

    /// What happened this time.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    fn row(&self) -> (u16, &'static str) {
        let known = CODES.iter().find(|(code, _, _)| *code == self.code);
        known.map_or((500, "Something went wrong on our side"), |(_, status, title)| (*status, *title))
    }

    pub(crate) fn render(self, request: RequestId) -> Response {
        let (status, title) = self.row();
        let body = ProblemBody {
            kind: format!("/errors/{}", self.code),
            title,
            status,
            detail: self.detail,
            code: self.code,
            request_id: request.to_string(),
            errors: self
                .errors
                .into_iter()
                .map(|error| FieldProblem { pointer: error.pointer, code: error.code, detail: error.say })
                .collect(),
        };
        let mut response = axum::Json(body).into_response();
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        // What is not available now may be at once.
        let unavailable = (status == 503).then_some(1);
        if let Some(seconds) = self.retry_after_seconds.or(unavailable) {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = StatusCode::INTERNAL_SERVER_ERROR.into_response();
        response.extensions_mut().insert(self);
        response
    }
}

impl From<AppError> for Problem {
    fn from(error: AppError) -> Self {
        match error {
            AppError::Unauthenticated => Self::new("unauthenticated", "Sign in first."),
            AppError::Forbidden => Self::new("forbidden", "You are not allowed to do this."),
            AppError::NotFound(what) => Self::new("not_found", format!("There is no such {what}.")),
            AppError::Invalid(errors) => {
                let detail = "The request has faults; see errors.".to_owned();
                Self { errors, ..Self::new("validation_failed", detail) }
            }
            AppError::Refused { code, say } => {
                let code = CODES.iter().map(|(known, _, _)| *known).find(|known| *known == code);
                let retry_after_seconds = (code == Some("too_many_requests")).then_some(10);
                Self { retry_after_seconds, ..Self::new(code.unwrap_or("conflict"), say) }
            }
            AppError::Unavailable { doing, source } => {
                tracing::warn!(doing, error = &*source, "unavailable");
                let code = if doing == "trading" { "engine_unavailable" } else { "unavailable" };
                let say = "Try again with the same Idempotency-Key; you will get the first answer if there was one.";
                Self { retry_after_seconds: Some(1), ..Self::new(code, say) }
            }
            AppError::Bug { doing, source } => {
                tracing::error!(doing, error = &*source, "a request failed");
                Self::new("internal", "This is ours to mend. Nothing more is known here.")
            }
        }
    }
}

impl From<engine::Refusal> for Problem {
    fn from(refusal: engine::Refusal) -> Self {
        let say = refusal.to_string();
        let mut letters = say.chars();
        let capital: String =
            letters.next().into_iter().flat_map(char::to_uppercase).chain(letters).collect();
        Self::new(refusal.code(), format!("{capital}."))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_and_every_page_a_code() {
        let pages = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/errors");
        let mut written: Vec<String> = std::fs::read_dir(pages)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .filter(|name| name != "README.md")
            .collect();
        written.sort();
        let known: Vec<String> = CODES.iter().map(|(code, _, _)| format!("{code}.md")).collect();
        assert_eq!(written, known);
    }
}
