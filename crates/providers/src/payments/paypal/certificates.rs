//! The certificates that PayPal signs its webhooks with: from where, whose, and for how long.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use kernel::{Span, Timestamp};
use rustls::RootCertStore;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use tokio::sync::Semaphore;
use webpki::{EndEntityCert, KeyUsage};

use super::super::wire::{BadSettings, tls};
use app::payments::port::{Distrust, Mode, ProviderName};

/// The longest file of certificates.
const MOST_BYTES: usize = 64 * 1_024;
/// A leaf and what leads from it to a root.
const MOST_CERTIFICATES: usize = 6;
/// Certificates kept.
const MOST_KEPT: usize = 32;
/// For how long one is kept before it is fetched again.
const KEPT_FOR: Span = Span::from_seconds(6 * 3_600);
/// For how long an address that gave none is not asked again.
const FAILED_FOR: Span = Span::from_seconds(30);
/// Fetches at once: whoever sends forgeries with many addresses makes us ask PayPal, but not much.
const MOST_FETCHES: usize = 2;

/// An address at which a certificate of PayPal's may lie.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct CertificateUrl(String);

impl CertificateUrl {
    /// PayPal's host of the mode, HTTPS, its usual port, and nothing around.
    pub(super) fn read(text: &str, mode: Mode) -> Result<Self, Distrust> {
        let host = match mode {
            Mode::Test => "api.sandbox.paypal.com",
            Mode::Live => "api.paypal.com",
        };
        let rest = text.strip_prefix("https://").and_then(|rest| rest.strip_prefix(host));
        let path = rest.map(|rest| rest.strip_prefix(":443").unwrap_or(rest));
        let name = path.and_then(|path| path.strip_prefix("/v1/notifications/certs/"));
        let name = name.ok_or(Distrust::ForeignCertificate)?;
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if name.is_empty() || name.len() > 128 || !plain {
            return Err(Distrust::ForeignCertificate);
        }
        Ok(Self(format!("https://{host}/v1/notifications/certs/{name}")))
    }

    /// The address.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// From where certificates come.
#[async_trait]
pub trait CertificateSource: Send + Sync {
    /// The file at an address, in PEM, or why there is none now.
    async fn fetch(&self, url: &CertificateUrl) -> Result<Vec<u8>, String>;
}

/// Fetches over HTTPS: no redirects, no proxy, soon or not at all.
#[derive(Debug)]
pub struct HttpsCertificates(reqwest::Client);

impl HttpsCertificates {
    /// Trusts servers by these roots. With `at`, PayPal's host is looked for there; its name still has to be proved.
    pub fn new(
        roots: RootCertStore,
        patience: Duration,
        at: Option<SocketAddr>,
    ) -> Result<Self, BadSettings> {
        let client = |error: Box<dyn std::error::Error + Send + Sync>| {
            BadSettings::Client(ProviderName::Paypal, error)
        };
        let mut builder = reqwest::Client::builder()
            .tls_backend_preconfigured(tls(roots).map_err(|error| client(error.into()))?)
            .https_only(true)
            .http1_only()
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .timeout(patience);
        for host in ["api.paypal.com", "api.sandbox.paypal.com"] {
            builder = match at {
                Some(at) => builder.resolve(host, at),
                None => builder,
            };
        }
        builder.build().map(Self).map_err(|error| client(error.into()))
    }
}

#[async_trait]
impl CertificateSource for HttpsCertificates {
    async fn fetch(&self, url: &CertificateUrl) -> Result<Vec<u8>, String> {
        let told = |error: reqwest::Error| {
            if error.is_timeout() { "it took too long".to_owned() } else { error.without_url().to_string() }
        };
        let mut response = self.0.get(url.as_str()).send().await.map_err(told)?;
        if response.status() != http::StatusCode::OK {
            return Err(format!("the answer was {}", response.status()));
        }
        let mut file = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(told)? {
            file.extend_from_slice(&chunk);
            if file.len() > MOST_BYTES {
                return Err("the file is longer than any certificate".to_owned());
            }
        }
        Ok(file)
    }
}

/// A certificate with what leads from it to a root.
pub(super) type Chain = Vec<CertificateDer<'static>>;

enum Kept {
    Chain(Arc<Chain>, Timestamp),
    Nothing(String, Timestamp),
}

/// Certificates by address.
pub(super) struct Certificates {
    mode: Mode,
    roots: Vec<TrustAnchor<'static>>,
    source: Arc<dyn CertificateSource>,
    kept: Mutex<BTreeMap<CertificateUrl, Kept>>,
    fetches: Semaphore,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Certificates").field("mode", &self.mode).finish_non_exhaustive()
    }
}

