//! `tradesense drill`: whether a database that came back from a backup is whole, and how long it took and what was lost.
//!
//! To be run on a restored copy that nobody works on: who was erased since is erased in it again.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail};
use app::ledger::{AsOf, LedgerStore as _};
use app::privacy::{KeyStore, NoKeys, Vault};
use audit::note::Signs;
use clap::Args;
use kernel::{Clock, FirmId, Span, Timestamp};
use providers::copies::Place;
use serde::Serialize;
use store::{Contents, Store};

use crate::replay::Found;
use crate::system::SystemRng;
use crate::{audit_log, instruments, keys, privacy};

/// No lease is longer; one that holds for longer is somebody's who renews it.
const LONGEST_LEASE: Span = Span::from_seconds(60);

/// Which tables belong together, by how their names begin; the first that fits.
const FAMILIES: [(&str, &[&str]); 8] = [
    ("audit log", &["audit_", "erasures"]),
    ("books", &["ledger_", "reconciliation_"]),
    ("payouts", &["payout", "certificates", "identity_"]),
    (
        "sales",
        &[
            "purchase",
            "program",
            "challenges",
            "checkouts",
            "coupon",
            "refunds",
            "dispute",
            "tax_",
            "provider_",
        ],
    ),
    ("people and firms", &["people", "person_", "sessions", "firm", "installation"]),
    ("boards", &["projections", "account_results", "account_scores", "account_symbols", "business_days"]),
    (
        "trading",
        &[
            "account",
            "positions",
            "orders",
            "fills",
            "balance_entries",
            "trading_days",
            "verdicts",
            "journal",
            "receipts",
            "shard",
            "standing_",
            "refused_",
            "calendars",
            "releases",
        ],
    ),
    ("messages and chores", &[""]),
];

/// Settings of `tradesense drill`.
#[derive(Debug, Args)]
pub struct Drill {
    /// The restored database, as a superuser. Nobody may work on it.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: String,
    /// Where the keys from the sealed backup were opened; never those of the platform that serves, the drill writes there.
    #[arg(long)]
    keys_dir: PathBuf,
    /// Copies of the audit log, which must continue what was restored: a folder, or `s3://BUCKET/PREFIX?region=..`.
    #[arg(long)]
    audit_copies: Option<Place>,
    /// The instant that the restore was to reach, in RFC 3339; the newest there is if not said.
    #[arg(long, value_parser = Timestamp::parse)]
    wanted: Option<Timestamp>,
    /// When the restore began: the time it took is counted from then.
    #[arg(long, value_parser = Timestamp::parse)]
    began: Option<Timestamp>,
    /// When the database was lost: what was lost is counted back from then.
    #[arg(long, value_parser = Timestamp::parse)]
    lost_at: Option<Timestamp>,
    /// The most seconds that it may have taken.
    #[arg(long)]
    rto_limit: Option<i64>,
    /// The most seconds that may be lost.
    #[arg(long)]
    rpo_limit: Option<i64>,
    /// Where to write the outcome for Prometheus.
    #[arg(long)]
    metrics: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What a drill found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether everything is as it was.
    good: bool,
    /// What is not.
    faults: Vec<String>,
    /// When it was done.
    at: String,
    /// From the beginning of the restore to the end of this.
    rto_seconds: Option<i64>,
    /// From the newest that came back to the loss, or to the instant that was to be reached.
    rpo_seconds: Option<i64>,
    /// The newest that came back.
    newest: Option<String>,
    /// The instant that was to be reached.
    wanted: Option<String>,
    /// Rows by family of tables.
    families: BTreeMap<&'static str, i64>,
    /// Rows by table.
    tables: BTreeMap<String, i64>,
    /// What was shown of the audit log.
    audit: Option<String>,
    /// Of each firm.
    books: Vec<Books>,
    /// How many people the ledger of erasures names, and how many of them the database still told of.
    erasures: (usize, u64),
}

/// The books of a firm.
#[derive(Debug, Serialize)]
struct Books {
    firm: FirmId,
    /// How many balances there are.
    balances: usize,
    /// Debits by currency, in its smallest unit; credits are as much.
    debits: BTreeMap<String, i64>,
}

