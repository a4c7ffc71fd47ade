//! Purchases, what has happened to them, and the challenges they become.

use app::AppError;
use app::ledger::Provider;
use app::purchases::{
    Bought, Decide, Fingerprint, Happened, Happening, NewPurchase, Purchase, PurchaseState, PurchaseStore,
    Resettable, Settlement, Unopened,
};
use async_trait::async_trait;
use engine::Key;
use kernel::{ChallengeId, EntryId, FirmId, Money, PersonId, PurchaseId, Timestamp};
use uuid::Uuid;

use crate::catalogue::{claim_in_tx, free_coupons_in_tx};
use crate::error::Doing;
use crate::ledger::post_in_tx;
use crate::records::record_in_tx;
use crate::row::{At, by_word, counter, from_json, money, to_json, version};
use crate::{Inconsistent, Store, Tx};

const PURCHASES: &str = "purchases";
const EVENTS: &str = "purchase_events";

struct PurchaseRow {
    id: Uuid,
    person_id: Uuid,
    slug: String,
    program_name: String,
    version: String,
    reset_of: Option<Uuid>,
    reset_included: bool,
    fee_minor: i64,
    fee_currency: String,
    discount_minor: i64,
    tax_minor: i64,
    lines: String,
    provider: Option<String>,
    state: String,
    fingerprint: Vec<u8>,
    challenge_id: Option<Uuid>,
    created_at: At,
    decided_at: Option<At>,
}

impl PurchaseRow {
    fn read(self) -> Result<(Purchase, Fingerprint), Inconsistent> {
        let table = PURCHASES;
        let fingerprint =
            Fingerprint::try_from(self.fingerprint.as_slice()).map_err(Inconsistent::from(table))?;
        let bought = match self.reset_of {
            None => Bought::Challenge,
            Some(of) => Bought::Reset { of: ChallengeId::from_uuid(of), included: self.reset_included },
        };
        let purchase = Purchase {
            id: PurchaseId::from_uuid(self.id),
            person: PersonId::from_uuid(self.person_id),
            slug: self.slug,
            program_name: self.program_name,
            version: version(table, &self.version)?,
            bought,
            fee: money(table, self.fee_minor, &self.fee_currency)?,
            discount: money(table, self.discount_minor, &self.fee_currency)?,
            tax: money(table, self.tax_minor, &self.fee_currency)?,
            lines: from_json(table, &self.lines)?,
            provider: self.provider.as_deref().map(|name| provider(table, name)).transpose()?,
            state: by_word(table, &PurchaseState::ALL, PurchaseState::word, &self.state)?,
            challenge: self.challenge_id.map(ChallengeId::from_uuid),
            created_at: self.created_at.into(),
            decided_at: self.decided_at.map(Timestamp::from),
        };
        Ok((purchase, fingerprint))
    }
}

