//! Keeps the leases of one process.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use app::leadership::Leadership;
use kernel::{OwnerId, Span};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::as_error;

/// A lease that is not renewed for so long may be taken by another process.
const LEASE: Duration = Duration::from_secs(4);
/// Leases are renewed, and free ones taken, this often.
const ROUND: Duration = Duration::from_secs(1);

/// What a process leads, by name, with the token of each lease.
pub type Leads = watch::Receiver<BTreeMap<String, i64>>;

/// Asks for the same names again and again.
pub struct Leader {
    leadership: Arc<dyn Leadership>,
    owner: OwnerId,
    names: Vec<String>,
    leads: watch::Sender<BTreeMap<String, i64>>,
}

impl std::fmt::Debug for Leader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Leader").field("names", &self.names).finish_non_exhaustive()
    }
}

impl Leader {
    /// Leads nothing yet.
    pub fn new(leadership: Arc<dyn Leadership>, owner: OwnerId, names: Vec<String>) -> Self {
        Self { leadership, owner, names, leads: watch::Sender::default() }
    }

    /// What it leads from now on.
    pub fn leads(&self) -> Leads {
        self.leads.subscribe()
    }

    /// Goes on until it is to stop, and gives everything back then: whoever works under a lease has ended by then.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        if self.names.is_empty() {
            return;
        }
        let length = Span::from(LEASE);
        let mut rounds = tokio::time::interval(ROUND);
        rounds.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut valid_until = Instant::now();
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => break,
                _ = rounds.tick() => {}
            }
            let asked_at = Instant::now();
            let asked = self.leadership.lead(self.owner, &self.names, length);
            match tokio::time::timeout(LEASE, asked).await {
                Ok(Ok(held)) => {
                    valid_until = asked_at.checked_add(LEASE).unwrap_or(asked_at);
                    self.leads.send_if_modified(|leads| {
                        let changed = *leads != held;
                        *leads = held;
                        changed
                    });
                }
                Ok(Err(error)) => {
                    tracing::warn!(error = as_error(&error), "leases could not be renewed; trying again");
                }
                Err(_) => tracing::warn!("leases could not be renewed in time; trying again"),
            }
            if Instant::now() >= valid_until {
                self.leads.send_if_modified(|leads| !std::mem::take(leads).is_empty());
            }
        }
        self.leads.send_replace(BTreeMap::new());
        if let Err(error) = self.leadership.give_up(self.owner, &self.names).await {
            // They run out by themselves.
            tracing::warn!(error = as_error(&error), "leases could not be given back");
        }
    }
}

/// Nobody renews any more: whatever was led is led no longer.
impl Drop for Leader {
    fn drop(&mut self) {
        self.leads.send_replace(BTreeMap::new());
    }
}

/// Waits until a name is led, and gives its token; nothing once it is to stop.
pub async fn led(leads: &mut Leads, name: &str, stop: &mut watch::Receiver<bool>) -> Option<i64> {
    tokio::select! {
        _ = stop.wait_for(|stop| *stop) => None,
        leads = leads.wait_for(|leads| leads.contains_key(name)) => leads.ok()?.get(name).copied(),
    }
}

/// Waits until a name is led no more under this token.
pub async fn lost(leads: &mut Leads, name: &str, token: i64) {
    // An error means that the leader has ended, and with it every lease.
    drop(leads.wait_for(|leads| leads.get(name) != Some(&token)).await);
}
