//! Connections, roles and transactions.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use app::AppError;
use app::privacy::Vault;
use engine::Instruments;
use kernel::{AccountId, Clock, FirmId, Span, Timestamp};
use rules::{Program, VersionHash};
use sha2::{Digest, Sha256};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{
    AssertSqlSafe, ConnectOptions, Connection, Executor, PgConnection, PgPool, Postgres, Transaction,
};
use url::Url;

use crate::error::Doing;
use crate::jobs::Marks;
use crate::read::Owner;
use crate::replicas::Place;
use crate::row::At;
use crate::{Inconsistent, StoreError, row, scram};

/// Versions never change, so each is read once. Beyond this many the memory starts anew.
const MOST_PROGRAMS: usize = 4_096;

/// Whose an account is never changes either, so that each owner is read once. Beyond this many the memory starts anew.
const MOST_OWNERS: usize = 200_000;

/// How long a migration waits for a lock, and how often it is tried.
const LOCK_WAIT: (&str, &str) = ("lock_timeout", "1s");
const LOCK_TRIES: u32 = 60;
const BETWEEN_TRIES: Duration = Duration::from_secs(1);

/// For a transaction of the role of shards that reads whole tables: what its other statements must not do is right there.
pub(crate) const WHOLE_TABLES: &str = "set local enable_seqscan = on; set local enable_hashjoin = on; set local enable_mergejoin = on; \
     set local statement_timeout = '15min'";

/// Those of a later program may have been there before: whoever goes back to this one finds them.
static MIGRATIONS: LazyLock<Migrator> = LazyLock::new(|| {
    let mut migrations = sqlx::migrate!("./migrations");
    migrations.set_ignore_missing(true);
    migrations
});

/// The last migration of the oldest program that works with this schema: raised with a migration that takes something away
/// from programs before it. Those before 24 know purchases by other words.
const OLDEST_PROGRAM: i64 = 24;

/// How far a machine's clock may be from the database's. Networks keep them within milliseconds; a second is no accident.
pub const MOST_CLOCK_DIFFERENCE: Span = Span::from_seconds(2);

/// How to reach the database.
#[derive(Debug, Clone)]
pub struct Settings {
    /// A login that is a member of `tradesense_app`, `tradesense_engine` and `tradesense_worker`, such as [`Store::ensure_login`] gives.
    /// Holds a password: do not log it.
    pub url: String,
    /// Rows name instruments by symbol, the engine by place in this table.
    pub instruments: Arc<Instruments>,
    /// The most connections for use cases and screens.
    pub app_connections: u32,
    /// The most connections for shards.
    pub engine_connections: u32,
    /// The most connections for carrying messages and jobs.
    pub worker_connections: u32,
    /// Seals and opens who people are.
    pub vault: Vault,
}

impl Settings {
    /// For a command that works by itself: one connection for each role.
    pub fn of_a_command(url: String, instruments: Arc<Instruments>, vault: Vault) -> Self {
        Self { url, instruments, app_connections: 1, engine_connections: 1, worker_connections: 1, vault }
    }
}

/// The open store. Implements the ports of `app`.
pub struct Store {
    pub(crate) app: PgPool,
    pub(crate) engine: PgPool,
    pub(crate) worker: PgPool,
    pub(crate) instruments: Arc<Instruments>,
    programs: Mutex<BTreeMap<(FirmId, VersionHash), Arc<Program>>>,
    owners: Mutex<BTreeMap<(FirmId, AccountId), Owner>>,
    pub(crate) marks: Marks,
    pub(crate) place: Place,
    pub(crate) vault: Vault,
}

/// A transaction that sees and writes one firm. Dropped without a commit, it is rolled back.
#[must_use = "a transaction does nothing unless it is committed"]
pub struct Tx {
    inner: Transaction<'static, Postgres>,
    firm: FirmId,
}

/// Proof that a transaction is durable.
#[derive(Debug)]
#[must_use = "speak to the world only with the proof in hand"]
pub struct Committed {
    _private: (),
}

/// A tenant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Firm {
    /// Its id.
    pub id: FirmId,
    /// Its name in addresses and settings.
    pub slug: String,
    /// Its name for people.
    pub name: String,
}

