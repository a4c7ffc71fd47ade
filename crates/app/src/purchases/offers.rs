//! What a buyer is shown before they order: a program's shelf at their prices, and whether a challenge may begin anew.

use std::collections::{BTreeMap, BTreeSet};

use kernel::{ChallengeId, Currency, FirmId, Money, PersonId};
use rules::{Change, VersionHash};

use super::{Order, Purchases};
use crate::catalogue::{Addon, Basket, Country, Item, NotForSale, Tax, WholeShelf, quote};
use crate::{AppError, Context};

/// What is on the shelf of a program, at the prices of whoever looks.
#[derive(Debug, Clone)]
pub struct OnShelf {
    /// The program's slug.
    pub slug: String,
    /// The version on sale.
    pub version: VersionHash,
    /// Whether it is a trial: it costs nothing, and everybody gets one.
    pub trial: bool,
    /// What it costs, before coupons and a tax that comes on top.
    pub price: Money,
    /// In which currencies it has a price, its own first.
    pub currencies: Vec<Currency>,
    /// What a reset of it costs; not for sale if none.
    pub reset_fee: Option<Money>,
    /// The tax on it.
    pub tax: Tax,
    /// What can be added, in the order of the codes.
    pub addons: Vec<OfferedAddon>,
}

/// What can be added to a program.
#[derive(Debug, Clone)]
pub struct OfferedAddon {
    /// It.
    pub addon: Addon,
    /// What it costs with this program.
    pub price: Money,
    /// What it changes in the program, as the rules say it; empty if it changes none of them.
    pub changes: Vec<Change>,
}

/// Whether and at what price a challenge may begin anew.
#[derive(Debug, Clone)]
pub struct ResetOffer {
    /// Its program's slug.
    pub slug: String,
    /// Its program's name.
    pub program_name: String,
    /// Its version; the new one gets the same.
    pub version: VersionHash,
    /// How many resets of those bought with it are left.
    pub included: u32,
    /// What it costs now, before coupons and tax; nothing if it cannot begin anew now.
    pub fee: Option<Money>,
}

impl Purchases {
    /// What is on the shelf of a program, at the prices of whoever looks; open to everybody.
    pub async fn on_shelf(
        &self,
        context: &Context,
        slug: &str,
        country: Option<Country>,
        currency: Option<Currency>,
    ) -> Result<OnShelf, AppError> {
        let buyer = context.actor.as_ref().map(|actor| actor.person);
        let found = self.catalogue.whole_shelf(context.firm, slug, buyer, country).await?;
        let found = found.ok_or(AppError::NotFound("program"))?;
        let tax = self.taxes.tax(context.firm, slug, country).await?.unwrap_or(found.tax);
        let basket = basket(&found, (buyer, country, currency), tax);
        let at = self.clock.now();
        let price = quote(&basket, at)?.list;
        let own = found.offer.fee.currency();
        let others: BTreeSet<&str> = found.prices.iter().map(|price| price.price.currency().code()).collect();
        let others = others.into_iter().filter_map(|code| Currency::parse(code).ok()).filter(|it| *it != own);
        let sold =
            |currency: &Currency| quote(&Basket { currency: Some(*currency), ..basket.clone() }, at).is_ok();
        let mut addons = Vec::new();
        for stocked in found.addons.iter().filter(|stocked| stocked.on_sale && !found.trial) {
            let addon = &stocked.addon;
            // One that no longer fits the version on sale is not for sale.
            let Ok(other) = addon.change.applied(&found.offer.program) else { continue };
            let with = Basket { addons: vec![addon.clone()], ..basket.clone() };
            let price = match quote(&with, at) {
                Ok(quote) => {
                    quote.lines.into_iter().find(|line| line.what == "addon").map(|line| line.amount)
                }
                Err(NotForSale::Addon(_)) => None,
                Err(error) => return Err(error.into()),
            };
            let changes = rules::difference(&found.offer.program, &other);
            addons.extend(price.map(|price| OfferedAddon { addon: addon.clone(), price, changes }));
        }
        Ok(OnShelf {
            currencies: [own].into_iter().chain(others).filter(sold).collect(),
            slug: found.offer.slug,
            version: found.offer.version,
            trial: found.trial,
            price,
            reset_fee: found.reset_fee,
            tax,
            addons,
        })
    }

