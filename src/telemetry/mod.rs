//! Spans, metrics and log lines: how they are made, and nothing of those they are about.

pub(crate) mod instrument;
pub(crate) mod log_limit;
pub(crate) mod span;
pub(crate) mod trace_context;
