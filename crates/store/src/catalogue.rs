//! Programs on sale and their versions.

use app::AppError;
use app::catalogue::{
    Addon, After, Asked, CatalogueStore, Country, Coupon, Kept, NewVersion, Off, Offer, Price, Published,
    Shelf, ShelfChange, Tax, Used, Written,
};
use app::trading::AuditEntry;
use async_trait::async_trait;
use kernel::{FirmId, Money, Percent, PersonId, Timestamp};
use rules::VersionHash;
use uuid::Uuid;

use crate::error::Doing;
use crate::records::{finish, record_in_tx};
use crate::row::{At, counter, from_json, money, to_json, version};
use crate::{Inconsistent, Store, Tx};

struct OfferRow {
    slug: String,
    version: String,
    fee_minor: i64,
    fee_currency: String,
}

#[async_trait]
impl CatalogueStore for Store {
    async fn offers(&self, firm: FirmId) -> Result<Vec<Offer>, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query_as!(
            OfferRow,
            "select slug, version, fee_minor, fee_currency from programs
             where firm_id = $1 and on_sale order by position, slug",
            firm.uuid(),
        )
        .fetch_all(tx.connection())
        .await
        .doing("reading the catalogue")?;
        let mut offers = Vec::with_capacity(rows.len());
        for row in rows {
            offers.push(offer_in_tx(self, &mut tx, row).await?);
        }
        Ok(offers)
    }

    async fn offer(&self, firm: FirmId, slug: &str) -> Result<Option<Offer>, AppError> {
        let mut tx = self.begin(firm).await?;
        let row = sqlx::query_as!(
            OfferRow,
            "select slug, version, fee_minor, fee_currency from programs
             where firm_id = $1 and on_sale and slug = $2",
            firm.uuid(),
            slug,
        )
        .fetch_optional(tx.connection())
        .await
        .doing("reading a program")?;
        match row {
            Some(row) => Ok(Some(offer_in_tx(self, &mut tx, row).await?)),
            None => Ok(None),
        }
    }

    async fn publish(&self, new: &NewVersion) -> Result<Written, AppError> {
        let doing = "publishing a version";
        let (firm, offer) = (new.audit.firm, &new.offer);
        let mut tx = self.begin(firm).await?;
        let body = offer.program.canonical_json().map_err(Inconsistent::from("program_versions"))?;
        sqlx::query!(
            "insert into program_versions (firm_id, version, body, name, currency, created_at)
             values ($1, $2, $3, $4, $5, $6) on conflict on constraint program_versions_key do nothing",
            firm.uuid(),
            offer.version.as_str(),
            body,
            offer.program.name,
            offer.program.currency.code(),
            At(new.at) as _,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        // Rows of programs never go: what is found here is what the change below meets, or something newer.
        let there = sqlx::query_scalar!(
            "select version from programs where firm_id = $1 and slug = $2",
            firm.uuid(),
            offer.slug,
        )
        .fetch_optional(tx.connection())
        .await
        .doing(doing)?;
        let expected = match &new.after {
            // Nothing can be replaced where nothing is.
            After::Version(_) if there.is_none() => return Ok(Written::Overtaken),
            After::Version(version) => Some(version.as_str()),
            After::Setup | After::Nothing => None,
        };
        let changed = sqlx::query!(
            "insert into programs (firm_id, slug, version, fee_minor, fee_currency, on_sale, position)
             values ($1, $2, $3, $4, $5, true, $6)
             on conflict on constraint programs_key do update
             set version = excluded.version, fee_minor = excluded.fee_minor, fee_currency = excluded.fee_currency,
                 on_sale = true, position = excluded.position
             where (programs.version, programs.fee_minor, programs.fee_currency, programs.on_sale, programs.position)
                   is distinct from
                   (excluded.version, excluded.fee_minor, excluded.fee_currency, true, excluded.position)
               and (programs.version = $7
                    or $8 and (select person_id from program_publications last
                               where last.firm_id = programs.firm_id and last.slug = programs.slug
                               order by id desc limit 1) is null)",
            firm.uuid(),
            offer.slug,
            offer.version.as_str(),
            offer.fee.minor(),
            offer.fee.currency().code(),
            new.position,
            expected,
            new.after == After::Setup,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        if changed.rows_affected() == 0 {
            return as_it_was_in_tx(&mut tx, new).await;
        }
        sqlx::query!(
            "insert into program_publications (firm_id, slug, version, fee_minor, fee_currency, at, person_id)
             select $1, $2, $3, $4, $5, $6, $7
             where not exists (
                 select from (select version, fee_minor, fee_currency from program_publications
                              where firm_id = $1 and slug = $2 order by id desc limit 1) last
                 where last.version = $3 and last.fee_minor = $4 and last.fee_currency = $5
             )",
            firm.uuid(),
            offer.slug,
            offer.version.as_str(),
            offer.fee.minor(),
            offer.fee.currency().code(),
            At(new.at) as _,
            new.audit.actor.map(PersonId::uuid),
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        record_in_tx(tx.connection(), std::slice::from_ref(&new.audit), std::slice::from_ref(&new.outbox))
            .await?;
        let _proof = tx.commit().await?;
        Ok(Written::New)
    }

    async fn publications(&self, firm: FirmId, slug: &str) -> Result<Vec<Published>, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query!(
            r#"select sold.version, kept.name, sold.fee_minor, sold.fee_currency, sold.at as "at: At"
               from program_publications sold
               join program_versions kept on kept.firm_id = sold.firm_id and kept.version = sold.version
               where sold.firm_id = $1 and sold.slug = $2
               order by sold.id desc"#,
            firm.uuid(),
            slug,
        )
        .fetch_all(tx.connection())
        .await
        .doing("reading what was on sale")?;
        let table = "program_publications";
        let mut published = Vec::with_capacity(rows.len());
        for row in rows {
            published.push(Published {
                version: version(table, &row.version)?,
                name: row.name,
                fee: money(table, row.fee_minor, &row.fee_currency)?,
                at: row.at.into(),
            });
        }
        Ok(published)
    }

    async fn kept(&self, firm: FirmId, version: &VersionHash) -> Result<Option<Kept>, AppError> {
        let mut tx = self.begin(firm).await?;
        let row = sqlx::query!(
            r#"select kept.body, coalesce(sold.at, kept.created_at) as "at!: At"
               from program_versions kept
               left join program_publications sold on sold.firm_id = kept.firm_id and sold.version = kept.version
               where kept.firm_id = $1 and kept.version = $2
               order by sold.id limit 1"#,
            firm.uuid(),
            version.as_str(),
        )
        .fetch_optional(tx.connection())
        .await
        .doing("reading a version")?;
        let Some(row) = row else { return Ok(None) };
        Ok(Some(Kept {
            version: version.clone(),
            text: row.body,
            program: self.program(&mut tx, version).await?,
            first_at: row.at.into(),
        }))
    }

    async fn shelf(&self, firm: FirmId, asked: &Asked<'_>) -> Result<Option<Shelf>, AppError> {
        let doing = "looking at the shelf";
        let mut tx = self.begin(firm).await?;
        let country = asked.country.map(|country| country.to_string());
        let row = sqlx::query!(
            r#"select sold.slug, sold.version, sold.fee_minor, sold.fee_currency, sold.trial, sold.reset_fee_minor,
                      member.group_name as "group_name?", tax.rate_millionths as "rate?: i64", tax.inclusive as "inclusive?: bool"
               from programs sold
               left join person_groups member on member.firm_id = sold.firm_id and member.person_id = $3
               left join lateral (
                   select rate_millionths, inclusive from tax_rates
                   where tax_rates.firm_id = sold.firm_id and country in ('', $4) order by country desc limit 1
               ) tax on true
               where sold.firm_id = $1 and sold.on_sale and sold.slug = $2"#,
            firm.uuid(),
            asked.slug,
            asked.buyer.uuid(),
            country,
        )
        .fetch_optional(tx.connection())
        .await
        .doing(doing)?;
        let Some(row) = row else { return Ok(None) };
        let reset_fee =
            row.reset_fee_minor.map(|minor| money("programs", minor, &row.fee_currency)).transpose()?;
        let tax = row.rate.zip(row.inclusive).map(|(rate, inclusive)| tax(rate, inclusive)).transpose()?;
        let offer = OfferRow {
            slug: row.slug,
            version: row.version,
            fee_minor: row.fee_minor,
            fee_currency: row.fee_currency,
        };
        Ok(Some(Shelf {
            offer: offer_in_tx(self, &mut tx, offer).await?,
            trial: row.trial,
            reset_fee,
            prices: prices_in_tx(&mut tx, asked.slug).await?,
            addons: addons_in_tx(&mut tx, asked).await?,
            coupons: coupons_in_tx(&mut tx, asked).await?,
            group: row.group_name,
            tax: tax.unwrap_or(Tax::NONE),
        }))
    }

    async fn change_shelf(
        &self,
        firm: FirmId,
        change: &ShelfChange,
        audit: &AuditEntry,
    ) -> Result<(), AppError> {
        let mut tx = self.begin(firm).await?;
        change_in_tx(&mut tx, change, audit.at).await?;
        finish(tx, audit, &[]).await
    }
}

/// Whether what is on sale is what was to be put there.
async fn as_it_was_in_tx(tx: &mut Tx, new: &NewVersion) -> Result<Written, AppError> {
    let (firm, offer) = (tx.firm(), &new.offer);
    let same = sqlx::query_scalar!(
        r#"select exists (select from programs
                          where firm_id = $1 and slug = $2 and version = $3 and fee_minor = $4 and fee_currency = $5
                            and on_sale and position = $6) as "same!""#,
        firm.uuid(),
        offer.slug,
        offer.version.as_str(),
        offer.fee.minor(),
        offer.fee.currency().code(),
        new.position,
    )
    .fetch_one(tx.connection())
    .await
    .doing("publishing a version")?;
    Ok(if same { Written::AsItWas } else { Written::Overtaken })
}

