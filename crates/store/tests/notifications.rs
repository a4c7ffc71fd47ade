//! What people are told: once each, where they want it, and by mails that are sent or given up in sight.
#![expect(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::time::Duration;

use crate::common::{Story, message, somebody, story};
use app::events::{Consumer as _, Message};
use app::identity::Person;
use app::jobs::{Claim, Ended, JobHandler, JobStore as _, Outcome};
use app::notifications::{BounceKey, Bounced, Group, Kind, MAIL_QUEUE, Notifications, Preference};
use app::{AppError, Context};
use hmac::{Hmac, KeyInit as _, Mac as _};
use kernel::{AccountId, Span, Timestamp};
use providers::mail::{Security, Smtp, SmtpSettings};
use serde_json::json;
use sqlx::AssertSqlSafe;
use testkit::World;
use testkit::smtp::{Behaviour, SmtpSink};
use workers::notifications::{Notifier, SendMail};

const BOUNCE_SECRET: &str = "a secret of both sides";

struct Told {
    world: World,
    story: Story,
    context: Context,
    notifications: Arc<Notifications>,
    notifier: Notifier,
}

/// A firm whose trader has been told of one purchase, and whose mails of that time are gone.
async fn told() -> Told {
    let world = World::new().await;
    let story = story(&world, "one", 0).await;
    let context = world.context_of(story.firm, &story.trader);
    let bounces = BounceKey::new("the-end-of-the-address", BOUNCE_SECRET);
    let notifications =
        Notifications::new(world.store.clone(), world.clock.clone(), world.rng.clone(), bounces);
    let notifier = Notifier::new(world.store.clone(), world.clock.clone());
    let told = Told { context, notifications: Arc::new(notifications), notifier, world, story };
    told.run("delete from jobs").await;
    told.run("delete from inbox").await;
    told.run("delete from mails").await;
    told.run("delete from notifications").await;
    told.run("delete from notification_preferences").await;
    told
}

impl Told {
    async fn run(&self, sql: &str) {
        let mut connection = self.world.database.superuser().await;
        sqlx::query(AssertSqlSafe(sql.to_owned())).execute(&mut connection).await.unwrap();
    }

    async fn count(&self, what: &str) -> i64 {
        let mut connection = self.world.database.superuser().await;
        let sql = format!("select count(*) from {what}");
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut connection).await.unwrap()
    }

    /// A message about an account; its verdicts are numbered from 1.
    fn about(&self, id: i64, account: AccountId, topic: &str) -> Message {
        let payload = json!({ "account": account, "verdict": 1, "rule": "daily_loss" });
        message(self.story.firm, id, &format!("account:{account}"), topic, payload)
    }

    async fn take(&self, messages: &[Message]) {
        self.notifier.take(self.story.firm, messages).await.unwrap();
    }

    async fn titles(&self) -> Vec<String> {
        let inbox = self.notifications.inbox(&self.context, None, 50).await.unwrap();
        inbox.items.iter().map(|note| app::notifications::title(note.kind, &note.told)).collect()
    }

    fn mailer(&self, sink: &SmtpSink) -> SendMail {
        let settings = SmtpSettings {
            host: sink.address.ip().to_string(),
            port: sink.address.port(),
            security: Security::Plain,
            login: None,
            from: "desk@one.example".to_owned(),
            timeout: Duration::from_secs(5),
        };
        let smtp = Smtp::new(&settings, self.world.clock.clone()).unwrap();
        SendMail::new(
            self.world.store.clone(),
            self.notifications.clone(),
            Arc::new(smtp),
            self.world.clock.clone(),
            "http://127.0.0.1:8000".to_owned(),
        )
    }

    /// Does what a worker does with the mails that are due; how each ended.
    async fn send(&self, sink: &SmtpSink) -> Vec<Outcome> {
        let handler = self.mailer(sink);
        let now = kernel::Clock::now(&*self.world.clock);
        let lease = Span::from_seconds(60);
        let claim = Claim { queue: MAIL_QUEUE, most: 10, owner: somebody(), lease, now };
        let mut outcomes = Vec::new();
        for job in self.world.store.claim(claim).await.unwrap() {
            assert_eq!(job.kind, handler.kind());
            let outcome = Outcome::of(handler.run(&job).await);
            let ended = Ended { id: job.id, attempt: job.attempt, outcome: outcome.clone() };
            self.world.store.settle(somebody(), &[ended], now).await.unwrap();
            outcomes.push(outcome);
        }
        outcomes
    }
}

