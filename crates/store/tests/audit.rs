//! The audit log against whoever owns the database, over a real PostgreSQL: what they change is found, and named.
#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::similar_names,
    reason = "tests"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::{sealer, story};
use app::AppError;
use app::auditing::{
    self, Archive, AuditStore, Batch, Break, Copied, Copies, Cosignature, Exporter, Found, Leaf, LogError,
    LogRow, Miscounted, Places, Search, Standing, StoredCheckpoint, StoredKey, Stretch, Unsealed, Wanted,
};
use app::trading::{AuditEntry, Digests};
use async_trait::async_trait;
use audit::checkpoint::Keys;
use audit::entry::{Entry, Source};
use audit::export::{Trust, Verified, Verifier};
use audit::note::Signs;
use audit::proof::Proof;
use audit::tree::{Hash, verify_consistency};
use kernel::{AccountId, FirmId};
use providers::copies::{CopiedHashes, Credentials, Folder, Means, Place};
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};
use telemetry::metrics::{Format, Page};
use tempfile::TempDir;
use testkit::{TestS3, World};
use tokio::sync::watch;
use workers::sealer::{Failure, Sealer, Sealing};
use workers::verifier::{Health, LogVerifier, Progress};

/// A log of one firm with its sealer and the copies outside.
struct Log {
    world: World,
    firm: FirmId,
    directory: TempDir,
    secrets: Vec<u8>,
}

impl Log {
    async fn new() -> Self {
        let world = World::new().await;
        let firm = world.firm("one").await;
        Self { world, firm, directory: tempfile::tempdir().unwrap(), secrets: vec![7] }
    }

    /// Of 300 acts, signed at 100, 200 and 300, and copied.
    async fn of_300() -> Self {
        let log = Self::new().await;
        let sealer = log.sealer();
        let mut sealing = sealer.take_over(1).await.unwrap();
        for _ in 0..3 {
            log.acts(100).await;
            assert_eq!(sealing.seal().await.unwrap(), 100);
            assert!(sealing.sign().await.unwrap());
        }
        assert_eq!(sealer.copy().await.unwrap(), 300);
        log
    }

    fn store(&self) -> Arc<dyn AuditStore> {
        self.world.store.clone()
    }

    fn sealer(&self) -> Sealer {
        sealer(&self.world, &self.secrets, self.directory.path())
    }

    fn folder(&self) -> Folder {
        Folder::new(self.directory.path())
    }

