//! Redis servers of a test's own, on ports of their own.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

/// A server that ends with the value. What it is told at its start stays so across its deaths.
#[derive(Debug)]
pub struct TestRedis {
    port: u16,
    arguments: Vec<String>,
    directory: TempDir,
    process: Option<Child>,
    /// Who its tests are to it, where it asks.
    login: Option<[&'static str; 2]>,
}

impl TestRedis {
    /// A server that keeps what it is told on disk, as one in production would.
    pub fn start() -> Self {
        Self::with(&["--appendonly", "yes"])
    }

    /// With further arguments.
    pub fn with(arguments: &[&str]) -> Self {
        Self::asking(arguments, None)
    }

    fn asking(arguments: &[&str], login: Option<[&'static str; 2]>) -> Self {
        let mut server = Self {
            port: free_port(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            directory: tempfile::tempdir().expect("a directory can be made"),
            process: None,
            login,
        };
        server.restart();
        server
    }

    fn sentinel(settings: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let file = directory.path().join("sentinel.conf");
        std::fs::write(&file, settings).expect("a file can be written");
        let file = file.to_str().expect("the directory of a test has a plain name").to_owned();
        let arguments = vec![file, "--sentinel".to_owned()];
        let mut server = Self { port: free_port(), arguments, directory, process: None, login: None };
        server.restart();
        server
    }

    /// One that keeps what it is told on a disk of the caller's.
    pub fn on(disk: &std::path::Path) -> Self {
        let disk = disk.to_str().expect("the directory of a test has a plain name");
        Self::with(&["--appendonly", "yes", "--dir", disk])
    }

    /// Starts it again where it was killed.
    pub fn restart(&mut self) {
        self.kill();
        let port = self.port.to_string();
        let mut command = Command::new("redis-server");
        // A file of settings comes first.
        let (file, arguments) = self.arguments.split_at(usize::from(self.is_sentinel()));
        command.args(file).args(["--port", &port, "--bind", "127.0.0.1", "--loglevel", "warning", "--dir"]);
        command.arg(self.directory.path()).args(arguments).stdout(Stdio::null()).stderr(Stdio::null());
        if !self.is_sentinel() {
            command.args(["--save", ""]);
        }
        self.process = Some(command.spawn().expect("redis-server is installed"));
        // Twenty seconds.
        let answers = (0..1_000).any(|_| {
            std::thread::sleep(Duration::from_millis(20));
            self.ask(&["ping"]) == "PONG"
        });
        assert!(answers, "the Redis server does not answer");
    }

    fn is_sentinel(&self) -> bool {
        self.arguments.iter().any(|argument| argument == "--sentinel")
    }

    /// Ends it as a power cut would.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself.
            drop(process.kill());
            drop(process.wait());
        }
    }

    /// It answers nobody and hears nothing, as on a machine that hangs. It ends with the value all the same.
    pub fn pause(&self) {
        self.signal("-STOP");
    }

    /// It goes on where it was paused.
    pub fn go_on(&self) {
        self.signal("-CONT");
    }

