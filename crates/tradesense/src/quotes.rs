//! `tradesense quotes`: the quote log and its archive, looked at, checked, read and archived. A running platform does not
//! notice.

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use app::trading::LoggedQuote;
use clap::{ArgGroup, Subcommand};
use kernel::Timestamp;
use providers::archive::{Archive, ToldBy, read_anywhere};
use providers::quote_log;
use serde_json::{Value, json};

use crate::replay::Found;

/// What to do with the quote log.
#[derive(Debug, Subcommand)]
pub enum Quotes {
    /// Writes every closed segment that is not archived yet as a Parquet file, and compares it with the segment.
    Archive {
        /// Where `tradesense up` keeps its data; the log is in `quotes` below it.
        #[arg(long, env = "TRADESENSE_DATA_DIR", default_value = "data")]
        data_dir: PathBuf,
        /// The directory of the archive.
        #[arg(long)]
        to: PathBuf,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Lists the segments of a log, and the files of its archive.
    List {
        /// Where `tradesense up` keeps its data; the log is in `quotes` below it.
        #[arg(long, env = "TRADESENSE_DATA_DIR", default_value = "data")]
        data_dir: PathBuf,
        /// List this archive as well.
        #[arg(long)]
        archive: Option<PathBuf>,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Reads every quote of a log, or of an archive, and checks it. Ends with 0 only if all are good and none is missing.
    #[command(group = ArgGroup::new("what").required(true).args(["data_dir", "archive"]))]
    Verify {
        /// Check the log of the data in this directory.
        #[arg(long)]
        data_dir: Option<PathBuf>,
        /// Check this archive.
        #[arg(long)]
        archive: Option<PathBuf>,
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Prints quotes by their position, from the archive where the log no longer has them. Prices are in points.
    Read {
        /// The first position.
        #[arg(long)]
        from: u64,
        /// The last position.
        #[arg(long)]
        to: u64,
        /// Where `tradesense up` keeps its data; the log is in `quotes` below it.
        #[arg(long, env = "TRADESENSE_DATA_DIR", default_value = "data")]
        data_dir: PathBuf,
        /// The archive of the log.
        #[arg(long)]
        archive: Option<PathBuf>,
        /// Print one JSON object a line.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the command.
pub fn run(quotes: &Quotes, out: &mut dyn Write) -> anyhow::Result<Found> {
    match quotes {
        Quotes::Archive { data_dir, to, json } => archive(&log_in(data_dir)?, to, *json, out),
        Quotes::List { data_dir, archive, json } => list(&log_in(data_dir)?, archive.as_deref(), *json, out),
        Quotes::Verify { data_dir: Some(data_dir), json, .. } => verify_log(&log_in(data_dir)?, *json, out),
        Quotes::Verify { archive: Some(archive), json, .. } => verify_archive(archive, *json, out),
        Quotes::Verify { .. } => bail!("say what to check"),
        Quotes::Read { from, to, data_dir, archive, json } => {
            let archive = archive.as_deref().map(Archive::new);
            read(*from..=*to, &log_in(data_dir)?, archive.as_ref(), *json, out)
        }
    }
}

fn log_in(data_dir: &Path) -> anyhow::Result<PathBuf> {
    let log = data_dir.join("quotes");
    if !log.is_dir() {
        bail!("there is no quote log in {}: name the data directory with --data-dir", data_dir.display());
    }
    Ok(log)
}

fn archive(log: &Path, to: &Path, as_json: bool, out: &mut dyn Write) -> anyhow::Result<Found> {
    let taken = Archive::new(to).take(log, ToldBy::Quotes).context("archiving the quote log")?;
    if as_json {
        let archived: Vec<Value> = taken.archived.iter().map(archived_json).collect();
        writeln!(out, "{}", json!({ "archived": archived, "already": taken.already }))?;
    } else {
        for archived in &taken.archived {
            writeln!(out, "archived {} to {}, {} bytes", archived.first, archived.last, archived.bytes)?;
        }
        writeln!(out, "{} archived now, {} before", taken.archived.len(), taken.already)?;
    }
    Ok(Found::Equal)
}

fn archived_json(archived: &providers::archive::Archived) -> Value {
    json!({ "first": archived.first, "last": archived.last, "bytes": archived.bytes })
}

fn list(log: &Path, archive: Option<&Path>, as_json: bool, out: &mut dyn Write) -> anyhow::Result<Found> {
    let segments = quote_log::survey(log).context("reading the quote log")?;
    let archived = archive.map(|archive| Archive::new(archive).list()).transpose()?;
    if as_json {
        let time = |time: Option<Timestamp>| time.map(|time| time.to_string());
        let segments: Vec<Value> = segments
            .iter()
            .map(|segment| {
                json!({
                    "first": segment.first, "last": segment.last, "records": segment.records,
                    "bytes": segment.bytes, "closed": segment.closed, "header": segment.header,
                    "begins": time(segment.begins), "ends": time(segment.ends),
                })
            })
            .collect();
        let archived = archived.map(|archived| archived.iter().map(archived_json).collect::<Vec<Value>>());
        writeln!(out, "{}", json!({ "segments": segments, "archived": archived }))?;
        return Ok(Found::Equal);
    }
    for segment in &segments {
        let last = segment.last.map_or_else(|| "(empty)".to_owned(), |last| last.to_string());
        let time = |time: Option<Timestamp>| time.map_or_else(|| "-".to_owned(), |time| time.to_string());
        let state = if segment.closed { "closed" } else { "open" };
        writeln!(
            out,
            "segment  {:>12} to {last:>12}  {:>11} bytes  {state:<6}  {} to {}",
            segment.first,
            segment.bytes,
            time(segment.begins),
            time(segment.ends)
        )?;
    }
    for archived in archived.into_iter().flatten() {
        writeln!(
            out,
            "archived {:>12} to {:>12}  {:>11} bytes",
            archived.first, archived.last, archived.bytes
        )?;
    }
    Ok(Found::Equal)
}

/// One thing that was checked.
struct Line {
    first: u64,
    records: u64,
    torn: bool,
    fault: Option<String>,
}

fn verify_log(log: &Path, as_json: bool, out: &mut dyn Write) -> anyhow::Result<Found> {
    let checked = quote_log::verify(log).context("checking the quote log")?;
    let line = |checked: quote_log::Checked| Line {
        first: checked.first,
        records: checked.records,
        torn: checked.torn,
        fault: checked.fault.map(|fault| format!("{:#}", anyhow::Error::from(fault))),
    };
    tell(&checked.into_iter().map(line).collect::<Vec<_>>(), as_json, out)
}

fn verify_archive(archive: &Path, as_json: bool, out: &mut dyn Write) -> anyhow::Result<Found> {
    let archive = Archive::new(archive);
    let mut lines = Vec::new();
    for archived in archive.list().context("reading the archive")? {
        let verified = archive.verify(&archived);
        let records = *verified.as_ref().unwrap_or(&0);
        let fault = verified.err().map(|fault| format!("{:#}", anyhow::Error::from(fault)));
        lines.push(Line { first: archived.first, records, torn: false, fault });
    }
    if lines.is_empty() {
        bail!("there is no archived segment in {}", archive.directory().display());
    }
    if lines.iter().all(|line| line.fault.is_none()) {
        for (after, next) in archive.holes().context("reading the archive")? {
            for line in lines.iter_mut().filter(|line| line.first == next) {
                line.fault = Some(format!("the quotes after {after} and before {next} are missing"));
            }
        }
    }
    tell(&lines, as_json, out)
}

fn tell(lines: &[Line], as_json: bool, out: &mut dyn Write) -> anyhow::Result<Found> {
    let faults = lines.iter().filter(|line| line.fault.is_some()).count();
    let records = lines.iter().fold(0_u64, |sum, line| sum.saturating_add(line.records));
    if as_json {
        let checked: Vec<Value> = lines
            .iter()
            .map(|line| {
                json!({
                    "first": line.first, "records": line.records, "torn": line.torn, "fault": line.fault,
                })
            })
            .collect();
        writeln!(out, "{}", json!({ "records": records, "faults": faults, "checked": checked }))?;
    } else {
        for line in lines {
            let word = match (&line.fault, line.torn) {
                (Some(fault), _) => format!("FAULT: {fault}"),
                (None, true) => "good, with a torn end that was never acknowledged".to_owned(),
                (None, false) => "good".to_owned(),
            };
            writeln!(out, "from {:>12}  {:>9} quotes  {word}", line.first, line.records)?;
        }
        writeln!(out, "{records} quotes, {faults} faults")?;
    }
    Ok(if faults == 0 { Found::Equal } else { Found::Different })
}

fn read(
    positions: std::ops::RangeInclusive<u64>,
    log: &Path,
    archive: Option<&Archive>,
    as_json: bool,
    out: &mut dyn Write,
) -> anyhow::Result<Found> {
    let reading = read_anywhere(archive, log, *positions.start()).map_err(anyhow::Error::from_boxed)?;
    for quote in reading {
        let quote = quote.map_err(anyhow::Error::from_boxed).context("reading the quotes")?;
        if !positions.contains(&quote.position) {
            break;
        }
        let LoggedQuote { position, symbol, bid, ask, source_time, received_at } = quote;
        if as_json {
            let line = json!({
                "position": position, "symbol": symbol, "bid": bid, "ask": ask,
                "source_time": source_time.to_string(), "received_at": received_at.to_string(),
            });
            writeln!(out, "{line}")?;
        } else {
            writeln!(
                out,
                "{position:>12}  {:<16}  {:>12}  {:>12}  {source_time}  {received_at}",
                symbol.as_str(),
                bid.0,
                ask.0
            )?;
        }
    }
    Ok(Found::Equal)
}

#[cfg(test)]
mod tests {
    use app::trading::QuoteLog as _;
    use clap::Parser as _;
    use kernel::{Price, Symbol};
    use quote_log::DiskQuoteLog;

    use super::*;

    #[derive(clap::Parser)]
    struct Cli {
        #[command(subcommand)]
        quotes: Quotes,
    }

    fn quotes(line: &[&str]) -> (Found, String) {
        let cli = Cli::try_parse_from([&["quotes"], line].concat()).unwrap();
        let mut out = Vec::new();
        let found = run(&cli.quotes, &mut out).unwrap();
        (found, String::from_utf8(out).unwrap())
    }

    #[test]
    fn a_log_is_archived_listed_checked_and_read() {
        let directory = tempfile::tempdir().unwrap();
        let data = directory.path().to_str().unwrap();
        let archive = directory.path().join("archive");
        let archive = archive.to_str().unwrap();
        let path = directory.path().join("quotes");
        let mut log = DiskQuoteLog::open_with(&path, 2).unwrap();
        for position in 1..=5_u64 {
            let value = position.cast_signed();
            let quote = LoggedQuote {
                position,
                symbol: Symbol::parse("EURUSD").unwrap(),
                bid: Price(value),
                ask: Price(value + 1),
                source_time: Timestamp::from_micros(value),
                received_at: Timestamp::from_micros(value),
            };
            log.append(&[quote]).unwrap();
        }
        // While the log is open for writing, as on a running platform.
        let (found, said) = quotes(&["archive", "--data-dir", data, "--to", archive, "--json"]);
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!((found, said["archived"].as_array().unwrap().len()), (Found::Equal, 2));
        let (_, said) = quotes(&["archive", "--data-dir", data, "--to", archive]);
        assert_eq!(said, "0 archived now, 2 before\n");
        let (_, said) = quotes(&["list", "--data-dir", data, "--archive", archive, "--json"]);
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["segments"][2]["first"], 5);
        assert_eq!(said["segments"][2]["closed"], false);
        assert_eq!(said["archived"][1]["last"], 4);
        std::fs::remove_file(path.join(format!("{:020}.quotes", 1))).unwrap();
        let read = ["read", "--data-dir", data, "--archive", archive, "--from", "2", "--to", "4", "--json"];
        let (_, said) = quotes(&read);
        let positions: Vec<Value> = said
            .lines()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["position"].clone())
            .collect();
        assert_eq!(positions, [2, 3, 4]);
        for what in [["verify", "--data-dir", data], ["verify", "--archive", archive]] {
            assert_eq!(quotes(&what).0, Found::Equal);
        }
        for (what, file) in [
            (["verify", "--data-dir", data], path.join(format!("{:020}.quotes", 3))),
            (
                ["verify", "--archive", archive],
                Path::new(archive).join(format!("{:020}-{:020}.parquet", 1, 2)),
            ),
        ] {
            let mut bytes = std::fs::read(&file).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
            std::fs::write(&file, bytes).unwrap();
            let (found, said) = quotes(&what);
            assert_eq!(found, Found::Different, "{said}");
            assert!(said.contains("FAULT"), "{said}");
        }
    }
}
