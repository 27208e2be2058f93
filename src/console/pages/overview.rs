//! The overview: the way of the events with its figures, and the durables.

use crate::{
    Feed,
    console::{
        access::Visit,
        figures::Figures,
        live,
        pages::{feed_name, layout},
        refusal::Refusal,
        state::Console,
        text::{line, number, size, span},
    },
    durables::{Activity, DurableStatus},
    topology::{CHOCO_STREAM, DEAD_LETTER_STREAM, EVENT_STREAM, Forwarding},
};
use axum::{
    Extension,
    extract::State,
    response::{Html, Response},
};
use futures::StreamExt;
use maud::{Markup, html};
use std::sync::Arc;

pub(in crate::console) async fn page(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
) -> Result<Html<String>, Refusal> {
    let figures = console.figures.read(&console.bridge).await;
    let body = html! {
        (layout::live_state())
        div data-live=(visit.path("/live")) { (part(&visit, &figures)) }
    };
    Ok(layout::live_page(&visit, "Overview", 5, &body))
}

/// Sends the figures again and again.
pub(in crate::console) async fn live(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
) -> Response {
    live::answer(live::ticks(live::EVERY).then(move |()| {
        let (console, visit) = (Arc::clone(&console), visit.clone());
        async move { live::part(&part(&visit, console.figures.read(&console.bridge).await.as_ref())) }
    }))
}

fn part(visit: &Visit, figures: &Figures) -> Markup {
    html! {
        (connection(figures))
        h2 { "Flow" }
        (flow(visit, figures))
        h2 { "Durables" }
        @if let Some(error) = &figures.error { p.problem role="alert" { (line(error)) } }
        @if figures.durables.is_empty() && !figures.status.is_connected() {
            p { "Not known without a connection." }
        } @else if figures.durables.is_empty() {
            p { "There are no durables: no consumer has been built yet." }
        } @else {
            (durables(visit, &figures.durables))
        }
    }
}

fn connection(Figures { status, .. }: &Figures) -> Markup {
    html! {
        @if status.is_connected() && status.is_jetstream_reachable() {
            p {
                span.good { "Connected" } " to " (line(status.server_name().unwrap_or("a server")))
                " (nats-server " (line(status.server_version().unwrap_or("unknown"))) ")"
            }
        } @else if status.is_connected() {
            p.problem role="alert" { "JetStream does not answer, or this user may not ask it." }
        } @else {
            p.problem role="alert" {
                "There is no connection to the broker"
                @if let Some(why) = status.connection_error() { ": " (line(why)) }
                "."
            }
        }
    }
}

fn flow(visit: &Visit, figures: &Figures) -> Markup {
    let arrow = html! { li.arrow aria-hidden="true" { "→" } };
    html! {
        ol.flow {
            li {
                span { "Events, " (EVENT_STREAM) }
                (stream(figures, EVENT_STREAM))
            }
            (arrow)
            li {
                span { "Forwarding to Choco" }
                (forwarding(figures.status.forwarding()))
            }
            (arrow)
            li {
                span { "Choco, " (CHOCO_STREAM) }
                (stream(figures, CHOCO_STREAM))
            }
        }
        p {
            a href=(visit.path("/dead-letters")) { "Dead letters" } ": "
            @match figures.status.dead_letters() {
                Some(0) => span.good { "none" },
                Some(count) => span.bad { (number(count)) },
                None => span.warn { "not known: does " (DEAD_LETTER_STREAM) " exist?" },
            }
        }
    }
}

fn stream(Figures { status, .. }: &Figures, name: &str) -> Markup {
    let is_missing = status.streams().iter().any(|stream| stream.name() == name && stream.is_missing());
    html! {
        @match status.stream(name) {
            Some(state) => {
                b { (number(state.messages)) }
                span { "events, " (size(state.bytes)) ", up to sequence " (number(state.last_sequence)) }
            }
            None if is_missing => { b.bad { "missing" } span { "provision the streams" } }
            None => { b.warn { "not known" } span { "the broker did not answer, or refused" } }
        }
    }
}

fn forwarding(state: Option<&Forwarding>) -> Markup {
    html! {
        @match state {
            Some(state) => {
                @if state.is_stalled() { b.bad { "stalled" } }
                @else if let Some(behind) = state.behind().filter(|behind| *behind > 0) {
                    b.warn { (number(behind)) " behind" }
                }
                @else { b.good { "working" } }
                span { (line(&state.to_string())) }
            }
            None => { b.warn { "not known" } span { "the broker did not answer, or there is none" } }
        }
    }
}

fn durables(visit: &Visit, durables: &[DurableStatus]) -> Markup {
    html! {
        div.scroll {
            table.stack {
                thead {
                    tr {
                        th scope="col" { "Durable" } th scope="col" { "Feed" } th scope="col" { "State" }
                        th.n scope="col" { "Pending" } th.n scope="col" { "Unanswered" }
                        th.n scope="col" { "Redelivered" }
                    }
                }
                tbody {
                    @for durable in durables {
                        tr {
                            th scope="row" { a href=(visit.path(&path(durable.feed(), durable.name()))) { (line(durable.name())) } }
                            td data-label="Feed" { (feed_name(durable.feed())) }
                            td data-label="State" { (state(durable)) }
                            td.n data-label="Pending" { (number(durable.pending())) }
                            td.n data-label="Unanswered" { (number(durable.unanswered())) }
                            td.n data-label="Redelivered" { (number(durable.redelivered())) }
                        }
                    }
                }
            }
        }
    }
}

/// Returns the path of a durable's page.
pub(super) fn path(feed: Feed, name: &str) -> String {
    format!("/durables/{}/{}", feed_name(feed), name)
}

/// Returns what a durable is doing.
pub(super) fn state(durable: &DurableStatus) -> Markup {
    html! {
        @match durable.paused_for() {
            Some(left) => span.warn { "paused for " (span(left)) },
            None if durable.activity() == Activity::Working => span.good { "working" },
            None => span.warn { (durable.activity().to_string()) },
        }
    }
}
