//! Where the firms' own systems listen, what is on its way to them, and every attempt.

use std::collections::BTreeSet;

use app::AppError;
use app::events::Message;
use app::notifications::Note;
use app::trading::AuditEntry;
use app::webhooks::{
    Attempt, Came, DISABLED_NOTE, Delivery, DeliveryState, Disabled, Due, Endpoint, NewDelivery, Next,
    SigningSecret, WebhookStore, attempt_job, disabled_note,
};
use async_trait::async_trait;
use kernel::{DeliveryId, FirmId, PersonId, Span, Timestamp, WebhookId};
use uuid::Uuid;

use crate::error::Doing;
use crate::records::{finish, record_in_tx};
use crate::row::{At, by_word, column};
use crate::{Inconsistent, Store, Tx};

/// So many secrets sign at a time, the newest ones.
const MOST_SECRETS: i64 = 5;

struct EndpointRow {
    id: Uuid,
    url: String,
    description: String,
    topics: Vec<String>,
    created_at: At,
    disabled_because: Option<String>,
    disabled_at: Option<At>,
    failing_since: Option<At>,
    older_secret_until: Option<At>,
}

impl EndpointRow {
    fn read(self) -> Result<Endpoint, Inconsistent> {
        let why = self.disabled_because.as_deref();
        let why = why.map(|word| by_word("webhook_endpoints", &Disabled::ALL, Disabled::word, word));
        Ok(Endpoint {
            id: WebhookId::from_uuid(self.id),
            url: self.url,
            description: self.description,
            topics: self.topics,
            created_at: self.created_at.into(),
            disabled: why.transpose()?.zip(self.disabled_at.map(Timestamp::from)),
            failing_since: self.failing_since.map(Timestamp::from),
            older_secret_until: self.older_secret_until.map(Timestamp::from),
        })
    }
}

struct DeliveryRow {
    id: Uuid,
    message: String,
    topic: String,
    body: String,
    created_at: At,
    state: String,
    attempts: i32,
    tried: i32,
    next_at: Option<At>,
    settled_at: Option<At>,
}

impl DeliveryRow {
    fn read(self) -> Result<Delivery, Inconsistent> {
        Ok(Delivery {
            id: DeliveryId::from_uuid(self.id),
            message: self.message,
            topic: self.topic,
            body: self.body,
            created_at: self.created_at.into(),
            state: by_word("webhook_deliveries", &DeliveryState::ALL, DeliveryState::word, &self.state)?,
            attempts: self.attempts,
            tried: self.tried,
            next_at: self.next_at.map(Timestamp::from),
            settled_at: self.settled_at.map(Timestamp::from),
        })
    }
}

impl Tx {
    /// Writes deliveries, each with the job of its first attempt. One that was written before is not written again.
    async fn deliver(&mut self, deliveries: &[NewDelivery]) -> Result<(), AppError> {
        let Some(first) = deliveries.first() else { return Ok(()) };
        let firm = self.firm();
        let written = sqlx::query_scalar!(
            "insert into webhook_deliveries
                 (firm_id, endpoint_id, id, message, topic, body, created_at, state, attempts, tried, next_at)
             select $1, endpoint_id, id, message, topic, body, at, 'waiting', 0, 0, at
             from unnest($2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::timestamptz[])
                  as new (endpoint_id, id, message, topic, body, at)
             on conflict do nothing
             returning id",
            firm.uuid(),
            &column(deliveries, |new| new.endpoint.uuid()),
            &column(deliveries, |new| new.id.uuid()),
            column(deliveries, |new| new.message.as_str()) as _,
            column(deliveries, |new| new.topic.as_str()) as _,
            column(deliveries, |new| new.body.as_str()) as _,
            column(deliveries, |new| At(new.at)) as _,
        )
        .fetch_all(self.connection())
        .await
        .doing("writing deliveries")?;
        let written: BTreeSet<_> = written.into_iter().map(DeliveryId::from_uuid).collect();
        let new = deliveries.iter().filter(|new| written.contains(&new.id));
        let jobs: Vec<_> = new.map(|new| new.job(firm)).collect();
        self.enqueue(&jobs, first.at).await
    }
}

