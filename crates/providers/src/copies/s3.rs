//! Copies in a bucket of Amazon S3 or of any server that speaks its protocol.
//!
//! The bucket has Object Lock, and each object is written with the date until which nobody deletes it, whoever they are
//! (`COMPLIANCE`): the end of the year in which it is written and seven more, in UTC. Nothing is written before what it
//! holds, so that this is never less than seven years after the year of an entry. The name of the newest checkpoint is written
//! again and again; each of its versions is kept for 30 days. That is long enough to see that somebody has set it
//! back, and what it said stands under `checkpoints/` for the seven years.
//!
//! In such a bucket nothing is replaced: a second write makes a second version, and a deletion hides the versions behind a
//! marker. So an object is asked for before it is written, a hidden one is an error and not a missing one, and the write itself
//! is refused by the server if somebody was faster (`If-None-Match`).

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use app::auditing::{Copies, NEWEST};
use app::{AppError, BoxError};
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::Full;
use jiff::{SignedDuration, tz::TimeZone};
use kernel::{Clock, Rng};
use rusty_s3::{Credentials, Method, signing};
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;
use url::{Position, Url};

use super::http::{Answer, Server};
use super::place::{Address, Means};

/// A signed request counts for so many seconds.
const SIGNED_FOR: u64 = 300;
/// Full years for which an object is kept after the one in which it is written.
const YEARS: i16 = 7;
/// For so many hours each version of the newest checkpoint's name is kept.
const NEWEST_HOURS: i64 = 30 * 24;
/// So much of what a server says of an error is told.
const MOST_SAID: usize = 300;

const MODE: &str = "x-amz-object-lock-mode";
const UNTIL: &str = "x-amz-object-lock-retain-until-date";
const COMPLIANCE: &str = "COMPLIANCE";

/// How long a request may take, and how often it is made.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until a connection stands.
    pub connect: Duration,
    /// One attempt until its answer begins, and then until the answer ends; more for what is long.
    pub total: Duration,
    /// So many attempts in all.
    pub attempts: u32,
    /// At least half of this is waited after the first attempt, and after each further one of twice as much.
    pub pause: Duration,
    /// The longest pause.
    pub longest_pause: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            total: Duration::from_secs(20),
            attempts: 5,
            pause: Duration::from_millis(200),
            longest_pause: Duration::from_secs(5),
        }
    }
}

/// Why a bucket did not do what was asked. Names the operation and the object, and nothing that is secret.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// There is no key to sign with.
    #[error("{0}")]
    Credentials(String),
    /// The server cannot be reached as it is named.
    #[error("the server of {bucket} cannot be called")]
    Server {
        /// Which one.
        bucket: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The bucket would let go of what it is given.
    #[error(
        "{bucket} {why}; make a bucket with Object Lock for copies of the audit log, or say object-lock=off"
    )]
    NotKept {
        /// Which one.
        bucket: String,
        /// What it lacks.
        why: &'static str,
    },
    /// Something else stands under the name.
    #[error("{object} is there and holds something else")]
    Other {
        /// Which one.
        object: String,
    },
    /// Somebody deleted what may not be deleted.
    #[error("{object} was deleted: a delete marker hides what is kept there, remove the marker")]
    Deleted {
        /// Which one.
        object: String,
    },
    /// It is there, and the server does not say that it keeps it.
    #[error("{object} is there, and the server does not say that it keeps it as long as it has to")]
    NotLocked {
        /// Which one.
        object: String,
    },
    /// The server said no.
    #[error("{doing} was answered with {status}{said}")]
    Refused {
        /// Method and object.
        doing: String,
        /// The status.
        status: StatusCode,
        /// The code and what it means.
        said: String,
    },
    /// The server said nothing.
    #[error("{doing} was not answered")]
    NoAnswer {
        /// Method and object.
        doing: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// A date or a request that cannot be written.
    #[error("{doing} cannot be asked for")]
    Unwritable {
        /// Method and object.
        doing: String,
        /// Why.
        #[source]
        source: BoxError,
    },
}

impl Failure {
    /// Whether the same may go well later without anybody's doing.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::NoAnswer { .. } => true,
            Self::Refused { status, .. } => passes(*status),
            Self::Credentials(_)
            | Self::Server { .. }
            | Self::NotKept { .. }
            | Self::Other { .. }
            | Self::Deleted { .. }
            | Self::NotLocked { .. }
            | Self::Unwritable { .. } => false,
        }
    }
}

