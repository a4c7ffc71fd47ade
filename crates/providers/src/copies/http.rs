//! Requests to one server, over connections that are kept for the next ones.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use app::BoxError;
use app::auditing::PART;
use bytes::Bytes;
use http::{HeaderMap, Request, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Body;
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::{error::Elapsed, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto};
use url::{Host, Url};

use super::Limits;

/// The longest answer that is read: a file of an archive that compression did not make smaller.
const MOST_BYTES: usize = PART.saturating_add(1 << 20);
/// So many bytes a second at least.
const SLOWEST: u64 = 256 << 10;
/// So many connections are kept.
const MOST_IDLE: usize = 16;

/// A server.
pub(super) struct Server {
    host: Host,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    idle: Mutex<Vec<SendRequest<Full<Bytes>>>>,
}

/// What it answered.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Server {
    /// The one that an address names. Over TLS it is believed by the system's certificates.
    pub(super) fn of(url: &Url) -> Result<Self, BoxError> {
        let host = url.host().ok_or("the address names no host")?.to_owned();
        let port = url.port_or_known_default().ok_or("the address names no port")?;
        let tls = if url.scheme() == "https" { Some((tls()?, server_name(&host)?)) } else { None };
        Ok(Self { host, port, tls, idle: Mutex::default() })
    }

    /// Sends a request and reads the answer whole.
    pub(super) async fn ask(
        &self,
        request: Request<Full<Bytes>>,
        limits: Limits,
    ) -> Result<Answer, BoxError> {
        let late = |_: Elapsed| BoxError::from("the answer took too long");
        let time = time_for(request.body(), limits);
        let asked = async {
            let mut sender = self.sender(limits).await?;
            let response = sender.send_request(request).await?;
            Ok::<_, BoxError>((sender, response))
        };
        let (sender, response) = timeout(time, asked).await.map_err(late)??;
        let (head, body) = response.into_parts();
        let time = time_for(&body, limits);
        let body = timeout(time, Limited::new(body, MOST_BYTES).collect()).await.map_err(late)??.to_bytes();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < MOST_IDLE {
            idle.push(sender);
        }
        Ok(Answer { status: head.status, headers: head.headers, body })
    }

    /// A connection: a kept one that the server has not closed, or a new one.
    async fn sender(&self, limits: Limits) -> Result<SendRequest<Full<Bytes>>, BoxError> {
        loop {
            let kept = self.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let Some(mut kept) = kept else { break };
            if kept.ready().await.is_ok() {
                return Ok(kept);
            }
        }
        let late = |_: Elapsed| BoxError::from("connecting took too long");
        timeout(limits.connect, self.connect()).await.map_err(late)?
    }

    async fn connect(&self) -> Result<SendRequest<Full<Bytes>>, BoxError> {
        let stream = match &self.host {
            // This machine, whatever resolvers say (RFC 6761); tests need it for buckets in host names.
            Host::Domain(name) if name.ends_with(".localhost") => {
                TcpStream::connect(SocketAddr::from((Ipv4Addr::LOCALHOST, self.port))).await
            }
            Host::Domain(name) => TcpStream::connect((name.as_str(), self.port)).await,
            Host::Ipv4(address) => TcpStream::connect((*address, self.port)).await,
            Host::Ipv6(address) => TcpStream::connect((*address, self.port)).await,
        };
        let stream = stream?;
        stream.set_nodelay(true)?;
        match &self.tls {
            None => carried(stream).await,
            Some((tls, name)) => carried(tls.connect(name.clone(), stream).await?).await,
        }
    }
}

/// The limit, and more for a long body of a known length.
fn time_for(body: &impl Body, limits: Limits) -> Duration {
    let bytes = body.size_hint().exact().unwrap_or_default();
    limits.total.saturating_add(Duration::from_secs(bytes.checked_div(SLOWEST).unwrap_or_default()))
}

async fn carried<S>(stream: S) -> Result<SendRequest<Full<Bytes>>, BoxError>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = handshake(TokioIo::new(stream)).await?;
    // It ends when its sender is gone.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection for copies ended");
        }
    });
    Ok(sender)
}

fn server_name(host: &Host) -> Result<ServerName<'static>, BoxError> {
    Ok(match host {
        Host::Domain(name) => ServerName::try_from(name.clone())?,
        Host::Ipv4(address) => ServerName::from(std::net::IpAddr::from(*address)),
        Host::Ipv6(address) => ServerName::from(std::net::IpAddr::from(*address)),
    })
}

fn tls() -> Result<TlsConnector, BoxError> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        return Err("the system has no certificates of authorities".into());
    }
    let config = ClientConfig::builder_with_provider(Arc::new(crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(TlsConnector::from(Arc::new(config)))
}
