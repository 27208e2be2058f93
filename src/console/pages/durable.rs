//! One durable.

use crate::{
    ConsumerName, Feed,
    console::{
        access::Visit,
        live,
        pages::{feed, feed_name, layout, overview},
        refusal::Refusal,
        state::Console,
        text::{line, number},
    },
    durables::DurableStatus,
};
use axum::{
    Extension,
    extract::{Path, State},
    response::{Html, Response},
};
use futures::StreamExt;
use maud::{Markup, html};
use std::sync::Arc;

pub(in crate::console) async fn page(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Path(path): Path<(String, String)>,
) -> Result<Html<String>, Refusal> {
    let (feed, name) = named(&path)?;
    let durable = console.bridge.durables().get(feed, &name).await?;
    let place = visit.path(&overview::path(feed, name.as_str()));
    let body = html! {
        (layout::live_state())
        div data-live={ (place) "/live" } { (part(&durable)) }
        @if visit.may_operate() { (forms(&place, &durable)) }
    };
    Ok(layout::live_page(&visit, &format!("Durable {name}"), 10, &body))
}

/// Sends the figures of a durable again and again, as long as it is there.
pub(in crate::console) async fn live(
    State(console): State<Arc<Console>>,
    Path(path): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let (feed, name) = named(&path)?;
    let figures = live::ticks(live::EVERY).then(move |()| {
        let (durables, name) = (console.bridge.durables(), name.clone());
        async move {
            match durables.get(feed, &name).await {
                Ok(durable) => live::part(&part(&durable)),
                Err(error) => {
                    let refusal = Refusal::from(error);
                    live::part(&html! { p.problem { (line(refusal.why())) } })
                }
            }
        }
    });
    Ok(live::answer(figures))
}

/// Returns the feed and the name of a path.
pub(in crate::console) fn named((of_feed, name): &(String, String)) -> Result<(Feed, ConsumerName), Refusal> {
    let name = name.parse().map_err(|_| Refusal::not_found("durable"))?;
    Ok((feed(of_feed)?, name))
}

fn part(durable: &DurableStatus) -> Markup {
    html! {
        dl {
            dt { "State" } dd { (overview::state(durable)) }
            dt { "Feed" } dd { (feed_name(durable.feed())) ", stream " (durable.feed().stream()) }
            dt { "Pending" } dd { (number(durable.pending())) " events that were not delivered yet" }
            dt { "Unanswered" } dd { (number(durable.unanswered())) " events that were delivered and are not answered yet" }
            dt { "Redelivered" } dd { (number(durable.redelivered())) " of those more than once" }
            dt { "Requests" } dd { (number(durable.waiting())) " requests for events wait at the broker" }
            dt { "Reads" }
            dd {
                @if durable.filters().is_empty() { "all of the stream" }
                @for filter in durable.filters() { code { (line(filter)) } br; }
            }
        }
    }
}

fn forms(place: &str, durable: &DurableStatus) -> Markup {
    html! {
        h2 { "Pause and resume" }
        p { "A pause stops deliveries (nats-server 2.11); what was delivered is handled. It ends by itself." }
        form method="post" action={ (place) "/pause" } {
            label { span { "Minutes" } input type="number" name="minutes" min="1" max="10080" value="10" required; }
            button { "Pause" }
        }
        @if durable.paused_for().is_some() {
            form method="post" action={ (place) "/resume" } { button { "Resume now" } }
        }
    }
}
