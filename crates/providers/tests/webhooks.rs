//! Webhooks to a real server: what it answers, what it does not, and where it must not lead.
#![expect(clippy::panic, clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use app::webhooks::{NoAnswer, Outgoing, SigningSecret, UrlPolicy, WebhookSender as _, headers};
use async_trait::async_trait;
use kernel::{ManualClock, Span, Timestamp};
use providers::webhooks::{Limits, Lookup, MOST_ANSWER_BYTES, RootCertStore, SystemLookup, WebhookClient};
use testkit::receiver::{Receiver, Reply};

const NOW: &str = "2026-01-05T10:00:00Z";

/// The public Internet, and this machine.
fn demo() -> UrlPolicy {
    UrlPolicy { loopback: true, ..UrlPolicy::default() }
}

fn client_with(urls: UrlPolicy, lookup: Arc<dyn Lookup>, limits: Limits) -> WebhookClient {
    let clock = Arc::new(ManualClock::new(Timestamp::parse(NOW).unwrap()));
    WebhookClient::with(urls, clock, lookup, limits, RootCertStore::empty()).unwrap()
}

fn client() -> WebhookClient {
    let limits = Limits { connect: Duration::from_secs(2), total: Duration::from_millis(700) };
    client_with(demo(), Arc::new(SystemLookup), limits)
}

fn outgoing(url: &str) -> Outgoing {
    let secret = SigningSecret::parse("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").unwrap();
    let body =
        r#"{"type":"account.breached","timestamp":"2026-01-05T10:00:00Z","data":{"equity":"94999.99"}}"#;
    let headers = headers("msg_1", Timestamp::parse(NOW).unwrap(), body.as_bytes(), &[secret]);
    Outgoing { url: url.to_owned(), headers, body: body.to_owned() }
}

async fn say(client: &WebhookClient, url: &str) -> String {
    match client.send(&outgoing(url)).await {
        Err(NoAnswer { say, .. }) => say,
        Ok(answer) => panic!("{url} answered {answer:?}"),
    }
}

#[tokio::test]
async fn a_message_arrives_as_it_was_signed() {
    let receiver = Receiver::open().await;
    let sent = outgoing(&receiver.url());
    let answer = client().send(&sent).await.unwrap();
    assert_eq!((answer.status, answer.body.as_str(), answer.retry_after), (204, "", None));
    let [got] = receiver.sent().try_into().unwrap_or_else(|sent| panic!("{sent:?}"));
    assert_eq!(got.line, "POST /hook?x=1 HTTP/1.1");
    assert_eq!(got.body, sent.body);
    assert_eq!(got.header("webhook-id"), "msg_1");
    assert_eq!(got.header("webhook-timestamp"), "1767607200");
    assert_eq!(got.header("webhook-signature"), sent.headers.signature);
    assert_eq!(got.header("content-type"), "application/json");
    assert_eq!(got.header("host"), receiver.address.to_string());
    for nothing in ["cookie", "authorization", "referer"] {
        assert_eq!(got.header(nothing), "", "{nothing}");
    }
}

#[tokio::test]
async fn answers_are_told_as_they_are() {
    let receiver = Receiver::open().await;
    let client = client();
    for status in [200, 201, 400, 404, 410, 429, 500, 503] {
        receiver.reply(Reply::Answer(status, String::new(), format!("said {status}")));
        let answer = client.send(&outgoing(&receiver.url())).await.unwrap();
        assert_eq!((answer.status, answer.body), (status, format!("said {status}")));
    }
    receiver.reply(Reply::Answer(503, "retry-after: 120\r\n".to_owned(), String::new()));
    let answer = client.send(&outgoing(&receiver.url())).await.unwrap();
    assert_eq!(answer.retry_after, Some(Span::from_seconds(120)));
}

#[tokio::test]
async fn a_redirect_is_an_answer_and_is_not_followed() {
    let (receiver, inside) = (Receiver::open().await, Receiver::open().await);
    let client = client();
    for status in [301, 302, 307, 308] {
        receiver.reply(Reply::Answer(status, format!("location: {}\r\n", inside.url()), String::new()));
        assert_eq!(client.send(&outgoing(&receiver.url())).await.unwrap().status, status);
    }
    assert_eq!(inside.connections(), 0);
}

#[tokio::test]
async fn only_the_first_bytes_of_an_answer_are_read() {
    let receiver = Receiver::open().await;
    receiver.reply(Reply::Answer(200, String::new(), "é\0".repeat(5_000_000)));
    let answer = client().send(&outgoing(&receiver.url())).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.body.len() <= MOST_ANSWER_BYTES * 3, "{}", answer.body.len());
    assert!(!answer.body.contains('\0'));
}

#[tokio::test]
async fn a_body_that_does_not_end_does_not_hold_the_answer_up() {
    let receiver = Receiver::open().await;
    receiver.reply(Reply::Trickle);
    let answer = client().send(&outgoing(&receiver.url())).await.unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.body.starts_with('.'), "{:?}", answer.body);
}

