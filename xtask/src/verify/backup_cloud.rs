//! What backs up on Kubernetes: the commands of the `CronJobs` as they are rendered, in boxes, against an S3 server of this machine.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use super::builder::Unpacked;
use super::manifests::{Overlay, at, list, overlays, str_at};
use super::sandbox::{Network, Plan, Sandbox};
use super::stand_ins::prepare;
use super::tools::{POSTGRES, as_root, ask, installed, path, postgres, said_by, tradesense};
use super::{Checked, checked, failed};
use crate::machine::{listed, root};
use crate::platform::{Scratch, free_port, serves};
use crate::process::{Server, command, log_to, now, poll, run};
use crate::{Failure, Outcome};

const SCRIPTS: &str = "deployment/backup";
/// The user of the `CronJobs`.
const USER: u32 = 65_532;
pub(super) const CREDENTIALS: &str = "[default]\naws_access_key_id = id\naws_secret_access_key = secret\n";

/// An S3 server on a network of its own.
pub(super) struct Store {
    pub(super) url: String,
    network: Network,
    _server: Server,
}

impl Store {
    pub(super) fn start(dir: &Path) -> Outcome<Self> {
        let network = Network::new("store", 9, None)?;
        let (address, port) = (network.address(1), free_port()?);
        let mut moto = command(listed("moto")?.join("moto_server"), dir);
        moto.args(["-H", &address, "-p", &port.to_string()]);
        log_to(&mut moto, &dir.join("store.log"))?;
        let store =
            Self { url: format!("http://{address}:{port}"), network, _server: Server::start(&mut moto)? };
        let up = poll(Duration::from_mins(1), || store.ask("GET", "").is_ok().then_some(()));
        up.ok_or_else(|| Failure::new("the S3 server does not answer"))?;
        Ok(store)
    }

    /// The body of an answer.
    pub(super) fn ask(&self, method: &str, path: &str) -> Outcome<String> {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--fail", "--noproxy", "*", "--request", method]);
        let said = ask(curl.arg(format!("{}/{path}", self.url)))?;
        if said.well { Ok(said.text) } else { Err(Failure::new(format!("{method} {path}: {}", said.text))) }
    }

    /// What somebody does with a client and the credentials of `secret/credentials`.
    fn rclone(&self, dir: &Path, words: &[&str]) -> Outcome {
        let mut rclone = Command::new(installed("rclone", "rclone")?);
        rclone.env_clear().env("AWS_SHARED_CREDENTIALS_FILE", dir.join("secret/credentials"));
        let settings = [("ENV_AUTH", "true"), ("PROVIDER", "Other"), ("ENDPOINT", &self.url)];
        rclone.envs(settings.map(|(name, value)| (format!("RCLONE_S3_{name}"), value)));
        run(rclone.args(["--config", "/dev/null"]).args(words))
    }

    pub(super) fn names(&self, bucket: &str) -> Outcome<Vec<String>> {
        let listed = self.ask("GET", &format!("{bucket}?list-type=2"))?;
        let parts = listed.split("<Key>").skip(1).filter_map(|part| part.split('<').next());
        Ok(parts.map(str::to_owned).collect())
    }
}

