//! The life of one private PostgreSQL.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use crate::account::RunAs;
use crate::binaries::Binaries;
use crate::error::{Error, io};
use crate::place::{Lock, Place, remove_tree};
use crate::process::{lives, signal, wait_for, working_in, works_in};

/// The superuser of every private cluster.
const SUPERUSER: &str = "postgres";
/// A start includes the recovery of what a killed server left in its write-ahead log.
const START: Duration = Duration::from_mins(2);
/// A fast shutdown ends every session and writes a checkpoint.
const STOP: Duration = Duration::from_secs(30);
/// How often a free port is looked for again when somebody else took it in between.
const PORT_CHOICES: u8 = 5;

/// What the data is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Kept: as durable as a production server, an acknowledged commit survives a power cut.
    Kept,
    /// Thrown away after the tests: commits are not flushed to the disk, a power cut may ruin the data.
    Disposable,
}

/// How to start a private server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The server's directory. Made on the first start. Run by root in a project where the user `postgres`
    /// may not go, the files lie below /var/lib/tradesense instead; [`Postgres::dir`] says where.
    pub dir: PathBuf,
    /// What the data is worth.
    pub purpose: Purpose,
    /// Where the programs are.
    pub binaries: Binaries,
    /// The TCP port on 127.0.0.1; a free one where `None`.
    pub port: Option<u16>,
}

impl Settings {
    /// Settings with a free port.
    pub fn new(dir: impl Into<PathBuf>, purpose: Purpose, binaries: Binaries) -> Self {
        Self { dir: dir.into(), purpose, binaries, port: None }
    }
}

/// A running private server and the right to stop it. Dropping it stops it.
#[derive(Debug)]
pub struct Postgres {
    place: Place,
    access: Access,
    /// `None` once stopped or left running.
    child: Option<Child>,
    _lock: Lock,
}

/// A server that runs without an owner, see [`Postgres::leave_running`].
#[derive(Debug)]
pub struct Running {
    access: Access,
    pid: u32,
}

#[derive(Debug)]
struct Access {
    port: u16,
    password: String,
}

impl Access {
    fn url(&self, database: &str) -> String {
        format!("postgres://{SUPERUSER}:{}@127.0.0.1:{}/{database}", self.password, self.port)
    }
}

impl Running {
    /// The superuser's URL for a database.
    pub fn url(&self, database: &str) -> String {
        self.access.url(database)
    }

    /// The server's process.
    pub fn pid(&self) -> u32 {
        self.pid
    }
}

