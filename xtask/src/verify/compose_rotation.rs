//! `deployment/compose/rotate.sh` on the stack of the compose file: every secret that it can change is changed, while somebody asks without
//! a pause, by a script that is killed now and then. No answer is an error, and the old secrets open nothing.
//!
//! `docker compose` is a script here that does the few things which `rotate.sh` asks it for in the boxes of [`super::compose`].

use std::fmt::Write as _;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::{sleep, spawn};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use super::asking::{Asked, Asking};
use super::compose::Stack;
use super::tools::{Said, as_root, ask, tradesense};
use super::{Checked, checked, failed};
use crate::machine::root;
use crate::platform::Scratch;
use crate::process::{log_to, now, run};
use crate::{Failure, Outcome};

/// What is changed, and the files that are other ones afterwards.
const CHANGED: [(&str, &[&str]); 10] = [
    ("queue", &["queue_password", "queue_url", "queue_acl"]),
    ("cache", &["cache_password", "cache_url", "cache_acl"]),
    ("redis-exporter", &["redis_exporter_password", "redis_exporter_passwords"]),
    ("redis-operator", &["redis_operator_password"]),
    ("login", &["login_password", "login_next_password", "login_url", "login_url_direct", "replica_urls"]),
    ("owner", &["postgres_password", "owner_url"]),
    ("pooler", &["pgbouncer_password", "pgbouncer_users"]),
    ("exporter", &["exporter_password"]),
    ("replication", &["replication_password"]),
    ("backup", &["backup_password"]),
];
/// When a script that goes over is killed, in milliseconds after it began.
const KILLED_AFTER: [u64; 3] = [250, 700, 4_000];
/// Those that are killed on the way.
const KILLED: [&str; 3] = ["queue", "login", "owner"];

/// Who may not come in any more: where it is asked, and with the password in place of `$OLD`; it has to say `refused`.
const REFUSED: [(&str, &str, &str); 10] = [
    (
        "queue_password",
        "valkey-queue",
        "printf 'auth tradesense %s\\n' \"$OLD\" | valkey-cli | grep -q WRONGPASS && echo refused",
    ),
    (
        "cache_password",
        "valkey-cache",
        "printf 'auth tradesense %s\\n' \"$OLD\" | valkey-cli | grep -q WRONGPASS && echo refused",
    ),
    (
        "redis_exporter_password",
        "valkey-queue",
        "printf 'auth exporter %s\\n' \"$OLD\" | valkey-cli | grep -q WRONGPASS && echo refused",
    ),
    (
        "redis_operator_password",
        "valkey-cache",
        "printf 'auth operator %s\\n' \"$OLD\" | valkey-cli | grep -q WRONGPASS && echo refused",
    ),
    (
        "login_password",
        "postgres",
        "PGPASSWORD=$OLD psql -h pgbouncer -p 6432 -U tradesense_login -d tradesense -c 'select 1' 2>&1 | grep -q 'authentication failed' && echo refused",
    ),
    (
        "postgres_password",
        "postgres",
        "PGPASSWORD=$OLD psql -h postgres -U tradesense -d tradesense -c 'select 1' 2>&1 | grep -q 'authentication failed' && echo refused",
    ),
    (
        "pgbouncer_password",
        "postgres",
        "PGPASSWORD=$OLD psql -h postgres -U pgbouncer -d tradesense -c 'select 1' 2>&1 | grep -q 'authentication failed' && echo refused",
    ),
    (
        "exporter_password",
        "postgres",
        "PGPASSWORD=$OLD psql -h postgres -U exporter -d tradesense -c 'select 1' 2>&1 | grep -q 'authentication failed' && echo refused",
    ),
    (
        "replication_password",
        "postgres",
        "PGPASSWORD=$OLD psql 'host=postgres user=replicator replication=yes' -c IDENTIFY_SYSTEM 2>&1 | grep -q 'authentication failed' && echo refused",
    ),
    (
        "backup_password",
        "backup",
        "RESTIC_PASSWORD_FILE= RESTIC_PASSWORD=$OLD restic --no-cache --no-lock --repo \"$BACKUP_REPOSITORY/base\" cat config 2>&1 | grep -q 'wrong password' && echo refused",
    ),
];