/// A `CronJob` of a place: what its container runs, told what the place's settings say, with these folders in place of its volumes; in its
/// image, or among programs of this machine.
fn box_of(
    dir: &Path,
    image: Option<&Unpacked>,
    store: &Store,
    job: &str,
    folders: &[(&str, PathBuf, bool)],
    env: &[(&str, &str)],
) -> Outcome<Plan> {
    let all = overlays().map_err(|findings| Failure::new(format!("{findings:?}")))?;
    let overlay = all.iter().find(|overlay| overlay.name == "production-eu");
    let overlay: &Overlay = overlay.ok_or_else(|| Failure::new("there is no production-eu"))?;
    let container = overlay
        .get("CronJob", job)
        .and_then(|job| at(&job.value, "spec.jobTemplate.spec.template.spec.containers.0"))
        .ok_or_else(|| Failure::new(format!("there is no {job}")))?;
    let settings = overlay.of("ConfigMap").find(|map| map.name().starts_with("tradesense-settings"));
    let settings = settings.and_then(|map| map.value.get("data")).unwrap_or(&Value::Null);
    let mut told: BTreeMap<String, String> = BTreeMap::new();
    for variable in list(container, "env") {
        let key = str_at(variable, "valueFrom.configMapKeyRef.key");
        let value = if key.is_empty() { str_at(variable, "value") } else { str_at(settings, key) };
        told.insert(str_at(variable, "name").to_owned(), value.to_owned());
    }
    told.extend(env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    let mut plan = Plan {
        name: job.to_owned(),
        program: list(container, "command").filter_map(Value::as_str).map(str::to_owned).collect(),
        env: told.into_iter().collect(),
        user: (USER, USER),
        user_name: "nobody".to_owned(),
        read_only: true,
        no_new_privileges: true,
        tmpfs: vec![("/tmp".to_owned(), "mode=1777".to_owned())],
        ..Plan::default()
    };
    if let Some(image) = image {
        plan.image = Some(image.root.clone());
        plan.env.push(("PATH".to_owned(), image.path.clone()));
    } else {
        let stand = dir.join(format!("{job}.stand-in"));
        let _stand_in = prepare("tradesense-backup", &stand)?;
        plan.over_usr = Some(stand.join("usr"));
        let scripts = (root()?.join(SCRIPTS), "/usr/local/lib/tradesense-backup".to_owned(), false);
        plan.binds = vec![scripts, (tradesense()?, "/usr/bin/tradesense".to_owned(), false)];
    }
    for mount in
        list(container, "volumeMounts").map(|mount| str_at(mount, "mountPath")).filter(|at| *at != "/tmp")
    {
        let folder = folders.iter().find(|(at, ..)| *at == mount);
        let (_, outside, writable) =
            folder.ok_or_else(|| Failure::new(format!("{job}: what is {mount}?")))?;
        plan.binds.push((outside.clone(), mount.to_owned(), *writable));
    }
    plan.attach(&store.network, &store.network.address(10));
    Ok(plan)
}

/// Runs it to its end: whether it ended well, and what it said.
fn ran(dir: &Path, plan: Plan) -> Outcome<(bool, String)> {
    let mut running = Sandbox::start(dir, plan)?;
    let ended = poll(Duration::from_mins(5), || {
        sleep(Duration::from_millis(50));
        running.ended()
    });
    let well = ended.ok_or_else(|| Failure::new(format!("it does not end: {}", running.tail())))?;
    Ok((well, running.log()))
}

/// Gives a folder, and what is in it, to somebody.
fn give(path: &Path, user: (u32, u32)) -> Outcome {
    chown(path, Some(user.0), Some(user.1)).map_err(Failure::of(format!("give {} away", path.display())))?;
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        give(&entry.path(), user)?;
    }
    Ok(())
}

fn write(path: &Path, text: &str) -> Outcome {
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder).map_err(Failure::of(format!("make {}", folder.display())))?;
    fs::write(path, text).map_err(Failure::of(format!("write {}", path.display())))
}

