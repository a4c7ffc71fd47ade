//! Months of the audit log over a real PostgreSQL: what is over goes to archives, what is old goes out of the database, and nothing
//! else does, whoever asks, dies or holds on to it.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    reason = "tests"
)]

use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::common::sealer;
use app::AppError;
use app::auditing::{
    self, Archive, ArchiveStore, AuditStore, Batch, Copies, Cosignature, Dropped, Exporter, Found, Held,
    Leaf, LogError, LogRow, Miscounted, Month, Over, Places, Search, Standing, StoredCheckpoint, StoredKey,
    Stretch, Unsealed, Wanted, part_name, unpacked,
};
use app::identity::{Cost, Identity, Password, Registration};
use app::privacy::{PrivacyStore as _, State};
use app::trading::{AuditEntry, Digests};
use app::{Context, Role};
use async_trait::async_trait;
use audit::checkpoint::Keys;
use audit::entry::Source;
use audit::export::{Trust, Verified, Verifier};
use audit::note::{NoteKey, NoteSigner, Signs};
use audit::tree::{Hash, verify_consistency, verify_inclusion};
use kernel::{AccountId, FirmId, PersonId};
use providers::copies::Folder;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use store::{NewFirm, Settings, Store};
use tempfile::TempDir;
use testkit::World;
use workers::archivist::{Archivist, Done};
use workers::sealer::Sealer;
use workers::verifier::{LogVerifier, Progress};

/// Small, so that archives have several files.
const PART: usize = 10_000;

/// A log of one firm.
struct Log {
    world: World,
    firm: FirmId,
    directory: TempDir,
}

impl Log {
    async fn new() -> Self {
        let world = World::new().await;
        let firm = world.firm("one").await;
        Self { world, firm, directory: tempfile::tempdir().unwrap() }
    }

    /// Of 300 acts, signed at 100, 200 and 300, and copied: the first 200 sealed in a month long ago, the others in the next one.
    async fn of_two_months() -> Self {
        let log = Self::new().await;
        let sealer = log.sealer();
        let mut sealing = sealer.take_over(1).await.unwrap();
        for _ in 0..3 {
            log.acts(100).await;
            assert_eq!(sealing.seal().await.unwrap(), 100);
            assert!(sealing.sign().await.unwrap());
        }
        assert_eq!(sealer.copy().await.unwrap(), 300);
        for sql in [
            "select tradesense_audit_partition('audit_leaves', '2015-01-01'), tradesense_audit_partition('audit_leaves', '2015-02-01')",
            "update audit_leaves set sealed_at = case when leaf < 200 then '2015-01-20 00:00:00+00' else '2015-02-03 00:00:00+00' end::timestamptz
             where sealed_at > '2020-01-01'",
        ] {
            log.run(sql).await;
        }
        log
    }

    fn store(&self) -> Arc<dyn AuditStore> {
        self.world.store.clone()
    }

    fn folder(&self) -> Folder {
        Folder::new(self.directory.path())
    }

    fn sealer(&self) -> Sealer {
        sealer(&self.world, &[7], self.directory.path())
    }

    fn key(&self) -> NoteKey {
        self.sealer().signers[0].public(Signs::Text)
    }

    fn archivist(&self) -> Archivist {
        Archivist {
            store: self.world.store.clone(),
            copies: Arc::new(self.folder()),
            key: self.key(),
            health: Arc::default(),
            part: PART,
        }
    }

    async fn acts(&self, count: usize) {
        for number in 0..count {
            self.world.store.record_act(&act(self.firm, number)).await.unwrap();
        }
    }

    async fn seal_all(&self, token: i64) -> u64 {
        let sealer = self.sealer();
        let mut sealing = sealer.take_over(token).await.unwrap();
        sealing.seal().await.unwrap();
        sealing.sign().await.unwrap();
        sealer.copy().await.unwrap()
    }

    /// As the log's owner, whom no trigger stops.
    async fn run(&self, sql: &str) {
        let mut owner = self.world.database.superuser().await;
        owner.execute("set session_replication_role = replica").await.unwrap();
        if let Err(error) = owner.execute(AssertSqlSafe(sql.to_owned())).await {
            panic!("{sql}: {error}");
        }
    }

    async fn count(&self, what: &str) -> i64 {
        let mut owner = self.world.database.superuser().await;
        let sql = format!("select count(*) from {what}");
        sqlx::query_scalar(AssertSqlSafe(sql)).fetch_one(&mut owner).await.unwrap()
    }

    async fn verify(&self) -> Result<Verified, LogError> {
        verify(&self.store(), &self.folder(), self.key()).await
    }
}

fn act(firm: FirmId, number: usize) -> AuditEntry {
    AuditEntry {
        firm,
        at: kernel::Timestamp::parse(testkit::START).unwrap(),
        actor: None,
        action: "test.act".to_owned(),
        object_kind: "thing",
        object: number.to_string(),
        request: None,
        purpose: format!("Ticket {number}"),
        digests: Digests::of(Some(&serde_json::json!({ "b": 1, "a": number })), None),
        detail: serde_json::json!({ "b": number, "a": [1, "é"] }),
    }
}

/// As `tradesense audit verify --copies` does.
async fn verify(store: &Arc<dyn AuditStore>, folder: &Folder, key: NoteKey) -> Result<Verified, LogError> {
    let keys = auditing::known_keys(&**store, key).await?;
    let outside = auditing::check_outside(&**store, folder, &keys).await?;
    let checkpoint = outside.map(|outside| (outside.checkpoint.size, outside.checkpoint.root));
    auditing::verify(store, Trust { keys, checkpoint }, Wanted::default(), None).await
}

fn said(error: LogError) -> String {
    let LogError::Broken(found) = error else { panic!("{error:?}") };
    app::with_causes(&found)
}

/// The code and the words of a refusal.
fn refused(error: LogError) -> (&'static str, String) {
    match error {
        LogError::App(AppError::Refused { code, say }) => (code, say),
        other @ (LogError::Broken(_) | LogError::App(_)) => panic!("{other:?}"),
    }
}

