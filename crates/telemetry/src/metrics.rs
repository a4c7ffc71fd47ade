//! Figures for Prometheus: counters, gauges and histograms with exemplars, as `OpenMetrics` 1.0 or as the text format before it.
//!
//! There is no float in here: a duration is a count of microseconds until it is printed as seconds. What is counted is a field of
//! [`Counted`]; what is read when somebody asks is written straight onto the [`Page`]. A family of series has a limit: whatever
//! label values come beyond it are counted together under [`OTHER`], so that nobody outside can make series.
//!
//! Names follow OpenTelemetry's conventions where there are any, as Prometheus writes them (dots as underscores, the unit and
//! `_total` at the end); everything else begins with `tradesense_`.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Write as _};
use std::sync::{Mutex, PoisonError};

use kernel::Timestamp;

/// In place of label values beyond a family's limit.
pub const OTHER: &str = "other";

/// Upper ends of the buckets of HTTP requests and what is like them, as OpenTelemetry advises, in microseconds.
pub const BOUNDS: [u64; 14] = [
    5_000, 10_000, 25_000, 50_000, 75_000, 100_000, 250_000, 500_000, 750_000, 1_000_000, 2_500_000,
    5_000_000, 7_500_000, 10_000_000,
];

/// Upper ends for what is over in less than a request: connections, round trips, decisions.
pub const SHORT_BOUNDS: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 500_000, 5_000_000];

/// How a page is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Prometheus' text format, version 0.0.4. It has no exemplars.
    Text,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

impl Format {
    /// What whoever asks takes, by its `Accept`.
    pub fn accepted(accept: &str) -> Self {
        if accept.contains("application/openmetrics-text") { Self::OpenMetrics } else { Self::Text }
    }

    /// The content type of an answer.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// Microseconds, printed as seconds with six decimals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub u64);

impl Display for Seconds {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = self.0.checked_div(1_000_000).unwrap_or_default();
        write!(formatter, "{whole}.{:06}", self.0.wrapping_rem(1_000_000))
    }
}

/// The end of a bucket as Prometheus itself writes it, so that rules can name it.
fn bound(micros: u64) -> String {
    let text = Seconds(micros).to_string();
    let short = text.trim_end_matches('0');
    if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
}

/// One request, job or message behind a figure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exemplar {
    /// The name of the label, such as `trace_id`.
    pub name: &'static str,
    /// Under which it is found in the logs.
    pub value: String,
    /// When it was counted.
    pub at: Timestamp,
}

/// An exemplar with what it measured.
#[derive(Debug, Clone)]
struct Measured {
    exemplar: Exemplar,
    value: u64,
}

/// What kind a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// All figures of one answer.
#[derive(Debug)]
pub struct Page {
    text: String,
    format: Format,
}

impl Page {
    /// An empty one.
    pub fn new(format: Format) -> Self {
        Self { text: String::new(), format }
    }

    /// Begins a gauge.
    pub fn gauge(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        self.family(name, help, Kind::Gauge)
    }

    /// Begins a counter; its name ends in `_total`.
    pub fn counter(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        self.family(name, help, Kind::Counter)
    }

    /// Begins a histogram of durations; its name ends in `_seconds`.
    pub fn histogram(&mut self, name: &'static str, help: &'static str) -> Family<'_> {
        self.family(name, help, Kind::Histogram)
    }

    fn family(&mut self, name: &'static str, help: &'static str, kind: Kind) -> Family<'_> {
        let word = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        // OpenMetrics names a counter without the ending that its samples have.
        let told = match (self.format, kind) {
            (Format::OpenMetrics, Kind::Counter) => name.strip_suffix("_total").unwrap_or(name),
            _ => name,
        };
        self.line(format_args!("# HELP {told} {help}"));
        self.line(format_args!("# TYPE {told} {word}"));
        Family { page: self, name }
    }

    /// The whole answer.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }

    fn line(&mut self, content: fmt::Arguments<'_>) {
        // A string takes everything.
        let _ = writeln!(self.text, "{content}");
    }
}

/// A family that is being written.
#[derive(Debug)]
pub struct Family<'page> {
    page: &'page mut Page,
    name: &'static str,
}

