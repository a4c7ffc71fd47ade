//! `tradesense smoke`: asks a process that is about to take over what people would ask it, and fails at the first answer that is wrong.
//! It changes nothing and needs no login, so that it may be asked at any time.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use crate::health;
use crate::role::Part;

/// An answer has to be there by then.
const LONGEST: Duration = Duration::from_secs(5);
/// A process that has just been started may not be found at once.
const COMES_WITHIN: Duration = Duration::from_secs(20);
/// No answer here is longer.
const MOST_BYTES: u64 = 4 * 1_024 * 1_024;

/// Whom to ask.
#[derive(Debug, Clone, Args)]
pub struct Smoke {
    /// What the process is: `api` or `analytics`.
    #[arg(long, value_enum)]
    pub role: Part,
    /// Where it answers: `http://HOST:PORT`.
    #[arg(long)]
    pub url: String,
    /// Where people reach this installation; the firm of that host is asked for.
    #[arg(long, env = "TRADESENSE_PUBLIC_URL")]
    pub public_url: Option<String>,
}

/// A question and what its answer must be.
struct Case {
    path: &'static str,
    status: u16,
    /// How its body begins to be described.
    content: &'static str,
}

const fn case(path: &'static str, status: u16, content: &'static str) -> Case {
    Case { path, status, content }
}

const JSON: &str = "application/json";
const PROBLEM: &str = "application/problem+json";

/// The database answers, a firm is found, what is public is shown, and what is not is refused.
const OF_API: [Case; 7] = [
    case("/health/live", 200, "text/plain"),
    case("/health/ready", 200, "text/plain"),
    case("/v1/programs", 200, JSON),
    case("/v1/market/instruments", 200, JSON),
    case("/v1/audit/keys", 200, JSON),
    case("/v1/me", 401, PROBLEM),
    case("/v1/nothing-is-here", 404, PROBLEM),
];

const OF_ANALYTICS: [Case; 4] = [
    case("/health/live", 200, "text/plain"),
    case("/health/ready", 200, "text/plain"),
    case("/v1/analytics/leaderboard", 200, JSON),
    case("/v1/analytics/nothing-is-here", 404, PROBLEM),
];

/// Asks everything; names the first answer that is wrong.
#[expect(clippy::disallowed_methods, reason = "how long answers take is measured, and nothing depends on it")]
pub fn run(smoke: &Smoke, out: &mut dyn std::io::Write) -> anyhow::Result<()> {
    let cases = match smoke.role {
        Part::Api => OF_API.as_slice(),
        Part::Analytics => &OF_ANALYTICS,
        Part::Engine | Part::Worker => bail!("nobody asks the role {} anything", smoke.role),
    };
    let server = smoke.url.strip_prefix("http://").context("the address begins with http://")?;
    let server = server.trim_end_matches('/');
    let host =
        smoke.public_url.as_deref().and_then(|url| url.split_once("://")).map_or(server, |(_, host)| host);
    let host = host.split('/').next().unwrap_or(host);
    for case in cases {
        let began = Instant::now();
        ask(server, host, case).with_context(|| format!("asking for {}", case.path))?;
        writeln!(out, "{} {} in {} ms", case.status, case.path, began.elapsed().as_millis())?;
    }
    Ok(())
}

fn ask(server: &str, host: &str, case: &Case) -> anyhow::Result<()> {
    let mut connection = connect(server)?;
    connection.set_read_timeout(Some(LONGEST))?;
    connection.set_write_timeout(Some(LONGEST))?;
    write!(
        connection,
        "GET {} HTTP/1.1\r\nhost: {host}\r\naccept: */*\r\nconnection: close\r\n\r\n",
        case.path
    )?;
    let mut bytes = Vec::new();
    connection.take(MOST_BYTES).read_to_end(&mut bytes).context("waiting for the answer")?;
    let text = String::from_utf8_lossy(&bytes);
    let (head, body) = text.split_once("\r\n\r\n").context("the answer has no end of its headers")?;
    let mut lines = head.lines();
    let first = lines.next().unwrap_or_default();
    let status = first.split(' ').nth(1).and_then(|status| status.parse::<u16>().ok());
    ensure!(status == Some(case.status), "the answer is `{first}`, and not {}: {body}", case.status);
    let headers: Vec<(String, &str)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim()))
        .collect();
    let header = |name: &str| headers.iter().find(|(known, _)| known == name).map_or("", |(_, value)| *value);
    let content = header("content-type");
    ensure!(content.starts_with(case.content), "the answer is {content:?}, and not {:?}", case.content);
    for needed in ["content-security-policy", "x-content-type-options", "x-request-id"] {
        ensure!(!header(needed).is_empty(), "the answer has no {needed}");
    }
    ensure!(!body.is_empty(), "the answer is empty");
    Ok(())
}

