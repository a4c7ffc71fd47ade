//! Asking a provider over HTTP: time-outs, repeats, and what is known after all of them.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use kernel::{Clock, Rng, Span};
use reqwest::Url;
use rustls::{ClientConfig, RootCertStore};
use serde::de::DeserializeOwned;

use super::breaker::Breaker;
use app::payments::port::{Failure, Mode, ProviderName, Reference, Said};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What asking may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// To connect.
    pub connect: Duration,
    /// From the first byte out to the last one in, of one attempt.
    pub answer: Duration,
    /// Attempts in all.
    pub attempts: u32,
    /// The longest first wait between two attempts; doubled each time. The wait is a random part of it.
    pub first_wait: Duration,
    /// The longest wait between two attempts, whatever the provider asks for.
    pub longest_wait: Duration,
    /// The longest answer in bytes.
    pub most_bytes: usize,
    /// Failures in a row after which the provider is left alone.
    pub most_failures: u32,
    /// For how long.
    pub rest: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(5),
            answer: Duration::from_secs(30),
            attempts: 3,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(8),
            most_bytes: 8 * 1_024 * 1_024,
            most_failures: 8,
            rest: Duration::from_secs(30),
        }
    }
}

/// What an adapter of a provider stands on.
#[derive(Clone)]
pub struct Tools {
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
    /// Spreads the waits.
    pub rng: Arc<dyn Rng>,
    /// Whose certificates of servers are accepted.
    pub roots: RootCertStore,
    /// What asking may take.
    pub limits: Limits,
}

impl fmt::Debug for Tools {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tools").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// The authorities that the system trusts.
pub fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        tracing::warn!("the system has no certificates of authorities: no provider can be reached over TLS");
    }
    roots
}

/// The same authorities in PEM.
pub fn system_roots_pem() -> String {
    let mut pem = String::new();
    for root in rustls_native_certs::load_native_certs().certs {
        let text = STANDARD.encode(&root);
        pem.push_str("-----BEGIN CERTIFICATE-----\n");
        for line in text.as_bytes().chunks(64) {
            pem.push_str(&String::from_utf8_lossy(line));
            pem.push('\n');
        }
        pem.push_str("-----END CERTIFICATE-----\n");
    }
    pem
}

/// TLS as everything here speaks it.
pub(super) fn tls(roots: RootCertStore) -> Result<ClientConfig, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

