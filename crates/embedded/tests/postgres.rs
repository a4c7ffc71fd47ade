//! Real servers, started and stopped in the ways users and accidents do.
#![expect(clippy::unwrap_used, reason = "the helpers of a test fail it")]

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

use embedded::{Binaries, Error, Postgres, Purpose, Settings};
use tempfile::TempDir;

/// A directory that the server's user can reach also when the tests run as root.
fn open_dir() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn settings(dir: &Path) -> Settings {
    let binaries = Binaries::search(std::env::var_os("PATH").as_deref(), &[]);
    Settings::new(dir.join("pg"), Purpose::Disposable, binaries)
}

/// What a statement gives, through the ordinary client.
fn sql(url: &str, statement: &str) -> String {
    let quiet = ["-X", "-A", "-t", "-v", "ON_ERROR_STOP=1"];
    let out = Command::new("psql").args(quiet).args(["-d", url, "-c", statement]).output().unwrap();
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

fn kill(signal: &str, pid: u32) {
    assert!(Command::new("kill").args([signal, &pid.to_string()]).status().unwrap().success());
}

#[test]
fn data_survives_a_clean_stop_and_the_port_is_silent_afterwards() {
    let dir = open_dir();
    let server = Postgres::start(&settings(dir.path())).unwrap();
    let url = server.url("postgres");
    assert_eq!(sql(&url, "show server_encoding"), "UTF8");
    assert_eq!(sql(&url, "show fsync"), "off");
    sql(&url, "create table t as select 7 as n");
    let port = server.port();
    server.stop().unwrap();
    drop(TcpListener::bind(("127.0.0.1", port)).unwrap());

    let kept = Settings { purpose: Purpose::Kept, ..settings(dir.path()) };
    let server = Postgres::start(&kept).unwrap();
    assert_eq!(sql(&server.url("postgres"), "select n from t"), "7");
    assert_eq!(sql(&server.url("postgres"), "show fsync"), "on");
    assert_eq!(sql(&server.url("postgres"), "show synchronous_commit"), "on");
}

#[test]
fn only_the_password_opens_it_and_others_cannot_read_it() {
    let dir = open_dir();
    let server = Postgres::start(&settings(dir.path())).unwrap();
    let url = server.url("postgres");
    let (credentials, address) = url.rsplit_once('@').unwrap();
    let (user, _) = credentials.rsplit_once(':').unwrap();
    let wrong = format!("{user}:guess@{address}");
    let out = Command::new("psql").args(["-X", "-w", "-d", &wrong, "-c", "select 1"]).output().unwrap();
    assert!(!out.status.success());
    assert!(String::from_utf8_lossy(&out.stderr).contains("password authentication failed"));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&server.dir().join("password")), 0o600);
    assert_eq!(mode(server.dir()), 0o700);
    assert_eq!(sql(&url, "show unix_socket_directories"), "");
    assert_eq!(sql(&url, "show listen_addresses"), "127.0.0.1");
}

#[test]
fn a_second_owner_is_refused_and_told_who_the_first_is() {
    let dir = open_dir();
    let first = Postgres::start(&settings(dir.path())).unwrap();
    let refused = Postgres::start(&settings(dir.path())).unwrap_err();
    assert!(matches!(refused, Error::InUse { .. }), "{refused}");
    assert!(refused.to_string().contains(&format!("process {}", std::process::id())), "{refused}");
    assert!(matches!(Postgres::erase(&settings(dir.path()).dir), Err(Error::InUse { .. })));
    assert_eq!(sql(&first.url("postgres"), "select 1"), "1");
}

#[test]
fn a_server_left_by_a_dead_owner_is_found_and_then_taken_over_with_its_data() {
    let dir = open_dir();
    let settings = settings(dir.path());
    assert!(Postgres::find(&settings.dir).unwrap().is_none());
    let server = Postgres::start(&settings).unwrap();
    sql(&server.url("postgres"), "create table t as select 7 as n");
    let left = server.leave_running();
    let found = Postgres::find(&settings.dir).unwrap().unwrap();
    assert_eq!((found.pid(), found.url("x")), (left.pid(), left.url("x")));

    let server = Postgres::start(&settings).unwrap();
    assert_ne!(server.pid(), Some(left.pid()));
    assert_eq!(sql(&server.url("postgres"), "select n from t"), "7");
    let left = server.leave_running();
    assert!(Postgres::stop_left(&settings.dir).unwrap());
    assert!(!Path::new(&format!("/proc/{}/cwd", left.pid())).exists());
    assert!(!Postgres::stop_left(&settings.dir).unwrap());
}

