//! Files for banks: CSV for people, ISO 20022 pain.001 for machines.

use std::fmt::Write as _;

use kernel::{Money, PayoutBatchId, PayoutId, Timestamp};
use serde::{Deserialize, Serialize};

use crate::AppError;
use crate::csv::{self, Cell};

/// A bank account by the name of its holder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BankAccount {
    /// The holder.
    pub name: String,
    /// The international number, without blanks.
    pub iban: String,
    /// The bank, where the number does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bic: Option<String>,
}

impl BankAccount {
    /// Checks the form and the check digits.
    pub fn check(&self) -> Result<(), AppError> {
        let name = self.name.trim();
        if name.is_empty() || name.chars().count() > 70 || name.chars().any(char::is_control) {
            return Err(AppError::field("/payee/name", "Give the holder in 1 to 70 characters."));
        }
        if !is_iban(&self.iban) {
            return Err(AppError::field(
                "/payee/iban",
                "This is no IBAN: give it in capitals without blanks.",
            ));
        }
        if let Some(bic) = &self.bic {
            let (bank, rest) = bic.split_at_checked(6).unwrap_or((bic.as_str(), ""));
            let fits = bank.len() == 6
                && bank.bytes().all(|byte| byte.is_ascii_uppercase())
                && matches!(rest.len(), 2 | 5)
                && rest.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
            if !fits {
                return Err(AppError::field("/payee/bic", "This is no BIC."));
            }
        }
        Ok(())
    }
}

/// Whether the form and the check digits (ISO 7064, modulo 97) are those of an IBAN.
fn is_iban(text: &str) -> bool {
    let (Some(head), Some(rest)) = (text.get(..4), text.get(4..)) else { return false };
    let Some((country, digits)) = head.split_at_checked(2) else { return false };
    let plain = country.bytes().all(|byte| byte.is_ascii_uppercase())
        && digits.bytes().all(|byte| byte.is_ascii_digit())
        && rest.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit());
    if !plain || !(15..=34).contains(&text.len()) {
        return false;
    }
    let mut remainder = 0_u32;
    for letter in rest.chars().chain(head.chars()) {
        let Some(value) = letter.to_digit(36) else { return false };
        let shift = if value >= 10 { 100_u32 } else { 10 };
        let next = remainder.checked_mul(shift).and_then(|moved| moved.checked_add(value));
        let Some(next) = next.and_then(|next| next.checked_rem(97)) else { return false };
        remainder = next;
    }
    remainder == 1
}

/// A payout in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BankLine {
    /// The payout.
    pub payout: PayoutId,
    /// The attempt.
    pub attempt: u32,
    /// How much.
    pub amount: Money,
    /// Whom it goes to; nothing once they were erased.
    pub payee: Option<BankAccount>,
}

/// Everything in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BankFile {
    /// Its name.
    pub id: PayoutBatchId,
    /// When it was made.
    pub created_at: Timestamp,
    /// Who pays.
    pub debtor: BankAccount,
    /// In the order of the payouts.
    pub lines: Vec<BankLine>,
}

impl BankFile {
    /// The sum, by the minor units of the one currency in it.
    fn sum(&self) -> Result<Option<Money>, AppError> {
        let mut sum: Option<Money> = None;
        for line in &self.lines {
            sum = Some(match sum {
                None => line.amount,
                Some(sum) => sum
                    .plus(line.amount)
                    .map_err(|error| AppError::bug("adding up a file")(Box::new(error)))?,
            });
        }
        Ok(sum)
    }
}

impl BankLine {
    /// What the bank calls it from end to end: at most 35 characters.
    fn end_to_end(&self) -> String {
        let id = self.payout.uuid().simple().to_string();
        format!("{}-{}", id.get(..30).unwrap_or(&id), self.attempt)
    }
}

/// For people.
pub fn csv(file: &BankFile) -> String {
    let names = ["payout", "attempt", "reference", "name", "iban", "bic", "amount", "currency"];
    let mut text = csv::head(&names);
    for line in &file.lines {
        let payee = line.payee.as_ref();
        text.push_str(&csv::line(&[
            Cell::text(line.payout.to_string()),
            Cell::number(line.attempt.to_string()),
            Cell::text(line.end_to_end()),
            Cell::some(payee.map(|payee| payee.name.as_str())),
            Cell::some(payee.map(|payee| payee.iban.as_str())),
            Cell::some(payee.and_then(|payee| payee.bic.as_deref())),
            Cell::number(line.amount.amount_text()),
            Cell::text(line.amount.currency().code()),
        ]));
    }
    text
}

/// What XML keeps.
fn xml(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            letter if letter.is_control() => safe.push(' '),
            letter => safe.push(letter),
        }
    }
    safe
}

fn agent(bic: Option<&str>) -> String {
    bic.map_or_else(
        || "<FinInstnId><Othr><Id>NOTPROVIDED</Id></Othr></FinInstnId>".to_owned(),
        |bic| format!("<FinInstnId><BICFI>{}</BICFI></FinInstnId>", xml(bic)),
    )
}

