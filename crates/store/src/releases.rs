//! Firms' calendars of releases, and who knows which.

use app::AppError;
use app::releases::{Added, Behind, Calendar, CalendarChange, Release, ReleaseStore};
use async_trait::async_trait;
use kernel::{AccountId, FirmId, ReleaseId, Symbol, Timestamp};
use rules::NewsEvent;
use uuid::Uuid;

use crate::error::Doing;
use crate::records::finish;
use crate::row::{At, column};
use crate::shard::read_key;
use crate::{Inconsistent, Store, Tx};

#[async_trait]
impl ReleaseStore for Store {
    async fn releases(&self, firm: FirmId, from: Timestamp) -> Result<Vec<Release>, AppError> {
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query!(
            r#"select id, name, at as "at: At", currencies, symbols from releases
               where firm_id = $1 and at >= $2 order by at, name"#,
            firm.uuid(),
            At(from) as _,
        )
        .fetch_all(tx.connection())
        .await
        .doing("reading the calendar")?;
        let mut releases = Vec::with_capacity(rows.len());
        for row in rows {
            let event = event(row.name, row.at, row.currencies, row.symbols)?;
            releases.push(Release { id: ReleaseId::from_uuid(row.id), event });
        }
        Ok(releases)
    }

    async fn add(
        &self,
        firm: FirmId,
        release: &Release,
        most: i64,
        change: &CalendarChange,
    ) -> Result<Added, AppError> {
        let doing = "adding a release";
        let event = &release.event;
        let mut tx = self.begin(firm).await?;
        // Changes of one calendar wait for each other here.
        change_in_tx(&mut tx, change).await?;
        let there = sqlx::query!(
            "select currencies, symbols from releases where firm_id = $1 and name = $2 and at = $3",
            firm.uuid(),
            event.name,
            At(event.at) as _,
        )
        .fetch_optional(tx.connection())
        .await
        .doing(doing)?;
        let symbols = column(&event.symbols, |symbol| symbol.as_str().to_owned());
        if let Some(there) = there {
            let same = there.currencies == event.currencies && there.symbols == symbols;
            return Ok(if same { Added::AsItWas } else { Added::Otherwise });
        }
        let to_come = sqlx::query_scalar!(
            r#"select count(*) as "count!" from releases where firm_id = $1 and at > $2"#,
            firm.uuid(),
            At(change.at) as _,
        )
        .fetch_one(tx.connection())
        .await
        .doing(doing)?;
        if to_come >= most {
            return Ok(Added::Full);
        }
        sqlx::query!(
            "insert into releases (firm_id, id, name, at, currencies, symbols) values ($1, $2, $3, $4, $5, $6)",
            firm.uuid(),
            release.id.uuid(),
            event.name,
            At(event.at) as _,
            &event.currencies,
            &symbols,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        finish(tx, &change.audit, std::slice::from_ref(&change.outbox)).await?;
        Ok(Added::New)
    }

    async fn remove(&self, firm: FirmId, id: ReleaseId, change: &CalendarChange) -> Result<bool, AppError> {
        let mut tx = self.begin(firm).await?;
        change_in_tx(&mut tx, change).await?;
        let removed = sqlx::query!(
            "delete from releases where firm_id = $1 and id = $2 and at > $3",
            firm.uuid(),
            id.uuid(),
            At(change.at) as _,
        )
        .execute(tx.connection())
        .await
        .doing("taking a release away")?;
        if removed.rows_affected() == 0 {
            return Ok(false);
        }
        finish(tx, &change.audit, std::slice::from_ref(&change.outbox)).await?;
        Ok(true)
    }

    async fn behind(&self, most: usize) -> Result<Vec<Behind>, AppError> {
        let rows = sqlx::query!(
            r#"select known.firm_id, known.account_id, accounts.status = 'active' as "active!"
               from calendars
               join account_calendars known
                 on known.firm_id = calendars.firm_id and known.revision < calendars.revision
               join accounts on accounts.firm_id = known.firm_id and accounts.id = known.account_id
               order by known.revision, known.account_id limit $1"#,
            i64::try_from(most).unwrap_or(i64::MAX),
        )
        .fetch_all(&self.engine)
        .await
        .doing("looking for accounts with an old calendar")?;
        let behind = |firm: Uuid, account: Uuid, active| Behind {
            firm: FirmId::from_uuid(firm),
            account: AccountId::from_uuid(account),
            active,
        };
        Ok(rows.into_iter().map(|row| behind(row.firm_id, row.account_id, row.active)).collect())
    }

    async fn calendar(&self, firm: FirmId) -> Result<Option<Calendar>, AppError> {
        let mut tx = self.begin(firm).await?;
        // In one statement, so that the number is that of these releases; what belongs to a number never depends on
        // when it is read.
        let rows = sqlx::query!(
            r#"select calendars.revision, calendars.key, releases.name as "name?", releases.at as "at?: At",
                      releases.currencies as "currencies?", releases.symbols as "symbols?"
               from calendars
               left join releases on releases.firm_id = calendars.firm_id
                                 and releases.at > calendars.changed_at - interval '1 day'
               where calendars.firm_id = $1 order by releases.at, releases.name"#,
            firm.uuid(),
        )
        .fetch_all(tx.connection())
        .await
        .doing("reading the calendar")?;
        let Some(first) = rows.first() else { return Ok(None) };
        let (revision, key) = (first.revision, read_key(&first.key)?);
        let mut events = Vec::with_capacity(rows.len());
        for row in rows {
            // A calendar without a release is one row with nothing beside it.
            if let (Some(name), Some(at), Some(currencies), Some(symbols)) =
                (row.name, row.at, row.currencies, row.symbols)
            {
                events.push(event(name, at, currencies, symbols)?);
            }
        }
        Ok(Some(Calendar { revision, key, events }))
    }

    async fn told(&self, firm: FirmId, revision: i64, accounts: &[AccountId]) -> Result<(), AppError> {
        if accounts.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "update account_calendars set revision = $3
             where firm_id = $1 and account_id = any($2::uuid[]) and revision < $3",
            firm.uuid(),
            &column(accounts, |account| account.uuid()),
            revision,
        )
        .execute(&self.engine)
        .await
        .doing("remembering who knows the calendar")?;
        Ok(())
    }

