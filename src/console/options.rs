//! The options of the console.

use crate::console::Visitor;
use axum::http::request::Parts;
use std::{fmt, sync::Arc};

type Authoriser = dyn Fn(&Parts) -> Visitor + Send + Sync;

/// The options of a [console](crate::console::router).
#[derive(Clone)]
pub struct ConsoleOptions {
    authoriser: Arc<Authoriser>,
    shows_payloads: bool,
}

impl Default for ConsoleOptions {
    /// Returns options with which everybody who reaches the console may read, no one may change anything, and payloads
    /// are shown.
    fn default() -> Self {
        Self { authoriser: Arc::new(|_| Visitor::reader("anyone")), shows_payloads: true }
    }
}

impl ConsoleOptions {
    /// Sets who a request is from, and what they may do. It is asked for each request; by default everybody may read.
    ///
    /// For a sign-in that takes time, look it up in a middleware of the host's, and read what that put into the
    /// extensions of the request.
    #[must_use]
    pub fn with_authoriser(mut self, authoriser: impl Fn(&Parts) -> Visitor + Send + Sync + 'static) -> Self {
        self.authoriser = Arc::new(authoriser);
        self
    }

    /// Sets whether the bytes of events are shown; they are by default. Without, pages and answers have neither the
    /// bytes of a dead letter nor those of a live event. Headers, subjects and errors are shown all the same.
    #[must_use]
    pub fn with_payloads(mut self, show: bool) -> Self {
        self.shows_payloads = show;
        self
    }

    pub(super) fn visitor(&self, parts: &Parts) -> Visitor {
        (self.authoriser)(parts)
    }

    pub(super) fn shows_payloads(&self) -> bool {
        self.shows_payloads
    }
}

impl fmt::Debug for ConsoleOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConsoleOptions").field("shows_payloads", &self.shows_payloads).finish_non_exhaustive()
    }
}
