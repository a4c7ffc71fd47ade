//! `cargo xtask cluster`: the platform as several processes, as production runs it: PostgreSQL, Redis, two APIs, an analytics
//! service, two workers and two engines on private ports, nginx before them. For demonstrations and for trying what happens when
//! one of them dies: the process numbers are printed.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use embedded::{Postgres, Purpose, Settings};
use lexopt::Arg;

use crate::machine::{Need, postgresql, provide, root, target};
use crate::platform::{free_port, is_ready};
use crate::process::{
    Server, adopt_orphans, cargo, command, interrupted, log_to, on_path, output, poll, run as run_program,
    sweep,
};
use crate::ui::Ui;
use crate::{Failure, Outcome};

/// The password of the platform's login, on a server that only this machine reaches.
const LOGIN_PASSWORD: &str = "an open secret of this machine";
/// How long everything may take until it serves.
const FIRST_START: Duration = Duration::from_mins(2);
/// Each process by its role; what serves HTTP is put behind nginx.
const MEMBERS: [&str; 7] = ["api", "api", "analytics", "worker", "worker", "engine", "engine"];

struct Wanted {
    port: u16,
    optimised: bool,
    fresh: bool,
}

/// Programs that run, each with its name; the last one ends first.
struct Running {
    servers: Vec<(String, Server)>,
}

impl Drop for Running {
    fn drop(&mut self) {
        while let Some(server) = self.servers.pop() {
            drop(server);
        }
    }
}

pub(crate) fn run(args: lexopt::Parser) -> Outcome {
    let wanted = read(args)?;
    let root = root()?;
    adopt_orphans()?;
    provide(&[Need::PostgreSql, Need::Redis, Need::Nginx, Need::Node])?;
    println!("Building the user interface and tradesense");
    Ui::ready(&root)?.build()?;
    let mut build = cargo(&root);
    build.args(["build", "--package", "tradesense", "--features", "ui"]);
    if wanted.optimised {
        build.arg("--release");
    }
    run_program(&mut build)?;
    let program = target()?.join(if wanted.optimised { "release" } else { "debug" }).join("tradesense");
    let dir = target()?.join("cluster");
    let database = dir.join("postgres");
    if wanted.fresh {
        Postgres::erase(&database)?;
        if dir.exists() {
            fs::remove_dir_all(&dir).map_err(Failure::of(format!("remove {}", dir.display())))?;
        }
    }
    fs::create_dir_all(&dir).map_err(Failure::of(format!("create {}", dir.display())))?;
    let server = Postgres::start(&Settings::new(&database, Purpose::Kept, postgresql()?))?;
    let outcome = serve(&wanted, &program, &dir, &server);
    sweep(&server.pid().map_or_else(Vec::new, |pid| vec![pid]));
    outcome.and(server.stop().map_err(Failure::from))
}