/// A bucket.
pub struct Bucket {
    address: Address,
    credentials: Source,
    clock: Arc<dyn Clock>,
    rng: Arc<dyn Rng>,
    limits: Limits,
    server: Server,
    /// That it keeps what it is given was asked once.
    keeps: OnceCell<()>,
    /// That it does was seen of an object.
    seen: AtomicBool,
}

/// Whence the key comes.
enum Source {
    Environment(Credentials),
    /// Read for every request, so that whoever changes the key writes the file and starts nothing anew.
    File(PathBuf),
}

/// What is asked of a server.
struct Ask<'a> {
    method: Method,
    /// An object, or the bucket itself.
    name: Option<&'a str>,
    query: &'a [(&'a str, &'a str)],
    /// All of them are signed.
    headers: BTreeMap<&'static str, String>,
    body: Bytes,
}

impl<'a> Ask<'a> {
    fn new(method: Method, name: &'a str) -> Self {
        Self { method, name: Some(name), query: &[], headers: BTreeMap::new(), body: Bytes::new() }
    }

    fn of_bucket(query: &'a [(&'a str, &'a str)]) -> Self {
        Self { method: Method::Get, name: None, query, headers: BTreeMap::new(), body: Bytes::new() }
    }
}

/// What stands under a name.
enum Standing {
    There(Answer),
    Nothing,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Bucket").field("address", &self.address.to_string()).finish_non_exhaustive()
    }
}

impl Bucket {
    /// Nothing is asked of it yet.
    pub fn new(address: &Address, means: Means) -> Result<Self, Failure> {
        Self::with(address, means, Limits::default())
    }

    /// The same with limits of one's own.
    pub fn with(address: &Address, means: Means, limits: Limits) -> Result<Self, Failure> {
        let credentials = match (&address.credentials, means.credentials) {
            (Some(file), _) => Source::File(file.clone()),
            (None, Some(credentials)) => Source::Environment(credentials),
            (None, None) => {
                let say = format!(
                    "there is no key for {address}: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or name a file \
                     by credentials=FILE"
                );
                return Err(Failure::Credentials(say));
            }
        };
        let server = Server::of(address.bucket.base_url());
        let server = server.map_err(|source| Failure::Server { bucket: address.to_string(), source })?;
        Ok(Self {
            address: address.clone(),
            credentials,
            clock: means.clock,
            rng: means.rng,
            limits,
            server,
            keeps: OnceCell::new(),
            seen: AtomicBool::new(false),
        })
    }

    /// Asks the bucket once whether it keeps what it is given. Every write does that first.
    pub async fn check(&self) -> Result<(), Failure> {
        self.keeps.get_or_try_init(|| self.ask_whether_it_keeps()).await.copied()
    }

    async fn ask_whether_it_keeps(&self) -> Result<(), Failure> {
        let bucket = self.address.to_string();
        if !self.address.locked {
            tracing::warn!(
                bucket,
                "copies of the audit log go to a bucket that may let go of them: object-lock=off"
            );
            return Ok(());
        }
        for (word, element, lacks) in [
            ("object-lock", "ObjectLockEnabled", "has no Object Lock"),
            ("versioning", "Status", "does not keep versions"),
        ] {
            let query = [(word, "")];
            let ask = Ask::of_bucket(&query);
            let answer = self.exchange(&ask).await?;
            let text = String::from_utf8_lossy(&answer.body);
            let without = element_of(&text, "Code") == Some("ObjectLockConfigurationNotFoundError");
            if !without && !answer.status.is_success() {
                return Err(self.refused(&ask, &answer));
            }
            if element_of(&text, element) != Some("Enabled") {
                return Err(Failure::NotKept { bucket, why: lacks });
            }
        }
        tracing::info!(
            bucket,
            years = YEARS,
            "copies of the audit log go to a bucket that keeps them under Object Lock"
        );
        Ok(())
    }

    /// What an object holds.
    async fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Failure> {
        let ask = Ask::new(Method::Get, name);
        let answer = self.exchange(&ask).await?;
        if answer.status.is_success() {
            return Ok(Some(answer.body.into()));
        }
        let nothing = answer.status == StatusCode::NOT_FOUND
            && element_of(&String::from_utf8_lossy(&answer.body), "Code") == Some("NoSuchKey");
        if !nothing {
            return Err(self.refused(&ask, &answer));
        }
        // Not every server says here that it was deleted.
        match self.standing(name).await? {
            // Written in between.
            Standing::There(_) => {
                let answer = self.exchange(&ask).await?;
                let read = answer.status.is_success().then(|| answer.body.to_vec());
                read.map(Some).ok_or_else(|| self.refused(&ask, &answer))
            }
            Standing::Nothing => Ok(None),
        }
    }

