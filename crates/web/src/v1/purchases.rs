//! Buying.

use std::collections::BTreeMap;

use app::AppError;
use app::catalogue::{PriceLine as PriceLineOf, Quote as QuoteOf};
use app::purchases::{
    Bought, Happened, Order, Purchase as PurchaseOf, PurchaseState as StateOf, coupon_meant, refunded,
};
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use kernel::{Currency, Money, PurchaseId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::account_view::ProgramRef;
use super::text::{read_country, read_currency, time};
use super::words::{PriceLineKind, PurchaseHappening, PurchaseState};
use super::{PAGE, Page};
use crate::extract::{Body, IdempotencyKey, Path, Query, SignedIn};
use crate::problem::{Problem, ProblemBody};
use crate::{Web, sandbox};

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(create_purchase, purchases))
        .routes(routes!(quote_purchase))
        .routes(routes!(purchase))
        .routes(routes!(cancel_purchase))
}

/// What to buy. The price is ours.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPurchase {
    /// The program's slug.
    program: String,
    /// The version whose rules the buyer has read.
    version: String,
    /// Codes of add-ons, at most 8.
    #[serde(default)]
    addons: Vec<String>,
    /// Codes of coupons, in whatever case, at most 8.
    #[serde(default)]
    coupons: Vec<String>,
    /// Where the buyer says they are, for prices and tax: two capital letters (ISO 3166-1).
    #[schema(nullable = false)]
    country: Option<String>,
    /// In which currency they want to pay; the program's own if none is said.
    #[schema(nullable = false)]
    currency: Option<String>,
    /// The failed challenge that is to begin anew. The program and the version are that challenge's.
    #[schema(nullable = false)]
    reset_of: Option<String>,
}

impl NewPurchase {
    fn order(self) -> Result<Order, AppError> {
        let nobodys = |_| AppError::field("/reset_of", "This is no challenge's id.");
        Ok(Order {
            country: self.country.map(|text| read_country("/country", &text)).transpose()?,
            currency: self.currency.map(|text| read_currency("/currency", &text)).transpose()?,
            reset_of: self.reset_of.map(|text| text.parse().map_err(nobodys)).transpose()?,
            slug: self.program,
            version: self.version,
            addons: self.addons,
            coupons: self.coupons,
        })
    }
}

/// The buying of a program.
#[derive(Debug, Serialize, ToSchema)]
pub struct Purchase {
    /// Its id.
    id: String,
    /// Where it stands.
    state: PurchaseState,
    /// What is bought.
    program: ProgramRef,
    /// What is to be paid, tax included.
    fee: String,
    /// Currency of every amount of it.
    currency: &'static str,
    /// The sandbox's page to pay on, where the firm uses it; a provider's page is asked for with
    /// `POST /v1/purchases/{id}/checkout`.
    #[schema(required)]
    checkout_url: Option<String>,
    /// The challenge, once paid.
    #[schema(required)]
    challenge_id: Option<String>,
    /// The failed challenge that begins anew with it, if it is a reset.
    #[schema(required)]
    reset_of: Option<String>,
    /// When it was created.
    created_at: String,
}

/// A purchase with how its price came about and everything that has happened to it.
#[derive(Debug, Serialize, ToSchema)]
pub struct PurchaseDetail {
    /// It.
    #[serde(flatten)]
    purchase: Purchase,
    /// How the price came about, in order; purchases of earlier releases have none.
    lines: Vec<PriceLine>,
    /// What was let off.
    discount: String,
    /// The tax in what is to be paid.
    tax: String,
    /// Whether the prices of the lines contain the tax; otherwise it came on top of them.
    tax_included: bool,
    /// What was given back so far.
    refunded: String,
    /// What has happened to it, in order.
    history: Vec<PurchaseEvent>,
}

/// Something that has happened to a purchase.
#[derive(Debug, Serialize, ToSchema)]
pub struct PurchaseEvent {
    /// What.
    what: PurchaseHappening,
    /// When.
    at: String,
    /// Whose provider of payments said so.
    #[schema(required)]
    provider: Option<String>,
    /// How much, in the purchase's currency.
    #[schema(required)]
    amount: Option<String>,
    /// Where the purchase stood then.
    state: PurchaseState,
}

/// What something would cost now.
#[derive(Debug, Serialize, ToSchema)]
pub struct PurchaseQuote {
    /// How the price comes about, in order.
    lines: Vec<PriceLine>,
    /// Program and add-ons.
    list: String,
    /// What is let off.
    discount: String,
    /// The tax in the total.
    tax: String,
    /// Whether the prices of the lines contain the tax; otherwise it comes on top of them.
    tax_included: bool,
    /// What is to be paid.
    total: String,
    /// Currency of every amount.
    currency: &'static str,
}

