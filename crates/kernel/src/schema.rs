//! How the values of this crate look in a JSON Schema: text with a form.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::{
    Amount, Currency, LocalTime, Lots, Percent, ResetClock, Side, Symbol, Timestamp, TradingDay, Zone,
};

/// A schema that is written where it is used and has no name of its own.
macro_rules! text_schema {
    ($($kind:ty => $schema:tt),+ $(,)?) => {$(
        impl JsonSchema for $kind {
            fn inline_schema() -> bool {
                true
            }
            fn schema_name() -> Cow<'static, str> {
                stringify!($kind).into()
            }
            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )+};
}

text_schema! {
    Amount => {
        "type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,6})?$",
        "description": "Money of the account's currency as decimal text, such as \"1250.50\"."
    },
    Percent => {
        "type": "string", "pattern": r"^-?[0-9]+(\.[0-9]{1,4})?$",
        "description": "Per cent as decimal text: \"5\" is five per cent."
    },
    Lots => {
        "type": "string", "pattern": r"^[0-9]+(\.[0-9]{1,6})?$",
        "description": "Lots or contracts as decimal text, such as \"0.5\"."
    },
    Currency => { "type": "string", "pattern": "^[A-Z]{3}$", "description": "A currency code such as USD." },
    Symbol => { "type": "string", "pattern": "^[A-Z0-9]{2,16}$", "description": "An instrument such as EURUSD." },
    Side => { "enum": ["buy", "sell"] },
    LocalTime => { "type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$", "description": "A local time such as 17:00." },
    Zone => {
        "type": "string",
        "description": "A zone of the tz database such as Europe/Prague, or America/New_York+07:00 for a server that keeps seven hours ahead of New York."
    },
    Timestamp => { "type": "string", "format": "date-time", "description": "An instant in UTC." },
    TradingDay => { "type": "string", "format": "date", "description": "A trading day by its date." },
    ResetClock => {
        "type": "object", "required": ["zone", "time"], "additionalProperties": false,
        "description": "The end of a day: a local time in a zone of the tz database, never an offset.",
        "properties": {
            "zone": {
                "type": "string",
                "description": "Such as Europe/Prague, or America/New_York+07:00 for a server that keeps seven hours ahead of New York."
            },
            "time": { "type": "string", "pattern": "^([01][0-9]|2[0-3]):[0-5][0-9]$" }
        }
    },
}
