//! What people may ask of their data, and the moving of rows from before it was sealed.

use std::collections::BTreeMap;

use app::AppError;
use app::privacy::{Erased, PrivacyStore, Region, State, Subject, Vault};
use app::trading::{AuditEntry, Digests};
use async_trait::async_trait;
use kernel::{FirmId, PersonId, Timestamp};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use sqlx::{Connection, Executor, PgConnection};

use crate::error::Doing;
use crate::identity::roles;
use crate::records::record_in_tx;
use crate::row::{At, column};
use crate::{Store, StoreError, Tx};

/// People sealed in one transaction.
const PART: i64 = 500;

#[async_trait]
impl PrivacyStore for Store {
    async fn subject(
        &self,
        firm: FirmId,
        person: PersonId,
        look: Option<&AuditEntry>,
    ) -> Result<Option<Subject>, AppError> {
        let mut tx = self.begin(firm).await?;
        let row = sqlx::query!(
            r#"select email_sealed, name_sealed, roles, created_at as "created_at: At", region,
                      restricted_at as "restricted_at: At", held_at as "held_at: At", erased_at as "erased_at: At"
               from people where firm_id = $1 and id = $2"#,
            firm.uuid(),
            person.uuid(),
        )
        .fetch_optional(tx.connection())
        .await
        .doing("reading a person")?;
        let Some(row) = row else { return Ok(None) };
        record_in_tx(tx.connection(), look.map_or(&[], std::slice::from_ref), &[]).await?;
        let _proof = tx.commit().await?;
        let known = match (&row.email_sealed, &row.name_sealed) {
            (Some(email), Some(name)) => self.vault.identify(firm, person, email, name).await?,
            _ => None,
        };
        Ok(Some(Subject {
            id: person,
            known,
            roles: roles(&row.roles)?,
            created_at: row.created_at.into(),
            region: row.region,
            restricted_at: row.restricted_at.map(Timestamp::from),
            held_at: row.held_at.map(Timestamp::from),
            erased_at: row.erased_at.map(Timestamp::from),
        }))
    }

    async fn owner_of_email(
        &self,
        firm: FirmId,
        email: &str,
        nobody: &AuditEntry,
    ) -> Result<Option<PersonId>, AppError> {
        let index = self.vault.index(firm, email).await?;
        let mut tx = self.begin(firm).await?;
        let found = sqlx::query_scalar!(
            "select id from people where firm_id = $1 and email_index = $2",
            firm.uuid(),
            index.as_slice(),
        )
        .fetch_optional(tx.connection())
        .await
        .doing("looking for a person")?;
        if found.is_none() {
            record_in_tx(tx.connection(), std::slice::from_ref(nobody), &[]).await?;
            let _proof = tx.commit().await?;
        }
        Ok(found.map(PersonId::from_uuid))
    }

    async fn set_state(
        &self,
        firm: FirmId,
        person: PersonId,
        state: State,
        since: Option<Timestamp>,
        audit: &AuditEntry,
    ) -> Result<(), AppError> {
        let doing = "changing how somebody's data is treated";
        let since = since.map(At);
        let mut tx = self.begin(firm).await?;
        let erased = sqlx::query_scalar!(
            r#"select erased_at is not null as "erased!" from people where firm_id = $1 and id = $2 for update"#,
            firm.uuid(),
            person.uuid(),
        )
        .fetch_optional(tx.connection())
        .await
        .doing(doing)?;
        if erased != Some(false) {
            return Err(AppError::NotFound("person"));
        }
        let changed = match state {
            State::Restricted => sqlx::query!(
                "update people set restricted_at = $3
                 where firm_id = $1 and id = $2 and (restricted_at is null) <> ($3::timestamptz is null)",
                firm.uuid(),
                person.uuid(),
                since as _,
            )
            .execute(tx.connection())
            .await
            .doing(doing)?,
            State::Held => sqlx::query!(
                "update people set held_at = $3
                 where firm_id = $1 and id = $2 and (held_at is null) <> ($3::timestamptz is null)",
                firm.uuid(),
                person.uuid(),
                since as _,
            )
            .execute(tx.connection())
            .await
            .doing(doing)?,
        };
        if changed.rows_affected() > 0 {
            record_in_tx(tx.connection(), std::slice::from_ref(audit), &[]).await?;
            let _proof = tx.commit().await?;
        }
        Ok(())
    }

