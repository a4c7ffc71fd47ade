//! A database for one test.

use std::path::Path;
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
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let server = server();
        let template =
            format!("ts_template_{}", Store::schema().get(..16).expect("a schema's name has 64 digits"));
        let name = format!("ts_test_{}_{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst));
        let mut connection = PgConnection::connect(&server).await.expect("the test server answers");
        make_template(&mut connection, &server, &template).await;
        // What a killed run under the same process number has left.
        run(&mut connection, &format!("drop database if exists {name} with (force)")).await;
        run(&mut connection, &format!("create database {name} template {template}")).await;
        connection.close().await.expect("a connection closes");
        Self { server, name }
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
