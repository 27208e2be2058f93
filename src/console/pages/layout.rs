//! The frame of all pages.

use crate::console::{Access, access::Visit, text::line};
use axum::response::Html;
use maud::{DOCTYPE, Markup, html};

const PLACES: [(&str, &str); 4] =
    [("/", "Overview"), ("/dead-letters", "Dead letters"), ("/tail", "Live tail"), ("/audit", "Audit")];

/// Returns a page with this title.
pub(in crate::console) fn page(visit: &Visit, title: &str, body: &Markup) -> Html<String> {
    render(visit, title, None, body)
}

/// Returns a page that a browser without JavaScript loads again every few seconds.
pub(super) fn live_page(visit: &Visit, title: &str, seconds: u32, body: &Markup) -> Html<String> {
    render(visit, title, Some(seconds), body)
}

fn render(visit: &Visit, title: &str, seconds: Option<u32>, body: &Markup) -> Html<String> {
    let visitor = visit.visitor();
    let may = match visitor.access() {
        Access::Denied => "no access",
        Access::Read => "may read only",
        Access::Operate => "may operate",
    };
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (line(title)) " · STRATT events" }
                link rel="stylesheet" href=(visit.path("/console.css"));
                script src=(visit.path("/console.js")) defer {}
                @if let Some(seconds) = seconds {
                    noscript { meta http-equiv="refresh" content=(seconds); }
                }
            }
            body {
                a.skip href="#main" { "Skip to the content" }
                header {
                    strong { "STRATT events" }
                    nav aria-label="Console" {
                        ul { @for (path, name) in PLACES { li { a href=(visit.path(path)) { (name) } } } }
                    }
                }
                main #main tabindex="-1" {
                    h1 { (line(title)) }
                    (body)
                }
                footer { @if !visitor.name().is_empty() { (line(visitor.name())) ", " } (may) }
            }
        }
    };
    Html(page.into_string())
}

/// Returns the line that says whether figures are live; the script keeps it true.
pub(super) fn live_state() -> Markup {
    html! { p.quiet data-state="" role="status" { "As of the time when this page was loaded" } }
}
