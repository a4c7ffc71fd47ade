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
        let mut tx = self.begin(firm).await?;
        let person = &credentials.person;
        let roles: Vec<String> = person.roles.iter().map(|role| role.word().to_owned()).collect();
        sqlx::query!(
            "insert into people (firm_id, id, email, display_name, password_hash, roles, created_at)
             values ($1, $2, $3, $4, $5, $6, $7)",
            firm.uuid(),
            person.id.uuid(),
            person.email,
            person.display_name,
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
        let _proof = tx.commit().await?;
        Ok(())
    }

    async fn credentials(&self, firm: FirmId, email: &str) -> Result<Option<Credentials>, AppError> {
        let mut tx = self.begin(firm).await?;
        let found = sqlx::query!(
            r#"select id, email, display_name, password_hash, roles, created_at as "created_at: At"
               from people where firm_id = $1 and email = $2"#,
            firm.uuid(),
            email,
        )
        .fetch_optional(tx.connection())
        .await
        .doing("reading a person")?;
        let Some(row) = found else { return Ok(None) };
        let person = person(row.id, row.email, row.display_name, &row.roles, row.created_at)?;
        Ok(Some(Credentials { person, password_hash: row.password_hash }))
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
                      person.id, person.email, person.display_name, person.roles, person.created_at as "created_at: At"
               from sessions session
               join people person on person.firm_id = session.firm_id and person.id = session.person_id
               where session.firm_id = $1 and session.token_hash = $2"#,
            firm.uuid(),
            token_hash.as_slice(),
        )
        .fetch_optional(tx.connection())
        .await
        .doing("reading a session")?;
        let Some(row) = found else { return Ok(None) };
        let session = Session {
            id: SessionId::from_uuid(row.session_id),
            token_hash: *token_hash,
            person: PersonId::from_uuid(row.id),
            created_at: row.signed_in_at.into(),
            expires_at: row.expires_at.into(),
            ends_at: row.ends_at.into(),
        };
        let person = person(row.id, row.email, row.display_name, &row.roles, row.created_at)?;
        Ok(Some((session, person)))
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
    sqlx::query!(
        "insert into sessions (firm_id, token_hash, id, person_id, created_at, expires_at, ends_at)
         values ($1, $2, $3, $4, $5, $6, $7)",
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

fn person(
    id: Uuid,
    email: String,
    display_name: String,
    roles: &[String],
    at: At,
) -> Result<Person, Inconsistent> {
    let roles = roles.iter().map(|word| by_word("people", &Role::ALL, Role::word, word));
    Ok(Person {
        id: PersonId::from_uuid(id),
        email,
        display_name,
        roles: roles.collect::<Result<_, _>>()?,
        created_at: at.into(),
    })
}
