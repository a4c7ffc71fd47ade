//! A primary and two replicas that stream from it.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on stops")]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use app::identity::{Identity, Password, Person, Registration};
use app::privacy::Vault;
use app::{AppError, Context, Role};
use kernel::{FirmId, RequestId, Timestamp};
use sqlx::{Connection as _, Executor as _, PgConnection};
use store::{NewFirm, Settings, Store};
use testkit::{PASSWORD, START, free_port, instruments};

/// A server of this test in a directory of its own.
pub struct Server {
    data: PathBuf,
    pub port: u16,
}

/// Where Debian keeps the programs, the newest first.
fn programs() -> PathBuf {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .unwrap()
        .map(|entry| entry.unwrap().path().join("bin"))
        .filter(|bin| bin.join("pg_basebackup").is_file())
        .collect();
    found.sort();
    found.pop().unwrap()
}

/// Runs one of PostgreSQL's programs, as the unprivileged user when we are root.
fn run(program: &str, args: &[&str]) {
    let file = programs().join(program);
    let is_root = fs::metadata("/proc/self").unwrap().uid() == 0;
    let mut command = if is_root { Command::new("runuser") } else { Command::new(&file) };
    if is_root {
        command.args(["-u", "postgres", "--"]).arg(&file);
    }
    // A server that is started keeps what it inherits: nobody may wait for its output.
    let status = command
        .args(args)
        .current_dir("/")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(status.unwrap().success(), "{program} {args:?} failed");
}

impl Server {
    fn primary(dir: &Path) -> Self {
        let server = Self { data: dir.join("primary"), port: free_port() };
        run("initdb", &["-D", server.text(), "-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8"]);
        server.start();
        server
    }

    fn replica(&self, dir: &Path, name: &str) -> Self {
        let server = Self { data: dir.join(name), port: free_port() };
        let port = self.port.to_string();
        let from = ["-h", "127.0.0.1", "-p", &port, "-U", "postgres", "-D", server.text()];
        run("pg_basebackup", &[from.as_slice(), &["-R", "-X", "stream", "-c", "fast", "--no-sync"]].concat());
        server.start();
        server
    }

    fn text(&self) -> &str {
        self.data.to_str().unwrap()
    }

    pub fn start(&self) {
        let mut settings =
            fs::OpenOptions::new().append(true).open(self.data.join("postgresql.conf")).unwrap();
        let port = self.port;
        write!(
            settings,
            "\nlisten_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\nfsync = off\n\
             wal_level = replica\nmax_connections = 60\nshared_buffers = '16MB'\nwal_receiver_status_interval = '100ms'\n"
        )
        .unwrap();
        let log = self.data.join("log.txt");
        run("pg_ctl", &["-D", self.text(), "-w", "-t", "60", "-l", log.to_str().unwrap(), "start"]);
    }

    pub fn stop(&self) {
        run("pg_ctl", &["-D", self.text(), "-w", "-m", "immediate", "stop"]);
    }

    /// The number of the process whose death is the server's.
    pub fn postmaster(&self) -> i32 {
        let text = fs::read_to_string(self.data.join("postmaster.pid")).unwrap();
        text.lines().next().unwrap().trim().parse().unwrap()
    }

    pub fn promote(&self) {
        run("pg_ctl", &["-D", self.text(), "-w", "promote"]);
    }

    /// Follows these settings from now on, and lets in whom these lines of `pg_hba.conf` let in.
    pub fn follow(&self, settings: &str, who: &str) {
        let mut all = fs::OpenOptions::new().append(true).open(self.data.join("postgresql.conf")).unwrap();
        all.write_all(settings.as_bytes()).unwrap();
        fs::write(self.data.join("pg_hba.conf"), who).unwrap();
        run("pg_ctl", &["-D", self.text(), "reload"]);
    }

    pub fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    pub async fn tell(&self, sql: &'static str) {
        let mut connection = PgConnection::connect(&self.url("postgres")).await.unwrap();
        connection.execute(sql).await.unwrap();
    }
}

/// All servers, gone with the test.
pub struct Servers {
    dir: PathBuf,
    pub primary: Server,
    pub one: Server,
    pub two: Server,
}

/// One server, gone with the test.
pub struct Alone {
    dir: PathBuf,
    pub server: Server,
}

impl Alone {
    pub fn start(name: &str) -> Self {
        let dir = directory(name);
        let server = Server::primary(&dir);
        Self { dir, server }
    }

    /// A file that only the server's user may read.
    pub fn keep(&self, name: &str, text: &str) -> PathBuf {
        let file = self.dir.join(name);
        fs::write(&file, text).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        hand_over(&file);
        file
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        self.server.stop();
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// A directory of the user that servers run as.
fn directory(name: &str) -> PathBuf {
    let dir = std::env::temp_dir().join(format!("tradesense-{name}-{}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    hand_over(&dir);
    dir
}

fn hand_over(path: &Path) {
    if fs::metadata("/proc/self").unwrap().uid() == 0 {
        let owned = Command::new("chown").arg("postgres").arg(path).status().unwrap();
        assert!(owned.success());
    }
}

impl Servers {
    pub fn start(name: &str) -> Self {
        let dir = directory(name);
        let primary = Server::primary(&dir);
        let one = primary.replica(&dir, "one");
        let two = primary.replica(&dir, "two");
        Self { dir, primary, one, two }
    }
}

impl Servers {
    /// A firm on the primary, and the platform's login there.
    pub async fn platform(&self) -> (FirmId, String) {
        self.primary.tell("create database platform").await;
        platform(&self.primary.url("platform")).await
    }
}

/// A firm in an empty database of this owner, and the platform's login there.
pub async fn platform(owner: &str) -> (FirmId, String) {
    Store::migrate(owner).await.unwrap();
    let new = NewFirm { slug: "one".into(), name: "One".into(), domains: Vec::new() };
    let firm = Store::ensure_firm(owner, &new, Timestamp::parse(START).unwrap()).await.unwrap();
    (firm, Store::ensure_login(owner, "an open secret").await.unwrap())
}

/// A store as the platform has it, under a login.
pub async fn store_under(login: &str, vault: Vault) -> Arc<Store> {
    let settings =
        Settings { app_connections: 8, ..Settings::of_a_command(login.to_owned(), instruments(), vault) };
    Arc::new(Store::connect(&settings).await.unwrap())
}

/// The person of this number registers.
pub async fn register(identity: &Identity, firm: FirmId, number: usize) -> Result<Person, AppError> {
    let registration = Registration {
        email: format!("person-{number}@one.example"),
        password: Password::new(PASSWORD),
        display_name: format!("Person {number}"),
        region: None,
    };
    let request = RequestId::derived(&[&number.to_be_bytes()]);
    let context = Context { firm, actor: None, request };
    identity.ensure_person(&context, registration, vec![Role::Trader]).await
}

impl Drop for Servers {
    fn drop(&mut self) {
        for server in [&self.one, &self.two, &self.primary] {
            // One of them may be stopped already.
            let stopped = std::panic::catch_unwind(|| server.stop());
            drop(stopped);
        }
        drop(fs::remove_dir_all(&self.dir));
    }
}

/// The platform's login with a port in place of the primary's.
pub fn at(login: &str, from: &Server, to: &Server) -> String {
    let (from, to) = (format!(":{}/", from.port), format!(":{}/", to.port));
    assert!(login.contains(&from));
    login.replace(&from, &to)
}
