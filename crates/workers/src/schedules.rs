//! Jobs that come by the clock: one process fires every schedule, and whatever it and its successors do, an instant is fired
//! at most once.
//!
//! The expressions are cron's five fields, read in an IANA zone. Where the hour is fixed, as in `30 2 * * *`, a day has
//! that instant once: when the clocks are set forward over it, it comes that much later; when they are set back over it, it comes
//! the first time. Where the hour begins with `*`, as in `0 * * * *`, what counts is the time that passes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use app::AppError;
use app::jobs::{Firing, Meeting, NewJob, ScheduleStore, Unique};
use app::upkeep::Upkeep;
use cronexpr::{Crontab, MakeTimestamp};
use jiff::tz::TimeZone;
use kernel::{Clock, Span, Timestamp};
use tokio::sync::watch;

use crate::as_error;
use crate::leader::{Leads, led, lost};
use crate::upkeep;

/// The lease of whoever fires.
pub const LEASE: &str = "schedules";
/// What is due is looked for this often.
const ROUND: Duration = Duration::from_secs(1);
/// An instant that lies further back was missed.
const MISSED_AFTER: Span = Span::from_seconds(120);
/// Clocks are set forward and back by no more than so many hours.
const MOST_SHIFT_HOURS: i64 = 3;

/// What becomes of instants that were missed while nobody fired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CatchUp {
    /// They are let pass.
    Skip,
    /// The last one stands for all.
    Once,
    /// Each is fired, but only the last so many.
    All(usize),
}

/// When, of a schedule.
#[derive(Debug, Clone)]
struct When {
    crontab: Crontab,
    zone: TimeZone,
    /// Whether the hour is fixed, so that the expression is read on a clock on the wall.
    by_the_wall: bool,
}

/// A text that is not cron's, or a zone that nobody knows.
#[derive(Debug, thiserror::Error)]
#[error("{expression:?} in {zone:?} is no schedule: {say}")]
pub struct NoSchedule {
    expression: String,
    zone: String,
    say: String,
}

/// A job that comes by the clock.
#[derive(Debug, Clone)]
pub struct Schedule {
    name: &'static str,
    when: When,
    catch_up: CatchUp,
    queue: &'static str,
    kind: &'static str,
    payload: serde_json::Value,
    most_attempts: i16,
}

impl Schedule {
    /// A schedule with cron's five fields in a zone, whose jobs have a kind and this payload (an object), to which the instant is
    /// added as `instant`. Unless every instant counts, at most one of its jobs waits.
    pub fn new(
        name: &'static str,
        expression: &str,
        zone: &str,
        catch_up: CatchUp,
        (queue, kind): (&'static str, &'static str),
        payload: serde_json::Value,
    ) -> Result<Self, NoSchedule> {
        let when = When::parse(expression, zone).map_err(|say| NoSchedule {
            expression: expression.to_owned(),
            zone: zone.to_owned(),
            say,
        })?;
        Ok(Self { name, when, catch_up, queue, kind, payload, most_attempts: 10 })
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The first instant after `after`.
    pub fn next(&self, after: Timestamp) -> Result<Timestamp, AppError> {
        let doing = "looking for the next instant of a schedule";
        self.when.next(after).map_err(|say| AppError::bug(doing)(say.into()))
    }

    /// What is to be fired of what fell due after `fired_until` up to `now`.
    pub fn due(&self, fired_until: Timestamp, now: Timestamp) -> Result<Vec<Timestamp>, AppError> {
        let most = match self.catch_up {
            CatchUp::Skip => usize::MAX,
            CatchUp::Once => 1,
            CatchUp::All(most) => most,
        };
        let recent = now.before(MISSED_AFTER).unwrap_or(now);
        let mut after = if self.catch_up == CatchUp::Skip { fired_until.max(recent) } else { fired_until };
        let mut due = VecDeque::new();
        loop {
            let next = self.next(after)?;
            if next > now {
                return Ok(due.into());
            }
            if due.len() >= most {
                due.pop_front();
            }
            due.push_back(next);
            after = next;
        }
    }

    fn job(&self, instant: Timestamp, at: Timestamp) -> NewJob {
        let mut payload = self.payload.clone();
        if let Some(fields) = payload.as_object_mut() {
            fields.insert("instant".to_owned(), instant.to_string().into());
        }
        let unique = Unique { key: self.name.to_owned(), meeting: Meeting::Keep };
        NewJob {
            firm: None,
            queue: self.queue,
            kind: self.kind,
            payload,
            run_at: at,
            priority: 0,
            unique: (!matches!(self.catch_up, CatchUp::All(_))).then_some(unique),
            most_attempts: self.most_attempts,
        }
    }
}

impl When {
    fn parse(expression: &str, zone: &str) -> Result<Self, String> {
        let fields: Vec<&str> = expression.split_whitespace().collect();
        let [_, hour, _, _, _] = fields.as_slice() else {
            return Err("it has not five fields".to_owned());
        };
        let by_the_wall = !hour.starts_with('*');
        // Read on the wall, an expression knows nothing of the zone.
        let read_in = if by_the_wall { "UTC" } else { zone };
        let crontab =
            cronexpr::parse_crontab(&format!("{expression} {read_in}")).map_err(|error| error.to_string())?;
        let zone = TimeZone::get(zone).map_err(|error| error.to_string())?;
        Ok(Self { crontab, zone, by_the_wall })
    }

