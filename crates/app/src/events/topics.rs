//! What messages say: every topic with the form of its payload. `tradesense topics` prints it as JSON Schema, and
//! `api/topics.json` is that print; a form that was published stays, and another one is another version beside it.

use serde_json::{Map, Value, json};

use super::Message;

/// What a payload may say under one name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// A UUID.
    Id,
    /// A UUID, or null.
    OptionalId,
    /// An integer.
    Number,
    /// A text.
    Text,
    /// Texts; not there if there are none.
    Texts,
    /// An instant, RFC 3339.
    Instant,
    /// A decimal string and a currency.
    Money,
}

/// A topic in one version.
#[derive(Debug, Clone, Copy)]
pub struct Topic {
    /// Such as `account.breached`.
    pub name: &'static str,
    /// Of the form.
    pub version: i16,
    /// What has happened.
    pub says: &'static str,
    /// What stands in the payload, all of it.
    pub fields: &'static [(&'static str, Form)],
}

const ACCOUNT: &[(&str, Form)] = &[("account", Form::Id)];
const VERDICT: &[(&str, Form)] = &[("account", Form::Id), ("verdict", Form::Number), ("rule", Form::Text)];
const SALE: &[(&str, Form)] = &[("slug", Form::Text), ("version", Form::Text), ("fee", Form::Money)];
const SETTLEMENT: &[(&str, Form)] =
    &[("state", Form::Text), ("challenge", Form::OptionalId), ("fee", Form::Money)];
const DISPUTE: &[(&str, Form)] = &[
    ("dispute", Form::Id),
    ("purchase", Form::Id),
    ("state", Form::Text),
    ("provider", Form::Text),
    ("amount", Form::Money),
];
const RATE: &[(&str, Form)] = &[
    ("provider", Form::Text),
    ("month", Form::Text),
    ("level", Form::Text),
    ("disputes", Form::Number),
    ("payments", Form::Number),
];
const PAYOUT: &[(&str, Form)] = &[("state", Form::Text), ("account", Form::Id), ("amount", Form::Money)];
const RELEASE: &[(&str, Form)] =
    &[("name", Form::Text), ("at", Form::Instant), ("currencies", Form::Texts), ("symbols", Form::Texts)];

const fn topic(name: &'static str, says: &'static str, fields: &'static [(&'static str, Form)]) -> Topic {
    Topic { name, version: 1, says, fields }
}

/// Every topic.
pub const TOPICS: &[Topic] = &[
    topic("account.opened", "A trading account was opened.", ACCOUNT),
    topic("account.traded", "A realised result of an account has changed.", ACCOUNT),
    topic("account.breached", "A hard rule was broken; the account has ended.", VERDICT),
    topic("account.locked", "A soft rule was broken; the account is locked until its reset.", VERDICT),
    topic("account.violation", "A rule was broken that ends and locks nothing.", VERDICT),
    topic("account.warned", "A floor has come near.", VERDICT),
    topic("account.passed", "A phase was passed.", VERDICT),
    topic("account.promoted", "The next phase was opened.", VERDICT),
    topic("account.expired", "The time for a phase has run out.", VERDICT),
    topic("account.paid", "A payout left the account.", VERDICT),
    topic("account.payout_refused", "A payout was refused.", VERDICT),
    topic("dispute.opened", "A buyer, or their bank, asks for a payment or about it.", DISPUTE),
    topic(
        "dispute.released",
        "Nothing is held for a dispute any more: it ended well, or the firm let go.",
        DISPUTE,
    ),
    topic("dispute.rate_high", "Too many payments of a month are disputed at a provider.", RATE),
    topic("payout.requested", "A trader asks for a payout.", PAYOUT),
    topic("payout.approved", "The firm lets a payout go.", PAYOUT),
    topic("payout.rejected", "The firm does not let a payout go.", PAYOUT),
    topic("payout.sent", "A payout is on its way.", PAYOUT),
    topic("payout.settled", "A payout has arrived.", PAYOUT),
    topic("payout.failed", "A payout did not leave; it is owed.", PAYOUT),
    topic("payout.returned", "A payout came back; it is owed.", PAYOUT),
    topic("program.published", "A version of a program is on sale.", SALE),
    topic("purchase.created", "Somebody is about to buy.", SALE),
    topic("purchase.paid", "A purchase was paid.", SETTLEMENT),
    topic("purchase.declined", "A payment was declined.", SETTLEMENT),
    topic("purchase.cancelled", "A purchase was given up.", SETTLEMENT),
    topic("purchase.expired", "Nobody paid a purchase in time.", SETTLEMENT),
    topic("purchase.fulfilled", "The account of a purchase is open.", SETTLEMENT),
    topic("purchase.overpaid", "Money came that a purchase has no use for.", SETTLEMENT),
    topic("purchase.refunded", "Money of a purchase was given back.", SETTLEMENT),
    topic("purchase.refund_failed", "A refund did not arrive.", SETTLEMENT),
    topic("purchase.disputed", "The buyer's bank asks for the money of a purchase.", SETTLEMENT),
    topic("purchase.dispute_won", "A dispute was won.", SETTLEMENT),
    topic("purchase.charged_back", "A dispute was lost.", SETTLEMENT),
    topic("release.added", "A release was put into the calendar.", RELEASE),
    topic("release.removed", "A release was taken out of the calendar.", &[]),
];

