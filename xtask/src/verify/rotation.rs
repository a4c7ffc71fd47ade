//! `cargo xtask verify rotation`: each role once, with its secrets in files. Every secret is changed while somebody asks without a pause: no
//! answer is an error, everybody has the new one within seconds, and the old one opens nothing any more.

use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use embedded::Postgres;

use super::asking::{Asked, Asking};
use super::manifests::{list, overlays, str_at, text};
use super::stage::ask;
use super::{Finding, Found, nothing};
use crate::db::{psql_command, start_fresh, stop_and_erase};
use crate::machine::{root, target};
use crate::platform::{Scratch, free_port, is_ready, serves};
use crate::process::{Server, command, log_to, now, output, poll, run as run_program, succeeds};
use crate::{Failure, Outcome};

/// Noticing, trying, chance, stopping and starting.
const LONGEST: Duration = Duration::from_mins(1);
const ROLES: [&str; 4] = ["api", "engine", "worker", "analytics"];

const GUIDE: &str = "docs/guides/rotation.md";

/// The guide has a line for every secret: the files of the compose stack, what the stores of places hold, what the program is told in a file.
pub(super) fn guide() -> Found {
    let mut secrets = BTreeSet::new();
    let scratch = Scratch::new("guide").map_err(|Failure(text)| vec![Finding::new(GUIDE, text)])?;
    let made = super::compose::make_secrets(scratch.path());
    made.map_err(|Failure(text)| vec![Finding::new("init.sh", text)])?;
    let files =
        fs::read_dir(scratch.path()).map_err(|error| vec![Finding::new("init.sh", error.to_string())])?;
    secrets.extend(files.flatten().filter_map(|file| file.file_name().into_string().ok()));
    for overlay in overlays()? {
        for secret in overlay.of("ExternalSecret") {
            for data in list(&secret.value, "spec.data") {
                let (key, property) = (str_at(data, "remoteRef.key"), str_at(data, "remoteRef.property"));
                secrets.insert(format!("{key}: {property}"));
            }
            let whole =
                list(&secret.value, "spec.dataFrom").map(|from| str_at(from, "extract.key").to_owned());
            secrets.extend(whole);
        }
    }
    for file in
        ["crates/tradesense/src/role.rs", "crates/tradesense/src/main.rs", "crates/tradesense/src/up.rs"]
    {
        for line in text(file)?.lines().filter(|line| line.contains("hide_env_values")) {
            let name = line.split_once("env = \"").and_then(|(_, rest)| rest.split('"').next());
            secrets.extend(name.map(|name| format!("{name}_FILE")));
        }
    }
    let guide = text(GUIDE)?;
    // An entry of a store and its property stand in one line.
    let told = |secret: &str| {
        let mut lines = guide.lines().filter(|line| line.starts_with('|'));
        lines.any(|line| secret.split(": ").all(|part| line.contains(&format!("`{part}`"))))
    };
    let missing = secrets.iter().filter(|secret| !told(secret));
    let mut findings: Vec<Finding> =
        missing.map(|secret| Finding::new(GUIDE, format!("has no line for `{secret}`"))).collect();
    if secrets.len() < 40 {
        findings.push(Finding::new(GUIDE, format!("only {} secrets were found", secrets.len())));
    }
    println!("  {} secrets", secrets.len());
    nothing(findings)
}

