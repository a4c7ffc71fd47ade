//! Reads from real streaming replicas that are stopped, late and promoted while somebody reads: no error, and nobody misses
//! what they have written.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on stops")]

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use app::identity::{Cost, Identity, Password, Registration};
use app::{Context, Role};
use kernel::{FirmId, ManualClock, PersonId, RequestId, SeededRng, Span, Timestamp};
use sqlx::{Connection as _, Executor as _, PgConnection};
use store::{Health, NewFirm, Replicas, Settings, Store, Token, analytics};
use testkit::{PASSWORD, START, free_port, instruments};

/// A server of this test in a directory of its own.
struct Server {
    data: PathBuf,
    port: u16,
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

    fn start(&self) {
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

    fn stop(&self) {
        run("pg_ctl", &["-D", self.text(), "-w", "-m", "immediate", "stop"]);
    }

    fn promote(&self) {
        run("pg_ctl", &["-D", self.text(), "-w", "promote"]);
    }

    fn url(&self, database: &str) -> String {
        format!("postgres://postgres@127.0.0.1:{}/{database}", self.port)
    }

    async fn tell(&self, sql: &'static str) {
        let mut connection = PgConnection::connect(&self.url("postgres")).await.unwrap();
        connection.execute(sql).await.unwrap();
    }
}

/// All servers, gone with the test.
struct Servers {
    dir: PathBuf,
    primary: Server,
    one: Server,
    two: Server,
}

impl Servers {
    fn start() -> Self {
        let dir = std::env::temp_dir().join(format!("tradesense-replicas-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        if fs::metadata("/proc/self").unwrap().uid() == 0 {
            let owned = Command::new("chown").arg("postgres").arg(&dir).status().unwrap();
            assert!(owned.success());
        }
        let primary = Server::primary(&dir);
        let one = primary.replica(&dir, "one");
        let two = primary.replica(&dir, "two");
        Self { dir, primary, one, two }
    }
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
fn at(login: &str, from: &Server, to: &Server) -> String {
    let (from, to) = (format!(":{}/", from.port), format!(":{}/", to.port));
    assert!(login.contains(&from));
    login.replace(&from, &to)
}

struct Stage {
    firm: FirmId,
    clock: Arc<ManualClock>,
    store: Arc<Store>,
    identity: Identity,
    replicas: Replicas,
    people: AtomicUsize,
    reads: AtomicUsize,
}

impl Stage {
    /// Somebody registers, and whoever carries the token sees them.
    async fn write_and_read(&self) {
        let (person, token) = self.write().await;
        assert!(self.sees(person, Some(token)).await, "a read behind one's own write");
        // Without a token the answer may be older, but there is one.
        self.sees(person, None).await;
        self.reads.fetch_add(1, Ordering::SeqCst);
    }

    async fn write(&self) -> (PersonId, Token) {
        let number = self.people.fetch_add(1, Ordering::SeqCst);
        let registration = Registration {
            email: format!("person-{number}@one.example"),
            password: Password::new(PASSWORD),
            display_name: format!("Person {number}"),
            region: None,
        };
        let at = Timestamp::parse(START).unwrap();
        let request = RequestId::derived(&[&number.to_be_bytes()]);
        let context = Context { firm: self.firm, actor: None, request };
        let person = self.identity.ensure_person(&context, registration, vec![Role::Trader]).await.unwrap();
        assert_eq!(person.created_at.max(at), person.created_at);
        (person.id, self.store.consistency_token().await.unwrap())
    }

    async fn sees(&self, person: PersonId, token: Option<Token>) -> bool {
        let work = self.replicas.read(
            self.firm,
            token,
            Box::new(move |tx| {
                Box::pin(async move {
                    // Long enough that servers go away in the middle of it.
                    tokio::time::sleep(Duration::from_millis(3)).await;
                    analytics::sealed_names(tx, &[person]).await
                })
            }),
        );
        let (names, _) = work.await.unwrap();
        !names.is_empty()
    }

    async fn health(&self, replica: usize, wanted: Health) {
        for _ in 0..300 {
            self.replicas.check().await;
            let health = self.replicas.health().get(replica).unwrap().1;
            if health == wanted {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("replica {replica} never was {wanted:?}: {:?}", self.replicas.health());
    }

    /// Waits until so many more reads have gone well.
    async fn more_reads(&self, more: usize) {
        let from = self.reads.load(Ordering::SeqCst);
        for _ in 0..1_200 {
            if self.reads.load(Ordering::SeqCst).saturating_sub(from) >= more {
                return;
            }
            tokio::time::sleep(Duration::from_millis(25)).await;
        }
        panic!("reading stands still");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nobody_misses_their_own_write_while_replicas_stop_lag_and_are_promoted() {
    let servers = tokio::task::spawn_blocking(Servers::start).await.unwrap();
    servers.primary.tell("create database platform").await;
    let url = servers.primary.url("platform");
    Store::migrate(&url).await.unwrap();
    let new = NewFirm { slug: "one".into(), name: "One".into(), domains: Vec::new() };
    let firm = Store::ensure_firm(&url, &new, Timestamp::parse(START).unwrap()).await.unwrap();
    let login = Store::ensure_login(&url, "an open secret").await.unwrap();
    let settings = Settings {
        url: login.clone(),
        instruments: instruments(),
        app_connections: 8,
        engine_connections: 1,
        worker_connections: 1,
        vault: testkit::vault(),
    };
    let store = Arc::new(Store::connect(&settings).await.unwrap());
    let clock = Arc::new(ManualClock::new(Timestamp::parse(START).unwrap()));
    let cost = Cost { memory: 64, passes: 1, lanes: 1 };
    let rng = Arc::new(SeededRng::new(1));
    let urls = [at(&login, &servers.primary, &servers.one), at(&login, &servers.primary, &servers.two)];
    let stage = Arc::new(Stage {
        firm,
        identity: Identity::new(store.clone(), clock.clone(), rng, 2, cost),
        replicas: Replicas::new(store.clone(), &urls, 8, clock.clone()).unwrap(),
        store,
        clock,
        people: AtomicUsize::new(0),
        reads: AtomicUsize::new(0),
    });
    // Nobody was looked at yet: the primary answers.
    stage.write_and_read().await;
    assert_eq!(stage.replicas.served().0, 0);
    stage.health(0, Health::Serving).await;
    stage.health(1, Health::Serving).await;

    let stop = Arc::new(AtomicBool::new(false));
    let mut readers = Vec::new();
    for _ in 0..3 {
        let (stage, stop) = (Arc::clone(&stage), Arc::clone(&stop));
        readers.push(tokio::spawn(async move {
            while !stop.load(Ordering::SeqCst) {
                stage.write_and_read().await;
            }
        }));
    }
    stage.more_reads(30).await;
    let (from_replicas, _) = stage.replicas.served();
    assert!(from_replicas > 20, "replicas serve: {:?}", stage.replicas.served());

    // One is stopped in the middle of everything, and comes back.
    let blocking = |work: fn(&Servers), servers: Servers| {
        tokio::task::spawn_blocking(move || {
            work(&servers);
            servers
        })
    };
    let servers = blocking(|servers| servers.one.stop(), servers).await.unwrap();
    stage.more_reads(60).await;
    stage.health(0, Health::Away).await;
    stage.health(1, Health::Serving).await;
    let servers = blocking(|servers| servers.one.start(), servers).await.unwrap();
    stage.health(0, Health::Serving).await;

    // One stops replaying: whoever carries a token does not get it, and after a while nobody does.
    servers.two.tell("select pg_wal_replay_pause()").await;
    stage.more_reads(60).await;
    stage.replicas.check().await;
    stage.clock.advance(Span::from_seconds(6));
    stage.health(1, Health::Late).await;
    stage.health(0, Health::Serving).await;
    let (person, _) = stage.write().await;
    for _ in 0..100 {
        if stage.sees(person, None).await {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    for _ in 0..20 {
        assert!(stage.sees(person, None).await, "a late replica does not serve");
    }
    servers.two.tell("select pg_wal_replay_resume()").await;
    stage.health(1, Health::Serving).await;

    // One is promoted while it is read: its history is its own from there on.
    let servers = blocking(|servers| servers.one.promote(), servers).await.unwrap();
    stage.more_reads(60).await;
    stage.health(0, Health::Promoted).await;
    stage.health(1, Health::Serving).await;
    let before = stage.replicas.served().0;
    stage.more_reads(30).await;
    assert!(stage.replicas.served().0 > before, "the other one still serves");
    stop.store(true, Ordering::SeqCst);
    for reader in readers {
        reader.await.unwrap();
    }
    drop(tokio::task::spawn_blocking(move || drop(servers)).await);
}
