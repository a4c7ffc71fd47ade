//! What streams promise, asked of the memory of one process and of a Redis server.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that cannot go on stops")]

use std::sync::Arc;
use std::time::Duration;

use app::streams::{Entry, EntryId, Streams, Waiting};
use streams::{MemoryStreams, RedisError, RedisStreams};
use testkit::{TestRedis, TestSentinels};
use tokio::time::Instant;

const SOON: Duration = Duration::from_millis(50);
const LONG: Duration = Duration::from_secs(5);

/// Every question, of both.
macro_rules! asked_of_both {
    ($($question:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $question() {
                super::$question(&super::MemoryStreams::new()).await;
            })*
        }
        mod redis {
            $(#[tokio::test]
            async fn $question() {
                let server = super::TestRedis::start();
                super::$question(&super::RedisStreams::connect(&server.url()).await.unwrap()).await;
            })*
        }
    };
}

asked_of_both!(
    a_group_shares_the_entries_in_their_order,
    what_was_not_acknowledged_is_claimed_and_nothing_else,
    groups_know_nothing_of_each_other_and_begin_with_the_first_entry,
    a_follower_sees_everything_behind_its_place,
    whoever_waits_is_woken,
    only_what_every_group_acknowledged_is_removed,
    what_waits_is_counted,
    a_group_is_done_with_what_it_acknowledged,
    what_came_since_a_group_joined_waits_for_it,
    an_entry_is_any_bytes,
);

fn bytes(texts: &[&str]) -> Vec<Vec<u8>> {
    texts.iter().map(|text| text.as_bytes().to_vec()).collect()
}

fn said(entries: &[Entry]) -> Vec<&str> {
    entries.iter().map(|entry| std::str::from_utf8(&entry.bytes).unwrap()).collect()
}

fn ids(entries: &[Entry]) -> Vec<EntryId> {
    entries.iter().map(|entry| entry.id).collect()
}

async fn a_group_shares_the_entries_in_their_order(streams: &dyn Streams) {
    let last = streams.append("s", &bytes(&["a", "b"])).await.unwrap();
    assert!(streams.append("s", &bytes(&["c"])).await.unwrap() > last);
    let one = streams.read("s", "g", "one", 2, SOON).await.unwrap();
    let two = streams.read("s", "g", "two", 2, SOON).await.unwrap();
    assert_eq!((said(&one), said(&two)), (vec!["a", "b"], vec!["c"]));
    assert_eq!(one.last().unwrap().id, last);
    assert!(one[0].id < one[1].id && one[1].id < two[0].id);
    assert!(streams.read("s", "g", "one", 2, SOON).await.unwrap().is_empty());
}

async fn what_was_not_acknowledged_is_claimed_and_nothing_else(streams: &dyn Streams) {
    streams.append("s", &bytes(&["a", "b", "c"])).await.unwrap();
    let read = streams.read("s", "g", "one", 10, SOON).await.unwrap();
    streams.acknowledge("s", "g", &[read[1].id]).await.unwrap();
    assert!(streams.claim("s", "g", "two", LONG, 10).await.unwrap().is_empty(), "not idle for so long");
    let claimed = streams.claim("s", "g", "two", Duration::ZERO, 1).await.unwrap();
    assert_eq!(said(&claimed), ["a"]);
    let claimed = streams.claim("s", "g", "two", Duration::ZERO, 10).await.unwrap();
    assert_eq!(said(&claimed), ["a", "c"]);
    // Names that are not pending are passed over.
    streams.acknowledge("s", "g", &ids(&read)).await.unwrap();
    streams.acknowledge("s", "g", &ids(&read)).await.unwrap();
    assert!(streams.claim("s", "g", "two", Duration::ZERO, 10).await.unwrap().is_empty());
    assert!(streams.claim("s", "nobody", "two", Duration::ZERO, 10).await.unwrap().is_empty());
    assert!(streams.claim("nothing", "g", "two", Duration::ZERO, 10).await.unwrap().is_empty());
}

