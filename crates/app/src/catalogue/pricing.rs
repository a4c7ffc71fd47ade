//! What something costs: one pure function over what the firm has on its shelf and what the buyer has put into the basket.
//! The buyer names things; every amount is ours.

use std::collections::BTreeSet;
use std::fmt;

use kernel::{Currency, Money, Overflow, Percent, PersonId, Rounding, Timestamp, divide};
use serde::{Deserialize, Serialize};

use super::addons::AddonChange;
use crate::AppError;

/// A country, by its two letters (ISO 3166-1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Country([u8; 2]);

impl Country {
    /// Two capital letters.
    pub fn parse(text: &str) -> Option<Self> {
        let letters: [u8; 2] = text.as_bytes().try_into().ok()?;
        letters.iter().all(u8::is_ascii_uppercase).then_some(Self(letters))
    }
}

impl fmt::Display for Country {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|letter| write!(formatter, "{}", char::from(*letter)))
    }
}

impl TryFrom<String> for Country {
    type Error = String;
    fn try_from(text: String) -> Result<Self, String> {
        Self::parse(&text).ok_or_else(|| format!("{text:?} is no country: two capital letters"))
    }
}

impl From<Country> for String {
    fn from(country: Country) -> Self {
        country.to_string()
    }
}

/// A price for some buyers instead of the one for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Price {
    /// Only there.
    pub country: Option<Country>,
    /// Only for people of this group.
    pub group: Option<String>,
    /// In which currency, and how much.
    pub price: Money,
}

/// What may be added to a program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addon {
    /// Its name in requests.
    pub code: String,
    /// Its name for people.
    pub name: String,
    /// What it costs.
    pub price: AddonPrice,
    /// What it changes.
    pub change: AddonChange,
}

/// What an add-on costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AddonPrice {
    /// An amount, in its currency only.
    Amount(Money),
    /// A share of the program's price.
    Percent(Percent),
}

/// What a coupon lets off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Off {
    /// A share.
    Percent(Percent),
    /// An amount, in its currency only.
    Amount(Money),
}

/// A coupon, with how often it was used when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coupon {
    /// What the buyer types, in capitals.
    pub code: String,
    /// What it lets off.
    pub off: Off,
    /// For these programs; for all if none is named.
    pub slugs: BTreeSet<String>,
    /// Not before.
    pub starts_at: Option<Timestamp>,
    /// No longer from then on.
    pub ends_at: Option<Timestamp>,
    /// So often by everybody together.
    pub most_uses: Option<u32>,
    /// So often by one person.
    pub most_per_person: Option<u32>,
    /// Only for this person.
    pub only: Option<PersonId>,
    /// Whether others may be used with it.
    pub stackable: bool,
    /// Only for what costs at least so much in its currency.
    pub least: Option<Money>,
    /// Whether it was taken back.
    pub disabled: bool,
}

/// How often a coupon was used when the shelf was read. Whether it may be used once more is decided when it is claimed;
/// this only lets the buyer know sooner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Used {
    /// By everybody.
    pub all: u32,
    /// By the buyer.
    pub own: u32,
}

/// What tax is on a sale.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tax {
    /// How much.
    pub rate: Percent,
    /// Whether prices contain it; otherwise it comes on top.
    pub inclusive: bool,
}

impl Tax {
    /// None.
    pub const NONE: Self = Self { rate: Percent::from_whole(0), inclusive: true };
}

/// What is bought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Item {
    /// A challenge from its beginning.
    Challenge,
    /// The same challenge once more, after it failed; at the price of a reset.
    Reset {
        /// Whether it is one of those that were bought with the challenge.
        included: bool,
    },
}

