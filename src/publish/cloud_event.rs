//! The headers that make an event a CloudEvent in binary mode as well, with the envelope as its data:
//! <https://github.com/cloudevents/spec/blob/main/cloudevents/bindings/nats-protocol-binding.md>.

use crate::contract::{
    envelope::Envelope,
    event::{Event, EventType},
    source::Source,
};
use async_nats::{HeaderMap, HeaderName};

/// The attributes of a CloudEvent, as they are written.
///
/// The binding asks for percent-encoding of blanks, quotes, percent signs and anything but printable ASCII. No value
/// of the contract that is used here may hold one of them.
#[derive(Debug, Clone)]
pub(super) struct CloudEvent {
    id: String,
    source: String,
    event_type: EventType,
    time: String,
    subject: String,
}

impl CloudEvent {
    pub(super) fn of<E: Event>(envelope: &Envelope<E>) -> Self {
        Self {
            id: envelope.event_id().to_string(),
            source: uri_of(envelope.source()),
            event_type: envelope.event_type(),
            time: envelope.written_timestamp(),
            subject: envelope.event().unit_uri().to_string(),
        }
    }

    pub(super) fn write(&self, headers: &mut HeaderMap) {
        let mut put = |name, value: &str| headers.insert(HeaderName::from_static(name), value);
        put("ce-specversion", "1.0");
        put("ce-id", &self.id);
        put("ce-source", &self.source);
        put("ce-type", self.event_type.as_str());
        put("ce-time", &self.time);
        put("ce-subject", &self.subject);
        put("ce-datacontenttype", "application/json");
    }
}

/// Returns a source as a URI. If its service cannot be a scheme, it becomes a relative reference, whose first segment
/// must not have a colon.
fn uri_of(source: &Source) -> String {
    let source = source.as_str();
    let service = source.split(':').next().unwrap_or_default();
    let is_scheme = service.starts_with(|first: char| first.is_ascii_alphabetic()) && !service.contains('_');
    if is_scheme { source.to_owned() } else { format!("./{source}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_source_is_a_uri_or_a_reference_to_one() {
        for (source, uri) in [
            ("orchestrator-http:publisher:1.4.0+build", "orchestrator-http:publisher:1.4.0+build"),
            ("a.b-9:x_y:1", "a.b-9:x_y:1"),
            ("9lives:x:1", "./9lives:x:1"),
            (".hidden:x:1", "./.hidden:x:1"),
            ("my_service:x:1", "./my_service:x:1"),
        ] {
            assert_eq!(uri_of(&source.parse().unwrap()), uri);
        }
    }
}
