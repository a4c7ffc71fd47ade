//! The audit log: rows that become entries, the tree they are sealed into, what was signed for it.
//!
//! Everything here is done under two roles that nothing else has: the sealer's, which reads the rows of every firm and alone
//! writes the tree, and the auditors', which reads one firm's.

use std::collections::{BTreeMap, HashMap, HashSet};

use app::AppError;
use app::auditing::{
    Archive, ArchiveStore, AuditStore, Batch, Cosignature, Dropped, Found, Held, Leaf, LogRow, Miscounted,
    Month, Over, Places, Search, Standing, StoredCheckpoint, StoredKey, Stretch, Unsealed,
};
use app::trading::{AuditEntry, Digests};
use async_trait::async_trait;
use audit::entry::{Document, Personal, Source};
use audit::tree::Hash;
use kernel::{AccountId, FirmId, PersonId, RequestId, Span, Timestamp};
use sqlx::{PgConnection, Postgres, Transaction};
use uuid::Uuid;

use crate::error::Doing;
use crate::records::{finish, write_audit_in_tx};
use crate::row::{At, column, place, to_place};
use crate::{Inconsistent, Store, Tx};

/// Leaves that a search looks at before it shows what it has found.
const MOST_LOOKED_AT: i64 = 20_000;
/// Of which so many are read in one go.
const LOOKED_AT_ONCE: i64 = 1_000;
/// Of rows that never became entries about so many are told.
const MOST_TOLD: usize = 20;
/// Rows whose entries are looked for in one go.
const SLICE: i64 = 20_000;
/// Partitions are made for so many months ahead.
const MONTHS_AHEAD: i32 = 3;
/// An act is sealed moments after it was written: its row is looked for this far around.
const BESIDE: Span = Span::from_seconds(86_400);
/// From 2000 to 2100: the months that acts have.
const ALL_MONTHS: (Timestamp, Timestamp) =
    (Timestamp::from_micros(946_684_800_000_000), Timestamp::from_micros(4_102_444_800_000_000));
/// What the database raises of a month that must not go now: too young, or something that belongs to it is there; under a legal hold.
const NOT_YET: [&str; 2] = ["TS010", "TS011"];
/// For a transaction that reads a month of the log as a whole.
const WHOLE_MONTH: &str = "begin; set local role tradesense_sealer; set local statement_timeout = '1h'";

struct ActRow {
    id: i64,
    firm_id: Uuid,
    at: At,
    actor_id: Option<Uuid>,
    request_id: Option<Uuid>,
    action: String,
    purpose: String,
    object_kind: String,
    object: String,
    detail: String,
    before: Option<Vec<u8>>,
    after: Option<Vec<u8>>,
    document_length: Option<i32>,
    document_hash: Option<Vec<u8>>,
    personal_of: Option<Uuid>,
    personal_hash: Option<Vec<u8>>,
}

struct CommandRow {
    firm_id: Uuid,
    shard: i16,
    seq: i64,
    at: At,
    after_quote: i64,
    account_id: Uuid,
    key: String,
    act: String,
    outcome: String,
    person_id: Option<Uuid>,
    request_id: Option<Uuid>,
}

struct VerdictRow {
    firm_id: Uuid,
    entry: i64,
    account_id: Uuid,
    number: i64,
    at: At,
    decided_at: At,
    kind: String,
    rule: String,
    phase: i32,
    length: i32,
    hash: Vec<u8>,
}

struct LeafRow {
    leaf: i64,
    firm_id: Uuid,
    sealed_at: At,
    source: i16,
    part: i16,
    number: i64,
    hash: Vec<u8>,
}

/// A leaf, and when it was sealed: that is when its row was written, but for a clock that was set or a row that came late.
struct Placed {
    leaf: Leaf,
    sealed_at: Timestamp,
}

struct ArchiveRow {
    month: String,
    first: i64,
    ends: i64,
    parts: i32,
    bytes: i64,
    sha256: Vec<u8>,
}

struct CheckpointRow {
    size: i64,
    at: At,
    root: Vec<u8>,
    note: String,
}

fn hash(table: &'static str, bytes: &[u8]) -> Result<Hash, Inconsistent> {
    Hash::from_slice(bytes)
        .ok_or_else(|| Inconsistent::new(table, format!("a hash of {} bytes", bytes.len())))
}

fn optional_hash(table: &'static str, bytes: Option<Vec<u8>>) -> Result<Option<Hash>, Inconsistent> {
    bytes.map(|bytes| hash(table, &bytes)).transpose()
}

impl ActRow {
    fn read(self) -> Result<LogRow, Inconsistent> {
        let table = "audit_entries";
        let document = match (self.document_length, self.document_hash) {
            (Some(length), Some(bytes)) => Some(Document {
                length: u32::try_from(length).map_err(Inconsistent::from(table))?,
                hash: hash(table, &bytes)?,
            }),
            _ => None,
        };
        let personal = match (self.personal_of, self.personal_hash) {
            (Some(person), Some(bytes)) => {
                Some(Personal { person: PersonId::from_uuid(person), hash: hash(table, &bytes)? })
            }
            _ => None,
        };
        Ok(LogRow {
            source: Source::Act,
            part: 0,
            number: self.id,
            firm: FirmId::from_uuid(self.firm_id),
            at: self.at.0,
            actor: self.actor_id.map(PersonId::from_uuid),
            request: self.request_id.map(RequestId::from_uuid),
            action: self.action,
            purpose: self.purpose,
            object_kind: self.object_kind,
            object: self.object,
            detail: self.detail,
            before: optional_hash(table, self.before)?,
            after: optional_hash(table, self.after)?,
            document,
            personal,
        })
    }
}

