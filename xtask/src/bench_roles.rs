//! `cargo xtask bench roles`: what each role takes of a processor and of memory, as processes of their own over a private PostgreSQL and
//! Redis, while clients ask one kind of question after the other. The requests and limits of the manifests come from here
//! (`docs/CAPACITY.md`).

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpStream};
use std::thread::{sleep, spawn};
use std::time::Duration;

use lexopt::Arg;
use serde_json::{Value, json};

use crate::machine::{Need, provide, root, target};
use crate::process::{adopt_orphans, cargo, now, poll, run as run_program, sweep};
use crate::ui::Ui;
use crate::verify::stage::{ROLES, Stage};
use crate::{Failure, Outcome};

/// Ticks of the kernel's clock of processes in a second (`USER_HZ`, which every Linux has at 100).
const TICKS: u64 = 100;
const PROGRAM: &str = "two-step-100k";
/// Everything is up and has filled what it keeps.
const SETTLING: Duration = Duration::from_secs(15);

struct Wanted {
    seconds: u64,
    connections: usize,
}

/// One kind of question.
struct Kind {
    name: &'static str,
    /// Whom it asks.
    role: &'static str,
    method: &'static str,
    path: fn(&Trader) -> String,
    body: fn(&Trader) -> String,
}

const KINDS: [Kind; 6] = [
    Kind {
        name: "who am I",
        role: "api",
        method: "GET",
        path: |_| "/v1/me".to_owned(),
        body: |_| String::new(),
    },
    Kind {
        name: "my challenges",
        role: "api",
        method: "GET",
        path: |_| "/v1/challenges".to_owned(),
        body: |_| String::new(),
    },
    Kind {
        name: "an account",
        role: "api",
        method: "GET",
        path: |trader| format!("/v1/accounts/{}", trader.account),
        body: |_| String::new(),
    },
    Kind {
        name: "an order",
        role: "api",
        method: "POST",
        path: |trader| match trader.position {
            None => format!("/v1/accounts/{}/orders", trader.account),
            Some(position) => format!("/v1/accounts/{}/positions/{position}/close", trader.account),
        },
        body: |trader| match trader.position {
            None => {
                json!({"symbol": "EURUSD", "side": "buy", "kind": "market", "quantity": "0.01"}).to_string()
            }
            Some(_) => "{}".to_owned(),
        },
    },
    Kind {
        name: "signing in",
        role: "api",
        method: "POST",
        path: |_| "/v1/auth/sign-in".to_owned(),
        body: |trader| json!({"email": trader.email, "password": PASSWORD}).to_string(),
    },
    Kind {
        name: "a board",
        role: "analytics",
        method: "GET",
        path: |_| "/v1/analytics/leaderboard".to_owned(),
        body: |_| String::new(),
    },
];

const PASSWORD: &str = "a quiet street in early May!";

/// What a process took until now.
#[derive(Clone, Copy)]
struct Taken {
    /// Of a processor, in ticks.
    ticks: u64,
    /// Kibibytes of memory now, and at most.
    now: u64,
    most: u64,
}

pub(crate) fn run(args: lexopt::Parser) -> Outcome {
    let wanted = read(args)?;
    let root = root()?;
    adopt_orphans()?;
    provide(&[Need::PostgreSql, Need::Redis, Need::Node])?;
    Ui::ready(&root)?.build()?;
    run_program(cargo(&root).args([
        "build",
        "--quiet",
        "--release",
        "--package",
        "tradesense",
        "--features",
        "ui",
    ]))?;
    let stage = Stage::open_with("bench-roles", target()?.join("release/tradesense"), &["--no-bots"])?;
    let outcome = measure(&stage, &wanted);
    let closed = stage.close();
    sweep(&[]);
    outcome.and(closed)
}

