//! An installation of several processes over a PostgreSQL and a Redis of its own, every one of which may be killed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use embedded::{Binaries, Postgres, Purpose};
use tempfile::TempDir;
use testkit::{Disk, FaultProxy, TestRedis, free_port};

use super::client::{client, wait_for_market};

/// The processes, each a role and a name.
pub const PROCESSES: [(&str, &str); 7] = [
    ("api", "api-1"),
    ("api", "api-2"),
    ("engine", "engine-1"),
    ("engine", "engine-2"),
    ("worker", "worker-1"),
    ("worker", "worker-2"),
    ("analytics", "analytics-1"),
];

/// A process of the installation.
#[derive(Debug)]
pub struct Member {
    pub role: &'static str,
    pub name: &'static str,
    port: u16,
    ops_port: u16,
    child: Option<Child>,
}

/// The disks of an installation, each of a bounded size.
#[derive(Debug)]
pub struct Disks {
    /// The database's tables.
    pub tables: Disk,
    /// Its write-ahead log.
    pub wal: Disk,
    pub redis: Disk,
    /// Everything that the members write: their copies of the quote log.
    pub members: Disk,
}

impl Disks {
    fn mount() -> Option<Self> {
        // Room for what a whole run writes, between two checkpoints and two rewritings too: they are full when they are filled.
        let (tables, wal) = (Disk::mount(768)?, Disk::mount(768)?);
        Some(Self { tables, wal, redis: Disk::mount(512)?, members: Disk::mount(256)? })
    }
}

/// The library by which a program is given another time of day, from Debian's package `libfaketime`.
fn faketime() -> Option<PathBuf> {
    let machine = format!("{}-linux-gnu", std::env::consts::ARCH);
    let library = Path::new("/usr/lib").join(machine).join("faketime/libfaketime.so.1");
    library.exists().then_some(library)
}

/// The installation.
#[derive(Debug)]
pub struct Cluster {
    postgres: Option<Postgres>,
    settings: embedded::Settings,
    pub redis: TestRedis,
    /// The link of every member to the database.
    pub to_postgres: FaultProxy,
    /// The link of every member to Redis.
    pub to_redis: FaultProxy,
    pub members: Vec<Member>,
    /// The platform's login.
    login: String,
    /// None where nobody may mount.
    pub disks: Option<Disks>,
    /// None where the library is not installed.
    faketime: Option<PathBuf>,
    directory: TempDir,
}

