//! What stands on the firm's shelf beside its programs: for buyers at their prices, for those who edit it as it is.

use app::catalogue::{
    Addon, AddonChange as ChangeOf, AddonPrice, Country, Coupon as CouponOf, ListedCoupon, Off, Price,
    ShelfChange, Tax, WholeShelf,
};
use app::purchases::OfferedAddon as OfferedAddonOf;
use app::{AppError, Permission};
use axum::Json;
use axum::extract::State;
use http::StatusCode;
use kernel::{Money, Percent, PersonId};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::publishing::{ProgramChange, changes};
use super::text::{read_country, read_currency, read_money, read_percent, read_time, time};
use super::{Cursor, Items, PAGE, Page};
use crate::Web;
use crate::extract::{Body, Caller, Path, Query, SignedIn};
use crate::problem::{Problem, ProblemBody};

pub(super) fn router() -> OpenApiRouter<Web> {
    OpenApiRouter::new()
        .routes(routes!(on_shelf))
        .routes(routes!(program_shelf))
        .routes(routes!(put_addon))
        .routes(routes!(put_price))
        .routes(routes!(put_terms))
        .routes(routes!(coupons, add_coupon))
        .routes(routes!(disable_coupon))
        .routes(routes!(taxes, put_tax))
        .routes(routes!(groups, put_group))
}

/// An amount in a currency.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct MoneyIn {
    /// How much.
    amount: String,
    /// Of which currency.
    currency: String,
}

impl From<Money> for MoneyIn {
    fn from(money: Money) -> Self {
        Self { amount: money.amount_text(), currency: money.currency().code().to_owned() }
    }
}

impl MoneyIn {
    fn read(&self, pointer: &str) -> Result<Money, AppError> {
        let currency = read_currency(&format!("{pointer}/currency"), &self.currency)?;
        read_money(&format!("{pointer}/amount"), &self.amount, currency)
    }
}

/// Either a share or an amount.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Portion {
    /// A share.
    Percent {
        /// In per cent.
        percent: String,
    },
    /// An amount, in its currency only.
    Amount {
        /// How much.
        amount: String,
        /// Of which currency.
        currency: String,
    },
}

/// A portion that was read.
enum Read {
    Percent(Percent),
    Amount(Money),
}

impl Portion {
    fn read(&self, pointer: &str) -> Result<Read, AppError> {
        match self {
            Self::Percent { percent } => Ok(Read::Percent(read_percent(pointer, percent)?)),
            Self::Amount { amount, currency } => {
                Ok(Read::Amount(read_money(pointer, amount, read_currency(pointer, currency)?)?))
            }
        }
    }

    fn amount(money: Money) -> Self {
        let MoneyIn { amount, currency } = money.into();
        Self::Amount { amount, currency }
    }

    fn percent(percent: Percent) -> Self {
        Self::Percent { percent: percent.to_string() }
    }
}

/// What an add-on changes in the program that it is bought with.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum AddonChange {
    /// The trader's share of every payout is at least this.
    Split {
        /// In per cent.
        at_least: String,
    },
    /// So many resets are included.
    Resets {
        /// How many.
        included: u32,
    },
    /// Payouts may be asked for after so many days, if the program's cycles are longer.
    PayoutDays {
        /// Of the first cycle.
        first: u32,
        /// Of every other.
        next: u32,
    },
    /// At most so many trading days are asked for.
    TradingDays {
        /// How many.
        at_most: u32,
    },
    /// A phase with a time limit may take so many days more.
    MoreDays {
        /// How many.
        more: u32,
    },
}

impl From<ChangeOf> for AddonChange {
    fn from(change: ChangeOf) -> Self {
        match change {
            ChangeOf::Split { at_least } => Self::Split { at_least: at_least.to_string() },
            ChangeOf::Resets { included } => Self::Resets { included },
            ChangeOf::PayoutDays { first, next } => Self::PayoutDays { first, next },
            ChangeOf::TradingDays { at_most } => Self::TradingDays { at_most },
            ChangeOf::MoreDays { more } => Self::MoreDays { more },
        }
    }
}

