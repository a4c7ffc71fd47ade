//! Rules that hold for one account, as they were decided by hand.

use std::collections::BTreeMap;

use app::AppError;
use app::overrides::{Overridden, OverrideStore, Owned};
use async_trait::async_trait;
use kernel::{AccountId, FirmId, PersonId};

use crate::Store;
use crate::error::Doing;
use crate::row::{At, from_json, size, version};

#[async_trait]
impl OverrideStore for Store {
    async fn owned(&self, firm: FirmId, account: AccountId) -> Result<Option<Owned>, AppError> {
        let mut tx = self.begin(firm).await?;
        let row = sqlx::query!(
            "select challenge.person_id, account.version, account.phase
             from accounts account
             join challenges challenge on challenge.firm_id = account.firm_id and challenge.id = account.challenge_id
             where account.firm_id = $1 and account.id = $2",
            firm.uuid(),
            account.uuid(),
        )
        .fetch_optional(tx.connection())
        .await
        .doing("reading whose account it is")?;
        let Some(row) = row else { return Ok(None) };
        let version = version("accounts", &row.version)?;
        Ok(Some(Owned {
            owner: PersonId::from_uuid(row.person_id),
            program: self.program(&mut tx, &version).await?,
            phase: size("accounts", row.phase)?,
        }))
    }

    async fn overrides(&self, firm: FirmId, account: AccountId) -> Result<Vec<Overridden>, AppError> {
        let table = "account_overrides";
        let mut tx = self.begin(firm).await?;
        let rows = sqlx::query!(
            r#"select decided.at as "at: At", decided.rule_index, decided.rule::text as rule, decided.reason,
                      decided.person_id, person.name_sealed
               from account_overrides decided
               join people person on person.firm_id = decided.firm_id and person.id = decided.person_id
               where decided.firm_id = $1 and decided.account_id = $2 order by decided.id"#,
            firm.uuid(),
            account.uuid(),
        )
        .fetch_all(tx.connection())
        .await
        .doing("reading what was decided about an account")?;
        drop(tx);
        let people: BTreeMap<_, _> =
            rows.iter().map(|row| (PersonId::from_uuid(row.person_id), row.name_sealed.clone())).collect();
        let names = self.vault.names(firm, people.into_iter().collect()).await?;
        let mut decided = Vec::with_capacity(rows.len());
        for row in rows {
            let by = PersonId::from_uuid(row.person_id);
            decided.push(Overridden {
                at: row.at.into(),
                place: size(table, row.rule_index)?,
                rule: row.rule.map(|rule| from_json(table, &rule)).transpose()?,
                reason: row.reason,
                by,
                by_name: names.get(&by).cloned().unwrap_or_default(),
            });
        }
        Ok(decided)
    }
}