    fn act(&self, number: usize) -> AuditEntry {
        AuditEntry {
            firm: self.firm,
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

    async fn acts(&self, count: usize) {
        for number in 0..count {
            self.world.store.record_act(&self.act(number)).await.unwrap();
        }
    }

    /// Acts that say something else.
    async fn other_acts(&self, count: usize) {
        for number in 0..count {
            let act = AuditEntry { action: "test.other".to_owned(), ..self.act(number) };
            self.world.store.record_act(&act).await.unwrap();
        }
    }

    async fn seal_all(&self, token: i64) -> usize {
        let sealer = self.sealer();
        let mut sealing = sealer.take_over(token).await.unwrap();
        let sealed = sealing.seal().await.unwrap();
        sealing.sign().await.unwrap();
        sealed
    }

    /// The log's owner, whom no trigger stops.
    async fn owner(&self) -> PgConnection {
        let mut owner = self.world.database.superuser().await;
        owner.execute("set session_replication_role = replica").await.unwrap();
        owner
    }

    async fn keys(&self) -> Result<Keys, LogError> {
        let first = self.sealer().signers[0].public(Signs::Text);
        auditing::known_keys(&*self.store(), first).await
    }

    /// As `tradesense audit verify --copies` does.
    async fn verify(&self) -> Result<Verified, LogError> {
        let keys = self.keys().await?;
        let outside = auditing::check_outside(&*self.store(), &self.folder(), &keys).await?;
        self.verify_with(keys, outside.map(|outside| outside.checkpoint), true).await
    }

    /// Without anything outside but the key.
    async fn verify_alone(&self) -> Result<Verified, LogError> {
        self.verify_with(self.keys().await?, None, false).await
    }

    async fn verify_with(
        &self,
        keys: Keys,
        trusted: Option<audit::checkpoint::Checkpoint>,
        copies: bool,
    ) -> Result<Verified, LogError> {
        let checkpoint = trusted.map(|trusted| (trusted.size, trusted.root));
        let copied = checkpoint
            .filter(|_| copies)
            .map(|(size, _)| -> Copied { Box::new(self.folder().entry_hashes(size)) });
        auditing::verify(&self.store(), Trust { keys, checkpoint }, Wanted::default(), copied).await
    }

    /// What the verifier says, in one line.
    async fn found(&self) -> String {
        said(self.verify().await.unwrap_err())
    }

    async fn export(&self, wanted: Wanted) -> Vec<u8> {
        let mut exporter = Exporter::new(self.store(), wanted).await.unwrap();
        let mut file = Vec::new();
        while let Some(part) = exporter.next().await.unwrap() {
            file.extend(part);
        }
        file
    }
}

fn said(error: LogError) -> String {
    let LogError::Broken(found) = error else { panic!("{error:?}") };
    app::with_causes(&found)
}

fn refused_to_seal(taken: Result<Sealing<'_>, Failure>) -> String {
    match taken {
        Err(Failure::Log(error)) => said(error),
        other => panic!("{other:?}"),
    }
}

async fn run(owner: &mut PgConnection, sql: &str) {
    if let Err(error) = owner.execute(AssertSqlSafe(sql.to_owned())).await {
        panic!("{sql}: {error}");
    }
}

/// Gives the leaves of all entries the hashes that their rows come to now, from an index on.
async fn rehash(log: &Log, owner: &mut PgConnection, from: u64) {
    for (leaf, row) in log.store().leaves(from, 1_000).await.unwrap() {
        let mut bytes = Vec::new();
        row.unwrap().encode(leaf.index, &mut bytes).unwrap();
        let hash = hex(&Hash::leaf(&bytes));
        run(owner, &format!("update audit_leaves set hash = '\\x{hash}' where leaf = {}", leaf.index)).await;
    }
}

/// Makes the stored nodes those of the leaves.
async fn renode(log: &Log, owner: &mut PgConnection) {
    let leaves = log.store().leaves(0, 1_000).await.unwrap();
    let mut frontier = audit::tree::Frontier::new();
    let mut nodes = Vec::new();
    for (leaf, _) in leaves {
        let full = |node: audit::tree::Node, hash: Hash| {
            if node.level == 8 {
                nodes.push((node.index, hash));
            }
        };
        frontier.push(leaf.hash, full).unwrap();
    }
    for (place, hash) in nodes {
        let hash = hex(&hash);
        run(owner, &format!("update audit_nodes set hash = '\\x{hash}' where level = 1 and place = {place}"))
            .await;
    }
}

fn hex(hash: &Hash) -> String {
    hash.to_string()
}

#[tokio::test]
async fn what_happened_in_two_firms_is_sealed_verified_exported_and_proven() {
    let world = World::new().await;
    let directory = tempfile::tempdir().unwrap();
    let one = story(&world, "one", 0).await;
    let two = story(&world, "two", 0).await;
    let log = Log { world, firm: one.firm, directory, secrets: vec![9] };
    let sealer = log.sealer();
    let mut sealing = sealer.take_over(2).await.unwrap();
    assert_eq!(sealing.seal().await.unwrap(), 0, "the stories have sealed what they did");
    assert!(sealing.sign().await.unwrap());
    let size = sealing.size();
    assert_eq!(sealer.copy().await.unwrap(), size);

    // Every row of every table is an entry.
    let mut owner = log.owner().await;
    let rows: i64 = sqlx::query_scalar(
        "select (select count(*) from audit_entries) + (select count(*) from journal) + (select count(*) from verdicts)",
    )
    .fetch_one(&mut owner)
    .await
    .unwrap();
    assert_eq!(u64::try_from(rows).unwrap(), size);
    let verified = log.verify().await.unwrap();
    assert_eq!((verified.entries, verified.continues), (size, Some(size)));

    // The export of everything, of a range and of one firm, without a database.
    let keys = log.keys().await.unwrap();
    let root = auditing::root(&*log.store(), size).await.unwrap();
    let ranges = [
        (Wanted::default(), size),
        (Wanted { first: 3, end: Some(9), ..Wanted::default() }, 6),
        (Wanted { first: 5, end: Some(5), ..Wanted::default() }, 0),
        (Wanted { first: size, end: Some(size), ..Wanted::default() }, 0),
    ];
    for (wanted, entries) in ranges {
        let file = log.export(wanted).await;
        let mut verifier = Verifier::new(Trust { keys: keys.clone(), checkpoint: Some((size, root)) });
        verifier.feed(&file).unwrap();
        let shown = verifier.finish().unwrap();
        assert_eq!((shown.entries, shown.continues), (entries, Some(size)), "{wanted:?}");
    }
    let ours = log.export(Wanted { firm: Some(one.firm), ..Wanted::default() }).await;
    let theirs = two.trader.id.to_string();
    assert!(!String::from_utf8_lossy(&ours).contains(&theirs), "another firm's people are not in it");
    let mut verifier = Verifier::new(Trust { keys: keys.clone(), checkpoint: None });
    verifier.feed(&ours).unwrap();
    let of_one = verifier.finish().unwrap().entries;
    assert!(0 < of_one && of_one < size, "{of_one}");

    // A verdict's entry holds its evidence by hash, and is proven.
    let (leaf, row) = log.store().verdict_entry(one.firm, one.passed, 1).await.unwrap().unwrap();
    assert_eq!(log.store().verdict_entry(two.firm, one.passed, 1).await.unwrap(), None);
    let mut bytes = Vec::new();
    row.encode(leaf.index, &mut bytes).unwrap();
    let path = auditing::prove_inclusion(&*log.store(), leaf.index, size).await.unwrap().unwrap();
    let checkpoint = log.store().newest_checkpoint().await.unwrap().unwrap().note;
    let proof = Proof { index: leaf.index, path, checkpoint };
    let (entry, _) = Proof::parse(&proof.to_string()).unwrap().verify(&bytes, &keys).unwrap();
    assert_eq!((entry.source, entry.object), (Source::Verdict, one.passed.to_string().as_str()));
    let evidence: String =
        sqlx::query_scalar("select evidence from verdicts where account_id = $1 and number = 1")
            .bind(one.passed.uuid())
            .fetch_one(&mut owner)
            .await
            .unwrap();
    assert_eq!(entry.document.unwrap().hash, Hash::of(evidence.as_bytes()));

    // A firm's auditors find its entries and no others.
    let all = log.store().search_log(one.firm, &Search::default(), 10_000).await.unwrap();
    assert!(all.entries.iter().all(|(_, row)| row.firm == one.firm));
    assert_eq!((u64::try_from(all.entries.len()).unwrap(), all.below), (of_one, None));
    let commands = Search { action: Some("command.".to_owned()), ..Search::default() };
    let page = log.store().search_log(one.firm, &commands, 2).await.unwrap();
    assert!(page.entries.len() == 2 && page.entries[0].0.index > page.entries[1].0.index);
    let next = Search { below: page.below, ..commands };
    let next = log.store().search_log(one.firm, &next, 2).await.unwrap();
    assert!(next.entries[0].0.index < page.entries[1].0.index);
    let theirs = log.store().search_log(two.firm, &Search::default(), 1).await.unwrap().entries[0].0.index;
    assert_eq!(log.store().log_entry(one.firm, theirs).await.unwrap(), None);
    assert!(log.store().log_entry(two.firm, theirs).await.unwrap().is_some());
}

#[tokio::test]
async fn an_edited_row_is_named() {
    let log = Log::of_300().await;
    let mut owner = log.owner().await;
    for change in [
        "action = 'test.other'",
        "object = 'another'",
        "detail = '{\"a\": [1, \"é\"], \"b\": 0}'",
        "at = at + interval '1 microsecond'",
        "actor_id = firm_id",
        "request_id = firm_id",
        "purpose = 'none'",
        "before = sha256('')",
        "personal_of = firm_id, personal = 'x'",
        "document_length = 1, document_hash = sha256('')",
    ] {
        run(&mut owner, "create temp table kept as select * from audit_entries where id = 18").await;
        run(&mut owner, &format!("update audit_entries set {change} where id = 18")).await;
        let found = log.found().await;
        assert!(found.starts_with("entry 17 is wrong: it was changed: it has the hash"), "{change}: {found}");
        run(&mut owner, "delete from audit_entries where id = 18").await;
        run(&mut owner, "insert into audit_entries overriding system value select * from kept").await;
        run(&mut owner, "drop table kept").await;
        log.verify().await.unwrap();
    }
}

#[tokio::test]
async fn a_row_edited_with_its_hash_is_named_by_the_copies_and_by_the_checkpoint_without_them() {
    let log = Log::of_300().await;
    let mut owner = log.owner().await;
    run(&mut owner, "update audit_entries set action = 'test.other' where id = 151").await;
    rehash(&log, &mut owner, 150).await;
    let outside = log.folder().read("checkpoint").unwrap().unwrap();
    let keys = log.keys().await.unwrap();
    let trusted = keys.open(std::str::from_utf8(&outside).unwrap()).unwrap().checkpoint;
    let found = said(log.verify_with(keys, Some(trusted), true).await.unwrap_err());
    assert!(found.starts_with("entry 150 is wrong: it was changed together with its hash"), "{found}");

    // Without the copies it shows at the next checkpoint, also where the stored nodes were changed with it.
    let found = said(log.verify_alone().await.unwrap_err());
    let say = "the checkpoint after entry number 200 is wrong: the entries before it are not those it was signed for: the first \
               wrong one is entry 100 or one after it, up to entry 199";
    assert_eq!(found, say);
    renode(&log, &mut owner).await;
    assert_eq!(said(log.verify_alone().await.unwrap_err()), say);
    // And what lies outside, before anything is looked at.
    let rewritten = "the log was rewritten: the checkpoint outside has another root for the first 300 entries than the database";
    assert_eq!(log.found().await, rewritten);
    let sealer = log.sealer();
    assert_eq!(refused_to_seal(sealer.take_over(2).await), rewritten);
}

#[tokio::test]
async fn a_deleted_row_is_named_also_where_all_behind_it_were_moved_up() {
    let log = Log::of_300().await;
    let mut owner = log.owner().await;
    run(&mut owner, "delete from audit_entries where id = 43").await;
    assert_eq!(log.found().await, "entry 42 is missing: act 43 was deleted from its table");
    run(&mut owner, "delete from audit_leaves where leaf = 42").await;
    assert_eq!(
        said(log.verify_alone().await.unwrap_err()),
        "entry 42 is missing from the tree, which should have 300"
    );
    run(&mut owner, "update audit_leaves set leaf = leaf - 1000 where leaf > 42").await;
    run(&mut owner, "update audit_leaves set leaf = leaf + 999 where leaf < 0").await;
    let found = said(log.verify_alone().await.unwrap_err());
    assert!(found.starts_with("entry 42 is wrong: it was changed"), "{found}");
    run(&mut owner, "update audit_state set size = 299").await;
    rehash(&log, &mut owner, 42).await;
    let found = log.found().await;
    assert_eq!(
        found,
        "the log was cut or set back: the checkpoint outside has 300 entries, and the database 299"
    );
    // The checkpoint of the removed end is removed too, and still the one of 100 entries speaks.
    run(&mut owner, "delete from audit_checkpoints where size = 300").await;
    let found = said(log.verify_alone().await.unwrap_err());
    assert!(found.starts_with("the checkpoint after entry number 100 is wrong"), "{found}");
}

#[tokio::test]
async fn an_added_row_is_named() {
    let log = Log::of_300().await;
    let mut owner = log.owner().await;
    let add = "insert into audit_entries (firm_id, id, at, action, object_kind, object, detail) overriding system value
               select firm_id, -7, at, 'test.added', object_kind, object, detail from audit_entries where id = 7";
    run(&mut owner, add).await;
    // Its number is one below which everything is an entry.
    log.acts(1).await;
    assert_eq!(log.seal_all(2).await, 1);
    assert_eq!(log.found().await, "act -7 stands in its table and is no entry: it was added by other hands");
    // Put into the tree in the place of another, it is found as well.
    run(&mut owner, "update audit_leaves set number = -7 where leaf = 30").await;
    let found = log.found().await;
    assert!(found.starts_with("entry 30 is wrong: it was changed"), "{found}");
}

#[tokio::test]
async fn two_entries_that_change_places_are_named() {
    let log = Log::of_300().await;
    let mut owner = log.owner().await;
    run(
        &mut owner,
        "update audit_leaves set leaf = case leaf when 12 then -1 else -2 end where leaf in (12, 13)",
    )
    .await;
    run(&mut owner, "update audit_leaves set leaf = case leaf when -1 then 13 else 12 end where leaf < 0")
        .await;
    let found = said(log.verify_alone().await.unwrap_err());
    assert!(found.starts_with("entry 12 is wrong: it was changed"), "{found}");
    rehash(&log, &mut owner, 12).await;
    renode(&log, &mut owner).await;
    let found = said(log.verify_alone().await.unwrap_err());
    assert!(found.starts_with("the checkpoint after entry number 100 is wrong"), "{found}");
}

#[tokio::test]
async fn a_tail_that_was_cut_is_told_by_what_lies_outside() {
    let log = Log::of_300().await;
    let mut owner = log.owner().await;
    for sql in [
        "delete from audit_entries where id > 200",
        "delete from audit_leaves where leaf >= 200",
        "delete from audit_nodes",
        "delete from audit_checkpoints where size > 200",
        "update audit_state set size = 200",
        "update audit_marks set number = 200 where source = 1",
    ] {
        run(&mut owner, sql).await;
    }
    let alone = log.verify_alone().await.unwrap();
    assert!(alone.sentence().contains("You named no checkpoint from before"), "{}", alone.sentence());
    let cut = "the log was cut or set back: the checkpoint outside has 300 entries, and the database 200";
    assert_eq!(log.found().await, cut);
    let sealer = log.sealer();
    assert_eq!(refused_to_seal(sealer.take_over(2).await), cut);
}

#[tokio::test]
async fn an_old_backup_is_told_by_what_lies_outside_also_where_the_log_has_grown_over_it() {
    let log = Log::new().await;
    let tables = [
        "audit_entries",
        "audit_leaves",
        "audit_nodes",
        "audit_checkpoints",
        "audit_keys",
        "audit_marks",
        "audit_state",
    ];
    log.acts(120).await;
    assert_eq!(log.seal_all(1).await, 120);
    let mut owner = log.owner().await;
    for table in tables {
        run(&mut owner, &format!("create table backup_of_{table} as select * from {table}")).await;
    }
    log.acts(60).await;
    assert_eq!(log.seal_all(2).await, 60);
    assert_eq!(log.sealer().copy().await.unwrap(), 180);
    for table in tables {
        run(&mut owner, &format!("delete from {table}")).await;
        run(
            &mut owner,
            &format!("insert into {table} overriding system value select * from backup_of_{table}"),
        )
        .await;
    }
    run(&mut owner, "alter sequence audit_entries_id_seq restart with 121").await;
    let set_back =
        "the log was cut or set back: the checkpoint outside has 180 entries, and the database 120";
    assert_eq!(log.found().await, set_back);
    let sealer = log.sealer();
    assert_eq!(refused_to_seal(sealer.take_over(3).await), set_back);
    // Somebody seals other entries there, with the right key and without looking outside.
    let elsewhere = tempfile::tempdir().unwrap();
    let blind = crate::common::sealer(&log.world, &[7], elsewhere.path());
    log.other_acts(100).await;
    let mut sealing = blind.take_over(3).await.unwrap();
    sealing.seal().await.unwrap();
    sealing.sign().await.unwrap();
    let rewritten = "the log was rewritten: the checkpoint outside has another root for the first 180 entries than the database";
    assert_eq!(log.found().await, rewritten);
    assert_eq!(
        said(match sealer.copy().await {
            Err(Failure::Log(error)) => error,
            other => panic!("{other:?}"),
        }),
        rewritten
    );
}

#[tokio::test]
async fn a_chain_that_was_built_anew_is_told_by_its_key_or_by_an_older_checkpoint() {
    let mut log = Log::of_300().await;
    let mut owner = log.owner().await;
    let old = log.keys().await.unwrap();
    for table in ["audit_leaves", "audit_nodes", "audit_checkpoints", "audit_keys", "audit_marks"] {
        run(&mut owner, &format!("delete from {table}")).await;
    }
    run(&mut owner, "update audit_state set size = 0").await;
    run(&mut owner, "update audit_entries set action = 'test.other' where id = 5").await;
    let elsewhere = tempfile::tempdir().unwrap();
    let build = async |secret: u8| {
        let sealer = crate::common::sealer(&log.world, &[secret], elsewhere.path());
        let mut sealing = sealer.take_over(9).await.unwrap();
        assert_eq!(sealing.seal().await.unwrap(), 300);
        assert!(sealing.sign().await.unwrap());
    };
    // With another key: the key is named, and to whoever is shown an export the first checkpoint.
    build(8).await;
    let found = log.found().await;
    assert!(found.starts_with("the log's keys are not those of this installation: the first is"), "{found}");
    let file = log.export(Wanted::default()).await;
    let mut verifier = Verifier::new(Trust { keys: old.clone(), checkpoint: None });
    let refused = app::with_causes(&verifier.feed(&file).unwrap_err());
    let say = "the checkpoint after entry number 300 is wrong: it is not believed: it is signed by none of the log's keys";
    assert!(refused.starts_with(say), "{refused}");

    // With the stolen key: nothing within the database shows it, and any older checkpoint does.
    for table in ["audit_leaves", "audit_nodes", "audit_checkpoints", "audit_keys", "audit_marks"] {
        run(&mut owner, &format!("delete from {table}")).await;
    }
    run(&mut owner, "update audit_state set size = 0").await;
    build(7).await;
    log.verify_alone().await.unwrap();
    let rewritten = "the log was rewritten: the checkpoint outside has another root for the first 300 entries than the database";
    assert_eq!(log.found().await, rewritten);
    let older = log.folder().read("checkpoints/300").unwrap().unwrap();
    let older = old.open(std::str::from_utf8(&older).unwrap()).unwrap().checkpoint;
    let found = said(log.verify_with(old.clone(), Some(older), false).await.unwrap_err());
    assert!(
        found.starts_with(
            "the log was rewritten: its first 300 entries are not those of the checkpoint that you trust"
        ),
        "{found}"
    );
    // The sealer that is asked to go on with it does not.
    log.secrets = vec![7];
    let sealer = log.sealer();
    assert_eq!(refused_to_seal(sealer.take_over(10).await), rewritten);
}

#[tokio::test]
async fn nodes_checkpoints_keys_and_the_end_cannot_be_changed_unseen() {
    let log = Log::of_300().await;
    let mut owner = log.owner().await;
    let mut attack = async |change: &str, undo: &str, say: &str| {
        run(&mut owner, change).await;
        let found = said(log.verify_alone().await.unwrap_err());
        assert!(found.starts_with(say), "{change}: {found}");
        run(&mut owner, undo).await;
        log.verify_alone().await.unwrap();
    };
    run(&mut log.owner().await, "create table kept as select * from audit_nodes").await;
    run(&mut log.owner().await, "create table kept_notes as select * from audit_checkpoints").await;
    attack(
        "update audit_nodes set hash = sha256('')",
        "update audit_nodes set hash = (select hash from kept)",
        "the tree's node 0 of level 1 is not the root of the entries below it, up to entry 255",
    )
    .await;
    attack(
        "delete from audit_nodes",
        "insert into audit_nodes select * from kept",
        "the tree's node 0 of level 1 is missing",
    )
    .await;
    attack(
        "update audit_checkpoints set note = replace(note, '200', '201') where size = 200",
        "update audit_checkpoints set note = kept_notes.note from kept_notes where kept_notes.size = audit_checkpoints.size",
        "the checkpoint after entry number 200 is wrong: it is not believed: it was changed after signing",
    )
    .await;
    attack(
        "update audit_state set size = 299",
        "update audit_state set size = 300",
        "entry 299 is in the tree, which should end before it with 299 entries",
    )
    .await;
    attack(
        "update audit_state set size = 301",
        "update audit_state set size = 300",
        "entry 300 is missing from the tree, which should have 301",
    )
    .await;
    attack(
        "update audit_leaves set firm_id = gen_random_uuid() where leaf = 3",
        "update audit_leaves set firm_id = (select firm_id from audit_leaves where leaf = 4) where leaf = 3",
        "entry 3 was changed",
    )
    .await;
}

#[tokio::test]
async fn a_command_that_was_removed_before_it_was_sealed_is_named() {
    let world = World::new().await;
    let one = story(&world, "one", 0).await;
    let directory = tempfile::tempdir().unwrap();
    let log = Log { world, firm: one.firm, directory, secrets: vec![9] };
    let mut owner = log.owner().await;
    let last: i64 = sqlx::query_scalar("select max(seq) from journal").fetch_one(&mut owner).await.unwrap();
    let copy = "insert into journal select firm_id, shard, seq + 2, at, after_quote, account_id, key, act, outcome, person_id, request_id
                from journal where seq = (select max(seq) from journal)";
    run(&mut owner, copy).await;
    let sealer = log.sealer();
    let mut sealing = sealer.take_over(2).await.unwrap();
    let Err(Failure::Log(error)) = sealing.seal().await else { panic!("sealed over a gap") };
    let say = format!(
        "command 0/{} is missing: the journal goes on behind it, and it never became an entry",
        last + 1
    );
    assert_eq!(said(error), say);
}

#[tokio::test(flavor = "multi_thread")]
async fn sixty_four_writers_leave_a_sequence_without_gaps_and_one_chain() {
    let log = Arc::new(Log::new().await);
    let sealer = log.sealer();
    let (stop, mut stopped) = watch::channel(false);
    let writers: Vec<_> = (0..64_usize)
        .map(|writer| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let mut connection = log.world.database.role("tradesense_app").await;
                sqlx::query("select set_config('tradesense.firm', $1, false)")
                    .bind(log.firm.to_string())
                    .execute(&mut connection)
                    .await
                    .unwrap();
                for number in 0..40_usize {
                    let mut tx = connection.begin().await.unwrap();
                    let insert =
                        "insert into audit_entries (firm_id, at, action, object_kind, object, detail)
                                  values ($1, now(), 'test.act', 'thing', $2, '{}')";
                    sqlx::query(insert)
                        .bind(log.firm.uuid())
                        .bind(format!("{writer}-{number}"))
                        .execute(&mut *tx)
                        .await
                        .unwrap();
                    // Some commit late, behind ids that were given after theirs; some never.
                    if number % 7 == writer % 7 {
                        tokio::time::sleep(Duration::from_millis(15)).await;
                    }
                    if number % 10 == 3 {
                        tx.rollback().await.unwrap();
                    } else {
                        tx.commit().await.unwrap();
                    }
                }
            })
        })
        .collect();
    let sealing = async {
        let mut sealing = sealer.take_over(1).await.unwrap();
        let mut rounds = 0_usize;
        while !*stopped.borrow_and_update() {
            sealing.seal().await.unwrap();
            rounds += 1;
            // Another process takes over now and then, in the middle of everything.
            if rounds.is_multiple_of(20) {
                sealing.sign().await.unwrap();
                let token = i64::try_from(rounds).unwrap();
                let next = sealer.take_over(token).await.unwrap();
                let mut deposed = std::mem::replace(&mut sealing, next);
                log.acts(1).await;
                assert!(matches!(deposed.seal().await, Err(Failure::Deposed)));
            }
        }
        while sealing.seal().await.unwrap() > 0 {}
        sealing.sign().await.unwrap();
        (sealing.size(), rounds / 20)
    };
    let writing = async {
        for writer in writers {
            writer.await.unwrap();
        }
        stop.send_replace(true);
    };
    let ((size, acts), ()) = tokio::join!(sealing, writing);
    let written = 64 * 36 + u64::try_from(acts).unwrap();
    assert_eq!(size, written);
    let mut owner = log.owner().await;
    let (leaves, first, last, rows): (i64, i64, i64, i64) = sqlx::query_as(
        "select count(*), min(leaf), max(leaf), count(distinct number) from audit_leaves
         join audit_entries on id = number",
    )
    .fetch_one(&mut owner)
    .await
    .unwrap();
    let written = i64::try_from(written).unwrap();
    assert_eq!((leaves, first, last, rows), (written, 0, written - 1, written));
    assert_eq!(log.verify().await.unwrap().entries, size);
    // Every checkpoint is continued by the next.
    let checkpoints = log.store().checkpoints(0, 1_000).await.unwrap();
    for pair in checkpoints.windows(2) {
        let (older, newer) = (&pair[0], &pair[1]);
        let proof =
            auditing::prove_consistency(&*log.store(), older.size, newer.size).await.unwrap().unwrap();
        verify_consistency(older.size, newer.size, &proof, &older.root, &newer.root).unwrap();
    }
}