/// An adapter that cannot be made from its settings.
#[derive(Debug, thiserror::Error)]
pub enum BadSettings {
    /// A key of the other mode, or no key at all.
    #[error("the key of {0} is not one for {1} money")]
    WrongKey(ProviderName, &'static str),
    /// Real money goes to the provider's own address and nowhere else.
    #[error("{0} has another address, which real money is not sent to")]
    ForeignAddress(ProviderName),
    /// An address or a key that no header and no URL holds.
    #[error("{0} of {1} cannot be read")]
    Unreadable(&'static str, ProviderName),
    /// The machine offers no such TLS or client.
    #[error("no client for {0}")]
    Client(ProviderName, #[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Reads where a provider is: its own address, or in tests another one.
pub(super) fn address(
    provider: ProviderName,
    mode: Mode,
    own: &str,
    other: Option<&str>,
) -> Result<Url, BadSettings> {
    if mode == Mode::Live && other.is_some() {
        return Err(BadSettings::ForeignAddress(provider));
    }
    let url =
        Url::parse(other.unwrap_or(own)).map_err(|_| BadSettings::Unreadable("the address", provider))?;
    // A key goes out in the clear on one's own machine at most.
    let here = matches!(url.host_str(), Some("127.0.0.1" | "localhost" | "[::1]"));
    if url.scheme() == "https" || (url.scheme() == "http" && here) {
        Ok(url)
    } else {
        Err(BadSettings::Unreadable("the address", provider))
    }
}

/// Whether a request may be sent again if nobody knows what became of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It changes nothing.
    Reads,
    /// It carries a key under which it takes effect once.
    Keyed,
    /// It changes something, and twice would be twice.
    Once,
}

/// What is asked.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
    pub(super) repeat: Repeat,
}

impl Ask {
    pub(super) fn header(mut self, name: HeaderName, value: &str) -> Result<Self, Failure> {
        let value = HeaderValue::from_str(value)
            .map_err(|_| refused("header", format!("The value for {name} fits in no header.")))?;
        self.headers.insert(name, value);
        Ok(self)
    }
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
    /// An attempt before this one may have taken effect.
    pub(super) doubt: bool,
    pub(super) repeat: Repeat,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    }

    /// Reads a body that should be one. What cannot be read after a write is a thing that happened and that we do not know.
    pub(super) fn read<T: DeserializeOwned>(&self, trace: Option<String>) -> Result<T, Failure> {
        serde_json::from_slice(&self.body).map_err(|error| self.unreadable(&error, trace))
    }

    pub(super) fn unreadable(&self, error: &dyn fmt::Display, trace: Option<String>) -> Failure {
        unreadable(self.repeat, error, trace)
    }
}

/// An answer without what it should have.
pub(super) fn unreadable(repeat: Repeat, error: &dyn fmt::Display, trace: Option<String>) -> Failure {
    let said =
        Said { code: "unreadable".to_owned(), text: format!("The answer cannot be read: {error}."), trace };
    match repeat {
        Repeat::Reads => Failure::Unavailable { said, retry_after: None },
        Repeat::Keyed | Repeat::Once => Failure::Unknown(said),
    }
}

/// What a failed look means right after a write that was carried out: not that nothing happened.
pub(super) fn after_write(failure: Failure) -> Failure {
    match failure {
        Failure::Unavailable { said, .. } | Failure::WrongKey(said) | Failure::Refused(said) => {
            Failure::Unknown(said)
        }
        known @ (Failure::Declined(_) | Failure::Unknown(_)) => known,
    }
}

pub(super) fn refused(code: &str, text: String) -> Failure {
    Failure::Refused(Said { code: code.to_owned(), text, trace: None })
}

/// The key of an effect. Providers have one room for the keys of all operations, our references have one for each.
pub(super) fn key(operation: &str, reference: &Reference) -> String {
    format!("{operation}-{reference}")
}

/// A part of a path that came from outside: letters, digits, hyphens and underscores only.
pub(super) fn path_part(id: &str) -> Result<&str, Failure> {
    let fits = (1..=255).contains(&id.len());
    let plain = id.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
    if fits && plain {
        Ok(id)
    } else {
        Err(refused("id", format!("{id:?} is no provider's name of anything.")))
    }
}

/// `a=b&c=d`, every byte that is not plain as `%XX`.
pub(super) fn encode_form(fields: &[(String, String)]) -> String {
    let mut text = String::new();
    for (name, value) in fields {
        if !text.is_empty() {
            text.push('&');
        }
        percent(&mut text, name);
        text.push('=');
        percent(&mut text, value);
    }
    text
}

fn percent(text: &mut String, part: &str) {
    for byte in part.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            text.push(char::from(byte));
        } else {
            let [high, low] = [byte >> 4, byte & 15].map(|half| match half {
                0..=9 => char::from(half.wrapping_add(b'0')),
                _ => char::from(half.wrapping_sub(10).wrapping_add(b'A')),
            });
            text.extend(['%', high, low]);
        }
    }
}

/// Asks one provider.
pub(super) struct Wire {
    provider: ProviderName,
    client: reqwest::Client,
    breaker: Breaker,
    tools: Tools,
}

impl fmt::Debug for Wire {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Wire").field("provider", &self.provider).finish_non_exhaustive()
    }
}

/// Why an attempt has no answer that ends the asking.
enum Trouble {
    /// The provider did not act on it.
    NothingDone(Said, Option<Span>),
    /// It may have.
    Doubt(Said),
}

