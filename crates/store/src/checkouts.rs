//! Pages on which buyers pay.

use app::AppError;
use app::payments::checkouts::{Checkout, CheckoutState, CheckoutStore, Turn};
use app::payments::port::ProviderName;
use async_trait::async_trait;
use kernel::{CheckoutId, FirmId, PersonId, PurchaseId, Span, Timestamp};
use uuid::Uuid;

use crate::error::Doing;
use crate::row::{At, by_word, money};
use crate::{Inconsistent, Store, Tx};

const TABLE: &str = "checkouts";

struct CheckoutRow {
    id: Uuid,
    purchase_id: Uuid,
    person_id: Uuid,
    provider: String,
    session: Option<String>,
    page: Option<String>,
    amount_minor: i64,
    currency: String,
    state: String,
    asked_at: At,
    expires_at: At,
}

impl CheckoutRow {
    fn read(self) -> Result<Checkout, Inconsistent> {
        Ok(Checkout {
            id: CheckoutId::from_uuid(self.id),
            purchase: PurchaseId::from_uuid(self.purchase_id),
            person: PersonId::from_uuid(self.person_id),
            provider: by_word(TABLE, &ProviderName::ALL, ProviderName::word, &self.provider)?,
            session: self.session,
            page: self.page,
            price: money(TABLE, self.amount_minor, &self.currency)?,
            state: by_word(TABLE, &CheckoutState::ALL, CheckoutState::word, &self.state)?,
            asked_at: self.asked_at.into(),
            expires_at: self.expires_at.into(),
        })
    }
}

#[async_trait]
impl CheckoutStore for Store {
    async fn asked(&self, firm: FirmId, new: &Checkout) -> Result<Checkout, AppError> {
        let mut tx = self.begin(firm).await?;
        let written = sqlx::query!(
            "insert into checkouts (firm_id, id, purchase_id, person_id, provider, amount_minor, currency, state, asked_at,
                                    expires_at, next_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)
             on conflict (firm_id, purchase_id) where state in ('opening', 'open') do nothing",
            firm.uuid(),
            new.id.uuid(),
            new.purchase.uuid(),
            new.person.uuid(),
            new.provider.word(),
            new.price.minor(),
            new.price.currency().code(),
            new.state.word(),
            At(new.asked_at) as _,
            At(new.expires_at) as _,
        )
        .execute(tx.connection())
        .await
        .doing("writing a payment page")?;
        if written.rows_affected() == 1 {
            let _proof = tx.commit().await?;
            return Ok(new.clone());
        }
        let open = open_in_tx(&mut tx, new.purchase).await?;
        // It has ended between the two: whoever asks again opens one.
        open.ok_or_else(|| AppError::refused("conflict", "The payment page has just ended. Try again."))
    }

    async fn open_checkout(&self, firm: FirmId, purchase: PurchaseId) -> Result<Option<Checkout>, AppError> {
        let mut tx = self.begin(firm).await?;
        open_in_tx(&mut tx, purchase).await
    }

    async fn by_session(
        &self,
        firm: FirmId,
        provider: ProviderName,
        session: &str,
    ) -> Result<Option<Checkout>, AppError> {
        let mut tx = self.begin(firm).await?;
        let row = sqlx::query_as!(
            CheckoutRow,
            r#"select id, purchase_id, person_id, provider, session, page, amount_minor, currency, state,
                      asked_at as "asked_at: At", expires_at as "expires_at: At"
               from checkouts where firm_id = $1 and provider = $2 and session = $3"#,
            firm.uuid(),
            provider.word(),
            session,
        )
        .fetch_optional(tx.connection())
        .await
        .doing("looking for a payment page")?;
        Ok(row.map(CheckoutRow::read).transpose()?)
    }

    async fn turn(&self, firm: FirmId, id: CheckoutId, turn: &Turn) -> Result<(), AppError> {
        let mut tx = self.begin(firm).await?;
        let (session, page) = turn.known.clone().unzip();
        sqlx::query!(
            "update checkouts
             set state = $3, session = coalesce($4, session), page = coalesce($5, page), next_at = $6,
                 looked = least(looked + 1, 32000),
                 ended_at = case when $7 then null else coalesce(ended_at, $8) end
             where firm_id = $1 and id = $2 and (state in ('opening', 'open') or $3 = 'paid' and state <> 'paid')",
            firm.uuid(),
            id.uuid(),
            turn.state.word(),
            session,
            page.flatten(),
            turn.next_at.map(At) as _,
            turn.state.is_open(),
            At(turn.at) as _,
        )
        .execute(tx.connection())
        .await
        .doing("writing how a payment page stands")?;
        let _proof = tx.commit().await?;
        Ok(())
    }

    async fn due_checkouts(
        &self,
        now: Timestamp,
        lease: Span,
        most: i64,
    ) -> Result<Vec<(FirmId, Checkout)>, AppError> {
        let doing = "looking for payment pages that are to be pulled";
        let again = now.after(lease).map_err(|error| AppError::bug(doing)(Box::new(error)))?;
        let rows = sqlx::query!(
            r#"update checkouts set next_at = $2
               where (firm_id, id) in (select firm_id, id from checkouts where next_at <= $1
                                       order by next_at limit $3 for update skip locked)
               returning firm_id, id, purchase_id, person_id, provider, session, page, amount_minor, currency, state,
                         asked_at as "asked_at: At", expires_at as "expires_at: At""#,
            At(now) as _,
            At(again) as _,
            most,
        )
        .fetch_all(&self.worker)
        .await
        .doing(doing)?;
        rows.into_iter()
            .map(|row| {
                let checkout = CheckoutRow {
                    id: row.id,
                    purchase_id: row.purchase_id,
                    person_id: row.person_id,
                    provider: row.provider,
                    session: row.session,
                    page: row.page,
                    amount_minor: row.amount_minor,
                    currency: row.currency,
                    state: row.state,
                    asked_at: row.asked_at,
                    expires_at: row.expires_at,
                };
                Ok((FirmId::from_uuid(row.firm_id), checkout.read()?))
            })
            .collect()
    }
}

async fn open_in_tx(tx: &mut Tx, purchase: PurchaseId) -> Result<Option<Checkout>, AppError> {
    let firm = tx.firm();
    let row = sqlx::query_as!(
        CheckoutRow,
        r#"select id, purchase_id, person_id, provider, session, page, amount_minor, currency, state,
                  asked_at as "asked_at: At", expires_at as "expires_at: At"
           from checkouts where firm_id = $1 and purchase_id = $2 and state in ('opening', 'open')"#,
        firm.uuid(),
        purchase.uuid(),
    )
    .fetch_optional(tx.connection())
    .await
    .doing("looking for an open payment page")?;
    Ok(row.map(CheckoutRow::read).transpose()?)
}