/// One line of a price.
#[derive(Debug, Serialize, ToSchema)]
pub struct PriceLine {
    /// What it is for.
    what: PriceLineKind,
    /// The program's slug, the code of the add-on or coupon, or the tax's rate in per cent.
    code: String,
    /// The same for people.
    name: String,
    /// How much; below zero for what is let off.
    amount: String,
}

/// The lines for people. `names` are those of the add-ons.
fn lines(
    lines: Vec<PriceLineOf>,
    program: &str,
    names: &BTreeMap<String, String>,
) -> Result<Vec<PriceLine>, AppError> {
    let line = |PriceLineOf { what, code, amount }| {
        let kind = PriceLineKind::ALL.into_iter().find(|kind| kind.word() == what);
        let kind = kind
            .ok_or_else(|| AppError::bug("reading a price")(format!("{what:?} is no kind of line").into()))?;
        let name = match kind {
            PriceLineKind::Program | PriceLineKind::Reset => program.to_owned(),
            PriceLineKind::Addon => names.get(&code).cloned().unwrap_or_else(|| code.clone()),
            PriceLineKind::Coupon => code.clone(),
            PriceLineKind::Tax => format!("{code}%"),
        };
        Ok(PriceLine { what: kind, code, name, amount: amount.amount_text() })
    };
    lines.into_iter().map(line).collect()
}

/// Whether the lines that are no tax make up the total already.
fn tax_included(lines: &[PriceLineOf], total: Money) -> bool {
    let net = lines.iter().filter(|line| line.what != PriceLineKind::Tax.word());
    let sum = net.map(|line| line.amount.minor()).fold(0_i64, i64::saturating_add);
    sum == total.minor()
}

fn render(web: &Web, purchase: PurchaseOf) -> Purchase {
    Purchase {
        checkout_url: web.demo.then(|| sandbox::page_of(purchase.id)),
        id: purchase.id.to_string(),
        state: purchase.state.into(),
        program: ProgramRef {
            slug: purchase.slug,
            name: purchase.program_name,
            version: purchase.version.to_string(),
        },
        fee: purchase.fee.amount_text(),
        currency: purchase.fee.currency().code(),
        challenge_id: purchase.challenge.map(|challenge| challenge.to_string()),
        reset_of: match purchase.bought {
            Bought::Challenge => None,
            Bought::Reset { of, .. } => Some(of.to_string()),
        },
        created_at: time(purchase.created_at),
    }
}

fn render_event(happened: Happened) -> PurchaseEvent {
    PurchaseEvent {
        what: happened.what.into(),
        at: time(happened.at),
        provider: happened.provider.map(|provider| provider.as_str().to_owned()),
        amount: happened.amount.map(Money::amount_text),
        state: happened.to.into(),
    }
}

fn render_quote(
    quote: QuoteOf,
    program: &str,
    names: &BTreeMap<String, String>,
) -> Result<PurchaseQuote, AppError> {
    let currency: Currency = quote.total.currency();
    Ok(PurchaseQuote {
        tax_included: tax_included(&quote.lines, quote.total),
        lines: lines(quote.lines, program, names)?,
        list: quote.list.amount_text(),
        discount: quote.discount.amount_text(),
        tax: quote.tax.amount_text(),
        total: quote.total.amount_text(),
        currency: currency.code(),
    })
}

/// A refusal of a coupon points to the coupon.
fn refused(order: &Order, error: AppError) -> Problem {
    match coupon_meant(order, &error) {
        Some(place) => Problem::from(error).at(&format!("/coupons/{place}")),
        None => error.into(),
    }
}

/// Starts a purchase, which is paid on the page of a provider (`POST /v1/purchases/{id}/checkout`). What costs nothing is paid at
/// once. A retry under the same key gives the same purchase.
#[utoipa::path(post, path = "/v1/purchases", tag = "purchases", request_body = NewPurchase,
    params(("Idempotency-Key" = String, Header, description = "New for each new purchase")), responses(
    (status = 201, body = Purchase), (status = 400, response = ProblemBody), (status = 401, response = ProblemBody),
    (status = 404, response = ProblemBody), (status = 409, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn create_purchase(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    IdempotencyKey(key): IdempotencyKey,
    Body(body): Body<NewPurchase>,
) -> Result<(StatusCode, Json<Purchase>), Problem> {
    let order = body.order()?;
    let bought = web.purchases.buy(&caller.context, &key, order.clone()).await;
    let purchase = bought.map_err(|error| refused(&order, error))?;
    if purchase.state == StateOf::Captured {
        web.purchase_paid.notify_one();
    }
    Ok((StatusCode::CREATED, Json(render(&web, purchase))))
}

/// What something would cost now, for a basket that changes. Nothing is stored.
#[utoipa::path(post, path = "/v1/purchases/quote", tag = "purchases", request_body = NewPurchase, responses(
    (status = 200, body = PurchaseQuote), (status = 400, response = ProblemBody), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 404, response = ProblemBody), (status = 409, response = ProblemBody),
    (status = 422, response = ProblemBody)))]