/// What the buyer has asked for, and what the firm knows about it. Read in one go; the amounts are the firm's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Basket {
    /// Which program.
    pub slug: String,
    /// What is bought of it.
    pub item: Item,
    /// Who buys.
    pub buyer: PersonId,
    /// Where they say they are.
    pub country: Option<Country>,
    /// To which group they belong.
    pub group: Option<String>,
    /// In which currency they want to pay; the program's own if none is said.
    pub currency: Option<Currency>,
    /// The program's price for everybody.
    pub fee: Money,
    /// Other prices of it.
    pub prices: Vec<Price>,
    /// What a reset costs in the program's currency; not for sale if none is set.
    pub reset_fee: Option<Money>,
    /// Whether it is a trial: it costs nothing, and everybody gets one.
    pub trial: bool,
    /// What is added, each once.
    pub addons: Vec<Addon>,
    /// What is let off, each once.
    pub coupons: Vec<(Coupon, Used)>,
    /// What tax is on it.
    pub tax: Tax,
}

/// One line of a price.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PriceLine {
    /// `program`, `reset`, `addon`, `coupon` or `tax`.
    pub what: String,
    /// The slug, or the code.
    pub code: String,
    /// How much; below zero for what is let off.
    pub amount: Money,
}

/// What something costs. The lines that are no tax make up `list` and `discount`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Quote {
    /// In order.
    pub lines: Vec<PriceLine>,
    /// Program and add-ons.
    pub list: Money,
    /// What is let off.
    pub discount: Money,
    /// Tax in the total.
    pub tax: Money,
    /// What is to be paid.
    pub total: Money,
}

/// Why something cannot be sold like this.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotForSale {
    /// There is no price in this currency.
    #[error("there is no price in {0}")]
    Currency(Currency),
    /// The add-on has no price in this currency.
    #[error("the add-on {0} has no price in this currency")]
    Addon(String),
    /// Twice the same add-on or coupon.
    #[error("{0} is there twice")]
    Twice(String),
    /// A reset of this program cannot be bought.
    #[error("resets of this program are not for sale")]
    Reset,
    /// Add-ons belong to a challenge, and a trial is what it is.
    #[error("nothing can be added to it")]
    NothingToAdd,
    /// The coupon does not hold, for a reason.
    #[error("the coupon {code} {why}")]
    Coupon {
        /// Which.
        code: String,
        /// Why not.
        why: &'static str,
    },
    /// The range of the integers is left.
    #[error(transparent)]
    Overflow(#[from] Overflow),
}

impl From<NotForSale> for AppError {
    fn from(error: NotForSale) -> Self {
        let say = |text: &str| {
            let mut letters = text.chars();
            let first = letters.next().map(|first| first.to_ascii_uppercase());
            format!("{}{}.", first.map(String::from).unwrap_or_default(), letters.as_str())
        };
        match &error {
            NotForSale::Currency(_) => Self::field("/currency", say(&error.to_string())),
            NotForSale::Addon(_) | NotForSale::NothingToAdd => {
                Self::field("/addons", say(&error.to_string()))
            }
            NotForSale::Twice(_) => Self::field("", say(&error.to_string())),
            NotForSale::Reset => Self::refused("reset_refused", say(&error.to_string())),
            NotForSale::Coupon { why: USED_UP, .. } => {
                Self::refused("coupon_used_up", say(&error.to_string()))
            }
            NotForSale::Coupon { .. } => Self::refused("coupon_refused", say(&error.to_string())),
            NotForSale::Overflow(_) => Self::Bug { doing: "pricing", source: Box::new(error) },
        }
    }
}

/// Why a coupon that is used up does not hold.
pub const USED_UP: &str = "has been used as often as it may be";