/// Verifies, reports, and tells Prometheus.
pub fn run(drill: &Drill, clock: &dyn Clock, out: &mut dyn Write) -> anyhow::Result<Found> {
    let verified = verify(drill, clock);
    if let Some(file) = &drill.metrics {
        write_metrics(file, verified.as_ref().ok(), clock.now())?;
    }
    let report = verified?;
    if drill.json {
        serde_json::to_writer_pretty(&mut *out, &report).context("writing the report")?;
        writeln!(out).context("writing the report")?;
    } else {
        out.write_all(text(&report).as_bytes()).context("writing the report")?;
    }
    Ok(if report.good { Found::Equal } else { Found::Different })
}

fn verify(drill: &Drill, clock: &dyn Clock) -> anyhow::Result<Report> {
    // Copies are read by one thread while another verifies.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    runtime.block_on(look(drill, clock))
}

async fn look(drill: &Drill, clock: &dyn Clock) -> anyhow::Result<Report> {
    let url = &drill.database_url;
    // A key that is missing would be made anew, and nothing is signed or wrapped by that one.
    if let Some(name) = keys::missing(&drill.keys_dir)? {
        bail!("{name} is not in {}: open the sealed backup there first", drill.keys_dir.display());
    }
    Store::check_schema(url).await.context("looking at the restored schema")?;
    refuse_if_worked_on(url, clock).await?;

    let mut faults = Vec::new();
    let contents = Store::contents(url).await.context("counting what was restored")?;
    for store::Fault { say, rows, example } in
        Store::faults_at(url).await.context("looking for contradictions")?
    {
        faults.push(format!("{rows} times {say}, such as {example}"));
    }
    let audit = audit(drill, &mut faults).await?;
    let books = books(url, &mut faults).await?;
    let erasures = erase(drill, clock, &mut faults).await?;

    let Contents { recovered, written, tables } = contents;
    let newest = recovered.or(written);
    if newest.is_none() || tables.iter().all(|(_, rows)| *rows == 0) {
        faults.push("the database is empty".to_owned());
    }
    if let (Some(newest), Some(wanted)) = (newest, drill.wanted)
        && newest > wanted
    {
        faults.push(format!("it holds what happened at {newest}, after the instant that was to be reached"));
    }
    let now = clock.now();
    let took = drill.began.map(|began| seconds(began, now)).transpose()?;
    let lost = match (newest, drill.lost_at.or(drill.wanted)) {
        (Some(newest), Some(until)) => Some(seconds(newest, until)?.max(0)),
        _ => None,
    };
    for (what, taken, limit) in [("took", took, drill.rto_limit), ("lost", lost, drill.rpo_limit)] {
        let Some(limit) = limit else { continue };
        match taken {
            Some(taken) if taken <= limit => {}
            Some(taken) => faults.push(format!("it {what} {taken} s, and {limit} s are allowed")),
            None => faults.push(format!("what it {what} is limited and was not measured")),
        }
    }
    let mut families: BTreeMap<&'static str, i64> = BTreeMap::new();
    for (name, rows) in &tables {
        let sum = families.entry(family(name)).or_default();
        *sum = sum.saturating_add(*rows);
    }
    Ok(Report {
        good: faults.is_empty(),
        faults,
        at: now.to_string(),
        rto_seconds: took,
        rpo_seconds: lost,
        newest: newest.map(|newest| newest.to_string()),
        wanted: drill.wanted.map(|wanted| wanted.to_string()),
        families,
        tables: tables.into_iter().collect(),
        audit,
        books,
        erasures,
    })
}

/// Leases that were restored run out; those of a platform that works are renewed.
async fn refuse_if_worked_on(url: &str, clock: &dyn Clock) -> anyhow::Result<()> {
    let doing = "looking who works on the database";
    let Some(first) = Store::worked_on_until(url).await.context(doing)? else { return Ok(()) };
    let until = clock.now().after(LONGEST_LEASE).context("reckoning when leases end")?;
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        match Store::worked_on_until(url).await.context(doing)? {
            None => return Ok(()),
            Some(held) if held > first || clock.now() > until => {
                bail!("a platform works on this database: a drill is for a restored copy")
            }
            Some(_) => {}
        }
    }
}