fn measure(stage: &Stage, wanted: &Wanted) -> Outcome {
    let api = stage.member("api")?.port;
    let mut traders = Vec::new();
    for number in 0..wanted.connections {
        traders.push(Trader::new(api, number)?);
    }
    sleep(SETTLING);
    let seconds = Duration::from_secs(wanted.seconds);
    let taken = || ROLES.map(|role| stage.member(role).ok().and_then(|member| taken(member.server.pid())));
    let before = taken();
    sleep(seconds);
    let idle = taken();
    let mut of_idle = [0_u64; ROLES.len()];
    println!("nobody asks: CPU in ms per second, memory in MiB");
    for (((role, before), after), idle) in ROLES.iter().zip(before).zip(idle).zip(&mut of_idle) {
        let (Some(before), Some(after)) = (before, after) else {
            return Err(Failure::new(format!("{role} is gone")));
        };
        *idle = after.ticks.saturating_sub(before.ticks);
        println!("  {role:<10}{:>8}{:>8} MiB", per(*idle, wanted.seconds), after.now / 1_024);
    }
    for kind in &KINDS {
        let port = stage.member(kind.role)?.port;
        let before = taken();
        let clients: Vec<_> = traders
            .into_iter()
            .map(|mut trader| {
                spawn(move || {
                    let asked = trader.ask_for(port, kind, seconds);
                    (trader, asked)
                })
            })
            .collect();
        traders = Vec::new();
        let (mut answered, mut refused) = (0_u64, 0_u64);
        for client in clients {
            let (trader, asked) = client.join().map_err(|_| Failure::new("a client died"))?;
            let (good, bad) = asked?;
            answered = answered.saturating_add(good);
            refused = refused.saturating_add(bad);
            traders.push(trader);
        }
        let after = taken();
        println!("{}: {} a second, {refused} refused", kind.name, answered.div_euclid(wanted.seconds.max(1)));
        for (((role, before), after), idle) in ROLES.iter().zip(before).zip(after).zip(of_idle) {
            let (Some(before), Some(after)) = (before, after) else {
                return Err(Failure::new(format!("{role} is gone")));
            };
            let more = after.ticks.saturating_sub(before.ticks).saturating_sub(idle);
            let each = per(more, answered.max(1));
            println!(
                "  {role:<10}{each:>8} ms each, {} MiB, at most {}",
                after.now / 1_024,
                after.most / 1_024
            );
        }
    }
    Ok(())
}

/// Milliseconds of a processor for each of so many, with two digits after the point.
fn per(ticks: u64, many: u64) -> String {
    let hundredths = ticks.saturating_mul(100_000).div_euclid(TICKS.saturating_mul(many.max(1)));
    format!("{}.{:02}", hundredths / 100, hundredths % 100)
}

/// What `/proc` says of a process.
fn taken(pid: u32) -> Option<Taken> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // Its name may hold anything but ends at the last bracket; the 14th and 15th field are time in user's and in kernel's mode.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<u64>().ok()?.saturating_add(fields.next()?.parse().ok()?);
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kibibytes = |name: &str| -> Option<u64> {
        status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()?.parse().ok()
    };
    Some(Taken { ticks, now: kibibytes("VmRSS:")?, most: kibibytes("VmHWM:")? })
}

/// Somebody with an account, and one connection.
struct Trader {
    email: String,
    cookie: String,
    account: String,
    position: Option<u64>,
    sent: u64,
    to: Option<(u16, BufReader<TcpStream>)>,
}

struct Answer {
    status: u16,
    cookie: Option<String>,
    body: Value,
}

impl Trader {
    /// Registers, buys a challenge and waits for its account.
    fn new(port: u16, number: usize) -> Outcome<Self> {
        let email = format!("trader-{number}@bench.example");
        let mut trader = Self {
            email: email.clone(),
            cookie: String::new(),
            account: String::new(),
            position: None,
            sent: 0,
            to: None,
        };
        let person =
            json!({"email": email, "password": PASSWORD, "display_name": format!("Trader {number}")});
        trader.must(port, "POST", "/v1/auth/register", &person)?;
        let offer = trader.must(port, "GET", &format!("/v1/programs/{PROGRAM}"), &Value::Null)?;
        let wanted = json!({"program": PROGRAM, "version": offer.get("version")});
        let purchase = trader.must(port, "POST", "/v1/purchases", &wanted)?;
        let page = purchase.get("checkout_url").and_then(Value::as_str).unwrap_or_default();
        trader.must(port, "POST", &format!("{page}/pay"), &json!({}))?;
        let account = poll(Duration::from_secs(30), || {
            let challenges = trader.must(port, "GET", "/v1/challenges", &Value::Null).ok()?;
            challenges.pointer("/items/0/accounts/0/id").and_then(Value::as_str).map(str::to_owned)
        });
        trader.account = account.ok_or_else(|| Failure::new("what was bought has no account"))?;
        Ok(trader)
    }

