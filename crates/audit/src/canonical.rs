//! The one text of a JSON value, in the shape of RFC 8785, for documents without fractions.

use serde_json::{Number, Value};

/// The largest integer that every JSON reader keeps exactly: 2^53 − 1. The smallest is its negative.
pub const MOST_INTEGER: i64 = 9_007_199_254_740_991;

/// The most lists and objects within one another, so that nobody's reader runs out of stack.
pub const MOST_DEPTH: usize = 100;

/// Where a value has no canonical text, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct NotCanonical {
    /// As in `positions[2].profit`; `the document` for its outermost value.
    pub path: String,
    /// What is wrong there.
    pub reason: NotCanonicalReason,
}

/// Why a value has no canonical text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotCanonicalReason {
    /// Not held as an integer; 1.0 is none either.
    #[error("a number that is not a whole one; write decimals as a string")]
    NotAnInteger,
    /// Beyond [`MOST_INTEGER`].
    #[error(
        "a whole number beyond ±9007199254740991, which not every reader keeps exactly; write it as a string"
    )]
    TooLarge,
    /// Beyond [`MOST_DEPTH`].
    #[error("more than 100 lists and objects within one another")]
    TooDeep,
}

/// The canonical text: keys in the order of their UTF-16 code units, no spaces, only the escapes that JSON
/// requires. Equal values have equal texts, in whatever order their fields were inserted.
pub fn canonical(value: &Value) -> Result<String, NotCanonical> {
    let mut text = String::new();
    write_value(value, &mut Vec::new(), &mut text)?;
    Ok(text)
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Field(&'a str),
    Element(usize),
}

fn write_value<'a>(
    value: &'a Value,
    path: &mut Vec<Step<'a>>,
    text: &mut String,
) -> Result<(), NotCanonical> {
    match value {
        Value::Null => text.push_str("null"),
        Value::Bool(true) => text.push_str("true"),
        Value::Bool(false) => text.push_str("false"),
        Value::Number(number) => {
            let integer = integer(number).map_err(|reason| at(path, reason))?;
            text.push_str(&integer.to_string());
        }
        Value::String(string) => write_string(string, text),
        Value::Array(elements) => {
            check_depth(path)?;
            text.push('[');
            for (index, element) in elements.iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                path.push(Step::Element(index));
                write_value(element, path, text)?;
                path.pop();
            }
            text.push(']');
        }
        Value::Object(fields) => {
            check_depth(path)?;
            let mut fields: Vec<(&String, &Value)> = fields.iter().collect();
            // The order of UTF-8 bytes is another one: it puts U+FB33 before U+1F600.
            fields.sort_unstable_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            text.push('{');
            for (index, (name, field)) in fields.into_iter().enumerate() {
                if index > 0 {
                    text.push(',');
                }
                write_string(name, text);
                text.push(':');
                path.push(Step::Field(name));
                write_value(field, path, text)?;
                path.pop();
            }
            text.push('}');
        }
    }
    Ok(())
}

fn integer(number: &Number) -> Result<i64, NotCanonicalReason> {
    match number.as_i64() {
        Some(integer) if (-MOST_INTEGER..=MOST_INTEGER).contains(&integer) => Ok(integer),
        Some(_) => Err(NotCanonicalReason::TooLarge),
        None if number.is_u64() => Err(NotCanonicalReason::TooLarge),
        None => Err(NotCanonicalReason::NotAnInteger),
    }
}

