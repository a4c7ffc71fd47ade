//! The Dockerfiles: what they must say, and what they make, built and run.
//!
//! `image-built` builds its last stage alone, around the program that cargo has built here; `image-whole` every stage, which takes as long
//! as compiling everything; `image-backup` the image of backups. Bases stand in for the pinned ones: [`super::builder`].

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::builder::{Buildah, on_stand_ins};
use super::sandbox::{Network, Plan, Sandbox};
use super::tools::{POSTGRES, as_root, ask, installed, listed, refused, tradesense};
use super::{Checked, backup_cloud, builder, checked, failed};
use crate::machine::root;
use crate::platform::Scratch;
use crate::process::{now, poll, run};
use crate::{Failure, Outcome};

const FILE: &str = "deployment/docker/Dockerfile";
/// Libraries that a program may want there.
const LIBRARIES: [&str; 8] = [
    "libc.so.6",
    "libm.so.6",
    "libgcc_s.so.1",
    "libdl.so.2",
    "libpthread.so.0",
    "librt.so.1",
    "libssl.so.3",
    "ld-linux-x86-64.so.2",
];

/// What the file must say, and what hadolint says.
pub(crate) fn rules() -> Checked {
    let all = || -> Outcome<Vec<String>> {
        let root = root()?;
        let text = fs::read_to_string(root.join(FILE)).map_err(Failure::of(format!("read {FILE}")))?;
        let mut faults = said(&text);
        faults.extend(ignored(&root)?);
        faults.extend(refused(Command::new(listed("hadolint")?).arg(FILE).current_dir(&root))?);
        Ok(faults)
    };
    checked(all().map_err(failed)?)
}

fn said(text: &str) -> Vec<String> {
    let lines: Vec<&str> = text.lines().map(str::trim).filter(|line| !line.starts_with('#')).collect();
    let mut faults = Vec::new();
    let mut must = |good: bool, what: String| {
        if !good {
            faults.push(what);
        }
    };
    let mut stages = BTreeSet::new();
    for from in lines.iter().filter_map(|line| line.strip_prefix("FROM ")) {
        let image = from.split(' ').next().unwrap_or_default();
        let digest = image
            .split_once("@sha256:")
            .is_some_and(|(tagged, digest)| tagged.contains(':') && digest.len() == 64);
        must(digest || stages.contains(image), format!("{image} is not named by tag and digest"));
        stages.extend(from.rsplit(" AS ").next());
    }
    let last: Vec<&str> = last_stage(text).lines().map(str::trim).collect();
    let says = |start: &str| last.iter().any(|line| line.starts_with(start));
    must(says("USER 65532:65532"), "the image runs as somebody else than 65532".to_owned());
    must(
        says("HEALTHCHECK ")
            && last.iter().any(|line| line.contains("CMD [\"/usr/bin/tradesense\", \"health\"]")),
        "the image's health is not asked by its program".to_owned(),
    );
    must(says("ENTRYPOINT [\"/usr/bin/tradesense\"]"), "the image starts something else".to_owned());
    must(says("STOPSIGNAL SIGTERM"), "the image is stopped otherwise".to_owned());
    must(!says("RUN"), "something is run in the last stage, which has no shell".to_owned());
    must(
        !lines.iter().any(|line| line.contains("ADD ") || line.contains("curl ") || line.contains("wget ")),
        "something is fetched by hand".to_owned(),
    );
    for step in ["npm run build", "cargo chef prepare", "cargo auditable build"] {
        let line = lines.iter().find(|line| line.contains(step)).copied().unwrap_or_default();
        must(line.contains("--network=none"), format!("`{step}` has a network"));
    }
    for step in ["cargo chef cook", "cargo auditable build", "cargo install"] {
        let line = lines.iter().find(|line| line.contains(step)).copied().unwrap_or_default();
        must(line.contains("--locked"), format!("`{step}` may resolve anew"));
    }
    let cook = lines.iter().position(|line| line.contains("chef cook"));
    let copy = lines.iter().position(|line| *line == "COPY . .");
    must(cook < copy, "dependencies are not a layer of their own".to_owned());
    faults
}

/// The text of the last stage.
fn last_stage(text: &str) -> &str {
    text.rfind("\nFROM ").and_then(|at| text.get(at..)).unwrap_or(text)
}

