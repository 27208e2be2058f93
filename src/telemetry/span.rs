//! Spans by the semantic conventions of OpenTelemetry for messaging:
//! <https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/>.
//!
//! `tracing-opentelemetry` reads the name, kind and status of a span from the fields that begin with `otel.`. Without a
//! subscriber no field is evaluated. No field holds the content of an event or the text of a handler's error.

use async_nats::jetstream::Context;
use std::fmt::Display;
use tracing::{Span, debug_span, field::Empty, info_span};

/// The target of all spans, so that they can be switched off without the log lines, and the other way round.
const TARGET: &str = "stratt_event_bridge::span";

/// Opens the span of a publish, which ends when the broker has acknowledged the message or the time is up.
pub(crate) fn publish(subject: &str, message_id: impl Display, bytes: usize, context: &Context) -> Span {
    info_span!(
        target: TARGET,
        "publish",
        otel.name = format_args!("publish {subject}"),
        otel.kind = "producer",
        otel.status_code = Empty,
        messaging.system = "nats",
        messaging.operation.name = "publish",
        messaging.operation.type = "send",
        messaging.destination.name = subject,
        messaging.message.id = %message_id,
        messaging.message.body.size = bytes,
        messaging.client.id = client_id(context),
        stratt.stream = Empty,
        stratt.sequence = Empty,
        stratt.duplicate = Empty,
        error.type = Empty,
    )
}

/// Opens the span of a batch that is published.
pub(crate) fn publish_batch(stream: &str, count: usize, context: &Context) -> Span {
    info_span!(
        target: TARGET,
        "publish",
        otel.name = format_args!("publish {stream}"),
        otel.kind = "producer",
        otel.status_code = Empty,
        messaging.system = "nats",
        messaging.operation.name = "publish",
        messaging.operation.type = "send",
        messaging.destination.name = stream,
        messaging.batch.message_count = count,
        messaging.client.id = client_id(context),
        error.type = Empty,
    )
}

/// The parts of a delivery that spans name.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Delivered<'a> {
    pub(crate) consumer: &'a str,
    pub(crate) stream: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) sequence: u64,
}

/// Opens the span of a delivery, from its claim to its answer. `message_id` is the key of a valid event.
pub(crate) fn process(
    of: Delivered<'_>,
    message_id: Option<&impl Display>,
    deliveries: u64,
    bytes: usize,
) -> Span {
    // The subject of an invalid event can be anything, and span names must be few.
    let named = if message_id.is_some() { of.subject } else { of.stream };
    info_span!(
        target: TARGET,
        "process",
        otel.name = format_args!("process {named}"),
        otel.kind = "consumer",
        otel.status_code = Empty,
        messaging.system = "nats",
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = of.subject,
        messaging.message.id = message_id.map(tracing::field::display),
        messaging.message.body.size = bytes,
        messaging.consumer.group.name = of.consumer,
        stratt.stream = of.stream,
        stratt.sequence = of.sequence,
        stratt.deliveries = deliveries,
        stratt.attempt = Empty,
        stratt.outcome = Empty,
        error.type = Empty,
    )
}

/// Opens the span of one call of a batch handler, which links to the spans of its deliveries. Without a subscriber they
/// are not read.
pub(crate) fn process_batch<'a>(
    consumer: &str,
    stream: &str,
    count: usize,
    deliveries: impl Iterator<Item = &'a Span>,
) -> Span {
    let span = info_span!(
        target: TARGET,
        parent: None,
        "process",
        otel.name = format_args!("process {stream}"),
        otel.kind = "consumer",
        otel.status_code = Empty,
        messaging.system = "nats",
        messaging.operation.name = "process",
        messaging.operation.type = "process",
        messaging.destination.name = stream,
        messaging.batch.message_count = count,
        messaging.consumer.group.name = consumer,
        error.type = Empty,
    );
    if !span.is_disabled() {
        deliveries.for_each(|delivery| {
            span.follows_from(delivery);
        });
    }
    span
}

/// Opens the span of the answer that ends a delivery; `verb` names the answer.
pub(crate) fn settle(of: Delivered<'_>, verb: &'static str) -> Span {
    debug_span!(
        target: TARGET,
        "settle",
        otel.name = format_args!("{verb} {}", of.stream),
        otel.kind = "client",
        messaging.system = "nats",
        messaging.operation.name = verb,
        messaging.operation.type = "settle",
        messaging.destination.name = of.subject,
        messaging.consumer.group.name = of.consumer,
        stratt.stream = of.stream,
        stratt.sequence = of.sequence,
    )
}

/// Opens the span of a dead letter that is stored. Its publish is a span inside this one.
pub(crate) fn dead_letter(
    of: Delivered<'_>,
    destination: &str,
    message_id: &str,
    reason: &'static str,
) -> Span {
    info_span!(
        target: TARGET,
        "dead_letter",
        otel.name = format_args!("dead_letter {destination}"),
        otel.kind = "client",
        otel.status_code = Empty,
        messaging.system = "nats",
        messaging.operation.name = "dead_letter",
        messaging.operation.type = "settle",
        messaging.destination.name = destination,
        messaging.message.id = message_id,
        messaging.consumer.group.name = of.consumer,
        stratt.stream = of.stream,
        stratt.sequence = of.sequence,
        stratt.dead_letter.reason = reason,
        error.type = Empty,
    )
}

/// Records how the delivery of the current span ended.
pub(crate) fn processed(outcome: &'static str, attempt: u32, error: Option<&'static str>) {
    let span = Span::current();
    span.record("stratt.outcome", outcome).record("stratt.attempt", attempt);
    if let Some(error) = error {
        failed(&span, error);
    }
}

pub(crate) fn failed(span: &Span, error: &'static str) {
    span.record("error.type", error).record("otel.status_code", "error");
}

/// The id of this connection on the server; it changes at a reconnect.
fn client_id(context: &Context) -> Option<u64> {
    Some(context.client().try_server_info()?.client_id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt;

    struct Unread;

    impl Display for Unread {
        fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
            panic!("a field is evaluated without a subscriber")
        }
    }

    #[test]
    fn without_a_subscriber_no_field_is_evaluated() {
        let of = Delivered {
            consumer: "c",
            stream: "STRATT_EVENTS",
            subject: "strat.dev.unit.published",
            sequence: 1,
        };
        assert!(process(of, Some(&Unread), 1, 1).is_disabled());
        assert!(settle(of, "ack").is_disabled());
        assert!(
            dead_letter(of, "stratt.dlq.c.dev.unit.published", "STRATT_EVENTS:1:c", "invalid").is_disabled()
        );
        // Without a span of ours there is nothing to record in.
        processed("handled", 1, None);
    }
}
