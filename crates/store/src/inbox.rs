//! What a group of consumers has taken, written in the transaction of the effect.

use app::AppError;

use crate::Tx;
use crate::error::Doing;

impl Tx {
    /// Of these messages those that the group takes now for the first time, in the order of their ids; from here on they are
    /// taken, if the transaction commits. Waits for another transaction that is just taking one of them.
    pub async fn take_messages(&mut self, group: &str, ids: &[i64]) -> Result<Vec<i64>, AppError> {
        let firm = self.firm().uuid();
        let mut taken = sqlx::query_scalar!(
            r#"with taken as (
                   insert into inbox (firm_id, group_name, message_id)
                   select $1, $2, id
                   from (select distinct unnest($3::bigint[]) as id) wanted
                   where id > coalesce((select settled_id from consumer_groups where name = $2), 0)
                      or exists (select from failed_messages
                                 where group_name = $2 and message_id = id and firm_id = $1 and sent_again_at is not null)
                   order by id
                   on conflict on constraint inbox_key do nothing
                   returning message_id
               ),
               mended as (
                   delete from failed_messages
                   where group_name = $2 and firm_id = $1 and message_id in (select message_id from taken)
               )
               select message_id as "id!" from taken"#,
            firm,
            group,
            ids,
        )
        .fetch_all(self.connection())
        .await
        .doing("taking messages")?;
        taken.sort_unstable();
        Ok(taken)
    }
}