async fn offer_in_tx(store: &Store, tx: &mut Tx, row: OfferRow) -> Result<Offer, AppError> {
    let version = version("programs", &row.version)?;
    let program = store.program(tx, &version).await?;
    let fee = money("programs", row.fee_minor, &row.fee_currency)?;
    Ok(Offer { slug: row.slug, version, program, fee })
}

fn tax(rate: i64, inclusive: bool) -> Result<Tax, Inconsistent> {
    Ok(Tax { rate: percent("tax_rates", rate)?, inclusive })
}

fn percent(table: &'static str, millionths: i64) -> Result<Percent, Inconsistent> {
    Percent::of(millionths, Percent::WHOLE.millionths()).map_err(Inconsistent::from(table))
}

fn country(table: &'static str, text: &str) -> Result<Option<Country>, Inconsistent> {
    if text.is_empty() {
        return Ok(None);
    }
    let country = Country::parse(text);
    country.map(Some).ok_or_else(|| Inconsistent::new(table, format!("{text:?} is no country")))
}

async fn prices_in_tx(tx: &mut Tx, slug: &str) -> Result<Vec<Price>, AppError> {
    let firm = tx.firm();
    let rows = sqlx::query!(
        "select currency, country, group_name, price_minor from program_prices where firm_id = $1 and slug = $2",
        firm.uuid(),
        slug,
    )
    .fetch_all(tx.connection())
    .await
    .doing("reading prices")?;
    let table = "program_prices";
    let price = |minor: i64, currency: &str, place: &str, group: String| {
        Ok(Price {
            country: country(table, place)?,
            group: (!group.is_empty()).then_some(group),
            price: money(table, minor, currency)?,
        })
    };
    rows.into_iter().map(|row| price(row.price_minor, &row.currency, &row.country, row.group_name)).collect()
}

