//! Purchases and the challenges they become.

use app::AppError;
use app::purchases::{Decide, Fingerprint, NewPurchase, Purchase, PurchaseState, PurchaseStore, Unopened};
use async_trait::async_trait;
use engine::Key;
use kernel::{ChallengeId, FirmId, PersonId, PurchaseId, Timestamp};
use uuid::Uuid;

use crate::error::Doing;
use crate::records::record_in_tx;
use crate::row::{At, by_word, money, version};
use crate::{Inconsistent, Store, Tx};

struct PurchaseRow {
    id: Uuid,
    person_id: Uuid,
    slug: String,
    program_name: String,
    version: String,
    fee_minor: i64,
    fee_currency: String,
    state: String,
    fingerprint: Vec<u8>,
    challenge_id: Option<Uuid>,
    created_at: At,
    decided_at: Option<At>,
}

impl PurchaseRow {
    fn read(self) -> Result<(Purchase, Fingerprint), Inconsistent> {
        let table = "purchases";
        let fingerprint =
            Fingerprint::try_from(self.fingerprint.as_slice()).map_err(Inconsistent::from(table))?;
        let purchase = Purchase {
            id: PurchaseId::from_uuid(self.id),
            person: PersonId::from_uuid(self.person_id),
            slug: self.slug,
            program_name: self.program_name,
            version: version(table, &self.version)?,
            fee: money(table, self.fee_minor, &self.fee_currency)?,
            state: by_word(table, &PurchaseState::ALL, PurchaseState::word, &self.state)?,
            challenge: self.challenge_id.map(ChallengeId::from_uuid),
            created_at: self.created_at.into(),
            decided_at: self.decided_at.map(Timestamp::from),
        };
        Ok((purchase, fingerprint))
    }
}

#[async_trait]
impl PurchaseStore for Store {
    async fn by_key(
        &self,
        firm: FirmId,
        person: PersonId,
        key: &Key,
    ) -> Result<Option<(Purchase, Fingerprint)>, AppError> {
        let mut tx = self.begin(firm).await?;
        by_key_in_tx(&mut tx, person, key).await
    }

    async fn create(&self, firm: FirmId, new: &NewPurchase) -> Result<(Purchase, Fingerprint), AppError> {
        let doing = "creating a purchase";
        let purchase = &new.purchase;
        let mut tx = self.begin(firm).await?;
        let created = sqlx::query!(
            "insert into purchases (firm_id, id, person_id, slug, version, fee_minor, fee_currency, state,
                                    idempotency_key, fingerprint, created_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
             on conflict on constraint purchases_once do nothing",
            firm.uuid(),
            purchase.id.uuid(),
            purchase.person.uuid(),
            purchase.slug,
            purchase.version.as_str(),
            purchase.fee.minor(),
            purchase.fee.currency().code(),
            purchase.state.word(),
            new.key.as_str(),
            new.fingerprint.as_slice(),
            At(purchase.created_at) as _,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        if created.rows_affected() == 0 {
            let found = by_key_in_tx(&mut tx, purchase.person, &new.key).await?;
            return found.ok_or_else(|| Inconsistent::new("purchases", "a key conflicts with no row").into());
        }
        record_in_tx(tx.connection(), std::slice::from_ref(&new.audit), std::slice::from_ref(&new.outbox))
            .await?;
        let _proof = tx.commit().await?;
        Ok((purchase.clone(), new.fingerprint))
    }

    async fn purchase(&self, firm: FirmId, id: PurchaseId) -> Result<Option<Purchase>, AppError> {
        let mut tx = self.begin(firm).await?;
        purchase_in_tx(&mut tx, id).await
    }

    async fn purchases(&self, firm: FirmId, person: PersonId) -> Result<Vec<Purchase>, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows = purchases_in_tx(&mut tx, None, Some(person), None).await?;
        rows.into_iter().map(|row| Ok(row.read()?.0)).collect()
    }

