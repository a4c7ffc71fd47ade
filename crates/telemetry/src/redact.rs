//! What a log line must not show, taken out where the line is made.
//!
//! Types that hold a secret print nothing of it anyhow; this is for what comes with the words of others: an error that quotes an
//! address, a provider's answer. It looks for forms, so it takes out too much rather than too little.

use std::borrow::Cow;

/// Beginnings of keys that providers and we give out.
const SECRET_BEGINNINGS: [&str; 10] = [
    "whsec_",
    "sk_live_",
    "sk_test_",
    "rk_live_",
    "rk_test_",
    "tsk_",
    "AKIA",
    "ghp_",
    "xoxb-",
    "AGE-SECRET-KEY-",
];
/// Names whose value is nobody's business, in lower case; a longer name that ends in one counts too.
const SECRET_NAMES: [&str; 11] = [
    "password",
    "passwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "authorization",
    "cookie",
    "session",
    "signature",
    "private_key",
];
/// Words after which a credential follows.
const SCHEMES: [&str; 2] = ["bearer", "basic"];

const SECRET: &str = "[secret]";
const EMAIL: &str = "[email]";
const CARD: &str = "[card]";

/// The text without addresses of people, card numbers, keys, tokens and passwords.
pub fn redact(text: &str) -> Cow<'_, str> {
    let mut out = String::with_capacity(text.len());
    // Whether what comes next is a credential, because of what stood before; and whether that was a bare name, which makes one of what
    // follows only behind a sign: people speak of sessions and tokens too.
    let (mut credential, mut named) = (false, false);
    let mut rest = text;
    while !rest.is_empty() {
        let end = rest.find(is_border).unwrap_or(rest.len());
        let (word, behind) = rest.split_at(end);
        if word.chars().all(|character| matches!(character, ':' | '=')) {
            // Between a name and its value, or nothing.
            out.push_str(word);
            credential |= named && !word.is_empty();
        } else {
            let scheme = SCHEMES.iter().any(|scheme| word.eq_ignore_ascii_case(scheme));
            let (shown, is_name) =
                if credential && !scheme { (SECRET.to_owned(), false) } else { shown(word) };
            out.push_str(&shown);
            credential = scheme || is_name && word.ends_with([':', '=']);
            named = is_name;
        }
        let border_end = behind.find(|character| !is_border(character)).unwrap_or(behind.len());
        let (border, behind) = behind.split_at(border_end);
        // A name and its value stand side by side in JSON, `name = value` and `name: value`; a comma parts them from the next.
        if border.contains([',', ';', '\n', '{', '}']) {
            (credential, named) = (false, false);
        }
        out.push_str(border);
        rest = behind;
    }
    let out = without_cards(&out);
    if out == text { Cow::Borrowed(text) } else { Cow::Owned(out) }
}

fn is_border(character: char) -> bool {
    character.is_whitespace() || character.is_control() || "\"'`,;()[]{}<>|".contains(character)
}

/// A word as it may be shown, and whether a credential follows it.
fn shown(word: &str) -> (String, bool) {
    if let Some(url) = without_user(word) {
        return (parts_shown(&url), false);
    }
    (parts_shown(word), is_secret_name(word.trim_end_matches([':', '='])) && !has_value(word))
}

fn has_value(word: &str) -> bool {
    word.trim_end_matches([':', '=']).contains(['=', ':'])
}

/// A word may be several pairs, as in the query of an address.
fn parts_shown(word: &str) -> String {
    let mut out = String::with_capacity(word.len());
    for part in word.split_inclusive(['&', '?']) {
        let end = part.trim_end_matches(['&', '?']);
        let tail = part.get(end.len()..).unwrap_or_default();
        out.push_str(&pair_shown(end));
        out.push_str(tail);
    }
    out
}

fn pair_shown(part: &str) -> String {
    // `name=value`, or `name:value` as Debug prints a map without blanks.
    if let Some((at, sign)) = part.char_indices().find(|(_, character)| matches!(character, '=' | ':')) {
        let (name, value) = part.split_at(at);
        let value = value.strip_prefix(sign).unwrap_or_default();
        if !value.is_empty() && is_secret_name(name) {
            return format!("{name}{sign}{SECRET}");
        }
        if sign == '=' {
            return format!("{name}={}", value_shown(value));
        }
    }
    value_shown(part)
}

fn value_shown(value: &str) -> String {
    let found = SECRET_BEGINNINGS.iter().filter_map(|beginning| value.find(beginning)).min();
    if let Some(at) = found {
        let (before, _) = value.split_at(at);
        return format!("{before}{SECRET}");
    }
    if let Some(at) = value.find("eyJ").filter(|at| is_token(value.get(*at..).unwrap_or_default())) {
        let (before, _) = value.split_at(at);
        return format!("{before}{SECRET}");
    }
    let is_address = value.split_once('@').is_some_and(|(name, host)| {
        !name.is_empty() && host.trim_end_matches('.').contains('.') && !host.starts_with('.')
    });
    if is_address { EMAIL.to_owned() } else { value.to_owned() }
}

/// A JSON web token: three parts, of which the last may be empty.
fn is_token(value: &str) -> bool {
    let parts: Vec<&str> = value.split('.').collect();
    let base64 = |part: &&str| {
        part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'='))
    };
    parts.len() >= 3 && parts.iter().take(2).all(|part| part.len() > 3 && base64(part))
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase().replace('-', "_");
    SECRET_NAMES.iter().any(|secret| {
        name.strip_suffix(secret)
            .is_some_and(|before| !before.ends_with(|last: char| last.is_ascii_alphanumeric()))
    })
}

