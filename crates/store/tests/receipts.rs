//! A receipt that cannot be made holds up no other one, is kept with its fault, and is made once it can be.

use std::sync::Arc;

use crate::common::story;
use app::receipts::{Issuer, ReceiptStore as _, Stored};
use audit::SigningKey;
use sqlx::Row as _;
use testkit::World;

#[tokio::test]
async fn what_cannot_be_made_is_set_aside_and_tried_again() {
    let world = World::new().await;
    let story = story(&world, "one", 0).await;
    let issuer = Issuer {
        store: world.store.clone(),
        key: Arc::new(SigningKey::from_secret(&[7; 32])),
        clock: world.clock.clone(),
        stored: Stored::default(),
    };
    let mut superuser = world.database.superuser().await;
    // Somebody has written into what is final.
    let spoil = |to: &'static str| {
        format!(
            "update verdicts set evidence = {to} where account_id = '{}'
             and number = (select max(number) from verdicts where account_id = '{}')",
            story.breached, story.breached
        )
    };
    for statement in ["set session_replication_role = replica", spoil("evidence || ' '").as_str()] {
        sqlx::query(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut superuser).await.unwrap();
    }
    let due = world.store.due(100).await.unwrap().len();
    assert!(due > 1);
    while issuer.issue().await.unwrap() > 0 {}
    let left = sqlx::query("select fault from receipts_due").fetch_all(&mut superuser).await.unwrap();
    assert_eq!(left.len(), 1, "the others were made");
    assert!(!left[0].get::<String, _>("fault").is_empty());

    let mended = spoil("rtrim(evidence)");
    sqlx::query(sqlx::AssertSqlSafe(mended)).execute(&mut superuser).await.unwrap();
    assert_eq!(issuer.issue().await.unwrap(), 0, "until somebody asks");
    assert_eq!(world.store.try_again().await.unwrap(), 1);
    assert_eq!(issuer.issue().await.unwrap(), 1);
}