/// What the audit log shows under the key of the sealed backup.
async fn audit(drill: &Drill, faults: &mut Vec<String>) -> anyhow::Result<Option<String>> {
    let signers = keys::audit_signers(keys::audit_keys(&drill.keys_dir)?)?;
    let first = signers.first().context("the audit log has no key")?.public(Signs::Text);
    match audit_log::verify_restored(&drill.database_url, first, drill.audit_copies.as_ref()).await? {
        Ok(sentence) => Ok(Some(sentence)),
        Err(say) => {
            faults.push(format!("the audit log is not what was signed: {say}"));
            Ok(None)
        }
    }
}

/// The books of every firm, which must balance and tell what the purchases tell.
async fn books(url: &str, faults: &mut Vec<String>) -> anyhow::Result<Vec<Books>> {
    // Nobody's name is read.
    let vault = Vault::new(Arc::new(NoKeys), Arc::new(SystemRng));
    let settings = store::Settings::of_a_command(url.to_owned(), Arc::new(instruments::shipped()?), vault);
    let store = Store::connect(&settings).await.context("connecting to the database")?;
    let mut all = Vec::new();
    for (firm, _) in Store::firms(url).await.context("reading the firms")? {
        for store::Fault { say, rows, example } in
            store.money_faults(firm).await.context("looking for contradictions in the books")?
        {
            faults.push(format!("firm {firm}: {rows} times {say}, such as {example}"));
        }
        let books = store.books(firm, AsOf::default()).await.context("reading the books")?;
        let sums = books.sums().context("adding up the books")?;
        for (currency, (debits, credits)) in sums.iter().filter(|(_, (debits, credits))| debits != credits) {
            faults.push(format!("firm {firm}: {debits} debits and {credits} credits in {currency}"));
        }
        let debits = sums.iter().map(|(currency, (debits, _))| (currency.to_string(), *debits)).collect();
        all.push(Books { firm, balances: books.balances.len(), debits });
    }
    store.close().await;
    Ok(all)
}

/// Tells the database who was erased since, and looks whether it has heard.
async fn erase(drill: &Drill, clock: &dyn Clock, faults: &mut Vec<String>) -> anyhow::Result<(usize, u64)> {
    let keys: Arc<dyn KeyStore> = Arc::new(keys::people_keys(&drill.keys_dir)?);
    let told = privacy::replay_erasures(&drill.database_url, &keys, clock).await?;
    let (_, still) = privacy::replay_erasures(&drill.database_url, &keys, clock).await?;
    if still > 0 {
        faults.push(format!("{still} people of the ledger of erasures are still told of"));
    }
    Ok(told)
}

fn family(table: &str) -> &'static str {
    let named = |starts: &[&str]| starts.iter().any(|start| table.starts_with(start));
    FAMILIES.iter().find(|(_, starts)| named(starts)).map_or("", |(name, _)| name)
}

fn seconds(from: Timestamp, to: Timestamp) -> anyhow::Result<i64> {
    let span = to.since(from).context("reckoning how long it was")?;
    // Begun seconds count whole: a promise is not kept by rounding.
    let micros = span.micros();
    Ok(micros.div_euclid(1_000_000).saturating_add(i64::from(micros.rem_euclid(1_000_000) > 0)))
}

fn text(report: &Report) -> String {
    let mut lines = vec!["restored".to_owned()];
    for (family, rows) in &report.families {
        lines.push(format!("  {family:<20} {rows:>12} rows"));
    }
    for Books { firm, balances, debits } in &report.books {
        let sums: Vec<String> = debits.iter().map(|(currency, sum)| format!("{sum} {currency}")).collect();
        lines.push(format!("books of {firm}: {balances} balances, debits = credits = {}", sums.join(", ")));
    }
    if let Some(sentence) = &report.audit {
        lines.push(format!("audit log: {sentence}"));
    }
    let (ledger, again) = report.erasures;
    lines.push(format!("erasures: {ledger} people in the ledger, {again} of them erased again"));
    let or_unknown = |text: &Option<String>| text.clone().unwrap_or_else(|| "unknown".to_owned());
    lines.push(format!("newest: {}", or_unknown(&report.newest)));
    if let Some(wanted) = &report.wanted {
        lines.push(format!("wanted: {wanted}"));
    }
    for (name, seconds) in [("RTO", report.rto_seconds), ("RPO", report.rpo_seconds)] {
        lines.push(
            seconds.map_or_else(|| format!("{name}: not measured"), |taken| format!("{name}: {taken} s")),
        );
    }
    for fault in &report.faults {
        lines.push(format!("FAULT: {fault}"));
    }
    lines.push(if report.good { "GOOD".to_owned() } else { format!("{} faults", report.faults.len()) });
    lines.push(String::new());
    lines.join("\n")
}

