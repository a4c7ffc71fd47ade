//! What is kept in Redis for a while.

use std::sync::Arc;

use app::cache::{Cache, Mark};
use async_trait::async_trait;
use kernel::{Clock, Rng, Span, Timestamp};

use super::{RedisError, Server};

/// A tag is forgotten so long after it was last marked or written; nothing is kept for longer.
const REMEMBERED_SECONDS: i64 = 3_600;
/// The field of a tag's mark; those of answers begin with another letter.
const MARK: &str = "m";

/// A cache in Redis, which may forget anything at any moment: a tag is a hash with a mark of chance and its answers, each
/// behind the mark that the tag had before it was read, and good only while that is the tag's. A server that is away keeps
/// nothing.
pub struct RedisCache {
    server: Server,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
}

impl std::fmt::Debug for RedisCache {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RedisCache").finish_non_exhaustive()
    }
}

impl RedisCache {
    /// Nobody is asked yet: a cache that is away stops nothing.
    pub fn new(url: &str, clock: Arc<dyn Clock>, rng: Arc<dyn Rng>) -> Result<Self, RedisError> {
        Ok(Self { server: Server::at(url)?, clock, rng })
    }

    fn chance(&self) -> u64 {
        let mut bytes = [0; 8];
        self.rng.fill(&mut bytes);
        u64::from_le_bytes(bytes)
    }
}

fn name(tag: &str) -> String {
    format!("tradesense:cache:{tag}")
}

fn field(key: &str) -> String {
    format!("a{key}")
}

/// As an answer is kept: its mark, until when it is good, the answer.
fn kept(mark: Mark, until: Timestamp, answer: &str) -> String {
    format!("{:016x} {} {answer}", mark.0, until.micros())
}

fn read(kept: &str, mark: &str, now: Timestamp) -> Option<String> {
    let (own, rest) = kept.split_once(' ')?;
    let (until, answer) = rest.split_once(' ')?;
    let good = own == mark && now.micros() < until.parse().ok()?;
    good.then(|| answer.to_owned())
}

/// What the server said, or nothing: whoever asks goes on without it.
fn or_nothing<T>(answer: redis::RedisResult<T>) -> Option<T> {
    match answer {
        Ok(answer) => Some(answer),
        Err(error) => {
            let error: &dyn std::error::Error = &error;
            tracing::debug!(error, "the cache is away");
            None
        }
    }
}

#[async_trait]
impl Cache for RedisCache {
    async fn get(&self, tag: &str, key: &str) -> Option<String> {
        let mut command = redis::cmd("HMGET");
        command.arg(name(tag)).arg(MARK).arg(field(key));
        let found: (Option<String>, Option<String>) = or_nothing(self.server.ask(&command).await)?;
        let (mark, kept) = found.0.zip(found.1)?;
        read(&kept, &mark, self.clock.now())
    }

    async fn mark(&self, tag: &str) -> Option<Mark> {
        let (name, mut commands) = (name(tag), redis::pipe());
        commands.cmd("HSETNX").arg(&name).arg(MARK).arg(format!("{:016x}", self.chance())).ignore();
        commands.cmd("EXPIRE").arg(&name).arg(REMEMBERED_SECONDS).ignore();
        commands.cmd("HGET").arg(&name).arg(MARK);
        let (mark,): (String,) = or_nothing(self.server.ask_all(&commands).await)?;
        u64::from_str_radix(&mark, 16).ok().map(Mark)
    }

    async fn put(&self, tag: &str, key: &str, mark: Mark, answer: &str, keep: Span) {
        let keep = keep.min(Span::from_seconds(3_600));
        let Ok(until) = self.clock.now().after(keep) else { return };
        let (name, mut commands) = (name(tag), redis::pipe());
        commands.cmd("HSET").arg(&name).arg(field(key)).arg(kept(mark, until, answer)).ignore();
        commands.cmd("EXPIRE").arg(&name).arg(REMEMBERED_SECONDS).ignore();
        or_nothing::<()>(self.server.ask_all(&commands).await);
    }

    async fn invalidate(&self, tag: &str) {
        // What an answer is put in behind an older mark meanwhile is never good again.
        let mut command = redis::cmd("DEL");
        command.arg(name(tag));
        or_nothing::<()>(self.server.ask(&command).await);
    }
}