impl Wire {
    pub(super) fn new(provider: ProviderName, mode: Mode, tools: Tools) -> Result<Self, BadSettings> {
        let tls = tls(tools.roots.clone()).map_err(|error| BadSettings::Client(provider, error.into()))?;
        let client = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .https_only(mode == Mode::Live)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .no_proxy()
            .connect_timeout(tools.limits.connect)
            .timeout(tools.limits.answer)
            .user_agent(concat!("TradeSense/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|error| BadSettings::Client(provider, error.into()))?;
        let breaker = Breaker::new(tools.limits.most_failures, Span::from(tools.limits.rest));
        Ok(Self { provider, client, breaker, tools })
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.tools.clock
    }

    /// Asks until there is an answer, or there is no point.
    pub(super) async fn ask(&self, ask: Ask) -> Result<Answer, Failure> {
        let mut doubt: Option<Said> = None;
        let mut last = None;
        for attempt in 0..self.tools.limits.attempts.max(1) {
            if attempt > 0 {
                let asked = last.as_ref().and_then(|(_, wait): &(Said, Option<Span>)| *wait);
                tokio::time::sleep(self.wait(attempt, asked)).await;
            }
            let passage = match self.breaker.pass(self.tools.clock.now()) {
                Ok(passage) => passage,
                Err(rest) => {
                    let text = format!("{} has not answered for a while and is left alone.", self.provider);
                    last = Some((said("left_alone", text), Some(rest)));
                    break;
                }
            };
            match self.once(&ask).await {
                Ok(answer) => {
                    passage.answered();
                    return Ok(Answer { doubt: doubt.is_some(), ..answer });
                }
                Err(Trouble::NothingDone(why, wait)) => {
                    // Too many requests are an answer of somebody who is well.
                    if why.code == "busy" {
                        passage.answered();
                    }
                    last = Some((why, wait));
                }
                Err(Trouble::Doubt(why)) if ask.repeat == Repeat::Reads => last = Some((why, None)),
                Err(Trouble::Doubt(why)) => {
                    last = Some((why.clone(), None));
                    doubt = Some(why);
                    if ask.repeat == Repeat::Once {
                        break;
                    }
                }
            }
        }
        if let Some(said) = doubt {
            tracing::warn!(provider = self.provider.word(), %said, "nobody knows whether a request was carried out");
            return Err(Failure::Unknown(said));
        }
        let (said, retry_after) =
            last.unwrap_or_else(|| (said("nothing", "No attempt was made.".to_owned()), None));
        Err(Failure::Unavailable { said, retry_after })
    }

    async fn once(&self, ask: &Ask) -> Result<Answer, Trouble> {
        let mut request =
            self.client.request(ask.method.clone(), ask.url.clone()).headers(ask.headers.clone());
        if let Some(body) = &ask.body {
            request = request.body(body.clone());
        }
        let mut response = request.send().await.map_err(|error| {
            let why = said(if error.is_timeout() { "timeout" } else { "connection" }, told(&error));
            // Without a connection nothing was sent.
            if error.is_connect() { Trouble::NothingDone(why, None) } else { Trouble::Doubt(why) }
        })?;
        let mut body = BytesMut::new();
        loop {
            match response.chunk().await {
                Ok(Some(chunk)) if body.len().saturating_add(chunk.len()) <= self.tools.limits.most_bytes => {
                    body.extend_from_slice(&chunk);
                }
                Ok(Some(_)) => {
                    let text = "The answer is longer than any that we read.".to_owned();
                    return Err(Trouble::Doubt(said("too_long", text)));
                }
                Ok(None) => break,
                Err(error) => return Err(Trouble::Doubt(said("cut", told(&error)))),
            }
        }
        let answer = Answer {
            status: response.status(),
            headers: response.headers().clone(),
            body: body.freeze(),
            doubt: false,
            repeat: ask.repeat,
        };
        self.weigh(answer)
    }

    /// Whether an answer is one, or a reason to ask again.
    fn weigh(&self, answer: Answer) -> Result<Answer, Trouble> {
        let status = answer.status;
        let trace = answer.header("request-id").or_else(|| answer.header("paypal-debug-id"));
        let say = |code: &str| Said {
            code: code.to_owned(),
            text: format!("{} answered {status}.", self.provider),
            trace: trace.clone(),
        };
        if status == StatusCode::TOO_MANY_REQUESTS {
            let wait = answer.header("retry-after").and_then(|text| text.trim().parse::<i32>().ok());
            return Err(Trouble::NothingDone(
                say("busy"),
                wait.filter(|seconds| *seconds >= 0).map(Span::from_seconds),
            ));
        }
        if status.is_server_error() || status.is_redirection() || status.is_informational() {
            return Err(Trouble::Doubt(say("server")));
        }
        // Both say so while another request under the same key is at work. That one may take effect.
        let text = String::from_utf8_lossy(&answer.body);
        let at_work = ["idempotency_key_in_use", "lock_timeout", "PREVIOUS_REQUEST_IN_PROGRESS"];
        if !status.is_success() && at_work.iter().any(|word| text.contains(word)) {
            return Err(Trouble::Doubt(say("at_work")));
        }
        Ok(answer)
    }

    /// A random part of a span that doubles (full jitter), or what the provider asked for within our limit.
    fn wait(&self, attempt: u32, asked: Option<Span>) -> Duration {
        let limits = &self.tools.limits;
        let doubled = 2_u32.saturating_pow(attempt.saturating_sub(1));
        let most = limits.first_wait.saturating_mul(doubled).min(limits.longest_wait);
        let mut random = [0_u8; 8];
        self.tools.rng.fill(&mut random);
        let micros = u64::try_from(most.as_micros()).unwrap_or(u64::MAX).saturating_add(1);
        let jitter =
            Duration::from_micros(u64::from_le_bytes(random).checked_rem(micros).unwrap_or_default());
        let asked = asked.map_or(Duration::ZERO, Duration::from).min(limits.longest_wait);
        jitter.max(asked)
    }
}

pub(super) fn said(code: &str, text: String) -> Said {
    Said { code: code.to_owned(), text, trace: None }
}

/// An error with its causes, without the URL, which may carry what nobody should read.
fn told(error: &reqwest::Error) -> String {
    let mut text = String::from("No answer");
    let mut cause: Option<&dyn std::error::Error> = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text.push('.');
    text
}

/// The media type of a form.
pub(super) const FORM: &str = "application/x-www-form-urlencoded";

/// The media type of JSON.
pub(super) const JSON: &str = "application/json";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_form_keeps_every_byte() {
        let fields = [("a[b]", "x y&z=é"), ("c", "{ID}+")].map(|(name, value)| (name.into(), value.into()));
        assert_eq!(encode_form(&fields), "a%5Bb%5D=x%20y%26z%3D%C3%A9&c=%7BID%7D%2B");
    }

    #[test]
    fn ids_from_outside_do_not_leave_their_part_of_the_path() {
        assert!(path_part("pi_3Abc-9").is_ok());
        for bad in ["", "..", "a/b", "a?b", "a#b", "a%2fb", "é", "a b", &"x".repeat(256)] {
            assert!(matches!(path_part(bad), Err(Failure::Refused(_))), "{bad}");
        }
    }

    #[test]
    fn real_money_goes_nowhere_else_and_keys_do_not_go_in_the_clear() {
        let own = "https://api.stripe.com/";
        let read = |mode, other| address(ProviderName::Stripe, mode, own, other).map(|url| url.to_string());
        assert_eq!(read(Mode::Live, None).unwrap(), own);
        assert!(matches!(read(Mode::Live, Some("https://127.0.0.1/")), Err(BadSettings::ForeignAddress(_))));
        assert!(read(Mode::Test, Some("http://127.0.0.1:1/")).is_ok());
        assert!(read(Mode::Test, Some("http://stripe.example/")).is_err());
        assert!(read(Mode::Test, Some("ftp://127.0.0.1/")).is_err());
    }
}
