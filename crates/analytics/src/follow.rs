//! Keeps the boards in memory as the rows are, and makes versions of the rows that are due.
//!
//! Rows are followed by the number of the change that wrote them, so it does not matter which process took the message. A
//! process that has just started follows from the first number; so does one that finds another version to be read, and it
//! shows the old boards until the new ones are complete.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use app::AppError;
use kernel::{AccountId, FirmId};
use store::analytics::{AfterScore, Period, ResultRow, ScoreRow, Standing, results_after, scores_after};
use tokio::sync::watch;

use crate::boards::{Boards, since};
use crate::calendar::day_of;
use crate::{Analytics, Freshness};

/// Rows read at once.
const PAGE: i64 = 10_000;
/// Accounts that are counted in one transaction while a version is made.
const CHUNK: i64 = 500;
/// Rows of an old version that are dropped in one transaction, of each table.
const DROPPED: i64 = 10_000;
/// Rows that are put onto the boards while nobody can read them.
const AT_ONCE: usize = 1_000;
/// Accounts that are looked at every second in search of what no message told.
const SWEPT: i64 = 2_000;
/// News are looked for so often, also if nobody rings.
const EVERY: Duration = Duration::from_secs(1);

/// However often somebody rings, they are so far apart.
const APART: Duration = Duration::from_millis(50);

/// Follows until the process stops.
pub async fn follow(analytics: Analytics, mut stopping: watch::Receiver<bool>) {
    let projected = Arc::clone(&analytics.projected);
    while !*stopping.borrow() {
        let rung = projected.notified();
        if let Err(error) = follow_once(&analytics).await {
            tracing::warn!(error = %app::with_causes(&error), "the boards could not be brought up to date");
        }
        tokio::time::sleep(APART).await;
        tokio::select! {
            () = rung => {}
            () = tokio::time::sleep(EVERY) => {}
            _ = stopping.changed() => {}
        }
    }
}

/// Makes versions that are due until the process stops, and makes good in between what no message told of.
pub async fn build(analytics: Analytics, mut stopping: watch::Receiver<bool>) {
    let mut swept = BTreeMap::new();
    while !*stopping.borrow() {
        if let Err(error) = build_once(&analytics, &stopping, &mut swept).await {
            tracing::warn!(error = %app::with_causes(&error), "a version of the read rows could not be made");
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stopping.changed() => {}
        }
    }
}

/// Looks at the replicas every second until the process stops.
pub async fn watch_replicas(analytics: Analytics, mut stopping: watch::Receiver<bool>) {
    while !*stopping.borrow() {
        analytics.replicas.check().await;
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stopping.changed() => {}
        }
    }
}

async fn build_once(
    analytics: &Analytics,
    stopping: &watch::Receiver<bool>,
    swept: &mut BTreeMap<FirmId, Option<AccountId>>,
) -> Result<(), AppError> {
    for Standing { firm, building, .. } in analytics.store.standings().await? {
        let mut done = !building;
        while !done && !*stopping.borrow() {
            done = analytics.store.rebuild_some(firm, CHUNK).await?;
        }
        while done && !*stopping.borrow() && !analytics.store.drop_old(firm, DROPPED).await? {}
        let through = swept.entry(firm).or_default();
        *through = analytics.store.project_behind(firm, *through, SWEPT).await?;
    }
    Ok(())
}

/// Brings the boards up to date once.
pub async fn follow_once(analytics: &Analytics) -> Result<(), AppError> {
    // Asked before the rows are read: what was taken by then is in them.
    let backlog = analytics.store.backlog(analytics.0.taken_through.load(Ordering::Relaxed)).await?;
    analytics.0.taken_through.store(backlog.taken_through, Ordering::Relaxed);
    let today = day_of(analytics.clock.now());
    let standings = analytics.store.standings().await?;
    for standing in &standings {
        let known = analytics.read_boards().get(&standing.firm).map(|boards| (boards.version, boards.change));
        match known {
            Some((version, change)) if version == standing.version => {
                if change < standing.change {
                    catch_up(analytics, *standing, change, today).await?;
                }
            }
            Some(_) | None => load(analytics, *standing, today).await?,
        }
    }
    let mut boards = analytics.write_boards();
    boards.retain(|firm, _| standings.iter().any(|standing| standing.firm == *firm));
    boards.values_mut().for_each(|boards| boards.forget(today));
    drop(boards);
    analytics.set_fresh(Freshness {
        as_of: backlog.waiting.map_or(backlog.now, |(_, at)| at),
        newest: backlog.newest,
        waiting: backlog.waiting.map(|(id, _)| id),
        count: backlog.count,
        found_at: backlog.now,
    });
    Ok(())
}

