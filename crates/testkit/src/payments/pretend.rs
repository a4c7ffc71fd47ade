//! What both fakes stand on: a server, faults, keys, webhooks.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use kernel::SeededRng;
use serde_json::{Map, Value};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// What is done to a request that comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// Hangs up without having done anything.
    LoseRequest,
    /// Does it and hangs up.
    LoseAnswer,
    /// Does it, and answers after this time.
    Delay(Duration),
    /// Answers this status without having done anything.
    Fail(u16),
    /// Does it, and answers this status all the same.
    FailAfter(u16),
    /// Too many requests; asks to wait so many seconds if any.
    Busy(Option<u32>),
    /// Another request under the same key is at work.
    AtWork,
    /// Refuses whoever pays or is paid, with this word.
    Decline(&'static str),
    /// Does it, and answers something else than JSON.
    Garble,
    /// Does it, and answers as if the money were real, or not.
    OtherMode,
}

/// Faults that wait for their request.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Vec<(String, Fault)>>);

impl Faults {
    /// The next request whose method and path begin like this meets the fault.
    pub(super) fn add(&self, line: &str, fault: Fault) {
        self.lock().push((line.to_owned(), fault));
    }

    pub(super) fn take(&self, line: &str) -> Option<Fault> {
        let mut faults = self.lock();
        let place = faults.iter().position(|(begin, _)| line.starts_with(begin.as_str()))?;
        Some(faults.remove(place).1)
    }

    pub(super) fn waiting(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(String, Fault)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request, read whole.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) method: String,
    pub(super) path: String,
    pub(super) query: Value,
    pub(super) headers: BTreeMap<String, String>,
    pub(super) body: Vec<u8>,
}

impl Asked {
    pub(super) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    pub(super) fn line(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    /// The parts of the path.
    pub(super) fn parts(&self) -> Vec<&str> {
        self.path.trim_matches('/').split('/').collect()
    }
}

/// An answer.
#[derive(Debug, Clone)]
pub(super) struct Answered {
    pub(super) status: u16,
    pub(super) headers: Vec<(&'static str, String)>,
    pub(super) body: Vec<u8>,
}

impl Answered {
    pub(super) fn json(status: u16, body: &Value) -> Self {
        let headers = vec![("content-type", "application/json".to_owned())];
        Self { status, headers, body: body.to_string().into_bytes() }
    }

    pub(super) fn value(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or(Value::Null)
    }
}

/// Who answers.
pub(super) trait Pretender: Send + Sync + 'static {
    /// The faults that wait.
    fn faults(&self) -> &Faults;

    /// Answers that mean a fault, in the provider's own form.
    fn failed(&self, status: u16, word: &str) -> Answered;

    /// Does it.
    fn act(&self, asked: &Asked, decline: Option<&str>) -> Answered;

    /// The same answer of the other mode.
    fn other_mode(&self, answer: Answered) -> Answered;
}

/// A server that ends with this.
#[derive(Debug)]
pub(super) struct Server {
    pub(super) address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Server {
    pub(super) async fn open(pretender: Arc<impl Pretender>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let pretender = Arc::clone(&pretender);
                tokio::spawn(async move {
                    let service = service_fn(move |request| serve(Arc::clone(&pretender), request));
                    let talk = hyper::server::conn::http1::Builder::new();
                    // A client that goes away, or one that is hung up on, ends its conversation and nothing else.
                    drop(talk.serve_connection(TokioIo::new(stream), service).await);
                });
            }
        });
        Self { address, accepting }
    }
}

