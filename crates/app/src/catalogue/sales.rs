//! What stands on the firm's shelf beside the programs: add-ons, other prices, coupons, tax; and who changes it.

use std::collections::BTreeSet;

use async_trait::async_trait;
use kernel::{FirmId, Money, Percent, PersonId};
use serde_json::{Value, json};

use super::addons::AddonChange;
use super::pricing::{Addon, AddonPrice, Country, Coupon, Off, Price, Tax, Used};
use super::{Catalogue, Offer, is_slug};
use crate::trading::{AuditEntry, Digests};
use crate::{AppError, Context, Permission};

/// Whom and what a price is asked for.
#[derive(Debug, Clone, Copy)]
pub struct Asked<'a> {
    /// The program.
    pub slug: &'a str,
    /// Who buys.
    pub buyer: PersonId,
    /// Where they say they are.
    pub country: Option<Country>,
    /// Codes of add-ons.
    pub addons: &'a [String],
    /// Codes of coupons, in capitals.
    pub coupons: &'a [String],
}

/// What the firm knows of what is asked for; what is not there is not for sale.
#[derive(Debug, Clone)]
pub struct Shelf {
    /// The program on sale.
    pub offer: Offer,
    /// Whether it is a trial.
    pub trial: bool,
    /// What a reset costs.
    pub reset_fee: Option<Money>,
    /// Other prices of it.
    pub prices: Vec<Price>,
    /// Those of the add-ons asked for that are on sale.
    pub addons: Vec<Addon>,
    /// Those of the coupons asked for that there are.
    pub coupons: Vec<(Coupon, Used)>,
    /// The group that the buyer belongs to.
    pub group: Option<String>,
    /// What the firm has set for the buyer's country.
    pub tax: Tax,
}

/// Who knows what tax is due: a service that is asked, instead of what the firm has set by country.
#[async_trait]
pub trait Taxes: Send + Sync {
    /// The tax on a program for a buyer there; nothing if it does not know better.
    async fn tax(&self, firm: FirmId, slug: &str, country: Option<Country>) -> Result<Option<Tax>, AppError>;
}

/// Nobody knows better than the firm.
#[derive(Debug, Clone, Copy)]
pub struct NoTaxes;

#[async_trait]
impl Taxes for NoTaxes {
    async fn tax(&self, _: FirmId, _: &str, _: Option<Country>) -> Result<Option<Tax>, AppError> {
        Ok(None)
    }
}

/// A change of what stands on the shelf.
#[derive(Debug, Clone)]
pub enum ShelfChange {
    /// An add-on of a program, on sale or no longer.
    Addon {
        /// The program.
        slug: String,
        /// The add-on.
        addon: Addon,
        /// Whether it can be bought.
        on_sale: bool,
    },
    /// Another price of a program.
    Price {
        /// The program.
        slug: String,
        /// The price.
        price: Price,
    },
    /// Takes another price away again; its amount is not looked at.
    NoPrice {
        /// The program.
        slug: String,
        /// Which one.
        price: Price,
    },
    /// What else is to be said of a program.
    Terms {
        /// The program.
        slug: String,
        /// Whether it is a trial.
        trial: bool,
        /// What a reset costs; not for sale if none.
        reset_fee: Option<Money>,
    },
    /// A coupon; what it lets off never changes.
    Coupon(Coupon),
    /// A coupon is no longer valid.
    CouponDisabled(String),
    /// The tax on sales to a country, or to all that have none of their own; none takes it away.
    Tax(Option<Country>, Option<Tax>),
    /// The group that somebody belongs to, or none.
    Group(PersonId, Option<String>),
}

/// The most that a coupon or a price may be, in minor units.
const MOST_MINOR: i64 = 100_000_000_000;

impl Catalogue {
    /// Changes what stands on the shelf. Refused with `conflict` if there is a coupon of this code already.
    pub async fn change_shelf(&self, context: &Context, change: ShelfChange) -> Result<(), AppError> {
        context.demand(Permission::EditPrograms)?;
        check(&change)?;
        if let ShelfChange::Addon { slug, addon, on_sale: true } = &change {
            let offer = self.get(context.firm, slug).await?;
            let fits = addon.change.applied(&offer.program);
            fits.map_err(|error| AppError::field("/change", format!("{error}.")))?;
        }
        let (action, object, detail) = told(&change);
        let audit = AuditEntry {
            firm: context.firm,
            at: self.clock.now(),
            actor: context.actor.as_ref().map(|actor| actor.person),
            action: format!("shelf.{action}"),
            object_kind: "shelf",
            object,
            request: Some(context.request),
            purpose: String::new(),
            digests: Digests::default(),
            detail,
        };
        self.store.change_shelf(context.firm, &change, &audit).await
    }
}

