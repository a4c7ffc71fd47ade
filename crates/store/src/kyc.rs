//! Checks of who people are, and what they have shown for it.

use app::AppError;
use app::kyc::{
    Check, CheckChange, DecideCheck, Document, DocumentInfo, DocumentKind, Known, KycStore, MediaType,
    Standing,
};
use app::trading::AuditEntry;
use async_trait::async_trait;
use kernel::{DocumentId, FirmId, PersonId, Timestamp};
use uuid::Uuid;

use crate::error::Doing;
use crate::records::record_in_tx;
use crate::row::{At, by_word, size};
use crate::{Inconsistent, Store, Tx};

const CHECKS: &str = "identity_checks";
const DOCUMENTS: &str = "identity_documents";

/// What a document is sealed as.
const BYTES: &str = "identity_documents.bytes";

struct CheckRow {
    person_id: Uuid,
    state: String,
    verifier: String,
    reference: Option<String>,
    reason: Option<String>,
    reviewer_id: Option<Uuid>,
    started_at: At,
    submitted_at: Option<At>,
    decided_at: Option<At>,
    expires_at: Option<At>,
}

impl CheckRow {
    fn read(self) -> Result<Check, Inconsistent> {
        Ok(Check {
            person: PersonId::from_uuid(self.person_id),
            known: Known {
                standing: by_word(CHECKS, &Standing::ALL, Standing::word, &self.state)?,
                expires_at: self.expires_at.map(Timestamp::from),
            },
            verifier: self.verifier,
            reference: self.reference,
            reason: self.reason,
            reviewer: self.reviewer_id.map(PersonId::from_uuid),
            started_at: self.started_at.into(),
            submitted_at: self.submitted_at.map(Timestamp::from),
            decided_at: self.decided_at.map(Timestamp::from),
        })
    }
}

#[async_trait]
impl KycStore for Store {
    async fn check(&self, firm: FirmId, person: PersonId) -> Result<Option<Check>, AppError> {
        let mut tx = self.begin(firm).await?;
        check_in_tx(&mut tx, person).await
    }

    async fn documents(&self, firm: FirmId, person: PersonId) -> Result<Vec<DocumentInfo>, AppError> {
        let mut tx = self.begin(firm).await?;
        documents_in_tx(&mut tx, person).await
    }

    async fn shown(
        &self,
        firm: FirmId,
        person: PersonId,
        only: Option<DocumentId>,
        look: Option<&AuditEntry>,
    ) -> Result<Vec<Document>, AppError> {
        let mut tx = self.begin(firm).await?;
        let infos = documents_in_tx(&mut tx, person).await?;
        let rows = sqlx::query!(
            "select id, bytes_sealed from identity_documents
             where firm_id = $1 and person_id = $2 and ($3::uuid is null or id = $3) order by uploaded_at, id",
            firm.uuid(),
            person.uuid(),
            only.map(DocumentId::uuid),
        )
        .fetch_all(tx.connection())
        .await
        .doing("reading what somebody has shown")?;
        if let Some(look) = look {
            record_in_tx(tx.connection(), std::slice::from_ref(look), &[]).await?;
            let _proof = tx.commit().await?;
        } else {
            drop(tx);
        }
        let mut shown = Vec::with_capacity(rows.len());
        for row in rows {
            let id = DocumentId::from_uuid(row.id);
            let Some(info) = infos.iter().find(|info| info.id == id) else { continue };
            let bytes = self.vault.open_for(firm, person, BYTES, &row.bytes_sealed).await?;
            if let Some(bytes) = bytes {
                shown.push(Document { info: info.clone(), bytes: bytes.to_vec() });
            }
        }
        Ok(shown)
    }

