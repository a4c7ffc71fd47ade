//! A Redis server of a test's own, on a port of its own.

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
}

impl TestRedis {
    /// A server that keeps what it is told on disk, as one in production would.
    pub fn start() -> Self {
        Self::with(&["--appendonly", "yes"])
    }

    /// With further arguments.
    pub fn with(arguments: &[&str]) -> Self {
        let mut server = Self {
            port: free_port(),
            arguments: arguments.iter().map(|argument| (*argument).to_owned()).collect(),
            directory: tempfile::tempdir().expect("a directory can be made"),
            process: None,
        };
        server.restart();
        server
    }

    /// A sentinel with these settings.
    pub fn sentinel(settings: &str) -> Self {
        let directory = tempfile::tempdir().expect("a directory can be made");
        let file = directory.path().join("sentinel.conf");
        std::fs::write(&file, settings).expect("a file can be written");
        let file = file.to_str().expect("the directory of a test has a plain name").to_owned();
        let arguments = vec![file, "--sentinel".to_owned()];
        let mut server = Self { port: free_port(), arguments, directory, process: None };
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
        let asked = Command::new("redis-cli")
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            .args(command)
            .output()
            .expect("redis-cli is installed");
        String::from_utf8_lossy(&asked.stdout).trim().to_owned()
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

/// A port that nobody listens on just now.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("there is a free port");
    listener.local_addr().expect("a listener has an address").port()
}
