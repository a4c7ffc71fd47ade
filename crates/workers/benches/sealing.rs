//! What sealing costs: entries a second beside plain inserts on the same server, what writers notice of it, how much room an entry
//! takes, and how long a proof from the database takes. Prints one JSON object.
//!
//! `cargo xtask bench audit` starts what it needs and runs it.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::print_stdout,
    clippy::similar_names,
    reason = "a measurement ends where it cannot go on"
)]

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use app::auditing::{self, AuditStore, Wanted};
use audit::SigningKey;
use audit::checkpoint::Keys;
use audit::export::Trust;
use audit::note::{NoteSigner, Signs};
use kernel::{Clock, FirmId, Timestamp};
use providers::copies::Folder;
use serde_json::{Value, json};
use sqlx::{Connection, PgConnection};
use store::{NewFirm, Settings, Store};
use testkit::TestDatabase;
use tokio::sync::watch;
use tokio::task::JoinSet;
use workers::sealer::Sealer;

/// Entries of the tree that is measured.
const ENTRIES: i64 = 200_000;
/// Rows of one plain insert, as many as a batch of the sealer has.
const BATCH: i64 = 1_000;
/// How long writers are watched, with and without a sealer.
const WATCHED: Duration = Duration::from_secs(4);
const WRITERS: usize = 8;
const PROOFS: u64 = 2_000;
/// What the projection goes by.
const ENTRIES_PER_SECOND: i64 = 20;
const SECONDS_OF_7_YEARS: i64 = 7 * 31_557_600;

/// The real time.
#[derive(Debug)]
struct Wall;

impl Clock for Wall {
    #[expect(clippy::disallowed_methods, reason = "a measurement reads the wall clock")]
    fn now(&self) -> Timestamp {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
        Timestamp::from_micros(i64::try_from(since.as_micros()).unwrap())
    }
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the wall clock")]
fn now() -> Instant {
    Instant::now()
}

fn rate(count: u64, took: Duration) -> u64 {
    count * 1_000_000 / u64::try_from(took.as_micros()).unwrap().max(1)
}

/// Acts as an order would leave them, so many in each transaction.
async fn insert(connection: &mut PgConnection, table: &str, firm: FirmId, rows: i64) {
    let columns = if table == "audit_entries" { "detail::jsonb" } else { "detail" };
    let text = format!(
        "insert into {table} (firm_id, at, actor_id, action, object_kind, object, request_id, detail)
         select $1, clock_timestamp(), null, 'command.place', 'account', '0197b2c4-53a1-7c3e-9c3b-5d2f8a11e0d4', gen_random_uuid(),
                {columns}
         from (select '{{\"act\": {{\"place\": {{\"kind\": \"market\", \"side\": \"buy\", \"symbol\": \"EURUSD\", \"quantity\": 10, \"stop_loss\": ' || n
                      || '}}}}, \"key\": \"k' || n || '\", \"outcome\": {{\"placed\": {{\"ticket\": ' || n || '}}}}}}' as detail
               from generate_series(1, $2::bigint) n) rows"
    );
    sqlx::query(sqlx::AssertSqlSafe(text)).bind(firm.uuid()).bind(rows).execute(connection).await.unwrap();
}

/// Commits of one act each by several connections, a second.
async fn writers(database: &TestDatabase, firm: FirmId) -> u64 {
    let (started, mut all) = (now(), JoinSet::new());
    for _ in 0..WRITERS {
        let url = database.url();
        all.spawn(async move {
            let mut connection = PgConnection::connect(&url).await.unwrap();
            let mut count = 0;
            while started.elapsed() < WATCHED {
                insert(&mut connection, "audit_entries", firm, 1).await;
                count += 1;
            }
            count
        });
    }
    let count: u64 = all.join_all().await.into_iter().sum();
    rate(count, started.elapsed())
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    println!("{}", runtime.block_on(measure()));
}

async fn measure() -> Value {
    let database = TestDatabase::new().await;
    let settings = Settings {
        url: database.login_url().await,
        instruments: testkit::instruments(),
        app_connections: 4,
        engine_connections: 1,
        worker_connections: 6,
        vault: testkit::vault(),
    };
    let store = Arc::new(Store::connect(&settings).await.unwrap());
    let new = NewFirm { slug: "bench".to_owned(), name: "Bench".to_owned(), domains: Vec::new() };
    let firm = Store::ensure_firm(&database.url(), &new, Wall.now()).await.unwrap();
    let directory = std::env::temp_dir().join(format!("tradesense-sealing-{}", std::process::id()));
    let signer = NoteSigner::new("audit.example.com/main", SigningKey::from_secret(&[7; 32])).unwrap();
    let key = signer.public(Signs::Text);
    let sealer = Sealer {
        store: store.clone(),
        copies: Arc::new(Folder::new(&directory)),
        signers: Arc::new(vec![signer]),
        clock: Arc::new(Wall),
        health: Arc::default(),
    };

    // The same rows into a table without any of this, then as acts, then into the tree.
    let mut owner = database.superuser().await;
    let table = "create table bare (firm_id uuid not null, id bigint generated always as identity, at timestamptz not null,
                 actor_id uuid, action text not null, object_kind text not null, object text not null, request_id uuid,
                 detail text not null, primary key (id, firm_id))";
    sqlx::query(table).execute(&mut owner).await.unwrap();
    let entries = u64::try_from(ENTRIES).unwrap();
    let started = now();
    for _ in 0..ENTRIES / BATCH {
        insert(&mut owner, "bare", firm, BATCH).await;
    }
    let plain = rate(entries, started.elapsed());
    let started = now();
    for _ in 0..ENTRIES / BATCH {
        insert(&mut owner, "audit_entries", firm, BATCH).await;
    }
    let acts = rate(entries, started.elapsed());
    let mut sealing = sealer.take_over(1).await.unwrap();
    let started = now();
    while sealing.size() < entries {
        assert!(sealing.seal().await.unwrap() > 0);
    }
    let sealed = rate(entries, started.elapsed());
    sealing.sign().await.unwrap();

