//! Reading JSON so that two readers cannot see two documents in one text.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

/// Reads one document. A field that stands twice is refused (readers differ in which one they take), and so is a
/// number that is not whole (readers differ in how they round).
pub(crate) fn parse(text: &[u8]) -> Result<Value, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let value = Strict.deserialize(&mut reader)?;
    reader.end()?;
    Ok(value)
}

struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("null, true, false, a whole number, a string, a list or an object")
    }

    fn visit_unit<E: Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E: Error>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        let mut elements = Vec::new();
        while let Some(element) = list.next_element_seed(Strict)? {
            elements.push(element);
        }
        Ok(Value::Array(elements))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        let mut fields = Map::new();
        while let Some(name) = object.next_key::<String>()? {
            if fields.contains_key(&name) {
                return Err(A::Error::custom(format_args!("the field {name:?} stands twice")));
            }
            let field = object.next_value_seed(Strict)?;
            fields.insert(name, field);
        }
        Ok(Value::Object(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn say(text: &str) -> String {
        parse(text.as_bytes()).unwrap_err().to_string()
    }

    #[test]
    fn reads_what_json_is() {
        let text = "{\"a\": [null, true, -3, \"\\u0041\"], \"b\": {\"a\": {}},\n \"c\": [] }\n";
        assert_eq!(
            parse(text.as_bytes()).unwrap(),
            json!({"a": [null, true, -3, "A"], "b": {"a": {}}, "c": []})
        );
    }

    #[test]
    fn refuses_what_readers_read_differently() {
        assert_eq!(say(r#"{"a":1,"b":2,"a":1}"#), r#"the field "a" stands twice at line 1 column 16"#);
        assert!(say(r#"[{"b":{"a":1,"\u0061":2}}]"#).starts_with(r#"the field "a" stands twice"#));
        assert!(say(r#"{"a":1.0}"#).contains("expected null, true, false, a whole number"));
        assert!(say("{}{}").contains("trailing characters"));
        assert!(say("").contains("EOF"));
        assert!(say(r#""\ud800""#).contains("surrogate") || say(r#""\ud800""#).contains("hex escape"));
        assert!(say(&"[".repeat(100_000)).contains("recursion limit"));
        assert!(parse(b"\"\xff\"").is_err(), "not UTF-8");
    }
}