fn check_depth(path: &[Step<'_>]) -> Result<(), NotCanonical> {
    if path.len() < MOST_DEPTH { Ok(()) } else { Err(at(path, NotCanonicalReason::TooDeep)) }
}

fn write_string(string: &str, text: &mut String) {
    text.push('"');
    for character in string.chars() {
        match character {
            '"' => text.push_str("\\\""),
            '\\' => text.push_str("\\\\"),
            '\u{8}' => text.push_str("\\b"),
            '\t' => text.push_str("\\t"),
            '\n' => text.push_str("\\n"),
            '\u{c}' => text.push_str("\\f"),
            '\r' => text.push_str("\\r"),
            '\0'..='\u{1f}' => {
                let [.., high, low] = u32::from(character).to_be_bytes();
                text.push_str("\\u");
                text.push_str(&hex::encode([high, low]));
            }
            _ => text.push(character),
        }
    }
    text.push('"');
}

fn at(path: &[Step<'_>], reason: NotCanonicalReason) -> NotCanonical {
    let mut text = String::new();
    for step in path {
        match step {
            Step::Element(index) => {
                text.push('[');
                text.push_str(&index.to_string());
                text.push(']');
            }
            Step::Field(name) if is_plain(name) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(name);
            }
            Step::Field(name) => {
                text.push('[');
                write_string(name, &mut text);
                text.push(']');
            }
        }
    }
    if text.is_empty() {
        text.push_str("the document");
    }
    NotCanonical { path: text, reason }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|character| character.is_ascii_alphanumeric() || character == '_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn refused(value: &Value) -> (String, NotCanonicalReason) {
        let refused = canonical(value).unwrap_err();
        (refused.path, refused.reason)
    }

    /// RFC 8785, sections 3.2.2 and 3.2.4, without the numbers that are not whole.
    #[test]
    fn literals_and_strings_are_written_as_the_standard_shows() {
        let text = r#"{
            "string": "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\/",
            "literals": [null, true, false]
        }"#;
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(
            canonical(&value).unwrap(),
            r#"{"literals":[null,true,false],"string":"€$\u000f\nA'B\"\\\\\"/"}"#
        );
    }

    /// RFC 8785, section 3.2.3.
    #[test]
    fn keys_are_sorted_as_the_standard_shows() {
        let text = r#"{
            "\u20ac": "Euro Sign", "\r": "Carriage Return", "\ufb33": "Hebrew Letter Dalet With Dagesh",
            "1": "One", "\ud83d\ude00": "Emoji: Grinning Face", "\u0080": "Control",
            "\u00f6": "Latin Small Letter O With Diaeresis"
        }"#;
        let value: Value = serde_json::from_str(text).unwrap();
        assert_eq!(
            canonical(&value).unwrap(),
            "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u{80}\":\"Control\",\
             \"ö\":\"Latin Small Letter O With Diaeresis\",\"€\":\"Euro Sign\",\
             \"😀\":\"Emoji: Grinning Face\",\"\u{fb33}\":\"Hebrew Letter Dalet With Dagesh\"}"
        );
    }

    #[test]
    fn only_what_json_requires_is_escaped() {
        let all: String = ('\0'..='\u{ff}').collect();
        let text = canonical(&json!(all)).unwrap();
        let start = "\"\\u0000\\u0001\\u0002\\u0003\\u0004\\u0005\\u0006\\u0007\\b\\t\\n\\u000b\\f\\r\\u000e";
        assert!(text.starts_with(start), "{text}");
        assert!(text.contains("\\u001f !\\\"#"), "{text}");
        assert!(text.contains("[\\\\]^"), "{text}");
        assert!(text.contains("~\u{7f}\u{80}"), "{text}");
    }

    #[test]
    fn whole_numbers_that_every_reader_keeps_are_written() {
        let value = json!([0, -1, 17, MOST_INTEGER, -MOST_INTEGER]);
        assert_eq!(canonical(&value).unwrap(), "[0,-1,17,9007199254740991,-9007199254740991]");
    }

    #[test]
    fn other_numbers_are_refused_with_their_place() {
        use NotCanonicalReason::{NotAnInteger, TooLarge};
        let read = |text: &str| serde_json::from_str::<Value>(text).unwrap();
        assert_eq!(refused(&read(r#"{"a":{"b":[0,1.5]}}"#)), ("a.b[1]".to_owned(), NotAnInteger));
        assert_eq!(refused(&read(r#"{"a":1.0}"#)), ("a".to_owned(), NotAnInteger));
        assert_eq!(refused(&read("[[-0]]")), ("[0][0]".to_owned(), NotAnInteger));
        assert_eq!(refused(&read("1e3")), ("the document".to_owned(), NotAnInteger));
        assert_eq!(refused(&json!({"a.b": {"": i64::MIN}})), (r#"["a.b"][""]"#.to_owned(), TooLarge));
        assert_eq!(refused(&json!({"ms": MOST_INTEGER + 1})), ("ms".to_owned(), TooLarge));
        assert_eq!(refused(&json!({"ms": -MOST_INTEGER - 1})), ("ms".to_owned(), TooLarge));
        assert_eq!(refused(&json!({"ms": u64::MAX})), ("ms".to_owned(), TooLarge));
        assert_eq!(
            canonical(&json!({"floor": 1.5})).unwrap_err().to_string(),
            "floor: a number that is not a whole one; write decimals as a string"
        );
    }

    #[test]
    fn depth_is_limited() {
        let nested = |depth: usize| (0..depth).fold(json!(7), |inner, _| json!([inner]));
        canonical(&nested(MOST_DEPTH)).unwrap();
        let (path, reason) = refused(&nested(MOST_DEPTH + 1));
        assert_eq!(reason, NotCanonicalReason::TooDeep);
        assert_eq!(path, "[0]".repeat(MOST_DEPTH));
    }
}
