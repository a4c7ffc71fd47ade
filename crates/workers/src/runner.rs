//! Runs jobs: claims what is due, does it side by side, keeps its leases, says what became of it.
//!
//! A job is dropped where it stands when its lease could not be renewed in time, so that whoever gets it next does not do
//! it beside us; when somebody cancelled it; and when it takes longer than its handler says.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use app::jobs::{Claim, Ended, Job, JobHandler, JobStore, Outcome, shortened};
use kernel::{Clock, JobId, OwnerId, Span};
use tokio::sync::{Notify, watch};
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::Instant;

use crate::as_error;

/// So long a job of a kind that nobody here knows is left to others, such as to a newer version.
const UNKNOWN_AFTER: Span = Span::from_seconds(60);
/// Pause after the store failed.
const AFTER_FAILURE: Duration = Duration::from_secs(1);
/// The most jobs of one claim.
const MOST_CLAIMED: usize = 200;

/// How a runner works.
#[derive(Debug, Clone, Copy)]
pub struct RunnerSettings {
    /// A lease that is not renewed for so long is another worker's to take. It is renewed three times as often.
    pub lease: Duration,
    /// An empty queue is asked again so soon.
    pub poll: Duration,
    /// What still runs so long after the runner is to stop is dropped and given back.
    pub drain: Duration,
}

impl Default for RunnerSettings {
    fn default() -> Self {
        Self {
            lease: Duration::from_secs(30),
            poll: Duration::from_millis(100),
            drain: Duration::from_secs(20),
        }
    }
}

/// Runs the jobs of some queues.
pub struct Runner {
    store: Arc<dyn JobStore>,
    clock: Arc<dyn Clock>,
    owner: OwnerId,
    settings: RunnerSettings,
    queues: Vec<(String, usize)>,
    handlers: BTreeMap<&'static str, Arc<dyn JobHandler>>,
    held: Mutex<BTreeMap<JobId, Held>>,
    nudged: Notify,
}

/// A job that runs here.
struct Held {
    attempt: i32,
    /// Nobody else has it before then.
    ours_until: Instant,
    task: AbortHandle,
    stopped: bool,
}

impl std::fmt::Debug for Runner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Runner").field("queues", &self.queues).finish_non_exhaustive()
    }
}

impl Runner {
    /// Runs jobs of these queues with these handlers, of each queue at most so many at once. `owner` is this runner's alone.
    pub fn new(
        store: Arc<dyn JobStore>,
        clock: Arc<dyn Clock>,
        owner: OwnerId,
        settings: RunnerSettings,
        queues: Vec<(String, usize)>,
        handlers: Vec<Arc<dyn JobHandler>>,
    ) -> Self {
        let handlers = handlers.into_iter().map(|handler| (handler.kind(), handler)).collect();
        let (held, nudged) = (Mutex::default(), Notify::new());
        Self { store, clock, owner, settings, queues, handlers, held, nudged }
    }

    /// Looks at the queues at once, because something was enqueued in this process.
    pub fn nudge(&self) {
        self.nudged.notify_waiters();
    }

    /// How many jobs run here.
    pub fn running(&self) -> usize {
        self.held().len()
    }

    /// Goes on until it is to stop; then claims nothing more, lets what runs end, and gives back what does not end in time.
    pub async fn run(self: Arc<Self>, stop: watch::Receiver<bool>) {
        let mut queues = JoinSet::new();
        for (queue, bound) in self.queues.clone() {
            queues.spawn(Arc::clone(&self).work(queue, bound, stop.clone()));
        }
        let (over, is_over) = watch::channel(false);
        let keeper = tokio::spawn(Arc::clone(&self).keep_leases(is_over.clone()));
        let reaper = tokio::spawn(Arc::clone(&self).reap(is_over));
        while let Some(ended) = queues.join_next().await {
            if let Err(error) = ended {
                tracing::error!(%error, "the work on a queue broke off");
            }
        }
        over.send_replace(true);
        for task in [keeper, reaper] {
            if let Err(error) = task.await {
                tracing::error!(%error, "the leases of jobs are no longer looked after");
            }
        }
    }