/// The price of a basket. The same basket has the same price, in whatever order its add-ons and coupons come.
///
/// Shares are of the program's price, coupons of program and add-ons together. Percentages of several coupons add up,
/// to 100 at most; amounts come after them, and nothing goes below zero. Shares are rounded to the minor unit half to even for
/// add-ons, down for coupons (the remainder is the firm's), half to even for tax.
pub fn quote(basket: &Basket, at: Timestamp) -> Result<Quote, NotForSale> {
    let program = program_price(basket)?;
    let currency = program.currency();
    let mut lines = vec![PriceLine {
        what: match basket.item {
            Item::Challenge => "program",
            Item::Reset { .. } => "reset",
        }
        .to_owned(),
        code: basket.slug.clone(),
        amount: program,
    }];
    if !basket.addons.is_empty() && (basket.trial || basket.item != Item::Challenge) {
        return Err(NotForSale::NothingToAdd);
    }
    let mut addons: Vec<&Addon> = basket.addons.iter().collect();
    addons.sort_by(|one, two| one.code.cmp(&two.code));
    let mut list = program.minor();
    for (place, addon) in addons.iter().enumerate() {
        if place.checked_sub(1).and_then(|before| addons.get(before)).is_some_and(|it| it.code == addon.code)
        {
            return Err(NotForSale::Twice(addon.code.clone()));
        }
        let minor = match addon.price {
            AddonPrice::Amount(amount) if amount.currency() == currency => amount.minor(),
            AddonPrice::Amount(_) => return Err(NotForSale::Addon(addon.code.clone())),
            AddonPrice::Percent(percent) => share(program.minor(), percent, Rounding::HalfEven)?,
        };
        list = list.checked_add(minor).ok_or(Overflow)?;
        let amount = Money::from_minor(minor, currency);
        lines.push(PriceLine { what: "addon".to_owned(), code: addon.code.clone(), amount });
    }
    let list = Money::from_minor(list, currency);
    let let_off = coupons(basket, list, at)?;
    let mut discount = 0_i64;
    for (code, minor) in let_off {
        discount = discount.checked_add(minor).ok_or(Overflow)?;
        let amount = Money::from_minor(minor.checked_neg().ok_or(Overflow)?, currency);
        lines.push(PriceLine { what: "coupon".to_owned(), code, amount });
    }
    let net = list.minor().checked_sub(discount).ok_or(Overflow)?;
    let (tax, total) = taxed(net, basket.tax)?;
    if tax != 0 {
        let (what, code) = ("tax".to_owned(), basket.tax.rate.to_string());
        lines.push(PriceLine { what, code, amount: Money::from_minor(tax, currency) });
    }
    Ok(Quote {
        lines,
        list,
        discount: Money::from_minor(discount, currency),
        tax: Money::from_minor(tax, currency),
        total: Money::from_minor(total, currency),
    })
}

/// The price of the program for this buyer: the one that names most of what they are. A group is more than a country.
fn program_price(basket: &Basket) -> Result<Money, NotForSale> {
    let own = basket.fee.currency();
    let currency = basket.currency.unwrap_or(own);
    if let Item::Reset { included } = basket.item {
        if included {
            return Ok(Money::from_minor(0, currency));
        }
        return basket.reset_fee.ok_or(NotForSale::Reset).and_then(|fee| in_currency(fee, currency));
    }
    if basket.trial {
        return Ok(Money::from_minor(0, currency));
    }
    let meant = |price: &&Price| {
        price.price.currency() == currency
            && price.country.is_none_or(|country| basket.country == Some(country))
            && price.group.as_ref().is_none_or(|group| basket.group.as_ref() == Some(group))
    };
    let closest = basket
        .prices
        .iter()
        .filter(meant)
        .max_by_key(|price| (price.group.is_some(), price.country.is_some()));
    match closest {
        Some(price) => Ok(price.price),
        None => in_currency(basket.fee, currency),
    }
}

fn in_currency(price: Money, currency: Currency) -> Result<Money, NotForSale> {
    if price.currency() == currency { Ok(price) } else { Err(NotForSale::Currency(currency)) }
}