async fn addons_in_tx(tx: &mut Tx, asked: &Asked<'_>) -> Result<Vec<Addon>, AppError> {
    let firm = tx.firm();
    let rows = sqlx::query!(
        "select code, name, price, change from program_addons
         where firm_id = $1 and slug = $2 and on_sale and code = any($3) order by code",
        firm.uuid(),
        asked.slug,
        asked.addons,
    )
    .fetch_all(tx.connection())
    .await
    .doing("reading add-ons")?;
    let table = "program_addons";
    let addon = |code, name, price: &str, change: &str| {
        Ok(Addon { code, name, price: from_json(table, price)?, change: from_json(table, change)? })
    };
    rows.into_iter().map(|row| addon(row.code, row.name, &row.price, &row.change)).collect()
}

async fn coupons_in_tx(tx: &mut Tx, asked: &Asked<'_>) -> Result<Vec<(Coupon, Used)>, AppError> {
    let firm = tx.firm();
    let rows = sqlx::query!(
        r#"select code, off_millionths, off_minor, currency, slugs, starts_at as "starts_at: At",
                  ends_at as "ends_at: At", most_uses, most_per_person, only_person_id, stackable, least_minor,
                  disabled_at is not null as "disabled!", used,
                  (select count(*) from coupon_claims claim
                   where claim.firm_id = coupons.firm_id and claim.code = coupons.code and claim.person_id = $3
                     and claim.freed_at is null) as "own!"
           from coupons where firm_id = $1 and code = any($2) order by code"#,
        firm.uuid(),
        asked.coupons,
        asked.buyer.uuid(),
    )
    .fetch_all(tx.connection())
    .await
    .doing("reading coupons")?;
    let table = "coupons";
    let mut coupons = Vec::with_capacity(rows.len());
    for row in rows {
        let in_currency = |minor: i64| -> Result<Money, Inconsistent> {
            let currency = row.currency.as_deref();
            money(
                table,
                minor,
                currency.ok_or_else(|| Inconsistent::new(table, "an amount without currency"))?,
            )
        };
        let off = match (row.off_millionths, row.off_minor) {
            (Some(share), None) => Off::Percent(percent(table, share)?),
            (None, Some(minor)) => Off::Amount(in_currency(minor)?),
            (Some(_), Some(_)) | (None, None) => {
                return Err(Inconsistent::new(table, "a coupon lets off one thing").into());
            }
        };
        let most = |most: Option<i32>| most.map(|most| counter(table, i64::from(most))).transpose();
        let coupon = Coupon {
            code: row.code,
            off,
            slugs: row.slugs.into_iter().collect(),
            starts_at: row.starts_at.map(Timestamp::from),
            ends_at: row.ends_at.map(Timestamp::from),
            most_uses: most(row.most_uses)?,
            most_per_person: most(row.most_per_person)?,
            only: row.only_person_id.map(PersonId::from_uuid),
            stackable: row.stackable,
            least: row.least_minor.map(in_currency).transpose()?,
            disabled: row.disabled,
        };
        let used = Used { all: counter(table, i64::from(row.used))?, own: counter(table, row.own)? };
        coupons.push((coupon, used));
    }
    Ok(coupons)
}

