//! Certificates as PayPal has them: a root, an authority between, a leaf that signs; and a server that serves them.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};
use ring::rand::SystemRandom;
use ring::signature::{RSA_PKCS1_SHA256, RsaKeyPair};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::{RootCertStore, ServerConfig};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use super::pretend::lock;

/// The key that leaves sign with. Tests only.
const RSA: &[u8] = include_bytes!("../../keys/rsa-2048.pk8");

/// A certificate to be made.
#[derive(Debug, Clone)]
pub struct Leaf {
    /// Whom it names.
    pub name: String,
    /// From the first of January of this year,
    pub from: i32,
    /// to the first of January of this one.
    pub until: i32,
}

impl Default for Leaf {
    fn default() -> Self {
        Self { name: "messageverificationcerts.sandbox.paypal.com".to_owned(), from: 2020, until: 2090 }
    }
}

/// An authority of one's own.
#[derive(Debug)]
pub struct Authority {
    root: CertificateDer<'static>,
    root_pem: String,
    between_pem: String,
    between: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// With a root and an authority between.
    pub fn new() -> Self {
        let root_key = KeyPair::generate().unwrap();
        let root_params = authority("Root of tests");
        let root = root_params.self_signed(&root_key).unwrap();
        let root_issuer = Issuer::new(root_params, root_key);
        let key = KeyPair::generate().unwrap();
        let params = authority("Between");
        let between = params.signed_by(&key, &root_issuer).unwrap();
        Self {
            root: root.der().clone(),
            root_pem: root.pem(),
            between_pem: between.pem(),
            between: between.der().clone(),
            issuer: Issuer::new(params, key),
        }
    }

    /// What to trust, in PEM.
    pub fn root_pem(&self) -> &str {
        &self.root_pem
    }

    /// What to trust, for TLS.
    pub fn roots(&self) -> RootCertStore {
        let mut roots = RootCertStore::empty();
        roots.add(self.root.clone()).unwrap();
        roots
    }

    /// A leaf with what leads to the root, in PEM.
    pub fn chain(&self, leaf: &Leaf) -> String {
        let leaf = params(leaf).signed_by(&rsa(), &self.issuer).unwrap();
        format!("{}{}", leaf.pem(), self.between_pem)
    }

    /// A leaf without it.
    pub fn leaf_alone(&self, leaf: &Leaf) -> String {
        params(leaf).signed_by(&rsa(), &self.issuer).unwrap().pem()
    }

    /// What a server at this host shows, and the key of it, in PEM.
    pub fn certificate_and_key(&self, host: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &self.issuer).unwrap();
        (format!("{}{}", leaf.pem(), self.between_pem), key.serialize_pem())
    }

    fn server(&self, host: &str) -> ServerConfig {
        let key = KeyPair::generate().unwrap();
        let leaf = CertificateParams::new(vec![host.to_owned()]).unwrap();
        let leaf = leaf.signed_by(&key, &self.issuer).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let chain = vec![leaf.der().clone(), self.between.clone()];
        config.unwrap().with_no_client_auth().with_single_cert(chain, key).unwrap()
    }
}

impl Default for Authority {
    fn default() -> Self {
        Self::new()
    }
}

/// A leaf that nobody vouches for but itself, in PEM.
pub(super) fn self_signed(leaf: &Leaf) -> String {
    params(leaf).self_signed(&rsa()).unwrap().pem()
}

/// The signature of a leaf over a message, in base64.
pub(super) fn sign(message: &[u8]) -> String {
    static KEY: LazyLock<RsaKeyPair> = LazyLock::new(|| RsaKeyPair::from_pkcs8(RSA).unwrap());
    let key = &*KEY;
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).unwrap();
    STANDARD.encode(signature)
}

fn rsa() -> KeyPair {
    KeyPair::from_pkcs8_der_and_sign_algo(&PrivatePkcs8KeyDer::from(RSA), &rcgen::PKCS_RSA_SHA256).unwrap()
}

fn authority(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params
}

fn params(leaf: &Leaf) -> CertificateParams {
    let mut params = CertificateParams::new(vec![leaf.name.clone()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, leaf.name.clone());
    params.not_before = date_time_ymd(leaf.from, 1, 1);
    params.not_after = date_time_ymd(leaf.until, 1, 1);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params
}

/// How the server of certificates answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Serving {
    /// This file.
    File(String),
    /// A way to somewhere else.
    Redirect(String),
    /// This status.
    Status(u16),
    /// Nothing, for ever.
    Silent,
    /// A file that does not end.
    Endless,
}

/// A server with a certificate of its own for a host.
#[derive(Debug)]
pub struct CertificateServer {
    /// Where it listens.
    pub address: SocketAddr,
    serving: Arc<Mutex<Serving>>,
    asked: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl CertificateServer {
    /// One that proves to be `host` by the authority.
    pub async fn open(authority: &Authority, host: &str, serving: Serving) -> Self {
        let acceptor = TlsAcceptor::from(Arc::new(authority.server(host)));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let serving = Arc::new(Mutex::new(serving));
        let asked = Arc::new(AtomicUsize::new(0));
        let (own, count) = (Arc::clone(&serving), Arc::clone(&asked));
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let (acceptor, serving) = (acceptor.clone(), lock(&own).clone());
                // A client that goes away ends its conversation and nothing else.
                tokio::spawn(async move { drop(serve(acceptor, stream, serving).await) });
            }
        });
        Self { address, serving, asked, accepting }
    }

    /// From the next request on.
    pub fn serve(&self, serving: Serving) {
        *lock(&self.serving) = serving;
    }

    /// How often somebody connected.
    pub fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Drop for CertificateServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, serving: Serving) -> std::io::Result<()> {
    let mut stream = acceptor.accept(stream).await?;
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        request.push(stream.read_u8().await?);
    }
    let answer = match serving {
        Serving::File(file) => format!("200 OK\r\ncontent-length: {}\r\n\r\n{file}", file.len()),
        Serving::Redirect(to) => format!("302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\n\r\n"),
        Serving::Status(status) => format!("{status} Status\r\ncontent-length: 0\r\n\r\n"),
        Serving::Silent => return std::future::pending().await,
        Serving::Endless => {
            stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await?;
            loop {
                stream.write_all(&[b'A'; 1_024]).await?;
                stream.flush().await?;
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }
    };
    stream.write_all(format!("HTTP/1.1 {answer}").as_bytes()).await?;
    stream.shutdown().await
}
