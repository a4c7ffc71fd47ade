//! What would be right, where a reader says only what is wrong.

use serde_json::Value;

use crate::near::nearest;

/// What would be right instead of what a reader complains about at a place of a document: "unknown field `floo`, expected
/// `floor` or `room`", "missing field `reference`". The schema tells which words a setting may be.
pub(crate) fn hint(say: &str, schema: &dyn Fn() -> Value, path: &str) -> String {
    if say.contains("invalid type: floating point") || say.contains("invalid type: integer") {
        return "; write the number in quotes, such as \"5.5\"".to_owned();
    }
    if say.contains("not a plain decimal number") {
        return "; write it without signs or separators, such as \"1000.00\"".to_owned();
    }
    if say.contains("invalid type: map, expected a") && say.contains("string") {
        return "; write dates and times in quotes, such as \"2026-01-05\"".to_owned();
    }
    let mut quoted = say.split('`').skip(1).step_by(2);
    if say.contains("missing field") {
        let Some(missing) = quoted.next() else { return String::new() };
        let place = if path.is_empty() { missing.to_owned() } else { format!("{path}.{missing}") };
        return listed("; it may be", &words_at(&schema(), &place));
    }
    if say.contains("single key") || say.contains("exactly 1 element") {
        return listed("; give one of", &words_at(&schema(), path));
    }
    if say.contains("unknown field `examples`") {
        return "; did you mean [[example]]?".to_owned();
    }
    let wrong =
        if say.contains("unknown field") || say.contains("unknown variant") { quoted.next() } else { None };
    wrong
        .and_then(|wrong| nearest(wrong, quoted))
        .map_or(String::new(), |near| format!("; did you mean {near}?"))
}

fn listed(lead: &str, words: &[String]) -> String {
    match words.split_last() {
        None => String::new(),
        Some((last, [])) => format!("{lead} {last}"),
        Some((last, others)) => format!("{lead} {} or {last}", others.join(", ")),
    }
}

/// The words that a setting may be, and the names of the tables that it may be, by a schema. None where it may be anything
/// else.
fn words_at(schema: &Value, path: &str) -> Vec<String> {
    let mut node = schema;
    for part in path.split('.').filter(|part| !part.is_empty()) {
        let (name, places) =
            part.split_once('[').map_or((part, 0), |(name, rest)| (name, rest.matches(']').count()));
        if !name.is_empty() {
            let Some(next) = resolved(schema, node).get("properties").and_then(|all| all.get(name)) else {
                return Vec::new();
            };
            node = next;
        }
        for _ in 0..places {
            let Some(next) = resolved(schema, node).get("items") else { return Vec::new() };
            node = next;
        }
    }
    let mut words = Vec::new();
    collect(schema, node, &mut words);
    words
}

/// The schema itself, where it is only named, or may also be nothing.
fn resolved<'a>(root: &'a Value, node: &'a Value) -> &'a Value {
    if let Some(target) = node.get("$ref").and_then(Value::as_str) {
        return root.pointer(target.trim_start_matches('#')).unwrap_or(node);
    }
    let some = |it: &&Value| it.get("type").and_then(Value::as_str) != Some("null");
    match node.get("anyOf").and_then(Value::as_array) {
        Some(either) => either.iter().find(some).map_or(node, |it| resolved(root, it)),
        None => node,
    }
}

fn collect(root: &Value, node: &Value, words: &mut Vec<String>) {
    let node = resolved(root, node);
    if let Some(word) = node.get("const").and_then(Value::as_str) {
        words.push(format!("\"{word}\""));
    }
    let all = node.get("enum").and_then(Value::as_array);
    words.extend(all.into_iter().flatten().filter_map(Value::as_str).map(|word| format!("\"{word}\"")));
    for variant in node.get("oneOf").and_then(Value::as_array).into_iter().flatten() {
        match variant.get("properties").and_then(Value::as_object) {
            Some(table) => words.extend(table.keys().cloned()),
            None => collect(root, variant, words),
        }
    }
}
