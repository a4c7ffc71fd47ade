//! A database that loses its primary: with a quorum of replicas whoever was answered finds what they wrote on the one that is promoted,
//! and what was never answered was promised to nobody.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use app::AppError;
use app::identity::{Cost, Identity};
use app::privacy::Vault;
use kernel::{FirmId, ManualClock, PersonId, SeededRng, Timestamp};
use sqlx::{Connection as _, Executor as _, PgConnection};
use testkit::START;

use crate::servers::{Server, Servers, at, register, store_under};

/// A platform over the primary, with people who register.
struct Registry {
    firm: FirmId,
    identity: Identity,
    people: AtomicUsize,
}

impl Registry {
    async fn over(url: &str, firm: FirmId, vault: &Vault, seed: u64) -> Self {
        let store = store_under(url, vault.clone()).await;
        let clock = Arc::new(ManualClock::new(Timestamp::parse(START).unwrap()));
        let cost = Cost { memory: 64, passes: 1, lanes: 1 };
        let identity = Identity::new(store, clock, Arc::new(SeededRng::new(seed)), 2, cost);
        Self { firm, identity, people: AtomicUsize::new(0) }
    }

    async fn write(&self) -> Result<PersonId, AppError> {
        let number = self.people.fetch_add(1, Ordering::SeqCst);
        Ok(register(&self.identity, self.firm, number).await?.id)
    }
}