impl Family<'_> {
    /// One series of a gauge or counter.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) -> &mut Self {
        let labels = pairs(labels);
        self.write("", &labels, &value, None);
        self
    }

    /// One series of a histogram: how many took no longer than each end, in growing order, how many there are, and how long
    /// they took together. An example with its microseconds stands behind the bucket that it fell into.
    pub fn durations(
        &mut self,
        labels: &[(&str, &str)],
        within: &[(u64, u64)],
        (count, sum): (u64, u64),
        example: Option<(Exemplar, u64)>,
    ) -> &mut Self {
        let labels = pairs(labels);
        let example = example.map(|(exemplar, value)| Measured { exemplar, value });
        let place = example.as_ref().map(|example| within.partition_point(|(end, _)| *end < example.value));
        let of = |bucket| example.as_ref().filter(|_| place == Some(bucket));
        let rows: Vec<_> =
            within.iter().enumerate().map(|(bucket, (end, within))| (*end, *within, of(bucket))).collect();
        self.histogram(&labels, &rows, (count, of(within.len())), sum);
        self
    }

    fn histogram(
        &mut self,
        labels: &str,
        within: &[(u64, u64, Option<&Measured>)],
        (count, longest): (u64, Option<&Measured>),
        sum: u64,
    ) {
        let comma = if labels.is_empty() { "" } else { "," };
        for (end, within, measured) in within {
            self.write("_bucket", &format!("{labels}{comma}le=\"{}\"", bound(*end)), within, *measured);
        }
        self.write("_bucket", &format!("{labels}{comma}le=\"+Inf\""), &count, longest);
        self.write("_sum", labels, &Seconds(sum), None);
        self.write("_count", labels, &count, None);
    }

    fn write(&mut self, ending: &str, labels: &str, value: &dyn Display, measured: Option<&Measured>) {
        let name = self.name;
        let labels = if labels.is_empty() { String::new() } else { format!("{{{labels}}}") };
        let behind = match (self.page.format, measured) {
            (Format::OpenMetrics, Some(Measured { exemplar, value })) => {
                let at = Seconds(u64::try_from(exemplar.at.micros()).unwrap_or_default());
                format!(" # {{{}}} {} {at}", pairs(&[(exemplar.name, &exemplar.value)]), Seconds(*value))
            }
            _ => String::new(),
        };
        self.page.line(format_args!("{name}{ending}{labels} {value}{behind}"));
    }
}

/// Labels as both formats write them.
fn pairs(labels: &[(&str, &str)]) -> String {
    let mut text = String::new();
    for (name, value) in labels {
        if !text.is_empty() {
            text.push(',');
        }
        text.push_str(name);
        text.push_str("=\"");
        for character in value.chars() {
            match character {
                '\\' => text.push_str("\\\\"),
                '"' => text.push_str("\\\""),
                '\n' => text.push_str("\\n"),
                other => text.push(other),
            }
        }
        text.push('"');
    }
    text
}

/// Durations counted by labels.
#[derive(Debug)]
pub struct Durations {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    bounds: &'static [u64],
    most: usize,
    series: Mutex<BTreeMap<String, Series>>,
}

#[derive(Debug, Clone)]
struct Series {
    /// One for each bound, and one for what is beyond them: how many, and the last one of them that can be found again.
    buckets: Vec<(u64, Option<Measured>)>,
    sum: u64,
}

impl Durations {
    /// None yet; never more than `most` series and one.
    pub fn new(
        name: &'static str,
        help: &'static str,
        labels: &'static [&'static str],
        bounds: &'static [u64],
        most: usize,
    ) -> Self {
        Self { name, help, labels, bounds, most, series: Mutex::default() }
    }

    /// Counts one. `values` are those of the labels, in their order.
    pub fn add(&self, values: &[&str], micros: u64, exemplar: Option<Exemplar>) {
        let bucket = self.bounds.partition_point(|end| *end < micros);
        let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(self.labels, values, all.len() >= self.most, |key| all.contains_key(key));
        let new = || Series { buckets: vec![(0, None); self.bounds.len().saturating_add(1)], sum: 0 };
        let series = all.entry(key).or_insert_with(new);
        series.sum = series.sum.saturating_add(micros);
        if let Some((count, last)) = series.buckets.get_mut(bucket) {
            *count = count.saturating_add(1);
            if let Some(exemplar) = exemplar {
                *last = Some(Measured { exemplar, value: micros });
            }
        }
    }

    /// Writes them down.
    pub fn write(&self, page: &mut Page) {
        let all = self.series.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if all.is_empty() {
            return;
        }
        let mut family = page.histogram(self.name, self.help);
        for (labels, series) in &all {
            let mut count = 0_u64;
            let mut within = Vec::with_capacity(self.bounds.len());
            for (end, (own, last)) in self.bounds.iter().zip(&series.buckets) {
                count = count.saturating_add(*own);
                within.push((*end, count, last.as_ref()));
            }
            let beyond = series.buckets.last();
            let all = count.saturating_add(beyond.map_or(0, |(own, _)| *own));
            let longest = beyond.and_then(|(_, last)| last.as_ref());
            family.histogram(labels, &within, (all, longest), series.sum);
        }
    }

    /// How many series there are.
    pub fn series(&self) -> usize {
        self.series.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// Things counted by labels.
#[derive(Debug)]
pub struct Counter {
    name: &'static str,
    help: &'static str,
    labels: &'static [&'static str],
    most: usize,
    series: Mutex<BTreeMap<String, (u64, Option<Measured>)>>,
}