#[tokio::test]
async fn nobody_is_waited_for_without_end() {
    let receiver = Receiver::open().await;
    let client = client();
    receiver.reply(Reply::Silent);
    assert_eq!(say(&client, &receiver.url()).await, "The answer took too long.");
    receiver.reply(Reply::HangUp);
    assert_eq!(say(&client, &receiver.url()).await, "The connection ended before the answer.");
    receiver.reply(Reply::Answer(200, format!("x: {}\r\n", "y".repeat(100_000)), String::new()));
    assert_eq!(say(&client, &receiver.url()).await, "The connection ended before the answer.");
    let tls = receiver.url().replace("http:", "https:");
    receiver.reply(Reply::Silent);
    assert_eq!(
        say(&client, &tls).await,
        "The TLS connection failed; check the certificate.",
        "no TLS is spoken there"
    );
    let closed = receiver.url();
    drop(receiver);
    while tokio::net::TcpStream::connect(closed.get(7..closed.len() - 9).unwrap()).await.is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(say(&client, &closed).await, "The connection was refused.");
}

/// Answers with each of its lists in turn, and with the last one from then on.
struct Turns {
    turns: Mutex<Vec<Vec<SocketAddr>>>,
    asked: AtomicUsize,
}

impl Turns {
    fn new(turns: &[&[&str]]) -> Arc<Self> {
        let addresses = |turn: &&[&str]| turn.iter().map(|text| text.parse().unwrap()).collect();
        let turns = Mutex::new(turns.iter().map(addresses).collect());
        Arc::new(Self { turns, asked: AtomicUsize::new(0) })
    }
}

#[async_trait]
impl Lookup for Turns {
    async fn addresses(&self, _: &str, _: u16) -> io::Result<Vec<SocketAddr>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut turns = self.turns.lock().unwrap();
        Ok(if turns.len() > 1 { turns.remove(0) } else { turns.first().unwrap().clone() })
    }
}

const INSIDE: &str = "The host leads to an address that is not of the public Internet.";

#[tokio::test]
async fn a_host_that_leads_inside_is_not_called() {
    let limits = Limits { connect: Duration::from_millis(300), total: Duration::from_millis(300) };
    for address in [
        "127.0.0.1:443",
        "10.0.0.8:443",
        "169.254.169.254:443",
        "100.64.0.1:443",
        "[::1]:443",
        "[fd00::1]:443",
        "[::ffff:127.0.0.1]:443",
        "[fe80::1]:443",
        "224.0.0.1:443",
        "0.0.0.0:443",
    ] {
        let lookup = Turns::new(&[&[address]]);
        let client = client_with(UrlPolicy::default(), lookup, limits);
        assert_eq!(say(&client, "https://hooks.example.com/in").await, INSIDE, "{address}");
        let lookup = Turns::new(&[&["93.184.216.34:443", address]]);
        let client = client_with(UrlPolicy::default(), lookup, limits);
        assert_eq!(
            say(&client, "https://hooks.example.com/in").await,
            INSIDE,
            "{address} beside a public one"
        );
    }
    let client = client_with(UrlPolicy::default(), Turns::new(&[&[]]), limits);
    assert_eq!(say(&client, "https://hooks.example.com/in").await, "The host was not found.");
    // What was allowed when it was entered may not be allowed any more.
    let strict = client_with(UrlPolicy::default(), Arc::new(SystemLookup), limits);
    let receiver = Receiver::open().await;
    assert!(say(&strict, &receiver.url()).await.contains("https://"));
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn a_name_that_answers_otherwise_the_second_time_gains_nothing() {
    let receiver = Receiver::open().await;
    let inside = receiver.address.to_string();
    let limits = Limits { connect: Duration::from_millis(300), total: Duration::from_millis(400) };
    // The port that the lookup names is not the one that is called, so the trap is at the port of the address.
    let urls = UrlPolicy { ports: vec![receiver.address.port()], loopback: false };
    let lookup = Turns::new(&[&["93.184.216.34:443"], &[inside.as_str()]]);
    let client = client_with(urls, lookup.clone(), limits);
    let url = format!("https://hooks.example.com:{}/in", receiver.address.port());
    // The first attempt is checked and connects by the one answer it got: the trap is not asked for, let alone entered.
    let first = say(&client, &url).await;
    assert_ne!(first, INSIDE);
    assert_eq!(lookup.asked.load(Ordering::SeqCst), 1, "one attempt, one lookup");
    // The second attempt is checked anew.
    assert_eq!(say(&client, &url).await, INSIDE);
    assert_eq!(lookup.asked.load(Ordering::SeqCst), 2);
    assert_eq!(receiver.connections(), 0);
}

#[tokio::test]
async fn the_very_address_that_was_checked_is_called() {
    let receiver = Receiver::open().await;
    // The port of a lookup is not believed either.
    let lookup = Turns::new(&[&["127.0.0.1:1"]]);
    let limits = Limits { connect: Duration::from_secs(2), total: Duration::from_secs(2) };
    let client = client_with(demo(), lookup, limits);
    let url = format!("http://hooks.example.com:{}/hook", receiver.address.port());
    assert_eq!(client.send(&outgoing(&url)).await.unwrap().status, 204);
    assert_eq!(receiver.sent()[0].header("host"), format!("hooks.example.com:{}", receiver.address.port()));
}
