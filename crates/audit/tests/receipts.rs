//! What a sealed document withstands: every alteration of what it says is refused, and the refusal says why.
#![expect(
    clippy::unwrap_used,
    clippy::arithmetic_side_effects,
    clippy::wildcard_enum_match_arm,
    reason = "a test may panic, and a wildcard stands for whatever is no list and no object"
)]

use std::collections::BTreeMap;
use std::error::Error as _;

use audit::receipt::{FORMAT, Refused, seal, verify};
use audit::{MOST_DEPTH, MOST_INTEGER, PublicKey, SigningKey, canonical};
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Map, Value, json};

/// RFC 8032, section 7.1, tests 1 and 2.
const OURS: &str = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60";
const OTHER: &str = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";

fn key(secret: &str) -> SigningKey {
    SigningKey::from_secret(&hex(secret))
}

fn hex(text: &str) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).unwrap();
    }
    bytes
}

fn breach() -> Value {
    json!({
        "verdict": "breach",
        "floor": {"amount": "95000.00", "derivation": ["100000.00", "5000.00"]},
        "equity": "94999.99",
        "sequence": 17,
        "terminal": true,
        "note": null
    })
}

fn sealed() -> Value {
    seal(&breach(), &key(OURS)).unwrap().into_document()
}

/// Checked without and with the right key; both must say the same.
fn check(document: &Value) -> Result<(), Refused> {
    check_text(document.to_string().as_bytes())
}

fn check_text(text: &[u8]) -> Result<(), Refused> {
    let public = key(OURS).public();
    let alone = verify(text, None);
    let with_key = verify(text, Some(&public));
    assert_eq!(alone.is_ok(), with_key.is_ok());
    match alone {
        Ok(verified) => {
            assert!(verified.self_declared);
            assert!(!with_key.unwrap().self_declared);
            assert_eq!(verified.key, public);
            Ok(())
        }
        Err(refused) => {
            assert_eq!(refused.to_string(), with_key.unwrap_err().to_string());
            Err(refused)
        }
    }
}

fn say(document: &Value) -> String {
    check(document).unwrap_err().to_string()
}

fn with(pointer: &str, value: Value) -> Value {
    let mut document = sealed();
    *document.pointer_mut(pointer).unwrap() = value;
    document
}

/// A receipt that was handed out must verify for ever. Its hash and signature were computed apart from this code.
#[test]
fn the_format_stays() {
    let text = concat!(
        r#"{"body":{"floor":["95000.00",17,null,true],"note":"a\nb","équité":"94999.99"},"#,
        r#""format":"tradesense.receipt/1","#,
        r#""hash":"8b7d657f56f0de57885aa79911f4b8b6e319d11b4c7bcb92f574143857dda8de","#,
        r#""key":"21fe31dfa154a261","#,
        r#""public_key":"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a","#,
        r#""signature":"4e0246f29cfe1f1170dd1e84e6b659ade7712ac8f54b53b286ab023c30fc2b08"#,
        r#"7183dacaae99cb92044ec46aa6354ef2aab1e39eb6442e83c31c92b91df69d02"}"#,
    );
    let body = json!({"note": "a\nb", "floor": ["95000.00", 17, null, true], "équité": "94999.99"});
    let sealed = seal(&body, &key(OURS)).unwrap();
    assert_eq!(sealed.text(), text);
    assert_eq!(verify(text.as_bytes(), None).unwrap().body, body);
    assert!(text.contains(sealed.hash()));
}

#[test]
fn the_result_says_whose_word_the_key_is() {
    let text = sealed().to_string();
    let public = key(OURS).public();
    let alone = verify(text.as_bytes(), None).unwrap();
    assert!(alone.self_declared);
    assert_eq!(alone.body, breach());
    assert_eq!(
        alone.sentence(),
        format!(
            "Nothing was changed since this was signed by the key that the document itself names \
             (21fe31dfa154a261). Whose key that is the document cannot show: compare {public} with the key that the \
             firm publishes."
        )
    );
    let with_key = verify(text.as_bytes(), Some(&public)).unwrap();
    assert!(!with_key.self_declared);
    assert_eq!(
        with_key.sentence(),
        "Nothing was changed since this was signed by the key that you gave (21fe31dfa154a261)."
    );
    assert_eq!(
        verify(text.as_bytes(), Some(&key(OTHER).public())).unwrap_err().to_string(),
        format!(
            "the receipt is signed by another key (21fe31dfa154a261) than the one that you gave ({})",
            key(OTHER).public().id()
        )
    );
}