    async fn erase(&self, erased: &Erased, audit: &AuditEntry) -> Result<(), AppError> {
        let Erased { firm, person, at, .. } = *erased;
        let mut tx = self.begin(firm).await?;
        let row = sqlx::query!(
            r#"select held_at is not null as "held!", erased_at is not null as "erased!",
                      tradesense_open_payouts(id) as "open_payouts!"
               from people where firm_id = $1 and id = $2 for update"#,
            firm.uuid(),
            person.uuid(),
        )
        .fetch_optional(tx.connection())
        .await
        .doing("looking whether somebody may be erased")?;
        let row = row.ok_or(AppError::NotFound("person"))?;
        if row.erased {
            return Ok(());
        }
        if row.held {
            let say = "What is stored about this person is under a legal hold.";
            return Err(AppError::refused("legal_hold", say));
        }
        if row.open_payouts > 0 {
            let say = "A payout of this person is under way. Ask again when it is finished.";
            return Err(AppError::refused("payout_open", say));
        }
        forget_in_tx(&mut tx, erased, at).await?;
        record_in_tx(tx.connection(), std::slice::from_ref(audit), &[]).await?;
        // From here on there is no way back: what is cut off now is finished by the next start.
        self.vault.keys().promise(erased).await?;
        self.vault.keys().destroy(firm, person).await?;
        let _proof = tx.commit().await?;
        Ok(())
    }

    async fn erase_again(&self, erased: &[Erased], at: Timestamp) -> Result<u64, AppError> {
        let mut by_firm: BTreeMap<FirmId, Vec<Erased>> = BTreeMap::new();
        for erased in erased {
            self.vault.keys().destroy(erased.firm, erased.person).await?;
            by_firm.entry(erased.firm).or_default().push(*erased);
        }
        let mut again = 0_u64;
        for (firm, erased) in by_firm {
            let mut tx = self.begin(firm).await?;
            let told_of = sqlx::query_scalar!(
                "select id from people where firm_id = $1 and id = any($2::uuid[]) and erased_at is null for update",
                firm.uuid(),
                &column(&erased, |erased| erased.person.uuid()),
            )
            .fetch_all(tx.connection())
            .await
            .doing("looking who is still told of")?;
            for erased in erased.iter().filter(|erased| told_of.contains(&erased.person.uuid())) {
                forget_in_tx(&mut tx, erased, at).await?;
                let entry = AuditEntry {
                    firm,
                    at,
                    actor: None,
                    action: "privacy.erase_again".to_owned(),
                    object_kind: "person",
                    object: erased.person.to_string(),
                    request: None,
                    purpose: String::new(),
                    digests: Digests::default(),
                    detail: json!({ "decided_at": erased.at.to_string() }),
                };
                record_in_tx(tx.connection(), &[entry], &[]).await?;
                again = again.saturating_add(1);
            }
            let _proof = tx.commit().await?;
        }
        Ok(again)
    }

    async fn erasures(&self) -> Result<Vec<Erased>, AppError> {
        let doing = "reading who was erased";
        let firms =
            sqlx::query_scalar!("select firm_id from firms").fetch_all(&self.worker).await.doing(doing)?;
        let mut erased = Vec::new();
        for firm in firms.into_iter().map(FirmId::from_uuid) {
            let mut tx = self.begin(firm).await?;
            let rows = sqlx::query!(
                r#"select person_id, at as "at: At", actor_id from erasures where firm_id = $1 order by at, person_id"#,
                firm.uuid(),
            )
            .fetch_all(tx.connection())
            .await
            .doing(doing)?;
            erased.extend(rows.into_iter().map(|row| Erased {
                firm,
                person: PersonId::from_uuid(row.person_id),
                at: row.at.into(),
                by: row.actor_id.map(PersonId::from_uuid),
            }));
        }
        Ok(erased)
    }

