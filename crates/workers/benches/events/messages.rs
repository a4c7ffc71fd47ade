//! Messages per second from the outbox into the streams and from there to a group, and how long one takes from before its commit to
//! its effect, over a Redis server; beside bare appends to the same server.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use app::AppError;
use app::events::{Consumer, Message, MessageStore as _, PARTS, stream};
use app::streams::Streams;
use async_trait::async_trait;
use kernel::{Clock as _, FirmId, OwnerId};
use serde_json::{Value, json};
use sqlx::PgConnection;
use store::Store;
use streams::RedisStreams;
use testkit::TestRedis;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;
use workers::consume::{self, Taking};
use workers::leader::Leader;
use workers::relay::{self, Relay};

use crate::{Bench, Wall, percentiles, rate};

const GROUP: &str = "bench";
/// Of one relay and one group.
const BULK: i64 = 50_000;

/// Takes messages, and notes how long each was on its way.
struct Taker {
    store: Arc<Store>,
    took: Mutex<Vec<i64>>,
}

#[async_trait]
impl Consumer for Taker {
    fn group(&self) -> &'static str {
        GROUP
    }

    async fn take(&self, firm: FirmId, messages: &[Message]) -> Result<(), AppError> {
        let mut tx = self.store.begin(firm).await?;
        let ids: Vec<i64> = messages.iter().map(|message| message.id).collect();
        let new = tx.take_messages(GROUP, &ids).await?;
        let _ = tx.commit().await?;
        let now = Wall.now().micros();
        let new = messages.iter().filter(|message| new.contains(&message.id));
        let told_at = |message: &Message| message.payload.get("at").and_then(Value::as_i64);
        let took = new.filter_map(told_at).map(|at| now - at);
        self.took.lock().unwrap().extend(took);
        Ok(())
    }
}

/// What runs until it is stopped.
struct Running {
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Running {
    async fn end(self) {
        self.stop.send_replace(true);
        for task in self.tasks {
            task.await.unwrap();
        }
    }
}

fn start(bench: &Bench, streams: &Arc<dyn Streams>, taker: Option<&Arc<Taker>>) -> Running {
    let owner = OwnerId::derived(&[b"bench", &Wall.now().micros().to_be_bytes()]);
    let names = match taker {
        Some(_) => consume::leases(GROUP),
        None => vec![relay::LEASE.to_owned()],
    };
    let leader = Leader::new(bench.store.clone(), owner, names);
    let leads = leader.leads();
    let (stop, stopping) = watch::channel(false);
    let work = if let Some(taker) = taker {
        let taking = Taking { streams: Arc::clone(streams), store: bench.store.clone(), owner };
        tokio::spawn(taking.run(taker.clone(), leads, stopping.clone()))
    } else {
        let relay = Relay { store: bench.store.clone(), streams: Arc::clone(streams) };
        tokio::spawn(relay.run(leads, stopping.clone()))
    };
    Running { stop, tasks: vec![work, tokio::spawn(leader.run(stopping))] }
}

async fn write(connection: &mut PgConnection, firm: FirmId, count: i64) {
    sqlx::query(
        "insert into outbox (firm_id, at, aggregate, topic, payload)
         select $1, now(), 'account:' || number % 997, 'account.traded', jsonb_build_object('at', $3::bigint)
         from generate_series(1, $2) number",
    )
    .bind(firm.uuid())
    .bind(count)
    .bind(Wall.now().micros())
    .execute(connection)
    .await
    .unwrap();
}

async fn in_streams(streams: &dyn Streams) -> u64 {
    let mut all = 0;
    for part in 0..PARTS {
        all += streams.waiting(&stream(part), GROUP).await.unwrap().undelivered;
    }
    all
}

/// Everything about messages.
pub async fn measure(seconds: u64) -> Value {
    let bench = Bench::new(seconds).await;
    let redis = TestRedis::start();
    let streams: Arc<dyn Streams> = Arc::new(RedisStreams::connect(&redis.url()).await.unwrap());
    let appended = json!({
        "one_by_one_by_50": appends(&bench, &streams, 50, 1).await,
        "by_the_500": appends(&bench, &streams, 1, 500).await,
    });
    bench.store.join(GROUP, &[]).await.unwrap();
    for part in 0..PARTS {
        streams.join(&stream(part), GROUP).await.unwrap();
    }
    let mut connection = bench.database.superuser().await;
    write(&mut connection, bench.firm, BULK).await;
    let relaying = start(&bench, &streams, None);
    let bulk = u64::try_from(BULK).unwrap();
    let began = first(|| async { in_streams(&*streams).await > 0 }).await;
    first(|| async { in_streams(&*streams).await >= bulk }).await;
    let relayed = rate(usize::try_from(BULK).unwrap(), began.elapsed());
    let taker = Arc::new(Taker { store: bench.store.clone(), took: Mutex::default() });
    let taking = start(&bench, &streams, Some(&taker));
    let count = |taker: &Arc<Taker>| taker.took.lock().unwrap().len();
    let began = first(|| async { count(&taker) > 0 }).await;
    let all = usize::try_from(BULK).unwrap();
    first(|| async { count(&taker) >= all }).await;
    let per_second = rate(all, began.elapsed());
    taker.took.lock().unwrap().clear();

    // A steady 200 a second, each in a transaction of its own.
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    let steady = usize::try_from(seconds * 200).unwrap();
    for _ in 0..steady {
        ticks.tick().await;
        write(&mut connection, bench.firm, 1).await;
    }
    first(|| async { count(&taker) >= steady }).await;
    let commit_to_effect = percentiles(std::mem::take(&mut *taker.took.lock().unwrap()));
    taking.end().await;
    relaying.end().await;
    json!({
        "redis_xadd_per_s": appended,
        "relayed_per_s": relayed,
        "taken_per_s": per_second,
        "commit_to_effect": commit_to_effect,
    })
}

/// Waits until it is true, and gives the moment.
async fn first<F: Future<Output = bool>>(is: impl Fn() -> F) -> Instant {
    while !is().await {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Instant::now()
}

/// Bare appends, by so many at once, so many in one go.
async fn appends(bench: &Bench, streams: &Arc<dyn Streams>, clients: usize, at_once: usize) -> u64 {
    let (start, length) = (Instant::now(), bench.length());
    let mut all = JoinSet::new();
    for _ in 0..clients {
        let streams = Arc::clone(streams);
        all.spawn(async move {
            let entries = vec![vec![b'x'; 200]; at_once];
            let mut count = 0;
            while start.elapsed() < length {
                streams.append("bench", &entries).await.unwrap();
                count += at_once;
            }
            count
        });
    }
    let count: usize = all.join_all().await.into_iter().sum();
    streams.trim_to("bench", 0).await.unwrap();
    rate(count, start.elapsed())
}