    /// One queue.
    async fn work(self: Arc<Self>, queue: String, bound: usize, mut stop: watch::Receiver<bool>) {
        let mut tasks: JoinSet<Outcome> = JoinSet::new();
        let mut jobs: BTreeMap<Id, (JobId, i32)> = BTreeMap::new();
        let mut ended: Vec<Ended> = Vec::new();
        let mut look_at = Instant::now();
        let mut give_back_at = None;
        loop {
            self.settle(&mut ended).await;
            let stopping = *stop.borrow_and_update();
            if stopping && give_back_at.is_none() {
                give_back_at = Instant::now().checked_add(self.settings.drain);
            }
            if stopping && jobs.is_empty() && ended.is_empty() {
                return;
            }
            let free = bound.saturating_sub(jobs.len()).min(MOST_CLAIMED);
            if !stopping && ended.is_empty() && free > 0 && look_at <= Instant::now() {
                let claimed = self.claim(&queue, free, &mut tasks, &mut jobs).await;
                let pause = match claimed {
                    Some(claimed) if claimed >= free => Duration::ZERO,
                    Some(_) => self.settings.poll,
                    None => AFTER_FAILURE,
                };
                look_at = Instant::now().checked_add(pause).unwrap_or(look_at);
            }
            let full = jobs.len() >= bound;
            let retry_at = Instant::now().checked_add(AFTER_FAILURE).unwrap_or(look_at);
            tokio::select! {
                Some(result) = tasks.join_next_with_id() => {
                    self.take_end(result, &mut jobs, &mut ended);
                    // Others that ended meanwhile are settled together with it.
                    tokio::task::yield_now().await;
                    while let Some(result) = tasks.try_join_next_with_id() {
                        self.take_end(result, &mut jobs, &mut ended);
                    }
                }
                () = tokio::time::sleep_until(look_at), if !stopping && !full && ended.is_empty() => {}
                () = tokio::time::sleep_until(retry_at), if !ended.is_empty() => {}
                () = self.nudged.notified(), if !stopping && !full => look_at = Instant::now(),
                () = until(give_back_at), if stopping && !tasks.is_empty() => {
                    tracing::warn!(queue, jobs = jobs.len(), "jobs did not end in time and are given back");
                    give_back(&mut tasks, &mut jobs, &mut ended).await;
                    self.forget(&ended);
                }
                changed = stop.changed(), if !stopping => {
                    if changed.is_err() {
                        // Nobody can ask any more, so nobody waits for us either.
                        return;
                    }
                }
            }
        }
    }

    /// Claims and starts; gives how many, or nothing if the store failed.
    async fn claim(
        self: &Arc<Self>,
        queue: &str,
        most: usize,
        tasks: &mut JoinSet<Outcome>,
        jobs: &mut BTreeMap<Id, (JobId, i32)>,
    ) -> Option<usize> {
        let asked_at = Instant::now();
        let ours_until = asked_at.checked_add(self.settings.lease).unwrap_or(asked_at);
        let lease = Span::from(self.settings.lease);
        let claim = Claim { queue, most, owner: self.owner, lease, now: self.clock.now() };
        let claimed = match self.store.claim(claim).await {
            Ok(claimed) => claimed,
            Err(error) => {
                tracing::warn!(error = as_error(&error), queue, "jobs could not be claimed; trying again");
                return None;
            }
        };
        let count = claimed.len();
        for job in claimed {
            let (id, attempt) = (job.id, job.attempt);
            let handler = self.handlers.get(job.kind.as_str()).map(Arc::clone);
            // The lock is held so that the keeper does not see the leases without this job.
            let mut held = self.held();
            let task = tasks.spawn(attempted(handler, job));
            jobs.insert(task.id(), (id, attempt));
            held.insert(id, Held { attempt, ours_until, task, stopped: false });
        }
        Some(count)
    }

    fn take_end(
        &self,
        result: Result<(Id, Outcome), JoinError>,
        jobs: &mut BTreeMap<Id, (JobId, i32)>,
        ended: &mut Vec<Ended>,
    ) {
        let (task, outcome) = match result {
            Ok((task, outcome)) => (task, Some(outcome)),
            Err(error) if error.is_panic() => {
                let task = error.id();
                let error = shortened(&format!("the handler panicked: {}", said(error.into_panic())));
                (task, Some(Outcome::Again { after: None, error }))
            }
            Err(error) => (error.id(), None),
        };
        let Some((id, attempt)) = jobs.remove(&task) else { return };
        let stopped = self.held().remove(&id).is_some_and(|held| held.stopped);
        match outcome {
            Some(outcome) => ended.push(Ended { id, attempt, outcome }),
            None if stopped => ended.push(Ended { id, attempt, outcome: Outcome::Stopped }),
            None => tracing::warn!(job = %id, attempt, "the job was lost to another worker and dropped"),
        }
    }

    fn forget(&self, ended: &[Ended]) {
        let mut held = self.held();
        for Ended { id, .. } in ended {
            held.remove(id);
        }
    }

    /// Says what became of attempts. What could not be said stays to be said.
    async fn settle(&self, ended: &mut Vec<Ended>) {
        if ended.is_empty() {
            return;
        }
        match self.store.settle(self.owner, ended, self.clock.now()).await {
            Ok(settled) => {
                for Ended { id, attempt, .. } in ended.drain(..) {
                    if !settled.contains(&id) {
                        tracing::warn!(job = %id, attempt, "the job ended after it was lost to another worker");
                    }
                }
            }
            Err(error) => {
                tracing::warn!(
                    error = as_error(&error),
                    jobs = ended.len(),
                    "jobs could not be settled; trying again"
                );
            }
        }
    }

