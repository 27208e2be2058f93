//! A request, as far as all pages depend on it.

use crate::console::{Access, Visitor};
use axum::{
    extract::OriginalUri,
    http::{header::ACCEPT, request::Parts},
};

/// A request that is being answered.
#[derive(Debug, Clone)]
pub(in crate::console) struct Visit {
    visitor: Visitor,
    prefix: String,
    wants_json: bool,
}

impl Visit {
    pub(super) fn new(parts: &Parts, visitor: Visitor) -> Self {
        let path = parts.uri.path();
        let whole = parts.extensions.get::<OriginalUri>().map_or(path, |original| original.path());
        // Below `/console`, the root of the console is `/console` itself.
        let prefix = whole.strip_suffix(path).unwrap_or(whole).trim_end_matches('/').to_owned();
        let accept = parts.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).unwrap_or_default();
        let wants_json = path.starts_with("/api/") || accept.contains("application/json");
        Self { visitor, prefix, wants_json }
    }

    pub(in crate::console) fn visitor(&self) -> &Visitor {
        &self.visitor
    }

    pub(in crate::console) fn may_operate(&self) -> bool {
        self.visitor.access() == Access::Operate
    }

    /// Returns whether the answer is to be JSON, not a page.
    pub(in crate::console) fn wants_json(&self) -> bool {
        self.wants_json
    }

    /// Returns a path of the console as the browser asks for it.
    pub(in crate::console) fn path(&self, path: &str) -> String {
        match path {
            "/" if !self.prefix.is_empty() => self.prefix.clone(),
            _ => [&self.prefix, path].concat(),
        }
    }
}
