//! `deployment/docker/Dockerfile`: what it must say, and its last stage built and run.
//!
//! The last stage is built word for word by buildah, on a base that stands in for the pinned one: the libraries, certificates and time
//! zones that distroless/cc holds, taken from this distribution's packages. The stages that compile are not run; in their place stands
//! the program that cargo has built here.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use rustix::process::Signal;

use super::sandbox::{Network, Plan, Sandbox};
use super::tools::{as_root, ask, installed, listed, refused, tradesense};
use super::{Checked, checked, failed};
use crate::machine::root;
use crate::platform::Scratch;
use crate::process::{now, poll, run};
use crate::{Failure, Outcome};

const FILE: &str = "deployment/docker/Dockerfile";
/// What distroless/cc is made of, as this distribution calls it.
const PACKAGES: [&str; 8] =
    ["libc6", "libssl3", "libgcc-s1", "libstdc++6", "libgomp1", "ca-certificates", "tzdata", "netbase"];
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

/// The last stage built, and its program run read-only as its user.
pub(crate) fn built() -> Checked {
    let all = || -> Outcome<Vec<String>> {
        as_root()?;
        let scratch = Scratch::new("image")?;
        let buildah = Buildah::new(scratch.path())?;
        let began = now();
        let base = base(scratch.path())?;
        buildah.import(&base)?;
        let context = context(scratch.path())?;
        buildah.build(&context)?;
        let took = began.elapsed();
        let mut faults = buildah.look()?;
        let root = buildah.mount()?;
        println!("  built in {} s, {} MB", took.as_secs(), size(&root)?);
        faults.extend(contents(&root)?);
        faults.extend(runs(scratch.path(), &root)?);
        buildah.clean()?;
        Ok(faults)
    };
    checked(all().map_err(failed)?)
}

/// The files of the packages that distroless/cc is made of, and its user.
fn base(dir: &Path) -> Outcome<PathBuf> {
    let (packages, tree) = (dir.join("packages"), dir.join("base"));
    fs::create_dir_all(&packages).map_err(Failure::of("create a directory for packages"))?;
    fs::create_dir_all(&tree).map_err(Failure::of("create a directory for the base"))?;
    let mut download = Command::new("apt-get");
    run(download.args(["download", "-q"]).args(PACKAGES).current_dir(&packages))?;
    for package in fs::read_dir(&packages).map_err(Failure::of("list packages"))?.flatten() {
        run(Command::new("dpkg-deb").arg("--extract").arg(package.path()).arg(&tree))?;
    }
    for link in ["bin", "sbin"] {
        // The libraries' packages have no programs that anybody needs.
        let _absent = fs::remove_dir_all(tree.join("usr").join(link));
        let _absent = fs::remove_dir_all(tree.join(link));
    }
    let etc = tree.join("etc");
    let write = |name: &str, text: &str| {
        fs::write(etc.join(name), text).map_err(Failure::of(format!("write {name}")))
    };
    write(
        "passwd",
        "root:x:0:0:root:/root:/sbin/nologin\nnobody:x:65534:65534:nobody:/nonexistent:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/nonexistent:/sbin/nologin\n",
    )?;
    write("group", "root:x:0:\nnogroup:x:65534:\nnonroot:x:65532:\n")?;
    write("nsswitch.conf", "hosts: files dns\n")?;
    // What the package's own script would make.
    let mut bundle = String::new();
    let certificates = tree.join("usr/share/ca-certificates/mozilla");
    for file in fs::read_dir(&certificates).map_err(Failure::of("list certificates"))?.flatten() {
        bundle.push_str(&fs::read_to_string(file.path()).map_err(Failure::of("read a certificate"))?);
    }
    fs::create_dir_all(etc.join("ssl/certs")).map_err(Failure::of("create etc/ssl/certs"))?;
    write("ssl/certs/ca-certificates.crt", &bundle)?;
    fs::create_dir_all(tree.join("tmp")).map_err(Failure::of("create tmp"))?;
    Ok(tree)
}

