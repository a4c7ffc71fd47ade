//! Which programs work with which schema.

use sqlx::Executor;
use store::{Store, StoreError};
use testkit::TestDatabase;

#[tokio::test]
async fn a_program_goes_on_and_comes_back_until_a_later_one_has_taken_something_away() {
    let database = TestDatabase::new().await;
    let (owner, mut connection) = (database.url(), database.superuser().await);
    Store::check_schema(&owner).await.unwrap();
    // A later program has migrated.
    connection
        .execute(
            "insert into _sqlx_migrations (version, description, success, checksum, execution_time)
             values (9999, 'later', true, '\\x00', 1);
             update schema_version set version = 9999",
        )
        .await
        .unwrap();
    Store::check_schema(&owner).await.unwrap();
    Store::migrate(&owner).await.unwrap();
    let (version, oldest): (i64, i64) = sqlx::query_as("select version, oldest from schema_version")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert_eq!(version, 9999, "going back does not take the later one's mark away");
    assert!(oldest < 9999);
    connection.execute("update schema_version set oldest = 9999").await.unwrap();
    for refused in [Store::check_schema(&owner).await, Store::migrate(&owner).await] {
        assert!(matches!(refused, Err(StoreError::SchemaTooNew { oldest: 9999, .. })), "{refused:?}");
    }
    connection.execute("update schema_version set version = 1, oldest = 1").await.unwrap();
    let older = Store::check_schema(&owner).await;
    assert!(matches!(older, Err(StoreError::SchemaTooOld { found: 1, .. })), "{older:?}");
}
