//! What a firm's operators see over HTTP of what goes on behind the requests, and what they do about it; and what the
//! operator's machines are told.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on stops")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::common::{Stage, Trader};
use app::events::{Consumer, Failed, Message, MessageStore as _};
use app::jobs::{Job, JobError, JobHandler, JobStore as _, NewJob};
use app::{AppError, Role};
use async_trait::async_trait;
use kernel::{Clock as _, FirmId, OwnerId, Span};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, Executor as _};
use store::Store;
use tokio::sync::watch;
use workers::runner::{Runner, RunnerSettings};

/// Does jobs and takes messages once it is mended; of a queue and a group that nobody else works for.
struct Partner {
    store: Arc<Store>,
    mended: AtomicBool,
}

#[async_trait]
impl JobHandler for Partner {
    fn kind(&self) -> &'static str {
        "post.send"
    }

    async fn run(&self, _: &Job) -> Result<(), JobError> {
        if self.mended.load(Ordering::SeqCst) { Ok(()) } else { Err(JobError::Never("no such host".into())) }
    }
}

#[async_trait]
impl Consumer for Partner {
    fn group(&self) -> &'static str {
        "partners"
    }

    async fn take(&self, firm: FirmId, messages: &[Message]) -> Result<(), AppError> {
        if !self.mended.load(Ordering::SeqCst) {
            return Err(AppError::Bug { doing: "calling", source: "no such host".into() });
        }
        let mut tx = self.store.begin(firm).await?;
        let ids: Vec<i64> = messages.iter().map(|message| message.id).collect();
        tx.take_messages(self.group(), &ids).await?;
        let _proof = tx.commit().await?;
        Ok(())
    }
}

impl Partner {
    fn of(stage: &Stage) -> Arc<Self> {
        Arc::new(Self { store: Arc::clone(&stage.platform.web.store), mended: AtomicBool::new(false) })
    }
}

fn mail(stage: &Stage, number: i64) -> NewJob {
    NewJob {
        firm: Some(stage.firm),
        queue: "post",
        kind: "post.send",
        payload: json!({ "to": "somebody@example.com", "number": number }),
        run_at: stage.clock.now(),
        priority: 0,
        unique: None,
        most_attempts: 3,
    }
}

/// Writes a message with its cause, as use cases do.
async fn tell(stage: &Stage) -> Message {
    let payload = json!({ "account": "one" });
    let sql = "insert into outbox (firm_id, at, aggregate, topic, payload)
               values ($1, $2::timestamptz, 'account:one', 'account.warned', $3) returning id";
    let at = stage.clock.now();
    let id = sqlx::query_scalar(sql)
        .bind(stage.firm.uuid())
        .bind(at.to_string())
        .bind(&payload)
        .fetch_one(&mut stage.database.superuser().await)
        .await
        .unwrap();
    let (aggregate, topic) = ("account:one".to_owned(), "account.warned".to_owned());
    Message { id, firm: stage.firm, at, aggregate, topic, version: 1, payload, trace: None }
}

