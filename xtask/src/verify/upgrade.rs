//! `cargo xtask verify upgrade`: releases follow one another on one database while somebody asks. The next release gives a column another
//! name (`deployment/release/next`): its migration runs beside the old program, a broken build of it is stopped by the smoke step, a good
//! one takes over, the old one comes back, the good one takes over again, and the release after that takes the old name away. No answer
//! is an error, and then the old program does not start any more.
//!
//! The releases are this tree, copied and changed, and built.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use embedded::Postgres;

use super::asking::{Asked, Asking};
use super::tools::installed;
use super::{Finding, Found, nothing};
use crate::db::{migrations, psql_command, start_fresh, stop_and_erase};
use crate::machine::{root, target};
use crate::platform::{Scratch, free_port, serves};
use crate::process::{Server, cargo, command, log_to, now, output, poll, run, spawn};
use crate::{Failure, Outcome};

/// Who answers people is exchanged at once, the others one by one.
const ASKED: [&str; 2] = ["api", "analytics"];
const BEHIND: [&str; 2] = ["engine", "worker"];
/// Everything of a release has been asked for several times by then.
const WHILE: Duration = Duration::from_secs(4);

/// What another release has in place of what this one has; each stands there once.
type Changes = &'static [(&'static str, &'static str, &'static str)];

const NEXT: Changes = &[
    (
        "crates/store/src/identity.rs",
        r#"session.ends_at as "ends_at: At""#,
        r#"session.over_at as "ends_at!: At""#,
    ),
    ("crates/store/src/identity.rs", "created_at, expires_at, ends_at)", "created_at, expires_at, over_at)"),
];
/// Who asks for the keys of the log, which are everybody's, is asked who they are.
const BROKEN: Changes = &[(
    "crates/web/src/v1/auditing.rs",
    "async fn audit_keys(State",
    "async fn audit_keys(_: SignedIn, State",
)];

pub(super) fn holds() -> Found {
    let mut findings = Vec::new();
    let all = |findings: &mut Vec<Finding>| -> Outcome {
        installed("nginx", "nginx-light")?;
        let releases = Releases::build()?;
        let mut place = Place::open(&releases.old)?;
        let seen = place.upgrade(&releases, findings);
        place.close()?;
        seen
    };
    if let Err(Failure(text)) = all(&mut findings) {
        findings.push(Finding::new("upgrade", text));
    }
    nothing(findings)
}

/// The programs, in the order in which they come.
struct Releases {
    old: PathBuf,
    broken: PathBuf,
    next: PathBuf,
    after: PathBuf,
}

impl Releases {
    fn build() -> Outcome<Self> {
        let place = target()?.join("upgrade");
        let tree = place.join("tree");
        let folder = tree.join("crates/store/migrations");
        copy_tree(&tree)?;
        let last = last_migration(&folder)?;
        let (expand, contract) = (last.saturating_add(1), last.saturating_add(2));
        let migration = |number: u32, name: &str| -> Outcome {
            let text = fs::read_to_string(root()?.join(format!("deployment/release/next/{name}.sql")))
                .map_err(Failure::of("read a migration"))?;
            fs::write(folder.join(format!("{number:04}_{name}.sql")), text)
                .map_err(Failure::of("write a migration"))
        };
        migration(expand, "expand")?;
        change(&tree, NEXT)?;
        // Queries are checked against the schema of their release.
        let server = start_fresh("upgrade-queries")?;
        let build = |name: &str| build(&tree, &place, &server, name);
        let all = || -> Outcome<Self> {
            let next = build("next")?;
            change(&tree, BROKEN)?;
            let broken = build("broken")?;
            let back: Vec<_> = BROKEN.iter().map(|(file, good, bad)| (*file, *bad, *good)).collect();
            change(&tree, &back)?;
            migration(contract, "contract")?;
            let pool = tree.join("crates/store/src/pool.rs");
            let text = fs::read_to_string(&pool).map_err(Failure::of("read the oldest program"))?;
            let (before, behind) = text
                .split_once("const OLDEST_PROGRAM: i64 = ")
                .and_then(|(before, behind)| Some((before, behind.split_once(';')?.1)))
                .ok_or_else(|| Failure::new("the store names no oldest program"))?;
            let text = format!("{before}const OLDEST_PROGRAM: i64 = {expand};{behind}");
            fs::write(&pool, text).map_err(Failure::of("write the oldest program"))?;
            let after = build("after")?;
            Ok(Self { old: target()?.join("debug/tradesense"), broken, next, after })
        };
        let releases = all();
        stop_and_erase(server)?;
        releases
    }
}