fn check(change: &ShelfChange) -> Result<(), AppError> {
    let amount = |pointer: &str, money: Money| {
        let fits = (0..=MOST_MINOR).contains(&money.minor());
        if fits { Ok(()) } else { Err(AppError::field(pointer, "Must not be negative, nor that much.")) }
    };
    let share = |pointer: &str, percent: Percent| {
        let fits = percent.millionths() > 0 && percent <= Percent::WHOLE;
        if fits { Ok(()) } else { Err(AppError::field(pointer, "Must be above 0 and at most 100.")) }
    };
    match change {
        ShelfChange::Addon { addon: Addon { code, name, price, change }, .. } => {
            if !is_code(code) {
                return Err(AppError::field(
                    "/code",
                    "Use letters, digits, hyphens and underscores, at most 32.",
                ));
            }
            if name.trim().is_empty() || name.chars().count() > 80 {
                return Err(AppError::field("/name", "Give it a name of at most 80 characters."));
            }
            if let AddonChange::Split { at_least } = change {
                share("/change/split/at_least", *at_least)?;
            }
            match price {
                AddonPrice::Amount(money) => amount("/price", *money),
                AddonPrice::Percent(percent) => share("/price", *percent),
            }
        }
        ShelfChange::Price { price, .. } => {
            if price.country.is_none() && price.group.is_none() && price.price.minor() == 0 {
                return Err(AppError::field("/price", "A price for everybody is not zero; make it a trial."));
            }
            price.group.as_deref().map_or(Ok(()), group)?;
            amount("/price", price.price)
        }
        ShelfChange::Terms { reset_fee, .. } => reset_fee.map_or(Ok(()), |fee| amount("/reset_fee", fee)),
        ShelfChange::Coupon(coupon) => {
            if !is_code(&coupon.code) || coupon.code != coupon.code.to_ascii_uppercase() {
                let say = "Use capitals, digits, hyphens and underscores, at most 32.";
                return Err(AppError::field("/code", say));
            }
            if coupon.most_uses == Some(0) || coupon.most_per_person == Some(0) {
                return Err(AppError::field("/most_uses", "Must be at least 1."));
            }
            if coupon.starts_at.zip(coupon.ends_at).is_some_and(|(start, end)| end <= start) {
                return Err(AppError::field("/ends_at", "Must be after its start."));
            }
            if let (Off::Amount(off), Some(least)) = (coupon.off, coupon.least)
                && off.currency() != least.currency()
            {
                return Err(AppError::field("/least", "Must be in the currency of what is let off."));
            }
            coupon.least.map_or(Ok(()), |least| amount("/least", least))?;
            match coupon.off {
                Off::Percent(percent) => share("/off", percent),
                Off::Amount(money) if money.minor() == 0 => Err(AppError::field("/off", "Must be above 0.")),
                Off::Amount(money) => amount("/off", money),
            }
        }
        ShelfChange::Tax(_, Some(tax)) => {
            let fits = (0..=Percent::WHOLE.millionths()).contains(&tax.rate.millionths());
            if fits { Ok(()) } else { Err(AppError::field("/rate", "Must be from 0 to 100.")) }
        }
        ShelfChange::Group(_, Some(name)) => group(name),
        ShelfChange::NoPrice { .. }
        | ShelfChange::CouponDisabled(_)
        | ShelfChange::Tax(_, None)
        | ShelfChange::Group(_, None) => Ok(()),
    }
}

fn group(name: &str) -> Result<(), AppError> {
    let fits = is_slug(name) && name.len() <= 32;
    if fits { Ok(()) } else { Err(AppError::field("/group", "Use lower-case letters, digits and hyphens.")) }
}

fn is_code(text: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
    (1..=32).contains(&text.len()) && text.bytes().all(inner)
}

/// For the audit log: the action, what it is about, and what it says.
fn told(change: &ShelfChange) -> (&'static str, String, Value) {
    let for_whom =
        |price: &Price| json!({ "country": price.country, "group": price.group, "price": price.price });
    match change {
        ShelfChange::Addon { slug, addon, on_sale } => (
            "addon",
            format!("{slug}/{}", addon.code),
            json!({ "name": addon.name, "price": addon.price, "change": addon.change, "on_sale": on_sale }),
        ),
        ShelfChange::Price { slug, price } => ("price", slug.clone(), for_whom(price)),
        ShelfChange::NoPrice { slug, price } => ("price_remove", slug.clone(), for_whom(price)),
        ShelfChange::Terms { slug, trial, reset_fee } => {
            ("terms", slug.clone(), json!({ "trial": trial, "reset_fee": reset_fee }))
        }
        ShelfChange::Coupon(coupon) => {
            let slugs: &BTreeSet<String> = &coupon.slugs;
            let detail = json!({
                "off": coupon.off, "programs": slugs, "starts_at": coupon.starts_at, "ends_at": coupon.ends_at,
                "most_uses": coupon.most_uses, "most_per_person": coupon.most_per_person, "only": coupon.only,
                "stackable": coupon.stackable, "least": coupon.least
            });
            ("coupon", coupon.code.clone(), detail)
        }
        ShelfChange::CouponDisabled(code) => ("coupon_disable", code.clone(), json!({})),
        ShelfChange::Tax(country, tax) => {
            ("tax", country.map(String::from).unwrap_or_default(), json!({ "tax": tax }))
        }
        ShelfChange::Group(person, group) => ("group", person.to_string(), json!({ "group": group })),
    }
}