impl CommandRow {
    fn read(self) -> LogRow {
        let Self { after_quote, key, act, outcome, .. } = self;
        // As JSON names it: `{"place":{..}}` or `"promote"`.
        let name = act.split('"').nth(1).unwrap_or_default();
        let action = format!("command.{name}");
        let key = serde_json::Value::from(key);
        LogRow {
            source: Source::Command,
            part: self.shard,
            number: self.seq,
            firm: FirmId::from_uuid(self.firm_id),
            at: self.at.0,
            actor: self.person_id.map(PersonId::from_uuid),
            request: self.request_id.map(RequestId::from_uuid),
            action,
            purpose: String::new(),
            object_kind: "account".to_owned(),
            object: self.account_id.to_string(),
            // Written out, so that the order of the fields is decided here and for good.
            detail: format!(r#"{{"act":{act},"after_quote":{after_quote},"key":{key},"outcome":{outcome}}}"#),
            before: None,
            after: None,
            document: None,
            personal: None,
        }
    }
}

impl VerdictRow {
    fn read(self) -> Result<LogRow, Inconsistent> {
        let table = "verdicts";
        let Self { number, phase, .. } = self;
        let (rule, decided_at) = (serde_json::Value::from(self.rule), self.decided_at.0.micros());
        Ok(LogRow {
            source: Source::Verdict,
            part: 0,
            number: self.entry,
            firm: FirmId::from_uuid(self.firm_id),
            at: self.at.0,
            actor: None,
            request: None,
            action: format!("verdict.{}", self.kind),
            purpose: String::new(),
            object_kind: "account".to_owned(),
            object: self.account_id.to_string(),
            detail: format!(
                r#"{{"decided_at_us":{decided_at},"number":{number},"phase":{phase},"rule":{rule}}}"#
            ),
            before: None,
            after: None,
            document: Some(Document {
                length: u32::try_from(self.length).map_err(Inconsistent::from(table))?,
                hash: hash(table, &self.hash)?,
            }),
            personal: None,
        })
    }
}

impl LeafRow {
    fn read(self) -> Result<Placed, Inconsistent> {
        let table = "audit_leaves";
        let leaf = Leaf {
            index: place(table, self.leaf)?,
            firm: FirmId::from_uuid(self.firm_id),
            source: source(self.source)?,
            part: self.part,
            number: self.number,
            hash: hash(table, &self.hash)?,
        };
        Ok(Placed { leaf, sealed_at: self.sealed_at.0 })
    }
}

impl ArchiveRow {
    fn read(self) -> Result<Archive, Inconsistent> {
        let table = "audit_archives";
        let month = Month::parse(&self.month)
            .ok_or_else(|| Inconsistent::new(table, format!("a month {:?}", self.month)))?;
        Ok(Archive {
            of: Over { month, first: place(table, self.first)?, end: place(table, self.ends)? },
            parts: u32::try_from(self.parts).map_err(Inconsistent::from(table))?,
            bytes: place(table, self.bytes)?,
            sha256: hash(table, &self.sha256)?,
        })
    }
}

impl CheckpointRow {
    fn read(self) -> Result<StoredCheckpoint, Inconsistent> {
        let table = "audit_checkpoints";
        let root = hash(table, &self.root)?;
        Ok(StoredCheckpoint { size: place(table, self.size)?, at: self.at.0, root, note: self.note })
    }
}

fn source(code: i16) -> Result<Source, Inconsistent> {
    let known = u8::try_from(code).ok().and_then(Source::from_code);
    known.ok_or_else(|| Inconsistent::new("audit_leaves", format!("a table {code}")))
}

fn read_all<R, T>(rows: Vec<R>, read: impl Fn(R) -> Result<T, Inconsistent>) -> Result<Vec<T>, AppError> {
    Ok(rows.into_iter().map(read).collect::<Result<_, _>>()?)
}

type Key = (Source, i16, i64);

/// Acts of a stretch of time that were not seen: behind the last one that was, and in its gaps.
async fn unsealed_acts(
    connection: &mut PgConnection,
    (seen, gaps): &(i64, Vec<i64>),
    most: i64,
    since: Timestamp,
    until: Timestamp,
) -> Result<Vec<LogRow>, AppError> {
    let found = sqlx::query_as!(
        ActRow,
        r#"select id as "id!", firm_id as "firm_id!", at as "at!: At", actor_id, request_id, action as "action!",
                  purpose as "purpose!", object_kind as "object_kind!", object as "object!",
                  detail::text as "detail!", before, after, document_length, document_hash, personal_of,
                  sha256(personal) as personal_hash
           from ((select * from audit_entries where id = any($2) and at >= $4 and at < $5)
                 union all (select * from audit_entries where id > $1 and at >= $4 and at < $5 order by id limit $3)) acts
           order by id"#,
        seen,
        gaps,
        most,
        At(since) as _,
        At(until) as _,
    )
    .fetch_all(connection)
    .await
    .doing("reading what is to be sealed")?;
    read_all(found, ActRow::read)
}

/// Acts with these ids of a stretch of time.
async fn acts_of(
    connection: &mut PgConnection,
    ids: &[i64],
    since: Timestamp,
    until: Timestamp,
) -> Result<Vec<LogRow>, AppError> {
    let found = sqlx::query_as!(
        ActRow,
        r#"select id, firm_id, at as "at: At", actor_id, request_id, action, purpose, object_kind, object,
                  detail::text as "detail!", before, after, document_length, document_hash, personal_of,
                  sha256(personal) as personal_hash
           from audit_entries where id = any($1) and at >= $2 and at < $3"#,
        ids,
        At(since) as _,
        At(until) as _,
    )
    .fetch_all(connection)
    .await
    .doing("reading entries of the audit log")?;
    read_all(found, ActRow::read)
}

/// The rows of leaves, as far as whoever asks may see them.
async fn rows_of(connection: &mut PgConnection, placed: &[Placed]) -> Result<HashMap<Key, LogRow>, AppError> {
    let doing = "reading entries of the audit log";
    let leaves = || placed.iter().map(|placed| &placed.leaf);
    let numbers = |source: Source| -> Vec<i64> {
        leaves().filter(|leaf| leaf.source == source).map(|leaf| leaf.number).collect()
    };
    let mut rows: HashMap<Key, LogRow> = HashMap::with_capacity(placed.len());
    let mut keep = |found: Vec<LogRow>| {
        rows.extend(found.into_iter().map(|row| ((row.source, row.part, row.number), row)));
    };
    let acts = numbers(Source::Act);
    if !acts.is_empty() {
        // In the month or two in which they were sealed, so that no other is looked into; what is not there in all of them.
        let sealed = || placed.iter().map(|placed| placed.sealed_at);
        let (first, last) =
            (sealed().min().unwrap_or(Timestamp::EPOCH), sealed().max().unwrap_or(Timestamp::EPOCH));
        let around = (first.before(BESIDE).unwrap_or(first), last.after(BESIDE).unwrap_or(last));
        let found = acts_of(connection, &acts, around.0, around.1).await?;
        let there: HashSet<i64> = found.iter().map(|row| row.number).collect();
        keep(found);
        let elsewhere: Vec<i64> = acts.into_iter().filter(|id| !there.contains(id)).collect();
        if !elsewhere.is_empty() {
            keep(acts_of(connection, &elsewhere, ALL_MONTHS.0, ALL_MONTHS.1).await?);
        }
    }
    let verdicts = numbers(Source::Verdict);
    if !verdicts.is_empty() {
        let found = sqlx::query_as!(
            VerdictRow,
            r#"select firm_id, entry, account_id, number, at as "at: At", decided_at as "decided_at: At", kind, rule,
                      phase, octet_length(evidence) as "length!", sha256(convert_to(evidence, 'UTF8')) as "hash!"
               from verdicts where entry = any($1)"#,
            &verdicts,
        )
        .fetch_all(&mut *connection)
        .await
        .doing(doing)?;
        keep(read_all(found, VerdictRow::read)?);
    }
    let commands = numbers(Source::Command);
    if !commands.is_empty() {
        let of = leaves().filter(|leaf| leaf.source == Source::Command);
        let shards: Vec<i16> = of.map(|leaf| leaf.part).collect();
        let found = sqlx::query_as!(
            CommandRow,
            r#"select firm_id, journal.shard, journal.seq, at as "at: At", after_quote, account_id, key, act, outcome, person_id,
                      request_id
               from unnest($1::smallint[], $2::bigint[]) as wanted (shard, seq)
               join journal on journal.shard = wanted.shard and journal.seq = wanted.seq"#,
            &shards,
            &commands,
        )
        .fetch_all(&mut *connection)
        .await
        .doing(doing)?;
        keep(found.into_iter().map(CommandRow::read).collect());
    }
    Ok(rows)
}

/// The numbers of a source's rows above one and up to another, a slice of them in their order.
async fn numbers(
    connection: &mut PgConnection,
    source: Source,
    part: i16,
    after: i64,
    until: i64,
) -> Result<Vec<i64>, sqlx::Error> {
    match source {
        Source::Act => {
            sqlx::query_scalar!(
                "select id from audit_entries where id > $1 and id <= $2 order by id fetch first $3 rows with ties",
                after,
                until,
                SLICE,
            )
            .fetch_all(connection)
            .await
        }
        Source::Verdict => {
            sqlx::query_scalar!(
                "select entry from verdicts where entry > $1 and entry <= $2 order by entry limit $3",
                after,
                until,
                SLICE,
            )
            .fetch_all(connection)
            .await
        }
        Source::Command => {
            sqlx::query_scalar!(
                "select seq from journal where shard = $1 and seq > $2 and seq <= $3 order by seq limit $4",
                part,
                after,
                until,
                SLICE,
            )
            .fetch_all(connection)
            .await
        }
    }
}

/// Up to where all rows of a source and part are entries.
struct Marked {
    source: Source,
    part: i16,
    number: i64,
    /// The largest number of an entry that was dropped, and how many rows of those are still in their table.
    dropped: Option<(i64, i64)>,
}

/// Where the sources stand. No leaf is dropped until the transaction ends.
async fn marks(connection: &mut PgConnection) -> Result<Vec<Marked>, AppError> {
    let doing = "reading up to where rows are entries";
    sqlx::query!("lock table audit_leaves in access share mode")
        .execute(&mut *connection)
        .await
        .doing(doing)?;
    let rows = sqlx::query!(
        r#"select mark.source, mark.part, mark.number, gone.largest as "largest?", gone.rows as "rows?"
           from audit_marks mark
           left join (select source, part, max(largest) as largest,
                             (sum(rows) - case source when 1 then coalesce((select sum(rows) from audit_drops where what = 'acts'), 0)
                                                      else 0 end)::bigint as rows
                      from audit_dropped group by source, part) gone
                on gone.source = mark.source and gone.part = mark.part
           order by mark.source, mark.part"#
    )
    .fetch_all(connection)
    .await
    .doing(doing)?;
    read_all(rows, |row| {
        Ok(Marked {
            source: source(row.source)?,
            part: row.part,
            number: row.number,
            dropped: row.largest.zip(row.rows),
        })
    })
}

/// The numbers above one and up to another that have a leaf.
async fn sealed_numbers(
    connection: &mut PgConnection,
    source: Source,
    part: i16,
    after: i64,
    until: i64,
) -> Result<HashSet<i64>, AppError> {
    let numbers = sqlx::query_scalar!(
        "select number from audit_leaves where source = $1 and part = $2 and number > $3 and number <= $4",
        i16::from(source.code()),
        part,
        after,
        until,
    )
    .fetch_all(connection)
    .await
    .doing("looking for rows that are no entries")?;
    Ok(numbers.into_iter().collect())
}

impl Store {
    /// A transaction of the sealer's role.
    async fn as_sealer(&self, doing: &'static str) -> Result<Transaction<'static, Postgres>, AppError> {
        self.worker.begin_with("begin; set local role tradesense_sealer").await.doing(doing)
    }

    /// A transaction of the auditors' role, which sees one firm.
    async fn as_auditor(&self, firm: FirmId) -> Result<Tx, AppError> {
        let mut tx = self.begin(firm).await?;
        sqlx::query!("select set_config('role', 'tradesense_auditor', true)")
            .fetch_one(tx.connection())
            .await
            .doing("reading the audit log")?;
        Ok(tx)
    }
}

#[async_trait]
impl AuditStore for Store {
    async fn take_over_log(&self, token: i64) -> Result<Option<Standing>, AppError> {
        let doing = "taking the audit log over";
        self.make_partitions().await?;
        let mut tx = self.as_sealer(doing).await?;
        // Waits for whoever is just sealing, and lets nobody before us seal after it.
        let size = sqlx::query_scalar!(
            "update audit_state set token = $1 where one and token <= $1 returning size",
            token
        )
        .fetch_optional(&mut *tx)
        .await
        .doing(doing)?;
        let Some(size) = size else { return Ok(None) };
        let mut standing = Standing { size: place("audit_state", size)?, ..Standing::default() };
        let marks = sqlx::query!("select source, part, number from audit_marks")
            .fetch_all(&mut *tx)
            .await
            .doing(doing)?;
        for mark in marks {
            match source(mark.source)? {
                Source::Command => drop(standing.commands.insert(mark.part, mark.number)),
                Source::Act => standing.acts.settled = mark.number,
                Source::Verdict => standing.verdicts.settled = mark.number,
            }
        }
        for (source, numbered) in
            [(Source::Act, &mut standing.acts), (Source::Verdict, &mut standing.verdicts)]
        {
            numbered.sealed = sqlx::query_scalar!(
                "select number from audit_leaves where source = $1 and part = 0 and number > $2 order by number",
                i16::from(source.code()),
                numbered.settled,
            )
            .fetch_all(&mut *tx)
            .await
            .doing(doing)?;
        }
        tx.commit().await.doing(doing)?;
        Ok(Some(standing))
    }