#[test]
fn each_alteration_is_refused_with_its_reason() {
    let other = seal(&json!({"verdict": "pass"}), &key(OURS)).unwrap().into_document();
    let foreign = seal(&breach(), &key(OTHER)).unwrap().into_document();
    let text = "the text was changed after signing: it has another hash, and the signature is not for it";
    assert_eq!(say(&with("/body/floor/amount", json!("94000.00"))), text);
    assert_eq!(say(&with("/body/floor/derivation/1", json!(5000))), text);
    assert_eq!(say(&with("/body", other["body"].clone())), text);
    assert_eq!(
        say(&with("/body/sequence", json!(17.5))),
        "this cannot be read as one JSON document in which every field stands once"
    );
    assert_eq!(
        say(&with("/body/sequence", json!(MOST_INTEGER + 1))),
        "the text was changed after signing: it holds what no receipt can hold"
    );
    assert_eq!(
        say(&with("/hash", other["hash"].clone())),
        "the receipt's hash was changed: the signed text has another one"
    );
    let signature = "the signature is not for this text: one of the two was changed after signing";
    assert_eq!(say(&with("/signature", other["signature"].clone())), signature);
    let mut consistent = with("/body", other["body"].clone());
    consistent["hash"] = other["hash"].clone();
    assert_eq!(say(&consistent), signature);
    assert_eq!(say(&with("/signature", json!("00"))), "the receipt's signature cannot be read");
    assert_eq!(
        say(&with("/key", json!("21FE31DFA154A261"))),
        "the receipt's key was changed: it names the key \"21FE31DFA154A261\", but its public key is 21fe31dfa154a261"
    );
    assert_eq!(
        say(&with("/public_key", foreign["public_key"].clone())),
        format!(
            "the receipt's key was changed: it names the key \"21fe31dfa154a261\", but its public key is {}",
            key(OTHER).public().id()
        )
    );
    assert_eq!(say(&with("/public_key", json!(""))), "the receipt's public key cannot be read");
    assert_eq!(
        say(&with("/format", json!("tradesense.receipt/2"))),
        "this is not a receipt of the format tradesense.receipt/1: it says \"tradesense.receipt/2\""
    );
    assert_eq!(say(&with("/hash", json!(null))), "the receipt was changed: its field \"hash\" is not a text");
    let mut added = sealed();
    added["remark"] = json!("paid");
    assert_eq!(say(&added), "the receipt was changed: a field \"remark\" does not belong to it");
    for field in ["body", "hash", "key", "public_key", "signature"] {
        let mut document = sealed();
        document.as_object_mut().unwrap().remove(field);
        assert_eq!(say(&document), format!("the receipt is not whole: its field \"{field}\" is missing"));
    }
    let no_format = "this is not a receipt: it does not name its format";
    assert_eq!(say(&breach()), no_format);
    assert_eq!(say(&json!([sealed()])), no_format);
}

/// Somebody who swaps text, hash, key and signature for his own is caught by the trader who has the firm's key, and
/// only by him.
#[test]
fn a_receipt_sealed_by_a_stranger_is_refused_to_who_has_the_firms_key() {
    let foreign = seal(&breach(), &key(OTHER)).unwrap();
    let alone = verify(foreign.text().as_bytes(), None).unwrap();
    assert!(alone.self_declared);
    assert_eq!(alone.key, key(OTHER).public());
    let refused = verify(foreign.text().as_bytes(), Some(&key(OURS).public())).unwrap_err();
    assert!(matches!(refused, Refused::OtherKey { .. }));
}