impl AddonChange {
    fn read(self) -> Result<ChangeOf, AppError> {
        Ok(match self {
            Self::Split { at_least } => {
                ChangeOf::Split { at_least: read_percent("/change/at_least", &at_least)? }
            }
            Self::Resets { included } => ChangeOf::Resets { included },
            Self::PayoutDays { first, next } => ChangeOf::PayoutDays { first, next },
            Self::TradingDays { at_most } => ChangeOf::TradingDays { at_most },
            Self::MoreDays { more } => ChangeOf::MoreDays { more },
        })
    }
}

/// A tax.
#[derive(Debug, Serialize, ToSchema)]
pub struct TaxRate {
    /// In per cent.
    rate: String,
    /// Whether prices contain it; otherwise it comes on top.
    included: bool,
}

impl From<Tax> for TaxRate {
    fn from(tax: Tax) -> Self {
        Self { rate: tax.rate.to_string(), included: tax.inclusive }
    }
}

/// For whom a shelf is looked at.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
struct ForWhom {
    /// Where the buyer says they are: two capital letters (ISO 3166-1).
    country: Option<String>,
    /// In which currency; the program's own if none is said.
    currency: Option<String>,
}

/// What is on the shelf of a program, at the prices of whoever looks.
#[derive(Debug, Serialize, ToSchema)]
pub struct Shelf {
    /// The program's slug.
    program: String,
    /// The version on sale.
    version: String,
    /// Whether it is a trial: it costs nothing, and everybody gets one.
    trial: bool,
    /// What it costs, before coupons and a tax that comes on top.
    price: String,
    /// Currency of every amount.
    currency: &'static str,
    /// In which currencies it has a price, its own first.
    currencies: Vec<&'static str>,
    /// The tax on it for a buyer there.
    #[schema(required)]
    tax: Option<TaxRate>,
    /// What can be added, in the order of the codes.
    addons: Vec<OfferedAddon>,
}

/// What can be added to a program.
#[derive(Debug, Serialize, ToSchema)]
pub struct OfferedAddon {
    /// Its name in requests.
    code: String,
    /// Its name for people.
    name: String,
    /// What it gives, in a sentence.
    effect: String,
    /// What it costs with this program.
    price: String,
    /// What it changes in the program, as the rules say it; empty if it changes none of them.
    changes: Vec<ProgramChange>,
}

fn offered(it: OfferedAddonOf) -> OfferedAddon {
    OfferedAddon {
        effect: it.addon.change.sentence(),
        code: it.addon.code,
        name: it.addon.name,
        price: it.price.amount_text(),
        changes: changes(it.changes),
    }
}