    async fn rows_of(
        &self,
        firm: FirmId,
        person: PersonId,
        look: &AuditEntry,
    ) -> Result<Vec<(String, Value)>, AppError> {
        let mut tx = self.begin(firm).await?;
        record_in_tx(tx.connection(), std::slice::from_ref(look), &[]).await?;
        let rows = sqlx::query!(
            r#"select kind as "kind!", content as "content!" from tradesense_rows_of($1)
               union all select kind, content from tradesense_sales_of($1)
               union all select kind, content from tradesense_payments_of($1)
               union all select kind, content from tradesense_payouts_of($1)
               union all select kind, content from tradesense_disputes_of($1)"#,
            person.uuid(),
        )
        .fetch_all(tx.connection())
        .await
        .doing("reading everything about a person")?;
        let _proof = tx.commit().await?;
        Ok(rows.into_iter().map(|row| (row.kind, row.content)).collect())
    }
}

/// Removes and empties all that goes with an erasure, as of an instant or of now. Each part of the schema has its function for its own
/// tables, as it has one for the archive ([`PrivacyStore::rows_of`]).
async fn forget_rows(
    connection: &mut PgConnection,
    person: PersonId,
    at: Option<Timestamp>,
) -> Result<(), sqlx::Error> {
    sqlx::query!(
        "select tradesense_forget_payments($1), tradesense_forget_payouts($1),
                tradesense_forget_person($1, coalesce($2::timestamptz, clock_timestamp()))",
        person.uuid(),
        at.map(At) as _,
    )
    .fetch_one(connection)
    .await?;
    Ok(())
}

async fn forget_in_tx(tx: &mut Tx, erased: &Erased, at: Timestamp) -> Result<(), AppError> {
    let doing = "erasing a person";
    let Erased { firm, person, by, .. } = *erased;
    forget_rows(tx.connection(), person, Some(at)).await.doing(doing)?;
    sqlx::query!(
        "insert into erasures (firm_id, person_id, at, actor_id) values ($1, $2, $3, $4)
         on conflict on constraint erasures_key do nothing",
        firm.uuid(),
        person.uuid(),
        At(erased.at) as _,
        by.map(PersonId::uuid),
    )
    .execute(tx.connection())
    .await
    .doing(doing)?;
    Ok(())
}

impl Store {
    /// Whether somebody's row is from before rows were sealed: [`Self::seal_people`] seals them. For any login.
    pub async fn has_unsealed_people(url: &str) -> Result<bool, AppError> {
        let doing = "looking for people who are not sealed";
        let mut login = PgConnection::connect(url).await.doing(doing)?;
        let firms = all_firms(&mut login).await.doing(doing)?;
        login.execute("set role tradesense_app").await.doing(doing)?;
        let mut found = false;
        for firm in firms {
            sqlx::query!("select set_config('tradesense.firm', $1, false)", firm.to_string())
                .fetch_one(&mut login)
                .await
                .doing(doing)?;
            let unsealed = sqlx::query_scalar!(
                r#"select exists (select from people where firm_id = $1 and email is not null) as "unsealed!""#,
                firm.uuid(),
            );
            found = found || unsealed.fetch_one(&mut login).await.doing(doing)?;
        }
        login.close().await.doing(doing)?;
        Ok(found)
    }

    /// Seals who people are, wherever that still stands in clear; how many that were. `owner_url` is the login that migrates.
    /// What is cut off goes on where it was.
    pub async fn seal_people(owner_url: &str, vault: &Vault) -> Result<u64, AppError> {
        let doing = "sealing who people are";
        let mut owner = PgConnection::connect(owner_url).await.doing(doing)?;
        let firms = all_firms(&mut owner).await.doing(doing)?;
        let mut sealed = 0_u64;
        for firm in firms {
            let of_firm = seal_firm(&mut owner, firm, vault).await?;
            sealed = sealed.saturating_add(of_firm);
        }
        owner.close().await.doing(doing)?;
        Ok(sealed)
    }

