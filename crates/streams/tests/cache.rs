//! What a cache promises, asked of the memory of one process and of a Redis server.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::sync::Arc;

use app::cache::Cache;
use kernel::{ManualClock, SeededRng, Span, Timestamp};
use streams::{MemoryCache, RedisCache};
use testkit::TestRedis;

const KEEP: Span = Span::from_seconds(10);

/// Every question, of both.
macro_rules! asked_of_both {
    ($($question:ident),* $(,)?) => {
        mod memory {
            $(#[tokio::test]
            async fn $question() {
                let clock = super::clock();
                super::$question(&super::MemoryCache::new(clock.clone()), &clock).await;
            })*
        }
        mod redis {
            $(#[tokio::test]
            async fn $question() {
                let (server, clock) = (super::TestRedis::start(), super::clock());
                super::$question(&super::in_redis(&server, clock.clone()), &clock).await;
            })*
        }
    };
}

asked_of_both!(
    what_is_kept_is_found_until_its_time_is_over,
    an_event_makes_invalid_what_is_kept_under_its_tag,
    what_was_read_before_an_event_is_not_kept_after_it,
);

fn clock() -> Arc<ManualClock> {
    Arc::new(ManualClock::new(Timestamp::parse("2026-01-05T10:00:00Z").unwrap()))
}

fn in_redis(server: &TestRedis, clock: Arc<ManualClock>) -> RedisCache {
    RedisCache::new(&server.url(), clock, Arc::new(SeededRng::new(3))).unwrap()
}

async fn keep(cache: &dyn Cache, tag: &str, key: &str, answer: &str) {
    let mark = cache.mark(tag).await.unwrap();
    cache.put(tag, key, mark, answer, KEEP).await;
}

async fn what_is_kept_is_found_until_its_time_is_over(cache: &dyn Cache, clock: &ManualClock) {
    assert_eq!(cache.get("a", "one").await, None);
    keep(cache, "a", "one", "a text with spaces\nand lines").await;
    keep(cache, "a", "two", "").await;
    assert_eq!(cache.get("a", "one").await.unwrap(), "a text with spaces\nand lines");
    assert_eq!(cache.get("a", "two").await.unwrap(), "");
    assert_eq!(cache.get("a", "three").await, None);
    assert_eq!(cache.get("b", "one").await, None);
    clock.advance(KEEP);
    assert_eq!(cache.get("a", "one").await, None);
}

async fn an_event_makes_invalid_what_is_kept_under_its_tag(cache: &dyn Cache, _: &ManualClock) {
    keep(cache, "a", "one", "1").await;
    keep(cache, "b", "one", "2").await;
    cache.invalidate("a").await;
    assert_eq!(cache.get("a", "one").await, None);
    assert_eq!(cache.get("b", "one").await.unwrap(), "2");
    keep(cache, "a", "one", "3").await;
    assert_eq!(cache.get("a", "one").await.unwrap(), "3");
}

async fn what_was_read_before_an_event_is_not_kept_after_it(cache: &dyn Cache, _: &ManualClock) {
    let before = cache.mark("a").await.unwrap();
    cache.invalidate("a").await;
    cache.put("a", "one", before, "late", KEEP).await;
    assert_eq!(cache.get("a", "one").await, None);
    let after = cache.mark("a").await.unwrap();
    assert_ne!(before, after);
    assert_eq!(cache.get("a", "one").await, None, "nor when the tag is marked again");
}

#[tokio::test]
async fn a_server_that_forgets_or_is_away_keeps_nothing_and_fails_nobody() {
    let (mut server, clock) = (TestRedis::start(), clock());
    let cache = in_redis(&server, clock);
    keep(&cache, "a", "one", "1").await;
    let before = cache.mark("a").await.unwrap();
    server.flush();
    assert_eq!(cache.get("a", "one").await, None);
    cache.put("a", "one", before, "of another time", KEEP).await;
    assert_eq!(cache.get("a", "one").await, None);
    server.kill();
    assert_eq!(cache.get("a", "one").await, None);
    assert_eq!(cache.mark("a").await, None);
    cache.put("a", "one", before, "nobody hears it", KEEP).await;
    cache.invalidate("a").await;
    server.restart();
    keep(&cache, "a", "one", "2").await;
    assert_eq!(cache.get("a", "one").await.unwrap(), "2");
}