async fn endpoints_in_tx(tx: &mut Tx, id: Option<WebhookId>) -> Result<Vec<Endpoint>, AppError> {
    let firm = tx.firm();
    let rows = sqlx::query_as!(
        EndpointRow,
        r#"select id, url, description, topics, created_at as "created_at: At", disabled_because,
                  disabled_at as "disabled_at: At", failing_since as "failing_since: At",
                  (select max(expires_at) from webhook_secrets secret
                   where secret.firm_id = endpoint.firm_id and secret.endpoint_id = endpoint.id)
                      as "older_secret_until: At"
           from webhook_endpoints endpoint
           where firm_id = $1 and ($2::uuid is null or id = $2) order by created_at, id"#,
        firm.uuid(),
        id.map(WebhookId::uuid) as _,
    )
    .fetch_all(tx.connection())
    .await
    .doing("reading webhooks")?;
    rows.into_iter().map(|row| Ok(row.read()?)).collect()
}

/// Holds an endpoint against being removed; false if it is gone. Taken before its deliveries, always.
async fn hold_in_tx(tx: &mut Tx, id: WebhookId) -> Result<bool, AppError> {
    let firm = tx.firm();
    let held = sqlx::query!(
        "select id from webhook_endpoints where firm_id = $1 and id = $2 for key share",
        firm.uuid(),
        id.uuid(),
    )
    .fetch_optional(tx.connection())
    .await
    .doing("reading a webhook")?;
    Ok(held.is_some())
}

async fn write_secret_in_tx(
    tx: &mut Tx,
    id: WebhookId,
    secret: &SigningSecret,
    at: Timestamp,
) -> Result<(), AppError> {
    let firm = tx.firm();
    sqlx::query!(
        "insert into webhook_secrets (firm_id, endpoint_id, number, secret, created_at)
         select $1, $2, 1 + coalesce(max(number), 0), $3, $4
         from webhook_secrets where firm_id = $1 and endpoint_id = $2",
        firm.uuid(),
        id.uuid(),
        secret.bytes(),
        At(at) as _,
    )
    .execute(tx.connection())
    .await
    .doing("writing the secret of a webhook")?;
    Ok(())
}

#[async_trait]
impl WebhookStore for Store {
    async fn take_deliveries(
        &self,
        firm: FirmId,
        group: &str,
        messages: &[Message],
        now: Timestamp,
    ) -> Result<(), AppError> {
        let mut tx = self.begin(firm).await?;
        let ids = column(messages, |message| message.id);
        let taken: BTreeSet<_> = tx.take_messages(group, &ids).await?.into_iter().collect();
        if !taken.is_empty() {
            let mut endpoints = endpoints_in_tx(&mut tx, None).await?;
            endpoints.retain(|endpoint| endpoint.disabled.is_none());
            let mut deliveries = Vec::new();
            for message in messages.iter().filter(|message| taken.contains(&message.id)) {
                let asked = endpoints.iter().filter(|endpoint| endpoint.takes(&message.topic));
                deliveries.extend(asked.map(|endpoint| NewDelivery::of(message, endpoint.id, now)));
            }
            // Against one that is being removed: what is written for it goes with it.
            for endpoint in deliveries.iter().map(|new| new.endpoint).collect::<BTreeSet<_>>() {
                if !hold_in_tx(&mut tx, endpoint).await? {
                    deliveries.retain(|new| new.endpoint != endpoint);
                }
            }
            tx.deliver(&deliveries).await?;
        }
        let _proof = tx.commit().await?;
        Ok(())
    }

    async fn endpoints(&self, firm: FirmId) -> Result<Vec<Endpoint>, AppError> {
        let mut tx = self.begin(firm).await?;
        endpoints_in_tx(&mut tx, None).await
    }

    async fn endpoint(&self, firm: FirmId, id: WebhookId) -> Result<Option<Endpoint>, AppError> {
        let mut tx = self.begin(firm).await?;
        Ok(endpoints_in_tx(&mut tx, Some(id)).await?.pop())
    }