#[tokio::test]
async fn what_comes_to_light_late_is_sealed_late_and_not_lost_by_whoever_takes_over_in_between() {
    let log = Log::new().await;
    let mut late = log.world.database.role("tradesense_app").await;
    sqlx::query("select set_config('tradesense.firm', $1, false)")
        .bind(log.firm.to_string())
        .execute(&mut late)
        .await
        .unwrap();
    let mut tx = late.begin().await.unwrap();
    sqlx::query(
        "insert into audit_entries (firm_id, at, action, object_kind, object, detail)
         values ($1, now(), 'test.late', 'thing', 'late', '{}')",
    )
    .bind(log.firm.uuid())
    .execute(&mut *tx)
    .await
    .unwrap();
    log.acts(5).await;
    assert_eq!(log.seal_all(1).await, 5);
    log.acts(2).await;
    assert_eq!(log.seal_all(2).await, 2, "neither waits for it nor counts it");
    tx.commit().await.unwrap();
    assert_eq!(log.seal_all(3).await, 1);
    let (_, row) = log.store().leaves(7, 8).await.unwrap().remove(0);
    assert_eq!(row.unwrap().action, "test.late");
    assert_eq!(log.seal_all(4).await, 0);
    log.verify().await.unwrap();
}

#[tokio::test]
async fn a_sealer_that_was_paused_can_write_and_sign_nothing_once_another_seals() {
    let log = Log::new().await;
    let (first, second) = (log.sealer(), log.sealer());
    log.acts(10).await;
    let mut paused = first.take_over(1).await.unwrap();
    assert_eq!(paused.seal().await.unwrap(), 10);
    log.acts(10).await;
    let mut awake = second.take_over(2).await.unwrap();
    // It wakes and finds the same rows.
    assert!(matches!(paused.seal().await, Err(Failure::Deposed)));
    assert!(matches!(paused.sign().await, Err(Failure::Deposed)));
    assert_eq!(awake.seal().await.unwrap(), 10);
    assert!(awake.sign().await.unwrap());
    assert!(matches!(first.take_over(1).await, Err(Failure::Deposed)), "its token is old");
    // At the same moment, under one token, as if a lease had been given twice: one of the two goes on.
    let (mut one, mut two) = (first.take_over(3).await.unwrap(), second.take_over(3).await.unwrap());
    log.acts(10).await;
    let (by_one, by_two) = tokio::join!(one.seal(), two.seal());
    let both = [by_one, by_two].map(|sealed| sealed.map_err(|failure| failure.to_string()));
    let went_on = both.iter().filter(|sealed| **sealed == Ok(10)).count();
    let ended = both.iter().filter(|sealed| **sealed == Err("somebody else seals".to_owned())).count();
    assert_eq!((went_on, ended), (1, 1), "{both:?}");
    assert_eq!(log.seal_all(4).await, 0);
    assert_eq!(log.verify().await.unwrap().entries, 30);
}

