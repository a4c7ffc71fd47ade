//! `tradesense replay`: a shard's history again, from the journal in PostgreSQL and the quote log on disk, compared with
//! what is stored or judged by another program. Reads only: a running platform does not notice.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context as _, bail};
use app::privacy::{NoKeys, Vault};
use app::trading::{
    By, Compared, Comparison, HistoryStore as _, Places, ReadQuotes, Told, Whereabouts, Whose, Witness,
    answer_text, compare,
};
use app::what_if::{self, Column, Report, percent};
use clap::{ArgGroup, Args};
use embedded::Postgres;
use engine::{Act, Event, Instruments, What};
use kernel::{AccountId, Clock, Price, Quantity, Span, Timestamp};
use providers::archive::Archive;
use rules::{Program, VersionHash};
use serde_json::{Value, json};
use store::Store;

use crate::system::SystemRng;
use crate::up::{Database, start_postgres};
use crate::{census, instruments};

/// Settings of `tradesense replay`.
#[derive(Debug, Clone, Args)]
#[command(group = ArgGroup::new("what").required(true).args(["ticks", "shard", "account", "version"]))]
pub struct Replay {
    /// Put the ticks in this directory (`SOURCE/SYMBOL/YYYYMMDD_quote.zip`) through gate and engine and count them.
    #[arg(long)]
    ticks: Option<PathBuf>,
    /// Replay a whole shard and compare every row, every account and the state hash with what is stored.
    #[arg(long)]
    shard: Option<i16>,
    /// Replay one account, print what happened to it, and compare it with what is stored.
    #[arg(long)]
    account: Option<String>,
    /// Judge all accounts that were bought with this version by another program.
    #[arg(long, requires = "program")]
    version: Option<String>,
    /// The other program, TOML or JSON: what would it have said?
    #[arg(long, conflicts_with = "ticks")]
    program: Option<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
    /// Where `tradesense up` keeps its database and its quote log.
    #[arg(long, env = "TRADESENSE_DATA_DIR", default_value = "data")]
    data_dir: PathBuf,
    /// A PostgreSQL database in place of the one in the data directory.
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    database_url: Option<String>,
    /// The quote log's directory in place of the one in the data directory.
    #[arg(long)]
    quotes: Option<PathBuf>,
    /// The archive of the quote log, for what the log no longer has.
    #[arg(long)]
    archive: Option<PathBuf>,
}

/// What a command found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// The replay is what is stored.
    Equal,
    /// It is not.
    Different,
}

/// What everything below reads.
struct History {
    store: Store,
    quotes: ReadQuotes,
    instruments: Arc<Instruments>,
}

/// Does what is asked and prints it.
pub fn run(replay: &Replay, clock: &dyn Clock) -> anyhow::Result<Found> {
    if let Some(ticks) = &replay.ticks {
        census::run(ticks, replay.json, clock)?;
        return Ok(Found::Equal);
    }
    let Database { url, server } = database(replay)?;
    let runtime =
        tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the runtime")?;
    let ran = runtime.block_on(go(replay, &url, clock));
    drop(runtime);
    if let Some(server) = server {
        server.stop().context("stopping the private PostgreSQL")?;
    }
    ran
}

/// The database, started for this if no platform runs on it.
fn database(replay: &Replay) -> anyhow::Result<Database> {
    if let Some(url) = &replay.database_url {
        return Ok(Database { url: url.clone(), server: None });
    }
    let directory = replay.data_dir.join("postgres");
    if let Some(running) = Postgres::find(&directory).context("looking for a running PostgreSQL")? {
        return Ok(Database { url: running.url("postgres"), server: None });
    }
    if !replay.data_dir.join("quotes").exists() {
        bail!(
            "there is no platform's data in {}: name it with --data-dir, or give --database-url and --quotes",
            replay.data_dir.display()
        );
    }
    start_postgres(&directory)
}