    async fn add_endpoint(
        &self,
        firm: FirmId,
        endpoint: &Endpoint,
        secret: &SigningSecret,
        most: i64,
        audit: &AuditEntry,
    ) -> Result<bool, AppError> {
        let doing = "adding a webhook";
        let mut tx = self.begin(firm).await?;
        // Two at once wait for each other here, so that both count.
        sqlx::query!(
            "select pg_advisory_xact_lock(hashtextextended('webhooks ' || $1::text, 0))",
            firm.to_string()
        )
        .fetch_one(tx.connection())
        .await
        .doing(doing)?;
        let added = sqlx::query!(
            "insert into webhook_endpoints (firm_id, id, url, description, topics, created_at)
             select $1, $2, $3, $4, $5, $6
             where (select count(*) from webhook_endpoints where firm_id = $1) < $7",
            firm.uuid(),
            endpoint.id.uuid(),
            endpoint.url,
            endpoint.description,
            &endpoint.topics,
            At(endpoint.created_at) as _,
            most,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        if added.rows_affected() == 0 {
            return Ok(false);
        }
        write_secret_in_tx(&mut tx, endpoint.id, secret, endpoint.created_at).await?;
        finish(tx, audit, &[]).await?;
        Ok(true)
    }

    async fn change_endpoint(
        &self,
        firm: FirmId,
        endpoint: &Endpoint,
        audit: &AuditEntry,
    ) -> Result<bool, AppError> {
        let mut tx = self.begin(firm).await?;
        let changed = sqlx::query!(
            "update webhook_endpoints
             set url = $3, description = $4, topics = $5, disabled_because = $6, disabled_at = $7, failing_since = $8
             where firm_id = $1 and id = $2",
            firm.uuid(),
            endpoint.id.uuid(),
            endpoint.url,
            endpoint.description,
            &endpoint.topics,
            endpoint.disabled.map(|(why, _)| why.word()),
            endpoint.disabled.map(|(_, at)| At(at)) as _,
            endpoint.failing_since.map(At) as _,
        )
        .execute(tx.connection())
        .await
        .doing("changing a webhook")?;
        if changed.rows_affected() == 0 {
            return Ok(false);
        }
        finish(tx, audit, &[]).await?;
        Ok(true)
    }

    async fn remove_endpoint(
        &self,
        firm: FirmId,
        id: WebhookId,
        audit: &AuditEntry,
    ) -> Result<bool, AppError> {
        let mut tx = self.begin(firm).await?;
        let removed = sqlx::query!(
            "delete from webhook_endpoints where firm_id = $1 and id = $2",
            firm.uuid(),
            id.uuid(),
        )
        .execute(tx.connection())
        .await
        .doing("removing a webhook")?;
        if removed.rows_affected() == 0 {
            return Ok(false);
        }
        finish(tx, audit, &[]).await?;
        Ok(true)
    }

    async fn rotate_secret(
        &self,
        firm: FirmId,
        id: WebhookId,
        secret: &SigningSecret,
        at: Timestamp,
        until: Timestamp,
        audit: &AuditEntry,
    ) -> Result<bool, AppError> {
        let doing = "rotating the secret of a webhook";
        let mut tx = self.begin(firm).await?;
        let held = sqlx::query!(
            "select id from webhook_endpoints where firm_id = $1 and id = $2 for no key update",
            firm.uuid(),
            id.uuid(),
        )
        .fetch_optional(tx.connection())
        .await
        .doing(doing)?;
        if held.is_none() {
            return Ok(false);
        }
        sqlx::query!(
            "update webhook_secrets set expires_at = $3
             where firm_id = $1 and endpoint_id = $2 and expires_at is null",
            firm.uuid(),
            id.uuid(),
            At(until) as _,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        write_secret_in_tx(&mut tx, id, secret, at).await?;
        finish(tx, audit, &[]).await?;
        Ok(true)
    }

    async fn add_delivery(
        &self,
        firm: FirmId,
        delivery: &NewDelivery,
        audit: &AuditEntry,
    ) -> Result<(), AppError> {
        let mut tx = self.begin(firm).await?;
        if !hold_in_tx(&mut tx, delivery.endpoint).await? {
            return Err(AppError::NotFound("webhook"));
        }
        tx.deliver(std::slice::from_ref(delivery)).await?;
        finish(tx, audit, &[]).await
    }

    async fn deliveries(
        &self,
        firm: FirmId,
        endpoint: WebhookId,
        state: Option<DeliveryState>,
        after: Option<(Timestamp, DeliveryId)>,
        limit: i64,
    ) -> Result<Vec<Delivery>, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query_as!(
            DeliveryRow,
            r#"select id, message, topic, body, created_at as "created_at: At", state, attempts, tried,
                      next_at as "next_at: At", settled_at as "settled_at: At"
               from webhook_deliveries
               where firm_id = $1 and endpoint_id = $2 and ($3::text is null or state = $3)
                 and ($4::timestamptz is null or (created_at, id) < ($4, $5::uuid))
               order by created_at desc, id desc limit $6"#,
            firm.uuid(),
            endpoint.uuid(),
            state.map(DeliveryState::word) as _,
            after.map(|(at, _)| At(at)) as _,
            after.map(|(_, id)| id.uuid()) as _,
            limit,
        )
        .fetch_all(tx.connection())
        .await
        .doing("reading deliveries")?;
        rows.into_iter().map(|row| Ok(row.read()?)).collect()
    }

    async fn delivery(
        &self,
        firm: FirmId,
        endpoint: WebhookId,
        id: DeliveryId,
    ) -> Result<Option<(Delivery, Vec<Attempt>)>, AppError> {
        let mut tx = self.begin(firm).await?;
        let Some(delivery) = delivery_in_tx(&mut tx, endpoint, id).await? else { return Ok(None) };
        let rows = sqlx::query!(
            r#"select number, at as "at: At", took_us, status, answer, error from webhook_attempts
               where firm_id = $1 and endpoint_id = $2 and delivery_id = $3 order by number"#,
            firm.uuid(),
            endpoint.uuid(),
            id.uuid(),
        )
        .fetch_all(tx.connection())
        .await
        .doing("reading attempts")?;
        let mut attempts = Vec::with_capacity(rows.len());
        for row in rows {
            let status = row.status.map(u16::try_from).transpose();
            attempts.push(Attempt {
                number: row.number,
                at: row.at.into(),
                took: Span::from_micros(row.took_us),
                status: status.map_err(Inconsistent::from("webhook_attempts"))?,
                answer: row.answer,
                error: row.error,
            });
        }
        Ok(Some((delivery, attempts)))
    }

    async fn send_again(
        &self,
        firm: FirmId,
        endpoint: WebhookId,
        id: DeliveryId,
        at: Timestamp,
        audit: &AuditEntry,
    ) -> Result<bool, AppError> {
        let mut tx = self.begin(firm).await?;
        if !hold_in_tx(&mut tx, endpoint).await? {
            return Ok(false);
        }
        let attempts = sqlx::query_scalar!(
            "update webhook_deliveries set state = 'waiting', tried = 0, next_at = $4, settled_at = null
             where firm_id = $1 and endpoint_id = $2 and id = $3 returning attempts",
            firm.uuid(),
            endpoint.uuid(),
            id.uuid(),
            At(at) as _,
        )
        .fetch_optional(tx.connection())
        .await
        .doing("sending again")?;
        let Some(attempts) = attempts else { return Ok(false) };
        let job = attempt_job(firm, endpoint, id, attempts.saturating_add(1), at);
        tx.enqueue(&[job], at).await?;
        finish(tx, audit, &[]).await?;
        Ok(true)
    }

    async fn recover(
        &self,
        firm: FirmId,
        endpoint: WebhookId,
        since: Timestamp,
        most: i64,
        at: Timestamp,
        audit: &AuditEntry,
    ) -> Result<i64, AppError> {
        let mut tx = self.begin(firm).await?;
        if !hold_in_tx(&mut tx, endpoint).await? {
            return Err(AppError::NotFound("webhook"));
        }
        let rows = sqlx::query!(
            "with failed as (
                 select id from webhook_deliveries
                 where firm_id = $1 and endpoint_id = $2 and state = 'failed' and created_at >= $3
                 order by created_at, id limit $4 for no key update
             )
             update webhook_deliveries delivery set state = 'waiting', tried = 0, next_at = $5, settled_at = null
             from failed where delivery.firm_id = $1 and delivery.endpoint_id = $2 and delivery.id = failed.id
             returning delivery.id, delivery.attempts",
            firm.uuid(),
            endpoint.uuid(),
            At(since) as _,
            most,
            At(at) as _,
        )
        .fetch_all(tx.connection())
        .await
        .doing("recovering deliveries")?;
        let job = |id, attempts: i32| {
            attempt_job(firm, endpoint, DeliveryId::from_uuid(id), attempts.saturating_add(1), at)
        };
        let jobs: Vec<_> = rows.iter().map(|row| job(row.id, row.attempts)).collect();
        tx.enqueue(&jobs, at).await?;
        finish(tx, audit, &[]).await?;
        Ok(i64::try_from(jobs.len()).unwrap_or(i64::MAX))
    }