/// Loads a firm's boards beside those that are shown, and shows them.
async fn load(analytics: &Analytics, standing: Standing, today: i32) -> Result<(), AppError> {
    let mut boards = Boards::of_version(standing.version);
    // Accounts that come while these pages are read have a higher number and are followed the next time.
    let mut results = Results::after(0);
    while let Some(page) = results.next(analytics, standing).await? {
        for row in &page {
            boards.put_account(row);
        }
    }
    let mut scores = Scores::after(0);
    while let Some(page) = scores.next(analytics, standing, today).await? {
        for row in &page {
            boards.put_score(row, today);
        }
    }
    boards.change = standing.change;
    analytics.counted().loaded();
    analytics.write_boards().insert(standing.firm, boards);
    Ok(())
}

/// Puts what has changed onto the boards that are shown.
async fn catch_up(
    analytics: &Analytics,
    standing: Standing,
    change: i64,
    today: i32,
) -> Result<(), AppError> {
    let (mut score_rows, mut result_rows) = (Vec::new(), Vec::new());
    let mut scores = Scores::after(change);
    while let Some(page) = scores.next(analytics, standing, today).await? {
        score_rows.extend(page);
    }
    let mut results = Results::after(change);
    while let Some(page) = results.next(analytics, standing).await? {
        result_rows.extend(page);
    }
    analytics.counted().followed(score_rows.len());
    // Accounts before scores, so that every score has its account; in between others read.
    for rows in result_rows.chunks(AT_ONCE) {
        let mut all = analytics.write_boards();
        let Some(boards) = all.get_mut(&standing.firm) else { return Ok(()) };
        for row in rows {
            boards.put_account(row);
        }
    }
    for rows in score_rows.chunks(AT_ONCE) {
        let mut all = analytics.write_boards();
        let Some(boards) = all.get_mut(&standing.firm) else { return Ok(()) };
        for row in rows {
            boards.put_score(row, today);
        }
    }
    // What was written under a higher number meanwhile is read once more the next time.
    if let Some(boards) = analytics.write_boards().get_mut(&standing.firm) {
        boards.change = standing.change;
    }
    Ok(())
}

/// The pages of scores.
struct Scores(Option<AfterScore>);

impl Scores {
    fn after(change: i64) -> Self {
        Self(Some((change, last_account(), Period::Week, i32::from(i16::MAX))))
    }

    async fn next(
        &mut self,
        analytics: &Analytics,
        standing: Standing,
        today: i32,
    ) -> Result<Option<Vec<ScoreRow>>, AppError> {
        let Some(after) = self.0.take() else { return Ok(None) };
        let Standing { firm, version, .. } = standing;
        let mut tx = analytics.store.begin(firm).await?;
        let page = scores_after(&mut tx, version, after, since(today), PAGE).await?;
        if full(page.len()) {
            self.0 = page.last().map(|row| (row.change, row.account, row.period, row.starts));
        }
        Ok((!page.is_empty()).then_some(page))
    }
}

/// The pages of results.
struct Results(Option<(i64, AccountId)>);

impl Results {
    fn after(change: i64) -> Self {
        Self(Some((change, last_account())))
    }

    async fn next(
        &mut self,
        analytics: &Analytics,
        Standing { firm, version, .. }: Standing,
    ) -> Result<Option<Vec<ResultRow>>, AppError> {
        let Some(after) = self.0.take() else { return Ok(None) };
        let firm: FirmId = firm;
        let mut tx = analytics.store.begin(firm).await?;
        let page = results_after(&mut tx, version, after, PAGE).await?;
        if full(page.len()) {
            self.0 = page.last().map(|row| (row.change, row.account));
        }
        Ok((!page.is_empty()).then_some(page))
    }
}

fn full(rows: usize) -> bool {
    i64::try_from(rows).is_ok_and(|rows| rows >= PAGE)
}

/// Beyond every account of a change.
fn last_account() -> AccountId {
    AccountId::from_uuid(uuid::Uuid::max())
}