async fn change_in_tx(tx: &mut Tx, change: &ShelfChange, at: Timestamp) -> Result<(), AppError> {
    match change {
        ShelfChange::Addon { slug, addon, on_sale } => put_addon_in_tx(tx, slug, addon, *on_sale).await,
        ShelfChange::Price { slug, price } => put_price_in_tx(tx, slug, price).await,
        ShelfChange::NoPrice { slug, price } => remove_price_in_tx(tx, slug, price).await,
        ShelfChange::Terms { slug, trial, reset_fee } => put_terms_in_tx(tx, slug, *trial, *reset_fee).await,
        ShelfChange::Coupon(coupon) => add_coupon_in_tx(tx, coupon, at).await,
        ShelfChange::CouponDisabled(code) => disable_coupon_in_tx(tx, code, at).await,
        ShelfChange::Tax(country, tax) => put_tax_in_tx(tx, *country, *tax).await,
        ShelfChange::Group(person, group) => put_group_in_tx(tx, *person, group.as_deref()).await,
    }
}

async fn put_addon_in_tx(tx: &mut Tx, slug: &str, addon: &Addon, on_sale: bool) -> Result<(), AppError> {
    let firm = tx.firm();
    let table = "program_addons";
    sqlx::query!(
        "insert into program_addons (firm_id, slug, code, name, price, change, on_sale)
         values ($1, $2, $3, $4, $5, $6, $7)
         on conflict on constraint program_addons_key do update
         set name = excluded.name, price = excluded.price, change = excluded.change, on_sale = excluded.on_sale",
        firm.uuid(),
        slug,
        addon.code,
        addon.name,
        to_json(table, &addon.price)?,
        to_json(table, &addon.change)?,
        on_sale,
    )
    .execute(tx.connection())
    .await
    .doing("putting an add-on on the shelf")?;
    Ok(())
}

/// Columns of whom a price is for.
fn for_whom(price: &Price) -> (String, String) {
    let country = price.country.map(|country| country.to_string());
    (country.unwrap_or_default(), price.group.clone().unwrap_or_default())
}

async fn put_price_in_tx(tx: &mut Tx, slug: &str, price: &Price) -> Result<(), AppError> {
    let firm = tx.firm();
    let (country, group) = for_whom(price);
    sqlx::query!(
        "insert into program_prices (firm_id, slug, currency, country, group_name, price_minor)
         values ($1, $2, $3, $4, $5, $6)
         on conflict on constraint program_prices_key do update set price_minor = excluded.price_minor",
        firm.uuid(),
        slug,
        price.price.currency().code(),
        country,
        group,
        price.price.minor(),
    )
    .execute(tx.connection())
    .await
    .doing("putting a price on the shelf")?;
    Ok(())
}

