//! Whoever takes messages and does jobs, with a watch in the hand.

use std::fmt;
use std::sync::Arc;

use app::AppError;
use app::events::{Consumer, Message};
use app::jobs::{Job, JobError, JobHandler};
use async_trait::async_trait;
use kernel::{Clock, FirmId, Span, Timestamp};
use telemetry::metrics::{Counted, Exemplar};

/// Where it is counted, and by which clock.
#[derive(Clone)]
pub struct Watch {
    /// Counts.
    pub counted: Arc<Counted>,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Watch").finish_non_exhaustive()
    }
}

impl Watch {
    /// Microseconds since then; none where the clock was set back.
    pub fn since(&self, then: Timestamp) -> u64 {
        let took = self.clock.now().since(then).map_or(0, Span::micros);
        u64::try_from(took).unwrap_or_default()
    }
}

/// A consumer whose takings are timed.
pub struct TimedConsumer {
    inner: Arc<dyn Consumer>,
    watch: Watch,
    tells: bool,
}

impl fmt::Debug for TimedConsumer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TimedConsumer").field("group", &self.inner.group()).finish_non_exhaustive()
    }
}

impl TimedConsumer {
    /// Times this one. One group in an installation `tells` what happens in the business, so that nothing is counted twice.
    pub fn new(inner: Arc<dyn Consumer>, watch: Watch, tells: bool) -> Self {
        Self { inner, watch, tells }
    }
}

#[async_trait]
impl Consumer for TimedConsumer {
    fn group(&self) -> &'static str {
        self.inner.group()
    }

    fn passes_over(&self) -> &'static [&'static str] {
        self.inner.passes_over()
    }

    async fn take(&self, firm: FirmId, messages: &[Message]) -> Result<(), AppError> {
        let began = self.watch.clock.now();
        let taken = self.inner.take(firm, messages).await;
        let outcome = if taken.is_ok() { "taken" } else { "failed" };
        let exemplar = messages.last().map(|message| Exemplar {
            name: "message_id",
            value: message.id.to_string(),
            at: self.watch.clock.now(),
        });
        let counted = &self.watch.counted;
        counted.messages.add(&[self.group(), outcome], self.watch.since(began), exemplar);
        if self.tells && taken.is_ok() {
            for message in messages {
                let rule =
                    message.payload.get("rule").and_then(serde_json::Value::as_str).unwrap_or_default();
                counted.events.add(&[&message.topic, rule], 1, None);
            }
        }
        taken
    }
}

/// A handler of jobs whose attempts are timed.
pub struct TimedHandler {
    inner: Arc<dyn JobHandler>,
    watch: Watch,
}

impl fmt::Debug for TimedHandler {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("TimedHandler").field("kind", &self.inner.kind()).finish_non_exhaustive()
    }
}

impl TimedHandler {
    /// Times this one.
    pub fn new(inner: Arc<dyn JobHandler>, watch: Watch) -> Self {
        Self { inner, watch }
    }
}

#[async_trait]
impl JobHandler for TimedHandler {
    fn kind(&self) -> &'static str {
        self.inner.kind()
    }

    fn longest(&self) -> Span {
        self.inner.longest()
    }

    async fn run(&self, job: &Job) -> Result<(), JobError> {
        let began = self.watch.clock.now();
        let done = self.inner.run(job).await;
        let outcome = match &done {
            Ok(()) => "done",
            Err(JobError::Again { .. }) => "again",
            Err(JobError::Never(_)) => "never",
            Err(JobError::Later(_)) => "later",
        };
        let exemplar = Exemplar { name: "job_id", value: job.id.to_string(), at: self.watch.clock.now() };
        self.watch.counted.jobs.add(&[self.kind(), outcome], self.watch.since(began), Some(exemplar));
        done
    }
}

#[cfg(test)]
mod tests {
    use kernel::JobId;
    use serde_json::json;
    use telemetry::metrics::{Format, Page};

    use super::*;

    struct Still;

    impl Clock for Still {
        fn now(&self) -> Timestamp {
            Timestamp::EPOCH
        }
    }

    struct Anybody;

    #[async_trait]
    impl Consumer for Anybody {
        fn group(&self) -> &'static str {
            "somebody"
        }

        async fn take(&self, _: FirmId, messages: &[Message]) -> Result<(), AppError> {
            match messages.len() {
                1 => Ok(()),
                _ => Err(AppError::refused("conflict", "One at a time.")),
            }
        }
    }

    #[async_trait]
    impl JobHandler for Anybody {
        fn kind(&self) -> &'static str {
            "mail.send"
        }

        async fn run(&self, _: &Job) -> Result<(), JobError> {
            Err(JobError::Later(Span::from_seconds(1)))
        }
    }

    #[tokio::test]
    async fn takings_and_attempts_are_counted_by_what_became_of_them_and_the_business_once() {
        let watch = Watch { counted: Arc::default(), clock: Arc::new(Still) };
        let message = |id| Message {
            id,
            firm: FirmId::derived(&[b"firm"]),
            at: Timestamp::EPOCH,
            aggregate: "account:1".to_owned(),
            topic: "account.breached".to_owned(),
            version: 1,
            payload: json!({"account": "1", "rule": "daily_loss"}),
            trace: None,
        };
        let told = TimedConsumer::new(Arc::new(Anybody), watch.clone(), true);
        told.take(FirmId::derived(&[b"firm"]), &[message(7)]).await.unwrap();
        told.take(FirmId::derived(&[b"firm"]), &[message(8), message(9)]).await.unwrap_err();
        let silent = TimedConsumer::new(Arc::new(Anybody), watch.clone(), false);
        silent.take(FirmId::derived(&[b"firm"]), &[message(7)]).await.unwrap();
        let id = JobId::derived(&[b"job"]);
        let job = Job { id, firm: None, kind: "mail.send".to_owned(), payload: json!({}), attempt: 1 };
        TimedHandler::new(Arc::new(Anybody), watch.clone()).run(&job).await.unwrap_err();
        let mut page = Page::new(Format::OpenMetrics);
        watch.counted.write(&mut page);
        let text = page.finish();
        for line in [
            "tradesense_events_total{topic=\"account.breached\",rule=\"daily_loss\"} 1",
            "messaging_process_duration_seconds_count{messaging_consumer_group_name=\"somebody\",outcome=\"failed\"} 1",
            "messaging_process_duration_seconds_count{messaging_consumer_group_name=\"somebody\",outcome=\"taken\"} 2",
            "tradesense_job_duration_seconds_count{kind=\"mail.send\",outcome=\"later\"} 1",
        ] {
            assert!(text.lines().any(|own| own == line), "{line}\n{text}");
        }
        assert!(text.contains(&format!("# {{job_id=\"{id}\"}} 0.000000 0.000000")), "{text}");
    }
}