/// The files of this tree, each written only where it differs: what was built of it stays good.
fn copy_tree(to: &Path) -> Outcome {
    let from = root()?;
    // What an earlier release has added.
    let _absent = fs::remove_dir_all(to.join("crates/store/migrations"));
    let listed = output(command("git", &from).args(["ls-files", "-z"]))?;
    for name in String::from_utf8_lossy(&listed).split('\0').filter(|name| !name.is_empty()) {
        let (source, copy) = (from.join(name), to.join(name));
        // Listed and removed since.
        let Ok(bytes) = fs::read(&source) else { continue };
        if fs::read(&copy).is_ok_and(|there| there == bytes) {
            continue;
        }
        if let Some(folder) = copy.parent() {
            fs::create_dir_all(folder).map_err(Failure::of(format!("create {}", folder.display())))?;
        }
        fs::write(&copy, bytes).map_err(Failure::of(format!("write {}", copy.display())))?;
    }
    Ok(())
}

fn last_migration(folder: &Path) -> Outcome<u32> {
    let files = migrations(folder)?;
    let name = files.last().and_then(|file| file.file_name()?.to_str()?.split('_').next()?.parse().ok());
    name.ok_or_else(|| Failure::new("there are no migrations"))
}

fn change(tree: &Path, changes: &[(&str, &str, &str)]) -> Outcome {
    for (file, old, new) in changes {
        let path = tree.join(file);
        let text = fs::read_to_string(&path).map_err(Failure::of(format!("read {file}")))?;
        if text.matches(old).count() != 1 {
            return Err(Failure::new(format!(
                "{file} does not hold {old:?} once: the next release cannot be made"
            )));
        }
        fs::write(&path, text.replacen(old, new, 1)).map_err(Failure::of(format!("write {file}")))?;
    }
    Ok(())
}

/// Builds the program of a tree, on a database with its migrations. Gives where it lies.
fn build(tree: &Path, place: &Path, server: &Postgres, name: &str) -> Outcome<PathBuf> {
    println!("  building the release {name:?}");
    run(psql_command(tree, &server.url("postgres"))?.args(["--command", &format!("create database {name}")]))?;
    let url = server.url(name);
    for migration in migrations(&tree.join("crates/store/migrations"))? {
        run(psql_command(tree, &url)?.arg("--file").arg(migration))?;
    }
    let mut compile = cargo(tree);
    compile.args(["build", "--quiet", "--package", "tradesense"]);
    compile.env("CARGO_TARGET_DIR", place.join("target")).env("CARGO_PROFILE_DEV_DEBUG", "0");
    compile.env("SQLX_OFFLINE", "false").env("DATABASE_URL", &url);
    run(&mut compile)?;
    let program = place.join(name);
    fs::copy(place.join("target/debug/tradesense"), &program).map_err(Failure::of("keep a program"))?;
    Ok(program)
}

/// A role of a release.
struct Member {
    port: u16,
    server: Server,
}

/// Everything that runs.
struct Place {
    members: BTreeMap<&'static str, Member>,
    edge: Server,
    port: u16,
    redis: Server,
    redis_port: u16,
    database: Postgres,
    login: String,
    started: u32,
    scratch: Scratch,
}

impl Place {
    fn open(old: &Path) -> Outcome<Self> {
        let scratch = Scratch::new("upgrade")?;
        let dir = scratch.path();
        let database = start_fresh("upgrade-database")?;
        let redis_port = free_port()?;
        let mut redis = command("redis-server", dir);
        redis.args(["--port", &redis_port.to_string(), "--bind", "127.0.0.1", "--save", ""]);
        log_to(&mut redis, &dir.join("redis.log"))?;
        let redis = Server::start(&mut redis)?;
        let keys = dir.join("keys");
        fs::create_dir_all(&keys).map_err(Failure::of("make room for keys"))?;
        let login = migrate(old, &database, &keys)?;
        let mut demo = command(old, dir);
        demo.args(["demo", "--data-dir"]).arg(&keys).env("DATABASE_URL", database.url("postgres"));
        drop(output(&mut demo)?);
        let port = free_port()?;
        point(dir, port, 1, 1)?;
        let mut nginx = command("nginx", dir);
        nginx.arg("-p").arg(dir).arg("-c").arg(dir.join("nginx.conf")).args(["-e", "stderr"]);
        log_to(&mut nginx, &dir.join("nginx.log"))?;
        let edge = Server::start(&mut nginx)?;
        let up = poll(Duration::from_secs(10), || (!workers(edge.pid()).is_empty()).then_some(()));
        up.ok_or_else(|| Failure::new("nginx does not start"))?;
        let members = BTreeMap::new();
        let mut place = Self { members, edge, port, redis, redis_port, database, login, started: 0, scratch };
        for role in ["engine", "worker", "api", "analytics"] {
            let member = place.start(old, role)?;
            place.members.insert(role, member);
        }
        place.switch()?;
        Ok(place)
    }