/// Everything that runs, with the files of its secrets.
struct Place {
    ports: Vec<(&'static str, u16, u16)>,
    servers: Vec<Server>,
    _redis: Server,
    redis_port: u16,
    database: Option<Postgres>,
    program: PathBuf,
    scratch: Scratch,
}

pub(super) fn holds() -> Found {
    let place = Place::open().map_err(|Failure(text)| vec![Finding::new("the stage", text)])?;
    let mut findings = Vec::new();
    let seen = place.rotate(&mut findings);
    if let Err(Failure(text)) = seen {
        findings.push(Finding::new("rotation", text));
    }
    if let Err(Failure(text)) = place.close() {
        findings.push(Finding::new("the stage", text));
    }
    nothing(findings)
}

impl Place {
    fn open() -> Outcome<Self> {
        let program = target()?.join("debug/tradesense");
        let scratch = Scratch::new("rotation")?;
        let dir = scratch.path().to_owned();
        let database = start_fresh("rotation")?;
        let redis_port = free_port()?;
        let mut redis = command("redis-server", &dir);
        redis.args(["--port", &redis_port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        for (user, password) in [("default", ">admin"), ("tradesense", ">first")] {
            redis.args(["--user", user, "on", password, "~*", "&*", "+@all"]);
        }
        log_to(&mut redis, &dir.join("redis.log"))?;
        let redis = Server::start(&mut redis)?;
        let mut place = Self {
            ports: Vec::new(),
            servers: Vec::new(),
            _redis: redis,
            redis_port,
            database: Some(database),
            program,
            scratch,
        };
        for name in ["keys", "payments"] {
            fs::create_dir_all(dir.join(name)).map_err(Failure::of(format!("make room for {name}")))?;
        }
        place.login("platform_a", "first")?;
        let mut demo = place.tradesense()?;
        demo.args(["demo", "--data-dir"]).arg(dir.join("keys")).env("DATABASE_URL", place.owner());
        run_program(&mut demo)?;
        place.write("database-url", &place.database_url("platform_a", "first"))?;
        place.write("redis-url", &place.redis_url("first"))?;
        place.write("cache-url", &place.redis_url("first"))?;
        place.write("bounce-key", "0123456789abcdef:0123456789abcdef")?;
        place.write("payments/stripe.key", "sk_test_0123456789abcdefghijklmn")?;
        place
            .write("payments/stripe-webhook.secret", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=")?;
        place.write(
            "payments/payments.toml",
            "[[provider]]\nfirm = \"demo\"\nname = \"stripe\"\nmode = \"test\"\nkey_file = \"stripe.key\"\nwebhook_secret_files = [\"stripe-webhook.secret\"]\n",
        )?;
        for role in ROLES {
            place.start(role)?;
        }
        Ok(place)
    }

    fn tradesense(&self) -> Outcome<std::process::Command> {
        let mut program = command(&self.program, &root()?);
        program.env("TRADESENSE_LOG", "info").env("NO_COLOR", "1");
        Ok(program)
    }

    fn owner(&self) -> String {
        self.database.as_ref().map(|database| database.url("postgres")).unwrap_or_default()
    }

    fn write(&self, name: &str, text: &str) -> Outcome {
        let path = self.scratch.path().join(name);
        fs::write(&path, text).map_err(Failure::of(format!("write {}", path.display())))
    }

    /// Makes the login of this name.
    fn login(&self, name: &str, password: &str) -> Outcome {
        let mut migrate = self.tradesense()?;
        migrate.args(["migrate", "--login-name", name, "--login-password", password]);
        migrate.arg("--keys-dir").arg(self.scratch.path().join("keys")).env("DATABASE_URL", self.owner());
        output(&mut migrate).map(drop)
    }

    fn database_url(&self, name: &str, password: &str) -> String {
        let owner = self.owner();
        let behind = owner.rsplit_once('@').map_or("", |(_, behind)| behind);
        format!("postgres://{name}:{password}@{behind}")
    }

    fn redis_url(&self, password: &str) -> String {
        format!("redis://tradesense:{password}@127.0.0.1:{}", self.redis_port)
    }

    fn role(&self, role: &str) -> Outcome<std::process::Command> {
        let dir = self.scratch.path();
        let mut member = self.tradesense()?;
        member.args([role, "--demo", "--connections", "4", "--simulate", "--shards", "2"]);
        member.arg("--keys-dir").arg(dir.join("keys")).arg("--data-dir").arg(dir.join(role));
        member.arg("--audit-copies").arg(dir.join("audit-copies"));
        for (variable, file) in [
            ("DATABASE_URL_FILE", "database-url"),
            ("REDIS_URL_FILE", "redis-url"),
            ("TRADESENSE_CACHE_URL_FILE", "cache-url"),
            ("TRADESENSE_BOUNCE_KEY_FILE", "bounce-key"),
            ("TRADESENSE_PAYMENTS", "payments/payments.toml"),
        ] {
            member.env(variable, dir.join(file));
        }
        Ok(member)
    }

    fn start(&mut self, role: &'static str) -> Outcome {
        let (port, ops) = (free_port()?, free_port()?);
        let mut member = self.role(role)?;
        member.args(["--port", &port.to_string(), "--analytics-port", &port.to_string()]);
        member.args(["--ops-port", &ops.to_string()]);
        let log = self.scratch.path().join(format!("{role}.log"));
        log_to(&mut member, &log)?;
        let mut server = Server::start(&mut member)?;
        if !serves(&mut server, ops) {
            return Err(Failure::new(format!("{role} did not become ready; it said\n{}", self.said(role))));
        }
        self.ports.push((role, port, ops));
        self.servers.push(server);
        Ok(())
    }

    fn said(&self, role: &str) -> String {
        fs::read_to_string(self.scratch.path().join(format!("{role}.log"))).unwrap_or_default()
    }

    /// What roles warned of, the last of it.
    fn warnings(&self) -> Vec<String> {
        let mut all = Vec::new();
        for role in ROLES {
            let text = self.said(role);
            // What ends a process stands at its end, without a level.
            let levels = [" INFO ", " WARN ", "ERROR "];
            let loud = text.lines().filter(|line| {
                line.contains(" WARN ")
                    || line.contains("ERROR ")
                    || levels.iter().all(|level| !line.contains(level))
            });
            all.extend(loud.map(|line| format!("{role}: {line}")));
        }
        let long = all.len().saturating_sub(30);
        all.split_off(long)
    }

    fn port(&self, role: &str) -> u16 {
        self.ports.iter().find(|(known, ..)| *known == role).map_or(0, |(_, port, _)| *port)
    }

    fn redis(&self, words: &[&str]) -> Outcome {
        let mut client = command("redis-cli", self.scratch.path());
        client.args([
            "-p",
            &self.redis_port.to_string(),
            "--user",
            "default",
            "--pass",
            "admin",
            "--no-auth-warning",
        ]);
        client.args(words);
        let said = String::from_utf8_lossy(&output(&mut client)?).into_owned();
        if said.trim() == "OK" { Ok(()) } else { Err(Failure::new(format!("redis-cli {words:?}: {said}"))) }
    }

    fn sql(&self, text: &str) -> Outcome {
        let mut client = psql_command(self.scratch.path(), &self.owner())?;
        client.args(["--command", text]);
        run_program(&mut client)
    }

    /// Whether a role would start with the secrets that lie there.
    fn would_start(&self) -> Outcome<bool> {
        let mut check = self.role("api")?;
        check.arg("--only-check");
        Ok(succeeds(&mut check))
    }

    /// How often roles that read a file began anew because of it.
    fn began(&self) -> Vec<usize> {
        ROLES.iter().map(|role| self.said(role).matches("starting again with them").count()).collect()
    }

    /// Writes a file and waits until every role that reads it has begun anew and is ready.
    fn change(&self, name: &str, text: &str, readers: &[&str]) -> Outcome<Duration> {
        let before = self.began();
        let since = now();
        self.write(name, text)?;
        let all = poll(LONGEST, || {
            let after = self.began();
            let done =
                self.ports.iter().zip(before.iter().zip(&after)).all(|((role, _, ops), (before, after))| {
                    !readers.contains(role) || (after > before && is_new(*ops, self, name))
                });
            done.then_some(())
        });
        all.ok_or_else(|| {
            let said: Vec<String> = ROLES
                .iter()
                .map(|role| {
                    let text = self.said(role);
                    let last: Vec<&str> = text.lines().rev().take(4).collect();
                    format!("{role}: {}", last.into_iter().rev().collect::<Vec<_>>().join("\n    "))
                })
                .collect();
            let (seconds, said) = (LONGEST.as_secs(), said.join("\n    "));
            Failure::new(format!("not everybody took {name} within {seconds} s\n    {said}"))
        })?;
        Ok(since.elapsed())
    }

    fn rotate(&self, findings: &mut Vec<Finding>) -> Outcome {
        let asking = Asking::start(
            self.port("api"),
            self.port("analytics"),
            &self.scratch.path().join("keys/logins.json"),
        )?;
        let quiet = Duration::from_secs(3);
        sleep(quiet);

        self.login("platform_b", "second")?;
        let took = self.change("database-url", &self.database_url("platform_b", "second"), &ROLES)?;
        println!("  login of the database: everybody has the new one after {} ms", took.as_millis());
        self.sql("drop owned by platform_a; drop role platform_a")?;
        let old = self.database_url("platform_a", "first");
        if !self.refuses("database-url", &old)? {
            findings.push(Finding::new("database", "the old login still opens it"));
        }

        self.redis(&["ACL", "SETUSER", "tradesense", ">second"])?;
        self.write("cache-url", &self.redis_url("second"))?;
        let took = self.change("redis-url", &self.redis_url("second"), &ROLES)?;
        println!("  password of Redis: everybody has the new one after {} ms", took.as_millis());
        self.redis(&["ACL", "SETUSER", "tradesense", "<first"])?;
        if !self.refuses("redis-url", &self.redis_url("first"))? {
            findings.push(Finding::new("redis", "the old password still opens it"));
        }

        for (what, file, text) in [
            ("what bounces are signed with", "bounce-key", "0123456789abcdef:fedcba9876543210"),
            ("key of a provider", "payments/stripe.key", "sk_test_nmlkjihgfedcba9876543210"),
            (
                "what a provider signs with",
                "payments/stripe-webhook.secret",
                "whsec_ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=",
            ),
        ] {
            let took = self.change(file, text, &["api", "worker"])?;
            println!("  {what}: everybody has the new one after {} ms", took.as_millis());
        }
        let mut new_key = self.tradesense()?;
        new_key.args(["audit", "new-key", "--keys-dir"]).arg(self.scratch.path().join("keys"));
        let before = self.began();
        output(&mut new_key)?;
        if !self.all_began_after(&before) {
            findings.push(Finding::new("audit log", "not everybody took its next key"));
        }
        self.rotate_people(findings)?;

        // A secret that opens nothing changes nothing.
        let before = self.began();
        self.write("redis-url", &self.redis_url("wrong"))?;
        let refused = poll(LONGEST, || self.ports.iter().all(|(_, _, ops)| refuses(*ops)).then_some(()));
        if refused.is_none() || self.began() != before {
            findings.push(Finding::new(
                "a wrong secret",
                "was not refused by everybody, or somebody started with it",
            ));
        }
        self.write("redis-url", &self.redis_url("second"))?;
        sleep(quiet);

        let Asked { answered, failed, longest, faults } = asking.end();
        println!(
            "  {answered} answers, {failed} of them errors, the longest after {} ms",
            longest.as_millis()
        );
        if answered < 500 || failed > 0 {
            let said = self.warnings().join("\n    ");
            findings.push(Finding::new(
                "requests",
                format!("{failed} of {answered} failed: {faults:?}\n    {said}"),
            ));
        }
        Ok(())
    }

    /// Another key wraps the keys of people, and the one before is gone.
    fn rotate_people(&self, findings: &mut Vec<Finding>) -> Outcome {
        for words in [&["new-kek"][..], &["rewrap", "--remove-older"]] {
            let mut privacy = self.tradesense()?;
            privacy.arg("privacy").args(words).arg("--keys-dir").arg(self.scratch.path().join("keys"));
            let (before, since) = (self.began(), now());
            output(&mut privacy)?;
            if !self.all_began_after(&before) {
                findings.push(Finding::new(
                    "keys of people",
                    format!("not everybody began anew after {words:?}"),
                ));
            }
            println!(
                "  keys of people, {}: everybody goes on with it after {} ms",
                words.join(" "),
                since.elapsed().as_millis()
            );
        }
        if self.scratch.path().join("keys/people.kek").exists() {
            findings.push(Finding::new("keys of people", "the key that wrapped them is still there"));
        }
        Ok(())
    }

    /// Whether every role has begun anew since then, and serves.
    fn all_began_after(&self, before: &[usize]) -> bool {
        let all = poll(LONGEST, || {
            let after = self.began();
            let done = after.iter().zip(before).all(|(after, before)| after > before);
            (done && self.ports.iter().all(|(_, _, ops)| is_ready(*ops))).then_some(())
        });
        all.is_some()
    }

    /// Whether the old text in a file would let nobody start. Puts back what lies there before anybody takes it for new.
    fn refuses(&self, name: &str, old: &str) -> Outcome<bool> {
        let path = self.scratch.path().join(name);
        let current = fs::read_to_string(&path).map_err(Failure::of("read a secret"))?;
        self.write(name, old)?;
        let starts = self.would_start();
        self.write(name, &current)?;
        Ok(!starts?)
    }

    fn close(mut self) -> Outcome {
        self.servers.clear();
        match self.database.take() {
            Some(database) => stop_and_erase(database),
            None => Ok(()),
        }
    }
}

/// The figures of a process, empty while it does not answer.
fn figures(ops: u16) -> String {
    ask(ops, "GET", "/metrics", &[], "").map(|answer| answer.body).unwrap_or_default()
}

/// Whether a process serves with the file as it is now.
fn is_new(ops: u16, place: &Place, name: &str) -> bool {
    let written = fs::metadata(place.scratch.path().join(name)).and_then(|file| file.modified()).ok();
    let seconds =
        written.and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok()).map_or(0, |at| at.as_secs());
    let name = name.rsplit('/').next().unwrap_or(name);
    is_ready(ops)
        && figures(ops).lines().any(|line| {
            line.starts_with("secret_loaded_timestamp")
                && line.contains(&format!("\"{name}\""))
                && line.ends_with(&format!(" {seconds}"))
        })
}

/// Whether a process says that secrets lie there which do not work.
fn refuses(ops: u16) -> bool {
    figures(ops).lines().any(|line| line.starts_with("tradesense_secrets_refused") && line.ends_with(" 1"))
}
