//! The names of the two headers, and their longest values.

pub(super) const TRACEPARENT: &str = "traceparent";
pub(super) const TRACESTATE: &str = "tracestate";

/// The length of a parent: version, trace, span and flags with the dashes between them.
pub(super) const PARENT_LENGTH: usize = 55;
/// The longest state: the length that every implementation has to pass on, and more than tracers write.
pub(super) const MAX_STATE: usize = 512;
