//! An installation of several processes over a PostgreSQL and a Redis of its own, every one of which may be killed.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use embedded::{Binaries, Postgres, Purpose};
use tempfile::TempDir;
use testkit::{FaultProxy, TestRedis, free_port};

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
    directory: TempDir,
}

impl Cluster {
    /// Starts everything and waits until quotes come to every API.
    pub async fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = std::env::var_os("PATH");
        let binaries = Binaries::search(path.as_deref(), &[]);
        let settings = embedded::Settings::new(directory.path().join("postgres"), Purpose::Kept, binaries);
        let settings = embedded::Settings { port: Some(free_port()), ..settings };
        let postgres = Postgres::start(&settings).unwrap();
        let owner = postgres.url("postgres");
        let migrate =
            tradesense(&["migrate", "--login-password", "an open secret", "--database-url", &owner]);
        let to_postgres = FaultProxy::start(postgres.port());
        let direct = format!(":{}/", postgres.port());
        let login = migrate.lines().last().unwrap().replace(&direct, &format!(":{}/", to_postgres.port()));
        let redis = TestRedis::start();
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
            directory,
        };
        for place in 0..cluster.members.len() {
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
        self.directory.path().join(name)
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
            .spawn()
            .unwrap();
        member.child = Some(child);
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
        // With its children: left alone they would go on for a while, and nothing could start beside them.
        let children = Command::new("pgrep").args(["-P", &pid]).output().unwrap();
        let children = String::from_utf8(children.stdout).unwrap();
        let mut kill = Command::new("kill");
        kill.args(["-KILL", &pid]).args(children.split_whitespace()).stderr(Stdio::null());
        // One of them may have ended meanwhile.
        let _ended = kill.status().unwrap();
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

/// Runs a one-shot command and gives what it printed.
fn tradesense(arguments: &[&str]) -> String {
    let ran = Command::new(env!("CARGO_BIN_EXE_tradesense")).args(arguments).output().unwrap();
    assert!(ran.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&ran.stderr));
    String::from_utf8(ran.stdout).unwrap()
}