/// Reads an archive as a stranger does, who has its files and the log's first key.
fn read_archive(folder: &Path, month: &str, key: NoteKey) -> Verified {
    let month = Month::parse(month).unwrap();
    let files = (1..).map(|number| folder.join(part_name(&month, number))).take_while(|file| file.exists());
    let packed: Vec<u8> = files.flat_map(|file| std::fs::read(file).unwrap()).collect();
    let mut plain = Vec::new();
    unpacked(packed.as_slice()).read_to_end(&mut plain).unwrap();
    let mut verifier = Verifier::new(Trust { keys: Keys::new(key).unwrap(), checkpoint: None });
    verifier.feed(&plain).unwrap();
    verifier.finish().unwrap()
}

/// Fails at the call with this number, before or after doing it.
struct Crashing {
    store: Arc<dyn ArchiveStore>,
    copies: Folder,
    calls: AtomicUsize,
    crash_at: usize,
    after: bool,
}

impl Crashing {
    async fn call<T>(&self, call: impl Future<Output = Result<T, AppError>>) -> Result<T, AppError> {
        let number = self.calls.fetch_add(1, Ordering::SeqCst);
        let crash = || AppError::bug("being killed")("a crash".into());
        // Whoever has crashed does nothing more.
        if number > self.crash_at || (number == self.crash_at && !self.after) {
            return Err(crash());
        }
        let done = call.await;
        if number == self.crash_at { Err(crash()) } else { done }
    }
}

macro_rules! calls {
    ($of:ident: $(fn $name:ident($($argument:ident: $kind:ty),*) -> $done:ty;)*) => {
        #[async_trait]
        impl $of for Crashing {
            $(async fn $name(&self, $($argument: $kind),*) -> Result<$done, AppError> {
                self.call(self.store.$name($($argument),*)).await
            })*
        }
    };
}

calls! { AuditStore:
    fn take_over_log(token: i64) -> Option<Standing>;
    fn unsealed(places: &Places, most: i64) -> Unsealed;
    fn seal(batch: &Batch) -> bool;
    fn keep_checkpoint(token: i64, checkpoint: &StoredCheckpoint) -> bool;
    fn keep_key(token: i64, key: &StoredKey) -> bool;
    fn log_size() -> u64;
    fn log_floor() -> u64;
    fn archives() -> Vec<Archive>;
    fn hashes(stretches: &[Stretch]) -> Vec<Vec<Hash>>;
    fn leaves(first: u64, end: u64) -> Vec<(Leaf, Option<LogRow>)>;
    fn newest_checkpoint() -> Option<StoredCheckpoint>;
    fn checkpoints(from: u64, most: i64) -> Vec<StoredCheckpoint>;
    fn log_keys() -> Vec<StoredKey>;
    fn cosignatures(size: u64) -> Vec<Cosignature>;
    fn never_sealed() -> Vec<(Source, i16, i64)>;
    fn miscounted() -> Vec<Miscounted>;
    fn search_log(firm: FirmId, search: &Search, most: usize) -> Found;
    fn log_entry(firm: FirmId, index: u64) -> Option<(Leaf, LogRow)>;
    fn verdict_entry(firm: FirmId, account: AccountId, number: u32) -> Option<(Leaf, LogRow)>;
    fn verdict_archive(firm: FirmId, account: AccountId, number: u32) -> Option<Archive>;
    fn keep_cosignature(firm: FirmId, cosignature: &Cosignature) -> ();
    fn record_act(act: &AuditEntry) -> ();
    fn make_partitions() -> u64;
}

calls! { ArchiveStore:
    fn month_to_archive() -> Option<Over>;
    fn keep_archive(archive: &Archive) -> bool;
    fn months_to_drop(held: Held) -> Vec<Month>;
    fn drop_month(held: Held, month: &Month) -> Dropped;
}

#[async_trait]
impl Copies for Crashing {
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, AppError> {
        self.call(self.copies.get(name)).await
    }

    async fn put(&self, name: &str, content: &[u8]) -> Result<(), AppError> {
        self.call(self.copies.put(name, content)).await
    }
}

