//! Reads from real streaming replicas that are stopped, late and promoted while somebody reads: no error, and nobody misses
//! what they have written.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use app::identity::{Cost, Identity};
use kernel::{FirmId, ManualClock, PersonId, SeededRng, Span, Timestamp};
use store::{Health, Replicas, Store, Token, analytics};
use testkit::START;

use crate::servers::{Servers, at, register, store_under};

struct Stage {
    firm: FirmId,
    clock: Arc<ManualClock>,
    store: Arc<Store>,
    identity: Identity,
    replicas: Replicas,
    people: AtomicUsize,
    reads: AtomicUsize,
}

impl Stage {
    /// Somebody registers, and whoever carries the token sees them.
    async fn write_and_read(&self) {
        let (person, token) = self.write().await;
        assert!(self.sees(person, Some(token)).await, "a read behind one's own write");
        // Without a token the answer may be older, but there is one.
        self.sees(person, None).await;
        self.reads.fetch_add(1, Ordering::SeqCst);
    }

    async fn write(&self) -> (PersonId, Token) {
        let number = self.people.fetch_add(1, Ordering::SeqCst);
        let at = Timestamp::parse(START).unwrap();
        let person = register(&self.identity, self.firm, number).await.unwrap();
        assert_eq!(person.created_at.max(at), person.created_at);
        (person.id, self.store.consistency_token().await.unwrap())
    }

    async fn sees(&self, person: PersonId, token: Option<Token>) -> bool {
        let work = self.replicas.read(
            self.firm,
            token,
            Box::new(move |tx| {
                Box::pin(async move {
                    // Long enough that servers go away in the middle of it.
                    tokio::time::sleep(Duration::from_millis(3)).await;
                    analytics::sealed_names(tx, &[person]).await
                })
            }),
        );
        let (names, _) = work.await.unwrap();
        !names.is_empty()
    }

    async fn health(&self, replica: usize, wanted: Health) {
        for _ in 0..300 {
            self.replicas.check().await;
            let health = self.replicas.health().get(replica).unwrap().1;
            if health == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("replica {replica} never was {wanted:?}: {:?}", self.replicas.health());
    }

    /// Waits until so many more reads have gone well.
    async fn more_reads(&self, more: usize) {
        let from = self.reads.load(Ordering::SeqCst);
        for _ in 0..1_200 {
            if self.reads.load(Ordering::SeqCst).saturating_sub(from) >= more {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("reading stands still");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_misses_their_own_write_while_replicas_stop_lag_and_are_promoted() {
    let servers = tokio::task::spawn_blocking(|| Servers::start("replicas")).await.unwrap();
    let (firm, login) = servers.platform().await;
    let store = store_under(&login, testkit::vault()).await;
    let clock = Arc::new(ManualClock::new(Timestamp::parse(START).unwrap()));
    let cost = Cost { memory: 64, passes: 1, lanes: 1 };
    let rng = Arc::new(SeededRng::new(1));
    let urls = [at(&login, &servers.primary, &servers.one), at(&login, &servers.primary, &servers.two)];
    let stage = Arc::new(Stage {
        firm,
        identity: Identity::new(store.clone(), clock.clone(), rng, 2, cost),
        replicas: Replicas::new(store.clone(), &urls, 8, clock.clone()).unwrap(),
        store,
        clock,
        people: AtomicUsize::new(0),
        reads: AtomicUsize::new(0),
    });
    // Nobody was looked at yet: the primary answers.
    stage.write_and_read().await;
    assert_eq!(stage.replicas.served().0, 0);
    stage.health(0, Health::Serving).await;
    stage.health(1, Health::Serving).await;

    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    for _ in 0..3 {
        let (stage, stop) = (Arc::clone(&stage), Arc::clone(&stop));
        readers.push(tokio::spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                stage.write_and_read().await;
            }
        }));
    }
    stage.more_reads(30).await;
    let (from_replicas, _) = stage.replicas.served();
    assert!(from_replicas > 20, "replicas serve: {:?}", stage.replicas.served());

    // One is stopped in the middle of everything, and comes back.
    let blocking = |work: fn(&Servers), servers: Servers| {
        tokio::task::spawn_blocking(move || {
            work(&servers);
            servers
        })
    };
    let servers = blocking(|servers| servers.one.stop(), servers).await.unwrap();
    stage.more_reads(60).await;
    stage.health(0, Health::Away).await;
    stage.health(1, Health::Serving).await;
    let servers = blocking(|servers| servers.one.start(), servers).await.unwrap();
    stage.health(0, Health::Serving).await;

    // One stops replaying: whoever carries a token does not get it, and after a while nobody does.
    servers.two.tell("select pg_wal_replay_pause()").await;
    stage.more_reads(60).await;
    stage.replicas.check().await;
    stage.clock.advance(Span::from_seconds(6));
    stage.health(1, Health::Late).await;
    stage.health(0, Health::Serving).await;
    let (person, _) = stage.write().await;
    for _ in 0..100 {
        if stage.sees(person, None).await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for _ in 0..20 {
        assert!(stage.sees(person, None).await, "a late replica does not serve");
    }
    servers.two.tell("select pg_wal_replay_resume()").await;
    stage.health(1, Health::Serving).await;

    // One is promoted while it is read: its history is its own from there on.
    let servers = blocking(|servers| servers.one.promote(), servers).await.unwrap();
    stage.more_reads(60).await;
    stage.health(0, Health::Promoted).await;
    stage.health(1, Health::Serving).await;
    let before = stage.replicas.served().0;
    stage.more_reads(30).await;
    assert!(stage.replicas.served().0 > before, "the other one still serves");
    stop.store(true, Ordering::SeqCst);
    for reader in readers {
        reader.await.unwrap();
    }
    drop(tokio::task::spawn_blocking(move || drop(servers)).await);
}
