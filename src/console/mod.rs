//! Pages for operators: [`router`] is mounted into a service of the host's, which owns the listener, TLS and the
//! sign-in.
//!
//! Read-only unless the host's [authoriser](ConsoleOptions::with_authoriser) allows more. What it shows, what it
//! writes down and how it is mounted is in [`docs::console`](crate::docs::console).

mod access;
mod actions;
mod api;
mod assets;
mod audit;
mod figures;
mod hostile;
mod live;
mod options;
mod pages;
mod redrives;
mod refusal;
mod role;
mod state;
mod text;

pub use access::{Access, Visitor};
pub use audit::{AUDIT_STREAM, AUDIT_SUBJECT, AuditError, provision_audit};
pub use options::ConsoleOptions;
pub use role::ConsoleRole;

use crate::EventBridge;
use access::gate;
use axum::{
    Router, extract::DefaultBodyLimit, http::StatusCode, middleware::from_fn_with_state, routing::get,
};
use refusal::Refusal;
use state::Console;
use std::sync::Arc;

/// The most bytes of a form: they have a few numbers.
const MOST_FORM_BYTES: usize = 16 * 1024;

/// Returns the console as a router, to be [nested](Router::nest) below any path of the host's.
///
/// Redrives of groups that were begun on its pages go on while the router, or a clone of it, exists.
///
/// ```no_run
/// use axum::{Router, http::request::Parts};
/// use stratt_event_bridge::{EventBridge, console::{self, ConsoleOptions, Visitor}};
///
/// # fn example(bridge: EventBridge) -> Router {
/// // The sign-in in front of the service names the user.
/// let options = ConsoleOptions::default().with_authoriser(|parts: &Parts| {
///     match parts.headers.get("x-user").and_then(|user| user.to_str().ok()) {
///         Some(user @ ("alice" | "bob")) => Visitor::operator(user),
///         Some(user) => Visitor::reader(user),
///         None => Visitor::denied(),
///     }
/// });
/// Router::new().nest("/console", console::router(bridge, options))
/// # }
/// ```
pub fn router(bridge: EventBridge, options: ConsoleOptions) -> Router {
    let console = Arc::new(Console::new(bridge, options));
    let reads = Router::new()
        .route("/", get(pages::overview::page))
        .route("/live", get(pages::overview::live))
        .route("/durables/{feed}/{name}", get(pages::durable::page))
        .route("/durables/{feed}/{name}/live", get(pages::durable::live))
        .route("/dead-letters", get(pages::groups::page))
        .route("/dead-letters/{sequence}", get(pages::letter::page))
        .route("/dead-letters/{sequence}/payload", get(pages::payload::bytes))
        .route("/groups/{id}", get(pages::group::page))
        .route("/groups/{id}/live", get(pages::progress::live))
        .route("/tail", get(pages::tail::page))
        .route("/tail/live", get(pages::tail::live))
        .route("/audit", get(pages::audit::page))
        .route("/console.css", get(assets::style))
        .route("/console.js", get(assets::script))
        .route("/api/status", get(api::status))
        .route("/api/groups", get(api::groups))
        .route("/api/groups/{id}/redrive", get(api::redrive))
        .route("/api/dead-letters/{sequence}", get(api::letter))
        .route("/api/audit", get(api::audit));
    let all = actions::routes().into_iter().fold(reads, |router, (path, act)| router.route(path, act));
    all.fallback(|| async { Refusal::new(StatusCode::NOT_FOUND, "there is no such page") })
        .method_not_allowed_fallback(|| async {
            Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "this page has no such method")
        })
        .layer(DefaultBodyLimit::max(MOST_FORM_BYTES))
        .layer(from_fn_with_state(Arc::clone(&console), gate))
        .with_state(console)
}

/// Returns the paths that change something, below the one where the console is mounted, as axum writes them: for a host
/// that guards them itself as well. Their method is POST.
pub fn write_routes() -> impl Iterator<Item = &'static str> {
    actions::routes().into_iter().map(|(path, _)| path)
}