pub(crate) fn provider(table: &'static str, name: &str) -> Result<Provider, Inconsistent> {
    Provider::parse(name).map_err(Inconsistent::from(table))
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
        let mut tx = self.begin(firm).await?;
        if let Some(made) = create_in_tx(&mut tx, new).await? {
            return Ok(made);
        }
        let (id, person, at) = (new.purchase.id.uuid(), new.purchase.person, new.purchase.created_at);
        claim_in_tx(&mut tx, &new.coupons, id, person, at).await?;
        record_in_tx(tx.connection(), std::slice::from_ref(&new.audit), std::slice::from_ref(&new.outbox))
            .await?;
        let _proof = tx.commit().await?;
        Ok((new.purchase.clone(), new.fingerprint))
    }

    async fn purchase(&self, firm: FirmId, id: PurchaseId) -> Result<Option<Purchase>, AppError> {
        let mut tx = self.begin(firm).await?;
        purchase_in_tx(&mut tx, id).await
    }

    async fn purchases(
        &self,
        firm: FirmId,
        person: PersonId,
        behind: Option<PurchaseId>,
        most: i64,
    ) -> Result<Vec<Purchase>, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows = purchases_in_tx(&mut tx, None, Some(person), None, behind, most).await?;
        rows.into_iter().map(|row| Ok(row.read()?.0)).collect()
    }

    async fn history(&self, firm: FirmId, id: PurchaseId) -> Result<Vec<Happened>, AppError> {
        let mut tx = self.begin(firm).await?;
        history_in_tx(&mut tx, id).await
    }

    async fn resettable(
        &self,
        firm: FirmId,
        person: PersonId,
        challenge: ChallengeId,
    ) -> Result<Option<Resettable>, AppError> {
        let mut tx = self.begin(firm).await?;
        // The last account of a challenge says how it stands; one that waits for its account has not failed.
        let row = sqlx::query!(
            r#"select challenge.slug, challenge.version,
                      coalesce((select status in ('breached', 'expired') from accounts
                                where accounts.firm_id = challenge.firm_id and accounts.challenge_id = challenge.id
                                order by phase desc limit 1), false) as "failed!",
                      root.resets - (select count(*) from purchases reset
                                     where reset.firm_id = root.firm_id and reset.root_id = root.id
                                       and reset.bought = 'reset' and reset.reset_included
                                       and reset.state not in ('cancelled', 'expired', 'failed')) as "included!",
                      exists (select from purchases anew
                              where anew.firm_id = challenge.firm_id and anew.reset_of = challenge.id
                                and anew.state not in ('cancelled', 'expired', 'failed')) as "begun_anew!"
               from challenges challenge
               join purchases bought on bought.firm_id = challenge.firm_id and bought.id = challenge.purchase_id
               join purchases root on root.firm_id = bought.firm_id and root.id = bought.root_id
               where challenge.firm_id = $1 and challenge.id = $2 and challenge.person_id = $3
                 and bought.state in ('captured', 'fulfilled')"#,
            firm.uuid(),
            challenge.uuid(),
            person.uuid(),
        )
        .fetch_optional(tx.connection())
        .await
        .doing("looking at a challenge that is to begin anew")?;
        let Some(row) = row else { return Ok(None) };
        let version = version("challenges", &row.version)?;
        Ok(Some(Resettable {
            slug: row.slug,
            program: self.program(&mut tx, &version).await?,
            version,
            failed: row.failed,
            included: counter(PURCHASES, row.included.max(0))?,
            begun_anew: row.begun_anew,
        }))
    }

    async fn settle(
        &self,
        firm: FirmId,
        id: PurchaseId,
        decide: &Decide<'_>,
    ) -> Result<Option<Purchase>, AppError> {
        let mut tx = self.begin(firm).await?;
        let Some((purchase, history)) = locked_in_tx(&mut tx, id).await? else { return Ok(None) };
        let Some(settlement) = decide(&purchase, &history)? else { return Ok(Some(purchase)) };
        let settled = settle_in_tx(&mut tx, purchase, &settlement).await?;
        let _proof = tx.commit().await?;
        Ok(Some(settled))
    }

    async fn opened(&self, firm: FirmId, most: i64) -> Result<Vec<(PurchaseId, Timestamp)>, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query!(
            r#"select bought.id, challenge.opened_at as "opened_at!: At"
               from purchases bought
               join challenges challenge on challenge.firm_id = bought.firm_id and challenge.purchase_id = bought.id
               where bought.firm_id = $1 and bought.state = 'captured' and challenge.opened_at is not null
               order by bought.created_at, bought.id limit $2"#,
            firm.uuid(),
            most,
        )
        .fetch_all(tx.connection())
        .await
        .doing("looking for purchases whose account is open")?;
        Ok(rows.into_iter().map(|row| (PurchaseId::from_uuid(row.id), row.opened_at.into())).collect())
    }

    async fn stale(&self, firm: FirmId, before: Timestamp, most: i64) -> Result<Vec<PurchaseId>, AppError> {
        let mut tx = self.begin(firm).await?;
        let ids = sqlx::query_scalar!(
            "select id from purchases where firm_id = $1 and state = 'created' and created_at < $2
             order by created_at, id limit $3",
            firm.uuid(),
            At(before) as _,
            most,
        )
        .fetch_all(tx.connection())
        .await
        .doing("looking for purchases that nobody pays")?;
        Ok(ids.into_iter().map(PurchaseId::from_uuid).collect())
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

/// A purchase and its history, locked until the transaction ends.
pub(crate) async fn locked_in_tx(
    tx: &mut Tx,
    id: PurchaseId,
) -> Result<Option<(Purchase, Vec<Happened>)>, AppError> {
    let firm = tx.firm();
    sqlx::query!(
        "select id from purchases where firm_id = $1 and id = $2 for update",
        firm.uuid(),
        id.uuid()
    )
    .fetch_optional(tx.connection())
    .await
    .doing("settling a purchase")?;
    let Some(purchase) = purchase_in_tx(tx, id).await? else { return Ok(None) };
    let history = history_in_tx(tx, id).await?;
    Ok(Some((purchase, history)))
}

/// Writes what becomes of a locked purchase. Gives it as it then is.
pub(crate) async fn settle_in_tx(
    tx: &mut Tx,
    purchase: Purchase,
    settlement: &Settlement,
) -> Result<Purchase, AppError> {
    let doing = "settling a purchase";
    let (firm, id) = (tx.firm(), purchase.id);
    let happened = &settlement.decision.happened;
    // Paid late, it is decided anew; what comes after the payment leaves that time as it is.
    let decides = !happened.to.is_open() && (purchase.decided_at.is_none() || happened.from.is_dead());
    let decided_at = if decides && happened.to != happened.from {
        Some(settlement.recorded_at)
    } else {
        purchase.decided_at
    };
    let pays = matches!(happened.what, Happening::Begun | Happening::Captured);
    let taken_by = happened.provider.as_ref().filter(|_| pays).or(purchase.provider.as_ref()).cloned();
    sqlx::query!(
        "update purchases set state = $3, decided_at = $4, provider = $5 where firm_id = $1 and id = $2",
        firm.uuid(),
        id.uuid(),
        happened.to.word(),
        decided_at.map(At) as _,
        taken_by.as_ref().map(Provider::as_str),
    )
    .execute(tx.connection())
    .await
    .doing(doing)?;
    write_event_in_tx(tx, &purchase, happened, settlement.recorded_at).await?;
    post_in_tx(tx, &settlement.decision.entries, settlement.recorded_at).await?;
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
            At(settlement.recorded_at) as _,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
    }
    if settlement.frees_coupons {
        free_coupons_in_tx(tx, id.uuid(), settlement.recorded_at).await?;
    }
    record_in_tx(tx.connection(), std::slice::from_ref(&settlement.audit), settlement.outbox.as_slice())
        .await?;
    let state = happened.to;
    let challenge = settlement.challenge.or(purchase.challenge);
    Ok(Purchase { state, decided_at, challenge, provider: taken_by, ..purchase })
}