/// Fails at the call with this number, before or after doing it.
struct Crashing {
    store: Arc<dyn AuditStore>,
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
    ($(fn $name:ident($($argument:ident: $kind:ty),*) -> $done:ty;)*) => {
        #[async_trait]
        impl AuditStore for Crashing {
            $(async fn $name(&self, $($argument: $kind),*) -> Result<$done, AppError> {
                self.call(self.store.$name($($argument),*)).await
            })*
        }
    };
}

calls! {
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

#[async_trait]
impl Copies for Crashing {
    async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, AppError> {
        self.call(self.copies.get(name)).await
    }

    async fn put(&self, name: &str, content: &[u8]) -> Result<(), AppError> {
        self.call(self.copies.put(name, content)).await
    }
}

/// One life of a sealer: takes over, seals twice, signs, copies.
async fn life(log: &Log, crashing: Arc<Crashing>, token: i64) -> Result<(), Failure> {
    let sealer = Sealer { store: crashing.clone(), copies: crashing, ..log.sealer() };
    let mut sealing = sealer.take_over(token).await?;
    sealing.seal().await?;
    sealing.sign().await?;
    log.acts(3).await;
    sealing.seal().await?;
    sealing.sign().await?;
    sealer.copy().await?;
    Ok(())
}

#[tokio::test]
async fn a_sealer_may_die_before_and_after_every_step() {
    let mut log = Log::new().await;
    let mut token = 0;
    for after in [false, true] {
        for crash_at in 0_usize.. {
            assert!(crash_at < 100, "it dies for ever");
            log.acts(7).await;
            token += 1;
            // Every dozen lives the log gets its next key, so that handing over is interrupted too.
            if crash_at.is_multiple_of(12) {
                log.secrets.push(u8::try_from(20 + token).unwrap());
            }
            let (store, copies) = (log.store(), log.folder());
            let crashing = Crashing { store, copies, calls: AtomicUsize::new(0), crash_at, after };
            let lived = life(&log, Arc::new(crashing), token).await;
            match lived {
                Ok(()) => break,
                Err(Failure::Log(LogError::App(error))) => {
                    assert_eq!(error.to_string(), "being killed failed");
                }
                Err(other) => panic!("after {crash_at}: {other:?}"),
            }
        }
    }
    token += 1;
    log.seal_all(token).await;
    log.sealer().copy().await.unwrap();
    let mut owner = log.owner().await;
    let (rows, leaves): (i64, i64) =
        sqlx::query_as("select (select count(*) from audit_entries), (select count(*) from audit_leaves)")
            .fetch_one(&mut owner)
            .await
            .unwrap();
    assert_eq!(rows, leaves);
    let verified = log.verify().await.unwrap();
    assert_eq!(verified.entries, u64::try_from(rows).unwrap());
    // The copies alone make the same log.
    whole_copy(&log.folder(), verified.header.size, &log.keys().await.unwrap());
}

/// Reads the copies as a stranger does: every bundle against its tile, and all against the newest checkpoint.
fn whole_copy(folder: &Folder, size: u64, keys: &Keys) {
    let mut frontier = audit::tree::Frontier::new();
    for index in 0..size.div_ceil(256) {
        let width = u16::try_from((size - index * 256).min(256)).unwrap();
        let file = |content| {
            let name = audit::tiles::Tile { content, index, width }.to_string();
            folder.read(&name).unwrap().unwrap_or_else(|| panic!("{name} is missing"))
        };
        let (bundle, tile) = (file(audit::tiles::Content::Entries), file(audit::tiles::Content::Hashes(0)));
        audit::tiles::check_bundle(index * 256, &bundle, &tile).unwrap();
        for entry in audit::tiles::read_bundle(index * 256, &bundle).unwrap() {
            assert_eq!(Entry::decode(entry).unwrap().index, frontier.size());
            frontier.push(Hash::leaf(entry), |_, _| ()).unwrap();
        }
    }
    let newest = folder.read("checkpoint").unwrap().unwrap();
    let opened = keys.open(std::str::from_utf8(&newest).unwrap()).unwrap();
    assert_eq!((opened.checkpoint.size, opened.checkpoint.root), (size, frontier.root()));
}

/// The whole way of a copy to an S3 server and back.
#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_outside_catches_what_a_folder_outside_does() {
    let log = Log::new().await;
    let s3 = TestS3::start().await;
    s3.bucket("acme-audit", true).await;
    // The server looks at the machine's clock, which is far before this.
    let later = Arc::new(kernel::ManualClock::new(kernel::Timestamp::parse("2090-01-05T10:00:00Z").unwrap()));
    let means = Means {
        credentials: Some(Credentials::new("AKIAEXAMPLE", "hush")),
        clock: later,
        rng: Arc::new(kernel::SeededRng::new(1)),
    };
    let place: Place = s3.place("acme-audit").replace('?', "/eu?").parse().unwrap();
    let copies = place.writer(means.clone()).await.unwrap();
    let sealer = Sealer { copies: Arc::clone(&copies), ..log.sealer() };
    let mut sealing = sealer.take_over(1).await.unwrap();
    for size in [100, 200, 300] {
        log.acts(100).await;
        assert_eq!(sealing.seal().await.unwrap(), 100);
        assert!(sealing.sign().await.unwrap());
        assert_eq!(sealer.copy().await.unwrap(), size);
    }
    assert_eq!(s3.versions("acme-audit", "eu/checkpoint").await.len(), 3);
    for object in ["tile/0/000", "tile/entries/001.p/44", "checkpoints/300", "keys/1"] {
        let [version] = &*s3.versions("acme-audit", &format!("eu/{object}")).await else {
            panic!("{object}")
        };
        let target = format!("/acme-audit/eu/{object}?versionId={version}");
        assert_eq!(s3.ask("DELETE", &target, &[], "").await.status, 403, "{object}");
    }

    // It says the same as the database, and holds every hash.
    let keys = log.keys().await.unwrap();
    let outside = || auditing::check_outside(&*log.world.store, &*copies, &keys);
    let newest = outside().await.unwrap().unwrap().checkpoint;
    assert_eq!(newest.size, 300);
    let compare = async || {
        let reader = place.reader(means.clone()).unwrap();
        let mut hashes = CopiedHashes::new(reader, 300, tokio::runtime::Handle::current());
        let failed = hashes.failed();
        let copied: Copied = Box::new(move |entry| hashes.hash(entry));
        let trust = Trust { keys: keys.clone(), checkpoint: Some((newest.size, newest.root)) };
        let verified = auditing::verify(&log.store(), trust, Wanted::default(), Some(copied)).await;
        assert!(failed.lock().unwrap().is_none());
        verified
    };
    assert_eq!(compare().await.unwrap().entries, 300);

    // A row that was changed together with its hash.
    let mut owner = log.owner().await;
    run(&mut owner, "update audit_entries set action = 'test.other' where id = 151").await;
    rehash(&log, &mut owner, 150).await;
    let found = said(compare().await.unwrap_err());
    assert!(found.starts_with("entry 150 is wrong: it was changed together with its hash"), "{found}");
    // A log that goes on without its end, or with another past.
    run(&mut owner, "update audit_state set size = 200").await;
    let cut = said(outside().await.unwrap_err());
    assert!(cut.starts_with("the log was cut or set back: the checkpoint outside has 300"), "{cut}");
    assert_eq!(refused_to_seal(sealer.take_over(2).await), cut);
}

