//! Requests and answers against what a provider publishes about them.

use serde_json::{Map, Value};

/// The part of a specification that we call.
pub(super) struct Spec {
    operations: Vec<Operation>,
}

/// One operation.
pub(super) struct Operation {
    method: String,
    path: Vec<String>,
    about: Value,
    schemas: Value,
}

/// How strictly to look.
#[derive(Clone, Copy)]
struct Looking<'a> {
    schemas: &'a Value,
    /// Names that the schema does not have are faults.
    closed: bool,
    /// Numbers and booleans come as text.
    text: bool,
}

impl Spec {
    pub(super) fn read(file: &str) -> Self {
        let file: Value = serde_json::from_str(file).unwrap();
        let tables = match file.get("files") {
            Some(files) => files.as_object().unwrap().values().cloned().collect(),
            None => vec![file],
        };
        let mut operations = Vec::new();
        for table in tables {
            for (line, about) in table["operations"].as_object().unwrap() {
                let (method, path) = line.split_once(' ').unwrap();
                operations.push(Operation {
                    method: method.to_owned(),
                    path: path.split('/').map(str::to_owned).collect(),
                    about: about.clone(),
                    schemas: table["schemas"].clone(),
                });
            }
        }
        // Names before parameters.
        operations
            .sort_by_key(|operation| operation.path.iter().filter(|part| part.starts_with('{')).count());
        Self { operations }
    }

    pub(super) fn find(&self, method: &str, path: &str) -> Option<&Operation> {
        let parts: Vec<&str> = path.split('/').collect();
        self.operations.iter().find(|operation| {
            operation.method == method
                && operation.path.len() == parts.len()
                && operation.path.iter().zip(&parts).all(|(own, part)| own.starts_with('{') || own == part)
        })
    }
}

impl Operation {
    /// What is wrong with a query, already nested.
    pub(super) fn query_faults(&self, query: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        let parameters: Vec<&Value> = self.about["parameters"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|one| one["in"] == "query")
            .collect();
        for (name, value) in query.as_object().unwrap() {
            match parameters.iter().find(|one| one["name"] == name.as_str()) {
                Some(known) => self.looking(true, true).check(value, &known["schema"], name, &mut faults),
                None => faults.push(format!("{name}: no such parameter")),
            }
        }
        faults
    }

    /// What is wrong with a form, already nested: all values are text.
    pub(super) fn form_faults(&self, form: &Value) -> Vec<String> {
        self.body_faults(form, true)
    }

    /// What is wrong with a JSON body.
    pub(super) fn json_faults(&self, body: &Value) -> Vec<String> {
        self.body_faults(body, false)
    }

    fn body_faults(&self, body: &Value, text: bool) -> Vec<String> {
        let mut faults = Vec::new();
        match self.about["body"].get("schema") {
            Some(schema) => self.looking(true, text).check(body, schema, "", &mut faults),
            None if body.as_object().is_some_and(Map::is_empty) => {}
            None => faults.push("there is no body".to_owned()),
        }
        faults
    }

    /// What is wrong with an answer. Answers may say more than is published.
    pub(super) fn answer_faults(&self, answer: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        if let Some(schema) = self.about.get("answer") {
            self.looking(false, false).check(answer, schema, "", &mut faults);
        }
        faults
    }

    /// What is wrong with something by the name of its schema.
    pub(super) fn faults_of(&self, name: &str, value: &Value) -> Vec<String> {
        let mut faults = Vec::new();
        let schema = &self.schemas[name];
        assert!(schema.is_object(), "no schema {name}");
        self.looking(true, false).check(value, schema, name, &mut faults);
        faults
    }

    fn looking(&self, closed: bool, text: bool) -> Looking<'_> {
        Looking { schemas: &self.schemas, closed, text }
    }
}

