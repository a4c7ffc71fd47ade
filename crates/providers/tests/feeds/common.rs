//! What the tests of the feeds share.

use std::collections::BTreeMap;
use std::fs::{File, create_dir_all};
use std::io::Write;
use std::path::{Path, PathBuf};

use kernel::{Price, Symbol, Timestamp};
use providers::feeds::FeedQuote;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

pub fn symbol(text: &str) -> Symbol {
    Symbol::parse(text).unwrap()
}

pub fn at(text: &str) -> Timestamp {
    Timestamp::parse(text).unwrap()
}

pub fn decimals() -> BTreeMap<Symbol, u8> {
    BTreeMap::from([(symbol("EURUSD"), 5), (symbol("XAUUSD"), 3)])
}

/// Writes `folder/{place}` with these files inside.
pub fn write_zip(folder: &Path, place: &str, files: &[(&str, &str)]) -> PathBuf {
    let path = folder.join(place);
    create_dir_all(path.parent().unwrap()).unwrap();
    let mut zip = ZipWriter::new(File::create(&path).unwrap());
    for (name, text) in files {
        zip.start_file(*name, SimpleFileOptions::default()).unwrap();
        zip.write_all(text.as_bytes()).unwrap();
    }
    zip.finish().unwrap();
    path
}

/// A quote of EURUSD at a number of microseconds, recognisable by its bid.
pub fn quote(micros: i64, bid: i64) -> FeedQuote {
    FeedQuote {
        source: "oanda".into(),
        symbol: symbol("EURUSD"),
        bid: Price(bid),
        ask: Price(bid + 10),
        source_time: Timestamp::from_micros(micros),
    }
}

/// The error and all its causes, as an operator reads them in the log.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