async fn remove_price_in_tx(tx: &mut Tx, slug: &str, price: &Price) -> Result<(), AppError> {
    let firm = tx.firm();
    let (country, group) = for_whom(price);
    let removed = sqlx::query!(
        "delete from program_prices
         where firm_id = $1 and slug = $2 and currency = $3 and country = $4 and group_name = $5",
        firm.uuid(),
        slug,
        price.price.currency().code(),
        country,
        group,
    )
    .execute(tx.connection())
    .await
    .doing("taking a price from the shelf")?;
    if removed.rows_affected() == 1 { Ok(()) } else { Err(AppError::NotFound("price")) }
}

async fn put_terms_in_tx(
    tx: &mut Tx,
    slug: &str,
    trial: bool,
    reset_fee: Option<Money>,
) -> Result<(), AppError> {
    let firm = tx.firm();
    let changed = sqlx::query!(
        "update programs set trial = $3, reset_fee_minor = $4
         where firm_id = $1 and slug = $2 and ($5::text is null or fee_currency = $5)",
        firm.uuid(),
        slug,
        trial,
        reset_fee.map(Money::minor),
        reset_fee.map(|fee| fee.currency().code()),
    )
    .execute(tx.connection())
    .await
    .doing("changing the terms of a program")?;
    if changed.rows_affected() == 1 {
        return Ok(());
    }
    let there = sqlx::query!("select slug from programs where firm_id = $1 and slug = $2", firm.uuid(), slug)
        .fetch_optional(tx.connection())
        .await
        .doing("reading a program")?;
    there.ok_or(AppError::NotFound("program"))?;
    Err(AppError::field("/reset_fee", "Must be in the currency of the program's price."))
}

async fn add_coupon_in_tx(tx: &mut Tx, coupon: &Coupon, at: Timestamp) -> Result<(), AppError> {
    let firm = tx.firm();
    let (share, off) = match coupon.off {
        Off::Percent(percent) => (Some(percent.millionths()), None),
        Off::Amount(amount) => (None, Some(amount)),
    };
    let currency = off.or(coupon.least).map(|money| money.currency().code());
    let most = |most: Option<u32>| most.map(|most| i32::try_from(most).unwrap_or(i32::MAX));
    let slugs: Vec<String> = coupon.slugs.iter().cloned().collect();
    let added = sqlx::query!(
        "insert into coupons (firm_id, code, off_millionths, off_minor, currency, slugs, starts_at, ends_at, most_uses,
                              most_per_person, only_person_id, stackable, least_minor, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)
         on conflict on constraint coupons_key do nothing",
        firm.uuid(),
        coupon.code,
        share,
        off.map(Money::minor),
        currency,
        &slugs,
        coupon.starts_at.map(At) as _,
        coupon.ends_at.map(At) as _,
        most(coupon.most_uses),
        most(coupon.most_per_person),
        coupon.only.map(PersonId::uuid),
        coupon.stackable,
        coupon.least.map(Money::minor),
        At(at) as _,
    )
    .execute(tx.connection())
    .await
    .doing("adding a coupon")?;
    if added.rows_affected() == 1 {
        Ok(())
    } else {
        Err(AppError::refused("conflict", "There is a coupon of this code."))
    }
}

async fn disable_coupon_in_tx(tx: &mut Tx, code: &str, at: Timestamp) -> Result<(), AppError> {
    let firm = tx.firm();
    let changed = sqlx::query!(
        "update coupons set disabled_at = coalesce(disabled_at, $3) where firm_id = $1 and code = $2",
        firm.uuid(),
        code,
        At(at) as _,
    )
    .execute(tx.connection())
    .await
    .doing("disabling a coupon")?;
    if changed.rows_affected() == 1 { Ok(()) } else { Err(AppError::NotFound("coupon")) }
}