    /// Renews the leases of what runs; drops what is lost or is to stop.
    async fn keep_leases(self: Arc<Self>, mut over: watch::Receiver<bool>) {
        let third = self.settings.lease.checked_div(3).unwrap_or(self.settings.lease);
        let mut rounds = tokio::time::interval(third);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = over.wait_for(|over| *over) => return,
                _ = rounds.tick() => {}
            }
            let asked: Vec<(JobId, i32)> = self.held().iter().map(|(id, held)| (*id, held.attempt)).collect();
            if asked.is_empty() {
                continue;
            }
            let asked_at = Instant::now();
            let ours_until = asked_at.checked_add(self.settings.lease).unwrap_or(asked_at);
            let renewing = self.store.renew(self.owner, &asked, self.settings.lease.into());
            match tokio::time::timeout(third, renewing).await {
                Ok(Ok(renewed)) => {
                    let mut held = self.held();
                    for (id, attempt) in asked {
                        let Some(held) = held.get_mut(&id).filter(|held| held.attempt == attempt) else {
                            continue;
                        };
                        held.ours_until = ours_until;
                        if renewed.stop.contains(&id) {
                            held.stopped = true;
                        }
                        if !renewed.kept.contains(&id) {
                            held.task.abort();
                        }
                    }
                }
                Ok(Err(error)) => {
                    tracing::warn!(
                        error = as_error(&error),
                        "the leases of jobs could not be renewed; trying again"
                    );
                }
                Err(_) => tracing::warn!("the leases of jobs could not be renewed in time; trying again"),
            }
            // What could not be renewed is dropped a round before somebody else may have it.
            let soon = Instant::now().checked_add(third).unwrap_or(asked_at);
            for (id, held) in self.held().iter().filter(|(_, held)| held.ours_until <= soon) {
                tracing::warn!(job = %id, "the lease of a job is running out; it is dropped");
                held.task.abort();
            }
        }
    }

    /// Ends the attempts of workers that died.
    async fn reap(self: Arc<Self>, mut over: watch::Receiver<bool>) {
        let mut rounds =
            tokio::time::interval(self.settings.lease.checked_div(6).unwrap_or(self.settings.lease));
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = over.wait_for(|over| *over) => return,
                _ = rounds.tick() => {}
            }
            match self.store.reap(self.clock.now()).await {
                Ok(0) => {}
                Ok(jobs) => {
                    tracing::warn!(jobs, "the leases of jobs ran out; they are tried again or given up");
                    self.nudge();
                }
                Err(error) => {
                    tracing::warn!(
                        error = as_error(&error),
                        "jobs of dead workers could not be looked for; trying again"
                    );
                }
            }
        }
    }

    fn held(&self) -> MutexGuard<'_, BTreeMap<JobId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One attempt.
async fn attempted(handler: Option<Arc<dyn JobHandler>>, job: Job) -> Outcome {
    let Some(handler) = handler else {
        tracing::warn!(job = %job.id, kind = job.kind, "nobody here does jobs of this kind");
        return Outcome::Later(UNKNOWN_AFTER);
    };
    let longest = Duration::from(handler.longest());
    match tokio::time::timeout(longest, handler.run(&job)).await {
        Ok(said) => Outcome::of(said),
        Err(_) => {
            Outcome::Again { after: None, error: format!("it took longer than {} s", longest.as_secs()) }
        }
    }
}

/// Drops what runs. What ended meanwhile has ended as it did.
async fn give_back(
    tasks: &mut JoinSet<Outcome>,
    jobs: &mut BTreeMap<Id, (JobId, i32)>,
    ended: &mut Vec<Ended>,
) {
    tasks.abort_all();
    while let Some(result) = tasks.join_next_with_id().await {
        if let Ok((task, outcome)) = result
            && let Some((id, attempt)) = jobs.remove(&task)
        {
            ended.push(Ended { id, attempt, outcome });
        }
    }
    for (id, attempt) in std::mem::take(jobs).into_values() {
        ended.push(Ended { id, attempt, outcome: Outcome::Later(Span::ZERO) });
    }
}

async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// The words of a panic.
fn said(panic: Box<dyn std::any::Any + Send>) -> String {
    match panic.downcast::<String>() {
        Ok(text) => *text,
        Err(panic) => {
            panic.downcast::<&str>().map_or_else(|_| "no text".to_owned(), |text| (*text).to_owned())
        }
    }
}