    async fn forget(&self, firm: FirmId, accounts: &[AccountId]) -> Result<(), AppError> {
        if accounts.is_empty() {
            return Ok(());
        }
        sqlx::query!(
            "delete from account_calendars where firm_id = $1 and account_id = any($2::uuid[])",
            firm.uuid(),
            &column(accounts, |account| account.uuid()),
        )
        .execute(&self.engine)
        .await
        .doing("forgetting accounts that have ended")?;
        Ok(())
    }
}

async fn change_in_tx(tx: &mut Tx, change: &CalendarChange) -> Result<(), AppError> {
    let firm = tx.firm();
    sqlx::query!(
        "insert into calendars (firm_id, revision, key, changed_at) values ($1, 1, $2, $3)
         on conflict on constraint calendars_key do update
         set revision = calendars.revision + 1, key = excluded.key, changed_at = excluded.changed_at",
        firm.uuid(),
        change.key.as_str(),
        At(change.at) as _,
    )
    .execute(tx.connection())
    .await
    .doing("changing a calendar")?;
    Ok(())
}

fn event(
    name: String,
    at: At,
    currencies: Vec<String>,
    symbols: Vec<String>,
) -> Result<NewsEvent, Inconsistent> {
    let mut read = Vec::with_capacity(symbols.len());
    for symbol in symbols {
        read.push(Symbol::parse(&symbol).map_err(Inconsistent::from("releases"))?);
    }
    Ok(NewsEvent { name, at: at.into(), currencies, symbols: read })
}