/// The Dockerfile with its last stage word for word, but for the base and for the stage that it copies from.
fn context(dir: &Path) -> Outcome<PathBuf> {
    let text = fs::read_to_string(root()?.join(FILE)).map_err(Failure::of(format!("read {FILE}")))?;
    let stage = last_stage(&text).trim_start();
    let (from, rest) = stage.split_once('\n').unwrap_or((stage, ""));
    let named = from.rsplit(" AS ").next().unwrap_or("runtime");
    let file = format!(
        "FROM scratch AS build\nCOPY tradesense /src/target/release/tradesense\nCOPY empty /empty\n\nFROM localhost/stand-in:base AS {named}\n{rest}"
    );
    let context = dir.join("context");
    fs::create_dir_all(context.join("empty")).map_err(Failure::of("create the context"))?;
    fs::write(context.join("Dockerfile"), file).map_err(Failure::of("write the Dockerfile"))?;
    fs::copy(tradesense()?, context.join("tradesense")).map_err(Failure::of("copy tradesense"))?;
    Ok(context)
}

struct Buildah {
    program: PathBuf,
    storage: PathBuf,
}

impl Buildah {
    fn new(dir: &Path) -> Outcome<Self> {
        Ok(Self { program: installed("buildah", "buildah")?, storage: dir.join("storage") })
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        command.arg("--storage-driver").arg("vfs").arg("--root").arg(self.storage.join("root"));
        command.arg("--runroot").arg(self.storage.join("run")).env("BUILDAH_ISOLATION", "chroot");
        command
    }

    fn said(&self, args: &[&str]) -> Outcome<String> {
        let said = ask(self.command().args(args))?;
        if said.well {
            return Ok(said.text.trim().to_owned());
        }
        Err(Failure::new(format!("buildah {}: {}", args.join(" "), said.text.trim())))
    }

    fn import(&self, base: &Path) -> Outcome {
        self.said(&["from", "--name", "base", "scratch"])?;
        self.said(&["copy", "base", &base.display().to_string(), "/"])?;
        self.said(&["commit", "--quiet", "base", "localhost/stand-in:base"])?;
        self.said(&["rm", "base"]).map(|_| ())
    }

    fn build(&self, context: &Path) -> Outcome {
        let context = context.display().to_string();
        let args = [
            "build",
            "--isolation",
            "chroot",
            "--pull=never",
            "--format",
            "docker",
            "--tag",
            "localhost/tradesense:built",
            "--build-arg",
            "REVISION=here",
            &context,
        ];
        self.said(&args).map(|_| ())
    }

    /// What the image's description says.
    fn look(&self) -> Outcome<Vec<String>> {
        let mut faults = Vec::new();
        let config = [
            ("{{.Docker.Config.User}}", "65532:65532"),
            ("{{.Docker.Config.Entrypoint}}", "[/usr/bin/tradesense]"),
            ("{{.Docker.Config.StopSignal}}", "SIGTERM"),
            ("{{.Docker.Config.Healthcheck.Test}}", "[CMD /usr/bin/tradesense health]"),
            ("{{index .Docker.Config.Labels \"org.opencontainers.image.revision\"}}", "here"),
        ];
        for (form, wanted) in config {
            let said =
                self.said(&["inspect", "--type", "image", "--format", form, "localhost/tradesense:built"])?;
            if said != wanted {
                faults.push(format!("{form} is {said} in the image, not {wanted}"));
            }
        }
        Ok(faults)
    }

    fn mount(&self) -> Outcome<PathBuf> {
        self.said(&["from", "--pull=never", "--name", "run", "localhost/tradesense:built"])?;
        self.said(&["mount", "run"]).map(PathBuf::from)
    }

    fn clean(&self) -> Outcome {
        self.said(&["umount", "--all"])?;
        self.said(&["rm", "--all"]).map(|_| ())
    }
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
    let open = ask(Command::new("find")
        .arg(root)
        .args(["-xdev", "-perm", "/0002", "-not", "-type", "l", "-not", "-path", "*/tmp"]))?;
    faults.extend(open.text.lines().map(|file| format!("anybody may write {file}")));
    let program = root.join("usr/bin/tradesense");
    let mine = ask(Command::new("find").arg(&program).args(["-perm", "0555", "-user", "0"]))?;
    if mine.text.trim().is_empty() {
        faults.push("the program is not root's, or may be written".to_owned());
    }
    let wants = ask(Command::new("ldd").arg(&program))?;
    for library in wants.text.lines().filter_map(|line| line.split_whitespace().next()) {
        let name = library.rsplit('/').next().unwrap_or(library);
        if !LIBRARIES.contains(&name) && !name.starts_with("linux-vdso") {
            faults.push(format!("the program wants {name}, which distroless/cc lacks"));
        }
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