    /// Says in which region this database's people are, once and for all; false if it is another one already. `owner_url` is the
    /// login that migrates.
    pub async fn pin_region(owner_url: &str, region: &Region) -> Result<bool, StoreError> {
        let mut owner = PgConnection::connect(owner_url).await.map_err(StoreError::Connect)?;
        let pinned = sqlx::query_scalar!(
            r#"update installation set region = coalesce(region, $1) returning region as "region!""#,
            region.as_str(),
        )
        .fetch_one(&mut owner)
        .await
        .map_err(StoreError::Schema)?;
        owner.close().await.map_err(StoreError::Connect)?;
        Ok(pinned == region.as_str())
    }

    /// The region of this database's people.
    pub async fn region(&self) -> Result<Option<String>, AppError> {
        sqlx::query_scalar!("select region from installation")
            .fetch_one(&self.worker)
            .await
            .doing("reading the region of the installation")
    }
}

/// Policies hold for the owner, too; the role of shards sees every firm.
async fn all_firms(login: &mut PgConnection) -> Result<Vec<FirmId>, sqlx::Error> {
    login.execute("set role tradesense_engine").await?;
    let firms = sqlx::query_scalar!("select firm_id from firms").fetch_all(&mut *login).await?;
    login.execute("reset role").await?;
    Ok(firms.into_iter().map(FirmId::from_uuid).collect())
}

async fn seal_firm(owner: &mut PgConnection, firm: FirmId, vault: &Vault) -> Result<u64, AppError> {
    let doing = "sealing who people are";
    let mut sealed = 0_u64;
    loop {
        let mut tx = owner.begin().await.doing(doing)?;
        sqlx::query!("select set_config('tradesense.firm', $1, true)", firm.to_string())
            .fetch_one(&mut *tx)
            .await
            .doing(doing)?;
        let rows = sqlx::query!(
            r#"select id, email as "email!", display_name as "display_name!" from people
               where firm_id = $1 and email is not null order by email limit $2 for update"#,
            firm.uuid(),
            PART,
        )
        .fetch_all(&mut *tx)
        .await
        .doing(doing)?;
        if rows.is_empty() {
            if sealed > 0 {
                // What is left are the bare hashes of addresses that are nobody's.
                sqlx::query!(
                    "delete from mail_suppressions suppressed
                     where firm_id = $1 and not exists (select from people where people.firm_id = suppressed.firm_id
                                                        and people.email_index = suppressed.address_hash)",
                    firm.uuid(),
                )
                .execute(&mut *tx)
                .await
                .doing(doing)?;
                tx.commit().await.doing(doing)?;
            }
            return Ok(sealed);
        }
        for row in rows {
            let person = PersonId::from_uuid(row.id);
            match vault.seal_again(firm, person, &row.email, &row.display_name).await? {
                Some(who) => {
                    let bare: [u8; 32] = Sha256::digest(row.email.trim().to_lowercase()).into();
                    sqlx::query!(
                        "with moved as (
                             update mails set address_hash = $4
                             where firm_id = $1 and person_id = $2 and address_hash is not null
                         ), suppressed as (
                             update mail_suppressions set address_hash = $4 where firm_id = $1 and address_hash = $3
                         )
                         update people set email = null, display_name = null, email_index = $4, email_sealed = $5,
                                           name_sealed = $6
                         where firm_id = $1 and id = $2",
                        firm.uuid(),
                        person.uuid(),
                        bare.as_slice(),
                        who.index.as_slice(),
                        who.email,
                        who.name,
                    )
                    .execute(&mut *tx)
                    .await
                    .doing(doing)?;
                }
                // Erased since this database was saved.
                None => {
                    forget_rows(&mut tx, person, None).await.doing(doing)?;
                }
            }
            sealed = sealed.saturating_add(1);
        }
        tx.commit().await.doing(doing)?;
    }
}
