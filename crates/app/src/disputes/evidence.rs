//! What speaks for a payment, put together from our own records. The same records give the same bytes.

use std::io::{Cursor, Write as _};

use kernel::{AccountId, Money, PurchaseId, Timestamp};
use serde::Serialize;
use sha2::{Digest, Sha256};
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::{Dispute, pdf};
use crate::payments::port::{Document, DocumentKind, Evidence};
use crate::purchases::{Happened, Purchase};
use crate::{AppError, BoxError};

/// The longest explanation, in characters. With what is put before and behind it, it fits into the shortest field of any provider.
pub const MOST_EXPLANATION: usize = 1_000;

/// The longest list of activity, in characters; all of it is in a document.
const MOST_ACTIVITY: usize = 700;

/// The longest name of what was bought, in characters.
const MOST_PRODUCT: usize = 200;

/// What our records tell of a buyer and what they bought, up to an instant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Records {
    /// The buyer's name and address; nothing once they are erased.
    pub buyer: Option<(String, String)>,
    /// The rules that were bought, as the text that their version is the hash of.
    pub terms: String,
    /// When they signed in, and when they took their data with them, the newest first.
    pub visits: Vec<(Timestamp, String)>,
    /// The accounts that came of it.
    pub accounts: Vec<Traded>,
}

/// What happened on an account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traded {
    /// The account.
    pub account: AccountId,
    /// Its phase, from 0.
    pub phase: i32,
    /// How it stood when the records were read.
    pub status: String,
    /// When it was opened.
    pub opened_at: Timestamp,
    /// How many fills it had.
    pub fills: i64,
    /// The first and the last of them.
    pub between: Option<(Timestamp, Timestamp)>,
    /// What was decided about it.
    pub verdicts: Vec<Decided>,
}

/// A verdict.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decided {
    /// When.
    pub at: Timestamp,
    /// Such as `breach`.
    pub kind: String,
    /// By which rule.
    pub rule: String,
    /// SHA-256 over its evidence.
    pub digest: String,
    /// Whether a signed receipt was handed out for it.
    pub receipt: bool,
}

/// Everything that is handed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bundle {
    /// As the provider takes it.
    pub evidence: Evidence,
    /// SHA-256 over all of it.
    pub digest: [u8; 32],
}

impl Bundle {
    /// From our records, with what the firm's people say; our own sentence if they say nothing.
    pub fn new(
        dispute: &Dispute,
        purchase: &Purchase,
        history: &[Happened],
        records: &Records,
        explanation: Option<&str>,
    ) -> Self {
        let activity = activity(records);
        let opened = records.accounts.iter().map(|account| account.opened_at).min();
        let explanation = explanation.map_or_else(|| usual(purchase, records), str::to_owned);
        let (buyer_name, buyer_email) = records.buyer.clone().unzip();
        let pdf = |kind, name: &str, lines: &[String]| Document {
            kind,
            name: name.to_owned(),
            media_type: "application/pdf".to_owned(),
            bytes: pdf::document(lines),
        };
        let evidence = Evidence {
            product: shortened(
                &format!("{}: an evaluation of trading skill on a simulated account", purchase.program_name),
                MOST_PRODUCT,
            ),
            explanation,
            activity: first_lines(&activity, MOST_ACTIVITY),
            service_date: opened.map(day),
            buyer_name,
            buyer_email,
            buyer_address: None,
            documents: vec![
                pdf(DocumentKind::Receipt, "receipt.pdf", &receipt(dispute, purchase, history)),
                pdf(DocumentKind::Terms, "terms.pdf", &terms(purchase, records)),
                pdf(DocumentKind::Service, "service.pdf", &activity),
            ],
        };
        let digest = digest(&evidence);
        Self { evidence, digest }
    }

    /// All of it as a zip, for whoever wants to look at it.
    pub fn zip(&self) -> Result<Vec<u8>, AppError> {
        self.zipped().map_err(AppError::bug("packing evidence"))
    }

    fn zipped(&self) -> Result<Vec<u8>, BoxError> {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        let mut put = |name: &str, bytes: &[u8]| -> Result<(), BoxError> {
            zip.start_file(name, SimpleFileOptions::default())?;
            Ok(zip.write_all(bytes)?)
        };
        let said = Said {
            product: &self.evidence.product,
            explanation: &self.evidence.explanation,
            activity: &self.evidence.activity,
            service_date: self.evidence.service_date.as_deref(),
            buyer_name: self.evidence.buyer_name.as_deref(),
            buyer_email: self.evidence.buyer_email.as_deref(),
            sha256: hex::encode(self.digest),
        };
        put("evidence.json", &serde_json::to_vec_pretty(&said)?)?;
        for document in &self.evidence.documents {
            put(&document.name, &document.bytes)?;
        }
        Ok(zip.finish()?.into_inner())
    }
}

#[derive(Serialize)]
struct Said<'a> {
    product: &'a str,
    explanation: &'a str,
    activity: &'a str,
    service_date: Option<&'a str>,
    buyer_name: Option<&'a str>,
    buyer_email: Option<&'a str>,
    sha256: String,
}

