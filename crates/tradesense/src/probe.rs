//! Asks the database and Redis for nothing, again and again, as whoever has a question does: how long that takes is known also when
//! nobody else asks.

use std::sync::Arc;
use std::time::Duration;

use app::streams::Streams;
use store::Store;
use tokio::sync::watch;
use workers::metrics::Watch;

/// Between two questions.
const PAUSE: Duration = Duration::from_secs(5);
/// What has not been answered by then counts as failed.
const LONGEST: Duration = Duration::from_secs(5);

/// Asks.
pub(crate) struct Probe {
    pub(crate) store: Arc<Store>,
    pub(crate) streams: Arc<dyn Streams>,
    pub(crate) watch: Watch,
}

impl Probe {
    /// Until it is to stop. `shared`: whether the streams are somebody else's, and not this process's memory.
    pub(crate) async fn run(self, shared: bool, mut stop: watch::Receiver<bool>) {
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.ask(shared) => {}
            }
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    async fn ask(&self, shared: bool) {
        let Watch { counted, clock } = &self.watch;
        for pool in self.store.pools() {
            let asked = clock.now();
            let given = self.store.wait_for_connection(pool.name).await;
            counted.pool_waits.add(&[pool.name], self.watch.since(asked), None);
            counted.pool_timeouts.add(&[pool.name], u64::from(!given), None);
        }
        let asked = clock.now();
        let answered = matches!(tokio::time::timeout(LONGEST, self.store.round_trip()).await, Ok(Ok(())));
        counted.round_trips.add(&["postgresql", outcome(answered)], self.watch.since(asked), None);
        if shared {
            let asked = clock.now();
            let answered = matches!(
                tokio::time::timeout(LONGEST, self.streams.last("tradesense:probe")).await,
                Ok(Ok(_))
            );
            counted.round_trips.add(&["redis", outcome(answered)], self.watch.since(asked), None);
        }
    }
}

const fn outcome(answered: bool) -> &'static str {
    if answered { "answered" } else { "failed" }
}
