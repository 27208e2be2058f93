//! The schemas of values that have no text type of their own, or are one of a few.

use crate::contract::event::{EventType, Occurrence};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;

/// Returns the schema of an event id in the form of RFC 9562; a reader accepts the other forms of the `uuid` crate too.
pub(super) fn event_id() -> Schema {
    json_schema!({
        "description": "The id of this announcement; a UUID v7 when written by the crate.",
        "type": "string",
        "format": "uuid",
        "maxLength": 36,
        "pattern": "^[0-9A-Fa-f]{8}(?:-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12}$",
    })
}

pub(super) fn event_version() -> Schema {
    json_schema!({
        "description": "1.0 when written; every 1.x is read.",
        "type": "string",
        "pattern": r"^1\.[0-9]+$",
        "not": { "pattern": r"\n" },
    })
}

/// Returns the schema of a timestamp in the form that RFC 3339 recommends to writers. `format` checks that the day
/// exists.
pub(super) fn timestamp() -> Schema {
    json_schema!({
        "description": "When it happened, RFC 3339; UTC with milliseconds when written by the crate.",
        "type": "string",
        "format": "date-time",
        "pattern": concat!(
            "^[0-9]{4}-(?:0[1-9]|1[0-2])-(?:0[1-9]|[12][0-9]|3[01])",
            r"T(?:[01][0-9]|2[0-3]):[0-5][0-9]:(?:[0-5][0-9]|60)(?:\.[0-9]+)?",
            "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])$",
        ),
        "not": { "pattern": r"\n" },
    })
}

impl JsonSchema for EventType {
    fn schema_name() -> Cow<'static, str> {
        "EventType".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "enum": Self::ALL })
    }
}

impl JsonSchema for Occurrence {
    fn schema_name() -> Cow<'static, str> {
        "Occurrence".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": Self::LEAST, "maximum": u64::MAX })
    }
}
