//! The actions of operators, from the audit stream.

use crate::{
    console::{
        access::Visit,
        audit::{Entry, Phase},
        pages::layout,
        refusal::Refusal,
        state::Console,
        text::line,
    },
    report::report,
};
use axum::{Extension, extract::State, http::StatusCode, response::Html};
use maud::{Markup, html};
use std::sync::Arc;

/// The most entries that are shown.
pub(in crate::console) const MOST: usize = 200;

pub(in crate::console) async fn page(
    State(console): State<Arc<Console>>,
    Extension(visit): Extension<Visit>,
) -> Result<Html<String>, Refusal> {
    let body = match newest(&console).await {
        Ok(entries) => html! {
            @if entries.is_empty() { p { "Nothing was done here yet." } }
            @else {
                p.quiet { "The newest first. What was begun and has no outcome may have been done or not." }
                ul { @for entry in &entries { li { (sentence(&visit, entry)) } } }
            }
        },
        Err(refusal) => html! {
            p.problem role="alert" { (line(refusal.why())) }
            p { "Without the audit stream nothing can be changed here." }
        },
    };
    Ok(layout::page(&visit, "Audit", &body))
}

pub(in crate::console) async fn newest(console: &Console) -> Result<Vec<Entry>, Refusal> {
    let newest = console.audit.newest(None, MOST).await;
    newest.map_err(|error| Refusal::new(StatusCode::SERVICE_UNAVAILABLE, report(&error).to_string()))
}

/// Returns an entry as a sentence.
pub(super) fn sentence(visit: &Visit, entry: &Entry) -> Markup {
    // All who may publish to the stream may write anything.
    let has_page =
        ["dead-letters/", "groups/", "durables/"].iter().any(|start| entry.target.starts_with(start));
    html! {
        time datetime=(line(&entry.time)) { (line(&entry.time)) } ": " (line(&entry.who)) " "
        (entry.action.as_str()) " "
        @if has_page { a href=(visit.path(&format!("/{}", entry.target))) { (line(&entry.target)) } }
        @else { (line(&entry.target)) }
        ", "
        @match entry.phase {
            Phase::Begun => "begun",
            Phase::Done => span.good { "done" },
            Phase::Failed => span.bad { "failed" },
        }
        @if !entry.settings.is_null() { " " code { (line(&entry.settings.to_string())) } }
        @if let Some(outcome) = &entry.outcome { ": " (line(outcome)) }
    }
}
