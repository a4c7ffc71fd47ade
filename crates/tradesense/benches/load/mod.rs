//! What measurements over HTTP share: a client that speaks just enough HTTP/1.1, pgbench, percentiles.
#![allow(dead_code, reason = "each measurement uses its part")]

use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use sqlx::Connection as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};

/// A number of thousandths as a JSON number with three decimals.
pub fn thousandths(number: u64) -> anyhow::Result<Value> {
    let text = format!("{}.{:03}", number.div_euclid(1_000), number.rem_euclid(1_000));
    Ok(serde_json::from_str(&text)?)
}

/// The smallest latency that so many per cent do not exceed; 0 if there are none.
pub fn percentile(latencies: &mut [u64], per_cent: usize) -> u64 {
    latencies.sort_unstable();
    let place = latencies.len().saturating_mul(per_cent).div_ceil(100).saturating_sub(1);
    latencies.get(place).copied().unwrap_or_default()
}

/// One keep-alive connection, one request at a time.
pub struct Connection {
    stream: TcpStream,
    host: SocketAddr,
    out: Vec<u8>,
    read: Vec<u8>,
}

/// An answer: its status, the cookie it set, its body.
pub struct Answer {
    pub status: u16,
    pub cookie: Option<String>,
    pub body: Vec<u8>,
}

/// A request.
pub struct Request<'a> {
    pub method: &'a str,
    pub path: &'a str,
    pub headers: &'a [(&'a str, &'a str)],
    pub body: &'a str,
}

impl Connection {
    /// To an address, from one of this machine's.
    pub async fn open(to: SocketAddr, from: Ipv4Addr) -> anyhow::Result<Self> {
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((from, 0)))?;
        let stream = socket.connect(to).await.context("connecting to the platform")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, host: to, out: Vec::new(), read: Vec::new() })
    }

    /// Asks and waits for the whole answer.
    pub async fn ask(&mut self, request: &Request<'_>) -> anyhow::Result<Answer> {
        let Request { method, path, headers, body } = request;
        self.out.clear();
        write!(self.out, "{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.host)?;
        for (name, value) in *headers {
            write!(self.out, "{name}: {value}\r\n")?;
        }
        write!(self.out, "Content-Length: {}\r\n\r\n{body}", body.len())?;
        self.stream.write_all(&self.out).await.context("sending a request")?;
        self.read.clear();
        loop {
            let got = self.stream.read_buf(&mut self.read).await.context("reading an answer")?;
            ensure!(got > 0, "the platform closed the connection");
            if let Some(answer) = complete(&self.read)? {
                return Ok(answer);
            }
        }
    }
}

/// The answer in these bytes, once it is whole.
fn complete(bytes: &[u8]) -> anyhow::Result<Option<Answer>> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let (head, rest) = bytes.split_at(end);
    let body = rest.get(4..).unwrap_or_default();
    let mut lines = std::str::from_utf8(head)?.split("\r\n");
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).context("an answer has no status")?;
    let (mut length, mut cookie) = (None, None);
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        if name.eq_ignore_ascii_case("content-length") {
            length = Some(value.parse::<usize>()?);
        } else if name.eq_ignore_ascii_case("set-cookie") {
            cookie = value.split(';').next().map(str::to_owned);
        }
    }
    let length = length.context("an answer does not say its length")?;
    let whole = body.get(..length);
    Ok(whole.map(|body| Answer { status: status.parse().unwrap_or_default(), cookie, body: body.to_vec() }))
}

/// Runs pgbench and gives its transactions in a thousand seconds, connecting not counted.
pub fn pgbench(program: &Path, url: &str, clients: usize, seconds: u64) -> anyhow::Result<u64> {
    let threads = clients.min(2);
    let out = Command::new(program)
        .args(["--no-vacuum", "--skip-some-updates", "--protocol", "prepared"])
        .args(["--client", &clients.to_string(), "--jobs", &threads.to_string()])
        .args(["--time", &seconds.to_string()])
        .arg(url)
        .stdin(Stdio::null())
        .output()
        .context("running pgbench")?;
    ensure!(out.status.success(), "pgbench failed: {}", String::from_utf8_lossy(&out.stderr));
    let text = String::from_utf8_lossy(&out.stdout);
    let tps = text.lines().find_map(|line| line.strip_prefix("tps = ")?.split_whitespace().next());
    let (whole, part) = tps.and_then(|tps| tps.split_once('.')).context("pgbench told no tps")?;
    let part: String = part.chars().chain("000".chars()).take(3).collect();
    Ok(format!("{whole}{part}").parse()?)
}

/// What the server says of itself.
pub async fn server_settings(url: &str) -> anyhow::Result<Value> {
    let mut database = sqlx::PgConnection::connect(url).await.context("connecting to the database")?;
    let names = ["server_version", "fsync", "synchronous_commit", "full_page_writes", "shared_buffers"];
    let mut settings = serde_json::Map::new();
    for name in names {
        let value: String = sqlx::query_scalar("select current_setting($1)")
            .bind(name)
            .fetch_one(&mut database)
            .await
            .with_context(|| format!("reading {name}"))?;
        settings.insert(name.to_owned(), value.into());
    }
    Ok(settings.into())
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the machine's clock")]
pub fn now() -> Instant {
    Instant::now()
}