#[tokio::test]
async fn a_message_tells_its_person_once_with_the_numbers_that_decided() {
    let told = told().await;
    let breached = told.about(1, told.story.breached, "account.breached");
    let other = message(told.story.firm, 2, "release:1", "release.added", json!({}));
    told.take(&[breached.clone(), other.clone()]).await;
    // What comes twice, alone or in other company, changes nothing twice.
    let passed = told.about(3, told.story.passed, "account.passed");
    told.take(&[breached.clone(), passed]).await;
    told.take(&[breached]).await;

    let inbox = told.notifications.inbox(&told.context, None, 50).await.unwrap();
    assert_eq!((inbox.items.len(), inbox.unread), (2, 2));
    let note = inbox.items.iter().find(|note| note.kind == Kind::AccountBreached).unwrap();
    assert!(note.told.headline.contains("the account has ended"), "{}", note.told.headline);
    assert!(note.told.sentences.iter().any(|sentence| sentence.contains("USD")), "{:?}", note.told);
    assert_eq!(note.told.path(), format!("/accounts/{}/receipts/1", told.story.breached));
    assert!(note.told.local_time.ends_with("Europe/Prague"), "{}", note.told.local_time);
    let number = told.story.breached.label();
    assert!(
        told.titles().await.iter().any(|title| title.starts_with(&number)),
        "the label that screens show"
    );
    assert_eq!(told.count("mails where state = 'queued'").await, 2);
    assert_eq!(told.count("jobs where kind = 'mail.send' and state = 'waiting'").await, 2);

    let stranger = told.world.person(told.story.firm, "stranger@one.example").await;
    let stranger = told.world.context_of(told.story.firm, &stranger);
    let theirs = told.notifications.inbox(&stranger, None, 50).await.unwrap();
    assert_eq!((theirs.items.len(), theirs.unread), (0, 0));
    let foreign = told.notifications.mark_read(&stranger, note.id).await;
    assert!(matches!(foreign, Err(AppError::NotFound(_))), "{foreign:?}");
}

#[tokio::test]
async fn every_topic_about_somebody_is_told_in_words() {
    let told = told().await;
    let purchase: uuid::Uuid = {
        let mut connection = told.world.database.superuser().await;
        let sql = "select id from purchases limit 1";
        sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
    };
    let topics =
        ["opened", "breached", "locked", "warned", "passed", "promoted", "expired", "paid", "payout_refused"];
    let mut messages: Vec<_> = (1..)
        .zip(topics)
        .map(|(id, word)| told.about(id, told.story.breached, &format!("account.{word}")))
        .collect();
    for (id, topic) in
        [(20, "purchase.paid"), (21, "purchase.declined"), (22, "dispute.opened"), (23, "dispute.released")]
    {
        messages.push(message(told.story.firm, id, &format!("purchase:{purchase}"), topic, json!({})));
    }
    let payload = json!({
        "state": "settled", "account": told.story.breached, "amount": {"amount": "800.00", "currency": "USD"},
    });
    let payout = "payout:00000000-0000-7000-8000-000000000001";
    for (id, word) in [(30, "rejected"), (31, "settled"), (32, "failed"), (33, "returned"), (34, "approved")]
    {
        messages.push(message(told.story.firm, id, payout, &format!("payout.{word}"), payload.clone()));
    }
    told.take(&messages).await;
    let titles = told.titles().await;
    assert_eq!(titles.len(), 17, "{titles:?}");
    let about_payouts: Vec<_> = titles.iter().filter(|title| title.contains("800.00 USD")).collect();
    assert_eq!(about_payouts.len(), 4, "{titles:?}");
    for title in titles {
        assert!(title.len() > 12 && !title.ends_with(": "), "{title}");
    }
}