    let started = now();
    sealer.copy().await.unwrap();
    let copied = rate(entries, started.elapsed());
    let log: Arc<dyn AuditStore> = store.clone();
    let keys = Keys::new(key).unwrap();
    let started = now();
    let trust = Trust { keys, checkpoint: None };
    auditing::verify(&log, trust, Wanted::default(), None).await.unwrap();
    let verified = rate(entries, started.elapsed());
    let mut proofs = Vec::new();
    for number in 0..PROOFS {
        let index = number * 7_919 % entries;
        let started = now();
        auditing::prove_inclusion(&*log, index, entries).await.unwrap().unwrap();
        proofs.push(started.elapsed());
    }
    proofs.sort();

    let sizes = "select (select sum(pg_total_relation_size(inhrelid))::bigint from pg_inherits
                         where inhparent = 'audit_leaves'::regclass) + pg_total_relation_size('audit_nodes'),
                        (select sum(pg_total_relation_size(inhrelid))::bigint from pg_inherits
                         where inhparent = 'audit_entries'::regclass)";
    let (tree, rows): (i64, i64) = sqlx::query_as(sizes).fetch_one(&mut owner).await.unwrap();
    let outside = folder_size(&directory);

    // What writers notice: without anybody who seals, and with.
    let alone = writers(&database, firm).await;
    let (stop, stopping) = watch::channel(false);
    let beside = async {
        let mut sealing = sealer.take_over(2).await.unwrap();
        while !*stopping.borrow() {
            if sealing.seal().await.unwrap() < 1_000 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    };
    let writing = async {
        let rate = writers(&database, firm).await;
        stop.send_replace(true);
        rate
    };
    let ((), with_sealer) = tokio::join!(beside, writing);
    std::fs::remove_dir_all(&directory).unwrap();

    let per_entry = |bytes: i64| bytes / ENTRIES;
    let all = per_entry(tree) + per_entry(rows) + per_entry(outside);
    json!({
        "sealed_per_second": sealed,
        "plain_insert_per_second": plain,
        "act_insert_per_second": acts,
        "copied_per_second": copied,
        "verified_from_database_per_second": verified,
        "database_proof_p50_us": proofs[proofs.len() / 2].as_micros(),
        "database_proof_p99_us": proofs[proofs.len() * 99 / 100].as_micros(),
        "writers_per_second": alone,
        "writers_per_second_beside_the_sealer": with_sealer,
        "row_bytes_per_entry": per_entry(rows),
        "leaf_bytes_per_entry": per_entry(tree),
        "copy_bytes_per_entry": per_entry(outside),
        "gigabytes_in_7_years_at_20_per_second": all * ENTRIES_PER_SECOND * SECONDS_OF_7_YEARS / 1_000_000_000,
    })
}

fn folder_size(directory: &std::path::Path) -> i64 {
    let entries = std::fs::read_dir(directory).unwrap().map(Result::unwrap);
    entries
        .map(|entry| {
            let metadata = entry.metadata().unwrap();
            if metadata.is_dir() {
                folder_size(&entry.path())
            } else {
                i64::try_from(metadata.len()).unwrap()
            }
        })
        .sum()
}