    /// What the add-ons of a program are called, by their codes, also of those that are no longer on sale.
    pub async fn addon_names(&self, firm: FirmId, slug: &str) -> Result<BTreeMap<String, String>, AppError> {
        let found = self.catalogue.whole_shelf(firm, slug, None, None).await?;
        let addons = found.into_iter().flat_map(|shelf| shelf.addons);
        Ok(addons.map(|stocked| (stocked.addon.code, stocked.addon.name)).collect())
    }

    /// Whether and at what price one of the caller's own challenges may begin anew.
    pub async fn reset_offer(
        &self,
        context: &Context,
        challenge: ChallengeId,
    ) -> Result<ResetOffer, AppError> {
        let person = context.actor()?.person;
        let found = self.store.resettable(context.firm, person, challenge).await?;
        let found = found.ok_or(AppError::NotFound("challenge"))?;
        let goods = self.catalogue.whole_shelf(context.firm, &found.slug, Some(person), None).await?;
        let may = found.failed && !found.begun_anew;
        let fee = goods.filter(|_| may).and_then(|goods| {
            let free = Money::from_minor(0, goods.offer.fee.currency());
            if found.included > 0 { Some(free) } else { goods.reset_fee }
        });
        Ok(ResetOffer {
            slug: found.slug,
            program_name: found.program.name.clone(),
            version: found.version,
            included: found.included,
            fee,
        })
    }
}

/// The program alone.
fn basket(
    shelf: &WholeShelf,
    (buyer, country, currency): (Option<PersonId>, Option<Country>, Option<Currency>),
    tax: Tax,
) -> Basket {
    Basket {
        slug: shelf.offer.slug.clone(),
        item: Item::Challenge,
        // Only coupons ask who it is, and there are none.
        buyer: buyer.unwrap_or_else(|| PersonId::derived(&[b"visitor"])),
        country,
        group: shelf.group.clone(),
        currency,
        fee: shelf.offer.fee,
        prices: shelf.prices.clone(),
        reset_fee: shelf.reset_fee,
        trial: shelf.trial,
        addons: Vec::new(),
        coupons: Vec::new(),
        tax,
    }
}

/// Which coupon of an order a refusal is about, by its place; a refusal of coupons names the one.
pub fn coupon_meant(order: &Order, refusal: &AppError) -> Option<usize> {
    let AppError::Refused { code: "coupon_refused" | "coupon_used_up", say } = refusal else { return None };
    let words: BTreeSet<&str> = say.split_whitespace().map(|word| word.trim_end_matches('.')).collect();
    let named = |code: &String| words.contains(code.trim().to_ascii_uppercase().trim_end_matches('.'));
    order.coupons.iter().position(named).or_else(|| (order.coupons.len() == 1).then_some(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_about_the_coupon_that_it_names() {
        let order = |coupons: &[&str]| Order {
            coupons: coupons.iter().map(|code| (*code).to_owned()).collect(),
            ..Order::default()
        };
        let refused = |say: &str| AppError::refused("coupon_refused", say);
        let two = order(&["spring", " Vip "]);
        assert_eq!(coupon_meant(&two, &refused("The coupon VIP is not valid yet.")), Some(1));
        assert_eq!(coupon_meant(&two, &refused("There is no coupon SPRING.")), Some(0));
        // Lost to somebody else between the price and the purchase.
        let lost = refused("A coupon is no longer valid.");
        assert_eq!(coupon_meant(&two, &lost), None);
        assert_eq!(coupon_meant(&order(&["vip"]), &lost), Some(0));
        assert_eq!(coupon_meant(&two, &AppError::refused("program_changed", "VIP")), None);
    }
}