/// What each coupon lets off, in the order of their codes, percentages first.
fn coupons(basket: &Basket, list: Money, at: Timestamp) -> Result<Vec<(String, i64)>, NotForSale> {
    let mut coupons: Vec<&(Coupon, Used)> = basket.coupons.iter().collect();
    coupons.sort_by(|(one, _), (two, _)| one.code.cmp(&two.code));
    for (place, (coupon, used)) in coupons.iter().enumerate() {
        let refused = |why| Err(NotForSale::Coupon { code: coupon.code.clone(), why });
        if place
            .checked_sub(1)
            .and_then(|before| coupons.get(before))
            .is_some_and(|(it, _)| it.code == coupon.code)
        {
            return Err(NotForSale::Twice(coupon.code.clone()));
        }
        if let Some(why) = objection(coupon, *used, basket, list, at) {
            return refused(why);
        }
        if coupons.len() > 1 && !coupon.stackable {
            return refused("cannot be used with another");
        }
    }
    let mut let_off = Vec::with_capacity(coupons.len());
    let (mut percents, mut left) = (0_i64, list.minor());
    for (coupon, _) in &coupons {
        let Off::Percent(percent) = coupon.off else { continue };
        let before = share(list.minor(), Percent::WHOLE.min(millionths(percents)?), Rounding::Floor)?;
        percents = percents.checked_add(percent.millionths()).ok_or(Overflow)?;
        let with = share(list.minor(), Percent::WHOLE.min(millionths(percents)?), Rounding::Floor)?;
        let minor = with.checked_sub(before).ok_or(Overflow)?;
        left = left.checked_sub(minor).ok_or(Overflow)?;
        let_off.push((coupon.code.clone(), minor));
    }
    for (coupon, _) in &coupons {
        let Off::Amount(amount) = coupon.off else { continue };
        let minor = amount.minor().min(left);
        left = left.checked_sub(minor).ok_or(Overflow)?;
        let_off.push((coupon.code.clone(), minor));
    }
    Ok(let_off)
}

/// Why a coupon does not hold.
fn objection(
    coupon: &Coupon,
    used: Used,
    basket: &Basket,
    list: Money,
    at: Timestamp,
) -> Option<&'static str> {
    let currency = list.currency();
    let other = |money: Money| money.currency() != currency;
    if coupon.disabled {
        return Some("is no longer valid");
    }
    if coupon.starts_at.is_some_and(|start| at < start) {
        return Some("is not valid yet");
    }
    if coupon.ends_at.is_some_and(|end| end <= at) {
        return Some("is no longer valid");
    }
    if coupon.only.is_some_and(|person| person != basket.buyer) {
        return Some("is somebody else's");
    }
    if !coupon.slugs.is_empty() && !coupon.slugs.contains(&basket.slug) {
        return Some("is for another program");
    }
    if matches!(coupon.off, Off::Amount(amount) if other(amount)) || coupon.least.is_some_and(other) {
        return Some("is in another currency");
    }
    if coupon.least.is_some_and(|least| list.minor() < least.minor()) {
        return Some("is for dearer purchases");
    }
    let reached = |most: Option<u32>, times: u32| most.is_some_and(|most| times >= most);
    if reached(coupon.most_uses, used.all) || reached(coupon.most_per_person, used.own) {
        return Some(USED_UP);
    }
    None
}

/// Tax and total of what is left to pay.
fn taxed(net: i64, tax: Tax) -> Result<(i64, i64), Overflow> {
    let rate = tax.rate.millionths();
    if tax.inclusive {
        let whole = Percent::WHOLE.millionths().checked_add(rate).ok_or(Overflow)?;
        let product = i128::from(net).checked_mul(i128::from(rate)).ok_or(Overflow)?;
        let inside = divide(product, i128::from(whole), Rounding::HalfEven)?;
        Ok((i64::try_from(inside).map_err(|_| Overflow)?, net))
    } else {
        let on_top = share(net, tax.rate, Rounding::HalfEven)?;
        Ok((on_top, net.checked_add(on_top).ok_or(Overflow)?))
    }
}

fn share(of: i64, percent: Percent, rounding: Rounding) -> Result<i64, Overflow> {
    let product = i128::from(of).checked_mul(i128::from(percent.millionths())).ok_or(Overflow)?;
    let share = divide(product, i128::from(Percent::WHOLE.millionths()), rounding)?;
    i64::try_from(share).map_err(|_| Overflow)
}

fn millionths(of: i64) -> Result<Percent, Overflow> {
    Percent::of(of, Percent::WHOLE.millionths())
}

#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "tests")]
#[path = "pricing_tests.rs"]
mod tests;
