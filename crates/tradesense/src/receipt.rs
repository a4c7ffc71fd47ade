//! `tradesense receipt verify`: whether a receipt is what was signed, and whether its verdict follows from its evidence.
//! Asks nobody and needs no platform.

use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use audit::PublicKey;
use clap::Subcommand;
use engine::Receipt;

use crate::replay::Found;

/// What to do with a receipt.
#[derive(Debug, Subcommand)]
pub enum Receipts {
    /// Checks the signature, then decides again from the evidence alone. Ends with 0 only if both agree.
    Verify {
        /// The signed document; `-` reads standard input.
        file: PathBuf,
        /// The public key that must have signed it, from `/v1/receipt-keys` or the firm's page: 64 digits, or a file that
        /// holds them.
        #[arg(long)]
        key: Option<String>,
    },
}

/// Runs the command.
pub fn run(receipts: &Receipts, out: &mut dyn Write) -> anyhow::Result<Found> {
    let Receipts::Verify { file, key } = receipts;
    let mut text = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut text).context("reading standard input")?;
    } else {
        text = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    }
    let key = key.as_deref().map(public_key).transpose()?;
    verify(&text, key.as_ref(), out)
}

pub(crate) fn public_key(text: &str) -> anyhow::Result<PublicKey> {
    let from_file = Path::new(text).is_file();
    let read = if from_file {
        std::fs::read_to_string(text).with_context(|| format!("reading {text}"))?
    } else {
        text.to_owned()
    };
    PublicKey::parse(read.trim()).context("the key is not a public key of receipts")
}

fn verify(text: &[u8], key: Option<&PublicKey>, out: &mut dyn Write) -> anyhow::Result<Found> {
    let verified = match audit::receipt::verify(text, key) {
        Ok(verified) => verified,
        Err(refused) => {
            writeln!(out, "NOT AUTHENTIC: {refused}")?;
            return Ok(Found::Different);
        }
    };
    writeln!(out, "signature   {}", verified.sentence())?;
    let receipt: Receipt =
        serde_json::from_value(verified.body).context("the document is no receipt of a verdict")?;
    let program = match receipt.prove() {
        Ok(program) => program,
        Err(unproven) => {
            writeln!(out, "NOT PROVEN: {:#}", anyhow::Error::from(unproven))?;
            return Ok(Found::Different);
        }
    };
    writeln!(
        out,
        "verdict     {} (number {} of account {})",
        engine::headline(&program, &receipt.verdict),
        receipt.verdict.number,
        receipt.account
    )?;
    writeln!(out, "at          {}", receipt.at)?;
    for sentence in engine::explain(&program, &receipt.verdict) {
        writeln!(out, "            {sentence}")?;
    }
    if receipt.wording != engine::WORDING {
        writeln!(out, "            (The document says it in the words of another release.)")?;
    }
    let micros = |time: Option<i64>| time.map_or_else(|| "not known".to_owned(), |time| format!("{time} us"));
    writeln!(
        out,
        "tick to decision {}, tick to stored verdict {}",
        micros(receipt.tick_to_decision_us),
        micros(receipt.tick_to_durable_us)
    )?;
    writeln!(out, "PROVEN: floor, equity and verdict follow from the evidence.")?;
    Ok(Found::Equal)
}
