//! The inbox: what providers of money have said.

use app::AppError;
use app::payments::notices::{
    Claimed, NewNotice, NoticeRow, NoticeState, NoticeStore, Tried, about_of, words_of,
};
use app::payments::port::{About, ProviderName};
use async_trait::async_trait;
use kernel::{FirmId, Span, Timestamp};

use crate::error::Doing;
use crate::row::{At, by_word, column};
use crate::{Inconsistent, Store};

const TABLE: &str = "provider_notices";

fn provider(word: &str) -> Result<ProviderName, Inconsistent> {
    by_word(TABLE, &ProviderName::ALL, ProviderName::word, word)
}

fn about(kind: &str, name: &str) -> Result<About, Inconsistent> {
    about_of(kind, name).ok_or_else(|| Inconsistent::new(TABLE, format!("nothing is a {kind}")))
}

fn attempts(count: i32) -> Result<u32, Inconsistent> {
    u32::try_from(count).map_err(Inconsistent::from(TABLE))
}

#[async_trait]
impl NoticeStore for Store {
    async fn keep_notices(&self, firm: FirmId, new: &[NewNotice]) -> Result<usize, AppError> {
        let mut tx = self.begin(firm).await?;
        // In one order, so that two transactions with the same events do not wait for each other.
        let mut new: Vec<&NewNotice> = new.iter().collect();
        new.sort_by(|one, other| one.notice.id.cmp(&other.notice.id));
        let kept = sqlx::query!(
            "insert into provider_notices (firm_id, provider, event, kind, about_kind, about, happened_at, received_at, body,
                                           state, next_at)
             select $1, provider, event, kind, about_kind, about, happened_at, received_at, body,
                    case about_kind when 'other' then 'kept' else 'waiting' end,
                    case about_kind when 'other' then null else clock_timestamp() end
             from unnest($2::text[], $3::text[], $4::text[], $5::text[], $6::text[], $7::timestamptz[], $8::timestamptz[],
                         $9::bytea[])
                  as new (provider, event, kind, about_kind, about, happened_at, received_at, body)
             on conflict (firm_id, provider, event) do nothing",
            firm.uuid(),
            column(&new, |new| new.notice.provider.word()) as _,
            column(&new, |new| new.notice.id.as_str()) as _,
            column(&new, |new| new.notice.kind.as_str()) as _,
            column(&new, |new| words_of(&new.notice.about).0) as _,
            column(&new, |new| words_of(&new.notice.about).1) as _,
            column(&new, |new| At(new.notice.at)) as _,
            column(&new, |new| At(new.received_at)) as _,
            column(&new, |new| new.body.as_slice()) as _,
        )
        .execute(tx.connection())
        .await
        .doing("keeping what a provider says")?;
        let _proof = tx.commit().await?;
        Ok(usize::try_from(kept.rows_affected()).unwrap_or(usize::MAX))
    }

    async fn claim_notices(&self, lease: Span, most: i64) -> Result<Vec<Claimed>, AppError> {
        let rows = sqlx::query!(
            "update provider_notices
             set attempts = attempts + 1, next_at = clock_timestamp() + $1 * interval '1 microsecond'
             where (firm_id, provider, event) in (
                 select firm_id, provider, event from provider_notices
                 where state = 'waiting' and next_at <= clock_timestamp()
                 order by next_at limit $2 for update skip locked
             )
             returning firm_id, provider, event, about_kind, about, attempts",
            lease.micros() as _,
            most,
        )
        .fetch_all(&self.worker)
        .await
        .doing("taking what providers have told")?;
        rows.into_iter()
            .map(|row| {
                Ok(Claimed {
                    firm: FirmId::from_uuid(row.firm_id),
                    provider: provider(&row.provider)?,
                    event: row.event,
                    about: about(&row.about_kind, &row.about)?,
                    attempts: attempts(row.attempts)?,
                })
            })
            .collect()
    }

    async fn settle_notice(&self, claimed: &Claimed, tried: &Tried, at: Timestamp) -> Result<(), AppError> {
        let mut tx = self.begin(claimed.firm).await?;
        let (state, person, again, error) = match tried {
            Tried::Done(person) => (NoticeState::Done, *person, None, None),
            Tried::Failed { again: Some(again), error } => {
                (NoticeState::Waiting, None, Some(again.micros()), Some(error))
            }
            Tried::Failed { again: None, error } => (NoticeState::Stuck, None, None, Some(error)),
        };
        sqlx::query!(
            "update provider_notices
             set state = $4, person_id = coalesce($5, person_id),
                 next_at = clock_timestamp() + $6::bigint * interval '1 microsecond', error = $7,
                 settled_at = case when $4 = 'done' then $8::timestamptz end,
                 -- Whoever was erased before they were told of is forgotten here, too.
                 body = case when not exists (select from people person
                                              where person.firm_id = $1 and person.id = coalesce($5, person_id)
                                                and person.erased_at is not null) then body end
             where firm_id = $1 and provider = $2 and event = $3 and state = 'waiting'",
            claimed.firm.uuid(),
            claimed.provider.word(),
            claimed.event,
            state.word(),
            person.map(kernel::PersonId::uuid),
            again,
            error,
            At(at) as _,
        )
        .execute(tx.connection())
        .await
        .doing("writing what became of what a provider told")?;
        let _proof = tx.commit().await?;
        Ok(())
    }

    async fn notices(
        &self,
        firm: FirmId,
        state: Option<NoticeState>,
        most: i64,
    ) -> Result<Vec<NoticeRow>, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query!(
            r#"select provider, event, kind, about_kind, about, happened_at as "happened_at: At",
                      received_at as "received_at: At", state, attempts, error
               from provider_notices where firm_id = $1 and ($2::text is null or state = $2)
               order by received_at desc limit $3"#,
            firm.uuid(),
            state.map(NoticeState::word),
            most,
        )
        .fetch_all(tx.connection())
        .await
        .doing("reading what providers have told")?;
        rows.into_iter()
            .map(|row| {
                Ok(NoticeRow {
                    provider: provider(&row.provider)?,
                    about: about(&row.about_kind, &row.about)?,
                    event: row.event,
                    kind: row.kind,
                    happened_at: row.happened_at.into(),
                    received_at: row.received_at.into(),
                    state: by_word(TABLE, &NoticeState::ALL, NoticeState::word, &row.state)?,
                    attempts: attempts(row.attempts)?,
                    error: row.error,
                })
            })
            .collect()
    }

    async fn again(&self, firm: FirmId, provider: ProviderName, event: &str) -> Result<bool, AppError> {
        let mut tx = self.begin(firm).await?;
        let woken = sqlx::query!(
            "update provider_notices set state = 'waiting', attempts = 0, next_at = clock_timestamp()
             where firm_id = $1 and provider = $2 and event = $3 and state = 'stuck'",
            firm.uuid(),
            provider.word(),
            event,
        )
        .execute(tx.connection())
        .await
        .doing("letting an event be pulled again")?;
        let _proof = tx.commit().await?;
        Ok(woken.rows_affected() == 1)
    }
}