/// The context is a list of what goes in, so that nothing else does.
fn ignored(root: &Path) -> Outcome<Vec<String>> {
    let text = fs::read_to_string(root.join(".dockerignore")).map_err(Failure::of("read .dockerignore"))?;
    let mut faults = Vec::new();
    if text.lines().find(|line| !line.starts_with('#') && !line.is_empty()) != Some("*") {
        faults.push("the context is not closed first".to_owned());
    }
    for let_in in text.lines().filter_map(|line| line.strip_prefix('!')) {
        if !root.join(let_in).exists() {
            faults.push(format!("{let_in} goes to the builder and does not exist"));
        }
        if ["deployment", ".git", "secrets", "data", "target"].contains(&let_in) {
            faults.push(format!("{let_in} goes to the builder"));
        }
    }
    Ok(faults)
}

/// Where programs lie in the pinned images.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
const TAG: &str = "localhost/tradesense:built";

/// What the platform's image must say of itself.
const SAYS: [(&str, &str); 5] = [
    ("{{.Docker.Config.User}}", "65532:65532"),
    ("{{.Docker.Config.Entrypoint}}", "[/usr/bin/tradesense]"),
    ("{{.Docker.Config.StopSignal}}", "SIGTERM"),
    ("{{.Docker.Config.Healthcheck.Test}}", "[CMD /usr/bin/tradesense health]"),
    ("{{index .Docker.Config.Labels \"org.opencontainers.image.revision\"}}", "here"),
];

/// The last stage built, and its program run read-only as its user.
pub(crate) fn built() -> Checked {
    let all = || -> Outcome<Vec<String>> {
        as_root()?;
        let scratch = Scratch::new("image")?;
        let buildah = Buildah::new(scratch.path())?;
        last_stage_built(scratch.path(), &buildah)?;
        judged(scratch.path(), &buildah)
    };
    checked(all().map_err(failed)?)
}

/// Every stage built, from nothing but what is committed: the user interface, the dependencies, the program; which is run then.
pub(crate) fn whole() -> Checked {
    let all = || -> Outcome<Vec<String>> {
        as_root()?;
        let scratch = Scratch::new("image-whole")?;
        let dir = scratch.path();
        let buildah = Buildah::new(dir)?;
        let trusted = ("NODE_EXTRA_CA_CERTS", "/etc/ssl/certs/ca-certificates.crt");
        buildah.import(&builder::node(dir)?, "node", &[("PATH", PATH), trusted])?;
        let with_cargo = format!("/usr/local/cargo/bin:/usr/local/toolchain/bin:{PATH}");
        let home = ("CARGO_HOME", "/usr/local/cargo");
        buildah.import(&builder::rust(dir)?, "rust", &[("PATH", &with_cargo), home])?;
        buildah.import(&builder::distroless(dir)?, "cc", &[])?;
        let context = dir.join("context");
        run(Command::new("git")
            .args(["clone", "--quiet", "--depth=1"])
            .arg(format!("file://{}", root()?.display()))
            .arg(&context))?;
        let text = fs::read_to_string(context.join(FILE)).map_err(Failure::of(format!("read {FILE}")))?;
        let file = dir.join("Dockerfile");
        fs::write(&file, on_stand_ins(&text)?).map_err(Failure::of("write the Dockerfile"))?;
        let began = now();
        buildah.build(&file, &context, TAG, &[("REVISION", "here")])?;
        println!("  every stage built in {} s", began.elapsed().as_secs());
        judged(dir, &buildah)
    };
    checked(all().map_err(failed)?)
}

