//! This machine's programs in place of images: what each image runs, under the names that the image gives it.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::tools::{installed, tradesense};
use crate::{Failure, Outcome};

/// What stands in for an image.
pub(crate) struct StandIn {
    /// The name of the image's user.
    pub(crate) user_name: &'static str,
    /// What the image starts unless told otherwise.
    pub(crate) entrypoint: Vec<String>,
    /// The command, where the image has one and the file says none.
    pub(crate) command: Vec<String>,
    /// Files at the root of the box: their name there.
    pub(crate) at_root: Vec<&'static str>,
}

/// The image's name without registry, tag and digest.
pub(crate) fn name(image: &str) -> &str {
    let untagged = image.split('@').next().unwrap_or(image);
    let last = untagged.rsplit('/').next().unwrap_or(untagged);
    last.split(':').next().unwrap_or(last)
}

/// Puts the programs into `DIR`: what goes over `/usr` below `usr`, what lies at the root beside it. `None` if nothing here stands in.
pub(crate) fn prepare(image: &str, dir: &Path) -> Outcome<Option<StandIn>> {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let stand = |user_name, entrypoint: &[&str]| StandIn {
        user_name,
        entrypoint: words(entrypoint),
        command: Vec::new(),
        at_root: Vec::new(),
    };
    fs::create_dir_all(dir.join("usr/local/bin"))
        .map_err(Failure::of(format!("create {}", dir.display())))?;
    let stand_in = match name(image) {
        "tradesense" => {
            fs::create_dir_all(dir.join("usr/bin")).map_err(Failure::of("create usr/bin"))?;
            let to = dir.join("usr/bin/tradesense");
            let program = tradesense()?;
            // A link costs nothing; another file system takes a copy.
            if fs::hard_link(&program, &to).is_err() {
                fs::copy(&program, &to).map_err(Failure::of("copy tradesense"))?;
            }
            stand("nonroot", &["/usr/bin/tradesense"])
        }
        "postgres" => {
            write(&dir.join("usr/local/bin/docker-entrypoint.sh"), POSTGRES)?;
            stand("postgres", &["docker-entrypoint.sh"])
        }
        "tradesense-backup" => {
            for (program, package) in
                [("pg_basebackup", "postgresql"), ("restic", "restic"), ("jq", "jq"), ("busybox", "busybox")]
            {
                installed(program, package)?;
            }
            stand("postgres", &[])
        }
        "pgbouncer" => {
            renamed(dir, "pgbouncer", "pgbouncer", "pgbouncer")?;
            stand("postgres", &[])
        }
        "valkey" => {
            renamed(dir, "valkey-server", "redis-server", "redis-server")?;
            renamed(dir, "valkey-cli", "redis-cli", "redis-tools")?;
            stand("valkey", &[])
        }
        "nginx-unprivileged" => {
            installed("nginx", "nginx-light")?;
            stand("nginx", &[])
        }
        "prometheus" => {
            installed("promtool", "prometheus")?;
            stand("nobody", &["prometheus"])
        }
        "alertmanager" => {
            installed("amtool", "prometheus-alertmanager")?;
            stand("nobody", &["prometheus-alertmanager"])
        }
        "postgres-exporter" => {
            installed("prometheus-postgres-exporter", "prometheus-postgres-exporter")?;
            stand("nobody", &["prometheus-postgres-exporter"])
        }
        "redis_exporter" => {
            installed("prometheus-redis-exporter", "prometheus-redis-exporter")?;
            stand("nobody", &["prometheus-redis-exporter"])
        }
        "mailpit" => {
            write(&dir.join("mailpit"), MAIL)?;
            StandIn { at_root: vec!["mailpit"], ..stand("nobody", &["/mailpit"]) }
        }
        _ => return Ok(None),
    };
    Ok(Some(stand_in))
}

fn renamed(dir: &Path, called: &str, program: &str, package: &str) -> Outcome {
    let program = installed(program, package)?;
    let text = format!("#!/bin/sh\nexec {} \"$@\"\n", program.display());
    write(&dir.join("usr/local/bin").join(called), &text)
}

fn write(file: &Path, text: &str) -> Outcome {
    fs::write(file, text).map_err(Failure::of(format!("write {}", file.display())))?;
    fs::set_permissions(file, fs::Permissions::from_mode(0o755))
        .map_err(Failure::of(format!("make {} a program", file.display())))
}

/// What the image of PostgreSQL does before its server: makes an empty data directory, and runs what lies in
/// `/docker-entrypoint-initdb.d` on a server that nobody else reaches.
const POSTGRES: &str = r#"#!/bin/bash
set -euo pipefail
[ "${1:-}" = postgres ] || exec "$@"
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE")
    export PGPASSWORD=$POSTGRES_PASSWORD
    mkdir -p "$PGDATA"
    chmod 0700 "$PGDATA"
    read -ra extra <<<"${POSTGRES_INITDB_ARGS:-}"
    initdb --pgdata="$PGDATA" --username="$POSTGRES_USER" --pwfile=<(printf '%s\n' "$POSTGRES_PASSWORD") "${extra[@]}"
    "$@" -c listen_addresses= &
    server=$!
    until pg_isready --quiet; do sleep 0.1; done
    psql --no-psqlrc --set=ON_ERROR_STOP=1 --username="$POSTGRES_USER" --dbname=postgres --set=db="$POSTGRES_DB" <<<'create database :"db";'
    for file in /docker-entrypoint-initdb.d/*; do "$file"; done
    kill -INT "$server"
    wait "$server"
    unset PGPASSWORD
fi
exec "$@"
"#;

/// Takes every mail and throws it away.
const MAIL: &str = r#"#!/usr/bin/python3
import signal, socket, socketserver, sys
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
if sys.argv[1:] == ["readyz"]:
    socket.create_connection(("127.0.0.1", 1025), 2).close()
    sys.exit(0)
class Mail(socketserver.StreamRequestHandler):
    def handle(self):
        say = lambda text: self.wfile.write(text.encode() + b"\r\n")
        say("220 sink")
        data = False
        for line in self.rfile:
            if data:
                if line == b".\r\n":
                    data = False
                    say("250 taken")
                continue
            word = line[:4].upper()
            if word == b"DATA":
                data = True
                say("354 go on")
            elif word == b"QUIT":
                say("221 bye")
                return
            else:
                say("250 sink")
socketserver.ThreadingTCPServer.allow_reuse_address = True
socketserver.ThreadingTCPServer.daemon_threads = True
socketserver.ThreadingTCPServer(("0.0.0.0", 1025), Mail).serve_forever()
"#;
