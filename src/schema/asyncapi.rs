//! The channels: the subjects, and the messages on each.

use crate::{
    contract::{
        envelope::EventVersion,
        event::EventType,
        subject::{Feed, UNKNOWN, dead_letter_filter},
    },
    schema::messages,
    topology::DEAD_LETTER_STREAM,
};
use serde_json::{Map, Value, json};

/// Returns the AsyncAPI 3.1 document: the families of subjects, who sends and receives there, and the headers.
///
/// It refers to `envelope.json` and `{event-type}.json` beside it, which hold [`envelope`](super::envelope) and
/// [`payload`](super::payload).
///
/// ```
/// let document = stratt_event_bridge::schema::asyncapi();
/// assert_eq!(document["channels"]["events"]["address"], "strat.{domain}.{eventType}");
/// ```
#[must_use]
pub fn asyncapi() -> Value {
    json!({
        "asyncapi": "3.1.0",
        "info": {
            "title": "STRATT event bridge",
            "version": EventVersion::CURRENT.to_string(),
            "description": "Events about units and chains on NATS JetStream. Delivered at least once: a consumer \
                acknowledges what it has handled, and recognises what it has seen by the idempotency key.",
        },
        "defaultContentType": "application/json",
        "channels": {
            "events": feed(Feed::Strat, "What is published."),
            "forwardedEvents": feed(Feed::Choco, "The same messages, forwarded by the broker; nobody else writes here."),
            "redrivenEvents": redriven(Feed::Strat, "What an operator redrives, for the consumer that failed."),
            "forwardedRedrivenEvents":
                redriven(Feed::Choco, "The same messages, forwarded by the broker; nobody else writes here."),
            "deadLetters": dead_letters(),
        },
        "operations": {
            "publishEvent": operation("send", "events", "Announces a fact, once per idempotency key."),
            "receiveEvent": operation("receive", "events", "Handles events as a durable consumer."),
            "receiveForwardedEvent":
                operation("receive", "forwardedEvents", "Handles forwarded events as a durable consumer."),
            "redriveEvent": operation("send", "redrivenEvents", "Publishes the event of a dead letter again."),
            "receiveRedrivenEvent":
                operation("receive", "redrivenEvents", "Handles what is redriven for this durable, beside its events."),
            "receiveForwardedRedrivenEvent": operation(
                "receive",
                "forwardedRedrivenEvents",
                "Handles what is redriven for this durable, beside its forwarded events."
            ),
            "writeDeadLetter":
                operation("send", "deadLetters", "Keeps what a consumer gives up on, before it terminates it."),
            "receiveDeadLetter": operation("receive", "deadLetters", "Shows what was given up on."),
        },
        "components": messages::components(),
    })
}

fn feed(feed: Feed, description: &str) -> Value {
    channel(feed, feed.prefix(), description)
}

fn redriven(feed: Feed, description: &str) -> Value {
    let mut channel = channel(feed, &format!("{}{{consumer}}.", feed.redrive_prefix()), description);
    if let Some(parameters) = channel.get_mut("parameters").and_then(Value::as_object_mut) {
        let consumer =
            json!({ "description": "The durable that failed.", "examples": ["choco-unit-deprecated"] });
        parameters.insert("consumer".to_owned(), consumer);
    }
    channel
}

fn channel(feed: Feed, prefix: &str, description: &str) -> Value {
    let names = EventType::ALL.iter().map(EventType::as_str);
    json!({
        "address": format!("{prefix}{{domain}}.{{eventType}}"),
        "title": format!("stream {}", feed.stream()),
        "description": description,
        "messages": references(names),
        "parameters": {
            "domain": {
                "description": "The domain of the unit, chain or importer; the set is open.",
                "examples": ["dev", "core"],
                "location": "$message.payload#/domain",
            },
            "eventType": {
                "description": "The type of the event: two or three tokens.",
                "enum": EventType::ALL,
                "location": "$message.payload#/eventType",
            },
        },
    })
}

fn dead_letters() -> Value {
    let types: Vec<_> = EventType::ALL.iter().map(EventType::as_str).chain([UNKNOWN]).collect();
    json!({
        "address": dead_letter_filter("{consumer}", "{domain}", "{eventType}"),
        "title": format!("stream {DEAD_LETTER_STREAM}"),
        "description": "What consumers gave up on, until somebody decides.",
        "messages": references([messages::DEAD_LETTER]),
        "parameters": {
            "consumer": { "description": "The durable that gave up.", "examples": ["choco-unit-deprecated"] },
            "domain": {
                "description": format!("That of the subject it came by, `{UNKNOWN}` where it had no valid one."),
                "examples": ["dev", UNKNOWN],
            },
            "eventType": {
                "description": format!("That of the subject it came by, `{UNKNOWN}` where it had no valid one."),
                "enum": types,
            },
        },
    })
}

fn references<'a>(names: impl IntoIterator<Item = &'a str>) -> Map<String, Value> {
    let message = |name| json!({ "$ref": format!("#/components/messages/{name}") });
    names.into_iter().map(|name| (name.to_owned(), message(name))).collect()
}

fn operation(action: &str, channel: &str, summary: &str) -> Value {
    json!({
        "action": action,
        "channel": { "$ref": format!("#/channels/{channel}") },
        "summary": summary,
    })
}