    async fn due_delivery(
        &self,
        firm: FirmId,
        endpoint: WebhookId,
        id: DeliveryId,
        attempt: i32,
        at: Timestamp,
    ) -> Result<Option<Due>, AppError> {
        let mut tx = self.begin(firm).await?;
        let Some(endpoint) = endpoints_in_tx(&mut tx, Some(endpoint)).await?.pop() else { return Ok(None) };
        let Some(delivery) = delivery_in_tx(&mut tx, endpoint.id, id).await? else { return Ok(None) };
        if delivery.state != DeliveryState::Waiting || delivery.attempts.saturating_add(1) != attempt {
            return Ok(None);
        }
        if endpoint.disabled.is_some() {
            sqlx::query!(
                "update webhook_deliveries set state = 'failed', next_at = null, settled_at = $4
                 where firm_id = $1 and endpoint_id = $2 and id = $3 and state = 'waiting'",
                firm.uuid(),
                endpoint.id.uuid(),
                id.uuid(),
                At(at) as _,
            )
            .execute(tx.connection())
            .await
            .doing("giving a delivery up")?;
            let _proof = tx.commit().await?;
            return Ok(None);
        }
        drop(tx);
        // Only the workers' role may read them.
        let rows = sqlx::query_scalar!(
            "select secret from webhook_secrets
             where firm_id = $1 and endpoint_id = $2 and (expires_at is null or expires_at > $3)
             order by number desc limit $4",
            firm.uuid(),
            endpoint.id.uuid(),
            At(at) as _,
            MOST_SECRETS,
        )
        .fetch_all(&self.worker)
        .await
        .doing("reading the secrets of a webhook")?;
        let wrong = || Inconsistent::new("webhook_secrets", "a secret has another length");
        let secrets: Option<Vec<_>> = rows.into_iter().map(SigningSecret::from_bytes).collect();
        let secrets = secrets.filter(|secrets| !secrets.is_empty()).ok_or_else(wrong)?;
        Ok(Some(Due { endpoint, delivery, secrets }))
    }