/// The image of backups, upon the platform's, and the work of the `CronJobs` done by it.
pub(crate) fn backups() -> Checked {
    let all = || -> Outcome<Vec<String>> {
        as_root()?;
        let scratch = Scratch::new("image-backup")?;
        let dir = scratch.path();
        let buildah = Buildah::new(dir)?;
        last_stage_built(dir, &buildah)?;
        let path = format!("{PATH}:/usr/lib/{POSTGRES}");
        buildah.import(&builder::postgresql(dir)?, "postgres", &[("PATH", &path)])?;
        let context = root()?.join("deployment/backup");
        let name = context.join("Dockerfile");
        let text = fs::read_to_string(&name).map_err(Failure::of(format!("read {}", name.display())))?;
        let file = dir.join("Dockerfile");
        fs::write(&file, on_stand_ins(&text)?).map_err(Failure::of("write the Dockerfile"))?;
        let tag = "localhost/tradesense-backup:built";
        let began = now();
        buildah.build(&file, &context, tag, &[("TRADESENSE_IMAGE", TAG), ("REVISION", "here")])?;
        let mut faults = buildah.look(
            tag,
            &[
                ("{{.Docker.Config.User}}", "999:999"),
                ("{{.Docker.Config.Cmd}}", "[/usr/local/lib/tradesense-backup/ship.sh loop]"),
                ("{{index .Docker.Config.Labels \"org.opencontainers.image.revision\"}}", "here"),
            ],
        )?;
        let image = buildah.unpack(tag)?;
        println!("  built in {} s, {} MB", began.elapsed().as_secs(), size(&image.root)?);
        faults.extend(backup_cloud::keys_are_sent(Some(&image))?);
        faults.extend(backup_cloud::drilled(Some(&image))?);
        buildah.clean()?;
        Ok(faults)
    };
    checked(all().map_err(failed)?)
}

/// The Dockerfile with its last stage word for word, but for the base and for the stage that it copies from: the program is cargo's.
fn last_stage_built(dir: &Path, buildah: &Buildah) -> Outcome {
    buildah.import(&builder::distroless(dir)?, "cc", &[])?;
    let text = fs::read_to_string(root()?.join(FILE)).map_err(Failure::of(format!("read {FILE}")))?;
    let stage = on_stand_ins(last_stage(&text).trim_start())?;
    let context = dir.join("context");
    fs::create_dir_all(context.join("empty")).map_err(Failure::of("create the context"))?;
    let file = context.join("Dockerfile");
    fs::write(
        &file,
        format!("FROM scratch AS build\nCOPY tradesense /src/target/release/tradesense\nCOPY empty /empty\n\n{stage}"),
    )
    .map_err(Failure::of("write the Dockerfile"))?;
    fs::copy(tradesense()?, context.join("tradesense")).map_err(Failure::of("copy tradesense"))?;
    buildah.build(&file, &context, TAG, &[("REVISION", "here")])
}

/// What the built image says of itself, holds and does.
fn judged(dir: &Path, buildah: &Buildah) -> Outcome<Vec<String>> {
    let mut faults = buildah.look(TAG, &SAYS)?;
    let image = buildah.unpack(TAG)?;
    println!("  {} MB", size(&image.root)?);
    faults.extend(contents(&image.root)?);
    faults.extend(runs(dir, &image.root)?);
    buildah.clean()?;
    Ok(faults)
}

fn size(root: &Path) -> Outcome<String> {
    let said = ask(Command::new("du").args(["-sm"]).arg(root))?;
    Ok(said.text.split_whitespace().next().unwrap_or_default().to_owned())
}

/// No shell, nothing that gives rights, no library that the pinned base lacks.
fn contents(root: &Path) -> Outcome<Vec<String>> {
    let mut faults = Vec::new();
    for shell in
        ["bin/sh", "bin/bash", "usr/bin/sh", "usr/bin/bash", "bin/busybox", "usr/bin/apt-get", "usr/bin/dpkg"]
    {
        if root.join(shell).exists() {
            faults.push(format!("the image holds {shell}"));
        }
    }
    let rights = ask(Command::new("find").arg(root).args(["-xdev", "-perm", "/6000", "-type", "f"]))?;
    faults.extend(rights.text.lines().map(|file| format!("{file} gives rights")));
    let open = ask(Command::new("find").arg(root).args([
        "-xdev",
        "-perm",
        "/0002",
        "-not",
        "-path",
        "*/tmp",
        "-not",
        "-path",
        "*/var/lock",
        "-not",
        "-type",
        "l",
    ]))?;
    faults.extend(open.text.lines().map(|file| format!("anybody may write {file}")));
    let program = root.join("usr/bin/tradesense");
    let mine = ask(Command::new("find").arg(&program).args(["-perm", "0555", "-user", "0"]))?;
    if mine.text.trim().is_empty() {
        faults.push("the program is not root's, or may be written".to_owned());
    }
    let wants = ask(Command::new(installed("readelf", "binutils")?).arg("--dynamic").arg(&program))?;
    let wanted = wants.text.lines().filter(|line| line.contains("(NEEDED)"));
    let mut libraries = wanted.filter_map(|line| line.split_once('[')?.1.split(']').next()).peekable();
    if libraries.peek().is_none() {
        faults.push(format!("nobody knows what the program wants: {}", wants.text.trim()));
    }
    for name in libraries.filter(|name| !LIBRARIES.contains(name)) {
        faults.push(format!("the program wants {name}, which distroless/cc lacks"));
    }
    Ok(faults)
}

