//! A database for one test.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::str::FromStr;
use std::sync::atomic::{AtomicU32, Ordering};

use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use store::Store;

/// The superuser's URL of a server that tests may fill with databases; `cargo xtask test` sets it.
const SERVER: &str = "TRADESENSE_TEST_DATABASE_URL";

/// A database of its own with every migration applied. Dropped, it is removed from the server.
#[derive(Debug)]
pub struct TestDatabase {
    server: String,
    name: String,
}

impl TestDatabase {
    /// Clones the template, making it first if this schema has none yet. Panics where there is no server.
    pub async fn new() -> Self {
        let template =
            format!("ts_template_{}", Store::schema().get(..16).expect("a schema's name has 64 digits"));
        let server = server();
        let mut connection = PgConnection::connect(&server).await.expect("the test server answers");
        make_template(&mut connection, &server, &template).await;
        connection.close().await.expect("a connection closes");
        Self::made(server, &format!("template {template}")).await
    }

    async fn made(server: String, from: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("ts_test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let mut connection = PgConnection::connect(&server).await.expect("the test server answers");
        // What a killed run under the same process number has left.
        run(&mut connection, &format!("drop database if exists {name} with (force)")).await;
        run(&mut connection, &format!("create database {name} {from}")).await;
        connection.close().await.expect("a connection closes");
        Self { server, name }
    }

    /// Everything in it as SQL, as a backup has it.
    pub fn dump(&self) -> String {
        let out = Command::new("pg_dump").arg("--dbname").arg(self.url()).output().expect("pg_dump starts");
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
        String::from_utf8(out.stdout).expect("a dump is text")
    }

    /// Another database on the same server, restored from such a backup.
    pub async fn restored(dump: &str) -> Self {
        let restored = Self::made(server(), "template template0").await;
        let mut psql = Command::new("psql")
            .args(["--quiet", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", "--output", "/dev/null", "--dbname"])
            .arg(restored.url())
            .stdin(Stdio::piped())
            .spawn()
            .expect("psql starts");
        psql.stdin.take().expect("a pipe").write_all(dump.as_bytes()).expect("psql reads");
        assert!(psql.wait().expect("psql ends").success(), "the dump was not restored");
        restored
    }

    /// The superuser's URL of this database.
    pub fn url(&self) -> String {
        with_database(&self.server, &self.name)
    }

    /// The URL of a login that may do what a running platform may, and no more.
    pub async fn login_url(&self) -> String {
        Store::ensure_login(&self.url(), "an open secret").await.expect("the login is made")
    }

    /// A connection that no policy binds, to look at what was written.
    pub async fn superuser(&self) -> PgConnection {
        PgConnection::connect(&self.url()).await.expect("the test database answers")
    }

    /// Ends every connection to it, in the middle of whatever they do. Gives how many there were.
    pub async fn cut_connections(&self) -> i64 {
        let mut connection = PgConnection::connect(&self.server).await.expect("the test server answers");
        sqlx::query_scalar("select count(pg_terminate_backend(pid)) from pg_stat_activity where datname = $1")
            .bind(&self.name)
            .fetch_one(&mut connection)
            .await
            .expect("the superuser may end connections")
    }

    /// A connection under one of the roles of the schema.
    pub async fn role(&self, role: &str) -> PgConnection {
        let mut connection = self.superuser().await;
        run(&mut connection, &format!("set role {role}")).await;
        connection
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let (server, name) = (self.server.clone(), self.name.clone());
        // A drop cannot wait, and the test's own runtime may be ending.
        let removal = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut connection = PgConnection::connect(&server).await.unwrap();
                // Its login belongs to the cluster and would stay.
                let login: Option<String> = sqlx::query_scalar(
                    "select rolname::text from pg_roles join pg_database on rolname = 'tradesense_login_' || pg_database.oid
                     where datname = $1",
                )
                .bind(&name)
                .fetch_optional(&mut connection)
                .await
                .unwrap();
                run(&mut connection, &format!("drop database if exists {name} with (force)")).await;
                if let Some(login) = login {
                    run(&mut connection, &format!("drop role {login}")).await;
                }
            });
        });
        let removed = removal.join().is_ok();
        assert!(removed || std::thread::panicking(), "a test database could not be removed");
    }
}

/// Made under another name first: a template that was left half made is never cloned.
async fn make_template(connection: &mut PgConnection, server: &str, template: &str) {
    // Released when this connection closes, whatever happens.
    run(connection, "select pg_advisory_lock(718281828)").await;
    let exists: bool = sqlx::query_scalar("select exists (select from pg_database where datname = $1)")
        .bind(template)
        .fetch_one(&mut *connection)
        .await
        .expect("the catalogue is readable");
    if !exists {
        let unfinished = format!("{template}_new");
        run(connection, &format!("drop database if exists {unfinished} with (force)")).await;
        run(connection, &format!("create database {unfinished}")).await;
        Store::migrate(&with_database(server, &unfinished)).await.expect("the migrations apply");
        run(connection, &format!("alter database {unfinished} rename to {template}")).await;
    }
    run(connection, "select pg_advisory_unlock(718281828)").await;
}

async fn run(connection: &mut PgConnection, sql: &str) {
    if let Err(error) = connection.execute(AssertSqlSafe(sql.to_owned())).await {
        panic!("{sql}: {error}");
    }
}

/// The server named by the environment, or the one that `cargo xtask db up` left running.
fn server() -> String {
    #[expect(clippy::disallowed_methods, reason = "where the test server is concerns no part that ships")]
    if let Ok(url) = std::env::var(SERVER) {
        assert!(PgConnectOptions::from_str(&url).is_ok(), "{SERVER} is not the URL of a database");
        return url;
    }
    let development = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/dev-db");
    match embedded::Postgres::find(&development) {
        Ok(Some(running)) => running.url("postgres"),
        Ok(None) | Err(_) => panic!(
            "tests need a PostgreSQL: run them by `cargo xtask test`, or `cargo xtask db up` once before `cargo test`"
        ),
    }
}

/// The same server, another database.
fn with_database(url: &str, name: &str) -> String {
    let (rest, query) =
        url.split_once('?').map_or((url, String::new()), |(rest, query)| (rest, format!("?{query}")));
    let (server, _) = rest.rsplit_once('/').expect("the URL names a database");
    format!("{server}/{name}{query}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_database_of_a_url_changes() {
        assert_eq!(with_database("postgres://a:b@h:1/postgres", "x"), "postgres://a:b@h:1/x");
        assert_eq!(
            with_database("postgres://h/postgres?sslmode=disable", "x"),
            "postgres://h/x?sslmode=disable"
        );
    }
}