/// Written beside it and given its name, so that nobody reads half of it. The time is that of the last good drill: a failed one
/// tells none, and whoever waits for one is told that there is none.
fn write_metrics(file: &Path, report: Option<&Report>, now: Timestamp) -> anyhow::Result<()> {
    let good = report.filter(|report| report.good);
    let figures = [
        (
            "timestamp_seconds",
            "When a restore drill last went well.",
            good.map(|_| now.micros().div_euclid(1_000_000)),
        ),
        (
            "rto_seconds",
            "How long it took to restore and to verify.",
            report.and_then(|report| report.rto_seconds),
        ),
        ("rpo_seconds", "What was lost.", report.and_then(|report| report.rpo_seconds)),
        ("failed", "Whether the last restore drill found faults.", Some(i64::from(good.is_none()))),
    ];
    let mut families = Vec::new();
    for (name, help, value) in figures {
        let Some(value) = value else { continue };
        let name = format!("tradesense_restore_drill_{name}");
        families.push(format!("# HELP {name} {help}\n# TYPE {name} gauge\n{name} {value}\n"));
    }
    let unfinished = file.with_extension("new");
    std::fs::write(&unfinished, families.concat())
        .with_context(|| format!("writing {}", unfinished.display()))?;
    std::fs::rename(&unfinished, file).with_context(|| format!("naming {}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(good: bool) -> Report {
        Report {
            good,
            faults: if good { Vec::new() } else { vec!["a row is gone".to_owned()] },
            at: String::new(),
            rto_seconds: Some(61),
            rpo_seconds: None,
            newest: None,
            wanted: None,
            families: BTreeMap::from([("trading", 7)]),
            tables: BTreeMap::new(),
            audit: None,
            books: Vec::new(),
            erasures: (2, 1),
        }
    }

    #[test]
    fn every_table_has_its_family_and_the_first_that_fits_counts() {
        let families =
            ["account_results", "accounts", "audit_entries", "erasures", "jobs", "people", "payouts"];
        assert_eq!(
            families.map(family),
            [
                "boards",
                "trading",
                "audit log",
                "audit log",
                "messages and chores",
                "people and firms",
                "payouts"
            ]
        );
    }

    #[test]
    fn begun_seconds_count_whole() {
        let at = Timestamp::from_micros;
        assert_eq!(seconds(at(0), at(1)).unwrap(), 1);
        assert_eq!(seconds(at(0), at(2_000_000)).unwrap(), 2);
        assert_eq!(seconds(at(500_000), at(0)).unwrap(), 0);
    }

    #[test]
    fn a_failed_drill_tells_no_time_of_a_good_one() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("drill.prom");
        let now = Timestamp::from_micros(7_500_000);
        write_metrics(&file, Some(&report(true)), now).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(text.contains("\ntradesense_restore_drill_timestamp_seconds 7\n"), "{text}");
        assert!(text.contains("\ntradesense_restore_drill_rto_seconds 61\n"), "{text}");
        assert!(text.contains("\ntradesense_restore_drill_failed 0\n"), "{text}");
        assert!(!text.contains("rpo"), "{text}");
        for failed in [Some(&report(false)), None] {
            write_metrics(&file, failed, now).unwrap();
            let text = std::fs::read_to_string(&file).unwrap();
            assert!(text.contains("\ntradesense_restore_drill_failed 1\n"), "{text}");
            assert!(!text.contains("timestamp"), "{text}");
        }
    }

    #[test]
    fn the_report_ends_with_what_it_comes_to() {
        assert!(text(&report(true)).ends_with("RTO: 61 s\nRPO: not measured\nGOOD\n"));
        assert!(text(&report(false)).ends_with("FAULT: a row is gone\n1 faults\n"));
    }
}
