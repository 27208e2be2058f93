//! The dead letters by what they have in common.

use crate::{
    console::{
        access::Visit,
        pages::layout,
        refusal::Refusal,
        state::Console,
        text::{line, number, time_or_dash},
    },
    dead_letter::{DeadLetterFilter, DeadLetterGroup, DeadLetterReason},
};
use axum::{Extension, extract::State, response::Html};
use maud::{Markup, html};
use std::sync::Arc;

pub(in crate::console) async fn page(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
) -> Result<Html<String>, Refusal> {
    let groups = console.bridge.dead_letters().groups(DeadLetterFilter::default()).await?;
    let total: u64 = groups.iter().map(DeadLetterGroup::count).sum();
    let body = html! {
        @if groups.is_empty() {
            p { span.good { "None." } " No event that failed for good is waiting for a redrive." }
        } @else {
            p { (number(total)) " dead letters in " (number(u64::try_from(groups.len()).unwrap_or(u64::MAX))) " groups, the largest first." }
            (table(&visit, &groups))
        }
        (redrives(&console, &visit))
    };
    Ok(layout::page(&visit, "Dead letters", &body))
}

fn table(visit: &Visit, groups: &[DeadLetterGroup]) -> Markup {
    html! {
        div.scroll {
            table.stack {
                thead {
                    tr {
                        th scope="col" { "Error" } th scope="col" { "Consumer" } th scope="col" { "Type" }
                        th scope="col" { "Reason" } th.n scope="col" { "Count" } th scope="col" { "First" }
                        th scope="col" { "Last" }
                    }
                }
                tbody {
                    @for group in groups {
                        tr {
                            th scope="row" { a href=(visit.path(&format!("/groups/{}", group.id()))) { (pattern(group)) } }
                            td data-label="Consumer" { (line(group.consumer())) }
                            td data-label="Type" { (line(group.event_type())) }
                            td data-label="Reason" { (reason(group.reason())) }
                            td.n data-label="Count" { (number(group.count())) }
                            td data-label="First" { (time_or_dash(group.first_time())) }
                            td data-label="Last" { (time_or_dash(group.last_time())) }
                        }
                    }
                }
            }
        }
    }
}

/// Returns the error of a group, or words in its place, so that a link has a text.
pub(super) fn pattern(group: &DeadLetterGroup) -> String {
    if group.error_pattern().is_empty() { "no error".to_owned() } else { line(group.error_pattern()) }
}

pub(super) fn reason(reason: Option<DeadLetterReason>) -> &'static str {
    reason.as_ref().map_or("unknown", DeadLetterReason::as_str)
}

/// Returns the redrives that were begun here, whose groups may be gone.
fn redrives(console: &Console, visit: &Visit) -> Markup {
    let all = console.redrives.all();
    html! {
        @if !all.is_empty() {
            h2 { "Redrives of groups" }
            ul {
                @for (id, progress) in all {
                    @let seen = progress.seen();
                    li {
                        a href=(visit.path(&format!("/groups/{id}"))) { "Group " (id) } ": "
                        (number(seen.redriven)) " of " (number(seen.total)) " redriven, "
                        @if seen.ending.is_some() { "ended" } @else { "under way" }
                    }
                }
            }
        }
    }
}