impl Postgres {
    /// Starts the server of this directory, making the cluster on the first start, and returns when it
    /// answers. A server left over from a killed owner is stopped first; its data stays.
    pub fn start(settings: &Settings) -> Result<Self, Error> {
        let run_as = RunAs::choose()?;
        let place = Place::of(&settings.dir, run_as)?;
        place.create(run_as)?;
        let lock = place.lock()?;
        stop_left_over(&place.data())?;

        let made_by = made_by(&place.data())?;
        let wanted = made_by.map(|major| (major, place.dir.as_path()));
        let programs = settings.binaries.find(wanted, run_as)?;
        let password = match made_by {
            Some(_) => read_password(&place.password())?,
            None => initialise(&place, &programs, settings.purpose, run_as)?,
        };

        let mut choices = PORT_CHOICES;
        loop {
            choices = choices.saturating_sub(1);
            let port = settings.port.map_or_else(free_port, Ok)?;
            match launch(&place, &programs, settings.purpose, port, run_as) {
                Ok(child) => {
                    let access = Access { port, password };
                    return Ok(Self { place, access, child: Some(child), _lock: lock });
                }
                Err(Error::PortTaken { .. }) if settings.port.is_none() && choices > 0 => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// The superuser's URL for a database. On a fresh cluster only the maintenance database `postgres` is
    /// there. The URL holds the password: do not log it.
    pub fn url(&self, database: &str) -> String {
        self.access.url(database)
    }

    /// The port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.access.port
    }

    /// Where the files really lie: the directory of the settings, or one below /var/lib/tradesense.
    pub fn dir(&self) -> &Path {
        &self.place.dir
    }

    /// The server's log.
    pub fn log(&self) -> PathBuf {
        self.place.log()
    }

    /// The server's process while it has one.
    pub fn pid(&self) -> Option<u32> {
        self.child.as_ref().map(Child::id)
    }

    /// Stops the server: sessions end, everything is flushed. Fails when it had to be killed.
    pub fn stop(mut self) -> Result<(), Error> {
        self.child.take().map_or(Ok(()), |child| stop_child(child, &self.place.data()))
    }

    /// Gives up the right to stop the server and leaves it running: for a developer's database that
    /// outlives the command which started it. [`find`](Self::find) and [`stop_left`](Self::stop_left) reach it.
    pub fn leave_running(mut self) -> Running {
        let pid = self.pid().unwrap_or_default();
        self.child = None;
        Running { access: Access { port: self.access.port, password: self.access.password.clone() }, pid }
    }

    /// The server that runs on this directory, owned or left, if there is one.
    pub fn find(dir: &Path) -> Result<Option<Running>, Error> {
        let place = Place::of(dir, RunAs::choose()?)?;
        let Some(file) = PidFile::read(&place.data()) else { return Ok(None) };
        if !file.is_live(&place.data()) || !file.ready || !answers(file.port) {
            return Ok(None);
        }
        let password = read_password(&place.password())?;
        Ok(Some(Running { access: Access { port: file.port, password }, pid: file.pid }))
    }

    /// Stops the server that was left running on this directory. Says whether there was one.
    pub fn stop_left(dir: &Path) -> Result<bool, Error> {
        let place = Place::of(dir, RunAs::choose()?)?;
        if !place.dir.exists() {
            return Ok(false);
        }
        let _lock = place.lock()?;
        stop_left_over(&place.data())
    }

    /// Removes this directory, stopping a left-over server first. The next start is a first start.
    pub fn erase(dir: &Path) -> Result<(), Error> {
        let place = Place::of(dir, RunAs::choose()?)?;
        if !place.dir.exists() {
            return Ok(());
        }
        let _lock = place.lock()?;
        stop_left_over(&place.data())?;
        remove_tree(&place.dir)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        if let Some(child) = self.child.take() {
            // A drop cannot report; `stop` is there for who wants to know.
            let _reported_by_stop = stop_child(child, &self.place.data());
        }
    }
}

/// Makes the cluster beside its final name, so that a killed `initdb` leaves nothing that looks finished.
fn initialise(place: &Place, programs: &Path, purpose: Purpose, run_as: RunAs) -> Result<String, Error> {
    remove_tree(&place.unfinished())?;
    let password = new_password()?;
    write_password(&place.password(), &password, run_as)?;
    let mut command = server_command(&programs.join("initdb"), place, run_as);
    command
        .arg("--pgdata")
        .arg(place.unfinished())
        .arg("--pwfile")
        .arg(place.password())
        .args(["--username", SUPERUSER, "--encoding", "UTF8", "--locale", "C.UTF-8"])
        .args(["--auth", "scram-sha-256", "--no-instructions"]);
    if purpose == Purpose::Disposable {
        command.arg("--no-sync");
    }
    let out = command.stdin(Stdio::null()).output().map_err(io("run initdb"))?;
    if !out.status.success() {
        let text =
            format!("{}{}", String::from_utf8_lossy(&out.stderr), String::from_utf8_lossy(&out.stdout));
        return Err(Error::Initialise { output: last_lines(&text, 12) });
    }
    let data = place.data();
    fs::rename(place.unfinished(), &data).map_err(io(format!("name {}", data.display())))?;
    Ok(password)
}

/// Starts `postgres` and returns when it answers on its port.
fn launch(
    place: &Place,
    programs: &Path,
    purpose: Purpose,
    port: u16,
    run_as: RunAs,
) -> Result<Child, Error> {
    let log = place.log();
    if log.exists() {
        let previous = log.with_extension("log.previous");
        fs::rename(&log, &previous).map_err(io(format!("keep the last log as {}", previous.display())))?;
    }
    let opened = || io(format!("write {}", log.display()));
    let out = File::create(&log).map_err(opened())?;
    let err = out.try_clone().map_err(opened())?;
    let mut command = server_command(&programs.join("postgres"), place, run_as);
    command.arg("-D").arg(place.data());
    for (name, value) in parameters(purpose, port) {
        command.arg("-c").arg(format!("{name}={value}"));
    }
    // Its own process group: a Ctrl-C in the terminal reaches the owner, who stops the server last.
    command.process_group(0).stdin(Stdio::null()).stdout(out).stderr(err);
    let mut child = command.spawn().map_err(io("start postgres"))?;

    let data = place.data();
    let outcome = wait_for(START, || match child.try_wait() {
        Err(error) => Some(Err(io("look at the postgres process")(error))),
        Ok(Some(status)) => Some(Err(ended(&log, port, &status.to_string()))),
        Ok(None) => {
            let ready = PidFile::read(&data).is_some_and(|file| file.pid == child.id() && file.ready);
            (ready && answers(port)).then_some(Ok(()))
        }
    });
    match outcome {
        Some(Ok(())) => Ok(child),
        Some(Err(error)) => Err(error),
        None => {
            let tail = tail_of(&log);
            stop_child(child, &data)?;
            Err(Error::NotReady { seconds: START.as_secs(), log, tail })
        }
    }
}

/// Every setting is on the command line, so that an old data directory takes up new ones.
fn parameters(purpose: Purpose, port: u16) -> Vec<(&'static str, String)> {
    let mut all = vec![
        ("port", port.to_string()),
        ("listen_addresses", Ipv4Addr::LOCALHOST.to_string()),
        ("unix_socket_directories", String::new()),
        ("password_encryption", "scram-sha-256".into()),
        ("timezone", "UTC".into()),
        ("log_timezone", "UTC".into()),
        ("cluster_name", "tradesense".into()),
    ];
    match purpose {
        Purpose::Kept => all.extend([("max_connections", "100".into()), ("log_checkpoints", "off".into())]),
        Purpose::Disposable => all.extend(
            [
                ("max_connections", "300"),
                ("fsync", "off"),
                ("full_page_writes", "off"),
                ("synchronous_commit", "off"),
                ("wal_level", "minimal"),
                ("max_wal_senders", "0"),
                ("max_wal_size", "4GB"),
            ]
            .map(|(name, value)| (name, value.to_string())),
        ),
    }
    all
}

/// A command that runs as the server's user, in its directory, speaking English in its logs and blind to the
/// settings of somebody's own PostgreSQL.
fn server_command(program: &Path, place: &Place, run_as: RunAs) -> Command {
    let mut command = Command::new(program);
    command.current_dir(&place.dir).env("LC_ALL", "C.UTF-8").env("LC_MESSAGES", "C");
    for name in ["PGDATA", "PGPORT", "PGHOST", "PGUSER", "PGPASSWORD", "PGOPTIONS", "PGDATABASE", "PGTZ"] {
        command.env_remove(name);
    }
    run_as.apply(&mut command);
    command
}

fn ended(log: &Path, port: u16, status: &str) -> Error {
    let tail = tail_of(log);
    if tail.contains("could not bind") && tail.contains("Address already in use") {
        Error::PortTaken { port }
    } else {
        Error::Exited { status: status.to_owned(), log: log.to_path_buf(), tail }
    }
}

/// Fast shutdown, then immediate, then kill. Reaps the process.
fn stop_child(mut child: Child, data: &Path) -> Result<(), Error> {
    let pid = child.id();
    let mut asked = |how, patience| {
        signal(pid, how);
        wait_for(patience, || child.try_wait().ok().flatten()).is_some()
    };
    if asked(Signal::INT, STOP) {
        return Ok(());
    }
    if !asked(Signal::QUIT, STOP) {
        asked(Signal::KILL, STOP);
        for orphan in working_in(data) {
            signal(orphan, Signal::KILL);
        }
    }
    Err(Error::Killed { pid })
}

/// Makes sure that no server works on the data any more. Says whether one did. The caller holds the lock, so
/// the owner of such a server is dead.
fn stop_left_over(data: &Path) -> Result<bool, Error> {
    let Some(file) = PidFile::read(data) else {
        return Ok(false);
    };
    let live = file.is_live(data);
    if live {
        let gone = |how, patience| {
            signal(file.pid, how);
            // It takes its file away as the last thing it does, but not if it is killed. We cannot reap another
            // process's child, so its number may live on for a while.
            wait_for(patience, || (PidFile::read(data).is_none() || !file.is_live(data)).then_some(())).is_some()
        };
        if !gone(Signal::INT, STOP) && !gone(Signal::QUIT, STOP) {
            signal(file.pid, Signal::KILL);
        }
    }
    // Backends of a killed server end by themselves within moments and keep its shared memory until then.
    let ended = wait_for(STOP, || working_in(data).is_empty().then_some(()));
    if ended.is_none() {
        return Err(Error::Killed { pid: file.pid });
    }
    // What is left names a dead process or, its number given out again, a stranger.
    if PidFile::read(data).is_some() && works_in(file.pid, data) == Some(false) {
        let path = PidFile::path(data);
        fs::remove_file(&path).map_err(io(format!("remove {}", path.display())))?;
    }
    Ok(live)
}

/// PostgreSQL's own note about its running server.
struct PidFile {
    pid: u32,
    port: u16,
    ready: bool,
}

impl PidFile {
    fn path(data: &Path) -> PathBuf {
        data.join("postmaster.pid")
    }

    /// `None` where there is none, or where it is still being written.
    fn read(data: &Path) -> Option<Self> {
        Self::parse(&fs::read_to_string(Self::path(data)).ok()?)
    }

    /// Lines: process, data directory, start, port, socket directory, address, shared memory, status.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim);
        let pid = lines.next()?.parse().ok()?;
        let port = lines.nth(2).and_then(|port| port.parse().ok()).unwrap_or_default();
        let ready = lines.nth(3) == Some("ready");
        Some(Self { pid, port, ready })
    }

    /// Whether its process lives and works on this data; a number that now belongs to another program is not.
    fn is_live(&self, data: &Path) -> bool {
        lives(self.pid) && works_in(self.pid, data).unwrap_or(true)
    }
}

/// Whether a PostgreSQL answers on the port: its reply to a request for TLS is one letter.
fn answers(port: u16) -> bool {
    const TLS_REQUEST: [u8; 8] = [0, 0, 0, 8, 4, 210, 22, 47];
    let ask = || -> std::io::Result<u8> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(2)))?;
        stream.write_all(&TLS_REQUEST)?;
        let mut reply = [0];
        stream.read_exact(&mut reply)?;
        let [letter] = reply;
        Ok(letter)
    };
    matches!(ask(), Ok(b'S' | b'N'))
}

