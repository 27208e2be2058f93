//! Answers in place of a page.

use crate::{
    console::{access::Visit, pages::layout, text::line},
    dead_letter::{DeadLetterError, DeadLetterErrorKind},
    durables::{DurablesError, DurablesErrorKind},
    report::report,
    watch::WatchError,
};
use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Response},
};
use maud::html;
use serde_json::json;

/// A request that is not answered as asked: one line that says why.
#[derive(Debug, Clone)]
pub(super) struct Refusal {
    status: StatusCode,
    why: String,
}

impl Refusal {
    pub(super) fn new(status: StatusCode, why: impl Into<String>) -> Self {
        Self { status, why: why.into() }
    }

    pub(super) fn not_found(what: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, format!("{what} is not found: it was settled, or never existed"))
    }

    pub(super) fn wrong_input(why: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, why)
    }

    pub(super) fn why(&self) -> &str {
        &self.why
    }

    /// Returns it as the visitor wants it.
    pub(super) fn page(&self, visit: &Visit) -> Response {
        if visit.wants_json() {
            return (self.status, Json(json!({ "error": self.why }))).into_response();
        }
        let title = self.status.canonical_reason().unwrap_or("Refused");
        let body = html! {
            p.problem role="alert" { (line(&self.why)) }
            p { a href=(visit.path("/")) { "Back to the overview" } }
        };
        (self.status, layout::page(visit, title, &body)).into_response()
    }
}

impl IntoResponse for Refusal {
    /// Returns the status only; the [gate](crate::console::access::gate) shows the rest.
    fn into_response(self) -> Response {
        let mut answer = self.status.into_response();
        answer.extensions_mut().insert(self);
        answer
    }
}

impl From<DeadLetterError> for Refusal {
    fn from(error: DeadLetterError) -> Self {
        let status = match error.kind() {
            DeadLetterErrorKind::NotFound => StatusCode::NOT_FOUND,
            DeadLetterErrorKind::Unavailable | DeadLetterErrorKind::Publish => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            _ => StatusCode::CONFLICT,
        };
        Self::new(status, report(&error).to_string())
    }
}

impl From<DurablesError> for Refusal {
    fn from(error: DurablesError) -> Self {
        let status = match error.kind() {
            DurablesErrorKind::NotFound | DurablesErrorKind::StreamNotFound => StatusCode::NOT_FOUND,
            DurablesErrorKind::Unsupported | DurablesErrorKind::NotReceived => StatusCode::CONFLICT,
            DurablesErrorKind::Publish | DurablesErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self::new(status, report(&error).to_string())
    }
}

impl From<WatchError> for Refusal {
    fn from(error: WatchError) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, report(&error).to_string())
    }
}