    /// Whether there is an object; one that is hidden is an error.
    async fn standing(&self, name: &str) -> Result<Standing, Failure> {
        let ask = Ask::new(Method::Head, name);
        let answer = self.exchange(&ask).await?;
        if answer.status.is_success() {
            return Ok(Standing::There(answer));
        }
        if answer.status != StatusCode::NOT_FOUND {
            return Err(self.refused(&ask, &answer));
        }
        if answer.headers.get("x-amz-delete-marker").is_some_and(|marker| marker == "true") {
            return Err(Failure::Deleted { object: self.object(name) });
        }
        Ok(Standing::Nothing)
    }

    async fn write(&self, name: &str, content: &[u8]) -> Result<(), Failure> {
        self.check().await?;
        if name != NEWEST
            && let Standing::There(answer) = self.standing(name).await?
        {
            self.compare(name, content).await?;
            return if self.address.locked { self.see_kept(name, &answer, None) } else { Ok(()) };
        }
        let mut ask = Ask::new(Method::Put, name);
        ask.body = Bytes::copy_from_slice(content);
        ask.headers.insert("content-type", "application/octet-stream".to_owned());
        ask.headers.insert("x-amz-checksum-sha256", STANDARD.encode(Sha256::digest(content)));
        ask.headers.insert("x-amz-sdk-checksum-algorithm", "SHA256".to_owned());
        let until = if self.address.locked { Some(self.kept_until(name)?) } else { None };
        if let Some(until) = &until {
            ask.headers.insert(MODE, COMPLIANCE.to_owned());
            ask.headers.insert(UNTIL, until.clone());
        }
        if name != NEWEST {
            ask.headers.insert("if-none-match", "*".to_owned());
        }
        let mut answer = self.exchange(&ask).await?;
        if answer.status == StatusCode::NOT_IMPLEMENTED && ask.headers.remove("if-none-match").is_some() {
            // The server does not know the condition; that there was nothing was asked just now.
            answer = self.exchange(&ask).await?;
        }
        if answer.status == StatusCode::PRECONDITION_FAILED {
            // Another was faster, or an attempt of ours was not in vain.
            return self.compare(name, content).await;
        }
        if !answer.status.is_success() {
            return Err(self.refused(&ask, &answer));
        }
        // Of the first object the server is asked how long it keeps it: one that does not know Object Lock takes the headers
        // and forgets them.
        if let Some(until) = &until
            && !self.seen.load(Ordering::Relaxed)
        {
            let Standing::There(answer) = self.standing(name).await? else {
                return Err(Failure::NotLocked { object: self.object(name) });
            };
            self.see_kept(name, &answer, Some(until))?;
            self.seen.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    async fn compare(&self, name: &str, content: &[u8]) -> Result<(), Failure> {
        match self.read(name).await? {
            Some(there) if there == content => Ok(()),
            _ => Err(Failure::Other { object: self.object(name) }),
        }
    }

    /// Whether the server says that nobody deletes an object, at least until then.
    fn see_kept(&self, name: &str, answer: &Answer, until: Option<&str>) -> Result<(), Failure> {
        let said = |name: &str| answer.headers.get(name).and_then(|value| value.to_str().ok());
        let parse = |text: &str| text.parse::<jiff::Timestamp>().ok();
        let kept = said(UNTIL).and_then(parse).is_some_and(|kept| until.and_then(parse) <= Some(kept));
        if said(MODE) == Some(COMPLIANCE) && kept {
            return Ok(());
        }
        Err(Failure::NotLocked { object: self.object(name) })
    }

    fn now(&self, doing: &str) -> Result<jiff::Timestamp, Failure> {
        jiff::Timestamp::from_microsecond(self.clock.now().micros()).map_err(unwritable(doing))
    }

    fn kept_until(&self, name: &str) -> Result<String, Failure> {
        let doing = format!("PUT {}", self.object(name));
        let now = self.now(&doing)?;
        let until = if name == NEWEST { in_a_month(now) } else { after_seven_years(now) };
        Ok(until.map_err(unwritable(&doing))?.strftime("%Y-%m-%dT%H:%M:%SZ").to_string())
    }

    /// Asks until the server has answered for good. Gives also answers that say no.
    async fn exchange(&self, ask: &Ask<'_>) -> Result<Answer, Failure> {
        let doing = self.doing(ask);
        let mut attempts: u32 = 1;
        loop {
            let request = self.signed(ask, &doing).await?;
            let failure = match self.server.ask(request, self.limits).await {
                Ok(answer) if passes(answer.status) || is_conflict(&answer) => self.refused(ask, &answer),
                Ok(answer) => return Ok(answer),
                Err(source) => Failure::NoAnswer { doing: doing.clone(), source },
            };
            if attempts >= self.limits.attempts {
                return Err(failure);
            }
            tracing::debug!(attempts, error = app::with_causes(&failure), "trying again");
            tokio::time::sleep(self.pause(attempts)).await;
            attempts = attempts.saturating_add(1);
        }
    }

    /// Twice as long after each attempt, and by chance between half of it and all.
    fn pause(&self, attempts: u32) -> Duration {
        let doubled = 1_u32.checked_shl(attempts.saturating_sub(1)).unwrap_or(u32::MAX);
        let whole = self.limits.pause.saturating_mul(doubled).min(self.limits.longest_pause);
        let half = whole.checked_div(2).unwrap_or_default();
        let mut chance = [0; 8];
        self.rng.fill(&mut chance);
        let range = u64::try_from(half.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
        let more = u64::from_le_bytes(chance).checked_rem(range).unwrap_or_default();
        half.saturating_add(Duration::from_micros(more))
    }

    async fn signed(&self, ask: &Ask<'_>, doing: &str) -> Result<Request<Full<Bytes>>, Failure> {
        let credentials = match &self.credentials {
            Source::Environment(credentials) => credentials.clone(),
            Source::File(file) => {
                let say = |why: String| Failure::Credentials(format!("{doing}: {}: {why}", file.display()));
                let text = tokio::fs::read_to_string(file).await.map_err(|error| say(error.to_string()))?;
                credentials_in(&text).ok_or_else(|| {
                    say("it has no lines aws_access_key_id = .. and aws_secret_access_key = ..".to_owned())
                })?
            }
        };
        let bucket = &self.address.bucket;
        let url = match ask.name {
            Some(name) => bucket.object_url(&self.key(name)),
            None => bucket.base_url().clone(),
        };
        let authority = authority(&url);
        let url = signing::sign(
            &self.now(doing)?,
            ask.method,
            url,
            credentials.key(),
            credentials.secret(),
            credentials.token(),
            bucket.region(),
            SIGNED_FOR,
            ask.query.iter().copied(),
            ask.headers.iter().map(|(name, value)| (*name, value.as_str())),
        );
        let target = &url[Position::BeforePath..Position::AfterQuery];
        let mut request = Request::builder()
            .method(ask.method.to_str())
            .uri(target)
            .header(header::HOST, authority)
            .header(header::USER_AGENT, "TradeSense/1");
        for (name, value) in &ask.headers {
            request = request.header(*name, value);
        }
        request.body(Full::from(ask.body.clone())).map_err(unwritable(doing))
    }

    fn key(&self, name: &str) -> String {
        format!("{}{name}", self.address.prefix)
    }

    fn object(&self, name: &str) -> String {
        format!("{}{name}", self.address)
    }

    /// In words, for errors.
    fn doing(&self, ask: &Ask<'_>) -> String {
        let words: String = ask.query.iter().flat_map(|(word, _)| ["?", word]).collect();
        format!("{} {}{words}", ask.method.to_str(), self.object(ask.name.unwrap_or_default()))
    }

    fn refused(&self, ask: &Ask<'_>, answer: &Answer) -> Failure {
        let text = String::from_utf8_lossy(&answer.body);
        let mut said = String::new();
        for element in ["Code", "Message"] {
            if let Some(told) = element_of(&text, element) {
                said.push_str(": ");
                said.extend(told.chars().filter(|character| !character.is_control()).take(MOST_SAID));
            }
        }
        if let Some(region) =
            answer.headers.get("x-amz-bucket-region").and_then(|region| region.to_str().ok())
            && region != self.address.bucket.region()
        {
            said.push_str(": the bucket is in the region ");
            said.push_str(region);
        }
        Failure::Refused { doing: self.doing(ask), status: answer.status, said }
    }
}

#[async_trait]
impl Copies for Bucket {
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, AppError> {
        self.read(name).await.map_err(unavailable("reading a copy of the audit log"))
    }

    async fn put(&self, name: &str, content: &[u8]) -> Result<(), AppError> {
        self.write(name, content).await.map_err(unavailable("writing a copy of the audit log"))
    }
}

fn unavailable(doing: &'static str) -> impl FnOnce(Failure) -> AppError {
    move |failure| AppError::Unavailable { doing, source: Box::new(failure) }
}

fn unwritable<E: Into<BoxError>>(doing: &str) -> impl FnOnce(E) -> Failure {
    move |source| Failure::Unwritable { doing: doing.to_owned(), source: source.into() }
}

/// The server has too much to do, or is broken.
fn passes(status: StatusCode) -> bool {
    let busy = [StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_MANY_REQUESTS].contains(&status);
    busy || (status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED)
}

/// Two writers at the same moment: whoever asks again is told who was first.
fn is_conflict(answer: &Answer) -> bool {
    answer.status == StatusCode::CONFLICT
        && element_of(&String::from_utf8_lossy(&answer.body), "Code") == Some("ConditionalRequestConflict")
}

/// Host and port as they are signed.
fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// The text of an element without attributes, as in all of these short answers.
fn element_of<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let (_, behind) = xml.split_once(&format!("<{name}>"))?;
    Some(behind.split_once('<')?.0.trim())
}

/// The key in a file as Amazon's own tools write it; of several, the one of `[default]`.
fn credentials_in(text: &str) -> Option<Credentials> {
    let mut here = true;
    let mut found = BTreeMap::new();
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            here = line == "[default]";
        } else if here
            && !line.starts_with('#')
            && let Some((name, value)) = line.split_once('=')
        {
            found.insert(name.trim().to_ascii_lowercase(), value.trim());
        }
    }
    let value = |name: &str| found.get(name).copied().filter(|value| !value.is_empty());
    let (key, secret) = (value("aws_access_key_id")?, value("aws_secret_access_key")?);
    Some(match value("aws_session_token") {
        Some(token) => Credentials::new_with_token(key, secret, token),
        None => Credentials::new(key, secret),
    })
}