    fn signal(&self, signal: &str) {
        let process = self.process.as_ref().expect("the server runs").id().to_string();
        let sent = Command::new("kill").args([signal, &process]).status().expect("kill can be run");
        assert!(sent.success(), "the server has ended by itself");
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Its URL.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Gives it a command by `redis-cli` and gives what that prints.
    pub fn ask(&self, command: &[&str]) -> String {
        let mut cli = Command::new("redis-cli");
        cli.args(["-h", "127.0.0.1", "-p", &self.port.to_string()]);
        if let Some([name, password]) = self.login {
            cli.args(["--no-auth-warning", "--user", name, "--pass", password]);
        }
        let asked = cli.args(command).output().expect("redis-cli is installed");
        String::from_utf8_lossy(&asked.stdout).trim().to_owned()
    }

    /// What it says of itself in a section, under a word.
    pub fn says(&self, section: &str, word: &str) -> Option<String> {
        let all = self.ask(&["info", section]);
        let mut lines = all.lines().filter_map(|line| line.trim().split_once(':'));
        lines.find(|(name, _)| *name == word).map(|(_, said)| said.to_owned())
    }

    /// It forgets everything.
    pub fn flush(&self) {
        assert_eq!(self.ask(&["flushall"]), "OK");
    }
}

impl Drop for TestRedis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// What a server of the queue is told in Kubernetes.
const SETTINGS: &str = include_str!("../../../deployment/kubernetes/components/valkey/files/queue.conf");
/// Who may do what there.
const SECRETS: &str = include_str!("../../../deployment/kubernetes/overlays/dev/foundation/secrets.yaml");
/// Everybody's password in place of the one for development; parts of it mean something in a URL.
const PASSWORD: &str = "a/b@c:d%e";
const IN_A_URL: &str = "a%2Fb%40c%3Ad%25e";

/// A server, replicas of it and three sentinels that promote one of these when it is away, with the settings and users of
/// `deployment/kubernetes`, but that the sentinels wait for one second and not for five.
#[derive(Debug)]
pub struct TestSentinels {
    /// The first one begins as the primary.
    pub servers: Vec<TestRedis>,
    /// Two of them must agree.
    pub sentinels: Vec<TestRedis>,
    _users: TempDir,
}

impl TestSentinels {
    /// Comes back once the servers follow and the sentinels know each other and all of them.
    pub fn start(replicas: usize) -> Self {
        let users = tempfile::tempdir().expect("a directory can be made");
        let file = users.path().join("users.acl");
        let listed = SECRETS.lines().map(str::trim).skip_while(|line| *line != "users.acl: |").skip(1);
        let listed = listed.take_while(|line| line.starts_with("user "));
        // Tests look at what the platform may not.
        let mut listed: Vec<String> =
            listed.map(|user| user.replace("only-for-development", PASSWORD)).collect();
        listed.push(format!("user test on >{PASSWORD} ~* &* +@all\n"));
        std::fs::write(&file, listed.join("\n")).expect("a file can be written");
        let file = file.to_str().expect("the directory of a test has a plain name");
        // Where files lie and how pods are called is another matter here.
        let elsewhere = |name: &&str| !["dir", "aclfile", "save", "replica-announce-port"].contains(name);
        let mut told = vec!["--aclfile".to_owned(), file.to_owned()];
        for line in SETTINGS.lines().filter(|line| !line.starts_with('#')) {
            let mut words = line.split_whitespace();
            if let Some(name) = words.next().filter(elsewhere) {
                told.push(format!("--{name}"));
                told.extend(words.map(str::to_owned));
            }
        }
        let mut arguments: Vec<&str> = told.iter().map(String::as_str).collect();
        // A primary that nobody follows takes nothing.
        arguments.extend([
            "--min-replicas-to-write",
            "1",
            "--masteruser",
            "replica",
            "--masterauth",
            PASSWORD,
        ]);
        let login = Some(["test", PASSWORD]);
        let mut servers = vec![TestRedis::asking(&arguments, login)];
        let primary = format!("127.0.0.1 {}", servers[0].port());
        arguments.extend(["--replicaof", &primary]);
        servers.extend((0..replicas).map(|_| TestRedis::asking(&arguments, login)));
        // A sentinel writes into its settings, so they must be a file.
        let settings = format!(
            "sentinel monitor queue {primary} 2\nsentinel down-after-milliseconds queue 1000\n\
             sentinel failover-timeout queue 5000\nsentinel parallel-syncs queue 1\n\
             sentinel auth-user queue sentinel\nsentinel auth-pass queue {PASSWORD}\n"
        );
        // Each finds the replicas that the primary names when it starts.
        let followed = || {
            let online = servers[0].says("replication", "min_slaves_good_slaves");
            online.is_some_and(|online| online == replicas.to_string())
        };
        assert!(within_thirty_seconds(followed), "the replicas do not follow");
        let sentinels: Vec<TestRedis> = (0..3).map(|_| TestRedis::sentinel(&settings)).collect();
        let started = Self { servers, sentinels, _users: users };
        let acquainted = || {
            let counts = |sentinel: &TestRedis, word| known(sentinel, word);
            started.sentinels.iter().all(|sentinel| {
                counts(sentinel, "num-slaves") == Some(replicas.to_string())
                    && counts(sentinel, "num-other-sentinels").as_deref() == Some("2")
            })
        };
        assert!(within_thirty_seconds(acquainted), "the sentinels do not find each other");
        started
    }

    /// What clients are told.
    pub fn url(&self) -> String {
        let hosts = self.sentinels.iter().map(|sentinel| format!("127.0.0.1:{}", sentinel.port()));
        format!("redis+sentinel://tradesense:{IN_A_URL}@{}/queue", hosts.collect::<Vec<_>>().join(","))
    }

    /// Whether a sentinel takes a replica for one that is down.
    pub fn down(&self, sentinel: usize, replica: &TestRedis) -> bool {
        let all = self.sentinels[sentinel].ask(&["sentinel", "replicas", "queue"]);
        let name = format!("127.0.0.1:{}", replica.port());
        let mut words = all.lines().skip_while(|line| *line != name).skip_while(|line| *line != "flags");
        words.nth(1).is_some_and(|flags| flags.contains("s_down"))
    }
}

/// What a sentinel knows of the primary, under a word.
fn known(sentinel: &TestRedis, word: &str) -> Option<String> {
    let all = sentinel.ask(&["sentinel", "master", "queue"]);
    all.lines().skip_while(|line| *line != word).nth(1).map(str::to_owned)
}

fn within_thirty_seconds(mut true_now: impl FnMut() -> bool) -> bool {
    (0..600).any(|_| {
        let now = true_now();
        if !now {
            std::thread::sleep(Duration::from_millis(50));
        }
        now
    })
}

/// A port that nobody listens on just now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("there is a free port");
    listener.local_addr().expect("a listener has an address").port()
}