/// An address without the name and password in it.
fn without_user(word: &str) -> Option<String> {
    let (scheme, rest) = word.split_once("://")?;
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    let (_, host) = authority.rsplit_once('@')?;
    Some(format!("{scheme}://{SECRET}@{host}{path}"))
}

/// Puts a word in place of whatever may be a card's number: 13 to 19 digits, perhaps in groups, whose last one checks the others.
fn without_cards(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut before = ' ';
    while let Some(first) = rest.chars().next() {
        if first.is_ascii_digit() && !before.is_ascii_alphanumeric() {
            let end = number_end(rest);
            let (run, behind) = rest.split_at(end);
            let follows_word = behind.starts_with(|next: char| next.is_ascii_alphanumeric());
            out.push_str(if !follows_word && is_card(run) { CARD } else { run });
            before = run.chars().next_back().unwrap_or(' ');
            rest = behind;
            continue;
        }
        out.push(first);
        before = first;
        rest = rest.get(first.len_utf8()..).unwrap_or_default();
    }
    out
}

/// Where digits end, with single blanks or hyphens between them.
fn number_end(text: &str) -> usize {
    let mut end = 0;
    let mut characters = text.char_indices().peekable();
    while let Some((at, character)) = characters.next() {
        if character.is_ascii_digit() {
            end = at.saturating_add(1);
        } else if !matches!(character, ' ' | '-')
            || !characters.peek().is_some_and(|(_, next)| next.is_ascii_digit())
        {
            break;
        }
    }
    end
}

fn is_card(run: &str) -> bool {
    let digits: Vec<u32> = run.chars().filter_map(|character| character.to_digit(10)).collect();
    // Those of the large schemes begin with 2 to 6; instants in microseconds begin with 1.
    if !(13..=19).contains(&digits.len()) || !digits.first().is_some_and(|first| (2..=6).contains(first)) {
        return false;
    }
    let sum = digits.iter().rev().enumerate().fold(0_u32, |sum, (place, digit)| {
        let doubled = if place.wrapping_rem(2) == 1 { digit.saturating_mul(2) } else { *digit };
        sum.saturating_add(if doubled > 9 { doubled.saturating_sub(9) } else { doubled })
    });
    sum.checked_rem(10) == Some(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is planted, and what may be shown of it.
    const CANARIES: &[(&str, &str)] = &[
        ("paid with 4242424242424242 now", "paid with [card] now"),
        ("card 4242 4242 4242 4242, again", "card [card], again"),
        ("card:5555-5555-5555-4444", "card:[card]"),
        ("card=378282246310005", "card=[card]"),
        ("to jane.doe+x@example.com failed", "to [email] failed"),
        ("to <jane@example.co.uk>: 550", "to <[email]>: 550"),
        ("email=jane@example.com", "email=[email]"),
        ("whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "[secret]"),
        ("key sk_live_51Habcdef is wrong", "key [secret] is wrong"),
        ("eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiIxIn0.c2ln rest", "[secret] rest"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer [secret]"),
        ("authorization: Basic dXNlcjpwYXNz", "authorization: Basic [secret]"),
        ("postgres://app:hunter2@db:5432/x?a=b", "postgres://[secret]@db:5432/x?a=b"),
        ("redis://:hunter2@cache:6379", "redis://[secret]@cache:6379"),
        ("{\"password\":\"hunter2\",\"name\":\"Jane\"}", "{\"password\":\"[secret]\",\"name\":\"Jane\"}"),
        ("{\"new_password\": \"hunter2\"}", "{\"new_password\": \"[secret]\"}"),
        ("password = hunter2", "password = [secret]"),
        ("GET /reset?token=abcdef&lang=en", "GET /reset?token=[secret]&lang=en"),
        ("Set-Cookie: session=abcdef; Path=/", "Set-Cookie: [secret]; Path=/"),
        ("AccessKey AKIAIOSFODNN7EXAMPLE", "AccessKey [secret]"),
    ];

    #[test]
    fn canaries_never_come_through() {
        for (said, shown) in CANARIES {
            assert_eq!(&redact(said), shown, "{said}");
        }
    }

    #[test]
    fn what_is_no_secret_stays_as_it_is() {
        for said in [
            "the relay ended",
            "account 0198f1c2-7d3e-7c1a-9b1e-2f0a4c5d6e7f at 1798765432101234",
            "GET /v1/accounts/{account}/orders 200 in 1234 us",
            "2026-11-29T21:24:10.123456Z ticket 4242424242424241",
            "tokens are checked; the session ended, twice",
            "user@host without a dot, @handle, a@",
            "quote EURUSD 1.08423/1.08425",
            "",
        ] {
            assert!(matches!(redact(said), Cow::Borrowed(same) if same == said), "{said}: {}", redact(said));
        }
    }

    #[test]
    fn any_bytes_are_survived() {
        for said in ["é@ü.ö", "=:=&?://@", "\u{0}\u{1b}[31m", "eyJ..", "4 4 4 4 - - 4", "://", "password"]
        {
            let _ = redact(said);
        }
    }
}
