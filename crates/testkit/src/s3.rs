//! An S3 server of a test's own, on a port of its own: moto, as `xtask/moto.txt` pins it.
//!
//! It has buckets with Object Lock and refuses to delete a version that is kept. What it does not do as Amazon does: it believes
//! every signature in a URL and every checksum, it says of a deleted object only when asked for its head that it was
//! deleted, and it closes each connection after its answer.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::{free_port, listed};

/// What requests without a signature of ours carry instead of one: the server looks whether there is one, not at it.
const SIGNED: &str = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=test%2F20260105%2Fus-east-1%2Fs3%2Faws4_request&\
                      X-Amz-Date=20260105T000000Z&X-Amz-Expires=60&X-Amz-SignedHeaders=host&X-Amz-Signature=00";

/// A server that ends with the value.
#[derive(Debug)]
pub struct TestS3 {
    port: u16,
    process: Child,
}

/// What it answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answered {
    /// The status.
    pub status: u16,
    /// Names in lower case and values.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: String,
}

impl Answered {
    /// The first header of a name, or nothing.
    pub fn header(&self, name: &str) -> &str {
        self.headers.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str())
    }

    /// The texts of all elements of a name.
    pub fn elements(&self, name: &str) -> Vec<String> {
        let opened = format!("<{name}>");
        let parts = self.body.split(&opened).skip(1);
        parts.map(|part| part.split('<').next().unwrap_or_default().to_owned()).collect()
    }
}

impl TestS3 {
    /// Starts it.
    pub async fn start() -> Self {
        let port = free_port();
        let process = Command::new(listed("moto").join("moto_server"))
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("the S3 server of the tests is installed: `cargo xtask test` does it");
        let server = Self { port, process };
        // A minute: it reads much before it listens.
        for _ in 0..1_200 {
            if TcpStream::connect(server.address()).await.is_ok() {
                return server;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("the S3 server does not answer");
    }

    fn address(&self) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.port))
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// A new bucket, with or without Object Lock.
    pub async fn bucket(&self, name: &str, locked: bool) {
        let lock: &[(&str, &str)] =
            if locked { &[("x-amz-bucket-object-lock-enabled", "true")] } else { &[] };
        let made = self.ask("PUT", &format!("/{name}"), lock, "").await;
        assert_eq!(made.status, 200, "{made:?}");
    }

    /// What an operator names to have copies in a bucket of it.
    pub fn place(&self, bucket: &str) -> String {
        format!("s3://{bucket}?endpoint={}", self.url())
    }

    /// Any request, as somebody would make it who has the key.
    pub async fn ask(&self, method: &str, target: &str, headers: &[(&str, &str)], body: &str) -> Answered {
        let join = if target.contains('?') { '&' } else { '?' };
        let mut head = format!("{method} {target}{join}{SIGNED} HTTP/1.1\r\nhost: {}\r\n", self.address());
        for (name, value) in headers {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        write!(head, "content-length: {}\r\nconnection: close\r\n\r\n{body}", body.len()).unwrap();
        let mut stream = TcpStream::connect(self.address()).await.unwrap();
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer);
        let (head, body) = answer.split_once("\r\n\r\n").expect("an answer has a head");
        let mut lines = head.lines();
        let status = lines.next().and_then(|line| line.split(' ').nth(1)).expect("an answer has a status");
        let headers = lines.filter_map(|line| line.split_once(':'));
        Answered {
            status: status.parse().unwrap(),
            headers: headers.map(|(name, value)| (name.to_lowercase(), value.trim().to_owned())).collect(),
            body: body.to_owned(),
        }
    }

    /// The versions of an object, the newest first.
    pub async fn versions(&self, bucket: &str, key: &str) -> Vec<String> {
        let listed = self.ask("GET", &format!("/{bucket}?versions=&prefix={key}"), &[], "").await;
        assert_eq!(listed.status, 200, "{listed:?}");
        let all = listed.elements("Key").into_iter().zip(listed.elements("VersionId"));
        all.filter(|(of, _)| of == key).map(|(_, version)| version).collect()
    }
}

impl Drop for TestS3 {
    fn drop(&mut self) {
        // It may have ended by itself.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