async fn quote_purchase(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Body(body): Body<NewPurchase>,
) -> Result<Json<PurchaseQuote>, Problem> {
    let order = body.order()?;
    let priced = web.purchases.price(&caller.context, &order).await;
    let quote = priced.map_err(|error| refused(&order, error))?;
    let firm = caller.context.firm;
    let offer = web.catalogue.get(firm, &order.slug).await?;
    let names = web.purchases.addon_names(firm, &order.slug).await?;
    Ok(Json(render_quote(quote, &offer.program.name, &names)?))
}

/// One's own purchases, the newest first.
#[utoipa::path(get, path = "/v1/purchases", tag = "purchases", params(super::Cursor), responses(
    (status = 200, body = Page<Purchase>), (status = 401, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn purchases(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Query(sought): Query<super::Cursor>,
) -> Result<Json<Page<Purchase>>, Problem> {
    let bad = |_| AppError::field("/cursor", "Use the next_cursor of the page before.");
    let behind = sought.cursor.as_deref().map(str::parse).transpose().map_err(bad)?;
    let purchases = web.purchases.list(&caller.context, behind, PAGE).await?;
    let full = i64::try_from(purchases.len()).is_ok_and(|count| count >= PAGE);
    let next_cursor = purchases.last().filter(|_| full).map(|purchase| purchase.id.to_string());
    Ok(Json(Page {
        items: purchases.into_iter().map(|purchase| render(&web, purchase)).collect(),
        next_cursor,
    }))
}

/// One of one's own purchases.
#[utoipa::path(get, path = "/v1/purchases/{id}", tag = "purchases", params(("id" = String, Path)), responses(
    (status = 200, body = PurchaseDetail), (status = 401, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn purchase(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<PurchaseId>,
) -> Result<Json<PurchaseDetail>, Problem> {
    let purchase = web.purchases.get(&caller.context, id).await?;
    let history = web.purchases.history(&caller.context, id).await?;
    let names = web.purchases.addon_names(caller.context.firm, &purchase.slug).await?;
    Ok(Json(PurchaseDetail {
        lines: lines(purchase.lines.clone(), &purchase.program_name, &names)?,
        discount: purchase.discount.amount_text(),
        tax: purchase.tax.amount_text(),
        tax_included: tax_included(&purchase.lines, purchase.fee),
        refunded: refunded(&purchase, &history)?.amount_text(),
        history: history.into_iter().map(render_event).collect(),
        purchase: render(&web, purchase),
    }))
}

/// Takes one of one's own purchases back before it is paid: its payment page closes, and what its coupons let off may be used again.
/// Twice is once.
#[utoipa::path(post, path = "/v1/purchases/{id}/cancel", tag = "purchases", params(("id" = String, Path)), responses(
    (status = 200, body = Purchase), (status = 401, response = ProblemBody), (status = 404, response = ProblemBody),
    (status = 409, response = ProblemBody), (status = 503, response = ProblemBody)))]
async fn cancel_purchase(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(id): Path<PurchaseId>,
) -> Result<Json<Purchase>, Problem> {
    Ok(Json(render(&web, web.checkouts.cancel(&caller.context, id).await?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_name_for_people_and_says_whether_tax_is_inside() {
        let usd = Currency::parse("USD").unwrap();
        let line = |what: &str, code: &str, minor| PriceLineOf {
            what: what.to_owned(),
            code: code.to_owned(),
            amount: Money::from_minor(minor, usd),
        };
        let stored = vec![
            line("program", "two-step", 49_000),
            line("addon", "split90", 9_800),
            line("coupon", "TEN", -5_880),
            line("tax", "19", 10_055),
        ];
        let total = |minor| Money::from_minor(minor, usd);
        assert!(!tax_included(&stored, total(62_975)));
        assert!(tax_included(&stored, total(52_920)));
        let names = BTreeMap::from([("split90".to_owned(), "90% of every payout".to_owned())]);
        let told = lines(stored, "Two steps", &names).unwrap();
        let told: Vec<_> = told.iter().map(|it| (it.what, it.name.as_str(), it.amount.as_str())).collect();
        assert_eq!(
            told,
            [
                (PriceLineKind::Program, "Two steps", "490.00"),
                (PriceLineKind::Addon, "90% of every payout", "98.00"),
                (PriceLineKind::Coupon, "TEN", "-58.80"),
                (PriceLineKind::Tax, "19%", "100.55"),
            ]
        );
        assert!(lines(vec![line("gift", "", 1)], "", &names).is_err());
    }
}