/// Asks until it is so, for at most 20 s.
async fn until<T>(what: &str, mut so: impl AsyncFnMut() -> Option<T>) -> T {
    let asking = async {
        loop {
            if let Some(found) = so().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let found = tokio::time::timeout(Duration::from_secs(20), asking).await;
    found.unwrap_or_else(|_| panic!("{what}: not within 20 s"))
}

async fn seen(of: &Trader, path: &str) -> Value {
    let (status, found) = of.get(path).await;
    assert_eq!(status, 200, "{path}: {found}");
    found
}

async fn do_it(of: &Trader, path: &str) -> (u16, Value) {
    let (status, answer) = of.post(path, None, &json!({})).await;
    (status, answer["code"].clone())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_job_is_seen_with_payload_and_errors_and_done_after_the_fix() {
    let stage = Stage::open(&[]).await;
    let admin = stage.staff("admin@example.com", Role::Admin).await;
    let risk = stage.staff("risk@example.com", Role::Risk).await;
    let partner = Partner::of(&stage);
    let store = Arc::clone(&stage.platform.web.store);
    let settings = RunnerSettings { poll: Duration::from_millis(20), ..RunnerSettings::default() };
    let queues = vec![("post".to_owned(), 2)];
    let owner = OwnerId::derived(&[b"mailer"]);
    let runner =
        Runner::new(store.clone(), stage.clock.clone(), owner, settings, queues, vec![partner.clone()]);
    let (stop, stopping) = watch::channel(false);
    let running = tokio::spawn(Arc::new(runner).run(stopping));
    store.enqueue(&[mail(&stage, 1), mail(&stage, 2)], stage.clock.now()).await.unwrap();

    let dead = until("both are dead", async || {
        let page = seen(&risk, "/v1/operations/jobs").await;
        let items = page["items"].as_array().unwrap().clone();
        (items.len() == 2).then_some(items)
    })
    .await;
    assert_eq!(dead[0]["kind"], "post.send");
    assert!(
        dead[0].get("payload").is_none() && dead[0]["last_error"].as_str().unwrap().contains("no such host")
    );
    let overview = seen(&risk, "/v1/operations").await;
    let queue = &overview["queues"][0];
    assert_eq!((&queue["name"], &queue["dead"], &queue["waiting"]), (&json!("post"), &json!(2), &json!(0)));

    // What it is about is for those who operate, and it is written down that they saw it.
    let path = format!("/v1/operations/jobs/{}", dead[1]["id"].as_str().unwrap());
    let told = seen(&risk, &path).await;
    assert_eq!((&told["payload"], &told["errors"][0]["attempt"]), (&Value::Null, &json!(1)));
    let told = seen(&admin, &path).await;
    assert_eq!(told["payload"], json!({ "to": "somebody@example.com", "number": 1 }));
    let read: i64 = sqlx::query_scalar("select count(*) from audit_entries where action = 'job.read'")
        .fetch_one(&mut stage.database.superuser().await)
        .await
        .unwrap();
    assert_eq!(read, 1);

    assert_eq!(do_it(&risk, &format!("{path}/send-again")).await, (403, json!("forbidden")));
    partner.mended.store(true, Ordering::SeqCst);
    assert_eq!(do_it(&admin, &format!("{path}/send-again")).await.0, 204);
    until("it is done", async || (seen(&risk, &path).await["job"]["state"] == "done").then_some(())).await;
    assert_eq!(do_it(&admin, &format!("{path}/send-again")).await, (409, json!("conflict")));
    let (status, sent) =
        admin.post("/v1/operations/jobs/send-again", None, &json!({ "kind": "post.send" })).await;
    assert_eq!((status, sent), (200, json!({ "sent": 1 })));
    until("both are done", async || {
        let done = seen(&risk, "/v1/operations/jobs?state=done").await;
        (done["items"].as_array().unwrap().len() == 2).then_some(())
    })
    .await;

    // Nothing of a paused queue is begun; what waits can be cancelled, and then no more.
    assert_eq!(do_it(&admin, "/v1/operations/queues/post/pause").await.0, 204);
    store.enqueue(&[mail(&stage, 3)], stage.clock.now()).await.unwrap();
    let overview = seen(&risk, "/v1/operations").await;
    let queue = &overview["queues"][0];
    assert_eq!((&queue["paused"], &queue["waiting"]), (&json!(true), &json!(1)));
    assert_eq!(queue["oldest_seconds"], 0);
    let waiting = seen(&risk, "/v1/operations/jobs?state=waiting").await;
    let path = format!("/v1/operations/jobs/{}/cancel", waiting["items"][0]["id"].as_str().unwrap());
    let cancelled = admin.post(&path, None, &json!({})).await;
    assert_eq!(cancelled, (200, json!({ "outcome": "cancelled" })));
    assert_eq!(do_it(&admin, &path).await, (409, json!("conflict")));
    assert_eq!(do_it(&admin, "/v1/operations/queues/post/resume").await.0, 204);
    assert_eq!(do_it(&admin, "/v1/operations/queues/no%20queue/pause").await.0, 404);
    for wrong in ["jobs?state=lost", "jobs?cursor=x", "messages?cursor=7"] {
        let (status, answer) = admin.get(&format!("/v1/operations/{wrong}")).await;
        assert_eq!((status, &answer["code"]), (422, &json!("validation_failed")), "{wrong}");
    }
    stop.send_replace(true);
    running.await.unwrap();
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_message_is_seen_with_payload_and_errors_and_taken_after_the_fix() {
    let stage = Stage::open(&[]).await;
    let admin = stage.staff("admin@example.com", Role::Admin).await;
    let risk = stage.staff("risk@example.com", Role::Risk).await;
    let partner = Partner::of(&stage);
    let store = Arc::clone(&stage.platform.web.store);
    store.join("partners", &[]).await.unwrap();
    let message = tell(&stage).await;
    let mut attempts = 0;
    loop {
        let error = partner.take(stage.firm, std::slice::from_ref(&message)).await.unwrap_err();
        let error = error.to_string();
        let failed = Failed { group: "partners", firm: stage.firm, message: message.id, error: &error };
        attempts += 1;
        if store.fail(failed).await.unwrap() {
            break;
        }
    }

    let group = async || {
        let overview = seen(&risk, "/v1/operations").await;
        let groups = overview["groups"].as_array().unwrap();
        groups.iter().find(|group| group["name"] == "partners").unwrap().clone()
    };
    let figures = group().await;
    assert_eq!((&figures["dead"], &figures["waiting"]), (&json!(1), &json!(0)));
    let page = seen(&risk, "/v1/operations/messages?group=partners").await;
    assert_eq!((&page["items"][0]["id"], &page["next_cursor"]), (&json!(message.id), &Value::Null));
    assert_eq!(seen(&risk, "/v1/operations/messages?group=others").await["items"], json!([]));
    let path = format!("/v1/operations/messages/partners/{}", message.id);
    let told = seen(&risk, &path).await;
    assert_eq!((&told["payload"], told["errors"].as_array().unwrap().len()), (&Value::Null, attempts));
    let told = seen(&admin, &path).await;
    assert_eq!((&told["payload"], &told["message"]["topic"]), (&message.payload, &json!("account.warned")));
    assert!(told["errors"][0]["error"].as_str().unwrap().contains("calling failed"), "{told}");
    assert!(told["message"]["dead_at"].is_string() && told["message"]["next_at"].is_null());

    partner.mended.store(true, Ordering::SeqCst);
    assert_eq!(do_it(&risk, &format!("{path}/send-again")).await, (403, json!("forbidden")));
    assert_eq!(do_it(&admin, &format!("{path}/send-again")).await.0, 204);
    assert_eq!(do_it(&admin, &format!("{path}/send-again")).await, (409, json!("conflict")));
    let again = seen(&risk, &path).await;
    assert!(again["message"]["dead_at"].is_null() && again["message"]["sent_again_at"].is_string());
    assert_eq!(group().await["failing"], 1);
    partner.take(stage.firm, std::slice::from_ref(&message)).await.unwrap();
    assert_eq!(admin.get(&path).await.0, 404);
    let figures = group().await;
    assert_eq!(
        (&figures["dead"], &figures["failing"], &figures["waiting"]),
        (&json!(0), &json!(0), &json!(0))
    );
    let sent = admin.post("/v1/operations/messages/partners/send-again", None, &json!({})).await;
    assert_eq!(sent, (200, json!({ "sent": 0 })));
    stage.close().await;
}

/// How names of figures begin.
const OURS: [&str; 5] = ["tradesense_", "http_server_", "db_client_", "messaging_", "process_"];

/// Every sample by its name and labels. Whatever the format forbids stops the test.
fn samples(text: &str) -> BTreeMap<String, String> {
    let mut told: Option<(&str, bool)> = None;
    let mut samples = BTreeMap::new();
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            told = Some((help.split_once(' ').unwrap().0, false));
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert_eq!(told, Some((name, false)), "{line}");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            told = Some((name, true));
        } else {
            let (sample, value) = line.rsplit_once(' ').unwrap();
            let name = sample.split('{').next().unwrap();
            let (family, typed) = told.unwrap();
            assert!(
                typed && name.starts_with(family) && OURS.iter().any(|own| name.starts_with(own)),
                "{line}"
            );
            assert_eq!(sample.contains('{'), sample.ends_with('}'), "{line}");
            assert!(value.starts_with(|first: char| first.is_ascii_digit()), "{line}");
            assert!(value.chars().all(|character| character.is_ascii_digit() || character == '.'), "{line}");
            let before = samples.insert(sample.to_owned(), value.to_owned());
            assert_eq!(before, None, "{sample} stands there twice");
        }
    }
    samples
}

async fn scrape(stage: &Stage) -> BTreeMap<String, String> {
    let (status, text) = stage.ask_ops("/metrics").await;
    assert_eq!(status, 200);
    samples(&text)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_figures_tell_what_waits_and_are_counted_every_five_seconds_at_most() {
    let stage = Stage::open(&[]).await;
    let store = Arc::clone(&stage.platform.web.store);
    store.join("partners", &[]).await.unwrap();
    store.enqueue(&[mail(&stage, 1), mail(&stage, 2)], stage.clock.now()).await.unwrap();
    let message = tell(&stage).await;
    let failed = Failed { group: "partners", firm: stage.firm, message: message.id, error: "no" };
    store.fail(failed).await.unwrap();
    stage.clock.advance(Span::from_seconds(90));

    let told = scrape(&stage).await;
    let version = format!("tradesense_build_info{{version=\"{}\"}}", env!("CARGO_PKG_VERSION"));
    for (name, value) in [
        (version.as_str(), "1"),
        ("tradesense_stream_backlog{group=\"partners\"}", "1"),
        ("tradesense_stream_oldest_age_seconds{group=\"partners\"}", "90.000000"),
        ("tradesense_messages_failing{group=\"partners\"}", "1"),
        ("tradesense_messages_dead{group=\"partners\"}", "0"),
        ("tradesense_jobs{queue=\"post\",state=\"waiting\"}", "2"),
        ("tradesense_jobs{queue=\"post\",state=\"dead\"}", "0"),
        ("tradesense_jobs_oldest_age_seconds{queue=\"post\"}", "90.000000"),
    ] {
        assert_eq!(told.get(name).map(String::as_str), Some(value), "{name}");
    }
    assert!(told.contains_key("tradesense_outbox_known_lag"));

    // Asked again within five seconds, nothing is counted; after them it is.
    let backlog = "tradesense_stream_backlog{group=\"partners\"}";
    tell(&stage).await;
    stage.clock.advance(Span::from_seconds(4));
    assert_eq!(scrape(&stage).await[backlog], "1");
    stage.clock.advance(Span::from_seconds(1));
    assert_eq!(scrape(&stage).await[backlog], "2");
    // The keeper of the quote log has looked at it by now, or does soon.
    let segments = until("the log's size is known", async || {
        scrape(&stage).await.get("tradesense_quote_log_segments").cloned()
    })
    .await;
    assert!(
        segments.parse::<u64>().is_ok() && scrape(&stage).await.contains_key("tradesense_quote_log_bytes")
    );

    // Without the database the process still tells its own figures, and says that it is not ready.
    let mut owner = stage.database.superuser().await;
    let name: String =
        sqlx::query_scalar("select current_database()::text").fetch_one(&mut owner).await.unwrap();
    let limit = |limit: i32| AssertSqlSafe(format!("alter database {name} connection limit {limit}"));
    owner.execute(limit(0)).await.unwrap();
    stage.database.cut_connections().await;
    stage.clock.advance(Span::from_seconds(5));
    let alone = scrape(&stage).await;
    assert!(alone.contains_key(&version) && !alone.contains_key(backlog));
    assert_eq!(stage.ask_ops("/health/ready").await.0, 503);
    assert_eq!(stage.ask_ops("/health/live").await.0, 200);
    stage.database.superuser().await.execute(limit(-1)).await.unwrap();
    until("it is ready again", async || (stage.ask_ops("/health/ready").await.0 == 200).then_some(())).await;
    stage.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_asked_to_stop_is_no_longer_ready_and_still_lives() {
    let stage = Stage::open(&[]).await;
    assert_eq!(stage.ask_ops("/health/ready").await, (200, "ready\n".to_owned()));
    stage.platform.begin_stop();
    assert_eq!(stage.ask_ops("/health/ready").await.0, 503);
    assert_eq!(stage.ask_ops("/health/live").await, (200, "live\n".to_owned()));
    stage.close().await;
}