impl Counter {
    /// None yet; never more than `most` series and one.
    pub fn new(name: &'static str, help: &'static str, labels: &'static [&'static str], most: usize) -> Self {
        Self { name, help, labels, most, series: Mutex::default() }
    }

    /// Counts so many; none makes the series known, so that its first one is seen as a rise.
    pub fn add(&self, values: &[&str], many: u64, exemplar: Option<Exemplar>) {
        let mut all = self.series.lock().unwrap_or_else(PoisonError::into_inner);
        let key = key(self.labels, values, all.len() >= self.most, |key| all.contains_key(key));
        let (count, last) = all.entry(key).or_default();
        *count = count.saturating_add(many);
        if let Some(exemplar) = exemplar {
            *last = Some(Measured { exemplar, value: many.saturating_mul(1_000_000) });
        }
    }

    /// Writes them down.
    pub fn write(&self, page: &mut Page) {
        let all = self.series.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if all.is_empty() {
            return;
        }
        let mut family = page.counter(self.name, self.help);
        for (labels, (count, last)) in &all {
            family.write("", labels, count, last.as_ref());
        }
    }

    /// How many series there are.
    pub fn series(&self) -> usize {
        self.series.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

/// The text of a series' labels; that of all others where there is no room for a new one.
fn key(labels: &[&str], values: &[&str], full: bool, known: impl Fn(&str) -> bool) -> String {
    let own: Vec<_> = labels.iter().copied().zip(values.iter().copied()).collect();
    let own = pairs(&own);
    if !full || known(&own) {
        return own;
    }
    let others: Vec<_> = labels.iter().map(|name| (*name, OTHER)).collect();
    pairs(&others)
}

/// Everything that a process counts from its start on.
#[derive(Debug)]
pub struct Counted {
    /// Requests by method, route and status.
    pub requests: Durations,
    /// Requests that were refused, by code and route.
    pub refusals: Counter,
    /// Messages that groups have taken, by group and what became of them.
    pub messages: Durations,
    /// What happened in the business, by topic and rule.
    pub events: Counter,
    /// Attempts of jobs, by kind and what became of them.
    pub jobs: Durations,
    /// How long whoever asks for a connection waits for it, by pool; asked every few seconds.
    pub pool_waits: Durations,
    /// Connections that were not given in time, by pool.
    pub pool_timeouts: Counter,
    /// Round trips to PostgreSQL and Redis, by which and what became of them; asked every few seconds.
    pub round_trips: Durations,
}

/// Codes of refusals that alerts look at: known from the start, so that the first one is seen.
pub const WATCHED_CODES: [&str; 5] =
    ["forbidden", "too_many_requests", "unauthenticated", "webhook_signature", "wrong_credentials"];

impl Default for Counted {
    fn default() -> Self {
        let counted = Self {
            requests: Durations::new(
                "http_server_request_duration_seconds",
                "Duration of HTTP requests by method, route and status.",
                &["http_request_method", "http_route", "http_response_status_code"],
                &BOUNDS,
                1_000,
            ),
            refusals: Counter::new(
                "tradesense_refusals_total",
                "Requests that were refused, by the problem's code and the route.",
                &["code", "http_route"],
                1_000,
            ),
            messages: Durations::new(
                "messaging_process_duration_seconds",
                "Duration of taking messages of one firm, by group and what became of it.",
                &["messaging_consumer_group_name", "outcome"],
                &BOUNDS,
                100,
            ),
            events: Counter::new(
                "tradesense_events_total",
                "Messages about the business that were taken, by topic and, of verdicts, by the kind of rule.",
                &["topic", "rule"],
                300,
            ),
            jobs: Durations::new(
                "tradesense_job_duration_seconds",
                "Duration of an attempt of a job, by kind and what became of it.",
                &["kind", "outcome"],
                &BOUNDS,
                200,
            ),
            pool_waits: Durations::new(
                "db_client_connection_wait_time_seconds",
                "How long a question waits for a connection of a pool, asked every few seconds.",
                &["db_client_connection_pool_name"],
                &SHORT_BOUNDS,
                10,
            ),
            pool_timeouts: Counter::new(
                "db_client_connection_timeouts_total",
                "Connections that a pool did not give in time.",
                &["db_client_connection_pool_name"],
                10,
            ),
            round_trips: Durations::new(
                "db_client_operation_duration_seconds",
                "A round trip to the database or to Redis, asked every few seconds, by what became of it.",
                &["db_system_name", "outcome"],
                &SHORT_BOUNDS,
                10,
            ),
        };
        for code in WATCHED_CODES {
            counted.refusals.add(&[code, ""], 0, None);
        }
        counted
    }
}

impl Counted {
    /// Writes everything that was counted.
    pub fn write(&self, page: &mut Page) {
        self.requests.write(page);
        self.refusals.write(page);
        self.messages.write(page);
        self.events.write(page);
        self.jobs.write(page);
        self.pool_waits.write(page);
        self.pool_timeouts.write(page);
        self.round_trips.write(page);
    }
}

/// What the system says about this process, in the words of Prometheus' client libraries. Nothing where there is no `/proc`.
pub fn write_process(page: &mut Page) {
    let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
    let stat = read("stat");
    // The name of the program may hold anything, up to the last bracket.
    let fields: Vec<&str> = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace().collect();
    let field = |number: usize| fields.get(number).and_then(|text| text.parse::<u64>().ok());
    if let (Some(user), Some(system)) = (field(11), field(12)) {
        // The unit of the kernel's interface is a hundredth of a second on every system that we run on.
        let micros = user.saturating_add(system).saturating_mul(10_000);
        page.counter("process_cpu_seconds_total", "Processor time of this process.")
            .sample(&[], Seconds(micros));
    }
    let status = read("status");
    let kibibytes = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name))?;
        line.split_whitespace().next()?.parse::<u64>().ok()
    };
    if let Some(resident) = kibibytes("VmRSS:") {
        let bytes = resident.saturating_mul(1_024);
        page.gauge("process_resident_memory_bytes", "Memory of this process.").sample(&[], bytes);
    }
    if let Ok(open) = std::fs::read_dir("/proc/self/fd") {
        page.gauge("process_open_fds", "Open files of this process.").sample(&[], open.count());
    }
    if let Some(most) = read("limits")
        .lines()
        .find_map(|line| line.strip_prefix("Max open files")?.split_whitespace().next()?.parse::<u64>().ok())
    {
        page.gauge("process_max_fds", "The most open files of this process.").sample(&[], most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEN: [u64; 2] = [10, 1_000_000];

    fn durations(most: usize) -> Durations {
        Durations::new("d_seconds", "Help.", &["route", "status"], &TEN, most)
    }

    fn page(format: Format, write: impl Fn(&mut Page)) -> String {
        let mut page = Page::new(format);
        write(&mut page);
        page.finish()
    }

    #[test]
    fn a_histogram_is_cumulative_and_says_by_example_what_fell_into_a_bucket() {
        let counted = durations(5);
        counted.add(&["/a", "200"], 10, None);
        let at = Timestamp::from_micros(1_500_000);
        counted.add(&["/a", "200"], 11, Some(Exemplar { name: "trace_id", value: "ab".to_owned(), at }));
        counted.add(&["/a", "200"], 2_000_000, None);
        assert_eq!(
            page(Format::OpenMetrics, |page| counted.write(page)),
            "# HELP d_seconds Help.\n\
             # TYPE d_seconds histogram\n\
             d_seconds_bucket{route=\"/a\",status=\"200\",le=\"0.00001\"} 1\n\
             d_seconds_bucket{route=\"/a\",status=\"200\",le=\"1.0\"} 2 # {trace_id=\"ab\"} 0.000011 1.500000\n\
             d_seconds_bucket{route=\"/a\",status=\"200\",le=\"+Inf\"} 3\n\
             d_seconds_sum{route=\"/a\",status=\"200\"} 2.000021\n\
             d_seconds_count{route=\"/a\",status=\"200\"} 3\n\
             # EOF\n"
        );
        let text = page(Format::Text, |page| counted.write(page));
        assert!(!text.contains("# {") && !text.contains("EOF"), "{text}");
    }

    #[test]
    fn a_counter_is_named_as_each_format_wants_it() {
        let counter = Counter::new("c_total", "Help.", &["code"], 5);
        counter.add(&["x"], 2, None);
        assert_eq!(
            page(Format::OpenMetrics, |page| counter.write(page)),
            "# HELP c Help.\n# TYPE c counter\nc_total{code=\"x\"} 2\n# EOF\n"
        );
        assert_eq!(
            page(Format::Text, |page| counter.write(page)),
            "# HELP c_total Help.\n# TYPE c_total counter\nc_total{code=\"x\"} 2\n"
        );
    }

    #[test]
    fn label_values_beyond_the_limit_are_counted_together() {
        let (times, counter) = (durations(3), Counter::new("c_total", "Help.", &["code"], 3));
        for number in 0..1_000 {
            let value = number.to_string();
            times.add(&[&value, "200"], 1, None);
            counter.add(&[&value], 1, None);
        }
        // One that is known is still counted by itself.
        times.add(&["0", "200"], 1, None);
        assert_eq!((times.series(), counter.series()), (4, 4));
        let text = page(Format::Text, |page| times.write(page));
        assert!(text.contains("d_seconds_count{route=\"0\",status=\"200\"} 2\n"), "{text}");
        assert!(text.contains("d_seconds_count{route=\"other\",status=\"other\"} 997\n"), "{text}");
        assert!(page(Format::Text, |page| counter.write(page)).contains("c_total{code=\"other\"} 997\n"));
    }

    #[test]
    fn all_that_a_process_counts_has_few_series_whatever_is_asked() {
        let counted = Counted::default();
        for number in 0..20_000 {
            let odd = format!("/{number}");
            counted.requests.add(&["GET", &odd, "200"], 1, None);
            counted.refusals.add(&["not_found", &odd], 1, None);
            counted.messages.add(&[&odd, "taken"], 1, None);
            counted.events.add(&[&odd, "daily_loss"], 1, None);
            counted.jobs.add(&[&odd, "done"], 1, None);
            counted.pool_waits.add(&[&odd], 1, None);
            counted.pool_timeouts.add(&[&odd], 1, None);
            counted.round_trips.add(&[&odd, "done"], 1, None);
        }
        let text = page(Format::OpenMetrics, |page| counted.write(page));
        // 1001 × 17 lines of requests, 101 and 201 × 17 of messages and jobs, 1001 of refusals, 11 of the others.
        assert!(text.lines().count() < 24_000, "{}", text.lines().count());
    }

    #[test]
    fn a_label_cannot_end_before_its_end() {
        assert_eq!(pairs(&[("a", "x\"b\\c\nd"), ("e", "")]), "a=\"x\\\"b\\\\c\\nd\",e=\"\"");
    }

    #[test]
    fn ends_of_buckets_are_written_as_prometheus_writes_them() {
        assert_eq!([5_000, 1_000_000, 2_500_000, 10].map(bound), ["0.005", "1.0", "2.5", "0.00001"]);
    }

    #[test]
    fn who_takes_openmetrics_gets_it() {
        let prometheus = "application/openmetrics-text; version=1.0.0,text/plain;version=0.0.4;q=0.5";
        assert_eq!(Format::accepted(prometheus), Format::OpenMetrics);
        assert_eq!(Format::accepted("*/*"), Format::Text);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_is_asked_about_this_process() {
        let text = page(Format::Text, write_process);
        for name in [
            "process_cpu_seconds_total ",
            "process_resident_memory_bytes ",
            "process_open_fds ",
            "process_max_fds ",
        ] {
            assert!(text.lines().any(|line| line.starts_with(name)), "{name}: {text}");
        }
    }
}