impl Certificates {
    pub(super) fn new(
        mode: Mode,
        roots: Vec<TrustAnchor<'static>>,
        source: Arc<dyn CertificateSource>,
    ) -> Self {
        Self { mode, roots, source, kept: Mutex::default(), fetches: Semaphore::new(MOST_FETCHES) }
    }

    pub(super) const fn mode(&self) -> Mode {
        self.mode
    }

    /// A chain that is PayPal's and valid now.
    pub(super) async fn get(&self, url: &CertificateUrl, now: Timestamp) -> Result<Arc<Chain>, Distrust> {
        let chain = match self.known(url, now) {
            Some(known) => known?,
            None => self.fetch(url, now).await?,
        };
        self.check(&chain, now)?;
        self.keep(url, Kept::Chain(Arc::clone(&chain), now), now);
        Ok(chain)
    }

    fn known(&self, url: &CertificateUrl, now: Timestamp) -> Option<Result<Arc<Chain>, Distrust>> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.get(url)? {
            Kept::Chain(chain, at) if is_fresh(*at, KEPT_FOR, now) => Some(Ok(Arc::clone(chain))),
            Kept::Nothing(why, at) if is_fresh(*at, FAILED_FOR, now) => {
                Some(Err(Distrust::CertificateUnavailable(why.clone())))
            }
            Kept::Chain(..) | Kept::Nothing(..) => None,
        }
    }

    async fn fetch(&self, url: &CertificateUrl, now: Timestamp) -> Result<Arc<Chain>, Distrust> {
        let Ok(_permit) = self.fetches.try_acquire() else {
            return Err(Distrust::CertificateUnavailable("too many are fetched".to_owned()));
        };
        match self.source.fetch(url).await {
            Ok(file) => read(&file).map(Arc::new),
            Err(why) => {
                self.keep(url, Kept::Nothing(why.clone(), now), now);
                Err(Distrust::CertificateUnavailable(why))
            }
        }
    }

    /// A chain stays as long as it was to when it came: whoever uses it does not make it younger.
    fn keep(&self, url: &CertificateUrl, new: Kept, now: Timestamp) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if let (Some(Kept::Chain(_, at)), Kept::Chain(..)) = (kept.get(url), &new)
            && is_fresh(*at, KEPT_FOR, now)
        {
            return;
        }
        kept.insert(url.clone(), new);
        if kept.len() > MOST_KEPT {
            // What gave nothing goes first, then what is oldest.
            let oldest = kept.iter().min_by_key(|(_, kept)| match kept {
                Kept::Nothing(_, at) => (0, *at),
                Kept::Chain(_, at) => (1, *at),
            });
            if let Some(oldest) = oldest.map(|(url, _)| url.clone()) {
                kept.remove(&oldest);
            }
        }
    }

    fn check(&self, chain: &Chain, now: Timestamp) -> Result<(), Distrust> {
        let bad = |error: webpki::Error| Distrust::BadCertificate(error.to_string());
        let leaf = leaf(chain)?;
        let seconds = u64::try_from(now.micros().div_euclid(1_000_000)).unwrap_or_default();
        let time = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let between = chain.get(1..).unwrap_or_default();
        let algorithms = webpki::ALL_VERIFICATION_ALGS;
        leaf.verify_for_usage(algorithms, &self.roots, between, time, KeyUsage::server_auth(), None, None)
            .map_err(bad)?;
        let ours = |name: &&str| {
            let sandbox = name.ends_with(".sandbox.paypal.com");
            name.ends_with(".paypal.com") && !name.contains('*') && (self.mode == Mode::Test || !sandbox)
        };
        let name = leaf.valid_dns_names().find(ours);
        let name = name.ok_or_else(|| Distrust::BadCertificate("it is not PayPal's".to_owned()))?;
        let name = ServerName::try_from(name).map_err(|error| Distrust::BadCertificate(error.to_string()))?;
        leaf.verify_is_valid_for_subject_name(&name).map_err(bad)
    }
}