    async fn settle(
        &self,
        firm: FirmId,
        id: PurchaseId,
        decide: &Decide<'_>,
    ) -> Result<Option<Purchase>, AppError> {
        let doing = "settling a purchase";
        let mut tx = self.begin(firm).await?;
        sqlx::query!(
            "select id from purchases where firm_id = $1 and id = $2 for update",
            firm.uuid(),
            id.uuid()
        )
        .fetch_optional(tx.connection())
        .await
        .doing(doing)?;
        let Some(purchase) = purchase_in_tx(&mut tx, id).await? else { return Ok(None) };
        let Some(settlement) = decide(&purchase)? else { return Ok(Some(purchase)) };
        sqlx::query!(
            "update purchases set state = $3, decided_at = $4 where firm_id = $1 and id = $2",
            firm.uuid(),
            id.uuid(),
            settlement.state.word(),
            At(settlement.at) as _,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        if let Some(challenge) = settlement.challenge {
            sqlx::query!(
                "insert into challenges (firm_id, id, purchase_id, person_id, slug, version, created_at)
                 values ($1, $2, $3, $4, $5, $6, $7)",
                firm.uuid(),
                challenge.uuid(),
                id.uuid(),
                purchase.person.uuid(),
                purchase.slug,
                purchase.version.as_str(),
                At(settlement.at) as _,
            )
            .execute(tx.connection())
            .await
            .doing(doing)?;
        }
        let (audit, outbox) =
            (std::slice::from_ref(&settlement.audit), std::slice::from_ref(&settlement.outbox));
        record_in_tx(tx.connection(), audit, outbox).await?;
        let _proof = tx.commit().await?;
        let (state, decided_at) = (settlement.state, Some(settlement.at));
        Ok(Some(Purchase { state, decided_at, challenge: settlement.challenge, ..purchase }))
    }

    async fn unopened(&self, most: i64) -> Result<Vec<Unopened>, AppError> {
        let rows = sqlx::query!(
            "select firm_id, id, version from challenges where opened_at is null order by created_at, id limit $1",
            most,
        )
        .fetch_all(&self.engine)
        .await
        .doing("looking for challenges without an account")?;
        let unopened = |firm: Uuid, id: Uuid, text: &str| {
            Ok(Unopened {
                firm: FirmId::from_uuid(firm),
                challenge: ChallengeId::from_uuid(id),
                version: version("challenges", text)?,
            })
        };
        rows.into_iter().map(|row| unopened(row.firm_id, row.id, &row.version)).collect()
    }
}

async fn by_key_in_tx(
    tx: &mut Tx,
    person: PersonId,
    key: &Key,
) -> Result<Option<(Purchase, Fingerprint)>, AppError> {
    let mut rows = purchases_in_tx(tx, None, Some(person), Some(key)).await?;
    Ok(rows.pop().map(PurchaseRow::read).transpose()?)
}

async fn purchase_in_tx(tx: &mut Tx, id: PurchaseId) -> Result<Option<Purchase>, AppError> {
    let mut rows = purchases_in_tx(tx, Some(id), None, None).await?;
    Ok(rows.pop().map(PurchaseRow::read).transpose()?.map(|(purchase, _)| purchase))
}

/// The firm's purchases with this id, of this person, under this key, the newest first. Say at least one.
async fn purchases_in_tx(
    tx: &mut Tx,
    id: Option<PurchaseId>,
    person: Option<PersonId>,
    key: Option<&Key>,
) -> Result<Vec<PurchaseRow>, AppError> {
    let firm = tx.firm();
    let rows = sqlx::query_as!(
        PurchaseRow,
        r#"select bought.id, bought.person_id, bought.slug, version.name as program_name, bought.version,
                  bought.fee_minor, bought.fee_currency, bought.state, bought.fingerprint,
                  challenge.id as "challenge_id?", bought.created_at as "created_at: At",
                  bought.decided_at as "decided_at: At"
           from purchases bought
           join program_versions version on version.firm_id = bought.firm_id and version.version = bought.version
           left join challenges challenge
                  on challenge.firm_id = bought.firm_id and challenge.purchase_id = bought.id
           where bought.firm_id = $1 and ($2::uuid is null or bought.id = $2)
             and ($3::uuid is null or bought.person_id = $3)
             and ($4::text is null or bought.idempotency_key = $4)
           order by bought.created_at desc, bought.id desc"#,
        firm.uuid(),
        id.map(PurchaseId::uuid),
        person.map(PersonId::uuid),
        key.map(Key::as_str),
    )
    .fetch_all(tx.connection())
    .await;
    rows.doing("reading purchases")
}