    fn next(&self, after: Timestamp) -> Result<Timestamp, String> {
        let after = jiff::Timestamp::from_microsecond(after.micros()).map_err(|error| error.to_string())?;
        if !self.by_the_wall {
            let next = self.crontab.find_next(MakeTimestamp(after)).map_err(|error| error.to_string())?;
            return Ok(Timestamp::from_micros(next.timestamp().as_microsecond()));
        }
        // The clock on the wall, as if it hung in Greenwich; some hours earlier, because it may have been set since.
        let wall = after.to_zoned(self.zone.clone()).datetime();
        let wall = wall.to_zoned(TimeZone::UTC).map_err(|error| error.to_string())?.timestamp();
        let mut from = wall
            .checked_sub(jiff::SignedDuration::from_hours(MOST_SHIFT_HOURS))
            .map_err(|error| error.to_string())?;
        loop {
            let next = self.crontab.find_next(MakeTimestamp(from)).map_err(|error| error.to_string())?;
            from = next.timestamp();
            let instant = self.zone.to_ambiguous_timestamp(next.datetime());
            let instant = instant.compatible().map_err(|error| error.to_string())?;
            if instant > after {
                return Ok(Timestamp::from_micros(instant.as_microsecond()));
            }
        }
    }
}

/// Fires schedules.
pub struct Schedules {
    store: Arc<dyn ScheduleStore>,
    clock: Arc<dyn Clock>,
    all: Vec<Schedule>,
}

impl std::fmt::Debug for Schedules {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Schedules").field("all", &self.all).finish_non_exhaustive()
    }
}

impl Schedules {
    /// Fires these, each under a name of its own.
    pub fn new(store: Arc<dyn ScheduleStore>, clock: Arc<dyn Clock>, schedules: Vec<Schedule>) -> Self {
        Self { store, clock, all: schedules }
    }

    /// Fires while it has the lease [`LEASE`], until it is to stop.
    pub async fn run(self, mut leads: Leads, mut stop: watch::Receiver<bool>) {
        while let Some(token) = led(&mut leads, LEASE, &mut stop).await {
            tracing::info!(token, "this process fires the schedules");
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = lost(&mut leads, LEASE, token) => {}
                () = self.fire_under(token) => {}
            }
        }
    }

    /// Goes on until somebody else fires.
    async fn fire_under(&self, token: i64) {
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            rounds.tick().await;
            match self.round(token).await {
                Ok(Some(_)) => {}
                Ok(None) => {
                    // The lease tells it soon.
                    tracing::warn!(token, "another process fires the schedules");
                    tokio::time::sleep(ROUND).await;
                    return;
                }
                Err(error) => {
                    tracing::warn!(error = as_error(&error), "schedules could not be fired; trying again");
                }
            }
        }
    }

    /// Fires what is due, under the token of a lease; gives how many jobs it enqueued, or nothing if somebody else has the lease.
    pub async fn round(&self, token: i64) -> Result<Option<usize>, AppError> {
        let now = self.clock.now();
        let names: Vec<&str> = self.all.iter().map(|schedule| schedule.name).collect();
        let fired_until = self.store.fired_until(&names, now).await?;
        let mut enqueued = 0_usize;
        for (schedule, fired_until) in self.all.iter().zip(fired_until) {
            // After a clock that was ahead, what it fired ahead of time is not fired again, and everything else is as the
            // clock says now.
            let due = schedule.due(fired_until, now)?;
            if due.is_empty() && fired_until <= now {
                continue;
            }
            let jobs: Vec<_> = due.into_iter().map(|instant| (instant, schedule.job(instant, now))).collect();
            let firing =
                Firing { lease: LEASE, token, schedule: schedule.name, jobs: &jobs, until: now, at: now };
            match self.store.fire(firing).await? {
                Some(new) => enqueued = enqueued.saturating_add(new),
                None => return Ok(None),
            }
        }
        Ok(Some(enqueued))
    }
}

/// What the platform does for itself, by the clock of Greenwich.
pub fn platform() -> Result<Vec<Schedule>, NoSchedule> {
    let removing = |name, expression: &str, what: Upkeep| {
        let payload = serde_json::json!({ "remove": what.word() });
        Schedule::new(name, expression, "UTC", CatchUp::Once, (upkeep::QUEUE, upkeep::KIND), payload)
    };
    Ok(vec![
        removing("remove-sessions", "7 * * * *", Upkeep::Sessions)?,
        removing("remove-jobs", "17 * * * *", Upkeep::Jobs)?,
        removing("remove-outbox", "37 * * * *", Upkeep::Outbox)?,
        removing("remove-firings", "47 3 * * *", Upkeep::Firings)?,
        removing("remove-measurements", "27 4 * * *", Upkeep::Measurements)?,
        removing("remove-refused-quotes", "33 4 * * *", Upkeep::RefusedQuotes)?,
        removing("remove-provider-notices", "41 4 * * *", Upkeep::ProviderNotices)?,
    ])
}
