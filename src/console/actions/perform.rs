//! Doing something: written down before it is done, and its outcome afterwards.

use crate::{
    console::{
        access::Visit,
        audit::{Action, Entry, Phase, Target},
        refusal::Refusal,
        state::Console,
    },
    report::report,
};
use axum::{
    Json,
    http::StatusCode,
    response::{IntoResponse, Redirect, Response},
};
use futures::future::BoxFuture;
use serde_json::{Value, json};
use std::sync::Arc;

/// An action that an operator asks for.
pub(super) struct Asked {
    pub(super) action: Action,
    pub(super) target: Target,
    pub(super) settings: Value,
}

/// Writes the action down; refuses it if the audit stream does not have the entry.
pub(super) async fn begun(console: &Console, visit: &Visit, asked: Asked) -> Result<Entry, Refusal> {
    let Asked { action, target, settings } = asked;
    let entry = Entry::begun(visit.visitor().name(), action, &target, settings);
    console.audit.write(&entry).await.map_err(|error| {
        let why = format!("nothing is done: {}", report(&error));
        Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why)
    })?;
    Ok(entry)
}

/// Writes the action down, does the `work`, writes its outcome down, and shows the page `next`.
pub(super) async fn perform(
    console: Arc<Console>,
    visit: Visit,
    asked: Asked,
    next: &str,
    work: BoxFuture<'static, Result<String, Refusal>>,
) -> Result<Response, Refusal> {
    let next = visit.path(next);
    let wants_json = visit.wants_json();
    // A browser that goes away drops the request, not what was begun.
    let outcome = uncancelled(async move {
        let entry = begun(&console, &visit, asked).await?;
        let outcome = work.await;
        let ended = match &outcome {
            Ok(done) => entry.ended(Phase::Done, done),
            Err(refusal) => entry.ended(Phase::Failed, refusal.why()),
        };
        console.audit.write_outcome(&ended).await;
        outcome
    })
    .await?;
    Ok(answer(wants_json, &outcome, &next))
}

/// Runs the work to its end even if the request is dropped.
pub(super) async fn uncancelled<T: Send + 'static>(
    work: impl Future<Output = Result<T, Refusal>> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::spawn(work).await.unwrap_or_else(|_panicked| {
        Err(Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "console failed; whether it was done is not known",
        ))
    })
}

/// Returns the answer to what was done: the next page, or JSON.
pub(super) fn answer(wants_json: bool, outcome: &str, next: &str) -> Response {
    if wants_json {
        Json(json!({ "outcome": outcome })).into_response()
    } else {
        Redirect::to(next).into_response()
    }
}