    async fn unsealed(&self, places: &Places, most: i64) -> Result<Unsealed, AppError> {
        let doing = "reading what is to be sealed";
        let mut tx = self.as_sealer(doing).await?;
        // Read before the rows: a transaction that is not among those running here shows its rows below, or never.
        let running = sqlx::query!(
            r#"select pg_snapshot_xmin(now.snapshot)::text as "oldest!", pg_snapshot_xmax(now.snapshot)::text as "next!",
                      now() - interval '40 days' as "since!: At", now() + interval '40 days' as "until!: At",
                      last_value as "given!"
               from (select pg_current_snapshot() as snapshot) now, audit_entries_id_seq"#
        )
        .fetch_one(&mut *tx)
        .await
        .doing(doing)?;
        let shards: Vec<i16> = places.commands.keys().copied().collect();
        let seqs: Vec<i64> = places.commands.values().copied().collect();
        let commands = sqlx::query_as!(
            CommandRow,
            r#"select firm_id as "firm_id!", journal.shard as "shard!", journal.seq as "seq!", journal.at as "at!: At",
                      after_quote as "after_quote!", account_id as "account_id!", key as "key!", act as "act!",
                      outcome as "outcome!", person_id, request_id
               from shards
               left join unnest($1::smallint[], $2::bigint[]) as sealed (shard, last) on sealed.shard = shards.id
               cross join lateral (select * from journal
                                   where journal.shard = shards.id and journal.seq > coalesce(sealed.last, 0)
                                   order by journal.seq limit $3) journal
               order by journal.shard, journal.seq"#,
            &shards,
            &seqs,
            most,
        )
        .fetch_all(&mut *tx)
        .await
        .doing(doing)?;
        let (seen, gaps) = &places.verdicts;
        let verdicts = sqlx::query_as!(
            VerdictRow,
            r#"select firm_id as "firm_id!", entry as "entry!", account_id as "account_id!", number as "number!",
                      at as "at!: At", decided_at as "decided_at!: At", kind as "kind!", rule as "rule!", phase as "phase!",
                      octet_length(evidence) as "length!", sha256(convert_to(evidence, 'UTF8')) as "hash!"
               from ((select * from verdicts where entry = any($2))
                     union all (select * from verdicts where entry > $1 order by entry limit $3)) verdicts
               order by entry"#,
            seen,
            gaps,
            most,
        )
        .fetch_all(&mut *tx)
        .await
        .doing(doing)?;
        let (seen, gaps) = &places.acts;
        let (mut everywhere, mut acts) = (places.everywhere, Vec::new());
        if !everywhere {
            acts = unsealed_acts(&mut tx, &places.acts, most, running.since.0, running.until.0).await?;
            // A number was given whose row is in another month, or will never be.
            everywhere = acts.is_empty() && (running.given > *seen || !gaps.is_empty());
        }
        if everywhere {
            acts = unsealed_acts(&mut tx, &places.acts, most, ALL_MONTHS.0, ALL_MONTHS.1).await?;
        }
        tx.commit().await.doing(doing)?;
        let mut rows: Vec<LogRow> = commands.into_iter().map(CommandRow::read).collect();
        rows.extend(read_all(verdicts, VerdictRow::read)?);
        rows.extend(acts);
        let number = |text: &str| text.parse::<u64>().map_err(Inconsistent::from("pg_current_snapshot"));
        Ok(Unsealed {
            rows,
            oldest_running: number(&running.oldest)?,
            next_transaction: number(&running.next)?,
            everywhere,
        })
    }

