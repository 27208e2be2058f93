//! The messages: one per event type, and the dead letter.

use crate::{
    contract::{envelope::Envelope, event::EventType},
    schema::headers,
};
use serde_json::{Map, Value, json};

/// The schema format of JSON Schema 2020-12, as AsyncAPI names it.
const SCHEMA_FORMAT: &str = "application/schema+json;version=2020-12";

/// The key of the dead letter among the messages.
pub(super) const DEAD_LETTER: &str = "deadLetter";

/// Returns the section `components`.
pub(super) fn components() -> Value {
    let events = EventType::ALL.iter().map(|event_type| (event_type.as_str(), event(*event_type)));
    let messages: Map<_, _> = events
        .chain([(DEAD_LETTER, dead_letter())])
        .map(|(name, message)| (name.to_owned(), message))
        .collect();
    json!({
        "messages": messages,
        "messageTraits": {
            "event": { "contentType": "application/json", "headers": headers::of_event() },
            "deadLetter": { "headers": headers::of_dead_letter() },
        },
    })
}

fn event(event_type: EventType) -> Value {
    json!({
        "name": event_type,
        "title": format!("Envelope of {event_type}"),
        "summary": format!("At most {} bytes.", Envelope::MAX_BYTES),
        "traits": [{ "$ref": "#/components/messageTraits/event" }],
        "payload": {
            "schemaFormat": SCHEMA_FORMAT,
            "schema": {
                "allOf": [
                    { "$ref": "./envelope.json" },
                    {
                        "properties": {
                            "eventType": { "const": event_type },
                            "payload": { "$ref": format!("./{event_type}.json") },
                        },
                    },
                ],
            },
        },
    })
}

fn dead_letter() -> Value {
    json!({
        "name": "dead letter",
        "title": "An event that a consumer could not handle",
        "summary": "The bytes of the event as they were, valid or not; empty where they did not fit.",
        "traits": [{ "$ref": "#/components/messageTraits/deadLetter" }],
        "payload": { "schemaFormat": SCHEMA_FORMAT, "schema": {} },
    })
}