/// The image's program under its own user, with nothing to write but what is given to it.
fn runs(dir: &Path, root: &Path) -> Outcome<Vec<String>> {
    let mut faults = Vec::new();
    let network = Network::new("image", 202, None)?;
    let plan = |name: &str, args: &[&str]| {
        let mut plan = Plan {
            name: name.to_owned(),
            image: Some(root.to_path_buf()),
            program: std::iter::once("/usr/bin/tradesense")
                .chain(args.iter().copied())
                .map(str::to_owned)
                .collect(),
            env: [
                ("TRADESENSE_HOST", "0.0.0.0"),
                ("TRADESENSE_DATA_DIR", "/var/lib/tradesense"),
                ("TRADESENSE_LOG", "info"),
            ]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .to_vec(),
            user: (65_532, 65_532),
            user_name: "nonroot".to_owned(),
            read_only: true,
            no_new_privileges: true,
            tmpfs: vec![
                ("/tmp".to_owned(), "mode=1777".to_owned()),
                ("/var/lib/tradesense".to_owned(), "mode=0700,uid=65532,gid=65532".to_owned()),
                ("/var/lib/tradesense-keys".to_owned(), "mode=0700,uid=65532,gid=65532".to_owned()),
            ],
            ..Plan::default()
        };
        plan.attach(&network, &network.address(30));
        plan
    };
    // What needs nothing.
    for (name, args) in [("version", &["--version"][..]), ("openapi", &["openapi"]), ("topics", &["topics"])]
    {
        let mut running = Sandbox::start(dir, plan(name, args))?;
        let ended = poll(Duration::from_secs(30), || running.ended());
        if ended != Some(true) {
            faults.push(format!("`tradesense {name}` in the image: {}", running.tail()));
        }
    }
    // A role, on a database and a Redis of this machine.
    let mut backing = Backing::start(dir, &network)?;
    let mut api = plan("api", &["api", "--keys-dir", "/var/lib/tradesense-keys"]);
    fs::create_dir_all(dir.join("secrets")).map_err(Failure::of("create secrets"))?;
    for (name, text) in [("database", &backing.login), ("redis", &backing.redis)] {
        fs::write(dir.join("secrets").join(name), text).map_err(Failure::of("write a secret"))?;
        api.binds.push((dir.join("secrets").join(name), format!("/run/secrets/{name}"), false));
    }
    api.env.push(("DATABASE_URL_FILE".to_owned(), "/run/secrets/database".to_owned()));
    api.env.push(("REDIS_URL_FILE".to_owned(), "/run/secrets/redis".to_owned()));
    let health = ["/usr/bin/tradesense".to_owned(), "health".to_owned()];
    let began = now();
    let mut running = Sandbox::start(dir, api)?;
    let healthy = poll(Duration::from_mins(1), || {
        if running.ended().is_some() {
            return Some(false);
        }
        std::thread::sleep(Duration::from_millis(200));
        (running.pid().is_some() && running.run_inside(&health).is_ok_and(|said| said.well)).then_some(true)
    });
    if healthy != Some(true) {
        faults.push(format!("the image's API does not become healthy: {}", running.tail()));
        return Ok(faults);
    }
    println!("  its API is healthy {} ms after its start", began.elapsed().as_millis());
    let status = running.proc("status");
    for wanted in ["Uid:\t65532\t65532\t65532\t65532", "NoNewPrivs:\t1", "CapEff:\t0000000000000000"] {
        if !status.lines().any(|line| line == wanted) {
            faults.push(format!("the running program lacks {wanted:?}"));
        }
    }
    let mounts = running.proc("mountinfo");
    let root_line = mounts.lines().find(|line| line.split(' ').nth(4) == Some("/")).unwrap_or_default();
    if !root_line.split(' ').nth(5).is_some_and(|options| options.starts_with("ro")) {
        faults.push(format!("the running program can write its root: {root_line}"));
    }
    let shell = running.run_inside(&["/bin/sh".to_owned(), "-c".to_owned(), "true".to_owned()])?;
    if shell.well {
        faults.push("there is a shell".to_owned());
    }
    match running.stop(Signal::TERM, Duration::from_secs(30)) {
        Ok(took) => println!("  its API stopped {} ms after SIGTERM", took.as_millis()),
        Err(fault) => faults.push(fault),
    }
    backing.stop()?;
    Ok(faults)
}

