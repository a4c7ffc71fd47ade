//! Work that is done later, outside of the request that caused it: enqueued in the transaction of its cause, done by
//! whichever worker is free, again after a failure, and given up in the sight of the operators.
//!
//! A job waits, runs, and is then done, dead or cancelled. Whoever runs it holds a lease that is renewed while it runs;
//! when the lease runs out the job goes to somebody else under the next attempt, and the former holder can no longer say
//! what became of it. So a job runs at least once and never twice at the same time, as long as a worker stops what it has
//! lost; what a handler does must bear being done again.

use async_trait::async_trait;
use kernel::{FirmId, JobId, OwnerId, Span, Timestamp, name_based_uuid};
use serde::{Deserialize, Serialize};

use crate::{AppError, BoxError};

/// The first pause after a failure.
pub const FIRST_PAUSE: Span = Span::from_seconds(2);
/// Pauses grow no further than this.
pub const LONGEST_PAUSE: Span = Span::from_seconds(3_600);
/// The most attempts that a job may ask for.
pub const MOST_ATTEMPTS: i16 = 100;
/// Of an error's text so many characters are kept.
pub const MOST_ERROR: usize = 4_000;

/// What to do, and when.
#[derive(Debug, Clone, PartialEq)]
pub struct NewJob {
    /// Whose; nobody's for the platform's own work.
    pub firm: Option<FirmId>,
    /// Queues are paused and counted each for itself.
    pub queue: &'static str,
    /// Names the handler, such as `mail.send`.
    pub kind: &'static str,
    /// For the handler.
    pub payload: serde_json::Value,
    /// Not before.
    pub run_at: Timestamp,
    /// Lower ones first. A queue has few different ones: a claim looks at each.
    pub priority: i16,
    /// At most one waiting job has it.
    pub unique: Option<Unique>,
    /// Tried at most so often, from 1 to [`MOST_ATTEMPTS`]; then it is dead.
    pub most_attempts: i16,
}

/// A key that at most one waiting job of a firm and kind may have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unique {
    /// The key.
    pub key: String,
    /// What becomes of one that waits already.
    pub meeting: Meeting,
}

/// What becomes of a job that waits under the key of a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meeting {
    /// It stays as it is, the new one is dropped.
    Keep,
    /// It gets the new payload and stays where it is in time: many causes, one run.
    Replace,
    /// It gets the new payload and the new time: a run once it is quiet.
    Postpone,
}

impl Meeting {
    /// The word in rows.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Replace => "replace",
            Self::Postpone => "postpone",
        }
    }
}

/// A job in the hands of a worker.
#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    /// Which.
    pub id: JobId,
    /// Whose; nobody's for the platform's own work.
    pub firm: Option<FirmId>,
    /// Names the handler.
    pub kind: String,
    /// For the handler.
    pub payload: serde_json::Value,
    /// How often it was taken, this time included. With the id and the owner it guards the completion: whoever was too
    /// slow and lost the job to another attempt cannot complete it.
    pub attempt: i32,
}

/// Does jobs of one kind. May run twice for one job: a worker can die between the effect and its completion.
#[async_trait]
pub trait JobHandler: Send + Sync {
    /// The kind.
    fn kind(&self) -> &'static str;
    /// How long an attempt may take; then it is dropped where it stands and counts as failed.
    fn longest(&self) -> Span {
        Span::from_seconds(60)
    }
    /// Does it. Dropped at any await when the job is lost to another worker, cancelled, or has taken too long.
    async fn run(&self, job: &Job) -> Result<(), JobError>;
}

/// Why a job is not done.
#[derive(Debug, thiserror::Error)]
pub enum JobError {
    /// Again later: after `after`, or as the queue's own pauses grow.
    #[error("the attempt failed")]
    Again {
        /// No earlier than this.
        after: Option<Span>,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// Never again: it would fail the same way.
    #[error("the job cannot be done")]
    Never(#[source] BoxError),
    /// Not yet; costs no attempt.
    #[error("it is too early")]
    Later(Span),
}

impl From<AppError> for JobError {
    /// What the database or another part could not do now may be possible later; so may what a mistake of ours prevents,
    /// once it is mended. What was refused will be refused again.
    fn from(error: AppError) -> Self {
        match error {
            AppError::Unavailable { .. } | AppError::Bug { .. } => {
                Self::Again { after: None, source: Box::new(error) }
            }
            AppError::Unauthenticated
            | AppError::Forbidden
            | AppError::NotFound(_)
            | AppError::Invalid(_)
            | AppError::Refused { .. } => Self::Never(Box::new(error)),
        }
    }
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The job is done.
    Done,
    /// It failed and may be tried again.
    Again {
        /// No earlier than this.
        after: Option<Span>,
        /// Why, for operators.
        error: String,
    },
    /// It failed and would fail again.
    Never {
        /// Why, for operators.
        error: String,
    },
    /// It was too early; costs no attempt.
    Later(Span),
    /// It was dropped because somebody cancelled it.
    Stopped,
}

impl Outcome {
    /// Of what a handler says.
    pub fn of(said: Result<(), JobError>) -> Self {
        match said {
            Ok(()) => Self::Done,
            Err(JobError::Again { after, source }) => Self::Again { after, error: told(&*source) },
            Err(JobError::Never(source)) => Self::Never { error: told(&*source) },
            Err(JobError::Later(span)) => Self::Later(span),
        }
    }
}

/// An attempt that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The job.
    pub id: JobId,
    /// Its attempt.
    pub attempt: i32,
    /// How it ended.
    pub outcome: Outcome,
}

/// What is asked of a queue.
#[derive(Debug, Clone, Copy)]
pub struct Claim<'a> {
    /// The queue.
    pub queue: &'a str,
    /// At most so many jobs.
    pub most: usize,
    /// For whom.
    pub owner: OwnerId,
    /// Theirs for so long, on the store's clock, unless they renew it.
    pub lease: Span,
    /// Jobs that were due then.
    pub now: Timestamp,
}