impl Cluster {
    /// Starts everything and waits until quotes come to every API.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = std::env::var_os("PATH");
        let binaries = Binaries::search(path.as_deref(), &[]);
        let disks = Disks::mount();
        let place = disks.as_ref().map_or(directory.path(), |disks| disks.tables.path());
        let settings = embedded::Settings::new(place.join("postgres"), Purpose::Kept, binaries);
        let settings = embedded::Settings { port: Some(free_port()), ..settings };
        let mut postgres = Postgres::start(&settings).unwrap();
        if let Some(disks) = &disks {
            postgres.stop().unwrap();
            move_and_link(&place.join("postgres/data/pg_wal"), &disks.wal.path().join("pg_wal"));
            postgres = Postgres::start(&settings).unwrap();
        }
        let owner = postgres.url("postgres");
        let migrate =
            tradesense(&["migrate", "--login-password", "an open secret", "--database-url", &owner]);
        let to_postgres = FaultProxy::start(postgres.port());
        let direct = format!(":{}/", postgres.port());
        let login = migrate.lines().last().unwrap().replace(&direct, &format!(":{}/", to_postgres.port()));
        let redis = disks.as_ref().map_or_else(TestRedis::start, |disks| TestRedis::on(disks.redis.path()));
        let to_redis = FaultProxy::start(redis.port());
        tradesense(&["demo", "--database-url", &owner, "--data-dir", directory.path().to_str().unwrap()]);
        let members = PROCESSES.map(|(role, name)| Member {
            role,
            name,
            port: free_port(),
            ops_port: free_port(),
            child: None,
        });
        let mut cluster = Self {
            postgres: Some(postgres),
            settings,
            redis,
            to_postgres,
            to_redis,
            members: members.into(),
            login,
            disks,
            faketime: faketime(),
            directory,
        };
        for place in 0..cluster.members.len() {
            cluster.set_clock(cluster.members[place].name, 0);
            cluster.start_member(place);
        }
        for base in cluster.bases() {
            cluster.wait_until_ready(&base).await;
            wait_for_market(&client(), &base).await;
        }
        cluster
    }

    /// Where the logins are.
    pub fn data(&self) -> &Path {
        self.directory.path()
    }

    /// Where a member keeps what is its own.
    pub fn data_of(&self, name: &str) -> PathBuf {
        let disk = self.disks.as_ref().map_or(self.directory.path(), |disks| disks.members.path());
        disk.join(name)
    }

    /// The owner's URL of the database.
    pub fn owner_url(&self) -> String {
        self.postgres.as_ref().unwrap().url("postgres")
    }

    /// Where the APIs listen.
    pub fn bases(&self) -> Vec<String> {
        let apis = self.members.iter().filter(|member| member.role == "api");
        apis.map(|member| format!("http://127.0.0.1:{}", member.port)).collect()
    }

    /// Where boards and statistics are served.
    pub fn analytics(&self) -> String {
        format!("http://127.0.0.1:{}", self.members[self.place("analytics-1")].port)
    }

    /// The place of a member.
    pub fn place(&self, name: &str) -> usize {
        self.members.iter().position(|member| member.name == name).unwrap()
    }

    /// Starts a member that does not run.
    pub fn start_member(&mut self, place: usize) {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.directory.path().join(format!("{}.log", self.members[place].name)))
            .unwrap();
        let data = self.data_of(self.members[place].name);
        let redis = format!("redis://127.0.0.1:{}", self.to_redis.port());
        let disguise = self.faketime.as_ref().map(|library| {
            let clock = self.clock_of(self.members[place].name);
            [
                ("LD_PRELOAD", library.clone()),
                ("FAKETIME_TIMESTAMP_FILE", clock),
                ("FAKETIME_CACHE_DURATION", "1".into()),
                ("DONT_FAKE_MONOTONIC", "1".into()),
                ("NO_FAKE_STAT", "1".into()),
            ]
        });
        let disguise = disguise.into_iter().flatten();
        let member = &mut self.members[place];
        assert!(member.child.is_none(), "{} runs", member.name);
        let child = Command::new(env!("CARGO_BIN_EXE_tradesense"))
            .args([member.role, "--demo", "--shards", "4", "--speed", "5", "--connections", "4"])
            .args(["--port", &member.port.to_string(), "--ops-port", &member.ops_port.to_string()])
            .args(["--analytics-port", &member.port.to_string()])
            .arg("--data-dir")
            .arg(data)
            .arg("--keys-dir")
            .arg(self.directory.path())
            .env("DATABASE_URL", &self.login)
            .env("REDIS_URL", redis)
            .env("TRADESENSE_LOG", "info")
            .stdout(Stdio::null())
            .stderr(log)
            .envs(disguise)
            .spawn()
            .unwrap();
        member.child = Some(child);
    }

    /// Whether [`Cluster::set_clock`] has an effect.
    pub fn has_clocks(&self) -> bool {
        self.faketime.is_some()
    }

    /// Sets the time of day of a member off by so many seconds, within a second.
    pub fn set_clock(&self, name: &str, off: i64) {
        let next = self.directory.path().join("clock.next");
        std::fs::write(&next, format!("{off:+}\n")).unwrap();
        std::fs::rename(next, self.clock_of(name)).unwrap();
    }

    /// The time of day of a member, as its answers carry it.
    pub async fn time_of_day(&self, name: &str) -> jiff::Timestamp {
        let url = format!("http://127.0.0.1:{}/health/live", self.members[self.place(name)].ops_port);
        let answer = client().get(url).send().await.unwrap();
        let date = answer.headers()["date"].to_str().unwrap();
        jiff::fmt::rfc2822::parse(date).unwrap().timestamp()
    }

    fn clock_of(&self, name: &str) -> PathBuf {
        self.directory.path().join(format!("{name}.clock"))
    }

    /// Kills a member as a power cut would.
    pub fn kill(&mut self, place: usize) {
        if let Some(mut child) = self.members[place].child.take() {
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    /// Asks a member to end, and waits until it has; whether it ended well.
    pub async fn terminate(&mut self, place: usize) -> bool {
        self.signal(place, "-TERM");
        let mut child = self.members[place].child.take().unwrap();
        for _ in 0..2_000 {
            if let Some(status) = child.try_wait().unwrap() {
                return status.success();
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        false
    }

    /// Sends a signal to a member.
    pub fn signal(&self, place: usize, signal: &str) {
        let pid = self.members[place].child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Kills the database as a power cut would, and starts it again.
    pub fn kill_postgres(&mut self) {
        let pid = self.postgres.take().unwrap().leave_running().pid().to_string();
        // Stopped first, so that it has no more children after they were counted.
        let stopped = Command::new("kill").args(["-STOP", &pid]).status().unwrap();
        assert!(stopped.success(), "the database was there");
        // With its children: left alone they would go on for a while, and nothing could start beside them.
        let children = Command::new("pgrep").args(["-P", &pid]).output().unwrap();
        let children = String::from_utf8(children.stdout).unwrap();
        let mut kill = Command::new("kill");
        kill.args(["-KILL", &pid]).args(children.split_whitespace()).stderr(Stdio::null());
        // One of them may have ended meanwhile.
        let _ended = kill.status().unwrap();
        self.start_postgres();
    }

    /// Waits until the database answers; starts it again if it has ended, as whoever watches over it would.
    pub async fn revive_postgres(&mut self) {
        for _ in 0..20 {
            if Postgres::find(&self.settings.dir).unwrap().is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(250)).await;
        }
        drop(self.postgres.take());
        self.start_postgres();
    }

    fn start_postgres(&mut self) {
        // A child may hold the shared memory for a moment longer.
        let mut last = None;
        for _ in 0..100 {
            last = Some(Postgres::start(&self.settings));
            if let Some(Ok(_)) = &last {
                break;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.postgres = Some(last.unwrap().unwrap());
    }

    /// What a member wrote into its log.
    pub fn log_of(&self, name: &str) -> String {
        std::fs::read_to_string(self.directory.path().join(format!("{name}.log"))).unwrap_or_default()
    }

    /// Waits until an API answers.
    pub async fn wait_until_ready(&self, base: &str) {
        for _ in 0..3_000 {
            let ready = client().get(format!("{base}/health/ready")).send().await;
            if ready.is_ok_and(|ready| ready.status() == 200) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let logs: Vec<String> = self
            .members
            .iter()
            .map(|member| format!("{}:\n{}", member.name, self.log_of(member.name)))
            .collect();
        panic!("{base} is not ready\n{}", logs.join("\n"));
    }
}

impl Drop for Cluster {
    #[expect(clippy::print_stdout, reason = "what happened is in the logs, which go with the directory")]
    fn drop(&mut self) {
        for place in 0..self.members.len() {
            self.kill(place);
            if std::thread::panicking() || std::env::var_os("CLUSTER_LOGS").is_some() {
                let name = self.members[place].name;
                let log = self.log_of(name);
                let lines: Vec<&str> = log.lines().collect();
                let tail = lines[lines.len().saturating_sub(25)..].join("\n");
                println!("the end of the log of {name}:\n{tail}\n");
            }
        }
    }
}

/// Moves a directory to another disk and leaves a link to it.
fn move_and_link(from: &Path, to: &Path) {
    assert!(Command::new("mv").args([from, to]).status().unwrap().success());
    std::os::unix::fs::symlink(to, from).unwrap();
}

/// Runs a one-shot command and gives what it printed.
fn tradesense(arguments: &[&str]) -> String {
    let ran = Command::new(env!("CARGO_BIN_EXE_tradesense")).args(arguments).output().unwrap();
    assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}
