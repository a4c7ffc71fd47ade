//! Compares a manifest with the schema of its custom resource: as much of JSON Schema as Kubernetes allows in one.

use regex_lite::Regex;
use serde_json::Value;

/// Everything in a value that its schema refuses, each with its path.
pub(super) fn refused(value: &Value, schema: &Value) -> Vec<String> {
    let mut found = Vec::new();
    look(value, schema, "", &mut found);
    found
}

fn look(value: &Value, schema: &Value, path: &str, found: &mut Vec<String>) {
    let here = if path.is_empty() { "the manifest" } else { path };
    let count = |key: &str| schema.get(key).and_then(Value::as_u64);
    let listed = |key: &str| schema.get(key).and_then(Value::as_array).into_iter().flatten();
    if let Some(kind) = schema.get("type").and_then(Value::as_str)
        && !is_a(value, kind)
    {
        found.push(format!("{here} must be of type {kind}"));
        return;
    }
    if schema.get("x-kubernetes-int-or-string").and_then(Value::as_bool) == Some(true)
        && !(value.is_string() || value.is_i64() || value.is_u64())
    {
        found.push(format!("{here} must be a number or a text"));
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        found.push(format!("{here} is {value}, which is none of the values allowed"));
    }
    if let Some(text) = value.as_str() {
        let length = u64::try_from(text.chars().count()).unwrap_or(u64::MAX);
        if count("minLength").is_some_and(|least| length < least)
            || count("maxLength").is_some_and(|most| length > most)
        {
            found.push(format!("{here} is too short or too long"));
        }
        if let Some(pattern) = schema.get("pattern").and_then(Value::as_str) {
            match Regex::new(pattern) {
                Ok(regex) if regex.is_match(text) => {}
                Ok(_) => found.push(format!("{here} is {text:?}, which is not of the form {pattern}")),
                Err(error) => found.push(format!("{here}: the form {pattern} cannot be read: {error}")),
            }
        }
    }
    if let Some(number) = value.as_i64() {
        let bound = |key: &str| schema.get(key).and_then(Value::as_i64);
        if bound("minimum").is_some_and(|least| number < least)
            || bound("maximum").is_some_and(|most| number > most)
        {
            found.push(format!("{here} is {number}, which is out of bounds"));
        }
    }
    if let Some(entries) = value.as_array() {
        let length = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        if count("minItems").is_some_and(|least| length < least)
            || count("maxItems").is_some_and(|most| length > most)
        {
            found.push(format!("{here} has too few or too many entries"));
        }
        if let Some(items) = schema.get("items") {
            for (place, entry) in entries.iter().enumerate() {
                look(entry, items, &format!("{path}[{place}]"), found);
            }
        }
    }
    if let Some(fields) = value.as_object() {
        let size = u64::try_from(fields.len()).unwrap_or(u64::MAX);
        if count("minProperties").is_some_and(|least| size < least)
            || count("maxProperties").is_some_and(|most| size > most)
        {
            found.push(format!("{here} has too few or too many fields"));
        }
        for name in listed("required").filter_map(Value::as_str) {
            if !fields.contains_key(name) {
                found.push(format!("{here} lacks {name}"));
            }
        }
        let known = schema.get("properties").and_then(Value::as_object);
        for (name, field) in fields {
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match known.and_then(|known| known.get(name)) {
                Some(schema) => look(field, schema, &path, found),
                None => match schema.get("additionalProperties") {
                    Some(Value::Bool(false)) => found.push(format!("{path} is not known")),
                    Some(schema) if schema.is_object() => look(field, schema, &path, found),
                    _ => {}
                },
            }
        }
    }
    let fits = |schema: &Value| refused(value, schema).is_empty();
    for all in listed("allOf") {
        look(value, all, path, found);
    }
    if schema.get("anyOf").is_some() && !listed("anyOf").any(fits) {
        found.push(format!("{here} is none of what it may be"));
    }
    if schema.get("oneOf").is_some() && listed("oneOf").filter(|one| fits(one)).count() != 1 {
        found.push(format!("{here} must be exactly one of what it may be"));
    }
    if schema.get("not").is_some_and(fits) {
        found.push(format!("{here} is what it must not be"));
    }
}

fn is_a(value: &Value, kind: &str) -> bool {
    match kind {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "null" => value.is_null(),
        _ => false,
    }
}

/// Every form in a schema that cannot be read, so that no text was compared with it.
pub(super) fn unreadable_forms(schema: &Value, found: &mut Vec<String>) {
    if let Some(fields) = schema.as_object() {
        if let Some(pattern) = fields.get("pattern").and_then(Value::as_str)
            && let Err(error) = Regex::new(pattern)
        {
            found.push(format!("{pattern}: {error}"));
        }
        fields.values().for_each(|field| unreadable_forms(field, found));
    }
    schema.as_array().into_iter().flatten().for_each(|entry| unreadable_forms(entry, found));
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_schema_does_not_allow_is_named_with_its_path() {
        let schema = json!({
            "type": "object",
            "required": ["name"],
            "additionalProperties": false,
            "properties": {
                "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 4},
                "size": {"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]},
                "list": {"type": "array", "maxItems": 1, "items": {"type": "integer", "maximum": 3}},
                "mode": {"enum": ["on", "off"]},
                "more": {"type": "object", "additionalProperties": {"type": "string"}},
                "one": {"oneOf": [{"required": ["a"]}, {"required": ["b"]}]}
            }
        });
        let says = |value: Value| refused(&value, &schema);
        assert!(says(json!({"name": "api", "size": 1, "list": [3], "mode": "on", "more": {"x": "y"}, "one": {"a": 1}}))
            .is_empty());
        for (value, part) in [
            (json!({}), "lacks name"),
            (json!({"name": "api", "nmae": 1}), "nmae is not known"),
            (json!({"name": "API"}), "not of the form"),
            (json!({"name": "apiapi"}), "too long"),
            (json!({"name": "api", "list": [4]}), "list[0] is 4"),
            (json!({"name": "api", "list": [1, 1]}), "too many entries"),
            (json!({"name": "api", "mode": "onn"}), "none of the values"),
            (json!({"name": "api", "more": {"x": 1}}), "more.x must be of type string"),
            (json!({"name": "api", "one": {"a": 1, "b": 1}}), "exactly one"),
            (json!({"name": "api", "size": [1]}), "number or a text"),
        ] {
            let said = says(value).join("; ");
            assert!(said.contains(part), "{said:?} says nothing of {part:?}");
        }
    }
}