fn digest(evidence: &Evidence) -> [u8; 32] {
    let mut hash = Sha256::new();
    let mut part = |bytes: &[u8]| {
        // Each part with its length, so that no two bundles run into one text.
        hash.update(bytes.len().to_string());
        hash.update(":");
        hash.update(bytes);
    };
    part(evidence.product.as_bytes());
    part(evidence.explanation.as_bytes());
    part(evidence.activity.as_bytes());
    for said in [&evidence.service_date, &evidence.buyer_name, &evidence.buyer_email, &evidence.buyer_address]
    {
        part(said.as_deref().unwrap_or_default().as_bytes());
    }
    for document in &evidence.documents {
        part(document.name.as_bytes());
        part(&document.bytes);
    }
    hash.finalize().into()
}

/// What is said where nobody says anything.
fn usual(purchase: &Purchase, records: &Records) -> String {
    let fills = records.accounts.iter().map(|account| account.fills).fold(0_i64, i64::saturating_add);
    let used = match (records.accounts.is_empty(), fills) {
        (true, _) => "The account was offered to the buyer at once.".to_owned(),
        (false, 0) => "The account was opened for the buyer at once and can be used.".to_owned(),
        (false, fills) => format!("The buyer has used it: {fills} fills were made on it."),
    };
    format!(
        "The buyer chose {} on {}, having been shown its rules (version {}), and paid {}. {used} Receipt, rules and use \
         are attached.",
        purchase.program_name,
        day(purchase.created_at),
        purchase.version.as_str().get(..12).unwrap_or_default(),
        purchase.fee,
    )
}

fn receipt(dispute: &Dispute, purchase: &Purchase, history: &[Happened]) -> Vec<String> {
    let mut lines = vec![
        "RECEIPT".to_owned(),
        String::new(),
        format!("Purchase     {}", purchase.id),
        format!("Created      {}", purchase.created_at),
        format!("Product      {} ({})", purchase.program_name, purchase.slug),
        format!("Rules        version {}", purchase.version),
        format!("Payment      {} at {}", dispute.payment, dispute.provider),
        String::new(),
    ];
    for line in &purchase.lines {
        lines.push(format!("  {:<10} {:<32} {:>14}", line.what, line.code, line.amount.to_string()));
    }
    lines.extend([
        format!("Let off      {}", purchase.discount),
        format!("Tax in it    {}", purchase.tax),
        format!("To pay       {}", purchase.fee),
        String::new(),
        format!("What happened to it, amounts in {}:", purchase.fee.currency().code()),
    ]);
    for happened in history {
        let amount = happened.amount.map(Money::amount_text).unwrap_or_default();
        lines.push(format!(
            "  {}  {:<20} {amount:>12}  {}",
            happened.at,
            happened.what.word(),
            happened.reference
        ));
    }
    lines
}

fn terms(purchase: &Purchase, records: &Records) -> Vec<String> {
    let mut lines = vec![
        "WHAT WAS AGREED".to_owned(),
        String::new(),
        format!("The buyer named these rules when buying, on {}, by their SHA-256:", purchase.created_at),
        purchase.version.to_string(),
        String::new(),
        "The rules, byte for byte as they are hashed:".to_owned(),
        String::new(),
    ];
    lines.extend(records.terms.lines().map(str::to_owned));
    lines
}

/// One line each, the newest visit first.
fn activity(records: &Records) -> Vec<String> {
    let mut lines = Vec::new();
    for account in &records.accounts {
        let between = match account.between {
            Some((first, last)) => format!(", from {first} to {last}"),
            None => String::new(),
        };
        lines.push(format!(
            "{} account {} opened (phase {}), {}; {} fills{between}",
            account.opened_at,
            account.account,
            account.phase.saturating_add(1),
            account.status,
            account.fills,
        ));
        for decided in &account.verdicts {
            let receipt = if decided.receipt { ", signed receipt issued" } else { "" };
            lines.push(format!(
                "{} verdict {} by {} on account {}, SHA-256 {}{receipt}",
                decided.at, decided.kind, decided.rule, account.account, decided.digest,
            ));
        }
    }
    for (at, action) in &records.visits {
        let what = match action.as_str() {
            "identity.register" => "registered",
            "identity.sign_in" => "signed in",
            "privacy.export" => "downloaded their data",
            other => other,
        };
        lines.push(format!("{at} buyer {what}"));
    }
    lines
}

/// As many whole lines as fit.
fn first_lines(lines: &[String], most: usize) -> String {
    let mut text = String::new();
    for line in lines {
        let with = text.chars().count().saturating_add(line.chars().count()).saturating_add(1);
        if with > most {
            break;
        }
        if !text.is_empty() {
            text.push('\n');
        }
        text.push_str(line);
    }
    text
}

fn shortened(text: &str, most: usize) -> String {
    text.chars().take(most).collect()
}

/// The date in an instant's text.
fn day(at: Timestamp) -> String {
    at.to_string().chars().take(10).collect()
}

/// A name for the file.
pub fn file_name(purchase: PurchaseId) -> String {
    format!("evidence-{purchase}.zip")
}