#[tokio::test]
async fn each_key_hands_over_to_the_next_and_a_stranger_with_the_first_follows() {
    let mut log = Log::new().await;
    for (token, secret) in [(1, 7_u8), (2, 11), (3, 12)] {
        if secret != 7 {
            log.secrets.push(secret);
        }
        log.acts(50).await;
        log.seal_all(token).await;
    }
    log.sealer().copy().await.unwrap();
    let first = Keys::new(log.sealer().signers[0].public(Signs::Text)).unwrap();
    let file = log.export(Wanted::default()).await;
    let mut verifier = Verifier::new(Trust { keys: first, checkpoint: None });
    verifier.feed(&file).unwrap();
    let shown = verifier.finish().unwrap();
    assert_eq!((shown.entries, shown.checkpoints), (150, 3));
    assert_eq!(shown.checkpoint.key, log.sealer().signers[2].public(Signs::Text));
    assert_eq!(log.verify().await.unwrap().entries, 150);
    // A process that has not got the newest key does not sign with an older one.
    log.secrets.pop();
    let sealer = log.sealer();
    let found = refused_to_seal(sealer.take_over(4).await);
    assert!(found.contains("there are 3, and this process has 2"), "{found}");
}

#[tokio::test]
async fn the_continuous_verifier_goes_through_the_log_and_counts_what_it_finds() {
    let log = Log::of_300().await;
    let health = Arc::new(Health::default());
    let verifier = LogVerifier {
        store: log.store(),
        copies: Arc::new(log.folder()),
        key: log.sealer().signers[0].public(Signs::Text),
        clock: log.world.clock.clone(),
        health: Arc::clone(&health),
    };
    let mut progress = Progress::default();
    verifier.round(&mut progress).await.unwrap();
    let verified_at = health.verified_at();
    assert!(verified_at > 0);
    log.acts(20).await;
    log.seal_all(2).await;
    log.world.clock.set(after(60));
    verifier.round(&mut progress).await.unwrap();
    assert_eq!(health.verified_at() - verified_at, 60_000_000);
    let figures = told(&health);
    for line in [
        "tradesense_audit_chain_break_total 0",
        "tradesense_audit_verified_timestamp_seconds 1767607260.000000",
        "tradesense_audit_last_checkpoint_age_seconds 150.000000",
    ] {
        assert!(figures.lines().any(|found| found == line), "{line} in {figures}");
    }
    let mut owner = log.owner().await;
    run(&mut owner, "update audit_entries set action = 'test.other' where id = 300").await;
    let found = said(verifier.round(&mut progress).await.unwrap_err());
    assert!(found.starts_with("entry 299 is wrong: it was changed"), "{found}");
    health.broke(&Break::NoLeaf { index: 0, size: 1 });
    assert!(told(&health).contains("tradesense_audit_chain_break_total 1"));
}