fn free_port() -> Result<u16, Error> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(io("find a free port on 127.0.0.1"))
}

/// The major version that made the data; `None` where there is none yet.
fn made_by(data: &Path) -> Result<Option<u32>, Error> {
    let path = data.join("PG_VERSION");
    match fs::read_to_string(&path) {
        Ok(text) => Ok(text.trim().parse().ok()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(io(format!("read {}", path.display()))(error)),
    }
}

/// 24 random bytes as hexadecimal digits: safe in a URL as they are.
fn new_password() -> Result<String, Error> {
    let mut bytes = [0_u8; 24];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(io("read /dev/urandom"))?;
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 0xf]);
    Ok(digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect())
}

fn write_password(path: &Path, password: &str, run_as: RunAs) -> Result<(), Error> {
    let operation = || format!("write {}", path.display());
    match fs::remove_file(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        other => other.map_err(io(operation()))?,
    }
    let mut file =
        File::options().create_new(true).write(true).mode(0o600).open(path).map_err(io(operation()))?;
    file.write_all(password.as_bytes()).map_err(io(operation()))?;
    run_as.give(path)
}

fn read_password(path: &Path) -> Result<String, Error> {
    match fs::read_to_string(path) {
        Ok(text) => Ok(text.trim().to_owned()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Err(Error::NoPassword { path: path.to_path_buf() })
        }
        Err(error) => Err(io(format!("read {}", path.display()))(error)),
    }
}

fn tail_of(log: &Path) -> String {
    let bytes = fs::read(log).unwrap_or_default();
    last_lines(&String::from_utf8_lossy(&bytes), 12)
}

fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let from = lines.len().saturating_sub(count);
    lines.get(from..).unwrap_or_default().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pid_file_is_ready_only_by_its_last_line() {
        let starting = "77\n/d\n1700000000\n5433\n\n127.0.0.1\n 1 2\nstarting\n";
        let file = PidFile::parse(starting).unwrap();
        assert_eq!((file.pid, file.port, file.ready), (77, 5433, false));
        let ready = starting.replace("starting", "ready   ");
        assert!(PidFile::parse(&ready).unwrap().ready);
        assert!(!PidFile::parse("77\n/d\n").unwrap().ready);
        assert!(PidFile::parse("").is_none());
    }

    #[test]
    fn a_port_without_a_postgresql_does_not_answer() {
        assert!(!answers(free_port().unwrap()));
    }

    #[test]
    fn passwords_differ_and_fit_a_url() {
        let (one, two) = (new_password().unwrap(), new_password().unwrap());
        assert_ne!(one, two);
        assert_eq!(one.len(), 48);
        assert!(one.chars().all(|c| c.is_ascii_hexdigit()));
    }
}