    async fn change_check(
        &self,
        firm: FirmId,
        person: PersonId,
        document: Option<&Document>,
        decide: &DecideCheck<'_>,
    ) -> Result<Option<Check>, AppError> {
        let doing = "writing what is known of somebody";
        let sealed = match document {
            Some(document) => {
                let sealed = self.vault.seal_for(firm, person, BYTES, &document.bytes).await?;
                Some((document, sealed.ok_or(AppError::NotFound("person"))?))
            }
            None => None,
        };
        let mut tx = self.begin(firm).await?;
        // There may be no check yet: whoever changes one waits at the person.
        sqlx::query!(
            "select id from people where firm_id = $1 and id = $2 for no key update",
            firm.uuid(),
            person.uuid()
        )
        .fetch_optional(tx.connection())
        .await
        .doing(doing)?;
        let found = check_in_tx(&mut tx, person).await?;
        let shown = documents_in_tx(&mut tx, person).await?;
        let Some(CheckChange { check, audit }) = decide(found.as_ref(), &shown)? else { return Ok(found) };
        sqlx::query!(
            "insert into identity_checks (firm_id, person_id, state, verifier, reference, reason, reviewer_id, started_at,
                                          submitted_at, decided_at, expires_at, looked_at)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
             on conflict on constraint identity_checks_key do update
             set state = excluded.state, verifier = excluded.verifier, reference = excluded.reference,
                 reason = excluded.reason, reviewer_id = excluded.reviewer_id, started_at = excluded.started_at,
                 submitted_at = excluded.submitted_at, decided_at = excluded.decided_at,
                 expires_at = excluded.expires_at, looked_at = excluded.looked_at",
            firm.uuid(),
            person.uuid(),
            check.known.standing.word(),
            check.verifier,
            check.reference,
            check.reason,
            check.reviewer.map(PersonId::uuid),
            At(check.started_at) as _,
            check.submitted_at.map(At) as _,
            check.decided_at.map(At) as _,
            check.known.expires_at.map(At) as _,
            At(audit.at) as _,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        if let Some((Document { info, .. }, sealed)) = sealed {
            sqlx::query!(
                "insert into identity_documents (firm_id, id, person_id, kind, media_type, size, bytes_sealed, uploaded_at)
                 values ($1, $2, $3, $4, $5, $6, $7, $8)",
                firm.uuid(),
                info.id.uuid(),
                person.uuid(),
                info.kind.word(),
                info.media.word(),
                i32::try_from(info.size).map_err(Inconsistent::from(DOCUMENTS))?,
                sealed,
                At(info.uploaded_at) as _,
            )
            .execute(tx.connection())
            .await
            .doing(doing)?;
        }
        record_in_tx(tx.connection(), &[audit], &[]).await?;
        let _proof = tx.commit().await?;
        Ok(Some(check))
    }

    async fn unsettled(&self, firm: FirmId, at: Timestamp, most: i64) -> Result<Vec<Check>, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query_as!(
            CheckRow,
            r#"with due as (
                   select person_id from identity_checks
                   where firm_id = $1 and (state = 'submitted' or state = 'verified' and expires_at <= $2)
                   order by looked_at, person_id limit $3
                   for update skip locked
               )
               update identity_checks own set looked_at = $2 from due
               where own.firm_id = $1 and own.person_id = due.person_id
               returning own.person_id, own.state, own.verifier, own.reference, own.reason, own.reviewer_id,
                         own.started_at as "started_at: At", own.submitted_at as "submitted_at: At",
                         own.decided_at as "decided_at: At", own.expires_at as "expires_at: At""#,
            firm.uuid(),
            At(at) as _,
            most,
        )
        .fetch_all(tx.connection())
        .await
        .doing("looking for people who are not known yet")?;
        let _proof = tx.commit().await?;
        rows.into_iter().map(|row| Ok(row.read()?)).collect()
    }

    async fn submitted(&self, firm: FirmId, most: i64) -> Result<Vec<Check>, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query_as!(
            CheckRow,
            r#"select person_id, state, verifier, reference, reason, reviewer_id, started_at as "started_at: At",
                      submitted_at as "submitted_at: At", decided_at as "decided_at: At", expires_at as "expires_at: At"
               from identity_checks where firm_id = $1 and state = 'submitted'
               order by submitted_at, person_id limit $2"#,
            firm.uuid(),
            most,
        )
        .fetch_all(tx.connection())
        .await
        .doing("looking for people who are not known yet")?;
        rows.into_iter().map(|row| Ok(row.read()?)).collect()
    }
}

async fn check_in_tx(tx: &mut Tx, person: PersonId) -> Result<Option<Check>, AppError> {
    let firm = tx.firm();
    let row = sqlx::query_as!(
        CheckRow,
        r#"select person_id, state, verifier, reference, reason, reviewer_id, started_at as "started_at: At",
                  submitted_at as "submitted_at: At", decided_at as "decided_at: At", expires_at as "expires_at: At"
           from identity_checks where firm_id = $1 and person_id = $2"#,
        firm.uuid(),
        person.uuid(),
    )
    .fetch_optional(tx.connection())
    .await
    .doing("reading whether somebody is known")?;
    Ok(row.map(CheckRow::read).transpose()?)
}

async fn documents_in_tx(tx: &mut Tx, person: PersonId) -> Result<Vec<DocumentInfo>, AppError> {
    let firm = tx.firm();
    let rows = sqlx::query!(
        r#"select id, kind, media_type, size, uploaded_at as "uploaded_at: At" from identity_documents
           where firm_id = $1 and person_id = $2 order by uploaded_at, id"#,
        firm.uuid(),
        person.uuid(),
    )
    .fetch_all(tx.connection())
    .await
    .doing("reading what somebody has shown")?;
    let mut shown = Vec::with_capacity(rows.len());
    for row in rows {
        shown.push(DocumentInfo {
            id: DocumentId::from_uuid(row.id),
            kind: by_word(DOCUMENTS, &DocumentKind::ALL, DocumentKind::word, &row.kind)?,
            media: by_word(DOCUMENTS, &MediaType::ALL, MediaType::word, &row.media_type)?,
            size: size(DOCUMENTS, row.size)?,
            uploaded_at: row.uploaded_at.into(),
        });
    }
    Ok(shown)
}