    fn must(&mut self, port: u16, method: &str, path: &str, body: &Value) -> Outcome<Value> {
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let answer = self.ask(port, method, path, &body)?;
        if answer.status >= 400 {
            return Err(Failure::new(format!("{method} {path}: {} {}", answer.status, answer.body)));
        }
        if let Some(cookie) = answer.cookie {
            self.cookie = cookie;
        }
        Ok(answer.body)
    }

    /// Asks the same again and again: how often it was answered, and how often it was refused for a while.
    fn ask_for(&mut self, port: u16, kind: &Kind, time: Duration) -> Outcome<(u64, u64)> {
        let (since, mut answered, mut refused) = (now(), 0_u64, 0_u64);
        while since.elapsed() < time {
            let (path, body) = ((kind.path)(self), (kind.body)(self));
            let answer = self.ask(port, kind.method, &path, &body)?;
            match answer.status {
                200..=299 => answered = answered.saturating_add(1),
                409 | 429 | 503 => {
                    refused = refused.saturating_add(1);
                    sleep(Duration::from_millis(20));
                }
                status => {
                    return Err(Failure::new(format!("{} {path}: {status} {}", kind.method, answer.body)));
                }
            }
            if kind.name == "an order" {
                match answer.status {
                    201 => self.position = answer.body.get("position").and_then(Value::as_u64),
                    200 => self.position = None,
                    _ => {}
                }
            }
        }
        Ok((answered, refused))
    }

    fn ask(&mut self, port: u16, method: &str, path: &str, body: &str) -> Outcome<Answer> {
        self.sent = self.sent.saturating_add(1);
        self.asked(port, method, path, body).map_err(Failure::of(format!("{method} {path} on port {port}")))
    }

    fn asked(&mut self, port: u16, method: &str, path: &str, body: &str) -> std::io::Result<Answer> {
        let (key, cookie) = (format!("{}-{}", self.email, self.sent), &self.cookie);
        if self.to.as_ref().is_none_or(|(to, _)| *to != port) {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
            stream.set_read_timeout(Some(Duration::from_secs(20)))?;
            stream.set_nodelay(true)?;
            self.to = Some((port, BufReader::new(stream)));
        }
        let Some((_, stream)) = &mut self.to else {
            return Err(std::io::Error::other("no connection"));
        };
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nCookie: {cookie}\r\nIdempotency-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.get_mut().write_all(request.as_bytes())?;
        let (mut status, mut cookie, mut length, mut chunked) = (0, None, 0_usize, false);
        loop {
            let mut line = String::new();
            if stream.read_line(&mut line)? == 0 {
                return Err(std::io::Error::other("the connection was closed"));
            }
            let line = line.trim_end();
            if line.is_empty() {
                break;
            }
            if status == 0 {
                status = line.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(1);
                continue;
            }
            let (name, value) = line.split_once(": ").unwrap_or((line, ""));
            match name.to_ascii_lowercase().as_str() {
                "content-length" => length = value.parse().unwrap_or_default(),
                "transfer-encoding" => chunked = true,
                "set-cookie" => cookie = value.split(';').next().map(str::to_owned),
                _ => {}
            }
        }
        let mut body = Vec::new();
        loop {
            if chunked {
                let mut line = String::new();
                stream.read_line(&mut line)?;
                length = usize::from_str_radix(line.trim(), 16).map_err(std::io::Error::other)?;
            }
            let begin = body.len();
            body.resize(begin.saturating_add(length), 0);
            stream.read_exact(body.get_mut(begin..).unwrap_or_default())?;
            if !chunked {
                break;
            }
            stream.read_line(&mut String::new())?;
            if length == 0 {
                break;
            }
        }
        Ok(Answer { status, cookie, body: serde_json::from_slice(&body).unwrap_or_default() })
    }
}

fn read(mut args: lexopt::Parser) -> Outcome<Wanted> {
    let mut wanted = Wanted { seconds: 10, connections: 16 };
    while let Some(arg) = args.next()? {
        let name = match arg {
            Arg::Long(name @ ("seconds" | "connections")) => name.to_owned(),
            Arg::Long(_) | Arg::Short(_) | Arg::Value(_) => return Err(arg.unexpected().into()),
        };
        let value = args.value()?;
        let number = value.to_str().and_then(|text| text.parse::<u8>().ok()).filter(|number| *number > 0);
        let number = number.ok_or_else(|| Failure::new(format!("--{name} takes a number from 1 to 255")))?;
        match name.as_str() {
            "seconds" => wanted.seconds = number.into(),
            _ => wanted.connections = number.into(),
        }
    }
    Ok(wanted)
}
