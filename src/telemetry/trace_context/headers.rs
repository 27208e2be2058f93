//! How the two headers are called, and how long they may be.

pub(super) const TRACEPARENT: &str = "traceparent";
pub(super) const TRACESTATE: &str = "tracestate";

/// Of a parent: version, trace, span and flags with the dashes between them.
pub(super) const PARENT_LENGTH: usize = 55;
/// Of a state: what everybody has to pass on, and more than what tracers write.
pub(super) const MAX_STATE: usize = 512;