/// What is on the shelf of a program, at the prices of whoever looks.
#[utoipa::path(get, path = "/v1/programs/{slug}/shelf", tag = "catalogue",
    params(("slug" = String, Path), ForWhom), responses(
    (status = 200, body = Shelf), (status = 404, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn on_shelf(
    State(web): State<Web>,
    caller: Caller,
    Path(slug): Path<String>,
    Query(ForWhom { country, currency }): Query<ForWhom>,
) -> Result<Json<Shelf>, Problem> {
    let country = country.map(|text| read_country("/country", &text)).transpose()?;
    let currency = currency.map(|text| read_currency("/currency", &text)).transpose()?;
    let shelf = web.purchases.on_shelf(&caller.context, &slug, country, currency).await?;
    Ok(Json(Shelf {
        program: shelf.slug,
        version: shelf.version.to_string(),
        trial: shelf.trial,
        price: shelf.price.amount_text(),
        currency: shelf.price.currency().code(),
        currencies: shelf.currencies.iter().map(|currency| currency.code()).collect(),
        tax: (shelf.tax.rate.millionths() > 0).then(|| shelf.tax.into()),
        addons: shelf.addons.into_iter().map(offered).collect(),
    }))
}

/// The shelf of a program as it is.
#[derive(Debug, Serialize, ToSchema)]
pub struct ProgramShelf {
    /// The program's slug.
    program: String,
    /// Its name.
    name: String,
    /// Its price for everybody.
    fee: MoneyIn,
    /// Whether it is a trial: it costs nothing, and everybody gets one.
    trial: bool,
    /// What a reset costs, in the currency of the fee; not for sale if none.
    #[schema(required)]
    reset_fee: Option<String>,
    /// Its add-ons, in the order of the codes.
    addons: Vec<StockedAddon>,
    /// Its other prices.
    prices: Vec<OtherPrice>,
}

/// An add-on, on sale or no longer.
#[derive(Debug, Serialize, ToSchema)]
pub struct StockedAddon {
    /// Its name in requests.
    code: String,
    /// Its name for people.
    name: String,
    /// What it costs: an amount, or a share of the program's price.
    price: Portion,
    /// What it changes.
    change: AddonChange,
    /// What it gives, in a sentence.
    effect: String,
    /// Whether it can be bought.
    on_sale: bool,
    /// Whether it changes anything in the version on sale; one that does not is not shown to buyers.
    fits: bool,
}

/// A price for some buyers instead of the one for all.
#[derive(Debug, Serialize, ToSchema)]
pub struct OtherPrice {
    /// Only there.
    #[schema(required)]
    country: Option<String>,
    /// Only for people of this group.
    #[schema(required)]
    group: Option<String>,
    /// How much.
    price: String,
    /// In which currency.
    currency: &'static str,
}

fn render_shelf(shelf: WholeShelf) -> ProgramShelf {
    let program = &shelf.offer.program;
    let stocked = |stocked: app::catalogue::StockedAddon| StockedAddon {
        fits: stocked.addon.change.applied(program).is_ok(),
        effect: stocked.addon.change.sentence(),
        price: match stocked.addon.price {
            AddonPrice::Amount(money) => Portion::amount(money),
            AddonPrice::Percent(percent) => Portion::percent(percent),
        },
        change: stocked.addon.change.into(),
        code: stocked.addon.code,
        name: stocked.addon.name,
        on_sale: stocked.on_sale,
    };
    let other = |price: Price| OtherPrice {
        country: price.country.map(String::from),
        group: price.group,
        price: price.price.amount_text(),
        currency: price.price.currency().code(),
    };
    ProgramShelf {
        addons: shelf.addons.into_iter().map(stocked).collect(),
        prices: shelf.prices.into_iter().map(other).collect(),
        program: shelf.offer.slug.clone(),
        name: program.name.clone(),
        fee: shelf.offer.fee.into(),
        trial: shelf.trial,
        reset_fee: shelf.reset_fee.map(Money::amount_text),
    }
}

/// The shelf of a program as it is: for those who edit it.
#[utoipa::path(get, path = "/v1/shelf/programs/{slug}", tag = "shelf", params(("slug" = String, Path)), responses(
    (status = 200, body = ProgramShelf), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 404, response = ProblemBody)))]
async fn program_shelf(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(slug): Path<String>,
) -> Result<Json<ProgramShelf>, Problem> {
    Ok(Json(render_shelf(web.catalogue.whole_shelf(&caller.context, &slug).await?)))
}

/// An add-on as it is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewAddon {
    /// Its name for people, at most 80 characters.
    name: String,
    /// What it costs: an amount, or a share of the program's price.
    price: Portion,
    /// What it changes.
    change: AddonChange,
    /// Whether it can be bought.
    on_sale: bool,
}

/// Puts an add-on of a program on sale, changes it or takes it off. Purchases keep what they were bought with. Answers with
/// the shelf as it then is.
#[utoipa::path(put, path = "/v1/shelf/programs/{slug}/addons/{code}", tag = "shelf",
    params(("slug" = String, Path), ("code" = String, Path)), request_body = NewAddon, responses(
    (status = 200, body = ProgramShelf), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 404, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn put_addon(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path((slug, code)): Path<(String, String)>,
    Body(body): Body<NewAddon>,
) -> Result<Json<ProgramShelf>, Problem> {
    caller.demand(Permission::EditPrograms)?;
    let price = match body.price.read("/price")? {
        Read::Amount(money) => AddonPrice::Amount(money),
        Read::Percent(percent) => AddonPrice::Percent(percent),
    };
    let addon = Addon { code, name: body.name.trim().to_owned(), price, change: body.change.read()? };
    changed(&web, &caller, slug.clone(), ShelfChange::Addon { slug, addon, on_sale: body.on_sale }).await
}

/// Another price as it is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewPrice {
    /// Only there: two capital letters (ISO 3166-1).
    country: Option<String>,
    /// Only for people of this group.
    group: Option<String>,
    /// In which currency.
    currency: String,
    /// How much; nothing takes this price away.
    price: Option<String>,
}

