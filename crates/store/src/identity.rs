//! People and sessions.

use app::identity::{Credentials, IdentityStore, Person, Session};
use app::trading::AuditEntry;
use app::{AppError, Role};
use async_trait::async_trait;
use kernel::{FirmId, PersonId, SessionId, Timestamp};
use uuid::Uuid;

use crate::error::Doing;
use crate::records::record_in_tx;
use crate::row::{At, by_word};
use crate::{Inconsistent, Store, Tx};

#[async_trait]
impl IdentityStore for Store {
    async fn add_person(
        &self,
        firm: FirmId,
        credentials: &Credentials,
        session: Option<&Session>,
        audit: &[AuditEntry],
    ) -> Result<(), AppError> {
        let person = &credentials.person;
        let roles: Vec<String> = person.roles.iter().map(|role| role.word().to_owned()).collect();
        let (key, sealed) = self.vault.seal(firm, person.id, &person.email, &person.display_name).await?;
        let mut tx = self.begin(firm).await?;
        sqlx::query!(
            "insert into people (firm_id, id, email_index, email_sealed, name_sealed, password_hash, roles, created_at, region)
             values ($1, $2, $3, $4, $5, $6, $7, $8, (select region from installation))",
            firm.uuid(),
            person.id.uuid(),
            sealed.index.as_slice(),
            sealed.email,
            sealed.name,
            credentials.password_hash,
            &roles,
            At(person.created_at) as _,
        )
        .execute(tx.connection())
        .await
        .doing("adding a person")?;
        if let Some(session) = session {
            insert_session_in_tx(&mut tx, session).await?;
        }
        record_in_tx(tx.connection(), audit, &[]).await?;
        // Only now that the database takes the row, and before anybody can see it.
        self.vault.keep(firm, person.id, &key).await?;
        let _proof = tx.commit().await?;
        Ok(())
    }

    async fn credentials(&self, firm: FirmId, email: &str) -> Result<Option<Credentials>, AppError> {
        let index = self.vault.index(firm, email).await?;
        let mut tx = self.begin(firm).await?;
        let found = sqlx::query_as!(
            PersonRow,
            r#"select id, email_sealed, name_sealed, password_hash, roles, created_at as "created_at: At"
               from people where firm_id = $1 and email_index = $2"#,
            firm.uuid(),
            index.as_slice(),
        )
        .fetch_optional(tx.connection())
        .await
        .doing("reading a person")?;
        drop(tx);
        let Some(row) = found else { return Ok(None) };
        let password_hash = row.password_hash.clone();
        let person = self.person(firm, row).await?;
        Ok(person.map(|person| Credentials { person, password_hash }))
    }

    async fn add_session(
        &self,
        firm: FirmId,
        session: &Session,
        rehash: Option<&str>,
        audit: &[AuditEntry],
    ) -> Result<(), AppError> {
        let mut tx = self.begin(firm).await?;
        insert_session_in_tx(&mut tx, session).await?;
        if let Some(hash) = rehash {
            write_password_in_tx(&mut tx, session.person, hash).await.doing("storing a stronger hash")?;
        }
        record_in_tx(tx.connection(), audit, &[]).await?;
        let _proof = tx.commit().await?;
        Ok(())
    }