/// What became of the leases that somebody wanted to renew; those in neither list are lost.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Renewed {
    /// Theirs for another length.
    pub kept: Vec<JobId>,
    /// The same, but somebody wants them to stop.
    pub stop: Vec<JobId>,
}

/// Where jobs wait. Leases are counted on the store's clock, everything else on the caller's.
#[async_trait]
pub trait JobStore: Send + Sync {
    /// Enqueues jobs that come out of no use case. Within one, enqueue in its transaction.
    async fn enqueue(&self, jobs: &[NewJob], at: Timestamp) -> Result<(), AppError>;
    /// Takes jobs that are due: by priority, then by time, then in the order in which they were enqueued.
    async fn claim(&self, claim: Claim<'_>) -> Result<Vec<Job>, AppError>;
    /// Prolongs leases of jobs under these attempts.
    async fn renew(&self, owner: OwnerId, held: &[(JobId, i32)], lease: Span) -> Result<Renewed, AppError>;
    /// Says how attempts ended. Gives the jobs that were still the owner's under these attempts; what is said of others
    /// is not heard.
    async fn settle(&self, owner: OwnerId, ended: &[Ended], at: Timestamp) -> Result<Vec<JobId>, AppError>;
    /// Ends the attempts whose leases ran out, because the worker died; gives their number.
    async fn reap(&self, at: Timestamp) -> Result<usize, AppError>;
}

/// An attempt as far as its end needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attempt {
    /// The job.
    pub job: JobId,
    /// How often it was taken.
    pub number: i32,
    /// Of these, how many cost nothing.
    pub spared: i32,
    /// How many may cost something.
    pub most: i16,
    /// Whether somebody wants it cancelled.
    pub stop: bool,
}

/// What comes after an attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum After {
    /// Nothing more to do.
    Done,
    /// Nothing more is wanted.
    Cancelled {
        /// Why the last attempt failed, if it did.
        error: Option<String>,
    },
    /// Another attempt from then on.
    Waiting {
        /// When.
        run_at: Timestamp,
        /// Why it failed; nothing if this attempt costs nothing.
        error: Option<String>,
    },
    /// Given up.
    Dead {
        /// Why.
        error: String,
    },
}

impl Attempt {
    /// What comes after it.
    pub fn after(&self, outcome: &Outcome, at: Timestamp) -> After {
        let later = |span| at.after(span).unwrap_or(at);
        match outcome {
            Outcome::Done => After::Done,
            Outcome::Stopped => After::Cancelled { error: None },
            Outcome::Never { error } => After::Dead { error: error.clone() },
            Outcome::Later(_) if self.stop => After::Cancelled { error: None },
            Outcome::Later(span) => After::Waiting { run_at: later(*span), error: None },
            Outcome::Again { error, .. } if self.stop => After::Cancelled { error: Some(error.clone()) },
            Outcome::Again { after, error } => {
                let failed = self.number.saturating_sub(self.spared);
                if failed >= i32::from(self.most) {
                    return After::Dead { error: error.clone() };
                }
                let run_at = later(after.unwrap_or_else(|| pause(self.job, failed)));
                After::Waiting { run_at, error: Some(error.clone()) }
            }
        }
    }
}

/// How long a job waits after so many failures: [`FIRST_PAUSE`], then twice as long each time, at most
/// [`LONGEST_PAUSE`]; each of them up to a fifth longer or shorter, so that what failed together does not come back
/// together. Always the same for one job and number.
pub fn pause(job: JobId, failures: i32) -> Span {
    let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or_default().min(30);
    let whole = FIRST_PAUSE.micros().saturating_mul(1_i64.checked_shl(doublings).unwrap_or(i64::MAX));
    let whole = whole.min(LONGEST_PAUSE.micros());
    let chance = name_based_uuid(&[b"pause", job.uuid().as_bytes(), &failures.to_be_bytes()]);
    let [first, second, ..] = *chance.as_bytes();
    // From 80 % to 120 %.
    let part = i64::from(u16::from_be_bytes([first, second]));
    let spread = whole.saturating_div(5);
    let offset = spread.saturating_mul(2).saturating_mul(part).saturating_div(65_535);
    Span::from_micros(whole.saturating_sub(spread).saturating_add(offset))
}