/// Sets another price of a program for a country, a group or a currency, or takes it away. Answers with the shelf as it then is.
#[utoipa::path(put, path = "/v1/shelf/programs/{slug}/prices", tag = "shelf", params(("slug" = String, Path)),
    request_body = NewPrice, responses(
    (status = 200, body = ProgramShelf), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 404, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn put_price(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(slug): Path<String>,
    Body(body): Body<NewPrice>,
) -> Result<Json<ProgramShelf>, Problem> {
    caller.demand(Permission::EditPrograms)?;
    let currency = read_currency("/currency", &body.currency)?;
    let country = body.country.map(|text| read_country("/country", &text)).transpose()?;
    let price = |price| Price { country, group: body.group, price };
    let change = match &body.price {
        Some(text) => {
            ShelfChange::Price { slug: slug.clone(), price: price(read_money("/price", text, currency)?) }
        }
        None => ShelfChange::NoPrice { slug: slug.clone(), price: price(Money::from_minor(0, currency)) },
    };
    changed(&web, &caller, slug, change).await
}

/// What else is said of a program.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTerms {
    /// Whether it is a trial: it costs nothing, and everybody gets one.
    trial: bool,
    /// What a reset costs, in the currency of the program's price; nothing takes resets off sale.
    reset_fee: Option<String>,
}

/// Says of a program whether it is a trial and what a reset costs. Answers with the shelf as it then is.
#[utoipa::path(put, path = "/v1/shelf/programs/{slug}/terms", tag = "shelf", params(("slug" = String, Path)),
    request_body = NewTerms, responses(
    (status = 200, body = ProgramShelf), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 404, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn put_terms(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(slug): Path<String>,
    Body(body): Body<NewTerms>,
) -> Result<Json<ProgramShelf>, Problem> {
    caller.demand(Permission::EditPrograms)?;
    let currency = web.catalogue.get(caller.context.firm, &slug).await?.fee.currency();
    let reset_fee = body.reset_fee.map(|text| read_money("/reset_fee", &text, currency)).transpose()?;
    let change = ShelfChange::Terms { slug: slug.clone(), trial: body.trial, reset_fee };
    changed(&web, &caller, slug, change).await
}

async fn changed(
    web: &Web,
    caller: &Caller,
    slug: String,
    change: ShelfChange,
) -> Result<Json<ProgramShelf>, Problem> {
    web.catalogue.change_shelf(&caller.context, change).await?;
    Ok(Json(render_shelf(web.catalogue.whole_shelf(&caller.context, &slug).await?)))
}

/// A coupon to add. What it lets off never changes.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewCoupon {
    /// What the buyer types, in whatever case: letters, digits, hyphens and underscores, at most 32.
    code: String,
    /// What it lets off.
    off: Portion,
    /// Slugs of the programs it is for; for all if none is named.
    #[serde(default)]
    programs: Vec<String>,
    /// Not before.
    starts_at: Option<String>,
    /// No longer from then on.
    ends_at: Option<String>,
    /// So often by everybody together.
    most_uses: Option<u32>,
    /// So often by one person.
    most_per_person: Option<u32>,
    /// Only for the person of this id.
    only_person: Option<String>,
    /// Whether others may be used with it.
    #[serde(default)]
    stackable: bool,
    /// Only for what costs at least so much in its currency.
    least: Option<MoneyIn>,
}

/// A coupon.
#[derive(Debug, Serialize, ToSchema)]
pub struct Coupon {
    /// What the buyer types, in capitals.
    code: String,
    /// What it lets off.
    off: Portion,
    /// Slugs of the programs it is for; for all if none is named.
    programs: Vec<String>,
    /// Not before.
    #[schema(required)]
    starts_at: Option<String>,
    /// No longer from then on.
    #[schema(required)]
    ends_at: Option<String>,
    /// So often by everybody together.
    #[schema(required)]
    most_uses: Option<u32>,
    /// So often by one person.
    #[schema(required)]
    most_per_person: Option<u32>,
    /// Only for the person of this id.
    #[schema(required)]
    only_person: Option<String>,
    /// Whether others may be used with it.
    stackable: bool,
    /// Only for what costs at least so much in its currency.
    #[schema(required)]
    least: Option<MoneyIn>,
    /// Whether it was taken back.
    disabled: bool,
    /// How often it is used, by purchases that are paid or wait for their payment.
    used: u32,
    /// When it was added.
    created_at: String,
}

