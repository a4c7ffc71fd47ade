//! Mails: a text and an HTML part that say the same, why they were sent, and how to get no more.

use std::fmt::Write as _;

use kernel::{FirmId, MailId};

use super::{Queued, title};

/// Where the links of a firm's mails lead, and from where they come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Site {
    /// Such as `https://firm.example`, without a slash at the end.
    pub base: String,
    /// The end of the address by which the person ends mails of this group.
    pub unsubscribe_token: String,
}

/// A mail as it is handed to whoever sends it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Letter {
    /// Always the same for one mail: its Message-ID is `<id@host>`, by which a receiver knows a mail that came twice.
    pub id: MailId,
    /// Whose.
    pub firm: FirmId,
    /// The host of its Message-ID.
    pub host: String,
    /// The firm's name, before the address it comes from.
    pub from_name: String,
    /// The address.
    pub to: String,
    /// The name before it.
    pub to_name: String,
    /// The subject.
    pub subject: String,
    /// The text part.
    pub text: String,
    /// The HTML part.
    pub html: String,
    /// Where one POST ends mails of this group (RFC 8058).
    pub unsubscribe: String,
}

/// Writes a mail.
pub fn letter(firm: FirmId, mail: &Queued, site: &Site) -> Letter {
    let subject = one_line(&title(mail.kind, &mail.told));
    let page = format!("{}{}", site.base, mail.told.path());
    let preferences = format!("{}/notifications/preferences", site.base);
    let unsubscribe = format!("{}/v1/unsubscribe/{}", site.base, site.unsubscribe_token);
    let see = if mail.told.account.as_ref().is_some_and(|account| account.verdict.is_some()) {
        "See the receipt"
    } else {
        "See more"
    };
    let facts = facts(mail);
    let why = format!(
        "You get this mail because you have an account at {}. It belongs to \"{}\".",
        mail.firm_name,
        mail.kind.group().label()
    );
    let text = text(mail, &subject, &facts, &page, see, &why, &preferences, &unsubscribe);
    let html = html(mail, &subject, &facts, &page, see, &why, &preferences, &unsubscribe);
    let host = site.base.split("://").last().unwrap_or_default();
    Letter {
        id: mail.id,
        firm,
        host: host.split([':', '/']).next().unwrap_or_default().to_owned(),
        from_name: one_line(&mail.firm_name),
        to: mail.email.clone(),
        to_name: one_line(&mail.name),
        subject,
        text,
        html,
        unsubscribe,
    }
}

/// What a table beside the sentences says: label and value.
fn facts(mail: &Queued) -> Vec<(&'static str, String)> {
    let told = &mail.told;
    let mut facts = Vec::new();
    if let Some(account) = &told.account {
        facts.push(("Account", account.number.clone()));
        facts.push(("Phase", account.phase.clone()));
    }
    if !told.program.is_empty() {
        facts.push(("Program", told.program.clone()));
    }
    facts.push(("Time", format!("{} (UTC)", mail.at)));
    if !told.local_time.is_empty() {
        facts.push(("Time of the program", told.local_time.clone()));
    }
    facts
}

#[expect(clippy::too_many_arguments, reason = "the parts of one page, once each")]
fn text(
    mail: &Queued,
    subject: &str,
    facts: &[(&str, String)],
    page: &str,
    see: &str,
    why: &str,
    preferences: &str,
    unsubscribe: &str,
) -> String {
    let mut text = format!("Hello {},\n\n{subject}\n\n", mail.name);
    for sentence in &mail.told.sentences {
        let _ = writeln!(text, "{sentence}");
    }
    if !mail.told.sentences.is_empty() {
        text.push('\n');
    }
    for (label, value) in facts {
        let _ = writeln!(text, "{label}: {value}");
    }
    let _ = write!(
        text,
        "\n{see}: {page}\n\n--\n{}\n{why}\nChoose what you are mailed: {preferences}\nNo more mails of this kind: {unsubscribe}\n",
        mail.firm_name
    );
    text
}