#[test]
fn a_field_that_stands_twice_is_refused() {
    let text = sealed().to_string();
    let twice = [
        text.replacen('{', "{\"format\":\"tradesense.receipt/1\",", 1),
        text.replacen("\"equity\":", "\"equity\":\"1\",\"equity\":", 1),
        text.replacen("\"amount\":", "\"amoun\\u0074\":\"95000.00\",\"amount\":", 1),
    ];
    for text in twice {
        let refused = check_text(text.as_bytes()).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "this cannot be read as one JSON document in which every field stands once"
        );
        let cause = refused.source().unwrap().to_string();
        assert!(cause.contains("stands twice at line 1 column"), "{cause}");
    }
}

/// A signature that our key gave for anything else is none on a receipt.
#[test]
fn a_signature_for_another_purpose_is_refused() {
    let body = canonical(&breach()).unwrap();
    let signature = key(OURS).sign("tradesense.receipt/2", body.as_bytes());
    assert!(matches!(check(&with("/signature", json!(signature.to_string()))), Err(Refused::Signature(_))));
    let signature = key(OURS).sign(FORMAT, body.as_bytes());
    check(&with("/signature", json!(signature.to_string()))).unwrap();
}

#[test]
fn layout_carries_no_meaning() {
    let document = sealed();
    check_text(serde_json::to_string_pretty(&document).unwrap().as_bytes()).unwrap();
    check_text(format!(" {document}\r\n").as_bytes()).unwrap();
    check_text(document.to_string().replace("breach", "\\u0062reach").as_bytes()).unwrap();
}

#[test]
fn what_can_be_sealed_can_be_read_again() {
    let nested = |depth: usize| (0..depth).fold(json!(7), |inner, _| json!({"in": [inner]}));
    let deepest = nested((MOST_DEPTH - 1) / 2);
    let sealed = seal(&deepest, &key(OURS)).unwrap();
    assert_eq!(verify(sealed.text().as_bytes(), None).unwrap().body, deepest);
    seal(&nested(MOST_DEPTH / 2), &key(OURS)).unwrap_err();
    let refused = seal(&json!({"floor": 1.5}), &key(OURS)).unwrap_err();
    assert_eq!(refused.to_string(), "floor: a number that is not a whole one; write decimals as a string");
}

fn scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        (-MOST_INTEGER..=MOST_INTEGER).prop_map(Value::from),
        (-3_i64..=3).prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        "[a-c\\u{0}-\\u{1f}\"\\\\]{0,4}".prop_map(Value::from),
        "-?[0-9]{1,6}\\.[0-9]{2}".prop_map(Value::from),
    ]
}

fn name() -> impl Strategy<Value = String> {
    // Few and odd ones: U+FB33 and U+1F600 are sorted differently by UTF-8 and UTF-16.
    prop_oneof!["[a-d]{1,2}", any::<String>(), "[\u{fb33}\u{1f600}\u{e000}\u{10000}z]{1,3}"]
}

fn json_value() -> impl Strategy<Value = Value> {
    scalar().prop_recursive(5, 40, 5, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((name(), inner), 0..5)
                .prop_map(|fields| Value::Object(fields.into_iter().collect())),
        ]
    })
}

/// The same value with the fields of every object inserted the other way round.
fn reversed(value: &Value) -> Value {
    match value {
        Value::Array(elements) => elements.iter().map(reversed).collect(),
        Value::Object(fields) => {
            let fields: Vec<_> = fields.iter().map(|(name, field)| (name.clone(), reversed(field))).collect();
            Value::Object(fields.into_iter().rev().collect())
        }
        _ => value.clone(),
    }
}

/// The JSON text of a value with the fields of every object in the opposite of the canonical order, and spaces.
fn other_layout(value: &Value) -> String {
    match value {
        Value::Array(elements) => {
            let elements: Vec<_> = elements.iter().map(other_layout).collect();
            format!("[ {} ]", elements.join(" ,\n"))
        }
        Value::Object(fields) => {
            let fields: BTreeMap<Vec<u16>, String> = fields
                .iter()
                .map(|(name, field)| {
                    (name.encode_utf16().collect(), format!("{}\t: {}", json!(name), other_layout(field)))
                })
                .collect();
            let fields: Vec<_> = fields.into_values().rev().collect();
            format!("{{ {} }}", fields.join(" , "))
        }
        _ => value.to_string(),
    }
}