impl Looking<'_> {
    fn check(self, value: &Value, schema: &Value, at: &str, faults: &mut Vec<String>) {
        if let Some(name) = schema["$ref"].as_str() {
            let name = name.rsplit('/').next().unwrap();
            // What was left out is not checked.
            if let Some(schema) = self.schemas.get(name) {
                self.check(value, schema, at, faults);
            }
            return;
        }
        if value.is_null() && schema["nullable"] == true {
            return;
        }
        if let Some(one_of) = schema["anyOf"].as_array() {
            let fits = one_of.iter().any(|schema| {
                let mut own = Vec::new();
                self.check(value, schema, at, &mut own);
                own.is_empty()
            });
            if !fits {
                faults.push(format!("{at}: none of what it may be"));
            }
            return;
        }
        for part in schema["allOf"].as_array().into_iter().flatten() {
            Self { closed: false, ..self }.check(value, part, at, faults);
        }
        match schema["type"].as_str() {
            Some("object") => self.object(value, schema, at, faults),
            Some("array") => self.array(value, schema, at, faults),
            Some("string") => match value.as_str() {
                Some(text) => string(text, schema, at, faults),
                None => faults.push(format!("{at}: not text")),
            },
            Some("integer") => match self.integer(value) {
                Some(number) => between(number, schema, at, faults),
                None => faults.push(format!("{at}: not an integer")),
            },
            Some("boolean") => {
                let said = value.as_str().is_some_and(|text| self.text && matches!(text, "true" | "false"));
                if !value.is_boolean() && !said {
                    faults.push(format!("{at}: not a boolean"));
                }
            }
            Some("number") if value.is_number() || self.text => {}
            Some(other) => faults.push(format!("{at}: not a {other}")),
            None if schema.get("properties").is_some() => self.object(value, schema, at, faults),
            None => {}
        }
    }

    fn integer(self, value: &Value) -> Option<i64> {
        let text = value.as_str().filter(|_| self.text);
        value.as_i64().or_else(|| text?.parse().ok())
    }

    fn object(self, value: &Value, schema: &Value, at: &str, faults: &mut Vec<String>) {
        let Some(fields) = value.as_object() else {
            faults.push(format!("{at}: not an object"));
            return;
        };
        for name in schema["required"].as_array().into_iter().flatten() {
            if !fields.contains_key(name.as_str().unwrap()) {
                faults.push(format!("{at}.{}: required", name.as_str().unwrap()));
            }
        }
        let mut known = Map::new();
        self.properties(schema, &mut known);
        for (name, value) in fields {
            let at = format!("{at}.{name}");
            match (schema["properties"].get(name), &schema["additionalProperties"]) {
                (Some(schema), _) => self.check(value, schema, &at, faults),
                (None, more @ Value::Object(_)) => self.check(value, more, &at, faults),
                (None, Value::Bool(true)) => {}
                (None, _) if self.closed && !known.contains_key(name) => {
                    faults.push(format!("{at}: no such field"));
                }
                (None, _) => {}
            }
        }
    }

    /// All names that an object may have, with those of the schemas that it is made of.
    fn properties(self, schema: &Value, known: &mut Map<String, Value>) {
        if let Some(name) = schema["$ref"].as_str() {
            self.properties(&self.schemas[name.rsplit('/').next().unwrap()], known);
        }
        known.extend(schema["properties"].as_object().cloned().unwrap_or_default());
        for part in schema["allOf"].as_array().into_iter().flatten() {
            self.properties(part, known);
        }
    }

    fn array(self, value: &Value, schema: &Value, at: &str, faults: &mut Vec<String>) {
        let Some(items) = value.as_array() else {
            faults.push(format!("{at}: not an array"));
            return;
        };
        let count = i64::try_from(items.len()).unwrap();
        if schema["minItems"].as_i64().is_some_and(|least| count < least)
            || schema["maxItems"].as_i64().is_some_and(|most| count > most)
        {
            faults.push(format!("{at}: {count} items"));
        }
        for (place, item) in items.iter().enumerate() {
            self.check(item, &schema["items"], &format!("{at}[{place}]"), faults);
        }
    }
}

fn string(text: &str, schema: &Value, at: &str, faults: &mut Vec<String>) {
    let length = i64::try_from(text.chars().count()).unwrap();
    if schema["minLength"].as_i64().is_some_and(|least| length < least)
        || schema["maxLength"].as_i64().is_some_and(|most| length > most)
    {
        faults.push(format!("{at}: {length} characters"));
    }
    if let Some(words) = schema["enum"].as_array()
        && !words.iter().any(|word| word == text)
    {
        faults.push(format!("{at}: {text:?} is no such word"));
    }
    // A pattern that this engine does not know (one looks ahead) is passed over.
    if let Some(Ok(pattern)) = schema["pattern"].as_str().map(regex_lite::Regex::new)
        && !pattern.is_match(text)
    {
        faults.push(format!("{at}: {text:?} is not of the pattern"));
    }
}