async fn go(replay: &Replay, url: &str, clock: &dyn Clock) -> anyhow::Result<Found> {
    let instruments = Arc::new(instruments::shipped()?);
    // Nobody's name is read.
    let vault = Vault::new(Arc::new(NoKeys), Arc::new(SystemRng));
    let store = Store::connect(&store::Settings {
        engine_connections: 2,
        ..store::Settings::of_a_command(url.to_owned(), Arc::clone(&instruments), vault)
    })
    .await
    .context("connecting to the database")?;
    let directory = replay.quotes.clone().unwrap_or_else(|| replay.data_dir.join("quotes"));
    let quotes = match replay.archive.as_deref().map(Archive::new) {
        Some(archive) => archived_quotes_in(archive, directory),
        None => quotes_in(directory),
    };
    let history = History { store, quotes, instruments };
    let other = replay.program.as_deref().map(read_program).transpose()?.map(Arc::new);
    let started = clock.now();
    let (text, found) = match (&replay.shard, &replay.account, &replay.version, other) {
        (Some(shard), _, _, None) => compare_shard(&history, *shard, replay.json, started, clock).await?,
        (Some(shard), _, _, Some(other)) => {
            let accounts = what_if::whole_shard(&history.store, *shard).await.context("reading the shard")?;
            let accounts = accounts.with_context(|| format!("there is no shard {shard}"))?;
            judge(&history, &accounts, other, replay.json, started, clock).await?
        }
        (_, Some(account), _, None) => tell_account(&history, account, replay.json, started, clock).await?,
        (_, Some(account), _, Some(other)) => {
            let (_, accounts) = find_account(&history, account).await?;
            judge(&history, &accounts, other, replay.json, started, clock).await?
        }
        (_, _, Some(version), Some(other)) => {
            let version = VersionHash::parse(version).with_context(|| {
                format!("{version:?} is not the name of a version, which has 64 hex digits")
            })?;
            let found = history.store.find(&Whose::Version(None, version.clone())).await;
            let accounts = found.context("looking for accounts")?;
            let accounts = accounts.with_context(|| format!("there is no version {version}"))?;
            judge(&history, &accounts, other, replay.json, started, clock).await?
        }
        (_, _, _, _) => bail!("say what to replay"),
    };
    history.store.close().await;
    writeln!(std::io::stdout().lock(), "{text}").context("printing the report")?;
    Ok(found)
}

/// Reads the log in a directory, also while a platform writes it.
pub fn quotes_in(directory: PathBuf) -> ReadQuotes {
    Arc::new(move |from| providers::quote_log::read(&directory, from))
}

/// The same, with an archive for what the log no longer has.
pub fn archived_quotes_in(archive: Archive, directory: PathBuf) -> ReadQuotes {
    Arc::new(move |from| providers::archive::read_anywhere(Some(&archive), &directory, from))
}

/// A program in a file, JSON if its name says so, else TOML; checked.
fn read_program(file: &Path) -> anyhow::Result<Program> {
    let text = std::fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let is_json = file.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let program: Program = if is_json {
        Program::from_json(&text).with_context(|| format!("reading {}", file.display()))?
    } else {
        toml::from_str(&text).with_context(|| format!("reading {}", file.display()))?
    };
    program.check().with_context(|| format!("checking {}", file.display()))?;
    Ok(program)
}

async fn find_account(history: &History, text: &str) -> anyhow::Result<(AccountId, Vec<Whereabouts>)> {
    let account: AccountId = text.parse().ok().with_context(|| format!("{text:?} is no account's id"))?;
    let found = history.store.find(&Whose::ChallengeOf(account)).await.context("looking for the account")?;
    Ok((account, found.with_context(|| format!("there is no account {account}"))?))
}

/// How long it took and how fast that was.
fn pace(started: Timestamp, clock: &dyn Clock, quotes: u64) -> (i64, u64) {
    let micros = clock.now().since(started).map_or(1, Span::micros).max(1);
    let rate = i128::from(quotes).saturating_mul(1_000_000).checked_div(i128::from(micros));
    let millis = micros.checked_div(1_000).unwrap_or_default();
    (millis, rate.and_then(|rate| u64::try_from(rate).ok()).unwrap_or_default())
}

// ---- One shard --------------------------------------------------------------------------------------------------

/// Nobody listens.
struct Nobody;