#[tokio::test]
async fn a_limit_that_is_met_all_day_is_one_mail() {
    let told = told().await;
    let warned = |id| told.about(id, told.story.breached, "account.warned");
    told.take(&[warned(1), warned(2)]).await;
    told.take(&[warned(3)]).await;
    assert_eq!(told.titles().await.len(), 3, "the inbox tells each time");
    assert_eq!(told.count("mails").await, 1);
    assert_eq!(told.count("jobs").await, 1);
    // The next trading day begins at midnight in Prague.
    for (id, at, mails) in [(4, "2026-01-05T22:59:59Z", 1), (5, "2026-01-05T23:00:00Z", 2)] {
        told.take(&[Message { at: Timestamp::parse(at).unwrap(), ..warned(id) }]).await;
        assert_eq!(told.count("mails").await, mails, "{at}");
    }
}

#[tokio::test]
async fn people_choose_but_not_away_what_ends_an_account() {
    let told = told().await;
    let all = told.notifications.preferences(&told.context).await.unwrap();
    assert_eq!(all.len(), Group::ALL.len());
    assert!(all.iter().all(|preference| preference.in_app && preference.mail));

    let off = |group| Preference { group, in_app: false, mail: false };
    for group in [Group::Results, Group::Payouts, Group::Operations] {
        let refused = told.notifications.choose(&told.context, &[off(group)]).await;
        assert!(matches!(refused, Err(AppError::Invalid(_))), "{group:?}: {refused:?}");
    }
    let twice = [off(Group::Warnings), off(Group::Warnings)];
    assert!(told.notifications.choose(&told.context, &twice).await.is_err());
    let quiet = Preference { group: Group::Results, in_app: true, mail: false };
    told.notifications.choose(&told.context, &[off(Group::Warnings), quiet]).await.unwrap();
    let all = told.notifications.preferences(&told.context).await.unwrap();
    assert!(all.contains(&off(Group::Warnings)) && all.contains(&quiet));
    assert!(all.contains(&Preference { group: Group::Payouts, in_app: true, mail: true }));

    // Even a row that says otherwise does not hide the end of an account.
    told.run("update notification_preferences set in_app = false").await;
    let account = told.story.breached;
    told.take(&[told.about(1, account, "account.warned"), told.about(2, account, "account.breached")]).await;
    let inbox = told.notifications.inbox(&told.context, None, 50).await.unwrap();
    assert_eq!(inbox.items.iter().map(|note| note.kind).collect::<Vec<_>>(), [Kind::AccountBreached]);
    assert_eq!(told.count("mails").await, 0);
}

#[tokio::test]
async fn an_inbox_is_read_page_by_page_and_marked() {
    let told = told().await;
    let mut messages = Vec::new();
    for id in 1..=7 {
        let at =
            kernel::Clock::now(&*told.world.clock).after(Span::from_seconds(i32::try_from(id).unwrap() / 2));
        messages.push(Message { at: at.unwrap(), ..told.about(id, told.story.passed, "account.opened") });
    }
    told.take(&messages).await;
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page = told.notifications.inbox(&told.context, cursor.as_deref(), 3).await.unwrap();
        assert!(page.items.len() <= 3);
        seen.extend(page.items.iter().map(|note| (note.at, note.id)));
        cursor = page.next;
        if cursor.is_none() {
            break;
        }
    }
    let mut sorted = seen.clone();
    sorted.sort_by(|one, other| other.cmp(one));
    sorted.dedup();
    assert_eq!((seen.len(), &seen), (7, &sorted));

    let (_, id) = seen.first().copied().unwrap();
    for _ in 0..2 {
        told.notifications.mark_read(&told.context, id).await.unwrap();
        assert_eq!(told.notifications.unread(&told.context).await.unwrap(), 6);
    }
    told.notifications.mark_all_read(&told.context).await.unwrap();
    assert_eq!(told.notifications.unread(&told.context).await.unwrap(), 0);
    let wrong = told.notifications.inbox(&told.context, Some("yesterday"), 3).await;
    assert!(matches!(wrong, Err(AppError::Invalid(_))), "{wrong:?}");
}