async fn serve(
    pretender: Arc<impl Pretender>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, io::Error> {
    let asked = read(request).await.map_err(io::Error::other)?;
    // In a task of its own: what has begun is done, whoever still waits for it.
    let answered = tokio::spawn(async move { answer(&*pretender, &asked).await }).await?;
    let answered = answered.ok_or_else(|| io::Error::other("hung up"))?;
    let mut response = Response::builder().status(answered.status);
    for (name, value) in answered.headers {
        response = response.header(name, value);
    }
    response.body(Full::from(answered.body)).map_err(io::Error::other)
}

async fn answer(pretender: &impl Pretender, asked: &Asked) -> Option<Answered> {
    let fault = pretender.faults().take(&asked.line());
    let decline = match &fault {
        Some(Fault::Decline(word)) => Some(*word),
        _ => None,
    };
    match fault {
        Some(Fault::LoseRequest) => return None,
        Some(Fault::Fail(status)) => return Some(pretender.failed(status, "failed")),
        Some(Fault::AtWork) => return Some(pretender.failed(409, "at_work")),
        Some(Fault::Busy(seconds)) => {
            let mut busy = pretender.failed(429, "busy");
            busy.headers.extend(seconds.map(|seconds| ("retry-after", seconds.to_string())));
            return Some(busy);
        }
        _ => {}
    }
    let answered = pretender.act(asked, decline);
    match fault {
        Some(Fault::LoseAnswer) => None,
        Some(Fault::Delay(time)) => {
            tokio::time::sleep(time).await;
            Some(answered)
        }
        Some(Fault::FailAfter(status)) => Some(pretender.failed(status, "failed")),
        Some(Fault::Garble) => Some(Answered { body: b"<html>Sorry".to_vec(), ..answered }),
        Some(Fault::OtherMode) => Some(pretender.other_mode(answered)),
        _ => Some(answered),
    }
}

async fn read(request: Request<Incoming>) -> Result<Asked, hyper::Error> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes().to_vec();
    let headers = head.headers.iter();
    Ok(Asked {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: nested(&decoded(head.uri.query().unwrap_or_default())),
        headers: headers
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect(),
        body,
    })
}

/// Fields of a form or a query, in their order.
pub(super) fn decoded(text: &str) -> Vec<(String, String)> {
    let part = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.bytes();
        while let Some(byte) = rest.next() {
            match byte {
                b'+' => bytes.push(b' '),
                b'%' => {
                    let digits = [rest.next().unwrap_or(b'0'), rest.next().unwrap_or(b'0')];
                    let digits = String::from_utf8_lossy(&digits).into_owned();
                    bytes.push(u8::from_str_radix(&digits, 16).unwrap_or(b'?'));
                }
                other => bytes.push(other),
            }
        }
        String::from_utf8_lossy(&bytes).into_owned()
    };
    let fields = text.split('&').filter(|field| !field.is_empty());
    fields
        .map(|field| field.split_once('=').unwrap_or((field, "")))
        .map(|(name, value)| (part(name), part(value)))
        .collect()
}

/// `a[b][0]=x` as objects and arrays of text.
pub(super) fn nested(fields: &[(String, String)]) -> Value {
    let mut whole = Value::Object(Map::new());
    for (name, value) in fields {
        let mut place = &mut whole;
        let named = name.trim_end_matches("[]");
        let mut keys: Vec<&str> = named.split(['[', ']']).filter(|key| !key.is_empty()).collect();
        if named != name {
            keys.push("[]");
        }
        for key in keys {
            place = step(place, key);
        }
        *place = Value::String(value.clone());
    }
    whole
}

fn step<'a>(place: &'a mut Value, key: &str) -> &'a mut Value {
    let index = if key == "[]" { Some(usize::MAX) } else { key.parse::<usize>().ok() };
    if let Some(index) = index {
        if !place.is_array() {
            *place = Value::Array(Vec::new());
        }
        let items = place.as_array_mut().unwrap();
        let index = index.min(items.len());
        if index == items.len() {
            items.push(Value::Null);
        }
        &mut items[index]
    } else {
        if !place.is_object() {
            *place = Value::Object(Map::new());
        }
        place.as_object_mut().unwrap().entry(key).or_insert(Value::Null)
    }
}

/// Answers by key, as long as they live.
#[derive(Debug, Default)]
pub(super) struct Keys(BTreeMap<String, (Vec<u8>, Answered)>);

/// What a key is known for.
pub(super) enum Known {
    /// This request; it was answered so.
    Same(Answered),
    /// Another one.
    Other,
    /// Nothing.
    New,
}

impl Keys {
    pub(super) fn look(&self, key: &str, asked: &Asked) -> Known {
        match self.0.get(key) {
            Some((known, answered)) if *known == print(asked) => Known::Same(answered.clone()),
            Some(_) => Known::Other,
            None => Known::New,
        }
    }

    pub(super) fn keep(&mut self, key: &str, asked: &Asked, answered: &Answered) {
        self.0.insert(key.to_owned(), (print(asked), answered.clone()));
    }

    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

fn print(asked: &Asked) -> Vec<u8> {
    let mut print = asked.line().into_bytes();
    print.push(b'\n');
    print.extend_from_slice(&asked.body);
    print
}

/// A webhook as it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedWebhook {
    /// Names in lower case, and values.
    pub headers: Vec<(String, Vec<u8>)>,
    /// The body.
    pub body: Vec<u8>,
}