/// The JSON pointers of every value in a document.
fn places(value: &Value, here: &str, found: &mut Vec<String>) {
    found.push(here.to_owned());
    match value {
        Value::Array(elements) => {
            for (index, element) in elements.iter().enumerate() {
                places(element, &format!("{here}/{index}"), found);
            }
        }
        Value::Object(fields) => {
            for (name, field) in fields {
                let name = name.replace('~', "~0").replace('/', "~1");
                places(field, &format!("{here}/{name}"), found);
            }
        }
        _ => {}
    }
}

fn places_where(document: &Value, fits: impl Fn(&Value) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    places(document, "", &mut found);
    found.retain(|place| fits(document.pointer(place).unwrap()));
    found
}

fn is_container(value: &Value) -> bool {
    value.is_object() || value.is_array()
}

fn is_full(value: &Value) -> bool {
    value.as_object().is_some_and(|fields| !fields.is_empty())
        || value.as_array().is_some_and(|list| !list.is_empty())
}

/// The document with another value at one place.
fn altered(document: &Value, place: &str, value: &Value) -> Value {
    let mut altered = document.clone();
    *altered.pointer_mut(place).unwrap() = value.clone();
    altered
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn the_canonical_text_is_one(value in json_value()) {
        let text = canonical(&value).unwrap();
        let again: Value = serde_json::from_str(&text).unwrap();
        prop_assert_eq!(&again, &value);
        prop_assert_eq!(&canonical(&again).unwrap(), &text);
        prop_assert_eq!(&canonical(&reversed(&value)).unwrap(), &text);
        let other: Value = serde_json::from_str(&other_layout(&value)).unwrap();
        prop_assert_eq!(&canonical(&other).unwrap(), &text);
    }

    #[test]
    fn different_values_have_different_texts(one in json_value(), other in json_value()) {
        prop_assert_eq!(canonical(&one).unwrap() == canonical(&other).unwrap(), one == other);
    }

    #[test]
    fn what_is_sealed_verifies(body in json_value(), secret: [u8; 32]) {
        let key = SigningKey::from_secret(&secret);
        let sealed = seal(&body, &key).unwrap();
        let canonical = canonical(sealed.document()).unwrap();
        prop_assert_eq!(sealed.text(), canonical.as_str());
        for text in [sealed.text().to_owned(), other_layout(sealed.document())] {
            let alone = verify(text.as_bytes(), None).unwrap();
            prop_assert!(alone.self_declared);
            prop_assert_eq!(&alone.body, &body);
            prop_assert_eq!(alone.key, key.public());
            let with_key = verify(text.as_bytes(), Some(&key.public())).unwrap();
            prop_assert!(!with_key.self_declared);
            prop_assert_eq!(with_key.body, body.clone());
        }
        prop_assert_eq!(PublicKey::parse(&key.public().to_string()).unwrap(), key.public());
    }

    #[test]
    fn one_altered_value_anywhere_is_refused(body in json_value(), at: Index, value in json_value()) {
        let document = seal(&body, &key(OURS)).unwrap().into_document();
        let places = places_where(&document, |_| true);
        let place: &String = at.get(&places);
        let altered = altered(&document, place, &value);
        prop_assume!(altered != document);
        prop_assert!(check(&altered).is_err());
    }

    #[test]
    fn every_altered_leaf_is_refused(body in json_value(), text in ".{0,3}") {
        let document = seal(&body, &key(OURS)).unwrap().into_document();
        for place in places_where(&document, |value| !is_container(value)) {
            let old = document.pointer(&place).unwrap();
            let mut others = vec![json!(null), json!(false), json!(0), json!(""), json!([]), json!({}), json!(text)];
            if let Some(old) = old.as_str() {
                others.push(json!(format!("{old}{text} ")));
                others.push(json!(old.to_uppercase()));
            }
            if let Some(old) = old.as_i64() {
                others.extend([json!(-old), json!(old.to_string()), json!(old - old.signum())]);
            }
            for other in others.iter().filter(|other| *other != old) {
                prop_assert!(check(&altered(&document, &place, other)).is_err(), "{} := {}", place, other);
            }
        }
    }

    #[test]
    fn every_removed_field_or_element_is_refused(body in json_value()) {
        let document = seal(&body, &key(OURS)).unwrap().into_document();
        for place in places_where(&document, is_full) {
            match document.pointer(&place).unwrap() {
                Value::Object(fields) => {
                    for name in fields.keys() {
                        let mut fewer = fields.clone();
                        fewer.remove(name);
                        prop_assert!(check(&altered(&document, &place, &Value::Object(fewer))).is_err());
                    }
                }
                Value::Array(elements) => {
                    for index in 0..elements.len() {
                        let mut fewer = elements.clone();
                        fewer.remove(index);
                        prop_assert!(check(&altered(&document, &place, &Value::Array(fewer))).is_err());
                    }
                }
                leaf => panic!("only full containers were asked for, not {leaf}"),
            }
        }
    }

    #[test]
    fn every_added_field_or_element_is_refused(body in json_value(), name in name(), value in scalar()) {
        let document = seal(&body, &key(OURS)).unwrap().into_document();
        for place in places_where(&document, is_container) {
            let more = match document.pointer(&place).unwrap() {
                Value::Object(fields) if fields.contains_key(&name) => continue,
                Value::Object(fields) => {
                    let more = fields.clone().into_iter().chain([(name.clone(), value.clone())]);
                    Value::Object(more.collect::<Map<_, _>>())
                }
                Value::Array(elements) => elements.iter().cloned().chain([value.clone()]).collect(),
                leaf => panic!("only containers were asked for, not {leaf}"),
            };
            prop_assert!(check(&altered(&document, &place, &more)).is_err(), "{} + {:?}", place, name);
        }
    }

    #[test]
    fn a_field_repeated_anywhere_is_refused(body in json_value(), at: Index, same: bool) {
        let sealed = seal(&body, &key(OURS)).unwrap();
        let objects = places_where(sealed.document(), |value| value.is_object() && is_full(value));
        let place = at.get(&objects);
        let fields = sealed.document().pointer(place).unwrap().as_object().unwrap();
        let (name, field) = fields.iter().next().unwrap();
        let field = if same { field.clone() } else { json!("another") };
        // A name that stands nowhere else marks where the repeated field goes.
        let mark = "\u{10ffff}mark";
        let mut fields = fields.clone();
        fields.insert(mark.to_owned(), field);
        let text = altered(sealed.document(), place, &Value::Object(fields)).to_string();
        let text = text.replacen(&json!(mark).to_string(), &json!(name).to_string(), 1);
        prop_assert!(matches!(check_text(text.as_bytes()), Err(Refused::Unreadable(_))), "{}", text);
    }

    /// Whatever byte of the text is exchanged: it is refused, or it still says the very same (as when the hex digits
    /// of an escape become capital letters).
    #[test]
    fn an_exchanged_byte_is_refused_or_says_the_same(body in json_value(), at: Index, byte: u8, like: Index) {
        let sealed = seal(&body, &key(OURS)).unwrap();
        let place = at.index(sealed.text().len());
        // Any byte, and one that stands in the document, which leaves it readable more often.
        for byte in [byte, *like.get(sealed.text().as_bytes())] {
            let mut text = sealed.text().as_bytes().to_vec();
            text[place] = byte;
            let says_the_same = serde_json::from_slice::<Value>(&text).is_ok_and(|read| read == *sealed.document());
            prop_assert_eq!(check_text(&text).is_ok(), says_the_same);
        }
    }

    #[test]
    fn any_bytes_are_refused_without_harm(bytes: Vec<u8>, text in "[\\[\\]{}\",:0-9a]{0,40}") {
        prop_assert!(verify(&bytes, None).is_err());
        prop_assert!(verify(text.as_bytes(), None).is_err());
    }
}

#[test]
fn every_exchanged_character_of_hash_keys_and_signature_is_refused() {
    let document = sealed();
    for field in ["hash", "key", "public_key", "signature"] {
        let text = document[field].as_str().unwrap().to_owned();
        for place in 0..text.len() {
            for other in "0123456789abcdefABCDEF ".chars().filter(|other| !text[place..].starts_with(*other))
            {
                let mut changed = text.clone();
                changed.replace_range(place..=place, &other.to_string());
                assert!(check(&with(&format!("/{field}"), json!(changed))).is_err(), "{field}: {changed}");
            }
        }
    }
}