/// A clock that was set back makes nothing fresh for longer.
fn is_fresh(at: Timestamp, lives: Span, now: Timestamp) -> bool {
    now.since(at).is_ok_and(|gone| gone >= Span::ZERO && gone < lives)
}

/// The certificate that signs.
pub(super) fn leaf(chain: &Chain) -> Result<EndEntityCert<'_>, Distrust> {
    let leaf = chain.first().ok_or_else(|| Distrust::BadCertificate("the file is empty".to_owned()))?;
    EndEntityCert::try_from(leaf).map_err(|error| Distrust::BadCertificate(error.to_string()))
}

fn read(file: &[u8]) -> Result<Chain, Distrust> {
    let chain: Result<Chain, _> = CertificateDer::pem_slice_iter(file).collect();
    let chain = chain.map_err(|error| Distrust::BadCertificate(error.to_string()))?;
    if chain.len() > MOST_CERTIFICATES {
        return Err(Distrust::BadCertificate("the chain is longer than any".to_owned()));
    }
    Ok(chain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_lie_at_paypal_and_nowhere_else() {
        let good = "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-360caa42-fca2a594";
        let read = |text: &str| CertificateUrl::read(text, Mode::Test);
        assert_eq!(read(good).unwrap().as_str(), good);
        assert_eq!(read(&good.replace(".com/", ".com:443/")).unwrap().as_str(), good);
        let live = good.replace("sandbox.", "");
        assert!(CertificateUrl::read(&live, Mode::Live).is_ok());
        assert_eq!(CertificateUrl::read(good, Mode::Live), Err(Distrust::ForeignCertificate));
        for bad in [
            live.as_str(),
            "http://api.sandbox.paypal.com/v1/notifications/certs/CERT-1",
            "https://api.sandbox.paypal.com.evil.example/v1/notifications/certs/CERT-1",
            "https://api.sandbox.paypal.com@evil.example/v1/notifications/certs/CERT-1",
            "https://user@api.sandbox.paypal.com/v1/notifications/certs/CERT-1",
            "https://api.sandbox.paypal.com:8443/v1/notifications/certs/CERT-1",
            "https://api.sandbox.paypal.com:443@evil.example/v1/notifications/certs/CERT-1",
            "https://evil-api.sandbox.paypal.com/v1/notifications/certs/CERT-1",
            "https://API.SANDBOX.PAYPAL.COM/v1/notifications/certs/CERT-1",
            "https://api.sandbox.paypal.com/v1/notifications/certs/../../x",
            "https://api.sandbox.paypal.com/v1/notifications/certs/",
            "https://api.sandbox.paypal.com/v1/notifications/certs/a?b",
            "https://api.sandbox.paypal.com/v1/notifications/certs/a#b",
            "https://api.sandbox.paypal.com/redirect?to=https://evil.example",
            "https://10.0.0.1/v1/notifications/certs/CERT-1",
            "https://169.254.169.254/v1/notifications/certs/CERT-1",
            "https://[::1]/v1/notifications/certs/CERT-1",
            "file:///v1/notifications/certs/CERT-1",
            " https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1",
            "",
        ] {
            assert_eq!(read(bad), Err(Distrust::ForeignCertificate), "{bad}");
        }
    }
}