pub(crate) fn holds() -> Checked {
    let all = || -> Outcome<Vec<String>> {
        as_root()?;
        let scratch = Scratch::new("compose-rotation")?;
        let mut stack = Stack::start(scratch.path(), &["core", "demo", "backup"])?;
        let mut faults = rotated(&stack, scratch.path())?;
        faults.extend(stack.stop());
        Ok(faults)
    };
    checked(all().map_err(failed)?)
}

fn rotated(stack: &Stack, dir: &Path) -> Outcome<Vec<String>> {
    let mut faults = Vec::new();
    let engine = engine(stack, dir)?;
    let asking = Asking::start(
        published(&stack.at("front", "api"), 8000)?,
        published(&stack.at("front", "analytics"), 8001)?,
        &dir.join("volumes/keys/logins.json"),
    )?;
    let secret = |name: &str| fs::read_to_string(stack.secrets.join(name)).unwrap_or_default();
    for (what, files) in CHANGED {
        let before: Vec<(&str, String)> = files.iter().map(|name| (*name, secret(name))).collect();
        if KILLED.contains(&what) {
            for after in KILLED_AFTER {
                killed(&mut script(&engine, stack, what)?, Duration::from_millis(after), dir)?;
            }
        }
        let since = now();
        let Said { well, text } = ask(&mut script(&engine, stack, what)?)?;
        println!("  {what}: changed in {} ms", since.elapsed().as_millis());
        if !well {
            faults.push(format!("{what}: {}", text.trim()));
            continue;
        }
        for (name, before) in before {
            if secret(name) == before {
                faults.push(format!("{what}: {name} is what it was"));
            }
            if stack.secrets.join(format!("{name}.next")).exists() {
                faults.push(format!("{what}: {name}.next is left"));
            }
            for (_, service, question) in REFUSED.iter().filter(|(secret, ..)| *secret == name) {
                let question = format!("OLD={}; {question}", before.trim());
                let said = stack.inside(service, &["sh", "-c", &question])?;
                if said != "refused" {
                    faults.push(format!("{what}: what {name} was is not refused: {said}"));
                }
            }
        }
    }
    faults.extend(edge(stack, &engine, dir)?);
    let nobody = ask(&mut script(&engine, stack, "nobody")?)?;
    if nobody.well {
        faults.push("it changes what there is not".to_owned());
    }
    // What is in the files opens everything for whoever starts now.
    for role in ["api", "analytics", "worker", "engine"] {
        let program: &[&str] = &["/usr/bin/tradesense", role, "--only-check"];
        let Said { well, text } = stack.said_inside(role, program)?;
        if !well {
            faults.push(format!("{role} would not start with what lies there: {}", text.trim()));
        }
    }
    let Asked { answered, failed, longest, faults: errors } = asking.end();
    println!("  {answered} answers, {failed} of them errors, the longest after {} ms", longest.as_millis());
    if answered < 500 || failed > 0 {
        faults.push(format!("{failed} of {answered} requests failed: {errors:?}"));
    }
    Ok(faults)
}

fn script(engine: &Path, stack: &Stack, what: &str) -> Outcome<Command> {
    let mut script = Command::new(root()?.join("deployment/compose/rotate.sh"));
    script.args(what.split(' ')).env("COMPOSE", engine).env("SECRETS", &stack.secrets);
    Ok(script)
}

/// Starts it and kills it with whatever it has started.
fn killed(script: &mut Command, after: Duration, dir: &Path) -> Outcome {
    log_to(script, &dir.join("killed.log"))?;
    let mut child = script.process_group(0).spawn().map_err(Failure::of("start rotate.sh"))?;
    sleep(after);
    let group = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    if let Some(group) = group {
        let _gone = kill_process_group(group, Signal::KILL);
    }
    child.wait().map(drop).map_err(Failure::of("wait for rotate.sh"))
}

