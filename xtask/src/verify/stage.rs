//! All roles as processes of their own over a private PostgreSQL and Redis, with bots that trade, and somebody who asks over HTTP.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use embedded::Postgres;

use crate::db::{start_fresh, stop_and_erase};
use crate::machine::{root, target};
use crate::platform::{Scratch, free_port, serves};
use crate::process::{Server, command, log_to};
use crate::{Failure, Outcome};

/// Every role with whether it is `up` (the one with the bots).
pub(crate) const ROLES: [&str; 4] = ["api", "engine", "worker", "analytics"];

/// A role that runs.
pub(crate) struct Member {
    pub(crate) role: &'static str,
    pub(crate) port: u16,
    pub(crate) ops: u16,
    pub(crate) log: PathBuf,
    pub(crate) server: Server,
}

/// Everything that runs. Ends in the order of its fields.
pub(crate) struct Stage {
    pub(crate) members: Vec<Member>,
    redis: Server,
    database: Option<Postgres>,
    owner: String,
    redis_url: String,
    program: PathBuf,
    more: Vec<String>,
    pub(crate) scratch: Scratch,
}

impl Stage {
    /// Starts everything and waits until it serves.
    pub(crate) fn open(name: &str) -> Outcome<Self> {
        Self::open_with(name, target()?.join("debug/tradesense"), &[])
    }

    /// The same with another program, whose API is told more.
    pub(crate) fn open_with(name: &str, program: PathBuf, more: &[&str]) -> Outcome<Self> {
        if !program.exists() {
            return Err(Failure::new("build the program first: cargo build -p tradesense"));
        }
        let scratch = Scratch::new(name)?;
        let database = start_fresh(name)?;
        let owner = database.url("postgres");
        let redis_port = free_port()?;
        let mut redis = command("redis-server", scratch.path());
        redis.args([
            "--port",
            &redis_port.to_string(),
            "--bind",
            "127.0.0.1",
            "--save",
            "",
            "--appendonly",
            "no",
        ]);
        log_to(&mut redis, &scratch.path().join("redis.log"))?;
        let redis = Server::start(&mut redis)?;
        let redis_url = format!("redis://127.0.0.1:{redis_port}");
        let mut stage = Self {
            members: Vec::new(),
            redis,
            database: Some(database),
            owner,
            redis_url,
            program,
            more: more.iter().map(|word| (*word).to_owned()).collect(),
            scratch,
        };
        for role in ROLES {
            stage.start(role)?;
        }
        Ok(stage)
    }

    /// Starts a role, on the ports that it had before if it ran before.
    pub(crate) fn start(&mut self, role: &'static str) -> Outcome {
        let old = self.members.iter().position(|member| member.role == role);
        let old = old.map(|at| self.members.remove(at));
        let (port, ops) = match &old {
            Some(member) => (member.port, member.ops),
            None => (free_port()?, free_port()?),
        };
        drop(old);
        let dir = self.scratch.path();
        let log = dir.join(format!("{role}.log"));
        let mut member = command(&self.program, &root()?);
        let (port_text, ops_text) = (port.to_string(), ops.to_string());
        if role == "api" {
            member.args([
                "up",
                "--roles",
                "api",
                "--port",
                &port_text,
                "--analytics-port",
                "0",
                "--shards",
                "2",
            ]);
            member.args(&self.more);
        } else {
            member.args([
                role,
                "--demo",
                "--connections",
                "4",
                "--port",
                &port_text,
                "--analytics-port",
                &port_text,
            ]);
            member.arg("--keys-dir").arg(dir.join("api"));
        }
        member.args(["--ops-port", &ops_text]).arg("--data-dir").arg(dir.join(role));
        // From a file, as where it is run: how old such a file is, is a figure.
        let url = dir.join("database-url");
        fs::write(&url, &self.owner).map_err(Failure::of("write the URL of the database"))?;
        member.env("DATABASE_URL_FILE", url).env("REDIS_URL", &self.redis_url);
        member.env("TRADESENSE_LOG", "info").env("TRADESENSE_LOG_FORMAT", "ecs");
        log_to(&mut member, &log)?;
        let mut server = Server::start(&mut member)?;
        if !serves(&mut server, ops) {
            let said = fs::read_to_string(&log).unwrap_or_default();
            return Err(Failure::new(format!("{role} did not become ready; it said\n{said}")));
        }
        self.members.push(Member { role, port, ops, log, server });
        Ok(())
    }