fn render_coupon(ListedCoupon { coupon, used, created_at }: ListedCoupon) -> Coupon {
    Coupon {
        code: coupon.code,
        off: match coupon.off {
            Off::Percent(percent) => Portion::percent(percent),
            Off::Amount(money) => Portion::amount(money),
        },
        programs: coupon.slugs.into_iter().collect(),
        starts_at: coupon.starts_at.map(time),
        ends_at: coupon.ends_at.map(time),
        most_uses: coupon.most_uses,
        most_per_person: coupon.most_per_person,
        only_person: coupon.only.map(|person| person.to_string()),
        stackable: coupon.stackable,
        least: coupon.least.map(MoneyIn::from),
        disabled: coupon.disabled,
        used,
        created_at: time(created_at),
    }
}

/// The firm's coupons, the newest first.
#[utoipa::path(get, path = "/v1/shelf/coupons", tag = "shelf", params(Cursor), responses(
    (status = 200, body = Page<Coupon>), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody)))]
async fn coupons(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Query(Cursor { cursor }): Query<Cursor>,
) -> Result<Json<Page<Coupon>>, Problem> {
    let found = web.catalogue.coupons(&caller.context, cursor.as_deref(), PAGE).await?;
    let full = i64::try_from(found.len()) == Ok(PAGE);
    let next_cursor = found.last().filter(|_| full).map(|last| last.coupon.code.clone());
    Ok(Json(Page { items: found.into_iter().map(render_coupon).collect(), next_cursor }))
}

/// Adds a coupon. Refused with `conflict` if there is or was one of this code.
#[utoipa::path(post, path = "/v1/shelf/coupons", tag = "shelf", request_body = NewCoupon, responses(
    (status = 201, body = Coupon), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 409, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn add_coupon(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Body(body): Body<NewCoupon>,
) -> Result<(StatusCode, Json<Coupon>), Problem> {
    caller.demand(Permission::EditPrograms)?;
    let offers = web.catalogue.list(caller.context.firm).await?;
    for (place, slug) in body.programs.iter().enumerate() {
        if offers.iter().all(|offer| offer.slug != *slug) {
            let say = format!("There is no program {slug} on sale.");
            return Err(AppError::field(&format!("/programs/{place}"), say).into());
        }
    }
    let off = match body.off.read("/off")? {
        Read::Percent(percent) => Off::Percent(percent),
        Read::Amount(money) => Off::Amount(money),
    };
    let nobodys = |_| AppError::field("/only_person", "This is no person's id.");
    let coupon = CouponOf {
        code: body.code.trim().to_ascii_uppercase(),
        off,
        slugs: body.programs.into_iter().collect(),
        starts_at: body.starts_at.map(|text| read_time("/starts_at", &text)).transpose()?,
        ends_at: body.ends_at.map(|text| read_time("/ends_at", &text)).transpose()?,
        most_uses: body.most_uses,
        most_per_person: body.most_per_person,
        only: body.only_person.map(|text| text.parse().map_err(nobodys)).transpose()?,
        stackable: body.stackable,
        least: body.least.map(|least| least.read("/least")).transpose()?,
        disabled: false,
    };
    web.catalogue.change_shelf(&caller.context, ShelfChange::Coupon(coupon.clone())).await?;
    let added = ListedCoupon { coupon, used: 0, created_at: web.clock.now() };
    Ok((StatusCode::CREATED, Json(render_coupon(added))))
}

/// Takes a coupon back: nobody can use it any more. What was bought with it stays. Twice is once.
#[utoipa::path(delete, path = "/v1/shelf/coupons/{code}", tag = "shelf", params(("code" = String, Path)), responses(
    (status = 204, description = "It is no longer valid"), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 404, response = ProblemBody)))]
async fn disable_coupon(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Path(code): Path<String>,
) -> Result<StatusCode, Problem> {
    let change = ShelfChange::CouponDisabled(code.to_ascii_uppercase());
    web.catalogue.change_shelf(&caller.context, change).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The tax on sales to a country.
#[derive(Debug, Serialize, ToSchema)]
pub struct CountryTax {
    /// The country; nothing for all that have none of their own.
    #[schema(required)]
    country: Option<String>,
    /// In per cent.
    rate: String,
    /// Whether prices contain it; otherwise it comes on top.
    included: bool,
}

/// The tax on sales to a country as it is to be.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewTax {
    /// The country: two capital letters (ISO 3166-1); nothing for all that have none of their own.
    country: Option<String>,
    /// In per cent; nothing takes the tax away.
    rate: Option<String>,
    /// Whether prices contain it; otherwise it comes on top.
    included: bool,
}