/// For machines: ISO 20022 customer credit transfer initiation, pain.001.001.09. Lines whose payee was erased are left out.
pub fn pain001(file: &BankFile) -> Result<String, AppError> {
    let known: Vec<_> = file.lines.iter().filter_map(|line| Some((line, line.payee.as_ref()?))).collect();
    let known_only =
        BankFile { lines: known.iter().map(|(line, _)| (*line).clone()).collect(), ..file.clone() };
    let sum = known_only.sum()?.map_or_else(|| "0".to_owned(), Money::amount_text);
    let count = known.len();
    let id = file.id.uuid().simple().to_string();
    let created = file.created_at.to_string();
    let day = created.get(..10).unwrap_or_default();
    let debtor = &file.debtor;
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
         <Document xmlns=\"urn:iso:std:iso:20022:tech:xsd:pain.001.001.09\"><CstmrCdtTrfInitn>\n\
         <GrpHdr><MsgId>{id}</MsgId><CreDtTm>{created}</CreDtTm><NbOfTxs>{count}</NbOfTxs><CtrlSum>{sum}</CtrlSum>\
         <InitgPty><Nm>{name}</Nm></InitgPty></GrpHdr>\n\
         <PmtInf><PmtInfId>{id}</PmtInfId><PmtMtd>TRF</PmtMtd><NbOfTxs>{count}</NbOfTxs><CtrlSum>{sum}</CtrlSum>\
         <ReqdExctnDt><Dt>{day}</Dt></ReqdExctnDt><Dbtr><Nm>{name}</Nm></Dbtr>\
         <DbtrAcct><Id><IBAN>{iban}</IBAN></Id></DbtrAcct><DbtrAgt>{agent}</DbtrAgt>\n",
        name = xml(&debtor.name),
        iban = xml(&debtor.iban),
        agent = agent(debtor.bic.as_deref()),
    );
    for (line, payee) in known {
        let creditor_agent = match &payee.bic {
            Some(bic) => format!("<CdtrAgt>{}</CdtrAgt>", agent(Some(bic))),
            None => String::new(),
        };
        let _infallible = writeln!(
            text,
            "<CdtTrfTxInf><PmtId><EndToEndId>{}</EndToEndId></PmtId><Amt><InstdAmt Ccy=\"{}\">{}</InstdAmt></Amt>\
             {creditor_agent}<Cdtr><Nm>{}</Nm></Cdtr><CdtrAcct><Id><IBAN>{}</IBAN></Id></CdtrAcct></CdtTrfTxInf>",
            line.end_to_end(),
            line.amount.currency().code(),
            line.amount.amount_text(),
            xml(&payee.name),
            xml(&payee.iban),
        );
    }
    text.push_str("</PmtInf></CstmrCdtTrfInitn></Document>\n");
    Ok(text)
}

#[cfg(test)]
mod tests {
    use kernel::Currency;

    use super::*;

    #[test]
    fn an_iban_is_known_by_its_check_digits() {
        for good in ["GB82WEST12345698765432", "DE89370400440532013000", "MA64011519000001205000534921"] {
            assert!(is_iban(good), "{good}");
        }
        let bad = [
            "GB82WEST12345698765433",
            "DE89 3704 0044 0532 0130 00",
            "de89370400440532013000",
            "",
            "DE8",
            "DÉ89",
        ];
        for bad in bad {
            assert!(!is_iban(bad), "{bad}");
        }
    }

    #[test]
    fn files_carry_every_line_and_nothing_breaks_out_of_its_field() {
        let usd = Currency::parse("USD").unwrap();
        let account = |name: &str| BankAccount {
            name: name.to_owned(),
            iban: "DE89370400440532013000".to_owned(),
            bic: Some("COBADEFFXXX".to_owned()),
        };
        let line = |number: u8, payee| BankLine {
            payout: PayoutId::derived(&[&[number]]),
            attempt: 1,
            amount: Money::from_minor(100_050, usd),
            payee,
        };
        let file = BankFile {
            id: PayoutBatchId::derived(&[b"batch"]),
            created_at: Timestamp::EPOCH,
            debtor: account("Firm & Sons"),
            lines: vec![
                line(1, Some(account("=A \"quoted\" <name>"))),
                line(2, Some(account("Bo"))),
                line(3, None),
            ],
        };
        let text = csv(&file);
        assert_eq!(text.lines().count(), 4);
        assert!(text.contains("\"'=A \"\"quoted\"\" <name>\""), "{text}");
        assert!(text.contains(",1000.50,USD"));
        let text = pain001(&file).unwrap();
        assert!(text.contains("<NbOfTxs>2</NbOfTxs><CtrlSum>2001.00</CtrlSum>"), "{text}");
        assert!(text.contains("<Nm>Firm &amp; Sons</Nm>"));
        assert!(text.contains("<Nm>=A &quot;quoted&quot; &lt;name&gt;</Nm>"));
        assert_eq!(text.matches("<InstdAmt Ccy=\"USD\">1000.50</InstdAmt>").count(), 2);
        for line in &file.lines {
            assert!(line.end_to_end().len() <= 35);
        }
    }
}