impl SignedWebhook {
    /// With another value for a header, or without it.
    #[must_use]
    pub fn with(mut self, name: &str, value: Option<&str>) -> Self {
        self.headers.retain(|(known, _)| known != name);
        self.headers.extend(value.map(|value| (name.to_owned(), value.as_bytes().to_vec())));
        self
    }

    /// The value of a header.
    pub fn header(&self, name: &str) -> String {
        let found = self.headers.iter().find(|(known, _)| known == name);
        String::from_utf8_lossy(&found.unwrap().1).into_owned()
    }
}

/// Webhooks as a bad day brings them: in another order, some more than once, some not at all if `lossy`. The same seed, the
/// same day.
pub fn shuffled(webhooks: &[SignedWebhook], seed: u64, lossy: bool) -> Vec<SignedWebhook> {
    let rng = SeededRng::new(seed);
    let mut sent = Vec::new();
    for webhook in webhooks {
        let times = match rng.between(0, 9) {
            0 | 1 if lossy => 0,
            2..=4 => 2,
            5 => 3,
            _ => 1,
        };
        for _ in 0..times {
            let place = rng.between(0, i64::try_from(sent.len()).unwrap());
            sent.insert(usize::try_from(place).unwrap(), webhook.clone());
        }
    }
    sent
}

/// Sends one to `path` at an address and returns the status.
pub async fn deliver(to: SocketAddr, path: &str, webhook: &SignedWebhook) -> io::Result<u16> {
    let mut stream = TcpStream::connect(to).await?;
    let mut request = format!(
        "POST {path} HTTP/1.1\r\nhost: {to}\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n",
        webhook.body.len()
    )
    .into_bytes();
    for (name, value) in &webhook.headers {
        request.extend_from_slice(name.as_bytes());
        request.extend_from_slice(b": ");
        request.extend_from_slice(value);
        request.extend_from_slice(b"\r\n");
    }
    request.extend_from_slice(b"\r\n");
    request.extend_from_slice(&webhook.body);
    stream.write_all(&request).await?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await?;
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    status.ok_or_else(|| io::Error::other("no answer"))
}

/// The lock, whoever panicked under it.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn forms_are_read_as_they_nest() {
        let form = decoded("a=1&b%5Bc%5D=x+y&d[0][e]=2&d[0][f]=3&expand[]=p&expand[]=q%2Fr");
        let expected =
            json!({"a": "1", "b": {"c": "x y"}, "d": [{"e": "2", "f": "3"}], "expand": ["p", "q/r"]});
        assert_eq!(nested(&form), expected);
    }

    #[test]
    fn a_bad_day_is_the_same_for_the_same_seed() {
        let webhook = |body: u8| SignedWebhook { headers: Vec::new(), body: vec![body] };
        let all: Vec<_> = (0..20).map(webhook).collect();
        let day = shuffled(&all, 7, false);
        assert_eq!(day, shuffled(&all, 7, false));
        assert_ne!(day, all);
        assert!(all.iter().all(|one| day.contains(one)), "nothing is lost");
        let lossy = shuffled(&all, 7, true);
        assert!(all.iter().any(|one| !lossy.contains(one)));
    }

    #[tokio::test]
    async fn a_webhook_arrives_with_its_headers_and_its_bytes() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let receiving = tokio::spawn(async move {
            let mut stream = listener.accept().await.unwrap().0;
            let mut request = Vec::new();
            while !request.ends_with(b"\r\n\r\n{\"a\":1}") {
                request.push(stream.read_u8().await.unwrap());
            }
            stream.write_all(b"HTTP/1.1 202 Accepted\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            String::from_utf8(request).unwrap()
        });
        let headers = vec![("stripe-signature".to_owned(), b"t=1,v1=00".to_vec())];
        let webhook = SignedWebhook { headers, body: b"{\"a\":1}".to_vec() };
        assert_eq!(deliver(address, "/webhooks/stripe", &webhook).await.unwrap(), 202);
        let request = receiving.await.unwrap();
        assert!(request.starts_with("POST /webhooks/stripe HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("\r\nstripe-signature: t=1,v1=00\r\n"), "{request}");
    }
}