fn told(health: &Health) -> String {
    let mut page = Page::new(Format::Text);
    health.write(after(150), &mut page);
    page.finish()
}

fn after(seconds: i32) -> kernel::Timestamp {
    kernel::Timestamp::parse(testkit::START).unwrap().after(kernel::Span::from_seconds(seconds)).unwrap()
}

/// The SQLSTATE of a refusal.
async fn refused(connection: &mut PgConnection, sql: &str) -> String {
    match connection.execute(AssertSqlSafe(sql.to_owned())).await {
        Ok(done) => panic!("{sql}: touched {} rows", done.rows_affected()),
        Err(sqlx::Error::Database(error)) => error.code().unwrap_or_default().into_owned(),
        Err(other) => panic!("{sql}: {other}"),
    }
}

#[tokio::test]
async fn no_role_of_the_platform_changes_what_is_in_the_log_or_who_guards_it() {
    let log = Log::of_300().await;
    let partition: String = sqlx::query_scalar("select tableoid::regclass::text from audit_leaves limit 1")
        .fetch_one(&mut log.world.database.superuser().await)
        .await
        .unwrap();
    let tables = [
        "audit_entries",
        "journal",
        "verdicts",
        "audit_leaves",
        "audit_nodes",
        "audit_checkpoints",
        "audit_cosignatures",
        "audit_keys",
        "audit_state",
        "audit_marks",
        &partition,
    ];
    for role in ["app", "engine", "worker", "sealer", "auditor", "audit"] {
        let mut connection = log.world.database.role(&format!("tradesense_{role}")).await;
        for table in tables {
            let column = match table {
                "audit_entries" => "action",
                "audit_nodes" | "audit_keys" | "verdicts" | "audit_marks" => continue,
                "journal" => "seq",
                "audit_checkpoints" | "audit_cosignatures" | "audit_state" => "size",
                _ => "hash",
            };
            let moves = role == "sealer" && table == "audit_state";
            if !moves {
                let sql = format!("update {table} set {column} = {column}");
                assert_eq!(refused(&mut connection, &sql).await, "42501", "{role}: {sql}");
            }
        }
        for table in tables {
            for sql in [
                format!("delete from {table}"),
                format!("truncate {table}"),
                format!("alter table {table} disable trigger all"),
                format!("drop table {table}"),
                format!("alter table {table} disable row level security"),
            ] {
                assert_eq!(refused(&mut connection, &sql).await, "42501", "{role}: {sql}");
            }
        }
        for sql in
            ["set session_replication_role = replica", "drop function tradesense_refuse_change cascade"]
        {
            assert_eq!(refused(&mut connection, sql).await, "42501", "{role}: {sql}");
        }
        if role != "sealer" {
            for sql in [
                "insert into audit_leaves select * from audit_leaves",
                "insert into audit_nodes values (1, 7, sha256(''))",
                "insert into audit_checkpoints values (7, now(), sha256(''), '')",
                "insert into audit_keys values (7, '', 0, '')",
                "update audit_state set size = 0",
                "insert into audit_marks values (1, 0, 0)",
            ] {
                assert_eq!(refused(&mut connection, sql).await, "42501", "{role}: {sql}");
            }
        }
        // A partition by its own name is closed to everybody.
        let sql = format!("select count(*) from {partition}");
        assert_eq!(refused(&mut connection, &sql).await, "42501", "{role}: {sql}");
    }
    // Its own trigger stops also whoever owns it.
    let mut owner = log.world.database.superuser().await;
    for sql in [
        format!("update {partition} set hash = hash"),
        format!("delete from {partition}"),
        format!("truncate {partition}"),
        "delete from audit_state".to_owned(),
    ] {
        assert_eq!(refused(&mut owner, &sql).await, "23001", "{sql}");
    }
}