    pub(crate) fn member(&self, role: &str) -> Outcome<&Member> {
        self.members
            .iter()
            .find(|member| member.role == role)
            .ok_or_else(|| Failure::new(format!("no {role} runs")))
    }

    /// Ends a role; its place is kept for the next start.
    pub(crate) fn kill(&mut self, role: &'static str) -> Outcome {
        let at = self.members.iter().position(|member| member.role == role);
        let Some(at) = at else { return Err(Failure::new(format!("no {role} runs"))) };
        let Member { port, ops, log, server, .. } = self.members.remove(at);
        drop(server);
        // A program that ends at once stands in its place.
        let server = Server::start(&mut command("true", self.scratch.path()))?;
        self.members.push(Member { role, port, ops, log, server });
        Ok(())
    }

    /// Ends everything.
    pub(crate) fn close(mut self) -> Outcome {
        self.members.clear();
        drop(self.redis);
        match self.database.take() {
            Some(database) => stop_and_erase(database),
            None => Ok(()),
        }
    }
}

/// An answer over HTTP.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

/// Asks a server on this machine; `headers` are whole lines.
pub(crate) fn ask(port: u16, method: &str, path: &str, headers: &[&str], body: &str) -> Outcome<Answer> {
    let read = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        let more: Vec<String> = headers.iter().map(|header| format!("{header}\r\n")).collect();
        let more = more.concat();
        // The older protocol has no chunks.
        write!(
            stream,
            "{method} {path} HTTP/1.0\r\nHost: localhost\r\n{more}Content-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut bytes = Vec::new();
        stream.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().map_err(Failure::of(format!("ask for {path} on port {port}")))?;
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
    let status = head.split_whitespace().nth(1).and_then(|status| status.parse().ok()).unwrap_or_default();
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}

/// What somebody was told: path, head and body.
pub(crate) type Told = Arc<Mutex<Vec<(String, String)>>>;

/// Takes whatever is posted, and answers every `GET` with the same text.
pub(crate) fn receiver(answer: &'static str) -> Outcome<(u16, Told)> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Failure::of("listen for alerts"))?;
    let port = listener.local_addr().map_err(Failure::of("listen for alerts"))?.port();
    let told = Told::default();
    let kept = Arc::clone(&told);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let kept = Arc::clone(&kept);
            // Prometheus and Alertmanager keep connections: each is served by itself and closed after one answer.
            std::thread::spawn(move || take(stream, answer, &kept));
        }
    });
    Ok((port, told))
}

fn take(mut stream: TcpStream, answer: &str, kept: &Told) {
    let _limit = stream.set_read_timeout(Some(Duration::from_secs(10)));
    let mut bytes = Vec::new();
    let mut chunk = [0_u8; 8_192];
    let request = loop {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Some((head, body)) = text.split_once("\r\n\r\n") {
            let length = head.lines().find_map(|line| {
                let (name, value) = line.split_once(':')?;
                name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse::<usize>().ok())?
            });
            if body.len() >= length.unwrap_or_default() {
                break text;
            }
        }
        match stream.read(&mut chunk) {
            Ok(0) | Err(_) => return,
            Ok(read) => bytes.extend(chunk.get(..read).unwrap_or_default()),
        }
    };
    let path = request.split_whitespace().nth(1).unwrap_or_default().to_owned();
    let body = if request.starts_with("GET") {
        answer
    } else {
        kept.lock().unwrap_or_else(PoisonError::into_inner).push((path, request));
        ""
    };
    let _gone = write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    );
}

/// What came so far.
pub(crate) fn heard(told: &Told) -> Vec<(String, String)> {
    told.lock().unwrap_or_else(PoisonError::into_inner).clone()
}

/// Copies a folder with everything below it, each text changed on the way.
pub(crate) fn copy_changed(from: &Path, to: &Path, change: &dyn Fn(&str) -> String) -> Outcome {
    fs::create_dir_all(to).map_err(Failure::of(format!("create {}", to.display())))?;
    for entry in fs::read_dir(from).map_err(Failure::of(format!("read {}", from.display())))?.flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy_changed(&path, &target, change)?;
        } else {
            let text = fs::read_to_string(&path).map_err(Failure::of(format!("read {}", path.display())))?;
            fs::write(&target, change(&text)).map_err(Failure::of(format!("write {}", target.display())))?;
        }
    }
    Ok(())
}
