//! Programs on sale and their versions.

use app::AppError;
use app::catalogue::{CatalogueStore, NewVersion, Offer};
use async_trait::async_trait;
use kernel::FirmId;

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

    async fn publish(&self, new: &NewVersion) -> Result<bool, AppError> {
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
        let changed = sqlx::query!(
            "insert into programs (firm_id, slug, version, fee_minor, fee_currency, on_sale, position)
             values ($1, $2, $3, $4, $5, true, $6)
             on conflict on constraint programs_key do update
             set version = excluded.version, fee_minor = excluded.fee_minor, fee_currency = excluded.fee_currency,
                 on_sale = true, position = excluded.position
             where (programs.version, programs.fee_minor, programs.fee_currency, programs.on_sale, programs.position)
                   is distinct from
                   (excluded.version, excluded.fee_minor, excluded.fee_currency, true, excluded.position)",
            firm.uuid(),
            offer.slug,
            offer.version.as_str(),
            offer.fee.minor(),
            offer.fee.currency().code(),
            new.position,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        if changed.rows_affected() == 0 {
            return Ok(false);
        }
        record_in_tx(tx.connection(), std::slice::from_ref(&new.audit), std::slice::from_ref(&new.outbox))
            .await?;
        let _proof = tx.commit().await?;
        Ok(true)
    }
}

async fn offer_in_tx(store: &Store, tx: &mut Tx, row: OfferRow) -> Result<Offer, AppError> {
    let version = version("programs", &row.version)?;
    let program = store.program(tx, &version).await?;
    let fee = money("programs", row.fee_minor, &row.fee_currency)?;
    Ok(Offer { slug: row.slug, version, program, fee })
}