#[tokio::test]
async fn partitions_are_made_ahead_each_with_its_guards() {
    let log = Log::new().await;
    let mut owner = log.world.database.superuser().await;
    let count = "select count(*) from pg_inherits where inhparent = 'audit_leaves'::regclass";
    let before: i64 = sqlx::query_scalar(count).fetch_one(&mut owner).await.unwrap();
    assert_eq!(before, 4, "this month and three to come");
    let mut worker = log.world.database.role("tradesense_worker").await;
    let made: i32 =
        sqlx::query_scalar("select tradesense_audit_partitions(12)").fetch_one(&mut worker).await.unwrap();
    assert_eq!(made, 9);
    assert_eq!(log.store().make_partitions().await.unwrap(), 0);
    assert_eq!(refused(&mut worker, "select tradesense_audit_partitions(25)").await, "P0001");
    let mut app = log.world.database.role("tradesense_app").await;
    assert_eq!(refused(&mut app, "select tradesense_audit_partitions(1)").await, "42501");
    let unguarded: Vec<String> = sqlx::query_scalar(
        "select c.relname::text from pg_inherits join pg_class c on c.oid = inhrelid
         where inhparent = 'audit_leaves'::regclass
           and not (relrowsecurity and relforcerowsecurity
                    and exists (select from pg_trigger where tgrelid = c.oid and not tgisinternal)
                    and (select count(*) from pg_index where indrelid = c.oid and indisunique) = 3
                    and relacl is null and not exists (select from pg_policy where polrelid = c.oid))",
    )
    .fetch_all(&mut owner)
    .await
    .unwrap();
    assert_eq!(unguarded, Vec::<String>::new());
}