async fn groups_know_nothing_of_each_other_and_begin_with_the_first_entry(streams: &dyn Streams) {
    assert!(streams.read("s", "g", "one", 10, SOON).await.unwrap().is_empty());
    streams.append("s", &bytes(&["a"])).await.unwrap();
    streams.append("other", &bytes(&["x"])).await.unwrap();
    let read = streams.read("s", "g", "one", 10, SOON).await.unwrap();
    streams.acknowledge("s", "g", &ids(&read)).await.unwrap();
    assert_eq!(said(&streams.read("s", "h", "one", 10, SOON).await.unwrap()), ["a"]);
    assert_eq!(said(&streams.read("other", "g", "one", 10, SOON).await.unwrap()), ["x"]);
}

async fn a_follower_sees_everything_behind_its_place(streams: &dyn Streams) {
    assert_eq!(streams.last("s").await.unwrap(), EntryId::ZERO);
    assert!(streams.follow("s", EntryId::ZERO, 10, SOON).await.unwrap().is_empty());
    streams.append("s", &bytes(&["a", "b"])).await.unwrap();
    streams.read("s", "g", "one", 10, SOON).await.unwrap();
    let first = streams.follow("s", EntryId::ZERO, 1, SOON).await.unwrap();
    assert_eq!(said(&first), ["a"]);
    let rest = streams.follow("s", first[0].id, 10, SOON).await.unwrap();
    assert_eq!(said(&rest), ["b"]);
    assert_eq!(streams.last("s").await.unwrap(), rest[0].id);
    assert_eq!(streams.trim_to("s", 1).await.unwrap(), 1);
    assert_eq!(said(&streams.follow("s", EntryId::ZERO, 10, SOON).await.unwrap()), ["b"]);
}

async fn whoever_waits_is_woken(streams: &dyn Streams) {
    // The group is there before, so that the wait is the server's.
    streams.read("s", "g", "one", 1, Duration::ZERO).await.unwrap();
    let began = Instant::now();
    let read = streams.read("s", "g", "one", 10, LONG);
    let follow = streams.follow("s", EntryId::ZERO, 10, LONG);
    let append = async {
        tokio::time::sleep(SOON).await;
        streams.append("s", &bytes(&["a"])).await.unwrap();
    };
    let (read, follow, ()) = tokio::join!(read, follow, append);
    assert_eq!((said(&read.unwrap()), said(&follow.unwrap())), (vec!["a"], vec!["a"]));
    assert!(began.elapsed() < LONG);
}

async fn only_what_every_group_acknowledged_is_removed(streams: &dyn Streams) {
    streams.append("s", &bytes(&["a", "b", "c", "d"])).await.unwrap();
    assert_eq!(streams.trim("s").await.unwrap(), 0, "nobody has read it");
    assert_eq!(streams.trim("nothing").await.unwrap(), 0);
    let g = streams.read("s", "g", "one", 10, SOON).await.unwrap();
    let h = streams.read("s", "h", "one", 3, SOON).await.unwrap();
    streams.acknowledge("s", "g", &ids(&g)).await.unwrap();
    streams.acknowledge("s", "h", &[h[0].id, h[2].id]).await.unwrap();
    // The second is still pending for one of them.
    assert_eq!(streams.trim("s").await.unwrap(), 1);
    assert_eq!(said(&streams.follow("s", EntryId::ZERO, 10, SOON).await.unwrap()), ["b", "c", "d"]);
    streams.acknowledge("s", "h", &[h[1].id]).await.unwrap();
    // The fourth was not given to it yet.
    assert_eq!(streams.trim("s").await.unwrap(), 2);
    assert_eq!(said(&streams.follow("s", EntryId::ZERO, 10, SOON).await.unwrap()), ["d"]);
}

async fn what_waits_is_counted(streams: &dyn Streams) {
    let waiting = |undelivered, pending| Waiting { undelivered, pending };
    assert_eq!(streams.waiting("s", "g").await.unwrap(), waiting(0, 0));
    streams.append("s", &bytes(&["a", "b", "c"])).await.unwrap();
    assert_eq!(streams.waiting("s", "g").await.unwrap(), waiting(3, 0));
    let read = streams.read("s", "g", "one", 2, SOON).await.unwrap();
    assert_eq!(streams.waiting("s", "g").await.unwrap(), waiting(1, 2));
    streams.acknowledge("s", "g", &[read[0].id]).await.unwrap();
    assert_eq!(streams.waiting("s", "g").await.unwrap(), waiting(1, 1));
    assert_eq!(streams.waiting("s", "g").await.unwrap().all(), 2);
}

