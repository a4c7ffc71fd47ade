//! Refunds. A row changes under the lock of its purchase, with what becomes of that.

use app::AppError;
use app::ledger::Provider;
use app::refunds::{Change, Decide, Fingerprint, Origin, Refund, RefundState, RefundStore};
use async_trait::async_trait;
use engine::Key;
use kernel::{FirmId, PersonId, PurchaseId, RefundId, Timestamp};
use uuid::Uuid;

use crate::error::Doing;
use crate::purchases::{locked_in_tx, provider, settle_in_tx};
use crate::records::record_in_tx;
use crate::row::{At, by_word, money};
use crate::{Inconsistent, Store, Tx};

const REFUNDS: &str = "refunds";

struct RefundRow {
    id: Uuid,
    purchase_id: Uuid,
    person_id: Uuid,
    provider: String,
    payment: String,
    amount_minor: i64,
    currency: String,
    reason: String,
    origin: String,
    asked_by: Option<Uuid>,
    idempotency_key: Option<String>,
    fingerprint: Option<Vec<u8>>,
    state: String,
    known_as: Option<String>,
    said: Option<String>,
    first_asked_at: At,
    tries: i32,
    next_at: Option<At>,
    changed_at: At,
}

impl RefundRow {
    fn read(self) -> Result<Refund, Inconsistent> {
        let key = |text: String| Key::parse(&text).ok_or_else(|| Inconsistent::new(REFUNDS, "no key"));
        let fingerprint = self.fingerprint.as_deref().map(Fingerprint::try_from).transpose();
        Ok(Refund {
            id: RefundId::from_uuid(self.id),
            purchase: PurchaseId::from_uuid(self.purchase_id),
            person: PersonId::from_uuid(self.person_id),
            provider: provider(REFUNDS, &self.provider)?,
            payment: self.payment,
            amount: money(REFUNDS, self.amount_minor, &self.currency)?,
            reason: self.reason,
            origin: by_word(REFUNDS, &Origin::ALL, Origin::word, &self.origin)?,
            asked_by: self.asked_by.map(PersonId::from_uuid),
            key: self.idempotency_key.map(key).transpose()?,
            fingerprint: fingerprint.map_err(Inconsistent::from(REFUNDS))?,
            state: by_word(REFUNDS, &RefundState::ALL, RefundState::word, &self.state)?,
            known_as: self.known_as,
            said: self.said,
            first_asked_at: self.first_asked_at.into(),
            tries: u32::try_from(self.tries).map_err(Inconsistent::from(REFUNDS))?,
            next_at: self.next_at.map(Timestamp::from),
            changed_at: self.changed_at.into(),
        })
    }
}

/// Which refunds: those for which everything that is said holds.
#[derive(Default)]
struct Which<'a> {
    id: Option<RefundId>,
    purchase: Option<PurchaseId>,
    by: Option<(PersonId, &'a Key)>,
    known_as: Option<(&'a Provider, &'a str)>,
    state: Option<RefundState>,
    behind: Option<RefundId>,
    due: Option<Timestamp>,
}

/// The newest first; those that are due in the order in which they are.
async fn refunds_in_tx(tx: &mut Tx, which: Which<'_>, most: i64) -> Result<Vec<Refund>, AppError> {
    let firm = tx.firm();
    let rows = sqlx::query_as!(
        RefundRow,
        r#"select id, purchase_id, person_id, provider, payment, amount_minor, currency, reason, origin, asked_by,
                  idempotency_key, fingerprint, state, known_as, said, first_asked_at as "first_asked_at: At", tries,
                  next_at as "next_at: At", changed_at as "changed_at: At"
           from refunds
           where firm_id = $1 and ($2::uuid is null or id = $2) and ($3::uuid is null or purchase_id = $3)
             and ($4::uuid is null or asked_by = $4) and ($5::text is null or idempotency_key = $5)
             and ($6::text is null or provider = $6) and ($7::text is null or known_as = $7)
             and ($8::text is null or state = $8)
             and ($9::uuid is null or (first_asked_at, id) < (select last.first_asked_at, last.id from refunds last
                                                              where last.firm_id = $1 and last.id = $9))
             and ($10::timestamptz is null or next_at <= $10)
           order by case when $10::timestamptz is null then null else next_at end, first_asked_at desc, id desc
           limit $11"#,
        firm.uuid(),
        which.id.map(RefundId::uuid),
        which.purchase.map(PurchaseId::uuid),
        which.by.map(|(person, _)| person.uuid()),
        which.by.map(|(_, key)| key.as_str()),
        which.known_as.map(|(provider, _)| provider.as_str()),
        which.known_as.map(|(_, name)| name),
        which.state.map(RefundState::word),
        which.behind.map(RefundId::uuid),
        which.due.map(At) as _,
        most,
    )
    .fetch_all(tx.connection())
    .await
    .doing("reading refunds")?;
    rows.into_iter().map(|row| Ok(row.read()?)).collect()
}

async fn of_purchase_in_tx(tx: &mut Tx, purchase: PurchaseId) -> Result<Vec<Refund>, AppError> {
    let which = Which { purchase: Some(purchase), ..Which::default() };
    let mut refunds = refunds_in_tx(tx, which, i64::MAX).await?;
    refunds.reverse();
    Ok(refunds)
}

#[async_trait]
impl RefundStore for Store {
    async fn refund(&self, firm: FirmId, id: RefundId) -> Result<Option<Refund>, AppError> {
        let mut tx = self.begin(firm).await?;
        Ok(refunds_in_tx(&mut tx, Which { id: Some(id), ..Which::default() }, 1).await?.pop())
    }

