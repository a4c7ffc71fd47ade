//! Reading from streaming replicas without ever showing somebody less than they have written themselves.
//!
//! A write can be followed by a token ([`Store::consistency_token`]): the place in the write-ahead log behind it. Whoever
//! hands the token in reads where everything up to that place is replayed, or on the primary. Without a token any replica
//! serves that is not behind by more than [`MOST_BEHIND`].
//!
//! How far a replica is behind is measured by places and not by its clock: the primary's place is noted with the time every
//! second ([`Replicas::check`]), and a replica is as old as the newest note that it has replayed. So an idle primary makes
//! nobody late, and a replica that lost its connection is late after the next write. One that failed, is late or is no replica any more
//! (it was promoted, and its history is its own from there on) is left out and looked at again with every check.

use std::collections::VecDeque;
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use app::{AppError, BoxError};
use futures_util::future::BoxFuture;
use kernel::{Clock, FirmId, Span, Timestamp};
use sqlx::{AssertSqlSafe, PgPool};

use crate::error::Doing;
use crate::pool::lazy_pool;
use crate::{Store, StoreError, Tx};

/// A replica that is further behind does not serve.
pub const MOST_BEHIND: Span = Span::from_seconds(5);
/// Notes of the primary's place are kept so long.
const NOTES: Span = Span::from_seconds(30);
/// A replica that has not answered a check by then is left out.
const LONGEST_CHECK: Duration = Duration::from_secs(1);
/// Whoever reads from a replica gets the answer from the primary if it has not come by then.
const LONGEST_READ: Duration = Duration::from_secs(5);

/// A place in the write-ahead log, opaque to whoever carries it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Token(i64);

impl fmt::Display for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// A text that is no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a Consistency-Token is 16 hex digits, as an answer carried it")]
pub struct NoToken;

impl FromStr for Token {
    type Err = NoToken;

    fn from_str(text: &str) -> Result<Self, NoToken> {
        let well_formed = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let place = well_formed.then(|| i64::from_str_radix(text, 16).ok()).flatten();
        place.map(Self).ok_or(NoToken)
    }
}

/// Why a replica serves or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// It serves.
    Serving,
    /// It does not answer, or failed.
    Away,
    /// It is further behind than [`MOST_BEHIND`].
    Late,
    /// It is no replica any more.
    Promoted,
}

impl Health {
    /// The word in metrics and logs.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Away => "away",
            Self::Late => "late",
            Self::Promoted => "promoted",
        }
    }
}

struct Replica {
    name: String,
    pool: PgPool,
    health: Mutex<Health>,
}

/// A primary and its replicas.
pub struct Replicas {
    primary: Arc<Store>,
    standbys: Vec<Replica>,
    clock: Arc<dyn Clock>,
    notes: Mutex<VecDeque<(Timestamp, i64)>>,
    next: AtomicUsize,
    by_standbys: AtomicUsize,
    by_primary: AtomicUsize,
}

impl fmt::Debug for Replicas {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Replicas").field("health", &self.health()).finish_non_exhaustive()
    }
}

/// Reads in a transaction; run again on another server if one fails.
pub type Read<T> = Box<dyn for<'t> Fn(&'t mut Tx) -> BoxFuture<'t, Result<T, AppError>> + Send + Sync>;

/// The last answer to where the primary's log ends. Whoever asks while somebody else does waits for the next answer and shares
/// it with all others who wait: one question at a time, however many write.
#[derive(Debug, Default)]
pub(crate) struct Place {
    asked: AtomicUsize,
    /// With how many had asked before the question that it answers.
    answer: tokio::sync::Mutex<(usize, i64)>,
}

impl Store {
    /// A token behind everything that was committed until now.
    pub async fn consistency_token(&self) -> Result<Token, AppError> {
        let own = self.place.asked.fetch_add(1, Ordering::SeqCst).wrapping_add(1);
        let mut answer = self.place.answer.lock().await;
        if answer.0 < own {
            let before = self.place.asked.load(Ordering::SeqCst);
            let place = primary_place(&self.app).await.doing("asking for the place in the log")?;
            *answer = (before, place);
        }
        Ok(Token(answer.1))
    }
}