async fn by_key_in_tx(
    tx: &mut Tx,
    person: PersonId,
    key: &Key,
) -> Result<Option<(Purchase, Fingerprint)>, AppError> {
    let mut rows = purchases_in_tx(tx, None, Some(person), Some(key), None, 1).await?;
    Ok(rows.pop().map(PurchaseRow::read).transpose()?)
}

async fn purchase_in_tx(tx: &mut Tx, id: PurchaseId) -> Result<Option<Purchase>, AppError> {
    let mut rows = purchases_in_tx(tx, Some(id), None, None, None, 1).await?;
    Ok(rows.pop().map(PurchaseRow::read).transpose()?.map(|(purchase, _)| purchase))
}

/// The firm's purchases with this id, of this person, under this key, behind that one; the newest first. Say at least one.
async fn purchases_in_tx(
    tx: &mut Tx,
    id: Option<PurchaseId>,
    person: Option<PersonId>,
    key: Option<&Key>,
    behind: Option<PurchaseId>,
    most: i64,
) -> Result<Vec<PurchaseRow>, AppError> {
    let firm = tx.firm();
    let rows = sqlx::query_as!(
        PurchaseRow,
        r#"select bought.id, bought.person_id, bought.slug, version.name as program_name, bought.version,
                  bought.reset_of, bought.reset_included, bought.fee_minor, bought.fee_currency, bought.discount_minor,
                  bought.tax_minor, bought.lines, bought.provider, bought.state, bought.fingerprint,
                  challenge.id as "challenge_id?", bought.created_at as "created_at: At",
                  bought.decided_at as "decided_at: At"
           from purchases bought
           join program_versions version on version.firm_id = bought.firm_id and version.version = bought.version
           left join challenges challenge
                  on challenge.firm_id = bought.firm_id and challenge.purchase_id = bought.id
           where bought.firm_id = $1 and ($2::uuid is null or bought.id = $2)
             and ($3::uuid is null or bought.person_id = $3)
             and ($4::text is null or bought.idempotency_key = $4)
             and ($5::uuid is null or (bought.created_at, bought.id) < (select last.created_at, last.id from purchases last
                                                                        where last.firm_id = $1 and last.id = $5))
           order by bought.created_at desc, bought.id desc limit $6"#,
        firm.uuid(),
        id.map(PurchaseId::uuid),
        person.map(PersonId::uuid),
        key.map(Key::as_str),
        behind.map(PurchaseId::uuid),
        most,
    )
    .fetch_all(tx.connection())
    .await;
    rows.doing("reading purchases")
}