#[test]
fn a_killed_server_with_busy_sessions_keeps_what_it_acknowledged() {
    let dir = open_dir();
    let settings = Settings { purpose: Purpose::Kept, ..settings(dir.path()) };
    let server = Postgres::start(&settings).unwrap();
    let url = server.url("postgres");
    sql(&url, "create table t as select 7 as n");
    let mut busy =
        Command::new("psql").args(["-X", "-d", &url, "-c", "select pg_sleep(60)"]).spawn().unwrap();
    while sql(
        &url,
        "select count(*) from pg_stat_activity where query like '%pg_sleep%' and pid <> pg_backend_pid()",
    ) != "1"
    {}
    kill("-KILL", server.pid().unwrap());
    drop(server);

    let server = Postgres::start(&settings).unwrap();
    assert_eq!(sql(&server.url("postgres"), "select n from t"), "7");
    assert!(!busy.wait().unwrap().success());
}

#[test]
fn a_stale_note_that_names_a_stranger_does_not_stop_the_start_nor_the_stranger() {
    let dir = open_dir();
    let settings = settings(dir.path());
    let server = Postgres::start(&settings).unwrap();
    let data = server.dir().join("data");
    server.stop().unwrap();
    let note =
        format!("{}\n{}\n1700000000\n5432\n\n127.0.0.1\n\nready\n", std::process::id(), data.display());
    fs::write(data.join("postmaster.pid"), note).unwrap();
    assert!(Postgres::find(&settings.dir).unwrap().is_none());
    let server = Postgres::start(&settings).unwrap();
    assert_eq!(sql(&server.url("postgres"), "select 1"), "1");
}

#[test]
fn erased_data_is_gone_and_the_next_start_is_a_first_start() {
    let dir = open_dir();
    let settings = settings(dir.path());
    let server = Postgres::start(&settings).unwrap();
    let before = server.url("postgres");
    sql(&before, "create table t as select 7 as n");
    // As a killed owner would leave it.
    server.leave_running();
    Postgres::erase(&settings.dir).unwrap();
    assert!(!settings.dir.exists());
    let server = Postgres::start(&settings).unwrap();
    assert_eq!(sql(&server.url("postgres"), "select to_regclass('t') is null"), "t");
    assert_ne!(server.url("postgres"), before);
}

#[test]
fn a_taken_port_is_named() {
    let dir = open_dir();
    let taken = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let wanted = Settings { port: Some(port), ..settings(dir.path()) };
    let refused = Postgres::start(&wanted).unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!("port {port} on 127.0.0.1 is taken by another program; choose another port")
    );
    drop(taken);
    let server = Postgres::start(&wanted).unwrap();
    assert_eq!(server.port(), port);
}

#[test]
fn data_of_another_major_version_is_refused_by_name() {
    let dir = open_dir();
    let settings = settings(dir.path());
    let server = Postgres::start(&settings).unwrap();
    let version = server.dir().join("data/PG_VERSION");
    server.stop().unwrap();
    fs::write(&version, "9\n").unwrap();
    let refused = Postgres::start(&settings).unwrap_err().to_string();
    assert!(refused.contains("made by PostgreSQL 9"), "{refused}");
}

#[test]
fn the_log_names_the_cause_when_the_server_cannot_start() {
    let dir = open_dir();
    let settings = settings(dir.path());
    let server = Postgres::start(&settings).unwrap();
    let config = server.dir().join("data/postgresql.conf");
    server.stop().unwrap();
    fs::write(&config, "no_such_setting = 1\n").unwrap();
    let refused = Postgres::start(&settings).unwrap_err().to_string();
    assert!(refused.contains("unrecognized configuration parameter \"no_such_setting\""), "{refused}");
}

#[test]
fn a_project_below_a_private_directory_works_for_root_too() {
    let closed = tempfile::tempdir().unwrap();
    fs::set_permissions(closed.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let settings = settings(closed.path());
    let server = Postgres::start(&settings).unwrap();
    assert_eq!(sql(&server.url("postgres"), "select 1"), "1");
    let dir = server.dir().to_path_buf();
    server.stop().unwrap();
    // Only root's server must lie elsewhere; an ordinary user's own directory is private to the right one.
    let by_root = fs::metadata(closed.path()).unwrap().uid() == 0;
    let expected = if by_root { Path::new("/var/lib/tradesense") } else { closed.path() };
    assert!(dir.starts_with(expected), "{}", dir.display());
    Postgres::erase(&settings.dir).unwrap();
    assert!(!dir.exists());
}
