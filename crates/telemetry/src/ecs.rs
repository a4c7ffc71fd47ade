//! Log lines for machines: one JSON object per line, its fields named as the Elastic Common Schema names them, so that whoever
//! carries them need not take them apart. `docs/guides/logs.md` has the table.
//!
//! Every text goes through [`crate::redact`]. A line break in a text is escaped, so nobody can write a line of their own.

use std::fmt;
use std::sync::Arc;

use kernel::Clock;
use serde_json::{Map, Value, json};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use crate::redact::redact;

/// The version of the schema.
pub const VERSION: &str = "8.17.0";
/// A text beyond so many characters is cut.
const LONGEST_TEXT: usize = 8_192;

/// Writes lines in this form.
pub struct Ecs {
    clock: Arc<dyn Clock>,
    version: &'static str,
    role: &'static str,
    environment: String,
}

impl fmt::Debug for Ecs {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Ecs").field("role", &self.role).finish_non_exhaustive()
    }
}

impl Ecs {
    /// Of a process: its program's version, its role, and the name of the installation.
    pub fn new(clock: Arc<dyn Clock>, version: &'static str, role: &'static str, environment: &str) -> Self {
        Self { clock, version, role, environment: environment.to_owned() }
    }
}

impl<S, N> FormatEvent<S, N> for Ecs
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = Line::default();
        event.record(&mut line);
        let metadata = event.metadata();
        let message = line.message.unwrap_or_default();
        let is_request = message == "request" && line.status.is_some();
        let dataset = match line.status {
            Some(401 | 403 | 429) if is_request => "tradesense.security",
            _ if is_request => "tradesense.access",
            _ => "tradesense.app",
        };
        let mut fields = line.fields;
        if is_request {
            let failed = line.status.is_some_and(|status| status >= 500);
            fields.insert("event.outcome".to_owned(), json!(if failed { "failure" } else { "success" }));
        }
        let mut all = Map::new();
        all.insert("@timestamp".to_owned(), json!(self.clock.now().to_string()));
        all.insert("log.level".to_owned(), json!(metadata.level().as_str().to_ascii_lowercase()));
        all.insert("message".to_owned(), json!(message));
        all.insert("ecs.version".to_owned(), json!(VERSION));
        all.insert("service.name".to_owned(), json!("tradesense"));
        all.insert("service.version".to_owned(), json!(self.version));
        all.insert("service.environment".to_owned(), json!(self.environment));
        all.insert("service.node.role".to_owned(), json!(self.role));
        all.insert("event.dataset".to_owned(), json!(dataset));
        all.insert("log.logger".to_owned(), json!(metadata.target()));
        all.append(&mut fields);
        writeln!(writer, "{}", Value::Object(all))
    }
}

#[derive(Default)]
struct Line {
    message: Option<String>,
    status: Option<u64>,
    fields: Map<String, Value>,
}

impl Line {
    fn text(&mut self, name: &str, text: &str) {
        let text: String = redact(text).chars().take(LONGEST_TEXT).collect();
        match name {
            "message" => self.message = Some(text),
            "request.id" => {
                self.put("trace.id", json!(text.replace('-', "")));
                self.put("http.request.id", json!(text));
            }
            "trace.caller" => self.put("labels.caller_trace_id", json!(text)),
            "method" => self.put("http.request.method", json!(text)),
            "route" => self.put("url.path", json!(text)),
            "error" => self.put("error.message", json!(text)),
            other => self.put(&format!("labels.{}", other.replace('.', "_")), json!(text)),
        }
    }

    fn number(&mut self, name: &str, number: u64) {
        match name {
            "status" => {
                self.status = Some(number);
                self.put("http.response.status_code", json!(number));
            }
            // ECS counts nanoseconds.
            "took_us" => self.put("event.duration", json!(number.saturating_mul(1_000))),
            other => self.text(other, &number.to_string()),
        }
    }

    fn put(&mut self, name: &str, value: Value) {
        self.fields.insert(name.to_owned(), value);
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field.name(), &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.number(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        match u64::try_from(value) {
            Ok(number) => self.number(field.name(), number),
            Err(_) => self.text(field.name(), &value.to_string()),
        }
    }

    fn record_error(&mut self, field: &Field, error: &(dyn std::error::Error + 'static)) {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            text.push_str(": ");
            text.push_str(&inner.to_string());
            cause = inner.source();
        }
        self.text(field.name(), &text);
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Mutex, PoisonError};

    use kernel::Timestamp;
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Kept {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Kept {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    struct Noon;

    impl Clock for Noon {
        fn now(&self) -> Timestamp {
            Timestamp::parse("2026-11-29T12:00:00Z").unwrap()
        }
    }

    /// The lines that are written.
    fn lines(say: impl FnOnce()) -> Vec<Value> {
        let kept = Kept::default();
        let ecs = Ecs::new(Arc::new(Noon), "0.1.0", "api", "test");
        let subscriber =
            tracing_subscriber::fmt().with_ansi(false).event_format(ecs).with_writer(kept.clone()).finish();
        tracing::subscriber::with_default(subscriber, say);
        let bytes = kept.0.lock().unwrap().clone();
        let text = String::from_utf8(bytes).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[derive(Debug)]
    struct Outer(io::Error);

    impl fmt::Display for Outer {
        fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
            formatter.write_str("sending failed")
        }
    }

    impl std::error::Error for Outer {
        fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
            Some(&self.0)
        }
    }

    #[test]
    fn a_request_is_told_in_the_fields_of_the_schema() {
        let id = "0198f1c2-7d3e-7c1a-9b1e-2f0a4c5d6e7f";
        let said = lines(|| {
            tracing::info!(request.id = %id, trace.caller = None::<&str>, method = %"GET", route = "/v1/accounts/{account}",
                status = 200_u16, took_us = 1_500_i64, "request");
        });
        assert_eq!(
            said,
            [json!({
                "@timestamp": Noon.now().to_string(), "log.level": "info", "message": "request", "ecs.version": VERSION,
                "service.name": "tradesense", "service.version": "0.1.0", "service.environment": "test",
                "service.node.role": "api", "event.dataset": "tradesense.access", "event.outcome": "success",
                "event.duration": 1_500_000, "log.logger": "telemetry::ecs::tests",
                "trace.id": "0198f1c27d3e7c1a9b1e2f0a4c5d6e7f", "http.request.id": id, "http.request.method": "GET",
                "url.path": "/v1/accounts/{account}", "http.response.status_code": 200,
            })]
        );
    }

    #[test]
    fn refusals_go_to_the_stream_of_security_and_failures_say_why_without_secrets() {
        let error = Outer(io::Error::other("mail to jane@example.com with whsec_abcdef"));
        let error: &dyn std::error::Error = &error;
        let said = lines(|| {
            tracing::info!(status = 403_u16, "request");
            tracing::error!(error, group = "mail", count = -1, "it failed\n{{\"fake\":1}}");
            tracing::warn!("card 4242424242424242 of {}", "x@y.example");
        });
        assert_eq!(said.len(), 3, "a line break makes no line");
        assert_eq!(said[0]["event.dataset"], "tradesense.security");
        assert_eq!(said[1]["error.message"], "sending failed: mail to [email] with [secret]");
        assert_eq!(said[1]["labels.group"], "mail");
        assert_eq!(said[1]["labels.count"], "-1");
        assert_eq!(said[2]["message"], "card [card] of [email]");
    }
}