async fn put_tax_in_tx(tx: &mut Tx, country: Option<Country>, tax: Option<Tax>) -> Result<(), AppError> {
    let firm = tx.firm();
    let country = country.map(|country| country.to_string()).unwrap_or_default();
    let doing = "setting a tax";
    match tax {
        Some(tax) => sqlx::query!(
            "insert into tax_rates (firm_id, country, rate_millionths, inclusive) values ($1, $2, $3, $4)
             on conflict on constraint tax_rates_key do update
             set rate_millionths = excluded.rate_millionths, inclusive = excluded.inclusive",
            firm.uuid(),
            country,
            tax.rate.millionths(),
            tax.inclusive,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?,
        None => {
            sqlx::query!("delete from tax_rates where firm_id = $1 and country = $2", firm.uuid(), country)
                .execute(tx.connection())
                .await
                .doing(doing)?
        }
    };
    Ok(())
}

async fn put_group_in_tx(tx: &mut Tx, person: PersonId, group: Option<&str>) -> Result<(), AppError> {
    let firm = tx.firm();
    let doing = "putting somebody into a group";
    let Some(group) = group else {
        sqlx::query!(
            "delete from person_groups where firm_id = $1 and person_id = $2",
            firm.uuid(),
            person.uuid()
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        return Ok(());
    };
    let put = sqlx::query!(
        "insert into person_groups (firm_id, person_id, group_name)
         select firm_id, id, $3 from people where firm_id = $1 and id = $2
         on conflict on constraint person_groups_key do update set group_name = excluded.group_name",
        firm.uuid(),
        person.uuid(),
        group,
    )
    .execute(tx.connection())
    .await
    .doing(doing)?;
    if put.rows_affected() == 1 { Ok(()) } else { Err(AppError::NotFound("person")) }
}

/// Claims coupons for a purchase, in the order of their codes: whoever claims the same one waits here, and the row's
/// check says who was too late.
pub(crate) async fn claim_in_tx(
    tx: &mut Tx,
    codes: &[String],
    purchase: Uuid,
    person: PersonId,
    at: Timestamp,
) -> Result<(), AppError> {
    if codes.is_empty() {
        return Ok(());
    }
    let doing = "claiming coupons";
    let firm = tx.firm();
    sqlx::query!(
        "select code from coupons where firm_id = $1 and code = any($2) order by code for update",
        firm.uuid(),
        codes,
    )
    .fetch_all(tx.connection())
    .await
    .doing(doing)?;
    let claimed = sqlx::query!(
        "update coupons set used = used + 1
         where firm_id = $1 and code = any($2) and disabled_at is null",
        firm.uuid(),
        codes,
    )
    .execute(tx.connection())
    .await
    .doing(doing)?;
    if usize::try_from(claimed.rows_affected()) != Ok(codes.len()) {
        return Err(AppError::refused("coupon_refused", "A coupon is no longer valid."));
    }
    sqlx::query!(
        "insert into coupon_claims (firm_id, code, purchase_id, person_id, at)
         select $1, code, $3, $4, $5 from unnest($2::text[]) code",
        firm.uuid(),
        codes,
        purchase,
        person.uuid(),
        At(at) as _,
    )
    .execute(tx.connection())
    .await
    .doing(doing)?;
    let too_often = sqlx::query_scalar!(
        "select coupons.code from coupons
         join coupon_claims claim on claim.firm_id = coupons.firm_id and claim.code = coupons.code
                                 and claim.person_id = $3 and claim.freed_at is null
         where coupons.firm_id = $1 and coupons.code = any($2)
         group by coupons.firm_id, coupons.code having count(*) > coupons.most_per_person limit 1",
        firm.uuid(),
        codes,
        person.uuid(),
    )
    .fetch_optional(tx.connection())
    .await
    .doing(doing)?;
    match too_often {
        None => Ok(()),
        Some(code) => {
            let say = format!("The coupon {code} has been used as often as it may be.");
            Err(AppError::refused("coupon_used_up", say))
        }
    }
}

/// Lets others use what a purchase claimed and did not pay for.
pub(crate) async fn free_coupons_in_tx(tx: &mut Tx, purchase: Uuid, at: Timestamp) -> Result<(), AppError> {
    let firm = tx.firm();
    sqlx::query!(
        "with freed as (
             update coupon_claims set freed_at = $3
             where firm_id = $1 and purchase_id = $2 and freed_at is null returning code
         ), held as (
             select coupons.code from coupons join freed on freed.code = coupons.code
             where coupons.firm_id = $1 order by coupons.code for update of coupons
         )
         update coupons set used = used - 1 from held where coupons.firm_id = $1 and coupons.code = held.code",
        firm.uuid(),
        purchase,
        At(at) as _,
    )
    .execute(tx.connection())
    .await
    .doing("freeing coupons")?;
    Ok(())
}