/// Another certificate, which somebody who connects is shown at once; a key that is not its own is refused.
fn edge(stack: &Stack, engine: &Path, dir: &Path) -> Outcome<Vec<String>> {
    let mut faults = Vec::new();
    let at = |name: &str| dir.join(name).display().to_string();
    for name in ["other", "stray"] {
        let mut make = Command::new("openssl");
        make.args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "9",
        ]);
        make.args(["-subj", "/CN=other.example", "-keyout", &at(&format!("{name}.key"))]);
        run(make.args(["-out", &at(&format!("{name}.pem"))]).stderr(std::process::Stdio::null()))?;
    }
    let change = |key: &str| script(engine, stack, &format!("edge {} {}", at("other.pem"), at(key)));
    if ask(&mut change("stray.key")?)?.well {
        faults.push("edge: it takes a key of another certificate".to_owned());
    }
    let said = ask(&mut change("other.key")?)?;
    if !said.well {
        faults.push(format!("edge: {}", said.text.trim()));
    }
    sleep(Duration::from_secs(1));
    let shown = ask(Command::new("sh").arg("-c").arg(format!(
        "openssl s_client -connect {}:8443 </dev/null 2>/dev/null | openssl x509 -noout -subject",
        stack.at("front", "edge")
    )))?;
    if !shown.text.contains("other.example") {
        faults.push(format!("edge: it shows {}", shown.text.trim()));
    }
    Ok(faults)
}

/// A port of this machine that leads to one in a box, as the engine publishes it.
fn published(address: &str, port: u16) -> Outcome<u16> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).map_err(Failure::of("publish a port"))?;
    let here = listener.local_addr().map_err(Failure::of("publish a port"))?.port();
    let to = (address.to_owned(), port);
    spawn(move || {
        for from in listener.incoming().flatten() {
            let to = to.clone();
            spawn(move || {
                let _ended = TcpStream::connect((to.0.as_str(), to.1)).and_then(|to| carried(&from, &to));
            });
        }
    });
    Ok(here)
}

/// Carries everything both ways until both ends are done.
fn carried(from: &TcpStream, to: &TcpStream) -> io::Result<()> {
    let (mut asks, mut asked) = (from.try_clone()?, to.try_clone()?);
    let asking = spawn(move || {
        let _ended = io::copy(&mut asks, &mut asked);
        let _gone = asked.shutdown(std::net::Shutdown::Write);
    });
    let (mut answers, mut answered) = (to.try_clone()?, from.try_clone()?);
    let _ended = io::copy(&mut answers, &mut answered);
    let _gone = from.shutdown(std::net::Shutdown::Both);
    drop(asking.join());
    Ok(())
}

/// A program that stands in for `docker compose`: `exec`, `ps`, `kill`, and `run` of the migration, which here runs beside the boxes.
fn engine(stack: &Stack, dir: &Path) -> Outcome<PathBuf> {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let mut inside = String::new();
    let mut ids = String::new();
    let mut names = String::new();
    for (name, running) in &stack.boxes {
        let words: Vec<String> = running.entering()?.iter().map(|word| quoted(word)).collect();
        // Writing to a string cannot fail.
        let _written = writeln!(inside, "    {name}) exec {} \"$@\" ;;", words.join(" "));
        let _written = writeln!(ids, "    {name}) pid={} ;;", running.pid().unwrap_or_default());
        let _written = write!(names, " {name}");
    }
    let owner = format!(
        "sed 's/@postgres:/@{}:/' {}/owner_url",
        stack.at("data", "postgres"),
        stack.secrets.display()
    );
    let text = format!(
        r#"#!/bin/sh
set -eu
case "$1" in
  ps) printf '%s\n'{names} ;;
  exec)
    service=$3
    shift 3
    case $service in
{inside}    esac
    echo "$service does not run" >&2
    exit 1
    ;;
  kill)
    case $4 in
{ids}    esac
    kill -s "$3" "$pid"
    ;;
  run)
    while [ $# -gt 1 ]; do
      case $2 in
        TRADESENSE_LOGIN_NAME=*) export "$2" ;;
        TRADESENSE_LOGIN_PASSWORD_FILE=/run/secrets/*) export "TRADESENSE_LOGIN_PASSWORD_FILE={secrets}/${{2##*/}}" ;;
      esac
      shift
    done
    DATABASE_URL=$({owner}) exec {program} migrate
    ;;
  *)
    echo "nobody does $1 here" >&2
    exit 1
    ;;
esac
"#,
        secrets = stack.secrets.display(),
        program = tradesense()?.display(),
    );
    let file = dir.join("engine");
    fs::write(&file, text).map_err(Failure::of("write the engine"))?;
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).map_err(Failure::of("write the engine"))?;
    Ok(file)
}
