//! One group of dead letters.

use crate::{
    console::{
        access::Visit,
        pages::{find_group, groups, layout, progress},
        refusal::Refusal,
        state::Console,
        text::{line, number, time_or_dash},
    },
    dead_letter::{DeadLetter, DeadLetterFilter, DeadLetterGroup},
};
use axum::{
    Extension,
    extract::{Path, State},
    response::Html,
};
use futures::{StreamExt, TryStreamExt};
use maud::{Markup, html};
use std::{future::ready, sync::Arc};

/// The most dead letters of a group that its page lists.
const MOST: usize = 100;

pub(in crate::console) async fn page(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
    Path(id): Path<String>,
) -> Result<Html<String>, Refusal> {
    let (group, redrive) = (find_group(&console, &id).await?, console.redrives.get(&id));
    if group.is_none() && redrive.is_none() {
        return Err(Refusal::not_found("group of dead letters"));
    }
    let is_under_way = redrive.as_ref().is_some_and(|progress| progress.ending().is_none());
    let place = visit.path(&format!("/groups/{id}"));
    let letters = match &group {
        Some(group) => letters_of(&console, group).await?,
        None => Vec::new(),
    };
    let body = html! {
        @if let Some(redrive) = &redrive {
            h2 { "Redrive" }
            @if is_under_way {
                (layout::live_state())
                div data-live={ (place) "/live" } { (progress::part(&redrive.seen())) }
                @if visit.may_operate() {
                    form method="post" action={ (place) "/stop" } { button.danger { "Stop" } }
                }
            } @else { (progress::part(&redrive.seen())) }
        }
        @match &group {
            Some(group) => {
                (about(group))
                @if visit.may_operate() && !is_under_way { (redrive_form(&place, group)) }
                (list(&visit, group, &letters))
            }
            None => p { "No dead letter of this group is left." },
        }
    };
    let title = group.as_ref().map_or_else(|| format!("Group {id}"), groups::pattern);
    Ok(if is_under_way {
        layout::live_page(&visit, &title, 3, &body)
    } else {
        layout::page(&visit, &title, &body)
    })
}

async fn letters_of(console: &Console, group: &DeadLetterGroup) -> Result<Vec<DeadLetter>, Refusal> {
    let consumer = group.consumer().parse().map(|name| DeadLetterFilter::default().with_consumer(name));
    let letters = console.bridge.dead_letters().list(consumer.unwrap_or_default()).await?;
    let of_group = letters.try_filter(|letter| ready(group.contains(letter))).take(MOST);
    Ok(of_group.try_collect().await?)
}

fn about(group: &DeadLetterGroup) -> Markup {
    html! {
        dl {
            dt { "Consumer" } dd { (line(group.consumer())) }
            dt { "Type" } dd { (line(group.event_type())) }
            dt { "Reason" } dd { (groups::reason(group.reason())) }
            dt { "Count" } dd { (number(group.count())) }
            dt { "First" } dd { (time_or_dash(group.first_time())) }
            dt { "Last" } dd { (time_or_dash(group.last_time())) }
        }
    }
}

fn redrive_form(place: &str, group: &DeadLetterGroup) -> Markup {
    html! {
        h2 { "Redrive this group" }
        p {
            "The oldest event goes first, alone, as a canary; the others follow once the consumer has handled it. "
            "Mend the cause before."
        }
        form method="post" action={ (place) "/redrive" } {
            label { span { "Pause between two, ms" } input type="number" name="interval_ms" min="0" max="60000" value="10" required; }
            label { span { "Wait for the canary, s" } input type="number" name="canary_s" min="1" max="3600" value="60" required; }
            label { span { "Stop when more fail, %" } input type="number" name="most_failed" min="0" max="100" value="10" required; }
            label.check { input type="checkbox" name="again" value="yes"; "those that were redriven before, too" }
            button { "Redrive " (number(group.count())) }
        }
    }
}

fn list(visit: &Visit, group: &DeadLetterGroup, letters: &[DeadLetter]) -> Markup {
    html! {
        h2 { "Dead letters" }
        @if group.count() > u64::try_from(MOST).unwrap_or(u64::MAX) { p.quiet { "The oldest " (MOST) " of them." } }
        div.scroll {
            table.stack {
                thead {
                    tr {
                        th scope="col" { "Dead letter" } th scope="col" { "Time" } th scope="col" { "Subject" }
                        th.n scope="col" { "Deliveries" } th scope="col" { "Error" }
                    }
                }
                tbody {
                    @for letter in letters {
                        tr {
                            th scope="row" {
                                a href=(visit.path(&format!("/dead-letters/{}", letter.sequence()))) {
                                    "Dead letter " (letter.sequence())
                                }
                            }
                            td data-label="Time" { (time_or_dash(letter.time())) }
                            td data-label="Subject" { (line(letter.subject())) }
                            td.n data-label="Deliveries" { (number(letter.deliveries())) }
                            td data-label="Error" { (line(letter.error())) }
                        }
                    }
                }
            }
        }
    }
}
