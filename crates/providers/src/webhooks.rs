//! Calls the firm's own systems over HTTP.
//!
//! The address comes from a person, so it could name a machine of ours. The host is resolved once for each attempt, every
//! address it has is checked, and the connection goes to one of these very addresses: a name that answers otherwise the
//! next moment gains nothing. Nothing is followed (redirects are answers), nothing is sent but the message, no proxy of
//! the environment is asked, and of the answer only the first bytes are read.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use app::BoxError;
use app::webhooks::{Answer, NoAnswer, Outgoing, Target, UrlPolicy, WebhookSender};
use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use kernel::{Clock, Span, Timestamp};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
pub use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{self, ClientConfig};

/// Of an answer's body so many bytes are read.
pub const MOST_ANSWER_BYTES: usize = 4_096;
/// So many bytes of an answer's head are taken.
const MOST_HEAD_BYTES: usize = 32_768;

/// A body is read up to the end of the attempt; the answer it belongs to is given in this time after it.
const AFTER_THE_END: Duration = Duration::from_millis(100);

/// How long an attempt may take.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Until the connection stands.
    pub connect: Duration,
    /// All in all. An answer whose head has come by then counts.
    pub total: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connect: Duration::from_secs(5), total: Duration::from_secs(15) }
    }
}

/// Finds the addresses of a host.
#[async_trait]
pub trait Lookup: Send + Sync {
    /// All of them.
    async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>>;
}

/// Asks the system.
#[derive(Debug, Clone, Copy)]
pub struct SystemLookup;

#[async_trait]
impl Lookup for SystemLookup {
    async fn addresses(&self, host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        Ok(tokio::net::lookup_host((host, port)).await?.collect())
    }
}

/// Calls webhooks.
pub struct WebhookClient {
    urls: UrlPolicy,
    lookup: Arc<dyn Lookup>,
    limits: Limits,
    tls: TlsConnector,
    clock: Arc<dyn Clock>,
}

impl fmt::Debug for WebhookClient {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("WebhookClient").field("urls", &self.urls).finish_non_exhaustive()
    }
}

impl WebhookClient {
    /// One that asks the system for addresses and trusts the system's certificates.
    pub fn new(urls: UrlPolicy, clock: Arc<dyn Clock>) -> Result<Self, rustls::Error> {
        let mut roots = RootCertStore::empty();
        let found = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(found.certs);
        if roots.is_empty() {
            tracing::warn!(
                "the system has no certificates of authorities: no webhook can be reached over TLS"
            );
        }
        Self::with(urls, clock, Arc::new(SystemLookup), Limits::default(), roots)
    }