/// The keys' `CronJob` puts a sealed file into its bucket that either of two people opens; not for one person alone, and not over what is there.
pub(super) fn keys_are_sent(image: Option<&Unpacked>) -> Outcome<Vec<String>> {
    as_root()?;
    let scratch = Scratch::new("keys-sent")?;
    let dir = scratch.path();
    let store = Store::start(dir)?;
    store.ask("PUT", "tradesense-keys-eu")?;
    let keygen = installed("age-keygen", "age")?;
    let mut recipients = Vec::new();
    for who in ["ada", "ben"] {
        let made = ask(Command::new(&keygen).arg("--output").arg(dir.join(who)))?;
        let public = ask(Command::new(&keygen).arg("-y").arg(dir.join(who)))?;
        if !made.well || !public.well {
            return Err(Failure::new(format!("age-keygen: {}{}", made.text, public.text)));
        }
        recipients.push(public.text);
    }
    let files = ["receipt.key", "audit.key", "people.kek", "people/erasures", "people/firm/person.key"];
    for file in files {
        let path = dir.join("keys").join(file);
        write(&path, &format!("what {file} holds"))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).map_err(Failure::of("close a key"))?;
    }
    give(&dir.join("keys"), (USER, USER))?;
    write(&dir.join("secret/credentials"), CREDENTIALS)?;
    let folders = [
        ("/var/lib/tradesense-keys", dir.join("keys"), false),
        ("/etc/tradesense-recipients", dir.join("recipients"), false),
        ("/run/secrets/keys-backup", dir.join("secret"), false),
    ];
    let env = [("RCLONE_S3_ENDPOINT", store.url.as_str()), ("RCLONE_S3_PROVIDER", "Other")];
    let mut faults = Vec::new();
    let mut must = |good: bool, what: String| {
        if !good {
            faults.push(format!("CronJob/tradesense-keys-backup: {what}"));
        }
    };
    let send = |to: &str| -> Outcome<(bool, String)> {
        write(&dir.join("recipients/recipients"), to)?;
        ran(dir, box_of(dir, image, &store, "tradesense-keys-backup", &folders, &env)?)
    };
    must(!send(recipients.first().map_or("", String::as_str))?.0, "seals to one person alone".to_owned());
    must(!send("")?.0, "seals to nobody".to_owned());
    let (well, said) = send(&recipients.concat())?;
    must(well, format!("does not end well: {said}"));
    let names = store.names("tradesense-keys-eu")?;
    let [name] = names.as_slice() else {
        must(false, format!("the bucket holds {names:?}"));
        return Ok(faults);
    };
    must(name.starts_with("keys/secrets-") && name.contains(".age"), format!("it is called {name}"));
    let sealed = dir.join("sealed.age");
    store
        .rclone(dir, &["copyto", &format!(":s3:tradesense-keys-eu/{name}"), &sealed.display().to_string()])?;
    let script = root()?.join(SCRIPTS).join("secrets.sh");
    for who in ["ada", "ben"] {
        let to = dir.join(format!("opened-by-{who}"));
        let opened = ask(Command::new(&script).arg("open").arg(&sealed).arg(dir.join(who)).arg(&to))?;
        must(opened.well, format!("{who} cannot open it: {}", opened.text));
        for file in files {
            let back = fs::read_to_string(to.join("tradesense-keys").join(file)).unwrap_or_default();
            must(back == format!("what {file} holds"), format!("{file} does not come back to {who}"));
        }
    }
    Ok(faults)
}

/// A database whose log and base backup lie in the store as the operator's plugin puts them there, restored and judged by the drill's `CronJob`.
/// A store that does not answer and a log that is gone are told.
pub(crate) fn drill() -> Checked {
    checked(drilled(None).map_err(failed)?)
}