    async fn seal(&self, batch: &Batch) -> Result<bool, AppError> {
        let doing = "sealing entries of the audit log";
        let leaves = &batch.leaves;
        let Some(first) = leaves.first().map(|leaf| leaf.index) else { return Ok(true) };
        let end = leaves.last().map_or(first, |leaf| leaf.index.saturating_add(1));
        let mut tx = self.as_sealer(doing).await?;
        // Here and nowhere else it is decided that the log has one continuation.
        let moved = sqlx::query!(
            "update audit_state set size = $3 where one and size = $1 and token = $2",
            to_place("audit_state", first)?,
            batch.token,
            to_place("audit_state", end)?,
        )
        .execute(&mut *tx)
        .await
        .doing(doing)?;
        if moved.rows_affected() != 1 {
            return Ok(false);
        }
        let indices = leaves.iter().map(|leaf| to_place("audit_leaves", leaf.index));
        sqlx::query!(
            "insert into audit_leaves (leaf, firm_id, sealed_at, source, part, number, hash)
             select leaf, firm_id, clock_timestamp(), source, part, number, hash
             from unnest($1::bigint[], $2::uuid[], $3::smallint[], $4::smallint[], $5::bigint[], $6::bytea[])
                  as leaves (leaf, firm_id, source, part, number, hash)",
            &indices.collect::<Result<Vec<i64>, _>>()?,
            &column(leaves, |leaf| leaf.firm.uuid()),
            &column(leaves, |leaf| i16::from(leaf.source.code())),
            &column(leaves, |leaf| leaf.part),
            &column(leaves, |leaf| leaf.number),
            &column(leaves, |leaf| leaf.hash.bytes().to_vec()),
        )
        .execute(&mut *tx)
        .await
        .doing(doing)?;
        let nodes = &batch.nodes;
        if !nodes.is_empty() {
            let places = nodes.iter().map(|(_, place, _)| to_place("audit_nodes", *place));
            sqlx::query!(
                "insert into audit_nodes (level, place, hash)
                 select level, place, hash from unnest($1::smallint[], $2::bigint[], $3::bytea[])
                      as nodes (level, place, hash)",
                &column(nodes, |(level, ..)| i16::from(*level)),
                &places.collect::<Result<Vec<i64>, _>>()?,
                &column(nodes, |(.., hash)| hash.bytes().to_vec()),
            )
            .execute(&mut *tx)
            .await
            .doing(doing)?;
        }
        sqlx::query!(
            "insert into audit_marks (source, part, number)
             select source, part, number from unnest($1::smallint[], $2::smallint[], $3::bigint[])
                  as marks (source, part, number)
             on conflict on constraint audit_marks_key do update set number = excluded.number",
            &column(&batch.marks, |(source, ..)| i16::from(source.code())),
            &column(&batch.marks, |(_, part, _)| *part),
            &column(&batch.marks, |(.., number)| *number),
        )
        .execute(&mut *tx)
        .await
        .doing(doing)?;
        tx.commit().await.doing(doing)?;
        Ok(true)
    }

