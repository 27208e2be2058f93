//! The making of spans, metrics and log lines, independent of the components they describe.

pub(crate) mod instrument;
pub(crate) mod log_limit;
pub(crate) mod span;
pub(crate) mod trace_context;
