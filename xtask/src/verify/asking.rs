//! Somebody who asks without a pause while something is changed, and says what went wrong.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use serde_json::Value;

use super::stage::{Answer, ask};
use crate::process::now;
use crate::{Failure, Outcome};

/// Somebody who asks without a pause.
pub(crate) struct Asking {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    threads: Vec<JoinHandle<(Duration, Vec<String>)>>,
}

pub(crate) struct Asked {
    pub(crate) answered: u64,
    pub(crate) failed: usize,
    pub(crate) longest: Duration,
    pub(crate) faults: Vec<String>,
}

impl Asking {
    pub(crate) fn start(api: u16, analytics: u16, logins: &Path) -> Outcome<Self> {
        let text = fs::read_to_string(logins).map_err(Failure::of("read the logins"))?;
        let logins: Value = serde_json::from_str(&text).map_err(Failure::of("read the logins"))?;
        let all: Vec<&Value> = logins.as_array().into_iter().flatten().collect();
        let trader =
            all.iter().find(|login| login["title"].as_str().is_some_and(|title| title.contains("rader")));
        let trader = trader.ok_or_else(|| Failure::new(format!("no trader among {logins}")))?;
        let login = serde_json::json!({"email": trader["email"], "password": trader["password"]}).to_string();
        let cookie = sign_in(api, &login)?;
        let offered = ask(api, "GET", "/v1/programs", &[], "")?;
        let offered: Value = serde_json::from_str(&offered.body).map_err(Failure::of("read the programs"))?;
        let program = offered.pointer("/items/0").cloned().unwrap_or_default();
        let order = serde_json::json!({"program": program.get("slug"), "version": program.get("version")})
            .to_string();
        let stop = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(AtomicU64::new(0));
        let mut threads = Vec::new();
        let requests: [(u16, &str, &str, bool); 4] = [
            (api, "GET", "/v1/me", false),
            (api, "POST", "/v1/purchases", true),
            (api, "GET", "/v1/firm", false),
            (analytics, "GET", "/v1/analytics/leaderboard", false),
        ];
        for (port, method, path, buys) in requests {
            let (cookie, order) = (cookie.clone(), if buys { order.clone() } else { String::new() });
            threads.push(again_and_again(&stop, &answered, Duration::from_millis(20), move || {
                let headers = [&cookie, "Content-Type: application/json", "Idempotency-Key: asking"];
                let answer = ask(port, method, path, &headers, &order)?;
                good(answer, method, path)
            }));
        }
        // Somebody new, who then is known.
        threads.push(again_and_again(&stop, &answered, Duration::from_millis(500), move || {
            let cookie = sign_in(api, &login)?;
            good(ask(api, "GET", "/v1/me", &[&cookie], "")?, "GET", "/v1/me after signing in")
        }));
        Ok(Self { stop, answered, threads })
    }

    pub(crate) fn end(self) -> Asked {
        self.stop.store(true, Ordering::Relaxed);
        let ended: Vec<(Duration, Vec<String>)> =
            self.threads.into_iter().map(|thread| thread.join().unwrap_or_default()).collect();
        let longest = ended.iter().map(|(longest, _)| *longest).max().unwrap_or_default();
        let faults: Vec<String> = ended.into_iter().flat_map(|(_, faults)| faults).collect();
        let failed = faults.len();
        let faults = faults.into_iter().take(5).collect();
        Asked { answered: self.answered.load(Ordering::Relaxed), failed, longest, faults }
    }
}

/// Asks until told to stop: how long the longest answer took, and what went wrong.
fn again_and_again(
    stop: &Arc<AtomicBool>,
    answered: &Arc<AtomicU64>,
    pause: Duration,
    each: impl Fn() -> Outcome + Send + 'static,
) -> JoinHandle<(Duration, Vec<String>)> {
    let (stop, answered) = (Arc::clone(stop), Arc::clone(answered));
    spawn(move || {
        let (mut longest, mut faults) = (Duration::ZERO, Vec::new());
        while !stop.load(Ordering::Relaxed) {
            let since = now();
            let asked = each();
            longest = longest.max(since.elapsed());
            answered.fetch_add(1, Ordering::Relaxed);
            faults.extend(asked.err().map(|Failure(text)| text));
            sleep(pause);
        }
        (longest, faults)
    })
}

fn good(answer: Answer, method: &str, path: &str) -> Outcome {
    match answer {
        Answer { status: 200..=299, .. } => Ok(()),
        Answer { status, body, .. } => Err(Failure::new(format!("{method} {path}: {status} {body}"))),
    }
}

/// Signs in: the line with the cookie.
fn sign_in(api: u16, login: &str) -> Outcome<String> {
    let signed_in = ask(api, "POST", "/v1/auth/sign-in", &["Content-Type: application/json"], login)?;
    let cookie = signed_in.head.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        let pair = value.trim().split(';').next()?;
        name.eq_ignore_ascii_case("set-cookie").then(|| format!("Cookie: {pair}"))
    });
    cookie.ok_or_else(|| Failure::new(format!("nobody is signed in: {} {}", signed_in.head, signed_in.body)))
}