/// Servers whose primary waits with every commit until one of the replicas has it, and a platform's login at the primary.
async fn quorum(name: &'static str) -> (Servers, FirmId, String) {
    let servers = tokio::task::spawn_blocking(move || Servers::start(name)).await.unwrap();
    let (firm, login) = servers.platform().await;
    let url = servers.primary.url("platform");
    servers.primary.tell("alter system set synchronous_standby_names = 'ANY 1 (*)'").await;
    servers.primary.tell("select pg_reload_conf()").await;
    for _ in 0..200 {
        let mut connection = PgConnection::connect(&url).await.unwrap();
        let quorum: i64 =
            sqlx::query_scalar("select count(*) from pg_stat_replication where sync_state = 'quorum'")
                .fetch_one(&mut connection)
                .await
                .unwrap();
        if quorum == 2 {
            return (servers, firm, login);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the replicas make no quorum");
}

fn signal(which: &str, pid: i32) {
    let sent = Command::new("kill").args([which, &pid.to_string()]).status().unwrap();
    assert!(sent.success(), "kill {which} {pid}");
}

/// Stops the process that receives the log; the replica knows nothing newer from then on.
async fn freeze(replica: &Server) -> i32 {
    let mut connection = PgConnection::connect(&replica.url("postgres")).await.unwrap();
    let pid: i32 =
        sqlx::query_scalar("select pid from pg_stat_wal_receiver").fetch_one(&mut connection).await.unwrap();
    signal("-STOP", pid);
    pid
}

/// How far a replica has the log.
async fn received(replica: &Server) -> i64 {
    let mut connection = PgConnection::connect(&replica.url("postgres")).await.unwrap();
    let sql = "select (pg_last_wal_receive_lsn() - '0/0'::pg_lsn)::bigint";
    sqlx::query_scalar(sql).fetch_one(&mut connection).await.unwrap()
}

/// The people of a database that came to be the primary.
async fn people(server: &Server) -> BTreeSet<uuid::Uuid> {
    let mut connection = PgConnection::connect(&server.url("platform")).await.unwrap();
    connection.execute("set row_security = off").await.unwrap();
    let ids: Vec<uuid::Uuid> =
        sqlx::query_scalar("select id from people").fetch_all(&mut connection).await.unwrap();
    ids.into_iter().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_was_answered_before_the_primary_was_lost_finds_what_they_wrote() {
    let (servers, firm, login) = quorum("quorum").await;
    let vault = testkit::vault();
    let registry = Arc::new(Registry::over(&login, firm, &vault, 1).await);
    let answered: Arc<Mutex<Vec<PersonId>>> = Arc::default();
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for _ in 0..4 {
        let (registry, answered, stop) = (Arc::clone(&registry), Arc::clone(&answered), Arc::clone(&stop));
        writers.push(tokio::spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                // What is not answered is unknown.
                let asked = tokio::time::timeout(Duration::from_secs(3), registry.write());
                if let Ok(Ok(person)) = asked.await {
                    answered.lock().unwrap().push(person);
                }
            }
        }));
    }
    let count = || answered.lock().unwrap().len();
    let reach = async |wanted: usize| {
        for _ in 0..3_000 {
            if count() >= wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("only {} of {wanted} were answered", count());
    };
    reach(60).await;
    // One replica falls behind: the quorum goes on with the other one, and only that one may be promoted.
    let receiver = freeze(&servers.one).await;
    reach(count() + 60).await;
    signal("-KILL", servers.primary.postmaster());
    stop.store(true, Ordering::SeqCst);
    for writer in writers {
        writer.await.unwrap();
    }
    assert!(received(&servers.one).await < received(&servers.two).await, "the frozen one is behind");
    let servers = tokio::task::spawn_blocking(move || {
        servers.two.promote();
        servers
    })
    .await
    .unwrap();
    let there = people(&servers.two).await;
    let answered = answered.lock().unwrap().clone();
    let lost: Vec<_> = answered.iter().filter(|person| !there.contains(&person.uuid())).collect();
    assert!(lost.is_empty(), "{} of {} that were answered are lost: {lost:?}", lost.len(), answered.len());
    assert!(answered.len() >= 120);
    // The platform goes on there. Nobody waits for replicas that it does not have.
    servers.two.tell("alter system set synchronous_standby_names = ''").await;
    servers.two.tell("select pg_reload_conf()").await;
    let after = Registry::over(&at(&login, &servers.primary, &servers.two), firm, &vault, 2).await;
    after.people.store(100_000, Ordering::SeqCst);
    let person = after.write().await.unwrap();
    assert!(people(&servers.two).await.contains(&person.uuid()));
    signal("-CONT", receiver);
    drop(tokio::task::spawn_blocking(move || drop(servers)).await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_commit_that_no_replica_has_is_answered_to_nobody_also_when_its_caller_goes_away() {
    let (servers, firm, login) = quorum("unanswered").await;
    let vault = testkit::vault();
    let registry = Registry::over(&login, firm, &vault, 1).await;
    let known = registry.write().await.unwrap();
    let frozen = [freeze(&servers.one).await, freeze(&servers.two).await];
    // Whoever asked gives up. The driver asks the server to cancel nothing: a wait that is cancelled there is answered as if all were well.
    let waited = tokio::time::timeout(Duration::from_secs(2), registry.write()).await;
    assert!(waited.is_err(), "nobody is told of what one machine alone has: {waited:?}");
    let mut connection = PgConnection::connect(&servers.primary.url("platform")).await.unwrap();
    let waits: i64 = sqlx::query_scalar("select count(*) from pg_stat_activity where wait_event = 'SyncRep'")
        .fetch_one(&mut connection)
        .await
        .unwrap();
    assert!(waits > 0, "the commit still waits");
    signal("-KILL", servers.primary.postmaster());
    for pid in frozen {
        signal("-CONT", pid);
    }
    let servers = tokio::task::spawn_blocking(move || {
        servers.one.promote();
        servers
    })
    .await
    .unwrap();
    let there = people(&servers.one).await;
    assert!(there.contains(&known.uuid()));
    // Whether the unanswered one is there is not known to anybody; asking again makes it true, once.
    servers.one.tell("alter system set synchronous_standby_names = ''").await;
    servers.one.tell("select pg_reload_conf()").await;
    let after = Registry::over(&at(&login, &servers.primary, &servers.one), firm, &vault, 2).await;
    after.people.store(1, Ordering::SeqCst);
    let again = after.write().await.unwrap();
    let there = people(&servers.one).await;
    assert!(there.contains(&again.uuid()) && there.len() == 2, "{there:?}");
    drop(tokio::task::spawn_blocking(move || drop(servers)).await);
}