pub(super) fn drilled(image: Option<&Unpacked>) -> Outcome<Vec<String>> {
    as_root()?;
    for program in ["barman-cloud-backup", "barman-cloud-wal-archive", "barman-cloud-restore"] {
        installed(program, "barman-cli-cloud")?;
    }
    let scratch = Scratch::new("backup-cloud")?;
    let dir = scratch.path();
    let passwd = fs::read_to_string("/etc/passwd").map_err(Failure::of("read /etc/passwd"))?;
    let number = |place: usize| -> Option<u32> {
        passwd.lines().find(|line| line.starts_with("postgres:"))?.split(':').nth(place)?.parse().ok()
    };
    let user = number(2).zip(number(3)).ok_or_else(|| Failure::new("there is no user postgres"))?;
    chown(dir, Some(user.0), Some(user.1)).map_err(Failure::of("give the directory away"))?;
    let store = Store::start(dir)?;
    store.ask("PUT", "tradesense-backups-eu")?;
    write(&dir.join("secret/credentials"), CREDENTIALS)?;
    let programs = postgres(dir)?;
    let as_postgres = |program: &str| {
        let mut command = Command::new(program);
        command.uid(user.0).gid(user.1).current_dir(dir).env_clear();
        command.env("PATH", format!("{}:/usr/bin:/bin", programs.display())).env("HOME", dir);
        command.env("AWS_SHARED_CREDENTIALS_FILE", dir.join("secret/credentials")).env("LC_ALL", "C.UTF-8");
        command
    };
    let port = free_port()?;
    let (host, source) = (dir.display().to_string(), "s3://tradesense-backups-eu/");
    said_by(as_postgres("initdb").args([
        "-D",
        "data",
        "-U",
        "postgres",
        "-A",
        "trust",
        "--data-checksums",
        "--no-sync",
    ]))?;
    let archive = format!(
        "archive_command=barman-cloud-wal-archive --gzip --endpoint-url={} {source} tradesense-db %p",
        store.url
    );
    let mut server = as_postgres("postgres");
    server.args(["-D", "data", "-p", &port.to_string(), "-c", "archive_mode=on", "-c", &archive]);
    server.args(["-c", "listen_addresses=127.0.0.1", "-c", &format!("unix_socket_directories={host}")]);
    log_to(&mut server, &dir.join("primary.log"))?;
    let server = Server::start(&mut server)?;
    let reach = ["-h", &host, "-p", &port.to_string(), "-U", "postgres"];
    let up = poll(Duration::from_mins(1), || {
        sleep(Duration::from_millis(100));
        said_by(as_postgres("pg_isready").args(reach)).is_ok().then_some(())
    });
    up.ok_or_else(|| Failure::new("the primary does not come up"))?;
    let sql =
        |text: &str| said_by(as_postgres("psql").args(reach).args(["-XAtq", "-d", "tradesense", "-c", text]));
    said_by(as_postgres("createdb").args(reach).arg("tradesense"))?;

    // A platform's data, a base backup, more data, and the log of it.
    let keys = dir.join("keys");
    let (port_of_up, url) = (free_port()?, format!("postgres://postgres@127.0.0.1:{port}/tradesense"));
    let mut up = command(tradesense()?, dir);
    up.arg("up").arg("--data-dir").arg(&keys).args([
        "--port",
        &port_of_up.to_string(),
        "--database-url",
        &url,
    ]);
    log_to(up.args(["--ops-port", "0", "--analytics-port", "0"]), &dir.join("up.log"))?;
    let mut up = Server::start(&mut up)?;
    if !serves(&mut up, port_of_up) {
        let said = fs::read_to_string(dir.join("up.log")).unwrap_or_default();
        return Err(Failure::new(format!("the platform does not come up: {said}")));
    }
    // Its log of what people do is sealed for the first time.
    sleep(Duration::from_secs(20));
    up.stop()?;
    let endpoint = format!("--endpoint-url={}", store.url);
    said_by(
        as_postgres("barman-cloud-backup")
            .args(["--gzip", "--immediate-checkpoint", &endpoint])
            .args(reach)
            .args([source, "tradesense-db"]),
    )?;
    sql("create table came_after as select now() as at; select pg_switch_wal()")?;
    let segment = sql("select pg_walfile_name(pg_switch_wal())")?;
    let archived = poll(Duration::from_mins(1), || {
        sleep(Duration::from_millis(200));
        let last = sql("select last_archived_wal from pg_stat_archiver").ok()?;
        (last.trim() >= segment.trim()).then_some(())
    });
    archived.ok_or_else(|| Failure::new("the log is not archived"))?;
    server.stop()?;

    give(&keys, (USER, USER))?;
    let room = dir.join("room");
    fs::create_dir_all(&room).map_err(Failure::of("make room"))?;
    give(&room, (USER, USER))?;
    let folders = [
        ("/var/lib/tradesense-keys", keys, false),
        ("/run/secrets/backups", dir.join("secret"), false),
        ("/var/lib/tradesense-drill", room.clone(), true),
    ];
    let mut faults = Vec::new();
    let mut must = |good: bool, what: String| {
        if !good {
            faults.push(format!("CronJob/tradesense-restore-drill: {what}"));
        }
    };
    let tried = |url: &str| -> Outcome<(bool, String)> {
        let env = [("CLOUD_ENDPOINT", url)];
        let mut plan = box_of(dir, image, &store, "tradesense-restore-drill", &folders, &env)?;
        if image.is_some() {
            return ran(dir, plan);
        }
        plan.binds.push((dir.join("postgresql"), "/usr/lib/postgresql".to_owned(), false));
        plan.env.push(("PATH".to_owned(), format!("/usr/lib/{POSTGRES}:{}", path())));
        ran(dir, plan)
    };
    let began = now();
    let (well, said) = tried(&store.url)?;
    must(well, format!("does not end well: {said}"));
    must(said.contains("\"came_after\": 1"), format!("what came after the base backup is not there: {said}"));
    must(said.contains("\"good\": true"), "does not say that all is good".to_owned());
    println!("  restored from the store and judged in {} s", began.elapsed().as_secs());
    let left = fs::read_dir(&room)
        .map_or(0, |entries| entries.flatten().filter(|entry| entry.file_name() != "work").count());
    must(left == 0, format!("{left} things are left in its room"));

    let (well, said) = tried(&store.url.replace("http://", "http://127.0.0.9:9/"))?;
    must(!well, format!("ends well although the store does not answer: {said}"));
    store.rclone(dir, &["purge", ":s3:tradesense-backups-eu/tradesense-db/wals"])?;
    let (well, said) = tried(&store.url)?;
    must(!well, format!("ends well without a log: {said}"));
    Ok(faults)
}