    fn keys(&self) -> PathBuf {
        self.scratch.path().join("keys")
    }

    /// A role as this program starts it, on these ports.
    fn role(&self, program: &Path, role: &str, port: u16, ops: u16) -> Command {
        let dir = self.scratch.path();
        let mut member = command(program, dir);
        member.args([role, "--demo", "--connections", "4", "--simulate", "--shards", "2"]);
        member.args(["--port", &port.to_string(), "--analytics-port", &port.to_string()]);
        member.args(["--ops-port", &ops.to_string()]);
        member.arg("--keys-dir").arg(self.keys()).arg("--audit-copies").arg(dir.join("audit-copies"));
        member.arg("--data-dir").arg(dir.join(format!("data-{}", self.started)));
        member.env("DATABASE_URL", &self.login).env("TRADESENSE_LOG", "info").env("NO_COLOR", "1");
        member.env("REDIS_URL", format!("redis://127.0.0.1:{}", self.redis_port));
        member
    }

    fn start(&mut self, program: &Path, role: &'static str) -> Outcome<Member> {
        self.started = self.started.saturating_add(1);
        let (port, ops) = (free_port()?, free_port()?);
        let mut member = self.role(program, role, port, ops);
        let log = self.scratch.path().join(format!("{}-{role}.log", self.started));
        log_to(&mut member, &log)?;
        let mut server = Server::start(&mut member)?;
        if !serves(&mut server, ops) {
            let said = fs::read_to_string(&log).unwrap_or_default();
            return Err(Failure::new(format!(
                "{role} of {} did not become ready: {said}",
                program.display()
            )));
        }
        Ok(Member { port, server })
    }

