//! Who leads what only one may do at a time. All times are the database's; the token decides who may write.

use app::AppError;
use app::jobs::Leadership;
use async_trait::async_trait;
use kernel::{OwnerId, Span};
use sqlx::PgConnection;

use crate::Store;
use crate::error::Doing;

#[async_trait]
impl Leadership for Store {
    async fn lead(&self, name: &str, owner: OwnerId, length: Span) -> Result<Option<i64>, AppError> {
        // Whoever led last goes on under its token even if it came late: nobody else has led since.
        sqlx::query_scalar!(
            "insert into leases (name, owner_id, leased_until, token)
             values ($1, $2, clock_timestamp() + $3::bigint * interval '1 microsecond', 1)
             on conflict on constraint leases_key do update
             set owner_id = excluded.owner_id, leased_until = excluded.leased_until,
                 token = leases.token + case when leases.owner_id = excluded.owner_id then 0 else 1 end
             where leases.owner_id is null or leases.owner_id = excluded.owner_id
                or leases.leased_until < clock_timestamp()
             returning token",
            name,
            owner.uuid(),
            length.micros(),
        )
        .fetch_optional(&self.worker)
        .await
        .doing("leading")
    }

    async fn give_up(&self, name: &str, owner: OwnerId) -> Result<(), AppError> {
        sqlx::query!(
            "update leases set owner_id = null, leased_until = null where name = $1 and owner_id = $2",
            name,
            owner.uuid(),
        )
        .execute(&self.worker)
        .await
        .doing("leading no longer")?;
        Ok(())
    }
}

/// Whether a token is still the leader's. If so nobody else can lead until the transaction ends.
pub(crate) async fn leads_in_tx(
    connection: &mut PgConnection,
    name: &str,
    token: i64,
) -> Result<bool, AppError> {
    let found = sqlx::query_scalar!(
        "select token from leases where name = $1 and token = $2 and owner_id is not null for update",
        name,
        token,
    )
    .fetch_optional(connection)
    .await
    .doing("asking who leads")?;
    Ok(found.is_some())
}