/// Writes the row and the version that is bought, or gives the purchase that the key has made before.
async fn create_in_tx(tx: &mut Tx, new: &NewPurchase) -> Result<Option<(Purchase, Fingerprint)>, AppError> {
    let doing = "creating a purchase";
    let purchase = &new.purchase;
    let firm = tx.firm();
    if let Some(program) = &new.program {
        let body = program.canonical_json().map_err(Inconsistent::from("program_versions"))?;
        sqlx::query!(
            "insert into program_versions (firm_id, version, body, name, currency, created_at)
             values ($1, $2, $3, $4, $5, $6) on conflict on constraint program_versions_key do nothing",
            firm.uuid(),
            purchase.version.as_str(),
            body,
            program.name,
            program.currency.code(),
            At(purchase.created_at) as _,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
    }
    let (word, of, included) = match purchase.bought {
        Bought::Challenge => ("challenge", None, false),
        Bought::Reset { of, included } => ("reset", Some(of), included),
    };
    let created = sqlx::query!(
        "insert into purchases (firm_id, id, person_id, slug, version, bought, reset_of, reset_included, root_id, fee_minor,
                                fee_currency, discount_minor, tax_minor, lines, country, resets, trial, state,
                                idempotency_key, fingerprint, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8,
                 coalesce((select bought.root_id from challenges challenge
                           join purchases bought on bought.firm_id = challenge.firm_id and bought.id = challenge.purchase_id
                           where challenge.firm_id = $1 and challenge.id = $7), $2),
                 $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
         on conflict on constraint purchases_once do nothing",
        firm.uuid(),
        purchase.id.uuid(),
        purchase.person.uuid(),
        purchase.slug,
        purchase.version.as_str(),
        word,
        of.map(ChallengeId::uuid),
        included,
        purchase.fee.minor(),
        purchase.fee.currency().code(),
        purchase.discount.minor(),
        purchase.tax.minor(),
        to_json(PURCHASES, &purchase.lines)?,
        new.country.map(|country| country.to_string()),
        i16::try_from(new.resets).map_err(Inconsistent::from(PURCHASES))?,
        new.trial,
        purchase.state.word(),
        new.key.as_str(),
        new.fingerprint.as_slice(),
        At(purchase.created_at) as _,
    )
    .execute(tx.connection())
    .await
    .doing(doing)?;
    if created.rows_affected() == 1 {
        return Ok(None);
    }
    let found = by_key_in_tx(tx, purchase.person, &new.key).await?;
    found.map(Some).ok_or_else(|| Inconsistent::new(PURCHASES, "a key conflicts with no row").into())
}

async fn write_event_in_tx(
    tx: &mut Tx,
    purchase: &Purchase,
    happened: &Happened,
    recorded_at: Timestamp,
) -> Result<(), AppError> {
    let firm = tx.firm();
    sqlx::query!(
        "insert into purchase_events (firm_id, purchase_id, person_id, id, what, provider, reference, amount_minor, currency,
                                      tax_minor, at, recorded_at, from_state, to_state)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)",
        firm.uuid(),
        purchase.id.uuid(),
        purchase.person.uuid(),
        happened.id.uuid(),
        happened.what.word(),
        happened.provider.as_ref().map(Provider::as_str),
        happened.reference,
        happened.amount.map(Money::minor),
        happened.amount.map(|amount| amount.currency().code()),
        happened.tax.map(Money::minor),
        At(happened.at) as _,
        At(recorded_at) as _,
        happened.from.word(),
        happened.to.word(),
    )
    .execute(tx.connection())
    .await
    .doing("writing what happened to a purchase")?;
    Ok(())
}

async fn history_in_tx(tx: &mut Tx, id: PurchaseId) -> Result<Vec<Happened>, AppError> {
    let firm = tx.firm();
    let rows = sqlx::query!(
        r#"select happened.id, happened.what, happened.provider, happened.reference, happened.amount_minor, bought.fee_currency,
                  happened.currency, happened.tax_minor, happened.at as "at: At", happened.from_state, happened.to_state
           from purchase_events happened
           join purchases bought on bought.firm_id = happened.firm_id and bought.id = happened.purchase_id
           where happened.firm_id = $1 and happened.purchase_id = $2 order by happened.number"#,
        firm.uuid(),
        id.uuid(),
    )
    .fetch_all(tx.connection())
    .await
    .doing("reading what happened to a purchase")?;
    let mut history = Vec::with_capacity(rows.len());
    for row in rows {
        let amount = row.amount_minor.zip(row.currency.as_deref());
        let tax = row.tax_minor.map(|minor| (minor, row.fee_currency.as_str()));
        let read = |(minor, currency): (i64, &str)| money(EVENTS, minor, currency);
        history.push(Happened {
            id: EntryId::from_uuid(row.id),
            what: by_word(EVENTS, &Happening::ALL, Happening::word, &row.what)?,
            amount: amount.map(read).transpose()?,
            tax: tax.map(read).transpose()?,
            provider: row.provider.as_deref().map(|name| provider(EVENTS, name)).transpose()?,
            reference: row.reference,
            at: row.at.into(),
            from: by_word(EVENTS, &PurchaseState::ALL, PurchaseState::word, &row.from_state)?,
            to: by_word(EVENTS, &PurchaseState::ALL, PurchaseState::word, &row.to_state)?,
        });
    }
    Ok(history)
}
