//! Programs on sale and their versions.

use app::AppError;
use app::catalogue::{After, CatalogueStore, Kept, NewVersion, Offer, Published, Written};
use async_trait::async_trait;
use kernel::{FirmId, PersonId};
use rules::VersionHash;

use crate::error::Doing;
use crate::records::record_in_tx;
use crate::row::{At, money, version};
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
            r#"select kept.body, sold.at as "at: At"
               from program_versions kept
               join program_publications sold on sold.firm_id = kept.firm_id and sold.version = kept.version
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