/// An error with its causes, for operators.
pub fn told(error: &(dyn std::error::Error + 'static)) -> String {
    shortened(&crate::with_causes(error))
}

/// As much of a text as is kept. PostgreSQL takes no NUL.
pub fn shortened(text: &str) -> String {
    text.chars().filter(|character| *character != '\0').take(MOST_ERROR).collect()
}

/// What an operator reads about a failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Which attempt.
    pub attempt: i32,
    /// When it ended.
    pub at: Timestamp,
    /// Why.
    pub error: String,
}

/// What is stored about schedules.
#[async_trait]
pub trait ScheduleStore: Send + Sync {
    /// Up to when each of these has fired; one that is new has fired up to `now`.
    async fn fired_until(&self, names: &[&str], now: Timestamp) -> Result<Vec<Timestamp>, AppError>;
    /// Enqueues a job for each instant, unless it was fired before, and remembers that the schedule is dealt with up to
    /// `until`, all of it only if the token is still that of the lease. Gives how many were new; nothing if somebody else leads.
    async fn fire(&self, firing: Firing<'_>) -> Result<Option<usize>, AppError>;
}

/// What a schedule is about to do.
#[derive(Debug, Clone, Copy)]
pub struct Firing<'a> {
    /// The lease of whoever fires schedules, see [`crate::leadership`].
    pub lease: &'a str,
    /// Its token.
    pub token: i64,
    /// The schedule.
    pub schedule: &'a str,
    /// For each instant its job.
    pub jobs: &'a [(Timestamp, NewJob)],
    /// Every instant up to this one is dealt with.
    pub until: Timestamp,
    /// The time now.
    pub at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(number: i32, spared: i32, most: i16) -> Attempt {
        Attempt { job: JobId::derived(&[b"one"]), number, spared, most, stop: false }
    }

    fn again(after: Option<Span>) -> Outcome {
        Outcome::Again { after, error: "no".to_owned() }
    }

    #[test]
    fn pauses_double_up_to_an_hour_and_no_two_jobs_keep_step() {
        let mut seen = std::collections::BTreeSet::new();
        for name in 0..50_u8 {
            let job = JobId::derived(&[&[name]]);
            for failures in 1..=40 {
                let doublings = u32::try_from(failures - 1).unwrap().min(30);
                let whole = (2_000_000_i64 << doublings).min(3_600_000_000);
                let pause = pause(job, failures).micros();
                assert!((whole * 8 / 10..=whole * 12 / 10).contains(&pause), "{failures}: {pause}");
                assert_eq!(pause, super::pause(job, failures).micros(), "the same every time");
            }
            seen.insert(pause(job, 1));
        }
        assert!(seen.len() > 45, "only {} different first pauses", seen.len());
    }

    #[test]
    fn attempts_that_cost_nothing_are_not_counted() {
        let at = Timestamp::parse("2026-01-05T10:00:00Z").unwrap();
        assert!(matches!(attempt(2, 0, 3).after(&again(None), at), After::Waiting { .. }));
        assert!(matches!(attempt(3, 0, 3).after(&again(None), at), After::Dead { .. }));
        assert!(matches!(attempt(9, 7, 3).after(&again(None), at), After::Waiting { .. }));
        let later = attempt(3, 0, 3).after(&Outcome::Later(Span::from_seconds(7)), at);
        let run_at = at.after(Span::from_seconds(7)).unwrap();
        assert_eq!(later, After::Waiting { run_at, error: None });
        let never = Outcome::Never { error: "no".to_owned() };
        assert_eq!(attempt(1, 0, 3).after(&never, at), After::Dead { error: "no".to_owned() });
    }

    #[test]
    fn a_handler_that_says_when_is_believed() {
        let at = Timestamp::parse("2026-01-05T10:00:00Z").unwrap();
        for seconds in [1, 7_200] {
            let after = Span::from_seconds(seconds);
            let run_at = at.after(after).unwrap();
            let next = attempt(1, 0, 3).after(&again(Some(after)), at);
            assert_eq!(next, After::Waiting { run_at, error: Some("no".to_owned()) });
        }
    }

    #[test]
    fn what_is_to_stop_is_not_tried_again() {
        let at = Timestamp::EPOCH;
        let attempt = Attempt { stop: true, ..attempt(1, 0, 3) };
        assert_eq!(attempt.after(&Outcome::Done, at), After::Done);
        assert_eq!(attempt.after(&again(None), at), After::Cancelled { error: Some("no".to_owned()) });
        assert_eq!(attempt.after(&Outcome::Later(Span::ZERO), at), After::Cancelled { error: None });
    }
}