    async fn refund_by_key(&self, firm: FirmId, by: PersonId, key: &Key) -> Result<Option<Refund>, AppError> {
        let mut tx = self.begin(firm).await?;
        Ok(refunds_in_tx(&mut tx, Which { by: Some((by, key)), ..Which::default() }, 1).await?.pop())
    }

    async fn refund_known_as(
        &self,
        firm: FirmId,
        provider: &Provider,
        name: &str,
    ) -> Result<Option<Refund>, AppError> {
        let mut tx = self.begin(firm).await?;
        let which = Which { known_as: Some((provider, name)), ..Which::default() };
        Ok(refunds_in_tx(&mut tx, which, 1).await?.pop())
    }

    async fn refunds_of(&self, firm: FirmId, purchase: PurchaseId) -> Result<Vec<Refund>, AppError> {
        let mut tx = self.begin(firm).await?;
        of_purchase_in_tx(&mut tx, purchase).await
    }

    async fn refunds(
        &self,
        firm: FirmId,
        state: Option<RefundState>,
        behind: Option<RefundId>,
        most: i64,
    ) -> Result<Vec<Refund>, AppError> {
        let mut tx = self.begin(firm).await?;
        refunds_in_tx(&mut tx, Which { state, behind, ..Which::default() }, most).await
    }

    async fn paid_by(
        &self,
        firm: FirmId,
        provider: &Provider,
        payment: &str,
    ) -> Result<Option<PurchaseId>, AppError> {
        let mut tx = self.begin(firm).await?;
        let found = sqlx::query_scalar!(
            "select purchase_id from purchase_events
             where firm_id = $1 and provider = $2 and reference = $3 and what in ('captured', 'paid_again')",
            firm.uuid(),
            provider.as_str(),
            payment,
        )
        .fetch_optional(tx.connection())
        .await
        .doing("looking for the purchase of a payment")?;
        Ok(found.map(PurchaseId::from_uuid))
    }

    async fn change_refund(
        &self,
        firm: FirmId,
        purchase: PurchaseId,
        decide: &Decide<'_>,
    ) -> Result<Option<Refund>, AppError> {
        let mut tx = self.begin(firm).await?;
        let Some((mut purchase, history)) = locked_in_tx(&mut tx, purchase).await? else { return Ok(None) };
        let rows = of_purchase_in_tx(&mut tx, purchase.id).await?;
        let Some(Change { refund, settlements, audit }) = decide(&purchase, &history, &rows)? else {
            return Ok(None);
        };
        write_in_tx(&mut tx, &refund).await?;
        for settlement in &settlements {
            purchase = settle_in_tx(&mut tx, purchase, settlement).await?;
        }
        record_in_tx(tx.connection(), std::slice::from_ref(&audit), &[]).await?;
        let _proof = tx.commit().await?;
        Ok(Some(refund))
    }

    async fn refunds_due(&self, firm: FirmId, at: Timestamp, most: i64) -> Result<Vec<Refund>, AppError> {
        let mut tx = self.begin(firm).await?;
        refunds_in_tx(&mut tx, Which { due: Some(at), ..Which::default() }, most).await
    }

    async fn overpaid(
        &self,
        firm: FirmId,
        tries: i64,
        most: i64,
    ) -> Result<Vec<(PurchaseId, Provider, String)>, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query!(
            r#"select paid.purchase_id, paid.provider as "provider!", paid.reference
               from purchase_events paid
               left join refunds back on back.firm_id = paid.firm_id and back.purchase_id = paid.purchase_id
                                     and back.provider = paid.provider and back.payment = paid.reference
               where paid.firm_id = $1 and paid.what = 'paid_again'
               group by paid.purchase_id, paid.provider, paid.reference, paid.amount_minor, paid.number
               having coalesce(sum(back.amount_minor) filter (where back.state <> 'failed'), 0) < paid.amount_minor
                  and count(*) filter (where back.origin = 'overpaid') < $2
               order by paid.number limit $3"#,
            firm.uuid(),
            tries,
            most,
        )
        .fetch_all(tx.connection())
        .await
        .doing("looking for what was paid twice")?;
        let read = |purchase: Uuid, name: &str, payment: String| {
            Ok((PurchaseId::from_uuid(purchase), provider("purchase_events", name)?, payment))
        };
        rows.into_iter().map(|row| read(row.purchase_id, &row.provider, row.reference)).collect()
    }
}

async fn write_in_tx(tx: &mut Tx, refund: &Refund) -> Result<(), AppError> {
    let firm = tx.firm();
    sqlx::query!(
        "insert into refunds (firm_id, id, purchase_id, person_id, provider, payment, amount_minor, currency, reason, origin,
                              asked_by, idempotency_key, state, known_as, said, first_asked_at, tries, next_at, changed_at,
                              fingerprint)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
         on conflict on constraint refunds_key do update
         set state = excluded.state, known_as = excluded.known_as, said = excluded.said, tries = excluded.tries,
             next_at = excluded.next_at, changed_at = excluded.changed_at",
        firm.uuid(),
        refund.id.uuid(),
        refund.purchase.uuid(),
        refund.person.uuid(),
        refund.provider.as_str(),
        refund.payment,
        refund.amount.minor(),
        refund.amount.currency().code(),
        refund.reason,
        refund.origin.word(),
        refund.asked_by.map(PersonId::uuid),
        refund.key.as_ref().map(Key::as_str),
        refund.state.word(),
        refund.known_as,
        refund.said,
        At(refund.first_asked_at) as _,
        i32::try_from(refund.tries).map_err(Inconsistent::from(REFUNDS))?,
        refund.next_at.map(At) as _,
        At(refund.changed_at) as _,
        refund.fingerprint.as_ref().map(Fingerprint::as_slice),
    )
    .execute(tx.connection())
    .await
    .doing("writing a refund")?;
    Ok(())
}