#[tokio::test]
async fn whoever_archives_may_die_at_every_step_and_there_is_one_archive_of_each_month() {
    let log = Log::of_two_months().await;
    let old = log.store().newest_checkpoint().await.unwrap().unwrap();
    let mut lives = 0;
    for after in [false, true] {
        for crash_at in 0_usize.. {
            assert!(crash_at < 300, "it dies for ever");
            lives += 1;
            let (store, copies) = (log.world.store.clone(), log.folder());
            let crashing = Arc::new(Crashing { store, copies, calls: AtomicUsize::new(0), crash_at, after });
            let archivist = Archivist { store: crashing.clone(), copies: crashing, ..log.archivist() };
            match archivist.work().await {
                Ok(_) => break,
                Err(LogError::App(error)) => assert_eq!(error.to_string(), "being killed failed"),
                Err(other) => panic!("after {crash_at}: {other:?}"),
            }
        }
    }
    assert!(lives > 30, "{lives}");
    // One archive of each, told once to the firm, and both are dropped: they are older than seven years.
    let archives = log.store().archives().await.unwrap();
    let ranges: Vec<(String, u64, u64)> = archives
        .iter()
        .map(|archive| (archive.of.month.to_string(), archive.of.first, archive.of.end))
        .collect();
    assert_eq!(ranges, [("2015-01".to_owned(), 0, 200), ("2015-02".to_owned(), 200, 300)]);
    assert!(archives.iter().all(|archive| archive.parts > 1), "{archives:?}");
    assert_eq!(log.count("audit_entries where action = 'audit.archived'").await, 2);
    assert_eq!(log.count("audit_entries where action = 'audit.dropped'").await, 2);
    assert_eq!(log.count("audit_drops").await, 2);
    assert_eq!(log.store().log_floor().await.unwrap(), 300);
    for (month, entries) in [("2015-01", 200), ("2015-02", 100)] {
        let shown = read_archive(log.directory.path(), month, log.key());
        assert_eq!(shown.entries, entries, "{month}");
        let files = std::fs::read_dir(log.directory.path().join("archive").join(month)).unwrap().count();
        let written = archives.iter().find(|archive| archive.of.month.as_str() == month).unwrap().parts;
        assert_eq!(files, usize::try_from(written).unwrap(), "nothing is left of those who died");
    }
    // The acts are of a month that is not old.
    assert_eq!(log.count("audit_entries where action = 'test.act'").await, 300);

    // The log goes on from the floor, which lies within a tile.
    assert_eq!(log.seal_all(2).await, 304);
    let shown = log.verify().await.unwrap();
    assert_eq!((shown.header.first, shown.entries, shown.continues), (300, 4, Some(304)));
    assert!(shown.sentence().contains("from 300 up to but not 304"), "{}", shown.sentence());
    let newest = log.store().newest_checkpoint().await.unwrap().unwrap();
    let proof = auditing::prove_consistency(&*log.store(), old.size, newest.size).await.unwrap().unwrap();
    verify_consistency(old.size, newest.size, &proof, &old.root, &newest.root).unwrap();
    // Every checkpoint of before is continued, and every dropped entry proven by its hash.
    let mut hash_of = log.folder().entry_hashes(304);
    for size in [100, 200] {
        let older = log.store().checkpoints(size, 1).await.unwrap().remove(0);
        let proof = auditing::prove_consistency(&*log.store(), size, 304).await.unwrap().unwrap();
        verify_consistency(size, 304, &proof, &older.root, &newest.root).unwrap();
    }
    for index in [0, 99, 255, 256, 299, 300, 303] {
        let path = auditing::prove_inclusion(&*log.store(), index, 304).await.unwrap().unwrap();
        verify_inclusion(&hash_of(index).unwrap(), index, 304, &path, &newest.root).unwrap();
    }
    // What was copied of the tile in which the floor lies goes on, and is whole.
    let bundle = log.folder().read("tile/entries/001.p/48").unwrap().unwrap();
    let tile = log.folder().read("tile/0/001.p/48").unwrap().unwrap();
    audit::tiles::check_bundle(256, &bundle, &tile).unwrap();

    // Whoever asks for what is gone is told where it is.
    assert_eq!(log.store().log_entry(log.firm, 17).await.unwrap(), None);
    let place = auditing::where_archived(&*log.store(), 17).await.unwrap();
    let (code, say) = refused(place.into());
    assert_eq!(code, "entry_archived");
    assert!(say.contains("Entry 17 was archived") && say.contains("archive/2015-01"), "{say}");
    let part = Wanted { first: 10, ..Wanted::default() };
    assert_eq!(refused(Exporter::new(log.store(), part).await.unwrap_err()).0, "entry_archived");
    let part = Wanted { end: Some(200), ..Wanted::default() };
    assert_eq!(refused(Exporter::new(log.store(), part).await.unwrap_err()).0, "entry_archived");
    // Nothing is to be done any more.
    let done = log.archivist().work().await.unwrap();
    assert_eq!((done.archived, done.dropped), (Vec::<String>::new(), Vec::new()));

    // A folder for copies that is new has the hashes of all, and the entries of what is kept in whole tiles.
    let elsewhere = tempfile::tempdir().unwrap();
    let fresh = sealer(&log.world, &[7], elsewhere.path());
    assert_eq!(fresh.copy().await.unwrap(), 304);
    let folder = Folder::new(elsewhere.path());
    assert!(
        folder.read("tile/0/000").unwrap().is_some() && folder.read("tile/0/001.p/48").unwrap().is_some()
    );
    assert_eq!(folder.read("tile/entries/000").unwrap(), None);
    assert_eq!(verify(&log.store(), &folder, log.key()).await.unwrap().entries, 4);
}

#[tokio::test]
async fn the_owner_who_adds_to_what_was_archived_or_takes_from_it_is_found() {
    let log = Log::of_two_months().await;
    let done = log.archivist().work().await.unwrap();
    assert_eq!(done.archived, ["2015-01", "2015-02"]);
    assert_eq!(log.seal_all(2).await, 304);
    log.verify().await.unwrap();
    let add = "insert into audit_entries (firm_id, id, at, action, object_kind, object, detail) overriding system value
               select firm_id, -7, at, 'test.added', object_kind, object, detail from audit_entries where id = 7";
    let miscounted = |found: &str| {
        format!(
            "of the rows whose entries lie in archives alone, {found} acts stand in their table up to 300, and should be 300: some \
             were added or deleted by other hands"
        )
    };
    log.run(add).await;
    assert_eq!(said(log.verify().await.unwrap_err()), miscounted("301"));
    log.run("delete from audit_entries where id = -7").await;
    log.verify().await.unwrap();
    log.run("delete from audit_entries where id = 9").await;
    assert_eq!(said(log.verify().await.unwrap_err()), miscounted("299"));
    log.run(&add.replace("-7", "9")).await;
    log.verify().await.unwrap();
    // A second row under the number of one that is an entry, in another month.
    let twice = "insert into audit_entries (firm_id, id, at, action, object_kind, object, detail) overriding system value
                 select firm_id, id, at + interval '1 day', action, object_kind, object, detail from audit_entries where id = 302";
    log.run(twice).await;
    let found = said(log.verify().await.unwrap_err());
    assert!(
        found == "act 302 stands in its table and is no entry: it was added by other hands"
            || found.starts_with("entry 301 "),
        "{found}"
    );
    log.run("delete from audit_entries where id = 302 and at > (select min(at) from audit_entries where id = 302)").await;
    log.verify().await.unwrap();
    // The hashes that were kept, and the nodes above them.
    let lies =
        "update audit_hashes set hashes = overlay(hashes placing '\\x00'::bytea from 5) where first = 256";
    log.run("create table kept as select * from audit_hashes").await;
    log.run(lies).await;
    assert!(log.verify().await.is_err());
    log.run("update audit_hashes set hashes = kept.hashes from kept where kept.first = audit_hashes.first")
        .await;
    log.verify().await.unwrap();
}