fn serve(wanted: &Wanted, program: &Path, dir: &Path, server: &Postgres) -> Outcome {
    let mut running = Running { servers: Vec::new() };
    let redis = free_port()?;
    let mut start = logged(missing("redis-server")?, dir, "redis")?;
    start.args(["--port", &redis.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "yes"]);
    start.arg("--dir").arg(dir).args(["--maxmemory-policy", "noeviction"]);
    running.servers.push(("redis".to_owned(), Server::start(&mut start)?));

    let owner = server.url("postgres");
    let mut migrate = command(program, dir);
    migrate.arg("migrate").env("DATABASE_URL", &owner).env("TRADESENSE_LOGIN_PASSWORD", LOGIN_PASSWORD);
    let login = String::from_utf8_lossy(&output(&mut migrate)?).trim().to_owned();
    let mut demo = command(program, dir);
    demo.arg("demo").arg("--data-dir").arg(dir).env("DATABASE_URL", &owner);
    let people = output(&mut demo)?;

    let (mut upstreams, mut analytics) = (Vec::new(), Vec::new());
    for (number, role) in MEMBERS.into_iter().enumerate() {
        let name = format!("{role}-{number}");
        let port = free_port()?;
        let mut member = logged(program.to_path_buf(), dir, &name)?;
        member.args([role, "--demo", "--connections", "4", "--port", &port.to_string()]);
        member.args(["--analytics-port", &port.to_string(), "--ops-port"]);
        member
            .arg(free_port()?.to_string())
            .arg("--data-dir")
            .arg(dir.join(&name))
            .arg("--keys-dir")
            .arg(dir);
        member.env("DATABASE_URL", &login).env("REDIS_URL", format!("redis://127.0.0.1:{redis}"));
        member.env("TRADESENSE_LOG", "info");
        running.servers.push((name, Server::start(&mut member)?));
        match role {
            "api" => upstreams.push(port),
            "analytics" => analytics.push(port),
            _ => {}
        }
    }
    let boards = wanted.port.saturating_add(1);
    let config = dir.join("nginx.conf");
    fs::write(
        &config,
        nginx(dir, [("api", wanted.port, upstreams.as_slice()), ("analytics", boards, &analytics)]),
    )
    .map_err(Failure::of(format!("write {}", config.display())))?;
    let mut nginx = logged(missing("nginx")?, dir, "nginx")?;
    nginx.arg("-c").arg(&config);
    running.servers.push(("nginx".to_owned(), Server::start(&mut nginx)?));

    let ready = poll(FIRST_START, || {
        if interrupted() || running.servers.iter_mut().any(|(_, server)| server.ended()) {
            return Some(false);
        }
        let mut ports = upstreams.iter().chain(&analytics).chain([&wanted.port, &boards]);
        ports.all(|port| is_ready(*port)).then_some(true)
    });
    if ready != Some(true) {
        return Err(Failure::new(format!("not everything became ready; the logs are in {}", dir.display())));
    }
    println!("\nTradeSense is running at http://127.0.0.1:{}, its analytics on port {boards}", wanted.port);
    print!("{}", String::from_utf8_lossy(&people));
    for (name, server) in &running.servers {
        println!("  {name:<10} process {}", server.pid());
    }
    println!("Kill what you like; logs are in {}. Ctrl-C stops everything.", dir.display());
    // A process that dies is not started again: that is what its neighbours are for.
    while !interrupted() {
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

/// A program whose output goes into a file of its name.
fn logged(program: PathBuf, dir: &Path, name: &str) -> Outcome<Command> {
    let mut command = command(program, dir);
    log_to(&mut command, &dir.join(format!("{name}.log")))?;
    Ok(command)
}

fn missing(program: &str) -> Outcome<PathBuf> {
    // Debian keeps servers out of the ordinary PATH of users.
    let found = on_path(program).or_else(|| {
        let path = Path::new("/usr/sbin").join(program);
        path.exists().then_some(path)
    });
    found.ok_or_else(|| Failure::new(format!("{program} is not on the PATH")))
}

/// What was not sent to the end, and what may be sent twice (it carries a key), goes to the next process of the role.
fn nginx(dir: &Path, roles: [(&str, u16, &[u16]); 2]) -> String {
    let dir = dir.display();
    let servers = roles.map(|(role, port, upstreams)| {
        let server = |port: &u16| format!("    server 127.0.0.1:{port} max_fails=1 fail_timeout=2s;\n");
        let upstreams = upstreams.iter().map(server).collect::<Vec<_>>().concat();
        format!(
            "  upstream {role} {{
{upstreams}    keepalive 32;
  }}
  server {{
    listen 127.0.0.1:{port};
    client_max_body_size 1m;
    location / {{
      proxy_pass http://{role};
      proxy_http_version 1.1;
      proxy_set_header Connection \"\";
      proxy_set_header Host $http_host;
      proxy_set_header X-Forwarded-For $remote_addr;
      proxy_buffering off;
      proxy_read_timeout 1h;
      proxy_connect_timeout 1s;
      proxy_next_upstream error timeout http_503;
      proxy_next_upstream_tries 2;
    }}
  }}
"
        )
    });
    let servers = servers.concat();
    format!(
        "daemon off;
pid {dir}/nginx.pid;
error_log {dir}/nginx-error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {dir}/nginx-body;
  proxy_temp_path {dir}/nginx-proxy;
  fastcgi_temp_path {dir}/nginx-fastcgi;
  uwsgi_temp_path {dir}/nginx-uwsgi;
  scgi_temp_path {dir}/nginx-scgi;
{servers}}}
"
    )
}

fn read(mut args: lexopt::Parser) -> Outcome<Wanted> {
    let mut wanted = Wanted { port: 8000, optimised: true, fresh: false };
    while let Some(arg) = args.next()? {
        match arg {
            Arg::Long("debug") => wanted.optimised = false,
            Arg::Long("fresh") => wanted.fresh = true,
            Arg::Long("port") => {
                let value = args.value()?;
                let port = value.to_str().and_then(|text| text.parse().ok());
                wanted.port = port.ok_or_else(|| Failure::new("--port takes a number"))?;
            }
            Arg::Long(_) | Arg::Short(_) | Arg::Value(_) => return Err(arg.unexpected().into()),
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_knows_every_api() {
        let roles = [("api", 8000, [9001, 9002].as_slice()), ("analytics", 8001, &[9003])];
        let text = nginx(Path::new("/somewhere"), roles);
        for part in [
            "listen 127.0.0.1:8000;",
            "server 127.0.0.1:9001 ",
            "server 127.0.0.1:9002 ",
            "server 127.0.0.1:9003 ",
            "pid /somewhere/nginx.pid;",
        ] {
            assert!(text.contains(part), "{part}");
        }
    }
}
