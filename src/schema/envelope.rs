//! The schema of the envelope.

use crate::{
    contract::{
        domain::Domain,
        envelope::Envelope,
        event::{EventType, key::IdempotencyKey},
        source::Source,
    },
    schema::{document, generator, payload, values},
};
use schemars::{Schema, json_schema};
use serde_json::{Map, Value, json};

/// Returns the JSON Schema of an envelope; the event type decides what the payload must be.
///
/// Unknown fields are let through, and so is every `1.x`: a later minor version may add fields.
///
/// ```
/// let envelope = stratt_event_bridge::schema::envelope();
/// assert_eq!(envelope.get("required").unwrap().as_array().unwrap().len(), 9);
/// ```
#[must_use]
pub fn envelope() -> Schema {
    let mut generator = generator();
    // In the order of the contract. All are required.
    let fields = [
        ("eventId", values::event_id()),
        ("eventType", generator.subschema_for::<EventType>()),
        ("eventVersion", values::event_version()),
        ("domain", generator.subschema_for::<Domain>()),
        ("timestamp", values::timestamp()),
        ("idempotencyKey", generator.subschema_for::<IdempotencyKey>()),
        ("source", generator.subschema_for::<Source>()),
        ("payload", json_schema!({ "type": "object" })),
        ("meta", json_schema!({ "description": "Free-form companions; {} when empty.", "type": "object" })),
    ];
    let required: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
    let payloads: Vec<Value> = EventType::ALL
        .iter()
        .map(|event_type| {
            json!({
                "if": { "required": ["eventType"], "properties": { "eventType": { "const": event_type } } },
                "then": { "properties": { "payload": payload::reference(*event_type, &mut generator) } },
            })
        })
        .collect();
    let schema = json_schema!({
        "title": "STRATT event envelope, version 1",
        "description": format!(
            "Read and written as UTF-8, at most {} bytes, the first of them an opening brace.",
            Envelope::MAX_BYTES
        ),
        "type": "object",
        "required": required,
        "properties": fields
            .into_iter()
            .map(|(name, schema)| (name.to_owned(), schema.to_value()))
            .collect::<Map<_, _>>(),
        "allOf": payloads,
    });
    document(schema, generator)
}