    async fn keep_checkpoint(&self, token: i64, checkpoint: &StoredCheckpoint) -> Result<bool, AppError> {
        let doing = "keeping a checkpoint of the audit log";
        let mut tx = self.as_sealer(doing).await?;
        let kept = sqlx::query!(
            "insert into audit_checkpoints (size, at, root, note)
             select $1, $2, $3, $4 from (select from audit_state where one and token = $5 and size >= $1 for update) ours",
            to_place("audit_checkpoints", checkpoint.size)?,
            At(checkpoint.at) as _,
            checkpoint.root.bytes().as_slice(),
            checkpoint.note,
            token,
        )
        .execute(&mut *tx)
        .await
        .doing(doing)?;
        tx.commit().await.doing(doing)?;
        Ok(kept.rows_affected() == 1)
    }

    async fn keep_key(&self, token: i64, key: &StoredKey) -> Result<bool, AppError> {
        let doing = "keeping a key of the audit log";
        let mut tx = self.as_sealer(doing).await?;
        let kept = sqlx::query!(
            "insert into audit_keys (number, key, after_size, statement)
             select $1, $2, $3, $4 from (select from audit_state where one and token = $5 and size >= $3 for update) ours",
            i32::try_from(key.number).map_err(Inconsistent::from("audit_keys"))?,
            key.key,
            to_place("audit_keys", key.after_size)?,
            key.statement,
            token,
        )
        .execute(&mut *tx)
        .await
        .doing(doing)?;
        tx.commit().await.doing(doing)?;
        Ok(kept.rows_affected() == 1)
    }

    async fn log_size(&self) -> Result<u64, AppError> {
        let doing = "reading how long the audit log is";
        let mut tx = self.as_sealer(doing).await?;
        let size = sqlx::query_scalar!("select size from audit_state where one")
            .fetch_one(&mut *tx)
            .await
            .doing(doing)?;
        Ok(place("audit_state", size)?)
    }