async fn a_group_is_done_with_what_it_acknowledged(streams: &dyn Streams) {
    assert_eq!(streams.done("s", "g").await.unwrap(), EntryId::ZERO);
    let first = streams.append("s", &bytes(&["a"])).await.unwrap();
    let last = streams.append("s", &bytes(&["b", "c"])).await.unwrap();
    assert_eq!(streams.done("s", "g").await.unwrap(), EntryId::ZERO, "nobody of it was there");
    streams.join("s", "g").await.unwrap();
    assert!(streams.done("s", "g").await.unwrap() <= first);
    let read = streams.read("s", "g", "one", 10, SOON).await.unwrap();
    streams.acknowledge("s", "g", &[read[1].id]).await.unwrap();
    assert_eq!(streams.done("s", "g").await.unwrap(), first);
    streams.acknowledge("s", "g", &[read[0].id]).await.unwrap();
    assert_eq!(streams.done("s", "g").await.unwrap(), last);
    streams.acknowledge("s", "g", &[read[2].id]).await.unwrap();
    assert!(streams.done("s", "g").await.unwrap() > last);
    assert_eq!(streams.trim("s").await.unwrap(), 3);
    assert!(streams.done("s", "g").await.unwrap() > last, "whatever is still there");
}

async fn what_came_since_a_group_joined_waits_for_it(streams: &dyn Streams) {
    streams.join("s", "late").await.unwrap();
    streams.join("s", "late").await.unwrap();
    streams.append("s", &bytes(&["a", "b"])).await.unwrap();
    let read = streams.read("s", "g", "one", 10, SOON).await.unwrap();
    streams.acknowledge("s", "g", &ids(&read)).await.unwrap();
    assert_eq!(streams.trim("s").await.unwrap(), 0);
    assert_eq!(streams.trim_to("s", 1).await.unwrap(), 1, "unless there is too much");
    assert_eq!(said(&streams.read("s", "late", "one", 10, SOON).await.unwrap()), ["b"]);
}

async fn an_entry_is_any_bytes(streams: &dyn Streams) {
    let entry: Vec<u8> = (0..=255).collect();
    streams.append("s", &[entry.clone(), Vec::new()]).await.unwrap();
    let read = streams.read("s", "g", "one", 10, SOON).await.unwrap();
    assert_eq!(read.into_iter().map(|entry| entry.bytes).collect::<Vec<_>>(), [entry, Vec::new()]);
}

#[tokio::test]
async fn a_server_that_forgot_everything_serves_on() {
    let server = TestRedis::start();
    let streams = RedisStreams::connect(&server.url()).await.unwrap();
    streams.append("s", &bytes(&["a"])).await.unwrap();
    streams.read("s", "g", "one", 10, SOON).await.unwrap();
    server.flush();
    assert!(streams.read("s", "g", "one", 10, SOON).await.unwrap().is_empty());
    streams.append("s", &bytes(&["b"])).await.unwrap();
    assert_eq!(said(&streams.read("s", "g", "one", 10, SOON).await.unwrap()), ["b"]);
}

#[tokio::test]
async fn a_server_that_died_is_found_again() {
    let mut server = TestRedis::with(&["--appendonly", "yes", "--appendfsync", "always"]);
    let streams = Arc::new(RedisStreams::connect(&server.url()).await.unwrap());
    streams.append("s", &bytes(&["a"])).await.unwrap();
    streams.read("s", "g", "one", 10, SOON).await.unwrap();
    server.kill();
    let error = streams.append("s", &bytes(&["lost"])).await.unwrap_err();
    assert_eq!(error.to_string(), "appending to the stream s");
    assert!(streams.read("s", "g", "one", 10, SOON).await.is_err());
    server.restart();
    streams.append("s", &bytes(&["b"])).await.unwrap();
    assert_eq!(said(&streams.claim("s", "g", "two", Duration::ZERO, 10).await.unwrap()), ["a"]);
    assert_eq!(said(&streams.read("s", "g", "one", 10, SOON).await.unwrap()), ["b"]);
}

