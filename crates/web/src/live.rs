//! Server-sent events.

use std::convert::Infallible;
use std::time::Duration;

use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::{Stream, StreamExt};
use serde::Serialize;

use crate::Web;

/// The shortest time between two messages of a stream.
const PACE: Duration = Duration::from_millis(200);
/// A comment is sent after this long without a message, so that proxies keep the connection.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Lets a message out at most once in [`PACE`].
#[derive(Debug)]
pub struct Throttle(tokio::time::Interval);

impl Throttle {
    /// The first message goes at once.
    pub fn new() -> Self {
        let mut interval = tokio::time::interval(PACE);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        Self(interval)
    }

    /// Waits for the next turn.
    pub async fn wait(&mut self) {
        self.0.tick().await;
    }
}

/// A named message.
pub fn event(name: &str, data: &impl Serialize) -> Event {
    match Event::default().event(name).json_data(data) {
        Ok(event) => event,
        Err(error) => {
            tracing::error!(%error, name, "a live message could not be written");
            Event::default().event("error").data("")
        }
    }
}

/// A stream that ends when the server stops, so that stopping does not wait for browsers.
pub fn until_stopped<S>(web: &Web, stream: S) -> Sse<impl Stream<Item = Result<Event, Infallible>> + use<S>>
where
    S: Stream<Item = Result<Event, Infallible>> + Send + 'static,
{
    let mut stopping = web.stopping.clone();
    let stopped = async move {
        // An error means that whoever stops the server is gone: stop as well.
        drop(stopping.wait_for(|stopping| *stopping).await);
    };
    Sse::new(stream.take_until(stopped)).keep_alive(KeepAlive::new().interval(HEARTBEAT))
}
