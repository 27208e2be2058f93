//! The headers of messages, in the schema dialect of AsyncAPI.

use crate::{
    contract::{consumer_name::ConsumerName, epoch::Epoch, event::EventType},
    dead_letter::{DeadLetterReason, header},
    topology::{CHOCO_STREAM, EVENT_STREAM},
};
use async_nats::header::NATS_MESSAGE_ID;
use schemars::{JsonSchema, SchemaGenerator};
use serde_json::{Map, Value, json};

const CLOUD_EVENT: &str = "Where it is a CloudEvent in binary mode, with the envelope as data.";

/// Returns the headers of an event.
pub(super) fn of_event() -> Value {
    object(
        &[NATS_MESSAGE_ID.as_ref()],
        [
            (
                NATS_MESSAGE_ID.as_ref(),
                "The idempotency key: the broker drops a repeat inside its duplicate window. A redriven event has \
             `{key}:redrive:{sequence of the dead letter}`; `:after:{sequence}` where it follows another dead letter of \
             its unit by itself; and a digest where that alone was taken. A replayed one has `{key}:replay:{consumer}:{epoch}`.",
                json!({
                    "type": "string",
                    "pattern": "^[0-9a-f]{64}(?::redrive:[0-9]+(?::after:[0-9]+)?(?::[0-9a-f]{64})?|:replay:[A-Za-z0-9_-]{1,64}:[0-9]+)?$"
                }),
            ),
            (
                header::REDRIVEN,
                "Where it was redriven: the dead letter that it was redriven from, as `{stream}:{sequence}:{consumer}`.",
                json!({ "type": "string", "maxLength": header::MAX_TEXT }),
            ),
            (
                header::ORIGINAL,
                "Where it was redriven or replayed: its sequence in the stream as it was published.",
                number(),
            ),
            (
                Epoch::HEADER,
                "Where it is replayed: the number of the replay. A consumer handles an event once in each.",
                number(),
            ),
            (
                header::LETTER,
                "Where it was redriven in the order of its unit: its dead letter, which stays until it is handled.",
                number(),
            ),
            (
                "Content-Type",
                "That of an envelope.",
                json!({ "type": "string", "const": "application/json" }),
            ),
            (
                "traceparent",
                "W3C Trace Context, where tracing is on.",
                json!({ "type": "string", "pattern": "^[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}" }),
            ),
            ("tracestate", "W3C Trace Context, where tracing is on.", json!({ "type": "string" })),
            ("ce-specversion", CLOUD_EVENT, json!({ "type": "string", "const": "1.0" })),
            (
                "ce-id",
                "The `eventId`, where it is a CloudEvent.",
                json!({ "type": "string", "format": "uuid" }),
            ),
            (
                "ce-source",
                "The `source`, where it is a CloudEvent; with `./` before it where it would be no URI.",
                json!({ "type": "string", "format": "uri-reference" }),
            ),
            (
                "ce-type",
                "The `eventType`, where it is a CloudEvent.",
                json!({ "type": "string", "enum": EventType::ALL }),
            ),
            (
                "ce-time",
                "The `timestamp`, where it is a CloudEvent.",
                json!({ "type": "string", "format": "date-time" }),
            ),
            (
                "ce-subject",
                "The URI of the unit, chain or importer, where it is a CloudEvent.",
                json!({ "type": "string", "format": "uri" }),
            ),
            ("ce-datacontenttype", CLOUD_EVENT, json!({ "type": "string", "const": "application/json" })),
        ],
    )
}

/// Returns the headers of a dead letter. All headers of its event except the broker's stay.
pub(super) fn of_dead_letter() -> Value {
    let required = [
        NATS_MESSAGE_ID.as_ref(),
        header::CONSUMER,
        header::REASON,
        header::ERROR,
        header::DELIVERIES,
        header::STREAM,
        header::SEQUENCE,
        header::SUBJECT,
        header::TIME,
    ];
    object(
        &required,
        [
            (
                NATS_MESSAGE_ID.as_ref(),
                "`{stream}:{sequence}:{consumer}`, and the SHA-256 of the bytes where that alone was taken.",
                json!({ "type": "string", "pattern": "^[^:]+:[0-9]+:[A-Za-z0-9_-]{1,64}(?::[0-9a-f]{64})?$" }),
            ),
            (
                header::CONSUMER,
                "The durable that could not handle it.",
                ConsumerName::json_schema(&mut SchemaGenerator::default()).to_value(),
            ),
            (header::REASON, "Why.", json!({ "type": "string", "enum": DeadLetterReason::ALL })),
            (
                header::ERROR,
                "The last error, as one line of printable text.",
                json!({ "type": "string", "maxLength": header::MAX_TEXT }),
            ),
            (header::DELIVERIES, "How often the broker delivered it.", number()),
            (
                header::STREAM,
                "The stream it was read from.",
                json!({ "type": "string", "enum": [EVENT_STREAM, CHOCO_STREAM] }),
            ),
            (header::SEQUENCE, "Its sequence in that stream.", number()),
            (header::SUBJECT, "The subject it was read from.", json!({ "type": "string" })),
            (header::ORIGINAL, "Where it was redriven before: its sequence as it was published.", number()),
            (
                header::UNIT,
                "Where later events of its unit are parked behind it: the unit.",
                json!({ "type": "string", "format": "uri" }),
            ),
            (header::TIME, "When it was dead-lettered.", json!({ "type": "string", "format": "date-time" })),
            (
                header::PAYLOAD_OMITTED,
                "The size of the original bytes, when they did not fit: they are in the stream, at the sequence.",
                number(),
            ),
            (
                header::PAYLOAD_DIGEST,
                "The SHA-256 of the original bytes, when they did not fit.",
                json!({ "type": "string", "pattern": "^[0-9a-f]{64}$" }),
            ),
            (
                header::HEADERS_OMITTED,
                "The size of the original headers, when they did not fit: they are in the stream, at the sequence.",
                number(),
            ),
        ],
    )
}

fn number() -> Value {
    json!({ "type": "string", "pattern": "^[0-9]+$" })
}

fn object<const N: usize>(required: &[&str], headers: [(&str, &str, Value); N]) -> Value {
    let properties: Map<_, _> = headers
        .into_iter()
        .map(|(name, description, mut schema)| {
            if let Some(schema) = schema.as_object_mut() {
                schema.insert("description".to_owned(), description.into());
            }
            (name.to_owned(), schema)
        })
        .collect();
    json!({ "type": "object", "required": required, "properties": properties })
}