#[tokio::test]
async fn what_a_later_program_told_waits_for_one_that_can_show_it() {
    let told = told().await;
    told.take(&[told.about(1, told.story.breached, "account.breached")]).await;
    told.run(
        "insert into notifications (firm_id, person_id, id, kind, at, told)
         select firm_id, person_id, gen_random_uuid(), 'a_kind_of_later', at, told from notifications",
    )
    .await;
    let inbox = told.notifications.inbox(&told.context, None, 50).await.unwrap();
    assert_eq!((inbox.items.len(), inbox.unread), (1, 1));
    told.run("update notifications set kind = 'account_breached' where kind = 'a_kind_of_later'").await;
    let inbox = told.notifications.inbox(&told.context, None, 50).await.unwrap();
    assert_eq!((inbox.items.len(), inbox.unread), (2, 2));
}

#[tokio::test]
async fn a_mail_is_sent_once_and_says_whom_it_is_for() {
    let told = told().await;
    let sink = SmtpSink::open().await;
    told.take(&[told.about(1, told.story.breached, "account.breached")]).await;
    assert_eq!(told.send(&sink).await, [Outcome::Done]);
    let [mail] = sink.taken().try_into().unwrap_or_else(|taken| panic!("{taken:?}"));
    assert_eq!(mail.to, told.story.trader.email);
    let unsubscribe = mail.header("List-Unsubscribe").unwrap();
    assert!(unsubscribe.starts_with("<https://one.example/v1/unsubscribe/"), "{unsubscribe}");
    assert!(mail.header("Message-ID").unwrap().ends_with("@one.example>"));
    assert_eq!(told.count("mails where state = 'sent' and provider_id like '%queued as 1%'").await, 1);
    // The job may run twice: a worker can die after the mail and before it says so.
    told.run("update jobs set state = 'waiting', ended_at = null where kind = 'mail.send'").await;
    assert_eq!(told.send(&sink).await, [Outcome::Done]);
    assert_eq!(sink.taken().len(), 1);
}

#[tokio::test]
async fn a_refused_address_gets_no_more_and_a_busy_server_is_asked_again() {
    let told = told().await;
    let sink = SmtpSink::open().await;
    told.take(&[told.about(1, told.story.breached, "account.breached")]).await;
    sink.behave(Behaviour::RefuseRecipient("451 4.3.0 later".to_owned()));
    assert!(matches!(told.send(&sink).await.as_slice(), [Outcome::Again { .. }]));
    assert_eq!(told.count("mails where state = 'queued'").await, 1);

    told.world.clock.advance(Span::from_seconds(60));
    sink.behave(Behaviour::RefuseRecipient("550 5.1.1 no such user".to_owned()));
    assert!(matches!(told.send(&sink).await.as_slice(), [Outcome::Never { .. }]));
    assert_eq!(told.count("mails where state = 'refused' and error like '%no such user%'").await, 1);

    sink.behave(Behaviour::Take);
    told.take(&[told.about(2, told.story.passed, "account.passed")]).await;
    assert_eq!(told.send(&sink).await, [Outcome::Done]);
    assert_eq!(told.count("mails where state = 'suppressed'").await, 1);
    assert!(sink.taken().is_empty());
    assert_eq!(told.titles().await.len(), 2, "the inbox has both");
}

#[tokio::test]
async fn whoever_has_the_link_of_a_mail_ends_mails_of_its_group() {
    let told = told().await;
    let sink = SmtpSink::open().await;
    told.take(&[told.about(1, told.story.breached, "account.warned")]).await;
    told.send(&sink).await;
    let link = sink.taken().remove(0).header("List-Unsubscribe").unwrap();
    let token = link.trim_end_matches('>').rsplit('/').next().unwrap().to_owned();

    // A mail that waits already is not sent either.
    let next_day = Message {
        at: Timestamp::parse("2026-01-07T10:00:00Z").unwrap(),
        ..told.about(2, told.story.breached, "account.warned")
    };
    told.take(&[next_day]).await;
    for _ in 0..2 {
        let group = told.notifications.unsubscribe(told.story.firm, &token).await.unwrap();
        assert_eq!(group, Group::Warnings);
    }
    assert_eq!(told.send(&sink).await, [Outcome::Done]);
    assert_eq!(told.count("mails where state = 'unwanted'").await, 1);
    // Other groups are mailed, and the inbox tells of all.
    told.take(&[told.about(3, told.story.breached, "account.breached")]).await;
    assert_eq!(told.send(&sink).await, [Outcome::Done]);
    assert_eq!((sink.taken().len(), told.titles().await.len()), (2, 3));

    let elsewhere = told.world.firm("two").await;
    for (firm, token) in [(elsewhere, token.as_str()), (told.story.firm, "AAAA"), (told.story.firm, "")] {
        let refused = told.notifications.unsubscribe(firm, token).await;
        assert!(matches!(refused, Err(AppError::NotFound(_))), "{refused:?}");
    }
}

