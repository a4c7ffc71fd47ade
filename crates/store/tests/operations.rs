//! What operators see and do about messages: their own firm's, page by page, and every step in the audit log.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use app::events::{Failed, MessageStore as _};
use app::operations::{FailedMessage, MessagePlace, Operations};
use app::{AppError, Context};
use kernel::FirmId;
use serde_json::json;
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};
use testkit::World;

struct Desk {
    world: World,
    operations: Operations,
    connection: PgConnection,
}

impl Desk {
    async fn new() -> Self {
        let world = World::new().await;
        let operations = Operations::new(world.store.clone(), world.clock.clone());
        for group in ["mail", "webhooks"] {
            world.store.join(group, &[]).await.unwrap();
        }
        let connection = world.database.superuser().await;
        Self { world, operations, connection }
    }

    async fn admin(&self, firm: FirmId) -> Context {
        self.world.context_of(firm, &self.world.admin(firm, "admin").await)
    }

    /// Writes a message with its cause, as use cases do.
    async fn tell(&mut self, firm: FirmId, number: i64) -> i64 {
        sqlx::query_scalar(
            "insert into outbox (firm_id, at, aggregate, topic, payload)
             values ($1, $2::timestamptz, 'account:' || $3, 'account.warned', jsonb_build_object('number', $3))
             returning id",
        )
        .bind(firm.uuid())
        .bind("2026-01-01T00:00:00Z")
        .bind(number)
        .fetch_one(&mut self.connection)
        .await
        .unwrap()
    }

    async fn fail(&self, firm: FirmId, group: &str, message: i64, times: usize) -> bool {
        let mut dead = false;
        for time in 1..=times {
            let error = format!("attempt {time}");
            dead = self.world.store.fail(Failed { group, firm, message, error: &error }).await.unwrap();
        }
        dead
    }

    async fn one(&self, context: &Context, group: &str, id: i64) -> Result<FailedMessage, AppError> {
        self.operations.failed_message(context, group, id).await
    }

    /// Messages that would be tried now.
    async fn due(&self) -> Vec<i64> {
        self.world.store.due_again(100).await.unwrap().into_iter().map(|message| message.id).collect()
    }

    async fn audited(&mut self) -> Vec<(String, String)> {
        sqlx::query_as(
            "select action, object || ' ' || detail::text from audit_entries
             where action like 'message.%' order by id",
        )
        .fetch_all(&mut self.connection)
        .await
        .unwrap()
    }

    async fn run(&mut self, sql: &str) {
        self.connection.execute(AssertSqlSafe(sql.to_owned())).await.unwrap();
    }
}

/// Fails so often that it is given up.
const FOR_GOOD: usize = 12;

#[tokio::test]
async fn groups_tell_what_of_the_firms_waits_fails_and_is_dead() {
    let mut desk = Desk::new().await;
    let (one, two) = (desk.world.firm("one").await, desk.world.firm("two").await);
    let before = desk.operations.groups(&desk.admin(one).await).await.unwrap();
    desk.run("update consumer_groups set settled_id = coalesce((select max(id) from outbox), 0)").await;
    assert_eq!(before.iter().map(|group| group.group.as_str()).collect::<Vec<_>>(), ["mail", "webhooks"]);
    let mut ids = Vec::new();
    for number in 0..4 {
        ids.push(desk.tell(one, number).await);
    }
    desk.tell(two, 9).await;
    let mut tx = desk.world.store.begin(one).await.unwrap();
    tx.take_messages("mail", &ids[..1]).await.unwrap();
    let _proof = tx.commit().await.unwrap();
    desk.fail(one, "mail", ids[1], 1).await;
    assert!(desk.fail(one, "mail", ids[2], FOR_GOOD).await);

    let groups = desk.operations.groups(&desk.admin(one).await).await.unwrap();
    let told = |index: usize| (groups[index].waiting, groups[index].failing, groups[index].dead);
    assert_eq!((told(0), told(1)), ((2, 1, 1), (4, 0, 0)), "a failing one waits, a dead one does not");
    assert_eq!(groups[0].oldest.unwrap().to_string(), "2026-01-01T00:00:00.000000Z");
    let groups = desk.operations.groups(&desk.admin(two).await).await.unwrap();
    assert_eq!((groups[0].waiting, groups[0].failing, groups[0].dead), (1, 0, 0));
    assert_eq!(desk.world.store.backlogs().await.unwrap()[0].waiting, 3, "the platform sees both");
    assert_eq!(desk.world.store.relay_lag().await.unwrap(), desk.tell(one, 5).await - 1);
}