/// A database with the schema, and a Redis, which the box reaches at this machine's address on its network.
struct Backing {
    postgres: Option<embedded::Postgres>,
    _redis: crate::process::Server,
    _relay: crate::process::Server,
    login: String,
    redis: String,
}

impl Backing {
    fn start(dir: &Path, network: &Network) -> Outcome<Self> {
        let settings = embedded::Settings::new(
            dir.join("database"),
            embedded::Purpose::Kept,
            crate::machine::postgresql()?,
        );
        let postgres = embedded::Postgres::start(&settings)?;
        let mut migrate = Command::new(tradesense()?);
        migrate.arg("migrate").env("DATABASE_URL", postgres.url("postgres"));
        migrate
            .env("TRADESENSE_LOGIN_PASSWORD", "an open secret")
            .env("TRADESENSE_LOGIN_NAME", "tradesense_login");
        let said = ask(&mut migrate)?;
        let login = said.text.trim().to_owned();
        let host = network.address(1);
        let mut redis = Command::new(installed("redis-server", "redis-server")?);
        redis
            .args(["--bind", &host, "--port", "6379", "--save", "", "--protected-mode", "no"])
            .current_dir(dir);
        crate::process::log_to(&mut redis, &dir.join("redis.log"))?;
        let redis = crate::process::Server::start(&mut redis)?;
        // The private server listens to this machine only; the box comes from a network.
        let mut relay = Command::new("python3");
        relay
            .args(["-c", RELAY, &host, "5432", &postgres.port().to_string()])
            .stderr(std::process::Stdio::null());
        let relay = crate::process::Server::start(&mut relay)?;
        for port in [5432, 6379] {
            let listens = || std::net::TcpStream::connect((host.as_str(), port)).ok();
            if poll(Duration::from_secs(10), listens).is_none() {
                return Err(Failure::new(format!("nobody listens at {host}:{port}")));
            }
        }
        let at = login.rsplit_once('@').map_or(login.as_str(), |(before, _)| before);
        let name = login.rsplit_once('/').map_or("postgres", |(_, name)| name);
        Ok(Self {
            postgres: Some(postgres),
            _redis: redis,
            _relay: relay,
            login: format!("{at}@{host}:5432/{name}"),
            redis: format!("redis://{host}:6379"),
        })
    }

    fn stop(&mut self) -> Outcome {
        self.postgres.take().map_or(Ok(()), |server| server.stop().map_err(Failure::from))
    }
}

const RELAY: &str = "
import socket, sys, threading
door = socket.create_server((sys.argv[1], int(sys.argv[2])))
def pump(a, b):
    try:
        while part := a.recv(65536):
            b.sendall(part)
    except OSError:
        pass
    for end in (a, b):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
while True:
    a, _ = door.accept()
    b = socket.create_connection(('127.0.0.1', int(sys.argv[3])))
    threading.Thread(target=pump, args=(a, b), daemon=True).start()
    threading.Thread(target=pump, args=(b, a), daemon=True).start()
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_weakens_the_image_is_found() {
        let text =
            fs::read_to_string(root().unwrap_or_else(|Failure(text)| panic!("{text}")).join(FILE)).unwrap();
        assert_eq!(said(&text), Vec::<String>::new());
        for (from, to) in [
            ("USER 65532:65532\n", "USER root\n"),
            ("@sha256:54df", ":"),
            ("--network=none cargo auditable", "cargo auditable"),
            ("auditable build --locked", "auditable build"),
            ("HEALTHCHECK", "# HEALTHCHECK"),
            ("STOPSIGNAL SIGTERM", "STOPSIGNAL SIGKILL"),
            ("WORKDIR /var/lib/tradesense\n", "RUN true\n"),
        ] {
            assert!(text.contains(from), "{from}");
            assert!(!said(&text.replace(from, to)).is_empty(), "{to}");
        }
    }
}