    /// The same with parts of one's own.
    pub fn with(
        urls: UrlPolicy,
        clock: Arc<dyn Clock>,
        lookup: Arc<dyn Lookup>,
        limits: Limits,
        roots: RootCertStore,
    ) -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(Self { urls, lookup, limits, tls: TlsConnector::from(Arc::new(tls)), clock })
    }

    /// Addresses that may be called, all of them.
    async fn addresses(&self, target: &Target) -> Result<Vec<SocketAddr>, NoAnswer> {
        let literal = target.host.parse::<IpAddr>().ok();
        let found = match literal {
            Some(address) => vec![SocketAddr::new(address, target.port)],
            None => self
                .lookup
                .addresses(&target.host, target.port)
                .await
                .map_err(no_answer("The host was not found."))?,
        };
        if found.is_empty() {
            return Err(NoAnswer { say: "The host was not found.".to_owned(), source: None });
        }
        if let Some(inside) = found.iter().find(|address| !self.urls.allows(address.ip())) {
            let say = "The host leads to an address that is not of the public Internet.".to_owned();
            return Err(NoAnswer { say, source: Some(format!("{} is {inside}", target.host).into()) });
        }
        // Whatever port a lookup gives, it is ours that counts.
        Ok(found.into_iter().map(|address| SocketAddr::new(address.ip(), target.port)).collect())
    }

    async fn exchange(&self, outgoing: &Outgoing, end: Instant) -> Result<Answer, NoAnswer> {
        let target = self.urls.read(&outgoing.url);
        let target = target.map_err(|say| NoAnswer { say, source: None })?;
        let request = request(&target, outgoing).map_err(no_answer("The request cannot be written."))?;
        let connected = timeout(self.limits.connect, async {
            let addresses = self.addresses(&target).await?;
            TcpStream::connect(&*addresses).await.map_err(no_answer("The connection was refused."))
        });
        let stream = connected.await.map_err(no_answer("The connection took too long."))??;
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection keeps its delays");
        }
        if !target.tls {
            return self.ask(stream, request, end).await;
        }
        let name =
            ServerName::try_from(target.host.clone()).map_err(no_answer("The host cannot be read."))?;
        let stream = self.tls.connect(name, stream).await;
        let stream = stream.map_err(no_answer("The TLS connection failed; check the certificate."))?;
        self.ask(stream, request, end).await
    }

    async fn ask<S>(&self, stream: S, request: Request<Full<Bytes>>, end: Instant) -> Result<Answer, NoAnswer>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let lost = "The connection ended before the answer.";
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MOST_HEAD_BYTES)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(no_answer(lost))?;
        // Ends with this attempt, however that ends.
        let mut carrying = JoinSet::new();
        carrying.spawn(connection);
        let response = sender.send_request(request).await.map_err(no_answer(lost))?;
        let (head, mut body) = response.into_parts();
        let mut read = Vec::new();
        while read.len() < MOST_ANSWER_BYTES
            && let Ok(Some(Ok(frame))) = timeout_at(end, body.frame()).await
        {
            if let Ok(part) = frame.into_data() {
                let room = MOST_ANSWER_BYTES.saturating_sub(read.len());
                read.extend(part.into_iter().take(room));
            }
        }
        Ok(Answer {
            status: head.status.as_u16(),
            // PostgreSQL takes no NUL.
            body: String::from_utf8_lossy(&read).replace('\0', "\u{fffd}"),
            retry_after: retry_after(head.status, &head.headers, self.clock.now()),
        })
    }
}

#[async_trait]
impl WebhookSender for WebhookClient {
    async fn send(&self, outgoing: &Outgoing) -> Result<Answer, NoAnswer> {
        let late = no_answer("The answer took too long.");
        let now = Instant::now();
        let end = now.checked_add(self.limits.total);
        let last = end.and_then(|end| end.checked_add(AFTER_THE_END));
        let (end, last) =
            end.zip(last).ok_or_else(|| no_answer("The attempt took too long.")("no such instant"))?;
        timeout_at(last, self.exchange(outgoing, end)).await.map_err(late)?
    }
}

fn no_answer<E: Into<BoxError>>(say: &'static str) -> impl FnOnce(E) -> NoAnswer {
    move |source| NoAnswer { say: say.to_owned(), source: Some(source.into()) }
}

fn request(target: &Target, outgoing: &Outgoing) -> Result<Request<Full<Bytes>>, http::Error> {
    let signed = &outgoing.headers;
    Request::post(target.path.as_str())
        .header(header::HOST, target.authority.as_str())
        .header(header::USER_AGENT, "TradeSense-Webhooks/1")
        .header(header::CONTENT_TYPE, "application/json")
        .header("webhook-id", signed.id.as_str())
        .header("webhook-timestamp", signed.timestamp.as_str())
        .header("webhook-signature", signed.signature.as_str())
        .body(Full::from(outgoing.body.clone()))
}

/// How long a receiver that is too busy asks us to wait: seconds or a date.
fn retry_after(status: StatusCode, headers: &HeaderMap, now: Timestamp) -> Option<Span> {
    if status.is_success() {
        return None;
    }
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<i32>() {
        return (seconds >= 0).then(|| Span::from_seconds(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(text).ok()?;
    let at = Timestamp::from_micros(date.timestamp().as_microsecond());
    at.since(now).ok().filter(|span| span.micros() >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receiver_asks_for_time_in_seconds_or_by_a_date() {
        let now = Timestamp::parse("2026-01-05T10:00:00Z").unwrap();
        let asked = |text: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            retry_after(StatusCode::SERVICE_UNAVAILABLE, &headers, now).map(Span::micros)
        };
        assert_eq!(asked("120"), Some(120_000_000));
        assert_eq!(asked("Mon, 05 Jan 2026 10:02:00 GMT"), Some(120_000_000));
        for nothing in ["-5", "soon", "Mon, 05 Jan 2026 09:00:00 GMT", "1.5", "99999999999"] {
            assert_eq!(asked(nothing), None, "{nothing}");
        }
    }
}