async fn primary_place(pool: &PgPool) -> Result<i64, sqlx::Error> {
    sqlx::query_scalar!(r#"select pg_wal_lsn_diff(pg_current_wal_insert_lsn(), '0/0')::bigint as "place!""#)
        .fetch_one(pool)
        .await
}

impl Replicas {
    /// `urls`: of replicas, for the same login as the primary's, at most `connections` to each. Nobody is asked yet: they
    /// serve after the first [`Replicas::check`].
    pub fn new(
        primary: Arc<Store>,
        urls: &[String],
        connections: u32,
        clock: Arc<dyn Clock>,
    ) -> Result<Self, StoreError> {
        let standbys = urls.iter().map(|url| {
            let (name, pool) = lazy_pool(url, connections)?;
            Ok(Replica { name, pool, health: Mutex::new(Health::Away) })
        });
        Ok(Self {
            primary,
            standbys: standbys.collect::<Result<_, StoreError>>()?,
            clock,
            notes: Mutex::default(),
            next: AtomicUsize::new(0),
            by_standbys: AtomicUsize::new(0),
            by_primary: AtomicUsize::new(0),
        })
    }

    /// The primary.
    pub fn primary(&self) -> &Arc<Store> {
        &self.primary
    }

    /// Host and port of every replica, and how it was seen last.
    pub fn health(&self) -> Vec<(String, Health)> {
        self.standbys.iter().map(|replica| (replica.name.clone(), *lock(&replica.health))).collect()
    }

    /// Reads that replicas and that the primary answered.
    pub fn served(&self) -> (usize, usize) {
        (self.by_standbys.load(Ordering::Relaxed), self.by_primary.load(Ordering::Relaxed))
    }

    /// Looks at every server once; to be called every second.
    pub async fn check(&self) {
        let now = self.clock.now();
        // Without the primary nobody gets any later.
        if let Ok(Ok(place)) = tokio::time::timeout(LONGEST_CHECK, primary_place(&self.primary.app)).await {
            let mut notes = lock(&self.notes);
            notes.push_back((now, place));
            while notes.front().is_some_and(|(at, _)| now.since(*at).is_ok_and(|age| age > NOTES)) {
                notes.pop_front();
            }
        }
        let checks = self.standbys.iter().map(|replica| self.look_at(replica, now));
        futures_util::future::join_all(checks).await;
    }

    async fn look_at(&self, replica: &Replica, now: Timestamp) {
        let place = tokio::time::timeout(LONGEST_CHECK, replica_place(&replica.pool)).await;
        let health = match place {
            Ok(Ok(Some(replayed))) if self.is_late(replayed, now) => Health::Late,
            Ok(Ok(Some(_))) => Health::Serving,
            Ok(Ok(None)) => Health::Promoted,
            Ok(Err(_)) | Err(_) => Health::Away,
        };
        *lock(&replica.health) = health;
    }

    /// Whether there is a note older than [`MOST_BEHIND`] that the replica has not reached.
    fn is_late(&self, replayed: i64, now: Timestamp) -> bool {
        let notes = lock(&self.notes);
        notes.iter().any(|(at, place)| *place > replayed && now.since(*at).is_ok_and(|age| age > MOST_BEHIND))
    }

    /// Reads from a replica that serves and has replayed what the token stands for; from the primary if there is none, or if
    /// reading there failed. With what was read comes a token: whoever carries a lesser one misses nothing in it.
    pub async fn read<T: Send>(
        &self,
        firm: FirmId,
        token: Option<Token>,
        work: Read<T>,
    ) -> Result<(T, Token), AppError> {
        let first = self.next.fetch_add(1, Ordering::Relaxed);
        let count = self.standbys.len();
        for offset in 0..count {
            let index = first.wrapping_add(offset).checked_rem(count).unwrap_or_default();
            let Some(replica) = self.standbys.get(index) else { continue };
            if *lock(&replica.health) != Health::Serving {
                continue;
            }
            match tokio::time::timeout(LONGEST_READ, read_from(replica, firm, token, &work)).await {
                Ok(Ok(Some(read))) => {
                    self.by_standbys.fetch_add(1, Ordering::Relaxed);
                    return Ok(read);
                }
                // Not yet there: another may be.
                Ok(Ok(None)) => {}
                // What is refused everywhere is refused by the primary, too.
                Ok(Err(_)) | Err(_) => *lock(&replica.health) = Health::Away,
            }
        }
        self.by_primary.fetch_add(1, Ordering::Relaxed);
        let at = self.primary.consistency_token().await?;
        let mut tx = self.primary.begin(firm).await?;
        Ok((work(&mut tx).await?, at))
    }
}

/// Nothing if the replica has not replayed what the token stands for, or is none any more.
async fn read_from<T>(
    replica: &Replica,
    firm: FirmId,
    token: Option<Token>,
    work: &Read<T>,
) -> Result<Option<(T, Token)>, AppError> {
    let doing = "reading from a replica";
    // A firm's id prints as hex digits and hyphens only.
    let begin = format!("begin read only; select set_config('tradesense.firm', '{firm}', true)");
    let inner = replica.pool.begin_with(AssertSqlSafe(begin)).await.doing(doing)?;
    let mut tx = Tx::of(inner, firm);
    let place = place_in_tx(&mut tx).await.doing(doing)?;
    let Some(place) = place else {
        *lock(&replica.health) = Health::Promoted;
        return Ok(None);
    };
    if token.is_some_and(|token| place < token.0) {
        return Ok(None);
    }
    Ok(Some((work(&mut tx).await?, Token(place))))
}

/// Up to where a replica has replayed; nothing if it is none.
async fn place_in_tx(tx: &mut Tx) -> Result<Option<i64>, sqlx::Error> {
    sqlx::query_scalar!(
        "select case when pg_is_in_recovery() then pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint end"
    )
    .fetch_one(tx.connection())
    .await
}

async fn replica_place(pool: &PgPool) -> Result<Option<i64>, BoxError> {
    let place = sqlx::query_scalar!(
        "select case when pg_is_in_recovery() then pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint end"
    );
    Ok(place.fetch_one(pool).await?)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