impl Form {
    fn schema(self) -> Value {
        let uuid = json!({ "type": "string", "format": "uuid" });
        match self {
            Self::Id => uuid,
            Self::OptionalId => json!({ "anyOf": [uuid, { "type": "null" }] }),
            Self::Number => json!({ "type": "integer" }),
            Self::Text => json!({ "type": "string" }),
            Self::Texts => json!({ "type": "array", "items": { "type": "string" } }),
            Self::Instant => json!({ "type": "string", "format": "date-time" }),
            Self::Money => json!({
                "type": "object",
                "required": ["amount", "currency"],
                "properties": {
                    "amount": { "type": "string", "pattern": "^-?[0-9]+(\\.[0-9]+)?$" },
                    "currency": { "type": "string", "pattern": "^[A-Z]{3}$" }
                },
                "additionalProperties": false
            }),
        }
    }

    fn fits(self, value: &Value) -> bool {
        match self {
            Self::Id => value.as_str().is_some_and(is_uuid),
            Self::OptionalId => value.is_null() || Self::Id.fits(value),
            Self::Number => value.is_i64() || value.is_u64(),
            Self::Text => value.is_string(),
            Self::Texts => value.as_array().is_some_and(|texts| texts.iter().all(Value::is_string)),
            Self::Instant => value.as_str().is_some_and(|text| kernel::Timestamp::parse(text).is_ok()),
            Self::Money => value.as_object().is_some_and(|money| {
                money.len() == 2
                    && ["amount", "currency"]
                        .iter()
                        .all(|name| money.get(*name).is_some_and(Value::is_string))
            }),
        }
    }
}

fn is_uuid(text: &str) -> bool {
    text.parse::<kernel::FirmId>().is_ok()
}

/// What is wrong with a message's payload; nothing if it has the form of its topic and version.
pub fn fault(message: &Message) -> Option<String> {
    let Message { topic: name, version, payload, .. } = message;
    let Some(topic) = TOPICS.iter().find(|topic| topic.name == name && topic.version == *version) else {
        return Some(format!("there is no topic {name} in version {version}"));
    };
    let empty = Map::new();
    let said = payload.as_object().unwrap_or(&empty);
    let fits =
        |field: &str, form: Form| said.get(field).map_or(form == Form::Texts, |value| form.fits(value));
    let missing = topic.fields.iter().find(|(field, form)| !fits(field, *form));
    if let Some((field, form)) = missing {
        return Some(format!("{name} says no {field} of the form {form:?}"));
    }
    let further = said.keys().find(|field| topic.fields.iter().all(|(known, _)| known != field));
    further.map(|field| format!("{name} also says {field}"))
}

/// Every topic with the JSON Schema of its payload, as `tradesense topics` prints it.
pub fn schemas() -> Value {
    let topics = TOPICS.iter().map(|Topic { name, version, says, fields }| {
        let properties: Map<String, Value> =
            fields.iter().map(|(field, form)| ((*field).to_owned(), form.schema())).collect();
        let always = fields.iter().filter(|(_, form)| *form != Form::Texts);
        let required: Vec<&str> = always.map(|(field, _)| *field).collect();
        json!({
            "topic": name,
            "version": version,
            "says": says,
            "payload": {
                "$schema": "https://json-schema.org/draft/2020-12/schema",
                "type": "object",
                "required": required,
                "properties": properties
            }
        })
    });
    Value::Array(topics.collect())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What was published: a payload that somebody has learned to read never changes under the same version.
    #[test]
    fn what_was_published_stays() {
        let published: Value = serde_json::from_str(include_str!("../../../../api/topics.json")).unwrap();
        let now = schemas();
        for topic in published.as_array().unwrap() {
            let found = now
                .as_array()
                .unwrap()
                .iter()
                .find(|other| other["topic"] == topic["topic"] && other["version"] == topic["version"]);
            assert_eq!(found.map(|found| &found["payload"]), Some(&topic["payload"]), "{}", topic["topic"]);
        }
        let names: BTreeSet<_> = TOPICS.iter().map(|topic| (topic.name, topic.version)).collect();
        assert_eq!(names.len(), TOPICS.len(), "each topic once in a version");
    }
}