    async fn set_password(
        &self,
        firm: FirmId,
        person: PersonId,
        hash: &str,
        audit: &[AuditEntry],
    ) -> Result<(), AppError> {
        let doing = "setting a password";
        let mut tx = self.begin(firm).await?;
        write_password_in_tx(&mut tx, person, hash).await.doing(doing)?;
        sqlx::query!(
            "delete from sessions where firm_id = $1 and person_id = $2",
            firm.uuid(),
            person.uuid()
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        record_in_tx(tx.connection(), audit, &[]).await?;
        let _proof = tx.commit().await?;
        Ok(())
    }

    async fn session(
        &self,
        firm: FirmId,
        token_hash: &[u8; 32],
    ) -> Result<Option<(Session, Person)>, AppError> {
        let mut tx = self.begin(firm).await?;
        let found = sqlx::query!(
            r#"select session.id as session_id, session.created_at as "signed_in_at: At",
                      session.expires_at as "expires_at: At", session.ends_at as "ends_at: At",
                      person.id, person.email_sealed, person.name_sealed, person.password_hash, person.roles,
                      person.created_at as "created_at: At"
               from sessions session
               join people person on person.firm_id = session.firm_id and person.id = session.person_id
               where session.firm_id = $1 and session.token_hash = $2"#,
            firm.uuid(),
            token_hash.as_slice(),
        )
        .fetch_optional(tx.connection())
        .await
        .doing("reading a session")?;
        drop(tx);
        let Some(row) = found else { return Ok(None) };
        let session = Session {
            id: SessionId::from_uuid(row.session_id),
            token_hash: *token_hash,
            person: PersonId::from_uuid(row.id),
            created_at: row.signed_in_at.into(),
            expires_at: row.expires_at.into(),
            ends_at: row.ends_at.into(),
        };
        let row = PersonRow {
            id: row.id,
            email_sealed: row.email_sealed,
            name_sealed: row.name_sealed,
            password_hash: row.password_hash,
            roles: row.roles,
            created_at: row.created_at,
        };
        Ok(self.person(firm, row).await?.map(|person| (session, person)))
    }

    async fn extend_session(
        &self,
        firm: FirmId,
        token_hash: &[u8; 32],
        to: Timestamp,
    ) -> Result<(), AppError> {
        let mut tx = self.begin(firm).await?;
        sqlx::query!(
            "update sessions set expires_at = $3 where firm_id = $1 and token_hash = $2 and expires_at < $3",
            firm.uuid(),
            token_hash.as_slice(),
            At(to) as _,
        )
        .execute(tx.connection())
        .await
        .doing("extending a session")?;
        let _proof = tx.commit().await?;
        Ok(())
    }

    async fn end_session(
        &self,
        firm: FirmId,
        token_hash: &[u8; 32],
        audit: &[AuditEntry],
    ) -> Result<(), AppError> {
        let mut tx = self.begin(firm).await?;
        let gone = sqlx::query!(
            "delete from sessions where firm_id = $1 and token_hash = $2",
            firm.uuid(),
            token_hash.as_slice(),
        )
        .execute(tx.connection())
        .await
        .doing("ending a session")?;
        if gone.rows_affected() == 0 {
            return Ok(());
        }
        record_in_tx(tx.connection(), audit, &[]).await?;
        let _proof = tx.commit().await?;
        Ok(())
    }
}

async fn write_password_in_tx(tx: &mut Tx, person: PersonId, hash: &str) -> Result<(), sqlx::Error> {
    let firm = tx.firm();
    sqlx::query!(
        "update people set password_hash = $3 where firm_id = $1 and id = $2",
        firm.uuid(),
        person.uuid(),
        hash,
    )
    .execute(tx.connection())
    .await?;
    Ok(())
}

/// Every session that begins clears more ended ones away than it adds, so that they never pile up.
async fn insert_session_in_tx(tx: &mut Tx, session: &Session) -> Result<(), AppError> {
    let firm = tx.firm();
    sqlx::query!(
        "delete from sessions where firm_id = $1 and token_hash in (
             select token_hash from sessions where firm_id = $1 and expires_at <= $2
             order by expires_at limit 20 for update skip locked
         )",
        firm.uuid(),
        At(session.created_at) as _,
    )
    .execute(tx.connection())
    .await
    .doing("clearing ended sessions away")?;
    // None of somebody who is erased at this moment.
    sqlx::query!(
        "insert into sessions (firm_id, token_hash, id, person_id, created_at, expires_at, ends_at)
         select firm_id, $2::bytea, $3::uuid, id, $5::timestamptz, $6::timestamptz, $7::timestamptz
         from people where firm_id = $1 and id = $4 and erased_at is null for key share",
        firm.uuid(),
        session.token_hash.as_slice(),
        session.id.uuid(),
        session.person.uuid(),
        At(session.created_at) as _,
        At(session.expires_at) as _,
        At(session.ends_at) as _,
    )
    .execute(tx.connection())
    .await
    .doing("adding a session")?;
    Ok(())
}

/// A row of `people` that says who somebody is.
struct PersonRow {
    id: Uuid,
    email_sealed: Option<Vec<u8>>,
    name_sealed: Option<Vec<u8>>,
    password_hash: String,
    roles: Vec<String>,
    created_at: At,
}

impl Store {
    /// Who it is; nobody who was erased.
    async fn person(&self, firm: FirmId, row: PersonRow) -> Result<Option<Person>, AppError> {
        let id = PersonId::from_uuid(row.id);
        let (Some(email), Some(name)) = (row.email_sealed, row.name_sealed) else { return Ok(None) };
        let Some((email, display_name)) = self.vault.identify(firm, id, &email, &name).await? else {
            return Ok(None);
        };
        Ok(Some(Person {
            id,
            email,
            display_name,
            roles: roles(&row.roles)?,
            created_at: row.created_at.into(),
        }))
    }
}

/// What somebody is to the firm.
pub(crate) fn roles(words: &[String]) -> Result<Vec<Role>, Inconsistent> {
    words.iter().map(|word| by_word("people", &Role::ALL, Role::word, word)).collect()
}
