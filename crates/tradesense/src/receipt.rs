//! `tradesense receipt verify`: whether a receipt is what was signed, and whether its verdict follows from its evidence.
//! Asks nobody and needs no platform.

use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use audit::PublicKey;
use audit::checkpoint::Keys;
use audit::entry::Source;
use audit::note::NoteKey;
use audit::proof::Proof;
use audit::tree::Hash;
use clap::Subcommand;
use engine::Receipt;
use serde::Deserialize;

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
        /// The proof that the verdict is in the audit log, from `/v1/accounts/ID/receipts/NUMBER/proof`.
        #[arg(long, requires = "audit_key")]
        proof: Option<PathBuf>,
        /// The audit log's first key, from `/v1/audit/keys` or the firm's page, or a file that holds it.
        #[arg(long)]
        audit_key: Option<String>,
        /// Statements by which that key named its successors, in their order.
        #[arg(long = "audit-key-statement")]
        statements: Vec<PathBuf>,
    },
}

/// Runs the command.
pub fn run(receipts: &Receipts, out: &mut dyn Write) -> anyhow::Result<Found> {
    let Receipts::Verify { file, key, proof, audit_key, statements } = receipts;
    let mut text = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().lock().read_to_end(&mut text).context("reading standard input")?;
    } else {
        text = std::fs::read(file).with_context(|| format!("reading {}", file.display()))?;
    }
    let key = key.as_deref().map(public_key).transpose()?;
    let verified = verify(&text, key.as_ref(), out)?;
    match (verified, proof, audit_key) {
        (Some(receipt), Some(proof), Some(audit_key)) => {
            in_the_log(&receipt, proof, audit_key, statements, out)
        }
        (Some(_), _, _) => Ok(Found::Equal),
        (None, _, _) => Ok(Found::Different),
    }
}

/// What `/proof` answers, as far as it counts.
#[derive(Deserialize)]
struct InTheLog {
    bytes: String,
    proof: Option<String>,
}

/// Checks that the receipt's verdict is an entry of the log whose first key is known.
fn in_the_log(
    receipt: &Receipt,
    proof: &Path,
    key: &str,
    statements: &[PathBuf],
    out: &mut dyn Write,
) -> anyhow::Result<Found> {
    let read =
        |path: &Path| std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()));
    let key = if Path::new(key).is_file() { read(Path::new(key))? } else { key.to_owned() };
    let key = NoteKey::parse(key.trim()).context("the key is none of an audit log")?;
    let mut keys = Keys::new(key).context("using the log's key")?;
    for statement in statements {
        keys.succeed(&read(statement)?).with_context(|| format!("believing {}", statement.display()))?;
    }
    let answer: InTheLog = serde_json::from_str(&read(proof)?).context("reading the proof")?;
    let bytes = hex::decode(&answer.bytes).context("reading the entry of the proof")?;
    let text =
        answer.proof.context("the entry is not covered by a checkpoint yet: ask for the proof again")?;
    let proof = Proof::parse(&text).context("this is no proof of an audit log")?;
    let shown = proof.verify(&bytes, &keys).map_err(anyhow::Error::from).and_then(|(entry, opened)| {
        // The evidence letter by letter, as it was stored with the verdict.
        let evidence = serde_json::to_string(&(receipt.firm, receipt.account, receipt.at, &receipt.verdict))?;
        let document = entry.document.context("the entry is no verdict's")?;
        ensure!(
            entry.source == Source::Verdict
                && entry.firm == receipt.firm
                && entry.object == receipt.account.to_string()
                && document.hash == Hash::of(evidence.as_bytes()),
            "the entry is another verdict's"
        );
        Ok(opened)
    });
    match shown {
        Ok(opened) => {
            let size = opened.checkpoint.size;
            writeln!(out, "IN THE LOG: entry {}, under the checkpoint of {size} entries.", proof.index)?;
            Ok(Found::Equal)
        }
        Err(error) => {
            writeln!(out, "NOT IN THE LOG: {error:#}")?;
            Ok(Found::Different)
        }
    }
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

/// Gives the receipt if it holds.
fn verify(text: &[u8], key: Option<&PublicKey>, out: &mut dyn Write) -> anyhow::Result<Option<Receipt>> {
    let verified = match audit::receipt::verify(text, key) {
        Ok(verified) => verified,
        Err(refused) => {
            writeln!(out, "NOT AUTHENTIC: {refused}")?;
            return Ok(None);
        }
    };
    writeln!(out, "signature   {}", verified.sentence())?;
    let receipt: Receipt =
        serde_json::from_value(verified.body).context("the document is no receipt of a verdict")?;
    let program = match receipt.prove() {
        Ok(program) => program,
        Err(unproven) => {
            writeln!(out, "NOT PROVEN: {:#}", anyhow::Error::from(unproven))?;
            return Ok(None);
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
    Ok(Some(receipt))
}
