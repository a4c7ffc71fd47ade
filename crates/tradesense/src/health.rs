//! `tradesense health`: asks a process of ours whether it serves. For images without a shell, where nothing else could ask.

use std::io::{Read as _, Write as _};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::time::Duration;

use anyhow::{Context as _, bail};

/// Where a process answers unless told otherwise: on its port for health and metrics.
pub const USUAL: &str = "http://127.0.0.1:8009/health/ready";

/// Connecting, asking and answering may take so long each. Whoever takes longer does not serve.
const LONGEST: Duration = Duration::from_secs(3);
/// The first line of an answer is shorter.
const MOST_BYTES: u64 = 1_024;

/// Asks an address, `http://HOST:PORT/PATH`, and fails unless the answer is 200.
pub fn ask(url: &str) -> anyhow::Result<()> {
    let rest = url.strip_prefix("http://").context("the address begins with http://")?;
    let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
    answer(connect(host, LONGEST)?, host, path)
}

/// Connects to `HOST:PORT`, at the first of its addresses that takes a connection within so long.
pub(crate) fn connect(server: &str, longest: Duration) -> anyhow::Result<TcpStream> {
    let addresses = server.to_socket_addrs().with_context(|| format!("looking for {server}, HOST:PORT"))?;
    let mut failed = anyhow::anyhow!("{server} has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, longest) {
            Ok(connection) => return Ok(connection),
            Err(error) => failed = anyhow::Error::new(error).context(format!("connecting to {address}")),
        }
    }
    Err(failed)
}

fn answer(mut connection: TcpStream, host: &str, path: &str) -> anyhow::Result<()> {
    connection.set_read_timeout(Some(LONGEST))?;
    connection.set_write_timeout(Some(LONGEST))?;
    write!(connection, "GET /{path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
        .context("asking")?;
    let mut text = Vec::new();
    connection.take(MOST_BYTES).read_to_end(&mut text).context("waiting for the answer")?;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().next().unwrap_or_default();
    match line.split(' ').nth(1) {
        Some("200") => Ok(()),
        Some(_) | None => bail!("the answer is `{line}`"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;

    use super::*;

    /// Answers once with these bytes and gives what was asked.
    fn answers(with: &'static str) -> (String, std::thread::JoinHandle<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked = std::thread::spawn(move || {
            let (mut connection, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(connection.try_clone().unwrap()).lines();
            let first = lines.next().unwrap().unwrap();
            for line in lines {
                if line.unwrap().is_empty() {
                    break;
                }
            }
            connection.write_all(with.as_bytes()).unwrap();
            first
        });
        (address, asked)
    }

    #[test]
    fn only_200_is_healthy() {
        let (address, asked) = answers("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
        ask(&format!("http://{address}/health/ready")).unwrap();
        assert_eq!(asked.join().unwrap(), "GET /health/ready HTTP/1.1");
        let (address, asked) = answers("HTTP/1.1 503 Service Unavailable\r\n\r\n");
        let refused = ask(&format!("http://{address}/health/ready")).unwrap_err();
        assert!(refused.to_string().contains("503"), "{refused}");
        asked.join().unwrap();
    }

    #[test]
    fn nobody_there_and_nonsense_are_not_healthy() {
        let gone = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(ask(&format!("http://{gone}/")).is_err());
        assert!(ask("https://127.0.0.1:1/").unwrap_err().to_string().contains("http://"));
        let (address, asked) = answers("200 is not a status line");
        assert!(ask(&format!("http://{address}/")).is_err());
        asked.join().unwrap();
    }
}