#[expect(clippy::disallowed_methods, reason = "waits as long as the machine says")]
fn connect(server: &str) -> anyhow::Result<TcpStream> {
    let began = Instant::now();
    loop {
        match health::connect(server, LONGEST) {
            Ok(connection) => return Ok(connection),
            Err(error) if began.elapsed() >= COMES_WITHIN => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader};
    use std::net::TcpListener;

    use super::*;

    const GOOD: &str = "content-security-policy: x\r\nx-content-type-options: nosniff\r\nx-request-id: 1\r\n";

    /// Answers every question by its path, and gives its address.
    fn server(answers: impl Fn(&str) -> String + Send + 'static) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let mut connection = connection.unwrap();
                let mut lines = BufReader::new(connection.try_clone().unwrap()).lines();
                let first = lines.next().unwrap().unwrap();
                let path = first.split(' ').nth(1).unwrap().to_owned();
                for line in lines {
                    let line = line.unwrap();
                    assert!(!line.starts_with("host:") || line == "host: app.firm.example", "{line}");
                    if line.is_empty() {
                        break;
                    }
                }
                connection.write_all(answers(&path).as_bytes()).unwrap();
            }
        });
        format!("http://{address}")
    }

    fn good(path: &str) -> String {
        let (status, content) = match path {
            "/v1/me" => ("401 Unauthorized", PROBLEM),
            path if path.contains("nothing") => ("404 Not Found", PROBLEM),
            path if path.starts_with("/health/") => ("200 OK", "text/plain"),
            _ => ("200 OK", "application/json; charset=utf-8"),
        };
        format!("HTTP/1.1 {status}\r\ncontent-type: {content}\r\n{GOOD}\r\n{{}}")
    }

    fn asked(role: Part, url: String) -> anyhow::Result<()> {
        let public_url = Some("https://app.firm.example/".to_owned());
        run(&Smoke { role, url, public_url }, &mut std::io::sink())
    }

    #[test]
    fn who_answers_everything_as_it_should_may_take_over() {
        asked(Part::Api, server(good)).unwrap();
        asked(Part::Analytics, server(good)).unwrap();
    }

    #[test]
    fn each_wrong_answer_is_named() {
        type Spoil = fn(String) -> String;
        let spoils: [(&str, Spoil, &str); 6] = [
            ("/health/ready", |_| "HTTP/1.1 503 Service Unavailable\r\n\r\nno database".into(), "503"),
            ("/v1/programs", |answer| answer.replace("200 OK", "500 Internal"), "500"),
            ("/v1/me", |answer| answer.replace("401 Unauthorized", "200 OK"), "and not 401"),
            ("/v1/nothing-is-here", |answer| answer.replace(PROBLEM, "text/html"), "text/html"),
            (
                "/v1/audit/keys",
                |answer| answer.replace("content-security-policy", "x"),
                "content-security-policy",
            ),
            ("/v1/market/instruments", |answer| answer.replace("{}", ""), "empty"),
        ];
        for (wrong, spoil, said) in spoils {
            let url = server(move |path| if path == wrong { spoil(good(path)) } else { good(path) });
            let error = format!("{:#}", asked(Part::Api, url).unwrap_err());
            assert!(error.contains(wrong) && error.contains(said), "{error}");
        }
    }

    #[test]
    fn nobody_asks_those_who_serve_nobody() {
        assert!(asked(Part::Engine, "http://127.0.0.1:1".into()).is_err());
        assert!(asked(Part::Api, "https://127.0.0.1:1".into()).unwrap_err().to_string().contains("http://"));
    }
}