    /// Whether a member answers what people would ask it.
    fn smoke(program: &Path, role: &str, member: &Member, dir: &Path) -> Result<(), String> {
        let mut smoke = command(program, dir);
        smoke.args(["smoke", "--role", role, "--url", &format!("http://127.0.0.1:{}", member.port)]);
        let said = smoke.output().map_err(|error| error.to_string())?;
        let text = [said.stdout, said.stderr].concat();
        if said.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&text).trim().to_owned()) }
    }

    /// Sends people to who answers them now, and waits until nobody is sent to who answered before.
    fn switch(&self) -> Outcome {
        let port = |role| self.members.get(role).map_or(1, |member| member.port);
        point(self.scratch.path(), self.port, port("api"), port("analytics"))?;
        let master = self.edge.pid();
        let before = workers(master);
        run(Command::new("kill").args(["-HUP", &master.to_string()]))?;
        // Those of before end when they have answered everybody whom they let in.
        let gone = poll(Duration::from_secs(20), || {
            let now = workers(master);
            (!now.is_empty() && now.iter().all(|worker| !before.contains(worker))).then_some(())
        });
        gone.ok_or_else(|| Failure::new("the edge goes on sending people to who answered before"))
    }

    /// A release takes over from the one that runs: those who answer people beside it, asked by the smoke step, then the switch.
    fn take_over(&mut self, program: &Path) -> Outcome {
        let dir = self.scratch.path().to_path_buf();
        let mut before = Vec::new();
        for role in ASKED {
            let member = self.start(program, role)?;
            Self::smoke(program, role, &member, &dir)
                .map_err(|said| Failure::new(format!("{role}: {said}")))?;
            before.extend(self.members.insert(role, member));
        }
        self.switch()?;
        for member in before {
            member.server.stop()?;
        }
        for role in BEHIND {
            let member = self.start(program, role)?;
            if let Some(before) = self.members.insert(role, member) {
                before.server.stop()?;
            }
        }
        sleep(WHILE);
        Ok(())
    }

    fn upgrade(&mut self, releases: &Releases, findings: &mut Vec<Finding>) -> Outcome {
        let Releases { old, broken, next, after } = releases;
        let dir = self.scratch.path().to_path_buf();
        let asking = Asking::start(self.port, self.port, &self.keys().join("logins.json"))?;
        sleep(WHILE);

        // Somebody reads for long what the migration wants to itself.
        let mut reader = psql_command(&dir, &self.database.url("postgres"))?;
        reader.args(["--command", "begin; select count(*) from sessions; select pg_sleep(3); commit"]);
        log_to(&mut reader, &dir.join("reader.log"))?;
        let mut reader = spawn(&mut reader)?;
        sleep(Duration::from_millis(500));
        let since = now();
        migrate(next, &self.database, &self.keys())?;
        println!(
            "  expanded beside the old release, behind a long reader, in {} ms",
            since.elapsed().as_millis()
        );
        drop(reader.wait());

        let member = self.start(broken, "api")?;
        match Self::smoke(broken, "api", &member, &dir) {
            Ok(()) => findings.push(Finding::new("smoke", "nothing was found wrong with the broken release")),
            Err(said) => {
                println!("  the broken release is stopped: {}", said.lines().last().unwrap_or_default());
            }
        }
        member.server.stop()?;

        let step = |place: &mut Self, name: &str, program: &Path| -> Outcome {
            let since = now();
            place.take_over(program)?;
            println!(
                "  {name}: everything is the new one's after {} ms",
                since.elapsed().saturating_sub(WHILE).as_millis()
            );
            Ok(())
        };
        step(self, "forward", next)?;
        // Going back starts with the old one's own migration, which finds nothing to do.
        migrate(old, &self.database, &self.keys())?;
        step(self, "back", old)?;
        step(self, "forward again", next)?;

        let since = now();
        migrate(after, &self.database, &self.keys())?;
        println!("  contracted beside the release before in {} ms", since.elapsed().as_millis());
        sleep(WHILE);
        step(self, "and on", after)?;

        for (name, program, starts) in [("old", old, false), ("next", next, true)] {
            let mut check = self.role(program, "api", 0, 0);
            let said = check.arg("--only-check").output().map_err(Failure::of("start a release"))?;
            let text = String::from_utf8_lossy(&said.stderr).trim().to_owned();
            if said.status.success() != starts {
                findings.push(Finding::new(name, format!("on the contracted schema: {text}")));
            } else if !starts {
                println!(
                    "  the old release does not start any more: {}",
                    text.lines().last().unwrap_or_default()
                );
            }
        }
        if migrate(old, &self.database, &self.keys()).is_ok() {
            findings.push(Finding::new("old", "migrates a schema that is no longer made for it"));
        }
        let Asked { answered, failed, longest, faults } = asking.end();
        println!(
            "  {answered} answers, {failed} of them errors, the longest after {} ms",
            longest.as_millis()
        );
        if answered < 500 || failed > 0 {
            findings.push(Finding::new("requests", format!("{failed} of {answered} failed: {faults:?}")));
        }
        Ok(())
    }

    fn close(mut self) -> Outcome {
        self.members.clear();
        drop((self.edge, self.redis));
        stop_and_erase(self.database)
    }
}

/// The processes that answer for this nginx.
fn workers(master: u32) -> Vec<u32> {
    let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children")).unwrap_or_default();
    children.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}

/// Runs a release's migrations. Gives the platform's login.
fn migrate(program: &Path, database: &Postgres, keys: &Path) -> Outcome<String> {
    let mut migrate = command(program, keys);
    migrate.args(["migrate", "--login-name", "platform", "--login-password", "platform", "--keys-dir"]);
    migrate.arg(keys).env("DATABASE_URL", database.url("postgres"));
    drop(output(&mut migrate)?);
    let owner = database.url("postgres");
    let behind = owner.rsplit_once('@').map_or("", |(_, behind)| behind);
    Ok(format!("postgres://platform:platform@{behind}"))
}

/// Writes where nginx sends people.
fn point(dir: &Path, port: u16, api: u16, analytics: u16) -> Outcome {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|name| format!("  {name}_temp_path {}/nginx-{name};\n", dir.display()))
        .concat();
    let text = format!(
        "daemon off;\nworker_processes 1;\npid {dir}/nginx.pid;\nerror_log stderr;\nevents {{}}\nhttp {{\n  access_log off;\n{temporary}  \
         server {{\n    listen 127.0.0.1:{port};\n    proxy_set_header Host $host;\n    \
         location /v1/analytics/ {{ proxy_pass http://127.0.0.1:{analytics}; }}\n    \
         location / {{ proxy_pass http://127.0.0.1:{api}; }}\n  }}\n}}\n",
        dir = dir.display()
    );
    fs::write(dir.join("nginx.conf"), text).map_err(Failure::of("write nginx.conf"))
}