#[tokio::test]
async fn failed_messages_come_page_by_page_and_each_once() {
    let mut desk = Desk::new().await;
    let one = desk.world.firm("one").await;
    let admin = desk.admin(one).await;
    let mut expected = Vec::new();
    for number in 0..5 {
        let id = desk.tell(one, number).await;
        for group in ["mail", "webhooks"] {
            desk.fail(one, group, id, 1).await;
            expected.push((id, group.to_owned()));
        }
    }
    expected.sort_by(|(id, group), (other, other_group)| other.cmp(id).then(group.cmp(other_group)));
    let mut seen = Vec::new();
    let mut after: Option<MessagePlace> = None;
    loop {
        let page = desk.operations.failed_messages(&admin, None, after.as_ref(), 3).await.unwrap();
        let Some(last) = page.last() else { break };
        after = Some(MessagePlace { id: last.id, group: last.group.clone() });
        assert!(page.iter().all(|message| message.payload.is_none()), "a list does not say what they say");
        seen.extend(page.into_iter().map(|message| (message.id, message.group)));
    }
    assert_eq!(seen, expected);
    let of_one = desk.operations.failed_messages(&admin, Some("mail"), None, 100).await.unwrap();
    assert!(of_one.len() == 5 && of_one.iter().all(|message| message.group == "mail"));
    assert!(desk.operations.failed_messages(&admin, Some("nobody"), None, 100).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_dead_message_keeps_payload_and_every_error_and_is_sent_again() {
    let mut desk = Desk::new().await;
    let one = desk.world.firm("one").await;
    let admin = desk.admin(one).await;
    let id = desk.tell(one, 7).await;
    assert!(!desk.fail(one, "mail", id, 1).await);
    let failing = desk.operations.send_again(&admin, "mail", id).await;
    assert!(matches!(failing, Err(AppError::Refused { code: "conflict", .. })), "{failing:?}");
    assert!(desk.fail(one, "mail", id, FOR_GOOD - 1).await);
    assert!(desk.due().await.is_empty(), "a dead one stays dead by itself");

    let found = desk.one(&admin, "mail", id).await.unwrap();
    assert_eq!((found.topic.as_str(), found.aggregate.as_str()), ("account.warned", "account:7"));
    assert_eq!((found.payload, found.attempts), (Some(json!({ "number": 7 })), 12));
    assert!(found.dead_at.is_some() && found.sent_again_at.is_none());
    let errors: Vec<_> =
        found.errors.iter().map(|failure| (failure.attempt, failure.error.as_str())).collect();
    assert_eq!((errors[0], errors[11], errors.len()), ((1, "attempt 1"), (12, "attempt 11"), 12));

    desk.operations.send_again(&admin, "mail", id).await.unwrap();
    assert_eq!(desk.due().await, [id]);
    let found = desk.one(&admin, "mail", id).await.unwrap();
    assert_eq!((found.dead_at, found.attempts, found.errors.len()), (None, 0, 12));
    assert!(found.sent_again_at.is_some());
    // It has all its attempts again; once it is taken it is gone.
    assert!(!desk.fail(one, "mail", id, FOR_GOOD - 1).await);
    let mut tx = desk.world.store.begin(one).await.unwrap();
    assert_eq!(tx.take_messages("mail", &[id]).await.unwrap(), [id]);
    let _proof = tx.commit().await.unwrap();
    assert!(matches!(desk.one(&admin, "mail", id).await, Err(AppError::NotFound("failed message"))));
    let nothing = desk.operations.send_again(&admin, "mail", id).await;
    assert!(matches!(nothing, Err(AppError::NotFound("failed message"))));
    let object = format!("mail/{id}");
    let entry = |action: &str, detail: &str| (action.to_owned(), format!("{object} {detail}"));
    let expected = [
        entry("message.read", "{}"),
        entry("message.send_again", r#"{"messages": 1}"#),
        entry("message.read", "{}"),
    ];
    assert_eq!(desk.audited().await, expected, "what changed or showed nothing left no entry");
}

#[tokio::test]
async fn the_dead_of_a_group_are_sent_again_and_no_others() {
    let mut desk = Desk::new().await;
    let (one, two) = (desk.world.firm("one").await, desk.world.firm("two").await);
    let mut dead = Vec::new();
    for number in 0..3 {
        let id = desk.tell(one, number).await;
        assert!(desk.fail(one, "mail", id, FOR_GOOD).await && desk.fail(one, "webhooks", id, FOR_GOOD).await);
        dead.push(id);
    }
    let theirs = desk.tell(two, 9).await;
    assert!(desk.fail(two, "mail", theirs, FOR_GOOD).await);
    let admin = desk.admin(one).await;
    assert_eq!(desk.operations.send_group_again(&admin, "mail").await.unwrap(), 3);
    assert_eq!(desk.operations.send_group_again(&admin, "mail").await.unwrap(), 0);
    assert_eq!(desk.due().await, dead);
    let groups = desk.operations.groups(&admin).await.unwrap();
    assert_eq!((groups[0].dead, groups[1].dead), (0, 3));
    let audited = desk.audited().await;
    let expected = ("message.send_group_again".to_owned(), r#"mail {"messages": 3}"#.to_owned());
    assert_eq!(audited, [expected]);
    let groups = desk.operations.groups(&desk.admin(two).await).await.unwrap();
    assert_eq!(groups[0].dead, 1, "the other firm's are still dead");
}

#[tokio::test]
async fn nobody_sees_or_sends_what_is_not_theirs() {
    let mut desk = Desk::new().await;
    let (one, two) = (desk.world.firm("one").await, desk.world.firm("two").await);
    let id = desk.tell(one, 1).await;
    assert!(desk.fail(one, "mail", id, FOR_GOOD).await);
    let risk = desk.world.risk(one, "risk@one.example").await;
    let trader = desk.world.person(one, "trader@one.example").await;
    let (risk, trader) = (desk.world.context_of(one, &risk), desk.world.context_of(one, &trader));
    let stranger = desk.admin(two).await;

    // Whoever reads operations sees that it failed and why, and not what it says.
    let seen = desk.one(&risk, "mail", id).await.unwrap();
    assert_eq!((seen.payload, seen.errors.len()), (None, 12));
    assert_eq!(desk.operations.failed_messages(&risk, None, None, 10).await.unwrap().len(), 1);
    assert!(matches!(desk.operations.send_again(&risk, "mail", id).await, Err(AppError::Forbidden)));
    assert!(matches!(desk.operations.send_group_again(&risk, "mail").await, Err(AppError::Forbidden)));

    assert!(matches!(desk.operations.groups(&trader).await, Err(AppError::Forbidden)));
    assert!(matches!(desk.one(&trader, "mail", id).await, Err(AppError::Forbidden)));
    let list = desk.operations.failed_messages(&trader, None, None, 10).await;
    assert!(matches!(list, Err(AppError::Forbidden)));

    assert!(desk.operations.failed_messages(&stranger, None, None, 10).await.unwrap().is_empty());
    assert!(matches!(desk.one(&stranger, "mail", id).await, Err(AppError::NotFound("failed message"))));
    let sent = desk.operations.send_again(&stranger, "mail", id).await;
    assert!(matches!(sent, Err(AppError::NotFound("failed message"))));
    assert_eq!(desk.operations.send_group_again(&stranger, "mail").await.unwrap(), 0);
    assert!(desk.one(&risk, "mail", id).await.unwrap().dead_at.is_some());
    assert!(desk.audited().await.is_empty());
}
