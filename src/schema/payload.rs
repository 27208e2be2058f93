//! The schemas of the payloads.

use crate::{
    contract::event::{
        ChainGateFired, ChainGateResolved, EventType, UnitDeprecated, UnitFingerprintVerified,
        UnitImportResolved, UnitPublished, UnitTampered,
    },
    schema::{document, generator},
};
use schemars::{Schema, SchemaGenerator};

/// Returns the JSON Schema of the payload of an event.
///
/// ```
/// use stratt_event_bridge::{EventType, schema};
///
/// let payload = schema::payload(EventType::ChainGateFired);
/// let required = serde_json::json!(["chainUri", "gate", "runId", "fingerprint"]);
/// assert_eq!(payload.get("$defs").unwrap()["ChainGateFired"]["required"], required);
/// ```
#[must_use]
pub fn payload(event_type: EventType) -> Schema {
    let mut generator = generator();
    let mut schema = reference(event_type, &mut generator);
    schema.insert("title".to_owned(), format!("payload of {event_type}").into());
    document(schema, generator)
}

/// Returns a reference to the payload, whose definition the generator keeps.
pub(super) fn reference(event_type: EventType, generator: &mut SchemaGenerator) -> Schema {
    match event_type {
        EventType::UnitPublished => generator.subschema_for::<UnitPublished>(),
        EventType::UnitDeprecated => generator.subschema_for::<UnitDeprecated>(),
        EventType::UnitTampered => generator.subschema_for::<UnitTampered>(),
        EventType::UnitFingerprintVerified => generator.subschema_for::<UnitFingerprintVerified>(),
        EventType::UnitImportResolved => generator.subschema_for::<UnitImportResolved>(),
        EventType::ChainGateFired => generator.subschema_for::<ChainGateFired>(),
        EventType::ChainGateResolved => generator.subschema_for::<ChainGateResolved>(),
    }
}