#[tokio::test]
async fn a_month_that_was_changed_is_not_archived_and_an_archive_that_was_changed_lets_nothing_go() {
    let log = Log::of_two_months().await;
    log.run("update audit_entries set action = 'test.other' where id = 42").await;
    let found = said(log.archivist().work().await.unwrap_err());
    assert!(found.starts_with("entry 41 is wrong: it was changed"), "{found}");
    assert_eq!(log.count("audit_archives").await, 0);
    log.run("update audit_entries set action = 'test.act' where id = 42").await;

    // Somebody holds everything, so that nothing is dropped at once.
    let person = log.world.person(log.firm, "held@one.example").await;
    log.run("update people set held_at = now()").await;
    let done = log.archivist().work().await.unwrap();
    assert_eq!((done.archived.len(), done.dropped.len()), (2, 0));
    assert!(done.stays[0].contains("a legal hold of the firm"), "{done:?}");
    log.run(&format!("update people set held_at = null where id = '{}'", person.id)).await;

    let file = log.directory.path().join(part_name(&Month::parse("2015-01").unwrap(), 2));
    let content = std::fs::read(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let found = said(log.archivist().work().await.unwrap_err());
    assert!(found.ends_with("archive/2015-01/000002.tsaudit.gz is missing"), "{found}");
    for place in [0, 20, content.len() / 2, content.len() - 1] {
        let mut other = content.clone();
        other[place] ^= 1;
        std::fs::write(&file, other).unwrap();
        let found = said(log.archivist().work().await.unwrap_err());
        assert!(found.starts_with("the archive of 2015-01 is not what was written down"), "{found}");
    }
    assert_eq!(log.store().log_floor().await.unwrap(), 0);
    std::fs::write(&file, content).unwrap();
    let done = log.archivist().work().await.unwrap();
    assert_eq!(done.dropped, [(Held::Leaves, "2015-01".to_owned()), (Held::Leaves, "2015-02".to_owned())]);
}

/// The SQLSTATE of a refusal.
async fn refusal(connection: &mut PgConnection, sql: &str) -> String {
    match connection.execute(AssertSqlSafe(sql.to_owned())).await {
        Ok(done) => panic!("{sql}: touched {} rows", done.rows_affected()),
        Err(sqlx::Error::Database(error)) => error.code().unwrap_or_default().into_owned(),
        Err(other) => panic!("{sql}: {other}"),
    }
}

#[tokio::test]
async fn no_role_of_the_platform_changes_or_drops_a_table_of_the_log_or_one_of_its_months() {
    let log = Log::of_two_months().await;
    log.world.person(log.firm, "held@one.example").await;
    log.run("update people set held_at = now()").await;
    assert_eq!(log.archivist().work().await.unwrap().archived.len(), 2);
    let mut owner = log.world.database.superuser().await;
    let months: Vec<String> = sqlx::query_scalar(
        "select inhrelid::regclass::text from pg_inherits
         where inhparent in ('audit_entries'::regclass, 'audit_leaves'::regclass) order by 1",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    assert!(months.len() >= 6, "{months:?}");
    let whole = [
        "audit_entries",
        "audit_leaves",
        "audit_nodes",
        "audit_checkpoints",
        "audit_cosignatures",
        "audit_keys",
        "audit_state",
        "audit_marks",
        "audit_archives",
        "audit_hashes",
        "audit_dropped",
        "audit_drops",
        "journal",
        "verdicts",
    ];
    let tables: Vec<&str> = whole.iter().copied().chain(months.iter().map(String::as_str)).collect();
    let mut columns = std::collections::BTreeMap::new();
    for table in &tables {
        let column: String = sqlx::query_scalar(
            "select attname::text from pg_attribute where attrelid = ($1::text)::regclass and attnum > 0 order by attnum limit 1",
        )
        .bind(*table)
        .fetch_one(&mut owner)
        .await
        .unwrap();
        columns.insert(*table, column);
    }
    for role in ["app", "engine", "worker", "sealer", "auditor", "audit"] {
        let mut connection = log.world.database.role(&format!("tradesense_{role}")).await;
        for table in &tables {
            let column = &columns[table];
            let mut attempts = vec![
                format!("delete from {table}"),
                format!("truncate {table}"),
                format!("alter table {table} disable trigger all"),
                format!("alter table {table} disable row level security"),
                format!("alter table {table} no force row level security"),
                format!("alter table {table} add column mine integer"),
                format!("alter table {table} owner to tradesense_{role}"),
                format!("drop table {table}"),
                format!("drop trigger {table}_final on {table}"),
            ];
            // Whoever seals moves where the log ends and up to where rows are entries.
            if !(role == "sealer" && ["audit_state", "audit_marks"].contains(table)) {
                attempts.push(format!("update {table} set {column} = {column}"));
            }
            if months.iter().any(|month| month == table) {
                let whole = if table.starts_with("audit_leaves") { "audit_leaves" } else { "audit_entries" };
                attempts.push(format!("alter table {whole} detach partition {table}"));
                attempts.push(format!("select count(*) from {table}"));
                attempts.push(format!("insert into {table} overriding system value select * from {whole}"));
            }
            for sql in attempts {
                let code = refusal(&mut connection, &sql).await;
                // What has no such trigger says so before it says who may drop it.
                assert!(
                    code == "42501" || (code == "42704" && sql.starts_with("drop trigger")),
                    "{role}: {sql}: {code}"
                );
            }
        }
        for sql in [
            "insert into audit_hashes values (0, sha256(''))",
            "insert into audit_dropped values ('2015-01-01', 1, 0, '2015-01-01', 1, 1, 1)",
            "insert into audit_drops values ('leaves', '2015-01-01', now(), 300, 0)",
            "select tradesense_audit_partition('audit_leaves', '2015-03-01')",
            "select tradesense_demand_no_hold('2015-01-01', '{}', true)",
            "select tradesense_tell_dropped('{}', 'leaves', '2015-01-01', 0, 0)",
            "create table audit_leaves_2015_03 partition of audit_leaves for values from ('2015-03-01') to ('2015-04-01')",
            "drop function tradesense_drop_audit_leaves",
            "alter function tradesense_drop_audit_leaves security invoker",
            "set session_replication_role = replica",
        ] {
            assert_eq!(refusal(&mut connection, sql).await, "42501", "{role}: {sql}");
        }
        if role == "sealer" {
            // It may ask, and is refused what a hold keeps, what is too young, and what nobody has named by its first day.
            for (sql, code) in [
                ("select tradesense_drop_audit_leaves('2015-01-01')", "TS011"),
                ("select tradesense_drop_audit_leaves('2015-02-01')", "TS010"),
                ("select tradesense_drop_audit_leaves('2015-01-02')", "TS010"),
                ("select tradesense_drop_audit_leaves(null)", "TS010"),
                ("select tradesense_drop_audit_leaves('2014-01-01')", "TS010"),
                ("select tradesense_drop_audit_leaves(date_trunc('month', now())::date)", "TS010"),
                ("select tradesense_drop_audit_acts('2026-01-01')", "TS010"),
                ("select tradesense_drop_audit_acts('2015-01-01')", "TS010"),
                // Not the acts of anybody else.
                (
                    "insert into audit_entries (firm_id, at, action, object_kind, object, detail)
                     select firm_id, now(), 'test.act', 'thing', '', '{}' from audit_leaves limit 1",
                    "42501",
                ),
            ] {
                assert_eq!(refusal(&mut connection, sql).await, code, "{sql}");
            }
        } else {
            for sql in [
                "select tradesense_drop_audit_leaves('2015-01-01')",
                "select tradesense_drop_audit_acts('2015-01-01')",
                "insert into audit_archives values ('2015-03-01', 300, 301, 1, 1, sha256(''), now())",
            ] {
                assert_eq!(refusal(&mut connection, sql).await, "42501", "{role}: {sql}");
            }
        }
    }
    // Nor does whoever owns the tables by accident.
    for table in &tables {
        let guarded = !["audit_state", "audit_marks"].contains(table);
        let column = &columns[table];
        for sql in [
            format!("update {table} set {column} = {column}"),
            format!("delete from {table}"),
            format!("truncate {table} cascade"),
        ] {
            if guarded {
                assert_eq!(refusal(&mut owner, &sql).await, "23001", "{sql}");
            }
        }
    }
    // Without its archive nothing goes, whoever asks.
    log.run("update people set held_at = null").await;
    log.run("create table kept as select * from audit_archives").await;
    log.run("delete from audit_archives").await;
    let mut sealing = log.world.database.role("tradesense_sealer").await;
    let sql = "select tradesense_drop_audit_leaves('2015-01-01')";
    assert_eq!(refusal(&mut sealing, sql).await, "TS012");
    // Nor with one of other entries.
    log.run("insert into audit_archives select month, first, ends - 1, parts, bytes, sha256, at from kept where first = 0").await;
    assert_eq!(refusal(&mut sealing, sql).await, "TS012");
    log.run("delete from audit_archives; insert into audit_archives select * from kept").await;
    sealing.execute(sql).await.unwrap();
}

#[tokio::test]
async fn a_month_that_nobody_has_made_is_made_by_its_first_row_and_one_outside_of_all_is_named() {
    let log = Log::new().await;
    let at = |text: &str| AuditEntry { at: kernel::Timestamp::parse(text).unwrap(), ..act(log.firm, 1) };
    for text in [
        "2000-01-01T00:00:00Z",
        "2007-06-30T23:59:59.999999Z",
        "2007-07-01T00:00:00Z",
        "2099-12-31T23:59:59Z",
    ] {
        log.world.store.record_act(&at(text)).await.unwrap();
    }
    for month in ["2000_01", "2007_06", "2007_07", "2099_12"] {
        assert_eq!(log.count(&format!("audit_entries_{month}")).await, 1, "{month}");
    }
    let Err(AppError::Bug { source, .. }) = log.world.store.record_act(&at("1999-12-31T23:59:59Z")).await
    else {
        panic!("a row before all months")
    };
    assert!(source.to_string().contains("the audit log keeps no entry of 1999-12-01"), "{source}");
    // All are entries, in whatever order they were written.
    assert_eq!(log.seal_all(1).await, 4);
    log.verify().await.unwrap();
    let unguarded: i64 = log
        .count(
            "pg_inherits join pg_class c on c.oid = inhrelid
             where inhparent = 'audit_entries'::regclass
               and not (relrowsecurity and relforcerowsecurity and relacl is null
                        and exists (select from pg_trigger where tgrelid = c.oid and not tgisinternal and tgenabled = 'O')
                        and (select count(*) from pg_index where indrelid = c.oid) = 2
                        and (select count(*) from pg_constraint where conrelid = c.oid and contype = 'f') = 2
                        and (select count(*) from pg_constraint where conrelid = c.oid and contype = 'c') = 3
                        and not exists (select from pg_policy where polrelid = c.oid))",
        )
        .await;
    assert_eq!(unguarded, 0);
    // Several at once make one.
    let writers: Vec<_> = (0..6)
        .map(|_| {
            let (store, entry) = (log.world.store.clone(), at("2012-03-04T05:06:07Z"));
            tokio::spawn(async move { store.record_act(&entry).await })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap().unwrap();
    }
    assert_eq!(log.count("audit_entries_2012_03").await, 6);
}

#[tokio::test]
async fn the_rows_of_before_are_moved_into_their_months() {
    let world = World::new().await;
    let mut owner = world.database.superuser().await;
    owner.execute("drop schema public cascade; create schema public").await.unwrap();
    let migrations = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut files: Vec<_> = std::fs::read_dir(migrations).unwrap().map(|file| file.unwrap().path()).collect();
    files.sort();
    let apply = async |owner: &mut PgConnection, file: &Path| {
        let sql = std::fs::read_to_string(file).unwrap();
        let mut tx = owner.begin().await.unwrap();
        if let Err(error) = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut *tx).await {
            panic!("{}: {error}", file.display());
        }
        tx.commit().await.unwrap();
    };
    let is_ours = |file: &std::path::PathBuf| file.file_name().unwrap().to_str().unwrap().starts_with("0022");
    let ours = files.iter().position(is_ours).unwrap();
    for file in &files[..ours] {
        apply(&mut owner, file).await;
    }
    owner
        .execute(
            "insert into firms (firm_id, slug, name, created_at) values (gen_random_uuid(), 'one', 'One', now());
             insert into audit_entries (firm_id, at, action, object_kind, object, detail, before, purpose)
             select firm_id, '2025-11-20'::timestamptz + number * interval '1 day', 'test.act', 'thing', number::text,
                    jsonb_build_object('number', number), sha256(number::text::bytea), 'why'
             from firms, generate_series(1, 100) number",
        )
        .await
        .unwrap();
    let all = "select md5(string_agg(md5(row::text), '' order by id)) from (select * from audit_entries) row";
    let before: String = sqlx::query_scalar(all).fetch_one(&mut owner).await.unwrap();
    for file in &files[ours..] {
        apply(&mut owner, file).await;
    }
    let after: String = sqlx::query_scalar(all).fetch_one(&mut owner).await.unwrap();
    assert_eq!(before, after);
    let in_december: i64 =
        sqlx::query_scalar("select count(*) from audit_entries_2025_12").fetch_one(&mut owner).await.unwrap();
    assert_eq!(in_december, 31);
    // The next number is the next.
    let next: i64 = sqlx::query_scalar(
        "insert into audit_entries (firm_id, at, action, object_kind, object, detail)
         select firm_id, now(), 'test.act', 'thing', '', '{}' from firms returning id",
    )
    .fetch_one(&mut owner)
    .await
    .unwrap();
    assert_eq!(next, 101);
}

/// The steps of the operator's guide for a restored database.
const GUIDE: &str = include_str!("../../../docs/guides/audit.md");

#[tokio::test]
async fn a_restored_database_goes_on_as_another_log_by_the_steps_of_the_guide() {
    let log = Log::of_two_months().await;
    assert_eq!(log.archivist().work().await.unwrap().dropped.len(), 2);
    assert_eq!(log.seal_all(2).await, 304);
    // What was sealed since the backup is not in it.
    log.acts(7).await;
    assert_eq!(log.seal_all(3).await, 311);
    for sql in [
        "delete from audit_leaves where leaf >= 304",
        "delete from audit_entries where id > 304",
        "delete from audit_checkpoints where size > 304",
        "update audit_state set size = 304",
        "update audit_marks set number = 304",
    ] {
        log.run(sql).await;
    }
    let sealer = log.sealer();
    let Err(workers::sealer::Failure::Log(error)) = sealer.take_over(4).await else { panic!("sealed") };
    assert_eq!(
        said(error),
        "the log was cut or set back: the checkpoint outside has 311 entries, and the database 304"
    );
    let steps = GUIDE.split("```sql").nth(1).unwrap().split("```").next().unwrap();
    sqlx::raw_sql(AssertSqlSafe(steps.to_owned()))
        .execute(&mut log.world.database.superuser().await)
        .await
        .unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let sealer = crate::common::sealer(&log.world, &[8], elsewhere.path());
    let mut sealing = sealer.take_over(4).await.unwrap();
    assert_eq!(sealing.seal().await.unwrap(), 304);
    assert!(sealing.sign().await.unwrap());
    assert_eq!(sealer.copy().await.unwrap(), 304);
    let key = sealer.signers[0].public(Signs::Text);
    let shown = verify(&log.store(), &Folder::new(elsewhere.path()), key).await.unwrap();
    assert_eq!((shown.header.first, shown.entries), (0, 304));
    // The old one stands as it was.
    assert_eq!(read_archive(log.directory.path(), "2015-01", log.key()).entries, 200);
}

/// Where Debian puts the library by which a program is given another time of day.
fn faketime() -> std::path::PathBuf {
    let machine = format!("{}-linux-gnu", std::env::consts::ARCH);
    let library = Path::new("/usr/lib").join(machine).join("faketime/libfaketime.so.1");
    assert!(library.exists(), "this test needs libfaketime");
    library
}

/// A server of this test, whose time of day is set at each start.
struct Server {
    directory: std::path::PathBuf,
    port: u16,
}

impl Server {
    fn new() -> Self {
        let directory = std::env::temp_dir().join(format!("tradesense-archive-{}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        if is_root() {
            assert!(Command::new("chown").arg("postgres").arg(&directory).status().unwrap().success());
        }
        let server = Self { directory, port: testkit::free_port() };
        server.program("initdb", &["-A", "trust", "-U", "postgres", "--no-sync", "-E", "UTF8"], 0);
        let port = server.port;
        let settings = format!(
            "\nlisten_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\nfsync = off\nshared_buffers = '16MB'\n"
        );
        let file = server.directory.join("data/postgresql.conf");
        let mut file = std::fs::OpenOptions::new().append(true).open(file).unwrap();
        std::io::Write::write_all(&mut file, settings.as_bytes()).unwrap();
        server
    }

    /// One of PostgreSQL's programs, so many seconds ahead of the time of day, as the unprivileged user when we are root.
    fn program(&self, name: &str, arguments: &[&str], ahead: i64) {
        let mut all: Vec<std::path::PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
            .unwrap()
            .map(|entry| entry.unwrap().path().join("bin").join(name))
            .filter(|file| file.is_file())
            .collect();
        all.sort();
        let mut command = if is_root() { Command::new("runuser") } else { Command::new("env") };
        if is_root() {
            command.args(["-u", "postgres", "--", "env"]);
        }
        if ahead != 0 {
            command.arg(format!("LD_PRELOAD={}", faketime().display())).arg(format!("FAKETIME={ahead:+}"));
            command.args(["DONT_FAKE_MONOTONIC=1", "NO_FAKE_STAT=1"]);
        }
        let (data, log) = (self.directory.join("data"), self.directory.join("log.txt"));
        let logged = if name == "pg_ctl" { vec!["-l", log.to_str().unwrap()] } else { Vec::new() };
        // A server that is started keeps what it inherits: nobody may wait for its output.
        let status = command
            .arg(all.pop().unwrap())
            .args(["-D", data.to_str().unwrap()])
            .args(logged)
            .args(arguments)
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .status();
        assert!(status.unwrap().success(), "{name} {arguments:?} failed");
    }

    fn start(&self, ahead: i64) {
        self.program("pg_ctl", &["-w", "-t", "60", "start"], ahead);
    }

    fn stop(&self, how: &str) {
        self.program("pg_ctl", &["-w", "-m", how, "stop"], 0);
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may be stopped already.
        drop(std::panic::catch_unwind(|| self.stop("immediate")));
        drop(std::fs::remove_dir_all(&self.directory));
    }
}

fn is_root() -> bool {
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

/// A platform over a server whose clock is moved.
struct Moved {
    server: Server,
    directory: TempDir,
    keys: Arc<testkit::MemoryKeys>,
    store: Arc<Store>,
    token: i64,
}

/// The month so many months from the one in which this runs, as `2019-01`.
fn month(from_now: i64) -> String {
    let now = seconds_now();
    let today = kernel::Timestamp::from_micros(now * 1_000_000).to_string();
    let number = |range: std::ops::Range<usize>| today[range].parse::<i64>().unwrap();
    let months = number(0..4) * 12 + number(5..7) - 1 + from_now;
    format!("{:04}-{:02}", months.div_euclid(12), months.rem_euclid(12) + 1)
}

#[expect(clippy::disallowed_methods, reason = "a server's clock is moved from the real one")]
fn seconds_now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(since.as_secs()).unwrap()
}

impl Moved {
    /// Begins in a month.
    async fn begin(from_now: i64) -> Self {
        let server = tokio::task::spawn_blocking(Server::new).await.unwrap();
        start_in(&server, from_now);
        let mut connection = PgConnection::connect(&url(&server, "postgres")).await.unwrap();
        connection.execute("create database platform").await.unwrap();
        Store::migrate(&url(&server, "platform")).await.unwrap();
        let keys = Arc::new(testkit::MemoryKeys::default());
        let store = connect(&server, keys.clone()).await;
        Self { server, directory: tempfile::tempdir().unwrap(), keys, store, token: 0 }
    }

    /// The same server at another time.
    async fn move_to(&mut self, from_now: i64) {
        self.store.close().await;
        self.server.stop("fast");
        start_in(&self.server, from_now);
        self.store = connect(&self.server, self.keys.clone()).await;
    }

    async fn owner(&self) -> PgConnection {
        PgConnection::connect(&url(&self.server, "platform")).await.unwrap()
    }

    async fn firm(&self, slug: &str) -> FirmId {
        let new = NewFirm { slug: slug.to_owned(), name: slug.to_owned(), domains: Vec::new() };
        Store::ensure_firm(&url(&self.server, "platform"), &new, self.now().await).await.unwrap()
    }

    async fn now(&self) -> kernel::Timestamp {
        let micros: i64 =
            sqlx::query_scalar("select (extract(epoch from clock_timestamp()) * 1000000)::bigint")
                .fetch_one(&mut self.owner().await)
                .await
                .unwrap();
        kernel::Timestamp::from_micros(micros)
    }

    async fn acts(&self, firm: FirmId, count: usize) {
        let at = self.now().await;
        for number in 0..count {
            self.store.record_act(&AuditEntry { at, ..act(firm, number) }).await.unwrap();
        }
    }

    fn sealer(&self) -> Sealer {
        let signer =
            NoteSigner::new("audit.example.com/main", audit::SigningKey::from_secret(&[7; 32])).unwrap();
        Sealer {
            store: self.store.clone(),
            copies: Arc::new(self.folder()),
            signers: Arc::new(vec![signer]),
            clock: Arc::new(kernel::ManualClock::new(kernel::Timestamp::parse(testkit::START).unwrap())),
            health: Arc::default(),
        }
    }

    fn key(&self) -> NoteKey {
        self.sealer().signers[0].public(Signs::Text)
    }

    fn folder(&self) -> Folder {
        Folder::new(self.directory.path())
    }

    fn log(&self) -> Arc<dyn AuditStore> {
        self.store.clone()
    }

    /// Seals, signs and copies what is there; how long the log is then.
    async fn seal(&mut self) -> u64 {
        self.token += 1;
        let sealer = self.sealer();
        let mut sealing = sealer.take_over(self.token).await.unwrap();
        while sealing.seal().await.unwrap() > 0 {}
        sealing.sign().await.unwrap();
        sealer.copy().await.unwrap()
    }

    async fn archive(&self) -> Done {
        let archivist = Archivist {
            store: self.store.clone(),
            copies: Arc::new(self.folder()),
            key: self.key(),
            health: Arc::default(),
            part: PART,
        };
        archivist.work().await.unwrap()
    }

    async fn hold(&self, firm: FirmId, person: PersonId, on: bool) {
        let since = if on { Some(self.now().await) } else { None };
        let entry = AuditEntry { at: self.now().await, ..act(firm, 0) };
        self.store.set_state(firm, person, State::Held, since, &entry).await.unwrap();
    }

    async fn months_of(&self, table: &str) -> Vec<String> {
        sqlx::query_scalar(
            "select replace(right(relname, 7), '_', '-') from pg_inherits join pg_class on pg_class.oid = inhrelid
             where inhparent = ($1::text)::regclass order by 1",
        )
        .bind(table)
        .fetch_all(&mut self.owner().await)
        .await
        .unwrap()
    }
}

fn url(server: &Server, database: &str) -> String {
    format!("postgres://postgres@127.0.0.1:{}/{database}", server.port)
}

/// On the tenth of a month, or now.
fn start_in(server: &Server, from_now: i64) {
    let tenth = kernel::Timestamp::parse(&format!("{}-10T12:00:00Z", month(from_now))).unwrap();
    let ahead = if from_now == 0 { 0 } else { tenth.micros() / 1_000_000 - seconds_now() };
    server.start(ahead);
}

async fn connect(server: &Server, keys: Arc<testkit::MemoryKeys>) -> Arc<Store> {
    let settings = Settings {
        url: Store::ensure_login(&url(server, "platform"), "an open secret").await.unwrap(),
        instruments: testkit::instruments(),
        app_connections: 3,
        engine_connections: 1,
        worker_connections: 3,
        vault: testkit::vault_over(keys),
    };
    Arc::new(Store::connect(&settings).await.unwrap())
}

/// Somebody of a firm.
async fn person(moved: &Moved, firm: FirmId, email: &str) -> PersonId {
    let clock = Arc::new(kernel::ManualClock::new(moved.now().await));
    let cost = Cost { memory: 64, passes: 1, lanes: 1 };
    let rng = Arc::new(kernel::SeededRng::new(u64::from(firm.uuid().as_bytes()[0])));
    let identity = Identity::new(moved.store.clone(), clock, rng, 2, cost);
    let registration = Registration {
        email: email.to_owned(),
        password: Password::new(testkit::PASSWORD),
        display_name: "Somebody".to_owned(),
        region: None,
    };
    let request = kernel::RequestId::derived(&[email.as_bytes()]);
    let context = Context { firm, actor: None, request };
    identity.ensure_person(&context, registration, vec![Role::Trader]).await.unwrap().id
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn eight_years_on_what_is_seven_years_old_goes_and_nothing_younger_and_nothing_under_a_hold() {
    // Eight years ago: a log of one firm begins.
    let (first, second, third) = (-96, -85, -84);
    let mut moved = Moved::begin(first).await;
    let one = moved.firm("one").await;
    moved.acts(one, 300).await;
    assert_eq!(moved.seal().await, 300);
    let oldest = moved.log().newest_checkpoint().await.unwrap().unwrap();
    assert_eq!(moved.archive().await, Done::default(), "the month is not over");

    // Seven years and a month ago: another firm is there, and the month of before is archived.
    moved.move_to(second).await;
    assert_eq!(moved.archive().await.archived, [month(first)]);
    let two = moved.firm("two").await;
    let (of_one, of_two) =
        (person(&moved, one, "held@one.example").await, person(&moved, two, "held@two.example").await);
    moved.acts(two, 50).await;
    moved.acts(one, 100).await;
    let in_second = moved.seal().await;
    // Written in this month, and sealed in the next.
    moved.acts(two, 5).await;

    // Seven years ago, less a few days or weeks.
    moved.move_to(third).await;
    let done = moved.archive().await;
    assert_eq!((done.archived, done.dropped), (vec![month(second)], Vec::new()), "nothing is old");
    moved.acts(one, 100).await;
    let in_third = moved.seal().await;
    assert_eq!(read_archive(moved.directory.path(), &month(first), moved.key()).entries, 300);

    // Today, under a hold of each firm.
    moved.move_to(0).await;
    let leaves_before = moved.months_of("audit_leaves").await;
    moved.hold(one, of_one, true).await;
    moved.hold(two, of_two, true).await;
    let done = moved.archive().await;
    assert_eq!((&done.archived[..], done.dropped.len()), (&[month(third)][..], 0));
    assert!(done.stays[0].contains("a legal hold of the firm"), "{done:?}");
    assert_eq!(moved.log().log_floor().await.unwrap(), 0);
    // The second firm had nothing in the first month: its hold keeps the second one.
    moved.hold(one, of_one, false).await;
    let done = moved.archive().await;
    let dropped: Vec<&str> = done.dropped.iter().map(|(_, month)| month.as_str()).collect();
    assert!(
        dropped.contains(&month(first).as_str()) && !dropped.contains(&month(second).as_str()),
        "{done:?}"
    );
    assert!(done.stays.iter().any(|why| why.contains(&two.to_string())), "{done:?}");
    assert_eq!(moved.log().log_floor().await.unwrap(), 300);
    moved.hold(two, of_two, false).await;
    let done = moved.archive().await;
    assert!(done.dropped.contains(&(Held::Leaves, month(second))), "{done:?}");
    // Some acts of the second month are entries of the third.
    assert!(!done.dropped.contains(&(Held::Acts, month(second))), "{done:?}");
    assert!(done.stays.iter().any(|why| why.contains(&format!("acts of {}", month(second)))), "{done:?}");
    assert_eq!(moved.log().log_floor().await.unwrap(), in_second);

    // Everything younger is there, and no month that is older.
    let leaves = moved.months_of("audit_leaves").await;
    let kept: Vec<String> = leaves_before.into_iter().filter(|old| *old >= month(third)).collect();
    assert!(kept.iter().all(|month| leaves.contains(month)), "{kept:?} {leaves:?}");
    assert_eq!(leaves[0], month(third));
    assert_eq!(moved.months_of("audit_entries").await[0], month(second));
    let mut owner = moved.owner().await;
    let counted: i64 =
        sqlx::query_scalar("select count(*) from audit_leaves").fetch_one(&mut owner).await.unwrap();
    assert_eq!(u64::try_from(counted).unwrap(), in_third - in_second);

    // The log goes on; it verifies from the floor, with and without what lies outside.
    moved.acts(one, 20).await;
    let size = moved.seal().await;
    let shown = verify(&moved.log(), &moved.folder(), moved.key()).await.unwrap();
    assert_eq!((shown.header.first, shown.entries), (in_second, size - in_second));
    let verifier = LogVerifier {
        store: moved.log(),
        copies: Arc::new(moved.folder()),
        key: moved.key(),
        clock: moved.sealer().clock,
        health: Arc::default(),
    };
    let mut progress = Progress::default();
    verifier.round(&mut progress).await.unwrap();
    verifier.round(&mut progress).await.unwrap();
    // What is gone is in files that need no database, and the oldest checkpoint is continued by the newest.
    for (month, first, end) in
        [(month(first), 0, 300), (month(second), 300, in_second), (month(third), in_second, in_third)]
    {
        let header = read_archive(moved.directory.path(), &month, moved.key()).header;
        assert_eq!((header.first, header.end), (first, end), "{month}");
    }
    let newest = moved.log().newest_checkpoint().await.unwrap().unwrap();
    let proof = auditing::prove_consistency(&*moved.log(), oldest.size, newest.size).await.unwrap().unwrap();
    verify_consistency(oldest.size, newest.size, &proof, &oldest.root, &newest.root).unwrap();
    // Whoever trusts that old checkpoint is shown the same.
    let keys = auditing::known_keys(&*moved.log(), moved.key()).await.unwrap();
    let trust = Trust { keys, checkpoint: Some((oldest.size, oldest.root)) };
    let shown = auditing::verify(&moved.log(), trust, Wanted::default(), None).await.unwrap();
    assert_eq!(shown.continues, Some(oldest.size));
    // Told to each firm in its log.
    let told = "select count(*) from audit_entries where action = 'audit.dropped' and firm_id = $1";
    for (firm, months) in [(one, 3_i64), (two, 1)] {
        let count: i64 = sqlx::query_scalar(told).bind(firm.uuid()).fetch_one(&mut owner).await.unwrap();
        assert_eq!(count, months);
    }
    moved.store.close().await;
    drop(tokio::task::spawn_blocking(move || drop(moved)).await);
}