#[tokio::test]
async fn a_server_that_would_drop_streams_is_refused() {
    for (policy, refused) in [("allkeys-lru", true), ("volatile-lru", false), ("noeviction", false)] {
        let server = TestRedis::with(&["--maxmemory", "100mb", "--maxmemory-policy", policy]);
        match RedisStreams::connect(&server.url()).await {
            Err(RedisError::Evicts(found)) => assert!(refused && found == policy, "{policy}"),
            Err(error) => panic!("{policy}: {error}"),
            Ok(_) => assert!(!refused, "{policy}"),
        }
    }
    for url in ["127.0.0.1:6379", "http://127.0.0.1:6379", "redis+sentinel://127.0.0.1:26379", "redis+x://h/"]
    {
        assert!(matches!(RedisStreams::connect(url).await, Err(RedisError::Url)), "{url}");
    }
}

#[tokio::test]
async fn a_full_server_refuses_and_loses_nothing() {
    let server = TestRedis::with(&["--maxmemory", "3mb", "--maxmemory-policy", "noeviction"]);
    let streams = RedisStreams::connect(&server.url()).await.unwrap();
    streams.append("s", &bytes(&["a"])).await.unwrap();
    // What it is just being told takes memory too: small entries at the end.
    for size in [100_000, 1_000, 10] {
        let mut told = 0;
        while streams.append("filler", &[vec![b'x'; size]]).await.is_ok() {
            told += 1;
            assert!(told < 100_000, "the server takes everything");
        }
    }
    assert!(streams.append("s", &bytes(&["b"])).await.is_err());
    assert_eq!(said(&streams.follow("s", EntryId::ZERO, 10, SOON).await.unwrap()), ["a"]);
    assert_eq!(server.ask(&["del", "filler"]), "1");
    streams.append("s", &bytes(&["b"])).await.unwrap();
    assert_eq!(said(&streams.follow("s", EntryId::ZERO, 10, SOON).await.unwrap()), ["a", "b"]);
}

#[tokio::test]
async fn a_cluster_of_servers_is_one() {
    let servers: Vec<TestRedis> = (0..3)
        .map(|_| TestRedis::with(&["--cluster-enabled", "yes", "--cluster-node-timeout", "2000"]))
        .collect();
    let hosts: Vec<String> = servers.iter().map(|server| format!("127.0.0.1:{}", server.port())).collect();
    let mut create = vec!["--cluster", "create"];
    create.extend(hosts.iter().map(String::as_str));
    create.push("--cluster-yes");
    let created = servers[0].ask(&create);
    assert!(created.contains("All 16384 slots covered"), "{created}");
    let deadline = Instant::now() + Duration::from_secs(20);
    while !servers.iter().all(|server| server.ask(&["cluster", "info"]).contains("cluster_state:ok")) {
        assert!(Instant::now() < deadline, "the cluster does not come together");
        tokio::time::sleep(SOON).await;
    }
    let streams = RedisStreams::connect(&format!("redis+cluster://{}", hosts.join(","))).await.unwrap();
    let names: Vec<String> = (0..12).map(|number| format!("s{number}")).collect();
    for name in &names {
        streams.append(name, &bytes(&["a", "b"])).await.unwrap();
    }
    for name in &names {
        let read = streams.read(name, "g", "one", 10, SOON).await.unwrap();
        assert_eq!(said(&read), ["a", "b"]);
        streams.acknowledge(name, "g", &ids(&read)).await.unwrap();
        assert_eq!(streams.trim(name).await.unwrap(), 2);
    }
    assert!(servers.iter().all(|server| server.ask(&["dbsize"]) != "0"), "every server has some");
}

#[tokio::test]
async fn whoever_the_sentinels_name_is_the_server() {
    let mut all = TestSentinels::start(2);
    let streams = RedisStreams::connect(&all.url()).await.unwrap();
    streams.append("s", &bytes(&["a"])).await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    while all.servers.iter().any(|server| server.ask(&["xlen", "s"]) != "1") {
        assert!(Instant::now() < deadline, "the replicas do not follow");
        tokio::time::sleep(SOON).await;
    }
    all.servers[0].kill();
    let began = Instant::now();
    while let Err(error) = streams.append("s", &bytes(&["b"])).await {
        assert!(began.elapsed() < Duration::from_secs(30), "{error:?}");
        tokio::time::sleep(SOON).await;
    }
    assert_eq!(said(&streams.follow("s", EntryId::ZERO, 10, SOON).await.unwrap()), ["a", "b"]);
}
