//! One process writes the log and is killed, another one follows it: with real processes. The test is its own writer
//! when it is started with `write DIRECTORY`.
#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test fails by panicking; the writer answers on its output"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use app::trading::{LoggedQuote, QuoteLog as _};
use kernel::{Price, Span, Symbol, Timestamp};
use providers::archive::{Archive, read_anywhere};
use providers::quote_log::{DiskQuoteLog, Follower, Keeper, QuoteLogError, Retention};

const IN_SEGMENT: u64 = 40;

fn quote(position: u64) -> LoggedQuote {
    let value = position.cast_signed();
    LoggedQuote {
        position,
        symbol: Symbol::parse("EURUSD").unwrap(),
        bid: Price(value),
        ask: Price(value.saturating_add(1)),
        source_time: Timestamp::from_micros(value),
        received_at: Timestamp::from_micros(value),
    }
}

/// Appends for ever, 1 to 9 quotes at once, and says after each append up to where it was answered.
fn write(directory: &Path) {
    let mut log = DiskQuoteLog::open_with(directory, IN_SEGMENT).unwrap();
    for round in 0_u64.. {
        let next = log.last().map_or(0, |last| last.position).saturating_add(1);
        let last = next.saturating_add(round.checked_rem(9).unwrap());
        log.append(&(next..=last).map(quote).collect::<Vec<_>>()).unwrap();
        println!("{last}");
        std::io::stdout().flush().unwrap();
    }
}

struct Writer {
    child: Child,
    answers: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Writer {
    fn start(directory: &Path) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        let mut child = command.arg("write").arg(directory).stdout(Stdio::piped()).spawn().unwrap();
        let answers = BufReader::new(child.stdout.take().unwrap()).lines();
        Self { child, answers }
    }

    /// Up to where it has been promised.
    fn answer(&mut self) -> u64 {
        self.answers.next().unwrap().unwrap().parse().unwrap()
    }

    /// Kills it in the middle of whatever it does; gives the last answer that it still wrote.
    fn kill(mut self) -> Option<u64> {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.answers.map_while(Result::ok).filter_map(|line| line.parse().ok()).last()
    }
}

fn newest(directory: &Path) -> PathBuf {
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    files.filter(|path| path.extension().is_some_and(|extension| extension == "quotes")).max().unwrap()
}

fn follows_a_writer_that_is_killed() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let mut follower = Follower::open(directory, 1).unwrap();
    let mut seen = 0_u64;
    let mut promised = 0_u64;
    for life in 0..8 {
        let mut writer = Writer::start(directory);
        for _ in 0..25 {
            promised = writer.answer();
            take(&mut follower, &mut seen);
            assert!(seen >= promised, "life {life}: {promised} was promised and {seen} seen");
        }
        promised = writer.kill().unwrap_or(promised).max(promised);
        take(&mut follower, &mut seen);
        assert!(seen >= promised, "life {life}: {promised} was promised and {seen} seen");
        // Half a record, as a crash leaves it: not yet, and no damage.
        let mut torn = std::fs::OpenOptions::new().append(true).open(newest(directory)).unwrap();
        torn.write_all(&[7; 31]).unwrap();
        let before = seen;
        take(&mut follower, &mut seen);
        assert_eq!(seen, before, "life {life}");
    }
    assert!(seen > 8 * IN_SEGMENT, "many segments");
    // Somebody else reads the whole of it, then retention takes the beginning while a writer is at work.
    let mut writer = Writer::start(directory);
    promised = writer.answer();
    let archive = tempfile::tempdir().unwrap();
    let archive = Archive::new(archive.path());
    let all_gone = Retention { most_bytes: 0, least_age: Span::from_seconds(0) };
    let mut keeper = Keeper::new(directory, Some(archive.clone()), all_gone);
    let half = promised.checked_div(2).unwrap();
    let kept = keeper.keep(half, Timestamp::from_micros(i64::MAX)).unwrap();
    let oldest = kept.oldest.unwrap();
    assert!(kept.deleted > 0 && oldest <= half && oldest.saturating_add(2 * IN_SEGMENT) > half, "{kept:?}");
    let gone = Follower::open(directory, 1).unwrap().next_batch(10).unwrap_err();
    assert!(matches!(gone, QuoteLogError::Gone { wanted: 1, oldest: said } if said == oldest), "{gone}");
    promised = writer.answer();
    let mut next = 1;
    for read in read_anywhere(Some(&archive), directory, 1).unwrap() {
        assert_eq!(read.unwrap(), quote(next));
        next = next.saturating_add(1);
    }
    assert!(next > promised, "archive and log are one");
    take(&mut follower, &mut seen);
    assert!(seen >= promised);
    writer.kill();
}

/// Everything that is there, each quote as it was written and none left out.
fn take(follower: &mut Follower, seen: &mut u64) {
    loop {
        let batch = follower.next_batch(7).unwrap();
        if batch.is_empty() {
            return;
        }
        for got in batch {
            *seen = seen.saturating_add(1);
            assert_eq!(got, quote(*seen));
        }
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    match arguments.as_slice() {
        [_, write_, directory] if write_ == "write" => write(Path::new(directory)),
        _ => {
            follows_a_writer_that_is_killed();
            println!("test follows_a_writer_that_is_killed ... ok");
        }
    }
}
