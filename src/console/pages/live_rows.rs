//! The rows of the live tail.

use crate::{
    Envelope,
    console::text::{line, time, time_or_dash},
    nats::batch_get::Found,
    report::report,
    watch::{WatchError, WatchedEvent},
};
use maud::{Markup, html};

/// Returns the row of an event that was read from the stream.
pub(super) fn stored(found: &Found, shows_payload: bool) -> Markup {
    match Envelope::decode(&found.subject, &found.payload) {
        Ok(envelope) => event(found.sequence, &envelope, shows_payload),
        Err(error) => broken(Some(found.sequence), &report(&error).to_string()),
    }
}

/// Returns the row of an event that has just been stored.
pub(super) fn watched(watched: &Result<WatchedEvent, WatchError>, shows_payload: bool) -> Markup {
    match watched {
        Ok(watched) => event(watched.sequence(), watched.envelope(), shows_payload),
        Err(error) => broken(error.sequence(), &report(error).to_string()),
    }
}

fn event(sequence: u64, envelope: &Envelope, shows_payload: bool) -> Markup {
    html! {
        tr {
            th scope="row" { (sequence) }
            td data-label="Announced" { (time(envelope.timestamp())) }
            td data-label="Type" { (envelope.event_type()) }
            td data-label="Domain" { (line(envelope.domain().as_str())) }
            td data-label="Event" {
                @if shows_payload { code { (shown(envelope)) } } @else { "not shown by this service" }
            }
        }
    }
}

fn shown(envelope: &Envelope) -> String {
    serde_json::to_string(envelope.event()).map_or_else(|error| error.to_string(), |json| line(&json))
}

fn broken(sequence: Option<u64>, why: &str) -> Markup {
    html! {
        tr {
            th scope="row" { @match sequence { Some(sequence) => (sequence), None => "–" } }
            td data-label="Announced" { (time_or_dash(None)) }
            td {} td {}
            td data-label="Event" { span.bad { (line(why)) } }
        }
    }
}