/// A tenant to be set up.
#[derive(Debug, Clone)]
pub struct NewFirm {
    /// Lower-case letters, digits and hyphens, at most 32; the id follows from it.
    pub slug: String,
    /// 1 to 80 characters.
    pub name: String,
    /// The host names it answers to, in lower case.
    pub domains: Vec<String>,
}

impl fmt::Debug for Store {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Store").finish_non_exhaustive()
    }
}

impl fmt::Debug for Tx {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tx").field("firm", &self.firm).finish_non_exhaustive()
    }
}

/// A login of the owner's, after all migrations. They never wait long for a lock: everybody who comes later would wait behind them.
async fn migrated(url: &str) -> Result<PgConnection, StoreError> {
    let options = PgConnectOptions::from_str(url).map_err(StoreError::Connect)?.options([LOCK_WAIT]);
    let mut owner = PgConnection::connect_with(&options).await.map_err(StoreError::Connect)?;
    refuse_later_schema(schema_of(&mut owner).await?)?;
    MIGRATIONS.run(&mut owner).await.map_err(StoreError::Migrate)?;
    Ok(owner)
}

/// The last migration of a database, and the last one of the oldest program that works with it. A database without the table is
/// older than that.
async fn schema_of(login: &mut PgConnection) -> Result<Option<(i64, i64)>, StoreError> {
    let found = sqlx::query!("select version, oldest from schema_version").fetch_optional(login).await;
    match found {
        Err(sqlx::Error::Database(error)) if error.code().as_deref() == Some("42P01") => Ok(None),
        found => Ok(found.map_err(StoreError::Schema)?.map(|found| (found.version, found.oldest))),
    }
}

/// Refuses a database that is no longer made for this program.
fn refuse_later_schema(found: Option<(i64, i64)>) -> Result<(), StoreError> {
    let ours = newest_migration();
    match found {
        Some((_, oldest)) if oldest > ours => Err(StoreError::SchemaTooNew { ours, oldest }),
        _ => Ok(()),
    }
}

/// Whether a migration ended only because somebody else held a lock.
fn did_not_get_a_lock(error: &MigrateError) -> bool {
    let (MigrateError::Execute(cause) | MigrateError::ExecuteMigration(cause, _)) = error else {
        return false;
    };
    // lock_not_available, deadlock_detected
    let code = cause.as_database_error().and_then(sqlx::error::DatabaseError::code);
    matches!(code.as_deref(), Some("55P03" | "40P01"))
}

impl Store {
    /// Brings the schema up to date, beside whoever works with it. The login must own the database or be a superuser, and be allowed to create
    /// roles the first time.
    pub async fn migrate(url: &str) -> Result<(), StoreError> {
        let mut tries = 1;
        let mut owner = loop {
            match migrated(url).await {
                Ok(owner) => break owner,
                Err(StoreError::Migrate(error)) if tries < LOCK_TRIES && did_not_get_a_lock(&error) => {
                    tracing::warn!(tries, %error, "others hold what a migration needs: it is tried again");
                    tries = tries.saturating_add(1);
                    tokio::time::sleep(BETWEEN_TRIES).await;
                }
                Err(error) => return Err(error),
            }
        };
        sqlx::query!(
            "insert into schema_version (version, oldest) values ($1, $2)
             on conflict on constraint schema_version_key do update
             set version = greatest(schema_version.version, excluded.version),
                 oldest = greatest(schema_version.oldest, excluded.oldest)",
            newest_migration(),
            OLDEST_PROGRAM,
        )
        .execute(&mut owner)
        .await
        .map_err(StoreError::Schema)?;
        owner.close().await.map_err(StoreError::Connect)
    }

    /// A name of the schema that this program migrates to: 64 hex digits over all migrations.
    pub fn schema() -> String {
        let mut hash = Sha256::new();
        for migration in MIGRATIONS.iter() {
            hash.update(migration.version.to_be_bytes());
            hash.update(&migration.checksum);
        }
        hex::encode(hash.finalize())
    }

