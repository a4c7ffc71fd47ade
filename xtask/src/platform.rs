//! A running platform for the journey and for the bare-system check: its start, its directory, its port.

use std::fs;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::machine::target;
use crate::process::{Server, command, interrupted, log_to, poll};
use crate::{Failure, Outcome};

/// A first start makes a database cluster and its demo data.
const FIRST_START: Duration = Duration::from_mins(3);

/// `tradesense up` with everything of its own below a directory; returns when it is ready to serve.
pub(crate) fn start(dir: &Path, port: u16, log: &Path) -> Outcome<Server> {
    let mut up = command(target()?.join("debug/tradesense"), dir);
    up.arg("up").arg("--data-dir").arg(dir.join("data")).arg("--port").arg(port.to_string());
    up.args(["--ops-port", "0", "--analytics-port", "0"]);
    log_to(&mut up, log)?;
    let mut server = Server::start(&mut up)?;
    if serves(&mut server, port) {
        return Ok(server);
    }
    let said = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = said.lines().collect();
    let tail = lines.get(lines.len().saturating_sub(20)..).unwrap_or_default().join("\n");
    Err(Failure::new(format!("`tradesense up` did not become ready; it said\n{tail}")))
}

/// Waits until a process says on its port that it is ready to serve; false if it ends before, or takes too long.
pub(crate) fn serves(server: &mut Server, port: u16) -> bool {
    let ready = poll(FIRST_START, || {
        if server.ended() || interrupted() { Some(false) } else { is_ready(port).then_some(true) }
    });
    ready == Some(true)
}

/// Whether the platform says that it is ready to serve.
pub(crate) fn is_ready(port: u16) -> bool {
    let ask = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        write!(stream, "GET /health/ready HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
        let mut reply = [0_u8; 12];
        stream.read_exact(&mut reply)?;
        Ok(reply.ends_with(b" 200"))
    };
    ask().unwrap_or(false)
}

pub(crate) fn free_port() -> Outcome<u16> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))
        .and_then(|listener| listener.local_addr())
        .map(|address| address.port())
        .map_err(Failure::of("find a free port"))
}

/// A directory of our own outside the source tree, where a server's user can go too; removed with its owner.
pub(crate) struct Scratch {
    dir: PathBuf,
}

impl Scratch {
    pub(crate) fn new(name: &str) -> Outcome<Self> {
        let dir = std::env::temp_dir().join(format!("tradesense-{name}-{}", std::process::id()));
        let made = fs::DirBuilder::new().mode(0o755).create(&dir);
        made.map_err(Failure::of(format!("create {}", dir.display())))?;
        Ok(Self { dir })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.dir) {
            eprintln!("xtask: {} was not removed: {error}", self.dir.display());
        }
    }
}
