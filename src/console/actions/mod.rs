//! The actions. The [gate](crate::console::access::gate) lets operators through only, from pages of the
//! console.

mod durable;
mod group;
mod letter;
mod perform;

use crate::console::state::Console;
use axum::routing::{MethodRouter, post};
use std::sync::Arc;

/// Returns all of them by their paths.
pub(super) fn routes() -> [(&'static str, MethodRouter<Arc<Console>>); 6] {
    [
        ("/durables/{feed}/{name}/pause", post(durable::pause)),
        ("/durables/{feed}/{name}/resume", post(durable::resume)),
        ("/dead-letters/{sequence}/redrive", post(letter::redrive)),
        ("/dead-letters/{sequence}/discard", post(letter::discard)),
        ("/groups/{id}/redrive", post(group::redrive)),
        ("/groups/{id}/stop", post(group::stop)),
    ]
}