fn in_a_month(now: jiff::Timestamp) -> Result<jiff::Timestamp, jiff::Error> {
    now.checked_add(SignedDuration::from_hours(NEWEST_HOURS))
}

/// The end of the year and seven more, in UTC.
fn after_seven_years(now: jiff::Timestamp) -> Result<jiff::Timestamp, jiff::Error> {
    let year = now.to_zoned(TimeZone::UTC).year().saturating_add(YEARS).saturating_add(1);
    Ok(jiff::civil::Date::new(year, 1, 1)?.to_zoned(TimeZone::UTC)?.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_is_kept_to_the_end_of_its_year_and_seven_more() {
        for (written, kept) in [
            ("2026-01-01T00:00:00Z", "2034-01-01T00:00:00Z"),
            ("2026-12-31T23:59:59.999999Z", "2034-01-01T00:00:00Z"),
            ("2027-01-01T00:00:00Z", "2035-01-01T00:00:00Z"),
            ("2028-02-29T12:00:00Z", "2036-01-01T00:00:00Z"),
        ] {
            let until = after_seven_years(written.parse().unwrap()).unwrap();
            assert_eq!(until.to_string(), kept, "{written}");
        }
        let until = in_a_month("2026-01-05T10:00:00Z".parse().unwrap()).unwrap();
        assert_eq!(until.to_string(), "2026-02-04T10:00:00Z");
    }

    #[test]
    fn a_file_of_amazons_tools_gives_the_default_key() {
        let text = "# key\n[other]\naws_access_key_id = no\naws_secret_access_key = no\n\
                    [default]\nAWS_ACCESS_KEY_ID=AKIA\naws_secret_access_key = a=b/c+\naws_session_token =\n";
        assert_eq!(credentials_in(text), Some(Credentials::new("AKIA", "a=b/c+")));
        let bare = "aws_access_key_id = AKIA\naws_secret_access_key = s\naws_session_token = t\n";
        assert_eq!(credentials_in(bare), Some(Credentials::new_with_token("AKIA", "s", "t")));
        for nothing in
            ["", "aws_access_key_id = AKIA", "[other]\naws_access_key_id=A\naws_secret_access_key=s"]
        {
            assert_eq!(credentials_in(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn short_answers_are_read() {
        let error =
            "<?xml version=\"1.0\"?>\n<Error><Code>SlowDown</Code><Message>Please wait</Message></Error>";
        assert_eq!(element_of(error, "Code"), Some("SlowDown"));
        assert_eq!(element_of(error, "Message"), Some("Please wait"));
        assert_eq!(element_of(error, "Status"), None);
        assert_eq!(element_of("<Status>Enabled", "Status"), None);
    }
}