impl Witness for Nobody {
    fn told(&mut self, _: Told<'_>) {}
}

async fn compare_shard(
    history: &History,
    shard: i16,
    as_json: bool,
    started: Timestamp,
    clock: &dyn Clock,
) -> anyhow::Result<(String, Found)> {
    let History { store, quotes, instruments } = history;
    let compared = compare(store, quotes, instruments, shard, Compared::All, Nobody).await;
    let (comparison, Nobody) = compared?.with_context(|| format!("there is no shard {shard}"))?;
    let (millis, rate) = pace(started, clock, comparison.quotes);
    let text = if as_json {
        let mut body = comparison_json(&comparison);
        add(&mut body, "took_ms", json!(millis));
        add(&mut body, "quotes_per_second", json!(rate));
        body.to_string()
    } else {
        let mut lines = comparison_lines(&comparison);
        lines.push(format!("{millis} ms, {rate} quotes a second"));
        lines.join("\n")
    };
    Ok((text, found(comparison.equal())))
}

fn found(equal: bool) -> Found {
    if equal { Found::Equal } else { Found::Different }
}

fn add(body: &mut Value, name: &str, value: Value) {
    if let Value::Object(fields) = body {
        fields.insert(name.to_owned(), value);
    }
}

fn places_json(places: &[Places]) -> Value {
    json!(places.iter().map(|(first, last)| json!({ "first": first, "last": last })).collect::<Vec<_>>())
}

fn comparison_json(comparison: &Comparison) -> Value {
    let counts: serde_json::Map<String, Value> = comparison
        .counts
        .iter()
        .map(|(kind, counted)| {
            let counted = json!({
                "stored": counted.stored, "replayed": counted.replayed, "different": counted.different,
            });
            ((*kind).to_owned(), counted)
        })
        .collect();
    let differences: Vec<Value> = comparison
        .differences
        .iter()
        .map(|difference| {
            json!({
                "account": difference.account, "what": difference.what,
                "stored": difference.stored, "replayed": difference.replayed,
            })
        })
        .collect();
    let mut body = json!({
        "shard": comparison.shard,
        "seq": comparison.seq,
        "quote_position": comparison.quote_position,
        "commands": comparison.commands,
        "quotes": comparison.quotes,
        "missing_quotes": places_json(&comparison.missing_quotes),
        "counts": counts,
        "differences": differences,
        "equal": comparison.equal(),
    });
    if let Some((stored, replayed)) = &comparison.state_hash {
        let hash = json!({ "stored": hex::encode(stored), "replayed": hex::encode(replayed) });
        add(&mut body, "state_hash", hash);
    }
    body
}

fn comparison_lines(comparison: &Comparison) -> Vec<String> {
    let mut lines = vec![format!(
        "shard {}: {} commands and {} quotes applied, up to command {} and quote {}",
        comparison.shard, comparison.commands, comparison.quotes, comparison.seq, comparison.quote_position
    )];
    lines.extend(missing_lines(&comparison.missing_quotes));
    let line = |cells: [&str; 4]| {
        let [kind, stored, replayed, different] = cells;
        format!("{kind:<12}{stored:>12}{replayed:>12}{different:>12}")
    };
    lines.push(line(["", "stored", "replayed", "different"]));
    for (kind, counted) in &comparison.counts {
        let [stored, replayed, different] =
            [counted.stored, counted.replayed, counted.different].map(|count| count.to_string());
        lines.push(line([kind, &stored, &replayed, &different]));
    }
    if let Some((stored, replayed)) = &comparison.state_hash {
        lines.push(format!("state hash stored   {}", hex::encode(stored)));
        lines.push(format!("state hash replayed {}", hex::encode(replayed)));
    }
    for difference in &comparison.differences {
        let side =
            |text: &Option<String>| text.clone().unwrap_or_else(|| "(see it with --account)".to_owned());
        lines.push(format!(
            "differs: account {}, {}: stored {}, replayed {}",
            difference.account,
            difference.what,
            side(&difference.stored),
            side(&difference.replayed)
        ));
    }
    lines.push(
        if comparison.equal() { "equal to what is stored" } else { "NOT EQUAL to what is stored" }.to_owned(),
    );
    lines
}

fn missing_lines(missing: &[Places]) -> Vec<String> {
    let line = |(first, last): &Places| format!("the quote log does not hold the quotes {first} to {last}");
    missing.iter().map(line).collect()
}

// ---- One account ------------------------------------------------------------------------------------------------

/// What happened to one account.
struct Timeline {
    account: AccountId,
    instruments: Arc<Instruments>,
    moments: Vec<Moment>,
}

struct Moment {
    at: Timestamp,
    quote: u64,
    kind: &'static str,
    text: String,
}

impl Witness for Timeline {
    fn told(&mut self, told: Told<'_>) {
        match told {
            Told::Answer { by: By::Own, entry, now } if entry.command.account == self.account => {
                let (act, now, then) = (
                    act_text(&entry.command.act, &self.instruments),
                    answer_text(now),
                    answer_text(Some(entry.outcome)),
                );
                let stored = if now == then { String::new() } else { format!(" (stored: {then})") };
                let text = format!("command {}: {act} -> {now}{stored}", entry.seq);
                self.moments.push(Moment { at: entry.at, quote: entry.after_quote, kind: "command", text });
            }
            Told::Event { by: By::Own, event, quote } if event.account == self.account => {
                let (kind, text) = event_text(event, &self.instruments);
                self.moments.push(Moment { at: event.at, quote, kind, text });
            }
            Told::Answer { .. } | Told::Event { .. } => {}
        }
    }
}

fn act_text(act: &Act, instruments: &Instruments) -> String {
    match act {
        Act::Open(open) => format!("open phase {}", open.phase),
        Act::Place(place) => {
            let instrument = instruments.by_symbol(&place.symbol);
            let price = |price: Price| {
                instrument.map_or_else(|| price.0.to_string(), |instrument| instrument.price_text(price))
            };
            let quantity = |quantity: Quantity| {
                instrument
                    .map_or_else(|| quantity.0.to_string(), |instrument| instrument.quantity_text(quantity))
            };
            let exit = |name: &str, at: Option<Price>| {
                at.map(|at| format!(", {name} {}", price(at))).unwrap_or_default()
            };
            format!(
                "{} {} {} {}{}{}{}",
                place.side.word(),
                quantity(place.quantity),
                place.symbol,
                place.kind.word(),
                place.kind.price().map(|at| format!(" {}", price(at))).unwrap_or_default(),
                exit("stop loss", place.stop_loss),
                exit("take profit", place.take_profit),
            )
        }
        Act::Cancel { order } => format!("cancel order {}", order.0),
        Act::ChangeOrder { order, .. } => format!("change order {}", order.0),
        Act::ChangePosition { position, .. } => format!("change position {}", position.0),
        Act::Close { position, quantity: None } => format!("close position {}", position.0),
        Act::Close { position, quantity: Some(_) } => format!("close a part of position {}", position.0),
        Act::Promote => "ask for the next phase".to_owned(),
        Act::Payout { amount: None } => "take out all that is allowed".to_owned(),
        Act::Payout { amount: Some(amount) } => format!("take out {amount}"),
        Act::Grow => "grow the account".to_owned(),
        Act::Override { rule, to: Some(_), reason, .. } => format!("override rule {rule}: {reason}"),
        Act::Override { rule, to: None, reason, .. } => format!("end the override of rule {rule}: {reason}"),
        Act::Calendar(releases) => format!("{} releases are known", releases.len()),
        Act::Hold { held: true } => "put the account on hold".to_owned(),
        Act::Hold { held: false } => "let the account go".to_owned(),
    }
}

fn event_text(event: &Event, instruments: &Instruments) -> (&'static str, String) {
    match &event.what {
        What::Opened => ("opened", "account opened".to_owned()),
        What::Order(order) => ("order", format!("order {} is {}", order.ticket.0, order.state.word())),
        What::Position(position) => {
            let state = match position.closed_at {
                None => "is open",
                Some(_) => "is closed",
            };
            ("position", format!("position {} {state}", position.ticket.0))
        }
        What::Fill(fill) => {
            let text = instruments.get(fill.instrument).ok().map(|instrument| {
                format!(
                    "fill {}: {} {} {} at {}, {}, profit {}, commission {}",
                    fill.number,
                    fill.side.word(),
                    instrument.quantity_text(fill.quantity),
                    instrument.symbol,
                    instrument.price_text(fill.price),
                    fill.reason.word(),
                    fill.profit,
                    fill.commission,
                )
            });
            ("fill", text.unwrap_or_else(|| format!("fill {}", fill.number)))
        }
        What::Entry(entry) => {
            let text = format!(
                "entry {}: {} {}, balance {}",
                entry.number,
                entry.kind.word(),
                entry.amount,
                entry.balance
            );
            ("entry", text)
        }
        What::Reset(reset) => {
            ("reset", format!("day {}: balance {}, equity {}", reset.day, reset.balance, reset.equity))
        }
        What::Held { held: true } => ("hold", "the account is on hold".to_owned()),
        What::Held { held: false } => ("hold", "the account is no longer on hold".to_owned()),
        What::Override(change) => {
            ("override", format!("rule {} is overridden: {}", change.rule, change.reason))
        }
        What::Verdict(verdict) => {
            let floor = verdict.floor.as_ref().map(|floor| format!(", floor {}", floor.amount));
            let text = format!(
                "verdict {}: {} {}, equity {}, balance {}{}",
                verdict.number,
                verdict.kind.word(),
                verdict.rule,
                verdict.equity,
                verdict.balance,
                floor.unwrap_or_default()
            );
            ("verdict", text)
        }
    }
}

async fn tell_account(
    history: &History,
    text: &str,
    as_json: bool,
    started: Timestamp,
    clock: &dyn Clock,
) -> anyhow::Result<(String, Found)> {
    let History { store, quotes, instruments } = history;
    let (account, challenge) = find_account(history, text).await?;
    let shard = challenge.first().map_or(0, |whereabouts| whereabouts.shard);
    let challenge = challenge.into_iter().map(|whereabouts| whereabouts.account).collect();
    let timeline = Timeline { account, instruments: Arc::clone(instruments), moments: Vec::new() };
    let compared = Compared::One(account, challenge);
    let (comparison, timeline) = compare(store, quotes, instruments, shard, compared, timeline)
        .await?
        .with_context(|| format!("there is no shard {shard}"))?;
    let (millis, rate) = pace(started, clock, comparison.quotes);
    let text = if as_json {
        let moments: Vec<Value> = timeline
            .moments
            .iter()
            .map(|moment| {
                json!({
                    "at": moment.at.to_string(), "quote_position": moment.quote, "kind": moment.kind,
                    "text": moment.text,
                })
            })
            .collect();
        let mut body = comparison_json(&comparison);
        add(&mut body, "account", json!(account));
        add(&mut body, "timeline", json!(moments));
        add(&mut body, "took_ms", json!(millis));
        body.to_string()
    } else {
        let mut lines = vec![format!("account {account}")];
        for moment in &timeline.moments {
            lines.push(format!("{}  quote {:>9}  {}", moment.at, moment.quote, moment.text));
        }
        lines.extend(comparison_lines(&comparison));
        lines.push(format!("{millis} ms, {rate} quotes a second"));
        lines.join("\n")
    };
    Ok((text, found(comparison.equal())))
}

// ---- Other rules ------------------------------------------------------------------------------------------------

/// Accounts that are printed with their difference.
const MOST_PRINTED: usize = 1_000;

async fn judge(
    history: &History,
    accounts: &[Whereabouts],
    other: Arc<Program>,
    as_json: bool,
    started: Timestamp,
    clock: &dyn Clock,
) -> anyhow::Result<(String, Found)> {
    let report =
        what_if::judge(&history.store, &history.quotes, &history.instruments, accounts, other).await?;
    let (millis, rate) = pace(started, clock, report.quotes);
    let text = if as_json {
        let mut body = serde_json::to_value(web::v1::what_if::render(&report, MOST_PRINTED))?;
        add(&mut body, "took_ms", json!(millis));
        body.to_string()
    } else {
        let mut lines = report_lines(&report);
        lines.push(format!("{millis} ms, {rate} quotes a second"));
        lines.join("\n")
    };
    Ok((text, found(report.not_as_stored == 0)))
}

fn report_lines(report: &Report) -> Vec<String> {
    let mut lines = Vec::new();
    for (version, program) in &report.versions {
        lines.push(format!("{} (version {version})", program.name));
    }
    lines.push(format!("under the other program: {}", report.other.name));
    for (version, say) in &report.left_out {
        lines.push(format!("left out: version {version}. {say}"));
    }
    lines.extend(report.remarks.iter().cloned());
    lines.extend(missing_lines(&report.missing_quotes));
    lines.push(format!(
        "{} accounts, {} commands, {} quotes: {} would stand elsewhere, {} differ otherwise, {} are the same",
        report.accounts(),
        report.commands,
        report.quotes,
        report.turned,
        u64::try_from(report.differing.len()).unwrap_or(u64::MAX).saturating_sub(report.turned),
        report.same
    ));
    lines.push(String::new());
    lines.extend(column_lines(&report.own, &report.by_other));
    if !report.differing.is_empty() {
        lines.push(String::new());
    }
    let currency = report.other.currency;
    for judged in report.differing.iter().take(MOST_PRINTED) {
        lines.push(format!(
            "account {}, phase {}: {}",
            judged.account,
            judged.phase,
            judged.sentence(currency)
        ));
    }
    let unprinted = report.differing.len().saturating_sub(MOST_PRINTED);
    if unprinted > 0 {
        lines.push(format!("and {unprinted} more"));
    }
    if report.not_as_stored > 0 {
        lines.push(format!(
            "NOT TO BE RELIED ON: under their own rules {} accounts come out otherwise than they are stored",
            report.not_as_stored
        ));
    }
    lines
}

fn column_lines(own: &Column, other: &Column) -> Vec<String> {
    let line = |name: &str, own: &str, other: &str| format!("{name:<44}{own:>14}{other:>14}");
    let number = |name: &str, own: u64, other: u64| line(name, &own.to_string(), &other.to_string());
    let mut lines = vec![
        line("", "own rules", "other rules"),
        number("challenges", own.challenges, other.challenges),
        number("challenges completed", own.completed, other.completed),
    ];
    let nothing = what_if::PhaseCount::default();
    for phase in 0..own.phases.len().max(other.phases.len()) {
        let left = own.phases.get(phase).unwrap_or(&nothing);
        let right = other.phases.get(phase).unwrap_or(&nothing);
        lines.push(number(&format!("phase {phase}: accounts"), left.accounts, right.accounts));
        let mut statuses: BTreeMap<&str, (u64, u64)> = BTreeMap::new();
        for (status, count) in &left.by_status {
            statuses.entry(status).or_default().0 = *count;
        }
        for (status, count) in &right.by_status {
            statuses.entry(status).or_default().1 = *count;
        }
        for (status, (left, right)) in statuses {
            lines.push(number(&format!("  {status}"), left, right));
        }
        let mut rules: BTreeMap<String, (u64, u64)> = BTreeMap::new();
        for ((status, rule), count) in &left.by_rule {
            rules.entry(format!("{status} by {rule}")).or_default().0 = *count;
        }
        for ((status, rule), count) in &right.by_rule {
            rules.entry(format!("{status} by {rule}")).or_default().1 = *count;
        }
        for (rule, (left, right)) in rules {
            lines.push(number(&format!("    {rule}"), left, right));
        }
        let rate = |count: &what_if::PhaseCount| {
            let passed = count.with(engine::Status::Passed);
            percent(passed, count.ended()).map_or_else(|| "-".to_owned(), |share| format!("{share} %"))
        };
        lines.push(line("  passed of those that ended", &rate(left), &rate(right)));
    }
    lines.push(number("payouts made", own.payouts, other.payouts));
    lines.push(line("  taken out", &own.paid.to_string(), &other.paid.to_string()));
    lines.push(number("accounts that could be paid now", own.payable_accounts, other.payable_accounts));
    lines.push(line("  what their traders would get", &own.payable.to_string(), &other.payable.to_string()));
    lines
}