#[expect(clippy::too_many_arguments, reason = "the parts of one page, once each")]
fn html(
    mail: &Queued,
    subject: &str,
    facts: &[(&str, String)],
    page: &str,
    see: &str,
    why: &str,
    preferences: &str,
    unsubscribe: &str,
) -> String {
    let mut html = String::from(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width,initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\"><title>",
    );
    let _ = write!(
        html,
        "{0}</title></head><body style=\"margin:0;padding:24px;font:16px/1.5 system-ui,sans-serif\">\
         <main style=\"max-width:560px;margin:0 auto\"><p>Hello {1},</p><h1 style=\"font-size:20px;line-height:1.3\">{0}</h1>",
        escape(subject),
        escape(&mail.name)
    );
    for sentence in &mail.told.sentences {
        let _ = write!(html, "<p style=\"margin:0 0 8px\">{}</p>", escape(sentence));
    }
    html.push_str("<dl style=\"margin:16px 0\">");
    for (label, value) in facts {
        let _ = write!(
            html,
            "<dt style=\"font-weight:600\">{}</dt><dd style=\"margin:0 0 8px\">{}</dd>",
            escape(label),
            escape(value)
        );
    }
    let _ = write!(
        html,
        "</dl><p><a href=\"{}\">{see}</a></p><hr><p style=\"font-size:14px\">{}</p><p style=\"font-size:14px\">\
         <a href=\"{}\">Choose what you are mailed</a> · <a href=\"{}\">No more mails of this kind</a></p></main></body></html>",
        escape(page),
        escape(why),
        escape(preferences),
        escape(unsubscribe)
    );
    html
}

/// A header has one line.
fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect()
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::super::{AccountRef, Kind, Told};
    use super::*;
    use kernel::{AccountId, PersonId, Timestamp};

    fn queued(kind: Kind, name: &str) -> Queued {
        Queued {
            id: MailId::derived(&[b"mail"]),
            person: PersonId::derived(&[b"ann"]),
            email: "ann@example.com".to_owned(),
            name: name.to_owned(),
            kind,
            at: Timestamp::parse("2026-01-05T10:00:00Z").unwrap(),
            told: Told {
                headline: "Daily loss crossed: the account has ended".to_owned(),
                sentences: vec!["The floor was 95000.00 USD.".to_owned()],
                account: Some(AccountRef {
                    id: AccountId::derived(&[b"account"]),
                    number: "A-3F9C21".to_owned(),
                    phase: "Evaluation".to_owned(),
                    verdict: Some(1),
                }),
                program: "Two <step>".to_owned(),
                local_time: "2026-01-05 11:00:00 Europe/Prague".to_owned(),
                ..Told::default()
            },
            wanted: true,
            suppressed: false,
            firm_name: "Acme & Co".to_owned(),
            host: None,
        }
    }

    #[test]
    fn both_parts_say_the_same_and_how_to_get_no_more() {
        let site =
            Site { base: "https://acme.example:8443".to_owned(), unsubscribe_token: "tok-en".to_owned() };
        for kind in Kind::ALL {
            let letter = letter(FirmId::derived(&[b"acme"]), &queued(kind, "Ann"), &site);
            for part in [&letter.text, &letter.html] {
                for words in [
                    "95000.00 USD",
                    "A-3F9C21",
                    "2026-01-05T10:00:00",
                    "Europe/Prague",
                    "https://acme.example:8443/accounts/",
                    "https://acme.example:8443/notifications/preferences",
                    "https://acme.example:8443/v1/unsubscribe/tok-en",
                    "You get this mail because",
                ] {
                    assert!(part.contains(words), "{kind:?} without {words}: {part}");
                }
            }
            assert_eq!(letter.host, "acme.example");
        }
    }

    #[test]
    fn a_name_cannot_write_markup_or_headers() {
        let site = Site { base: "https://acme.example".to_owned(), unsubscribe_token: "t".to_owned() };
        let name = "<img src=x>\r\nBcc: all@example.com";
        let letter = letter(FirmId::derived(&[b"acme"]), &queued(Kind::PurchasePaid, name), &site);
        assert!(!letter.html.contains("<img"), "{}", letter.html);
        assert!(letter.html.contains("Two &lt;step&gt;"), "{}", letter.html);
        for header in [&letter.to_name, &letter.subject, &letter.from_name] {
            assert!(!header.contains(['\r', '\n']), "{header:?}");
        }
    }
}