fn signed(body: &str) -> String {
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(BOUNCE_SECRET.as_bytes()).unwrap();
    mac.update(body.as_bytes());
    hex::encode(mac.finalize().into_bytes())
}

#[tokio::test]
async fn a_signed_report_of_a_bounce_suppresses_the_address() {
    let told = told().await;
    let sink = SmtpSink::open().await;
    let firm = told.story.firm;
    told.take(&[told.about(1, told.story.breached, "account.breached")]).await;
    told.send(&sink).await;
    let id = sink.taken().remove(0).header("Message-ID").unwrap();
    let before = told.count("mail_suppressions").await;
    let report = |body: &str| {
        let (body, notifications) = (body.to_owned(), told.notifications.clone());
        async move { notifications.bounced(firm, "the-end-of-the-address", &signed(&body), body.as_bytes()).await }
    };

    let hard = json!({ "type": "hard", "message_id": id, "note": "more is ignored" }).to_string();
    let other = signed("another body");
    for (token, signature) in [
        ("the-end-of-the-address", other.as_str()),
        ("the-end-of-the-address", ""),
        ("the-end-of-the-address", "zz"),
        ("another-end-of-the-addr", signed(&hard).as_str()),
    ] {
        let refused = told.notifications.bounced(firm, token, signature, hard.as_bytes()).await;
        assert!(matches!(refused, Err(AppError::Unauthenticated | AppError::NotFound(_))), "{refused:?}");
    }
    assert_eq!(report(r#"{"type":"soft","address":"trader@one.example"}"#).await.unwrap(), Bounced::Noted);
    let unknown = json!({ "type": "hard", "message_id": format!("<{}@one.example>", firm) }).to_string();
    assert_eq!(report(&unknown).await.unwrap(), Bounced::Unknown);
    assert!(matches!(report("{}").await, Err(AppError::Invalid(_))));
    assert_eq!(told.count("mail_suppressions").await, before);

    assert_eq!(report(&hard).await.unwrap(), Bounced::Suppressed);
    assert_eq!(told.count("mail_suppressions where reason = 'hard_bounce'").await, 1);
    let complaint = r#"{"type":"complaint","address":"Trader@One.example"}"#;
    assert_eq!(report(complaint).await.unwrap(), Bounced::Suppressed);
    assert_eq!(told.count("mail_suppressions").await, before + 1, "one address, however it is written");
    told.take(&[told.about(2, told.story.passed, "account.passed")]).await;
    told.send(&sink).await;
    assert_eq!(sink.taken().len(), 1);

    let without =
        Notifications::new(told.world.store.clone(), told.world.clock.clone(), told.world.rng.clone(), None);
    let refused = without.bounced(firm, "the-end-of-the-address", &signed(&hard), hard.as_bytes()).await;
    assert!(matches!(refused, Err(AppError::NotFound(_))), "no key, no bounces");
}

#[tokio::test]
async fn what_is_old_is_taken_away() {
    let told = told().await;
    told.take(&[told.about(1, told.story.breached, "account.breached")]).await;
    told.world.clock.advance(Span::from_days(app::notifications::KEPT_DAYS).unwrap());
    assert_eq!(told.notifications.forget().await.unwrap(), 0);
    told.world.clock.advance(Span::from_seconds(10 * 86_400));
    told.take(&[Message {
        at: kernel::Clock::now(&*told.world.clock),
        ..told.about(2, told.story.passed, "account.passed")
    }])
    .await;
    assert_eq!(told.notifications.forget().await.unwrap(), 2, "a note and its mail");
    assert_eq!(told.titles().await.len(), 1);
    let nobody: Option<Person> = None;
    let context = Context { actor: nobody.map(|person| person.actor()), ..told.context.clone() };
    assert!(matches!(told.notifications.unread(&context).await, Err(AppError::Unauthenticated)));
}
