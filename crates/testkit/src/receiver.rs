//! An HTTP server on a port of its own that answers as it is told and keeps what it was sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// How it answers from the next request on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// A status, further head lines each ended by CR LF, and a body.
    Answer(u16, String, String),
    /// It reads the request and says nothing.
    Silent,
    /// It reads the request and closes the connection.
    HangUp,
    /// A head with status 200, and a body that never ends, byte by byte.
    Trickle,
}

impl Reply {
    /// A status with an empty body.
    pub fn status(status: u16) -> Self {
        Self::Answer(status, String::new(), String::new())
    }
}

/// A request that was sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// Method, target and version.
    pub line: String,
    /// Names in lower case and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Sent {
    /// The first header of a name, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
    }
}

/// The server. Dropped, it stops.
#[derive(Debug)]
pub struct Receiver {
    /// Where it listens.
    pub address: SocketAddr,
    shared: Arc<Shared>,
    server: JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    reply: Mutex<Reply>,
    sent: Mutex<Vec<Sent>>,
    more: Notify,
    connections: std::sync::atomic::AtomicUsize,
}

impl Receiver {
    /// One that answers 204.
    pub async fn open() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("it listens");
        let shared = Arc::new(Shared {
            reply: Mutex::new(Reply::status(204)),
            sent: Mutex::default(),
            more: Notify::new(),
            connections: 0.into(),
        });
        let own = Arc::clone(&shared);
        let server = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                own.connections.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                let own = Arc::clone(&own);
                // A client that goes away ends its conversation, and nothing else.
                tokio::spawn(async move { drop(own.talk(stream).await) });
            }
        });
        Self { address, shared, server }
    }

    /// Its address for a webhook.
    pub fn url(&self) -> String {
        format!("http://{}/hook?x=1", self.address)
    }

    /// From the next request on.
    pub fn reply(&self, reply: Reply) {
        *self.shared.reply.lock().unwrap_or_else(PoisonError::into_inner) = reply;
    }

    /// What it was sent so far.
    pub fn sent(&self) -> Vec<Sent> {
        self.shared.sent.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it was sent so many; what it was sent so far.
    pub async fn wait_for(&self, count: usize) -> Vec<Sent> {
        loop {
            // Made before the look, so that nothing comes between them unheard.
            let more = self.shared.more.notified();
            let sent = self.sent();
            if sent.len() >= count {
                return sent;
            }
            more.await;
        }
    }

    /// How often somebody connected.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(std::sync::atomic::Ordering::SeqCst)
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Shared {
    async fn talk(&self, stream: TcpStream) -> std::io::Result<()> {
        let mut stream = BufReader::new(stream);
        let sent = request(&mut stream).await?;
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).push(sent);
        self.more.notify_waiters();
        let reply = self.reply.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match reply {
            Reply::Answer(status, head, body) => {
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status} Status\r\n{head}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
                );
                stream.write_all(answer.as_bytes()).await?;
                stream.shutdown().await
            }
            Reply::Silent => std::future::pending().await,
            Reply::HangUp => Ok(()),
            Reply::Trickle => {
                stream.write_all(b"HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n").await?;
                loop {
                    stream.write_all(b".").await?;
                    stream.flush().await?;
                    tokio::time::sleep(std::time::Duration::from_millis(20)).await;
                }
            }
        }
    }
}

async fn request(stream: &mut BufReader<TcpStream>) -> std::io::Result<Sent> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        stream.read_line(&mut header).await?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let sent = Sent { line: line.trim_end().to_owned(), headers, body: String::new() };
    let mut body = vec![0; sent.header("content-length").parse().unwrap_or_default()];
    stream.read_exact(&mut body).await?;
    Ok(Sent { body: String::from_utf8_lossy(&body).into_owned(), ..sent })
}