    async fn log_floor(&self) -> Result<u64, AppError> {
        let doing = "reading where the audit log begins";
        let mut tx = self.as_sealer(doing).await?;
        let floor = sqlx::query_scalar!(r#"select coalesce(max(floor), 0) as "floor!" from audit_drops"#)
            .fetch_one(&mut *tx)
            .await
            .doing(doing)?;
        Ok(place("audit_drops", floor)?)
    }

    async fn archives(&self) -> Result<Vec<Archive>, AppError> {
        let doing = "reading the archives of the audit log";
        let mut tx = self.as_sealer(doing).await?;
        let rows = sqlx::query_as!(
            ArchiveRow,
            r#"select to_char(month, 'YYYY-MM') as "month!", first, ends, parts, bytes, sha256
               from audit_archives order by first"#
        )
        .fetch_all(&mut *tx)
        .await
        .doing(doing)?;
        read_all(rows, ArchiveRow::read)
    }

    async fn hashes(&self, stretches: &[Stretch]) -> Result<Vec<Vec<Hash>>, AppError> {
        let doing = "reading the tree of the audit log";
        let mut tx = self.as_sealer(doing).await?;
        let mut found: BTreeMap<i64, Vec<Hash>> = BTreeMap::new();
        let numbered = |wanted: bool| -> Result<(Vec<i64>, Vec<i16>, Vec<i64>, Vec<i64>), AppError> {
            let (mut numbers, mut levels, mut firsts, mut ends) =
                (Vec::new(), Vec::new(), Vec::new(), Vec::new());
            for (number, stretch) in
                (0..).zip(stretches).filter(|(_, stretch)| (stretch.level == 0) == wanted)
            {
                numbers.push(number);
                levels.push(i16::from(stretch.level));
                firsts.push(to_place("audit_nodes", stretch.first)?);
                ends.push(to_place("audit_nodes", stretch.first.saturating_add(stretch.count))?);
            }
            Ok((numbers, levels, firsts, ends))
        };
        let (numbers, _, firsts, ends) = numbered(true)?;
        if !numbers.is_empty() {
            // Of what was dropped the hashes alone are there. In one statement, before or after the drop.
            let leaves = sqlx::query!(
                r#"select wanted.number as "number!", found.hash as "hash!"
                   from unnest($1::bigint[], $2::bigint[], $3::bigint[]) as wanted (number, first, until)
                   cross join lateral (
                       select leaf, hash from audit_leaves where leaf >= wanted.first and leaf < wanted.until
                       union
                       select kept.first + place, substr(kept.hashes, place * 32 + 1, 32)
                       from audit_hashes kept cross join generate_series(0, octet_length(kept.hashes) / 32 - 1) place
                       where kept.first > wanted.first - 256 and kept.first < wanted.until
                         and kept.first + place >= wanted.first and kept.first + place < wanted.until
                   ) found
                   order by wanted.number, found.leaf"#,
                &numbers,
                &firsts,
                &ends,
            )
            .fetch_all(&mut *tx)
            .await
            .doing(doing)?;
            for row in leaves {
                found.entry(row.number).or_default().push(hash("audit_leaves", &row.hash)?);
            }
        }
        let (numbers, levels, firsts, ends) = numbered(false)?;
        if !numbers.is_empty() {
            let nodes = sqlx::query!(
                r#"select wanted.number as "number!", hash
                   from unnest($1::bigint[], $2::smallint[], $3::bigint[], $4::bigint[]) as wanted (number, level, first, until)
                   join audit_nodes on audit_nodes.level = wanted.level and place >= first and place < until
                   order by wanted.number, place"#,
                &numbers,
                &levels,
                &firsts,
                &ends,
            )
            .fetch_all(&mut *tx)
            .await
            .doing(doing)?;
            for row in nodes {
                found.entry(row.number).or_default().push(hash("audit_nodes", &row.hash)?);
            }
        }
        let numbers = (0..).take(stretches.len());
        Ok(numbers.map(|number| found.remove(&number).unwrap_or_default()).collect())
    }

    async fn leaves(&self, first: u64, end: u64) -> Result<Vec<(Leaf, Option<LogRow>)>, AppError> {
        let doing = "reading entries of the audit log";
        let mut tx = self.as_sealer(doing).await?;
        let leaves = sqlx::query_as!(
            LeafRow,
            r#"select leaf, firm_id, sealed_at as "sealed_at: At", source, part, number, hash from audit_leaves
             where leaf >= $1 and leaf < $2 order by leaf"#,
            to_place("audit_leaves", first)?,
            to_place("audit_leaves", end)?,
        )
        .fetch_all(&mut *tx)
        .await
        .doing(doing)?;
        let leaves = read_all(leaves, LeafRow::read)?;
        let mut rows = rows_of(&mut tx, &leaves).await?;
        let with_row = |Placed { leaf, .. }| {
            let row = rows.remove(&(leaf.source, leaf.part, leaf.number));
            (leaf, row)
        };
        Ok(leaves.into_iter().map(with_row).collect())
    }

    async fn newest_checkpoint(&self) -> Result<Option<StoredCheckpoint>, AppError> {
        let doing = "reading checkpoints of the audit log";
        let mut tx = self.as_sealer(doing).await?;
        let row = sqlx::query_as!(
            CheckpointRow,
            r#"select size, at as "at: At", root, note from audit_checkpoints order by size desc limit 1"#
        )
        .fetch_optional(&mut *tx)
        .await
        .doing(doing)?;
        Ok(row.map(CheckpointRow::read).transpose()?)
    }

    async fn checkpoints(&self, from: u64, most: i64) -> Result<Vec<StoredCheckpoint>, AppError> {
        let doing = "reading checkpoints of the audit log";
        let mut tx = self.as_sealer(doing).await?;
        let rows = sqlx::query_as!(
            CheckpointRow,
            r#"select size, at as "at: At", root, note from audit_checkpoints where size >= $1 order by size limit $2"#,
            to_place("audit_checkpoints", from)?,
            most,
        )
        .fetch_all(&mut *tx)
        .await
        .doing(doing)?;
        read_all(rows, CheckpointRow::read)
    }

    async fn log_keys(&self) -> Result<Vec<StoredKey>, AppError> {
        let doing = "reading the keys of the audit log";
        let mut tx = self.as_sealer(doing).await?;
        let rows = sqlx::query!("select number, key, after_size, statement from audit_keys order by number")
            .fetch_all(&mut *tx)
            .await
            .doing(doing)?;
        read_all(rows, |row| {
            Ok(StoredKey {
                number: u32::try_from(row.number).map_err(Inconsistent::from("audit_keys"))?,
                key: row.key,
                after_size: place("audit_keys", row.after_size)?,
                statement: row.statement,
            })
        })
    }

    async fn cosignatures(&self, size: u64) -> Result<Vec<Cosignature>, AppError> {
        let doing = "reading who else has signed the audit log";
        let mut tx = self.as_sealer(doing).await?;
        let rows = sqlx::query!(
            r#"select witness, at as "at: At", line from audit_cosignatures where size = $1 order by witness"#,
            to_place("audit_cosignatures", size)?,
        )
        .fetch_all(&mut *tx)
        .await
        .doing(doing)?;
        Ok(rows
            .into_iter()
            .map(|row| Cosignature { size, witness: row.witness, at: row.at.0, line: row.line })
            .collect())
    }

    async fn never_sealed(&self) -> Result<Vec<(Source, i16, i64)>, AppError> {
        let doing = "looking for rows that are no entries";
        let mut tx = self.as_sealer(doing).await?;
        let mut never = Vec::new();
        for Marked { source, part, dropped, number: mark } in marks(&mut tx).await? {
            let mut after = dropped.map_or(i64::MIN, |(up_to, _)| up_to);
            // Slice by slice along both indexes: a join of everything would take longer than a statement may.
            loop {
                let rows = numbers(&mut tx, source, part, after, mark).await.doing(doing)?;
                let Some(last) = rows.last().copied() else { break };
                let sealed = sealed_numbers(&mut tx, source, part, after, last).await?;
                // A number is one row's: a month that has it, too, was written by other hands.
                let twice = rows.windows(2).filter_map(|pair| match pair {
                    [one, other] if one == other => Some(*one),
                    _ => None,
                });
                never.extend(twice.map(|number| (source, part, number)));
                let unsealed = rows.iter().filter(|number| !sealed.contains(number));
                never.extend(unsealed.map(|number| (source, part, *number)));
                if never.len() >= MOST_TOLD {
                    return Ok(never);
                }
                after = last;
            }
        }
        Ok(never)
    }

    async fn miscounted(&self) -> Result<Vec<Miscounted>, AppError> {
        let doing = "counting rows whose entries were dropped";
        let mut tx = self.as_sealer(doing).await?;
        let mut wrong = Vec::new();
        for Marked { source, part, dropped, number: mark } in marks(&mut tx).await? {
            // Above the mark something may still come that has its place below.
            let Some((up_to, wanted)) = dropped.filter(|(up_to, _)| *up_to <= mark) else { continue };
            let (mut after, mut found) = (i64::MIN, 0_i64);
            loop {
                let rows = numbers(&mut tx, source, part, after, up_to).await.doing(doing)?;
                let Some(last) = rows.last().copied() else { break };
                let sealed = sealed_numbers(&mut tx, source, part, after, last).await?;
                let dropped = rows.iter().filter(|number| !sealed.contains(number)).count();
                found = found.saturating_add(i64::try_from(dropped).unwrap_or(i64::MAX));
                after = last;
            }
            if found != wanted {
                wrong.push(Miscounted { source, part, up_to, wanted, found });
            }
        }
        Ok(wrong)
    }

    async fn search_log(&self, firm: FirmId, search: &Search, most: usize) -> Result<Found, AppError> {
        let doing = "searching the audit log";
        let mut tx = self.as_auditor(firm).await?;
        let below = search.below.map(|below| to_place("audit_leaves", below)).transpose()?;
        let (mut below, mut looked_at) = (below.unwrap_or(i64::MAX), 0_i64);
        let mut found = Found::default();
        loop {
            let leaves = sqlx::query_as!(
                LeafRow,
                r#"select leaf, firm_id, sealed_at as "sealed_at: At", source, part, number, hash from audit_leaves
                 where firm_id = $1 and leaf < $2 order by leaf desc limit $3"#,
                firm.uuid(),
                below,
                LOOKED_AT_ONCE,
            )
            .fetch_all(tx.connection())
            .await
            .doing(doing)?;
            let Some(last) = leaves.last().map(|leaf| leaf.leaf) else {
                found.below = None;
                return Ok(found);
            };
            let leaves = read_all(leaves, LeafRow::read)?;
            let mut rows = rows_of(tx.connection(), &leaves).await?;
            for Placed { leaf, .. } in leaves {
                found.below = Some(leaf.index);
                let row = rows.remove(&(leaf.source, leaf.part, leaf.number));
                found.entries.extend(row.filter(|row| search.is_for(row)).map(|row| (leaf, row)));
                if found.entries.len() >= most {
                    return Ok(found);
                }
            }
            below = last;
            looked_at = looked_at.saturating_add(LOOKED_AT_ONCE);
            if looked_at >= MOST_LOOKED_AT {
                return Ok(found);
            }
        }
    }

    async fn log_entry(&self, firm: FirmId, index: u64) -> Result<Option<(Leaf, LogRow)>, AppError> {
        let doing = "reading entries of the audit log";
        let mut tx = self.as_auditor(firm).await?;
        let leaf = sqlx::query_as!(
            LeafRow,
            r#"select leaf, firm_id, sealed_at as "sealed_at: At", source, part, number, hash from audit_leaves
               where firm_id = $1 and leaf = $2"#,
            firm.uuid(),
            to_place("audit_leaves", index)?,
        )
        .fetch_optional(tx.connection())
        .await
        .doing(doing)?;
        let leaf = leaf.map(LeafRow::read).transpose()?;
        with_its_row(&mut tx, leaf).await
    }

    async fn verdict_entry(
        &self,
        firm: FirmId,
        account: AccountId,
        number: u32,
    ) -> Result<Option<(Leaf, LogRow)>, AppError> {
        let doing = "reading entries of the audit log";
        let mut tx = self.as_auditor(firm).await?;
        let leaf = sqlx::query_as!(
            LeafRow,
            r#"select leaf, audit_leaves.firm_id, sealed_at as "sealed_at: At", source, part, audit_leaves.number, hash
               from verdicts
               join audit_leaves on source = 3 and part = 0 and audit_leaves.number = entry
               where verdicts.firm_id = $1 and account_id = $2 and verdicts.number = $3"#,
            firm.uuid(),
            account.uuid(),
            i64::from(number),
        )
        .fetch_optional(tx.connection())
        .await
        .doing(doing)?;
        let leaf = leaf.map(LeafRow::read).transpose()?;
        with_its_row(&mut tx, leaf).await
    }

    async fn verdict_archive(
        &self,
        firm: FirmId,
        account: AccountId,
        number: u32,
    ) -> Result<Option<Archive>, AppError> {
        let doing = "looking for the archive of a verdict";
        let mut tx = self.as_auditor(firm).await?;
        let row = sqlx::query_as!(
            ArchiveRow,
            r#"select to_char(archive.month, 'YYYY-MM') as "month!", archive.first, archive.ends, archive.parts, archive.bytes,
                      archive.sha256
               from verdicts verdict
               join audit_dropped dropped on dropped.source = 3 and dropped.part = 0
                                         and verdict.entry between dropped.smallest and dropped.largest
               join audit_archives archive on archive.month = dropped.month
               where verdict.firm_id = $1 and verdict.account_id = $2 and verdict.number = $3
               order by archive.first limit 1"#,
            firm.uuid(),
            account.uuid(),
            i64::from(number),
        )
        .fetch_optional(tx.connection())
        .await
        .doing(doing)?;
        Ok(row.map(ArchiveRow::read).transpose()?)
    }

    async fn keep_cosignature(&self, firm: FirmId, cosignature: &Cosignature) -> Result<(), AppError> {
        let doing = "keeping a cosignature";
        let mut tx = self.as_auditor(firm).await?;
        sqlx::query!(
            "insert into audit_cosignatures (size, witness, at, line) values ($1, $2, $3, $4)
             on conflict on constraint audit_cosignatures_key do nothing",
            to_place("audit_cosignatures", cosignature.size)?,
            cosignature.witness,
            At(cosignature.at) as _,
            cosignature.line,
        )
        .execute(tx.connection())
        .await
        .doing(doing)?;
        let _proof = tx.commit().await?;
        Ok(())
    }

    async fn record_act(&self, act: &AuditEntry) -> Result<(), AppError> {
        finish(self.begin(act.firm).await?, act, &[]).await
    }

    async fn make_partitions(&self) -> Result<u64, AppError> {
        let doing = "making partitions of the audit log";
        let made = sqlx::query_scalar!(r#"select tradesense_audit_partitions($1) as "made!""#, MONTHS_AHEAD)
            .fetch_one(&self.worker)
            .await
            .doing(doing)?;
        Ok(u64::try_from(made).map_err(Inconsistent::from("audit_leaves"))?)
    }
}

#[async_trait]
impl ArchiveStore for Store {
    async fn month_to_archive(&self) -> Result<Option<Over>, AppError> {
        let doing = "looking for a month of the audit log that is over";
        let mut tx = self.as_sealer(doing).await?;
        // An hour later whoever sealed in it has committed.
        let over = sqlx::query!(
            r#"select to_char(month, 'YYYY-MM') as "month!", first as "first!",
                      (select leaf + 1 from audit_leaves
                       where sealed_at < (month + interval '1 month') at time zone 'UTC'
                       order by leaf desc limit 1) as "ends!"
               from (select leaf as first, date_trunc('month', sealed_at at time zone 'UTC') as month
                     from audit_leaves
                     where leaf = (select coalesce(max(ends), 0) from audit_archives)) unarchived
               where (month + interval '1 month' + interval '1 hour') at time zone 'UTC' <= clock_timestamp()"#
        )
        .fetch_optional(&mut *tx)
        .await
        .doing(doing)?;
        let Some(over) = over else { return Ok(None) };
        let month = Month::parse(&over.month)
            .ok_or_else(|| Inconsistent::new("audit_leaves", format!("a month {:?}", over.month)))?;
        Ok(Some(Over {
            month,
            first: place("audit_leaves", over.first)?,
            end: place("audit_leaves", over.ends)?,
        }))
    }

    async fn keep_archive(&self, archive: &Archive) -> Result<bool, AppError> {
        let doing = "writing an archive of the audit log down";
        let Archive { of: Over { month, first, end }, parts, bytes, sha256 } = archive;
        let (first, end) = (to_place("audit_archives", *first)?, to_place("audit_archives", *end)?);
        let mut tx = self.worker.begin_with(WHOLE_MONTH).await.doing(doing)?;
        let kept = sqlx::query_scalar!(
            r#"insert into audit_archives (month, first, ends, parts, bytes, sha256, at)
               select to_date($1, 'YYYY-MM'), $2, $3, $4, $5, $6, clock_timestamp()
               where $2 = (select coalesce(max(ends), 0) from audit_archives)
               on conflict do nothing
               returning at as "at: At""#,
            month.as_str(),
            first,
            end,
            i32::try_from(*parts).map_err(Inconsistent::from("audit_archives"))?,
            to_place("audit_archives", *bytes)?,
            sha256.bytes().as_slice(),
        )
        .fetch_optional(&mut *tx)
        .await
        .doing(doing)?;
        let Some(At(at)) = kept else { return Ok(false) };
        let firms = sqlx::query_scalar!(
            r#"select distinct firm_id from audit_leaves where leaf >= $1 and leaf < $2"#,
            first,
            end,
        )
        .fetch_all(&mut *tx)
        .await
        .doing(doing)?;
        let detail = serde_json::json!({
            "name": archive.name(), "first": first, "end": end, "parts": parts, "bytes": bytes,
            "sha256": sha256.to_string(),
        });
        let manifest = |firm| AuditEntry {
            firm: FirmId::from_uuid(firm),
            at,
            actor: None,
            action: "audit.archived".to_owned(),
            object_kind: "audit_log",
            object: month.to_string(),
            request: None,
            purpose: String::new(),
            digests: Digests::default(),
            detail: detail.clone(),
        };
        let manifests: Vec<AuditEntry> = firms.into_iter().map(manifest).collect();
        write_audit_in_tx(&mut tx, &manifests).await.doing(doing)?;
        tx.commit().await.doing(doing)?;
        Ok(true)
    }

    async fn months_to_drop(&self, held: Held) -> Result<Vec<Month>, AppError> {
        let doing = "looking for months of the audit log that may go";
        let mut tx = self.as_sealer(doing).await?;
        let table = match held {
            Held::Leaves => "audit_leaves",
            Held::Acts => "audit_entries",
        };
        let months = sqlx::query_scalar!(
            r#"select to_char(month, 'YYYY-MM') as "month!"
               from (select to_date(right(relname, 7), 'YYYY_MM') as month
                     from pg_inherits join pg_class on pg_class.oid = inhrelid
                     where inhparent = ($1::text)::regclass) partitions
               where (month + interval '1 month' + interval '7 years') at time zone 'UTC' <= clock_timestamp()
               order by month"#,
            table,
        )
        .fetch_all(&mut *tx)
        .await
        .doing(doing)?;
        let month = |text: String| {
            Month::parse(&text).ok_or_else(|| Inconsistent::new(table, format!("a partition of {text:?}")))
        };
        read_all(months, month)
    }

    async fn drop_month(&self, held: Held, month: &Month) -> Result<Dropped, AppError> {
        let doing = "dropping a month of the audit log";
        let mut tx = self.worker.begin_with(WHOLE_MONTH).await.doing(doing)?;
        let dropped = match held {
            Held::Leaves => {
                sqlx::query_scalar!(
                    r#"select tradesense_drop_audit_leaves(to_date($1, 'YYYY-MM')) as "rows!""#,
                    month.as_str()
                )
                .fetch_one(&mut *tx)
                .await
            }
            Held::Acts => {
                sqlx::query_scalar!(
                    r#"select tradesense_drop_audit_acts(to_date($1, 'YYYY-MM')) as "rows!""#,
                    month.as_str()
                )
                .fetch_one(&mut *tx)
                .await
            }
        };
        match dropped {
            Ok(rows) => {
                tx.commit().await.doing(doing)?;
                Ok(Dropped::Rows(u64::try_from(rows).map_err(Inconsistent::from("audit_drops"))?))
            }
            Err(sqlx::Error::Database(refused))
                if refused.code().is_some_and(|code| NOT_YET.contains(&&*code)) =>
            {
                Ok(Dropped::Stays(refused.message().to_owned()))
            }
            Err(error) => Err(error).doing(doing),
        }
    }
}

async fn with_its_row(tx: &mut Tx, leaf: Option<Placed>) -> Result<Option<(Leaf, LogRow)>, AppError> {
    let Some(placed) = leaf else { return Ok(None) };
    let leaf = placed.leaf;
    let mut rows = rows_of(tx.connection(), &[placed]).await?;
    Ok(rows.remove(&(leaf.source, leaf.part, leaf.number)).map(|row| (leaf, row)))
}