    async fn came(&self, firm: FirmId, due: &Due, came: &Came) -> Result<bool, AppError> {
        let doing = "writing what came of an attempt";
        let Came { attempt, next, job, disable, at } = came;
        let (endpoint, delivery) = (due.endpoint.id, due.delivery.id);
        let mut tx = self.begin(firm).await?;
        if !hold_in_tx(&mut tx, endpoint).await? {
            return Ok(false);
        }
        let (state, next_at) = match next {
            Next::Delivered => (DeliveryState::Delivered, None),
            Next::Again(then) if disable.is_none() => (DeliveryState::Waiting, Some(At(*then))),
            Next::Again(_) | Next::Failed | Next::Gone => (DeliveryState::Failed, None),
        };
        let settled_at = next_at.is_none().then_some(At(*at));
        let counted = sqlx::query!(
            "update webhook_deliveries
             set attempts = $4, tried = tried + 1, state = $5, next_at = $6, settled_at = $7
             where firm_id = $1 and endpoint_id = $2 and id = $3 and state = 'waiting' and attempts = $4 - 1",
            firm.uuid(),
            endpoint.uuid(),
            delivery.uuid(),
            attempt.number,
            state.word(),
            next_at as _,
            settled_at as _,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        if counted.rows_affected() == 0 {
            return Ok(false);
        }
        sqlx::query!(
            "insert into webhook_attempts
                 (firm_id, endpoint_id, delivery_id, number, at, took_us, status, answer, error)
             values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
            firm.uuid(),
            endpoint.uuid(),
            delivery.uuid(),
            attempt.number,
            At(attempt.at) as _,
            attempt.took.micros().max(0),
            attempt.status.map(i32::from),
            attempt.answer,
            attempt.error,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        // Most attempts change nothing about the endpoint, and do not wait for each other.
        let failing_since = (*next != Next::Delivered).then_some(At(attempt.at));
        sqlx::query!(
            "update webhook_endpoints set failing_since = $3
             where firm_id = $1 and id = $2 and (failing_since is null) <> ($3::timestamptz is null)",
            firm.uuid(),
            endpoint.uuid(),
            failing_since as _,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        if let Some(job) = job {
            tx.enqueue(std::slice::from_ref(job), *at).await?;
        }
        if let Some(disabling) = disable {
            let disabled = sqlx::query!(
                "update webhook_endpoints set disabled_because = $3, disabled_at = $4
                 where firm_id = $1 and id = $2 and disabled_because is null",
                firm.uuid(),
                endpoint.uuid(),
                disabling.why.word(),
                At(*at) as _,
            )
            .execute(tx.connection())
            .await
            .doing("disabling a webhook")?;
            if disabled.rows_affected() > 0 {
                let admins = sqlx::query_scalar!(
                    "select id from people where firm_id = $1 and 'admin' = any (roles) order by id",
                    firm.uuid(),
                )
                .fetch_all(tx.connection())
                .await
                .doing("reading who manages webhooks")?;
                let note = |person| Note {
                    id: disabled_note(endpoint, *at, person),
                    person,
                    kind: DISABLED_NOTE,
                    at: *at,
                    told: disabling.told.clone(),
                    mail_once: None,
                };
                let notes: Vec<_> = admins.into_iter().map(PersonId::from_uuid).map(note).collect();
                tx.tell(&notes, *at).await?;
                record_in_tx(tx.connection(), std::slice::from_ref(&disabling.audit), &[]).await?;
            }
        }
        let _proof = tx.commit().await?;
        Ok(true)
    }

    async fn forget_deliveries(&self, before: Timestamp, now: Timestamp) -> Result<u64, AppError> {
        let doing = "taking old deliveries away";
        let deliveries =
            sqlx::query!("delete from webhook_deliveries where created_at < $1", At(before) as _)
                .execute(&self.worker)
                .await
                .doing(doing)?;
        let secrets = sqlx::query!("delete from webhook_secrets where expires_at < $1", At(now) as _)
            .execute(&self.worker)
            .await
            .doing(doing)?;
        Ok(deliveries.rows_affected().saturating_add(secrets.rows_affected()))
    }
}

async fn delivery_in_tx(
    tx: &mut Tx,
    endpoint: WebhookId,
    id: DeliveryId,
) -> Result<Option<Delivery>, AppError> {
    let firm = tx.firm();
    let row = sqlx::query_as!(
        DeliveryRow,
        r#"select id, message, topic, body, created_at as "created_at: At", state, attempts, tried,
                  next_at as "next_at: At", settled_at as "settled_at: At"
           from webhook_deliveries where firm_id = $1 and endpoint_id = $2 and id = $3"#,
        firm.uuid(),
        endpoint.uuid(),
        id.uuid(),
    )
    .fetch_optional(tx.connection())
    .await
    .doing("reading a delivery")?;
    Ok(row.map(DeliveryRow::read).transpose()?)
}
