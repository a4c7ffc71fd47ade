//! One of several processes feeds quotes: whoever holds the lease.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use app::market::MarketHub;
use app::streams::EntryId;
use app::trading::{Sequencer, ShardStore as _, SharedQuoteLog, caught_up, repeat};
use engine::Instruments;
use kernel::Clock;
use store::Store;
use tokio::sync::watch;
use workers::leader::{Leads, led, lost};

use crate::market;
use crate::platform::Shared;

/// The lease of whoever feeds.
pub const LEASE: &str = "feed";
/// Pause after a failure.
const AFTER_FAILURE: Duration = Duration::from_secs(1);

/// Feeds quotes while it is this process' turn.
pub(crate) struct Feeder {
    pub shared: Shared,
    pub instruments: Arc<Instruments>,
    pub clock: Arc<dyn Clock>,
    pub store: Arc<Store>,
    /// This process' copy of what was fed.
    pub log: SharedQuoteLog,
    pub hub: Arc<MarketHub>,
    /// How far the copy is.
    pub place: watch::Receiver<EntryId>,
}

impl Feeder {
    /// Feeds whenever it is its turn, until it is to stop.
    pub async fn run(self, mut leads: Leads, mut stop: watch::Receiver<bool>) {
        while let Some(token) = led(&mut leads, LEASE, &mut stop).await {
            let fed = tokio::select! {
                fed = self.feed(token, stop.clone()) => fed,
                () = lost(&mut leads, LEASE, token) => Ok(()),
            };
            if let Err(error) = fed {
                let error: &(dyn std::error::Error + Send + Sync) = error.as_ref();
                tracing::error!(error, "feeding quotes failed; trying again");
                tokio::time::sleep(AFTER_FAILURE).await;
            }
        }
    }

    async fn feed(&self, token: i64, stop: watch::Receiver<bool>) -> anyhow::Result<()> {
        let streams = &self.shared.streams;
        caught_up(&**streams, self.place.clone()).await?;
        let committed = self.store.quote_position().await.context("reading the shards")?;
        let sequencer = Sequencer::feeding(
            Arc::clone(&self.instruments),
            Arc::clone(&self.clock),
            &self.log,
            committed,
            &self.hub,
            (Arc::clone(streams), token),
        );
        let latest = self.hub.quotes();
        let (began, now) = (self.shared.market_began, self.clock.now());
        let feeds = market::feeds(&self.shared.market, &self.instruments, &latest, began, now)?;
        tracing::info!(token, "feeding quotes");
        tokio::select! {
            fed = market::run(feeds, sequencer, Arc::clone(&self.clock), stop) => Ok(fed?),
            failed = repeat(Arc::clone(streams), Arc::clone(&self.log), token) => Err(failed.into()),
        }
    }
}
