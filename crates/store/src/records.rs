//! Audit entries and messages to the world, written with their cause.

use app::AppError;
use app::trading::{AuditEntry, OutboxEntry};
use sqlx::PgConnection;

use crate::Tx;
use crate::error::Doing;
use crate::row::{At, column};

pub(crate) async fn write_audit_in_tx(
    connection: &mut PgConnection,
    entries: &[AuditEntry],
) -> Result<(), sqlx::Error> {
    if entries.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into audit_entries (firm_id, at, actor_id, action, object_kind, object, request_id, purpose,
                                    before, after, detail)
         select firm_id, at, actor_id, action, object_kind, object, request_id, purpose, before, after, detail::jsonb
         from unnest($1::uuid[], $2::timestamptz[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::uuid[],
                     $8::text[], $9::bytea[], $10::bytea[], $11::text[]) with ordinality
              as entry (firm_id, at, actor_id, action, object_kind, object, request_id, purpose, before, after, detail,
                        number)
         order by number",
        &column(entries, |entry| entry.firm.uuid()),
        column(entries, |entry| At(entry.at)) as _,
        column(entries, |entry| entry.actor.map(kernel::PersonId::uuid)) as _,
        column(entries, |entry| entry.action.as_str()) as _,
        column(entries, |entry| entry.object_kind) as _,
        column(entries, |entry| entry.object.as_str()) as _,
        column(entries, |entry| entry.request.map(kernel::RequestId::uuid)) as _,
        column(entries, |entry| entry.purpose.as_str()) as _,
        column(entries, |entry| entry.digests.before.map(Vec::from)) as _,
        column(entries, |entry| entry.digests.after.map(Vec::from)) as _,
        &column(entries, |entry| entry.detail.to_string()),
    )
    .execute(connection)
    .await?;
    Ok(())
}

pub(crate) async fn write_outbox_in_tx(
    connection: &mut PgConnection,
    entries: &[OutboxEntry],
) -> Result<(), sqlx::Error> {
    if entries.is_empty() {
        return Ok(());
    }
    sqlx::query!(
        "insert into outbox (firm_id, at, aggregate, topic, payload, trace)
         select firm_id, at, aggregate, topic, payload::jsonb, trace
         from unnest($1::uuid[], $2::timestamptz[], $3::text[], $4::text[], $5::text[], $6::text[]) with ordinality
              as entry (firm_id, at, aggregate, topic, payload, trace, number)
         order by number",
        &column(entries, |entry| entry.firm.uuid()),
        column(entries, |entry| At(entry.at)) as _,
        column(entries, |entry| entry.aggregate.as_str()) as _,
        column(entries, |entry| entry.topic) as _,
        &column(entries, |entry| entry.payload.to_string()),
        column(entries, |entry| entry.request.map(kernel::RequestId::traceparent)) as _,
    )
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes down what a use case did, and makes it durable with it.
pub(crate) async fn finish(mut tx: Tx, audit: &AuditEntry, outbox: &[OutboxEntry]) -> Result<(), AppError> {
    record_in_tx(tx.connection(), std::slice::from_ref(audit), outbox).await?;
    let _proof = tx.commit().await?;
    Ok(())
}

/// Both, for use cases.
pub(crate) async fn record_in_tx(
    connection: &mut PgConnection,
    audit: &[AuditEntry],
    outbox: &[OutboxEntry],
) -> Result<(), AppError> {
    write_audit_in_tx(connection, audit).await.doing("writing the audit log")?;
    write_outbox_in_tx(connection, outbox).await.doing("writing the outbox")
}