fn between(number: i64, schema: &Value, at: &str, faults: &mut Vec<String>) {
    if schema["minimum"].as_i64().is_some_and(|least| number < least)
        || schema["maximum"].as_i64().is_some_and(|most| number > most)
    {
        faults.push(format!("{at}: {number} is out of range"));
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::process::Command;

    use serde_json::json;

    use super::*;

    const STRIPE: &str = include_str!("../../specs/stripe.json");
    const PAYPAL: &str = include_str!("../../specs/paypal.json");

    #[test]
    fn what_is_not_published_is_found() {
        let stripe = Spec::read(STRIPE);
        let refund = stripe.find("POST", "/v1/refunds").unwrap();
        assert_eq!(refund.form_faults(&json!({"payment_intent": "pi_1", "amount": "500"})), [""; 0]);
        assert_eq!(refund.form_faults(&json!({"ammount": "500"})), [".ammount: no such field"]);
        assert_eq!(refund.form_faults(&json!({"amount": "5.00"})), [".amount: not an integer"]);
        assert_eq!(refund.form_faults(&json!({"reason": "why not"})).len(), 1);
        let list = stripe.find("GET", "/v1/refunds").unwrap();
        assert_eq!(
            list.query_faults(&json!({"limit": "10", "purpose": "x"})),
            ["purpose: no such parameter"]
        );
        assert!(stripe.find("DELETE", "/v1/refunds").is_none());
        assert!(stripe.find("GET", "/v1/refunds/re_1").is_some());
        let paypal = Spec::read(PAYPAL);
        let order = paypal.find("POST", "/v2/checkout/orders").unwrap();
        let amount = |value: &str| json!({"intent": "CAPTURE", "purchase_units": [{"amount": {"currency_code": "USD", "value": value}}]});
        assert_eq!(order.json_faults(&amount("10.00")), [""; 0]);
        assert_eq!(order.json_faults(&amount("ten")).len(), 1);
        assert_eq!(order.json_faults(&json!({"intent": "CAPTURE"})), [".purchase_units: required"]);
        assert_eq!(order.json_faults(&json!({"intent": "TAKE", "purchase_units": [{}]})).len(), 2);
    }

    /// Whether all that `part` says stands in `whole`.
    fn is_part(part: &Value, whole: &Value, at: &str, faults: &mut Vec<String>) {
        match (part, whole) {
            (Value::Object(part), Value::Object(whole)) => {
                for (name, value) in part {
                    match whole.get(name) {
                        Some(found) => is_part(value, found, &format!("{at}/{name}"), faults),
                        None => faults.push(format!("{at}/{name}")),
                    }
                }
            }
            (Value::Array(part), Value::Array(whole)) if at.ends_with("/required") => {
                if !part.iter().all(|name| whole.contains(name)) {
                    faults.push(at.to_owned());
                }
            }
            (Value::Array(part), Value::Array(whole)) if part.len() == whole.len() => {
                for (place, (part, whole)) in part.iter().zip(whole).enumerate() {
                    is_part(part, whole, &format!("{at}/{place}"), faults);
                }
            }
            (part, whole) if part == whole => {}
            _ => faults.push(at.to_owned()),
        }
    }

    fn compare(table: &Value, whole: &Value, faults: &mut Vec<String>) -> usize {
        let schemas = table["schemas"].as_object().unwrap();
        for (name, schema) in schemas {
            is_part(schema, &whole["components"]["schemas"][name], name, faults);
        }
        let operations = table["operations"].as_object().unwrap();
        for (line, about) in operations {
            let (method, path) = line.split_once(' ').unwrap();
            let own = &whole["paths"][path][method.to_lowercase()];
            let body = match own["requestBody"]["$ref"].as_str() {
                Some(name) => &whole["components"]["requestBodies"][name.rsplit('/').next().unwrap()],
                None => &own["requestBody"],
            };
            if let Some(extract) = about.get("body") {
                let kind = extract["type"].as_str().unwrap();
                is_part(&extract["schema"], &body["content"][kind]["schema"], line, faults);
            }
            for extract in about["parameters"].as_array().into_iter().flatten() {
                let all = own["parameters"].as_array().into_iter().flatten();
                let known = all.map(|one| match one["$ref"].as_str() {
                    Some(name) => &whole["components"]["parameters"][name.rsplit('/').next().unwrap()],
                    None => one,
                });
                let found = known.into_iter().find(|one| one["name"] == extract["name"]);
                is_part(
                    extract,
                    found.unwrap_or(&Value::Null),
                    &format!("{line} {}", extract["name"]),
                    faults,
                );
            }
        }
        operations.len().checked_add(schemas.len()).unwrap()
    }

    /// The whole specifications are too large to ship: whoever has them says where, as `PAYMENT_SPECS`.
    #[test]
    fn the_extracts_stand_in_the_whole_specifications_where_somebody_has_them() {
        let Some(folder) = std::env::var_os("PAYMENT_SPECS").map(PathBuf::from) else { return };
        let unpacked = Command::new("gunzip")
            .arg("-c")
            .arg(folder.join("stripe/openapi.spec3.json.gz"))
            .output()
            .unwrap();
        assert!(unpacked.status.success(), "{}", String::from_utf8_lossy(&unpacked.stderr));
        let mut faults = Vec::new();
        let stripe: Value = serde_json::from_str(STRIPE).unwrap();
        let compared = compare(&stripe, &serde_json::from_slice(&unpacked.stdout).unwrap(), &mut faults);
        assert!(compared > 25, "{compared}");
        let paypal: Value = serde_json::from_str(PAYPAL).unwrap();
        for (file, table) in paypal["files"].as_object().unwrap() {
            let whole = std::fs::read(folder.join("paypal").join(file)).unwrap();
            compare(table, &serde_json::from_slice(&whole).unwrap(), &mut faults);
        }
        assert_eq!(faults, [""; 0]);
    }
}