    /// Refuses a clock that differs from the database's by more than [`MOST_CLOCK_DIFFERENCE`]. For any login of the platform.
    pub async fn check_clock(url: &str, clock: &dyn Clock) -> Result<(), StoreError> {
        let mut login = engine_connection(url).await?;
        let before = clock.now();
        let theirs = sqlx::query_scalar!(r#"select clock_timestamp() as "at!: At""#)
            .fetch_one(&mut login)
            .await
            .map_err(StoreError::Connect)?;
        let theirs = Timestamp::from(theirs);
        let after = clock.now();
        login.close().await.map_err(StoreError::Connect)?;
        // It was read between the two.
        let difference = if theirs < before { theirs.since(before) } else { theirs.max(after).since(after) };
        match difference {
            Ok(off) if off.micros().abs() <= MOST_CLOCK_DIFFERENCE.micros() => Ok(()),
            Ok(off) => Err(StoreError::Clock(off)),
            Err(_) => Err(StoreError::Clock(Span::from_micros(i64::MAX))),
        }
    }

    /// Refuses a database whose schema is older than this program, or no longer made for it. For any login of the platform.
    pub async fn check_schema(url: &str) -> Result<(), StoreError> {
        let mut login = engine_connection(url).await?;
        let found = schema_of(&mut login).await?;
        login.close().await.map_err(StoreError::Connect)?;
        refuse_later_schema(found)?;
        let (ours, found) = (newest_migration(), found.map_or(0, |(version, _)| version));
        if found >= ours { Ok(()) } else { Err(StoreError::SchemaTooOld { ours, found }) }
    }

    /// Every firm with the time at which it was set up. For any login of the platform.
    pub async fn firms(url: &str) -> Result<Vec<(FirmId, Timestamp)>, StoreError> {
        let mut login = engine_connection(url).await?;
        let firms =
            sqlx::query!(r#"select firm_id, created_at as "created_at: At" from firms order by created_at"#)
                .fetch_all(&mut login)
                .await
                .map_err(StoreError::Firm)?;
        login.close().await.map_err(StoreError::Connect)?;
        Ok(firms.into_iter().map(|row| (FirmId::from_uuid(row.firm_id), row.created_at.0)).collect())
    }

    /// Opens one pool for each role and takes one connection, so that a wrong URL shows at once.
    pub async fn connect(settings: &Settings) -> Result<Self, StoreError> {
        let app = pool(&settings.url, "set role tradesense_app", settings.app_connections, true, &[]).await?;
        // Its statements find rows by key only. On a young database the server would read whole tables instead,
        // because they are small when a session first plans, and stay with that until they are analysed. Where whole
        // tables are read (`WHOLE_TABLES`) it may.
        // Rows of a batch wait in the server's memory, also those of a market that falls.
        let by_key = [
            ("enable_seqscan", "off"),
            ("enable_hashjoin", "off"),
            ("enable_mergejoin", "off"),
            ("work_mem", "64MB"),
        ];
        let engine =
            pool(&settings.url, "set role tradesense_engine", settings.engine_connections, false, &by_key)
                .await?;
        let worker =
            pool(&settings.url, "set role tradesense_worker", settings.worker_connections, true, &[]).await?;
        let instruments = Arc::clone(&settings.instruments);
        Ok(Self {
            app,
            engine,
            worker,
            instruments,
            programs: Mutex::default(),
            owners: Mutex::default(),
            marks: Marks::default(),
            place: Place::default(),
            vault: settings.vault.clone(),
        })
    }

    /// Closes all connections once they are free.
    pub async fn close(&self) {
        self.app.close().await;
        self.engine.close().await;
        self.worker.close().await;
    }

    /// Makes sure that a firm exists, with this name and answering to these hosts. `owner_url` is the login that
    /// migrates: the others cannot create firms.
    pub async fn ensure_firm(owner_url: &str, new: &NewFirm, at: Timestamp) -> Result<FirmId, StoreError> {
        let mut owner = PgConnection::connect(owner_url).await.map_err(StoreError::Connect)?;
        let id = FirmId::derived(&[b"firm", new.slug.as_bytes()]);
        write_firm(&mut owner, id, new, at).await.map_err(StoreError::Firm)?;
        owner.close().await.map_err(StoreError::Connect)?;
        Ok(id)
    }

    /// Makes sure that this database has a login for [`Store::connect`] with this password (not empty), and gives
    /// its URL. It may take the roles of use cases, of shards and of workers and nothing else: what somebody
    /// reaches through it is what those may do. Named after the database, because logins belong to the whole cluster.
    pub async fn ensure_login(owner_url: &str, password: &str) -> Result<String, StoreError> {
        Self::ensure_login_named(owner_url, None, password).await
    }

    /// The same under a name that whoever asks has chosen, so that others know it before the database is there. Never the owner's
    /// own.
    pub async fn ensure_login_named(
        owner_url: &str,
        name: Option<&str>,
        password: &str,
    ) -> Result<String, StoreError> {
        let options = PgConnectOptions::from_str(owner_url).map_err(StoreError::Connect)?;
        let mut owner = PgConnection::connect_with(&options).await.map_err(StoreError::Connect)?;
        let name = write_login(&mut owner, name, password).await.map_err(StoreError::Login)?;
        owner.close().await.map_err(StoreError::Connect)?;
        url_like(owner_url, &options.username(&name).password(password))
    }

    /// Begins a transaction for one firm.
    pub async fn begin(&self, firm: FirmId) -> Result<Tx, AppError> {
        // One round trip for both. A firm's id prints as hex digits and hyphens only.
        let begin = format!("begin; select set_config('tradesense.firm', '{firm}', true)");
        let inner = self.app.begin_with(AssertSqlSafe(begin)).await.doing("beginning a transaction")?;
        Ok(Tx { inner, firm })
    }

    /// A firm by id.
    pub async fn firm(&self, id: FirmId) -> Result<Option<Firm>, AppError> {
        let mut tx = self.begin(id).await?;
        let found = sqlx::query!("select slug, name from firms where firm_id = $1", id.uuid())
            .fetch_optional(tx.connection())
            .await
            .doing("reading a firm")?;
        Ok(found.map(|row| Firm { id, slug: row.slug, name: row.name }))
    }

    /// Every firm, by its slug.
    pub async fn firms_by_slug(&self) -> Result<BTreeMap<String, FirmId>, AppError> {
        let rows = sqlx::query!("select slug, firm_id from firms")
            .fetch_all(&self.engine)
            .await
            .doing("reading the firms")?;
        Ok(rows.into_iter().map(|row| (row.slug, FirmId::from_uuid(row.firm_id))).collect())
    }

    /// Every host name, in lower case, with the firm that answers to it.
    pub async fn domains(&self) -> Result<Vec<(String, FirmId)>, AppError> {
        let rows = sqlx::query!("select domain, firm_id from firm_domains order by domain")
            .fetch_all(&self.engine)
            .await
            .doing("reading the hosts of firms")?;
        Ok(rows.into_iter().map(|row| (row.domain, FirmId::from_uuid(row.firm_id))).collect())
    }

    /// Whether the database answers under every role.
    pub async fn ready(&self) -> Result<(), AppError> {
        let doing = "reaching the database";
        for pool in [&self.app, &self.engine, &self.worker] {
            sqlx::query_scalar!("select 1 as alive").fetch_one(pool).await.doing(doing)?;
        }
        Ok(())
    }

    /// Whose an account is, if that was read before.
    pub(crate) fn known_owner(&self, firm: FirmId, account: AccountId) -> Option<Owner> {
        self.owners.lock().unwrap_or_else(PoisonError::into_inner).get(&(firm, account)).copied()
    }

    pub(crate) fn remember_owner(&self, firm: FirmId, account: AccountId, owner: Owner) {
        let mut owners = self.owners.lock().unwrap_or_else(PoisonError::into_inner);
        if owners.len() >= MOST_OWNERS {
            owners.clear();
        }
        owners.insert((firm, account), owner);
    }

    /// A version of a firm, remembered.
    pub(crate) async fn program(&self, tx: &mut Tx, version: &VersionHash) -> Result<Arc<Program>, AppError> {
        let key = (tx.firm, version.clone());
        if let Some(program) = self.programs.lock().unwrap_or_else(PoisonError::into_inner).get(&key) {
            return Ok(Arc::clone(program));
        }
        let body = sqlx::query_scalar!(
            "select body from program_versions where firm_id = $1 and version = $2",
            tx.firm.uuid(),
            version.as_str(),
        )
        .fetch_one(tx.connection())
        .await
        .doing("reading a version")?;
        let program = Arc::new(read_program(version, &body)?);
        let mut programs = self.programs.lock().unwrap_or_else(PoisonError::into_inner);
        if programs.len() >= MOST_PROGRAMS {
            programs.clear();
        }
        programs.insert(key, Arc::clone(&program));
        Ok(program)
    }
}

impl Tx {
    pub(crate) fn of(inner: Transaction<'static, Postgres>, firm: FirmId) -> Self {
        Self { inner, firm }
    }

    /// Whose rows it sees.
    pub fn firm(&self) -> FirmId {
        self.firm
    }

    /// Makes everything durable.
    pub async fn commit(self) -> Result<Committed, AppError> {
        self.inner.commit().await.doing("committing a transaction")?;
        Ok(Committed { _private: () })
    }

    /// Changes nothing. Its locks are gone when this returns, and not some time after it was dropped.
    pub(crate) async fn let_go(self) -> Result<(), AppError> {
        self.inner.rollback().await.doing("letting go of a transaction")
    }

    pub(crate) fn connection(&mut self) -> &mut PgConnection {
        &mut self.inner
    }
}

/// A stored program whose text still has the name it is stored under. The text is hashed and not the program: a type
/// that has got a field more reads older texts, but would write them otherwise.
pub(crate) fn read_program(version: &VersionHash, body: &str) -> Result<Program, Inconsistent> {
    let table = "program_versions";
    let name = hex::encode(Sha256::digest(body));
    if name == version.as_str() {
        row::from_json(table, body)
    } else {
        Err(Inconsistent::new(table, format!("the content of {version} hashes to {name}")))
    }
}

/// `tested`: whether a connection is tried before each use. Shards do without: they are asked often, and begin anew after
/// any failure.
async fn pool(
    url: &str,
    set_role: &'static str,
    most: u32,
    tested: bool,
    parameters: &[(&str, &str)],
) -> Result<PgPool, StoreError> {
    let options = connect_options(url)?.options(parameters.iter().copied());
    pool_options(set_role, most)
        .test_before_acquire(tested)
        .connect_with(options)
        .await
        .map_err(StoreError::Connect)
}

/// A pool for use cases on a server that need not be there yet, with the server's host and port.
pub(crate) fn lazy_pool(url: &str, most: u32) -> Result<(String, PgPool), StoreError> {
    let options = connect_options(url)?;
    let name = format!("{}:{}", options.get_host(), options.get_port());
    Ok((name, pool_options("set role tradesense_app", most).connect_lazy_with(options)))
}

fn connect_options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let options = PgConnectOptions::from_str(url).map_err(StoreError::Connect)?;
    Ok(options.application_name("tradesense").options([
        ("statement_timeout", "30s"),
        ("lock_timeout", "10s"),
        ("idle_in_transaction_session_timeout", "60s"),
        // No statement here is long enough to earn its compilation, and with sequential scans discouraged the planner
        // takes the short ones for long.
        ("jit", "off"),
    ]))
}

/// The URL of these options, which another one was read into before they were changed. The files of certificates are those of that one:
/// sqlx writes them in a form that it does not read.
fn url_like(given: &str, options: &PgConnectOptions) -> Result<String, StoreError> {
    let is_file = |name: &str| {
        matches!(
            name,
            "sslrootcert" | "ssl-root-cert" | "ssl-ca" | "sslcert" | "ssl-cert" | "sslkey" | "ssl-key"
        )
    };
    let given = Url::parse(given)
        .map_err(|error| StoreError::Connect(sqlx::Error::Configuration(Box::new(error))))?;
    let mut url = options.to_url_lossy();
    let written = url.query_pairs().filter(|(name, _)| !is_file(name));
    let files = given.query_pairs().filter(|(name, _)| is_file(name));
    let pairs: Vec<_> =
        written.chain(files).map(|(name, value)| (name.into_owned(), value.into_owned())).collect();
    url.query_pairs_mut().clear().extend_pairs(pairs);
    Ok(url.into())
}

fn pool_options(set_role: &'static str, most: u32) -> PgPoolOptions {
    PgPoolOptions::new().max_connections(most).acquire_timeout(Duration::from_secs(5)).after_connect(
        move |connection, _| {
            Box::pin(async move {
                connection.execute(set_role).await?;
                Ok(())
            })
        },
    )
}

fn newest_migration() -> i64 {
    MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or_default()
}

/// A connection for a moment, under the role of shards.
async fn engine_connection(url: &str) -> Result<PgConnection, StoreError> {
    let mut login = PgConnection::connect(url).await.map_err(StoreError::Connect)?;
    login.execute("set role tradesense_engine").await.map_err(StoreError::Connect)?;
    Ok(login)
}

async fn write_login(
    owner: &mut PgConnection,
    name: Option<&str>,
    password: &str,
) -> Result<String, sqlx::Error> {
    let mut tx = owner.begin().await?;
    // One at a time: the server refuses two changes of one role at once.
    sqlx::query!("select pg_advisory_xact_lock(161803398)").fetch_one(&mut *tx).await?;
    let login = sqlx::query!(
        r#"select wanted.name as "name!", role.oid is not null as "exists!",
                  coalesce(role.rolsuper or role.rolbypassrls or role.rolcreaterole or role.rolcreatedb, false)
                      as "may_more!",
                  wanted.name = current_user as "is_owner!", gen_random_uuid() as "salt!"
           from (select coalesce($1, 'tradesense_login_' || oid) as name
                 from pg_database where datname = current_database()) wanted
           left join pg_roles role on role.rolname = wanted.name"#,
        name
    )
    .fetch_one(&mut *tx)
    .await?;
    // The platform under the owner's login would be under no policy at all.
    if login.is_owner {
        return Err(sqlx::Error::Configuration(
            "the platform's login is another one than the owner's".into(),
        ));
    }
    if login.may_more {
        run(&mut tx, "alter role %1$I nosuperuser nobypassrls nocreaterole nocreatedb", &login.name, "")
            .await?;
    }
    let verb = if login.exists { "alter" } else { "create" };
    let kept = scram::verifier(password, login.salt.into_bytes());
    run(&mut tx, &format!("{verb} role %1$I login noinherit password %2$L"), &login.name, &kept).await?;
    let roles = "tradesense_app, tradesense_engine, tradesense_worker, tradesense_sealer, tradesense_auditor";
    run(&mut tx, &format!("grant {roles} to %1$I"), &login.name, "").await?;
    run(&mut tx, "grant connect on database %3$I to %1$I", &login.name, "").await?;
    tx.commit().await?;
    Ok(login.name)
}

/// Statements about roles take no parameters: the server quotes the role `%1$I`, what is kept of its password `%2$L` and this
/// database `%3$I` into the text.
async fn run(connection: &mut PgConnection, form: &str, role: &str, kept: &str) -> Result<(), sqlx::Error> {
    let statement = sqlx::query_scalar!(
        r#"select format($1::text, $2::text, $3::text, current_database()) as "statement!""#,
        form,
        role,
        kept,
    )
    .fetch_one(&mut *connection)
    .await?;
    connection.execute(AssertSqlSafe(statement)).await?;
    Ok(())
}

async fn write_firm(
    owner: &mut PgConnection,
    id: FirmId,
    new: &NewFirm,
    at: Timestamp,
) -> Result<(), sqlx::Error> {
    let mut tx = owner.begin().await?;
    sqlx::query!("select set_config('tradesense.firm', $1, true)", id.to_string())
        .fetch_one(&mut *tx)
        .await?;
    sqlx::query!(
        "insert into firms (firm_id, slug, name, created_at) values ($1, $2, $3, $4)
         on conflict on constraint firms_key do update set name = excluded.name",
        id.uuid(),
        new.slug,
        new.name,
        At(at) as _,
    )
    .execute(&mut *tx)
    .await?;
    sqlx::query!(
        "insert into firm_domains (firm_id, domain) select $1, unnest($2::text[])
         on conflict on constraint firm_domains_key do nothing",
        id.uuid(),
        &new.domains,
    )
    .execute(&mut *tx)
    .await?;
    tx.commit().await
}
