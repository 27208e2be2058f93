//! One dead letter.

use crate::{
    console::{
        access::Visit,
        audit::{Entry, Target},
        pages::{audit, groups, layout, payload, sequence},
        refusal::Refusal,
        state::Console,
        text::{line, number, time, time_or_dash},
    },
    contract::event::Event,
    dead_letter::DeadLetter,
};
use axum::{
    Extension,
    extract::{Path, State},
    response::Html,
};
use maud::{Markup, html};
use std::sync::Arc;

/// The most entries of the audit stream that are shown.
const MOST: usize = 20;

pub(in crate::console) async fn page(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Path(text): Path<String>,
) -> Result<Html<String>, Refusal> {
    let letter = console.bridge.dead_letters().get(sequence(&text)?).await?;
    // A page of a letter does not depend on the audit stream.
    let entries =
        console.audit.newest(Some(&Target::Letter(letter.sequence())), MOST).await.unwrap_or_default();
    let place = visit.path(&format!("/dead-letters/{}", letter.sequence()));
    let shows_payload = console.options.shows_payloads();
    let body = html! {
        p.problem { (line(letter.error())) }
        (about(&letter))
        @if visit.may_operate() { (forms(&place, &letter)) }
        h2 { "History" }
        (history(&visit, &letter, &entries))
        h2 { "Event" }
        (payload::part(&place, &letter, shows_payload))
        h2 { "Headers" }
        @if letter.are_headers_omitted() {
            p { "The headers of the event were too large to be stored, or could not be read." }
        }
        (headers(&letter))
    };
    Ok(layout::page(&visit, &format!("Dead letter {}", letter.sequence()), &body))
}

fn about(letter: &DeadLetter) -> Markup {
    // One that is too large is not stored here.
    let envelope = letter.envelope().ok();
    html! {
        dl {
            dt { "Consumer" } dd { (line(letter.consumer())) }
            dt { "Reason" } dd { (groups::reason(letter.reason())) }
            dt { "Type" } dd { (line(letter.event_type())) }
            dt { "Domain" } dd { (line(letter.domain())) }
            dt { "Subject" } dd { code { (line(letter.subject())) } }
            @if let Some(unit) = letter.unit() {
                dt { "Unit" } dd { (line(unit)) ": its later events are parked behind this one" }
            } @else if let Some(envelope) = &envelope {
                dt { "Unit" } dd { (line(envelope.event().unit_uri().as_str())) }
            }
            @if let Some(envelope) = &envelope {
                dt { "Key" } dd { code { (envelope.idempotency_key()) } }
            }
        }
    }
}

fn history(visit: &Visit, letter: &DeadLetter, entries: &[Entry]) -> Markup {
    html! {
        ol {
            @if let Ok(envelope) = letter.envelope() {
                li { (time(envelope.timestamp())) ": announced by " (line(envelope.source().as_ref())) }
            }
            li { "Stored in " (line(letter.stream())) " as sequence " (number(letter.original_sequence())) }
            @if letter.is_redriven() {
                li { "Redriven, and delivered again as sequence " (number(letter.stream_sequence())) }
            }
            li { "Delivered " (number(letter.deliveries())) " times to " (line(letter.consumer())) }
            li { (time_or_dash(letter.time())) ": dead-lettered, " (groups::reason(letter.reason())) }
            @for entry in entries.iter().rev() { li { (audit::sentence(visit, entry)) } }
        }
    }
}

fn headers(letter: &DeadLetter) -> Markup {
    let all =
        letter.headers().iter().flat_map(|(name, values)| values.iter().map(move |value| (name, value)));
    html! {
        div.scroll {
            table.stack {
                thead { tr { th scope="col" { "Name" } th scope="col" { "Value" } } }
                tbody {
                    @for (name, value) in all {
                        tr { th scope="row" { (line(name.as_ref())) } td.mono { (line(value.as_str())) } }
                    }
                }
            }
        }
    }
}

fn forms(place: &str, letter: &DeadLetter) -> Markup {
    html! {
        h2 { "Redrive or discard" }
        p { "If the handler was wrong, or what it needs was away: correct that, and redrive. If the event is wrong: discard it." }
        form method="post" action={ (place) "/redrive" } {
            label.check { input type="checkbox" name="older" value="yes"; "although newer events of its unit were stored since" }
            button { "Redrive for " (line(letter.consumer())) }
        }
        details {
            summary { "Discard it" }
            form method="post" action={ (place) "/discard" } {
                label.check { input type="checkbox" name="confirm" value="yes" required; "It is removed for good, and its event is not handled" }
                button.danger { "Discard" }
            }
        }
    }
}
