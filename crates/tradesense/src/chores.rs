//! What a platform does by the clock and by what it finds in its tables: opens paid challenges, tells calendars, makes receipts,
//! stores latencies, keeps the quote log small.

use std::sync::Arc;
use std::time::Duration;

use app::latency::Meter;
use app::receipts::Issuer;
use app::trading::{Origin, ShardStore as _};
use providers::quote_log::Keeper;
use store::Store;
use tokio::sync::watch;
use web::Web;

/// Paid challenges without an account are looked for this often, beside the call when one is paid.
const OPENER_PERIOD: Duration = Duration::from_secs(2);
/// Accounts that know an old calendar are looked for this often, beside the call when one changes.
const TELLER_PERIOD: Duration = Duration::from_secs(2);
/// Verdicts without a receipt are looked for this often, beside the call when one is stored.
const RECEIPT_PERIOD: Duration = Duration::from_secs(5);
/// The quote log is archived and kept small this often.
const KEEPER_PERIOD: Duration = Duration::from_mins(1);
/// Challenges opened in one go.
const MOST_TO_OPEN: i64 = 500;
/// Latencies by account are stored this often.
const LATENCIES_EVERY: Duration = Duration::from_secs(5);

/// Stores latencies by account until there can be no more.
pub(crate) async fn store_latencies(meter: Meter, store: Arc<Store>, mut stop: watch::Receiver<bool>) {
    loop {
        let stopped = tokio::select! {
            () = tokio::time::sleep(LATENCIES_EVERY) => false,
            _ = stop.wait_for(|stop| *stop) => true,
        };
        if let Err(error) = meter.store(&*store).await {
            let error: &dyn std::error::Error = &error;
            tracing::warn!(error, "latencies could not be stored; they are kept for later");
        }
        if stopped {
            return;
        }
    }
}

/// Archives the quote log, keeps it small and tells how large it is, until the platform stops.
pub(crate) async fn keep_quotes(mut keeper: Keeper, web: Web, mut stop: watch::Receiver<bool>) {
    loop {
        match web.store.first_needed_quote().await {
            Ok(needed) => {
                let now = web.clock.now();
                // Waits for the disk.
                let round = tokio::task::spawn_blocking(move || {
                    let kept = keeper.keep(needed, now);
                    (keeper, kept)
                });
                let Ok((back, kept)) = round.await else { return };
                keeper = back;
                match kept {
                    Ok(kept) => web.quote_log.set(kept.bytes, kept.segments),
                    Err(error) => {
                        let error: &dyn std::error::Error = &error;
                        tracing::error!(
                            error,
                            "the quote log could not be archived or kept small; trying again"
                        );
                    }
                }
            }
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "reading which quotes are needed failed; trying again");
            }
        }
        tokio::select! {
            () = tokio::time::sleep(KEEPER_PERIOD) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Makes receipts until the platform stops; what is due then is made by the next start.
pub(crate) async fn issue_receipts(issuer: Issuer, mut stop: watch::Receiver<bool>) {
    tokio::select! {
        () = issuer.run(tokio::time::interval(RECEIPT_PERIOD)) => {}
        _ = stop.wait_for(|stop| *stop) => {}
    }
}

/// Opens the account of every paid challenge that has none. Needs no message: whatever was lost or died halfway is
/// found in the table.
pub(crate) async fn open_paid_challenges(web: Web) {
    let mut stop = web.stopping.clone();
    loop {
        if let Err(error) = open_all(&web).await {
            let error: &dyn std::error::Error = &error;
            tracing::error!(error, "opening the accounts of paid challenges failed; trying again");
        }
        tokio::select! {
            () = web.purchase_paid.notified() => {}
            () = tokio::time::sleep(OPENER_PERIOD) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

async fn open_all(web: &Web) -> Result<(), app::AppError> {
    for unopened in web.purchases.unopened(MOST_TO_OPEN).await? {
        let challenge = unopened.challenge;
        let submitted = web.desk.submit(unopened.command()?, Origin::PLATFORM).await?;
        match submitted.outcome {
            Ok(_) => {
                tracing::info!(%challenge, "challenge opened");
                web.calendar_changed.notify_one();
            }
            // The others must not wait for this one.
            Err(refusal) => tracing::error!(%challenge, %refusal, "a paid challenge cannot be opened"),
        }
    }
    Ok(())
}

/// Tells every account whose rules ask for it the calendar of its firm. Needs no message: whoever knows an old one, or
/// none because it has just opened, is found in the table.
pub(crate) async fn tell_calendars(web: Web) {
    let mut stop = web.stopping.clone();
    loop {
        let told = match web.releases.tell(&web.desk).await {
            Ok(told) => told,
            Err(error) => {
                let error: &dyn std::error::Error = &error;
                tracing::error!(error, "telling accounts of their calendar failed; trying again");
                0
            }
        };
        if *stop.borrow() {
            return;
        }
        // More may wait than a round takes.
        if told >= app::releases::A_ROUND {
            continue;
        }
        tokio::select! {
            () = web.calendar_changed.notified() => {}
            () = tokio::time::sleep(TELLER_PERIOD) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}