async fn all_taxes(web: &Web, caller: &Caller) -> Result<Json<Items<CountryTax>>, Problem> {
    let taxes = web.catalogue.taxes(&caller.context).await?;
    let render = |it: app::catalogue::TaxOf| CountryTax {
        country: it.country.map(String::from),
        rate: it.tax.rate.to_string(),
        included: it.tax.inclusive,
    };
    Ok(Json(Items { items: taxes.into_iter().map(render).collect() }))
}

/// The taxes on the firm's sales, that for all countries first.
#[utoipa::path(get, path = "/v1/shelf/taxes", tag = "shelf", responses(
    (status = 200, body = Items<CountryTax>), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody)))]
async fn taxes(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
) -> Result<Json<Items<CountryTax>>, Problem> {
    all_taxes(&web, &caller).await
}

/// Sets the tax on sales to a country, or takes it away. Answers with all taxes as they then are.
#[utoipa::path(put, path = "/v1/shelf/taxes", tag = "shelf", request_body = NewTax, responses(
    (status = 200, body = Items<CountryTax>), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 422, response = ProblemBody)))]
async fn put_tax(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Body(body): Body<NewTax>,
) -> Result<Json<Items<CountryTax>>, Problem> {
    caller.demand(Permission::EditPrograms)?;
    let country: Option<Country> = body.country.map(|text| read_country("/country", &text)).transpose()?;
    let rate = body.rate.map(|text| read_percent("/rate", &text)).transpose()?;
    let tax = rate.map(|rate| Tax { rate, inclusive: body.included });
    web.catalogue.change_shelf(&caller.context, ShelfChange::Tax(country, tax)).await?;
    all_taxes(&web, &caller).await
}

/// Somebody who belongs to a group, for prices.
#[derive(Debug, Serialize, ToSchema)]
pub struct GroupMember {
    /// The person's id.
    person: String,
    /// The group.
    group: String,
}

/// Where somebody is to belong.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMember {
    /// The person's id.
    person: String,
    /// The group; nothing takes them out of theirs.
    group: Option<String>,
}

fn person_at(pointer: &str, text: &str) -> Result<PersonId, AppError> {
    text.parse().map_err(|_| AppError::field(pointer, "This is no person's id."))
}

/// Who belongs to which group, in the order of their ids. Nobody belongs to more than one.
#[utoipa::path(get, path = "/v1/shelf/groups", tag = "shelf", params(Cursor), responses(
    (status = 200, body = Page<GroupMember>), (status = 401, response = ProblemBody), (status = 403, response = ProblemBody),
    (status = 422, response = ProblemBody)))]
async fn groups(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Query(Cursor { cursor }): Query<Cursor>,
) -> Result<Json<Page<GroupMember>>, Problem> {
    let after = cursor.map(|text| person_at("/cursor", &text)).transpose()?;
    let found = web.catalogue.groups(&caller.context, after, PAGE).await?;
    let full = i64::try_from(found.len()) == Ok(PAGE);
    let next_cursor = found.last().filter(|_| full).map(|last| last.person.to_string());
    let render =
        |it: app::catalogue::GroupMember| GroupMember { person: it.person.to_string(), group: it.group };
    Ok(Json(Page { items: found.into_iter().map(render).collect(), next_cursor }))
}

/// Puts somebody into a group, or takes them out of theirs. Twice is once.
#[utoipa::path(put, path = "/v1/shelf/groups", tag = "shelf", request_body = NewMember, responses(
    (status = 204, description = "They belong there"), (status = 401, response = ProblemBody),
    (status = 403, response = ProblemBody), (status = 404, response = ProblemBody), (status = 422, response = ProblemBody)))]
async fn put_group(
    State(web): State<Web>,
    SignedIn(caller): SignedIn,
    Body(body): Body<NewMember>,
) -> Result<StatusCode, Problem> {
    caller.demand(Permission::EditPrograms)?;
    let person = person_at("/person", &body.person)?;
    web.catalogue.change_shelf(&caller.context, ShelfChange::Group(person, body.group)).await?;
    Ok(StatusCode::NO_CONTENT)
}
